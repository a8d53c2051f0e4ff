//! Issuers of type CA: they sign with the key of a Secret.

use std::sync::Arc;

use api::issuer::CaIssuer as Spec;
use futures::future::{BoxFuture, FutureExt as _, ready};
use issuance::authority::{Authority, Terms};
use issuance::outcome::causes;
use jiff::{SignedDuration, Timestamp};
use runtime::watch::{ObjectName, State};

use crate::issuer::{Issuer, Order};
use crate::material::{CaSecretError, Materials};
use crate::outcome::{IssuerId, Outcome, RETRY_AFTER};
use crate::readiness::IssuerReadiness;

/// A CA is told to expire soon when less than this part of its life is left: one in so many.
const LAST_PART: i32 = 3;

/// An issuer of type CA.
pub struct CaIssuer {
    id: IssuerId,
    spec: Spec,
    secret: ObjectName,
    materials: Arc<dyn Materials>,
}

impl CaIssuer {
    /// The issuer with this spec, whose CA is in `secret`.
    pub fn new(id: IssuerId, spec: &Spec, secret: ObjectName, materials: Arc<dyn Materials>) -> Self {
        Self { id, spec: spec.clone(), secret, materials }
    }

    fn attempt(&self, order: &Order<'_>) -> Outcome {
        let Self { id, secret, .. } = self;
        let cannot_read = |failure: String| format!("Secret {secret} of {id} cannot be read: {failure}");
        match self.materials.secret(secret) {
            State::Present(material) => match material.authority() {
                Ok(ca) => {
                    Outcome::of_signing(id, ca.sign(order.request, &self.terms(order.terms), order.now))
                }
                Err(error) => Outcome::Wait {
                    reason: "SecretInvalidData",
                    message: format!("Secret {:?} of {id} {error}", self.spec.secret_name),
                },
            },
            State::Absent => Outcome::Wait {
                reason: "SecretMissing",
                message: format!(
                    "Secret {secret} of {id} does not exist; create it with tls.crt and tls.key"
                ),
            },
            State::Failed(failure) if failure.is_forbidden() => Outcome::Wait {
                reason: "SecretGetError",
                message: cannot_read(format!("{failure}; grant this program get, list and watch on it")),
            },
            State::Failed(failure) => Outcome::Retry {
                after: RETRY_AFTER,
                reason: "SecretGetError",
                message: cannot_read(failure.to_string()),
            },
            State::Pending => Outcome::Retry {
                after: RETRY_AFTER,
                reason: "SecretGetError",
                message: cannot_read("the API server has not answered yet".to_owned()),
            },
        }
    }

    fn judge(&self, now: Timestamp) -> Option<IssuerReadiness> {
        let name = &self.spec.secret_name;
        let unready = IssuerReadiness::unready;
        let material = match self.materials.secret(&self.secret) {
            State::Present(material) => material,
            State::Absent => {
                return Some(unready("ErrGetKeyPair", format!("Secret {name:?} does not exist; create it")));
            }
            State::Failed(failure) if failure.is_forbidden() => {
                let text = format!(
                    "reading its Secret is forbidden: {failure}; the controller needs get, list and watch on it"
                );
                return Some(unready("ErrGetKeyPair", text));
            }
            // An API server that is away for a while says nothing about the issuer.
            State::Failed(_) | State::Pending => return None,
        };
        Some(match material.authority() {
            Ok(authority) => judge_ca(authority, now),
            Err(error @ CaSecretError::Missing(_)) => {
                unready("ErrGetKeyPair", format!("Secret {name:?} {error}"))
            }
            Err(error @ CaSecretError::Authority(_)) => {
                unready("ErrInvalidKeyPair", format!("Secret {name:?} {error}"))
            }
        })
    }

    /// The terms with the URLs that the issuer writes into every certificate.
    fn terms(&self, terms: &Terms) -> Terms {
        Terms {
            crl_distribution_points: self.spec.crl_distribution_points.clone(),
            ocsp_servers: self.spec.ocsp_servers.clone(),
            issuing_certificate_urls: self.spec.issuing_certificate_urls.clone(),
            ..terms.clone()
        }
    }
}

fn judge_ca(authority: &Authority, now: Timestamp) -> IssuerReadiness {
    let certificate = authority.certificate();
    let (from, until) = (certificate.not_before(), certificate.not_after());
    if until < now {
        let text = format!("the CA {:?} expired at {until}; renew it", certificate.subject());
        return IssuerReadiness::unready("CAExpired", text);
    }
    if let Err(error) = authority.check_valid_at(now) {
        // It becomes valid without anything changing.
        let again = (now < from).then_some(from);
        return IssuerReadiness { again, ..IssuerReadiness::unready("ErrInvalidKeyPair", causes(&error)) };
    }
    let text = format!("signs as {:?} until {until}", certificate.subject());
    let verdict = IssuerReadiness::ready("KeyPairVerified", text);
    let last_part = until.checked_sub(until.duration_since(from) / LAST_PART).unwrap_or(from);
    if now < last_part {
        return IssuerReadiness { again: Some(last_part), ..verdict };
    }
    let advice = format!(
        "the CA {:?} with serial number {} expires at {until}; what it signs expires then, too; renew it",
        certificate.subject(),
        certificate.serial_hex()
    );
    // The last second of its life is still one.
    let expired = until.checked_add(SignedDuration::from_secs(1)).ok();
    IssuerReadiness { again: expired, advice: Some(("CAExpiresSoon", advice)), ..verdict }
}

