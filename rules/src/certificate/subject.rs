//! Rules about the subject: `commonName`, `subject` and `literalSubject`.

use std::collections::BTreeSet;

use api::CertificateSpec;
use api::certificate::X509Subject;
use issuance::name::{LiteralFault, LiteralSubject, NameError};

use super::CERTIFICATE;
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Rule};

/// Longest common name in bytes, as the peer counts (RFC 5280 appendix A.1, ub-common-name).
const COMMON_NAME_BYTES_MAX: usize = 64;

/// Most unknown types of attributes that are told of. Who has more of them means something else.
const UNKNOWN_TYPES_MAX: usize = 10;

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C05",
        CERTIFICATE,
        "spec.literalSubject",
        Class::Spec,
        "A literal subject needs the feature gate LiteralCertificateSubject",
        |case, findings| {
            let is_on = case.context.settings.literal_certificate_subject;
            if case.object.spec.literal_subject_if_any().is_some() && !is_on {
                findings.here(Fault::Forbidden).detail("literal subjects are switched off").advice(
                    "use spec.commonName and spec.subject, or ask for the gate LiteralCertificateSubject",
                );
            }
        },
    ),
    Check::new(
        "C06",
        CERTIFICATE,
        "spec.commonName",
        Class::Spec,
        "Beside a literal subject there is no common name",
        |case, findings| {
            let spec = &case.object.spec;
            if let (Some(_), Some(name)) = (spec.literal_subject_if_any(), &spec.common_name) {
                findings
                    .here(Fault::Invalid)
                    .value(name.as_str())
                    .detail("spec.literalSubject is the whole subject")
                    .advice("write the common name there as CN=..., and leave this out");
            }
        },
    ),
    Check::new(
        "C07",
        CERTIFICATE,
        "spec.subject",
        Class::Spec,
        "Beside a literal subject there are no other attributes of the subject",
        |case, findings| {
            let spec = &case.object.spec;
            let has_attributes = spec.subject.as_ref().is_some_and(|subject| !subject.is_empty());
            if spec.literal_subject_if_any().is_some() && has_attributes {
                findings
                    .here(Fault::Invalid)
                    .detail("spec.literalSubject is the whole subject")
                    .advice("write these attributes there, and leave them out here");
            }
        },
    ),
    Check::new(
        "C08",
        CERTIFICATE,
        "spec.literalSubject",
        Class::Spec,
        "A literal subject follows RFC 4514",
        attributes_are_sound,
    )
    .with(&[&C09, &C10, &C11, &C12, &B08, &B08_W]),
];

static C09: Rule = Rule {
    id: "C09",
    kinds: CERTIFICATE,
    path: "spec.literalSubject",
    class: Class::Spec,
    summary: "A common name in a literal subject is text",
};

static C10: Rule = Rule {
    id: "C10",
    kinds: CERTIFICATE,
    path: "spec.literalSubject",
    class: Class::Spec,
    summary: "Attributes of a literal subject are C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC, UID (in any case; \
              cert-manager takes upper case only) or dotted object identifiers",
};

static C11: Rule = Rule {
    id: "C11",
    kinds: CERTIFICATE,
    path: "spec",
    class: Class::Spec,
    summary: "The certificate has a name",
};

static C12: Rule = Rule {
    id: "C12",
    kinds: CERTIFICATE,
    path: "spec.commonName",
    class: Class::Spec,
    summary: "The common name has at most 64 bytes, in a literal subject too",
};

static B08: Rule = Rule {
    id: "B08",
    kinds: CERTIFICATE,
    path: "spec.subject.countries",
    class: Class::Spec,
    summary: "Countries are codes of two letters (ISO 3166), in a literal subject too",
};

static B08_W: Rule = Rule {
    id: "B08-W",
    kinds: CERTIFICATE,
    path: "spec.subject",
    class: Class::Advice,
    summary: "Attributes of the subject are within the bounds of RFC 5280, and there is one common name at most",
};

