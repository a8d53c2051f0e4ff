//! The programs that come from the machine's packages, and their installation on Debian.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::progress;

/// A Debian package, and one file that it provides.
type Package = (&'static str, &'static str);

/// What a cluster with nodes needs.
pub const CLUSTER: [Package; 9] = [
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iproute2", "/bin/ip"),
    ("util-linux", "/usr/bin/nsenter"),
    // kube-proxy and the CNI port mapper call these.
    ("nftables", "/usr/sbin/nft"),
    ("iptables", "/usr/sbin/iptables"),
    ("conntrack", "/usr/sbin/conntrack"),
    // kubelet's port forwarding.
    ("socat", "/usr/bin/socat"),
];

/// What building static programs needs.
pub const IMAGES: [Package; 1] = [("musl-tools", "/usr/bin/musl-gcc")];

/// What the tests of the issuance core ask for a second opinion, and what their fuzzer is built with.
pub const PEERS: [Package; 3] =
    [("openssl", "/usr/bin/openssl"), ("default-jre-headless", "/usr/bin/keytool"), ("g++", "/usr/bin/g++")];

/// Installs those of `packages` whose file is missing.
///
/// # Errors
/// When some are missing and this is not root on a machine with apt, or when apt fails.
pub fn ensure(packages: &[Package]) -> anyhow::Result<()> {
    let missing = missing(packages, |file| Path::new(file).exists());
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "these packages are missing: {names}. Install them (on Debian, as root: apt-get install --no-install-recommends {names}) and run this again"
        );
    }
    progress::step(&format!("installing {names}"), || {
        // A machine with stale package lists cannot find the packages; a fresh one has no lists at all.
        if install(&missing).is_err() {
            apt_get(&["update"])?;
            install(&missing)?;
        }
        Ok(())
    })
}

fn missing<'a>(packages: &[(&'a str, &str)], exists: impl Fn(&str) -> bool) -> Vec<&'a str> {
    packages.iter().filter(|(_, file)| !exists(file)).map(|(name, _)| *name).collect()
}

fn install(names: &[&str]) -> anyhow::Result<()> {
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(names);
    apt_get(&args)
}

fn apt_get(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("failed to run apt-get")?;
    if !output.status.success() {
        bail!("`apt-get {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_missing_when_its_file_is() {
        assert_eq!(missing(&CLUSTER, |file| file != "/usr/sbin/runc"), ["runc"]);
        assert!(missing(&CLUSTER, |_| true).is_empty());
    }
}
