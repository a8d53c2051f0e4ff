//! Stamps the requester's identity on CertificateRequests (spec M1 to M6). Nothing else is ever changed, and nothing is
//! defaulted. Pure.

use rules::Requester;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::review::{Answer, Denial, Operation, Request};
use crate::weight;

/// The answer to a mutating review.
///
/// # Errors
/// A denial, when the review is broken in itself or the object cannot take the stamp.
pub fn mutate(request: &Request<'_>) -> Result<Answer, Denial> {
    let resource = &request.resource;
    rules::kind_of_resource(&resource.group, &resource.version, &resource.resource)?;
    let is_stamped = resource.group == api::GROUP
        && resource.resource == "certificaterequests"
        && request.operation == Operation::Create;
    if !is_stamped {
        return Ok(Answer::Allowed { warnings: Vec::new() });
    }
    let Some(object) = request.object else {
        return Err(Denial::malformed("the request has no object"));
    };
    let unreadable =
        |error| Denial::malformed(format!("cannot read the object as CertificateRequest: {error}"));
    let object: Stampable<'_> = serde_json::from_str(object.get()).map_err(unreadable)?;
    rules::check_stampable(object.spec.is_none_or(|spec| spec.get().starts_with('{')))?;
    let requester = request.requester()?;
    let operations = match object.spec {
        Some(spec) => changes(&serde_json::from_str(spec.get()).map_err(unreadable)?, &requester),
        None => vec![json!({"op": "add", "path": "/spec", "value": stamp(&requester)})],
    };
    Ok(if operations.is_empty() {
        Answer::Allowed { warnings: Vec::new() }
    } else {
        Answer::Patched { patch: Value::Array(operations) }
    })
}

/// Identities that weigh more are not compared but written anew. Those of requesters weigh some KiB.
const COMPARED_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
struct Stampable<'a> {
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

/// What the spec says of the identity. The rest of it, and it may be large, is never built.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Identity<'a> {
    #[serde(deserialize_with = "present")]
    uid: Option<&'a RawValue>,
    #[serde(deserialize_with = "present")]
    username: Option<&'a RawValue>,
    #[serde(deserialize_with = "present")]
    groups: Option<&'a RawValue>,
    #[serde(deserialize_with = "present")]
    extra: Option<&'a RawValue>,
}

/// A null that is written is there.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Identity<'_> {
    fn is(&self, member: &str, wanted: &Value) -> bool {
        let written = match member {
            "uid" => self.uid,
            "username" => self.username,
            "groups" => self.groups,
            _ => self.extra,
        };
        written.is_some_and(|written| {
            weight::parsed_bytes_max(written.get()) <= COMPARED_BYTES_MAX
                && serde_json::from_str::<Value>(written.get()).is_ok_and(|written| written == *wanted)
        })
    }
}

type Members = serde_json::Map<String, Value>;

/// The identity as members of the spec. Uid, user name and groups are there even when they are empty; `extra` is not.
fn stamp(requester: &Requester) -> Members {
    let mut members = Members::new();
    members.insert("uid".to_owned(), json!(requester.uid));
    members.insert("username".to_owned(), json!(requester.username));
    members.insert("groups".to_owned(), json!(requester.groups));
    if !requester.extra.is_empty() {
        members.insert("extra".to_owned(), json!(requester.extra));
    }
    members
}

