//! What left which source when, and what is therefore retired: taken out of bundles before it expires.
//!
//! Only what was seen in a target's own source is ever retired. A certificate that somebody else put into a bundle is
//! none of ours, and one that came from a source which the target names no more has become such a one. So what is
//! forgotten, by a bound or because the memory was lost, stays in bundles until it expires: the safe side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::fingerprint::Fingerprint;
use jiff::{SignedDuration, Timestamp};
use runtime::watch::ObjectName;

use crate::reference::SourceRef;

/// Certificates remembered that have left one source: a CA that rotates each week comes to 52 in a year, and a list of many
/// roots may be exchanged at once. Those that are there are not counted, or a long list would leave no room for them.
const LEFT_MAX: usize = 256;
/// Bytes of all that is remembered, as text: half of what a ConfigMap can hold.
const BYTES_MAX: usize = 512 * 1024;
/// What is written in place of a time, of a certificate that is in its source.
const PRESENT: &str = "present";

/// How long a certificate stays in bundles after it has left its source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retention {
    /// Until it expires.
    #[default]
    UntilExpiry,
    /// For this time, or until it expires.
    For(SignedDuration),
}

/// The certificates of one source, and when each left it; None: it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(BTreeMap<Fingerprint, Option<Timestamp>>);

impl History {
    /// When this certificate left the source; None: it is there, or was never seen there.
    pub fn left(&self, certificate: &Certificate) -> Option<Timestamp> {
        self.0.get(&certificate.fingerprint()).copied().flatten()
    }

    /// When this certificate is to be taken out; None: not before it expires.
    pub fn retirement(&self, certificate: &Certificate, retention: Retention) -> Option<Timestamp> {
        let Retention::For(time) = retention else { return None };
        let left = self.left(certificate)?;
        Some(left.saturating_add(time).unwrap_or(Timestamp::MAX))
    }

    /// Takes in what the source holds now; whether that is news.
    fn observe(&mut self, bundle: &Bundle, now: Timestamp) -> bool {
        let present: BTreeSet<Fingerprint> =
            bundle.certificates().iter().map(Certificate::fingerprint).collect();
        let before = self.clone();
        for (fingerprint, left) in &mut self.0 {
            if !present.contains(fingerprint) {
                left.get_or_insert(now);
            }
        }
        self.0.extend(present.into_iter().map(|fingerprint| (fingerprint, None)));
        self.bound();
        *self != before
    }

    /// Forgets what left first, if too many have left.
    fn bound(&mut self) {
        let left = self.0.iter().filter_map(|(fingerprint, left)| Some(((*left)?, *fingerprint)));
        let mut left: Vec<(Timestamp, Fingerprint)> = left.collect();
        left.sort();
        let excess = left.len().saturating_sub(LEFT_MAX);
        for (_, fingerprint) in left.into_iter().take(excess) {
            self.0.remove(&fingerprint);
        }
    }
}

/// The histories of all sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(BTreeMap<SourceRef, History>);

impl Memory {
    /// Takes in what a source holds now; whether that is news, which must then be kept.
    pub fn observe(&mut self, source: &SourceRef, bundle: &Bundle, now: Timestamp) -> bool {
        let is_news = self.0.entry(source.clone()).or_default().observe(bundle, now);
        if is_news {
            self.bound();
        }
        is_news
    }

    /// What is known of a source; nothing, if it was never seen.
    pub fn history(&self, source: &SourceRef) -> Option<&History> {
        self.0.get(source)
    }

