//! Builds the programs that a cluster and its tests consist of, from the Go modules in `e2e/tools`, and keeps them
//! between runs.
//!
//! The cache folder's name is a digest of everything that decides the result, so a changed version is built anew and an
//! unchanged one never again. Each program appears under its name only when it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::{paths, progress};

/// The version of Kubernetes that `e2e/tools/go.mod` pins; a test holds the two together.
pub const KUBERNETES_VERSION: &str = "v1.36.3";

/// Lines of a failed build that are shown.
const ERROR_LINES: usize = 25;

/// Environment of every build: static programs, and no look at the checkout around the module.
const ENVIRONMENT: [(&str, &str); 2] = [("CGO_ENABLED", "0"), ("GOFLAGS", "-buildvcs=false -mod=readonly")];

/// A program that is built from the pinned Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The API server.
    KubeApiserver,
    /// The controllers of Kubernetes.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// The node agent.
    Kubelet,
    /// The Service proxy.
    KubeProxy,
    /// The command line client.
    Kubectl,
    /// The store.
    Etcd,
    /// The CSI conformance suite.
    CsiSanity,
    /// An ACME server for tests.
    Pebble,
    /// The DNS and challenge server beside it.
    PebbleChalltestsrv,
    /// The chart installer.
    Helm,
    /// cert-manager's own client.
    Cmctl,
    /// cert-manager's cainjector.
    PeerCainjector,
    /// cert-manager's webhook.
    PeerWebhook,
}

impl Tool {
    /// Every tool.
    pub const ALL: [Self; 14] = [
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Kubectl,
        Self::Etcd,
        Self::CsiSanity,
        Self::Pebble,
        Self::PebbleChalltestsrv,
        Self::Helm,
        Self::Cmctl,
        Self::PeerCainjector,
        Self::PeerWebhook,
    ];

    /// What a control plane on loopback needs.
    pub const CONTROL_PLANE: [Self; 5] =
        [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager, Self::Kubectl, Self::Helm];

    /// What a cluster with nodes needs.
    pub const CLUSTER: [Self; 8] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Kubectl,
        Self::Helm,
    ];

    /// The file name of the program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Etcd => "etcd",
            Self::CsiSanity => "csi-sanity",
            Self::Pebble => "pebble",
            Self::PebbleChalltestsrv => "pebble-challtestsrv",
            Self::Helm => "helm",
            Self::Cmctl => "cmctl",
            Self::PeerCainjector => "cainjector",
            Self::PeerWebhook => "webhook",
        }
    }

    /// The name that Go gives the program: the last part of its package's path that is no version.
    fn built_name(self) -> String {
        let package = self.package();
        let is_version = |part: &str| {
            part.strip_prefix('v').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let mut parts = package.rsplit('/').filter(|part| !is_version(part));
        parts.next().unwrap_or_default().to_owned()
    }

    fn package(self) -> String {
        match self {
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => format!("k8s.io/kubernetes/cmd/{}", self.name()),
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Self::CsiSanity => "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity".to_owned(),
            Self::Pebble | Self::PebbleChalltestsrv => {
                format!("github.com/letsencrypt/pebble/v2/cmd/{}", self.name())
            }
            Self::Helm => "helm.sh/helm/v3/cmd/helm".to_owned(),
            Self::Cmctl => "github.com/cert-manager/cmctl/v2".to_owned(),
            Self::PeerCainjector | Self::PeerWebhook => {
                format!("github.com/cert-manager/cert-manager/signet-peers/{}", self.name())
            }
        }
    }

    /// Whether its main function lies beside the `go.mod`: the program's own module cannot be built from outside.
    fn has_source(self) -> bool {
        matches!(self, Self::PeerCainjector | Self::PeerWebhook)
    }

    /// The folder of the Go module that pins it. What has dependencies of its own has a module of its own, so that it
    /// cannot change what Kubernetes is built from.
    fn module(self) -> &'static str {
        match self {
            Self::Cmctl => "e2e/tools/cmctl",
            Self::PeerCainjector | Self::PeerWebhook => "e2e/tools/peers",
            _ => "e2e/tools",
        }
    }
}

/// The folder with the built tools.
#[derive(Clone, Debug)]
pub struct Toolchain {
    dir: PathBuf,
}

