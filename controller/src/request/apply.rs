//! Carries plans out: the one place that answers CertificateRequests.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use api::{Certificate, CertificateRequest};
use issuance::authority::Terms;
use issuance::key::PrivateKey;
use issuance::request::Request;
use issuers::live::{Policies, Reader};
use issuers::{Issuer, Order, Outcome as Signed};
use jiff::Timestamp;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use runtime::follow::Change;
use runtime::held::Held;
use runtime::lease::Leadership;
use runtime::lock::lock;
use runtime::queue::{Outcome, Queue};
use runtime::shutdown::Shutdown;
use runtime::watch::{Failure, ObjectName, State};
use serving::clock::Clock;

use crate::MANAGER;
use crate::context::Context;
use crate::issuer::registry::{IssuerState, Registry};
use crate::news::News;
use crate::patch::{Written, patch_status};
use crate::report::Report;
use crate::request::answer::{self, StatusBody};
use crate::request::claims::Claims;
use crate::request::driver::{self, Denial};
use crate::request::index::{Index, issuer, key_secret};
use crate::request::key::{self, KeySecret};
use crate::request::plan::{Judged, RequestPlan, plan};
use crate::request::refusals::Refusals;
use crate::request::retries::Retries;
use crate::request::view::RequestView;
use crate::secrets;
use crate::settings::Settings;
use crate::syncs::Syncs;

mod own;

/// Longest look at one request, with all its calls: the issuer's answer, and the write.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);

/// When to try again what the API server refused: an administrator has to change something.
const REFUSED_AGAIN: Duration = Duration::from_secs(300);

/// The same of an answer with a certificate in it, which is made anew each time. An approval that was refused is tried alone
/// first, so this is for what is refused for another reason.
const SIGNED_IN_VAIN_AGAIN: Duration = Duration::from_secs(3600);

/// How long another controller has to say something about a request whose issuer is not served here.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(60);

/// Certificates of one answer to a list.
const PAGE_SIZE: u32 = 100;

/// Hears of Certificates of which a request changed.
type Listener = Box<dyn Fn(ObjectName) + Send + Sync>;

/// The state that watches and workers share.
pub struct Answerer {
    client: Client,
    queue: Arc<Queue<ObjectName>>,
    index: Arc<Mutex<Index>>,
    keys: Held<KeySecret>,
    claims: Claims,
    registry: Arc<Registry>,
    settings: Arc<Settings>,
    leadership: Leadership,
    syncs: Syncs,
    report: Report,
    retries: Arc<Retries>,
    refusals: Refusals,
    clock: Clock,
    listener: OnceLock<Listener>,
    is_listed: AtomicBool,
    /// Reads the pods and Services that drivers' requests are about.
    reader: Reader,
    policies: Policies,
}

impl Answerer {
    /// No request is known yet.
    pub(crate) fn new(context: &Context) -> Self {
        let queue = Arc::new(Queue::default());
        let index = Arc::new(Mutex::new(Index::default()));
        let retries = Arc::new(Retries::default());
        // Whatever a request waits for has changed: it need not wait out its pause.
        let due = {
            let (queue, retries) = (Arc::clone(&queue), Arc::clone(&retries));
            move |requests: Vec<ObjectName>| {
                for request in requests {
                    retries.wake(&request);
                    queue.add(request);
                }
            }
        };
        context.issuers.on_change({
            let (due, index) = (due.clone(), Arc::clone(&index));
            move |issuer| due(lock(&index).waiting_for(issuer))
        });
        let keys = secrets::named(context.client.clone(), KeySecret::take).on_change({
            let index = Arc::clone(&index);
            move |secret, _| due(lock(&index).waiting_for_key(secret))
        });
        let released = Arc::clone(&queue);
        Self {
            client: context.client.clone(),
            queue,
            index,
            keys: Held::new(keys),
            claims: Claims::new(move |request| released.add(request)),
            registry: Arc::clone(&context.issuers),
            settings: Arc::clone(&context.settings),
            leadership: context.leadership.clone(),
            syncs: context.syncs.clone(),
            report: Report::of::<CertificateRequest>(context.events.clone()),
            retries,
            refusals: Refusals::default(),
            clock: Arc::clone(&context.clock),
            listener: OnceLock::new(),
            is_listed: AtomicBool::new(false),
            reader: Reader::new(context.client.clone()),
            policies: context.policies.clone(),
        }
    }

