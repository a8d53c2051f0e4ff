//! Namespaces that are held by a file instead of a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// The kinds of namespace that a cluster has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Interfaces, routes, sockets.
    Net,
    /// Mounts.
    Mount,
}

/// Makes a new namespace, runs `prepare` in it and mounts it on `file`, which keeps it alive until that is unmounted.
///
/// `file` must lie below a directory that was given to [`make_private`].
pub(crate) fn create(
    kind: Kind,
    file: &Path,
    prepare: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    let (flag, link) = match kind {
        Kind::Net => (CloneFlags::CLONE_NEWNET, "net"),
        Kind::Mount => (CloneFlags::CLONE_NEWNS, "mnt"),
    };
    let (made, ready) = channel::<anyhow::Result<PathBuf>>();
    let (finished, wait) = channel::<()>();
    thread::scope(|scope| {
        // Namespaces belong to threads: only this one enters, and it ends with the function.
        scope.spawn(move || {
            let enter = || {
                unshare(flag).with_context(|| format!("failed to make a {link} namespace"))?;
                prepare()?;
                Ok(PathBuf::from(format!("/proc/self/task/{}/ns/{link}", nix::unistd::gettid())))
            };
            // The receivers live as long as the scope; when they are gone there is nothing left to do.
            let _ = made.send(enter());
            let _ = wait.recv();
        });
        let pinned = ready
            .recv()
            .context("the thread in the new namespace ended early")
            .flatten()
            .and_then(|source| pin(&source, file));
        drop(finished);
        pinned
    })
}

fn pin(source: &Path, file: &Path) -> anyhow::Result<()> {
    File::create(file).with_context(|| format!("failed to create {}", file.display()))?;
    bind(source, file)
}

/// Mounts `from` on `to` too, with what is mounted below it.
pub(crate) fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("failed to bind {} on {}", from.display(), to.display()))
}

/// Changes how mounts below `path` spread to other namespaces.
pub(crate) fn propagate(path: &Path, how: MsFlags) -> anyhow::Result<()> {
    mount(None::<&str>, path, None::<&str>, how | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("failed to set the propagation of {}", path.display()))
}

/// Makes `dir` a mount point whose mounts no other namespace sees: namespaces can be held only on such a one.
pub(crate) fn make_private(dir: &Path) -> anyhow::Result<()> {
    bind(dir, dir)?;
    propagate(dir, MsFlags::MS_PRIVATE)
}

/// Mount points at and below `dir` in this thread's namespace, the latest first.
pub(crate) fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mut found = below(&table, dir);
    found.reverse();
    found
}

/// Unmounts everything at and below `dir`.
pub(crate) fn unmount_below(dir: &Path) -> anyhow::Result<()> {
    for path in mounts_below(dir) {
        // One that hangs below another has gone together with it; what counts is the check at the end.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    match mounts_below(dir).first() {
        Some(left) => bail!("failed to unmount {}", left.display()),
        None => Ok(()),
    }
}

fn below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        // The kernel writes blanks in paths as octal numbers; none of our paths has any.
        .map(PathBuf::from)
        .filter(|path| path.starts_with(dir))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mounts_of_a_directory_but_not_of_its_namesakes() {
        let table = "21 1 8:1 / / rw - ext4 /dev/x rw\n\
                     22 21 8:1 /c /c/demo rw - ext4 /dev/x rw\n\
                     23 22 0:4 net:[1] /c/demo/net rw - nsfs nsfs rw\n\
                     24 21 8:1 /c /c/demo2 rw - ext4 /dev/x rw\n\
                     25 21 0:9\n";
        assert_eq!(below(table, Path::new("/c/demo")), [Path::new("/c/demo"), Path::new("/c/demo/net")]);
        assert!(below(table, Path::new("/d")).is_empty());
    }
}
