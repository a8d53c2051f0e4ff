//! E-mail addresses (RFC 5322 §3.4.1, RFC 6531 §3.3).

use std::net::IpAddr;

/// Whether `text` is an address and nothing else: words joined by dots on both sides of an `@`, or an IP address in
/// brackets behind it. Names in front, comments and quoted words are not part of an address in a certificate.
pub(crate) fn is_bare(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let has_domain = literal.map_or_else(|| is_words(domain), |address| address.parse::<IpAddr>().is_ok());
    is_words(local) && has_domain
}

/// The bare address in `text`, where that has a name or white space around it. None: it has none.
pub(crate) fn bare_within(text: &str) -> Option<&str> {
    let trimmed = text.trim();
    let in_brackets = trimmed.strip_suffix('>').and_then(|rest| Some(rest.rsplit_once('<')?.1));
    let found = in_brackets.unwrap_or(trimmed).trim();
    (found.len() < text.len() && is_bare(found)).then_some(found)
}

/// A dot-atom (RFC 5322 §3.2.3).
fn is_words(text: &str) -> bool {
    let allowed = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    text.split('.').all(|word| !word.is_empty() && word.chars().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_or_less_than_an_address_is_refused() {
        for text in [
            "",
            "a",
            "@",
            "@a.test",
            "a@",
            "a@b@c",
            ".a@a.test",
            "a.@a.test",
            "a..b@a.test",
            "a@a..test",
            "a@a.test.",
            "a b@a.test",
            " a@a.test",
            "\"a b\"@a.test",
            "Ada <a@a.test>",
            "<a@a.test>",
            "a@a.test (Ada)",
            "a@a.test, b@a.test",
            "mailto:a@a.test",
            "a@[192.0.2.1",
            "a@[x]",
        ] {
            assert!(!is_bare(text), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_accepted() {
        for text in ["a@a", "a.b+c@a.test", "o'hara@a-b.test", "ü@bücher.test", "a@[192.0.2.1]", "a@[::1]"]
        {
            assert!(is_bare(text), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_found_in_what_stands_around_it() {
        for (text, found) in [
            ("a@a.test", None),
            ("Ada <a b>", None),
            ("a@a.test, b@a.test", None),
            (" a@a.test\n", Some("a@a.test")),
            ("Ada Lovelace <a@a.test>", Some("a@a.test")),
            ("<a@a.test>", Some("a@a.test")),
        ] {
            assert_eq!(bare_within(text), found, "{text:?}");
        }
    }
}
