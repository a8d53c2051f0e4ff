//! What a process and the machine use, as the kernel counts it.

use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Length of the ticks in which `/proc` counts processor time: 1/100 s on every Linux that programs can see (time(7)).
const TICK: Duration = Duration::from_millis(10);

/// A running process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pid: i32,
}

/// Processor time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// In the program's own code.
    pub(crate) user: Duration,
    /// In the kernel on its behalf.
    pub(crate) system: Duration,
}

impl Cpu {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident: `VmRSS`.
    pub(crate) resident_kib: u64,
    /// Resident, with pages that several processes share divided between them: `Pss`.
    pub(crate) proportional_kib: u64,
}

impl Process {
    pub(crate) fn new(pid: i32) -> Self {
        Self { pid }
    }

    /// A process that this one has started.
    pub(crate) fn of(child: &Child) -> anyhow::Result<Self> {
        Self::of_number(child.id())
    }

    /// This process.
    pub(crate) fn this() -> anyhow::Result<Self> {
        Self::of_number(std::process::id())
    }

    fn of_number(number: u32) -> anyhow::Result<Self> {
        Ok(Self { pid: i32::try_from(number).context("the process number does not fit")? })
    }

    /// The process's number.
    pub(crate) fn id(&self) -> i32 {
        self.pid
    }

    /// Whether it runs in the pod with this UID.
    pub(crate) fn is_of_pod(&self, uid: &str) -> bool {
        self.read("cgroup").is_ok_and(|groups| groups.contains(uid))
    }

    /// Processor time of all its threads, those that ended included.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let stat = self.read("stat")?;
        times(&stat)
            .with_context(|| format!("/proc/{}/stat is not in the form of proc(5): {stat:?}", self.pid))
    }

    /// How long it has run, to some hundredths of a second: start and present are counted in those.
    pub(crate) fn age(&self) -> anyhow::Result<Duration> {
        let stat = self.read("stat")?;
        let began = began(&stat)
            .with_context(|| format!("/proc/{}/stat is not in the form of proc(5): {stat:?}", self.pid))?;
        let uptime = fs::read_to_string("/proc/uptime").context("failed to read /proc/uptime")?;
        let uptime = uptime.split(' ').next().unwrap_or_default().parse::<f64>();
        let uptime = uptime.context("/proc/uptime is not in the form of proc(5)")?;
        Ok(Duration::try_from_secs_f64(uptime)?.saturating_sub(began))
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let field = |file: &str, name: &str| {
            let text = self.read(file)?;
            kibibytes(&text, name).with_context(|| format!("/proc/{}/{file} has no {name}", self.pid))
        };
        Ok(Memory {
            resident_kib: field("status", "VmRSS:")?,
            proportional_kib: field("smaps_rollup", "Pss:")?,
        })
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("failed to read {path}; did the process end?"))
    }
}

/// Processor time that the whole machine has used since it started.
pub(crate) fn machine_cpu() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("failed to read /proc/stat")?;
    let busy = busy_ticks(&text).context("/proc/stat is not in the form of proc(5)")?;
    ticks(busy)
}

fn ticks(count: u64) -> anyhow::Result<Duration> {
    let count = u32::try_from(count).context("more processor time than fits")?;
    Ok(TICK * count)
}

/// User and system time in a line of `/proc/<pid>/stat`, its fields 14 and 15.
fn times(stat: &str) -> anyhow::Result<Cpu> {
    Ok(Cpu { user: ticks_in(stat, 14)?, system: ticks_in(stat, 15)? })
}

/// From the machine's start to the program's, in the same line, field 22.
fn began(stat: &str) -> anyhow::Result<Duration> {
    ticks_in(stat, 22)
}

/// A field that counts ticks. The program's name in brackets may hold anything, so counting begins behind the last
/// bracket, with field 3.
fn ticks_in(stat: &str, field: usize) -> anyhow::Result<Duration> {
    let (_, fields) = stat.rsplit_once(") ").context("no bracket")?;
    let field = fields.split(' ').nth(field - 3).context("too short")?;
    ticks(field.parse().context("no number")?)
}

/// The first line of `/proc/stat` without idle and waiting for disks. Guests are part of user time already.
fn busy_ticks(stat: &str) -> anyhow::Result<u64> {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no first line")?;
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(numbers.len() >= 8, "too short");
    Ok(numbers.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, n)| n).sum())
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        assert!(times("").is_err());
        assert!(times("1 (a) S 1 2").is_err());
        for name in ["a", "a b", "a) S 1", "tokio) ("] {
            let stat = format!("12 ({name}) S 1 12 12 0 -1 4194560 1 0 0 0 150 25 7 8 20 0 1 0 98765 222 33");
            let cpu = times(&stat).unwrap();
            assert_eq!((cpu.user.as_millis(), cpu.system.as_millis()), (1500, 250), "{name}");
            assert_eq!(began(&stat).unwrap().as_millis(), 987_650, "{name}");
        }
    }

    #[test]
    fn a_process_that_has_just_begun_is_young() {
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let process = Process { pid: child.id().try_into().unwrap() };
        std::thread::sleep(Duration::from_millis(100));
        let age = process.age();
        child.kill().unwrap();
        child.wait().unwrap();
        let age = age.unwrap();
        assert!(age >= Duration::from_millis(80) && age < Duration::from_secs(30), "{age:?}");
    }

    #[test]
    fn idle_time_is_not_busy() {
        assert!(busy_ticks("cpu0 1 2 3 4 5 6 7 8").is_err());
        assert!(busy_ticks("cpu  1 2 3").is_err());
        assert_eq!(busy_ticks("cpu  1 2 3 1000 2000 4 5 6 7 8\ncpu0 9\n").unwrap(), 21);
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        let status = "VmHWM:\t  9000 kB\nVmRSS:\t    8123 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(8123));
        assert_eq!(kibibytes(status, "Pss:"), None);
        let own = Process::this().unwrap();
        assert!(own.memory().unwrap().resident_kib > 0);
        own.cpu().unwrap();
    }
}
