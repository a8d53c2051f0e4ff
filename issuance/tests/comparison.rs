//! Which fields of a Certificate a request or an issued certificate does not fulfil.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]

use issuance::authority::{Terms, self_sign};
use issuance::certificate::Certificate;
use issuance::comparison::{Asked, IssuerRef, Wanted, certificate_violations, violations};
use issuance::constraint::{NameConstraints, Subtrees};
use issuance::key::{Curve, KeyAlgorithm, KeySpec, PrivateKey, RsaSize};
use issuance::name::{RequestedSubject, Subject, SubjectAltName};
use issuance::request::{Request, RequestSpec};
use issuance::signature::SignatureAlgorithm;
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};

fn names(names: &[&str]) -> Vec<SubjectAltName> {
    let name = |text: &&str| match text.split_once(':') {
        Some(("DNS", name)) => SubjectAltName::Dns(name.to_owned()),
        Some(("IP", address)) => SubjectAltName::Ip(address.parse().unwrap()),
        Some(("email", address)) => SubjectAltName::Email(address.to_owned()),
        Some(("UPN", value)) => SubjectAltName::OtherName {
            type_id: "1.3.6.1.4.1.311.20.2.3".to_owned(),
            value: value.to_owned(),
        },
        _ => SubjectAltName::Uri((*text).to_owned()),
    };
    names.iter().map(name).collect()
}

fn wanted() -> Wanted {
    let request = RequestSpec {
        subject: Subject { organizations: vec!["O".to_owned()], ..Subject::common_name("leaf") }.into(),
        names: names(&["DNS:a.test", "DNS:b.test", "IP:192.0.2.1", "email:a@a.test", "spiffe://a", "UPN:u"]),
        encode_usages: true,
        ..RequestSpec::default()
    };
    Wanted {
        request,
        private_key: KeySpec { algorithm: Some("ECDSA".to_owned()), size: None },
        duration: Some(SignedDuration::from_hours(24)),
        issuer: IssuerRef { name: "ca".to_owned(), ..IssuerRef::default() },
    }
}

fn asked(wanted: &Wanted) -> Asked {
    Asked {
        is_ca: wanted.request.is_ca,
        usages: wanted.request.usages.clone(),
        duration: wanted.duration,
        issuer: wanted.issuer.clone(),
    }
}

/// The request is made of `old`, and the spec is `new`.
fn check(old: &Wanted, new: &Wanted, paths: &[&str]) {
    let key = PrivateKey::generate(old.private_key.key_algorithm().unwrap()).unwrap();
    let request = Request::from_der(Request::build(&old.request, &key).unwrap().der()).unwrap();
    assert_eq!(violations(new, &request, &asked(old)).unwrap(), paths);
}

/// The wanted one with something about its request changed.
fn with(change: impl FnOnce(&mut RequestSpec)) -> Wanted {
    let mut wanted = wanted();
    change(&mut wanted.request);
    wanted
}

fn with_subject(subject: impl Into<RequestedSubject>) -> Wanted {
    with(|request| request.subject = subject.into())
}

#[test]
fn each_change_of_names_is_found_under_its_field() {
    let without = |text: &str| with(|request| request.names.retain(|name| *name != names(&[text])[0]));
    for (name, path) in [
        ("DNS:b.test", "spec.dnsNames"),
        ("IP:192.0.2.1", "spec.ipAddresses"),
        ("email:a@a.test", "spec.emailAddresses"),
        ("spiffe://a", "spec.uris"),
        ("UPN:u", "spec.otherNames"),
    ] {
        check(&wanted(), &without(name), &[path]);
        check(&without(name), &wanted(), &[path]);
    }
    let renamed = with(|request| {
        request.names = names(&["DNS:c.test", "IP:192.0.2.2", "email:b@a.test", "spiffe://b", "UPN:v"]);
    });
    let all = ["spec.ipAddresses", "spec.uris", "spec.emailAddresses", "spec.dnsNames", "spec.otherNames"];
    check(&wanted(), &renamed, &all);
}

#[test]
fn order_repetition_and_the_form_of_an_address_make_no_difference() {
    let same = with(|request| {
        request.names = names(&[
            "UPN:u",
            "spiffe://a",
            "email:a@a.test",
            "IP:::ffff:192.0.2.1",
            "DNS:b.test",
            "DNS:a.test",
            "DNS:b.test",
        ]);
    });
    check(&wanted(), &wanted(), &[]);
    check(&wanted(), &same, &[]);
    check(&same, &wanted(), &[]);
}

