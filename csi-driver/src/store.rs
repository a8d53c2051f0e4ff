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
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use issuance::secret::SecretBytes;
use jiff::Timestamp;

use crate::files::{File, FileName};
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
        let (folder, mirror) = (data_root.join(TMPFS), data_root.join(MIRROR));
        for path in [&folder, &mirror] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(io_error("make folder", path))?;
        }
        // The list of mounts has no symbolic links in it.
        let root = fs::canonicalize(&folder).map_err(io_error("resolve", &folder))?;
        mounter.provide_tmpfs(&root, size_bytes)?;
        mounter.mirror_read_only(&root, &mirror)?;
        Ok(Self { root, mirror })
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

    /// Makes the folders of a volume, as far as they are missing, and notes that it is about to get a certificate.
    /// Says whether anything of the volume was there before.
    ///
    /// # Errors
    /// When a folder cannot be made or given to its group.
    pub fn prepare(&self, spec: &VolumeSpec) -> Result<bool, StoreError> {
        let folder = self.folder(&spec.id);
        let existed = !make_folder(&folder, 0o700)?;
        let data = folder.join(DATA);
        make_folder(&data, 0o550)?;
        give_to(&data, spec.group())?;
        if !existed {
            self.save(spec, None)?;
        }
        Ok(existed)
    }

    /// Keeps what is needed to go on after a restart.
    ///
    /// # Errors
    /// When the file cannot be written; the state before it is still there then.
    pub fn save(&self, spec: &VolumeSpec, validity: Option<&Validity>) -> Result<(), StoreError> {
        let text = Metadata::new(spec, validity).to_json().map_err(StoreError::Encode)?;
        let folder = self.folder(&spec.id);
        let next = folder.join(METADATA_NEXT);
        remove_file(&next)?;
        write_file(&next, &text, 0o600)?;
        let path = folder.join(METADATA);
        fs::rename(&next, &path).map_err(io_error("replace", &path))
    }

    /// Makes `files` the content of a volume, all in the same instant. The generation before stays on disk for
    /// readers that are in the middle of it, until [`Store::sweep`].
    ///
    /// # Errors
    /// When anything cannot be written; readers see the generation before then.
    pub fn write(&self, spec: &VolumeSpec, files: &[File], now: Timestamp) -> Result<(), StoreError> {
        let data = self.data(&spec.id);
        let name = generation(now);
        let folder = data.join(&name);
        // Only a crash in the very same nanosecond of an adjusted clock leaves one behind; it was never current.
        remove_tree(&folder)?;
        make_folder(&folder, 0o750)?;
        give_to(&folder, spec.group())?;
        for file in files {
            let path = folder.join(file.name.as_str());
            write_file(&path, file.content.expose(), 0o440)?;
            give_to(&path, spec.group())?;
        }
        link_names(&data, files)?;
        // A crash may have left the link that is renamed below.
        let next = data.join(CURRENT_NEXT);
        remove_file(&next)?;
        symlink(&name, &next).map_err(io_error("make link", &next))?;
        let current = data.join(CURRENT);
        fs::rename(&next, &current).map_err(io_error("replace", &current))
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
                remove_tree(&data.join(name))?;
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
        remove_file(&folder.join(METADATA))?;
        remove_tree(&folder)
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
}

/// The name of a generation; the form is that of kubelet's own volumes, down to the nanosecond.
fn generation(now: Timestamp) -> String {
    now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string()
}

/// Makes the names that a pod opens. On a new volume they point nowhere until the switch.
fn link_names(data: &Path, files: &[File]) -> Result<(), StoreError> {
    for file in files {
        let link = data.join(file.name.as_str());
        let wanted = Path::new(CURRENT).join(file.name.as_str());
        if fs::read_link(&link).is_ok_and(|found| found == wanted) {
            continue;
        }
        remove_tree(&link)?;
        symlink(&wanted, &link).map_err(io_error("make link", &link))?;
    }
    Ok(())
}

/// Makes a folder with exactly this mode. Says whether it was missing.
fn make_folder(path: &Path, mode: u32) -> Result<bool, StoreError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            // The process' umask may have taken bits away.
            set_mode(path, mode)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => Err(io_error("make folder", path)(error)),
    }
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("make", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))
}

