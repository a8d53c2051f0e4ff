use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use runtime::args::LogFormat;
use runtime::lease::Times;
use runtime::tls::MinVersion;
use serving::config::Source;

use jiff::SignedDuration;

use super::*;
use crate::rotation::Retention;

/// Every key, each with a value that is not the default.
const FILE: &str = r"
apiVersion: cainjector.config.cert-manager.io/v1alpha1
kind: CAInjectorConfiguration
kubeConfig: kube.yaml
ignoreNamespaces: [team-a, '', team-b]
leaderElectionConfig:
  enabled: true
  namespace: cert-manager
  leaseDuration: 15s
  renewDeadline: 10000000000
  retryPeriod: 2s
enableDataSourceConfig: {certificates: false}
enableInjectableConfig:
  validatingWebhookConfigurations: true
  mutatingWebhookConfigurations: false
  customResourceDefinitions: false
  apiServices: true
enablePprof: true
pprofAddress: localhost:6061
logging: {format: json, verbosity: 4, flushFrequency: 5s}
featureGates: {CAInjectorMerging: false, ServerSideApply: true}
metricsListenAddress: 127.0.0.1:9403
metricsTLSConfig:
  filesystem: {certFile: '', keyFile: ''}
  dynamic: {leafDuration: 168h}
";

fn config(flags: &[&str], text: &str) -> Result<Config, String> {
    let args = Args::try_parse_from(["signet-cainjector"].iter().chain(flags)).unwrap();
    let file = if text.is_empty() {
        File::default()
    } else {
        runtime::config::parse(text, file::IDENTITY).map_err(|error| error.to_string())?
    };
    Config::of(args, file).map_err(|error| error.to_string())
}

fn refused(flags: &[&str], wanted: &str) {
    let error = config(flags, "").unwrap_err();
    assert!(error.starts_with(wanted), "{flags:?}: {error}");
}

fn refused_file(more: &str, wanted: &str) {
    let text = format!(
        "apiVersion: cainjector.config.cert-manager.io/v1alpha1\nkind: CAInjectorConfiguration\n{more}\n"
    );
    assert_eq!(config(&[], &text).unwrap_err(), wanted, "{more}");
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    refused(
        &["--leader-election-lease-duration=30s", "--leader-elect=false"],
        "leaderElectionConfig: the lease duration 30s must be longer than the renew deadline 40s",
    );
    refused(&["--namespace=a", "--ignore-namespaces=b"], "namespace and ignoreNamespaces exclude each other");
    refused(
        &[
            "--enable-validatingwebhookconfigurations-injectable=false",
            "--enable-mutatingwebhookconfigurations-injectable=false",
            "--enable-customresourcedefinitions-injectable=false",
            "--enable-apiservices-injectable=false",
        ],
        "enableInjectableConfig: every kind of target is switched off",
    );
}

#[test]
fn a_retention_that_servers_may_not_survive_has_to_be_confirmed() {
    let text = "--ca-retention is shorter than 2160h, the usual life of a certificate";
    refused(&["--ca-retention=2159h"], text);
    refused(&["--ca-retention=1s", "--ca-retention-below-minimum=false"], text);
    for (flags, retention, memory) in [
        (&["--ca-retention-below-minimum"][..], Retention::UntilExpiry, None),
        (
            &["--ca-retention=2160h"],
            Retention::For(SignedDuration::from_hours(2160)),
            Some("cert-manager-cainjector-memory"),
        ),
        (
            &["--ca-retention=1h", "--ca-retention-below-minimum", "--memory-configmap=own"],
            Retention::For(SignedDuration::from_hours(1)),
            Some("own"),
        ),
    ] {
        let config = config(flags, "").unwrap();
        assert_eq!(config.settings.withdrawal.retention, retention, "{flags:?}");
        assert_eq!(config.memory.as_deref(), memory, "{flags:?}");
    }
}

#[test]
fn a_cap_needs_a_memory_and_a_denial_does_not() {
    let with = |flags: &[&str]| config(flags, "").unwrap();
    let config = with(&["--max-certificates=3", "--memory-configmap="]);
    let hours = |config: &Config| config.settings.withdrawal.cap.map(|cap| cap.absence.as_hours());
    assert_eq!(hours(&config), Some(2160));
    let confirmed = with(&["--max-certificates=3", "--ca-retention-below-minimum"]);
    assert_eq!(hours(&confirmed), Some(0));
    assert_eq!(config.settings.withdrawal.cap.map(|cap| cap.certificates), Some(3));
    assert_eq!(config.memory.as_deref(), Some("cert-manager-cainjector-memory"));
    let name = "ab".repeat(32);
    let config = with(&[&format!("--deny-certificates={name},,{}", "AB:".repeat(31) + "AB")]);
    assert_eq!(config.settings.withdrawal.denied, [name.parse().unwrap()].into());
    assert_eq!(config.memory, None);
}

