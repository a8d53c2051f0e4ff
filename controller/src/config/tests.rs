use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use runtime::args::LogFormat;
use runtime::lease::Times;
use serving::config::Source;

use super::*;

/// Every key, each with a value that is not the default where it counts.
const FILE: &str = r"
apiVersion: controller.config.cert-manager.io/v1alpha1
kind: ControllerConfiguration
kubeConfig: kube.yaml
apiServerHost: https://api
kubernetesAPIQPS: 20.5
kubernetesAPIBurst: 50
namespace: team-a
clusterResourceNamespace: cert-manager
leaderElectionConfig:
  enabled: true
  namespace: cert-manager
  leaseDuration: 15s
  renewDeadline: 10000000000
  retryPeriod: 2s
  healthzTimeout: 20s
controllers: ['*', -orders]
issuerAmbientCredentials: true
clusterIssuerAmbientCredentials: false
enableCertificateOwnerRef: true
enableGatewayAPI: true
enableGatewayAPIListenerSet: true
copiedAnnotationPrefixes: [example.com/]
numberOfConcurrentWorkers: 8
maxConcurrentChallenges: 60
metricsListenAddress: 127.0.0.1:9400
metricsTLSConfig:
  filesystem: {certFile: '', keyFile: ''}
  dynamic: {secretNamespace: cert-manager, secretName: metrics-ca, dnsNames: [controller.svc], leafDuration: 100h}
healthzListenAddress: 127.0.0.1:9403
enablePprof: false
pprofAddress: localhost:6061
logging: {format: json, verbosity: 4}
featureGates: {NameConstraints: false, ServerSideApply: true}
ingressShimConfig:
  defaultIssuerName: letsencrypt
  defaultIssuerKind: ClusterIssuer
  defaultIssuerGroup: cert-manager.io
  defaultAutoCertificateAnnotations: [kubernetes.io/tls-acme]
  extraCertificateAnnotations: []
acmeHTTP01Config:
  solverImage: solver
  solverResourceRequestCPU: 10m
  solverResourceRequestMemory: 64Mi
  solverResourceLimitsCPU: 100m
  solverResourceLimitsMemory: 64Mi
  solverRunAsNonRoot: true
  solverRuntimeClassName: gvisor
  solverNameservers: []
  solverExtraLabels: {a: b}
acmeDNS01Config: {recursiveNameservers: [], recursiveNameserversOnly: true, checkRetryPeriod: 10s}
pemSizeLimitsConfig: {maxCertificateSize: 1, maxPrivateKeySize: 2, maxChainLength: 3, maxBundleSize: 4}
gatewayAPI: {enabled: true, enableListenerSet: true, extraProtocols: [a]}
certificateRequestMinimumBackoffDuration: 2h
certificateRequestMaximumBackoffDuration: 4h
";

fn config(flags: &[&str], text: &str) -> Result<Config, String> {
    let args = Args::try_parse_from(["signet-controller"].iter().chain(flags)).unwrap();
    let file = if text.is_empty() {
        File::default()
    } else {
        runtime::config::parse(text, file::IDENTITY).map_err(|error| error.to_string())?
    };
    Config::of(args, file).map_err(|error| error.to_string())
}

