//! From findings to a verdict: what rejects, what warns, what is passed over.

mod known;

use std::collections::HashSet;

use self::known::Known;
use crate::case::{Case, Judged};
use crate::finding::{Finding, join};
use crate::rule::{Class, Rule};

/// Most findings of either kind that are told. Nobody reads more, and an object can hold ten thousand faults.
const FINDINGS_MAX: usize = 100;

/// The outcome for one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Why the object is rejected; empty: it is allowed. At most a hundred are told.
    pub denials: Vec<Finding>,
    /// What is wrong without being a reason to reject. At most a hundred are told.
    pub warnings: Vec<Finding>,
}

impl Verdict {
    /// Whether the object may be stored.
    pub fn is_allowed(&self) -> bool {
        self.denials.is_empty()
    }

    /// Whether a reason to reject lies in who asks rather than in the object.
    pub fn is_forbidden(&self) -> bool {
        self.denials.iter().any(|denial| denial.rule.class == Class::Identity)
    }

    /// All reasons to reject in one text.
    pub fn message(&self) -> String {
        join(&self.denials)
    }
}

/// Judges one write by all rules of its kind. All rules are evaluated, so that a user learns of everything at once;
/// identical findings are told once.
pub fn judge<S: Judged>(case: &Case<'_, S>) -> Verdict {
    let (mut denials, mut warnings) = (Told::default(), Told::default());
    let mut mode = None;
    for check in S::tables().iter().copied().flatten() {
        let mut known = None;
        check.evaluate(case, &mut |finding| {
            let mode = *mode.get_or_insert_with(|| Mode::of(case));
            let known = known.get_or_insert_with(|| {
                let ratchets = check.rules().any(|rule| rule.class == Class::Spec);
                if ratchets && mode == Mode::SpecChanges {
                    Known::of(check, case)
                } else {
                    Known::nothing(case)
                }
            });
            match disposition(finding.rule.class, mode, known.excuses(&finding)) {
                Disposition::Reject => denials.tell(finding),
                Disposition::Warn if is_silenced(case, &finding) => {}
                Disposition::Warn => warnings.tell(finding),
                Disposition::Ignore => {}
            }
        });
    }
    Verdict { denials: denials.findings, warnings: warnings.findings }
}

fn is_silenced<S: Judged>(case: &Case<'_, S>, finding: &Finding) -> bool {
    case.context.settings.silenced.iter().any(|id| id.as_str() == finding.rule.id)
}

/// Evaluates one rule after the other, drops what they find, and tells `after` of each. For those who want to know which
/// rule takes its time: there is no clock here. Rules that are evaluated together go by the first of them.
pub fn each_rule<S: Judged>(case: &Case<'_, S>, mut after: impl FnMut(&'static Rule)) {
    for check in S::tables().iter().copied().flatten() {
        check.evaluate(case, &mut |_| {});
        if let Some(rule) = check.rules().next() {
            after(rule);
        }
    }
}

/// Findings of which no two read the same.
#[derive(Default)]
struct Told {
    findings: Vec<Finding>,
    texts: HashSet<String>,
}

impl Told {
    fn tell(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX && self.texts.insert(finding.to_string()) {
            self.findings.push(finding);
        }
    }
}

/// What kind of write this is, to rules that ratchet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The spec is new, or not what it was.
    SpecChanges,
    /// Labels, annotations or finalizers change.
    SpecStays,
    /// A controller reports, or the object is on its way out: nobody there could act on a warning.
    Bystander,
}

