//! Status conditions, and the rule for their transition time.

use crate::text::non_empty;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All kinds but Order and Challenge: the object is in working order, or the request is answered.
pub const READY: &str = "Ready";
/// Certificate: an issuance is under way.
pub const ISSUING: &str = "Issuing";
/// CertificateRequest: an approver said yes. Written once, never taken back.
pub const APPROVED: &str = "Approved";
/// CertificateRequest: an approver said no. Written once, never taken back.
pub const DENIED: &str = "Denied";
/// CertificateRequest: the request itself is wrong and can never be answered.
pub const INVALID_REQUEST: &str = "InvalidRequest";

/// Reason of a Ready condition on a request that waits for its issuer.
pub const REASON_PENDING: &str = "Pending";
/// Reason of a Ready condition on a request that failed for good.
pub const REASON_FAILED: &str = "Failed";
/// Reason of a Ready condition on a request that was signed.
pub const REASON_ISSUED: &str = "Issued";
/// Reason of a Ready condition on a request that an approver refused.
pub const REASON_DENIED: &str = "Denied";

open_enum! {
    /// Whether a condition holds.
    ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// It cannot be told.
        Unknown = "Unknown",
    }
}

/// One observation about an object, with the time at which its status last changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What is observed, such as Ready. There is one condition of each type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// When the status last changed from one value to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// One word in CamelCase that says why, for programs.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub reason: Option<String>,
    /// A sentence that says why, for people.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub message: Option<String>,
    /// The metadata.generation that was looked at. Older than the object's own generation means
    /// that the latest spec has not been looked at yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// A condition that [`set`] will date.
    pub fn new(type_: &str, status: ConditionStatus, reason: &str, message: &str) -> Self {
        Self {
            type_: type_.to_owned(),
            status,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            ..Self::default()
        }
    }
}

/// The condition of this type, if there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of this type is there and has status True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|found| found.status == ConditionStatus::True)
}

/// Puts `wanted` in the place of the condition of its type, or at the end. True: something
/// changed, so the status is worth writing.
///
/// The transition time of `wanted` is ignored: it is `now` where the status differs from before,
/// else it stays as it was.
pub fn set(conditions: &mut Vec<Condition>, mut wanted: Condition, now: Timestamp) -> bool {
    let Some(current) = conditions.iter_mut().find(|known| known.type_ == wanted.type_) else {
        wanted.last_transition_time = Some(Time(now));
        conditions.push(wanted);
        return true;
    };
    wanted.last_transition_time = match &current.last_transition_time {
        Some(time) if current.status == wanted.status => Some(time.clone()),
        _ => Some(Time(now)),
    };
    let changed = *current != wanted;
    *current = wanted;
    changed
}

/// Schema of `status.conditions`: one entry of each type.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let mut list = Vec::<Condition>::json_schema(generator);
    list.insert("x-kubernetes-list-type".to_owned(), "map".into());
    list.insert("x-kubernetes-list-map-keys".to_owned(), vec!["type"].into());
    list
}

/// The same without observedGeneration, which the API does not have on CertificateRequests.
pub(crate) fn schema_without_generation(generator: &mut SchemaGenerator) -> Schema {
    let mut list = schema(generator);
    let properties = list.pointer_mut("/items/properties").and_then(Value::as_object_mut);
    if let Some(properties) = properties {
        properties.remove("observedGeneration");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(status: ConditionStatus, message: &str) -> Condition {
        Condition::new(READY, status, "Because", message)
    }

    #[test]
    fn the_same_condition_again_changes_nothing() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, ready(ConditionStatus::True, "fine"), at(1)));
        let before = conditions.clone();
        assert!(!set(&mut conditions, ready(ConditionStatus::True, "fine"), at(2)));
        assert_eq!(conditions, before);
    }

    #[test]
    fn only_a_change_of_status_moves_the_transition_time() {
        let mut conditions = Vec::new();
        set(&mut conditions, ready(ConditionStatus::False, "no"), at(1));
        assert!(set(&mut conditions, ready(ConditionStatus::False, "still no"), at(2)));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(1))));
        assert!(set(&mut conditions, ready(ConditionStatus::True, "yes"), at(3)));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(3))));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn a_condition_without_a_date_gets_one() {
        let mut conditions = vec![ready(ConditionStatus::True, "fine")];
        assert!(set(&mut conditions, ready(ConditionStatus::True, "fine"), at(5)));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(5))));
    }

    #[test]
    fn conditions_of_other_types_are_left_alone() {
        let mut conditions = Vec::new();
        set(&mut conditions, ready(ConditionStatus::True, "fine"), at(1));
        let issuing = Condition::new(ISSUING, ConditionStatus::Unknown, "R", "m");
        set(&mut conditions, issuing, at(2));
        assert!(is_true(&conditions, READY));
        assert!(!is_true(&conditions, ISSUING));
        assert!(find(&conditions, APPROVED).is_none());
    }
}
