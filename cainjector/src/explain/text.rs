//! Explanations for people.

use std::collections::HashSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{CertificateFacts, DryRun, Explanation, FieldFacts, OwnerFacts, Refused, Verdict};

/// Width of the longest [`Verdict::word`].
const WORD_WIDTH: usize = 14;

/// An explanation as text, at some moment. It ends with a newline.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    explanation: &'a Explanation,
    now: Timestamp,
}

impl Explanation {
    /// All of it, for people.
    pub fn text(&self, now: Timestamp) -> Text<'_> {
        Text { explanation: self, now }
    }

    /// The verdict in one line, and below it what would be written. No newline at the end.
    pub fn line(&self) -> String {
        let mut lines = vec![format!("{:<WORD_WIDTH$} {}", self.verdict.word(), self.target())];
        if let Verdict::Refused { reason, message } = &self.verdict {
            lines.push(format!("{:<WORD_WIDTH$}   {reason}: {message}", ""));
        }
        if let Verdict::LeftOut { message } = &self.verdict {
            lines.push(format!("{:<WORD_WIDTH$}   {message}", ""));
        }
        if let Some(Refused { reason, message }) = &self.refused {
            lines.push(format!("{:<WORD_WIDTH$}   {reason}: {message}", ""));
        }
        if let Some(exposed) = &self.exposed {
            lines.push(format!("{:<WORD_WIDTH$}   {exposed}", ""));
        }
        for field in &self.fields {
            if let Some(becomes) = &field.becomes {
                let change = change(&field.holds, becomes);
                lines.push(format!("{:<WORD_WIDTH$}   {}: {change}", "", field.path));
            }
        }
        if let Some(dry_run) = &self.dry_run {
            lines.push(format!("{:<WORD_WIDTH$}   {}", "", tried(dry_run)));
        }
        lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n")
    }
}

impl Verdict {
    /// The verdict in a word or two.
    pub fn word(&self) -> &'static str {
        match self {
            Self::InSync | Self::Deferred { .. } => "in sync",
            Self::ToBeWritten => "to be written",
            Self::ToBeReleased => "to be released",
            Self::Refused { .. } => "refused",
            Self::LeftOut { .. } => "left out",
            Self::Idle => "idle",
            Self::Deleting => "deleting",
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines { now: self.now, lines: Vec::new() };
        lines.explanation(self.explanation);
        lines.lines.iter().try_for_each(|line| writeln!(f, "{}", plain(line)))
    }
}

struct Lines {
    now: Timestamp,
    lines: Vec<String>,
}

impl Lines {
    fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn explanation(&mut self, told: &Explanation) {
        match &told.refused {
            Some(Refused { reason, message }) => self.line(format!(
                "{}: to be written: it has what --deny-certificates names; nothing is added: {reason}: {message}",
                told.target()
            )),
            None => self.line(format!("{}: {}", told.target(), self.verdict(&told.verdict))),
        }
        if let Some(exposed) = &told.exposed {
            self.line(exposed.clone());
        }
        self.line("");
        match &told.asks {
            Some(asks) => self.line(format!("Asked for by annotation {}: {:?}", asks.annotation, asks.value)),
            None => self.line("Asked for: nothing"),
        }
        for annotation in &told.passed_over {
            self.line(format!("  annotation {annotation} counts for nothing"));
        }
        for hop in &told.source {
            self.line(format!("From {}", hop.object));
            for found in &hop.found {
                self.line(format!("  {found}"));
            }
            self.certificates(&hop.certificates, false);
        }
        for field in &told.fields {
            self.line("");
            self.field(field);
        }
        self.line("");
        if let Some(dry_run) = &told.dry_run {
            self.line(tried(dry_run));
        }
        if let Some(contested) = &told.contested {
            self.line(format!(
                "Contested, as was told at {}: {}",
                self.moment(contested.last_told),
                contested.message
            ));
        }
        if let Some(next) = told.next_change {
            self.line(format!("Next change, if nothing else happens: {}", self.moment(next)));
        }
        for advice in &told.advice {
            self.line(format!("To do: {advice}"));
        }
        if self.lines.last().is_some_and(String::is_empty) {
            self.lines.pop();
        }
    }

