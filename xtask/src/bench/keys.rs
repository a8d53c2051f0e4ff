//! How fast one processor makes private keys: what no driver can beat for volumes that want a new one each.

use std::hint::black_box;
use std::time::Duration;

use issuance::key::{KeyAlgorithm, PrivateKey};

use super::figures::Work;

/// Makes keys for `time`, one after another. The work is named after the algorithm. Blocks.
pub(crate) fn measure(algorithm: KeyAlgorithm, time: Duration) -> anyhow::Result<Work> {
    Work::repeat(&algorithm.to_string(), time, || {
        black_box(PrivateKey::generate(algorithm)?);
        Ok(())
    })
}
