//! Whether a name may stand below a CA: names held against name constraints (RFC 5280 §4.2.1.10).
//!
//! The rule of thumb is that nothing is signed which a common verifier (Go, OpenSSL, webpki) would refuse later:
//! - DNS: a subtree holds its own domain and everything below; one that begins with a dot holds only what is below. A
//!   wildcard counts as excluded too when it could stand for the excluded domain itself.
//! - Without a DNS name among the alternative names, every common name that looks like one is held against the DNS
//!   subtrees, as OpenSSL does; Go and webpki never look at them.
//! - E-mail addresses in the subject count like those among the alternative names.
//! - A URI without a host name cannot be judged and is refused as soon as there is a constraint on URIs.
//! - Directory names must begin with a permitted name byte by byte, as webpki compares them; excluded ones are
//!   recognised whatever their case, spaces and string types, and a value that is no text is refused beside them.
//! - Kinds that we have no rule for (otherName, x400Address, ediPartyName, registeredID) refuse everything when the
//!   extension is critical, as in Go.
//! - What cannot be read, be it a name or a subtree, is an error and never as good as absent.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use der::asn1::{Any, ObjectIdentifier};
use der::{Decode as _, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;

use crate::asn1;
use crate::certificate::Certificate;
use crate::constraint::{IpRange, NameConstraints, Subtrees};
use crate::extension::{Extensions, SUBJECT_ALT_NAME};
use crate::name;
use crate::request::Request;

/// Pairs of a name and a subtree that are looked at for one certificate; Go's verifier stops at the same number.
const COMPARISONS_MAX: usize = 250_000;

/// Why a CA may not sign for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// The name lies in an excluded subtree.
    #[error("{name} is excluded by CA {ca:?}, which signs for nothing in {subtree:?}; ask another issuer")]
    Excluded {
        /// The name.
        name: String,
        /// Subject of the CA that excludes it.
        ca: String,
        /// The excluded subtree.
        subtree: String,
    },
    /// There are permitted subtrees for its kind, and the name lies in none.
    #[error(
        "{name} is outside of what CA {ca:?} signs for: {permitted}; ask for a name there, or another issuer"
    )]
    Outside {
        /// The name.
        name: String,
        /// Subject of the CA.
        ca: String,
        /// The permitted subtrees of its kind.
        permitted: String,
    },
    /// There are constraints for its kind, but the name is of a form that they cannot be applied to.
    #[error("{name} cannot be held against the name constraints of CA {ca:?}: {reason}")]
    Unclear {
        /// The name.
        name: String,
        /// Subject of the CA.
        ca: String,
        /// What is wrong with the name.
        reason: &'static str,
    },
    /// The CA has critical constraints of a kind that nobody applies.
    #[error(
        "CA {ca:?} has critical name constraints of kind {kind}, which are not supported; \
         clients refuse every certificate below it"
    )]
    Kind {
        /// Subject of the CA.
        ca: String,
        /// Name of the kind in RFC 5280.
        kind: &'static str,
    },
    /// The CA has a constraint on directory names that holds none.
    #[error(
        "CA {ca:?} has name constraints with a directoryName that cannot be read, so nothing can be signed under \
         them; renew the CA without it"
    )]
    Base {
        /// Subject of the CA.
        ca: String,
    },
    /// The certificate's own names cannot be read, so nobody can say what they are.
    #[error("{what} cannot be read, so it cannot be held against name constraints; {cure}")]
    Unreadable {
        /// Where the names are.
        what: &'static str,
        /// What would be right.
        cure: &'static str,
    },
    /// There is more to compare than any verifier would.
    #[error(
        "there are more than {COMPARISONS_MAX} pairs of a name and a name constraint of CA {ca:?}; ask for fewer names"
    )]
    TooMany {
        /// Subject of the CA.
        ca: String,
    },
}

/// The names of one certificate, by kind.
#[derive(Debug, Default)]
pub(crate) struct Names {
    dns: Vec<String>,
    emails: Vec<String>,
    uris: Vec<String>,
    ips: Vec<Vec<u8>>,
    directories: Vec<Directory>,
}

/// `emailAddress` (RFC 2985 §5.2.1), an attribute of old subjects.
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

const ALTERNATIVE_NAMES: NotPermitted = NotPermitted::Unreadable {
    what: "a subject alternative name",
    cure: "ask for names as RFC 5280 §4.2.1.6 writes them",
};
const SUBJECT: NotPermitted = NotPermitted::Unreadable {
    what: "the subject name",
    cure: "ask for a subject as RFC 5280 §4.1.2.4 writes it",
};

/// What stands for a name that is no text: no constraint of its kind lets it pass.
const UNCLEAR: String = String::new();

