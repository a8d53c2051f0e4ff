//! The whole policy, without a client: from an issuer, its Secret and the clock to the status that it should have.

use api::conditions::{self, Condition, ConditionStatus};
use issuers::CaSecret;
use jiff::Timestamp;
use runtime::watch::State;
use serde_json::{Value, json};

use crate::object::{IssuerKey, Seen};

/// What is to be done with an issuer.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Write this status.
    Write {
        /// Body of the server-side apply to the status: the Ready condition and nothing else.
        body: Value,
        /// The Ready condition that it holds.
        ready: Condition,
        /// Whether status or reason differ from before, so that people should hear of it.
        is_news: bool,
    },
    /// The status is as it should be.
    InSync,
    /// The issuer is of a type that we do not have yet: its status stays as it is.
    Unsupported {
        /// For people: which type, and what to do.
        message: String,
    },
    /// Not enough is known; the answer about the Secret will bring the issuer back.
    Wait,
}

/// Decides which status an issuer should have. `secret` is what is known of the Secret that it refers to, and
/// [`State::Absent`] where it refers to none.
pub fn plan(key: &IssuerKey, seen: &Seen, secret: &State<CaSecret>, now: Timestamp) -> Plan {
    let secret = match secret {
        State::Present(secret) => Some(secret.as_ref()),
        State::Absent => None,
        State::Failed(failure) if failure.is_forbidden() => {
            let text = format!(
                "reading its Secret is forbidden: {failure}; the controller needs get, list and watch on it"
            );
            return write(key, seen, false, "ErrGetKeyPair", &text, now);
        }
        // An API server that is away for a while says nothing about the issuer.
        State::Failed(_) | State::Pending => return Plan::Wait,
    };
    match issuers::readiness(&seen.spec, secret, now) {
        Some(verdict) => write(key, seen, verdict.ready, verdict.reason, &verdict.message, now),
        None => {
            let types: Vec<_> = seen.spec.types().into_iter().map(api::IssuerType::field).collect();
            let message = format!(
                "issuers of type {} are not served by this controller; their status stays as it was last written",
                types.join(", ")
            );
            Plan::Unsupported { message }
        }
    }
}

