//! What a Certificate's Secret holds: certificate and key as PEM, and in the further forms that the Certificate asks
//! for (spec/issuance.md §14).

use std::collections::BTreeMap;
use std::str::FromStr;

use aws_lc_rs::hmac;
use jiff::Timestamp;

use crate::certificate::Certificate;
use crate::credential::{Credential, Verified};
use crate::key::{KeyEncoding, KeyError};
use crate::keystore::pkcs12::{self, Profile};
use crate::keystore::{KeyEntry, Password, WriteError, jks};
use crate::name::hex;
use crate::pem::{self, Limit};
use crate::secret::SecretBytes;

/// The chain as PEM, leaf first.
pub const TLS_CRT: &str = "tls.crt";
/// The private key as PEM.
pub const TLS_KEY: &str = "tls.key";
/// What to trust, as PEM; absent when the issuer gave no CA.
pub const CA_CRT: &str = "ca.crt";
/// The private key as DER.
pub const KEY_DER: &str = "key.der";
/// Key and chain in one PEM file.
pub const COMBINED_PEM: &str = "tls-combined.pem";
/// Key and certificates as PKCS#12.
pub const KEYSTORE_P12: &str = "keystore.p12";
/// Trusted certificates as PKCS#12; absent without a CA.
pub const TRUSTSTORE_P12: &str = "truststore.p12";
/// Key and certificates as JKS.
pub const KEYSTORE_JKS: &str = "keystore.jks";
/// Trusted certificates as JKS; absent without a CA.
pub const TRUSTSTORE_JKS: &str = "truststore.jks";

/// A further form of certificate and key (`spec.additionalOutputFormats[].type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// `DER`: [`KEY_DER`].
    Der,
    /// `CombinedPEM`: [`COMBINED_PEM`].
    CombinedPem,
}

/// A form of another name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output format {0:?} is not known; use DER or CombinedPEM")]
pub struct UnknownFormat(pub String);

impl FromStr for OutputFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "DER" => Ok(Self::Der),
            "CombinedPEM" => Ok(Self::CombinedPem),
            _ => Err(UnknownFormat(name.to_owned())),
        }
    }
}

/// Which forms are wanted. Keystores are absent when their `create` is false.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// How the private key is written (`spec.privateKey.encoding`).
    pub encoding: KeyEncoding,
    /// Further forms.
    pub formats: &'a [OutputFormat],
    /// `spec.keystores.pkcs12`.
    pub pkcs12: Option<Pkcs12<'a>>,
    /// `spec.keystores.jks`.
    pub jks: Option<Jks<'a>>,
}

/// PKCS#12 keystores.
#[derive(Debug, Clone, Copy)]
pub struct Pkcs12<'a> {
    /// Their algorithms.
    pub profile: Profile,
    /// Their password.
    pub password: &'a Password,
}

/// JKS keystores.
#[derive(Debug, Clone, Copy)]
pub struct Jks<'a> {
    /// Name of the key's entry; [`jks::DEFAULT_ALIAS`] when the user gives none.
    pub alias: &'a str,
    /// Their password, and the key's.
    pub password: &'a Password,
}

/// Why the data cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretDataError {
    /// The private key cannot be written in the wanted encoding.
    #[error("encoding the private key for the Secret")]
    Key(#[from] KeyError),
    /// A keystore cannot be written.
    #[error("making {entry} of the Secret")]
    Keystore {
        /// Which one.
        entry: &'static str,
        /// What is wrong.
        source: WriteError,
    },
}

impl<'a> From<&'a Credential<Verified>> for KeyEntry<'a> {
    fn from(credential: &'a Credential<Verified>) -> Self {
        Self { key: credential.key(), chain: credential.chain(), ca: credential.ca() }
    }
}

