//! Who holds how much of the memory for bodies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use admission::review::Denial;
use bytes::Bytes;
use runtime::lock::lock;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{BODY_BYTES_MAX, SMALL_BYTES_MAX};

/// Memory for small bodies alone, so that large ones cannot keep them out.
pub(super) const SMALL_BODIES_KIB_MAX: usize = 16 * 1024;
/// Memory for large bodies, and for small ones that find none of their own. With the above it is a third of what
/// the chart gives the container: bodies that grow, the one that is judged and what the allocator keeps take as much again.
pub(super) const LARGE_BODIES_KIB_MAX: usize = 24 * 1024;

/// A body stalls when no further step of this many bytes has come of it for a while: it makes no difference whether
/// the rest trickles.
const STEP_BYTES: usize = 64 * 1024;
/// For how long: a packet that was lost comes again sooner. The largest body that comes no faster than a step in this
/// time would be late anyway.
pub(super) const STALL_TIME_MIN: Duration = Duration::from_millis(250);

/// The memory for bodies.
#[derive(Debug, Default)]
pub struct Budget {
    ledger: Mutex<Ledger>,
}

impl Budget {
    /// Memory for a body of `length` bytes that has come whole.
    pub(super) fn share(&self, length: usize) -> Result<Share<'_>, Denial> {
        let taken = lock(&self.ledger).take(length.div_ceil(1024), length <= SMALL_BYTES_MAX);
        taken.map(|taken| Share { budget: self, taken }).ok_or_else(none_left)
    }

    /// What is left, in KiB: for small bodies, and for others.
    #[cfg(test)]
    pub(super) fn room(&self) -> (usize, usize) {
        let used = lock(&self.ledger).used;
        (SMALL_BODIES_KIB_MAX - used.small, LARGE_BODIES_KIB_MAX - used.large)
    }
}

/// Memory, in KiB.
#[derive(Debug, Default, Clone, Copy)]
struct Kib {
    /// Of that for small bodies.
    small: usize,
    /// Of the other.
    large: usize,
}

#[derive(Debug, Default)]
struct Ledger {
    used: Kib,
    /// Bodies that have not come whole, by number.
    arriving: BTreeMap<u64, Arrival>,
    next: u64,
}

#[derive(Debug)]
struct Arrival {
    taken: Kib,
    /// When the last step of it had come.
    stepped: Instant,
    slot: Arc<Slot>,
}

/// What has come of a body. None: it was given up.
#[derive(Debug)]
struct Slot {
    bytes: Mutex<Option<Vec<u8>>>,
    given_up: Notify,
}

impl Ledger {
    /// Takes memory; that of bodies that stall, if there is no other.
    fn take(&mut self, kib: usize, is_small: bool) -> Option<Kib> {
        loop {
            if is_small && kib <= SMALL_BODIES_KIB_MAX.saturating_sub(self.used.small) {
                self.used.small += kib;
                return Some(Kib { small: kib, large: 0 });
            }
            if kib <= LARGE_BODIES_KIB_MAX.saturating_sub(self.used.large) {
                self.used.large += kib;
                return Some(Kib { small: 0, large: kib });
            }
            self.give_one_up(is_small)?;
        }
    }

    fn give_back(&mut self, taken: Kib) {
        self.used.small = self.used.small.saturating_sub(taken.small);
        self.used.large = self.used.large.saturating_sub(taken.large);
    }

    /// Takes its memory from the body that has stalled for longest. None: none does that has what is needed.
    fn give_one_up(&mut self, is_small: bool) -> Option<()> {
        let stalls = |arrival: &Arrival| arrival.stepped.elapsed() >= STALL_TIME_MIN;
        let helps = |arrival: &Arrival| arrival.taken.large > 0 || is_small && arrival.taken.small > 0;
        let able = self.arriving.iter().filter(|(_, arrival)| helps(arrival) && stalls(arrival));
        let (number, _) = able.min_by_key(|(_, arrival)| arrival.stepped)?;
        let arrival = self.arriving.remove(&number.clone())?;
        self.give_back(arrival.taken);
        lock(&arrival.slot.bytes).take();
        arrival.slot.given_up.notify_one();
        Some(())
    }

    /// Notes that a body has come so far. Whether it is still there, and has room for so much.
    fn grow(&mut self, number: u64, more_kib: usize, is_small: bool, stepped: bool) -> Result<(), Denial> {
        let arrival = self.arriving.get_mut(&number).ok_or_else(evicted)?;
        if stepped {
            arrival.stepped = Instant::now();
        }
        if more_kib == 0 {
            return Ok(());
        }
        let more = self.take(more_kib, is_small).ok_or_else(none_left)?;
        match self.arriving.get_mut(&number) {
            Some(arrival) => {
                arrival.taken.small += more.small;
                arrival.taken.large += more.large;
                Ok(())
            }
            // It stalled itself for longest.
            None => {
                self.give_back(more);
                Err(evicted())
            }
        }
    }
}

