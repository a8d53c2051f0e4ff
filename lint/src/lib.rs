//! The linter: manifests in, findings with their lines out, without a cluster.
//!
//! It judges by the same table as the webhook ([`rules`]), and by the CRDs' schemas: the API server drops unknown fields
//! and refuses wrong types before a webhook is asked. It is a crate of its own, beside `rules`, so that what serves
//! admission knows of no YAML; it does no IO either.
//!
//! Objects that ask the cainjector for a CA bundle are looked at as well, by `injection`.
//!
//! A text's way: `yaml` reads documents into trees with positions, `identity` says which API an object is of, `shape`
//! compares it with its schema, and [`rules::judge`] does the rest.

mod checks;
mod identity;
mod injection;
mod node;
mod position;
mod scalar;
mod schema;
mod shape;
mod similar;
mod told;
mod yaml;

use std::collections::HashSet;

use api::{CertificateRequestSpec, CertificateSpec, ChallengeSpec, IssuerSpec, OrderSpec};
use jiff::Timestamp;
use rules::{Case, Context, Fault, Judged, Kind, Object, Settings, Verdict};
use serde_json::Value;

pub use checks::checks;
pub use position::Position;
pub use told::Told;
pub use yaml::TEXT_BYTES_MAX;

use crate::checks::{FORM, NAME, PRESENT, READABLE, TYPE, VALUE};
use crate::identity::Identity;
use crate::node::Node;
use crate::schema::Schemas;
use crate::shape::Shape;
use crate::yaml::Documents;

/// Most findings of one text that are told.
const FINDINGS_MAX: usize = 1_000;
/// Deepest lists of lists of objects.
const LISTS_MAX: usize = 4;

/// Judges texts.
#[derive(Debug)]
pub struct Linter {
    /// `None`: the kinds of our API are passed over.
    judge: Option<Judge>,
}

/// What judges the kinds of our API.
#[derive(Debug)]
struct Judge {
    schemas: Schemas,
    settings: Settings,
    now: Option<Timestamp>,
}

/// What is to be said about one text.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the text.
    pub findings: Vec<Finding>,
    /// How many findings are not told, because there are so many.
    pub untold: usize,
    /// Whether the text could not be read to its end; the last finding says why.
    pub is_unreadable: bool,
    /// How many objects were judged.
    pub objects: usize,
    /// How many objects of other kinds were passed over.
    pub others: usize,
}

/// One finding at its place.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Where the field is; what is missing is where the nearest thing around it is.
    pub at: Position,
    /// Whether it counts.
    pub severity: Severity,
    /// The object, such as `Certificate team-a/web`; empty where it is none.
    pub object: String,
    /// What is wrong, and what would be right.
    pub finding: rules::Finding,
}

/// Whether a finding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object would be refused, or would not be what was written.
    Error,
    /// The object would be accepted with a warning.
    Warning,
}

impl Severity {
    /// The word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, severity, finding, .. } = self;
        write!(f, "{at}: {} {}: ", severity.as_str(), finding.rule.id)?;
        // What is wrong with a text as a whole has no field.
        if finding.path.is_empty() { f.write_str(&finding.detail) } else { write!(f, "{finding}") }
    }
}

impl Linter {
    /// A linter that goes by these settings. Without `now` rules about expiry have nothing to judge.
    pub fn new(settings: Settings, now: Option<Timestamp>) -> Self {
        Self { judge: Some(Judge { schemas: Schemas::new(), settings, now }) }
    }

    /// A linter for objects that ask for a CA bundle, and Secrets that give one, alone.
    pub fn of_injection() -> Self {
        Self { judge: None }
    }

    /// Judges several texts, each with its name, or with why it could not be read.
    pub fn tell(&self, texts: impl IntoIterator<Item = (String, Result<String, String>)>) -> Told {
        let mut told = Told::default();
        for (name, text) in texts {
            told.add(name, text.map(|text| self.lint(&text)));
        }
        told
    }

