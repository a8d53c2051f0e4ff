use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use issuance::constraint::{NameConstraints, Subtrees};
use issuance::key::{KeyAlgorithm, PrivateKey};
use issuance::name::{RequestedSubject, Subject as RequestSubject, SubjectAltName};
use issuance::request::RequestSpec;
use proptest::collection;
use proptest::prelude::{Just, Strategy, prop_assert, prop_oneof, proptest};

use super::*;

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap());

#[derive(Default)]
struct Known(HashMap<&'static str, Arc<ServiceFacts>>);

impl Services for Known {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<ServiceFacts>> {
        (namespace == "team-a").then(|| self.0.get(name).cloned()).flatten()
    }
}

fn service(selector: &[(&str, &str)], is_headless: bool) -> Arc<ServiceFacts> {
    Arc::new(ServiceFacts { selector: labels(selector), is_headless })
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The pod web-0 of account shop, which Service `web` and the headless `peers` select.
struct Case {
    names: Vec<SubjectAltName>,
    subject: RequestedSubject,
    usages: Vec<&'static str>,
    is_ca: bool,
    constraints: Option<NameConstraints>,
    duration: SignedDuration,
    pod: &'static str,
    account: &'static str,
    host_network: bool,
    rules: Rules,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            subject: RequestedSubject::default(),
            usages: Vec::new(),
            is_ca: false,
            constraints: None,
            duration: SignedDuration::from_hours(48),
            pod: "web-0",
            account: "shop",
            host_network: false,
            rules: Rules::default(),
        }
    }
}

impl Case {
    fn dns(name: &str) -> Self {
        Self { names: vec![SubjectAltName::Dns(name.to_owned())], ..Self::default() }
    }

    fn name(name: SubjectAltName) -> Self {
        Self { names: vec![name], ..Self::default() }
    }

    /// With a subject, and a name that is permitted.
    fn subject(subject: RequestSubject) -> Self {
        Self { subject: subject.into(), ..Self::dns("web.team-a.svc") }
    }

    fn rules(self, rules: &str) -> Self {
        let text = format!("apiVersion: policy.signet/v1alpha1\nkind: NamePolicy\nrules:\n{rules}\n");
        Self { rules: Rules::parse(&text).unwrap(), ..self }
    }

    fn judged(&self) -> Result<Permitted, Refusal> {
        let usages = Usages::parse(&self.usages).unwrap();
        let spec = RequestSpec {
            subject: self.subject.clone(),
            names: self.names.clone(),
            usages: usages.clone(),
            is_ca: self.is_ca,
            name_constraints: self.constraints.clone(),
            ..RequestSpec::default()
        };
        let request = Request::build(&spec, &KEY).unwrap();
        let known = Known(HashMap::from([
            ("web", service(&[("app", "web")], false)),
            ("peers", service(&[("app", "web")], true)),
            ("db", service(&[("app", "db")], true)),
            ("outside", service(&[], false)),
            ("taken", service(&[("app", "db")], false)),
        ]));
        let labels = labels(&[("app", "web"), ("pod-template-hash", "1")]);
        let pod = PodFacts {
            namespace: "team-a",
            name: self.pod,
            account: self.account,
            hostname: Some("web-0"),
            subdomain: Some("peers"),
            host_network: self.host_network,
            labels: &labels,
        };
        let issuer = IssuerRef { name: "ca".to_owned(), kind: None, group: None };
        let asked = Asked {
            request: &request,
            usages: &usages,
            is_ca: self.is_ca,
            duration: self.duration,
            issuer: &issuer,
        };
        let policy = Policy {
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "example.org".to_owned(),
            duration_max: DURATION_MAX,
            rules: self.rules.clone(),
        };
        judge(&asked, &Subject { pod, services: &known }, &policy)
    }
}

fn refused(case: &Case, reason: RefusalReason, why: &str) {
    let refusal = case.judged().unwrap_err();
    assert_eq!(refusal.reason, reason, "{refusal}");
    assert!(refusal.message.contains(why), "{refusal} has no {why:?}");
}