impl Mode {
    fn of<S: Judged>(case: &Case<'_, S>) -> Self {
        if case.is_create() {
            Self::SpecChanges
        } else if case.subresource.is_some() || case.object.metadata.is_deleting() {
            Self::Bystander
        } else if case.changes_spec() {
            Self::SpecChanges
        } else {
            Self::SpecStays
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Disposition {
    Reject,
    Warn,
    Ignore,
}

fn disposition(class: Class, mode: Mode, known: bool) -> Disposition {
    match (class, mode) {
        (Class::Always | Class::Identity, _) => Disposition::Reject,
        (Class::Spec | Class::Advice, Mode::Bystander) => Disposition::Ignore,
        (Class::Spec, Mode::SpecChanges) if !known => Disposition::Reject,
        (Class::Advice, Mode::SpecChanges) | (Class::Spec, _) => Disposition::Warn,
        (Class::Advice, Mode::SpecStays) => Disposition::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use api::{CertificateSpec, GoDuration};

    use super::*;
    use crate::case::{Context, Metadata, Object, Settings};

    fn object(edit: impl FnOnce(&mut CertificateSpec)) -> Object<CertificateSpec> {
        let mut spec = CertificateSpec { secret_name: "tls".to_owned(), ..Default::default() };
        spec.issuer_ref.name = "ca".to_owned();
        spec.common_name = Some("web".to_owned());
        edit(&mut spec);
        Object { spec, ..Default::default() }
    }

    fn check(case: &Case<'_, CertificateSpec>, denials: &[&str], warnings: &[&str]) {
        let verdict = judge(case);
        let ids =
            |findings: &[Finding]| -> Vec<&str> { findings.iter().map(|finding| finding.rule.id).collect() };
        assert_eq!(ids(&verdict.denials), denials, "denials of {case:?}");
        assert_eq!(ids(&verdict.warnings), warnings, "warnings of {case:?}");
    }

    #[test]
    fn a_spec_rule_rejects_on_creation_and_when_its_field_changes() {
        let named = |name: &str| object(|spec| spec.secret_name = name.to_owned());
        check(&Case::create(&named("")), &["C01"], &[]);
        check(&Case::update(&named(""), &named("tls")), &["C01"], &[]);
        check(&Case::update(&named("Wrong"), &named("wRONG")), &["C02"], &[]);
        check(&Case::update(&named("Wrong"), &named("")), &["C02"], &[]);
    }

    #[test]
    fn a_spec_rule_warns_when_another_field_changes() {
        let old = object(|spec| spec.secret_name = "Wrong".to_owned());
        let mut new = old.clone();
        new.spec.dns_names = vec!["a.test".to_owned()];
        check(&Case::update(&new, &old), &[], &["C02"]);
        // A fault of several fields is a new one when one of them changes.
        let renewed = |duration: &str| {
            object(|spec| {
                spec.duration = Some(GoDuration::new(duration));
                spec.renew_before = Some(GoDuration::new("100h"));
            })
        };
        check(&Case::update(&renewed("50h"), &renewed("60h")), &["C27"], &[]);
    }

    #[test]
    fn a_spec_rule_warns_when_the_spec_stays() {
        let old = object(|spec| spec.secret_name = String::new());
        let mut new = old.clone();
        new.metadata.annotations.insert("a".to_owned(), "b".to_owned());
        check(&Case::update(&new, &old), &[], &["C01"]);
    }

    #[test]
    fn a_spec_rule_is_silent_where_nobody_could_act() {
        let old = object(|spec| spec.secret_name = String::new());
        let status = Case { subresource: Some("status"), ..Case::update(&old, &old) };
        check(&status, &[], &[]);

        let mut dying = object(|spec| spec.secret_name = "Wrong".to_owned());
        dying.metadata =
            Metadata { deletion_timestamp: Some("2026-01-01T00:00:00Z".to_owned()), ..Default::default() };
        check(&Case::update(&dying, &old), &[], &[]);
    }

    #[test]
    fn a_rule_rejects_only_what_is_new() {
        let bad = object(|spec| spec.duration = Some(GoDuration::new("90d")));
        let still_bad = object(|spec| {
            spec.duration = Some(GoDuration::new("90d"));
            spec.dns_names = vec!["a.test".to_owned()];
        });
        let newly_bad = object(|spec| spec.duration = Some(GoDuration::new("91d")));
        check(&Case::create(&bad), &["B07"], &[]);
        check(&Case::update(&newly_bad, &bad), &["B07"], &[]);
        check(&Case::update(&still_bad, &bad), &[], &["B07"]);
    }

    #[test]
    fn a_fault_may_not_be_replaced_by_another_one_at_the_same_place() {
        let keystore = |password: &str| -> Object<CertificateSpec> {
            let keystores = serde_json::json!({"jks": {"create": true, "password": password}});
            object(|spec| spec.keystores = serde_json::from_value(keystores).unwrap())
        };
        // A finding about a password shows no value.
        let (old, new) = (keystore(&"a".repeat(1025)), keystore(&"b".repeat(1025)));
        check(&Case::update(&new, &old), &["B11"], &[]);

        let mut same = old.clone();
        same.spec.dns_names = vec!["a.test".to_owned()];
        check(&Case::update(&same, &old), &[], &["B11"]);
    }

    #[test]
    fn a_fault_may_change_its_place_in_a_list() {
        let names = |names: &[&str]| {
            object(|spec| spec.dns_names = names.iter().map(|name| (*name).to_owned()).collect())
        };
        let old = names(&["a.test", "b.test", "B.test", "c d"]);
        // B01 for the space, B02 for the repetition.
        check(&Case::update(&names(&["b.test", "B.test", "c d"]), &old), &[], &["B01", "B02"]);
        check(&Case::update(&names(&["c d", "b.test", "B.test"]), &old), &[], &["B01", "B02"]);
        check(&Case::update(&names(&["c d", "c e"]), &old), &["B01"], &["B01"]);
    }

    #[test]
    fn among_any_number_of_stored_faults_a_new_one_is_found() {
        const STORED: usize = 5_000;
        let faults = |range: std::ops::Range<usize>| {
            object(|spec| spec.dns_names = range.map(|number| format!("a b{number}")).collect())
        };
        let old = faults(0..STORED);
        let verdict = judge(&Case::update(&faults(0..STORED + 1), &old));
        let told: Vec<_> = verdict.denials.iter().map(|denial| denial.path.as_ref()).collect();
        assert_eq!(told, [format!("spec.dnsNames[{STORED}]")]);
        assert_eq!(verdict.warnings.len(), FINDINGS_MAX);
        let mut turned = old.clone();
        turned.spec.dns_names.reverse();
        turned.spec.dns_names.push("good.test".to_owned());
        assert_eq!(judge(&Case::update(&turned, &old)).denials, []);
    }

    #[test]
    fn a_stored_fault_excuses_one_only() {
        let names = |names: &[&str]| {
            object(|spec| spec.dns_names = names.iter().map(|name| (*name).to_owned()).collect())
        };
        let (old, new) = (names(&["b.test", "B.test"]), names(&["b.test", "B.test", "B.test"]));
        check(&Case::update(&new, &old), &["B02"], &["B02"]);
    }

    #[test]
    fn the_same_duration_in_another_form_is_no_change_of_the_spec() {
        let broken = |duration: &str| {
            object(|spec| {
                spec.secret_name = String::new();
                spec.duration = Some(GoDuration::new(duration));
            })
        };
        let (old, new) = (broken("2160h"), broken("2160h0m0s"));
        check(&Case::update(&new, &old), &[], &["C01"]);
    }

    #[test]
    fn a_silenced_rule_rejects_and_does_not_warn() {
        let bad = |names: &[&str]| {
            object(|spec| {
                spec.duration = Some(GoDuration::new("90d"));
                spec.dns_names = names.iter().map(|name| (*name).to_owned()).collect();
            })
        };
        let (old, new) = (bad(&[]), bad(&["a.test"]));
        let settings = Settings { silenced: vec!["B07".parse().unwrap()], ..Settings::DEFAULT };
        let context = Context { settings: &settings, ..Context::default() };
        check(&Case { context, ..Case::create(&old) }, &["B07"], &[]);
        check(&Case { context, ..Case::update(&new, &old) }, &[], &[]);
        check(&Case::update(&new, &old), &[], &["B07"]);
    }

    #[test]
    fn a_good_object_gets_neither_denials_nor_warnings() {
        let good = object(|_| {});
        check(&Case::create(&good), &[], &[]);
        assert!(judge(&Case::create(&good)).is_allowed());
    }
}