#[test]
fn metrics_over_tls_are_refused_rather_than_served_in_the_clear() {
    let wanted = "metricsTLSConfig.filesystem.keyFile: Required value";
    refused(&["--metrics-tls-cert-file=/a"], wanted);
    refused(&["--metrics-tls-cert-file=/a", "--metrics-tls-min-version=VersionTLS13"], wanted);
    let wanted = "metricsTLSConfig.dynamic.secretNamespace: Required value";
    refused(&["--metrics-dynamic-serving-ca-secret-name=a"], wanted);
    refused(&["--metrics-dynamic-serving-dns-names=a"], wanted);
    let wanted = "metricsTLSConfig: Required value: say where the certificate of the metrics comes from";
    refused(&["--metrics-tls-min-version=VersionTLS13"], wanted);
    refused(&["--metrics-tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], wanted);
    refused(&["--metrics-tls-cipher-suites=TLS_NONE"], "metricsTLSConfig.cipherSuites: Invalid value");
    refused(
        &["--metrics-tls-cert-file=/a", "--metrics-dynamic-serving-dns-names=a"],
        "metricsTLSConfig: Invalid value: the certificate comes either from files (filesystem) or from a CA of the \
         cainjector's own (dynamic)",
    );
    let file = FILE.replace("keyFile: ''", "keyFile: tls.key");
    let wanted = "metricsTLSConfig.filesystem.certFile: Required value";
    assert!(config(&[], &file).unwrap_err().starts_with(wanted));
}

#[test]
fn metrics_go_over_plain_http_where_nothing_says_how_else() {
    let harmless = ["--metrics-tls-cert-file=", "--metrics-dynamic-serving-leaf-duration=1h"];
    assert!(config(&harmless, "").unwrap().metrics_serving.is_none());
    assert!(config(&[], FILE).unwrap().metrics_serving.is_none());
}

#[test]
fn metrics_are_served_by_files_or_under_a_ca_of_the_cainjectors_own() {
    let dynamic =
        "dynamic: {secretNamespace: a, secretName: file, dnsNames: [metrics.a.svc], leafDuration: 24h}";
    let file = FILE.replace("dynamic: {leafDuration: 168h}", dynamic);
    let flags = ["--metrics-dynamic-serving-ca-secret-name=flag", "--metrics-tls-min-version=VersionTLS13"];
    let tls = config(&flags, &file).unwrap().metrics_serving.unwrap();
    let Source::Dynamic(settings) = tls.source else { panic!("{tls:?}") };
    assert_eq!((settings.secret_namespace.as_str(), settings.secret_name.as_str()), ("a", "flag"));
    assert_eq!((settings.manager, settings.names.len()), ("cert-manager-cainjector", 1));
    assert_eq!((settings.leaf_lifetime.as_hours(), tls.min_version), (24, MinVersion::Tls13));
    let flags = ["--metrics-tls-cert-file=/tls.crt", "--metrics-tls-private-key-file=/tls.key"];
    let tls = config(&flags, FILE).unwrap().metrics_serving.unwrap();
    assert!(matches!(tls.source, Source::Files { .. }), "{tls:?}");
}

#[test]
fn a_file_with_a_mistake_is_refused_with_its_line() {
    refused_file(
        "ignoreNamespace: [a]",
        "line 3, column 1: unknown key \"ignoreNamespace\"; did you mean \"ignoreNamespaces\"?",
    );
    refused_file(
        "leaderElectionConfig: {leaseDuration: 60}\nnamespace: 1",
        "line 4, column 12: text is wanted; write \"1\" with quotes",
    );
    refused_file("leaderElectionConfig: {leaseDuration: -1s}", "line 3, column 39: shorter than nothing");
    refused_file(
        "featureGates: {CAInjectorMergeBundle: true}",
        "line 3, column 15: unknown feature gate \"CAInjectorMergeBundle\"; did you mean \"CAInjectorMerging\"?",
    );
    refused_file(
        "enableInjectableConfig: {apiservices: false}",
        "line 3, column 26: unknown key \"apiservices\"; did you mean \"apiServices\"?",
    );
}

#[test]
fn every_key_of_the_file_counts() {
    let config = config(&[], FILE).unwrap();
    assert_eq!(config.kubernetes.kubeconfig.as_deref(), Some(Path::new("kube.yaml")));
    let ignored = BTreeSet::from(["team-a".to_owned(), "team-b".to_owned()]);
    let namespaces = Namespaces::Except(ignored);
    assert_eq!(
        config.settings,
        Settings { namespaces, certificates: false, merging: false, ..Settings::default() }
    );
    assert_eq!(config.targets, [TargetKind::ValidatingWebhookConfiguration, TargetKind::ApiService]);
    let times = Times::new(secs(15), secs(10), secs(2)).unwrap();
    assert_eq!(config.election, Some(Election { namespace: "cert-manager".to_owned(), times }));
    assert_eq!(config.admin.metrics_listen_address.to_string(), "127.0.0.1:9403");
    assert_eq!(config.logging.logging_format, Some(LogFormat::Json));
    assert_eq!(
        config.warnings,
        [
            "feature gate CAInjectorMerging is off: when a CA is renewed, the one before is trusted no more from that \
             moment, although servers may use its certificates still",
            "feature gate ServerSideApply has no effect any more; remove it",
            "there is no profiler to enable: --enable-profiling and --profiler-address have no effect; /metrics tells \
             processor time and memory",
        ]
    );
}

#[test]
fn flags_win_over_the_file() {
    let flags = [
        "--kubeconfig=/a",
        "--ignore-namespaces=c",
        "--leader-elect=false",
        "--enable-certificates-data-source",
        "--enable-customresourcedefinitions-injectable=true",
        "--enable-apiservices-injectable=false",
        "--enable-profiling=false",
        "--metrics-listen-address=0",
        "--feature-gates=CAInjectorMerging=true",
        "--feature-gates=ServerSideApply=false",
        "--logging-format=text",
    ];
    let config = config(&flags, FILE).unwrap();
    assert_eq!(config.kubernetes.kubeconfig.as_deref(), Some(Path::new("/a")));
    let ignored = BTreeSet::from(["c".to_owned()]);
    let namespaces = Namespaces::Except(ignored);
    assert_eq!(
        config.settings,
        Settings { namespaces, certificates: true, merging: true, ..Settings::default() }
    );
    assert_eq!(
        config.targets,
        [TargetKind::ValidatingWebhookConfiguration, TargetKind::CustomResourceDefinition]
    );
    assert_eq!(config.election, None);
    assert_eq!(config.admin.metrics_listen_address, ListenAddress::Off);
    assert_eq!(config.logging.logging_format, Some(LogFormat::Text));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn without_flags_the_defaults_are_the_peers() {
    let flags = ["--config=", "--namespace=", "--ignore-namespaces=", "--leader-election-namespace="];
    for flags in [&[][..], &flags] {
        let config = config(flags, "").unwrap();
        assert_eq!(config.settings, Settings::default());
        let standard = TargetKind::ALL.iter().filter(|kind| !kind.is_wider());
        assert_eq!(config.targets, standard.copied().collect::<Vec<_>>());
        let times = Times::new(secs(60), secs(40), secs(15)).unwrap();
        let election = Election { namespace: "kube-system".to_owned(), times };
        assert_eq!(config.election.as_ref(), Some(&election));
        assert_eq!(config.admin.metrics_listen_address.to_string(), "[::]:9402");
        assert!(config.warnings.is_empty());
    }
}

#[test]
fn wider_kinds_are_injected_into_if_a_flag_says_so() {
    let flags = ["--inject-configmaps", "--inject-clustertrustbundles=true", "--inject-configmaps=false"];
    let targets = config(&flags, FILE).unwrap().targets;
    assert_eq!(targets.last(), Some(&TargetKind::ClusterTrustBundle));
    assert!(!targets.contains(&TargetKind::ConfigMap));
    assert_eq!(config(&flags[..1], "").unwrap().targets.last(), Some(&TargetKind::ConfigMap));
}

#[test]
fn a_custom_resource_is_declared_once() {
    let flags =
        ["--inject-target=example.test/v1/meshes:spec.ca", "--inject-target=example.test/v1/gates:spec.ca"];
    let targets = config(&flags, "").unwrap().targets;
    let names: Vec<_> = targets.iter().rev().take(2).map(|kind| kind.kind()).collect();
    assert_eq!(names, ["gates.example.test", "meshes.example.test"]);
    let again = "--inject-target=example.test/v2/meshes:spec.more.ca:pem";
    refused(&[flags[0], again], "--inject-target: meshes.example.test are declared twice");
}

#[test]
fn a_relative_path_begins_at_the_folder_of_the_file() {
    let path = std::env::temp_dir().join(format!("cainjector-{}.yaml", std::process::id()));
    std::fs::write(&path, FILE).unwrap();
    let flag = format!("--config={}", path.display());
    let config = Config::load(Args::try_parse_from(["signet-cainjector", &flag]).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(config.unwrap().kubernetes.kubeconfig, Some(path.with_file_name("kube.yaml")));
}
