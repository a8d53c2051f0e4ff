//! Ranges of hosts, for settings.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::uri::Host;

/// A range of hosts: a network (`169.254.0.0/16`), an address (`::1`), a name (`localhost`), or all names below one
/// (`.svc.cluster.local`).
///
/// Names are compared as they are written, without asking the DNS what they lead to. An IPv4 network holds its addresses
/// also in the forms that IPv6 has for them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct HostRange(Range);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Range {
    /// The network's address with all further bits zero, and how many bits count.
    Network(IpAddr, u8),
    /// In lower case.
    Name(String),
    /// In lower case, with the dot in front.
    Below(String),
}

/// Why a text is not a [`HostRange`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no range of hosts: {reason}; write a network such as \"10.0.0.0/8\", an address, a name such as \
     \"localhost\", or \".svc\" for all names below"
)]
pub struct HostRangeError {
    text: String,
    reason: &'static str,
}

impl HostRange {
    /// Whether the host lies in the range.
    pub(crate) fn contains(&self, host: Host<'_>) -> bool {
        match (&self.0, host) {
            (Range::Network(network, bits), Host::Address(address)) => {
                let holds = |address| mask(address, *bits) == Some(*network);
                match (network, address) {
                    (IpAddr::V4(_), IpAddr::V6(address)) => {
                        embedded(address).is_some_and(|v4| holds(v4.into()))
                    }
                    _ => holds(address),
                }
            }
            (Range::Name(wanted), Host::Name(name)) => bare(name).eq_ignore_ascii_case(wanted),
            (Range::Below(wanted), Host::Name(name)) => {
                let name = bare(name);
                let tail = name.len().checked_sub(wanted.len()).and_then(|start| name.get(start..));
                name.len() > wanted.len() && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(wanted))
            }
            _ => false,
        }
    }
}

impl FromStr for HostRange {
    type Err = HostRangeError;

    fn from_str(text: &str) -> Result<Self, HostRangeError> {
        let error = |reason| HostRangeError { text: text.to_owned(), reason };
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr =
                network.parse().map_err(|_| error("no IP address stands before the slash"))?;
            let bits: u8 = bits.parse().map_err(|_| error("no number of bits stands behind the slash"))?;
            // Hosts are compared by the IPv4 address that IPv6 only wraps (RFC 4291 §2.5.5.2).
            let (network, bits) = match (network.to_canonical(), bits.checked_sub(WRAPPING_BITS)) {
                (inner, Some(rest)) if inner != network => (inner, rest),
                _ => (network, bits),
            };
            return match mask(network, bits) {
                None => Err(error("an address does not have that many bits")),
                Some(masked) if masked != network => {
                    Err(error("the address has bits outside of the network"))
                }
                Some(network) => Ok(Self(Range::Network(network, bits))),
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            let bits = if address.is_ipv4() { u32::BITS } else { u128::BITS };
            return Ok(Self(Range::Network(address, u8::try_from(bits).unwrap_or(u8::MAX))));
        }
        let name = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !name.split('.').all(|label| !label.is_empty() && label.bytes().all(known)) {
            return Err(error("neither an address nor a name"));
        }
        Ok(Self(if text.starts_with('.') { Range::Below(format!(".{name}")) } else { Range::Name(name) }))
    }
}

impl TryFrom<String> for HostRange {
    type Error = HostRangeError;

    fn try_from(text: String) -> Result<Self, HostRangeError> {
        text.parse()
    }
}

impl fmt::Display for HostRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Range::Network(address, bits) => write!(f, "{address}/{bits}"),
            Range::Name(name) | Range::Below(name) => f.write_str(name),
        }
    }
}

/// How many bits stand before an IPv4 address in the IPv6 address that wraps or translates it.
const WRAPPING_BITS: u8 = 96;

