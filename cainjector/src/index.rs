//! Who wants whose CA, and what is known of it: state without IO.

mod memory;
mod sources;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::watch::{ObjectName, State};

use crate::plan::{Advice, Inputs, Reason, Refusal};
use crate::reference::{SourceRef, Wanted};
use crate::rotation::Memory;
use crate::settings::Settings;
use crate::source::{SourceCertificate, SourceObject, SourceSecret};
use crate::target::{Target, TargetKind};

use sources::{Objects, Source};

/// The annotated targets and their sources. Targets without an annotation take no room.
#[derive(Debug, Default)]
pub struct Index {
    settings: Settings,
    targets: HashMap<Target, Entry>,
    sources: HashMap<SourceRef, Source>,
    objects: Objects,
    /// Whether this process leads: only then is it measured how long its targets wait.
    leads: bool,
    /// What left which source when, as far as that is to be known and was read.
    memory: Option<Memory>,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    /// The version of the target at which there was nothing left to do.
    done_at: Option<String>,
    /// The generation of its source that it has, or that the source was at when it began to ask.
    absorbed: u64,
    /// Whether it was seen to have what its source gives.
    has_had: bool,
    /// Since when it waits to be looked at, if this process leads.
    due_since: Option<Instant>,
}

/// An object that is watched because a target refers to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watch {
    /// A Secret.
    Secret(ObjectName),
    /// A Certificate.
    Certificate(ObjectName),
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::Certificate(name) => write!(f, "Certificate {name}"),
        }
    }
}

/// What a target was seen to have of the source that it asks for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Had {
    /// Nothing: it is new, or asked for another source.
    Nothing,
    /// All that the source had before it got another CA.
    Former,
    /// All that the source has: what it lacks of that, it has lost.
    All,
}

/// What follows from a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What is to be watched from now on.
    pub open: Vec<Watch>,
    /// What nobody refers to any more.
    pub close: Vec<Watch>,
    /// The targets that need a look.
    pub due: Vec<Target>,
}

impl Index {
    /// Nothing is known yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes in what a target asks for at this version of it. It is not due when nothing was left to do at that very
    /// version.
    pub fn target_seen(
        &mut self,
        target: Target,
        wanted: Wanted,
        resource_version: &str,
        now: Instant,
    ) -> Effects {
        let mut effects = Effects::default();
        let due_since = self.leads.then_some(now);
        if let Some(entry) = self.targets.get_mut(&target)
            && entry.wanted == wanted
        {
            if entry.done_at.as_deref() != Some(resource_version) {
                entry.due_since = entry.due_since.or(due_since);
                effects.due.push(target);
            }
            return effects;
        }
        // The new source first: an object that both need stays watched.
        let absorbed = self.link(&target, &wanted, &mut effects, now);
        let entry = Entry { wanted, done_at: None, absorbed, has_had: false, due_since };
        if let Some(former) = self.targets.insert(target.clone(), entry) {
            self.unlink(&target, &former.wanted, &mut effects);
        }
        effects.due.push(target);
        effects
    }

    /// Takes in that a target is gone, or asks for nothing any more.
    pub fn target_gone(&mut self, target: &Target) -> Effects {
        let mut effects = Effects::default();
        if let Some(former) = self.targets.remove(target) {
            self.unlink(target, &former.wanted, &mut effects);
        }
        effects
    }

    /// Takes in what is known of a Secret. Nothing follows unless somebody refers to it.
    pub fn secret_seen(&mut self, name: &ObjectName, state: State<SourceSecret>, now: Instant) -> Effects {
        let mut effects = Effects::default();
        for source in self.objects.secret_seen(name, state) {
            self.settle(&source, &mut effects, now);
        }
        effects
    }

    /// Takes in what is known of a Certificate. Nothing follows unless somebody refers to it.
    pub fn certificate_seen(
        &mut self,
        name: &ObjectName,
        state: State<SourceCertificate>,
        now: Instant,
    ) -> Effects {
        let mut effects = Effects::default();
        if self.objects.certificate_seen(name, state, &mut effects) {
            self.settle(&SourceRef::Certificate(name.clone()), &mut effects, now);
        }
        effects
    }

