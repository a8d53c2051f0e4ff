//! Work whose results the stages need later, done beside them in the processor time that they leave: compilers wait for
//! each other at the end of a build, and tests for a cluster.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};

/// The lowest priority there is.
const NICENESS: i32 = 19;

/// What may be ended in the middle of its work: it begins anew next time. Installing packages may not.
const COMPILERS: [&str; 2] = ["cargo", "go"];

/// Jobs, done one after the other in the order in which they were added.
#[derive(Default)]
pub(super) struct Queue {
    jobs: Vec<Box<dyn FnOnce() + Send>>,
}

impl Queue {
    pub(super) fn add<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Job<T> {
        let (sender, result) = channel();
        // Nobody waits for a job that only others profit from.
        self.jobs.push(Box::new(move || drop(sender.send(work()))));
        Job { result }
    }

    /// Begins, on a thread of the lowest priority, which the programs that it starts inherit.
    pub(super) fn start(self) -> Work {
        let work = Work::default();
        let (ended, thread) = (Arc::clone(&work.ended), Arc::clone(&work.thread));
        std::thread::spawn(move || {
            let _ = thread.set(gettid());
            // Linux counts niceness by thread.
            if let Err(error) = rustix::process::nice(NICENESS) {
                eprintln!("  what is done beside the stages has their priority: {error}");
            }
            for job in self.jobs {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                job();
            }
        });
        work
    }
}

/// The thread at work. When this is dropped, as by a stage that failed, it begins no further job, and its compilers end:
/// whoever reads our output need not wait for them.
#[derive(Default)]
pub(super) struct Work {
    ended: Arc<AtomicBool>,
    thread: Arc<OnceLock<Pid>>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.get() else { return };
        let children = fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if COMPILERS.contains(&name.trim()) {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(child), Signal::SIGTERM);
            }
        }
    }
}

/// A result that is there some time.
pub(super) struct Job<T> {
    result: Receiver<anyhow::Result<T>>,
}

impl<T> Job<T> {
    /// Waits for it; once.
    ///
    /// # Errors
    /// The job's own.
    pub(super) fn finish(&self) -> anyhow::Result<T> {
        self.result.recv().context("it was given up")?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_fails_keeps_no_other_from_its_result() {
        let own = rustix::process::nice(0).unwrap();
        let mut queue = Queue::default();
        let failing = queue.add(|| -> anyhow::Result<()> { anyhow::bail!("no network") });
        let left = queue.add(|| Ok(1));
        drop(left);
        let last = queue.add(|| Ok(rustix::process::nice(0)?));
        let _work = queue.start();
        assert_eq!(last.finish().unwrap(), NICENESS);
        assert_eq!(failing.finish().unwrap_err().to_string(), "no network");
        assert_eq!(rustix::process::nice(0).unwrap(), own, "other threads keep their priority");
    }

    #[test]
    fn what_comes_after_a_panic_is_given_up_and_says_so() {
        let mut queue = Queue::default();
        let broken = queue.add(|| -> anyhow::Result<()> { panic!("a defect") });
        let next = queue.add(|| Ok(()));
        let _work = queue.start();
        assert_eq!(broken.finish().unwrap_err().to_string(), "it was given up");
        assert_eq!(next.finish().unwrap_err().to_string(), "it was given up");
    }
    #[test]
    fn when_a_stage_fails_compilers_end_and_nothing_more_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = folder.path().join("go");
        fs::copy("/bin/sleep", &compiler).unwrap();
        let mut queue = Queue::default();
        let ended = queue.add(move || {
            let mut child = std::process::Command::new(compiler).arg("600").spawn()?;
            child.wait()?.code().context("it was killed")
        });
        let next = queue.add(|| Ok(()));
        let work = queue.start();
        let compiles = || {
            let thread = work.thread.get()?;
            let children = fs::read_to_string(format!("/proc/self/task/{thread}/children")).ok()?;
            let name = fs::read_to_string(format!("/proc/{}/comm", children.trim())).ok()?;
            (name.trim() == "go").then_some(())
        };
        while compiles().is_none() {
            std::thread::yield_now();
        }
        drop(work);
        assert_eq!(ended.finish().unwrap_err().to_string(), "it was killed");
        assert_eq!(next.finish().unwrap_err().to_string(), "it was given up");
    }
}
