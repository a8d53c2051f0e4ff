//! The subject that is asked for, attribute by attribute or as a text.

use der::asn1::{Any, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use der::{Encode as _, Tag};
use x509_cert::attr::AttributeTypeAndValue;

use super::{LiteralSubject, NameError};

/// The subject of a request, attribute by attribute (`spec.commonName` and `spec.subject` of a Certificate).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// CN; an empty text counts as none.
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
    /// serialNumber: an attribute of the subject, not the number of the certificate. An empty text counts as none.
    pub serial_number: Option<String>,
}

/// One attribute of a [`Subject`]: its type, its field in a Certificate, its values.
pub(crate) struct Field<'a> {
    pub oid: ObjectIdentifier,
    pub path: &'static str,
    pub values: Vec<&'a str>,
}

impl Subject {
    /// A subject that has a common name alone.
    pub fn common_name(name: impl Into<String>) -> Self {
        Self { common_name: Some(name.into()), ..Self::default() }
    }

    /// All attributes in the order in which they are written, those without a value too.
    pub(crate) fn fields(&self) -> [Field<'_>; 9] {
        let field = |oid, path, values| Field { oid: ObjectIdentifier::new_unwrap(oid), path, values };
        [
            field("2.5.4.6", "spec.subject.countries", many(&self.countries)),
            field("2.5.4.10", "spec.subject.organizations", many(&self.organizations)),
            field("2.5.4.11", "spec.subject.organizationalUnits", many(&self.organizational_units)),
            field("2.5.4.7", "spec.subject.localities", many(&self.localities)),
            field("2.5.4.8", "spec.subject.provinces", many(&self.provinces)),
            field("2.5.4.9", "spec.subject.streetAddresses", many(&self.street_addresses)),
            field("2.5.4.17", "spec.subject.postalCodes", many(&self.postal_codes)),
            field("2.5.4.3", "spec.commonName", one(&self.common_name)),
            field("2.5.4.5", "spec.subject.serialNumber", one(&self.serial_number)),
        ]
    }

    /// The Name, in the peer's order of attributes; several values of one attribute share one relative name.
    pub(crate) fn to_name(&self) -> Result<Any, NameError> {
        let mut relative_names = Vec::new();
        for field in self.fields() {
            if !field.values.is_empty() {
                relative_names.push(relative_name(field.oid, &field.values)?);
            }
        }
        Any::encode_from(&relative_names).map_err(|_| NameError::Encoding)
    }
}

fn many(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

fn one(value: &Option<String>) -> Vec<&str> {
    value.iter().map(String::as_str).filter(|value| !value.is_empty()).collect()
}

/// The two forms of a subject, of which a Certificate has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedSubject {
    /// `spec.commonName` and `spec.subject`.
    Attributes(Subject),
    /// `spec.literalSubject`.
    Literal(LiteralSubject),
}

impl RequestedSubject {
    pub(crate) fn to_name(&self) -> Result<Any, NameError> {
        match self {
            Self::Attributes(subject) => subject.to_name(),
            Self::Literal(literal) => Ok(literal.name().clone()),
        }
    }
}

impl Default for RequestedSubject {
    fn default() -> Self {
        Self::Attributes(Subject::default())
    }
}

impl From<Subject> for RequestedSubject {
    fn from(subject: Subject) -> Self {
        Self::Attributes(subject)
    }
}

impl From<LiteralSubject> for RequestedSubject {
    fn from(literal: LiteralSubject) -> Self {
        Self::Literal(literal)
    }
}

fn relative_name(oid: ObjectIdentifier, values: &[&str]) -> Result<Any, NameError> {
    let attributes: Vec<_> = values
        .iter()
        .map(|value| Ok(AttributeTypeAndValue { oid, value: directory_string(value)? }))
        .collect::<Result<_, NameError>>()?;
    set_of(&attributes).map_err(|_| NameError::Encoding)
}

/// `SET OF` in the order of DER (X.690 §11.6). Duplicates stay, as in Go.
pub(crate) fn set_of(attributes: &[AttributeTypeAndValue]) -> der::Result<Any> {
    let mut encoded =
        attributes.iter().map(AttributeTypeAndValue::to_der).collect::<der::Result<Vec<_>>>()?;
    encoded.sort();
    Any::new(Tag::Set, encoded.concat())
}

/// PrintableString where the characters allow it, else UTF8String, as Go's encoder chooses for every attribute type.
pub(crate) fn directory_string(value: &str) -> Result<Any, NameError> {
    let printable = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let encoded = if printable {
        PrintableStringRef::new(value).and_then(|text| Any::encode_from(&text))
    } else {
        Utf8StringRef::new(value).and_then(|text| Any::encode_from(&text))
    };
    encoded.map_err(|_| NameError::Encoding)
}

#[cfg(test)]
mod tests {
    use der::Tagged as _;

    use super::*;
    use crate::name::{common_name, display, is_empty};

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
        assert_eq!(crate::asn1::elements(name.value()).unwrap().len(), 4);
        assert_eq!(common_name(&name).as_deref(), Some("leaf"));
    }

    #[test]
    fn empty_texts_make_no_attributes() {
        let empty = Subject {
            common_name: Some(String::new()),
            serial_number: Some(String::new()),
            ..Subject::default()
        };
        assert!(is_empty(&empty.to_name().unwrap()));
        assert!(is_empty(&RequestedSubject::default().to_name().unwrap()));
    }

    #[test]
    fn text_is_printable_where_it_can_be() {
        assert_eq!(directory_string("Example Ltd.").unwrap().tag(), Tag::PrintableString);
        assert_eq!(directory_string("*.example").unwrap().tag(), Tag::Utf8String);
        assert_eq!(directory_string("A&B").unwrap().tag(), Tag::Utf8String);
        assert_eq!(directory_string("Bücher").unwrap().tag(), Tag::Utf8String);
    }
}
