//! The report: tables for people, and its place in `BENCHMARKS.md`.

mod certificates;
mod injections;

use std::fmt::Write as _;
use std::time::Duration;

use super::certificates::Certificates;
use super::core::Core;
use super::figures::{Series, Work, count, digits, milliseconds, ratio};
use super::first::Install;
use super::inject::Injections;
use super::machine::Machine;
use super::mount::{self, Mounts};
use super::process::Memory;
use super::review::{Beside, Reviews};

/// Share of the processors that a cluster without load and a quiet machine use at most; above it figures are worse
/// than they should be.
const QUIET_MAX: f64 = 0.25;

/// Share of the processors from which on they count as what holds a series up.
const FULL_MIN: f64 = 0.9;

/// The head of a table of key generation.
const KEYS: &str = "keys made by one processor";

/// What begins `BENCHMARKS.md`.
const HEADER: &str = "# Benchmarks

Written by `cargo xtask bench --write`; each section is one run, the newest first. The programs are the release images
on the cluster that the end-to-end suite uses, installed by the chart. The load comes from the same machine and shares
its processors. p50 and p99 are what the caller waits.
";

/// What the Go programs did; the figures are those of the issue that asked for these benchmarks.
const ELSEWHERE: &str = "### The Go programs, measured elsewhere

Not measured here and not by us in this run: figures of cert-manager's csi-driver, webhook and cainjector, measured
elsewhere on a machine like this.

| figure | Go |
|---|---:|
| mount, RSA 2048, p50 | 97 to 217 ms |
| mounts a second, as shipped | 5 |
| mounts a second with the rate limit lifted, RSA 2048 | 31 |
| mounts a second with the rate limit lifted, ECDSA P-256 | 105 |
| memory of the node plugin | 60 MB, and 40 MB of sidecars |
| reviews a second, 32 connections | 28,000 |
| reviews, 32 connections, p99 | 43 ms |
| memory of the webhook | 61 MB |
| one CA into 200 configurations with two webhooks each | 0.9 s |
| memory of the cainjector | 38 to 47 MB |
| one Certificate Ready | 0.28 s |
| 100 Certificates Ready | 3.0 s |
| memory of the controller | 99 to 130 MB |
";

/// Everything that one run found out.
pub(crate) struct Report {
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) core: Option<Core>,
    pub(crate) installed: Option<Install>,
    pub(crate) mounts: Option<Mounts>,
    pub(crate) reviews: Option<Reviews>,
    pub(crate) injections: Option<Injections>,
    pub(crate) certificates: Option<Certificates>,
}

impl Report {
    /// One run of a day on a machine; a later one takes its place.
    pub(crate) fn heading(&self) -> String {
        let Machine { date, processor, cores, memory_gib, .. } = &self.machine;
        format!("## {date}: {cores} cores of {processor}, {memory_gib} GiB")
    }

    /// The section, heading included.
    pub(crate) fn section(&self) -> String {
        let mut parts = vec![format!("{}\n\n{}", self.heading(), self.circumstances())];
        let cores = self.machine.cores;
        if let Some(core) = &self.core {
            parts.push(format!(
                "### The issuance core\n\n{}\n{}",
                work_table("by one processor", &core.work),
                work_table(KEYS, &core.keys)
            ));
        }
        if let Some(installed) = &self.installed {
            parts.push(installed_line(installed));
        }
        if let Some(mounts) = &self.mounts {
            parts.push(mount_tables(mounts));
        }
        if let Some(reviews) = &self.reviews {
            parts.push(format!("### Reviews\n\n{}", series_table("review", &reviews.series)));
            parts.push(floor_table(reviews));
            parts.push(memory_table("webhook (one replica)", &reviews.memory));
            if let Some(peer) = &reviews.peer {
                parts.push(peer_table(reviews, peer));
                parts.push(memory_table("Go webhook", &peer.memory));
            }
        }
        if let Some(injections) = &self.injections {
            parts.push(injections::tables(injections));
        }
        if let Some(certificates) = &self.certificates {
            parts.push(certificates::tables(certificates));
        }
        let is_on_cluster = self.mounts.is_some()
            || self.reviews.is_some()
            || self.injections.is_some()
            || self.certificates.is_some();
        if is_on_cluster {
            parts.push(ELSEWHERE.to_owned());
            parts.push(self.bounds(cores));
        }
        parts.join("\n")
    }

