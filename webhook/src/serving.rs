//! What to serve with: a CA that all replicas share and a certificate of this replica's own. Pure: Secret data and the
//! time come in, decisions and certificates go out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use issuance::authority::{Authority, AuthorityError, Terms};
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::credential::{Credential, VerifyError};
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, KeyError, PrivateKey};
use issuance::name::SubjectAltName;
use issuance::renewal::renewal_time;
use issuance::request::{RequestError, RequestSpec};
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// Common name of the CA, as cert-manager's (spec S2).
const CA_COMMON_NAME: &str = "cert-manager-webhook-ca";
/// The CA lives for a year, and is replaced when a third of that is left (S2, S3).
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Kind of the CA's key (S2).
const CA_KEY: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P384);
/// Kind of the serving key. Handshakes are three times as fast as with P-384, and every client knows it.
const LEAF_KEY: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P256);

/// Longest wait until the configurations trust a new CA. Nothing is lost meanwhile, as long as the certificate that is
/// served lives; but a configuration that somebody keeps as it is must not hold the new CA up for ever.
const HANDOVER_TIME_MAX: SignedDuration = SignedDuration::from_mins(10);
/// The same where configurations cannot be looked at: what a cainjector takes, generously.
const UNSEEN_HANDOVER_TIME_MAX: SignedDuration = SignedDuration::from_secs(15);
/// A certificate with so little of its life left is not held on to.
const REST_OF_LIFE_MIN: SignedDuration = SignedDuration::from_mins(1);

/// Keys of the Secret's data (S1).
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const TRUST: &str = "ca.crt";

/// Data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// A key cannot be made.
    #[error("cannot generate a private key")]
    Key(#[source] KeyError),
    /// The CA cannot be made.
    #[error("cannot make a CA")]
    Ca(#[source] AuthorityError),
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

/// What to do about the CA in the Secret.
#[derive(Debug)]
pub enum Plan {
    /// It can be used.
    Use(Box<Authority>),
    /// A new one is to be written, because of this.
    Replace(String),
}

/// Judges the Secret's data (S3). None: there is no Secret.
pub fn plan(data: Option<&Data>, now: Timestamp) -> Plan {
    match data.ok_or_else(|| "there is none".to_owned()).and_then(|data| usable(data, now)) {
        Ok(authority) => Plan::Use(Box::new(authority)),
        Err(reason) => Plan::Replace(reason),
    }
}

fn usable(data: &Data, now: Timestamp) -> Result<Authority, String> {
    let get = |key: &str| {
        let bytes = data.get(key).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty());
        bytes.ok_or_else(|| format!("its key {key} is empty"))
    };
    let (certificate, key, trust) = (get(CERTIFICATE)?, get(KEY)?, get(TRUST)?);
    let authority = Authority::from_pem(certificate, key, None)
        .map_err(|error| format!("it cannot be used: {:#}", anyhow::Error::new(error)))?;
    let trust = Bundle::parse(trust)
        .map_err(|error| format!("its key {TRUST} cannot be used: {:#}", anyhow::Error::new(error)))?;
    // Equal, in the form at rest; a bundle around it while a CA is being replaced.
    if !trust.contains(authority.certificate()) {
        return Err(format!("its key {TRUST} lacks the certificate in {CERTIFICATE}"));
    }
    let certificate = authority.certificate();
    let lifetime = certificate.not_after().duration_since(certificate.not_before());
    let left = certificate.not_after().duration_since(now);
    if left < lifetime / 3 {
        return Err(format!("less than a third of its life is left, until {}", certificate.not_after()));
    }
    Ok(authority)
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

/// A change from one CA to the next, while a certificate of the former is served.
#[derive(Debug, Clone, Copy)]
pub struct Handover<'a> {
    /// End of the life of the certificate that is served.
    pub old_until: Timestamp,
    /// When the new CA was first seen.
    pub since: Timestamp,
    /// Whether the own configurations trust the new CA.
    pub trust: &'a [Trust],
}

impl Handover<'_> {
    /// Whether to serve under the new CA now. Until then callers trust the old one, and would refuse the new.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let is_seen = |trust: &Trust| matches!(trust, Trust::Missing | Trust::Unknown);
        let longest =
            if self.trust.iter().any(is_seen) { HANDOVER_TIME_MAX } else { UNSEEN_HANDOVER_TIME_MAX };
        let waited = now.duration_since(self.since);
        let all_trust = !self.trust.is_empty() && self.trust.iter().all(|trust| *trust == Trust::Present);
        // A clock that was set back must not prolong the wait.
        all_trust
            || self.old_until.duration_since(now) < REST_OF_LIFE_MIN
            || waited >= longest
            || waited.is_negative()
    }
}