/// Tags of GeneralName (RFC 5280 §4.2.1.6).
const RFC822_NAME: u32 = 1;
const DNS_NAME: u32 = 2;
const DIRECTORY_NAME: u32 = 4;
const URI: u32 = 6;
const IP_ADDRESS: u32 = 7;

impl Names {
    /// What a certificate for this request would be called.
    ///
    /// # Errors
    /// When its names cannot be read.
    pub(crate) fn of_request(request: &Request, is_ca: bool) -> Result<Self, NotPermitted> {
        Self::of(request.subject_name(), request.extensions(), is_ca)
    }

    /// What a certificate is called.
    ///
    /// # Errors
    /// When its names cannot be read.
    pub(crate) fn of_certificate(certificate: &Certificate) -> Result<Self, NotPermitted> {
        Self::of(certificate.subject_name(), &certificate.extensions(), certificate.is_ca())
    }

    fn of(subject: &Any, extensions: &Extensions, is_ca: bool) -> Result<Self, NotPermitted> {
        let mut names = Self::default();
        let raw = extensions.raw(SUBJECT_ALT_NAME).map_err(|_| ALTERNATIVE_NAMES)?;
        let alternative = raw.map(|raw| Vec::<Any>::from_der(raw.extn_value.as_bytes())).transpose();
        for name in alternative.map_err(|_| ALTERNATIVE_NAMES)?.unwrap_or_default() {
            names.add(&name)?;
        }
        let attributes = name::attributes(subject).map_err(|_| SUBJECT)?;
        let texts = |oid: ObjectIdentifier| {
            let values = attributes.iter().filter(move |attribute| attribute.oid == oid);
            values.map(|attribute| name::text(&attribute.value))
        };
        names.emails.extend(texts(EMAIL_ADDRESS).map(|address| address.unwrap_or(UNCLEAR)));
        if !is_ca && names.dns.is_empty() {
            names.dns.extend(texts(name::COMMON_NAME).filter_map(host_of_common_name));
        }
        if !attributes.is_empty() {
            names.directories.push(Directory::read(subject).ok_or(SUBJECT)?);
        }
        Ok(names)
    }

