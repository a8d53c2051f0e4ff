//! Each rule has an example of a refused object, which documentation shows. Here each is judged.
//!
//! An example lies in `examples/<folder>/<rule id>.yaml`, with the folders of [`rules::EXAMPLE_FOLDERS`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rules::{Class, EXAMPLE_FOLDERS, Example, Finding, Rule, Verdict};

/// Rules that have no example yet. This list only becomes shorter: whoever adds an example deletes its line.
#[rustfmt::skip] // one a line, so that lines can be deleted side by side
const LACKING: &[&str] = &[
];

/// Examples that break another rule as well because there is no object that breaks theirs alone: the example, the other
/// rule, and why.
const ALSO: &[(&str, &str, &str)] = &[
    ("certificaterequest/R24", "R19", STAMP),
    ("certificaterequest/R25", "R19", STAMP),
    ("certificaterequest/R26", "R19", STAMP),
    ("certificaterequest/R27", "R19", STAMP),
    ("issuer/I34", "I33", "without a clientID beside its resourceID, its tenantID would break I35"),
];

const STAMP: &str = "the identity is a part of the spec, which must stay as a whole";

/// Every rule by the name of its example: `certificate/C01`.
fn rules_by_name() -> BTreeMap<String, &'static Rule> {
    let name = |rule: &'static Rule| {
        let folder = EXAMPLE_FOLDERS.iter().find(|(_, kinds)| *kinds == rule.kinds);
        let (folder, _) = folder.unwrap_or_else(|| panic!("{} is for kinds without a folder", rule.id));
        (format!("{folder}/{}", rule.id), rule)
    };
    rules::table().map(name).collect()
}

/// The text of every example by its name.
fn examples() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples = BTreeMap::new();
    for (folder, _) in EXAMPLE_FOLDERS {
        for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = entry.expect("a folder of examples can be listed").path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let id = file.strip_suffix(".yaml").unwrap_or_else(|| panic!("{folder}/{file} is not .yaml"));
            examples.insert(
                format!("{folder}/{id}"),
                std::fs::read_to_string(&path).expect("an example can be read"),
            );
        }
    }
    examples
}

fn judged(name: &str, text: &str) -> Verdict {
    let example: Example = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    example.judge().unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

#[test]
fn every_rule_has_an_example_and_every_example_a_rule() {
    let rules: BTreeSet<String> = rules_by_name().into_keys().collect();
    let examples: BTreeSet<String> = examples().into_keys().collect();
    let lacking: BTreeSet<String> = LACKING.iter().map(|&name| name.to_owned()).collect();
    let strangers: Vec<_> = examples.difference(&rules).collect();
    assert!(strangers.is_empty(), "examples without a rule: {strangers:?}");
    let undone: Vec<_> = rules.difference(&examples).filter(|name| !lacking.contains(*name)).collect();
    assert!(undone.is_empty(), "rules without an example: {undone:?}");
    let done: Vec<_> =
        lacking.iter().filter(|name| examples.contains(*name) || !rules.contains(*name)).collect();
    assert!(done.is_empty(), "delete from LACKING: {done:?}");
}

#[test]
fn every_example_breaks_its_own_rule_and_no_other() {
    let rules = rules_by_name();
    let mut wrong = Vec::new();
    for (name, text) in examples() {
        let Some(rule) = rules.get(&name) else { continue }; // told by the other test
        let verdict = judged(&name, &text);
        let own = if rule.class == Class::Advice { &verdict.warnings } else { &verdict.denials };
        if !own.iter().any(|finding| std::ptr::eq(finding.rule, *rule)) {
            wrong.push(format!("{name} does not break its rule: {verdict:?}"));
        }
        let excused = |finding: &&Finding| {
            ALSO.iter().any(|(example, id, _)| *example == name && *id == finding.rule.id)
        };
        let others = verdict.denials.iter().chain(&verdict.warnings);
        let others = others.filter(|finding| !std::ptr::eq(finding.rule, *rule) && !excused(finding));
        wrong.extend(others.map(|other| format!("{name} breaks {} too: {other}", other.rule.id)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_excuse_is_needed() {
    let examples = examples();
    for (name, id, _) in ALSO {
        let verdict = judged(name, &examples[*name]);
        let found = verdict.denials.iter().chain(&verdict.warnings).any(|finding| finding.rule.id == *id);
        assert!(found, "{name} does not break {id}: delete the excuse");
    }
}

#[test]
fn every_warning_is_told_whole() {
    let mut told = BTreeSet::new();
    for (name, text) in examples() {
        for warning in judged(&name, &text).warnings {
            assert_eq!(warning.warning(), warning.to_string(), "{name}");
            told.insert(warning.rule.id);
        }
    }
    let advice = rules::table().filter(|rule| rule.class == Class::Advice);
    let untold: Vec<_> = advice.filter(|rule| !told.contains(rule.id)).collect();
    assert!(untold.is_empty(), "no example warns by {untold:?}");
}
