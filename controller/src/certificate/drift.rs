//! Whether what was written around the pair in a Secret is still as it was written: labels, annotations, owner reference
//! and further forms. By its managed fields a Secret says which of them are ours; what others put there is theirs.

use std::collections::{BTreeMap, BTreeSet};

use api::keys::annotation;
use issuance::certificate::Certificate;
use issuance::fingerprint::Fingerprint;
use issuance::secret_data::{
    CA_CRT, COMBINED_PEM, KEY_DER, KEYSTORE_JKS, KEYSTORE_P12, OutputFormat, TLS_CRT, TLS_KEY,
    TRUSTSTORE_JKS, TRUSTSTORE_P12, is_der_of,
};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use crate::certificate::metadata::{self, Texts};
use crate::certificate::view::CertificateView;
use crate::certificate::{passwords, spec};

/// Field manager of the Secrets of Certificates: that of the peer's issuing controller, so that either takes over what the
/// other has written.
pub const SECRET_MANAGER: &str = "cert-manager-certificates-issuing";

/// What of a Secret is ours, and what it says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ours {
    /// Our labels, with the hashes of their values.
    pub labels: BTreeMap<String, Fingerprint>,
    /// Our annotations, with the hashes of their values.
    pub annotations: BTreeMap<String, Fingerprint>,
    /// Our entries.
    pub entries: BTreeSet<String>,
    /// Whether an owner reference is ours.
    pub has_owner: bool,
    /// Whether there is an entry with CAs, whoever it belongs to.
    pub has_ca: bool,
    /// Entries which repeat key and certificate, and repeat others.
    pub stale: Vec<&'static str>,
}

impl Ours {
    /// What of a Secret with this metadata and data is ours.
    pub fn of(metadata: &ObjectMeta, data: &BTreeMap<String, ByteString>) -> Self {
        let is_ours = |entry: &&ManagedFieldsEntry| {
            entry.manager.as_deref() == Some(SECRET_MANAGER)
                && entry.operation.as_deref() == Some("Apply")
                && entry.subresource.as_deref().unwrap_or_default().is_empty()
        };
        let entry = metadata.managed_fields.iter().flatten().find(is_ours);
        let fields = entry.and_then(|entry| entry.fields_v1.as_ref()).map(|fields| &fields.0);
        let of_metadata = fields.and_then(|fields| fields.get("f:metadata"));
        let has_ca = data.get(CA_CRT).is_some_and(|ca| !ca.0.is_empty());
        Self {
            labels: hashed(of_metadata, "f:labels", metadata.labels.as_ref()),
            annotations: hashed(of_metadata, "f:annotations", metadata.annotations.as_ref()),
            entries: names(fields, "f:data")
                .filter(|name| data.contains_key(*name))
                .map(str::to_owned)
                .collect(),
            has_owner: of_metadata.is_some_and(|fields| fields.get("f:ownerReferences").is_some()),
            has_ca,
            stale: stale(data),
        }
    }
}

/// What is not as it was written, or would be written now, for people; `None`: all is. `leaf` is the certificate in the
/// Secret, which is what the Certificate asks for.
pub fn drift(
    certificate: &CertificateView,
    leaf: &Certificate,
    ours: &Ours,
    is_owned: bool,
) -> Option<String> {
    let mut annotations = metadata::details(leaf);
    annotations.extend(metadata::issuer(&certificate.spec.issuer_ref));
    annotations.insert(annotation::CERTIFICATE_NAME.to_owned(), certificate.name.name.clone());
    let (labels, annotations) = metadata::with_template(&certificate.spec, metadata::managed(), annotations);
    let keystores = passwords::are_wanted(certificate);
    let mut differing = differing("label", &labels, &ours.labels, |_| false);
    // What the keystores were made from only the one knows who has their passwords.
    let is_digest = |key: &str| keystores && key == annotation::KEYSTORES;
    differing.extend(self::differing("annotation", &annotations, &ours.annotations, is_digest));
    differing.extend(entries(certificate, ours));
    if is_owned != ours.has_owner {
        differing.push("the owner reference".to_owned());
    }
    (!differing.is_empty()).then(|| differing.join(", "))
}

