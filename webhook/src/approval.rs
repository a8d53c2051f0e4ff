//! Who may approve or deny a CertificateRequest (spec A1 to A8): whoever may `approve` its issuer as a signer.

mod cluster;
mod recent;

use admission::decision::Decision;
use futures::future::BoxFuture;
use rules::{Finding, Requester};

pub use cluster::ClusterAuthorizer;

/// How a kind of issuer is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerResource {
    /// Plural name.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// Why a right could not be checked. Nothing is decided then, and the client may try again.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// The kinds of a group could not be listed.
    #[error("cannot look up kind {kind} of group {group}")]
    Discovery {
        /// The kind.
        kind: String,
        /// Its group.
        group: String,
        /// What went wrong.
        source: Box<kube::Error>,
    },
    /// The SubjectAccessReview failed.
    #[error("cannot review whether {user:?} may approve signer {signer}")]
    Review {
        /// Name of the user.
        user: String,
        /// Name of the signer.
        signer: String,
        /// What went wrong.
        source: ReviewError,
    },
}

/// Why a SubjectAccessReview told nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It was not answered.
    #[error(transparent)]
    Call(Box<kube::Error>),
    /// Nobody allows the action, but not everybody could be asked (`status.evaluationError`).
    #[error("an authorizer of the cluster failed: {0}")]
    Incomplete(String),
}

impl From<kube::Error> for ReviewError {
    fn from(error: kube::Error) -> Self {
        Self::Call(Box::new(error))
    }
}

/// Who knows the cluster's kinds and rights: the API server, or a test.
pub trait Authorizer: Send + Sync {
    /// How a kind is served. None: not at all.
    fn resolve<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
    ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>>;

    /// Whether somebody may `approve` this signer: in this namespace, or in the whole cluster.
    fn may_approve<'a>(
        &'a self,
        requester: &'a Requester,
        signer: &'a str,
        namespace: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool, ApprovalError>>;
}

/// Where a right to approve may have been granted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grants {
    /// In the whole cluster, as cert-manager has it.
    #[default]
    OfCluster,
    /// For issuers that live in namespaces, in the namespace of the request too (B32).
    OfNamespaces,
}

/// Checks the right to decide. None: granted.
///
/// # Errors
/// When it cannot be checked.
pub async fn check(
    authorizer: &dyn Authorizer,
    grants: Grants,
    decision: &Decision,
    requester: &Requester,
) -> Result<Option<Finding>, ApprovalError> {
    let (group, kind) = (decision.issuer.group_or_default(), decision.issuer.kind_or_default());
    let Some(resource) = authorizer.resolve(group, kind).await? else {
        return Ok(Some(rules::approval_unresolved(&decision.issuer)));
    };
    let candidates = signers(&resource, group, decision);
    let in_namespace =
        (grants == Grants::OfNamespaces && resource.namespaced).then_some(&*decision.namespace);
    let mut open = None;
    for namespace in std::iter::once(None).chain(in_namespace.map(Some)) {
        for signer in &candidates {
            match authorizer.may_approve(requester, signer, namespace).await {
                Ok(true) => return Ok(None),
                Ok(false) => {}
                // Another grant may still allow it.
                Err(error) => open = open.or(Some(error)),
            }
        }
    }
    if let Some(error) = open {
        return Err(error);
    }
    let mut finding = rules::approval_unauthorised(&requester.username, &decision.issuer, &candidates);
    if let Some(namespace) = in_namespace {
        let advice =
            format!("{}, or the like Role by a RoleBinding in namespace {namespace:?}", finding.advice);
        finding.advice(advice);
    }
    Ok(Some(finding))
}

/// The names under which the issuer may be granted: all of its kind, and itself.
fn signers(resource: &IssuerResource, group: &str, decision: &Decision) -> [String; 2] {
    let (plural, name) = (&resource.plural, &decision.issuer.name);
    let own = if resource.namespaced {
        format!("{plural}.{group}/{}.{name}", decision.namespace)
    } else {
        format!("{plural}.{group}/{name}")
    };
    [format!("{plural}.{group}/*"), own]
}

/// The issuers that come with the API itself.
pub(crate) fn built_in(group: &str, kind: &str) -> Option<IssuerResource> {
    let (plural, namespaced) = match kind {
        "Issuer" => ("issuers", true),
        "ClusterIssuer" => ("clusterissuers", false),
        _ => return None,
    };
    (group == api::GROUP).then(|| IssuerResource { plural: plural.to_owned(), namespaced })
}

#[cfg(test)]
pub(crate) mod tests {
    use api::IssuerRef;
    use serde_json::json;

    use super::*;

