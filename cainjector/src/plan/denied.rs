//! What nobody may trust leaves bundles even where nothing may be added to them: while there is no source, its CA cannot be
//! used, or what it has does not fit.

use issuance::certificate::Certificate;
use issuance::pem::{self, Limit};
use jiff::Timestamp;

use super::removed::{listed, name};
use super::{Cause, Inputs, Plan, Planned, Refusal, Removed, applicable};
use crate::ownership;
use crate::settings::Withdrawal;
use crate::target::Live;

/// The plan of a target that gets nothing for this reason: to take out what is denied, from each bundle that has something
/// else in which anybody can trust. An empty bundle makes API servers trust the roots of their system, or makes every call
/// fail; which of these is worse than the denied CA is not ours to say, so such a bundle stays, and somebody must see it.
pub(super) fn refused(live: &Live, inputs: &Inputs, refusal: Refusal, now: Timestamp) -> Planned {
    let rules = &inputs.withdrawal;
    if rules.denied.is_empty() {
        return Planned::of(Plan::Refused(refusal));
    }
    let can_be_written = applicable(&live.fields).is_ok();
    let bundles = live.fields.bundles();
    let remains: Vec<Remains> =
        bundles.iter().map(|current| Remains::of(current, rules, can_be_written, now)).collect();
    let stays: Vec<&Certificate> = remains.iter().flat_map(Remains::stays).collect();
    let exposure = exposure(&stays);
    let again = stays.iter().map(|certificate| certificate.not_after()).min();
    let (plan, refusal) = if !remains.iter().any(|each| matches!(each, Remains::Others { .. })) {
        (Plan::Refused(refusal), None)
    } else if let Some(patch) = ownership::migration(live) {
        (Plan::Migrate { patch }, None)
    } else {
        let texts: Vec<String> =
            remains.iter().zip(bundles).map(|(each, current)| each.text(current)).collect();
        (Plan::Apply { body: live.apply_body(&texts) }, Some(refusal))
    };
    let removed = match plan {
        Plan::Apply { .. } => gone(&remains),
        _ => Vec::new(),
    };
    Planned { refusal, exposure, again, removed, ..Planned::of(plan) }
}

/// What is to be left of one bundle.
enum Remains {
    /// All of it: nothing is denied, or cannot be read.
    All,
    /// All of it, although these are denied and have not expired.
    Denied(Vec<Certificate>),
    /// These, without those that are denied.
    Others { others: Vec<Certificate>, denied: Vec<Certificate> },
}

impl Remains {
    fn of(current: &[u8], rules: &Withdrawal, can_be_written: bool, now: Timestamp) -> Self {
        let is_valid = |certificate: &Certificate| now <= certificate.not_after();
        let present = pem::certificates(current, Limit::BUNDLE)
            .or_else(|_| pem::readable_certificates(current, Limit::OBJECT).map(|found| found.certificates));
        let (mut denied, others): (Vec<_>, Vec<_>) =
            present.unwrap_or_default().into_iter().partition(|certificate| rules.denies(certificate));
        if denied.is_empty() {
            return Self::All;
        }
        if can_be_written && others.iter().any(is_valid) {
            return Self::Others { others, denied };
        }
        // Nobody trusts what has expired.
        denied.retain(is_valid);
        if denied.is_empty() { Self::All } else { Self::Denied(denied) }
    }

    fn stays(&self) -> &[Certificate] {
        match self {
            Self::Denied(denied) => denied,
            Self::All | Self::Others { .. } => &[],
        }
    }

    /// The bundle, which is `current`, as it is to be. What stays does so as it is, comments and all.
    fn text(&self, current: &[u8]) -> String {
        match self {
            Self::Others { others, .. } => others.iter().map(Certificate::to_pem).collect(),
            Self::All | Self::Denied(_) => String::from_utf8_lossy(current).into_owned(),
        }
    }
}

