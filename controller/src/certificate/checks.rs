//! Whether a Secret holds what its Certificate asks for: one chain of checks, of which the first that is hit decides. It
//! begins issuances, and it is what Ready says.

use api::keys::annotation;
use issuance::comparison::{self, Wanted};
use issuance::key::PublicKey;
use issuance::request::Request;
use jiff::Timestamp;

use crate::certificate::secret::{Pair, SecretView};
use crate::certificate::snapshot::{Snapshot, Target};
use crate::certificate::spec::{self, SpecError};
use crate::request::view::RequestView;

/// Why a Secret does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// One word for machines, as the peer says it.
    pub reason: &'static str,
    /// For people. It does not change while nothing changes, so it never holds the present time.
    pub message: String,
}

/// What the last check of the chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Whether it is time to renew, at this instant; `None` for never.
    Renewal(Option<Timestamp>),
    /// Whether it has expired.
    Expiry,
}

/// What the checks look at beside the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the spec asks for.
    pub wanted: &'a Result<Wanted, SpecError>,
    /// The request of the revision that is kept in the Secret.
    pub current: Option<&'a RequestView>,
    /// The moment of the look.
    pub now: Timestamp,
}

/// The first check that is hit; `None` when the Secret is as it should be. [`Target::Unknown`] counts as absent; nothing is
/// decided on it.
pub fn first(snapshot: &Snapshot<'_>, facts: Facts<'_>, last: Last) -> Option<Finding> {
    let name = &snapshot.certificate.spec.secret_name;
    let Target::There(secret) = snapshot.secret else {
        return Some(found("DoesNotExist", format!("Secret {name:?} does not exist")));
    };
    let leaf = match &secret.pair {
        Pair::Good(leaf) => leaf,
        unusable => return Some(unusable_pair(name, unusable)),
    };
    if secret.is_temporary {
        let message = format!("Secret {name:?} holds a temporary certificate");
        return Some(found("TemporaryCertificate", message));
    }
    let key = leaf.public_key();
    issuer(snapshot, secret)
        .or_else(|| certificate_name(snapshot, secret))
        .or_else(|| key_kind(snapshot, key))
        .or_else(|| request(name, facts, key))
        .or_else(|| match (facts.current, facts.wanted) {
            (None, Ok(wanted)) => {
                let paths = comparison::certificate_violations(&wanted.request, leaf);
                differs("SecretMismatch", &format!("the certificate in Secret {name:?}"), &paths)
            }
            _ => None,
        })
        .or_else(|| match last {
            Last::Renewal(Some(at)) if facts.now >= at => {
                Some(found("Renewing", format!("the renewal was due at {at}")))
            }
            Last::Expiry if facts.now > leaf.not_after() => {
                Some(found("Expired", format!("the certificate expired at {}", leaf.not_after())))
            }
            Last::Renewal(_) | Last::Expiry => None,
        })
}

/// Whether the pair cannot be served at all: the checks before the one for temporary certificates.
pub fn is_unusable(target: Target<'_>) -> bool {
    match target {
        Target::There(secret) => secret.leaf().is_none(),
        Target::Absent => true,
        Target::Unknown => false,
    }
}

/// Whether a request asks for what the spec wants. One that cannot be read does not.
pub fn fulfils(request: &RequestView, wanted: &Wanted) -> bool {
    let Ok(read) = Request::from_pem(&request.spec.csr) else { return false };
    let Ok(asked) = request.spec.asked() else { return false };
    comparison::violations(wanted, &read, &asked).is_ok_and(|paths| paths.is_empty())
}

/// The key of a request, if that can be read.
pub fn key_of(request: &RequestView) -> Option<PublicKey> {
    Request::from_pem(&request.spec.csr).ok().map(|read| read.public_key().clone())
}

fn found(reason: &'static str, message: String) -> Finding {
    Finding { reason, message }
}

fn differs(reason: &'static str, what: &str, paths: &[&str]) -> Option<Finding> {
    let message = || format!("{what} differs from the spec in {}", paths.join(", "));
    (!paths.is_empty()).then(|| found(reason, message()))
}

fn unusable_pair(name: &str, pair: &Pair) -> Finding {
    match pair {
        Pair::NoData => found("MissingData", format!("Secret {name:?} holds no data")),
        Pair::Missing(entry) => found("MissingData", format!("Secret {name:?} has no {entry}")),
        Pair::BadKey(why) => {
            found("InvalidKeyPair", format!("tls.key of Secret {name:?} cannot be used: {why}"))
        }
        Pair::BadCertificate(why) => {
            found("InvalidCertificate", format!("tls.crt of Secret {name:?} cannot be used: {why}"))
        }
        Pair::Mismatch | Pair::Good(_) => found(
            "InvalidKeyPair",
            format!("the certificate in Secret {name:?} is for another key than tls.key"),
        ),
    }
}

