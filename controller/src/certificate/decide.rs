//! What is to be done for a Certificate, from everything that is known about it: the whole machine as one pure function.
//!
//! A Certificate is idle or being issued, which its Issuing condition tells. Each look answers in the same order: is its
//! Secret its own, is the result of an issuance stored already, and then either what keeps it from resting or what the
//! issuance needs next. What an interrupted issuance left behind is found like anything else that does not fit.

use issuance::comparison::Wanted;
use jiff::{SignedDuration, Timestamp};

use crate::certificate::checks::{self, Facts, Finding, Last};
use crate::certificate::renewal;
use crate::certificate::secret::SecretView;
use crate::certificate::snapshot::{Snapshot, Target};
use crate::certificate::spec::{self, SpecError};
use crate::certificate::status::{Draft, Observed};
use crate::certificate::step::{Decision, Step};
use crate::certificate::{names, owner};
use crate::news::News;
use crate::request::view::{RequestEnd, RequestView};

mod idle;
mod issuing;

/// How often one of two Certificates with the same Secret looks whether it has become its own.
const CONFLICT_AGAIN: SignedDuration = SignedDuration::from_mins(3);

/// Decides what to do for a Certificate at `now`, an instant of whole seconds.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Decision {
    let decision = plan(snapshot, now);
    if decision.status == snapshot.certificate.status || decision.step == Step::Rest {
        return decision;
    }
    // The step is told of when it is taken.
    Decision { step: Step::Rest, news: Vec::new(), ..decision }
}

fn plan(snapshot: &Snapshot<'_>, now: Timestamp) -> Decision {
    let look = Look::new(*snapshot, now);
    let view = snapshot.certificate;
    if view.deleting {
        return look.unchanged(Step::Rest);
    }
    if !snapshot.is_served {
        let namespace = view.name.namespace.as_deref().unwrap_or_default();
        let message = format!("Secrets of namespace {namespace:?} are not served by this controller");
        let news = News::warning("NamespaceNotServed", message).once_for(view.uid.as_str());
        return Decision { news: vec![news], ..look.unchanged(Step::Rest) };
    }
    if snapshot.secret == Target::Unknown {
        return look.unchanged(Step::LookLive);
    }
    if let Some((finding, again)) = look.hold() {
        return Decision {
            status: look.draft_with(Some(&finding), None).finish(),
            step: Step::Rest,
            again,
            news: Vec::new(),
        };
    }
    if let Some(decision) = look.completed() {
        return decision;
    }
    if view.is_issuing() { look.issuing() } else { look.idle() }
}

/// One look at one Certificate.
struct Look<'a> {
    s: Snapshot<'a>,
    now: Timestamp,
    wanted: Result<Wanted, SpecError>,
    next: i64,
}

impl<'a> Look<'a> {
    fn new(s: Snapshot<'a>, now: Timestamp) -> Self {
        let wanted = spec::wanted(&s.certificate.spec, s.policy.gates);
        Self { s, now, wanted, next: s.certificate.next_revision() }
    }

    fn unchanged(&self, step: Step) -> Decision {
        let status = self.s.certificate.status.clone();
        Decision { status, step, again: None, news: Vec::new() }
    }

