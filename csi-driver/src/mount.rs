//! The mounts of the node: one tmpfs of ours, and a read-only bind mount for each volume.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts that can lie upon each other on one target. A driver without locks leaves two or three; more than this is
/// somebody mounting as fast as we unmount.
const STACKED_MOUNTS_MAX: usize = 64;

/// The options of every mount of ours: nothing in it is a device, a program, or a set-user-id file.
const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Why a mount could not be made, seen or undone.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The tmpfs.
    #[error("cannot mount a tmpfs of {size_bytes} bytes on {at:?}")]
    Tmpfs {
        /// Where.
        at: PathBuf,
        /// Its size limit.
        size_bytes: u64,
        /// The kernel's word.
        source: Errno,
    },
    /// The bind mount of a volume.
    #[error("cannot mount {from:?} on {target:?}")]
    Bind {
        /// What.
        from: PathBuf,
        /// Where.
        target: PathBuf,
        /// The kernel's word.
        source: Errno,
    },
    /// The second step of a bind mount.
    #[error("cannot make the mount on {target:?} read-only")]
    ReadOnly {
        /// Where.
        target: PathBuf,
        /// The kernel's word.
        source: Errno,
    },
    /// Taking a mount away.
    #[error("cannot unmount {target:?}")]
    Unmount {
        /// Where.
        target: PathBuf,
        /// The kernel's word.
        source: Errno,
    },
    /// More mounts than anyone makes by accident.
    #[error(
        "{target:?} is still a mount point after {STACKED_MOUNTS_MAX} unmounts; another program mounts there"
    )]
    Endless {
        /// Where.
        target: PathBuf,
    },
    /// The list of mounts.
    #[error("cannot read the list of mounts")]
    List(#[source] std::io::Error),
    /// A folder that should be mounted or mounted upon.
    #[error("cannot look at {path:?}")]
    Stat {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

/// What the driver does with mounts; a fake stands in where tests run without rights.
pub trait Mounter: Send + Sync + 'static {
    /// Makes an existing folder a tmpfs of this size that only root may enter. One that is mounted on exactly this folder
    /// keeps what is in it and gets the size, or stays as it is when more than that is in it.
    ///
    /// # Errors
    /// When the list of mounts cannot be read, or the kernel refuses a new mount.
    fn provide_tmpfs(&self, at: &Path, size_bytes: u64) -> Result<(), MountError>;

    /// Makes `from` appear on the existing folder `at` too, read-only there and in all that is mounted from there. It
    /// may do so already.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is mounted then.
    fn mirror_read_only(&self, from: &Path, at: &Path) -> Result<(), MountError>;

    /// Makes `from`, a folder in what was mirrored, appear on the existing folder `target`, read-only.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is mounted then.
    fn bind_read_only(&self, from: &Path, target: &Path) -> Result<(), MountError>;

    /// Whether `target` shows `from`. A missing target shows nothing.
    ///
    /// # Errors
    /// When either cannot be looked at.
    fn shows(&self, from: &Path, target: &Path) -> Result<bool, MountError>;

    /// Takes every mount off `target`; it may be no mount point, or not exist.
    ///
    /// # Errors
    /// When the kernel refuses even to detach it.
    fn unmount_all(&self, target: &Path) -> Result<(), MountError>;
}

/// The kernel's mounts. It needs CAP_SYS_ADMIN.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemMounter;

impl Mounter for SystemMounter {
    fn provide_tmpfs(&self, at: &Path, size_bytes: u64) -> Result<(), MountError> {
        let list = std::fs::read("/proc/self/mountinfo").map_err(MountError::List)?;
        let outcome = match mount_on(&list, at).and_then(FileSystemLine::tmpfs) {
            None => mount_tmpfs(at, size_bytes),
            Some(found) if found.size_bytes == Some(size_bytes) => Ok(()),
            Some(found) => {
                if let Err(error) = resize_tmpfs(at, &found, size_bytes) {
                    // Pods are living in it: less room, or more, than asked for is better than none.
                    tracing::warn!(?at, size_bytes, before = ?found.size_bytes, %error, "cannot resize the tmpfs");
                }
                Ok(())
            }
        };
        outcome.map_err(|source| MountError::Tmpfs { at: at.to_owned(), size_bytes, source })
    }

    fn mirror_read_only(&self, from: &Path, at: &Path) -> Result<(), MountError> {
        if !self.shows(from, at)? {
            // Such as a mirror of a tmpfs that is gone.
            self.unmount_all(at)?;
            bind(from, at)?;
        }
        self.make_read_only(at)
    }

    fn bind_read_only(&self, from: &Path, target: &Path) -> Result<(), MountError> {
        // A new mount reaches the node with the options of the one that it is made from; a change of options after that
        // would stay in this container. So what comes from a mirror is read-only everywhere from its first moment.
        bind(from, target)?;
        self.make_read_only(target)
    }

    fn shows(&self, from: &Path, target: &Path) -> Result<bool, MountError> {
        let stat = |path: &Path| match std::fs::symlink_metadata(path) {
            Ok(found) => Ok(Some((found.dev(), found.ino()))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(source) => Err(MountError::Stat { path: path.to_owned(), source }),
        };
        // The same inode at both ends: cheaper than the list of mounts, and it sees what a pod sees.
        Ok(match (stat(from)?, stat(target)?) {
            (Some(from), Some(target)) => from == target,
            _ => false,
        })
    }

    fn unmount_all(&self, target: &Path) -> Result<(), MountError> {
        for _ in 0..STACKED_MOUNTS_MAX {
            let gone = match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
                Err(Errno::EBUSY) => umount2(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH),
                outcome => outcome,
            };
            match gone {
                Ok(()) => {}
                // No mount point (any more), or no such folder.
                Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
                Err(source) => {
                    return Err(MountError::Unmount { target: target.to_owned(), source });
                }
            }
        }
        Err(MountError::Endless { target: target.to_owned() })
    }
}

impl SystemMounter {
    /// Makes a bind mount read-only, or takes it away: it takes its options in a second step only.
    fn make_read_only(&self, target: &Path) -> Result<(), MountError> {
        let options = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | HARMLESS;
        let none = None::<&str>;
        mount(none, target, none, options, none).map_err(|source| {
            // What is not read-only must not stay; the first error is the one to tell.
            let _ = self.unmount_all(target);
            MountError::ReadOnly { target: target.to_owned(), source }
        })
    }
}

fn mount_tmpfs(at: &Path, size_bytes: u64) -> Result<(), Errno> {
    let try_with =
        |options: String| mount(Some("tmpfs"), at, Some("tmpfs"), HARMLESS, Some(options.as_str()));
    let plain = format!("size={size_bytes},mode=0700");
    // Kernels before 6.4 do not know `noswap` and call it an invalid argument.
    match try_with(format!("{plain},noswap")) {
        Err(Errno::EINVAL) => {
            tracing::warn!("this kernel cannot keep a tmpfs out of swap; keys may be swapped out");
            try_with(plain)
        }
        outcome => outcome,
    }
}

/// The kernel takes no size below what is in the tmpfs.
fn resize_tmpfs(at: &Path, found: &Tmpfs, size_bytes: u64) -> Result<(), Errno> {
    // It must be said again as it is: it can be changed neither way.
    let noswap = if found.noswap { ",noswap" } else { "" };
    let options = format!("size={size_bytes}{noswap}");
    let none = None::<&str>;
    mount(none, at, none, MsFlags::MS_REMOUNT | HARMLESS, Some(options.as_str()))
}

fn bind(from: &Path, target: &Path) -> Result<(), MountError> {
    let none = None::<&str>;
    mount(Some(from), target, none, MsFlags::MS_BIND, none).map_err(|source| MountError::Bind {
        from: from.to_owned(),
        target: target.to_owned(),
        source,
    })
}

/// Whether a path, or a folder on the way to it, is not there.
pub fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// A tmpfs, by its options.
#[derive(Debug, PartialEq, Eq)]
struct Tmpfs {
    /// Absent as long as nobody has set another than the kernel's default.
    size_bytes: Option<u64>,
    noswap: bool,
}

/// What a line of the list of mounts says about the file system.
#[derive(Debug, PartialEq, Eq)]
struct FileSystemLine<'l> {
    kind: &'l [u8],
    options: &'l [u8],
}

