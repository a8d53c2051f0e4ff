//! What a CA must not sign, and what of an issuer's answer must not be used.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]

use issuance::authority::{Authority, AuthorityError, Terms, self_sign};
use issuance::credential::{Credential, Pending, VerifyError};
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
use issuance::name::{Subject, SubjectAltName};
use issuance::request::{Request, RequestSpec};
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap()
}

fn root(hours: i64) -> Authority {
    Authority::self_signed("root", key(), SignedDuration::from_hours(hours), now()).unwrap()
}

fn spec() -> RequestSpec {
    RequestSpec {
        names: vec![SubjectAltName::Dns("a.test".to_owned())],
        encode_usages: true,
        ..RequestSpec::default()
    }
}

fn hours(hours: i64) -> Terms {
    Terms { duration: SignedDuration::from_hours(hours), ..Terms::default() }
}

fn check(authority: &Authority, spec: &RequestSpec, terms: &Terms, at: Timestamp, message: &str) {
    let request = Request::build(spec, &key()).unwrap();
    assert_eq!(authority.sign(&request, terms, at).unwrap_err().to_string(), message);
}

#[test]
fn a_ca_does_not_sign_what_it_may_not() {
    let later = now() + SignedDuration::from_hours(25);
    check(
        &root(24),
        &spec(),
        &hours(1),
        later,
        "CA \"CN=root\" is valid from 2027-01-15T07:55:00Z to 2027-01-16T08:00:00Z, and now is 2027-01-16T09:00:00Z",
    );
    let almost = now() + SignedDuration::from_mins(24 * 60 - 30);
    check(
        &root(24),
        &spec(),
        &hours(1),
        almost,
        "CA \"CN=root\" expires at 2027-01-16T08:00:00Z, which leaves less than the 1h that were asked for \
         and less than an hour; renew the CA",
    );
    let client = Terms { usages: Usages::parse(["client auth"]).unwrap(), ..hours(1) };
    check(
        &root(24),
        &spec(),
        &client,
        now(),
        "the request asks for usages \"digital signature, key encipherment\", but \"client auth\" were to be issued; \
         make them equal or leave them out of the request",
    );
    let zero = Terms { duration: SignedDuration::ZERO, ..Terms::default() };
    check(&root(24), &spec(), &zero, now(), "a certificate cannot be valid for 0s");
    let for_ever = Terms { duration: SignedDuration::MAX, ..Terms::default() };
    let request = Request::build(&spec(), &key()).unwrap();
    assert!(matches!(root(24).sign(&request, &for_ever, now()), Err(AuthorityError::Duration(_))));
}

#[test]
fn a_lifetime_is_cut_to_the_cas_and_the_requester_is_told() {
    let request = Request::build(&spec(), &key()).unwrap();
    let authority = root(24);
    let issued = authority.sign(&request, &hours(48), now()).unwrap();
    assert_eq!(issued.chain.leaf().not_after(), authority.certificate().not_after());
    assert_eq!(
        issued.notes,
        ["valid until 2027-01-16T08:00:00Z only, when CA \"CN=root\" expires; renew the CA"]
    );
}

#[test]
fn a_ca_secret_whose_parts_do_not_fit_is_refused() {
    let authority = root(24);
    let chain = authority.chain().to_pem();
    let wrong = key().to_pem(KeyEncoding::Pkcs8);
    let mismatch = Authority::from_pem(chain.as_bytes(), wrong.expose(), None).unwrap_err();
    assert_eq!(mismatch.to_string(), "the CA private key does not belong to the CA certificate \"CN=root\"");
    let own = authority.key().to_pem(KeyEncoding::Pkcs8);
    let stranger = root(24).certificate().to_pem() + &chain;
    assert!(matches!(
        Authority::from_pem((chain + &stranger).as_bytes(), own.expose(), None),
        Err(AuthorityError::Chain(_))
    ));
    let leaf_key = key();
    let request = Request::build(&spec(), &leaf_key).unwrap();
    let leaf = authority.sign(&request, &hours(1), now()).unwrap().chain.to_pem();
    let leaf_key = leaf_key.to_pem(KeyEncoding::Pkcs8);
    assert!(matches!(
        Authority::from_pem(leaf.as_bytes(), leaf_key.expose(), None),
        Err(AuthorityError::NotCa { .. })
    ));
}

#[test]
fn an_answer_for_another_key_or_other_names_is_not_used() {
    let authority = root(24);
    let pending = |names: &[&str]| {
        let names = names.iter().map(|name| SubjectAltName::Dns((*name).to_owned())).collect();
        Credential::<Pending>::new(key(), &RequestSpec { names, ..RequestSpec::default() }).unwrap()
    };
    let other = authority.sign(pending(&["a.test"]).request(), &hours(1), now()).unwrap();
    assert_eq!(pending(&["a.test"]).signed(other).verify(now()).unwrap_err(), VerifyError::Key);

    let wanted = pending(&["a.test", "b.test"]);
    let narrow =
        RequestSpec { names: vec![SubjectAltName::Dns("a.test".to_owned())], ..RequestSpec::default() };
    let request = Request::build(&narrow, wanted.key()).unwrap();
    let issued = authority.sign(&request, &hours(1), now()).unwrap();
    assert_eq!(
        wanted.signed(issued).verify(now()).unwrap_err().to_string(),
        "the certificate lacks names that were asked for: DNS:b.test"
    );

    let late = pending(&["a.test"]);
    let issued = authority.sign(late.request(), &hours(1), now()).unwrap();
    let after = now() + SignedDuration::from_hours(2);
    assert!(matches!(late.signed(issued).verify(after), Err(VerifyError::NotValid { .. })));

    let leaf = pending(&["a.test"]);
    let terms = Terms { is_ca: true, ..hours(1) };
    let issued = authority.sign(leaf.request(), &terms, now()).unwrap();
    assert_eq!(leaf.signed(issued).verify(now()).unwrap_err(), VerifyError::UnwantedCa);
}

#[test]
fn nobody_else_self_signs() {
    let request = Request::build(&spec(), &key()).unwrap();
    assert_eq!(self_sign(&request, &key(), &hours(1), now()).unwrap_err(), AuthorityError::NotSubject);
}

#[test]
fn a_request_cannot_make_itself_a_ca() {
    // The terms decide, not the request.
    let spec = RequestSpec {
        subject: Subject::common_name("ca").into(),
        is_ca: true,
        encode_usages: true,
        ..RequestSpec::default()
    };
    check(
        &root(24),
        &spec,
        &hours(1),
        now(),
        "the request asks for usages \"digital signature, key encipherment, cert sign\", but \
         \"digital signature, key encipherment\" were to be issued; make them equal or leave them out of the request",
    );
}
