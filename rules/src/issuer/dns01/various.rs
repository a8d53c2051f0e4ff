//! Rules of the providers Cloud DNS, Cloudflare, Route 53, acme-dns, DigitalOcean and webhooks.

use api::IssuerSpec;
use api::acme::dns01::{AcmeDns, CloudDns, CloudflareDns, Route53Dns};

use super::provider::{self, Provider};
use crate::case::Case;
use crate::finding::Fault;
use crate::issuer::{indexed, selector, solver, spec};
use crate::rule::Check;

pub(in crate::issuer) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I39",
        "spec.acme.solvers[*].dns01.cloudDNS.serviceAccountSecretRef",
        "The Secret with the service account of Cloud DNS and its key are named",
        |case, findings| {
            for (index, cloud) in cloud_dns(case) {
                if let Some(secret) = &cloud.service_account_secret_ref {
                    selector::is_complete(secret, &[index], findings);
                }
            }
        },
    ),
    spec(
        "I40",
        "spec.acme.solvers[*].dns01.cloudDNS.project",
        "The project of Cloud DNS is named",
        |case, findings| {
            let advice = "write the id of the project that holds the zone";
            solver::requires(cloud_dns(case), |cloud| &cloud.project, advice, findings);
        },
    ),
    spec(
        "I41",
        "spec.acme.solvers[*].dns01.cloudflare.apiKeySecretRef",
        "The Secret with the key for Cloudflare and its key are named",
        |case, findings| {
            for (index, cloudflare) in cloudflare(case) {
                if let Some(secret) = &cloudflare.api_key_secret_ref {
                    selector::is_complete(secret, &[index], findings);
                }
            }
        },
    ),
    spec(
        "I42",
        "spec.acme.solvers[*].dns01.cloudflare.apiTokenSecretRef",
        "The Secret with the token for Cloudflare and its key are named",
        |case, findings| {
            for (index, cloudflare) in cloudflare(case) {
                if let Some(secret) = &cloudflare.api_token_secret_ref {
                    selector::is_complete(secret, &[index], findings);
                }
            }
        },
    ),
    spec(
        "I43",
        "spec.acme.solvers[*].dns01.cloudflare",
        "Cloudflare is reached by a key or by a token, not both",
        |case, findings| {
            for (index, cloudflare) in cloudflare(case) {
                if cloudflare.api_key_secret_ref.is_some() && cloudflare.api_token_secret_ref.is_some() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Forbidden)
                        .detail("both apiKeySecretRef and apiTokenSecretRef are set")
                        .advice("keep apiTokenSecretRef");
                }
            }
        },
    ),
    spec(
        "I44",
        "spec.acme.solvers[*].dns01.cloudflare",
        "Cloudflare is reached by a key or by a token",
        |case, findings| {
            for (index, cloudflare) in cloudflare(case) {
                if cloudflare.api_key_secret_ref.is_none() && cloudflare.api_token_secret_ref.is_none() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Required)
                        .advice("set apiTokenSecretRef");
                }
            }
        },
    ),
    spec(
        "I45",
        "spec.acme.solvers[*].dns01.cloudflare.email",
        "A key for Cloudflare comes with the account's e-mail address",
        |case, findings| {
            for (index, cloudflare) in cloudflare(case) {
                if cloudflare.api_key_secret_ref.is_some() && cloudflare.email.is_none() {
                    findings.at(indexed(findings.path(), &[index]), Fault::Required).advice(
                        "write the account's e-mail address, or use apiTokenSecretRef instead of the key",
                    );
                }
            }
        },
    ),
    spec(
        "I46",
        "spec.acme.solvers[*].dns01.route53",
        "The id of an access key for Route 53 is given once",
        |case, findings| {
            for (index, route53) in route53(case) {
                if route53.access_key_id.is_some() && route53.access_key_id_secret_ref.is_some() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Required)
                        .detail("both accessKeyID and accessKeyIDSecretRef are set")
                        .advice("remove one");
                }
            }
        },
    ),
    spec(
        "I47",
        "spec.acme.solvers[*].dns01.route53.accessKeyIDSecretRef",
        "The Secret with the id of an access key for Route 53 and its key are named",
        |case, findings| {
            for (index, route53) in route53(case) {
                if let Some(secret) = &route53.access_key_id_secret_ref {
                    selector::is_complete(secret, &[index], findings);
                }
            }
        },
    ),
    spec(
        "I48",
        "spec.acme.solvers[*].dns01.acmeDNS.accountSecretRef",
        "The Secret with the accounts at acme-dns and its key are named",
        |case, findings| {
            for (index, acme_dns) in acme_dns(case) {
                selector::is_complete(&acme_dns.account_secret_ref, &[index], findings);
            }
        },
    ),
    spec(
        "I49",
        "spec.acme.solvers[*].dns01.acmeDNS.host",
        "The acme-dns server is named",
        |case, findings| {
            let advice = "write the URL of the acme-dns server, such as \"https://auth.acme-dns.io\"";
            solver::requires(acme_dns(case), |acme_dns| &acme_dns.host, advice, findings);
        },
    ),
    spec(
        "I50",
        "spec.acme.solvers[*].dns01.digitalocean.tokenSecretRef",
        "The Secret with the token for DigitalOcean and its key are named",
        |case, findings| {
            for (index, ocean) in
                provider::of(case, Provider::DigitalOcean, |dns01| dns01.digitalocean.as_deref())
            {
                selector::is_complete(&ocean.token_secret_ref, &[index], findings);
            }
        },
    ),
    spec(
        "I56",
        "spec.acme.solvers[*].dns01.webhook.solverName",
        "The solver behind a webhook is named",
        |case, findings| {
            let webhooks = provider::of(case, Provider::Webhook, |dns01| dns01.webhook.as_deref());
            let advice = "write the name under which the webhook serves the solver";
            solver::requires(webhooks, |webhook| &webhook.solver_name, advice, findings);
        },
    ),
];

