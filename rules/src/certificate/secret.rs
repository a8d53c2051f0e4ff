//! Rules about the Secret: its name, and what it gets besides key and certificate.

use std::collections::HashSet;

use api::CertificateSpec;
use api::keys::annotation::{ALLOW_DIRECT_INJECTION, RESERVED_PREFIX};

use super::{CERTIFICATE, keystores};
use crate::case::Case;
use crate::cluster::Lookup;
use crate::finding::Fault;
use crate::name;
use crate::rule::{Check, Class, Findings};

pub(super) static NAME: &[Check<CertificateSpec>] = &[
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
        name_is_valid,
    ),
    Check::new(
        "B04",
        CERTIFICATE,
        "spec.secretName",
        Class::Advice,
        "No other Certificate writes the Secret, and it holds neither the issuer's CA nor the password of a keystore",
        nobody_else_uses_it,
    ),
];

pub(super) static CONTENT: &[Check<CertificateSpec>] = &[
    Check::new(
        "C31",
        CERTIFICATE,
        "spec.revisionHistoryLimit",
        Class::Spec,
        "At least one CertificateRequest is kept",
        |case, findings| {
            let limit = case.object.spec.revision_history_limit;
            if let Some(limit) = limit.filter(|limit| *limit < 1) {
                findings
                    .here(Fault::Invalid)
                    .value(limit)
                    .detail("below 1")
                    .advice("write 1 to keep the current CertificateRequest alone, or leave it out");
            }
        },
    ),
    Check::new(
        "C32",
        CERTIFICATE,
        "spec.secretTemplate.labels",
        Class::Spec,
        "Keys of labels are qualified names",
        label_keys_are_valid,
    ),
    Check::new(
        "C33",
        CERTIFICATE,
        "spec.secretTemplate.labels",
        Class::Spec,
        "Values of labels have at most 63 letters, digits, '-', '_' and '.'",
        label_values_are_valid,
    ),
    Check::new(
        "C34",
        CERTIFICATE,
        "spec.secretTemplate.annotations",
        Class::Spec,
        "Annotations under cert-manager.io/ are left to the controller, except cert-manager.io/allow-direct-injection",
        annotation_keys_are_free,
    ),
    Check::new(
        "C35",
        CERTIFICATE,
        "spec.secretTemplate.annotations",
        Class::Spec,
        "Keys of annotations are qualified names",
        annotation_keys_are_valid,
    ),
    Check::new(
        "C36",
        CERTIFICATE,
        "spec.secretTemplate.annotations",
        Class::Spec,
        "Annotations have at most 262144 bytes in all",
        annotations_fit,
    ),
    Check::new(
        "C41",
        CERTIFICATE,
        "spec.additionalOutputFormats[type]",
        Class::Spec,
        "A further format is asked for once",
        output_formats_are_unique,
    ),
];

/// C02.
fn name_is_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
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

/// B04. Two Certificates of one Secret overwrite each other for ever (cert-manager issue 1558).
fn nobody_else_uses_it(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let (spec, metadata) = (&case.object.spec, &case.object.metadata);
    let secret = spec.secret_name.as_str();
    if secret.is_empty() {
        return; // C01
    }
    for (path, password) in keystores::password_secrets(case) {
        if password == secret {
            findings
                .at(format!("{path}.passwordSecretRef.name"), Fault::Invalid)
                .value(secret)
                .detail("the same as spec.secretName")
                .advice("use another Secret");
        }
    }
    let Some(cluster) = case.context.cluster else { return };
    if let Some(other) = cluster.other_certificate_of(&metadata.namespace, secret, &metadata.name) {
        findings
            .here(Fault::Duplicate)
            .value(secret)
            .detail(format!("Certificate {other:?} writes it too"))
            .advice("name another Secret");
    }
    // The CA of a ClusterIssuer lies in a namespace of its own.
    if !spec.issuer_ref.is_own_group() || spec.issuer_ref.is_cluster_issuer() {
        return;
    }
    let Lookup::Found(issuer) = cluster.issuer(&metadata.namespace, &spec.issuer_ref) else { return };
    if issuer.ca_secret.as_deref() == Some(secret) {
        findings
            .here(Fault::Invalid)
            .value(secret)
            .detail("it holds the issuer's CA")
            .advice("name another Secret");
    }
}

