//! The whole policy, without a client: from an issuer, the verdict about it and the clock to the status that it should have.

use api::conditions::{self, Condition, ConditionStatus};
use issuers::IssuerReadiness;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::object::{IssuerKey, Seen};

/// What is known of an issuer by which it is judged.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// What it says itself.
    Said(IssuerReadiness),
    /// It says nothing, because what it refers to is not known yet.
    Unknown,
    /// It is of a type that we do not have, such as `acme`.
    Unsupported(&'static str),
}

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

/// Decides which status an issuer should have.
pub fn plan(key: &IssuerKey, seen: &Seen, verdict: &Verdict, now: Timestamp) -> Plan {
    match verdict {
        Verdict::Said(said) => write(key, seen, said, now),
        Verdict::Unknown => Plan::Wait,
        Verdict::Unsupported(type_) => Plan::Unsupported {
            message: format!(
                "issuers of type {type_} are not served by this controller; their status stays as it was last written"
            ),
        },
    }
}

fn write(key: &IssuerKey, seen: &Seen, said: &IssuerReadiness, now: Timestamp) -> Plan {
    let status = if said.ready { ConditionStatus::True } else { ConditionStatus::False };
    let mut wanted = Condition::new(conditions::READY, status, said.reason, said.message.as_str());
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
    use super::*;
    use crate::object::{IssuerKind, testing};
    use expect_test::expect;
    use jiff::SignedDuration;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use runtime::watch::ObjectName;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn key() -> IssuerKey {
        IssuerKey { kind: IssuerKind::Issuer, name: ObjectName::namespaced("team-a", "ca") }
    }

    fn seen(conditions: Vec<Condition>) -> Seen {
        let mut seen = testing::seen(r#"{"ca":{"secretName":"root"}}"#);
        seen.status.conditions = conditions;
        seen
    }

    fn missing() -> Verdict {
        Verdict::Said(IssuerReadiness::unready("ErrGetKeyPair", "m"))
    }

    fn verified() -> Verdict {
        Verdict::Said(IssuerReadiness::ready("KeyPairVerified", "m"))
    }

    /// The plan in one line: `True KeyPairVerified since SECONDS, news`, or the variant's name.
    fn check(seen: &Seen, verdict: &Verdict, expected: &str) -> Vec<Condition> {
        let (shown, conditions) = match plan(&key(), seen, verdict, now()) {
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
        check(&seen(Vec::new()), &Verdict::Unknown, "Wait");
    }

    #[test]
    fn a_type_that_we_do_not_have_keeps_its_status() {
        check(
            &seen(Vec::new()),
            &Verdict::Unsupported("acme"),
            "issuers of type acme are not served by this controller; their status stays as it was last written",
        );
    }

    #[test]
    fn an_issuer_becomes_ready_with_its_secret_and_is_then_left_alone() {
        let conditions = check(&seen(Vec::new()), &missing(), "False ErrGetKeyPair since 0 s, news");
        check(&seen(conditions.clone()), &missing(), "InSync");
        let conditions = check(&seen(conditions), &verified(), "True KeyPairVerified since 0 s, news");
        check(&seen(conditions), &verified(), "InSync");
    }

    #[test]
    fn a_new_generation_is_observed_without_a_transition() {
        let mut conditions = check(&seen(Vec::new()), &verified(), "True KeyPairVerified since 0 s, news");
        for condition in &mut conditions {
            condition.last_transition_time = Some(Time(now() - SignedDuration::from_secs(60)));
            condition.observed_generation = Some(2);
        }
        check(&seen(conditions), &verified(), "True KeyPairVerified since -60 s, no news");
    }

    #[test]
    fn the_apply_holds_the_ready_condition_and_nothing_else() {
        let verdict = Verdict::Said(IssuerReadiness::ready("IsReady", "self-signing needs nothing"));
        let Plan::Write { body, .. } = plan(&key(), &seen(Vec::new()), &verdict, now()) else {
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
