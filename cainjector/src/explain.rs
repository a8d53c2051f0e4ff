//! Why a target has what it has: what is asked for, what was found on the way to it, what each field holds and would hold,
//! and what to do. Pure, and from the same inputs and plan as the injector's own.

mod advice;
mod contested;
mod hop;
mod left_out;
mod text;

use std::collections::{BTreeMap, HashMap};

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use runtime::watch::{ObjectName, State};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

pub use contested::Contested;
pub use hop::Hop;
pub use left_out::LeftOut;

use crate::plan::{Inputs, Plan, Planned, Reason, Refusal, plan};
use crate::reference::{self, Wanted};
use crate::source::{SourceCertificate, SourceSecret};
use crate::target::{FieldPath, Live};

/// What an explanation is made of, besides the clock.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The target.
    pub live: &'a Live,
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Its labels, in which somebody may look for an annotation in vain.
    pub labels: &'a BTreeMap<String, String>,
    /// Who manages its fields.
    pub managed: &'a [ManagedFieldsEntry],
    /// What its plan is made of. `None`: it asks for nothing.
    pub inputs: Option<&'a Inputs>,
    /// The objects behind its source.
    pub objects: &'a Objects,
    /// Why the injector does not look at it, if it does not.
    pub left_out: Option<&'a LeftOut>,
}

/// Objects behind sources, as they were read.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Certificates.
    pub certificates: HashMap<ObjectName, State<SourceCertificate>>,
    /// Secrets.
    pub secrets: HashMap<ObjectName, State<SourceSecret>>,
}

/// All that there is to be said about a target. As JSON it is part of the command line's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Kind of the target.
    pub kind: &'static str,
    /// Its namespace, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What it asks for, and by which annotation.
    pub asks: Option<Asks>,
    /// Annotations that ask for something as well, and count for nothing.
    pub passed_over: Vec<&'static str>,
    /// The way to the CA, object by object.
    pub source: Vec<Hop>,
    /// Its bundle fields.
    pub fields: Vec<FieldFacts>,
    /// Why it gets nothing from its source, where it is written all the same: to lose what nobody may trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// What nobody may trust, and stays in a bundle even so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed: Option<String>,
    /// When the plan changes although nothing else does: a certificate expires then, or is taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_change: Option<Timestamp>,
    /// What the API server says to the write, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRun>,
    /// Whether somebody keeps overwriting its bundles, where that was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contested: Option<Contested>,
    /// What to do.
    pub advice: Vec<String>,
}

/// What becomes of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state")]
pub enum Verdict {
    /// It has what it asks for.
    InSync,
    /// Its bundles are about to be written.
    ToBeWritten,
    /// Its bundles are about to be given up.
    ToBeReleased,
    /// It has what it asks for, and certificates that have expired.
    Deferred {
        /// When they are taken out.
        until: Timestamp,
    },
    /// It keeps what it has.
    Refused {
        /// For programs.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// The injector does not look at it, and it keeps what it has.
    LeftOut {
        /// For people.
        message: String,
    },
    /// It asks for nothing, and keeps what it has.
    Idle,
    /// It is being deleted: nothing is done to it any more.
    Deleting,
}

/// Why a target gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What a target asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asks {
    /// The annotation that decides.
    pub annotation: &'static str,
    /// Its value.
    pub value: String,
}

/// What the API server says to a write that was sent for trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Whether it would be accepted.
    pub accepted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One bundle field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldFacts {
    /// Where it is.
    pub path: String,
    /// The certificates that are there.
    pub holds: Vec<CertificateFacts>,
    /// Why what is there is no bundle as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Who manages it.
    pub owners: Vec<OwnerFacts>,
    /// The certificates that would be there after the write, if there is to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub becomes: Option<Vec<CertificateFacts>>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// Its subject.
    pub subject: String,
    /// Its last moment.
    pub expires: Timestamp,
    /// Whether that is over.
    pub has_expired: bool,
    /// SHA-256 of its DER.
    pub sha256: String,
    /// Whether the source has it.
    pub is_from_source: bool,
    /// Whether it can vouch for others: a CA, or one that vouches for itself.
    pub is_ca: bool,
}

/// Who manages a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnerFacts {
    /// Name of the field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
}

impl Verdict {
    /// Whether the target has what it asks for.
    pub fn is_in_sync(&self) -> bool {
        matches!(self, Self::InSync | Self::Deferred { .. })
    }
}

impl Explanation {
    /// The target, as in messages.
    pub fn target(&self) -> String {
        let name = ObjectName { namespace: self.namespace.clone(), name: self.name.clone() };
        format!("{} {name}", self.kind)
    }

    /// Whether the target has what it asks for, and the API server, where it was asked, minds nothing.
    pub fn is_in_sync(&self) -> bool {
        self.verdict.is_in_sync() && self.dry_run.as_ref().is_none_or(|dry_run| dry_run.accepted)
    }
}

