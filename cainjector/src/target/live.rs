//! A target as it is now, and what is written to it.

use k8s_openapi::ByteString;
use kube::core::{ApiResource, ObjectMeta};
use runtime::trimmed::{Keep, Owner, Trimmed};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};
use serde_json::{Value, json};

use super::custom::{CustomField, CustomTarget, Whole};
use super::path::{FieldPath, Step};
use super::{Target, TargetKind};
use crate::reference::ANNOTATIONS;

/// What planning needs of a target, and nothing else.
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
    /// Who manages its fields.
    pub owners: Vec<Owner>,
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
    /// `spec.conversion.webhook.clientConfig.caBundle` of a CustomResourceDefinition.
    Definition {
        /// The bundle as it is.
        bundle: Vec<u8>,
        /// Who converts.
        conversion: Conversion,
    },
    /// `data["ca.crt"]` of a ConfigMap.
    ConfigMap {
        /// The bundle as it is.
        bundle: Vec<u8>,
        /// Whether `immutable` is set: such a one cannot be changed any more.
        immutable: bool,
    },
    /// `spec.trustBundle` of a ClusterTrustBundle.
    TrustBundle {
        /// The bundle as it is.
        bundle: Vec<u8>,
    },
    /// The declared field of a custom resource.
    Custom(CustomField),
}

/// One entry of a webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name, which is the key of the list.
    pub name: String,
    /// The bundle as it is.
    pub bundle: Vec<u8>,
}

/// Who converts between the versions of a custom resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// Nobody: `spec.conversion.strategy` is not `Webhook`.
    None,
    /// A webhook that has no `clientConfig`.
    Unaddressed,
    /// A webhook.
    Webhook,
}

