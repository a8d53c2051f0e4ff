//! Which API an object is of, also where its name is misspelt.

use rules::{Fault, Finding, Kind};

use crate::checks::API;
use crate::node::{Content, Node};
use crate::position::Position;
use crate::similar::nearest;

/// The groups whose objects are judged.
const GROUPS: [&str; 2] = [api::GROUP, api::ACME_GROUP];
/// The group until v0.10 of the API.
const OLD_GROUP: &str = "certmanager.k8s.io";

/// What an object is.
#[derive(Debug)]
pub(crate) enum Identity<'n> {
    /// One of our kinds. The finding, where there is one, says how its name is misspelt.
    Ours(Kind, Option<(Position, Finding)>),
    /// Meant to be one of ours, but nobody knows which, or of a version that had other fields.
    Unclear(Position, Finding),
    /// A list of objects.
    List(&'n [Node]),
    /// An object that is not ours to judge.
    Other,
    /// Nothing at all.
    Empty,
}

pub(crate) fn of(node: &Node) -> Identity<'_> {
    if matches!(node.content, Content::Null) {
        return Identity::Empty;
    }
    let (version, kind) =
        (node.text("apiVersion").unwrap_or_default(), node.text("kind").unwrap_or_default());
    if let (true, Some(items)) = (kind.ends_with("List"), items(node)) {
        return Identity::List(items);
    }
    if let Some(kind) = exact(version, kind) {
        return Identity::Ours(kind, None);
    }
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    if is_ours(group) {
        return of_our_group(node, group, version, kind);
    }
    // Without a group: `v1`, the group without its version, or nothing. Other groups may have the same kinds.
    match Kind::ALL.iter().copied().find(|ours| group.is_empty() && ours.as_str() == kind) {
        Some(ours) => Identity::Ours(ours, Some(wrong_api_version(node, ours))),
        None => Identity::Other,
    }
}

fn items(node: &Node) -> Option<&[Node]> {
    match &node.entry("items")?.node.content {
        Content::List(items) => Some(items),
        _ => None,
    }
}

fn exact(version: &str, kind: &str) -> Option<Kind> {
    let (group, version) = version.split_once('/')?;
    let matches = |ours: &&Kind| ours.as_str() == kind && ours.group() == group;
    Kind::ALL.iter().find(matches).copied().filter(|_| version == api::VERSION)
}

/// Whether a group is one of ours, or one letter or two away from it. Other projects have groups below ours.
fn is_ours(group: &str) -> bool {
    const EDITS_MAX: usize = 2;
    group == OLD_GROUP
        || GROUPS.iter().any(|ours| {
            group.len() <= ours.len() + EDITS_MAX && strsim::osa_distance(group, ours) <= EDITS_MAX
        })
}

fn of_our_group<'n>(node: &'n Node, group: &str, version: &str, kind: &str) -> Identity<'n> {
    let known = Kind::ALL.iter().map(|kind| kind.as_str());
    let meant = nearest(kind, known);
    let Some(ours) = Kind::ALL.iter().copied().find(|ours| Some(ours.as_str()) == meant) else {
        let names: Vec<&str> =
            Kind::ALL.iter().filter(|ours| ours.group() == group).map(|ours| ours.as_str()).collect();
        let (at, mut finding) = at(node, "kind", kind);
        finding.detail(format!("not a kind of {group}"));
        if !names.is_empty() {
            finding.advice(format!("write one of {}", names.join(", ")));
        }
        return Identity::Unclear(at, finding);
    };
    if ours.as_str() != kind {
        let (at, mut finding) = at(node, "kind", kind);
        finding.detail("no such kind").advice(format!("write {:?}", ours.as_str()));
        return Identity::Ours(ours, Some((at, finding)));
    }
    let (at, finding) = wrong_api_version(node, ours);
    if version == api::VERSION {
        return Identity::Ours(ours, Some((at, finding)));
    }
    // Fields had other names there.
    Identity::Unclear(at, finding)
}

fn wrong_api_version(node: &Node, kind: Kind) -> (Position, Finding) {
    let written = node.text("apiVersion").unwrap_or_default();
    let (at, mut finding) = at(node, "apiVersion", written);
    if written.is_empty() {
        finding = Finding::new(&API, "apiVersion", Fault::Required);
    } else {
        finding.detail(format!("{} is not served under it", kind.as_str()));
    }
    finding.advice(format!("write \"{}/{}\"", kind.group(), api::VERSION));
    (at, finding)
}

fn at(node: &Node, path: &'static str, written: &str) -> (Position, Finding) {
    let mut finding = Finding::new(&API, path, Fault::Invalid);
    finding.value(written);
    (node.locate(path), finding)
}
