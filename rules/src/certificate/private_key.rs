//! Rules about the private key and what it signs with.

use api::CertificateSpec;
use api::certificate::{CertificatePrivateKey, KeyAlgorithm, SignatureAlgorithm};
use issuance::key::{Curve, KeyAlgorithm as Key, KeySpec, RsaSize};
use issuance::signature::SignatureAlgorithm as Signature;

use super::{CERTIFICATE, keystores};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

/// Shortest and longest RSA key in bits.
const RSA_BITS: std::ops::RangeInclusive<i64> = 2048..=8192;

/// Longest RSA key whose signatures do not slow a server down noticeably, in bits.
const RSA_BITS_USUAL_MAX: i64 = 4096;

/// Sizes of ECDSA keys in bits, by their curves.
const CURVE_BITS: [i64; 3] = [256, 384, 521];

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C20",
        CERTIFICATE,
        "spec.privateKey.size",
        Class::Spec,
        "RSA keys have 2048 to 8192 bits (negative sizes, which cert-manager accepts, are B11's)",
        |case, findings| {
            let Some((KeyAlgorithm::Rsa, size)) = sized(case) else { return };
            if size > 0 && !RSA_BITS.contains(&size) {
                findings
                    .here(Fault::Invalid)
                    .value(size)
                    .detail("RSA keys have 2048 to 8192 bits")
                    .advice("write 2048, 3072, 4096 or 8192");
            }
        },
    ),
    Check::new(
        "C21",
        CERTIFICATE,
        "spec.privateKey.size",
        Class::Spec,
        "ECDSA keys have 256, 384 or 521 bits",
        |case, findings| {
            let Some((KeyAlgorithm::Ecdsa, size)) = sized(case) else { return };
            if size > 0 && !CURVE_BITS.contains(&size) {
                findings
                    .here(Fault::NotSupported)
                    .value(size)
                    .detail("no curve of ECDSA keys has this size")
                    .advice("write 256, 384 or 521");
            }
        },
    ),
    Check::new(
        "C22",
        CERTIFICATE,
        "spec.privateKey.algorithm",
        Class::Spec,
        "Keys are of RSA, ECDSA or Ed25519",
        |case, findings| {
            let algorithm = key(case).and_then(|key| key.algorithm.as_ref());
            let Some(KeyAlgorithm::Other(text)) = algorithm else { return };
            if text.is_empty() {
                return;
            }
            let finding = findings.here(Fault::Invalid).value(text.as_str());
            let similar = KeyAlgorithm::KNOWN.iter().find(|known| known.as_str().eq_ignore_ascii_case(text));
            finding.detail("not an algorithm of keys").advice(match similar {
                Some(known) => format!("write {:?}", known.as_str()),
                None => "write RSA, ECDSA or Ed25519".to_owned(),
            });
        },
    ),
    Check::new(
        "C23",
        CERTIFICATE,
        "spec.signatureAlgorithm",
        Class::Spec,
        "The signature algorithm is one of the key's",
        signature_fits_the_key,
    ),
    Check::new(
        "B11",
        CERTIFICATE,
        "spec.privateKey.size",
        Class::Spec,
        "RSA keys have 2048, 3072, 4096 or 8192 bits, and no key a negative size; a keystore has an alias and a password \
         that can be used",
        |case, findings| {
            size_can_be_made(case, findings);
            keystores::can_be_written(case, findings);
        },
    ),
    Check::new(
        "B11-W",
        CERTIFICATE,
        "spec.privateKey.size",
        Class::Advice,
        "A key is not slower than it need be, has a size only where that means something, and signs with what it can; \
         a keystore can be read by Java and names its entries apart",
        |case, findings| {
            size_is_sensible(case, findings);
            signature_can_be_made(case, findings);
            keystores::can_be_read(case, findings);
        },
    ),
];

fn key<'a>(case: &Case<'a, CertificateSpec>) -> Option<&'a CertificatePrivateKey> {
    case.object.spec.private_key.as_ref()
}

/// The algorithm that is meant, and the size that is given.
fn sized(case: &Case<'_, CertificateSpec>) -> Option<(KeyAlgorithm, i64)> {
    let size = key(case)?.size?;
    Some((algorithm(case), size))
}

/// The algorithm that is meant: an empty one is none.
pub(super) fn algorithm(case: &Case<'_, CertificateSpec>) -> KeyAlgorithm {
    let given = key(case).and_then(|key| key.algorithm.as_ref());
    given.filter(|algorithm| !algorithm.as_str().is_empty()).cloned().unwrap_or(KeyAlgorithm::Rsa)
}

