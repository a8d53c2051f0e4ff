//! Key usages: the strings of the Kubernetes API, the bits of RFC 5280 §4.2.1.3 and the purposes of §4.2.1.12.

use std::fmt;

use der::asn1::ObjectIdentifier;
use der::flagset::FlagSet;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages};

/// A key usage string that the API does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a key usage; known are {known}", known = known())]
pub struct UsageError(pub String);

/// A set of usages; extended ones keep the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usages {
    bits: FlagSet<KeyUsages>,
    purposes: Vec<ObjectIdentifier>,
}

/// What one API string stands for.
#[derive(Clone, Copy)]
enum Meaning {
    Bit(KeyUsages),
    Purpose(&'static str),
}

/// The strings of `spec.usages`, in the order of the API's documentation.
const TABLE: [(&str, Meaning); 23] = [
    ("signing", Meaning::Bit(KeyUsages::DigitalSignature)),
    ("digital signature", Meaning::Bit(KeyUsages::DigitalSignature)),
    ("content commitment", Meaning::Bit(KeyUsages::NonRepudiation)),
    ("key encipherment", Meaning::Bit(KeyUsages::KeyEncipherment)),
    ("key agreement", Meaning::Bit(KeyUsages::KeyAgreement)),
    ("data encipherment", Meaning::Bit(KeyUsages::DataEncipherment)),
    ("cert sign", Meaning::Bit(KeyUsages::KeyCertSign)),
    ("crl sign", Meaning::Bit(KeyUsages::CRLSign)),
    ("encipher only", Meaning::Bit(KeyUsages::EncipherOnly)),
    ("decipher only", Meaning::Bit(KeyUsages::DecipherOnly)),
    ("any", Meaning::Purpose("2.5.29.37.0")),
    ("server auth", Meaning::Purpose("1.3.6.1.5.5.7.3.1")),
    ("client auth", Meaning::Purpose("1.3.6.1.5.5.7.3.2")),
    ("code signing", Meaning::Purpose("1.3.6.1.5.5.7.3.3")),
    ("email protection", Meaning::Purpose("1.3.6.1.5.5.7.3.4")),
    ("s/mime", Meaning::Purpose("1.3.6.1.5.5.7.3.4")),
    ("ipsec end system", Meaning::Purpose("1.3.6.1.5.5.7.3.5")),
    ("ipsec tunnel", Meaning::Purpose("1.3.6.1.5.5.7.3.6")),
    ("ipsec user", Meaning::Purpose("1.3.6.1.5.5.7.3.7")),
    ("timestamping", Meaning::Purpose("1.3.6.1.5.5.7.3.8")),
    ("ocsp signing", Meaning::Purpose("1.3.6.1.5.5.7.3.9")),
    ("microsoft sgc", Meaning::Purpose("1.3.6.1.4.1.311.10.3.3")),
    ("netscape sgc", Meaning::Purpose("2.16.840.1.113730.4.1")),
];

/// The most usages that a message names: no honest request has more, and a status is read by people.
const SHOWN_MAX: usize = 10;

/// The purposes that the API has a string for.
fn known_purposes() -> Vec<ObjectIdentifier> {
    let purpose = |(_, meaning): &(&str, Meaning)| match meaning {
        Meaning::Purpose(oid) => Some(ObjectIdentifier::new_unwrap(oid)),
        Meaning::Bit(_) => None,
    };
    TABLE.iter().filter_map(purpose).collect()
}

fn known() -> String {
    TABLE.map(|(name, _)| name).join(", ")
}

impl Usages {
    /// Reads API strings. An empty list means what it means in the API: digital signature and key encipherment.
    ///
    /// # Errors
    /// On the first string that is not a usage.
    pub fn parse(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, UsageError> {
        let mut usages = Self { bits: FlagSet::default(), purposes: Vec::new() };
        let mut empty = true;
        for name in names {
            empty = false;
            let name = name.as_ref();
            let found = TABLE.iter().find(|(known, _)| *known == name);
            let (_, meaning) = found.ok_or_else(|| UsageError(name.to_owned()))?;
            usages.add(*meaning);
        }
        Ok(if empty { Self::default() } else { usages })
    }

    /// What a TLS server needs: digital signature, key encipherment (for RSA key exchange of old clients), server auth.
    pub fn server() -> Self {
        let mut usages = Self::default();
        usages.add(Meaning::Purpose("1.3.6.1.5.5.7.3.1"));
        usages
    }

    /// The same with `cert sign` added, as certificates of CAs need it.
    #[must_use]
    pub fn with_cert_sign(mut self) -> Self {
        self.bits |= KeyUsages::KeyCertSign;
        self
    }

    /// The usages of both; the other's extended ones come last.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        self.bits |= other.bits;
        let new: Vec<_> =
            other.purposes.iter().filter(|purpose| !self.purposes.contains(purpose)).copied().collect();
        self.purposes.extend(new);
        self
    }

