use issuance::certificate::Certificate;
use runtime::trimmed::Owner;
use runtime::watch::ObjectName;

use super::*;
use crate::reference::SourceRef;
use crate::rotation::{Memory, Retention};
use crate::settings::Cap;
use crate::target::custom::Fault;
use crate::target::{Conversion, CustomField, CustomTarget, Webhook};
use crate::testing::{live, now, pem, root, root_for, shown};

fn webhooks(bundles: &[&str]) -> Live {
    let webhooks = bundles.iter().enumerate().map(|(number, bundle)| Webhook {
        name: format!("w{number}.example.test"),
        bundle: bundle.as_bytes().to_vec(),
    });
    live(Fields::Webhooks(webhooks.collect()))
}

/// What the source has given, and the CAs that it has had before.
fn inputs(recent: &[&str], ca: &str) -> Inputs {
    let parse = |ca: &str| Arc::new(Bundle::parse(ca.as_bytes()).unwrap());
    Inputs {
        wanted: Wanted::Source(SourceRef::Secret(ObjectName::namespaced("team-a", "ca"))),
        source: Ok(parse(ca)),
        recent: recent.iter().map(|ca| parse(ca)).collect(),
        generation: 1,
        merging: true,
        withdrawal: Arc::default(),
        history: History::default(),
    }
}

fn check(live: &Live, inputs: &Inputs, expected: &str) {
    assert_eq!(shown(&plan(live, inputs, now())), expected);
}

#[test]
fn a_source_that_cannot_be_used_leaves_the_target_alone() {
    let target = webhooks(&[&pem(&[&root("good", 1)])]);
    let expired = pem(&[&root("expired", -1)]);
    check(&target, &inputs(&[], &expired), "CAExpired: every CA certificate of Secret team-a/ca has expired");
    let refused = Err(Refusal::new(Reason::SourceNotFound, "gone"));
    check(&target, &Inputs { source: refused, ..inputs(&[], &expired) }, "SourceNotFound: gone");
}

#[test]
fn a_service_that_cannot_have_a_bundle_gets_none() {
    let ca = inputs(&[], &pem(&[&root("ca", 1)]));
    for (insecure, remote, expected) in [
        (
            true,
            true,
            "NotApplicable: spec.insecureSkipTLSVerify is true, which excludes a bundle: remove it to have the service verified",
        ),
        (
            false,
            false,
            "NotApplicable: the API server serves this group itself: there is no spec.service to verify",
        ),
        (false, true, "apply ca"),
    ] {
        let bundle = Vec::new();
        let target = live(Fields::ApiService { bundle, insecure, remote });
        check(&target, &ca, expected);
    }
}

#[test]
fn bundles_that_an_object_cannot_hold_are_refused() {
    let many: Vec<_> = (0..250).map(|number| root(&number.to_string(), 1)).collect();
    let ca = pem(&many.iter().collect::<Vec<_>>());
    let refused = plan(&webhooks(&[""; 10]), &inputs(&[], &ca), now());
    assert!(shown(&refused).starts_with("BundleTooLarge: "), "{refused:?}");
}

#[test]
fn a_bundle_that_is_too_long_to_be_read_again_and_has_the_ca_keeps_every_certificate() {
    let many: Vec<_> = (0..800).map(|number| root(&number.to_string(), 1)).collect();
    let present = pem(&many.iter().collect::<Vec<_>>());
    assert!(present.len() > Limit::BUNDLE.bytes, "{}", present.len());
    let ca = many.last().unwrap();
    let refused = plan(&webhooks(&[&present]), &inputs(&[], &pem(&[ca])), now());
    assert!(shown(&refused).starts_with("BundleTooLarge: a bundle would have 800 "), "{refused:?}");
}

