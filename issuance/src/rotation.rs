//! A CA that is replaced with an overlap, so that trust never has a gap: the next one is made and published before it
//! signs anything, and the previous one stays published until the last certificate that it signed has ended.
//!
//! This is the decision alone. Whoever keeps the CA (the webhook's serving certificate, the signer's) asks for a
//! [`Plan`], publishes its bundle, takes its step, stores the result, and asks again until the step is to rest. Nothing
//! here remembers the time, so a clock that jumps costs at most a rotation that would not have been necessary: a CA
//! that is not valid at the moment is replaced, whatever the reason.

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::jitter::Jitter;
use crate::renewal::share;

/// Previous CAs that are kept. An honest rotation has one; a clock that jumps back and forth could pile up more.
const PREVIOUS_MAX: usize = 4;

/// Jitter rotates at most this share of the lifetime early: 5 %.
const JITTER_PERCENT: i32 = 5;

/// When a CA is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    lifetime: SignedDuration,
    rotate_after_percent: u8,
    publish_for: SignedDuration,
    leaf_lifetime: SignedDuration,
}

/// Why a policy would leave gaps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no such share.
    #[error("a CA cannot be rotated after {0} % of its lifetime; write 1 to 99")]
    Percent(u8),
    /// A duration is not positive.
    #[error("a {what} of {duration:#} is none; write a positive duration")]
    Duration {
        /// Which duration.
        what: &'static str,
        /// Its value.
        duration: SignedDuration,
    },
    /// The next CA would have to be published before this one exists.
    #[error(
        "a CA that is rotated after {rotate_after:#} leaves no time to publish the next one for {publish_for:#} \
         before; make the lifetime longer"
    )]
    Publication {
        /// Age at which a CA is replaced, at the earliest.
        rotate_after: SignedDuration,
        /// How long the next one is to be public before.
        publish_for: SignedDuration,
    },
    /// A CA would end before what it signs last.
    #[error(
        "a CA that still signs {left:#} before its end cannot sign certificates of {leaf_lifetime:#}; \
         make its lifetime longer, rotate it earlier, or make theirs shorter"
    )]
    LeafLifetime {
        /// What is left of a CA's life when it is replaced, at the latest.
        left: SignedDuration,
        /// How long the certificates live that it signs.
        leaf_lifetime: SignedDuration,
    },
}

/// The CAs of one authority. It holds certificates alone; keys stay with the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotation {
    /// The CA that signs; `None` before the first one.
    pub current: Option<Certificate>,
    /// The CA that will sign next.
    pub next: Option<Next>,
    /// CAs that no longer sign, but that clients must still trust; oldest first.
    pub previous: Vec<Previous>,
}

/// A CA that does not sign yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Its certificate.
    pub certificate: Certificate,
    /// When clients were first told to trust it; `None` before.
    pub published_at: Option<Timestamp>,
}

/// A CA that no longer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its certificate.
    pub certificate: Certificate,
    /// When the last certificate that it signed ends. It is told when the CA is replaced, so that shorter lives of
    /// later certificates do not cut it.
    pub needed_until: Timestamp,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a CA and let it sign at once, since none can: [`Rotation::create`].
    Create,
    /// Make the next CA and store it: [`Rotation::prepare`].
    Prepare,
    /// See to it that the bundle, which holds the next CA, is where clients read it: [`Rotation::publish`].
    Publish,
    /// Let the next CA sign: [`Rotation::switch`]. What is served should be signed anew.
    Switch,
    /// Forget the next CA, which ended before it began: [`Rotation::drop_next`].
    DropNext,
    /// Forget a previous CA, which no valid certificate needs any more: [`Rotation::drop_previous`].
    DropPrevious(Certificate),
    /// Nothing until [`Plan::again_at`].
    Rest,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub step: Step,
    /// What clients are to trust now: previous, current and next CA, in this order, so that a switch changes nothing
    /// in it.
    pub bundle: Bundle,
    /// When to ask again, if nothing happens before.
    pub again_at: Timestamp,
}

impl Policy {
    /// CAs of this `lifetime`, replaced after a share of it, in per cent; the next one is public for `publish_for`
    /// before it signs; certificates signed live for `leaf_lifetime` at most.
    ///
    /// # Errors
    /// When no overlap fits into the lifetime, or less of it is left after the share than a certificate lives.
    pub fn new(
        lifetime: SignedDuration,
        rotate_after_percent: u8,
        publish_for: SignedDuration,
        leaf_lifetime: SignedDuration,
    ) -> Result<Self, PolicyError> {
        if !(1..100).contains(&rotate_after_percent) {
            return Err(PolicyError::Percent(rotate_after_percent));
        }
        for (what, duration) in
            [("lifetime", lifetime), ("publication", publish_for), ("leaf lifetime", leaf_lifetime)]
        {
            if duration <= SignedDuration::ZERO {
                return Err(PolicyError::Duration { what, duration });
            }
        }
        let rotate_after =
            share(lifetime, rotate_after_percent.into()).saturating_sub(lifetime / 100 * JITTER_PERCENT);
        if rotate_after <= publish_for {
            return Err(PolicyError::Publication { rotate_after, publish_for });
        }
        let left = lifetime.saturating_sub(share(lifetime, rotate_after_percent.into()));
        if left < leaf_lifetime {
            return Err(PolicyError::LeafLifetime { left, leaf_lifetime });
        }
        Ok(Self { lifetime, rotate_after_percent, publish_for, leaf_lifetime })
    }

    /// How long a new CA is to live.
    pub fn lifetime(&self) -> SignedDuration {
        self.lifetime
    }

