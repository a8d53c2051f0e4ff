//! Requests and certificates that OpenSSL, Go's crypto/x509 and a careless hand made (`corpus/`, written by
//! `e2e/interop`). For each the corpus says what Go, OpenSSL and we have to say about it, why we differ where we do,
//! and what Go read in it.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]
#![allow(clippy::disallowed_methods, reason = "the corpus is files; only the crate itself does no IO")]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use der::Encode as _;
use der::asn1::{Any, Utf8StringRef};
use issuance::authority::{Authority, Terms};
use issuance::certificate::Certificate;
use issuance::chain::Chain;
use issuance::comparison::{Asked, Wanted, violations};
use issuance::key::{Curve, KeyAlgorithm, KeySpec, PrivateKey};
use issuance::name::{Subject, SubjectAltName};
use issuance::pem::{self, Limit};
use issuance::request::{Request, RequestSpec};
use issuance::signature::SignatureError;
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use x509_cert::ext::pkix::name::OtherName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    kind: Kind,
    #[serde(rename = "maker")]
    _maker: String,
    about: String,
    signet: Expected,
    because: Option<String>,
    go: Verdict,
    openssl: Verdict,
    values: Option<Values>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Request,
    Certificate,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Expected {
    Accepted,
    Refused,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    accepted: bool,
    #[serde(rename = "error")]
    _error: Option<String>,
}

/// What Go read; bytes in hexadecimal.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Values {
    #[serde(rename = "subject")]
    subject_der: String,
    subject_text: String,
    public_key: String,
    #[serde(default)]
    dns: Vec<String>,
    #[serde(default)]
    emails: Vec<String>,
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    uris: Vec<String>,
    #[serde(default)]
    other_names: Vec<String>,
    #[serde(default)]
    usages: Vec<String>,
    #[serde(default, rename = "isCA")]
    is_ca: bool,
    path_length: Option<u32>,
    certificate: Option<CertificateValues>,
}

#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CertificateValues {
    issuer: String,
    serial: String,
    not_before: i64,
    not_after: i64,
    #[serde(default)]
    self_signed: bool,
}

