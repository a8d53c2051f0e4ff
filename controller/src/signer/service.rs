//! The service itself: who asks, for which pod, for what; then the issuer. Each call ends in one line of the audit log.

use std::sync::Arc;
use std::time::Duration;

use api::IssuerRef;
use issuance::authority::Terms;
use issuance::request::Request;
use issuance::usage::Usages;
use issuance::verification::{self, Asked as Wanted};
use issuers::IssuerId;
use issuers::live::{Claim, Pod, PodFault, Policies, Reader};
use issuers::policy::{Asked, Permitted, ServiceFacts, Subject, judge};
use jiff::SignedDuration;
use proto::signer::sign_response::Outcome as Answer;
use proto::signer::signer_server::Signer;
use proto::signer::{self, SelfSign, SignRequest, SignResponse};
use proto::signing::USAGES_MAX;
use runtime::readiness::Teller;
use serving::clock::Clock;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};
use zeroize::Zeroizing;

use super::answer::{self, Denied};
use super::audit::Record;
use super::callers::{Caller, Callers};
use super::catalogue::Catalogue;
use super::gate;
use super::issuers::{Issuers, Way};
use super::limits::{CallPlace, Limits, NodePlace};
use super::metrics::{Metrics, Phase};
use super::review::{self, Reviewed};
use super::settings::SignerSettings;
use super::tokens::{Asker, Tokens};

/// Time for a call: an issuer far away may take some seconds.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);

/// Longest name of the API, and longest kind and group: that of a DNS subdomain (Kubernetes, "Object Names and IDs").
const NAME_BYTES_MAX: usize = 253;

/// When to ask again an issuer that gave something else than what was asked for: somebody has to look at it.
const DISTRUST: Duration = Duration::from_secs(60);

/// What the service works with.
pub struct Parts {
    /// Reads pods that the watch has not shown.
    pub reader: Reader,
    /// What the operator has decided.
    pub settings: SignerSettings,
    /// Reviews tokens.
    pub tokens: Arc<Tokens>,
    /// The pods of the cluster.
    pub pods: Arc<Catalogue<Pod>>,
    /// Its Services.
    pub services: Arc<Catalogue<ServiceFacts>>,
    /// Whether these two have been seen.
    pub standings: [Teller; 2],
    /// The name policy.
    pub policies: Policies,
    /// Who signs.
    pub issuers: Arc<dyn Issuers>,
    /// How much is done at once; a call has its place already.
    pub limits: Arc<Limits>,
    /// The drivers that were here.
    pub callers: Arc<Callers>,
    /// Counts.
    pub metrics: Metrics,
    /// Tells the time.
    pub clock: Clock,
}

/// Signs for nodes.
pub struct Service {
    parts: Parts,
}

/// A call as it came.
struct Call {
    metadata: MetadataMap,
    /// Whether the caller was here before.
    caller: Caller,
    /// `None`: nothing stands before the service.
    place: Option<CallPlace>,
    /// Without the pod's token.
    message: SignRequest,
    pod_token: Zeroizing<String>,
}

impl Call {
    fn of(call: tonic::Request<SignRequest>) -> Self {
        let (metadata, extensions, mut message) = call.into_parts();
        let pod_token = Zeroizing::new(std::mem::take(&mut message.pod_token));
        let (caller, place) = (extensions.get().copied().unwrap_or_default(), extensions.get().cloned());
        Self { metadata, caller, place, message, pod_token }
    }

    /// The caller's own token.
    fn bearer(&self) -> Result<&str, Denied> {
        gate::bearer(self.metadata.as_ref())
    }
}

/// A call that is being answered. It is counted and written down when it ends, even if the caller has left.
struct Open<'a> {
    metrics: &'a Metrics,
    record: Record,
    began: Instant,
}

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.in_flight.inc();
        let (decision, reason) = ("unavailable", "CallerLeft".to_owned());
        Self { metrics, record: Record { decision, reason, ..Record::default() }, began: Instant::now() }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.metrics.in_flight.dec();
        self.metrics.called(self.record.decision);
        self.metrics.took(Phase::Total, took);
        self.record.write(took);
    }
}

