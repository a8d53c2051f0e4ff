//! What the API server says of a token, and whether the two tokens of a call fit together. Pure.

use std::collections::BTreeMap;

use api::keys::user_extra;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use proto::signer::Pod;

/// Longest text that is taken over from a review: longer than any name of the API.
const TEXT_BYTES_MAX: usize = 512;

/// Whom a token stands for: a service account, in a pod, on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub username: String,
    /// Name of the pod that the token is bound to.
    pub pod_name: String,
    /// UID of that pod.
    pub pod_uid: String,
    /// Name of the node that the pod is on.
    pub node_name: String,
    /// UID of that node, from Kubernetes that tells it.
    pub node_uid: Option<String>,
    /// Identifier of the token, for the log.
    pub credential_id: Option<String>,
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// The API server does not know it, or it is not valid any more, or it is for somebody else.
    #[error("the API server does not accept the token{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotAccepted(Option<String>),
    /// It is for another audience.
    #[error("the token is not for audience {0:?}")]
    Audience(String),
    /// It lacks what binds it.
    #[error(
        "the token has not exactly one {0}: it must be bound to a pod, and the API server must tell its node \
         (Kubernetes 1.32, or 1.30 with its default feature gates)"
    )]
    Unbound(&'static str),
}

/// Why two tokens do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The caller is no driver.
    #[error("{0} is not among the accounts of drivers (--driver-accounts)")]
    NoDriver(String),
    /// The pod's token is of another account.
    #[error("the pod's token is of {found}, not of {wanted}")]
    Account {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The pod's token is of another pod.
    #[error("the pod's token is bound to another pod")]
    Pod,
    /// The two are from different nodes.
    #[error("the pod's token is from node {pod:?}, and the driver's from node {driver:?}")]
    Node {
        /// The pod's.
        pod: String,
        /// The driver's.
        driver: String,
    },
}

/// Reads the answer to a review for this audience.
///
/// # Errors
/// When the token is not accepted, is for another audience, or is not bound to a pod on a node.
pub fn read(status: TokenReviewStatus, audience: &str) -> Result<Reviewed, ReviewError> {
    if status.authenticated != Some(true) {
        let why = status.error.filter(|why| !why.is_empty()).map(|why| why.chars().take(200).collect());
        return Err(ReviewError::NotAccepted(why));
    }
    // An API server that knows nothing of audiences names none.
    if !status.audiences.unwrap_or_default().iter().any(|named| named == audience) {
        return Err(ReviewError::Audience(audience.to_owned()));
    }
    let UserInfo { username, extra, .. } = status.user.unwrap_or_default();
    let extra = extra.unwrap_or_default();
    let bound = |key: &'static str| one(&extra, key).ok_or(ReviewError::Unbound(key));
    Ok(Reviewed {
        username: username.unwrap_or_default(),
        pod_name: bound(user_extra::POD_NAME)?,
        pod_uid: bound(user_extra::POD_UID)?,
        node_name: bound(user_extra::NODE_NAME)?,
        node_uid: one(&extra, user_extra::NODE_UID),
        credential_id: one(&extra, user_extra::CREDENTIAL_ID),
    })
}

/// The value of a key that has one.
fn one(extra: &BTreeMap<String, Vec<String>>, key: &str) -> Option<String> {
    match extra.get(key)?.as_slice() {
        [value] if !value.is_empty() && value.len() <= TEXT_BYTES_MAX => Some(value.clone()),
        _ => None,
    }
}

impl Reviewed {
    /// Namespace and name of the service account; `None` when it is a user of another kind.
    pub fn account(&self) -> Option<(&str, &str)> {
        self.username.strip_prefix("system:serviceaccount:")?.split_once(':')
    }
}

/// Whether the caller is one of the `drivers`.
///
/// # Errors
/// When it is not.
pub fn check_driver(driver: &Reviewed, drivers: &[String]) -> Result<(), Mismatch> {
    if drivers.contains(&driver.username) { Ok(()) } else { Err(Mismatch::NoDriver(driver.username.clone())) }
}

