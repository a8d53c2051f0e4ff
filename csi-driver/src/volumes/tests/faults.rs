//! Disks that fill up, files that cannot be written, mounts that fail: whatever breaks, what is left is whole or gone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;

use issuance::bundle::Bundle;
use issuance::key::PrivateKey;

use super::*;
use crate::node::NodeService;
use proto::csi::node_server::Node as _;

/// What a renewal makes at least: a folder, three files, a link, the state. A publish makes more.
const STEPS_MIN: usize = 6;

/// Publishes with a fault at each call in turn, until there is none so late. Each fault must leave nothing.
async fn check_publish(fault: fn(usize) -> Fault) {
    let node = Node::new(MANY);
    let volumes = node.start();
    let mut step = 0;
    loop {
        node.disk.plan(fault(step));
        let outcome = volumes.publish(node.call()).await;
        if node.disk.failures() == 0 {
            outcome.unwrap();
            break;
        }
        assert_eq!(code(&outcome), Code::Internal, "step {step}");
        node.leaves_nothing();
        assert!(volumes.inner.timer.entries().is_empty(), "step {step}");
        step += 1;
    }
    assert!(step >= STEPS_MIN, "only {step} calls failed");
    assert!(node.is_mounted());
}

#[tokio::test]
async fn a_publish_that_is_denied_any_of_its_files_leaves_nothing() {
    check_publish(Fault::Denied).await;
}

#[tokio::test]
async fn a_publish_onto_a_full_disk_leaves_nothing() {
    check_publish(Fault::Full).await;
}

#[tokio::test]
async fn what_a_dead_disk_kept_is_removed_by_the_next_publish_that_fails() {
    let node = Node::new(MANY);
    let volumes = node.start();
    for step in 0..STEPS_MIN {
        node.disk.plan(Fault::Dead(step));
        assert_eq!(code(&volumes.publish(node.call()).await), Code::Internal, "step {step}");
        assert_eq!(node.data().parent().unwrap().exists(), step > 0, "the disk was dead");
        node.disk.plan(Fault::None);
        node.mounter.break_down(true);
        assert_eq!(code(&volumes.publish(node.call()).await), Code::Internal, "step {step}");
        node.leaves_nothing();
        node.mounter.break_down(false);
    }
    assert_eq!(node.start().live_count(), 0);
}

#[tokio::test]
async fn a_publish_whose_target_cannot_be_made_leaves_nothing() {
    let node = Node::new(MANY);
    let volumes = node.start();
    let pod = node.target().parent().unwrap().to_owned();
    std::fs::create_dir_all(pod.parent().unwrap()).unwrap();
    std::fs::write(&pod, "a file where the pod's folder should be").unwrap();
    assert_eq!(code(&volumes.publish(node.call()).await), Code::Internal);
    node.leaves_nothing();
    std::fs::remove_file(&pod).unwrap();
    volumes.publish(node.call()).await.unwrap();
}

