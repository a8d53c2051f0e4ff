use api::CertificateRequestSpec;
use issuance::key::{KeyAlgorithm, PrivateKey};
use issuance::name::SubjectAltName;
use issuance::request::{Request, RequestSpec};
use issuance::usage::Usages;
use serde_json::{Value, json};

use super::super::testing::{PLAIN, encoded};
use crate::case::{Case, Context, Object, Settings};
use crate::finding::Finding;
use crate::judge;

/// The text of a request in `tests/requests`.
macro_rules! request {
    ($name:literal) => {
        include_str!(concat!("../../../tests/requests/", $name, ".pem"))
    };
}

/// What the rules tell about a request with these members of the spec beside it, each without the value that it shows.
fn told_by(settings: &Settings, text: impl Into<Vec<u8>>, members: &Value) -> Vec<String> {
    let mut spec = json!({"request": encoded(text), "issuerRef": {"name": "ca"}});
    for (member, value) in members.as_object().unwrap() {
        spec[member] = value.clone();
    }
    let object: Object<CertificateRequestSpec> = serde_json::from_value(json!({"spec": spec})).unwrap();
    let context = Context { settings, ..Context::default() };
    let verdict = judge(&Case { context, ..Case::create(&object) });
    assert_eq!(verdict.warnings, []);
    let told = |denial: &Finding| {
        assert_eq!((denial.path.as_ref(), denial.fault.as_str()), ("spec.request", "Invalid value"));
        format!("{} {}; {}", denial.rule.id, denial.detail, denial.advice)
    };
    verdict.denials.iter().map(told).collect()
}

fn check(text: impl Into<Vec<u8>>, members: &Value, wanted: &[&str]) {
    assert_eq!(told_by(&Settings::DEFAULT, text, members), wanted, "with {members}");
}

const ANEW: &str = super::ANEW;

#[test]
fn a_request_that_is_too_long_is_refused_before_it_is_read() {
    let check = |bytes: usize, wanted: &[&str]| {
        let settings = Settings { request_bytes_max: 100, ..Settings::DEFAULT };
        assert_eq!(told_by(&settings, vec![b'x'; bytes], &json!({})), wanted);
    };
    check(
        101,
        &[
            "R05 101 bytes are more than the 100 allowed; ask for fewer names, or have --max-certificate-size raised",
        ],
    );
    check(
        100,
        &[
            "R06 no PEM block found; a signing request begins with the line -----BEGIN CERTIFICATE REQUEST-----; put a PKCS#10 request here, in PEM and then in base64",
        ],
    );
    let settings = Settings { request_bytes_max: PLAIN.len(), ..Settings::DEFAULT };
    assert_eq!(told_by(&settings, PLAIN, &json!({})), [""; 0]);
}

#[test]
fn what_makes_no_difference_to_a_certificate_is_no_reason_to_refuse() {
    for text in [request!("version-1"), request!("version-2"), request!("san-empty")] {
        check(text, &json!({}), &[]);
    }
}

#[test]
fn a_request_that_is_longer_than_usual_is_accepted_where_the_operator_wants_it() {
    let text = format!("{}{PLAIN}", "# words\n".repeat(5_000));
    assert!(text.len() > 36_500);
    check(
        text.as_str(),
        &json!({}),
        &[
            "R05 40387 bytes are more than the 36500 allowed; ask for fewer names, or have --max-certificate-size raised",
        ],
    );
    let settings = Settings { request_bytes_max: 50_000, ..Settings::DEFAULT };
    assert_eq!(told_by(&settings, text, &json!({})), [""; 0]);
}

