//! Rules about keystores.

use api::certificate::{CertificateKeystores, InlinePassword, KeyAlgorithm};
use api::{CertificateSpec, SecretKeySelector};
use issuance::keystore::jks::MAX_ALIAS_BYTES;
use issuance::keystore::{Password, PasswordError};

use super::{CERTIFICATE, private_key};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

/// The name of the CA's entry in a JKS keystore.
const CA_ALIAS: &str = "ca";

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C42",
        CERTIFICATE,
        "spec.keystores.jks",
        Class::Spec,
        "The password of a JKS keystore is said in one place",
        |case, findings| jks(case).is_said_once(findings),
    ),
    Check::new(
        "C43",
        CERTIFICATE,
        "spec.keystores.jks",
        Class::Spec,
        "A JKS keystore has a password, created or not",
        |case, findings| jks(case).is_said(findings),
    ),
    Check::new(
        "C44",
        CERTIFICATE,
        "spec.keystores.jks.password",
        Class::Spec,
        "The password of a JKS keystore is not empty",
        |case, findings| jks(case).is_not_empty(findings),
    ),
    Check::new(
        "C45",
        CERTIFICATE,
        "spec.keystores.pkcs12",
        Class::Spec,
        "The password of a PKCS#12 keystore is said in one place",
        |case, findings| pkcs12(case).is_said_once(findings),
    ),
    Check::new(
        "C46",
        CERTIFICATE,
        "spec.keystores.pkcs12",
        Class::Spec,
        "A PKCS#12 keystore has a password, created or not",
        |case, findings| pkcs12(case).is_said(findings),
    ),
    Check::new(
        "C47",
        CERTIFICATE,
        "spec.keystores.pkcs12.password",
        Class::Spec,
        "The password of a PKCS#12 keystore is not empty",
        |case, findings| pkcs12(case).is_not_empty(findings),
    ),
];

/// Where a keystore says its password. Both places are empty where there is no keystore.
struct Source<'a> {
    is_present: bool,
    inline: Option<&'a InlinePassword>,
    reference: Option<&'a SecretKeySelector>,
}

impl Source<'_> {
    /// C42, C45.
    fn is_said_once(&self, findings: &mut Findings) {
        if self.inline.is_some() && self.reference.is_some() {
            findings.here(Fault::Forbidden).detail("both password and passwordSecretRef are set").advice(
                "keep passwordSecretRef, which does not show the password to readers of the Certificate",
            );
        }
    }

    /// C43, C46.
    fn is_said(&self, findings: &mut Findings) {
        if self.is_present && self.inline.is_none() && self.reference.is_none() {
            findings
                .here(Fault::Forbidden)
                .detail("a keystore needs a password")
                .advice("name a Secret in passwordSecretRef.name");
        }
    }

    /// C44, C47.
    fn is_not_empty(&self, findings: &mut Findings) {
        if self.inline.is_some_and(|password| password.expose().is_empty()) {
            findings
                .here(Fault::Forbidden)
                .detail("an empty password protects nothing")
                .advice("name a Secret in passwordSecretRef.name instead");
        }
    }
}

fn keystores<'a>(case: &Case<'a, CertificateSpec>) -> Option<&'a CertificateKeystores> {
    case.object.spec.keystores.as_ref()
}

fn jks<'a>(case: &Case<'a, CertificateSpec>) -> Source<'a> {
    let store = keystores(case).and_then(|keystores| keystores.jks.as_ref());
    source(store.map(|store| (store.password.as_ref(), store.password_secret_ref.as_ref())))
}

fn pkcs12<'a>(case: &Case<'a, CertificateSpec>) -> Source<'a> {
    let store = keystores(case).and_then(|keystores| keystores.pkcs12.as_ref());
    source(store.map(|store| (store.password.as_ref(), store.password_secret_ref.as_ref())))
}

fn source<'a>(store: Option<(Option<&'a InlinePassword>, Option<&'a SecretKeySelector>)>) -> Source<'a> {
    let (inline, reference) = store.unwrap_or_default();
    let reference = reference.filter(|reference| !reference.name.is_empty());
    Source { is_present: store.is_some(), inline, reference }
}

/// The Secrets that passwords are read from, with the fields that name them.
pub(super) fn password_secrets<'a>(
    case: &Case<'a, CertificateSpec>,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let sources = [("spec.keystores.jks", jks(case)), ("spec.keystores.pkcs12", pkcs12(case))];
    sources.into_iter().filter_map(|(path, source)| Some((path, source.reference?.name.as_str())))
}