/// The IPv4 address to which traffic for an IPv6 address goes: that behind the well-known prefix of translators,
/// `64:ff9b::/96` (RFC 6052 §2.1), one that is mapped or compatible (RFC 4291 §2.5.5). None for others; `::` and `::1`
/// look like compatible ones, but are not.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    const TRANSLATED: u128 = 0x0064_ff9b << 96;
    const MAPPED: u128 = 0xffff << 32;
    const COMPATIBLE: u128 = 0;
    if address.is_unspecified() || address.is_loopback() {
        return None;
    }
    let bits = address.to_bits();
    let inner = u32::try_from(bits & u128::from(u32::MAX)).ok()?;
    let is_known = [TRANSLATED, MAPPED, COMPATIBLE].contains(&(bits - u128::from(inner)));
    is_known.then(|| Ipv4Addr::from_bits(inner))
}

/// The address with all bits behind the first `bits` zero. None: it has fewer bits.
fn mask(address: IpAddr, bits: u8) -> Option<IpAddr> {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(address) => {
            let unused = u32::BITS.checked_sub(bits)?;
            Some(IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(unused).unwrap_or(0)).into()))
        }
        IpAddr::V6(address) => {
            let unused = u128::BITS.checked_sub(bits)?;
            Some(IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(unused).unwrap_or(0)).into()))
        }
    }
}

/// The name without the dot that marks it as complete.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host<'_> {
        text.parse().map_or(Host::Name(text), Host::Address)
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (text, reason) in [
            ("", "neither an address nor a name"),
            (".", "neither an address nor a name"),
            ("a b", "neither an address nor a name"),
            ("*.svc", "neither an address nor a name"),
            ("a/8", "no IP address stands before the slash"),
            ("10.0.0.0/", "no number of bits stands behind the slash"),
            ("10.0.0.0/33", "an address does not have that many bits"),
            ("::ffff:10.0.0.1/104", "the address has bits outside of the network"),
            ("10.0.0.1/8", "the address has bits outside of the network"),
        ] {
            assert_eq!(text.parse::<HostRange>().unwrap_err().reason, reason, "{text:?}");
        }
    }

    #[test]
    fn hosts_outside_of_a_range_are_not_in_it() {
        for (range, outside) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8", "::11.0.0.1"),
            ("10.0.0.0/8", "64:ff9b::11.0.0.1"),
            ("10.0.0.0/8", "64:ff9b:0:1::10.0.0.1"),
            ("10.0.0.0/8", "2001:db8::10.0.0.1"),
            ("0.0.0.0/0", "::1"),
            ("0.0.0.0/0", "::"),
            ("fe80::/10", "fec0::1"),
            ("127.0.0.1", "127.0.0.2"),
            ("localhost", "localhost.test"),
            ("localhost", "xlocalhost"),
            (".svc", "svc"),
            (".svc", "a.svc.test"),
            (".svc", "ä"),
            ("10.0.0.0/8", "10.test"),
        ] {
            assert!(!range.parse::<HostRange>().unwrap().contains(host(outside)), "{outside} in {range}");
        }
    }

    #[test]
    fn hosts_in_a_range_are_found() {
        for (range, inside) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("0.0.0.0/0", "10.255.0.1"),
            ("10.0.0.0/8", "64:ff9b::10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1"),
            ("10.0.0.0/8", "::10.0.0.1"),
            ("10.0.0.1", "64:ff9b::a00:1"),
            ("64:ff9b::/96", "64:ff9b::10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.255.0.1"),
            ("::/0", "::1"),
            ("fe80::/10", "febf::1"),
            ("::1", "::1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("localhost", "LOCALHOST."),
            (".svc", "vault.vault.svc"),
            (".SVC", "vault.vault.Svc."),
        ] {
            assert!(range.parse::<HostRange>().unwrap().contains(host(inside)), "{inside} in {range}");
        }
    }

    #[test]
    fn a_range_is_written_as_it_was_read() {
        for text in ["10.0.0.0/8", "fe80::/10", "::1/128", "localhost", ".svc.cluster.local"] {
            assert_eq!(text.parse::<HostRange>().unwrap().to_string(), text);
        }
    }
}
