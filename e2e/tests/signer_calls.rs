//! The signer service on a real cluster: a mount in mode signer gets its certificate, and whoever asks with another's
//! token, for another's pod or for another's name gets none, with the reason, and a line in the audit log.

mod common;

use anyhow::{bail, ensure};
use api::keys::csi;
use common::signer::{DRIVER_AUDIENCE, POD_AUDIENCE, Signer, account, audited, expired, pod_of, token};
use common::{pods, rival};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::objects::{self, PodExt as _};
use e2e::volume::{self, Generation};
use e2e::{image, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use proto::signer::sign_response::Outcome;
use proto::signer::{IssuerRef, Pod as Asked, SignRequest};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;
use tonic::Code;

/// A node that no kubelet runs, so that pods can be on another one than the driver.
const OTHER_NODE: &str = "elsewhere";

#[tokio::test]
async fn pods_get_their_own_certificates_and_nobody_gets_anothers() -> anyhow::Result<()> {
    namespace::own("signer", |scope| async move {
        let ca = pods::with_ca(&scope).await?;
        let checks = async {
            common::signer::resolvable(&scope).await?;
            let web = mounted(&scope, &ca).await?;
            let caller = Caller::of(&scope, &web).await?;
            caller.gets_its_name().await?;
            strangers_are_refused(&caller).await?;
            tokens_that_do_not_fit_are_refused(&caller).await?;
            names_beyond_the_policy_are_refused(&caller).await?;
            a_name_of_a_service_is_not_a_pods(&caller).await?;
            a_pod_that_is_gone_gets_nothing(&caller).await
        };
        rival::with(&scope, &values(&scope), Box::pin(checks)).await
    })
    .await
}

/// A controller with the signer service, and a driver of another name that asks it.
fn values(scope: &Scope) -> Vec<String> {
    let namespace = &scope.namespace;
    vec![
        "webhook.enabled=false,cainjector.enabled=false,controller.signer.enabled=true".to_owned(),
        format!("csiDriver.mode=signer,csiDriver.name={}", driver_name(scope)),
        format!("controller.leaderElection.namespace={namespace}"),
        format!("controller.extraArgs={{--namespace={namespace}}}"),
    ]
}

fn driver_name(scope: &Scope) -> String {
    format!("{}.test", scope.namespace)
}

/// A pod that runs and holds a certificate for its own name by the issuer's CA.
async fn mounted(scope: &Scope, ca: &Authority) -> anyhow::Result<Pod> {
    let attributes = [
        (csi::ISSUER_NAME, "ca"),
        (csi::KEY_ALGORITHM, "ECDSA"),
        (csi::DNS_NAMES, "${POD_NAME}.${POD_NAMESPACE}.svc"),
        (csi::DURATION, "1h"),
    ];
    let pod = objects::pod("web", &image::reference("pause"));
    let pod = pods::run(scope, &pod.csi_volume(&driver_name(scope), "/tls", &attributes)).await?;
    let generation = Generation::read(&volume::path(&scope.cluster, 1, &pod, "csi-0")?)?;
    generation.check_pair()?;
    generation.check_chain(&ca.certificate, &format!("web.{}.svc", scope.namespace))?;
    audited(scope, &["issued", &format!("{}/web", scope.namespace)], &[]).await?;
    Ok(pod)
}

/// The driver of the node, with what it sends for one of its pods.
struct Caller {
    scope: Scope,
    signer: Signer,
    driver: String,
    pod: Pod,
    pod_token: String,
}

/// What a call is to end with.
enum Wanted {
    /// The call itself fails with this code.
    Denied(Code, &'static str),
    /// The request is refused for good.
    Refused(&'static str),
}

impl Caller {
    async fn of(scope: &Scope, pod: &Pod) -> anyhow::Result<Self> {
        let driver = token(scope, &pod_of(scope, "csi-driver").await?, DRIVER_AUDIENCE).await?;
        let pod_token = token(scope, pod, POD_AUDIENCE).await?;
        let signer = Signer::connect(scope).await?;
        Ok(Self { scope: scope.clone(), signer, driver, pod: pod.clone(), pod_token })
    }

    /// The same for another pod of the node.
    async fn with(&self, pod: &Pod) -> anyhow::Result<Self> {
        let pod_token = token(&self.scope, pod, POD_AUDIENCE).await?;
        let signer = Signer::connect(&self.scope).await?;
        Ok(Self {
            scope: self.scope.clone(),
            signer,
            driver: self.driver.clone(),
            pod: pod.clone(),
            pod_token,
        })
    }

    /// The request of the pod for its own name.
    fn request(&self) -> anyhow::Result<SignRequest> {
        let name = self.pod.metadata.name.as_deref().unwrap_or_default();
        self.request_for(&[&format!("{name}.{}.svc", self.scope.namespace)], DistinguishedName::new())
    }

    fn request_for(&self, names: &[&str], subject: DistinguishedName) -> anyhow::Result<SignRequest> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = subject;
        let request = params.serialize_request(&KeyPair::generate()?)?;
        let metadata = &self.pod.metadata;
        Ok(SignRequest {
            pod: Some(Asked {
                namespace: self.scope.namespace.clone(),
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
                service_account: account(&self.pod).to_owned(),
            }),
            pod_token: self.pod_token.clone(),
            issuer: Some(IssuerRef { name: "ca".to_owned(), ..IssuerRef::default() }),
            request: request.der().to_vec(),
            duration_seconds: 3600,
            ..SignRequest::default()
        })
    }

    async fn gets_its_name(&self) -> anyhow::Result<()> {
        let answer = self.signer.sign(Some(&self.driver), self.request()?).await??;
        match answer.outcome {
            Some(Outcome::Issued(issued)) if !issued.chain.is_empty() => Ok(()),
            other => bail!("the answer is {other:?}"),
        }
    }

    /// The driver's call for this request ends so.
    async fn expect(&self, message: SignRequest, wanted: &Wanted) -> anyhow::Result<()> {
        self.expect_by(Some(&self.driver), message, wanted).await
    }

    /// The call ends so, and the audit log says why, unless it was turned away before it was read.
    async fn expect_by(
        &self,
        bearer: Option<&str>,
        message: SignRequest,
        wanted: &Wanted,
    ) -> anyhow::Result<()> {
        let secrets = [self.driver.clone(), message.pod_token.clone(), bearer.unwrap_or_default().to_owned()];
        let answered = self.signer.sign(bearer, message).await?;
        let reason = match (wanted, answered) {
            (Wanted::Denied(code, reason), Err(status)) => {
                ensure!(status.code() == *code, "it was denied with {status}, and not with {code:?}");
                ensure!(status.message().starts_with(reason), "it was denied with {status}, not as {reason}");
                *reason
            }
            (Wanted::Refused(reason), Ok(answer)) => match answer.outcome {
                Some(Outcome::Refused(unsigned)) if unsigned.reason == *reason => *reason,
                other => bail!("the answer is {other:?}, and not {reason}"),
            },
            (Wanted::Denied(_, reason) | Wanted::Refused(reason), answered) => {
                bail!("the answer is {answered:?}, and not {reason}")
            }
        };
        if ["TokenMissing", "TokenMalformed"].contains(&reason) {
            return Ok(());
        }
        let secrets = secrets.each_ref().map(String::as_str);
        audited(&self.scope, &[reason], &secrets).await
    }
}

/// Who is no driver, whatever token it has.
async fn strangers_are_refused(caller: &Caller) -> anyhow::Result<()> {
    let Caller { scope, pod, pod_token, .. } = caller;
    let unauthenticated = |reason| Wanted::Denied(Code::Unauthenticated, reason);
    caller.expect_by(None, caller.request()?, &unauthenticated("TokenMissing")).await?;
    caller.expect_by(Some("x"), caller.request()?, &unauthenticated("TokenMalformed")).await?;
    caller.expect_by(Some("e30.e30.c2ln"), caller.request()?, &unauthenticated("TokenRefused")).await?;
    // A pod that shows its own token in both places, and one that has got itself a token like the driver's.
    caller.expect_by(Some(pod_token), caller.request()?, &unauthenticated("TokenRefused")).await?;
    let like_driver = token(scope, pod, DRIVER_AUDIENCE).await?;
    let no_driver = Wanted::Denied(Code::PermissionDenied, "NoDriver");
    caller.expect_by(Some(&like_driver), caller.request()?, &no_driver).await?;
    let over = expired(&scope.cluster, &caller.driver)?;
    caller.expect_by(Some(&over), caller.request()?, &unauthenticated("TokenRefused")).await
}

/// Tokens of a pod that are over, for others, or from elsewhere.
async fn tokens_that_do_not_fit_are_refused(caller: &Caller) -> anyhow::Result<()> {
    let Caller { scope, pod, pod_token, .. } = caller;
    let with_token =
        |token: String| Ok::<_, anyhow::Error>(SignRequest { pod_token: token, ..caller.request()? });
    let refused = Wanted::Denied(Code::Unauthenticated, "TokenRefused");
    caller.expect(with_token(token(scope, pod, "another-audience").await?)?, &refused).await?;
    caller.expect(with_token(expired(&scope.cluster, pod_token)?)?, &refused).await?;

    let mut other_uid = caller.request()?;
    other_uid.pod.get_or_insert_default().uid = "9d9f3c5a-0000-4000-8000-000000000000".to_owned();
    let other_pod = Wanted::Denied(Code::PermissionDenied, "TokenOfAnotherPod");
    caller.expect(other_uid, &other_pod).await?;

    // The driver's account on another node, and a pod there, whose node's name both API server and token have.
    scope.create(&json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": OTHER_NODE}, "spec": {"unschedulable": true},
    }))
    .await?;
    let elsewhere = bound(scope, "elsewhere", &format!("{}-csi-driver", scope.namespace)).await?;
    let moved = token(scope, &elsewhere, DRIVER_AUDIENCE).await?;
    let from_another_node = Wanted::Denied(Code::PermissionDenied, "TokenFromAnotherNode");
    caller.expect_by(Some(&moved), caller.request()?, &from_another_node).await?;
    let victim = bound(scope, "victim", "default").await?;
    let theirs = caller.with(&victim).await?;
    theirs.expect(theirs.request()?, &from_another_node).await?;
    for pod in ["elsewhere", "victim"] {
        remove(scope, pod).await?;
    }
    Ok(())
}

