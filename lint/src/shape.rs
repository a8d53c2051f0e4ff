//! Whether an object has the shape that its schema wants, and what of it the API server would keep.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rules::{Fault, Finding, Rule};
use serde_json::{Map, Number, Value, json};

use crate::checks::{FORM, KNOWN, PRESENT, TYPE, UNIQUE, VALUE};
use crate::node::{Content, Entry, Node};
use crate::position::Position;
use crate::schema::{Schemas, join, places, properties};
use crate::similar::nearest;

/// Most findings about one object's shape. Nobody reads more, and each takes a search for what was meant.
const FINDINGS_MAX: usize = 100;
/// The member whose value is never shown.
const PASSWORD: &str = "password";
/// The format of fields of bytes.
const BYTES: &str = "byte";
/// How members end that refer to a Secret: what stands there instead of a reference may be the secret itself.
const REFERENCE: &str = "SecretRef";

/// What was found, and the object as the API server would pass it on.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) found: Vec<(Position, Finding)>,
    /// Without unknown members, with defaults, and with another value where one of the wrong type stands.
    pub(crate) object: Value,
}

/// Looks at a whole object.
pub(crate) fn of(node: &Node, root: &Value, schemas: &Schemas) -> Shape {
    let mut look = Look { schemas, root, found: Vec::new() };
    let object = look.value(root, Field { node, at: node.at, path: "" }).unwrap_or_else(|| json!({}));
    Shape { found: look.found, object }
}

struct Look<'a> {
    schemas: &'a Schemas,
    root: &'a Value,
    found: Vec<(Position, Finding)>,
}

/// A value with its key's place.
#[derive(Clone, Copy)]
struct Field<'n> {
    node: &'n Node,
    at: Position,
    path: &'n str,
}

impl Field<'_> {
    /// The value for a message; None where it must not be shown.
    fn shown(&self) -> Option<Value> {
        let member = self.path.rsplit('.').next().unwrap_or_default();
        let is_secret = member == PASSWORD || member.ends_with(REFERENCE) || holds_a_secret(self.node);
        (!is_secret).then(|| self.node.to_json())
    }
}

/// Whether there is a password somewhere in it, or something else than a reference where one belongs.
fn holds_a_secret(node: &Node) -> bool {
    let is_secret = |entry: &Entry| {
        let is_reference = matches!(entry.node.content, Content::Map(_));
        entry.key == PASSWORD
            || entry.key.ends_with(REFERENCE) && !is_reference
            || holds_a_secret(&entry.node)
    };
    match &node.content {
        Content::List(items) => items.iter().any(holds_a_secret),
        Content::Map(entries) => entries.iter().any(is_secret),
        _ => false,
    }
}

/// Adds the value, where it may be shown, to a finding.
fn show(field: Field<'_>, finding: &mut Finding) {
    if let Some(value) = field.shown() {
        finding.value(value);
    }
}

