//! Subject alternative names (RFC 5280 §4.2.1.6).

use std::fmt;
use std::net::IpAddr;

use der::asn1::{Any, ObjectIdentifier, Utf8StringRef};
use der::{Encode as _, Tag, TagNumber, Tagged as _};
use x509_cert::ext::pkix::name::OtherName;

use super::{NameError, hex};
use crate::asn1;

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
    /// otherName with a text, such as a user principal name (`spec.otherNames`).
    OtherName {
        /// What kind of name it is: a dotted object identifier.
        type_id: String,
        /// The name, which is encoded as a UTF8String.
        value: String,
    },
    /// A name that is read and kept, but not made.
    Other {
        /// Its kind.
        kind: OtherKind,
        /// Its DER in hexadecimal, for comparison.
        der: String,
    },
}

/// The kinds of [`SubjectAltName::Other`], by their names in RFC 5280.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OtherKind {
    /// otherName whose value is no UTF-8 text.
    OtherName,
    /// x400Address.
    X400Address,
    /// directoryName.
    DirectoryName,
    /// ediPartyName.
    EdiPartyName,
    /// registeredID.
    RegisteredId,
}

impl fmt::Display for OtherKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherName => "otherName",
            Self::X400Address => "x400Address",
            Self::DirectoryName => "directoryName",
            Self::EdiPartyName => "ediPartyName",
            Self::RegisteredId => "registeredID",
        })
    }
}

impl SubjectAltName {
    /// As GeneralName.
    pub(crate) fn to_general_name(&self) -> Result<Any, NameError> {
        let ascii = |number, kind, value: &String| {
            if !value.is_ascii() {
                return Err(NameError::NotAscii { kind, value: value.clone() });
            }
            tagged(number, false, value.as_bytes())
        };
        match self {
            Self::Dns(name) => ascii(2, "DNS name", name),
            Self::Email(address) => ascii(1, "e-mail address", address),
            Self::Uri(uri) => ascii(6, "URI", uri),
            Self::Ip(address) => match address {
                IpAddr::V4(address) => tagged(7, false, &address.octets()),
                IpAddr::V6(address) => tagged(7, false, &address.octets()),
            },
            Self::OtherName { type_id, value } => other_name(type_id, value),
            Self::Other { kind, .. } => Err(NameError::Kind(*kind)),
        }
    }

    fn from_general_name(name: &Any) -> Result<Self, NameError> {
        let Tag::ContextSpecific { number, constructed } = name.tag() else {
            return Err(NameError::Alternative("its tag is not one of a general name"));
        };
        let other = |kind| {
            let der = name.to_der().map_err(|_| NameError::Encoding)?;
            Ok(Self::Other { kind, der: hex(&der) })
        };
        match (number.value(), constructed) {
            (0, true) => match read_other_name(name.value())? {
                Some((type_id, value)) => Ok(Self::OtherName { type_id, value }),
                None => other(OtherKind::OtherName),
            },
            (1, false) => ascii(name).map(Self::Email),
            (2, false) => ascii(name).map(Self::Dns),
            (3, true) => {
                inside(name)?;
                other(OtherKind::X400Address)
            }
            (4, true) => {
                let [directory_name] = inside(name)?
                    .try_into()
                    .map_err(|_| NameError::Alternative("a directoryName holds not one name"))?;
                super::attributes(&directory_name)?;
                other(OtherKind::DirectoryName)
            }
            (5, true) => {
                inside(name)?;
                other(OtherKind::EdiPartyName)
            }
            (6, false) => ascii(name).map(Self::Uri),
            (7, false) => ip(name.value())
                .map(Self::Ip)
                .ok_or(NameError::Alternative("an IP address has neither 4 nor 16 bytes")),
            (8, false) => {
                ObjectIdentifier::from_bytes(name.value())
                    .ok()
                    .filter(asn1::is_canonical)
                    .ok_or(NameError::Alternative("a registeredID is not an object identifier"))?;
                other(OtherKind::RegisteredId)
            }
            _ => Err(NameError::Alternative("its tag is not one of a general name")),
        }
    }

    /// Where the peer puts names of this kind.
    fn rank(&self) -> u8 {
        match self {
            Self::Dns(_) => 0,
            Self::Email(_) => 1,
            Self::Ip(_) => 2,
            Self::Uri(_) => 3,
            Self::OtherName { .. } => 4,
            Self::Other { .. } => 5,
        }
    }
}

