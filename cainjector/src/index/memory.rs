//! What the index knows of the past of its sources.

use jiff::Timestamp;

use super::{Effects, Index, Source};
use crate::reference::{SourceRef, Wanted};
use crate::rotation::{History, Memory};
use crate::target::Target;

impl Index {
    /// Takes in what was remembered when somebody last led; every target is due, since something of that may be to be
    /// taken out.
    pub fn recall(&mut self, memory: Memory) -> Effects {
        self.memory = Some(memory);
        self.sources.values_mut().for_each(Source::forget_remembered);
        let targets = self.sources.values().flat_map(|source| &source.targets);
        Effects { due: targets.cloned().collect(), ..Effects::default() }
    }

    /// Nothing is known any more: another process leads, and writes down what it sees.
    pub fn forget_memory(&mut self) {
        self.memory = None;
    }

    /// Notes what the source of a target has now, and has had since somebody looked; whether that is news.
    pub fn remember(&mut self, target: &Target, now: Timestamp) -> bool {
        let (Some(memory), Some(entry)) = (&mut self.memory, self.targets.get(target)) else { return false };
        let Wanted::Source(name) = &entry.wanted else { return false };
        let Some(source) = self.sources.get_mut(name) else { return false };
        let mut is_news = false;
        for bundle in source.take_unremembered() {
            is_news |= memory.observe(name, &bundle, now);
        }
        is_news
    }

    /// What is to be remembered, as text; None: nothing is known yet. `is_complete`: every target has been seen, so that
    /// sources which nobody names can be forgotten.
    pub fn memory_text(&mut self, is_complete: bool) -> Option<String> {
        let Self { memory, sources, .. } = self;
        let memory = memory.as_mut()?;
        if is_complete {
            memory.prune(|source: &SourceRef| sources.contains_key(source));
        }
        Some(memory.to_text())
    }

    /// The past of what a target asks for.
    pub(super) fn history(&self, wanted: &Wanted) -> History {
        let Wanted::Source(source) = wanted else { return History::default() };
        self.memory.as_ref().and_then(|memory| memory.history(source)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