impl Toolchain {
    /// Builds those of `tools` that are not there yet; they are of one module. A second process waits for the first
    /// instead of building again.
    ///
    /// # Errors
    /// When Go is missing or a build fails; the message holds the last lines of the build.
    pub fn ensure(tools: &[Tool]) -> anyhow::Result<Self> {
        let folder = tools.first().context("no tool was asked for")?.module();
        ensure!(tools.iter().all(|tool| tool.module() == folder), "{tools:?} are not of one module");
        let module = paths::workspace().join(folder);
        let read = |name: &str| {
            let path = module.join(name);
            fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
        };
        let mut parts = vec![read("go.mod")?, read("go.sum")?];
        for tool in Tool::ALL.into_iter().filter(|tool| tool.has_source() && tool.module() == folder) {
            parts.push(read(&format!("{}/main.go", tool.name()))?);
        }
        let key = digest(&parts, &linker_flags());
        let dir = paths::cache()?.join(format!("tools-{key}"));
        fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        let toolchain = Self { dir };
        if tools.iter().all(|tool| toolchain.has(*tool)) {
            return Ok(toolchain);
        }
        let _lock = lock(&toolchain.dir)?;
        // Another process may have built some while this one waited.
        let missing: Vec<Tool> = tools.iter().copied().filter(|tool| !toolchain.has(*tool)).collect();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|tool| tool.name()).collect();
            progress::step(&format!("building {}", names.join(", ")), || toolchain.build(&missing, &module))?;
        }
        Ok(toolchain)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one program, built or not.
    #[must_use]
    pub fn path(&self, tool: Tool) -> PathBuf {
        self.dir.join(tool.name())
    }

    fn has(&self, tool: Tool) -> bool {
        self.path(tool).is_file()
    }

    /// All at once, so that one is linked while others are compiled.
    fn build(&self, tools: &[Tool], module: &Path) -> anyhow::Result<()> {
        let unfinished = self.dir.join(".unfinished");
        fs::create_dir_all(&unfinished)
            .with_context(|| format!("failed to create {}", unfinished.display()))?;
        let packages: Vec<String> = tools.iter().map(|tool| tool.package()).collect();
        let output = unfinished.to_str().context("the cache's path is not text")?;
        let flags = linker_flags();
        let mut arguments = vec!["build", "-trimpath", "-ldflags", &flags, "-o", output];
        arguments.extend(packages.iter().map(String::as_str));
        go(&arguments, module)?;
        for tool in tools {
            fs::rename(unfinished.join(tool.built_name()), self.path(*tool))
                .with_context(|| format!("failed to put {} into the cache", tool.name()))?;
        }
        Ok(())
    }
}

/// Holds off every other run that builds into this folder while the returned file lives.
pub(crate) fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(".lock");
    let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
    if file.try_lock().is_err() {
        progress::step("waiting for another run that builds tools", || file.lock())
            .with_context(|| format!("failed to lock {}", path.display()))?;
    }
    Ok(file)
}

/// Runs `go` in a folder and returns what it printed.
pub(crate) fn go(arguments: &[&str], folder: &Path) -> anyhow::Result<String> {
    let output = Command::new("go")
        .args(arguments)
        .current_dir(folder)
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .output()
        .context("failed to run `go`: install Go 1.26 or newer (https://go.dev/dl) and put it on the PATH")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(ERROR_LINES)..).unwrap_or_default().join("\n");
        bail!("`go {}` failed in {}:\n{shown}", arguments.join(" "), folder.display());
    }
    String::from_utf8(output.stdout).context("`go` printed what is no text")
}

/// Without the version a server says v0.0.0 and charts with a `kubeVersion` refuse it.
fn linker_flags() -> String {
    let version = "k8s.io/component-base/version";
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!(
        "-s -w -X {version}.gitVersion={KUBERNETES_VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    )
}

/// A name for what is built from these files with these flags.
pub(crate) fn digest(parts: &[Vec<u8>], flags: &str) -> String {
    let environment = format!("{ENVIRONMENT:?} {flags}");
    let mut hash = Sha256::new();
    for part in parts.iter().map(Vec::as_slice).chain([environment.as_bytes()]) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_names_a_program_by_its_package_and_two_of_one_module_differ() {
        for (tool, name) in [(Tool::Etcd, "server"), (Tool::Cmctl, "cmctl"), (Tool::Helm, "helm")] {
            assert_eq!(tool.built_name(), name);
        }
        for tool in Tool::ALL {
            let alike =
                |other: &Tool| other.module() == tool.module() && other.built_name() == tool.built_name();
            assert_eq!(Tool::ALL.iter().filter(|other| alike(other)).count(), 1, "{tool:?}");
        }
    }

    #[test]
    fn the_digest_changes_with_each_of_its_parts() {
        let digest = |parts: &[&str]| {
            digest(&parts.iter().map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>(), "-s")
        };
        let base = digest(&["mod", "sum"]);
        assert_eq!(base, digest(&["mod", "sum"]));
        assert_ne!(base, digest(&["mod2", "sum"]));
        assert_ne!(base, digest(&["mod", "sum2"]));
        assert_ne!(base, digest(&["mod", "sum", "source"]));
        assert_ne!(base, digest(&["mods", "um"]), "the parts' borders count");
    }

    #[test]
    fn the_module_pins_every_tool_and_the_version_of_kubernetes() {
        let module = |tool: Tool| {
            let path = paths::workspace().join(tool.module()).join("go.mod");
            fs::read_to_string(path).unwrap()
        };
        assert!(module(Tool::Kubectl).contains(&format!("k8s.io/kubernetes {KUBERNETES_VERSION}")));
        for tool in Tool::ALL {
            let lines = [format!("\t{}\n", tool.package()), format!("\ntool {}\n", tool.package())];
            assert!(
                lines.iter().any(|line| module(tool).contains(line)),
                "no tool directive for {}",
                tool.package()
            );
        }
    }
}
