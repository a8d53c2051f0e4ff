//! Who may approve or deny a CertificateRequest (spec A1 to A8): whoever may `approve` its issuer as a signer.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use api::{CertificateRequestSpec, IssuerRef, conditions};
use futures::future::BoxFuture;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::discovery::Scope;
use kube::{Api, Client};
use rules::{Case, Finding, Requester};

/// Kinds of issuer that are remembered; each is a type of resource in the cluster, of which there are few.
const REMEMBERED_KINDS_MAX: usize = 256;

/// An approval or denial that is being written, for which a right is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The issuer of the request.
    pub issuer: IssuerRef,
    /// The namespace of the request.
    pub namespace: String,
}

/// Whether a write adds an approver's decision. Changing or removing one is barred by rules R17 and R18.
pub fn decision(case: &Case<'_, CertificateRequestSpec>, namespace: &str) -> Option<Decision> {
    let old = case.old.filter(|_| case.subresource == Some("status"))?;
    let before = old.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let after = case.object.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let added = |type_| conditions::find(before, type_).is_none() && conditions::find(after, type_).is_some();
    (added(conditions::APPROVED) || added(conditions::DENIED))
        .then(|| Decision { issuer: case.object.spec.issuer_ref.clone(), namespace: namespace.to_owned() })
}

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
        source: Box<kube::Error>,
    },
}

/// Who knows the cluster's kinds and rights: the API server, or a test.
pub trait Authorizer: Send + Sync {
    /// How a kind is served. None: not at all.
    fn resolve<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
    ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>>;

    /// Whether somebody may `approve` this signer, asked without a namespace.
    fn may_approve<'a>(
        &'a self,
        requester: &'a Requester,
        signer: &'a str,
    ) -> BoxFuture<'a, Result<bool, ApprovalError>>;
}

/// Checks the right to decide. None: granted.
///
/// # Errors
/// When it cannot be checked.
pub async fn check(
    authorizer: &dyn Authorizer,
    decision: &Decision,
    requester: &Requester,
) -> Result<Option<Finding>, ApprovalError> {
    let (group, kind) = (decision.issuer.group_or_default(), decision.issuer.kind_or_default());
    let Some(resource) = authorizer.resolve(group, kind).await? else {
        return Ok(Some(rules::approval_unresolved(&decision.issuer)));
    };
    let candidates = signers(&resource, group, decision);
    for signer in &candidates {
        if authorizer.may_approve(requester, signer).await? {
            return Ok(None);
        }
    }
    Ok(Some(rules::approval_unauthorised(&requester.username, &decision.issuer, &candidates)))
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

/// Asks the API server.
pub struct ClusterAuthorizer {
    client: Client,
    /// What was found; kinds do not change how they are served. What was not found is asked again each time.
    known: Mutex<BTreeMap<(String, String), IssuerResource>>,
}

impl ClusterAuthorizer {
    /// An authorizer that has asked nothing yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    async fn discover(&self, group: &str, kind: &str) -> Result<Option<IssuerResource>, ApprovalError> {
        let found = match kube::discovery::group(&self.client, group).await {
            Ok(found) => found,
            Err(kube::Error::Discovery(kube::error::DiscoveryError::MissingApiGroup(_))) => {
                return Ok(None);
            }
            Err(source) => {
                return Err(ApprovalError::Discovery {
                    kind: kind.to_owned(),
                    group: group.to_owned(),
                    source: Box::new(source),
                });
            }
        };
        let versions = found.versions().flat_map(|version| found.versioned_resources(version));
        Ok(versions.into_iter().find(|(resource, _)| resource.kind == kind).map(
            |(resource, capabilities)| IssuerResource {
                plural: resource.plural,
                namespaced: capabilities.scope == Scope::Namespaced,
            },
        ))
    }

    async fn resolved(&self, group: &str, kind: &str) -> Result<Option<IssuerResource>, ApprovalError> {
        if let Some(built_in) = built_in(group, kind) {
            return Ok(Some(built_in));
        }
        let key = (group.to_owned(), kind.to_owned());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resource) = known().get(&key) {
            return Ok(Some(resource.clone()));
        }
        let resource = self.discover(group, kind).await?;
        if let Some(resource) = &resource {
            let mut known = known();
            if known.len() >= REMEMBERED_KINDS_MAX {
                known.clear();
            }
            known.insert(key, resource.clone());
        }
        Ok(resource)
    }
}

/// The issuers that come with the API itself.
fn built_in(group: &str, kind: &str) -> Option<IssuerResource> {
    let (plural, namespaced) = match kind {
        "Issuer" => ("issuers", true),
        "ClusterIssuer" => ("clusterissuers", false),
        _ => return None,
    };
    (group == api::GROUP).then(|| IssuerResource { plural: plural.to_owned(), namespaced })
}

impl Authorizer for ClusterAuthorizer {
    fn resolve<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
    ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>> {
        Box::pin(self.resolved(group, kind))
    }

    fn may_approve<'a>(
        &'a self,
        requester: &'a Requester,
        signer: &'a str,
    ) -> BoxFuture<'a, Result<bool, ApprovalError>> {
        Box::pin(async move {
            let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
            let review = access_review(requester, signer);
            let answer = reviews.create(&PostParams::default(), &review).await;
            let answer = answer.map_err(|source| ApprovalError::Review {
                user: requester.username.clone(),
                signer: signer.to_owned(),
                source: Box::new(source),
            })?;
            Ok(answer.status.is_some_and(|status| status.allowed))
        })
    }
}

