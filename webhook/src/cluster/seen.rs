//! What is read of the objects that are watched: of each no more than is kept, so that a large one costs no more than
//! its text.

use std::fmt::Debug;

use rules::{AcmeFacts, IssuerFacts};
use runtime::trimmed::Keep;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess};

/// The spec of an object, or what is looked at of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Spec<S>(pub(super) S);

impl<S> Keep for Spec<S>
where
    S: DeserializeOwned + Default + Clone + Debug + Send + Sync + 'static,
{
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name == "spec" {
            self.0 = map.next_value()?;
            return Ok(());
        }
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// What is looked at of a Certificate's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateFacts {
    secret_name: Option<String>,
}

impl From<CertificateFacts> for String {
    fn from(facts: CertificateFacts) -> Self {
        facts.secret_name.unwrap_or_default()
    }
}

/// What is looked at of an issuer's spec.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Issuer {
    acme: Option<Acme>,
    ca: Option<Ca>,
}

#[derive(Debug, Clone, Deserialize)]
struct Acme {
    server: Option<String>,
    solvers: Option<Vec<Solver>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Solver {
    dns01: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ca {
    secret_name: Option<String>,
}

impl From<Issuer> for IssuerFacts {
    fn from(issuer: Issuer) -> Self {
        let acme = issuer.acme.map(|acme| {
            let has_dns01 = acme.solvers.iter().flatten().any(|solver| solver.dns01.is_some());
            AcmeFacts::of(acme.server.as_deref().unwrap_or_default(), has_dns01)
        });
        Self { acme, ca_secret: issuer.ca.map(|ca| ca.secret_name.unwrap_or_default().into()) }
    }
}

#[cfg(test)]
mod tests {
    use runtime::trimmed::Trimmed;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_what_is_looked_at_is_read() {
        let object = json!({"metadata": {"name": "ca", "resourceVersion": "7", "uid": "u",
            "managedFields": [{"manager": "m"}]}, "spec": {"vault": {"server": "https://vault"}}, "status": 1});
        let seen: Trimmed<Spec<Issuer>> = serde_json::from_value(object).unwrap();
        assert_eq!(seen.metadata.resource_version.as_deref(), Some("7"), "watches go on from it");
        assert!(seen.metadata.managed_fields.is_none() && seen.owners.is_empty());
        assert_eq!(IssuerFacts::from(seen.content.0), IssuerFacts::default());
    }

    #[test]
    fn what_is_missing_is_no_reason_to_know_nothing_of_the_others() {
        for object in [json!({"metadata": {}}), json!({"metadata": {}, "spec": {"secretName": null}})] {
            let seen: Trimmed<Spec<CertificateFacts>> = serde_json::from_value(object).unwrap();
            assert_eq!(String::from(seen.content.0), "");
        }
        for spec in [json!({}), json!({"acme": null, "ca": null})] {
            let object = json!({"metadata": {}, "spec": spec});
            let seen: Trimmed<Spec<Issuer>> = serde_json::from_value(object).unwrap();
            assert_eq!(IssuerFacts::from(seen.content.0), IssuerFacts::default());
        }
    }

    #[test]
    fn the_facts_are_those_of_the_whole_spec() {
        for spec in [
            json!({"ca": {"secretName": "key-pair"}}),
            json!({"acme": {}}),
            json!({"acme": {"server": "https://acme-v02.api.letsencrypt.org/directory",
                            "solvers": [{"http01": {"ingress": {}}}]}}),
            json!({"acme": {"server": "https://acme.internal/", "solvers": [{"dns01": {"route53": {}}}]}}),
        ] {
            let read = |spec: &Value| serde_json::from_value::<Issuer>(spec.clone()).unwrap();
            let whole: api::IssuerSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(IssuerFacts::from(read(&spec)), IssuerFacts::of(&whole), "{spec}");
        }
    }
}
