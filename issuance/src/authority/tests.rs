use expect_test::{Expect, expect};
use proptest::prelude::*;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName as RawNames,
};

use super::*;
use crate::constraint::{NameConstraints, Subtrees};
use crate::credential::Credential;
use crate::key::{Curve, KeyAlgorithm, KeyEncoding, RsaSize};
use crate::name::SubjectAltName;
use crate::outcome::Fault;
use crate::request::RequestSpec;
use crate::testing::{Maker, authority, extension, foreign_request, hours_later, key, now, raw_constraints};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn spec() -> RequestSpec {
    RequestSpec {
        subject: Subject::common_name("leaf").into(),
        names: vec![SubjectAltName::Dns("a.test".to_owned())],
        ..RequestSpec::default()
    }
}

fn request() -> Request {
    Request::build(&spec(), &key(9)).unwrap()
}

fn terms() -> Terms {
    Terms { duration: DAY, ..Terms::default() }
}

fn ca_terms() -> Terms {
    Terms { is_ca: true, ..terms() }
}

fn refused(authority: &Authority, request: &Request, terms: &Terms, message: &str) {
    let error = authority.sign(request, terms, now()).unwrap_err();
    assert_eq!(crate::outcome::causes(&error), message);
}

fn leaf(authority: &Authority, request: &Request, terms: &Terms) -> Certificate {
    authority.sign(request, terms, now()).unwrap().chain.leaf().clone()
}

/// A chain from its signing certificate upwards, each made with the key of its number.
fn authority_of(chain: Vec<Certificate>) -> Result<Authority, AuthorityError> {
    Authority::new(Chain::order(chain).unwrap(), key(1))
}

/// What a second parser reads in a certificate, without what differs each time.
fn dump(certificate: &Certificate) -> String {
    use std::fmt::Write as _;
    let (rest, parsed) = x509_parser::parse_x509_certificate(certificate.der()).unwrap();
    assert!(rest.is_empty());
    let mut text = String::new();
    writeln!(text, "version: {}", parsed.version()).unwrap();
    writeln!(text, "signature: {}", parsed.signature_algorithm.algorithm).unwrap();
    writeln!(text, "issuer: {}", parsed.issuer()).unwrap();
    writeln!(text, "validity: {} to {}", certificate.not_before(), certificate.not_after()).unwrap();
    writeln!(text, "subject: {}", parsed.subject()).unwrap();
    for extension in parsed.extensions() {
        let critical = if extension.critical { " critical" } else { "" };
        let value: String = extension.value.iter().map(|octet| format!("{octet:02x}")).collect();
        writeln!(text, "{}{critical}: {value}", extension.oid).unwrap();
    }
    text
}

fn golden(certificate: &Certificate, expected: &Expect) {
    expected.assert_eq(&dump(certificate));
}

// What a CA must be.

#[test]
fn a_key_that_is_not_the_cas_is_refused() {
    let root = authority(|maker| maker).certificate().clone();
    let error = Authority::new(Chain::order(vec![root]).unwrap(), key(2)).unwrap_err();
    assert_eq!(error.to_string(), "the CA private key does not belong to the CA certificate \"CN=root\"");
}

#[test]
fn a_certificate_that_is_no_ca_is_refused_wherever_it_stands() {
    let (own, above) = (key(1), key(2));
    let check = |constraints, key_usage, message: &str| {
        let root = Maker { constraints, key_usage, ..Maker::ca("top", &above, None) }.make();
        let ca = Maker::ca("ca", &own, Some(("top", &above))).make();
        assert_eq!(authority_of(vec![ca, root]).unwrap_err().to_string(), message);
        let alone = Maker { constraints, key_usage, ..Maker::ca("top", &own, None) }.make();
        assert_eq!(authority_of(vec![alone]).unwrap_err().to_string(), message);
    };
    let sign = Some(KeyUsage(KeyUsages::KeyCertSign.into()));
    let no_ca = "certificate \"CN=top\" is not a CA: its basic constraints do not say so; \
                 set isCA on the Certificate that makes it";
    check(None, sign, no_ca);
    check(Some((false, None)), sign, no_ca);
    check(
        Some((true, None)),
        Some(KeyUsage(KeyUsages::CRLSign.into())),
        "certificate \"CN=top\" is not a CA: its key usage lacks cert sign",
    );
}

