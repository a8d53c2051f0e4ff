//! What is wrong with what a pod asks for, one thing after the other.

use std::net::IpAddr;

use issuance::name::SubjectAltName;
use issuance::request::SubjectAttribute;
use issuance::usage::Usages;

use super::names::{self, Standing};
use super::pod::Subject;
use super::refusal::{Cure, Fault, RefusalReason, shown};
use super::rules::Grants;
use super::{Asked, NAMES_MAX, Policy};

/// Usages that every pod may have.
pub(super) const USAGES: [&str; 5] =
    ["digital signature", "key encipherment", "key agreement", "server auth", "client auth"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub faults: Vec<Fault>,
    /// A name that is only the pod's or its account's, in a sentence; the first one.
    pub leaning: Option<String>,
}

/// Looks at everything that is asked for.
pub(super) fn find(
    asked: &Asked<'_>,
    subject: &Subject<'_>,
    policy: &Policy,
    granted: &Grants<'_>,
) -> Findings {
    let mut judging = Judging { subject, policy, granted, findings: Findings::default() };
    let attributes = asked.request.subject_attributes();
    let names = asked.request.names();
    let is_named = |attribute: &SubjectAttribute| attribute.value.as_deref() != Some("");
    if names.is_empty() && !attributes.iter().any(is_named) {
        judging.fault(RefusalReason::NoNames, "it names nobody: ask for a DNS name or a URI", Cure::None);
    }
    if names.len().saturating_add(attributes.len()) > NAMES_MAX {
        let text = format!("it has more than {NAMES_MAX} names");
        judging.fault(RefusalReason::TooManyNames, text, Cure::None);
        return judging.findings;
    }
    judging.authority(asked);
    if !granted.any() {
        judging.usages(asked);
        names.iter().for_each(|name| judging.name(name));
        judging.attributes(&attributes);
    }
    judging.findings
}

struct Judging<'a> {
    subject: &'a Subject<'a>,
    policy: &'a Policy,
    granted: &'a Grants<'a>,
    findings: Findings,
}

