//! The calls that change files of the node, behind a trait: tests make each of them fail in its turn.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use crate::mount::is_gone;

/// What the store does to files. After an error a call may have done its work in part; whoever called removes that.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder with exactly this mode.
    ///
    /// # Errors
    /// When something of that name is there, or the system refuses.
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Makes a file with exactly this content and mode.
    ///
    /// # Errors
    /// When something of that name is there, or the system refuses.
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;

    /// Gives a file or folder to a group.
    ///
    /// # Errors
    /// When the system refuses.
    fn give_to(&self, path: &Path, group: u32) -> io::Result<()>;

    /// Makes a symbolic link at `path`.
    ///
    /// # Errors
    /// When something of that name is there, or the system refuses.
    fn make_link(&self, path: &Path, points_to: &Path) -> io::Result<()>;

    /// Puts `from` in the place of `to`, in one instant.
    ///
    /// # Errors
    /// When the system refuses; `to` is what it was then.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, a link or a folder with all that is in it; links are not followed. What is not there is removed
    /// already.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The file system of the node.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFiles;

impl FileSystem for SystemFiles {
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)?;
        // The process' umask may have taken bits away.
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))
    }

    fn give_to(&self, path: &Path, group: u32) -> io::Result<()> {
        chown(path, None, Some(group))
    }

    fn make_link(&self, path: &Path, points_to: &Path) -> io::Result<()> {
        symlink(points_to, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let outcome = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if is_gone(&error) => Ok(()),
            outcome => outcome,
        }
    }
}
