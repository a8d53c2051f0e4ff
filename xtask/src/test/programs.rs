//! Runs test programs, several at a time where they do not disturb each other. The output of each is shown whole when it
//! ends, and what failed is told once more at the very end: whoever sees only the last lines sees why.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use e2e::paths;

/// How long a program may run: several times what the longest takes, and less than CI waits for everything, so that a
/// program that hangs is told by its name and with its output.
const TIME_MAX: Duration = Duration::from_secs(40 * 60);

/// How often it is looked whether one has ended.
const POLL: Duration = Duration::from_millis(20);

/// Lines of the summary that one test may take.
const LINES_MAX: usize = 14;

/// Tests of one program that the summary tells of.
const TESTS_MAX: usize = 8;

/// Characters of a line there.
const LINE_CHARS_MAX: usize = 600;

/// Last lines of a program that ended without naming a test.
const LAST_LINES: usize = 10;

/// Runs each test program, so many at a time, whatever becomes of the others.
///
/// # Errors
/// When some failed: names their tests and repeats their messages.
pub(super) fn run_all(tests: impl Iterator<Item = Command>, at_once: usize) -> anyhow::Result<()> {
    let logs = paths::workspace().join("target/test-output");
    fs::create_dir_all(&logs).with_context(|| format!("failed to create {}", logs.display()))?;
    let waiting = Mutex::new(tests.collect::<VecDeque<_>>());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(test) = { lock(&waiting).pop_front() } {
                    if let Err(failure) = run(test, &logs) {
                        lock(&failures).push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failures.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = failures.iter().map(|failure| format!("{failure:#}")).collect();
    bail!("tests failed; their whole output is above and in {}\n{}", logs.display(), told.join("\n"));
}

/// Runs one program. Its error says what failed in it.
fn run(mut test: Command, logs: &Path) -> anyhow::Result<()> {
    let name = Path::new(test.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    println!("   {name} ...");
    let began = Instant::now();
    let log = logs.join(&name).with_extension("log");
    let outcome = record(&mut test, &log);
    let output = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    // One call, so that no other program's output comes between.
    println!("   {name}: {:.1} s\n{}\n", began.elapsed().as_secs_f32(), output.trim_matches('\n'));
    let end = match outcome {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => format!("{error:#}"),
    };
    bail!("{name} ({end}):\n{}", summary(&output).join("\n"));
}

/// Runs a program with all that it prints going to `log`.
fn record(test: &mut Command, log: &Path) -> anyhow::Result<ExitStatus> {
    let output = File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    let errors = output.try_clone().context("failed to share the log")?;
    let mut child =
        test.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().context("failed to start it")?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("failed to wait for it")? {
            return Ok(status);
        }
        if began.elapsed() > TIME_MAX {
            child.kill().context("failed to end it")?;
            child.wait().context("failed to wait for its end")?;
            bail!("it was still running after {} minutes", TIME_MAX.as_secs() / 60);
        }
        std::thread::sleep(POLL);
    }
}

/// Each test that failed, by what the test harness prints at its end, and what it failed with; the last lines where it
/// names none.
fn summary(output: &str) -> Vec<String> {
    let mut tests: Vec<Vec<String>> = Vec::new();
    let mut is_telling = false;
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.split_once(" std")) {
            tests.push(vec![format!("   {}", name.0)]);
            is_telling = false;
        } else if line == "failures:" {
            is_telling = false;
        } else if let Some(test) = tests.last_mut() {
            let is_trace =
                line.to_lowercase().starts_with("stack backtrace:") || line.starts_with("note: run with");
            is_telling =
                !is_trace && (is_telling || line.starts_with("Error: ") || line.contains(" panicked at "));
            if is_telling && !line.trim().is_empty() && test.len() < LINES_MAX {
                test.push(format!("      {}", cut(line)));
            }
        }
    }
    if tests.is_empty() {
        let lines: Vec<&str> = output.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
        return last.iter().map(|line| format!("   {}", cut(line))).collect();
    }
    let more = tests.len().saturating_sub(TESTS_MAX);
    let mut told: Vec<String> = tests.into_iter().take(TESTS_MAX).flatten().collect();
    told.extend((more > 0).then(|| format!("   and {more} more")));
    told
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, wanted: &[&str]) {
        assert_eq!(summary(output), wanted, "{output}");
    }

    #[test]
    fn what_ends_without_naming_a_test_is_told_by_its_last_lines() {
        check("", &[]);
        check(
            "running 1 test\nmemory allocation of 9 bytes failed\n",
            &["   running 1 test", "   memory allocation of 9 bytes failed"],
        );
        let lines: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        assert_eq!(summary(&lines.join("\n")).first().unwrap(), "   20");
    }

    #[test]
    fn each_test_that_failed_is_told_with_its_message_and_without_its_trace() {
        let output = "\nrunning 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... FAILED\n\nfailures:\n\n\
            ---- b stdout ----\n12 calls\nError: a call failed\n\nCaused by:\n    0: late\n\nStack backtrace:\n   \
            0: anyhow\n\n---- m::c stdout ----\n\nthread 'm::c' (7) panicked at src/lib.rs:1:2:\nassertion failed\n\
            note: run with `RUST_BACKTRACE=1`\n\n\nfailures:\n    b\n    m::c\n\ntest result: FAILED\n";
        check(
            output,
            &[
                "   b",
                "      Error: a call failed",
                "      Caused by:",
                "          0: late",
                "   m::c",
                "      thread 'm::c' (7) panicked at src/lib.rs:1:2:",
                "      assertion failed",
            ],
        );
    }

    #[test]
    fn many_failures_and_long_messages_are_cut() {
        let section = |number: usize| {
            let lines = "more\n".repeat(LINES_MAX);
            format!("---- t{number} stdout ----\nError: {}\n{lines}", "é".repeat(LINE_CHARS_MAX))
        };
        let told = summary(&(0..TESTS_MAX + 3).map(section).collect::<String>());
        assert_eq!(told.len(), TESTS_MAX * LINES_MAX + 1);
        assert!(told[1].ends_with("é ..."), "{}", told[1]);
        assert_eq!(told.last().unwrap(), "   and 3 more");
    }

    #[test]
    fn a_failure_is_told_at_the_end_whatever_comes_after_it() {
        let command = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        let failing = "printf -- '---- a stdout ----\\nError: wrong\\n'; exit 101";
        let error =
            run_all([command(failing), command("exit 0"), command("kill -9 $$")].into_iter(), 1).unwrap_err();
        let told = error.to_string();
        for wanted in ["sh (exit status: 101):\n   a\n      Error: wrong", "sh (signal: 9 (SIGKILL)):"] {
            assert!(told.contains(wanted), "{told}");
        }
        run_all([command("exit 0")].into_iter(), 2).unwrap();
    }
}
