//! Distinguished names and subject alternative names (RFC 5280 §4.1.2.6, §4.2.1.6).

use std::fmt;
use std::net::IpAddr;

use der::asn1::{Any, Ia5String, ObjectIdentifier, OctetString, PrintableStringRef, SetOfVec, Utf8StringRef};
use der::{Decode as _, Encode as _, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::pkix::name::GeneralName;

/// Why a name cannot be put into a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// DNS names, e-mail addresses and URIs must be ASCII text.
    #[error(
        "{kind} {value:?} is not ASCII text; write international names in their ASCII form (A-labels, RFC 5891)"
    )]
    NotAscii {
        /// What kind of name it is.
        kind: &'static str,
        /// The name.
        value: String,
    },
    /// A part of the name is too long for DER.
    #[error("the subject name cannot be encoded")]
    Encoding,
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The subject of a request, attribute by attribute (`spec.commonName` and `spec.subject` of a Certificate).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// CN.
    pub common_name: Option<String>,
    /// C, two letters each.
    pub countries: Vec<String>,
    /// O.
    pub organizations: Vec<String>,
    /// OU.
    pub organizational_units: Vec<String>,
    /// L.
    pub localities: Vec<String>,
    /// ST.
    pub provinces: Vec<String>,
    /// STREET.
    pub street_addresses: Vec<String>,
    /// postalCode.
    pub postal_codes: Vec<String>,
    /// serialNumber: an attribute of the subject, not the number of the certificate.
    pub serial_number: Option<String>,
}

impl Subject {
    /// A subject that has a common name alone.
    pub fn common_name(name: impl Into<String>) -> Self {
        Self { common_name: Some(name.into()), ..Self::default() }
    }

    /// The Name, in the peer's order of attributes; several values of one attribute share one relative name.
    pub(crate) fn to_name(&self) -> Result<Any, NameError> {
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let attributes = [
            ("2.5.4.6", self.countries.clone()),
            ("2.5.4.10", self.organizations.clone()),
            ("2.5.4.11", self.organizational_units.clone()),
            ("2.5.4.7", self.localities.clone()),
            ("2.5.4.8", self.provinces.clone()),
            ("2.5.4.9", self.street_addresses.clone()),
            ("2.5.4.17", self.postal_codes.clone()),
            ("2.5.4.3", one(&self.common_name)),
            ("2.5.4.5", one(&self.serial_number)),
        ];
        let mut relative_names = Vec::new();
        for (oid, values) in attributes {
            if !values.is_empty() {
                relative_names.push(relative_name(ObjectIdentifier::new_unwrap(oid), &values)?);
            }
        }
        Any::encode_from(&relative_names).map_err(|_| NameError::Encoding)
    }
}

fn relative_name(
    oid: ObjectIdentifier,
    values: &[String],
) -> Result<SetOfVec<AttributeTypeAndValue>, NameError> {
    let mut set = SetOfVec::new();
    for value in values {
        let attribute = AttributeTypeAndValue { oid, value: directory_string(value)? };
        // The only error is a duplicate, and a set holds it already.
        let _ = set.insert(attribute);
    }
    Ok(set)
}

/// PrintableString where the characters allow it, else UTF8String, as Go's encoder chooses.
fn directory_string(value: &str) -> Result<Any, NameError> {
    let printable = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let encoded = if printable {
        PrintableStringRef::new(value).and_then(|text| Any::encode_from(&text))
    } else {
        Utf8StringRef::new(value).and_then(|text| Any::encode_from(&text))
    };
    encoded.map_err(|_| NameError::Encoding)
}

type RelativeNames = Vec<SetOfVec<AttributeTypeAndValue>>;

/// Whether a Name has no attributes at all.
pub(crate) fn is_empty(name: &Any) -> bool {
    name.value().is_empty()
}

/// The first common name in a Name, if it has one that is text.
pub(crate) fn common_name(name: &Any) -> Option<String> {
    let relative_names = RelativeNames::from_der(&name.to_der().ok()?).ok()?;
    let mut attributes = relative_names.iter().flat_map(SetOfVec::iter);
    text(&attributes.find(|attribute| attribute.oid == COMMON_NAME)?.value)
}

/// A Name for people, most specific attribute last: `O=Example, CN=leaf`.
pub(crate) fn display(name: &Any) -> String {
    let decoded = name.to_der().ok().and_then(|der| RelativeNames::from_der(&der).ok()).unwrap_or_default();
    let attributes = decoded.iter().flat_map(SetOfVec::iter);
    let shown: Vec<String> = attributes
        .map(|attribute| {
            let value = text(&attribute.value).unwrap_or_else(|| "(not text)".to_owned());
            format!("{}={value}", short_name(attribute.oid))
        })
        .collect();
    shown.join(", ")
}

