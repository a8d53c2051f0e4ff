//! What can be said of a review without asking anybody: from the bytes of a body to an answer, or to the right that has
//! to be checked first.

use std::time::Duration;

use admission::decision::Decision;
use admission::review::{self, About, Answer, Denial, Operation, Request};
use admission::{mutate, validate};
use jiff::Timestamp;
use rules::{Kind, Requester, Verdict};

use crate::judge::Judge;
use crate::metrics::Endpoint;

/// A review that was judged. It owns what it says, so that it can come from another thread.
pub(super) struct Judged {
    /// The version to answer in. None: the review could not be read.
    pub(super) api_version: Option<&'static str>,
    pub(super) uid: String,
    /// What is done. None: the review could not be read.
    pub(super) operation: Option<Operation>,
    /// The kind; empty where it is of no concern to us.
    pub(super) kind: &'static str,
    pub(super) outcome: Outcome,
    /// What the log calls the object, where it is denied or a right is to be checked.
    pub(super) subject: Subject,
    /// How long the rules took, and which of them most of it.
    pub(super) time: Duration,
    pub(super) slowest: Vec<(&'static str, Duration)>,
}

/// What is said.
pub(super) enum Outcome {
    /// All there is to say.
    Answer(Answer),
    /// A right has yet to be checked.
    Open(Box<Open>),
}

/// A verdict that lacks the check of a right.
pub(super) struct Open {
    pub(super) decision: Decision,
    pub(super) requester: Requester,
    pub(super) verdict: Verdict,
    group: &'static str,
}

impl Open {
    /// The answer, once the verdict says what the right came to.
    pub(super) fn answer(self, kind: &'static str, subject: &Subject, forbids_only: bool) -> Answer {
        let about = About { name: &subject.name, group: self.group, kind };
        Answer::of_verdict(self.verdict, &about, forbids_only)
    }
}

/// What the log calls an object.
#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) user: String,
}

impl Subject {
    fn of(request: &Request<'_>) -> Self {
        Self {
            resource: request.resource.resource.as_ref().to_owned(),
            namespace: request.namespace.as_ref().to_owned(),
            name: request.name.as_ref().to_owned(),
            user: request.username(),
        }
    }
}

/// Judges a review whose objects are small. None: they are large, and reading them has to wait for its turn.
pub(super) fn small(endpoint: Endpoint, body: &[u8], judge: &Judge) -> Option<Judged> {
    judged(endpoint, body, judge, false)
}

/// Judges a review of any size, which may take memory and time: one at a time, and where nobody waits for the thread.
pub(super) fn large(endpoint: Endpoint, body: &[u8], judge: &Judge) -> Judged {
    let nothing = || unread(body, Denial::internal("the review was not judged; try again"));
    judged(endpoint, body, judge, true).unwrap_or_else(nothing)
}

fn unread(body: &[u8], denial: Denial) -> Judged {
    Judged {
        api_version: None,
        uid: review::uid_of(body),
        operation: None,
        kind: "",
        outcome: Outcome::Answer(Answer::Denied(denial)),
        subject: Subject::default(),
        time: Duration::ZERO,
        slowest: Vec::new(),
    }
}

fn judged(endpoint: Endpoint, body: &[u8], judge: &Judge, takes_large: bool) -> Option<Judged> {
    let review = match review::read(body) {
        Ok(review) => review,
        Err(denial) => return Some(unread(body, denial)),
    };
    let request = review.request;
    let resource = &request.resource;
    let kind = Kind::of_resource(&resource.group, &resource.version, &resource.resource);
    let (mut time, mut slowest) = (Duration::ZERO, Vec::new());
    let outcome = match endpoint {
        Endpoint::Mutate => mutate::mutate(&request).map(Outcome::Answer),
        Endpoint::Validate => match validate::weigh(&request) {
            Ok(None) => Ok(Outcome::Answer(Answer::Allowed { warnings: Vec::new() })),
            Ok(Some(weighed)) if weighed.is_large() && !takes_large => return None,
            Ok(Some(weighed)) => weighed.judge(judge.context(Timestamp::now())).and_then(|judgement| {
                (time, slowest) = (judgement.time, judgement.slowest);
                let (about, verdict) = (judgement.about, judgement.verdict);
                let Some(decision) = judgement.decision else {
                    return Ok(Outcome::Answer(Answer::of_verdict(verdict, &about, judge.forbids_only)));
                };
                let (requester, group) = (request.requester()?, about.group);
                Ok(Outcome::Open(Box::new(Open { decision, requester, verdict, group })))
            }),
            Err(denial) => Err(denial),
        },
    };
    let outcome = outcome.unwrap_or_else(|denial| Outcome::Answer(Answer::Denied(denial)));
    let is_told = matches!(outcome, Outcome::Open(_) | Outcome::Answer(Answer::Denied(_)));
    Some(Judged {
        api_version: Some(review.api_version),
        operation: Some(request.operation),
        kind: kind.map_or("", Kind::as_str),
        outcome,
        subject: if is_told { Subject::of(&request) } else { Subject::default() },
        uid: request.uid.into_owned(),
        time,
        slowest,
    })
}
