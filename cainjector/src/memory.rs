//! What is remembered of rotations, kept in a ConfigMap of the own namespace.
//!
//! Only who leads reads and writes it, and only where the operator wants CAs to be taken out of bundles before they
//! expire: otherwise nothing is read, nothing is written, and no right to it is needed. What is lost counts as seen now,
//! so that it stays in bundles for longer, never for less.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use prometheus_client::metrics::gauge::Gauge;
use runtime::lease::Leadership;
use runtime::shutdown::Shutdown;
use runtime::watch::Failure;
use serde_json::json;

use crate::apply::Injector;
use crate::rotation::Memory;

/// Key of the text in the ConfigMap.
const KEY: &str = "sources";

/// Shortest time between two writes: many sources may rotate at once.
const PAUSE: Duration = Duration::from_secs(5);

/// How often it is asked whether this process still leads.
const LEADING_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait when the ConfigMap cannot be read or written.
const RETRY: Duration = Duration::from_secs(30);

/// How long one call may take; the last one at shutdown, too.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the memory whenever this process begins to lead, and writes down what changes, until shutdown is requested.
/// `kept` is 1 while that works. `is_complete` says whether all targets are known, so that sources which none of them names can be forgotten.
///
/// # Errors
/// None; the result is for [`runtime::tasks::Tasks::spawn`].
pub(crate) async fn keep(
    client: Client,
    name: String,
    injector: Arc<Injector>,
    kept: Gauge,
    leadership: Leadership,
    is_complete: impl Fn() -> bool + Send + Sync,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let api = Api::default_namespaced(client);
    let mut keeper = Keeper { api, name, stored: None, trouble: None, kept };
    while !shutdown.is_requested() {
        if !leadership.may_write() {
            // Whoever leads keeps it.
            keeper.rest();
        }
        tokio::select! {
            () = shutdown.requested() => break,
            () = leadership.leading() => {}
        }
        let mut pause = PAUSE;
        match keeper.read().await {
            Ok(memory) => {
                injector.recall(memory);
                let text = || injector.memory_text(is_complete());
                let changed = || injector.unwritten();
                if let Err(failure) = keeper.follow(text, changed, &leadership, &shutdown).await {
                    // Somebody else wrote, or it is gone: that is what is read next.
                    if !matches!(failure.code, Some(404 | 409)) {
                        keeper.fails(Call::Write, failure);
                        pause = RETRY;
                    }
                }
                injector.forget_memory();
            }
            Err(failure) => {
                keeper.fails(Call::Read, failure);
                pause = RETRY;
            }
        }
        tokio::select! {
            () = shutdown.requested() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

/// What is remembered now, for those who only look.
///
/// # Errors
/// When the ConfigMap cannot be read. There need not be one.
pub(crate) async fn read(client: Client, name: String) -> Result<Memory, Failure> {
    let (api, kept) = (Api::default_namespaced(client), Gauge::default());
    Keeper { api, name, stored: None, trouble: None, kept }.read().await
}

struct Keeper {
    api: Api<ConfigMap>,
    name: String,
    /// What the ConfigMap holds, and its version; None: there is none.
    stored: Option<Stored>,
    /// What was last said to be wrong.
    trouble: Option<Trouble>,
    /// 1 where nothing is.
    kept: Gauge,
}

#[derive(Debug, PartialEq)]
struct Trouble {
    /// Of which call; the other one may work.
    call: Call,
    failure: Failure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Write,
}

#[derive(Debug)]
struct Stored {
    text: String,
    version: Option<String>,
}

impl Keeper {
    async fn read(&mut self) -> Result<Memory, Failure> {
        let found = call(self.api.get_opt(&self.name)).await?;
        self.works(Call::Read);
        self.stored = found.map(stored);
        let text = self.stored.as_ref().map(|stored| stored.text.as_str()).unwrap_or_default();
        Ok(Memory::read(text))
    }

    /// Writes what changes while this process leads, and once more at shutdown.
    async fn follow<Changed: Future<Output = ()>>(
        &mut self,
        text: impl Fn() -> Option<String>,
        changed: impl Fn() -> Changed,
        leadership: &Leadership,
        shutdown: &Shutdown,
    ) -> Result<(), Failure> {
        while leadership.may_write() {
            tokio::select! {
                () = shutdown.requested() => return self.write(text(), leadership).await,
                () = changed() => {}
                () = tokio::time::sleep(LEADING_INTERVAL) => continue,
            }
            self.write(text(), leadership).await?;
            tokio::select! {
                () = shutdown.requested() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        Ok(())
    }

    /// Writes the text if it is another one than was stored.
    async fn write(&mut self, text: Option<String>, leadership: &Leadership) -> Result<(), Failure> {
        let Some(text) = text else { return Ok(()) };
        let known = self.stored.as_ref();
        if known.map_or(text.is_empty(), |stored| stored.text == text) || !leadership.may_write() {
            return Ok(());
        }
        let written = match known {
            Some(Stored { version, .. }) => {
                // The version makes it a write of what was read: two leaders do not undo each other's.
                let patch = json!({ "metadata": { "resourceVersion": version }, "data": { KEY: text } });
                call(self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))).await?
            }
            None => {
                let object = ConfigMap {
                    metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                    data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
                    ..ConfigMap::default()
                };
                call(self.api.create(&PostParams::default(), &object)).await?
            }
        };
        self.stored = Some(stored(written));
        self.works(Call::Read);
        self.works(Call::Write);
        Ok(())
    }

    /// Nothing is to be kept.
    fn rest(&mut self) {
        self.trouble = None;
        self.kept.set(1);
    }

    /// A call failed; that is told where it is news.
    fn fails(&mut self, call: Call, failure: Failure) {
        let trouble = Trouble { call, failure };
        if self.trouble.as_ref() != Some(&trouble) {
            let (name, failure) = (&self.name, &trouble.failure);
            tracing::warn!(
                %failure,
                "cannot keep in ConfigMap {name} which CA left its source when: it stays in bundles for longer"
            );
        }
        self.trouble = Some(trouble);
        self.kept.set(0);
    }

    /// Such a call works.
    fn works(&mut self, call: Call) {
        if self.trouble.take_if(|trouble| trouble.call == call).is_some() {
            tracing::info!("ConfigMap {} can be read and written again", self.name);
        }
        self.kept.set(i64::from(self.trouble.is_none()));
    }
}

fn stored(object: ConfigMap) -> Stored {
    let text = object.data.and_then(|mut data| data.remove(KEY)).unwrap_or_default();
    Stored { text, version: object.metadata.resource_version }
}

async fn call<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| Failure::from(&error)),
        Err(_) => Err(Failure { code: None, message: format!("no answer within {CALL_TIMEOUT:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::sync::Mutex;

    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use runtime::lock::lock;
    use serde_json::Value;

    use super::*;

    /// An API server with one ConfigMap, whose version is counted; every write is noted.
    #[derive(Clone, Default)]
    struct Server {
        state: Arc<Mutex<Stand>>,
    }

    #[derive(Default)]
    struct Stand {
        text: Option<String>,
        version: u64,
        writes: Vec<String>,
    }

    impl Server {
        fn keeper(&self) -> Keeper {
            let server = self.clone();
            let answer = move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            };
            let api = Api::default_namespaced(Client::new(tower::service_fn(answer), "own"));
            Keeper { api, name: "memory".to_owned(), stored: None, trouble: None, kept: Gauge::default() }
        }

        async fn answer(&self, request: Request<Body>) -> Response<Body> {
            let (head, body) = request.into_parts();
            assert!(head.uri.path().starts_with("/api/v1/namespaces/own/configmaps"), "{}", head.uri);
            let body = body.collect_bytes().await.unwrap();
            let state = &mut *lock(&self.state);
            if head.method != Method::GET {
                let body: Value = serde_json::from_slice(&body).unwrap();
                let expected = body["metadata"]["resourceVersion"].as_str();
                if expected.is_some_and(|version| version != state.version.to_string()) {
                    return refusal(409);
                }
                state.text = body["data"][KEY].as_str().map(ToOwned::to_owned);
                state.version += 1;
                let text = state.text.as_deref().unwrap_or_default();
                state.writes.push(format!("{} {text}", head.method));
            }
            let Some(text) = &state.text else { return refusal(404) };
            let object = json!({
                "metadata": { "name": "memory", "resourceVersion": state.version.to_string() },
                "data": { KEY: text },
            });
            Response::new(Body::from(object.to_string().into_bytes()))
        }

        fn writes(&self) -> Vec<String> {
            lock(&self.state).writes.clone()
        }
    }

    fn refusal(code: u16) -> Response<Body> {
        let status = json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no",
            "reason": if code == 404 { "NotFound" } else { "Conflict" } });
        let mut response = Response::new(Body::from(status.to_string().into_bytes()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    }

    async fn write(keeper: &mut Keeper, text: &str) -> Result<(), Failure> {
        keeper.write(Some(text.to_owned()), &Leadership::always()).await
    }

    #[tokio::test]
    async fn who_does_not_lead_writes_nothing() {
        let server = Server::default();
        let standby = Leadership::candidate();
        server.keeper().write(Some("api-server\n".to_owned()), &standby).await.unwrap();
        server.keeper().write(None, &Leadership::always()).await.unwrap();
        assert_eq!(server.writes(), [""; 0]);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_a_figure_until_it_can() {
        let server = Server::default();
        let mut keeper = server.keeper();
        let failure = || Failure { code: Some(403), message: "no".to_owned() };
        keeper.fails(Call::Read, failure());
        assert_eq!(keeper.kept.get(), 0);
        keeper.read().await.unwrap();
        assert_eq!(keeper.kept.get(), 1);
        keeper.fails(Call::Write, failure());
        keeper.read().await.unwrap();
        assert_eq!(keeper.kept.get(), 0, "that it can be read is not enough");
        write(&mut keeper, "one\n").await.unwrap();
        assert_eq!(keeper.kept.get(), 1);
        keeper.fails(Call::Write, failure());
        keeper.rest();
        assert_eq!(keeper.kept.get(), 1);
    }

    #[tokio::test]
    async fn what_changes_is_written_once_and_bound_to_what_was_read() {
        let server = Server::default();
        let mut keeper = server.keeper();
        assert_eq!(keeper.read().await.unwrap(), Memory::default());
        write(&mut keeper, "").await.unwrap();
        for text in ["one\n", "one\n", "two\n"] {
            write(&mut keeper, text).await.unwrap();
        }
        assert_eq!(server.writes(), ["POST one\n", "PATCH two\n"]);
        let mut other = server.keeper();
        other.read().await.unwrap();
        write(&mut other, "three\n").await.unwrap();
        assert_eq!(write(&mut keeper, "four\n").await.unwrap_err().code, Some(409));
        keeper.read().await.unwrap();
        write(&mut keeper, "four\n").await.unwrap();
        assert_eq!(server.writes().last().unwrap(), "PATCH four\n");
    }

    #[tokio::test(start_paused = true)]
    async fn many_changes_are_few_writes_and_the_last_one_is_not_lost() {
        let server = Server::default();
        let mut keeper = server.keeper();
        let (shutdown, count) = (Shutdown::default(), RefCell::new(0));
        let text = || {
            *count.borrow_mut() += 1;
            Some(format!("{}\n", count.borrow()))
        };
        let changed = || tokio::time::sleep(Duration::from_millis(10));
        let leadership = Leadership::always();
        let follow = keeper.follow(text, changed, &leadership, &shutdown);
        let stop = async {
            tokio::time::sleep(Duration::from_secs(12)).await;
            shutdown.request();
        };
        let (followed, ()) = tokio::join!(follow, stop);
        followed.unwrap();
        assert_eq!(server.writes(), ["POST 1\n", "PATCH 2\n", "PATCH 3\n", "PATCH 4\n"]);
    }
}
