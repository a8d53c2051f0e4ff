//! What the operator decides about the signer service.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use issuers::policy::{DURATION_MAX, Policy, Rules};
use jiff::SignedDuration;
use runtime::args::ListenAddress;
use runtime::config::Text;
use runtime::watch::ObjectName;
use rustls::pki_types::ServerName;
use serving::args::{duration, serving_name};

/// Where the service listens by default.
const LISTEN: ListenAddress = ListenAddress::every(10443);

/// Default of `--signer-max-connections`: of an idle one some 50 KB are held, and so many of them fit in what the chart
/// gives the container.
const CONNECTIONS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// Flags of the signer service.
#[derive(Debug, Clone, clap::Args)]
#[command(
    next_help_heading = "Signer service, for CSI drivers in mode signer; off without --signer-ca-secret"
)]
pub struct SignerArgs {
    /// Address of the signer service; 0 switches it off [default: :10443]
    #[arg(long, value_name = "ADDRESS")]
    pub signer_listen_address: Option<ListenAddress>,

    /// Connections to the signer service: each node keeps one, to one of the replicas, and if only one replica is left, all
    /// do; an idle one takes about 50 KB of memory [default: 1024]
    #[arg(long, value_name = "COUNT")]
    pub signer_max_connections: Option<NonZeroUsize>,

    /// Secret that keeps the CA of its serving certificate; it is created if it does not exist
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_name, requires = "signer_ca_configmap")]
    pub signer_ca_secret: Option<ObjectName>,

    /// ConfigMap in which that CA is published for drivers; it is created if it does not exist
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_name, requires = "signer_dns_names")]
    pub signer_ca_configmap: Option<ObjectName>,

    /// DNS names of the service; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = serving_name)]
    pub signer_dns_names: Vec<ServerName<'static>>,

    /// Audience of the tokens by which drivers are known
    #[arg(long, value_name = "AUDIENCE", default_value = "signet-signer-driver")]
    pub signer_driver_audience: String,

    /// Audience of the tokens by which pods are known
    #[arg(long, value_name = "AUDIENCE", default_value = "signet-signer-pod")]
    pub signer_pod_audience: String,

    /// ConfigMap with the rules of the name policy, in its key policy.yaml; the approver goes by it too, for what drivers ask
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_name)]
    pub signer_policy_configmap: Option<ObjectName>,

    /// Domain of the cluster, in which Services have their long names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Trust domain of the SPIFFE identities of service accounts [default: the domain of the cluster]
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<Text<String>>,

    /// Longest life of a certificate that pods get, where no rule says otherwise [default: 2160h]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub signer_max_duration: Option<SignedDuration>,
}

/// What the flags come to.
#[derive(Debug, Clone)]
pub struct SignerSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Connections at once.
    pub connections_max: NonZeroUsize,
    /// Secret of the service's own CA.
    pub ca_secret: ObjectName,
    /// Where it is published.
    pub ca_config_map: ObjectName,
    /// Names of the service.
    pub names: Vec<ServerName<'static>>,
    /// Audience of drivers' tokens.
    pub driver_audience: Arc<str>,
    /// Audience of pods' tokens.
    pub pod_audience: Arc<str>,
    /// Usernames of drivers.
    pub drivers: Vec<String>,
}

/// The name policy, by which signer service and approver go.
#[derive(Debug, Clone)]
pub struct PolicySettings {
    /// Where the rules are; `None`: there are none.
    pub config_map: Option<ObjectName>,
    /// What applies to all pods, without the rules.
    pub policy: Policy,
}

impl SignerArgs {
    /// The name policy.
    pub fn policy(&self) -> PolicySettings {
        let cluster_domain = self.cluster_domain.to_ascii_lowercase();
        let trust_domain = Text::of(self.trust_domain.clone());
        PolicySettings {
            config_map: self.signer_policy_configmap.clone(),
            policy: Policy {
                trust_domain: trust_domain.unwrap_or_else(|| cluster_domain.clone()),
                cluster_domain,
                duration_max: self.signer_max_duration.unwrap_or(DURATION_MAX),
                rules: Rules::default(),
            },
        }
    }

