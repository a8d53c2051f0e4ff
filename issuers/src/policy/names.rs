//! Which names a pod has by itself: those under which it is reached in its namespace, and its account's identity.

use super::pod::Subject;

/// The longest DNS name (RFC 1035 §2.3.4), as text without its last dot.
const DNS_NAME_BYTES_MAX: usize = 253;
/// The longest label of one.
const LABEL_BYTES_MAX: usize = 63;

/// How a pod stands to a DNS name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the pod's, through a Service that selects it.
    Own,
    /// It is the name of the pod or of its service account, and no Service has it: the text says which.
    Leaning(&'static str),
    /// It is not the pod's, and this is why.
    Foreign(String),
}

/// How the pod stands to the DNS `name`, which is in lower case.
pub(super) fn standing(name: &str, subject: &Subject<'_>, cluster_domain: &str) -> Standing {
    let namespace = subject.pod.namespace;
    let short = format!(".{namespace}.svc");
    let long = format!("{short}.{cluster_domain}");
    let Some(front) = name.strip_suffix(&long).or_else(|| name.strip_suffix(&short)) else {
        return Standing::Foreign(format!("it ends neither in {short} nor in {long}"));
    };
    match front.split('.').collect::<Vec<_>>().as_slice() {
        ["*"] => Standing::Foreign("wildcards need a rule".to_owned()),
        [label] => of_one_label(label, subject),
        [host, service] => of_host(host, service, subject),
        _ => Standing::Foreign(format!(
            "nothing in a cluster is reached under more than two labels before {short}"
        )),
    }
}

fn of_one_label(label: &str, subject: &Subject<'_>) -> Standing {
    let pod = &subject.pod;
    match subject.services.get(pod.namespace, label) {
        Some(service) if service.selects(pod.labels) => Standing::Own,
        Some(_) => Standing::Foreign(format!("Service {}/{label} does not select the pod", pod.namespace)),
        None if label == pod.name => Standing::Leaning("pod"),
        None if label == pod.account => Standing::Leaning("service account"),
        None => Standing::Foreign(format!(
            "there is no Service {}/{label}, and neither the pod nor its service account is called so",
            pod.namespace
        )),
    }
}

fn of_host(host: &str, service: &str, subject: &Subject<'_>) -> Standing {
    let pod = &subject.pod;
    if pod.hostname != Some(host) || pod.subdomain != Some(service) {
        return Standing::Foreign(format!(
            "the spec of the pod does not have hostname {host} and subdomain {service}"
        ));
    }
    match subject.services.get(pod.namespace, service) {
        Some(found) if found.is_headless && found.selects(pod.labels) => Standing::Own,
        _ => Standing::Foreign(format!(
            "there is no headless Service {}/{service} that selects the pod",
            pod.namespace
        )),
    }
}

/// Whether the text, in lower case, is a DNS name, or a wildcard of one: what a rule can permit.
pub(super) fn is_dns_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    name.len() <= DNS_NAME_BYTES_MAX && host.split('.').all(is_label)
}

/// The SPIFFE identity of the pod's service account.
pub(super) fn identity(subject: &Subject<'_>, trust_domain: &str) -> String {
    format!("spiffe://{trust_domain}/ns/{}/sa/{}", subject.pod.namespace, subject.pod.account)
}
