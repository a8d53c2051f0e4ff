//! Rules about the subject: `commonName`, `subject` and `literalSubject`.

use api::CertificateSpec;
use api::certificate::X509Subject;
use issuance::name::{LiteralFault, LiteralSubject, NameError};

use super::CERTIFICATE;
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

/// Longest common name in bytes, as the peer counts (RFC 5280 appendix A.1, ub-common-name).
const COMMON_NAME_BYTES_MAX: usize = 64;

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C05",
        CERTIFICATE,
        "spec.literalSubject",
        Class::Spec,
        "A literal subject needs the feature gate LiteralCertificateSubject",
        |case, findings| {
            let is_on = case.context.settings.literal_certificate_subject;
            if case.object.spec.literal_subject.is_some() && !is_on {
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
            if let (Some(_), Some(name)) = (&spec.literal_subject, &spec.common_name) {
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
            if spec.literal_subject.is_some() && has_attributes {
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
        |case, findings| literal_fault(case, LiteralFault::Syntax, findings),
    ),
    Check::new(
        "C09",
        CERTIFICATE,
        "spec.literalSubject",
        Class::Spec,
        "A common name in a literal subject is text",
        |case, findings| literal_fault(case, LiteralFault::CommonName, findings),
    ),
    Check::new(
        "C10",
        CERTIFICATE,
        "spec.literalSubject",
        Class::Spec,
        "Attributes of a literal subject are C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC, UID (in any case) or dotted \
         object identifiers; cert-manager takes upper case only",
        literal_types_are_known,
    ),
    Check::new("C11", CERTIFICATE, "spec", Class::Spec, "The certificate has a name", is_for_something),
    Check::new(
        "C12",
        CERTIFICATE,
        "spec.commonName",
        Class::Spec,
        "The common name has at most 64 bytes, in a literal subject too",
        common_name_fits,
    ),
    Check::new(
        "B08",
        CERTIFICATE,
        "spec.subject.countries",
        Class::Field,
        "Countries are codes of two letters (ISO 3166), in a literal subject too",
        countries_are_codes,
    ),
    Check::new(
        "B08-W",
        CERTIFICATE,
        "spec.subject",
        Class::Advice,
        "Attributes of the subject are within the bounds of RFC 5280, and there is one common name at most",
        |case, findings| {
            if let Some(subject) = &case.object.spec.subject {
                attributes_fit(subject, findings);
            }
            literal_attributes_fit(case, findings);
        },
    ),
];

/// The literal subject, where there is one that can be read.
fn literal(case: &Case<'_, CertificateSpec>) -> Option<LiteralSubject> {
    case.object.spec.literal_subject.as_ref()?.parse().ok()
}

/// C08, C09.
fn literal_fault(case: &Case<'_, CertificateSpec>, wanted: LiteralFault, findings: &mut Findings) {
    let Some(text) = case.object.spec.literal_subject.as_deref() else { return };
    // Only a hexadecimal value, which begins with this sign, is no text.
    if wanted == LiteralFault::CommonName && !text.contains('#') {
        return;
    }
    let Err(error) = text.parse::<LiteralSubject>() else { return };
    let (detail, fault) = match error {
        NameError::Literal { position, reason, fault, .. } => {
            (format!("at character {position}: {reason}"), fault)
        }
        other => (other.to_string(), LiteralFault::Syntax),
    };
    if fault == wanted {
        findings
            .here(Fault::Invalid)
            .value(text)
            .detail(detail)
            .advice("write attributes from the most specific one on, such as \"CN=web,OU=shop,O=Example\"");
    }
}

/// C10.
fn literal_types_are_known(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(text) = case.object.spec.literal_subject.as_deref() else { return };
    for unknown in LiteralSubject::unknown_types(text) {
        findings
            .here(Fault::Invalid)
            .value(text)
            .detail(format!("the attribute type {unknown:?} is not known"))
            .advice("write C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC, UID or a dotted object identifier");
    }
}

/// C11. A literal subject that cannot be read has been told of.
fn is_for_something(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let spec = &case.object.spec;
    let has_name = spec.common_name.is_some()
        || !spec.dns_names.is_empty()
        || !spec.uris.is_empty()
        || !spec.email_addresses.is_empty()
        || !spec.ip_addresses.is_empty()
        || !spec.other_names.is_empty();
    if has_name {
        return;
    }
    if let Some(text) = &spec.literal_subject {
        let Ok(literal) = text.parse::<LiteralSubject>() else { return };
        if common_names(&literal).last().is_some_and(|name| !name.is_empty()) {
            return;
        }
    }
    findings.here(Fault::Invalid).value("").detail("the certificate would be for nobody").advice(
        "set at least one of dnsNames, ipAddresses, uris, emailAddresses, otherNames, commonName or a literalSubject \
         with CN",
    );
}

/// C12. Of several common names in a literal subject the most specific one counts, as in the peer.
fn common_name_fits(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let spec = &case.object.spec;
    let in_literal = match &spec.literal_subject {
        Some(text) if text.len() > COMMON_NAME_BYTES_MAX => {
            literal(case).and_then(|literal| common_names(&literal).pop())
        }
        _ => None,
    };
    let Some(name) = in_literal.as_ref().or(spec.common_name.as_ref()) else { return };
    if name.len() > COMMON_NAME_BYTES_MAX {
        findings
            .here(Fault::TooLong)
            .detail(format!("the common name has {} bytes", name.len()))
            .advice("keep at most 64, and put long host names into spec.dnsNames alone");
    }
}

/// Common names, the most specific one last.
fn common_names(literal: &LiteralSubject) -> Vec<String> {
    let attributes = literal.attributes().into_iter();
    attributes.filter(|(kind, _)| kind == "CN").filter_map(|(_, value)| value).collect()
}

/// B08.
fn countries_are_codes(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let is_code = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let advice = "write the code of ISO 3166, such as \"DE\"";
    if let Some(subject) = &case.object.spec.subject {
        for (index, country) in subject.countries.iter().enumerate() {
            if !is_code(country) {
                findings
                    .at(format!("spec.subject.countries[{index}]"), Fault::Invalid)
                    .value(country.as_str())
                    .detail("not a code of two letters")
                    .advice(advice);
            }
        }
    }
    // Reading the text again would cost more than looking for the type first.
    let names_country =
        |text: &String| text.split('=').any(|before| before.trim_end().ends_with(['c', 'C', '6']));
    if case.object.spec.literal_subject.as_ref().is_some_and(names_country) {
        for (kind, value) in literal(case).map(|literal| literal.attributes()).unwrap_or_default() {
            let value = value.unwrap_or_default();
            if kind == "C" && !is_code(&value) {
                findings
                    .at("spec.literalSubject", Fault::Invalid)
                    .value(value)
                    .detail("the country is not a code of two letters")
                    .advice(advice);
            }
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

/// B08-W, attributes of the literal subject. A text within the smallest bound that has one `CN` breaks none.
fn literal_attributes_fit(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(text) = case.object.spec.literal_subject.as_deref() else { return };
    if text.len() <= NAME_CHARS_MAX && text.matches('=').count() < 2 {
        return;
    }
    let Some(literal) = literal(case) else { return };
    let path = "spec.literalSubject";
    if common_names(&literal).len() > 1 {
        findings
            .at(path, Fault::Invalid)
            .detail("more than one CN, of which clients look at one")
            .advice("keep one");
    }
    for (kind, value) in literal.attributes() {
        let chars_max = match kind.as_str() {
            "O" | "OU" | "SERIALNUMBER" => NAME_CHARS_MAX,
            "L" | "ST" | "STREET" => PLACE_CHARS_MAX,
            _ => continue,
        };
        if value.is_some_and(|value| is_longer(&value, chars_max)) {
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