/// Requests for more than a pod may have.
async fn names_beyond_the_policy_are_refused(caller: &Caller) -> anyhow::Result<()> {
    let named = |name: &str| caller.request_for(&[name], DistinguishedName::new());
    for foreign in ["kubernetes.default.svc", "web.example.org", "web.default.svc.cluster.local"] {
        caller.expect(named(foreign)?, &Wanted::Refused("DnsNameNotPermitted")).await?;
    }
    let authority = SignRequest { is_ca: true, ..caller.request()? };
    caller.expect(authority, &Wanted::Refused("CertificateAuthorityNotPermitted")).await?;
    let usages = SignRequest { usages: vec!["cert sign".to_owned()], ..caller.request()? };
    caller.expect(usages, &Wanted::Refused("UsagesNotPermitted")).await?;
    let mut masters = DistinguishedName::new();
    masters.push(DnType::OrganizationName, "system:masters");
    let own = format!("web.{}.svc", caller.scope.namespace);
    let masters = caller.request_for(&[&own], masters)?;
    caller.expect(masters, &Wanted::Refused("SubjectNotPermitted")).await
}

/// A pod may have its own name until a Service has it that leads to others.
async fn a_name_of_a_service_is_not_a_pods(caller: &Caller) -> anyhow::Result<()> {
    let scope = &caller.scope;
    let pod = pods::run(scope, &objects::pod("billing", &image::reference("pause"))).await?;
    let billing = caller.with(&pod).await?;
    billing.gets_its_name().await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "billing"},
        "spec": {"selector": {"app": "billing"}, "ports": [{"port": 443}]},
    });
    scope.create(&service).await?;
    // The watch of the service may be a moment behind.
    wait::until("the Service to be known", pods::POD_WITHIN, || async {
        billing.expect(billing.request()?, &Wanted::Refused("DnsNameNotPermitted")).await
    })
    .await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"app": "billing"}}}));
    scope.api::<Pod>().patch("billing", &PatchParams::default(), &label).await?;
    wait::until("the pod to be the Service's", pods::POD_WITHIN, || billing.gets_its_name()).await
}

