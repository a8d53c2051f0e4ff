//! cert-manager's own client, which takes us for cert-manager.

use std::process::Stdio;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::toolchain::Tool;

#[test]
fn cmctl_finds_the_api_ready() -> anyhow::Result<()> {
    let cluster = Cluster::shared()?;
    let mut command = cluster.peer_command(Tool::Cmctl)?;
    let output = command.args(["check", "api", "--wait=30s"]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.trim() == "The cert-manager API is ready",
        "cmctl said {said:?} and {complained:?}"
    );
    Ok(())
}
