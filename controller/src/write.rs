//! Creating and deleting objects: bodies are made by hand, and only that very object is deleted which was seen.

use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use runtime::watch::{Failure, ObjectName};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::MANAGER;

/// HTTP status of an object that is not there.
const NOT_FOUND: u16 = 404;

/// HTTP status of an object that is there already, or is another one than was meant.
const CONFLICT: u16 = 409;

/// Creates an object; as it is then.
///
/// # Errors
/// What the API server says; see [`is_taken`].
pub(crate) async fn create<K>(client: &Client, api: &Api<K>, body: &Value) -> Result<K, Failure>
where
    K: Resource + Clone + DeserializeOwned,
{
    let malformed = |error: &dyn std::error::Error| Failure { code: None, message: error.to_string() };
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let bytes = serde_json::to_vec(body).map_err(|error| malformed(&error))?;
    let request = kube::core::Request::new(api.resource_url()).create(&params, bytes);
    let request = request.map_err(|error| malformed(&error))?;
    client.request::<K>(request).await.map_err(|error| Failure::from(&error))
}

/// Whether an object could not be created because one of its name is there.
pub(crate) fn is_taken(failure: &Failure) -> bool {
    failure.code == Some(CONFLICT)
}

/// Deletes the object of this name if it has this UID. It is no failure when it is gone, or another one has its name.
///
/// # Errors
/// What the API server says.
pub(crate) async fn delete<K>(api: &Api<K>, name: &ObjectName, uid: &str) -> Result<(), Failure>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match api.delete(&name.name, &params).await.map_err(|error| Failure::from(&error)) {
        Ok(_) => Ok(()),
        Err(failure) if matches!(failure.code, Some(NOT_FOUND | CONFLICT)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Secret;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// Method, path with query, and body of each call.
    type Asked = Arc<Mutex<Vec<(String, Value)>>>;

    /// A server that answers each call with this, and what it was asked.
    fn server(status: u16, answer: Value) -> (Client, Asked) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let client = runtime::testing::client(move |request: Request<Body>| {
            let (seen, answer) = (Arc::clone(&seen), answer.to_string());
            async move {
                let line = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect_bytes().await.unwrap();
                seen.lock().unwrap().push((line, serde_json::from_slice(&body).unwrap_or_default()));
                Response::builder().status(status).body(Body::from(answer.into_bytes())).unwrap()
            }
        });
        (client, asked)
    }

    fn refusal(code: u16) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "r", "code": code})
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_told_from_other_failures() {
        for (code, expected) in [(409, true), (403, false), (500, false)] {
            let (client, _) = server(code, refusal(code));
            let api: Api<Secret> = Api::namespaced(client.clone(), "a");
            let failure = create(&client, &api, &json!({"metadata": {"name": "k"}})).await.unwrap_err();
            assert_eq!(is_taken(&failure), expected, "{failure}");
        }
    }

    #[tokio::test]
    async fn what_is_created_is_what_was_given_and_nothing_else() {
        let (client, asked) =
            server(201, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}}));
        let api: Api<Secret> = Api::namespaced(client.clone(), "a");
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}});
        create(&client, &api, &body).await.unwrap();
        let line = "POST /api/v1/namespaces/a/secrets?&fieldManager=cert-manager-controller";
        assert_eq!(*asked.lock().unwrap(), [(line.to_owned(), body)]);
    }

    #[tokio::test]
    async fn only_the_object_that_was_seen_is_deleted_and_gone_is_gone() {
        for (code, is_done) in [(404, true), (409, true), (403, false), (500, false)] {
            let (client, asked) = server(code, refusal(code));
            let api: Api<Secret> = Api::namespaced(client, "a");
            let done = delete(&api, &ObjectName::namespaced("a", "k"), "u-7").await;
            assert_eq!(done.is_ok(), is_done, "{code}: {done:?}");
            assert_eq!(asked.lock().unwrap()[0].1["preconditions"], json!({"uid": "u-7"}));
        }
    }
}
