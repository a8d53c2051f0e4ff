mod traffic;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};

use super::*;
use crate::CA_LIFETIME;
use crate::clock::tests::TestClock;
use crate::configurations::{Configuration, Injector, Reading, Seen};
use crate::fake::{self, ApiServer};
use crate::peer;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const KIND: &str = "ValidatingWebhookConfiguration";

/// A replica, and what it tells.
struct Replica {
    renewer: Renewer,
    served: watch::Receiver<Option<Served>>,
    trusts: Trusts,
}

impl Replica {
    fn new(client: Client, clock: &TestClock, replica: &str) -> Self {
        Self::with_kinds(client, clock, replica, &[KIND], (CA_LIFETIME, HOUR))
    }

    fn with_kinds(
        client: Client,
        clock: &TestClock,
        replica: &str,
        kinds: &[&'static str],
        lifetimes: (SignedDuration, SignedDuration),
    ) -> Self {
        let (sender, served) = watch::channel(None);
        let trusts = Trusts::of_kinds(kinds.iter().copied());
        let metrics = Metrics::new(&runtime::metrics::Metrics::new("webhook", "0"));
        let settings = Settings {
            manager: "cert-manager-webhook",
            secret_namespace: "ns".to_owned(),
            secret_name: "webhook-ca".to_owned(),
            names: names(&["webhook.ns.svc"]),
            leaf_lifetime: lifetimes.1,
            ca_lifetime: lifetimes.0,
        };
        let (certificate, clock) = (ServingCertificate::new(), clock.clock());
        let outlet = Outlet { certificate, served: sender, metrics, clock };
        let renewer = Renewer::new(settings, client, outlet, trusts.clone());
        let renewer = Renewer { replica: replica.to_owned(), ..renewer.unwrap() };
        Self { renewer, served, trusts }
    }

    async fn step(&mut self) -> Result<(), RenewError> {
        let now = (self.renewer.outlet.clock)();
        self.renewer.step_in_time(now).await
    }

    fn now_served(&self) -> Served {
        self.served.borrow().clone().expect("nothing is served")
    }

    fn ca(&self) -> Certificate {
        self.now_served().ca.unwrap()
    }

    fn ca_if_any(&self) -> Option<Certificate> {
        self.served.borrow().as_ref().and_then(|served| served.ca.clone())
    }

    fn see(&self, trusted: &[&Certificate]) {
        let bundles = vec![trusted.iter().flat_map(|ca| ca.to_pem().into_bytes()).collect()];
        let reading = Reading { settled: bundles.clone(), bundles, ..Reading::default() };
        self.trusts.set(KIND, Seen::Read(reading));
    }
}

fn names(names: &[&str]) -> Vec<ServerName<'static>> {
    names.iter().map(|name| ServerName::try_from((*name).to_owned()).unwrap()).collect()
}

fn theirs(api: &ApiServer, clock: &TestClock) {
    let mut secret = api.secret().unwrap();
    secret.data.as_mut().unwrap().extend(peer::data(clock.now()));
    api.set_secret(Some(secret));
}

#[tokio::test]
async fn a_new_ca_is_served_under_only_when_callers_trust_it() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let mut replica = Replica::new(api.client(), &clock, "a");
    replica.step().await.unwrap();
    let first = replica.ca();
    assert_eq!(replica.now_served().wanted.required, std::slice::from_ref(&first));
    replica.see(&[&first]);

    theirs(&api, &clock);
    replica.step().await.unwrap();
    let second = replica.now_served();
    assert_eq!(second.ca.as_ref(), Some(&first), "nobody trusts the new CA");
    let [new] = second.wanted.required.as_slice() else { panic!("{:?}", second.wanted) };
    assert_eq!((second.wanted.older.as_slice(), new == &first), ([first.clone()].as_slice(), false));

    replica.see(&[&first, new]);
    replica.step().await.unwrap();
    assert_eq!(replica.ca(), first, "some API servers may not have heard of it");
    clock.jump(SignedDuration::from_secs(3));
    replica.step().await.unwrap();
    assert_eq!(replica.ca(), *new);
}

#[tokio::test]
async fn a_certificate_that_is_due_during_a_handover_is_renewed_under_the_old_ca() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let mut replica = Replica::new(api.client(), &clock, "a");
    replica.step().await.unwrap();
    let first = replica.now_served();
    replica.see(&[first.ca.as_ref().unwrap()]);
    theirs(&api, &clock);
    clock.jump(HOUR * 5 / 6);
    replica.step().await.unwrap();
    let second = replica.now_served();
    assert_eq!(second.ca, first.ca);
    assert!(first.certificate.not_after() < second.certificate.not_after());
}

