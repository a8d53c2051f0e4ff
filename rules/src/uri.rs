//! URIs (RFC 3986) that have a scheme.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A URI that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uri<'a> {
    scheme: &'a str,
    host: Option<Host<'a>>,
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
        let reader = Reader { text };
        let scheme = match text.split_once([':', '/', '?', '#']) {
            Some((scheme, _)) if !scheme.is_empty() && text.as_bytes().get(scheme.len()) == Some(&b':') => {
                scheme
            }
            _ => return Err(UriError::Scheme),
        };
        reader.holds(scheme, |byte| matches!(byte, b'+' | b'-' | b'.') || byte.is_ascii_alphanumeric())?;
        reader.holds(scheme.get(..1).unwrap_or(scheme), |byte| byte.is_ascii_alphabetic())?;
        let rest = text.get(scheme.len() + 1..).unwrap_or_default();
        let (host, rest) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let (authority, rest) = rest
                    .split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
                    .unwrap_or((rest, ""));
                (reader.authority(authority)?, rest)
            }
        };
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        reader.encoded(path, is_path)?;
        for part in [query, fragment] {
            reader.encoded(part, |byte| is_path(byte) || byte == b'?')?;
        }
        Ok(Self { scheme, host })
    }

    /// Whether this is the scheme; case does not matter.
    pub(crate) fn has_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Where it leads. None: it names no host.
    pub(crate) fn host(&self) -> Option<Host<'a>> {
        self.host
    }
}

/// Judges parts of one text, and tells their faults by the position in the whole.
struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    /// Reads `[userinfo@]host[:port]` (RFC 3986 §3.2).
    fn authority(&self, authority: &'a str) -> Result<Option<Host<'a>>, UriError> {
        let (user, host_port) = authority.split_once('@').unwrap_or(("", authority));
        self.encoded(user, |byte| is_name(byte) || byte == b':')?;
        let (host, port) = match host_port.strip_prefix('[') {
            Some(literal) => {
                let (address, port) = literal.split_once(']').ok_or(UriError::Ipv6)?;
                let address: Ipv6Addr = address.parse().map_err(|_| UriError::Ipv6)?;
                (Some(Host::Address(IpAddr::from(address).to_canonical())), port)
            }
            None => {
                let (name, port) = host_port
                    .split_at_checked(host_port.find(':').unwrap_or(host_port.len()))
                    .unwrap_or((host_port, ""));
                self.encoded(name, is_name)?;
                let address = name
                    .parse::<Ipv4Addr>()
                    .map_or(Host::Name(name), |address| Host::Address(address.into()));
                ((!name.is_empty()).then_some(address), port)
            }
        };
        self.port(port)?;
        Ok(host)
    }

    /// Reads a colon and a number, either of which may be missing at the end.
    fn port(&self, text: &'a str) -> Result<(), UriError> {
        let Some(port) = text.strip_prefix(':') else {
            return self.holds(text, |_| false);
        };
        self.holds(port, |byte| byte.is_ascii_digit())?;
        if port.is_empty() || port.parse::<u16>().is_ok() { Ok(()) } else { Err(UriError::Port) }
    }

    /// As [`Reader::holds`], where octets may also be written as a percent sign and two digits.
    fn encoded(&self, part: &'a str, allowed: impl Fn(u8) -> bool) -> Result<(), UriError> {
        let mut pieces = part.split('%');
        self.holds(pieces.next().unwrap_or_default(), &allowed)?;
        for piece in pieces {
            match piece.as_bytes() {
                [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
                _ => return Err(UriError::Percent { position: self.position(piece) - 1 }),
            }
            self.holds(piece.get(2..).unwrap_or_default(), &allowed)?;
        }
        Ok(())
    }

    /// Every character of the part is one of those allowed.
    fn holds(&self, part: &'a str, allowed: impl Fn(u8) -> bool) -> Result<(), UriError> {
        let wrong = |character: &char| {
            u8::try_from(*character).map_or(true, |byte| !byte.is_ascii() || !allowed(byte))
        };
        let Some((at, character)) = part.char_indices().find(|(_, character)| wrong(character)) else {
            return Ok(());
        };
        let position = self.position(part.get(at..).unwrap_or_default());
        Err(UriError::Character { position, character })
    }

    /// Which character of the text a part of it begins with, from 1.
    fn position(&self, part: &'a str) -> usize {
        let before = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.text.get(..before).unwrap_or_default().chars().count() + 1
    }
}

/// RFC 3986 §2.2 and §2.3: unreserved characters and sub-delimiters, which names may hold.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// RFC 3986 §3.3.
fn is_path(byte: u8) -> bool {
    is_name(byte) || matches!(byte, b':' | b'@' | b'/')
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
        check("https://[::g]/", "no IPv6 address between the brackets");
        check("https://a.test:65536", "the port is above 65535");
        check("https://a:b:c", "'b' at character 11 is not allowed in a URI");
        check("https://[::1", "no IPv6 address between the brackets");
        check("https://[::1]a", "'a' at character 14 is not allowed in a URI");
        check("https://[v1.a]", "no IPv6 address between the brackets");
        check("https://a@b@c", "'@' at character 12 is not allowed in a URI");
        check("https://a/b#c#d", "'#' at character 14 is not allowed in a URI");
        check("https://a/[b]", "'[' at character 11 is not allowed in a URI");
        check("https://ä%zz", "'ä' at character 9 is not allowed in a URI");
        check("https://a/%é", "the '%' at character 11 is not followed by two hexadecimal digits");
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
            ("http://a.test:", "http", Some(Host::Name("a.test"))),
            ("http://:80?q/%C3%A4?#/?", "http", None),
            ("a+b-c.d:", "A+b-C.d", None),
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
