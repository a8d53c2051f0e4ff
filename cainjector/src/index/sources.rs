//! What is known of the sources, and of the objects behind them.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use issuance::bundle::Bundle;
use runtime::watch::{ObjectName, State};

use super::{Effects, Watch};
use crate::plan::{Advice, Refusal};
use crate::reference::SourceRef;
use crate::source::{Found, SourceCertificate, SourceObject, SourceSecret, api_server, certificate, secret};
use crate::target::Target;

/// CAs of one source that are remembered until every target has them. A source that rotates more often than this while
/// the API server takes no write is not rotated with care.
const RECENT_MAX: usize = 8;

/// How long they are remembered at most: an API server or a leader may be away for that long. What nobody wrote for
/// longer is not trusted by surprise, for instance by a standby that takes over years later.
const RECENT_AGE_MAX: Duration = Duration::from_secs(600);

/// A source that some target asks for.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) targets: BTreeSet<Target>,
    pub(super) found: Found<Arc<Bundle>>,
    /// How many CAs it has had.
    pub(super) generation: u64,
    /// The CAs that some of its targets may lack. One that is replaced before anybody looked may have signed certificates
    /// already that are in use.
    recent: VecDeque<Recent>,
    /// The targets that may lack one.
    behind: HashSet<Target>,
    /// The generation up to which its CAs are remembered.
    remembered: u64,
    /// What was last said of it, to its owner.
    said: Vec<Advice>,
}

#[derive(Debug)]
struct Recent {
    generation: u64,
    since: Instant,
    bundle: Arc<Bundle>,
}

impl Source {
    /// Takes in what was found; whether that is news.
    pub(super) fn update(&mut self, found: Found<Bundle>, now: Instant) -> bool {
        let is_same = match (&self.found, &found) {
            (None, None) => true,
            (Some(Ok(known)), Some(Ok(found))) => **known == *found,
            (Some(Err(known)), Some(Err(found))) => known == found,
            _ => false,
        };
        if is_same {
            return false;
        }
        self.found = found.map(|found| found.map(Arc::new));
        if let Some(Ok(bundle)) = &self.found {
            self.generation += 1;
            let recent = Recent { generation: self.generation, since: now, bundle: Arc::clone(bundle) };
            self.recent.push_back(recent);
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
            self.behind.extend(self.targets.iter().cloned());
        }
        true
    }

    /// The CAs that it has had since this generation.
    pub(super) fn since(&self, absorbed: u64, now: Instant) -> Vec<Arc<Bundle>> {
        let recent = self.recent.iter().filter(|recent| recent.generation > absorbed);
        let recent = recent.filter(|recent| now.duration_since(recent.since) <= RECENT_AGE_MAX);
        recent.map(|recent| Arc::clone(&recent.bundle)).collect()
    }

    /// The CAs that it has had since this was asked last, in order; what it has now is the last one of them.
    pub(super) fn take_unremembered(&mut self) -> Vec<Arc<Bundle>> {
        let remembered = std::mem::replace(&mut self.remembered, self.generation);
        if remembered == self.generation {
            return Vec::new();
        }
        let recent = self.recent.iter().filter(|recent| recent.generation > remembered);
        let now = self.found.as_ref().and_then(|found| found.as_ref().ok());
        recent.map(|recent| &recent.bundle).chain(now).map(Arc::clone).collect()
    }

    /// What was remembered of it is lost.
    pub(super) fn forget_remembered(&mut self) {
        self.remembered = 0;
    }

    /// What is to be said of it now; what of that is news.
    pub(super) fn say(&mut self, concerns: Vec<Advice>) -> Vec<Advice> {
        let news = concerns.iter().filter(|concern| !self.said.contains(concern)).cloned().collect();
        self.said = concerns;
        news
    }

    /// A target has all its CAs up to this generation.
    pub(super) fn absorbed(&mut self, target: &Target, generation: u64) {
        if generation == self.generation {
            self.not_behind(target);
        }
    }

    /// A target does not ask for it any more; whether it was the last.
    pub(super) fn forget(&mut self, target: &Target) -> bool {
        self.targets.remove(target);
        self.not_behind(target);
        self.targets.is_empty()
    }

    fn not_behind(&mut self, target: &Target) {
        self.behind.remove(target);
        if self.behind.is_empty() {
            self.recent.clear();
        }
    }
}

/// The watched objects, and which sources need them.
#[derive(Debug, Default)]
pub(super) struct Objects {
    certificates: HashMap<ObjectName, State<SourceCertificate>>,
    secrets: HashMap<ObjectName, Secret>,
    /// Those of them that are not watched, and why.
    refused: HashMap<Watch, Refusal>,
    /// The CA of the API server, PEM. The inner `None`: it has none.
    pub(super) api_server: Option<Option<Vec<u8>>>,
}

#[derive(Debug)]
struct Secret {
    state: State<SourceSecret>,
    users: BTreeSet<SourceRef>,
}

impl Objects {
    /// A source is asked for.
    pub(super) fn open(&mut self, source: &SourceRef, effects: &mut Effects) {
        match source {
            SourceRef::Secret(name) => self.use_secret(name.clone(), source, effects),
            SourceRef::Certificate(name) => {
                self.certificates.insert(name.clone(), State::Pending);
                effects.open.push(Watch::Certificate(name.clone()));
            }
            SourceRef::ApiServer => {}
        }
    }