#[tokio::test]
async fn a_ca_that_was_put_back_is_no_change() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let mut replica = Replica::new(api.client(), &clock, "a");
    replica.step().await.unwrap();
    let (first, kept) = (replica.now_served(), api.secret());
    theirs(&api, &clock);
    replica.step().await.unwrap();
    assert_ne!(replica.now_served().wanted, first.wanted);
    api.set_secret(kept);
    replica.step().await.unwrap();
    let again = replica.now_served();
    assert_eq!((&again.certificate, &again.wanted.required), (&first.certificate, &first.wanted.required));
    assert_eq!(again.wanted.retired.len(), 1, "the other one may be in a configuration");
    assert!(replica.renewer.newcomer.is_none());
}

#[tokio::test]
async fn label_and_annotation_are_put_back_once() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let mut replica = Replica::new(api.client(), &clock, "a");
    replica.step().await.unwrap();
    let whole = api.secret().unwrap().metadata;
    for is_first in [true, false] {
        let mut bare = api.secret().unwrap();
        bare.metadata.labels = None;
        bare.metadata.annotations.as_mut().unwrap().remove("cert-manager.io/allow-direct-injection");
        let data = bare.data.clone();
        api.set_secret(Some(bare));
        replica.step().await.unwrap();
        let secret = api.secret().unwrap();
        assert_eq!(secret.metadata.labels.is_some(), is_first);
        assert_eq!(secret.metadata.annotations == whole.annotations, is_first);
        assert_eq!(secret.data, data);
    }
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_ca() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let names = ["a", "b", "c", "d", "e"];
    let mut replicas = names.map(|name| Replica::new(api.client(), &clock, name));
    let steps = replicas.each_mut().map(Replica::step);
    for outcome in futures::future::join_all(steps).await {
        outcome.unwrap();
    }
    let cas = replicas.each_ref().map(Replica::ca);
    assert!(cas.iter().all(|ca| *ca == cas[0]));
    assert_eq!(api.writes(), 1);
}

#[tokio::test]
async fn an_api_server_that_is_away_costs_no_renewal() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let mut replica = Replica::new(api.client(), &clock, "a");
    api.set_down(true);
    replica.step().await.unwrap_err();
    assert!(replica.served.borrow().is_none());
    api.set_down(false);
    replica.step().await.unwrap();
    let first = replica.now_served();
    api.set_down(true);
    clock.jump(HOUR * 5 / 6);
    replica.step().await.unwrap_err();
    assert_ne!(replica.now_served().certificate, first.certificate, "the CA is known");
    assert_eq!(replica.ca(), first.ca.unwrap());
}

#[tokio::test]
async fn other_names_need_another_certificate() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let mut replica = Replica::new(api.client(), &clock, "a");
    replica.step().await.unwrap();
    let first = replica.now_served();
    replica.step().await.unwrap();
    assert_eq!(replica.now_served(), first);
    replica.renewer.names = names(&["other.ns.svc"]);
    replica.step().await.unwrap();
    let second = replica.now_served();
    assert_eq!((second.name.to_str().as_ref(), second.ca == first.ca), ("other.ns.svc", true));
    replica.renewer.names = Vec::new();
    replica.step().await.unwrap_err();
    assert_eq!(replica.now_served(), second, "a certificate without names is of no use");
}

