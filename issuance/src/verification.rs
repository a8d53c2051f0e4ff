//! Whether what an issuer gave back is what was asked for (spec/issuance.md §15): the seven checks before anything is
//! written. They need no key and no state, so that they serve credentials of our own and foreign data alike.
//!
//! 1. The certificate is for the requested key.
//! 2. Each link holds: signature, CA flag, right to sign, path length, and validity now.
//! 3. The validity is longer than an instant, and not longer than was asked for.
//! 4. Every name that was asked for is there; a CA may add names.
//! 5. It is a CA's only if that was asked for.
//! 6. Every extended usage that was asked for is there.
//! 7. Nothing is signed with SHA-1 or MD5, and no RSA key is shorter than 2048 bits.
//!
//! 1, 2, 4 and 5 refuse. The others are warnings, since there are CAs that do so by policy and clients that accept it.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use crate::authority::{Issued, Terms};
use crate::certificate::Certificate;
use crate::constraint::ConstraintError;
use crate::key::PublicKey;
use crate::name::SubjectAltName;
use crate::permitted::{self, Names, NotPermitted};
use crate::request::Request;
use crate::signature::{self, SignatureError};
use crate::usage::Usages;

/// How much later than asked for a certificate may end without a word: the clocks of the issuer and ours differ, and
/// some CAs count from the end of a minute.
pub const LIFETIME_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The shortest RSA key that clients accept, in bits.
const RSA_BITS_MIN: usize = 2048;

/// Missing names that an error tells; it ends in events and statuses, which are short.
const NAMES_TOLD_MAX: usize = 10;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The key to be certified.
    pub public_key: PublicKey,
    /// The alternative names.
    pub names: Vec<SubjectAltName>,
    /// The usages.
    pub usages: Usages,
    /// Whether a CA's certificate was asked for.
    pub is_ca: bool,
    /// How long it was to be valid; `None` when that was left to the issuer.
    pub duration: Option<SignedDuration>,
}

impl Asked {
    /// What a request on these terms asks for.
    pub fn of(request: &Request, terms: &Terms) -> Self {
        Self {
            public_key: request.public_key().clone(),
            names: request.names().to_vec(),
            usages: terms.usages.clone(),
            is_ca: terms.is_ca,
            duration: Some(terms.duration),
        }
    }
}

/// Why a certificate that an issuer gave back is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The certificate is for another key.
    #[error("the certificate is for another key than the request's")]
    Key,
    /// A link of the chain does not hold.
    #[error("certificate {subject:?} was not signed by {issuer:?}, which follows it in the chain")]
    Link {
        /// Subject of the lower certificate.
        subject: String,
        /// Subject of the upper one.
        issuer: String,
        /// What is wrong.
        source: SignatureError,
    },
    /// A certificate above the leaf is not a CA's.
    #[error("certificate {subject:?} stands above the leaf but is not a CA")]
    NotCa {
        /// Its subject.
        subject: String,
    },
    /// A CA above the leaf must not sign certificates.
    #[error("certificate {subject:?} stands above the leaf, but its key usage lacks cert sign")]
    NoCertSign {
        /// Its subject.
        subject: String,
    },
    /// More CAs stand below a CA than it allows.
    #[error("CA {subject:?} has path length {path_len}, but {below} CAs stand between it and the leaf")]
    PathLength {
        /// Its subject.
        subject: String,
        /// Its path length.
        path_len: u8,
        /// How many CAs stand below it.
        below: usize,
    },
    /// A certificate of the chain is not valid now.
    #[error("certificate {subject:?} is valid from {not_before} to {not_after}, and now is {now}")]
    NotValid {
        /// Its subject.
        subject: String,
        /// Start of its validity.
        not_before: Timestamp,
        /// End of its validity.
        not_after: Timestamp,
        /// The moment of the check.
        now: Timestamp,
    },
    /// Names that were asked for are missing; a CA may add names but never drop them.
    #[error("the certificate lacks names that were asked for: {missing}")]
    Names {
        /// The missing names; of many, the first ten and how many more there are.
        missing: String,
    },
    /// The certificate is a CA's although that was not asked for.
    #[error("the certificate is a CA's, which was not asked for")]
    UnwantedCa,
}