fn none_left() -> Denial {
    let message = "too many reviews at once: there is no memory left for the body; try again";
    Denial::new(503, "ServiceUnavailable", message)
}

/// What is told of a body whose memory another one got.
pub(super) fn evicted() -> Denial {
    let message = "the body came so slowly that others got its memory; try again";
    Denial::new(503, "ServiceUnavailable", message)
}

/// What a body holds of the budget.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    taken: Kib,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        lock(&self.budget.ledger).give_back(self.taken);
    }
}

/// A body that comes piece by piece.
#[derive(Debug)]
pub(super) struct Arriving<'a> {
    budget: &'a Budget,
    number: u64,
    slot: Arc<Slot>,
    told: Option<usize>,
    length: usize,
    /// Bytes for which there is room.
    room: usize,
}

impl<'a> Arriving<'a> {
    /// Nothing has come yet of a body that will have so many bytes, if that was told.
    pub(super) fn new(budget: &'a Budget, told: Option<usize>) -> Self {
        let slot = Arc::new(Slot { bytes: Mutex::new(Some(Vec::new())), given_up: Notify::new() });
        let arrival = Arrival { taken: Kib::default(), stepped: Instant::now(), slot: Arc::clone(&slot) };
        let mut ledger = lock(&budget.ledger);
        let number = ledger.next;
        ledger.next = ledger.next.wrapping_add(1);
        ledger.arriving.insert(number, arrival);
        drop(ledger);
        Self { budget, number, slot, told, length: 0, room: 0 }
    }

    /// How much has come, in bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Waits until the body was given up for another.
    pub(super) async fn evicted(&self) {
        self.slot.given_up.notified().await;
    }

    /// Adds what has come.
    ///
    /// # Errors
    /// There is no memory for it, or the body was given up for another.
    pub(super) fn add(&mut self, data: &[u8]) -> Result<(), Denial> {
        let length = self.length.saturating_add(data.len());
        let room = if length > self.room { room_for(length, self.told) } else { self.room };
        let more_kib = room.div_ceil(1024).saturating_sub(self.room.div_ceil(1024));
        let stepped = length / STEP_BYTES > self.length / STEP_BYTES;
        if more_kib > 0 || stepped {
            lock(&self.budget.ledger).grow(self.number, more_kib, room <= SMALL_BYTES_MAX, stepped)?;
        }
        let mut slot = lock(&self.slot.bytes);
        let bytes = slot.as_mut().ok_or_else(evicted)?;
        if room > self.room {
            bytes.reserve_exact(room.saturating_sub(bytes.len()));
        }
        bytes.extend_from_slice(data);
        (self.length, self.room) = (length, room);
        Ok(())
    }

    /// The body, which has come whole: from now on nobody takes its memory.
    ///
    /// # Errors
    /// It was given up for another.
    pub(super) fn whole(self) -> Result<(Bytes, Share<'a>), Denial> {
        let arrival = lock(&self.budget.ledger).arriving.remove(&self.number).ok_or_else(evicted)?;
        let share = Share { budget: self.budget, taken: arrival.taken };
        let bytes = lock(&self.slot.bytes).take().ok_or_else(evicted)?;
        Ok((bytes.into(), share))
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        let mut ledger = lock(&self.budget.ledger);
        if let Some(arrival) = ledger.arriving.remove(&self.number) {
            ledger.give_back(arrival.taken);
        }
    }
}

/// How many bytes to make room for once so many have come: for as many again, so that they are seldom moved, but for no
/// more than come, and no more than small bodies have while this may be one.
fn room_for(length: usize, told: Option<usize>) -> usize {
    let bound = if length <= SMALL_BYTES_MAX { SMALL_BYTES_MAX } else { BODY_BYTES_MAX };
    length.saturating_mul(2).min(bound).min(told.unwrap_or(usize::MAX)).max(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_for_as_much_again_and_no_more_than_comes() {
        const KIB: usize = 1024;
        for (length, told, wanted) in [
            (KIB, None, 2 * KIB),
            (KIB, Some(7 * KIB * KIB), 2 * KIB),
            (KIB, Some(KIB + 1), KIB + 1),
            (KIB, Some(1), KIB),
            (40 * KIB, None, SMALL_BYTES_MAX),
            (SMALL_BYTES_MAX, None, SMALL_BYTES_MAX),
            (SMALL_BYTES_MAX + 1, None, 2 * SMALL_BYTES_MAX + 2),
            (BODY_BYTES_MAX - 1, None, BODY_BYTES_MAX),
        ] {
            assert_eq!(room_for(length, told), wanted, "{length} of {told:?}");
        }
    }
}
