//! Whether a write approves or denies a CertificateRequest, for which a right is needed (spec A1).

use api::{CertificateRequestSpec, IssuerRef, conditions};
use rules::Case;

/// An approval or denial that is being written, for which a right is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The issuer of the request.
    pub issuer: IssuerRef,
    /// The namespace of the request.
    pub namespace: String,
}

/// Whether a write adds an approver's decision. Changing or removing one is barred by rules R17 and R18.
pub fn decision(case: &Case<'_, CertificateRequestSpec>, namespace: &str) -> Option<Decision> {
    let old = case.old.filter(|_| case.subresource == Some("status"))?;
    let before = old.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let after = case.object.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let added = |type_| conditions::find(before, type_).is_none() && conditions::find(after, type_).is_some();
    (added(conditions::APPROVED) || added(conditions::DENIED))
        .then(|| Decision { issuer: case.object.spec.issuer_ref.clone(), namespace: namespace.to_owned() })
}

#[cfg(test)]
mod tests {
    use rules::Object;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_new_decision_on_the_status_needs_a_right() {
        let object = |conditions: Value| -> Object<CertificateRequestSpec> {
            serde_json::from_value(json!({"spec": {"issuerRef": {"name": "ca"}},
                "status": {"conditions": conditions}}))
            .unwrap()
        };
        let none = object(json!([]));
        let ready = object(json!([{"type": "Ready", "status": "True"}]));
        let approved = object(json!([{"type": "Approved", "status": "True"}]));
        let denied = object(json!([{"type": "Denied", "status": "False"}]));
        let needed = |new, old, subresource| {
            decision(&Case { subresource, ..Case::update(new, old) }, "team-a").is_some()
        };
        assert!(needed(&approved, &none, Some("status")));
        assert!(needed(&denied, &ready, Some("status")));
        assert!(needed(&denied, &approved, Some("status")));
        assert!(!needed(&ready, &none, Some("status")));
        assert!(!needed(&approved, &approved, Some("status")));
        assert!(!needed(&approved, &none, None));
        assert!(decision(&Case::create(&approved), "team-a").is_none());
    }
}
