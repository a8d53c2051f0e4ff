//! What the figures were measured on and of.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::paths;
use e2e::toolchain::KUBERNETES_VERSION;
use jiff::Timestamp;

use super::figures::{count, ratio};
use super::process::machine_cpu;

/// How long the machine is watched before anything is measured.
const WATCHED_FOR: Duration = Duration::from_secs(3);

/// Date, machine and versions.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Day of the measurement (UTC).
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Our version and commit.
    pub(crate) signet: String,
    pub(crate) kubernetes: &'static str,
    pub(crate) rust: String,
    /// Share of all processors, 0 to 1, that was in use before the load began: by the cluster itself, and by others.
    pub(crate) busy_before: f64,
}

impl Machine {
    /// Looks at this machine, on which the cluster runs already.
    pub(crate) async fn look() -> anyhow::Result<Self> {
        let processors = read("/proc/cpuinfo")?;
        let (processor, cores) = processors_in(&processors);
        ensure!(cores > 0, "/proc/cpuinfo lists no processor");
        let before = machine_cpu()?;
        tokio::time::sleep(WATCHED_FOR).await;
        let used = machine_cpu()?.saturating_sub(before);
        Ok(Self {
            date: Timestamp::now().strftime("%Y-%m-%d").to_string(),
            processor,
            cores,
            memory_gib: gibibytes(&read("/proc/meminfo")?).context("/proc/meminfo has no MemTotal")?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            signet: signet()?,
            kubernetes: KUBERNETES_VERSION,
            rust: output("rustc", &["--version"])?,
            busy_before: ratio(used.as_secs_f64(), WATCHED_FOR.as_secs_f64() * count(cores)),
        })
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {path}"))
}

/// Model and number of the processors; some architectures name no model.
fn processors_in(cpuinfo: &str) -> (String, usize) {
    let field = |line: &str, name: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    let model = cpuinfo.lines().find_map(|line| field(line, "model name"));
    let cores = cpuinfo.lines().filter(|line| field(line, "processor").is_some()).count();
    (model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()), cores)
}

/// Rounded, since a part of the memory is the kernel's.
fn gibibytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some((kib + (1 << 19)) >> 20)
}

fn signet() -> anyhow::Result<String> {
    let commit = output("git", &["rev-parse", "--short", "HEAD"])?;
    let clean = output("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let changes = if clean { "" } else { " with local changes" };
    Ok(format!("{} (commit {commit}{changes})", env!("CARGO_PKG_VERSION")))
}

fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(paths::workspace()).output();
    let output = output.with_context(|| format!("failed to run {program}"))?;
    ensure!(output.status.success(), "`{program} {}` failed", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_and_named() {
        let text = "processor\t: 0\nmodel name\t: Fast 9000 @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Fast 9000 @ 2 GHz\n";
        assert_eq!(processors_in(text), ("Fast 9000 @ 2 GHz".to_owned(), 2));
        let (model, cores) = processors_in("processor : 0\nBogoMIPS : 50.00\n");
        assert_eq!((model.as_str(), cores), (std::env::consts::ARCH, 1));
    }

    #[test]
    fn memory_is_rounded_to_whole_gibibytes() {
        assert_eq!(gibibytes("MemTotal:       24561234 kB\nMemFree: 1 kB\n"), Some(23));
        assert_eq!(gibibytes("MemFree: 1 kB\n"), None);
    }
}
