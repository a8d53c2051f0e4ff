//! A Certificate that is being issued: the key, then the request, then its end.

use api::certificate::RotationPolicy;
use jiff::Timestamp;

use crate::certificate::checks::{fulfils, is_unusable, key_of};
use crate::certificate::decide::Look;
use crate::certificate::secret::{Key, KeySecretView};
use crate::certificate::snapshot::Passwords;
use crate::certificate::spec;
use crate::certificate::status::REQUEST_FAILED;
use crate::certificate::step::{Decision, Step};
use crate::certificate::{names, view};
use crate::news::News;
use crate::request::view::{RequestEnd, RequestView};

/// Where the key of an issuance comes from.
pub(super) enum KeySource {
    /// A new one is made.
    New,
    /// The one in the Secret of the Certificate.
    Target,
    /// That one was to be taken and cannot be read, so a new one is made.
    Unreadable(String),
    /// That one was to be taken and is not of the kind that the spec asks for: somebody has to decide. How it differs.
    Unfit(String),
}

impl<'a> Look<'a> {
    pub(super) fn issuing(&self) -> Decision {
        let enabled = self.s.policy.enabled;
        // Before anything is begun: a refusal that is not recorded would be followed by the next attempt at once.
        if enabled.issuing
            && let Some(request) = self.request_of(self.next).filter(|request| self.fits_spec(request))
            && let Some(failed) = self.unrecorded_failure(request)
        {
            return failed;
        }
        // Somebody else asked for the issuance, as cmctl does, and nothing has been done for it.
        if self.s.certificate.status.next_private_key_secret_name.is_none()
            && let Some(step) = self.at_once()
        {
            return self.unchanged(step);
        }
        let (kept, dropped) = self.sorted_keys();
        let name = kept.map_or_else(|| self.key_name(), |key| key.name.clone());
        let draft = self.draft();
        let draft = if enabled.keys { draft.with_key(Some(&name)) } else { draft };
        let decision = Decision { status: draft.finish(), ..self.unchanged(Step::Rest) };
        let decision = Decision { again: self.expiry(), ..decision };
        if enabled.keys && dropped.iter().any(|key| !key.deleting) {
            return Decision { news: self.dropped_news(&dropped), ..taking_keys(&dropped, decision) };
        }
        let Some(key) = kept.filter(|key| !key.deleting) else {
            return if enabled.keys { self.key_missing(name, decision) } else { decision };
        };
        self.request(key, decision)
    }

