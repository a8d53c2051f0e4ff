//! Programs that outlive the process which started them: pid files that cannot hit a stranger, logs, and the end.
//!
//! Process numbers wrap round, so a pid file also holds when the process began; nothing is signalled unless both agree
//! and the command line still names the program.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to vanish after SIGKILL; the kernel may still be writing its memory or files.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// How often the end of a process is looked for.
const POLL: Duration = Duration::from_millis(10);

/// A program to be started.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its executable.
    pub(crate) path: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Its working directory; in a mount namespace of its own it is `/`.
    pub(crate) cwd: PathBuf,
    /// The network namespace it runs in.
    pub(crate) net: Option<PathBuf>,
    /// The mount namespace it runs in.
    pub(crate) mount: Option<PathBuf>,
    /// What it prints is appended here.
    pub(crate) log: PathBuf,
    /// Where its identity is written.
    pub(crate) pid_file: PathBuf,
}

impl Program {
    /// Starts the program in a session of its own, so that no signal of this terminal reaches it.
    pub(crate) fn start(&self) -> anyhow::Result<Process> {
        // setsid and nsenter replace themselves: the child's number is the program's from the first moment.
        let mut command = Command::new("setsid");
        if self.net.is_some() || self.mount.is_some() {
            command.arg("nsenter");
            command.args(self.net.iter().map(|file| format!("--net={}", file.display())));
            command.args(self.mount.iter().map(|file| format!("--mount={}", file.display())));
            command.arg("--");
        }
        let log = open_log(&self.log)?;
        let mut child = command
            .arg(&self.path)
            .args(&self.args)
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("failed to share a log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", self.path.display()))?;
        let pid = i32::try_from(child.id()).context("the process number does not fit")?;
        let began = began(pid).with_context(|| format!("{} ended at once", self.path.display()))?;
        let process = Process { pid, began, program: self.path.display().to_string() };
        write_atomically(&self.pid_file, process.to_string().as_bytes())?;
        // Someone must collect the exit status while this process lives; later init does.
        thread::spawn(move || child.wait());
        Ok(process)
    }
}

/// One started process, told apart from later ones with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: i32,
    /// Clock ticks from the machine's start to the process's (field 22 of `/proc/<pid>/stat`).
    began: u64,
    program: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}", self.pid, self.began, self.program)
    }
}

impl FromStr for Process {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.trim_end().splitn(3, ' ');
        let (Some(pid), Some(began), Some(program)) = (parts.next(), parts.next(), parts.next()) else {
            bail!("a pid file holds {text:?} instead of a number, a start time and a program");
        };
        let pid: i32 = pid.parse().with_context(|| format!("{pid:?} is no process number"))?;
        // Zero and negative numbers address groups, one is init.
        if pid <= 1 || program.is_empty() {
            bail!("a pid file holds {text:?}, which is no process of ours");
        }
        let began = began.parse().with_context(|| format!("{began:?} is no start time"))?;
        Ok(Self { pid, began, program: program.to_owned() })
    }
}

impl Process {
    /// The process of a pid file, if the file is there and right.
    pub(crate) fn read(pid_file: &Path) -> Option<Self> {
        fs::read_to_string(pid_file).ok()?.parse().ok()
    }

    /// The number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it still runs. A zombie does not.
    pub(crate) fn is_alive(&self) -> bool {
        // For a moment of each exec the command line is empty, or not yet whole: one look is not enough to say no.
        let is_named = || {
            let arguments = command_line(self.pid);
            arguments.contains(&self.program) || arguments.iter().all(String::is_empty)
        };
        began(self.pid) == Some(self.began)
            && (is_named() || {
                thread::sleep(POLL);
                is_named()
            })
    }
}

