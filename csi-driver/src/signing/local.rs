//! Signs in this process (`--mode=local`), with issuers of our own group. It reads their Secrets, so the node holds the CA's
//! key. What a pod may be called, the name policy says, as in all modes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::meta::IssuerRef;
use futures::future::BoxFuture;
use issuance::authority::Terms;
use issuers::live::policies::Followed;
use issuers::live::{Policies, Reader};
use issuers::policy::{Asked, Permitted, PodFacts};
use issuers::{IssuerId, LocalIssuers, Outcome};

use super::{Order, Signing};

/// When to try again what may work by itself.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Signs here what the name policy permits.
pub struct Local {
    issuers: LocalIssuers,
    policies: Policies,
    reader: Reader,
    /// The rules are followed for as long as this lives.
    _followed: Option<Followed>,
}

impl Local {
    /// Signs with these issuers, by this policy; pods and Services are read by `reader`.
    pub fn new(
        issuers: LocalIssuers,
        policies: Policies,
        followed: Option<Followed>,
        reader: Reader,
    ) -> Arc<Self> {
        Arc::new(Self { issuers, policies, reader, _followed: followed })
    }

    async fn attempt(&self, order: &Order<'_>) -> Result<Outcome, Outcome> {
        let issuer = issuer_id(order.issuer, &order.pod.namespace)
            .map_err(|message| Outcome::Terminal { reason: "IssuerNotLocal", message })?;
        let permitted = self.permitted(order).await?;
        let terms = Terms { duration: permitted.duration, ..order.terms.clone() };
        let outcome = self.issuers.sign(&issuer, order.request, Some(order.key), &terms, order.now).await;
        Ok(match outcome {
            Outcome::Issued(mut issued) => {
                issued.notes.extend(permitted.notes);
                Outcome::Issued(issued)
            }
            unsigned => unsigned,
        })
    }

    /// What the pod may have of what it asks for. What does not turn on the cluster costs no call.
    async fn permitted(&self, order: &Order<'_>) -> Result<Permitted, Outcome> {
        self.policies.standing().map_err(|why| retry("PolicyUnread", why))?;
        let policy = self.policies.now();
        let asked = Asked {
            request: order.request,
            usages: &order.terms.usages,
            is_ca: order.terms.is_ca,
            duration: order.terms.duration,
            issuer: order.issuer,
        };
        if let Some(permitted) = Reader::without_reading(&asked, told(order, &BTreeMap::new()), &policy) {
            return Ok(permitted);
        }
        let (namespace, name) = (&order.pod.namespace, &order.pod.name);
        let unread = |unread: issuers::live::Unread| retry("PodUnread", unread.to_string());
        let pod = self.reader.pod(namespace, name).await.map_err(unread)?;
        let pod = pod.filter(|pod| pod.uid() == order.pod.uid).ok_or_else(|| {
            retry("PodGone", format!("there is no Pod {namespace}/{name} with UID {}", order.pod.uid))
        })?;
        let judged = self.reader.judge(&asked, pod.facts(), &policy).await.map_err(unread)?;
        judged.map_err(|refusal| Outcome::Terminal {
            reason: refusal.reason.as_str(),
            message: refusal.message,
        })
    }
}

impl Signing for Local {
    fn sign<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.attempt(&order).await.unwrap_or_else(|unsigned| unsigned) })
    }
}

/// The pod as far as kubelet has told of it. Whether it has the addresses of its node is not known, so it is taken to.
fn told<'a>(order: &Order<'a>, labels: &'a BTreeMap<String, String>) -> PodFacts<'a> {
    PodFacts {
        namespace: &order.pod.namespace,
        name: &order.pod.name,
        account: order.account,
        hostname: None,
        subdomain: None,
        host_network: true,
        labels,
    }
}

fn retry(reason: &'static str, message: String) -> Outcome {
    Outcome::Retry { after: RETRY_AFTER, reason, message }
}

