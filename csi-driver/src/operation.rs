//! What is done to one volume, step by step. Whoever calls holds the volume: nothing else happens to it meanwhile.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use issuance::credential::{Credential, Verified};
use issuance::key::PrivateKey;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::attributes;
use crate::error::VolumeError;
use crate::files;
use crate::metadata::Validity;
use crate::metrics::{DriverMetrics, Phase};
use crate::mount::{Mounter, is_gone};
use crate::renew;
use crate::store::Store;
use crate::volume::{TargetPath, VolumeId, VolumeSpec};
use crate::volumes::{Live, Parts};

/// Gets a certificate, writes it and mounts it. Until the certificate is there nothing is touched; after a failure
/// nothing of the volume is left.
pub(crate) async fn publish(
    parts: &Parts,
    writers: &Semaphore,
    spec: &Arc<VolumeSpec>,
    cancel: &CancellationToken,
) -> Result<Live, VolumeError> {
    for key in attributes::unknown_keys(&spec.context) {
        tracing::warn!(volume = %spec.id, pod = %spec.pod, key, "this volume attribute does not exist and is ignored");
    }
    let (credential, validity) = issue(parts, spec, None, cancel).await?;
    let (spec, place) = (Arc::clone(spec), Place::of(parts));
    blocking(writers, &spec.id.clone(), move || {
        let rollback = Rollback::of(&place, &spec);
        place.store.prepare(&spec)?;
        place.write(&spec, &credential, &validity)?;
        place.mount(&spec)?;
        rollback.defuse();
        tracing::info!(
            volume = %spec.id, pod = %spec.pod, expires = %validity.not_after, renewal = %validity.renew_at,
            "published"
        );
        Ok(Live::new(spec, validity))
    })
    .await
}

/// Mounts a live volume once more.
pub(crate) async fn remount(
    parts: &Parts,
    writers: &Semaphore,
    spec: &Arc<VolumeSpec>,
) -> Result<(), VolumeError> {
    let (spec, place) = (Arc::clone(spec), Place::of(parts));
    blocking(writers, &spec.id.clone(), move || {
        tracing::warn!(volume = %spec.id, pod = %spec.pod, "the volume was not mounted any more; mounting it again");
        place.mount(&spec)
    })
    .await
}

/// Replaces the certificate in a live volume, and its key unless the volume keeps that.
pub(crate) async fn renew(
    parts: &Parts,
    writers: &Semaphore,
    live: &Live,
    cancel: &CancellationToken,
) -> Result<Live, VolumeError> {
    let spec = Arc::clone(&live.spec);
    let kept = kept_key(&parts.store, &spec);
    let (credential, validity) = issue(parts, &spec, kept, cancel).await?;
    let place = Place::of(parts);
    blocking(writers, &spec.id.clone(), move || {
        place.write(&spec, &credential, &validity)?;
        tracing::info!(
            volume = %spec.id, pod = %spec.pod, expires = %validity.not_after, renewal = %validity.renew_at,
            "renewed"
        );
        Ok(Live::new(spec, validity))
    })
    .await
}

/// Removes the generations that were replaced long enough ago.
pub(crate) async fn sweep(
    parts: &Parts,
    writers: &Semaphore,
    spec: &Arc<VolumeSpec>,
) -> Result<(), VolumeError> {
    let (spec, store) = (Arc::clone(spec), parts.store.clone());
    let now = (parts.clock)();
    let replaced_before = now.saturating_sub(renew::GENERATION_KEPT).unwrap_or(now);
    blocking(writers, &spec.id.clone(), move || {
        store.sweep(&spec.id, replaced_before).map_err(|error| {
            let error = VolumeError::from(error);
            tracing::warn!(volume = %spec.id, error = error.text(), "cannot remove old files of a volume");
            error
        })
    })
    .await
}

/// Unmounts a volume wherever it is, erases it, and removes its target.
pub(crate) async fn remove(
    parts: &Parts,
    writers: &Semaphore,
    id: &VolumeId,
    target: TargetPath,
    recorded: Option<TargetPath>,
) -> Result<(), VolumeError> {
    let (id, place) = (id.clone(), Place::of(parts));
    blocking(writers, &id.clone(), move || {
        let elsewhere = recorded.filter(|recorded| *recorded != target);
        for target in elsewhere.iter().chain([&target]) {
            place.mounter.unmount_all(target.as_path())?;
        }
        place.store.remove(&id)?;
        for target in elsewhere.iter().chain([&target]) {
            remove_target(target.as_path())?;
        }
        tracing::info!(volume = %id, "unpublished");
        Ok(())
    })
    .await
}

