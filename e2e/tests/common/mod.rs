//! What several test files need; each of them uses a part of it.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part of this")]

pub(crate) mod ca;
pub(crate) mod driver;
pub(crate) mod front;
pub(crate) mod injectors;
pub(crate) mod issuers;
pub(crate) mod load;
pub(crate) mod pods;
pub(crate) mod replicas;
pub(crate) mod requests;
pub(crate) mod reviewer;
pub(crate) mod rival;
pub(crate) mod signer;
pub(crate) mod targets;

use e2e::namespace::Scope;
use k8s_openapi::api::core::v1::Pod;

/// Whether the pod is Ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// How often the pod's containers were started again.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.map(|container| container.restart_count).sum()
}

/// The process of `program` in the pod with this UID.
pub(crate) fn process_of(scope: &Scope, program: &str, uid: &str) -> Option<i32> {
    let of_pod = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(uid))
    };
    scope.cluster.processes(program).into_iter().find(of_pod)
}
