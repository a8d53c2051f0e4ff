//! Rules in CEL, for ValidatingAdmissionPolicies: the API server judges by them itself, without a call to the webhook.
//!
//! A policy is a copy for those rules of cert-manager that CEL can say, and never stricter than they are: what it passes
//! the webhook still judges. It ratchets as [`Class::Spec`](crate::Class::Spec) does, with two differences: a stored
//! object that breaks a rule is excused from it however else it breaks it now, and a spec that is only written in another
//! form (`60m` for `1h`) counts as changed.
//!
//! What has no expression here, and why:
//! - rules that need a parser or a table: literal subjects (C08 to C10, and C11, C12 in so far as the common name stands
//!   in one), e-mail addresses (C14, C15), time zones and cron (C51, C52), PEM (I04, I64), addresses of name servers (I22,
//!   I52);
//! - rules by the feature gates of the webhook, which a policy does not know (C05, C16, C37);
//! - what the CRDs refuse already: enums (C22, C30, I21, I38), required members and lengths (C50, I19, I20), the one-of
//!   of Venafi (I83, I84);
//! - rules of our own (B), and C28, which is not what cert-manager's rule of that name is;
//! - CertificateRequests, whose identity and approval must not depend on a copy.

mod certificate;
mod issuer;

use serde_json::{Value, json};

use crate::rule::Kind;

/// A rule in CEL.
#[derive(Debug)]
pub struct Expression {
    /// The rule.
    pub id: &'static str,
    /// True where the rule is kept.
    pub kept: &'static str,
    /// What a user is told otherwise.
    pub told: Told,
}

/// What a user is told: `<path>: <fault>[: <value>][: <detail>][; <advice>]`. Items of a list are written `[]`, since
/// CEL does not count them; where a value can be shown, it is.
#[derive(Debug)]
pub enum Told {
    /// This text.
    Text(&'static str),
    /// The text that this expression gives.
    Computed(&'static str),
}

/// The expressions for one spec, which become one policy.
#[derive(Debug)]
pub struct Policy {
    /// The end of the policy's name.
    pub name: &'static str,
    /// The kinds that it is for.
    pub kinds: &'static [Kind],
    /// Plural names of the kinds.
    resources: &'static [&'static str],
    /// Names for what several expressions look at; a later one may use an earlier one.
    variables: &'static [(&'static str, &'static str)],
    /// In the order of the rules.
    pub expressions: &'static [Expression],
}

/// Every policy.
pub static POLICIES: [&Policy; 2] = [&certificate::POLICY, &issuer::POLICY];

const fn text(id: &'static str, kept: &'static str, told: &'static str) -> Expression {
    Expression { id, kept, told: Told::Text(told) }
}

const fn computed(id: &'static str, kept: &'static str, told: &'static str) -> Expression {
    Expression { id, kept, told: Told::Computed(told) }
}

/// Rules about a spec are for writes that change it, and not for objects on their way out.
const MATCH_CONDITIONS: [(&str, &str); 2] = [
    (
        "spec-changes",
        "oldObject == null || !has(oldObject.spec) || !has(object.spec) || object.spec != oldObject.spec",
    ),
    ("is-not-being-deleted", "!has(object.metadata.deletionTimestamp)"),
];

impl Policy {
    /// The `spec` of a ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1, Kubernetes 1.31 and newer).
    ///
    /// An expression that cannot be evaluated is passed over: the webhook judges the object anyway.
    pub fn spec(&self) -> Value {
        let named = |(name, expression): &(&str, &str)| json!({"name": name, "expression": expression});
        json!({
            "failurePolicy": "Ignore",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [api::GROUP],
                "apiVersions": [api::VERSION],
                "operations": ["CREATE", "UPDATE"],
                "resources": self.resources,
            }]},
            "matchConditions": MATCH_CONDITIONS.iter().map(named).collect::<Vec<_>>(),
            "variables": self.variables.iter().flat_map(variables).collect::<Vec<_>>(),
            "validations": self.expressions.iter().map(Expression::validation).collect::<Vec<_>>(),
        })
    }
}

/// A variable, and the same for the stored object.
fn variables((name, expression): &(&str, &str)) -> [Value; 2] {
    [
        json!({"name": name, "expression": expression}),
        json!({"name": format!("{OLD}{name}"), "expression": of_old(expression)}),
    ]
}

/// Begins the names of variables of the stored object.
const OLD: &str = "old_";

/// The expression for the stored object.
fn of_old(expression: &str) -> String {
    expression.replace("object.", "oldObject.").replace("variables.", &format!("variables.{OLD}"))
}

impl Expression {
    fn validation(&self) -> Value {
        let (kept, was_kept) = (self.kept, of_old(self.kept));
        // What the stored object breaks already is for the webhook to judge.
        let expression = format!("({kept}) || oldObject != null && !({was_kept})");
        let mut validation = json!({"expression": expression, "reason": "Invalid"});
        match self.told {
            Told::Text(text) => validation["message"] = text.into(),
            Told::Computed(expression) => validation["messageExpression"] = expression.into(),
        }
        validation
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rule::Class;
    use crate::{Rule, table};

    fn rule_of(policy: &Policy, id: &str) -> &'static Rule {
        let mut rules = table().filter(|rule| rule.id == id && rule.kinds == policy.kinds);
        rules.next().unwrap_or_else(|| panic!("{id} is no rule of {:?}", policy.kinds))
    }

    #[test]
    fn every_expression_is_of_a_rule_of_cert_managers_about_a_spec() {
        for policy in POLICIES {
            let mut seen = BTreeSet::new();
            for Expression { id, .. } in policy.expressions {
                assert_eq!(rule_of(policy, id).class, Class::Spec, "{id}");
                assert!(!id.starts_with('B'), "{id}");
                assert!(seen.insert(id), "{id} twice");
            }
        }
    }

    #[test]
    fn every_message_begins_with_the_field_of_its_rule() {
        for policy in POLICIES {
            for Expression { id, told, .. } in policy.expressions {
                let (Told::Text(told) | Told::Computed(told)) = told;
                let told = told.trim_start_matches('\'');
                let path = rule_of(policy, id).path.replace("[*]", "[]");
                assert!(told.starts_with(path.as_str()), "{id} is about {path}: {told}");
                assert!(!told.contains('\n') && !told.ends_with('.'), "{id}: {told}");
            }
        }
    }

    #[test]
    fn a_policy_uses_every_variable_it_has() {
        for policy in POLICIES {
            let spec = policy.spec().to_string();
            for (name, _) in policy.variables {
                for used in [format!("variables.{name}"), format!("variables.{OLD}{name}")] {
                    assert!(spec.contains(&used), "{} does not use {used}", policy.name);
                }
            }
        }
    }

    #[test]
    fn what_is_said_of_the_stored_object_is_said_of_nothing_else() {
        let wanted =
            "has(oldObject.spec) && variables.old_names.exists(name, name == oldObject.metadata.name)";
        let of_new = "has(object.spec) && variables.names.exists(name, name == object.metadata.name)";
        assert_eq!(of_old(of_new), wanted);
        for policy in POLICIES {
            let variables = policy.variables.iter().map(|(_, expression)| *expression);
            for expression in variables.chain(policy.expressions.iter().map(|expression| expression.kept)) {
                let old = of_old(expression);
                let news = ["object.", "variables."].map(|root| expression.matches(root).count());
                let olds = ["oldObject.", "variables.old_"].map(|root| old.matches(root).count());
                assert_eq!(news, olds, "{expression}");
                assert!(!expression.contains("oldObject") && !old.contains("object."), "{expression}");
            }
        }
    }
}
