//! Custom resources that the operator has declared to be targets, each with the field that holds its bundle.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::ByteString;
use kube::core::ApiResource;
use runtime::trimmed::Keep;
use serde::Deserialize as _;
use serde::de::MapAccess;
use serde_json::{Map, Value, json};

use super::TargetKind;

/// Most members on the way to a field.
const STEPS_MAX: usize = 8;

/// Longest part of a declaration (RFC 1123 subdomain).
const PART_LENGTH_MAX: usize = 253;

/// Members that the API server or others write, whatever the kind.
const RESERVED: &[&str] = &["apiVersion", "kind", "metadata", "status"];

/// A custom resource, and where its objects hold their bundle: `GROUP/VERSION/RESOURCE:PATH[:base64|pem]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomTarget {
    /// API group.
    pub group: String,
    /// Version of it that has the field.
    pub version: String,
    /// Resource, in the plural.
    pub plural: String,
    /// Members on the way to the field, itself included: two at least.
    pub path: Vec<String>,
    /// How the field holds a bundle.
    pub encoding: Encoding,
    /// Resource and group, by which the kind goes in metrics and messages.
    pub name: String,
}

/// How a field holds a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// PEM in base64, as the API's own `caBundle` fields.
    Base64,
    /// PEM.
    Text,
}

/// All of an object but its metadata.
#[derive(Debug, Clone, Default)]
pub struct Whole(Map<String, Value>);

impl Keep for Whole {
    const OWNERS: bool = true;

    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.0.insert(name.to_owned(), map.next_value()?);
        Ok(())
    }
}

/// The declared field of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomField {
    /// Where it is.
    pub target: &'static CustomTarget,
    /// What the kind of the object is called.
    pub kind: String,
    /// The bundle as it is; empty where the field is absent or at fault.
    pub bundle: Vec<u8>,
    /// What keeps a bundle from being there.
    pub fault: Option<Fault>,
}

/// Why a field cannot have a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What it would be in is absent, or no object.
    Homeless,
    /// It has something that is no text.
    NoText,
    /// It has text that is no base64.
    NoBase64,
}

impl CustomField {
    /// The field in an object.
    pub(super) fn of(target: &'static CustomTarget, object: &Whole) -> Self {
        let kind = object.0.get("kind").and_then(Value::as_str).unwrap_or(&target.plural).to_owned();
        let (bundle, fault) = match target.bundle(&object.0) {
            Ok(bundle) => (bundle, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        Self { target, kind, bundle, fault }
    }

    /// What keeps a bundle from being there, and what would be right.
    pub fn told(&self) -> Option<String> {
        let path = self.target.path.join(".");
        Some(match self.fault? {
            Fault::Homeless => {
                let home = path.rsplit_once('.').map_or("", |(home, _)| home);
                format!("there is no {home} that the bundle {path} would be for")
            }
            Fault::NoText => format!("{path} is no text: --inject-target names another kind of field"),
            Fault::NoBase64 => {
                format!("{path} is no base64: take it out, or put :pem behind the path in --inject-target")
            }
        })
    }

    /// The members of an apply that sets this bundle.
    pub(super) fn body(&self, bundle: &str) -> Map<String, Value> {
        let leaf = match self.target.encoding {
            Encoding::Base64 => json!(ByteString(bundle.as_bytes().to_vec())),
            Encoding::Text => json!(bundle),
        };
        self.target.nested("", leaf)
    }
}

/// A declaration that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// It has other parts.
    #[error("write GROUP/VERSION/RESOURCE:PATH, with :pem behind it where the field is no base64")]
    Form,
    /// A part could not be one of an API.
    #[error("{0:?} is no group, version or resource of an API")]
    Part(String),
    /// The kind is not a custom resource.
    #[error("{0} are no custom resources: there are flags of their own for those that get bundles")]
    BuiltIn(String),
    /// The way to the field is none.
    #[error(
        "{0:?} is no path to a field: write two to {STEPS_MAX} members with dots between them, such as spec.caBundle, \
         of letters, digits, - and _, and not in metadata or status"
    )]
    Path(String),
    /// The encoding is unknown.
    #[error("{0:?} is no encoding: write base64 or pem")]
    Encoding(String),
}

