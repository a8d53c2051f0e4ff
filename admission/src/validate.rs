//! From a review to a verdict: which kind, which objects, which rules. It asks nobody but the clock.

use std::time::{Duration, Instant};

use rules::{Case, Context, Judged, Kind, Object, Requester, Verdict};
use serde_json::value::RawValue;

use crate::decision::{Decision, decision};
use crate::review::{About, Denial, Operation, Request};
use crate::weight;

/// What can be said about a review without asking anybody.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// The object in question.
    pub about: About<'a>,
    /// What the rules say.
    pub verdict: Verdict,
    /// An approval whose right has yet to be checked.
    pub decision: Option<Decision>,
    /// How long the rules took.
    pub time: Duration,
    /// The slowest rules, where the whole of them was slow.
    pub slowest: Vec<(&'static str, Duration)>,
}

/// Rules that take longer than this together are asked which of them it was. All of them take some ten microseconds for
/// a usual object, and a millisecond for a very large one.
const SLOW_RULES_TIME: Duration = Duration::from_millis(50);
/// How many of the slowest are told.
const SLOWEST_MAX: usize = 3;

/// A review with rules for its objects, which have been weighed and not been parsed yet.
#[derive(Debug, Clone, Copy)]
pub struct Weighed<'a> {
    request: &'a Request<'a>,
    kind: Kind,
    /// Most memory that the objects may take once they are parsed, in bytes.
    weight: usize,
}

/// Most memory that the objects of a review may take once they are parsed. The largest lists of names that etcd can store
/// weigh 3 MiB, ten thousand names of other kinds 9 MiB, and a thousand ACME solvers 10 MiB, before and after.
const PARSED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Objects that weigh more than this are large. Nearly all weigh less.
const LARGE_BYTES_MIN: usize = 256 * 1024;

/// Weighs the objects of a review before they are parsed. None: it is of no concern to us.
///
/// # Errors
/// A denial, when the review does not say what it is about, or parsing the objects could take too much memory.
pub fn weigh<'a>(request: &'a Request<'a>) -> Result<Option<Weighed<'a>>, Denial> {
    let resource = &request.resource;
    let kind = rules::kind_of_resource(&resource.group, &resource.version, &resource.resource)?;
    if matches!(request.operation, Operation::Delete | Operation::Connect) {
        return Ok(None);
    }
    let Some(kind) = kind else {
        return Ok(None);
    };
    let objects = [request.object, request.old_object].into_iter().flatten();
    let weight = objects.fold(0, |sum: usize, json| sum.saturating_add(weight::parsed_bytes_max(json.get())));
    if weight <= PARSED_BYTES_MAX {
        return Ok(Some(Weighed { request, kind, weight }));
    }
    let message = format!(
        "the object and what is stored of it have too many members and items: reading them could take {weight} bytes, \
         and at most {PARSED_BYTES_MAX} can be spared; split the object"
    );
    Err(Denial::new(413, "RequestEntityTooLarge", message))
}

impl<'a> Weighed<'a> {
    /// Whether the objects are so large that they should be judged one review at a time: then 32 MiB are enough for all
    /// reviews together.
    pub fn is_large(&self) -> bool {
        self.weight >= LARGE_BYTES_MIN
    }

    /// Parses the objects and judges them.
    ///
    /// # Errors
    /// A denial, when the review is broken in itself.
    pub fn judge(self, context: Context<'_>) -> Result<Judgement<'a>, Denial> {
        let Self { request, kind, .. } = self;
        match kind {
            Kind::Certificate => judge::<api::CertificateSpec>(request, kind, context, |_| None),
            Kind::CertificateRequest => {
                judge(request, kind, context, |case| decision(case, &request.namespace))
            }
            Kind::Issuer | Kind::ClusterIssuer => judge::<api::IssuerSpec>(request, kind, context, |_| None),
            Kind::Order => judge::<api::OrderSpec>(request, kind, context, |_| None),
            Kind::Challenge => judge::<api::ChallengeSpec>(request, kind, context, |_| None),
        }
    }
}

/// Judges a review, however large. None: it is of no concern to us.
///
/// # Errors
/// A denial, when the review is broken in itself, or parsing its objects could take too much memory.
pub fn validate<'a>(request: &'a Request<'a>, context: Context<'_>) -> Result<Option<Judgement<'a>>, Denial> {
    weigh(request)?.map(|weighed| weighed.judge(context)).transpose()
}

