//! What the tests of several modules need: requests, mounts without rights, and a CA in memory.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use api::keys::{csi as keys, csi_context};
use futures::future::BoxFuture;
use issuance::authority::Authority;
use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
use issuers::Outcome;
use jiff::{SignedDuration, Timestamp};
use nix::errno::Errno;
use proto::csi;
use proto::csi::volume_capability::{AccessType, MountVolume};

use crate::filesystem::{FileSystem, SystemFiles};
use crate::mount::{MountError, Mounter};
use crate::signing::{Order, Signing};
use crate::volume::{InvalidVolume, PublishRequest, VolumeSpec};

/// A request for an ECDSA certificate that nothing is wrong with.
pub(crate) fn publish_request(id: &str, target: &str) -> csi::NodePublishVolumeRequest {
    let context = [
        (csi_context::EPHEMERAL, "true"),
        (csi_context::POD_NAME, "web-0"),
        (csi_context::POD_NAMESPACE, "team-a"),
        (csi_context::POD_UID, "u-1"),
        (csi_context::SERVICE_ACCOUNT_NAME, "web"),
        (keys::ISSUER_NAME, "ca"),
        (keys::DNS_NAMES, "${POD_NAME}.test"),
        (keys::KEY_ALGORITHM, "ECDSA"),
    ];
    csi::NodePublishVolumeRequest {
        volume_id: id.to_owned(),
        target_path: target.to_owned(),
        readonly: true,
        volume_capability: Some(csi::VolumeCapability {
            access_mode: None,
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }),
        volume_context: context.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Default::default()
    }
}

/// The volume that a request asks for.
pub(crate) fn parse(request: csi::NodePublishVolumeRequest) -> Result<VolumeSpec, InvalidVolume> {
    PublishRequest::read(request)?.spec
}

/// The volume of the request above.
pub(crate) fn spec(id: &str, target: &str) -> VolumeSpec {
    parse(publish_request(id, target)).unwrap()
}

/// Mounts that exist only here: what lies on each target, topmost last.
#[derive(Debug, Default)]
pub(crate) struct FakeMounter {
    mounts: Mutex<HashMap<PathBuf, Vec<PathBuf>>>,
    broken: std::sync::atomic::AtomicBool,
}

impl FakeMounter {
    /// Makes every bind mount fail from now on, or succeed again.
    pub(crate) fn break_down(&self, broken: bool) {
        self.broken.store(broken, std::sync::atomic::Ordering::Relaxed);
    }

    /// Lays something foreign on a target.
    pub(crate) fn cover(&self, target: &Path) {
        self.push(target, Path::new("/foreign"));
    }

    /// What a target shows.
    pub(crate) fn stack(&self, target: &Path) -> Vec<PathBuf> {
        self.mounts.lock().unwrap().get(target).cloned().unwrap_or_default()
    }

    fn push(&self, target: &Path, from: &Path) {
        let mut mounts = self.mounts.lock().unwrap();
        mounts.entry(target.to_owned()).or_default().push(from.to_owned());
    }
}

impl Mounter for FakeMounter {
    fn provide_tmpfs(&self, at: &Path, _: u64) -> Result<(), MountError> {
        if self.stack(at).is_empty() {
            self.push(at, Path::new("tmpfs"));
        }
        Ok(())
    }

    fn mirror_read_only(&self, from: &Path, at: &Path) -> Result<(), MountError> {
        // A link shows the same without rights.
        if std::fs::remove_dir(at).is_ok() {
            std::os::unix::fs::symlink(from, at).unwrap();
        }
        Ok(())
    }

    fn bind_read_only(&self, from: &Path, target: &Path) -> Result<(), MountError> {
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            let source = Errno::EPERM;
            let (from, target) = (from.to_owned(), target.to_owned());
            return Err(MountError::Bind { from, target, source });
        }
        assert!(from.is_dir() && target.is_dir(), "{from:?} on {target:?}");
        self.push(target, from);
        Ok(())
    }

    fn shows(&self, from: &Path, target: &Path) -> Result<bool, MountError> {
        Ok(self.stack(target).last().is_some_and(|top| top == from))
    }

    fn unmount_all(&self, target: &Path) -> Result<(), MountError> {
        self.mounts.lock().unwrap().remove(target);
        Ok(())
    }
}

