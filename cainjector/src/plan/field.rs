//! What belongs into one bundle field.

use std::collections::HashSet;
use std::sync::Arc;

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit};
use jiff::Timestamp;

use super::withdrawn::Withdrawn;
use super::{Cause, FieldFacts, Reason, Refusal, Removed};

/// One bundle field.
pub(super) struct Field {
    /// What belongs there.
    pub(super) bundle: Bundle,
    /// What has to be done for that.
    pub(super) change: Change,
    /// What it has that can be read.
    before: Bundle,
    /// What it has, and is not to have.
    pub(super) removed: Vec<Removed>,
    /// Whether it lacks a certificate of the source.
    pub(super) lacks_source: bool,
    /// Whether it is to have one that it does not have: of the source, or one that the source had meanwhile.
    pub(super) gains: bool,
    /// When something has to be done although nothing else changes: a certificate expires, or is retained no longer.
    pub(super) changes_at: Option<Timestamp>,
}

/// How a field has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all.
    None,
    /// Certificates are to be taken out, and that is all.
    Removal {
        /// Since when the first of them should not be there; `None` where duplicates are all.
        since: Option<Timestamp>,
    },
    /// Certificates are to be added, or the field is damaged.
    Addition,
    /// Certificates are to be taken out that would be trusted otherwise.
    Replacement,
}

impl Field {
    /// What belongs into a field that is `current`: the certificates that it has, then those that the source had
    /// meanwhile and has now in their order, but for those that are withdrawn.
    pub(super) fn merged<'a>(
        current: &[u8],
        recent: impl Iterator<Item = &'a Arc<Bundle>>,
        source: &'a Arc<Bundle>,
        withdrawn: &Withdrawn<'_>,
    ) -> Result<Self, Refusal> {
        let now = withdrawn.now();
        let present = pem::certificates(current, Limit::BUNDLE).ok();
        let existing = match &present {
            Some(certificates) => Bundle::of(certificates.clone()),
            None => salvage(current)?,
        };
        let lacks_source = lacks(existing.certificates(), source, now);
        let known: HashSet<Certificate> = existing.certificates().iter().cloned().collect();
        let before = existing.clone();
        let sources = recent.chain([source]);
        let merged = sources.fold(existing, |merged, source| Bundle::merge(&merged, source, now));
        let (bundle, taken) = withdrawn.take_out(merged);
        let gains = bundle.certificates().iter().any(|certificate| !known.contains(certificate));
        let change = match present {
            None => Change::Addition,
            Some(present) => match Change::between(&present, &bundle, now) {
                Change::Removal { .. } if taken.has_denied => Change::Replacement,
                Change::Removal { since } => {
                    Change::Removal { since: since.into_iter().chain(taken.since).min() }
                }
                change => change,
            },
        };
        let retires = bundle.certificates().iter().filter_map(|one| withdrawn.retirement(one));
        let changes_at = expires(&bundle).into_iter().chain(retires).chain(taken.next).min();
        let removed = removed(before.certificates(), &bundle, |gone| withdrawn.cause(gone));
        Ok(Self { bundle, change, before, removed, lacks_source, gains, changes_at })
    }

    /// What belongs into a field that is `current`, and is to have the certificates of the source alone.
    pub(super) fn replaced(current: &[u8], source: &Bundle, withdrawn: &Withdrawn<'_>) -> Self {
        let now = withdrawn.now();
        let bundle = Bundle::merge(&Bundle::default(), source, now);
        let present = pem::certificates(current, Limit::BUNDLE).ok();
        let before = match &present {
            Some(certificates) => Bundle::of(certificates.clone()),
            // What is too large to be read is not told of.
            None => salvage(current).unwrap_or_default(),
        };
        let lacks_source = lacks(present.as_deref().unwrap_or_default(), source, now);
        let cause = |gone: &Certificate| withdrawn.cause_of_replacement(gone);
        let removed = removed(before.certificates(), &bundle, cause);
        let change =
            present.map_or(Change::Addition, |present| match Change::between(&present, &bundle, now) {
                // What has not expired is taken out because it is trusted no more, and that cannot wait.
                Change::Removal { .. } if has_others(&present, &bundle, now) => Change::Replacement,
                change => change,
            });
        let changes_at = expires(&bundle);
        Self { bundle, change, before, removed, lacks_source, gains: lacks_source, changes_at }
    }

    /// There was no room for these, some of which it may have had.
    pub(super) fn crowded_out(&mut self, gone: Vec<Certificate>) {
        let had = gone.into_iter().filter(|certificate| self.before.contains(certificate));
        let cause = Cause::Crowded;
        self.removed.extend(had.map(|certificate| Removed { certificate, cause }));
    }

    /// What it is to be.
    pub(super) fn facts(&self) -> FieldFacts {
        let certificates = self.bundle.certificates().len();
        FieldFacts { certificates, first_expiry: expires(&self.bundle) }
    }
}

/// What is there and is not to be, each once.
fn removed(before: &[Certificate], bundle: &Bundle, cause: impl Fn(&Certificate) -> Cause) -> Vec<Removed> {
    let mut known: HashSet<&Certificate> = bundle.certificates().iter().collect();
    let gone = before.iter().filter(|certificate| known.insert(certificate));
    gone.map(|gone| Removed { certificate: gone.clone(), cause: cause(gone) }).collect()
}

/// When the first of the certificates expires.
fn expires(bundle: &Bundle) -> Option<Timestamp> {
    bundle.certificates().iter().map(Certificate::not_after).min()
}

/// Whether one of the source's certificates that has not expired is not among these.
fn lacks(present: &[Certificate], source: &Bundle, now: Timestamp) -> bool {
    let known: HashSet<&Certificate> = present.iter().collect();
    let mut usable = source.certificates().iter().filter(|one| now <= one.not_after());
    usable.any(|certificate| !known.contains(certificate))
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
        Self::Removal { since: expired.min() }
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
