//! Who signs: what the service needs to know of an issuer, and how it asks.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use issuance::authority::Terms;
use issuance::request::Request;
use issuers::{IssuerId, Opened, Order, Outcome};
use jiff::Timestamp;

use crate::issuer::registry::{IssuerState, Registry};
use crate::object::IssuerKey;

/// Signatures at once of an issuer that answers at once: more than there are processors here, and no crowd for a server.
const AT_ONCE: usize = 32;

/// When to ask again about an issuer while the issuers have not been listed yet.
const LIST_AWAITED: Duration = Duration::from_secs(2);

/// How an issuer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// At once, so many at a time.
    AtOnce(usize),
    /// By the subject's own key, with these URLs of revocation lists.
    SelfSigned(Vec<String>),
    /// Later, or not here: what is said of it.
    Elsewhere(String),
}

/// The issuers of the cluster.
pub trait Issuers: Send + Sync {
    /// How an issuer signs.
    ///
    /// # Errors
    /// The outcome of there being none.
    fn way(&self, id: &IssuerId) -> Result<Way, Outcome>;

    /// Asks it once. Dropping the future gives up.
    fn sign<'a>(
        &'a self,
        id: &'a IssuerId,
        request: &'a Request,
        terms: &'a Terms,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome>;
}

/// Issuers are asked whatever their Ready condition says: what is wrong now is in their answer.
impl Issuers for Registry {
    fn way(&self, id: &IssuerId) -> Result<Way, Outcome> {
        let known = self.known(&IssuerKey::of(id)).ok_or_else(|| missing(id, &self.state(id)))?;
        match known.opened {
            Opened::Unsupported { type_ } => Ok(Way::Elsewhere(format!("{id} is of type {type_}"))),
            Opened::Malformed { message } => {
                Err(Outcome::Wait { reason: "IssuerTypeMissing", message: format!("{id}: {message}") })
            }
            Opened::Issuer(_) => Ok(match &known.seen.spec.self_signed {
                Some(self_signed) => Way::SelfSigned(self_signed.crl_distribution_points.clone()),
                None => Way::AtOnce(AT_ONCE),
            }),
        }
    }

    fn sign<'a>(
        &'a self,
        id: &'a IssuerId,
        request: &'a Request,
        terms: &'a Terms,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome> {
        async move {
            match self.open(id) {
                Some(Opened::Issuer(issuer)) => {
                    issuer.sign(&Order { request, terms, subject_key: None, now }).await
                }
                // It has changed since it was looked at.
                _ => missing(id, &self.state(id)),
            }
        }
        .boxed()
    }
}

fn missing(id: &IssuerId, state: &IssuerState) -> Outcome {
    match state {
        IssuerState::Absent => Outcome::Wait {
            reason: "IssuerNotFound",
            message: format!("{id} does not exist; create it or correct the reference to it"),
        },
        _ => Outcome::Retry {
            after: LIST_AWAITED,
            reason: "IssuerUnknown",
            message: format!("{id} is not known yet"),
        },
    }
}