    fn add(&mut self, name: &Any) -> Result<(), NotPermitted> {
        let Tag::ContextSpecific { number, .. } = name.tag() else {
            return Err(ALTERNATIVE_NAMES);
        };
        let text = || String::from_utf8(name.value().to_vec()).map_err(|_| ALTERNATIVE_NAMES);
        match number.value() {
            RFC822_NAME => self.emails.push(text()?),
            DNS_NAME => self.dns.push(text()?),
            URI => self.uris.push(text()?),
            IP_ADDRESS => self.ips.push(name.value().to_vec()),
            DIRECTORY_NAME => {
                let directory = Directory::inside(name.value());
                self.directories.push(directory.ok_or(ALTERNATIVE_NAMES)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.dns.len() + self.emails.len() + self.uris.len() + self.ips.len() + self.directories.len()
    }
}

/// Whether CA `ca`, which has these constraints, may stand above a certificate with these names.
///
/// # Errors
/// The first name that it may not sign for.
pub(crate) fn check(ca: &str, constraints: &NameConstraints, names: &Names) -> Result<(), NotPermitted> {
    let NameConstraints { critical, permitted, excluded } = constraints;
    let others = permitted.others.iter().chain(&excluded.others);
    if let Some(other) = others.clone().find(|other| *critical && other.tag_number() != DIRECTORY_NAME) {
        return Err(NotPermitted::Kind { ca: ca.to_owned(), kind: other.kind() });
    }
    let pairs = names.count().saturating_mul(size(permitted).saturating_add(size(excluded)));
    if pairs > COMPARISONS_MAX {
        return Err(NotPermitted::TooMany { ca: ca.to_owned() });
    }
    for name in &names.dns {
        let shown = format!("DNS name {name:?}");
        let form = Form { ca, shown, permitted: &permitted.dns_domains, excluded: &excluded.dns_domains };
        form.judge(dns(name), |name, base| below_or_at(name, base), |name, base| excludes_dns(name, base))?;
    }
    for address in &names.emails {
        let shown = format!("e-mail address {address:?}");
        let (permitted, excluded) = (&permitted.email_addresses, &excluded.email_addresses);
        Form { ca, shown, permitted, excluded }.judge(
            mailbox(address),
            |name, base| holds_mailbox(name, base),
            |name, base| holds_mailbox(name, base),
        )?;
    }
    for uri in &names.uris {
        let shown = format!("URI {uri:?}");
        let form = Form { ca, shown, permitted: &permitted.uri_domains, excluded: &excluded.uri_domains };
        form.judge(host(uri), |host, base| holds_host(host, base), |host, base| holds_host(host, base))?;
    }
    for octets in &names.ips {
        let address = ip_address(octets);
        let shown =
            address.as_ref().map_or_else(|_| "IP address".to_owned(), |ip| format!("IP address {ip}"));
        let form = Form { ca, shown, permitted: &permitted.ip_ranges, excluded: &excluded.ip_ranges };
        form.judge(address, |ip, range| holds_address(range, *ip), |ip, range| holds_address(range, *ip))?;
    }
    let directories =
        |subtrees| directories(subtrees).ok_or_else(|| NotPermitted::Base { ca: ca.to_owned() });
    let (permitted, excluded) = (directories(permitted)?, directories(excluded)?);
    for directory in &names.directories {
        let form = Form {
            ca,
            shown: format!("directory name {:?}", directory.to_string()),
            permitted: &permitted,
            excluded: &excluded,
        };
        // Bytes can be compared with permitted names whatever they mean.
        let readable = excluded.is_empty() || directory.is_text();
        form.judge(
            readable.then_some(directory).ok_or("a value in it is no text"),
            |name, base| name.raw.starts_with(&base.raw),
            |name, base| name.plain.starts_with(&base.plain),
        )?;
    }
    Ok(())
}

/// One name with the subtrees of its kind.
struct Form<'a, Base> {
    ca: &'a str,
    shown: String,
    permitted: &'a [Base],
    excluded: &'a [Base],
}

impl<Base: ToString> Form<'_, Base> {
    /// Holds a name, read into what its kind is compared by, against the subtrees.
    fn judge<Name>(
        self,
        name: Result<Name, &'static str>,
        permits: impl Fn(&Name, &Base) -> bool,
        excludes: impl Fn(&Name, &Base) -> bool,
    ) -> Result<(), NotPermitted> {
        if self.permitted.is_empty() && self.excluded.is_empty() {
            return Ok(());
        }
        let ca = self.ca.to_owned();
        let name = match name {
            Ok(name) => name,
            Err(reason) => return Err(NotPermitted::Unclear { name: self.shown, ca, reason }),
        };
        if let Some(subtree) = self.excluded.iter().find(|base| excludes(&name, base)) {
            return Err(NotPermitted::Excluded { name: self.shown, ca, subtree: subtree.to_string() });
        }
        if !self.permitted.is_empty() && !self.permitted.iter().any(|base| permits(&name, base)) {
            let permitted: Vec<String> = self.permitted.iter().map(ToString::to_string).collect();
            return Err(NotPermitted::Outside { name: self.shown, ca, permitted: permitted.join(", ") });
        }
        Ok(())
    }
}

/// A directory name in the two forms in which it is compared.
#[derive(Debug, Clone)]
struct Directory {
    name: Any,
    /// Its relative names as they are.
    raw: Vec<Any>,
    /// Its relative names for the eye: whatever the string types, the case, the spaces and the order in a set.
    plain: Vec<Vec<Plain>>,
}

/// Type and value of an attribute for the eye; `None` when the value is no text.
type Plain = (ObjectIdentifier, Option<String>);

impl Directory {
    /// `None` when it is no Name.
    fn read(name: &Any) -> Option<Self> {
        if name.tag() != Tag::Sequence {
            return None;
        }
        let raw = asn1::elements(name.value()).ok()?;
        let plain = raw.iter().map(plain).collect::<Option<_>>()?;
        Some(Self { name: name.clone(), raw, plain })
    }

    /// The one inside the explicit tag of a general name.
    fn inside(content: &[u8]) -> Option<Self> {
        Self::read(&Any::from_der(content).ok()?)
    }

    fn is_text(&self) -> bool {
        self.plain.iter().flatten().all(|(_, text)| text.is_some())
    }
}

impl std::fmt::Display for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name::display(&self.name))
    }
}

fn plain(relative_name: &Any) -> Option<Vec<Plain>> {
    if relative_name.tag() != Tag::Set {
        return None;
    }
    let folded = |text: String| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain = Vec::new();
    let attributes =
        asn1::elements(relative_name.value()).ok().filter(|attributes| !attributes.is_empty())?;
    for attribute in attributes {
        let attribute = attribute.decode_as::<AttributeTypeAndValue>().ok()?;
        plain.push((attribute.oid, name::text(&attribute.value).map(folded)));
    }
    plain.sort();
    Some(plain)
}

fn size(subtrees: &Subtrees) -> usize {
    let Subtrees { dns_domains, ip_ranges, email_addresses, uri_domains, others } = subtrees;
    dns_domains.len() + ip_ranges.len() + email_addresses.len() + uri_domains.len() + others.len()
}