    /// Forgets the sources that no target names; whether there were any.
    pub fn prune(&mut self, is_named: impl Fn(&SourceRef) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|source, _| is_named(source));
        self.0.len() != before
    }

    /// The memory as text: a line for each source, and below it one for each of its certificates.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (source, history) in &self.0 {
            text.push_str(&source_line(source));
            for (fingerprint, left) in &history.0 {
                text.push_str(&certificate_line(fingerprint, *left));
            }
        }
        text
    }

    /// Reads such a text. A line that cannot be understood is forgotten, and with a source what belongs to it.
    pub fn read(text: &str) -> Self {
        let mut memory = Self::default();
        let mut source = None;
        for line in text.lines() {
            match line.strip_prefix("  ") {
                None => source = read_source(line),
                Some(entry) => {
                    if let (Some(source), Some((fingerprint, left))) = (&source, read_certificate(entry)) {
                        let history: &mut History = memory.0.entry(source.clone()).or_default();
                        history.0.insert(fingerprint, left);
                    }
                }
            }
        }
        memory.0.values_mut().for_each(History::bound);
        memory.bound();
        memory
    }

    /// Forgets what left its source first, until the rest is small enough.
    fn bound(&mut self) {
        let mut excess = self.to_text().len().saturating_sub(BYTES_MAX);
        if excess == 0 {
            return;
        }
        let mut all: Vec<(Timestamp, SourceRef, Fingerprint)> = Vec::new();
        for (source, history) in &self.0 {
            let entries = history.0.iter();
            all.extend(entries.map(|(name, left)| (left.unwrap_or(Timestamp::MAX), source.clone(), *name)));
        }
        all.sort();
        for (_, source, fingerprint) in all {
            let Some(history) = self.0.get_mut(&source) else { continue };
            if let Some(left) = history.0.remove(&fingerprint) {
                excess = excess.saturating_sub(certificate_line(&fingerprint, left).len());
            }
            if history.0.is_empty() {
                excess = excess.saturating_sub(source_line(&source).len());
                self.0.remove(&source);
            }
            if excess == 0 {
                return;
            }
        }
    }
}

fn source_line(source: &SourceRef) -> String {
    let line = |kind: &str, name: &ObjectName| format!("{kind} {name}\n");
    match source {
        SourceRef::Secret(name) => line("secret", name),
        SourceRef::Certificate(name) => line("certificate", name),
        SourceRef::ApiServer => "api-server\n".to_owned(),
    }
}

fn certificate_line(fingerprint: &Fingerprint, left: Option<Timestamp>) -> String {
    let mut line = format!("  {fingerprint} ");
    match left {
        // Writing to a text cannot fail.
        Some(left) => _ = write!(line, "{left}"),
        None => line.push_str(PRESENT),
    }
    line.push('\n');
    line
}

fn read_source(line: &str) -> Option<SourceRef> {
    if line == "api-server" {
        return Some(SourceRef::ApiServer);
    }
    let (kind, name) = line.split_once(' ')?;
    let (namespace, name) = name.split_once('/')?;
    let name = ObjectName::namespaced(namespace, name);
    match kind {
        "secret" => Some(SourceRef::Secret(name)),
        "certificate" => Some(SourceRef::Certificate(name)),
        _ => None,
    }
}

