//! A whole node without rights: real files, mounts and a CA in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use issuers::Outcome as Signed;
use proto::csi;
use tonic::Code;

use super::*;
use crate::keys::Keys;
use crate::testing::{self, FakeMounter, Fault, FaultyFiles, TestCa};

mod faults;
mod republish;

/// A node: its folders, its mounts and its CA outlive the driver.
struct Node {
    folder: tempfile::TempDir,
    disk: Arc<FaultyFiles>,
    mounter: Arc<FakeMounter>,
    ca: Arc<TestCa>,
    /// Seconds by which the driver's clock is ahead.
    ahead: Arc<AtomicI64>,
}

const MANY: usize = 1000;

impl Node {
    fn new(answers: usize) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            disk: Arc::default(),
            mounter: Arc::default(),
            ca: Arc::new(TestCa::new(answers)),
            ahead: Arc::default(),
        }
    }

    /// Starts a driver, as after a restart if there was one.
    fn start(&self) -> Volumes {
        self.start_with(&runtime::metrics::Metrics::new("test", "0"))
    }

    fn start_with(&self, metrics: &runtime::metrics::Metrics) -> Volumes {
        let metrics = DriverMetrics::new(metrics);
        let ahead = Arc::clone(&self.ahead);
        let clock: Clock = Arc::new(move || {
            Timestamp::now() + jiff::SignedDuration::from_secs(ahead.load(Ordering::Relaxed))
        });
        let mounter = Arc::clone(&self.mounter);
        let disk = Arc::clone(&self.disk);
        let store = Store::open_with(disk, self.folder.path(), 1 << 20, mounter.as_ref()).unwrap();
        let keys = Keys::start(0).unwrap();
        let signing = Arc::clone(&self.ca);
        let issuance = Issuance::new(keys, signing, Arc::clone(&clock), metrics.clone());
        Volumes::open(Parts { store, mounter, issuance, clock, metrics }).unwrap()
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("pods/a/mount")
    }

    fn request(&self) -> csi::NodePublishVolumeRequest {
        testing::publish_request("csi-1", self.target().to_str().unwrap())
    }

    fn spec(&self) -> VolumeSpec {
        testing::parse(self.request()).unwrap()
    }

    fn call(&self) -> PublishRequest {
        self.call_with(|_| ())
    }

    /// The call with something else in it.
    fn call_with(&self, change: impl FnOnce(&mut csi::NodePublishVolumeRequest)) -> PublishRequest {
        let mut request = self.request();
        change(&mut request);
        PublishRequest::read(request).unwrap()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("inmemfs/csi-1/data")
    }

    fn view(&self) -> PathBuf {
        self.folder.path().join("inmemfs-read-only/csi-1/data")
    }

    fn is_mounted(&self) -> bool {
        self.mounter.stack(&self.target()) == [self.view()]
    }

    fn leaves_nothing(&self) {
        assert!(!self.data().parent().unwrap().exists(), "files are left");
        assert!(self.mounter.stack(&self.target()).is_empty(), "a mount is left");
        assert!(!self.target().exists(), "the target is left");
    }
}

async fn unpublish(volumes: &Volumes, node: &Node) -> Outcome {
    let spec = node.spec();
    volumes.unpublish(&spec.id, &spec.target).await
}

fn code(outcome: &Outcome) -> Code {
    outcome.as_ref().map_or_else(|error| error.code(), |()| Code::Ok)
}

fn renew_now(volumes: &Volumes) {
    let id = VolumeId::new("csi-1").unwrap();
    volumes.act(&Entry { at: Timestamp::MIN, id, work: Work::Renew });
}

/// Waits until the volume is at rest.
async fn settle(volumes: &Volumes) {
    loop {
        let busy = volumes.lock().values().find_map(|phase| match phase {
            Phase::Busy(busy) => Some(busy.done.clone()),
            Phase::Live(_) => None,
        });
        let Some(mut done) = busy else { return };
        let _ = done.wait_for(Option::is_some).await;
    }
}

fn certificate(node: &Node) -> Vec<u8> {
    std::fs::read(node.data().join("tls.crt")).unwrap()
}

fn key(node: &Node) -> Vec<u8> {
    std::fs::read(node.data().join("tls.key")).unwrap()
}

#[tokio::test]
async fn a_failed_publish_leaves_nothing_and_the_next_one_succeeds() {
    let node = Node::new(MANY);
    let volumes = node.start();
    let message = "Secret team-a/ca does not exist".to_owned();
    for (answer, expected) in [
        (Signed::Wait { reason: "SecretMissing", message: message.clone() }, Code::Unavailable),
        (
            Signed::Retry { after: Duration::ZERO, reason: "ApiError", message: message.clone() },
            Code::Unavailable,
        ),
        (Signed::Terminal { reason: "SigningError", message: message.clone() }, Code::FailedPrecondition),
    ] {
        *node.ca.answer.lock().unwrap() = Some(answer);
        let outcome = volumes.publish(node.call()).await;
        assert_eq!(code(&outcome), expected);
        assert!(outcome.unwrap_err().text().contains(&message));
        node.leaves_nothing();
    }
    node.mounter.break_down(true);
    assert_eq!(code(&volumes.publish(node.call()).await), Code::Internal);
    node.leaves_nothing();
    node.mounter.break_down(false);
    volumes.publish(node.call()).await.unwrap();
    assert!(node.is_mounted());
}

