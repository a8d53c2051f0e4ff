//! Rules that need more than the objects: the review around them, or the API server. The webhook evaluates them; they
//! are listed here, with what they tell, so that there is one table.

use api::IssuerRef;

use crate::finding::{Fault, Finding};
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

/// M05: a CertificateRequest whose spec cannot take the requester's identity.
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

/// The kind that a review is about. None: one that has no rules.
///
/// # Errors
/// R30, when the review says nothing at all about it.
pub fn kind_of_resource(group: &str, version: &str, resource: &str) -> Result<Option<Kind>, Finding> {
    if [group, version, resource].iter().all(|part| part.is_empty()) {
        return Err(about_review(
            &RESOURCE_MISSING,
            "the review does not say which resource it is about".to_owned(),
        ));
    }
    Ok(Kind::of_resource(group, version, resource))
}

/// Checks that what stands under `member` of a review (`object` or `oldObject`) is of the kind that it must be by the
/// resource, going by the `apiVersion` and `kind` that it bears.
///
/// # Errors
/// R31, when it is not.
pub fn check_kind(member: &str, api_version: &str, kind: &str, wanted: Kind) -> Result<(), Finding> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    if kind == wanted.as_str() && group == wanted.group() {
        return Ok(());
    }
    Err(about_review(
        &KIND_MISMATCH,
        format!(
            "the {member} is {kind:?} of {api_version:?}, which is not what the resource holds: {} of {}/{}",
            wanted.as_str(),
            wanted.group(),
            api::VERSION
        ),
    ))
}

/// Checks that the spec of a CertificateRequest can take the requester's identity: `fits`, as it is an object, or not
/// there yet.
///
/// # Errors
/// M05, when it cannot.
pub fn check_stampable(fits: bool) -> Result<(), Finding> {
    if fits {
        return Ok(());
    }
    let mut finding = Finding::new(&SPEC_UNREADABLE, SPEC_UNREADABLE.path, Fault::Forbidden);
    finding.detail("the spec is not an object, so it cannot take the requester's identity");
    Err(finding)
}

/// R28: what is told when the cluster serves no such kind as the issuer's.
pub fn approval_unresolved(issuer: &IssuerRef) -> Finding {
    let mut finding = Finding::new(&APPROVAL_UNRESOLVED, APPROVAL_UNRESOLVED.path, Fault::Forbidden);
    finding
        .detail(format!(
            "the cluster serves no kind {} in the group {}",
            issuer.kind_or_default(),
            issuer.group_or_default()
        ))
        .advice(
            "install the issuer's CustomResourceDefinitions, or create the request with another issuerRef",
        );
    finding
}

/// R29: what is told when the user has the right for none of the signers' names, each of which would do.
pub fn approval_unauthorised(username: &str, issuer: &IssuerRef, signers: &[String]) -> Finding {
    let mut finding = Finding::new(&APPROVAL_UNAUTHORISED, APPROVAL_UNAUTHORISED.path, Fault::Forbidden);
    let names: Vec<String> = signers.iter().map(|signer| format!("{signer:?}")).collect();
    finding
        .detail(format!(
            "user {username:?} may not approve or deny requests to {} {:?}",
            issuer.kind_or_default(),
            issuer.name,
        ))
        .advice(format!(
            "bind a ClusterRole with verb \"approve\" on resource \"signers\" of group {:?} and one of the \
             resourceNames {} to them by a ClusterRoleBinding",
            api::GROUP,
            names.join(" and "),
        ));
    finding
}

fn about_review(rule: &'static Rule, detail: String) -> Finding {
    let mut finding = Finding::new(rule, rule.path, Fault::Forbidden);
    finding.detail(detail);
    finding
}
