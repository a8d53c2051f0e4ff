//! Reads request bodies within a budget of memory that all requests share.
//!
//! Nobody waits for memory, least of all while holding some: a sender who stalls can then keep no other from being
//! answered. A large body whose length is told beforehand gets all its memory before it is read, any other gets it as
//! its bytes come, and who finds none left is told so at once.

use std::time::Duration;

use admission::review::Denial;
use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest body: an object of 3 MiB, the most that etcd and the API server take, before and after, and the envelope.
pub const BODY_BYTES_MAX: usize = 7 * 1024 * 1024;
/// Time for a body to arrive whole: half of a review's, and ample for the largest over a slow tunnel. Memory that a
/// stalled sender holds is free again after it.
const BODY_TIME_MAX: Duration = Duration::from_secs(4);
/// How much of a refused body is read and dropped, so that its sender gets to read the answer.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bodies up to this are small; nearly all reviews are, and take some KiB.
pub(crate) const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Memory for small bodies alone, so that large ones cannot keep them out.
const SMALL_BODIES_KIB_MAX: usize = 16 * 1024;
/// Memory for large bodies, and for small ones that find none of their own. With the above it is half of what the
/// chart gives the container.
const LARGE_BODIES_KIB_MAX: usize = 48 * 1024;

/// The memory for bodies that is left.
#[derive(Debug)]
pub struct Budget {
    small_kib: Semaphore,
    large_kib: Semaphore,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            small_kib: Semaphore::new(SMALL_BODIES_KIB_MAX),
            large_kib: Semaphore::new(LARGE_BODIES_KIB_MAX),
        }
    }
}

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
    let told = body.size_hint().exact().map_or(0, |told| usize::try_from(told).unwrap_or(usize::MAX));
    let mut share = Share::default();
    if told > SMALL_BYTES_MAX {
        share.grow(budget, told)?;
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length: usize = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Denial::malformed(format!("the body cannot be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue }; // trailers
        length = length.saturating_add(data.len());
        share.grow(budget, length)?;
        if first.is_empty() {
            first = data; // nearly always the whole body, which then is not copied
        } else {
            if rest.is_empty() {
                rest.reserve(told.max(length));
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Held { bytes, _share: share })
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

/// What one body holds of the budget.
#[derive(Debug, Default)]
struct Share<'a> {
    small: Option<SemaphorePermit<'a>>,
    large: Option<SemaphorePermit<'a>>,
}

impl<'a> Share<'a> {
    /// Takes what a body of `length` bytes needs and is not held yet.
    fn grow(&mut self, budget: &'a Budget, length: usize) -> Result<(), Denial> {
        if length > BODY_BYTES_MAX {
            let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            return Err(Denial::new(413, "RequestEntityTooLarge", message));
        }
        let held = [&self.small, &self.large].into_iter().flatten().map(SemaphorePermit::num_permits).sum();
        let more = length.div_ceil(1024).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX); // at most BODY_BYTES_MAX
        if length <= SMALL_BYTES_MAX
            && let Ok(taken) = budget.small_kib.try_acquire_many(more)
        {
            add(&mut self.small, taken);
        } else if let Ok(taken) = budget.large_kib.try_acquire_many(more) {
            add(&mut self.large, taken);
        } else {
            let message = "too many reviews at once: there is no memory left for the body; try again";
            return Err(Denial::new(503, "ServiceUnavailable", message));
        }
        Ok(())
    }
}

fn add<'a>(held: &mut Option<SemaphorePermit<'a>>, more: SemaphorePermit<'a>) {
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
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

    /// What is left, in KiB.
    fn room(budget: &Budget) -> (usize, usize) {
        (budget.small_kib.available_permits(), budget.large_kib.available_permits())
    }

    const ALL: (usize, usize) = (SMALL_BODIES_KIB_MAX, LARGE_BODIES_KIB_MAX);

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
            assert_eq!(codes, [504, 503], "eight took all, the others were told that there is none");
            assert_eq!(room(&budget), ALL);
        }
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_memory_is_refused_at_once() {
        let budget = Budget::default();
        let all_of = |kib| u32::try_from(kib).unwrap();
        let _large = budget.large_kib.acquire_many(all_of(LARGE_BODIES_KIB_MAX)).await.unwrap();
        let large = vec![b' '; SMALL_BYTES_MAX + 1];
        for body in [in_pieces(&large, MIB), told(large.len(), in_pieces(&large, MIB))] {
            let refusal = read(&budget, body).now_or_never().expect("it waits").unwrap_err();
            assert_eq!((refusal.code, refusal.reason), (503, "ServiceUnavailable"));
        }
        assert_eq!(read(&budget, Body::from("{}")).await.unwrap().bytes, "{}");
        let _small = budget.small_kib.acquire_many(all_of(SMALL_BODIES_KIB_MAX)).await.unwrap();
        assert_eq!(read(&budget, Body::from("{}")).await.unwrap_err().code, 503);
    }

    #[tokio::test]
    async fn a_small_body_takes_of_the_large_ones_memory_when_its_own_is_gone() {
        let budget = Budget::default();
        let all = u32::try_from(SMALL_BODIES_KIB_MAX).unwrap();
        let _small = budget.small_kib.acquire_many(all).await.unwrap();
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
                assert_eq!(room(&budget).0 + room(&budget).1, ALL.0 + ALL.1 - 98, "of 1024 bytes each");
            }
            assert_eq!(room(&budget), ALL);
        }
        assert!(read(&budget, Body::empty()).await.unwrap().bytes.is_empty());
    }
}
