//! Rules about the names that issuers refer to.

use std::borrow::Cow;

use api::acme::dns01::Dns01Solver;
use api::vault::VaultIssuer;
use api::{IssuerSpec, LocalObjectReference, SecretKeySelector};

use super::dns01::{self, Provider};
use super::{ISSUERS, acme, ca, http01, indexed, selector, vault, venafi};
use crate::case::Case;
use crate::finding::Fault;
use crate::name;
use crate::rule::{Check, Class, Findings};

/// Longest key in the data of a Secret (Kubernetes: that of a DNS-1123 subdomain).
const KEY_BYTES_MAX: usize = 253;

pub(super) static RULES: &[Check<IssuerSpec>] = &[Check::new(
    "B18",
    ISSUERS,
    "spec",
    Class::Spec,
    "Secrets, keys and groups that issuers refer to have names that Kubernetes accepts, and acme-dns stands beside no \
     other provider",
    are_named_rightly,
)];

/// Names that are missing break the I rules where there is one.
fn are_named_rightly(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    dns01::later_ones(case, findings, |provider| provider == Provider::AcmeDns);
    if let Some(acme) = acme(case) {
        selector_is_valid("spec.acme.privateKeySecretRef", &[], &acme.private_key_secret_ref, findings);
        if let Some(binding) = &acme.external_account_binding {
            let path = "spec.acme.externalAccountBinding.keySecretRef";
            selector_is_valid(path, &[], &binding.key_secret_ref, findings);
        }
    }
    in_solvers(case, findings);
    if let Some(ca) = ca(case) {
        name_is_valid(|| "spec.ca.secretName".into(), &ca.secret_name, findings);
    }
    if let Some(vault) = vault(case) {
        in_vault(vault, findings);
    }
    in_venafi(case, findings);
}

fn in_solvers(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    for (provider, field, get) in SOLVER_SECRETS {
        for (index, secret) in dns01::of(case, *provider, *get) {
            let path = || indexed("spec.acme.solvers[*].dns01.", &[index]) + field;
            if is_wrong(secret) {
                selector_is_valid(&path(), &[], secret, findings);
            }
        }
    }
    for (index, webhook) in dns01::of(case, Provider::Webhook, |dns01| dns01.webhook.as_deref()) {
        let path = || indexed("spec.acme.solvers[*].dns01.webhook.groupName", &[index]).into();
        if webhook.group_name.is_empty() {
            findings.at(path(), Fault::Required).advice("write the API group under which the webhook serves");
        }
        name_is_valid(path, &webhook.group_name, findings);
    }
    let ingresses =
        http01::ingresses(case).map(|(index, ingress)| (index, "ingress", ingress.pod_template.as_deref()));
    let gateways = http01::gateways(case)
        .map(|(index, gateway)| (index, "gatewayHTTPRoute", gateway.pod_template.as_deref()));
    for (index, field, template) in ingresses.chain(gateways) {
        let secrets =
            template.and_then(|template| template.spec.as_ref()).map(|spec| &spec.image_pull_secrets);
        for (inner, secret) in secrets.into_iter().flatten().enumerate() {
            let path = || {
                format!("spec.acme.solvers[{index}].http01.{field}.podTemplate.spec.imagePullSecrets[{inner}].name").into()
            };
            name_is_valid(path, secret.name.as_deref().unwrap_or_default(), findings);
        }
    }
}

type Get = fn(&Dns01Solver) -> Option<&SecretKeySelector>;

/// Where providers refer to Secrets.
const SOLVER_SECRETS: &[(Provider, &str, Get)] = &[
    (Provider::Akamai, "akamai.accessTokenSecretRef", |dns01| {
        Some(&dns01.akamai.as_deref()?.access_token_secret_ref)
    }),
    (Provider::Akamai, "akamai.clientSecretSecretRef", |dns01| {
        Some(&dns01.akamai.as_deref()?.client_secret_secret_ref)
    }),
    (Provider::Akamai, "akamai.clientTokenSecretRef", |dns01| {
        Some(&dns01.akamai.as_deref()?.client_token_secret_ref)
    }),
    (Provider::AzureDns, "azureDNS.clientSecretSecretRef", |dns01| {
        dns01.azure_dns.as_deref()?.client_secret_secret_ref.as_ref()
    }),
    (Provider::CloudDns, "cloudDNS.serviceAccountSecretRef", |dns01| {
        dns01.cloud_dns.as_deref()?.service_account_secret_ref.as_ref()
    }),
    (Provider::Cloudflare, "cloudflare.apiKeySecretRef", |dns01| {
        dns01.cloudflare.as_deref()?.api_key_secret_ref.as_ref()
    }),
    (Provider::Cloudflare, "cloudflare.apiTokenSecretRef", |dns01| {
        dns01.cloudflare.as_deref()?.api_token_secret_ref.as_ref()
    }),
    (Provider::Route53, "route53.accessKeyIDSecretRef", |dns01| {
        dns01.route53.as_deref()?.access_key_id_secret_ref.as_ref()
    }),
    (Provider::Route53, "route53.secretAccessKeySecretRef", |dns01| {
        dns01.route53.as_deref()?.secret_access_key_secret_ref.as_ref()
    }),
    (Provider::AcmeDns, "acmeDNS.accountSecretRef", |dns01| {
        Some(&dns01.acme_dns.as_deref()?.account_secret_ref)
    }),
    (Provider::DigitalOcean, "digitalocean.tokenSecretRef", |dns01| {
        Some(&dns01.digitalocean.as_deref()?.token_secret_ref)
    }),
    (Provider::Rfc2136, "rfc2136.tsigSecretSecretRef", |dns01| {
        dns01.rfc2136.as_deref()?.tsig_secret_secret_ref.as_ref()
    }),
];

