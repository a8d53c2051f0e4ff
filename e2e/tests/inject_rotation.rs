//! A conversion webhook and an aggregated API whose CA is replaced again and again while the API server calls them without
//! a pause: the cainjector's part of a rotation that nobody notices.

mod common;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use common::load::{self, Load, Report, Round};
use common::targets::{INJECTED_WITHIN, SECRET, Target, set_bundle};
use e2e::authority::{Authority, Pair, trust_secret};
use e2e::backend::{Api, Backend};
use e2e::namespace::{self, Scope};
use e2e::{resources, wait};
use kube::api::ListParams;
use serde_json::{Value, json};

/// How often the CA is replaced.
const ROUNDS: usize = if cfg!(feature = "soak") { 50 } else { 2 };

/// How many clients call at the same time.
const CLIENTS: usize = 4;

/// How long a server waits after the bundles show its next CA, before it serves under it: until each part of the API
/// server has read the bundle. Milliseconds are usual.
const PROPAGATED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_ca_that_is_replaced_in_two_phases_under_load_costs_no_handshake() -> anyhow::Result<()> {
    namespace::own("phases", |scope| async move {
        let mut servers = Servers::announced(&scope).await?;
        let before = servers.backend.tally();
        let load = Load::of(&scope, CLIENTS, servers.calls()).await?;
        let began = Instant::now();
        for round in 1..=ROUNDS {
            servers.rotate(&scope).await.with_context(|| format!("round {round}"))?;
        }
        let took = began.elapsed();
        let sent = load.finish_without_failure().await?;
        let after = servers.backend.tally();
        let handshakes = after.handshakes - before.handshakes;
        println!("{sent} calls and {handshakes} handshakes during {ROUNDS} rotations in {took:?}");
        ensure!(after.failures == before.failures, "handshakes failed: {:?}", after.failures);
        // Else something else answered, and nobody looked at a certificate.
        let answered = after.conversions + after.lists - before.conversions - before.lists;
        ensure!(answered >= sent, "of {sent} calls {answered} reached the servers");
        ensure!(handshakes >= sent, "{sent} calls took {handshakes} handshakes");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_ca_that_is_replaced_at_once_is_refused_until_it_is_published() -> anyhow::Result<()> {
    namespace::own("once", |scope| async move {
        let servers = Servers::announced(&scope).await?;
        let before = servers.backend.tally();
        let (ca, pair) = new_ca(&servers.api)?;
        servers.backend.serve_with(&pair)?;
        let mut report = Report::default();
        servers.calls().send(&scope.client, &mut report).await?;
        ensure!(report.failures.len() == 2, "of two calls these failed: {:?}", report.failures);
        let refused: Vec<_> = servers.backend.tally().failures.split_off(before.failures.len());
        ensure!(refused.len() >= 2, "the servers saw {refused:?}");
        set_bundle(&scope, &ca.certificate).await?;
        servers.answer(&scope).await
    })
    .await
}

/// A conversion webhook and an aggregated API, and the CAs that they have had.
struct Servers {
    api: Api,
    backend: Backend,
    targets: [Target; 2],
    cas: Vec<Authority>,
}

impl Servers {
    /// Starts and announces them, and waits until the API server calls them.
    async fn announced(scope: &Scope) -> anyhow::Result<Self> {
        let api = Api::in_namespace(&scope.namespace);
        let (ca, pair) = new_ca(&api)?;
        let control_plane = scope.cluster.api_server().ip();
        let backend = Backend::start(scope.cluster.network(), control_plane, api.clone(), &pair)?;
        scope.create(&trust_secret(SECRET, &ca.certificate)).await?;
        for object in api.announcement(backend.address, &format!("{}/{SECRET}", scope.namespace)) {
            scope.create(&object).await?;
        }
        let targets = [
            target(
                ("apiextensions.k8s.io/v1", "CustomResourceDefinition", api.definition_name()),
                &["/spec/conversion/webhook/clientConfig/caBundle"],
            ),
            target(("apiregistration.k8s.io/v1", "APIService", api.api_service_name()), &["/spec/caBundle"]),
        ];
        let gadget = api.gadget("one");
        wait::until("the definition to be served", INJECTED_WITHIN, || scope.create(&gadget)).await?;
        let servers = Self { api, backend, targets, cas: vec![ca] };
        servers.answer(scope).await?;
        Ok(servers)
    }

    /// Waits until each answers a call.
    async fn answer(&self, scope: &Scope) -> anyhow::Result<()> {
        let calls = self.calls();
        wait::until("the servers to be called", INJECTED_WITHIN, || load::once_of(scope, &calls)).await
    }

    /// Replaces the CA: first it is published beside the present one, and when everybody trusts it, it is served under.
    async fn rotate(&mut self, scope: &Scope) -> anyhow::Result<()> {
        let (next, pair) = new_ca(&self.api)?;
        let present = self.cas.last().context("there is no CA yet")?;
        set_bundle(scope, &format!("{}{}", present.certificate, next.certificate)).await?;
        let certificate = next.certificate.clone();
        self.cas.push(next);
        // What left the Secret is trusted until it expires.
        let all: Vec<_> = self.cas.iter().collect();
        for target in &self.targets {
            target.holds(scope, &all).await?;
        }
        tokio::time::sleep(PROPAGATED_WITHIN).await;
        self.backend.serve_with(&pair)?;
        set_bundle(scope, &certificate).await
    }

    fn calls(&self) -> Calls {
        Calls { api: self.api.clone() }
    }
}

fn new_ca(api: &Api) -> anyhow::Result<(Authority, Pair)> {
    Authority::with_server("Backend CA", &[api.server_name()])
}

fn target(
    (api_version, kind, name): (&'static str, &'static str, String),
    pointers: &'static [&'static str],
) -> Target {
    Target { api_version, kind, name, pointers, owned: &[], sent: [Value::Null, Value::Null] }
}

/// A read that needs a conversion, and a list of the aggregated API.
struct Calls {
    api: Api,
}

impl Round for Calls {
    async fn send(&self, client: &kube::Client, report: &mut Report) -> anyhow::Result<()> {
        let resource = |group: &str, version: &str, kind: &str| {
            resources::api(client, self.api.namespace(), &format!("{group}/{version}"), kind)
        };
        report.sent += 2;
        let sent = Instant::now();
        match resource(&self.api.custom_group(), "v2", "Gadget").get("one").await {
            Ok(gadget) => {
                let spec = &gadget.data["spec"];
                ensure!(*spec == json!({"width": 3}), "the gadget was converted to {spec}");
            }
            Err(error) => report.fail(sent, &error),
        }
        let sent = Instant::now();
        match resource(&self.api.aggregated_group(), "v1", "Gauge").list(&ListParams::default()).await {
            Ok(gauges) => ensure!(gauges.items.len() == 1, "there are {} gauges", gauges.items.len()),
            Err(error) => report.fail(sent, &error),
        }
        Ok(())
    }
}
