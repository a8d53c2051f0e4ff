//! Requests that are judged, whoever is to sign them.

use x509_cert::ext::pkix::BasicConstraints;

use super::{Parts, Purpose, RequestError, check_label, usages_of};
use crate::pem::{self, PemError};
use crate::signature;
use crate::usage::Usages;

/// What is taken of a request that is judged.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// The most bytes of PEM.
    pub bytes_max: usize,
    /// Whether RSA keys of 1024 to 2047 bits will do, signing with SHA-256 or SHA-512.
    pub short_rsa_keys: bool,
}

/// What a request asks for, its own signature having been verified. Unlike a [`super::Request`] it cannot be issued
/// for: it may be signed by RSA-PSS or by a key that is too short for us, have another version than PKCS#10 knows, or a
/// list of names without any, since others may take what we do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Whether a CA's certificate is asked for; None when that is left to the issuer.
    pub is_ca: Option<bool>,
    /// The usages that are asked for; None when they are left to the issuer.
    pub usages: Option<Usages>,
}

impl Examined {
    /// Reads a text of one PEM block, before which there may be words, and verifies the request's own signature.
    ///
    /// # Errors
    /// As [`super::Request::from_pem`], and when anything but white space follows the block.
    pub fn from_pem(text: &[u8], tolerance: Tolerance) -> Result<Self, RequestError> {
        if text.len() > tolerance.bytes_max {
            return Err(PemError::TooLong { bytes: text.len(), limit: tolerance.bytes_max }.into());
        }
        let (block, behind) = pem::split_first(text)?;
        check_label(&block)?;
        let parts = Parts::verified(block.content.expose(), Purpose::Judge, |signed, key| {
            if tolerance.short_rsa_keys {
                signature::verify_with_short_keys(signed, key)
            } else {
                signature::verify(signed, key)
            }
        })?;
        // Last, since it matters least: whoever is told of it may go by everything else.
        let behind = behind.trim_ascii().len();
        if behind > 0 {
            return Err(RequestError::Trailing(behind));
        }
        let constraints = parts.extensions.get::<BasicConstraints>()?;
        Ok(Self {
            is_ca: constraints.map(|constraints| constraints.ca),
            usages: usages_of(&parts.extensions)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyAlgorithm, PrivateKey};
    use crate::name::Subject;
    use crate::request::{Request, RequestSpec};

    const USUAL: Tolerance = Tolerance { bytes_max: 36_500, short_rsa_keys: false };

    fn text(is_ca: bool, encode: bool) -> String {
        let spec = RequestSpec {
            subject: Subject::common_name("leaf").into(),
            is_ca,
            encode_usages: encode,
            encode_basic_constraints: encode,
            ..RequestSpec::default()
        };
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        Request::build(&spec, &key).unwrap().to_pem()
    }

    #[test]
    fn more_than_one_block_is_refused() {
        let request = text(false, true);
        let check = |text: String, tolerance: Tolerance, message: &str| {
            assert_eq!(Examined::from_pem(text.as_bytes(), tolerance).unwrap_err().to_string(), message);
        };
        check(format!("{request}\nwords\n"), USUAL, "5 bytes follow the CERTIFICATE REQUEST block");
        let broken = request.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        check(broken, USUAL, "a \"CERTIFICATE\" block is not a CERTIFICATE REQUEST");
        let bytes_max = request.len() - 1;
        check(request, Tolerance { bytes_max, ..USUAL }, "the certificate request cannot be decoded");
    }

    #[test]
    fn what_is_asked_for_is_told() {
        let told = |is_ca, encode| Examined::from_pem(text(is_ca, encode).as_bytes(), USUAL).unwrap();
        assert_eq!(told(true, false), Examined { is_ca: None, usages: None });
        let usages = Usages::default();
        assert_eq!(told(false, true), Examined { is_ca: Some(false), usages: Some(usages.clone()) });
        assert_eq!(told(true, true), Examined { is_ca: Some(true), usages: Some(usages.with_cert_sign()) });
    }
}
