//! Rotations under traffic: callers trust what the configurations say at the moment of their dial, and nothing else.

use std::net::SocketAddr;

use axum::routing::get;
use issuance::bundle::Bundle;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::fake::Injects;

const KINDS: [&str; 2] = [KIND, MutatingWebhookConfiguration::KIND];
/// CAs that are replaced after some sixty hours.
const LIFETIMES: (SignedDuration, SignedDuration) =
    (SignedDuration::from_hours(100), SignedDuration::from_hours(10));

/// Who writes to the configurations besides the replicas.
#[derive(Debug, Clone, Copy)]
struct Others {
    cainjector: Injects,
    /// Whether the replicas may write, too.
    may_write: bool,
    /// Whether somebody replaces the CA at one stroke now and then, or deletes it.
    interferes: bool,
}

/// A replica that serves, and a connection that was opened to it in the beginning.
struct Serving {
    replica: Replica,
    validating: Injector<ValidatingWebhookConfiguration>,
    mutating: Injector<MutatingWebhookConfiguration>,
    address: SocketAddr,
    held: Option<TlsStream<TcpStream>>,
}

#[derive(Debug)]
struct Time(TestClock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.now().as_second();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap())))
    }
}

struct World {
    api: ApiServer,
    clock: TestClock,
    others: Others,
    replicas: [Serving; 2],
    dials: usize,
    failures: Vec<String>,
}

impl World {
    fn new(others: Others) -> Self {
        runtime::install_crypto();
        let (api, clock) = (ApiServer::default(), TestClock::new());
        api.add_configurations("webhook", others.cainjector != Injects::Nothing);
        if !others.may_write {
            api.forbid_patches();
        }
        let replicas = ["a", "b"].map(|name| Serving::new(&api, &clock, name));
        Self { api, clock, others, replicas, dials: 0, failures: Vec::new() }
    }

    /// Everybody has a turn, and after each of them that changed something somebody calls.
    async fn turn(&mut self) {
        self.call().await;
        for index in 0..self.replicas.len() {
            let (writes, before) = (self.api.writes(), self.replicas[index].replica.ca_if_any());
            self.replicas[index].replica.step().await.unwrap();
            let has_swapped = before != self.replicas[index].replica.ca_if_any();
            if has_swapped || writes != self.api.writes() {
                self.call().await;
                self.call().await;
            }
            let (writes, wanted) = (self.api.writes(), self.replicas[index].replica.now_served().wanted);
            self.replicas[index].validating.step(&wanted).await;
            if writes != self.api.writes() {
                self.call().await;
            }
            self.replicas[index].mutating.step(&wanted).await;
            self.api.inject_secret(self.others.cainjector);
            if writes != self.api.writes() {
                self.call().await;
                self.call().await;
            }
        }
        for serving in &mut self.replicas {
            if let Some(held) = &mut serving.held {
                request(held).await.expect("a connection was dropped");
            }
        }
    }

    /// Calls the one and the other replica in turn, trusting the one and the other bundle in turn.
    async fn call(&mut self) {
        if !self.is_installed() {
            return;
        }
        self.dials += 1;
        let bundles = KINDS.map(|kind| self.api.bundles(kind)).concat();
        let bundle = &bundles[self.dials % bundles.len()];
        let address = self.replicas[self.dials / bundles.len() % 2].address;
        if let Err(error) = connect(address, bundle, &self.clock).await {
            self.failures.push(format!("at {}, dial {}: {error}", self.clock.now(), self.dials));
        }
    }

    fn is_installed(&self) -> bool {
        self.replicas.iter().all(|serving| serving.held.is_some())
    }

    async fn install(&mut self) {
        for _ in 0..5 {
            self.turn().await;
            self.pass(SignedDuration::from_secs(20)).await;
        }
        let bundle = self.api.bundles(KIND).concat();
        for serving in &mut self.replicas {
            serving.held = Some(connect(serving.address, &bundle, &self.clock).await.unwrap());
        }
    }

    /// Lets time pass: a little of it for timers, and all of it for the clock.
    async fn pass(&self, time: SignedDuration) {
        let for_timers = time.min(SignedDuration::from_secs(20));
        tokio::time::pause();
        tokio::time::advance(Duration::try_from(for_timers).unwrap()).await;
        tokio::time::resume();
        self.clock.jump(time - for_timers);
    }