#[test]
fn a_ca_without_key_usage_may_sign() {
    leaf(&authority(|maker| Maker { key_usage: None, ..maker }), &request(), &terms());
}

#[test]
fn a_ca_outside_its_validity_is_refused_and_so_is_one_under_such_a_ca() {
    let (own, above) = (key(1), key(2));
    for hours in [(-5, -1), (1, 9)] {
        let lone = authority(|maker| Maker { hours, ..maker });
        let top = Maker { hours, ..Maker::ca("root", &above, None) }.make();
        let under = authority_of(vec![Maker::ca("ca", &own, Some(("root", &above))).make(), top]).unwrap();
        for ca in [lone, under] {
            let error = ca.sign(&request(), &terms(), now()).unwrap_err();
            assert!(error.to_string().starts_with("CA \"CN=root\" is valid from "), "{error}");
            assert_eq!(ca.check_valid_at(now()), Err(error));
        }
    }
}

#[test]
fn a_ca_that_may_sign_leaves_only_signs_no_ca() {
    let (own, above) = (key(1), key(2));
    let lone = authority(|maker| Maker { constraints: Some((true, Some(0))), ..maker });
    leaf(&lone, &request(), &terms());
    refused(
        &lone,
        &request(),
        &ca_terms(),
        "CA \"CN=root\" may not sign a certificate with isCA: path length 0 of \"CN=root\" allows no more CAs",
    );
    let top = Maker { constraints: Some((true, Some(1))), ..Maker::ca("top", &above, None) }.make();
    let under = authority_of(vec![Maker::ca("ca", &own, Some(("top", &above))).make(), top]).unwrap();
    leaf(&under, &request(), &terms());
    refused(
        &under,
        &request(),
        &ca_terms(),
        "CA \"CN=ca\" may not sign a certificate with isCA: path length 1 of \"CN=top\" allows no more CAs",
    );
}

#[test]
fn a_chain_that_is_longer_than_one_of_its_cas_allows_is_refused() {
    let (own, above) = (key(1), key(2));
    let top = Maker { constraints: Some((true, Some(0))), ..Maker::ca("top", &above, None) }.make();
    let error = authority_of(vec![Maker::ca("ca", &own, Some(("top", &above))).make(), top]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CA \"CN=top\" has path length 0, but 1 CAs stand below it in the chain; use a chain that it allows"
    );
}

#[test]
fn names_outside_the_name_constraints_of_any_ca_in_the_chain_are_refused() {
    let (own, above) = (key(1), key(2));
    let constraints = || {
        let permitted = Subtrees { dns_domains: vec!["b.test".to_owned()], ..Subtrees::default() };
        Some(NameConstraints { permitted, ..NameConstraints::default() })
    };
    let message = |ca: &str| {
        format!(
            "DNS name \"a.test\" is outside of what CA \"CN={ca}\" signs for: b.test; \
             ask for a name there, or another issuer"
        )
    };
    let lone = authority(|maker| Maker { name_constraints: constraints(), ..maker });
    refused(&lone, &request(), &terms(), &message("root"));
    let top = Maker { name_constraints: constraints(), ..Maker::ca("top", &above, None) }.make();
    let under = authority_of(vec![Maker::ca("ca", &own, Some(("top", &above))).make(), top]).unwrap();
    refused(&under, &request(), &terms(), &message("top"));
    refused(&under, &request(), &ca_terms(), &message("top"));
    let names = vec![SubjectAltName::Dns("x.b.test".to_owned())];
    let within = Request::build(&RequestSpec { names, ..spec() }, &key(9)).unwrap();
    leaf(&under, &within, &terms());
}

#[test]
fn name_constraints_that_cannot_be_read_refuse_the_ca() {
    let key = key(1);
    let mut more = raw_constraints(&NameConstraints {
        permitted: Subtrees { dns_domains: vec!["a".to_owned()], ..Subtrees::default() },
        ..NameConstraints::default()
    });
    more.extn_value = der::asn1::OctetString::new([0x30, 0]).unwrap();
    let root = Maker { more: vec![more], ..Maker::ca("root", &key, None) }.make();
    let message = authority_of(vec![root]).unwrap_err().to_string();
    assert_eq!(
        message,
        "the name constraints of CA \"CN=root\" cannot be read, so nothing can be signed under them"
    );
}

// Lifetimes.

