//! The objects that announce the server to a cluster.

use std::net::SocketAddr;

use api::keys::annotation;
use serde_json::{Value, json};

/// The name of the Service, and of the slice with its endpoint.
const NAME: &str = "backend";

/// Where objects are converted.
pub(super) const CONVERT: &str = "/convert";

/// The versions of a gadget; the first one is stored.
pub(super) const GADGET_VERSIONS: [&str; 2] = ["v1", "v2"];

/// What the server serves to a test: `gadgets`, a custom resource of two versions, and `gauges`, which is aggregated.
/// Both live in namespaces, and their groups bear the test's name.
#[derive(Clone, Debug)]
pub struct Api {
    namespace: String,
}

impl Api {
    /// That of the test with this namespace.
    #[must_use]
    pub fn in_namespace(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    /// The namespace of the Service, and of the objects.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name under which the API server calls.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{NAME}.{}.svc", self.namespace)
    }

    /// The group of the gadgets.
    #[must_use]
    pub fn custom_group(&self) -> String {
        format!("gadgets.{}.signet.example", self.namespace)
    }

    /// The group of the gauges.
    #[must_use]
    pub fn aggregated_group(&self) -> String {
        format!("gauges.{}.signet.example", self.namespace)
    }

    /// The name of the gadgets' CustomResourceDefinition.
    #[must_use]
    pub fn definition_name(&self) -> String {
        format!("gadgets.{}", self.custom_group())
    }

    /// The name of the gauges' APIService.
    #[must_use]
    pub fn api_service_name(&self) -> String {
        format!("v1.{}", self.aggregated_group())
    }

    /// A gadget in its stored version, 3 in size, which is `spec.width` in `v2`.
    #[must_use]
    pub fn gadget(&self, name: &str) -> Value {
        json!({
            "apiVersion": format!("{}/v1", self.custom_group()),
            "kind": "Gadget",
            "metadata": {"name": name},
            "spec": {"size": 3},
        })
    }

    /// Everything that makes the API server call `address`. Definition and APIService ask for the CA in Secret `source`
    /// (`namespace/name`).
    #[must_use]
    pub fn announcement(&self, address: SocketAddr, source: &str) -> [Value; 4] {
        [self.service(), slice(address), self.definition(source), self.api_service(source)]
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": self.namespace},
            "spec": {"ports": [{"name": "https", "port": 443}]},
        })
    }

    fn definition(&self, source: &str) -> Value {
        let versions = GADGET_VERSIONS.map(|version| {
            json!({
                "name": version,
                "served": true,
                "storage": version == GADGET_VERSIONS[0],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }},
            })
        });
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.definition_name(),
                "annotations": {annotation::INJECT_CA_FROM_SECRET: source},
            },
            "spec": {
                "group": self.custom_group(),
                "scope": "Namespaced",
                "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
                "versions": versions,
                "conversion": {"strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": {"service": {
                        "namespace": self.namespace, "name": NAME, "port": 443, "path": CONVERT,
                    }},
                }},
            },
        })
    }

    fn api_service(&self, source: &str) -> Value {
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {
                "name": self.api_service_name(),
                "annotations": {annotation::INJECT_CA_FROM_SECRET: source},
            },
            "spec": {
                "group": self.aggregated_group(),
                "version": "v1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"namespace": self.namespace, "name": NAME, "port": 443},
            },
        })
    }
}

/// The Service's only endpoint, which no pod stands behind.
fn slice(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    })
}