#[tokio::test]
async fn overlapping_calls_issue_once_and_others_are_turned_away() {
    let node = Node::new(0);
    let volumes = node.start();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (volumes, request) = (volumes.clone(), node.call());
            tokio::spawn(async move { volumes.publish(request).await })
        })
        .collect();
    while volumes.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let is_ca = |r: &mut csi::NodePublishVolumeRequest| {
        r.volume_context.insert(api::keys::csi::IS_CA.to_owned(), "true".to_owned());
    };
    assert_eq!(code(&volumes.publish(node.call_with(is_ca)).await), Code::Aborted);
    let invalid = node.call_with(|r| r.readonly = false);
    assert_eq!(code(&volumes.publish(invalid).await), Code::Aborted);
    node.ca.gate.add_permits(1);
    for call in calls {
        call.await.unwrap().unwrap();
        assert!(node.is_mounted());
    }
    assert_eq!(node.ca.signatures(), 1);
    let elsewhere = |r: &mut csi::NodePublishVolumeRequest| r.target_path.push_str("-too");
    let outcome = volumes.publish(node.call_with(elsewhere)).await;
    assert_eq!(code(&outcome), Code::AlreadyExists);
    assert!(node.is_mounted(), "the live volume is untouched");
}

#[tokio::test]
async fn a_cancelled_call_does_not_cancel_the_work() {
    let node = Node::new(0);
    let volumes = node.start();
    let (cancelled, request) = (volumes.clone(), node.call());
    let call = tokio::spawn(async move { cancelled.publish(request).await });
    while volumes.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    node.ca.gate.add_permits(1);
    volumes.publish(node.call()).await.unwrap();
    assert_eq!(node.ca.signatures(), 1);
}

#[tokio::test]
async fn unpublish_interrupts_an_issue_and_leaves_nothing() {
    let node = Node::new(0);
    let volumes = node.start();
    let (published, request) = (volumes.clone(), node.call());
    let call = tokio::spawn(async move { published.publish(request).await });
    while volumes.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    unpublish(&volumes, &node).await.unwrap();
    assert_eq!(code(&call.await.unwrap()), Code::Aborted);
    node.leaves_nothing();
    assert_eq!(volumes.live_count(), 0);
}

#[tokio::test]
async fn unpublish_is_done_whatever_is_there() {
    let node = Node::new(MANY);
    let volumes = node.start();
    unpublish(&volumes, &node).await.unwrap();
    volumes.publish(node.call()).await.unwrap();
    node.mounter.cover(&node.target());
    unpublish(&volumes, &node).await.unwrap();
    node.leaves_nothing();
    volumes.publish(node.call()).await.unwrap();
    std::fs::remove_dir(node.target()).unwrap();
    unpublish(&volumes, &node).await.unwrap();
    unpublish(&volumes, &node).await.unwrap();
    node.leaves_nothing();
}

#[tokio::test]
async fn a_live_volume_is_published_again_at_no_cost_and_mounted_again_if_need_be() {
    let node = Node::new(MANY);
    let volumes = node.start();
    volumes.publish(node.call()).await.unwrap();
    let before = certificate(&node);
    let tokens = api::keys::csi_context::SERVICE_ACCOUNT_TOKENS.to_owned();
    let fresh = node.call_with(|r| drop(r.volume_context.insert(tokens, "fresh".to_owned())));
    volumes.publish(fresh).await.unwrap();
    node.mounter.unmount_all(&node.target()).unwrap();
    volumes.publish(node.call()).await.unwrap();
    assert!(node.is_mounted());
    assert_eq!((node.ca.signatures(), certificate(&node)), (1, before));
}

#[tokio::test]
async fn a_restart_keeps_live_volumes_and_removes_unfinished_ones() {
    let node = Node::new(MANY);
    node.start().publish(node.call()).await.unwrap();
    let before = certificate(&node);
    let unfinished = node.folder.path().join("inmemfs/csi-2/data");
    std::fs::create_dir_all(&unfinished).unwrap();
    let volumes = node.start();
    assert_eq!(volumes.live_count(), 1);
    assert!(!unfinished.exists());
    volumes.publish(node.call()).await.unwrap();
    assert_eq!((node.ca.signatures(), certificate(&node)), (1, before));
    unpublish(&volumes, &node).await.unwrap();
    node.leaves_nothing();
}

