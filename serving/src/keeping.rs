//! What becomes of the CAs in the Secret. Pure: what is stored, what is known of the callers and the time come in; what
//! is to be stored comes out.
//!
//! Every replica decides by the same rules and writes only what nobody else has written since it read, so they agree
//! without a leader: the first to write wins, and the others find that there is nothing left to do. Who is first to
//! replace a CA before its time is a matter of jitter, not of chance.
//!
//! **Beside cert-manager's webhook.** Its replicas replace a CA within a minute once less than a third of its life is
//! left, and at once when `ca.crt` is not `tls.crt`. Whether one is running cannot be asked with the rights that this
//! program has, but it can be seen: a CA that is not ours and is still there some time after two thirds of its life
//! has nobody who looks after it. So a CA of somebody else's is left alone until then. One of ours is replaced before
//! two thirds of its life, so that cert-manager's webhook always finds one that it takes as it is.

use std::fmt;
use std::sync::Arc;

use issuance::authority::Authority;
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::jitter::Jitter;
use issuance::key::PrivateKey;
use issuance::rotation::{Policy, PolicyError, Previous, Step};
use jiff::{SignedDuration, Timestamp};

use super::stored::{NextCa, Stored};
use super::{CA_COMMON_NAME, CA_KEY, ServingError, Trust};
use crate::configurations::{Observed, Wanted};

/// When a CA of ours is replaced, in per cent of its life; jitter makes that 60 to 65.
const OWN_PERCENT: u8 = 65;
/// The same for a CA of somebody else's: 67 to 72 with jitter, so more than a day after two thirds of a year.
const FOREIGN_PERCENT: u8 = 72;
/// What is left of a CA's life when it is replaced, at the latest; no leaf lives longer.
const LEFT_PERCENT: i64 = 28;

/// From the moment when the configurations are seen to trust a CA until all API servers surely have heard of it.
const SEEN_PUBLICATION: SignedDuration = SignedDuration::from_mins(1);
/// The same where that cannot be seen: a cainjector may have to be restarted first.
const UNSEEN_PUBLICATION: SignedDuration = SignedDuration::from_hours(1);
/// A publication takes at most this share of a CA's life: 5 %.
const PUBLICATION_SHARE: i32 = 20;
/// A CA with less left is replaced even if callers are not known to trust the next one.
const LAST_RESORT_MAX: SignedDuration = SignedDuration::from_hours(24);
/// The same as a share of its life: 5 %.
const LAST_RESORT_SHARE: i32 = 20;

/// Clocks of two nodes may differ by so much: a CA that begins within it was made by a replica on another node.
pub const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);
/// CAs that are remembered after they were replaced unasked.
const OUSTED_MAX: usize = 4;
/// A rotation has no more steps that can be taken at one time.
const STEPS_MAX: usize = 20;

/// How long the CA and what it signs live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    ca: SignedDuration,
    leaf: SignedDuration,
}

impl Lifetimes {
    /// CAs and leaves of these lifetimes; leaves live no longer than what is left of a CA's life when it is replaced.
    ///
    /// # Errors
    /// When one of them is not positive, or a CA's life has no room for an overlap.
    pub fn new(ca: SignedDuration, leaf: SignedDuration) -> Result<Self, PolicyError> {
        let left = SignedDuration::from_secs(ca.as_secs().saturating_mul(LEFT_PERCENT) / 100);
        let lifetimes = Self { ca, leaf: leaf.min(left) };
        for (is_own, overlap) in [(true, true), (true, false), (false, true), (false, false)] {
            lifetimes.policy(is_own, overlap)?;
        }
        Ok(lifetimes)
    }

    /// How long a leaf lives.
    pub fn leaf(&self) -> SignedDuration {
        self.leaf
    }

