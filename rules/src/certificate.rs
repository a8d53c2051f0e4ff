//! Rules of Certificate.

use api::{CertificateSpec, CertificateStatus};

use crate::case::{Case, Judged};
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Kind};
use crate::{issuer_ref, lifetime, name};

const CERTIFICATE: &[Kind] = &[Kind::Certificate];

impl Judged for CertificateSpec {
    type Status = CertificateStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }

    fn same(&self, other: &Self) -> bool {
        self == other || canonical(self) == canonical(other)
    }
}

static TABLES: &[&[Check<CertificateSpec>]] = &[RULES];

static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C01",
        CERTIFICATE,
        "spec.secretName",
        Class::Spec,
        "The Secret that receives key and certificate is named",
        |case, findings| {
            if case.object.spec.secret_name.is_empty() {
                findings
                    .here(Fault::Required)
                    .advice("name the Secret that is to receive key and certificate, such as \"web-tls\"");
            }
        },
    ),
    Check::new(
        "C02",
        CERTIFICATE,
        "spec.secretName",
        Class::Spec,
        "The name of the Secret is a DNS-1123 subdomain",
        secret_name_is_valid,
    ),
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
        "B07",
        CERTIFICATE,
        "spec",
        Class::Field,
        "Durations can be read: numbers with the units h, m, s, ms, us or ns",
        |case, findings| {
            let spec = &case.object.spec;
            lifetime::is_readable("spec.duration", spec.duration.as_ref(), findings);
            lifetime::is_readable("spec.renewBefore", spec.renew_before.as_ref(), findings);
        },
    ),
];

fn secret_name_is_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let secret_name = case.object.spec.secret_name.as_str();
    if secret_name.is_empty() {
        return; // C01
    }
    for fault in name::subdomain_faults(secret_name) {
        let finding = findings.here(Fault::Invalid).value(secret_name).detail(fault);
        if let Some(similar) = name::similar_subdomain(secret_name) {
            finding.advice(format!("write {similar:?}"));
        }
    }
}

/// The spec with its durations in one form.
fn canonical(spec: &CertificateSpec) -> CertificateSpec {
    let mut spec = spec.clone();
    lifetime::canonicalise(&mut spec.duration);
    lifetime::canonicalise(&mut spec.renew_before);
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::case::Object;
    use crate::judge;

    fn check(spec: &Value, wanted: &[&str]) {
        let object: Object<CertificateSpec> =
            serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
        let denials = judge(&Case::create(&object)).denials;
        let told: Vec<String> = denials.iter().map(|denial| format!("{} {denial}", denial.rule.id)).collect();
        assert_eq!(told, wanted, "for {spec}");
    }

    #[test]
    fn an_empty_spec_lacks_a_secret_and_an_issuer() {
        check(
            &json!({}),
            &[
                "C01 spec.secretName: Required value: name the Secret that is to receive key and certificate, such as \"web-tls\"",
                "C03 spec.issuerRef.name: Required value: name the Issuer or ClusterIssuer that is to sign",
            ],
        );
    }

    #[test]
    fn a_secret_name_that_kubernetes_refuses_is_answered_with_one_that_it_accepts() {
        check(
            &json!({"secretName": "Web_TLS", "issuerRef": {"name": "ca"}}),
            &[
                "C02 spec.secretName: Invalid value: \"Web_TLS\": not a name that Kubernetes accepts: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit; write \"web-tls\"",
            ],
        );
        let long = "a".repeat(254);
        let shown = "a".repeat(119);
        check(
            &json!({"secretName": long, "issuerRef": {"name": "ca"}}),
            &[&format!("C02 spec.secretName: Invalid value: \"{shown}...: longer than 253 characters")],
        );
    }

    #[test]
    fn an_unknown_kind_of_issuer_is_refused_in_our_group_only() {
        let with = |issuer: Value| json!({"secretName": "tls", "issuerRef": issuer});
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

    #[test]
    fn a_duration_that_cannot_be_read_is_answered_with_one_that_can() {
        let with = |duration: &str| {
            json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "duration": duration,
                   "renewBefore": duration})
        };
        check(
            &with("90d"),
            &[
                "B07 spec.duration: Invalid value: \"90d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"2160h\"",
                "B07 spec.renewBefore: Invalid value: \"90d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"2160h\"",
            ],
        );
        check(&with("2160h"), &[]);
    }

    #[test]
    fn a_usual_certificate_is_accepted() {
        check(
            &json!({
                "secretName": "web-tls",
                "issuerRef": {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"},
                "dnsNames": ["web.example.com"],
                "duration": "2160h0m0s",
                "renewBefore": "360h",
            }),
            &[],
        );
    }
}
