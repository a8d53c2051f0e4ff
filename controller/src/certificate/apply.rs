//! Carries decisions out: the one place that writes Certificates. Each look takes turns until nothing is left to do: a
//! decision, one write, and what that write made is known before the watches show it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::Certificate;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use runtime::contest::Contest;
use runtime::follow::Change;
use runtime::held::Held;
use runtime::lease::Leadership;
use runtime::lock::lock;
use runtime::queue::{Outcome, Queue};
use runtime::shutdown::Shutdown;
use runtime::watch::{Failure, NamedObjects, ObjectName, State};
use serving::clock::Clock;
use tokio::time::Instant;

use crate::MANAGER;
use crate::certificate::decide::{attempt_failed, decide};
use crate::certificate::gather::{Gathered, issuer_facts};
use crate::certificate::index::{Index, Sight, issuer};
use crate::certificate::names;
use crate::certificate::passwords::{self, PasswordSecret};
use crate::certificate::snapshot::{KeystoreState, Policy};
use crate::certificate::status;
use crate::certificate::step::{Decision, Step};
use crate::certificate::view::CertificateView;
use crate::context::Context;
use crate::issuer::registry::Registry;
use crate::news::News;
use crate::object::IssuerKey;
use crate::patch::{Written, patch_status};
use crate::report::Report;
use crate::request::apply::Answerer;
use crate::request::view::RequestView;
use crate::settings::Settings;
use crate::syncs::Syncs;

mod steps;
mod target;

/// Longest look at one Certificate, with all its calls.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);

/// Turns in one look. An issuance takes about six; whoever needs more comes back.
const TURNS_MAX: usize = 16;

/// When to try again what the API server refused: somebody has to change something.
const REFUSED_AGAIN: Duration = Duration::from_secs(300);

/// Longest time until the next look, so that a clock which was set does not delay a renewal for long.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);

/// The state that watches and workers share.
pub struct Keeper {
    client: Client,
    queue: Arc<Queue<ObjectName>>,
    index: Arc<Mutex<Index>>,
    passwords: Held<PasswordSecret>,
    /// Of which versions of Secret and passwords the keystores of a Certificate were found right.
    keystores: Mutex<HashMap<ObjectName, Vec<String>>>,
    /// How often the issuance of a Certificate has failed since this process started.
    failures: Mutex<HashMap<ObjectName, u64>>,
    /// Whether others undo what is repaired in the Secret of a Certificate.
    contests: Mutex<HashMap<ObjectName, Contest>>,
    requests: Arc<Answerer>,
    registry: Arc<Registry>,
    settings: Arc<Settings>,
    policy: Policy,
    leadership: Leadership,
    syncs: Syncs,
    report: Report,
    clock: Clock,
    are_certificates_listed: AtomicBool,
    /// The namespaces of which Secrets are to be listed yet; `None` stands for all.
    unlisted: Mutex<BTreeSet<Option<String>>>,
}

/// How a turn ended.
enum Turn {
    /// Something was done, and may have to be followed by something else.
    Next,
    /// The look is over.
    Over(Outcome),
}

