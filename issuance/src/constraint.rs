//! Name constraints (RFC 5280 §4.2.1.10; `spec.nameConstraints` of a Certificate): the names that certificates below
//! a CA may have. This file writes and reads the extension.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use der::asn1::Any;
use der::{Decode as _, Encode as _, Sequence, Tag, TagNumber, Tagged as _};

use crate::name::NameError;

/// What a CA's certificate says about the names below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// Whether who does not understand the extension must refuse the certificate. RFC 5280 demands it, the API
    /// leaves it out unless asked for.
    pub critical: bool,
    /// A name of a kind that is listed here must be in one of its subtrees.
    pub permitted: Subtrees,
    /// A name must be in none of these.
    pub excluded: Subtrees,
}

/// Subtrees by kind of name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subtrees {
    /// Domains: `a.test` holds itself and everything below; the empty string holds every DNS name.
    pub dns_domains: Vec<String>,
    /// Ranges of addresses.
    pub ip_ranges: Vec<IpRange>,
    /// Mailboxes (`a@a.test`), hosts (`a.test`) or everything below a domain (`.a.test`).
    pub email_addresses: Vec<String>,
    /// Hosts of URIs (`a.test`) or everything below a domain (`.a.test`).
    pub uri_domains: Vec<String>,
    /// Kinds that are read and written again, but that we know no rule for.
    pub others: Vec<OtherSubtree>,
}

/// A subtree of a kind that the API does not know. RFC 5280 §6.1.4: who meets one in a critical extension must
/// either apply it or refuse certificates that have names of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSubtree {
    base: Any,
}

/// A range of addresses in CIDR notation (RFC 4632): `192.0.2.0/24`, `2001:db8::/32`. Bits behind the prefix are
/// zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpRange {
    address: IpAddr,
    prefix_len: u8,
}

/// Why name constraints cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// A text is no range of addresses.
    #[error(
        "{value:?} is not a range of IP addresses: {reason}; write an address and the length of its prefix, \
         such as 192.0.2.0/24 or 2001:db8::/32"
    )]
    IpRange {
        /// The text.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name cannot be encoded.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The bytes are no name constraints.
    #[error("the name constraints are malformed: {0}")]
    Malformed(&'static str),
}

impl NameConstraints {
    /// Whether there is no subtree at all. Such constraints have no encoding, and none is made.
    pub fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }

    /// The value of the extension: the kinds in the order DNS, IP, e-mail, URI, then others, each in its own order.
    ///
    /// # Errors
    /// When a name is not ASCII text.
    pub fn to_der(&self) -> Result<Vec<u8>, ConstraintError> {
        let encoded =
            Encoded { permitted: self.permitted.to_general()?, excluded: self.excluded.to_general()? };
        encoded.to_der().map_err(|_| ConstraintError::Name(NameError::Encoding))
    }

    /// Reads the value of the extension. Work and memory are proportional to the length of `der`.
    ///
    /// # Errors
    /// When the bytes are no name constraints, have no subtree, or use the distances that RFC 5280 forbids.
    pub fn from_der(der: &[u8], critical: bool) -> Result<Self, ConstraintError> {
        let structure = |_| ConstraintError::Malformed("the bytes do not have its structure");
        let encoded = Encoded::from_der(der).map_err(structure)?;
        if encoded.permitted.is_none() && encoded.excluded.is_none() {
            return Err(ConstraintError::Malformed("nothing is permitted or excluded"));
        }
        Ok(Self {
            critical,
            permitted: Subtrees::from_general(encoded.permitted)?,
            excluded: Subtrees::from_general(encoded.excluded)?,
        })
    }
}

impl Subtrees {
    /// Whether there is none of any kind.
    pub fn is_empty(&self) -> bool {
        self.dns_domains.is_empty()
            && self.ip_ranges.is_empty()
            && self.email_addresses.is_empty()
            && self.uri_domains.is_empty()
            && self.others.is_empty()
    }

    fn to_general(&self) -> Result<Option<Vec<GeneralSubtree>>, ConstraintError> {
        let mut subtrees = Vec::new();
        for domain in &self.dns_domains {
            subtrees.push(text(DNS_NAME, "DNS domain", domain)?);
        }
        for range in &self.ip_ranges {
            subtrees.push(tagged(IP_ADDRESS, range.octets()).map_err(|_| NameError::Encoding)?);
        }
        for address in &self.email_addresses {
            subtrees.push(text(RFC822_NAME, "e-mail address", address)?);
        }
        for domain in &self.uri_domains {
            subtrees.push(text(URI, "URI domain", domain)?);
        }
        subtrees.extend(self.others.iter().map(|other| other.base.clone()));
        let subtrees: Vec<_> =
            subtrees.into_iter().map(|base| GeneralSubtree { base, minimum: 0, maximum: None }).collect();
        Ok((!subtrees.is_empty()).then_some(subtrees))
    }

