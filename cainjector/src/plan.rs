//! The whole policy, without a client: from a target, its source and the clock to what is to be done.

mod field;
mod reason;

use std::sync::Arc;

use issuance::bundle::Bundle;
use issuance::pem::Limit;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use reason::{Reason, Refusal};

use crate::ownership;
use crate::reference::Wanted;
use crate::target::{Conversion, Fields, Live};

use field::{Change, Field};

/// Most bytes of bundles in one target. An object may have about 1.5 MiB in all, in base64 and with the managed
/// fields; beyond this a target would soon be refused by the API server.
const BUNDLES_BYTES_MAX: usize = 768 * 1024;

/// How long a certificate that has expired may stay where taking it out is costly.
const REMOVAL_DELAY: SignedDuration = SignedDuration::from_hours(24);

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
    /// Whether the certificates that a bundle has stay; otherwise it gets those of the source, and no others.
    pub merging: bool,
}

/// What is to be done with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Send this server-side apply.
    Apply {
        /// Its body.
        body: Value,
    },
    /// Send this JSON patch, which leaves the bundles as they are and makes them ours by server-side apply alone. Then
    /// read the target again and make another plan.
    Migrate {
        /// The operations.
        patch: Value,
    },
    /// Send this server-side apply, which gives the bundles up.
    Release {
        /// Its body.
        body: Value,
    },
    /// The target asks for nothing any more, and keeps what it has.
    Stopped,
    /// The target has what it should have.
    InSync,
    /// It has that and certificates that have expired. They do no harm, and to take them out is a costly write: it waits
    /// for the next addition, or until then.
    Deferred {
        /// When it is to be written even if nothing is added.
        until: Timestamp,
    },
    /// Nothing may be written; the target keeps what it has.
    Refused(Refusal),
}

/// A plan, and when to make the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is to be done now.
    pub plan: Plan,
    /// When it has to be made anew although nothing changed: a certificate expires then, or is to be taken out.
    pub again: Option<Timestamp>,
}

/// Decides what is to be done with a target.
pub fn plan(live: &Live, inputs: &Inputs, now: Timestamp) -> Planned {
    decide(live, inputs, now).unwrap_or_else(|refusal| Planned { plan: Plan::Refused(refusal), again: None })
}

fn decide(live: &Live, inputs: &Inputs, now: Timestamp) -> Result<Planned, Refusal> {
    let at_once = |plan| Ok(Planned { plan, again: None });
    let migration = ownership::migration(live).map(|patch| Plan::Migrate { patch });
    match (&inputs.wanted, migration) {
        (Wanted::Stopped, _) => at_once(Plan::Stopped),
        (Wanted::Release, Some(migrate)) => at_once(migrate),
        (Wanted::Release, None) if ownership::is_applied(&live.owners) => {
            at_once(Plan::Release { body: live.release_body() })
        }
        (Wanted::Release, None) => at_once(Plan::InSync),
        (Wanted::Source(_) | Wanted::Malformed { .. }, migration) => bundles(live, inputs, migration, now),
    }
}

/// The plan for the bundles of a target; `migration` is what comes before it.
fn bundles(
    live: &Live,
    inputs: &Inputs,
    migration: Option<Plan>,
    now: Timestamp,
) -> Result<Planned, Refusal> {
    let source = inputs.source.as_ref().map_err(Clone::clone)?;
    unexpired(source, &inputs.wanted, now)?;
    applicable(&live.fields)?;
    let current = live.fields.bundles().into_iter();
    let fields = current.map(|current| match inputs.merging {
        true => Field::merged(current, inputs.recent.iter().chain([source]), now),
        false => Ok(Field::replaced(current, source, now)),
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    if let Some(plan) = migration {
        return Ok(Planned { plan, again: None });
    }
    let expires = fields.iter().filter_map(Field::expires).min();
    if live.target.kind.has_costly_writes()
        && let Some(deferred) = deferred(&fields, expires, now)
    {
        return Ok(deferred);
    }
    if fields.iter().all(|field| field.change == Change::None) {
        return Ok(Planned { plan: Plan::InSync, again: expires });
    }
    let body = live.apply_body(&texts(&fields)?);
    Ok(Planned { plan: Plan::Apply { body }, again: expires })
}

/// The plan for fields to which nothing is to be added, if that can wait.
fn deferred(fields: &[Field], expires: Option<Timestamp>, now: Timestamp) -> Option<Planned> {
    let mut earliest = None;
    for field in fields {
        match field.change {
            Change::None => {}
            Change::Removal { expired_at } => earliest = earliest.into_iter().chain(expired_at).min(),
            Change::Addition | Change::Replacement => return None,
        }
    }
    // A certificate that is merely there twice waits for any other reason.
    let Some(expired_at) = earliest else {
        return Some(Planned { plan: Plan::InSync, again: expires });
    };
    let until = expired_at.saturating_add(REMOVAL_DELAY).ok().filter(|until| *until > now)?;
    let again = expires.into_iter().chain([until]).min();
    Some(Planned { plan: Plan::Deferred { until }, again })
}

/// An expired CA is no worse than none, and somebody must see it; so all that is there stays.
fn unexpired(source: &Bundle, wanted: &Wanted, now: Timestamp) -> Result<(), Refusal> {
    let certificates = source.certificates();
    if certificates.iter().any(|certificate| now <= certificate.not_after()) {
        return Ok(());
    }
    let whose = match wanted {
        Wanted::Source(source) => source.to_string(),
        // These have no certificates at all.
        Wanted::Malformed { .. } | Wanted::Release | Wanted::Stopped => String::from("nobody"),
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
        Fields::Definition { conversion: Conversion::None, .. } => {
            "spec.conversion.strategy is not Webhook: there is no webhook that a bundle would be for"
        }
        Fields::Definition { conversion: Conversion::Unaddressed, .. } => {
            "there is no spec.conversion.webhook.clientConfig that says which webhook to call"
        }
        Fields::ApiService { .. } | Fields::Webhooks(_) | Fields::Definition { .. } => return Ok(()),
    };
    Err(Refusal::new(Reason::NotApplicable, text))
}

#[cfg(test)]
mod tests;
