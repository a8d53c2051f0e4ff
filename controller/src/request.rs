//! CertificateRequests: approval, and how they are answered.
//!
//! [`view`] reduces a request to what decisions need; the [`index`] knows what each waits for. [`plan`] decides what is to be
//! done about one, given the state of its issuer; [`apply`] does it: approval and answer are one write. [`answer`] turns an
//! outcome into the status of the request, and keeps what is written once. [`key`] is where requests that sign themselves
//! have their keys. [`driver`] judges what drivers ask for pods. [`claims`] lets the one who created a request answer it without the others.

pub mod answer;
pub mod apply;
pub mod claims;
pub mod driver;
pub mod index;
pub mod key;
pub mod plan;
mod refusals;
pub mod retries;
pub mod view;

use std::sync::Arc;

use api::CertificateRequest;
use kube::Api;
use runtime::follow::follow;
use runtime::tasks::Tasks;

use crate::context::Context;
use crate::request::apply::Answerer;

/// Starts to follow the CertificateRequests, and to answer them.
pub(crate) fn start(context: &Context, tasks: &mut Tasks) -> Arc<Answerer> {
    const NAME: &str = "certificaterequests";
    let answerer = Arc::new(Answerer::new(context));
    let working = Arc::clone(&answerer);
    context.alive.check("requests", move || working.turns());
    let api: Api<CertificateRequest> = match &context.settings.namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let (told, standing) = (Arc::clone(&answerer), context.readiness.teller(NAME));
    let shutdown = context.shutdown.clone();
    tasks.spawn(NAME, follow(api, None, NAME, standing, shutdown, move |change| told.changed(change)));
    for _ in 0..context.settings.workers.get() {
        let work = Arc::clone(&answerer).work(context.shutdown.clone());
        context.spawn_writer(tasks, "request worker", work);
    }
    answerer
}
