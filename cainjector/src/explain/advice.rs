//! What to do about a target.

use api::keys::annotation;
use lint::Linter;
use runtime::watch::ObjectName;
use serde_json::{Map, Value, json};

use super::{Explanation, Facts, FieldFacts, Verdict};
use crate::MANAGER;
use crate::plan::Reason;
use crate::reference::{SourceRef, Wanted};

/// Longest value that may ask for something; others, such as whole manifests, are passed over.
const VALUE_BYTES_MAX: usize = 1024;

/// What to do, most pressing first.
pub(super) fn advice(facts: &Facts<'_>, explanation: &Explanation) -> Vec<String> {
    // Of one that asks for nothing, too: it would ask in vain.
    let mut advice: Vec<String> = facts.left_out.map(|left_out| left_out.cure.clone()).into_iter().collect();
    match &explanation.verdict {
        Verdict::Refused { reason, .. } => advice.extend(cure(facts, explanation, *reason)),
        Verdict::Idle => {
            let [secret, certificate] = [annotation::INJECT_CA_FROM_SECRET, annotation::INJECT_CA_FROM];
            advice.push(format!(
                "to have a CA injected, annotate it: {secret} or {certificate}: NAMESPACE/NAME"
            ));
        }
        Verdict::InSync
        | Verdict::ToBeWritten
        | Verdict::ToBeReleased
        | Verdict::Deferred { .. }
        | Verdict::LeftOut { .. }
        | Verdict::Deleting => {}
    }
    if let Some(refused) = &explanation.refused {
        advice.extend(cure(facts, explanation, refused.reason));
    }
    advice.extend(misplaced(facts));
    advice.extend(explanation.fields.iter().flat_map(rivals));
    advice
}

/// What takes the reason away. `None`: the text of the refusal says it.
fn cure(facts: &Facts<'_>, explanation: &Explanation, reason: Reason) -> Option<String> {
    let wanted = &facts.inputs?.wanted;
    let namespace = explanation.namespace.iter().map(|namespace| format!("-n {namespace} "));
    let target =
        format!("{}{}/{}", namespace.collect::<String>(), explanation.kind.to_lowercase(), explanation.name);
    let annotate = wanted
        .annotation()
        .map(|annotation| format!("kubectl annotate --overwrite {target} {annotation}=NAMESPACE/NAME"));
    let (kind, name) = match wanted {
        Wanted::Source(SourceRef::Secret(name)) => ("secret", Some(name)),
        Wanted::Source(SourceRef::Certificate(name)) => ("certificate", Some(name)),
        _ => ("", None),
    };
    let source = name.map(|ObjectName { namespace, name }| {
        format!("-n {} {kind} {name}", namespace.as_deref().unwrap_or_default())
    });
    match reason {
        Reason::MalformedReference => annotate,
        Reason::SourceNotFound => {
            Some(format!("create what is missing, or name another source: {}", annotate?))
        }
        Reason::SourceNotAllowed => {
            let consent = annotation::ALLOW_DIRECT_INJECTION;
            Some(format!("if its owner agrees: kubectl annotate --overwrite {} {consent}=true", source?))
        }
        Reason::SourceNotOwned => {
            let text = "give the Certificate a spec.secretName of its own, or name the Certificate that the Secret is of";
            Some(text.to_owned())
        }
        Reason::SourceUnavailable => {
            Some(format!("see what keeps it from being read: kubectl get {}", source?))
        }
        Reason::Forbidden => {
            Some("grant it: `signet-cainjector rbac` prints the Roles that are needed".to_owned())
        }
        Reason::PrivateKeyInSource => {
            Some("take the key out of ca.crt and replace it everywhere: others have seen it".to_owned())
        }
        Reason::NoCAData | Reason::InvalidPEM => Some(
            "put the CA certificates, PEM, and nothing else into ca.crt; ACME issuers give none".to_owned(),
        ),
        Reason::CAExpired => Some("renew the CA, and put the new one into the source".to_owned()),
        Reason::CADenied => Some("renew the CA; what nobody may trust stays denied".to_owned()),
        // The injector alone knows what it watches.
        Reason::TooManySources => None,
        Reason::SourceNotSupported
        | Reason::NamespaceNotServed
        | Reason::CAExpiringSoon
        | Reason::NotACA
        | Reason::FieldContested
        | Reason::NotApplicable
        | Reason::BundleTooLarge
        | Reason::RejectedByAPIServer => None,
    }
}

/// Annotations and labels that were meant to ask for a CA and do not: what a linter says about the object's metadata.
fn misplaced(facts: &Facts<'_>) -> Vec<String> {
    let short = |(key, value): (&String, &String)| {
        (value.len() <= VALUE_BYTES_MAX).then(|| (key.clone(), Value::from(value.as_str())))
    };
    let [annotations, labels] = [facts.annotations, facts.labels]
        .map(|texts| -> Map<String, Value> { texts.iter().filter_map(short).collect() });
    let resource = facts.live.target.kind.resource();
    let manifest = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"annotations": annotations, "labels": labels},
    });
    let report = Linter::of_injection().lint(&manifest.to_string());
    let told = report.findings.into_iter().filter(|finding| finding.finding.rule.id == "L11");
    told.map(|finding| finding.finding.to_string()).collect()
}

/// Who else writes a field of ours.
fn rivals(field: &FieldFacts) -> Option<String> {
    let mut others = field.owners.iter().filter(|owner| owner.manager != MANAGER);
    let other = others.next()?;
    Some(format!(
        "{:?} writes {} as well: take caBundle out of what it writes, or each undoes the work of the other",
        other.manager, field.path
    ))
}
