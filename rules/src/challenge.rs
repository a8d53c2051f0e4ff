//! Rules of Challenge.

use api::{ChallengeSpec, ChallengeStatus};

use crate::case::{Case, Judged, Object, OwnerReference};
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Kind};
use crate::{lifetime, progress};

impl Judged for ChallengeSpec {
    type Status = ChallengeStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }

    fn same(&self, other: &Self) -> bool {
        let canonical = |spec: &Self| {
            let mut spec = spec.clone();
            lifetime::canonicalise(&mut spec.solver.wait_instead_of_self_check);
            spec
        };
        self == other || canonical(self) == canonical(other)
    }
}

static TABLES: &[&[Check<ChallengeSpec>]] = &[RULES];

const CHALLENGE: &[Kind] = &[Kind::Challenge];

static RULES: &[Check<ChallengeSpec>] = &[
    Check::new(
        "H01",
        CHALLENGE,
        "spec",
        Class::Always,
        "The spec stays as it was on creation",
        |case, findings| {
            if case.changes_spec() {
                findings
                    .here(Fault::Forbidden)
                    .detail("a Challenge cannot be changed")
                    .advice("delete it, and its Order makes another one");
            }
        },
    ),
    Check::new(
        "B07",
        CHALLENGE,
        "spec.solver.waitInsteadOfSelfCheck",
        Class::Spec,
        "The duration can be read: numbers with the units h, m, s, ms, us or ns",
        |case, findings| {
            let path = findings.path();
            let wait = case.object.spec.solver.wait_instead_of_self_check.as_ref();
            lifetime::is_readable(path, wait, findings);
        },
    ),
    Check::new(
        "B22",
        CHALLENGE,
        "metadata.ownerReferences",
        Class::Always,
        "With the setting `acme_owners`, a Challenge that is created belongs to an Order, or comes from a user of \
         `acme_owner_exemptions`",
        has_an_order,
    ),
    Check::new(
        "B23",
        CHALLENGE,
        "status.state",
        Class::Always,
        "A state that is final stays so",
        |case, findings| {
            let state = |object: &'_ Object<ChallengeSpec>| {
                object.status.as_ref().and_then(|status| status.state.clone())
            };
            let old = case.old.and_then(state);
            progress::goes_on(old.as_ref(), state(case.object).as_ref(), findings);
        },
    ),
];

