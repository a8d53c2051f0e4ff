//! The end of a cluster, and of what a killed run left of one: the same steps, none of which needs the others' success to
//! have been recorded anywhere.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use anyhow::Context as _;

use super::Placement;
use crate::layout::{Component, Layout, NODES_MAX};
use crate::process::{Process, kill_all, mentioning};
use crate::{cgroup, nsfs, progress};

/// Programs that belong to a cluster when their command line names its directory.
const PROGRAMS: [&str; 12] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "containerd",
    // They outlive containerd, and name its socket.
    "containerd-shim-runc-v2",
    "runc",
    // A test that was killed left it.
    "vault",
    // What is just becoming one of the above.
    "nsenter",
    "setsid",
];

/// Holds off every other start and end of this cluster while the returned file lives.
pub(super) fn lock(layout: &Layout) -> anyhow::Result<File> {
    let path = layout.lock();
    fs::create_dir_all(&layout.clusters)
        .with_context(|| format!("failed to create {}", layout.clusters.display()))?;
    loop {
        let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        if file.try_lock().is_err() {
            let what = format!("waiting for another run that starts or stops cluster {}", layout.name);
            progress::step(&what, || file.lock())
                .with_context(|| format!("failed to lock {}", path.display()))?;
        }
        // The former holder may have removed the file while we waited for it: a lock on that one holds nobody off.
        let ours = file.metadata().with_context(|| format!("failed to look at {}", path.display()))?.ino();
        if fs::metadata(&path).is_ok_and(|current| current.ino() == ours) {
            return Ok(file);
        }
    }
}

/// Ends every process and gives back what the kernel holds. Files stay, logs among them.
pub(super) fn halt(layout: &Layout, placement: Placement) -> anyhow::Result<()> {
    let with_nodes = matches!(placement, Placement::Nodes(_));
    kill_all(|| processes(layout, with_nodes))
        .with_context(|| format!("failed to stop cluster {}", layout.name))?;
    if with_nodes {
        // The nodes' own mounts vanish with their namespaces.
        nsfs::unmount_below(&layout.dir())?;
        cgroup::remove(&layout.cgroup())?;
    }
    Ok(())
}

/// Removes the files of a halted cluster.
pub(super) fn erase(layout: &Layout) -> anyhow::Result<()> {
    let dir = layout.dir();
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Removes what is left of a cluster that will not be started again: its lock, and the directories that it was the last in.
pub(super) fn forget(layout: &Layout, held: File) -> anyhow::Result<()> {
    let lock = layout.lock();
    fs::remove_file(&lock).with_context(|| format!("failed to remove {}", lock.display()))?;
    drop(held);
    // The last cluster takes the directories along; another one keeps them.
    for empty in layout.clusters.ancestors().take(2) {
        if fs::remove_dir(empty).is_err() {
            break;
        }
    }
    Ok(())
}

/// Everything that belongs to this cluster: by pid file, by cgroup, and by the directory in the command line.
fn processes(layout: &Layout, with_nodes: bool) -> Vec<i32> {
    let components = Component::CONTROL_PLANE.into_iter().chain((1..=NODES_MAX).flat_map(Component::of_node));
    let mut found: Vec<i32> = components
        .filter_map(|component| Process::read(&layout.pid(component)))
        .filter(Process::is_alive)
        .map(|process| process.pid())
        .collect();
    if with_nodes {
        found.extend(cgroup::processes(&layout.cgroup()));
    }
    found.extend(mentioning(&PROGRAMS, &format!("{}/", layout.dir().display())));
    found.sort_unstable();
    found.dedup();
    found
}
