//! The six CustomResourceDefinitions, generated from the types.
//!
//! A field's documentation becomes its description, and being written always makes it required
//! (schemars' serialize contract). What the types do not tell stands in the table below; what
//! schemars writes and Kubernetes does not want is removed in `normalise`.

use crate::schema::{API_DEFAULT, visit};
use crate::{
    Certificate, CertificateRequest, CertificateRequestSpec, CertificateRequestStatus, CertificateSpec,
    CertificateStatus, Challenge, ChallengeSpec, ChallengeStatus, ClusterIssuer, Issuer, IssuerSpec,
    IssuerStatus, Order, OrderSpec, OrderStatus, VERSION,
};
use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The definitions in apply order: the kinds that users write, then those of the ACME controller.
pub fn all() -> Vec<Value> {
    vec![
        definition::<Certificate, CertificateSpec, CertificateStatus>(&CERTIFICATE),
        definition::<CertificateRequest, CertificateRequestSpec, CertificateRequestStatus>(
            &CERTIFICATE_REQUEST,
        ),
        definition::<Issuer, IssuerSpec, IssuerStatus>(&ISSUER),
        definition::<ClusterIssuer, IssuerSpec, IssuerStatus>(&CLUSTER_ISSUER),
        definition::<Order, OrderSpec, OrderStatus>(&ORDER),
        definition::<Challenge, ChallengeSpec, ChallengeStatus>(&CHALLENGE),
    ]
}

/// The schema of `metadata`, which no definition tells because it is the same for every kind.
pub fn metadata() -> Value {
    type_schema::<ObjectMeta>()
}

/// What a definition says beyond the types.
struct Kind {
    description: &'static str,
    scope: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    columns: &'static [Column],
    /// Whether `kubectl get --field-selector` can choose by issuer.
    selects_issuer: bool,
    /// Members of the object itself that must be there.
    required: &'static [&'static str],
}

/// A column of `kubectl get`.
struct Column {
    name: &'static str,
    path: &'static str,
    type_: &'static str,
    /// Shown with `-o wide` only.
    wide: bool,
}

const fn column(name: &'static str, path: &'static str) -> Column {
    Column { name, path, type_: "string", wide: false }
}

const fn wide(name: &'static str, path: &'static str) -> Column {
    Column { name, path, type_: "string", wide: true }
}