/// An attribute of a literal subject: its type, and its value where that is text.
type Attribute = (String, Option<String>);

/// C08 to C12, B08, B08-W, so that a literal subject is read once.
fn attributes_are_sound(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let spec = &case.object.spec;
    let literal = spec.literal_subject_if_any().map(|text| (text, text.parse::<LiteralSubject>()));
    let attributes = match &literal {
        Some((_, Ok(literal))) => literal.attributes(),
        Some((text, Err(error))) => {
            literal_fault(text, error, findings);
            Vec::new()
        }
        None => Vec::new(),
    };
    // A literal subject that cannot be read has been told of.
    if !matches!(literal, Some((_, Err(_)))) {
        is_for_something(spec, &attributes, findings.of(&C11));
    }
    common_name_fits(spec, &attributes, findings.of(&C12));
    countries_are_codes(spec, &attributes, findings.of(&B08));
    if let Some(subject) = &spec.subject {
        attributes_fit(subject, findings.of(&B08_W));
    }
    literal_attributes_fit(&attributes, findings.of(&B08_W));
}

/// C08 (the rule at hand), C09, C10.
fn literal_fault(text: &str, error: &NameError, findings: &mut Findings) {
    let (detail, fault) = match error {
        NameError::Literal { position, reason, fault, .. } => {
            (format!("at character {position}: {reason}"), *fault)
        }
        other => (other.to_string(), LiteralFault::Syntax),
    };
    if fault != LiteralFault::Type {
        let findings = if fault == LiteralFault::CommonName { findings.of(&C09) } else { &mut *findings };
        findings
            .here(Fault::Invalid)
            .value(text)
            .detail(detail)
            .advice("write attributes from the most specific one on, such as \"CN=web,OU=shop,O=Example\"");
    }
    let mut told = BTreeSet::new();
    let unknown = LiteralSubject::unknown_types(text).filter(|unknown| told.insert(*unknown));
    for unknown in unknown.take(UNKNOWN_TYPES_MAX) {
        findings
            .of(&C10)
            .here(Fault::Invalid)
            .value(unknown)
            .detail("an attribute of this type is not known")
            .advice("write C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC, UID or a dotted object identifier");
    }
}

/// C11.
fn is_for_something(spec: &CertificateSpec, attributes: &[Attribute], findings: &mut Findings) {
    let has_name = spec.common_name.is_some()
        || !spec.dns_names.is_empty()
        || !spec.uris.is_empty()
        || !spec.email_addresses.is_empty()
        || !spec.ip_addresses.is_empty()
        || !spec.other_names.is_empty()
        || common_names(attributes).last().is_some_and(|name| !name.is_empty());
    if !has_name {
        findings.here(Fault::Invalid).value("").detail("the certificate would be for nobody").advice(
            "set at least one of dnsNames, ipAddresses, uris, emailAddresses, otherNames, commonName or a \
             literalSubject with CN",
        );
    }
}

/// C12. Of several common names in a literal subject the most specific one counts, as in the peer.
fn common_name_fits(spec: &CertificateSpec, attributes: &[Attribute], findings: &mut Findings) {
    let name = common_names(attributes).last().or(spec.common_name.as_deref());
    if let Some(name) = name.filter(|name| name.len() > COMMON_NAME_BYTES_MAX) {
        findings
            .here(Fault::TooLong)
            .detail(format!("the common name has {} bytes", name.len()))
            .advice("keep at most 64, and put long host names into spec.dnsNames alone");
    }
}

/// Common names, the most specific one last.
fn common_names(attributes: &[Attribute]) -> impl Iterator<Item = &str> {
    attributes.iter().filter(|(kind, _)| kind == "CN").filter_map(|(_, value)| value.as_deref())
}

