//! Rules about URLs: those of servers, and those that are written into certificates.

use std::borrow::Cow;
use std::net::IpAddr;

use api::IssuerSpec;

use super::dns01::{self, Provider};
use super::{ISSUERS, acme, ca, indexed, self_signed, solver, vault, venafi};
use crate::case::{Case, Settings};
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Rule};
use crate::uri::{Host, Uri, UriError};

pub(super) static RULES: &[Check<IssuerSpec>] = &[Check::new(
    "B16",
    ISSUERS,
    "spec",
    Class::Spec,
    "URLs can be read, are https where secrets travel, and lead to no host that the operator denies",
    |case, findings| {
        servers(case, findings);
        solver_servers(case, findings);
        written_into_certificates(case, findings.of(&B16_W));
    },
)
.with(&[&B16_W])];

static B16_W: Rule = Rule {
    id: "B16-W",
    kinds: ISSUERS,
    path: "spec",
    class: Class::Advice,
    summary: "URLs that are written into certificates can be read",
};

/// What a server's URL must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Secrets travel to it.
    Encrypted,
    /// Whatever HTTP there is.
    Any,
}

fn servers(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    let mut check = |path: &'static str, url: &str| {
        server(path, url, Transport::Encrypted, case.context.settings, findings);
    };
    if let Some(acme) = acme(case) {
        check("spec.acme.server", &acme.server);
    }
    if let Some(vault) = vault(case) {
        check("spec.vault.server", &vault.server);
    }
    let Some(venafi) = venafi(case) else { return };
    let cloud = venafi.cloud.as_ref().and_then(|cloud| cloud.url.as_deref());
    let ngts = venafi.ngts.as_ref();
    for (path, url) in [
        ("spec.venafi.tpp.url", venafi.tpp.as_ref().map(|tpp| tpp.url.as_str())),
        ("spec.venafi.cloud.url", cloud),
        ("spec.venafi.ngts.url", ngts.and_then(|ngts| ngts.url.as_deref())),
        ("spec.venafi.ngts.tokenEndpoint", ngts.and_then(|ngts| ngts.token_endpoint.as_deref())),
    ] {
        check(path, url.unwrap_or_default());
    }
}

fn solver_servers(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    for (index, acme_dns) in dns01::of(case, Provider::AcmeDns, |dns01| dns01.acme_dns.as_deref()) {
        let path = || indexed("spec.acme.solvers[*].dns01.acmeDNS.host", &[index]);
        server(Lazy(path), &acme_dns.host, Transport::Any, case.context.settings, findings);
    }
    for (index, rfc2136) in dns01::of(case, Provider::Rfc2136, |dns01| dns01.rfc2136.as_deref()) {
        let path = || indexed("spec.acme.solvers[*].dns01.rfc2136.nameserver", &[index]);
        name_server(Lazy(path), &rfc2136.nameserver, case.context.settings, findings);
    }
    for (index, dns01) in solver::dns01(case) {
        for (inner, text) in dns01.nameservers.iter().enumerate() {
            let path = || indexed("spec.acme.solvers[*].dns01.nameservers[*]", &[index, inner]);
            name_server(Lazy(path), text, case.context.settings, findings);
        }
    }
}

/// B16 for a name server: whether the operator denies it. Its form is I22's and I52's.
fn name_server(path: impl Into<Cow<'static, str>>, text: &str, settings: &Settings, findings: &mut Findings) {
    let host = dns01::nameserver::host(text);
    if let Some(Err(Wrong { fault, detail, advice })) = host.map(|host| is_not_denied(host, settings)) {
        let finding = findings.at(path, fault).detail(detail).advice(advice);
        if !may_hold_a_password(text) {
            finding.value(text);
        }
    }
}

/// A path that is not made before it is needed.
struct Lazy<F>(F);

impl<F: FnOnce() -> String> From<Lazy<F>> for Cow<'static, str> {
    fn from(lazy: Lazy<F>) -> Self {
        Self::Owned(lazy.0())
    }
}

/// B16 for the URL of one server. That it is missing is told by other rules.
fn server(
    path: impl Into<Cow<'static, str>>,
    url: &str,
    transport: Transport,
    settings: &Settings,
    findings: &mut Findings,
) {
    if url.is_empty() {
        return;
    }
    let Err(Wrong { fault, detail, advice }) = judge(url, transport, settings) else { return };
    let finding = findings.at(path, fault).detail(detail).advice(advice);
    if !may_hold_a_password(url) {
        finding.value(url);
    }
}