impl CustomTarget {
    /// Group, version and plural. What the kind is called is known from its objects alone.
    pub fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: format!("{}/{}", self.group, self.version),
            kind: self.plural.clone(),
            plural: self.plural.clone(),
        }
    }

    fn bundle(&self, object: &Map<String, Value>) -> Result<Vec<u8>, Fault> {
        let (field, home) = self.path.split_last().ok_or(Fault::Homeless)?;
        let mut within = object;
        for step in home {
            within = within.get(step).and_then(Value::as_object).ok_or(Fault::Homeless)?;
        }
        match (within.get(field), self.encoding) {
            (None | Some(Value::Null), _) => Ok(Vec::new()),
            (Some(Value::String(text)), Encoding::Text) => Ok(text.clone().into_bytes()),
            (Some(text @ Value::String(_)), Encoding::Base64) => {
                ByteString::deserialize(text).map(|bytes| bytes.0).map_err(|_| Fault::NoBase64)
            }
            _ => Err(Fault::NoText),
        }
    }

    /// `leaf` at the place of the field, with `prefix` before the name of each member.
    pub fn nested(&self, prefix: &str, leaf: Value) -> Map<String, Value> {
        let nest =
            |value: Value, step: &String| Value::Object(Map::from_iter([(format!("{prefix}{step}"), value)]));
        match self.path.iter().rev().fold(leaf, nest) {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// Whether both are about the same objects; then an apply for the one would give up the field of the other.
    pub fn meets(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for CustomTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, version, plural, path, encoding, .. } = self;
        let encoding = match encoding {
            Encoding::Base64 => "base64",
            Encoding::Text => "pem",
        };
        write!(f, "{group}/{version}/{plural}:{}:{encoding}", path.join("."))
    }
}

impl FromStr for CustomTarget {
    type Err = DeclarationError;

    fn from_str(text: &str) -> Result<Self, DeclarationError> {
        let (resource, field) = text.split_once(':').ok_or(DeclarationError::Form)?;
        let parts: Vec<&str> = resource.split('/').collect();
        let [group, version, plural] = parts.as_slice() else { return Err(DeclarationError::Form) };
        if let Some(wrong) = parts.iter().find(|part| !is_part(part)) {
            return Err(DeclarationError::Part((*wrong).to_owned()));
        }
        let name = format!("{plural}.{group}");
        let is_known = |kind: &TargetKind| kind.resource().group == **group;
        // Groups without a dot are Kubernetes' own.
        if !group.contains('.') || TargetKind::ALL.iter().any(is_known) {
            return Err(DeclarationError::BuiltIn(name));
        }
        let (path, encoding) = match field.split_once(':') {
            None | Some((_, "base64")) => (field.split(':').next().unwrap_or_default(), Encoding::Base64),
            Some((path, "pem")) => (path, Encoding::Text),
            Some((_, other)) => return Err(DeclarationError::Encoding(other.to_owned())),
        };
        let steps: Vec<String> = path.split('.').map(ToOwned::to_owned).collect();
        let is_reserved = steps.first().is_some_and(|root| RESERVED.contains(&root.as_str()));
        if !(2..=STEPS_MAX).contains(&steps.len()) || is_reserved || !steps.iter().all(|step| is_member(step))
        {
            return Err(DeclarationError::Path(path.to_owned()));
        }
        let [group, version, plural] = [group, version, plural].map(|part| (*part).to_owned());
        Ok(Self { group, version, plural, path: steps, encoding, name })
    }
}

/// Such parts need no quoting in a request's path or in CEL.
fn is_part(part: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=PART_LENGTH_MAX).contains(&part.len()) && part.bytes().all(allowed)
}

