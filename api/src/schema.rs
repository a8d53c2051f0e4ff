//! Schemas of fields whose Rust type does not tell the whole story.

use k8s_openapi::api::core::v1::{Affinity, SELinuxOptions, SeccompProfile, Sysctl, Toleration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// Key under which a field's own API default is noted.
///
/// The derive writes Rust's defaults under `default`; those are dropped by [`crate::crd`], which
/// then turns this key into the default that the API server applies.
pub(crate) const API_DEFAULT: &str = "x-api-default";

/// Resource quantities as the API server's own schema spells them (apimachinery's Quantity).
const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Base64 text.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "byte" })
}

/// An integer whose width the API leaves open.
pub(crate) fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer" })
}

/// Any JSON, kept as it is.
pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// Resource names with a quantity each.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": true,
        },
    })
}

/// core/v1 Affinity, as on a pod.
pub(crate) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    upstream::<Affinity>(generator)
}

/// core/v1 tolerations, as on a pod.
pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    upstream::<Vec<Toleration>>(generator)
}

/// core/v1 SELinuxOptions, as on a pod.
pub(crate) fn se_linux_options(generator: &mut SchemaGenerator) -> Schema {
    upstream::<SELinuxOptions>(generator)
}

/// core/v1 SeccompProfile, as on a pod.
pub(crate) fn seccomp_profile(generator: &mut SchemaGenerator) -> Schema {
    upstream::<SeccompProfile>(generator)
}

/// core/v1 sysctls, as on a pod.
pub(crate) fn sysctls(generator: &mut SchemaGenerator) -> Schema {
    upstream::<Vec<Sysctl>>(generator)
}

/// Schema of a Kubernetes type: its whole structure without its texts, which Kubernetes documents
/// itself and which would make up most of our CRDs.
fn upstream<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut value = T::json_schema(generator).to_value();
    visit(&mut value, &mut |node| {
        node.remove("description");
        if is_atomic_map(node) {
            node.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
    });
    value.try_into().unwrap_or_default()
}

/// Selectors are replaced as a whole by server-side apply. k8s-openapi does not carry that mark,
/// so they are known by their members: LabelSelector, NodeSelectorTerm and NodeSelector.
fn is_atomic_map(node: &Map<String, Value>) -> bool {
    let Some(properties) = node.get("properties").and_then(Value::as_object) else {
        return false;
    };
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_unstable();
    matches!(
        names.as_slice(),
        ["matchExpressions", "matchLabels"] | ["matchExpressions", "matchFields"] | ["nodeSelectorTerms"]
    )
}

/// Calls `edit` for this schema and each schema in it, outermost first.
pub(crate) fn visit(schema: &mut Value, edit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Some(node) = schema.as_object_mut() else {
        return;
    };
    edit(node);
    if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            visit(property, edit);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = node.get_mut(key) {
            visit(inner, edit);
        }
    }
}