    /// When a CA is replaced: one of ours or not, its successor published in `ca.crt` or in the configurations.
    fn policy(&self, is_own: bool, overlap: bool) -> Result<Policy, PolicyError> {
        let percent = if is_own { OWN_PERCENT } else { FOREIGN_PERCENT };
        let publication = if overlap { UNSEEN_PUBLICATION } else { SEEN_PUBLICATION };
        Policy::new(self.ca, percent, publication.min(self.ca / PUBLICATION_SHARE), self.leaf)
    }

    fn last_leaf_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.leaf).unwrap_or(Timestamp::MAX)
    }
}

/// What a decision depends on besides the Secret.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// How long things live.
    pub lifetimes: &'a Lifetimes,
    /// The CA under which this replica serves.
    pub served: Option<&'a Certificate>,
    /// What was stored when this replica looked last.
    pub remembered: &'a Stored,
    /// What is known of the own configurations.
    pub observed: &'a Observed,
    /// Name of this replica, from which its jitter comes.
    pub replica: &'a str,
}

/// What has changed, and is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is a new CA that signs at once, because of this.
    Created(String),
    /// What was wrong with the rest of the Secret.
    Mended(String),
    /// There is a CA that will sign next.
    Prepared,
    /// Callers trust the next CA.
    Published,
    /// The next CA is to make callers trust it through `ca.crt`.
    PublishedInSecret,
    /// The next CA signs.
    Switched,
    /// The next CA ended before it began.
    NextDropped,
    /// A CA that was replaced by somebody else is remembered until its leaves have ended.
    Ousted,
    /// A previous CA is needed no more.
    PreviousDropped,
    /// `ca.crt` is `tls.crt` again.
    Rested,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(reason) => write!(f, "a new CA, because {reason}"),
            Self::Mended(flaw) => write!(f, "mended, because {flaw}"),
            Self::Prepared => f.write_str("the next CA is prepared"),
            Self::Published => f.write_str("callers trust the next CA"),
            Self::PublishedInSecret => f.write_str("the next CA is published in ca.crt"),
            Self::Switched => f.write_str("the next CA has taken over"),
            Self::NextDropped => f.write_str("the next CA is dropped, since it follows no other"),
            Self::Ousted => f.write_str("a CA that somebody replaced is remembered while its leaves live"),
            Self::PreviousDropped => f.write_str("a previous CA is dropped, since its last leaf has ended"),
            Self::Rested => f.write_str("the rotation is over"),
        }
    }
}

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// There is one CA.
    Rest,
    /// The next CA waits for callers to trust it.
    Prepared,
    /// The next CA is trusted and waits for its time.
    Published,
    /// A previous CA is still trusted.
    Overlap,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rest, Self::Prepared, Self::Published, Self::Overlap];

    /// Label value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Prepared => "prepared",
            Self::Published => "published",
            Self::Overlap => "overlap",
        }
    }

    /// The phase at `now`.
    pub fn of(stored: &Stored, now: Timestamp) -> Self {
        match &stored.next {
            Some(NextCa { published_at: None, .. }) => Self::Prepared,
            Some(_) => Self::Published,
            None if stored.previous.iter().any(|previous| previous.is_needed(now)) => Self::Overlap,
            None => Self::Rest,
        }
    }
}

/// Does everything that can be done at `now`. When the changes are empty, there is nothing to write.
///
/// # Errors
/// When a CA has to be made and cannot.
pub fn advance(
    stored: &mut Stored,
    situation: &Situation<'_>,
    now: Timestamp,
) -> Result<Vec<Change>, ServingError> {
    let mut changes = Vec::new();
    while changes.len() < STEPS_MAX {
        let Some(change) = step(stored, situation, now)? else {
            break;
        };
        changes.push(change);
    }
    // Whatever is written mends it.
    changes.extend(stored.flaw.take().map(Change::Mended));
    Ok(changes)
}

/// The moment at which a CA is looked at: the present, or its beginning where the clocks of two nodes merely differ.
pub fn moment(ca: &Certificate, now: Timestamp) -> Timestamp {
    let ahead = ca.not_before().duration_since(now);
    if ahead <= CLOCK_SKEW_MAX { now.max(ca.not_before()) } else { now }
}

