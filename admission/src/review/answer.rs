//! What is answered to a review, and how it is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rules::{Finding, Verdict};
use serde::Serialize;

use super::{API_VERSIONS, KIND};

/// Most warnings of one answer. The API server cuts them once all have 4096 characters together, and nobody reads more.
const WARNINGS_MAX: usize = 10;

/// The answer to one review.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The object may be stored as it is.
    Allowed {
        /// What the user should know nevertheless.
        warnings: Vec<Finding>,
    },
    /// The object may be stored with these changes (RFC 6902).
    Patched {
        /// The operations; not empty.
        patch: serde_json::Value,
    },
    /// The object may not be stored.
    Denied(Denial),
}

impl Answer {
    /// The code in the answer's status: 200 for what is allowed.
    pub fn code(&self) -> u16 {
        match self {
            Self::Allowed { .. } | Self::Patched { .. } => 200,
            Self::Denied(denial) => denial.code,
        }
    }

    /// What a rule engine's verdict means for the user. With `forbids_only` every denial is a 403.
    pub fn of_verdict(verdict: Verdict, about: &About<'_>, forbids_only: bool) -> Self {
        if verdict.is_allowed() {
            return Self::Allowed { warnings: verdict.warnings };
        }
        let (code, reason) =
            if forbids_only || verdict.is_forbidden() { (403, "Forbidden") } else { (422, "Invalid") };
        Self::Denied(Denial {
            code,
            reason,
            message: verdict.message(),
            about: Some(Box::new(Named {
                name: about.name.to_owned(),
                group: about.group,
                kind: about.kind,
            })),
            findings: verdict.denials,
            warnings: verdict.warnings,
        })
    }
}

/// The object that an answer is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Its name.
    pub name: &'a str,
    /// API group of its kind.
    pub group: &'static str,
    /// Its kind.
    pub kind: &'static str,
}

/// The object that a denial is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name; empty while it is to be generated.
    pub name: String,
    /// API group of its kind.
    pub group: &'static str,
    /// Its kind.
    pub kind: &'static str,
}

/// Why an object may not be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// The HTTP status that the user's request ends with.
    pub code: u16,
    /// The same in a word (meta/v1 StatusReason).
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Name, group and kind of the object, for denials by rules.
    pub about: Option<Box<Named>>,
    /// The broken rules.
    pub findings: Vec<Finding>,
    /// What else the user should know.
    pub warnings: Vec<Finding>,
}

impl Denial {
    /// A denial that is not about a field.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let (about, findings, warnings) = (None, Vec::new(), Vec::new());
        Self { code, reason, message: message.into(), about, findings, warnings }
    }

    /// A review that cannot be read.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// A failure of ours, worth trying again.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }
}

/// A denial by one rule about the review, or the object, as a whole.
impl From<Finding> for Denial {
    fn from(finding: Finding) -> Self {
        let mut denial = Self::new(403, "Forbidden", finding.to_string());
        denial.findings.push(finding);
        denial
    }
}

/// Writes the answer to the review `uid`.
pub fn write(api_version: Option<&'static str>, uid: &str, answer: &Answer) -> Vec<u8> {
    let (patch, denial, warnings) = match answer {
        Answer::Allowed { warnings } => (None, None, warnings.as_slice()),
        Answer::Patched { patch } => (Some(STANDARD.encode(patch.to_string())), None, [].as_slice()),
        Answer::Denied(denial) => (None, Some(denial), denial.warnings.as_slice()),
    };
    let envelope = EnvelopeOut {
        kind: KIND,
        api_version: api_version.unwrap_or(API_VERSIONS[0]),
        response: ResponseOut {
            uid,
            allowed: denial.is_none(),
            patch_type: patch.as_ref().map(|_| "JSONPatch"),
            patch,
            status: status(answer.code(), denial),
            warnings: told(warnings),
        },
    };
    // Maps have text keys and nothing else can fail; an empty answer is a failed call to the API server.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

fn status(code: u16, denial: Option<&Denial>) -> StatusOut<'_> {
    let Some(denial) = denial else {
        return StatusOut { code, status: None, reason: None, message: None, details: None };
    };
    let causes: Vec<CauseOut<'_>> = denial
        .findings
        .iter()
        .filter(|finding| !finding.path.is_empty())
        .map(|finding| CauseOut {
            reason: finding.fault.reason(),
            message: finding.message(),
            field: &finding.path,
        })
        .collect();
    let details = denial.about.as_ref().map(|about| DetailsOut {
        name: &about.name,
        group: about.group,
        kind: about.kind,
        causes,
    });
    StatusOut {
        status: Some("Failure"),
        message: Some(&denial.message),
        reason: Some(denial.reason),
        details,
        code,
    }
}

