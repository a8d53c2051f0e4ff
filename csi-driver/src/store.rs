//! The volumes of the node on disk: one tmpfs, one folder for each volume, and in it what a pod sees.
//!
//! ```text
//! <data root>/inmemfs-read-only/   the tmpfs once more, for mounting from it
//! <data root>/inmemfs/             tmpfs, 0700
//!   <volume id>/                   0700
//!     metadata.json                0600, replaced by rename
//!     data/                        0550, group of the volume; this folder is mounted into the pod
//!       ..2026_11_22_10_11_12.123456789/    0750, the files in it 0440
//!       ..data -> ..2026…          replaced by rename: the one moment at which all files change
//!       tls.crt -> ..data/tls.crt
//! ```
//!
//! Whatever the moment of a crash, a reader sees one generation whole, and the next start finds either a complete
//! volume or leftovers that name themselves.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use issuance::secret::SecretBytes;
use jiff::Timestamp;

use crate::files::{File, FileName};
use crate::filesystem::{FileSystem, SystemFiles};
use crate::metadata::{Metadata, MetadataError, Validity};
use crate::mount::{MountError, Mounter, is_gone};
use crate::volume::{VolumeId, VolumeSpec};

/// The tmpfs within the data root; the peer's name, so that its volumes are found.
const TMPFS: &str = "inmemfs";
/// The same tmpfs once more within the data root, read-only: what pods get is mounted from there.
const MIRROR: &str = "inmemfs-read-only";
const METADATA: &str = "metadata.json";
const METADATA_NEXT: &str = "metadata.json.next";
const DATA: &str = "data";
const CURRENT: &str = "..data";
const CURRENT_NEXT: &str = "..data_tmp";

/// Longest state that is read: attributes of a pod's volume are bounded by the size of an API object, 1.5 MiB.
const METADATA_BYTES_MAX: u64 = 2 << 20;

