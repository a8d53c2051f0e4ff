//! B03: URIs among the subject alternative names (RFC 5280 §4.2.1.6), SPIFFE IDs among them (SPIFFE-ID §2).

use api::CertificateSpec;

use crate::case::Case;
use crate::dns;
use crate::finding::Fault;
use crate::rule::Findings;
use crate::uri::{Uri, UriError};

/// Longest SPIFFE ID and longest trust domain in one.
const SPIFFE_ID_BYTES_MAX: usize = 2048;
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// B03.
pub(super) fn are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (index, text) in case.object.spec.uris.iter().enumerate() {
        let Err((detail, advice)) = judge(text) else { continue };
        findings
            .at(format!("spec.uris[{index}]"), Fault::Invalid)
            .value(text.as_str())
            .detail(detail)
            .advice(advice);
    }
}

/// What is wrong, and what would be right.
fn judge(text: &str) -> Result<(), (String, &'static str)> {
    let uri = Uri::parse(text).map_err(|error| {
        let is_host = error == UriError::Scheme && dns::fault(text).is_none();
        let advice = if is_host {
            "put host names into spec.dnsNames"
        } else {
            "write an absolute URI, such as \"spiffe://example.org/ns/shop/sa/web\""
        };
        (error.to_string(), advice)
    })?;
    if uri.has_scheme("spiffe") {
        return spiffe_fault(text).map_or(Ok(()), |fault| {
            Err((fault.to_owned(), "write a SPIFFE ID such as \"spiffe://example.org/ns/shop/sa/web\""))
        });
    }
    if text.find(':') == text.len().checked_sub(1) {
        return Err(("nothing follows the scheme".to_owned(), "write the whole URI"));
    }
    let is_web = uri.has_scheme("https") || uri.has_scheme("http");
    if is_web && uri.host().is_none() {
        return Err(("it names no host".to_owned(), "write the whole URI, such as \"https://example.com/\""));
    }
    Ok(())
}

/// What keeps a URI of the scheme `spiffe` from being a SPIFFE ID. It is known to be a URI.
fn spiffe_fault(text: &str) -> Option<&'static str> {
    let Some((_, rest)) = text.split_once("://") else {
        return Some("\"://\" and a trust domain follow the scheme of a SPIFFE ID");
    };
    let (trust_domain, path) =
        rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    let of_segment = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(of_segment);
    if text.len() > SPIFFE_ID_BYTES_MAX {
        Some("a SPIFFE ID has at most 2048 bytes")
    } else if trust_domain.is_empty() || trust_domain.len() > TRUST_DOMAIN_BYTES_MAX {
        Some("a trust domain has 1 to 255 characters")
    } else if !trust_domain.bytes().all(of_domain) {
        Some("a trust domain has lower-case letters, digits, '-', '.' and '_', and no port")
    } else if path.is_some_and(|path| !path.split('/').all(is_segment)) {
        Some(
            "between the slashes of a SPIFFE ID stand letters, digits, '-', '.' and '_', and nothing follows the path",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::check;
    use super::judge;

    #[test]
    fn what_is_no_uri_is_refused() {
        check(
            &json!({"uris": ["urn:a", "web.example.com"], "emailAddresses": ["ü@a.test"]}),
            &[
                "B03 spec.uris[1]: Invalid value: \"web.example.com\": no scheme, such as \"https://\", in front; put host names into spec.dnsNames",
                "B03 spec.emailAddresses[0]: Invalid value: \"ü@a.test\": certificates hold addresses in ASCII only; write the domain with A-labels (RFC 5891)",
            ],
        );
        for (text, wanted) in [
            ("", "empty"),
            ("/a/b", "no scheme"),
            ("https://a b", "' ' at character 10"),
            ("https://ü.test", "'ü' at character 9"),
            ("urn:", "nothing follows the scheme"),
            ("https:///a", "it names no host"),
        ] {
            let (detail, _) = judge(text).unwrap_err();
            assert!(detail.contains(wanted), "{text}: {detail}");
        }
    }

    #[test]
    fn what_is_no_spiffe_id_is_refused() {
        let long = format!("spiffe://td/{}", "a".repeat(2048));
        let long_domain = format!("spiffe://{}/a", "a".repeat(256));
        for (text, wanted) in [
            ("spiffe:td/a", "\"://\" and a trust domain"),
            ("spiffe:///a", "1 to 255"),
            ("spiffe://Td/a", "lower-case"),
            ("spiffe://td:443/a", "no port"),
            ("spiffe://user@td/a", "lower-case"),
            ("spiffe://td?q", "lower-case"),
            ("spiffe://td/", "between the slashes"),
            ("spiffe://td/a/", "between the slashes"),
            ("spiffe://td//a", "between the slashes"),
            ("spiffe://td/a/../b", "between the slashes"),
            ("spiffe://td/a%20b", "between the slashes"),
            ("spiffe://td/a?b", "between the slashes"),
            ("spiffe://td/a#b", "between the slashes"),
            (long.as_str(), "2048"),
            (long_domain.as_str(), "1 to 255"),
        ] {
            let (detail, _) = judge(text).unwrap_err();
            assert!(detail.contains(wanted), "{text}: {detail}");
        }
    }

    #[test]
    fn uris_are_accepted() {
        for text in [
            "spiffe://td",
            "spiffe://example.org/ns/shop/sa/web",
            "SPIFFE://a_b.c-d/A.b_c",
            "https://example.com:8443/a?b=c#d",
            "https://[::1]/",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "file:///etc/hosts",
            "urn:example:a:",
        ] {
            assert_eq!(judge(text), Ok(()), "{text}");
        }
    }
}
