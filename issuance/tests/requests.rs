//! Requests as texts that people can check, and what must hold for every request.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]

mod support;

use expect_test::{Expect, expect};
use issuance::comparison::{Asked, Wanted, violations};
use issuance::constraint::{NameConstraints, Subtrees};
use issuance::key::{Curve, KeyAlgorithm, KeySpec, PrivateKey};
use issuance::name::{LiteralSubject, RequestedSubject, Subject, SubjectAltName};
use issuance::request::{Request, RequestSpec};
use issuance::usage::Usages;
use proptest::prelude::*;

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap()
}

fn check(spec: &RequestSpec, expected: &Expect) {
    let request = Request::build(spec, &key()).unwrap();
    expected.assert_eq(&support::dump_request(request.der()));
}

#[test]
fn every_attribute_and_every_kind_of_name() {
    let one = |text: &str| vec![text.to_owned()];
    let subject = Subject {
        common_name: Some("web".to_owned()),
        countries: one("DE"),
        organizations: vec!["Example".to_owned(), "Another & Co.".to_owned()],
        organizational_units: one("shop"),
        localities: one("Köln"),
        provinces: one("NRW"),
        street_addresses: one("Domkloster 4"),
        postal_codes: one("50667"),
        serial_number: Some("7".to_owned()),
    };
    let names = vec![
        SubjectAltName::OtherName {
            type_id: "1.3.6.1.4.1.311.20.2.3".to_owned(),
            value: "upn@a.test".to_owned(),
        },
        SubjectAltName::Uri("spiffe://td/ns/a/sa/b".to_owned()),
        SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
        SubjectAltName::Ip("2001:db8::1".parse().unwrap()),
        SubjectAltName::Email("a@a.test".to_owned()),
        SubjectAltName::Dns("b.test".to_owned()),
        SubjectAltName::Dns("*.a.test".to_owned()),
    ];
    let spec = RequestSpec {
        subject: subject.into(),
        names,
        usages: Usages::parse(["digital signature", "client auth", "server auth"]).unwrap(),
        encode_usages: true,
        ..RequestSpec::default()
    };
    check(
        &spec,
        &expect![[r#"
        INTEGER 00
        SEQUENCE
          SET
            SEQUENCE
              OBJECT IDENTIFIER c
              PrintableString "DE"
          SET
            SEQUENCE
              OBJECT IDENTIFIER o
              PrintableString "Example"
            SEQUENCE
              OBJECT IDENTIFIER o
              UTF8String "Another & Co."
          SET
            SEQUENCE
              OBJECT IDENTIFIER ou
              PrintableString "shop"
          SET
            SEQUENCE
              OBJECT IDENTIFIER L
              UTF8String 4b c3 b6 6c 6e
          SET
            SEQUENCE
              OBJECT IDENTIFIER stateOrProvinceName
              PrintableString "NRW"
          SET
            SEQUENCE
              OBJECT IDENTIFIER streetAddress
              PrintableString "Domkloster 4"
          SET
            SEQUENCE
              OBJECT IDENTIFIER postalCode
              PrintableString "50667"
          SET
            SEQUENCE
              OBJECT IDENTIFIER cn
              PrintableString "web"
          SET
            SEQUENCE
              OBJECT IDENTIFIER serialNumber
              PrintableString "7"
        CONTEXT-SPECIFIC [0] (constructed)
          SEQUENCE
            OBJECT IDENTIFIER pkcs-9-at-extensionRequest
            SET
              SEQUENCE
                SEQUENCE
                  OBJECT IDENTIFIER id-ce-subjectAltName
                  OCTET STRING
                    SEQUENCE
                      CONTEXT-SPECIFIC [2] (primitive) "b.test"
                      CONTEXT-SPECIFIC [2] (primitive) "*.a.test"
                      CONTEXT-SPECIFIC [1] (primitive) "a@a.test"
                      CONTEXT-SPECIFIC [7] (primitive) c0 00 02 01
                      CONTEXT-SPECIFIC [7] (primitive) 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
                      CONTEXT-SPECIFIC [6] (primitive) "spiffe://td/ns/a/sa/b"
                      CONTEXT-SPECIFIC [0] (constructed)
                        OBJECT IDENTIFIER 1.3.6.1.4.1.311.20.2.3
                        CONTEXT-SPECIFIC [0] (constructed)
                          UTF8String "upn@a.test"
                SEQUENCE
                  OBJECT IDENTIFIER id-ce-keyUsage
                  BOOLEAN ff
                  OCTET STRING
                    BIT STRING 07 80
                SEQUENCE
                  OBJECT IDENTIFIER id-ce-extKeyUsage
                  OCTET STRING
                    SEQUENCE
                      OBJECT IDENTIFIER id-kp-clientAuth
                      OBJECT IDENTIFIER id-kp-serverAuth
        SEQUENCE
          OBJECT IDENTIFIER ecdsa-with-SHA256
    "#]],
    );
}

#[test]
fn a_literal_subject_and_no_extensions() {
    let literal: LiteralSubject = "CN=web+UID=7,OU=shop\\, retail,DC=a,DC=test".parse().unwrap();
    check(
        &RequestSpec { subject: literal.into(), ..RequestSpec::default() },
        &expect![[r#"
        INTEGER 00
        SEQUENCE
          SET
            SEQUENCE
              OBJECT IDENTIFIER DC
              PrintableString "test"
          SET
            SEQUENCE
              OBJECT IDENTIFIER DC
              PrintableString "a"
          SET
            SEQUENCE
              OBJECT IDENTIFIER ou
              PrintableString "shop, retail"
          SET
            SEQUENCE
              OBJECT IDENTIFIER cn
              PrintableString "web"
            SEQUENCE
              OBJECT IDENTIFIER uid
              PrintableString "7"
        CONTEXT-SPECIFIC [0] (constructed)
        SEQUENCE
          OBJECT IDENTIFIER ecdsa-with-SHA256
    "#]],
    );
}

#[test]
fn an_empty_subject_makes_the_names_critical() {
    let names = vec![SubjectAltName::Ip("::ffff:192.0.2.1".parse().unwrap())];
    check(
        &RequestSpec { names, ..RequestSpec::default() },
        &expect![[r#"
        INTEGER 00
        SEQUENCE
        CONTEXT-SPECIFIC [0] (constructed)
          SEQUENCE
            OBJECT IDENTIFIER pkcs-9-at-extensionRequest
            SET
              SEQUENCE
                SEQUENCE
                  OBJECT IDENTIFIER id-ce-subjectAltName
                  BOOLEAN ff
                  OCTET STRING
                    SEQUENCE
                      CONTEXT-SPECIFIC [7] (primitive) c0 00 02 01
        SEQUENCE
          OBJECT IDENTIFIER ecdsa-with-SHA256
    "#]],
    );
}

#[test]
fn a_ca_with_basic_and_name_constraints() {
    let permitted = Subtrees {
        dns_domains: vec!["a.test".to_owned()],
        ip_ranges: vec!["192.0.2.0/24".parse().unwrap()],
        email_addresses: vec![".a.test".to_owned()],
        uri_domains: vec!["u.test".to_owned()],
        ..Subtrees::default()
    };
    let excluded = Subtrees { ip_ranges: vec!["2001:db8::/32".parse().unwrap()], ..Subtrees::default() };
    let spec = RequestSpec {
        subject: Subject::common_name("ca").into(),
        is_ca: true,
        encode_usages: true,
        encode_basic_constraints: true,
        name_constraints: Some(NameConstraints { critical: true, permitted, excluded }),
        ..RequestSpec::default()
    };
    check(
        &spec,
        &expect![[r#"
        INTEGER 00
        SEQUENCE
          SET
            SEQUENCE
              OBJECT IDENTIFIER cn
              PrintableString "ca"
        CONTEXT-SPECIFIC [0] (constructed)
          SEQUENCE
            OBJECT IDENTIFIER pkcs-9-at-extensionRequest
            SET
              SEQUENCE
                SEQUENCE
                  OBJECT IDENTIFIER id-ce-keyUsage
                  BOOLEAN ff
                  OCTET STRING
                    BIT STRING 02 a4
                SEQUENCE
                  OBJECT IDENTIFIER id-ce-basicConstraints
                  BOOLEAN ff
                  OCTET STRING
                    SEQUENCE
                      BOOLEAN ff
                SEQUENCE
                  OBJECT IDENTIFIER id-ce-nameConstraints
                  BOOLEAN ff
                  OCTET STRING
                    SEQUENCE
                      CONTEXT-SPECIFIC [0] (constructed)
                        SEQUENCE
                          CONTEXT-SPECIFIC [2] (primitive) "a.test"
                        SEQUENCE
                          CONTEXT-SPECIFIC [7] (primitive) c0 00 02 00 ff ff ff 00
                        SEQUENCE
                          CONTEXT-SPECIFIC [1] (primitive) ".a.test"
                        SEQUENCE
                          CONTEXT-SPECIFIC [6] (primitive) "u.test"
                      CONTEXT-SPECIFIC [1] (constructed)
                        SEQUENCE
                          CONTEXT-SPECIFIC [7] (primitive) 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00 00 00 00 00 00 00 00 00 00 00
        SEQUENCE
          OBJECT IDENTIFIER ecdsa-with-SHA256
    "#]],
    );
}

fn texts(pattern: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(pattern, 0..3)
}

fn subjects() -> impl Strategy<Value = RequestedSubject> {
    let many = "[A-Za-zäöü&*' ]{1,12}";
    let attributes = (texts(many), texts(many), texts(many), prop::option::of("[ -~]{0,10}")).prop_map(
        |(organizations, organizational_units, localities, common_name)| {
            let subject = Subject {
                common_name,
                organizations,
                organizational_units,
                localities,
                serial_number: Some(String::new()),
                ..Subject::default()
            };
            RequestedSubject::from(subject)
        },
    );
    let literal = "(CN=[a-zé]{1,8}[,+])?OU=[a-z*]{1,8},DC=[a-z]{1,8}"
        .prop_map(|text| text.parse::<LiteralSubject>().unwrap().into());
    prop_oneof![attributes, literal]
}

fn names() -> impl Strategy<Value = Vec<SubjectAltName>> {
    let name = prop_oneof![
        "[a-z*.]{1,20}".prop_map(SubjectAltName::Dns),
        "[a-z]{1,9}@[a-z.]{1,9}".prop_map(SubjectAltName::Email),
        any::<std::net::IpAddr>().prop_map(SubjectAltName::Ip),
        "[a-z]{1,5}:[!-~]{0,20}".prop_map(SubjectAltName::Uri),
        ("[0-2]\\.[1-3]?[1-9](\\.[1-9][0-9]{0,4}){1,3}", ".{0,9}")
            .prop_map(|(type_id, value)| SubjectAltName::OtherName { type_id, value }),
    ];
    prop::collection::vec(name, 0..6)
}

prop_compose! {
    fn specs()(
        subject in subjects(),
        names in names(),
        usages in prop::sample::subsequence(vec!["signing", "cert sign", "server auth", "s/mime", "any"], 0..5),
        is_ca in any::<bool>(),
        encode_usages in any::<bool>(),
        encode_basic_constraints in any::<bool>(),
        domains in texts("[a-z.]{0,9}"),
        range in prop::option::of((any::<std::net::IpAddr>(), 0_u8..=32)),
        critical in any::<bool>(),
    ) -> RequestSpec {
        let ip_ranges = range.map(|(address, length)| issuance::constraint::IpRange::new(address, length).unwrap());
        let permitted = Subtrees { dns_domains: domains, ..Subtrees::default() };
        let excluded = Subtrees { ip_ranges: ip_ranges.into_iter().collect(), ..Subtrees::default() };
        RequestSpec {
            subject,
            names,
            usages: Usages::parse(usages).unwrap(),
            is_ca,
            encode_usages,
            encode_basic_constraints,
            name_constraints: Some(NameConstraints { critical, permitted, excluded }),
            signature_algorithm: None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_matches_its_spec_after_parsing(spec in specs()) {
        let built = match Request::build(&spec, &key()) {
            Err(issuance::request::RequestError::Nameless) => return Ok(()),
            built => built.unwrap(),
        };
        let read = Request::from_der(built.der()).unwrap();
        prop_assert_eq!(read.der(), built.der());
        prop_assert_eq!(read.subject_der().unwrap(), built.subject_der().unwrap());
        let ecdsa = KeySpec { algorithm: Some("ECDSA".to_owned()), size: None };
        let wanted = Wanted { request: spec.clone(), private_key: ecdsa, ..Wanted::default() };
        let asked = Asked { is_ca: spec.is_ca, usages: spec.usages, ..Asked::default() };
        prop_assert_eq!(violations(&wanted, &read, &asked).unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Request::from_der(&bytes).is_err());
        let _ = NameConstraints::from_der(&bytes, true);
    }

    #[test]
    fn name_constraints_that_are_read_are_written_to_the_same(spec in specs()) {
        let constraints = spec.name_constraints.unwrap();
        if !constraints.is_empty() {
            let der = constraints.to_der().unwrap();
            let read = NameConstraints::from_der(&der, constraints.critical).unwrap();
            prop_assert_eq!(&read, &constraints);
            prop_assert_eq!(read.to_der().unwrap(), der);
        }
    }

    #[test]
    fn any_text_gets_an_answer_as_a_literal_subject(text in "[A-Z=,;+#\\\\\" a-f0-9é.]{0,40}") {
        if let Ok(literal) = text.parse::<LiteralSubject>() {
            let spec = RequestSpec {
                subject: literal.into(),
                names: vec![SubjectAltName::Dns("a.test".to_owned())],
                ..RequestSpec::default()
            };
            // A hexadecimal value may make a common name that is no text.
            if let Ok(built) = Request::build(&spec, &key()) {
                prop_assert!(Request::from_der(built.der()).is_ok());
            } else {
                prop_assert!(text.contains('#'));
            }
        }
    }
}
