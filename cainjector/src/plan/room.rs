//! Room in bundles that are full for what the source has now.

use std::collections::HashSet;

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::pem::Limit;
use jiff::Timestamp;

use super::BUNDLES_BYTES_MAX;
use super::field::Field;

/// Takes certificates out of bundles that are too large, and no more than are needed; never one of the source. First those
/// go that are called as one of the source is, for they are what the same CA was before, then any others; of each, those
/// that became valid first. A server may use one of such a CA still: but without the new CA, all servers of the source would
/// be cut off before long.
///
/// What goes depends on the bundles and the source alone, and not on what is remembered of them: so a restart, or another
/// replica, comes to the same. How many were taken out.
pub(super) fn make(fields: &mut [Field], source: &Bundle) -> usize {
    let mut bundles: Vec<Size> = fields.iter().map(|field| Size::of(&field.bundle)).collect();
    let mut bytes: usize = bundles.iter().map(|size| size.bytes).sum();
    if bytes <= BUNDLES_BYTES_MAX && bundles.iter().all(Size::fits) {
        return 0;
    }
    let all = (0..).zip(fields.iter());
    let mut others = others(all.map(|(place, field)| (place, &field.bundle)), source);
    others.sort_by_key(|other| (!other.is_named_alike, other.not_before));
    let mut count = 0;
    for Other { place, certificate, .. } in others {
        let Some(size) = bundles.get_mut(place) else { continue };
        if bytes > BUNDLES_BYTES_MAX || !size.fits() {
            bytes = bytes.saturating_sub(size.take(certificate));
            count += 1;
        }
    }
    for (field, size) in fields.iter_mut().zip(&bundles).filter(|(_, size)| !size.taken.is_empty()) {
        let kept = std::mem::take(&mut field.bundle).into_certificates();
        let (gone, kept) = kept.into_iter().partition(|certificate| size.taken.contains(certificate));
        field.bundle = Bundle::of(kept);
        field.crowded_out(gone);
    }
    count
}

/// A certificate of a bundle that is not one of the source.
struct Other {
    /// Which bundle.
    place: usize,
    certificate: Certificate,
    /// Whether the source has one of the same subject.
    is_named_alike: bool,
    not_before: Timestamp,
}

fn others<'a>(bundles: impl Iterator<Item = (usize, &'a Bundle)>, source: &Bundle) -> Vec<Other> {
    let known: HashSet<&Certificate> = source.certificates().iter().collect();
    let names: HashSet<String> = known.iter().map(|certificate| certificate.subject()).collect();
    let all = bundles.flat_map(|(place, bundle)| bundle.certificates().iter().map(move |one| (place, one)));
    let others = all.filter(|(_, certificate)| !known.contains(certificate));
    let others = others.map(|(place, certificate)| Other {
        place,
        is_named_alike: names.contains(&certificate.subject()),
        not_before: certificate.not_before(),
        certificate: certificate.clone(),
    });
    others.collect()
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