/// What we make of an input.
enum Parsed {
    Request(Box<Request>),
    Certificate(Box<Certificate>),
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn cases() -> Vec<Case> {
    let text = fs::read(folder().join("verdicts.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    assert!(cases.len() > 200, "only {} cases: is the corpus cut?", cases.len());
    cases
}

impl Case {
    /// From the corpus' folder.
    fn path(&self) -> String {
        let kind = match self.kind {
            Kind::Request => "requests",
            Kind::Certificate => "certificates",
        };
        format!("{kind}/{}.pem", self.name)
    }

    fn file(&self) -> PathBuf {
        folder().join(self.path())
    }

    fn parse(&self) -> Result<Parsed, String> {
        let text = fs::read(self.file()).unwrap();
        match self.kind {
            Kind::Request => Request::from_pem(&text)
                .map(|request| Parsed::Request(Box::new(request)))
                .map_err(|error| error.to_string()),
            Kind::Certificate => pem::certificates(&text, Limit::CERTIFICATE)
                .map(|mut found| Parsed::Certificate(Box::new(found.remove(0))))
                .map_err(|error| error.to_string()),
        }
    }

    fn title(&self) -> String {
        format!("{} ({})", self.path(), self.about)
    }
}

/// Roots whose own signature Go checks and we do not, because digest, curve or length are too weak for anything.
const TOO_WEAK: &[&str] = &[
    "certificates/openssl-key-p224.pem",
    "certificates/openssl-key-rsa-1024.pem",
    "certificates/openssl-sha1.pem",
];

/// Fails with all complaints at once: a corpus is read as a whole.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_input_gets_the_verdict_that_is_written_down() {
    let mut complaints = Vec::new();
    for case in cases() {
        let complaint = match (case.parse(), case.signet) {
            (Ok(_), Expected::Refused) => "accepted, must be refused".to_owned(),
            (Err(error), Expected::Accepted) => format!("must be accepted: {error}"),
            _ => continue,
        };
        complaints.push(format!("{}: {complaint}", case.title()));
    }
    assert_none(&complaints);
}

#[test]
fn every_difference_from_a_peer_has_its_reason_and_nothing_else_has_one() {
    for case in cases() {
        let accepted = case.signet == Expected::Accepted;
        let differs = case.go.accepted != accepted || case.openssl.accepted != accepted;
        assert_eq!(differs, case.because.is_some(), "{}", case.title());
    }
}

#[test]
fn every_file_has_its_case() {
    let cases: BTreeSet<PathBuf> = cases().iter().map(Case::file).collect();
    let list = |kind| fs::read_dir(folder().join(kind)).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<PathBuf> = list("requests").chain(list("certificates")).collect();
    assert_eq!(files, cases);
}

#[test]
fn what_was_read_is_written_as_it_came() {
    for case in cases() {
        let Ok(parsed) = case.parse() else { continue };
        let text = fs::read(case.file()).unwrap();
        let (der, again) = match &parsed {
            Parsed::Request(request) => (request.der(), request.to_pem()),
            Parsed::Certificate(certificate) => (certificate.der(), certificate.to_pem()),
        };
        // A decoder that is not ours says what the file holds; it knows nothing of words behind the last block.
        let (_, foreign) = x509_parser::pem::parse_x509_pem(&text).unwrap();
        assert_eq!(der, foreign.contents, "{}", case.title());
        let (_, foreign) = x509_parser::pem::parse_x509_pem(again.as_bytes()).unwrap();
        assert_eq!(der, foreign.contents, "{}", case.title());
    }
}

#[test]
fn what_we_read_is_what_go_reads() {
    let mut complaints = Vec::new();
    for case in cases() {
        let (Expected::Accepted, Ok(parsed), Some(expected)) = (case.signet, case.parse(), &case.values)
        else {
            continue;
        };
        let mut ours = match &parsed {
            Parsed::Request(request) => of_request(request, expected),
            Parsed::Certificate(certificate) => of_certificate(certificate, expected),
        };
        let path = case.path();
        if TOO_WEAK.contains(&path.as_str()) {
            let ours = ours.certificate.as_mut().unwrap();
            assert!(!ours.self_signed, "{path}: the signature is accepted");
            ours.self_signed = true;
        }
        if ours != *expected {
            complaints.push(format!("{}:\n  Go   {expected:?}\n  ours {ours:?}", case.title()));
        }
    }
    assert_none(&complaints);
}

/// What we read in a request; what it does not tell is taken from Go's values, and tested by issuing below.
fn of_request(request: &Request, from_go: &Values) -> Values {
    let usages = request.usages().unwrap().map(|usages| words(&usages)).unwrap_or_default();
    Values {
        subject_text: text(&request.subject()),
        public_key: hex(request.public_key().spki_der()),
        usages,
        ..with_names(request.names(), from_go)
    }
}

fn of_certificate(certificate: &Certificate, from_go: &Values) -> Values {
    let from_go_alone = from_go.certificate.clone().unwrap();
    // The last day of the year 9999 is beyond our instants, and the latest one stands for it.
    let latest = Timestamp::MAX.as_second();
    let not_after = certificate.not_after().as_second();
    let not_after = if not_after == latest { from_go_alone.not_after.max(latest) } else { not_after };
    Values {
        subject_text: text(&certificate.subject()),
        public_key: hex(certificate.public_key().spki_der()),
        usages: words(certificate.usages()),
        is_ca: certificate.is_ca(),
        path_length: certificate.path_len().map(u32::from),
        certificate: Some(CertificateValues {
            serial: certificate.serial_hex(),
            not_before: certificate.not_before().as_second(),
            not_after,
            self_signed: certificate.is_self_signed(),
            ..from_go_alone
        }),
        ..with_names(certificate.names(), from_go)
    }
}

fn with_names(names: &[SubjectAltName], from_go: &Values) -> Values {
    let mut values = Values {
        dns: Vec::new(),
        emails: Vec::new(),
        ips: Vec::new(),
        uris: Vec::new(),
        other_names: Vec::new(),
        ..from_go.clone()
    };
    for name in names {
        match name {
            SubjectAltName::Dns(name) => values.dns.push(name.clone()),
            SubjectAltName::Email(address) => values.emails.push(address.clone()),
            SubjectAltName::Ip(IpAddr::V4(address)) => values.ips.push(hex(&address.octets())),
            SubjectAltName::Ip(IpAddr::V6(address)) => values.ips.push(hex(&address.octets())),
            SubjectAltName::Uri(uri) => values.uris.push(uri.clone()),
            SubjectAltName::OtherName { type_id, value } => {
                values.other_names.push(other_name(type_id, value));
            }
            SubjectAltName::Other { der, .. } => values.other_names.push(der.clone()),
        }
    }
    values
}

/// The DER of an otherName with a text.
fn other_name(type_id: &str, value: &str) -> String {
    let value = Any::encode_from(&Utf8StringRef::new(value).unwrap()).unwrap();
    let sequence = OtherName { type_id: type_id.parse().unwrap(), value }.to_der().unwrap();
    // The tag [0] stands in place of the sequence's own.
    hex(&[&[0xa0], sequence.get(1..).unwrap()].concat())
}

/// A subject with RFC 4514's short names, for Go's values have them.
fn text(subject: &str) -> String {
    subject.replace("0.9.2342.19200300.100.1.25=", "DC=").replace("0.9.2342.19200300.100.1.1=", "UID=")
}

/// The words of the API, sorted, since the order has no meaning.
fn words(usages: &Usages) -> Vec<String> {
    let mut words: Vec<String> = usages.to_string().split(", ").map(str::to_owned).collect();
    words.retain(|word| !word.is_empty());
    words.sort();
    words
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_we_issue_for_a_request_has_the_subject_the_key_and_the_names_that_go_read() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let authority = Authority::self_signed("root", key, SignedDuration::from_hours(24), now).unwrap();
    let mut complaints = Vec::new();
    for case in cases() {
        let (Expected::Accepted, Ok(Parsed::Request(request)), Some(expected)) =
            (case.signet, case.parse(), &case.values)
        else {
            continue;
        };
        let terms = Terms {
            duration: SignedDuration::from_hours(1),
            usages: request.usages().unwrap().unwrap_or_default(),
            is_ca: expected.is_ca,
            ..Terms::default()
        };
        let issued = match authority.sign(&request, &terms, now) {
            Ok(issued) => issued,
            Err(error) => {
                complaints.push(format!("{}: {error}", case.title()));
                continue;
            }
        };
        let (_, leaf) = X509Certificate::from_der(issued.chain.leaf().der()).unwrap();
        assert_eq!(hex(leaf.subject().as_raw()), expected.subject_der, "{}", case.title());
        assert_eq!(hex(leaf.public_key().raw), expected.public_key, "{}", case.title());
        assert_eq!(leaf.is_ca(), expected.is_ca, "{}", case.title());
        let issued = with_names(issued.chain.leaf().names(), expected);
        assert_eq!(issued, *expected, "{}", case.title());
    }
    assert_none(&complaints);
}

#[test]
fn a_chain_that_is_signed_with_rsa_pss_is_one() {
    let read = |name: &str| {
        let text = fs::read(folder().join("certificates").join(name)).unwrap();
        pem::certificates(&text, Limit::CERTIFICATE).unwrap().remove(0)
    };
    let (leaf, issuer) = (read("openssl-pss-leaf.pem"), read("openssl-pss-issuer.pem"));
    let chain = Chain::order(vec![leaf.clone(), issuer.clone()]).unwrap();
    assert_eq!(chain.certificates(), [leaf.clone(), issuer]);
    let other = read("openssl-key-rsa-3072.pem");
    assert_eq!(leaf.verify_issued_by(&other), Err(SignatureError::Invalid));
}

/// A Certificate that wants what Go read in a request; `None` when it has attributes that no field can ask for.
fn wanted(request: &Request, from_go: &Values) -> Option<Wanted> {
    let mut subject = Subject::default();
    for attribute in from_go.subject_text.split(", ").filter(|attribute| !attribute.is_empty()) {
        let (kind, value) = attribute.split_once('=')?;
        let value = value.to_owned();
        match kind {
            "C" => subject.countries.push(value),
            "O" => subject.organizations.push(value),
            "OU" => subject.organizational_units.push(value),
            "L" => subject.localities.push(value),
            "ST" => subject.provinces.push(value),
            "STREET" => subject.street_addresses.push(value),
            "postalCode" => subject.postal_codes.push(value),
            "CN" if subject.common_name.is_none() && value != "(not text)" => {
                subject.common_name = Some(value);
            }
            "SERIALNUMBER" => subject.serial_number = Some(value),
            _ => return None,
        }
    }
    let ip = |octets: &String| {
        let octets = unhex(octets);
        <[u8; 4]>::try_from(octets.as_slice())
            .map_or_else(|_| IpAddr::from(<[u8; 16]>::try_from(octets.as_slice()).unwrap()), IpAddr::from)
    };
    let others = request
        .names()
        .iter()
        .filter(|name| matches!(name, SubjectAltName::OtherName { .. } | SubjectAltName::Other { .. }));
    let names = from_go.dns.iter().cloned().map(SubjectAltName::Dns);
    let names = names.chain(from_go.emails.iter().cloned().map(SubjectAltName::Email));
    let names = names.chain(from_go.ips.iter().map(ip).map(SubjectAltName::Ip));
    let names = names.chain(from_go.uris.iter().cloned().map(SubjectAltName::Uri)).chain(others.cloned());
    let usages = request.usages().unwrap();
    let (algorithm, size) = match request.public_key().algorithm()? {
        KeyAlgorithm::Rsa(size) => ("RSA", Some(i64::from(size.bits()))),
        KeyAlgorithm::Ecdsa(Curve::P256) => ("ECDSA", Some(256)),
        KeyAlgorithm::Ecdsa(Curve::P384) => ("ECDSA", Some(384)),
        KeyAlgorithm::Ecdsa(Curve::P521) => ("ECDSA", Some(521)),
        KeyAlgorithm::Ed25519 => ("Ed25519", None),
    };
    let request = RequestSpec {
        subject: subject.into(),
        names: names.collect(),
        encode_usages: usages.is_some(),
        usages: usages.unwrap_or_default(),
        is_ca: from_go.is_ca,
        name_constraints: request.name_constraints().unwrap(),
        signature_algorithm: Some(request.signature_algorithm()),
        ..RequestSpec::default()
    };
    let private_key = KeySpec { algorithm: Some(algorithm.to_owned()), size };
    Some(Wanted { request, private_key, ..Wanted::default() })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn a_request_matches_a_spec_of_what_go_read_and_no_other() {
    let mut compared = 0;
    for case in cases() {
        let (Expected::Accepted, Ok(Parsed::Request(request)), Some(from_go)) =
            (case.signet, case.parse(), &case.values)
        else {
            continue;
        };
        let Some(wanted) = wanted(&request, from_go) else { continue };
        let asked = Asked { is_ca: from_go.is_ca, usages: wanted.request.usages.clone(), ..Asked::default() };
        let differing = |change: &dyn Fn(&mut Wanted)| {
            let mut wanted = wanted.clone();
            change(&mut wanted);
            violations(&wanted, &request, &asked).unwrap()
        };
        assert!(differing(&|_| {}).is_empty(), "{}: {:?}", case.title(), differing(&|_| {}));
        let one_more = |name: SubjectAltName| differing(&|wanted| wanted.request.names.push(name.clone()));
        assert_eq!(
            one_more(SubjectAltName::Dns("more.test".to_owned())),
            ["spec.dnsNames"],
            "{}",
            case.title()
        );
        let uri = SubjectAltName::Uri("spiffe://more.test".to_owned());
        assert_eq!(one_more(uri), ["spec.uris"], "{}", case.title());
        let renamed = differing(&|wanted| wanted.request.subject = Subject::common_name("another").into());
        assert!(renamed.contains(&"spec.commonName"), "{}: {renamed:?}", case.title());
        compared += 1;
    }
    assert!(compared > 60, "only {compared} requests were compared");
}
