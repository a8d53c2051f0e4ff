//! What a user may change about the pod that answers HTTP-01 challenges.

use crate::certificate::MetadataTemplate;
use crate::schema;
use crate::text::non_empty;
use k8s_openapi::api::core::v1::{Affinity, SELinuxOptions, SeccompProfile, Sysctl, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Changes to the solver pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// Labels and annotations to add; one that we set ourselves is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataTemplate>,
    /// Where and as whom the pod runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<PodSpec>>,
}

/// The part of a pod's spec that may be changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Labels that the node must bear, all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Rules that draw the pod to nodes and to other pods, or keep it away from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::affinity")]
    pub affinity: Option<Box<Affinity>>,
    /// Taints of nodes that the pod puts up with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Priority class of the pod.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub priority_class_name: Option<String>,
    /// Service account of the pod.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub service_account_name: Option<String>,
    /// Secrets with which the solver's image is pulled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
    ))]
    pub image_pull_secrets: Vec<ImagePullSecret>,
    /// As whom the pod runs. It replaces our own settings as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<Box<PodSecurityContext>>,
    /// Resources of the solver's container. They replace the controller's defaults one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// A Secret with credentials of an image registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ImagePullSecret {
    /// Name of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-api-default" = ""))]
    pub name: Option<String>,
}

/// Security settings of the whole pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    /// SELinux label of all containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::se_linux_options")]
    pub se_linux_options: Option<Box<SELinuxOptions>>,
    /// User id of the first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<i64>,
    /// Group id of the first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<i64>,
    /// Whether a container that would run as root is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    /// Further group ids of the first process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supplemental_groups: Vec<i64>,
    /// Group id that owns the pod's volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_group: Option<i64>,
    /// Kernel parameters of the pod's namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::sysctls")]
    pub sysctls: Vec<Sysctl>,
    /// When the ownership of volumes is changed: Always or OnRootMismatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_group_change_policy: Option<String>,
    /// System call filter of all containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::seccomp_profile")]
    pub seccomp_profile: Option<SeccompProfile>,
}

/// Resources of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// The most that the container may use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, Quantity>,
    /// What the container is sure to have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, Quantity>,
}
