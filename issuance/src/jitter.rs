//! Deterministic jitter: what was issued together is not renewed together, and a restart finds the same instants.

use aws_lc_rs::digest;
use jiff::SignedDuration;

/// A share between nothing and (nearly) one, fixed by a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jitter {
    /// Numerator over 2³².
    share: u32,
}

impl Jitter {
    /// No jitter: the latest instant.
    pub const NONE: Self = Self { share: 0 };

    /// The share that belongs to these parts, such as an object's UID and a certificate's serial number. The same
    /// parts always give the same share; where one part ends and the next begins counts.
    pub fn of(seed: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in seed {
            // usize is at most 64 bits wide on every machine that there is.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let share =
            context.finish().as_ref().iter().take(4).fold(0, |share, octet| (share << 8) | u32::from(*octet));
        Self { share }
    }

    /// This share of `range`, in whole seconds rounded down; zero for ranges that are not positive.
    pub fn within(self, range: SignedDuration) -> SignedDuration {
        let seconds = (i128::from(range.as_secs().max(0)) * i128::from(self.share)) >> 32;
        SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_share_and_another_one_another() {
        let share = Jitter::of(&[b"uid", b"serial"]);
        assert_eq!(share, Jitter::of(&[b"uid", b"serial"]));
        assert_ne!(share, Jitter::of(&[b"uid", b"serial2"]));
        assert_ne!(share, Jitter::of(&[b"uidserial"]), "parts must not run into each other");
    }

    #[test]
    fn a_share_lies_within_its_range() {
        let range = SignedDuration::from_hours(1);
        for seed in 0..200_u32 {
            let share = Jitter::of(&[&seed.to_be_bytes()]).within(range);
            assert!(SignedDuration::ZERO <= share && share < range, "{share}");
        }
        assert_eq!(Jitter { share: u32::MAX }.within(SignedDuration::MAX).signum(), 1);
        assert_eq!(Jitter { share: u32::MAX }.within(-range), SignedDuration::ZERO);
        assert_eq!(Jitter::NONE.within(range), SignedDuration::ZERO);
    }

    #[test]
    fn shares_spread_evenly() {
        let mut tenths = [0_usize; 10];
        for seed in 0..1000_u32 {
            let share = Jitter::of(&[&seed.to_be_bytes()]).within(SignedDuration::from_secs(10));
            tenths[usize::try_from(share.as_secs()).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
