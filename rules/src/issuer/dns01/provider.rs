//! Which provider a DNS-01 solver uses: the first, in the order of this enumeration. The others are refused.

use api::IssuerSpec;
use api::acme::dns01::Dns01Solver;

use crate::case::Case;
use crate::finding::Fault;
use crate::issuer::{indexed, solver, spec};
use crate::rule::{Check, Findings};

/// A provider of DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::issuer) enum Provider {
    Akamai,
    AzureDns,
    CloudDns,
    Cloudflare,
    Route53,
    AcmeDns,
    DigitalOcean,
    Rfc2136,
    Webhook,
}

pub(in crate::issuer) static RULES: &[Check<IssuerSpec>] = &[
    spec("I30", "spec.acme.solvers[*].dns01", "A DNS-01 solver has one provider only", |case, findings| {
        // cert-manager has never counted acme-dns here: that one breaks B18.
        later_ones(case, findings, |provider| provider != Provider::AcmeDns);
    }),
    spec("I57", "spec.acme.solvers[*].dns01", "A DNS-01 solver has a provider", |case, findings| {
        for (index, _) in solver::dns01(case).filter(|(_, dns01)| providers(dns01).next().is_none()) {
            findings.at(indexed(findings.path(), &[index]), Fault::Required).advice(
                "set one of akamai, azureDNS, cloudDNS, cloudflare, route53, acmeDNS, digitalocean, rfc2136, webhook",
            );
        }
    }),
];

/// The parts of solvers that are looked into for this provider.
pub(in crate::issuer) fn of<'a, T: 'a>(
    case: &Case<'a, IssuerSpec>,
    provider: Provider,
    part: fn(&Dns01Solver) -> Option<&T>,
) -> impl Iterator<Item = (usize, &'a T)> {
    // As in cert-manager, which looks into acme-dns beside others too.
    let is_looked_into =
        move |dns01: &Dns01Solver| provider == Provider::AcmeDns || providers(dns01).next() == Some(provider);
    // The cheap question first: most rules are about other providers than a solver's own.
    solver::dns01(case)
        .filter_map(move |(index, dns01)| Some((index, dns01, part(dns01)?)))
        .filter(move |(_, dns01, _)| is_looked_into(dns01))
        .map(|(index, _, part)| (index, part))
}

/// Refuses those providers behind a solver's first that `counts` says.
pub(in crate::issuer) fn later_ones(
    case: &Case<'_, IssuerSpec>,
    findings: &mut Findings,
    counts: impl Fn(Provider) -> bool,
) {
    for (index, dns01) in solver::dns01(case) {
        let mut set = providers(dns01);
        let Some(first) = set.next() else { continue };
        for later in set.filter(|later| counts(*later)) {
            let path = indexed("spec.acme.solvers[*].dns01.", &[index]) + later.field();
            findings
                .at(path, Fault::Forbidden)
                .detail(format!("the provider is {} already", first.field()))
                .advice("remove one, or make a solver of each");
        }
    }
}

impl Provider {
    fn field(self) -> &'static str {
        match self {
            Self::Akamai => "akamai",
            Self::AzureDns => "azureDNS",
            Self::CloudDns => "cloudDNS",
            Self::Cloudflare => "cloudflare",
            Self::Route53 => "route53",
            Self::AcmeDns => "acmeDNS",
            Self::DigitalOcean => "digitalocean",
            Self::Rfc2136 => "rfc2136",
            Self::Webhook => "webhook",
        }
    }
}

/// The providers that are set, in their order.
fn providers(dns01: &Dns01Solver) -> impl Iterator<Item = Provider> {
    [
        (dns01.akamai.is_some(), Provider::Akamai),
        (dns01.azure_dns.is_some(), Provider::AzureDns),
        (dns01.cloud_dns.is_some(), Provider::CloudDns),
        (dns01.cloudflare.is_some(), Provider::Cloudflare),
        (dns01.route53.is_some(), Provider::Route53),
        (dns01.acme_dns.is_some(), Provider::AcmeDns),
        (dns01.digitalocean.is_some(), Provider::DigitalOcean),
        (dns01.rfc2136.is_some(), Provider::Rfc2136),
        (dns01.webhook.is_some(), Provider::Webhook),
    ]
    .into_iter()
    .filter_map(|(is_set, provider)| is_set.then_some(provider))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::issuer::testing::{check, dns01};

    #[test]
    fn a_solver_without_a_provider_is_refused() {
        check(
            &dns01(&json!({"cnameStrategy": "Follow"})),
            &[
                "I57 spec.acme.solvers[0].dns01: Required value: set one of akamai, azureDNS, cloudDNS, cloudflare, route53, acmeDNS, digitalocean, rfc2136, webhook",
            ],
            &[],
        );
    }

    #[test]
    fn each_provider_behind_the_first_is_refused_and_not_looked_into() {
        let told = |id: &str, field: &str| {
            format!(
                "{id} spec.acme.solvers[0].dns01.{field}: Forbidden: the provider is route53 already; remove one, or make a solver of each"
            )
        };
        check(
            &dns01(
                &json!({"route53": {}, "acmeDNS": {"host": "https://a.test", "accountSecretRef": {"name": "a", "key": "b"}},
                           "digitalocean": {}, "rfc2136": {}, "webhook": {}}),
            ),
            &[
                &told("I30", "digitalocean"),
                &told("I30", "rfc2136"),
                &told("I30", "webhook"),
                &told("B18", "acmeDNS"),
            ],
            &[],
        );
    }

    #[test]
    fn every_provider_but_the_first_can_be_the_second() {
        let all = ["azureDNS", "cloudDNS", "cloudflare", "route53", "digitalocean", "rfc2136", "webhook"];
        for field in all {
            let secret = json!({"name": "a", "key": "b"});
            check(
                &dns01(
                    &json!({field: {}, "akamai": {"serviceConsumerDomain": "a", "clientTokenSecretRef": secret,
                               "clientSecretSecretRef": secret, "accessTokenSecretRef": secret}}),
                ),
                &[&format!(
                    "I30 spec.acme.solvers[0].dns01.{field}: Forbidden: the provider is akamai already; remove one, or make a solver of each"
                )],
                &[],
            );
        }
    }

    #[test]
    fn a_second_acme_dns_is_looked_into() {
        check(
            &dns01(&json!({"route53": {}, "acmeDNS": {"accountSecretRef": {"name": "a", "key": "b"}}})),
            &[
                "I49 spec.acme.solvers[0].dns01.acmeDNS.host: Required value: write the URL of the acme-dns server, such as \"https://auth.acme-dns.io\"",
                "B18 spec.acme.solvers[0].dns01.acmeDNS: Forbidden: the provider is route53 already; remove one, or make a solver of each",
            ],
            &[],
        );
    }
}
