//! Whose the bundle fields are, as the API server keeps it in `metadata.managedFields`.
//!
//! Everything is written by server-side apply under one name. Older releases of the peer wrote by update: such an entry
//! would own the fields beside ours for ever, so that nobody could take them away by an apply.

use runtime::trimmed::Owner;
use serde_json::{Map, Value, json};

use crate::MANAGER;
use crate::target::{Fields, Live};

/// Whether fields of the target are ours by server-side apply.
pub fn is_applied(owners: &[Owner]) -> bool {
    owners.iter().any(|owner| is_ours(owner, "Apply"))
}

/// The field manager that last took a bundle from us, as far as the object shows it: of those who wrote since we did,
/// whoever owns a bundle, and else whoever wrote last.
pub fn overwriter(owners: &[Owner]) -> Option<&str> {
    let is_ours = |owner: &&Owner| owner.manager == MANAGER && owner.subresource.is_empty();
    let our_time = owners.iter().filter(is_ours).map(|owner| owner.time).max().flatten();
    let is_other = |owner: &&Owner| owner.manager != MANAGER && owner.subresource.is_empty();
    let others = || owners.iter().filter(is_other).filter(|owner| owner.time >= our_time);
    let last = others().filter(|owner| owner.has_kept_field).max_by_key(|owner| owner.time);
    last.or_else(|| others().max_by_key(|owner| owner.time)).map(|owner| owner.manager.as_str())
}

