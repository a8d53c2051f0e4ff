//! Objects of which no more is built than is needed.
//!
//! A program that looks at few members of large objects should not pay for the others: a CustomResourceDefinition may
//! have a mebibyte of schemas, and any object 256 KiB in one annotation. What is not kept is passed over while the text
//! is read; it never becomes a value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What is kept of an object besides its name, version and uid.
pub trait Keep: Default + Clone + Debug + Send + Sync + 'static {
    /// The annotations that are kept.
    const ANNOTATIONS: &'static [&'static str] = &[];
    /// Whether the labels are kept.
    const LABELS: bool = false;
    /// Whether the API server is asked for the metadata alone.
    const METADATA_ONLY: bool = false;
    /// Whether [`Trimmed::owners`] are kept.
    const OWNERS: bool = false;
    /// The fields, in the form of `fieldsV1` and wherever they are, that [`Owner::has_kept_field`] is about.
    const OWNED_FIELDS: &'static [&'static str] = &[];

    /// Takes the member `name` of the object: its value is the next one of `map`, and must be read. `metadata` is not
    /// among them.
    ///
    /// # Errors
    /// When the value has another type than the kind says.
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let _ = name;
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// An object without what nobody looks at. It stands for any kind: [`kube::Api::all_with`] and
/// [`kube::Api::namespaced_with`] are told which.
#[derive(Debug, Clone, Default)]
pub struct Trimmed<K> {
    /// Name, namespace, uid, resource version, time of deletion, the annotations of [`Keep::ANNOTATIONS`], and with
    /// [`Keep::LABELS`] the labels.
    pub metadata: ObjectMeta,
    /// Who manages fields of it, in the order of `metadata.managedFields`; empty without [`Keep::OWNERS`].
    pub owners: Vec<Owner>,
    /// What is kept of the rest.
    pub content: K,
}

/// An entry of `metadata.managedFields`. Of its fields is kept whether some are among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// Name of the field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource by which the fields were written; empty for the object itself.
    pub subresource: String,
    /// When the manager last changed what it owns.
    pub time: Option<Timestamp>,
    /// Whether one of [`Keep::OWNED_FIELDS`] is among its fields.
    pub has_kept_field: bool,
}

impl<'de, K: Keep> Deserialize<'de> for Trimmed<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(PhantomData))
    }
}

struct Object<K>(PhantomData<K>);

impl<'de, K: Keep> Visitor<'de> for Object<K> {
    type Value = Trimmed<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of the Kubernetes API")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Trimmed<K>, A::Error> {
        let mut trimmed = Trimmed::<K>::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "metadata" {
                map.next_value_seed(Metadata(&mut trimmed))?;
            } else {
                trimmed.content.member(&name, &mut map)?;
            }
        }
        Ok(trimmed)
    }
}

struct Metadata<'a, K>(&'a mut Trimmed<K>);

impl<'de, K: Keep> DeserializeSeed<'de> for Metadata<'_, K> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, K: Keep> Visitor<'de> for Metadata<'_, K> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Trimmed { metadata, owners, .. } = self.0;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "name" => metadata.name = map.next_value()?,
                "namespace" => metadata.namespace = map.next_value()?,
                "uid" => metadata.uid = map.next_value()?,
                "resourceVersion" => metadata.resource_version = map.next_value()?,
                "deletionTimestamp" => metadata.deletion_timestamp = map.next_value::<Option<Time>>()?,
                "labels" if K::LABELS => metadata.labels = map.next_value()?,
                "annotations" => {
                    let kept = map.next_value::<Option<Annotations<K>>>()?;
                    metadata.annotations = kept.map(|annotations| annotations.kept);
                }
                "managedFields" if K::OWNERS => {
                    let entries = map.next_value::<Option<Vec<OwnerEntry<K>>>>()?.unwrap_or_default();
                    *owners = entries.into_iter().map(Owner::from).collect();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "K: Keep")]
struct OwnerEntry<K> {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    subresource: String,
    time: Option<Time>,
    #[serde(rename = "fieldsV1")]
    fields: Option<FieldSet<K>>,
}

impl<K> From<OwnerEntry<K>> for Owner {
    fn from(entry: OwnerEntry<K>) -> Self {
        let OwnerEntry { manager, operation, subresource, time, fields } = entry;
        let has_kept_field = fields.is_some_and(|fields| fields.has_kept);
        Self { manager, operation, subresource, time: time.map(|Time(time)| time), has_kept_field }
    }
}

