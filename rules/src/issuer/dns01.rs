//! Rules of DNS-01 solvers.

pub(super) mod akamai;
pub(super) mod azure;
pub(super) mod nameserver;
pub(super) mod provider;
pub(super) mod rfc2136;
pub(super) mod various;

use api::IssuerSpec;
use api::acme::dns01::CnameStrategy;

pub(super) use self::provider::{Provider, later_ones, of};
pub(super) use self::rfc2136::DEFAULT_TSIG_ALGORITHM;
use super::{indexed, solver, spec};
use crate::finding::Fault;
use crate::rule::Check;

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I21",
        "spec.acme.solvers[*].dns01.cnameStrategy",
        "The strategy for CNAME records is None or Follow",
        |case, findings| {
            for (index, dns01) in solver::dns01(case) {
                let Some(CnameStrategy::Other(text)) = &dns01.cname_strategy else { continue };
                if !text.is_empty() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Invalid)
                        .value(text.as_str())
                        .detail("no such strategy")
                        .advice("write None or Follow");
                }
            }
        },
    ),
    spec(
        "I22",
        "spec.acme.solvers[*].dns01.nameservers[*]",
        "A name server is host:port, or an https:// URL",
        |case, findings| {
            for (index, dns01) in solver::dns01(case) {
                for (inner, server) in dns01.nameservers.iter().enumerate() {
                    if let Err(wrong) = nameserver::is_resolver(server) {
                        findings
                            .at(indexed(findings.path(), &[index, inner]), Fault::Invalid)
                            .value(server.as_str())
                            .detail(wrong.detail)
                            .advice(wrong.advice);
                    }
                }
            }
        },
    ),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::issuer::testing::{check, dns01};

    #[test]
    fn an_unknown_strategy_is_refused() {
        check(
            &dns01(&json!({"cnameStrategy": "follow", "route53": {}})),
            &[
                "I21 spec.acme.solvers[0].dns01.cnameStrategy: Invalid value: \"follow\": no such strategy; write None or Follow",
            ],
            &[],
        );
        for strategy in ["", "None", "Follow"] {
            check(&dns01(&json!({"cnameStrategy": strategy, "route53": {}})), &[], &[]);
        }
    }

    #[test]
    fn a_name_server_that_cannot_be_asked_is_refused() {
        check(
            &dns01(&json!({"nameservers": ["1.1.1.1:53", "1.1.1.1", "https:///dns-query"], "route53": {}})),
            &[
                "I22 spec.acme.solvers[0].dns01.nameservers[1]: Invalid value: \"1.1.1.1\": no port; write \"1.1.1.1:53\"",
                "I22 spec.acme.solvers[0].dns01.nameservers[2]: Invalid value: \"https:///dns-query\": no host; write a URL such as \"https://dns.example.com/dns-query\"",
            ],
            &[],
        );
    }
}