fn permitted(case: &Case) -> Permitted {
    case.judged().unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[test]
fn dns_names_that_are_not_the_pods_are_refused_with_the_reason() {
    let check = |name: &str, why: &str| refused(&Case::dns(name), RefusalReason::DnsName, why);
    let suffix = "it ends neither in .team-a.svc nor in .team-a.svc.cluster.local";
    check("example.org", suffix);
    check("web.team-b.svc", suffix);
    check("web.team-a.svc.other.local", suffix);
    check("web.team-a", suffix);
    check("team-a.svc", suffix);
    check("web", suffix);
    check("webxteam-a.svc", suffix);
    check("kubernetes.default.svc", suffix);
    check("web.team-a.svc.", "it is not a DNS name");
    check(".team-a.svc", "it is not a DNS name");
    check("web..team-a.svc", "it is not a DNS name");
    check("we b.team-a.svc", "it is not a DNS name");
    check("*.team-a.svc", "wildcards need a rule");
    check("*.web.team-a.svc", "does not have hostname * and subdomain web");
    check("db.team-a.svc", "Service team-a/db does not select the pod");
    check("outside.team-a.svc", "Service team-a/outside does not select the pod");
    check(
        "nobody.team-a.svc",
        "there is no Service team-a/nobody, and neither the pod nor its service account",
    );
    check("web-1.peers.team-a.svc", "does not have hostname web-1 and subdomain peers");
    check("web-0.web.team-a.svc", "does not have hostname web-0 and subdomain web");
    check("a.web-0.peers.team-a.svc", "more than two labels before .team-a.svc");
}

#[test]
fn a_pod_called_like_a_foreign_service_does_not_get_its_name() {
    let pod = Case { pod: "taken", ..Case::dns("taken.team-a.svc") };
    refused(&pod, RefusalReason::DnsName, "Service team-a/taken does not select the pod");
    let account = Case { account: "outside", ..Case::dns("outside.team-a.svc.cluster.local") };
    refused(&account, RefusalReason::DnsName, "Service team-a/outside does not select the pod");
    // No label is called so, whatever the name of the pod is.
    let dots = Case { pod: "a.b", ..Case::dns("a.b.team-a.svc") };
    refused(&dots, RefusalReason::DnsName, "does not have hostname a and subdomain b");
}

#[test]
fn what_is_no_dns_name_is_refused_by_kind() {
    let uri = |text: &str| Case::name(SubjectAltName::Uri(text.to_owned()));
    let own = "without a rule the only one is spiffe://example.org/ns/team-a/sa/shop";
    for text in [
        "spiffe://example.org/ns/team-a/sa/other",
        "spiffe://example.org/ns/team-b/sa/shop",
        "spiffe://Example.org/ns/team-a/sa/shop",
        "spiffe://example.org/ns/team-a/sa/shop/",
        "https://web.team-a.svc",
    ] {
        refused(&uri(text), RefusalReason::Uri, own);
    }
    for text in [
        "https://a.test/x/y",
        "https://a.test/..",
        "https://a.test/x?y",
        "https://a.test/%2e",
        "https://b.test/x",
    ] {
        refused(&uri(text).rules("- uris: ['https://a.test/*']"), RefusalReason::Uri, own);
    }
    let ip = || SubjectAltName::Ip("192.0.2.1".parse().unwrap());
    refused(&Case::name(ip()), RefusalReason::IpAddress, "addresses need a rule");
    let node = Case { host_network: true, ..Case::name(ip()) }.rules("- ips: [192.0.2.0/24]");
    refused(&node, RefusalReason::IpAddress, "the pod has the addresses of its node");
    let email = Case::name(SubjectAltName::Email("a@web.team-a.svc".to_owned()));
    refused(&email, RefusalReason::NameKind, "email:a@web.team-a.svc");
    let other = SubjectAltName::OtherName { type_id: "1.2.3".to_owned(), value: "root".to_owned() };
    refused(&Case::name(other), RefusalReason::NameKind, "otherName:1.2.3=root");
}

#[test]
fn a_subject_has_a_common_name_of_the_pods_and_nothing_else() {
    let check =
        |subject: RequestSubject, why: &str| refused(&Case::subject(subject), RefusalReason::Subject, why);
    let own = RequestSubject::common_name("web.team-a.svc");
    check(
        RequestSubject::common_name("system:node:n"),
        "\"CN=system:node:n\" in its subject is not permitted",
    );
    check(RequestSubject::common_name("db.team-a.svc"), "it is not one of the names that the pod may have");
    let masters = RequestSubject { organizations: vec!["system:masters".to_owned()], ..own.clone() };
    check(
        masters,
        "\"O=system:masters\" in its subject is not permitted: only a common name goes without a rule",
    );
    check(RequestSubject { serial_number: Some("1".to_owned()), ..own }, "\"SERIALNUMBER=1\"");
    let twice = RequestedSubject::Literal("CN=web.team-a.svc,CN=web.team-a.svc".parse().unwrap());
    let twice = Case { subject: twice, ..Case::dns("web.team-a.svc") };
    refused(&twice, RefusalReason::Subject, "there is a common name before it");
}

#[test]
fn cas_and_their_usages_are_refused() {
    let ca = Case { is_ca: true, ..Case::dns("web.team-a.svc") };
    refused(&ca, RefusalReason::CertificateAuthority, "it would be a CA's");
    for usages in [vec!["cert sign"], vec!["server auth", "code signing"], vec!["any"]] {
        let text = format!("its usages include {}", usages.last().unwrap());
        let case = Case { usages, ..Case::dns("web.team-a.svc") };
        refused(&case, RefusalReason::Usages, &text);
    }
    let constraints = NameConstraints {
        permitted: Subtrees { dns_domains: vec!["test".to_owned()], ..Subtrees::default() },
        ..NameConstraints::default()
    };
    let constrained = Case { constraints: Some(constraints), ..Case::dns("web.team-a.svc") };
    refused(&constrained, RefusalReason::NameConstraints, "which are for CAs");
}

#[test]
fn a_rule_that_is_for_others_permits_nothing() {
    for rule in [
        "- {namespaces: [team-b], dnsNames: [a.test]}",
        "- {serviceAccounts: [default], dnsNames: [a.test]}",
        "- {issuers: [{name: other}], dnsNames: [a.test]}",
        "- {issuers: [{name: ca, kind: ClusterIssuer}], dnsNames: [a.test]}",
        "- {issuers: [{name: ca, group: other}], dnsNames: [a.test]}",
        "- {namespaces: [team-b], allow: any}",
        "- {dnsNames: ['*.a.test', b.test]}",
    ] {
        refused(&Case::dns("a.test").rules(rule), RefusalReason::DnsName, "a.test");
    }
    let ca = Case { is_ca: true, ..Case::dns("a.test") }.rules("- allow: any");
    refused(&ca, RefusalReason::CertificateAuthority, "it would be a CA's");
}

#[test]
fn too_many_names_are_refused_unjudged() {
    let names = |count: usize| vec![SubjectAltName::Dns("web.team-a.svc".to_owned()); count];
    let many = Case { names: names(NAMES_MAX + 1), ..Case::default() };
    refused(&many, RefusalReason::TooManyNames, "it has more than 100 names");
    permitted(&Case { names: names(NAMES_MAX), ..Case::default() });
}

#[test]
fn a_message_names_few_of_many_faults() {
    let names = (0..8).map(|index| SubjectAltName::Dns(format!("a{index}.test"))).collect();
    let message = Case { names, ..Case::default() }.judged().unwrap_err().message;
    assert!(message.contains("\"a4.test\"") && !message.contains("a5.test"), "{message}");
    assert!(message.contains("; and 3 more. To permit it, add this rule"), "{message}");
    let long = Case::name(SubjectAltName::Uri("u".repeat(5000))).judged().unwrap_err().message;
    assert!(long.contains(&format!("\"{}\"…", "u".repeat(253))), "{long}");
}

#[test]
fn names_of_services_that_select_the_pod_go_without_a_rule() {
    for name in [
        "web.team-a.svc",
        "web.team-a.svc.cluster.local",
        "WEB.team-a.SVC",
        "peers.team-a.svc",
        "web-0.peers.team-a.svc",
        "web-0.peers.team-a.svc.cluster.local",
    ] {
        let case = Case { duration: DURATION_MAX, ..Case::dns(name) };
        assert_eq!(permitted(&case), Permitted { duration: DURATION_MAX, notes: Vec::new() }, "{name}");
    }
    permitted(&Case::name(SubjectAltName::Uri("spiffe://example.org/ns/team-a/sa/shop".to_owned())));
    permitted(&Case::subject(RequestSubject::common_name("web.team-a.svc")));
    permitted(&Case::subject(RequestSubject::default()));
    let usages = faults::USAGES.to_vec();
    assert_eq!(Usages::parse(&usages).unwrap().names(), usages);
    permitted(&Case { usages, ..Case::dns("web.team-a.svc") });
}

#[test]
fn names_that_lean_on_pod_or_account_live_for_a_day() {
    let check = |case: &Case, whose: &str| {
        let Permitted { duration, notes } = permitted(case);
        assert_eq!(duration, LEANING_DURATION_MAX);
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("the lifetime was cut from 48h to 24h, since "), "{notes:?}");
        assert!(notes[0].ends_with(&format!("is the name of no Service, only of the {whose}")), "{notes:?}");
    };
    check(&Case::dns("web-0.team-a.svc"), "pod");
    check(&Case::dns("shop.team-a.svc.cluster.local"), "service account");
    check(&Case::subject(RequestSubject::common_name("web-0.team-a.svc")), "pod");
    let short = Case { duration: SignedDuration::from_hours(1), ..Case::dns("web-0.team-a.svc") };
    assert_eq!(permitted(&short), Permitted { duration: short.duration, notes: Vec::new() });
    let ruled = Case::dns("web-0.team-a.svc").rules("- dnsNames: ['*.team-a.svc']");
    assert_eq!(permitted(&ruled).duration, ruled.duration);
}

