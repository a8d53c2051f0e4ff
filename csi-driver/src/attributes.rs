//! The attributes of a volume: every key of `csi.cert-manager.io`, read once into types (spec/csi-driver.md §1.1).
//!
//! Keys, defaults and the order of expansion and list parsing are those of the peer; all faults of a volume are
//! reported together, each with its key, so that a user mends a pod in one go.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use api::duration::GoDuration;
use api::keys::{csi, csi_context};
use api::meta::IssuerRef;
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, RsaSize};
use issuance::name::{Subject, SubjectAltName};
use issuance::usage::Usages;
use jiff::SignedDuration;

use crate::field::{AttributeError, AttributeErrors, Fault};
use crate::files::{FileName, FileNames};
use crate::{csv, expand, uri};

/// Lifetime of a certificate when none is asked for: 90 days, the peer's default.
const DEFAULT_DURATION: &str = "2160h";

/// Usages of a certificate when none are asked for, as the peer's; unfit for ECDSA, but what its users get.
const DEFAULT_USAGES: &str = "digital signature,key encipherment";

/// What a volume is to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributes {
    /// Who signs.
    pub issuer: IssuerRef,
    /// Subject of the certificate.
    pub subject: Subject,
    /// Its alternative names: DNS, then IP, then URI, each in the order written.
    pub names: Vec<SubjectAltName>,
    /// Lifetime to ask for, longer than zero.
    pub duration: SignedDuration,
    /// How long before expiry to renew, if the pod says so; longer than zero.
    pub renew_before: Option<SignedDuration>,
    /// Whether a CA certificate is asked for.
    pub is_ca: bool,
    /// What the key is for.
    pub usages: Usages,
    /// Kind and size of the key.
    pub key: KeyAlgorithm,
    /// How the key file is written.
    pub key_encoding: KeyEncoding,
    /// Whether a renewal keeps the key.
    pub reuse_private_key: bool,
    /// The files.
    pub files: FileNames,
    /// Group of the files, before that of the pod.
    pub fs_group: Option<u32>,
}

impl Attributes {
    /// Reads the attributes from a volume's context; keys of other prefixes are left alone.
    ///
    /// # Errors
    /// Every fault of every attribute.
    pub fn parse(context: &HashMap<String, String>) -> Result<Self, AttributeErrors> {
        let mut reader = Reader { context, errors: Vec::new() };
        reader.refuse_what_is_not_built();
        let (key, key_encoding) = reader.key();
        let attributes = Self {
            issuer: reader.issuer(),
            subject: reader.subject(),
            names: reader.names(),
            duration: reader.duration(),
            renew_before: reader.renew_before(),
            is_ca: reader.switch(csi::IS_CA),
            usages: reader.usages(),
            key,
            key_encoding,
            reuse_private_key: reader.switch(csi::REUSE_PRIVATE_KEY),
            files: reader.files(),
            fs_group: reader.fs_group(),
        };
        if reader.errors.is_empty() { Ok(attributes) } else { Err(AttributeErrors(reader.errors)) }
    }
}

/// The keys under our prefix that no attribute has, in order: most likely typing errors.
pub fn unknown_keys(context: &HashMap<String, String>) -> Vec<&str> {
    let mut unknown: Vec<_> = context
        .keys()
        .map(String::as_str)
        .filter(|key| key.starts_with(csi::PREFIX) && !csi::KNOWN.contains(key))
        .collect();
    unknown.sort_unstable();
    unknown
}

/// Reads attributes and gathers faults. After a fault a reading goes on with the default, so that later faults are
/// found too; the value is thrown away in the end.
struct Reader<'c> {
    context: &'c HashMap<String, String>,
    errors: Vec<AttributeError>,
}

impl<'c> Reader<'c> {
    /// The value of an attribute; empty is as good as absent.
    fn get(&self, key: &str) -> Option<&'c str> {
        self.context.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn fail(&mut self, key: &'static str, fault: Fault) {
        self.errors.push(AttributeError { key, fault });
    }

    fn invalid(&mut self, key: &'static str, value: &str, reason: impl fmt::Display) {
        self.fail(key, Fault::Invalid { value: value.to_owned(), reason: reason.to_string() });
    }

    /// Attributes that exist in the field but not here are refused by name rather than passed over.
    fn refuse_what_is_not_built(&mut self) {
        if self.get(csi::LITERAL_SUBJECT).is_some() {
            self.fail(csi::LITERAL_SUBJECT, Fault::NotYet);
        }
        match self.get(csi::PKCS12_ENABLE) {
            Some("false") => {}
            Some(_) => self.fail(csi::PKCS12_ENABLE, Fault::NotYet),
            None => {
                for key in [csi::PKCS12_FILENAME, csi::PKCS12_PASSWORD] {
                    if self.get(key).is_some() {
                        self.fail(key, Fault::NotYet);
                    }
                }
            }
        }
    }

