//! A node's view of the file system: the machine's, with directories of its own where nodes must not meet.
//!
//! Manifests name one path for all nodes (`/var/lib/kubelet`, a driver's data directory below `/run`), so every node
//! gets its own `/run`, `/tmp`, `/var/lib` and `/var/log`. Nothing is created on the machine for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};

use crate::layout::{Layout, Node};
use crate::nsfs::{self, Kind};

/// Directories of the machine that a node has for itself, on disk, with their modes.
const OWN: [(&str, u32); 3] = [("/var/lib", 0o755), ("/var/log", 0o755), ("/tmp", 0o1777)];

/// The node's `/run` is in memory, as on any machine: a CSI driver keeps keys there.
const RUN: &str = "/run";

/// Makes the mount namespace of `node` and returns when its file holds it. Programs are found in `tools` or in `<cluster>/bin`.
pub(crate) fn create(layout: &Layout, node: &Node, tools: &Path) -> anyhow::Result<()> {
    nsfs::create(Kind::Mount, &node.mount(), || prepare(layout, node, tools))
}

/// Where a node finds the built programs: a folder in the machine's `/tmp` or `/var/lib` would be hidden from it.
pub(crate) fn programs(layout: &Layout) -> std::path::PathBuf {
    layout.dir().join("bin")
}

fn prepare(layout: &Layout, node: &Node, tools: &Path) -> anyhow::Result<()> {
    nsfs::propagate(Path::new("/"), MsFlags::MS_PRIVATE)?;
    // A copy of a mount keeps what is mounted alive: other clusters' namespaces must not be in ours.
    nsfs::unmount_below(&layout.clusters)?;
    nsfs::bind(tools, &programs(layout))?;
    for (path, mode) in OWN {
        let own = node.host().join(path.trim_start_matches('/'));
        create_dir(&own, mode)?;
        if let Ok(inside) = layout.dir().strip_prefix(path) {
            let again = own.join(inside);
            create_dir(&again, 0o755)?;
            nsfs::bind(&layout.dir(), &again)?;
        }
        nsfs::bind(&own, Path::new(path))?;
        nsfs::propagate(Path::new(path), MsFlags::MS_SHARED)?;
    }
    mount(Some("tmpfs"), RUN, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .context("failed to mount the node's /run")?;
    nsfs::propagate(Path::new(RUN), MsFlags::MS_SHARED)?;
    // Locks of iptables and others.
    create_dir(Path::new("/run/lock"), 0o1777)
}

fn create_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("failed to create {}", path.display()))
}
