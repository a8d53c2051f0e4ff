//! What becomes of one request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use admission::review::{self, Answer, Denial};
use api::GoDuration;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use tokio::time::Instant;

use super::judging::{self, Judged, Open, Outcome, Subject};
use super::{REVIEW_TIME_MAX, Shared};
use crate::approval;
use crate::body::{self, SMALL_BYTES_MAX};
use crate::metrics::{Endpoint, EndpointMetrics};

/// A review that takes longer than this is told in the log, with what took its time.
const SLOW_REVIEW_TIME: Duration = Duration::from_secs(1);
/// Of the time that the API server waits for an answer, this many tenths are used.
const TIME_USED_TENTHS: u32 = 8;

/// Of the time for a review, as many tenths may have passed when a right has been checked. What the API server does not say
/// by then is an error, as what it says wrongly is, and there is time to answer so.
const RIGHTS_WITHIN_TENTHS: u32 = 9;

/// What a path needs to answer.
pub(super) struct Context {
    pub(super) endpoint: Endpoint,
    pub(super) metrics: EndpointMetrics,
    pub(super) shared: Arc<Shared>,
}

/// An answer, and the review that it answers.
pub(super) struct Answered {
    api_version: Option<&'static str>,
    uid: String,
    pub(super) answer: Answer,
}

impl Answered {
    pub(super) fn without_review(uid: String, denial: Denial) -> Self {
        Self { api_version: None, uid, answer: Answer::Denied(denial) }
    }

