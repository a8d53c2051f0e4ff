//! The bytes of a request as a text that people can check: one line for each element of DER, as deep as it is nested.

use der::asn1::{Any, ObjectIdentifier};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};

/// What is signed in a request, without the key, which differs each time.
pub(crate) fn dump_request(der: &[u8]) -> String {
    let signed = Any::from_der(der).unwrap();
    let [info, algorithm, _] = elements(signed.value()).unwrap().try_into().unwrap();
    let mut parts = elements(info.value()).unwrap();
    assert_eq!(parts.len(), 4, "version, subject, key, attributes");
    parts.remove(2);
    let mut text = String::new();
    for part in parts.iter().chain([&algorithm]) {
        dump(part, 0, &mut text);
    }
    text
}

fn elements(content: &[u8]) -> der::Result<Vec<Any>> {
    let mut reader = SliceReader::new(content)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(Any::decode(&mut reader)?);
    }
    Ok(found)
}

fn dump(element: &Any, depth: usize, text: &mut String) {
    let content = element.value();
    let indent = "  ".repeat(depth);
    let nested = match element.tag() {
        Tag::Sequence | Tag::Set | Tag::ContextSpecific { constructed: true, .. } => elements(content).ok(),
        // Extensions are DER inside octet strings.
        Tag::OctetString => elements(content).ok().filter(|inner| inner.len() == 1),
        _ => None,
    };
    let shown = match (&nested, element.tag()) {
        (Some(_), _) => String::new(),
        (None, Tag::ObjectIdentifier) => {
            let oid: ObjectIdentifier = element.decode_as().unwrap();
            let name = const_oid::db::DB.by_oid(&oid);
            format!(" {}", name.map_or_else(|| oid.to_string(), str::to_owned))
        }
        (None, _) if content.iter().all(|octet| (0x20..0x7f).contains(octet)) && !content.is_empty() => {
            format!(" {:?}", String::from_utf8_lossy(content))
        }
        (None, _) => content.iter().map(|octet| format!(" {octet:02x}")).collect(),
    };
    text.push_str(&format!("{indent}{}{shown}\n", element.tag()));
    for inner in nested.unwrap_or_default() {
        dump(&inner, depth + 1, text);
    }
}
