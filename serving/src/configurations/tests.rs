use issuance::bundle::Bundle;
use jiff::Timestamp;

use super::bundle::{self, Bundles};
use super::*;
use crate::fake::{self, Injects};
use crate::keeping::new_ca;
use crate::{CA_LIFETIME, Trust};

fn ca() -> Certificate {
    new_ca(CA_LIFETIME, Timestamp::from_second(1_800_000_000).unwrap()).unwrap().certificate().clone()
}

/// Older ones, required ones and retired ones.
fn wanted(older: &[&Certificate], required: &[&Certificate], retired: &[&Certificate]) -> Wanted {
    let [older, required, retired] =
        [older, required, retired].map(|all| all.iter().map(|ca| (*ca).clone()).collect());
    Wanted { older, required, retired }
}

fn check(bundle: &str, wanted: &Wanted, changed: Option<&str>) {
    let found = bundle::changed(bundle.as_bytes(), wanted, false);
    assert_eq!(found.as_deref(), changed.map(str::as_bytes), "for {bundle:?}");
}

// What becomes of a bundle.

#[test]
fn a_bundle_without_the_own_ca_gets_it_at_its_end() {
    let (own, foreign) = (ca(), ca().to_pem());
    let (pem, own) = (own.to_pem(), wanted(&[], &[&own], &[]));
    let both = format!("{}\n{pem}", foreign.trim_end());
    check("", &own, Some(&pem));
    check("\n", &own, Some(&pem));
    check("placeholder", &own, Some(&pem));
    check(&foreign, &own, Some(&both));
    check(foreign.trim_end(), &own, Some(&both));
}

#[test]
fn a_broken_block_of_somebody_else_stays() {
    let own = ca();
    let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----";
    let completed = format!("{broken}\n{}", own.to_pem());
    check(broken, &wanted(&[], &[&own], &[]), Some(&completed));
    // And once the own CA stands beside it, nothing is added again.
    check(&completed, &wanted(&[], &[&own], &[]), None);
}

#[test]
fn what_is_no_text_stays_byte_for_byte() {
    let (own, old) = (ca(), ca());
    let all = wanted(&[], &[&own], &[&old]);
    let foreign = ca().to_pem();
    let before = [b"# caf\xe9 \xff\n", foreign.as_bytes(), old.to_pem().as_bytes()].concat();
    let after = [b"# caf\xe9 \xff\n", foreign.as_bytes(), own.to_pem().as_bytes()].concat();
    assert_eq!(bundle::changed(&before, &all, false), Some(after));
}

#[test]
fn a_bundle_with_the_own_ca_is_left_alone() {
    let (own, foreign) = (ca(), ca().to_pem());
    let (pem, own) = (own.to_pem(), wanted(&[], &[&own], &[]));
    check(&pem, &own, None);
    check(&format!("{pem}{foreign}"), &own, None);
    check(&format!("# comment\n{foreign}{pem}"), &own, None);
    let other_lines = pem.replacen("\n", "\r\n", 3);
    check(&other_lines, &own, None);
}

#[test]
fn an_older_ca_is_added_only_where_nobody_knows_of_a_newer_one() {
    let (old, new, next) = (ca(), ca(), ca());
    let all = wanted(&[&old], &[&new, &next], &[]);
    let [old, new, next] = [old, new, next].map(|ca| ca.to_pem());
    check("", &all, Some(&format!("{old}{new}{next}")));
    check(&old, &all, Some(&format!("{old}{new}{next}")));
    check(&new, &all, Some(&format!("{new}{next}")));
    check(&next, &all, Some(&format!("{next}{new}")));
    check(&format!("{new}{next}"), &all, None);
}

