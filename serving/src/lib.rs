//! Serving certificates of a program in a cluster: from two files, or from a CA of the program's own that all replicas
//! share and replace with an overlap.
//!
//! What to serve with is decided here, in [`stored`] and in [`keeping`], without IO: what is stored and the time come
//! in, decisions and certificates go out. [`source`] starts what carries them out: [`renewer`] keeps Secret and
//! certificate in place, [`configurations`] makes the API server trust the CA of a webhook. [`config`] and [`args`] are
//! the peers' flags and keys for it. [`election`] is what else they have in common: which of several replicas writes.

pub mod args;
pub mod clock;
pub mod config;
pub mod configurations;
pub mod election;
#[cfg(test)]
mod fake;
pub mod keeping;
pub mod metrics;
#[cfg(test)]
mod peer;
pub mod renewer;
pub mod source;
pub mod stored;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use issuance::authority::{Authority, AuthorityError, Terms};
use issuance::certificate::Certificate;
use issuance::credential::{Credential, VerifyError};
use issuance::jitter::Jitter;
use issuance::key::{Curve, KeyAlgorithm, KeyError, PrivateKey};
use issuance::name::SubjectAltName;
use issuance::renewal::{self, Life};
use issuance::request::{RequestError, RequestSpec};
use issuance::rotation::PolicyError;
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// Common name of the CA, as cert-manager's (spec S2).
const CA_COMMON_NAME: &str = "cert-manager-webhook-ca";
/// How long a CA lives unless told otherwise (S2).
pub const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Kind of the CA's key (S2).
const CA_KEY: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P384);
/// Kind of the serving key. Handshakes are three times as fast as with P-384, and every client knows it.
const LEAF_KEY: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P256);

/// Longest wait until the configurations trust a new CA, where they do not trust the old one either.
const HANDOVER_TIME_MAX: SignedDuration = SignedDuration::from_mins(10);
/// The same where configurations cannot be looked at: what a cainjector takes, generously.
const UNSEEN_HANDOVER_TIME_MAX: SignedDuration = SignedDuration::from_secs(15);
/// From the moment when the configurations trust a CA until API servers do.
const SPREAD_TIME: SignedDuration = SignedDuration::from_secs(3);
/// A certificate with so little of its life left is not held on to.
const REST_OF_LIFE_MIN: SignedDuration = SignedDuration::from_mins(1);

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// A key cannot be made.
    #[error("cannot generate a private key")]
    Key(#[source] KeyError),
    /// The CA cannot be made.
    #[error("cannot make a CA")]
    Ca(#[source] AuthorityError),
    /// CA and leaf do not fit together.
    #[error("cannot replace the CA in time")]
    Lifetimes(#[source] PolicyError),
    /// The names cannot be asked for.
    #[error("cannot request a certificate for the names to serve under")]
    Request(#[source] RequestError),
    /// The CA does not sign.
    #[error("the CA cannot sign the serving certificate")]
    Sign(#[source] AuthorityError),
    /// What was signed does not hold.
    #[error("the serving certificate does not verify")]
    Verify(#[source] VerifyError),
}

/// Whether one of the own webhook configurations trusts a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It was not looked at yet.
    Unknown,
    /// It does not exist, or may not be read: somebody else has to see to it.
    NotOurs,
    /// The CA is missing from one of its webhooks.
    Missing,
    /// Each of its webhooks trusts the CA.
    Present,
}

impl Trust {
    /// Whether it can be seen that the CA is not trusted yet, or will be seen in a moment.
    fn is_seen(self) -> bool {
        matches!(self, Self::Missing | Self::Unknown)
    }
}

/// A change from one CA to the next, while a certificate of the former is served.
#[derive(Debug, Clone, Copy)]
pub struct Handover<'a> {
    /// End of the life of the certificate that is served.
    pub old_until: Timestamp,
    /// When the new CA was first seen.
    pub since: Timestamp,
    /// Since when all configurations have been seen to trust the new CA.
    pub trusted_since: Option<Timestamp>,
    /// Whether the own configurations trust the old CA.
    pub old: &'a [Trust],
    /// Whether they trust the new CA.
    pub new: &'a [Trust],
}

impl Handover<'_> {
    /// Whether to serve under the new CA now. Until then callers trust the old one, and would refuse the new.
    pub fn is_due(&self, now: Timestamp) -> bool {
        if self.old_until.duration_since(now) < REST_OF_LIFE_MIN {
            return true;
        }
        let waited = |since: Timestamp| now.duration_since(since);
        if all_trust(self.new) {
            // API servers that have not heard of the new one trust the old one, if it is still there.
            !all_trust(self.old) || self.trusted_since.is_some_and(|since| waited(since) >= SPREAD_TIME)
        } else if self.new.iter().any(|trust| trust.is_seen()) {
            !all_trust(self.old) && waited(self.since) >= HANDOVER_TIME_MAX
        } else {
            waited(self.since) >= UNSEEN_HANDOVER_TIME_MAX
        }
    }

    /// Whether there are configurations of which nobody can tell whether they trust the new CA: then only time passes
    /// until it is served under. Waiting for longer would help as little as with cert-manager's webhook, which does not
    /// wait at all: once a cainjector has replaced the old CA there, it is the old certificate that callers refuse.
    pub fn is_blind(&self) -> bool {
        self.new.contains(&Trust::NotOurs) && !self.new.iter().any(|trust| trust.is_seen())
    }
}

fn all_trust(all: &[Trust]) -> bool {
    !all.is_empty() && all.iter().all(|trust| *trust == Trust::Present)
}

/// What a certificate is to be like.
#[derive(Debug, Clone, Copy)]
pub struct LeafTerms<'a> {
    /// Names to serve under.
    pub names: &'a [ServerName<'static>],
    /// Its life, which ends with the CA's at the latest.
    pub lifetime: SignedDuration,
    /// Name of this replica: replicas that started together do not renew together.
    pub replica: &'a str,
}

