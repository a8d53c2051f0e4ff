//! Names, label values and annotations as Kubernetes accepts them (its `apimachinery` library).

use std::collections::BTreeMap;

/// Longest DNS-1123 subdomain (RFC 1123 §2.1).
const SUBDOMAIN_BYTES_MAX: usize = 253;

/// Longest name part of a qualified name, and longest label value: what fits into a DNS label (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Most bytes of all keys and values of an object's annotations.
pub(crate) const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// What keeps `name` from being a DNS-1123 subdomain, as object names must be: one text for each violated rule.
pub(crate) fn subdomain_faults(name: &str) -> impl Iterator<Item = &'static str> {
    let too_long = (name.len() > SUBDOMAIN_BYTES_MAX).then_some("longer than 253 characters");
    let malformed = (!name.split('.').all(is_label)).then_some(
        "not a name that Kubernetes accepts: lower-case letters, digits, '-' and '.', beginning and ending with a \
         letter or digit",
    );
    too_long.into_iter().chain(malformed)
}

/// A valid name that is close to `name`. None: there is no obvious one.
pub(crate) fn similar_subdomain(name: &str) -> Option<String> {
    let mapped = |c: char| match c {
        '_' | ' ' | '/' | ':' => '-',
        other => other.to_ascii_lowercase(),
    };
    let guess: String = name.chars().map(mapped).collect();
    let guess = guess.trim_matches(['-', '.']).to_owned();
    let is_valid = subdomain_faults(&guess).next().is_none();
    is_valid.then_some(guess)
}

/// What keeps `key` from being the key of a label or of an annotation: a name, and before it a DNS-1123 subdomain and
/// a slash where one is wanted. One text for each violated rule.
///
/// Kubernetes judges keys of annotations in lower case, which matters to the prefix alone.
pub(crate) fn qualified_name_faults(key: &str) -> impl Iterator<Item = &'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let wrong_prefix = prefix.filter(|prefix| subdomain_faults(prefix).next().is_some()).map(|_| {
        "the part before the slash is not a DNS name: lower-case letters, digits, '-' and '.', at most 253 characters"
    });
    let too_long = (name.len() > LABEL_BYTES_MAX).then_some("the name is longer than 63 characters");
    let malformed = (!is_name(name)).then_some(
        "the name has other characters than letters, digits, '-', '_' and '.', or does not begin and end with a \
         letter or digit",
    );
    wrong_prefix.into_iter().chain(too_long).chain(malformed)
}

/// What keeps `value` from being the value of a label: one text for each violated rule. An empty one is fine.
pub(crate) fn label_value_faults(value: &str) -> impl Iterator<Item = &'static str> {
    let too_long = (value.len() > LABEL_BYTES_MAX).then_some("the value is longer than 63 characters");
    let malformed = (!value.is_empty() && !is_name(value)).then_some(
        "the value has other characters than letters, digits, '-', '_' and '.', or does not begin and end with a \
         letter or digit",
    );
    too_long.into_iter().chain(malformed)
}

/// How much annotations count against [`ANNOTATIONS_BYTES_MAX`].
pub(crate) fn annotations_bytes(annotations: &BTreeMap<String, String>) -> usize {
    annotations.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum()
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner)
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(first) && alphanumeric(last) && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_refuses_are_refused() {
        let long_and_wrong = "A".repeat(254);
        for (name, faults) in [
            ("", 1),
            ("Web", 1),
            ("a_b", 1),
            ("-a", 1),
            ("a-", 1),
            (".a", 1),
            ("a..b", 1),
            ("a.", 1),
            ("a b", 1),
            ("ä", 1),
            (long_and_wrong.as_str(), 2),
        ] {
            assert_eq!(subdomain_faults(name).count(), faults, "{name:?}");
        }
    }

    #[test]
    fn names_that_kubernetes_accepts_are_accepted() {
        let long = "a".repeat(253);
        for name in ["a", "web-tls", "0", "a.b-c.d0", long.as_str()] {
            assert_eq!(subdomain_faults(name).count(), 0, "{name:?}");
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_a_right_one_where_there_is_one() {
        for (name, similar) in [("", None), ("ä", None), ("Web_TLS", Some("web-tls")), ("web/", Some("web"))]
        {
            assert_eq!(similar_subdomain(name).as_deref(), similar, "{name:?}");
        }
    }

    #[test]
    fn keys_that_kubernetes_refuses_are_refused() {
        let long = "a".repeat(64);
        let both = format!("A/{long}.");
        for (key, faults) in [
            ("", 1),
            ("/", 2),
            ("/a", 1),
            ("a/", 1),
            ("a/b/c", 1),
            ("A.test/a", 1),
            ("a_b/a", 1),
            ("-a", 1),
            ("a.", 1),
            ("a b", 1),
            ("ä", 1),
            (long.as_str(), 1),
            (both.as_str(), 3),
        ] {
            assert_eq!(qualified_name_faults(key).count(), faults, "{key:?}");
        }
    }

    #[test]
    fn keys_that_kubernetes_accepts_are_accepted() {
        let long = format!("{}/{}", "a".repeat(253), "A".repeat(63));
        for key in ["a", "A_b.c-D", "cert-manager.io/allow-direct-injection", "0/0", long.as_str()] {
            assert_eq!(qualified_name_faults(key).next(), None, "{key:?}");
        }
    }

    #[test]
    fn values_of_labels_are_judged_as_kubernetes_does() {
        let long = "a".repeat(64);
        let both = format!("-{long}");
        let cases = [
            ("a/b", 1),
            ("-", 1),
            ("a b", 1),
            (long.as_str(), 1),
            (both.as_str(), 2),
            ("", 0),
            ("A_b.c-1", 0),
        ];
        for (value, faults) in cases {
            assert_eq!(label_value_faults(value).count(), faults, "{value:?}");
        }
    }

    #[test]
    fn annotations_count_with_their_keys() {
        let annotations =
            BTreeMap::from([("a".to_owned(), "bc".to_owned()), ("de".to_owned(), String::new())]);
        assert_eq!(annotations_bytes(&annotations), 5);
    }
}
