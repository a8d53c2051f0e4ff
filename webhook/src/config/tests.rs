use std::path::Path;

use super::*;
use clap::Parser as _;
use jiff::SignedDuration;
use runtime::tls::MinVersion;

const DYNAMIC: [&str; 3] = [
    "--dynamic-serving-ca-secret-namespace=cert-manager",
    "--dynamic-serving-ca-secret-name=cert-manager-webhook-ca",
    "--dynamic-serving-dns-names=cert-manager-webhook,cert-manager-webhook.cert-manager.svc",
];

/// Every key, each with a value that is not the default.
const FILE: &str = r#"
apiVersion: webhook.config.cert-manager.io/v1alpha1
kind: WebhookConfiguration
securePort: 10250
healthzPort: 6081
tlsConfig:
  dynamic:
    secretNamespace: cert-manager
    secretName: webhook-ca
    dnsNames: [webhook, webhook.cert-manager.svc, "10.0.0.1"]
    leafDuration: 24h
  cipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_RC4_128_SHA]
  minTLSVersion: VersionTLS11
metricsListenAddress: 127.0.0.1:9403
metricsTLSConfig:
  filesystem:
    certFile: tls/metrics.crt
    keyFile: /tls/metrics.key
  minTLSVersion: VersionTLS13
enableClientVerification: true
clientCAPath: clients.crt
clientCertificateSubjects: [apiserver]
kubeConfig: kube.yaml
apiServerHost: https://kube.example.org
enablePprof: true
pprofAddress: localhost:6061
featureGates:
  OtherNames: false
  AdditionalCertificateOutputFormats: true
pemSizeLimitsConfig:
  maxCertificateSize: 1000
  maxPrivateKeySize: 2000
  maxChainLength: 3000
  maxBundleSize: 4000
logging:
  format: json
  flushFrequency: 5s
  verbosity: 4
  vmodule:
  - filePattern: server
    verbosity: 5
  options: {text: {splitStream: false}, json: {infoBufferSize: "0"}}
"#;

fn file(text: &str) -> Result<File, String> {
    runtime::config::parse(text, file::IDENTITY).map_err(|error| error.to_string())
}

fn args(flags: &[&str]) -> Args {
    Args::try_parse_from(["signet-webhook"].iter().chain(flags)).unwrap()
}

fn config(flags: &[&str], text: &str) -> Result<Config, String> {
    let file = if text.is_empty() { File::default() } else { file(text)? };
    Config::of(args(flags), file).map_err(|error| error.to_string())
}

fn refused(flags: &[&str], wanted: &str) {
    let error = config(flags, "").unwrap_err();
    let what = "the configuration is not complete or contradicts itself: ";
    assert_eq!(error.strip_prefix(what), Some(wanted), "{flags:?}");
}

fn refused_file(more: &str, wanted: &str) {
    let text =
        format!("apiVersion: webhook.config.cert-manager.io/v1alpha1\nkind: WebhookConfiguration\n{more}\n");
    assert_eq!(file(&text).unwrap_err(), wanted, "{more}");
}