fn issuer(snapshot: &Snapshot<'_>, secret: &SecretView) -> Option<Finding> {
    let get = |key| secret.annotation(key);
    let (name, kind, group) =
        (get(annotation::ISSUER_NAME), get(annotation::ISSUER_KIND), get(annotation::ISSUER_GROUP));
    if name.is_none() && kind.is_none() && group.is_none() {
        return None;
    }
    let wanted = &snapshot.certificate.spec.issuer_ref;
    let kind = kind.unwrap_or(api::IssuerRef::DEFAULT_KIND);
    let group = group.unwrap_or(api::GROUP);
    let name = name.unwrap_or_default();
    let is_same =
        (name, kind, group) == (wanted.name.as_str(), wanted.kind_or_default(), wanted.group_or_default());
    let message = || {
        let secret = &snapshot.certificate.spec.secret_name;
        format!("the certificate in Secret {secret:?} was issued by {kind}.{group}/{name}")
    };
    (!is_same).then(|| found("IncorrectIssuer", message()))
}

fn certificate_name(snapshot: &Snapshot<'_>, secret: &SecretView) -> Option<Finding> {
    let named = secret.annotation(annotation::CERTIFICATE_NAME)?;
    let message = || {
        let secret = &snapshot.certificate.spec.secret_name;
        format!("Secret {secret:?} was written for Certificate {named:?}")
    };
    (named != snapshot.certificate.name.name).then(|| found("IncorrectCertificate", message()))
}

fn key_kind(snapshot: &Snapshot<'_>, key: &PublicKey) -> Option<Finding> {
    let paths = spec::key(&snapshot.certificate.spec).violations(key).unwrap_or_default();
    differs("SecretMismatch", "the private key", &paths)
}

