//! Room in bundles that are full for what the source has now.

use std::collections::HashSet;

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::pem::Limit;
use jiff::Timestamp;

use super::BUNDLES_BYTES_MAX;
use super::field::Field;
use super::withdrawn::Withdrawn;

/// Takes certificates out of bundles that are too large: of those that were once in the source and have left it, whichever left
/// first, and no more than are needed. A server may use one of such a CA still; but without the new CA, all servers would be
/// cut off before long. What somebody else has put there stays, even if then there is no room. How many were taken out.
pub(super) fn make(fields: &mut [Field], withdrawn: &Withdrawn<'_>) -> usize {
    let mut bundles: Vec<Size> = fields.iter().map(|field| Size::of(&field.bundle)).collect();
    let mut bytes: usize = bundles.iter().map(|size| size.bytes).sum();
    if bytes <= BUNDLES_BYTES_MAX && bundles.iter().all(Size::fits) {
        return 0;
    }
    let all = (0..).zip(fields.iter());
    let left = all.flat_map(|(place, field)| {
        let certificates = field.bundle.certificates().iter();
        certificates.filter_map(move |one| Some((withdrawn.left(one)?, place, one.clone())))
    });
    let mut left: Vec<(Timestamp, usize, Certificate)> = left.collect();
    left.sort_by_key(|(at, ..)| *at);
    let mut count = 0;
    for (_, place, certificate) in left {
        let Some(size) = bundles.get_mut(place) else { continue };
        if bytes > BUNDLES_BYTES_MAX || !size.fits() {
            bytes = bytes.saturating_sub(size.take(certificate));
            count += 1;
        }
    }
    for (field, size) in fields.iter_mut().zip(&bundles).filter(|(_, size)| !size.taken.is_empty()) {
        let mut kept = std::mem::take(&mut field.bundle).into_certificates();
        kept.retain(|certificate| !size.taken.contains(certificate));
        field.bundle = Bundle::of(kept);
    }
    count
}

/// How large a bundle is without what is taken out of it.
struct Size {
    bytes: usize,
    certificates: usize,
    taken: HashSet<Certificate>,
}

impl Size {
    fn of(bundle: &Bundle) -> Self {
        Self { bytes: bundle.pem_len(), certificates: bundle.certificates().len(), taken: HashSet::new() }
    }

    /// Whether it can be read at the next look.
    fn fits(&self) -> bool {
        self.bytes <= Limit::BUNDLE.bytes && self.certificates <= Limit::BUNDLE.blocks
    }

    /// Takes a certificate of the bundle out: how many bytes that frees.
    fn take(&mut self, certificate: Certificate) -> usize {
        let bytes = Bundle::of(vec![certificate.clone()]).pem_len();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.certificates = self.certificates.saturating_sub(1);
        self.taken.insert(certificate);
        bytes
    }
}
