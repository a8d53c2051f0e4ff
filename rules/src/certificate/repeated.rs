//! B02: names and usages that are listed twice. An ACME server refuses a request with such names, and says little.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use api::CertificateSpec;

use crate::case::Case;
use crate::finding::Fault;
use crate::rule::Findings;

/// Lists up to this length are compared pair by pair, which needs no memory.
const PAIRWISE_MAX: usize = 16;

/// Most different items of a list that are remembered, so that memory is bounded; no certificate has that many names.
const REMEMBERED_MAX: usize = 65_536;

/// B02.
pub(super) fn none_is_repeated(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let spec = &case.object.spec;
    report("dnsNames", &spec.dns_names, |name| Some(Folded(name)), String::as_str, findings);
    let address = |text: &String| text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    report("ipAddresses", &spec.ip_addresses, address, String::as_str, findings);
    report("uris", &spec.uris, Some, String::as_str, findings);
    report("emailAddresses", &spec.email_addresses, Some, String::as_str, findings);
    report("usages", &spec.usages, Some, |usage| usage.as_str(), findings);
}

fn report<'a, T, K: Eq + Hash>(
    field: &str,
    items: &'a [T],
    key: impl Fn(&'a T) -> Option<K>,
    text: impl Fn(&'a T) -> &'a str,
    findings: &mut Findings,
) {
    let mut tell = |index: usize, item: &'a T, first: usize| {
        findings
            .at(format!("spec.{field}[{index}]"), Fault::Duplicate)
            .value(text(item))
            .detail(format!("the same as spec.{field}[{first}]"))
            .advice("leave it out");
    };
    if items.len() <= PAIRWISE_MAX {
        for (index, item) in items.iter().enumerate().skip(1) {
            let Some(wanted) = key(item) else { continue };
            let is_same = |other: &'a T| key(other).is_some_and(|key| key == wanted);
            if let Some(first) = items.iter().take(index).position(is_same) {
                tell(index, item, first);
            }
        }
        return;
    }
    let mut seen: HashMap<K, usize> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let Some(key) = key(item) else { continue };
        if let Some(first) = seen.get(&key) {
            tell(index, item, *first);
        } else if seen.len() < REMEMBERED_MAX {
            seen.insert(key, index);
        }
    }
}

/// A text in which the case of ASCII letters does not matter.
#[derive(Debug, Clone, Copy)]
struct Folded<'a>(&'a str);

impl PartialEq for Folded<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Folded<'_> {}

impl Hash for Folded<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::check;

    fn duplicate(field: &str, index: usize, value: &str, first: usize) -> String {
        format!(
            "B02 spec.{field}[{index}]: Duplicate value: {value:?}: the same as spec.{field}[{first}]; leave it out"
        )
    }

    #[test]
    fn what_is_listed_twice_is_refused() {
        check(
            &json!({"dnsNames": ["a.test", "b.test", "A.Test"]}),
            &[&duplicate("dnsNames", 2, "A.Test", 0)],
        );
        check(
            &json!({"ipAddresses": ["2001:db8::1", "2001:DB8:0::1", "192.0.2.1", "::ffff:192.0.2.1"]}),
            &[
                &duplicate("ipAddresses", 1, "2001:DB8:0::1", 0),
                &duplicate("ipAddresses", 3, "::ffff:192.0.2.1", 2),
            ],
        );
        check(&json!({"uris": ["urn:a", "urn:a"]}), &[&duplicate("uris", 1, "urn:a", 0)]);
        check(
            &json!({"emailAddresses": ["a@a", "b@a", "b@a"]}),
            &[&duplicate("emailAddresses", 2, "b@a", 1)],
        );
        let usages = json!({"usages": ["server auth", "client auth", "server auth"]});
        check(&usages, &[&duplicate("usages", 2, "server auth", 0)]);
    }

    #[test]
    fn in_a_long_list_all_repetitions_are_found() {
        let mut names: Vec<String> = (0..100).map(|number| format!("n{number}.test")).collect();
        names.push("N3.test".to_owned());
        names.push("n3.test".to_owned());
        let told = [duplicate("dnsNames", 100, "N3.test", 3), duplicate("dnsNames", 101, "n3.test", 3)];
        check(&json!({"dnsNames": names}), &[&told[0], &told[1]]);
    }

    #[test]
    fn what_only_looks_alike_is_accepted() {
        check(
            &json!({"dnsNames": ["a.test", "*.a.test"], "ipAddresses": ["192.0.2.1", "::1"],
                    "uris": ["urn:a", "urn:A"], "emailAddresses": ["a@a", "A@a"],
                    "usages": ["signing", "digital signature", "server auth"]}),
            &[],
        );
    }
}
