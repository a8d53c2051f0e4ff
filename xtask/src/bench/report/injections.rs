//! The tables about injections.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::figures::{Latencies, Series, count, digits, grouped_count, milliseconds, ratio};
use super::super::inject::{GROUPS, Injections, Peer, Together};
use super::super::process::Memory;
use super::{memory_table, table};

/// What the figures are to be: milliseconds for the slowest percent of changes of one target, for the last of 200 and of
/// 1,000 configurations and for the first injection after a start; megabytes at rest and in a large cluster.
const ONE_MS: f64 = 50.0;
const GROUPS_MS: [f64; 2] = [400.0, 2000.0];
const START_MS: f64 = 1000.0;
const IDLE_MB: f64 = 10.0;
const LARGE_MB: f64 = 20.0;

/// Requests for an injection from which on they are told; what the rest of the cluster asks for is below.
const REQUESTS_MIN: f64 = 0.02;

pub(super) fn tables(injections: &Injections) -> String {
    let mut parts = vec![
        "### Injections\n".to_owned(),
        "From when a Secret's change is sent to when a watch on the target shows the patched field.\n"
            .to_owned(),
        latencies(injections),
        goals(injections),
        floors(injections),
        requests(injections),
        memory_table("cainjector", &injections.memory),
    ];
    if let Some(peer) = &injections.peer {
        parts.push(beside_peer(injections, peer));
        parts.push(memory_table("Go injector", &peer.memory));
    }
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

/// Groups beside bare server-side applies to as many targets.
fn floors(injections: &Injections) -> String {
    let groups = injections.groups.iter().zip(&injections.floors).zip(GROUPS);
    let rows = groups.flat_map(|((group, floor), (size, _))| {
        let written = count(group.series.latencies.count());
        let last = |last: &Latencies| ms(last.percentile(50));
        let row = |name: String, floor: f64, ours: f64| {
            vec![name, digits(floor), digits(ours), digits(ratio(ours, floor))]
        };
        let each = |time: Duration, written: f64| ratio(ms(time), written);
        let (work, bare) = (&group.work, count(floor.written));
        let size = grouped_count(size);
        [
            row(format!("last of {size}, median, ms"), last(&floor.last), last(&group.last)),
            row(
                format!("of {size}: API server's CPU, ms each"),
                each(floor.work.api_server, bare),
                each(work.api_server, written),
            ),
            row(
                format!("of {size}: etcd's CPU, ms each"),
                each(floor.work.store, bare),
                each(work.store, written),
            ),
        ]
    });
    let head = ["beside bare server-side applies, 8 at a time", "bare", "injected", "factor"];
    let widths = injections.floors.iter().flat_map(|floor| {
        let row = |(at_once, last): &(usize, Latencies)| {
            vec![at_once.to_string(), milliseconds(last.percentile(50)), milliseconds(last.percentile(100))]
        };
        floor.widths.iter().map(row)
    });
    let first = GROUPS.first().map_or(0, |(size, _)| *size);
    let at_once = format!("bare applies under way, last of {first}");
    format!("{}\n{}", table(&head, rows), table(&[&at_once, "median ms", "slowest ms"], widths))
}

/// Groups beside the same with the Go injector.
fn beside_peer(injections: &Injections, peer: &Peer) -> String {
    let groups = injections.groups.iter().zip(&peer.groups).zip(GROUPS);
    let rows = groups.flat_map(|((ours, theirs), (size, _))| {
        let row = |name: String, of: &dyn Fn(&Together) -> f64| {
            vec![name, digits(of(theirs)), digits(of(ours)), digits(ratio(of(theirs), of(ours)))]
        };
        let each = |group: &Together, time: Duration| ratio(ms(time), count(group.series.latencies.count()));
        let size = grouped_count(size);
        [
            row(format!("last of {size}, median, ms"), &|group| ms(group.last.percentile(50))),
            row(format!("of {size}: injector's CPU, ms each"), &|group| {
                each(group, group.series.program.total())
            }),
            row(format!("of {size}: API server's CPU, ms each"), &|group| each(group, group.work.api_server)),
        ]
    });
    table(&["beside the Go injector", "Go", "ours", "factor"], rows)
}

/// What the API server was asked for, for each injection.
fn requests(injections: &Injections) -> String {
    let each = |group: &Together, name: &str| {
        let requests = group.work.requests.get(name).copied().unwrap_or_default();
        let requests = u32::try_from(requests).map_or(f64::MAX, f64::from);
        ratio(requests, count(group.series.latencies.count()))
    };
    let names: BTreeSet<&String> =
        injections.groups.iter().flat_map(|group| group.work.requests.keys()).collect();
    let told = names
        .into_iter()
        .filter(|name| injections.groups.iter().any(|group| each(group, name.as_str()) >= REQUESTS_MIN));
    let rows = told.map(|name| {
        let figures = injections.groups.iter().map(|group| format!("{:.2}", each(group, name)));
        std::iter::once(name.clone()).chain(figures).collect()
    });
    let mut head = vec!["requests for an injection".to_owned()];
    head.extend(GROUPS.iter().map(|(size, _)| format!("of {}", grouped_count(*size))));
    table(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

fn row(name: &str, measured: f64, goal: f64) -> Vec<String> {
    let judged = if measured <= goal { "reached" } else { "missed" };
    vec![name.to_owned(), digits(measured), digits(goal), judged.to_owned()]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Decimal ones, as the goals are.
fn megabytes(memory: Memory) -> f64 {
    u32::try_from(memory.resident_kib).map_or(f64::MAX, f64::from) * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::super::inject::{Floor, Large, Work};
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

    /// The cells of a row, but for its name.
    fn figures_of(row: &str) -> Vec<&str> {
        row.trim_matches('|').split('|').skip(1).map(str::trim).collect()
    }

    #[test]
    fn each_figure_stands_beside_its_goal() {
        let memory = |resident_kib| Memory { resident_kib, proportional_kib: resident_kib };
        let work = |each: u64, requests: &[(&str, u64)]| Work {
            requests: requests.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            api_server: Duration::from_millis(each),
            store: Duration::ZERO,
        };
        let asked = [("APPLY a", 3), ("GET leases", 1), ("LIST b", 0)];
        let group = |ms: &[u64]| Together {
            series: series("group", ms),
            last: latencies_of(ms),
            work: work(30, &asked),
        };
        let floor = |ms: &[u64]| Floor {
            last: latencies_of(ms),
            work: work(5, &[]),
            written: 1,
            widths: vec![(2, latencies_of(&[310, 300]))],
        };
        let injections = Injections {
            one: series("one target", &[10, 20, 60]),
            groups: vec![group(&[300, 390, 410]), group(&[1900])],
            floors: vec![floor(&[195]), floor(&[1000])],
            peer: Some(Peer {
                groups: vec![group(&[780]), group(&[3800])],
                memory: vec![("Go".to_owned(), memory(40_000))],
            }),
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
            ("last of 200, median, ms", ["195", "390", "2.00"]),
            ("of 200: API server's CPU, ms each", ["5.00", "10.0", "2.00"]),
            ("last of 1,000, median, ms", ["1,000", "1,900", "1.90"]),
        ] {
            let line = text.lines().find(|line| line.contains(figure)).expect(figure);
            assert_eq!(figures_of(line), cells, "{figure}");
        }
        let row = |head: &str, number| {
            let mut table = text.lines().skip_while(|line| !line.starts_with(head)).skip(1);
            figures_of(table.nth(number).unwrap_or_default())
        };
        assert_eq!(row("| beside the Go injector", 1), ["780", "390", "2.00"], "{text}");
        assert_eq!(row("| bare applies under way, last of 200", 1), ["300", "310"], "{text}");
        let asked = |name: &str| text.lines().find(|line| line.starts_with(&format!("| {name} ")));
        assert!(
            asked("APPLY a").is_some_and(|line| line.contains("1.00 |") && line.ends_with("3.00 |")),
            "{text}"
        );
        assert!(asked("LIST b").is_none(), "{text}");
        assert!(text.contains("each unrelated Secret: 0.0 bytes"), "{text}");
    }

    #[test]
    fn a_megabyte_is_a_million_bytes() {
        let megabytes = megabytes(Memory { resident_kib: 9766, proportional_kib: 0 });
        assert!((megabytes - 10.0).abs() < 0.001, "{megabytes}");
    }
}
