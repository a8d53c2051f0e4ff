//! Tells drivers which CA signs the service's certificate: in a ConfigMap, which they watch.

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use runtime::pause;
use runtime::readiness::Teller;
use runtime::shutdown::Shutdown;
use runtime::watch::{Failure, NamedObjects, ObjectName, State};
use serde_json::json;
use serving::clock::Clock;
use serving::renewer::Served;
use tokio::sync::watch::Receiver;

/// Field manager of the ConfigMap.
const MANAGER: &str = "signet-controller-signer";

/// The key of the ConfigMap that holds the CAs, PEM.
pub const KEY: &str = "ca.crt";

/// Publishes the CAs of what is served.
pub struct Publisher {
    /// Writes the ConfigMap.
    pub client: Client,
    /// Which one.
    pub name: ObjectName,
    /// What is served.
    pub served: Receiver<Option<Served>>,
    /// Is told whether drivers can trust the service.
    pub standing: Teller,
    /// Tells the time.
    pub clock: Clock,
}

impl Publisher {
    /// Publishes until shutdown.
    ///
    /// # Errors
    /// When the ConfigMap cannot be watched at all.
    pub async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let maps = NamedObjects::namespaced(self.client.clone(), published);
        let mut map = maps.get(&self.name)?;
        let mut failures: u32 = 0;
        loop {
            let served = self.served.borrow_and_update().clone();
            let seen = map.borrow_and_update().clone();
            let outcome = self.step(served.as_ref(), &seen).await;
            self.standing.tell(outcome.clone().map_err(|Unpublished { why, .. }| why));
            let is_failure = matches!(outcome, Err(Unpublished { is_failure: true, .. }));
            failures = if is_failure { failures.saturating_add(1) } else { 0 };
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                Ok(()) = self.served.changed() => {}
                Ok(()) = map.changed() => {}
                () = tokio::time::sleep(pause::after(failures)), if is_failure => {}
            }
        }
    }

    async fn step(&self, served: Option<&Served>, seen: &State<Bundle>) -> Result<(), Unpublished> {
        let waits = |why: String| Unpublished { why, is_failure: false };
        let Some(served) = served else {
            return Err(waits("there is no serving certificate yet".to_owned()));
        };
        let before = match seen {
            State::Present(bundle) => Bundle::clone(bundle),
            State::Absent => Bundle::default(),
            State::Pending => return Err(waits(format!("ConfigMap {} was not read yet", self.name))),
            State::Failed(failure) => return Err(waits(format!("ConfigMap {}: {failure}", self.name))),
        };
        match bundle(&before, served, (self.clock)()) {
            None => Ok(()),
            // The watch shows it, and then the service is ready.
            Some(bundle) => self.write(&bundle).await,
        }
    }

    async fn write(&self, bundle: &Bundle) -> Result<(), Unpublished> {
        let namespace = self.name.namespace.as_deref().unwrap_or_default();
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name.name, "namespace": namespace},
            "data": {KEY: bundle.to_pem()},
        });
        let params = PatchParams::apply(MANAGER).force();
        let written = maps.patch(&self.name.name, &params, &Patch::Apply(body)).await;
        let why = match written {
            Ok(_) => {
                tracing::info!(cas = bundle.certificates().len(), "published the CA of the signer service");
                let why = format!("ConfigMap {} was written and not seen yet", self.name);
                return Err(Unpublished { why, is_failure: false });
            }
            Err(error) => format!("cannot write ConfigMap {}: {}", self.name, Failure::from(&error)),
        };
        tracing::warn!("{why}");
        Err(Unpublished { why, is_failure: true })
    }
}

/// Why drivers cannot trust the service yet.
#[derive(Debug, Clone)]
struct Unpublished {
    why: String,
    /// Whether to try again soon, and not only after a change.
    is_failure: bool,
}

fn published(map: ConfigMap) -> Bundle {
    let text = map.data.and_then(|mut data| data.remove(KEY));
    // What cannot be read is written anew.
    text.and_then(|text| Bundle::parse(text.as_bytes()).ok()).unwrap_or_default()
}

/// What the ConfigMap should hold where it holds `before`; `None`: it is right. Replicas may know of different CAs for a
/// moment, so each adds what it needs and takes out only what is over for all: else two could overwrite each other for
/// ever.
fn bundle(before: &Bundle, served: &Served, now: Timestamp) -> Option<Bundle> {
    let wanted = &served.wanted;
    let is_over = |ca: &&Certificate| wanted.retired.contains(ca) || now > ca.not_after();
    let kept = before.certificates().iter().filter(|ca| !is_over(ca)).cloned();
    let after = Bundle::of(kept.chain(wanted.older.iter().chain(&wanted.required).cloned()).collect());
    (after.certificates() != before.certificates()).then_some(after)
}

#[cfg(test)]
mod tests {
    use issuance::authority::Authority;
    use issuance::key::{KeyAlgorithm, PrivateKey};
    use jiff::SignedDuration;
    use serving::configurations::Wanted;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn ca(name: &str, hours: i64) -> Certificate {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let life = SignedDuration::from_hours(hours);
        Authority::self_signed(name, key, life, now()).unwrap().certificate().clone()
    }

    fn served(older: &[&Certificate], required: &[&Certificate], retired: &[&Certificate]) -> Served {
        let list = |certificates: &[&Certificate]| certificates.iter().map(|one| (*one).clone()).collect();
        Served {
            certificate: required[0].clone(),
            name: "signer.signet.svc".try_into().unwrap(),
            ca: None,
            wanted: Wanted { older: list(older), required: list(required), retired: list(retired) },
        }
    }

    #[test]
    fn what_another_replica_needs_stays_until_it_is_over() {
        let [old, current, next, short] =
            [("old", 9), ("current", 9), ("next", 9), ("short", 1)].map(|(name, hours)| ca(name, hours));
        let before = Bundle::of(vec![old.clone(), short, current.clone(), next.clone()]);
        assert_eq!(bundle(&before, &served(&[], &[&current], &[]), now()), None);
        let later = now() + SignedDuration::from_hours(2);
        let after = bundle(&before, &served(&[], &[&current, &next], &[&old]), later).unwrap();
        assert_eq!(after.certificates(), [current, next]);
    }

    #[test]
    fn what_is_needed_is_added() {
        let [old, current, next] =
            [("old", 9), ("current", 9), ("next", 9)].map(|(name, hours)| ca(name, hours));
        let all = bundle(&Bundle::default(), &served(&[&old], &[&current, &next], &[]), now()).unwrap();
        assert_eq!(all.certificates().len(), 3);
        assert_eq!(bundle(&all, &served(&[&old], &[&current, &next], &[]), now()), None);
        assert_eq!(published(ConfigMap::default()), Bundle::default());
    }
}