    /// Works on requests that are due, while this process leads, until shutdown is requested; a request in work is finished.
    pub(crate) async fn work(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let (queue, leadership) = (Arc::clone(&self.queue), self.leadership.clone());
        let look = move |name| {
            let this = Arc::clone(&self);
            async move {
                let outcome = this.look(&name).await;
                this.syncs.count("certificaterequests", outcome);
                outcome
            }
        };
        queue.work_while(&leadership, shutdown, RECONCILE_TIMEOUT, look).await
    }

    /// Whether the workers turn.
    pub(crate) fn turns(&self) -> Result<(), String> {
        self.queue.turns()
    }

    /// What the watch of the requests tells.
    pub(crate) fn changed(&self, change: Change<CertificateRequest>) {
        match change {
            Change::Seen(request) => {
                let view = RequestView::of(request);
                let name = view.name.clone();
                self.take(view);
                self.queue.add(name);
            }
            Change::Gone(request) => self.gone(&ObjectName::of(&request.metadata)),
            Change::Listed(names) => self.listed(&names),
            // The log and the readiness tell of it; nothing can be written then.
            Change::Denied(_) => {}
        }
    }

    fn listed(&self, names: &HashSet<ObjectName>) {
        let missing = lock(&self.index).missing(names);
        missing.iter().for_each(|name| self.gone(name));
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            // Whoever waited for all to be seen hears of it by an empty name.
            self.tell(ObjectName::cluster(""));
        }
    }

    fn gone(&self, name: &ObjectName) {
        let mut index = lock(&self.index);
        let owner = index.get(name).and_then(|view| certificate_of(&view));
        if let Some(secret) = index.remove(name) {
            self.keys.release(&secret);
        }
        drop(index);
        self.report.forget(name);
        self.retries.forget(name);
        self.refusals.forget(name);
        owner.into_iter().for_each(|owner| self.tell(owner));
    }

    fn take(&self, view: RequestView) {
        let owner = certificate_of(&view);
        let mut index = lock(&self.index);
        if let Some(secret) = index.set(view) {
            self.keys.release(&secret);
        }
        drop(index);
        owner.into_iter().for_each(|owner| self.tell(owner));
    }

    fn tell(&self, certificate: ObjectName) {
        if let Some(listener) = self.listener.get() {
            listener(certificate);
        }
    }

    async fn look(&self, name: &ObjectName) -> Outcome {
        let Some(view) = lock(&self.index).get(name) else { return Outcome::Done };
        if self.claims.contains(name) {
            return Outcome::Done;
        }
        let now = (self.clock)();
        let state = issuer(&view).map_or(IssuerState::Absent, |id| self.registry.state(&id));
        let planned = match plan(&view, &state, &self.settings, Judged::NotYet) {
            RequestPlan::Judge => match self.judge(&view, now).await {
                Ok(Ok(())) => plan(&view, &state, &self.settings, Judged::Permitted),
                Ok(Err(Denial { reason, message })) => {
                    tracing::info!(request = %name, reason, "denied: {message}");
                    return self.write(&view, answer::refusal(&view, reason, &message, now)).await;
                }
                Err(unknown) => {
                    tracing::warn!(request = %name, "cannot judge what a driver asks for: {unknown}");
                    return Outcome::Failed;
                }
            },
            planned => planned,
        };
        self.carry_out(&view, planned, now).await
    }

    /// What the name policy says to what a driver asks for.
    ///
    /// # Errors
    /// Why nothing can be said now.
    async fn judge(&self, view: &RequestView, now: Timestamp) -> Result<Result<(), Denial>, String> {
        self.policies.standing()?;
        let claimed = match driver::claimed(view) {
            Ok(claimed) => claimed,
            Err(denial) => return Ok(Err(denial)),
        };
        let found = self.reader.pod(claimed.namespace, &claimed.pod.name).await;
        let found = found.map_err(|unread| unread.to_string())?;
        let checked =
            driver::check(&claimed, found.as_ref(), now).and_then(|pod| Ok((pod, driver::order(view)?)));
        let (pod, (request, terms)) = match checked {
            Ok(checked) => checked,
            Err(denial) => return Ok(Err(denial)),
        };
        let asked = driver::in_terms_of_policy(view, &request, &terms);
        let judged = self.reader.judge(&asked, pod.facts(), &self.policies.now()).await;
        let judged = judged.map_err(|unread| unread.to_string())?;
        Ok(judged.map_err(Denial::from).and_then(|permitted| driver::whole(&permitted, terms.duration)))
    }

    async fn carry_out(&self, view: &RequestView, planned: RequestPlan, now: Timestamp) -> Outcome {
        match planned {
            // Once it is judged, it is approved or denied.
            RequestPlan::Judge | RequestPlan::Leave => Outcome::Done,
            RequestPlan::MarkDenied => self.write(view, answer::denial(view, now)).await,
            RequestPlan::Approve => self.write(view, answer::approval(view, now)).await,
            RequestPlan::Unapproved => {
                let text = "nobody has approved this request yet; an approver has to, for it to be signed";
                self.report.tell(
                    &view.name,
                    &view.uid,
                    News::normal("WaitingForApproval", text).once_for("approval"),
                );
                Outcome::Done
            }
            RequestPlan::Unserved { approve, type_ } => self.leave(view, approve, type_, now).await,
            RequestPlan::Pending { approve, reason, message } => {
                let waits = Signed::Wait { reason, message };
                self.write(view, answer::answer(view, approve, &waits, now)).await
            }
            RequestPlan::Sign { approve: true, .. } if self.refusals.contains(view) => {
                self.write(view, answer::approval(view, now)).await
            }
            RequestPlan::Sign { approve, issuer, type_ } => match self.retries.rest(&view.name, &view.uid) {
                Some(rest) => Outcome::Again(rest),
                None => self.sign(view, approve, issuer.as_ref(), type_, now).await,
            },
        }
    }

    /// Leaves a request to whoever serves its issuer, and says so when that seems to be nobody.
    async fn leave(&self, view: &RequestView, approve: bool, type_: &str, now: Timestamp) -> Outcome {
        if approve {
            return self.write(view, answer::approval(view, now)).await;
        }
        let age = Duration::try_from(now.duration_since(view.created)).unwrap_or_default();
        if view.ready_reason().is_some() {
            return Outcome::Done;
        }
        if age < ELSEWHERE_WITHIN {
            return Outcome::Again(ELSEWHERE_WITHIN.saturating_sub(age));
        }
        let text =
            format!("issuers of type {type_} are not served by this controller, and no other has answered");
        self.report.tell(&view.name, &view.uid, News::warning("IssuerTypeUnsupported", text).once_for(type_));
        Outcome::Done
    }

    async fn sign(
        &self,
        view: &RequestView,
        approve: bool,
        issuer: &dyn Issuer,
        type_: &'static str,
        now: Timestamp,
    ) -> Outcome {
        let signed = self.signed(view, issuer, type_, now).await;
        let after = match &signed {
            Signed::Retry { after, .. } => Some(*after),
            Signed::Issued(_) | Signed::Wait { .. } | Signed::Terminal { .. } => None,
        };
        let mut body = answer::answer(view, approve, &signed, now);
        if let Some(body) = &mut body {
            body.news.extend(subject_warning(&signed, type_));
        }
        let written = self.write(view, body).await;
        match (written, after) {
            (Outcome::Done, Some(after)) => Outcome::Again(self.retries.next(&view.name, &view.uid, after)),
            (Outcome::Done, None) => {
                self.retries.forget(&view.name);
                Outcome::Done
            }
            // The certificate is lost: nobody should make another one soon.
            _ if matches!(signed, Signed::Issued(_)) && self.refusals.contains(view) => {
                Outcome::Again(SIGNED_IN_VAIN_AGAIN)
            }
            (failed, _) => failed,
        }
    }

    /// Asks the issuer; what it answers has been checked.
    async fn signed(
        &self,
        view: &RequestView,
        issuer: &dyn Issuer,
        type_: &'static str,
        now: Timestamp,
    ) -> Signed {
        let is_self_signed = type_ == "selfSigned";
        let (request, terms) = match view.spec.order() {
            Ok(asked) => asked,
            Err(message) => {
                let reason = if is_self_signed { "ErrorGenerating" } else { "SigningError" };
                return Signed::Terminal { reason, message };
            }
        };
        let secret = if is_self_signed {
            match self.key(view).await {
                Ok(secret) => Some(secret),
                Err(outcome) => return outcome,
            }
        } else {
            None
        };
        let subject_key = match &secret {
            Some((name, secret)) => match secret.key_of(name, &request) {
                Ok(key) => Some(key),
                Err(outcome) => return outcome,
            },
            None => None,
        };
        ask(issuer, &request, &terms, subject_key, now).await
    }

    /// The Secret with the key of a request that is to sign itself.
    async fn key(&self, view: &RequestView) -> Result<(ObjectName, Arc<KeySecret>), Signed> {
        let name = key_secret(view);
        let state = {
            // The index stays locked, so that the request cannot end, and its Secret be released, before that is watched.
            let index = lock(&self.index);
            match &name {
                Some(name) if !index.waiting_for_key(name).is_empty() => self.keys.state(name),
                _ => State::Pending,
            }
        };
        let (name, secret) = key::found(name, state)?;
        if secret.is_next_key || self.is_of_certificate(&name).await? {
            Ok((name, secret))
        } else {
            Err(key::not_allowed(&name))
        }
    }

    /// Whether a Certificate of its namespace is kept in this Secret.
    async fn is_of_certificate(&self, secret: &ObjectName) -> Result<bool, Signed> {
        let namespace = secret.namespace.as_deref().unwrap_or_default();
        let api: Api<Certificate> = Api::namespaced(self.client.clone(), namespace);
        let mut params = ListParams::default().limit(PAGE_SIZE);
        loop {
            let page = api.list(&params).await.map_err(|error| {
                key::unknown(format!(
                    "the Certificates beside Secret {secret} cannot be read: {}",
                    Failure::from(&error)
                ))
            })?;
            if page.items.iter().any(|certificate| certificate.spec.secret_name == secret.name) {
                return Ok(true);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(false),
            }
        }
    }

    /// Writes a status, if there is one to be written, and tells of it.
    async fn write(&self, view: &RequestView, body: Option<StatusBody>) -> Outcome {
        let Some(body) = body else { return Outcome::Done };
        if !self.leadership.may_write() {
            return Outcome::Again(Duration::ZERO);
        }
        let namespace = view.name.namespace.as_deref().unwrap_or_default();
        let api: Api<PartialObjectMeta<CertificateRequest>> = Api::namespaced(self.client.clone(), namespace);
        let name = &view.name;
        match patch_status(&api, &name.name, &view.version, MANAGER, &body.to_json()).await {
            Written::Done { version } => {
                self.refusals.forget(name);
                self.take(body.on(view, version));
                body.news.into_iter().for_each(|news| self.report.tell(&view.name, &view.uid, news));
                Outcome::Done
            }
            Written::Gone => Outcome::Done,
            // The watch is about to show it as it is.
            Written::Stale => Outcome::Failed,
            Written::Refused(failure) => {
                tracing::warn!(request = %name, %failure, "the API server refuses the answer");
                self.refusals.add(view);
                if failure.is_forbidden() {
                    let text = format!("the controller may not answer this request: {failure}");
                    self.report.tell(
                        &view.name,
                        &view.uid,
                        News::warning("ApprovalForbidden", text).once_for("approval"),
                    );
                }
                Outcome::Again(REFUSED_AGAIN)
            }
            Written::Failed(failure) => {
                tracing::warn!(request = %name, %failure, "cannot write the status");
                Outcome::Failed
            }
        }
    }
}

/// Asks an issuer once; what it answers has been checked.
async fn ask(
    issuer: &dyn Issuer,
    request: &Request,
    terms: &Terms,
    subject_key: Option<&PrivateKey>,
    now: Timestamp,
) -> Signed {
    let order = Order { request, terms, subject_key, now };
    answer::verified(issuer.sign(&order).await, request, terms, now)
}

/// That a certificate which signed itself names no issuer.
fn subject_warning(signed: &Signed, type_: &str) -> Option<News> {
    let Signed::Issued(issued) = signed else { return None };
    let text = "the certificate has no subject, so its issuer is empty, too, which RFC 5280 does not allow; set a common \
                name";
    let is_nameless = type_ == "selfSigned" && issued.chain.leaf().subject().is_empty();
    is_nameless.then(|| News::warning("BadConfig", text))
}

/// The Certificate that a request belongs to.
fn certificate_of(view: &RequestView) -> Option<ObjectName> {
    let owner = view.owner.as_ref().filter(|owner| owner.kind == "Certificate")?;
    Some(ObjectName { namespace: view.name.namespace.clone(), name: owner.name.clone() })
}