/// C23.
fn signature_fits_the_key(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    use SignatureAlgorithm::{
        EcdsaWithSha256, EcdsaWithSha384, EcdsaWithSha512, PureEd25519, Sha256WithRsa, Sha384WithRsa,
        Sha512WithRsa,
    };
    let signature = case.object.spec.signature_algorithm.as_ref();
    let Some(signature) = signature.filter(|signature| !signature.as_str().is_empty()) else { return };
    let algorithm = algorithm(case);
    let (fits, possible) = match algorithm {
        KeyAlgorithm::Rsa => (
            matches!(signature, Sha256WithRsa | Sha384WithRsa | Sha512WithRsa),
            "SHA256WithRSA, SHA384WithRSA or SHA512WithRSA",
        ),
        KeyAlgorithm::Ecdsa => (
            matches!(signature, EcdsaWithSha256 | EcdsaWithSha384 | EcdsaWithSha512),
            "ECDSAWithSHA256, ECDSAWithSHA384 or ECDSAWithSHA512",
        ),
        KeyAlgorithm::Ed25519 => (matches!(signature, PureEd25519), "PureEd25519"),
        KeyAlgorithm::Other(_) => return, // C22
    };
    if !fits {
        findings
            .here(Fault::Invalid)
            .value(signature.as_str())
            .detail(format!("not an algorithm of {algorithm} keys"))
            .advice(format!("write {possible}, or change spec.privateKey.algorithm"));
    }
}

/// B11, the key. What C20 and C21 refuse is left to them.
fn size_can_be_made(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some((algorithm, size)) = sized(case) else { return };
    let is_made = || u32::try_from(size).is_ok_and(|bits| RsaSize::try_from(bits).is_ok());
    if size < 0 {
        findings
            .here(Fault::Invalid)
            .value(size)
            .detail("below zero")
            .advice("leave it out for the default size");
    } else if algorithm == KeyAlgorithm::Rsa && RSA_BITS.contains(&size) && !is_made() {
        let next = [2048, 3072, 4096, 8192].into_iter().find(|bits| *bits > size).unwrap_or(8192);
        findings
            .here(Fault::Invalid)
            .value(size)
            .detail("RSA keys of this size are not made")
            .advice(format!("write {next}; sizes are 2048, 3072, 4096 and 8192"));
    }
}

/// B11-W, the key.
fn size_is_sensible(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    match sized(case) {
        Some((KeyAlgorithm::Ed25519, size)) if size > 0 => {
            findings
                .here(Fault::Invalid)
                .value(size)
                .detail("Ed25519 keys have one size")
                .advice("leave it out");
        }
        Some((KeyAlgorithm::Rsa, size)) if RSA_BITS.contains(&size) && size > RSA_BITS_USUAL_MAX => {
            findings
                .here(Fault::Invalid)
                .value(size)
                .detail("slow to make and to use")
                .advice("write 4096, or use ECDSA");
        }
        _ => {}
    }
}

