//! Examples of refused objects, one for each rule: documentation shows them and tests judge them.

use api::CertificateRequestSpec;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::case::{Case, Context, Judged, Object, Requester, Settings};
use crate::cluster::{Cluster, Snapshot};
use crate::finding::Finding;
use crate::review;
use crate::rule::Kind;
use crate::verdict::{Verdict, judge};

/// Where the examples of rules lie: `examples/<folder>/<rule id>.yaml`, with the kinds whose rules the folder is for.
pub const EXAMPLE_FOLDERS: &[(&str, &[Kind])] = &[
    ("certificate", &[Kind::Certificate]),
    ("certificaterequest", &[Kind::CertificateRequest]),
    ("issuer", &[Kind::Issuer, Kind::ClusterIssuer]),
    ("order", &[Kind::Order]),
    ("challenge", &[Kind::Challenge]),
    ("review", Kind::ALL),
];

/// A write with all that a rule may look at. Files hold one in YAML.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Example {
    /// The object as it would be stored.
    pub object: Value,
    /// The object as it is stored; None on creation.
    pub old: Option<Value>,
    /// The subresource that is written; None for the object itself.
    pub subresource: Option<String>,
    /// Who asks; None where no rule needs to know.
    pub requester: Option<Requester>,
    /// What the operator set.
    pub settings: Settings,
    /// The time; None where no rule needs to know.
    pub now: Option<Timestamp>,
    /// What else is in the cluster; None where no rule needs to know.
    pub cluster: Option<Snapshot>,
    /// The resource that the review is about; None for the one that the object belongs to.
    pub resource: Option<Resource>,
    /// What the API server says about an approval; None where nobody approves.
    pub approval: Option<Approval>,
}

/// A resource of the API (meta/v1 GroupVersionResource).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resource {
    /// The API group.
    pub group: String,
    /// The version in the group.
    pub version: String,
    /// The plural name.
    pub resource: String,
}

/// How the API server refuses an approval.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// The signers' names that the requester may not approve; none: the issuer's kind is not served.
    pub signers: Vec<String>,
}

/// Why an example cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ExampleError {
    /// The object has no kind that there are rules for.
    #[error("there are no rules for objects of kind {0:?}")]
    Kind(String),
    /// An object is not what its kind demands.
    #[error("the object does not have the form of its kind")]
    Json(#[source] serde_json::Error),
}

impl Example {
    /// Judges the write as the webhook would, by the rules about reviews too.
    ///
    /// # Errors
    /// When the object is of no kind that has rules, or has not the form of its kind.
    pub fn judge(&self) -> Result<Verdict, ExampleError> {
        let kind = match self.kind_by_resource() {
            Ok(kind) => kind?,
            Err(finding) => return Ok(denied(finding)),
        };
        if let Err(finding) =
            review::check_kind("object", text(&self.object, "apiVersion"), self.kind(), kind)
        {
            return Ok(denied(finding));
        }
        match kind {
            Kind::Certificate => self.judge_as::<api::CertificateSpec>(),
            Kind::CertificateRequest => self.judge_request(),
            Kind::Issuer | Kind::ClusterIssuer => self.judge_as::<api::IssuerSpec>(),
            Kind::Order => self.judge_as::<api::OrderSpec>(),
            Kind::Challenge => self.judge_as::<api::ChallengeSpec>(),
        }
    }

    fn kind(&self) -> &str {
        text(&self.object, "kind")
    }

    fn kind_by_resource(&self) -> Result<Result<Kind, ExampleError>, Finding> {
        let kind = match &self.resource {
            Some(Resource { group, version, resource }) => {
                review::kind_of_resource(group, version, resource)?
            }
            None => Kind::ALL.iter().copied().find(|kind| kind.as_str() == self.kind()),
        };
        Ok(kind.ok_or_else(|| ExampleError::Kind(self.kind().to_owned())))
    }

    /// A CertificateRequest is stamped before it is judged, and its approval checked afterwards.
    fn judge_request(&self) -> Result<Verdict, ExampleError> {
        let fits = matches!(self.object.get("spec"), None | Some(Value::Null | Value::Object(_)));
        if let Err(finding) = review::check_stampable(fits) {
            return Ok(denied(finding));
        }
        let mut verdict = self.judge_as::<CertificateRequestSpec>()?;
        if let Some(Approval { signers }) = &self.approval {
            let object: Object<CertificateRequestSpec> = read(&self.object)?;
            let issuer = &object.spec.issuer_ref;
            let username = self.requester.as_ref().map_or("", |requester| &requester.username);
            verdict.denials.push(if signers.is_empty() {
                review::approval_unresolved(issuer)
            } else {
                review::approval_unauthorised(username, issuer, signers)
            });
        }
        Ok(verdict)
    }

    fn judge_as<S: Judged>(&self) -> Result<Verdict, ExampleError> {
        let object: Object<S> = read(&self.object)?;
        let old: Option<Object<S>> = self.old.as_ref().map(read).transpose()?;
        let cluster = self.cluster.as_ref().map(|cluster| cluster as &dyn Cluster);
        Ok(judge(&Case {
            object: &object,
            old: old.as_ref(),
            subresource: self.subresource.as_deref(),
            requester: self.requester.as_ref(),
            context: Context { settings: &self.settings, now: self.now, cluster },
        }))
    }
}

fn denied(finding: Finding) -> Verdict {
    Verdict { denials: vec![finding], warnings: Vec::new() }
}

fn read<S: Judged>(object: &Value) -> Result<Object<S>, ExampleError> {
    Object::deserialize(object).map_err(ExampleError::Json)
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_rules_or_another_form_cannot_be_judged() {
        let error = |example: Value| {
            let example: Example = serde_json::from_value(example).unwrap();
            example.judge().unwrap_err().to_string()
        };
        assert_eq!(
            error(json!({"object": {"apiVersion": "v1", "kind": "Secret"}})),
            "there are no rules for objects of kind \"Secret\""
        );
        assert_eq!(
            error(json!({"object": {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "spec": 7}})),
            "the object does not have the form of its kind"
        );
        assert!(serde_json::from_value::<Example>(json!({"objekt": {}})).is_err());
    }
}
