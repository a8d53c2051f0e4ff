//! Fields of bytes, as the API server takes them, and what is never repeated of them and of others.

use lint::Linter;
use rules::Settings;

/// What is told of an Issuer with these lines in its spec, one line for each finding.
fn told(spec: &str) -> String {
    let head = "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec:\n";
    let report = Linter::new(Settings::default(), None).lint(&format!("{head}{spec}"));
    report.findings.iter().map(|finding| format!("{finding} ({})\n", finding.object)).collect()
}

fn vault(bundle: &str) -> String {
    let auth = "auth: {tokenSecretRef: {name: vault, key: token}}";
    format!(
        "  vault:\n    server: https://vault.test\n    path: pki/sign/web\n    {auth}\n    caBundle: {bundle}\n"
    )
}

#[test]
fn base64_that_the_api_server_refuses_is_told_of() {
    for (bundle, wanted) in [
        (
            "|\n      bm8g\n      cGVt",
            "9:5: error L04: spec.vault.caBundle: Invalid value: base64 with line ends in it, which the API server refuses; \
             write one line, as `base64 -w0` prints it (Issuer a)\n",
        ),
        (
            "\"\"",
            "9:5: error L04: spec.vault.caBundle: Invalid value: empty, which is not base64; leave it out (Issuer a)\n",
        ),
        ("no-pem", "9:5: error L04: spec.vault.caBundle: Invalid value: not base64 (Issuer a)\n"),
    ] {
        assert_eq!(told(&vault(bundle)), wanted);
    }
}

#[test]
fn base64_in_one_line_is_read() {
    let told = told(&vault("bm8gcGVt"));
    assert!(told.starts_with("9:5: error I64: spec.vault.caBundle: "), "{told}");
}

#[test]
fn what_may_be_secret_is_never_shown() {
    let ca = "-----BEGIN EC PRIVATE KEY----- SECRET -----END EC PRIVATE KEY-----";
    for (spec, place) in [
        (vault(ca), "9:5: error L04: spec.vault.caBundle"),
        (vault("LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0SECRET"), "9:5: error L04: spec.vault.caBundle"),
        (vault("[SECRET]"), "9:5: error L04: spec.vault.caBundle"),
        (format!("  ca: {{secretName: \"{ca}\"}}\n"), "5:8: error B18: spec.ca.secretName"),
        (format!("  ca: {{secretName: [\"{ca}\"]}}\n"), "5:8: error L04: spec.ca.secretName"),
        (format!("  ca: {{\"{ca}\": 1, secretName: a}}\n"), "5:8: error L03"),
        (format!("  selfSigned: [\"{ca}\"]\n"), "5:3: error L04: spec.selfSigned"),
        (
            "  vault: {server: https://v.test, path: a, auth: {tokenSecretRef: SECRET}}\n".to_owned(),
            "5:51: error L04: spec.vault.auth.tokenSecretRef",
        ),
        (
            "  vault: {server: https://v.test, path: a, auth: [{tokenSecretRef: SECRET}]}\n".to_owned(),
            "5:44: error L04: spec.vault.auth",
        ),
        (format!("  selfSigned: {{}}\n--- {ca}: [\n"), "error L01"),
    ] {
        let told = told(&spec);
        assert!(told.contains(place) && !told.contains("SECRET"), "{place}: {told}");
    }
}

#[test]
fn a_password_in_a_map_of_the_wrong_place_is_not_shown() {
    let text = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec:\n  secretName: a\n  \
                commonName: a\n  issuerRef: {name: a}\n  keystores: {jks: [{create: true, password: SECRET}]}\n";
    let report = Linter::new(Settings::default(), None).lint(text);
    let told: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["8:15: error L04: spec.keystores.jks: Invalid value: a list where a map is wanted"]);
}

#[test]
fn the_name_of_an_object_is_not_shown_if_it_is_a_key() {
    let text = "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: -----BEGIN PRIVATE KEY----- SECRET}, spec: {}}";
    let report = Linter::new(Settings::default(), None).lint(text);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.object, "(holds a private key)");
}