/// C32.
fn label_keys_are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(template) = &case.object.spec.secret_template else { return };
    for key in template.labels.keys() {
        for fault in name::qualified_name_faults(key) {
            findings
                .here(Fault::Invalid)
                .value(key.as_str())
                .detail(fault)
                .advice("write a key such as \"app\" or \"example.com/app\"");
        }
    }
}

/// C33.
fn label_values_are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(template) = &case.object.spec.secret_template else { return };
    for (key, value) in &template.labels {
        for fault in name::label_value_faults(value) {
            findings
                .here(Fault::Invalid)
                .value(value.as_str())
                .detail(format!("{fault} (label {key:?})"))
                .advice("use an annotation for free text");
        }
    }
}

/// C34.
fn annotation_keys_are_free(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(template) = &case.object.spec.secret_template else { return };
    for key in template.annotations.keys() {
        if key.starts_with(RESERVED_PREFIX) && key != ALLOW_DIRECT_INJECTION {
            findings
                .here(Fault::Invalid)
                .value(key.as_str())
                .detail("annotations under cert-manager.io/ are written by the controller")
                .advice("leave it out");
        }
    }
}

/// C35.
fn annotation_keys_are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(template) = &case.object.spec.secret_template else { return };
    for key in template.annotations.keys() {
        // Kubernetes refuses no key because of its case.
        let has_upper_case = key.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower_case = has_upper_case.then(|| key.to_lowercase());
        for fault in name::qualified_name_faults(lower_case.as_deref().unwrap_or(key)) {
            findings
                .here(Fault::Invalid)
                .value(key.as_str())
                .detail(fault)
                .advice("write a key such as \"note\" or \"example.com/note\"");
        }
    }
}

/// C36.
fn annotations_fit(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(template) = &case.object.spec.secret_template else { return };
    let bytes = name::annotations_bytes(&template.annotations);
    if bytes > name::ANNOTATIONS_BYTES_MAX {
        findings
            .here(Fault::TooLong)
            .detail(format!("keys and values have {bytes} bytes in all"))
            .advice(format!("keep at most {}", name::ANNOTATIONS_BYTES_MAX));
    }
}