/// Who asks, and for whom.
struct Parties {
    driver: Arc<Reviewed>,
    /// The pod that gets the certificate, as it is now.
    pod: Arc<Pod>,
    _place: Arc<NodePlace>,
}

/// What is asked for, as far as it makes sense.
struct Order {
    request: Request,
    usages: Usages,
    duration: SignedDuration,
    issuer: IssuerRef,
}

#[tonic::async_trait]
impl Signer for Service {
    async fn sign(&self, call: tonic::Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let mut open = Open::new(&self.parts.metrics);
        let call = Call::of(call);
        let late = || Denied::unavailable("TooLate", format!("the call took longer than {CALL_TIME_MAX:?}"));
        let answered = tokio::time::timeout(CALL_TIME_MAX, self.answer(&call, &mut open.record)).await;
        let answered = answered.unwrap_or_else(|_| Err(late()));
        let (decision, reason) = match &answered {
            Ok(answer) => answer::words(answer),
            Err(denied) => (denied.outcome(), denied.reason),
        };
        (open.record.decision, open.record.reason) = (decision, reason.to_owned());
        drop(open);
        Ok(Response::new(SignResponse { outcome: Some(answered?) }))
    }
}

impl Service {
    /// A service that has answered nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// The same with other tellers.
    #[cfg(test)]
    pub(super) fn standing_so(self, standings: [Teller; 2]) -> Self {
        Self { parts: Parts { standings, ..self.parts } }
    }

    /// The drivers that were here.
    #[cfg(test)]
    pub(super) fn callers(&self) -> &Callers {
        &self.parts.callers
    }

    async fn answer(&self, call: &Call, record: &mut Record) -> Result<Answer, Denied> {
        let message = &call.message;
        let Parts { standings, policies, .. } = &self.parts;
        for standing in standings.iter().map(Teller::standing).chain([policies.standing()]) {
            standing.map_err(|why| Denied::unavailable("NotReady", why))?;
        }
        let (told, issuer) = told(message, record)?;
        let parties = self.parties(call, told, record).await?;
        let order = order(message, issuer, record)?;
        self.decide(&order, message.is_ca, &parties, record).await
    }

    /// Checks both tokens, and the pods that they are bound to.
    async fn parties(&self, call: &Call, told: &signer::Pod, record: &mut Record) -> Result<Parties, Denied> {
        let Parts { tokens, settings, metrics, limits, .. } = &self.parts;
        let began = Instant::now();
        let driver = self.driver(call, record).await?;
        let place = Arc::new(limits.node(&driver.node_name)?);
        let asker = Asker::Node(Arc::clone(&place));
        let pod = tokens.review(&call.pod_token, &settings.pod_audience, asker).await;
        let pod = pod.map_err(|error| Denied::of_token("pod", &error))?;
        record.credential_id = pod.credential_id.clone().unwrap_or_default();
        review::check_pod(&pod, &driver, told)?;
        metrics.took(Phase::Review, began.elapsed());

        let began = Instant::now();
        let node = driver.node_name.as_str();
        let claim = Claim { uid: &told.uid, node, account: &told.service_account };
        let seen = self.pod(&told.namespace, &told.name, &claim, "the pod").await?;
        let (namespace, account) = driver.account().unwrap_or_default();
        let claim = Claim { uid: &driver.pod_uid, node, account };
        self.pod(namespace, &driver.pod_name, &claim, "the driver's pod").await?;
        metrics.took(Phase::Pod, began.elapsed());
        Ok(Parties { driver, pod: seen, _place: place })
    }