#[test]
fn a_damaged_bundle_above_every_bound_is_refused_rather_than_cut() {
    let ca = inputs(&[], &pem(&[&root("ca", 1)]));
    let block = "-----BEGIN A-----\n";
    let text = format!("{}{}", pem(&[&root("own", 1)]), block.repeat(Limit::OBJECT.blocks));
    check(
        &webhooks(&[&text]),
        &ca,
        "BundleTooLarge: a bundle of the target is too large to be read: more than 5000 PEM blocks; remove what nobody needs",
    );
    let text = "x".repeat(Limit::OBJECT.bytes + 1);
    check(
        &webhooks(&[&text]),
        &ca,
        "BundleTooLarge: a bundle of the target is too large to be read: 1572865 bytes of PEM are more than the 1572864 allowed; remove what nobody needs",
    );
}

#[test]
fn each_entry_keeps_its_own_certificates_and_gets_the_source_behind_them() {
    let (own, ca, fresh) = (root("own", 5), root("ca", 5), root("fresh", 5));
    let both = pem(&[&ca, &fresh]);
    let (own_text, ca_text) = (pem(&[&own]), pem(&[&ca]));
    check(
        &webhooks(&["", "\n", &own_text, &ca_text]),
        &inputs(&[], &both),
        "apply ca,fresh | ca,fresh | own,ca,fresh | ca,fresh",
    );
}

#[test]
fn an_entry_that_is_as_it_should_be_is_still_in_the_apply_of_the_others() {
    let ca = pem(&[&root("ca", 5)]);
    check(&webhooks(&[&ca, ""]), &inputs(&[], &ca), "apply ca | ca");
}

#[test]
fn nothing_is_written_when_the_certificates_are_there() {
    let ca = pem(&[&root("ca", 5)]);
    let commented = format!("# our CA\n{ca}");
    check(&webhooks(&[&ca, &commented]), &inputs(&[], &commented), "in sync");
    check(&webhooks(&[]), &inputs(&[], &ca), "in sync");
}

#[test]
fn expired_certificates_are_taken_out() {
    let (expired, ca) = (root("expired", -1), root("ca", 5));
    let target = webhooks(&[&pem(&[&expired, &ca])]);
    let planned = plan(&target, &inputs(&[], &pem(&[&ca, &expired])), now());
    assert_eq!(shown(&planned), "apply ca");
    assert_eq!(planned.again, Some(ca.not_after()));
}

#[test]
fn what_can_be_read_of_a_damaged_bundle_stays() {
    let (first, second, ca) = (root("first", 5), root("second", 5), root("ca", 5));
    let unfinished = "-----BEGIN CERTIFICATE-----\nMIIB\n";
    let key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    let (first, second) = (pem(&[&first]), pem(&[&second]));
    let damaged = format!("{first}{unfinished}{second}{key}{unfinished}");
    check(&webhooks(&[&damaged]), &inputs(&[], &pem(&[&ca])), "apply first,second,ca");
}

#[test]
fn a_certificate_that_is_there_twice_is_there_once_afterwards() {
    let (own, ca) = (root("own", 5), root("ca", 5));
    let twice = format!("{}{}", pem(&[&own, &ca]), pem(&[&own]));
    check(&webhooks(&[&twice]), &inputs(&[], &pem(&[&ca])), "apply own,ca");
}

#[test]
fn a_ca_that_was_replaced_before_anybody_looked_is_trusted_too() {
    let (first, second, third) = (root("first", 5), root("second", 5), root("third", 5));
    let [first, second, third] = [first, second, third].map(|root| pem(&[&root]));
    let expired = pem(&[&root("expired", -1)]);
    let target = webhooks(&[&first]);
    check(&target, &inputs(&[&second, &expired, &third], &third), "apply first,second,third");
}

fn definition(conversion: Conversion, bundle: &str) -> Live {
    live(Fields::Definition { bundle: bundle.as_bytes().to_vec(), conversion })
}

#[test]
fn a_definition_without_a_webhook_gets_no_bundle() {
    let ca = inputs(&[], &pem(&[&root("ca", 1)]));
    for (conversion, expected) in [
        (
            Conversion::None,
            "NotApplicable: spec.conversion.strategy is not Webhook: there is no webhook that a bundle would be for",
        ),
        (
            Conversion::Unaddressed,
            "NotApplicable: there is no spec.conversion.webhook.clientConfig that says which webhook to call",
        ),
        (Conversion::Webhook, "apply ca"),
    ] {
        check(&definition(conversion, ""), &ca, expected);
    }
}

