//! What becomes of one request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use admission::decision::Decision;
use admission::review::{self, About, Answer, Denial};
use admission::{mutate, validate};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use rules::Verdict;
use tokio::time::Instant;

use super::{REVIEW_TIME_MAX, Shared};
use crate::approval;
use crate::body;
use crate::metrics::{Endpoint, EndpointMetrics};

/// A review that takes longer than this is told in the log, with what took its time.
const SLOW_REVIEW_TIME: Duration = Duration::from_secs(1);
/// Most of a body that is logged.
const LOGGED_BYTES_MAX: usize = 8 * 1024;

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
        tracing::trace!(%status, body = %logged(&body), "answering");
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
    pub(super) async fn answer(&self, headers: &HeaderMap, body: Body) -> Answered {
        let started = Instant::now();
        let held = match body::read(&self.shared.bodies, body).await {
            Ok(held) => held,
            Err(denial) => return Answered::without_review(String::new(), denial),
        };
        let body = &held.bytes;
        tracing::trace!(path = self.endpoint.path(), body = %logged(body), "asked");
        if let Err(denial) = check_content_type(headers) {
            return Answered::without_review(review::uid_of(body), denial);
        }
        let mut stages = Stages { body: started.elapsed(), ..Stages::default() };
        let reviewed = AssertUnwindSafe(self.review(body, &mut stages)).catch_unwind();
        let answered = match tokio::time::timeout_at(started + REVIEW_TIME_MAX, reviewed).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => {
                self.metrics.panicked();
                let denial = Denial::internal("the review met a defect of the webhook; its log has details");
                Answered::without_review(review::uid_of(body), denial)
            }
            Err(_) => {
                let message = format!("the review was not answered within {REVIEW_TIME_MAX:?}; try again");
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

    async fn review(&self, body: &[u8], stages: &mut Stages) -> Answered {
        let review = match review::read(body) {
            Ok(review) => review,
            Err(denial) => return Answered::without_review(review::uid_of(body), denial),
        };
        let request = &review.request;
        let resource = &request.resource;
        let kind = rules::Kind::of_resource(&resource.group, &resource.version, &resource.resource);
        let kind = kind.map_or("", rules::Kind::as_str);
        let answer = match self.endpoint {
            Endpoint::Mutate => mutate::mutate(request),
            Endpoint::Validate => self.validate(request, stages).await,
        };
        let answer = answer.unwrap_or_else(|denial| {
            self.metrics.judged(kind, &denial.findings, &[]);
            Answer::Denied(denial)
        });
        self.metrics.decided(kind, request.operation, &answer);
        if let Answer::Denied(denial) = &answer {
            tracing::debug!(
                resource = %resource.resource,
                namespace = %request.namespace,
                name = %request.name,
                user = %request.user_info.username,
                code = denial.code,
                "denied: {}",
                denial.message
            );
        }
        Answered { api_version: Some(review.api_version), uid: review.request.uid.into_owned(), answer }
    }

    async fn validate(&self, request: &review::Request<'_>, stages: &mut Stages) -> Result<Answer, Denial> {
        let judge = &self.shared.judge;
        let Some(judgement) = validate::validate(request, judge.context(Timestamp::now()))? else {
            return Ok(Answer::Allowed { warnings: Vec::new() });
        };
        (stages.rules, stages.slowest_rules) = (judgement.time, judgement.slowest);
        let mut verdict = judgement.verdict;
        if let Some(decision) = &judgement.decision {
            let started = Instant::now();
            let outcome = self.authorise(decision, request, &mut verdict).await;
            stages.approval = started.elapsed();
            outcome?;
        }
        let About { kind, .. } = judgement.about;
        self.metrics.judged(kind, &verdict.denials, &verdict.warnings);
        Ok(Answer::of_verdict(verdict, &judgement.about, judge.forbids_only))
    }

    async fn authorise(
        &self,
        decision: &Decision,
        request: &review::Request<'_>,
        verdict: &mut Verdict,
    ) -> Result<(), Denial> {
        let authorizer = self.shared.authorizer.as_ref();
        match approval::check(authorizer, self.shared.judge.grants, decision, &request.user_info).await {
            Ok(None) => {}
            Ok(Some(finding)) => verdict.denials.insert(0, finding),
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(namespace = %request.namespace, name = %request.name, "{text}");
                return Err(Denial::internal(format!("{text}; nothing was decided, try again")));
            }
        }
        Ok(())
    }
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

/// The beginning of a body.
fn logged(body: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(body.get(..LOGGED_BYTES_MAX).unwrap_or(body))
}