/// C41.
fn output_formats_are_unique(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for format in &case.object.spec.additional_output_formats {
        if !seen.insert(format.type_.as_str()) {
            findings.here(Fault::Duplicate).value(format.type_.as_str()).advice("ask for each format once");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{check, check_in, warns};
    use crate::case::Context;
    use crate::cluster::Snapshot;

    #[test]
    fn a_secret_that_somebody_else_uses_is_warned_of() {
        let cluster: Snapshot = serde_json::from_value(json!({
            "certificates": [
                {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"secretName": "web-tls"}},
                {"metadata": {"namespace": "shop", "name": "app"}, "spec": {"secretName": "app-tls"}},
                {"metadata": {"namespace": "other", "name": "x"}, "spec": {"secretName": "web-tls"}},
            ],
            "issuers": [{"kind": "Issuer", "metadata": {"namespace": "shop", "name": "ca"},
                         "spec": {"ca": {"secretName": "root"}}}],
        }))
        .unwrap();
        let context = Context { cluster: Some(&cluster), ..Context::default() };
        check_in(
            context,
            &json!({"secretName": "app-tls"}),
            &[],
            &[
                "B04 spec.secretName: Duplicate value: \"app-tls\": Certificate \"app\" writes it too; name another Secret",
            ],
        );
        check_in(
            context,
            &json!({"secretName": "root"}),
            &[],
            &["B04 spec.secretName: Invalid value: \"root\": it holds the issuer's CA; name another Secret"],
        );
        check_in(context, &json!({}), &[], &[]);
        let reference = json!({"name": "web-tls", "key": "password"});
        warns(
            &json!({"keystores": {"pkcs12": {"create": true, "passwordSecretRef": reference}}}),
            &[
                "B04 spec.keystores.pkcs12.passwordSecretRef.name: Invalid value: \"web-tls\": the same as spec.secretName; use another Secret",
            ],
        );
    }

    #[test]
    fn a_secret_without_a_name_is_refused() {
        check(
            &json!({"secretName": ""}),
            &[
                "C01 spec.secretName: Required value: name the Secret that is to receive key and certificate, such as \"web-tls\"",
            ],
        );
    }

    #[test]
    fn a_secret_name_that_kubernetes_refuses_is_answered_with_one_that_it_accepts() {
        check(
            &json!({"secretName": "Web_TLS"}),
            &[
                "C02 spec.secretName: Invalid value: \"Web_TLS\": not a name that Kubernetes accepts: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit; write \"web-tls\"",
            ],
        );
        let long = "a".repeat(254);
        let shown = "a".repeat(119);
        check(
            &json!({"secretName": long}),
            &[&format!("C02 spec.secretName: Invalid value: \"{shown}...: longer than 253 characters")],
        );
    }

    #[test]
    fn a_history_of_no_requests_is_refused() {
        let refused = |limit: i32| {
            format!(
                "C31 spec.revisionHistoryLimit: Invalid value: {limit}: below 1; write 1 to keep the current CertificateRequest alone, or leave it out"
            )
        };
        check(&json!({"revisionHistoryLimit": 0}), &[&refused(0)]);
        check(&json!({"revisionHistoryLimit": -1}), &[&refused(-1)]);
        check(&json!({"revisionHistoryLimit": 1}), &[]);
    }

    #[test]
    fn labels_that_kubernetes_refuses_are_refused() {
        check(
            &json!({"secretTemplate": {"labels": {"a b": "x", "app": "a b"}}}),
            &[
                "C32 spec.secretTemplate.labels: Invalid value: \"a b\": the name has other characters than letters, digits, '-', '_' and '.', or does not begin and end with a letter or digit; write a key such as \"app\" or \"example.com/app\"",
                "C33 spec.secretTemplate.labels: Invalid value: \"a b\": the value has other characters than letters, digits, '-', '_' and '.', or does not begin and end with a letter or digit (label \"app\"); use an annotation for free text",
            ],
        );
        check(&json!({"secretTemplate": {"labels": {"app": "", "cert-manager.io/x": "Y_z"}}}), &[]);
    }

    #[test]
    fn annotations_of_the_controller_are_refused() {
        check(
            &json!({"secretTemplate": {"annotations": {"cert-manager.io/issuer-name": "x"}}}),
            &[
                "C34 spec.secretTemplate.annotations: Invalid value: \"cert-manager.io/issuer-name\": annotations under cert-manager.io/ are written by the controller; leave it out",
            ],
        );
        let free = json!({"cert-manager.io/allow-direct-injection": "true", "acme.cert-manager.io/x": "y"});
        check(&json!({"secretTemplate": {"annotations": free}}), &[]);
    }

    #[test]
    fn annotations_that_kubernetes_refuses_are_refused() {
        check(
            &json!({"secretTemplate": {"annotations": {"/a": "x"}}}),
            &[
                "C35 spec.secretTemplate.annotations: Invalid value: \"/a\": the part before the slash is not a DNS name: lower-case letters, digits, '-' and '.', at most 253 characters; write a key such as \"note\" or \"example.com/note\"",
            ],
        );
        check(
            &json!({"secretTemplate": {"annotations": {"a": "x".repeat(262_144)}}}),
            &[
                "C36 spec.secretTemplate.annotations: Too long: keys and values have 262145 bytes in all; keep at most 262144",
            ],
        );
        let fitting = json!({"a": "x".repeat(262_143)});
        check(&json!({"secretTemplate": {"annotations": fitting}}), &[]);
        check(&json!({"secretTemplate": {"annotations": {"Example.com/Note": "Free text."}}}), &[]);
    }

    #[test]
    fn a_format_that_is_asked_for_twice_is_refused() {
        let duplicate =
            "C41 spec.additionalOutputFormats[type]: Duplicate value: \"DER\": ask for each format once";
        let formats = json!([{"type": "DER"}, {"type": "CombinedPEM"}, {"type": "DER"}]);
        check(&json!({"additionalOutputFormats": formats}), &[duplicate]);
        check(&json!({"additionalOutputFormats": [{"type": "DER"}, {"type": "CombinedPEM"}]}), &[]);
    }
}
