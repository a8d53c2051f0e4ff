//! The flags of the driver. Those that the peer's driver has bear its names.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use issuers::policy::{DURATION_MAX, Policy, Rules};
use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs};
use runtime::watch::ObjectName;

use crate::signing::channel::Address;

/// Longest name of a driver: it is the name of a CSIDriver object's one DNS label row (CSI, GetPluginInfo).
const DRIVER_NAME_BYTES_MAX: usize = 63;

/// Mebibytes to bytes.
const MEBIBYTE: u64 = 1 << 20;

/// Puts a private key and a certificate of its own into each pod that asks for them with an inline CSI volume.
#[derive(Debug, Clone, Parser)]
#[command(name = "signet-csi-driver", version, args_override_self = true)]
pub struct Args {
    /// Name of the node, as its Node object has it
    #[arg(long, value_name = "NAME")]
    pub node_id: String,

    /// Socket for kubelet: unix:///PATH
    #[arg(long, value_name = "URL")]
    pub endpoint: Endpoint,

    /// Name of the driver, as CSIDriver object and pods have it
    #[arg(long, value_name = "NAME", default_value = "csi.cert-manager.io", value_parser = driver_name)]
    pub driver_name: String,

    /// Folder for the tmpfs with the pods' keys; /run/NAME with the name of the driver when not given
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,

    /// Limit of that tmpfs, in MiB; a volume takes about 32 KiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub data_size_mib: u32,

    /// Who signs
    #[arg(long, value_enum, default_value_t = Mode::Local)]
    pub mode: Mode,

    /// Namespace of the Secrets that ClusterIssuers name
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    pub cluster_resource_namespace: String,

    /// The name policy.
    #[command(flatten)]
    pub policy: PolicyArgs,

    /// The signer service.
    #[command(flatten)]
    pub signer: SignerArgs,

    /// How many RSA 2048 keys to have ready, so that a mount need not wait for one
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(..=256))]
    pub rsa_key_stock: u16,

    /// Path of the socket as kubelet sees it; that of --endpoint when not given
    #[arg(long, value_name = "PATH", help_heading = "Registration")]
    pub kubelet_registration_path: Option<String>,

    /// Kubelet's folder for registrations; plugins_registry beside the plugins folder of the endpoint when not given,
    /// 0 to not register
    #[arg(long, value_name = "DIR", help_heading = "Registration")]
    pub plugins_registry_dir: Option<PathBuf>,

    /// Address of /livez, /readyz and /healthz, 0 for none
    #[arg(long, value_name = "ADDRESS", default_value = ":6080", help_heading = "Observation")]
    pub healthz_listen_address: ListenAddress,

    /// Address of /metrics, 0 for none
    #[arg(long, value_name = "ADDRESS", default_value = "0", help_heading = "Observation")]
    pub metrics_bind_address: ListenAddress,

    /// Logs.
    #[command(flatten)]
    pub logging: LoggingArgs,

    /// Client.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

impl Args {
    /// Where the tmpfs goes.
    pub fn data_root(&self) -> PathBuf {
        self.data_root.clone().unwrap_or_else(|| Path::new("/run").join(&self.driver_name))
    }

    /// Limit of the tmpfs in bytes.
    pub fn data_size_bytes(&self) -> u64 {
        u64::from(self.data_size_mib) * MEBIBYTE
    }

    /// The folder to register in, unless registration is off.
    pub fn registry_folder(&self) -> Option<PathBuf> {
        match &self.plugins_registry_dir {
            Some(folder) if folder == Path::new("0") => None,
            Some(folder) => Some(folder.clone()),
            // <kubelet>/plugins/<driver>/csi.sock
            None => self.endpoint.0.ancestors().nth(3).map(|root| root.join("plugins_registry")),
        }
    }

    /// What kubelet is told to dial.
    pub fn path_for_kubelet(&self) -> String {
        match &self.kubelet_registration_path {
            Some(path) => path.clone(),
            None => self.endpoint.0.display().to_string(),
        }
    }
}

/// Who signs certificates. Only the operator chooses, never a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// This driver, with the issuers' Secrets, which it must be able to read: the node then holds the keys of the CAs.
    /// What the name policy permits to a pod is signed
    Local,
    /// The controller's signer service, which holds the keys and knows which names a pod may have
    Signer,
}

/// Which names pods may have, with --mode=local; in mode signer the controller knows.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Name policy, with --mode=local")]
pub struct PolicyArgs {
    /// ConfigMap with the rules of the name policy, in its key policy.yaml
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_name)]
    pub policy_configmap: Option<ObjectName>,

    /// Domain of the cluster, in which Services have their long names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Trust domain of the SPIFFE identities of service accounts; that of the cluster when not given
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<String>,
}

