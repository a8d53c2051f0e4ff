//! What a write takes out of bundles, and why, for those who look for it afterwards.

use std::fmt;

use issuance::certificate::Certificate;

use super::field::Field;
use crate::bounds::clipped;

/// Certificates that a text names; a bundle may have hundreds.
const NAMED_MAX: usize = 4;

/// Longest subject in a text: with this, what a text names fits into an event.
const SUBJECT_BYTES_MAX: usize = 100;

/// A certificate that a write takes out of bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The certificate.
    pub certificate: Certificate,
    /// Why it goes.
    pub cause: Cause,
}

/// Why a certificate is taken out of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody trusts it any longer.
    Expired,
    /// Nobody may trust it.
    Denied,
    /// It left its source too long ago.
    Retired,
    /// There were too many, and it left its source first.
    Surplus,
    /// There was no room for what the source has.
    Crowded,
    /// Bundles have what the source has, and nothing else.
    Replaced,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it has expired",
            Self::Denied => "--deny-certificates",
            Self::Retired => "--ca-retention",
            Self::Surplus => "--max-certificates",
            Self::Crowded => "no room beside what the source has",
            Self::Replaced => "feature gate CAInjectorMerging is off",
        })
    }
}

/// What goes from all these, each certificate once.
pub(super) fn all(fields: &[Field]) -> Vec<Removed> {
    let mut all: Vec<Removed> = Vec::new();
    for removed in fields.iter().flat_map(|field| &field.removed) {
        if !all.contains(removed) {
            all.push(removed.clone());
        }
    }
    all
}

/// What was taken out, for people. `None`: nothing was.
pub fn told(removed: &[Removed]) -> Option<String> {
    let names =
        removed.iter().map(|Removed { certificate, cause }| format!("{}: {cause}", name(certificate)));
    listed(names, "; ").map(|names| format!("taken out of the CA bundle: {names}"))
}

/// A certificate as it is named to people, who look for it by its fingerprint.
pub(super) fn name(certificate: &Certificate) -> String {
    let subject = clipped(certificate.subject(), SUBJECT_BYTES_MAX);
    format!("{subject:?} (SHA-256 {})", certificate.fingerprint())
}

/// The first of these texts, and how many more there are.
pub(super) fn listed(texts: impl Iterator<Item = String>, between: &str) -> Option<String> {
    let mut texts: Vec<String> = texts.collect();
    let more = match texts.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    texts.truncate(NAMED_MAX);
    (!texts.is_empty()).then(|| format!("{}{more}", texts.join(between)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root;

    #[test]
    fn a_long_list_and_long_names_fit_into_an_event() {
        assert_eq!(told(&[]), None);
        let certificate = root(&"x".repeat(64), 5);
        let removed = vec![Removed { certificate, cause: Cause::Replaced }; 9];
        let told = told(&removed).unwrap();
        assert!(told.ends_with(" and 5 more") && told.len() <= 1024, "{} {told}", told.len());
    }

    #[test]
    fn each_is_told_with_its_fingerprint_and_what_took_it_out() {
        let (old, expired) = (root("Old", 5), root("Expired", -1));
        let expected = format!(
            "taken out of the CA bundle: \"CN=Old\" (SHA-256 {}): --ca-retention; \"CN=Expired\" (SHA-256 {}): it has \
             expired",
            old.fingerprint(),
            expired.fingerprint()
        );
        let removed = [(old, Cause::Retired), (expired, Cause::Expired)]
            .map(|(certificate, cause)| Removed { certificate, cause });
        assert_eq!(told(&removed), Some(expected));
    }
}
