//! Rules that need more than the objects: the review around them, or the API server. The webhook evaluates them; they
//! are listed here so that there is one table.

use crate::rule::{Class, Kind, Rule};

/// R28: an approval whose issuer is of no kind that the cluster serves.
pub static APPROVAL_UNRESOLVED: Rule = Rule {
    id: "R28",
    kinds: &[Kind::CertificateRequest],
    path: "spec.issuerRef",
    class: Class::Identity,
    summary: "A request is approved or denied only when the cluster serves the kind of its issuer",
};

/// R29: an approval by somebody who may not approve for the issuer.
pub static APPROVAL_UNAUTHORISED: Rule = Rule {
    id: "R29",
    kinds: &[Kind::CertificateRequest],
    path: "status.conditions",
    class: Class::Identity,
    summary: "A request is approved or denied only by who may `approve` the issuer as a signer",
};

/// R30: a review that does not say which resource it is about.
pub static RESOURCE_MISSING: Rule = Rule {
    id: "R30",
    kinds: Kind::ALL,
    path: "",
    class: Class::Identity,
    summary: "The review names the resource",
};

/// R31: a review whose object is of another kind than its resource.
pub static KIND_MISMATCH: Rule = Rule {
    id: "R31",
    kinds: Kind::ALL,
    path: "",
    class: Class::Identity,
    summary: "The object is of the kind that the resource holds",
};

/// M5: a CertificateRequest whose spec cannot take the requester's identity.
pub static SPEC_UNREADABLE: Rule = Rule {
    id: "M05",
    kinds: &[Kind::CertificateRequest],
    path: "spec",
    class: Class::Identity,
    summary: "The spec is an object, so that it can take the requester's identity",
};

/// All of the above.
pub(crate) static RULES: &[&Rule] =
    &[&APPROVAL_UNRESOLVED, &APPROVAL_UNAUTHORISED, &RESOURCE_MISSING, &KIND_MISMATCH, &SPEC_UNREADABLE];
