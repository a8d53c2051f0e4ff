//! What only a linter sees: the API server would drop or refuse it before the webhook is asked.

use rules::{Class, Kind, Rule};

const fn check(id: &'static str, path: &'static str, summary: &'static str) -> Rule {
    Rule { id, kinds: Kind::ALL, path, class: Class::Always, summary }
}

/// L01.
pub(crate) static READABLE: Rule = check("L01", "", "The text is YAML or JSON, within bounds");
/// L02.
pub(crate) static UNIQUE: Rule = check("L02", "", "A key stands once in its map");
/// L03.
pub(crate) static KNOWN: Rule = check("L03", "", "Fields are those of the kind; others would be dropped");
/// L04.
pub(crate) static TYPE: Rule = check("L04", "", "A value is of its field's type");
/// L05.
pub(crate) static PRESENT: Rule = check("L05", "", "Required fields are there");
/// L06.
pub(crate) static VALUE: Rule = check("L06", "", "A value is one of those that the field allows");
/// L07.
pub(crate) static FORM: Rule = check("L07", "", "A value has the length, size and form that its field wants");
/// L08.
pub(crate) static API: Rule = check("L08", "", "apiVersion and kind are those of an API that exists");
/// L09.
pub(crate) static NAME: Rule = check("L09", "metadata.name", "An object has a name");
/// L10.
pub(crate) static REFERENCE: Rule =
    check("L10", "metadata.annotations", "What asks for a CA names NAMESPACE/NAME");
/// L11.
pub(crate) static MARK: Rule =
    check("L11", "metadata", "What asks for a CA is an annotation that somebody reads");
/// L12.
pub(crate) static SINGLE: Rule = check("L12", "metadata.annotations", "A target asks for one CA");
/// L13.
pub(crate) static BUNDLE: Rule = check("L13", "", "A bundle that is injected is not in the manifest");
/// L14.
pub(crate) static CAPABLE: Rule = check("L14", "spec", "What asks for a CA has a server that the CA is for");

/// Every check, in the order of their ids. Their class says nothing: a linter always tells. Nor do their kinds: those from
/// L10 on are for the targets of the cainjector and for Secrets.
pub fn checks() -> [&'static Rule; 14] {
    [
        &READABLE, &UNIQUE, &KNOWN, &TYPE, &PRESENT, &VALUE, &FORM, &API, &NAME, &REFERENCE, &MARK, &SINGLE,
        &BUNDLE, &CAPABLE,
    ]
}
