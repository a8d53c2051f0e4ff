//! `cargo xtask demo`: from nothing to two pods that speak mutual TLS, on a real cluster.

pub(crate) mod certificates;
mod issuance;
mod loopback;
mod pods;
pub(crate) mod scenes;

use std::process::Command;
use std::time::Instant;

use clap::Args;
use e2e::cluster::{Cluster, Config, Name, Placement};
use e2e::{image, install};
use serde_json::json;

/// The cluster of the demo.
const CLUSTER: &str = "signet-demo";

/// The controller signs for the node, which has no CA's key.
const SIGNER: &str = "controller.signer.enabled=true,csiDriver.mode=signer";

#[derive(Args)]
pub(crate) struct Arguments {
    /// The control-plane half alone, as ordinary processes on 127.0.0.1; what happens without root
    #[arg(long)]
    loopback: bool,
    /// Stop the cluster at the end instead of leaving it for a look around
    #[arg(long)]
    down: bool,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let began = Instant::now();
    let name: Name = CLUSTER.parse()?;
    if arguments.loopback || !nix::unistd::geteuid().is_root() {
        say_what_is_left_out(arguments.loopback);
        loopback::run(&name).await?;
        println!(
            "\nEverything is stopped and removed. The demo took {:.0} s.",
            began.elapsed().as_secs_f32()
        );
        return Ok(());
    }
    headline("A Kubernetes cluster, our images, and their installation");
    let images = image::build_all()?;
    let config = Config { name: name.clone(), placement: Placement::Nodes(1) };
    let cluster = Cluster::up(&config).await?;
    install::install(&cluster, &images, &[SIGNER]).await?;
    signer_is_known(&cluster)?;
    println!("{}", cluster.kubectl(&["get", "pods", "-A", "-o", "wide"])?);
    scenes::refused_certificate(&cluster)?;
    scenes::injected_bundles(&cluster, || cainjector(&cluster)).await?;
    pods::mutual_tls(&cluster).await?;
    issuance::certificate(&cluster)?;
    issuance::request(&cluster)?;
    end(&name, arguments.down, began)
}

/// Tells the node plugin where the signer service is: this cluster has no name service, so that the plugin's pods get an entry
/// in their tables of hosts.
fn signer_is_known(cluster: &Cluster) -> anyhow::Result<()> {
    let (namespace, service) = (install::RELEASE, format!("{}-signer", install::RELEASE));
    let address = ["-n", namespace, "get", "service", &service, "-o", "jsonpath={.spec.clusterIP}"];
    let address = cluster.kubectl(&address)?;
    let aliases = json!([{"ip": address.trim(), "hostnames": [format!("{service}.{namespace}.svc")]}]);
    let patch = json!({"spec": {"template": {"spec": {"hostAliases": aliases}}}}).to_string();
    let plugin = format!("daemonset/{}-csi-driver", install::RELEASE);
    cluster.kubectl(&["-n", namespace, "patch", &plugin, "--patch", &patch])?;
    cluster.kubectl(&["-n", namespace, "rollout", "status", &plugin, "--timeout=120s"]).map(drop)
}

/// The cainjector's program in the pod of the installation.
fn cainjector(cluster: &Cluster) -> Command {
    let mut command = cluster.kubectl_command();
    let deployment = format!("deployment/{}-cainjector", install::RELEASE);
    command.args(["exec", "-n", install::RELEASE, &deployment, "--", "/signet-cainjector"]);
    command
}

fn say_what_is_left_out(asked: bool) {
    let reason = if asked { "As asked" } else { "Without root" };
    println!(
        "{reason}, this runs the control-plane half: (a) a wrong Certificate is refused, (b) CA bundles are injected. \
         Left out are (c) and (d), pods with mounted certificates, and (e) and (f), what the controller issues: they need a \
         node, which needs namespaces and mounts. `sudo -E cargo xtask demo` shows them too."
    );
}

fn end(name: &Name, down: bool, began: Instant) -> anyhow::Result<()> {
    println!();
    if down {
        Cluster::down(name)?;
        println!("Everything is stopped and removed.");
    } else {
        println!("Look around:  cargo xtask cluster kubectl --name {name} get pods -A");
        println!("Stop it:      cargo xtask cluster down --name {name}");
    }
    println!("The demo took {:.0} s.", began.elapsed().as_secs_f32());
    Ok(())
}

fn headline(text: &str) {
    println!("\n== {text}");
}

/// Shows what a person would have typed, and what came of it.
fn show(command: &str, output: &str) {
    println!("\n$ {command}");
    for line in output.trim_end().lines() {
        println!("  {line}");
    }
}
