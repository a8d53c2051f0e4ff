//! Calls for volumes that are live (spec/csi-driver.md §2.3, the last three rows of the contract): a pod is running, and
//! an error might take its mount away.

use api::keys::{csi as keys, csi_context};
use runtime::metrics::Metrics;

use super::*;

type Request = csi::NodePublishVolumeRequest;

/// What a node tells about calls that it let pass.
fn tolerated(metrics: &Metrics, reason: &str) -> usize {
    let text = metrics.encode().unwrap();
    let name = format!("signet_csi_tolerated_republishes_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap())
}

fn insert(key: &'static str, value: &'static str) -> impl Fn(&mut Request) {
    move |request| drop(request.volume_context.insert(key.to_owned(), value.to_owned()))
}

/// Calls once more for a live volume: first as it is, then when something else lies on its target. The code must be
/// `expected`, and the volume as before. Gives how often each reason was counted.
async fn check(change: impl Fn(&mut Request), expected: Code) -> [usize; 3] {
    let (node, metrics) = (Node::new(MANY), Metrics::new("test", "0"));
    let volumes = node.start_with(&metrics);
    volumes.publish(node.call()).await.unwrap();
    let before = certificate(&node);
    let outcome = volumes.publish(node.call_with(&change)).await;
    assert_eq!(code(&outcome), expected, "{outcome:?}");
    assert!(node.is_mounted());
    let counted = ["changed", "invalid", "failed"].map(|reason| tolerated(&metrics, reason));
    if expected == Code::Ok {
        node.mounter.unmount_all(&node.target()).unwrap();
        volumes.publish(node.call_with(&change)).await.unwrap();
        assert!(node.is_mounted(), "mounted again");
        // The same after a restart.
        node.start().publish(node.call_with(&change)).await.unwrap();
    }
    assert_eq!((node.ca.signatures(), certificate(&node)), (1, before));
    assert!(node.is_mounted());
    counted
}

#[tokio::test]
async fn another_place_or_pod_is_refused_and_nothing_touched() {
    check(|r| r.target_path.push_str("-too"), Code::AlreadyExists).await;
    check(insert(csi_context::POD_UID, "u-2"), Code::AlreadyExists).await;
}

#[tokio::test]
async fn the_same_call_and_what_kubelet_adds_to_it_are_nothing_to_tell() {
    let nothing = [0, 0, 0];
    assert_eq!(check(|_| (), Code::Ok).await, nothing);
    assert_eq!(check(insert(csi_context::SERVICE_ACCOUNT_TOKENS, "fresh"), Code::Ok).await, nothing);
    assert_eq!(check(insert("csi.storage.k8s.io/of-tomorrow", "x"), Code::Ok).await, nothing);
    assert_eq!(check(insert("example.org/hint", "x"), Code::Ok).await, nothing);
}

#[tokio::test]
async fn other_attributes_are_counted_and_change_nothing() {
    let changed = [1, 0, 0];
    assert_eq!(check(insert(keys::IS_CA, "true"), Code::Ok).await, changed);
    assert_eq!(check(insert(keys::ISSUER_NAME, "other"), Code::Ok).await, changed);
    assert_eq!(check(insert(keys::CERTIFICATE_FILE, "other.crt"), Code::Ok).await, changed);
}

#[tokio::test]
async fn what_would_be_refused_for_a_new_volume_is_counted_and_changes_nothing() {
    let invalid = [0, 1, 0];
    assert_eq!(check(insert(keys::IS_CA, "yes"), Code::Ok).await, invalid);
    assert_eq!(check(insert(keys::ISSUER_NAME, ""), Code::Ok).await, invalid);
    assert_eq!(check(|r| r.readonly = false, Code::Ok).await, invalid);
    assert_eq!(check(|r| r.volume_context.clear(), Code::Ok).await, invalid);
}

#[tokio::test]
async fn arguments_that_say_which_volume_it_is_are_never_optional() {
    for change in [|r: &mut Request| r.target_path.clear(), |r: &mut Request| r.volume_id.clear()] {
        let mut request = Node::new(0).request();
        change(&mut request);
        assert!(PublishRequest::read(request).is_err());
    }
}

#[tokio::test]
async fn a_renewal_does_not_hold_up_a_republish() {
    let node = Node::new(1);
    let volumes = node.start();
    volumes.publish(node.call()).await.unwrap();
    node.ahead.store(80 * 86_400, Ordering::Relaxed);
    renew_now(&volumes);
    volumes.publish(node.call_with(insert(keys::IS_CA, "yes"))).await.unwrap();
    let other_pod = node.call_with(insert(csi_context::POD_UID, "u-2"));
    assert_eq!(code(&volumes.publish(other_pod).await), Code::AlreadyExists);
    assert_eq!(node.ca.signatures(), 1, "the renewal is still waiting");
    node.ca.gate.add_permits(1);
    settle(&volumes).await;
    assert_eq!(node.ca.signatures(), 2);
}

/// A node whose driver was started again and does not know its one volume, which a pod has mounted.
async fn with_lost_state(metrics: &Metrics) -> (Node, Volumes) {
    let node = Node::new(MANY);
    node.start().publish(node.call()).await.unwrap();
    let state = node.folder.path().join("inmemfs/csi-1/metadata.json");
    // As by a driver that took what this one refuses.
    let text = std::fs::read_to_string(&state).unwrap().replace("\"ECDSA\"", "\"DSA\"");
    std::fs::write(&state, text).unwrap();
    let volumes = node.start_with(metrics);
    assert_eq!(volumes.live_count(), 0);
    (node, volumes)
}

#[tokio::test]
async fn a_mounted_volume_that_this_version_would_refuse_stays() {
    let metrics = Metrics::new("test", "0");
    let (node, volumes) = with_lost_state(&metrics).await;
    let before = certificate(&node);
    volumes.publish(node.call_with(insert(keys::KEY_ALGORITHM, "DSA"))).await.unwrap();
    assert!(node.is_mounted() && certificate(&node) == before);
    assert_eq!(tolerated(&metrics, "invalid"), 1);
    unpublish(&volumes, &node).await.unwrap();
    node.leaves_nothing();
    let outcome = volumes.publish(node.call_with(insert(keys::KEY_ALGORITHM, "DSA"))).await;
    assert_eq!(code(&outcome), Code::InvalidArgument, "nothing is mounted any more");
}

#[tokio::test]
async fn a_mounted_volume_that_cannot_be_made_anew_stays() {
    let metrics = Metrics::new("test", "0");
    let (node, volumes) = with_lost_state(&metrics).await;
    let before = (certificate(&node), key(&node));
    let message = "no".to_owned();
    *node.ca.answer.lock().unwrap() = Some(Signed::Terminal { reason: "x", message });
    volumes.publish(node.call()).await.unwrap();
    node.disk.plan(Fault::Full(2));
    volumes.publish(node.call()).await.unwrap();
    assert_eq!(tolerated(&metrics, "failed"), 2);
    assert!(node.is_mounted() && (certificate(&node), key(&node)) == before);
    node.disk.plan(Fault::None);
    volumes.publish(node.call()).await.unwrap();
    assert_eq!(volumes.live_count(), 1);
}

#[tokio::test]
async fn a_live_volume_that_cannot_be_mounted_again_is_not_said_to_be() {
    let node = Node::new(MANY);
    let volumes = node.start();
    volumes.publish(node.call()).await.unwrap();
    node.mounter.unmount_all(&node.target()).unwrap();
    node.mounter.break_down(true);
    assert_eq!(code(&volumes.publish(node.call()).await), Code::Internal);
    node.mounter.break_down(false);
    volumes.publish(node.call()).await.unwrap();
    assert!(node.is_mounted());
    assert_eq!(node.ca.signatures(), 1);
}
