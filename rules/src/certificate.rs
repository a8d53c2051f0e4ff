//! Rules of Certificate, by what they are about.

use api::{CertificateSpec, CertificateStatus};

use crate::case::Judged;
use crate::lifetime::canonicalise;
use crate::rule::{Check, Kind};

mod acme;
mod constraints;
mod issuer;
mod keystores;
mod lifetime;
mod names;
mod private_key;
mod renewal;
mod repeated;
mod secret;
mod subject;
#[cfg(test)]
mod testing;
mod uris;
mod usages;

const CERTIFICATE: &[Kind] = &[Kind::Certificate];

impl Judged for CertificateSpec {
    type Status = CertificateStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }

    fn same(&self, other: &Self) -> bool {
        self == other || canonical(self) == canonical(other)
    }
}

static TABLES: &[&[Check<CertificateSpec>]] = &[
    secret::NAME,
    issuer::RULES,
    subject::RULES,
    names::RULES,
    private_key::RULES,
    lifetime::RULES,
    usages::RULES,
    secret::CONTENT,
    constraints::RULES,
    keystores::RULES,
    renewal::RULES,
];

/// The spec with its durations in one form.
fn canonical(spec: &CertificateSpec) -> CertificateSpec {
    let mut spec = spec.clone();
    canonicalise(&mut spec.duration);
    canonicalise(&mut spec.renew_before);
    for window in spec.renewal.iter_mut().flat_map(|renewal| &mut renewal.windows) {
        let mut duration = Some(std::mem::take(&mut window.window_duration));
        canonicalise(&mut duration);
        window.window_duration = duration.unwrap_or_default();
    }
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::{check, object};
    use crate::case::{Case, Judged as _};
    use crate::judge;

    #[test]
    fn a_new_name_in_a_broken_spec_is_judged_by_what_is_new() {
        let old = object(&json!({"dnsNames": ["a b"], "renewBeforePercentage": 500}));
        let new = object(&json!({"dnsNames": ["a b", "c d"], "renewBeforePercentage": 500}));
        let verdict = judge(&Case::update(&new, &old));
        let paths = |findings: &[crate::Finding]| -> Vec<String> {
            findings.iter().map(|finding| finding.path.to_string()).collect()
        };
        assert_eq!(paths(&verdict.denials), ["spec.dnsNames[1]"]);
        assert_eq!(paths(&verdict.warnings), ["spec.dnsNames[0]", "spec.renewBeforePercentage"]);
    }

    #[test]
    fn durations_of_one_length_are_the_same() {
        let with = |duration: &str| {
            object(&json!({"duration": duration, "renewBefore": duration,
                           "renewal": {"windows": [{"cron": "@daily", "windowDuration": duration}]}}))
        };
        assert!(with("60m").spec.same(&with("1h0m0s").spec));
        assert!(!with("60m").spec.same(&with("61m").spec));
    }

    #[test]
    fn a_certificate_that_uses_everything_is_accepted() {
        check(
            &json!({
                "secretName": "web-tls",
                "issuerRef": {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"},
                "commonName": "web.example.com",
                "subject": {"organizations": ["Example"], "countries": ["DE"]},
                "dnsNames": ["web.example.com", "*.web.example.com"],
                "ipAddresses": ["192.0.2.1", "2001:db8::1"],
                "uris": ["spiffe://example.org/ns/shop/sa/web"],
                "emailAddresses": ["web@example.com"],
                "otherNames": [{"oid": "1.3.6.1.4.1.311.20.2.3", "utf8Value": "web@example.com"}],
                "duration": "2160h0m0s",
                "renewBefore": "360h",
                "renewal": {"policy": "RenewBefore",
                            "windows": [{"cron": "0 2 * * SAT", "windowDuration": "2h", "timezone": "Europe/Berlin"}]},
                "isCA": true,
                "usages": ["digital signature", "cert sign", "server auth"],
                "privateKey": {"algorithm": "ECDSA", "size": 384, "encoding": "PKCS8", "rotationPolicy": "Always"},
                "signatureAlgorithm": "ECDSAWithSHA384",
                "secretTemplate": {"labels": {"app": "web"}, "annotations": {"example.com/note": "Free text"}},
                "keystores": {"pkcs12": {"create": true, "passwordSecretRef": {"name": "p12", "key": "password"}}},
                "additionalOutputFormats": [{"type": "DER"}],
                "nameConstraints": {"critical": true, "permitted": {"dnsDomains": ["example.com"]}},
                "revisionHistoryLimit": 3,
            }),
            &[],
        );
    }
}