    /// The usages that are not among those that are `allowed`.
    #[must_use]
    pub fn beyond(&self, allowed: &Self) -> Self {
        let purposes = self.purposes.iter().filter(|purpose| !allowed.purposes.contains(purpose));
        Self { bits: self.bits - allowed.bits, purposes: purposes.copied().collect() }
    }

    /// Whether both ask for the same; the order of extended usages and repetitions have no meaning.
    pub fn same_as(&self, other: &Self) -> bool {
        let within = |these: &Self, those: &Self| {
            these.purposes.iter().all(|purpose| those.purposes.contains(purpose))
        };
        self.bits == other.bits && within(self, other) && within(other, self)
    }

    /// The usages without the extended ones.
    #[must_use]
    pub fn basic(&self) -> Self {
        Self { bits: self.bits, purposes: Vec::new() }
    }

    /// The extended usages alone, in their order: those that the API has a string for.
    #[must_use]
    pub fn extended(&self) -> Self {
        self.purposes_where(|is_known| is_known)
    }

    /// The extended usages that the API has no string for, in their order.
    #[must_use]
    pub fn foreign(&self) -> Self {
        self.purposes_where(|is_known| !is_known)
    }

    fn purposes_where(&self, wanted: impl Fn(bool) -> bool) -> Self {
        let known = known_purposes();
        let purposes = self.purposes.iter().filter(|purpose| wanted(known.contains(purpose)));
        Self { bits: FlagSet::default(), purposes: purposes.copied().collect() }
    }

    /// Whether there is no usage at all.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty() && self.purposes.is_empty()
    }

    fn add(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Bit(bit) => self.bits |= bit,
            Meaning::Purpose(oid) => {
                let oid = ObjectIdentifier::new_unwrap(oid);
                if !self.purposes.contains(&oid) {
                    self.purposes.push(oid);
                }
            }
        }
    }

    /// The KeyUsage extension; `None` without any bit, which RFC 5280 does not allow to be encoded.
    pub(crate) fn key_usage(&self) -> Option<KeyUsage> {
        (!self.bits.is_empty()).then_some(KeyUsage(self.bits))
    }

    /// The extended key usage extension; `None` without any purpose.
    pub(crate) fn extended_key_usage(&self) -> Option<ExtendedKeyUsage> {
        (!self.purposes.is_empty()).then(|| ExtendedKeyUsage(self.purposes.clone()))
    }

    pub(crate) fn from_extensions(bits: Option<&KeyUsage>, purposes: Option<&ExtendedKeyUsage>) -> Self {
        Self {
            bits: bits.map_or_else(FlagSet::default, |usage| usage.0),
            purposes: purposes.map(|usage| usage.0.clone()).unwrap_or_default(),
        }
    }
}

impl Default for Usages {
    /// What the API means by no usages.
    fn default() -> Self {
        Self { bits: KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment, purposes: Vec::new() }
    }
}

impl Usages {
    /// The first words of what [`fmt::Display`] shows, for messages about a request that may hold any number of them.
    pub fn summary(&self) -> String {
        let names = self.names();
        let more = names.len().saturating_sub(SHOWN_MAX);
        let shown = names.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
        if more == 0 { shown } else { format!("{shown} and {more} more") }
    }