fn judge<'a, S: Judged>(
    request: &'a Request<'a>,
    kind: Kind,
    context: Context<'_>,
    decision: impl Fn(&Case<'_, S>) -> Option<Decision>,
) -> Result<Judgement<'a>, Denial> {
    let object = read::<S>(request.object, "object", kind)?;
    let old = match request.operation {
        Operation::Update => Some(read::<S>(request.old_object, "oldObject", kind)?),
        Operation::Create | Operation::Delete | Operation::Connect => None,
    };
    // Nothing else is judged by it, so whatever it is like is no reason to refuse anything else.
    let requester = match kind {
        Kind::CertificateRequest => Some(request.requester()?),
        // B22 goes by the name alone.
        Kind::Challenge => Some(Requester { username: request.username(), ..Requester::default() }),
        Kind::Certificate | Kind::Issuer | Kind::ClusterIssuer | Kind::Order => None,
    };
    let case = Case {
        object: &object,
        old: old.as_ref(),
        subresource: request.subresource(),
        requester: requester.as_ref(),
        context,
    };
    let started = Instant::now();
    let verdict = rules::judge(&case);
    let time = started.elapsed();
    Ok(Judgement {
        about: About { name: &request.name, group: kind.group(), kind: kind.as_str() },
        verdict,
        decision: decision(&case),
        time,
        slowest: if time < SLOW_RULES_TIME { Vec::new() } else { slowest(&case) },
    })
}

/// Evaluates the rules once more, with a look at the clock after each.
fn slowest<S: Judged>(case: &Case<'_, S>) -> Vec<(&'static str, Duration)> {
    let (mut times, mut last) = (Vec::new(), Instant::now());
    rules::each_rule(case, |rule| {
        let now = Instant::now();
        times.push((rule.id, now.duration_since(last)));
        last = now;
    });
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    times.truncate(SLOWEST_MAX);
    times
}

