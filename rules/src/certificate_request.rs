//! Rules of CertificateRequest, besides those about identity.

use api::{CertificateRequestSpec, CertificateRequestStatus, Condition, ConditionStatus, conditions};

use jiff::SignedDuration;

use crate::case::{Case, Judged, Object};
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Kind};
use crate::{identity, issuer_ref, lifetime};

mod signing_request;
#[cfg(test)]
pub(crate) mod testing;
mod usages;

pub(crate) const REQUEST: &[Kind] = &[Kind::CertificateRequest];

impl Judged for CertificateRequestSpec {
    type Status = CertificateRequestStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }

    fn same(&self, other: &Self) -> bool {
        self == other || canonical(self) == canonical(other)
    }
}

static TABLES: &[&[Check<CertificateRequestSpec>]] =
    &[identity::RULES, REFERENCE, usages::RULES, signing_request::RULES, LIFETIME, LIFE];

static REFERENCE: &[Check<CertificateRequestSpec>] = &[
    Check::new(
        "R01",
        REQUEST,
        "spec.issuerRef.name",
        Class::Spec,
        "The issuer is named",
        |case, findings| {
            if case.is_create() {
                issuer_ref::is_named(&case.object.spec.issuer_ref, findings);
            }
        },
    ),
    Check::new(
        "R02",
        REQUEST,
        "spec.issuerRef.kind",
        Class::Spec,
        "The kind of an issuer of our own group is Issuer or ClusterIssuer",
        |case, findings| {
            if case.is_create() {
                issuer_ref::has_a_known_kind(&case.object.spec.issuer_ref, findings);
            }
        },
    ),
    Check::new(
        "R03",
        REQUEST,
        "spec.request",
        Class::Spec,
        "There is a signing request",
        |case, findings| {
            if case.is_create() && case.object.spec.request.0.is_empty() {
                findings
                    .here(Fault::Required)
                    .advice("put a PKCS#10 request here, in PEM and then in base64");
            }
        },
    ),
];

static LIFETIME: &[Check<CertificateRequestSpec>] = &[
    Check::new(
        "B07",
        REQUEST,
        "spec.duration",
        Class::Spec,
        "The duration can be read: numbers with the units h, m, s, ms, us or ns",
        |case, findings| {
            let path = findings.path();
            lifetime::is_readable(path, case.object.spec.duration.as_ref(), findings);
        },
    ),
    Check::new(
        "B14-W",
        REQUEST,
        "spec.duration",
        Class::Advice,
        "The duration is at least an hour: some issuers refuse less",
        |case, findings| {
            let Some(duration) = &case.object.spec.duration else { return };
            if duration.parse().is_ok_and(|length| length < DURATION_MIN) {
                findings
                    .here(Fault::Invalid)
                    .value(duration.as_str())
                    .detail("shorter than an hour, which some issuers refuse");
            }
        },
    ),
];

/// What becomes of a request once it is there.
static LIFE: &[Check<CertificateRequestSpec>] = &[
    Check::new(
        "R13",
        REQUEST,
        "status.conditions",
        Class::Identity,
        "There is at most one condition of type Approved and one of type Denied",
        decided_once,
    ),
    Check::new(
        "R14",
        REQUEST,
        "status.conditions",
        Class::Identity,
        "A condition of type Approved or Denied has status True",
        decided_with_true,
    ),
    Check::new(
        "R15",
        REQUEST,
        "status.conditions",
        Class::Identity,
        "A request is not both approved and denied",
        |case, findings| {
            let conditions = conditions_of(case.object);
            let has = |type_| conditions::find(conditions, type_).is_some();
            if has(conditions::APPROVED) && has(conditions::DENIED) {
                findings
                    .here(Fault::Forbidden)
                    .detail("approved and denied at once")
                    .advice("set one of Approved and Denied");
            }
        },
    ),
    Check::new(
        "R16",
        REQUEST,
        "metadata.annotations",
        Class::Identity,
        "Annotations of our own stay as they were on creation",
        own_annotations_stay,
    ),
    Check::new(
        "R17",
        REQUEST,
        "status.conditions",
        Class::Identity,
        "An approval is final",
        |case, findings| decision_stays(case, conditions::APPROVED, findings),
    ),
    Check::new(
        "R18",
        REQUEST,
        "status.conditions",
        Class::Identity,
        "A denial is final",
        |case, findings| {
            decision_stays(case, conditions::DENIED, findings);
        },
    ),
    Check::new(
        "R19",
        REQUEST,
        "spec",
        Class::Identity,
        "The spec stays as it was on creation",
        |case, findings| {
            if case.changes_spec() {
                findings
                    .here(Fault::Forbidden)
                    .detail("a CertificateRequest cannot be changed")
                    .advice("create another one");
            }
        },
    ),
];

/// What cert-manager demands of Certificates. Drivers that renew by themselves do ask for less.
const DURATION_MIN: SignedDuration = SignedDuration::from_hours(1);

