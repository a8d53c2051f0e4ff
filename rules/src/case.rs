//! What is judged: an object, the object before, and who asks.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::cluster::Cluster;
use crate::issuer::HostRange;
use crate::rule::{Check, RuleId};

/// A spec that has rules; the object around it follows from it. Issuer and ClusterIssuer share one.
pub trait Judged: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + 'static {
    /// The status of the same kind.
    type Status: Clone + Debug + Default + PartialEq + DeserializeOwned;

    /// The rules, in the order of evaluation.
    fn tables() -> &'static [&'static [Check<Self>]];

    /// Whether both mean the same, however they are written: `1h` is `60m`. Clients that read and write an object
    /// back do change its text.
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// One write to judge.
#[derive(Debug)]
pub struct Case<'a, S: Judged> {
    /// The object as it would be stored.
    pub object: &'a Object<S>,
    /// The object as it is stored; None on creation.
    pub old: Option<&'a Object<S>>,
    /// The subresource that is written, such as `status`; None for the object itself.
    pub subresource: Option<&'a str>,
    /// Who asks. None where nobody does, as in a linter: rules about identity then have nothing to judge.
    pub requester: Option<&'a Requester>,
    /// What rules go by besides the objects.
    pub context: Context<'a>,
}

/// What rules go by besides the objects.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// What the operator set.
    pub settings: &'a Settings,
    /// The time. None where nobody knows it: rules about expiry then have nothing to judge.
    pub now: Option<Timestamp>,
    /// What else is in the cluster. None where there is none, as in a linter: rules about it have nothing to judge.
    pub cluster: Option<&'a dyn Cluster>,
}

static DEFAULT: Settings = Settings::DEFAULT;

impl Default for Context<'_> {
    fn default() -> Self {
        Self { settings: &DEFAULT, now: None, cluster: None }
    }
}

/// What the operator set. Examples of rules give it by member.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Gate `LiteralCertificateSubject`: a Certificate may have a `literalSubject` (C05).
    pub literal_certificate_subject: bool,
    /// Gate `NameConstraints`: a Certificate may have `nameConstraints` (C37).
    pub name_constraints: bool,
    /// Gate `OtherNames`: a Certificate may have `otherNames` (C16).
    pub other_names: bool,
    /// Longest signing request, in bytes of PEM (R05).
    pub request_bytes_max: usize,
    /// Longest bundle of CA certificates, in bytes of PEM (B17).
    pub bundle_bytes_max: usize,
    /// Whether an Order's whole spec is held to what it was on creation, and a Challenge must belong to an Order (B22).
    pub acme_owners: bool,
    /// Users who may create a Challenge that belongs to no Order all the same, such as a program that restores backups
    /// (B22). None unless set.
    pub acme_owner_exemptions: Vec<String>,
    /// Whether a signing request may come from an RSA key of 1024 to 2047 bits (B14).
    pub short_request_keys: bool,
    /// Whether issuers may send their secrets to servers over plain HTTP (B16).
    pub plaintext_servers: bool,
    /// Hosts that no issuer may name as its server, such as those of the cluster itself (B16). None unless set.
    pub denied_servers: Vec<HostRange>,
    /// Rules that reject but do not warn. None unless set.
    pub silenced: Vec<RuleId>,
}

impl Settings {
    /// What cert-manager goes by unless told otherwise.
    pub const DEFAULT: Self = Self {
        literal_certificate_subject: true,
        name_constraints: true,
        other_names: true,
        request_bytes_max: 36_500,
        bundle_bytes_max: 330_000,
        acme_owners: false,
        acme_owner_exemptions: Vec::new(),
        short_request_keys: false,
        plaintext_servers: false,
        denied_servers: Vec::new(),
        silenced: Vec::new(),
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

// Written out because a derive would ask `S: Clone` for a bundle of references.
impl<S: Judged> Clone for Case<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Judged> Copy for Case<'_, S> {}

impl<'a, S: Judged> Case<'a, S> {
    /// The creation of `object`, by nobody in particular.
    pub fn create(object: &'a Object<S>) -> Self {
        Self { object, old: None, subresource: None, requester: None, context: Context::default() }
    }

    /// The replacement of `old` by `object`, by nobody in particular.
    pub fn update(object: &'a Object<S>, old: &'a Object<S>) -> Self {
        Self { old: Some(old), ..Self::create(object) }
    }

    /// Whether the object is being created.
    pub fn is_create(&self) -> bool {
        self.old.is_none()
    }

    /// Whether an existing object is given another spec.
    pub fn changes_spec(&self) -> bool {
        self.old.is_some_and(|old| !self.object.spec.same(&old.spec))
    }
}

/// The parts of an object that rules look at. It reads from the object's JSON; everything else, managed fields above
/// all, is skipped without being built.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "S: Judged"))]
pub struct Object<S: Judged> {
    /// `<group>/<version>`.
    pub api_version: String,
    /// The kind as written.
    pub kind: String,
    /// Names and annotations.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: S,
    /// What was observed.
    pub status: Option<S::Status>,
}

/// The parts of an object's metadata that rules and messages look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name; empty while the API server has yet to generate it.
    pub name: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The objects that this one belongs to.
    pub owner_references: Vec<OwnerReference>,
    /// When deletion was asked for. Present: the object waits for its finalizers.
    pub deletion_timestamp: Option<String>,
}

/// An object that another one belongs to (meta/v1 OwnerReference).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// `<group>/<version>`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Whether this owner is the one that manages the object.
    pub controller: bool,
}

impl Metadata {
    /// Whether the object is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// Who asks, as the API server authenticated them (authentication.k8s.io/v1 UserInfo). A `null` in JSON, as Go writes
/// what is nil, is read as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Requester {
    /// Name of the user.
    #[serde(deserialize_with = "or_empty")]
    pub username: String,
    /// UID of the user; many users have none.
    #[serde(deserialize_with = "or_empty")]
    pub uid: String,
    /// Groups of the user.
    #[serde(deserialize_with = "or_empty")]
    pub groups: Vec<String>,
    /// Further attributes, such as pod and node of a service account token.
    #[serde(deserialize_with = "lists")]
    pub extra: BTreeMap<String, Vec<String>>,
}

fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

fn lists<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let lists: BTreeMap<String, Option<Vec<String>>> = or_empty(input)?;
    Ok(lists.into_iter().map(|(name, values)| (name, values.unwrap_or_default())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_go_writes_for_nil_is_read_as_empty() {
        let read = |value| serde_json::from_value::<Requester>(value).map_err(|error| error.to_string());
        assert!(read(json!({"groups": "a"})).is_err() && read(json!({"extra": {"a": 1}})).is_err());
        let empty = Requester::default();
        assert_eq!(read(json!({"username": null, "uid": null, "groups": null, "extra": null})), Ok(empty));
        let extra = BTreeMap::from([("a".to_owned(), Vec::new()), ("b".to_owned(), vec!["c".to_owned()])]);
        assert_eq!(
            read(json!({"username": "u", "extra": {"a": null, "b": ["c"]}})),
            Ok(Requester { username: "u".to_owned(), extra, ..Requester::default() })
        );
    }
}