    fn from_general(subtrees: Option<Vec<GeneralSubtree>>) -> Result<Self, ConstraintError> {
        if subtrees.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConstraintError::Malformed("a list of subtrees is present, but has none"));
        }
        let mut found = Self::default();
        for GeneralSubtree { base, minimum, maximum } in subtrees.unwrap_or_default() {
            if minimum != 0 || maximum.is_some() {
                return Err(ConstraintError::Malformed("a subtree has a minimum or a maximum distance"));
            }
            let Tag::ContextSpecific { number, constructed } = base.tag() else {
                return Err(ConstraintError::Malformed("a subtree is not a general name"));
            };
            match (number.value(), constructed) {
                (DNS_NAME, false) => found.dns_domains.push(ascii(&base)?),
                (RFC822_NAME, false) => found.email_addresses.push(ascii(&base)?),
                (URI, false) => found.uri_domains.push(ascii(&base)?),
                (IP_ADDRESS, false) => found.ip_ranges.push(IpRange::from_octets(base.value())?),
                (OTHER_NAME | X400_ADDRESS | DIRECTORY_NAME | EDI_PARTY_NAME, true)
                | (REGISTERED_ID, false) => found.others.push(OtherSubtree { base }),
                _ => return Err(ConstraintError::Malformed("a subtree is not a general name")),
            }
        }
        Ok(found)
    }
}

impl OtherSubtree {
    /// The name of its kind in RFC 5280: `directoryName`, `otherName` and so on.
    pub fn kind(&self) -> &'static str {
        match self.base.tag().number().value() {
            OTHER_NAME => "otherName",
            X400_ADDRESS => "x400Address",
            DIRECTORY_NAME => "directoryName",
            EDI_PARTY_NAME => "ediPartyName",
            _ => "registeredID",
        }
    }

    /// The number of its kind, which is its tag in a GeneralName (RFC 5280 §4.2.1.6).
    pub fn tag_number(&self) -> u32 {
        self.base.tag().number().value()
    }

    /// What is inside the tag.
    pub fn value(&self) -> &[u8] {
        self.base.value()
    }
}

impl IpRange {
    /// The range of all addresses that agree with `address` in their first `prefix_len` bits.
    ///
    /// # Errors
    /// When the prefix is longer than the address: 32 bits for IPv4, 128 for IPv6.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Self, ConstraintError> {
        let too_long = |reason| ConstraintError::IpRange { value: format!("{address}/{prefix_len}"), reason };
        let address = match address {
            IpAddr::V4(_) if prefix_len > 32 => {
                return Err(too_long("the prefix of IPv4 has at most 32 bits"));
            }
            IpAddr::V6(_) if prefix_len > 128 => {
                return Err(too_long("the prefix of IPv6 has at most 128 bits"));
            }
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask_v4(prefix_len)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask_v6(prefix_len)).into(),
        };
        Ok(Self { address, prefix_len })
    }

    /// The first address of the range.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits all its addresses share.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Address and mask, as RFC 5280 §4.2.1.10 wants them.
    fn octets(&self) -> Vec<u8> {
        match self.address {
            IpAddr::V4(v4) => [v4.octets(), mask_v4(self.prefix_len).to_be_bytes()].concat(),
            IpAddr::V6(v6) => [v6.octets(), mask_v6(self.prefix_len).to_be_bytes()].concat(),
        }
    }

    fn from_octets(octets: &[u8]) -> Result<Self, ConstraintError> {
        let malformed =
            || ConstraintError::Malformed("a range of IP addresses is not an address and its mask");
        let (address, mask): (IpAddr, u128) = match octets.len() {
            8 => {
                let (address, mask) = octets.split_at(4);
                let address = <[u8; 4]>::try_from(address).map_err(|_| malformed())?;
                let mask = <[u8; 4]>::try_from(mask).map_err(|_| malformed())?;
                (address.into(), u128::from(u32::from_be_bytes(mask)) << 96)
            }
            32 => {
                let (address, mask) = octets.split_at(16);
                let address = <[u8; 16]>::try_from(address).map_err(|_| malformed())?;
                (address.into(), u128::from_be_bytes(<[u8; 16]>::try_from(mask).map_err(|_| malformed())?))
            }
            _ => return Err(malformed()),
        };
        let ones = mask.leading_ones();
        if mask.count_ones() != ones {
            return Err(ConstraintError::Malformed("the mask of a range of IP addresses has holes"));
        }
        Self::new(address, u8::try_from(ones).map_err(|_| malformed())?)
    }
}

