//! The pods of the cluster: whether the one that a token names is there, where it runs, and as whom.

use std::collections::BTreeMap;

use jiff::Timestamp;
use runtime::trimmed::{Keep, Trimmed};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};

use crate::policy::PodFacts;

/// What is kept of a pod besides its metadata.
#[derive(Debug, Clone, Default)]
pub struct KeepPod {
    spec: Spec,
    phase: Option<String>,
}

impl Keep for KeepPod {
    const LABELS: bool = true;

    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "spec" => self.spec = map.next_value::<Option<Spec>>()?.unwrap_or_default(),
            "status" => self.phase = map.next_value::<Option<Status>>()?.and_then(|status| status.phase),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    service_account_name: Option<String>,
    hostname: Option<String>,
    subdomain: Option<String>,
    host_network: Option<bool>,
}

#[derive(Deserialize)]
struct Status {
    phase: Option<String>,
}

/// A pod as it was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    namespace: String,
    name: String,
    uid: String,
    /// When it is killed at the latest, if it is being deleted.
    ends_at: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    node: String,
    account: String,
    hostname: Option<String>,
    subdomain: Option<String>,
    host_network: bool,
    has_ended: bool,
}

/// Where a pod must be, and as whom, by its token.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// `metadata.uid`.
    pub uid: &'a str,
    /// Name of the node.
    pub node: &'a str,
    /// Name of the service account.
    pub account: &'a str,
}

/// Why a pod gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodFault {
    /// There is none of this name, or another one has taken its place.
    #[error("the pod of the token does not exist any more")]
    Gone,
    /// It runs on another node, or on none yet.
    #[error("the pod runs on node {found:?}, not on {wanted:?}, where the caller is")]
    Elsewhere {
        /// Where it runs.
        found: String,
        /// Where the caller is.
        wanted: String,
    },
    /// It runs as another service account.
    #[error("the pod runs as service account {found:?}, not as {wanted:?}")]
    Account {
        /// As whom it runs.
        found: String,
        /// Who was claimed.
        wanted: String,
    },
    /// All its containers have ended, or its time is over.
    #[error("the pod has ended")]
    Ended,
}

impl PodFault {
    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "PodGone",
            Self::Elsewhere { .. } => "PodElsewhere",
            Self::Account { .. } => "PodAccount",
            Self::Ended => "PodEnded",
        }
    }

    /// Whether a watch that lags could be the cause, so that the API server should be asked.
    pub fn may_be_old(&self) -> bool {
        match self {
            Self::Gone => true,
            Self::Elsewhere { found, .. } => found.is_empty(),
            Self::Account { .. } | Self::Ended => false,
        }
    }
}

impl Pod {
    /// What matters of a pod that was seen.
    pub fn of(object: Trimmed<KeepPod>) -> Self {
        let Trimmed { metadata, content: KeepPod { spec, phase }, .. } = object;
        Self {
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            ends_at: metadata.deletion_timestamp.map(|time| time.0),
            labels: metadata.labels.unwrap_or_default(),
            node: spec.node_name.unwrap_or_default(),
            account: spec.service_account_name.unwrap_or_default(),
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            host_network: spec.host_network.unwrap_or(false),
            has_ended: matches!(phase.as_deref(), Some("Succeeded" | "Failed")),
        }
    }

    /// Whether it is the pod of the claim, and runs.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, claim: &Claim<'_>, now: Timestamp) -> Result<(), PodFault> {
        if self.uid != claim.uid || self.uid.is_empty() {
            return Err(PodFault::Gone);
        }
        if self.node != claim.node || self.node.is_empty() {
            return Err(PodFault::Elsewhere { found: self.node.clone(), wanted: claim.node.to_owned() });
        }
        if self.account != claim.account {
            let (found, wanted) = (self.account.clone(), claim.account.to_owned());
            return Err(PodFault::Account { found, wanted });
        }
        if self.has_ended || self.ends_at.is_some_and(|ends_at| ends_at <= now) {
            return Err(PodFault::Ended);
        }
        Ok(())
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// What the name policy looks at.
    pub fn facts(&self) -> PodFacts<'_> {
        PodFacts {
            namespace: &self.namespace,
            name: &self.name,
            account: &self.account,
            hostname: self.hostname.as_deref(),
            subdomain: self.subdomain.as_deref(),
            host_network: self.host_network,
            labels: &self.labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(more: &Value) -> Pod {
        let mut object = json!({
            "metadata": {"name": "web-0", "namespace": "team-a", "uid": "u1", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "shop", "hostname": "web-0", "subdomain": "peers",
                     "containers": [{"name": "c"}]},
            "status": {"phase": "Pending", "podIP": "10.0.0.1"},
        });
        json_patch::merge(&mut object, more);
        Pod::of(serde_json::from_value(object).unwrap())
    }

    fn check(more: &Value) -> Result<(), PodFault> {
        let claim = Claim { uid: "u1", node: "n1", account: "shop" };
        pod(more).check(&claim, Timestamp::from_second(1_800_000_000).unwrap())
    }

    #[test]
    fn a_pod_that_is_gone_elsewhere_or_at_its_end_gets_nothing() {
        assert_eq!(check(&json!({"metadata": {"uid": "u2"}})), Err(PodFault::Gone));
        assert_eq!(check(&json!({"metadata": {"uid": null}})), Err(PodFault::Gone));
        let elsewhere =
            |found: &str| Err(PodFault::Elsewhere { found: found.to_owned(), wanted: "n1".to_owned() });
        assert_eq!(check(&json!({"spec": {"nodeName": "n2"}})), elsewhere("n2"));
        assert_eq!(check(&json!({"spec": null})), elsewhere(""));
        let account = PodFault::Account { found: "other".to_owned(), wanted: "shop".to_owned() };
        assert_eq!(check(&json!({"spec": {"serviceAccountName": "other"}})), Err(account));
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(check(&json!({"status": {"phase": phase}})), Err(PodFault::Ended), "{phase}");
        }
        // 1,800,000,000 s is 08:00:00.
        let deleted = json!({"metadata": {"deletionTimestamp": "2027-01-15T08:00:00Z"}});
        assert_eq!(check(&deleted), Err(PodFault::Ended));
    }

    #[test]
    fn only_what_a_late_watch_could_have_missed_is_asked_again() {
        let elsewhere =
            |found: &str| PodFault::Elsewhere { found: found.to_owned(), wanted: "n1".to_owned() };
        assert!(PodFault::Gone.may_be_old() && elsewhere("").may_be_old());
        assert!(!elsewhere("n2").may_be_old() && !PodFault::Ended.may_be_old());
    }

    #[test]
    fn a_pod_that_runs_or_is_about_to_is_known_by_what_the_policy_needs() {
        assert_eq!(check(&json!({})), Ok(()));
        assert_eq!(check(&json!({"metadata": {"deletionTimestamp": "2027-01-15T08:00:30Z"}})), Ok(()));
        assert_eq!(check(&json!({"status": null})), Ok(()));
        let pod = pod(&json!({"spec": {"hostNetwork": true}}));
        let facts = pod.facts();
        assert_eq!((facts.namespace, facts.name, facts.account), ("team-a", "web-0", "shop"));
        assert_eq!((facts.hostname, facts.subdomain), (Some("web-0"), Some("peers")));
        assert!(facts.host_network && facts.labels["app"] == "web");
    }
}
