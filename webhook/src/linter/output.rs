//! How findings are printed.

use std::process::ExitCode;

use lint::{Finding, Report, Severity};
use serde_json::{Value, json};

use super::files::{Source, Unreadable};

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// One line each, and a summary on standard error.
    Text,
    /// One JSON object.
    Json,
}

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Nothing is wrong, or nothing that counts.
    Clean,
    /// Something is.
    Findings,
    /// Not everything could be judged.
    Unreadable,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::SUCCESS,
            Outcome::Findings => Self::from(1),
            Outcome::Unreadable => Self::from(2),
        }
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Told {
    reports: Vec<(String, Report)>,
    unreadable: Vec<(String, String)>,
}

impl Told {
    pub(super) fn add(&mut self, source: &Source, report: Report) {
        self.reports.push((source.name.clone(), report));
    }

    pub(super) fn add_unreadable(&mut self, source: &Source, error: &Unreadable) {
        self.unreadable.push((source.name.clone(), error.to_string()));
    }

    /// A line for each finding, as compilers print theirs.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (file, report) in &self.reports {
            for finding in &report.findings {
                text.push_str(&format!("{file}:{finding}\n"));
            }
            if report.untold > 0 {
                text.push_str(&format!("{file}: {} more findings\n", report.untold));
            }
        }
        for (file, error) in &self.unreadable {
            text.push_str(&format!("{file}: error: {error}\n"));
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let findings: Vec<Value> = (self.reports.iter())
            .flat_map(|(file, report)| report.findings.iter().map(|finding| member(file, finding)))
            .collect();
        let unreadable: Vec<Value> =
            self.unreadable.iter().map(|(file, error)| json!({"file": file, "message": error})).collect();
        let body = json!({
            "findings": findings,
            "unreadable": unreadable,
            "summary": {
                "errors": self.count(Severity::Error),
                "warnings": self.count(Severity::Warning),
                "untold": self.sum(|report| report.untold),
                "objects": self.sum(|report| report.objects),
                "others": self.sum(|report| report.others),
            },
        });
        format!("{body:#}\n")
    }

    pub(super) fn summary(&self) -> String {
        let number =
            |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        format!(
            "{} and {} in {}; {} of other kinds passed over",
            number(self.count(Severity::Error), "error"),
            number(self.count(Severity::Warning), "warning"),
            number(self.sum(|report| report.objects), "object"),
            self.sum(|report| report.others),
        )
    }

    pub(super) fn outcome(&self, warnings_count: bool) -> Outcome {
        let all_read =
            self.unreadable.is_empty() && !self.reports.iter().any(|(_, report)| report.is_unreadable);
        let warnings = if warnings_count { self.count(Severity::Warning) } else { 0 };
        let counted = self.count(Severity::Error) + warnings + self.sum(|report| report.untold);
        match (all_read, counted) {
            (false, _) => Outcome::Unreadable,
            (true, 0) => Outcome::Clean,
            (true, _) => Outcome::Findings,
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.sum(|report| report.count(severity))
    }

    fn sum(&self, of: impl Fn(&Report) -> usize) -> usize {
        self.reports.iter().map(|(_, report)| of(report)).sum()
    }
}

fn member(file: &str, finding: &Finding) -> Value {
    let Finding { at, severity, object, finding } = finding;
    json!({
        "file": file,
        "line": at.line,
        "column": at.column,
        "severity": severity.as_str(),
        "rule": finding.rule.id,
        "object": object,
        "path": finding.path,
        "message": finding.message(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use lint::Linter;
    use std::path::PathBuf;

    use super::*;

    fn told(texts: &[&str]) -> Told {
        let linter = Linter::new(rules::Settings::default(), None);
        let mut told = Told::default();
        for (number, text) in texts.iter().enumerate() {
            let [source] = &Source::all(&[PathBuf::from(format!("{number}.yaml"))], false)[..] else {
                panic!("one name is one source");
            };
            told.add(source, linter.lint(text));
        }
        told
    }

    const GOOD: &str =
        "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec: {selfSigned: {}}\n";
    const BAD: &str = "kind: Secret\n---\napiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec:\n  selfsigned: {}\n";
    const WARNED: &str = "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: a}, spec: {acme: {server: 'https://acme.test/', privateKeySecretRef: {name: a}, externalAccountBinding: {keyID: a, keySecretRef: {name: a, key: a}, keyAlgorithm: HS256}, solvers: [{http01: {ingress: {}}}]}}}";

    fn check(told: &Told, outcome: Outcome, text: &Expect) {
        assert_eq!(told.outcome(false), outcome);
        text.assert_eq(&format!("{}{}", told.text(), told.summary()));
    }

    #[test]
    fn what_cannot_be_read_outweighs_findings() {
        let mut told = told(&[BAD, "a: b: c"]);
        let missing = Source::all(&[PathBuf::from("missing.yaml")], false);
        told.add_unreadable(&missing[0], &missing[0].read().unwrap_err());
        check(
            &told,
            Outcome::Unreadable,
            &expect![[r#"
            0.yaml:6:1: error I01: spec: Required value: set one of acme, ca, selfSigned, vault, venafi
            0.yaml:7:3: error L03: spec.selfsigned: Forbidden: spec has no such field; write "selfSigned"
            1.yaml:1:5: error L01: not YAML: mapping values are not allowed in this context
            missing.yaml: error: cannot be read: No such file or directory (os error 2)
            3 errors and 0 warnings in 1 object; 1 of other kinds passed over"#]],
        );
    }

    #[test]
    fn findings_have_their_line() {
        check(
            &told(&[BAD, GOOD]),
            Outcome::Findings,
            &expect![[r#"
            0.yaml:6:1: error I01: spec: Required value: set one of acme, ca, selfSigned, vault, venafi
            0.yaml:7:3: error L03: spec.selfsigned: Forbidden: spec has no such field; write "selfSigned"
            2 errors and 0 warnings in 2 objects; 1 of other kinds passed over"#]],
        );
    }

    #[test]
    fn warnings_count_where_they_are_to() {
        let told = told(&[WARNED]);
        assert_eq!(told.outcome(true), Outcome::Findings);
        assert_eq!(told.outcome(false), Outcome::Clean);
        assert!(told.text().starts_with("0.yaml:1:"), "{}", told.text());
    }

    #[test]
    fn good_manifests_are_clean() {
        check(
            &told(&[GOOD]),
            Outcome::Clean,
            &expect!["0 errors and 0 warnings in 1 object; 0 of other kinds passed over"],
        );
    }

    #[test]
    fn json_says_the_same() {
        expect![[r#"
            {
              "findings": [
                {
                  "column": 1,
                  "file": "0.yaml",
                  "line": 6,
                  "message": "Required value: set one of acme, ca, selfSigned, vault, venafi",
                  "object": "Issuer a",
                  "path": "spec",
                  "rule": "I01",
                  "severity": "error"
                },
                {
                  "column": 3,
                  "file": "0.yaml",
                  "line": 7,
                  "message": "Forbidden: spec has no such field; write \"selfSigned\"",
                  "object": "Issuer a",
                  "path": "spec.selfsigned",
                  "rule": "L03",
                  "severity": "error"
                }
              ],
              "summary": {
                "errors": 2,
                "objects": 1,
                "others": 1,
                "untold": 0,
                "warnings": 0
              },
              "unreadable": []
            }
        "#]]
        .assert_eq(&told(&[BAD]).json());
    }
}
