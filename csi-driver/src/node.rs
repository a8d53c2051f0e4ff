//! The CSI Node service: from a call to an operation on the volumes, and from its outcome to a code.

use std::sync::Arc;

use jiff::Timestamp;
use proto::csi::node_server::Node;
use proto::csi::node_service_capability::{Rpc, Type, rpc};
use proto::csi::{
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse,
};
use tonic::{Request, Response, Status};

use crate::error::VolumeError;
use crate::metrics::DriverMetrics;
use crate::signing::tokens::Tokens;
use crate::volume::{InvalidVolume, PublishRequest, TargetPath, VolumeId};
use crate::volumes::{Outcome, Volumes};

/// Publishes and unpublishes the volumes of one node.
pub struct NodeService {
    node_id: String,
    volumes: Volumes,
    /// Where the tokens of pods go; `None`: nobody needs them.
    tokens: Option<Arc<Tokens>>,
    metrics: DriverMetrics,
}

impl NodeService {
    /// Serves `volumes` on the node called `node_id`.
    pub fn new(
        node_id: String,
        volumes: Volumes,
        tokens: Option<Arc<Tokens>>,
        metrics: DriverMetrics,
    ) -> Self {
        Self { node_id, volumes, tokens, metrics }
    }

    async fn publish(&self, mut request: NodePublishVolumeRequest) -> Outcome {
        // Those of a live volume too: its next renewal takes the newest.
        let taken = self.tokens.as_ref().and_then(|tokens| {
            let token = tokens.take(&mut request, Timestamp::now())?;
            Some((tokens, VolumeId::new(&request.volume_id).ok()?, token))
        });
        let outcome = match PublishRequest::read(request) {
            Ok(request) => self.volumes.publish(request).await,
            Err(error) => Err(Arc::new(VolumeError::from(error))),
        };
        // Kubelet unpublishes no volume that was never there, so nobody else would forget the token of its pod.
        if let Some((tokens, id, token)) =
            taken.filter(|(_, id, _)| outcome.is_err() && !self.volumes.has(id))
        {
            tokens.withdraw(&id, &token);
        }
        outcome
    }

    async fn unpublish(&self, request: NodeUnpublishVolumeRequest) -> Outcome {
        let (id, target) = removal(&request).map_err(VolumeError::from)?;
        let outcome = self.volumes.unpublish(&id, &target).await;
        if let Some(tokens) = self.tokens.as_ref().filter(|_| outcome.is_ok()) {
            tokens.forget(&id);
        }
        outcome
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        let outcome = self.publish(request).await;
        self.metrics.published(result(&outcome));
        answer("publish", &id, outcome)?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        let outcome = self.unpublish(request).await;
        self.metrics.unpublished(result(&outcome));
        answer("unpublish", &id, outcome)?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    /// Kubelet asks before each publish, so this takes no lock and does no IO.
    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let group = Rpc { r#type: rpc::Type::VolumeMountGroup.into() };
        let capabilities = vec![NodeServiceCapability { r#type: Some(Type::Rpc(group)) }];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.node_id.clone(),
            max_volumes_per_node: 0,
            accessible_topology: None,
        }))
    }
}

fn removal(request: &NodeUnpublishVolumeRequest) -> Result<(VolumeId, TargetPath), InvalidVolume> {
    if request.volume_id.is_empty() {
        return Err(InvalidVolume::Missing("volume_id"));
    }
    if request.target_path.is_empty() {
        return Err(InvalidVolume::Missing("target_path"));
    }
    Ok((VolumeId::new(&request.volume_id)?, TargetPath::new(&request.target_path)?))
}

fn result(outcome: &Outcome) -> &'static str {
    outcome.as_ref().map_or_else(|error| error.label(), |()| "ok")
}

fn answer(call: &str, volume: &str, outcome: Outcome) -> Result<(), Status> {
    outcome.map_err(|error: Arc<VolumeError>| {
        tracing::warn!(volume, code = error.label(), error = error.text(), "{call} failed");
        error.status()
    })
}