    fn circumstances(&self) -> String {
        let machine = &self.machine;
        let busy = machine.busy_before * 100.0;
        let judged = if machine.busy_before <= QUIET_MAX {
            "so the machine was quiet"
        } else {
            "so **other work ran beside it and the figures are worse than on a quiet machine**"
        };
        format!(
            "- Command: `{}`\n- Signet {}, Kubernetes {}, {}, Linux {}\n- Before the load, cluster and machine used \
             {busy:.0} % of the processors, {judged}.\n",
            self.command, machine.signet, machine.kubernetes, machine.rust, machine.kernel
        )
    }

    /// Why no figure is better, from what was measured beside it.
    fn bounds(&self, cores: usize) -> String {
        let mut text = "### What bounds these figures\n\n".to_owned();
        if let Some(mounts) = &self.mounts {
            text.push_str(&rsa_bound(mounts, cores));
        }
        let publish = self.mounts.iter().flat_map(|mounts| &mounts.publish);
        let reviews = self.reviews.iter().flat_map(|reviews| &reviews.series);
        let groups = self.injections.iter().flat_map(|injections| &injections.groups);
        let injected = groups.map(|group| &group.series);
        let certificates = self.certificates.iter().flat_map(|found| found.groups.iter());
        let rows =
            publish.chain(reviews).chain(injected).chain(certificates).map(|series| bound(series, cores));
        let first = format!("processors in use, of {cores}");
        let head = [first.as_str(), "program", "its kernel part", "load", "all else", "held up by"];
        let _ = write!(
            text,
            "- Where all processors were in use, the figure is bounded by them, and the load generator's share is \
             part of the bound. Elsewhere it is the waiting of one operation for the next: hand-overs between \
             processes and threads.\n\n{}",
            table(&head, rows)
        );
        text
    }
}

fn rsa_bound(mounts: &Mounts, cores: usize) -> String {
    let rsa = mount::RSA.to_string();
    let made = mounts.keys.iter().find(|work| work.name == rsa).map_or(0.0, |work| work.per_second);
    let fastest = mounts.publish.iter().filter(|series| series.name.contains(mount::EXHAUSTED));
    let fastest = fastest.map(Series::per_second).fold(0.0, f64::max);
    let most = made * count(cores);
    format!(
        "- RSA 2048 is bounded by making keys: one processor makes {} a second, {cores} make {}, and the driver \
         published {} volumes a second, {:.0} % of that. The stock hides it from a few pods at a time, not from \
         many.\n",
        digits(made),
        digits(most),
        digits(fastest),
        ratio(fastest, most) * 100.0
    )
}

fn bound(series: &Series, cores: usize) -> Vec<String> {
    let busy = series.busy();
    let used = ratio(busy.iter().sum(), count(cores));
    let system = ratio(series.program.system.as_secs_f64(), series.program.total().as_secs_f64());
    let held_up = if used >= FULL_MIN { "processors" } else { "waiting" };
    let [program, load, others] = busy.map(|number| format!("{number:.2}"));
    vec![series.name.clone(), program, format!("{:.0} %", system * 100.0), load, others, held_up.to_owned()]
}

fn mount_tables(mounts: &Mounts) -> String {
    let publish = series_table("NodePublishVolume", &mounts.publish);
    let unpublish = series_table("NodeUnpublishVolume", &mounts.unpublish);
    let keys = work_table(KEYS, &mounts.keys);
    let memory = memory_table("driver", &mounts.memory);
    format!("### Mounts\n\n{publish}\n{unpublish}\n{keys}\n{memory}")
}

fn series_table(what: &str, series: &[Series]) -> String {
    let rows = series.iter().map(|series| {
        vec![
            series.name.clone(),
            series.latencies.count().to_string(),
            milliseconds(series.latencies.percentile(50)),
            milliseconds(series.latencies.percentile(99)),
            digits(series.per_second()),
            digits(series.program_per_operation() * 1000.0),
        ]
    });
    table(&[what, "measured", "p50 ms", "p99 ms", "a second", "CPU ms each"], rows)
}

/// The webhook beside the least that its TLS and HTTP stack can do.
fn floor_table(reviews: &Reviews) -> String {
    let rows = reviews.series.iter().zip(&reviews.floor).map(|(ours, floor)| {
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let rate = ratio(ours.per_second(), floor.per_second()) * 100.0;
        let added = micros(ours.latencies.percentile(50)) - micros(floor.latencies.percentile(50));
        vec![
            ours.name.clone(),
            digits(floor.per_second()),
            format!("{rate:.0} %"),
            format!("{added:.0}"),
            digits(floor.program_per_operation() * 1e6),
            digits(ours.program_per_operation() * 1e6),
        ]
    });
    let head = [
        "beside a handler that only reads JSON",
        "floor a second",
        "webhook's rate",
        "p50 added us",
        "floor's CPU us",
        "webhook's CPU us",
    ];
    table(&head, rows)
}