    fn secret(&self) -> Option<&'a SecretView> {
        if let Target::There(secret) = self.s.secret { Some(secret) } else { None }
    }

    /// The requests of this Certificate.
    fn requests(&self) -> impl Iterator<Item = &'a RequestView> {
        let uid = self.s.certificate.uid.as_str();
        self.s.requests.iter().filter(move |request| request.is_owned_by(uid))
    }

    /// Of the requests of one revision the one that counts: the one with the fixed name, else the oldest.
    fn request_of(&self, revision: i64) -> Option<&'a RequestView> {
        let fixed = names::request(&self.s.certificate.name.name, revision);
        let of_revision = self.requests().filter(|request| request.revision == Some(revision));
        of_revision.min_by_key(|request| (request.name.name != fixed, request.created, &request.name))
    }

    /// Why nothing is begun or gone on with, and when to look again.
    fn hold(&self) -> Option<(Finding, Option<Timestamp>)> {
        let secret = &self.s.certificate.spec.secret_name;
        if let Some(other) = owner::other(&self.s) {
            let message = format!(
                "Secret {secret:?} belongs to Certificate {other:?}; give this one another spec.secretName"
            );
            let again = self.now.saturating_add(CONFLICT_AGAIN).ok();
            return Some((Finding { reason: "SecretNameConflict", message }, again));
        }
        let issuer = self.s.target_is_ca_of?;
        let message = format!(
            "Secret {secret:?} holds the CA of {issuer}, which is to sign; give another spec.secretName"
        );
        Some((Finding { reason: "SecretIsIssuerCA", message }, None))
    }

    /// The chain of checks against the request of `revision`.
    fn check(&self, revision: Option<i64>, last: Last) -> Option<Finding> {
        let current = revision.and_then(|revision| self.request_of(revision));
        checks::first(&self.s, Facts { wanted: &self.wanted, current, now: self.now }, last)
    }

    fn renewal(&self) -> Option<Timestamp> {
        let leaf = self.secret()?.leaf()?;
        renewal::renewal(self.s.certificate, leaf).map(|renewal| renewal.at)
    }

    /// The status with what the Secret says, for the revision that the status names.
    fn draft(&self) -> Draft<'a> {
        let unready = self.check(self.s.certificate.status.revision, Last::Expiry);
        self.draft_with(unready.as_ref(), self.secret().and_then(SecretView::leaf))
    }

    fn draft_with(
        &self,
        unready: Option<&Finding>,
        leaf: Option<&issuance::certificate::Certificate>,
    ) -> Draft<'a> {
        let draft = Draft::new(self.s.certificate, self.now);
        if !self.s.policy.enabled.readiness {
            return draft;
        }
        draft.observed(Observed { unready, leaf, renewal: self.renewal() })
    }

    /// The end of an issuance whose result is in the Secret already, whoever put it there and was interrupted then.
    fn completed(&self) -> Option<Decision> {
        if !self.s.policy.enabled.issuing {
            return None;
        }
        let (secret, request) = (self.secret()?, self.request_of(self.next)?);
        let leaf = secret.leaf()?;
        let own = &self.s.certificate.name.name;
        let is_ours = secret.annotation(api::keys::annotation::CERTIFICATE_NAME) == Some(own.as_str());
        let is_issued = request.end() == Some(RequestEnd::Issued);
        let is_same = request.certificate.is_some_and(|digest| digest.leaf == Some(leaf.fingerprint()));
        if !(is_ours && is_issued && is_same) || secret.is_temporary {
            return None;
        }
        let unready = self.check(Some(self.next), Last::Expiry);
        let status = self.draft_with(unready.as_ref(), Some(leaf)).succeeded(self.next).finish();
        let name = &self.s.certificate.spec.secret_name;
        let message = format!("certificate {} was issued and is in Secret {name:?}", leaf.serial_hex());
        Some(Decision { status, step: Step::Rest, again: None, news: vec![News::normal("Issuing", message)] })
    }

    /// The end of an attempt that failed.
    fn failed(&self, reason: &str, message: &str, failed_at: Option<Timestamp>) -> Decision {
        failure(self.draft(), reason, message, failed_at)
    }

    /// The failure of a request that nobody has recorded yet.
    fn unrecorded_failure(&self, request: &RequestView) -> Option<Decision> {
        let end = request.end().filter(|end| *end != RequestEnd::Issued)?;
        if self.is_spent(request) {
            return None;
        }
        let condition = |type_| request.condition(type_);
        let said = match end {
            RequestEnd::Denied => condition(api::conditions::DENIED),
            RequestEnd::Invalid => condition(api::conditions::INVALID_REQUEST),
            RequestEnd::Failed | RequestEnd::Issued => None,
        };
        let said = said.or_else(|| condition(api::conditions::READY));
        let reason = said.and_then(|said| said.reason.as_deref()).unwrap_or(match end {
            RequestEnd::Denied => api::conditions::REASON_DENIED,
            RequestEnd::Invalid => api::conditions::INVALID_REQUEST,
            RequestEnd::Failed | RequestEnd::Issued => api::conditions::REASON_FAILED,
        });
        let why = said.and_then(|said| said.message.as_deref()).unwrap_or("no message was given");
        let message = format!("CertificateRequest {:?} failed: {why}", request.name.name);
        Some(self.failed(reason, &message, Some(failed_at(request))))
    }

    /// Whether the failure of a request has been recorded. It stays until the next attempt begins, for the pause after it
    /// ends early when the spec asks for something else than it did.
    fn is_spent(&self, request: &RequestView) -> bool {
        let has_failed = request.end().is_some_and(|end| end != RequestEnd::Issued);
        let recorded = self.s.certificate.status.last_failure_time.as_ref();
        has_failed && recorded.is_some_and(|recorded| recorded.0 >= failed_at(request))
    }

    /// When what is served expires, if that is yet to come: then Ready changes.
    fn expiry(&self) -> Option<Timestamp> {
        let end = self.secret()?.leaf()?.not_after().saturating_add(SignedDuration::from_secs(1)).ok()?;
        (end > self.now).then_some(end)
    }
}

/// The status after an attempt that failed by what only the one who made it can know, such as a request that was refused or
/// a certificate that does not verify.
pub fn attempt_failed(snapshot: &Snapshot<'_>, reason: &str, message: &str, now: Timestamp) -> Decision {
    Look::new(*snapshot, now).failed(reason, message, None)
}

fn failure(draft: Draft<'_>, reason: &str, message: &str, failed_at: Option<Timestamp>) -> Decision {
    let status = draft.failed(reason, message, failed_at).finish();
    let news = vec![News::warning(reason.to_owned(), message)];
    Decision { status, step: Step::Rest, again: None, news }
}

/// When a request failed. By a clock that is behind it could have failed before it was made.
fn failed_at(request: &RequestView) -> Timestamp {
    request.failed_at().map_or(request.created, |at| at.max(request.created))
}

#[cfg(test)]
mod tests;
