//! What should be looked at in a source that is taken all the same.

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use jiff::{SignedDuration, Timestamp};

use super::{Advice, Reason};

/// How long before its end a CA expires soon, at most: time to look after it.
const SOON_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Of a CA that does not live long, it is this part of its life.
const SOON_PART: i32 = 10;

/// What is to be said of the certificates of a source, and when there will be more to say.
pub(super) fn about(source: &Bundle, whose: &str, now: Timestamp) -> (Vec<Advice>, Option<Timestamp>) {
    let mut advice = Vec::new();
    let mut again = None;
    if let Some(last) = source.certificates().iter().max_by_key(|certificate| certificate.not_after()) {
        let (soon, end) = (expires_soon(last), last.not_after());
        if soon > now {
            again = Some(soon);
        } else {
            let message = format!("the last CA certificate of {whose} expires at {end}: renew it before");
            advice.push(Advice { reason: Reason::CAExpiringSoon, message });
        }
    }
    // A name is enough to tell a self-signed certificate: what is refused anywhere is not decided by this.
    let useless = |certificate: &&Certificate| !certificate.is_ca() && !certificate.is_self_issued();
    if let Some(certificate) = source.certificates().iter().find(useless) {
        let message = format!(
            "certificate {:?} of {whose} is neither a CA nor self-signed: it makes no server trusted but the one that \
             has it; the CA by which it was issued, {:?}, is probably meant",
            certificate.subject(),
            certificate.issuer()
        );
        advice.push(Advice { reason: Reason::NotACA, message });
    }
    (advice, again)
}

/// From when on a certificate expires soon.
fn expires_soon(certificate: &Certificate) -> Timestamp {
    let life = certificate.not_after().duration_since(certificate.not_before());
    let time = (life / SOON_PART).min(SOON_MAX);
    certificate.not_after().saturating_sub(time).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{now, root};

    fn check(hours: &[i64], expected: &[&str], again: Option<i64>) {
        let roots: Vec<_> = hours.iter().map(|hours| root("ca", *hours)).collect();
        let (advice, at) = about(&Bundle::of(roots), "Secret team-a/ca", now());
        let told: Vec<_> =
            advice.iter().map(|advice| format!("{}: {}", advice.reason, advice.message)).collect();
        assert_eq!(told, expected, "{hours:?}");
        // A certificate begins to live some minutes before it is made.
        let at = at.map(|at| (at.duration_since(now()) + SignedDuration::from_mins(30)).as_hours());
        assert_eq!(at, again, "{hours:?}");
    }

    #[test]
    fn a_ca_whose_end_is_near_is_told_a_tenth_of_its_life_before() {
        // Each lives for 1000 hours.
        let text = |end: &str| {
            format!(
                "CAExpiringSoon: the last CA certificate of Secret team-a/ca expires at {end}: renew it before"
            )
        };
        check(&[100], &[&text("2027-01-19T12:00:00Z")], None);
        check(&[-5, 1], &[&text("2027-01-15T09:00:00Z")], None);
        check(&[101], &[], Some(1));
        check(&[1, 900], &[], Some(800));
        check(&[], &[], None);
    }

    #[test]
    fn of_a_long_life_it_is_a_week() {
        let long = crate::testing::root_for("ca", 200, 100_000);
        assert_eq!(expires_soon(&long), now() + SignedDuration::from_hours(200 - 7 * 24));
    }

    #[test]
    fn a_server_certificate_in_place_of_its_ca_is_told() {
        let leaf = crate::testing::leaf("Issuing CA", "server");
        let (advice, _) = about(&Bundle::of(vec![root("ca", 900), leaf]), "Secret team-a/ca", now());
        let [advice] = advice.as_slice() else { panic!("{advice:?}") };
        assert_eq!(advice.reason, Reason::NotACA);
        assert!(advice.message.contains("\"CN=Issuing CA\", is probably meant"), "{}", advice.message);
    }
}