/// The names by kind as the peer writes them: DNS names, e-mail addresses, IP addresses, URIs, other names. The order
/// inside a kind stays. An IPv6 address that stands for an IPv4 one is written as that one, as Go does.
pub(crate) fn in_order(names: &[SubjectAltName]) -> Vec<SubjectAltName> {
    let canonical = |name: &SubjectAltName| match name {
        SubjectAltName::Ip(address) => SubjectAltName::Ip(address.to_canonical()),
        other => other.clone(),
    };
    let mut names: Vec<_> = names.iter().map(canonical).collect();
    names.sort_by_key(SubjectAltName::rank);
    names
}

/// The names of a `GeneralNames`, given as the content of its sequence.
pub(crate) fn general_names(content: &[u8]) -> Result<Vec<SubjectAltName>, NameError> {
    let names = asn1::elements(content).map_err(|_| NameError::Alternative("its DER is broken"))?;
    names.iter().map(SubjectAltName::from_general_name).collect()
}

fn tagged(number: u32, constructed: bool, content: &[u8]) -> Result<Any, NameError> {
    let tag = Tag::ContextSpecific { number: TagNumber(number), constructed };
    Any::new(tag, content).map_err(|_| NameError::Encoding)
}

fn ascii(name: &Any) -> Result<String, NameError> {
    let text = String::from_utf8(name.value().to_vec()).ok().filter(|text| text.is_ascii());
    text.ok_or(NameError::Alternative("a DNS name, e-mail address or URI is not ASCII text"))
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

/// The elements of a constructed name.
fn inside(name: &Any) -> Result<Vec<Any>, NameError> {
    asn1::elements(name.value()).map_err(|_| NameError::Alternative("its DER is broken"))
}

fn other_name(type_id: &str, value: &str) -> Result<Any, NameError> {
    let type_id = super::object_identifier(type_id)?;
    let encoding = |_| NameError::Encoding;
    let value = Utf8StringRef::new(value).and_then(|value| Any::encode_from(&value)).map_err(encoding)?;
    let sequence = Any::encode_from(&OtherName { type_id, value }).map_err(encoding)?;
    // The tag [0] is implicit: it stands in place of the sequence's own.
    tagged(0, true, sequence.value())
}

/// Type and text of an otherName; `None` when its value is no text.
fn read_other_name(content: &[u8]) -> Result<Option<(String, String)>, NameError> {
    let malformed = || NameError::Alternative("an otherName is not an object identifier and a value");
    let elements = asn1::elements(content).map_err(|_| malformed())?;
    let [type_id, explicit] = elements.as_slice() else {
        return Err(malformed());
    };
    let type_id = type_id.decode_as::<ObjectIdentifier>().ok().filter(asn1::is_canonical);
    let type_id = type_id.ok_or_else(malformed)?;
    if explicit.tag() != (Tag::ContextSpecific { number: TagNumber(0), constructed: true }) {
        return Err(malformed());
    }
    let values = asn1::elements(explicit.value()).map_err(|_| malformed())?;
    let [value] = values.as_slice() else {
        return Err(malformed());
    };
    let text = (value.tag() == Tag::Utf8String).then(|| String::from_utf8(value.value().to_vec()).ok());
    Ok(text.flatten().map(|text| (type_id.to_string(), text)))
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
            Self::OtherName { type_id, value } => write!(f, "otherName:{type_id}={value}"),
            Self::Other { kind, der } => write!(f, "{kind}:{der}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    #[test]
    fn names_that_cannot_be_encoded_are_refused_with_the_cure() {
        let refused = SubjectAltName::Dns("bücher.test".to_owned()).to_general_name().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "DNS name \"bücher.test\" is not ASCII text; \
             write international names in their ASCII form (A-labels, RFC 5891)"
        );
        let other = SubjectAltName::OtherName { type_id: "upn".to_owned(), value: "a".to_owned() };
        assert_eq!(
            other.to_general_name().unwrap_err().to_string(),
            "\"upn\" is not an object identifier; \
             write numbers with dots between them, such as 1.3.6.1.4.1.311.20.2.3"
        );
        let read = SubjectAltName::Other { kind: OtherKind::RegisteredId, der: "88022a03".to_owned() };
        let message = read.to_general_name().unwrap_err().to_string();
        assert_eq!(message, "a name of kind registeredID cannot be asked for");
    }

    #[test]
    fn bytes_that_are_no_general_name_are_refused() {
        let check = |der: &[u8], reason: &str| {
            let message = general_names(der).unwrap_err().to_string();
            assert!(message.ends_with(&format!(" is malformed: {reason}")), "{message} for {der:02x?}");
        };
        let tag = "its tag is not one of a general name";
        check(&tlv(0x04, b"a"), tag);
        check(&tlv(0x89, b"a"), tag);
        check(&tlv(0xa2, &tlv(12, b"a")), tag);
        check(&tlv(0x84, &[0x30, 0]), tag);
        check(&[0x82, 2, b'a'], "its DER is broken");
        check(&tlv(0xa3, &[0x30, 1]), "its DER is broken");
        check(&tlv(0x82, &[0xff]), "a DNS name, e-mail address or URI is not ASCII text");
        check(&tlv(0x87, &[0; 5]), "an IP address has neither 4 nor 16 bytes");
        check(&tlv(0x88, &[0x80]), "a registeredID is not an object identifier");
        check(&tlv(0x88, &[0x2a, 0x80, 3]), "a registeredID is not an object identifier");
        let padded = [0x30, 13, 0x31, 11, 0x30, 9, 6, 4, 0x55, 0x80, 4, 3, 12, 1, b'x'];
        check(&tlv(0xa4, &padded), "the type of an attribute is not in the encoding of DER");
        check(&tlv(0xa4, &[]), "a directoryName holds not one name");
        check(&tlv(0xa4, &[0x31, 0]), "it is not a sequence of relative names");
        let other = "an otherName is not an object identifier and a value";
        check(&tlv(0xa0, &[]), other);
        check(&tlv(0xa0, &tlv(6, &[0x2a, 3])), other);
        check(&tlv(0xa0, &[6, 1, 0x2a, 12, 1, b'a']), other);
        check(&tlv(0xa0, &[6, 1, 0x2a, 0xa0, 0]), other);
        check(&tlv(0xa0, &[6, 3, 0x2a, 0x80, 3, 0xa0, 3, 12, 1, b'a']), other);
    }

    #[test]
    fn names_survive_a_round_trip() {
        let names = [
            SubjectAltName::Dns("a.test".to_owned()),
            SubjectAltName::Email("a@a.test".to_owned()),
            SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
            SubjectAltName::Ip("2001:db8::1".parse().unwrap()),
            SubjectAltName::Uri("spiffe://td/ns/a/sa/b".to_owned()),
            SubjectAltName::OtherName {
                type_id: "1.3.6.1.4.1.311.20.2.3".to_owned(),
                value: "Bücher@a.test".to_owned(),
            },
        ];
        for name in names {
            let der = name.to_general_name().unwrap().to_der().unwrap();
            assert_eq!(general_names(&der), Ok(vec![name]));
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_written_as_ipv4() {
        let mapped = SubjectAltName::Ip("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(in_order(&[mapped]), [SubjectAltName::Ip("192.0.2.1".parse().unwrap())]);
    }

    #[test]
    fn kinds_that_are_not_made_are_kept_with_their_bytes() {
        let check = |der: Vec<u8>, shown: &str| {
            let names = general_names(&der).unwrap();
            let [name] = names.as_slice() else { panic!("{names:?}") };
            assert_eq!(name.to_string(), format!("{shown}:{}", hex(&der)));
        };
        check(tlv(0xa3, &[0x30, 0]), "x400Address");
        check(tlv(0xa4, &[0x30, 0]), "directoryName");
        check(tlv(0xa5, &[0xa1, 3, 12, 1, b'a']), "ediPartyName");
        check(tlv(0x88, &[0x2a, 3]), "registeredID");
        check(tlv(0xa0, &[6, 1, 0x2a, 0xa0, 3, 22, 1, b'a']), "otherName");
    }

    #[test]
    fn names_are_written_kind_by_kind() {
        let other = SubjectAltName::OtherName { type_id: "1.2.3".to_owned(), value: String::new() };
        let names = [
            other,
            SubjectAltName::Uri("u:".to_owned()),
            SubjectAltName::Dns("b.test".to_owned()),
            SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
            SubjectAltName::Email("a@a.test".to_owned()),
            SubjectAltName::Dns("a.test".to_owned()),
        ];
        let shown: Vec<String> = in_order(&names).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["DNS:b.test", "DNS:a.test", "email:a@a.test", "IP:192.0.2.1", "URI:u:", "otherName:1.2.3="]
        );
    }
}