#[test]
fn what_is_not_pem_is_refused_with_what_it_probably_is() {
    let none =
        "no PEM block found; a signing request begins with the line -----BEGIN CERTIFICATE REQUEST-----";
    for (text, advice) in [
        (b"hello".to_vec(), "put a PKCS#10 request here, in PEM and then in base64"),
        (vec![0x30, 0x82, 1, 1], "turn DER into PEM by openssl req -inform DER, and that into base64"),
        (b"LS0tLS1CRUdJTiBDRVJU".to_vec(), "put the PEM into base64 once, not twice"),
    ] {
        check(text, &json!({}), &[&format!("R06 {none}; {advice}")]);
    }
    let broken = PLAIN.replace("-----END", "----END");
    check(
        broken,
        &json!({}),
        &[
            "R06 the certificate request cannot be decoded: PEM block 1 (\"CERTIFICATE REQUEST\") is damaged: its END line is missing; put a PKCS#10 request here, in PEM and then in base64",
        ],
    );
}

#[test]
fn blocks_of_other_kinds_and_what_follows_the_request_are_refused() {
    let renamed = |label: &str| PLAIN.replace("CERTIFICATE REQUEST", label);
    check(
        renamed("CERTIFICATE"),
        &json!({}),
        &[
            "B14 a \"CERTIFICATE\" block is not a CERTIFICATE REQUEST; this is a certificate: put the signing request here that it was made from, or make one",
        ],
    );
    check(
        renamed("EC PRIVATE KEY"),
        &json!({}),
        &[
            "B14 a \"EC PRIVATE KEY\" block is not a CERTIFICATE REQUEST; treat the key as disclosed, make another one, and a request with it",
        ],
    );
    check(
        format!("{PLAIN}{PLAIN}"),
        &json!({}),
        &[
            "B14 386 bytes follow the CERTIFICATE REQUEST block; give each request a CertificateRequest of its own",
        ],
    );
    check(renamed("NEW CERTIFICATE REQUEST"), &json!({}), &[]);
    check(format!("Subject: web\n{PLAIN}\r\n\n"), &json!({}), &[]);
}

#[test]
fn a_private_key_is_not_shown_in_the_message() {
    let text = |label: &str| {
        let spec = json!({"request": encoded(PLAIN.replace("CERTIFICATE REQUEST", label)), "issuerRef": {"name": "ca"}});
        let object: Object<CertificateRequestSpec> = serde_json::from_value(json!({"spec": spec})).unwrap();
        judge(&Case::create(&object)).message()
    };
    assert!(!text("PRIVATE KEY").contains("MII"), "{}", text("PRIVATE KEY"));
    let der = json!({"request": encoded([0x30, 0x03, b'k', b'e', b'y', 0xff]), "issuerRef": {"name": "ca"}});
    let object: Object<CertificateRequestSpec> = serde_json::from_value(json!({"spec": der})).unwrap();
    let told = judge(&Case::create(&object)).message();
    assert!(told.starts_with("spec.request: Invalid value: no PEM block found"), "{told}");
    let shown = "spec.request: Invalid value: \"-----BEGIN CERTIFICATE-----\\nMIHnMIGPAgEAMAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATpAGRe4GVzhMcS\\nczL2...\": a ";
    assert!(text("CERTIFICATE").starts_with(shown), "{}", text("CERTIFICATE"));
}

#[test]
fn what_is_not_pkcs10_is_refused() {
    check(
        "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
        &json!({}),
        &[&format!("R07 the certificate request is not valid PKCS#10; {ANEW}")],
    );
    check(
        request!("san-malformed"),
        &json!({}),
        &[&format!("R07 the extension subjectAltName is malformed; {ANEW}")],
    );
}

#[test]
fn a_request_that_its_own_key_did_not_sign_is_refused() {
    // The last characters are of the signature.
    let (rest, end) = PLAIN.rsplit_once("\n-----END").unwrap();
    let at = rest.len() - 8;
    let flipped = if rest.as_bytes()[at] == b'A' { "B" } else { "A" };
    let forged = format!("{}{flipped}{}\n-----END{end}", &rest[..at], &rest[at + 1..]);
    check(
        forged,
        &json!({}),
        &[
            "R08 not signed by the private key that belongs to the key in it; make the request anew with the key that the certificate is for",
        ],
    );
    check(
        request!("p224"),
        &json!({}),
        &[
            "R08 a signature by algorithm 1.2.840.10045.4.3.2 is not checked with such a key: 1.2.840.10045.2.1; sign with SHA-256, SHA-384 or SHA-512 and RSA or ECDSA (P-256, P-384, P-521), or with Ed25519",
        ],
    );
}