/// The types of condition that hold an approver's decision.
const DECISIONS: [&str; 2] = [conditions::APPROVED, conditions::DENIED];

/// Annotation keys with these beginnings are our own. A beginning, not a domain: `cert-manager.io-x` counts too.
const OWN_ANNOTATIONS: [&str; 2] = [api::GROUP, api::ACME_GROUP];

fn conditions_of(object: &Object<CertificateRequestSpec>) -> &[Condition] {
    object.status.as_ref().map_or(&[], |status| &status.conditions)
}

fn decided_once(case: &Case<'_, CertificateRequestSpec>, findings: &mut Findings) {
    let conditions = conditions_of(case.object);
    for type_ in DECISIONS {
        if conditions.iter().filter(|condition| condition.type_ == type_).count() > 1 {
            findings
                .here(Fault::Forbidden)
                .detail(format!("several conditions of type {type_}"))
                .advice("keep one");
        }
    }
}

fn decided_with_true(case: &Case<'_, CertificateRequestSpec>, findings: &mut Findings) {
    let conditions = conditions_of(case.object);
    for type_ in DECISIONS {
        let Some(decision) = conditions::find(conditions, type_) else {
            continue;
        };
        if decision.status != ConditionStatus::True {
            let opposite = if type_ == conditions::APPROVED { "Denied" } else { "Approved" };
            findings
                .at(format!("status.conditions.{type_}"), Fault::Invalid)
                .value(decision.status.as_str())
                .detail(format!("{type_} has no other status than True"))
                .advice(format!("set {opposite} to True if that is meant"));
        }
    }
}

fn decision_stays(case: &Case<'_, CertificateRequestSpec>, type_: &'static str, findings: &mut Findings) {
    let decision = |object| conditions::find(conditions_of(object), type_);
    let Some(before) = case.old.and_then(decision) else {
        return;
    };
    if decision(case.object) != Some(before) {
        findings
            .here(Fault::Forbidden)
            .detail(format!("the condition {type_} is final and cannot be changed or removed"))
            .advice("write it back as it was, or create another CertificateRequest");
    }
}

fn own_annotations_stay(case: &Case<'_, CertificateRequestSpec>, findings: &mut Findings) {
    let Some(old) = case.old else { return };
    let (old, new) = (&old.metadata.annotations, &case.object.metadata.annotations);
    let removed = old.keys().filter(|key| !new.contains_key(*key));
    for key in new.keys().chain(removed) {
        let own = OWN_ANNOTATIONS.iter().any(|beginning| key.starts_with(beginning));
        if own && old.get(key) != new.get(key) {
            findings
                .at(format!("metadata.annotations.{key}"), Fault::Forbidden)
                .detail("annotations of cert-manager.io are set on creation only")
                .advice("write it back as it was");
        }
    }
}

