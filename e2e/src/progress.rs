//! Says on standard error what takes long, and how long it has taken so far.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a step that is still running says so: soon at first, so that nobody takes it for stuck.
const REPEAT_AFTER: Duration = Duration::from_secs(10);

/// The same once a minute has passed.
const REPEAT_LATER: Duration = Duration::from_secs(30);

/// Runs `work`, which may take long: prints its name when it begins, a sign of life every few seconds, and its duration at the end.
pub fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    eprintln!("  {what} ...");
    let (done, waiting) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let pause =
                || if began.elapsed() < Duration::from_secs(60) { REPEAT_AFTER } else { REPEAT_LATER };
            while let Err(RecvTimeoutError::Timeout) = waiting.recv_timeout(pause()) {
                eprintln!("  {what} ... {:.0} s so far", began.elapsed().as_secs_f32());
            }
        });
        let value = work();
        drop(done);
        eprintln!("  {what}: done in {:.1} s", began.elapsed().as_secs_f32());
        value
    })
}

/// One line about what was just reached.
pub fn note(what: &str) {
    eprintln!("  {what}");
}
