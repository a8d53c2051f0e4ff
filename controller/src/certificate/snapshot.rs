//! Everything that a decision about one Certificate may look at, and nothing else. There are no private keys in it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::certificate::secret::{KeySecretView, SecretView};
use crate::certificate::spec::SpecGates;
use crate::certificate::view::CertificateView;
use crate::controllers::{
    APPROVER, CERTIFICATES_ISSUING, CERTIFICATES_KEYS, CERTIFICATES_READINESS, CERTIFICATES_REQUESTS,
    CERTIFICATES_REVISIONS, CERTIFICATES_TRIGGER, REQUESTS_CA, REQUESTS_SELF_SIGNED,
};
use crate::object::IssuerKey;
use crate::request::view::RequestView;
use crate::settings::{BASIC_CONSTRAINTS, Settings};

/// One Certificate and what belongs to it, as it was last seen.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// The Certificate.
    pub certificate: &'a CertificateView,
    /// The Secret that it is kept in.
    pub secret: Target<'a>,
    /// Other Certificates of the namespace with the same `spec.secretName`.
    pub namesakes: &'a [Namesake],
    /// Secrets of the namespace with the key of an issuance; those of other Certificates are passed over.
    pub next_keys: &'a [KeySecretView],
    /// CertificateRequests of the namespace; those of other Certificates are passed over.
    pub requests: &'a [RequestView],
    /// The issuer that it refers to.
    pub issuer: IssuerFacts,
    /// The issuer that it refers to, when its Secret is the one that holds that issuer's CA.
    pub target_is_ca_of: Option<&'a IssuerKey>,
    /// The passwords of its keystores.
    pub passwords: &'a Passwords,
    /// Whether its keystores are made with those.
    pub keystores: KeystoreState,
    /// Whether Secrets of its namespace may be written (`--secret-namespaces`).
    pub is_served: bool,
    /// What holds for all Certificates.
    pub policy: &'a Policy,
}

/// The Secret of a Certificate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target<'a> {
    /// It is not among those that are watched, and nobody has looked yet.
    Unknown,
    /// It does not exist.
    Absent,
    /// It is there.
    There(&'a SecretView),
}

/// Another Certificate with the same Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namesake {
    /// Its name, in the same namespace.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
}

/// What matters about an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerFacts {
    /// It has not been seen yet, does not exist, is malformed or not ready: requests will wait for it.
    Waited,
    /// It belongs to somebody else.
    Foreign,
    /// It is of a type of this API that we do not serve.
    Unsupported(&'static str),
    /// It is ready.
    Ready {
        /// Whether it answers at once: a request to it ends in the same moment, signed or refused.
        is_synchronous: bool,
    },
}

/// The passwords of keystores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passwords {
    /// They are known, or none is needed.
    Known,
    /// One is not there; for people: which, where, and what to do.
    Missing(String),
    /// The answer of the API server is outstanding.
    Pending,
}

/// What is known of the keystores in a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeystoreState {
    /// They were made with the passwords that hold, or none are wanted.
    Right,
    /// Nobody has looked since Secret, passwords or spec changed.
    Unknown,
}

/// What holds for all Certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The parts that are on (`--controllers`).
    pub enabled: Enabled,
    /// How long to wait after failures.
    pub backoff: Backoffs,
    /// The feature gates.
    pub gates: SpecGates,
    /// Whether the Secret of a Certificate vanishes with it (`--enable-certificate-owner-ref`).
    pub owner_refs: bool,
}

/// The parts of the work on Certificates, each under the name of the peer's controller that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enabled {
    /// `certificates-trigger`: issuances are begun.
    pub trigger: bool,
    /// `certificates-key-manager`: keys are made and taken away.
    pub keys: bool,
    /// `certificates-request-manager`: requests are made, and those that do not fit taken away.
    pub requests: bool,
    /// `certificates-issuing`: Secrets are written, and ends recorded.
    pub issuing: bool,
    /// `certificates-readiness`: Ready and the times of the certificate are kept.
    pub readiness: bool,
    /// `certificates-revision-manager`: old requests are taken away.
    pub revisions: bool,
    /// The approver and the controllers of synchronous issuers: we may answer our own requests.
    pub answering: bool,
}

impl Policy {
    /// What the operator has decided comes to.
    pub fn of(settings: &Settings) -> Self {
        let on = |name| settings.controllers.is_on(name);
        Self {
            enabled: Enabled {
                trigger: on(CERTIFICATES_TRIGGER),
                keys: on(CERTIFICATES_KEYS),
                requests: on(CERTIFICATES_REQUESTS),
                issuing: on(CERTIFICATES_ISSUING),
                readiness: on(CERTIFICATES_READINESS),
                revisions: on(CERTIFICATES_REVISIONS),
                answering: on(APPROVER) && on(REQUESTS_CA) && on(REQUESTS_SELF_SIGNED),
            },
            backoff: Backoffs {
                minimum: signed(settings.backoff.first),
                maximum: signed(settings.backoff.longest),
            },
            gates: SpecGates {
                literal_subject: settings.has("LiteralCertificateSubject"),
                other_names: settings.has("OtherNames"),
                name_constraints: settings.has("NameConstraints"),
                basic_constraints: settings.has(BASIC_CONSTRAINTS),
            },
            owner_refs: settings.owner_refs,
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

impl Enabled {
    /// Whether one of those on Certificates is on.
    pub fn any(&self) -> bool {
        let Self { trigger, keys, requests, issuing, readiness, revisions, answering: _ } = *self;
        trigger || keys || requests || issuing || readiness || revisions
    }

    /// All of them.
    pub const ALL: Self = Self {
        trigger: true,
        keys: true,
        requests: true,
        issuing: true,
        readiness: true,
        revisions: true,
        answering: true,
    };
}

/// How long to wait after refusals (`--certificate-request-{minimum,maximum}-backoff-duration`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoffs {
    /// After the first one; it doubles with each. None at all where this is not positive.
    pub minimum: SignedDuration,
    /// At most.
    pub maximum: SignedDuration,
}

impl Default for Backoffs {
    /// As the peer's.
    fn default() -> Self {
        Self { minimum: SignedDuration::from_hours(1), maximum: SignedDuration::from_hours(32) }
    }
}
