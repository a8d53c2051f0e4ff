use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Reader as _, SliceReader, Tagged as _};
use expect_test::{Expect, expect};

use super::*;
use crate::key::{Curve, KeyAlgorithm, RsaSize};
use crate::keystore::fixture::{Parts, password};
use crate::keystore::{Limit, ReadError};

const PROFILES: [Profile; 4] =
    [Profile::LegacyRc2, Profile::LegacyDes, Profile::Modern2023, Profile::Modern2026];

/// The examples of RFC 9579, Appendix A, with the password `1234`.
fn rfc9579(text: &str) -> Vec<u8> {
    STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
}

const RFC9579_A1: &str = include_str!("../../../tests/data/rfc9579/a1.txt");
const RFC9579_A2: &str = include_str!("../../../tests/data/rfc9579/a2.txt");
const RFC9579_A3: &str = include_str!("../../../tests/data/rfc9579/a3.txt");
const RFC9579_A4: &str = include_str!("../../../tests/data/rfc9579/a4.txt");
const RFC9579_A5: &str = include_str!("../../../tests/data/rfc9579/a5.txt");
const RFC9579_A6: &str = include_str!("../../../tests/data/rfc9579/a6.txt");

fn refused(file: &[u8], text: &str, limit: Limit) -> ReadError {
    read(file, &password(text), limit).unwrap_err()
}

/// A file with some octets replaced at the one place where they occur.
fn with_replaced(file: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<usize> =
        file.windows(old.len()).enumerate().filter(|(_, octets)| *octets == old).map(|(at, _)| at).collect();
    let [at] = places[..] else { panic!("{} places have these octets", places.len()) };
    [&file[..at], new, &file[at + old.len()..]].concat()
}

#[test]
fn an_unknown_profile_is_refused_with_those_that_are_known() {
    let message = Profile::from_str("legacyrc2").unwrap_err().to_string();
    assert_eq!(
        message,
        "PKCS#12 profile \"legacyrc2\" is not known; use LegacyRC2, LegacyDES, Modern2023 or Modern2026"
    );
    for profile in PROFILES {
        assert_eq!(Profile::from_str(profile.as_str()), Ok(profile));
    }
    assert_eq!(Profile::default(), Profile::LegacyRc2);
}

#[test]
fn the_examples_of_rfc_9579_that_are_wrong_are_refused() {
    assert_eq!(refused(&rfc9579(RFC9579_A4), "1234", Limit::SECRET), ReadError::Integrity);
    assert_eq!(refused(&rfc9579(RFC9579_A5), "1234", Limit::SECRET), ReadError::Integrity);
    let no_length = ReadError::Malformed("the key length of PBMAC1");
    assert_eq!(refused(&rfc9579(RFC9579_A6), "1234", Limit::SECRET), no_length);
}

#[test]
fn the_examples_of_rfc_9579_that_are_right_are_read() {
    for text in [RFC9579_A1, RFC9579_A2, RFC9579_A3] {
        let contents = read(&rfc9579(text), &password("1234"), Limit::SECRET).unwrap();
        let ([key], [certificate]) = (&contents.keys[..], &contents.certificates[..]) else {
            panic!("{contents:?}");
        };
        assert_eq!(key.key.algorithm(), KeyAlgorithm::Rsa(RsaSize::Bits2048));
        assert_eq!(key.key.public_key(), certificate.certificate.public_key());
        assert_eq!(key.local_key_id, certificate.local_key_id);
        assert!(key.local_key_id.is_some());
    }
}

/// A forger who may say that the key has one octet needs 256 tries.
#[test]
fn a_mac_key_that_can_be_guessed_is_refused_before_it_is_derived() {
    let file = rfc9579(RFC9579_A1);
    let (length, function) =
        ([2, 1, 0x20], [0x30, 0x0c, 6, 8, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9, 5, 0]);
    for octets in [0, 1, 19, 65, 127] {
        let old = [&length[..], &function].concat();
        let new = [&[2, 1, octets][..], &function].concat();
        let error = refused(&with_replaced(&file, &old, &new), "1234", Limit::SECRET);
        assert_eq!(error, ReadError::MacKeyLength(octets.into()));
    }
}