    /// A source is not asked for any more.
    pub(super) fn close(&mut self, source: &SourceRef, effects: &mut Effects) {
        match source {
            SourceRef::Secret(name) => self.drop_secret(name, source, effects),
            SourceRef::Certificate(name) => {
                let Some(state) = self.certificates.remove(name) else { return };
                self.closed(Watch::Certificate(name.clone()), effects);
                if let Some(secret) = certificate::secret(name, &state) {
                    self.drop_secret(&secret, source, effects);
                }
            }
            SourceRef::ApiServer => {}
        }
    }

    /// Takes in what is known of a Secret; the sources for which that matters.
    pub(super) fn secret_seen(&mut self, name: &ObjectName, state: State<SourceSecret>) -> Vec<SourceRef> {
        let Some(secret) = self.secrets.get_mut(name) else { return Vec::new() };
        secret.state = state;
        secret.users.iter().cloned().collect()
    }

    /// Takes in what is known of a Certificate, which may name another Secret now; whether that matters to anybody.
    pub(super) fn certificate_seen(
        &mut self,
        name: &ObjectName,
        state: State<SourceCertificate>,
        effects: &mut Effects,
    ) -> bool {
        let Some(known) = self.certificates.get_mut(name) else { return false };
        let former = certificate::secret(name, known);
        let now = certificate::secret(name, &state);
        *known = state;
        let source = SourceRef::Certificate(name.clone());
        if now != former {
            if let Some(secret) = now {
                self.use_secret(secret, &source, effects);
            }
            if let Some(secret) = former {
                self.drop_secret(&secret, &source, effects);
            }
        }
        true
    }

    /// Takes in why an object is not watched, or that it is; whether that is news.
    pub(super) fn refuse(&mut self, watch: &Watch, refusal: Option<Refusal>) -> bool {
        match refusal {
            None => self.refused.remove(watch).is_some(),
            Some(refusal) => self.refused.insert(watch.clone(), refusal.clone()) != Some(refusal),
        }
    }

    /// The sources for which an object is watched.
    pub(super) fn users(&self, watch: &Watch) -> Vec<SourceRef> {
        match watch {
            Watch::Secret(name) => {
                self.secrets.get(name).into_iter().flat_map(|secret| &secret.users).cloned().collect()
            }
            Watch::Certificate(name) => vec![SourceRef::Certificate(name.clone())],
        }
    }

    /// The CA certificates of a source, or why there are none to be taken.
    pub(super) fn find(&self, source: &SourceRef) -> Found<Bundle> {
        let state = |name| self.secrets.get(name).map_or(&State::Pending, |secret| &secret.state);
        if !self.refused.is_empty()
            && let Some(refusal) = self.watches(source).iter().find_map(|watch| self.refused.get(watch))
        {
            return Some(Err(refusal.clone()));
        }
        match source {
            SourceRef::Secret(name) => secret::bundle(name, state(name)),
            SourceRef::Certificate(name) => {
                let known = self.certificates.get(name)?;
                let secret = certificate::secret(name, known);
                certificate::bundle(name, known, secret.as_ref().map_or(&State::Pending, state))
            }
            SourceRef::ApiServer => api_server::bundle(self.api_server.as_ref()),
        }
    }

    /// The object that a CA comes from, or would have to: the Secret, else the Certificate that should have one.
    pub(super) fn object(&self, source: &SourceRef) -> Option<SourceObject> {
        let secret = |name: &ObjectName| match &self.secrets.get(name)?.state {
            State::Present(secret) => {
                Some(SourceObject { kind: secret::resource(), name: name.clone(), uid: secret.uid.clone() })
            }
            _ => None,
        };
        match source {
            SourceRef::Secret(name) => secret(name),
            SourceRef::Certificate(name) => {
                let state = self.certificates.get(name)?;
                let State::Present(certificate) = state else { return None };
                let (kind, uid) = (certificate::resource(), certificate.uid.clone());
                certificate::secret(name, state)
                    .and_then(|name| secret(&name))
                    .or_else(|| Some(SourceObject { kind, name: name.clone(), uid }))
            }
            SourceRef::ApiServer => None,
        }
    }

    /// What is watched for the sake of a source.
    pub(super) fn watches(&self, source: &SourceRef) -> Vec<Watch> {
        match source {
            SourceRef::Secret(name) if self.secrets.contains_key(name) => vec![Watch::Secret(name.clone())],
            SourceRef::Certificate(name) => {
                let known = self.certificates.get_key_value(name);
                let secret = known.and_then(|(name, state)| certificate::secret(name, state));
                let certificate = known.map(|(name, _)| Watch::Certificate(name.clone()));
                certificate.into_iter().chain(secret.map(Watch::Secret)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn use_secret(&mut self, name: ObjectName, user: &SourceRef, effects: &mut Effects) {
        let fresh = || Secret { state: State::Pending, users: BTreeSet::new() };
        let secret = self.secrets.entry(name.clone()).or_insert_with(fresh);
        if secret.users.is_empty() {
            effects.open.push(Watch::Secret(name));
        }
        secret.users.insert(user.clone());
    }

    fn drop_secret(&mut self, name: &ObjectName, user: &SourceRef, effects: &mut Effects) {
        let Some(secret) = self.secrets.get_mut(name) else { return };
        secret.users.remove(user);
        if secret.users.is_empty() {
            self.secrets.remove(name);
            self.closed(Watch::Secret(name.clone()), effects);
        }
    }

    fn closed(&mut self, watch: Watch, effects: &mut Effects) {
        self.refused.remove(&watch);
        effects.close.push(watch);
    }
}
