//! X.509 extensions (RFC 5280 §4.2): the list of a request or a certificate, encoded and looked up.

use std::collections::HashSet;

use aws_lc_rs::digest;
use const_oid::AssociatedOid;
use der::asn1::{Any, Ia5String, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Tag, Tagged as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::CrlDistributionPoints;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, ExtendedKeyUsage, KeyUsage,
    SubjectKeyIdentifier,
};

use crate::asn1;
use crate::constraint::{ConstraintError, NameConstraints};
use crate::key::PublicKey;
use crate::name::{self, NameError, SubjectAltName as Name};

pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
pub(crate) const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const ID_AD_OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const ID_AD_CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// Why an extension cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// A name in it cannot be encoded.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name constraints cannot be encoded or decoded.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The value does not fit its structure.
    #[error("extension {oid} is malformed")]
    Malformed {
        /// Object identifier of the extension.
        oid: String,
    },
    /// RFC 5280 §4.2 allows each extension once.
    #[error("extension {oid} is present more than once")]
    Repeated {
        /// Object identifier of the extension.
        oid: String,
    },
}

/// An ordered list of extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extensions(pub Vec<Extension>);

impl Extensions {
    pub(crate) fn add<T: AssociatedOid + Encode>(
        &mut self,
        critical: bool,
        value: &T,
    ) -> Result<(), ExtensionError> {
        let malformed = || ExtensionError::Malformed { oid: T::OID.to_string() };
        let der = value.to_der().map_err(|_| malformed())?;
        let extn_value = OctetString::new(der).map_err(|_| malformed())?;
        self.0.push(Extension { extn_id: T::OID, critical, extn_value });
        Ok(())
    }

    /// The raw extension, provided that it is there at most once.
    pub(crate) fn raw(&self, oid: ObjectIdentifier) -> Result<Option<&Extension>, ExtensionError> {
        let mut found = self.0.iter().filter(|extension| extension.extn_id == oid);
        let first = found.next();
        if found.next().is_some() {
            return Err(ExtensionError::Repeated { oid: oid.to_string() });
        }
        Ok(first)
    }

    pub(crate) fn get<T>(&self) -> Result<Option<T>, ExtensionError>
    where
        T: AssociatedOid + for<'a> Decode<'a, Error = der::Error>,
    {
        let Some(extension) = self.raw(T::OID)? else {
            return Ok(None);
        };
        let malformed = |_| ExtensionError::Malformed { oid: T::OID.to_string() };
        T::from_der(extension.extn_value.as_bytes()).map(Some).map_err(malformed)
    }

    /// Adds the subject alternative names in the order of their kinds, critical exactly when the subject is empty
    /// (§4.2.1.6).
    pub(crate) fn add_names(&mut self, names: &[Name], subject_is_empty: bool) -> Result<(), ExtensionError> {
        if names.is_empty() {
            return Ok(());
        }
        let names = name::in_order(names);
        let names = names.iter().map(Name::to_general_name).collect::<Result<Vec<_>, _>>()?;
        let malformed = |_| ExtensionError::Malformed { oid: SUBJECT_ALT_NAME.to_string() };
        let extn_value = names.to_der().and_then(OctetString::new).map_err(malformed)?;
        self.0.push(Extension { extn_id: SUBJECT_ALT_NAME, critical: subject_is_empty, extn_value });
        Ok(())
    }

    /// The subject alternative names; none without the extension.
    pub(crate) fn names(&self) -> Result<Vec<Name>, ExtensionError> {
        let Some(extension) = self.raw(SUBJECT_ALT_NAME)? else {
            return Ok(Vec::new());
        };
        let malformed = || ExtensionError::Malformed { oid: SUBJECT_ALT_NAME.to_string() };
        let names = Any::from_der(extension.extn_value.as_bytes()).map_err(|_| malformed())?;
        if names.tag() != Tag::Sequence {
            return Err(malformed());
        }
        Ok(name::general_names(names.value())?)
    }

    /// The key usage, none set behind the last bit (X.690 §11.2.1). One without any bit is against the letter of
    /// §4.2.1.3, yet the peer writes it into every request for extended usages alone, and other readers take it.
    pub(crate) fn key_usage(&self) -> Result<Option<KeyUsage>, ExtensionError> {
        let usage = self.get::<KeyUsage>()?;
        let raw = self.raw(KeyUsage::OID)?.map_or(&[][..], |raw| raw.extn_value.as_bytes());
        // Tag, length, number of unused bits, bits: the structure has been decoded above.
        let unused = raw.get(2).copied().unwrap_or(0);
        let behind = raw.last().copied().unwrap_or(0) & !0xff_u8.checked_shl(unused.into()).unwrap_or(0);
        if behind == 0 {
            Ok(usage)
        } else {
            Err(ExtensionError::Malformed { oid: KeyUsage::OID.to_string() })
        }
    }

