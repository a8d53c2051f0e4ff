//! One look at the cluster, for the commands that tell what the injector does: reads without watches, and nothing written.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use runtime::trimmed::{Keep, Trimmed};
use runtime::watch::{Failure, State};

use crate::MANAGER;
use crate::config::Config;
use crate::explain::{Contested, DryRun, Explanation, Facts, LeftOut, Objects, explain};
use crate::guard;
use crate::index::{Effects, Index, Watch};
use crate::memory;
use crate::plan::{Plan, plan};
use crate::policy::Policy;
use crate::reference::{self, Wanted};
use crate::settings::Settings;
use crate::source::{SourceCertificate, SourceSecret, api_server, certificate, secret};
use crate::target::{Live, Target, TargetKind};
use crate::watch::Metadata;

/// Objects of one answer to a list.
const PAGE_SIZE: u32 = 100;

/// Where events about objects without a namespace are.
const EVENTS_OF_CLUSTER: &str = "default";

/// What has been read so far. Each source is read once.
pub(crate) struct Survey {
    client: Client,
    index: Index,
    objects: Objects,
    /// The kinds that the injector looks at.
    served: Vec<TargetKind>,
    /// Whether each of those that the operator added has its policy, or why that cannot be seen.
    held: HashMap<TargetKind, Result<bool, String>>,
}

/// A target that asks for something, and what for.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) target: Target,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) wanted: Wanted,
    resource_version: String,
}

impl Survey {
    /// Nothing is read yet but the CA of the API server and what the injector remembers, where it does.
    ///
    /// # Errors
    /// When there is no way to the API server, or one of these cannot be read.
    pub(crate) async fn new(config: &Config) -> anyhow::Result<Self> {
        let (client, ca) = runtime::client::connect_with_ca(&config.kubernetes, MANAGER).await?;
        let ca = api_server::current(&ca).context("cannot read the CA of the API server")?;
        let mut survey = Self::with(client.clone(), ca, config.settings.clone(), config.targets.clone());
        if let Some(name) = &config.memory {
            let memory = memory::read(client, name.clone()).await;
            survey.index.recall(memory.with_context(|| format!("cannot read the ConfigMap {name}"))?);
        }
        Ok(survey)
    }

    fn with(client: Client, ca: Option<Vec<u8>>, settings: Settings, served: Vec<TargetKind>) -> Self {
        let mut index = Index::new(settings);
        index.api_server_seen(ca, Instant::now());
        Self { client, index, objects: Objects::default(), served, held: HashMap::new() }
    }

    /// The objects behind the sources, as they were read.
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The targets of a kind that ask for something.
    ///
    /// # Errors
    /// When the API server gives no list of them.
    pub(crate) async fn asking(&self, kind: TargetKind) -> Result<Vec<Asking>, Failure> {
        let api: Api<Metadata> = Api::all_with(self.client.clone(), &kind.resource());
        let mut params =
            ListParams { label_selector: kind.selector(), ..ListParams::default() }.limit(PAGE_SIZE);
        let mut found = Vec::new();
        loop {
            let page = api.list(&params).await.map_err(|error| Failure::from(&error))?;
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            let asking = page.items.into_iter().filter_map(|object| asking(kind, object));
            found.extend(asking.filter(|asking| !self.index.excludes(&asking.target)));
            let Some(token) = next else { return Ok(found) };
            params = params.continue_token(&token);
        }
    }

