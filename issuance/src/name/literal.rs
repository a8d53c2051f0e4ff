//! Literal subjects: distinguished names as text (RFC 4514; `spec.literalSubject` of a Certificate).

use std::fmt;
use std::str::FromStr;

use der::asn1::{Any, ObjectIdentifier};
use der::{Decode as _, Encode as _};
use x509_cert::attr::AttributeTypeAndValue;

use super::subject::{directory_string, set_of};
use super::{COMMON_NAME, NameError, SHORT_NAMES, common_name};

/// The most bytes of a literal subject: far more than any directory holds, and well below what a request may have.
const BYTES_MAX: usize = 8_192;

/// A subject given as text, such as `CN=web,OU=shop,O=Example`: most specific attribute first, while DER has it last.
///
/// Attribute types are the short names C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC and UID in any case, or dotted
/// object identifiers. `+` joins attributes of one relative name. A backslash stands before a special character or
/// two hexadecimal digits of a byte; a value that begins with `#` is the hexadecimal DER of a value of any type.
/// Strings in quotes are of RFC 1779, which RFC 4514 does not know.
///
/// Where the peer is more lenient than RFC 4514 and there is one reading only, so are we: white space around types and
/// values means nothing, `;` is another `,`, and `<`, `>`, `"` need no backslash. String types are chosen as Go chooses
/// them, for DC too: PrintableString where the characters allow it, else UTF8String.
#[derive(Clone, PartialEq, Eq)]
pub struct LiteralSubject {
    text: String,
    name: Any,
}

/// What kind of fault a text has that is no literal subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralFault {
    /// It does not follow RFC 4514.
    Syntax,
    /// The type of an attribute is not known.
    Type,
    /// A common name is not text.
    CommonName,
}

impl LiteralSubject {
    /// The types of attributes in `text` that are not known, as they are written. Whether the text is a literal
    /// subject in all other ways is not looked at. None of a text that is too long to be read.
    pub fn unknown_types(text: &str) -> impl Iterator<Item = &str> {
        let mut rest = (text.len() <= BYTES_MAX).then_some(text);
        let attributes = std::iter::from_fn(move || {
            let text = rest?;
            let (attribute, after) = text.split_at_checked(separator(text)).unwrap_or((text, ""));
            // All separators are one byte long.
            rest = after.get(1..);
            Some(attribute)
        });
        let types = attributes.filter_map(|attribute| Some(attribute.split_once('=')?.0.trim()));
        types.filter(|name| attribute_type(name).is_none())
    }

    /// All attributes, the least specific one first: the short name of the type or its dotted numbers, and the value,
    /// or `None` where that is not text.
    pub fn attributes(&self) -> Vec<(String, Option<String>)> {
        // It was read once, so it can be read again.
        let attributes = super::attributes(&self.name).unwrap_or_default();
        attributes
            .iter()
            .map(|attribute| (super::short_name(attribute.oid), super::text(&attribute.value)))
            .collect()
    }

    /// The first common name in the order of DER, which is the last one in the text.
    pub fn common_name(&self) -> Option<String> {
        common_name(&self.name)
    }

    /// The DER of the Name (RFC 5280 §4.1.2.4).
    ///
    /// # Errors
    /// When it is too long for DER, which a text within bounds is not.
    pub fn to_der(&self) -> Result<Vec<u8>, NameError> {
        self.name.to_der().map_err(|_| NameError::Encoding)
    }

    pub(crate) fn name(&self) -> &Any {
        &self.name
    }
}

impl FromStr for LiteralSubject {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > BYTES_MAX {
            // Not the text: it would fill a log.
            let reason = "more than 8192 bytes";
            let (text, fault) = (String::new(), LiteralFault::Syntax);
            return Err(NameError::Literal { text, position: 1, reason, fault });
        }
        let refused = |Fault(offset, reason): Fault| NameError::Literal {
            text: text.to_owned(),
            position: text.get(..offset).map_or(0, |before| before.chars().count()) + 1,
            reason,
            fault: match reason {
                UNKNOWN_TYPE => LiteralFault::Type,
                COMMON_NAME_IS_TEXT => LiteralFault::CommonName,
                _ => LiteralFault::Syntax,
            },
        };
        let mut relative_names = relative_names(text).map_err(refused)?;
        relative_names.reverse();
        let name = Any::encode_from(&relative_names).map_err(|_| NameError::Encoding)?;
        Ok(Self { text: text.to_owned(), name })
    }
}