    /// Judges all objects of a text: YAML of any number of documents, or JSON.
    pub fn lint(&self, text: &str) -> Report {
        let mut report = Report::default();
        for document in Documents::of(text) {
            match document {
                Ok(node) => self.node(&node, 0, &mut report),
                Err(unreadable) => {
                    let mut finding = rules::Finding::new(&READABLE, "", Fault::Invalid);
                    finding.detail(unreadable.to_string());
                    report.is_unreadable = true;
                    // The reason for which nothing else is told must be told itself.
                    report.findings.truncate(FINDINGS_MAX - 1);
                    report.tell(unreadable.at, Severity::Error, "", finding);
                }
            }
        }
        report
    }

    fn node(&self, node: &Node, depth: usize, report: &mut Report) {
        let judge = self.judge.as_ref();
        match identity::of(node) {
            Identity::Empty => {}
            Identity::Other => match injection::role(node) {
                Some(role) => {
                    report.objects += 1;
                    report.tell_all(&label("", node), injection::judge(node, role));
                }
                None => report.others += 1,
            },
            Identity::List(items) if depth < LISTS_MAX => {
                items.iter().for_each(|item| self.node(item, depth + 1, report));
            }
            Identity::List(_) => report.others += 1,
            Identity::Unclear(at, finding) if judge.is_some() => {
                report.objects += 1;
                report.tell(at, Severity::Error, &label("", node), finding);
            }
            Identity::Ours(kind, misspelt) if judge.is_some() => {
                report.objects += 1;
                if let Some(judge) = judge {
                    judge.object(node, kind, misspelt, report);
                }
            }
            Identity::Unclear(..) | Identity::Ours(..) => report.others += 1,
        }
    }
}

impl Judge {
    fn object(
        &self,
        node: &Node,
        kind: Kind,
        misspelt: Option<(Position, rules::Finding)>,
        report: &mut Report,
    ) {
        let shape = shape::of(node, self.schemas.of(kind), &self.schemas);
        let mut found: Vec<(Position, Severity, rules::Finding)> = Vec::new();
        found.extend(misspelt.map(|(at, finding)| (at, Severity::Error, finding)));
        if !has_name(&shape.object) {
            let mut finding = rules::Finding::new(&NAME, NAME.path, Fault::Required);
            finding.advice("name the object");
            found.push((node.locate(NAME.path), Severity::Error, finding));
        }
        let verdict = self.judge(kind, &shape.object);
        found.extend(merged(node, shape, verdict));
        found.sort_by_key(|(at, severity, _)| (*at, *severity));
        report.tell_all(&label(kind.as_str(), node), found);
    }

    fn judge(&self, kind: Kind, object: &Value) -> Verdict {
        match kind {
            Kind::Certificate => self.judge_as::<CertificateSpec>(object),
            Kind::CertificateRequest => self.judge_as::<CertificateRequestSpec>(object),
            Kind::Issuer | Kind::ClusterIssuer => self.judge_as::<IssuerSpec>(object),
            Kind::Order => self.judge_as::<OrderSpec>(object),
            Kind::Challenge => self.judge_as::<ChallengeSpec>(object),
        }
    }

    fn judge_as<S: Judged>(&self, object: &Value) -> Verdict {
        let object = match serde_json::from_value::<Object<S>>(object.clone()) {
            Ok(object) => object,
            Err(error) => {
                let mut finding = rules::Finding::new(&TYPE, "", Fault::Invalid);
                finding.detail(format!("cannot be read: {error}"));
                return Verdict { denials: vec![finding], warnings: Vec::new() };
            }
        };
        let context = Context { settings: &self.settings, now: self.now, cluster: None };
        rules::judge(&Case { context, ..Case::create(&object) })
    }
}