#[test]
fn what_is_wrong_with_the_ca_or_its_issuer_is_not_the_requests_fault() {
    let fault = |root: &Authority, terms: &Terms| root.sign(&request(), terms, now()).unwrap_err().fault();
    let plain = authority(|maker| maker);
    let url = || vec!["http://bücher.test/".to_owned()];
    for terms in [
        Terms { crl_distribution_points: url(), ..terms() },
        Terms { ocsp_servers: url(), ..terms() },
        Terms { issuing_certificate_urls: url(), ..terms() },
    ] {
        assert_eq!(fault(&plain, &terms), Fault::Issuer);
    }
    // GeneralSubtrees with one base: a registeredID, and a directoryName that is none.
    for base in [[0x88, 2, 0x2a, 3], [0xa4, 2, 0x31, 0]] {
        let subtree = [&[0x30, 8, 0xa0, 6, 0x30, 4], base.as_slice()].concat();
        let constraints = Extension {
            extn_id: der::asn1::ObjectIdentifier::new_unwrap("2.5.29.30"),
            critical: true,
            extn_value: der::asn1::OctetString::new(subtree).unwrap(),
        };
        let root = authority(|maker| Maker { more: vec![constraints], ..maker });
        assert_eq!(fault(&root, &terms()), Fault::Authority);
    }
    let other = Terms { is_ca: true, ..terms() };
    let error = plain.sign(&asking_for(false, None), &other, now()).unwrap_err();
    assert_eq!(error.fault(), Fault::Request);
}

#[test]
fn a_duration_that_no_certificate_can_have_is_refused() {
    let root = authority(|maker| maker);
    for secs in [i64::MIN, -1, 0, i64::MAX, 9_000 * 365 * 86_400] {
        let duration = SignedDuration::from_secs(secs);
        let error = root.sign(&request(), &Terms { duration, ..terms() }, now()).unwrap_err();
        assert_eq!(error, AuthorityError::Duration(duration));
    }
    let half = Terms { duration: SignedDuration::from_millis(999), ..terms() };
    assert!(root.sign(&request(), &half, now()).is_err());
}

#[test]
fn a_ca_with_less_than_an_hour_left_does_not_cut_lifetimes() {
    let root = authority(|maker| maker);
    let end = root.certificate().not_after();
    let at = end - SignedDuration::from_secs(3_599);
    let error = root.sign(&request(), &terms(), at).unwrap_err();
    assert!(matches!(error, AuthorityError::ExpiresTooSoon { .. }), "{error}");
    let short = Terms { duration: SignedDuration::from_secs(3_599), ..terms() };
    assert_eq!(root.sign(&request(), &short, at).unwrap().chain.leaf().not_after(), end);
}

#[test]
fn a_lifetime_is_cut_to_that_of_the_first_ca_to_end_with_a_note() {
    let (own, above) = (key(1), key(2));
    let check = |lower: i64, upper: i64, ends: &str| {
        let ca = Maker { hours: (-1, lower), ..Maker::ca("ca", &own, Some(("root", &above))) }.make();
        let root = Maker { hours: (-1, upper), ..Maker::ca("root", &above, None) }.make();
        let issued = authority_of(vec![ca, root]).unwrap().sign(&request(), &terms(), now()).unwrap();
        let not_after = hours_later(lower.min(upper));
        assert_eq!(issued.chain.leaf().not_after(), not_after);
        let note = format!("valid until {not_after} only, when CA \"CN={ends}\" expires; renew the CA");
        assert_eq!(issued.notes, [note]);
    };
    check(5, 9, "ca");
    check(9, 5, "root");
    let long = authority(|maker| Maker { hours: (-1, 24), ..maker });
    assert!(long.sign(&request(), &terms(), now()).unwrap().notes.is_empty());
}

#[test]
fn not_before_is_a_tenth_of_the_duration_back_but_at_most_five_minutes_and_not_before_the_ca() {
    let check = |ca_from_hours, duration_secs: i64, back_secs: i64| {
        let root = authority(|maker| Maker { hours: (ca_from_hours, 9_000), ..maker });
        let duration = SignedDuration::from_secs(duration_secs);
        let at = now() + SignedDuration::from_millis(900);
        let issued = root.sign(&request(), &Terms { duration, ..terms() }, at).unwrap();
        let leaf = issued.chain.leaf();
        assert_eq!(leaf.not_before(), now() - SignedDuration::from_secs(back_secs), "{duration}");
        assert_eq!(leaf.not_after(), now() + duration, "notAfter is counted from now");
    };
    check(-1, 1, 0);
    check(-1, 10, 1);
    check(-1, 2_999, 299);
    check(-1, 3_000, 300);
    check(-1, 90 * 86_400, 300);
    check(0, 86_400, 0);
}

