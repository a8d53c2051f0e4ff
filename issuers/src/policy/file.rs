//! The rules as they are written: YAML, read strictly, since a rule that is misread permits too much.

use std::net::IpAddr;

use api::GoDuration;
use issuance::constraint::IpRange;
use issuance::usage::Usages;
use jiff::SignedDuration;
use runtime::config::{self, ContentError, Identity, Plain, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::names;
use super::pattern::Pattern;
use super::rules::{IssuerPattern, Rule, Rules};

/// What the text of the rules says that it is.
pub const IDENTITY: Identity = Identity { api_version: "policy.signet/v1alpha1", kind: "NamePolicy" };

/// The most values of all lists together: each name of each request is compared with them.
const VALUES_MAX: usize = 4096;

/// The longest value: a URI fits.
const VALUE_BYTES_MAX: usize = 2048;

/// What a star in a URI never stands for: what separates its parts, and what such a character can be hidden behind
/// (RFC 3986 §2.1, §2.2).
const URI_SEPARATORS: &str = "/:?#[]@%";

/// Why rules cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The text is not what it should be.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A value means nothing.
    #[error("{path}: {message}")]
    Value {
        /// Where, such as `rules[0].ips[1]`.
        path: String,
        /// What is wrong, and what would be right.
        message: String,
    },
}

impl Rules {
    /// Reads rules: a document of [`IDENTITY`] with a list `rules`.
    ///
    /// # Errors
    /// When a key is unknown, or a value means nothing.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let document: Document = config::parse(text, IDENTITY)?;
        let mut values = 0_usize;
        let rules = document.rules.unwrap_or_default();
        let rules = rules.into_iter().enumerate().map(|(index, entry)| {
            values = values.saturating_add(entry.count());
            let path = format!("rules[{index}]");
            if values > VALUES_MAX {
                return Err(wrong(&path, format!("there are more than {VALUES_MAX} values in all lists")));
            }
            entry.rule(&path)
        });
        rules.collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    rules: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    namespaces: Option<Vec<String>>,
    service_accounts: Option<Vec<String>>,
    issuers: Option<Vec<IssuerEntry>>,
    allow: Option<Allow>,
    #[serde(rename = "isCA")]
    is_ca: Option<Plain<bool>>,
    #[serde(default)]
    dns_names: Vec<String>,
    #[serde(default)]
    uris: Vec<String>,
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    usages: Vec<String>,
    #[serde(default)]
    max_duration: Text<GoText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerEntry {
    name: String,
    kind: Option<String>,
    group: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Allow {
    Any,
}

/// A duration in Go's syntax.
struct GoText(SignedDuration);

impl std::str::FromStr for GoText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = GoDuration::new(text).parse().map_err(|error| error.to_string())?;
        if duration.is_positive() { Ok(Self(duration)) } else { Err(format!("{text:?} is no time at all")) }
    }
}

impl Entry {
    fn count(&self) -> usize {
        let lists = [&self.dns_names, &self.uris, &self.ips, &self.subjects, &self.usages];
        let selectors = [&self.namespaces, &self.service_accounts];
        lists.iter().map(|list| list.len()).sum::<usize>()
            + selectors.iter().filter_map(|list| list.as_ref()).map(Vec::len).sum::<usize>()
            + self.issuers.as_ref().map_or(0, Vec::len)
    }

    fn rule(self, path: &str) -> Result<Rule, RulesError> {
        let at = |name: &str| format!("{path}.{name}");
        Ok(Rule {
            namespaces: selector(&at("namespaces"), self.namespaces)?,
            accounts: selector(&at("serviceAccounts"), self.service_accounts)?,
            issuers: issuers(&at("issuers"), self.issuers)?,
            any: matches!(self.allow, Some(Allow::Any)),
            is_ca: Plain::of(self.is_ca).unwrap_or(false),
            dns_names: each(&at("dnsNames"), self.dns_names, dns_name)?,
            uris: each(&at("uris"), self.uris, uri)?,
            ips: each(&at("ips"), self.ips, ip_range)?,
            subjects: each(&at("subjects"), self.subjects, subject)?,
            usages: usages(&at("usages"), &self.usages)?,
            duration_max: self.max_duration.0.map(|GoText(duration)| duration),
        })
    }
}

fn wrong(path: &str, message: impl Into<String>) -> RulesError {
    RulesError::Value { path: path.to_owned(), message: message.into() }
}

