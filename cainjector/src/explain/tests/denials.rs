//! What nobody may trust, in a target that gets nothing.

use issuance::certificate::Certificate;

use super::*;
use crate::settings::Withdrawal;

/// What is told of a bundle where the first certificate is denied, and the source is not there.
fn told(bundle: &[&Certificate]) -> Explanation {
    let denied = bundle.iter().take(1).map(|certificate| certificate.fingerprint()).collect();
    let withdrawal = Arc::new(Withdrawal { denied, ..Withdrawal::default() });
    let settings = Settings { withdrawal, ..Settings::default() };
    let objects = Objects {
        secrets: HashMap::from([(ObjectName::namespaced("team-a", "ca"), State::Absent)]),
        ..Objects::default()
    };
    explained_by(settings, &api_service(&pem(bundle), false), [&[FROM_SECRET], &[]], &[], &objects)
}

#[test]
fn what_has_to_stay_although_it_is_denied_is_told() {
    let stolen = root("stolen", 1_000);
    let told = told(&[&stolen]);
    assert!(matches!(told.verdict, Verdict::Refused { reason: Reason::SourceNotFound, .. }), "{told:?}");
    let name = format!("\"CN=stolen\" (SHA-256 {}) is trusted although", stolen.fingerprint());
    assert!(told.text(now()).to_string().contains(&name), "{told:?}");
    assert!(told.line().contains(&name), "{told:?}");
}

#[test]
fn what_is_to_be_taken_out_is_told_with_why_nothing_is_added() {
    let told = told(&[&root("stolen", 1_000), &root("good", 1_000)]);
    expect![[r#"
        to be written  APIService example
                         SourceNotFound: Secret team-a/ca does not exist
                         spec.caBundle: -CN=stolen"#]]
    .assert_eq(&told.line());
    let text = told.text(now()).to_string();
    let first = "APIService example: to be written: it has what --deny-certificates names; nothing is added: SourceNotFound: ";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("To do: create what is missing, or name another source"), "{text}");
}
