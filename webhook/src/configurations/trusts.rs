//! What is known of the own configurations, for those who wait for their trust.

use std::collections::BTreeMap;
use std::sync::Arc;

use issuance::certificate::Certificate;
use tokio::sync::watch;

use super::bundle;
use crate::serving::Trust;

/// What was seen of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing was asked yet.
    Nothing,
    /// It does not exist, or may not be read.
    Hidden,
    /// This.
    Read(Reading),
}

/// A configuration as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The bundle of each webhook, PEM.
    pub(crate) bundles: Vec<String>,
    /// Whether a cainjector is to write the bundles, too. It may have its reasons for what is in there.
    pub(crate) is_annotated: bool,
    /// Whether what we write is refused, or taken out again by somebody else.
    pub(crate) is_refused: bool,
}

/// What is known of the own configurations at a moment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    seen: BTreeMap<&'static str, Seen>,
}

impl Observed {
    /// Whether each of them trusts `ca`; empty when there are none.
    pub fn trust(&self, ca: &Certificate) -> Vec<Trust> {
        self.seen.values().map(|seen| seen.trust(ca)).collect()
    }

    /// Whether the injectors can make all of them trust a CA.
    pub fn is_in_our_hands(&self) -> bool {
        let is_ours = |seen: &Seen| matches!(seen, Seen::Read(reading) if !reading.is_refused);
        !self.seen.is_empty() && self.seen.values().all(is_ours)
    }

    /// Whether one of them may hold `ca`, and the injectors may take it out.
    pub fn keeps(&self, ca: &Certificate) -> bool {
        self.seen.values().any(|seen| match seen {
            Seen::Nothing => true,
            Seen::Hidden => false,
            Seen::Read(reading) => reading.is_removable() && reading.holds(ca),
        })
    }
}

impl Reading {
    fn is_removable(&self) -> bool {
        !self.is_annotated && !self.is_refused
    }

    fn holds(&self, ca: &Certificate) -> bool {
        self.bundles.iter().any(|bundle| bundle::removable(bundle, ca).is_some())
    }
}

impl Seen {
    fn trust(&self, ca: &Certificate) -> Trust {
        match self {
            Self::Nothing => Trust::Unknown,
            Self::Hidden => Trust::NotOurs,
            Self::Read(reading) if reading.bundles.iter().all(|text| bundle::contains(text, ca)) => {
                Trust::Present
            }
            Self::Read(_) => Trust::Missing,
        }
    }
}

/// What is known of the own configurations; clones share it.
#[derive(Debug, Clone)]
pub struct Trusts {
    observed: Arc<watch::Sender<Observed>>,
}

impl Trusts {
    /// Nothing is known yet of the configurations of these kinds.
    pub fn of_kinds(kinds: impl IntoIterator<Item = &'static str>) -> Self {
        let seen = kinds.into_iter().map(|kind| (kind, Seen::Nothing)).collect();
        Self { observed: Arc::new(watch::Sender::new(Observed { seen })) }
    }

    /// Whether the configuration of this kind trusts `ca`.
    pub fn get(&self, kind: &str, ca: &Certificate) -> Trust {
        self.observed.borrow().seen.get(kind).map_or(Trust::Unknown, |seen| seen.trust(ca))
    }

    /// What is known now.
    pub fn observed(&self) -> Observed {
        self.observed.borrow().clone()
    }

    /// Waits for changes from now on.
    pub fn changes(&self) -> Changes {
        Changes { observed: self.observed.subscribe() }
    }

    /// Notes what was seen; whether that is news.
    pub(crate) fn set(&self, kind: &'static str, seen: Seen) -> bool {
        self.observed.send_if_modified(|observed| {
            let is_news = observed.seen.get(kind) != Some(&seen);
            observed.seen.insert(kind, seen);
            is_news
        })
    }
}

/// Tells when something else is known of the own configurations.
#[derive(Debug)]
pub struct Changes {
    observed: watch::Receiver<Observed>,
}

impl Changes {
    /// Waits for the next change.
    pub async fn next(&mut self) {
        if self.observed.changed().await.is_err() {
            std::future::pending::<()>().await; // nobody looks any more
        }
    }
}