/// What is read of a target: schemas, rules and selectors are passed over.
#[derive(Debug, Clone, Default)]
pub struct LiveContent {
    webhooks: Vec<WebhookData>,
    spec: SpecData,
    data: ConfigData,
    immutable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ConfigData {
    #[serde(rename = "ca.crt")]
    ca: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebhookData {
    name: String,
    client_config: ClientConfigData,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfigData {
    ca_bundle: Option<ByteString>,
}

/// Of an API service: the first three; of a CustomResourceDefinition: the next one; of a ClusterTrustBundle: the last.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecData {
    ca_bundle: Option<ByteString>,
    #[serde(default, rename = "insecureSkipTLSVerify")]
    insecure: bool,
    service: Option<IgnoredAny>,
    conversion: Option<ConversionData>,
    trust_bundle: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConversionData {
    #[serde(default)]
    strategy: String,
    webhook: Option<ConversionWebhookData>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConversionWebhookData {
    client_config: Option<ClientConfigData>,
}

impl Keep for LiveContent {
    const ANNOTATIONS: &'static [&'static str] = ANNOTATIONS;
    const OWNERS: bool = true;
    const OWNED_FIELDS: &'static [&'static str] = &["f:caBundle", "f:ca.crt", "f:trustBundle"];

    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "webhooks" => self.webhooks = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "spec" => self.spec = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "data" => self.data = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "immutable" => self.immutable = map.next_value::<Option<_>>()?.unwrap_or_default(),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl Live {
    /// The object as a target of this kind.
    pub fn new(kind: TargetKind, object: Trimmed<LiveContent>) -> Self {
        let Trimmed { metadata, owners, content } = object;
        let LiveContent { webhooks, spec, data, immutable } = content;
        let fields = match kind {
            TargetKind::ValidatingWebhookConfiguration | TargetKind::MutatingWebhookConfiguration => {
                let webhook = |data: WebhookData| Webhook {
                    name: data.name,
                    bundle: bytes(data.client_config.ca_bundle),
                };
                Fields::Webhooks(webhooks.into_iter().map(webhook).collect())
            }
            TargetKind::ApiService => Fields::ApiService {
                bundle: bytes(spec.ca_bundle),
                insecure: spec.insecure,
                remote: spec.service.is_some(),
            },
            TargetKind::CustomResourceDefinition => definition(spec.conversion),
            TargetKind::ConfigMap => {
                Fields::ConfigMap { bundle: data.ca.unwrap_or_default().into_bytes(), immutable }
            }
            TargetKind::ClusterTrustBundle => {
                Fields::TrustBundle { bundle: spec.trust_bundle.unwrap_or_default().into_bytes() }
            }
            TargetKind::Custom(custom) => Fields::Custom(CustomField::of(custom, &Whole::default())),
        };
        Self::with(kind, metadata, owners, fields)
    }

    /// The object as a target of a declared kind.
    pub fn custom(custom: &'static CustomTarget, object: Trimmed<Whole>) -> Self {
        let Trimmed { metadata, owners, content } = object;
        let field = CustomField::of(custom, &content);
        Self::with(TargetKind::Custom(custom), metadata, owners, Fields::Custom(field))
    }

    /// Group, version and kind, as the object itself says.
    pub fn resource(&self) -> ApiResource {
        let resource = self.target.kind.resource();
        match &self.fields {
            Fields::Custom(field) => ApiResource { kind: field.kind.clone(), ..resource },
            _ => resource,
        }
    }

    fn with(kind: TargetKind, metadata: ObjectMeta, owners: Vec<Owner>, fields: Fields) -> Self {
        Self {
            target: Target::of(kind, &metadata),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            owners,
            fields,
        }
    }

    /// The server-side apply that sets these bundles, one for each field in order, and claims nothing else. All
    /// bundles are in it, changed or not: a field that an apply leaves out is given up, and may vanish.
    pub fn apply_body(&self, bundles: &[String]) -> Value {
        let mut body = self.release_body();
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
            Fields::Definition { .. } => {
                let client_config = json!({ "caBundle": bundles.first().map(encode) });
                body["spec"] = json!({ "conversion": { "webhook": { "clientConfig": client_config } } });
            }
            Fields::ConfigMap { .. } => body["data"] = json!({ "ca.crt": bundles.first() }),
            Fields::TrustBundle { .. } => body["spec"] = json!({ "trustBundle": bundles.first() }),
            Fields::Custom(field) => {
                for (member, value) in field.body(bundles.first().map_or("", String::as_str)) {
                    body[member] = value;
                }
            }
        }
        body
    }

    /// The server-side apply that gives up all that is ours: bundles that nobody else owns vanish.
    pub fn release_body(&self) -> Value {
        let (resource, name) = (self.resource(), &self.target.name);
        let mut metadata = json!({ "name": name.name, "resourceVersion": self.resource_version });
        if let Some(namespace) = &name.namespace {
            metadata["namespace"] = json!(namespace);
        }
        json!({ "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata })
    }
}

impl Fields {
    /// The bundles as they are, in order.
    pub fn bundles(&self) -> Vec<&[u8]> {
        match self {
            Self::Webhooks(webhooks) => webhooks.iter().map(|webhook| webhook.bundle.as_slice()).collect(),
            Self::ApiService { bundle, .. }
            | Self::Definition { bundle, .. }
            | Self::ConfigMap { bundle, .. }
            | Self::TrustBundle { bundle }
            | Self::Custom(CustomField { bundle, .. }) => vec![bundle],
        }
    }

    /// The same, to be taken out or put back.
    pub fn bundles_mut(&mut self) -> Vec<&mut Vec<u8>> {
        match self {
            Self::Webhooks(webhooks) => webhooks.iter_mut().map(|webhook| &mut webhook.bundle).collect(),
            Self::ApiService { bundle, .. }
            | Self::Definition { bundle, .. }
            | Self::ConfigMap { bundle, .. }
            | Self::TrustBundle { bundle }
            | Self::Custom(CustomField { bundle, .. }) => vec![bundle],
        }
    }

    /// Where they are, in the same order.
    pub fn paths(&self) -> Vec<FieldPath> {
        let entry = |webhook: &Webhook| {
            let [list, config, bundle] = ["webhooks", "clientConfig", "caBundle"].map(Step::Member);
            FieldPath::new([list, Step::Entry(webhook.name.clone()), config, bundle])
        };
        match self {
            Self::Webhooks(webhooks) => webhooks.iter().map(entry).collect(),
            Self::ApiService { .. } => vec![FieldPath::members(["spec", "caBundle"])],
            Self::Definition { .. } => {
                vec![FieldPath::members(["spec", "conversion", "webhook", "clientConfig", "caBundle"])]
            }
            Self::ConfigMap { .. } => vec![FieldPath::members(["data", "ca.crt"])],
            Self::TrustBundle { .. } => vec![FieldPath::members(["spec", "trustBundle"])],
            Self::Custom(field) => {
                let steps = field.target.path.iter().map(|step| Step::Member(step));
                vec![FieldPath::new(steps.collect::<Vec<_>>())]
            }
        }
    }
}

fn definition(conversion: Option<ConversionData>) -> Fields {
    let webhook = conversion.filter(|conversion| conversion.strategy == "Webhook");
    let Some(ConversionData { webhook, .. }) = webhook else {
        return Fields::Definition { bundle: Vec::new(), conversion: Conversion::None };
    };
    match webhook.and_then(|webhook| webhook.client_config) {
        Some(config) => {
            Fields::Definition { bundle: bytes(config.ca_bundle), conversion: Conversion::Webhook }
        }
        None => Fields::Definition { bundle: Vec::new(), conversion: Conversion::Unaddressed },
    }
}

fn bytes(bundle: Option<ByteString>) -> Vec<u8> {
    bundle.map(|bundle| bundle.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(kind: TargetKind, object: &Value, bundles: &[&str], expected: &Expect) {
        let object = serde_json::from_value(object.clone()).unwrap();
        let live = Live::new(kind, object);
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
        let refused = serde_json::from_value::<Trimmed<LiveContent>>(object).unwrap_err();
        assert!(refused.is_data(), "{refused}");
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

    #[test]
    fn a_definition_gets_the_bundle_of_its_conversion_alone() {
        let object = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": "webs.example.test", "uid": "u", "resourceVersion": "9" },
            "spec": { "group": "example.test", "versions": [{ "schema": { "openAPIV3Schema": { "type": "object" } } }],
                      "conversion": { "strategy": "Webhook", "webhook": {
                          "conversionReviewVersions": ["v1"],
                          "clientConfig": { "url": "https://web.example.test", "caBundle": "b2xk" } } } },
        });
        check(
            TargetKind::CustomResourceDefinition,
            &object,
            &["bundle"],
            &expect![[r#"
            {
              "apiVersion": "apiextensions.k8s.io/v1",
              "kind": "CustomResourceDefinition",
              "metadata": {
                "name": "webs.example.test",
                "resourceVersion": "9"
              },
              "spec": {
                "conversion": {
                  "webhook": {
                    "clientConfig": {
                      "caBundle": "YnVuZGxl"
                    }
                  }
                }
              }
            }"#]],
        );
    }

    #[test]
    fn a_config_map_gets_its_key_alone() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
            "metadata": { "name": "trust", "namespace": "team-a", "uid": "u", "resourceVersion": "9" },
            "data": { "ca.crt": "old", "note": "kept" },
        });
        let live = Live::new(TargetKind::ConfigMap, serde_json::from_value(object.clone()).unwrap());
        assert_eq!(live.fields, Fields::ConfigMap { bundle: b"old".to_vec(), immutable: true });
        check(
            TargetKind::ConfigMap,
            &object,
            &["bundle"],
            &expect![[r#"
            {
              "apiVersion": "v1",
              "data": {
                "ca.crt": "bundle"
              },
              "kind": "ConfigMap",
              "metadata": {
                "name": "trust",
                "namespace": "team-a",
                "resourceVersion": "9"
              }
            }"#]],
        );
    }

    #[test]
    fn a_cluster_trust_bundle_gets_its_roots_alone() {
        let object = json!({
            "apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
            "metadata": { "name": "signet.example:root:v1", "uid": "u", "resourceVersion": "9" },
            "spec": { "signerName": "signet.example/root", "trustBundle": "old" },
        });
        check(
            TargetKind::ClusterTrustBundle,
            &object,
            &["bundle"],
            &expect![[r#"
            {
              "apiVersion": "certificates.k8s.io/v1beta1",
              "kind": "ClusterTrustBundle",
              "metadata": {
                "name": "signet.example:root:v1",
                "resourceVersion": "9"
              },
              "spec": {
                "trustBundle": "bundle"
              }
            }"#]],
        );
    }

    #[test]
    fn who_converts_is_read_of_a_definition() {
        for (conversion, expected, bundle) in [
            (Value::Null, Conversion::None, ""),
            (json!({ "strategy": "None" }), Conversion::None, ""),
            (json!({ "strategy": "Webhook" }), Conversion::Unaddressed, ""),
            (json!({ "strategy": "Webhook", "webhook": {} }), Conversion::Unaddressed, ""),
            (json!({ "strategy": "Webhook", "webhook": { "clientConfig": {} } }), Conversion::Webhook, ""),
            (
                json!({ "strategy": "Webhook", "webhook": { "clientConfig": { "caBundle": "b2xk" } } }),
                Conversion::Webhook,
                "old",
            ),
        ] {
            let object = json!({ "spec": { "conversion": conversion } });
            let live =
                Live::new(TargetKind::CustomResourceDefinition, serde_json::from_value(object).unwrap());
            let bundle = bundle.as_bytes().to_vec();
            assert_eq!(live.fields, Fields::Definition { bundle, conversion: expected });
        }
    }
}