#[test]
fn what_has_expired_leaves_a_definition_a_day_later_or_with_the_next_addition() {
    let (ca, fresh) = (root("ca", 50), root("fresh", 50));
    let target = |hours| definition(Conversion::Webhook, &pem(&[&root("expired", hours), &ca]));
    let same = inputs(&[], &pem(&[&ca]));
    for (hours, expected) in [(-1, "deferred for 23 h"), (-23, "deferred for 1 h"), (-25, "apply ca")] {
        check(&target(hours), &same, expected);
    }
    check(&target(-1), &inputs(&[], &pem(&[&fresh])), "apply ca,fresh");
    let planned = plan(&target(-1), &same, now());
    assert_eq!(planned.again, Some(now() + SignedDuration::from_hours(23)));
    // Sooner expiries are looked at in time.
    let soon = root("soon", 2);
    let both = definition(Conversion::Webhook, &pem(&[&root("expired", -1), &soon, &ca]));
    assert_eq!(plan(&both, &same, now()).again, Some(soon.not_after()));
}

#[test]
fn a_duplicate_alone_is_no_reason_to_write_to_a_definition() {
    let ca = pem(&[&root("ca", 5)]);
    check(&definition(Conversion::Webhook, &format!("{ca}{ca}")), &inputs(&[], &ca), "in sync");
    // A placeholder is.
    check(&definition(Conversion::Webhook, "\n"), &inputs(&[], &ca), "apply ca");
}

fn owned(operation: &str, mut live: Live) -> Live {
    let (manager, operation) = (crate::MANAGER.to_owned(), operation.to_owned());
    live.owners = vec![Owner { manager, operation, ..Owner::default() }];
    live
}

#[test]
fn a_bundle_that_is_ours_by_update_is_migrated_before_anything_is_written() {
    let ca = pem(&[&root("ca", 5)]);
    let refused = Err(Refusal::new(Reason::SourceNotFound, "gone"));
    let refused = Inputs { source: refused, ..inputs(&[], &ca) };
    check(&owned("Update", webhooks(&[&ca])), &refused, "SourceNotFound: gone");
    for bundle in ["", &ca] {
        check(&owned("Update", webhooks(&[bundle])), &inputs(&[], &ca), "migrate");
    }
    check(&owned("Apply", webhooks(&[&ca])), &inputs(&[], &ca), "in sync");
}

#[test]
fn what_is_not_ours_cannot_be_given_up() {
    let ca = pem(&[&root("ca", 5)]);
    let release = Inputs { wanted: Wanted::Release, ..inputs(&[], &ca) };
    check(&webhooks(&[&ca]), &release, "in sync");
    check(&owned("Update", webhooks(&[&ca])), &release, "migrate");
    check(&owned("Apply", webhooks(&[&ca])), &release, "release");
    let stopped = Inputs { wanted: Wanted::Stopped, ..release };
    check(&owned("Apply", webhooks(&[&ca])), &stopped, "stopped");
}

/// As [`inputs`], where the bundle is replaced.
fn replacing(recent: &[&str], ca: &str) -> Inputs {
    Inputs { merging: false, ..inputs(recent, ca) }
}

#[test]
fn what_cannot_be_used_replaces_nothing() {
    let target = webhooks(&[&pem(&[&root("good", 1)])]);
    let expired = replacing(&[], &pem(&[&root("expired", -1)]));
    check(&target, &expired, "CAExpired: every CA certificate of Secret team-a/ca has expired");
    for reason in [Reason::InvalidPEM, Reason::PrivateKeyInSource, Reason::NoCAData] {
        let refused = Inputs { source: Err(Refusal::new(reason, "why")), ..expired.clone() };
        check(&target, &refused, &format!("{reason}: why"));
    }
}