impl Look<'_> {
    fn tell(&mut self, field: Field<'_>, rule: &'static Rule, fault: Fault) -> &mut Finding {
        // The last one is written over once there are enough.
        self.found.truncate(FINDINGS_MAX - 1);
        self.found.push((field.at, Finding::new(rule, field.path.to_owned(), fault)));
        let last = self.found.len() - 1;
        &mut self.found[last].1
    }

    /// The value as the API server would keep it. None: its type is wrong, which has been told.
    fn value(&mut self, schema: &Value, field: Field<'_>) -> Option<Value> {
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or_default();
        if flag("x-kubernetes-int-or-string") {
            return self.int_or_string(schema, field);
        }
        match (schema.get("type").and_then(Value::as_str), &field.node.content) {
            (Some("object"), Content::Map(entries)) => Some(self.map(schema, field, entries)),
            (Some("array"), Content::List(items)) => Some(self.list(schema, field, items)),
            (Some("string"), Content::Text(text)) => self.text(schema, field, text),
            (Some("boolean"), Content::Bool { value, .. }) => Some(Value::Bool(*value)),
            (Some("integer"), Content::Number { value, .. }) => self.integer(schema, field, value),
            (Some("number"), Content::Number { value, .. }) => Some(Value::Number(value.clone())),
            (None, _) => Some(field.node.to_json()),
            (Some(wanted), _) => {
                let is_bytes = schema.get("format").and_then(Value::as_str) == Some(BYTES);
                self.wrong_type(field, wanted, !is_bytes);
                None
            }
        }
    }

    fn wrong_type(&mut self, field: Field<'_>, wanted: &str, may_show: bool) {
        let (is, advice) = (type_of(field.node), converted(field.node, wanted));
        let finding = self.tell(field, &TYPE, Fault::Invalid);
        finding.detail(format!("{is} where {} is wanted", type_name(wanted)));
        if let Some(value) = field.shown().filter(|_| may_show) {
            finding.value(value);
            if let Some(advice) = advice {
                finding.advice(format!("write {advice}"));
            }
        } else if wanted == "string" {
            finding.advice("write it in quotes");
        } else if field.path.ends_with(REFERENCE) {
            finding.advice("write the name of the Secret behind `name`");
        }
    }

    fn map(&mut self, schema: &Value, field: Field<'_>, entries: &[Entry]) -> Value {
        let known = properties(schema);
        let values = schema.get("additionalProperties").filter(|values| values.is_object());
        let is_open = known.is_none() && values.is_none()
            || schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        let mut seen: HashMap<&str, Position> = HashMap::new();
        let mut map = Map::new();
        for entry in entries {
            let path = join(field.path, &entry.key);
            let member = Field { node: &entry.node, at: entry.at, path: &path };
            if let Some(first) = seen.insert(&entry.key, entry.at) {
                self.tell(member, &UNIQUE, Fault::Duplicate)
                    .detail(format!("this key stands at {first} already"))
                    .advice("remove one");
                continue;
            }
            let inner = known.and_then(|known| known.get(&entry.key)).or(values);
            match inner {
                None if is_open => _ = map.insert(entry.key.clone(), entry.node.to_json()),
                None => self.unknown(schema, field.path, member, &entry.key),
                // The API server drops a null.
                Some(_) if matches!(entry.node.content, Content::Null) => {}
                Some(inner) => {
                    let value = self.value(inner, member);
                    map.insert(entry.key.clone(), value.unwrap_or_else(|| stand_in(&entry.node, inner)));
                }
            }
        }
        for (key, inner) in known.into_iter().flatten() {
            if let (Some(default), false) = (inner.get("default"), map.contains_key(key)) {
                map.insert(key.clone(), default.clone());
            }
        }
        self.required(schema, field, &map);
        Value::Object(map)
    }

    fn required(&mut self, schema: &Value, field: Field<'_>, map: &Map<String, Value>) {
        let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in names.filter_map(Value::as_str).filter(|name| !map.contains_key(*name)) {
            let path = join(field.path, name);
            self.tell(Field { path: &path, ..field }, &PRESENT, Fault::Required).advice("add it");
        }
    }

    /// A member that the kind does not have: with the nearest name, or the place where a member of this name belongs.
    fn unknown(&mut self, schema: &Value, parent: &str, member: Field<'_>, key: &str) {
        if self.found.len() >= FINDINGS_MAX {
            return; // The search would be for nothing.
        }
        let known = properties(schema).into_iter().flat_map(Map::keys).map(String::as_str);
        let near = nearest(key, known);
        let elsewhere = places(self.root, key);
        let finding = self.tell(member, &KNOWN, Fault::Forbidden);
        let detail = if parent.is_empty() {
            "no such field".to_owned()
        } else {
            format!("{parent} has no such field")
        };
        finding.detail(detail);
        if let [only] = elsewhere.as_slice() {
            finding.advice(format!("move it to {only}"));
        } else if let Some(near) = near {
            finding.advice(format!("write {near:?}"));
        } else {
            finding.advice("remove it: the API server would drop or refuse it");
        }
    }

    fn list(&mut self, schema: &Value, field: Field<'_>, items: &[Node]) -> Value {
        let inner = schema.get("items").unwrap_or(&Value::Null);
        let items = items.iter().enumerate().map(|(index, node)| {
            let path = format!("{}[{index}]", field.path);
            // An item of the wrong type leaves its place, so that the others keep their numbers.
            self.value(inner, Field { node, at: node.at, path: &path })
                .unwrap_or_else(|| stand_in(node, inner))
        });
        items.collect()
    }

    fn text(&mut self, schema: &Value, field: Field<'_>, text: &str) -> Option<Value> {
        let allowed = schema.get("enum").and_then(Value::as_array);
        let allowed: Option<Vec<&str>> =
            allowed.map(|allowed| allowed.iter().filter_map(Value::as_str).collect());
        if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(&text)) {
            self.not_allowed(field, text, &allowed);
        }
        let pattern = schema.get("pattern").and_then(Value::as_str);
        if let Some(pattern) = pattern.filter(|pattern| !self.schemas.matches(pattern, text)) {
            let is_quantity = schema.get("x-kubernetes-int-or-string").is_some();
            let finding = self.tell(field, &FORM, Fault::Invalid);
            show(field, finding);
            if is_quantity {
                finding
                    .detail("not a quantity")
                    .advice("write a number with a suffix, such as \"64Mi\" or \"500m\"");
            } else {
                finding.detail(format!("must match {pattern}"));
            }
        }
        let (number, length) = (|key| schema.get(key).and_then(Value::as_u64), text.chars().count());
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if let Some(most) = number("maxLength").filter(|most| length > *most) {
            self.tell(field, &FORM, Fault::TooLong).detail(format!("may have at most {most} characters"));
        }
        if let Some(least) = number("minLength").filter(|least| length < *least) {
            let finding = self.tell(field, &FORM, Fault::Invalid);
            show(field, finding);
            finding.detail(format!("must have at least {least} characters"));
        }
        if schema.get("format").and_then(Value::as_str) == Some(BYTES) {
            return self.bytes(field, text);
        }
        Some(Value::String(text.to_owned()))
    }

    fn not_allowed(&mut self, field: Field<'_>, text: &str, allowed: &[&str]) {
        let near = nearest(text, allowed.iter().copied());
        let finding = self.tell(field, &VALUE, Fault::NotSupported);
        show(field, finding);
        match near {
            Some(near) => finding.advice(format!("write {near:?}")),
            None => finding.advice(format!("write one of {}", allowed.join(", "))),
        };
    }

    /// Base64 in one line: the API server's pattern for `format: byte` matches neither line ends nor nothing at all.
    fn bytes(&mut self, field: Field<'_>, text: &str) -> Option<Value> {
        let line: String = text.chars().filter(|each| !matches!(each, '\r' | '\n')).collect();
        if STANDARD.decode(&line).is_ok() {
            if line.is_empty() {
                self.tell(field, &TYPE, Fault::Invalid)
                    .detail("empty, which is not base64")
                    .advice("leave it out");
            } else if line.len() < text.len() {
                self.tell(field, &TYPE, Fault::Invalid)
                    .detail("base64 with line ends in it, which the API server refuses")
                    .advice("write one line, as `base64 -w0` prints it");
            }
            return Some(Value::String(line));
        }
        // Never shown: it may be a key in base64 with one wrong character.
        let finding = self.tell(field, &TYPE, Fault::Invalid).detail("not base64");
        if text.contains("-----BEGIN") {
            finding.advice("encode the PEM text with `base64 -w0`");
        }
        None
    }

    fn integer(&mut self, schema: &Value, field: Field<'_>, value: &Number) -> Option<Value> {
        let Some(whole) = whole(value) else {
            self.wrong_type(field, "integer", true);
            return None;
        };
        if schema.get("format").and_then(Value::as_str) == Some("int32") && i32::try_from(whole).is_err() {
            let detail = format!("not between {} and {}", i32::MIN, i32::MAX);
            self.tell(field, &TYPE, Fault::Invalid).value(whole).detail(detail);
            return None;
        }
        let bound = |key: &str| schema.get(key).and_then(Value::as_i64);
        if let Some(least) = bound("minimum").filter(|least| whole < *least) {
            self.tell(field, &FORM, Fault::Invalid).value(whole).detail(format!("less than {least}"));
        }
        if let Some(most) = bound("maximum").filter(|most| whole > *most) {
            self.tell(field, &FORM, Fault::Invalid).value(whole).detail(format!("more than {most}"));
        }
        Some(whole.into())
    }

    fn int_or_string(&mut self, schema: &Value, field: Field<'_>) -> Option<Value> {
        match &field.node.content {
            Content::Text(text) => self.text(schema, field, text),
            Content::Number { value, .. } => Some(Value::Number(value.clone())),
            _ => {
                self.wrong_type(field, "string", true);
                None
            }
        }
    }
}

