//! Addresses of name servers.

use std::net::{IpAddr, Ipv6Addr};

use crate::uri::{Host, Uri};

/// Port of the DNS (RFC 1035 §4.2).
const PORT: u16 = 53;

const NO_HOST: &str = "no host";

/// Why a name server cannot be asked, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) detail: &'static str,
    pub(super) advice: String,
}

/// I22: `host:port`, or the URL of DNS over HTTPS (RFC 8484).
pub(super) fn is_resolver(text: &str) -> Result<(), Wrong> {
    if text.starts_with("https://") {
        let advice = || "write a URL such as \"https://dns.example.com/dns-query\"".to_owned();
        return match Uri::parse(text) {
            Err(_) => Err(Wrong { detail: "not a URL", advice: advice() }),
            Ok(uri) if uri.host().is_none() => Err(Wrong { detail: NO_HOST, advice: advice() }),
            Ok(_) => Ok(()),
        };
    }
    match split(text) {
        Ok(("", _)) => Err(wrong(NO_HOST, text)),
        Ok((_, None | Some(""))) => Err(wrong("no port", text)),
        Ok(_) => Ok(()),
        Err(detail) => Err(wrong(detail, text)),
    }
}

/// I52: `host` or `host:port`.
pub(super) fn is_server(text: &str) -> Result<(), Wrong> {
    match split(text.trim()) {
        Ok(("", _)) => Err(wrong(NO_HOST, text)),
        Ok(_) => Ok(()),
        Err(detail) => Err(wrong(detail, text)),
    }
}

/// The host of a name server in either form. None: it cannot be read, which I22 and I52 tell.
pub(in crate::issuer) fn host(text: &str) -> Option<Host<'_>> {
    if text.starts_with("https://") {
        return Uri::parse(text).ok()?.host();
    }
    let (host, _) = split(text.trim()).ok()?;
    if host.is_empty() {
        return None;
    }
    Some(host.parse().map_or(Host::Name(host), |address: IpAddr| Host::Address(address.to_canonical())))
}

/// Host and, where there is a colon for it, port; the host without its brackets.
fn split(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(literal) = text.strip_prefix('[') {
        let (host, rest) = literal.split_once(']').ok_or("a bracket is missing")?;
        return match rest.strip_prefix(':') {
            _ if rest.is_empty() => Ok((host, None)),
            Some(port) if is_plain(host) && is_plain(port) && !port.contains(':') => Ok((host, Some(port))),
            _ => Err("something else than a port follows the bracket"),
        };
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.contains(':') {
        return Err("an IPv6 address needs brackets");
    }
    if is_plain(host) && port.is_none_or(is_plain) { Ok((host, port)) } else { Err("a bracket stands alone") }
}

fn is_plain(text: &str) -> bool {
    !text.contains(['[', ']'])
}

fn wrong(detail: &'static str, text: &str) -> Wrong {
    let text = text.trim();
    let bare = text.trim_matches(['[', ']']);
    let host = bare.trim_end_matches(':');
    let advice = if bare.parse::<Ipv6Addr>().is_ok() {
        format!("write \"[{bare}]:{PORT}\"")
    } else if detail == NO_HOST || host.contains([':', '[', ']', '/', ' ']) {
        format!("write \"ns.example.com:{PORT}\", an address with a port, or \"[2001:db8::1]:{PORT}\"")
    } else {
        format!("write \"{host}:{PORT}\"")
    };
    Wrong { detail, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "write \"ns.example.com:53\", an address with a port, or \"[2001:db8::1]:53\"";

    fn check(judge: fn(&str) -> Result<(), Wrong>, text: &str, wanted: Option<(&'static str, &str)>) {
        let wanted = wanted.map(|(detail, advice)| Wrong { detail, advice: advice.to_owned() });
        assert_eq!(judge(text).err(), wanted, "{text:?}");
    }

    #[test]
    fn what_is_no_host_and_port_is_no_resolver() {
        for (text, detail, advice) in [
            ("", "no host", EXAMPLE),
            (":53", "no host", EXAMPLE),
            ("ns.test", "no port", "write \"ns.test:53\""),
            ("ns.test:", "no port", "write \"ns.test:53\""),
            ("[2001:db8::1]", "no port", "write \"[2001:db8::1]:53\""),
            ("2001:db8::1", "an IPv6 address needs brackets", "write \"[2001:db8::1]:53\""),
            ("a:b:53", "an IPv6 address needs brackets", EXAMPLE),
            ("[::1", "a bracket is missing", "write \"[::1]:53\""),
            ("[::1]53", "something else than a port follows the bracket", EXAMPLE),
            ("[::1]:5:3", "something else than a port follows the bracket", EXAMPLE),
            ("a]:53", "a bracket stands alone", EXAMPLE),
            ("https://", "no host", "write a URL such as \"https://dns.example.com/dns-query\""),
            ("https://a b", "not a URL", "write a URL such as \"https://dns.example.com/dns-query\""),
        ] {
            check(is_resolver, text, Some((detail, advice)));
        }
        for text in
            ["ns.test:53", "1.1.1.1:53", "[2001:db8::1]:53", "https://dns.test", "https://1.1.1.1/dns-query"]
        {
            check(is_resolver, text, None);
        }
    }

    #[test]
    fn a_server_for_updates_needs_a_host_alone() {
        for (text, detail, advice) in [
            (":53", "no host", EXAMPLE),
            (" ", "no host", EXAMPLE),
            ("[]:53", "no host", EXAMPLE),
            ("2001:db8::1", "an IPv6 address needs brackets", "write \"[2001:db8::1]:53\""),
            ("[::1", "a bracket is missing", "write \"[::1]:53\""),
        ] {
            check(is_server, text, Some((detail, advice)));
        }
        for text in ["ns.test", "ns.test:", "ns.test:53", "127.0.0.1", "[::1]", "[::1]:53", " ns.test:53 "] {
            check(is_server, text, None);
        }
    }
}
