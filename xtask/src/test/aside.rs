//! Work whose results the stages need later, done beside them in the processor time that they leave: compilers wait for
//! each other at the end of a build, and tests for a cluster.

use std::sync::mpsc::{Receiver, channel};

use anyhow::Context as _;

/// The lowest priority there is.
const NICENESS: i32 = 19;

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
        // Where nobody waits for it any more, the run has failed.
        self.jobs.push(Box::new(move || drop(sender.send(work()))));
        Job { result }
    }

    /// Begins, on a thread of the lowest priority, which the programs that it starts inherit. When the run ends early,
    /// what such a program was doing is finished and nothing more is begun.
    pub(super) fn start(self) {
        std::thread::spawn(move || {
            if let Err(error) = rustix::process::nice(NICENESS) {
                eprintln!("  work beside the stages has their priority: {error}");
            }
            for job in self.jobs {
                job();
            }
        });
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
        queue.start();
        assert_eq!(last.finish().unwrap(), NICENESS);
        assert_eq!(failing.finish().unwrap_err().to_string(), "no network");
        assert_eq!(rustix::process::nice(0).unwrap(), own, "other threads keep their priority");
    }

    #[test]
    fn what_comes_after_a_panic_is_given_up_and_says_so() {
        let mut queue = Queue::default();
        let broken = queue.add(|| -> anyhow::Result<()> { panic!("a defect") });
        let next = queue.add(|| Ok(()));
        queue.start();
        assert_eq!(broken.finish().unwrap_err().to_string(), "it was given up");
        assert_eq!(next.finish().unwrap_err().to_string(), "it was given up");
    }
}
