//! What a Certificate asks for, in the terms of the issuance core.
//!
//! A Certificate may never have been validated, so every text is read here with an error that names its field.

use std::net::IpAddr;
use std::str::FromStr as _;

use api::certificate::{NameConstraintItem, NameConstraints, OtherName, RenewalPolicy};
use api::{CertificateSpec, GoDuration, KeyUsage};
use issuance::authority::{DEFAULT_DURATION, Terms};
use issuance::comparison::{IssuerRef, Wanted};
use issuance::constraint::{self, IpRange};
use issuance::key::{KeyEncoding, KeySpec};
use issuance::name::{LiteralSubject, RequestedSubject, Subject, SubjectAltName};
use issuance::outcome::causes;
use issuance::renewal::{self, Window};
use issuance::request::RequestSpec;
use issuance::secret_data::OutputFormat;
use issuance::signature::SignatureAlgorithm;
use issuance::usage::{UsageError, Usages};

/// The feature gates that decide which fields of a Certificate count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecGates {
    /// `LiteralCertificateSubject`: off, `spec.literalSubject` is passed over.
    pub literal_subject: bool,
    /// `OtherNames`: off, `spec.otherNames` are passed over.
    pub other_names: bool,
    /// `NameConstraints`: off, `spec.nameConstraints` are passed over.
    pub name_constraints: bool,
    /// `UseCertificateRequestBasicConstraints`: on, requests carry basic constraints.
    pub basic_constraints: bool,
}

impl Default for SpecGates {
    /// As the peer has them.
    fn default() -> Self {
        Self { literal_subject: true, other_names: true, name_constraints: true, basic_constraints: false }
    }
}

/// A field of a Certificate that no request can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct SpecError {
    /// The field, such as `spec.ipAddresses[1]`.
    pub path: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

/// What a Certificate wants: the request, the key, the issuer.
///
/// # Errors
/// The first field that cannot be read.
pub fn wanted(spec: &CertificateSpec, gates: SpecGates) -> Result<Wanted, SpecError> {
    let signature_algorithm = spec.signature_algorithm.as_ref();
    let signature_algorithm = signature_algorithm.map(|name| SignatureAlgorithm::from_str(name.as_str()));
    let constraints = spec.name_constraints.as_ref().filter(|_| gates.name_constraints);
    let request = RequestSpec {
        subject: subject(spec, gates)?,
        names: names(spec, gates)?,
        usages: usages(spec).map_err(|error| refused("spec.usages", &error))?,
        is_ca: spec.is_ca,
        encode_usages: spec.encode_usages_or_default(),
        encode_basic_constraints: gates.basic_constraints,
        name_constraints: constraints.map(name_constraints).transpose()?,
        signature_algorithm: signature_algorithm
            .transpose()
            .map_err(|error| refused("spec.signatureAlgorithm", &error))?,
    };
    let duration = spec.duration.as_ref().map(GoDuration::parse).transpose();
    Ok(Wanted {
        request,
        private_key: key(spec),
        duration: duration.map_err(|error| refused("spec.duration", &error))?,
        issuer: IssuerRef {
            name: spec.issuer_ref.name.clone(),
            kind: spec.issuer_ref.kind.clone().unwrap_or_default(),
            group: spec.issuer_ref.group.clone().unwrap_or_default(),
        },
    })
}

/// What the private key is to be; nothing about it is read yet.
pub fn key(spec: &CertificateSpec) -> KeySpec {
    let private_key = spec.private_key.clone().unwrap_or_default();
    let algorithm = private_key.algorithm.map(|algorithm| algorithm.as_str().to_owned());
    KeySpec { algorithm, size: private_key.size }
}

/// The terms on which an issuer of ours signs what is wanted.
pub fn terms(wanted: &Wanted) -> Terms {
    Terms {
        duration: wanted.duration.unwrap_or(DEFAULT_DURATION),
        usages: wanted.request.usages.clone(),
        is_ca: wanted.request.is_ca,
        ..Terms::default()
    }
}

/// When it is to be renewed. What cannot be read is passed over, as in the peer: a certificate is renewed all the same.
pub fn renewal(spec: &CertificateSpec) -> renewal::Settings {
    let renewal = spec.renewal.clone().unwrap_or_default();
    let window = |window: &api::certificate::RenewalWindow| {
        let duration = window.window_duration.parse().ok()?;
        Window::parse(&window.cron, duration, window.timezone.as_deref()).ok()
    };
    renewal::Settings {
        renew_before: spec.renew_before.as_ref().and_then(|duration| duration.parse().ok()),
        renew_before_percentage: spec.renew_before_percentage,
        policy: match renewal.policy {
            Some(RenewalPolicy::Disabled) => renewal::Policy::Disabled,
            _ => renewal::Policy::RenewBefore,
        },
        windows: renewal.windows.iter().filter_map(window).collect(),
    }
}

