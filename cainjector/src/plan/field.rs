//! What belongs into one bundle field.

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
    /// Whether it is there.
    pub(super) in_sync: bool,
}

impl Field {
    /// What belongs into a field that is `current`: the certificates that it has, then those of the sources in their
    /// order.
    pub(super) fn new<'a>(
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
        // Certificates are compared, not text: comments in a good bundle are no reason to write. One that is there twice
        // is.
        let in_sync = present.is_some_and(|certificates| certificates == merged.certificates());
        Ok(Self { bundle: merged, in_sync })
    }

    /// When the first of its certificates expires.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        let certificates = self.bundle.certificates().iter();
        certificates.map(Certificate::not_after).min()
    }
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
