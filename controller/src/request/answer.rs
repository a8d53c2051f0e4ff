//! The status that answers a CertificateRequest, as pure functions: from what is there and what happened to what is to be
//! written.
//!
//! What is written once stays: a decision of the approvers, a Ready condition that is final, certificate, CA and failure
//! time. Conditions of requests have no observedGeneration.

use api::conditions::{self, Condition, ConditionStatus};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use issuance::authority::Terms;
use issuance::outcome::{Outcome, causes};
use issuance::request::Request;
use issuance::verification::{self, Asked};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::news::News;
use crate::request::view::{Digest, RequestView};

/// Reason of an approval, as the peer writes it.
pub const REASON_APPROVED: &str = "cert-manager.io";

/// Event: an issued certificate is not what was asked for.
pub const INVALID_CERTIFICATE: &str = "InvalidCertificate";

/// What is to be written to the status of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusBody {
    /// All conditions as they are to be.
    conditions: Vec<Condition>,
    /// Chain and CA as PEM.
    issued: Option<(Vec<u8>, Vec<u8>)>,
    failure_time: Option<Timestamp>,
    /// What people should hear once it is written.
    pub news: Vec<News>,
}

/// The status after the attempt to have `view` signed, with an approval if `approve` says so. `None`: the status is so
/// already, or is final.
pub fn answer(view: &RequestView, approve: bool, outcome: &Outcome, now: Timestamp) -> Option<StatusBody> {
    if is_final(view) {
        return None;
    }
    let mut body = StatusBody::new(view);
    if approve {
        body.approve(view, now);
    }
    match outcome {
        Outcome::Issued(issued) => {
            let leaf = issued.chain.leaf();
            let mut message =
                format!("certificate {} is valid until {}", leaf.serial_hex(), leaf.not_after());
            for note in &issued.notes {
                message = format!("{message}; {note}");
            }
            body.news.push(News::normal("CertificateIssued", message.as_str()));
            body.ready(ConditionStatus::True, conditions::REASON_ISSUED, &message, now);
            body.issued = Some((issued.chain.to_pem().into_bytes(), issued.ca.to_pem().into_bytes()));
        }
        Outcome::Terminal { reason, message } => {
            body.news.push(News::warning(*reason, message.as_str()));
            body.ready(ConditionStatus::False, conditions::REASON_FAILED, message, now);
            body.fail(view, now);
        }
        Outcome::Wait { reason, message } | Outcome::Retry { reason, message, .. } => {
            if view.ready_reason() != Some(conditions::REASON_PENDING) {
                body.news.push(News::normal(*reason, message.as_str()));
            }
            let message = format!("{reason}: {message}");
            body.ready(ConditionStatus::False, conditions::REASON_PENDING, &message, now);
        }
    }
    body.unless_same_as(view)
}

/// The approval alone. `None`: it was decided on already, or is at its end.
pub fn approval(view: &RequestView, now: Timestamp) -> Option<StatusBody> {
    if is_final(view) {
        return None;
    }
    let mut body = StatusBody::new(view);
    body.approve(view, now);
    body.unless_same_as(view)
}

/// Our own refusal to approve, with what follows from it. `None`: it was decided on already.
pub fn refusal(view: &RequestView, reason: &str, message: &str, now: Timestamp) -> Option<StatusBody> {
    if is_decided(view) || is_final(view) {
        return None;
    }
    let mut body = StatusBody::new(view);
    body.set(Condition::new(conditions::DENIED, ConditionStatus::True, reason, message), now);
    body.news.push(News::warning(reason.to_owned(), message));
    body.deny(view, message, now);
    Some(body)
}

/// What follows from the refusal of an approver: the request is at its end. `None`: that was written already.
pub fn denial(view: &RequestView, now: Timestamp) -> Option<StatusBody> {
    if !view.is_denied() || is_ready_final(view) {
        return None;
    }
    let said = view.condition(conditions::DENIED).and_then(|denied| denied.message.as_deref());
    let message = format!("an approver denied the request: {}", said.unwrap_or("no reason was given"));
    let mut body = StatusBody::new(view);
    body.deny(view, &message, now);
    Some(body)
}

