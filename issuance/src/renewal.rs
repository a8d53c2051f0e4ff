//! When a certificate is to be renewed (spec/controllers.md §2.2).
//!
//! The desired instant lies a margin before the end of the certificate's life: `renewBefore`, `renewBeforePercentage`,
//! or a third of it. Windows may move it: it stands if it lies in one, else it moves behind the start of the next one,
//! or of the last one before it when the next would open only after the end. Jitter spreads what was issued together,
//! ahead of the desired instant and behind the start of a window.

mod schedule;
#[cfg(test)]
mod tests;
mod window;

use jiff::{SignedDuration, Timestamp};

pub use self::window::{Window, WindowError, are_all_closed_for};
use crate::jitter::Jitter;

/// Jitter takes at most this share of the margin: 5 %.
const JITTER_SHARE: i32 = 20;

/// Behind the start of a window, jitter takes at most this share of what is left of the certificate's life by then, so
/// that a renewal that fails can be tried again.
const LEFT_SHARE: i32 = 2;

/// No renewal in the first third of what remained at issue, so that back-dated certificates of a few seconds work.
const EARLIEST_SHARE: i32 = 3;

/// The margin without one that is usable: a third of the lifetime.
const MARGIN_SHARE: i32 = 3;

/// The life of a certificate. The lifetime is the certificate's, not the one that was asked for: a CA may have cut it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The moment of issue, which is later than `not_before` when the issuer back-dates.
    pub issued_at: Timestamp,
    /// First instant of validity.
    pub not_before: Timestamp,
    /// Last instant of validity.
    pub not_after: Timestamp,
}

/// `spec.renewal.policy` of a Certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Renew ahead of expiry.
    #[default]
    RenewBefore,
    /// Never renew because of the time.
    Disabled,
}

/// What the spec of a Certificate says about renewal.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `spec.renewBefore`: this long ahead of expiry. Of use between nothing and the lifetime, otherwise passed over.
    pub renew_before: Option<SignedDuration>,
    /// `spec.renewBeforePercentage`: this much of the lifetime ahead of expiry. Of use from 1 to 99 and without a
    /// usable `renew_before`, otherwise passed over.
    pub renew_before_percentage: Option<i32>,
    /// `spec.renewal.policy`.
    pub policy: Policy,
    /// `spec.renewal.windows`: when renewal is allowed; at any time without one.
    pub windows: Vec<Window>,
}

/// The instant of renewal, and what windows made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// When to renew, in whole seconds.
    pub at: Timestamp,
    /// How that instant was found.
    pub placement: Placement,
}

/// How windows moved the instant of renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Not at all: it lies in a window, or there are none.
    Desired,
    /// Into the first window behind it: to its start, and on by the jitter.
    NextWindow,
    /// Into the last window before it, since the next one opens after the certificate's end.
    LastWindow,
    /// No window opens during the certificate's life, so they are passed over (`WindowError` in the peer).
    NoWindow,
}

impl Settings {
    /// When to renew; `None` when the policy is not to. `jitter` moves the desired instant ahead by at most 5 % of
    /// the margin, and the instant in another window on by at most as much, never out of that window.
    ///
    /// The work is bounded for each window: a pattern that never matches is no [`Window`].
    pub fn renewal(&self, life: Life, jitter: Jitter) -> Option<Renewal> {
        match self.policy {
            Policy::Disabled => None,
            Policy::RenewBefore => Some(self.place(life, self.desired(life, jitter), jitter)),
        }
    }

    /// The instant of renewal before windows are looked at.
    fn desired(&self, life: Life, jitter: Jitter) -> Timestamp {
        let ahead = self.margin(life).saturating_add(jitter.within(self.spread(life)));
        let wanted = life.not_after.saturating_sub(ahead).unwrap_or(life.not_after);
        whole_seconds(wanted).max(whole_seconds_up(earliest(life))).min(whole_seconds(life.not_after))
    }

    /// How far jitter moves an instant at most.
    fn spread(&self, life: Life) -> SignedDuration {
        self.margin(life) / JITTER_SHARE
    }

    fn margin(&self, life: Life) -> SignedDuration {
        let lifetime = life.not_after.duration_since(life.not_before);
        let usable = |margin: &SignedDuration| SignedDuration::ZERO < *margin && *margin < lifetime;
        let percentage = self.renew_before_percentage.filter(|percentage| (1..100).contains(percentage));
        self.renew_before
            .filter(usable)
            .or_else(|| percentage.map(|percentage| share(lifetime, percentage)).filter(usable))
            .unwrap_or(lifetime / MARGIN_SHARE)
    }

    fn place(&self, life: Life, desired: Timestamp, jitter: Jitter) -> Renewal {
        if self.windows.is_empty() || self.windows.iter().any(|window| window.contains(desired)) {
            return Renewal { at: desired, placement: Placement::Desired };
        }
        let spread = |(start, end): (Timestamp, Timestamp)| {
            let left = life.not_after.duration_since(start) / LEFT_SHARE;
            let spread = self.spread(life).min(end.duration_since(start)).min(left);
            start.saturating_add(jitter.within(spread)).unwrap_or(start)
        };
        let next = self.windows.iter().filter_map(|window| window.next(desired)).min();
        if let Some(next) = next.filter(|(start, _)| *start < life.not_after) {
            return Renewal { at: spread(next), placement: Placement::NextWindow };
        }
        let earliest = whole_seconds_up(earliest(life));
        let last = self.windows.iter().filter_map(|window| window.last_after(earliest, desired)).max();
        match last {
            Some(last) => Renewal { at: spread(last), placement: Placement::LastWindow },
            None => Renewal { at: desired, placement: Placement::NoWindow },
        }
    }
}

/// The instant of renewal without jitter and windows: `renew_before` ahead of expiry where that lies within the
/// certificate's life, otherwise after two thirds of it, and never in the first third of what remained at issue.
pub fn renewal_time(
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    renew_before: Option<SignedDuration>,
) -> Timestamp {
    let settings = Settings { renew_before, ..Settings::default() };
    settings.desired(Life { issued_at, not_before, not_after }, Jitter::NONE)
}

/// So many per cent of a duration, from 0 to 100, in whole seconds; no intermediate result overflows.
pub fn share(duration: SignedDuration, percent: i32) -> SignedDuration {
    let seconds = i128::from(duration.as_secs()) * i128::from(percent) / 100;
    i64::try_from(seconds).map_or(duration, SignedDuration::from_secs)
}

fn earliest(life: Life) -> Timestamp {
    let remaining = life.not_after.duration_since(life.issued_at).max(SignedDuration::ZERO);
    life.issued_at.saturating_add(remaining / EARLIEST_SHARE).unwrap_or(life.not_after)
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn whole_seconds_up(at: Timestamp) -> Timestamp {
    let whole = whole_seconds(at);
    if whole < at { whole.saturating_add(SignedDuration::from_secs(1)).unwrap_or(at) } else { whole }
}