#[test]
fn what_exceeds_a_limit_is_refused_before_the_work_is_done() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let file = key_store(Profile::Modern2023, &parts.entry(), &password("p")).unwrap();
    let file = file.expose();
    let limit = Limit { bytes: file.len() - 1, ..Limit::SECRET };
    assert_eq!(refused(file, "p", limit), ReadError::TooLarge { bytes: file.len(), limit: file.len() - 1 });
    let limit = Limit { entries: 4, ..Limit::SECRET };
    assert_eq!(refused(file, "p", limit), ReadError::TooMany { limit: 4 });
    for iterations in [9_999, 10_000, 29_999] {
        let limit = Limit { iterations, ..Limit::SECRET };
        assert_eq!(refused(file, "p", limit), ReadError::Iterations { limit: iterations });
    }
    let exact = Limit { bytes: file.len(), entries: 5, iterations: 30_000 };
    assert!(read(file, &password("p"), exact).is_ok());
}

#[test]
fn a_wrong_password_and_any_changed_octet_are_refused() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    for profile in PROFILES {
        let file = trust_store(profile, &parts.ca, &password("right")).unwrap();
        let file = file.expose();
        assert_eq!(refused(file, "wrong", Limit::SECRET), ReadError::Integrity);
        assert_eq!(refused(file, "right ", Limit::SECRET), ReadError::Integrity);
        for length in 0..file.len() {
            refused(&file[..length], "right", Limit::SECRET);
        }
        // A prime step: each kind of place is met in one profile or another.
        for at in (0..file.len()).step_by(13) {
            let mut changed = file.to_vec();
            changed[at] ^= 0x11;
            let error = read(&changed, &password("right"), Limit::SECRET).map(drop).unwrap_err();
            assert!(!matches!(error, ReadError::Decrypt(_)), "octet {at}: {error}");
        }
    }
}

/// Whoever knows the password can send anything behind the check: all of it must end in an error or a value.
#[test]
fn damaged_content_behind_a_right_check_ends_in_an_error() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let (leaf, password) = (parts.chain.leaf(), password("p"));
    let bag = certificate_bag(leaf, Some(key_attributes(leaf).unwrap())).unwrap();
    let safe = safe_contents(&[plain_safe(&[bag]).unwrap()]).unwrap();
    let read = |content: &[u8]| {
        // The check itself is left out, since its derivation is what takes long.
        reader::read_authenticated(content, &password, Limit::SECRET)
    };
    assert_eq!(read(&safe).unwrap().certificates.len(), 1);
    for length in 0..safe.len() {
        assert!(read(&safe[..length]).is_err(), "{length}");
    }
    for at in 0..safe.len() {
        for bits in [0x01, 0x20, 0xff] {
            let mut changed = safe.clone();
            changed[at] ^= bits;
            drop(read(&changed));
        }
    }
}

#[test]
fn a_key_that_is_not_the_certificates_and_an_empty_trust_store_are_not_written() {
    let (one, other) = (Parts::new(KeyAlgorithm::Ed25519), Parts::new(KeyAlgorithm::Ed25519));
    let mixed = KeyEntry { key: &other.key, ..one.entry() };
    let error = key_store(Profile::Modern2023, &mixed, &password("p")).unwrap_err();
    assert_eq!(error, WriteError::Key { subject: "CN=leaf".to_owned() });
    let error = trust_store(Profile::Modern2023, &Bundle::default(), &password("p")).unwrap_err();
    assert_eq!(error, WriteError::NoCertificate);
}

#[test]
fn key_stores_of_all_profiles_and_keys_are_read_back() {
    let kinds =
        [KeyAlgorithm::Rsa(RsaSize::Bits2048), KeyAlgorithm::Ecdsa(Curve::P384), KeyAlgorithm::Ed25519];
    for kind in kinds {
        let parts = Parts::new(kind);
        for profile in PROFILES {
            for text in ["p", "pässwörd 😀", &"long".repeat(256)] {
                let file = key_store(profile, &parts.entry(), &password(text)).unwrap();
                let contents = read(file.expose(), &password(text), Limit::SECRET).unwrap();
                let [key] = &contents.keys[..] else { panic!("{} keys", contents.keys.len()) };
                assert_eq!(key.key.to_pkcs8_der().expose(), parts.key.to_pkcs8_der().expose());
                assert_eq!(key.friendly_name.as_deref(), Some(KEY_NAME));
                let certificates = contents.certificates.iter().map(|entry| &entry.certificate);
                assert!(certificates.eq(&parts.certificates()));
                let tied =
                    contents.certificates.iter().filter(|entry| entry.local_key_id == key.local_key_id);
                assert_eq!(tied.count(), 1);
                assert!(contents.certificates.iter().all(|entry| !entry.is_trusted));
            }
        }
    }
}