/// A credential for a volume and its place in time, unless somebody interrupts.
async fn issue(
    parts: &Parts,
    spec: &VolumeSpec,
    kept: Option<PrivateKey>,
    cancel: &CancellationToken,
) -> Result<(Credential<Verified>, Validity), VolumeError> {
    let (credential, issued_at) = tokio::select! {
        issued = parts.issuance.issue(spec, kept) => issued?,
        () = cancel.cancelled() => return Err(VolumeError::Interrupted(spec.id.clone())),
    };
    let validity = renew::plan(spec, issued_at, credential.not_before(), credential.not_after());
    Ok((credential, validity))
}

/// The key of the certificate before, where the volume keeps it and it is still what the volume asks for.
fn kept_key(store: &Store, spec: &VolumeSpec) -> Option<PrivateKey> {
    if !spec.attributes.reuse_private_key {
        return None;
    }
    let text = store.read(&spec.id, &spec.attributes.files.private_key).ok()??;
    let key = PrivateKey::from_pem(text.expose()).ok()?;
    (key.algorithm() == spec.attributes.key).then_some(key)
}

/// Where files and mounts are made, as a thread takes it along.
struct Place {
    store: Store,
    mounter: Arc<dyn Mounter>,
    metrics: DriverMetrics,
    now: Timestamp,
}

impl Place {
    fn of(parts: &Parts) -> Self {
        Self {
            store: parts.store.clone(),
            mounter: Arc::clone(&parts.mounter),
            metrics: parts.metrics.clone(),
            now: (parts.clock)(),
        }
    }

    fn write(
        &self,
        spec: &VolumeSpec,
        credential: &Credential<Verified>,
        validity: &Validity,
    ) -> Result<(), VolumeError> {
        let _timer = self.metrics.phase(Phase::Write);
        let files = files::render(&spec.attributes, credential);
        Ok(self.store.write(spec, &files, validity, self.now)?)
    }

    fn mount(&self, spec: &VolumeSpec) -> Result<(), VolumeError> {
        let _timer = self.metrics.phase(Phase::Mount);
        let target = spec.target.as_path();
        let view = self.store.view(&spec.id);
        make_target(target)?;
        if self.mounter.shows(&view, target)? {
            return Ok(());
        }
        // A mount that is not ours to show, such as one of a tmpfs that is gone, would be hidden, not replaced.
        self.mounter.unmount_all(target)?;
        Ok(self.mounter.bind_read_only(&view, target)?)
    }
}

/// Takes a publish back unless it gets to its end: whatever step fails, or panics, nothing of the volume stays. Kubelet
/// does not unpublish what was never published, so nobody else would erase the key.
struct Rollback<'p> {
    place: &'p Place,
    spec: &'p VolumeSpec,
    /// Whether the target showed the volume before, or could not be looked at: then a pod may be reading it, even
    /// though its state was lost. Leftovers that no target shows are ours to take away, whoever made them.
    in_use: bool,
    finished: bool,
}

impl<'p> Rollback<'p> {
    /// Looks before anything is made.
    fn of(place: &'p Place, spec: &'p VolumeSpec) -> Self {
        let shown = place.mounter.shows(&place.store.view(&spec.id), spec.target.as_path());
        Self { place, spec, in_use: shown.unwrap_or(true), finished: false }
    }

    /// The publish is complete, and stays.
    fn defuse(mut self) {
        self.finished = true;
    }
}

impl Drop for Rollback<'_> {
    /// Each step is tried, whatever became of the one before. What cannot be taken back is told, and met again by the
    /// next publish or unpublish.
    fn drop(&mut self) {
        if self.finished || self.in_use {
            return;
        }
        let (place, target) = (self.place, self.spec.target.as_path());
        let steps = [
            place.mounter.unmount_all(target).map_err(VolumeError::from),
            place.store.remove(&self.spec.id).map_err(VolumeError::from),
            remove_target(target),
        ];
        for error in steps.into_iter().filter_map(Result::err) {
            tracing::warn!(volume = %self.spec.id, error = error.text(), "cannot clean up after a failed publish");
        }
    }
}

fn make_target(target: &Path) -> Result<(), VolumeError> {
    // The mode is of no matter: the mount hides it.
    let made = DirBuilder::new().recursive(true).mode(0o750).create(target);
    made.map_err(|source| VolumeError::Target { step: "make", path: target.to_owned(), source })
}

fn remove_target(target: &Path) -> Result<(), VolumeError> {
    match std::fs::remove_dir(target) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_gone(&error) => Ok(()),
        // Somebody's files: not ours to delete, and no reason to keep the pod from going.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            tracing::warn!(?target, "leaving a target that is not empty");
            Ok(())
        }
        Err(source) => Err(VolumeError::Target { step: "remove", path: target.to_owned(), source }),
    }
}

/// Runs file work on a thread that may block, of which there are few.
async fn blocking<T: Send + 'static>(
    writers: &Semaphore,
    id: &VolumeId,
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    let interrupted = || VolumeError::Interrupted(id.clone());
    let _permit = writers.acquire().await.map_err(|_| interrupted())?;
    tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?
}