#[test]
fn a_ca_that_nothing_needs_is_taken_out_unless_a_cainjector_is_at_work() {
    let (old, new, foreign) = (ca(), ca(), ca().to_pem());
    let wanted = wanted(&[], &[&new], &[&old]);
    let [old, new] = [old, new].map(|ca| ca.to_pem());
    check(&format!("{old}{foreign}{new}"), &wanted, Some(&format!("{foreign}{new}")));
    check(&format!("{foreign}{new}{}", old.trim_end()), &wanted, Some(&format!("{foreign}{new}")));
    check(&format!("{old}{new}{old}"), &wanted, Some(&new));
    check(&old, &wanted, Some(&new));
    check(&format!("{foreign}{new}"), &wanted, None);
    assert_eq!(bundle::changed(format!("{old}{new}").as_bytes(), &wanted, true), None);
    let nothing = Wanted { required: Vec::new(), ..wanted };
    check(&old, &nothing, None);
}

fn client(bundle: Option<&str>) -> WebhookClientConfig {
    WebhookClientConfig {
        ca_bundle: bundle.map(|bundle| k8s_openapi::ByteString(bundle.into())),
        ..WebhookClientConfig::default()
    }
}

#[test]
fn only_webhooks_without_the_own_ca_are_patched_and_only_if_nobody_else_wrote() {
    let own = ca();
    let (pem, own) = (own.to_pem(), wanted(&[], &[&own], &[]));
    let (with, without) = (client(Some(&pem)), client(None));
    let operations =
        |clients: [&WebhookClientConfig; 2]| Bundles::new(&clients, &own, false).operations(Some("7"));
    assert_eq!(operations([&with, &with]), Vec::<Value>::new());
    assert_eq!(
        Value::from(operations([&with, &without])),
        serde_json::json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": base64(&pem)},
        ])
    );
}

fn base64(text: &str) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

// What is known of the configurations.

fn reading(bundles: &[&Certificate]) -> Reading {
    let bundles: Vec<Vec<u8>> = bundles.iter().map(|ca| ca.to_pem().into_bytes()).collect();
    Reading { settled: bundles.clone(), bundles, ..Reading::default() }
}

#[test]
fn callers_expect_the_name_of_the_service_or_the_host_of_the_url() {
    let check = |clients: Value, wanted: &[&str]| {
        let clients: Vec<WebhookClientConfig> = serde_json::from_value(clients).unwrap();
        let found = names(&clients.iter().collect::<Vec<_>>());
        let found: Vec<_> = found.iter().map(ServerName::to_str).collect();
        assert_eq!(found, wanted, "{clients:?}");
    };
    let service = serde_json::json!({"service": {"name": "webhook", "namespace": "ns", "port": 443}});
    let url = |url: &str| serde_json::json!([{"url": url}]);
    check(serde_json::json!([{}]), &[]);
    check(url("https:///validate"), &[]);
    check(url("/validate"), &[]);
    check(
        serde_json::json!([service, service, {"url": "https://a.test/validate"}]),
        &["webhook.ns.svc", "a.test"],
    );
    check(url("https://a.test:8443/validate?x=y"), &["a.test"]);
    check(url("https://192.0.2.1/validate"), &["192.0.2.1"]);
    check(url("https://[2001:db8::1]:8443"), &["2001:db8::1"]);
}

#[test]
fn the_names_in_a_configuration_are_those_that_were_read() {
    let trusts = Trusts::of_kinds(["A"]);
    assert_eq!((trusts.names("A"), trusts.names("B")), (None, None));
    trusts.set("A", Seen::Hidden);
    assert_eq!(trusts.names("A"), Some(Vec::new()));
    let names = vec![ServerName::try_from("webhook.ns.svc").unwrap()];
    trusts.set("A", Seen::Read(Reading { names: names.clone(), ..Reading::default() }));
    assert_eq!(trusts.names("A"), Some(names));
}

#[test]
fn a_ca_is_trusted_when_each_webhook_has_it() {
    let (old, new) = (ca(), ca());
    let trusts = Trusts::of_kinds(["A"]);
    let both = format!("{}{}", old.to_pem(), new.to_pem());
    let bundles = [old.to_pem(), both].map(String::into_bytes).to_vec();
    trusts.set("A", Seen::Read(Reading { settled: bundles.clone(), bundles, ..Reading::default() }));
    assert_eq!((trusts.get("A", &old), trusts.get("A", &new)), (Trust::Present, Trust::Missing));
}