/// Kills what `find` finds, until it finds nothing.
///
/// # Errors
/// When something is still there after [`KILLED_WITHIN`].
pub(crate) fn kill_all(mut find: impl FnMut() -> Vec<i32>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let found = find();
        if found.is_empty() {
            return Ok(());
        }
        if began.elapsed() > KILLED_WITHIN {
            bail!("processes {found:?} are still there {} s after SIGKILL", KILLED_WITHIN.as_secs());
        }
        for pid in found {
            // It may have ended meanwhile, which is what we want.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(POLL);
    }
}

/// Every living process whose executable has one of these names and whose command line mentions `text`.
pub(crate) fn mentioning(programs: &[&str], text: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| began(*pid).is_some())
        .filter(|pid| executable(*pid).is_some_and(|name| programs.contains(&name.as_str())))
        .filter(|pid| command_line(*pid).iter().any(|arg| arg.contains(text)))
        .collect()
}

/// The file name of a living process's executable, even when the file has been replaced since.
pub(crate) fn executable(pid: i32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = link.file_name()?.to_str()?;
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

/// The last `count` lines of a log file; nothing when it is not there.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

/// Replaces a file by one with these contents, readable by its owner alone.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let unfinished = path.with_extension("unfinished");
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(contents)?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("failed to open {}", path.display()))
}

fn began(pid: i32) -> Option<u64> {
    start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time in a line of `/proc/<pid>/stat`; `None` for a zombie and a dead process.
///
/// The program's name stands in brackets and may hold brackets and spaces itself, so counting begins behind the last.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // The state is field 3, the start time field 22.
    fields.nth(18)?.parse().ok()
}

fn command_line(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_pid_files_that_could_hit_a_stranger() {
        for text in [
            "",
            "12",
            "12 34",
            "0 34 /bin/etcd",
            "1 34 /bin/etcd",
            "-1 34 /bin/etcd",
            "x 34 /bin/etcd",
            "12 x /bin/etcd",
            "12 34 ",
        ] {
            assert!(text.parse::<Process>().is_err(), "{text:?}");
        }
        let process = Process { pid: 12, began: 34, program: "/path with spaces/etcd".into() };
        assert_eq!(process.to_string().parse::<Process>().unwrap(), process);
    }

    #[test]
    fn reads_the_start_time_behind_any_program_name() {
        let rest = "S 1 12 12 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 98765 222 33";
        for name in ["etcd", "a b", "a) S 1 2", "((", "a) b) c"] {
            assert_eq!(start_time(&format!("12 ({name}) {rest}")), Some(98765), "{name}");
        }
        assert_eq!(
            start_time(&format!("12 (etcd) {}", rest.replacen('S', "Z", 1))),
            None,
            "a zombie is gone"
        );
        assert_eq!(start_time("12 (etcd) S 1"), None);
        assert_eq!(start_time(""), None);
    }

    #[test]
    fn a_reused_number_is_not_ours() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let began = began(pid).unwrap();
        let program = command_line(pid)[0].clone();
        assert!(Process { pid, began, program: program.clone() }.is_alive());
        assert!(!Process { pid, began: began + 1, program }.is_alive());
        assert!(!Process { pid, began, program: "/bin/other".into() }.is_alive());
    }

    #[test]
    fn a_killed_program_leaves_a_pid_file_of_a_dead_process() {
        let dir = tempfile::tempdir().unwrap();
        let program = Program {
            path: "/bin/sleep".into(),
            args: vec!["1000".into()],
            cwd: dir.path().into(),
            net: None,
            mount: None,
            log: dir.path().join("log"),
            pid_file: dir.path().join("pid"),
        };
        let started = program.start().unwrap();
        let read = Process::read(&program.pid_file).unwrap();
        assert_eq!(started, read);
        assert!(read.is_alive());
        kill_all(|| Vec::from_iter(read.is_alive().then_some(read.pid()))).unwrap();
        assert!(!read.is_alive());
    }

    #[test]
    fn the_last_lines_of_a_log_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(last_lines(&path, 2), "");
        fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(last_lines(&path, 2), "b\nc");
        assert_eq!(last_lines(&path, 9), "a\nb\nc");
    }
}