    /// Takes in that an object is not watched, and why; `None`: it is.
    pub fn not_watched(&mut self, watch: &Watch, refusal: Option<Refusal>, now: Instant) -> Effects {
        let mut effects = Effects::default();
        if self.objects.refuse(watch, refusal) {
            for source in self.objects.users(watch) {
                self.settle(&source, &mut effects, now);
            }
        }
        effects
    }

    /// Whether only targets of kinds that the operator has added need this watch.
    pub fn is_for_wider_kinds_alone(&self, watch: &Watch) -> bool {
        self.objects.users(watch).iter().all(|source| {
            // Those kinds come last.
            let first = self.sources.get(source).and_then(|source| source.targets.first());
            first.is_none_or(|target| target.kind.is_wider())
        })
    }

    /// Takes in the CA of the API server, PEM; `None`: it has none.
    pub fn api_server_seen(&mut self, ca: Option<Vec<u8>>, now: Instant) -> Effects {
        let mut effects = Effects::default();
        self.objects.api_server = Some(ca);
        self.settle(&SourceRef::ApiServer, &mut effects, now);
        effects
    }

    /// Takes in that a target asks for nothing. If it asked for something before, it is due once more, to be told of.
    pub fn target_stopped(&mut self, target: &Target, resource_version: &str, now: Instant) -> Effects {
        match self.wanted(target) {
            None | Some(Wanted::Stopped) => Effects::default(),
            Some(_) => self.target_seen(target.clone(), Wanted::Stopped, resource_version, now),
        }
    }

    /// Takes in that this has been told.
    pub fn stop_told(&mut self, target: &Target) -> Effects {
        match self.wanted(target) {
            Some(Wanted::Stopped) => self.target_gone(target),
            _ => Effects::default(),
        }
    }

    /// This ConfigMap is the process's own, and so no target, unless another one was named as that.
    pub fn keep(&mut self, own: Option<ObjectName>) {
        self.settings.own = self.settings.own.take().or(own);
    }

    /// Whether the object is never a target, whatever it asks for.
    pub fn excludes(&self, target: &Target) -> bool {
        self.settings.excludes(target)
    }

    /// What a target asks for.
    pub fn wanted(&self, target: &Target) -> Option<&Wanted> {
        self.targets.get(target).map(|entry| &entry.wanted)
    }

    /// What a plan for the target is made of. `None`: it asks for nothing, or the API server has not answered yet; then
    /// the answer will make the target due.
    pub fn inputs(&self, target: &Target, now: Instant) -> Option<Inputs> {
        let entry = self.targets.get(target)?;
        let merging = self.settings.merging;
        let inputs = |source, recent, generation| Inputs {
            wanted: entry.wanted.clone(),
            source,
            recent,
            generation,
            merging,
            withdrawal: Arc::clone(&self.settings.withdrawal),
            history: self.history(&entry.wanted),
        };
        match &entry.wanted {
            Wanted::Malformed { annotation, value } => {
                let text = format!("annotation {annotation} is {value:?}: write NAMESPACE/NAME");
                Some(inputs(Err(Refusal::new(Reason::MalformedReference, text)), Vec::new(), 0))
            }
            Wanted::Release | Wanted::Stopped => Some(inputs(Ok(Arc::default()), Vec::new(), 0)),
            Wanted::Source(source) => {
                let source = self.sources.get(source)?;
                let found = source.found.clone()?;
                Some(inputs(found, source.since(entry.absorbed, now), source.generation))
            }
        }
    }

    /// There is nothing left to do for the target at this version of it, after a look with these inputs. `has_all`: it
    /// has every certificate of them.
    pub fn done(&mut self, target: &Target, inputs: &Inputs, resource_version: String, has_all: bool) {
        let Some(entry) = self.targets.get_mut(target) else { return };
        if entry.wanted != inputs.wanted {
            return;
        }
        entry.done_at = Some(resource_version);
        entry.due_since = None;
        if has_all && let Wanted::Source(source) = &entry.wanted {
            entry.absorbed = inputs.generation;
            entry.has_had = true;
            if let Some(source) = self.sources.get_mut(source) {
                source.absorbed(target, inputs.generation);
            }
        }
    }