#[test]
fn a_certificate_that_is_both_leaf_and_ca_is_written_once() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let ca = Bundle::of(parts.chain.certificates().to_vec());
    let file = key_store(Profile::LegacyDes, &KeyEntry { ca: &ca, ..parts.entry() }, &password("p")).unwrap();
    assert_eq!(read(file.expose(), &password("p"), Limit::SECRET).unwrap().certificates.len(), 2);
}

/// Two CAs of one subject must not get one name, or Java keeps the second alone.
#[test]
fn trust_stores_name_and_mark_each_certificate() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    for profile in PROFILES {
        let file = trust_store(profile, &parts.ca, &password("p")).unwrap();
        let contents = read(file.expose(), &password("p"), Limit::SECRET).unwrap();
        assert!(contents.keys.is_empty());
        let names: Vec<_> =
            contents.certificates.iter().map(|entry| entry.friendly_name.as_deref()).collect();
        assert_eq!(names, [Some("ca"), Some("ca-1")]);
        assert!(contents.certificates.iter().all(|entry| entry.is_trusted));
        assert!(contents.certificates.iter().map(|entry| &entry.certificate).eq(parts.ca.certificates()));
    }
}

#[test]
fn no_two_files_share_a_salt() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let write = || key_store(Profile::Modern2023, &parts.entry(), &password("p")).unwrap();
    assert_ne!(write().expose(), write().expose());
}

fn check(profile: Profile, expected: &Expect) {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let file = key_store(profile, &parts.entry(), &password("p")).unwrap();
    let mut text = String::new();
    dump(file.expose(), 0, &mut text).unwrap();
    expected.assert_eq(&text);
}

/// The structure of a file as text. Octet strings that are DER themselves are opened; of the others only short ones
/// have a length that does not depend on the certificates.
fn dump(der: &[u8], depth: usize, text: &mut String) -> der::Result<()> {
    let mut reader = SliceReader::new(der)?;
    while !reader.is_finished() {
        let value = AnyRef::decode(&mut reader)?;
        let (tag, content) = (value.tag(), value.value());
        let indent = "  ".repeat(depth);
        let inner = |text: &mut String| dump(content, depth + 1, text);
        let mut opened = String::new();
        match tag {
            Tag::ObjectIdentifier => {
                let oid: ObjectIdentifier = value.decode_as()?;
                let name = const_oid::db::DB.by_oid(&oid).map(|name| format!(" {name}")).unwrap_or_default();
                writeln!(text, "{indent}{oid}{name}").unwrap();
            }
            Tag::Integer => writeln!(text, "{indent}INTEGER {}", value.decode_as::<u32>()?).unwrap(),
            Tag::Null => writeln!(text, "{indent}NULL").unwrap(),
            Tag::OctetString if content.len() <= 32 => {
                writeln!(text, "{indent}OCTET STRING of {}", content.len()).unwrap();
            }
            Tag::OctetString if inner(&mut opened).is_ok() => {
                write!(text, "{indent}OCTET STRING\n{opened}").unwrap();
            }
            Tag::BmpString => writeln!(text, "{indent}BMPString {content:?}").unwrap(),
            _ if tag.is_constructed() && inner(&mut opened).is_ok() => {
                write!(text, "{indent}{tag}\n{opened}").unwrap();
            }
            _ => writeln!(text, "{indent}{tag} ...").unwrap(),
        }
    }
    Ok(())
}