/// A tree of fields, as `fieldsV1` has it: the names of members are its keys.
struct FieldSet<K> {
    has_kept: bool,
    keep: PhantomData<K>,
}

impl<'de, K: Keep> Deserialize<'de> for FieldSet<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self { has_kept: false, keep: PhantomData })
    }
}

impl<'de, K: Keep> Visitor<'de> for FieldSet<K> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tree of fields")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.has_kept |= K::OWNED_FIELDS.contains(&name.as_str());
            if self.has_kept || K::OWNED_FIELDS.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                self.has_kept = map.next_value::<Self>()?.has_kept;
            }
        }
        Ok(self)
    }
}

struct Annotations<K> {
    kept: BTreeMap<String, String>,
    keep: PhantomData<K>,
}

impl<'de, K: Keep> Deserialize<'de> for Annotations<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self { kept: BTreeMap::new(), keep: PhantomData })
    }
}

impl<'de, K: Keep> Visitor<'de> for Annotations<K> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if K::ANNOTATIONS.contains(&name.as_str()) {
                self.kept.insert(name, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self)
    }
}

impl<K: Keep> Resource for Trimmed<K> {
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

    fn metadata_api() -> bool {
        K::METADATA_ONLY
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::header::ACCEPT;
    use http::{Request, Response};
    use kube::client::Body;
    use kube::{Api, Client};
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
    use proptest::{collection, option};
    use serde_json::Value;

    use super::*;
    use crate::lock::lock;

    #[derive(Debug, Clone, Default)]
    struct Size(usize);

    impl Keep for Size {
        const ANNOTATIONS: &'static [&'static str] = &["kept", "also"];
        const OWNERS: bool = true;
        const OWNED_FIELDS: &'static [&'static str] = &["f:caBundle"];

        fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
            if name == "size" {
                self.0 = map.next_value()?;
                return Ok(());
            }
            map.next_value::<IgnoredAny>().map(drop)
        }
    }

    #[derive(Debug, Clone, Default)]
    struct Nothing;

    impl Keep for Nothing {
        const METADATA_ONLY: bool = true;
    }

    #[test]
    fn what_has_another_shape_is_refused() {
        for text in [
            "[]",
            r#"{"metadata": 1}"#,
            r#"{"metadata": {"name": 1}}"#,
            r#"{"metadata": {"annotations": {"kept": 1}}}"#,
            r#"{"metadata": {"managedFields": [{"fieldsV1": {"f:spec": 1}}]}}"#,
            r#"{"size": "x"}"#,
        ] {
            assert!(serde_json::from_str::<Trimmed<Size>>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_large_object_costs_what_is_kept_of_it() {
        let large = "x".repeat(256 * 1024);
        let text = format!(
            r#"{{"apiVersion": "v1", "kind": "Any", "metadata": {{"name": "any", "namespace": "team-a",
                "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z", "labels": null,
                "annotations": {{"kept": "yes", "last-applied": "{large}"}},
                "managedFields": [{{"manager": "m", "operation": "Update", "fieldsV1": {{"f:{large}": {{}}}}}}]}},
                "spec": {{"schema": "{large}"}}, "size": 3}}"#
        );
        let read: Trimmed<Size> = serde_json::from_str(&text).unwrap();
        let owner = Owner { manager: "m".to_owned(), operation: "Update".to_owned(), ..Owner::default() };
        assert_eq!(read.owners, [owner]);
        assert_eq!(read.content.0, 3);
        let metadata = serde_json::to_string(&read.metadata).unwrap();
        assert_eq!(
            metadata,
            r#"{"annotations":{"kept":"yes"},"deletionTimestamp":"2026-01-01T00:00:00Z","name":"any","namespace":"team-a","resourceVersion":"7","uid":"u"}"#
        );
    }

    #[test]
    fn labels_are_kept_where_they_are_wanted() {
        #[derive(Debug, Clone, Default)]
        struct Labelled;

        impl Keep for Labelled {
            const LABELS: bool = true;
        }

        let text = r#"{"metadata": {"labels": {"app": "web"}}, "spec": {"labels": {"app": "db"}}}"#;
        let read: Trimmed<Labelled> = serde_json::from_str(text).unwrap();
        assert_eq!(read.metadata.labels, Some(BTreeMap::from([("app".to_owned(), "web".to_owned())])));
        let read: Trimmed<Size> = serde_json::from_str(text).unwrap();
        assert_eq!(read.metadata.labels, None);
    }

    #[test]
    fn members_that_are_null_or_missing_are_empty() {
        for text in ["{}", r#"{"metadata": {"annotations": null, "managedFields": null, "uid": null}}"#] {
            let read: Trimmed<Size> = serde_json::from_str(text).unwrap();
            assert_eq!(read.metadata, ObjectMeta::default(), "{text}");
        }
    }

    #[test]
    fn who_owns_a_field_is_known_with_its_time() {
        let entry = |fields: &str| {
            format!(
                r#"{{"manager": "m", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {fields}}}"#
            )
        };
        let entries = [
            r#"{"f:spec": {"f:caBundle": {}, "f:group": {}}}"#,
            r#"{"f:webhooks": {".": {}, "k:{\"name\":\"a\"}": {"f:name": {}, "f:clientConfig": {"f:caBundle": {}}}}}"#,
            r#"{"f:spec": {"f:group": {}}, "f:metadata": {"f:caBundles": {}}}"#,
            "{}",
            "null",
        ];
        let text = entries.map(entry).join(",");
        let text = format!(r#"{{"metadata": {{"managedFields": [{text}, {{}}]}}}}"#);
        let read: Trimmed<Size> = serde_json::from_str(&text).unwrap();
        let kept: Vec<bool> = read.owners.iter().map(|owner| owner.has_kept_field).collect();
        assert_eq!(kept, [true, true, false, false, false, false]);
        let time = Some("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(
            read.owners[0],
            Owner { manager: "m".to_owned(), time, has_kept_field: true, ..Owner::default() }
        );
        assert_eq!(read.owners[5], Owner::default());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                collection::btree_map(".{0,8}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    fn any_metadata() -> impl Strategy<Value = ObjectMeta> {
        let text = || option::of(".{0,8}");
        let annotations = option::of(collection::btree_map("kept|also|[a-z]{1,3}", ".{0,8}", 0..4));
        (text(), text(), text(), text(), annotations.clone(), annotations).prop_map(
            |(name, namespace, uid, resource_version, annotations, labels)| ObjectMeta {
                name,
                namespace,
                uid,
                resource_version,
                annotations,
                labels,
                ..ObjectMeta::default()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_the_whole_object_has(
            metadata in any_metadata(),
            others in collection::btree_map("[a-z]{1,8}", any_value(), 0..4),
        ) {
            let mut object: serde_json::Map<String, Value> = others.into_iter().collect();
            object.insert("metadata".to_owned(), serde_json::to_value(&metadata).unwrap());
            object.insert("size".to_owned(), Value::from(3));
            let read: Trimmed<Size> = serde_json::from_value(Value::Object(object)).unwrap();
            let mut expected = ObjectMeta { labels: None, ..metadata };
            if let Some(annotations) = &mut expected.annotations {
                annotations.retain(|name, _| Size::ANNOTATIONS.contains(&name.as_str()));
            }
            prop_assert_eq!(read.metadata, expected);
            prop_assert_eq!(read.content.0, 3);
        }
    }

    #[tokio::test]
    async fn metadata_is_all_that_is_asked_for() {
        let asked = Arc::new(Mutex::new(String::new()));
        let server = {
            let asked = Arc::clone(&asked);
            tower::service_fn(move |request: Request<Body>| {
                let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                accept.unwrap_or_default().clone_into(&mut lock(&asked));
                async { Ok::<_, Infallible>(Response::new(Body::from(b"{}".to_vec()))) }
            })
        };
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Node>(&());
        let client = Client::new(server, "default");
        Api::<Trimmed<Nothing>>::all_with(client.clone(), &resource).get("any").await.unwrap();
        assert!(lock(&asked).starts_with("application/json;as=PartialObjectMetadata;"), "{asked:?}");
        Api::<Trimmed<Size>>::all_with(client, &resource).get("any").await.unwrap();
        assert!(!lock(&asked).contains("PartialObjectMetadata"), "{asked:?}");
    }
}
