//! The tables about injections.

use super::super::figures::{Series, digits, grouped_count, milliseconds};
use super::super::inject::{GROUPS, Injections};
use super::super::process::Memory;
use super::{memory_table, table};

/// What the figures are to be: milliseconds for the slowest percent of changes of one target, for the last of 200 and of
/// 1,000 configurations and for the first injection after a start; megabytes at rest and in a large cluster.
const ONE_MS: f64 = 50.0;
const GROUPS_MS: [f64; 2] = [400.0, 2000.0];
const START_MS: f64 = 1000.0;
const IDLE_MB: f64 = 10.0;
const LARGE_MB: f64 = 20.0;

pub(super) fn tables(injections: &Injections) -> String {
    let mut parts = vec![
        "### Injections\n".to_owned(),
        "From when a Secret's change is sent to when a watch on the target shows the patched field.\n"
            .to_owned(),
        latencies(injections),
        goals(injections),
        memory_table("cainjector", &injections.memory),
    ];
    if let Some(large) = &injections.large {
        let slope = large.bytes_per_secret(injections.idle);
        parts.push(format!("Resident memory for each unrelated Secret: {slope:.1} bytes.\n"));
    }
    parts.join("\n")
}

fn latencies(injections: &Injections) -> String {
    let mut series = vec![&injections.one];
    series.extend(injections.groups.iter().map(|group| &group.series));
    series.extend(injections.large.iter().map(|large| &large.one));
    let rows = series.into_iter().map(|series: &Series| {
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
    table(&["injection", "measured", "p50 ms", "p99 ms", "slowest ms", "CPU ms each"], rows)
}

/// Each figure beside what it is to be.
fn goals(injections: &Injections) -> String {
    let mut rows = vec![row("one target, p99, ms", ms(injections.one.latencies.percentile(99)), ONE_MS)];
    for ((group, (size, _)), goal) in injections.groups.iter().zip(GROUPS).zip(GROUPS_MS) {
        let name = format!(
            "last of {} configurations, median of {} changes, ms",
            grouped_count(size),
            group.last.count()
        );
        rows.push(row(&name, ms(group.last.percentile(50)), goal));
        rows.push(row("the slowest of these", ms(group.last.percentile(100)), goal));
    }
    let name = format!("from start to first injection, slowest of {}, ms", injections.starts.count());
    rows.push(row(&name, ms(injections.starts.percentile(100)), START_MS));
    rows.push(row("resident at rest, MB", megabytes(injections.idle), IDLE_MB));
    if let Some(large) = &injections.large {
        rows.push(row("from start to first injection in the large cluster, ms", ms(large.start), START_MS));
        rows.push(row("resident in the large cluster, MB", megabytes(large.both), LARGE_MB));
    }
    table(&["figure", "measured", "at most", ""], rows.into_iter())
}

fn row(name: &str, measured: f64, goal: f64) -> Vec<String> {
    let judged = if measured <= goal { "reached" } else { "missed" };
    vec![name.to_owned(), digits(measured), digits(goal), judged.to_owned()]
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Decimal ones, as the goals are.
fn megabytes(memory: Memory) -> f64 {
    u32::try_from(memory.resident_kib).map_or(f64::MAX, f64::from) * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::figures::Latencies;
    use super::super::super::inject::{Large, Together};
    use super::super::super::process::Cpu;
    use super::*;

    #[test]
    fn a_goal_is_reached_up_to_its_value() {
        for (measured, judged) in [(49.9, "reached"), (50.0, "reached"), (50.1, "missed")] {
            assert_eq!(row("x", measured, 50.0)[3], judged, "{measured}");
        }
    }

    fn series(name: &str, ms: &[u64]) -> Series {
        Series {
            name: name.to_owned(),
            latencies: latencies_of(ms),
            wall: Duration::from_secs(1),
            program: Cpu::default(),
            generator: Cpu::default(),
            machine: Duration::ZERO,
        }
    }

    fn latencies_of(ms: &[u64]) -> Latencies {
        Latencies::of(ms.iter().copied().map(Duration::from_millis).collect())
    }

    #[test]
    fn each_figure_stands_beside_its_goal() {
        let memory = |resident_kib| Memory { resident_kib, proportional_kib: resident_kib };
        let group = |ms: &[u64]| Together { series: series("group", ms), last: latencies_of(ms) };
        let injections = Injections {
            one: series("one target", &[10, 20, 60]),
            groups: vec![group(&[300, 390, 410]), group(&[1900])],
            starts: latencies_of(&[800, 1200]),
            idle: memory(8000),
            memory: vec![("just started".to_owned(), memory(8000))],
            large: Some(Large {
                secrets: memory(8000),
                both: memory(12_000),
                one: series("one target in the large cluster", &[15]),
                start: Duration::from_millis(900),
            }),
        };
        let text = tables(&injections);
        for (figure, cells) in [
            ("one target, p99, ms", ["60.0", "50.0", "missed"]),
            ("last of 200 configurations, median of 3 changes, ms", ["390", "400", "reached"]),
            ("last of 1,000 configurations, median of 1 changes, ms", ["1,900", "2,000", "reached"]),
            ("from start to first injection, slowest of 2, ms", ["1,200", "1,000", "missed"]),
            ("resident at rest, MB", ["8.19", "10.0", "reached"]),
            ("resident in the large cluster, MB", ["12.3", "20.0", "reached"]),
        ] {
            let line = text.lines().find(|line| line.contains(figure)).expect(figure);
            let found: Vec<_> = line.trim_matches('|').split('|').skip(1).map(str::trim).collect();
            assert_eq!(found, cells, "{figure}");
        }
        assert!(text.contains("each unrelated Secret: 0.0 bytes"), "{text}");
    }

    #[test]
    fn a_megabyte_is_a_million_bytes() {
        let megabytes = megabytes(Memory { resident_kib: 9766, proportional_kib: 0 });
        assert!((megabytes - 10.0).abs() < 0.001, "{megabytes}");
    }
}