/// The outcome, unless what was issued is not what was asked for: then that it must not be used.
pub fn verified(outcome: Outcome, request: &Request, terms: &Terms, now: Timestamp) -> Outcome {
    let Outcome::Issued(mut issued) = outcome else { return outcome };
    match verification::verify(&issued, &Asked::of(request, terms), now) {
        Ok(warnings) => {
            issued.notes.extend(warnings.iter().map(|warning| causes(warning)));
            Outcome::Issued(issued)
        }
        Err(error) => Outcome::Terminal {
            reason: INVALID_CERTIFICATE,
            message: format!("the issuer gave back what was not asked for: {}", causes(&error)),
        },
    }
}

impl StatusBody {
    fn new(view: &RequestView) -> Self {
        let conditions = view.conditions.clone();
        Self { conditions, issued: None, failure_time: None, news: Vec::new() }
    }

    /// Body of the merge patch to the status. It holds the whole list of conditions, so it may only be sent with the
    /// version that was read.
    pub fn to_json(&self) -> Value {
        let mut status = Map::new();
        status.insert("conditions".to_owned(), json!(self.conditions));
        if let Some((chain, ca)) = &self.issued {
            status.insert("certificate".to_owned(), json!(BASE64_STANDARD.encode(chain)));
            if !ca.is_empty() {
                status.insert("ca".to_owned(), json!(BASE64_STANDARD.encode(ca)));
            }
        }
        if let Some(time) = self.failure_time {
            status.insert("failureTime".to_owned(), json!(time.to_string()));
        }
        json!({ "status": status })
    }

    /// The request as it is once this was written as `version`.
    pub fn on(&self, view: &RequestView, version: String) -> RequestView {
        RequestView {
            version,
            conditions: self.conditions.clone(),
            certificate: self.issued.as_ref().map(|(chain, _)| Digest::of(chain)).or(view.certificate),
            failure_time: self.failure_time.or(view.failure_time),
            ..view.clone()
        }
    }

    fn approve(&mut self, view: &RequestView, now: Timestamp) {
        if !is_decided(view) {
            let message = "approved by the controller, which approves what no other approver is asked about";
            let approved =
                Condition::new(conditions::APPROVED, ConditionStatus::True, REASON_APPROVED, message);
            self.set(approved, now);
            self.news.push(News::normal(REASON_APPROVED, message));
        }
    }

    fn deny(&mut self, view: &RequestView, message: &str, now: Timestamp) {
        self.ready(ConditionStatus::False, conditions::REASON_DENIED, message, now);
        self.fail(view, now);
    }

    fn fail(&mut self, view: &RequestView, now: Timestamp) {
        if view.failure_time.is_none() {
            self.failure_time = Some(now);
        }
    }

    fn ready(&mut self, status: ConditionStatus, reason: &str, message: &str, now: Timestamp) {
        self.set(Condition::new(conditions::READY, status, reason, message), now);
    }

    fn set(&mut self, condition: Condition, now: Timestamp) {
        conditions::set(&mut self.conditions, condition, now);
    }

    fn unless_same_as(self, view: &RequestView) -> Option<Self> {
        let is_same =
            self.conditions == view.conditions && self.issued.is_none() && self.failure_time.is_none();
        (!is_same).then_some(self)
    }
}

/// Whether an approver has spoken.
fn is_decided(view: &RequestView) -> bool {
    view.is_approved() || view.is_denied()
}

fn is_final(view: &RequestView) -> bool {
    view.end().is_some() || view.certificate.is_some()
}

