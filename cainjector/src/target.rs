//! Targets: the objects that get a bundle, what is read of them and what is written to them.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::core::{ApiResource, DynamicObject};
use serde::Deserialize;
use serde_json::{Value, json};

/// The kinds that get bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// `admissionregistration.k8s.io/v1`: one bundle an entry.
    ValidatingWebhookConfiguration,
    /// `admissionregistration.k8s.io/v1`: one bundle an entry.
    MutatingWebhookConfiguration,
    /// `apiregistration.k8s.io/v1`: one bundle.
    ApiService,
}

impl TargetKind {
    /// Every kind.
    pub const ALL: &'static [Self] =
        &[Self::ValidatingWebhookConfiguration, Self::MutatingWebhookConfiguration, Self::ApiService];

    /// Group, version and plural of the kind.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ValidatingWebhookConfiguration => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
            Self::MutatingWebhookConfiguration => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::ApiService => ApiResource::erase::<APIService>(&()),
        }
    }

    /// Name of the kind, as in manifests.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ValidatingWebhookConfiguration => "ValidatingWebhookConfiguration",
            Self::MutatingWebhookConfiguration => "MutatingWebhookConfiguration",
            Self::ApiService => "APIService",
        }
    }

    /// Name of the resource, as in RBAC rules.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ValidatingWebhookConfiguration => "validatingwebhookconfigurations",
            Self::MutatingWebhookConfiguration => "mutatingwebhookconfigurations",
            Self::ApiService => "apiservices",
        }
    }
}

/// One object that may get a bundle. All kinds are cluster-scoped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Kind.
    pub kind: TargetKind,
    /// Name.
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind(), self.name)
    }
}

/// A target as it is now: what planning needs of it, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Which object this is.
    pub target: Target,
    /// `metadata.uid`, for events.
    pub uid: String,
    /// `metadata.resourceVersion`: a write is bound to it.
    pub resource_version: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Where its bundles are.
    pub fields: Fields,
}

/// The bundle fields of a target. A bundle that is absent is empty here, as it is for the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fields {
    /// `webhooks[].clientConfig.caBundle`, in the order of the object.
    Webhooks(Vec<Webhook>),
    /// `spec.caBundle` of an API service.
    ApiService {
        /// The bundle as it is.
        bundle: Vec<u8>,
        /// Whether `spec.insecureSkipTLSVerify` is set: such a service cannot have a bundle.
        insecure: bool,
        /// Whether `spec.service` is set: a service that the API server itself serves cannot have a bundle.
        remote: bool,
    },
}

/// One entry of a webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name, which is the key of the list.
    pub name: String,
    /// The bundle as it is.
    pub bundle: Vec<u8>,
}

/// The object has not the shape of its kind, which would be a defect of the API server.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {target}")]
pub struct DecodeError {
    target: Target,
    source: serde_json::Error,
}

impl Live {
    /// Reads the object as a target of this kind.
    ///
    /// # Errors
    /// When a field has another type than its kind says.
    pub fn decode(kind: TargetKind, object: DynamicObject) -> Result<Self, DecodeError> {
        let metadata = object.metadata;
        let target = Target { kind, name: metadata.name.unwrap_or_default() };
        let fields = match kind {
            TargetKind::ValidatingWebhookConfiguration | TargetKind::MutatingWebhookConfiguration => {
                webhooks(object.data)
            }
            TargetKind::ApiService => api_service(object.data),
        };
        Ok(Self {
            fields: fields.map_err(|source| DecodeError { target: target.clone(), source })?,
            target,
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        })
    }

    /// The server-side apply that sets these bundles, one for each field in order, and claims nothing else. All
    /// bundles are in it, changed or not: a field that an apply leaves out is given up, and may vanish.
    pub fn apply_body(&self, bundles: &[String]) -> Value {
        let resource = self.target.kind.resource();
        let mut body = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": self.target.name, "resourceVersion": self.resource_version },
        });
        let encode = |bundle: &String| ByteString(bundle.clone().into_bytes());
        match &self.fields {
            Fields::Webhooks(webhooks) => {
                let entries = webhooks.iter().zip(bundles).map(|(webhook, bundle)| {
                    json!({ "name": webhook.name, "clientConfig": { "caBundle": encode(bundle) } })
                });
                body["webhooks"] = entries.collect();
            }
            Fields::ApiService { .. } => {
                body["spec"] = json!({ "caBundle": bundles.first().map(encode) });
            }
        }
        body
    }
}

