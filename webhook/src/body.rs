//! Reads request bodies within a budget of memory that all requests share.
//!
//! Nobody waits for memory, least of all while holding some. A body is charged for what has come of it, and for the room
//! that is made for as much again, never for what is merely told. Where there is none left, the body that has stalled for
//! longest gives up what it holds; only where none stalls is the newcomer told to try again.

mod ledger;

use std::time::Duration;

use admission::review::Denial;
use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body_util::BodyExt as _;

pub use ledger::Budget;
use ledger::{Arriving, Share};

/// Largest body: an object of 3 MiB, the most that etcd and the API server take, before and after, and the envelope.
pub const BODY_BYTES_MAX: usize = 7 * 1024 * 1024;
/// Time for a body to arrive whole: half of a review's, and ample for the largest over a slow tunnel.
const BODY_TIME_MAX: Duration = Duration::from_secs(4);
/// How much of a refused body is read and dropped, so that its sender gets to read the answer.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bodies up to this are small; nearly all reviews are, and take some KiB.
pub(crate) const SMALL_BYTES_MAX: usize = 64 * 1024;

/// A body, and its share of the budget.
#[derive(Debug)]
pub struct Held<'a> {
    /// The bytes.
    pub bytes: Bytes,
    _share: Share<'a>,
}

/// Reads a body up to [`BODY_BYTES_MAX`].
///
/// # Errors
/// A denial: the body broke off, is larger, did not arrive in time, or there is no memory for it.
pub async fn read(budget: &Budget, mut body: Body) -> Result<Held<'_>, Denial> {
    let deadline = tokio::time::Instant::now() + BODY_TIME_MAX;
    let refusal = match tokio::time::timeout_at(deadline, collect(budget, &mut body)).await {
        Ok(Ok(held)) => return Ok(held),
        Ok(Err(refusal)) => refusal,
        Err(_) => {
            let message = format!("the body did not arrive within {BODY_TIME_MAX:?}; try again");
            return Err(Denial::new(504, "Timeout", message));
        }
    };
    // Whether all of it comes makes no difference to the answer.
    let _ = tokio::time::timeout_at(deadline, discard(body)).await;
    Err(refusal)
}

async fn collect<'a>(budget: &'a Budget, body: &mut Body) -> Result<Held<'a>, Denial> {
    let told = body.size_hint().exact().map(|told| usize::try_from(told).unwrap_or(usize::MAX));
    check_length(told.unwrap_or_default())?;
    let Some(first) = next(body).await? else {
        return Ok(Held { bytes: Bytes::new(), _share: budget.share(0)? });
    };
    check_length(first.len())?;
    if body.is_end_stream() {
        // Nearly always; then nothing is copied.
        let share = budget.share(first.len())?;
        return Ok(Held { bytes: first, _share: share });
    }
    let mut arriving = Arriving::new(budget, told);
    arriving.add(&first)?;
    drop(first);
    loop {
        let data = tokio::select! {
            biased;
            () = arriving.evicted() => return Err(ledger::evicted()),
            data = next(body) => data?,
        };
        let Some(data) = data else { break };
        check_length(arriving.length().saturating_add(data.len()))?;
        arriving.add(&data)?;
    }
    let (bytes, share) = arriving.whole()?;
    Ok(Held { bytes, _share: share })
}

/// The next bytes of a body; None: it has come whole.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Denial> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Denial::malformed(format!("the body cannot be read: {error}")))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data)); // the others are trailers
        }
    }
    Ok(None)
}

fn check_length(length: usize) -> Result<(), Denial> {
    if length <= BODY_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
    Err(Denial::new(413, "RequestEntityTooLarge", message))
}

