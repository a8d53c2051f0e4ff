//! Objects that ask for a CA bundle, and Secrets that give one: what keeps the cainjector from doing what was meant.

use api::injection::reference;
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rules::{Fault, Finding};

use crate::Severity;
use crate::checks::{BUNDLE, CAPABLE, MARK, REFERENCE, SINGLE, TYPE};
use crate::node::{Content, Entry, Node};
use crate::position::Position;
use crate::similar::nearest;

/// The annotations that ask for a CA, in the order in which they count.
const ASKING: [&str; 3] =
    [annotation::INJECT_CA_FROM_SECRET, annotation::INJECT_CA_FROM, annotation::INJECT_APISERVER_CA];
/// The prefix until v0.10 of the API, which nobody reads any more.
const OLD_PREFIX: &str = "certmanager.k8s.io/";
/// What a bundle begins with, or has behind comments.
const BUNDLE_BEGINS: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// What an object has to do with injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A webhook configuration: a bundle for each entry.
    Webhooks,
    /// An announcement of an API.
    ApiService,
    /// A definition of custom resources.
    Definition,
    /// What a CA may be taken from.
    Secret,
}

impl Role {
    /// The annotations that mean something on such an object.
    fn annotations(self) -> &'static [&'static str] {
        match self {
            Self::Webhooks | Self::ApiService | Self::Definition => &[
                annotation::INJECT_CA_FROM_SECRET,
                annotation::INJECT_CA_FROM,
                annotation::INJECT_APISERVER_CA,
                annotation::RELEASE_BUNDLE,
            ],
            Self::Secret => &[annotation::ALLOW_DIRECT_INJECTION],
        }
    }
}

/// The role of an object, if it has one.
pub(crate) fn role(node: &Node) -> Option<Role> {
    let (version, kind) = (node.text("apiVersion")?, node.text("kind")?);
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => Some(Role::Webhooks),
        ("apiregistration.k8s.io", "APIService") => Some(Role::ApiService),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Some(Role::Definition),
        ("", "Secret") => Some(Role::Secret),
        _ => None,
    }
}

/// What was found about one object.
type Found = Vec<(Position, Severity, Finding)>;

/// Looks at an object of this role.
pub(crate) fn judge(node: &Node, role: Role) -> Found {
    let mut found = Found::new();
    marks(node, role, &mut found);
    if role != Role::Secret {
        let asking = ASKING.iter().filter_map(|key| annotations(node).iter().find(|entry| entry.key == *key));
        let asking: Vec<&Entry> = asking.collect();
        references(&asking, &mut found);
        if !asking.is_empty() {
            incapable(node, role, &mut found);
            bundles(node, role, &mut found);
        }
    }
    found.sort_by_key(|(at, severity, _)| (*at, *severity));
    found
}

fn annotations(node: &Node) -> &[Entry] {
    entries(node, "annotations")
}

fn entries<'n>(node: &'n Node, member: &str) -> &'n [Entry] {
    let metadata = node.entry("metadata").map(|entry| &entry.node);
    match metadata.and_then(|metadata| metadata.entry(member)).map(|entry| &entry.node.content) {
        Some(Content::Map(entries)) => entries,
        _ => &[],
    }
}

fn path(member: &str, key: &str) -> String {
    format!("metadata.{member}.{key}")
}

/// Annotations whose key is not what was meant, labels in their place, and values that say nothing.
fn marks(node: &Node, role: Role, found: &mut Found) {
    let known = role.annotations();
    for entry in annotations(node) {
        let is_known = known.contains(&entry.key.as_str());
        let mut finding = Finding::new(&MARK, path("annotations", &entry.key), Fault::NotSupported);
        if let Some(meant) = meant(&entry.key, known).filter(|_| !is_known) {
            finding.detail("nobody reads this annotation").advice(format!("write {meant}"));
        } else if is_known && !matches!(entry.node.content, Content::Text(_)) {
            finding = Finding::new(&TYPE, path("annotations", &entry.key), Fault::Invalid);
            finding.detail("no text, of which annotations are made").advice("write it in quotes");
        } else if is_known && is_odd_switch(entry) {
            finding
                .value(entry.node.to_json())
                .detail("means nothing")
                .advice("write \"true\", or leave it out");
        } else {
            continue;
        }
        found.push((entry.at, Severity::Error, finding));
    }
    for entry in entries(node, "labels") {
        let own = known.iter().copied().find(|known| *known == entry.key);
        if let Some(meant) = own.or_else(|| meant(&entry.key, known)) {
            let mut finding = Finding::new(&MARK, path("labels", &entry.key), Fault::Forbidden);
            finding
                .detail("nobody reads this label")
                .advice(format!("write {meant} behind metadata.annotations"));
            found.push((entry.at, Severity::Error, finding));
        }
    }
}

/// The annotation that a key was meant to be, if it is none itself.
fn meant(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let renamed = key.strip_prefix(OLD_PREFIX).map(|name| format!("cert-manager.io/{name}"));
    nearest(renamed.as_deref().unwrap_or(key), known.iter().copied())
}