    /// Knows the built-in kinds, two external ones, and who may approve what.
    #[derive(Default)]
    pub(crate) struct Granted {
        pub(crate) signers: Vec<&'static str>,
        /// Where the grant holds; None: everywhere.
        pub(crate) namespace: Option<&'static str>,
        pub(crate) broken: bool,
        /// Signers that not every authorizer of the cluster could be asked about.
        pub(crate) incomplete: Vec<&'static str>,
        /// Signers about which the call fails.
        pub(crate) unanswered: Vec<&'static str>,
    }

    impl Authorizer for Granted {
        fn resolve<'a>(
            &'a self,
            group: &'a str,
            kind: &'a str,
        ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>> {
            let external = match kind {
                "CloudIssuer" => Some(("cloudissuers", true)),
                "CloudClusterIssuer" => Some(("cloudclusterissuers", false)),
                _ => None,
            };
            let external = external
                .filter(|_| group == "example.org")
                .map(|(plural, namespaced)| IssuerResource { plural: plural.to_owned(), namespaced });
            Box::pin(async move { Ok(built_in(group, kind).or(external)) })
        }

        fn may_approve<'a>(
            &'a self,
            requester: &'a Requester,
            signer: &'a str,
            namespace: Option<&'a str>,
        ) -> BoxFuture<'a, Result<bool, ApprovalError>> {
            Box::pin(async move {
                let failed = |source| {
                    Err(ApprovalError::Review {
                        user: requester.username.clone(),
                        signer: signer.to_owned(),
                        source,
                    })
                };
                if self.broken || self.unanswered.contains(&signer) {
                    return failed(kube::Error::TlsRequired.into());
                }
                if self.incomplete.contains(&signer) {
                    return failed(ReviewError::Incomplete("a webhook did not answer".to_owned()));
                }
                let holds_here = self.namespace.is_none() || self.namespace == namespace;
                Ok(requester.username == "approver" && holds_here && self.signers.contains(&signer))
            })
        }
    }

    fn issuer(kind: &str) -> IssuerRef {
        let group = if kind.starts_with("Cloud") { "example.org" } else { "cert-manager.io" };
        serde_json::from_value(json!({"name": "ca", "kind": kind, "group": group})).unwrap()
    }

    async fn told(grants: Grants, granted: &Granted, issuer: IssuerRef) -> Option<String> {
        let decision = Decision { issuer, namespace: "team-a".to_owned() };
        let requester = Requester { username: "approver".to_owned(), ..Default::default() };
        let finding = check(granted, grants, &decision, &requester).await.unwrap();
        finding.map(|finding| finding.to_string())
    }

    /// Whether a grant for `signer` lets requests of issuers of this kind in namespace team-a be approved.
    async fn covers(signer: &'static str, kind: &str, wanted: bool) {
        let granted = Granted { signers: vec![signer], ..Granted::default() };
        let told = told(Grants::OfCluster, &granted, issuer(kind)).await;
        assert_eq!(told.is_none(), wanted, "{signer} for {kind}: {told:?}");
    }

    #[tokio::test]
    async fn an_approver_without_a_grant_is_told_which_one_is_missing() {
        let nothing = Granted::default();
        assert_eq!(
            told(Grants::OfCluster, &nothing, issuer("Issuer")).await.unwrap(),
            "status.conditions: Forbidden: user \"approver\" may not approve or deny requests to Issuer \"ca\"; bind a ClusterRole with verb \"approve\" on resource \"signers\" of group \"cert-manager.io\" and one of the resourceNames \"issuers.cert-manager.io/*\" and \"issuers.cert-manager.io/team-a.ca\" to them by a ClusterRoleBinding"
        );
        assert_eq!(
            told(Grants::OfCluster, &nothing, issuer("CloudClusterIssuer")).await.unwrap(),
            "status.conditions: Forbidden: user \"approver\" may not approve or deny requests to CloudClusterIssuer \"ca\"; bind a ClusterRole with verb \"approve\" on resource \"signers\" of group \"cert-manager.io\" and one of the resourceNames \"cloudclusterissuers.example.org/*\" and \"cloudclusterissuers.example.org/ca\" to them by a ClusterRoleBinding"
        );
    }

    #[tokio::test]
    async fn an_issuer_of_a_kind_that_is_not_served_cannot_be_approved() {
        assert_eq!(
            told(Grants::OfCluster, &Granted::default(), issuer("CloudThing")).await.unwrap(),
            "spec.issuerRef: Forbidden: the cluster serves no kind CloudThing in the group example.org; install the issuer's CustomResourceDefinitions, or create the request with another issuerRef"
        );
    }

    #[tokio::test]
    async fn a_grant_for_something_else_is_not_enough() {
        for signer in [
            "",
            "*",
            "issuers.cert-manager.io/ca",
            "issuers.cert-manager.io/team-b.ca",
            "issuers.cert-manager.io/team-a.other",
            "issuers.cert-manager.io/team-a.*",
            "issuers.example.org/*",
            "clusterissuers.cert-manager.io/*",
            "clusterissuers.cert-manager.io/ca",
        ] {
            covers(signer, "Issuer", false).await;
        }
        for signer in [
            "clusterissuers.cert-manager.io/team-a.ca",
            "clusterissuers.cert-manager.io/other",
            "issuers.cert-manager.io/*",
            "issuers.cert-manager.io/team-a.ca",
        ] {
            covers(signer, "ClusterIssuer", false).await;
        }
        covers("cloudissuers.example.org/ca", "CloudIssuer", false).await;
        covers("cloudissuers.cert-manager.io/*", "CloudIssuer", false).await;
        covers("cloudclusterissuers.example.org/team-a.ca", "CloudClusterIssuer", false).await;
    }

    #[tokio::test]
    async fn a_grant_for_the_kind_or_the_issuer_is_enough() {
        covers("issuers.cert-manager.io/*", "Issuer", true).await;
        covers("issuers.cert-manager.io/team-a.ca", "Issuer", true).await;
        covers("clusterissuers.cert-manager.io/*", "ClusterIssuer", true).await;
        covers("clusterissuers.cert-manager.io/ca", "ClusterIssuer", true).await;
        covers("cloudissuers.example.org/*", "CloudIssuer", true).await;
        covers("cloudissuers.example.org/team-a.ca", "CloudIssuer", true).await;
        covers("cloudclusterissuers.example.org/*", "CloudClusterIssuer", true).await;
        covers("cloudclusterissuers.example.org/ca", "CloudClusterIssuer", true).await;
        let granted = Granted { signers: vec!["issuers.cert-manager.io/team-a.ca"], ..Granted::default() };
        let bare = serde_json::from_value(json!({"name": "ca"})).unwrap();
        assert_eq!(told(Grants::OfCluster, &granted, bare).await, None, "kind and group have defaults");
    }

    #[tokio::test]
    async fn a_grant_in_a_namespace_counts_where_the_operator_says_so_and_for_its_issuers() {
        use Grants::{OfCluster, OfNamespaces};
        let check = async |grants, namespace, kind: &str, wanted: bool| {
            let signers = vec![
                "issuers.cert-manager.io/team-a.ca",
                "clusterissuers.cert-manager.io/*",
                "cloudissuers.example.org/*",
            ];
            let granted = Granted { signers, namespace: Some(namespace), ..Granted::default() };
            let told = told(grants, &granted, issuer(kind)).await;
            assert_eq!(told.is_none(), wanted, "{grants:?} {namespace} {kind}: {told:?}");
        };
        check(OfCluster, "team-a", "Issuer", false).await;
        check(OfNamespaces, "team-b", "Issuer", false).await;
        check(OfNamespaces, "team-a", "ClusterIssuer", false).await;
        check(OfNamespaces, "team-a", "Issuer", true).await;
        check(OfNamespaces, "team-a", "CloudIssuer", true).await;
        let told = told(OfNamespaces, &Granted::default(), issuer("Issuer")).await.unwrap();
        let end =
            "to them by a ClusterRoleBinding, or the like Role by a RoleBinding in namespace \"team-a\"";
        assert!(told.ends_with(end), "{told}");
    }

    #[tokio::test]
    async fn what_could_not_be_checked_is_no_denial() {
        let granted =
            Granted { signers: vec!["issuers.cert-manager.io/*"], broken: true, ..Granted::default() };
        let decision = Decision { issuer: issuer("Issuer"), namespace: "team-a".to_owned() };
        let error = check(&granted, Grants::OfCluster, &decision, &Requester::default()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot review whether \"\" may approve signer issuers.cert-manager.io/*"
        );
    }

    #[tokio::test]
    async fn an_authorizer_that_failed_keeps_no_other_grant_from_counting() {
        let [all, own] = ["issuers.cert-manager.io/*", "issuers.cert-manager.io/team-a.ca"];
        let incomplete = |signers| Granted { signers, incomplete: vec![all], ..Granted::default() };
        let unanswered = |signers| Granted { signers, unanswered: vec![all], ..Granted::default() };
        for granted in [incomplete(vec![own]), unanswered(vec![own])] {
            assert_eq!(told(Grants::OfCluster, &granted, issuer("Issuer")).await, None);
        }
        let decision = Decision { issuer: issuer("Issuer"), namespace: "team-a".to_owned() };
        for nothing in [incomplete(Vec::new()), unanswered(Vec::new())] {
            let error =
                check(&nothing, Grants::OfCluster, &decision, &Requester::default()).await.unwrap_err();
            assert!(error.to_string().ends_with(all), "{error}");
        }
    }
}
