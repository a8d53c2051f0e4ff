//! Distinguished names and subject alternative names (RFC 5280 §4.1.2.6, §4.2.1.6).

use std::fmt;

use der::asn1::{Any, ObjectIdentifier};
use der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;

use crate::asn1;

mod alternative;
mod literal;
mod subject;

pub use alternative::{OtherKind, SubjectAltName};
pub(crate) use alternative::{general_names, in_order};
pub use literal::{LiteralFault, LiteralSubject};
pub use subject::{RequestedSubject, Subject};

/// Why a name cannot be put into a request, or read from one.
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
    /// An otherName or an attribute has a type that is no object identifier.
    #[error(
        "{0:?} is not an object identifier; write numbers with dots between them, such as 1.3.6.1.4.1.311.20.2.3"
    )]
    ObjectIdentifier(String),
    /// A literal subject does not follow RFC 4514.
    #[error(
        "literal subject {text:?} is wrong at character {position}: {reason}; \
         write attributes from the most specific one on, such as CN=web,OU=shop,O=Example"
    )]
    Literal {
        /// The text.
        text: String,
        /// Where the trouble begins, in characters from 1.
        position: usize,
        /// What is wrong there.
        reason: &'static str,
        /// Which kind of fault it is.
        fault: LiteralFault,
    },
    /// A subject that was read is not a Name of RFC 5280 §4.1.2.4.
    #[error("the subject name is malformed: {0}")]
    Subject(&'static str),
    /// An alternative name that was read is not a GeneralName of RFC 5280 §4.2.1.6.
    #[error("a subject alternative name is malformed: {0}")]
    Alternative(&'static str),
    /// A name that was read is of a kind that we do not write.
    #[error("a name of kind {0} cannot be asked for")]
    Kind(OtherKind),
    /// A part of the name is too long for DER.
    #[error("the subject name cannot be encoded")]
    Encoding,
}

pub(crate) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Short names of attribute types. RFC 4514 §3 and what Go and the peer know beside it; the last one has a short name
/// in printed text only.
const SHORT_NAMES: [(&str, ObjectIdentifier); 11] = [
    ("CN", COMMON_NAME),
    ("SERIALNUMBER", ObjectIdentifier::new_unwrap("2.5.4.5")),
    ("C", ObjectIdentifier::new_unwrap("2.5.4.6")),
    ("L", ObjectIdentifier::new_unwrap("2.5.4.7")),
    ("ST", ObjectIdentifier::new_unwrap("2.5.4.8")),
    ("STREET", ObjectIdentifier::new_unwrap("2.5.4.9")),
    ("O", ObjectIdentifier::new_unwrap("2.5.4.10")),
    ("OU", ObjectIdentifier::new_unwrap("2.5.4.11")),
    ("DC", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25")),
    ("UID", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1")),
    ("postalCode", ObjectIdentifier::new_unwrap("2.5.4.17")),
];

/// Whether `text` is an object identifier that can be encoded: dotted numbers without leading zeros, of which the first
/// is at most 2 and the second at most 39. (X.660 sets no bound below 2; nobody names types there.)
///
/// # Errors
/// [`NameError::ObjectIdentifier`], when it is not.
pub fn check_object_identifier(text: &str) -> Result<(), NameError> {
    object_identifier(text).map(drop)
}

pub(crate) fn object_identifier(text: &str) -> Result<ObjectIdentifier, NameError> {
    let has_leading_zero = text.split('.').any(|arc| arc.len() > 1 && arc.starts_with('0'));
    let read = ObjectIdentifier::new(text).ok().filter(|_| !has_leading_zero);
    read.ok_or_else(|| NameError::ObjectIdentifier(text.to_owned()))
}

/// Whether a Name has no attributes at all.
pub(crate) fn is_empty(name: &Any) -> bool {
    name.value().is_empty()
}

/// All attributes of a Name in the order of its bytes. The order inside a relative name is not checked: issuers
/// exist that do not sort it, and nothing is re-encoded.
pub(crate) fn attributes(name: &Any) -> Result<Vec<AttributeTypeAndValue>, NameError> {
    let malformed = |_| NameError::Subject("it is not a sequence of relative names");
    if name.tag() != Tag::Sequence {
        return Err(NameError::Subject("it is not a sequence of relative names"));
    }
    let mut found = Vec::new();
    for relative_name in asn1::elements(name.value()).map_err(malformed)? {
        let attributes = asn1::elements(relative_name.value()).map_err(malformed)?;
        if relative_name.tag() != Tag::Set || attributes.is_empty() {
            return Err(NameError::Subject("a relative name is not a set of attributes"));
        }
        for attribute in attributes {
            let read = attribute.to_der().and_then(|der| AttributeTypeAndValue::from_der(&der));
            let read = read.map_err(|_| NameError::Subject("an attribute is not a type and a value"))?;
            if !asn1::is_canonical(&read.oid) {
                return Err(NameError::Subject("the type of an attribute is not in the encoding of DER"));
            }
            found.push(read);
        }
    }
    Ok(found)
}

/// The first common name in a Name, if it has one that is text.
pub(crate) fn common_name(name: &Any) -> Option<String> {
    let attributes = attributes(name).ok()?;
    text(&attributes.iter().find(|attribute| attribute.oid == COMMON_NAME)?.value)
}

/// Checks a Name that is to be certified more strictly than one that an issuer has already: its sets are in the order
/// of DER, which other programs take for granted, and every common name is text, so that no rule about common names
/// can be passed by unseen.
pub(crate) fn check(name: &Any) -> Result<(), NameError> {
    let attributes = attributes(name)?;
    let mut common_names = attributes.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    if common_names.any(|attribute| text(&attribute.value).is_none()) {
        return Err(NameError::Subject("a common name is not text"));
    }
    let malformed = |_| NameError::Subject("it is not a sequence of relative names");
    for relative_name in asn1::elements(name.value()).map_err(malformed)? {
        let elements = asn1::elements(relative_name.value()).map_err(malformed)?;
        let encoded = elements.iter().map(Any::to_der).collect::<der::Result<Vec<_>>>().map_err(malformed)?;
        if !encoded.is_sorted() {
            return Err(NameError::Subject("the attributes of a relative name are not in the order of DER"));
        }
    }
    Ok(())
}

/// A Name for people, most specific attribute last: `O=Example, CN=leaf`.
pub(crate) fn display(name: &Any) -> String {
    let shown: Vec<String> = attributes(name)
        .unwrap_or_default()
        .iter()
        .map(|attribute| {
            let value = text(&attribute.value).unwrap_or_else(|| "(not text)".to_owned());
            format!("{}={value}", short_name(attribute.oid))
        })
        .collect();
    shown.join(", ")
}

pub(crate) fn short_name(oid: ObjectIdentifier) -> String {
    let known = SHORT_NAMES.iter().find(|(_, known)| *known == oid);
    known.map_or_else(|| oid.to_string(), |(name, _)| (*name).to_owned())
}

/// The text of an attribute in any of the string types of X.520. TeletexString is read as Latin-1, which is what it
/// was used for.
pub(crate) fn text(value: &Any) -> Option<String> {
    let octets = value.value();
    match value.tag() {
        Tag::Utf8String => String::from_utf8(octets.to_vec()).ok(),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            String::from_utf8(octets.to_vec()).ok().filter(|text| text.is_ascii())
        }
        Tag::TeletexString => Some(octets.iter().map(|octet| char::from(*octet)).collect()),
        Tag::BmpString => {
            let (units, rest) = octets.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        _ => None,
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

    fn name(der: &[u8]) -> Any {
        Any::from_der(der).unwrap()
    }

    #[test]
    fn bytes_that_are_no_name_are_refused() {
        let check = |der: &[u8], reason: &'static str| {
            assert_eq!(attributes(&name(der)), Err(NameError::Subject(reason)), "{der:02x?}");
            assert_eq!(common_name(&name(der)), None);
            assert_eq!(display(&name(der)), "");
        };
        check(&[0x31, 0], "it is not a sequence of relative names");
        check(&[0x30, 1, 0x31], "it is not a sequence of relative names");
        check(&[0x30, 2, 0x30, 0], "a relative name is not a set of attributes");
        check(&[0x30, 2, 0x31, 0], "a relative name is not a set of attributes");
        check(&[0x30, 4, 0x31, 2, 0x30, 0], "an attribute is not a type and a value");
        check(&[0x30, 4, 0x31, 2, 5, 0], "an attribute is not a type and a value");
        let padded = [0x30, 13, 0x31, 11, 0x30, 9, 6, 4, 0x55, 0x80, 4, 3, 12, 1, b'x'];
        check(&padded, "the type of an attribute is not in the encoding of DER");
    }

    #[test]
    fn only_numbers_with_real_arcs_are_object_identifiers() {
        for text in
            ["", "1", "1.", ".1", "1..2", "3.1", "1.40", "0.40.1", "1.2.-3", "1.2.x", "1.02", "01.2", "1.2 "]
        {
            let refused = check_object_identifier(text).unwrap_err();
            assert_eq!(refused, NameError::ObjectIdentifier(text.to_owned()));
        }
        for text in ["1.2", "0.39", "2.5.4.3", "1.3.6.1.4.1.311.20.2.3", "1.0"] {
            assert_eq!(check_object_identifier(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_common_name_is_found_in_every_string_type_or_refused() {
        let check = |tag: u8, octets: &[u8], shown: Option<&str>| {
            let len = u8::try_from(octets.len()).unwrap();
            let head = [0x30, len + 11, 0x31, len + 9, 0x30, len + 7, 6, 3, 0x55, 4, 3, tag, len];
            let name = name(&[&head, octets].concat());
            assert_eq!(common_name(&name).as_deref(), shown, "tag {tag}");
            assert_eq!(check(&name).is_ok(), shown.is_some());
        };
        check(12, "Bücher".as_bytes(), Some("Bücher"));
        check(19, b"a.test", Some("a.test"));
        check(22, b"a@a.test", Some("a@a.test"));
        check(18, b"12", Some("12"));
        check(26, b"a", Some("a"));
        check(20, &[0xfc], Some("ü"));
        check(30, &[0, b'a', 0x20, 0xac], Some("a€"));
        check(30, &[0, b'a', 0x20], None);
        check(30, &[0xd8, 0], None);
        check(12, &[0xff], None);
        check(4, b"a", None);
    }

    #[test]
    fn attributes_that_are_not_sorted_are_read_but_not_certified() {
        // SET { OU=b, CN=a }: sorted by DER, CN comes first.
        let ou = [0x30, 8, 6, 3, 0x55, 4, 11, 12, 1, b'b'];
        let cn = [0x30, 8, 6, 3, 0x55, 4, 3, 12, 1, b'a'];
        let der = [[0x30, 22, 0x31, 20].as_slice(), &ou, &cn].concat();
        assert_eq!(display(&name(&der)), "OU=b, CN=a");
        assert_eq!(common_name(&name(&der)).as_deref(), Some("a"));
        let reason = "the attributes of a relative name are not in the order of DER";
        assert_eq!(check(&name(&der)), Err(NameError::Subject(reason)), "nor are they certified");
    }
}