#[test]
fn the_structure_of_legacy_rc2() {
    check(
        Profile::LegacyRc2,
        &expect![[r#"
        SEQUENCE
          INTEGER 3
          SEQUENCE
            1.2.840.113549.1.7.1 id-data
            CONTEXT-SPECIFIC [0] (constructed)
              OCTET STRING
                SEQUENCE
                  SEQUENCE
                    1.2.840.113549.1.7.6 id-encryptedData
                    CONTEXT-SPECIFIC [0] (constructed)
                      SEQUENCE
                        INTEGER 0
                        SEQUENCE
                          1.2.840.113549.1.7.1 id-data
                          SEQUENCE
                            1.2.840.113549.1.12.1.6 pbewithSHAAnd40BitRC2-CBC
                            SEQUENCE
                              OCTET STRING of 16
                              INTEGER 10000
                          CONTEXT-SPECIFIC [0] (primitive) ...
                  SEQUENCE
                    1.2.840.113549.1.7.1 id-data
                    CONTEXT-SPECIFIC [0] (constructed)
                      OCTET STRING
                        SEQUENCE
                          SEQUENCE
                            1.2.840.113549.1.12.10.1.2
                            CONTEXT-SPECIFIC [0] (constructed)
                              SEQUENCE
                                SEQUENCE
                                  1.2.840.113549.1.12.1.3 pbeWithSHAAnd3-KeyTripleDES-CBC
                                  SEQUENCE
                                    OCTET STRING of 16
                                    INTEGER 10000
                                OCTET STRING ...
                            SET
                              SEQUENCE
                                1.2.840.113549.1.9.20 pkcs-9-at-friendlyName
                                SET
                                  BMPString [0, 49]
                              SEQUENCE
                                1.2.840.113549.1.9.21 pkcs-9-at-localKeyId
                                SET
                                  OCTET STRING of 20
          SEQUENCE
            SEQUENCE
              SEQUENCE
                1.3.14.3.2.26 id-sha1
                NULL
              OCTET STRING of 20
            OCTET STRING of 16
            INTEGER 10000
    "#]],
    );
}

#[test]
fn the_structure_of_legacy_des() {
    check(
        Profile::LegacyDes,
        &expect![[r#"
        SEQUENCE
          INTEGER 3
          SEQUENCE
            1.2.840.113549.1.7.1 id-data
            CONTEXT-SPECIFIC [0] (constructed)
              OCTET STRING
                SEQUENCE
                  SEQUENCE
                    1.2.840.113549.1.7.6 id-encryptedData
                    CONTEXT-SPECIFIC [0] (constructed)
                      SEQUENCE
                        INTEGER 0
                        SEQUENCE
                          1.2.840.113549.1.7.1 id-data
                          SEQUENCE
                            1.2.840.113549.1.12.1.3 pbeWithSHAAnd3-KeyTripleDES-CBC
                            SEQUENCE
                              OCTET STRING of 16
                              INTEGER 10000
                          CONTEXT-SPECIFIC [0] (primitive) ...
                  SEQUENCE
                    1.2.840.113549.1.7.1 id-data
                    CONTEXT-SPECIFIC [0] (constructed)
                      OCTET STRING
                        SEQUENCE
                          SEQUENCE
                            1.2.840.113549.1.12.10.1.2
                            CONTEXT-SPECIFIC [0] (constructed)
                              SEQUENCE
                                SEQUENCE
                                  1.2.840.113549.1.12.1.3 pbeWithSHAAnd3-KeyTripleDES-CBC
                                  SEQUENCE
                                    OCTET STRING of 16
                                    INTEGER 10000
                                OCTET STRING ...
                            SET
                              SEQUENCE
                                1.2.840.113549.1.9.20 pkcs-9-at-friendlyName
                                SET
                                  BMPString [0, 49]
                              SEQUENCE
                                1.2.840.113549.1.9.21 pkcs-9-at-localKeyId
                                SET
                                  OCTET STRING of 20
          SEQUENCE
            SEQUENCE
              SEQUENCE
                1.3.14.3.2.26 id-sha1
                NULL
              OCTET STRING of 20
            OCTET STRING of 16
            INTEGER 10000
    "#]],
    );
}

#[test]
fn the_structure_of_modern_2023() {
    check(
        Profile::Modern2023,
        &expect![[r#"
        SEQUENCE
          INTEGER 3
          SEQUENCE
            1.2.840.113549.1.7.1 id-data
            CONTEXT-SPECIFIC [0] (constructed)
              OCTET STRING
                SEQUENCE
                  SEQUENCE
                    1.2.840.113549.1.7.6 id-encryptedData
                    CONTEXT-SPECIFIC [0] (constructed)
                      SEQUENCE
                        INTEGER 0
                        SEQUENCE
                          1.2.840.113549.1.7.1 id-data
                          SEQUENCE
                            1.2.840.113549.1.5.13
                            SEQUENCE
                              SEQUENCE
                                1.2.840.113549.1.5.12 id-PBKDF2
                                SEQUENCE
                                  OCTET STRING of 16
                                  INTEGER 10000
                                  SEQUENCE
                                    1.2.840.113549.2.9 id-hmacWithSHA256
                                    NULL
                              SEQUENCE
                                2.16.840.1.101.3.4.1.42 id-aes256-CBC
                                OCTET STRING of 16
                          CONTEXT-SPECIFIC [0] (primitive) ...
                  SEQUENCE
                    1.2.840.113549.1.7.1 id-data
                    CONTEXT-SPECIFIC [0] (constructed)
                      OCTET STRING
                        SEQUENCE
                          SEQUENCE
                            1.2.840.113549.1.12.10.1.2
                            CONTEXT-SPECIFIC [0] (constructed)
                              SEQUENCE
                                SEQUENCE
                                  1.2.840.113549.1.5.13
                                  SEQUENCE
                                    SEQUENCE
                                      1.2.840.113549.1.5.12 id-PBKDF2
                                      SEQUENCE
                                        OCTET STRING of 16
                                        INTEGER 10000
                                        SEQUENCE
                                          1.2.840.113549.2.9 id-hmacWithSHA256
                                          NULL
                                    SEQUENCE
                                      2.16.840.1.101.3.4.1.42 id-aes256-CBC
                                      OCTET STRING of 16
                                OCTET STRING ...
                            SET
                              SEQUENCE
                                1.2.840.113549.1.9.20 pkcs-9-at-friendlyName
                                SET
                                  BMPString [0, 49]
                              SEQUENCE
                                1.2.840.113549.1.9.21 pkcs-9-at-localKeyId
                                SET
                                  OCTET STRING of 20
          SEQUENCE
            SEQUENCE
              SEQUENCE
                2.16.840.1.101.3.4.2.1 id-sha256
                NULL
              OCTET STRING of 32
            OCTET STRING of 16
            INTEGER 10000
    "#]],
    );
}

#[test]
fn the_structure_of_modern_2026() {
    check(
        Profile::Modern2026,
        &expect![[r#"
        SEQUENCE
          INTEGER 3
          SEQUENCE
            1.2.840.113549.1.7.1 id-data
            CONTEXT-SPECIFIC [0] (constructed)
              OCTET STRING
                SEQUENCE
                  SEQUENCE
                    1.2.840.113549.1.7.6 id-encryptedData
                    CONTEXT-SPECIFIC [0] (constructed)
                      SEQUENCE
                        INTEGER 0
                        SEQUENCE
                          1.2.840.113549.1.7.1 id-data
                          SEQUENCE
                            1.2.840.113549.1.5.13
                            SEQUENCE
                              SEQUENCE
                                1.2.840.113549.1.5.12 id-PBKDF2
                                SEQUENCE
                                  OCTET STRING of 16
                                  INTEGER 10000
                                  SEQUENCE
                                    1.2.840.113549.2.9 id-hmacWithSHA256
                                    NULL
                              SEQUENCE
                                2.16.840.1.101.3.4.1.42 id-aes256-CBC
                                OCTET STRING of 16
                          CONTEXT-SPECIFIC [0] (primitive) ...
                  SEQUENCE
                    1.2.840.113549.1.7.1 id-data
                    CONTEXT-SPECIFIC [0] (constructed)
                      OCTET STRING
                        SEQUENCE
                          SEQUENCE
                            1.2.840.113549.1.12.10.1.2
                            CONTEXT-SPECIFIC [0] (constructed)
                              SEQUENCE
                                SEQUENCE
                                  1.2.840.113549.1.5.13
                                  SEQUENCE
                                    SEQUENCE
                                      1.2.840.113549.1.5.12 id-PBKDF2
                                      SEQUENCE
                                        OCTET STRING of 16
                                        INTEGER 10000
                                        SEQUENCE
                                          1.2.840.113549.2.9 id-hmacWithSHA256
                                          NULL
                                    SEQUENCE
                                      2.16.840.1.101.3.4.1.42 id-aes256-CBC
                                      OCTET STRING of 16
                                OCTET STRING ...
                            SET
                              SEQUENCE
                                1.2.840.113549.1.9.20 pkcs-9-at-friendlyName
                                SET
                                  BMPString [0, 49]
                              SEQUENCE
                                1.2.840.113549.1.9.21 pkcs-9-at-localKeyId
                                SET
                                  OCTET STRING of 20
          SEQUENCE
            SEQUENCE
              SEQUENCE
                1.2.840.113549.1.5.14
                SEQUENCE
                  SEQUENCE
                    1.2.840.113549.1.5.12 id-PBKDF2
                    SEQUENCE
                      OCTET STRING of 16
                      INTEGER 10000
                      INTEGER 32
                      SEQUENCE
                        1.2.840.113549.2.9 id-hmacWithSHA256
                        NULL
                  SEQUENCE
                    1.2.840.113549.2.9 id-hmacWithSHA256
                    NULL
              OCTET STRING of 32
            OCTET STRING of 8
    "#]],
    );
}
