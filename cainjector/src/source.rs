//! Sources: what is kept of them, and whether a CA may be taken.

pub(crate) mod api_server;
pub mod certificate;
pub mod secret;

use issuance::bundle::Bundle;
use issuance::pem::PemError;
use kube::core::ApiResource;
use runtime::watch::{Failure, ObjectName, State};

pub use certificate::SourceCertificate;
pub use secret::SourceSecret;

use crate::plan::{Reason, Refusal};

/// Key of the CA in a Secret's data.
pub(crate) const CA_KEY: &str = "ca.crt";

/// What is known of a source: its CA certificates, or why there are none to be taken. `None`: the API server has not
/// answered yet.
pub type Found<T> = Option<Result<T, Refusal>>;

/// The object that a CA, or the lack of one, comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceObject {
    /// Its kind.
    pub kind: ApiResource,
    /// Its name.
    pub name: ObjectName,
    /// Its `metadata.uid`.
    pub uid: String,
}

/// The object if it is there.
fn present<'a, T>(kind: &str, name: &ObjectName, state: &'a State<T>) -> Found<&'a T> {
    match state {
        State::Pending => None,
        State::Present(object) => Some(Ok(object)),
        State::Absent => {
            let text = format!("{kind} {name} does not exist");
            Some(Err(Refusal::new(Reason::SourceNotFound, text)))
        }
        State::Failed(failure) => Some(Err(unread(kind, name, failure))),
    }
}

fn unread(kind: &str, name: &ObjectName, failure: &Failure) -> Refusal {
    match failure.code {
        Some(403) => {
            let text = format!(
                "reading {kind} {name} is forbidden: {failure}; the cainjector needs get, list and watch on it"
            );
            Refusal::new(Reason::Forbidden, text)
        }
        // A list knows no missing object, but a missing kind.
        Some(404) => {
            let text = format!("{kind} {name} does not exist: the API server does not serve its kind (yet)");
            Refusal::new(Reason::SourceNotFound, text)
        }
        _ => Refusal::new(Reason::SourceUnavailable, format!("{kind} {name} cannot be read: {failure}")),
    }
}

/// Reads the CA that `place` has: certificates and nothing else, at least one.
fn parse(place: &str, ca: &[u8]) -> Result<Bundle, Refusal> {
    Bundle::parse(ca).map_err(|error| {
        let reason = match error {
            PemError::PrivateKey { .. } => Reason::PrivateKeyInSource,
            _ => Reason::InvalidPEM,
        };
        Refusal::new(reason, format!("{place}: {error}"))
    })
}
