//! The CAs in the Secret, in a form that cert-manager's webhook takes, too.
//!
//! At rest the data is its data: `tls.crt`, `tls.key` and `ca.crt`, which is the same as `tls.crt`. A rotation under way
//! adds `next.crt`, `next.key` and `rotation.json`, which it passes over. It makes a new CA as soon as `ca.crt` is
//! anything but `tls.crt`, so that is so only where nothing but `ca.crt` can make callers trust the next CA.

use std::collections::BTreeMap;
use std::sync::Arc;

use issuance::authority::Authority;
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::key::KeyEncoding;
use issuance::rotation::{Next, Previous, Rotation};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

/// Keys of the Secret's data (S1).
pub const CERTIFICATE: &str = "tls.crt";
/// The CA's private key, PKCS#8.
pub const KEY: &str = "tls.key";
/// What the cainjector copies.
pub const TRUST: &str = "ca.crt";
/// The CA that will sign next.
pub const NEXT_CERTIFICATE: &str = "next.crt";
/// Its private key.
pub const NEXT_KEY: &str = "next.key";
/// How far the rotation is; nothing in it is secret.
pub const ROTATION: &str = "rotation.json";

/// Data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// A CA that does not sign yet.
#[derive(Debug, Clone)]
pub struct NextCa {
    /// Certificate and key.
    pub authority: Arc<Authority>,
    /// When callers were first seen to trust it.
    pub published_at: Option<Timestamp>,
}

/// What a Secret holds.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The CA that signs. It may have ended.
    pub current: Option<Arc<Authority>>,
    /// Whether Signet made it. Another one may be cert-manager's, whose webhook may still be running.
    pub is_own: bool,
    /// Why there is none, or what has to be mended.
    pub flaw: Option<String>,
    /// The CA that will sign next.
    pub next: Option<NextCa>,
    /// CAs that no longer sign, oldest first.
    pub previous: Vec<Previous>,
    /// Whether `ca.crt` holds all of them, because nothing else can make callers trust them.
    pub overlap: bool,
}

/// `rotation.json`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    /// Serial number of the CA that the next one is to replace: of no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_published_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    overlap: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    previous: Vec<PreviousRecord>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PreviousRecord {
    /// PEM.
    certificate: String,
    needed_until: Timestamp,
}

impl Stored {
    /// Reads a Secret's data. None: there is no Secret. `own_serial` is the serial number of the CA that Signet put there
    /// last.
    pub fn read(data: Option<&Data>, own_serial: Option<&str>) -> Self {
        let Some(data) = data else {
            return Self { flaw: Some("there is none".to_owned()), ..Self::default() };
        };
        let record = get(data, ROTATION).and_then(|text| serde_json::from_slice::<Record>(text).ok());
        let record = record.unwrap_or_default();
        let next = read_pair(data, NEXT_CERTIFICATE, NEXT_KEY).ok();
        let next = next.map(|authority| NextCa { authority, published_at: record.next_published_at });
        let previous = record.previous.iter().filter_map(PreviousRecord::read).collect();
        let mut stored = Self { next, previous, overlap: record.overlap, ..Self::default() };
        match read_pair(data, CERTIFICATE, KEY) {
            Ok(authority) => {
                stored.flaw = untrusting(data, authority.certificate());
                stored.forget_stale_next(record.next_after.as_deref(), authority.certificate());
                stored.is_own = own_serial == Some(authority.certificate().serial_hex().as_str());
                stored.current = Some(authority);
            }
            Err(flaw) => stored.flaw = Some(flaw),
        }
        stored
    }

    /// Puts everything into a Secret's data; what else is in there stays.
    pub fn write(&self, data: &mut Data) {
        for key in [NEXT_CERTIFICATE, NEXT_KEY, ROTATION] {
            data.remove(key);
        }
        let mut put = |key: &str, value: Vec<u8>| data.insert(key.to_owned(), ByteString(value));
        let Some(current) = &self.current else {
            return;
        };
        put(CERTIFICATE, current.chain().to_pem().into_bytes());
        put(KEY, key_of(current));
        put(TRUST, self.trust().to_pem().into_bytes());
        if let Some(NextCa { authority, .. }) = &self.next {
            put(NEXT_CERTIFICATE, authority.chain().to_pem().into_bytes());
            put(NEXT_KEY, key_of(authority));
        }
        let record = self.record(current);
        if record != Record::default() {
            // Strings, times and flags always become JSON.
            put(ROTATION, serde_json::to_vec(&record).unwrap_or_default());
        }
    }