    /// The Secrets with keys of this Certificate.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a KeySecretView> {
        let uid = self.s.certificate.uid.as_str();
        let is_own = move |key: &&KeySecretView| key.owner.as_ref().is_some_and(|owner| owner.uid == uid);
        self.s.next_keys.iter().filter(is_own)
    }

    /// Name of the Secret with the key of the next revision.
    pub(super) fn key_name(&self) -> String {
        names::key_secret(&self.s.certificate.name.name, self.next)
    }

    pub(super) fn key_source(&self) -> KeySource {
        let spec = &self.s.certificate.spec;
        if spec.rotation_policy_or_default() != RotationPolicy::Never {
            return KeySource::New;
        }
        match self.secret().map(|secret| &secret.key) {
            None | Some(Key::Absent) => KeySource::New,
            Some(Key::Bad(error)) => KeySource::Unreadable(error.clone()),
            Some(Key::Good(key)) => match spec::key(spec).violations(key) {
                Ok(paths) if !paths.is_empty() => KeySource::Unfit(paths.join(", ")),
                Ok(_) | Err(_) => KeySource::Target,
            },
        }
    }

    /// The key to go on with, and those that have to go. One that the status names is gone on with, or the one with the
    /// fixed name; another only where the status names none that is there. A key that does not fit has to go.
    fn sorted_keys(&self) -> (Option<&'a KeySecretView>, Vec<&'a KeySecretView>) {
        let fixed = self.key_name();
        let named = self.s.certificate.status.next_private_key_secret_name.as_deref();
        let is_of_another_revision = |key: &KeySecretView| {
            key.name != fixed && names::is_key_secret(&key.name, &self.s.certificate.name.name)
        };
        let rank = |key: &&KeySecretView| {
            let is_named = Some(key.name.as_str()) == named;
            (is_of_another_revision(key), !is_named, key.name != fixed, key.created, key.name.clone())
        };
        let mut keys: Vec<_> = self.keys().collect();
        keys.sort_by_key(rank);
        let mut keys = keys.into_iter();
        let first = keys.next();
        let kept = first.filter(|key| self.fits_kind(&key.key) && !is_of_another_revision(key));
        let dropped = first.filter(|_| kept.is_none()).into_iter().chain(keys).collect();
        (kept, dropped)
    }

    fn fits_kind(&self, key: &Key) -> bool {
        let Key::Good(key) = key else { return false };
        spec::key(&self.s.certificate.spec).violations(key).is_ok_and(|paths| paths.is_empty())
    }

    fn dropped_news(&self, dropped: &[&KeySecretView]) -> Vec<News> {
        let unfit = dropped.iter().filter(|key| !self.fits_kind(&key.key));
        let message = |key: &&&KeySecretView| {
            format!("the key in Secret {:?} was deleted, for it is not what the spec asks for", key.name)
        };
        unfit.map(|key| News::normal("Deleted", message(&key))).collect()
    }

    /// There is no key to go on with. One of that name which is on its way out is waited for.
    fn key_missing(&self, name: String, decision: Decision) -> Decision {
        let in_the_way = self.s.next_keys.iter().find(|key| key.name == name);
        match in_the_way {
            None => self.make_key(name, decision),
            Some(own) if self.keys().any(|key| key.uid == own.uid) => decision,
            Some(_) => {
                let message =
                    format!("Secret {name:?}, which is to hold the new key, exists and belongs to another");
                self.failed(REQUEST_FAILED, &message, None)
            }
        }
    }

    fn make_key(&self, secret: String, decision: Decision) -> Decision {
        let stored = |how: &str| format!("{how}, in Secret {secret:?} until the certificate is issued");
        let target = &self.s.certificate.spec.secret_name;
        let (reuse, news) = match self.key_source() {
            KeySource::New => (false, vec![News::normal("Generated", stored("a new private key was made"))]),
            KeySource::Target => {
                (true, vec![News::normal("Reused", stored("the private key is used again"))])
            }
            KeySource::Unreadable(error) => {
                let message = format!("the key in Secret {target:?} cannot be used again: {error}");
                let made = News::normal("Generated", stored("a new private key was made"));
                (false, vec![News::warning("DecodeFailed", message), made])
            }
            KeySource::Unfit(paths) => {
                let message = format!(
                    "the key in Secret {target:?} differs from the spec in {paths} and rotationPolicy is Never: change \
                     the spec, or delete the Secret to have a new key"
                );
                let generation = self.s.certificate.generation.unwrap_or_default();
                let news = News::warning("CannotRegenerateKey", message).once_for(generation.to_string());
                return Decision { news: vec![news], ..decision };
            }
        };
        Decision { step: Step::MakeKey { secret, reuse }, news, ..decision }
    }

    fn request(&self, key: &KeySecretView, decision: Decision) -> Decision {
        let enabled = self.s.policy.enabled;
        let chosen = self.request_of(self.next).filter(|request| self.fits(request, key));
        let is_chosen = |request: &&RequestView| chosen.is_some_and(|chosen| chosen.name == request.name);
        // Those of later revisions are of a status that was taken back.
        let is_of_this = |request: &&RequestView| request.revision.is_none_or(|of| of >= self.next);
        let others: Vec<_> = self.requests().filter(|it| is_of_this(it) && !is_chosen(it)).collect();
        if others.iter().any(|request| !request.deleting) {
            let gone = others.iter().filter(|request| !request.deleting);
            let requests = gone.map(|request| request.name.name.clone()).collect();
            let step =
                if enabled.requests { Step::Delete { keys: Vec::new(), requests } } else { Step::Rest };
            return Decision { step, ..decision };
        }
        match chosen {
            Some(request) => self.answered(request, key, decision),
            None if enabled.requests => self.ask(key, decision),
            None => decision,
        }
    }

    /// Whether a request is one to go on with: nobody has failed it yet, and it is for this key and this spec.
    fn fits(&self, request: &RequestView, key: &KeySecretView) -> bool {
        let is_for_key = || key_of(request).is_some_and(|of| Key::Good(of) == key.key);
        let is_for_spec = || self.wanted.as_ref().is_ok_and(|wanted| fulfils(request, wanted));
        !self.is_spent(request) && !request.deleting && is_for_key() && is_for_spec()
    }

    fn ask(&self, key: &KeySecretView, decision: Decision) -> Decision {
        if let Err(error) = &self.wanted {
            let message = format!("no signing request can be made of the spec: {error}");
            return self.failed(REQUEST_FAILED, &message, None);
        }
        let name = names::request(&self.s.certificate.name.name, self.next);
        if self.s.requests.iter().any(|request| request.name.name == name && request.deleting) {
            return decision;
        }
        match self.s.passwords {
            Passwords::Missing(what) => Decision { news: vec![password_news(what)], ..decision },
            Passwords::Pending => decision,
            Passwords::Known => Decision {
                news: vec![News::normal("Requested", format!("CertificateRequest {name:?} was created"))],
                step: Step::Request { revision: self.next, name, key_secret: key.name.clone() },
                ..decision
            },
        }
    }

    fn answered(&self, request: &RequestView, key: &KeySecretView, decision: Decision) -> Decision {
        if !self.s.policy.enabled.issuing {
            return decision;
        }
        let (name, key_secret) = (request.name.name.clone(), key.name.clone());
        match (request.end(), self.s.passwords) {
            (Some(RequestEnd::Issued), Passwords::Known) => {
                Decision { step: Step::Store { request: name, key_secret }, ..decision }
            }
            (Some(RequestEnd::Issued), Passwords::Missing(what)) => {
                Decision { news: vec![password_news(what)], ..decision }
            }
            (Some(RequestEnd::Issued), Passwords::Pending) => decision,
            (Some(RequestEnd::Denied | RequestEnd::Invalid | RequestEnd::Failed), _) => decision,
            (None, _) => self.pending(name, key_secret, decision),
        }
    }

    fn pending(&self, request: String, key_secret: String, decision: Decision) -> Decision {
        let certificate: &view::CertificateView = self.s.certificate;
        if certificate.temporary && is_unusable(self.s.secret) && *self.s.passwords == Passwords::Known {
            let message = format!("a temporary certificate is in Secret {:?}", certificate.spec.secret_name);
            let step = Step::StoreTemporary { request, key_secret };
            return Decision { step, news: vec![News::normal("Issuing", message)], ..decision };
        }
        let (news, due) = self.unsupported_news();
        let again: Option<Timestamp> = decision.again.into_iter().chain(due).min();
        Decision { again, news: news.into_iter().collect(), ..decision }
    }
}

fn taking_keys(dropped: &[&KeySecretView], decision: Decision) -> Decision {
    let gone = dropped.iter().filter(|key| !key.deleting);
    let keys = gone.map(|key| key.name.clone()).collect();
    Decision { step: Step::Delete { keys, requests: Vec::new() }, ..decision }
}

fn password_news(what: &str) -> News {
    News::warning("KeystorePasswordSecretNotFound", what).once_for(what)
}