    /// Reads the source of a target.
    pub(crate) async fn read_source(&mut self, asking: &Asking) {
        let (target, wanted) = (asking.target.clone(), asking.wanted.clone());
        let Effects { open, .. } =
            self.index.target_seen(target, wanted, &asking.resource_version, Instant::now());
        let mut waiting = VecDeque::from(open);
        while let Some(watch) = waiting.pop_front() {
            let Effects { open, .. } = match watch {
                Watch::Secret(name) => {
                    let api = secret::watched(self.client.clone())(&name);
                    let state = state(&api, &name.name, SourceSecret::keep).await;
                    self.objects.secrets.insert(name.clone(), state.clone());
                    self.index.secret_seen(&name, state, Instant::now())
                }
                Watch::Certificate(name) => {
                    let api = certificate::watched(self.client.clone())(&name);
                    let state = state(&api, &name.name, SourceCertificate::keep).await;
                    self.objects.certificates.insert(name.clone(), state.clone());
                    self.index.certificate_seen(&name, state, Instant::now())
                }
            };
            waiting.extend(open);
        }
    }

    /// Explains a target by its name. `None`: there is no such object.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn explain(&mut self, target: &Target) -> Result<Option<Explanation>, Failure> {
        let api: Api<DynamicObject> = target.api(self.client.clone());
        let failed = |error| Failure::from(&error);
        let Some(object) = api.get_metadata_opt(&target.name.name).await.map_err(failed)? else {
            return Ok(None);
        };
        let managed = object.metadata.managed_fields.unwrap_or_default();
        let annotations = object.metadata.annotations.unwrap_or_default();
        let labels = object.metadata.labels.unwrap_or_default();
        let resource_version = object.metadata.resource_version.unwrap_or_default();
        if let Some(wanted) = reference::wanted(&annotations) {
            let (target, annotations) = (target.clone(), annotations.clone());
            self.read_source(&Asking { target, annotations, wanted, resource_version }).await;
        }
        let Some(live) = self.live(target).await? else { return Ok(None) };
        let left_out = self.left_out(target, &labels).await;
        let mut explanation = self.told(&live, [&annotations, &labels], &managed, left_out.as_ref());
        explanation.advice.extend(self.unseen(target.kind));
        match self.events(&live).await {
            Ok(events) => explanation.contested = Contested::of(&events, Timestamp::now()),
            Err(failure) => explanation.advice.push(format!(
                "look for events of reason FieldContested yourself: they cannot be listed: {failure}"
            )),
        }
        Ok(Some(explanation))
    }

    /// What was told about the target.
    async fn events(&self, live: &Live) -> Result<Vec<Event>, Failure> {
        let namespace = live.target.name.namespace.as_deref().unwrap_or(EVENTS_OF_CLUSTER);
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params =
            ListParams::default().fields(&format!("involvedObject.uid={}", live.uid)).limit(PAGE_SIZE);
        events.list(&params).await.map(|list| list.items).map_err(|error| Failure::from(&error))
    }

    /// Explains a target of a list; with `is_trial` its write is sent for trial. `None`: it has gone meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn plan(
        &mut self,
        asking: &Asking,
        is_trial: bool,
    ) -> Result<Option<Explanation>, Failure> {
        self.read_source(asking).await;
        let Some(live) = self.live(&asking.target).await? else { return Ok(None) };
        // The list was one of those that have the label, where one is needed.
        let left_out = self.unheld(asking.target.kind).await;
        let mut explanation =
            self.told(&live, [&asking.annotations, &BTreeMap::new()], &[], left_out.as_ref());
        explanation.advice.extend(self.unseen(asking.target.kind));
        if is_trial && !live.deleting && left_out.is_none() {
            explanation.dry_run = self.try_out(&live).await;
        }
        Ok(Some(explanation))
    }

    fn told(
        &self,
        live: &Live,
        [annotations, labels]: [&BTreeMap<String, String>; 2],
        managed: &[ManagedFieldsEntry],
        left_out: Option<&LeftOut>,
    ) -> Explanation {
        let inputs = self.index.inputs(&live.target, Instant::now());
        let facts = Facts {
            live,
            annotations,
            labels,
            managed,
            inputs: inputs.as_ref(),
            objects: &self.objects,
            left_out,
        };
        explain(&facts, Timestamp::now())
    }

    /// Why the injector does not look at a target, if it does not.
    async fn left_out(&mut self, target: &Target, labels: &BTreeMap<String, String>) -> Option<LeftOut> {
        if self.index.excludes(target) {
            return Some(LeftOut::excluded(target));
        }
        match LeftOut::of(target, labels, &self.served) {
            Some(left_out) => Some(left_out),
            None => self.unheld(target.kind).await,
        }
    }

    /// Why the injector looks at no target of this kind: one that the operator added may lack its policy.
    async fn unheld(&mut self, kind: TargetKind) -> Option<LeftOut> {
        let policy = Policy::of(kind).filter(|_| kind.is_wider())?;
        if !self.held.contains_key(&kind) {
            let held = guard::holds_anybody(&self.client, policy).await.map_err(|error| error.told());
            self.held.insert(kind, held);
        }
        matches!(self.held.get(&kind), Some(Ok(false))).then(|| LeftOut::unheld(kind, policy))
    }

    /// What to look at because it cannot be seen whether this kind has its policy.
    fn unseen(&self, kind: TargetKind) -> Option<String> {
        let error = self.held.get(&kind)?.as_ref().err()?;
        Some(format!("see for yourself whether {} have their policy: {error}", kind.plural()))
    }

    async fn live(&self, target: &Target) -> Result<Option<Live>, Failure> {
        target.read(self.client.clone()).await.map_err(|error| Failure::from(&error))
    }

    /// Sends what the injector would send, as a dry run. `None`: it would send nothing.
    async fn try_out(&self, live: &Live) -> Option<DryRun> {
        let inputs = self.index.inputs(&live.target, Instant::now())?;
        let api: Api<Metadata> = live.target.api(self.client.clone());
        let name = &live.target.name.name;
        let outcome = match plan(live, &inputs, Timestamp::now()).plan {
            Plan::Apply { body } | Plan::Release { body } => {
                let params = PatchParams::apply(MANAGER).force().dry_run();
                api.patch(name, &params, &Patch::Apply(&body)).await
            }
            Plan::Migrate { patch } => {
                let params =
                    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
                let patch = Patch::Json::<()>(serde_json::from_value(patch).ok()?);
                api.patch(name, &params.dry_run(), &patch).await
            }
            Plan::Stopped | Plan::InSync | Plan::Deferred { .. } | Plan::Refused(_) => return None,
        };
        let message = outcome.err().map(|error| Failure::from(&error).message);
        Some(DryRun { accepted: message.is_none(), message })
    }
}