/// The first warnings, and how many others there are.
fn told(warnings: &[Finding]) -> Vec<String> {
    let further = warnings.len().saturating_sub(WARNINGS_MAX);
    let rest = (further > 0).then(|| format!("… and {further} more warnings"));
    warnings.iter().take(WARNINGS_MAX).map(Finding::warning).chain(rest).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeOut<'a> {
    kind: &'static str,
    api_version: &'static str,
    response: ResponseOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseOut<'a> {
    uid: &'a str,
    allowed: bool,
    status: StatusOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct StatusOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<DetailsOut<'a>>,
    code: u16,
}

#[derive(Serialize)]
struct DetailsOut<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    group: &'static str,
    kind: &'static str,
    causes: Vec<CauseOut<'a>>,
}

#[derive(Serialize)]
struct CauseOut<'a> {
    reason: &'static str,
    message: String,
    field: &'a str,
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn written(answer: &Answer, wanted: &Expect) {
        let bytes = write(Some(API_VERSIONS[0]), "u-1", answer);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        wanted.assert_eq(&serde_json::to_string_pretty(&value).unwrap());
    }

    fn missing_name() -> Finding {
        let rule = rules::table().find(|rule| rule.id == "C03").unwrap();
        let mut finding = Finding::new(rule, rule.path, rules::Fault::Required);
        finding.advice("name the issuer");
        finding
    }

    const ABOUT: About<'_> = About { name: "web", group: "cert-manager.io", kind: "Certificate" };

    #[test]
    fn a_denial_by_rules_names_each_field() {
        let verdict = Verdict { denials: vec![missing_name()], warnings: vec![missing_name()] };
        written(
            &Answer::of_verdict(verdict, &ABOUT, false),
            &expect![[r#"
                {
                  "apiVersion": "admission.k8s.io/v1",
                  "kind": "AdmissionReview",
                  "response": {
                    "allowed": false,
                    "status": {
                      "code": 422,
                      "details": {
                        "causes": [
                          {
                            "field": "spec.issuerRef.name",
                            "message": "Required value: name the issuer",
                            "reason": "FieldValueRequired"
                          }
                        ],
                        "group": "cert-manager.io",
                        "kind": "Certificate",
                        "name": "web"
                      },
                      "message": "spec.issuerRef.name: Required value: name the issuer",
                      "reason": "Invalid",
                      "status": "Failure"
                    },
                    "uid": "u-1",
                    "warnings": [
                      "spec.issuerRef.name: Required value: name the issuer"
                    ]
                  }
                }"#]],
        );
    }

    #[test]
    fn a_denial_that_is_not_about_fields_is_a_message() {
        written(
            &Answer::Denied(Denial::malformed("no")),
            &expect![[r#"
                {
                  "apiVersion": "admission.k8s.io/v1",
                  "kind": "AdmissionReview",
                  "response": {
                    "allowed": false,
                    "status": {
                      "code": 400,
                      "message": "no",
                      "reason": "BadRequest",
                      "status": "Failure"
                    },
                    "uid": "u-1"
                  }
                }"#]],
        );
    }

    #[test]
    fn no_more_is_warned_of_than_the_api_server_passes_on_whole() {
        let warned = |count: usize| -> Vec<String> {
            let mut finding = missing_name();
            finding.advice("é".repeat(300));
            let answer = Answer::Allowed { warnings: vec![finding; count] };
            let bytes = write(None, "u-1", &answer);
            let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            serde_json::from_value(value["response"]["warnings"].take()).unwrap()
        };
        let many = warned(100);
        assert_eq!((many.len(), many[10].as_str()), (11, "… and 90 more warnings"));
        assert!(many.iter().map(|text| text.chars().count()).sum::<usize>() < 4096);
        assert!(warned(10).iter().all(|text| text.chars().count() == 120));
    }

    #[test]
    fn an_allowed_object_gets_a_short_answer() {
        written(
            &Answer::Allowed { warnings: Vec::new() },
            &expect![[r#"
                {
                  "apiVersion": "admission.k8s.io/v1",
                  "kind": "AdmissionReview",
                  "response": {
                    "allowed": true,
                    "status": {
                      "code": 200
                    },
                    "uid": "u-1"
                  }
                }"#]],
        );
    }

    #[test]
    fn a_patch_is_sent_in_base64() {
        written(
            &Answer::Patched { patch: json!([{"op": "remove", "path": "/spec/extra"}]) },
            &expect![[r#"
                {
                  "apiVersion": "admission.k8s.io/v1",
                  "kind": "AdmissionReview",
                  "response": {
                    "allowed": true,
                    "patch": "W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL3NwZWMvZXh0cmEifV0=",
                    "patchType": "JSONPatch",
                    "status": {
                      "code": 200
                    },
                    "uid": "u-1"
                  }
                }"#]],
        );
    }
}