fn in_vault(vault: &VaultIssuer, findings: &mut Findings) {
    let auth = &vault.auth;
    // Vault asks for these by name, and no I rule says that there is one.
    for (path, secret) in [
        ("spec.vault.caBundleSecretRef", &vault.ca_bundle_secret_ref),
        ("spec.vault.clientCertSecretRef", &vault.client_cert_secret_ref),
        ("spec.vault.clientKeySecretRef", &vault.client_key_secret_ref),
        ("spec.vault.auth.tokenSecretRef", &auth.token_secret_ref),
    ] {
        if let Some(secret) = secret {
            is_named(path, &secret.name, findings);
            selector_is_valid(path, &[], secret, findings);
        }
    }
    if let Some(role) = &auth.app_role {
        selector_is_valid("spec.vault.auth.appRole.secretRef", &[], &role.secret_ref, findings);
    }
    if let Some(secret) = auth.kubernetes.as_ref().and_then(|own| own.secret_ref.as_ref()) {
        selector_is_valid("spec.vault.auth.kubernetes.secretRef", &[], secret, findings);
    }
    let client = auth.client_certificate.as_ref().and_then(|client| client.secret_name.as_deref());
    let path = || "spec.vault.auth.clientCertificate.secretName".into();
    name_is_valid(path, client.unwrap_or_default(), findings);
}

fn in_venafi(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    let Some(venafi) = venafi(case) else { return };
    if let Some(tpp) = &venafi.tpp {
        is_named("spec.venafi.tpp.credentialsRef", &tpp.credentials_ref.name, findings);
        reference_is_valid("spec.venafi.tpp.credentialsRef.name", &tpp.credentials_ref, findings);
        if let Some(secret) = &tpp.ca_bundle_secret_ref {
            is_named("spec.venafi.tpp.caBundleSecretRef", &secret.name, findings);
            selector_is_valid("spec.venafi.tpp.caBundleSecretRef", &[], secret, findings);
        }
    }
    if let Some(cloud) = &venafi.cloud {
        is_named("spec.venafi.cloud.apiTokenSecretRef", &cloud.api_token_secret_ref.name, findings);
        selector_is_valid("spec.venafi.cloud.apiTokenSecretRef", &[], &cloud.api_token_secret_ref, findings);
    }
    if let Some(ngts) = &venafi.ngts {
        reference_is_valid("spec.venafi.ngts.credentialsRef.name", &ngts.credentials_ref, findings);
    }
}

fn is_named(path: &str, name: &str, findings: &mut Findings) {
    if name.is_empty() {
        selector::lacks_name(format!("{path}.name"), findings);
    }
}

fn reference_is_valid(path: &'static str, reference: &LocalObjectReference, findings: &mut Findings) {
    name_is_valid(|| path.into(), &reference.name, findings);
}

fn is_wrong(secret: &SecretKeySelector) -> bool {
    let name = secret.name.as_str();
    let wrong_name = !name.is_empty() && name::subdomain_faults(name).next().is_some();
    wrong_name || secret.key.as_deref().and_then(key_fault).is_some()
}

fn selector_is_valid(path: &str, indexes: &[usize], secret: &SecretKeySelector, findings: &mut Findings) {
    name_is_valid(|| (indexed(path, indexes) + ".name").into(), &secret.name, findings);
    if let Some(key) = &secret.key
        && let Some(fault) = key_fault(key)
    {
        findings
            .at(indexed(path, indexes) + ".key", Fault::Invalid)
            .value(key.as_str())
            .detail(fault)
            .advice("name a key of the Secret's data, such as \"tls.key\"");
    }
}