#[test]
fn without_merging_each_entry_gets_what_the_source_has_and_nothing_else() {
    let (own, ca, fresh) = (root("own", 5), root("ca", 5), root("fresh", 5));
    let (own, ca_alone, both) = (pem(&[&own]), pem(&[&ca]), pem(&[&fresh, &ca]));
    let commented = format!("# our CAs\n{both}# the end\n");
    let damaged = format!("{own}-----BEGIN CERTIFICATE-----\nMIIB\n");
    let bundles = ["", "\n", "not a pem", &own, &ca_alone, &damaged, &both];
    // The CA before the last one is not among them, whether anybody has looked meanwhile or not.
    let all = ["fresh,ca"; 7].join(" | ");
    check(&webhooks(&bundles), &replacing(&[&own], &commented), &format!("apply {all}"));
    check(&webhooks(&[&both, &commented]), &replacing(&[&own], &both), "in sync");
}

#[test]
fn without_merging_certificates_are_written_plainly_and_without_those_that_have_expired() {
    let (expired, ca) = (root("expired", -1), root("ca", 5));
    let both = pem(&[&expired, &ca]);
    let planned = plan(&webhooks(&[&both]), &replacing(&[], &format!("text\n{both}")), now());
    let Plan::Apply { body } = &planned.plan else { panic!("{planned:?}") };
    let bundle: k8s_openapi::ByteString =
        serde_json::from_value(body["webhooks"][0]["clientConfig"]["caBundle"].clone()).unwrap();
    assert_eq!(String::from_utf8(bundle.0).unwrap(), pem(&[&ca]));
    assert_eq!(planned.again, Some(ca.not_after()));
    check(&webhooks(&[&pem(&[&ca])]), &replacing(&[], &both), "in sync");
}

#[test]
fn a_definition_loses_a_certificate_at_once_unless_it_has_expired() {
    let (own, ca) = (root("own", 50), root("ca", 50));
    let with = |other| definition(Conversion::Webhook, &pem(&[other, &ca]));
    let ca_alone = pem(&[&ca]);
    check(&with(&own), &replacing(&[], &ca_alone), "apply ca");
    check(&with(&root("expired", -1)), &replacing(&[], &ca_alone), "deferred for 23 h");
}

#[test]
fn a_bundle_of_text_is_merged_like_the_others() {
    let (own, ca) = (pem(&[&root("own", 5)]), pem(&[&root("ca", 5)]));
    let inputs = inputs(&[], &ca);
    let bundle = || own.clone().into_bytes();
    let immutable = live(Fields::ConfigMap { bundle: bundle(), immutable: true });
    check(
        &immutable,
        &inputs,
        "NotApplicable: immutable is true, so its data cannot be changed: delete it, and create it without that",
    );
    check(&live(Fields::ConfigMap { bundle: bundle(), immutable: false }), &inputs, "apply own,ca");
    check(&live(Fields::ConfigMap { bundle: Vec::new(), immutable: false }), &inputs, "apply ca");
    check(&live(Fields::TrustBundle { bundle: bundle() }), &inputs, "apply own,ca");
    check(&live(Fields::TrustBundle { bundle: ca.into_bytes() }), &inputs, "in sync");
}

#[test]
fn a_declared_field_gets_a_bundle_where_there_is_a_place_for_it() {
    let declared: CustomTarget = "example.test/v1/meshes:spec.ca:pem".parse().unwrap();
    let target: &'static CustomTarget = Box::leak(Box::new(declared));
    let ca = pem(&[&root("ca", 5)]);
    let field = |bundle: &str, fault| {
        let (kind, bundle) = ("Mesh".to_owned(), bundle.as_bytes().to_vec());
        live(Fields::Custom(CustomField { target, kind, bundle, fault }))
    };
    check(
        &field("", Some(Fault::Homeless)),
        &inputs(&[], &ca),
        "NotApplicable: there is no spec that the bundle spec.ca would be for",
    );
    check(&field(&ca, None), &inputs(&[], &ca), "in sync");
    let planned = plan(&field("", None), &inputs(&[], &ca), now());
    let Plan::Apply { body } = planned.plan else { panic!("{planned:?}") };
    assert_eq!((&body["apiVersion"], &body["kind"]), (&"example.test/v1".into(), &"Mesh".into()));
    assert_eq!(body["spec"]["ca"], ca);
}