/// The entries of a Secret by their names: those of the constants of this module that are wanted and possible.
///
/// PKCS#12 costs about a tenth of a second of one core, for the password is stretched five times; call this where
/// blocking is allowed. Keystores are salted and come out different each time: [`keystore_digest`] tells when to write
/// them anew.
///
/// # Errors
/// When the key does not belong to the chain's leaf, a keystore's alias is not usable, or the library fails.
pub fn secret_data(
    credential: &KeyEntry<'_>,
    layout: &Layout<'_>,
    now: Timestamp,
) -> Result<BTreeMap<&'static str, SecretBytes>, SecretDataError> {
    let KeyEntry { key, chain, ca } = *credential;
    let key_pem = key.to_pem(layout.encoding);
    let chain_pem = chain.to_pem();
    let mut data = BTreeMap::new();
    for format in layout.formats {
        match format {
            OutputFormat::Der => data.insert(KEY_DER, key_der(&key_pem)?),
            OutputFormat::CombinedPem => data.insert(COMBINED_PEM, combined(&key_pem, &chain_pem)),
        };
    }
    if !ca.is_empty() {
        data.insert(CA_CRT, SecretBytes::new(ca.to_pem().into_bytes()));
    }
    data.insert(TLS_CRT, SecretBytes::new(chain_pem.into_bytes()));
    data.insert(TLS_KEY, key_pem);
    if let Some(Pkcs12 { profile, password }) = layout.pkcs12 {
        let store = pkcs12::key_store(profile, credential, password);
        data.insert(KEYSTORE_P12, store.map_err(failed(KEYSTORE_P12))?);
        if !ca.is_empty() {
            let store = pkcs12::trust_store(profile, ca, password);
            data.insert(TRUSTSTORE_P12, store.map_err(failed(TRUSTSTORE_P12))?);
        }
    }
    if let Some(Jks { alias, password }) = layout.jks {
        let store = jks::key_store(alias, credential, password, now);
        data.insert(KEYSTORE_JKS, store.map_err(failed(KEYSTORE_JKS))?);
        if !ca.is_empty() {
            let store = jks::trust_store(ca, password, now);
            data.insert(TRUSTSTORE_JKS, store.map_err(failed(TRUSTSTORE_JKS))?);
        }
    }
    Ok(data)
}

/// What the keystores of a Secret were made from, in 64 hexadecimal digits; `None` when none are wanted. A Secret
/// that keeps it in an annotation tells later whether its keystores are still right: they are not when it differs.
///
/// It is an HMAC under the private key over the chain, the CAs, and each keystore's password, profile and alias. So
/// somebody who sees the annotation and not the key cannot try passwords against it, and two Secrets with one password
/// do not look alike; and whoever has the key has nothing left to learn from the password of its keystore.
pub fn keystore_digest(credential: &KeyEntry<'_>, layout: &Layout<'_>) -> Option<String> {
    if layout.pkcs12.is_none() && layout.jks.is_none() {
        return None;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, credential.key.to_pkcs8_der().expose());
    let mut fields = Fields(hmac::Context::with_key(&key));
    fields.add(b"signet keystores 1");
    fields.certificates(credential.chain.certificates().iter().map(Certificate::der));
    fields.certificates(credential.ca.certificates().iter().map(Certificate::der));
    if let Some(Pkcs12 { profile, password }) = layout.pkcs12 {
        fields.add_all([b"pkcs12", profile.as_str().as_bytes(), password.utf8()]);
    }
    if let Some(Jks { alias, password }) = layout.jks {
        fields.add_all([b"jks", alias.as_bytes(), password.utf8()]);
    }
    Some(hex(fields.0.sign().as_ref()))
}

/// Whether `der` is what [`KEY_DER`] is to hold beside this [`TLS_KEY`].
pub fn is_der_of(key_pem: &[u8], der: &[u8]) -> bool {
    pem::first(key_pem, Limit::PRIVATE_KEY).is_ok_and(|block| block.content.expose() == der)
}

fn key_der(key_pem: &SecretBytes) -> Result<SecretBytes, KeyError> {
    Ok(pem::first(key_pem.expose(), Limit::PRIVATE_KEY)?.content)
}

/// Key, an empty line, chain. The vector has its whole length at first, or growing would leave pieces of the key.
fn combined(key_pem: &SecretBytes, chain_pem: &str) -> SecretBytes {
    let mut combined = Vec::with_capacity(key_pem.expose().len() + 1 + chain_pem.len());
    combined.extend_from_slice(key_pem.expose());
    combined.push(b'\n');
    combined.extend_from_slice(chain_pem.as_bytes());
    SecretBytes::new(combined)
}

fn failed(entry: &'static str) -> impl FnOnce(WriteError) -> SecretDataError {
    move |source| SecretDataError::Keystore { entry, source }
}

/// Fields behind their lengths, so that no two lists of fields are the same octets.
struct Fields(hmac::Context);