    fn issuer(&mut self) -> IssuerRef {
        let name = self.get(csi::ISSUER_NAME).unwrap_or_default().to_owned();
        if name.is_empty() {
            self.fail(csi::ISSUER_NAME, Fault::Required);
        }
        let text = |key| self.get(key).map(str::to_owned);
        IssuerRef { name, kind: text(csi::ISSUER_KIND), group: text(csi::ISSUER_GROUP) }
    }

    fn subject(&mut self) -> Subject {
        Subject {
            common_name: self.expanded(csi::COMMON_NAME).filter(|name| !name.is_empty()),
            countries: self.record(csi::COUNTRIES),
            organizations: self.record(csi::ORGANIZATIONS),
            organizational_units: self.record(csi::ORGANIZATIONAL_UNITS),
            localities: self.record(csi::LOCALITIES),
            provinces: self.record(csi::PROVINCES),
            street_addresses: self.record(csi::STREET_ADDRESSES),
            postal_codes: self.record(csi::POSTAL_CODES),
            // Alone among the subject's attributes this one is taken as it is written.
            serial_number: self.get(csi::SERIAL_NUMBER).map(str::to_owned),
        }
    }

    fn names(&mut self) -> Vec<SubjectAltName> {
        let mut names = Vec::new();
        for name in self.expanded_list(csi::DNS_NAMES) {
            if name.is_empty() {
                let whole = self.get(csi::DNS_NAMES).unwrap_or_default();
                self.invalid(
                    csi::DNS_NAMES,
                    whole,
                    "a name in the list is empty; remove the comma beside it",
                );
            }
            names.push(SubjectAltName::Dns(name));
        }
        for text in self.get(csi::IP_SANS).into_iter().flat_map(|list| list.split(',')) {
            match text.trim().parse::<IpAddr>() {
                // As in Go, an IPv4 address in IPv6 clothes is an IPv4 address.
                Ok(address) => names.push(SubjectAltName::Ip(address.to_canonical())),
                Err(_) => self.invalid(csi::IP_SANS, text.trim(), "is not an IP address"),
            }
        }
        for text in self.expanded_list(csi::URI_SANS) {
            match uri::check(&text) {
                Ok(()) => names.push(SubjectAltName::Uri(text)),
                Err(error) => self.invalid(csi::URI_SANS, &text, error),
            }
        }
        names
    }

    /// The value with its variables replaced.
    fn expanded(&mut self, key: &'static str) -> Option<String> {
        let text = self.get(key)?;
        match expand::expand(text, |name| self.variable(name)) {
            Ok(expanded) => Some(expanded),
            Err(error) => {
                self.invalid(key, text, error);
                None
            }
        }
    }