/// Reads each value of a list; empty ones and endless ones are none.
fn each<T>(
    path: &str,
    values: Vec<String>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, RulesError> {
    let values = values.into_iter().enumerate().map(|(index, value)| {
        let path = format!("{path}[{index}]");
        if value.is_empty() {
            return Err(wrong(&path, "is empty"));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(wrong(&path, format!("is longer than {VALUE_BYTES_MAX} bytes")));
        }
        read(&value).map_err(|message| wrong(&path, message))
    });
    values.collect()
}

/// Whom a rule is for. A list that is there and empty could mean nobody or everybody.
fn selector(path: &str, names: Option<Vec<String>>) -> Result<Option<Vec<Pattern>>, RulesError> {
    let Some(names) = names else { return Ok(None) };
    if names.is_empty() {
        return Err(wrong(path, "is an empty list; leave the key out to mean all"));
    }
    each(path, names, |name| Ok(Pattern::new(name, ""))).map(Some)
}

fn issuers(path: &str, entries: Option<Vec<IssuerEntry>>) -> Result<Option<Vec<IssuerPattern>>, RulesError> {
    let Some(entries) = entries else { return Ok(None) };
    if entries.is_empty() {
        return Err(wrong(path, "is an empty list; leave the key out to mean all"));
    }
    let patterns = entries.into_iter().enumerate().map(|(index, entry)| {
        let IssuerEntry { name, kind, group } = entry;
        if name.is_empty() {
            return Err(wrong(&format!("{path}[{index}].name"), "is empty"));
        }
        Ok(IssuerPattern { name: Pattern::new(name, ""), kind, group })
    });
    patterns.collect::<Result<_, _>>().map(Some)
}

fn dns_name(text: &str) -> Result<Pattern, String> {
    let lower = text.to_ascii_lowercase();
    // A star may stand anywhere in a pattern; what is around it must be able to be a name.
    if names::is_dns_name(&lower.replace('*', "x")) {
        Ok(Pattern::new(lower, "."))
    } else {
        Err(format!(
            "{text:?} is no pattern of DNS names; write labels with dots between them, such as *.example.org"
        ))
    }
}

/// A URI whose stars each stand for characters of one segment of the path, or of what takes its place. Who vouches for the
/// rest, the scheme and the authority, which is the trust domain of a SPIFFE identity, has to be said (RFC 3986 §3).
fn uri(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::new(text, URI_SEPARATORS);
    let Some((before, _)) = text.split_once('*') else { return Ok(pattern) };
    let is_said = match before.split_once(':') {
        None => false,
        Some((_, rest)) => match rest.strip_prefix("//") {
            Some(rest) => rest.split_once('/').is_some_and(|(authority, _)| !authority.is_empty()),
            None => !rest.is_empty() && rest != "/",
        },
    };
    if is_said {
        Ok(pattern)
    } else {
        Err(format!(
            "{text:?} has a star before its path; write scheme and authority out, such as spiffe://cluster.local/ns/*/sa/web"
        ))
    }
}

fn ip_range(text: &str) -> Result<IpRange, String> {
    if text.contains('/') {
        return text.parse::<IpRange>().map_err(|error| error.to_string());
    }
    let address: IpAddr = text.parse().map_err(|_| {
        format!("{text:?} is neither an IP address nor a range of them, such as 192.0.2.0/24")
    })?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    IpRange::new(address, bits).map_err(|error| error.to_string())
}

fn subject(text: &str) -> Result<Pattern, String> {
    match text.split_once('=') {
        Some((kind, value)) if !kind.is_empty() && !kind.contains('*') && !value.is_empty() => {
            Ok(Pattern::new(text, ""))
        }
        _ => Err(format!(
            "{text:?} is no attribute of a subject; write its type and its value, such as O=Example"
        )),
    }
}

fn usages(path: &str, names: &[String]) -> Result<Option<Usages>, RulesError> {
    if names.is_empty() {
        return Ok(None);
    }
    Usages::parse(names).map(Some).map_err(|error| wrong(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Rules, String> {
        let text = format!("apiVersion: policy.signet/v1alpha1\nkind: NamePolicy\nrules:\n{rules}");
        Rules::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_that_could_be_misread_are_refused_with_their_place() {
        let check = |rules: &str, message: &str| {
            let error = parse(rules).unwrap_err();
            assert!(error.contains(message), "{error} for {rules}");
        };
        check(
            "- dnsName: [a.test]\n",
            "line 4, column 3: unknown key \"dnsName\"; did you mean \"dnsNames\"?",
        );
        check("- allow: all\n", "line 4, column 10: unknown value \"all\"; known are any");
        check("- isCA: \"true\"\n", "line 4");
        check("- namespaces: []\n", "rules[0].namespaces: is an empty list; leave the key out to mean all");
        check("- serviceAccounts: []\n", "rules[0].serviceAccounts: is an empty list");
        check("- issuers: []\n", "rules[0].issuers: is an empty list");
        check("- issuers: [{name: ''}]\n", "rules[0].issuers[0].name: is empty");
        check("- namespaces: ['']\n", "rules[0].namespaces[0]: is empty");
        check(
            "- {}\n- dnsNames: [a.test, 'a b']\n",
            "rules[1].dnsNames[1]: \"a b\" is no pattern of DNS names",
        );
        check("- dnsNames: [a.test.]\n", "rules[0].dnsNames[0]: \"a.test.\" is no pattern");
        for uri in [
            "*",
            "*://td/a",
            "s*://td/a",
            "spiffe:*",
            "spiffe:/*",
            "spiffe://*",
            "spiffe://td*/a",
            "spiffe://*/a",
            "spiffe:///*",
        ] {
            let wrong = format!("rules[0].uris[0]: {uri:?} has a star before its path");
            check(&format!("- uris: ['{uri}']\n"), &wrong);
        }
        check("- ips: [here]\n", "rules[0].ips[0]: \"here\" is neither an IP address nor a range of them");
        check("- ips: [10.0.0.0/33]\n", "rules[0].ips[0]: ");
        check("- subjects: [Example]\n", "rules[0].subjects[0]: \"Example\" is no attribute of a subject");
        check("- subjects: ['*=Example']\n", "rules[0].subjects[0]: ");
        check("- subjects: ['O=']\n", "rules[0].subjects[0]: ");
        check("- usages: [server]\n", "rules[0].usages: \"server\" is not a key usage");
        check("- maxDuration: 1 day\n", "line 4");
        check("- maxDuration: 0s\n", "\"0s\" is no time at all");
        check(&format!("- uris: ['{}']\n", "u".repeat(2049)), "rules[0].uris[0]: is longer than 2048 bytes");
        let many = "u, ".repeat(2049);
        check(
            &format!("- uris: [{many}]\n- uris: [{many}]\n"),
            "rules[1]: there are more than 4096 values in all lists",
        );
        check("kind: Rules\n", "line 4");
        let other = Rules::parse("apiVersion: v1\nkind: ConfigMap\n").unwrap_err().to_string();
        assert!(other.contains("this process reads NamePolicy of policy.signet/v1alpha1"), "{other}");
    }

    #[test]
    fn every_key_is_read() {
        let rules = parse(
            "- namespaces: [team-*]\n  serviceAccounts: [web]\n  issuers: [{name: ca, kind: ClusterIssuer, group: g}]\n  \
             allow: any\n  isCA: true\n  dnsNames: ['*.Example.org']\n  uris: ['urn:a:*']\n  ips: [192.0.2.1, 2001:db8::/32]\n  \
             subjects: [O=Example]\n  usages: [code signing]\n  maxDuration: 48h\n",
        )
        .unwrap();
        let pattern = |text: &str, separators| Pattern::new(text, separators);
        let expected = Rule {
            namespaces: Some(vec![pattern("team-*", "")]),
            accounts: Some(vec![pattern("web", "")]),
            issuers: Some(vec![IssuerPattern {
                name: pattern("ca", ""),
                kind: Some("ClusterIssuer".to_owned()),
                group: Some("g".to_owned()),
            }]),
            any: true,
            is_ca: true,
            dns_names: vec![pattern("*.example.org", ".")],
            uris: vec![pattern("urn:a:*", URI_SEPARATORS)],
            ips: vec!["192.0.2.1/32".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            subjects: vec![pattern("O=Example", "")],
            usages: Some(Usages::parse(["code signing"]).unwrap()),
            duration_max: Some(SignedDuration::from_hours(48)),
        };
        assert_eq!(rules, Rules(vec![expected]));
        assert!(rules.allow_any() && rules.len() == 1 && !rules.is_empty());
        assert_eq!(parse("- {}\n").unwrap(), Rules(vec![Rule::default()]));
        let none = Rules::parse("apiVersion: policy.signet/v1alpha1\nkind: NamePolicy\n").unwrap();
        assert!(none.is_empty() && !none.allow_any());
    }
}
