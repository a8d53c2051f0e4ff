//! DNS names as certificates and solvers have them (RFC 5280 §4.2.1.6, RFC 5890 §2.3).

mod punycode;

/// Longest name in text (RFC 1035 §2.3.4: 255 octets on the wire).
const NAME_BYTES_MAX: usize = 253;

/// Longest label (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Longest text that is looked at for a name that is close to it: a URL around one, say.
const SIMILAR_BYTES_MAX: usize = 1024;

/// What marks an A-label (RFC 5890 §2.3.2.1).
const ACE_PREFIX: &str = "xn--";

/// What keeps `name` from being a name to certify: labels of letters, digits, `-` and `_`, the first of which may be a
/// `*`. None: nothing does.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return Some("longer than 253 characters");
    }
    if name.contains(char::is_whitespace) {
        return Some("it contains white space");
    }
    if !name.is_ascii() {
        return Some("international names stand in their ASCII form here (A-labels, RFC 5891)");
    }
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if rest.contains('*') {
        return Some("a wildcard is the whole first label, before a domain");
    }
    if rest.ends_with('.') {
        return Some("it ends with a dot");
    }
    rest.split('.').find_map(label_fault)
}

/// As [`fault`], without wildcards: a domain, a zone or a host.
pub(crate) fn host_fault(name: &str) -> Option<&'static str> {
    if name.starts_with("*.") { Some("no wildcard is possible") } else { fault(name) }
}

/// A valid name that is close to `name`: without white space, scheme, port, path and last dot, and in ASCII. None:
/// there is no obvious one.
pub(crate) fn similar(name: &str) -> Option<String> {
    if name.len() > SIMILAR_BYTES_MAX {
        return None;
    }
    let name = name.trim();
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    let name = name.split(['/', ':']).next().unwrap_or_default();
    let name = name.trim_end_matches('.');
    let labels: Option<Vec<String>> = name.split('.').map(to_ascii).collect();
    labels.map(|labels| labels.join(".")).filter(|guess| fault(guess).is_none())
}

/// The label in ASCII. None: it is too long in any form, or has characters that are no letters or digits, so what is
/// meant is not clear.
fn to_ascii(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    // In ASCII no character gets shorter, and the work is quadratic.
    if label.chars().nth(LABEL_BYTES_MAX).is_some() {
        return None;
    }
    let label = label.to_lowercase();
    let plain = label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    let encoded = if plain { punycode::encode(&label) } else { None };
    encoded.map(|encoded| format!("{ACE_PREFIX}{encoded}"))
}

fn label_fault(label: &str) -> Option<&'static str> {
    let bytes = label.as_bytes();
    if bytes.is_empty() {
        return Some("a label between the dots is empty");
    }
    if bytes.len() > LABEL_BYTES_MAX {
        return Some("a label between the dots is longer than 63 characters");
    }
    if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Some("it contains other characters than letters, digits, '-', '_' and '.'");
    }
    if bytes.first() == Some(&b'-') || bytes.last() == Some(&b'-') {
        return Some("a label between the dots begins or ends with '-'");
    }
    let encoded = label.get(..ACE_PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(ACE_PREFIX));
    if encoded.is_some() && !is_a_label(label.get(ACE_PREFIX.len()..).unwrap_or_default()) {
        return Some("a label begins with \"xn--\", but is not Punycode for an international one (RFC 3492)");
    }
    None
}

/// Whether `encoded`, what follows the prefix, stands for a label that needs it, in its one spelling.
fn is_a_label(encoded: &str) -> bool {
    let Some(label) = punycode::decode(encoded) else {
        return false;
    };
    let visible = !label.contains(|c: char| c.is_control() || c.is_whitespace());
    !label.is_ascii()
        && visible
        && punycode::encode(&label).is_some_and(|again| again.eq_ignore_ascii_case(encoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_can_resolve_are_refused() {
        let long_label = "a".repeat(64);
        let long_name = format!("{}.test", ["a"; 127].join("."));
        for (name, wanted) in [
            ("", "empty"),
            (" a.test", "white space"),
            ("a.test\n", "white space"),
            ("a\u{a0}b.test", "white space"),
            ("bücher.test", "A-labels"),
            ("*", "wildcard"),
            ("*a.test", "wildcard"),
            ("a.*.test", "wildcard"),
            ("*.*.test", "wildcard"),
            ("a.test.", "ends with a dot"),
            (".", "ends with a dot"),
            (".a.test", "label between the dots is empty"),
            ("a..test", "label between the dots is empty"),
            ("*..test", "label between the dots is empty"),
            (long_label.as_str(), "longer than 63"),
            (long_name.as_str(), "longer than 253"),
            ("https://a.test", "other characters"),
            ("a.test:443", "other characters"),
            ("a@a.test", "other characters"),
            ("-a.test", "begins or ends with '-'"),
            ("a-.test", "begins or ends with '-'"),
            ("xn--.test", "begins or ends with '-'"),
            ("xn--a.test", "xn--"),
            ("xn--a-b.test", "xn--"),
            ("xn--bcher-kva9.test", "xn--"),
            ("XN--99999999.test", "xn--"),
        ] {
            let told = fault(name).unwrap_or_else(|| panic!("{name:?} is accepted"));
            assert!(told.contains(wanted), "{name:?}: {told}");
        }
        assert_eq!(host_fault("*.a.test"), Some("no wildcard is possible"));
        assert_eq!(host_fault("a..test"), fault("a..test"));
    }

    #[test]
    fn names_that_certificates_have_are_accepted() {
        let long_label = "a".repeat(63);
        let long_name = format!("{}.test", ["a"; 124].join("."));
        for name in [
            "a",
            "localhost",
            "web.example.com",
            "*.example.com",
            "_dmarc.example.com",
            "a_b.c--d.test",
            "0.1.test",
            "WEB.Example.com",
            "xn--bcher-kva.test",
            "XN--BCHER-KVA.test",
            "*.xn--fiqs8s",
            "192.0.2.1",
            long_label.as_str(),
            long_name.as_str(),
        ] {
            assert_eq!(fault(name), None, "{name:?}");
        }
        assert_eq!(host_fault("a.test"), None);
    }

    #[test]
    fn a_wrong_name_is_answered_with_a_right_one_where_there_is_one() {
        for (name, wanted) in [
            ("", None),
            ("a b.test", None),
            ("a.*.test", None),
            ("☃.test", None),
            (" web.test ", Some("web.test")),
            ("web.test.", Some("web.test")),
            ("https://web.test:8443/path", Some("web.test")),
            ("bücher.test", Some("xn--bcher-kva.test")),
            ("*.Bücher.test", Some("*.xn--bcher-kva.test")),
        ] {
            assert_eq!(similar(name).as_deref(), wanted, "{name:?}");
        }
        assert_eq!(similar(&format!("https://web.test/{}", "a".repeat(SIMILAR_BYTES_MAX))), None);
        assert_eq!(to_ascii(&"é".repeat(LABEL_BYTES_MAX + 1)), None);
        assert!(to_ascii(&"é".repeat(LABEL_BYTES_MAX)).is_some());
    }
}