fn is_ready_final(view: &RequestView) -> bool {
    let last = [conditions::REASON_ISSUED, conditions::REASON_FAILED, conditions::REASON_DENIED];
    view.ready_reason().is_some_and(|reason| last.contains(&reason))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::CertificateRequest;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, at, now};

    fn view(conditions: &Value) -> RequestView {
        let request = json!({"spec": {"request": "eA=="}, "status": {"conditions": conditions}});
        RequestView::of(serde_json::from_value::<CertificateRequest>(request).unwrap())
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "m"})
    }

    fn wait(message: &str) -> Outcome {
        Outcome::Wait { reason: "SecretMissing", message: message.to_owned() }
    }

    fn failed() -> Outcome {
        Outcome::Terminal { reason: "SigningError", message: "no".to_owned() }
    }

    fn issued() -> Outcome {
        Outcome::Issued(testing::issued(&testing::request("a.test", &testing::key())))
    }

    fn ready(body: &StatusBody) -> (ConditionStatus, &str, &str) {
        let found = conditions::find(&body.conditions, conditions::READY).unwrap();
        (found.status.clone(), found.reason.as_deref().unwrap(), found.message.as_deref().unwrap())
    }

    fn reasons(body: &StatusBody) -> Vec<&str> {
        body.news.iter().map(|news| news.reason.as_ref()).collect()
    }

    #[test]
    fn what_is_final_is_not_answered_again() {
        let finals = [
            condition("Ready", "True", "Issued"),
            condition("Ready", "False", "Failed"),
            condition("Ready", "False", "Denied"),
            condition("Denied", "True", "x"),
            condition("InvalidRequest", "True", "x"),
        ];
        for last in finals {
            let view = view(&json!([last]));
            for outcome in [wait("w"), failed(), issued()] {
                assert_eq!(answer(&view, true, &outcome, now()), None, "{:?}", view.conditions);
            }
        }
        let mut signed = view(&json!([]));
        signed.certificate = Some(Digest::of(b"x"));
        assert_eq!(answer(&signed, true, &failed(), now()), None);
    }

    #[test]
    fn a_decision_of_the_approvers_is_never_changed() {
        for decided in [condition("Approved", "True", "x"), condition("Denied", "True", "x")] {
            let view = view(&json!([decided]));
            assert_eq!(approval(&view, now()), None);
            assert_eq!(refusal(&view, "NamePolicy", "no", now()), None);
        }
        let denied = refusal(&view(&json!([])), "NamePolicy", "no", now()).unwrap();
        let denied = denied.on(&view(&json!([])), "2".to_owned());
        assert!(denied.is_denied());
        assert_eq!(answer(&denied, true, &issued(), now()), None);
    }

    #[test]
    fn a_request_that_an_approver_denied_is_at_its_end() {
        let denied = condition("Denied", "True", "policy");
        let view = view(&json!([denied]));
        let body = denial(&view, now()).unwrap();
        assert_eq!(ready(&body), (ConditionStatus::False, "Denied", "an approver denied the request: m"));
        assert_eq!(body.to_json()["status"]["failureTime"], "2027-01-15T08:00:00Z");
        assert!(body.news.is_empty());
        assert_eq!(denial(&body.on(&view, "2".to_owned()), now()), None);
    }

    #[test]
    fn the_time_of_a_failure_is_noted_once() {
        let mut view = view(&json!([]));
        view.failure_time = Some(at(5));
        let body = answer(&view, false, &failed(), now()).unwrap();
        assert_eq!(body.to_json()["status"].get("failureTime"), None);
        assert_eq!(body.on(&view, String::new()).failure_time, Some(at(5)));
    }

    #[test]
    fn a_refusal_of_the_issuer_is_told_with_its_reason() {
        let body = answer(&view(&json!([])), false, &failed(), now()).unwrap();
        assert_eq!(ready(&body), (ConditionStatus::False, "Failed", "no"));
        assert_eq!(reasons(&body), ["SigningError"]);
        assert_eq!(body.news[0].level, runtime::events::Level::Warning);
    }

    #[test]
    fn waiting_is_told_once_and_written_when_the_reason_changes() {
        let before = view(&json!([]));
        let body = answer(&before, false, &wait("a"), now()).unwrap();
        assert_eq!(ready(&body), (ConditionStatus::False, "Pending", "SecretMissing: a"));
        assert_eq!(reasons(&body), ["SecretMissing"]);
        let waiting = body.on(&before, "2".to_owned());
        assert_eq!(answer(&waiting, false, &wait("a"), now()), None);
        let retry =
            Outcome::Retry { after: Duration::from_secs(5), reason: "VaultError", message: "b".into() };
        let body = answer(&waiting, false, &retry, now()).unwrap();
        assert_eq!(ready(&body), (ConditionStatus::False, "Pending", "VaultError: b"));
        assert!(body.news.is_empty());
    }

    #[test]
    fn approval_and_certificate_are_one_write() {
        let before = view(&json!([{"type": "Foreign", "status": "True"}]));
        let body = answer(&before, true, &issued(), now()).unwrap();
        let types: Vec<_> = body.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["Foreign", "Approved", "Ready"]);
        assert_eq!(reasons(&body), ["cert-manager.io", "CertificateIssued"]);
        let status = &body.to_json()["status"];
        assert!(status["certificate"].is_string() && status["ca"].is_string());
        let after = body.on(&before, "2".to_owned());
        assert!(after.certificate.unwrap().leaf.is_some() && after.is_approved());
    }

    #[test]
    fn an_issuer_without_a_ca_leaves_the_field_away() {
        let Outcome::Issued(mut issued) = issued() else { unreachable!() };
        issued.ca = issuance::bundle::Bundle::default();
        issued.notes = vec!["cut to the CA's life".to_owned()];
        let body = answer(&view(&json!([])), false, &Outcome::Issued(issued), now()).unwrap();
        assert_eq!(body.to_json()["status"].get("ca"), None);
        assert!(ready(&body).2.ends_with("; cut to the CA's life"), "{}", ready(&body).2);
    }

    #[test]
    fn a_certificate_for_something_else_is_a_failure() {
        let (asked, other) =
            (testing::request("a.test", &testing::key()), testing::request("b.test", &testing::key()));
        let terms = Terms::default();
        let wrong = verified(Outcome::Issued(testing::issued(&other)), &asked, &terms, now());
        assert_eq!(wrong.reason(), Some("InvalidCertificate"));
        let right = verified(Outcome::Issued(testing::issued(&asked)), &asked, &terms, now());
        assert!(right.issued().is_some());
    }

    proptest! {
        #[test]
        fn what_is_written_once_stays_whatever_happens_afterwards(
            steps in proptest::collection::vec((0_u8..6, any::<bool>()), 1..12)
        ) {
            let mut view = view(&json!([]));
            let certificate = issued();
            for (second, (step, approve)) in (0_i64..).zip(steps) {
                let time = at(second);
                let body = match step {
                    0 => answer(&view, approve, &wait("w"), time),
                    1 => answer(&view, approve, &failed(), time),
                    2 => answer(&view, approve, &certificate, time),
                    3 => approval(&view, time),
                    4 => refusal(&view, "NamePolicy", "no", time),
                    _ => denial(&view, time),
                };
                let Some(body) = body else { continue };
                let after = body.on(&view, second.to_string());
                prop_assert_ne!(&after.conditions, &view.conditions);
                for type_ in [conditions::APPROVED, conditions::DENIED] {
                    if let Some(before) = view.condition(type_) {
                        prop_assert_eq!(after.condition(type_), Some(before));
                    }
                }
                prop_assert!(!(after.is_approved() && after.is_denied()));
                prop_assert!(view.failure_time.is_none() || after.failure_time == view.failure_time);
                prop_assert!(view.certificate.is_none() || after.certificate == view.certificate);
                if let Some(end) = view.end() {
                    prop_assert_eq!(after.end(), Some(end));
                }
                view = after;
            }
        }
    }
}