impl Judging<'_> {
    fn fault(&mut self, reason: RefusalReason, text: impl Into<String>, cure: Cure) {
        self.findings.faults.push(Fault::new(reason, text, cure));
    }

    fn unreadable(&mut self, error: &dyn std::error::Error) {
        let text = format!("its request cannot be read: {error}");
        self.fault(RefusalReason::Unreadable, text, Cure::None);
    }

    /// Whether it is to be a CA, and what for.
    fn authority(&mut self, asked: &Asked<'_>) {
        let is_ca = match asked.request.is_ca() {
            Ok(in_request) => asked.is_ca || in_request == Some(true),
            Err(error) => return self.unreadable(&error),
        };
        if is_ca && !self.granted.is_ca() {
            let text = "it would be a CA's, which could sign any name";
            self.fault(RefusalReason::CertificateAuthority, text, Cure::Ca);
        }
        match asked.request.name_constraints() {
            // Those of a CA only take away.
            Ok(Some(_)) if !is_ca && !self.granted.any() => {
                let text = "it has name constraints, which are for CAs";
                self.fault(RefusalReason::NameConstraints, text, Cure::Any);
            }
            Ok(_) => {}
            Err(error) => self.unreadable(&error),
        }
    }

    fn usages(&mut self, asked: &Asked<'_>) {
        let in_request = match asked.request.usages() {
            Ok(usages) => usages,
            Err(error) => return self.unreadable(&error),
        };
        // The names are of the API, as a test sees to.
        let mut allowed = Usages::parse(USAGES).unwrap_or_default();
        for usages in self.granted.usages() {
            allowed = allowed.with(usages);
        }
        if asked.is_ca && self.granted.is_ca() {
            allowed = allowed.with_cert_sign();
        }
        let wanted = in_request.map_or_else(|| asked.usages.clone(), |usages| usages.with(asked.usages));
        let beyond = wanted.beyond(&allowed);
        if !beyond.is_empty() {
            let text = format!("its usages include {}", beyond.summary());
            let is_foreign = !beyond.foreign().is_empty();
            let cure = if is_foreign { Cure::Any } else { Cure::Usages(beyond.names()) };
            self.fault(RefusalReason::Usages, text, cure);
        }
    }

    fn name(&mut self, name: &SubjectAltName) {
        match name {
            SubjectAltName::Dns(name) => self.dns_name(name),
            SubjectAltName::Uri(uri) => self.uri(uri),
            SubjectAltName::Ip(address) => self.ip(*address),
            SubjectAltName::Email(_) | SubjectAltName::OtherName { .. } | SubjectAltName::Other { .. } => {
                let text =
                    format!("a name of this kind is nothing that a pod has: {}", shown(&name.to_string()));
                self.fault(RefusalReason::NameKind, text, Cure::Any);
            }
        }
    }

    fn dns_name(&mut self, name: &str) {
        match self.standing(name) {
            Standing::Own => {}
            Standing::Leaning(whose) => self.lean(name, whose),
            Standing::Foreign(why) => {
                let lower = name.to_ascii_lowercase();
                let cure =
                    if names::is_dns_name(&lower) { Cure::Value("dnsNames", lower) } else { Cure::None };
                let text = format!("DNS name {} is not permitted: {why}", shown(name));
                self.fault(RefusalReason::DnsName, text, cure);
            }
        }
    }

    /// How the pod stands to a DNS name, rules included.
    fn standing(&self, name: &str) -> Standing {
        let name = name.to_ascii_lowercase();
        if !names::is_dns_name(&name) {
            return Standing::Foreign("it is not a DNS name".to_owned());
        }
        if self.granted.dns_name(&name) {
            return Standing::Own;
        }
        names::standing(&name, self.subject, &self.policy.cluster_domain)
    }

    fn lean(&mut self, name: &str, whose: &str) {
        let text = || format!("{} is the name of no Service, only of the {whose}", shown(name));
        self.findings.leaning.get_or_insert_with(text);
    }

    fn uri(&mut self, uri: &str) {
        if self.is_permitted_uri(uri) {
            return;
        }
        let identity = names::identity(self.subject, &self.policy.trust_domain);
        let text = format!("URI {} is not permitted: without a rule the only one is {identity}", shown(uri));
        self.fault(RefusalReason::Uri, text, literal("uris", uri));
    }

    fn is_permitted_uri(&self, uri: &str) -> bool {
        uri == names::identity(self.subject, &self.policy.trust_domain) || self.granted.uri(uri)
    }

    fn ip(&mut self, address: IpAddr) {
        if self.subject.pod.host_network {
            let text =
                format!("IP address {address} is not permitted: the pod has the addresses of its node");
            self.fault(RefusalReason::IpAddress, text, Cure::Any);
        } else if !self.granted.ip(address) {
            let text = format!("IP address {address} is not permitted: addresses need a rule");
            self.fault(RefusalReason::IpAddress, text, Cure::Value("ips", address.to_string()));
        }
    }

    fn attributes(&mut self, attributes: &[SubjectAttribute]) {
        let mut has_common_name = false;
        for SubjectAttribute { kind, value } in attributes {
            let Some(value) = value else {
                let text = format!("attribute {} of its subject is no text", shown(kind));
                self.fault(RefusalReason::Subject, text, Cure::Any);
                continue;
            };
            let attribute = format!("{kind}={value}");
            let is_first_common_name = kind == "CN" && !has_common_name;
            has_common_name |= kind == "CN";
            if self.granted.subject(&attribute) || (is_first_common_name && self.common_name(value)) {
                continue;
            }
            let why = match (kind.as_str(), is_first_common_name) {
                ("CN", true) => "it is not one of the names that the pod may have",
                ("CN", false) => "there is a common name before it",
                _ => "only a common name goes without a rule",
            };
            let text = format!("{} in its subject is not permitted: {why}", shown(&attribute));
            self.fault(RefusalReason::Subject, text, literal("subjects", &attribute));
        }
    }

    /// Whether the pod may have this common name: none at all, or one of the names it may have otherwise.
    fn common_name(&mut self, name: &str) -> bool {
        if name.is_empty() || self.is_permitted_uri(name) {
            return true;
        }
        match self.standing(name) {
            Standing::Own => true,
            Standing::Leaning(whose) => {
                self.lean(name, whose);
                true
            }
            Standing::Foreign(_) => false,
        }
    }
}

/// A rule's value that means this text alone. A star in it would mean more, and characters that nobody sees are not
/// copied into a rule.
fn literal(list: &'static str, text: &str) -> Cure {
    if text.contains('*') || text.chars().any(|character| character.is_control() || character == '\u{feff}') {
        Cure::None
    } else {
        Cure::Value(list, text.to_owned())
    }
}
