//! Rules of Certificate, by what they are about.

use api::{CertificateSpec, CertificateStatus};

use crate::case::Judged;
use crate::lifetime;
use crate::rule::{Check, Kind};

mod issuer;
mod names;
mod secret;
#[cfg(test)]
mod testing;

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

static TABLES: &[&[Check<CertificateSpec>]] =
    &[secret::NAME, issuer::RULES, names::RULES, secret::CONTENT, B07];

static B07: &[Check<CertificateSpec>] = &[Check::new(
    "B07",
    CERTIFICATE,
    "spec",
    crate::rule::Class::Field,
    "Durations can be read: numbers with the units h, m, s, ms, us or ns",
    |case, findings| {
        let spec = &case.object.spec;
        lifetime::is_readable("spec.duration", spec.duration.as_ref(), findings);
        lifetime::is_readable("spec.renewBefore", spec.renew_before.as_ref(), findings);
    },
)];

/// The spec with its durations in one form.
fn canonical(spec: &CertificateSpec) -> CertificateSpec {
    let mut spec = spec.clone();
    lifetime::canonicalise(&mut spec.duration);
    lifetime::canonicalise(&mut spec.renew_before);
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::check;

    #[test]
    fn a_duration_that_cannot_be_read_is_answered_with_one_that_can() {
        check(
            &json!({"duration": "90d", "renewBefore": "90d"}),
            &[
                "B07 spec.duration: Invalid value: \"90d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"2160h\"",
                "B07 spec.renewBefore: Invalid value: \"90d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"2160h\"",
            ],
        );
        check(&json!({"duration": "2160h"}), &[]);
    }

    #[test]
    fn a_usual_certificate_is_accepted() {
        check(
            &json!({
                "secretName": "web-tls",
                "issuerRef": {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"},
                "dnsNames": ["web.example.com"],
                "duration": "2160h0m0s",
                "renewBefore": "360h",
            }),
            &[],
        );
    }
}
