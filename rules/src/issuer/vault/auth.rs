//! Rules about the ways to log in to Vault.

use api::IssuerSpec;

use super::{climbs_nowhere, part};
use crate::finding::Fault;
use crate::issuer::{selector, spec, vault};
use crate::rule::Check;

pub(in crate::issuer) static RULES: &[Check<IssuerSpec>] = &[
    spec("I68", "spec.vault.auth", "There is a way to log in to Vault", |case, findings| {
        let Some(auth) = vault(case).map(|vault| &vault.auth) else { return };
        let any = auth.token_secret_ref.is_some()
            || auth.app_role.is_some()
            || auth.client_certificate.is_some()
            || auth.kubernetes.is_some()
            || auth.aws.is_some();
        if !any {
            findings
                .here(Fault::Required)
                .advice("set one of tokenSecretRef, appRole, clientCertificate, kubernetes, aws");
        }
    }),
    spec("I69", "spec.vault.auth.appRole.roleId", "An AppRole has its id", |case, findings| {
        if part(case, |vault| vault.auth.app_role.as_ref()).is_some_and(|role| role.role_id.is_empty()) {
            findings.here(Fault::Required).advice("write the id of the AppRole");
        }
    }),
    spec(
        "I70",
        "spec.vault.auth.appRole.secretRef.name",
        "The Secret with the secret id of an AppRole is named",
        |case, findings| {
            if let Some(role) = part(case, |vault| vault.auth.app_role.as_ref()) {
                selector::has_name(&role.secret_ref, &[], findings);
            }
        },
    ),
    spec(
        "I71",
        "spec.vault.auth.appRole.path",
        "The mount path of the AppRole method climbs nowhere",
        |case, findings| {
            let role = part(case, |vault| vault.auth.app_role.as_ref());
            climbs_nowhere(role.map(|role| role.path.as_str()), findings);
        },
    ),
    spec(
        "I72",
        "spec.vault.auth.clientCertificate.mountPath",
        "The mount path of the certificate method climbs nowhere",
        |case, findings| {
            let certificate = part(case, |vault| vault.auth.client_certificate.as_ref());
            climbs_nowhere(certificate.and_then(|certificate| certificate.mount_path.as_deref()), findings);
        },
    ),
    spec(
        "I73",
        "spec.vault.auth.kubernetes.role",
        "The role of the Kubernetes method is named",
        |case, findings| {
            if part(case, |vault| vault.auth.kubernetes.as_ref()).is_some_and(|own| own.role.is_empty()) {
                findings.here(Fault::Required).advice("name the role to log in as");
            }
        },
    ),
    spec(
        "I74",
        "spec.vault.auth.kubernetes.mountPath",
        "The mount path of the Kubernetes method climbs nowhere",
        |case, findings| {
            let own = part(case, |vault| vault.auth.kubernetes.as_ref());
            climbs_nowhere(own.and_then(|own| own.mount_path.as_deref()), findings);
        },
    ),
    spec(
        "I75",
        "spec.vault.auth.kubernetes.serviceAccountRef.name",
        "The service account of the Kubernetes method is named",
        |case, findings| {
            let account = part(case, |vault| vault.auth.kubernetes.as_ref()?.service_account_ref.as_ref());
            if account.is_some_and(|account| account.name.is_empty()) {
                findings.here(Fault::Required).advice("name the service account");
            }
        },
    ),
    spec(
        "I76",
        "spec.vault.auth.kubernetes",
        "The Kubernetes method has a service account or a Secret with its token",
        |case, findings| {
            let own = part(case, |vault| vault.auth.kubernetes.as_ref());
            if own.is_some_and(|own| !has_secret(own) && own.service_account_ref.is_none()) {
                findings.here(Fault::Required).advice("set serviceAccountRef");
            }
        },
    ),
    spec(
        "I77",
        "spec.vault.auth.kubernetes",
        "The Kubernetes method has a service account or a Secret with its token, not both",
        |case, findings| {
            let own = part(case, |vault| vault.auth.kubernetes.as_ref());
            if own.is_some_and(|own| has_secret(own) && own.service_account_ref.is_some()) {
                findings
                    .here(Fault::Forbidden)
                    .detail("both secretRef and serviceAccountRef are set")
                    .advice("keep serviceAccountRef, whose tokens are short-lived");
            }
        },
    ),
    spec("I78", "spec.vault.auth.aws.role", "The role of the AWS method is named", |case, findings| {
        if part(case, |vault| vault.auth.aws.as_ref()).is_some_and(|aws| aws.role.is_empty()) {
            findings.here(Fault::Required).advice("name the role to log in as");
        }
    }),
    spec(
        "I79",
        "spec.vault.auth.aws.mountPath",
        "The mount path of the AWS method climbs nowhere",
        |case, findings| {
            let aws = part(case, |vault| vault.auth.aws.as_ref());
            climbs_nowhere(aws.and_then(|aws| aws.mount_path.as_deref()), findings);
        },
    ),
    spec(
        "I80",
        "spec.vault.auth.aws.serviceAccountRef.name",
        "The service account of the AWS method is named",
        |case, findings| {
            let account = part(case, |vault| vault.auth.aws.as_ref()?.service_account_ref.as_ref());
            if account.is_some_and(|account| account.name.is_empty()) {
                findings.here(Fault::Required).advice("name the service account");
            }
        },
    ),
    spec(
        "I81",
        "spec.vault.auth.aws.iamRoleArn",
        "A service account of the AWS method has an IAM role to take on",
        |case, findings| {
            let aws = part(case, |vault| vault.auth.aws.as_ref());
            if aws.is_some_and(|aws| aws.service_account_ref.is_some() && aws.iam_role_arn.is_none()) {
                findings
                    .here(Fault::Required)
                    .advice("write the IAM role, such as \"arn:aws:iam::123456789012:role/issuer\"");
            }
        },
    ),
];

