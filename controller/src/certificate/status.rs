//! The status of a Certificate, as pure functions: what it is to be after each thing that can happen to it.

use api::CertificateStatus;
use api::conditions::{self, Condition, ConditionStatus};
use issuance::certificate::Certificate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use crate::certificate::checks::Finding;
use crate::certificate::view::CertificateView;

/// Reason of a failure: what was issued is not what was asked for.
pub const INVALID_CERTIFICATE: &str = "InvalidCertificate";
/// Reason of a failure: no request could be made.
pub const REQUEST_FAILED: &str = "RequestFailed";

/// What the Secret says about a Certificate.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Why it does not do; `None` when it does.
    pub unready: Option<&'a Finding>,
    /// What is served from it.
    pub leaf: Option<&'a Certificate>,
    /// When that is to be renewed.
    pub renewal: Option<Timestamp>,
}

/// The status of a Certificate as it is to be.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    view: &'a CertificateView,
    status: CertificateStatus,
    now: Timestamp,
}

impl<'a> Draft<'a> {
    /// As it is.
    pub fn new(view: &'a CertificateView, now: Timestamp) -> Self {
        Self { view, status: view.status.clone(), now }
    }

    /// The status, whole.
    pub fn finish(self) -> CertificateStatus {
        self.status
    }

    /// Says what the Secret holds: Ready, and the times of the certificate.
    #[must_use]
    pub fn observed(mut self, observed: Observed<'_>) -> Self {
        let Observed { unready, leaf, renewal } = observed;
        let served = leaf
            .map(|leaf| format!("certificate {} is served until {}", leaf.serial_hex(), leaf.not_after()));
        match unready {
            None => {
                let message = served.unwrap_or_default();
                self.set(conditions::READY, ConditionStatus::True, "Ready", &message);
            }
            Some(finding) => {
                let message = match served.filter(|_| finding.reason != "Expired") {
                    Some(served) => format!("{}; {served}", finding.message),
                    None => finding.message.clone(),
                };
                self.set(conditions::READY, ConditionStatus::False, finding.reason, &message);
            }
        }
        self.status.not_before = leaf.map(|leaf| Time(leaf.not_before()));
        self.status.not_after = leaf.map(|leaf| Time(leaf.not_after()));
        self.status.renewal_time = leaf.and(renewal).map(Time);
        self
    }

    /// Begins an issuance.
    #[must_use]
    pub fn begun(mut self, finding: &Finding) -> Self {
        self.set(conditions::ISSUING, ConditionStatus::True, finding.reason, &finding.message);
        self
    }

    /// Names the Secret with the key of the issuance under way; `None`: there is none.
    #[must_use]
    pub fn with_key(mut self, name: Option<&str>) -> Self {
        self.status.next_private_key_secret_name = name.map(str::to_owned);
        self
    }

    /// Ends an issuance that failed, at `failed_at` by somebody else's clock or now.
    #[must_use]
    pub fn failed(mut self, reason: &str, message: &str, failed_at: Option<Timestamp>) -> Self {
        self.set(conditions::ISSUING, ConditionStatus::False, reason, message);
        let at = failed_at.map_or(self.now, |at| at.max(self.now));
        self.status.last_failure_time = Some(Time(at));
        let attempts = self.status.failed_issuance_attempts.unwrap_or(0).max(0).saturating_add(1);
        self.status.failed_issuance_attempts = Some(attempts);
        self.with_key(None)
    }

    /// Ends an issuance whose result is in the Secret.
    #[must_use]
    pub fn succeeded(mut self, revision: i64) -> Self {
        self.status.conditions.retain(|condition| condition.type_ != conditions::ISSUING);
        self.status.revision = Some(revision);
        self.status.last_failure_time = None;
        self.status.failed_issuance_attempts = None;
        self.with_key(None)
    }

    fn set(&mut self, type_: &str, status: ConditionStatus, reason: &str, message: &str) {
        let mut condition = Condition::new(type_, status, reason, message);
        condition.observed_generation = self.view.generation;
        conditions::set(&mut self.status.conditions, condition, self.now);
    }
}