fn entries(certificate: &CertificateView, ours: &Ours) -> Vec<String> {
    let mut wanted: BTreeSet<&str> = [TLS_CRT, TLS_KEY].into();
    for format in spec::formats(&certificate.spec) {
        wanted.insert(match format {
            OutputFormat::Der => KEY_DER,
            OutputFormat::CombinedPem => COMBINED_PEM,
        });
    }
    let keystores = certificate.spec.keystores.as_ref();
    let mut stores = |is_wanted: bool, key: &'static str, trust: &'static str| {
        if is_wanted {
            wanted.insert(key);
            wanted.extend(ours.has_ca.then_some(trust));
        }
    };
    let jks = keystores.and_then(|keystores| keystores.jks.as_ref());
    stores(jks.is_some_and(|jks| jks.create), KEYSTORE_JKS, TRUSTSTORE_JKS);
    let pkcs12 = keystores.and_then(|keystores| keystores.pkcs12.as_ref());
    stores(pkcs12.is_some_and(|pkcs12| pkcs12.create), KEYSTORE_P12, TRUSTSTORE_P12);
    let absent = wanted.iter().filter(|name| !ours.entries.contains(**name));
    // CAs that somebody took out stay out, so whether they are there is nothing to mend.
    let extra =
        ours.entries.iter().map(String::as_str).filter(|name| !wanted.contains(name) && *name != CA_CRT);
    let stale = ours.stale.iter().copied().filter(|name| wanted.contains(name));
    absent.copied().chain(extra).chain(stale).map(|name| format!("entry {name:?}")).collect()
}

/// The keys of which values differ, or which are there or not as they should not.
fn differing(
    what: &str,
    wanted: &Texts,
    ours: &BTreeMap<String, Fingerprint>,
    is_allowed: impl Fn(&str) -> bool,
) -> Vec<String> {
    let is_there =
        |(key, value): &(&String, &String)| ours.get(*key) == Some(&Fingerprint::of(value.as_bytes()));
    let absent = wanted.iter().filter(|pair| !is_there(pair)).map(|(key, _)| key);
    let extra = ours.keys().filter(|key| !wanted.contains_key(*key) && !is_allowed(key));
    absent.chain(extra).map(|key| format!("{what} {key:?}")).collect()
}

/// The names of the fields below a member of managed fields (`f:` and the name).
fn names<'a>(fields: Option<&'a Value>, member: &str) -> impl Iterator<Item = &'a str> {
    let fields = fields.and_then(|fields| fields.get(member)).and_then(Value::as_object);
    fields.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("f:"))
}

fn hashed(fields: Option<&Value>, member: &str, there: Option<&Texts>) -> BTreeMap<String, Fingerprint> {
    let value = |key: &str| there.and_then(|there| there.get(key));
    let hashed = names(fields, member)
        .filter_map(|key| Some((key.to_owned(), Fingerprint::of(value(key)?.as_bytes()))));
    hashed.collect()
}