#[test]
fn what_is_known_of_a_configuration_is_about_one_ca() {
    let (old, new) = (ca(), ca());
    let trusts = Trusts::of_kinds(["A", "B"]);
    assert_eq!(trusts.observed().trust(&old), [Trust::Unknown, Trust::Unknown]);
    assert!(trusts.set("A", Seen::Read(reading(&[&old]))));
    assert!(!trusts.set("A", Seen::Read(reading(&[&old]))), "no news");
    trusts.set("B", Seen::Hidden);
    assert_eq!(trusts.observed().trust(&old), [Trust::Present, Trust::NotOurs]);
    assert_eq!(trusts.get("A", &new), Trust::Missing);
}

#[test]
fn configurations_are_in_our_hands_when_all_can_be_written() {
    let trusts = Trusts::of_kinds(["A", "B"]);
    let check = |seen: Seen, wanted: bool| {
        trusts.set("B", seen);
        assert_eq!(trusts.observed().is_in_our_hands(), wanted);
    };
    assert!(!Trusts::of_kinds([]).observed().is_in_our_hands());
    trusts.set("A", Seen::Read(reading(&[])));
    check(Seen::Nothing, false);
    check(Seen::Hidden, false);
    check(Seen::Read(Reading { is_refused: true, ..Reading::default() }), false);
    check(Seen::Read(Reading { is_annotated: true, ..Reading::default() }), true);
}

#[test]
fn a_ca_is_kept_where_it_can_and_should_still_be_taken_out() {
    let ca = ca();
    let trusts = Trusts::of_kinds(["A"]);
    let check = |seen: Seen, wanted: bool| {
        trusts.set("A", seen);
        assert_eq!(trusts.observed().keeps(&ca), wanted);
    };
    check(Seen::Nothing, true);
    check(Seen::Hidden, false);
    check(Seen::Read(reading(&[])), false);
    check(Seen::Read(reading(&[&ca])), true);
    check(Seen::Read(Reading { is_annotated: true, ..reading(&[&ca]) }), false);
    check(Seen::Read(Reading { is_refused: true, ..reading(&[&ca]) }), false);
}

// The injector.

fn metrics() -> (runtime::metrics::Metrics, Metrics) {
    let registry = runtime::metrics::Metrics::new("webhook", "0");
    let metrics = Metrics::new(&registry);
    (registry, metrics)
}

fn injector<K>(client: Client, trusts: &Trusts, metrics: &Metrics) -> Injector<K>
where
    K: Configuration + kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    let (_, served) = watch::channel(None);
    Injector::new("webhook".to_owned(), client, served, trusts.clone(), metrics.clone())
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_holds_nothing_up() {
    let (trusts, (_, metrics)) = (Trusts::of_kinds([]), metrics());
    let mut injector = injector::<ValidatingWebhookConfiguration>(fake::silent(), &trusts, &metrics);
    let pause = tokio::time::timeout(STEP_TIME_MAX * 2, injector.step(&Wanted::default())).await;
    assert_eq!(pause.expect("no deadline"), pause::after(1));

    let shutdown = Shutdown::default();
    let running = tokio::spawn(injector.run(shutdown.clone()));
    tokio::time::sleep(STEP_TIME_MAX / 2).await;
    shutdown.request();
    let ended = tokio::time::timeout(Duration::from_secs(1), running).await;
    ended.expect("it goes on after the shutdown").unwrap();
}

#[tokio::test]
async fn a_kind_that_is_fine_does_not_hide_that_the_other_is_forbidden() {
    let (registry, metrics) = metrics();
    let (trusts, ca) = (Trusts::of_kinds([]), ca());
    let wanted = wanted(&[], &[&ca], &[]);
    let mut refused = injector::<ValidatingWebhookConfiguration>(fake::refusing(), &trusts, &metrics);
    refused.step(&wanted).await;
    assert_eq!(trusts.observed().trust(&ca), [Trust::NotOurs]);
    let empty = fake::ApiServer::default().client();
    injector::<MutatingWebhookConfiguration>(empty, &trusts, &metrics).step(&wanted).await;
    let text = registry.encode().unwrap();
    for (kind, value) in [("ValidatingWebhookConfiguration", 1), ("MutatingWebhookConfiguration", 0)] {
        let wanted = format!("signet_webhook_configurations_forbidden{{kind=\"{kind}\"}} {value}\n");
        assert!(text.contains(&wanted), "{wanted:?} is not in:\n{text}");
    }
}

