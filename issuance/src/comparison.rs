//! Does what was requested, or issued, still match the spec? (spec/issuance.md §3)
//!
//! The answer is a list of field paths of a Certificate, such as `spec.dnsNames`; an empty one means that nothing has
//! to be issued anew. Lists are compared without their order and without repetitions, and an empty one equals an
//! absent one.
//!
//! Beyond what the peer compares, a change of name constraints, of the signature algorithm, of
//! `encodeUsagesInRequest`, of the private key's kind and a removal of the last other name are seen.

use std::collections::BTreeSet;
use std::net::IpAddr;

use der::asn1::ObjectIdentifier;
use jiff::SignedDuration;

use crate::certificate::Certificate;
use crate::extension::{ExtensionError, NAME_CONSTRAINTS};
use crate::key::{KeyError, KeySpec};
use crate::name::{self, NameError, RequestedSubject, Subject, SubjectAltName};
use crate::request::{Request, RequestSpec};
use crate::signature::SignatureAlgorithm;
use crate::usage::Usages;

/// Who is to sign (`spec.issuerRef`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerRef {
    /// Name of the issuer.
    pub name: String,
    /// Its kind; empty for `Issuer`.
    pub kind: String,
    /// Its API group; empty for `cert-manager.io`.
    pub group: String,
}

/// What a Certificate wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What the request is to ask for.
    pub request: RequestSpec,
    /// `spec.privateKey`.
    pub private_key: KeySpec,
    /// `spec.duration`; `None` when the issuer's default will do.
    pub duration: Option<SignedDuration>,
    /// `spec.issuerRef`.
    pub issuer: IssuerRef,
}

/// What a CertificateRequest asked for beside its PKCS#10 request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// `spec.isCA`.
    pub is_ca: bool,
    /// `spec.usages`.
    pub usages: Usages,
    /// `spec.duration`.
    pub duration: Option<SignedDuration>,
    /// `spec.issuerRef`.
    pub issuer: IssuerRef,
}

/// Why the two cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComparisonError {
    /// The spec wants a key that is not made.
    #[error("the private key of the spec cannot be compared")]
    Key(#[from] KeyError),
    /// A name of the spec, or of the request, cannot be read.
    #[error("the subject cannot be compared")]
    Name(#[from] NameError),
    /// An extension of the request cannot be read, or one of the spec not be written.
    #[error("the extensions cannot be compared")]
    Extension(#[from] ExtensionError),
}

/// The fields of a Certificate that its CertificateRequest does not fulfil, each once.
///
/// # Errors
/// When spec or request hold something that cannot be compared; see [`ComparisonError`].
pub fn violations(
    wanted: &Wanted,
    request: &Request,
    asked: &Asked,
) -> Result<Vec<&'static str>, ComparisonError> {
    let mut found = Violations::default();
    compare_names(&wanted.request.names, request.names(), &mut found);
    compare_subject(&wanted.request.subject, request, &mut found)?;
    let spec = &wanted.request;
    found.add_if("spec.isCA", asked.is_ca != spec.is_ca);
    found.add_if("spec.isCA", request.is_ca()?.is_some_and(|is_ca| is_ca != spec.is_ca));
    found.add_if("spec.usages", !asked.usages.same_as(&spec.usages));
    compare_encoded_usages(spec, request, &mut found)?;
    let durations = asked.duration.zip(wanted.duration);
    found.add_if("spec.duration", durations.is_some_and(|(asked, wanted)| asked != wanted));
    compare_issuers(&wanted.issuer, &asked.issuer, &mut found);
    for path in wanted.private_key.violations(request.public_key())? {
        found.add_if(path, true);
    }
    compare_name_constraints(spec, request, &mut found)?;
    let default = || request.public_key().algorithm().map(SignatureAlgorithm::of_key);
    let algorithm = spec.signature_algorithm.or_else(default);
    let differs = algorithm.is_some_and(|algorithm| algorithm != request.signature_algorithm());
    found.add_if("spec.signatureAlgorithm", differs);
    Ok(found.0)
}

/// The fields of a Certificate that an issued certificate does not show, for when its request is gone. An issuer may
/// have made the common name an alternative name as well, or the other way round, so both count as one; attributes of
/// the subject, usages and lifetime are not looked at, since issuers may set their own. While the request exists,
/// [`violations`] decides alone: a certificate with names added by its issuer would be issued without end.
pub fn certificate_violations(spec: &RequestSpec, certificate: &Certificate) -> Vec<&'static str> {
    let mut found = Violations::default();
    let (wanted_name, path) = match &spec.subject {
        RequestedSubject::Attributes(subject) => (subject.common_name.clone(), "spec.commonName"),
        RequestedSubject::Literal(literal) => (literal.common_name(), "spec.literalSubject"),
    };
    let filled = |name: Option<String>| name.filter(|name| !name.is_empty());
    let (wanted_name, found_name) = (filled(wanted_name), filled(certificate.common_name()));
    let wanted_dns = texts(&spec.names, dns);
    let found_dns = texts(certificate.names(), dns);
    let wanted: BTreeSet<String> = wanted_dns.iter().cloned().chain(wanted_name.clone()).collect();
    let issued: BTreeSet<String> = found_dns.iter().cloned().chain(found_name.clone()).collect();
    let missing = wanted_name.is_some_and(|name| !issued.contains(&name));
    let surplus = found_name.is_some_and(|name| !wanted.contains(&name));
    found.add_if(path, missing || surplus);
    found.add_if("spec.dnsNames", !wanted_dns.is_subset(&issued) || !found_dns.is_subset(&wanted));
    compare_other_kinds(&spec.names, certificate.names(), &mut found);
    found.0
}

