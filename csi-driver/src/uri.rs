//! Which texts are URIs, by the rules of Go's `url.ParseRequestURI`: absolute, or an absolute path.

/// Why a text is not a URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no URI: {fault}; write an absolute one such as \"spiffe://cluster.local/ns/a/sa/b\"")]
pub struct UriError {
    text: String,
    fault: &'static str,
}

/// Checks that `text` is an absolute URI or an absolute path.
///
/// # Errors
/// When it is neither, or cannot stand in a certificate.
pub fn check(text: &str) -> Result<(), UriError> {
    fault(text).map_or(Ok(()), |fault| Err(UriError { text: text.to_owned(), fault }))
}

fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    // A certificate holds URIs as IA5String; control characters are refused by Go as well.
    if !text.is_ascii() || text.bytes().any(|b| b.is_ascii_control()) {
        return Some("it holds a character that is not printable ASCII");
    }
    if text == "*" {
        return None;
    }
    if text.starts_with('/') {
        return escapes_fault(text);
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return Some("it has no scheme");
    };
    if !is_scheme(scheme) {
        return Some("its scheme is not a letter followed by letters, digits, plus, minus or dot");
    }
    match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            authority_fault(authority).or_else(|| escapes_fault(path.split('?').next().unwrap_or_default()))
        }
        // A path is unescaped, an opaque part is taken as it is.
        None if rest.starts_with('/') => escapes_fault(rest.split('?').next().unwrap_or_default()),
        None => None,
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn authority_fault(authority: &str) -> Option<&'static str> {
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host_port.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
        return Some("its host holds a character that no host has");
    }
    let port = match host_port.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((_, port)) => port,
            None => return Some("its host has an opening bracket without a closing one"),
        },
        None => host_port.rfind(':').map_or("", |colon| host_port.get(colon..).unwrap_or_default()),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if (digits.len() == port.len() && !port.is_empty()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Some("its port is not a number");
    }
    escapes_fault(host_port)
}

/// A percent sign must be followed by two hexadecimal digits.
fn escapes_fault(text: &str) -> Option<&'static str> {
    let broken = text.split('%').skip(1).any(|after| {
        let mut digits = after.chars().take(2);
        let mut digit = || digits.next().is_some_and(|c| c.is_ascii_hexdigit());
        !(digit() && digit())
    });
    broken.then_some("a percent sign is not followed by two hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_and_broken_uris_are_refused() {
        for text in [
            "",
            "foo",
            "1http://a",
            "://a",
            "http://a b/",
            "http://a:x/",
            "http://[::1",
            "http://a/%zz",
            "/%4",
            "http://a\u{7}",
            "spiffe://\u{e9}/",
            "a/b:c",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn absolute_uris_and_absolute_paths_are_accepted() {
        for text in [
            "spiffe://cluster.local/ns/a/sa/b",
            "urn:uuid:1",
            "http://[::1]:80/",
            "http://a:80",
            "/path",
            "mailto:a@b",
            "http://user@host/%41",
            "http:",
            "file:///etc",
            "http://a:",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }
}