/// Body of the merge patch that makes `before` into `after`; fields that go are null, those of others stay. It holds the
/// whole list of conditions, so it may only be sent with the version that was read.
pub fn patch(before: &CertificateStatus, after: &CertificateStatus) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, before: Value, after: Value| {
        if before != after {
            fields.insert(name.to_owned(), after);
        }
    };
    put("conditions", json!(before.conditions), json!(after.conditions));
    put("lastFailureTime", json!(before.last_failure_time), json!(after.last_failure_time));
    put("notBefore", json!(before.not_before), json!(after.not_before));
    put("notAfter", json!(before.not_after), json!(after.not_after));
    put("renewalTime", json!(before.renewal_time), json!(after.renewal_time));
    put("revision", json!(before.revision), json!(after.revision));
    let (key, attempts) = ("nextPrivateKeySecretName", "failedIssuanceAttempts");
    put(key, json!(before.next_private_key_secret_name), json!(after.next_private_key_secret_name));
    put(attempts, json!(before.failed_issuance_attempts), json!(after.failed_issuance_attempts));
    json!({ "status": fields })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::fixture::Case;
    use crate::testing::{at, now};

    fn finding(reason: &'static str) -> Finding {
        Finding { reason, message: "why".to_owned() }
    }

    fn condition<'a>(status: &'a CertificateStatus, type_: &str) -> &'a Condition {
        conditions::find(&status.conditions, type_).unwrap()
    }

    #[test]
    fn a_failure_is_counted_and_dated_not_before_it_is_known() {
        let case = Case::ready();
        let failed =
            |at| Draft::new(&case.certificate, now()).with_key(Some("k")).failed("Denied", "no", at).finish();
        let status = failed(None);
        assert_eq!(status.failed_issuance_attempts, Some(1));
        assert_eq!(
            (status.last_failure_time, status.next_private_key_secret_name),
            (Some(Time(now())), None)
        );
        assert_eq!(failed(Some(at(5))).last_failure_time, Some(Time(now())));
        let later = now() + jiff::SignedDuration::from_secs(9);
        assert_eq!(failed(Some(later)).last_failure_time, Some(Time(later)));
        let issuing = condition(&failed(None), conditions::ISSUING).clone();
        assert_eq!((issuing.status, issuing.reason.as_deref()), (ConditionStatus::False, Some("Denied")));
    }

    #[test]
    fn what_does_not_do_says_what_is_served_meanwhile() {
        let case = Case::ready();
        let leaf = case.secret.as_ref().and_then(crate::certificate::secret::SecretView::leaf);
        let message = |reason, leaf| {
            let finding = finding(reason);
            let observed = Observed { unready: Some(&finding), leaf, renewal: None };
            let status = Draft::new(&case.certificate, now()).observed(observed).finish();
            condition(&status, conditions::READY).message.clone().unwrap()
        };
        assert_eq!(message("DoesNotExist", None), "why");
        assert_eq!(message("Expired", leaf), "why");
        let serial = leaf.unwrap().serial_hex();
        let expected = format!("why; certificate {serial} is served until {}", leaf.unwrap().not_after());
        assert_eq!(message("RequestChanged", leaf), expected);
    }

    #[test]
    fn a_success_leaves_no_trace_of_failures_and_keeps_what_is_not_ours() {
        let mut case = Case::ready();
        case.certificate.status.conditions.push(Condition::new("Other", ConditionStatus::True, "R", "m"));
        let begun = Draft::new(&case.certificate, now()).begun(&finding("Renewing")).with_key(Some("k"));
        let mut view = case.certificate.clone();
        view.status = begun.failed("Failed", "no", None).finish();
        let status = Draft::new(&view, now()).succeeded(2).finish();
        assert_eq!(status.revision, Some(2));
        assert!(status.last_failure_time.is_none() && status.failed_issuance_attempts.is_none());
        assert!(conditions::find(&status.conditions, conditions::ISSUING).is_none());
        assert!(conditions::is_true(&status.conditions, "Other"));
    }

    #[test]
    fn a_patch_says_what_changes_and_nothing_else() {
        let case = Case::ready();
        let before = &case.certificate.status;
        assert_eq!(patch(before, before), json!({"status": {}}));
        let observed = Observed { unready: Some(&finding("DoesNotExist")), leaf: None, renewal: None };
        let after = Draft::new(&case.certificate, now()).observed(observed).finish();
        let body = patch(before, &after);
        let status = &body["status"];
        assert_eq!(
            (&status["notAfter"], &status["notBefore"], &status["renewalTime"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert!(status.get("revision").is_none() && status.get("acme").is_none());
        assert_eq!(status["conditions"][0]["reason"], "DoesNotExist");
    }
}
