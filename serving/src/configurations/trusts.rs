//! What is known of the own configurations, for those who wait for their trust.

use std::collections::BTreeMap;
use std::sync::Arc;

use issuance::certificate::Certificate;
use rustls::pki_types::ServerName;
use tokio::sync::watch;

use super::bundle;
use crate::Trust;

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
    pub(crate) bundles: Vec<Vec<u8>>,
    /// The same, without what was written so recently that somebody may be about to take it out again.
    pub(crate) settled: Vec<Vec<u8>>,
    /// Whether a cainjector is to write the bundles, too. It may have its reasons for what is in there.
    pub(crate) is_annotated: bool,
    /// Whether what we write is refused, or taken out again by somebody else.
    pub(crate) is_refused: bool,
    /// The names under which its webhooks are called, each once.
    pub(crate) names: Vec<ServerName<'static>>,
}

/// What is known of the own configurations at a moment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    seen: BTreeMap<&'static str, Seen>,
}

impl Observed {
    /// Whether each of them trusts `ca`, and will go on doing so as far as can be seen; empty when there are none.
    pub fn trust(&self, ca: &Certificate) -> Vec<Trust> {
        self.seen.values().map(|seen| seen.trust(ca, |reading| &reading.settled)).collect()
    }

    /// What of a configuration of this kind is settled.
    pub(super) fn settled(&self, kind: &str) -> Vec<Vec<u8>> {
        match self.seen.get(kind) {
            Some(Seen::Read(reading)) => reading.settled.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the injectors can make all of them trust a CA.
    pub fn is_in_our_hands(&self) -> bool {
        let is_ours = |seen: &Seen| matches!(seen, Seen::Read(reading) if !reading.is_refused);
        !self.seen.is_empty() && self.seen.values().all(is_ours)
    }

    /// Whether a cainjector writes, or would have to write, into one of them.
    pub fn is_left_to_others(&self) -> bool {
        let is_annotated = |seen: &Seen| matches!(seen, Seen::Read(reading) if reading.is_annotated);
        !self.is_in_our_hands() || self.seen.values().any(is_annotated)
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
    fn trust(&self, ca: &Certificate, bundles: impl Fn(&Reading) -> &Vec<Vec<u8>>) -> Trust {
        match self {
            Self::Nothing => Trust::Unknown,
            Self::Hidden => Trust::NotOurs,
            Self::Read(reading) => {
                let has = |bundle: &Vec<u8>| bundle::contains(bundle, ca);
                // Webhooks that were added are not settled.
                let is_settled = bundles(reading).len() == reading.bundles.len();
                let is_present = is_settled && bundles(reading).iter().all(has);
                if is_present { Trust::Present } else { Trust::Missing }
            }
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

    /// Whether the configuration of this kind trusts `ca` now.
    pub fn get(&self, kind: &str, ca: &Certificate) -> Trust {
        let observed = self.observed.borrow();
        observed.seen.get(kind).map_or(Trust::Unknown, |seen| seen.trust(ca, |reading| &reading.bundles))
    }

    /// The names under which the webhooks of the configuration of this kind are called, as far as they can be seen. None:
    /// it was not looked at yet.
    pub fn names(&self, kind: &str) -> Option<Vec<ServerName<'static>>> {
        match self.observed.borrow().seen.get(kind)? {
            Seen::Nothing => None,
            Seen::Hidden => Some(Vec::new()),
            Seen::Read(reading) => Some(reading.names.clone()),
        }
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
