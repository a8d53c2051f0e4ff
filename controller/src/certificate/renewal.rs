//! When the certificate in a Secret is to be renewed.

use issuance::certificate::Certificate;
use issuance::jitter::Jitter;
use issuance::renewal::{Life, Renewal};
use jiff::{SignedDuration, Timestamp};

use crate::certificate::spec;
use crate::certificate::view::CertificateView;

/// The most by which an issuer of ours dates a certificate back.
const BACKDATE_MAX: SignedDuration = SignedDuration::from_mins(5);

/// It is dated back by a tenth of what was asked for, so by this share of its whole life.
const BACKDATE_SHARE: i32 = 11;

/// When to renew `leaf`; `None` when the Certificate is not to be renewed by itself. The same certificate gives the same
/// instant each time.
pub fn renewal(certificate: &CertificateView, leaf: &Certificate) -> Option<Renewal> {
    let jitter = Jitter::of(&[certificate.uid.as_bytes(), leaf.serial_hex().as_bytes()]);
    spec::renewal(&certificate.spec).renewal(life(leaf.not_before(), leaf.not_after()), jitter)
}

/// The moment of issue is not in a certificate. For ours it is found by undoing the back-dating; another issuer's appears a
/// little younger than it is, which does no harm.
fn life(not_before: Timestamp, not_after: Timestamp) -> Life {
    let lifetime = not_after.duration_since(not_before).max(SignedDuration::ZERO);
    // Certificates have whole seconds.
    let share = SignedDuration::from_secs((lifetime / BACKDATE_SHARE).as_secs());
    let backdated = BACKDATE_MAX.min(share);
    let issued_at = not_before.saturating_add(backdated).unwrap_or(not_before);
    Life { issued_at, not_before, not_after }
}

#[cfg(test)]
mod tests {
    use issuance::authority::Terms;
    use serde_json::json;

    use super::*;
    use crate::certificate::metadata::Prefixes;
    use crate::testing::{self, at, now};

    #[test]
    fn the_moment_of_issue_is_found_for_long_and_short_lives() {
        for hours in [1, 24, 2160] {
            let terms = Terms { duration: SignedDuration::from_hours(hours), ..Terms::default() };
            let request = testing::request("a.test", &testing::key());
            let issued = testing::ca("ca").sign(&request, &terms, now()).unwrap();
            let leaf = issued.chain.leaf();
            let life = life(leaf.not_before(), leaf.not_after());
            assert!(
                life.issued_at.duration_since(now()).abs() <= SignedDuration::from_secs(1),
                "{hours} h: {life:?}"
            );
        }
        // Twelve seconds asked for, dated back by one.
        assert_eq!(life(at(99), at(112)).issued_at, at(100));
        assert_eq!(life(at(5), at(1)).issued_at, at(5));
    }

    #[test]
    fn the_same_certificate_is_renewed_at_the_same_instant_unless_it_is_not_at_all() {
        let request = testing::request("a.test", &testing::key());
        let issued = testing::issued(&request);
        let view = |spec: serde_json::Value| {
            let certificate = json!({"metadata": {"uid": "u"}, "spec": spec});
            CertificateView::of(serde_json::from_value(certificate).unwrap(), &Prefixes::default())
        };
        let usual = renewal(&view(json!({})), issued.chain.leaf()).unwrap();
        assert_eq!(renewal(&view(json!({})), issued.chain.leaf()), Some(usual));
        let two_thirds = now() + SignedDuration::from_hours(1440);
        let early = two_thirds.duration_since(usual.at);
        assert!(SignedDuration::ZERO <= early && early <= SignedDuration::from_hours(37), "{early:?}");
        assert_eq!(renewal(&view(json!({"renewal": {"policy": "Disabled"}})), issued.chain.leaf()), None);
    }
}