    /// When the last certificate ends that is signed at `now`.
    pub fn last_leaf_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.leaf_lifetime).unwrap_or(Timestamp::MAX)
    }

    /// When `current` is to be replaced: a share of its own life after its beginning, less the jitter.
    fn rotate_at(&self, current: &Certificate, jitter: Jitter) -> Timestamp {
        let lifetime = current.not_after().duration_since(current.not_before());
        let early = jitter.within(lifetime / 100 * JITTER_PERCENT);
        let age = share(lifetime, self.rotate_after_percent.into()).saturating_sub(early);
        current.not_before().saturating_add(age).unwrap_or(current.not_after())
    }
}

impl Rotation {
    /// Says what to do at `now`. `jitter` is the authority's own: the same each time.
    pub fn plan(&self, policy: &Policy, jitter: Jitter, now: Timestamp) -> Plan {
        let (step, again_at) = self.step(policy, jitter, now);
        let again_at = if step == Step::Rest { self.next_end(now).min(again_at) } else { now };
        Plan { step, bundle: self.bundle(now), again_at }
    }

    /// After [`Step::Create`]: `certificate` signs from now on.
    pub fn create(&mut self, certificate: Certificate, policy: &Policy, now: Timestamp) {
        self.replace(certificate, policy, now);
    }

    /// After [`Step::Prepare`]: `certificate` is to sign next.
    pub fn prepare(&mut self, certificate: Certificate) {
        self.next = Some(Next { certificate, published_at: None });
    }

    /// After [`Step::Publish`]: clients were told to trust the next CA.
    pub fn publish(&mut self, now: Timestamp) {
        if let Some(next) = &mut self.next {
            next.published_at = Some(now);
        }
    }

    /// After [`Step::Switch`]: the next CA signs from now on.
    pub fn switch(&mut self, policy: &Policy, now: Timestamp) {
        if let Some(next) = self.next.take() {
            self.replace(next.certificate, policy, now);
        }
    }

    /// After [`Step::DropNext`].
    pub fn drop_next(&mut self) {
        self.next = None;
    }

    /// After [`Step::DropPrevious`].
    pub fn drop_previous(&mut self, certificate: &Certificate) {
        self.previous.retain(|previous| previous.certificate != *certificate);
    }

    /// What clients are to trust at `now`, oldest first, without what has expired.
    pub fn bundle(&self, now: Timestamp) -> Bundle {
        let previous = self.previous.iter().map(|previous| &previous.certificate);
        let next = self.next.iter().map(|next| &next.certificate);
        let all = previous.chain(&self.current).chain(next);
        Bundle::of(all.filter(|certificate| now <= certificate.not_after()).cloned().collect())
    }

    fn replace(&mut self, certificate: Certificate, policy: &Policy, now: Timestamp) {
        if let Some(current) = self.current.replace(certificate) {
            self.previous.push(Previous { certificate: current, needed_until: policy.last_leaf_end(now) });
        }
    }

    fn step(&self, policy: &Policy, jitter: Jitter, now: Timestamp) -> (Step, Timestamp) {
        let Some(current) = self.current.as_ref().filter(|current| current.is_valid_at(now)) else {
            return (self.step_without_current(now), now);
        };
        let needless = self.previous.iter().find(|previous| !previous.is_needed(now));
        let surplus = self.previous.first().filter(|_| self.previous.len() > PREVIOUS_MAX);
        if let Some(previous) = needless.or(surplus) {
            return (Step::DropPrevious(previous.certificate.clone()), now);
        }
        let rotate_at = policy.rotate_at(current, jitter);
        let Some(next) = &self.next else {
            let prepare_at = rotate_at.saturating_sub(policy.publish_for).unwrap_or(rotate_at);
            return if now < prepare_at { (Step::Rest, prepare_at) } else { (Step::Prepare, now) };
        };
        if next.certificate.not_after() < now {
            return (Step::DropNext, now);
        }
        // A publication in the future is one of a clock that was wrong: how long ago it was, nobody knows.
        let Some(published_at) = next.published_at.filter(|published_at| *published_at <= now) else {
            return (Step::Publish, now);
        };
        let known_at = published_at.saturating_add(policy.publish_for).unwrap_or(Timestamp::MAX);
        let switch_at = known_at.max(rotate_at).max(next.certificate.not_before());
        if now < switch_at { (Step::Rest, switch_at.min(after(current))) } else { (Step::Switch, now) }
    }

    /// No CA can sign: whatever ends that at once is right, and an overlap is a matter for later.
    fn step_without_current(&self, now: Timestamp) -> Step {
        match &self.next {
            Some(next) if next.certificate.is_valid_at(now) => Step::Switch,
            Some(_) => Step::DropNext,
            None => Step::Create,
        }
    }

    /// When the first of the previous CAs is no longer needed.
    fn next_end(&self, now: Timestamp) -> Timestamp {
        let ends = self.previous.iter().map(Previous::end);
        ends.filter(|end| now < *end).min().unwrap_or(Timestamp::MAX)
    }
}

impl Previous {
    /// Whether something that it signed may be valid at `now`.
    pub fn is_needed(&self, now: Timestamp) -> bool {
        now < self.end()
    }

    /// When nothing that it signed is valid any more.
    fn end(&self) -> Timestamp {
        second_after(self.needed_until).min(after(&self.certificate))
    }
}

/// The first second after a certificate's life.
fn after(certificate: &Certificate) -> Timestamp {
    second_after(certificate.not_after())
}

/// Both ends of a validity are within it.
fn second_after(end: Timestamp) -> Timestamp {
    end.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)
}