#[test]
fn a_certificate_has_one_source_and_all_of_it() {
    refused(
        &[],
        "tlsConfig: Required value: say where the serving certificate comes from, by tls-cert-file and \
         tls-private-key-file or by the dynamic-serving flags",
    );
    refused(
        &["--tls-cert-file=/a"],
        "tlsConfig.filesystem.keyFile: Required value: the file with the key that belongs to the certificate",
    );
    refused(
        &["--tls-private-key-file=/a"],
        "tlsConfig.filesystem.certFile: Required value: the file with the certificate that belongs to the key",
    );
    refused(
        &["--tls-cert-file=/a", "--dynamic-serving-dns-names=a"],
        "tlsConfig: Invalid value: the certificate comes either from files (filesystem) or from a CA of the \
         webhook's own (dynamic); leave one out",
    );
    refused(
        &["--dynamic-serving-dns-names=a"],
        "tlsConfig.dynamic.secretNamespace: Required value: the namespace of the Secret that keeps the CA; \
         tlsConfig.dynamic.secretName: Required value: the name of the Secret that keeps the CA",
    );
    refused(
        &[DYNAMIC[0], DYNAMIC[1]],
        "tlsConfig.dynamic.dnsNames: Required value: at least one name to serve under",
    );
    refused(
        &[DYNAMIC[0], DYNAMIC[1], DYNAMIC[2], "--metrics-tls-cert-file=/a"],
        "metricsTLSConfig.filesystem.keyFile: Required value: the file with the key that belongs to the \
         certificate",
    );
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let with = |flags: &[&str], wanted: &str| {
        refused(&DYNAMIC.into_iter().chain(flags.iter().copied()).collect::<Vec<_>>(), wanted);
    };
    with(
        &["--enable-client-verification"],
        "clientCAPath: Required value: the CAs by which clients are verified (flag --client-ca-path)",
    );
    with(
        &["--max-certificate-size=0"],
        "pemSizeLimitsConfig.maxCertificateSize: Invalid value: 0: must be greater than 0 (flag \
         --max-certificate-size)",
    );
    with(
        &["--max-certificate-bundle-size=90000"],
        "pemSizeLimitsConfig.maxChainLength: Invalid value: 95000: must not be greater than maxBundleSize, \
         90000 (flag --max-certificate-chain-length)",
    );
    with(
        &["--max-certificate-size=400000"],
        "pemSizeLimitsConfig.maxCertificateSize: Invalid value: 400000: must not be greater than \
         maxBundleSize, 330000 (flag --max-certificate-size)",
    );
    with(
        &["--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SH"],
        "tlsConfig.cipherSuites: Invalid value: \"TLS_RSA_WITH_AES_128_CBC_SH\" is no cipher suite",
    );
}

#[test]
fn metrics_need_a_secret_of_their_own() {
    let metrics = [
        "--metrics-dynamic-serving-ca-secret-namespace=cert-manager",
        "--metrics-dynamic-serving-ca-secret-name=cert-manager-webhook-ca",
        "--metrics-dynamic-serving-dns-names=metrics",
    ];
    refused(
        &[DYNAMIC, metrics].concat(),
        "metricsTLSConfig.dynamic.secretName: Invalid value: \"cert-manager-webhook-ca\": the Secret of the serving \
         certificate's CA; metrics need one of their own (flag --metrics-dynamic-serving-ca-secret-name)",
    );
    let elsewhere = ["--metrics-dynamic-serving-ca-secret-namespace=other", metrics[1], metrics[2]];
    assert!(config(&[DYNAMIC, elsewhere].concat(), "").is_ok());
}

#[test]
fn configurations_that_are_not_written_although_they_are_named_are_told_of() {
    let files = ["--tls-cert-file=/a", "--tls-private-key-file=/b"];
    let named = "--validating-configuration-name=webhook";
    assert!(config(&files, "").unwrap().warnings.is_empty());
    assert!(config(&[DYNAMIC[0], DYNAMIC[1], DYNAMIC[2], named], "").unwrap().warnings.is_empty());
    let warnings = config(&[files[0], files[1], named], "").unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("are only looked at"), "{warnings:?}");
}

#[test]
fn a_file_with_a_mistake_is_refused_with_its_line() {
    refused_file(
        "secureport: 1",
        "line 3, column 1: unknown key \"secureport\"; did you mean \"securePort\"?",
    );
    refused_file(
        "securePort: \"1\"",
        "line 3, column 1: invalid type: string \"1\", expected a number, true or false, without quotes",
    );
    refused_file(
        "tlsConfig:\n  filesystem:\n    certfile: a",
        "line 5, column 5: unknown key \"certfile\"; did you mean \"certFile\"?",
    );
    refused_file(
        "tlsConfig: {dynamic: {dnsNames: [a b]}}",
        "line 3, column 34: \"a b\" is neither a DNS name nor an IP address",
    );
    refused_file("tlsConfig: {dynamic: {leafDuration: 1m}}", "line 3, column 37: shorter than 5m");
    refused_file(
        "tlsConfig: {minTLSVersion: \"1.3\"}",
        "line 3, column 28: \"1.3\" is no version of TLS; write VersionTLS12 or VersionTLS13",
    );
    refused_file(
        "metricsListenAddress: 9402",
        "line 3, column 23: text is wanted; write \"9402\" with quotes",
    );
    refused_file(
        "featureGates: {OtherName: true}",
        "line 3, column 15: unknown feature gate \"OtherName\"; did you mean \"OtherNames\"?",
    );
    refused_file(
        "featureGates: {OtherNames: \"true\"}",
        "line 3, column 16: invalid type: string \"true\", expected a number, true or false, without quotes",
    );
    refused_file("logging: {format: xml}", "line 3, column 19: unknown value \"xml\"; known are text, json");
    refused_file(
        "pemSizeLimitsConfig: {maxCertificateSize: -1}",
        "line 3, column 23: invalid value: integer `-1`, expected usize",
    );
}

