//! The AdmissionReview envelope (admission.k8s.io), read and written only here.

use std::borrow::Cow;

use rules::Requester;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::weight;

mod answer;

pub use answer::{About, Answer, Denial, Named, write};

/// Versions of the envelope; they differ in nothing that we read or write.
const API_VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];
const KIND: &str = "AdmissionReview";

/// What the API server asks about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Identifies the request; the answer repeats it.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The resource that is written.
    #[serde(borrow, default)]
    pub resource: Resource<'a>,
    /// Its subresource, such as `status`; empty for the resource itself.
    #[serde(borrow, default)]
    pub sub_resource: Cow<'a, str>,
    /// Name of the object; empty while it is to be generated.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Namespace of the object; empty for cluster-scoped ones.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// What is done to the object.
    pub operation: Operation,
    /// Who asks, as it was sent: [`Request::requester`] reads it, for those who judge by it.
    #[serde(borrow, default)]
    pub user_info: Option<&'a RawValue>,
    /// The object as it would be stored.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it is stored.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
}

/// Most memory that the requester's identity may take: two thousand groups. Unlike an object it is held until the
/// review is answered. Only reviews of CertificateRequests are judged by it, and only they are refused for more.
const REQUESTER_BYTES_MAX: usize = 256 * 1024;

impl Request<'_> {
    /// Who asks.
    ///
    /// # Errors
    /// A denial with code 400: it cannot be read, or reading it could take too much memory.
    pub fn requester(&self) -> Result<Requester, Denial> {
        let Some(json) = self.user_info.map(RawValue::get) else { return Ok(Requester::default()) };
        let weight = weight::parsed_bytes_max(json);
        if weight > REQUESTER_BYTES_MAX {
            return Err(Denial::malformed(format!(
                "the userInfo has too many groups and attributes: reading it could take {weight} bytes, and at most \
                 {REQUESTER_BYTES_MAX} can be spared"
            )));
        }
        serde_json::from_str(json)
            .map_err(|error| Denial::malformed(format!("cannot read the userInfo: {error}")))
    }

    /// The name of who asks; empty where it cannot be read. For the log, and for rules that go by it alone.
    pub fn username(&self) -> String {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Named {
            username: String,
        }
        let json = self.user_info.map_or("{}", RawValue::get);
        serde_json::from_str::<Named>(json).unwrap_or_default().username
    }

    /// The subresource; None for the resource itself.
    pub fn subresource(&self) -> Option<&str> {
        (!self.sub_resource.is_empty()).then_some(&*self.sub_resource)
    }
}

/// Group, version and plural name of a resource.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Resource<'a> {
    /// API group; empty for the core group.
    #[serde(borrow)]
    pub group: Cow<'a, str>,
    /// Version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Plural name.
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is created.
    Create,
    /// It is replaced.
    Update,
    /// It is deleted.
    Delete,
    /// It is connected to.
    Connect,
}

impl Operation {
    /// As the API server writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// A review that was read.
#[derive(Debug)]
pub struct Review<'a> {
    /// The version to answer in.
    pub api_version: &'static str,
    /// The question.
    pub request: Request<'a>,
}

/// Reads the body of a review.
///
/// # Errors
/// A denial with code 400 that says what is wrong with the body.
pub fn read(body: &[u8]) -> Result<Review<'_>, Denial> {
    if body.is_empty() {
        return Err(Denial::malformed("the body is empty; send an AdmissionReview"));
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body)
        .map_err(|error| Denial::malformed(format!("cannot read the AdmissionReview: {error}")))?;
    let version = API_VERSIONS.into_iter().find(|known| *known == envelope.api_version);
    let (Some(api_version), true) = (version, envelope.kind == KIND) else {
        return Err(Denial::malformed(format!(
            "the body is {:?} of {:?}; send an {KIND} of {}",
            envelope.kind, envelope.api_version, API_VERSIONS[0]
        )));
    };
    let request = envelope.request.ok_or_else(|| Denial::malformed("the AdmissionReview has no request"))?;
    Ok(Review { api_version, request })
}

