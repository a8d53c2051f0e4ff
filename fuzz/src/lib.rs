//! What must hold of our parsers for any bytes at all: no panic, and what was accepted survives being written and read
//! again. Time, memory and length are bounded by the engine (`cargo xtask fuzz`).
//!
//! Each target is a function here and a program in `bin/`. The tests below run the corpus of `issuance` through every
//! target, so that a crash becomes a case there and stays one.

mod der;
mod review;

use std::num::NonZeroU32;
use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac, pbkdf2};
use der::{BIT_STRING, CONTEXT_0, OCTET_STRING, SEQUENCE, content, element, encode};
use issuance::certificate::Certificate;
use issuance::key::{KeyEncoding, PrivateKey};
use issuance::keystore;
use issuance::name::LiteralSubject;
use issuance::pem::{self, Limit};
use issuance::request::Request;
use lint::Linter;

pub use review::review;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;

/// The main function of a target: the engine's under `cfg(fuzzing)`, else one that runs the files it is given, which
/// is how a finding is looked at in a debugger.
#[macro_export]
macro_rules! target {
    ($target:path) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $target(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                $target(&std::fs::read(file)?);
            }
            Ok(())
        }
    };
}

/// Text as a bundle of certificates and as a request.
///
/// # Panics
/// When a property does not hold.
pub fn pem(data: &[u8]) {
    if let Ok(certificates) = pem::certificates(data, Limit::BUNDLE) {
        assert!(!certificates.is_empty() && certificates.len() <= Limit::BUNDLE.blocks);
        let text: String = certificates.iter().map(Certificate::to_pem).collect();
        if text.len() <= Limit::BUNDLE.bytes {
            let again = pem::certificates(text.as_bytes(), Limit::BUNDLE);
            assert_eq!(again.as_ref(), Ok(&certificates));
        }
    }
    if let Ok(request) = Request::from_pem(data) {
        check_request(&request);
    }
}

/// Text as a private key.
///
/// # Panics
/// When a property does not hold.
pub fn private_key(data: &[u8]) {
    let Ok(key) = PrivateKey::from_pem(data) else { return };
    for encoding in [KeyEncoding::Pkcs1, KeyEncoding::Pkcs8] {
        let again = PrivateKey::from_pem(key.to_pem(encoding).expose());
        assert_eq!(again.as_ref().map(PrivateKey::public_key), Ok(key.public_key()));
    }
}

/// DER as a certificate.
///
/// # Panics
/// When a property does not hold.
pub fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::from_der(data) else { return };
    assert_eq!(certificate.der(), data);
    let text = certificate.to_pem();
    if text.len() <= Limit::CERTIFICATE.bytes {
        let again = pem::certificates(text.as_bytes(), Limit::CERTIFICATE);
        assert_eq!(again.as_deref(), Ok(std::slice::from_ref(&certificate)));
    }
    // Whatever people are shown must be made of whatever there is.
    let _ =
        (certificate.subject(), certificate.issuer(), certificate.serial_hex(), certificate.common_name());
    let _ = (
        certificate.is_self_signed(),
        certificate.usages().to_string(),
        certificate.public_key().algorithm(),
    );
    let _ = format!("{certificate:?} {:?}", certificate.names());
}

/// DER as a request: as it is, and once more with a key and a signature that fit.
///
/// # Panics
/// When a property does not hold.
pub fn request(data: &[u8]) {
    for der in [Some(data.to_vec()), signed_anew(data)].into_iter().flatten() {
        if let Ok(request) = Request::from_der(&der) {
            assert_eq!(request.der(), der);
            check_request(&request);
        }
    }
}

/// Text as a literal subject (RFC 4514).
///
/// # Panics
/// When a property does not hold.
pub fn literal_subject(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(literal) = text.parse::<LiteralSubject>() else { return };
    assert_eq!(literal.to_string(), text);
    let der = literal.to_der().expect("what was parsed has an encoding");
    assert_eq!(element(&der), Some((der.as_slice(), [].as_slice())));
    let _ = literal.common_name();
    // A request with it is read again, by the parser that foreign requests go through.
    let no_attributes = [CONTEXT_0, 0];
    let body = encode(SEQUENCE, &[VERSION_0, &der, &encode(SEQUENCE, &[]), &no_attributes]);
    let request = signed_anew(&encode(SEQUENCE, &[&body])).expect("it has all parts");
    let request = Request::from_der(&request).expect("a subject that we write, we read");
    assert_eq!(request.subject_der(), Ok(der));
}