    /// The API strings, bits first; a purpose without one shows its object identifier.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut seen = FlagSet::<KeyUsages>::default();
        for (name, meaning) in TABLE.iter().skip(1) {
            if let Meaning::Bit(bit) = meaning
                && self.bits.contains(*bit)
                && !seen.contains(*bit)
            {
                seen |= *bit;
                names.push((*name).to_owned());
            }
        }
        for purpose in &self.purposes {
            let text = purpose.to_string();
            let known =
                TABLE.iter().find(|(_, meaning)| matches!(meaning, Meaning::Purpose(oid) if *oid == text));
            names.push(known.map_or(text.clone(), |(name, _)| (*name).to_owned()));
        }
        names
    }
}

impl fmt::Display for Usages {
    /// The API strings, bits first; a purpose without one shows its object identifier.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_usage_is_refused_with_the_known_ones() {
        let message = Usages::parse(["server auth", "serverauth"]).unwrap_err().to_string();
        assert!(
            message.starts_with("\"serverauth\" is not a key usage; known are signing, digital"),
            "{message}"
        );
        assert!(Usages::parse([""]).is_err());
    }

    #[test]
    fn usages_are_compared_as_sets() {
        let purposes = |names: &[&str]| {
            let oids = Usages::parse(names).unwrap().purposes;
            Usages { bits: FlagSet::default(), purposes: oids }
        };
        let twice = Usages {
            bits: FlagSet::default(),
            purposes: [purposes(&["server auth"]).purposes, purposes(&["server auth"]).purposes].concat(),
        };
        let check = |a: &Usages, b: &Usages, same: bool| {
            assert_eq!((a.same_as(b), b.same_as(a)), (same, same), "{a} and {b}");
        };
        check(&twice, &purposes(&["server auth", "client auth"]), false);
        check(&twice, &purposes(&["server auth"]), true);
        check(&purposes(&["client auth", "server auth"]), &purposes(&["server auth", "client auth"]), true);
        check(&Usages::default(), &Usages::default().with_cert_sign(), false);
    }

    #[test]
    fn usages_are_added_and_taken_away() {
        let parse = |names: &[&str]| Usages::parse(names).unwrap();
        let both =
            parse(&["cert sign", "server auth"]).with(&parse(&["crl sign", "client auth", "server auth"]));
        assert_eq!(both.names(), ["cert sign", "crl sign", "server auth", "client auth"]);
        let beyond = both.beyond(&parse(&["cert sign", "client auth", "any"]));
        assert_eq!(beyond.names(), ["crl sign", "server auth"]);
        assert!(both.beyond(&both).is_empty());
    }

    #[test]
    fn usages_fall_into_those_of_each_extension_and_foreign_ones() {
        let mut usages = Usages::parse(["cert sign", "server auth", "any"]).unwrap();
        usages.purposes.push(ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.2"));
        let parts = [usages.basic(), usages.extended(), usages.foreign()].map(|part| part.to_string());
        assert_eq!(parts, ["cert sign", "server auth, any", "1.3.6.1.4.1.311.20.2.2"]);
        assert!(Usages::default().foreign().is_empty() && !Usages::default().is_empty());
    }

    #[test]
    fn a_summary_names_the_first_few() {
        let arcs = 1..=12;
        let purposes = arcs.map(|arc| ObjectIdentifier::new(&format!("1.2.{arc}")).unwrap()).collect();
        let many = Usages { bits: KeyUsages::CRLSign.into(), purposes };
        assert_eq!(
            many.summary(),
            "crl sign, 1.2.1, 1.2.2, 1.2.3, 1.2.4, 1.2.5, 1.2.6, 1.2.7, 1.2.8, 1.2.9 and 3 more"
        );
        assert_eq!(Usages::default().summary(), Usages::default().to_string());
    }

    #[test]
    fn usages_are_read_and_shown_in_the_words_of_the_api() {
        let check = |names: &[&str], shown: &str| {
            assert_eq!(Usages::parse(names).unwrap().to_string(), shown, "{names:?}");
        };
        check(&[], "digital signature, key encipherment");
        check(&["signing"], "digital signature");
        check(
            &["client auth", "s/mime", "server auth", "client auth"],
            "client auth, email protection, server auth",
        );
        check(&["crl sign", "cert sign", "decipher only"], "cert sign, crl sign, decipher only");
    }
}
