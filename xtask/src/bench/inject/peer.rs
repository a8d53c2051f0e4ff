//! The Go injector, with groups as ours was measured with.
//!
//! It runs beside the cluster, as administrator: nobody else limits what it writes, so no admission policy judges it.

use std::fs::File;
use std::process::{Child, Stdio};

use anyhow::Context as _;
use e2e::cluster::Cluster;
use e2e::paths;
use e2e::toolchain::Tool;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::process::{Memory, Process};
use super::stage::Stage;
use super::{GROUPS, Together};

/// What was found out about it.
pub(crate) struct Peer {
    /// Many targets of one CA.
    pub(crate) groups: Vec<Together>,
    pub(crate) memory: Vec<(String, Memory)>,
}

/// Measures each of the groups, while our program does not run.
pub(super) async fn run(stage: &Stage) -> anyhow::Result<Peer> {
    stage.scale(0).await?;
    let peer = measure(stage).await;
    stage.scale(1).await?;
    stage.remove_targets().await?;
    peer
}

async fn measure(stage: &Stage) -> anyhow::Result<Peer> {
    let running = Running::start(stage.cluster())?;
    let program = Process::of(&running.0)?;
    let group = stage.group("peer").await?;
    // The first injection shows that it leads.
    group.grow(1).await?;
    let mut memory = vec![("Go, with one target".to_owned(), program.memory()?)];
    let mut groups = Vec::new();
    for (size, changes) in GROUPS {
        groups.push(super::together(program, &group, size, changes).await?);
        memory.push((format!("Go, after {size} configurations of one CA"), program.memory()?));
    }
    Ok(Peer { groups, memory })
}

/// The program, which ends with this value.
struct Running(Child);

impl Running {
    fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let log = paths::workspace().join("target/bench-go-cainjector.log");
        let log = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
        let mut command = cluster.peer_command(Tool::PeerCainjector)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Ok(Self(child.context("failed to start the Go injector")?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked to end, it gives its Lease back, for which ours would wait a minute.
        let ended = i32::try_from(self.0.id()).map(|id| kill(Pid::from_raw(id), Signal::SIGTERM));
        if !matches!(ended, Ok(Ok(()))) {
            let _ = self.0.kill();
        }
        // What was measured does not depend on how it ends.
        let _ = self.0.wait();
    }
}