/// A Challenge that somebody else made could have the credentials of an issuer sent to a server of their choice
/// (GHSA-8rvj-mm4h-c258).
fn has_an_order(case: &Case<'_, ChallengeSpec>, findings: &mut Findings) {
    let is_order = |owner: &OwnerReference| {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        owner.controller && owner.kind == Kind::Order.as_str() && group == Kind::Order.group()
    };
    let settings = case.context.settings;
    let is_exempt = case.requester.is_some_and(|requester| {
        !requester.username.is_empty() && settings.acme_owner_exemptions.contains(&requester.username)
    });
    let is_judged = settings.acme_owners && case.is_create() && !is_exempt;
    if is_judged && !case.object.metadata.owner_references.iter().any(is_order) {
        findings
            .here(Fault::Required)
            .detail("no Order is the controller of this Challenge")
            .advice("create a Certificate: its Order makes the Challenges that it needs");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::case::{Case, Context, Object, Requester, Settings};
    use crate::judge;

    fn check(old: &Value, new: &Value, wanted: &[&str]) {
        let read = |spec: &Value| -> Object<api::ChallengeSpec> {
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let (old, new) = (read(old), read(new));
        let told: Vec<String> = judge(&Case::update(&new, &old))
            .denials
            .iter()
            .map(|denial| format!("{} {denial}", denial.rule.id))
            .collect();
        assert_eq!(told, wanted, "from {old:?} to {new:?}");
    }

    #[test]
    fn a_spec_that_changes_is_refused() {
        check(
            &json!({"dnsName": "a.test"}),
            &json!({"dnsName": "b.test"}),
            &[
                "H01 spec: Forbidden: a Challenge cannot be changed; delete it, and its Order makes another one",
            ],
        );
    }

    #[test]
    fn a_spec_that_stays_is_accepted() {
        let with = |wait: &str| json!({"solver": {"waitInsteadOfSelfCheck": wait}});
        check(&with("1m"), &with("1m0s"), &[]);
    }

    fn read(object: &Value) -> Object<api::ChallengeSpec> {
        serde_json::from_value(object.clone()).unwrap()
    }

    #[test]
    fn a_wait_that_cannot_be_read_is_refused() {
        let object = read(&json!({"spec": {"solver": {"waitInsteadOfSelfCheck": "1d"}}}));
        assert_eq!(
            judge(&Case::create(&object)).message(),
            "spec.solver.waitInsteadOfSelfCheck: Invalid value: \"1d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"24h\""
        );
    }

    #[test]
    fn a_challenge_of_nobody_is_refused_where_the_operator_wants_it() {
        let check = |acme_owners: bool, owners: Value, wanted: &str| {
            let object = read(&json!({"metadata": {"ownerReferences": owners}}));
            let settings = Settings { acme_owners, ..Settings::DEFAULT };
            let context = Context { settings: &settings, ..Context::default() };
            let told: Vec<String> = judge(&Case { context, ..Case::create(&object) })
                .denials
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(told.join(", "), wanted, "for {owners}");
            let update = Case { context, ..Case::update(&object, &object) };
            assert!(judge(&update).is_allowed(), "finalizers can be removed");
        };
        let order = json!({"apiVersion": "acme.cert-manager.io/v1", "kind": "Order", "name": "o", "controller": true});
        let but = |member: &str, value: Value| {
            let mut order = order.clone();
            order[member] = value;
            json!([order])
        };
        let told = "metadata.ownerReferences: Required value: no Order is the controller of this Challenge; create a Certificate: its Order makes the Challenges that it needs";
        check(true, json!([]), told);
        check(true, but("controller", json!(false)), told);
        check(true, but("kind", json!("Certificate")), told);
        check(true, but("apiVersion", json!("example.org/v1")), told);
        check(true, json!([{"kind": "Certificate"}, order]), "");
        check(false, json!([]), "");
    }

    #[test]
    fn who_is_exempt_may_create_a_challenge_of_nobody() {
        let check = |username: &str, is_allowed: bool| {
            let object = read(&json!({"metadata": {}}));
            let exempt = ["", "restorer"].map(ToOwned::to_owned).into();
            let settings = Settings { acme_owners: true, acme_owner_exemptions: exempt, ..Settings::DEFAULT };
            let context = Context { settings: &settings, ..Context::default() };
            let requester = Requester { username: username.to_owned(), ..Requester::default() };
            let case = Case { context, requester: Some(&requester), ..Case::create(&object) };
            assert_eq!(judge(&case).is_allowed(), is_allowed, "{username:?}");
        };
        check("alice", false);
        check("", false);
        check("restorer", true);
    }

    #[test]
    fn a_final_state_is_not_left_for_one_that_is_not() {
        let check = |old: &str, new: &str, wanted: &str| {
            let with = |state: &str| read(&json!({"status": {"state": state}}));
            let (old, new) = (with(old), with(new));
            let case = Case { subresource: Some("status"), ..Case::update(&new, &old) };
            let told: Vec<String> = judge(&case).denials.iter().map(ToString::to_string).collect();
            assert_eq!(told.join(", "), wanted, "from {old:?} to {new:?}");
        };
        check(
            "valid",
            "pending",
            "status.state: Forbidden: valid is final, and \"pending\" cannot follow it; delete the object to have another one made, or remove the state to have the server asked",
        );
        check(
            "invalid",
            "valid",
            "status.state: Forbidden: invalid is final, and \"valid\" cannot follow it; delete the object to have another one made, or remove the state to have the server asked",
        );
        for (old, new) in [
            ("", "pending"),
            ("pending", "processing"),
            ("processing", "pending"),
            ("processing", "valid"),
            ("pending", "invalid"),
            ("valid", "valid"),
            ("valid", "expired"),
            ("invalid", "errored"),
            ("invalid", ""),
            ("errored", "pending"),
            ("expired", "pending"),
        ] {
            check(old, new, "");
        }
    }
}