fn name_is_valid(path: impl Fn() -> Cow<'static, str>, name: &str, findings: &mut Findings) {
    if name.is_empty() {
        return;
    }
    for fault in name::subdomain_faults(name) {
        let finding = findings.at(path(), Fault::Invalid).value(name).detail(fault);
        if let Some(similar) = name::similar_subdomain(name) {
            finding.advice(format!("write {similar:?}"));
        }
    }
}

/// What keeps `key` from being a key in a Secret's data.
fn key_fault(key: &str) -> Option<&'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.len() > KEY_BYTES_MAX {
        Some("longer than 253 characters")
    } else if !key.bytes().all(known) {
        Some("other characters than letters, digits, '-', '_' and '.'")
    } else if key == "." || key.starts_with("..") {
        Some("it would be a directory")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, dns01, solvers};

    const NAME: &str = "not a name that Kubernetes accepts: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";

    fn wrong() -> Value {
        json!({"name": "A_b", "key": "c/d"})
    }

    fn told(path: &str) -> [String; 2] {
        [
            format!("B18 spec.{path}.name: Invalid value: \"A_b\": {NAME}; write \"a-b\""),
            format!(
                "B18 spec.{path}.key: Invalid value: \"c/d\": other characters than letters, digits, '-', '_' and '.'; name a key of the Secret's data, such as \"tls.key\""
            ),
        ]
    }

    fn check_wrong(spec: &Value, paths: &[&str]) {
        let wanted: Vec<String> = paths.iter().flat_map(|path| told(path)).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        check(spec, &wanted, &[]);
    }

    #[test]
    fn names_and_keys_that_no_secret_has_are_refused_in_accounts_and_providers() {
        check_wrong(
            &json!({"acme": {"server": "https://acme.test", "privateKeySecretRef": wrong(),
                             "externalAccountBinding": {"keyID": "a", "keySecretRef": wrong()}}}),
            &["acme.privateKeySecretRef", "acme.externalAccountBinding.keySecretRef"],
        );
        for (solver, fields) in [
            (
                json!({"akamai": {"serviceConsumerDomain": "a", "clientTokenSecretRef": wrong(), "clientSecretSecretRef": wrong(), "accessTokenSecretRef": wrong()}}),
                &[
                    "akamai.accessTokenSecretRef",
                    "akamai.clientSecretSecretRef",
                    "akamai.clientTokenSecretRef",
                ][..],
            ),
            (
                json!({"azureDNS": {"subscriptionID": "a", "resourceGroupName": "b", "clientID": "c", "tenantID": "d", "clientSecretSecretRef": wrong()}}),
                &["azureDNS.clientSecretSecretRef"],
            ),
            (
                json!({"cloudDNS": {"project": "a", "serviceAccountSecretRef": wrong()}}),
                &["cloudDNS.serviceAccountSecretRef"],
            ),
            (json!({"cloudflare": {"apiTokenSecretRef": wrong()}}), &["cloudflare.apiTokenSecretRef"]),
            (
                json!({"cloudflare": {"email": "a@b.test", "apiKeySecretRef": wrong()}}),
                &["cloudflare.apiKeySecretRef"],
            ),
            (
                json!({"route53": {"accessKeyIDSecretRef": wrong(), "secretAccessKeySecretRef": wrong()}}),
                &["route53.accessKeyIDSecretRef", "route53.secretAccessKeySecretRef"],
            ),
            (
                json!({"acmeDNS": {"host": "https://a.test", "accountSecretRef": wrong()}}),
                &["acmeDNS.accountSecretRef"],
            ),
            (json!({"digitalocean": {"tokenSecretRef": wrong()}}), &["digitalocean.tokenSecretRef"]),
            (
                json!({"rfc2136": {"nameserver": "a", "tsigKeyName": "b", "tsigAlgorithm": "HMACSHA256", "tsigSecretSecretRef": wrong()}}),
                &["rfc2136.tsigSecretSecretRef"],
            ),
        ] {
            let paths: Vec<String> =
                fields.iter().map(|field| format!("acme.solvers[0].dns01.{field}")).collect();
            check_wrong(&dns01(&solver), &paths.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_and_keys_that_no_secret_has_are_refused_in_other_issuers() {
        let vault = |extra: Value| {
            let good = json!({"server": "https://vault.test", "path": "pki/sign/web", "auth": {"tokenSecretRef": {"name": "a"}}});
            json!({"vault": crate::issuer::testing::merged(&good, &extra)})
        };
        check_wrong(
            &vault(
                json!({"caBundleSecretRef": wrong(), "clientCertSecretRef": wrong(), "clientKeySecretRef": wrong(), "auth": {"tokenSecretRef": wrong()}}),
            ),
            &[
                "vault.caBundleSecretRef",
                "vault.clientCertSecretRef",
                "vault.clientKeySecretRef",
                "vault.auth.tokenSecretRef",
            ],
        );
        check_wrong(
            &vault(
                json!({"auth": {"tokenSecretRef": null, "appRole": {"roleId": "a", "secretRef": wrong()}}}),
            ),
            &["vault.auth.appRole.secretRef"],
        );
        check_wrong(
            &vault(
                json!({"auth": {"tokenSecretRef": null, "kubernetes": {"role": "a", "secretRef": wrong()}}}),
            ),
            &["vault.auth.kubernetes.secretRef"],
        );
        check_wrong(
            &json!({"venafi": {"zone": "z", "cloud": {"apiTokenSecretRef": wrong()}}}),
            &["venafi.cloud.apiTokenSecretRef"],
        );
        for (spec, path) in [
            (json!({"ca": {"secretName": "A_b"}}), "ca.secretName"),
            (
                vault(json!({"auth": {"tokenSecretRef": null, "clientCertificate": {"secretName": "A_b"}}})),
                "vault.auth.clientCertificate.secretName",
            ),
            (
                json!({"venafi": {"zone": "z", "ngts": {"tsgID": "1", "credentialsRef": {"name": "A_b"}}}}),
                "venafi.ngts.credentialsRef.name",
            ),
            (
                json!({"venafi": {"zone": "z", "tpp": {"url": "https://a.test", "credentialsRef": {"name": "A_b"}}}}),
                "venafi.tpp.credentialsRef.name",
            ),
            (
                dns01(&json!({"webhook": {"groupName": "A_b", "solverName": "a"}})),
                "acme.solvers[0].dns01.webhook.groupName",
            ),
            (
                solvers(
                    &json!([{"http01": {"ingress": {"podTemplate": {"spec": {"imagePullSecrets": [{"name": ""}, {"name": "A_b"}]}}}}}]),
                ),
                "acme.solvers[0].http01.ingress.podTemplate.spec.imagePullSecrets[1].name",
            ),
            (
                solvers(
                    &json!([{"http01": {"gatewayHTTPRoute": {"podTemplate": {"spec": {"imagePullSecrets": [{"name": "A_b"}]}}}}}]),
                ),
                "acme.solvers[0].http01.gatewayHTTPRoute.podTemplate.spec.imagePullSecrets[0].name",
            ),
        ] {
            check(&spec, &[&format!("B18 spec.{path}: Invalid value: \"A_b\": {NAME}; write \"a-b\"")], &[]);
        }
    }

    #[test]
    fn names_that_are_missing_and_that_cert_manager_does_not_ask_for_are_asked_for() {
        let missing = |path: &str| format!("B18 spec.{path}.name: Required value: name the Secret");
        check(
            &json!({"vault": {"server": "https://vault.test", "path": "pki/sign/web", "auth": {"tokenSecretRef": {}},
                              "caBundleSecretRef": {}, "clientCertSecretRef": {}, "clientKeySecretRef": {}}}),
            &[
                &missing("vault.caBundleSecretRef"),
                &missing("vault.clientCertSecretRef"),
                &missing("vault.clientKeySecretRef"),
                &missing("vault.auth.tokenSecretRef"),
            ],
            &[],
        );
        check(
            &json!({"venafi": {"zone": "z", "tpp": {"url": "https://a.test", "caBundleSecretRef": {}}}}),
            &[&missing("venafi.tpp.credentialsRef"), &missing("venafi.tpp.caBundleSecretRef")],
            &[],
        );
        check(
            &json!({"venafi": {"zone": "z", "cloud": {}}}),
            &[&missing("venafi.cloud.apiTokenSecretRef")],
            &[],
        );
        check(
            &dns01(&json!({"webhook": {"solverName": "a"}})),
            &[
                "B18 spec.acme.solvers[0].dns01.webhook.groupName: Required value: write the API group under which the webhook serves",
            ],
            &[],
        );
    }

    #[test]
    fn keys_that_would_be_directories_or_too_long_are_refused() {
        let with = |key: &str| json!({"vault": {"server": "https://vault.test", "path": "pki/sign/web", "auth": {"tokenSecretRef": {"name": "a", "key": key}}}});
        let told = |shown: &str, fault: &str| {
            format!(
                "B18 spec.vault.auth.tokenSecretRef.key: Invalid value: {shown}: {fault}; name a key of the Secret's data, such as \"tls.key\""
            )
        };
        for key in [".", "..", "..data"] {
            check(&with(key), &[&told(&format!("{key:?}"), "it would be a directory")], &[]);
        }
        let long = "a".repeat(254);
        check(
            &with(&long),
            &[&told(&format!("\"{}...", "a".repeat(119)), "longer than 253 characters")],
            &[],
        );
        for key in ["a", ".hidden", "TLS_key.1-a"] {
            check(&with(key), &[], &[]);
        }
    }
}