#[test]
fn ninety_days_are_the_default() {
    let issued = authority(|maker| maker).sign(&request(), &Terms::default(), now()).unwrap();
    assert_eq!(issued.chain.leaf().not_after(), hours_later(90 * 24));
}

// Request and terms.

#[test]
fn a_request_that_asks_for_other_usages_is_refused() {
    let usages = Usages::parse(["client auth"]).unwrap();
    let asking = Request::build(&RequestSpec { usages, encode_usages: true, ..spec() }, &key(9)).unwrap();
    refused(
        &authority(|maker| maker),
        &asking,
        &Terms { usages: Usages::parse(["server auth"]).unwrap(), ..terms() },
        "the request asks for usages \"client auth\", but \"server auth\" were to be issued; \
         make them equal or leave them out of the request",
    );
}

#[test]
fn a_refusal_names_the_first_few_of_many_usages() {
    let purposes = (1..=5000).map(|arc| der::asn1::ObjectIdentifier::new(&format!("1.2.{arc}")).unwrap());
    let many = extension(false, &ExtendedKeyUsage(purposes.collect()));
    let request = foreign_request(&Subject::common_name("leaf"), &key(9), &[many]);
    let error = authority(|maker| maker).sign(&request, &terms(), now()).unwrap_err().to_string();
    assert!(error.contains("1.2.10 and 4990 more"), "{error}");
    assert!(error.len() < 300, "{} bytes", error.len());
}

#[test]
fn a_key_usage_without_bits_agrees_with_extended_usages_alone_and_is_not_issued() {
    let zeros = extension(true, &KeyUsage(der::flagset::FlagSet::default()));
    let zeros = Extension { extn_value: der::asn1::OctetString::new([3, 2, 0, 0]).unwrap(), ..zeros };
    let usages = Usages::parse(["server auth", "client auth"]).unwrap();
    let purposes = extension(false, &usages.extended_key_usage().unwrap());
    let request = foreign_request(&Subject::common_name("leaf"), &key(9), &[zeros, purposes]);
    let leaf = leaf(&authority(|maker| maker), &request, &Terms { usages, ..terms() });
    assert_eq!(leaf.usages().to_string(), "server auth, client auth");
    assert!(leaf.extensions().get::<KeyUsage>().unwrap().is_none());
}

#[test]
fn the_order_of_extended_usages_does_not_matter() {
    let usages = Usages::parse(["client auth", "server auth"]).unwrap();
    let asking = Request::build(&RequestSpec { usages, encode_usages: true, ..spec() }, &key(9)).unwrap();
    let terms = Terms { usages: Usages::parse(["server auth", "client auth"]).unwrap(), ..terms() };
    let leaf = leaf(&authority(|maker| maker), &asking, &terms);
    assert_eq!(leaf.usages().to_string(), "server auth, client auth", "the terms decide");
}

fn asking_for(ca: bool, path_len_constraint: Option<u8>) -> Request {
    let constraints = extension(true, &BasicConstraints { ca, path_len_constraint });
    foreign_request(&Subject::common_name("leaf"), &key(9), &[constraints])
}

#[test]
fn a_request_that_disagrees_about_being_a_ca_is_refused() {
    let root = authority(|maker| maker);
    refused(&root, &asking_for(true, None), &terms(), "the request says CA true, but isCA is false");
    refused(&root, &asking_for(false, None), &ca_terms(), "the request says CA false, but isCA is true");
}

#[test]
fn a_path_length_is_kept_when_it_is_below_the_issuers() {
    let check = |issuer: Option<u8>, asked: Option<u8>, kept: Option<u8>| {
        let root = authority(|maker| Maker { constraints: Some((true, issuer)), ..maker });
        let issued = root.sign(&asking_for(true, asked), &ca_terms(), now()).unwrap();
        assert_eq!(issued.chain.leaf().path_len(), kept, "{asked:?} under {issuer:?}");
        assert_eq!(issued.notes.is_empty(), asked == kept, "{:?}", issued.notes);
    };
    check(Some(1), Some(1), None);
    check(Some(1), Some(2), None);
    check(Some(2), Some(1), Some(1));
    check(Some(1), Some(0), Some(0));
    check(Some(1), None, None);
    check(None, Some(3), Some(3));
    let leaf = leaf(&authority(|maker| maker), &asking_for(false, Some(1)), &terms());
    assert_eq!(leaf.path_len(), None, "a leaf has no path length");
}