/// Root's own group needs no call, so that tests and the common case do without the right to give files away.
fn give_to(path: &Path, group: u32) -> Result<(), StoreError> {
    if group == 0 {
        return Ok(());
    }
    chown(path, None, Some(group)).map_err(io_error("set the group of", path))
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

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if !is_gone(&error) => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file, a link or a folder with all that is in it; links are not followed.
fn remove_tree(path: &Path) -> Result<(), StoreError> {
    let outcome = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if !is_gone(&error) => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { step, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::testing::{self, FakeMounter};

    struct Fixture {
        _folder: tempfile::TempDir,
        store: Store,
        spec: VolumeSpec,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 1 << 20, &FakeMounter::default()).unwrap();
        Fixture { _folder: folder, store, spec: testing::spec("csi-1", "/pods/a/mount") }
    }

    fn files(text: &str) -> Vec<File> {
        let file = |name: &str| File {
            name: name.parse().unwrap(),
            content: SecretBytes::new(text.as_bytes().to_vec()),
        };
        vec![file("tls.crt"), file("tls.key"), file("ca.crt")]
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn validity() -> Validity {
        Validity { issued_at: at(0), not_before: at(0), not_after: at(90), renew_at: at(60) }
    }

    fn generations(fixture: &Fixture) -> usize {
        let listed = fs::read_dir(fixture.store.data(&fixture.spec.id)).unwrap();
        listed.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("..1970")).count()
    }

    #[test]
    fn a_volume_without_files_or_without_state_is_unfinished() {
        let f = fixture();
        assert!(!f.store.prepare(&f.spec).unwrap());
        assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Unfinished(_)]));
        f.store.save(&f.spec, Some(&validity())).unwrap();
        assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Unfinished(_)]));
        f.store.write(&f.spec, &files("one"), at(1)).unwrap();
        fs::remove_file(f.store.folder(&f.spec.id).join(METADATA)).unwrap();
        assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Unfinished(_)]));
    }

    #[test]
    fn garbage_is_told_and_left_alone() {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        let state = f.store.folder(&f.spec.id).join(METADATA);
        for garbage in ["", "garbage", "{\"volumeID\":\"csi-2\",\"targetPath\":\"/t\"}"] {
            fs::write(&state, garbage).unwrap();
            assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Broken(..)]), "{garbage}");
        }
        fs::remove_file(&state).unwrap();
        fs::create_dir(&state).unwrap();
        assert!(matches!(f.store.scan().unwrap().as_slice(), [Found::Broken(..)]));
        fs::create_dir(f.store.root.join("not a volume")).unwrap();
        assert_eq!(f.store.scan().unwrap().len(), 2);
    }

    #[test]
    fn a_complete_volume_is_found_again() {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        f.store.write(&f.spec, &files("one"), at(1)).unwrap();
        f.store.save(&f.spec, Some(&validity())).unwrap();
        let found = f.store.scan().unwrap();
        let [Found::Live(spec, found)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(**spec, f.spec);
        assert_eq!(*found, validity());
    }

    #[test]
    fn leftovers_of_a_crash_do_not_stop_the_next_write() {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        let data = f.store.data(&f.spec.id);
        symlink("..nowhere", data.join(CURRENT_NEXT)).unwrap();
        fs::create_dir(data.join(generation(at(1)))).unwrap();
        fs::write(f.store.folder(&f.spec.id).join(METADATA_NEXT), "half").unwrap();
        f.store.write(&f.spec, &files("one"), at(1)).unwrap();
        f.store.save(&f.spec, Some(&validity())).unwrap();
        assert_eq!(fs::read(data.join("tls.key")).unwrap(), b"one");
    }

    #[test]
    fn the_generation_before_stays_until_it_is_swept() {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        for (second, text) in [(1, "one"), (2, "two"), (3, "three")] {
            f.store.write(&f.spec, &files(text), at(second)).unwrap();
        }
        fs::create_dir(f.store.data(&f.spec.id).join(generation(at(9)))).unwrap();
        f.store.sweep(&f.spec.id, at(2)).unwrap();
        assert_eq!(generations(&f), 2, "the second was replaced at 3");
        f.store.sweep(&f.spec.id, at(3)).unwrap();
        assert_eq!(generations(&f), 1);
        let name = "tls.key".parse().unwrap();
        assert_eq!(f.store.read(&f.spec.id, &name).unwrap().unwrap().expose(), b"three");
    }

    #[test]
    fn modes_let_the_group_read_and_nobody_write() {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        f.store.write(&f.spec, &files("one"), at(1)).unwrap();
        f.store.save(&f.spec, None).unwrap();
        let folder = f.store.folder(&f.spec.id);
        let generation = generation(at(1));
        for (path, mode) in [
            (folder.clone(), 0o700),
            (folder.join(METADATA), 0o600),
            (folder.join(DATA), 0o550),
            (folder.join(DATA).join(&generation), 0o750),
            (folder.join(DATA).join(&generation).join("tls.key"), 0o440),
        ] {
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode, "{path:?}");
        }
    }

    #[test]
    fn removing_leaves_nothing_and_may_be_repeated() {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        f.store.write(&f.spec, &files("one"), at(1)).unwrap();
        f.store.remove(&f.spec.id).unwrap();
        f.store.remove(&f.spec.id).unwrap();
        assert!(f.store.scan().unwrap().is_empty());
    }

    #[test]
    fn a_reader_never_sees_two_generations_in_one_folder() {
        let f = fixture();
        f.store.prepare(&f.spec).unwrap();
        f.store.write(&f.spec, &files("0"), at(0)).unwrap();
        let data = f.store.data(&f.spec.id);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0_usize;
                while !done.load(std::sync::atomic::Ordering::Relaxed) || seen == 0 {
                    // As a careful program does: resolve the link once, then read both files behind it.
                    let generation = data.join(fs::read_link(data.join(CURRENT)).unwrap());
                    let key = fs::read(generation.join("tls.key")).unwrap();
                    let certificate = fs::read(generation.join("tls.crt")).unwrap();
                    assert_eq!(key, certificate);
                    assert!(!key.is_empty());
                    seen += 1;
                }
            });
            for second in 1..300 {
                f.store.write(&f.spec, &files(&second.to_string()), at(second)).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}