#[test]
fn each_attribute_of_the_subject_is_compared() {
    let one = || vec!["x".to_owned()];
    let changed = |subject: Subject| with_subject(subject);
    let plain = changed(Subject::common_name("leaf"));
    let base = || Subject::common_name("leaf");
    let cases = [
        (Subject { countries: one(), ..base() }, "spec.subject.countries"),
        (Subject { organizations: one(), ..base() }, "spec.subject.organizations"),
        (Subject { organizational_units: one(), ..base() }, "spec.subject.organizationalUnits"),
        (Subject { localities: one(), ..base() }, "spec.subject.localities"),
        (Subject { provinces: one(), ..base() }, "spec.subject.provinces"),
        (Subject { street_addresses: one(), ..base() }, "spec.subject.streetAddresses"),
        (Subject { postal_codes: one(), ..base() }, "spec.subject.postalCodes"),
        (Subject { serial_number: Some("x".to_owned()), ..base() }, "spec.subject.serialNumber"),
        (Subject::common_name("other"), "spec.commonName"),
        (Subject::default(), "spec.commonName"),
    ];
    for (subject, path) in cases {
        check(&plain, &changed(subject.clone()), &[path]);
        check(&changed(subject), &plain, &[path]);
    }
    let empty = Subject { common_name: Some(String::new()), ..Subject::default() };
    check(&changed(empty), &changed(Subject::default()), &[]);
    let two = |a: &str, b: &str| {
        changed(Subject { organizations: vec![a.to_owned(), b.to_owned()], ..Subject::default() })
    };
    check(&two("a", "b"), &two("b", "a"), &[]);
    check(&two("a", "a"), &two("a", "a"), &[]);
}

#[test]
fn a_literal_subject_is_compared_by_its_bytes() {
    let literal = |text: &str| with_subject(text.parse::<issuance::name::LiteralSubject>().unwrap());
    check(&literal("CN=a,O=b"), &literal("CN=a, O=b"), &[]);
    check(&literal("CN=a,O=b"), &literal("O=b,CN=a"), &["spec.literalSubject"]);
    let attributes =
        with_subject(Subject { organizations: vec!["b".to_owned()], ..Subject::common_name("a") });
    check(&literal("CN=a,O=b"), &attributes, &[]);
    check(&attributes, &literal("CN=a,O=b"), &[]);
    check(&literal("CN=a,O=b,DC=c"), &attributes, &["spec.subject"]);
    check(&literal("CN=a,O=b,CN=c"), &attributes, &["spec.commonName"]);
    check(&literal("CN=a,O=#040162"), &attributes, &["spec.subject.organizations"]);
}

#[test]
fn what_stands_beside_the_request_is_compared() {
    let base = wanted();
    let issuer = |change: fn(&mut IssuerRef)| {
        let mut wanted = wanted();
        change(&mut wanted.issuer);
        wanted
    };
    check(&base, &issuer(|issuer| issuer.name = "b".to_owned()), &["spec.issuerRef.name"]);
    check(&base, &issuer(|issuer| issuer.kind = "ClusterIssuer".to_owned()), &["spec.issuerRef.kind"]);
    check(&base, &issuer(|issuer| issuer.group = "a.test".to_owned()), &["spec.issuerRef.group"]);
    let defaults = issuer(|issuer| {
        issuer.kind = "Issuer".to_owned();
        issuer.group = "cert-manager.io".to_owned();
    });
    check(&base, &defaults, &[]);
    let lasting = |hours: Option<i64>| Wanted { duration: hours.map(SignedDuration::from_hours), ..wanted() };
    check(&lasting(Some(24)), &lasting(Some(48)), &["spec.duration"]);
    check(&lasting(None), &lasting(Some(48)), &[]);
    check(&lasting(Some(24)), &lasting(None), &[]);
}

#[test]
fn usages_and_ca_are_compared_in_the_request_and_beside_it() {
    let ca = with(|request| request.is_ca = true);
    check(&wanted(), &ca, &["spec.isCA", "spec.usages"]);
    check(&ca, &ca, &[]);
    let silent = |is_ca| {
        with(|request| {
            request.is_ca = is_ca;
            request.encode_usages = false;
        })
    };
    check(&silent(false), &silent(true), &["spec.isCA"]);
    check(&silent(false), &wanted(), &["spec.encodeUsagesInRequest"]);
    check(&wanted(), &silent(false), &["spec.encodeUsagesInRequest"]);
    let usages = |names: &[&str]| with(|request| request.usages = Usages::parse(names).unwrap());
    check(&usages(&["client auth"]), &usages(&["server auth"]), &["spec.usages"]);
    check(&usages(&["client auth", "server auth"]), &usages(&["server auth", "client auth"]), &[]);
    check(&usages(&[]), &usages(&["key encipherment", "signing"]), &[]);

    // The request contradicts what stands beside it.
    let mut contradicted = with(|request| request.encode_basic_constraints = true);
    contradicted.request.encode_usages = false;
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let request = Request::build(&contradicted.request, &key).unwrap();
    let new = silent(true);
    assert_eq!(violations(&new, &request, &asked(&new)).unwrap(), ["spec.isCA"]);
}