/// Explains what becomes of a target.
pub fn explain(facts: &Facts<'_>, now: Timestamp) -> Explanation {
    let Facts { live, annotations, inputs, objects, left_out, .. } = *facts;
    // What is ours in an old form changes its form first; the bundles are written right after that.
    let migrated = Live { owners: Vec::new(), ..live.clone() };
    let is_release = inputs.is_some_and(|inputs| inputs.wanted == Wanted::Release);
    let planned = inputs.map(|inputs| plan(if is_release { live } else { &migrated }, inputs, now));
    let planned = planned.filter(|_| left_out.is_none()).unwrap_or_else(|| Planned::of(Plan::Stopped));
    let Planned { plan, again, advice: found, refusal, exposure, .. } = planned;
    let source = inputs.and_then(|inputs| inputs.source.as_ref().ok()).map(AsRef::as_ref);
    let asks = inputs.and_then(|inputs| asks(&inputs.wanted, annotations));
    let decides = asks.as_ref().map(|asks| asks.annotation);
    let passed_over = reference::ANNOTATIONS.iter().copied();
    let passed_over = passed_over.filter(|each| Some(*each) != decides && annotations.contains_key(*each));
    let mut explanation = Explanation {
        kind: live.target.kind.kind(),
        namespace: live.target.name.namespace.clone(),
        name: live.target.name.name.clone(),
        verdict: verdict(live, &plan, left_out.filter(|_| inputs.is_some())),
        asks,
        passed_over: passed_over.collect(),
        source: inputs.map(|inputs| hop::hops(inputs, objects, now)).unwrap_or_default(),
        fields: fields(facts, &plan, source, now),
        refused: refusal.map(|Refusal { reason, message }| Refused { reason, message }),
        exposed: exposure,
        next_change: again,
        dry_run: None,
        contested: None,
        advice: Vec::new(),
    };
    explanation.advice = advice::advice(facts, &explanation);
    explanation.advice.extend(found.into_iter().map(|advice| advice.message));
    explanation
}

fn verdict(live: &Live, plan: &Plan, left_out: Option<&LeftOut>) -> Verdict {
    if live.deleting {
        return Verdict::Deleting;
    }
    if let Some(left_out) = left_out {
        return Verdict::LeftOut { message: left_out.why.clone() };
    }
    match plan {
        Plan::Stopped => Verdict::Idle,
        Plan::InSync => Verdict::InSync,
        Plan::Apply { .. } => Verdict::ToBeWritten,
        Plan::Migrate { .. } | Plan::Release { .. } => Verdict::ToBeReleased,
        Plan::Deferred { until } => Verdict::Deferred { until: *until },
        Plan::Refused(refusal) => {
            Verdict::Refused { reason: refusal.reason, message: refusal.message.clone() }
        }
    }
}

/// The annotation that decides, and its value.
fn asks(wanted: &Wanted, annotations: &BTreeMap<String, String>) -> Option<Asks> {
    let annotation = wanted.annotation()?;
    Some(Asks { annotation, value: annotations.get(annotation).cloned().unwrap_or_default() })
}

fn fields(facts: &Facts<'_>, plan: &Plan, source: Option<&Bundle>, now: Timestamp) -> Vec<FieldFacts> {
    let fields = &facts.live.fields;
    let field = |(path, current): (FieldPath, &[u8])| {
        let (certificates, damage) = read(current);
        let becomes = match plan {
            Plan::Apply { body } => path.find(body).map(written),
            _ => None,
        };
        let told = |certificates: &[Certificate]| {
            certificates.iter().map(|each| CertificateFacts::of(each, source, now)).collect()
        };
        FieldFacts {
            path: path.to_string(),
            holds: told(&certificates),
            damage,
            owners: owners(facts.managed, &path),
            becomes: becomes.as_deref().map(told),
        }
    };
    fields.paths().into_iter().zip(fields.bundles()).map(field).collect()
}

/// The certificates of a bundle, and what is wrong with it.
fn read(bundle: &[u8]) -> (Vec<Certificate>, Option<String>) {
    if bundle.is_empty() {
        return (Vec::new(), None);
    }
    match pem::certificates(bundle, Limit::BUNDLE) {
        Ok(certificates) => (certificates, None),
        Err(error) => {
            let readable = pem::readable_certificates(bundle, Limit::OBJECT).unwrap_or_default();
            (readable.certificates, Some(error.to_string()))
        }
    }
}

/// The certificates of a bundle in an apply, which we made ourselves.
fn written(bundle: &Value) -> Vec<Certificate> {
    match bundle.as_str().filter(|text| text.starts_with('-')) {
        Some(text) => read(text.as_bytes()).0,
        // Of most kinds it is base64.
        None => read(&ByteString::deserialize(bundle).unwrap_or_default().0).0,
    }
}

fn owners(managed: &[ManagedFieldsEntry], path: &FieldPath) -> Vec<OwnerFacts> {
    let has =
        |entry: &&ManagedFieldsEntry| entry.fields_v1.as_ref().is_some_and(|fields| path.is_among(&fields.0));
    let owner = |entry: &ManagedFieldsEntry| OwnerFacts {
        manager: entry.manager.clone().unwrap_or_default(),
        operation: entry.operation.clone().unwrap_or_default(),
    };
    managed.iter().filter(has).map(owner).collect()
}

impl CertificateFacts {
    fn of(certificate: &Certificate, source: Option<&Bundle>, now: Timestamp) -> Self {
        Self {
            subject: certificate.subject(),
            expires: certificate.not_after(),
            has_expired: certificate.not_after() < now,
            sha256: certificate.fingerprint().to_string(),
            is_from_source: source.is_some_and(|source| source.contains(certificate)),
            is_ca: certificate.is_ca() || certificate.is_self_issued(),
        }
    }
}

#[cfg(test)]
mod tests;