/// What a user should know about a certificate that is good enough to be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// It is valid for one instant.
    #[error("the certificate ends in the second in which it begins, {not_after}")]
    Instant {
        /// End of its validity.
        not_after: Timestamp,
    },
    /// It is valid for longer than was asked for; shorter is the issuer's right.
    #[error("the certificate is valid until {not_after}, longer than the {asked:#} that were asked for")]
    Lifetime {
        /// End of its validity.
        not_after: Timestamp,
        /// The duration that was asked for.
        asked: SignedDuration,
    },
    /// It lacks extended usages that were asked for.
    #[error("the certificate lacks usages that were asked for: {missing}")]
    Usages {
        /// The missing usages.
        missing: String,
    },
    /// A certificate is signed by an algorithm that clients refuse.
    #[error("certificate {subject:?} is signed with {algorithm}, which is broken; clients refuse it")]
    WeakSignature {
        /// Its subject.
        subject: String,
        /// Object identifier of the algorithm.
        algorithm: String,
    },
    /// A certificate has a key that clients refuse.
    #[error("certificate {subject:?} has an RSA key of {bits} bits; clients refuse less than {RSA_BITS_MIN}")]
    WeakKey {
        /// Its subject.
        subject: String,
        /// Length of the modulus.
        bits: usize,
    },
    /// None of the CAs that came with it signed the top of the chain.
    #[error(
        "none of the CA certificates that the issuer gave signed {top:?}, so they do not verify the certificate"
    )]
    NoAnchor {
        /// Subject of the top of the chain.
        top: String,
    },
    /// A CA above it may not sign for a name in it.
    #[error("clients will refuse the certificate")]
    NotPermitted(#[from] NotPermitted),
    /// The name constraints of a CA above it cannot be read.
    #[error("clients will refuse the certificate, since the name constraints of CA {ca:?} cannot be read")]
    Constraints {
        /// Subject of the CA.
        ca: String,
        /// What is wrong.
        source: ConstraintError,
    },
}

/// Holds what an issuer gave back against what was asked for, at `now`, which is to be soon after it was issued.
///
/// # Errors
/// The first of the checks 1, 2, 4 and 5 that does not hold. What the others find is returned.
pub fn verify(issued: &Issued, asked: &Asked, now: Timestamp) -> Result<Vec<Warning>, VerifyError> {
    let leaf = issued.chain.leaf();
    if *leaf.public_key() != asked.public_key {
        return Err(VerifyError::Key);
    }
    let Line { certificates: line, is_anchored, warning } = line(issued, now)?;
    verify_links(&line, is_anchored)?;
    for certificate in &line {
        verify_validity(certificate, now)?;
    }
    verify_names(asked, leaf)?;
    if leaf.is_ca() && !asked.is_ca {
        return Err(VerifyError::UnwantedCa);
    }
    let mut warnings = Vec::new();
    warnings.extend(lifetime(leaf, asked, now));
    warnings.extend(usages(leaf, asked));
    warnings.extend(line.iter().flat_map(|certificate| weakness(certificate)));
    warnings.extend(warning);
    warnings.extend(not_permitted(&line));
    Ok(warnings)
}

/// The chain and what is above it.
struct Line<'a> {
    /// From the leaf on, each signed by the next.
    certificates: Vec<&'a Certificate>,
    /// Whether the last one was added from the given CAs. Then the signature of the one below it was verified: it is
    /// the dearest part of all, and not done twice.
    is_anchored: bool,
    /// That none of the given CAs is above the chain.
    warning: Option<Warning>,
}

/// The chain, continued by the CA above it if there is one among those that were given. Of several that signed its top,
/// such as a root and its renewal with the same key, one that is valid now is taken, as clients do.
fn line(issued: &Issued, now: Timestamp) -> Result<Line<'_>, VerifyError> {
    let certificates: Vec<&Certificate> = issued.chain.certificates().iter().collect();
    let mut line = Line { certificates, is_anchored: false, warning: None };
    let Some(top) = line.certificates.last().copied() else {
        return Ok(line);
    };
    if issued.ca.is_empty() || issued.ca.contains(top) {
        return Ok(line);
    }
    let (mut anchor, mut refused) = (None, None);
    for ca in issued.ca.certificates().iter().filter(|ca| top.names_issuer(ca)) {
        match top.verify_issued_by(ca) {
            Ok(()) if ca.is_valid_at(now) => {
                anchor = Some(ca);
                break;
            }
            Ok(()) => anchor = anchor.or(Some(ca)),
            Err(source) => {
                refused = Some(VerifyError::Link { subject: top.subject(), issuer: ca.subject(), source });
            }
        }
    }
    match (anchor, refused) {
        (Some(anchor), _) => {
            line.certificates.push(anchor);
            line.is_anchored = true;
        }
        (None, Some(refused)) => return Err(refused),
        (None, None) => line.warning = Some(Warning::NoAnchor { top: top.subject() }),
    }
    Ok(line)
}

