//! Private keys.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, KeyPair as _};
use aws_lc_rs::{encoding, rsa};
use der::Decode as _;
use pkcs8::PrivateKeyInfoRef;
use spki::SubjectPublicKeyInfoOwned;

use super::{Curve, KeyAlgorithm, KeyEncoding, KeyError, PublicKey, RsaSize};
use crate::pem::{self, Block, Limit};
use crate::secret::SecretBytes;
use crate::signature::{EC_KEY, ED25519, RSA_KEY, RsaPublicKey, SignatureAlgorithm};

/// A private key. It is neither printed nor cloned nor serialised; [`Self::to_pem`] and [`Self::to_pkcs8_der`] are
/// the only ways out.
pub struct PrivateKey {
    pair: Pair,
    algorithm: KeyAlgorithm,
    pkcs8: SecretBytes,
    public: PublicKey,
}

/// Label of the block that OpenSSL writes before the key of a curve.
const EC_PARAMETERS: &str = "EC PARAMETERS";

enum Pair {
    Rsa(rsa::KeyPair),
    Ecdsa(lc::EcdsaKeyPair),
    Ed25519(lc::Ed25519KeyPair),
}

impl PrivateKey {
    /// Makes a new key. This is work for the processor: about 30 µs for ECDSA P-256 and Ed25519, 50 to 500 ms for
    /// RSA 2048, seconds for longer ones; call it where blocking is allowed.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the library refuses.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Generate;
        let pair = match algorithm {
            KeyAlgorithm::Rsa(size) => Pair::Rsa(rsa::KeyPair::generate(rsa_size(size)).map_err(failed)?),
            KeyAlgorithm::Ecdsa(curve) => {
                Pair::Ecdsa(lc::EcdsaKeyPair::generate(curve.signing()).map_err(failed)?)
            }
            KeyAlgorithm::Ed25519 => Pair::Ed25519(lc::Ed25519KeyPair::generate().map_err(failed)?),
        };
        Self::from_pair(pair, algorithm).ok_or(KeyError::Generate)
    }

    /// Reads the first PEM block: `RSA PRIVATE KEY`, `EC PRIVATE KEY` or `PRIVATE KEY`. Numbers are validated. A block
    /// `EC PARAMETERS` before it, as `openssl ecparam -genkey` writes it, is passed over: the key names its curve too.
    ///
    /// # Errors
    /// When there is no block, it is encrypted or something else, too large, malformed, or of an unsupported kind.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let block = pem::first(text, Limit::PRIVATE_KEY)?;
        if block.label == EC_PARAMETERS {
            return Self::from_pem_among(text, Limit::PRIVATE_KEY);
        }
        Self::from_block(&block)
    }

    /// As [`Self::from_pem`], for a text in which other blocks may stand before the key, such as its certificates.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn from_pem_among(text: &[u8], limit: Limit) -> Result<Self, KeyError> {
        Self::from_block(&pem::first_key(text, limit)?)
    }

    fn from_block(block: &Block) -> Result<Self, KeyError> {
        match block.label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8_der(block.content.expose()),
            "RSA PRIVATE KEY" => Self::from_pkcs1_der(block.content.expose()),
            "EC PRIVATE KEY" => Self::from_sec1_der(block.content.expose()),
            other => Err(KeyError::Label(other.to_owned())),
        }
    }

    /// Reads a PKCS#8 container (RFC 5958).
    ///
    /// # Errors
    /// When it is malformed or holds a key of an unsupported kind.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| KeyError::Malformed)?;
        match info.algorithm.oid {
            RSA_KEY => Self::from_pkcs1_der(info.private_key.as_bytes()),
            EC_KEY => {
                let oid = info.algorithm.parameters_oid().map_err(|_| KeyError::Malformed)?;
                let curve = Curve::from_oid(oid).ok_or_else(|| KeyError::Algorithm(oid.to_string()))?;
                let pair = lc::EcdsaKeyPair::from_private_key_der(curve.signing(), der);
                Self::imported(pair.ok().map(Pair::Ecdsa), KeyAlgorithm::Ecdsa(curve))
            }
            ED25519 => {
                let pair = lc::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                Self::imported(pair.ok().map(Pair::Ed25519), KeyAlgorithm::Ed25519)
            }
            other => Err(KeyError::Algorithm(other.to_string())),
        }
    }

    fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair = rsa::KeyPair::from_der(der).map_err(|_| KeyError::Malformed)?;
        let public = RsaPublicKey::from_der(pair.public_key().as_ref()).map_err(|_| KeyError::Malformed)?;
        let bits = u32::try_from(public.bits()).unwrap_or(u32::MAX);
        let size = RsaSize::try_from(bits)?;
        Self::imported(Some(Pair::Rsa(pair)), KeyAlgorithm::Rsa(size))
    }

    /// SEC1 may leave the curve to its frame, and a bare block has none: try each curve, since a key of one never
    /// parses as another's.
    fn from_sec1_der(der: &[u8]) -> Result<Self, KeyError> {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            if let Ok(pair) = lc::EcdsaKeyPair::from_private_key_der(curve.signing(), der) {
                return Self::imported(Some(Pair::Ecdsa(pair)), KeyAlgorithm::Ecdsa(curve));
            }
        }
        Err(KeyError::Malformed)
    }

    fn imported(pair: Option<Pair>, algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        pair.and_then(|pair| Self::from_pair(pair, algorithm)).ok_or(KeyError::Malformed)
    }

    fn from_pair(pair: Pair, algorithm: KeyAlgorithm) -> Option<Self> {
        let pkcs8 = match &pair {
            Pair::Rsa(pair) => {
                let der: encoding::Pkcs8V1Der<'_> = pair.as_der().ok()?;
                der.as_ref().to_vec()
            }
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().ok()?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().ok()?.as_ref().to_vec(),
        };
        let public = match &pair {
            Pair::Rsa(pair) => public_key(pair.public_key()),
            Pair::Ecdsa(pair) => public_key(pair.public_key()),
            Pair::Ed25519(pair) => public_key(pair.public_key()),
        }?;
        Some(Self { pair, algorithm, pkcs8: SecretBytes::new(pkcs8), public })
    }

    /// Kind and size.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The key as one PEM block in the wanted encoding.
    pub fn to_pem(&self, encoding: KeyEncoding) -> SecretBytes {
        match (encoding, &self.pair) {
            (KeyEncoding::Pkcs8, _) | (KeyEncoding::Pkcs1, Pair::Ed25519(_)) => {
                pem::encode_secret("PRIVATE KEY", self.pkcs8.expose())
            }
            (KeyEncoding::Pkcs1, Pair::Rsa(_)) => pem::encode_secret("RSA PRIVATE KEY", self.inner_der()),
            (KeyEncoding::Pkcs1, Pair::Ecdsa(pair)) => match sec1_der(pair) {
                Some(der) => pem::encode_secret("EC PRIVATE KEY", der.expose()),
                None => pem::encode_secret("PRIVATE KEY", self.pkcs8.expose()),
            },
        }
    }

    /// The key as PKCS#8 DER.
    pub fn to_pkcs8_der(&self) -> SecretBytes {
        SecretBytes::new(self.pkcs8.expose().to_vec())
    }

    /// What the PKCS#8 container holds: PKCS#1 for RSA.
    fn inner_der(&self) -> &[u8] {
        PrivateKeyInfoRef::from_der(self.pkcs8.expose())
            .map(|info| info.private_key.as_bytes())
            .expect("the container was written by the library that made the key")
    }

    /// What the key signs with unless told otherwise.
    pub(crate) fn signature_algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::of_key(self.algorithm)
    }

    /// Signs with [`Self::signature_algorithm`].
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign_with(self.signature_algorithm(), message)
    }

    /// Signs with one of the algorithms that are possible for this kind of key.
    pub(crate) fn sign_with(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        if !SignatureAlgorithm::possible(self.algorithm).contains(&algorithm) {
            return Err(KeyError::SignatureAlgorithm { algorithm, key: self.algorithm });
        }
        let random = SystemRandom::new();
        let failed = |_| KeyError::Sign;
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn lc::RsaEncoding = match algorithm {
                    SignatureAlgorithm::RsaSha384 => &lc::RSA_PKCS1_SHA384,
                    SignatureAlgorithm::RsaSha512 => &lc::RSA_PKCS1_SHA512,
                    _ => &lc::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) if algorithm == self.signature_algorithm() => {
                Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec())
            }
            Pair::Ecdsa(_) => {
                // P-521 with a shorter digest: the pair is bound to its own, so take another view of the same key.
                let signing = match algorithm {
                    SignatureAlgorithm::EcdsaSha256 => &lc::ECDSA_P521_SHA256_ASN1_SIGNING,
                    _ => &lc::ECDSA_P521_SHA384_ASN1_SIGNING,
                };
                let pair = lc::EcdsaKeyPair::from_private_key_der(signing, self.pkcs8.expose());
                let signature = pair.map_err(|_| KeyError::Sign)?.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn rsa_size(size: RsaSize) -> rsa::KeySize {
    match size {
        RsaSize::Bits2048 => rsa::KeySize::Rsa2048,
        RsaSize::Bits3072 => rsa::KeySize::Rsa3072,
        RsaSize::Bits4096 => rsa::KeySize::Rsa4096,
        RsaSize::Bits8192 => rsa::KeySize::Rsa8192,
    }
}

fn public_key<'a>(key: &impl encoding::AsDer<encoding::PublicKeyX509Der<'a>>) -> Option<PublicKey> {
    let der = key.as_der().ok()?;
    PublicKey::from_spki(SubjectPublicKeyInfoOwned::from_der(der.as_ref()).ok()?).ok()
}