    fn verdict(&self, verdict: &Verdict) -> String {
        match verdict {
            Verdict::InSync => "in sync: it has what it asks for".to_owned(),
            Verdict::ToBeWritten => "to be written: it does not have what it asks for".to_owned(),
            Verdict::ToBeReleased => "to be released: its bundles are about to be given up".to_owned(),
            Verdict::Deferred { until } => format!(
                "in sync; certificates that have expired are taken out with the next addition, or at {}",
                self.moment(*until)
            ),
            Verdict::Refused { reason, message } => format!("nothing is written: {reason}: {message}"),
            Verdict::LeftOut { message } => format!("not injected: {message}"),
            Verdict::Idle => "asks for nothing, and keeps what it has".to_owned(),
            Verdict::Deleting => "is being deleted: nothing is done to it any more".to_owned(),
        }
    }

    fn field(&mut self, field: &FieldFacts) {
        self.line(field.path.clone());
        match field.holds.len() {
            0 if field.damage.is_none() => self.line("  holds nothing"),
            count => self.line(format!("  holds {}", number(count))),
        }
        self.certificates(&field.holds, true);
        if let Some(damage) = &field.damage {
            self.line(format!("    damaged: {damage}"));
        }
        let owners: Vec<String> = field.owners.iter().map(owner).collect();
        if !owners.is_empty() {
            self.line(format!("  managed by {}", owners.join(", ")));
        }
        if let Some(becomes) = &field.becomes {
            self.line(format!("  would hold {}: {}", number(becomes.len()), change(&field.holds, becomes)));
            self.certificates(becomes, true);
        }
    }

    fn certificates(&mut self, certificates: &[CertificateFacts], with_source: bool) {
        for certificate in certificates {
            let CertificateFacts { subject, sha256, .. } = certificate;
            let mut notes = vec![self.validity(certificate)];
            if with_source {
                let is = if certificate.is_from_source { "of" } else { "not of" };
                notes.push(format!("{is} the source"));
            }
            if !certificate.is_ca {
                notes.push("no CA".to_owned());
            }
            self.line(format!("    {}: {}", name(subject), notes.join(", ")));
            self.line(format!("      SHA-256 {sha256}"));
        }
    }

    fn validity(&self, certificate: &CertificateFacts) -> String {
        let word = if certificate.has_expired { "expired" } else { "expires" };
        format!("{word} {}", self.moment(certificate.expires))
    }

    /// A moment, and how far away it is.
    fn moment(&self, moment: Timestamp) -> String {
        let away = moment.duration_since(self.now);
        let distance = distance(away.abs());
        let relative = if away.is_negative() { format!("{distance} ago") } else { format!("in {distance}") };
        format!("{moment} ({relative})")
    }
}

/// A length of time in its largest unit: nobody plans by the minute a month ahead.
fn distance(time: SignedDuration) -> String {
    /// From two of a larger unit on, it is the unit.
    const TWICE: i64 = 2;
    let (hours, minutes) = (time.as_hours(), time.as_mins());
    let days = hours / 24;
    match () {
        () if days >= TWICE => format!("{days} days"),
        () if hours >= TWICE => format!("{hours} hours"),
        () => format!("{minutes} minutes"),
    }
}

pub(super) fn number(certificates: usize) -> String {
    format!("{certificates} certificate{}", if certificates == 1 { "" } else { "s" })
}

/// What a write adds and takes out.
fn change(holds: &[CertificateFacts], becomes: &[CertificateFacts]) -> String {
    let lacking = |side: &[CertificateFacts], other: &[CertificateFacts], sign: &str| -> Vec<String> {
        let known: HashSet<&str> = other.iter().map(|each| each.sha256.as_str()).collect();
        let lacking = side.iter().filter(|each| !known.contains(each.sha256.as_str()));
        lacking.map(|each| format!("{sign}{}", name(&each.subject))).collect()
    };
    let changes = [lacking(becomes, holds, "+"), lacking(holds, becomes, "-")].concat();
    if changes.is_empty() { "the same in good form".to_owned() } else { changes.join(" ") }
}

fn name(subject: &str) -> &str {
    if subject.is_empty() { "(no subject)" } else { subject }
}

fn owner(owner: &OwnerFacts) -> String {
    format!("{} ({})", owner.manager, owner.operation)
}

fn tried(dry_run: &DryRun) -> String {
    match &dry_run.message {
        None => "The API server would accept it".to_owned(),
        Some(message) => format!("The API server would refuse it: {message}"),
    }
}

/// The text without characters that would do something to a terminal: subjects and annotations are other people's.
fn plain(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { '\u{fffd}' } else { each }).collect()
}