/// What is to be written where the spec differs from the stamp.
fn changes(written: &Identity<'_>, requester: &Requester) -> Vec<Value> {
    let wanted = stamp(requester);
    let mut operations: Vec<Value> = wanted
        .iter()
        .filter(|(member, value)| !written.is(member, value))
        .map(|(member, value)| json!({"op": "add", "path": format!("/spec/{member}"), "value": value}))
        .collect();
    if written.extra.is_some() && !wanted.contains_key("extra") {
        operations.push(json!({"op": "remove", "path": "/spec/extra"}));
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review;

    fn answer(edit: impl FnOnce(&mut Value)) -> Result<Answer, Denial> {
        let mut request = json!({
            "uid": "u", "operation": "CREATE", "name": "r", "namespace": "team-a",
            "resource": {"group": "cert-manager.io", "version": "v1", "resource": "certificaterequests"},
            "userInfo": {"username": "alice", "uid": "u1", "groups": ["a", "b"], "extra": {"k": ["v"]}},
            "object": {"spec": {"request": "QUJD", "duration": "1h"}},
        });
        edit(&mut request);
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": request})
        .to_string();
        mutate(&review::read(body.as_bytes()).unwrap().request)
    }

    fn denied(code: u16, message: &str, edit: impl FnOnce(&mut Value)) {
        let denial = answer(edit).unwrap_err();
        assert_eq!((denial.code, denial.message.as_str()), (code, message));
    }

    fn untouched(edit: impl FnOnce(&mut Value)) {
        assert_eq!(answer(edit), Ok(Answer::Allowed { warnings: Vec::new() }));
    }

    /// The object after the patch.
    fn check(object: Value, user: &Value, wanted: &Value) {
        let answer = answer(|request| {
            request["object"] = object.clone();
            request["userInfo"] = user.clone();
        });
        let Ok(Answer::Patched { patch }) = answer else { panic!("{object} was not patched") };
        let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
        let mut stamped = object;
        json_patch::patch(&mut stamped, &patch).unwrap();
        assert_eq!(stamped, *wanted);
    }

    #[test]
    fn an_object_that_cannot_take_the_stamp_is_denied() {
        denied(
            403,
            "spec: Forbidden: the spec is not an object, so it cannot take the requester's identity",
            |request| request["object"]["spec"] = json!("text"),
        );
        denied(403, "the review does not say which resource it is about", |request| {
            request["resource"] = json!({});
        });
        denied(400, "the request has no object", |request| request["object"] = json!(null));
        denied(
            400,
            "cannot read the object as CertificateRequest: invalid type: string \"x\", expected struct Stampable at line 1 column 3",
            |request| request["object"] = json!("x"),
        );
    }

    #[test]
    fn only_the_creation_of_a_certificate_request_is_touched() {
        untouched(|request| request["operation"] = json!("UPDATE"));
        untouched(|request| request["operation"] = json!("DELETE"));
        untouched(|request| request["resource"]["resource"] = json!("certificates"));
        untouched(|request| request["resource"]["group"] = json!("example.org"));
        untouched(|request| {
            request["object"]["spec"] = json!({
                "uid": "u1", "username": "alice", "groups": ["a", "b"], "extra": {"k": ["v"]},
            });
        });
    }

    #[test]
    fn the_identity_is_the_requesters_whatever_was_written() {
        let user = json!({"username": "alice", "uid": "u1", "groups": ["a"], "extra": {"k": ["v"]}});
        let stamped = json!({"spec": {"request": "QUJD", "duration": "60m",
            "username": "alice", "uid": "u1", "groups": ["a"], "extra": {"k": ["v"]}}});
        check(json!({"spec": {"request": "QUJD", "duration": "60m"}}), &user, &stamped);
        check(
            json!({"spec": {"request": "QUJD", "duration": "60m", "username": "root", "uid": 7,
                "groups": ["system:masters"], "extra": {"k": ["w"], "l": []}}}),
            &user,
            &stamped,
        );
    }

    #[test]
    fn a_requester_without_attributes_leaves_empty_ones() {
        let empty = json!({"spec": {"username": "", "uid": "", "groups": []}});
        check(json!({}), &json!({}), &empty);
        check(json!({"spec": null}), &json!({}), &empty);
        check(json!({"spec": {"extra": {"k": ["v"]}}}), &json!({}), &empty);
        check(json!({"spec": {"extra": null, "groups": null}}), &json!({}), &empty);
    }

    #[test]
    fn what_becomes_of_a_request_is_as_documented() {
        let answer = answer(|request| {
            request["object"]["spec"] = json!({"request": "QUJD", "username": "root", "extra": {"k": ["v"]}});
            request["userInfo"] = json!({"username": "alice", "groups": ["dev"]});
        });
        let Ok(Answer::Patched { patch }) = answer else { panic!("{answer:?}") };
        let operations: Vec<String> = patch.as_array().unwrap().iter().map(Value::to_string).collect();
        let shown = format!("[{}]", operations.join(",\n "));
        assert!(include_str!("../../docs/rules.md").contains(&shown), "{shown}");
    }

    #[test]
    fn an_identity_that_would_take_much_memory_is_not_even_read() {
        let groups = vec![""; COMPARED_BYTES_MAX / 100];
        let spec = json!({"uid": "", "username": "", "groups": groups}).to_string();
        let identity: Identity<'_> = serde_json::from_str(&spec).unwrap();
        assert!(identity.is("uid", &json!("")) && !identity.is("groups", &json!(groups)));
    }
}