impl Fields {
    /// The bundles as they are, in order.
    pub fn bundles(&self) -> Vec<&[u8]> {
        match self {
            Self::Webhooks(webhooks) => webhooks.iter().map(|webhook| webhook.bundle.as_slice()).collect(),
            Self::ApiService { bundle, .. } => vec![bundle],
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebhookConfigurationData {
    #[serde(default)]
    webhooks: Vec<WebhookData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebhookData {
    name: String,
    client_config: ClientConfigData,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfigData {
    ca_bundle: Option<ByteString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiServiceData {
    spec: ApiServiceSpecData,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiServiceSpecData {
    ca_bundle: Option<ByteString>,
    #[serde(default, rename = "insecureSkipTLSVerify")]
    insecure: bool,
    service: Option<Value>,
}

fn webhooks(data: Value) -> Result<Fields, serde_json::Error> {
    let data: WebhookConfigurationData = serde_json::from_value(data)?;
    let webhooks = data
        .webhooks
        .into_iter()
        .map(|webhook| Webhook { name: webhook.name, bundle: bytes(webhook.client_config.ca_bundle) });
    Ok(Fields::Webhooks(webhooks.collect()))
}

fn api_service(data: Value) -> Result<Fields, serde_json::Error> {
    let ApiServiceData { spec } = serde_json::from_value(data)?;
    Ok(Fields::ApiService {
        bundle: bytes(spec.ca_bundle),
        insecure: spec.insecure,
        remote: spec.service.is_some(),
    })
}

fn bytes(bundle: Option<ByteString>) -> Vec<u8> {
    bundle.map(|bundle| bundle.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(kind: TargetKind, object: &Value, bundles: &[&str], expected: &Expect) {
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let live = Live::decode(kind, object).unwrap();
        let bundles: Vec<_> = bundles.iter().map(ToString::to_string).collect();
        let body = serde_json::to_string_pretty(&live.apply_body(&bundles)).unwrap();
        expected.assert_eq(&body);
    }

    #[test]
    fn an_object_of_another_shape_is_refused() {
        let object = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": { "name": "v1.example.test" }, "spec": { "caBundle": "not base64 !" },
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let refused = Live::decode(TargetKind::ApiService, object).unwrap_err();
        assert_eq!(refused.to_string(), "cannot read APIService v1.example.test");
    }

    #[test]
    fn a_webhook_configuration_gets_names_and_bundles_alone() {
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "example", "uid": "u", "resourceVersion": "7", "labels": { "a": "b" } },
            "webhooks": [
                { "name": "one.example.test", "clientConfig": { "service": { "name": "s", "namespace": "n" } }, "sideEffects": "None" },
                { "name": "two.example.test", "clientConfig": { "url": "https://two.example.test", "caBundle": "b2xk" } },
            ],
        });
        check(
            TargetKind::ValidatingWebhookConfiguration,
            &object,
            &["first", "second"],
            &expect![[r#"
                {
                  "apiVersion": "admissionregistration.k8s.io/v1",
                  "kind": "ValidatingWebhookConfiguration",
                  "metadata": {
                    "name": "example",
                    "resourceVersion": "7"
                  },
                  "webhooks": [
                    {
                      "clientConfig": {
                        "caBundle": "Zmlyc3Q="
                      },
                      "name": "one.example.test"
                    },
                    {
                      "clientConfig": {
                        "caBundle": "c2Vjb25k"
                      },
                      "name": "two.example.test"
                    }
                  ]
                }"#]],
        );
    }

    #[test]
    fn an_api_service_gets_its_bundle_alone() {
        let object = json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": { "name": "v1.example.test", "uid": "u", "resourceVersion": "9" },
            "spec": { "group": "example.test", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
                      "service": { "name": "s", "namespace": "n" } },
        });
        check(
            TargetKind::ApiService,
            &object,
            &["bundle"],
            &expect![[r#"
                {
                  "apiVersion": "apiregistration.k8s.io/v1",
                  "kind": "APIService",
                  "metadata": {
                    "name": "v1.example.test",
                    "resourceVersion": "9"
                  },
                  "spec": {
                    "caBundle": "YnVuZGxl"
                  }
                }"#]],
        );
    }
}