#[test]
fn a_lifetime_is_cut_with_a_note() {
    let year = SignedDuration::from_hours(24 * 365);
    let long = Case { duration: year, ..Case::dns("web.team-a.svc") };
    let note = "the lifetime was cut from 8760h to 2160h, the longest that the name policy permits";
    assert_eq!(permitted(&long), Permitted { duration: DURATION_MAX, notes: vec![note.to_owned()] });
    let ruled = long.rules("- maxDuration: 12h\n- maxDuration: 4000h");
    assert_eq!(permitted(&ruled).duration, SignedDuration::from_hours(4000));
}

#[test]
fn rules_permit_what_they_name() {
    permitted(
        &Case::dns("a.test").rules("- {namespaces: [team-*], serviceAccounts: [shop], dnsNames: [a.test]}"),
    );
    permitted(
        &Case::dns("A.test")
            .rules("- {issuers: [{name: c*, kind: Issuer, group: cert-manager.io}], dnsNames: ['*.test']}"),
    );
    permitted(&Case::dns("*.a.test").rules("- dnsNames: ['*.a.test']"));
    permitted(
        &Case::name(SubjectAltName::Uri("https://a.test/x".to_owned())).rules("- uris: ['https://a.test/*']"),
    );
    permitted(&Case::name(SubjectAltName::Ip("192.0.2.9".parse().unwrap())).rules("- ips: [192.0.2.0/24]"));
    let subject =
        RequestSubject { organizations: vec!["Example".to_owned()], ..RequestSubject::common_name("boss") };
    permitted(&Case::subject(subject).rules("- subjects: [O=Example, CN=boss]"));
    permitted(
        &Case { usages: vec!["code signing"], ..Case::dns("web.team-a.svc") }
            .rules("- usages: [code signing]"),
    );
    permitted(
        &Case { is_ca: true, usages: vec!["cert sign"], ..Case::dns("web.team-a.svc") }.rules("- isCA: true"),
    );
    let email = Case::name(SubjectAltName::Email("a@a.test".to_owned()));
    permitted(&Case { is_ca: true, usages: vec!["any"], ..email }.rules("- {allow: any, isCA: true}"));
}