/// A number without a fraction.
fn whole(number: &Number) -> Option<i64> {
    /// Largest size below which each whole number is a float of its own.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT_MAX)?;
    format!("{float:.0}").parse().ok()
}

/// The value that stands for one of the wrong type: what was meant, where that is plain, so that nothing else seems to
/// be missing; else one that can be read and says nothing.
fn stand_in(node: &Node, schema: &Value) -> Value {
    let text = match &node.content {
        Content::Text(text) => Some(text.as_str()),
        Content::Bool { written, .. } | Content::Number { written, .. } => Some(written.as_str()),
        _ => None,
    };
    let items = schema.pointer("/items/type").and_then(Value::as_str);
    match (schema.get("type").and_then(Value::as_str), text) {
        (Some("object"), _) => json!({}),
        (Some("array"), Some(text)) if items == Some("string") => json!([text]),
        (Some("array"), _) => json!([]),
        (Some("boolean"), text) => json!(text == Some("true")),
        (Some("integer" | "number"), text) => {
            // A number that has just been refused does not fit; the smallest type is that of 32 bits.
            json!(text.and_then(|text| text.parse::<i32>().ok()).unwrap_or_default())
        }
        _ if schema.get("format").is_some() => json!(""),
        (_, text) => json!(text.unwrap_or_default()),
    }
}

fn type_of(node: &Node) -> &'static str {
    match node.content {
        Content::Null => "null",
        Content::Bool { .. } => "a boolean",
        Content::Number { .. } => "a number",
        Content::Text(_) => "text",
        Content::List(_) => "a list",
        Content::Map(_) => "a map",
    }
}

fn type_name(wanted: &str) -> &'static str {
    match wanted {
        "object" => "a map",
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "text",
    }
}

/// The same as the type that is wanted, where that is plain.
fn converted(node: &Node, wanted: &str) -> Option<String> {
    match (&node.content, wanted) {
        (Content::Bool { written, .. } | Content::Number { written, .. }, "string") => {
            Some(format!("{written:?}"))
        }
        (Content::Text(text), "boolean") if matches!(text.as_str(), "true" | "false") => Some(text.clone()),
        (Content::Text(text), "integer") if text.parse::<i64>().is_ok() => Some(text.clone()),
        (Content::Text(text), "array") => Some(json!([text]).to_string()),
        (Content::List(items), "string") => match items.as_slice() {
            [Node { content: Content::Text(text), .. }] => Some(format!("{text:?}")),
            _ => None,
        },
        _ => None,
    }
}
