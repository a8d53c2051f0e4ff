//! Certificates: from what a user asks for to a Secret that holds it, and stays fresh.
//!
//! Decisions: [`view`] and [`secret`] reduce objects to what decisions need, which [`snapshot`] holds together. [`decide`]
//! says what to do next, as a pure function; [`checks`], [`owner`], [`backoff`], [`renewal`] and [`drift`] are its parts,
//! [`status`] and [`step`] its result. [`spec`] puts a Certificate into the terms of the issuance core, [`names`] says what is
//! called how, and [`store`], [`metadata`] and [`body`] what is written.
//!
//! Work: the watches feed the [`index`]; [`gather`] brings together what is known of one Certificate, with the
//! [`passwords`] of its keystores, and [`apply`] takes the steps that were decided on.

pub mod apply;
pub mod backoff;
pub mod body;
pub mod checks;
pub mod decide;
pub mod drift;
#[cfg(test)]
mod fixture;
pub mod gather;
pub mod index;
pub mod metadata;
#[cfg(test)]
mod model;
pub mod names;
pub mod owner;
pub mod passwords;
pub mod renewal;
pub mod secret;
pub mod snapshot;
pub mod spec;
pub mod status;
pub mod step;
pub mod store;
pub mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Certificate;
use api::keys::label;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use runtime::follow::follow;
use runtime::readiness::Readiness;
use runtime::tasks::Tasks;

use crate::certificate::apply::Keeper;
use crate::certificate::snapshot::Policy;
use crate::context::Context;
use crate::controllers::CERTIFICATES_METRICS;
use crate::metrics;
use crate::request::apply::Answerer;

/// Starts to follow the Certificates and their Secrets, and to keep them, if any part of that is on.
pub(crate) fn start(context: &Context, requests: &Arc<Answerer>, tasks: &mut Tasks) {
    const NAME: &str = "certificates";
    let settings = &context.settings;
    let policy = Policy::of(settings);
    let has_metrics = settings.controllers.is_on(CERTIFICATES_METRICS);
    if !policy.enabled.any() && !has_metrics {
        return;
    }
    let namespaces = secret_namespaces(settings.namespace.as_ref(), settings.secret_namespaces.as_ref());
    let keeper = Arc::new(Keeper::new(context, Arc::clone(requests), policy, namespaces.clone()));
    let working = Arc::clone(&keeper);
    context.alive.check(NAME, move || working.turns());
    requests.on_change({
        let told = Arc::downgrade(&keeper);
        move |certificate| {
            if let Some(keeper) = told.upgrade() {
                keeper.request_changed(certificate);
            }
        }
    });
    if has_metrics {
        metrics::register_certificates(&context.metrics, &keeper, context.leadership.clone());
    }
    let api: Api<Certificate> = match &settings.namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let (told, standing) = (Arc::clone(&keeper), context.readiness.teller(NAME));
    let shutdown = context.shutdown.clone();
    tasks.spawn(NAME, follow(api, None, NAME, standing, shutdown, move |change| told.changed(change)));
    for namespace in namespaces {
        follow_secrets(context, &keeper, namespace, tasks);
    }
    for _ in 0..settings.workers.get() {
        let work = Arc::clone(&keeper).work(context.shutdown.clone());
        context.spawn_writer(tasks, "certificate worker", work);
    }
}

/// Follows the Secrets of Certificates, of one namespace or of all.
fn follow_secrets(context: &Context, keeper: &Arc<Keeper>, namespace: Option<String>, tasks: &mut Tasks) {
    const NAME: &str = "secrets of certificates";
    let api: Api<Secret> = match &namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    // Of several namespaces one that is gone, or may not be read any more, takes nothing from the others.
    let is_one_of_several = context.settings.secret_namespaces.is_some();
    let standing = if is_one_of_several { Readiness::default() } else { context.readiness.clone() };
    let (told, standing) = (Arc::clone(keeper), standing.teller(NAME));
    let labels = Some(format!("{}=true", label::MANAGED_SECRET));
    let shutdown = context.shutdown.clone();
    let changed = move |change| told.secret_changed(namespace.as_deref(), change);
    tasks.spawn(NAME, follow(api, labels, NAME, standing, shutdown, changed));
}

/// Where Secrets are watched: in all namespaces (`None`), or in each of some.
fn secret_namespaces(only: Option<&String>, narrow: Option<&BTreeSet<String>>) -> BTreeSet<Option<String>> {
    match (only, narrow) {
        (None, None) => [None].into(),
        (Some(only), None) => [Some(only.clone())].into(),
        (only, Some(narrow)) => {
            let within = narrow.iter().filter(|namespace| only.is_none_or(|only| only == *namespace));
            within.cloned().map(Some).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_watched_where_they_may_be_read() {
        let check = |only: Option<&str>, narrow: Option<&[&str]>, expected: &[Option<&str>]| {
            let only = only.map(str::to_owned);
            let narrow: Option<BTreeSet<String>> =
                narrow.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            let found = secret_namespaces(only.as_ref(), narrow.as_ref());
            let expected: BTreeSet<_> = expected.iter().map(|name| name.map(str::to_owned)).collect();
            assert_eq!(found, expected);
        };
        check(None, None, &[None]);
        check(Some("a"), None, &[Some("a")]);
        check(None, Some(&["a", "b"]), &[Some("a"), Some("b")]);
        check(Some("a"), Some(&["a", "b"]), &[Some("a")]);
        check(Some("c"), Some(&["a", "b"]), &[]);
    }
}