fn step(
    stored: &mut Stored,
    situation: &Situation<'_>,
    now: Timestamp,
) -> Result<Option<Change>, ServingError> {
    let Situation { lifetimes, observed, replica, .. } = *situation;
    let current = stored.current.as_ref().map(|current| current.certificate().clone());
    let now = current.as_ref().map_or(now, |current| moment(current, now));
    if current.is_some()
        && let Some(ousted) = ousted(stored, situation, now)
    {
        stored.previous.push(ousted);
        return Ok(Some(Change::Ousted));
    }
    let mut rotation = stored.rotation();
    // One that nothing needs is forgotten only after it was taken out of the configurations.
    rotation.previous.retain(|previous| previous.is_needed(now) || !observed.keeps(&previous.certificate));
    let policy = lifetimes.policy(stored.is_own, stored.overlap).map_err(ServingError::Lifetimes)?;
    let jitter = Jitter::of(&[replica.as_bytes(), current.as_ref().map_or(&[], |current| current.der())]);
    let change = match rotation.plan(&policy, jitter, now).step {
        Step::Create => Some(create(stored, situation, now)?),
        Step::Prepare => {
            stored.next = Some(NextCa { authority: new_ca(lifetimes.ca, now)?, published_at: None });
            Some(Change::Prepared)
        }
        Step::Publish => publish(stored, observed, now),
        Step::Switch if is_switch_safe(stored, observed, now) => {
            if let Some(next) = stored.next.take() {
                take_over(stored, next.authority, lifetimes, now);
            }
            Some(Change::Switched)
        }
        Step::DropNext => {
            if let Some(next) = stored.next.take() {
                stored.retire(next.authority.certificate().clone(), Timestamp::UNIX_EPOCH);
            }
            Some(Change::NextDropped)
        }
        Step::DropPrevious(certificate) => {
            stored.previous.retain(|previous| previous.certificate != certificate);
            Some(Change::PreviousDropped)
        }
        Step::Switch => None,
        Step::Rest => {
            let is_over = stored.overlap && Phase::of(stored, now) == Phase::Rest;
            stored.overlap &= !is_over;
            is_over.then_some(Change::Rested)
        }
    };
    Ok(change)
}

/// A CA that this replica knows of and the Secret does not, because somebody has replaced or deleted it, and that is
/// needed, or still has to be taken out of the configurations.
fn ousted(stored: &Stored, situation: &Situation<'_>, now: Timestamp) -> Option<Previous> {
    let Situation { lifetimes, served, remembered, observed, .. } = *situation;
    if stored.previous.len() >= OUSTED_MAX {
        return None;
    }
    let signs = |certificate: &Certificate| Previous {
        certificate: certificate.clone(),
        needed_until: lifetimes.last_leaf_end(now),
    };
    let signs_nothing = |authority: &Arc<Authority>| Previous {
        certificate: authority.certificate().clone(),
        needed_until: Timestamp::UNIX_EPOCH,
    };
    let next = remembered.next.iter().map(|next| &next.authority);
    served
        .map(signs)
        .into_iter()
        .chain(remembered.previous.iter().cloned())
        .chain(remembered.current.iter().chain(next).map(signs_nothing))
        .filter(|known| !stored.knows(&known.certificate))
        .find(|known| known.is_needed(now) || observed.keeps(&known.certificate))
}

/// Makes a CA.
///
/// # Errors
/// When the machine has no randomness, or the clock is beyond all dates.
pub fn new_ca(lifetime: SignedDuration, now: Timestamp) -> Result<Arc<Authority>, ServingError> {
    let key = PrivateKey::generate(CA_KEY).map_err(ServingError::Key)?;
    let authority = Authority::self_signed(CA_COMMON_NAME, key, lifetime, now).map_err(ServingError::Ca)?;
    Ok(Arc::new(authority))
}