#[test]
fn every_key_of_the_file_counts() {
    let config = config(&[], FILE).unwrap();
    assert_eq!((config.secure_port, config.healthz_port), (10250, 6081));
    let Source::Dynamic(settings) = &config.serving.source else { panic!("{config:?}") };
    assert_eq!(
        (settings.secret_namespace.as_str(), settings.secret_name.as_str()),
        ("cert-manager", "webhook-ca")
    );
    assert_eq!((settings.names.len(), settings.leaf_lifetime), (3, SignedDuration::from_hours(24)));
    assert_eq!(config.serving.min_version, MinVersion::Tls11);
    assert_eq!(config.serving.cipher_suites.dropped(), ["TLS_RSA_WITH_RC4_128_SHA"]);
    assert_eq!(config.metrics_listen_address.to_string(), "127.0.0.1:9403");
    let metrics = config.metrics_serving.unwrap();
    assert!(matches!(metrics.source, Source::Files { .. }) && metrics.min_version == MinVersion::Tls13);
    let names = vec!["apiserver".to_owned()];
    assert_eq!(config.clients, Some(ClientRules { ca_path: "clients.crt".into(), names }));
    assert_eq!(config.kubernetes.kubeconfig.as_deref(), Some(Path::new("kube.yaml")));
    assert_eq!(config.kubernetes.api_server_host.as_deref(), Some("https://kube.example.org"));
    assert!(!config.rules.other_names && config.rules.name_constraints);
    assert_eq!((config.rules.request_bytes_max, config.rules.bundle_bytes_max), (1000, 4000));
    assert_eq!((config.logging.verbosity, config.logging.vmodule.len()), (Some(4), 1));
    assert_eq!(config.logging.logging_format, Some(runtime::args::LogFormat::Json));
    assert_eq!(
        config.warnings,
        [
            "--tls-min-version asks for a version that is not safe; TLS 1.2 is the lowest that is spoken",
            "--tls-cipher-suites names suites that are not safe and not spoken: TLS_RSA_WITH_RC4_128_SHA",
            "feature gate AdditionalCertificateOutputFormats has no effect any more; remove it",
            "there is no profiler to enable: --enable-profiling and --profiler-address have no effect; \
             /metrics tells processor time, memory and the time that reviews take",
        ]
    );
}

#[test]
fn flags_win_over_the_file() {
    let flags = [
        "--secure-port=1",
        "--healthz-port=2",
        "--dynamic-serving-ca-secret-name=other",
        "--dynamic-serving-dns-names=c",
        "--dynamic-serving-leaf-duration=1h",
        "--tls-min-version=VersionTLS13",
        "--metrics-listen-address=0",
        "--metrics-tls-min-version=VersionTLS12",
        "--enable-client-verification=false",
        "--kubeconfig=/b",
        "--enable-profiling=false",
        "--feature-gates=OtherNames=true",
        "--max-certificate-size=1500",
        "--v=1",
    ];
    let config = config(&flags, FILE).unwrap();
    assert_eq!((config.secure_port, config.healthz_port), (1, 2));
    let Source::Dynamic(settings) = &config.serving.source else { panic!("{config:?}") };
    assert_eq!(
        (settings.secret_namespace.as_str(), settings.secret_name.as_str()),
        ("cert-manager", "other")
    );
    assert_eq!((settings.names.len(), settings.leaf_lifetime), (1, SignedDuration::from_hours(1)));
    assert_eq!(config.serving.min_version, MinVersion::Tls13);
    assert_eq!(config.metrics_listen_address, ListenAddress::Off);
    assert_eq!(config.metrics_serving.unwrap().min_version, MinVersion::Tls12);
    assert_eq!(config.clients, None);
    assert_eq!(config.kubernetes.kubeconfig.as_deref(), Some(Path::new("/b")));
    assert!(config.rules.other_names);
    assert_eq!(config.rules.request_bytes_max, 1500);
    assert_eq!(config.logging.verbosity, Some(1));
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
}