impl PolicyArgs {
    /// What applies to all pods, without the rules.
    pub fn policy(&self) -> Policy {
        let cluster_domain = self.cluster_domain.to_ascii_lowercase();
        Policy {
            trust_domain: self.trust_domain.clone().unwrap_or_else(|| cluster_domain.clone()),
            cluster_domain,
            duration_max: DURATION_MAX,
            rules: Rules::default(),
        }
    }
}

/// The signer service, with --mode=signer.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Signer service, with --mode=signer")]
pub struct SignerArgs {
    /// Address of the signer service
    #[arg(long, value_name = "NAME:PORT", required_if_eq("mode", "signer"))]
    pub signer_address: Option<Address>,

    /// ConfigMap in which the controller publishes the CA of the service
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_name, required_if_eq("mode", "signer"))]
    pub signer_ca_configmap: Option<ObjectName>,

    /// File with the driver's own token for the service, which kubelet renews
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/signet/signer/token")]
    pub signer_token_file: PathBuf,

    /// Audience of the pods' tokens for the service, as in tokenRequests of the CSIDriver object
    #[arg(long, value_name = "AUDIENCE", default_value = "signet-signer-pod")]
    pub signer_pod_audience: String,
}

/// The socket that the driver serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(pub PathBuf);

/// Why an endpoint was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a unix socket: write unix:///path/to/csi.sock")]
pub struct EndpointError(String);

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') && !path.ends_with('/') {
            Ok(Self(PathBuf::from(path)))
        } else {
            Err(EndpointError(text.to_owned()))
        }
    }
}

fn object_name(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectName::namespaced(namespace, name))
        }
        _ => Err("not a namespace and a name with a slash between them".to_owned()),
    }
}

fn driver_name(text: &str) -> Result<String, String> {
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let ends = |c: char| c.is_ascii_alphanumeric();
    let fits = (1..=DRIVER_NAME_BYTES_MAX).contains(&text.len());
    if fits && text.chars().all(usable) && text.starts_with(ends) && text.ends_with(ends) {
        Ok(text.to_owned())
    } else {
        Err("use up to 63 letters, digits, dots and minus signs, such as csi.cert-manager.io".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(more: &[&str]) -> Result<Args, String> {
        let fixed = ["x", "--node-id=n", "--endpoint=unix:///k/plugins/d/csi.sock"];
        Args::try_parse_from(fixed.iter().chain(more)).map_err(|error| error.to_string())
    }

    #[test]
    fn sockets_that_are_none_are_refused() {
        for text in ["tcp://127.0.0.1:1", "unix://csi.sock", "csi.sock", "", "unix:///a/"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
        for text in ["unix:///a/csi.sock", "/a/csi.sock"] {
            assert_eq!(text.parse(), Ok(Endpoint(PathBuf::from("/a/csi.sock"))), "{text:?}");
        }
    }

    #[test]
    fn names_that_no_csi_driver_object_can_have_are_refused() {
        for name in ["", "a/b", ".a", "a-", &"a".repeat(64)] {
            assert!(parse(&[&format!("--driver-name={name}")]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn mode_signer_needs_to_know_whom_to_ask_and_to_trust() {
        let (address, map) = ("--signer-address=s.a.svc:443", "--signer-ca-configmap=a/s");
        assert!(parse(&["--mode=signer", address]).unwrap_err().contains("--signer-ca-configmap"));
        assert!(parse(&["--mode=signer", map]).unwrap_err().contains("--signer-address"));
        for wrong in [
            "--signer-address=s",
            "--signer-ca-configmap=s",
            "--signer-ca-configmap=a/",
            "--signer-ca-configmap=/s",
        ] {
            assert!(parse(&["--mode=signer", wrong]).is_err(), "{wrong}");
        }
        assert_eq!(parse(&["--mode=signer", address, map]).unwrap().mode, Mode::Signer);
    }

    #[test]
    fn paths_follow_from_endpoint_and_name_and_the_last_of_several_flags_counts() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.data_root(), Path::new("/run/csi.cert-manager.io"));
        assert_eq!(args.registry_folder().as_deref(), Some(Path::new("/k/plugins_registry")));
        assert_eq!(args.path_for_kubelet(), "/k/plugins/d/csi.sock");
        let args = parse(&["--plugins-registry-dir=/a", "--plugins-registry-dir=0"]).unwrap();
        assert_eq!(args.registry_folder(), None);
    }

    #[test]
    fn the_help_is_what_the_golden_file_says() {
        let help = Args::command().term_width(100).render_long_help().to_string();
        expect_test::expect_file!["../tests/golden/help.txt"].assert_eq(&help);
    }
}
