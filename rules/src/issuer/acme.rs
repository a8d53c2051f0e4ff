//! Rules of the ACME account.

use api::IssuerSpec;
use api::acme::issuer::{AcmeIssuer, ExternalAccountBinding};

use super::{ISSUERS, acme, selector, spec, trust};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class};

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I03",
        "spec.acme.caBundle",
        "An ACME issuer has CA certificates or leaves the server unverified, not both",
        |case, findings| {
            if acme(case).is_some_and(|acme| ca_bundle(acme).is_some() && acme.skip_tls_verify) {
                let detail = "caBundle and skipTLSVerify exclude each other";
                let advice = "remove skipTLSVerify, and the server is verified by caBundle";
                findings.here(Fault::Invalid).detail(detail).advice(advice);
                let path = "spec.acme.skipTLSVerify";
                findings.at(path, Fault::Invalid).value(true).detail(detail).advice(advice);
            }
        },
    ),
    spec(
        "I04",
        "spec.acme.caBundle",
        "The CA certificates of an ACME issuer hold at least one that can be read",
        |case, findings| {
            trust::holds_a_certificate(acme(case).and_then(ca_bundle), case.context.settings, findings);
        },
    ),
    spec(
        "I05",
        "spec.acme.privateKeySecretRef.name",
        "The Secret with the key of the ACME account is named",
        |case, findings| {
            if acme(case).is_some_and(|acme| acme.private_key_secret_ref.name.is_empty()) {
                findings.here(Fault::Required).advice(
                    "name the Secret for the account's key, such as \"letsencrypt-account\"; it is made if missing",
                );
            }
        },
    ),
    spec("I06", "spec.acme.server", "The ACME server is named", |case, findings| {
        if acme(case).is_some_and(|acme| acme.server.is_empty()) {
            findings.here(Fault::Required).advice(
                "write the URL of the server's directory, such as \"https://acme-v02.api.letsencrypt.org/directory\"",
            );
        }
    }),
    spec(
        "I07",
        "spec.acme.externalAccountBinding.keyID",
        "The key of an external account binding has its id",
        |case, findings| {
            if binding(case).is_some_and(|binding| binding.key_id.is_empty()) {
                findings.here(Fault::Required).advice("write the key id that the CA gave you");
            }
        },
    ),
    spec(
        "I08",
        "spec.acme.externalAccountBinding.keySecretRef.name",
        "The Secret with the key of an external account binding is named",
        |case, findings| {
            if let Some(binding) = binding(case) {
                selector::has_name(&binding.key_secret_ref, &[], findings);
            }
        },
    ),
    spec(
        "I09",
        "spec.acme.externalAccountBinding.keySecretRef.key",
        "The key within the Secret of an external account binding is named",
        |case, findings| {
            if let Some(binding) = binding(case) {
                selector::has_key(&binding.key_secret_ref, &[], findings);
            }
        },
    ),
    Check::new(
        "I-W1",
        ISSUERS,
        "spec.acme.externalAccountBinding.keyAlgorithm",
        Class::Advice,
        "The algorithm of an external account binding is not set: it is ignored",
        |case, findings| {
            let algorithm = binding(case).and_then(|binding| binding.key_algorithm.as_ref());
            if let Some(algorithm) = algorithm.filter(|algorithm| !algorithm.as_str().is_empty()) {
                findings.here(Fault::Invalid).value(algorithm.as_str()).detail("ignored").advice("remove it");
            }
        },
    ),
];

/// The CA certificates; an empty text is none.
pub(super) fn ca_bundle(acme: &AcmeIssuer) -> Option<&[u8]> {
    trust::given(acme.ca_bundle.as_ref().map(|text| text.0.as_slice()))
}

fn binding<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a ExternalAccountBinding> {
    acme(case)?.external_account_binding.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, merged};

    fn with(changes: &Value) -> Value {
        let good = json!({"acme": {
            "server": "https://acme.test/directory",
            "privateKeySecretRef": {"name": "account"},
            "solvers": [{"http01": {"ingress": {}}}],
        }});
        merged(&good, &json!({"acme": changes}))
    }

    #[test]
    fn what_an_account_needs_must_be_there() {
        check(
            &with(&json!({"server": "", "privateKeySecretRef": null})),
            &[
                "I05 spec.acme.privateKeySecretRef.name: Required value: name the Secret for the account's key, such as \"letsencrypt-account\"; it is made if missing",
                "I06 spec.acme.server: Required value: write the URL of the server's directory, such as \"https://acme-v02.api.letsencrypt.org/directory\"",
            ],
            &[],
        );
    }

    #[test]
    fn a_bundle_beside_skipping_verification_is_refused() {
        let text = "caBundle and skipTLSVerify exclude each other; remove skipTLSVerify, and the server is verified by caBundle";
        check(
            &with(&json!({"caBundle": "bm90aGluZw==", "skipTLSVerify": true})),
            &[
                &format!("I03 spec.acme.caBundle: Invalid value: {text}"),
                &format!("I03 spec.acme.skipTLSVerify: Invalid value: true: {text}"),
                "I04 spec.acme.caBundle: Invalid value: no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----",
            ],
            &[],
        );
        check(&with(&json!({"caBundle": "", "skipTLSVerify": true})), &[], &[]);
    }

    #[test]
    fn an_external_account_binding_needs_id_and_key() {
        check(
            &with(&json!({"externalAccountBinding": {}})),
            &[
                "I07 spec.acme.externalAccountBinding.keyID: Required value: write the key id that the CA gave you",
                "I08 spec.acme.externalAccountBinding.keySecretRef.name: Required value: name the Secret",
                "I09 spec.acme.externalAccountBinding.keySecretRef.key: Required value: name the key within the Secret's data",
            ],
            &[],
        );
        let complete = json!({"keyID": "a", "keySecretRef": {"name": "eab", "key": "key"}});
        check(&with(&json!({"externalAccountBinding": complete})), &[], &[]);
    }

    #[test]
    fn an_ignored_field_is_a_warning() {
        let binding = |algorithm: &str| {
            json!({"externalAccountBinding": {"keyID": "a", "keySecretRef": {"name": "eab", "key": "key"},
                                              "keyAlgorithm": algorithm}})
        };
        check(
            &with(&binding("HS256")),
            &[],
            &[
                "I-W1 spec.acme.externalAccountBinding.keyAlgorithm: Invalid value: \"HS256\": ignored; remove it",
            ],
        );
        check(&with(&binding("")), &[], &[]);
    }

    #[test]
    fn a_usual_account_is_accepted() {
        check(&with(&json!({"email": "admin@a.test", "preferredChain": "ISRG Root X1"})), &[], &[]);
        check(&with(&json!({"skipTLSVerify": true, "solvers": []})), &[], &[]);
    }
}