/// B08.
fn countries_are_codes(spec: &CertificateSpec, attributes: &[Attribute], findings: &mut Findings) {
    let is_code = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let advice = "write the code of ISO 3166, such as \"DE\"";
    let countries = spec.subject.as_ref().map_or(&[][..], |subject| subject.countries.as_slice());
    for (index, country) in countries.iter().enumerate().filter(|(_, country)| !is_code(country)) {
        findings
            .at(format!("spec.subject.countries[{index}]"), Fault::Invalid)
            .value(country.as_str())
            .detail("not a code of two letters")
            .advice(advice);
    }
    for (_, value) in attributes.iter().filter(|(kind, _)| kind == "C") {
        let value = value.as_deref().unwrap_or_default();
        if !is_code(value) {
            findings
                .at("spec.literalSubject", Fault::Invalid)
                .value(value)
                .detail("the country is not a code of two letters")
                .advice(advice);
        }
    }
}

/// Upper bounds in characters (RFC 5280 appendix A.1; the last one from X.520, which it does not repeat).
const NAME_CHARS_MAX: usize = 64;
const PLACE_CHARS_MAX: usize = 128;
const POSTAL_CODE_CHARS_MAX: usize = 40;

/// B08-W, members of the subject.
fn attributes_fit(subject: &X509Subject, findings: &mut Findings) {
    for (field, values, chars_max) in [
        ("organizations", &subject.organizations, NAME_CHARS_MAX),
        ("organizationalUnits", &subject.organizational_units, NAME_CHARS_MAX),
        ("localities", &subject.localities, PLACE_CHARS_MAX),
        ("provinces", &subject.provinces, PLACE_CHARS_MAX),
        ("streetAddresses", &subject.street_addresses, PLACE_CHARS_MAX),
        ("postalCodes", &subject.postal_codes, POSTAL_CODE_CHARS_MAX),
    ] {
        for (index, value) in values.iter().enumerate() {
            if value.is_empty() {
                findings
                    .at(format!("spec.subject.{field}[{index}]"), Fault::Invalid)
                    .value("")
                    .detail("an empty attribute is not valid in X.520")
                    .advice("leave it out");
            } else if is_longer(value, chars_max) {
                findings
                    .at(format!("spec.subject.{field}[{index}]"), Fault::TooLong)
                    .detail("clients may refuse it")
                    .advice(format!("keep at most {chars_max} characters"));
            }
        }
    }
    if subject.serial_number.as_deref().is_some_and(|number| is_longer(number, NAME_CHARS_MAX)) {
        findings
            .at("spec.subject.serialNumber", Fault::TooLong)
            .detail("clients may refuse it")
            .advice(format!("keep at most {NAME_CHARS_MAX} characters"));
    }
}

/// B08-W, attributes of the literal subject.
fn literal_attributes_fit(attributes: &[Attribute], findings: &mut Findings) {
    let path = "spec.literalSubject";
    if common_names(attributes).count() > 1 {
        findings
            .at(path, Fault::Invalid)
            .detail("more than one CN, of which clients look at one")
            .advice("keep one");
    }
    let is_quoted = |value: &str| value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    if attributes.iter().any(|(_, value)| value.as_deref().is_some_and(is_quoted)) {
        findings
            .at(path, Fault::Invalid)
            .detail("the quotes become a part of the value")
            .advice("leave them out");
    }
    for (kind, value) in attributes {
        let chars_max = match kind.as_str() {
            "O" | "OU" | "SERIALNUMBER" => NAME_CHARS_MAX,
            "L" | "ST" | "STREET" => PLACE_CHARS_MAX,
            _ => continue,
        };
        if value.as_deref().is_some_and(|value| is_longer(value, chars_max)) {
            findings
                .at(path, Fault::TooLong)
                .detail(format!("clients may refuse such a long {kind}"))
                .advice(format!("keep at most {chars_max} characters"));
        }
    }
}

/// Whether `text` has more characters than that. Bytes decide where they can.
fn is_longer(text: &str, chars_max: usize) -> bool {
    text.len() > chars_max && text.chars().nth(chars_max).is_some()
}

#[cfg(test)]
mod tests;