    fn variable(&self, name: &str) -> Option<&'c str> {
        let key = match name {
            "POD_NAME" => csi_context::POD_NAME,
            "POD_NAMESPACE" => csi_context::POD_NAMESPACE,
            "POD_UID" => csi_context::POD_UID,
            "SERVICE_ACCOUNT_NAME" => csi_context::SERVICE_ACCOUNT_NAME,
            _ => return None,
        };
        Some(self.context.get(key).map_or("", String::as_str))
    }

    fn expanded_list(&mut self, key: &'static str) -> Vec<String> {
        let text = self.expanded(key);
        text.iter().flat_map(|list| list.split(',')).map(|item| item.trim().to_owned()).collect()
    }

    /// Variables first, list second: a comma in a variable's value separates.
    fn record(&mut self, key: &'static str) -> Vec<String> {
        let Some(text) = self.expanded(key) else {
            return Vec::new();
        };
        csv::record(&text).unwrap_or_else(|error| {
            self.invalid(key, &text, error);
            Vec::new()
        })
    }

    fn duration(&mut self) -> SignedDuration {
        let text = self.get(csi::DURATION).unwrap_or(DEFAULT_DURATION);
        self.positive(csi::DURATION, text).unwrap_or_default()
    }

    fn renew_before(&mut self) -> Option<SignedDuration> {
        // The peer takes a key without a value and then fails at every write; we say so before.
        let text = self.context.get(csi::RENEW_BEFORE)?;
        self.positive(csi::RENEW_BEFORE, text)
    }

    fn positive(&mut self, key: &'static str, text: &str) -> Option<SignedDuration> {
        match GoDuration::new(text).parse() {
            Ok(duration) if duration > SignedDuration::ZERO => return Some(duration),
            Ok(_) => self.invalid(key, text, "must be longer than zero"),
            Err(error) => self.invalid(key, text, error),
        }
        None
    }

    fn switch(&mut self, key: &'static str) -> bool {
        match self.get(key) {
            None | Some("false") => false,
            Some("true") => true,
            Some(value) => {
                let supported = "\"true\", \"false\"";
                self.fail(key, Fault::NotSupported { value: value.to_owned(), supported });
                false
            }
        }
    }

    fn usages(&mut self) -> Usages {
        let text = self.get(csi::KEY_USAGES).unwrap_or(DEFAULT_USAGES);
        match Usages::parse(text.split(',').map(str::trim)) {
            Ok(usages) => usages,
            Err(error) => {
                self.invalid(csi::KEY_USAGES, text, error);
                Usages::default()
            }
        }
    }

    fn key(&mut self) -> (KeyAlgorithm, KeyEncoding) {
        let name = self.get(csi::KEY_ALGORITHM).unwrap_or("RSA");
        let size = self.get(csi::KEY_SIZE);
        let key = match name.to_ascii_lowercase().as_str() {
            "rsa" => self.sized(size, RsaSize::Bits2048, RsaSize::try_from).map(KeyAlgorithm::Rsa),
            "ecdsa" => self.sized(size, Curve::P256, Curve::try_from).map(KeyAlgorithm::Ecdsa),
            "ed25519" => match size {
                None => Some(KeyAlgorithm::Ed25519),
                Some(size) => {
                    self.invalid(csi::KEY_SIZE, size, "Ed25519 has one size only; leave it out");
                    None
                }
            },
            _ => {
                let supported = "\"RSA\", \"ECDSA\", \"Ed25519\"";
                self.fail(csi::KEY_ALGORITHM, Fault::NotSupported { value: name.to_owned(), supported });
                None
            }
        };
        let encoding = self.key_encoding(key);
        (key.unwrap_or(KeyAlgorithm::Ed25519), encoding)
    }

    fn sized<T>(
        &mut self,
        size: Option<&str>,
        default: T,
        parse: impl Fn(u32) -> Result<T, issuance::key::KeyError>,
    ) -> Option<T> {
        let Some(text) = size else {
            return Some(default);
        };
        let Ok(bits) = text.parse::<u32>() else {
            self.invalid(csi::KEY_SIZE, text, "must be a number of bits");
            return None;
        };
        parse(bits).map_err(|error| self.invalid(csi::KEY_SIZE, text, error)).ok()
    }

    /// `key` is absent when it was refused; then nothing is said about how an encoding fits it.
    fn key_encoding(&mut self, key: Option<KeyAlgorithm>) -> KeyEncoding {
        let rsa = matches!(key, Some(KeyAlgorithm::Rsa(_)));
        let Some(text) = self.get(csi::KEY_ENCODING) else {
            return if rsa { KeyEncoding::Pkcs1 } else { KeyEncoding::Pkcs8 };
        };
        match text.to_ascii_lowercase().as_str() {
            "pkcs1" => {
                if key.is_some() && !rsa {
                    self.invalid(csi::KEY_ENCODING, text, "is for RSA keys only; use PKCS8");
                }
                KeyEncoding::Pkcs1
            }
            "pkcs8" => KeyEncoding::Pkcs8,
            _ => {
                let supported = "\"PKCS1\", \"PKCS8\"";
                self.fail(csi::KEY_ENCODING, Fault::NotSupported { value: text.to_owned(), supported });
                KeyEncoding::Pkcs8
            }
        }
    }

    fn files(&mut self) -> FileNames {
        let certificate = self.file(csi::CERTIFICATE_FILE, "tls.crt");
        let private_key = self.file(csi::PRIVATE_KEY_FILE, "tls.key");
        let ca = self.file(csi::CA_FILE, "ca.crt");
        if private_key == certificate {
            self.duplicate(csi::PRIVATE_KEY_FILE, &private_key);
        }
        if ca == certificate || ca == private_key {
            self.duplicate(csi::CA_FILE, &ca);
        }
        FileNames { certificate, private_key, ca }
    }

    fn file(&mut self, key: &'static str, default: &'static str) -> FileName {
        let text = self.get(key).unwrap_or(default);
        text.parse().unwrap_or_else(|reason: &'static str| {
            self.invalid(key, text, reason);
            FileName(default.to_owned())
        })
    }

    fn duplicate(&mut self, key: &'static str, name: &FileName) {
        self.fail(key, Fault::Duplicate { value: name.0.clone() });
    }

    fn fs_group(&mut self) -> Option<u32> {
        let text = self.get(csi::FS_GROUP)?;
        match text.parse::<u32>() {
            Ok(group) if group > 0 => Some(group),
            _ => {
                self.invalid(csi::FS_GROUP, text, "must be a group id from 1 to 4294967295");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
