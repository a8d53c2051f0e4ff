//! Whether each Issuer and ClusterIssuer can sign.
//!
//! [`watch`] follows the issuers; the [`registry`] keeps them, with what their specs came to, and watches by name the
//! Secrets that they refer to; its [`index`] knows who refers to which. Each is asked how it is, [`plan`] turns the answer into
//! a status, and [`apply`] writes that status where it differs. [`accounts`] gets tokens for issuers that log in by one. Whoever has something signed asks the [`registry`].

pub mod accounts;
pub mod apply;
pub mod index;
pub mod plan;
pub mod registry;
pub(crate) mod report;
pub mod watch;

use std::sync::Arc;

use kube::Api;
use runtime::tasks::Tasks;

use crate::context::Context;
use crate::controllers::{CLUSTER_ISSUERS, ISSUERS};
use crate::issuer::apply::Judge;
use crate::object::{IssuerKind, IssuerObject};

/// Starts to follow the issuers, and to judge those kinds of them that are on.
pub(crate) fn start(context: &Context, tasks: &mut Tasks) {
    crate::metrics::register_issuers(&context.metrics, &context.issuers, context.leadership.clone());
    let settings = &context.settings;
    let kinds = [(ISSUERS, IssuerKind::Issuer), (CLUSTER_ISSUERS, IssuerKind::ClusterIssuer)];
    let judged = kinds.into_iter().filter(|(name, _)| settings.controllers.is_on(name));
    let judge = Arc::new(Judge::new(context, judged.map(|(_, kind)| kind).collect()));
    let working = Arc::clone(&judge);
    context.alive.check("issuers", move || working.turns());
    match &settings.namespace {
        Some(namespace) => {
            follow::<api::Issuer>(context, tasks, Api::namespaced(context.client.clone(), namespace));
        }
        None => {
            follow::<api::Issuer>(context, tasks, Api::all(context.client.clone()));
            follow::<api::ClusterIssuer>(context, tasks, Api::all(context.client.clone()));
        }
    }
    for _ in 0..settings.workers.get() {
        let work = Arc::clone(&judge).work(context.leadership.clone(), context.shutdown.clone());
        context.spawn_writer(tasks, "issuer worker", work);
    }
}

fn follow<K: IssuerObject>(context: &Context, tasks: &mut Tasks, api: Api<K>) {
    let name = K::KIND.plural();
    let standing = context.readiness.teller(name);
    let (registry, shutdown) = (Arc::clone(&context.issuers), context.shutdown.clone());
    tasks.spawn(name, watch::follow_issuers(registry, api, standing, shutdown));
}
