//! B09: what ACME servers do not sign, so that a user learns of it before an order fails. Each kind of trouble is told
//! once, of the first name that has it.

use std::net::IpAddr;

use api::CertificateSpec;

use crate::case::Case;
use crate::cluster::{AcmeFacts, Lookup};
use crate::finding::Fault;
use crate::rule::Findings;

/// Domains that are nobody's: reserved (RFC 2606, RFC 6761, RFC 6762, RFC 8375), or used as if they were.
const PRIVATE_DOMAINS: &[&str] = &[
    "local",
    "localhost",
    "internal",
    "test",
    "example",
    "invalid",
    "home.arpa",
    "svc",
    "lan",
    "home",
    "corp",
    "intranet",
];

/// B09.
pub(super) fn can_sign_it(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let issuer = &case.object.spec.issuer_ref;
    let Some(cluster) = case.context.cluster.filter(|_| issuer.is_own_group()) else { return };
    let Lookup::Found(facts) = cluster.issuer(&case.object.metadata.namespace, issuer) else { return };
    let Some(acme) = facts.acme else { return };
    let spec = &case.object.spec;
    kinds_are_signed(spec, findings);
    common_name_is_listed(spec, findings);
    wildcards_can_be_proven(spec, acme, findings);
    if acme.is_public {
        names_are_public(spec, findings);
    }
}

fn kinds_are_signed(spec: &CertificateSpec, findings: &mut Findings) {
    if spec.is_ca {
        findings
            .at("spec.isCA", Fault::Invalid)
            .value(true)
            .detail("ACME servers sign no CAs")
            .advice("use another issuer");
    }
    for (path, is_used) in [
        ("spec.emailAddresses", !spec.email_addresses.is_empty()),
        ("spec.uris", !spec.uris.is_empty()),
        ("spec.otherNames", !spec.other_names.is_empty()),
    ] {
        if is_used {
            findings
                .at(path, Fault::Invalid)
                .detail("ACME servers sign for DNS names and IP addresses")
                .advice("leave them out");
        }
    }
    if spec.subject.as_ref().is_some_and(|subject| !subject.is_empty()) {
        findings
            .at("spec.subject", Fault::Invalid)
            .detail("ACME servers pass over the subject")
            .advice("leave it out");
    }
}

fn common_name_is_listed(spec: &CertificateSpec, findings: &mut Findings) {
    let Some(name) = &spec.common_name else { return };
    let is_listed = spec.dns_names.iter().any(|other| other.eq_ignore_ascii_case(name))
        || spec.ip_addresses.iter().any(|other| other == name);
    if !is_listed {
        findings
            .at("spec.commonName", Fault::Invalid)
            .value(name.as_str())
            .detail("ACME needs it in dnsNames too")
            .advice("add it there, or leave it out");
    }
}

fn wildcards_can_be_proven(spec: &CertificateSpec, acme: AcmeFacts, findings: &mut Findings) {
    let wildcard = spec.dns_names.iter().enumerate().find(|(_, name)| name.starts_with("*."));
    if let Some((index, name)) = wildcard.filter(|_| !acme.has_dns01) {
        findings
            .at(format!("spec.dnsNames[{index}]"), Fault::Invalid)
            .value(name.as_str())
            .detail("wildcards need a DNS01 solver")
            .advice("add one to the issuer");
    }
}

fn names_are_public(spec: &CertificateSpec, findings: &mut Findings) {
    let private = spec.dns_names.iter().enumerate().find(|(_, name)| is_private_name(name));
    if let Some((index, name)) = private {
        findings
            .at(format!("spec.dnsNames[{index}]"), Fault::Invalid)
            .value(name.as_str())
            .detail("public CAs sign for public names")
            .advice("use another issuer for it");
    }
    let is_private = |text: &String| {
        text.parse::<IpAddr>().is_ok_and(|address| is_private_address(address.to_canonical()))
    };
    let private = spec.ip_addresses.iter().enumerate().find(|(_, address)| is_private(address));
    if let Some((index, address)) = private {
        findings
            .at(format!("spec.ipAddresses[{index}]"), Fault::Invalid)
            .value(address.as_str())
            .detail("public CAs sign for public addresses")
            .advice("use another issuer for it");
    }
}