/// Longest file that is read back: a private key in PEM is far below it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why something could not be stored, with the path that it was about.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The tmpfs.
    #[error("cannot prepare the data root")]
    Mount(#[from] MountError),
    /// The state of a volume.
    #[error("cannot read {path:?}")]
    State {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: MetadataError,
    },
    /// The state of a volume, on its way out.
    #[error("cannot encode the state of a volume")]
    Encode(#[source] serde_json::Error),
    /// Any other call.
    #[error("cannot {step} {path:?}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// The volumes on disk. Calls block, and are made for one volume by one caller at a time.
#[derive(Debug, Clone)]
pub struct Store {
    files: Arc<dyn FileSystem>,
    root: PathBuf,
    mirror: PathBuf,
}

/// What a folder of the tmpfs is.
#[derive(Debug)]
pub enum Found {
    /// A volume with a certificate in it.
    Live(Box<VolumeSpec>, Validity),
    /// A volume that never got its certificate.
    Unfinished(VolumeId),
    /// Something that we cannot read. It is left alone: a pod may be using it.
    Broken(OsString, StoreError),
}

impl Store {
    /// Opens the volumes under `data_root`, which is made if need be, in a tmpfs of `size_bytes`. One that is there
    /// keeps its content and gets that size.
    ///
    /// # Errors
    /// When the folder cannot be made or nothing can be mounted on it.
    pub fn open(data_root: &Path, size_bytes: u64, mounter: &dyn Mounter) -> Result<Self, StoreError> {
        Self::open_with(Arc::new(SystemFiles), data_root, size_bytes, mounter)
    }

    /// The same with another way to change the files of volumes.
    pub(crate) fn open_with(
        files: Arc<dyn FileSystem>,
        data_root: &Path,
        size_bytes: u64,
        mounter: &dyn Mounter,
    ) -> Result<Self, StoreError> {
        let (folder, mirror) = (data_root.join(TMPFS), data_root.join(MIRROR));
        for path in [&folder, &mirror] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(io_error("make folder", path))?;
        }
        // The list of mounts has no symbolic links in it.
        let root = fs::canonicalize(&folder).map_err(io_error("resolve", &folder))?;
        mounter.provide_tmpfs(&root, size_bytes)?;
        mounter.mirror_read_only(&root, &mirror)?;
        Ok(Self { files, root, mirror })
    }

    /// Everything that an earlier process left.
    ///
    /// # Errors
    /// When the tmpfs cannot be listed. What is wrong with one volume is told in its place.
    pub fn scan(&self) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(io_error("list", &self.root))? {
            let name = entry.map_err(io_error("list", &self.root))?.file_name();
            found.push(match name.to_str().map(VolumeId::new) {
                Some(Ok(id)) => self.inspect(&id).unwrap_or_else(|error| Found::Broken(name, error)),
                _ => {
                    let path = self.root.join(&name);
                    let source = io::Error::other("its name is not that of a volume");
                    Found::Broken(name, StoreError::Io { step: "use", path, source })
                }
            });
        }
        Ok(found)
    }

    fn inspect(&self, id: &VolumeId) -> Result<Found, StoreError> {
        let path = self.folder(id).join(METADATA);
        let text = match read_bounded(&path, METADATA_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found::Unfinished(id.clone()));
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let (spec, validity) =
            Metadata::read(&text, id).map_err(|source| StoreError::State { path, source })?;
        Ok(match validity {
            Some(validity) if self.has_files(&spec) => Found::Live(Box::new(spec), validity),
            _ => Found::Unfinished(id.clone()),
        })
    }

    /// Whether the current generation has every file.
    fn has_files(&self, spec: &VolumeSpec) -> bool {
        let current = self.data(&spec.id).join(CURRENT);
        let names = &spec.attributes.files;
        [&names.certificate, &names.private_key, &names.ca]
            .into_iter()
            .all(|name| current.join(name.as_str()).is_file())
    }

    /// Makes the folders of a volume, as far as they are missing.
    ///
    /// # Errors
    /// When a folder cannot be made or given to its group.
    pub fn prepare(&self, spec: &VolumeSpec) -> Result<(), StoreError> {
        self.make_folder(&self.folder(&spec.id), 0o700)?;
        let data = self.data(&spec.id);
        self.make_folder(&data, 0o550)?;
        self.give_to(&data, spec.group())
    }

    /// Makes `files` the content of a volume, all in the same instant, and keeps what is needed to go on after a
    /// restart. The generation before stays on disk for readers that are in the middle of it, until [`Store::sweep`].
    ///
    /// # Errors
    /// When anything cannot be written. Readers see the generation before then, and what was written is gone. Only if
    /// the very last step fails, they see the new one, and a restart takes it for the one before.
    pub fn write(
        &self,
        spec: &VolumeSpec,
        files: &[File],
        validity: &Validity,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let name = generation(now);
        // All that needs room on the disk comes before the switch.
        let outcome = self.stage(spec, files, &name).and_then(|()| {
            self.stage_state(spec, validity)?;
            self.switch(&spec.id)?;
            // Files first: a crash in between costs one more certificate, the other order would miss a renewal.
            self.switch_state(&spec.id)
        });
        if outcome.is_err() {
            self.discard(&spec.id, &name);
        }
        outcome
    }

    /// Writes a generation without showing it.
    fn stage(&self, spec: &VolumeSpec, files: &[File], name: &str) -> Result<(), StoreError> {
        let data = self.data(&spec.id);
        let folder = data.join(name);
        // Only a crash in the very same nanosecond of an adjusted clock leaves one behind; it was never current.
        self.remove_path(&folder)?;
        self.make_folder(&folder, 0o750)?;
        self.give_to(&folder, spec.group())?;
        for file in files {
            let path = folder.join(file.name.as_str());
            let written = self.files.write_new(&path, file.content.expose(), 0o440);
            written.map_err(io_error("write", &path))?;
            self.give_to(&path, spec.group())?;
        }
        self.link_names(&data, files)?;
        // A crash may have left the link that is renamed in the switch.
        let next = data.join(CURRENT_NEXT);
        self.remove_path(&next)?;
        self.files.make_link(&next, Path::new(name)).map_err(io_error("make link", &next))
    }

    /// The one moment at which all files change.
    fn switch(&self, id: &VolumeId) -> Result<(), StoreError> {
        let data = self.data(id);
        self.replace(&data.join(CURRENT_NEXT), &data.join(CURRENT))
    }

    /// Writes the state of a volume beside the one before.
    fn stage_state(&self, spec: &VolumeSpec, validity: &Validity) -> Result<(), StoreError> {
        let text = Metadata::new(spec, Some(validity)).to_json().map_err(StoreError::Encode)?;
        let next = self.folder(&spec.id).join(METADATA_NEXT);
        self.remove_path(&next)?;
        self.files.write_new(&next, &text, 0o600).map_err(io_error("write", &next))
    }

    fn switch_state(&self, id: &VolumeId) -> Result<(), StoreError> {
        let folder = self.folder(id);
        self.replace(&folder.join(METADATA_NEXT), &folder.join(METADATA))
    }

    /// Removes what a failed write has made. What stays in spite of that takes room until the volume is removed or
    /// swept.
    fn discard(&self, id: &VolumeId, name: &str) {
        let data = self.data(id);
        // A link that cannot be read could be the one that shows it.
        let is_current = match fs::read_link(data.join(CURRENT)) {
            Ok(current) => current == Path::new(name),
            Err(error) => !is_gone(&error),
        };
        let generation = (!is_current).then(|| data.join(name));
        let links = [data.join(CURRENT_NEXT), self.folder(id).join(METADATA_NEXT)];
        for path in generation.into_iter().chain(links) {
            if let Err(error) = self.files.remove(&path) {
                tracing::warn!(volume = %id, ?path, %error, "cannot remove what a failed write has left");
            }
        }
    }

    /// Removes the generations that were replaced before `replaced_before`, and what a crash left half-made. The
    /// current one stays.
    ///
    /// # Errors
    /// When the folder cannot be read or something in it cannot be removed.
    pub fn sweep(&self, id: &VolumeId, replaced_before: Timestamp) -> Result<(), StoreError> {
        let data = self.data(id);
        let link = data.join(CURRENT);
        let current = match fs::read_link(&link) {
            Ok(name) => name.into_os_string(),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(io_error("read", &link)(error)),
        };
        let mut generations = Vec::new();
        for entry in fs::read_dir(&data).map_err(io_error("list", &data))? {
            let name = entry.map_err(io_error("list", &data))?.file_name();
            if name.as_encoded_bytes().starts_with(b"..") && name != OsStr::new(CURRENT) {
                generations.push(name);
            }
        }
        generations.sort_unstable();
        // Names are times: each generation was replaced at the time that its successor is named after.
        let oldest_kept = OsString::from(generation(replaced_before));
        let successors = generations.iter().skip(1).map(Some).chain([None]);
        for (name, successor) in generations.iter().zip(successors) {
            let read_still = successor.is_some_and(|successor| *successor > oldest_kept);
            // What is younger than the current one never became current.
            let leftover = *name > current;
            if *name != current && (leftover || !read_still) {
                self.remove_path(&data.join(name))?;
            }
        }
        Ok(())
    }

    /// Reads a file of the current generation; none, if there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(&self, id: &VolumeId, name: &FileName) -> Result<Option<SecretBytes>, StoreError> {
        let path = self.data(id).join(CURRENT).join(name.as_str());
        match read_bounded(&path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(SecretBytes::new(bytes))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Removes everything of a volume. One that is not there is removed already.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self, id: &VolumeId) -> Result<(), StoreError> {
        let folder = self.folder(id);
        // The state goes first: whatever a crash leaves is then a leftover and not a volume.
        self.remove_path(&folder.join(METADATA))?;
        self.remove_path(&folder)
    }

    /// The folder that a pod sees, to write in.
    fn data(&self, id: &VolumeId) -> PathBuf {
        self.folder(id).join(DATA)
    }

    /// The same folder, read-only, to mount it into the pod.
    pub fn view(&self, id: &VolumeId) -> PathBuf {
        self.mirror.join(id.as_str()).join(DATA)
    }

    fn folder(&self, id: &VolumeId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Makes a folder unless it is there.
    fn make_folder(&self, path: &Path, mode: u32) -> Result<(), StoreError> {
        match self.files.make_folder(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            outcome => outcome.map_err(io_error("make folder", path)),
        }
    }

    /// Root's own group needs no call, so that tests and the common case do without the right to give files away.
    fn give_to(&self, path: &Path, group: u32) -> Result<(), StoreError> {
        if group == 0 {
            return Ok(());
        }
        self.files.give_to(path, group).map_err(io_error("set the group of", path))
    }

    /// Makes the names that a pod opens. On a new volume they point nowhere until the switch.
    fn link_names(&self, data: &Path, files: &[File]) -> Result<(), StoreError> {
        for file in files {
            let link = data.join(file.name.as_str());
            let wanted = Path::new(CURRENT).join(file.name.as_str());
            if fs::read_link(&link).is_ok_and(|found| found == wanted) {
                continue;
            }
            self.remove_path(&link)?;
            self.files.make_link(&link, &wanted).map_err(io_error("make link", &link))?;
        }
        Ok(())
    }

    fn replace(&self, next: &Path, path: &Path) -> Result<(), StoreError> {
        self.files.rename(next, path).map_err(io_error("replace", path))
    }

    fn remove_path(&self, path: &Path) -> Result<(), StoreError> {
        self.files.remove(path).map_err(io_error("remove", path))
    }
}

/// The name of a generation; the form is that of kubelet's own volumes, down to the nanosecond.
fn generation(now: Timestamp) -> String {
    now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string()
}

fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let read = fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read > bytes_max) {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { step, path, source }
}

#[cfg(test)]
mod tests;