#[test]
fn weak_keys_and_digests_are_refused() {
    check(
        request!("rsa-1024"),
        &json!({}),
        &["B14 an RSA key of 1024 bits is too weak; make a key of at least 2048 bits, or one for ECDSA"],
    );
    // The last arc of the algorithm.
    let md4 = request!("md5").replace("GCSqGSIb3DQEBBAU", "GCSqGSIb3DQEBAwU");
    for (text, digest) in [(request!("sha1"), "SHA-1"), (request!("md5"), "MD5"), (&*md4, "MD4")] {
        let told =
            format!("B14 signed with {digest}, which can be forged; sign with SHA-256, SHA-384 or SHA-512");
        check(text, &json!({}), &[&told]);
    }
}

#[test]
fn a_weak_key_is_accepted_where_the_operator_wants_it() {
    let settings = Settings { short_request_keys: true, ..Settings::DEFAULT };
    let told = |text: &str| told_by(&settings, text, &json!({}));
    assert_eq!(told(request!("rsa-1024")), [""; 0]);
    assert_eq!(told(request!("rsa-2048")), [""; 0]);
    assert_eq!(told(request!("sha1")).len(), 1);
    let forged = request!("rsa-1024").replace("DQYJKoZIhvcNAQEL", "DQYJKoZIhvcNAQEN");
    assert!(told(&forged)[0].starts_with("R08 not signed"), "{forged}");
}

#[test]
fn signatures_that_others_take_are_accepted() {
    for text in [request!("rsa-2048"), request!("rsa-pss"), PLAIN, request!("without-extensions")] {
        check(text, &json!({}), &[]);
    }
}

#[test]
fn basic_constraints_that_disagree_with_the_spec_are_refused() {
    check(
        request!("ca"),
        &json!({}),
        &[
            "R09 asks for CA:TRUE, and spec.isCA is false; set spec.isCA to true, or make the request without basic constraints",
        ],
    );
    check(
        request!("not-ca"),
        &json!({"isCA": true}),
        &[
            "R09 asks for CA:FALSE, and spec.isCA is true; set spec.isCA to false, or make the request without basic constraints",
        ],
    );
    check(
        request!("basic-constraints-malformed"),
        &json!({}),
        &[&format!("R09 the extension basicConstraints is malformed; {ANEW}")],
    );
    check(request!("ca"), &json!({"isCA": true}), &[]);
    check(request!("not-ca"), &json!({"isCA": false}), &[]);
    check(PLAIN, &json!({"isCA": true}), &[]);
}

#[test]
fn key_usages_that_disagree_with_the_spec_are_refused() {
    check(
        request!("server"),
        &json!({"usages": ["digital signature", "server auth"]}),
        &[
            "R10 asks for digital signature, key encipherment, and the spec for digital signature; write usages: [digital signature, key encipherment, server auth], or make the request without usages",
        ],
    );
    // A usage for CAs comes with spec.isCA.
    check(
        request!("server"),
        &json!({"isCA": true, "usages": ["digital signature", "key encipherment", "server auth"]}),
        &[
            "R10 asks for digital signature, key encipherment, and the spec for digital signature, key encipherment, cert sign; make the request with keyCertSign or without usages, or set spec.isCA to false",
        ],
    );
    // Without usages, the spec asks for two.
    check(
        request!("eku-alone"),
        &json!({}),
        &[
            "R10 asks for none, and the spec for digital signature, key encipherment; write usages: [server auth], or make the request without usages",
            "R11 asks for server auth, and the spec for none; write usages: [server auth], or make the request without usages",
        ],
    );
}

