//! Rules of issuers that ask Venafi.

use api::IssuerSpec;
use api::venafi::{VenafiIssuer, VenafiNgts, VenafiTpp};

use super::{spec, trust, venafi};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::Check;

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    spec("I82", "spec.venafi.zone", "The zone of Venafi is named", |case, findings| {
        if venafi(case).is_some_and(|venafi| venafi.zone.is_empty()) {
            findings
                .here(Fault::Required)
                .advice("name the zone: a policy folder, or application and template");
        }
    }),
    spec("I83", "spec.venafi", "A service of Venafi is chosen", |case, findings| {
        if venafi(case).is_some_and(|venafi| services(venafi) == 0) {
            findings.here(Fault::Required).advice("set one of tpp, cloud, ngts");
        }
    }),
    spec("I84", "spec.venafi", "One service of Venafi is chosen only", |case, findings| {
        if venafi(case).is_some_and(|venafi| services(venafi) > 1) {
            findings
                .here(Fault::Forbidden)
                .detail("more than one of tpp, cloud and ngts is set")
                .advice("keep one, or make an issuer of each");
        }
    }),
    spec("I85", "spec.venafi.tpp.url", "The server of Venafi is named", |case, findings| {
        if tpp(case).is_some_and(|tpp| tpp.url.is_empty()) {
            findings
                .here(Fault::Required)
                .advice("write the server's URL, such as \"https://tpp.example.com/vedsdk\"");
        }
    }),
    spec(
        "I86",
        "spec.venafi.tpp",
        "The CA certificates of a Venafi issuer stand in it or in a Secret, not both",
        |case, findings| {
            let both = |tpp: &VenafiTpp| {
                let text = tpp.ca_bundle.as_ref().map(|text| text.0.as_slice());
                trust::given(text).is_some() && tpp.ca_bundle_secret_ref.is_some()
            };
            if tpp(case).is_some_and(both) {
                findings
                    .here(Fault::Forbidden)
                    .detail("caBundle and caBundleSecretRef exclude each other")
                    .advice("remove one");
            }
        },
    ),
    spec("I87", "spec.venafi.ngts.tsgID", "The service group of a tenant is given", |case, findings| {
        if ngts(case).is_some_and(|ngts| ngts.tsg_id.is_empty()) {
            findings.here(Fault::Required).advice("write the id of the tenant's service group");
        }
    }),
    spec(
        "I88",
        "spec.venafi.ngts.credentialsRef.name",
        "The Secret with the credentials of a tenant is named",
        |case, findings| {
            if ngts(case).is_some_and(|ngts| ngts.credentials_ref.name.is_empty()) {
                findings.here(Fault::Required).advice("name the Secret with client id and client secret");
            }
        },
    ),
];

fn services(venafi: &VenafiIssuer) -> usize {
    [venafi.tpp.is_some(), venafi.cloud.is_some(), venafi.ngts.is_some()]
        .into_iter()
        .filter(|set| *set)
        .count()
}

fn tpp<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a VenafiTpp> {
    venafi(case)?.tpp.as_ref()
}

fn ngts<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a VenafiNgts> {
    venafi(case)?.ngts.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::check;

    fn tpp(changes: &Value) -> Value {
        let good = json!({"url": "https://tpp.test/vedsdk", "credentialsRef": {"name": "venafi"}});
        json!({"venafi": {"zone": "z", "tpp": crate::issuer::testing::merged(&good, changes)}})
    }

    #[test]
    fn what_is_missing_is_told() {
        check(
            &json!({"venafi": {}}),
            &[
                "I82 spec.venafi.zone: Required value: name the zone: a policy folder, or application and template",
                "I83 spec.venafi: Required value: set one of tpp, cloud, ngts",
            ],
            &[],
        );
        check(
            &json!({"venafi": {"zone": "z", "ngts": {}}}),
            &[
                "I87 spec.venafi.ngts.tsgID: Required value: write the id of the tenant's service group",
                "I88 spec.venafi.ngts.credentialsRef.name: Required value: name the Secret with client id and client secret",
            ],
            &[],
        );
        check(
            &tpp(&json!({"url": ""})),
            &[
                "I85 spec.venafi.tpp.url: Required value: write the server's URL, such as \"https://tpp.example.com/vedsdk\"",
            ],
            &[],
        );
    }

    #[test]
    fn several_services_are_looked_into_and_refused() {
        let cloud = json!({"apiTokenSecretRef": {"name": "venafi", "key": "token"}});
        check(
            &json!({"venafi": {"zone": "z", "cloud": cloud, "ngts": {"credentialsRef": {"name": "venafi"}}}}),
            &[
                "I84 spec.venafi: Forbidden: more than one of tpp, cloud and ngts is set; keep one, or make an issuer of each",
                "I87 spec.venafi.ngts.tsgID: Required value: write the id of the tenant's service group",
            ],
            &[],
        );
    }

    #[test]
    fn two_sources_of_ca_certificates_are_refused() {
        let reference = json!({"name": "ca", "key": "ca.crt"});
        check(
            &tpp(&json!({"caBundle": "bm90aGluZw==", "caBundleSecretRef": reference})),
            &[
                "I86 spec.venafi.tpp: Forbidden: caBundle and caBundleSecretRef exclude each other; remove one",
                "B17 spec.venafi.tpp.caBundle: Invalid value: no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----",
            ],
            &[],
        );
        check(&tpp(&json!({"caBundle": "", "caBundleSecretRef": reference})), &[], &[]);
    }

    #[test]
    fn each_service_is_accepted() {
        check(&tpp(&json!({})), &[], &[]);
        check(
            &json!({"venafi": {"zone": "z", "cloud": {"apiTokenSecretRef": {"name": "venafi", "key": "token"}}}}),
            &[],
            &[],
        );
        check(
            &json!({"venafi": {"zone": "z", "ngts": {"tsgID": "1", "credentialsRef": {"name": "venafi"}}}}),
            &[],
            &[],
        );
    }
}
