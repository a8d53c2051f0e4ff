//! Rules of the provider Akamai.

use api::IssuerSpec;
use api::SecretKeySelector;
use api::acme::dns01::AkamaiDns;

use super::provider::{self, Provider};
use crate::case::Case;
use crate::issuer::{selector, solver, spec};
use crate::rule::{Check, Findings};

pub(in crate::issuer) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I23",
        "spec.acme.solvers[*].dns01.akamai.accessTokenSecretRef.name",
        "The Secret with Akamai's access token is named",
        |case, findings| each(case, findings, |akamai| &akamai.access_token_secret_ref, selector::has_name),
    ),
    spec(
        "I24",
        "spec.acme.solvers[*].dns01.akamai.accessTokenSecretRef.key",
        "The key of Akamai's access token is named",
        |case, findings| each(case, findings, |akamai| &akamai.access_token_secret_ref, selector::has_key),
    ),
    spec(
        "I25",
        "spec.acme.solvers[*].dns01.akamai.clientSecretSecretRef.name",
        "The Secret with Akamai's client secret is named",
        |case, findings| each(case, findings, |akamai| &akamai.client_secret_secret_ref, selector::has_name),
    ),
    spec(
        "I26",
        "spec.acme.solvers[*].dns01.akamai.clientSecretSecretRef.key",
        "The key of Akamai's client secret is named",
        |case, findings| each(case, findings, |akamai| &akamai.client_secret_secret_ref, selector::has_key),
    ),
    spec(
        "I27",
        "spec.acme.solvers[*].dns01.akamai.clientTokenSecretRef.name",
        "The Secret with Akamai's client token is named",
        |case, findings| each(case, findings, |akamai| &akamai.client_token_secret_ref, selector::has_name),
    ),
    spec(
        "I28",
        "spec.acme.solvers[*].dns01.akamai.clientTokenSecretRef.key",
        "The key of Akamai's client token is named",
        |case, findings| each(case, findings, |akamai| &akamai.client_token_secret_ref, selector::has_key),
    ),
    spec(
        "I29",
        "spec.acme.solvers[*].dns01.akamai.serviceConsumerDomain",
        "The host of Akamai's API is given",
        |case, findings| {
            let advice = "write the host of the API, as it stands in the credentials file";
            solver::requires(all(case), |akamai| &akamai.service_consumer_domain, advice, findings);
        },
    ),
];

fn all<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a AkamaiDns)> {
    provider::of(case, Provider::Akamai, |dns01| dns01.akamai.as_deref())
}

fn each(
    case: &Case<'_, IssuerSpec>,
    findings: &mut Findings,
    get: fn(&AkamaiDns) -> &SecretKeySelector,
    judge: fn(&SecretKeySelector, &[usize], &mut Findings),
) {
    for (index, akamai) in all(case) {
        judge(get(akamai), &[index], findings);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::issuer::testing::{check, dns01};

    #[test]
    fn what_akamai_needs_is_asked_for_by_the_names_of_the_fields() {
        let name = |field: &str, id: &str| {
            format!("{id} spec.acme.solvers[0].dns01.akamai.{field}.name: Required value: name the Secret")
        };
        let key = |field: &str, id: &str| {
            format!(
                "{id} spec.acme.solvers[0].dns01.akamai.{field}.key: Required value: name the key within the Secret's data"
            )
        };
        check(
            &dns01(&json!({"akamai": {}})),
            &[
                &name("accessTokenSecretRef", "I23"),
                &key("accessTokenSecretRef", "I24"),
                &name("clientSecretSecretRef", "I25"),
                &key("clientSecretSecretRef", "I26"),
                &name("clientTokenSecretRef", "I27"),
                &key("clientTokenSecretRef", "I28"),
                "I29 spec.acme.solvers[0].dns01.akamai.serviceConsumerDomain: Required value: write the host of the API, as it stands in the credentials file",
            ],
            &[],
        );
    }
}
