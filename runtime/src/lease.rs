//! Leader election by a Lease of `coordination.k8s.io/v1`, in the form in which client-go's elections write it: a Go
//! program and this one take turns at the same Lease.
//!
//! Who leads asks [`Leadership::may_write`] right before each write. That is a comparison of times, so a process that
//! was stopped for a while has lost its right before it does anything else. It cannot undo a request that is under way;
//! so writes are bound to the version of what was read, and the Lease spares work rather than keep things right.

mod election;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use self::election::{Election, Observed, Record, Step, Written};
use crate::lock::lock;
use crate::shutdown::Shutdown;
use crate::watch::Failure;
use crate::watch::tries::tries;

/// Time to give the Lease back at the end; without that, others wait for it to expire.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(3);

/// Which Lease, and who asks for it.
#[derive(Debug, Clone)]
pub struct LeaseArgs {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Label `app.kubernetes.io/managed-by` of a Lease that is created.
    pub manager: &'static str,
    /// Who we are; no two processes may be the same. See [`identity`].
    pub identity: String,
    /// How patient to be.
    pub times: Times,
}

/// The times of an election; each has its meaning from client-go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Why times cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// The Lease tells it in whole seconds.
    #[error("the lease duration {0:?} must be a second or more")]
    Duration(Duration),
    /// Another would take over while the leader still leads.
    #[error("the lease duration {duration:?} must be longer than the renew deadline {renew_deadline:?}")]
    RenewDeadline {
        /// How long the Lease holds, in whole seconds.
        duration: Duration,
        /// How long a leader goes without a renewal.
        renew_deadline: Duration,
    },
    /// A leader would have no second try.
    #[error(
        "the renew deadline {renew_deadline:?} must be longer than 1.2 times the retry period {retry_period:?}"
    )]
    RetryPeriod {
        /// How long a leader goes without a renewal.
        renew_deadline: Duration,
        /// The pause between renewals.
        retry_period: Duration,
    },
    /// There must be a pause.
    #[error("the retry period must be longer than nothing")]
    NoRetryPeriod,
}

impl Times {
    /// `duration`: others take the Lease when it was not renewed for so long; whole seconds count. `renew_deadline`: a
    /// leader that could not renew for so long leads no more. `retry_period`: the pause between renewals, and between
    /// looks of those who wait.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn new(
        duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, TimesError> {
        let whole = Duration::from_secs(duration.as_secs());
        if whole.is_zero() {
            return Err(TimesError::Duration(duration));
        }
        if retry_period.is_zero() {
            return Err(TimesError::NoRetryPeriod);
        }
        if whole <= renew_deadline {
            return Err(TimesError::RenewDeadline { duration: whole, renew_deadline });
        }
        if renew_deadline.as_nanos() * 5 <= retry_period.as_nanos() * 6 {
            return Err(TimesError::RetryPeriod { renew_deadline, retry_period });
        }
        Ok(Self { duration: whole, renew_deadline, retry_period })
    }

    /// A call gets half of the deadline, so that a second one is possible before it.
    fn call_time_max(&self) -> Duration {
        self.renew_deadline / 2
    }
}

/// Whether this process leads; clones share it.
#[derive(Debug, Clone)]
pub struct Leadership {
    standing: Arc<watch::Sender<Standing>>,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// What keeps a candidate from the Lease.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// How long that is no reason to worry.
    patience: Duration,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Always,
    Until(Instant),
    Standby,
}

impl Standing {
    fn may_write(self) -> bool {
        match self {
            Self::Always => true,
            Self::Until(until) => Instant::now() < until,
            Self::Standby => false,
        }
    }
}

impl Leadership {
    /// That of a process which takes part in no election.
    pub fn always() -> Self {
        Self::of(Standing::Always)
    }

    /// That of a candidate, who does not lead before [`run`] has won an election for it.
    pub fn candidate() -> Self {
        Self::of(Standing::Standby)
    }

    fn of(standing: Standing) -> Self {
        Self { standing: Arc::new(watch::Sender::new(standing)), trouble: Arc::default() }
    }

    /// Whether this process can take part in the election. One that cannot looks like one that stands by, and perhaps nobody
    /// leads.
    ///
    /// # Errors
    /// What has kept it from reading or writing the Lease for longer than the Lease holds.
    pub fn takes_part(&self) -> Result<(), String> {
        match &*lock(&self.trouble) {
            Some(trouble) if trouble.since.elapsed() > trouble.patience => Err(trouble.text.clone()),
            _ => Ok(()),
        }
    }