/// Two injectors and a cainjector at work for ten minutes, of which one second after the other is looked at. Gives the
/// API server, how often the configuration was written in all, and how often in the second half.
async fn ten_minutes(injects: Injects, wanted: &Wanted, source: &str) -> (fake::ApiServer, usize, usize) {
    let api = fake::ApiServer::default();
    api.add_configurations("webhook", injects != Injects::Nothing);
    let (trusts, (_, metrics)) = ([Trusts::of_kinds([]), Trusts::of_kinds([])], metrics());
    let mut injectors = trusts
        .each_ref()
        .map(|trusts| injector::<ValidatingWebhookConfiguration>(api.client(), trusts, &metrics));
    let (mut due, mut first_half) = ([Instant::now(); 2], 0);
    for second in 0..600 {
        let writes = api.writes();
        for (injector, due) in injectors.iter_mut().zip(&mut due) {
            if *due <= Instant::now() {
                *due = Instant::now() + injector.step(wanted).await;
            }
        }
        api.inject(injects, source);
        // Each of them hears of each write.
        if api.writes() != writes {
            due = [Instant::now(); 2];
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        if second == 300 {
            first_half = api.writes();
        }
    }
    let writes = api.writes();
    (api, writes, writes - first_half)
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_again_what_is_there() {
    let (old, new, next) = (ca(), ca(), ca());
    let all = wanted(&[&old], &[&new, &next], &[]);
    let (_, alone, later) = ten_minutes(Injects::Nothing, &all, "").await;
    assert_eq!((alone, later), (1, 0));
    let (api, merging, later) = ten_minutes(Injects::Merging, &all, &new.to_pem()).await;
    assert!(merging <= 2 && later == 0, "{merging} writes, {later} of them late");
    for ca in [&old, &new, &next] {
        assert!(
            api.bundles(ValidatingWebhookConfiguration::KIND).iter().all(|text| bundle::contains(text, ca))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cainjector_that_replaces_the_bundle_is_not_fought() {
    let (new, next) = (ca(), ca());
    let all = wanted(&[], &[&new, &next], &[]);
    let (_, writes, later) = ten_minutes(Injects::Replacing, &all, &new.to_pem()).await;
    // Two injectors try six times each, twice at once, and are undone each time.
    assert!(writes <= 28 && later <= 4, "{writes} writes, {later} of them late");
    // Once it has both, there is nothing to write any more.
    let both = Bundle::of(vec![new, next]).to_pem();
    let (_, writes, later) = ten_minutes(Injects::Replacing, &all, &both).await;
    assert!(writes <= 2 && later == 0, "{writes} writes, {later} of them late");
}

#[tokio::test(start_paused = true)]
async fn what_was_just_added_is_trusted_now_but_not_relied_on_yet() {
    let (own, next) = (ca(), ca());
    let api = fake::ApiServer::default();
    api.add_configurations("webhook", true);
    let (trusts, (_, metrics)) = (Trusts::of_kinds([]), metrics());
    let mut injector = injector::<ValidatingWebhookConfiguration>(api.client(), &trusts, &metrics);
    let relied_on = |ca: &Certificate| trusts.observed().trust(ca) == [Trust::Present];
    let trusted = |ca: &Certificate| trusts.get(ValidatingWebhookConfiguration::KIND, ca) == Trust::Present;
    let own_alone = wanted(&[], &[&own], &[]);
    let pause = injector.step(&own_alone).await;
    assert_eq!((trusted(&own), relied_on(&own), pause), (true, false, SETTLE_TIME));
    tokio::time::sleep(SETTLE_TIME / 3).await;
    let pause = injector.step(&own_alone).await;
    assert_eq!((relied_on(&own), pause), (false, SETTLE_TIME - SETTLE_TIME / 3));
    tokio::time::sleep(pause).await;
    assert_eq!(injector.step(&own_alone).await, POLL_INTERVAL);
    assert!(relied_on(&own));
    injector.step(&wanted(&[], &[&own, &next], &[])).await;
    assert!(relied_on(&own) && trusted(&next) && !relied_on(&next));
}

#[tokio::test]
async fn what_may_not_be_written_is_known_to_be_out_of_our_hands() {
    let (own, next) = (ca(), ca());
    let api = fake::ApiServer::default();
    api.add_configurations("webhook", true);
    let (trusts, (_, metrics)) = (Trusts::of_kinds([]), metrics());
    let mut injector = injector::<ValidatingWebhookConfiguration>(api.client(), &trusts, &metrics);
    injector.step(&wanted(&[], &[&own], &[])).await;
    assert!(trusts.observed().is_in_our_hands());
    api.forbid_patches();
    injector.step(&wanted(&[], &[&own], &[])).await;
    assert!(trusts.observed().is_in_our_hands(), "there was nothing to write");
    injector.step(&wanted(&[], &[&own, &next], &[])).await;
    assert!(!trusts.observed().is_in_our_hands());
    let kind = ValidatingWebhookConfiguration::KIND;
    let trust = (trusts.get(kind, &own), trusts.get(kind, &next));
    assert_eq!(trust, (Trust::Present, Trust::Missing), "it can still be read");
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_out_again_and_again_is_known_to_be_out_of_our_hands() {
    let (new, next) = (ca(), ca());
    let api = fake::ApiServer::default();
    api.add_configurations("webhook", true);
    let (trusts, (_, metrics)) = (Trusts::of_kinds([]), metrics());
    let mut injector = injector::<ValidatingWebhookConfiguration>(api.client(), &trusts, &metrics);
    let mut hopeless_after = None;
    for look in 0..10 {
        let pause = injector.step(&wanted(&[], &[&new, &next], &[])).await;
        api.inject(Injects::Replacing, &new.to_pem());
        tokio::time::sleep(pause).await;
        if !trusts.observed().is_in_our_hands() {
            hopeless_after.get_or_insert(look);
        }
    }
    assert!(hopeless_after.is_some_and(|looks| looks <= 4), "{hopeless_after:?}");
    // Another CA is another matter.
    injector.step(&wanted(&[], &[&new], &[])).await;
    assert!(trusts.observed().is_in_our_hands());
}

/// How long a configuration that is replaced by hand, again and again, goes without the CA that is served under.
async fn longest_outage(by_hand: usize) -> Duration {
    let (own, api) = (ca(), fake::ApiServer::default());
    api.add_configurations("webhook", false);
    let (trusts, (_, metrics)) = (Trusts::of_kinds([]), metrics());
    let mut injector = injector::<ValidatingWebhookConfiguration>(api.client(), &trusts, &metrics);
    let wanted = wanted(&[], &[&own], &[]);
    let name = "webhook".try_into().unwrap();
    let served = Served { certificate: own.clone(), name, ca: Some(own.clone()), wanted: wanted.clone() };
    let (_sender, served) = watch::channel(Some(served));
    injector.served = served;
    let kind = ValidatingWebhookConfiguration::KIND;
    let mut longest = Duration::ZERO;
    for _ in 0..by_hand {
        api.inject(Injects::Replacing, "");
        let replaced_at = Instant::now();
        loop {
            let pause = injector.step(&wanted).await;
            if api.bundles(kind).iter().all(|text| bundle::contains(text, &own)) {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        longest = longest.max(replaced_at.elapsed());
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn the_ca_that_is_served_under_is_back_within_seconds_each_time() {
    assert_eq!(longest_outage(2).await, Duration::ZERO);
    assert!(longest_outage(12).await <= OUTAGE_PAUSE_MAX);
}
