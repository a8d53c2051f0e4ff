//! The whole policy, without a client: from a request and the state of its issuer to what is to be done about it.

use std::sync::Arc;

use api::conditions;
use issuers::Issuer;

use crate::controllers::{APPROVER, Controllers, REQUESTS_CA, REQUESTS_SELF_SIGNED, REQUESTS_VAULT};
use crate::issuer::registry::IssuerState;
use crate::request::index::issuer;
use crate::request::view::RequestView;
use crate::settings::Settings;

/// What is to be done about a request.
#[derive(Clone)]
pub enum RequestPlan {
    /// Nothing: it is at its end, or another one's, or what it waits for will bring it back.
    Leave,
    /// An approver denied it: say that this is its end.
    MarkDenied,
    /// A driver asks for a pod: ask the name policy, and plan anew if it permits that.
    Judge,
    /// Approve it, and leave the rest to whoever serves its issuer.
    Approve,
    /// Have it signed.
    Sign {
        /// Whether to approve it in the same write.
        approve: bool,
        /// Asks the issuer.
        issuer: Arc<dyn Issuer>,
        /// The field of the issuer's spec, such as `ca`.
        type_: &'static str,
    },
    /// Say what it waits for.
    Pending {
        /// Whether to approve it in the same write.
        approve: bool,
        /// One word for machines.
        reason: &'static str,
        /// What is missing, and what would be right.
        message: String,
    },
    /// Nobody has approved it, and it is not ours to approve.
    Unapproved,
    /// Its issuer is of a type that is not served here; somebody else may serve it.
    Unserved {
        /// Whether to approve it.
        approve: bool,
        /// The field of the issuer's spec, such as `acme`.
        type_: &'static str,
    },
}

/// What the name policy has said to what a driver asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Nothing yet.
    NotYet,
    /// The pod may have it.
    Permitted,
}

/// Decides what is to be done about a request whose issuer is in this state.
pub fn plan(view: &RequestView, state: &IssuerState, settings: &Settings, judged: Judged) -> RequestPlan {
    if view.deleting {
        return RequestPlan::Leave;
    }
    let approve = is_to_be_approved(view, settings);
    if approve && is_of_driver(view, settings) && judged == Judged::NotYet {
        return RequestPlan::Judge;
    }
    if !view.spec.issuer.is_own_group() {
        return if approve { RequestPlan::Approve } else { RequestPlan::Leave };
    }
    if view.is_denied() {
        return RequestPlan::MarkDenied;
    }
    if view.end().is_some() || view.certificate.is_some() {
        return RequestPlan::Leave;
    }
    if !approve && !view.is_approved() {
        return RequestPlan::Unapproved;
    }
    let reference = &view.spec.issuer;
    let Some(id) = issuer(view) else {
        let message = format!(
            "issuerRef.kind is {:?}; kinds of group cert-manager.io are Issuer and ClusterIssuer",
            reference.kind_or_default()
        );
        return RequestPlan::Pending { approve, reason: "IssuerNotFound", message };
    };
    match state {
        IssuerState::Unknown => RequestPlan::Leave,
        IssuerState::Absent => RequestPlan::Pending {
            approve,
            reason: "IssuerNotFound",
            message: format!("{id} does not exist; create it or correct the reference to it"),
        },
        IssuerState::Malformed(message) => {
            RequestPlan::Pending { approve, reason: "IssuerTypeMissing", message: format!("{id}: {message}") }
        }
        IssuerState::Unsupported(type_) => RequestPlan::Unserved { approve, type_ },
        IssuerState::NotReady(message) => RequestPlan::Pending {
            approve,
            reason: "IssuerNotReady",
            message: format!("{id} cannot sign: {message}"),
        },
        IssuerState::Ready { type_, .. } if !serves(&settings.controllers, type_) => {
            RequestPlan::Unserved { approve, type_ }
        }
        IssuerState::Ready { issuer, type_ } => {
            RequestPlan::Sign { approve, issuer: Arc::clone(issuer), type_ }
        }
    }
}

/// Whether a driver has made the request, as the webhook has stamped it. What drivers ask for is for pods: whether such a
/// name belongs to the pod is another question.
fn is_of_driver(view: &RequestView, settings: &Settings) -> bool {
    view.spec.username.as_ref().is_some_and(|user| settings.drivers.contains(user))
}

/// Whether the approver is on and nobody has decided.
fn is_to_be_approved(view: &RequestView, settings: &Settings) -> bool {
    let last = [conditions::REASON_FAILED, conditions::REASON_ISSUED];
    settings.controllers.is_on(APPROVER)
        && !view.is_approved()
        && !view.is_denied()
        && !view.ready_reason().is_some_and(|reason| last.contains(&reason))
}