#[test]
fn an_empty_key_usage_disagrees_with_every_other() {
    check(
        request!("ku-without-bits"),
        &json!({}),
        &[
            "R10 asks for none, and the spec for digital signature, key encipherment; make the request with the usages of the spec, or without any",
        ],
    );
    check(
        request!("ku-malformed"),
        &json!({}),
        &[&format!("R12 the extension keyUsage is malformed; {ANEW}")],
    );
}

#[test]
fn extended_key_usages_that_disagree_with_the_spec_are_refused() {
    check(
        request!("server"),
        &json!({"usages": ["digital signature", "key encipherment", "client auth"]}),
        &[
            "R11 asks for server auth, and the spec for client auth; write usages: [digital signature, key encipherment, server auth], or make the request without usages",
        ],
    );
    check(
        request!("server"),
        &json!({"usages": ["digital signature", "key encipherment"]}),
        &[
            "R11 asks for server auth, and the spec for none; write usages: [digital signature, key encipherment, server auth], or make the request without usages",
        ],
    );
    for name in [request!("eku-malformed"), request!("eku-without-purposes")] {
        check(name, &json!({}), &[&format!("R12 the extension extKeyUsage is malformed; {ANEW}")]);
    }
}

#[test]
fn an_extended_key_usage_without_a_name_is_refused() {
    check(
        request!("eku-foreign"),
        &json!({"usages": ["digital signature", "key encipherment", "server auth"]}),
        &[
            "B15 asks for extended usages that no usage stands for: 1.3.6.1.4.1.311.20.2.2; make the request without them",
        ],
    );
}

#[test]
fn name_constraints_that_cannot_be_read_are_refused() {
    check(
        request!("name-constraints-malformed"),
        &json!({}),
        &[&format!("R12 the name constraints are malformed: nothing is permitted or excluded; {ANEW}")],
    );
}

#[test]
fn usages_that_agree_are_accepted_in_any_order_and_under_any_name() {
    for usages in [
        json!(["client auth", "server auth", "digital signature", "key encipherment"]),
        json!(["server auth", "client auth", "key encipherment", "signing"]),
        json!(["signing", "digital signature", "key encipherment", "client auth", "server auth"]),
    ] {
        check(request!("eku-client-server"), &json!({"usages": usages}), &[]);
    }
    check(request!("eku-alone"), &json!({"usages": ["server auth"]}), &[]);
    // An empty key usage is what the API's own controllers write beside extended usages alone.
    check(
        request!("ku-without-bits"),
        &json!({"usages": ["any"]}),
        &[
            "R11 asks for none, and the spec for any; make the request with the usages of the spec, or without any",
        ],
    );
}

#[test]
fn a_request_without_usages_leaves_them_to_the_spec() {
    for text in [PLAIN, request!("without-extensions")] {
        check(text, &json!({}), &[]);
        check(text, &json!({"usages": ["server auth", "cert sign"], "isCA": true}), &[]);
    }
}

#[test]
fn a_request_is_read_on_creation_alone() {
    let spec = json!({"request": encoded("damaged"), "usages": ["x"], "issuerRef": {"name": "ca"}});
    let old: Object<CertificateRequestSpec> = serde_json::from_value(json!({"spec": spec})).unwrap();
    let verdict = judge(&Case::update(&old, &old));
    assert_eq!((verdict.denials, verdict.warnings), (vec![], vec![]));
}

#[test]
fn a_request_for_every_usage_is_accepted() {
    let usages: Vec<&str> = api::KeyUsage::KNOWN.iter().map(api::KeyUsage::as_str).collect();
    let spec = RequestSpec {
        names: vec![SubjectAltName::Dns("a.test".to_owned())],
        usages: Usages::parse(&usages).unwrap(),
        encode_usages: true,
        ..Default::default()
    };
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let text = Request::build(&spec, &key).unwrap().to_pem();
    check(text, &json!({"usages": usages}), &[]);
}