fn access_review(requester: &Requester, signer: &str) -> SubjectAccessReview {
    SubjectAccessReview {
        metadata: ObjectMeta::default(),
        spec: SubjectAccessReviewSpec {
            user: Some(requester.username.clone()),
            uid: Some(requester.uid.clone()),
            groups: Some(requester.groups.clone()),
            extra: Some(requester.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some("approve".to_owned()),
                group: Some(api::GROUP.to_owned()),
                version: Some("*".to_owned()),
                resource: Some("signers".to_owned()),
                name: Some(signer.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        status: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rules::Object;
    use serde_json::{Value, json};

    use super::*;

    /// Knows the built-in kinds, one external kind, and who may approve what.
    #[derive(Default)]
    pub(crate) struct Grants {
        pub(crate) signers: Vec<&'static str>,
        pub(crate) broken: bool,
    }

    impl Authorizer for Grants {
        fn resolve<'a>(
            &'a self,
            group: &'a str,
            kind: &'a str,
        ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>> {
            let external = (group == "example.org" && kind == "CloudIssuer")
                .then(|| IssuerResource { plural: "cloudissuers".to_owned(), namespaced: false });
            Box::pin(async move { Ok(built_in(group, kind).or(external)) })
        }

        fn may_approve<'a>(
            &'a self,
            requester: &'a Requester,
            signer: &'a str,
        ) -> BoxFuture<'a, Result<bool, ApprovalError>> {
            Box::pin(async move {
                if self.broken {
                    return Err(ApprovalError::Review {
                        user: requester.username.clone(),
                        signer: signer.to_owned(),
                        source: Box::new(kube::Error::TlsRequired),
                    });
                }
                Ok(requester.username == "approver" && self.signers.contains(&signer))
            })
        }
    }

    async fn check(issuer: Value, granted: &'static str, wanted: Option<&str>) {
        let decision =
            Decision { issuer: serde_json::from_value(issuer).unwrap(), namespace: "team-a".to_owned() };
        let requester = Requester { username: "approver".to_owned(), ..Default::default() };
        let grants = Grants { signers: vec![granted], broken: false };
        let finding = super::check(&grants, &decision, &requester).await.unwrap();
        assert_eq!(finding.map(|finding| finding.to_string()).as_deref(), wanted, "{granted}");
    }

    #[tokio::test]
    async fn an_approver_without_a_grant_is_told_which_one_is_missing() {
        let told = "status.conditions: Forbidden: user \"approver\" may not approve or deny requests to Issuer \"ca\"; bind a ClusterRole with verb \"approve\" on resource \"signers\" of group \"cert-manager.io\" and one of the resourceNames \"issuers.cert-manager.io/*\" and \"issuers.cert-manager.io/team-a.ca\" to them by a ClusterRoleBinding";
        for granted in [
            "",
            "issuers.cert-manager.io/ca",
            "issuers.cert-manager.io/team-b.ca",
            "issuers.cert-manager.io/team-a.*",
            "clusterissuers.cert-manager.io/*",
        ] {
            check(json!({"name": "ca"}), granted, Some(told)).await;
        }
    }

    #[tokio::test]
    async fn a_grant_of_a_namespaced_form_does_not_cover_a_cluster_wide_issuer() {
        let told = "status.conditions: Forbidden: user \"approver\" may not approve or deny requests to ClusterIssuer \"ca\"; bind a ClusterRole with verb \"approve\" on resource \"signers\" of group \"cert-manager.io\" and one of the resourceNames \"clusterissuers.cert-manager.io/*\" and \"clusterissuers.cert-manager.io/ca\" to them by a ClusterRoleBinding";
        check(
            json!({"name": "ca", "kind": "ClusterIssuer"}),
            "clusterissuers.cert-manager.io/team-a.ca",
            Some(told),
        )
        .await;
    }

    #[tokio::test]
    async fn an_issuer_of_a_kind_that_is_not_served_cannot_be_approved() {
        check(
            json!({"name": "x", "kind": "Nothing", "group": "example.org"}),
            "",
            Some("spec.issuerRef: Forbidden: the cluster serves no kind Nothing in the group example.org; install the issuer's CustomResourceDefinitions, or create the request with another issuerRef"),
        )
        .await;
    }

    #[tokio::test]
    async fn a_grant_for_the_kind_or_the_issuer_is_enough() {
        check(json!({"name": "ca"}), "issuers.cert-manager.io/*", None).await;
        check(json!({"name": "ca"}), "issuers.cert-manager.io/team-a.ca", None).await;
        let cluster = json!({"name": "ca", "kind": "ClusterIssuer"});
        check(cluster, "clusterissuers.cert-manager.io/ca", None).await;
        let external = json!({"name": "x", "kind": "CloudIssuer", "group": "example.org"});
        check(external, "cloudissuers.example.org/x", None).await;
    }

    #[test]
    fn only_a_new_decision_on_the_status_needs_a_right() {
        let object = |conditions: Value| -> Object<CertificateRequestSpec> {
            serde_json::from_value(json!({"spec": {"issuerRef": {"name": "ca"}},
                "status": {"conditions": conditions}}))
            .unwrap()
        };
        let none = object(json!([]));
        let ready = object(json!([{"type": "Ready", "status": "True"}]));
        let approved = object(json!([{"type": "Approved", "status": "True"}]));
        let denied = object(json!([{"type": "Denied", "status": "False"}]));
        let needed = |new, old, subresource| {
            decision(&Case { subresource, ..Case::update(new, old) }, "team-a").is_some()
        };
        assert!(needed(&approved, &none, Some("status")));
        assert!(needed(&denied, &ready, Some("status")));
        assert!(needed(&denied, &approved, Some("status")));
        assert!(!needed(&ready, &none, Some("status")));
        assert!(!needed(&approved, &approved, Some("status")));
        assert!(!needed(&approved, &none, None));
        assert!(decision(&Case::create(&approved), "team-a").is_none());
    }
}
