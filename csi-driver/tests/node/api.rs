//! An API server that knows a handful of objects: enough of get, list and watch for a client that looks at one at a time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The objects, by the path of their collection and their name; clones share them.
#[derive(Clone)]
pub(crate) struct FakeApi {
    objects: Arc<Mutex<HashMap<(String, String), Value>>>,
    changes: watch::Sender<u64>,
}

impl FakeApi {
    /// Serves on a free port of the loopback until the test ends.
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let api = Self { objects: Arc::default(), changes: watch::channel(1).0 };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (api, address)
    }

    /// Creates or replaces an object, whose UID is its name unless it says another.
    pub(crate) fn put(&self, collection: &str, name: &str, mut object: Value) {
        let version = *self.changes.borrow() + 1;
        let uid = object.pointer("/metadata/uid").cloned().unwrap_or_else(|| json!(name));
        object["metadata"] =
            json!({"name": name, "namespace": "team-a", "uid": uid, "resourceVersion": version.to_string()});
        self.objects.lock().unwrap().insert((collection.to_owned(), name.to_owned()), object);
        self.changes.send_replace(version);
    }

    fn get(&self, collection: &str, name: &str) -> Option<Value> {
        let key = (collection.to_owned(), name.to_owned());
        self.objects.lock().unwrap().get(&key).cloned()
    }
}

async fn answer(State(api): State<FakeApi>, uri: Uri) -> Response {
    let collection = uri.path().to_owned();
    let query = uri.query().unwrap_or_default().to_owned();
    let name = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"))
        .unwrap_or_default()
        .to_owned();
    if query.contains("watch=true") {
        let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let seen = version.and_then(|version| version.parse().ok()).unwrap_or_default();
        return Body::from_stream(events(api, collection, name, seen)).into_response();
    }
    if name.is_empty() {
        return one(&api, &collection);
    }
    let version = api.changes.borrow().to_string();
    let items: Vec<_> = api.get(&collection, &name).into_iter().collect();
    let list = json!({
        "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items
    });
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

/// The object at this path.
fn one(api: &FakeApi, path: &str) -> Response {
    let found = path.rsplit_once('/').and_then(|(collection, name)| api.get(collection, name));
    let json = [(header::CONTENT_TYPE, "application/json")];
    match found {
        Some(object) => (json, object.to_string()).into_response(),
        None => {
            let status = json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound",
                "message": format!("{path} not found"), "code": 404,
            });
            (StatusCode::NOT_FOUND, json, status.to_string()).into_response()
        }
    }
}

/// An event at each change after version `seen`, whether or not it is about this object.
fn events(
    api: FakeApi,
    collection: String,
    name: String,
    seen: u64,
) -> impl futures::Stream<Item = Result<String, std::convert::Infallible>> {
    let mut changes = api.changes.subscribe();
    // What came between a list and its watch is news too.
    if *changes.borrow() > seen {
        changes.mark_changed();
    }
    futures::stream::unfold(changes, |mut changes| async move {
        changes.changed().await.ok()?;
        Some(((), changes))
    })
    .filter_map(move |()| {
        let object = api.get(&collection, &name);
        let event = object.map(|object| format!("{}\n", json!({"type": "MODIFIED", "object": object})));
        futures::future::ready(event.map(Ok))
    })
}
