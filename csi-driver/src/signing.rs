//! Who signs: the boundary behind which the ways to get a request signed lie. Operators choose one, pods never do.

pub mod channel;
pub mod remote;
pub mod tokens;

use std::sync::Arc;

use api::meta::IssuerRef;
use futures::future::BoxFuture;
use issuance::authority::Terms;
use issuance::key::PrivateKey;
use issuance::request::Request;
use issuers::{IssuerId, LocalIssuers, Outcome};
use jiff::Timestamp;

use crate::volume::{Pod, VolumeId};

/// A request on its way to an issuer, with everything that a way of signing may need.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The issuer that the pod names.
    pub issuer: &'a IssuerRef,
    /// The volume that it is for.
    pub volume: &'a VolumeId,
    /// The pod that gets the certificate.
    pub pod: &'a Pod,
    /// The pod's service account; empty where kubelet does not tell it.
    pub account: &'a str,
    /// What is to be signed.
    pub request: &'a Request,
    /// The pod's key, for issuers that sign with it; it does not leave the node.
    pub key: &'a PrivateKey,
    /// What is asked for beside the request.
    pub terms: &'a Terms,
    /// The time.
    pub now: Timestamp,
}

/// A way to get a request signed.
pub trait Signing: Send + Sync + 'static {
    /// Asks the issuer once. Dropping the future gives up.
    fn sign<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Outcome>;
}

/// Signs in this process (`--mode=local`), with issuers of our own group. It reads their Secrets, so the node holds
/// the CA's key.
pub struct Local {
    issuers: LocalIssuers,
}

impl Local {
    /// Signs with these issuers.
    pub fn new(issuers: LocalIssuers) -> Arc<Self> {
        Arc::new(Self { issuers })
    }
}

impl Signing for Local {
    fn sign<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let issuer = match issuer_id(order.issuer, &order.pod.namespace) {
                Ok(issuer) => issuer,
                Err(message) => return Outcome::Terminal { reason: "IssuerNotLocal", message },
            };
            self.issuers.sign(&issuer, order.request, Some(order.key), order.terms, order.now).await
        })
    }
}

/// The issuer that a pod of `namespace` means, if it is one of ours.
fn issuer_id(issuer: &IssuerRef, namespace: &str) -> Result<IssuerId, String> {
    IssuerId::of(issuer, namespace).ok_or_else(|| {
        format!(
            "{} of group {} cannot sign on the node; with --mode=local use an Issuer or ClusterIssuer of group {}",
            issuer.kind_or_default(),
            issuer.group_or_default(),
            api::GROUP
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Option<&str>, group: Option<&str>, expected: Result<&str, &str>) {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let issuer = IssuerRef { name: "ca".to_owned(), kind: text(kind), group: text(group) };
        let got = issuer_id(&issuer, "team-a").map(|id| id.to_string());
        match expected {
            Ok(id) => assert_eq!(got.as_deref(), Ok(id)),
            Err(start) => assert!(got.as_ref().is_err_and(|m| m.starts_with(start)), "{got:?}"),
        }
    }

    #[test]
    fn issuers_of_others_are_refused() {
        check(None, Some("example.org"), Err("Issuer of group example.org cannot sign on the node"));
        check(Some("VaultIssuer"), None, Err("VaultIssuer of group cert-manager.io cannot sign"));
    }

    #[test]
    fn issuers_are_looked_up_where_the_pod_is() {
        check(None, None, Ok("Issuer team-a/ca"));
        check(Some("ClusterIssuer"), Some("cert-manager.io"), Ok("ClusterIssuer ca"));
    }
}
