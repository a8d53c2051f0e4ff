//! What is to be done next for a Certificate. One step is at most one kind of write, and after each the world is looked at
//! anew, so an interruption between any two of them is nothing out of the ordinary.

use api::CertificateStatus;
use jiff::Timestamp;

use crate::news::News;

/// What a look at a Certificate comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The status as it is to be. Where it differs from what is there, writing it is the step, and the Certificate is
    /// looked at again at once.
    pub status: CertificateStatus,
    /// What to do; [`Step::Rest`] where the status differs.
    pub step: Step,
    /// When to look again at the latest, if nothing changes before.
    pub again: Option<Timestamp>,
    /// What to tell once the status is written or the step done.
    pub news: Vec<News>,
}

/// The next write. Objects are named in the namespace of the Certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// None.
    Rest,
    /// Read the Secret by its name: it is not among those that are watched.
    LookLive,
    /// Take objects away.
    Delete {
        /// Secrets with keys.
        keys: Vec<String>,
        /// CertificateRequests.
        requests: Vec<String>,
    },
    /// Make the key of an issuance and store it.
    MakeKey {
        /// Name of its Secret.
        secret: String,
        /// Whether the key in the Secret of the Certificate is taken.
        reuse: bool,
    },
    /// Ask for a certificate.
    Request {
        /// Number of the issuance.
        revision: i64,
        /// Name of the CertificateRequest.
        name: String,
        /// Secret with the key.
        key_secret: String,
    },
    /// Make a key in memory, ask, answer and store, in one go.
    IssueAtOnce {
        /// Number of the issuance.
        revision: i64,
        /// Name of the CertificateRequest.
        name: String,
        /// Whether a request of that name is in the way and is to be taken away first.
        replace: bool,
        /// Whether the key in the Secret of the Certificate is taken.
        reuse: bool,
    },
    /// Check what was issued and put it into the Secret of the Certificate.
    Store {
        /// The CertificateRequest that holds it.
        request: String,
        /// Secret with the key.
        key_secret: String,
    },
    /// Put a temporary certificate into the Secret of the Certificate.
    StoreTemporary {
        /// The CertificateRequest that waits.
        request: String,
        /// Secret with the key.
        key_secret: String,
    },
    /// Put right what is around the pair in the Secret of the Certificate, which stays.
    Repair,
}