#[test]
fn basic_constraints_are_always_there_and_critical() {
    for terms in [terms(), ca_terms()] {
        let leaf = leaf(&authority(|maker| maker), &request(), &terms);
        let extensions = leaf.extensions();
        let raw = extensions.0.iter().find(|extension| extension.extn_id.to_string() == "2.5.29.19");
        assert!(raw.unwrap().critical);
        assert_eq!(leaf.is_ca(), terms.is_ca);
        assert_eq!(leaf.may_sign_certificates(), terms.is_ca, "cert sign comes with isCA");
    }
}

#[test]
fn a_request_that_names_nobody_is_refused() {
    let root = authority(|maker| maker);
    let nobody = "the request names nobody: it has neither a subject nor a subject alternative name";
    refused(&root, &foreign_request(&Subject::default(), &key(9), &[]), &terms(), nobody);
}

#[test]
fn alternative_names_are_copied_as_bytes_and_are_critical_when_the_subject_is_empty() {
    // otherName with a kind that nobody knows, and x400Address: nothing that we could have written ourselves.
    for raw in [
        [0x30, 0x0b, 0xa0, 0x09, 0x06, 0x02, 0x2a, 0x03, 0xa0, 0x03, 0x02, 0x01, 0x05].as_slice(),
        &[0x30, 0x04, 0xa3, 0x02, 0x30, 0x00],
    ] {
        check_copied(raw);
    }
}

fn check_copied(raw: &[u8]) {
    let names = |critical| {
        let mut extension = extension(critical, &RawNames(Vec::new()));
        extension.extn_value = der::asn1::OctetString::new(raw).unwrap();
        extension
    };
    for (subject, expected) in [(Subject::default(), true), (Subject::common_name("leaf"), false)] {
        let request = foreign_request(&subject, &key(9), &[names(!expected)]);
        let leaf = leaf(&authority(|maker| maker), &request, &terms());
        let extensions = leaf.extensions();
        let copied = extensions.0.iter().find(|extension| extension.extn_id.to_string() == "2.5.29.17");
        let copied = copied.unwrap();
        assert_eq!((copied.extn_value.as_bytes(), copied.critical), (raw, expected));
    }
}

#[test]
fn name_constraints_are_copied_to_cas_alone() {
    let constraints = NameConstraints {
        critical: true,
        permitted: Subtrees { dns_domains: vec!["b.test".to_owned()], ..Subtrees::default() },
        ..NameConstraints::default()
    };
    let raw = raw_constraints(&constraints);
    let request = foreign_request(&Subject::common_name("leaf"), &key(9), &[raw]);
    let root = authority(|maker| maker);
    let ca = leaf(&root, &request, &ca_terms());
    assert_eq!(ca.name_constraints().unwrap(), Some(constraints));
    let issued = root.sign(&request, &terms(), now()).unwrap();
    assert_eq!(issued.chain.leaf().name_constraints().unwrap(), None);
    assert_eq!(issued.notes.len(), 1);
}

#[test]
fn other_extensions_of_a_request_are_dropped() {
    let mut stranger = extension(true, &BasicConstraints { ca: false, path_len_constraint: None });
    stranger.extn_id = der::asn1::ObjectIdentifier::new_unwrap("1.2.3.4");
    let request = foreign_request(&Subject::common_name("leaf"), &key(9), &[stranger]);
    let leaf = leaf(&authority(|maker| maker), &request, &terms());
    assert!(leaf.extensions().0.iter().all(|extension| extension.extn_id.to_string() != "1.2.3.4"));
}