/// The issuer that a pod of `namespace` means, if it is one of ours.
fn issuer_id(issuer: &IssuerRef, namespace: &str) -> Result<IssuerId, String> {
    IssuerId::of(issuer, namespace).ok_or_else(|| {
        format!(
            "{} of group {} cannot sign on the node; with --mode=local use an Issuer or ClusterIssuer of group {}",
            issuer.kind_or_default(),
            issuer.group_or_default(),
            api::GROUP
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response};
    use issuance::key::{KeyAlgorithm, PrivateKey};
    use issuance::name::SubjectAltName;
    use issuance::request::{Request as Signing, RequestSpec};
    use issuers::policy::{DURATION_MAX, Policy, Rules};
    use jiff::{SignedDuration, Timestamp};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::testing;

    /// The outcome for a pod with this name, and what the API server was asked for: the pod is there, no Service and no
    /// issuer is.
    async fn signed(name: &str, uid: &str, rules: &str) -> (Outcome, Vec<String>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&asked);
        let spec = testing::spec("csi-1", "/pods/a/mount");
        let pod = json!({
            "metadata": {"namespace": spec.pod.namespace, "name": spec.pod.name, "uid": uid},
            "spec": {"nodeName": "n1", "serviceAccountName": "shop"},
        });
        let client = runtime::testing::client(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let (status, answer) = match path.contains("/pods/") {
                true => (200, pod.clone()),
                false => (
                    404,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                                      "reason": "NotFound", "message": "no", "code": 404}),
                ),
            };
            hears.lock().unwrap().push(path);
            async move {
                Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap()
            }
        });
        let rules = format!("apiVersion: policy.signet/v1alpha1\nkind: NamePolicy\nrules:\n{rules}\n");
        let policy = Policy {
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            duration_max: DURATION_MAX,
            rules: Rules::parse(&rules).unwrap(),
        };
        let issuers = LocalIssuers::new(runtime::testing::silent(), "kube-system".to_owned());
        let local = Local::new(issuers, Policies::fixed(policy), None, Reader::new(client));
        let names = vec![SubjectAltName::Dns(name.to_owned())];
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let request = Signing::build(&RequestSpec { names, ..RequestSpec::default() }, &key).unwrap();
        let issuer = IssuerRef { name: "ca".to_owned(), kind: None, group: None };
        let terms = Terms { duration: SignedDuration::from_hours(1), ..Terms::default() };
        let order = Order {
            issuer: &issuer,
            volume: &spec.id,
            pod: &spec.pod,
            account: "shop",
            request: &request,
            key: &key,
            terms: &terms,
            now: Timestamp::now(),
        };
        let outcome = match local.permitted(&order).await {
            // Whoever signs is not asked: that the way is free is what matters.
            Ok(_) => Outcome::Wait { reason: "Permitted", message: String::new() },
            Err(outcome) => outcome,
        };
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        (outcome, asked)
    }

    fn own_name() -> String {
        let pod = testing::spec("csi-1", "/pods/a/mount").pod;
        format!("{}.{}.svc", pod.name, pod.namespace)
    }

    fn uid() -> String {
        testing::spec("csi-1", "/pods/a/mount").pod.uid
    }

    #[tokio::test]
    async fn names_that_are_not_the_pods_are_refused_for_good() {
        let (outcome, _) = signed("kubernetes.default.svc", &uid(), "").await;
        let Outcome::Terminal { reason, message } = outcome else { panic!("{outcome:?}") };
        assert_eq!(reason, "DnsNameNotPermitted");
        assert!(message.contains("add this rule to the name policy"), "{message}");
    }

    #[tokio::test]
    async fn a_pod_in_place_of_another_is_waited_for() {
        let (outcome, _) = signed(&own_name(), "another", "").await;
        assert!(matches!(outcome, Outcome::Retry { reason: "PodGone", .. }), "{outcome:?}");
    }

    #[tokio::test]
    async fn what_a_rule_permits_costs_no_call() {
        let permitted = |outcome| matches!(outcome, Outcome::Wait { reason: "Permitted", .. });
        let (outcome, asked) = signed("a.test", &uid(), "- dnsNames: [a.test]").await;
        assert!(permitted(outcome) && asked.is_empty(), "{asked:?}");
        let (outcome, asked) = signed(&own_name(), &uid(), "").await;
        assert!(permitted(outcome) && asked.len() == 2, "{asked:?}");
    }

    fn check(kind: Option<&str>, group: Option<&str>, expected: Result<&str, &str>) {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let issuer = IssuerRef { name: "ca".to_owned(), kind: text(kind), group: text(group) };
        let got = issuer_id(&issuer, "team-a").map(|id| id.to_string());
        match expected {
            Ok(id) => assert_eq!(got.as_deref(), Ok(id)),
            Err(start) => assert!(got.as_ref().is_err_and(|m| m.starts_with(start)), "{got:?}"),
        }
    }

    #[test]
    fn issuers_of_others_are_refused() {
        check(None, Some("example.org"), Err("Issuer of group example.org cannot sign on the node"));
        check(Some("VaultIssuer"), None, Err("VaultIssuer of group cert-manager.io cannot sign"));
    }

    #[test]
    fn issuers_are_looked_up_where_the_pod_is() {
        check(None, None, Ok("Issuer team-a/ca"));
        check(Some("ClusterIssuer"), Some("cert-manager.io"), Ok("ClusterIssuer ca"));
    }
}