impl fmt::Display for LiteralSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for LiteralSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiteralSubject").field(&self.text).finish()
    }
}

const UNKNOWN_TYPE: &str =
    "the type is none of C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC, UID or a dotted object identifier";
const COMMON_NAME_IS_TEXT: &str = "a common name is text; the DER after the # is of another type";

/// What is wrong, and at which byte.
struct Fault(usize, &'static str);

/// Relative names in the order of the text.
fn relative_names(text: &str) -> Result<Vec<Any>, Fault> {
    let mut found = Vec::new();
    let mut joined = Vec::new();
    let mut start = 0;
    loop {
        let end = start + separator(text.get(start..).unwrap_or_default());
        joined.push(attribute(text.get(start..end).unwrap_or_default(), start)?);
        let separator = text.get(end..).and_then(|rest| rest.chars().next());
        if separator != Some('+') {
            let relative_name = set_of(&joined).map_err(|_| Fault(start, "it is too long"))?;
            found.push(relative_name);
            joined.clear();
        }
        if separator.is_none() {
            return Ok(found);
        }
        // All separators are one byte long.
        start = end + 1;
    }
}

/// The offset of the first separator that no backslash stands before, or of the end.
fn separator(text: &str) -> usize {
    let mut escaped = false;
    for (offset, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' | ';' | '+' => return offset,
            _ => {}
        }
    }
    text.len()
}

/// `type=value`, found `start` bytes into the text.
fn attribute(text: &str, start: usize) -> Result<AttributeTypeAndValue, Fault> {
    let Some((kind, value)) = text.split_once('=') else {
        return Err(Fault(start, "an attribute is a type, an equals sign and a value"));
    };
    let value_start = start + kind.len() + 1;
    let value_start = value_start + (value.len() - value.trim_start().len());
    let oid = attribute_type(kind.trim()).ok_or(Fault(start, UNKNOWN_TYPE))?;
    let value = trim_end(value.trim_start());
    let value = match value.strip_prefix('#') {
        Some(digits) => hexadecimal(digits)
            .and_then(|der| Any::from_der(&der).ok())
            .ok_or(Fault(value_start, "after a # stands the DER of one value in hexadecimal"))?,
        None => {
            let value = unescape(value, value_start)?;
            directory_string(&value).map_err(|_| Fault(value_start, "the value cannot be encoded"))?
        }
    };
    // Rules about common names would not see it, so no reader of requests takes it.
    if oid == COMMON_NAME && super::text(&value).is_none() {
        return Err(Fault(value_start, COMMON_NAME_IS_TEXT));
    }
    Ok(AttributeTypeAndValue { oid, value })
}

/// A short name in any case, or a dotted object identifier.
fn attribute_type(name: &str) -> Option<ObjectIdentifier> {
    let known = SHORT_NAMES
        .iter()
        .find(|(known, _)| *known != "postalCode" && known.eq_ignore_ascii_case(name))
        .map(|(_, oid)| *oid);
    known.or_else(|| ObjectIdentifier::new(name).ok())
}

/// Without the white space at the end, but for one that a backslash stands before.
fn trim_end(value: &str) -> &str {
    let trimmed = value.trim_end();
    let backslashes = trimmed.len() - trimmed.trim_end_matches('\\').len();
    let escaped = value.get(trimmed.len()..).and_then(|rest| rest.chars().next());
    match escaped {
        Some(space) if backslashes % 2 == 1 => {
            value.get(..trimmed.len() + space.len_utf8()).unwrap_or(trimmed)
        }
        _ => trimmed,
    }
}

