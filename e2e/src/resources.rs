//! Objects of any kind as JSON: tests send what no type could express, such as a field that was forgotten.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use kube::api::{DeleteParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Status};
use kube::{Api, Client};
use serde_json::Value;

use crate::namespace::Scope;

/// Kinds that tests create and that live in no namespace.
const CLUSTER_SCOPED: [&str; 11] = [
    "APIService",
    "ClusterIssuer",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "Node",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// What a test made outside its own namespace, which therefore does not vanish with it.
#[derive(Clone, Default)]
pub(crate) struct Strays(Arc<Mutex<Vec<Stray>>>);

#[derive(Clone)]
struct Stray {
    api: Api<DynamicObject>,
    name: String,
}

impl Strays {
    /// Deletes them, the youngest first. What is gone already is gone.
    pub(crate) async fn delete(&self) -> anyhow::Result<()> {
        let strays = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut outcome = Ok(());
        for Stray { api, name } in strays.iter().rev() {
            match api.delete(name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    let failed = Err(error).with_context(|| format!("failed to delete {name}"));
                    outcome = outcome.and(failed);
                }
            }
        }
        outcome
    }

    fn add(&self, api: Api<DynamicObject>, name: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Stray { api, name });
    }
}

/// The API server's answer to what it should have refused.
///
/// # Errors
/// When it accepted, or did not answer.
pub fn refusal<T>(outcome: kube::Result<T>) -> anyhow::Result<Box<Status>> {
    match outcome {
        Ok(_) => bail!("it was accepted"),
        Err(kube::Error::Api(status)) => Ok(status),
        Err(error) => Err(error.into()),
    }
}

impl Scope {
    /// Creates `object` as administrator: in the namespace that it names, else in the test's own. What lands elsewhere
    /// is deleted when the test ends.
    ///
    /// # Errors
    /// The API server's.
    pub async fn create(&self, object: &Value) -> kube::Result<DynamicObject> {
        self.create_as(&self.client, object).await
    }

    /// The same with the rights of another client.
    ///
    /// # Errors
    /// The API server's.
    pub async fn create_as(&self, client: &Client, object: &Value) -> kube::Result<DynamicObject> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, elsewhere) = (text("/kind"), text("/metadata/namespace"));
        let namespace = if elsewhere.is_empty() { &self.namespace } else { elsewhere };
        let api = api(client, namespace, text("/apiVersion"), kind);
        let dynamic = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        let created = api.create(&PostParams::default(), &dynamic).await?;
        if CLUSTER_SCOPED.contains(&kind) || namespace != self.namespace {
            let name = created.metadata.name.clone().unwrap_or_default();
            self.strays.add(self::api(&self.client, namespace, text("/apiVersion"), kind), name);
        }
        Ok(created)
    }

    /// The objects of a kind, in the test's own namespace if they live in any.
    #[must_use]
    pub fn resource(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        api(&self.client, &self.namespace, api_version, kind)
    }
}

/// The objects of a kind: in `namespace`, if they live in any.
#[must_use]
pub fn api(client: &Client, namespace: &str, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, kind);
    // True of every kind that tests use.
    let lower_case = kind.kind.to_lowercase();
    let plural = match lower_case.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{lower_case}s"),
    };
    let resource = ApiResource::from_gvk_with_plural(&kind, &plural);
    if CLUSTER_SCOPED.contains(&kind.kind.as_str()) {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}
