//! URIs (RFC 3986) that have a scheme.

use std::net::IpAddr;

use fluent_uri::component::Host as Parsed;
use fluent_uri::{ParseError, ParseErrorKind};

/// A URI that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uri<'a> {
    parsed: fluent_uri::Uri<&'a str>,
}

/// Where a URI leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// An IP address; one that IPv6 only wraps is given as the IPv4 address.
    Address(IpAddr),
    /// A name, never empty; nobody has looked at its labels.
    Name(&'a str),
}

/// Why a text is no URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UriError {
    /// There is no text.
    #[error("empty")]
    Empty,
    /// It does not begin with a scheme.
    #[error("no scheme, such as \"https://\", in front")]
    Scheme,
    /// A character that has no place in a URI, or not in this part of it.
    #[error("{character:?} at character {position} is not allowed in a URI")]
    Character {
        /// Which character, from 1.
        position: usize,
        /// The character.
        character: char,
    },
    /// It ends where more is needed, such as a bracket.
    #[error("something is missing at its end")]
    Unfinished,
    /// A percent sign without two hexadecimal digits behind it.
    #[error("the '%' at character {position} is not followed by two hexadecimal digits")]
    Percent {
        /// Which character, from 1.
        position: usize,
    },
    /// Brackets around something else than an IPv6 address.
    #[error("no IPv6 address between the brackets")]
    Ipv6,
    /// A port that does not exist.
    #[error("the port is above 65535")]
    Port,
}

impl<'a> Uri<'a> {
    /// Reads an absolute URI; a fragment may follow.
    pub(crate) fn parse(text: &'a str) -> Result<Self, UriError> {
        if text.is_empty() {
            return Err(UriError::Empty);
        }
        let before_path = text.find(['/', '?', '#']).map_or(text, |end| text.get(..end).unwrap_or(text));
        if !before_path.contains(':') || before_path.starts_with(':') {
            return Err(UriError::Scheme);
        }
        let parsed = fluent_uri::Uri::parse(text).map_err(|error| told(text, error))?;
        if parsed.authority().is_some_and(|authority| authority.port_to_u16().is_err()) {
            return Err(UriError::Port);
        }
        Ok(Self { parsed })
    }

    /// Whether this is the scheme; case does not matter.
    pub(crate) fn has_scheme(&self, scheme: &str) -> bool {
        self.parsed.scheme().as_str().eq_ignore_ascii_case(scheme)
    }

    /// Where it leads. None: it names no host.
    pub(crate) fn host(&self) -> Option<Host<'a>> {
        match self.parsed.authority()?.host_parsed() {
            Parsed::Ipv4(address) => Some(Host::Address(address.into())),
            Parsed::Ipv6(address) => Some(Host::Address(IpAddr::from(address).to_canonical())),
            Parsed::RegName(name) if name.as_str().is_empty() => None,
            Parsed::RegName(name) => Some(Host::Name(name.as_str())),
            _ => None, // the address form of a future IP version, which nothing can reach
        }
    }
}

fn told(text: &str, error: ParseError) -> UriError {
    let (before, rest) = text.split_at_checked(error.index()).unwrap_or((text, ""));
    let position = before.chars().count() + 1;
    match error.kind() {
        ParseErrorKind::InvalidPctEncodedOctet => UriError::Percent { position },
        ParseErrorKind::InvalidIpv6Addr => UriError::Ipv6,
        ParseErrorKind::UnexpectedChar => match rest.chars().next() {
            Some(character) => UriError::Character { position, character },
            None => UriError::Unfinished,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, message: &str) {
        assert_eq!(Uri::parse(text).unwrap_err().to_string(), message, "{text:?}");
    }

    #[test]
    fn what_is_no_uri_is_told_by_what_is_wrong_with_it() {
        check("", "empty");
        for text in ["acme.example.com", "/directory", "//acme.example.com", "a/b:c", "?a:b", ":a", "#:"] {
            check(text, "no scheme, such as \"https://\", in front");
        }
        check("https://a b", "' ' at character 10 is not allowed in a URI");
        check("https://ä.test", "'ä' at character 9 is not allowed in a URI");
        check("https://a.test/ü", "'ü' at character 16 is not allowed in a URI");
        check("https://a.test\\b", "'\\\\' at character 15 is not allowed in a URI");
        check("1a://b", "'1' at character 1 is not allowed in a URI");
        check("https://a.test/%4", "the '%' at character 16 is not followed by two hexadecimal digits");
        check("https://[1:2]/", "no IPv6 address between the brackets");
        check("https://[::g]/", "'g' at character 12 is not allowed in a URI");
        check("https://a.test:65536", "the port is above 65535");
        check("https://a:b:c", "':' at character 12 is not allowed in a URI");
        check("https://[::1", "something is missing at its end");
        check(" https://a.test", "' ' at character 1 is not allowed in a URI");
        check("https://a.test\n", "'\\n' at character 15 is not allowed in a URI");
    }

    #[test]
    fn a_uri_tells_its_scheme_and_host() {
        let address = |text: &str| Some(Host::Address(text.parse().unwrap()));
        for (text, scheme, host) in [
            ("HTTPS://a.test:8200/v1?x=y#z", "https", Some(Host::Name("a.test"))),
            ("https://user:word@a.test", "https", Some(Host::Name("a.test"))),
            ("http://127.0.0.1/", "http", address("127.0.0.1")),
            ("http://[::1]:8080", "http", address("::1")),
            ("http://[::ffff:10.0.0.1]", "http", address("10.0.0.1")),
            ("http://[v1.a]", "http", None),
            ("spiffe://td/ns/a/sa/b", "spiffe", Some(Host::Name("td"))),
            ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "urn", None),
            ("ldap:///cn=ca", "ldap", None),
            ("vault.test:8200", "vault.test", None),
        ] {
            let uri = Uri::parse(text).unwrap();
            assert!(uri.has_scheme(scheme), "{text}");
            assert_eq!(uri.host(), host, "{text}");
        }
    }
}
