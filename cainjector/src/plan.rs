//! The whole policy, without a client: from a target, its source and the clock to what is to be done.

mod field;
mod reason;

use std::sync::Arc;

use issuance::bundle::Bundle;
use issuance::pem::Limit;
use jiff::Timestamp;
use serde_json::Value;

pub use reason::{Reason, Refusal};

use crate::reference::Wanted;
use crate::target::{Fields, Live};

use field::Field;

/// Most bytes of bundles in one target. An object may have about 1.5 MiB in all, in base64 and with the managed
/// fields; beyond this a target would soon be refused by the API server.
const BUNDLES_BYTES_MAX: usize = 768 * 1024;

/// What a plan is made of, besides the target itself and the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// What the target asks for.
    pub wanted: Wanted,
    /// The CA certificates of its source, or why none may be taken.
    pub source: Result<Arc<Bundle>, Refusal>,
    /// CAs that the source has had since the target was last seen to have them all, oldest first.
    pub recent: Vec<Arc<Bundle>>,
    /// Which CA of the source this is, counted from the first.
    pub generation: u64,
}

/// What is to be done with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Send this server-side apply.
    Apply {
        /// Its body.
        body: Value,
    },
    /// The target has what it should have.
    InSync,
    /// Nothing may be written; the target keeps what it has.
    Refused(Refusal),
}

/// A plan, and when it has to be made anew although nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is to be done now.
    pub plan: Plan,
    /// When the first certificate of the bundle expires and is to be taken out.
    pub expires: Option<Timestamp>,
}

/// Decides what is to be done with a target.
pub fn plan(live: &Live, inputs: &Inputs, now: Timestamp) -> Planned {
    decide(live, inputs, now)
        .unwrap_or_else(|refusal| Planned { plan: Plan::Refused(refusal), expires: None })
}

fn decide(live: &Live, inputs: &Inputs, now: Timestamp) -> Result<Planned, Refusal> {
    let source = inputs.source.as_ref().map_err(Clone::clone)?;
    unexpired(source, &inputs.wanted, now)?;
    applicable(&live.fields)?;
    let current = live.fields.bundles().into_iter();
    let fields = current.map(|current| Field::new(current, inputs.recent.iter().chain([source]), now));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let expires = fields.iter().filter_map(Field::expires).min();
    if fields.iter().all(|field| field.in_sync) {
        return Ok(Planned { plan: Plan::InSync, expires });
    }
    let body = live.apply_body(&texts(&fields)?);
    Ok(Planned { plan: Plan::Apply { body }, expires })
}

/// An expired CA is no worse than none, and somebody must see it; so all that is there stays.
fn unexpired(source: &Bundle, wanted: &Wanted, now: Timestamp) -> Result<(), Refusal> {
    let certificates = source.certificates();
    if certificates.iter().any(|certificate| now <= certificate.not_after()) {
        return Ok(());
    }
    let whose = match wanted {
        Wanted::Source(source) => source.to_string(),
        Wanted::Malformed { annotation, .. } => (*annotation).to_owned(),
    };
    Err(Refusal::new(Reason::CAExpired, format!("every CA certificate of {whose} has expired")))
}

/// The bundles as text, if they fit.
fn texts(fields: &[Field]) -> Result<Vec<String>, Refusal> {
    let texts: Vec<String> = fields.iter().map(|field| field.bundle.to_pem()).collect();
    for (field, text) in fields.iter().zip(&texts) {
        readable(&field.bundle, text)?;
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > BUNDLES_BYTES_MAX {
        let text = format!("the bundles would have {bytes} bytes, of {BUNDLES_BYTES_MAX} allowed");
        return Err(Refusal::new(Reason::BundleTooLarge, text));
    }
    Ok(texts)
}

/// What is written must be what is read at the next look, or there would be no end of writing.
fn readable(bundle: &Bundle, text: &str) -> Result<(), Refusal> {
    let Limit { bytes, blocks } = Limit::BUNDLE;
    let count = bundle.certificates().len();
    if text.len() <= bytes && count <= blocks {
        return Ok(());
    }
    let text = format!(
        "a bundle would have {count} certificates in {} bytes, of {blocks} and {bytes} allowed; \
         remove those that nobody needs any more",
        text.len()
    );
    Err(Refusal::new(Reason::BundleTooLarge, text))
}

/// The API server answers 422 to a bundle in such targets, for ever; and switching a user's TLS verification on or
/// off is not ours to do.
fn applicable(fields: &Fields) -> Result<(), Refusal> {
    let text = match fields {
        Fields::ApiService { insecure: true, .. } => {
            "spec.insecureSkipTLSVerify is true, which excludes a bundle: remove it to have the service verified"
        }
        Fields::ApiService { remote: false, .. } => {
            "the API server serves this group itself: there is no spec.service to verify"
        }
        Fields::ApiService { .. } | Fields::Webhooks(_) => return Ok(()),
    };
    Err(Refusal::new(Reason::NotApplicable, text))
}

#[cfg(test)]
mod tests;
