//! Which certificates are taken out of bundles although they have not expired.

use std::collections::HashSet;
use std::sync::Arc;

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use jiff::Timestamp;

use super::{Cause, Inputs};
use crate::rotation::{History, Retention};
use crate::settings::{Cap, Withdrawal};

/// What the operator wants to be taken out, and what is known of the source. A certificate of the source itself stays
/// in any case, unless it is denied.
pub(super) struct Withdrawn<'a> {
    rules: &'a Withdrawal,
    history: &'a History,
    source: HashSet<&'a Certificate>,
    now: Timestamp,
}

/// What was taken out of a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether something was that nobody may trust.
    pub(super) has_denied: bool,
    /// Since when the first of the others should not be there.
    pub(super) since: Option<Timestamp>,
    /// When the next one is to be taken out for want of room, if nothing else changes.
    pub(super) next: Option<Timestamp>,
}

impl<'a> Withdrawn<'a> {
    pub(super) fn new(inputs: &'a Inputs, source: &'a Bundle, now: Timestamp) -> Self {
        let source = source.certificates().iter().collect();
        Self { rules: &inputs.withdrawal, history: &inputs.history, source, now }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The source without what nobody may trust.
    pub(super) fn without_denied(&self, source: &Arc<Bundle>) -> Arc<Bundle> {
        if !source.certificates().iter().any(|certificate| self.is_denied(certificate)) {
            return Arc::clone(source);
        }
        let kept = source.certificates().iter().filter(|certificate| !self.is_denied(certificate));
        Arc::new(Bundle::of(kept.cloned().collect()))
    }

    /// A bundle without what is denied, retained no longer, or too much.
    pub(super) fn take_out(&self, bundle: Bundle) -> (Bundle, Taken) {
        if *self.rules == Withdrawal::default() {
            return (bundle, Taken::default());
        }
        let mut taken = Taken::default();
        let mut kept = bundle.into_certificates();
        kept.retain(|certificate| {
            if self.is_denied(certificate) {
                taken.has_denied = true;
                return false;
            }
            match self.retirement(certificate) {
                Some(at) if at <= self.now => {
                    taken.since = taken.since.into_iter().chain([at]).min();
                    false
                }
                _ => true,
            }
        });
        if let Some(cap) = self.rules.cap {
            self.cap(cap, &mut kept, &mut taken);
        }
        (Bundle::of(kept), taken)
    }

    /// Takes out what is beyond the cap and has left the source for long enough; the rest goes when it has.
    fn cap(&self, cap: Cap, kept: &mut Vec<Certificate>, taken: &mut Taken) {
        let surplus = kept.len().saturating_sub(cap.certificates);
        let due = |one: &Certificate| self.left(one)?.checked_add(cap.absence).ok();
        let mut dues: Vec<(Timestamp, Certificate)> =
            kept.iter().filter_map(|one| Some((due(one)?, one.clone()))).collect();
        dues.sort_by_key(|(at, _)| *at);
        dues.truncate(surplus);
        taken.next = dues.iter().map(|(at, _)| *at).find(|at| *at > self.now);
        dues.retain(|(at, _)| *at <= self.now);
        taken.since = taken.since.into_iter().chain(dues.iter().map(|(at, _)| *at)).min();
        let gone: HashSet<Certificate> = dues.into_iter().map(|(_, certificate)| certificate).collect();
        kept.retain(|certificate| !gone.contains(certificate));
    }

    /// When the certificate is retained no longer; None: not before it expires.
    pub(super) fn retirement(&self, certificate: &Certificate) -> Option<Timestamp> {
        if self.rules.retention == Retention::UntilExpiry || self.source.contains(certificate) {
            return None;
        }
        self.history.retirement(certificate, self.rules.retention)
    }

    /// Why a certificate is taken out by [`Self::take_out`], or by a merge before it.
    pub(super) fn cause(&self, certificate: &Certificate) -> Cause {
        match self.retirement(certificate) {
            _ if certificate.not_after() < self.now => Cause::Expired,
            _ if self.is_denied(certificate) => Cause::Denied,
            Some(at) if at <= self.now => Cause::Retired,
            _ => Cause::Surplus,
        }
    }

    /// Why a certificate goes where a bundle has what the source has and nothing else.
    pub(super) fn cause_of_replacement(&self, certificate: &Certificate) -> Cause {
        match self.cause(certificate) {
            cause @ (Cause::Expired | Cause::Denied) => cause,
            _ => Cause::Replaced,
        }
    }

    /// When the certificate left the source; None: it is there, or was never seen there.
    fn left(&self, certificate: &Certificate) -> Option<Timestamp> {
        if self.source.contains(certificate) { None } else { self.history.left(certificate) }
    }

    fn is_denied(&self, certificate: &Certificate) -> bool {
        self.rules.denies(certificate)
    }
}
