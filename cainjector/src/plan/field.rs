//! What belongs into one bundle field.

use std::collections::HashSet;
use std::sync::Arc;

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit};
use jiff::Timestamp;

use super::{Reason, Refusal};

/// One bundle field.
pub(super) struct Field {
    /// What belongs there.
    pub(super) bundle: Bundle,
    /// What has to be done for that.
    pub(super) change: Change,
}

/// How a field has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all.
    None,
    /// Certificates are to be taken out, and that is all.
    Removal {
        /// When the first of those that have expired did so; `None` where duplicates are all.
        expired_at: Option<Timestamp>,
    },
    /// Certificates are to be added, or the field is damaged.
    Addition,
    /// Certificates are to be taken out that would be trusted otherwise.
    Replacement,
}

impl Field {
    /// What belongs into a field that is `current`: the certificates that it has, then those of the sources in their
    /// order.
    pub(super) fn merged<'a>(
        current: &[u8],
        sources: impl Iterator<Item = &'a Arc<Bundle>>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let present = pem::certificates(current, Limit::BUNDLE).ok();
        let existing = match &present {
            Some(certificates) => Bundle::of(certificates.clone()),
            None => salvage(current)?,
        };
        let merged = sources.fold(existing, |merged, source| Bundle::merge(&merged, source, now));
        let change = present.map_or(Change::Addition, |present| Change::between(&present, &merged, now));
        Ok(Self { bundle: merged, change })
    }

    /// What belongs into a field that is `current`, and is to have the certificates of the source alone.
    pub(super) fn replaced(current: &[u8], source: &Bundle, now: Timestamp) -> Self {
        let bundle = Bundle::merge(&Bundle::default(), source, now);
        let present = pem::certificates(current, Limit::BUNDLE).ok();
        let change =
            present.map_or(Change::Addition, |present| match Change::between(&present, &bundle, now) {
                // What has not expired is taken out because it is trusted no more, and that cannot wait.
                Change::Removal { .. } if has_others(&present, &bundle, now) => Change::Replacement,
                change => change,
            });
        Self { bundle, change }
    }

    /// When the first of its certificates expires.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        let certificates = self.bundle.certificates().iter();
        certificates.map(Certificate::not_after).min()
    }
}

impl Change {
    /// Certificates are compared, not text: comments in a good bundle are no reason to write. One that is there twice is.
    fn between(present: &[Certificate], merged: &Bundle, now: Timestamp) -> Self {
        if present == merged.certificates() {
            return Self::None;
        }
        let known: HashSet<&Certificate> = present.iter().collect();
        if !merged.certificates().iter().all(|certificate| known.contains(certificate)) {
            return Self::Addition;
        }
        let expired = present.iter().map(Certificate::not_after).filter(|not_after| *not_after < now);
        Self::Removal { expired_at: expired.min() }
    }
}

/// Whether there are certificates that have not expired and are not in the bundle.
fn has_others(present: &[Certificate], bundle: &Bundle, now: Timestamp) -> bool {
    let known: HashSet<&Certificate> = bundle.certificates().iter().collect();
    present.iter().any(|certificate| now <= certificate.not_after() && !known.contains(certificate))
}

/// The certificates of a damaged bundle that can still be read. The API server skips what it cannot read, so it may
/// trust them today, and a server may depend on that: all of them stay, or nothing is written.
fn salvage(damaged: &[u8]) -> Result<Bundle, Refusal> {
    let readable = pem::readable_certificates(damaged, Limit::OBJECT).map_err(|error| {
        let text =
            format!("a bundle of the target is too large to be read: {error}; remove what nobody needs");
        Refusal::new(Reason::BundleTooLarge, text)
    })?;
    Ok(Bundle::of(readable.certificates))
}
