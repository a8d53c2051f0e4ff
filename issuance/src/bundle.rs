//! Trust bundles: the certificates that a client is told to trust.

use jiff::Timestamp;

use crate::certificate::Certificate;
use crate::pem::{self, Limit, PemError};

/// Certificates in a fixed order without duplicates; may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    certificates: Vec<Certificate>,
}

impl Bundle {
    /// Reads PEM in which every block is a certificate, and there is at least one.
    ///
    /// # Errors
    /// When a limit is exceeded, there is no block, or a block is damaged, a private key, or no certificate.
    pub fn parse(text: &[u8]) -> Result<Self, PemError> {
        pem::certificates(text, Limit::BUNDLE).map(Self::of)
    }

    /// These certificates in this order, each once.
    pub fn of(certificates: Vec<Certificate>) -> Self {
        let mut bundle = Self::default();
        for certificate in certificates {
            bundle.add(certificate);
        }
        bundle
    }

    /// What `existing` becomes when `source` is to be trusted too: the existing certificates in their order, then the
    /// new ones, without those that have expired. A certificate that is not valid yet stays: trusting early is how a
    /// rotation has no gap.
    pub fn merge(existing: &Self, source: &Self, now: Timestamp) -> Self {
        let all = existing.certificates.iter().chain(&source.certificates);
        Self::of(all.filter(|certificate| now <= certificate.not_after()).cloned().collect())
    }

    /// Adds a certificate behind the others unless it is there already.
    pub fn add(&mut self, certificate: Certificate) {
        if !self.contains(&certificate) {
            self.certificates.push(certificate);
        }
    }

    /// Whether exactly this certificate is in the bundle.
    pub fn contains(&self, certificate: &Certificate) -> bool {
        self.certificates.contains(certificate)
    }

    /// The certificates in their order.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether it holds no certificate.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// The PEM blocks, without anything between them.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(Certificate::to_pem).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::authority::Authority;
    use crate::key::{Curve, KeyAlgorithm, PrivateKey};

    fn root(name: &str, hours: i64) -> Certificate {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let lifetime = SignedDuration::from_hours(hours);
        Authority::self_signed(name, key, lifetime, now()).unwrap().certificate().clone()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    #[test]
    fn a_bundle_with_a_private_key_is_refused() {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let mut text = root("a", 1).to_pem().into_bytes();
        text.extend_from_slice(key.to_pem(crate::key::KeyEncoding::Pkcs8).expose());
        let message = Bundle::parse(&text).unwrap_err().to_string();
        assert_eq!(message, "PEM block 2 is a private key: remove it and treat the key as disclosed");
    }

    #[test]
    fn merging_keeps_the_order_and_drops_duplicates_and_what_has_expired() {
        let (short, long, fresh) = (root("short", 1), root("long", 9), root("fresh", 9));
        let existing = Bundle::of(vec![short.clone(), long.clone(), short]);
        let source = Bundle::of(vec![fresh.clone(), long.clone()]);
        let later = now() + SignedDuration::from_hours(2);
        assert_eq!(Bundle::merge(&existing, &source, later), Bundle::of(vec![long, fresh]));
        assert_eq!(Bundle::merge(&existing, &source, now()).certificates().len(), 3);
    }

    #[test]
    fn a_bundle_survives_its_text() {
        let bundle = Bundle::of(vec![root("a", 1), root("b", 1)]);
        assert_eq!(Bundle::parse(bundle.to_pem().as_bytes()).unwrap(), bundle);
    }
}
