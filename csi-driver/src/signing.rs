//! Who signs: the boundary behind which the ways to get a request signed lie. Operators choose one, pods never do.

pub mod channel;
pub mod local;
pub mod remote;
pub mod tokens;

use api::meta::IssuerRef;
use futures::future::BoxFuture;
use issuance::authority::Terms;
use issuance::key::PrivateKey;
use issuance::request::Request;
use issuers::Outcome;
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
