//! Rules about the issuer.

use api::CertificateSpec;

use super::CERTIFICATE;
use crate::issuer_ref;
use crate::rule::{Check, Class};

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
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::check;

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
