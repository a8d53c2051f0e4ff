//! `docs/rules.md`: every rule, from the table of the rules and their examples.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use rules::{Class, EXAMPLE_FOLDERS, Example, Finding, Rule};
use serde_json::Value;

use crate::golden;

/// The page, from the repository's root.
const PAGE: &str = "docs/rules.md";

/// Longer texts in examples are cut: a signing request says nothing to a reader.
const TEXT_CHARS_MAX: usize = 60;

/// What the page says before the first rule.
const INTRODUCTION: &str = include_str!("rules_page.md");

/// The page by its path.
///
/// # Errors
/// An example cannot be read or judged.
pub(crate) fn generate() -> anyhow::Result<BTreeMap<String, String>> {
    let root = golden::repository_root()?.join("rules/examples");
    let mut page = INTRODUCTION.to_owned();
    for (folder, kinds) in EXAMPLE_FOLDERS {
        let mut rules: Vec<&Rule> = rules::table().filter(|rule| rule.kinds == *kinds).collect();
        rules.sort_by_key(|rule| order(rule.id));
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let title = if *folder == "review" { "All kinds".to_owned() } else { names.join(" and ") };
        writeln!(page, "\n## {title}")?;
        for rule in rules {
            section(rule, folder, &root, &mut page)
                .with_context(|| format!("writing of rule {folder}/{}", rule.id))?;
        }
    }
    Ok(BTreeMap::from([(PAGE.to_owned(), page)]))
}

/// Rules of cert-manager come before those of our own (B); each row of them by number.
fn order(id: &str) -> (bool, &str) {
    (id.starts_with('B'), id)
}

fn section(rule: &Rule, folder: &str, root: &Path, page: &mut String) -> anyhow::Result<()> {
    let path = if rule.path.is_empty() { String::new() } else { format!(" `{}`", rule.path) };
    writeln!(page, "\n### {}{path}\n\n{}. {}", rule.id, rule.summary, when(rule.class))?;
    let file = format!("{folder}/{}.yaml", rule.id);
    let Some(text) = golden::read(&root.join(&file))? else {
        return Ok(());
    };
    let verdict = serde_saphyr::from_str::<Example>(&text)?.judge()?;
    let told = verdict.denials.iter().chain(&verdict.warnings).filter(|finding| finding.rule == rule);
    let messages: Vec<String> = told.map(Finding::to_string).collect();
    let members: Value = serde_saphyr::from_str(&text)?;
    writeln!(page, "\n<details><summary>Example</summary>\n\n{}", shown(&cut(&members))?)?;
    let verb = if rule.class == Class::Advice { "warns" } else { "answers" };
    writeln!(page, "Signet {verb}:\n\n```text\n{}\n```\n", messages.join("\n"))?;
    writeln!(page, "([file](../rules/examples/{file}))\n\n</details>")?;
    Ok(())
}

/// When a broken rule rejects; the introduction explains each.
fn when(class: Class) -> &'static str {
    match class {
        Class::Spec => "*Rejects new faults.*",
        Class::Always => "*Rejects always.*",
        Class::Identity => "*Rejects always, as forbidden.*",
        Class::Advice => "*Warns.*",
    }
}

/// The object as a manifest, or what becomes of the stored one; then whatever else the rule goes by.
fn shown(members: &Value) -> anyhow::Result<String> {
    let mut rest = members.as_object().context("an example is a mapping")?.clone();
    let new = yaml(&rest.remove("object").context("an example has an object")?)?;
    let mut text = match rest.remove("old") {
        Some(old) => format!("```diff\n{}```\n", difference(&yaml(&old)?, &new)),
        None => format!("```yaml\n{new}```\n"),
    };
    if !rest.is_empty() {
        write!(text, "\nunder these circumstances:\n\n```yaml\n{}```\n", yaml(&Value::Object(rest))?)?;
    }
    Ok(text)
}

fn yaml(value: &Value) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(&golden::sorted(value)).context("writing YAML")?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// The value with long texts cut.
fn cut(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => Value::String(format!("{}...", &text[..end])),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(cut).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), cut(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Both texts line by line, each line marked with ` `, `-` or `+`. Keeps a longest common subsequence.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // common[i][j]: how many lines the rests behind i and j have in common.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        let (mark, line) = if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
            (' ', new[j - 1])
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', old[i - 1])
        } else {
            j += 1;
            ('+', new[j - 1])
        };
        text.extend([mark.to_string().as_str(), line, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_that_differ_are_marked() {
        assert_eq!(difference("a\nb\nc\n", "a\nx\nc\nd\n"), " a\n-b\n+x\n c\n+d\n");
        assert_eq!(difference("", "a\n"), "+a\n");
        assert_eq!(difference("a\n", ""), "-a\n");
        assert_eq!(difference("a\nb\n", "b\n"), "-a\n b\n");
    }

    #[test]
    fn an_update_is_shown_as_a_difference_and_circumstances_apart() {
        let example = json!({"object": {"a": 2}, "old": {"a": 1}, "subresource": "status"});
        assert_eq!(
            shown(&example).unwrap(),
            "```diff\n-a: 1\n+a: 2\n```\n\nunder these circumstances:\n\n```yaml\nsubresource: status\n```\n"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let text = cut(&json!({"a": ["é".repeat(1000)]}));
        assert_eq!(text, json!({"a": [format!("{}...", "é".repeat(TEXT_CHARS_MAX))]}));
    }
}
