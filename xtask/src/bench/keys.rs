//! How fast one processor makes private keys: what no driver can beat for volumes that want a new one each.

use std::hint::black_box;
use std::time::{Duration, Instant};

use issuance::key::{KeyAlgorithm, PrivateKey};

use super::figures::{Latencies, count, ratio};

/// Keys of one kind, made one after another by one thread.
pub(crate) struct KeyRate {
    pub(crate) algorithm: KeyAlgorithm,
    pub(crate) latencies: Latencies,
    pub(crate) per_second: f64,
}

/// Makes keys for `time`. Blocks.
pub(crate) fn measure(algorithm: KeyAlgorithm, time: Duration) -> anyhow::Result<KeyRate> {
    let began = Instant::now();
    let mut durations = Vec::new();
    while began.elapsed() < time {
        let start = Instant::now();
        black_box(PrivateKey::generate(algorithm)?);
        durations.push(start.elapsed());
    }
    let per_second = ratio(count(durations.len()), began.elapsed().as_secs_f64());
    Ok(KeyRate { algorithm, latencies: Latencies::of(durations), per_second })
}