fn cloud_dns<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a CloudDns)> {
    provider::of(case, Provider::CloudDns, |dns01| dns01.cloud_dns.as_deref())
}

fn cloudflare<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a CloudflareDns)> {
    provider::of(case, Provider::Cloudflare, |dns01| dns01.cloudflare.as_deref())
}

fn route53<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a Route53Dns)> {
    provider::of(case, Provider::Route53, |dns01| dns01.route53.as_deref())
}

fn acme_dns<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a AcmeDns)> {
    provider::of(case, Provider::AcmeDns, |dns01| dns01.acme_dns.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, dns01};

    /// Each wanted text without the path to the solver.
    fn check_provider(solver: &Value, wanted: &[&str]) {
        let wanted: Vec<String> =
            wanted.iter().map(|told| told.replacen(' ', " spec.acme.solvers[0].dns01.", 1)).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        check(&dns01(solver), &wanted, &[]);
    }

    fn secret() -> Value {
        json!({"name": "dns", "key": "token"})
    }

    #[test]
    fn an_incomplete_cloud_dns_is_refused() {
        check_provider(
            &json!({"cloudDNS": {"serviceAccountSecretRef": {}}}),
            &[
                "I39 cloudDNS.serviceAccountSecretRef.name: Required value: name the Secret",
                "I39 cloudDNS.serviceAccountSecretRef.key: Required value: name the key within the Secret's data",
                "I40 cloudDNS.project: Required value: write the id of the project that holds the zone",
            ],
        );
    }

    #[test]
    fn an_incomplete_cloudflare_is_refused() {
        check_provider(
            &json!({"cloudflare": {}}),
            &["I44 cloudflare: Required value: set apiTokenSecretRef"],
        );
        check_provider(
            &json!({"cloudflare": {"apiKeySecretRef": {"name": "dns"}}}),
            &[
                "I41 cloudflare.apiKeySecretRef.key: Required value: name the key within the Secret's data",
                "I45 cloudflare.email: Required value: write the account's e-mail address, or use apiTokenSecretRef instead of the key",
            ],
        );
        check_provider(
            &json!({"cloudflare": {"email": "a@b.test", "apiKeySecretRef": secret(), "apiTokenSecretRef": {"key": "a"}}}),
            &[
                "I42 cloudflare.apiTokenSecretRef.name: Required value: name the Secret",
                "I43 cloudflare: Forbidden: both apiKeySecretRef and apiTokenSecretRef are set; keep apiTokenSecretRef",
            ],
        );
    }

    #[test]
    fn an_access_key_that_is_given_twice_is_refused() {
        check_provider(
            &json!({"route53": {"accessKeyID": "AKIA", "accessKeyIDSecretRef": {}}}),
            &[
                "I46 route53: Required value: both accessKeyID and accessKeyIDSecretRef are set; remove one",
                "I47 route53.accessKeyIDSecretRef.name: Required value: name the Secret",
                "I47 route53.accessKeyIDSecretRef.key: Required value: name the key within the Secret's data",
            ],
        );
    }

    #[test]
    fn incomplete_small_providers_are_refused() {
        check_provider(
            &json!({"acmeDNS": {}}),
            &[
                "I48 acmeDNS.accountSecretRef.name: Required value: name the Secret",
                "I48 acmeDNS.accountSecretRef.key: Required value: name the key within the Secret's data",
                "I49 acmeDNS.host: Required value: write the URL of the acme-dns server, such as \"https://auth.acme-dns.io\"",
            ],
        );
        check_provider(
            &json!({"digitalocean": {}}),
            &[
                "I50 digitalocean.tokenSecretRef.name: Required value: name the Secret",
                "I50 digitalocean.tokenSecretRef.key: Required value: name the key within the Secret's data",
            ],
        );
        check_provider(
            &json!({"webhook": {"groupName": "acme.a.test"}}),
            &[
                "I56 webhook.solverName: Required value: write the name under which the webhook serves the solver",
            ],
        );
    }

    #[test]
    fn complete_providers_are_accepted() {
        for solver in [
            json!({"cloudDNS": {"project": "a"}}),
            json!({"cloudDNS": {"project": "a", "serviceAccountSecretRef": secret()}}),
            json!({"cloudflare": {"apiTokenSecretRef": secret()}}),
            json!({"cloudflare": {"apiTokenSecretRef": secret(), "email": "a@b.test"}}),
            json!({"cloudflare": {"apiKeySecretRef": secret(), "email": "a@b.test"}}),
            json!({"route53": {}}),
            json!({"route53": {"region": "eu-central-1", "accessKeyID": "", "accessKeyIDSecretRef": secret()}}),
            json!({"route53": {"accessKeyID": "AKIA", "secretAccessKeySecretRef": secret()}}),
            json!({"route53": {"secretAccessKeySecretRef": {"name": ""}}}),
            json!({"acmeDNS": {"host": "https://auth.a.test", "accountSecretRef": secret()}}),
            json!({"digitalocean": {"tokenSecretRef": secret()}}),
            json!({"webhook": {"groupName": "acme.a.test", "solverName": "a", "config": {"any": ["thing"]}}}),
        ] {
            check_provider(&solver, &[]);
        }
    }
}