/// A token counts no longer than its pod is there, although its review is remembered.
async fn a_pod_that_is_gone_gets_nothing(caller: &Caller) -> anyhow::Result<()> {
    let scope = &caller.scope;
    let pod = pods::run(scope, &objects::pod("brief", &image::reference("pause"))).await?;
    let brief = caller.with(&pod).await?;
    let unused = token(scope, &pod, POD_AUDIENCE).await?;
    brief.gets_its_name().await?;
    remove(scope, "brief").await?;
    wait::until("the end of the pod to be known", pods::POD_WITHIN, || async {
        brief.expect(brief.request()?, &Wanted::Denied(Code::PermissionDenied, "PodGone")).await
    })
    .await?;
    // One that was never shown before is none to the API server itself.
    let fresh = SignRequest { pod_token: unused, ..brief.request()? };
    brief.expect(fresh, &Wanted::Denied(Code::Unauthenticated, "TokenRefused")).await
}

/// A pod on the node that no kubelet runs.
async fn bound(scope: &Scope, name: &str, account: &str) -> anyhow::Result<Pod> {
    let mut pod = objects::pod(name, &image::reference("pause")).service_account(account);
    pod.spec.get_or_insert_default().node_name = Some(OTHER_NODE.to_owned());
    pods::create(scope, &pod).await
}

/// Deletes a pod at once: no kubelet is waited for.
async fn remove(scope: &Scope, pod: &str) -> anyhow::Result<()> {
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    scope.api::<Pod>().delete(pod, &at_once).await?;
    Ok(())
}