/// The objects of a text, such as a manifest or a list, as they are.
///
/// # Errors
/// When the text cannot be read to its end: where, and why.
pub fn objects(text: &str) -> Result<Vec<Value>, String> {
    fn unpack(node: &Node, depth: usize, found: &mut Vec<Value>) {
        match identity::of(node) {
            Identity::Empty => {}
            Identity::List(items) if depth < LISTS_MAX => {
                items.iter().for_each(|item| unpack(item, depth + 1, found));
            }
            _ => found.push(node.to_json()),
        }
    }
    let mut found = Vec::new();
    for document in Documents::of(text) {
        let node = document.map_err(|unreadable| format!("{}: {unreadable}", unreadable.at))?;
        unpack(&node, 0, &mut found);
    }
    Ok(found)
}

impl Report {
    fn tell_all(&mut self, object: &str, found: Vec<(Position, Severity, rules::Finding)>) {
        for (at, severity, finding) in found {
            self.tell(at, severity, object, finding);
        }
    }

    fn tell(&mut self, at: Position, severity: Severity, object: &str, finding: rules::Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { at, severity, object: object.to_owned(), finding });
        } else {
            self.untold += 1;
        }
    }

    /// How many findings of this severity are told.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Findings of schema and rules. A field is told of once: a wrong type hides what rules say about the value that stands
/// in for it, and a rule, which knows more of the field, speaks in place of the schema otherwise.
fn merged(
    node: &Node,
    shape: Shape,
    verdict: Verdict,
) -> impl Iterator<Item = (Position, Severity, rules::Finding)> {
    let is_wrong_type = |finding: &rules::Finding| finding.rule.id == TYPE.id;
    let wrong: HashSet<String> = (shape.found.iter())
        .filter(|(_, finding)| is_wrong_type(finding))
        .map(|(_, finding)| finding.path.to_string())
        .collect();
    let is_hidden = move |path: &str| {
        let ends = path.char_indices().filter(|(_, each)| matches!(each, '.' | '[')).map(|(end, _)| end);
        ends.chain([path.len()]).any(|end| path.get(..end).is_some_and(|path| wrong.contains(path)))
    };
    let by_rules: Vec<_> = [(verdict.denials, Severity::Error), (verdict.warnings, Severity::Warning)]
        .into_iter()
        .flat_map(|(findings, severity)| findings.into_iter().map(move |finding| (severity, finding)))
        .filter(|(_, finding)| !is_hidden(&finding.path))
        .map(|(severity, finding)| (node.locate(&finding.path), severity, finding))
        .collect();
    let denied: HashSet<String> = (by_rules.iter())
        .filter(|(_, severity, _)| *severity == Severity::Error)
        .map(|(_, _, finding)| finding.path.to_string())
        .collect();
    let by_schema = (shape.found.into_iter())
        .filter(move |(_, finding)| !is_superseded(finding, &denied))
        .map(|(at, finding)| (at, Severity::Error, finding));
    by_schema.chain(by_rules)
}

/// Whether a rule says the same of the field, and more.
fn is_superseded(finding: &rules::Finding, denied: &HashSet<String>) -> bool {
    [&PRESENT, &VALUE, &FORM].contains(&finding.rule) && denied.contains(finding.path.as_ref())
}

fn has_name(object: &Value) -> bool {
    let names = ["/metadata/name", "/metadata/generateName"];
    names.iter().any(|name| object.pointer(name).and_then(Value::as_str).is_some_and(|name| !name.is_empty()))
}

/// Kind, namespace and name as written.
fn label(kind: &str, node: &Node) -> String {
    let kind = if kind.is_empty() { node.text("kind").unwrap_or_default() } else { kind };
    let metadata = node.entry("metadata").map(|entry| &entry.node);
    let of = |key| metadata.and_then(|metadata| metadata.text(key));
    let name = of("name").or_else(|| of("generateName")).unwrap_or_default();
    let label = match of("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    rules::concealed(&label).to_owned()
}