    /// What they come to, with the usernames of `drivers`; `None` when the service is off.
    pub fn settings(self, drivers: Vec<String>) -> Option<SignerSettings> {
        Some(SignerSettings {
            listen: self.signer_listen_address.unwrap_or(LISTEN).socket()?,
            connections_max: self.signer_max_connections.unwrap_or(CONNECTIONS_MAX),
            ca_secret: self.signer_ca_secret?,
            ca_config_map: self.signer_ca_configmap?,
            names: self.signer_dns_names,
            driver_audience: self.signer_driver_audience.into(),
            pod_audience: self.signer_pod_audience.into(),
            drivers,
        })
    }
}

/// A namespaced object.
fn object_name(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectName::namespaced(namespace, name))
        }
        _ => Err("not a namespace and a name with a slash between them".to_owned()),
    }
}

fn positive_duration(text: &str) -> Result<SignedDuration, String> {
    let duration = duration(text)?;
    if duration.is_positive() { Ok(duration) } else { Err("no time at all".to_owned()) }
}

#[cfg(test)]
pub(super) mod testing {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    pub(in crate::signer) struct Flags {
        #[command(flatten)]
        pub(in crate::signer) signer: SignerArgs,
    }

    /// What the flags of a service that is on come to.
    pub(in crate::signer) fn settings(flags: &[&str]) -> SignerSettings {
        let flags = Flags::try_parse_from(["x"].iter().chain(flags)).unwrap();
        flags.signer.settings(Vec::new()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::testing::Flags;
    use super::*;

    fn settings(flags: &[&str]) -> Result<Option<SignerSettings>, String> {
        let flags = Flags::try_parse_from(["x"].iter().chain(flags)).map_err(|error| error.to_string())?;
        Ok(flags.signer.settings(vec!["d".to_owned()]))
    }

    const NEEDED: [&str; 3] =
        ["--signer-ca-secret=a/b", "--signer-ca-configmap=a/c", "--signer-dns-names=signer.a.svc"];

    #[test]
    fn half_of_a_service_is_refused() {
        assert!(settings(&NEEDED[..1]).unwrap_err().contains("--signer-ca-configmap"));
        assert!(settings(&NEEDED[..2]).unwrap_err().contains("--signer-dns-names"));
        for wrong in [
            "--signer-ca-secret=b",
            "--signer-ca-secret=/b",
            "--signer-ca-secret=a/",
            "--signer-ca-secret=a/b/c",
        ] {
            assert!(
                settings(&[wrong, NEEDED[1], NEEDED[2]]).unwrap_err().contains("with a slash"),
                "{wrong}"
            );
        }
        assert!(settings(&["--signer-max-connections=0"]).unwrap_err().contains("--signer-max-connections"));
        assert!(settings(&["--signer-max-duration=0s"]).unwrap_err().contains("no time at all"));
    }

    #[test]
    fn the_service_is_off_without_a_secret_or_an_address() {
        assert!(settings(&[]).unwrap().is_none());
        let off = [NEEDED[0], NEEDED[1], NEEDED[2], "--signer-listen-address=0"];
        assert!(settings(&off).unwrap().is_none());
    }

    #[test]
    fn what_is_left_open_has_a_default() {
        let found = settings(&NEEDED).unwrap().unwrap();
        assert_eq!((found.listen.port(), &*found.driver_audience), (10443, "signet-signer-driver"));
        assert_eq!(found.connections_max, CONNECTIONS_MAX);
        assert_eq!(found.ca_secret, ObjectName::namespaced("a", "b"));
        let policy = |flags: &[&str]| {
            let flags = Flags::try_parse_from(["x"].iter().chain(flags)).unwrap();
            let PolicySettings { policy, .. } = flags.signer.policy();
            (policy.cluster_domain, policy.trust_domain, policy.duration_max)
        };
        let wanted = |cluster: &str, trust: &str| (cluster.to_owned(), trust.to_owned(), DURATION_MAX);
        assert_eq!(policy(&[]), wanted("cluster.local", "cluster.local"));
        assert_eq!(policy(&["--cluster-domain=K8s.test", "--trust-domain=td"]), wanted("k8s.test", "td"));
    }
}
