//! Reads request bodies within a budget of memory that all requests share.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::review::Denial;

/// Largest body: an object of 3 MiB, the most that etcd and the API server take, before and after, and the envelope.
pub const BODY_BYTES_MAX: usize = 7 * 1024 * 1024;
/// How much of a larger body is read and dropped, so that its sender gets to read the answer.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory for the bodies of all requests in work. A usual review takes some KiB, so thousands fit, and senders that
/// trickle their bodies in hold little; who finds no room waits.
const ALL_BODIES_KIB_MAX: usize = 64 * 1024;

/// The memory for bodies that is left.
#[derive(Debug)]
pub struct Budget {
    kib: Semaphore,
}

impl Default for Budget {
    fn default() -> Self {
        Self { kib: Semaphore::new(ALL_BODIES_KIB_MAX) }
    }
}

/// A body, and its share of the budget.
#[derive(Debug)]
pub struct Held<'a> {
    /// The bytes.
    pub bytes: Bytes,
    _share: Option<SemaphorePermit<'a>>,
}

/// Reads a body up to [`BODY_BYTES_MAX`].
///
/// # Errors
/// A denial: the body broke off, or is larger.
pub async fn read(budget: &Budget, mut body: Body) -> Result<Held<'_>, Denial> {
    let mut share: Option<SemaphorePermit<'_>> = None;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length: usize = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Denial::malformed(format!("the body cannot be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue }; // trailers
        length = length.saturating_add(data.len());
        if length > BODY_BYTES_MAX {
            (share, first, rest) = (None, Bytes::new(), BytesMut::new());
            if length > DISCARDED_BYTES_MAX {
                break;
            }
            continue;
        }
        // The semaphore is never closed; were it, the budget would only not be kept.
        let kib = u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
        if let Ok(more) = budget.kib.acquire_many(kib).await {
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
        if first.is_empty() {
            first = data; // nearly always the whole body, which then is not copied
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    if length > BODY_BYTES_MAX {
        let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        return Err(Denial::new(413, "RequestEntityTooLarge", message));
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Held { bytes, _share: share })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(bytes: &[u8], size: usize) -> Body {
        let pieces: Vec<_> =
            bytes.chunks(size).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        Body::from_stream(futures::stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_and_leaves_nothing_behind() {
        let budget = Budget::default();
        for size in [1 << 20, BODY_BYTES_MAX + 1] {
            let body = in_pieces(&vec![b' '; BODY_BYTES_MAX + 1], size);
            assert_eq!(read(&budget, body).await.unwrap_err().code, 413);
        }
        assert_eq!(budget.kib.available_permits(), ALL_BODIES_KIB_MAX);
    }

    #[tokio::test]
    async fn a_body_waits_for_room() {
        let budget = Budget::default();
        let all = u32::try_from(ALL_BODIES_KIB_MAX).unwrap();
        let taken = budget.kib.acquire_many(all).await.unwrap();
        let mut waiting = std::pin::pin!(read(&budget, Body::from("{}")));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(taken);
        assert_eq!(waiting.await.unwrap().bytes, "{}");
    }

    #[tokio::test]
    async fn a_body_is_read_whole_however_it_comes() {
        let budget = Budget::default();
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        for size in [1, 7, 9_999, 10_000] {
            let held = read(&budget, in_pieces(&bytes, size)).await.unwrap();
            assert_eq!(held.bytes, bytes, "in pieces of {size}");
        }
        assert!(read(&budget, Body::empty()).await.unwrap().bytes.is_empty());
    }
}
