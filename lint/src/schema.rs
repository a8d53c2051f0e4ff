//! What the CRDs say about fields: which there are, and of which type, value and form.

use std::collections::{BTreeSet, HashMap};

use regex::Regex;
use rules::Kind;
use serde_json::{Map, Value};

/// The schemas of all kinds, from the same source as the CRDs in `manifests/crds`.
#[derive(Debug)]
pub(crate) struct Schemas {
    kinds: HashMap<&'static str, Value>,
    patterns: HashMap<String, Regex>,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let metadata = api::crd::metadata();
        let mut kinds = HashMap::new();
        let mut patterns = BTreeSet::new();
        for (kind, mut definition) in api::crd::all().into_iter().filter_map(of_definition) {
            if let Some(slot) = definition.pointer_mut("/properties/metadata") {
                *slot = metadata.clone();
            }
            collect_patterns(&definition, &mut patterns);
            kinds.insert(kind.as_str(), definition);
        }
        let compiled = patterns.into_iter().filter_map(|pattern| {
            let regex = Regex::new(&pattern).ok()?;
            Some((pattern, regex))
        });
        Self { kinds, patterns: compiled.collect() }
    }

    /// The schema of a whole object.
    pub(crate) fn of(&self, kind: Kind) -> &Value {
        self.kinds.get(kind.as_str()).unwrap_or(&Value::Null)
    }

    /// Whether `text` has the form that a schema asks for.
    pub(crate) fn matches(&self, pattern: &str, text: &str) -> bool {
        self.patterns.get(pattern).is_none_or(|regex| regex.is_match(text))
    }
}

/// Kind and schema of a definition.
fn of_definition(mut definition: Value) -> Option<(Kind, Value)> {
    let name = definition.pointer("/spec/names/kind")?.as_str()?;
    let kind = Kind::ALL.iter().copied().find(|kind| kind.as_str() == name)?;
    let schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema")?.take();
    Some((kind, schema))
}

fn collect_patterns(schema: &Value, patterns: &mut BTreeSet<String>) {
    patterns.extend(schema.get("pattern").and_then(Value::as_str).map(ToOwned::to_owned));
    for inner in properties(schema).into_iter().flat_map(Map::values) {
        collect_patterns(inner, patterns);
    }
    for inner in [schema.get("items"), schema.get("additionalProperties")].into_iter().flatten() {
        collect_patterns(inner, patterns);
    }
}

/// The members that a map has.
pub(crate) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// The paths, from the object's root, of all members of this name. Lists are left out: which item would be meant?
pub(crate) fn places(schema: &Value, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect_places(schema, name, "", &mut found);
    found
}

fn collect_places(schema: &Value, name: &str, path: &str, found: &mut Vec<String>) {
    for (key, inner) in properties(schema).into_iter().flatten() {
        let path = join(path, key);
        // Nobody writes a status.
        if path != "status" {
            collect_places(inner, name, &path, found);
            if key == name {
                found.push(path);
            }
        }
    }
}

/// The path of a member.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_and_every_pattern_is_understood() {
        let schemas = Schemas::new();
        for kind in Kind::ALL {
            let schema = schemas.of(*kind);
            assert!(properties(schema).unwrap().contains_key("spec"), "{kind:?}");
            let metadata = properties(&schema["properties"]["metadata"]).unwrap();
            assert!(metadata.contains_key("annotations"), "{kind:?}");
            let mut patterns = BTreeSet::new();
            collect_patterns(schema, &mut patterns);
            for pattern in patterns {
                assert!(schemas.patterns.contains_key(&pattern), "{kind:?}: {pattern}");
            }
        }
    }

    #[test]
    fn a_field_is_found_wherever_it_belongs() {
        let schemas = Schemas::new();
        let of = |name| places(schemas.of(Kind::Certificate), name);
        assert_eq!(of("rotationPolicy"), ["spec.privateKey.rotationPolicy"]);
        assert_eq!(of("dnsNames"), ["spec.dnsNames"]);
        assert!(of("nonsense").is_empty());
    }
}