/// The JSON patch that leaves us what is ours by server-side apply alone, bound to the version that was read. `None`:
/// that is so already.
pub fn migration(live: &Live) -> Option<Value> {
    let entries = || live.owners.iter().enumerate();
    let mut updates = entries().filter(|(_, owner)| is_ours(owner, "Update")).map(|(index, _)| index);
    let first = updates.next()?;
    let mut operations =
        vec![json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": live.resource_version })];
    // The last one first, so that the others stay where they are. An entry that is taken out gives its fields up; the
    // bundles among them are ours by the other entry.
    let mut surplus: Vec<usize> = updates.collect();
    if is_applied(&live.owners) {
        surplus.insert(0, first);
    } else {
        // The bundles alone: what an apply owns and the next one leaves out is removed from the object.
        let entry = [
            ("apiVersion", json!(live.target.kind.resource().api_version)),
            ("operation", json!("Apply")),
            ("fieldsV1", bundle_fields(&live.fields)),
        ];
        operations.extend(entry.map(|(member, value)| {
            let path = format!("/metadata/managedFields/{first}/{member}");
            json!({ "op": "replace", "path": path, "value": value })
        }));
    }
    operations.extend(surplus.iter().rev().map(|index| {
        let path = format!("/metadata/managedFields/{index}");
        json!({ "op": "remove", "path": path })
    }));
    Some(Value::Array(operations))
}

fn is_ours(owner: &Owner, operation: &str) -> bool {
    owner.manager == MANAGER && owner.operation == operation && owner.subresource.is_empty()
}

/// The bundles that are there, in the form of `fieldsV1`.
fn bundle_fields(fields: &Fields) -> Value {
    match fields {
        Fields::Webhooks(webhooks) => {
            let filled = webhooks.iter().filter(|webhook| !webhook.bundle.is_empty());
            let entries: Map<String, Value> = filled
                .map(|webhook| {
                    let key = format!("k:{}", json!({ "name": webhook.name }));
                    (key, json!({ ".": {}, "f:name": {}, "f:clientConfig": { "f:caBundle": {} } }))
                })
                .collect();
            json!({ "f:webhooks": entries })
        }
        Fields::ApiService { .. } => json!({ "f:spec": { "f:caBundle": {} } }),
        Fields::Definition { .. } => {
            let client_config = json!({ "f:caBundle": {} });
            json!({ "f:spec": { "f:conversion": { "f:webhook": { "f:clientConfig": client_config } } } })
        }
        Fields::ConfigMap { .. } => json!({ "f:data": { "f:ca.crt": {} } }),
        Fields::TrustBundle { .. } => json!({ "f:spec": { "f:trustBundle": {} } }),
        Fields::Custom(field) => Value::Object(field.target.nested("f:", json!({}))),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use jiff::Timestamp;

    use super::*;
    use crate::target::{Target, TargetKind, Webhook};

    fn owner(manager: &str, operation: &str, subresource: &str) -> Owner {
        let [manager, operation, subresource] = [manager, operation, subresource].map(ToOwned::to_owned);
        Owner { manager, operation, subresource, ..Owner::default() }
    }

    #[test]
    fn whoever_took_a_bundle_last_is_named() {
        let at = |manager: &str, second: i64, has_kept_field| Owner {
            time: Some(Timestamp::from_second(second).unwrap()),
            has_kept_field,
            ..owner(manager, "Update", "")
        };
        let ours = || at(MANAGER, 2, true);
        let status = || Owner { subresource: "status".to_owned(), ..at("controller", 9, true) };
        for (owners, expected) in [
            (vec![], None),
            (vec![ours(), status()], None),
            (vec![ours(), at("helm", 1, true)], None),
            (
                vec![ours(), at("helm", 1, true), at("kubectl", 2, true), at("labeler", 3, false)],
                Some("kubectl"),
            ),
            // A field that is taken away has no owner.
            (vec![ours(), at("helm", 3, false), at("kubectl", 4, false)], Some("kubectl")),
            (vec![at("helm", 1, true)], Some("helm")),
        ] {
            assert_eq!(overwriter(&owners), expected, "{owners:?}");
        }
    }

    fn webhooks(owners: Vec<Owner>) -> Live {
        let webhook =
            |name: &str, bundle: &str| Webhook { name: name.to_owned(), bundle: bundle.as_bytes().to_vec() };
        Live {
            target: Target::cluster(TargetKind::ValidatingWebhookConfiguration, "example"),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            deleting: false,
            owners,
            fields: Fields::Webhooks(vec![webhook("one.test", "old"), webhook("two.test", "")]),
        }
    }

    fn check(owners: Vec<Owner>, expected: &Expect) {
        let operations = migration(&webhooks(owners)).unwrap();
        let lines = operations.as_array().unwrap().iter().map(|operation| format!("{operation}\n"));
        expected.assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn what_is_not_ours_by_update_stays() {
        let ours = owner(MANAGER, "Apply", "");
        for owners in
            [vec![], vec![ours, owner("kubectl", "Update", "")], vec![owner(MANAGER, "Update", "status")]]
        {
            assert_eq!(migration(&webhooks(owners.clone())), None, "{owners:?}");
        }
    }

    #[test]
    fn an_update_becomes_an_apply_of_the_bundles_alone() {
        check(
            vec![owner("kubectl", "Update", ""), owner(MANAGER, "Update", ""), owner(MANAGER, "Update", "")],
            &expect![[r#"
                {"op":"replace","path":"/metadata/resourceVersion","value":"7"}
                {"op":"replace","path":"/metadata/managedFields/1/apiVersion","value":"admissionregistration.k8s.io/v1"}
                {"op":"replace","path":"/metadata/managedFields/1/operation","value":"Apply"}
                {"op":"replace","path":"/metadata/managedFields/1/fieldsV1","value":{"f:webhooks":{"k:{\"name\":\"one.test\"}":{".":{},"f:clientConfig":{"f:caBundle":{}},"f:name":{}}}}}
                {"op":"remove","path":"/metadata/managedFields/2"}
            "#]],
        );
    }

    #[test]
    fn an_update_beside_an_apply_is_taken_out() {
        check(
            vec![owner(MANAGER, "Apply", ""), owner(MANAGER, "Update", ""), owner(MANAGER, "Update", "")],
            &expect![[r#"
                {"op":"replace","path":"/metadata/resourceVersion","value":"7"}
                {"op":"remove","path":"/metadata/managedFields/2"}
                {"op":"remove","path":"/metadata/managedFields/1"}
            "#]],
        );
    }
}