/// Each certificate is signed by the next, which may do so. `is_anchored`: that the last one signed is known.
fn verify_links(line: &[&Certificate], is_anchored: bool) -> Result<(), VerifyError> {
    let mut below = 0;
    for (position, (lower, upper)) in line.iter().zip(line.iter().skip(1)).enumerate() {
        let subject = || upper.subject();
        if !upper.is_ca() {
            return Err(VerifyError::NotCa { subject: subject() });
        }
        if !upper.may_sign_certificates() {
            return Err(VerifyError::NoCertSign { subject: subject() });
        }
        if let Some(path_len) = upper.path_len().filter(|path_len| usize::from(*path_len) < below) {
            return Err(VerifyError::PathLength { subject: subject(), path_len, below });
        }
        let broken = |source| VerifyError::Link { subject: lower.subject(), issuer: subject(), source };
        if !(is_anchored && position + 2 == line.len()) {
            lower.verify_issued_by(upper).map_err(broken)?;
        }
        // Certificates by which a CA certifies itself do not count (RFC 5280 §4.2.1.9).
        below += usize::from(!upper.is_self_issued());
    }
    Ok(())
}

fn verify_validity(certificate: &Certificate, now: Timestamp) -> Result<(), VerifyError> {
    if certificate.is_valid_at(now) {
        return Ok(());
    }
    Err(VerifyError::NotValid {
        subject: certificate.subject(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        now,
    })
}

fn verify_names(asked: &Asked, leaf: &Certificate) -> Result<(), VerifyError> {
    // A request has room for thousands of names, too many to hold each against each.
    let present: HashSet<SubjectAltName> = leaf.names().iter().map(folded).collect();
    let mut missing = asked.names.iter().filter(|name| !present.contains(&folded(name)));
    let told: Vec<String> = missing.by_ref().take(NAMES_TOLD_MAX).map(SubjectAltName::to_string).collect();
    if told.is_empty() {
        return Ok(());
    }
    let mut text = told.join(", ");
    let untold = missing.count();
    if untold > 0 {
        text = format!("{text} and {untold} more");
    }
    Err(VerifyError::Names { missing: text })
}

/// The form that is the same for two names exactly when they are one: the case of domains has no meaning (RFC 5280
/// §7.2, §7.5), and CAs may change it; IPv6 addresses that stand for IPv4 ones may be written as those.
fn folded(name: &SubjectAltName) -> SubjectAltName {
    match name {
        SubjectAltName::Dns(name) => SubjectAltName::Dns(name.to_ascii_lowercase()),
        SubjectAltName::Email(address) => SubjectAltName::Email(match address.rsplit_once('@') {
            Some((local, host)) => format!("{local}@{}", host.to_ascii_lowercase()),
            None => address.clone(),
        }),
        SubjectAltName::Ip(address) => SubjectAltName::Ip(address.to_canonical()),
        other => other.clone(),
    }
}

fn lifetime(leaf: &Certificate, asked: &Asked, now: Timestamp) -> Option<Warning> {
    let not_after = leaf.not_after();
    if leaf.not_before() >= not_after {
        return Some(Warning::Instant { not_after });
    }
    let asked = asked.duration?;
    let latest = now.checked_add(asked).and_then(|end| end.checked_add(LIFETIME_TOLERANCE));
    // A duration beyond all dates cannot be exceeded.
    (not_after > latest.unwrap_or(Timestamp::MAX)).then_some(Warning::Lifetime { not_after, asked })
}

fn usages(leaf: &Certificate, asked: &Asked) -> Option<Warning> {
    let present = leaf.usages().extended_key_usage().map(|usage| usage.0).unwrap_or_default();
    let mut missing = asked.usages.extended_key_usage().map(|usage| usage.0).unwrap_or_default();
    missing.retain(|purpose| !present.contains(purpose));
    let missing = (!missing.is_empty()).then_some(ExtendedKeyUsage(missing));
    missing
        .map(|missing| Warning::Usages { missing: Usages::from_extensions(None, Some(&missing)).to_string() })
}

/// What is weak about one certificate. The signature of a root is not looked at by anybody.
fn weakness(certificate: &Certificate) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let algorithm = certificate.signature_algorithm().to_string();
    if signature::weak_digest(&algorithm).is_some() && !certificate.is_root() {
        warnings.push(Warning::WeakSignature { subject: certificate.subject(), algorithm });
    }
    if let Some(bits) = certificate.public_key().rsa_bits().filter(|bits| *bits < RSA_BITS_MIN) {
        warnings.push(Warning::WeakKey { subject: certificate.subject(), bits });
    }
    warnings
}

fn not_permitted(line: &[&Certificate]) -> Vec<Warning> {
    let Some((leaf, above)) = line.split_first() else {
        return Vec::new();
    };
    let names = match Names::of_certificate(leaf) {
        Ok(names) => names,
        Err(unreadable) => return vec![Warning::NotPermitted(unreadable)],
    };
    let judge = |ca: &&Certificate| match ca.name_constraints() {
        Ok(constraints) => {
            permitted::check(&ca.subject(), &constraints?, &names).err().map(Warning::NotPermitted)
        }
        Err(source) => Some(Warning::Constraints { ca: ca.subject(), source }),
    };
    above.iter().filter_map(judge).collect()
}