/// Paths in the order in which they were found.
#[derive(Default)]
struct Violations(Vec<&'static str>);

impl Violations {
    fn add_if(&mut self, path: &'static str, differs: bool) {
        if differs && !self.0.contains(&path) {
            self.0.push(path);
        }
    }
}

fn compare_names(wanted: &[SubjectAltName], requested: &[SubjectAltName], found: &mut Violations) {
    compare_other_kinds(wanted, requested, found);
    found.add_if("spec.dnsNames", texts(wanted, dns) != texts(requested, dns));
    // A name of a kind that no field can ask for stands among the other names.
    let others = |names| texts(names, |name| is_other(name).then(|| name.to_string()));
    found.add_if("spec.otherNames", others(wanted) != others(requested));
}

/// The kinds that a common name cannot be mistaken for.
fn compare_other_kinds(wanted: &[SubjectAltName], got: &[SubjectAltName], found: &mut Violations) {
    found.add_if("spec.ipAddresses", addresses(wanted) != addresses(got));
    let uri = |name: &SubjectAltName| match name {
        SubjectAltName::Uri(uri) => Some(uri.clone()),
        _ => None,
    };
    found.add_if("spec.uris", texts(wanted, uri) != texts(got, uri));
    let email = |name: &SubjectAltName| match name {
        SubjectAltName::Email(address) => Some(address.clone()),
        _ => None,
    };
    found.add_if("spec.emailAddresses", texts(wanted, email) != texts(got, email));
}

fn texts(names: &[SubjectAltName], pick: impl Fn(&SubjectAltName) -> Option<String>) -> BTreeSet<String> {
    names.iter().filter_map(pick).collect()
}

fn dns(name: &SubjectAltName) -> Option<String> {
    match name {
        SubjectAltName::Dns(name) => Some(name.clone()),
        _ => None,
    }
}

fn is_other(name: &SubjectAltName) -> bool {
    matches!(name, SubjectAltName::OtherName { .. } | SubjectAltName::Other { .. })
}

fn addresses(names: &[SubjectAltName]) -> BTreeSet<IpAddr> {
    let address = |name: &SubjectAltName| match name {
        SubjectAltName::Ip(address) => Some(address.to_canonical()),
        _ => None,
    };
    names.iter().filter_map(address).collect()
}

fn compare_subject(
    wanted: &RequestedSubject,
    request: &Request,
    found: &mut Violations,
) -> Result<(), NameError> {
    match wanted {
        RequestedSubject::Attributes(subject) => compare_attributes(subject, request, found),
        RequestedSubject::Literal(literal) => {
            found.add_if("spec.literalSubject", literal.name() != request.subject_name());
            Ok(())
        }
    }
}

/// Field by field, so that a request of another program, with another order of attributes or other string types,
/// still fits. An attribute that no field can ask for is `spec.subject`.
fn compare_attributes(subject: &Subject, request: &Request, found: &mut Violations) -> Result<(), NameError> {
    let attributes = name::attributes(request.subject_name())?;
    let fields = subject.fields();
    for field in &fields {
        let of_type = || attributes.iter().filter(|attribute| attribute.oid == field.oid);
        let wanted: BTreeSet<Option<String>> =
            field.values.iter().map(|value| Some((*value).to_owned())).collect();
        // What is no text equals no wanted value.
        let requested: BTreeSet<Option<String>> =
            of_type().map(|attribute| name::text(&attribute.value)).collect();
        found.add_if(field.path, wanted != requested);
    }
    let known = |oid: ObjectIdentifier| fields.iter().any(|field| field.oid == oid);
    found.add_if("spec.subject", attributes.iter().any(|attribute| !known(attribute.oid)));
    Ok(())
}

fn compare_encoded_usages(
    spec: &RequestSpec,
    request: &Request,
    found: &mut Violations,
) -> Result<(), ExtensionError> {
    let encoded = request.usages()?;
    found.add_if("spec.encodeUsagesInRequest", encoded.is_some() != spec.encode_usages);
    let wanted = if spec.is_ca { spec.usages.clone().with_cert_sign() } else { spec.usages.clone() };
    let differ = encoded.is_some_and(|encoded| spec.encode_usages && !encoded.same_as(&wanted));
    found.add_if("spec.usages", differ);
    Ok(())
}

fn compare_issuers(wanted: &IssuerRef, asked: &IssuerRef, found: &mut Violations) {
    let or = |text: &str, default: &'static str| {
        if text.is_empty() { default.to_owned() } else { text.to_owned() }
    };
    found.add_if("spec.issuerRef.name", wanted.name != asked.name);
    found.add_if("spec.issuerRef.kind", or(&wanted.kind, "Issuer") != or(&asked.kind, "Issuer"));
    let group = "cert-manager.io";
    found.add_if("spec.issuerRef.group", or(&wanted.group, group) != or(&asked.group, group));
}

fn compare_name_constraints(
    spec: &RequestSpec,
    request: &Request,
    found: &mut Violations,
) -> Result<(), ExtensionError> {
    let wanted = match spec.name_constraints.as_ref().filter(|constraints| !constraints.is_empty()) {
        Some(constraints) => Some((constraints.critical, constraints.to_der()?)),
        None => None,
    };
    let requested = request.extensions().raw(NAME_CONSTRAINTS)?;
    let requested = requested.map(|extension| (extension.critical, extension.extn_value.as_bytes().to_vec()));
    found.add_if("spec.nameConstraints", wanted != requested);
    Ok(())
}