struct Wrong {
    fault: Fault,
    detail: Cow<'static, str>,
    advice: Cow<'static, str>,
}

impl Wrong {
    fn new(detail: impl Into<Cow<'static, str>>, advice: impl Into<Cow<'static, str>>) -> Self {
        Self { fault: Fault::Invalid, detail: detail.into(), advice: advice.into() }
    }
}

fn judge(url: &str, transport: Transport, settings: &Settings) -> Result<(), Wrong> {
    let uri = Uri::parse(url).map_err(|error| Wrong::new(error.to_string(), similar(url)))?;
    let (https, http) = (uri.has_scheme("https"), uri.has_scheme("http"));
    if !https && !http {
        return Err(Wrong::new("not the URL of a web server", similar(url)));
    }
    let Some(host) = uri.host() else {
        return Err(Wrong::new("no host that could be reached", EXAMPLE));
    };
    if let Host::Name(name) = host
        && !is_name(name)
    {
        return Err(Wrong::new(format!("{name:?} is neither a DNS name nor an IP address"), EXAMPLE));
    }
    let open = transport == Transport::Encrypted && http && !is_loopback(host);
    if open && !settings.plaintext_servers {
        let advice = format!("{}, or have --allow-plaintext-servers set", similar(url));
        return Err(Wrong::new("secrets would travel unencrypted", advice));
    }
    is_not_denied(host, settings)
}

fn is_not_denied(host: Host<'_>, settings: &Settings) -> Result<(), Wrong> {
    match settings.denied_servers.iter().find(|range| range.contains(host)) {
        None => Ok(()),
        Some(range) => Err(Wrong {
            fault: Fault::Forbidden,
            detail: format!("the operator denies servers in {range}").into(),
            advice: "name a server outside of it".into(),
        }),
    }
}

const EXAMPLE: &str = "write a URL such as \"https://server.example.com\"";

/// Advice: the same URL with https, where that can be read.
fn similar(url: &str) -> Cow<'static, str> {
    let rest = url.trim().trim_start_matches("http://").trim_start_matches("//");
    let guess = format!("https://{rest}");
    let usable = Uri::parse(&guess).is_ok_and(|uri| uri.host().is_some()) && !rest.contains("://");
    if usable && !may_hold_a_password(url) { format!("write {guess:?}").into() } else { EXAMPLE.into() }
}

/// Whether there may be a user and password in front of the host, which are not to be repeated.
fn may_hold_a_password(url: &str) -> bool {
    url.contains('@')
}

/// Whether resolvers take it for a name. Some read `127.1`, `2130706433` and `0x7f.1` as addresses.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_number = |label: &str| match label.strip_prefix("0x").or(label.strip_prefix("0X")) {
        Some(hexadecimal) => hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    };
    name.split('.').all(|label| !label.is_empty() && label.bytes().all(known))
        && name.rsplit('.').next().is_some_and(|last| !is_number(last))
}

/// Whether what is sent there does not leave the machine.
fn is_loopback(host: Host<'_>) -> bool {
    match host {
        Host::Address(IpAddr::V4(address)) => address.is_loopback(),
        Host::Address(IpAddr::V6(address)) => address.is_loopback(),
        Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
    }
}