/// The webhook beside cert-manager's.
fn peer_table(reviews: &Reviews, peer: &Beside) -> String {
    let rows = reviews.series.iter().zip(&peer.series).map(|(ours, theirs)| {
        vec![
            theirs.name.clone(),
            milliseconds(theirs.latencies.percentile(50)),
            milliseconds(theirs.latencies.percentile(99)),
            digits(theirs.per_second()),
            digits(theirs.program_per_operation() * 1e6),
            format!("{:.1}", ratio(ours.per_second(), theirs.per_second())),
            format!("{:.1}", ratio(theirs.program_per_operation(), ours.program_per_operation())),
        ]
    });
    let head = [
        "cert-manager's webhook (Go), same load",
        "p50 ms",
        "p99 ms",
        "a second",
        "CPU us each",
        "ours is faster by",
        "ours is cheaper by",
    ];
    table(&head, rows)
}

fn work_table(what: &str, work: &[Work]) -> String {
    let rows = work.iter().map(|work| {
        vec![
            work.name.clone(),
            work.latencies.count().to_string(),
            milliseconds(work.latencies.percentile(50)),
            milliseconds(work.latencies.percentile(99)),
            digits(work.per_second),
        ]
    });
    table(&[what, "measured", "p50 ms", "p99 ms", "a second"], rows)
}

fn installed_line(installed: &Install) -> String {
    let times: Vec<String> =
        installed.admitted_after.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
    format!(
        "### Installing\n\nFrom the return of `kubectl apply -f install.yaml` (images present) to the first object \
         admitted, in seconds, each in a cluster without any of it: {}. Go, measured elsewhere: 5.8.\n",
        times.join(", ")
    )
}

fn memory_table(program: &str, memory: &[(String, Memory)]) -> String {
    let mebibytes = |kib: u64| {
        let tenths = kib.saturating_mul(10) / 1024;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let rows = memory.iter().map(|(when, memory)| {
        vec![when.clone(), mebibytes(memory.resident_kib), mebibytes(memory.proportional_kib)]
    });
    table(&[&format!("memory of the {program}"), "resident MiB", "proportional MiB"], rows)
}

/// A table in Markdown whose columns line up in a terminal too: text to the left, numbers to the right.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (index, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            let _ = if index == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
    };
    line(&head);
    let rule = widths.iter().enumerate().map(|(index, &width)| match index {
        0 => "-".repeat(width),
        _ => format!("{}:", "-".repeat(width.saturating_sub(1))),
    });
    line(&rule.collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
    text
}

/// `document` with `section` in it: in place of the one with the same heading, or before all others. The text before
/// the first section is ours.
pub(crate) fn insert(document: &str, section: &str) -> String {
    let heading = section.lines().next().unwrap_or_default();
    let mut others = Vec::new();
    for line in document.lines() {
        if line.starts_with("## ") {
            others.push(String::new());
        }
        if let Some(current) = others.last_mut() {
            current.push_str(line);
            current.push('\n');
        }
    }
    others.retain(|other| other.lines().next() != Some(heading));
    let sections = std::iter::once(section).chain(others.iter().map(String::as_str)).map(str::trim_end);
    format!("{HEADER}\n{}\n", sections.collect::<Vec<_>>().join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["ECDSA".to_owned(), "1.5".to_owned()], vec!["é".to_owned(), "12,345".to_owned()]];
        assert_eq!(
            table(&["what", "ms"], rows.into_iter()),
            "| what  |     ms |\n| ----- | -----: |\n| ECDSA |    1.5 |\n| é     | 12,345 |\n"
        );
    }

    #[test]
    fn a_section_comes_first_and_takes_the_place_of_its_namesake() {
        for empty in ["", "# Benchmarks\n", "# Benchmarks\n\nold text\n"] {
            assert_eq!(insert(empty, "## a\n\nx\n"), format!("{HEADER}\n## a\n\nx\n"), "{empty:?}");
        }
        let one = insert("", "## a\n\n### sub\n\nx\n");
        let two = insert(&one, "## b\n\ny\n");
        assert_eq!(two, format!("{HEADER}\n## b\n\ny\n\n## a\n\n### sub\n\nx\n"));
        assert_eq!(insert(&two, "## a\n\nz\n"), format!("{HEADER}\n## a\n\nz\n\n## b\n\ny\n"));
        assert_eq!(insert(&two, "## b\n\ny\n"), two, "the same once more changes nothing");
    }
}