/// Text as manifests.
///
/// # Panics
/// When a property does not hold.
pub fn lint(data: &[u8]) {
    /// Reading the schemas takes longer than any input.
    static LINTER: LazyLock<Linter> = LazyLock::new(|| Linter::new(rules::Settings::default(), None));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let report = LINTER.lint(text);
    // Beside \n, the parser ends lines at \r.
    let lines = text.split(['\n', '\r']).count() + 1;
    for finding in &report.findings {
        assert!((1..=lines).contains(&finding.at.line) && finding.at.column >= 1, "{finding}");
        // What has the shape that the schema wants can be read.
        assert!(!finding.finding.detail.starts_with("cannot be read:"), "{finding}");
    }
    assert!(report.untold == 0 || !report.findings.is_empty());
}

fn check_request(request: &Request) {
    let text = request.to_pem();
    if text.len() <= Limit::CERTIFICATE.bytes {
        let again = Request::from_pem(text.as_bytes()).expect("what we write, we read");
        assert_eq!(again.der(), request.der());
        assert_eq!(again.names(), request.names());
    }
    let _ = (request.subject(), request.common_name(), request.usages(), request.name_constraints());
    let _ = format!("{request:?}");
}

/// Takes version, subject and attributes out of something like a request, however broken, and makes a request of them
/// that the key in it signed. Without this nearly every change ends at the check of the signature.
fn signed_anew(data: &[u8]) -> Option<Vec<u8>> {
    /// `AlgorithmIdentifier` of Ed25519 (RFC 8410 §3).
    const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    let (whole, _) = element(data)?;
    let (body, _) = element(content(whole)?)?;
    let (version, rest) = element(content(body)?)?;
    let (subject, rest) = element(rest)?;
    let (_, attributes) = element(rest)?;
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).ok()?;
    let bits = |bytes: &[u8]| encode(BIT_STRING, &[&[0], bytes]);
    let public = encode(SEQUENCE, &[ED25519, &bits(key.public_key().as_ref())]);
    let body = encode(SEQUENCE, &[version, subject, &public, attributes]);
    let signature = bits(key.sign(&body).as_ref());
    Some(encode(SEQUENCE, &[&body, ED25519, &signature]))
}

/// The version of a request.
const VERSION_0: &[u8] = &[0x02, 0x01, 0x00];

/// The password of every keystore here.
pub const PASSWORD: &str = "1234";

/// Iterations are what a reader of keystores spends its time on, so few are allowed: enough for the examples of
/// RFC 9579 and for what we write.
const KEYSTORE: keystore::Limit = keystore::Limit { iterations: 50_000, ..keystore::Limit::SECRET };

/// PKCS#12: as it is, and once more with a check over the file that fits.
///
/// # Panics
/// When a property does not hold.
pub fn pkcs12(data: &[u8]) {
    for file in [Some(data.to_vec()), sealed_pkcs12(data)].into_iter().flatten() {
        if let Ok(contents) = keystore::pkcs12::read(&file, &password(), KEYSTORE) {
            let certificates = contents.certificates.iter().map(|entry| entry.certificate.der());
            assert!(certificates.map(<[u8]>::len).sum::<usize>() <= file.len());
        }
    }
}

/// JKS: as it is, and once more with a check over the file that fits.
///
/// # Panics
/// When a property does not hold.
pub fn jks(data: &[u8]) {
    const CHECK_OCTETS: usize = 20;
    let content = data.get(..data.len().saturating_sub(CHECK_OCTETS)).unwrap_or_default();
    for file in [data.to_vec(), sealed_jks(content)] {
        if let Ok(entries) = keystore::jks::read(&file, &password(), KEYSTORE) {
            assert!(entries.len() <= file.len());
        }
    }
}

fn password() -> keystore::Password {
    keystore::Password::new(PASSWORD.as_bytes()).expect("four digits are a password")
}