/// B11-W, the signature: a curve signs with the digest of its own strength, P-521 with each.
fn signature_can_be_made(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let signature = case.object.spec.signature_algorithm.as_ref();
    let Some(signature) = signature.filter(|_| algorithm(case) == KeyAlgorithm::Ecdsa) else { return };
    let Ok(wanted) = signature.as_str().parse::<Signature>() else { return };
    let spec = KeySpec {
        algorithm: Some(KeyAlgorithm::Ecdsa.as_str().to_owned()),
        size: key(case).and_then(|key| key.size),
    };
    let Ok(key) = spec.key_algorithm() else { return };
    // An algorithm of another kind of key is C23's.
    let is_of_kind = Signature::possible(Key::Ecdsa(Curve::P521)).contains(&wanted);
    if let [only] = Signature::possible(key)
        && is_of_kind
        && *only != wanted
    {
        findings
            .at("spec.signatureAlgorithm", Fault::Invalid)
            .value(signature.as_str())
            .detail(format!("no signature of an {key} key"))
            .advice(format!("write {only}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{check, warns};

    fn key(algorithm: &str, size: i64) -> Value {
        json!({"privateKey": {"algorithm": algorithm, "size": size}})
    }

    #[test]
    fn keys_of_impossible_sizes_are_refused() {
        for size in [1, 1024, 2047, 8193, i64::MAX] {
            let refused = format!(
                "C20 spec.privateKey.size: Invalid value: {size}: RSA keys have 2048 to 8192 bits; write 2048, 3072, 4096 or 8192"
            );
            check(&key("RSA", size), &[&refused]);
            check(&json!({"privateKey": {"size": size}}), &[&refused]);
            check(&key("", size), &[&refused]);
        }
        check(
            &key("ECDSA", 224),
            &[
                "C21 spec.privateKey.size: Unsupported value: 224: no curve of ECDSA keys has this size; write 256, 384 or 521",
            ],
        );
        for (algorithm, size) in [("RSA", 2048), ("RSA", 0), ("ECDSA", 0), ("ECDSA", 521), ("Ed25519", 0)] {
            check(&key(algorithm, size), &[]);
        }
    }

    #[test]
    fn sizes_that_are_not_made_are_refused() {
        let negative =
            "B11 spec.privateKey.size: Invalid value: -1: below zero; leave it out for the default size";
        check(&key("RSA", -1), &[negative]);
        check(&key("ECDSA", -1), &[negative]);
        check(
            &key("RSA", 2049),
            &[
                "B11 spec.privateKey.size: Invalid value: 2049: RSA keys of this size are not made; write 3072; sizes are 2048, 3072, 4096 and 8192",
            ],
        );
    }

    #[test]
    fn unknown_algorithms_of_keys_are_refused() {
        check(
            &key("DSA", 1024),
            &[
                "C22 spec.privateKey.algorithm: Invalid value: \"DSA\": not an algorithm of keys; write RSA, ECDSA or Ed25519",
            ],
        );
        check(
            &json!({"privateKey": {"algorithm": "ed25519"}, "signatureAlgorithm": "SHA256WithRSA"}),
            &[
                "C22 spec.privateKey.algorithm: Invalid value: \"ed25519\": not an algorithm of keys; write \"Ed25519\"",
            ],
        );
        check(&json!({"privateKey": {"algorithm": ""}}), &[]);
    }

    #[test]
    fn a_signature_of_another_kind_of_key_is_refused() {
        let check = |algorithm: Value, signature: &str, detail: &str| {
            let refused = format!(
                "C23 spec.signatureAlgorithm: Invalid value: {signature:?}: not an algorithm of {detail}"
            );
            check(
                &json!({"privateKey": {"algorithm": algorithm}, "signatureAlgorithm": signature}),
                &[&format!("{refused}, or change spec.privateKey.algorithm")],
            );
        };
        let rsa = "RSA keys; write SHA256WithRSA, SHA384WithRSA or SHA512WithRSA";
        check(Value::Null, "ECDSAWithSHA256", rsa);
        check(json!(""), "PureEd25519", rsa);
        check(json!("RSA"), "SHA1WithRSA", rsa);
        let ecdsa = "ECDSA keys; write ECDSAWithSHA256, ECDSAWithSHA384 or ECDSAWithSHA512";
        check(json!("ECDSA"), "SHA256WithRSA", ecdsa);
        check(json!("Ed25519"), "ECDSAWithSHA256", "Ed25519 keys; write PureEd25519");
    }

    #[test]
    fn a_signature_of_the_key_is_accepted() {
        for (algorithm, signature) in [
            ("RSA", "SHA512WithRSA"),
            ("", "SHA256WithRSA"),
            ("ECDSA", "ECDSAWithSHA256"),
            ("Ed25519", "PureEd25519"),
            ("ECDSA", ""),
        ] {
            check(&json!({"privateKey": {"algorithm": algorithm}, "signatureAlgorithm": signature}), &[]);
        }
    }

    #[test]
    fn sizes_that_are_not_sensible_are_warned_of() {
        warns(
            &key("RSA", 8192),
            &[
                "B11-W spec.privateKey.size: Invalid value: 8192: slow to make and to use; write 4096, or use ECDSA",
            ],
        );
        warns(
            &key("Ed25519", 256),
            &["B11-W spec.privateKey.size: Invalid value: 256: Ed25519 keys have one size; leave it out"],
        );
    }

    #[test]
    fn a_digest_that_a_curve_does_not_sign_with_is_warned_of() {
        let with = |size: i64, signature: &str| json!({"privateKey": {"algorithm": "ECDSA", "size": size}, "signatureAlgorithm": signature});
        warns(
            &with(0, "ECDSAWithSHA512"),
            &[
                "B11-W spec.signatureAlgorithm: Invalid value: \"ECDSAWithSHA512\": no signature of an ECDSA P-256 key; write ECDSAWithSHA256",
            ],
        );
        warns(&with(384, "ECDSAWithSHA384"), &[]);
        warns(&with(521, "ECDSAWithSHA256"), &[]);
    }
}