fn read<S: Judged>(json: Option<&RawValue>, member: &str, kind: Kind) -> Result<Object<S>, Denial> {
    let Some(json) = json else {
        return Err(Denial::malformed(format!("the request has no {member}")));
    };
    let object: Object<S> = serde_json::from_str(json.get()).map_err(|error| {
        Denial::malformed(format!("cannot read the {member} as {}: {error}", kind.as_str()))
    })?;
    rules::check_kind(member, &object.api_version, &object.kind, kind)?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::review;

    fn request(edit: impl FnOnce(&mut Value)) -> Value {
        let mut request = json!({
            "uid": "u", "operation": "CREATE", "name": "web", "namespace": "team-a",
            "resource": {"group": "cert-manager.io", "version": "v1", "resource": "certificates"},
            "object": {
                "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                "metadata": {"name": "web"},
                "spec": {"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": ["a.test"]},
            },
        });
        edit(&mut request);
        request
    }

    /// The outcome in a few words: the code and message of a denial, the ids of broken rules, or that it passed.
    fn outcome(request: &Value) -> String {
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": request})
        .to_string();
        let review = review::read(body.as_bytes()).unwrap();
        match validate(&review.request, Context::default()) {
            Err(denial) => format!("{} {}", denial.code, denial.message),
            Ok(None) => "not ours".to_owned(),
            Ok(Some(judgement)) => {
                let ids: Vec<&str> = judgement.verdict.denials.iter().map(|denial| denial.rule.id).collect();
                format!("judged {} {ids:?}", judgement.about.kind)
            }
        }
    }

    fn check(wanted: &str, edit: impl FnOnce(&mut Value)) {
        assert_eq!(outcome(&request(edit)), wanted);
    }

    #[test]
    fn a_review_that_hides_what_it_is_about_is_forbidden() {
        check("403 the review does not say which resource it is about", |request| {
            request["resource"] = json!({});
        });
        check("403 the review does not say which resource it is about", |request| {
            request["operation"] = json!("DELETE");
            request.as_object_mut().unwrap().remove("resource");
        });
        check(
            "403 the object is \"Issuer\" of \"cert-manager.io/v1\", which is not what the resource holds: Certificate of cert-manager.io/v1",
            |request| request["object"]["kind"] = json!("Issuer"),
        );
        check(
            "403 the oldObject is \"Certificate\" of \"v1\", which is not what the resource holds: Certificate of cert-manager.io/v1",
            |request| {
                request["operation"] = json!("UPDATE");
                request["oldObject"] = json!({"apiVersion": "v1", "kind": "Certificate"});
            },
        );
    }

    #[test]
    fn a_review_without_its_objects_is_malformed() {
        check("400 the request has no object", |request| request["object"] = json!(null));
        check("400 the request has no oldObject", |request| {
            request["operation"] = json!("UPDATE");
        });
        check(
            "400 cannot read the object as Certificate: invalid type: string \"a\", expected a sequence at line 1 column 104",
            |request| {
                request["object"] = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                    "metadata": {"name": "web"}, "spec": {"dnsNames": "a"}});
            },
        );
    }

    #[test]
    fn an_object_that_would_take_too_much_memory_is_not_parsed() {
        let solvers = |count: usize| {
            request(|request| {
                request["resource"]["resource"] = json!("issuers");
                request["object"] = json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer",
                    "spec": {"acme": {"solvers": vec![json!({}); count]}}});
            })
        };
        assert_eq!(
            outcome(&solvers(50_000)),
            "413 the object and what is stored of it have too many members and items: reading them could take \
             38402688 bytes, and at most 33554432 can be spared; split the object"
        );
        let mut update = solvers(25_000);
        update["operation"] = json!("UPDATE");
        update["oldObject"] = update["object"].clone();
        assert!(outcome(&update).starts_with("413 "), "both count");
        assert!(outcome(&solvers(1_000)).starts_with("judged Issuer"));
    }

    #[test]
    fn an_object_of_many_parts_is_large() {
        let is_large = |count: usize| {
            let request =
                request(|request| request["object"]["spec"]["dnsNames"] = json!(vec!["a.test"; count]));
            let body =
                json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
            let body = body.to_string();
            let review = review::read(body.as_bytes()).unwrap();
            weigh(&review.request).unwrap().unwrap().is_large()
        };
        assert!(is_large(2_100));
        assert!(!is_large(1_900));
    }

    #[test]
    fn twenty_thousand_names_are_judged_before_and_after() {
        let names: Vec<String> = (0..20_000).map(|number| format!("host-{number}.example.com")).collect();
        check("judged Certificate []", |request| {
            request["object"]["spec"]["dnsNames"] = json!(names);
            request["operation"] = json!("UPDATE");
            request["oldObject"] = request["object"].clone();
        });
    }

    #[test]
    fn who_asks_is_of_concern_for_requests_alone() {
        for user in [json!({"username": "alice", "groups": vec![""; 100_000]}), json!("alice"), json!(null)] {
            check("judged Certificate []", |request| request["userInfo"] = user.clone());
            let issuer =
                json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "spec": {"selfSigned": {}}});
            check("judged Issuer []", |request| {
                request["userInfo"] = user.clone();
                request["resource"]["resource"] = json!("issuers");
                request["object"] = issuer;
            });
        }
        let outcome = outcome(&request(|request| {
            request["userInfo"] = json!({"groups": vec![""; 100_000]});
            request["resource"]["resource"] = json!("certificaterequests");
            request["object"] = json!({"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest"});
        }));
        assert!(outcome.starts_with("400 the userInfo has too many groups"), "{outcome}");
    }

    #[test]
    fn a_wrong_object_is_judged() {
        check("judged Certificate [\"C01\", \"C03\", \"C11\"]", |request| {
            request["object"]["spec"] = json!({});
        });
        check("judged ClusterIssuer [\"I01\"]", |request| {
            request["resource"]["resource"] = json!("clusterissuers");
            request["object"] = json!({"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer"});
        });
    }

    #[test]
    fn what_has_no_rules_passes() {
        check("not ours", |request| request["operation"] = json!("DELETE"));
        check("not ours", |request| request["operation"] = json!("CONNECT"));
        check("not ours", |request| request["resource"]["resource"] = json!("widgets"));
        check("not ours", |request| request["resource"]["version"] = json!("v1alpha2"));
    }

    #[test]
    fn the_slowest_rules_are_told_slowest_first() {
        let object = Object::<api::CertificateSpec>::default();
        let slowest = slowest(&Case::create(&object));
        assert_eq!(slowest.len(), SLOWEST_MAX);
        assert!(slowest.is_sorted_by_key(|(_, time)| std::cmp::Reverse(*time)), "{slowest:?}");
        assert!(rules::table().any(|rule| rule.id == slowest[0].0));
    }

    #[test]
    fn a_good_object_is_judged_without_findings() {
        check("judged Certificate []", |_| {});
    }
}