#[tokio::test]
async fn a_volume_with_a_broken_state_is_made_anew_under_its_mount() {
    let node = Node::new(MANY);
    node.start().publish(node.call()).await.unwrap();
    let state = node.folder.path().join("inmemfs/csi-1/metadata.json");
    std::fs::write(&state, "garbage").unwrap();
    let volumes = node.start();
    assert!(node.is_mounted() && volumes.live_count() == 0);
    volumes.publish(node.call()).await.unwrap();
    assert!(node.is_mounted());
    assert_eq!((node.ca.signatures(), node.start().live_count()), (2, 1));
}

#[tokio::test]
async fn nothing_secret_is_kept_beside_the_files() {
    let node = Node::new(MANY);
    let tokens = api::keys::csi_context::SERVICE_ACCOUNT_TOKENS.to_owned();
    let call = node.call_with(|r| {
        r.volume_context.insert(tokens.clone(), "hunter2".to_owned());
        r.secrets.insert(tokens, "hunter2".to_owned());
    });
    node.start().publish(call).await.unwrap();
    let state = node.folder.path().join("inmemfs/csi-1/metadata.json");
    assert!(!std::fs::read_to_string(state).unwrap().contains("hunter2"));
}

#[tokio::test]
async fn a_renewal_replaces_certificate_and_key_and_keeps_the_mount() {
    let node = Node::new(MANY);
    let volumes = node.start();
    volumes.publish(node.call()).await.unwrap();
    let (certificate_before, key_before) = (certificate(&node), key(&node));
    renew_now(&volumes);
    settle(&volumes).await;
    assert_eq!(node.ca.signatures(), 1, "not due yet");
    node.ahead.store(80 * 86_400, Ordering::Relaxed);
    renew_now(&volumes);
    settle(&volumes).await;
    assert_eq!(node.ca.signatures(), 2);
    assert!(certificate(&node) != certificate_before && key(&node) != key_before);
    assert!(node.is_mounted());
    volumes.publish(node.call()).await.unwrap();
    assert_eq!(node.start().live_count(), 1);
}

#[tokio::test]
async fn a_renewal_keeps_the_key_of_a_volume_that_asks_for_it() {
    let node = Node::new(MANY);
    let volumes = node.start();
    let reuse = api::keys::csi::REUSE_PRIVATE_KEY.to_owned();
    let call = node.call_with(|r| drop(r.volume_context.insert(reuse, "true".to_owned())));
    volumes.publish(call).await.unwrap();
    let before = key(&node);
    node.ahead.store(80 * 86_400, Ordering::Relaxed);
    renew_now(&volumes);
    settle(&volumes).await;
    assert_eq!((node.ca.signatures(), key(&node)), (2, before));
}

#[tokio::test]
async fn a_failed_renewal_harms_nothing_and_waits_before_the_next() {
    let node = Node::new(MANY);
    let volumes = node.start();
    volumes.publish(node.call()).await.unwrap();
    let before = certificate(&node);
    node.ahead.store(80 * 86_400, Ordering::Relaxed);
    let message = "no".to_owned();
    *node.ca.answer.lock().unwrap() = Some(Signed::Terminal { reason: "x", message });
    renew_now(&volumes);
    settle(&volumes).await;
    renew_now(&volumes);
    settle(&volumes).await;
    assert_eq!((node.ca.signatures(), certificate(&node)), (1, before));
    volumes.publish(node.call()).await.unwrap();
    node.ahead.fetch_add(31, Ordering::Relaxed);
    renew_now(&volumes);
    settle(&volumes).await;
    assert_eq!(node.ca.signatures(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_interleavings_end_in_what_the_last_call_said() {
    let node = Node::new(MANY * 10);
    let volumes = node.start();
    for round in 0..50_u32 {
        let calls: Vec<_> = (0..8_u32)
            .map(|number| {
                let (volumes, call) = (volumes.clone(), node.call());
                tokio::spawn(async move {
                    if (round * 7 + number * 5) % 3 == 0 {
                        volumes.unpublish(&call.id, &call.target).await
                    } else {
                        volumes.publish(call).await
                    }
                })
            })
            .collect();
        for call in calls {
            let outcome = call.await.unwrap();
            assert!(matches!(code(&outcome), Code::Ok | Code::Aborted), "{outcome:?}");
        }
        volumes.publish(node.call()).await.unwrap();
        assert!(node.is_mounted() && node.data().join("tls.crt").is_file());
        unpublish(&volumes, &node).await.unwrap();
        node.leaves_nothing();
    }
}

#[tokio::test]
async fn a_target_that_shows_something_else_is_freed_first() {
    let node = Node::new(MANY);
    node.mounter.cover(&node.target());
    node.start().publish(node.call()).await.unwrap();
    assert_eq!(node.mounter.stack(Path::new(&node.target())), [node.view()]);
}