/// A bundle of certificates that somebody else has put there, as many as fit beside these; the second is the oldest.
fn full_beside(ours: &[&Certificate]) -> Vec<Certificate> {
    let mut room = Limit::BUNDLE.bytes - pem(ours).len();
    let mut foreign = Vec::new();
    loop {
        let life = if foreign.len() == 1 { 9_000 } else { 5_000 };
        let next = root_for("Foreign", 1, life);
        let Some(left) = room.checked_sub(next.to_pem().len()) else { return foreign };
        room = left;
        foreign.push(next);
    }
}

/// A root of this name and age in hours that is not longer than another.
fn root_within(other: &Certificate, name: &str, age: i64) -> Certificate {
    let mut roots = std::iter::repeat_with(|| root_for(name, 5, 5 + age));
    roots.find(|root| root.to_pem().len() <= other.to_pem().len()).unwrap()
}

/// The same with its history, in which each of these has left the source, the first one last.
fn remembering(inputs: &Inputs, left: &[&Certificate]) -> Inputs {
    let Wanted::Source(source) = &inputs.wanted else { panic!("{inputs:?}") };
    let mut memory = Memory::default();
    let held = left.iter().rev().map(|certificate| Bundle::of(vec![(*certificate).clone()]));
    let now_held = Bundle::clone(inputs.source.as_ref().unwrap());
    for (hours, bundle) in (0..).zip(held.chain([now_held])) {
        memory.observe(source, &bundle, now() - SignedDuration::from_hours(10 - hours));
    }
    Inputs { history: memory.history(source).unwrap().clone(), ..inputs.clone() }
}

#[test]
fn where_a_bundle_is_full_the_oldest_of_the_same_name_makes_room_for_the_new_ca() {
    let name = "The CA of team-a";
    let (first, second) = (root_for(name, 5, 905), root_for(name, 5, 605));
    let new = root_within(&first, name, 5);
    let foreign = full_beside(&[&first, &second]);
    let present: Vec<&Certificate> = [&second].into_iter().chain(&foreign).chain([&first]).collect();
    let target = webhooks(&[&pem(&present), ""]);
    let inputs = inputs(&[], &pem(&[&new]));
    let planned = plan(&target, &inputs, now());
    let foreign_names = ",Foreign".repeat(foreign.len());
    assert_eq!(shown(&planned), format!("apply {name}{foreign_names},{name} | {name}"));
    let Plan::Apply { body } = &planned.plan else { panic!("{planned:?}") };
    let written: k8s_openapi::ByteString =
        serde_json::from_value(body["webhooks"][0]["clientConfig"]["caBundle"].clone()).unwrap();
    let written = Bundle::parse(&written.0).unwrap();
    assert!(written.contains(&second) && written.contains(&new) && !written.contains(&first));
    let told: Vec<String> = planned.advice.iter().map(|advice| advice.message.clone()).collect();
    let expected = "the bundles are full: for what Secret team-a/ca has now, 1 of the other certificates were taken out \
                    although they have not expired, first the oldest that are called like its own; let its CAs live for a \
                    shorter time, renew them less often, or remove what nobody needs";
    assert!(told.contains(&expected.to_owned()), "{told:?}");
    assert_eq!(removed(&target, &inputs), [(name.to_owned(), Cause::Crowded)]);
    // What is remembered of the source makes no difference, so a restart makes none.
    for left in [vec![&second, &first], vec![&first, &second], foreign.iter().collect()] {
        assert_eq!(plan(&target, &remembering(&inputs, &left), now()), planned);
    }
    check(&webhooks(&[&written.to_pem(), &pem(&[&new])]), &inputs, "in sync");
}

