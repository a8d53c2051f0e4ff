//! Rules of Order: what the ACME server answered is written once, and what is over stays so.

use api::acme::AcmeState;
use api::acme::order::{AcmeChallenge, Authorization};
use api::{OrderSpec, OrderStatus};

use crate::case::{Case, Judged};
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Kind};
use crate::{lifetime, progress};

const ORDER: &[Kind] = &[Kind::Order];

impl Judged for OrderSpec {
    type Status = OrderStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }

    fn same(&self, other: &Self) -> bool {
        let canonical = |spec: &Self| {
            let mut spec = spec.clone();
            lifetime::canonicalise(&mut spec.duration);
            spec
        };
        self == other || canonical(self) == canonical(other)
    }
}

/// A row of this table: each applies always and says that something stays once it is set.
const fn once(
    id: &'static str,
    path: &'static str,
    summary: &'static str,
    evaluate: fn(&Case<'_, OrderSpec>, &mut Findings),
) -> Check<OrderSpec> {
    Check::new(id, ORDER, path, Class::Always, summary, evaluate)
}

static TABLES: &[&[Check<OrderSpec>]] = &[RULES];

static RULES: &[Check<OrderSpec>] = &[
    once("O01", "spec.request", "The signing request stays", |case, findings| {
        let Some(old) = case.old else { return };
        let (old, new) = (&old.spec.request, &case.object.spec.request);
        if !old.0.is_empty() && old != new {
            stays(findings.path().to_owned(), findings);
        }
    }),
    once("O02", "status.url", "The URL of the order stays", |case, findings| {
        status(case, findings, |new, old| old.url.is_some() && old.url != new.url);
    }),
    once("O03", "status.finalizeURL", "The finalize URL stays", |case, findings| {
        status(case, findings, |new, old| old.finalize_url.is_some() && old.finalize_url != new.finalize_url);
    }),
    once("O04", "status.certificate", "The certificate stays", |case, findings| {
        status(case, findings, |new, old| {
            old.certificate.as_ref().is_some_and(|old| !old.0.is_empty())
                && old.certificate != new.certificate
        });
    }),
    once("O05", "status.authorizations", "The number of authorizations stays", |case, findings| {
        status(case, findings, |new, old| {
            !old.authorizations.is_empty() && old.authorizations.len() != new.authorizations.len()
        });
    }),
    once("O06", "status.authorizations[*].url", "The URL of an authorization stays", |case, findings| {
        authorizations(case, "url", findings, |new, old| !old.url.is_empty() && old.url != new.url);
    }),
    once(
        "O07",
        "status.authorizations[*].identifier",
        "The name of an authorization stays",
        |case, findings| {
            authorizations(case, "identifier", findings, |new, old| {
                old.identifier.is_some() && old.identifier != new.identifier
            });
        },
    ),
    once(
        "O08",
        "status.authorizations[*].wildcard",
        "Whether an authorization is for a wildcard stays",
        |case, findings| {
            authorizations(case, "wildcard", findings, |new, old| {
                old.wildcard.is_some() && old.wildcard != new.wildcard
            });
        },
    ),
    once(
        "O09",
        "status.authorizations[*].initialState",
        "The first state of an authorization stays",
        |case, findings| {
            authorizations(case, "initialState", findings, |new, old| {
                old.initial_state.is_some() && old.initial_state != new.initial_state
            });
        },
    ),
    once("O10", "status.authorizations[*].challenges", "The number of challenges stays", |case, findings| {
        authorizations(case, "challenges", findings, |new, old| {
            !old.challenges.is_empty() && old.challenges.len() != new.challenges.len()
        });
    }),
    once(
        "O11",
        "status.authorizations[*].challenges[*].url",
        "The URL of a challenge stays",
        |case, findings| {
            challenges(case, "url", findings, |challenge| &challenge.url);
        },
    ),
    once(
        "O12",
        "status.authorizations[*].challenges[*].type",
        "The type of a challenge stays",
        |case, findings| {
            challenges(case, "type", findings, |challenge| &challenge.type_);
        },
    ),
    once(
        "O13",
        "status.authorizations[*].challenges[*].token",
        "The token of a challenge stays",
        |case, findings| {
            challenges(case, "token", findings, |challenge| &challenge.token);
        },
    ),
    Check::new(
        "B07",
        ORDER,
        "spec.duration",
        Class::Spec,
        "The duration can be read: numbers with the units h, m, s, ms, us or ns",
        |case, findings| {
            let path = findings.path();
            lifetime::is_readable(path, case.object.spec.duration.as_ref(), findings);
        },
    ),
    once("B22", "spec", "With the setting `acme_owners`, the whole spec stays", |case, findings| {
        if case.context.settings.acme_owners && case.changes_spec() {
            findings.here(Fault::Forbidden).detail("an Order cannot be changed").advice("create another one");
        }
    }),
    once("B23", "status.state", "A state that is final stays so", |case, findings| {
        let Some(old) = case.old.and_then(|old| old.status.as_ref()) else {
            return;
        };
        // cert-manager asks the server again about orders that lack what comes with these states.
        let is_over = match old.state {
            Some(AcmeState::Valid) => old.certificate.as_ref().is_some_and(|chain| !chain.0.is_empty()),
            _ => old.finalize_url.is_some(),
        };
        let new = case.object.status.as_ref().and_then(|status| status.state.as_ref());
        progress::goes_on(old.state.as_ref().filter(|_| is_over), new, findings);
    }),
];

fn stays(path: String, findings: &mut Findings) {
    findings
        .at(path, Fault::Forbidden)
        .detail("was set before and cannot be changed")
        .advice("write it back as it was");
}

/// A member of the status, which may be gone altogether.
fn status(
    case: &Case<'_, OrderSpec>,
    findings: &mut Findings,
    changed: impl Fn(&OrderStatus, &OrderStatus) -> bool,
) {
    let Some(old) = case.old.and_then(|old| old.status.as_ref()) else {
        return;
    };
    let gone = OrderStatus::default();
    if changed(case.object.status.as_ref().unwrap_or(&gone), old) {
        stays(findings.path().to_owned(), findings);
    }
}

/// A member of each authorization. Where their number differs, that is what O05 tells, and pairing them would
/// compare strangers.
fn authorizations(
    case: &Case<'_, OrderSpec>,
    member: &str,
    findings: &mut Findings,
    changed: impl Fn(&Authorization, &Authorization) -> bool,
) {
    for (index, (new, old)) in pairs(case) {
        if changed(new, old) {
            stays(format!("status.authorizations[{index}].{member}"), findings);
        }
    }
}

/// A member of each challenge of each authorization, paired as above.
fn challenges(
    case: &Case<'_, OrderSpec>,
    member: &str,
    findings: &mut Findings,
    value: impl Fn(&AcmeChallenge) -> &str,
) {
    for (index, (new, old)) in pairs(case) {
        if new.challenges.len() != old.challenges.len() {
            continue;
        }
        for (inner, (new, old)) in new.challenges.iter().zip(&old.challenges).enumerate() {
            if !value(old).is_empty() && value(old) != value(new) {
                let path = format!("status.authorizations[{index}].challenges[{inner}].{member}");
                stays(path, findings);
            }
        }
    }
}

type Pair<'a> = (&'a Authorization, &'a Authorization);

fn pairs<'a>(case: &Case<'a, OrderSpec>) -> impl Iterator<Item = (usize, Pair<'a>)> {
    let of = |status: Option<&'a OrderStatus>| -> &'a [Authorization] {
        status.map_or(&[], |status| &status.authorizations)
    };
    let new = of(case.object.status.as_ref());
    let old = of(case.old.and_then(|old| old.status.as_ref()));
    let paired = if new.len() == old.len() { new } else { &[] };
    paired.iter().zip(old).enumerate()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::case::{Context, Object, Settings};
    use crate::judge;

    fn order() -> Value {
        json!({
            "spec": {"request": "QUJD", "issuerRef": {"name": "acme"}},
            "status": {
                "url": "u", "finalizeURL": "f", "certificate": "QUJD",
                "authorizations": [{
                    "url": "a", "identifier": "a.test", "wildcard": false, "initialState": "pending",
                    "challenges": [{"url": "c", "type": "http-01", "token": "t"}],
                }],
            },
        })
    }

    fn judged(old: &Value, new: &Value) -> Vec<String> {
        let read = |object: &Value| -> Object<OrderSpec> { serde_json::from_value(object.clone()).unwrap() };
        let (old, new) = (read(old), read(new));
        let verdict = judge(&Case { subresource: Some("status"), ..Case::update(&new, &old) });
        verdict.denials.iter().map(|denial| format!("{} {}", denial.rule.id, denial.path)).collect()
    }

    /// Puts `value` where `pointer` points.
    fn check(pointer: &str, value: Value, wanted: &[&str]) {
        let mut new = order();
        *new.pointer_mut(pointer).unwrap() = value;
        assert_eq!(judged(&order(), &new), wanted, "for {pointer}");
    }

    #[test]
    fn what_is_set_stays() {
        let first = "/status/authorizations/0";
        let path = "status.authorizations[0]";
        check("/spec/request", json!("QUJE"), &["O01 spec.request"]);
        check("/status/url", json!("x"), &["O02 status.url"]);
        check("/status/finalizeURL", json!(""), &["O03 status.finalizeURL"]);
        check("/status/certificate", json!(null), &["O04 status.certificate"]);
        check(&format!("{first}/url"), json!("x"), &[&format!("O06 {path}.url")]);
        check(&format!("{first}/identifier"), json!("x"), &[&format!("O07 {path}.identifier")]);
        check(&format!("{first}/wildcard"), json!(null), &[&format!("O08 {path}.wildcard")]);
        check(&format!("{first}/initialState"), json!("valid"), &[&format!("O09 {path}.initialState")]);
        let inner = format!("{first}/challenges/0");
        let path = format!("{path}.challenges[0]");
        check(&format!("{inner}/url"), json!("x"), &[&format!("O11 {path}.url")]);
        check(&format!("{inner}/type"), json!("dns-01"), &[&format!("O12 {path}.type")]);
        check(&format!("{inner}/token"), json!(""), &[&format!("O13 {path}.token")]);
    }

    #[test]
    fn lists_that_shrink_or_grow_are_told_once() {
        let twice = |list: &str| {
            let one = order().pointer(list).unwrap()[0].clone();
            json!([one.clone(), one])
        };
        let authorizations = "/status/authorizations";
        check(authorizations, json!([]), &["O05 status.authorizations"]);
        check(authorizations, twice(authorizations), &["O05 status.authorizations"]);
        let challenges = "/status/authorizations/0/challenges";
        let told = "O10 status.authorizations[0].challenges";
        check(challenges, json!([]), &[told]);
        check(challenges, twice(challenges), &[told]);
    }

    #[test]
    fn a_status_that_is_gone_altogether_is_refused() {
        let mut new = order();
        new["status"] = json!(null);
        assert_eq!(
            judged(&order(), &new),
            [
                "O02 status.url",
                "O03 status.finalizeURL",
                "O04 status.certificate",
                "O05 status.authorizations"
            ]
        );
    }

    #[test]
    fn a_list_inside_a_list_that_changes_is_told_beside_its_neighbours() {
        let second = json!({"url": "a2", "challenges": [{"url": "c2", "type": "dns-01", "token": "t2"}]});
        let mut old = order();
        old["status"]["authorizations"].as_array_mut().unwrap().push(second);
        let mut new = old.clone();
        new["status"]["authorizations"][0]["challenges"] = json!([]);
        new["status"]["authorizations"][1]["url"] = json!("x");
        new["status"]["authorizations"][1]["challenges"][0]["token"] = json!("x");
        assert_eq!(
            judged(&old, &new),
            [
                "O06 status.authorizations[1].url",
                "O10 status.authorizations[0].challenges",
                "O13 status.authorizations[1].challenges[0].token",
            ]
        );
    }

    #[test]
    fn what_was_left_open_can_be_filled_in() {
        let bare = |authorization: Value| json!({"spec": {"request": "QUJD"}, "status": {"authorizations": [authorization]}});
        let full = json!({"url": "a", "identifier": "a.test", "wildcard": true, "initialState": "valid",
            "challenges": [{"url": "c", "type": "http-01", "token": "t"}]});
        assert_eq!(judged(&bare(json!({"url": "a"})), &bare(full)), [""; 0]);
        let mut unset = order();
        unset["status"]["authorizations"][0]["challenges"][0] = json!({"url": "", "type": "", "token": ""});
        assert_eq!(judged(&unset, &order()), [""; 0]);
    }

    #[test]
    fn a_creation_is_accepted_whatever_its_status_says() {
        let object: Object<OrderSpec> = serde_json::from_value(order()).unwrap();
        assert!(judge(&Case::create(&object)).is_allowed());
    }

    #[test]
    fn a_duration_that_cannot_be_read_is_refused() {
        let object: Object<OrderSpec> = serde_json::from_value(json!({"spec": {"duration": "90d"}})).unwrap();
        assert_eq!(
            judge(&Case::create(&object)).message(),
            "spec.duration: Invalid value: \"90d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"2160h\""
        );
    }

    #[test]
    fn a_spec_stays_where_the_operator_wants_it() {
        let check = |acme_owners: bool, member: &str, value: Value, wanted: &[&str]| {
            let mut old = order();
            old["spec"]["duration"] = json!("1h");
            let mut new = old.clone();
            new["spec"][member] = value;
            let read = |object: Value| -> Object<OrderSpec> { serde_json::from_value(object).unwrap() };
            let (old, new) = (read(old), read(new));
            let settings = Settings { acme_owners, ..Settings::DEFAULT };
            let context = Context { settings: &settings, ..Context::default() };
            let verdict = judge(&Case { context, ..Case::update(&new, &old) });
            let told: Vec<String> =
                verdict.denials.iter().map(|denial| format!("{} {denial}", denial.rule.id)).collect();
            assert_eq!(told, wanted, "for {member}");
        };
        let told = "B22 spec: Forbidden: an Order cannot be changed; create another one";
        check(true, "issuerRef", json!({"name": "other", "kind": "ClusterIssuer"}), &[told]);
        check(true, "dnsNames", json!(["b.test"]), &[told]);
        check(true, "duration", json!("60m"), &[]);
        check(false, "issuerRef", json!({"name": "other"}), &[]);
    }

    #[test]
    fn a_final_state_is_not_left_for_one_that_is_not() {
        let states = ["pending", "ready", "processing", "valid", "invalid", "expired", "errored", ""];
        let refused = |old: &str, certificate: &str| -> Vec<&str> {
            let with = |state: &str| json!({"spec": {}, "status": {"state": state, "certificate": certificate, "finalizeURL": "f"}});
            states.into_iter().filter(|new| !judged(&with(old), &with(new)).is_empty()).collect()
        };
        assert_eq!(refused("valid", "QUJD"), ["pending", "ready", "processing"]);
        assert_eq!(refused("valid", ""), [""; 0], "the controller asks the server again");
        assert_eq!(refused("invalid", ""), ["pending", "ready", "processing", "valid"]);
        for open in ["pending", "ready", "processing", "expired", "errored", "", "unheard of"] {
            assert_eq!(refused(open, ""), [""; 0], "from {open}");
        }
        let invalid = json!({"spec": {}, "status": {"state": "invalid"}});
        assert_eq!(judged(&invalid, &json!({"spec": {}, "status": {"state": "ready"}})), [""; 0]);
        let mut old = order();
        old["status"]["state"] = json!("valid");
        let mut new = old.clone();
        new["status"]["state"] = json!("pending");
        assert_eq!(judged(&old, &new), ["B23 status.state"]);
    }

    #[test]
    fn what_is_not_set_can_be_set() {
        let bare = json!({"spec": {"request": ""}});
        assert_eq!(judged(&bare, &order()), Vec::<String>::new());
        check("/status/url", json!("u"), &[]);
    }
}
