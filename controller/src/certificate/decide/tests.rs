use api::conditions::{self, Condition, ConditionStatus};
use issuance::key::PrivateKey;
use issuance::outcome::Outcome;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::certificate::fixture::{Case, answered};
use crate::certificate::secret::{Key, KeySecretView, Pair};
use crate::certificate::snapshot::{Enabled, IssuerFacts, Namesake, Passwords};
use crate::object::{IssuerKey, IssuerKind};
use crate::request::view::Owner;
use crate::testing::{self, at, now};

fn look(case: &Case) -> Decision {
    decide(&case.snapshot(), case.now)
}

fn reasons(decision: &Decision) -> Vec<&str> {
    decision.news.iter().map(|news| news.reason.as_ref()).collect()
}

/// Status and reason of a condition.
fn condition<'a>(decision: &'a Decision, type_: &str) -> Option<(&'a ConditionStatus, &'a str)> {
    let found = conditions::find(&decision.status.conditions, type_)?;
    Some((&found.status, found.reason.as_deref().unwrap_or_default()))
}

fn failed(reason: &'static str) -> Outcome {
    Outcome::Terminal { reason, message: "no".to_owned() }
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

/// Being issued, with its key.
fn keyed() -> (Case, PrivateKey) {
    let (mut case, key) = (Case::new(), testing::key());
    case.settle();
    case.keys = vec![case.key_secret(1, &key)];
    (case, key)
}

/// Being issued, with its key and a request that waits.
fn requested() -> (Case, PrivateKey) {
    let (mut case, key) = keyed();
    case.requests = vec![case.request(1, &key)];
    (case, key)
}

// Certificates that are left alone.

#[test]
fn a_certificate_that_is_being_deleted_is_left_alone() {
    let mut case = Case::new();
    case.certificate.deleting = true;
    let decision = look(&case);
    assert_eq!((decision.status, decision.step), (case.certificate.status, Step::Rest));
}

#[test]
fn a_namespace_that_is_not_served_is_told_and_nothing_is_written() {
    let case = Case { is_served: false, ..Case::new() };
    let decision = look(&case);
    assert_eq!(reasons(&decision), ["NamespaceNotServed"]);
    assert_eq!((decision.status, decision.step), (case.certificate.status, Step::Rest));
}

#[test]
fn a_secret_of_another_certificate_is_not_touched() {
    let mut case = Case::new();
    case.namesakes = vec![Namesake { name: "early".to_owned(), created: at(1) }];
    let decision = look(&case);
    assert_eq!(condition(&decision, "Ready"), Some((&ConditionStatus::False, "SecretNameConflict")));
    assert_eq!(condition(&decision, "Issuing"), None);
    assert_eq!((decision.step, decision.again), (Step::Rest, Some(now() + minutes(3))));
}

#[test]
fn the_secret_of_the_own_issuer_is_not_touched() {
    let key =
        IssuerKey { kind: IssuerKind::Issuer, name: runtime::watch::ObjectName::namespaced("team-a", "ca") };
    let mut case = Case { is_ca_of: Some(key), ..Case::new() };
    let decision = look(&case);
    assert_eq!(condition(&decision, "Ready"), Some((&ConditionStatus::False, "SecretIsIssuerCA")));
    case.settle();
    assert_eq!((look(&case).step, look(&case).again), (Step::Rest, None));
}

#[test]
fn a_secret_that_is_not_watched_is_read_first() {
    let case = Case::new();
    let snapshot = Snapshot { secret: Target::Unknown, ..case.snapshot() };
    assert_eq!(decide(&snapshot, now()).step, Step::LookLive);
}

#[test]
fn parts_that_are_off_do_nothing() {
    let off = |change: fn(&mut Enabled), case: &mut Case| {
        change(&mut case.policy.enabled);
        case.settle();
        look(case).step
    };
    let mut case = Case::new();
    assert_eq!(off(|enabled| enabled.trigger = false, &mut case), Step::Rest);
    assert!(!case.certificate.is_issuing());
    let mut case = Case::new();
    assert_eq!(off(|enabled| enabled.keys = false, &mut case), Step::Rest);
    assert_eq!(case.certificate.status.next_private_key_secret_name, None);
    assert_eq!(off(|enabled| enabled.requests = false, &mut keyed().0), Step::Rest);
    let (mut case, key) = requested();
    let request = case.issued(&case.requests[0].clone(), &key);
    (case.requests, case.secret) = (vec![request], None);
    assert_eq!(off(|enabled| enabled.issuing = false, &mut case), Step::Rest);
    let mut case = Case::new();
    off(|enabled| enabled.readiness = false, &mut case);
    assert!(case.certificate.condition("Ready").is_none() && case.certificate.is_issuing());
    let mut case = Case::ready();
    case.requests.push(RequestView { revision: Some(0), ..case.request(0, &testing::key()) });
    assert_eq!(off(|enabled| enabled.revisions = false, &mut case), Step::Rest);
}

// Back-off.

/// Its first attempt was refused a minute ago.
fn refused() -> Case {
    let (mut case, _) = requested();
    case.requests[0] = answered(&case.requests[0], &failed("SigningError"), now());
    case.keys.clear();
    case.settle();
    case.now = now() + minutes(1);
    case
}

#[test]
fn a_refused_attempt_is_not_repeated_before_its_time() {
    let mut case = refused();
    assert_eq!((look(&case).step, look(&case).again), (Step::Rest, Some(now() + minutes(60))));
    case.now = now() + minutes(60);
    assert_eq!(condition(&look(&case), "Issuing"), Some((&ConditionStatus::True, "DoesNotExist")));
}

#[test]
fn a_spec_that_was_changed_after_a_refusal_is_tried_at_once() {
    let mut case = refused();
    case.edit(|spec| spec["dnsNames"] = json!(["b.test"]));
    assert_eq!(condition(&look(&case), "Issuing"), Some((&ConditionStatus::True, "DoesNotExist")));
    case.settle();
    case.keys = vec![case.key_secret(1, &testing::key())];
    assert_eq!(look(&case).step, Step::Delete { keys: vec![], requests: vec!["web-1".to_owned()] });
}

#[test]
fn a_request_that_cannot_be_read_any_more_ends_the_pause() {
    let mut case = refused();
    std::sync::Arc::make_mut(&mut case.requests[0].spec).csr = b"x".to_vec();
    assert_eq!(condition(&look(&case), "Issuing"), Some((&ConditionStatus::True, "DoesNotExist")));
}

#[test]
fn a_request_whose_failure_is_recorded_is_taken_away_when_the_next_attempt_begins() {
    let mut case = refused();
    case.now = now() + minutes(60);
    case.settle();
    assert_eq!(look(&case).step, Step::MakeKey { secret: "web-next-key-1".to_owned(), reuse: false });
    case.keys = vec![case.key_secret(1, &testing::key())];
    assert_eq!(look(&case).step, Step::Delete { keys: vec![], requests: vec!["web-1".to_owned()] });
}

// Ends of a request.

fn check_failure(change: impl Fn(&mut RequestView), reason: &str) {
    let (mut case, _) = requested();
    change(&mut case.requests[0]);
    let decision = look(&case);
    assert_eq!(condition(&decision, "Issuing"), Some((&ConditionStatus::False, reason)));
    assert_eq!(reasons(&decision), [reason]);
    assert_eq!(decision.status.failed_issuance_attempts, Some(1));
    assert_eq!(decision.status.next_private_key_secret_name, None);
    // It is counted once.
    case.settle();
    assert_eq!(case.certificate.status.failed_issuance_attempts, Some(1));
    assert_eq!(look(&case).step, Step::Delete { keys: vec!["web-next-key-1".to_owned()], requests: vec![] });
}

fn true_condition(type_: &str, reason: &str) -> Condition {
    Condition::new(type_, ConditionStatus::True, reason, "m")
}

#[test]
fn a_refusal_of_the_issuer_fails_the_attempt() {
    check_failure(|request| *request = answered(request, &failed("SigningError"), now()), "Failed");
}

#[test]
fn a_denial_fails_the_attempt_even_if_it_was_signed_all_the_same() {
    check_failure(
        |request| {
            request.conditions =
                vec![true_condition("Denied", "NamePolicy"), true_condition("Ready", "Issued")];
        },
        "NamePolicy",
    );
}

#[test]
fn a_request_that_its_issuer_finds_invalid_fails_the_attempt() {
    check_failure(
        |request| request.conditions = vec![true_condition("InvalidRequest", "BadName")],
        "BadName",
    );
}

#[test]
fn a_failure_that_is_dated_before_the_request_is_recorded_all_the_same() {
    check_failure(
        |request| {
            *request = answered(request, &failed("SigningError"), now());
            request.failure_time = Some(at(5));
        },
        "Failed",
    );
}

#[test]
fn a_failure_by_a_clock_that_is_ahead_is_counted_once() {
    let (mut case, _) = requested();
    case.requests[0] = answered(&case.requests[0], &failed("SigningError"), now() + minutes(9));
    case.settle();
    assert_eq!(case.certificate.status.last_failure_time, Some(Time(now() + minutes(9))));
    assert_eq!(case.certificate.status.failed_issuance_attempts, Some(1));
}

#[test]
fn the_failure_of_an_interrupted_attempt_in_one_go_is_recorded() {
    let mut case = Case { issuer: IssuerFacts::Ready { is_synchronous: true }, ..Case::new() };
    let request = case.request(1, &testing::key());
    case.requests = vec![answered(&request, &failed("SigningError"), now())];
    assert_eq!(condition(&look(&case), "Issuing"), Some((&ConditionStatus::False, "Failed")));
}

#[test]
fn a_spec_of_which_no_request_can_be_made_fails_the_attempt() {
    let (mut case, _) = keyed();
    case.edit(|spec| spec["ipAddresses"] = json!(["x"]));
    let decision = look(&case);
    assert_eq!(condition(&decision, "Issuing"), Some((&ConditionStatus::False, "RequestFailed")));
    assert_eq!(reasons(&decision), ["RequestFailed"]);
    case.settle();
    case.keys.clear();
    assert_eq!((look(&case).step, look(&case).again), (Step::Rest, Some(now() + minutes(1))));
}

#[test]
fn what_only_the_writer_can_know_fails_the_attempt_too() {
    let (case, _) = requested();
    let decision = attempt_failed(&case.snapshot(), "InvalidCertificate", "no", now());
    assert_eq!(condition(&decision, "Issuing"), Some((&ConditionStatus::False, "InvalidCertificate")));
    assert_eq!(decision.status.last_failure_time, Some(Time(now())));
}

// Keys.

#[test]
fn a_key_that_does_not_fit_is_taken_away() {
    let (mut case, _) = keyed();
    case.keys[0].key = Key::Bad("x".to_owned());
    let decision = look(&case);
    assert_eq!(decision.step, Step::Delete { keys: vec!["web-next-key-1".to_owned()], requests: vec![] });
    assert_eq!(reasons(&decision), ["Deleted"]);
    case.keys[0].deleting = true;
    assert_eq!(look(&case).step, Step::Rest);
}

#[test]
fn of_several_keys_the_one_that_the_status_names_is_kept() {
    let (mut case, key) = keyed();
    case.keys.push(named("web-7h2kd", &case, &key));
    assert_eq!(look(&case).step, Step::Delete { keys: vec!["web-7h2kd".to_owned()], requests: vec![] });
    case.certificate.status.next_private_key_secret_name = Some("web-7h2kd".to_owned());
    assert_eq!(look(&case).step, Step::Delete { keys: vec!["web-next-key-1".to_owned()], requests: vec![] });
}

#[test]
fn a_key_with_a_random_name_is_gone_on_with_unless_it_is_of_another_revision() {
    let (mut case, key) = keyed();
    case.keys = vec![named("web-7h2kd", &case, &key)];
    assert_eq!(look(&case).status.next_private_key_secret_name.as_deref(), Some("web-7h2kd"));
    case.keys = vec![named("web-next-key-7", &case, &key)];
    assert_eq!(look(&case).step, Step::Delete { keys: vec!["web-next-key-7".to_owned()], requests: vec![] });
}

/// A Secret with the key under this name.
fn named(name: &str, case: &Case, key: &PrivateKey) -> KeySecretView {
    KeySecretView { name: name.to_owned(), uid: name.to_owned(), ..case.key_secret(1, key) }
}

#[test]
fn a_secret_of_somebody_else_under_the_name_of_the_key_fails_the_attempt() {
    let (mut case, _) = keyed();
    let owner = Owner { kind: "Certificate".to_owned(), name: "web".to_owned(), uid: "other".to_owned() };
    case.keys[0].owner = Some(owner);
    assert_eq!(condition(&look(&case), "Issuing"), Some((&ConditionStatus::False, "RequestFailed")));
}

/// Its Secret is emptied but for a key, and the key is to stay.
fn never(key: Key) -> Case {
    let mut case = Case::ready();
    case.edit(|spec| spec["privateKey"] = json!({"algorithm": "ECDSA", "rotationPolicy": "Never"}));
    let secret = case.secret.as_mut().unwrap();
    (secret.key, secret.pair) = (key, Pair::Missing("tls.crt"));
    case.settle();
    case
}

#[test]
fn a_key_is_made_or_used_again_as_the_policy_says() {
    let check = |case: &Case, reuse: bool, expected: &[&str]| {
        let decision = look(case);
        let revision = case.certificate.next_revision();
        assert_eq!(decision.step, Step::MakeKey { secret: format!("web-next-key-{revision}"), reuse });
        assert_eq!(reasons(&decision), expected);
    };
    let mut case = Case::new();
    case.settle();
    check(&case, false, &["Generated"]);
    check(&never(Key::Good(testing::key().public_key().clone())), true, &["Reused"]);
    check(&never(Key::Absent), false, &["Generated"]);
    check(&never(Key::Bad("x".to_owned())), false, &["DecodeFailed", "Generated"]);
}

#[test]
fn a_key_that_must_stay_and_does_not_fit_stops_the_issuance() {
    let mut case = never(Key::Good(testing::key().public_key().clone()));
    case.edit(|spec| spec["privateKey"]["size"] = json!(384));
    case.settle();
    let decision = look(&case);
    assert_eq!((&decision.step, decision.again), (&Step::Rest, None));
    assert_eq!(reasons(&decision), ["CannotRegenerateKey"]);
    assert!(case.certificate.is_issuing());
}

// Requests.

#[test]
fn a_request_for_another_key_or_spec_is_taken_away() {
    let (mut case, _) = keyed();
    case.requests = vec![case.request(1, &testing::key())];
    let gone = Step::Delete { keys: vec![], requests: vec!["web-1".to_owned()] };
    assert_eq!(look(&case).step, gone);
    case.requests[0].deleting = true;
    assert_eq!(look(&case).step, Step::Rest);
    let (mut case, _) = requested();
    case.edit(|spec| spec["dnsNames"] = json!(["b.test"]));
    case.settle();
    assert_eq!(look(&case).step, gone);
}

#[test]
fn of_two_requests_of_one_revision_the_one_with_the_fixed_name_is_kept() {
    let (mut case, key) = requested();
    let mut other = case.request(1, &key);
    other.name.name = "web-x".to_owned();
    other.created = at(1);
    case.requests.insert(0, other);
    assert_eq!(look(&case).step, Step::Delete { keys: vec![], requests: vec!["web-x".to_owned()] });
}

#[test]
fn requests_without_a_revision_are_taken_away_and_those_of_others_are_not() {
    let (mut case, key) = requested();
    let mut foreign = case.request(1, &key);
    foreign.owner = None;
    foreign.name.name = "foreign".to_owned();
    case.requests.push(foreign);
    assert_eq!(look(&case).step, Step::Rest);
    let mut unnumbered = case.request(1, &key);
    (unnumbered.revision, unnumbered.name.name) = (None, "unnumbered".to_owned());
    case.requests.push(unnumbered);
    assert_eq!(look(&case).step, Step::Delete { keys: vec![], requests: vec!["unnumbered".to_owned()] });
}

#[test]
fn a_password_that_is_missing_is_told_and_waited_for() {
    let (mut case, _) = keyed();
    case.passwords = Passwords::Missing("which".to_owned());
    assert_eq!(
        (look(&case).step, reasons(&look(&case))),
        (Step::Rest, vec!["KeystorePasswordSecretNotFound"])
    );
    case.passwords = Passwords::Pending;
    assert_eq!(look(&case).step, Step::Rest);
    case.passwords = Passwords::Known;
    let asked =
        Step::Request { revision: 1, name: "web-1".to_owned(), key_secret: "web-next-key-1".to_owned() };
    assert_eq!((look(&case).step, reasons(&look(&case))), (asked, vec!["Requested"]));
}

#[test]
fn a_request_that_waits_gets_a_temporary_certificate_if_that_is_wanted() {
    let (mut case, _) = requested();
    assert_eq!(look(&case).step, Step::Rest);
    case.certificate.temporary = true;
    let step = Step::StoreTemporary { request: "web-1".to_owned(), key_secret: "web-next-key-1".to_owned() };
    assert_eq!((look(&case).step, reasons(&look(&case))), (step, vec!["Issuing"]));
    case.secret = Case::ready().secret;
    case.settle();
    assert_eq!(look(&case).step, Step::Rest);
}

#[test]
fn an_issuer_that_is_not_served_is_told_before_the_certificate_ends() {
    let (mut case, _) = requested();
    case.issuer = IssuerFacts::Unsupported("acme");
    assert_eq!(reasons(&look(&case)), ["IssuerTypeUnsupported"]);
    let mut case = Case::ready();
    let (renewal, end) = (
        case.certificate.status.renewal_time.clone().unwrap().0,
        case.certificate.status.not_after.clone().unwrap().0,
    );
    (case.issuer, case.now) = (IssuerFacts::Unsupported("acme"), renewal);
    case.settle();
    let key = testing::key();
    case.keys = vec![case.key_secret(2, &key)];
    case.requests.push(case.request(2, &key));
    let half = renewal + end.duration_since(renewal) / 2;
    assert_eq!((reasons(&look(&case)), look(&case).again), (vec![], Some(half)));
    case.now = half;
    assert_eq!(reasons(&look(&case)), ["IssuerTypeUnsupported"]);
}

// Ends that are good.

#[test]
fn what_was_issued_is_stored_and_then_recorded() {
    let (mut case, key) = requested();
    let request = case.issued(&case.requests[0].clone(), &key);
    let stored = case.secret.take();
    case.requests = vec![request];
    let step = Step::Store { request: "web-1".to_owned(), key_secret: "web-next-key-1".to_owned() };
    assert_eq!(look(&case).step, step);
    case.secret = stored;
    let decision = look(&case);
    assert_eq!(reasons(&decision), ["Issuing"]);
    assert_eq!(condition(&decision, "Ready"), Some((&ConditionStatus::True, "Ready")));
    assert_eq!((condition(&decision, "Issuing"), decision.status.revision), (None, Some(1)));
    assert!(decision.status.renewal_time.is_some() && decision.status.next_private_key_secret_name.is_none());
    case.settle();
    assert_eq!(look(&case).step, Step::Delete { keys: vec!["web-next-key-1".to_owned()], requests: vec![] });
}

#[test]
fn what_was_stored_by_an_issuance_in_one_go_is_recorded_without_it() {
    let mut case = Case::new();
    let key = testing::key();
    let request = case.issued(&case.request(1, &key), &key);
    case.requests = vec![request];
    let decision = look(&case);
    assert_eq!((decision.status.revision, reasons(&decision)), (Some(1), vec!["Issuing"]));
}

#[test]
fn a_certificate_of_the_key_that_was_kept_is_not_taken_for_the_new_one() {
    let mut case = Case::ready();
    let leaf = case.secret.clone();
    let key = testing::key();
    let request = case.issued(&case.request(2, &key), &key);
    case.requests.push(request);
    case.secret = leaf;
    assert_eq!(look(&case).status.revision, Some(1));
}

#[test]
fn an_issuance_in_one_go_needs_an_issuer_that_answers_at_once_and_a_clean_place() {
    let mut case = Case { issuer: IssuerFacts::Ready { is_synchronous: true }, ..Case::new() };
    let step = |replace| Step::IssueAtOnce { revision: 1, name: "web-1".to_owned(), replace, reuse: false };
    let decision = look(&case);
    assert_eq!((decision.step.clone(), reasons(&decision)), (step(false), vec!["Issuing"]));
    assert_eq!(decision.status, case.certificate.status);
    // What an interrupted one left.
    case.requests = vec![case.request(1, &testing::key())];
    assert_eq!(look(&case).step, step(true));
    case.requests[0].deleting = true;
    assert_eq!(look(&case).step, Step::Rest);
    case.requests.clear();
    case.keys = vec![case.key_secret(1, &testing::key())];
    assert!(condition(&look(&case), "Issuing").is_some());
    case.keys.clear();
    case.passwords = Passwords::Pending;
    assert!(condition(&look(&case), "Issuing").is_some());
    case.passwords = Passwords::Known;
    case.policy.enabled.answering = false;
    assert!(condition(&look(&case), "Issuing").is_some());
}

#[test]
fn a_renewal_that_somebody_asked_for_is_done_in_one_go_too() {
    let mut case = Case { issuer: IssuerFacts::Ready { is_synchronous: true }, ..Case::ready() };
    case.certificate.status.conditions.push(true_condition("Issuing", "ManuallyTriggered"));
    let step = Step::IssueAtOnce { revision: 2, name: "web-2".to_owned(), replace: false, reuse: false };
    assert_eq!(look(&case).step, step);
}

#[test]
fn a_renewal_that_somebody_asked_for_and_the_issuer_refuses_is_recorded_and_not_repeated_at_once() {
    let mut case = Case { issuer: IssuerFacts::Ready { is_synchronous: true }, ..Case::ready() };
    case.certificate.status.conditions.push(true_condition("Issuing", "ManuallyTriggered"));
    let request = case.request(2, &testing::key());
    case.requests.push(answered(&request, &failed("SigningError"), now()));
    let decision = look(&case);
    assert_eq!(decision.step, Step::Rest);
    assert_eq!(decision.status.failed_issuance_attempts, Some(1));
    assert_eq!(condition(&decision, "Issuing"), Some((&ConditionStatus::False, "Failed")));
}

// A Certificate at rest.

#[test]
fn a_certificate_at_rest_is_looked_at_when_it_is_to_be_renewed() {
    let mut case = Case::ready();
    let renewal = case.certificate.status.renewal_time.clone().unwrap().0;
    assert_eq!((look(&case).step, look(&case).again), (Step::Rest, Some(renewal)));
    case.now = renewal;
    assert_eq!(condition(&look(&case), "Issuing"), Some((&ConditionStatus::True, "Renewing")));
    assert_eq!(condition(&look(&case), "Ready"), Some((&ConditionStatus::True, "Ready")));
}

#[test]
fn a_certificate_that_is_never_renewed_is_looked_at_when_it_expires() {
    let mut case = Case::ready();
    case.edit(|spec| spec["renewal"] = json!({"policy": "Disabled"}));
    case.settle();
    let end = case.certificate.status.not_after.clone().unwrap().0;
    assert_eq!(case.certificate.status.renewal_time, None);
    assert_eq!(look(&case).again, Some(end + SignedDuration::from_secs(1)));
}

#[test]
fn a_window_that_never_opens_is_told_once_for_the_certificate() {
    let mut case = Case::ready();
    case.edit(|spec| spec["renewal"] = json!({"windows": [{"cron": "0 0 29 2 *", "windowDuration": "1h"}]}));
    case.settle();
    case.now = case.certificate.status.renewal_time.clone().unwrap().0;
    assert_eq!(reasons(&look(&case)), ["Issuing", "WindowError"]);
}

#[test]
fn old_requests_are_taken_away_once_the_newest_is_in_the_secret() {
    let mut case = Case::ready();
    for revision in [0, -1] {
        case.requests.push(case.request(revision, &testing::key()));
    }
    let gone = |requests: &[&str]| {
        let requests = requests.iter().map(|name| (*name).to_owned()).collect();
        Step::Delete { keys: vec![], requests }
    };
    assert_eq!(look(&case).step, gone(&["web-0", "web--1"]));
    case.edit(|spec| spec["revisionHistoryLimit"] = json!(2));
    case.settle();
    assert_eq!(look(&case).step, gone(&["web--1"]));
    case.edit(|spec| spec["revisionHistoryLimit"] = json!(-5));
    case.settle();
    assert_eq!(look(&case).step, gone(&["web-0", "web--1"]));
    // The failed request of the next revision is not what counts as newest.
    let failing = answered(&case.request(2, &testing::key()), &failed("SigningError"), now());
    case.requests.push(failing);
    assert_eq!(look(&case).step, gone(&["web-0", "web--1"]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_there_is_the_status_settles_and_the_look_is_repeated_alike(
        parts in proptest::collection::vec(0_usize..18, 0..7), later in 0_i64..200_000
    ) {
        let mut case = Case::ready();
        let key = testing::key();
        for part in parts {
            bend(&mut case, &key, part);
        }
        case.now = now() + minutes(later);
        case.settle();
        let decision = look(&case);
        prop_assert_eq!(&decision.status, &case.certificate.status);
        prop_assert_eq!(&look(&case), &decision);
        prop_assert!(decision.again.is_none_or(|again| again > case.now));
        if let Step::Delete { keys, requests } = &decision.step {
            prop_assert!(!(keys.is_empty() && requests.is_empty()));
        }
    }
}

fn bend(case: &mut Case, key: &PrivateKey, part: usize) {
    match part {
        0 => case.secret = None,
        1 => case.secret.iter_mut().for_each(|secret| secret.pair = Pair::Mismatch),
        2 => case.secret.iter_mut().for_each(|secret| secret.is_temporary = true),
        3 => case.edit(|spec| spec["dnsNames"] = json!(["b.test"])),
        4 => case.edit(|spec| spec["ipAddresses"] = json!(["x"])),
        5 => case.edit(|spec| spec["privateKey"] = json!({"rotationPolicy": "Never"})),
        6 => case.keys.push(case.key_secret(case.certificate.next_revision(), key)),
        7 if case.certificate.spec.ip_addresses.is_empty() => {
            case.requests.push(case.request(case.certificate.next_revision(), key));
        }
        8 => {
            if let Some(last) = case.requests.last_mut().filter(|last| last.end().is_none()) {
                *last = answered(last, &failed("SigningError"), now());
            }
        }
        9 => case.requests.clear(),
        10 => case.issuer = IssuerFacts::Ready { is_synchronous: true },
        11 => case.issuer = IssuerFacts::Unsupported("acme"),
        12 => case.certificate.status.conditions.push(true_condition("Issuing", "ManuallyTriggered")),
        13 => case.certificate.temporary = true,
        14 => case.passwords = Passwords::Missing("which".to_owned()),
        15 => case.namesakes = vec![Namesake { name: "early".to_owned(), created: at(1) }],
        16 => case.certificate.status.last_failure_time = Some(Time(now())),
        _ => case.certificate.status.revision = None,
    }
}
