//! The cgroups of a cluster's nodes, in every hierarchy that the machine has (version 1, 2 or both).

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// How long the kernel may take to notice that a cgroup's last process is gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// How often a removal is tried.
const POLL: Duration = Duration::from_millis(20);

/// Makes the cgroup `relative` and its parents, ready for kubelet to put pods below it.
pub(crate) fn create(relative: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies() {
        let mut parent = hierarchy;
        for part in relative.split('/') {
            let cgroup = parent.join(part);
            fs::create_dir_all(&cgroup)
                .with_context(|| format!("failed to create cgroup {}", cgroup.display()))?;
            hand_down(&parent, &cgroup)?;
            parent = cgroup;
        }
    }
    Ok(())
}

/// The processes in the cgroup `relative` and below it.
pub(crate) fn processes(relative: &str) -> Vec<i32> {
    let mut pids: Vec<i32> = subtrees(relative)
        .iter()
        .filter_map(|cgroup| fs::read_to_string(cgroup.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Removes the cgroup `relative` and those below it; they must have no processes any more.
pub(crate) fn remove(relative: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let mut left = subtrees(relative);
        // The innermost first: a cgroup with children cannot be removed.
        left.reverse();
        left.retain(|cgroup| fs::remove_dir(cgroup).is_err() && cgroup.exists());
        let Some(first) = left.first() else {
            return Ok(());
        };
        if began.elapsed() > EMPTY_WITHIN {
            bail!("failed to remove cgroup {}: something still uses it", first.display());
        }
        thread::sleep(POLL);
    }
}

/// Every directory of the cgroup `relative`, parents before children, in all hierarchies.
pub(crate) fn subtrees(relative: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = all_hierarchies()
        .into_iter()
        .map(|hierarchy| hierarchy.join(relative))
        .filter(|path| path.is_dir())
        .collect();
    while let Some(cgroup) = waiting.pop() {
        let children = fs::read_dir(&cgroup).into_iter().flatten().filter_map(Result::ok);
        waiting.extend(
            children.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path()),
        );
        found.push(cgroup);
    }
    found
}

/// A new version 1 cpuset is empty and accepts no process; a new version 2 cgroup has no controllers.
fn hand_down(parent: &Path, cgroup: &Path) -> anyhow::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), cgroup.join(file));
        let inherited = is_version_1(parent).then(|| fs::read_to_string(&from).ok()).flatten();
        if let Some(value) = inherited {
            fs::write(&to, value.trim()).with_context(|| format!("failed to write {}", to.display()))?;
        }
    }
    if let Ok(controllers) = fs::read_to_string(cgroup.join("cgroup.controllers")) {
        for controller in controllers.split_whitespace() {
            // One that cannot be handed down is one that kubelet will name if it needs it.
            let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

fn is_version_1(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.controllers").exists()
}

/// The hierarchies in which kubelet makes cgroups: the one of version 2, or all of version 1.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return vec![PathBuf::from(ROOT)];
    }
    all_hierarchies().into_iter().filter(|path| is_version_1(path)).collect()
}

/// Every mounted hierarchy, the version 2 one of a mixed machine included.
fn all_hierarchies() -> Vec<PathBuf> {
    if Path::new(ROOT).join("cgroup.procs").exists() {
        return vec![PathBuf::from(ROOT)];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.join("cgroup.procs").exists()).collect()
}
