//! Texts that nobody would write: none of them may cost more than it weighs.

use std::sync::LazyLock;

use lint::{Linter, Report, Severity, TEXT_BYTES_MAX};
use proptest::prelude::*;
use rules::Settings;

// Reading the schemas takes longer than any text here.
static LINTER: LazyLock<Linter> = LazyLock::new(|| Linter::new(Settings::default(), None));

fn lint(text: &str) -> Report {
    LINTER.lint(text)
}

/// The text is refused as a whole, with these words.
fn refused(text: &str, wanted: &str) {
    let report = lint(text);
    let last = report.findings.last().map(ToString::to_string).unwrap_or_default();
    assert!(report.is_unreadable && last.contains(wanted), "{last}");
}

#[test]
fn what_has_no_bound_is_refused() {
    refused(&" ".repeat(TEXT_BYTES_MAX + 1), "longer than 16777216 bytes");
    refused(&"---\na\n".repeat(10_001), "more than 10000 documents");
    refused(&format!("{}{}", "[".repeat(101), "]".repeat(101)), "nested deeper than 100 levels");
    refused("a: &a [*a]", "an alias within the value");
    refused("? [a]\n: b", "a list or map as a key");
    refused("<<: text", "only a map");
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    refused(&text, "aliases expand to more than");
}

#[test]
fn ten_thousand_faults_are_told_in_a_thousand_lines() {
    let mut text = String::new();
    for _ in 0..1_100 {
        text.push_str(
            "---\n{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: a}, spec: {b: 1, c: 2}}\n",
        );
    }
    let report = lint(&text);
    assert_eq!((report.findings.len(), report.untold, report.objects), (1_000, 2_300, 1_100));
}

#[test]
fn one_object_with_many_faults_is_told_of_some() {
    let fields: String = (0..20_000).map(|number| format!("  field{number}: 1\n")).collect();
    let head = "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec:\n  selfSigned: {}\n";
    let report = lint(&format!("{head}{fields}"));
    assert_eq!((report.count(Severity::Error), report.untold), (100, 0));
}

#[test]
fn what_is_no_manifest_is_passed_over() {
    for text in ["", "---\n---\n", "# only a comment\n", "\u{feff}", "null"] {
        let report = lint(text);
        assert!(report.findings.is_empty() && report.others == 0, "{text:?}: {report:?}");
    }
    assert_eq!(lint("[1, 2]").others, 1);
    assert_eq!(lint("\u{feff}kind: x\n").others, 1);
}

/// Manifests whose parts the property tests shuffle.
const MANIFESTS: [&str; 5] = [
    include_str!("manifests/certificate.yaml"),
    include_str!("manifests/issuer.yaml"),
    include_str!("manifests/names.yaml"),
    include_str!("manifests/aliases.yaml"),
    include_str!("manifests/request.json"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_much(text in "\\PC{0,200}") {
        lint(&text);
    }

    #[test]
    fn no_damaged_manifest_is_too_much(
        which in 0..MANIFESTS.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), "[-:{}\\[\\]&*<!|>'\"#%\\n\\t 0a]{0,3}"), 1..6),
    ) {
        let mut text: Vec<char> = MANIFESTS[which].chars().collect();
        for (place, with) in damage {
            let place = place.index(text.len());
            text.splice(place..(place + 1).min(text.len()), with.chars());
        }
        let text: String = text.into_iter().collect();
        let lines = text.lines().count() + 1;
        for finding in lint(&text).findings {
            prop_assert!(finding.at.line <= lines && finding.at.column >= 1, "{finding}");
        }
    }

    #[test]
    fn a_value_of_any_type_at_any_field_is_told_of_or_judged(
        which in 0..2_usize,
        line in any::<prop::sample::Index>(),
        value in prop::sample::select(vec!["7", "[]", "{}", "null", "x", "yes", "[[]]", "{a: {b: c}}", "-1e9"]),
    ) {
        let mut lines: Vec<String> = MANIFESTS[which].lines().map(ToOwned::to_owned).collect();
        let line = line.index(lines.len());
        if let Some((key, _)) = lines[line].split_once(": ") {
            lines[line] = format!("{key}: {value}");
        }
        let told: Vec<String> = lint(&lines.join("\n")).findings.iter().map(ToString::to_string).collect();
        prop_assert!(!told.iter().any(|line| line.contains("cannot be read:")), "{told:?}");
    }
}
