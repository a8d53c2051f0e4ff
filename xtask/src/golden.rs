//! Golden files: everything in the repository that is generated and committed.
//!
//! Each generator gives the whole content of its files. `cargo xtask golden` writes them, and with
//! `--check` compares instead, so that a change to a source without its generated file fails. A new
//! kind of file is one more line in [`GENERATORS`].

use crate::{install, rules_page};
use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Every generator, in the order in which they run.
const GENERATORS: &[Generator] = &[
    Generator { name: "crds", folder: Some("manifests/crds"), generate: crds },
    Generator { name: "policies", folder: Some("manifests/chart/files/policies"), generate: policies },
    Generator {
        name: "injector-policies",
        folder: Some("manifests/chart/files/injector-policies"),
        generate: injector_policies,
    },
    // After the CRDs and the policies, which the chart contains.
    Generator { name: "install", folder: None, generate: install::manifest },
    Generator { name: "rules", folder: None, generate: rules_page::generate },
];

/// Flags of `cargo xtask golden`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if a file is not what would be written, and name it
    #[arg(long)]
    check: bool,
    /// Only these generators
    #[arg(value_name = "GENERATOR", value_parser = names())]
    only: Vec<String>,
}

/// Writes or checks the golden files.
///
/// # Errors
/// A generator failed, a file cannot be read or written, or (with `--check`) files are stale.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = repository_root()?;
    let wanted = |generator: &&Generator| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == generator.name)
    };
    let mut stale = Vec::new();
    for generator in GENERATORS.iter().filter(wanted) {
        let findings = generator.findings(&root)?;
        if !arguments.check {
            for finding in &findings {
                finding.repair(&root)?;
                println!("{}", finding.repaired());
            }
        }
        stale.extend(findings);
    }
    if arguments.check && !stale.is_empty() {
        let list: Vec<String> = stale.iter().map(Finding::to_string).collect();
        bail!("generated files are stale; run `cargo xtask golden`:\n{}", list.join("\n"));
    }
    if stale.is_empty() {
        println!("every generated file is fresh");
    }
    Ok(())
}

/// Checks that every generated file is fresh.
///
/// # Errors
/// As [`run`] with `--check`.
pub(crate) fn check() -> anyhow::Result<()> {
    run(&Arguments { check: true, only: Vec::new() })
}

/// One source of generated files.
struct Generator {
    /// Name on the command line.
    name: &'static str,
    /// Folder in which nothing else may lie, so that a file whose source is gone is found.
    folder: Option<&'static str>,
    /// The files with their content, by path from the repository's root.
    generate: fn() -> anyhow::Result<BTreeMap<String, String>>,
}

impl Generator {
    fn findings(&self, root: &Path) -> anyhow::Result<Vec<Finding>> {
        let files = (self.generate)().with_context(|| format!("generating {}", self.name))?;
        let mut findings = Vec::new();
        for (path, generated) in &files {
            let committed = read(&root.join(path))?;
            findings.extend(compare(path, committed.as_deref(), generated));
        }
        if let Some(folder) = self.folder {
            let present = list(root, folder)?;
            let orphans = present.into_iter().filter(|path| !files.contains_key(path));
            findings.extend(orphans.map(|path| Finding { path, fault: Fault::Orphan }));
        }
        Ok(findings)
    }
}

/// A file that is not what it should be.
#[derive(Debug, PartialEq)]
struct Finding {
    /// From the repository's root.
    path: String,
    fault: Fault,
}

#[derive(Debug, PartialEq)]
enum Fault {
    Missing { wanted: String },
    Differs { line: usize, wanted: String },
    Orphan,
}

impl Finding {
    fn repair(&self, root: &Path) -> anyhow::Result<()> {
        let path = root.join(&self.path);
        match &self.fault {
            Fault::Missing { wanted } | Fault::Differs { wanted, .. } => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)
                        .with_context(|| format!("creating folder {}", folder.display()))?;
                }
                fs::write(&path, wanted).with_context(|| format!("writing {}", self.path))
            }
            Fault::Orphan => fs::remove_file(&path).with_context(|| format!("removing {}", self.path)),
        }
    }

    fn repaired(&self) -> String {
        match self.fault {
            Fault::Missing { .. } | Fault::Differs { .. } => format!("written: {}", self.path),
            Fault::Orphan => format!("removed: {}", self.path),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.fault {
            Fault::Missing { .. } => write!(f, "{}: missing", self.path),
            Fault::Differs { line, .. } => write!(f, "{}: differs from line {line}", self.path),
            Fault::Orphan => write!(f, "{}: nothing generates it any more", self.path),
        }
    }
}

