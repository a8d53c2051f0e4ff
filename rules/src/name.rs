//! Kubernetes names.

/// Longest DNS-1123 subdomain (RFC 1123 §2.1).
const SUBDOMAIN_BYTES_MAX: usize = 253;

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
}