fn is_member(step: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=PART_LENGTH_MAX).contains(&step.len()) && step.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_that_cannot_be_followed_is_refused() {
        let long = ["a"; STEPS_MAX + 1].join(".");
        for (text, expected) in [
            ("", "write GROUP/VERSION/RESOURCE:PATH"),
            ("example.test/v1/meshes", "write GROUP/VERSION/RESOURCE:PATH"),
            ("v1/meshes:spec.ca", "write GROUP/VERSION/RESOURCE:PATH"),
            ("example.test/v1/meshes/status:spec.ca", "write GROUP/VERSION/RESOURCE:PATH"),
            ("example.test/v1/:spec.ca", "\"\" is no group, version or resource"),
            ("example.test/v1/Meshes:spec.ca", "\"Meshes\" is no group, version or resource"),
            ("example.test/v1/a'b:spec.ca", "\"a'b\" is no group, version or resource"),
            ("apps/v1/deployments:spec.ca", "deployments.apps are no custom resources"),
            (
                "apiextensions.k8s.io/v1/customresourcedefinitions:spec.ca",
                "customresourcedefinitions.apiextensions.k8s.io are no custom resources",
            ),
            ("example.test/v1/meshes:", "\"\" is no path to a field"),
            ("example.test/v1/meshes:ca", "\"ca\" is no path to a field"),
            ("example.test/v1/meshes:spec..ca", "\"spec..ca\" is no path to a field"),
            ("example.test/v1/meshes:spec.a[0]", "\"spec.a[0]\" is no path to a field"),
            ("example.test/v1/meshes:metadata.labels", "\"metadata.labels\" is no path to a field"),
            ("example.test/v1/meshes:status.ca", "\"status.ca\" is no path to a field"),
            (&format!("example.test/v1/meshes:{long}"), "\"a.a.a.a.a.a.a.a.a\" is no path to a field"),
            ("example.test/v1/meshes:spec.ca:der", "\"der\" is no encoding"),
        ] {
            let error = text.parse::<CustomTarget>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    fn field(text: &str, object: Value) -> CustomField {
        let target: &'static CustomTarget = Box::leak(Box::new(text.parse().unwrap()));
        let Value::Object(object) = object else { panic!("{object}") };
        CustomField::of(target, &Whole(object))
    }

    #[test]
    fn a_field_that_can_have_no_bundle_is_told() {
        let path = "example.test/v1/meshes:spec.tls.ca";
        for (text, object, expected) in [
            (path, json!({}), "there is no spec.tls that the bundle spec.tls.ca would be for"),
            (
                path,
                json!({"spec": {"tls": []}}),
                "there is no spec.tls that the bundle spec.tls.ca would be for",
            ),
            (
                path,
                json!({"spec": {"tls": {"ca": {}}}}),
                "spec.tls.ca is no text: --inject-target names another kind of field",
            ),
            (
                path,
                json!({"spec": {"tls": {"ca": "-----BEGIN"}}}),
                "spec.tls.ca is no base64: take it out, or put :pem behind the path in --inject-target",
            ),
        ] {
            assert_eq!(field(text, object).told().as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_bundle_is_read_and_written_as_the_field_holds_it() {
        for (text, held, written) in [
            ("example.test/v1/meshes:spec.tls.ca", "b2xk", "bmV3"),
            ("example.test/v1/meshes:spec.tls.ca:pem", "old", "new"),
        ] {
            let object = json!({"kind": "Mesh", "spec": {"tls": {"ca": held, "mode": "on"}, "size": 3}});
            let field = field(text, object);
            assert_eq!((field.bundle.as_slice(), field.fault, &*field.kind), (&b"old"[..], None, "Mesh"));
            assert_eq!(Value::Object(field.body("new")), json!({"spec": {"tls": {"ca": written}}}));
        }
        for empty in [json!({}), json!({"ca": null}), json!({"ca": ""})] {
            let object = json!({"spec": {"tls": empty}});
            assert_eq!(field("example.test/v1/meshes:spec.tls.ca", object).bundle, b"");
        }
    }

    #[test]
    fn a_declaration_names_a_field_and_how_it_is_written() {
        for (text, path, encoding) in [
            ("example.test/v1/meshes:spec.tls.ca-bundle", ["spec", "tls", "ca-bundle"], Encoding::Base64),
            ("example.test/v1/meshes:spec.tls.ca:base64", ["spec", "tls", "ca"], Encoding::Base64),
            ("example.test/v1/meshes:spec.tls.ca:pem", ["spec", "tls", "ca"], Encoding::Text),
        ] {
            let parsed: CustomTarget = text.parse().unwrap();
            assert_eq!((parsed.path.as_slice(), parsed.encoding), (&path.map(str::to_owned)[..], encoding));
            assert_eq!(parsed.name, "meshes.example.test");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }
}