impl FileSystemLine<'_> {
    /// The tmpfs, if it is one.
    fn tmpfs(self) -> Option<Tmpfs> {
        let is_tmpfs = self.kind == b"tmpfs";
        is_tmpfs.then(|| Tmpfs {
            size_bytes: self.options().find_map(|option| kibibytes(option.strip_prefix(b"size=")?)),
            noswap: self.options().any(|option| option == b"noswap"),
        })
    }

    fn options(&self) -> impl Iterator<Item = &[u8]> {
        self.options.split(|byte| *byte == b',')
    }
}

/// A size as tmpfs prints it: kibibytes, and a small k behind them.
fn kibibytes(text: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(text.strip_suffix(b"k")?).ok()?;
    number.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// The file system of the topmost mount on exactly `at`, from the text of `/proc/self/mountinfo`
/// (proc_pid_mountinfo(5)): the mount point is the fifth field; the kind is the first behind the lone minus sign, the
/// options of the file system the third.
fn mount_on<'l>(list: &'l [u8], at: &Path) -> Option<FileSystemLine<'l>> {
    let wanted = at.as_os_str().as_bytes();
    // Later lines lie upon earlier ones.
    list.rsplit(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let point = fields.nth(4)?;
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
        (unescape(point) == wanted).then_some(FileSystemLine { kind, options })
    })
}