/// Takes the backslashes out; what they stand for must be UTF-8 in the end.
fn unescape(value: &str, start: usize) -> Result<String, Fault> {
    let mut octets = Vec::with_capacity(value.len());
    let mut characters = value.char_indices();
    while let Some((offset, character)) = characters.next() {
        let at = start + offset;
        match character {
            '\\' => {
                let escape = "after a backslash stand a special character or two hexadecimal digits";
                let next = characters.next().map(|(_, next)| next).ok_or(Fault(at, escape))?;
                if matches!(next, ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\') {
                    octets.extend(next.to_string().bytes());
                } else {
                    let second = characters.next().and_then(|(_, second)| second.to_digit(16));
                    let byte = next.to_digit(16).zip(second).map(|(high, low)| high * 16 + low);
                    let byte = byte.and_then(|byte| u8::try_from(byte).ok());
                    octets.push(byte.ok_or(Fault(at, escape))?);
                }
            }
            '\0' => return Err(Fault(at, "a NUL character is written as \\00")),
            other => octets.extend(other.to_string().bytes()),
        }
    }
    String::from_utf8(octets).map_err(|_| Fault(start, "the bytes of the value are not UTF-8"))
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let octets = pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect::<Option<_>>()?;
    rest.is_empty().then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::display;

    #[test]
    fn text_that_is_no_distinguished_name_is_refused_where_it_goes_wrong() {
        let check = |text: &str, position: usize, reason: &str| {
            let message = text.parse::<LiteralSubject>().unwrap_err().to_string();
            let start = format!("literal subject {text:?} is wrong at character {position}: {reason}");
            assert!(message.starts_with(&start), "{message}\nis not\n{start}");
        };
        let form = "an attribute is a type, an equals sign and a value";
        check("", 1, form);
        check("web", 1, form);
        check("CN=web,", 8, form);
        check("CN=web;", 8, form);
        check("CN=web+", 8, form);
        check(",CN=web", 1, form);
        check("CN=bücher,O", 11, form);
        let kind = "the type is none of C, O, OU, CN";
        check("=web", 1, kind);
        check("CN=web,E=a@a.test", 8, kind);
        check("1=web", 1, kind);
        check("OID.2.5.4.3=web", 1, kind);
        check("2.5.4.=web", 1, kind);
        check("postalCode=1", 1, kind);
        let escape = "after a backslash stand a special character or two hexadecimal digits";
        check("CN=we\\b", 6, escape);
        check("CN=web\\", 7, escape);
        check("CN=\\0Test", 4, escape);
        check("CN=\\é1", 4, escape);
        check("CN=\\C4", 4, "the bytes of the value are not UTF-8");
        check("CN=\"web, Inc\"", 9, form);
        check("CN=a\0", 5, "a NUL character is written as \\00");
        let der = "after a # stands the DER of one value in hexadecimal";
        check("CN=#", 4, der);
        check("CN=#0402486", 4, der);
        check("CN=#040248", 4, der);
        check("CN=#0402486900", 4, der);
        check("CN=#04024x69", 4, der);
        check("CN= #zz", 5, der);
        check("O=a,CN=#0A0178", 8, "a common name is text");
        let long = format!("CN={}", "a".repeat(BYTES_MAX));
        assert!(long.parse::<LiteralSubject>().unwrap_err().to_string().contains("more than 8192 bytes"));
    }

    #[test]
    fn a_fault_has_its_kind() {
        let check = |text: &str, wanted: LiteralFault, unknown: &[&str]| {
            let Err(NameError::Literal { fault, .. }) = text.parse::<LiteralSubject>() else {
                panic!("{text}")
            };
            assert_eq!(fault, wanted, "{text}");
            assert_eq!(LiteralSubject::unknown_types(text).collect::<Vec<_>>(), unknown, "{text}");
        };
        check("CN=web,O", LiteralFault::Syntax, &[]);
        check("", LiteralFault::Syntax, &[]);
        check("CN=#0A0178", LiteralFault::CommonName, &[]);
        check("E=a\\,b=c,CN=web+ T =x;=y", LiteralFault::Type, &["E", "T", ""]);
        assert_eq!(LiteralSubject::unknown_types("cn=web,O=a\\,X=b,1.2.3=x").next(), None);
        assert_eq!(LiteralSubject::unknown_types(&"a=,".repeat(BYTES_MAX / 2)).next(), None);
    }

    #[test]
    fn attributes_can_be_listed() {
        let literal: LiteralSubject = "cn=web,1.2.3=#0402CaFe,O=Example".parse().unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            literal.attributes(),
            [("O".to_owned(), text("Example")), ("1.2.3".to_owned(), None), ("CN".to_owned(), text("web"))]
        );
    }

    #[test]
    fn text_is_read_as_rfc_4514_and_the_peer_read_it() {
        let check = |text: &str, shown: &str| {
            let literal: LiteralSubject = text.parse().unwrap();
            assert_eq!(display(literal.name()), shown, "{text}");
            assert_eq!(literal.to_string(), text);
        };
        check("CN=web,OU=shop,O=Example", "O=Example, OU=shop, CN=web");
        check("UID=jsmith,DC=example,DC=net", "DC=net, DC=example, UID=jsmith");
        check("cn=web;o=Example", "O=Example, CN=web");
        check("OU=Sales+CN=J. Smith,DC=net", "DC=net, OU=Sales, CN=J. Smith");
        check("CN=Lu\\C4\\8Di\\C4\\87", "CN=Lučić");
        check("  CN  =  web  ,  O = Example \n", "O=Example, CN=web");
        check("CN=\\ \\ web\\ \\  ", "CN=  web  ");
        check("CN=web\\\\ ", "CN=web\\");
        check("CN=a\\,b\\+c\\;d\\\"e\\#f\\=g\\<h\\>", "CN=a,b+c;d\"e#f=g<h>");
        check("CN=a=b<c>", "CN=a=b<c>");
        check("CN=the \"web\",O=\"a\"", "O=\"a\", CN=the \"web\"");
        check("CN=\\#a", "CN=#a");
        check("CN=\\23a", "CN=#a");
        check("CN=", "CN=");
        check("2.5.4.42=Ada,1.3.6.1.4.1.1466.0=x", "1.3.6.1.4.1.1466.0=x, 2.5.4.42=Ada");
        check("SERIALNUMBER=1,L=l,ST=s,STREET=t,C=DE", "C=DE, STREET=t, ST=s, L=l, SERIALNUMBER=1");
        check("CN=#160161", "CN=a");
        check("1.2.3=#0402CaFe", "1.2.3=(not text)");
        check("CN=b,CN=a", "CN=a, CN=b");
    }

    #[test]
    fn the_bytes_are_those_that_go_makes() {
        let check = |text: &str, der: &str| {
            let literal: LiteralSubject = text.parse().unwrap();
            assert_eq!(crate::name::hex(&literal.to_der().unwrap()), der, "{text}");
        };
        // Made by encoding/asn1 from a pkix.RDNSequence.
        check("CN=web,O=A*", "301b310b3009060355040a0c02412a310c300a06035504031303776562");
        check(
            "UID=j@x,DC=b&,DC=net",
            "303e31133011060a0992268993f22c64011913036e657431123010060a0992268993f22c6401190c02622631133011060a09\
             92268993f22c6401010c036a4078",
        );
        check(
            "OU=Sales+CN=J. Smith",
            "3021311f300c060355040b130553616c6573300f060355040313084a2e20536d697468",
        );
        check(
            "OU=longer+OU=b+OU=a",
            "302531233008060355040b1301613008060355040b130162300d060355040b13066c6f6e676572",
        );
        check(
            "CN=Lu\\C4\\8Di\\C4\\87,1.2.3=#04024869",
            "301e310a300806022a03040248693110300e06035504030c074c75c48d69c487",
        );
        check("CN=", "300b3109300706035504031300");
    }

    #[test]
    fn the_common_name_is_the_least_specific_one() {
        let literal: LiteralSubject = "CN=b,CN=a".parse().unwrap();
        assert_eq!(literal.common_name().as_deref(), Some("a"));
        assert_eq!("O=a".parse::<LiteralSubject>().unwrap().common_name(), None);
    }
}