/// A reference without a name is none.
fn has_secret(own: &api::vault::VaultKubernetesAuth) -> bool {
    own.secret_ref.as_ref().is_some_and(|secret| !secret.name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::check;

    fn with(auth: &Value) -> Value {
        json!({"vault": {"server": "https://vault.test", "path": "pki/sign/web", "auth": auth}})
    }

    #[test]
    fn an_app_role_that_cannot_log_in_is_refused() {
        check(
            &with(&json!({"appRole": {"path": "a/../b"}})),
            &[
                "I69 spec.vault.auth.appRole.roleId: Required value: write the id of the AppRole",
                "I70 spec.vault.auth.appRole.secretRef.name: Required value: name the Secret",
                "I71 spec.vault.auth.appRole.path: Invalid value: \"a/../b\": a segment is \"..\"; write the path without it",
            ],
            &[],
        );
    }

    #[test]
    fn mount_paths_that_climb_are_refused_at_the_field_that_holds_them() {
        let told = |id: &str, method: &str| {
            format!(
                "{id} spec.vault.auth.{method}.mountPath: Invalid value: \"..\": a segment is \"..\"; write the path without it"
            )
        };
        check(
            &with(&json!({
                "clientCertificate": {"mountPath": ".."},
                "kubernetes": {"role": "a", "mountPath": "..", "serviceAccountRef": {"name": "a"}},
                "aws": {"role": "a", "mountPath": ".."},
            })),
            &[&told("I72", "clientCertificate"), &told("I74", "kubernetes"), &told("I79", "aws")],
            &["B21 spec.vault.auth: Invalid value: clientCertificate wins; remove kubernetes, aws"],
        );
    }

    #[test]
    fn the_kubernetes_method_needs_a_role_and_one_identity() {
        let own = |own: Value| with(&json!({"kubernetes": own}));
        check(
            &own(json!({})),
            &[
                "I73 spec.vault.auth.kubernetes.role: Required value: name the role to log in as",
                "I76 spec.vault.auth.kubernetes: Required value: set serviceAccountRef",
            ],
            &[],
        );
        check(
            &own(json!({"role": "a", "serviceAccountRef": {}})),
            &[
                "I75 spec.vault.auth.kubernetes.serviceAccountRef.name: Required value: name the service account",
            ],
            &[],
        );
        check(
            &own(json!({"role": "a", "secretRef": {"name": ""}})),
            &["I76 spec.vault.auth.kubernetes: Required value: set serviceAccountRef"],
            &[],
        );
        check(
            &own(json!({"role": "a", "secretRef": {"name": "token"}, "serviceAccountRef": {"name": "a"}})),
            &[
                "I77 spec.vault.auth.kubernetes: Forbidden: both secretRef and serviceAccountRef are set; keep serviceAccountRef, whose tokens are short-lived",
            ],
            &[],
        );
    }

    #[test]
    fn the_aws_method_needs_a_role_and_a_whole_identity() {
        check(
            &with(&json!({"aws": {"serviceAccountRef": {}}})),
            &[
                "I78 spec.vault.auth.aws.role: Required value: name the role to log in as",
                "I80 spec.vault.auth.aws.serviceAccountRef.name: Required value: name the service account",
                "I81 spec.vault.auth.aws.iamRoleArn: Required value: write the IAM role, such as \"arn:aws:iam::123456789012:role/issuer\"",
            ],
            &[],
        );
    }

    #[test]
    fn each_way_to_log_in_is_accepted() {
        for auth in [
            json!({"tokenSecretRef": {"name": "vault"}}),
            json!({"appRole": {"path": "approle", "roleId": "a", "secretRef": {"name": "a", "key": "id"}}}),
            json!({"clientCertificate": {}}),
            json!({"clientCertificate": {"mountPath": "/v1/auth/cert", "secretName": "client", "name": "web"}}),
            json!({"kubernetes": {"role": "web", "serviceAccountRef": {"name": "web"}}}),
            json!({"kubernetes": {"role": "web", "secretRef": {"name": "token", "key": "token"}}}),
            json!({"aws": {"role": "web"}}),
            json!({"aws": {"role": "web", "serviceAccountRef": {"name": "web"}, "iamRoleArn": "arn:aws:iam::1:role/a"}}),
        ] {
            check(&with(&auth), &[], &[]);
        }
    }
}