    /// How long the target has waited to be written, since the first event that made it due. It is known only of one that
    /// became due while this process led, and told once.
    pub fn waited(&mut self, target: &Target, now: Instant) -> Option<Duration> {
        let since = self.targets.get_mut(target)?.due_since.take()?;
        Some(now.saturating_duration_since(since))
    }

    /// Whether this process leads from now on.
    pub fn set_leading(&mut self, leads: bool) {
        self.leads = leads;
    }

    /// What the target was seen to have before of the certificates of these inputs.
    pub fn had(&self, target: &Target, inputs: &Inputs) -> Had {
        match self.targets.get(target) {
            Some(entry) if entry.wanted != inputs.wanted || !entry.has_had => Had::Nothing,
            Some(entry) if entry.absorbed == inputs.generation => Had::All,
            Some(_) => Had::Former,
            None => Had::Nothing,
        }
    }

    /// Takes in what a look has to say of the source that a target asks for. If something of that was not said before, it
    /// is returned, with the object whose owner should know.
    pub fn say_of_source(
        &mut self,
        source: &SourceRef,
        concerns: Vec<Advice>,
    ) -> Option<(SourceObject, Vec<Advice>)> {
        let news = self.sources.get_mut(source)?.say(concerns);
        if news.is_empty() { None } else { Some((self.objects.object(source)?, news)) }
    }

    /// Nobody may see any more whether targets of this kind change: each needs a look once it is seen again. These are they.
    pub fn unsettle(&mut self, kind: TargetKind) -> Vec<Target> {
        let targets = self.targets.iter_mut().filter(|(target, _)| target.kind == kind);
        let unsettled = targets.map(|(target, entry)| {
            entry.done_at = None;
            target.clone()
        });
        unsettled.collect()
    }

    /// What is watched for the sake of this target.
    pub fn watches(&self, target: &Target) -> Vec<Watch> {
        match self.wanted(target) {
            Some(Wanted::Source(source)) => self.objects.watches(source),
            _ => Vec::new(),
        }
    }

    /// The targets of this kind that are not in `seen`: a list has shown that they are gone, or ask for nothing.
    pub fn missing(&self, kind: TargetKind, seen: &HashSet<ObjectName>) -> Vec<Target> {
        let targets = self.targets.keys();
        targets.filter(|target| target.kind == kind && !seen.contains(&target.name)).cloned().collect()
    }

    /// Notes that the target asks for the source; the generation that the source is at.
    fn link(&mut self, target: &Target, wanted: &Wanted, effects: &mut Effects, now: Instant) -> u64 {
        let Wanted::Source(source) = wanted else { return 0 };
        if !self.sources.contains_key(source) {
            self.sources.insert(source.clone(), Source::default());
            if self.settings.refuses(source).is_none() {
                self.objects.open(source, effects);
            }
            self.settle(source, effects, now);
        }
        let Some(known) = self.sources.get_mut(source) else { return 0 };
        known.targets.insert(target.clone());
        known.generation
    }

    fn unlink(&mut self, target: &Target, wanted: &Wanted, effects: &mut Effects) {
        let Wanted::Source(source) = wanted else { return };
        let Some(known) = self.sources.get_mut(source) else { return };
        if known.forget(target) {
            self.sources.remove(source);
            self.objects.close(source, effects);
        }
    }

    /// Finds out anew what is known of a source; if that is news, its targets are due.
    fn settle(&mut self, source: &SourceRef, effects: &mut Effects, now: Instant) {
        let found = match self.settings.refuses(source) {
            Some(refusal) => Some(Err(refusal)),
            None => self.objects.find(source),
        };
        if let Some(known) = self.sources.get_mut(source)
            && known.update(found, now)
        {
            for target in &known.targets {
                if let Some(entry) = self.targets.get_mut(target) {
                    entry.due_since = entry.due_since.or(self.leads.then_some(now));
                }
                effects.due.push(target.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