/// The subtrees of directory names; `None` when one of them is no Name.
fn directories(subtrees: &Subtrees) -> Option<Vec<Directory>> {
    let directories = subtrees.others.iter().filter(|other| other.tag_number() == DIRECTORY_NAME);
    directories.map(|other| Directory::inside(other.value())).collect()
}

/// A DNS name in the form in which it is compared: an absolute one is the same without its dot.
fn dns(name: &str) -> Result<&str, &'static str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let sound =
        name.bytes().all(|byte| byte.is_ascii_graphic()) && name.split('.').all(|label| !label.is_empty());
    sound.then_some(name).ok_or("it is not a DNS name")
}

fn below_or_at(name: &str, base: &str) -> bool {
    let base = base.strip_suffix('.').unwrap_or(base);
    base.is_empty() || below(name, base.strip_prefix('.').unwrap_or(base)) || name.eq_ignore_ascii_case(base)
}

fn below(name: &str, domain: &str) -> bool {
    let Some(border) = name.len().checked_sub(domain.len() + 1) else {
        return false;
    };
    match (name.get(..border), name.get(border..border + 1), name.get(border + 1..)) {
        (Some(label), Some("."), Some(rest)) => !label.is_empty() && rest.eq_ignore_ascii_case(domain),
        _ => false,
    }
}

fn excludes_dns(name: &str, base: &str) -> bool {
    if below_or_at(name, base) {
        return true;
    }
    // `*.a.test` stands for `b.a.test` among others, so it must go when that one is excluded.
    match (name.split_once('.'), base.split_once('.')) {
        (Some((label, parent)), Some((first, rest))) => {
            label.contains('*') && !first.is_empty() && parent.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

/// Local part and host.
fn mailbox(address: &str) -> Result<(&str, &str), &'static str> {
    let (local, host) = address.rsplit_once('@').ok_or("it is not an address of the form local@host")?;
    let sound = !local.is_empty() && address.is_ascii();
    Ok((local, dns(host).ok().filter(|_| sound).ok_or("it is not an address of the form local@host")?))
}

/// A mailbox, all mailboxes of a host, or all hosts below a domain.
fn holds_mailbox((local, host): &(&str, &str), base: &str) -> bool {
    match base.rsplit_once('@') {
        // RFC 5280 §7.5: the local part is compared as it is, the host without regard to case.
        Some((base_local, base_host)) => base_local == *local && host.eq_ignore_ascii_case(base_host),
        None => holds_host(host, base),
    }
}

/// One host, or all hosts below a domain that is written with a leading dot.
fn holds_host(host: &str, base: &str) -> bool {
    match base.strip_prefix('.') {
        Some(domain) => below(host, domain),
        None => base.is_empty() || host.eq_ignore_ascii_case(base),
    }
}

/// The host name of a URI (RFC 3986 §3.2).
fn host(uri: &str) -> Result<&str, &'static str> {
    const NO_HOST: &str = "it has no host name, which constraints on URIs need";
    let (_, rest) = uri.split_once("://").ok_or(NO_HOST)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Browsers take a backslash for a slash (URL Standard), so what follows one may be a host or a path.
    if authority.contains('\\') {
        return Err(NO_HOST);
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let sound = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let host = dns(host).ok().filter(|_| sound).ok_or(NO_HOST)?;
    if host.parse::<IpAddr>().is_ok() { Err(NO_HOST) } else { Ok(host) }
}

fn ip_address(octets: &[u8]) -> Result<IpAddr, &'static str> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Ok(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(octets).map_err(|_| "it has neither 4 nor 16 octets")?;
    Ok(v6.into())
}

fn holds_address(range: &IpRange, address: IpAddr) -> bool {
    // Cutting an address to the range's prefix gives the range, or another one.
    address.is_ipv4() == range.address().is_ipv4()
        && IpRange::new(address, range.prefix_len()).is_ok_and(|cut| cut == *range)
}

/// What a common name is held against constraints as, if OpenSSL would take it for a DNS name. It passes over NUL
/// characters at the end, and refuses a name with others, or one that is no text.
fn host_of_common_name(name: Option<String>) -> Option<String> {
    let Some(name) = name else {
        return Some(UNCLEAR);
    };
    let host = name.trim_end_matches('\0');
    (host.contains('\0') || looks_like_dns(host)).then(|| host.to_owned())
}

/// Whether OpenSSL would take a common name for a DNS name: at least two labels of letters, digits, `-`, `_`.
fn looks_like_dns(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let name = name.strip_prefix("*.").unwrap_or(name);
    name.contains('.') && name.split('.').all(label)
}