/// Whether requests for issuers of this type are served.
fn serves(controllers: &Controllers, type_: &str) -> bool {
    match type_ {
        "ca" => controllers.is_on(REQUESTS_CA),
        "selfSigned" => controllers.is_on(REQUESTS_SELF_SIGNED),
        "vault" => controllers.is_on(REQUESTS_VAULT),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use futures::future::{BoxFuture, FutureExt as _};
    use issuers::{IssuerReadiness, Order, Outcome};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    struct Silent;

    impl Issuer for Silent {
        fn sign<'a>(&'a self, _: &'a Order<'a>) -> BoxFuture<'a, Outcome> {
            std::future::pending().boxed()
        }

        fn readiness(&self, _: Timestamp) -> BoxFuture<'_, Option<IssuerReadiness>> {
            std::future::pending().boxed()
        }
    }

    fn ready(type_: &'static str) -> IssuerState {
        IssuerState::Ready { issuer: Arc::new(Silent), type_ }
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason})
    }

    /// A request with these conditions; `more` is merged into the whole.
    fn view(conditions: &[Value], more: &Value) -> RequestView {
        let mut request = json!({
            "metadata": {"namespace": "a", "name": "r"},
            "spec": {"request": "eA==", "username": "jane", "issuerRef": {"name": "ca"}},
            "status": {"conditions": conditions},
        });
        merge(&mut request, more);
        RequestView::of(serde_json::from_value(request).unwrap())
    }

    fn merge(into: &mut Value, more: &Value) {
        match (into.as_object_mut(), more.as_object()) {
            (Some(object), Some(more)) => {
                for (key, value) in more {
                    merge(object.entry(key).or_insert(Value::Null), value);
                }
            }
            _ => *into = more.clone(),
        }
    }

    fn shown(plan: &RequestPlan) -> String {
        let approved = |approve: bool| if approve { " after approval" } else { "" };
        match plan {
            RequestPlan::Leave => "leave".to_owned(),
            RequestPlan::Judge => "judge".to_owned(),
            RequestPlan::MarkDenied => "denied".to_owned(),
            RequestPlan::Approve => "approve".to_owned(),
            RequestPlan::Sign { approve, type_, .. } => format!("sign by {type_}{}", approved(*approve)),
            RequestPlan::Pending { approve, reason, message } => {
                format!("{reason}{}: {message}", approved(*approve))
            }
            RequestPlan::Unapproved => "unapproved".to_owned(),
            RequestPlan::Unserved { approve, type_ } => format!("unserved {type_}{}", approved(*approve)),
        }
    }

    fn check_with(flags: &[&str], view: &RequestView, state: &IssuerState, expected: &str) {
        check_judged(Judged::NotYet, flags, view, state, expected);
    }

    fn check_judged(judged: Judged, flags: &[&str], view: &RequestView, state: &IssuerState, expected: &str) {
        let args = crate::Args::try_parse_from(["signet-controller"].iter().chain(flags)).unwrap();
        let settings = crate::config::Config::load(args).unwrap().settings;
        assert_eq!(shown(&plan(view, state, &settings, judged)), expected, "{flags:?} {:?}", view.conditions);
    }

    fn check(view: &RequestView, state: &IssuerState, expected: &str) {
        check_with(&[], view, state, expected);
    }

    #[test]
    fn what_is_going_is_left() {
        let deleting = view(&[], &json!({"metadata": {"deletionTimestamp": "2027-01-15T08:00:00Z"}}));
        check(&deleting, &ready("ca"), "leave");
    }

    #[test]
    fn what_is_at_its_end_is_left() {
        check(&view(&[condition("Denied", "True", "x")], &json!({})), &ready("ca"), "denied");
        let approved = condition("Approved", "True", "x");
        for last in [
            condition("InvalidRequest", "True", "x"),
            condition("Ready", "False", "Failed"),
            condition("Ready", "True", "Issued"),
        ] {
            check(&view(&[approved.clone(), last], &json!({})), &ready("ca"), "leave");
        }
        let signed = view(&[approved], &json!({"status": {"certificate": "eA=="}}));
        check(&signed, &ready("ca"), "leave");
    }

    #[test]
    fn a_request_to_another_group_is_approved_and_left() {
        let foreign = json!({"spec": {"issuerRef": {"group": "example.com"}}});
        check(&view(&[], &foreign), &IssuerState::Absent, "approve");
        check(&view(&[condition("Approved", "True", "x")], &foreign), &IssuerState::Absent, "leave");
        check(&view(&[condition("Denied", "True", "x")], &foreign), &IssuerState::Absent, "leave");
        check(&view(&[condition("Ready", "False", "Failed")], &foreign), &IssuerState::Absent, "leave");
        let off = ["--controllers=-certificaterequests-approver"];
        check_with(&off, &view(&[], &foreign), &IssuerState::Absent, "leave");
    }

    #[test]
    fn without_an_approval_nothing_is_signed() {
        let off = ["--controllers=-certificaterequests-approver"];
        check_with(&off, &view(&[], &json!({})), &ready("ca"), "unapproved");
        let approved = [condition("Approved", "True", "x")];
        check_with(&off, &view(&approved, &json!({})), &ready("ca"), "sign by ca");
    }

    #[test]
    fn what_drivers_ask_for_is_judged_before_anybody_approves_it() {
        let driver = json!({"spec": {"username": "system:serviceaccount:a:b"}});
        let flags = ["--driver-accounts=system:serviceaccount:a:b"];
        let fresh = view(&[], &driver);
        for state in
            [ready("ca"), IssuerState::Absent, IssuerState::Unsupported("acme"), IssuerState::Unknown]
        {
            check_with(&flags, &fresh, &state, "judge");
        }
        let foreign =
            json!({"spec": {"username": "system:serviceaccount:a:b", "issuerRef": {"group": "example.com"}}});
        check_with(&flags, &view(&[], &foreign), &IssuerState::Absent, "judge");
        let off = [flags[0], "--controllers=-certificaterequests-approver"];
        check_with(&off, &fresh, &ready("ca"), "unapproved");
        let permitted = |view: &RequestView, expected: &str| {
            check_judged(Judged::Permitted, &flags, view, &ready("ca"), expected);
        };
        permitted(&fresh, "sign by ca after approval");
        permitted(&view(&[], &foreign), "approve");
        // Others have decided.
        check_with(&flags, &view(&[condition("Approved", "True", "x")], &driver), &ready("ca"), "sign by ca");
        check_with(&flags, &view(&[condition("Denied", "True", "x")], &driver), &ready("ca"), "denied");
        check_with(&flags, &view(&[], &json!({})), &ready("ca"), "sign by ca after approval");
    }

    #[test]
    fn what_is_missing_is_told() {
        let fresh = view(&[], &json!({}));
        check(&fresh, &IssuerState::Unknown, "leave");
        let message = "IssuerNotFound after approval: Issuer a/ca does not exist; create it or correct the reference to it";
        check(&fresh, &IssuerState::Absent, message);
        let malformed = IssuerState::Malformed("spec names no type".to_owned());
        check(&fresh, &malformed, "IssuerTypeMissing after approval: Issuer a/ca: spec names no type");
        let unready = IssuerState::NotReady("ErrGetKeyPair: m".to_owned());
        check(&fresh, &unready, "IssuerNotReady after approval: Issuer a/ca cannot sign: ErrGetKeyPair: m");
        let wrong = view(&[], &json!({"spec": {"issuerRef": {"kind": "Vault"}}}));
        let message = "IssuerNotFound after approval: issuerRef.kind is \"Vault\"; kinds of group cert-manager.io are \
                       Issuer and ClusterIssuer";
        check(&wrong, &IssuerState::Unknown, message);
    }

    #[test]
    fn what_is_not_served_here_may_be_served_elsewhere() {
        let fresh = view(&[], &json!({}));
        check(&fresh, &IssuerState::Unsupported("acme"), "unserved acme after approval");
        let approved = view(&[condition("Approved", "True", "x")], &json!({}));
        check(&approved, &IssuerState::Unsupported("acme"), "unserved acme");
        let off = ["--controllers=-certificaterequests-issuer-ca"];
        check_with(&off, &fresh, &ready("ca"), "unserved ca after approval");
        check_with(&off, &fresh, &ready("selfSigned"), "sign by selfSigned after approval");
        check_with(&off, &fresh, &ready("vault"), "sign by vault after approval");
        let off = ["--controllers=-certificaterequests-issuer-vault"];
        check_with(&off, &fresh, &ready("vault"), "unserved vault after approval");
    }

    #[test]
    fn a_request_with_a_ready_issuer_is_signed() {
        check(&view(&[], &json!({})), &ready("ca"), "sign by ca after approval");
        let pending = [condition("Approved", "True", "x"), condition("Ready", "False", "Pending")];
        check(&view(&pending, &json!({})), &ready("ca"), "sign by ca");
    }
}