fn write(key: &IssuerKey, seen: &Seen, ready: bool, reason: &str, message: &str, now: Timestamp) -> Plan {
    let status = if ready { ConditionStatus::True } else { ConditionStatus::False };
    let mut wanted = Condition::new(conditions::READY, status, reason, message);
    wanted.observed_generation = seen.generation;
    let mut all = seen.status.conditions.clone();
    let before = conditions::find(&all, conditions::READY);
    let is_news =
        before.is_none_or(|before| before.status != wanted.status || before.reason != wanted.reason);
    if !conditions::set(&mut all, wanted, now) {
        return Plan::InSync;
    }
    let Some(ready) = conditions::find(&all, conditions::READY).cloned() else {
        return Plan::InSync; // `set` has just put it there
    };
    let resource = key.kind.resource();
    let mut metadata = json!({
        "name": key.name.name,
        "resourceVersion": seen.resource_version,
    });
    if let Some(namespace) = &key.name.namespace {
        metadata["namespace"] = json!(namespace);
    }
    let body = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "status": { "conditions": [ready] },
    });
    Plan::Write { body, ready, is_news }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::object::IssuerKind;
    use api::IssuerStatus;
    use expect_test::expect;
    use issuance::authority::Authority;
    use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
    use jiff::SignedDuration;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use runtime::watch::{Failure, ObjectName};

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn key() -> IssuerKey {
        IssuerKey { kind: IssuerKind::Issuer, name: ObjectName::namespaced("team-a", "ca") }
    }

    fn seen(spec: &str, conditions: Vec<Condition>) -> Seen {
        Seen {
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            generation: Some(3),
            deleting: false,
            spec: serde_json::from_str(spec).unwrap(),
            status: IssuerStatus { conditions, ..IssuerStatus::default() },
        }
    }

    fn ca_secret() -> State<CaSecret> {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let lifetime = SignedDuration::from_hours(24);
        let ca = Authority::self_signed("root", key, lifetime, now()).unwrap();
        let data = [
            ("tls.crt", ca.chain().to_pem().into_bytes()),
            ("tls.key", ca.key().to_pem(KeyEncoding::Pkcs8).expose().to_vec()),
        ];
        let data = data.into_iter().map(|(name, value)| (name.to_owned(), ByteString(value)));
        State::Present(Arc::new(CaSecret::take(Secret { data: Some(data.collect()), ..Secret::default() })))
    }

    const CA: &str = r#"{"ca":{"secretName":"root"}}"#;

    fn failed(code: Option<u16>) -> State<CaSecret> {
        State::Failed(Failure { code, message: "no".to_owned() })
    }

    /// The plan in one line: `True KeyPairVerified since SECONDS, news`, or the variant's name.
    fn check(seen: &Seen, secret: &State<CaSecret>, expected: &str) -> Vec<Condition> {
        let (shown, conditions) = match plan(&key(), seen, secret, now()) {
            Plan::Write { ready, is_news, .. } => {
                let since = ready.last_transition_time.clone().unwrap().0.as_second() - now().as_second();
                let news = if is_news { "news" } else { "no news" };
                let reason = ready.reason.clone().unwrap();
                (format!("{} {reason} since {since} s, {news}", ready.status), vec![ready])
            }
            Plan::InSync => ("InSync".to_owned(), seen.status.conditions.clone()),
            Plan::Unsupported { message } => (message, Vec::new()),
            Plan::Wait => ("Wait".to_owned(), Vec::new()),
        };
        assert_eq!(shown, expected);
        conditions
    }

    #[test]
    fn what_is_not_known_is_not_judged() {
        check(&seen(CA, Vec::new()), &State::Pending, "Wait");
        check(&seen(CA, Vec::new()), &failed(None), "Wait");
        check(&seen(CA, Vec::new()), &failed(Some(403)), "False ErrGetKeyPair since 0 s, news");
    }

    #[test]
    fn a_type_that_we_do_not_have_keeps_its_status() {
        check(
            &seen(r#"{"vault":{}}"#, Vec::new()),
            &State::Absent,
            "issuers of type vault are not served by this controller; their status stays as it was last written",
        );
    }

    #[test]
    fn an_issuer_becomes_ready_with_its_secret_and_is_then_left_alone() {
        let conditions = check(&seen(CA, Vec::new()), &State::Absent, "False ErrGetKeyPair since 0 s, news");
        check(&seen(CA, conditions.clone()), &State::Absent, "InSync");
        let secret = ca_secret();
        let conditions = check(&seen(CA, conditions), &secret, "True KeyPairVerified since 0 s, news");
        check(&seen(CA, conditions), &secret, "InSync");
    }

    #[test]
    fn a_new_generation_is_observed_without_a_transition() {
        let mut conditions =
            check(&seen(CA, Vec::new()), &ca_secret(), "True KeyPairVerified since 0 s, news");
        for condition in &mut conditions {
            let before = now() - SignedDuration::from_secs(60);
            condition.last_transition_time =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(before));
            condition.observed_generation = Some(2);
        }
        check(&seen(CA, conditions), &ca_secret(), "True KeyPairVerified since -60 s, no news");
    }

    #[test]
    fn the_apply_holds_the_ready_condition_and_nothing_else() {
        let Plan::Write { body, .. } =
            plan(&key(), &seen(r#"{"selfSigned":{}}"#, Vec::new()), &State::Absent, now())
        else {
            panic!("a status is due");
        };
        expect![[r#"
            {
              "apiVersion": "cert-manager.io/v1",
              "kind": "Issuer",
              "metadata": {
                "name": "ca",
                "namespace": "team-a",
                "resourceVersion": "7"
              },
              "status": {
                "conditions": [
                  {
                    "lastTransitionTime": "2027-01-15T08:00:00Z",
                    "message": "self-signing needs nothing",
                    "observedGeneration": 3,
                    "reason": "IsReady",
                    "status": "True",
                    "type": "Ready"
                  }
                ]
              }
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&body).unwrap());
    }
}