    /// Checks the caller's own token. Who is no driver is a stranger from now on.
    async fn driver(&self, call: &Call, record: &mut Record) -> Result<Arc<Reviewed>, Denied> {
        let Parts { tokens, settings, callers, limits, .. } = &self.parts;
        let bearer = call.bearer()?;
        let driver = tokens.review(bearer, &settings.driver_audience, Asker::Caller(call.caller)).await;
        let checked = driver.map_err(|error| Denied::of_token("driver", &error)).and_then(|driver| {
            (record.driver, record.node) = (driver.username.clone(), driver.node_name.clone());
            review::check_driver(&driver, &settings.drivers)?;
            Ok(driver)
        });
        match &checked {
            Ok(_) => {
                callers.met(bearer);
                if let Some(place) = call.place.as_ref().filter(|_| call.caller == Caller::Stranger) {
                    limits.promote(place);
                }
            }
            Err(denied) if denied.is_of_caller() => callers.forget(bearer),
            Err(_) => {}
        }
        checked
    }

    /// The pod of the claim. What the watch has not shown is read, since it may lag behind a pod that has just started.
    async fn pod(
        &self,
        namespace: &str,
        name: &str,
        claim: &Claim<'_>,
        whose: &str,
    ) -> Result<Arc<Pod>, Denied> {
        let now = (self.parts.clock)();
        let fault = match self.parts.pods.get(namespace, name) {
            None => PodFault::Gone,
            Some(pod) => match pod.check(claim, now) {
                Ok(()) => return Ok(pod),
                Err(fault) => fault,
            },
        };
        if !fault.may_be_old() {
            return Err(Denied::of_pod(whose, &fault));
        }
        let found = self.parts.reader.pod(namespace, name).await;
        let found = found.map_err(|unread| Denied::unavailable("PodUnread", format!("{whose}: {unread}")))?;
        let pod = found.ok_or_else(|| Denied::of_pod(whose, &PodFault::Gone))?;
        pod.check(claim, now).map_err(|fault| Denied::of_pod(whose, &fault))?;
        Ok(Arc::new(pod))
    }

    /// Asks the name policy and then the issuer.
    async fn decide(
        &self,
        order: &Order,
        is_ca: bool,
        parties: &Parties,
        record: &mut Record,
    ) -> Result<Answer, Denied> {
        let metrics = &self.parts.metrics;
        let began = Instant::now();
        let Order { request, usages, duration, issuer } = order;
        let asked = Asked { request, usages, is_ca, duration: *duration, issuer };
        let subject = Subject { pod: parties.pod.facts(), services: self.parts.services.as_ref() };
        let judged = judge(&asked, &subject, &self.parts.policies.now());
        metrics.took(Phase::Policy, began.elapsed());
        let permitted = match judged {
            Ok(permitted) => permitted,
            Err(refusal) => {
                metrics.refused(refusal.reason);
                tracing::debug!(driver = parties.driver.username, "{refusal}");
                return Ok(answer::refused(refusal));
            }
        };
        record.duration_s = permitted.duration.as_secs();
        let namespace = subject.pod.namespace;
        let Some(id) = IssuerId::of(issuer, namespace) else {
            let (kind, group) = (issuer.kind_or_default(), issuer.group_or_default());
            return Ok(answer::elsewhere(format!("{kind} {} is of group {group}", issuer.name)));
        };
        match self.parts.issuers.way(&id) {
            Ok(Way::SelfSigned(crl_distribution_points)) => Ok(Answer::SelfSign(SelfSign {
                duration_seconds: permitted.duration.as_secs(),
                crl_distribution_points,
                notes: permitted.notes,
            })),
            Ok(Way::Elsewhere(message)) => Ok(answer::elsewhere(message)),
            Ok(Way::AtOnce(at_once)) => {
                let terms =
                    Terms { duration: permitted.duration, usages: usages.clone(), is_ca, ..Terms::default() };
                Ok(self.ask(&id, at_once, request, &terms, permitted, record).await)
            }
            Err(outcome) => Ok(answer::of_issuer(outcome)
                .map_or_else(|answer| answer, |issued| answer::issued(&issued, permitted.notes))),
        }
    }

