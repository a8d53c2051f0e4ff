//! What the server says to each request, as a function of the request alone.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::objects::{Api, CONVERT, GADGET_VERSIONS};

/// The field of a gadget's spec that each of its versions calls otherwise.
const FIELDS: [&str; 2] = ["size", "width"];

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Conversion,
    List,
    Other,
}

/// An answer to one request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) what: What,
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

pub(super) fn answer(api: &Api, method: &Method, path: &str, body: &[u8]) -> Answer {
    let group = format!("/apis/{}/v1", api.aggregated_group());
    let list = format!("{group}/namespaces/{}/gauges", api.namespace());
    let (what, body) = match *method {
        Method::POST if path == CONVERT => match serde_json::from_slice(body) {
            Ok(review) => (What::Conversion, review_of(review)),
            Err(error) => return bad_request(&format!("the review is no JSON: {error}")),
        },
        Method::GET if path == group => (What::Other, resources(api)),
        Method::GET if path == list => (What::List, gauges(api)),
        _ => {
            return Answer {
                what: What::Other,
                ..failure(StatusCode::NOT_FOUND, &format!("{method} {path}"))
            };
        }
    };
    Answer { what, status: StatusCode::OK, body }
}

pub(super) fn bad_request(why: &str) -> Answer {
    failure(StatusCode::BAD_REQUEST, why)
}

fn failure(status: StatusCode, message: &str) -> Answer {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": status.as_u16(),
        "reason": status.canonical_reason().unwrap_or_default().replace(' ', ""), "message": message,
    });
    Answer { what: What::Other, status, body }
}

/// The resources of the aggregated API (`APIResourceList` of meta/v1). Nobody can delete or watch them, so controllers
/// that look after all resources leave them alone.
fn resources(api: &Api) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "APIResourceList",
        "groupVersion": format!("{}/v1", api.aggregated_group()),
        "resources": [{
            "name": "gauges", "singularName": "gauge", "namespaced": true, "kind": "Gauge", "verbs": ["list"],
        }],
    })
}

fn gauges(api: &Api) -> Value {
    json!({
        "apiVersion": format!("{}/v1", api.aggregated_group()),
        "kind": "GaugeList",
        "metadata": {"resourceVersion": "1"},
        "items": [{"metadata": {"name": "one", "namespace": api.namespace()}}],
    })
}

/// The answer to a `ConversionReview` of apiextensions.k8s.io/v1.
fn review_of(mut review: Value) -> Value {
    let request = review["request"].take();
    let desired = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let converted: Result<Vec<Value>, String> =
        objects.into_iter().map(|object| converted(object, desired)).collect();
    let mut response = json!({"uid": request["uid"]});
    match converted {
        Ok(objects) => {
            response["result"] = json!({"status": "Success"});
            response["convertedObjects"] = objects.into();
        }
        Err(why) => response["result"] = json!({"status": "Failure", "message": why}),
    }
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
}

/// The gadget in another of its versions.
fn converted(mut object: Value, desired: &str) -> Result<Value, String> {
    let field = |api_version: &str| {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let index = GADGET_VERSIONS.iter().position(|known| *known == version);
        index.map(|index| FIELDS[index]).ok_or_else(|| format!("there is no version {api_version:?}"))
    };
    let (from, to) = (field(object["apiVersion"].as_str().unwrap_or_default())?, field(desired)?);
    object["apiVersion"] = desired.into();
    let spec = object["spec"].as_object_mut().ok_or_else(|| "the gadget has no spec".to_owned())?;
    if let Some(value) = spec.remove(from) {
        spec.insert(to.to_owned(), value);
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(object: &Value, desired: &str) -> Value {
        let review = json!({"request": {"uid": "u", "desiredAPIVersion": desired, "objects": [object]}});
        let answer = answer(&Api::in_namespace("x"), &Method::POST, CONVERT, review.to_string().as_bytes());
        assert_eq!((answer.what, answer.status), (What::Conversion, StatusCode::OK));
        answer.body
    }

    #[test]
    fn what_cannot_be_converted_is_refused_with_the_reason() {
        let gadget = json!({"apiVersion": "g/v1", "spec": {"size": 3}});
        for (object, desired, why) in [
            (gadget, "g/v3", "no version \"g/v3\""),
            (json!({"apiVersion": "g/v7", "spec": {}}), "g/v1", "no version \"g/v7\""),
            (json!({"apiVersion": "g/v1"}), "g/v2", "no spec"),
        ] {
            let review = convert(&object, desired);
            assert_eq!(review["response"]["result"]["status"], "Failure", "{review}");
            assert!(review["response"]["result"]["message"].as_str().unwrap().contains(why), "{review}");
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        let api = Api::in_namespace("x");
        for (method, path, status) in [
            (Method::POST, CONVERT, StatusCode::BAD_REQUEST),
            (Method::GET, CONVERT, StatusCode::NOT_FOUND),
            (Method::GET, "/openapi/v2", StatusCode::NOT_FOUND),
            (Method::GET, "/apis", StatusCode::NOT_FOUND),
        ] {
            let answer = answer(&api, &method, path, b"no JSON");
            assert_eq!((answer.what, answer.status), (What::Other, status), "{method} {path}");
        }
    }

    #[test]
    fn a_gadget_keeps_its_metadata_and_calls_its_field_as_its_version_does() {
        let (v1, v2) = (
            json!({"apiVersion": "g/v1", "metadata": {"name": "a"}, "spec": {"size": 3}}),
            json!({"apiVersion": "g/v2", "metadata": {"name": "a"}, "spec": {"width": 3}}),
        );
        for (from, desired, to) in [(&v1, "g/v2", &v2), (&v2, "g/v1", &v1), (&v1, "g/v1", &v1)] {
            let review = convert(from, desired);
            assert_eq!(review["response"]["convertedObjects"], json!([to]));
            assert_eq!(review["response"]["uid"], "u");
        }
    }
}