    /// How long nothing of interest happens.
    fn quiet(&self) -> SignedDuration {
        let secs = |secs| SignedDuration::from_secs(secs);
        let is_waiting = |serving: &Serving| {
            let Renewer { newcomer, stored, .. } = &serving.replica.renewer;
            newcomer.is_some() || stored.next.is_some()
        };
        let published = self.replicas.iter().all(|serving| {
            let next = serving.replica.renewer.stored.next.as_ref();
            next.is_some_and(|next| next.published_at.is_some())
        });
        match (self.replicas.iter().any(is_waiting), published) {
            (true, false) => secs(20),
            (true, true) => secs(120),
            (false, _) => HOUR * 3,
        }
    }

    fn interfere(&self, number: usize) {
        let secret = self.api.secret().filter(|_| !number.is_multiple_of(2)).map(|mut secret| {
            let current = Some(keeping::new_ca(LIFETIMES.0, self.clock.now()).unwrap());
            Stored { current, ..Stored::default() }.write(secret.data.get_or_insert_default());
            secret
        });
        self.api.set_secret(secret);
    }
}

impl Serving {
    fn new(api: &ApiServer, clock: &TestClock, name: &str) -> Self {
        let replica = Replica::with_kinds(api.client(), clock, name, &KINDS, LIFETIMES);
        let listener = runtime::listen::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = runtime::tls::server_config(Arc::clone(&replica.renewer.outlet.certificate), &[]);
        let router = axum::Router::new().route("/", get(async || "ok"));
        let end = Shutdown::default();
        tokio::spawn(runtime::server::serve(listener, Some(tls.into()), router, end, Duration::ZERO));
        let (validating, mutating) = (injector(api, &replica), injector(api, &replica));
        Self { replica, validating, mutating, address, held: None }
    }
}

async fn connect(
    address: SocketAddr,
    bundle: &str,
    clock: &TestClock,
) -> Result<TlsStream<TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    for ca in Bundle::parse(bundle.as_bytes()).map_err(|error| error.to_string())?.certificates() {
        roots.add(ca.der().to_vec().into()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ClientConfig::builder_with_details(provider, Arc::new(Time(clock.clone())))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from("webhook.ns.svc").unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| error.to_string())
}

async fn request(held: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    held.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        let mut part = [0; 1024];
        match held.read(&mut part).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(())
}

/// So many changes of the CA, and not one call that fails.
async fn rotates(times: usize, others: Others) {
    let mut world = World::new(others);
    world.install().await;
    let mut cas = vec![world.replicas[0].replica.ca()];
    let mut turns = 0;
    while cas.len() <= times {
        world.turn().await;
        assert_eq!(world.failures, Vec::<String>::new(), "{others:?} after {} changes", cas.len());
        let cas_now = world.replicas.each_ref().map(|serving| serving.replica.ca());
        if cas_now[0] == cas_now[1] && cas.last() != Some(&cas_now[0]) {
            cas.push(cas_now[0].clone());
            if others.interferes && cas.len().is_multiple_of(5) {
                // Nobody can help against a foreign CA that a cainjector puts into the place of all others.
                let only_deletes = others.cainjector == Injects::Replacing;
                world.interfere(cas.len() / 5 * if only_deletes { 2 } else { 1 });
            }
        }
        let quiet = world.quiet();
        world.pass(quiet).await;
        turns += 1;
        assert!(turns < times * 150, "{others:?}: only {} changes in {turns} turns", cas.len());
    }
    // What was replaced is not trusted for ever.
    let bundle = Bundle::parse(world.api.bundles(KIND)[0].as_bytes()).unwrap();
    if others.cainjector != Injects::Merging {
        assert!(bundle.certificates().len() <= 3, "{others:?}: {} CAs", bundle.certificates().len());
    }
}

const ALONE: Others = Others { cainjector: Injects::Nothing, may_write: true, interferes: false };

#[tokio::test]
async fn fifty_rotations_cost_no_call_and_no_connection() {
    rotates(50, ALONE).await;
}

#[tokio::test]
async fn a_ca_that_somebody_replaces_at_one_stroke_costs_no_call() {
    rotates(12, Others { interferes: true, ..ALONE }).await;
    rotates(12, Others { interferes: true, cainjector: Injects::Merging, ..ALONE }).await;
    rotates(6, Others { interferes: true, cainjector: Injects::Replacing, ..ALONE }).await;
}

#[tokio::test]
async fn rotations_beside_any_cainjector_cost_no_call() {
    rotates(3, Others { cainjector: Injects::Merging, ..ALONE }).await;
    rotates(3, Others { cainjector: Injects::Replacing, ..ALONE }).await;
}

#[tokio::test]
async fn rotations_that_a_cainjector_alone_carries_cost_no_call() {
    rotates(3, Others { cainjector: Injects::Merging, may_write: false, interferes: false }).await;
    rotates(3, Others { cainjector: Injects::Replacing, may_write: false, interferes: false }).await;
}