fn read_certificate(entry: &str) -> Option<(Fingerprint, Option<Timestamp>)> {
    let (fingerprint, left) = entry.split_once(' ')?;
    let left = if left == PRESENT { None } else { Some(left.parse().ok()?) };
    Some((fingerprint.parse().ok()?, left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{now, root};

    const WEEK: Retention = Retention::For(SignedDuration::from_hours(7 * 24));

    fn secret(name: &str) -> SourceRef {
        SourceRef::Secret(ObjectName::namespaced("team-a", name))
    }

    fn after(hours: i64) -> Timestamp {
        now() + SignedDuration::from_hours(hours)
    }

    fn bundle(certificates: &[&Certificate]) -> Bundle {
        Bundle::of(certificates.iter().copied().cloned().collect())
    }

    /// A memory of one source that held these, each at an hour.
    fn seen(steps: &[(i64, &[&Certificate])]) -> Memory {
        let mut memory = Memory::default();
        for (hours, certificates) in steps {
            memory.observe(&secret("ca"), &bundle(certificates), after(*hours));
        }
        memory
    }

    fn is_retired(history: &History, certificate: &Certificate, at: Timestamp) -> bool {
        history.retirement(certificate, WEEK).is_some_and(|retirement| retirement <= at)
    }

    #[track_caller]
    fn check(memory: &Memory, certificate: &Certificate, retention: Retention, hours: i64, retired: bool) {
        let history = memory.history(&secret("ca")).unwrap();
        let retirement = history.retirement(certificate, retention);
        assert_eq!(retirement.is_some_and(|at| at <= after(hours)), retired, "after {hours} h");
    }

    #[test]
    fn what_was_never_in_the_source_is_never_retired() {
        let (ours, foreign) = (root("Ours", 900), root("Foreign", 900));
        let memory = seen(&[(0, &[&ours])]);
        check(&memory, &foreign, WEEK, 100_000, false);
        check(&memory, &ours, WEEK, 100_000, false);
        assert_eq!(memory.history(&secret("other")), None);
    }

    #[test]
    fn what_has_left_is_retired_after_the_retention_and_not_before() {
        let (old, new) = (root("Old", 900), root("New", 900));
        let memory = seen(&[(0, &[&old]), (10, &[&new]), (20, &[&new])]);
        check(&memory, &old, WEEK, 10 + 7 * 24 - 1, false);
        check(&memory, &old, WEEK, 10 + 7 * 24, true);
        check(&memory, &new, WEEK, 100_000, false);
        check(&memory, &old, Retention::UntilExpiry, 100_000, false);
        let history = memory.history(&secret("ca")).unwrap();
        assert_eq!(history.retirement(&old, WEEK), Some(after(10 + 7 * 24)));
        assert_eq!(history.retirement(&new, WEEK), None);
    }

    #[test]
    fn what_is_back_is_not_retired_and_its_time_begins_anew() {
        let (one, two) = (root("One", 900), root("Two", 900));
        let back = seen(&[(0, &[&one]), (10, &[&two]), (20, &[&one, &two])]);
        check(&back, &one, WEEK, 100_000, false);
        let gone = seen(&[(0, &[&one]), (10, &[&two]), (20, &[&one, &two]), (30, &[&two])]);
        check(&gone, &one, WEEK, 20 + 7 * 24, false);
        check(&gone, &one, WEEK, 30 + 7 * 24, true);
    }

    #[test]
    fn each_source_has_a_history_of_its_own() {
        let (shared, new) = (root("Shared", 900), root("New", 900));
        let mut memory = seen(&[(0, &[&shared])]);
        memory.observe(&secret("other"), &bundle(&[&shared]), after(0));
        memory.observe(&secret("other"), &bundle(&[&new]), after(1));
        check(&memory, &shared, WEEK, 100_000, false);
        let other = memory.history(&secret("other")).unwrap();
        assert!(is_retired(other, &shared, after(1_000)));
    }

    #[test]
    fn a_lost_memory_retires_nothing_and_counts_what_is_there_as_seen_now() {
        let (old, new) = (root("Old", 900), root("New", 900));
        let memory = seen(&[(500, &[&new])]);
        check(&memory, &old, WEEK, 100_000, false);
        let memory = seen(&[(500, &[&new]), (501, &[&old])]);
        check(&memory, &new, WEEK, 501 + 7 * 24, true);
    }

    #[test]
    fn only_a_change_is_news() {
        let (one, two) = (root("One", 900), root("Two", 900));
        let mut memory = Memory::default();
        assert!(memory.observe(&secret("ca"), &bundle(&[&one, &two]), after(0)));
        assert!(!memory.observe(&secret("ca"), &bundle(&[&two, &one]), after(1)));
        assert!(memory.observe(&secret("ca"), &bundle(&[&two]), after(2)));
        assert!(!memory.observe(&secret("ca"), &bundle(&[&two]), after(3)));
        assert!(!memory.prune(|source| *source == secret("ca")));
        assert!(memory.prune(|_| false));
        assert_eq!(memory, Memory::default());
    }

    #[test]
    fn the_text_form_keeps_everything() {
        let (one, two) = (root("One", 900), root("Two", 900));
        let mut memory = seen(&[(0, &[&one]), (1, &[&two])]);
        let certificate = SourceRef::Certificate(ObjectName::namespaced("team-b", "web.v1"));
        for source in [certificate, SourceRef::ApiServer] {
            memory.observe(&source, &bundle(&[&two]), after(2));
        }
        let text = memory.to_text();
        assert_eq!(Memory::read(&text), memory);
        assert!(
            text.contains("secret team-a/ca\n  ") && text.contains("certificate team-b/web.v1\n"),
            "{text}"
        );
        assert!(text.contains(&format!("  {} present\n", two.fingerprint())), "{text}");
        assert!(text.contains(&format!("  {} {}\n", one.fingerprint(), after(1))), "{text}");
    }

    #[test]
    fn what_cannot_be_understood_is_forgotten() {
        let name = root("One", 900).fingerprint();
        let text = format!(
            "  {name} present\nsecret nowhere\n  {name} present\nbundle a/b\n  {name} present\n\
             secret team-a/ca\n  {name}\n  {name} yesterday\n  abc present\n\nsecret team-a/ca\n  {name} present\n"
        );
        let expected = Memory([(secret("ca"), History([(name, None)].into()))].into());
        assert_eq!(Memory::read(&text), expected);
    }

    #[test]
    fn of_one_source_the_one_that_left_first_is_forgotten() {
        let mut history = History::default();
        let fingerprint = |number: usize| format!("{number:064x}").parse::<Fingerprint>().unwrap();
        for (hour, number) in (0..).zip(0..LEFT_MAX) {
            history.0.insert(fingerprint(number), Some(after(hour)));
        }
        let (old, new) = (root("Old", 900), root("New", 900));
        let last = i64::try_from(LEFT_MAX).unwrap();
        history.observe(&bundle(&[&old]), after(last));
        assert_eq!(history.0.len(), LEFT_MAX + 1, "what is there is not counted");
        history.observe(&bundle(&[&new]), after(last + 1));
        assert_eq!(history.0.len(), LEFT_MAX + 1);
        assert!(!history.0.contains_key(&fingerprint(0)) && history.0.contains_key(&fingerprint(1)));
        assert!(is_retired(&history, &old, after(100_000)));
        assert_eq!(history.0.get(&new.fingerprint()), Some(&None));
    }

    #[test]
    fn of_a_long_list_each_certificate_is_retired_that_leaves_it() {
        let list: Vec<_> = (0..70).map(|_| root("Root", 900)).collect();
        let (first, others) = list.split_first().unwrap();
        let mut memory = seen(&[(0, &list.iter().collect::<Vec<_>>())]);
        memory.observe(&secret("ca"), &bundle(&others.iter().collect::<Vec<_>>()), after(1));
        check(&memory, first, WEEK, 1 + 7 * 24, true);
        memory.observe(&secret("ca"), &bundle(&[first]), after(2));
        for certificate in others {
            check(&memory, certificate, WEEK, 2 + 7 * 24, true);
        }
    }

    #[test]
    fn all_in_all_it_stays_small_and_keeps_what_is_there() {
        let mut text = String::new();
        for source in 0..120 {
            text.push_str(&source_line(&secret(&format!("ca-{source}"))));
            for number in 0..64 {
                let fingerprint = format!("{:064x}", source * 1_000 + number).parse().unwrap();
                let left = (number > 0).then(|| after(source + number));
                text.push_str(&certificate_line(&fingerprint, left));
            }
        }
        assert!(text.len() > BYTES_MAX, "{}", text.len());
        let memory = Memory::read(&text);
        let kept = memory.to_text();
        assert!((BYTES_MAX - 200..=BYTES_MAX).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.matches(PRESENT).count(), 120);
        let youngest = format!("{:064x} {}", 119 * 1_000 + 63, after(119 + 63));
        let oldest = format!("{:064x} {}", 1, after(1));
        assert!(kept.contains(&youngest) && !kept.contains(&oldest));
    }
}
