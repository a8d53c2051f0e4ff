//! HTTP-01 solvers.

use crate::acme::pod_template::PodTemplate;
use crate::certificate::MetadataTemplate;
use crate::text::non_empty;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Proof over HTTP. Exactly one of ingress and gatewayHTTPRoute is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Http01Solver {
    /// Leads the server's request to the answer by an Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Box<IngressSolver>>,
    /// Leads the server's request to the answer by an HTTPRoute of the Gateway API.
    #[serde(rename = "gatewayHTTPRoute", skip_serializing_if = "Option::is_none")]
    pub gateway_http_route: Option<Box<GatewayHttpRouteSolver>>,
}

/// An Ingress made for each challenge, or one that is edited. At most one of class,
/// ingressClassName and name is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSolver {
    /// Type of the Service in front of the solver pod: ClusterIP or NodePort. NodePort when it is
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub service_type: Option<String>,
    /// spec.ingressClassName of the Ingress that is made. The way to choose a controller today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_class_name: Option<String>,
    /// Annotation kubernetes.io/ingress.class of the Ingress that is made, for controllers that
    /// know nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// An existing Ingress into which the path is written, for controllers that give each Ingress
    /// its own address.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// Changes to the solver pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Box<PodTemplate>>,
    /// Changes to the Ingress that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_template: Option<IngressTemplate>,
}

/// Changes to an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTemplate {
    /// Labels and annotations to add; one that we set ourselves is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataTemplate>,
}

/// An HTTPRoute made for each challenge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayHttpRouteSolver {
    /// Type of the Service in front of the solver pod: ClusterIP or NodePort. NodePort when it is
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub service_type: Option<String>,
    /// Labels for the HTTPRoute, for Gateways that choose routes by label.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Gateways to which the HTTPRoute is attached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Changes to the solver pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Box<PodTemplate>>,
}

/// A parent of a route, as in the Gateway API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentReference {
    /// API group of the parent; empty for the core group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend(
        "pattern" = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "x-api-default" = "gateway.networking.k8s.io",
    ))]
    pub group: Option<String>,
    /// Kind of the parent: Gateway or ListenerSet, or Service for a mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend(
        "pattern" = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
        "x-api-default" = "Gateway",
    ))]
    pub kind: Option<String>,
    /// Name of the parent.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the parent, which must allow routes from elsewhere. That of the challenge when
    /// it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend(
        "pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    ))]
    pub namespace: Option<String>,
    /// Listener of the parent. All listeners when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend(
        "pattern" = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ))]
    pub section_name: Option<String>,
    /// Port of the parent. All ports when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

impl ParentReference {
    /// The kind given, else Gateway.
    pub fn kind_or_default(&self) -> &str {
        self.kind.as_deref().unwrap_or("Gateway")
    }

    /// The API group given, else that of the Gateway API.
    pub fn group_or_default(&self) -> &str {
        self.group.as_deref().unwrap_or("gateway.networking.k8s.io")
    }
}