/// Everything in the folder that the pod sees.
fn entries(node: &Node) -> BTreeSet<OsString> {
    std::fs::read_dir(node.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

fn check_pair(node: &Node) {
    let key = PrivateKey::from_pem(&key(node)).unwrap();
    let chain = Bundle::parse(&certificate(node)).unwrap();
    assert_eq!(chain.certificates()[0].public_key(), key.public_key());
}

/// Renews with a fault at each call in turn, until there is none so late. Each fault must leave what was there.
async fn check_renewal(fault: fn(usize) -> Fault) {
    let node = Node::new(MANY);
    let volumes = node.start();
    volumes.publish(node.call()).await.unwrap();
    let id = node.spec().id;
    let later = || node.ahead.fetch_add(400, Ordering::Relaxed);
    node.ahead.store(80 * 86_400, Ordering::Relaxed);
    let mut step = 0;
    loop {
        let (before, certificate_before) = (entries(&node), certificate(&node));
        node.disk.plan(fault(step));
        renew_now(&volumes);
        settle(&volumes).await;
        let failures = node.disk.failures();
        node.disk.plan(Fault::None);
        check_pair(&node);
        let is_planned = |entry: &Entry| entry.work == Work::Sweep && entry.id == id;
        assert!(volumes.inner.timer.entries().iter().any(is_planned), "nobody will sweep");
        if failures == 0 {
            assert!(certificate(&node) != certificate_before);
            break;
        }
        if certificate(&node) == certificate_before {
            assert_eq!(entries(&node), before, "step {step} left something");
        }
        later();
        volumes.act(&Entry { at: Timestamp::MIN, id: id.clone(), work: Work::Sweep });
        settle(&volumes).await;
        assert_eq!(entries(&node).len(), before.len(), "step {step} left something");
        step += 1;
    }
    assert!(step >= STEPS_MIN, "only {step} calls failed");
    assert!(node.is_mounted());
}

#[tokio::test]
async fn a_renewal_that_is_denied_any_of_its_files_keeps_what_is_there() {
    check_renewal(Fault::Denied).await;
}

#[tokio::test]
async fn renewals_on_a_full_disk_take_no_more_room_each_time() {
    check_renewal(Fault::Full).await;
}

#[tokio::test]
async fn a_volume_that_was_written_and_never_mounted_is_removed_in_the_end() {
    let node = Node::new(MANY);
    node.start().publish(node.call()).await.unwrap();
    // What is left by a process that ends before it mounts.
    node.mounter.unmount_all(&node.target()).unwrap();
    let volumes = node.start();
    let orphan = Entry { at: Timestamp::MIN, id: node.spec().id, work: Work::Orphan };
    let planned = volumes.inner.timer.entries().into_iter().find(|entry| entry.work == Work::Orphan);
    let wait = planned.unwrap().at.duration_since(Timestamp::now());
    assert!(wait > renew::ORPHAN_KEPT / 2, "kubelet may ask for it yet");
    volumes.publish(node.call()).await.unwrap();
    volumes.act(&orphan);
    settle(&volumes).await;
    assert!(node.is_mounted(), "kubelet asked for it");
    node.mounter.unmount_all(&node.target()).unwrap();
    let volumes = node.start();
    volumes.act(&orphan);
    settle(&volumes).await;
    node.leaves_nothing();
    assert_eq!(volumes.live_count(), 0);
}

#[tokio::test]
async fn a_mounted_volume_is_no_orphan() {
    let node = Node::new(MANY);
    node.start().publish(node.call()).await.unwrap();
    let volumes = node.start();
    assert!(volumes.inner.timer.entries().iter().all(|entry| entry.work != Work::Orphan));
    volumes.act(&Entry { at: Timestamp::MIN, id: node.spec().id, work: Work::Orphan });
    settle(&volumes).await;
    assert!(node.is_mounted() && volumes.live_count() == 1);
}

#[tokio::test]
async fn pods_that_come_and_go_leave_nothing_in_the_timer() {
    const PODS: usize = 10_000;
    let node = Node::new(MANY);
    let volumes = node.start();
    volumes.publish(node.call()).await.unwrap();
    let live = match volumes.lock().get(&node.spec().id) {
        Some(Phase::Live(live)) => live.clone(),
        _ => panic!("the volume is live"),
    };
    let mut most = 0;
    for number in 0..PODS {
        // What the begin and the end of a publish and an unpublish do; keys and files would take minutes.
        let id = VolumeId::new(&format!("csi-pod-{number}")).unwrap();
        let mut phases = volumes.lock();
        volumes.rest(&mut phases, &id, Some(live.clone()));
        volumes.rest(&mut phases, &id, None);
        most = most.max(volumes.inner.timer.entries().len());
    }
    assert!(most <= 2 * 2 + TIMER_SLACK, "{most} entries for one or two volumes");
    let entries = volumes.inner.timer.entries();
    let renewal = Entry { at: live.attempt_at, id: node.spec().id, work: Work::Renew };
    assert!(entries.contains(&renewal), "the live volume is still renewed");
}

/// The log of this test program.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_fails_tells_the_path_and_never_the_key() {
    let log = Log::default();
    let writer = log.clone();
    // For the whole program, since files are written on threads of their own; the lines of other tests do no harm.
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let node = Node::new(MANY);
    let volumes = node.start();
    let figures = DriverMetrics::new(&runtime::metrics::Metrics::new("test", "0"));
    let service = NodeService::new("node-1".to_owned(), volumes, None, figures);
    let mut answers = String::new();
    for step in 0.. {
        // Every second time the clean-up fails too.
        node.disk.plan(if step % 2 == 0 { Fault::Denied(step / 2) } else { Fault::Dead(step / 2) });
        match service.node_publish_volume(tonic::Request::new(node.request())).await {
            Ok(_) => break,
            Err(status) => answers.push_str(&format!("{status:?}")),
        }
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for said in ["publish failed", "cannot clean up after a failed publish", "tls.key"] {
        assert!(log.contains(said), "nothing was logged about {said:?}");
    }
    let keys = node.disk.keys();
    assert!(keys.len() >= STEPS_MIN, "only {} keys were to be written", keys.len());
    for key in keys {
        let key = String::from_utf8(key).unwrap();
        let secret = key.lines().filter(|line| !line.starts_with("-----"));
        for line in secret {
            assert!(!log.contains(line) && !answers.contains(line), "a line of a key was told");
        }
    }
}
