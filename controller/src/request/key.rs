//! The private key of a request that is to sign itself, from the Secret that the request names.
//!
//! Who may create CertificateRequests may name any Secret of the namespace. So that this does not let them sign with keys
//! that they may not read, a key counts only if it is there for certificates: one that an issuance under way has made, or
//! that of a Certificate.

use std::sync::Arc;
use std::time::Duration;

use api::keys::{annotation, label};
use issuance::key::PrivateKey;
use issuance::outcome::causes;
use issuance::request::Request;
use issuers::Outcome;
use k8s_openapi::api::core::v1::Secret;
use runtime::watch::{ObjectName, State};
use zeroize::Zeroize as _;

/// Entry of the Secret with the key (`kubernetes.io/tls`).
const PRIVATE_KEY: &str = "tls.key";

/// When to come back after the API server gave no answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is kept of a Secret that a request names.
#[derive(Debug)]
pub struct KeySecret {
    key: Result<PrivateKey, String>,
    /// Whether an issuance under way has made it.
    pub is_next_key: bool,
}

impl KeySecret {
    /// Takes the key out of a Secret that nobody else needs, and erases the rest.
    pub fn take(mut secret: Secret) -> Self {
        let labels = secret.metadata.labels.as_ref();
        let is_next_key = labels
            .and_then(|labels| labels.get(label::NEXT_PRIVATE_KEY))
            .is_some_and(|value| value == "true");
        let text =
            secret.data.as_ref().and_then(|data| data.get(PRIVATE_KEY)).map(|value| value.0.as_slice());
        let key = match text.filter(|text| !text.is_empty()) {
            Some(text) => PrivateKey::from_pem(text).map_err(|error| causes(&error)),
            None => Err(format!("there is no {PRIVATE_KEY:?}")),
        };
        for value in secret.data.iter_mut().flat_map(|data| data.values_mut()) {
            value.0.zeroize();
        }
        Self { key, is_next_key }
    }

    /// The key, if it is that of `request`.
    ///
    /// # Errors
    /// The outcome of there being none, or another one.
    pub fn key_of(&self, name: &ObjectName, request: &Request) -> Result<&PrivateKey, Outcome> {
        let key = self.key.as_ref().map_err(|error| Outcome::Wait {
            reason: "ErrorParsingKey",
            message: format!("Secret {name} holds no private key: {error}"),
        })?;
        if key.public_key() != request.public_key() {
            let message = format!(
                "the private key in Secret {name} is not that of the request; name the Secret that holds it"
            );
            return Err(Outcome::Terminal { reason: "ErrorKeyMatch", message });
        }
        Ok(key)
    }
}

/// The Secret that a request names, as far as it is known.
///
/// # Errors
/// The outcome of there being none.
pub fn found(
    name: Option<ObjectName>,
    state: State<KeySecret>,
) -> Result<(ObjectName, Arc<KeySecret>), Outcome> {
    let Some(name) = name else {
        let message = format!(
            "a certificate that signs itself is signed with its own key: name the Secret that holds it in annotation {}",
            annotation::PRIVATE_KEY_SECRET_NAME
        );
        return Err(Outcome::Terminal { reason: "MissingAnnotation", message });
    };
    match state {
        State::Present(secret) => Ok((name, secret)),
        State::Absent => Err(Outcome::Wait {
            reason: "MissingSecret",
            message: format!(
                "Secret {name} with the private key does not exist; create it with {PRIVATE_KEY}"
            ),
        }),
        State::Pending => Err(unknown(format!("the API server has not answered yet about Secret {name}"))),
        State::Failed(failure) => {
            Err(unknown(format!("Secret {name} with the private key cannot be read: {failure}")))
        }
    }
}

/// That something about the key could not be found out, and will be tried again.
pub fn unknown(message: String) -> Outcome {
    Outcome::Retry { after: RETRY_AFTER, reason: "ErrorGettingSecret", message }
}

/// The refusal of a key that is there for something else.
pub fn not_allowed(name: &ObjectName) -> Outcome {
    let message = format!(
        "Secret {name} is not there for certificates: it has no label {} and no Certificate names it",
        label::NEXT_PRIVATE_KEY
    );
    Outcome::Terminal { reason: "ErrorKeyNotAllowed", message }
}

#[cfg(test)]
mod tests {
    use issuance::key::KeyEncoding;
    use runtime::watch::Failure;
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn secret(data: &[u8], labels: &serde_json::Value) -> KeySecret {
        let mut secret: Secret = serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap();
        secret.data = Some([(PRIVATE_KEY.to_owned(), k8s_openapi::ByteString(data.to_vec()))].into());
        KeySecret::take(secret)
    }

    fn name() -> ObjectName {
        ObjectName::namespaced("a", "key")
    }

    fn shown(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Issued(_) => "Issued".to_owned(),
            Outcome::Wait { reason, .. } => format!("Wait {reason}"),
            Outcome::Retry { reason, .. } => format!("Retry {reason}"),
            Outcome::Terminal { reason, .. } => format!("Terminal {reason}"),
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_waited_for() {
        let check = |name: Option<ObjectName>, state, expected: &str| {
            assert_eq!(shown(&found(name, state).unwrap_err()), expected);
        };
        let failed = Failure { code: Some(500), message: "no".to_owned() };
        check(None, State::Absent, "Terminal MissingAnnotation");
        check(Some(name()), State::Absent, "Wait MissingSecret");
        check(Some(name()), State::Pending, "Retry ErrorGettingSecret");
        check(Some(name()), State::Failed(failed), "Retry ErrorGettingSecret");
    }

    #[test]
    fn only_the_key_of_the_request_is_used() {
        let (key, other) = (testing::key(), testing::key());
        let request = testing::request("a.test", &key);
        let pem = |key: &PrivateKey| secret(key.to_pem(KeyEncoding::Pkcs8).expose(), &json!({}));
        let refused = |secret: KeySecret| shown(&secret.key_of(&name(), &request).map(drop).unwrap_err());
        assert_eq!(refused(secret(b"garbage", &json!({}))), "Wait ErrorParsingKey");
        assert_eq!(refused(secret(b"", &json!({}))), "Wait ErrorParsingKey");
        assert_eq!(refused(pem(&other)), "Terminal ErrorKeyMatch");
        assert!(pem(&key).key_of(&name(), &request).is_ok());
    }

    #[test]
    fn a_key_of_an_issuance_is_known_by_its_label() {
        let next = |value: &str| secret(b"", &json!({"cert-manager.io/next-private-key": value})).is_next_key;
        assert!(!next("false") && next("true"));
        assert!(!secret(b"", &json!({})).is_next_key);
        assert_eq!(shown(&not_allowed(&name())), "Terminal ErrorKeyNotAllowed");
    }
}
