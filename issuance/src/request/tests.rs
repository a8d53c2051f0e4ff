use super::*;
use crate::key::{Curve, KeyAlgorithm, RsaSize};
use crate::name::Subject;

fn spec() -> RequestSpec {
    RequestSpec {
        subject: Subject::common_name("leaf").into(),
        names: vec![
            SubjectAltName::Dns("a.test".to_owned()),
            SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
            SubjectAltName::Uri("spiffe://td/ns/a/sa/b".to_owned()),
        ],
        usages: Usages::parse(["digital signature", "server auth"]).unwrap(),
        encode_usages: true,
        ..RequestSpec::default()
    }
}

#[test]
fn a_request_that_names_nobody_is_refused() {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    for common_name in [None, Some(String::new())] {
        let subject = Subject { common_name, ..Subject::default() }.into();
        let spec = RequestSpec { subject, ..RequestSpec::default() };
        assert_eq!(Request::build(&spec, &key).unwrap_err(), RequestError::Nameless);
    }
}

#[test]
fn a_request_with_a_flipped_bit_is_refused() {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let der = Request::build(&spec(), &key).unwrap().der().to_vec();
    for position in 0..der.len() {
        let mut broken = der.clone();
        broken[position] ^= 1;
        assert!(Request::from_der(&broken).is_err(), "byte {position} may be anything");
    }
    for length in 0..der.len() {
        assert!(Request::from_der(&der[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn name_constraints_are_asked_for_when_they_constrain_something() {
    use crate::constraint::Subtrees;
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let check = |asked: Option<NameConstraints>, carried: Option<&NameConstraints>| {
        let spec = RequestSpec { name_constraints: asked, ..spec() };
        let request = Request::from_der(Request::build(&spec, &key).unwrap().der()).unwrap();
        assert_eq!(request.name_constraints().unwrap().as_ref(), carried);
    };
    check(None, None);
    check(Some(NameConstraints { critical: true, ..NameConstraints::default() }), None);
    for critical in [true, false] {
        let permitted = Subtrees { dns_domains: vec!["a.test".to_owned()], ..Subtrees::default() };
        let constraints = NameConstraints { critical, permitted, ..NameConstraints::default() };
        check(Some(constraints.clone()), Some(&constraints));
    }
}

#[test]
fn what_is_built_parses_to_the_same() {
    for kind in
        [KeyAlgorithm::Rsa(RsaSize::Bits2048), KeyAlgorithm::Ecdsa(Curve::P521), KeyAlgorithm::Ed25519]
    {
        let key = PrivateKey::generate(kind).unwrap();
        let built = Request::build(&spec(), &key).unwrap();
        let parsed = Request::from_pem(built.to_pem().as_bytes()).unwrap();
        assert_eq!(parsed.der(), built.der());
        assert_eq!(parsed.names(), spec().names);
        assert_eq!(parsed.subject(), "CN=leaf");
        assert_eq!(parsed.public_key(), key.public_key());
        assert_eq!(parsed.usages().unwrap(), Some(spec().usages), "{kind}");
    }
}

/// A request with a valid signature over whatever is put into it.
struct Forged {
    version: u8,
    subject: Vec<u8>,
    /// The content of `[0] Attributes`.
    attributes: Vec<u8>,
}

impl Default for Forged {
    fn default() -> Self {
        let subject = RequestedSubject::from(Subject::common_name("leaf")).to_name().unwrap();
        Self { version: 0, subject: subject.to_der().unwrap(), attributes: Vec::new() }
    }
}

impl Forged {
    fn der(&self) -> Vec<u8> {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let info = RequestInfo {
            version: self.version,
            subject: Any::from_der(&self.subject).unwrap(),
            public_key: key.public_key().spki().clone(),
            attributes: Any::new(ATTRIBUTES, self.attributes.clone()).unwrap(),
        };
        let body = Any::encode_from(&info).unwrap();
        let signature = key.sign(&body.to_der().unwrap()).unwrap();
        let algorithm = SignatureAlgorithm::Ed25519.identifier();
        let signed = Signed { body, algorithm, signature: BitString::from_bytes(&signature).unwrap() };
        signed.to_der().unwrap()
    }

    fn with_extensions(extensions: &[(&str, &[u8])]) -> Self {
        Self { attributes: attribute("1.2.840.113549.1.9.14", &list(extensions)), ..Self::default() }
    }
}

fn sequence(content: &[u8]) -> Vec<u8> {
    Any::new(Tag::Sequence, content).unwrap().to_der().unwrap()
}

fn attribute(oid: &str, values: &[u8]) -> Vec<u8> {
    let values = Any::new(Tag::Set, values).unwrap();
    Attribute { oid: oid.parse().unwrap(), values }.to_der().unwrap()
}

fn list(extensions: &[(&str, &[u8])]) -> Vec<u8> {
    let extension = |(oid, value): &(&str, &[u8])| x509_cert::ext::Extension {
        extn_id: oid.parse().unwrap(),
        critical: false,
        extn_value: der::asn1::OctetString::new(*value).unwrap(),
    };
    extensions.iter().map(extension).collect::<Vec<_>>().to_der().unwrap()
}

#[test]
fn a_forged_request_is_accepted_when_nothing_is_wrong_with_it() {
    assert!(Request::from_der(&Forged::default().der()).is_ok());
    assert!(Request::from_der(&Forged::with_extensions(&[]).der()).is_ok());
    let request = Forged::with_extensions(&[("2.5.29.17", &[0x30, 3, 0x82, 1, b'a'])]);
    assert_eq!(Request::from_der(&request.der()).unwrap().names(), [SubjectAltName::Dns("a".to_owned())]);
}

#[test]
fn requests_that_bend_the_rules_are_refused() {
    let check = |forged: Forged, message: &str| {
        assert_eq!(Request::from_der(&forged.der()).unwrap_err().to_string(), message);
    };
    for version in [1, 2] {
        let message = format!("the certificate request has version {version}; PKCS#10 knows 0 only");
        check(Forged { version, ..Forged::default() }, &message);
    }
    let malformed = "the certificate request is not valid PKCS#10";
    check(Forged { attributes: vec![5, 0], ..Forged::default() }, malformed);
    check(Forged { attributes: vec![0x30, 1], ..Forged::default() }, malformed);
    let no_set = [&[6, 1, 0x2a], sequence(&[]).as_slice()].concat();
    check(Forged { attributes: sequence(&no_set), ..Forged::default() }, malformed);
    check(Forged { attributes: attribute("1.2.840.113549.1.9.14", &[5, 0]), ..Forged::default() }, malformed);

    let lists =
        "the certificate request has an extensionRequest attribute that does not hold exactly one list";
    let one = list(&[("1.2.3", &[])]);
    let request = "1.2.840.113549.1.9.14";
    let twice = [attribute(request, &one), attribute(request, &one)].concat();
    check(Forged { attributes: twice, ..Forged::default() }, lists);
    check(
        Forged { attributes: attribute(request, &[one.clone(), one].concat()), ..Forged::default() },
        lists,
    );
    check(Forged { attributes: attribute(request, &[]), ..Forged::default() }, lists);

    let twice = Forged::with_extensions(&[("1.2.3", &[]), ("1.2.4", &[]), ("1.2.3", &[1])]);
    check(twice, "extension 1.2.3 is present more than once");
    let no_names = "the certificate request has a list of subject alternative names without any";
    check(Forged::with_extensions(&[("2.5.29.17", &[0x30, 0])]), no_names);
    let address = Forged::with_extensions(&[("2.5.29.17", &[0x30, 3, 0x87, 1, 1])]);
    check(address, "a subject alternative name is malformed: an IP address has neither 4 nor 16 bytes");
    for (oid, value) in [
        ("2.5.29.15", [].as_slice()),
        ("2.5.29.15", &[5, 0]),
        ("2.5.29.15", &[3, 1, 1]),
        ("2.5.29.15", &[3, 2, 7, 0xff]),
        ("2.5.29.37", &[5, 0]),
        ("2.5.29.37", &[0x30, 0]),
        ("2.5.29.19", &[5, 0]),
        ("2.5.29.17", &[5, 0]),
        ("2.5.29.17", &[0x30, 3, 0x82, 1, b'a', 0]),
        ("2.5.29.19", &[0x30, 0, 0]),
    ] {
        check(Forged::with_extensions(&[(oid, value)]), &format!("extension {oid} is malformed"));
    }
    let constraints = Forged::with_extensions(&[("2.5.29.30", &[0x30, 0])]);
    check(constraints, "the name constraints are malformed: nothing is permitted or excluded");
    let subject = [0x30, 13, 0x31, 11, 0x30, 9, 6, 3, 0x55, 4, 3, 4, 2, 1, 2].to_vec();
    check(
        Forged { subject, ..Forged::default() },
        "the subject name is malformed: a common name is not text",
    );
    let long = attribute("1.2.3", &sequence(&vec![0; DER_BYTES_MAX]));
    let message = Request::from_der(&Forged { attributes: long, ..Forged::default() }.der()).unwrap_err();
    assert!(matches!(message, RequestError::TooLong(_)), "{message}");
}

#[test]
fn a_key_usage_without_bits_is_none_beside_the_purposes() {
    // ServerAuth and ClientAuth; the second form of the usage is the one that the peer writes.
    let purposes =
        [[0x30, 20].as_slice(), &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1], &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2]]
            .concat();
    let wanted = Usages::parse(["server auth", "client auth"]).unwrap();
    for bits in [[3, 1, 0].as_slice(), &[3, 2, 0, 0], &[3, 2, 7, 0], &[3, 3, 0, 0, 0]] {
        let forged = Forged::with_extensions(&[("2.5.29.15", bits), ("2.5.29.37", &purposes)]);
        let request = Request::from_der(&forged.der()).unwrap();
        assert!(request.usages().unwrap().unwrap().same_as(&wanted), "{bits:?}");
        let alone = Request::from_der(&Forged::with_extensions(&[("2.5.29.15", bits)]).der()).unwrap();
        assert_eq!(alone.usages().unwrap().unwrap().to_string(), "", "{bits:?}");
    }
}

#[test]
fn bytes_behind_a_request_are_refused() {
    let der = [Forged::default().der(), vec![0]].concat();
    assert_eq!(Request::from_der(&der).unwrap_err(), RequestError::Malformed);
}

#[test]
fn a_request_that_another_key_signed_is_refused() {
    let request = |key: &PrivateKey| Signed::from_der(Request::build(&spec(), key).unwrap().der()).unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let other = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let swapped = Signed { signature: request(&other).signature, ..request(&key) };
    assert_eq!(
        Request::from_der(&swapped.to_der().unwrap()).unwrap_err(),
        RequestError::Signature(SignatureError::Invalid)
    );
    let p256 = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let mismatched = Signed { algorithm: request(&p256).algorithm, ..request(&key) };
    assert!(matches!(
        Request::from_der(&mismatched.to_der().unwrap()).unwrap_err(),
        RequestError::Signature(SignatureError::Mismatch { .. })
    ));
    let mut parameters = request(&key);
    parameters.algorithm.parameters = Some(Any::from(der::asn1::Null));
    assert!(matches!(
        Request::from_der(&parameters.to_der().unwrap()).unwrap_err(),
        RequestError::Signature(SignatureError::Parameters(_))
    ));
}

#[test]
fn attributes_of_other_kinds_are_passed_over_in_any_order() {
    let password = attribute("1.2.840.113549.1.9.7", &[12, 1, b'a']);
    let extensions = attribute("1.2.840.113549.1.9.14", &list(&[("2.5.29.17", &[0x30, 3, 0x82, 1, b'a'])]));
    for attributes in [[password.clone(), extensions.clone()], [extensions, password]] {
        let forged = Forged { attributes: attributes.concat(), ..Forged::default() };
        let der = forged.der();
        let request = Request::from_der(&der).unwrap();
        assert_eq!(request.names().len(), 1);
        assert_eq!(request.der(), der);
    }
}

#[test]
fn names_of_every_kind_are_read_and_their_bytes_kept() {
    let names = [
        [0xa0, 8, 6, 1, 0x2a, 0xa0, 3, 12, 1, b'u'].as_slice(),
        &[0xa3, 2, 0x30, 0],
        &[0xa4, 2, 0x30, 0],
        &[0xa5, 5, 0xa1, 3, 12, 1, b'p'],
        &[0x88, 2, 0x2a, 3],
        &[0x82, 1, b'a'],
    ];
    let value = sequence(&names.concat());
    let request = Request::from_der(&Forged::with_extensions(&[("2.5.29.17", &value)]).der()).unwrap();
    let shown: Vec<String> = request.names().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "otherName:1.2=u",
            "x400Address:a3023000",
            "directoryName:a4023000",
            "ediPartyName:a505a1030c0170",
            "registeredID:88022a03",
            "DNS:a"
        ]
    );
    let raw = request.extensions().raw(extension::SUBJECT_ALT_NAME).unwrap().unwrap();
    assert_eq!(raw.extn_value.as_bytes(), value);
}

#[test]
fn each_key_signs_with_what_it_can_and_refuses_the_rest_by_both_names() {
    use SignatureAlgorithm as A;
    let kinds = [
        KeyAlgorithm::Rsa(RsaSize::Bits2048),
        KeyAlgorithm::Ecdsa(Curve::P256),
        KeyAlgorithm::Ecdsa(Curve::P384),
        KeyAlgorithm::Ecdsa(Curve::P521),
        KeyAlgorithm::Ed25519,
    ];
    for kind in kinds {
        let key = PrivateKey::generate(kind).unwrap();
        let default = Request::build(&spec(), &key).unwrap();
        assert_eq!(default.signature_algorithm(), A::of_key(kind));
        for algorithm in [
            A::RsaSha256,
            A::RsaSha384,
            A::RsaSha512,
            A::EcdsaSha256,
            A::EcdsaSha384,
            A::EcdsaSha512,
            A::Ed25519,
        ] {
            let spec = RequestSpec { signature_algorithm: Some(algorithm), ..spec() };
            let built = Request::build(&spec, &key);
            if A::possible(kind).contains(&algorithm) {
                let read = Request::from_der(built.unwrap().der()).unwrap();
                assert_eq!(read.signature_algorithm(), algorithm, "{kind}");
            } else {
                let message = built.unwrap_err().to_string();
                let start = format!("a key of kind {kind} cannot sign with {algorithm}; use ");
                assert!(message.starts_with(&start), "{message}");
            }
        }
    }
    let p256 = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let spec = RequestSpec { signature_algorithm: Some(A::EcdsaSha384), ..spec() };
    assert_eq!(
        Request::build(&spec, &p256).unwrap_err().to_string(),
        "a key of kind ECDSA P-256 cannot sign with ECDSAWithSHA384; use ECDSAWithSHA256"
    );
}

#[test]
fn basic_constraints_are_asked_for_when_they_are_switched_on() {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    for (encode_basic_constraints, is_ca, carried) in
        [(false, false, None), (false, true, None), (true, false, Some(false)), (true, true, Some(true))]
    {
        let spec = RequestSpec { encode_basic_constraints, is_ca, ..spec() };
        let request = Request::from_der(Request::build(&spec, &key).unwrap().der()).unwrap();
        assert_eq!(request.is_ca().unwrap(), carried);
    }
}
