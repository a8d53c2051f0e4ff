//! What we issue, judged by parsers and verifiers that did not make it: x509-parser and rustls' webpki.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]

use std::sync::Arc;

use issuance::authority::{Authority, Terms, self_sign};
use issuance::credential::{Credential, Pending, Verified};
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey, RsaSize};
use issuance::name::{Subject, SubjectAltName};
use issuance::request::RequestSpec;
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

const KINDS: [KeyAlgorithm; 5] = [
    KeyAlgorithm::Rsa(RsaSize::Bits2048),
    KeyAlgorithm::Ecdsa(Curve::P256),
    KeyAlgorithm::Ecdsa(Curve::P384),
    KeyAlgorithm::Ecdsa(Curve::P521),
    KeyAlgorithm::Ed25519,
];

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn authority(kind: KeyAlgorithm) -> Authority {
    let key = PrivateKey::generate(kind).unwrap();
    Authority::self_signed("root", key, SignedDuration::from_hours(24), now()).unwrap()
}

fn spec() -> RequestSpec {
    RequestSpec {
        subject: Subject { organizations: vec!["Example".to_owned()], ..Subject::common_name("leaf") }.into(),
        names: vec![
            SubjectAltName::Dns("a.test".to_owned()),
            SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
            SubjectAltName::Uri("spiffe://td/ns/a/sa/b".to_owned()),
        ],
        usages: Usages::server(),
        encode_usages: true,
        ..RequestSpec::default()
    }
}

fn terms() -> Terms {
    Terms {
        duration: SignedDuration::from_hours(1),
        usages: Usages::server(),
        crl_distribution_points: vec!["http://crl.test/a.crl".to_owned()],
        ocsp_servers: vec!["http://ocsp.test".to_owned()],
        issuing_certificate_urls: vec!["http://ca.test/ca.der".to_owned()],
        ..Terms::default()
    }
}

fn issue(authority: &Authority, kind: KeyAlgorithm) -> Credential<Verified> {
    let pending = Credential::<Pending>::new(PrivateKey::generate(kind).unwrap(), &spec()).unwrap();
    let issued = authority.sign(pending.request(), &terms(), now()).unwrap();
    pending.signed(issued).verify(now()).unwrap()
}

#[test]
fn webpki_accepts_every_kind_of_leaf_from_every_kind_of_authority() {
    for ca_kind in KINDS {
        let authority = authority(ca_kind);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.certificate().der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        for kind in KINDS {
            let credential = issue(&authority, kind);
            let leaf = CertificateDer::from(credential.chain().leaf().der().to_vec());
            let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_001));
            for name in ["a.test", "192.0.2.1"] {
                let name = ServerName::try_from(name).unwrap();
                verifier.verify_server_cert(&leaf, &[], &name, &[], at).unwrap_or_else(|error| {
                    panic!("{kind} leaf of a {ca_kind} authority, {name:?}: {error}")
                });
            }
            let other = ServerName::try_from("b.test").unwrap();
            assert!(verifier.verify_server_cert(&leaf, &[], &other, &[], at).is_err());
        }
    }
}

#[test]
fn a_foreign_parser_reads_what_was_meant() {
    let credential = issue(&authority(KeyAlgorithm::Ecdsa(Curve::P384)), KeyAlgorithm::Ecdsa(Curve::P256));
    let (rest, leaf) = X509Certificate::from_der(credential.chain().leaf().der()).unwrap();
    assert!(rest.is_empty());
    assert_eq!(leaf.subject().to_string(), "O=Example, CN=leaf");
    assert_eq!(leaf.issuer().to_string(), "CN=root");
    assert_eq!(leaf.validity().not_before.timestamp(), 1_800_000_000 - 300);
    assert_eq!(leaf.validity().not_after.timestamp(), 1_800_000_000 + 3_600);
    assert_eq!(leaf.raw_serial().len(), 20);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(!names.critical);
    assert_eq!(names.value.general_names.len(), 3);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
    assert!(!usage.value.key_cert_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap();
    assert!(purposes.value.server_auth && !purposes.value.client_auth);
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    let oids: Vec<String> = leaf.extensions().iter().map(|extension| extension.oid.to_id_string()).collect();
    assert_eq!(
        oids,
        [
            "2.5.29.15",
            "2.5.29.37",
            "2.5.29.19",
            "2.5.29.14",
            "2.5.29.35",
            "2.5.29.17",
            "2.5.29.31",
            "1.3.6.1.5.5.7.1.1"
        ]
    );
}

#[test]
fn a_self_signed_certificate_is_its_own_ca() {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let pending = Credential::<Pending>::new(key, &spec()).unwrap();
    let issued = self_sign(pending.request(), pending.key(), &terms(), now()).unwrap();
    let credential = pending.signed(issued).verify(now()).unwrap();
    assert_eq!(credential.ca().certificates(), credential.chain().certificates());
    assert!(credential.chain().leaf().is_self_signed());
}

#[test]
fn an_intermediate_is_served_and_its_root_is_told() {
    let root = authority(KeyAlgorithm::Ecdsa(Curve::P256));
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let spec = RequestSpec {
        is_ca: true,
        subject: Subject::common_name("intermediate").into(),
        ..RequestSpec::default()
    };
    let pending = Credential::<Pending>::new(key, &spec).unwrap();
    let terms = Terms { is_ca: true, duration: SignedDuration::from_hours(12), ..Terms::default() };
    let issued = root.sign(pending.request(), &terms, now()).unwrap();
    let credential = pending.signed(issued).verify(now()).unwrap();

    let key = credential.key().to_pem(KeyEncoding::Pkcs1);
    let chain = credential.chain().to_pem();
    let ca = credential.ca().to_pem();
    let with_root = Authority::from_pem(chain.as_bytes(), key.expose(), Some(ca.as_bytes())).unwrap();
    let leaf = issue(&with_root, KeyAlgorithm::Ecdsa(Curve::P256));
    assert_eq!(leaf.chain().certificates().len(), 2);
    assert_eq!(leaf.ca().to_pem(), root.certificate().to_pem());

    let without_root = Authority::from_pem(chain.as_bytes(), key.expose(), None).unwrap();
    let leaf = issue(&without_root, KeyAlgorithm::Ecdsa(Curve::P256));
    assert_eq!(leaf.chain().certificates().len(), 2);
    assert_eq!(leaf.ca().to_pem(), chain);
}