/// What goes from all of them, each certificate once.
fn gone(remains: &[Remains]) -> Vec<Removed> {
    let mut gone: Vec<Removed> = Vec::new();
    for each in remains {
        let Remains::Others { denied, .. } = each else { continue };
        for certificate in denied {
            if !gone.iter().any(|known| known.certificate == *certificate) {
                gone.push(Removed { certificate: certificate.clone(), cause: Cause::Denied });
            }
        }
    }
    gone
}

/// What is to be said of denied certificates that stay.
fn exposure(stays: &[&Certificate]) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for name in stays.iter().map(|certificate| name(certificate)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = listed(names.into_iter(), ", ")?;
    Some(format!(
        "{names} is trusted although --deny-certificates names it: a bundle holds nothing else that has not expired, or cannot \
         be written; give the target a source with another CA"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use issuance::bundle::Bundle;
    use runtime::trimmed::Owner;
    use runtime::watch::ObjectName;

    use super::super::{Reason, plan};
    use super::*;
    use crate::reference::{SourceRef, Wanted};
    use crate::rotation::History;
    use crate::target::{Fields, Webhook};
    use crate::testing::{live, now, pem, root, shown};

    fn webhooks(bundles: &[&str]) -> Live {
        let webhooks = bundles.iter().enumerate().map(|(number, bundle)| Webhook {
            name: format!("w{number}.example.test"),
            bundle: bundle.as_bytes().to_vec(),
        });
        live(Fields::Webhooks(webhooks.collect()))
    }

    /// What is known where these are denied.
    fn inputs(source: Result<&str, Refusal>, denied: &[&Certificate]) -> Inputs {
        let denied = denied.iter().map(|certificate| certificate.fingerprint()).collect();
        Inputs {
            wanted: Wanted::Source(SourceRef::Secret(ObjectName::namespaced("team-a", "ca"))),
            source: source.map(|ca| Arc::new(Bundle::parse(ca.as_bytes()).unwrap())),
            recent: Vec::new(),
            generation: 1,
            merging: true,
            withdrawal: Arc::new(Withdrawal { denied, ..Withdrawal::default() }),
            history: History::default(),
        }
    }

    fn gone() -> Refusal {
        Refusal::new(Reason::SourceNotFound, "gone")
    }

    /// The plan, why nothing is added, and whether something stays that is denied.
    #[track_caller]
    fn check(live: &Live, inputs: &Inputs, expected: &str, refusal: Option<Reason>, is_exposed: bool) {
        for merging in [true, false] {
            let planned = plan(live, &Inputs { merging, ..inputs.clone() }, now());
            assert_eq!(shown(&planned), expected);
            assert_eq!(planned.refusal.as_ref().map(|refusal| refusal.reason), refusal, "{planned:?}");
            assert_eq!(planned.exposure.is_some(), is_exposed, "{planned:?}");
        }
    }

    #[test]
    fn what_is_denied_and_all_that_is_left_stays_and_is_told() {
        let (stolen, expired) = (root("stolen", 5), root("expired", -1));
        let target = webhooks(&[&pem(&[&stolen, &expired])]);
        let inputs = inputs(Err(gone()), &[&stolen]);
        check(&target, &inputs, "SourceNotFound: gone", None, true);
        let planned = plan(&target, &inputs, now());
        let expected = format!(
            "\"CN=stolen\" (SHA-256 {}) is trusted although --deny-certificates names it: a bundle holds nothing else that \
             has not expired, or cannot be written; give the target a source with another CA",
            stolen.fingerprint()
        );
        assert_eq!(planned.exposure, Some(expected));
        assert_eq!(planned.again, Some(stolen.not_after()));
    }

    #[test]
    fn what_can_be_written_no_more_keeps_what_is_denied_and_that_is_told() {
        let (stolen, good) = (root("stolen", 5), root("good", 5));
        let bundle = pem(&[&stolen, &good]).into_bytes();
        let expected = "NotApplicable: immutable is true, so its data cannot be changed: delete it, and create it without that";
        let target = live(Fields::ConfigMap { bundle, immutable: true });
        check(&target, &inputs(Ok(&pem(&[&good])), &[&stolen]), expected, None, true);
    }

    #[test]
    fn nothing_is_written_where_nothing_is_denied() {
        let (good, expired) = (root("good", 5), root("expired", -1));
        let target = webhooks(&[&pem(&[&good, &expired]), "", "no PEM"]);
        check(&target, &inputs(Err(gone()), &[]), "SourceNotFound: gone", None, false);
        check(&target, &inputs(Err(gone()), &[&root("other", 5)]), "SourceNotFound: gone", None, false);
        // Nobody trusts it any more.
        let target = webhooks(&[&pem(&[&expired])]);
        check(&target, &inputs(Err(gone()), &[&expired]), "SourceNotFound: gone", None, false);
    }

    #[test]
    fn whatever_the_source_is_refused_for_what_is_denied_goes() {
        let (stolen, good) = (root("stolen", 5), root("good", 5));
        let target = webhooks(&[&pem(&[&stolen, &good])]);
        for reason in [
            Reason::MalformedReference,
            Reason::NamespaceNotServed,
            Reason::SourceNotFound,
            Reason::SourceUnavailable,
            Reason::SourceNotAllowed,
            Reason::NoCAData,
            Reason::PrivateKeyInSource,
            Reason::Forbidden,
        ] {
            let refused = Err(Refusal::new(reason, "why"));
            check(&target, &inputs(refused, &[&stolen]), "apply good", Some(reason), false);
        }
        let expired = inputs(Ok(&pem(&[&root("expired", -1)])), &[&stolen]);
        check(&target, &expired, "apply good", Some(Reason::CAExpired), false);
        let denied = inputs(Ok(&pem(&[&stolen])), &[&stolen]);
        check(&target, &denied, "apply good", Some(Reason::CADenied), false);
    }

    #[test]
    fn where_the_source_does_not_fit_what_is_denied_goes_all_the_same() {
        let (stolen, good) = (root("stolen", 5), root("good", 5));
        let many: Vec<_> = (0..250).map(|number| root(&number.to_string(), 1)).collect();
        let ca = pem(&many.iter().collect::<Vec<_>>());
        let both = pem(&[&stolen, &good]);
        let target = webhooks(&[both.as_str(); 10]);
        let expected = format!("apply {}", ["good"; 10].join(" | "));
        let inputs = inputs(Ok(&ca), &[&stolen]);
        check(&target, &inputs, &expected, Some(Reason::BundleTooLarge), false);
    }

    #[test]
    fn each_bundle_is_judged_by_itself_and_the_others_stay_as_they_are() {
        let (stolen, good) = (root("stolen", 5), root("good", 5));
        let (alone, commented) = (pem(&[&stolen]), format!("# ours\n{}", pem(&[&good])));
        let damaged = format!("{}{}-----BEGIN CERTIFICATE-----\nMIIB\n", pem(&[&good]), alone);
        let target = webhooks(&[&alone, &commented, &damaged, ""]);
        let planned = plan(&target, &inputs(Err(gone()), &[&stolen]), now());
        let Plan::Apply { body } = &planned.plan else { panic!("{planned:?}") };
        let texts = body["webhooks"].as_array().unwrap().iter().map(|entry| {
            let bundle = &entry["clientConfig"]["caBundle"];
            let bundle: k8s_openapi::ByteString = serde_json::from_value(bundle.clone()).unwrap();
            String::from_utf8(bundle.0).unwrap()
        });
        assert_eq!(texts.collect::<Vec<_>>(), [alone, commented, pem(&[&good]), String::new()]);
        assert!(planned.exposure.is_some(), "{planned:?}");
    }

    #[test]
    fn a_bundle_that_is_ours_by_update_is_migrated_first() {
        let (stolen, good) = (root("stolen", 5), root("good", 5));
        let mut target = webhooks(&[&pem(&[&stolen, &good])]);
        let (manager, operation) = (crate::MANAGER.to_owned(), "Update".to_owned());
        target.owners = vec![Owner { manager, operation, ..Owner::default() }];
        check(&target, &inputs(Err(gone()), &[&stolen]), "migrate", None, false);
    }
}