#[test]
fn a_new_ca_that_fits_by_itself_is_never_refused_for_what_else_is_there() {
    let foreign = full_beside(&[]);
    let present = pem(&foreign.iter().collect::<Vec<_>>());
    let new = root("The new CA of team-a", 5);
    let target = webhooks(&[&present, &present, &present]);
    let planned = plan(&target, &inputs(&[], &pem(&[&new])), now());
    let Plan::Apply { body } = &planned.plan else { panic!("{planned:?}") };
    let mut bytes = 0;
    for entry in body["webhooks"].as_array().unwrap() {
        let written: k8s_openapi::ByteString =
            serde_json::from_value(entry["clientConfig"]["caBundle"].clone()).unwrap();
        let bundle = Bundle::parse(&written.0).unwrap();
        assert!(bundle.contains(&new), "{entry}");
        assert!(!bundle.contains(&foreign[1]), "the oldest one is still there");
        bytes += written.0.len();
    }
    assert!((BUNDLES_BYTES_MAX - 2_000..=BUNDLES_BYTES_MAX).contains(&bytes), "{bytes}");
    let too_long: Vec<_> = (0..800).map(|_| root("Foreign", 1)).collect();
    let target = webhooks(&[&pem(&too_long.iter().collect::<Vec<_>>())]);
    let planned = plan(&target, &inputs(&[], &pem(&[&new])), now());
    assert!(shown(&planned).ends_with(",Foreign,The new CA of team-a"), "{planned:?}");
}

/// What the plan takes out of bundles, and why.
fn removed(live: &Live, inputs: &Inputs) -> Vec<(String, Cause)> {
    let planned = plan(live, inputs, now());
    let name = |removed: &Removed| removed.certificate.common_name().unwrap_or_default();
    planned.removed.iter().map(|removed| (name(removed), removed.cause)).collect()
}

#[test]
fn what_goes_is_known_with_what_took_it_out() {
    let named = |names: &[(&str, Cause)]| -> Vec<_> {
        names.iter().map(|(name, cause)| ((*name).to_owned(), *cause)).collect()
    };
    let [ca, left, earlier, foreign] = ["ca", "left", "earlier", "foreign"].map(|name| root(name, 900));
    let expired = root("expired", -1);
    let all = pem(&[&foreign, &earlier, &left, &expired]);
    let target = webhooks(&[&all, &all, ""]);
    let plain = remembering(&inputs(&[], &pem(&[&ca])), &[&left, &earlier]);
    assert_eq!(removed(&target, &plain), named(&[("expired", Cause::Expired)]));
    let with = |withdrawal| Inputs { withdrawal: Arc::new(withdrawal), ..plain.clone() };
    let denied = Withdrawal { denied: [foreign.fingerprint()].into(), ..Withdrawal::default() };
    let expected = named(&[("foreign", Cause::Denied), ("expired", Cause::Expired)]);
    assert_eq!(removed(&target, &with(denied.clone())), expected);
    assert_eq!(
        removed(&target, &Inputs { merging: false, ..with(denied) }),
        named(&[
            ("foreign", Cause::Denied),
            ("earlier", Cause::Replaced),
            ("left", Cause::Replaced),
            ("expired", Cause::Expired)
        ])
    );
    // They left nine and eight hours ago.
    let hours = SignedDuration::from_hours(9);
    let retention = Withdrawal { retention: Retention::For(hours), ..Withdrawal::default() };
    let expected = named(&[("earlier", Cause::Retired), ("expired", Cause::Expired)]);
    assert_eq!(removed(&target, &with(retention)), expected);
    let cap = Some(Cap { certificates: 2, absence: SignedDuration::from_hours(9) });
    let expected = named(&[("earlier", Cause::Surplus), ("expired", Cause::Expired)]);
    assert_eq!(removed(&target, &with(Withdrawal { cap, ..Withdrawal::default() })), expected);
    // What is in no bundle is taken out of none.
    assert_eq!(removed(&webhooks(&[&pem(&[&ca])]), &plain), []);
}