fn written_into_certificates(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    let mut check = |path: &'static str, index: usize, url: &str| {
        if let Err(error) = Uri::parse(url) {
            // Short: a warning has at most 120 characters.
            let (detail, advice) = match error {
                UriError::Scheme => (Cow::Borrowed("no scheme"), "begin it with http://"),
                UriError::Empty => (Cow::Borrowed("empty"), "leave it out"),
                other => (other.to_string().into(), ""),
            };
            findings.at(indexed(path, &[index]), Fault::Invalid).value(url).detail(detail).advice(advice);
        }
    };
    if let Some(ca) = ca(case) {
        for (index, url) in ca.crl_distribution_points.iter().enumerate() {
            check("spec.ca.crlDistributionPoints[*]", index, url);
        }
        // Empty ones break I59 and I60.
        for (index, url) in ca.ocsp_servers.iter().enumerate().filter(|(_, url)| !url.is_empty()) {
            check("spec.ca.ocspServers[*]", index, url);
        }
        for (index, url) in ca.issuing_certificate_urls.iter().enumerate().filter(|(_, url)| !url.is_empty())
        {
            check("spec.ca.issuingCertificateURLs[*]", index, url);
        }
    }
    for (index, url) in self_signed(case).iter().flat_map(|own| &own.crl_distribution_points).enumerate() {
        check("spec.selfSigned.crlDistributionPoints[*]", index, url);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::case::{Context, Settings};
    use crate::issuer::testing::{check, check_in};

    fn vault(server: &str) -> Value {
        json!({"vault": {"server": server, "path": "pki/sign/web",
                         "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}}}})
    }

    fn check_with(settings: &Settings, server: &str, wanted: &[&str]) {
        check_in(Context { settings, ..Context::default() }, &vault(server), wanted, &[]);
    }

    #[test]
    fn a_server_that_cannot_be_reached_by_https_is_refused() {
        for (server, told) in [
            ("vault.test", "no scheme, such as \"https://\", in front; write \"https://vault.test\""),
            ("vault.test:8200", "not the URL of a web server; write \"https://vault.test:8200\""),
            ("//vault.test", "no scheme, such as \"https://\", in front; write \"https://vault.test\""),
            (
                "http://vault.test:8200",
                "secrets would travel unencrypted; write \"https://vault.test:8200\", or have --allow-plaintext-servers set",
            ),
            (
                "http://localhost.test",
                "secrets would travel unencrypted; write \"https://localhost.test\", or have --allow-plaintext-servers set",
            ),
            (
                "ftp://vault.test",
                "not the URL of a web server; write a URL such as \"https://server.example.com\"",
            ),
            ("https://", "no host that could be reached; write a URL such as \"https://server.example.com\""),
            (
                "https:///v1",
                "no host that could be reached; write a URL such as \"https://server.example.com\"",
            ),
            (
                "https://a..b",
                "\"a..b\" is neither a DNS name nor an IP address; write a URL such as \"https://server.example.com\"",
            ),
            (
                "https://127.1",
                "\"127.1\" is neither a DNS name nor an IP address; write a URL such as \"https://server.example.com\"",
            ),
            (
                "https://0x7f000001",
                "\"0x7f000001\" is neither a DNS name nor an IP address; write a URL such as \"https://server.example.com\"",
            ),
            (
                "https://%61.test",
                "\"%61.test\" is neither a DNS name nor an IP address; write a URL such as \"https://server.example.com\"",
            ),
            (
                " https://vault.test",
                "' ' at character 1 is not allowed in a URI; write a URL such as \"https://server.example.com\"",
            ),
        ] {
            check(
                &vault(server),
                &[&format!("B16 spec.vault.server: Invalid value: {server:?}: {told}")],
                &[],
            );
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        check(
            &vault("http://user:word@vault.test"),
            &[
                "B16 spec.vault.server: Invalid value: secrets would travel unencrypted; write a URL such as \"https://server.example.com\", or have --allow-plaintext-servers set",
            ],
            &[],
        );
    }

    #[test]
    fn the_operator_may_deny_hosts_and_allow_plaintext() {
        let denying = Settings {
            denied_servers: ["169.254.0.0/16", "localhost", ".svc"]
                .iter()
                .map(|range| range.parse().unwrap())
                .collect(),
            ..Settings::DEFAULT
        };
        for (server, range) in [
            ("https://169.254.169.254/latest", "169.254.0.0/16"),
            ("https://[::ffff:169.254.1.1]", "169.254.0.0/16"),
            ("https://[64:ff9b::169.254.169.254]", "169.254.0.0/16"),
            ("http://localhost:8200", "localhost"),
            ("https://vault.vault.svc", ".svc"),
        ] {
            let told = format!(
                "B16 spec.vault.server: Forbidden: {server:?}: the operator denies servers in {range}; name a server outside of it"
            );
            check_with(&denying, server, &[&told]);
        }
        check_with(&denying, "https://vault.test", &[]);
        check_with(
            &Settings { plaintext_servers: true, ..Settings::DEFAULT },
            "http://vault.vault:8200",
            &[],
        );
    }

    #[test]
    fn the_operator_may_deny_name_servers() {
        let denying =
            Settings { denied_servers: vec!["169.254.0.0/16".parse().unwrap()], ..Settings::DEFAULT };
        let context = Context { settings: &denying, ..Context::default() };
        let check = |dns01: &Value, wanted: &[&str]| {
            check_in(context, &crate::issuer::testing::dns01(dns01), wanted, &[]);
        };
        let told = |path: &str, server: &str| {
            format!(
                "B16 spec.acme.solvers[0].dns01.{path}: Forbidden: {server:?}: the operator denies servers in 169.254.0.0/16; name a server outside of it"
            )
        };
        for server in ["169.254.1.1", "169.254.1.1:53", "[::ffff:169.254.1.1]:53", "[64:ff9b::a9fe:101]"] {
            check(&json!({"rfc2136": {"nameserver": server}}), &[&told("rfc2136.nameserver", server)]);
        }
        check(
            &json!({"nameservers": ["1.1.1.1:53", "169.254.1.1:53", "https://169.254.1.1/dns-query"], "route53": {}}),
            &[
                &told("nameservers[1]", "169.254.1.1:53"),
                &told("nameservers[2]", "https://169.254.1.1/dns-query"),
            ],
        );
        check(&json!({"rfc2136": {"nameserver": "ns.test:53"}, "nameservers": ["1.1.1.1:53"]}), &[]);
    }

    #[test]
    fn every_url_is_judged() {
        let ca = json!({"ca": {"secretName": "ca", "crlDistributionPoints": ["", "a"], "ocspServers": ["b"],
                               "issuingCertificateURLs": ["c", "ldap:///cn=ca"]}});
        let told = |path: &str, value: &str, detail: &str| {
            format!("B16-W spec.{path}: Invalid value: {value:?}: {detail}")
        };
        let scheme = "no scheme; begin it with http://";
        check(
            &ca,
            &[],
            &[
                &told("ca.crlDistributionPoints[0]", "", "empty; leave it out"),
                &told("ca.crlDistributionPoints[1]", "a", scheme),
                &told("ca.ocspServers[0]", "b", scheme),
                &told("ca.issuingCertificateURLs[0]", "c", scheme),
            ],
        );
        check(
            &json!({"selfSigned": {"crlDistributionPoints": ["http://crl.test", "x"]}}),
            &[],
            &[&told("selfSigned.crlDistributionPoints[1]", "x", scheme)],
        );
        let open = |path: &str| {
            format!(
                "B16 spec.{path}: Invalid value: \"http://a.test\": secrets would travel unencrypted; write \"https://a.test\", or have --allow-plaintext-servers set"
            )
        };
        check(
            &json!({"acme": {"server": "http://a.test", "privateKeySecretRef": {"name": "a"}, "solvers": [
                {"http01": {"ingress": {}}},
                {"dns01": {"acmeDNS": {"host": "auth.test", "accountSecretRef": {"name": "a", "key": "b"}}}},
                {"selector": {"dnsZones": ["a.test"]}, "dns01": {"acmeDNS": {"host": "http://auth.test", "accountSecretRef": {"name": "a", "key": "b"}}}},
            ]}}),
            &[
                &open("acme.server"),
                "B16 spec.acme.solvers[1].dns01.acmeDNS.host: Invalid value: \"auth.test\": no scheme, such as \"https://\", in front; write \"https://auth.test\"",
            ],
            &[],
        );
        check(
            &json!({"venafi": {"zone": "z", "tpp": {"url": "http://a.test", "credentialsRef": {"name": "a"}}}}),
            &[&open("venafi.tpp.url")],
            &[],
        );
        check(
            &json!({"venafi": {"zone": "z", "cloud": {"url": "http://a.test", "apiTokenSecretRef": {"name": "a", "key": "b"}}}}),
            &[&open("venafi.cloud.url")],
            &[],
        );
        check(
            &json!({"venafi": {"zone": "z", "ngts": {"url": "http://a.test", "tokenEndpoint": "http://a.test",
                                                     "tsgID": "1", "credentialsRef": {"name": "a"}}}}),
            &[&open("venafi.ngts.url"), &open("venafi.ngts.tokenEndpoint")],
            &[],
        );
    }

    #[test]
    fn servers_reached_by_https_or_on_the_same_machine_are_accepted() {
        for server in [
            "https://vault.test:8200/",
            "HTTPS://vault_1.vault.svc.",
            "http://127.0.0.1:8200",
            "http://[::1]:8200",
            "http://localhost:8200",
            "https://10.0.0.1",
        ] {
            check(&vault(server), &[], &[]);
        }
    }
}