/// The uid of a body that could not be read as a review, or was lost on the way to an answer. Empty: there is none.
pub fn uid_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Outer {
        request: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        uid: String,
    }
    serde_json::from_slice::<Outer>(body).map(|outer| outer.request.uid).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: &str, wanted: &str) {
        let denial = read(body.as_bytes()).err().unwrap_or_else(|| panic!("{body} was read"));
        assert_eq!((denial.code, denial.reason), (400, "BadRequest"), "for {body}");
        assert_eq!(denial.message, wanted, "for {body}");
    }

    #[test]
    fn a_body_that_is_no_review_is_refused_with_what_is_wrong() {
        refused("", "the body is empty; send an AdmissionReview");
        refused("{", "cannot read the AdmissionReview: EOF while parsing an object at line 1 column 1");
        refused("{}", "the body is \"\" of \"\"; send an AdmissionReview of admission.k8s.io/v1");
        refused(
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            "the body is \"Pod\" of \"v1\"; send an AdmissionReview of admission.k8s.io/v1",
        );
        refused(
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            "the AdmissionReview has no request",
        );
        let request = |request: &str| {
            format!(r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{request}}}"#)
        };
        refused(&request("{}"), "cannot read the AdmissionReview: missing field `uid` at line 1 column 73");
        refused(
            &request(r#"{"uid":"u","operation":"PATCH"}"#),
            "cannot read the AdmissionReview: unknown variant `PATCH`, expected one of `CREATE`, `UPDATE`, `DELETE`, `CONNECT` at line 1 column 101",
        );
    }

    #[test]
    fn a_requester_of_too_many_groups_is_not_read() {
        let body = |user_info: serde_json::Value| {
            json!({"apiVersion": API_VERSIONS[0], "kind": KIND, "request": {"uid": "u", "operation": "CREATE",
                "userInfo": user_info}})
            .to_string()
        };
        let refused = |user_info, message| {
            let body = body(user_info);
            let denial = read(body.as_bytes()).unwrap().request.requester().unwrap_err();
            assert_eq!(denial.code, 400);
            assert!(denial.message.starts_with(message), "{denial:?}");
        };
        let groups = |count: usize| json!({"username": "alice", "groups": vec![""; count]});
        refused(groups(100_000), "the userInfo has too many groups and attributes");
        refused(json!("alice"), "cannot read the userInfo: invalid type");
        let body = body(groups(2_000));
        let request = read(body.as_bytes()).unwrap().request;
        assert_eq!(request.requester().unwrap().groups.len(), 2_000);
        assert_eq!(request.username(), "alice");
    }

    #[test]
    fn the_uid_of_a_wrong_review_is_found_where_there_is_one() {
        assert_eq!(uid_of(br#"{"request":{"uid":"u-1","operation":7}}"#), "u-1");
        assert_eq!(uid_of(b"{"), "");
        assert_eq!(uid_of(br#"{"request":{}}"#), "");
    }

    #[test]
    fn a_review_of_either_version_is_read() {
        for version in API_VERSIONS {
            let body = json!({
                "apiVersion": version, "kind": "AdmissionReview",
                "request": {
                    "uid": "u-1", "operation": "UPDATE", "name": "web", "namespace": "team-a",
                    "resource": {"group": "cert-manager.io", "version": "v1", "resource": "certificates"},
                    "subResource": "status", "userInfo": {"username": "alice", "groups": ["g"]},
                    "object": {"spec": {}}, "oldObject": null, "options": {}, "dryRun": false,
                },
            })
            .to_string();
            let review = read(body.as_bytes()).unwrap();
            assert_eq!(review.api_version, version);
            assert_eq!(review.request.subresource(), Some("status"));
            assert_eq!(review.request.requester().unwrap().username, "alice");
            assert!(review.request.object.is_some() && review.request.old_object.is_none());
        }
    }
}