impl Fields {
    fn add(&mut self, field: &[u8]) {
        self.number(field.len());
        self.0.update(field);
    }

    fn add_all(&mut self, fields: [&[u8]; 3]) {
        fields.into_iter().for_each(|field| self.add(field));
    }

    fn certificates<'a>(&mut self, list: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.number(list.len());
        list.for_each(|der| self.add(der));
    }

    fn number(&mut self, number: usize) {
        self.0.update(&u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::key::{Curve, KeyAlgorithm, RsaSize};
    use crate::keystore::Limit;
    use crate::keystore::fixture::{Parts, now, password};

    const PLAIN: Layout<'_> = Layout { encoding: KeyEncoding::Pkcs1, formats: &[], pkcs12: None, jks: None };

    fn names(data: &BTreeMap<&'static str, SecretBytes>) -> Vec<&'static str> {
        data.keys().copied().collect()
    }

    #[test]
    fn an_unknown_format_is_refused_with_those_that_are_known() {
        let message = OutputFormat::from_str("PEM").unwrap_err().to_string();
        assert_eq!(message, "output format \"PEM\" is not known; use DER or CombinedPEM");
        assert_eq!(OutputFormat::from_str("DER"), Ok(OutputFormat::Der));
        assert_eq!(OutputFormat::from_str("CombinedPEM"), Ok(OutputFormat::CombinedPem));
    }

    #[test]
    fn a_keystore_of_a_key_and_another_ones_certificate_is_refused_by_its_name() {
        let (one, other) = (Parts::new(KeyAlgorithm::Ed25519), Parts::new(KeyAlgorithm::Ed25519));
        let mixed = KeyEntry { key: &other.key, ..one.entry() };
        let password = password("p");
        let layout =
            Layout { pkcs12: Some(Pkcs12 { profile: Profile::LegacyDes, password: &password }), ..PLAIN };
        let error = secret_data(&mixed, &layout, now()).unwrap_err();
        assert_eq!(error.to_string(), "making keystore.p12 of the Secret");
        let layout = Layout { jks: Some(Jks { alias: "", password: &password }), ..PLAIN };
        let error = secret_data(&one.entry(), &layout, now()).unwrap_err();
        assert_eq!(
            error,
            SecretDataError::Keystore {
                entry: KEYSTORE_JKS,
                source: WriteError::Alias { bytes: 0, limit: jks::MAX_ALIAS_BYTES }
            }
        );
    }

    #[test]
    fn a_secret_without_a_ca_has_neither_its_entry_nor_trust_stores() {
        let mut parts = Parts::new(KeyAlgorithm::Ed25519);
        parts.ca = Bundle::default();
        let password = password("p");
        let layout = Layout {
            pkcs12: Some(Pkcs12 { profile: Profile::Modern2026, password: &password }),
            jks: Some(Jks { alias: jks::DEFAULT_ALIAS, password: &password }),
            ..PLAIN
        };
        let data = secret_data(&parts.entry(), &layout, now()).unwrap();
        assert_eq!(names(&data), [KEYSTORE_JKS, KEYSTORE_P12, TLS_CRT, TLS_KEY]);
    }

    #[test]
    fn all_entries_hold_the_same_key_and_certificates() {
        let parts = Parts::new(KeyAlgorithm::Ecdsa(Curve::P256));
        let (one, other) = (password("one"), password("other"));
        let layout = Layout {
            encoding: KeyEncoding::Pkcs8,
            formats: &[OutputFormat::CombinedPem, OutputFormat::Der],
            pkcs12: Some(Pkcs12 { profile: Profile::Modern2023, password: &one }),
            jks: Some(Jks { alias: "Own", password: &other }),
        };
        let data = secret_data(&parts.entry(), &layout, now()).unwrap();
        let all = [
            CA_CRT,
            KEY_DER,
            KEYSTORE_JKS,
            KEYSTORE_P12,
            COMBINED_PEM,
            TLS_CRT,
            TLS_KEY,
            TRUSTSTORE_JKS,
            TRUSTSTORE_P12,
        ];
        assert_eq!(names(&data), all);
        let (key, chain) = (data[TLS_KEY].expose(), data[TLS_CRT].expose());
        assert_eq!(chain, parts.chain.to_pem().as_bytes());
        assert_eq!(data[CA_CRT].expose(), parts.ca.to_pem().as_bytes());
        assert_eq!(data[COMBINED_PEM].expose(), [key, b"\n", chain].concat());
        let p12 = pkcs12::read(data[KEYSTORE_P12].expose(), &one, Limit::SECRET).unwrap();
        assert_eq!(p12.keys[0].key.public_key(), parts.key.public_key());
        assert_eq!(p12.certificates[0].certificate, *parts.chain.leaf());
        let p12 = pkcs12::read(data[TRUSTSTORE_P12].expose(), &one, Limit::SECRET).unwrap();
        assert_eq!(p12.certificates[0].certificate, parts.ca.certificates()[0]);
        assert_eq!(jks::read(data[KEYSTORE_JKS].expose(), &other, Limit::SECRET).unwrap().len(), 3);
        assert_eq!(jks::read(data[TRUSTSTORE_JKS].expose(), &other, Limit::SECRET).unwrap().len(), 2);
    }

    #[test]
    fn the_der_of_a_key_is_in_the_chosen_encoding() {
        for algorithm in
            [KeyAlgorithm::Rsa(RsaSize::Bits2048), KeyAlgorithm::Ecdsa(Curve::P256), KeyAlgorithm::Ed25519]
        {
            let parts = Parts::new(algorithm);
            for encoding in [KeyEncoding::Pkcs1, KeyEncoding::Pkcs8] {
                let layout = Layout { encoding, formats: &[OutputFormat::Der], ..PLAIN };
                let data = secret_data(&parts.entry(), &layout, now()).unwrap();
                let text = String::from_utf8(data[TLS_KEY].expose().to_vec()).unwrap();
                let label = text.lines().next().unwrap().trim_matches('-').replace("BEGIN ", "");
                let again = pem::encode_secret(&label, data[KEY_DER].expose());
                assert_eq!(again.expose(), text.as_bytes(), "{algorithm} {encoding:?}");
                let is_pkcs8 = data[KEY_DER].expose() == parts.key.to_pkcs8_der().expose();
                let wants_pkcs8 = encoding == KeyEncoding::Pkcs8 || algorithm == KeyAlgorithm::Ed25519;
                assert_eq!(is_pkcs8, wants_pkcs8, "{algorithm} {encoding:?}");
            }
        }
    }

    #[test]
    fn the_digest_changes_with_all_that_keystores_are_made_from_and_with_nothing_else() {
        let (parts, other) = (Parts::new(KeyAlgorithm::Ed25519), Parts::new(KeyAlgorithm::Ed25519));
        let (old, new) = (password("old"), password("new"));
        let pkcs12 = |profile, password| Some(Pkcs12 { profile, password });
        let jks = |alias, password| Some(Jks { alias, password });
        let base = Layout { pkcs12: pkcs12(Profile::LegacyRc2, &old), jks: jks("a", &old), ..PLAIN };
        let digest = |entry: &KeyEntry<'_>, layout: &Layout<'_>| keystore_digest(entry, layout).unwrap();
        let entry = parts.entry();
        let changed = [
            digest(&entry, &base),
            digest(&entry, &Layout { pkcs12: pkcs12(Profile::LegacyDes, &old), ..base }),
            digest(&entry, &Layout { pkcs12: pkcs12(Profile::LegacyRc2, &new), ..base }),
            digest(&entry, &Layout { jks: jks("b", &old), ..base }),
            digest(&entry, &Layout { jks: jks("a", &new), ..base }),
            digest(&entry, &Layout { pkcs12: None, ..base }),
            digest(&entry, &Layout { jks: None, ..base }),
            digest(&KeyEntry { key: &other.key, ..entry }, &base),
            digest(&KeyEntry { chain: &other.chain, ..entry }, &base),
            digest(&KeyEntry { ca: &other.ca, ..entry }, &base),
            digest(&KeyEntry { ca: &Bundle::default(), ..entry }, &base),
        ];
        for (index, one) in changed.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!changed[index + 1..].contains(one), "case {index} has the digest of a later one");
        }
        let formats = &[OutputFormat::Der];
        assert_eq!(digest(&entry, &Layout { encoding: KeyEncoding::Pkcs8, formats, ..base }), changed[0]);
        assert_eq!(keystore_digest(&entry, &PLAIN), None);
    }
}