/// The kernel writes blanks, line feeds and backslashes of paths as a backslash with three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| tail.split_at_checked(3)).flatten();
        let octal = escaped.and_then(|(digits, after)| {
            let text = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(text, 8).ok()?, after))
        });
        let (byte, after) = octal.unwrap_or((*first, tail));
        path.push(byte);
        rest = after;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /run/driver/inmemfs rw,nosuid - tmpfs tmpfs rw,size=1k
31 22 0:31 / /with\\040blank rw shared:4 master:2 - tmpfs tmpfs rw
32 30 0:32 / /run/driver/over rw - tmpfs tmpfs rw
33 32 0:33 / /run/driver/over rw - ext4 /dev/vdb rw
34 22 0:34 / /odd rw - tmpfs tmpfs rw,size=99999999999999999999k,size=1
35 22 0:35 / /noswap rw - tmpfs tmpfs rw,mode=700,size=65536k,noswap
";

    fn check(at: &str, expected: Option<&str>) {
        let found = mount_on(LIST.as_bytes(), Path::new(at)).map(|line| line.kind);
        assert_eq!(found, expected.map(str::as_bytes), "{at}");
    }

    fn check_tmpfs(at: &str, expected: Option<&Tmpfs>) {
        let found = mount_on(LIST.as_bytes(), Path::new(at)).and_then(FileSystemLine::tmpfs);
        assert_eq!(found.as_ref(), expected, "{at}");
    }

    #[test]
    fn the_size_of_a_tmpfs_is_what_its_options_say() {
        check_tmpfs("/", None);
        check_tmpfs("/run/driver/over", None);
        let default = Tmpfs { size_bytes: None, noswap: false };
        check_tmpfs("/with blank", Some(&default));
        check_tmpfs("/odd", Some(&default));
        check_tmpfs("/run/driver/inmemfs", Some(&Tmpfs { size_bytes: Some(1 << 10), ..default }));
        check_tmpfs("/noswap", Some(&Tmpfs { size_bytes: Some(64 << 20), noswap: true }));
    }

    #[test]
    fn a_folder_that_is_no_mount_point_has_no_file_system_of_its_own() {
        check("/run/driver", None);
        check("/run/driver/inmemfs/volume", None);
        check("/with", None);
    }

    #[test]
    fn the_topmost_mount_of_exactly_this_folder_is_found() {
        check("/", Some("ext4"));
        check("/run/driver/inmemfs", Some("tmpfs"));
        check("/with blank", Some("tmpfs"));
        check("/run/driver/over", Some("ext4"));
    }

    #[test]
    fn unmounting_what_is_not_mounted_or_not_there_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        SystemMounter.unmount_all(&folder.path().join("missing")).unwrap();
        if nix::unistd::geteuid().is_root() {
            SystemMounter.unmount_all(folder.path()).unwrap();
        }
    }

    #[test]
    fn a_target_shows_its_source_only_when_it_is_the_same_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        assert!(!SystemMounter.shows(folder.path(), &inner).unwrap());
        assert!(!SystemMounter.shows(folder.path(), &inner.join("missing")).unwrap());
        assert!(SystemMounter.shows(&inner, &inner).unwrap());
    }
}