#[tokio::test]
async fn a_clock_that_jumps_by_a_day_leaves_no_invalid_certificate() {
    for jump in [DAY, -DAY] {
        let (api, clock) = (ApiServer::default(), TestClock::new());
        let mut replica = Replica::new(api.client(), &clock, "a");
        replica.step().await.unwrap();
        let first = replica.ca();
        clock.jump(jump);
        replica.now_served().check(clock.now()).unwrap_err();
        replica.step().await.unwrap();
        replica.now_served().check(clock.now()).unwrap();
        // Back in time, even the CA is not valid yet.
        assert_eq!(replica.ca() == first, jump > SignedDuration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missed_moment_is_made_up_for_within_seconds() {
    for jump in [DAY, -DAY] {
        let (api, clock, shutdown) = (ApiServer::default(), TestClock::new(), Shutdown::default());
        let Replica { renewer, served, .. } = Replica::new(api.client(), &clock, "a");
        let running = tokio::spawn(renewer.run(shutdown.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.jump(jump);
        tokio::time::sleep(Duration::from_secs(6)).await;
        let now_served = served.borrow().clone().unwrap();
        now_served.check(clock.now()).unwrap();
        shutdown.request();
        running.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_holds_nothing_up() {
    let clock = TestClock::new();
    let Replica { renewer, .. } = Replica::new(fake::silent(), &clock, "a");
    let (failures, shutdown) = (renewer.outlet.metrics.certificate_failures.clone(), Shutdown::default());
    let running = tokio::spawn(renewer.run(shutdown.clone()));
    tokio::time::sleep(STEP_TIME_MAX * 2).await;
    assert_eq!(failures.get(), 1, "no deadline");
    shutdown.request();
    let ended = tokio::time::timeout(Duration::from_secs(1), running).await;
    ended.expect("it goes on after the shutdown").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_secret_gets_a_new_ca_and_the_old_one_is_taken_out_when_nothing_needs_it() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    api.add_configurations("webhook", false);
    let kinds = [KIND, MutatingWebhookConfiguration::KIND];
    let mut replica = Replica::with_kinds(api.client(), &clock, "a", &kinds, (CA_LIFETIME, HOUR));
    let mut validating = injector::<ValidatingWebhookConfiguration>(&api, &replica);
    let mut mutating = injector::<MutatingWebhookConfiguration>(&api, &replica);
    let mut first = None;
    for round in 0..200 {
        if round == 10 {
            first = Some(replica.ca());
            api.set_secret(None);
        }
        replica.step().await.unwrap();
        let wanted = replica.now_served().wanted;
        validating.step(&wanted).await;
        mutating.step(&wanted).await;
        let served = replica.ca().to_pem();
        for kind in kinds {
            assert!(api.bundles(kind).iter().all(|text| text.contains(&served)), "round {round}");
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_ne!(Some(replica.ca()), first);
    for kind in kinds {
        assert!(api.bundles(kind).iter().all(|text| *text == replica.ca().to_pem()));
    }
    assert_eq!(api.secret().unwrap().data.unwrap().len(), 3, "at rest");
}

#[tokio::test]
async fn replicas_of_both_kinds_agree_on_one_ca_for_years() {
    let (api, clock) = (ApiServer::default(), TestClock::new());
    let lifetimes = (CA_LIFETIME, DAY * 7);
    let mut replicas =
        ["a", "b"].map(|name| Replica::with_kinds(api.client(), &clock, name, &[KIND], lifetimes));
    let mut theirs = 0;
    for day in (0..800).step_by(2) {
        let secret = peer::seen_to(api.secret(), clock.now());
        if api.secret().as_ref() != Some(&secret) {
            theirs += 1;
            api.set_secret(Some(secret));
        }
        for replica in &mut replicas {
            replica.trusts.set(KIND, Seen::Hidden);
            replica.step().await.unwrap();
            clock.jump(SignedDuration::from_secs(20));
            replica.step().await.unwrap();
        }
        let [a, b] = replicas.each_ref().map(Replica::ca);
        let stored = api.secret().unwrap().data.unwrap();
        assert_eq!(a, b, "day {day}");
        assert_eq!(stored["tls.crt"].0, a.to_pem().into_bytes(), "day {day}");
        clock.jump(DAY * 2);
    }
    // It replaces the CA at two thirds of its life. Ours remember what was replaced and forget it again.
    assert_eq!(theirs, 4);
    assert!(api.writes() <= theirs * 3, "{} writes", api.writes());
}

fn injector<K>(api: &ApiServer, replica: &Replica) -> Injector<K>
where
    K: Configuration + kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    let (served, trusts) = (replica.served.clone(), replica.trusts.clone());
    let metrics = replica.renewer.outlet.metrics.clone();
    Injector::new("webhook".to_owned(), api.client(), served, trusts, metrics)
}

#[test]
fn the_name_of_a_service_is_dialled_rather_than_another_one() {
    let check = |names: &[&'static str], wanted: Option<&str>| {
        let found = dialled(names.iter().map(|name| ServerName::try_from(*name).unwrap()));
        assert_eq!(found.as_ref().map(ServerName::to_str).as_deref(), wanted, "{names:?}");
    };
    check(&[], None);
    check(&["webhook", "192.0.2.1", "webhook.ns"], Some("webhook"));
    check(&["webhook", "webhook.ns", "webhook.ns.svc", "a.ns.svc"], Some("webhook.ns.svc"));
}
