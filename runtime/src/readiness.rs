//! Counted readiness: the process is ready when each of its components has said so, and no longer from the moment a
//! shutdown begins. It is healthy when its own components are, whatever others have yet to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock::lock;
use crate::shutdown::Shutdown;

/// Pause between two looks for the log.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// What is answered for a component that has not said anything.
const NOT_STARTED: &str = "not started yet";

/// A question asked at each probe, for what can become untrue again (a serving certificate may expire).
type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The readiness of one process; clones share the same state.
#[derive(Clone, Default)]
pub struct Readiness {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    draining: AtomicBool,
    components: Mutex<Vec<Component>>,
}

struct Component {
    name: &'static str,
    question: Question,
    /// Whether it is this process's own, and so a matter of its health.
    is_own: bool,
}

enum Question {
    /// Answered once, by [`Pending::ready`].
    Once(Arc<AtomicBool>),
    /// Answered by [`Teller::tell`], each time until the next.
    Told(Teller),
    /// Asked anew at each probe.
    Each(Check),
}

impl Component {
    fn answer(&self) -> Result<(), String> {
        match &self.question {
            Question::Once(done) if done.load(Ordering::Acquire) => Ok(()),
            Question::Once(_) => Err(NOT_STARTED.to_owned()),
            Question::Told(teller) => teller.standing(),
            Question::Each(check) => check(),
        }
    }
}

impl Readiness {
    /// Adds a component that is not ready until the returned handle says so. Dropping the handle without a word
    /// leaves the process unready: what did not start cannot serve.
    #[must_use = "the process is unready until the handle's `ready` is called"]
    pub fn component(&self, name: &'static str) -> Pending {
        let done = Arc::new(AtomicBool::new(false));
        self.add(Component { name, question: Question::Once(Arc::clone(&done)), is_own: true });
        Pending { done }
    }

    /// Adds a component that says how it stands whenever that changes. It is not ready until the handle first says so.
    pub fn teller(&self, name: &'static str) -> Teller {
        let teller = Teller { said: Arc::new(Mutex::new(Err(NOT_STARTED.to_owned()))) };
        self.add(Component { name, question: Question::Told(teller.clone()), is_own: true });
        teller
    }

    /// Adds a component that is asked at each probe; the error text is what `/readyz?verbose` shows.
    pub fn check(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.add(Component { name, question: Question::Each(Box::new(check)), is_own: true });
    }

    /// Adds a check of something that others have to do, such as an object that others write. The process is not ready
    /// without it, but no less healthy: a restart would mend nothing.
    pub fn check_of_others(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add(Component { name, question: Question::Each(Box::new(check)), is_own: false });
    }

    /// Makes the process unready for good; called at the first sign of shutdown.
    pub fn drain(&self) {
        self.state.draining.store(true, Ordering::Release);
    }

    /// Whether every component is ready and no shutdown has begun.
    pub fn is_ready(&self) -> bool {
        self.report().ready
    }

    /// Each component's answer, for people.
    pub fn report(&self) -> Report {
        self.report_of(|_| true)
    }

    /// The same of the process's own components.
    pub fn health(&self) -> Report {
        self.report_of(|component| component.is_own)
    }

    /// Tells in the log when the process becomes ready, and when and why it no longer is, until shutdown.
    pub async fn tell(self, shutdown: Shutdown) {
        let mut was_ready = false;
        loop {
            let Report { ready, lines } = self.report();
            if ready && !was_ready {
                tracing::info!("ready");
            } else if was_ready && !ready && !shutdown.is_requested() {
                let failing: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("[-] ")).collect();
                tracing::warn!("no longer ready: {}", failing.join("; "));
            }
            was_ready = ready;
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(TELL_INTERVAL) => {}
            }
        }
    }

    fn report_of(&self, counts: impl Fn(&Component) -> bool) -> Report {
        let mut lines = Vec::new();
        let mut ready = true;
        let components = lock(&self.state.components);
        for component in components.iter().filter(|component| counts(component)) {
            match component.answer() {
                Ok(()) => lines.push(format!("[+] {} ok", component.name)),
                Err(reason) => {
                    ready = false;
                    lines.push(format!("[-] {}: {reason}", component.name));
                }
            }
        }
        if self.state.draining.load(Ordering::Acquire) {
            ready = false;
            lines.push("[-] shutdown: draining".to_owned());
        }
        Report { ready, lines }
    }

    fn add(&self, component: Component) {
        lock(&self.state.components).push(component);
    }
}

/// The answer to one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether the process can serve; of its health, whether it could if others did their part.
    pub ready: bool,
    /// One line a component, in the order in which they were added.
    pub lines: Vec<String>,
}

/// A component that has not started yet.
#[derive(Debug)]
pub struct Pending {
    done: Arc<AtomicBool>,
}

impl Pending {
    /// Says that the component can serve now.
    pub fn ready(self) {
        self.done.store(true, Ordering::Release);
    }
}

/// A component that says how it stands; clones are the same one.
#[derive(Debug, Clone)]
pub struct Teller {
    said: Arc<Mutex<Result<(), String>>>,
}

impl Teller {
    /// Says whether the component can serve, and if not why.
    pub fn tell(&self, standing: Result<(), String>) {
        *lock(&self.said) = standing;
    }

    /// What was said last.
    ///
    /// # Errors
    /// Why the component cannot serve.
    pub fn standing(&self) -> Result<(), String> {
        lock(&self.said).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_was_dropped_before_it_started_keeps_the_process_unready() {
        let readiness = Readiness::default();
        drop(readiness.component("caches"));
        assert!(!readiness.is_ready());
    }

    #[test]
    fn a_component_that_says_nothing_or_that_it_cannot_serve_keeps_the_process_unready() {
        let readiness = Readiness::default();
        let teller = readiness.teller("targets");
        assert_eq!(readiness.report().lines, ["[-] targets: not started yet"]);
        teller.tell(Ok(()));
        assert!(readiness.is_ready());
        teller.tell(Err("forbidden".to_owned()));
        assert_eq!(readiness.health().lines, ["[-] targets: forbidden"]);
    }

    #[test]
    fn the_process_is_unready_while_it_drains() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        readiness.drain();
        assert_eq!(
            readiness.report(),
            Report { ready: false, lines: vec!["[-] shutdown: draining".to_owned()] }
        );
    }

    #[test]
    fn the_process_is_ready_after_the_last_component() {
        let readiness = Readiness::default();
        let first = readiness.component("first");
        let second = readiness.component("second");
        first.ready();
        assert_eq!(readiness.report().lines, ["[+] first ok", "[-] second: not started yet"]);
        second.ready();
        assert!(readiness.is_ready());
    }

    #[test]
    fn what_others_have_to_do_is_no_matter_of_health() {
        let readiness = Readiness::default();
        let own = readiness.component("own");
        readiness.check_of_others("theirs", || Err("not done".to_owned()));
        assert_eq!(readiness.report().lines, ["[-] own: not started yet", "[-] theirs: not done"]);
        assert_eq!(readiness.health().lines, ["[-] own: not started yet"]);
        own.ready();
        assert!(!readiness.is_ready());
        assert!(readiness.health().ready);
    }

    #[test]
    fn a_check_is_asked_at_each_probe() {
        let readiness = Readiness::default();
        let expired = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&expired);
        readiness.check("certificate", move || {
            if seen.load(Ordering::Relaxed) { Err("expired".to_owned()) } else { Ok(()) }
        });
        assert!(readiness.is_ready());
        expired.store(true, Ordering::Relaxed);
        assert_eq!(readiness.report().lines, ["[-] certificate: expired"]);
    }
}
