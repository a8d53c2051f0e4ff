//! The whole policy, without a client: from a target, its source and the clock to what is to be done.

mod advice;
mod denied;
mod field;
mod reason;
mod removed;
mod room;
mod withdrawn;

use std::sync::Arc;

use issuance::bundle::Bundle;
use issuance::pem::Limit;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use reason::{Advice, Reason, Refusal};
pub use removed::{Cause, Removed, told as removal};

use crate::ownership;
use crate::reference::Wanted;
use crate::rotation::History;
use crate::settings::Withdrawal;
use crate::target::{Conversion, Fields, Live};

use field::{Change, Field};
use withdrawn::Withdrawn;

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
    /// What is taken out of bundles before it expires.
    pub withdrawal: Arc<Withdrawal>,
    /// When which certificate left the source.
    pub history: History,
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
    /// Whether a field lacks a certificate that the source has: calls may fail until it is written.
    pub lacks_source: bool,
    /// What should be looked at in the source.
    pub advice: Vec<Advice>,
    /// What each bundle is to be; empty where none is.
    pub fields: Vec<FieldFacts>,
    /// What a write takes out of bundles.
    pub removed: Vec<Removed>,
    /// Whether a write adds something to a bundle, or mends one.
    pub adds: bool,
    /// Why the target gets nothing from its source, where it is written all the same: to lose what nobody may trust.
    pub refusal: Option<Refusal>,
    /// What nobody may trust, and stays in a bundle even so.
    pub exposure: Option<String>,
}

/// What a bundle is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldFacts {
    /// How many certificates it has.
    pub certificates: usize,
    /// When the first of them expires.
    pub first_expiry: Option<Timestamp>,
}

impl Planned {
    /// A plan that nothing else is known of.
    pub(crate) fn of(plan: Plan) -> Self {
        Self {
            plan,
            again: None,
            lacks_source: false,
            advice: Vec::new(),
            fields: Vec::new(),
            removed: Vec::new(),
            adds: false,
            refusal: None,
            exposure: None,
        }
    }
}

/// Decides what is to be done with a target.
pub fn plan(live: &Live, inputs: &Inputs, now: Timestamp) -> Planned {
    decide(live, inputs, now).unwrap_or_else(|refusal| denied::refused(live, inputs, refusal, now))
}

fn decide(live: &Live, inputs: &Inputs, now: Timestamp) -> Result<Planned, Refusal> {
    let at_once = |plan| Ok(Planned::of(plan));
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
    let whose = whose(&inputs.wanted);
    let withdrawn = Withdrawn::new(inputs, source, now);
    let source = &usable(source, &withdrawn, &whose, now)?;
    applicable(&live.fields)?;
    let current = live.fields.bundles().into_iter();
    let fields = current.map(|current| match inputs.merging {
        true => Field::merged(current, inputs.recent.iter(), source, &withdrawn),
        false => Ok(Field::replaced(current, source, &withdrawn)),
    });
    let mut fields = fields.collect::<Result<Vec<_>, _>>()?;
    if let Some(plan) = migration {
        return Ok(Planned::of(plan));
    }
    let (mut advice, more_advice) = advice::about(source, &whose, now);
    let changes = fields.iter().filter_map(|field| field.changes_at).chain(more_advice).min();
    let (plan, again) = if live.target.kind.has_costly_writes()
        && let Some(deferred) = deferred(&fields, changes, now)
    {
        deferred
    } else if fields.iter().all(|field| field.change == Change::None) {
        (Plan::InSync, changes)
    } else {
        // Nobody loses anything for a bundle that is too large and has what it should have.
        if fields.iter().any(|field| field.gains) {
            let taken = room::make(&mut fields, source);
            if taken > 0 {
                advice.push(full(taken, &whose));
            }
        }
        (Plan::Apply { body: live.apply_body(&texts(&fields)?) }, changes)
    };
    let lacks_source = fields.iter().any(|field| field.lacks_source);
    let facts = fields.iter().map(Field::facts).collect();
    let adds = fields.iter().any(|field| field.gains || field.change == Change::Addition);
    let removed = match plan {
        Plan::Apply { .. } => removed::all(&fields),
        _ => Vec::new(),
    };
    Ok(Planned { again, lacks_source, advice, fields: facts, removed, adds, ..Planned::of(plan) })
}

/// The plan for fields to which nothing is to be added, if that can wait, and when to make the next one. Without this
/// plan it would be at `changes`.
fn deferred(
    fields: &[Field],
    changes: Option<Timestamp>,
    now: Timestamp,
) -> Option<(Plan, Option<Timestamp>)> {
    let mut earliest = None;
    for field in fields {
        match field.change {
            Change::None => {}
            Change::Removal { since } => earliest = earliest.into_iter().chain(since).min(),
            Change::Addition | Change::Replacement => return None,
        }
    }
    // A certificate that is merely there twice waits for any other reason.
    let Some(since) = earliest else { return Some((Plan::InSync, changes)) };
    let until = since.saturating_add(REMOVAL_DELAY).ok().filter(|until| *until > now)?;
    Some((Plan::Deferred { until }, changes.into_iter().chain([until]).min()))
}

/// The certificates of the source that may be trusted, expired or not. An expired CA is no worse than none, and somebody
/// must see it; so without one that has not expired, all that is there stays.
fn usable(
    source: &Arc<Bundle>,
    withdrawn: &Withdrawn<'_>,
    whose: &str,
    now: Timestamp,
) -> Result<Arc<Bundle>, Refusal> {
    let has_any = |bundle: &Bundle| bundle.certificates().iter().any(|one| now <= one.not_after());
    if !has_any(source) {
        let text = format!("every CA certificate of {whose} has expired");
        return Err(Refusal::new(Reason::CAExpired, text));
    }
    let usable = withdrawn.without_denied(source);
    if !has_any(&usable) {
        let text = format!(
            "every CA certificate of {whose} that has not expired is denied by --deny-certificates: renew the CA; \
             until then nothing is added to bundles"
        );
        return Err(Refusal::new(Reason::CADenied, text));
    }
    Ok(usable)
}

/// Whose certificates a target asks for.
fn whose(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Source(source) => source.to_string(),
        // These have no certificates at all.
        Wanted::Malformed { .. } | Wanted::Release | Wanted::Stopped => String::from("nobody"),
    }
}

/// What is to be said where bundles had no room for what the source has now.
fn full(taken: usize, whose: &str) -> Advice {
    let message = format!(
        "the bundles are full: for what {whose} has now, {taken} of the other certificates were taken out although they have \
         not expired, first the oldest that are called like its own; let its CAs live for a shorter time, renew them less \
         often, or remove what nobody needs"
    );
    Advice { reason: Reason::BundleTooLarge, message }
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
        Fields::ConfigMap { immutable: true, .. } => {
            "immutable is true, so its data cannot be changed: delete it, and create it without that"
        }
        Fields::ApiService { .. }
        | Fields::Webhooks(_)
        | Fields::Definition { .. }
        | Fields::ConfigMap { .. }
        | Fields::TrustBundle { .. } => return Ok(()),
        Fields::Custom(field) => {
            let fault = field.told().map(|text| Refusal::new(Reason::NotApplicable, text));
            return fault.map_or(Ok(()), Err);
        }
    };
    Err(Refusal::new(Reason::NotApplicable, text))
}

#[cfg(test)]
mod tests;