impl Issuer for CaIssuer {
    fn sign<'a>(&'a self, order: &'a Order<'a>) -> BoxFuture<'a, Outcome> {
        async { self.attempt(order) }.boxed()
    }

    fn readiness(&self, now: Timestamp) -> BoxFuture<'_, Option<IssuerReadiness>> {
        ready(self.judge(now)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
    use issuance::name::SubjectAltName;
    use issuance::request::{Request, RequestSpec};
    use runtime::watch::Failure;

    use super::*;
    use crate::material::Material;
    use crate::material::testing::{Only, material};
    use crate::outcome::IssuerKind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn issuer(state: State<Material>) -> CaIssuer {
        let id = IssuerId { kind: IssuerKind::Issuer, namespace: "team-a".to_owned(), name: "ca".to_owned() };
        let spec = Spec { secret_name: "root".to_owned(), ..Spec::default() };
        CaIssuer::new(id, &spec, ObjectName::namespaced("team-a", "root"), Arc::new(Only(state)))
    }

    fn present(data: &[(&str, &[u8])]) -> State<Material> {
        State::Present(Arc::new(material(data)))
    }

    fn failed(code: u16) -> State<Material> {
        State::Failed(Failure { code: Some(code), message: "no".to_owned() })
    }

    /// A CA that is valid for a day from `from` on, and begins a little earlier.
    fn ca(from: i64) -> State<Material> {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let ca = Authority::self_signed("root", key, SignedDuration::from_hours(24), at(from)).unwrap();
        let key = ca.key().to_pem(KeyEncoding::Pkcs1);
        present(&[("tls.crt", ca.chain().to_pem().as_bytes()), ("tls.key", key.expose()), ("ca.crt", b"")])
    }

    fn check(state: State<Material>, expected: (bool, &str, &str)) {
        let readiness = issuer(state).judge(at(0)).unwrap();
        assert_eq!((readiness.ready, readiness.reason, readiness.message.as_str()), expected);
    }

    #[test]
    fn an_issuer_that_cannot_sign_says_why() {
        check(State::Absent, (false, "ErrGetKeyPair", "Secret \"root\" does not exist; create it"));
        let message = "Secret \"root\" has no \"tls.key\"; a CA issuer needs tls.crt and tls.key";
        check(present(&[("tls.crt", b"x"), ("tls.key", b"")]), (false, "ErrGetKeyPair", message));
        let message = "Secret \"root\" does not hold a usable CA: the CA certificate cannot be decoded: no PEM block \
                       found; it begins with a line such as -----BEGIN CERTIFICATE-----";
        check(present(&[("tls.crt", b"x"), ("tls.key", b"y")]), (false, "ErrInvalidKeyPair", message));
        let forbidden = issuer(failed(403)).judge(at(0)).unwrap();
        assert_eq!((forbidden.ready, forbidden.reason), (false, "ErrGetKeyPair"));
    }

    #[test]
    fn what_is_not_known_is_not_judged() {
        assert_eq!(issuer(State::Pending).judge(at(0)), None);
        assert_eq!(issuer(failed(500)).judge(at(0)), None);
    }

    #[test]
    fn an_expired_ca_is_not_ready() {
        let message = "the CA \"CN=root\" expired at 2027-01-14T08:00:00Z; renew it";
        check(ca(-48 * 3600), (false, "CAExpired", message));
    }

    #[test]
    fn an_issuer_that_can_sign_is_ready() {
        check(ca(0), (true, "KeyPairVerified", "signs as \"CN=root\" until 2027-01-16T08:00:00Z"));
    }

    #[test]
    fn the_next_look_is_when_the_verdict_changes() {
        let issuer = issuer(ca(0));
        let early = issuer.judge(at(0)).unwrap();
        let last_part = early.again.unwrap();
        assert_eq!(early.advice, None);
        let before = issuer.judge(last_part - SignedDuration::from_secs(1)).unwrap();
        assert_eq!((before.advice, before.again), (None, Some(last_part)));
        let late = issuer.judge(last_part).unwrap();
        let (reason, text) = late.advice.unwrap();
        assert_eq!(reason, "CAExpiresSoon");
        assert!(late.ready && text.contains("expires at 2027-01-16T08:00:00Z"), "{text}");
        let expired = issuer.judge(late.again.unwrap()).unwrap();
        assert_eq!((expired.ready, expired.reason, expired.again), (false, "CAExpired", None));
        let future = self::issuer(ca(24 * 3600)).judge(at(0)).unwrap();
        assert_eq!(future.reason, "ErrInvalidKeyPair");
        assert!(issuer.judge(future.again.unwrap()).unwrap().ready);
    }

    fn attempt(state: State<Material>) -> Outcome {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let names = vec![SubjectAltName::Dns("a.test".to_owned())];
        let request = Request::build(&RequestSpec { names, ..RequestSpec::default() }, &key).unwrap();
        let terms = Terms::default();
        let order = Order { request: &request, terms: &terms, subject_key: None, now: at(0) };
        issuer(state).attempt(&order)
    }

    #[test]
    fn what_is_missing_is_waited_for_and_what_passes_is_tried_again() {
        let check = |state, expected: &str| {
            let shown = match attempt(state) {
                Outcome::Issued(_) => "Issued".to_owned(),
                Outcome::Wait { reason, .. } => format!("Wait {reason}"),
                Outcome::Retry { reason, .. } => format!("Retry {reason}"),
                Outcome::Terminal { reason, .. } => format!("Terminal {reason}"),
            };
            assert_eq!(shown, expected);
        };
        check(State::Absent, "Wait SecretMissing");
        check(present(&[]), "Wait SecretInvalidData");
        check(failed(403), "Wait SecretGetError");
        check(failed(500), "Retry SecretGetError");
        check(State::Pending, "Retry SecretGetError");
        check(ca(-48 * 3600), "Wait SecretInvalidData");
        check(ca(0), "Issued");
    }
}