async fn discard(mut body: Body) {
    let mut length: usize = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length = length.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if length > DISCARDED_BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::{FutureExt as _, StreamExt as _, stream};
    use http_body::{Frame, SizeHint};

    use super::*;

    const MIB: usize = 1 << 20;

    /// A body whose length is told beforehand.
    struct Told {
        length: usize,
        body: Body,
    }

    impl http_body::Body for Told {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Pin::new(&mut self.body).poll_frame(cx)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.length as u64)
        }
    }

    fn told(length: usize, body: Body) -> Body {
        Body::new(Told { length, body })
    }

    fn in_pieces(bytes: &[u8], size: usize) -> Body {
        let pieces: Vec<_> =
            bytes.chunks(size).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    /// The body of a sender who sends so much and then stalls.
    fn stalled(length: usize) -> Body {
        let sent = Ok::<_, std::io::Error>(Bytes::from(vec![b' '; length]));
        Body::from_stream(stream::iter([sent]).chain(stream::pending()))
    }

    use super::ledger::{LARGE_BODIES_KIB_MAX, SMALL_BODIES_KIB_MAX, STALL_TIME_MIN};

    /// What is left, in KiB.
    fn room(budget: &Budget) -> (usize, usize) {
        budget.room()
    }

    const ALL: (usize, usize) = (SMALL_BODIES_KIB_MAX, LARGE_BODIES_KIB_MAX);

    /// Takes all that is left for small bodies.
    fn take_small(budget: &Budget) -> Vec<Share<'_>> {
        const EACH_KIB: usize = SMALL_BYTES_MAX / 1024;
        let left = room(budget).0;
        let parts = std::iter::repeat_n(EACH_KIB, left / EACH_KIB).chain([left % EACH_KIB]);
        parts.map(|kib| budget.share(kib * 1024).unwrap()).collect()
    }

    /// Takes all that is left.
    fn take_all(budget: &Budget) -> Vec<Share<'_>> {
        let mut taken = vec![budget.share(room(budget).1 * 1024).unwrap()];
        taken.extend(take_small(budget));
        taken
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_and_leaves_nothing_behind() {
        let budget = Budget::default();
        let bytes = vec![b' '; BODY_BYTES_MAX + 1];
        for size in [MIB, BODY_BYTES_MAX + 1] {
            assert_eq!(read(&budget, in_pieces(&bytes, size)).await.unwrap_err().code, 413);
            assert_eq!(
                read(&budget, told(bytes.len(), in_pieces(&bytes, size))).await.unwrap_err().code,
                413
            );
        }
        assert_eq!(room(&budget), ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn senders_who_stall_keep_no_small_body_waiting_whether_or_not_they_told_a_length() {
        const LARGE: usize = 6 * MIB;
        let budget = Budget::default();
        for body in [|| told(LARGE, stalled(LARGE - 1)), || stalled(LARGE - 1)] {
            let mut senders: Vec<_> = (0..10).map(|_| Box::pin(read(&budget, body()))).collect();
            for sender in &mut senders {
                assert!(
                    futures::poll!(sender).is_pending(),
                    "it stalls, or is read to its end to be refused"
                );
            }
            let small = in_pieces(&vec![b' '; SMALL_BYTES_MAX], 16 * 1024);
            let small = read(&budget, small).now_or_never().expect("a small body waits").unwrap();
            assert_eq!(small.bytes.len(), SMALL_BYTES_MAX);
            drop(small);
            let mut codes: Vec<u16> = Vec::new();
            for sender in senders {
                codes.push(sender.await.unwrap_err().code);
            }
            codes.dedup();
            assert_eq!(codes, [504, 503], "the first took all, the others were told that there is none");
            assert_eq!(room(&budget), ALL);
        }
    }

    /// Reads a body of which as much has come as will; it is pending for as long as it stalls.
    fn begin<'a>(
        budget: &'a Budget,
        body: Body,
    ) -> Pin<Box<dyn Future<Output = Result<Held<'a>, Denial>> + 'a>> {
        let mut reading = Box::pin(read(budget, body));
        assert!(reading.as_mut().now_or_never().is_none(), "it has come whole, or is refused");
        reading
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_takes_the_memory_of_those_that_stall() {
        let bytes = vec![b' '; BODY_BYTES_MAX];
        for length in [1, MIB, BODY_BYTES_MAX - 1] {
            let budget = Budget::default();
            let mut senders: Vec<_> =
                (0..48).map(|_| begin(&budget, told(BODY_BYTES_MAX, stalled(length)))).collect();
            tokio::time::advance(STALL_TIME_MIN).await;
            let honest = read(&budget, told(bytes.len(), in_pieces(&bytes, 16 * 1024)));
            let held = honest.now_or_never().expect("it waits").unwrap();
            assert_eq!(held.bytes, bytes);
            let mut told = Vec::new();
            for sender in &mut senders {
                told.push(sender.await.unwrap_err().code);
            }
            assert!(told.iter().all(|code| [503, 504].contains(code)), "{told:?}");
            drop(held);
            assert_eq!(room(&budget), ALL);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_takes_the_memory_of_those_that_stall() {
        let budget = Budget::default();
        let many = (ALL.0 + ALL.1).div_ceil(SMALL_BYTES_MAX / 1024);
        let length = SMALL_BYTES_MAX - 1;
        let senders: Vec<_> =
            (0..many).map(|_| begin(&budget, told(SMALL_BYTES_MAX, stalled(length)))).collect();
        assert_eq!(room(&budget), (0, 0));
        let refusal = read(&budget, Body::from("{}")).now_or_never().expect("it waits").unwrap_err();
        assert_eq!(refusal.code, 503, "none of them has stalled for long");
        tokio::time::advance(STALL_TIME_MIN).await;
        assert_eq!(read(&budget, Body::from("{}")).now_or_never().expect("it waits").unwrap().bytes, "{}");
        drop(senders);
        assert_eq!(room(&budget), ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_all_the_time_keeps_its_memory_and_one_that_trickles_does_not() {
        for (size, is_kept) in [(SMALL_BYTES_MAX, true), (1, false)] {
            let budget = Budget::default();
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let piece = Bytes::from(vec![b' '; size]);
            // So many that there is room for all of it.
            (0..11).for_each(|_| sender.send(piece.clone()).unwrap());
            let pieces = stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
            });
            let mut steady = begin(&budget, told(MIB, Body::from_stream(pieces)));
            let _others = take_all(&budget);
            for _ in 0..4 {
                tokio::time::advance(STALL_TIME_MIN / 2).await;
                sender.send(piece.clone()).unwrap();
                assert!(steady.as_mut().now_or_never().is_none());
            }
            let small = read(&budget, Body::from("{}")).now_or_never().expect("it waits");
            assert_eq!(small.is_err(), is_kept, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_memory_is_refused_at_once() {
        let budget = Budget::default();
        let _large = budget.share(LARGE_BODIES_KIB_MAX * 1024).unwrap();
        let large = vec![b' '; SMALL_BYTES_MAX + 1];
        for body in [in_pieces(&large, MIB), told(large.len(), in_pieces(&large, MIB))] {
            let refusal = read(&budget, body).now_or_never().expect("it waits").unwrap_err();
            assert_eq!((refusal.code, refusal.reason), (503, "ServiceUnavailable"));
        }
        assert_eq!(read(&budget, Body::from("{}")).await.unwrap().bytes, "{}");
        let _small = take_small(&budget);
        assert_eq!(read(&budget, Body::from("{}")).await.unwrap_err().code, 503);
    }

    #[tokio::test]
    async fn a_small_body_takes_of_the_large_ones_memory_when_its_own_is_gone() {
        let budget = Budget::default();
        let _small = take_small(&budget);
        let held = read(&budget, Body::from("{}")).await.unwrap();
        assert_eq!(room(&budget), (0, LARGE_BODIES_KIB_MAX - 1));
        drop(held);
        assert_eq!(room(&budget), (0, LARGE_BODIES_KIB_MAX));
    }

    #[tokio::test]
    async fn a_body_is_read_whole_however_it_comes() {
        let budget = Budget::default();
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
        for size in [1, 7, 9_999, 99_999, 100_000] {
            for body in [in_pieces(&bytes, size), told(bytes.len(), in_pieces(&bytes, size))] {
                let held = read(&budget, body).await.unwrap();
                assert_eq!(held.bytes, bytes, "in pieces of {size}");
                let taken = ALL.0 + ALL.1 - room(&budget).0 - room(&budget).1;
                assert!((98..=2 * 98).contains(&taken), "{taken} KiB in pieces of {size}");
            }
            assert_eq!(room(&budget), ALL);
        }
        assert!(read(&budget, Body::empty()).await.unwrap().bytes.is_empty());
    }
}
