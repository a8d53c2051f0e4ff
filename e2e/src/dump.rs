//! The state of a namespace as text, for the report of a test that failed in it.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};

/// Lines of each container's log.
const LOG_LINES: i64 = 40;

/// Pods with their conditions and the ends of their logs, and the events, oldest first. What cannot be read is said in its place.
pub async fn namespace(client: &Client, name: &str) -> String {
    let mut text = format!("--- namespace {name} ---\n");
    match Api::<Pod>::namespaced(client.clone(), name).list(&ListParams::default()).await {
        Ok(pods) => {
            for pod in pods {
                describe_pod(client, name, &pod, &mut text).await;
            }
        }
        Err(error) => line(&mut text, &format!("pods cannot be listed: {error}")),
    }
    match Api::<Event>::namespaced(client.clone(), name).list(&ListParams::default()).await {
        Ok(events) => describe_events(events.items, &mut text),
        Err(error) => line(&mut text, &format!("events cannot be listed: {error}")),
    }
    text
}

async fn describe_pod(client: &Client, namespace: &str, pod: &Pod, text: &mut String) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    line(text, &format!("pod {name}: {}", status.phase.as_deref().unwrap_or("no phase yet")));
    for condition in
        status.conditions.unwrap_or_default().iter().filter(|condition| condition.status != "True")
    {
        let (reason, message) = (condition.reason.as_deref(), condition.message.as_deref());
        line(
            text,
            &format!(
                "  not {}: {} {}",
                condition.type_,
                reason.unwrap_or_default(),
                message.unwrap_or_default()
            ),
        );
    }
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let params = LogParams {
            container: Some(container.name.clone()),
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        match api.logs(name, &params).await {
            Ok(log) if log.is_empty() => line(text, &format!("  {}: no log", container.name)),
            Ok(log) => log.lines().for_each(|logged| line(text, &format!("  {}: {logged}", container.name))),
            Err(error) => line(text, &format!("  {}: its log cannot be read: {error}", container.name)),
        }
    }
}

fn describe_events(mut events: Vec<Event>, text: &mut String) {
    events.sort_by_key(|event| event.metadata.creation_timestamp.as_ref().map(|time| time.0));
    for event in events {
        let object = &event.involved_object;
        line(
            text,
            &format!(
                "event {} {}/{}: {}: {}",
                event.type_.as_deref().unwrap_or_default(),
                object.kind.as_deref().unwrap_or_default(),
                object.name.as_deref().unwrap_or_default(),
                event.reason.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default().trim()
            ),
        );
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