#[test]
fn key_identifiers_are_on_every_certificate_and_name_the_cas() {
    // The CAs here have none of their own, so it is computed from their keys.
    let root = authority(|maker| maker);
    for terms in [terms(), ca_terms()] {
        let leaf = leaf(&root, &request(), &terms);
        assert_eq!(leaf.key_identifier(), Some(extension::key_identifier(key(9).public_key()).as_slice()));
        let authority = leaf.extensions().get::<x509_cert::ext::pkix::AuthorityKeyIdentifier>().unwrap();
        let named = authority.unwrap().key_identifier.unwrap();
        assert_eq!(named.as_bytes(), extension::key_identifier(key(1).public_key()));
    }
    let own = x509_cert::ext::pkix::SubjectKeyIdentifier(der::asn1::OctetString::new(*b"own").unwrap());
    let root = authority(|maker| Maker { more: vec![extension(false, &own)], ..maker });
    let leaf = leaf(&root, &request(), &terms());
    let named = leaf.extensions().get::<x509_cert::ext::pkix::AuthorityKeyIdentifier>().unwrap();
    assert_eq!(named.unwrap().key_identifier.unwrap().as_bytes(), b"own");
}

#[test]
fn serial_numbers_are_never_the_same() {
    let root = authority(|maker| maker);
    let serials: std::collections::HashSet<_> =
        (0..100).map(|_| leaf(&root, &request(), &terms()).serial_hex()).collect();
    assert_eq!(serials.len(), 100);
}

// Chains.

#[test]
fn a_root_is_not_served_but_what_stands_between_is() {
    let (own, above) = (key(1), key(2));
    let ca = Maker::ca("ca", &own, Some(("root", &above))).make();
    let root = Maker::ca("root", &above, None).make();
    let check = |chain: Vec<Certificate>, served: &[&Certificate], trusted: &Certificate| {
        let issued = authority_of(chain).unwrap().sign(&request(), &terms(), now()).unwrap();
        let above: Vec<_> = issued.chain.certificates().iter().skip(1).collect();
        assert_eq!(above, served);
        assert_eq!(issued.ca.certificates(), std::slice::from_ref(trusted));
    };
    check(vec![ca.clone(), root.clone()], &[&ca], &root);
    check(vec![ca.clone()], &[&ca], &ca);
    let lone = authority(|maker| maker).certificate().clone();
    check(vec![lone.clone()], &[], &lone);
}

#[test]
fn a_cas_secret_is_completed_by_the_first_certificate_of_ca_crt() {
    let (own, above, other) = (key(1), key(2), key(3));
    let ca = Maker::ca("ca", &own, Some(("root", &above))).make();
    let root = Maker::ca("root", &above, None).make();
    let crossed = Maker::ca("root", &above, Some(("other", &other))).make();
    let pem = own.to_pem(KeyEncoding::Pkcs8);
    let bundle = format!("{}{}", root.to_pem(), crossed.to_pem());
    let authority =
        Authority::from_pem(ca.to_pem().as_bytes(), pem.expose(), Some(bundle.as_bytes())).unwrap();
    assert_eq!(authority.chain().certificates(), [ca.clone(), root.clone()]);
    // A cross-signed root in the chain: the way to the root in ca.crt is taken.
    let chain = format!("{}{}", ca.to_pem(), crossed.to_pem());
    let authority =
        Authority::from_pem(chain.as_bytes(), pem.expose(), Some(root.to_pem().as_bytes())).unwrap();
    assert_eq!(authority.chain().certificates(), [ca, root]);
}

// Self-signed.

#[test]
fn a_request_certifies_itself_with_its_own_key_alone() {
    assert_eq!(self_sign(&request(), &key(1), &terms(), now()).unwrap_err(), AuthorityError::NotSubject);
    let issued = self_sign(&request(), &key(9), &terms(), now()).unwrap();
    assert!(issued.chain.leaf().is_self_signed());
    assert_eq!(issued.ca.certificates(), issued.chain.certificates(), "chain and CA are the certificate");
    assert!(issued.notes.is_empty());
    let nameless = RequestSpec { subject: Subject::default().into(), ..spec() };
    let issued = self_sign(&Request::build(&nameless, &key(9)).unwrap(), &key(9), &terms(), now()).unwrap();
    assert_eq!(issued.notes.len(), 1, "an issuer needs a name");
}

// All kinds of keys.

const KINDS: [KeyAlgorithm; 7] = [
    KeyAlgorithm::Rsa(RsaSize::Bits2048),
    KeyAlgorithm::Rsa(RsaSize::Bits3072),
    KeyAlgorithm::Rsa(RsaSize::Bits4096),
    KeyAlgorithm::Ecdsa(Curve::P256),
    KeyAlgorithm::Ecdsa(Curve::P384),
    KeyAlgorithm::Ecdsa(Curve::P521),
    KeyAlgorithm::Ed25519,
];