fn short_name(oid: ObjectIdentifier) -> String {
    let known = match oid.to_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "SERIALNUMBER",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.17" => "postalCode",
        other => return other.to_owned(),
    };
    known.to_owned()
}

fn text(value: &Any) -> Option<String> {
    match value.tag() {
        der::Tag::PrintableString | der::Tag::Utf8String | der::Tag::Ia5String => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        _ => None,
    }
}

/// One subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SubjectAltName {
    /// dNSName.
    Dns(String),
    /// rfc822Name.
    Email(String),
    /// iPAddress.
    Ip(IpAddr),
    /// uniformResourceIdentifier.
    Uri(String),
    /// A kind that we do not make (otherName, directoryName, registeredID): its DER in hexadecimal, for comparison.
    Other(String),
}

impl SubjectAltName {
    pub(crate) fn to_general_name(&self) -> Result<GeneralName, NameError> {
        let ascii = |kind, value: &String| {
            Ia5String::new(value).map_err(|_| NameError::NotAscii { kind, value: value.clone() })
        };
        Ok(match self {
            Self::Dns(name) => GeneralName::DnsName(ascii("DNS name", name)?),
            Self::Email(address) => GeneralName::Rfc822Name(ascii("e-mail address", address)?),
            Self::Uri(uri) => GeneralName::UniformResourceIdentifier(ascii("URI", uri)?),
            Self::Ip(IpAddr::V4(address)) => ip_address(&address.octets())?,
            Self::Ip(IpAddr::V6(address)) => ip_address(&address.octets())?,
            Self::Other(_) => return Err(NameError::Encoding),
        })
    }

    pub(crate) fn from_general_name(name: &GeneralName) -> Self {
        let hexadecimal = || Self::Other(hex(&name.to_der().unwrap_or_default()));
        match name {
            GeneralName::DnsName(name) => Self::Dns(name.to_string()),
            GeneralName::Rfc822Name(address) => Self::Email(address.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => Self::Uri(uri.to_string()),
            GeneralName::IpAddress(octets) => ip(octets.as_bytes()).map_or_else(hexadecimal, Self::Ip),
            _ => hexadecimal(),
        }
    }
}

fn ip_address(octets: &[u8]) -> Result<GeneralName, NameError> {
    OctetString::new(octets).map(GeneralName::IpAddress).map_err(|_| NameError::Encoding)
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
            Self::Other(der) => write!(f, "other:{der}"),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_ascii_are_refused_with_the_cure() {
        let refused = SubjectAltName::Dns("bücher.test".to_owned()).to_general_name().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "DNS name \"bücher.test\" is not ASCII text; \
             write international names in their ASCII form (A-labels, RFC 5891)"
        );
    }

    #[test]
    fn attributes_come_in_the_order_of_the_peer_and_share_one_relative_name_per_kind() {
        let subject = Subject {
            common_name: Some("leaf".to_owned()),
            organizations: vec!["Beta".to_owned(), "Alpha".to_owned()],
            countries: vec!["DE".to_owned()],
            serial_number: Some("7".to_owned()),
            ..Subject::default()
        };
        let name = subject.to_name().unwrap();
        assert_eq!(display(&name), "C=DE, O=Beta, O=Alpha, CN=leaf, SERIALNUMBER=7");
        assert_eq!(RelativeNames::from_der(&name.to_der().unwrap()).unwrap().len(), 4);
        assert_eq!(common_name(&name).as_deref(), Some("leaf"));
        assert!(is_empty(&Subject::default().to_name().unwrap()));
    }

    #[test]
    fn text_is_printable_where_it_can_be() {
        assert_eq!(directory_string("Example Ltd.").unwrap().tag(), der::Tag::PrintableString);
        assert_eq!(directory_string("*.example").unwrap().tag(), der::Tag::Utf8String);
        assert_eq!(directory_string("Bücher").unwrap().tag(), der::Tag::Utf8String);
    }

    #[test]
    fn alternative_names_survive_a_round_trip() {
        let names = [
            SubjectAltName::Dns("a.test".to_owned()),
            SubjectAltName::Email("a@a.test".to_owned()),
            SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
            SubjectAltName::Ip("2001:db8::1".parse().unwrap()),
            SubjectAltName::Uri("spiffe://td/ns/a/sa/b".to_owned()),
        ];
        for name in names {
            assert_eq!(SubjectAltName::from_general_name(&name.to_general_name().unwrap()), name);
        }
    }
}