    /// Checks that usages which are to be certified are whole: no bit behind the last one, and at least one purpose
    /// (§4.2.1.12).
    pub(crate) fn check_usages(&self) -> Result<(), ExtensionError> {
        self.key_usage()?;
        match self.extended_key_usage()? {
            Some(usage) if usage.0.is_empty() => {
                Err(ExtensionError::Malformed { oid: ExtendedKeyUsage::OID.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// The purposes, each under the one encoding of its identifier.
    pub(crate) fn extended_key_usage(&self) -> Result<Option<ExtendedKeyUsage>, ExtensionError> {
        let usage = self.get::<ExtendedKeyUsage>()?;
        match usage {
            Some(usage) if !usage.0.iter().all(asn1::is_canonical) => {
                Err(ExtensionError::Malformed { oid: ExtendedKeyUsage::OID.to_string() })
            }
            usage => Ok(usage),
        }
    }

    /// Checks that no extension is there twice (§4.2), under one encoding of its identifier or another.
    pub(crate) fn check_distinct(&self) -> Result<(), ExtensionError> {
        if let Some(padded) = self.0.iter().find(|extension| !asn1::is_canonical(&extension.extn_id)) {
            return Err(ExtensionError::Malformed { oid: padded.extn_id.to_string() });
        }
        let mut seen = HashSet::new();
        match self.0.iter().find(|extension| !seen.insert(extension.extn_id)) {
            Some(extension) => Err(ExtensionError::Repeated { oid: extension.extn_id.to_string() }),
            None => Ok(()),
        }
    }

    /// Adds name constraints, unless they constrain nothing.
    pub(crate) fn add_name_constraints(
        &mut self,
        constraints: &NameConstraints,
    ) -> Result<(), ExtensionError> {
        if constraints.is_empty() {
            return Ok(());
        }
        let malformed = |_| ExtensionError::Malformed { oid: NAME_CONSTRAINTS.to_string() };
        let extn_value = OctetString::new(constraints.to_der()?).map_err(malformed)?;
        self.0.push(Extension { extn_id: NAME_CONSTRAINTS, critical: constraints.critical, extn_value });
        Ok(())
    }

    /// The name constraints; `None` without the extension.
    pub(crate) fn name_constraints(&self) -> Result<Option<NameConstraints>, ExtensionError> {
        let Some(extension) = self.raw(NAME_CONSTRAINTS)? else {
            return Ok(None);
        };
        Ok(Some(NameConstraints::from_der(extension.extn_value.as_bytes(), extension.critical)?))
    }

    /// Where to find revocation lists, OCSP responders and the issuer's certificate.
    pub(crate) fn add_issuer_urls(
        &mut self,
        crl_distribution_points: &[String],
        ocsp_servers: &[String],
        issuing_certificate_urls: &[String],
    ) -> Result<(), ExtensionError> {
        if !crl_distribution_points.is_empty() {
            let points = crl_distribution_points.iter().map(|url| distribution_point(url));
            self.add(false, &CrlDistributionPoints(points.collect::<Result<_, _>>()?))?;
        }
        let mut access = Vec::new();
        for (method, urls) in [(ID_AD_OCSP, ocsp_servers), (ID_AD_CA_ISSUERS, issuing_certificate_urls)] {
            for url in urls {
                access.push(AccessDescription { access_method: method, access_location: uri(url)? });
            }
        }
        if access.is_empty() { Ok(()) } else { self.add(false, &AuthorityInfoAccessSyntax(access)) }
    }
}

fn uri(url: &str) -> Result<GeneralName, NameError> {
    let not_ascii = |_| NameError::NotAscii { kind: "URI", value: url.to_owned() };
    Ia5String::new(url).map(GeneralName::UniformResourceIdentifier).map_err(not_ascii)
}

fn distribution_point(url: &str) -> Result<DistributionPoint, NameError> {
    let name = DistributionPointName::FullName(vec![uri(url)?]);
    Ok(DistributionPoint { distribution_point: Some(name), reasons: None, crl_issuer: None })
}

/// The identifier of a key by RFC 7093 §2 method 1: the leftmost 160 bits of SHA-256 over its bits.
pub(crate) fn key_identifier(key: &PublicKey) -> Vec<u8> {
    const OCTETS: usize = 20;
    digest::digest(&digest::SHA256, key.bits()).as_ref().iter().copied().take(OCTETS).collect()
}

pub(crate) fn subject_key_identifier(identifier: &[u8]) -> der::Result<SubjectKeyIdentifier> {
    Ok(SubjectKeyIdentifier(OctetString::new(identifier)?))
}

pub(crate) fn authority_key_identifier(identifier: &[u8]) -> der::Result<AuthorityKeyIdentifier> {
    Ok(AuthorityKeyIdentifier { key_identifier: Some(OctetString::new(identifier)?), ..Default::default() })
}

/// `extensionRequest` (RFC 2985 §5.4.2).
pub(crate) const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

pub(crate) fn from_request_attribute(value: &Any) -> der::Result<Extensions> {
    Vec::<Extension>::from_der(&value.to_der()?).map(Extensions)
}