/// What is wrong with a file, if anything.
fn compare(path: &str, committed: Option<&str>, generated: &str) -> Option<Finding> {
    let wanted = generated.to_owned();
    let fault = match committed {
        None => Fault::Missing { wanted },
        Some(committed) if committed == generated => return None,
        Some(committed) => {
            let same = committed.lines().zip(generated.lines()).take_while(|(a, b)| a == b);
            Fault::Differs { line: same.count() + 1, wanted }
        }
    };
    Some(Finding { path: path.to_owned(), fault })
}

/// One file for each CRD, named by group and plural as is the custom.
fn crds() -> anyhow::Result<BTreeMap<String, String>> {
    let definitions = api::crd::all();
    let files = definitions.iter().map(|definition| {
        let group = definition["spec"]["group"].as_str().context("a CRD without a group")?;
        let plural = definition["spec"]["names"]["plural"].as_str().context("without a plural")?;
        Ok((format!("manifests/crds/{group}_{plural}.yaml"), yaml(definition)?))
    });
    files.collect()
}

/// The spec of each admission policy; names and labels are the chart's.
fn policies() -> anyhow::Result<BTreeMap<String, String>> {
    let policies = rules::cel::POLICIES.iter();
    policies
        .map(|policy| {
            Ok((format!("manifests/chart/files/policies/{}.yaml", policy.name), yaml(&policy.spec())?))
        })
        .collect()
}

/// The spec of each policy that holds the cainjector's account to its task; names, labels and the account are the
/// chart's.
fn injector_policies() -> anyhow::Result<BTreeMap<String, String>> {
    let policies = cainjector::policy::POLICIES.iter();
    policies
        .map(|policy| {
            let path = format!("manifests/chart/files/injector-policies/{}.yaml", policy.plural);
            Ok((path, yaml(&policy.spec())?))
        })
        .collect()
}

/// A YAML document with sorted keys, under the header that all generated YAML bears.
fn yaml(value: &Value) -> anyhow::Result<String> {
    let body = serde_saphyr::to_string(&sorted(value)).context("writing YAML")?;
    Ok(format!("# Generated by `cargo xtask golden`; do not edit.\n{body}"))
}

/// The same value with the keys of each map in order, whether or not serde_json keeps the order of
/// insertion (any crate of a build can switch that on for all).
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().collect();
            let entries = ordered.into_iter().map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn names() -> clap::builder::PossibleValuesParser {
    GENERATORS.iter().map(|generator| generator.name).collect::<Vec<_>>().into()
}

pub(crate) fn repository_root() -> anyhow::Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().context("xtask lies in the repository's root")?.to_owned())
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Files that lie in a folder, by path from the repository's root.
fn list(root: &Path, folder: &str) -> anyhow::Result<BTreeSet<String>> {
    let context = || format!("listing {folder}");
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let mut paths = BTreeSet::new();
    for entry in entries {
        let entry = entry.with_context(context)?;
        paths.insert(format!("{folder}/{}", entry.file_name().to_string_lossy()));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stale_file_is_named_with_what_is_wrong() {
        let check = |committed, wanted: &str| {
            let finding = compare("a/b.yaml", committed, "one\ntwo\n").map(|f| f.to_string());
            assert_eq!(finding.as_deref(), Some(wanted));
        };
        check(None, "a/b.yaml: missing");
        check(Some("one\n2\n"), "a/b.yaml: differs from line 2");
        check(Some("one\n"), "a/b.yaml: differs from line 2");
        check(Some("one\ntwo\nthree\n"), "a/b.yaml: differs from line 3");
        let orphan = Finding { path: "a/c.yaml".to_owned(), fault: Fault::Orphan };
        assert_eq!(orphan.to_string(), "a/c.yaml: nothing generates it any more");
    }

    #[test]
    fn a_fresh_file_gives_no_finding() {
        assert_eq!(compare("a", Some("same\n"), "same\n"), None);
    }

    #[test]
    fn every_committed_file_is_fresh() {
        let root = repository_root().unwrap();
        for generator in GENERATORS {
            let findings = generator.findings(&root).unwrap();
            let list: Vec<_> = findings.iter().map(Finding::to_string).collect();
            assert!(list.is_empty(), "run `cargo xtask golden`: {list:?}");
        }
    }

    #[test]
    fn generated_yaml_reads_back_as_the_same_value() {
        let policies = rules::cel::POLICIES.iter().map(|policy| policy.spec());
        let of_injector = cainjector::policy::POLICIES.iter().map(cainjector::policy::Policy::spec);
        for value in api::crd::all().into_iter().chain(policies).chain(of_injector) {
            let text = yaml(&value).unwrap();
            let back: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(back, value);
        }
    }

    #[test]
    fn keys_are_written_in_order() {
        let text = yaml(&json!({"b": {"d": 1, "c": 2}, "a": [{"z": 1, "x": "on"}]})).unwrap();
        let body = "a:\n- x: \"on\"\n  z: 1\nb:\n  c: 2\n  d: 1\n";
        assert_eq!(text, format!("# Generated by `cargo xtask golden`; do not edit.\n{body}"));
    }
}
