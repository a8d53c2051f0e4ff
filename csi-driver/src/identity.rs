//! The CSI Identity service.

use proto::csi::identity_server::Identity;
use proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    ProbeRequest, ProbeResponse,
};
use runtime::readiness::Readiness;
use tonic::{Request, Response, Status};

/// Answers who the plugin is and whether it can serve.
pub struct IdentityService {
    driver_name: String,
    readiness: Readiness,
}

impl IdentityService {
    /// `readiness` is what Probe answers.
    pub fn new(driver_name: String, readiness: Readiness) -> Self {
        Self { driver_name, readiness }
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.driver_name.clone(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        }))
    }

    /// None: there is no Controller service, and a claim to have one makes callers create volumes with it.
    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(self.readiness.is_ready()) }))
    }
}