/// A certificate to serve, and when it is due for renewal.
pub struct Leaf {
    /// The chain in DER, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// The certificate itself.
    pub certificate: Certificate,
    /// Certificate of the CA that signed it.
    pub ca: Certificate,
    /// When the next one is to be made: after two thirds of its life, or a little earlier.
    pub renew_at: Timestamp,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("certificate", &self.certificate)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

/// Makes a certificate (S6). It never outlives the CA.
///
/// # Errors
/// Each step has its own.
pub fn new_leaf(authority: &Authority, terms: LeafTerms<'_>, now: Timestamp) -> Result<Leaf, ServingError> {
    let LeafTerms { names, lifetime, replica } = terms;
    let now = keeping::moment(authority.certificate(), now);
    let spec = RequestSpec {
        names: names.iter().map(alternative_name).collect(),
        usages: Usages::server(),
        encode_usages: true,
        ..RequestSpec::default()
    };
    let key = PrivateKey::generate(LEAF_KEY).map_err(ServingError::Key)?;
    let pending = Credential::new(key, &spec).map_err(ServingError::Request)?;
    let terms = Terms { duration: lifetime, usages: Usages::server(), ..Terms::default() };
    let issued = authority.sign(pending.request(), &terms, now).map_err(ServingError::Sign)?;
    let verified = pending.signed(issued).verify(now).map_err(ServingError::Verify)?;
    let certificate = verified.chain().leaf().clone();
    let key = verified.key().to_pkcs8_der().expose().to_vec();
    Ok(Leaf {
        chain: verified.chain().certificates().iter().map(|part| part.der().to_vec().into()).collect(),
        key: PrivatePkcs8KeyDer::from(key).into(),
        ca: authority.certificate().clone(),
        renew_at: renewal_time(&certificate, replica, now),
        certificate,
    })
}

fn renewal_time(certificate: &Certificate, replica: &str, issued_at: Timestamp) -> Timestamp {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    let jitter = Jitter::of(&[replica.as_bytes(), certificate.serial_hex().as_bytes()]);
    let renewal = renewal::Settings::default().renewal(Life { issued_at, not_before, not_after }, jitter);
    renewal.map_or(not_after, |renewal| renewal.at)
}

fn alternative_name(name: &ServerName<'static>) -> SubjectAltName {
    match name {
        ServerName::IpAddress(address) => SubjectAltName::Ip(IpAddr::from(*address)),
        name => SubjectAltName::Dns(name.to_str().into_owned()),
    }
}