#[test]
fn every_kind_of_ca_signs_every_kind_of_leaf() {
    let pem = |kind| PrivateKey::generate(kind).unwrap().to_pem(KeyEncoding::Pkcs8);
    let leaves = KINDS.map(pem);
    for kind in KINDS {
        let root = Authority::self_signed("root", PrivateKey::generate(kind).unwrap(), DAY, now()).unwrap();
        for leaf in &leaves {
            let key = PrivateKey::from_pem(leaf.expose()).unwrap();
            let what = format!("{} under {kind}", key.algorithm());
            let pending = Credential::new(key, &spec()).unwrap();
            let issued = root.sign(pending.request(), &terms(), now()).unwrap();
            let verified = pending.signed(issued).verify(now());
            assert!(
                verified.as_ref().is_ok_and(|verified| verified.warnings().is_empty()),
                "{what}: {verified:?}"
            );
        }
    }
}

// Golden dumps.

#[test]
fn what_is_written_is_what_the_peers_write_but_for_key_identifiers() {
    let root = Authority::self_signed("root", key(1), DAY * 365, now()).unwrap();
    golden(
        root.certificate(),
        &expect![[r#"
        version: V3
        signature: 1.3.101.112
        issuer: CN=root
        validity: 2027-01-15T07:55:00Z to 2028-01-15T08:00:00Z
        subject: CN=root
        2.5.29.15 critical: 030202a4
        2.5.29.19 critical: 30030101ff
        2.5.29.14: 041434750f98bd59fcfc946da45aaabe933be154a4b5
        2.5.29.35: 3016801434750f98bd59fcfc946da45aaabe933be154a4b5
    "#]],
    );
    let spec = RequestSpec {
        names: vec![
            SubjectAltName::Dns("a.test".to_owned()),
            SubjectAltName::Email("a@a.test".to_owned()),
            SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
            SubjectAltName::Uri("spiffe://td/ns/a/sa/b".to_owned()),
        ],
        ..spec()
    };
    let terms = Terms {
        usages: Usages::server(),
        crl_distribution_points: vec!["http://crl.test/1".to_owned()],
        ocsp_servers: vec!["http://ocsp.test".to_owned()],
        issuing_certificate_urls: vec!["http://ca.test/1".to_owned()],
        ..terms()
    };
    let request = Request::build(&spec, &key(9)).unwrap();
    golden(
        &leaf(&root, &request, &terms),
        &expect![[r#"
        version: V3
        signature: 1.3.101.112
        issuer: CN=root
        validity: 2027-01-15T07:55:00Z to 2027-01-16T08:00:00Z
        subject: CN=leaf
        2.5.29.15 critical: 030205a0
        2.5.29.37: 300a06082b06010505070301
        2.5.29.19 critical: 3000
        2.5.29.14: 0414dbc298251c51321b7266e78d1c151c2b62aff8cb
        2.5.29.35: 3016801434750f98bd59fcfc946da45aaabe933be154a4b5
        2.5.29.17: 302f8206612e7465737481086140612e746573748704c000020186157370696666653a2f2f74642f6e732f612f73612f62
        2.5.29.31: 30193017a015a0138611687474703a2f2f63726c2e746573742f31
        1.3.6.1.5.5.7.1.1: 303c301c06082b060105050730018610687474703a2f2f6f6373702e74657374301c06082b060105050730028610687474703a2f2f63612e746573742f31
    "#]],
    );
    golden(
        &leaf(&root, &testing_ca_request(), &ca_terms()),
        &expect![[r#"
        version: V3
        signature: 1.3.101.112
        issuer: CN=root
        validity: 2027-01-15T07:55:00Z to 2027-01-16T08:00:00Z
        subject: O=Example, CN=sub
        2.5.29.15 critical: 030202a4
        2.5.29.19 critical: 30060101ff020100
        2.5.29.14: 04145c29b78f10a35a49a6231d08ee840a04bcc3a37a
        2.5.29.35: 3016801434750f98bd59fcfc946da45aaabe933be154a4b5
        2.5.29.30 critical: 300ca00a30088206622e74657374
    "#]],
    );
    let nameless = RequestSpec { subject: Subject::default().into(), ..self::spec() };
    let nameless = Request::build(&nameless, &key(9)).unwrap();
    golden(
        self_sign(&nameless, &key(9), &self::terms(), now()).unwrap().chain.leaf(),
        &expect![[r#"
        version: V3
        signature: 1.3.101.112
        issuer: 
        validity: 2027-01-15T07:55:00Z to 2027-01-16T08:00:00Z
        subject: 
        2.5.29.15 critical: 030205a0
        2.5.29.19 critical: 3000
        2.5.29.14: 0414dbc298251c51321b7266e78d1c151c2b62aff8cb
        2.5.29.35: 30168014dbc298251c51321b7266e78d1c151c2b62aff8cb
        2.5.29.17 critical: 30088206612e74657374
    "#]],
    );
}

fn testing_ca_request() -> Request {
    let permitted = Subtrees { dns_domains: vec!["b.test".to_owned()], ..Subtrees::default() };
    let constraints = NameConstraints { critical: true, permitted, ..NameConstraints::default() };
    let basic = extension(true, &BasicConstraints { ca: true, path_len_constraint: Some(0) });
    let subject = Subject { organizations: vec!["Example".to_owned()], ..Subject::common_name("sub") };
    foreign_request(&subject, &key(8), &[basic, raw_constraints(&constraints)])
}

// Whatever is asked for.

/// Any address, every third one an IPv6 address that stands for an IPv4 one.
fn address() -> impl Strategy<Value = std::net::IpAddr> {
    let mapped = any::<std::net::Ipv4Addr>().prop_map(|v4| std::net::IpAddr::V6(v4.to_ipv6_mapped()));
    prop_oneof![2 => any::<std::net::IpAddr>(), 1 => mapped]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn what_is_issued_verifies_and_says_what_was_asked_for(
        dns in proptest::collection::vec("[a-z0-9]{1,12}(\\.[a-z]{1,8}){0,3}", 0..4),
        addresses in proptest::collection::vec(address(), 0..3),
        common_name in proptest::option::of("[ -~]{1,40}"),
        secs in 1_i64..40_000_000,
        is_ca in any::<bool>(),
        encode_usages in any::<bool>(),
        levels in 1_usize..4,
    ) {
        let names: Vec<_> = dns.into_iter().map(SubjectAltName::Dns)
            .chain(addresses.into_iter().map(SubjectAltName::Ip)).collect();
        prop_assume!(common_name.is_some() || !names.is_empty());
        let subject = Subject { common_name, ..Subject::default() };
        let usages = Usages::server();
        let spec = RequestSpec {
            subject: subject.into(), names: names.clone(), usages: usages.clone(), is_ca, encode_usages, ..RequestSpec::default()
        };
        let duration = SignedDuration::from_secs(secs);
        let pending = Credential::new(key(9), &spec).unwrap().asking_for(duration);
        let terms = Terms { duration, usages, is_ca, ..Terms::default() };
        let root = authority_of_levels(levels);
        let issued = root.sign(pending.request(), &terms, now()).unwrap();
        let leaf = issued.chain.leaf().clone();
        prop_assert_eq!(issued.chain.certificates().len(), levels);
        prop_assert_eq!(leaf.not_after(), root.certificate().not_after().min(now() + duration));
        prop_assert!(leaf.not_before() >= root.certificate().not_before() && leaf.not_before() <= now());
        let written: Vec<_> = names.iter().map(|name| match name {
            SubjectAltName::Ip(address) => SubjectAltName::Ip(address.to_canonical()),
            other => other.clone(),
        }).collect();
        prop_assert_eq!((leaf.names(), leaf.is_ca()), (written.as_slice(), is_ca));
        let again = Certificate::from_der(leaf.der()).unwrap();
        prop_assert_eq!(&again, &leaf);
        let verified = pending.signed(issued).verify(now()).unwrap();
        prop_assert_eq!(verified.warnings(), &[]);
    }
}

/// A root with so many CAs below it, less one; the last of them signs.
fn authority_of_levels(levels: usize) -> Authority {
    let keys = [key(1), key(2), key(3)];
    let names = ["level 1", "level 2", "level 3"];
    let chain = (0..levels).map(|level| {
        let issuer = (level + 1 < levels).then(|| (names[level + 1], &keys[level + 1]));
        Maker::ca(names[level], &keys[level], issuer).make()
    });
    authority_of(chain.collect()).unwrap()
}