/// Whether an annotation that is on or off has another value than those that people use for "off".
fn is_odd_switch(entry: &Entry) -> bool {
    let is_reference =
        [annotation::INJECT_CA_FROM_SECRET, annotation::INJECT_CA_FROM].contains(&entry.key.as_str());
    match &entry.node.content {
        Content::Text(text) => !is_reference && !["true", "false", ""].contains(&text.as_str()),
        _ => false,
    }
}

/// The annotations that ask for a CA: the first decides, whatever it is worth.
fn references(asking: &[&Entry], found: &mut Found) {
    for entry in asking {
        let Content::Text(value) = &entry.node.content else { continue };
        if entry.key != annotation::INJECT_APISERVER_CA && reference(value).is_none() {
            let mut finding = Finding::new(&REFERENCE, path("annotations", &entry.key), Fault::Invalid);
            finding.value(value.as_str()).advice("write NAMESPACE/NAME");
            found.push((entry.at, Severity::Error, finding));
        }
    }
    let Some((first, others)) = asking.split_first() else { return };
    for entry in others {
        let mut finding = Finding::new(&SINGLE, path("annotations", &entry.key), Fault::Forbidden);
        finding.detail(format!("counts for nothing beside {}", first.key)).advice("leave one of them out");
        found.push((entry.at, Severity::Warning, finding));
    }
}

/// Targets that ask for a CA and cannot have one.
fn incapable(node: &Node, role: Role, found: &mut Found) {
    let at = |path: &str| pointed(node, path);
    let text = |path: &str| at(path).and_then(text_of);
    let mut tell = |path: &'static str, detail: &'static str, advice: &'static str| {
        let mut finding = Finding::new(&CAPABLE, path, Fault::Invalid);
        finding.detail(detail).advice(advice);
        found.push((node.locate(path), Severity::Warning, finding));
    };
    match role {
        Role::ApiService => {
            let is_insecure = at("spec.insecureSkipTLSVerify")
                .is_some_and(|node| matches!(node.content, Content::Bool { value: true, .. }));
            if is_insecure {
                let detail = "excludes a CA bundle: none is injected";
                tell("spec.insecureSkipTLSVerify", detail, "leave it out");
            }
            if at("spec.service").is_none_or(|node| matches!(node.content, Content::Null)) {
                tell(
                    "spec.service",
                    "there is no service that a CA would be for",
                    "leave the annotation out",
                );
            }
        }
        Role::Definition if text("spec.conversion.strategy") != Some("Webhook") => {
            let detail = "no webhook converts, so there is nothing that a CA would be for";
            tell("spec.conversion.strategy", detail, "write Webhook, or leave the annotation out");
        }
        Role::Definition if at("spec.conversion.webhook.clientConfig").is_none() => {
            let path = "spec.conversion.webhook.clientConfig";
            tell(path, "nothing says which webhook converts", "write its service or url");
        }
        Role::Definition | Role::Webhooks | Role::Secret => {}
    }
}

/// Bundles in the manifest of a target that gets one.
fn bundles(node: &Node, role: Role, found: &mut Found) {
    let paths = match role {
        Role::Webhooks => {
            let count = match node.entry("webhooks").map(|entry| &entry.node.content) {
                Some(Content::List(entries)) => entries.len(),
                _ => 0,
            };
            (0..count).map(|number| format!("webhooks[{number}].clientConfig.caBundle")).collect()
        }
        Role::ApiService => vec!["spec.caBundle".to_owned()],
        Role::Definition => vec!["spec.conversion.webhook.clientConfig.caBundle".to_owned()],
        Role::Secret => Vec::new(),
    };
    for path in paths {
        let Some(bundle) = pointed(node, &path).filter(|bundle| !matches!(bundle.content, Content::Null))
        else {
            continue;
        };
        let at = node.locate(&path);
        let mut finding = Finding::new(&BUNDLE, path, Fault::Forbidden);
        // Never shown: it may be a key.
        let severity = if is_bundle(bundle) {
            finding.detail(
                "a bundle beside an annotation that asks for one: each apply takes out what was injected",
            );
            Severity::Warning
        } else if role == Role::Definition {
            finding
                .detail("a placeholder: once a bundle is injected, the API server refuses to have it back");
            Severity::Error
        } else {
            finding.detail(
                "a placeholder: each apply puts it over the bundle, and calls fail until that is back",
            );
            Severity::Warning
        };
        finding.advice("leave caBundle out");
        found.push((at, severity, finding));
    }
}

fn is_bundle(bundle: &Node) -> bool {
    let encoded: String = text_of(bundle).unwrap_or_default().split_ascii_whitespace().collect();
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    decoded.windows(BUNDLE_BEGINS.len()).any(|window| window == BUNDLE_BEGINS)
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.content {
        Content::Text(text) => Some(text),
        _ => None,
    }
}

/// What is at a path such as `webhooks[0].clientConfig`.
fn pointed<'n>(node: &'n Node, path: &str) -> Option<&'n Node> {
    path.split('.').try_fold(node, |node, step| {
        let Some((member, rest)) = step.split_once('[') else {
            return node.entry(step).map(|entry| &entry.node);
        };
        let number: usize = rest.strip_suffix(']')?.parse().ok()?;
        match &node.entry(member)?.node.content {
            Content::List(items) => items.get(number),
            _ => None,
        }
    })
}