/// Why a step was not taken to its end.
#[derive(Debug)]
enum Halt {
    /// What it builds on has changed; the watch is about to say so.
    Stale,
    /// The API server did not do what it was asked; what that was.
    Api(&'static str, Failure),
    /// The attempt to have a certificate issued has failed: reason and message.
    Attempt(&'static str, String),
    /// It has to wait.
    Later(Outcome),
}

impl Keeper {
    /// No Certificate is known yet. Secrets are going to be listed in each of `namespaces`.
    pub(crate) fn new(
        context: &Context,
        requests: Arc<Answerer>,
        policy: Policy,
        namespaces: BTreeSet<Option<String>>,
    ) -> Self {
        let queue = Arc::new(Queue::default());
        let index = Arc::new(Mutex::new(Index::default()));
        context.issuers.on_change({
            let (queue, index) = (Arc::clone(&queue), Arc::clone(&index));
            move |issuer| lock(&index).users_of_issuer(issuer).into_iter().for_each(|name| queue.add(name))
        });
        let passwords = NamedObjects::namespaced(context.client.clone(), PasswordSecret::take).on_change({
            let (queue, index) = (Arc::clone(&queue), Arc::clone(&index));
            move |secret, _| {
                lock(&index).users_of_password(secret).into_iter().for_each(|name| queue.add(name));
            }
        });
        Self {
            client: context.client.clone(),
            queue,
            index,
            passwords: Held::new(passwords),
            keystores: Mutex::default(),
            failures: Mutex::default(),
            contests: Mutex::default(),
            requests,
            registry: Arc::clone(&context.issuers),
            settings: Arc::clone(&context.settings),
            policy,
            leadership: context.leadership.clone(),
            syncs: context.syncs.clone(),
            report: Report::of::<Certificate>(context.events.clone()),
            clock: Arc::clone(&context.clock),
            are_certificates_listed: AtomicBool::new(false),
            unlisted: Mutex::new(namespaces),
        }
    }

    /// Works on Certificates that are due, while this process leads, until shutdown is requested; one in work is finished.
    pub(crate) async fn work(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let (queue, leadership) = (Arc::clone(&self.queue), self.leadership.clone());
        let look = move |name| {
            let this = Arc::clone(&self);
            async move {
                let outcome = this.look(&name).await;
                this.syncs.count("certificates", outcome);
                outcome
            }
        };
        queue.work_while(&leadership, shutdown, RECONCILE_TIMEOUT, look).await
    }

    /// Whether the workers turn.
    pub(crate) fn turns(&self) -> Result<(), String> {
        self.queue.turns()
    }

    /// All Certificates, as they were last seen.
    pub(crate) fn certificates(&self) -> Vec<Arc<CertificateView>> {
        lock(&self.index).certificates().cloned().collect()
    }

    /// How often the issuance of a Certificate has failed since this process started.
    pub(crate) fn failures(&self, name: &ObjectName) -> u64 {
        lock(&self.failures).get(name).copied().unwrap_or_default()
    }

    /// What the watch of the Certificates tells.
    pub(crate) fn changed(&self, change: Change<Certificate>) {
        match change {
            Change::Seen(certificate) => {
                let view = CertificateView::of(certificate, &self.settings.copied_annotations);
                let name = view.name.clone();
                let known = lock(&self.index).certificate(&name);
                if known.is_some_and(|known| known.uid == view.uid && known.version == view.version) {
                    // Our own write, which was followed up already.
                    return;
                }
                let neighbours = self.take(view);
                neighbours.into_iter().chain([name]).for_each(|name| self.queue.add(name));
            }
            Change::Gone(certificate) => self.gone(&ObjectName::of(&certificate.metadata)),
            Change::Listed(names) => {
                let missing = lock(&self.index).missing_certificates(&names);
                missing.iter().for_each(|name| self.gone(name));
                self.are_certificates_listed.store(true, Ordering::Release);
                self.wake();
            }
            // What may be wrong is not acted on.
            Change::Denied(_) => self.are_certificates_listed.store(false, Ordering::Release),
        }
    }

    /// What a watch of the Secrets of one namespace, or of all, tells.
    pub(crate) fn secret_changed(&self, namespace: Option<&str>, change: Change<Secret>) {
        match change {
            Change::Seen(secret) => {
                let name = ObjectName::of(&secret.metadata);
                let mut index = lock(&self.index);
                let is_news = index.set_secret(secret, Instant::now());
                let users = if is_news { index.users_of_secret(&name) } else { Vec::new() };
                drop(index);
                users.into_iter().for_each(|name| self.queue.add(name));
            }
            Change::Gone(secret) => {
                let name = ObjectName::of(&secret.metadata);
                self.secret_gone(&name, secret.metadata.resource_version.as_deref());
            }
            Change::Listed(names) => {
                let missing = lock(&self.index).missing_secrets(namespace, &names);
                missing.iter().for_each(|name| self.secret_gone(name, None));
                lock(&self.unlisted).remove(&namespace.map(str::to_owned));
                self.wake();
            }
            Change::Denied(_) => {
                lock(&self.unlisted).insert(namespace.map(str::to_owned));
            }
        }
    }

    /// A request of this Certificate changed; an empty name: all have been seen.
    pub(crate) fn request_changed(&self, certificate: ObjectName) {
        if certificate.name.is_empty() { self.wake() } else { self.queue.add(certificate) }
    }

    /// Takes a Certificate in. Returns those that had a Secret together with it.
    fn take(&self, view: CertificateView) -> Vec<ObjectName> {
        let mut index = lock(&self.index);
        let before = index.certificate(&view.name).map(|before| before.secret());
        let secret = view.secret();
        let name = view.name.clone();
        for secret in index.set_certificate(view) {
            self.passwords.release(&secret);
        }
        match before.filter(|before| *before != secret) {
            Some(before) => {
                index.users_of_secret(&before).into_iter().filter(|other| *other != name).collect()
            }
            None => Vec::new(),
        }
    }

    fn gone(&self, name: &ObjectName) {
        let mut index = lock(&self.index);
        let secret = index.certificate(name).map(|view| view.secret());
        for secret in index.remove_certificate(name) {
            self.passwords.release(&secret);
        }
        // Another Certificate may have the Secret now.
        let heirs = secret.map(|secret| index.users_of_secret(&secret)).unwrap_or_default();
        drop(index);
        lock(&self.keystores).remove(name);
        lock(&self.failures).remove(name);
        lock(&self.contests).remove(name);
        self.report.forget(name);
        heirs.into_iter().for_each(|name| self.queue.add(name));
    }

    fn secret_gone(&self, name: &ObjectName, version: Option<&str>) {
        let mut index = lock(&self.index);
        let users = index.users_of_secret(name);
        index.remove_secret(name, version);
        drop(index);
        users.into_iter().for_each(|name| self.queue.add(name));
    }

    /// Certificates are looked at once everything about them has been seen.
    fn wake(&self) {
        let names: Vec<_> = lock(&self.index).certificates().map(|view| view.name.clone()).collect();
        names.into_iter().filter(|name| self.sees_all_of(name)).for_each(|name| self.queue.add_waiting(name));
    }

    /// Whether everything about this Certificate has been seen. Secrets of another namespace that may not be read are nothing
    /// to it.
    fn sees_all_of(&self, name: &ObjectName) -> bool {
        let unlisted = lock(&self.unlisted);
        self.are_certificates_listed.load(Ordering::Acquire)
            && !unlisted.contains(&None)
            && !unlisted.contains(&name.namespace)
            && self.requests.is_listed()
    }

    async fn look(&self, name: &ObjectName) -> Outcome {
        if !self.sees_all_of(name) {
            return Outcome::Done;
        }
        for _ in 0..TURNS_MAX {
            let Some(gathered) = self.gather(name) else { return Outcome::Done };
            match self.turn(&gathered).await {
                Turn::Next => {}
                Turn::Over(outcome) => return outcome,
            }
        }
        Outcome::Again(Duration::ZERO)
    }

    fn gather(&self, name: &ObjectName) -> Option<Gathered> {
        let index = lock(&self.index);
        let certificate = index.certificate(name)?;
        let own = |name: String| ObjectName { namespace: certificate.name.namespace.clone(), name };
        let revision = certificate.next_revision();
        let secret = index.secret(&certificate.secret(), Instant::now());
        let namesakes = index.namesakes(&certificate);
        let key = own(names::key_secret(&certificate.name.name, revision));
        let keys = index.keys_of(&certificate.uid, &key);
        // The index stays locked, so that a Secret cannot be released before it is watched.
        let passwords = passwords::known(&certificate, |secret| self.passwords.state(secret));
        let keystore_inputs = self.keystore_inputs(&certificate);
        let keystores = self.keystore_state(&certificate, &secret, &keystore_inputs);
        drop(index);
        let request = own(names::request(&certificate.name.name, revision));
        let requests = self.requests.requests_of(&certificate.uid, &request);
        let issuer = issuer(&certificate);
        let state = issuer.as_ref().map(|issuer| self.registry.state(issuer));
        let issuer = issuer.as_ref().map(IssuerKey::of);
        let ca_of = issuer.filter(|key| self.registry.ca_secret_users(&certificate.secret()).contains(key));
        Some(Gathered {
            secret,
            namesakes,
            keys,
            requests: requests.iter().map(|request| RequestView::clone(request)).collect(),
            issuer: issuer_facts(state.as_ref()),
            ca_of,
            passwords,
            keystores,
            keystore_inputs,
            is_served: self.serves(&certificate),
            certificate,
        })
    }

    fn serves(&self, certificate: &CertificateView) -> bool {
        let namespaces = self.settings.secret_namespaces.as_ref();
        let namespace = certificate.name.namespace.as_deref().unwrap_or_default();
        namespaces.is_none_or(|namespaces| namespaces.contains(namespace))
    }

    fn keystore_state(
        &self,
        certificate: &CertificateView,
        secret: &Sight,
        inputs: &[String],
    ) -> KeystoreState {
        if !passwords::are_wanted(certificate) {
            return KeystoreState::Right;
        }
        let right = lock(&self.keystores);
        let noted = right.get(&certificate.name).and_then(|noted| noted.split_first());
        let Sight::There(view) = secret else { return KeystoreState::Unknown };
        let is_right = noted.is_some_and(|(version, noted)| *version == view.version && noted == inputs);
        if is_right { KeystoreState::Right } else { KeystoreState::Unknown }
    }

    /// What the keystores of a Certificate are made from, in the versions that are known.
    fn keystore_inputs(&self, certificate: &CertificateView) -> Vec<String> {
        let spec = certificate.generation.unwrap_or_default().to_string();
        let passwords =
            passwords::secrets(certificate).into_iter().map(|name| match self.passwords.state(&name) {
                State::Present(there) => there.version.clone(),
                State::Pending | State::Absent | State::Failed(_) => String::new(),
            });
        [spec].into_iter().chain(passwords).collect()
    }

    async fn turn(&self, seen: &Gathered) -> Turn {
        let now = (self.clock)();
        let decision = decide(&seen.snapshot(&self.policy), now);
        if decision.status != seen.certificate.status {
            return self.write_status(&seen.certificate, decision).await;
        }
        if decision.step == Step::Rest {
            self.tell(&seen.certificate, decision.news);
            return Turn::Over(decision.again.map_or(Outcome::Done, |at| Outcome::Again(until(at, now))));
        }
        // Judging may have taken longer than the Lease lasted.
        if !self.leadership.may_write() {
            return Turn::Over(Outcome::Again(Duration::ZERO));
        }
        match self.step(seen, &decision.step, now).await {
            Ok(()) => {
                self.tell(&seen.certificate, decision.news);
                Turn::Next
            }
            Err(halt) => self.halted(seen, halt, now).await,
        }
    }

    async fn halted(&self, seen: &Gathered, halt: Halt, now: Timestamp) -> Turn {
        let view = &seen.certificate;
        match halt {
            Halt::Stale => Turn::Over(Outcome::Failed),
            Halt::Later(outcome) => Turn::Over(outcome),
            Halt::Attempt(reason, message) => {
                let snapshot = seen.snapshot(&self.policy);
                let decision = attempt_failed(&snapshot, reason, &message, now);
                self.write_status(view, decision).await
            }
            Halt::Api(what, failure) => {
                tracing::warn!(certificate = %view.name, %failure, "cannot {what}");
                if !matches!(failure.code, Some(400 | 403 | 413 | 422)) {
                    return Turn::Over(Outcome::Failed);
                }
                let news = News::warning("WriteRefused", format!("the controller cannot {what}: {failure}"));
                self.tell(view, vec![news.once_for(what)]);
                Turn::Over(Outcome::Again(REFUSED_AGAIN))
            }
        }
    }

    async fn write_status(&self, view: &CertificateView, decision: Decision) -> Turn {
        if !self.leadership.may_write() {
            return Turn::Over(Outcome::Again(Duration::ZERO));
        }
        let namespace = view.name.namespace.as_deref().unwrap_or_default();
        let api: Api<PartialObjectMeta<Certificate>> = Api::namespaced(self.client.clone(), namespace);
        let body = status::patch(&view.status, &decision.status);
        match patch_status(&api, &view.name.name, &view.version, MANAGER, &body).await {
            Written::Done { version } => {
                if decision.status.failed_issuance_attempts > view.status.failed_issuance_attempts {
                    *lock(&self.failures).entry(view.name.clone()).or_default() += 1;
                }
                // One that went meanwhile must not come back by our own answer.
                if self.is_known(view) {
                    self.take(CertificateView { version, status: decision.status, ..view.clone() });
                }
                self.tell(view, decision.news);
                Turn::Next
            }
            Written::Gone => {
                if self.is_known(view) {
                    self.gone(&view.name);
                }
                Turn::Over(Outcome::Done)
            }
            // The watch is about to show it as it is.
            Written::Stale => Turn::Over(Outcome::Failed),
            Written::Refused(failure) => {
                tracing::warn!(certificate = %view.name, %failure, "the API server refuses the status");
                Turn::Over(Outcome::Again(REFUSED_AGAIN))
            }
            Written::Failed(failure) => {
                tracing::warn!(certificate = %view.name, %failure, "cannot write the status");
                Turn::Over(Outcome::Failed)
            }
        }
    }

    /// Whether this very Certificate is there, as far as the watch has told.
    fn is_known(&self, view: &CertificateView) -> bool {
        lock(&self.index).certificate(&view.name).is_some_and(|known| known.uid == view.uid)
    }

    fn tell(&self, view: &CertificateView, news: Vec<News>) {
        news.into_iter().for_each(|news| self.report.tell(&view.name, &view.uid, news));
    }

    fn secrets(&self, view: &CertificateView) -> Api<Secret> {
        Api::namespaced(self.client.clone(), view.name.namespace.as_deref().unwrap_or_default())
    }
}

/// How long it is until then, in pieces.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let left = at.duration_since(now).max(SignedDuration::from_secs(1));
    Duration::try_from(left).unwrap_or(AGAIN_MAX).min(AGAIN_MAX)
}
