//! Trust bundles: the certificates that a client is told to trust.

use std::collections::HashSet;

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
    pub fn of(mut certificates: Vec<Certificate>) -> Self {
        let mut seen = HashSet::with_capacity(certificates.len());
        // A clone shares its bytes with the original.
        certificates.retain(|certificate| seen.insert(certificate.clone()));
        Self { certificates }
    }

    /// What `existing` becomes when `source` is to be trusted too: the existing certificates in their order, then the
    /// new ones, without those that have expired. A certificate that is not valid yet stays: trusting early is how a
    /// rotation has no gap.
    pub fn merge(existing: &Self, source: &Self, now: Timestamp) -> Self {
        Self::of(unexpired([existing, source], now).cloned().collect())
    }

    /// The certificates of all these bundles, in their order and each once, without those that have expired: what a
    /// client has to trust while one CA takes over from another.
    ///
    /// # Errors
    /// When there are more than fit into a bundle ([`Limit::BUNDLE`]), so that nothing is published which cannot be
    /// read back.
    pub fn merge_all<'a>(
        bundles: impl IntoIterator<Item = &'a Self>,
        now: Timestamp,
    ) -> Result<Self, PemError> {
        let Limit { bytes: limit, blocks } = Limit::BUNDLE;
        let merged = Self::of(unexpired(bundles, now).cloned().collect());
        if merged.certificates.len() > blocks {
            return Err(PemError::TooMany { limit: blocks });
        }
        match merged.pem_len() {
            bytes if bytes > limit => Err(PemError::TooLong { bytes, limit }),
            _ => Ok(merged),
        }
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

    /// The certificates, taken out.
    pub fn into_certificates(self) -> Vec<Certificate> {
        self.certificates
    }

    /// Length of [`Self::to_pem`], in bytes.
    pub fn pem_len(&self) -> usize {
        self.certificates.iter().map(|certificate| pem::encoded_len(LABEL, certificate.der())).sum()
    }

    /// The PEM blocks, without anything between them.
    pub fn to_pem(&self) -> String {
        let mut text = String::with_capacity(self.pem_len());
        for certificate in &self.certificates {
            pem::encode_into(LABEL, certificate.der(), &mut text);
        }
        text
    }
}

/// The PEM label of a certificate (RFC 7468 §5).
const LABEL: &str = "CERTIFICATE";

fn unexpired<'a>(
    bundles: impl IntoIterator<Item = &'a Bundle>,
    now: Timestamp,
) -> impl Iterator<Item = &'a Certificate> {
    bundles
        .into_iter()
        .flat_map(|bundle| &bundle.certificates)
        .filter(move |certificate| now <= certificate.not_after())
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

    #[test]
    fn a_merge_that_could_not_be_read_back_is_refused() {
        let key = crate::testing::key(1);
        let names: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
        let make = |name: &String| crate::testing::Maker::ca(name, &key, None).make();
        let many: Vec<Certificate> = names.iter().map(make).collect();
        let (most, rest) = many.split_at(600);
        let bundles = [Bundle::of(most.to_vec()), Bundle::of(rest.to_vec())];
        let at = crate::testing::now();
        assert_eq!(Bundle::merge_all(&bundles, at), Err(PemError::TooMany { limit: 1_000 }));
        let fewer = Bundle::of(many.get(..1_000).unwrap_or_default().to_vec());
        let bytes = fewer.pem_len();
        assert_eq!(Bundle::merge_all([&fewer], at), Err(PemError::TooLong { bytes, limit: 330_000 }));
        let half = Bundle::of(many.get(..500).unwrap_or_default().to_vec());
        assert_eq!(Bundle::merge_all([&half, &half], at), Ok(half));
    }

    #[test]
    fn merging_copies_no_certificate() {
        let bundles = [Bundle::of(vec![root("a", 9)]), Bundle::of(vec![root("b", 9)])];
        let merged = Bundle::merge_all(&bundles, now()).unwrap();
        let addresses = |bundle: &Bundle| -> Vec<_> {
            bundle.certificates().iter().map(|certificate| certificate.der().as_ptr()).collect()
        };
        assert_eq!(addresses(&merged), bundles.iter().flat_map(addresses).collect::<Vec<_>>());
    }

    #[test]
    fn the_length_of_the_text_is_known_before_it_is_made() {
        for bundle in [Bundle::default(), Bundle::of(vec![root("a", 1), root("longer", 1)])] {
            assert_eq!(bundle.pem_len(), bundle.to_pem().len());
        }
    }

    #[test]
    fn a_text_without_certificates_is_refused() {
        assert_eq!(Bundle::parse(b""), Err(PemError::Empty));
    }
}