/// Makes a CA that signs at once. Where a cainjector copies `ca.crt`, and may copy it over what is there, that tells of
/// the CA that is still served under, too.
fn create(stored: &mut Stored, situation: &Situation<'_>, now: Timestamp) -> Result<Change, ServingError> {
    let Situation { lifetimes, served, observed, .. } = *situation;
    let reason = stored.flaw.take().or_else(|| {
        let current = stored.current.as_ref()?.certificate();
        Some(format!("it is valid from {} to {}", current.not_before(), current.not_after()))
    });
    take_over(stored, new_ca(lifetimes.ca, now)?, lifetimes, now);
    stored.overlap |= served.is_some() && observed.is_left_to_others();
    Ok(Change::Created(reason.unwrap_or_default()))
}

fn take_over(stored: &mut Stored, authority: Arc<Authority>, lifetimes: &Lifetimes, now: Timestamp) {
    stored.is_own = true;
    if let Some(old) = stored.current.replace(authority)
        && now <= old.certificate().not_after()
    {
        stored.retire(old.certificate().clone(), lifetimes.last_leaf_end(now));
    }
}

/// Notes that callers trust the next CA, or makes `ca.crt` tell them.
fn publish(stored: &mut Stored, observed: &Observed, now: Timestamp) -> Option<Change> {
    let is_late = is_last_resort(stored, now);
    let next = stored.next.as_mut()?;
    let trust = observed.trust(next.authority.certificate());
    if !trust.is_empty() && trust.iter().all(|trust| *trust == Trust::Present) {
        next.published_at = Some(now);
        return Some(Change::Published);
    }
    if !is_late && (observed.is_in_our_hands() || trust.contains(&Trust::Unknown)) {
        return None; // the injectors are at it
    }
    next.published_at = Some(now);
    stored.overlap = true;
    Some(Change::PublishedInSecret)
}

/// Whether no caller is known who would not trust the next CA.
fn is_switch_safe(stored: &Stored, observed: &Observed, now: Timestamp) -> bool {
    let is_valid = |current: &Arc<Authority>| current.certificate().is_valid_at(now);
    let Some(next) = stored.next.as_ref().filter(|_| stored.current.as_ref().is_some_and(is_valid)) else {
        return true;
    };
    let trust = observed.trust(next.authority.certificate());
    let lacks = trust.iter().any(|trust| matches!(trust, Trust::Missing | Trust::Unknown));
    !lacks || is_last_resort(stored, now)
}

/// Whether the CA will end so soon that waiting for callers' trust is no longer better than going without.
fn is_last_resort(stored: &Stored, now: Timestamp) -> bool {
    let Some(current) = stored.current.as_ref().map(|current| current.certificate()) else {
        return true;
    };
    let lifetime = current.not_after().duration_since(current.not_before());
    let left = current.not_after().duration_since(now);
    left < LAST_RESORT_MAX.min(lifetime / LAST_RESORT_SHARE)
}

/// The certificates that callers should trust, given what is stored and what this replica serves under.
pub fn wanted(stored: &Stored, served: Option<&Certificate>, now: Timestamp) -> Wanted {
    let of = |authority: &Arc<Authority>| authority.certificate().clone();
    let mut required: Vec<Certificate> = stored.current.iter().map(of).collect();
    required.extend(stored.next.iter().map(|next| of(&next.authority)));
    let (needed, retired): (Vec<&Previous>, Vec<&Previous>) =
        stored.previous.iter().partition(|previous| previous.is_needed(now));
    let certificates = |previous: Vec<&Previous>| -> Vec<Certificate> {
        previous.into_iter().map(|previous| previous.certificate.clone()).collect()
    };
    let (mut older, mut retired) = (certificates(needed), certificates(retired));
    // What this replica serves under is trusted, whatever others think of it.
    older.extend(served.filter(|served| !required.contains(served)).cloned());
    retired.retain(|retired| Some(retired) != served);
    Wanted { older: Bundle::of(older).into_certificates(), required, retired }
}
