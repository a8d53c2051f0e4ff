//! What the linter says about the manifests beside this file.

use expect_test::expect_file;
use lint::{Finding, Linter, Report};
use rules::Settings;

/// Rules that show that the table is asked, and where its findings are placed. What others say is their own affair, and
/// must not make these files stale.
const SHOWN: [&str; 9] = ["B07", "C01", "C04", "C11", "C22", "C30", "I01", "I58", "R01"];

/// A line for each finding; of those of rules the place alone.
fn told(name: &str, report: &Report) -> String {
    let line = |finding: &Finding| {
        let rule = finding.finding.rule.id;
        let severity = finding.severity.as_str();
        let text = if rule.starts_with('L') {
            finding.to_string()
        } else {
            format!("{}: {severity} {rule}: {}", finding.at, finding.finding.path)
        };
        format!("{name}:{text} ({})", finding.object)
    };
    let is_shown = |finding: &&Finding| {
        let rule = finding.finding.rule.id;
        rule.starts_with('L') || SHOWN.contains(&rule)
    };
    let mut lines: Vec<String> = report.findings.iter().filter(is_shown).map(line).collect();
    lines.push(format!(
        "{} of {} judged, {} passed over, {}",
        report.objects,
        report.objects + report.others,
        report.others,
        if report.is_unreadable { "unreadable" } else { "read" }
    ));
    lines.push(String::new());
    lines.join("\n")
}

fn check(name: &str, text: &str) {
    let report = Linter::new(Settings::default(), None).lint(text);
    let golden = format!("{}/tests/manifests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    expect_file![golden].assert_eq(&told(name, &report));
}

#[test]
fn a_certificate_with_many_mistakes_is_told_of_each_at_its_line() {
    check("certificate.yaml", include_str!("manifests/certificate.yaml"));
}

#[test]
fn a_misspelt_api_is_answered_with_the_one_that_was_meant() {
    check("names.yaml", include_str!("manifests/names.yaml"));
}

#[test]
fn a_list_of_issuers_is_unpacked() {
    check("issuer.yaml", include_str!("manifests/issuer.yaml"));
}

#[test]
fn json_has_lines_too() {
    check("request.json", include_str!("manifests/request.json"));
}

#[test]
fn an_alias_is_told_of_where_its_value_stands() {
    check("aliases.yaml", include_str!("manifests/aliases.yaml"));
}

#[test]
fn what_keeps_a_ca_from_being_injected_is_told() {
    check("injection.yaml", include_str!("manifests/injection.yaml"));
}

#[test]
fn what_asks_for_a_ca_as_it_should_is_clean() {
    check("injected.yaml", include_str!("manifests/injected.yaml"));
}

#[test]
fn a_linter_of_injection_passes_over_our_own_kinds() {
    let text =
        format!("{}---\n{}", include_str!("manifests/names.yaml"), include_str!("manifests/injected.yaml"));
    let report = Linter::of_injection().lint(&text);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.objects, report.others), (5, 12));
}

#[test]
fn objects_are_unpacked_and_a_broken_text_has_none() {
    let text = "{kind: A}\n---\n---\n{kind: BList, items: [{kind: B}, {kind: C, metadata: {name: c}}]}\n";
    let kinds: Vec<_> = lint::objects(text).unwrap().iter().map(|object| object["kind"].clone()).collect();
    assert_eq!(kinds, ["A", "B", "C"]);
    assert!(lint::objects("{kind: A}\n---\na: b: c").unwrap_err().starts_with("3:5: not YAML"));
}

#[test]
fn what_stands_before_a_broken_line_is_told_of() {
    check("broken.yaml", include_str!("manifests/broken.yaml"));
}
