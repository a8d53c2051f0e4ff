//! Whether an issuer could sign now: the pure decision behind its Ready condition (spec/issuance.md §§6, 7).

use api::{IssuerSpec, IssuerType};
use issuance::outcome::causes;
use jiff::Timestamp;

use crate::ca::{CaSecret, CaSecretError};

/// The Ready condition of an issuer, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerReadiness {
    /// Whether it can sign.
    pub ready: bool,
    /// One word for machines, as the peer says it.
    pub reason: &'static str,
    /// For people: what is wrong and what would be right.
    pub message: String,
}

impl IssuerReadiness {
    fn ready(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ready: true, reason, message: message.into() }
    }

    fn unready(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ready: false, reason, message: message.into() }
    }
}

/// The Secret that [`readiness`] has to be given: the CA's. Other types need none, or are not ours yet.
pub fn secret_name(spec: &IssuerSpec) -> Option<&str> {
    spec.ca.as_ref().map(|ca| ca.secret_name.as_str())
}

/// Judges an issuer; `secret` is the one that [`secret_name`] names, `None` when it does not exist. `None` is the
/// answer for types that we do not have yet, whose status is not ours to write.
pub fn readiness(spec: &IssuerSpec, secret: Option<&CaSecret>, now: Timestamp) -> Option<IssuerReadiness> {
    match spec.types().as_slice() {
        [IssuerType::Ca] => Some(ca_readiness(secret_name(spec).unwrap_or_default(), secret, now)),
        [IssuerType::SelfSigned] => Some(IssuerReadiness::ready("IsReady", "self-signing needs nothing")),
        [IssuerType::Acme | IssuerType::Vault | IssuerType::Venafi] => None,
        [] => Some(IssuerReadiness::unready(
            "ErrInvalidIssuer",
            "spec names no type; set one of ca, selfSigned, vault, acme, venafi",
        )),
        types => {
            let fields: Vec<_> = types.iter().map(|issuer_type| issuer_type.field()).collect();
            let message = format!("spec names several types ({}); keep one", fields.join(", "));
            Some(IssuerReadiness::unready("ErrInvalidIssuer", message))
        }
    }
}

fn ca_readiness(name: &str, secret: Option<&CaSecret>, now: Timestamp) -> IssuerReadiness {
    let Some(ca) = secret else {
        return IssuerReadiness::unready(
            "ErrGetKeyPair",
            format!("Secret {name:?} does not exist; create it"),
        );
    };
    let authority = match ca.authority() {
        Ok(authority) => authority,
        Err(error @ CaSecretError::Missing(_)) => {
            return IssuerReadiness::unready("ErrGetKeyPair", format!("Secret {name:?} {error}"));
        }
        Err(error @ CaSecretError::Authority(_)) => {
            return IssuerReadiness::unready("ErrInvalidKeyPair", format!("Secret {name:?} {error}"));
        }
    };
    match authority.check_valid_at(now) {
        Ok(()) => IssuerReadiness::ready(
            "KeyPairVerified",
            format!(
                "signs as {:?} until {}",
                authority.certificate().subject(),
                authority.certificate().not_after()
            ),
        ),
        Err(error) => IssuerReadiness::unready("ErrInvalidKeyPair", causes(&error)),
    }
}

#[cfg(test)]
mod tests {
    use issuance::authority::Authority;
    use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
    use jiff::SignedDuration;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn spec(json: &str) -> IssuerSpec {
        serde_json::from_str(json).unwrap()
    }

    fn secret(data: &[(&str, &[u8])]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    fn check(spec: &IssuerSpec, secret: Option<&Secret>, expected: (bool, &str, &str)) {
        let secret = secret.map(CaSecret::read);
        let readiness = readiness(spec, secret.as_ref(), now()).unwrap();
        assert_eq!((readiness.ready, readiness.reason, readiness.message.as_str()), expected);
    }

    #[test]
    fn an_issuer_that_cannot_sign_says_why() {
        let ca = spec(r#"{"ca":{"secretName":"root"}}"#);
        check(&ca, None, (false, "ErrGetKeyPair", "Secret \"root\" does not exist; create it"));
        let without_key = secret(&[("tls.crt", b"x"), ("tls.key", b"")]);
        let message = "Secret \"root\" has no \"tls.key\"; a CA issuer needs tls.crt and tls.key";
        check(&ca, Some(&without_key), (false, "ErrGetKeyPair", message));
        let garbage = secret(&[("tls.crt", b"x"), ("tls.key", b"y")]);
        let message = "Secret \"root\" does not hold a usable CA: the CA certificate cannot be decoded: no PEM block \
                       found; it begins with a line such as -----BEGIN CERTIFICATE-----";
        check(&ca, Some(&garbage), (false, "ErrInvalidKeyPair", message));
        let message = "spec names no type; set one of ca, selfSigned, vault, acme, venafi";
        check(&spec("{}"), None, (false, "ErrInvalidIssuer", message));
        let message = "spec names several types (ca, selfSigned); keep one";
        let both = spec(r#"{"ca":{"secretName":"root"},"selfSigned":{}}"#);
        check(&both, None, (false, "ErrInvalidIssuer", message));
    }

    #[test]
    fn an_expired_ca_is_not_ready() {
        let (chain, key) = ca_pair(now() - SignedDuration::from_hours(48));
        let secret = secret(&[("tls.crt", &chain), ("tls.key", &key)]);
        let message = "CA \"CN=root\" is valid from 2027-01-13T07:55:00Z to 2027-01-14T08:00:00Z, \
                       and now is 2027-01-15T08:00:00Z";
        let spec = spec(r#"{"ca":{"secretName":"root"}}"#);
        check(&spec, Some(&secret), (false, "ErrInvalidKeyPair", message));
    }

    #[test]
    fn an_issuer_that_can_sign_is_ready() {
        check(&spec(r#"{"selfSigned":{}}"#), None, (true, "IsReady", "self-signing needs nothing"));
        let (chain, key) = ca_pair(now());
        let secret = secret(&[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", b"")]);
        let message = "signs as \"CN=root\" until 2027-01-16T08:00:00Z";
        check(&spec(r#"{"ca":{"secretName":"root"}}"#), Some(&secret), (true, "KeyPairVerified", message));
    }

    #[test]
    fn types_that_we_do_not_have_are_left_alone() {
        assert_eq!(readiness(&spec(r#"{"vault":{}}"#), None, now()), None);
    }

    fn ca_pair(from: Timestamp) -> (Vec<u8>, Vec<u8>) {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let authority = Authority::self_signed("root", key, SignedDuration::from_hours(24), from).unwrap();
        let chain = authority.chain().to_pem().into_bytes();
        let key = authority.key().to_pem(KeyEncoding::Pkcs1).expose().to_vec();
        (chain, key)
    }
}
