//! Rules about references to issuers, which Certificate and CertificateRequest share.

use api::IssuerRef;

use crate::finding::Fault;
use crate::rule::Findings;

/// C03, R01.
pub(crate) fn is_named(issuer: &IssuerRef, findings: &mut Findings) {
    if issuer.name.is_empty() {
        findings.here(Fault::Required).advice("name the Issuer or ClusterIssuer that is to sign");
    }
}

/// C04, R02.
pub(crate) fn has_a_known_kind(issuer: &IssuerRef, findings: &mut Findings) {
    let Some(kind) = issuer.kind.as_deref() else {
        return;
    };
    if !issuer.is_own_group() || matches!(kind, "Issuer" | "ClusterIssuer") {
        return;
    }
    let advice = if issuer.group.is_none() {
        "write Issuer or ClusterIssuer, or set spec.issuerRef.group if another controller serves this kind"
    } else {
        "write Issuer or ClusterIssuer, or the group of this kind into spec.issuerRef.group"
    };
    findings
        .here(Fault::Invalid)
        .value(kind)
        .detail("not a kind of issuer in the group cert-manager.io")
        .advice(advice);
}