const AGE: Column = Column { name: "Age", path: ".metadata.creationTimestamp", type_: "date", wide: false };
const READY: Column = column("Ready", r#".status.conditions[?(@.type == "Ready")].status"#);
const STATUS: Column = wide("Status", r#".status.conditions[?(@.type == "Ready")].message"#);
const STATE: Column = column("State", ".status.state");
const REASON: Column = wide("Reason", ".status.reason");

const OWN: &[&str] = &["cert-manager"];
const ACME: &[&str] = &["cert-manager", "cert-manager-acme"];

const CERTIFICATE: Kind = Kind {
    description: "Asks for a signed certificate and its key, kept in a Secret and renewed before \
                  they expire.",
    scope: "Namespaced",
    short_names: &["cert", "certs"],
    categories: OWN,
    columns: &[
        READY,
        column("Secret", ".spec.secretName"),
        wide("Issuer", ".spec.issuerRef.name"),
        STATUS,
        wide("Expiration", ".status.notAfter"),
        AGE,
    ],
    selects_issuer: true,
    required: &[],
};

const CERTIFICATE_REQUEST: Kind = Kind {
    description: "Asks an issuer to sign one PKCS#10 request. It is answered once and never \
                  changes. Certificates make these by themselves.",
    scope: "Namespaced",
    short_names: &["cr", "crs"],
    categories: OWN,
    columns: &[
        column("Approved", r#".status.conditions[?(@.type == "Approved")].status"#),
        column("Denied", r#".status.conditions[?(@.type == "Denied")].status"#),
        READY,
        column("Issuer", ".spec.issuerRef.name"),
        column("Requester", ".spec.username"),
        STATUS,
        AGE,
    ],
    selects_issuer: true,
    required: &[],
};

const ISSUER: Kind = Kind {
    description: "A way to get certificates signed, for the objects of its own namespace.",
    scope: "Namespaced",
    short_names: &["iss"],
    categories: OWN,
    columns: &[READY, STATUS, AGE],
    selects_issuer: false,
    required: &["spec"],
};

const CLUSTER_ISSUER: Kind = Kind {
    description: "A way to get certificates signed, for the objects of every namespace. Its \
                  Secrets are read from the cluster resource namespace.",
    scope: "Cluster",
    short_names: &["ciss"],
    categories: OWN,
    columns: &[READY, STATUS, AGE],
    selects_issuer: false,
    required: &["spec"],
};

const ORDER: Kind = Kind {
    description: "An order at an ACME server. The controller makes and deletes it; do not make \
                  one by hand.",
    scope: "Namespaced",
    short_names: &[],
    categories: ACME,
    columns: &[STATE, wide("Issuer", ".spec.issuerRef.name"), REASON, AGE],
    selects_issuer: true,
    required: &["metadata", "spec"],
};

const CHALLENGE: Kind = Kind {
    description: "The proof for one name of an Order. The controller makes and deletes it; do \
                  not make one by hand.",
    scope: "Namespaced",
    short_names: &[],
    categories: ACME,
    columns: &[STATE, column("Domain", ".spec.dnsName"), REASON, AGE],
    selects_issuer: true,
    required: &["metadata", "spec"],
};

fn definition<R: Resource, Spec: JsonSchema, Status: JsonSchema>(kind: &Kind) -> Value {
    let singular = R::KIND.to_ascii_lowercase();
    let mut names = json!({
        "kind": R::KIND,
        "listKind": format!("{}List", R::KIND),
        "plural": R::URL_PATH_SEGMENT,
        "singular": singular,
        "categories": kind.categories,
    });
    if !kind.short_names.is_empty() {
        names["shortNames"] = json!(kind.short_names);
    }
    let mut version = json!({
        "name": VERSION,
        "served": true,
        "storage": true,
        "subresources": { "status": {} },
        "additionalPrinterColumns": kind.columns.iter().map(printer_column).collect::<Vec<_>>(),
        "schema": { "openAPIV3Schema": object_schema::<Spec, Status>(kind) },
    });
    if kind.selects_issuer {
        let fields = ["group", "kind", "name"];
        version["selectableFields"] =
            fields.map(|field| json!({ "jsonPath": format!(".spec.issuerRef.{field}") })).into();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", R::URL_PATH_SEGMENT, R::GROUP) },
        "spec": {
            "group": R::GROUP,
            "names": names,
            "scope": kind.scope,
            "versions": [version],
        },
    })
}

fn printer_column(column: &Column) -> Value {
    let mut value = json!({ "name": column.name, "type": column.type_, "jsonPath": column.path });
    if column.wide {
        value["priority"] = 1.into();
    }
    value
}

fn object_schema<Spec: JsonSchema, Status: JsonSchema>(kind: &Kind) -> Value {
    let mut schema = json!({
        "description": kind.description,
        "type": "object",
        "properties": {
            "apiVersion": {
                "description": "API group and version of this object.",
                "type": "string",
            },
            "kind": { "description": "Kind of this object.", "type": "string" },
            "metadata": { "type": "object" },
            "spec": type_schema::<Spec>(),
            "status": type_schema::<Status>(),
        },
    });
    if !kind.required.is_empty() {
        schema["required"] = json!(kind.required);
    }
    schema
}

fn type_schema<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    visit(&mut schema, &mut normalise);
    schema
}

/// Turns one node of a JSON schema into what Kubernetes calls structural, and what the API means.
fn normalise(node: &mut Map<String, Value>) {
    drop_null(node);
    for foreign in ["title", "default"] {
        node.remove(foreign);
    }
    if let Some(default) = node.remove(API_DEFAULT) {
        node.insert("default".to_owned(), default);
    }
    if let Some(Value::String(text)) = node.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    // Lists are replaced as a whole unless they say otherwise, also by server-side apply. Lists
    // that are the values of a map carry no mark.
    let properties = node.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(|properties| properties.values_mut()) {
        let Some(property) = property.as_object_mut() else {
            continue;
        };
        let is_list = property.contains_key("items");
        if is_list && !property.contains_key("x-kubernetes-list-type") {
            property.insert("x-kubernetes-list-type".to_owned(), "atomic".into());
        }
    }
}

/// An absent field is absent; the API knows no `null`, which schemars allows for each `Option`.
fn drop_null(node: &mut Map<String, Value>) {
    let null = Value::from("null");
    if let Some(Value::Array(types)) = node.get_mut("type") {
        types.retain(|type_| *type_ != null);
        if let [only] = types.as_slice() {
            let only = only.clone();
            node.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(branches)) = node.get_mut("anyOf") else {
        return;
    };
    branches.retain(|branch| branch.get("type") != Some(&null));
    if let [Value::Object(only)] = branches.as_slice() {
        let only = only.clone();
        node.remove("anyOf");
        for (key, value) in only {
            // The description of the field is nearer than that of its type.
            node.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `check` with the path and the schema of everything below `schema`.
    fn walk(path: &str, schema: &Value, check: &mut impl FnMut(&str, &Value)) {
        check(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, check);
        }
        for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let Some(inner) = schema.get(key) {
                walk(&format!("{path}{mark}"), inner, check);
            }
        }
    }

    fn roots() -> Vec<(String, Value)> {
        let kind = |crd: &Value| crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = |crd: &Value| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        all().iter().map(|crd| (kind(crd), schema(crd))).collect()
    }

    #[test]
    fn no_schema_holds_what_a_structural_schema_must_not() {
        const FOREIGN: &[&str] =
            &["$ref", "$defs", "$schema", "anyOf", "oneOf", "nullable", "title", API_DEFAULT];
        for (kind, root) in roots() {
            walk(&kind, &root, &mut |path, schema| {
                for key in FOREIGN {
                    assert!(schema.get(key).is_none(), "{path} has {key}");
                }
                assert!(schema["type"].is_null() || schema["type"].is_string(), "{path}");
            });
        }
    }

    #[test]
    fn every_field_of_ours_is_described() {
        // Kubernetes' own types keep their structure but not their texts.
        const UPSTREAM: &[&str] =
            &[".affinity.", ".tolerations[]", ".seLinuxOptions.", ".seccompProfile.", ".sysctls[]"];
        for (kind, root) in roots() {
            walk(&kind, &root, &mut |path, schema| {
                let upstream = UPSTREAM.iter().any(|part| path.contains(part));
                let is_value = path.ends_with("[]") || path.ends_with("{}");
                if upstream || is_value || path.ends_with(".metadata") {
                    return;
                }
                let text = schema["description"].as_str().unwrap_or_default();
                assert!(text.ends_with('.') && !text.contains('\n'), "{path}: {text:?}");
            });
        }
    }

    #[test]
    fn generating_twice_gives_the_same() {
        assert_eq!(all(), all());
    }
}