impl FromStr for IpRange {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let refused = |reason| ConstraintError::IpRange { value: text.to_owned(), reason };
        let (address, prefix_len) = text.split_once('/').ok_or_else(|| refused("it has no prefix length"))?;
        let address: IpAddr = address.parse().map_err(|_| refused("it does not begin with an address"))?;
        // The parser of numbers would take a sign.
        let digits = !prefix_len.is_empty() && prefix_len.bytes().all(|byte| byte.is_ascii_digit());
        let prefix_len = prefix_len.parse().ok().filter(|_| digits);
        let prefix_len = prefix_len.ok_or_else(|| refused("the prefix length is not a number"))?;
        Self::new(address, prefix_len)
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

const OTHER_NAME: u32 = 0;
const RFC822_NAME: u32 = 1;
const DNS_NAME: u32 = 2;
const X400_ADDRESS: u32 = 3;
const DIRECTORY_NAME: u32 = 4;
const EDI_PARTY_NAME: u32 = 5;
const URI: u32 = 6;
const IP_ADDRESS: u32 = 7;
const REGISTERED_ID: u32 = 8;

/// `NameConstraints`, with bases undecoded: x509-cert's own type knows no x400Address and re-encodes names.
#[derive(Sequence)]
struct Encoded {
    #[asn1(context_specific = "0", optional = "true", tag_mode = "IMPLICIT")]
    permitted: Option<Vec<GeneralSubtree>>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "IMPLICIT")]
    excluded: Option<Vec<GeneralSubtree>>,
}

/// `GeneralSubtree`.
#[derive(Sequence)]
struct GeneralSubtree {
    base: Any,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", default = "zero")]
    minimum: u32,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    maximum: Option<u32>,
}

fn zero() -> u32 {
    0
}

/// A general name of one of the kinds that are not constructed.
fn tagged(kind: u32, content: impl AsRef<[u8]>) -> der::Result<Any> {
    Any::new(Tag::ContextSpecific { number: TagNumber(kind), constructed: false }, content.as_ref())
}

fn text(kind: u32, noun: &'static str, value: &str) -> Result<Any, NameError> {
    if !value.is_ascii() {
        return Err(NameError::NotAscii { kind: noun, value: value.to_owned() });
    }
    tagged(kind, value).map_err(|_| NameError::Encoding)
}

fn ascii(base: &Any) -> Result<String, ConstraintError> {
    let text = String::from_utf8(base.value().to_vec()).ok().filter(|text| text.is_ascii());
    text.ok_or(ConstraintError::Malformed("a name is not ASCII text"))
}

fn mask_v4(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(prefix_len.into())).unwrap_or(0)
}