    /// Whether this process leads at this instant. Ask right before each write.
    pub fn may_write(&self) -> bool {
        self.standing.borrow().may_write()
    }

    /// Waits until this process leads.
    pub async fn leading(&self) {
        let mut standing = self.standing.subscribe();
        // The sender is our own, so it cannot be gone.
        let _ = standing.wait_for(|standing| standing.may_write()).await;
    }

    #[cfg(test)]
    pub(crate) fn lead_for(&self, time: Duration) {
        self.set(Some(Instant::now() + time));
    }

    fn set(&self, leads_until: Option<Instant>) {
        self.standing.send_replace(leads_until.map_or(Standing::Standby, Standing::Until));
    }
}

/// A name that no other process has: the machine's, for people, and random digits.
///
/// # Errors
/// When the system tells neither.
pub fn identity() -> std::io::Result<String> {
    let read = |path| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
    Ok(format!("{}_{}", read("/proc/sys/kernel/hostname")?, read("/proc/sys/kernel/random/uuid")?))
}

/// Stands for election, and again after each loss, until `drained` is requested; then the Lease is given back. Request
/// that once nothing is left to write. The rights to get, create and patch the Lease are needed; with list and watch of
/// it a released Lease is taken over at once, without them after two seconds at most.
///
/// # Errors
/// None; the result is for [`crate::tasks::Tasks::spawn`].
pub async fn run(
    client: Client,
    args: LeaseArgs,
    leadership: Leadership,
    drained: Shutdown,
) -> anyhow::Result<()> {
    let api = Api::<Lease>::namespaced(client, &args.namespace);
    let (watched, name) = (api.clone(), args.name.clone());
    let mut changes = tries(move || watcher::watch_object(watched.clone(), &name));
    let mut candidate = Candidate::new(api, args, leadership);
    loop {
        let step = candidate.election.next(Instant::now(), Timestamp::now());
        // A call under way is not given up for a change: that may be the call's own.
        if let Step::Wait(until) = step {
            tokio::select! {
                () = drained.requested() => break,
                () = tokio::time::sleep_until(until) => {}
                Some(change) = changes.next() => candidate.told(change),
            }
        } else {
            tokio::select! {
                () = drained.requested() => break,
                () = candidate.call(step) => {}
            }
        }
        candidate.publish();
    }
    candidate.release().await;
    Ok(())
}

struct Candidate {
    api: Api<Lease>,
    args: LeaseArgs,
    leadership: Leadership,
    election: Election,
    /// Whether a write was sent of which nobody knows what came.
    is_unsure: bool,
    /// What was last said, so that it is said once.
    said: Said,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    leads: bool,
    holder: Option<String>,
    trouble: Option<Failure>,
}

impl Candidate {
    fn new(api: Api<Lease>, args: LeaseArgs, leadership: Leadership) -> Self {
        let election = Election::new(args.identity.clone(), args.times);
        Self { api, args, leadership, election, is_unsure: false, said: Said::default() }
    }