fn request(name: &str, facts: Facts<'_>, key: &PublicKey) -> Option<Finding> {
    let current = facts.current?;
    let Ok(read) = Request::from_pem(&current.spec.csr) else {
        let message = format!("CertificateRequest {:?} cannot be read any more", current.name.name);
        return Some(found("InvalidCertificateRequest", message));
    };
    if read.public_key() != key {
        let of = &current.name.name;
        let message =
            format!("Secret {name:?} holds another key than CertificateRequest {of:?} was made with");
        return Some(found("SecretMismatch", message));
    }
    let wanted = facts.wanted.as_ref().ok()?;
    let asked = current.spec.asked().ok()?;
    let paths = comparison::violations(wanted, &read, &asked).unwrap_or_default();
    differs("RequestChanged", &format!("CertificateRequest {:?}", current.name.name), &paths)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::certificate::fixture::Case;
    use crate::certificate::secret::Key;
    use crate::testing::{self, now};

    fn check(case: &Case, expected: Option<(&str, &str)>) {
        check_last(case, Last::Expiry, now(), expected);
    }

    fn check_last(case: &Case, last: Last, now: Timestamp, expected: Option<(&str, &str)>) {
        let snapshot = case.snapshot();
        let wanted = spec::wanted(&case.certificate.spec, case.policy.gates);
        let current = case.requests.iter().find(|request| request.revision == Some(1));
        let found = first(&snapshot, Facts { wanted: &wanted, current, now }, last);
        assert_eq!(found.as_ref().map(|found| (found.reason, found.message.as_str())), expected);
    }

    fn with_pair(pair: Pair) -> Case {
        let mut case = Case::ready();
        case.secret.as_mut().unwrap().pair = pair;
        case
    }

    #[test]
    fn row_1_no_secret() {
        let case = Case { secret: None, ..Case::ready() };
        check(&case, Some(("DoesNotExist", "Secret \"web-tls\" does not exist")));
    }

    #[test]
    fn row_2_no_data() {
        check(&with_pair(Pair::NoData), Some(("MissingData", "Secret \"web-tls\" holds no data")));
        check(
            &with_pair(Pair::Missing("tls.key")),
            Some(("MissingData", "Secret \"web-tls\" has no tls.key")),
        );
    }

    #[test]
    fn row_3_no_pair() {
        let bad = || "why".to_owned();
        let message = "tls.key of Secret \"web-tls\" cannot be used: why";
        check(&with_pair(Pair::BadKey(bad())), Some(("InvalidKeyPair", message)));
        let message = "tls.crt of Secret \"web-tls\" cannot be used: why";
        check(&with_pair(Pair::BadCertificate(bad())), Some(("InvalidCertificate", message)));
        let message = "the certificate in Secret \"web-tls\" is for another key than tls.key";
        check(&with_pair(Pair::Mismatch), Some(("InvalidKeyPair", message)));
    }

    #[test]
    fn row_3a_a_temporary_certificate() {
        let mut case = Case::ready();
        case.secret.as_mut().unwrap().is_temporary = true;
        check(&case, Some(("TemporaryCertificate", "Secret \"web-tls\" holds a temporary certificate")));
    }

    fn with_annotations(annotations: &[(&str, &str)]) -> Case {
        let mut case = Case::ready();
        let kept = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        case.secret.as_mut().unwrap().annotations = kept.collect();
        case
    }

    #[test]
    fn row_4_another_issuer() {
        let said = |kind_group_name: &str| {
            format!("the certificate in Secret \"web-tls\" was issued by {kind_group_name}")
        };
        let refused = |annotations: &[(&str, &str)], by: &str| {
            check(&with_annotations(annotations), Some(("IncorrectIssuer", &said(by))));
        };
        refused(&[(annotation::ISSUER_NAME, "b")], "Issuer.cert-manager.io/b");
        let name = (annotation::ISSUER_NAME, "ca");
        refused(&[name, (annotation::ISSUER_KIND, "ClusterIssuer")], "ClusterIssuer.cert-manager.io/ca");
        refused(&[name, (annotation::ISSUER_GROUP, "example.org")], "Issuer.example.org/ca");
        refused(&[(annotation::ISSUER_KIND, "Issuer")], "Issuer.cert-manager.io/");
        check(&with_annotations(&[]), None);
        check(
            &with_annotations(&[name, (annotation::ISSUER_KIND, ""), (annotation::ISSUER_GROUP, "")]),
            None,
        );
        check(&with_annotations(&[(annotation::ISSUER_NAME, "")]), None);
    }

    #[test]
    fn row_5_another_certificate() {
        let case = with_annotations(&[(annotation::CERTIFICATE_NAME, "mail")]);
        check(
            &case,
            Some(("IncorrectCertificate", "Secret \"web-tls\" was written for Certificate \"mail\"")),
        );
        check(&with_annotations(&[(annotation::CERTIFICATE_NAME, "")]), None);
    }

    #[test]
    fn row_6_another_kind_of_key() {
        let mut case = Case::ready();
        case.edit(|spec| spec["privateKey"] = json!({"algorithm": "ECDSA", "size": 384}));
        let message = "the private key differs from the spec in spec.privateKey.size";
        check(&case, Some(("SecretMismatch", message)));
        case.edit(|spec| spec["privateKey"] = json!({"algorithm": "RSA"}));
        let message = "the private key differs from the spec in spec.privateKey.algorithm";
        check(&case, Some(("SecretMismatch", message)));
    }

    #[test]
    fn row_7_another_key_than_the_requests() {
        let mut case = Case::ready();
        case.requests = vec![case.request(1, &testing::key())];
        let message = "Secret \"web-tls\" holds another key than CertificateRequest \"web-1\" was made with";
        check(&case, Some(("SecretMismatch", message)));
        std::sync::Arc::make_mut(&mut case.requests[0].spec).csr = b"x".to_vec();
        let message = "CertificateRequest \"web-1\" cannot be read any more";
        check(&case, Some(("InvalidCertificateRequest", message)));
    }

    #[test]
    fn row_8_another_spec() {
        let mut case = Case::ready();
        case.edit(|spec| spec["dnsNames"] = json!(["b.test"]));
        let message = "CertificateRequest \"web-1\" differs from the spec in spec.dnsNames";
        check(&case, Some(("RequestChanged", message)));
        case.requests.clear();
        let message = "the certificate in Secret \"web-tls\" differs from the spec in spec.dnsNames";
        check(&case, Some(("SecretMismatch", message)));
        // What cannot be compared is not said to differ.
        case.edit(|spec| spec["ipAddresses"] = json!(["x"]));
        check(&case, None);
    }

    #[test]
    fn row_9_time() {
        let case = Case::ready();
        let at = testing::at(5);
        check_last(&case, Last::Renewal(Some(at)), testing::at(4), None);
        check_last(&case, Last::Renewal(None), Timestamp::MAX, None);
        let message = "the renewal was due at 1970-01-01T00:00:05Z";
        check_last(&case, Last::Renewal(Some(at)), at, Some(("Renewing", message)));
        let end = case.secret.as_ref().unwrap().leaf().unwrap().not_after();
        check_last(&case, Last::Expiry, end, None);
        let message = format!("the certificate expired at {end}");
        let late = end + jiff::SignedDuration::from_secs(1);
        check_last(&case, Last::Expiry, late, Some(("Expired", &message)));
    }

    #[test]
    fn a_secret_that_is_as_it_should_be_is_not_found_fault_with() {
        let case = Case::ready();
        check(&case, None);
        assert!(matches!(case.secret.unwrap().key, Key::Good(_)));
    }
}