fn refused(flags: &[&str], more: &str, wanted: &str) {
    let text = format!(
        "apiVersion: controller.config.cert-manager.io/v1alpha1\nkind: ControllerConfiguration\n{more}\n"
    );
    assert_eq!(config(flags, &text).unwrap_err(), wanted, "{flags:?} {more}");
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_contradicts_itself_or_does_not_exist_is_refused() {
    refused(
        &["--leader-election-lease-duration=10s"],
        "",
        "leaderElectionConfig: the lease duration 10s must be longer than the renew deadline 40s",
    );
    refused(
        &["--certificate-request-minimum-backoff-duration=33h"],
        "",
        "certificateRequestMinimumBackoffDuration 118800s is longer than certificateRequestMaximumBackoffDuration \
         115200s",
    );
    refused(&["--controllers=issuer"], "", "controllers: there is no \"issuer\"; did you mean \"issuers\"?");
    refused(
        &[
            "--controllers=-certificaterequests-approver",
            "--signer-ca-secret=a/b",
            "--signer-ca-configmap=a/c",
            "--signer-dns-names=signer.a.svc",
        ],
        "",
        "the signer service signs without asking approvers, and controllers leaves certificaterequests-approver out: turn \
         it on, or the signer service off with --signer-listen-address=0",
    );
    refused(&[], "numberOfConcurrentWorkers: 0", "numberOfConcurrentWorkers: 0 is none; write 1 or more");
    refused(
        &[],
        "acmeHTTP01Config: {solverImag: a}",
        "line 3, column 20: unknown key \"solverImag\"; did you mean \"solverImage\"?",
    );
    refused(
        &[],
        "enableCertificateOwnerRefs: true",
        "line 3, column 1: unknown key \"enableCertificateOwnerRefs\"; did you mean \"enableCertificateOwnerRef\"?",
    );
}

#[test]
fn every_key_of_the_file_counts() {
    let config = config(&[], FILE).unwrap();
    assert_eq!(config.kubernetes.kubeconfig.as_deref(), Some(Path::new("kube.yaml")));
    let settings = &config.settings;
    assert_eq!(settings.namespace.as_deref(), Some("team-a"));
    assert_eq!(settings.cluster_resource_namespace, "cert-manager");
    assert!(!settings.controllers.is_on("orders") && settings.controllers.is_on("issuers"));
    assert!(settings.owner_refs);
    assert_eq!(settings.copied_annotations, Prefixes::new(["example.com/"]));
    assert_eq!(settings.backoff, Backoffs { first: 2 * HOUR, longest: 4 * HOUR });
    assert_eq!(settings.workers.get(), 8);
    assert!(!settings.has("NameConstraints"));
    let secs = Duration::from_secs;
    let times = Times::new(secs(15), secs(10), secs(2)).unwrap();
    let election = Election { namespace: "cert-manager".to_owned(), times };
    assert_eq!(config.election, Some((election, LEASE.to_owned())));
    assert_eq!(config.admin.metrics_listen_address.to_string(), "127.0.0.1:9400");
    assert_eq!(config.admin.healthz_listen_address.to_string(), "127.0.0.1:9403");
    assert!(matches!(config.metrics_serving.unwrap().source, Source::Dynamic(_)));
    assert_eq!(config.logging.logging_format, Some(LogFormat::Json));
    assert_eq!(
        config.warnings,
        [
            "feature gate ServerSideApply has no effect; remove it",
            "gatewayAPI.enabled has no effect: this controller makes no Certificates for Gateways",
            "ingressShimConfig.defaultIssuerName has no effect: this controller makes no Certificates for Ingresses",
        ]
    );
}

#[test]
fn flags_win_over_the_file() {
    let flags = [
        "--namespace=team-b",
        "--cluster-resource-namespace=other",
        "--leader-elect=false",
        "--controllers=-issuers",
        "--enable-certificate-owner-ref=false",
        "--copied-annotation-prefixes=*",
        "--concurrent-workers=2",
        "--certificate-request-minimum-backoff-duration=1h",
        "--certificate-request-maximum-backoff-duration=3h",
        "--metrics-listen-address=0",
        "--healthz-listen-address=:1",
        "--feature-gates=NameConstraints=true",
        "--logging-format=text",
    ];
    let config = config(&flags, FILE).unwrap();
    let settings = &config.settings;
    assert_eq!(settings.namespace.as_deref(), Some("team-b"));
    assert_eq!(settings.cluster_resource_namespace, "other");
    assert!(settings.controllers.is_on("orders") && !settings.controllers.is_on("issuers"));
    assert!(!settings.owner_refs);
    assert_eq!(settings.copied_annotations, Prefixes::new(["*"]));
    assert_eq!(settings.backoff, Backoffs { first: HOUR, longest: 3 * HOUR });
    assert_eq!(settings.workers.get(), 2);
    assert!(settings.has("NameConstraints"));
    assert_eq!(config.election, None);
    assert_eq!(config.admin.metrics_listen_address, ListenAddress::Off);
    assert_eq!(config.admin.healthz_listen_address, ":1".parse().unwrap());
    assert_eq!(config.logging.logging_format, Some(LogFormat::Text));
}

#[test]
fn without_flags_the_defaults_are_the_peers() {
    let empty =
        ["--config=", "--namespace=", "--controllers=", "--leader-election-name=", "--driver-accounts="];
    for flags in [&[][..], &empty] {
        let config = config(flags, "").unwrap();
        let settings = &config.settings;
        assert_eq!(settings.namespace, None);
        assert_eq!(settings.secret_namespaces, None);
        assert_eq!(settings.cluster_resource_namespace, "kube-system");
        assert_eq!(settings.controllers, Controllers::default());
        assert_eq!(settings.workers.get(), 5);
        assert_eq!(settings.backoff, Backoffs { first: HOUR, longest: 32 * HOUR });
        assert!(settings.has("OtherNames") && !settings.has(BASIC_CONSTRAINTS));
        assert!(settings.drivers.is_empty() && !settings.owner_refs);
        let (election, name) = config.election.unwrap();
        assert_eq!((election.namespace.as_str(), name.as_str()), ("kube-system", "cert-manager-controller"));
        assert_eq!(config.admin.metrics_listen_address.to_string(), "[::]:9402");
        assert_eq!(config.admin.healthz_listen_address.to_string(), "[::]:6080");
        assert!(config.metrics_serving.is_none() && config.warnings.is_empty());
    }
}

#[test]
fn what_is_ours_has_flags_alone() {
    let flags = [
        "--secret-namespaces=a,b",
        "--driver-accounts=system:serviceaccount:a:b",
        "--leader-election-name=x",
    ];
    let config = config(&flags, "").unwrap();
    assert_eq!(config.settings.secret_namespaces, Some(BTreeSet::from(["a".to_owned(), "b".to_owned()])));
    assert_eq!(config.settings.drivers, ["system:serviceaccount:a:b"]);
    assert_eq!(config.election.unwrap().1, "x");
    let asked = self::config(&["--controllers=*,gateway-shim"], "").unwrap().warnings;
    let warning =
        "controllers: gateway-shim is not served by this controller; let another one do it, or leave it out";
    assert_eq!(asked, [warning]);
}
