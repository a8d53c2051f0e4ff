//! What works, and hurts later.

use api::IssuerSpec;
use api::acme::issuer::AcmeIssuer;
use api::vault::VaultAuth;

use super::dns01::{self, DEFAULT_TSIG_ALGORITHM, Provider};
use super::{ISSUERS, acme, indexed, vault};
use crate::case::Case;
use crate::cluster::IssuerFacts;
use crate::dns;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

pub(super) static RULES: &[Check<IssuerSpec>] = &[Check::new(
    "B21",
    ISSUERS,
    "spec",
    Class::Advice,
    "Issuers log in to Vault in one way, sign updates by sound algorithms, verify public CAs, and give an e-mail \
     address that can be written to",
    |case, findings| {
        if let Some(acme) = acme(case) {
            account(acme, findings);
            let is_public = || IssuerFacts::of(&case.object.spec).acme.is_some_and(|acme| acme.is_public);
            if acme.skip_tls_verify && is_public() {
                findings
                    .at("spec.acme.skipTLSVerify", Fault::Invalid)
                    .value(true)
                    .detail("anybody can pose as this public CA")
                    .advice("remove it");
            }
        }
        updates_are_signed_soundly(case, findings);
        if let Some(vault) = vault(case) {
            one_way_to_log_in(&vault.auth, findings);
        }
    },
)];

fn account(acme: &AcmeIssuer, findings: &mut Findings) {
    let Some(email) = &acme.email else { return };
    if let Some(fault) = address_fault(email) {
        findings
            .at("spec.acme.email", Fault::Invalid)
            .detail(fault)
            .advice("write one address, such as \"admin@example.com\"");
    }
}

/// What keeps a text from being one address to which a CA can write, in the plain form of RFC 5321 §4.1.2.
fn address_fault(text: &str) -> Option<&'static str> {
    if text.contains([',', ';', '<', '>', ' ']) {
        return Some("not one bare address");
    }
    match text.rsplit_once('@') {
        None => Some("no '@'"),
        Some((user, _)) if user.is_empty() || user.contains('@') => Some("no user in front of the '@'"),
        Some((_, domain)) if dns::host_fault(domain).is_some() => Some("no domain behind the '@'"),
        Some(_) => None,
    }
}

fn updates_are_signed_soundly(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    for (index, rfc2136) in dns01::of(case, Provider::Rfc2136, |dns01| dns01.rfc2136.as_deref()) {
        if rfc2136.tsig_key_name.is_none() {
            continue;
        }
        let algorithm = rfc2136.tsig_algorithm.as_deref().unwrap_or(DEFAULT_TSIG_ALGORITHM);
        if ["HMACMD5", "HMACSHA1"].iter().any(|weak| weak.eq_ignore_ascii_case(algorithm)) {
            findings
                .at(indexed("spec.acme.solvers[*].dns01.rfc2136.tsigAlgorithm", &[index]), Fault::Invalid)
                .value(algorithm)
                .detail("weak")
                .advice("use HMACSHA256");
        }
    }
}

fn one_way_to_log_in(auth: &VaultAuth, findings: &mut Findings) {
    let ways = [
        (auth.token_secret_ref.is_some(), "tokenSecretRef"),
        (auth.app_role.is_some(), "appRole"),
        (auth.client_certificate.is_some(), "clientCertificate"),
        (auth.kubernetes.is_some(), "kubernetes"),
        (auth.aws.is_some(), "aws"),
    ];
    let mut set = ways.into_iter().filter_map(|(is_set, field)| is_set.then_some(field));
    let Some(first) = set.next() else { return };
    let others: Vec<&str> = set.collect();
    if !others.is_empty() {
        findings
            .at("spec.vault.auth", Fault::Invalid)
            .detail(format!("{first} wins"))
            .advice(format!("remove {}", others.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, dns01, merged, solvers};

    fn account(changes: &Value) -> Value {
        merged(&solvers(&json!([])), &json!({"acme": changes}))
    }

    #[test]
    fn an_address_that_nobody_can_write_to_is_a_warning() {
        for (email, fault) in [
            ("a@b.test,c@d.test", "not one bare address"),
            ("A <a@b.test>", "not one bare address"),
            ("admin", "no '@'"),
            ("@b.test", "no user in front of the '@'"),
            ("a@b@c.test", "no user in front of the '@'"),
            ("a@", "no domain behind the '@'"),
            ("a@b..c", "no domain behind the '@'"),
        ] {
            check(
                &account(&json!({"email": email})),
                &[],
                &[&format!(
                    "B21 spec.acme.email: Invalid value: {fault}; write one address, such as \"admin@example.com\""
                )],
            );
        }
        check(&account(&json!({"email": "o'neil+acme@b.test"})), &[], &[]);
        check(&account(&json!({"email": ""})), &[], &[]);
    }

    #[test]
    fn a_public_ca_that_is_not_verified_is_a_warning() {
        let with = |server: &str| account(&json!({"server": server, "skipTLSVerify": true}));
        check(
            &with("https://acme-v02.api.letsencrypt.org/directory"),
            &[],
            &[
                "B21 spec.acme.skipTLSVerify: Invalid value: true: anybody can pose as this public CA; remove it",
            ],
        );
        check(&with("https://pebble.test/dir"), &[], &[]);
    }

    #[test]
    fn weak_signatures_of_updates_are_a_warning() {
        let with = |algorithm: &str| {
            dns01(
                &json!({"rfc2136": {"nameserver": "ns.test", "tsigKeyName": "a", "tsigAlgorithm": algorithm,
                                      "tsigSecretSecretRef": {"name": "a", "key": "b"}}}),
            )
        };
        let told = |algorithm: &str| {
            format!(
                "B21 spec.acme.solvers[0].dns01.rfc2136.tsigAlgorithm: Invalid value: {algorithm:?}: weak; use HMACSHA256"
            )
        };
        for (algorithm, shown) in [("", "HMACMD5"), ("HMACMD5", "HMACMD5"), ("hmacsha1", "hmacsha1")] {
            check(&with(algorithm), &[], &[&told(shown)]);
        }
        check(&with("HMACSHA512"), &[], &[]);
        check(&dns01(&json!({"rfc2136": {"nameserver": "ns.test"}})), &[], &[]);
    }

    #[test]
    fn several_ways_to_log_in_are_a_warning_that_says_which_wins() {
        let with = |auth: &Value| json!({"vault": {"server": "https://vault.test", "path": "pki/sign/web", "auth": auth}});
        let role = json!({"roleId": "a", "secretRef": {"name": "a", "key": "b"}});
        check(
            &with(&json!({"aws": {"role": "a"}, "appRole": role, "tokenSecretRef": {"name": "a"}})),
            &[],
            &["B21 spec.vault.auth: Invalid value: tokenSecretRef wins; remove appRole, aws"],
        );
        check(&with(&json!({"appRole": role})), &[], &[]);
    }
}