/// Whether the pod's token is of the pod that the driver has told of, on the driver's node.
///
/// # Errors
/// The first thing that does not fit.
pub fn check_pod(pod: &Reviewed, driver: &Reviewed, told: &Pod) -> Result<(), Mismatch> {
    let wanted = format!("system:serviceaccount:{}:{}", told.namespace, told.service_account);
    if pod.username != wanted {
        return Err(Mismatch::Account { found: pod.username.clone(), wanted });
    }
    if pod.pod_uid != told.uid || pod.pod_name != told.name {
        return Err(Mismatch::Pod);
    }
    let same_uid = match (&pod.node_uid, &driver.node_uid) {
        (Some(pod), Some(driver)) => pod == driver,
        _ => true,
    };
    if pod.node_name != driver.node_name || !same_uid {
        return Err(Mismatch::Node { pod: pod.node_name.clone(), driver: driver.node_name.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(more: &Value) -> TokenReviewStatus {
        let mut status = json!({
            "authenticated": true,
            "audiences": ["signer"],
            "user": {
                "username": "system:serviceaccount:team-a:shop",
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["web-0"],
                    "authentication.kubernetes.io/pod-uid": ["u1"],
                    "authentication.kubernetes.io/node-name": ["n1"],
                    "authentication.kubernetes.io/node-uid": ["nu1"],
                    "authentication.kubernetes.io/credential-id": ["JTI=1"],
                },
            },
        });
        json_patch::merge(&mut status, more);
        serde_json::from_value(status).unwrap()
    }

    fn extra(key: &str, values: &Value) -> Value {
        json!({"user": {"extra": {format!("authentication.kubernetes.io/{key}"): values}}})
    }

    fn pod() -> Reviewed {
        read(status(&json!({})), "signer").unwrap()
    }

    fn driver() -> Reviewed {
        let username = "system:serviceaccount:signet:driver".to_owned();
        Reviewed { username, pod_name: "d".to_owned(), pod_uid: "u9".to_owned(), ..pod() }
    }

    fn told() -> Pod {
        Pod {
            namespace: "team-a".to_owned(),
            name: "web-0".to_owned(),
            uid: "u1".to_owned(),
            service_account: "shop".to_owned(),
        }
    }

    #[test]
    fn tokens_that_are_not_accepted_or_for_others_are_refused() {
        let check = |more: &Value, message: &str| {
            let error = read(status(more), "signer").unwrap_err().to_string();
            assert!(error.contains(message), "{error} for {more}");
        };
        check(&json!({"authenticated": false}), "does not accept the token");
        check(&json!({"authenticated": null, "error": "expired"}), "does not accept the token: expired");
        check(&json!({"audiences": ["other"]}), "not for audience \"signer\"");
        check(&json!({"audiences": []}), "not for audience");
        check(&json!({"audiences": null}), "not for audience");
    }

    #[test]
    fn tokens_that_are_not_bound_to_a_pod_on_a_node_are_refused() {
        for key in ["pod-name", "pod-uid", "node-name"] {
            for values in [json!(null), json!([]), json!([""]), json!(["a", "b"]), json!(["a".repeat(513)])] {
                let error = read(status(&extra(key, &values)), "signer").unwrap_err();
                assert!(
                    matches!(error, ReviewError::Unbound(missing) if missing.ends_with(key)),
                    "{error} for {key} {values}"
                );
            }
        }
        assert!(read(status(&json!({"user": {"extra": null}})), "signer").is_err());
        assert!(read(status(&json!({"user": null})), "signer").is_err());
    }

    #[test]
    fn a_caller_that_is_no_driver_is_refused() {
        let drivers = ["system:serviceaccount:signet:driver".to_owned()];
        let error = check_driver(&pod(), &drivers).unwrap_err().to_string();
        assert!(error.starts_with("system:serviceaccount:team-a:shop is not among"), "{error}");
        assert!(check_driver(&driver(), &[]).is_err());
        assert_eq!(check_driver(&driver(), &drivers), Ok(()));
    }

    #[test]
    fn tokens_of_another_account_pod_or_node_are_refused() {
        let check = |pod: &Reviewed, told: &Pod, message: &str| {
            let error = check_pod(pod, &driver(), told).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        check(
            &pod(),
            &Pod { service_account: "other".to_owned(), ..told() },
            "not of system:serviceaccount:team-a:other",
        );
        check(
            &pod(),
            &Pod { namespace: "team-b".to_owned(), ..told() },
            "not of system:serviceaccount:team-b:shop",
        );
        check(&driver(), &told(), "the pod's token is of system:serviceaccount:signet:driver");
        check(&pod(), &Pod { uid: "u2".to_owned(), ..told() }, "bound to another pod");
        check(&pod(), &Pod { name: "web-1".to_owned(), ..told() }, "bound to another pod");
        let moved = Reviewed { node_name: "n2".to_owned(), ..pod() };
        check(&moved, &told(), "from node \"n2\", and the driver's from node \"n1\"");
        let renewed = Reviewed { node_uid: Some("nu2".to_owned()), ..pod() };
        check(&renewed, &told(), "from node \"n1\", and the driver's from node \"n1\"");
    }

    #[test]
    fn tokens_of_one_pod_and_the_driver_beside_it_fit() {
        assert_eq!(check_pod(&pod(), &driver(), &told()), Ok(()));
        let silent = Reviewed { node_uid: None, ..pod() };
        assert_eq!(check_pod(&silent, &driver(), &told()), Ok(()));
        assert_eq!(pod().account(), Some(("team-a", "shop")));
        assert_eq!(pod().credential_id.as_deref(), Some("JTI=1"));
        assert_eq!(Reviewed { username: "admin".to_owned(), ..pod() }.account(), None);
    }
}