    /// Success for every review, whatever its answer. What has no uid is none that the API server sent and would read
    /// the answer of.
    pub(super) fn http_status(&self) -> StatusCode {
        if self.uid.is_empty() && self.api_version.is_none() {
            StatusCode::from_u16(self.answer.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        } else {
            StatusCode::OK
        }
    }

    pub(super) fn into_response(self) -> Response {
        let status = self.http_status();
        let body = review::write(self.api_version, &self.uid, &self.answer);
        tracing::trace!(%status, uid = self.uid, code = self.answer.code(), bytes = body.len(), "answering");
        let json = HeaderValue::from_static("application/json");
        let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

/// What a review took its time for.
#[derive(Default)]
struct Stages {
    body: Duration,
    rules: Duration,
    slowest_rules: Vec<(&'static str, Duration)>,
    approval: Duration,
}

impl Context {
    /// Answers a POST.
    pub(super) async fn answer(self: &Arc<Self>, uri: &Uri, headers: &HeaderMap, body: Body) -> Answered {
        let (started, time_max) = (Instant::now(), time_max(uri));
        let held = match body::read(&self.shared.bodies, body).await {
            Ok(held) => held,
            Err(denial) => return Answered::without_review(String::new(), denial),
        };
        let body = &held.bytes;
        // What is in it stays out of the log: a Certificate may hold the password of a keystore.
        tracing::trace!(path = self.endpoint.path(), bytes = body.len(), "asked");
        if let Err(denial) = check_content_type(headers) {
            return Answered::without_review(review::uid_of(body), denial);
        }
        let mut stages = Stages { body: started.elapsed(), ..Stages::default() };
        let rights_by = started + time_max / 10 * RIGHTS_WITHIN_TENTHS;
        let reviewed = AssertUnwindSafe(self.review(body, rights_by, &mut stages)).catch_unwind();
        let answered = match tokio::time::timeout_at(started + time_max, reviewed).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => {
                self.metrics.panicked();
                let denial = Denial::internal("the review met a defect of the webhook; its log has details");
                Answered::without_review(review::uid_of(body), denial)
            }
            Err(_) => {
                let message = format!("the review was not answered within {time_max:?}; try again");
                Answered::without_review(review::uid_of(body), Denial::new(504, "Timeout", message))
            }
        };
        let time = started.elapsed();
        if time >= SLOW_REVIEW_TIME {
            let Stages { body, rules, slowest_rules, approval } = stages;
            let (path, uid) = (self.endpoint.path(), &answered.uid);
            tracing::info!(path, uid, ?time, ?body, ?rules, ?slowest_rules, ?approval, "a review was slow");
        }
        answered
    }

    async fn review(self: &Arc<Self>, body: &Bytes, rights_by: Instant, stages: &mut Stages) -> Answered {
        let judged = match self.judged_here(body) {
            Some(judged) => judged,
            None => match self.judged_in_turn(body.clone()).await {
                Ok(judged) => judged,
                Err(denial) => return Answered::without_review(review::uid_of(body), denial),
            },
        };
        let Judged { api_version, uid, operation, kind, outcome, subject, time, slowest } = judged;
        (stages.rules, stages.slowest_rules) = (time, slowest);
        let answer = match outcome {
            Outcome::Answer(answer) => answer,
            Outcome::Open(open) => {
                let started = Instant::now();
                let authorised = self.authorised(*open, kind, &subject);
                let answer = tokio::time::timeout_at(rights_by, authorised).await.unwrap_or_else(|_| {
                    let text = "the API server did not say in time whether the user may approve";
                    tracing::warn!(namespace = subject.namespace, name = subject.name, "{text}");
                    undecided(text)
                });
                stages.approval = started.elapsed();
                answer
            }
        };
        if let Some(operation) = operation {
            self.metrics.judged(kind, &answer);
            self.metrics.decided(kind, operation, &answer);
        }
        if let Answer::Denied(denial) = &answer {
            let Subject { resource, namespace, name, user } = &subject;
            tracing::debug!(
                resource,
                namespace,
                name,
                user,
                code = denial.code,
                "denied: {}",
                denial.message
            );
        }
        Answered { api_version, uid, answer }
    }

    /// Judges what is small at once. None: it is not.
    fn judged_here(&self, body: &[u8]) -> Option<Judged> {
        (body.len() <= SMALL_BYTES_MAX).then(|| judging::small(self.endpoint, body, &self.shared.judge))?
    }

    /// Judges what is large on a thread of its own, one review at a time, so that others need not wait for it.
    async fn judged_in_turn(self: &Arc<Self>, body: Bytes) -> Result<Judged, Denial> {
        let place = Arc::clone(&self.shared.waiting).try_acquire_owned().map_err(|_| crowded())?;
        let turns = Arc::clone(&self.shared.turns);
        let (turn, context) = (turns.acquire_owned().await, Arc::clone(self));
        let judging = tokio::task::spawn_blocking(move || {
            let judged = judging::large(context.endpoint, &body, &context.shared.judge);
            drop((turn, place));
            judged
        });
        // It is not aborted, so what failed is a defect; who counts those is told.
        Ok(judging.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
    }

    /// The answer to an approval or denial, after the check of the right to it.
    async fn authorised(&self, mut open: Open, kind: &'static str, subject: &Subject) -> Answer {
        let authorizer = self.shared.authorizer.as_ref();
        let grants = self.shared.judge.grants;
        match approval::check(authorizer, grants, &open.decision, &open.requester).await {
            Ok(None) => {}
            Ok(Some(finding)) => open.verdict.denials.insert(0, finding),
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(namespace = subject.namespace, name = subject.name, "{text}");
                return undecided(&text);
            }
        }
        open.answer(kind, subject, self.shared.judge.forbids_only)
    }
}

/// What is told where a right could not be checked.
fn undecided(why: &str) -> Answer {
    Answer::Denied(Denial::internal(format!("{why}; nothing was decided, try again")))
}

/// What is told where too many large reviews wait already.
fn crowded() -> Denial {
    Denial::new(503, "ServiceUnavailable", "too many large reviews wait to be judged; try again")
}

/// Time for a review. The API server tells how long it waits, as its configurations say: `?timeout=5s`. Somebody else's
/// may say less than the chart's.
fn time_max(uri: &Uri) -> Duration {
    let parameters = uri.query().unwrap_or_default().split('&');
    let told = parameters.filter_map(|parameter| parameter.strip_prefix("timeout=")).next_back();
    let told = told.and_then(|text| Duration::try_from(GoDuration::new(text).parse().ok()?).ok());
    told.map_or(REVIEW_TIME_MAX, |told| (told / 10).saturating_mul(TIME_USED_TENTHS).min(REVIEW_TIME_MAX))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Denial> {
    let given = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let given = String::from_utf8_lossy(given);
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = format!("content type {given:?} is not supported; send application/json");
    Err(Denial::new(415, "UnsupportedMediaType", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_answered_before_the_api_server_gives_up() {
        let check = |query: &str, wanted: u64| {
            let uri = format!("/validate{query}").parse().unwrap();
            assert_eq!(time_max(&uri), Duration::from_millis(wanted), "{query}");
        };
        for query in
            ["", "?", "?timeout", "?timeout=", "?timeout=never", "?timeout=-1s", "?a=1s", "?timeout=30s"]
        {
            check(query, 8_000);
        }
        check("?timeout=10s", 8_000);
        check("?timeout=5s", 4_000);
        check("?a=b&timeout=1.5s&c=d", 1_200);
    }
}