#[test]
fn an_empty_value_is_none() {
    let flags = [
        "--config=",
        "--kubeconfig=",
        "--tls-cert-file=",
        "--tls-min-version=",
        "--tls-cipher-suites=",
        "--dynamic-serving-ca-secret-name=",
        "--dynamic-serving-dns-names=",
        "--metrics-tls-cert-file=",
        "--client-ca-path=",
        "--client-subject-names=,",
        "--deny-servers=",
    ];
    let file = FILE.replace(
        "cipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_RC4_128_SHA]",
        "cipherSuites: [\"\"]",
    );
    let file = file.replace("[apiserver]", "[\"\", apiserver]");
    let config = config(&flags, &file).unwrap();
    let Source::Dynamic(settings) = &config.serving.source else { panic!("{config:?}") };
    assert_eq!((settings.secret_name.as_str(), settings.names.len()), ("webhook-ca", 3));
    assert_eq!(config.serving.min_version, MinVersion::Tls11);
    assert!(config.serving.cipher_suites.dropped().is_empty());
    assert_eq!(config.clients.unwrap().names, ["apiserver"]);
    assert_eq!(config.kubernetes.kubeconfig.as_deref(), Some(Path::new("kube.yaml")));
    let again = self::config(&[&DYNAMIC[..], &["--dynamic-serving-dns-names=,c"]].concat(), "").unwrap();
    let Source::Dynamic(settings) = &again.serving.source else { panic!("{again:?}") };
    assert_eq!(settings.names.len(), 3);
}

#[test]
fn what_the_chart_passes_can_be_passed_again() {
    let again =
        ["--v=4", "--secure-port=1", "--feature-gates=AllBeta=false", "--feature-gates=OtherNames=true"];
    let config = config(&[&DYNAMIC[..], &["--v=2", "--secure-port=10250"], &again].concat(), "").unwrap();
    assert_eq!((config.logging.verbosity, config.secure_port), (Some(4), 1));
    assert!(config.rules.other_names && !config.rules.name_constraints);
}

#[test]
fn all_relative_paths_begin_at_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, FILE).unwrap();
    let config = Config::load(args(&[&format!("--config={}", path.display())])).unwrap();
    assert_eq!(config.clients.unwrap().ca_path, folder.path().join("clients.crt"));
    assert_eq!(config.kubernetes.kubeconfig, Some(folder.path().join("kube.yaml")));
    let Some(Tls { source: Source::Files { certificate, key }, .. }) = config.metrics_serving else {
        panic!()
    };
    assert_eq!((certificate, key), (folder.path().join("tls/metrics.crt"), "/tls/metrics.key".into()));
}

#[test]
fn without_flags_the_defaults_are_the_peers() {
    let config = config(&DYNAMIC, "").unwrap();
    assert_eq!((config.secure_port, config.healthz_port), (6443, 6080));
    assert_eq!(config.metrics_listen_address.to_string(), "[::]:9402");
    assert!(config.metrics_serving.is_none() && config.clients.is_none() && config.warnings.is_empty());
    assert_eq!(config.rules, rules::Settings::DEFAULT);
    assert_eq!(config.shutdown_drain_period, Duration::from_secs(10));
    let Source::Dynamic(settings) = &config.serving.source else { panic!("{config:?}") };
    assert_eq!(settings.service_name().as_deref(), Some("cert-manager-webhook"));
    assert_eq!(settings.leaf_lifetime, SignedDuration::from_hours(168));
}

#[test]
fn a_client_is_known_by_its_common_name_or_a_dns_name() {
    let check = |names: &[&str], wanted: bool| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let rules = ClientRules { ca_path: PathBuf::new(), names };
        assert_eq!(rules.wants(&certificate()), wanted, "{rules:?}");
    };
    check(&["other"], false);
    check(&["Apiserver"], false);
    check(&["10.0.0.1"], false);
    check(&["apiserver"], true);
    check(&["other", "kubernetes.default.svc"], true);
    check(&[], true);
    let rules = ClientRules { ca_path: PathBuf::new(), names: vec!["a".to_owned()] };
    assert!(!rules.wants(b"garbage"));
}

/// Common name apiserver, DNS name kubernetes.default.svc, IP address 10.0.0.1.
fn certificate() -> Vec<u8> {
    let names = ["kubernetes.default.svc".to_owned(), "10.0.0.1".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "apiserver");
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
}
