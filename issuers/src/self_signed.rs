//! Issuers of type SelfSigned: each certificate is signed with its own key.

use api::issuer::SelfSignedIssuer as Spec;
use futures::future::{BoxFuture, FutureExt as _, ready};
use issuance::authority;
use jiff::Timestamp;

use crate::issuer::{Issuer, Order};
use crate::outcome::{IssuerId, Outcome};
use crate::readiness::IssuerReadiness;

/// An issuer of type SelfSigned.
#[derive(Debug, Clone)]
pub struct SelfSignedIssuer {
    id: IssuerId,
    crl_distribution_points: Vec<String>,
}

impl SelfSignedIssuer {
    /// The issuer with this spec.
    pub fn new(id: IssuerId, spec: &Spec) -> Self {
        Self { id, crl_distribution_points: spec.crl_distribution_points.clone() }
    }

    fn attempt(&self, order: &Order<'_>) -> Outcome {
        let Some(key) = order.subject_key else {
            return Outcome::Terminal {
                reason: "MissingKey",
                message: format!("{} signs with the subject's own key, which was not given", self.id),
            };
        };
        let mut terms = order.terms.clone();
        terms.crl_distribution_points.clone_from(&self.crl_distribution_points);
        Outcome::of_signing(&self.id, authority::self_sign(order.request, key, &terms, order.now))
    }
}

impl Issuer for SelfSignedIssuer {
    fn sign<'a>(&'a self, order: &'a Order<'a>) -> BoxFuture<'a, Outcome> {
        async { self.attempt(order) }.boxed()
    }

    fn readiness(&self, _: Timestamp) -> BoxFuture<'_, Option<IssuerReadiness>> {
        ready(Some(IssuerReadiness::ready("IsReady", "self-signing needs nothing"))).boxed()
    }
}
