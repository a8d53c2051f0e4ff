//! Certificates and requests for tests: any chain, with any rights, without waiting for random keys.

use der::asn1::{Any, BitString, Int};
use der::{Decode as _, Encode as _, Tag, TagNumber};
use jiff::{SignedDuration, Timestamp};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

use crate::asn1::{Attribute, RequestInfo, Signed};
use crate::authority::{Authority, Template};
use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::constraint::NameConstraints;
use crate::extension::{EXTENSION_REQUEST, Extensions};
use crate::key::PrivateKey;
use crate::name::{Subject, SubjectAltName};
use crate::request::Request;

/// The moment at which tests take place: 2027-01-15T08:00:00Z.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// So many hours after [`now`].
pub(crate) fn hours_later(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

/// An Ed25519 key that is always the same for a seed.
pub(crate) fn key(seed: u8) -> PrivateKey {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend([seed; 32]);
    PrivateKey::from_pkcs8_der(&der).unwrap()
}

/// A certificate to be made. Valid from an hour before [`now`] for a year unless told otherwise.
pub(crate) struct Maker<'a> {
    pub subject: &'a str,
    pub key: &'a PrivateKey,
    /// Name and key of the issuer; `None` for one that signs itself.
    pub issuer: Option<(&'a str, &'a PrivateKey)>,
    /// Validity in hours from [`now`].
    pub hours: (i64, i64),
    /// Basic constraints, if there are any: whether it is a CA, and its path length.
    pub constraints: Option<(bool, Option<u8>)>,
    pub key_usage: Option<KeyUsage>,
    pub names: Vec<SubjectAltName>,
    pub name_constraints: Option<NameConstraints>,
    pub more: Vec<Extension>,
}

impl<'a> Maker<'a> {
    pub(crate) fn ca(
        subject: &'a str,
        key: &'a PrivateKey,
        issuer: Option<(&'a str, &'a PrivateKey)>,
    ) -> Self {
        Self {
            subject,
            key,
            issuer,
            hours: (-1, 24 * 365),
            constraints: Some((true, None)),
            key_usage: Some(KeyUsage(KeyUsages::KeyCertSign.into())),
            names: Vec::new(),
            name_constraints: None,
            more: Vec::new(),
        }
    }

    pub(crate) fn leaf(subject: &'a str, key: &'a PrivateKey, issuer: (&'a str, &'a PrivateKey)) -> Self {
        Self { constraints: None, key_usage: None, ..Self::ca(subject, key, Some(issuer)) }
    }

    pub(crate) fn make(self) -> Certificate {
        let mut extensions = Extensions::default();
        if let Some((ca, path_len_constraint)) = self.constraints {
            extensions.add(true, &BasicConstraints { ca, path_len_constraint }).unwrap();
        }
        if let Some(bits) = self.key_usage {
            extensions.add(true, &bits).unwrap();
        }
        extensions.add_names(&self.names, false).unwrap();
        if let Some(constraints) = self.name_constraints {
            extensions.0.push(raw_constraints(&constraints));
        }
        extensions.0.extend(self.more);
        let (issuer, signer) = self.issuer.unwrap_or((self.subject, self.key));
        let template = Template {
            issuer: Subject::common_name(issuer).to_name().unwrap(),
            subject: Subject::common_name(self.subject).to_name().unwrap(),
            public_key: self.key.public_key(),
            validity: (hours_later(self.hours.0), hours_later(self.hours.1)),
            extensions,
        };
        template.sign(signer, Int::new(&[7]).unwrap()).unwrap()
    }
}

pub(crate) fn raw_constraints(constraints: &NameConstraints) -> Extension {
    Extension {
        extn_id: der::asn1::ObjectIdentifier::new_unwrap("2.5.29.30"),
        critical: constraints.critical,
        extn_value: der::asn1::OctetString::new(constraints.to_der().unwrap()).unwrap(),
    }
}

/// A root with this certificate, which is the one of key 1.
pub(crate) fn authority(maker: impl FnOnce(Maker<'_>) -> Maker<'_>) -> Authority {
    let key = key(1);
    let certificate = maker(Maker::ca("root", &key, None)).make();
    Authority::new(Chain::order(vec![certificate]).unwrap(), self::key(1)).unwrap()
}

/// A request with exactly these extensions, as a foreign tool might make it.
pub(crate) fn foreign_request(subject: &Subject, key: &PrivateKey, extensions: &[Extension]) -> Request {
    let values = Any::new(Tag::Set, extensions.to_vec().to_der().unwrap()).unwrap();
    let attribute = Attribute { oid: EXTENSION_REQUEST, values }.to_der().unwrap();
    let attributes = Tag::ContextSpecific { number: TagNumber(0), constructed: true };
    let info = RequestInfo {
        version: 0,
        subject: subject.to_name().unwrap(),
        public_key: key.public_key().spki().clone(),
        attributes: Any::new(attributes, attribute).unwrap(),
    };
    let body = info.to_der().unwrap();
    let signed = Signed {
        body: Any::from_der(&body).unwrap(),
        algorithm: key.signature_algorithm().identifier(),
        signature: BitString::from_bytes(&key.sign(&body).unwrap()).unwrap(),
    };
    Request::from_der(&signed.to_der().unwrap()).unwrap()
}

/// One extension with this value.
pub(crate) fn extension<T: const_oid::AssociatedOid + der::Encode>(critical: bool, value: &T) -> Extension {
    let mut extensions = Extensions::default();
    extensions.add(critical, value).unwrap();
    extensions.0.remove(0)
}
