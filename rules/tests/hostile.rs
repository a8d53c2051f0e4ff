//! Objects that only an attacker writes, as large as a request may be: judging them takes time and text in proportion.

use std::time::{Duration, Instant};

use api::{CertificateSpec, IssuerSpec};
use rules::{Case, Judged, Object, Verdict, judge};
use serde_json::{Value, json};

/// Far more than a slow machine needs without optimisation, and far less than quadratic work takes.
const TIME_MAX: Duration = Duration::from_secs(60);

/// What may be told of one object: a hundred denials and a hundred warnings of a thousand characters.
const TOLD_BYTES_MAX: usize = 400_000;

/// Items of a list.
const ITEMS: usize = 100_000;

fn judged<S: Judged>(what: &str, spec: &Value) -> Verdict {
    let object: Object<S> =
        serde_json::from_value(json!({"spec": spec})).unwrap_or_else(|error| panic!("{what}: {error}"));
    let start = Instant::now();
    let verdict = judge(&Case::create(&object));
    let taken = start.elapsed();
    let warnings: usize = verdict.warnings.iter().map(|warning| warning.to_string().len()).sum();
    let told = verdict.message().len() + warnings;
    assert!(taken < TIME_MAX, "{what} takes {taken:?}");
    assert!(told < TOLD_BYTES_MAX, "{what} is answered with {told} bytes");
    for finding in verdict.denials.iter().chain(&verdict.warnings) {
        let (message, path) = (finding.message().chars().count(), finding.path.chars().count());
        assert!(
            message < 1_000 && path < 400,
            "{what}: a message of {message} at a path of {path} characters"
        );
    }
    verdict
}

/// The ids of the rules that deny it, each once.
fn denied<S: Judged>(what: &str, spec: &Value) -> Vec<&'static str> {
    let mut ids: Vec<&str> = judged::<S>(what, spec).denials.iter().map(|denial| denial.rule.id).collect();
    ids.dedup();
    ids
}

fn certificate(member: &str, value: Value) -> Vec<&'static str> {
    let mut spec = json!({"secretName": "tls", "commonName": "web", "issuerRef": {"name": "ca"}});
    spec[member] = value;
    denied::<CertificateSpec>(member, &spec)
}

#[test]
fn a_literal_subject_of_many_attributes_is_one_finding() {
    let literal = |text: String| {
        let spec = json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "literalSubject": text});
        judged::<CertificateSpec>("literalSubject", &spec).denials.len()
    };
    assert_eq!(literal("a=,".repeat(ITEMS)), 1);
    assert_eq!(literal("a=,".repeat(2_000) + "a="), 1);
    assert_eq!(literal(format!("{}=", "a".repeat(1_000_000))), 1);
}

#[test]
fn a_long_text_takes_time_in_proportion() {
    for text in ["é".repeat(200_000), "a".repeat(500_000), "é.".repeat(100_000), "a@".repeat(200_000)] {
        for member in ["dnsNames", "uris", "emailAddresses", "ipAddresses"] {
            assert!(!certificate(member, json!([text])).is_empty(), "{member}");
        }
        for member in ["secretName", "commonName", "duration", "renewBefore"] {
            assert!(!certificate(member, json!(text)).is_empty(), "{member}");
        }
    }
}

#[test]
fn many_items_take_time_in_proportion() {
    let same = json!(vec!["a"; ITEMS]);
    let different: Vec<String> = (0..ITEMS).map(|number| number.to_string()).collect();
    for member in ["dnsNames", "uris", "emailAddresses", "ipAddresses"] {
        assert!(!certificate(member, same.clone()).is_empty(), "{member}");
        certificate(member, json!(different));
    }
    assert!(certificate("usages", json!(vec!["server auth"; ITEMS])).contains(&"B02"));
    assert!(certificate("subject", json!({"countries": same})).contains(&"B08"));
    let names = json!(vec![json!({"oid": "x", "utf8Value": ""}); ITEMS]);
    assert!(!certificate("otherNames", names).is_empty());
    let outputs = json!(vec![json!({"type": "DER"}); ITEMS]);
    certificate("additionalOutputFormats", outputs);
    let windows = json!(vec![json!({"cron": "x", "windowDuration": "x"}); ITEMS / 10]);
    certificate("renewal", json!({"policy": "RenewBefore", "windows": windows}));
}

#[test]
fn many_stored_faults_take_time_in_proportion() {
    let object = |names: Vec<String>| -> Object<CertificateSpec> {
        let spec = json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": names});
        serde_json::from_value(json!({"spec": spec})).unwrap()
    };
    let names = |count: usize| -> Vec<String> { (0..count).map(|number| format!("a b{number}")).collect() };
    let (old, new) = (object(names(ITEMS)), object(names(ITEMS + 1)));
    let start = Instant::now();
    let verdict = judge(&Case::update(&new, &old));
    assert!(start.elapsed() < TIME_MAX, "it takes {:?}", start.elapsed());
    assert_eq!(verdict.denials.len(), 1);
}

#[test]
fn many_parts_of_an_issuer_take_time_in_proportion() {
    let acme = |solvers: Value| json!({"acme": {"server": "https://acme.test", "privateKeySecretRef": {"name": "a"}, "solvers": solvers}});
    assert!(!denied::<IssuerSpec>("solvers", &acme(json!(vec![json!({}); ITEMS]))).is_empty());
    let zones = json!([{"selector": {"dnsZones": vec!["a b"; ITEMS]}, "http01": {"ingress": {}}}]);
    judged::<IssuerSpec>("dnsZones", &acme(zones));
    let zone = json!([{"selector": {"dnsZones": ["é".repeat(500_000)]}, "http01": {"ingress": {}}}]);
    judged::<IssuerSpec>("one zone", &acme(zone));
    let ca = json!({"ca": {"secretName": "ca", "ocspServers": vec!["a"; ITEMS],
                           "crlDistributionPoints": ["a".repeat(1_000_000)]}});
    judged::<IssuerSpec>("ca", &ca);
    let vault = json!({"vault": {"server": format!("http://{}", "a".repeat(1_000_000)), "path": "a",
                                 "auth": {"tokenSecretRef": {"name": "a", "key": "b"}}}});
    assert!(!denied::<IssuerSpec>("vault", &vault).is_empty());
}