fn is_private_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let is_within = |domain: &&str| {
        let border = name.len().checked_sub(domain.len());
        let parts = border.and_then(|border| name.split_at_checked(border));
        parts.is_some_and(|(before, end)| {
            end.eq_ignore_ascii_case(domain) && (before.is_empty() || before.ends_with('.'))
        })
    };
    !name.contains('.') || PRIVATE_DOMAINS.iter().any(is_within)
}

fn is_private_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => {
            v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::check_in;
    use crate::case::Context;
    use crate::cluster::Snapshot;

    fn check(server: &str, solvers: &Value, change: &Value, warnings: &[&str]) {
        let cluster: Snapshot = serde_json::from_value(json!({
            "issuers": [{"kind": "Issuer", "metadata": {"namespace": "shop", "name": "ca"},
                         "spec": {"acme": {"server": server, "solvers": solvers}}}],
        }))
        .unwrap();
        check_in(Context { cluster: Some(&cluster), ..Context::default() }, change, &[], warnings);
    }

    const PUBLIC: &str = "https://acme-v02.api.letsencrypt.org/directory";
    const OWN: &str = "https://acme.internal/directory";

    #[test]
    fn what_acme_servers_do_not_sign_is_warned_of() {
        check(
            OWN,
            &json!([{"http01": {}}]),
            &json!({"isCA": true, "emailAddresses": ["a@a.test"], "uris": ["urn:a"],
                    "otherNames": [{"oid": "1.2.3", "utf8Value": "a"}],
                    "subject": {"organizations": ["Example"]}, "commonName": "web",
                    "dnsNames": ["a.test", "*.a.test", "*.b.test"]}),
            &[
                "B09 spec.isCA: Invalid value: true: ACME servers sign no CAs; use another issuer",
                "B09 spec.emailAddresses: Invalid value: ACME servers sign for DNS names and IP addresses; leave them out",
                "B09 spec.uris: Invalid value: ACME servers sign for DNS names and IP addresses; leave them out",
                "B09 spec.otherNames: Invalid value: ACME servers sign for DNS names and IP addresses; leave them out",
                "B09 spec.subject: Invalid value: ACME servers pass over the subject; leave it out",
                "B09 spec.commonName: Invalid value: \"web\": ACME needs it in dnsNames too; add it there, or leave it out",
                "B09 spec.dnsNames[1]: Invalid value: \"*.a.test\": wildcards need a DNS01 solver; add one to the issuer",
            ],
        );
    }

    #[test]
    fn private_names_are_warned_of_where_the_server_is_public() {
        let change = json!({"dnsNames": ["example.com", "web", "db.shop.svc"],
                            "ipAddresses": ["1.1.1.1", "10.0.0.1", "::1"]});
        check(
            PUBLIC,
            &json!([]),
            &change,
            &[
                "B09 spec.dnsNames[1]: Invalid value: \"web\": public CAs sign for public names; use another issuer for it",
                "B09 spec.ipAddresses[1]: Invalid value: \"10.0.0.1\": public CAs sign for public addresses; use another issuer for it",
            ],
        );
        check(OWN, &json!([]), &change, &[]);
        for name in ["a.LOCAL", "*.internal", "db.shop.svc"] {
            assert!(super::is_private_name(name), "{name}");
        }
        assert!(!super::is_private_name("notlocal.com") && !super::is_private_name("a.latest"));
    }

    #[test]
    fn what_acme_servers_sign_is_not_warned_of() {
        check(
            PUBLIC,
            &json!([{"dns01": {}}]),
            &json!({"commonName": "WEB.example.com", "dnsNames": ["web.example.com", "*.example.com"],
                    "ipAddresses": ["1.1.1.1"]}),
            &[],
        );
    }
}
