//! Kinds that the operator has added: each is followed for as long as a policy holds this account to its task there. One that
//! lacks its policy keeps the others from nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use runtime::readiness::Teller;
use runtime::shutdown::Shutdown;
use tokio::time::Instant;

use crate::apply::Injector;
use crate::guard::{Account, Guard, GuardError};
use crate::target::TargetKind;
use crate::watch;

/// How long to wait for a policy without a word: Helm applies them, and those of a new version, after the pods.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks in that time.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two looks later on, and while the policy is there.
const AGAIN: Duration = Duration::from_secs(30);
/// Looks in a row that have to miss a policy which was there: one that is exchanged is away for a moment.
const MISSES: u32 = 2;

/// Follows the targets of an added kind while its policy is there, until shutdown is requested; `standing` is told when it is
/// not. `own` is the ConfigMap that this process keeps for itself, if it was named.
///
/// # Errors
/// When the kind can have no policy.
pub(crate) async fn keep(
    injector: Arc<Injector>,
    kind: TargetKind,
    own: Option<String>,
    standing: Teller,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let guard = Guard::of(injector.client(), kind, own)
        .with_context(|| format!("{} have no policy", kind.plural()))?;
    let mut keeper = Keeper { guard, kind, standing: standing.clone(), told: None };
    loop {
        let account = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            account = keeper.held() => account,
        };
        injector.keeps(account.own());
        let following = watch::follow(Arc::clone(&injector), kind, standing.clone(), shutdown.clone());
        tokio::select! {
            outcome = following => return outcome,
            () = keeper.lost() => injector.leave(kind),
        }
    }
}

struct Keeper {
    guard: Guard,
    kind: TargetKind,
    standing: Teller,
    /// What was last said to be wrong.
    told: Option<String>,
}

impl Keeper {
    /// Waits until the policy is there.
    async fn held(&mut self) -> Account {
        let patience = Instant::now() + PATIENCE;
        loop {
            match self.guard.look().await {
                Ok(account) => {
                    if self.told.take().is_some() {
                        tracing::info!("the policy of {} is there: they get bundles", self.kind.plural());
                    }
                    return account;
                }
                Err(_) if Instant::now() < patience => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    self.tell(&error);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Waits until the policy is there no more, or nobody may see whether it is. An API server that does not answer is no
    /// proof of that.
    async fn lost(&mut self) {
        let mut misses = 0;
        while misses < MISSES {
            tokio::time::sleep(AGAIN).await;
            match self.guard.look().await {
                Ok(_) => misses = 0,
                Err(error) if error.is_an_answer() => {
                    misses += 1;
                    if misses == MISSES {
                        self.tell(&error);
                    }
                }
                Err(_) => {}
            }
        }
    }

    fn tell(&mut self, error: &GuardError) {
        let text = error.told();
        if self.told.as_ref() != Some(&text) {
            tracing::error!("{} get no bundles: {text}", self.kind.plural());
        }
        self.standing.tell(Err(format!("left out: {text}")));
        self.told = Some(text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response};
    use kube::client::Body;
    use runtime::lock::lock;
    use runtime::readiness::Readiness;
    use serde_json::{Value, json};

    use super::*;
    use crate::apply::tests::injector;
    use crate::policy::Policy;

    /// An API server with one ConfigMap that asks for something, and the policy of ConfigMaps while this is true.
    fn server(has_policy: &Arc<Mutex<bool>>) -> kube::Client {
        let has_policy = Arc::clone(has_policy);
        runtime::testing::client(move |request: Request<Body>| {
            let has_policy = *lock(&has_policy);
            let uri = request.uri().to_string();
            let policy = Policy::of(TargetKind::ConfigMap).unwrap();
            let spec = Account::service("us", "injector").spec(policy);
            let binding = json!({"policyName": "p", "validationActions": ["Deny"]});
            let list = |spec: &Value| {
                let items =
                    if has_policy { json!([{"metadata": {"name": "p"}, "spec": spec}]) } else { json!([]) };
                json!({"metadata": {"resourceVersion": "7"}, "items": items})
            };
            let asking = json!({"metadata": {"name": "trust", "namespace": "team-a", "resourceVersion": "7",
                "annotations": {"cert-manager.io/inject-apiserver-ca": "true"}}});
            let body = match uri.split('?').next().and_then(|path| path.rsplit('/').next()) {
                _ if uri.contains("watch=true") => None,
                Some("selfsubjectreviews") => Some(json!({"metadata": {},
                    "status": {"userInfo": {"username": "system:serviceaccount:us:injector"}}})),
                Some("validatingadmissionpolicies") => Some(list(&spec)),
                Some("validatingadmissionpolicybindings") => Some(list(&binding)),
                Some("configmaps") => Some(json!({"metadata": {"resourceVersion": "7"}, "items": [asking]})),
                _ => None,
            };
            async move {
                match body {
                    Some(body) => Response::new(Body::from(body.to_string().into_bytes())),
                    None => std::future::pending().await,
                }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_without_its_policy_is_left_out_alone_and_served_while_it_is_there() {
        let has_policy = Arc::new(Mutex::new(false));
        let (injector, _) = injector(server(&has_policy));
        let (readiness, shutdown) = (Readiness::default(), Shutdown::default());
        let standing = readiness.teller("configmaps");
        let kept =
            keep(Arc::clone(&injector), TargetKind::ConfigMap, None, standing.clone(), shutdown.clone());
        let kept = tokio::spawn(kept);
        let known = || injector.missing(TargetKind::ConfigMap, &std::collections::HashSet::new()).len();
        tokio::time::sleep(PATIENCE - PAUSE).await;
        assert_eq!(readiness.report().lines, ["[-] configmaps: not started yet"]);
        tokio::time::sleep(PAUSE * 2).await;
        let told = standing.standing().unwrap_err();
        assert!(told.starts_with("left out: nothing holds system:serviceaccount:us:injector"), "{told}");
        assert_eq!(known(), 0);
        *lock(&has_policy) = true;
        tokio::time::sleep(AGAIN).await;
        assert_eq!((standing.standing(), known()), (Ok(()), 1));
        *lock(&has_policy) = false;
        tokio::time::sleep(AGAIN + PAUSE).await;
        assert_eq!((standing.standing(), known()), (Ok(()), 1), "it may be exchanged");
        tokio::time::sleep(AGAIN * (MISSES - 1)).await;
        assert_eq!(known(), 0);
        assert!(!readiness.is_ready());
        *lock(&has_policy) = true;
        tokio::time::sleep(AGAIN).await;
        assert_eq!((standing.standing(), known()), (Ok(()), 1));
        shutdown.request();
        kept.await.unwrap().unwrap();
    }
}