/// Makes a new CA and the data of its Secret.
///
/// # Errors
/// When the machine has no randomness, or the clock is beyond all dates.
pub fn new_ca(now: Timestamp) -> Result<Data, ServingError> {
    let key = PrivateKey::generate(CA_KEY).map_err(ServingError::Key)?;
    let authority =
        Authority::self_signed(CA_COMMON_NAME, key, CA_LIFETIME, now).map_err(ServingError::Ca)?;
    let certificate = authority.certificate().to_pem().into_bytes();
    let key = authority.key().to_pem(KeyEncoding::Pkcs8).expose().to_vec();
    Ok(BTreeMap::from([
        (CERTIFICATE.to_owned(), ByteString(certificate.clone())),
        (KEY.to_owned(), ByteString(key)),
        (TRUST.to_owned(), ByteString(certificate)),
    ]))
}

/// A certificate to serve, and when it is due for renewal.
pub struct Leaf {
    /// The chain in DER, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// Certificate of the CA that signed it.
    pub ca: Certificate,
    /// Last moment at which it may be served.
    pub not_after: Timestamp,
    /// When the next one is to be made: after two thirds of its life.
    pub renew_at: Timestamp,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("not_after", &self.not_after)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

/// Makes a certificate for these names (S6). It never outlives the CA.
///
/// # Errors
/// Each step has its own.
pub fn new_leaf(
    authority: &Authority,
    names: &[ServerName<'static>],
    lifetime: SignedDuration,
    now: Timestamp,
) -> Result<Leaf, ServingError> {
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
    let chain = verified.chain().certificates().iter();
    let key = verified.key().to_pkcs8_der().expose().to_vec();
    Ok(Leaf {
        chain: chain.map(|certificate| certificate.der().to_vec().into()).collect(),
        key: PrivatePkcs8KeyDer::from(key).into(),
        ca: authority.certificate().clone(),
        not_after: verified.not_after(),
        renew_at: renewal_time(now, verified.not_before(), verified.not_after(), None),
    })
}

fn alternative_name(name: &ServerName<'static>) -> SubjectAltName {
    match name {
        ServerName::IpAddress(address) => SubjectAltName::Ip(IpAddr::from(*address)),
        name => SubjectAltName::Dns(name.to_str().into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn days_later(days: i64) -> Timestamp {
        start() + SignedDuration::from_hours(days * 24)
    }

    fn authority(data: &Data, now: Timestamp) -> Authority {
        match plan(Some(data), now) {
            Plan::Use(authority) => *authority,
            Plan::Replace(reason) => panic!("not used: {reason}"),
        }
    }

    fn replaced(data: Option<&Data>, now: Timestamp, wanted: &str) {
        match plan(data, now) {
            Plan::Use(_) => panic!("used although {wanted}"),
            Plan::Replace(reason) => assert!(reason.starts_with(wanted), "{reason:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_replaced() {
        let good = new_ca(start()).unwrap();
        let with = |key: &str, value: &[u8]| {
            let mut data = good.clone();
            data.insert(key.to_owned(), ByteString(value.to_vec()));
            data
        };
        let other = new_ca(start()).unwrap();
        replaced(None, start(), "there is none");
        replaced(Some(&Data::new()), start(), "its key tls.crt is empty");
        replaced(Some(&with("tls.key", b"")), start(), "its key tls.key is empty");
        replaced(Some(&with("ca.crt", b"")), start(), "its key ca.crt is empty");
        replaced(Some(&with("tls.crt", b"garbage")), start(), "it cannot be used: ");
        replaced(Some(&with("tls.key", &other["tls.key"].0)), start(), "it cannot be used: ");
        replaced(Some(&with("ca.crt", b"garbage")), start(), "its key ca.crt cannot be used: ");
        replaced(
            Some(&with("ca.crt", &other["ca.crt"].0)),
            start(),
            "its key ca.crt lacks the certificate in tls.crt",
        );
    }

    #[test]
    fn a_ca_near_its_end_is_replaced() {
        let data = new_ca(start()).unwrap();
        replaced(Some(&data), days_later(244), "less than a third of its life is left");
        replaced(Some(&data), days_later(400), "less than a third of its life is left");
    }

    #[test]
    fn a_certificate_that_is_no_ca_is_replaced() {
        let leaf = new_leaf(&authority(&new_ca(start()).unwrap(), start()), &names(), WEEK, start()).unwrap();
        let certificate = Certificate::from_der(&leaf.chain[0]).unwrap().to_pem().into_bytes();
        let key = PrivateKey::from_pkcs8_der(leaf.key.secret_der()).unwrap();
        let data = Data::from([
            ("tls.crt".to_owned(), ByteString(certificate.clone())),
            ("tls.key".to_owned(), ByteString(key.to_pem(KeyEncoding::Pkcs8).expose().to_vec())),
            ("ca.crt".to_owned(), ByteString(certificate)),
        ]);
        replaced(Some(&data), start(), "it cannot be used: ");
    }

    #[test]
    fn a_new_ca_is_used_until_two_thirds_of_its_life_are_over() {
        let data = new_ca(start()).unwrap();
        assert_eq!(data["tls.crt"], data["ca.crt"]);
        for now in [start(), days_later(243)] {
            let authority = authority(&data, now);
            let certificate = authority.certificate();
            assert_eq!(certificate.common_name().as_deref(), Some("cert-manager-webhook-ca"));
            assert_eq!(certificate.not_after(), days_later(365));
        }
    }

    #[test]
    fn a_bundle_around_the_ca_is_used() {
        let mut data = new_ca(start()).unwrap();
        let mut bundle = new_ca(start()).unwrap()["ca.crt"].0.clone();
        bundle.extend_from_slice(&data["tls.crt"].0);
        data.insert("ca.crt".to_owned(), ByteString(bundle));
        authority(&data, start());
    }

    #[test]
    fn a_new_ca_waits_until_all_configurations_trust_it() {
        use Trust::{Missing, NotOurs, Present, Unknown};
        let check = |trust: &[Trust], seconds: i64, wanted: bool| {
            let now = start() + SignedDuration::from_secs(seconds);
            let handover = Handover { old_until: days_later(3), since: start(), trust };
            assert_eq!(handover.is_due(now), wanted, "{trust:?} after {seconds} s");
        };
        check(&[Missing, Missing], 0, false);
        check(&[Present, Missing], 599, false);
        check(&[Present, Unknown], 599, false);
        check(&[Present, NotOurs], 14, false);
        check(&[], 14, false);
        check(&[Present, Present], 0, true);
        check(&[Present, NotOurs], 15, true);
        check(&[], 15, true);
        check(&[Missing, NotOurs], 599, false);
        check(&[Missing, Present], 600, true);
        check(&[Missing, Present], -1, true);
    }

    #[test]
    fn a_certificate_at_its_end_is_not_held_on_to() {
        let handover = Handover { old_until: days_later(1), since: days_later(1), trust: &[Trust::Missing] };
        assert!(handover.is_due(days_later(1)));
        assert!(handover.is_due(days_later(2)));
        assert!(handover.is_due(days_later(1) - SignedDuration::from_secs(59)));
    }

    fn names() -> Vec<ServerName<'static>> {
        ["webhook.ns.svc", "127.0.0.1", "::1"]
            .into_iter()
            .map(|name| ServerName::try_from(name).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_leaf_is_for_the_names_and_is_renewed_in_time() {
        let authority = authority(&new_ca(start()).unwrap(), start());
        let leaf = new_leaf(&authority, &names(), WEEK, start()).unwrap();
        let certificate = Certificate::from_der(&leaf.chain[0]).unwrap();
        let names: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
        assert_eq!(leaf.chain.len(), 1, "a root is not served");
        assert_eq!(names, ["DNS:webhook.ns.svc", "IP:127.0.0.1", "IP:::1"]);
        assert_eq!(leaf.not_after, days_later(7));
        assert!(certificate.not_before() <= start(), "clients' clocks may be late");
        assert!(days_later(4) < leaf.renew_at && leaf.renew_at < days_later(5), "{}", leaf.renew_at);
        assert_eq!(leaf.ca, *authority.certificate());
    }

    #[test]
    fn a_leaf_never_outlives_its_ca() {
        let authority = authority(&new_ca(start()).unwrap(), start());
        let long = SignedDuration::from_hours(24 * 3650);
        let leaf = new_leaf(&authority, &names(), long, start()).unwrap();
        assert_eq!(leaf.not_after, days_later(365));
    }

    #[test]
    fn a_leaf_does_not_show_its_key() {
        let authority = authority(&new_ca(start()).unwrap(), start());
        let leaf = new_leaf(&authority, &names(), WEEK, start()).unwrap();
        assert!(!format!("{leaf:?}").contains("key"));
    }
}