/// Takes the authenticated content out of something like a PFX and puts a PBMAC1 over it (RFC 9579) that fits.
fn sealed_pkcs12(data: &[u8]) -> Option<Vec<u8>> {
    /// PBMAC1 by PBKDF2 and HMAC-SHA-256: the salt `fuzzfuzz`, one iteration, a key of 32 octets.
    const PBMAC1: &[u8] = &[
        0x30, 0x48, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0e, 0x30, 0x3b, 0x30, 0x2b,
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c, 0x30, 0x1e, 0x04, 0x08, b'f', b'u',
        b'z', b'z', b'f', b'u', b'z', b'z', 0x02, 0x01, 0x01, 0x02, 0x01, 0x20, 0x30, 0x0c, 0x06, 0x08, 0x2a,
        0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09, 0x05, 0x00, 0x30, 0x0c, 0x06, 0x08, 0x2a, 0x86, 0x48, 0x86,
        0xf7, 0x0d, 0x02, 0x09, 0x05, 0x00,
    ];
    /// `id-data` (RFC 5652 §4).
    const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    let (whole, _) = element(data)?;
    let (version, rest) = element(content(whole)?)?;
    let (safe, _) = element(rest)?;
    let (_, explicit) = element(content(safe)?)?;
    let (octets, _) = element(content(element(explicit)?.0)?)?;
    let authenticated = content(octets)?;
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::MIN, b"fuzzfuzz", PASSWORD.as_bytes(), &mut key);
    let check = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), authenticated);
    let octet_string = |bytes: &[u8]| encode(OCTET_STRING, &[bytes]);
    let safe = encode(SEQUENCE, &[DATA, &encode(CONTEXT_0, &[&octet_string(authenticated)])]);
    let digest = encode(SEQUENCE, &[PBMAC1, &octet_string(check.as_ref())]);
    // RFC 9579 leaves salt and iterations of the outer structure without meaning.
    let mac = encode(SEQUENCE, &[&digest, &octet_string(b"unused"), &[0x02, 0x01, 0x01]]);
    Some(encode(SEQUENCE, &[version, &safe, &mac]))
}

/// Appends the check of the format: SHA-1 over the password in UTF-16, a phrase of its authors, and the content.
fn sealed_jks(content: &[u8]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        context.update(&unit.to_be_bytes());
    }
    context.update(b"Mighty Aphrodite");
    context.update(content);
    [content, context.finish().as_ref()].concat()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base64::Engine as _;

    use super::*;

    /// The text of every input of issuance's corpus.
    fn corpus(kind: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../issuance/tests/corpus").join(kind);
        let files = std::fs::read_dir(folder).unwrap();
        let texts: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(texts.len() > 50);
        texts
    }

    /// The content of the first block, if it is one.
    fn der(text: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(text).ok()?;
        let (_, block) = text.split_once("REQUEST-----").or_else(|| text.split_once("CERTIFICATE-----"))?;
        let (base64, _) = block.split_once("-----END")?;
        let base64: String = base64.split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(base64).ok()
    }

    #[test]
    fn every_property_holds_of_the_corpus() {
        for kind in ["requests", "certificates"] {
            for text in corpus(kind) {
                pem(&text);
                literal_subject(&text);
                private_key(&text);
                if let Some(der) = der(&text) {
                    request(&der);
                    certificate(&der);
                }
            }
        }
    }

    #[test]
    fn a_keystore_whose_check_is_made_anew_is_accepted() {
        let example = include_bytes!("../../issuance/tests/data/rfc9579/a1.txt");
        let base64: Vec<u8> = example.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let file = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
        let read =
            |file: &[u8]| keystore::pkcs12::read(file, &password(), KEYSTORE).unwrap().certificates.len();
        assert_eq!(read(&sealed_pkcs12(&file).unwrap()), read(&file));
        // Magic, version 2, no entries.
        let empty = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 0];
        assert_eq!(keystore::jks::read(&sealed_jks(&empty), &password(), KEYSTORE).unwrap().len(), 0);
    }

    #[test]
    fn every_property_holds_of_literal_subjects() {
        for text in ["CN=leaf", "CN=a\\,b+UID=u,O=\\42\\C3\\BCcher,DC=test", "1.2.3.4=#0C0178", ""] {
            literal_subject(text.as_bytes());
        }
    }

    #[test]
    fn every_property_holds_of_manifests() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lint/tests/manifests");
        for file in std::fs::read_dir(folder).unwrap() {
            lint(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn a_request_that_is_signed_anew_is_accepted_with_its_subject_and_names() {
        let mut accepted = 0;
        for text in corpus("requests") {
            let (Ok(request), Some(der)) = (Request::from_pem(&text), der(&text)) else { continue };
            let again = Request::from_der(&signed_anew(&der).unwrap()).unwrap();
            assert_eq!((again.subject(), again.names()), (request.subject(), request.names()));
            accepted += 1;
        }
        assert!(accepted > 50, "{accepted}");
    }
}
