use super::*;
use crate::key::{Curve, KeyAlgorithm, RsaSize};
use crate::keystore::fixture::{Parts, now, password};
use crate::keystore::{Limit, ReadError};

fn refused(file: &[u8], text: &str, limit: Limit) -> ReadError {
    read(file, &password(text), limit).unwrap_err()
}

/// A file of this content with a right check, as somebody makes it who knows the password.
fn sealed(content: &[u8]) -> Vec<u8> {
    [content, check(content, &password("p")).as_ref()].concat()
}

fn aliases(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.alias.as_str()).collect()
}

#[test]
fn a_wrong_password_a_changed_octet_and_a_cut_file_are_refused() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let file = key_store("a", &parts.entry(), &password("p"), now()).unwrap();
    let file = file.expose();
    assert_eq!(refused(file, "q", Limit::SECRET), ReadError::Integrity);
    for length in 0..file.len() {
        let error = refused(&file[..length], "p", Limit::SECRET);
        let short = ReadError::Malformed("the check over the file");
        assert_eq!(error, if length < 20 { short } else { ReadError::Integrity });
    }
    for at in 0..file.len() {
        let mut changed = file.to_vec();
        changed[at] ^= 1;
        assert_eq!(refused(&changed, "p", Limit::SECRET), ReadError::Integrity);
    }
}

#[test]
fn damaged_content_behind_a_right_check_ends_in_an_error() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let file = key_store("a", &parts.entry(), &password("p"), now()).unwrap();
    let (content, _) = file.expose().split_last_chunk::<20>().unwrap();
    for length in 0..content.len() {
        assert!(read(&sealed(&content[..length]), &password("p"), Limit::SECRET).is_err(), "{length}");
    }
    let longer = sealed(&[content, &[0]].concat());
    assert_eq!(refused(&longer, "p", Limit::SECRET), ReadError::Malformed("what follows the last entry"));
    for at in 0..content.len() {
        for bits in [0x01, 0x20, 0xff] {
            let mut changed = content.to_vec();
            changed[at] ^= bits;
            drop(read(&sealed(&changed), &password("p"), Limit::SECRET));
        }
    }
    let promised = [MAGIC, VERSION, u32::MAX].map(u32::to_be_bytes).concat();
    assert_eq!(refused(&sealed(&promised), "p", Limit::SECRET), ReadError::Malformed("an entry"));
}

#[test]
fn what_exceeds_a_limit_is_refused() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let file = key_store("a", &parts.entry(), &password("p"), now()).unwrap();
    let file = file.expose();
    let limit = Limit { bytes: file.len() - 1, ..Limit::SECRET };
    assert_eq!(refused(file, "p", limit), ReadError::TooLarge { bytes: file.len(), limit: file.len() - 1 });
    let limit = Limit { entries: 4, ..Limit::SECRET };
    assert_eq!(refused(file, "p", limit), ReadError::TooMany { limit: 4 });
    assert!(read(file, &password("p"), Limit { entries: 5, ..Limit::SECRET }).is_ok());
}

#[test]
fn an_alias_that_is_empty_or_too_long_and_an_empty_trust_store_are_not_written() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    for alias in [String::new(), "a".repeat(256)] {
        let error = key_store(&alias, &parts.entry(), &password("p"), now()).unwrap_err();
        assert_eq!(error, WriteError::Alias { bytes: alias.len(), limit: 255 });
    }
    assert!(key_store(&"a".repeat(255), &parts.entry(), &password("p"), now()).is_ok());
    let error = trust_store(&Bundle::default(), &password("p"), now()).unwrap_err();
    assert_eq!(error, WriteError::NoCertificate);
    let other = Parts::new(KeyAlgorithm::Ed25519);
    let mixed = KeyEntry { key: &other.key, ..parts.entry() };
    let error = key_store("a", &mixed, &password("p"), now()).unwrap_err();
    assert_eq!(error, WriteError::Key { subject: "CN=leaf".to_owned() });
}

#[test]
fn key_stores_of_all_keys_are_read_back() {
    let kinds =
        [KeyAlgorithm::Rsa(RsaSize::Bits2048), KeyAlgorithm::Ecdsa(Curve::P256), KeyAlgorithm::Ed25519];
    for kind in kinds {
        let parts = Parts::new(kind);
        for text in ["p", "pässwörd 😀"] {
            let file = key_store("MiXed ß", &parts.entry(), &password(text), now()).unwrap();
            let entries = read(file.expose(), &password(text), Limit::SECRET).unwrap();
            assert_eq!(aliases(&entries), ["mixed ß", "ca", "ca-1"]);
            assert!(entries.iter().all(|entry| entry.created == now()));
            let key = entries[0].key.as_ref().unwrap();
            assert_eq!(key.to_pkcs8_der().expose(), parts.key.to_pkcs8_der().expose());
            assert_eq!(entries[0].certificates, parts.chain.certificates());
            assert!(entries.iter().skip(1).all(|entry| entry.key.is_none()));
        }
    }
}

#[test]
fn trust_stores_are_read_back() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let file = trust_store(&parts.ca, &password("p"), now()).unwrap();
    let entries = read(file.expose(), &password("p"), Limit::SECRET).unwrap();
    assert_eq!(aliases(&entries), ["ca", "ca-1"]);
    for (entry, expected) in entries.iter().zip(parts.ca.certificates()) {
        assert!(entry.key.is_none());
        assert_eq!(entry.certificates, std::slice::from_ref(expected));
    }
}

/// An entry of the same name would replace the key.
#[test]
fn a_ca_does_not_take_the_name_of_the_key() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    for (alias, expected) in [("CA", ["ca", "ca-1", "ca-2"]), ("ca-1", ["ca-1", "ca", "ca-2"])] {
        let file = key_store(alias, &parts.entry(), &password("p"), now()).unwrap();
        let entries = read(file.expose(), &password("p"), Limit::SECRET).unwrap();
        assert_eq!(aliases(&entries), expected);
        assert!(entries[0].key.is_some());
    }
}

#[test]
fn the_octets_of_an_entry_are_where_java_looks_for_them() {
    let parts = Parts::new(KeyAlgorithm::Ed25519);
    let ca = Bundle::of(vec![parts.ca.certificates()[0].clone()]);
    let file = trust_store(&ca, &password("p"), now()).unwrap();
    let der = parts.ca.certificates()[0].der();
    let length = u32::try_from(der.len()).unwrap().to_be_bytes();
    let expected = [
        &b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01"[..],
        b"\0\0\0\x02\0\x02ca\0\0\x01\xa3\x18\x5c\x50\0",
        b"\0\x05X.509",
        &length,
        der,
    ]
    .concat();
    assert_eq!(&file.expose()[..expected.len()], expected);
    assert_eq!(file.expose().len(), expected.len() + 20);
}