    async fn call(&mut self, step: Step) {
        let sent = Instant::now();
        self.is_unsure |= step != Step::Get;
        let outcome = tokio::time::timeout(self.args.times.call_time_max(), self.send(&step)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Failure { code: None, message: "the API server does not answer".to_owned() })
        });
        let now = Instant::now();
        self.is_unsure &= matches!(&outcome, Err(failure) if failure.code.is_none());
        match (step, outcome) {
            (Step::Get, Ok(lease)) => self.election.looked(lease, now),
            (Step::Get, Err(failure)) => {
                self.election.failed(now);
                self.tell_trouble("read", Some(failure));
                return;
            }
            (_, Ok(Some(observed))) => self.election.written(Written::Done(observed), sent, now),
            // A write that is answered is answered with what it made.
            (_, Ok(None)) => self.election.written(Written::Failed, sent, now),
            (_, Err(failure)) if matches!(failure.code, Some(404 | 409)) => {
                self.election.written(Written::Conflict, sent, now);
            }
            (_, Err(failure)) => {
                self.election.written(Written::Failed, sent, now);
                self.tell_trouble("write", Some(failure));
                return;
            }
        }
        self.tell_trouble("reach", None);
    }

    async fn send(&self, step: &Step) -> Result<Option<Observed>, Failure> {
        let name = self.args.name.as_str();
        let answer = match step {
            Step::Get => self.api.get_opt(name).await,
            Step::Create(record) => {
                let lease = lease(&self.args, record, None);
                self.api.create(&PostParams::default(), &lease).await.map(Some)
            }
            Step::Write(Observed { record, version }) => {
                // A patch leaves what others keep in the Lease, and the version makes it a write of the whole.
                let lease = lease(&self.args, record, Some(version));
                self.api.patch(name, &PatchParams::default(), &Patch::Merge(lease)).await.map(Some)
            }
            Step::Wait(_) => Ok(None),
        };
        answer.map(|lease| lease.map(observed)).map_err(|error| Failure::from(&error))
    }

    fn told(&mut self, change: Result<Option<Lease>, watcher::Error>) {
        match change {
            Ok(lease) => self.election.told(lease.map(observed), Instant::now()),
            Err(error) => {
                tracing::debug!(failure = %Failure::from(&error), "cannot watch the Lease {}", self.args.name);
                self.election.watch_failed();
            }
        }
    }

    fn publish(&mut self) {
        self.leadership.set(self.election.leads_until());
        let (leads, lease) = (self.leadership.may_write(), self.args.name.as_str());
        if leads != self.said.leads {
            self.said.leads = leads;
            tracing::info!(lease, "{}", if leads { "leading" } else { "leading no more" });
        }
        let holder = self.election.holder().filter(|holder| *holder != self.args.identity);
        if holder != self.said.holder.as_deref() {
            self.said.holder = holder.map(str::to_owned);
            if let Some(holder) = holder.filter(|holder| !holder.is_empty()) {
                tracing::info!(lease, holder, "another process leads");
            }
        }
    }

    fn tell_trouble(&mut self, what: &str, trouble: Option<Failure>) {
        if trouble == self.said.trouble {
            return;
        }
        let (lease, namespace) = (self.args.name.as_str(), &self.args.namespace);
        match &trouble {
            Some(failure) => tracing::warn!(lease, namespace, %failure, "cannot {what} the Lease"),
            None => tracing::info!(lease, namespace, "the Lease can be read and written again"),
        }
        let known = &mut *lock(&self.leadership.trouble);
        *known = trouble.as_ref().map(|failure| Trouble {
            since: known.as_ref().map_or_else(Instant::now, |known| known.since),
            patience: self.args.times.duration,
            text: format!("cannot {what} the Lease {namespace}/{lease}: {failure}"),
        });
        self.said.trouble = trouble;
    }

    async fn release(&mut self) {
        self.leadership.set(None);
        let released = tokio::time::timeout(RELEASE_TIME_MAX, self.give_back()).await;
        let lease = self.args.name.as_str();
        match released.context("it takes too long").and_then(|outcome| outcome.context("a call failed")) {
            Ok(true) => tracing::info!(lease, "gave the Lease back"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(lease, "cannot give the Lease back, so others wait for its end: {error:#}");
            }
        }
    }

    /// False: it is not ours.
    async fn give_back(&mut self) -> Result<bool, Failure> {
        if let Some(given) = self.election.release(Timestamp::now()) {
            match self.send(&Step::Write(given)).await {
                Ok(_) => return Ok(true),
                Err(failure) if failure.code == Some(409) => {}
                Err(failure) => return Err(failure),
            }
        } else if !self.is_unsure && self.election.holder().is_some() {
            return Ok(false);
        }
        // A write was under way, or somebody set a label: what is there now?
        let lease = self.send(&Step::Get).await?;
        self.election.looked(lease, Instant::now());
        let Some(given) = self.election.release(Timestamp::now()) else { return Ok(false) };
        self.send(&Step::Write(given)).await.map(|_| true)
    }
}

fn lease(args: &LeaseArgs, record: &Record, version: Option<&String>) -> Lease {
    let seconds = record.duration.map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
    let label = || ("app.kubernetes.io/managed-by".to_owned(), args.manager.to_owned());
    Lease {
        metadata: ObjectMeta {
            name: Some(args.name.clone()),
            labels: version.is_none().then(|| [label()].into()),
            resource_version: version.cloned(),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(record.holder.clone()),
            lease_duration_seconds: seconds,
            acquire_time: record.acquired.map(MicroTime),
            renew_time: record.renewed.map(MicroTime),
            lease_transitions: Some(record.transitions),
            ..LeaseSpec::default()
        }),
    }
}

fn observed(lease: Lease) -> Observed {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Observed {
        record: Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: seconds.map(Duration::from_secs),
            acquired: spec.acquire_time.map(|MicroTime(time)| time),
            renewed: spec.renew_time.map(|MicroTime(time)| time),
            transitions: spec.lease_transitions.unwrap_or_default(),
        },
        version: lease.metadata.resource_version.unwrap_or_default(),
    }
}