/// RFC 5915, with the curve named inside as OpenSSL and Go write it.
fn sec1_der(pair: &lc::EcdsaKeyPair) -> Option<SecretBytes> {
    let der: encoding::EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().ok()?;
    Some(SecretBytes::new(der.as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [KeyAlgorithm; 6] = [
        KeyAlgorithm::Rsa(RsaSize::Bits2048),
        KeyAlgorithm::Rsa(RsaSize::Bits3072),
        KeyAlgorithm::Ecdsa(Curve::P256),
        KeyAlgorithm::Ecdsa(Curve::P384),
        KeyAlgorithm::Ecdsa(Curve::P521),
        KeyAlgorithm::Ed25519,
    ];

    #[test]
    fn text_without_a_usable_key_is_refused() {
        let refused = [
            ("", "the private key cannot be decoded"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "a \"CERTIFICATE\" block is not an unencrypted private key; \
                 use RSA PRIVATE KEY, EC PRIVATE KEY or PRIVATE KEY",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "the private key is malformed",
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
                "the private key is malformed",
            ),
            (
                "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n",
                "the private key is malformed",
            ),
        ];
        for (text, message) in refused {
            assert_eq!(PrivateKey::from_pem(text.as_bytes()).unwrap_err().to_string(), message, "{text:?}");
        }
        assert_eq!(RsaSize::try_from(1024).unwrap_err(), KeyError::RsaSize(1024));
        assert_eq!(Curve::try_from(224).unwrap_err(), KeyError::CurveSize(224));
    }

    #[test]
    fn every_kind_survives_each_encoding() {
        for kind in KINDS {
            let key = PrivateKey::generate(kind).unwrap();
            assert_eq!(key.public_key().algorithm(), Some(kind));
            for (encoding, label) in
                [(KeyEncoding::Pkcs8, "PRIVATE KEY"), (KeyEncoding::Pkcs1, own_label(kind))]
            {
                let pem = key.to_pem(encoding);
                let first_line = format!("-----BEGIN {label}-----\n");
                assert!(pem.expose().starts_with(first_line.as_bytes()), "{kind} as {encoding:?}");
                let again = PrivateKey::from_pem(pem.expose()).unwrap();
                assert_eq!(again.algorithm(), kind);
                assert_eq!(again.public_key(), key.public_key(), "{kind} as {encoding:?}");
            }
        }
    }

    #[test]
    fn parameters_of_a_curve_and_certificates_may_stand_before_the_key() {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let pem = key.to_pem(KeyEncoding::Pkcs1);
        let behind = |label: &str| {
            let before = format!("-----BEGIN {label}-----\nBggqhkjOPQMBBw==\n-----END {label}-----\n");
            [before.as_bytes(), pem.expose()].concat()
        };
        let read = PrivateKey::from_pem(&behind("EC PARAMETERS")).unwrap();
        assert_eq!(read.public_key(), key.public_key());
        assert_eq!(
            PrivateKey::from_pem(&behind("CERTIFICATE")).unwrap_err(),
            KeyError::Label("CERTIFICATE".to_owned())
        );
        let read = PrivateKey::from_pem_among(&behind("CERTIFICATE"), Limit::PAIR).unwrap();
        assert_eq!(read.public_key(), key.public_key());
    }

    fn own_label(kind: KeyAlgorithm) -> &'static str {
        match kind {
            KeyAlgorithm::Rsa(_) => "RSA PRIVATE KEY",
            KeyAlgorithm::Ecdsa(_) => "EC PRIVATE KEY",
            KeyAlgorithm::Ed25519 => "PRIVATE KEY",
        }
    }

    #[test]
    fn debug_output_tells_the_kind_alone() {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey { algorithm: Ed25519, .. }");
    }
}
