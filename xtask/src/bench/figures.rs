//! Figures: from single measurements to what a reader compares.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::progress;

use super::process::Cpu;

/// The durations of many like operations, shortest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The shortest duration that `percent` of all do not exceed (nearest rank); zero when there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).or(self.0.last()).copied().unwrap_or_default()
    }
}

/// One kind of work, done again and again by one thread of this program.
pub(crate) struct Work {
    /// What was done.
    pub(crate) name: String,
    /// How long each took.
    pub(crate) latencies: Latencies,
    pub(crate) per_second: f64,
}

impl Work {
    /// Repeats `work` for `time`. Blocks.
    ///
    /// # Errors
    /// The first failure, with the name of the work.
    pub(crate) fn repeat(
        name: &str,
        time: Duration,
        mut work: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut durations = Vec::new();
        while began.elapsed() < time {
            let start = Instant::now();
            work().with_context(|| name.to_owned())?;
            durations.push(start.elapsed());
        }
        let per_second = ratio(count(durations.len()), began.elapsed().as_secs_f64());
        Ok(Self { name: name.to_owned(), latencies: Latencies::of(durations), per_second })
    }
}

/// Many like operations, measured from the outside.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// What was done, and how many at a time.
    pub(crate) name: String,
    /// How long each took.
    pub(crate) latencies: Latencies,
    /// From the first begin to the last end.
    pub(crate) wall: Duration,
    /// What the measured program used of the processors meanwhile.
    pub(crate) program: Cpu,
    /// What this program, which causes the load, used.
    pub(crate) generator: Cpu,
    /// What the whole machine used, both included.
    pub(crate) machine: Duration,
}

impl Series {
    /// Several series of the same operation as one, without the pauses between them.
    pub(crate) fn together(name: &str, parts: &[Self]) -> Self {
        let sum = |part: fn(&Self) -> Duration| parts.iter().map(part).sum();
        Self {
            name: name.to_owned(),
            latencies: Latencies::of(parts.iter().flat_map(|part| &part.latencies.0).copied().collect()),
            wall: sum(|part| part.wall),
            program: Cpu { user: sum(|part| part.program.user), system: sum(|part| part.program.system) },
            generator: Cpu {
                user: sum(|part| part.generator.user),
                system: sum(|part| part.generator.system),
            },
            machine: sum(|part| part.machine),
        }
    }

    /// Says what came of it, while other series are still to come.
    pub(crate) fn told(self) -> Self {
        let p50 = milliseconds(self.latencies.percentile(50));
        progress::note(&format!("{}: p50 {p50} ms, {} a second", self.name, digits(self.per_second())));
        self
    }

    pub(crate) fn per_second(&self) -> f64 {
        ratio(count(self.latencies.count()), self.wall.as_secs_f64())
    }

    /// Processor time of the measured program for one operation.
    pub(crate) fn program_per_operation(&self) -> f64 {
        ratio(self.program.total().as_secs_f64(), count(self.latencies.count()))
    }

    /// How many processors were busy on average: with the program, with the generator, and with everything else.
    pub(crate) fn busy(&self) -> [f64; 3] {
        let ours = self.program.total() + self.generator.total();
        [self.program.total(), self.generator.total(), self.machine.saturating_sub(ours)]
            .map(|used| ratio(used.as_secs_f64(), self.wall.as_secs_f64()))
    }
}

/// `number / of`, and zero where there is nothing to divide by.
pub(crate) fn ratio(number: f64, of: f64) -> f64 {
    if of > 0.0 { number / of } else { 0.0 }
}

/// A count as a factor. Exact below 2⁵³.
#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

/// Three significant digits, which is more than repeats from run to run; large numbers whole.
pub(crate) fn digits(number: f64) -> String {
    match number {
        n if n >= 100.0 => grouped(n),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 1.0 => format!("{n:.2}"),
        n => format!("{n:.3}"),
    }
}

/// A count with a comma between thousands.
pub(crate) fn grouped_count(number: usize) -> String {
    grouped(count(number))
}

/// A whole number with a comma between thousands.
fn grouped(number: f64) -> String {
    let plain = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    digits(duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let none = Latencies::of(Vec::new());
        assert_eq!(none.percentile(50), Duration::ZERO);
        for (count, percent, expected) in [
            (1, 50, 1),
            (1, 99, 1),
            (2, 50, 1),
            (4, 50, 2),
            (100, 99, 99),
            (101, 99, 100),
            (300, 50, 150),
            (300, 99, 297),
            (10, 100, 10),
            (10, 0, 1),
        ] {
            let shuffled = (1..=count).rev().map(Duration::from_millis).collect();
            let got = Latencies::of(shuffled).percentile(percent);
            assert_eq!(got, Duration::from_millis(expected), "p{percent} of {count}");
        }
    }

    #[test]
    fn numbers_have_as_many_digits_as_repeat() {
        for (number, text) in [
            (0.0, "0.000"),
            (0.0273, "0.027"),
            (2.7199, "2.72"),
            (27.199, "27.2"),
            (99.96, "100.0"),
            (271.99, "272"),
            (28000.4, "28,000"),
            (1234567.0, "1,234,567"),
        ] {
            assert_eq!(digits(number), text);
        }
    }

    #[test]
    fn shares_add_up_to_what_the_machine_used() {
        let second = Duration::from_secs(1);
        let series = Series {
            name: String::new(),
            latencies: Latencies::of(vec![second; 4]),
            wall: second * 2,
            program: Cpu { user: second, system: second },
            generator: Cpu { user: second, system: Duration::ZERO },
            machine: second * 4,
        };
        assert_eq!(series.busy(), [1.0, 0.5, 0.5]);
        assert!((series.per_second() - 2.0).abs() < f64::EPSILON);
        assert!((series.program_per_operation() - 0.5).abs() < f64::EPSILON);
    }
}
