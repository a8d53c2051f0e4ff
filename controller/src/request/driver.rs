//! What a node's driver asks for a pod by a CertificateRequest: approved only if the name policy permits it to a pod that
//! runs on the driver's own node. Who the driver is and on which node, the webhook has stamped; which pod it is for, the
//! owner reference says, and the API server whether that pod is there.

use api::keys::user_extra;
use issuance::authority::Terms;
use issuance::request::Request;
use issuers::live::{Claim, Pod, PodFault};
use issuers::policy::{Asked, Permitted, Refusal};
use jiff::{SignedDuration, Timestamp};

use crate::request::view::{Owner, RequestView};

/// Why a driver's request is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Denial {
    /// One word for machines.
    pub reason: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Denial {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl From<PodFault> for Denial {
    fn from(fault: PodFault) -> Self {
        Self::new(fault.reason(), fault.to_string())
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.reason.as_str(), refusal.message)
    }
}

/// What a driver says of its request, without proof but for the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed<'a> {
    /// Namespace of the request, and so of the pod.
    pub namespace: &'a str,
    /// The pod that gets the certificate.
    pub pod: &'a Owner,
    /// The node of the driver, as the API server knows it.
    pub node: &'a str,
}

/// For which pod, and from which node.
///
/// # Errors
/// When one of the two is not said, or not clearly.
pub fn claimed(view: &RequestView) -> Result<Claimed<'_>, Denial> {
    let key = user_extra::NODE_NAME;
    let Some([node]) = view.spec.extra.get(key).map(Vec::as_slice) else {
        let message = format!(
            "the driver's token is bound to no node: spec.extra has not exactly one {key} (Kubernetes 1.32, or 1.30 with its \
             default feature gates)"
        );
        return Err(Denial::new("TokenUnbound", message));
    };
    let Some(pod) = &view.pod else {
        let message = "a request of a driver belongs to the pod that it is for: give it one owner reference of kind Pod";
        return Err(Denial::new("PodMissing", message));
    };
    let namespace = view.name.namespace.as_deref().unwrap_or_default();
    Ok(Claimed { namespace, pod, node })
}

/// Whether `pod` is the one of the claim, and runs on the driver's node.
///
/// # Errors
/// Why it is not.
pub fn check<'a>(claimed: &Claimed<'_>, pod: Option<&'a Pod>, now: Timestamp) -> Result<&'a Pod, Denial> {
    let pod = pod.ok_or(PodFault::Gone)?;
    // The account is the pod's own: nobody claims one.
    let claim = Claim { uid: &claimed.pod.uid, node: claimed.node, account: pod.facts().account };
    pod.check(&claim, now)?;
    Ok(pod)
}

/// What the request asks for, in the terms of the issuer.
///
/// # Errors
/// When it cannot be read.
pub fn order(view: &RequestView) -> Result<(Request, Terms), Denial> {
    view.spec.order().map_err(|message| Denial::new("RequestUnreadable", message))
}

/// The same in the terms of the name policy.
pub fn in_terms_of_policy<'a>(view: &'a RequestView, request: &'a Request, terms: &'a Terms) -> Asked<'a> {
    Asked {
        request,
        usages: &terms.usages,
        is_ca: terms.is_ca,
        duration: terms.duration,
        issuer: &view.spec.issuer,
    }
}

/// Whether what was permitted is all of what was asked for: nobody can cut the lifetime of a request that is written.
///
/// # Errors
/// When less was permitted.
pub fn whole(permitted: &Permitted, asked: SignedDuration) -> Result<(), Denial> {
    if permitted.duration >= asked {
        return Ok(());
    }
    let longest = api::GoDuration::from(permitted.duration);
    let message = format!("{}; ask for {longest} or less", permitted.notes.join("; "));
    Err(Denial::new("DurationNotPermitted", message))
}

#[cfg(test)]
mod tests {
    use issuers::live::pod::KeepPod;
    use runtime::trimmed::Trimmed;
    use serde_json::{Value, json};