#[test]
fn fields_that_the_peer_passes_over_are_compared_too() {
    let constrained = |critical, domain: &str| {
        let permitted = Subtrees { dns_domains: vec![domain.to_owned()], ..Subtrees::default() };
        let constraints = NameConstraints { critical, permitted, ..NameConstraints::default() };
        with(|request| request.name_constraints = Some(constraints))
    };
    check(&wanted(), &constrained(true, "a.test"), &["spec.nameConstraints"]);
    check(&constrained(true, "a.test"), &wanted(), &["spec.nameConstraints"]);
    check(&constrained(true, "a.test"), &constrained(true, "b.test"), &["spec.nameConstraints"]);
    check(&constrained(true, "a.test"), &constrained(false, "a.test"), &["spec.nameConstraints"]);
    check(&constrained(true, "a.test"), &constrained(true, "a.test"), &[]);
    check(&wanted(), &with(|request| request.name_constraints = Some(NameConstraints::default())), &[]);

    let key = |algorithm: &str, size| Wanted {
        private_key: KeySpec { algorithm: Some(algorithm.to_owned()), size },
        ..wanted()
    };
    check(&key("ECDSA", None), &key("ECDSA", Some(384)), &["spec.privateKey.size"]);
    check(&key("ECDSA", None), &key("Ed25519", None), &["spec.privateKey.algorithm"]);
    let signed = |algorithm| {
        let mut wanted = key("ECDSA", Some(521));
        wanted.request.signature_algorithm = algorithm;
        wanted
    };
    let sha256 = Some(SignatureAlgorithm::EcdsaSha256);
    check(&signed(sha256), &signed(None), &["spec.signatureAlgorithm"]);
    check(&signed(None), &signed(sha256), &["spec.signatureAlgorithm"]);
    check(&signed(None), &signed(Some(SignatureAlgorithm::EcdsaSha512)), &[]);
}

#[test]
fn a_spec_whose_key_cannot_be_made_is_an_error() {
    let key = PrivateKey::generate(KeyAlgorithm::Rsa(RsaSize::Bits2048)).unwrap();
    let request = Request::build(&wanted().request, &key).unwrap();
    let private_key = KeySpec { algorithm: Some("DSA".to_owned()), size: None };
    let new = Wanted { private_key, ..wanted() };
    let message = violations(&new, &request, &asked(&new)).unwrap_err().to_string();
    assert_eq!(message, "the private key of the spec cannot be compared");
}

fn issued(common_name: &str, texts: &[&str]) -> Certificate {
    let subject = Subject { organizations: vec!["O".to_owned()], ..Subject::common_name(common_name) }.into();
    let spec = RequestSpec { subject, names: names(texts), ..RequestSpec::default() };
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let request = Request::build(&spec, &key).unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    self_sign(&request, &key, &Terms::default(), now).unwrap().chain.leaf().clone()
}

#[test]
fn an_issued_certificate_is_compared_loosely() {
    let check = |subject: RequestedSubject, texts: &[&str], certificate: &Certificate, paths: &[&str]| {
        let spec = RequestSpec { subject, names: names(texts), ..RequestSpec::default() };
        assert_eq!(certificate_violations(&spec, certificate), paths);
    };
    let named = |name: &str| RequestedSubject::from(Subject::common_name(name));
    let nameless = RequestedSubject::default;
    let all = ["DNS:a.test", "DNS:b.test"];
    check(named("a.test"), &all, &issued("a.test", &all), &[]);
    // The common name became an alternative name, or the other way round.
    check(named("a.test"), &["DNS:b.test"], &issued("a.test", &all), &[]);
    check(nameless(), &all, &issued("a.test", &all), &[]);
    check(named("a.test"), &all, &issued("", &all), &[]);
    check(named("c.test"), &all, &issued("", &all), &["spec.commonName"]);
    check(named("a.test"), &all, &issued("c.test", &all), &["spec.commonName"]);
    check(nameless(), &all, &issued("", &["DNS:a.test"]), &["spec.dnsNames"]);
    check(nameless(), &["DNS:a.test"], &issued("", &all), &["spec.dnsNames"]);
    let others = ["IP:192.0.2.1", "spiffe://a", "email:a@a.test"];
    check(named("a"), &others, &issued("a", &others), &[]);
    let paths = ["spec.ipAddresses", "spec.uris", "spec.emailAddresses"];
    check(named("a"), &[], &issued("a", &others), &paths);
    let literal =
        |text: &str| RequestedSubject::from(text.parse::<issuance::name::LiteralSubject>().unwrap());
    check(literal("CN=a.test,DC=x"), &["DNS:a.test"], &issued("a.test", &["DNS:a.test"]), &[]);
    check(
        literal("CN=c.test"),
        &["DNS:a.test"],
        &issued("a.test", &["DNS:a.test"]),
        &["spec.literalSubject"],
    );
}
