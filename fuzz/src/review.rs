//! What an API server sends the webhook: the envelope, and the objects in it.

use std::sync::LazyLock;

use admission::review::{self, Answer, Denial, Request};
use admission::{mutate, validate};
use jiff::Timestamp;
use rules::{Context, Settings};
use serde_json::Value;

/// What the rules know besides the objects: nothing that changes from run to run.
static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

/// The version in which an answer is written.
const API_VERSION: &str = "admission.k8s.io/v1";

/// Bytes as a review, for both endpoints. What is answered is JSON about that very review, and the same each time.
///
/// # Panics
/// When a property does not hold.
pub fn review(data: &[u8]) {
    let review = match review::read(data) {
        Ok(review) => review,
        Err(denial) => return check(&review::uid_of(data), Err(denial)),
    };
    let uid = review.request.uid.as_ref();
    let [first, second] = [(); 2].map(|()| written(uid, validated(&review.request)));
    assert_eq!(first, second, "the verdict differs from one time to the next");
    check(uid, validated(&review.request));
    check(uid, mutate::mutate(&review.request));
}

fn validated(request: &Request<'_>) -> Result<Answer, Denial> {
    let context = Context { settings: &SETTINGS, now: Some(Timestamp::UNIX_EPOCH), cluster: None };
    let Some(judgement) = validate::validate(request, context)? else {
        return Ok(Answer::Allowed { warnings: Vec::new() });
    };
    let is_denied = !judgement.verdict.denials.is_empty();
    let answer = Answer::of_verdict(judgement.verdict, &judgement.about, false);
    assert_eq!(matches!(answer, Answer::Denied(_)), is_denied, "an answer that is not the verdict");
    Ok(answer)
}

fn written(uid: &str, answer: Result<Answer, Denial>) -> Vec<u8> {
    review::write(Some(API_VERSION), uid, &answer.unwrap_or_else(Answer::Denied))
}

fn check(uid: &str, answer: Result<Answer, Denial>) {
    let is_allowed = !matches!(answer, Err(_) | Ok(Answer::Denied(_)));
    let text = written(uid, answer);
    let json: Value = serde_json::from_slice(&text).expect("what we write is JSON");
    let response = &json["response"];
    assert_eq!(response["uid"], uid, "the answer is about another review");
    assert_eq!(response["allowed"], is_allowed);
    if !is_allowed {
        let code = response["status"]["code"].as_u64().unwrap_or_default();
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert!((400..600).contains(&code) && !message.is_empty(), "a denial without words: {response}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn every_property_holds_of_right_wrong_and_broken_reviews() {
        let certificate = |spec: serde_json::Value| {
            json!({"apiVersion": super::API_VERSION, "kind": "AdmissionReview", "request": {
                "uid": "u", "operation": "CREATE", "name": "web", "namespace": "team-a",
                "resource": {"group": "cert-manager.io", "version": "v1", "resource": "certificates"},
                "userInfo": {"username": "alice"},
                "object": {"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                    "metadata": {"name": "web"}, "spec": spec},
            }})
        };
        for text in [
            String::new(),
            "{".to_owned(),
            json!({"request": {"uid": "u"}}).to_string(),
            certificate(json!({})).to_string(),
            certificate(json!({"secretName": 7})).to_string(),
            certificate(json!({"secretName": "a", "issuerRef": {"name": "b"}, "dnsNames": ["c"]}))
                .to_string(),
            certificate(
                json!({"secretName": "a", "issuerRef": {"name": "b"}, "dnsNames": vec!["c"; 10_000]}),
            )
            .to_string(),
        ] {
            super::review(text.as_bytes());
        }
    }
}