/// The spec with its duration in one form.
fn canonical(spec: &CertificateRequestSpec) -> CertificateRequestSpec {
    let mut spec = spec.clone();
    lifetime::canonicalise(&mut spec.duration);
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judge;

    fn read(object: &Value) -> Object<CertificateRequestSpec> {
        serde_json::from_value(object.clone()).unwrap()
    }

    #[test]
    fn ten_thousand_faults_are_judged_at_once_and_a_hundred_are_told() {
        let old = good();
        let mut new = good();
        for number in 0..10_000 {
            let key = format!("cert-manager.io/forged-{number}");
            new["metadata"]["annotations"][key] = json!("x");
        }
        let (old, new) = (read(&old), read(&new));
        let began = std::time::Instant::now();
        let verdict = judge(&Case::update(&new, &old));
        assert_eq!(verdict.denials.len(), 100);
        // Comparing each with each took minutes in an unoptimised build; a tenth of a second is usual.
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }

    fn request() -> Value {
        testing::encoded(testing::PLAIN)
    }

    fn good() -> Value {
        json!({
            "metadata": {"annotations": {"cert-manager.io/private-key-secret-name": "k"}},
            "spec": {"request": request(), "issuerRef": {"name": "ca"}, "duration": "1h"},
        })
    }

    fn with_conditions(conditions: &Value) -> Value {
        let mut object = good();
        object["status"] = json!({"conditions": conditions});
        object
    }

    fn check_create(object: &Value, wanted: &[&str]) {
        let object = read(object);
        assert_told(&Case::create(&object), wanted);
    }

    fn check_update(old: &Value, new: &Value, wanted: &[&str]) {
        let (old, new) = (read(old), read(new));
        assert_told(&Case::update(&new, &old), wanted);
        // The same holds for controllers that write the status, and for objects that are being deleted.
        assert_told(&Case { subresource: Some("status"), ..Case::update(&new, &old) }, wanted);
    }

    fn assert_told(case: &Case<'_, CertificateRequestSpec>, wanted: &[&str]) {
        let told: Vec<String> =
            judge(case).denials.iter().map(|denial| format!("{} {denial}", denial.rule.id)).collect();
        assert_eq!(told, wanted);
    }

    fn approved(status: &str) -> Value {
        json!({"type": "Approved", "status": status, "reason": "R", "message": "m",
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn denied() -> Value {
        json!({"type": "Denied", "status": "True"})
    }

    #[test]
    fn an_empty_request_is_refused() {
        check_create(
            &json!({"spec": {"issuerRef": {"kind": "issuer"}}}),
            &[
                "R01 spec.issuerRef.name: Required value: name the Issuer or ClusterIssuer that is to sign",
                "R02 spec.issuerRef.kind: Invalid value: \"issuer\": not a kind of issuer in the group cert-manager.io; write Issuer or ClusterIssuer, or set spec.issuerRef.group if another controller serves this kind",
                "R03 spec.request: Required value: put a PKCS#10 request here, in PEM and then in base64",
            ],
        );
    }

    #[test]
    fn a_duration_that_cannot_be_read_is_refused() {
        let mut object = good();
        object["spec"]["duration"] = json!("2d");
        check_create(
            &object,
            &[
                "B07 spec.duration: Invalid value: \"2d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"48h\"",
            ],
        );
    }

    #[test]
    fn a_decision_that_is_ambiguous_is_refused() {
        check_create(
            &with_conditions(&json!([approved("True"), approved("True")])),
            &["R13 status.conditions: Forbidden: several conditions of type Approved; keep one"],
        );
        check_create(
            &with_conditions(&json!([approved("False")])),
            &[
                "R14 status.conditions.Approved: Invalid value: \"False\": Approved has no other status than True; set Denied to True if that is meant",
            ],
        );
        check_create(
            &with_conditions(&json!([approved("True"), denied()])),
            &[
                "R15 status.conditions: Forbidden: approved and denied at once; set one of Approved and Denied",
            ],
        );
    }

    #[test]
    fn a_decision_that_changes_is_refused() {
        let old = with_conditions(&json!([approved("True")]));
        let mut later = approved("True");
        later["lastTransitionTime"] = json!("2026-01-02T00:00:00Z");
        let final_ = "R17 status.conditions: Forbidden: the condition Approved is final and cannot be changed or removed; write it back as it was, or create another CertificateRequest";
        check_update(&old, &good(), &[final_]);
        check_update(&old, &with_conditions(&json!([later])), &[final_]);
        check_update(
            &with_conditions(&json!([denied()])),
            &with_conditions(&json!([])),
            &[
                "R18 status.conditions: Forbidden: the condition Denied is final and cannot be changed or removed; write it back as it was, or create another CertificateRequest",
            ],
        );
    }

    #[test]
    fn an_annotation_of_ours_that_changes_is_refused() {
        let mut new = good();
        new["metadata"]["annotations"] = json!({
            "acme.cert-manager.io/x": "added", "cert-manager.iox": "added",
            "venafi.cert-manager.io/custom-fields": "free", "other.example/x": "free",
        });
        let tail =
            "Forbidden: annotations of cert-manager.io are set on creation only; write it back as it was";
        check_update(
            &good(),
            &new,
            &[
                &format!("R16 metadata.annotations.acme.cert-manager.io/x: {tail}"),
                &format!("R16 metadata.annotations.cert-manager.iox: {tail}"),
                &format!("R16 metadata.annotations.cert-manager.io/private-key-secret-name: {tail}"),
            ],
        );
    }

    #[test]
    fn a_spec_that_changes_is_refused() {
        for (path, value) in [
            ("request", json!("QUJE")),
            ("isCA", json!(true)),
            ("usages", json!(["server auth"])),
            ("duration", json!("2h")),
            ("issuerRef", json!({"name": "other"})),
        ] {
            let mut new = good();
            new["spec"][path] = value;
            check_update(
                &good(),
                &new,
                &["R19 spec: Forbidden: a CertificateRequest cannot be changed; create another one"],
            );
        }
    }

    #[test]
    fn a_spec_that_was_read_and_written_back_is_accepted() {
        let mut new = good();
        new["spec"]["duration"] = json!("60m0s");
        new["spec"]["isCA"] = json!(false);
        new["spec"]["usages"] = json!([]);
        new["spec"]["issuerRef"]["kind"] = json!("");
        check_update(&good(), &new, &[]);
    }

    #[test]
    fn a_first_decision_is_accepted() {
        check_create(&good(), &[]);
        check_update(&good(), &with_conditions(&json!([approved("True")])), &[]);
        check_update(&good(), &with_conditions(&json!([denied()])), &[]);
        let both = json!([approved("True"), {"type": "Ready", "status": "True"}]);
        check_update(&with_conditions(&json!([approved("True")])), &with_conditions(&both), &[]);
    }
}