/// Names of all kinds, some of which the pod may have.
fn name() -> impl Strategy<Value = SubjectAltName> {
    let host = prop_oneof![
        "[a-zA-Z0-9.*_ -]{1,20}",
        Just("web".to_owned()),
        Just("web-0".to_owned()),
        Just("db".to_owned()),
        Just("web-0.peers".to_owned()),
    ];
    let suffix = prop_oneof![
        Just(""),
        Just("."),
        Just(".team-a.svc"),
        Just(".team-b.svc"),
        Just(".team-a.svc.cluster.local"),
        Just(".team-a.svc.cluster.local."),
        Just(".svc"),
    ];
    prop_oneof![
        (host, suffix).prop_map(|(host, suffix)| SubjectAltName::Dns(format!("{host}{suffix}"))),
        "[ -~]{1,30}".prop_map(SubjectAltName::Uri),
        proptest::num::u32::ANY.prop_map(|bits| SubjectAltName::Ip(std::net::Ipv4Addr::from(bits).into())),
        "[ -~]{1,20}".prop_map(SubjectAltName::Email),
    ]
}

proptest! {
    #[test]
    fn without_a_rule_nothing_outside_the_own_namespace_passes(
        names in collection::vec(name(), 1..4),
        common_name in "[ -~]{0,20}",
    ) {
        let subject = RequestSubject::common_name(common_name.clone()).into();
        let case = Case { names, subject, ..Case::default() };
        if case.judged().is_ok() {
            let is_own = |name: &str| {
                let name = name.to_ascii_lowercase();
                name.ends_with(".team-a.svc") || name.ends_with(".team-a.svc.cluster.local")
            };
            prop_assert!(common_name.is_empty() || is_own(&common_name), "CN {common_name}");
            for name in &case.names {
                prop_assert!(matches!(name, SubjectAltName::Dns(name) if is_own(name)), "{name}");
            }
        }
    }

    #[test]
    fn the_rule_that_a_refusal_names_makes_the_request_pass(
        names in collection::vec(name(), 1..4),
        organization in "[ -~]{0,20}",
        host_network in proptest::bool::ANY,
        code_signing in proptest::bool::ANY,
    ) {
        let organizations = if organization.is_empty() { Vec::new() } else { vec![organization] };
        let subject = RequestSubject { organizations, ..RequestSubject::default() }.into();
        let usages = if code_signing { vec!["code signing"] } else { Vec::new() };
        let case = Case { names, subject, usages, host_network, ..Case::default() };
        let Err(refusal) = case.judged() else { return Ok(()) };
        if let Some((_, rule)) = refusal.message.split_once("add this rule to the name policy: ") {
            let again = case.rules(&format!("- {rule}")).judged();
            prop_assert!(again.is_ok(), "{again:?} with {rule}");
        }
    }
}
