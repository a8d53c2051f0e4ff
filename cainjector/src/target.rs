//! Targets: the objects that get a bundle, what is read of them and what is written to them.

pub mod custom;
mod live;
mod named;
mod path;

use std::fmt;

use api::keys::label;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use kube::{Api, Client, Resource};
use runtime::trimmed::Trimmed;
use runtime::watch::ObjectName;

use custom::Whole;
pub use custom::{CustomField, CustomTarget};
pub use live::{Conversion, Fields, Live, LiveContent, Webhook};
pub use named::NameError;
pub use path::FieldPath;

/// The kinds that get bundles. Those that the operator adds ([`Self::is_wider`]) come last, so of a sorted set of targets the
/// first one says whether there is another in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// `admissionregistration.k8s.io/v1`: one bundle an entry.
    ValidatingWebhookConfiguration,
    /// `admissionregistration.k8s.io/v1`: one bundle an entry.
    MutatingWebhookConfiguration,
    /// `apiregistration.k8s.io/v1`: one bundle.
    ApiService,
    /// `apiextensions.k8s.io/v1`: one bundle, if a webhook converts between its versions.
    CustomResourceDefinition,
    /// `v1`, labelled and not the cluster's own: one bundle, at key `ca.crt`.
    ConfigMap,
    /// `certificates.k8s.io/v1beta1`, labelled: one bundle. Kubernetes 1.33 to 1.39 serve this version if they are told to;
    /// 1.37 is the first to have another one.
    ClusterTrustBundle,
    /// Custom resources that the operator has declared, labelled: one bundle, in the declared field.
    Custom(&'static CustomTarget),
}

/// The ConfigMap with the API server's CA that the controller manager publishes in each namespace. It is never a target.
pub const ROOT_CA: &str = "kube-root-ca.crt";

impl TargetKind {
    /// Every kind but those that the operator declares.
    pub const ALL: &'static [Self] = &[
        Self::ValidatingWebhookConfiguration,
        Self::MutatingWebhookConfiguration,
        Self::ApiService,
        Self::CustomResourceDefinition,
        Self::ConfigMap,
        Self::ClusterTrustBundle,
    ];

    /// Whether its objects live in namespaces.
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::ConfigMap)
    }

    /// The label selector of its objects that are looked at. `None`: all of them.
    pub fn selector(self) -> Option<String> {
        self.is_wider().then(|| format!("{}=true", label::INJECT))
    }

    /// Whether its objects get bundles only if the operator says so, and only those that are labelled.
    pub fn is_wider(self) -> bool {
        matches!(self, Self::ConfigMap | Self::ClusterTrustBundle | Self::Custom(_))
    }

    /// Group, version and plural of the kind.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ValidatingWebhookConfiguration => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
            Self::MutatingWebhookConfiguration => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::ApiService => ApiResource::erase::<APIService>(&()),
            Self::CustomResourceDefinition => ApiResource::erase::<CustomResourceDefinition>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::ClusterTrustBundle => ApiResource::erase::<ClusterTrustBundle>(&()),
            Self::Custom(custom) => custom.resource(),
        }
    }

    /// Name of the kind, as in manifests; of a custom resource that of the resource, with its group.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ValidatingWebhookConfiguration => "ValidatingWebhookConfiguration",
            Self::MutatingWebhookConfiguration => "MutatingWebhookConfiguration",
            Self::ApiService => "APIService",
            Self::CustomResourceDefinition => "CustomResourceDefinition",
            Self::ConfigMap => "ConfigMap",
            Self::ClusterTrustBundle => "ClusterTrustBundle",
            Self::Custom(custom) => &custom.name,
        }
    }

    /// Name of the resource, as in RBAC rules.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ValidatingWebhookConfiguration => "validatingwebhookconfigurations",
            Self::MutatingWebhookConfiguration => "mutatingwebhookconfigurations",
            Self::ApiService => "apiservices",
            Self::CustomResourceDefinition => "customresourcedefinitions",
            Self::ConfigMap => "configmaps",
            Self::ClusterTrustBundle => "clustertrustbundles",
            Self::Custom(custom) => &custom.plural,
        }
    }

    /// Whether its objects are small and few: then a watch shows the whole of them.
    pub fn is_watched_whole(self) -> bool {
        matches!(
            self,
            Self::ValidatingWebhookConfiguration | Self::MutatingWebhookConfiguration | Self::ApiService
        )
    }

    /// Whether a write costs the API servers much: each builds the storage of the defined resource anew, and all watches
    /// of its objects end.
    pub fn has_costly_writes(self) -> bool {
        matches!(self, Self::CustomResourceDefinition)
    }
}

/// One object that may get a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Kind.
    pub kind: TargetKind,
    /// Name, and namespace where the kind has one.
    pub name: ObjectName,
}

impl Target {
    /// The object with this metadata.
    pub fn of(kind: TargetKind, metadata: &ObjectMeta) -> Self {
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone().unwrap_or_default());
        Self { kind, name: ObjectName { namespace, name } }
    }

    /// A target without a namespace.
    pub fn cluster(kind: TargetKind, name: impl Into<String>) -> Self {
        Self { kind, name: ObjectName::cluster(name) }
    }

    /// The object as it is now, if it is there.
    ///
    /// # Errors
    /// When it cannot be read, or is not of the shape that its kind says.
    pub async fn read(&self, client: Client) -> kube::Result<Option<Live>> {
        let name = &self.name.name;
        Ok(match self.kind {
            TargetKind::Custom(custom) => {
                let object = self.api::<Trimmed<Whole>>(client).get_opt(name).await?;
                object.map(|object| Live::custom(custom, object))
            }
            kind => {
                let object = self.api::<Trimmed<LiveContent>>(client).get_opt(name).await?;
                object.map(|object| Live::new(kind, object))
            }
        })
    }

    /// Where objects such as this are.
    pub fn api<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
    {
        let resource = self.kind.resource();
        match &self.name.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind(), self.name)
    }
}