fn asking(kind: TargetKind, object: Metadata) -> Option<Asking> {
    let target = Target::of(kind, &object.metadata);
    let annotations = object.metadata.annotations.unwrap_or_default();
    let wanted = reference::wanted(&annotations)?;
    let resource_version = object.metadata.resource_version.unwrap_or_default();
    Some(Asking { target, annotations, wanted, resource_version })
}

/// What is known of one object. It is asked for as a watch would ask, by a list: so it needs the same rights, and a kind
/// that does not exist is told from an object that does not.
async fn state<K: Keep, T>(api: &Api<Trimmed<K>>, name: &str, keep: fn(Trimmed<K>) -> T) -> State<T> {
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    match api.list(&params).await {
        Ok(mut list) => {
            list.items.pop().map_or(State::Absent, |object| State::Present(Arc::new(keep(object))))
        }
        Err(error) => State::Failed(Failure::from(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use http::{Request, Response};
    use k8s_openapi::ByteString;
    use kube::client::Body;
    use runtime::lock::lock;
    use serde_json::{Value, json};

    use super::*;
    use crate::explain::Verdict;
    use crate::testing;

    /// What was asked for: method, path and query.
    type Asked = Arc<Mutex<Vec<String>>>;

    /// An API server with two services that ask for the CA of Secret `team-a/ca`; it refuses every write.
    fn server(ca: &str) -> (Client, Asked) {
        let ca = json!(ByteString(ca.as_bytes().to_vec()));
        let asked = Asked::default();
        let noted = Arc::clone(&asked);
        let service = move |request: Request<Body>| {
            let uri = request.uri().to_string();
            lock(&noted).push(format!("{} {uri}", request.method()));
            let target = |name: &str| {
                let annotations = json!({"cert-manager.io/inject-ca-from-secret": "team-a/ca"});
                let metadata = json!({"name": name, "resourceVersion": "7", "annotations": annotations});
                json!({"metadata": metadata, "spec": {"service": {}}})
            };
            let annotations = json!({"cert-manager.io/allow-direct-injection": "true"});
            let secret = json!({"metadata": {"annotations": annotations}, "data": {"ca.crt": ca}});
            let (status, answer): (u16, Value) = match uri.split('?').next() {
                _ if request.method() == "PATCH" => {
                    (422, json!({"kind": "Status", "status": "Failure", "code": 422, "message": "not so"}))
                }
                Some("/apis/apiregistration.k8s.io/v1/apiservices") => {
                    (200, json!({"metadata": {}, "items": [target("one"), target("two")]}))
                }
                Some("/api/v1/namespaces/team-a/secrets") => {
                    (200, json!({"metadata": {}, "items": [secret]}))
                }
                Some("/api/v1/namespaces/default/events") => {
                    let event = json!({"metadata": {}, "involvedObject": {}, "reason": "FieldContested",
                        "message": "somebody overwrites it", "lastTimestamp": Timestamp::now().to_string()});
                    (200, json!({"metadata": {}, "items": [event]}))
                }
                Some(path) => (200, target(path.rsplit('/').next().unwrap())),
                None => (404, Value::Null),
            };
            let response =
                Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
            async { Ok::<_, Infallible>(response.unwrap()) }
        };
        (Client::new(tower::service_fn(service), "default"), asked)
    }

    #[tokio::test]
    async fn a_plan_reads_each_source_once_and_sends_writes_for_trial_alone() {
        let (client, asked) = server(&testing::pem(&[&testing::root("ca", 1000)]));
        let mut survey = Survey::with(client, None, Settings::default(), TargetKind::ALL.to_vec());
        let asking = survey.asking(TargetKind::ApiService).await.unwrap();
        let mut told = Vec::new();
        for (asking, is_trial) in asking.iter().zip([false, true]) {
            told.push(survey.plan(asking, is_trial).await.unwrap().unwrap());
        }
        assert!(told.iter().all(|told| told.verdict == Verdict::ToBeWritten), "{told:?}");
        let refused = DryRun { accepted: false, message: Some("not so".to_owned()) };
        assert_eq!(told.iter().map(|told| told.dry_run.clone()).collect::<Vec<_>>(), [None, Some(refused)]);
        let asked = lock(&asked);
        let secrets: Vec<_> = asked.iter().filter(|asked| asked.contains("/secrets")).collect();
        assert_eq!(secrets, ["GET /api/v1/namespaces/team-a/secrets?&fieldSelector=metadata.name%3Dca"]);
        let writes: Vec<_> = asked.iter().filter(|asked| !asked.starts_with("GET")).collect();
        assert!(matches!(writes.as_slice(), [write] if write.contains("/two?&dryRun=All&")), "{writes:?}");
    }

    #[tokio::test]
    async fn a_target_is_explained_from_what_is_there_now() {
        let (client, asked) = server("");
        let mut survey = Survey::with(client, None, Settings::default(), TargetKind::ALL.to_vec());
        let target = Target::cluster(TargetKind::ApiService, "one");
        let told = survey.explain(&target).await.unwrap().unwrap();
        let contested = told.contested.as_ref().map(|contested| contested.message.as_str());
        assert_eq!(contested, Some("somebody overwrites it"));
        assert!(told.text(testing::now()).to_string().contains("Contested, as was told at "), "{told:?}");
        assert!(told.text(testing::now()).to_string().contains("ca.crt is empty"), "{told:?}");
        assert!(lock(&asked).iter().all(|asked| asked.starts_with("GET")), "{asked:?}");
    }
}
