//! Rules about the issuer.

use api::{CertificateSpec, IssuerRef};

use super::{CERTIFICATE, acme};
use crate::case::Case;
use crate::cluster::Lookup;
use crate::finding::Fault;
use crate::issuer_ref;
use crate::rule::{Check, Class, Findings};

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C03",
        CERTIFICATE,
        "spec.issuerRef.name",
        Class::Spec,
        "The issuer is named",
        |case, findings| issuer_ref::is_named(&case.object.spec.issuer_ref, findings),
    ),
    Check::new(
        "C04",
        CERTIFICATE,
        "spec.issuerRef.kind",
        Class::Spec,
        "The kind of an issuer of our own group is Issuer or ClusterIssuer",
        |case, findings| issuer_ref::has_a_known_kind(&case.object.spec.issuer_ref, findings),
    ),
    Check::new(
        "B09",
        CERTIFICATE,
        "spec",
        Class::Advice,
        "An ACME issuer is asked for what ACME servers sign: DNS names and IP addresses that they can reach, the common \
         name among them, no CA, and wildcards only where a solver uses DNS-01",
        acme::can_sign_it,
    ),
    Check::new(
        "B10",
        CERTIFICATE,
        "spec.issuerRef",
        Class::Advice,
        "The issuer exists, or its API group is served",
        exists,
    ),
];

/// B10. An issuer may well be applied later.
fn exists(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let issuer = &case.object.spec.issuer_ref;
    let Some(cluster) = case.context.cluster.filter(|_| !issuer.name.is_empty()) else { return };
    if !issuer.is_own_group() {
        if cluster.serves_group(issuer.group_or_default()) == Some(false) {
            findings
                .at("spec.issuerRef.group", Fault::Invalid)
                .value(issuer.group_or_default())
                .detail("API group not installed")
                .advice("install it, or correct the group");
        }
        return;
    }
    let namespace = case.object.metadata.namespace.as_str();
    let kind = issuer.kind_or_default();
    let other_kind = match kind {
        "Issuer" => "ClusterIssuer",
        "ClusterIssuer" => "Issuer",
        _ => return, // C04
    };
    if cluster.issuer(namespace, issuer) != Lookup::Missing {
        return;
    }
    let other = IssuerRef { kind: Some(other_kind.to_owned()), ..issuer.clone() };
    let is_meant = matches!(cluster.issuer(namespace, &other), Lookup::Found(_));
    findings
        .at("spec.issuerRef.name", Fault::Invalid)
        .value(issuer.name.as_str())
        .detail(format!("there is no such {kind} yet"))
        .advice(if is_meant {
            format!("set kind: {other_kind}, which exists")
        } else {
            "create it, or correct the name".to_owned()
        });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{check, check_in};
    use crate::case::Context;
    use crate::cluster::Snapshot;

    #[test]
    fn an_issuer_that_does_not_exist_is_warned_of() {
        let cluster: Snapshot = serde_json::from_value(json!({
            "issuers": [{"kind": "Issuer", "metadata": {"namespace": "shop", "name": "ca"}},
                        {"kind": "ClusterIssuer", "metadata": {"name": "root"}}],
            "groups": ["awspca.cert-manager.io"],
        }))
        .unwrap();
        let context = Context { cluster: Some(&cluster), ..Context::default() };
        let check = |issuer: Value, warnings: &[&str]| {
            check_in(context, &json!({"issuerRef": issuer}), &[], warnings);
        };
        check(
            json!({"name": "web"}),
            &[
                "B10 spec.issuerRef.name: Invalid value: \"web\": there is no such Issuer yet; create it, or correct the name",
            ],
        );
        check(
            json!({"name": "root"}),
            &[
                "B10 spec.issuerRef.name: Invalid value: \"root\": there is no such Issuer yet; set kind: ClusterIssuer, which exists",
            ],
        );
        check(
            json!({"name": "ca", "kind": "ClusterIssuer"}),
            &[
                "B10 spec.issuerRef.name: Invalid value: \"ca\": there is no such ClusterIssuer yet; set kind: Issuer, which exists",
            ],
        );
        check(
            json!({"name": "ca", "kind": "StepIssuer", "group": "certmanager.step.sm"}),
            &[
                "B10 spec.issuerRef.group: Invalid value: \"certmanager.step.sm\": API group not installed; install it, or correct the group",
            ],
        );
        check(json!({"name": "ca"}), &[]);
        check(json!({"name": "root", "kind": "ClusterIssuer"}), &[]);
        check(json!({"name": "ca", "kind": "AWSPCAIssuer", "group": "awspca.cert-manager.io"}), &[]);
    }

    #[test]
    fn an_issuer_without_a_name_is_refused() {
        check(
            &json!({"issuerRef": {"kind": "Issuer"}}),
            &["C03 spec.issuerRef.name: Required value: name the Issuer or ClusterIssuer that is to sign"],
        );
    }

    #[test]
    fn an_unknown_kind_of_issuer_is_refused_in_our_group_only() {
        let with = |issuer: Value| json!({"issuerRef": issuer});
        check(
            &with(json!({"name": "ca", "kind": "Clusterissuer"})),
            &[
                "C04 spec.issuerRef.kind: Invalid value: \"Clusterissuer\": not a kind of issuer in the group cert-manager.io; write Issuer or ClusterIssuer, or set spec.issuerRef.group if another controller serves this kind",
            ],
        );
        check(
            &with(json!({"name": "ca", "kind": "AWSPCAIssuer", "group": "cert-manager.io"})),
            &[
                "C04 spec.issuerRef.kind: Invalid value: \"AWSPCAIssuer\": not a kind of issuer in the group cert-manager.io; write Issuer or ClusterIssuer, or the group of this kind into spec.issuerRef.group",
            ],
        );
        check(&with(json!({"name": "ca", "kind": "AWSPCAIssuer", "group": "awspca.cert-manager.io"})), &[]);
        check(&with(json!({"name": "ca", "kind": "ClusterIssuer"})), &[]);
        check(&with(json!({"name": "ca", "kind": "", "group": ""})), &[]);
    }
}
