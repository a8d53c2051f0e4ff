//! What an issuer can do, and how its spec becomes something that does it.

use std::sync::Arc;

use api::{IssuerSpec, IssuerType};
use futures::future::BoxFuture;
use issuance::authority::Terms;
use issuance::key::PrivateKey;
use issuance::request::Request;
use jiff::Timestamp;

use crate::ca::CaIssuer;
use crate::material::Materials;
use crate::outcome::{IssuerId, Outcome};
use crate::readiness::IssuerReadiness;
use crate::self_signed::SelfSignedIssuer;
use crate::vault::Access;

/// One issuer with what its spec refers to, ready to be asked. It is made anew whenever the spec changes; what the spec
/// refers to is looked up at each call.
pub trait Issuer: Send + Sync {
    /// Asks once. Dropping the future gives up.
    fn sign<'a>(&'a self, order: &'a Order<'a>) -> BoxFuture<'a, Outcome>;

    /// Whether it could sign now. `None`: not enough is known yet; what is missing brings the issuer back once it is there.
    fn readiness(&self, now: Timestamp) -> BoxFuture<'_, Option<IssuerReadiness>>;
}

/// What is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The request; its signature has been checked.
    pub request: &'a Request,
    /// For how long and for what. URLs of the issuer win over those in here.
    pub terms: &'a Terms,
    /// The key of the request, for issuers of type SelfSigned alone.
    pub subject_key: Option<&'a PrivateKey>,
    /// The time.
    pub now: Timestamp,
}

/// What the spec of an issuer came to.
#[derive(Clone)]
pub enum Opened {
    /// It can be asked.
    Issuer(Arc<dyn Issuer>),
    /// It is of a type that we do not have: neither its status nor what it should sign is ours.
    Unsupported {
        /// The field of the spec, such as `acme`.
        type_: &'static str,
    },
    /// It does not say of which type it is.
    Malformed {
        /// Why, and what would be right.
        message: String,
    },
}

/// Opens an issuer. ClusterIssuers find their Secrets in the namespace `cluster_resources`.
pub fn open(id: &IssuerId, spec: &IssuerSpec, cluster_resources: &str, access: &Access) -> Opened {
    match (spec.types().as_slice(), &spec.vault) {
        ([IssuerType::Vault], Some(vault)) => crate::vault::open(id, vault, cluster_resources, access),
        _ => open_local(id, spec, cluster_resources, &access.materials),
    }
}

/// The same for a program that asks nobody else: only issuers whose keys are in this cluster can sign.
pub fn open_local(
    id: &IssuerId,
    spec: &IssuerSpec,
    cluster_resources: &str,
    materials: &Arc<dyn Materials>,
) -> Opened {
    match (spec.types().as_slice(), &spec.ca, &spec.self_signed) {
        ([IssuerType::Ca], Some(ca), _) => {
            let secret = id.secret(&ca.secret_name, cluster_resources);
            Opened::Issuer(Arc::new(CaIssuer::new(id.clone(), ca, secret, Arc::clone(materials))))
        }
        ([IssuerType::SelfSigned], _, Some(self_signed)) => {
            Opened::Issuer(Arc::new(SelfSignedIssuer::new(id.clone(), self_signed)))
        }
        ([other], ..) => Opened::Unsupported { type_: other.field() },
        ([], ..) => Opened::Malformed {
            message: "spec names no type; set one of ca, selfSigned, vault, acme, venafi".to_owned(),
        },
        (types, ..) => {
            let fields: Vec<_> = types.iter().map(|issuer_type| issuer_type.field()).collect();
            Opened::Malformed {
                message: format!("spec names several types ({}); keep one", fields.join(", ")),
            }
        }
    }
}