fn mask_v6(prefix_len: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(prefix_len.into())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One element of DER with a short length.
    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128, "the short form of a length");
        [&[tag, length], content].concat()
    }

    /// Name constraints that permit one subtree with this base.
    fn permitting(base: &[u8], distances: &[u8]) -> Vec<u8> {
        let subtree = tlv(0x30, &[base, distances].concat());
        tlv(0x30, &tlv(0xa0, &subtree))
    }

    #[test]
    fn a_text_that_is_no_range_of_addresses_is_refused_with_the_form_to_write() {
        let check = |text: &str, reason: &str| {
            let message = text.parse::<IpRange>().unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("{text:?} is not a range of IP addresses: {reason}; ")),
                "{message}"
            );
            assert!(message.ends_with("such as 192.0.2.0/24 or 2001:db8::/32"), "{message}");
        };
        check("", "it has no prefix length");
        check("192.0.2.0", "it has no prefix length");
        check("/24", "it does not begin with an address");
        check("192.0.2/24", "it does not begin with an address");
        check("fe80::1%eth0/64", "it does not begin with an address");
        check("192.0.2.0/", "the prefix length is not a number");
        check("192.0.2.0/+24", "the prefix length is not a number");
        check("192.0.2.0/24/24", "the prefix length is not a number");
        check("192.0.2.0/300", "the prefix length is not a number");
        check("192.0.2.0/33", "the prefix of IPv4 has at most 32 bits");
        check("2001:db8::/129", "the prefix of IPv6 has at most 128 bits");
    }

    #[test]
    fn bits_behind_the_prefix_are_dropped() {
        let check = |text: &str, shown: &str| {
            let range: IpRange = text.parse().unwrap();
            assert_eq!(range.to_string(), shown);
            assert_eq!(IpRange::from_octets(&range.octets()).unwrap(), range);
        };
        check("192.0.2.255/24", "192.0.2.0/24");
        check("192.0.2.1/32", "192.0.2.1/32");
        check("192.0.2.1/0", "0.0.0.0/0");
        check("2001:db8:ffff::1/33", "2001:db8:8000::/33");
        check("::1/128", "::1/128");
        check("::1/0", "::/0");
    }

    #[test]
    fn bytes_that_are_no_name_constraints_are_refused() {
        let check = |der: &[u8], reason: &str| {
            let message = NameConstraints::from_der(der, true).unwrap_err().to_string();
            assert_eq!(message, format!("the name constraints are malformed: {reason}"), "{der:02x?}");
        };
        let structure = "the bytes do not have its structure";
        let domain = tlv(0x82, b"a.test");
        check(&[], structure);
        check(&[5, 0], structure);
        check(&tlv(0x30, &[5, 0]), structure);
        check(&[permitting(&domain, &[]), vec![0]].concat(), structure);
        check(&permitting(&domain, &[5, 0]), structure);
        check(&tlv(0x30, &[]), "nothing is permitted or excluded");
        check(&tlv(0x30, &tlv(0xa0, &[])), "a list of subtrees is present, but has none");
        check(&permitting(&tlv(0x82, &[0xff]), &[]), "a name is not ASCII text");
        for stranger in [tlv(0x04, b"a"), tlv(0x89, b"a"), tlv(0xa2, &domain), tlv(0x84, &[])] {
            check(&permitting(&stranger, &[]), "a subtree is not a general name");
        }
        for distance in [[0x80, 1, 1], [0x81, 1, 0]] {
            check(&permitting(&domain, &distance), "a subtree has a minimum or a maximum distance");
        }
        let addresses = "a range of IP addresses is not an address and its mask";
        check(&permitting(&tlv(0x87, &[192, 0, 2, 1]), &[]), addresses);
        check(&permitting(&tlv(0x87, &[0; 31]), &[]), addresses);
        let holes = tlv(0x87, &[192, 0, 2, 0, 255, 0, 255, 0]);
        check(&permitting(&holes, &[]), "the mask of a range of IP addresses has holes");
    }

    #[test]
    fn names_that_are_not_ascii_are_refused() {
        let domain = || vec!["bücher.test".to_owned()];
        let refused = [
            Subtrees { dns_domains: domain(), ..Subtrees::default() },
            Subtrees { email_addresses: domain(), ..Subtrees::default() },
            Subtrees { uri_domains: domain(), ..Subtrees::default() },
        ];
        for permitted in refused {
            let constraints = NameConstraints { permitted, ..NameConstraints::default() };
            let message = constraints.to_der().unwrap_err().to_string();
            assert!(message.contains("\"bücher.test\" is not ASCII text"), "{message}");
        }
    }

    #[test]
    fn kinds_are_written_in_the_order_dns_ip_email_uri_and_read_back() {
        let constraints = NameConstraints {
            critical: true,
            permitted: Subtrees {
                uri_domains: vec![".u.test".to_owned()],
                email_addresses: vec!["e.test".to_owned()],
                ip_ranges: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
                dns_domains: vec!["b.test".to_owned(), "a.test".to_owned()],
                others: Vec::new(),
            },
            excluded: Subtrees { dns_domains: vec![String::new()], ..Subtrees::default() },
        };
        let der = constraints.to_der().unwrap();
        let tags: Vec<u32> = Encoded::from_der(&der)
            .unwrap()
            .permitted
            .unwrap()
            .iter()
            .map(|subtree| subtree.base.tag().number().value())
            .collect();
        assert_eq!(tags, [2, 2, 7, 7, 1, 6]);
        assert_eq!(NameConstraints::from_der(&der, true).unwrap(), constraints);
        assert!(!constraints.is_empty());
        assert!(NameConstraints::default().is_empty());
    }

    #[test]
    fn other_kinds_are_kept_as_they_are() {
        let name = tlv(0x30, &tlv(0x31, &tlv(0x30, &[6, 3, 0x55, 4, 10, 12, 1, b'A'])));
        let bases = [
            tlv(0xa0, &[6, 1, 0x2a, 0xa0, 3, 12, 1, b'u']),
            tlv(0xa3, &[0x30, 0]),
            tlv(0xa4, &name),
            tlv(0xa5, &[0xa1, 3, 12, 1, b'p']),
            tlv(0x88, &[0x2a, 3]),
        ];
        let subtrees: Vec<u8> = bases.iter().flat_map(|base| tlv(0x30, base)).collect();
        let der = tlv(0x30, &tlv(0xa1, &subtrees));
        let constraints = NameConstraints::from_der(&der, true).unwrap();
        let others = &constraints.excluded.others;
        let kinds: Vec<_> = others.iter().map(|other| (other.kind(), other.tag_number())).collect();
        assert_eq!(
            kinds,
            [
                ("otherName", 0),
                ("x400Address", 3),
                ("directoryName", 4),
                ("ediPartyName", 5),
                ("registeredID", 8)
            ]
        );
        assert_eq!(others[2].value(), name);
        assert!(!constraints.is_empty());
        assert_eq!(constraints.to_der().unwrap(), der);
    }
}
