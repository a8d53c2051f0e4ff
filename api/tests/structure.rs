//! Holds the generated CRDs against the published structure of the API: every path with its type,
//! enum, default, pattern, limits and list type, and the names, columns and selectable fields.
//!
//! The reference lies beside the repository and is not part of it. `SIGNET_CRD_STRUCTURE` names
//! another place; without the file the test says so and passes.

use api::crd;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

/// Place of the reference, from this crate's folder.
const REFERENCE: &str = "../../shared/data/crd-structure.json";
/// Names another place.
const REFERENCE_VARIABLE: &str = "SIGNET_CRD_STRUCTURE";

/// Members of a schema that are structure; the rest is documentation.
const FACETS: &[&str] = &[
    "type",
    "format",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "nullable",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
];

#[test]
fn the_structure_of_every_crd_is_that_of_the_published_api() {
    let path = std::env::var_os(REFERENCE_VARIABLE)
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(REFERENCE), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(&path) else {
        // Not by println!, which the test runner keeps to itself when a test passes.
        let mut stderr = std::io::stderr();
        let _ = writeln!(stderr, "skipped: no reference at {} (set {REFERENCE_VARIABLE})", path.display());
        return;
    };
    let reference: Value = serde_json::from_str(&text).expect("the reference is JSON");
    let ours: Map<String, Value> = crd::all().iter().map(structure).collect();

    let mut differences = Vec::new();
    compare("", &reference, &Value::Object(ours), &mut differences);
    assert!(
        differences.is_empty(),
        "{} differences from the published API:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn a_difference_is_reported_with_its_path_and_both_values() {
    let mut differences = Vec::new();
    compare("", &json!({"a": {"b": 1, "c": 2}}), &json!({"a": {"b": 3, "d": 4}}), &mut differences);
    assert_eq!(
        differences,
        ["/a/b: published 1, ours 3", "/a/c: published 2, ours absent", "/a/d: published absent, ours 4"]
    );
}

/// A definition in the form of the reference.
fn structure(definition: &Value) -> (String, Value) {
    let spec = &definition["spec"];
    let version = &spec["versions"][0];
    let fields = version["selectableFields"].as_array().into_iter().flatten();
    let mut schema = Map::new();
    flatten("", &version["schema"]["openAPIV3Schema"], false, &mut schema);
    let structure = json!({
        "group": spec["group"],
        "names": spec["names"],
        "scope": spec["scope"],
        "version": version["name"],
        "subresources": version["subresources"],
        "printerColumns": version["additionalPrinterColumns"],
        "selectableFields": fields.map(|field| field["jsonPath"].clone()).collect::<Vec<_>>(),
        "schema": schema,
    });
    (spec["names"]["kind"].as_str().expect("a kind").to_owned(), structure)
}

/// Every path below a schema with its facets: `[]` marks items, `{}` the values of a map.
fn flatten(path: &str, schema: &Value, required: bool, into: &mut Map<String, Value>) {
    let mut facets = Map::new();
    for facet in FACETS {
        if let Some(value) = schema.get(facet) {
            facets.insert((*facet).to_owned(), value.clone());
        }
    }
    if required {
        facets.insert("required".to_owned(), true.into());
    }
    if let Some(rules) = schema["x-kubernetes-validations"].as_array() {
        facets.insert("cel".to_owned(), rules.iter().map(|rule| rule["rule"].clone()).collect());
    }
    let name = if path.is_empty() { "." } else { path };
    into.insert(name.to_owned(), facets.into());

    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        flatten(&format!("{path}{dot}{name}"), property, required.contains(name.as_str()), into);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(key) {
            flatten(&format!("{path}{mark}"), inner, false, into);
        }
    }
}

fn compare(path: &str, published: &Value, ours: &Value, differences: &mut Vec<String>) {
    if let (Value::Object(published), Value::Object(ours)) = (published, ours) {
        let keys: BTreeSet<&String> = published.keys().chain(ours.keys()).collect();
        for key in keys {
            let path = format!("{path}/{key}");
            match (published.get(key), ours.get(key)) {
                (Some(published), Some(ours)) => compare(&path, published, ours, differences),
                (Some(published), None) => {
                    differences.push(format!("{path}: published {published}, ours absent"));
                }
                (None, Some(ours)) => {
                    differences.push(format!("{path}: published absent, ours {ours}"));
                }
                (None, None) => {}
            }
        }
    } else if published != ours {
        differences.push(format!("{path}: published {published}, ours {ours}"));
    }
}
