//! What is read of the objects that are watched: of each no more than is kept, so that a large one costs no more than
//! its text.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use rules::{AcmeFacts, IssuerFacts};
use runtime::watch::ObjectName;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// An object without what nobody here looks at.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound(deserialize = "S: Default + Deserialize<'de>"))]
pub(super) struct Seen<S> {
    #[serde(deserialize_with = "names")]
    metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: S,
}

impl<S> Seen<S> {
    pub(super) fn name(&self) -> ObjectName {
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        ObjectName { namespace: namespace.clone(), name: name.clone().unwrap_or_default() }
    }
}

/// Reads only what names an object and its version; managed fields and annotations are not even built.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Names {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
    }
    let Names { name, namespace, resource_version } = Names::deserialize(deserializer)?;
    Ok(ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() })
}

impl<S> Resource for Seen<S> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
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
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_what_is_looked_at_is_read() {
        let object = json!({"metadata": {"name": "ca", "resourceVersion": "7", "uid": "u",
            "managedFields": [{"manager": "m"}]}, "spec": {"vault": {"server": "https://vault"}}});
        let seen: Seen<Issuer> = serde_json::from_value(object).unwrap();
        assert_eq!(seen.meta().resource_version.as_deref(), Some("7"), "watches go on from it");
        assert!(seen.meta().managed_fields.is_none() && seen.meta().uid.is_none());
        assert_eq!(IssuerFacts::from(seen.spec), IssuerFacts::default());
    }

    #[test]
    fn what_is_missing_is_no_reason_to_know_nothing_of_the_others() {
        for object in [json!({"metadata": {}}), json!({"metadata": {}, "spec": {"secretName": null}})] {
            let seen: Seen<CertificateFacts> = serde_json::from_value(object).unwrap();
            assert_eq!(String::from(seen.spec), "");
        }
        for spec in [json!({}), json!({"acme": null, "ca": null})] {
            let seen: Seen<Issuer> = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert_eq!(IssuerFacts::from(seen.spec), IssuerFacts::default());
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