    /// Has the request signed, and looks at what came.
    async fn ask(
        &self,
        id: &IssuerId,
        at_once: usize,
        request: &Request,
        terms: &Terms,
        permitted: Permitted,
        record: &mut Record,
    ) -> Answer {
        let Parts { issuers, metrics, clock, .. } = &self.parts;
        let began = Instant::now();
        let _place = self.parts.limits.issuer(id, at_once).await;
        metrics.took(Phase::Queue, began.elapsed());
        let began = Instant::now();
        let outcome = issuers.sign(id, request, terms, clock()).await;
        metrics.took(Phase::Sign, began.elapsed());
        let issued = match answer::of_issuer(outcome) {
            Ok(issued) => issued,
            Err(answer) => return answer,
        };
        match verification::verify(&issued, &Wanted::of(request, terms), clock()) {
            Ok(warnings) => {
                let leaf = issued.chain.leaf();
                (record.serial, record.not_after) = (leaf.serial_hex(), leaf.not_after().to_string());
                let warnings = warnings.iter().map(|warning| issuance::outcome::causes(warning));
                answer::issued(&issued, permitted.notes.into_iter().chain(warnings).collect())
            }
            Err(error) => {
                let message = format!(
                    "{id} gave a certificate that is not used: {}",
                    issuance::outcome::causes(&error)
                );
                Answer::Retry(answer::unsigned("InvalidCertificate", message, DISTRUST))
            }
        }
    }
}

/// Pod and issuer, as the caller told.
fn told<'a>(message: &'a SignRequest, record: &mut Record) -> Result<(&'a signer::Pod, IssuerRef), Denied> {
    let (Some(pod), Some(issuer)) = (&message.pod, &message.issuer) else {
        return Err(Denied::invalid("Incomplete", "a request names a pod and an issuer"));
    };
    let names = [&pod.namespace, &pod.name, &pod.uid, &pod.service_account, &issuer.name];
    let mut texts = names.into_iter().chain([&issuer.kind, &issuer.group]);
    // Before anything of it is written or said again.
    if texts.any(|text| text.len() > NAME_BYTES_MAX) {
        let message = format!("a name in the request is longer than {NAME_BYTES_MAX} bytes");
        return Err(Denied::invalid("Incomplete", message));
    }
    record.pod = format!("{}/{}", pod.namespace, pod.name);
    record.pod_uid.clone_from(&pod.uid);
    record.account.clone_from(&pod.service_account);
    record.is_ca = message.is_ca;
    record.duration_s = message.duration_seconds;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let reference =
        IssuerRef { name: issuer.name.clone(), kind: some(&issuer.kind), group: some(&issuer.group) };
    record.issuer =
        format!("{}.{}/{}", reference.kind_or_default(), reference.group_or_default(), reference.name);
    if names.iter().any(|text| text.is_empty() || text.contains(['/', ':'])) {
        let message = "namespace, name, UID and service account of the pod, and the issuer's name, are names of the API";
        return Err(Denied::invalid("Incomplete", message));
    }
    Ok((pod, reference))
}

/// What is asked for.
fn order(message: &SignRequest, issuer: IssuerRef, record: &mut Record) -> Result<Order, Denied> {
    let invalid = |reason: &'static str, error: &dyn std::error::Error| {
        Denied::invalid(reason, issuance::outcome::causes(error))
    };
    if message.usages.len() > USAGES_MAX {
        return Err(Denied::invalid("Usages", format!("there are more than {USAGES_MAX} usages")));
    }
    let usages = Usages::parse(&message.usages).map_err(|error| invalid("Usages", &error))?;
    if message.duration_seconds < 1 {
        return Err(Denied::invalid("Duration", "duration_seconds is less than 1"));
    }
    let request = Request::from_der(&message.request).map_err(|error| invalid("Request", &error))?;
    record.asked(&request);
    Ok(Order { request, usages, duration: SignedDuration::from_secs(message.duration_seconds), issuer })
}