    /// The certificates alone, for the plan of a rotation.
    pub fn rotation(&self) -> Rotation {
        Rotation {
            current: self.current.as_ref().map(|current| current.certificate().clone()),
            next: self.next.as_ref().map(|next| Next {
                certificate: next.authority.certificate().clone(),
                published_at: next.published_at,
            }),
            previous: self.previous.clone(),
        }
    }

    /// Whether this CA has a place here.
    pub fn knows(&self, ca: &Certificate) -> bool {
        let mut signing = self.current.iter().chain(self.next.iter().map(|next| &next.authority));
        signing.any(|authority| authority.certificate() == ca)
            || self.previous.iter().any(|previous| previous.certificate == *ca)
    }

    /// What `ca.crt` is to hold.
    fn trust(&self) -> Bundle {
        let current = self.current.iter().map(|current| current.certificate());
        let next = self.next.iter().map(|next| next.authority.certificate());
        let previous = self.previous.iter().map(|previous| &previous.certificate);
        if self.overlap {
            Bundle::of(previous.chain(current).chain(next).cloned().collect())
        } else {
            Bundle::of(current.cloned().collect())
        }
    }

    fn record(&self, current: &Authority) -> Record {
        Record {
            next_after: self.next.as_ref().map(|_| current.certificate().serial_hex()),
            next_published_at: self.next.as_ref().and_then(|next| next.published_at),
            overlap: self.overlap,
            previous: self.previous.iter().map(PreviousRecord::new).collect(),
        }
    }

    /// Somebody has replaced the CA in the middle of a rotation: the new one is not due, and what was meant to follow
    /// the old one does not follow it.
    fn forget_stale_next(&mut self, next_after: Option<&str>, current: &Certificate) {
        if next_after == Some(current.serial_hex().as_str()) {
            return;
        }
        if let Some(next) = self.next.take() {
            let flaw = "its next CA was to follow another one".to_owned();
            self.flaw.get_or_insert(flaw);
            self.retire(next.authority.certificate().clone(), Timestamp::UNIX_EPOCH);
        }
    }

    /// Remembers a CA that does not sign any more. One that nothing needs is to be taken out of where it was published.
    pub fn retire(&mut self, certificate: Certificate, needed_until: Timestamp) {
        self.previous.push(Previous { certificate, needed_until });
    }
}

impl PreviousRecord {
    fn new(previous: &Previous) -> Self {
        Self { certificate: previous.certificate.to_pem(), needed_until: previous.needed_until }
    }

    fn read(&self) -> Option<Previous> {
        let bundle = Bundle::parse(self.certificate.as_bytes()).ok()?;
        let certificate = bundle.certificates().first()?.clone();
        Some(Previous { certificate, needed_until: self.needed_until })
    }
}

fn key_of(authority: &Authority) -> Vec<u8> {
    authority.key().to_pem(KeyEncoding::Pkcs8).expose().to_vec()
}

fn get<'a>(data: &'a Data, key: &str) -> Option<&'a [u8]> {
    data.get(key).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty())
}

fn read_pair(data: &Data, certificate: &str, key: &str) -> Result<Arc<Authority>, String> {
    let get = |key: &str| get(data, key).ok_or_else(|| format!("its key {key} is empty"));
    let (certificate, key) = (get(certificate)?, get(key)?);
    let authority = Authority::from_pem(certificate, key, None)
        .map_err(|error| format!("it cannot be used: {:#}", anyhow::Error::new(error)))?;
    Ok(Arc::new(authority))
}

/// Why callers who trust `ca.crt` would not trust the CA.
fn untrusting(data: &Data, current: &Certificate) -> Option<String> {
    let Some(trust) = get(data, TRUST) else {
        return Some(format!("its key {TRUST} is empty"));
    };
    match Bundle::parse(trust) {
        Ok(trust) if trust.contains(current) => None,
        Ok(_) => Some(format!("its key {TRUST} lacks the certificate in {CERTIFICATE}")),
        Err(error) => Some(format!("its key {TRUST} cannot be used: {:#}", anyhow::Error::new(error))),
    }
}
