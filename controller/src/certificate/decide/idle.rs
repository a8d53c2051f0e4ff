//! A Certificate that is not being issued: whether it has to be, and what was left behind.

use issuance::renewal::Placement;
use jiff::{SignedDuration, Timestamp};

use crate::certificate::backoff;
use crate::certificate::checks::{Finding, Last, fulfils};
use crate::certificate::decide::Look;
use crate::certificate::decide::issuing::KeySource;
use crate::certificate::drift::drift;
use crate::certificate::names;
use crate::certificate::renewal;
use crate::certificate::secret::SecretView;
use crate::certificate::snapshot::{IssuerFacts, KeystoreState, Passwords};
use crate::certificate::step::{Decision, Step};
use crate::news::News;
use crate::request::view::RequestView;

impl Look<'_> {
    pub(super) fn idle(&self) -> Decision {
        let revision = self.s.certificate.status.revision;
        let trigger = self.check(revision, Last::Renewal(self.renewal()));
        let Some(finding) = trigger.filter(|_| self.s.policy.enabled.trigger) else {
            return self.quiet(self.renewal());
        };
        let next = self.request_of(self.next);
        // Of an issuance in one go only the request and its end may have been written.
        if self.s.policy.enabled.issuing
            && let Some(request) = next.filter(|request| self.fits_spec(request))
            && let Some(failed) = self.unrecorded_failure(request)
        {
            return failed;
        }
        let waits = next.is_none_or(|request| self.fits_spec(request));
        let until = backoff::until(&self.s.certificate.status, self.s.policy.backoff).filter(|_| waits);
        match until.filter(|until| *until > self.now) {
            Some(until) => self.quiet(Some(until)),
            None => self.begin(&finding),
        }
    }

    /// The issuance in one go, if nothing about it has to wait and nothing of another attempt is there.
    pub(super) fn at_once(&self) -> Option<Step> {
        let enabled = self.s.policy.enabled;
        let all = [enabled.keys, enabled.requests, enabled.issuing, enabled.readiness, enabled.answering];
        let is_quick = all.into_iter().all(|part| part)
            && self.s.issuer == (IssuerFacts::Ready { is_synchronous: true })
            && *self.s.passwords == Passwords::Known
            && self.wanted.is_ok()
            && self.keys().next().is_none();
        if !is_quick {
            return None;
        }
        let name = names::request(&self.s.certificate.name.name, self.next);
        let mut left = self.requests().filter(|request| request.revision == Some(self.next));
        let replace = match (left.next(), left.next()) {
            (None, _) => false,
            (Some(one), None) if one.name.name == name && !one.deleting => true,
            (Some(_), _) => return None,
        };
        let reuse = match self.key_source() {
            KeySource::New => false,
            KeySource::Target => true,
            KeySource::Unreadable(_) | KeySource::Unfit(_) => return None,
        };
        Some(Step::IssueAtOnce { revision: self.next, name, replace, reuse })
    }

    fn begin(&self, finding: &Finding) -> Decision {
        let mut news = vec![News::normal("Issuing", finding.message.as_str())];
        news.extend(self.window_news(finding));
        if let Some(step) = self.at_once() {
            return Decision { news, ..self.unchanged(step) };
        }
        let draft = self.draft().begun(finding);
        let name = self.key_name();
        let draft = if self.s.policy.enabled.keys { draft.with_key(Some(&name)) } else { draft };
        Decision { status: draft.finish(), step: Step::Rest, again: None, news }
    }

    /// Nothing is to be issued, at least until `again`. What issuances left behind is taken away.
    fn quiet(&self, again: Option<Timestamp>) -> Decision {
        let enabled = self.s.policy.enabled;
        let draft = self.draft();
        let draft = if enabled.keys { draft.with_key(None) } else { draft };
        let keys = self.keys().filter(|key| enabled.keys && !key.deleting);
        let keys: Vec<String> = keys.map(|key| key.name.clone()).collect();
        let requests = if enabled.revisions { self.outdated() } else { Vec::new() };
        let step = match (keys.is_empty() && requests.is_empty(), self.is_to_be_repaired()) {
            (false, _) => Step::Delete { keys, requests },
            (true, true) => Step::Repair,
            (true, false) => Step::Rest,
        };
        let again = again.into_iter().chain(self.expiry()).filter(|at| *at > self.now).min();
        Decision { status: draft.finish(), step, again, news: Vec::new() }
    }

    /// Whether something around a pair that is as it should be is not as it should be.
    fn is_to_be_repaired(&self) -> bool {
        let Some(secret) = self.secret().filter(|_| self.s.policy.enabled.issuing) else { return false };
        let is_fit = self.check(self.s.certificate.status.revision, Last::Expiry).is_none();
        let Some(leaf) = secret.leaf().filter(|_| is_fit) else { return false };
        let drifted = drift(self.s.certificate, leaf, &secret.ours, self.s.policy.owner_refs).is_some();
        let keystores = self.s.keystores == KeystoreState::Unknown;
        (drifted || keystores) && *self.s.passwords == Passwords::Known
    }

    /// The requests beyond `spec.revisionHistoryLimit`, once the newest one is in the Secret. Those of the next revision
    /// are not history.
    fn outdated(&self) -> Vec<String> {
        let revision = self.s.certificate.status.revision;
        if self.check(revision, Last::Expiry).is_some() {
            return Vec::new();
        }
        let is_past = |request: &&RequestView| request.revision.is_none_or(|of| of < self.next);
        let mut past: Vec<&RequestView> = self.requests().filter(is_past).collect();
        past.sort_by_key(|request| std::cmp::Reverse((request.revision, request.created)));
        let limit = self.s.certificate.spec.revision_history_limit_or_default().max(1);
        let outdated = past.into_iter().skip(usize::try_from(limit).unwrap_or(usize::MAX));
        outdated.filter(|request| !request.deleting).map(|request| request.name.name.clone()).collect()
    }

    pub(super) fn fits_spec(&self, request: &RequestView) -> bool {
        self.wanted.as_ref().is_ok_and(|wanted| fulfils(request, wanted))
    }

    /// That no window opens in the life of the certificate, so it is renewed outside of them.
    fn window_news(&self, finding: &Finding) -> Option<News> {
        let leaf = self.secret().and_then(SecretView::leaf)?;
        let placed = renewal::renewal(self.s.certificate, leaf)?;
        if finding.reason != "Renewing" || placed.placement != Placement::NoWindow {
            return None;
        }
        let message =
            "no window of spec.renewal opens while the certificate is valid; it is renewed outside of them";
        Some(News::warning("WindowError", message).once_for(leaf.serial_hex()))
    }

    /// That the issuer is of a type which we do not serve: at once where there is nothing to serve, else when half of the
    /// time from the renewal to the end has passed; once a day.
    pub(super) fn unsupported_news(&self) -> (Option<News>, Option<Timestamp>) {
        let IssuerFacts::Unsupported(type_) = self.s.issuer else { return (None, None) };
        let leaf = self.secret().and_then(SecretView::leaf);
        let due = leaf.map(|leaf| {
            let from = self.renewal().unwrap_or(leaf.not_before());
            from.saturating_add(leaf.not_after().duration_since(from) / 2).unwrap_or(from)
        });
        if let Some(due) = due.filter(|due| *due > self.now) {
            return (None, Some(due));
        }
        let ends =
            leaf.map_or_else(String::new, |leaf| format!("; what is served ends at {}", leaf.not_after()));
        let message = format!("its issuer is of type {type_}, which this controller does not serve{ends}");
        let day = self.now.as_second().div_euclid(DAY.as_secs());
        let news = News::warning("IssuerTypeUnsupported", message).once_for(day.to_string());
        (Some(news), self.now.saturating_add(DAY).ok())
    }
}

const DAY: SignedDuration = SignedDuration::from_hours(24);