/// How the private key is written into the Secret.
pub fn encoding(spec: &CertificateSpec) -> KeyEncoding {
    match spec.encoding_or_default() {
        api::certificate::KeyEncoding::Pkcs8 => KeyEncoding::Pkcs8,
        _ => KeyEncoding::Pkcs1,
    }
}

/// The further forms that the Secret is to have; unknown ones are passed over, and each counts once.
pub fn formats(spec: &CertificateSpec) -> Vec<OutputFormat> {
    let mut formats = Vec::new();
    for format in &spec.additional_output_formats {
        if let Ok(format) = OutputFormat::from_str(format.type_.as_str())
            && !formats.contains(&format)
        {
            formats.push(format);
        }
    }
    formats
}

fn refused(path: impl Into<String>, error: &dyn std::error::Error) -> SpecError {
    SpecError { path: path.into(), reason: causes(error) }
}

fn usages(spec: &CertificateSpec) -> Result<Usages, UsageError> {
    Usages::parse(spec.usages.iter().map(KeyUsage::as_str))
}

fn subject(spec: &CertificateSpec, gates: SpecGates) -> Result<RequestedSubject, SpecError> {
    if let Some(text) = spec.literal_subject_if_any().filter(|_| gates.literal_subject) {
        let literal =
            LiteralSubject::from_str(text).map_err(|error| refused("spec.literalSubject", &error))?;
        return Ok(literal.into());
    }
    let subject = spec.subject.clone().unwrap_or_default();
    let subject = Subject {
        common_name: spec.common_name.clone(),
        countries: subject.countries,
        organizations: subject.organizations,
        organizational_units: subject.organizational_units,
        localities: subject.localities,
        provinces: subject.provinces,
        street_addresses: subject.street_addresses,
        postal_codes: subject.postal_codes,
        serial_number: subject.serial_number,
    };
    Ok(subject.into())
}

fn names(spec: &CertificateSpec, gates: SpecGates) -> Result<Vec<SubjectAltName>, SpecError> {
    let mut names: Vec<_> = spec.dns_names.iter().cloned().map(SubjectAltName::Dns).collect();
    names.extend(spec.email_addresses.iter().cloned().map(SubjectAltName::Email));
    for (index, text) in spec.ip_addresses.iter().enumerate() {
        let address = text.parse::<IpAddr>().map_err(|_| SpecError {
            path: format!("spec.ipAddresses[{index}]"),
            reason: format!(
                "{text:?} is not an IP address; write one such as \"192.0.2.1\" or \"2001:db8::1\""
            ),
        })?;
        names.push(SubjectAltName::Ip(address.to_canonical()));
    }
    names.extend(spec.uris.iter().cloned().map(SubjectAltName::Uri));
    if gates.other_names {
        let other = |name: &OtherName| SubjectAltName::OtherName {
            type_id: name.oid.clone().unwrap_or_default(),
            value: name.utf8_value.clone().unwrap_or_default(),
        };
        names.extend(spec.other_names.iter().map(other));
    }
    Ok(names)
}

fn name_constraints(given: &NameConstraints) -> Result<constraint::NameConstraints, SpecError> {
    Ok(constraint::NameConstraints {
        critical: given.critical,
        permitted: subtrees("permitted", given.permitted.as_ref())?,
        excluded: subtrees("excluded", given.excluded.as_ref())?,
    })
}