/// The further forms that are not those of the key and the certificate beside them.
fn stale(data: &BTreeMap<String, ByteString>) -> Vec<&'static str> {
    let entry = |name: &str| data.get(name).map(|value| value.0.as_slice());
    let (Some(key), Some(chain)) = (entry(TLS_KEY), entry(TLS_CRT)) else { return Vec::new() };
    let mut stale = Vec::new();
    if let Some(combined) = entry(COMBINED_PEM) {
        let rest = combined.strip_prefix(key).and_then(|rest| rest.strip_prefix(b"\n"));
        stale.extend((rest != Some(chain)).then_some(COMBINED_PEM));
    }
    if let Some(der) = entry(KEY_DER) {
        stale.extend((!is_der_of(key, der)).then_some(KEY_DER));
    }
    stale
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::*;
    use crate::certificate::fixture::Case;

    /// A Certificate that is issued, in a Secret as the API server keeps it after our apply, bent by `bend`.
    fn check(edit: impl FnOnce(&mut Value), bend: impl FnOnce(&mut Value), expected: Option<&str>) {
        let mut case = Case::ready();
        let leaf = case.secret.as_ref().unwrap().leaf().unwrap().clone();
        case.edit(edit);
        let mut secret = case.applied.clone();
        bend(&mut secret);
        let secret: Secret = serde_json::from_value(secret).unwrap();
        let ours = Ours::of(&secret.metadata, &secret.data.unwrap_or_default());
        assert_eq!(drift(&case.certificate, &leaf, &ours, false).as_deref(), expected);
    }

    fn leave(_: &mut Value) {}

    #[test]
    fn what_somebody_changed_or_took_away_is_found() {
        let label = "controller.cert-manager.io/fao";
        check(
            leave,
            |secret| secret["metadata"]["labels"][label] = json!("no"),
            Some(&format!("label {label:?}")),
        );
        check(leave, |secret| secret["metadata"]["labels"] = json!({}), Some(&format!("label {label:?}")));
        let name = "cert-manager.io/certificate-name";
        check(
            leave,
            |secret| drop(secret["metadata"]["annotations"].as_object_mut().unwrap().remove(name)),
            Some(&format!("annotation {name:?}")),
        );
        check(
            leave,
            |secret| drop(secret["metadata"]["managedFields"].take()),
            Some(
                "label \"controller.cert-manager.io/fao\", annotation \"cert-manager.io/alt-names\", annotation \
             \"cert-manager.io/certificate-name\", annotation \"cert-manager.io/common-name\", annotation \
             \"cert-manager.io/ip-sans\", annotation \"cert-manager.io/issuer-group\", annotation \
             \"cert-manager.io/issuer-kind\", annotation \"cert-manager.io/issuer-name\", annotation \
             \"cert-manager.io/uri-sans\", entry \"tls.crt\", entry \"tls.key\"",
            ),
        );
    }

    #[test]
    fn a_spec_that_asks_for_more_or_less_around_the_pair_is_drift() {
        check(|spec| spec["secretTemplate"] = json!({"labels": {"a": "b"}}), leave, Some("label \"a\""));
        let formats = |spec: &mut Value| spec["additionalOutputFormats"] = json!([{"type": "CombinedPEM"}]);
        check(formats, leave, Some("entry \"tls-combined.pem\""));
        let own_extra = |secret: &mut Value| {
            secret["data"]["key.der"] = json!("eA==");
            secret["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]["f:key.der"] = json!({});
        };
        check(leave, own_extra, Some("entry \"key.der\""));
    }

    #[test]
    fn what_others_put_there_is_theirs() {
        check(leave, leave, None);
        check(leave, |secret| secret["metadata"]["labels"]["team"] = json!("a"), None);
        check(leave, |secret| secret["data"]["other"] = json!("eA=="), None);
        // Taken out by hand.
        check(leave, |secret| drop(secret["data"].as_object_mut().unwrap().remove("ca.crt")), None);
    }

    #[test]
    fn further_forms_of_another_key_are_found() {
        let data = |combined: &str, der: &str| {
            let key = "-----BEGIN PRIVATE KEY-----\neA==\n-----END PRIVATE KEY-----\n";
            let entry = |text: &str| ByteString(text.as_bytes().to_vec());
            BTreeMap::from([
                ("tls.key".to_owned(), entry(key)),
                ("tls.crt".to_owned(), entry("chain")),
                ("tls-combined.pem".to_owned(), entry(&combined.replace("KEY", key))),
                ("key.der".to_owned(), entry(der)),
            ])
        };
        assert_eq!(stale(&data("KEY\nchain", "x")), Vec::<&str>::new());
        assert_eq!(stale(&data("KEY\nother", "x")), ["tls-combined.pem"]);
        assert_eq!(stale(&data("chain", "y")), ["tls-combined.pem", "key.der"]);
    }
}
