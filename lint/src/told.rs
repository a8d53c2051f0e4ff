//! The reports of several texts, as they are printed.

use serde_json::{Value, json};

use crate::{Finding, Report, Severity};

/// Everything that was found in several texts.
#[derive(Debug, Default)]
pub struct Told {
    reports: Vec<(String, Report)>,
    unreadable: Vec<(String, String)>,
}

impl Told {
    /// Takes in what was found in the text of this name, or why it could not be read.
    pub(crate) fn add(&mut self, name: String, report: Result<Report, String>) {
        match report {
            Ok(report) => self.reports.push((name, report)),
            Err(error) => self.unreadable.push((name, error)),
        }
    }

    /// A line for each finding, as compilers print theirs.
    pub fn text(&self) -> String {
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

    /// The same as one JSON object.
    pub fn json(&self) -> String {
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

    /// How much was found, in one line.
    pub fn summary(&self) -> String {
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

    /// Whether nothing that counts was found. `None`: not everything could be judged.
    pub fn is_clean(&self, warnings_count: bool) -> Option<bool> {
        let all_read =
            self.unreadable.is_empty() && !self.reports.iter().any(|(_, report)| report.is_unreadable);
        let warnings = if warnings_count { self.count(Severity::Warning) } else { 0 };
        let counted = self.count(Severity::Error) + warnings + self.sum(|report| report.untold);
        all_read.then_some(counted == 0)
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

    use super::*;
    use crate::Linter;

    fn told(texts: &[&str]) -> Told {
        let linter = Linter::new(rules::Settings::default(), None);
        let numbered = texts.iter().enumerate();
        linter.tell(numbered.map(|(number, text)| (format!("{number}.yaml"), Ok((*text).to_owned()))))
    }

    const GOOD: &str =
        "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec: {selfSigned: {}}\n";
    const BAD: &str = "kind: Secret\n---\napiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec:\n  selfsigned: {}\n";
    const WARNED: &str = "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: a}, spec: {acme: {server: 'https://acme.test/', privateKeySecretRef: {name: a}, externalAccountBinding: {keyID: a, keySecretRef: {name: a, key: a}, keyAlgorithm: HS256}, solvers: [{http01: {ingress: {}}}]}}}";

    fn check(told: &Told, is_clean: Option<bool>, text: &Expect) {
        assert_eq!(told.is_clean(false), is_clean);
        text.assert_eq(&format!("{}{}", told.text(), told.summary()));
    }

    #[test]
    fn what_cannot_be_read_outweighs_findings() {
        let mut told = told(&[BAD, "a: b: c"]);
        told.add(
            "missing.yaml".to_owned(),
            Err("cannot be read: No such file or directory (os error 2)".to_owned()),
        );
        check(
            &told,
            None,
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
            Some(false),
            &expect![[r#"
            0.yaml:6:1: error I01: spec: Required value: set one of acme, ca, selfSigned, vault, venafi
            0.yaml:7:3: error L03: spec.selfsigned: Forbidden: spec has no such field; write "selfSigned"
            2 errors and 0 warnings in 2 objects; 1 of other kinds passed over"#]],
        );
    }

    #[test]
    fn warnings_count_where_they_are_to() {
        let told = told(&[WARNED]);
        assert_eq!(told.is_clean(true), Some(false));
        assert_eq!(told.is_clean(false), Some(true));
        assert!(told.text().starts_with("0.yaml:1:"), "{}", told.text());
    }

    #[test]
    fn good_manifests_are_clean() {
        check(
            &told(&[GOOD]),
            Some(true),
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