    use super::*;

    const NODE: &str = "authentication.kubernetes.io/node-name";

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// A driver's request for pod web-0, with other owners and another stamp.
    fn view(owners: &Value, extra: &Value) -> RequestView {
        RequestView::of(
            serde_json::from_value(json!({
                "metadata": {"namespace": "team-a", "name": "r", "ownerReferences": owners},
                "spec": {"request": "eA==", "username": "system:serviceaccount:a:b", "extra": extra},
            }))
            .unwrap(),
        )
    }

    fn owner(kind: &str, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "u1"})
    }

    fn stamp(nodes: &Value) -> Value {
        json!({NODE: nodes})
    }

    fn ours() -> RequestView {
        view(&json!([owner("Pod", "web-0")]), &stamp(&json!(["n1"])))
    }

    fn pod(uid: &str, node: &str, phase: &str) -> Pod {
        let pod: Trimmed<KeepPod> = serde_json::from_value(json!({
            "metadata": {"namespace": "team-a", "name": "web-0", "uid": uid},
            "spec": {"nodeName": node, "serviceAccountName": "shop"},
            "status": {"phase": phase},
        }))
        .unwrap();
        Pod::of(pod)
    }

    #[test]
    fn a_request_that_does_not_say_from_where_and_for_whom_is_denied() {
        let check = |view: &RequestView, reason: &str| {
            assert_eq!(claimed(view).unwrap_err().reason, reason, "{:?} {:?}", view.pod, view.spec.extra);
        };
        let pods = json!([owner("Pod", "web-0")]);
        for extra in [json!({}), stamp(&json!([])), stamp(&json!(["n1", "n2"]))] {
            check(&view(&pods, &extra), "TokenUnbound");
        }
        let node = stamp(&json!(["n1"]));
        for owners in
            [json!([]), json!([owner("ReplicaSet", "web-0")]), json!([owner("Pod", "a"), owner("Pod", "b")])]
        {
            check(&view(&owners, &node), "PodMissing");
        }
        let foreign = json!([{"apiVersion": "example.com/v1", "kind": "Pod", "name": "web-0", "uid": "u1"}]);
        check(&view(&foreign, &node), "PodMissing");
    }

    #[test]
    fn a_pod_that_is_gone_or_on_another_node_gets_nothing() {
        let view = ours();
        let claimed = claimed(&view).unwrap();
        let denied = |pod: Option<&Pod>| check(&claimed, pod, now()).unwrap_err().reason;
        assert_eq!(denied(None), "PodGone");
        assert_eq!(denied(Some(&pod("u2", "n1", "Running"))), "PodGone");
        assert_eq!(denied(Some(&pod("u1", "n2", "Running"))), "PodElsewhere");
        assert_eq!(denied(Some(&pod("u1", "n1", "Failed"))), "PodEnded");
    }

    #[test]
    fn what_cannot_be_read_or_would_be_cut_is_denied() {
        assert_eq!(order(&ours()).unwrap_err().reason, "RequestUnreadable");
        let hours = SignedDuration::from_hours;
        let cut = Permitted { duration: hours(24), notes: vec!["the lifetime was cut".to_owned()] };
        let denial = whole(&cut, hours(48)).unwrap_err();
        assert_eq!(denial.to_string(), "DurationNotPermitted: the lifetime was cut; ask for 24h or less");
        assert_eq!(whole(&cut, hours(24)), Ok(()));
    }

    #[test]
    fn a_live_pod_on_the_drivers_node_may_be_judged() {
        let view = view(&json!([owner("ReplicaSet", "web"), owner("Pod", "web-0")]), &stamp(&json!(["n1"])));
        let claimed = claimed(&view).unwrap();
        assert_eq!((claimed.namespace, claimed.pod.name.as_str(), claimed.node), ("team-a", "web-0", "n1"));
        let live = pod("u1", "n1", "Pending");
        assert!(check(&claimed, Some(&live), now()).is_ok());
    }
}
