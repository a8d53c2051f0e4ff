//! The tables about Certificates.

use super::super::certificates::Certificates;
use super::super::figures::{Series, digits, grouped_count, milliseconds};
use super::super::process::Memory;
use super::{memory_table, table};

/// What the figures are to be: milliseconds for one Certificate, and for the last of 100 and of 1,000; megabytes without
/// Certificates and with 1,000.
const GOALS_MS: [f64; 3] = [100.0, 1500.0, 12_000.0];
const IDLE_MB: f64 = 12.0;
const LARGE_MB: f64 = 25.0;

pub(super) fn tables(certificates: &Certificates) -> String {
    let mut parts = vec![
        "### Certificates\n".to_owned(),
        "ECDSA P-256, signed by a CA in a Secret, approved by the controller itself.\n".to_owned(),
        latencies(certificates),
        goals(certificates),
    ];
    parts.push(memory_table("controller", &certificates.memory));
    parts.join("\n")
}

fn all(certificates: &Certificates) -> impl Iterator<Item = &Series> {
    std::iter::once(&certificates.one).chain(&certificates.groups)
}

fn latencies(certificates: &Certificates) -> String {
    let rows = all(certificates).map(|series| {
        let percentile = |percent| milliseconds(series.latencies.percentile(percent));
        vec![
            series.name.clone(),
            grouped_count(series.latencies.count()),
            percentile(50),
            percentile(99),
            percentile(100),
            digits(series.program_per_operation() * 1000.0),
        ]
    });
    table(&["Certificates", "measured", "p50 ms", "p99 ms", "last ms", "CPU ms each"], rows)
}

fn goals(certificates: &Certificates) -> String {
    let slowest = |series: &Series| series.latencies.percentile(100).as_secs_f64() * 1000.0;
    let times = all(certificates).zip(GOALS_MS).map(|(series, goal)| {
        let found = slowest(series);
        vec![format!("{}, slowest", series.name), digits(found), digits(goal), reached(found, goal)]
    });
    let of = |memory: Option<&(String, Memory)>| memory.map(|(_, memory)| megabytes(*memory));
    let (idle, large) = (of(certificates.memory.first()), of(certificates.memory.last()));
    let memory =
        [("resident MB without Certificates", idle, IDLE_MB), ("resident MB at the end", large, LARGE_MB)];
    let memory = memory.into_iter().filter_map(|(what, found, goal)| {
        let found = found?;
        Some(vec![what.to_owned(), digits(found), digits(goal), reached(found, goal)])
    });
    table(&["goal", "found", "wanted at most", "reached"], times.chain(memory))
}

fn reached(found: f64, goal: f64) -> String {
    if found <= goal { "yes" } else { "no" }.to_owned()
}

#[allow(clippy::cast_precision_loss, reason = "kibibytes of a process are far below 2^53")]
fn megabytes(memory: Memory) -> f64 {
    memory.resident_kib as f64 * 1.024 / 1000.0
}