fn subtrees(member: &str, given: Option<&NameConstraintItem>) -> Result<constraint::Subtrees, SpecError> {
    let given = given.cloned().unwrap_or_default();
    let range = |(index, text): (usize, &String)| {
        let path = || format!("spec.nameConstraints.{member}.ipRanges[{index}]");
        IpRange::from_str(text).map_err(|error| refused(path(), &error))
    };
    Ok(constraint::Subtrees {
        ip_ranges: given.ip_ranges.iter().enumerate().map(range).collect::<Result<_, _>>()?,
        dns_domains: given.dns_domains,
        email_addresses: given.email_addresses,
        uri_domains: given.uri_domains,
        others: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use issuance::comparison::{self, Asked};
    use issuance::request::Request;
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::key;

    fn spec(fields: Value) -> CertificateSpec {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_field() {
        let check = |fields: Value, path: &str| {
            let refused = wanted(&spec(fields), SpecGates::default()).unwrap_err();
            assert_eq!(refused.path, path, "{refused}");
            assert!(!refused.reason.is_empty());
        };
        check(json!({"literalSubject": "CN"}), "spec.literalSubject");
        check(json!({"ipAddresses": ["192.0.2.1", "192.0.2.300"]}), "spec.ipAddresses[1]");
        check(json!({"usages": ["server auth", "magic"]}), "spec.usages");
        check(json!({"duration": "90d"}), "spec.duration");
        check(json!({"signatureAlgorithm": "SHA1WithRSA"}), "spec.signatureAlgorithm");
        let constraints = json!({"nameConstraints": {"excluded": {"ipRanges": ["10.0.0.0"]}}});
        check(constraints, "spec.nameConstraints.excluded.ipRanges[0]");
    }

    #[test]
    fn fields_behind_a_gate_that_is_off_are_passed_over() {
        let gates = SpecGates {
            literal_subject: false,
            other_names: false,
            name_constraints: false,
            basic_constraints: true,
        };
        let spec = spec(json!({
            "commonName": "web", "literalSubject": "not even one", "otherNames": [{"oid": "x"}],
            "nameConstraints": {"permitted": {"ipRanges": ["x"]}}
        }));
        let wanted = wanted(&spec, gates).unwrap();
        assert_eq!(wanted.request.subject, Subject::common_name("web").into());
        assert!(wanted.request.names.is_empty() && wanted.request.name_constraints.is_none());
        assert!(wanted.request.encode_basic_constraints);
    }

    #[test]
    fn renewal_settings_that_cannot_be_read_are_passed_over() {
        let settings = renewal(&spec(json!({
            "renewBefore": "soon", "renewBeforePercentage": 25,
            "renewal": {"policy": "Sometimes", "windows": [
                {"cron": "never", "windowDuration": "1h"}, {"cron": "@daily", "windowDuration": "1h"},
                {"cron": "@daily", "windowDuration": "x"}
            ]}
        })));
        assert_eq!((settings.renew_before, settings.renew_before_percentage), (None, Some(25)));
        assert_eq!((settings.policy, settings.windows.len()), (renewal::Policy::RenewBefore, 1));
        let disabled = renewal(&spec(json!({"renewal": {"policy": "Disabled"}})));
        assert_eq!(disabled.policy, renewal::Policy::Disabled);
    }

    #[test]
    fn the_request_made_of_a_spec_fulfils_it() {
        let specs = [
            json!({"commonName": "web", "dnsNames": ["web.test"], "issuerRef": {"name": "ca"}}),
            json!({"literalSubject": "CN=web,OU=shop,O=Example", "duration": "1h"}),
            json!({"subject": {"organizations": ["b", "a"], "countries": ["DE"], "serialNumber": "7"},
                   "commonName": "web", "usages": ["server auth", "client auth"], "encodeUsagesInRequest": false}),
            json!({"isCA": true, "commonName": "root", "usages": ["cert sign"], "nameConstraints": {
                   "critical": true, "permitted": {"dnsDomains": ["test"], "ipRanges": ["10.0.0.0/8"]}}}),
            json!({"ipAddresses": ["::ffff:192.0.2.1", "2001:db8::1"], "uris": ["spiffe://a/b"],
                   "emailAddresses": ["a@b.test"], "otherNames": [{"oid": "1.3.6.1.4.1.311.20.2.3", "utf8Value": "u"}]}),
            json!({"dnsNames": ["a.test"], "signatureAlgorithm": "ECDSAWithSHA256",
                   "issuerRef": {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"}}),
        ];
        for mut fields in specs {
            fields["privateKey"] = json!({"algorithm": "ECDSA", "size": 256});
            for basic_constraints in [false, true] {
                let spec = spec(fields.clone());
                let gates = SpecGates { basic_constraints, ..SpecGates::default() };
                let wanted = wanted(&spec, gates).unwrap();
                let request = Request::build(&wanted.request, &key()).unwrap();
                // What the API server would give back.
                let request = Request::from_pem(request.to_pem().as_bytes()).unwrap();
                let asked = Asked {
                    is_ca: spec.is_ca,
                    usages: usages(&spec).unwrap(),
                    duration: wanted.duration,
                    issuer: wanted.issuer.clone(),
                };
                assert_eq!(comparison::violations(&wanted, &request, &asked), Ok(Vec::new()), "{fields}");
            }
        }
    }

    #[test]
    fn the_terms_are_those_of_the_spec() {
        let terms_of = |fields| terms(&wanted(&spec(fields), SpecGates::default()).unwrap());
        assert_eq!(terms_of(json!({})).duration, SignedDuration::from_hours(2160));
        let terms = terms_of(json!({"duration": "2h", "isCA": true, "usages": ["client auth"]}));
        assert_eq!((terms.duration, terms.is_ca), (SignedDuration::from_hours(2), true));
        assert!(terms.usages.same_as(&Usages::parse(["client auth"]).unwrap()));
    }

    #[test]
    fn forms_of_the_secret_are_read_once_each() {
        let der = || json!({"type": "DER"});
        let spec =
            spec(json!({"additionalOutputFormats": [der(), {"type": "PFX"}, {"type": "CombinedPEM"}, der()],
                               "privateKey": {"encoding": "PKCS8"}}));
        assert_eq!(formats(&spec), [OutputFormat::Der, OutputFormat::CombinedPem]);
        assert_eq!(encoding(&spec), KeyEncoding::Pkcs8);
        assert_eq!(encoding(&CertificateSpec::default()), KeyEncoding::Pkcs1);
    }
}