/// B11, keystores: an issuance would fail at the end. Empty passwords are C44's and C47's.
pub(super) fn can_be_written(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(keystores) = keystores(case) else { return };
    if let Some(store) = keystores.jks.as_ref().filter(|store| store.create) {
        let alias = store.alias_or_default();
        if alias.len() > MAX_ALIAS_BYTES {
            findings
                .at("spec.keystores.jks.alias", Fault::Invalid)
                .value(alias)
                .detail(format!("an alias has at most {MAX_ALIAS_BYTES} bytes"))
                .advice("leave it out for \"certificate\"");
        }
    }
    for (path, source) in
        [("spec.keystores.jks.password", jks(case)), ("spec.keystores.pkcs12.password", pkcs12(case))]
    {
        let Some(password) = source.inline else { continue };
        if let Err(PasswordError::TooLong(bytes)) = Password::new(password.expose().as_bytes()) {
            findings
                .at(path, Fault::TooLong)
                .detail(format!("the password has {bytes} bytes"))
                .advice("keep at most 1024");
        }
    }
}

/// B11-W, keystores.
pub(super) fn can_be_read(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let jks = keystores(case).and_then(|keystores| keystores.jks.as_ref());
    let Some(store) = jks.filter(|store| store.create) else { return };
    if private_key::algorithm(case) == KeyAlgorithm::Ed25519 {
        findings
            .at("spec.keystores.jks", Fault::Invalid)
            .detail("Java before 15 cannot use Ed25519 keys")
            .advice("use ECDSA if such a client reads it");
    }
    if store.alias_or_default().eq_ignore_ascii_case(CA_ALIAS) {
        findings
            .at("spec.keystores.jks.alias", Fault::Invalid)
            .value(store.alias_or_default())
            .detail("the entry of the CA has this name")
            .advice("choose another, such as \"certificate\"");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{check, warns};

    fn keystore(field: &str, store: &Value) -> Value {
        json!({"keystores": {field: store}})
    }

    #[test]
    fn a_keystore_has_exactly_one_password() {
        for (field, ids) in [("jks", ["C42", "C43", "C44"]), ("pkcs12", ["C45", "C46", "C47"])] {
            let path = format!("spec.keystores.{field}");
            let [both, none, empty] = ids;
            let both = format!(
                "{both} {path}: Forbidden: both password and passwordSecretRef are set; keep passwordSecretRef, which does not show the password to readers of the Certificate"
            );
            let none = format!(
                "{none} {path}: Forbidden: a keystore needs a password; name a Secret in passwordSecretRef.name"
            );
            let empty = format!(
                "{empty} {path}.password: Forbidden: an empty password protects nothing; name a Secret in passwordSecretRef.name instead"
            );
            let reference = json!({"name": "password", "key": "password"});
            let store = json!({"create": true, "password": "hunter2", "passwordSecretRef": reference});
            check(&keystore(field, &store), &[&both]);
            check(&keystore(field, &json!({"create": true})), &[&none]);
            check(&keystore(field, &json!({"create": false})), &[&none]);
            check(&keystore(field, &json!({"passwordSecretRef": {"name": "", "key": "a"}})), &[&none]);
            check(&keystore(field, &json!({"create": true, "password": ""})), &[&empty]);
            let store = json!({"password": "", "passwordSecretRef": reference});
            check(&keystore(field, &store), &[&both, &empty]);
            check(&keystore(field, &json!({"create": true, "password": "hunter2"})), &[]);
            check(&keystore(field, &json!({"create": true, "passwordSecretRef": reference})), &[]);
        }
        check(&json!({"keystores": {}}), &[]);
    }

    #[test]
    fn a_keystore_that_cannot_be_written_is_refused_without_showing_its_password() {
        let long = "x".repeat(1025);
        check(
            &keystore("jks", &json!({"create": true, "alias": "ü".repeat(128), "password": long})),
            &[
                &format!(
                    "B11 spec.keystores.jks.alias: Invalid value: \"{}...: an alias has at most 255 bytes; leave it out for \"certificate\"",
                    "ü".repeat(119)
                ),
                "B11 spec.keystores.jks.password: Too long: the password has 1025 bytes; keep at most 1024",
            ],
        );
        check(&keystore("jks", &json!({"create": true, "alias": "", "password": "hunter2"})), &[]);
        check(
            &keystore("pkcs12", &json!({"create": true, "password": long})),
            &["B11 spec.keystores.pkcs12.password: Too long: the password has 1025 bytes; keep at most 1024"],
        );
    }

    #[test]
    fn a_keystore_that_java_stumbles_over_is_warned_of() {
        warns(
            &json!({"privateKey": {"algorithm": "Ed25519"},
                    "keystores": {"jks": {"create": true, "alias": "CA", "password": "hunter2"}}}),
            &[
                "B11-W spec.keystores.jks: Invalid value: Java before 15 cannot use Ed25519 keys; use ECDSA if such a client reads it",
                "B11-W spec.keystores.jks.alias: Invalid value: \"CA\": the entry of the CA has this name; choose another, such as \"certificate\"",
            ],
        );
        warns(&keystore("jks", &json!({"create": false, "alias": "ca", "password": "hunter2"})), &[]);
    }
}
