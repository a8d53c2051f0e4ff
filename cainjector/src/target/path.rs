//! Where the bundles of a target are.

use std::fmt;

use serde_json::{Value, json};

/// The way to one bundle field: in an object, and in the `fieldsV1` of its managed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(Vec<Step>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a member.
    Member(&'static str),
    /// Into the entry of a list that has this `name`.
    Entry(String),
}

impl FieldPath {
    pub(super) fn new(steps: impl Into<Vec<Step>>) -> Self {
        Self(steps.into())
    }

    /// Through members alone.
    pub(super) fn members<const COUNT: usize>(names: [&'static str; COUNT]) -> Self {
        Self(names.map(Step::Member).into())
    }

    /// What is there in an object, or in an apply of it.
    pub fn find<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(object, |value, step| match step {
            Step::Member(name) => value.get(name),
            Step::Entry(name) => {
                value.as_array()?.iter().find(|entry| entry.get("name").is_some_and(|own| own == name))
            }
        })
    }

    /// Whether a `fieldsV1` has it.
    pub fn is_among(&self, fields: &Value) -> bool {
        let found = self.0.iter().try_fold(fields, |fields, step| match step {
            Step::Member(name) => fields.get(format!("f:{name}")),
            Step::Entry(name) => fields.get(format!("k:{}", json!({ "name": name }))),
        });
        found.is_some()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Member(name) if number == 0 => f.write_str(name)?,
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Entry(name) => write!(f, "[{name}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(name: &str) -> FieldPath {
        let steps = [Step::Member("webhooks"), Step::Entry(name.to_owned()), Step::Member("caBundle")];
        FieldPath::new(steps)
    }

    #[test]
    fn a_field_is_not_found_in_another_entry() {
        let object = json!({"webhooks": [{"name": "one"}, {"name": "two", "caBundle": "b2xk"}]});
        assert_eq!(webhook("one").find(&object), None);
        assert_eq!(webhook("two").find(&object), Some(&json!("b2xk")));
        assert_eq!(FieldPath::members(["spec", "caBundle"]).find(&object), None);
    }

    #[test]
    fn a_field_is_owned_where_the_managed_fields_have_it() {
        let fields =
            json!({"f:webhooks": {"k:{\"name\":\"one\"}": {"f:caBundle": {}}, "k:{\"name\":\"two\"}": {}}});
        assert!(webhook("one").is_among(&fields));
        assert!(!webhook("two").is_among(&fields));
        assert_eq!(webhook("one").to_string(), "webhooks[one].caBundle");
    }
}
