//! Rules of issuers that ask a Vault server.

pub(super) mod auth;

use api::IssuerSpec;
use api::vault::VaultIssuer;

use super::{spec, trust, vault};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Findings};

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    spec("I61", "spec.vault.server", "The Vault server is named", |case, findings| {
        if vault(case).is_some_and(|vault| vault.server.is_empty()) {
            findings
                .here(Fault::Required)
                .advice("write the server's URL, such as \"https://vault.example.com:8200\"");
        }
    }),
    spec("I62", "spec.vault.path", "The path that signs is given", |case, findings| {
        if vault(case).is_some_and(|vault| vault.path.is_empty()) {
            findings
                .here(Fault::Required)
                .advice("write the path that signs with a role, such as \"pki/sign/my-role\"");
        }
    }),
    spec("I63", "spec.vault.path", "The path that signs climbs nowhere", |case, findings| {
        climbs_nowhere(vault(case).map(|vault| vault.path.as_str()), findings);
    }),
    spec(
        "I64",
        "spec.vault.caBundle",
        "The CA certificates of a Vault issuer hold at least one that can be read",
        |case, findings| {
            trust::holds_a_certificate(vault(case).and_then(ca_bundle), case.context.settings, findings);
        },
    ),
    spec(
        "I65",
        "spec.vault.caBundle",
        "The CA certificates of a Vault issuer stand in it or in a Secret, not both",
        |case, findings| {
            let Some(vault) = vault(case) else { return };
            if let (Some(_), Some(reference)) = (ca_bundle(vault), &vault.ca_bundle_secret_ref) {
                let detail = "caBundle and caBundleSecretRef exclude each other";
                findings.here(Fault::Invalid).detail(detail).advice("remove one");
                findings
                    .at("spec.vault.caBundleSecretRef", Fault::Invalid)
                    .value(reference.name.as_str())
                    .detail(detail)
                    .advice("remove one");
            }
        },
    ),
    spec(
        "I66",
        "spec.vault.clientKeySecretRef",
        "A certificate to show to Vault comes with its key",
        |case, findings| {
            if vault(case).is_some_and(|vault| {
                vault.client_cert_secret_ref.is_some() && vault.client_key_secret_ref.is_none()
            }) {
                findings
                    .here(Fault::Invalid)
                    .detail("clientCertSecretRef is set alone")
                    .advice("say where the key is kept");
            }
        },
    ),
    spec(
        "I67",
        "spec.vault.clientCertSecretRef",
        "A key to show to Vault comes with its certificate",
        |case, findings| {
            if vault(case).is_some_and(|vault| {
                vault.client_cert_secret_ref.is_none() && vault.client_key_secret_ref.is_some()
            }) {
                findings
                    .here(Fault::Invalid)
                    .detail("clientKeySecretRef is set alone")
                    .advice("say where the certificate is kept");
            }
        },
    ),
];

/// The CA certificates; an empty text is none.
fn ca_bundle(vault: &VaultIssuer) -> Option<&[u8]> {
    trust::given(vault.ca_bundle.as_ref().map(|text| text.0.as_slice()))
}

/// The path that stands at the rule's own has no segment `..`, which would lead to another endpoint of Vault.
fn climbs_nowhere(path: Option<&str>, findings: &mut Findings) {
    let Some(path) = path.filter(|path| path.split('/').any(|segment| segment == "..")) else { return };
    findings
        .here(Fault::Invalid)
        .value(path)
        .detail("a segment is \"..\"")
        .advice("write the path without it");
}

/// The Vault issuer's part that `get` finds.
fn part<'a, T>(case: &Case<'a, IssuerSpec>, get: fn(&VaultIssuer) -> Option<&T>) -> Option<&'a T> {
    vault(case).and_then(get)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, merged};

    fn with(changes: &Value) -> Value {
        let good = json!({"vault": {
            "server": "https://vault.test",
            "path": "pki/sign/web",
            "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}},
        }});
        merged(&good, &json!({"vault": changes}))
    }

    #[test]
    fn what_is_missing_is_told() {
        check(
            &json!({"vault": {}}),
            &[
                "I61 spec.vault.server: Required value: write the server's URL, such as \"https://vault.example.com:8200\"",
                "I62 spec.vault.path: Required value: write the path that signs with a role, such as \"pki/sign/my-role\"",
                "I68 spec.vault.auth: Required value: set one of tokenSecretRef, appRole, clientCertificate, kubernetes, aws",
            ],
            &[],
        );
    }

    #[test]
    fn a_path_that_climbs_is_refused() {
        for path in ["..", "pki/../sys/seal", "pki/sign/..", "../pki"] {
            check(
                &with(&json!({"path": path})),
                &[&format!(
                    "I63 spec.vault.path: Invalid value: {path:?}: a segment is \"..\"; write the path without it"
                )],
                &[],
            );
        }
        for path in ["pki..a/sign/web", "pki//sign/web/", ".../sign/web", "/pki/./web"] {
            check(&with(&json!({"path": path})), &[], &[]);
        }
    }

    #[test]
    fn two_sources_of_ca_certificates_are_refused() {
        let both = "caBundle and caBundleSecretRef exclude each other; remove one";
        check(
            &with(&json!({"caBundle": "bm90aGluZw==", "caBundleSecretRef": {"name": "ca"}})),
            &[
                "I64 spec.vault.caBundle: Invalid value: no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----",
                &format!("I65 spec.vault.caBundle: Invalid value: {both}"),
                &format!("I65 spec.vault.caBundleSecretRef: Invalid value: \"ca\": {both}"),
            ],
            &[],
        );
        check(&with(&json!({"caBundle": "", "caBundleSecretRef": {"name": "ca"}})), &[], &[]);
    }

    #[test]
    fn half_a_client_certificate_is_refused() {
        let reference = json!({"name": "client", "key": "tls.key"});
        check(
            &with(&json!({"clientCertSecretRef": reference})),
            &[
                "I66 spec.vault.clientKeySecretRef: Invalid value: clientCertSecretRef is set alone; say where the key is kept",
            ],
            &[],
        );
        check(
            &with(&json!({"clientKeySecretRef": reference})),
            &[
                "I67 spec.vault.clientCertSecretRef: Invalid value: clientKeySecretRef is set alone; say where the certificate is kept",
            ],
            &[],
        );
        check(&with(&json!({"clientKeySecretRef": reference, "clientCertSecretRef": reference})), &[], &[]);
    }

    #[test]
    fn a_usual_vault_is_accepted() {
        check(&with(&json!({"namespace": "team/a", "serverName": "vault.test"})), &[], &[]);
    }
}