/// A CA in memory that signs when it is let.
pub(crate) struct TestCa {
    authority: Authority,
    /// Signatures made.
    pub(crate) signed: std::sync::atomic::AtomicUsize,
    /// One permit is needed for each answer.
    pub(crate) gate: tokio::sync::Semaphore,
    /// What to answer instead of a signature.
    pub(crate) answer: Mutex<Option<Outcome>>,
}

impl TestCa {
    /// A CA whose gate lets `answers` through.
    pub(crate) fn new(answers: usize) -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let lifetime = SignedDuration::from_hours(24 * 365);
        let now = Timestamp::now();
        Self {
            authority: Authority::self_signed("test CA", key, lifetime, now).unwrap(),
            signed: 0.into(),
            gate: tokio::sync::Semaphore::new(answers),
            answer: Mutex::default(),
        }
    }

    /// How often it signed.
    pub(crate) fn signatures(&self) -> usize {
        self.signed.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Signing for TestCa {
    fn sign<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            if let Some(answer) = self.answer.lock().unwrap().take() {
                return answer;
            }
            self.signed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let issued = self.authority.sign(order.request, order.terms, order.now).unwrap();
            Outcome::Issued(issued)
        })
    }
}

/// Which of the calls that change files fail, counted from 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Fault {
    /// None.
    #[default]
    None,
    /// One, with EACCES.
    Denied(usize),
    /// Every one that needs room, from this one of them on, with ENOSPC.
    Full(usize),
    /// Every one from this one on, with EIO.
    Dead(usize),
}

/// The file system, in which calls fail as planned.
#[derive(Debug, Default)]
pub(crate) struct FaultyFiles {
    state: Mutex<FaultState>,
}

#[derive(Debug, Default)]
struct FaultState {
    fault: Fault,
    /// Calls since the plan was made that could have failed.
    calls: usize,
    failures: usize,
    /// What was to be in a file called `tls.key`, whether or not it got there.
    keys: Vec<Vec<u8>>,
}

/// The mode of a folder in a test: root writes where the mode lets nobody, but tests may run as somebody else.
pub(crate) fn folder_mode(mode: u32) -> u32 {
    if nix::unistd::geteuid().is_root() { mode } else { mode | 0o200 }
}

impl FaultyFiles {
    /// Makes calls fail from now on.
    pub(crate) fn plan(&self, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        (state.fault, state.calls, state.failures) = (fault, 0, 0);
    }

    /// How many calls failed since the plan was made.
    pub(crate) fn failures(&self) -> usize {
        self.state.lock().unwrap().failures
    }

    /// Every key that was to be written.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().keys.clone()
    }

    /// Whether an error is one that was planned.
    pub(crate) fn is_ours(&self, error: &io::Error) -> bool {
        let planned = match self.state.lock().unwrap().fault {
            Fault::None => return false,
            Fault::Denied(_) => Errno::EACCES,
            Fault::Full(_) => Errno::ENOSPC,
            Fault::Dead(_) => Errno::EIO,
        };
        error.raw_os_error() == Some(planned as i32)
    }

    fn step(&self, needs_room: bool) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if matches!(state.fault, Fault::Full(_)) && !needs_room {
            return Ok(());
        }
        let call = state.calls;
        state.calls += 1;
        let errno = match state.fault {
            Fault::Denied(at) if call == at => Errno::EACCES,
            Fault::Full(from) if call >= from => Errno::ENOSPC,
            Fault::Dead(from) if call >= from => Errno::EIO,
            _ => return Ok(()),
        };
        state.failures += 1;
        Err(errno.into())
    }
}

impl FileSystem for FaultyFiles {
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.step(true)?;
        SystemFiles.make_folder(path, folder_mode(mode))
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        if path.ends_with("tls.key") {
            self.state.lock().unwrap().keys.push(bytes.to_vec());
        }
        if let Err(error) = self.step(true) {
            // What a full disk leaves.
            let _ = SystemFiles.write_new(path, &bytes[..bytes.len() / 2], 0o600);
            return Err(error);
        }
        SystemFiles.write_new(path, bytes, mode)
    }

    fn give_to(&self, path: &Path, group: u32) -> io::Result<()> {
        self.step(false)?;
        SystemFiles.give_to(path, group)
    }

    fn make_link(&self, path: &Path, points_to: &Path) -> io::Result<()> {
        self.step(true)?;
        SystemFiles.make_link(path, points_to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(false)?;
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(false)?;
        SystemFiles.remove(path)
    }
}
