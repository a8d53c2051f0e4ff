//! Rules of dynamic updates (RFC 2136).

use api::IssuerSpec;
use api::acme::dns01::Rfc2136Dns;

use super::nameserver;
use super::provider::{self, Provider};
use crate::case::Case;
use crate::finding::Fault;
use crate::issuer::{indexed, selector, solver, spec};
use crate::rule::Check;

/// What updates are signed with unless the issuer says otherwise.
pub(in crate::issuer) const DEFAULT_TSIG_ALGORITHM: &str = "HMACMD5";

/// Read without regard to case.
const TSIG_ALGORITHMS: &[&str] = &["HMACMD5", "HMACSHA1", "HMACSHA256", "HMACSHA512"];

pub(in crate::issuer) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I51",
        "spec.acme.solvers[*].dns01.rfc2136.nameserver",
        "The name server that takes updates is named",
        |case, findings| {
            let advice = "write the address of the authoritative server, such as \"ns1.example.com:53\"";
            solver::requires(all(case), |rfc2136| &rfc2136.nameserver, advice, findings);
        },
    ),
    spec(
        "I52",
        "spec.acme.solvers[*].dns01.rfc2136.nameserver",
        "The name server that takes updates is a host, with a port where it is not 53",
        |case, findings| {
            for (index, rfc2136) in all(case).filter(|(_, rfc2136)| !rfc2136.nameserver.is_empty()) {
                if let Err(wrong) = nameserver::is_server(&rfc2136.nameserver) {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Invalid)
                        .value(rfc2136.nameserver.as_str())
                        .detail(wrong.detail)
                        .advice(wrong.advice);
                }
            }
        },
    ),
    spec(
        "I53",
        "spec.acme.solvers[*].dns01.rfc2136.tsigAlgorithm",
        "The algorithm that signs updates is one that we have",
        |case, findings| {
            for (index, rfc2136) in all(case) {
                let Some(algorithm) = &rfc2136.tsig_algorithm else { continue };
                if !TSIG_ALGORITHMS.iter().any(|known| known.eq_ignore_ascii_case(algorithm)) {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::NotSupported)
                        .value(algorithm.as_str())
                        .advice("write HMACSHA256 or HMACSHA512, or the broken HMACSHA1 or HMACMD5");
                }
            }
        },
    ),
    spec(
        "I54",
        "spec.acme.solvers[*].dns01.rfc2136.tsigSecretSecretRef",
        "A TSIG key that is named has a Secret, and the key within it is named",
        |case, findings| {
            for (index, rfc2136) in all(case).filter(|(_, rfc2136)| rfc2136.tsig_key_name.is_some()) {
                let secret = rfc2136.tsig_secret_secret_ref.clone().unwrap_or_default();
                selector::is_complete(&secret, &[index], findings);
            }
        },
    ),
    spec(
        "I55",
        "spec.acme.solvers[*].dns01.rfc2136.tsigKeyName",
        "A TSIG key that has a Secret is named",
        |case, findings| {
            for (index, rfc2136) in all(case).filter(|(_, rfc2136)| rfc2136.tsig_key_name.is_none()) {
                let secret = rfc2136.tsig_secret_secret_ref.as_ref();
                if secret.is_some_and(|secret| !secret.name.is_empty() && secret.key.is_some()) {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Required)
                        .advice("write the name under which the server knows the key");
                }
            }
        },
    ),
];

fn all<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a Rfc2136Dns)> {
    provider::of(case, Provider::Rfc2136, |dns01| dns01.rfc2136.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, dns01};

    fn check_updates(rfc2136: &Value, wanted: &[&str]) {
        let wanted: Vec<String> =
            wanted.iter().map(|told| told.replacen(' ', " spec.acme.solvers[0].dns01.rfc2136.", 1)).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        check(&dns01(&json!({"rfc2136": rfc2136})), &wanted, &[]);
    }

    #[test]
    fn a_name_server_that_cannot_be_reached_is_refused() {
        check_updates(
            &json!({}),
            &[
                "I51 nameserver: Required value: write the address of the authoritative server, such as \"ns1.example.com:53\"",
            ],
        );
        check_updates(
            &json!({"nameserver": "2001:db8::1"}),
            &[
                "I52 nameserver: Invalid value: \"2001:db8::1\": an IPv6 address needs brackets; write \"[2001:db8::1]:53\"",
            ],
        );
    }

    #[test]
    fn an_unknown_algorithm_is_told_by_its_value() {
        for algorithm in ["HMACSHA224", "HMAC-SHA256", "hmac"] {
            check_updates(
                &json!({"nameserver": "ns.test", "tsigAlgorithm": algorithm}),
                &[&format!(
                    "I53 tsigAlgorithm: Unsupported value: {algorithm:?}: write HMACSHA256 or HMACSHA512, or the broken HMACSHA1 or HMACMD5"
                )],
            );
        }
    }

    #[test]
    fn half_a_key_is_refused() {
        let name = "I54 tsigSecretSecretRef.name: Required value: name the Secret";
        let key = "I54 tsigSecretSecretRef.key: Required value: name the key within the Secret's data";
        let with = |secret: Value| json!({"nameserver": "ns.test", "tsigKeyName": "acme", "tsigAlgorithm": "HMACSHA256", "tsigSecretSecretRef": secret});
        check_updates(&with(Value::Null), &[name, key]);
        check_updates(&with(json!({"name": "tsig"})), &[key]);
        check_updates(&with(json!({"key": "tsig"})), &[name]);
        check_updates(
            &json!({"nameserver": "ns.test", "tsigSecretSecretRef": {"name": "tsig", "key": "secret"}}),
            &["I55 tsigKeyName: Required value: write the name under which the server knows the key"],
        );
        check_updates(&json!({"nameserver": "ns.test", "tsigSecretSecretRef": {"name": "tsig"}}), &[]);
    }

    #[test]
    fn usual_updates_are_accepted() {
        for nameserver in ["ns.test", "ns.test:53", "127.0.0.1", "[::1]:5353"] {
            check_updates(&json!({"nameserver": nameserver}), &[]);
        }
        for algorithm in ["", "HMACSHA256", "hmacsha512"] {
            check_updates(&json!({"nameserver": "ns.test", "tsigAlgorithm": algorithm}), &[]);
        }
    }
}
