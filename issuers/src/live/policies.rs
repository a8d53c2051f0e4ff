//! The name policy as it is now: the rules of a ConfigMap, followed while the process runs.

use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use runtime::readiness::Teller;
use runtime::watch::{NamedObjects, ObjectName, State, TooManyWatches};
use tokio::sync::watch::Receiver;

use crate::policy::{Policy, Rules};

/// The key of the ConfigMap that holds the rules.
pub const KEY: &str = "policy.yaml";

/// The rules of a ConfigMap, or why they cannot be used.
type Read = Result<Rules, String>;

/// A watch of the rules, which goes on until this is dropped.
#[derive(Debug)]
pub struct Followed {
    _maps: NamedObjects<Read>,
    _receiver: Receiver<State<Read>>,
}

/// The policy; clones share it.
#[derive(Debug, Clone)]
pub struct Policies {
    now: Arc<RwLock<Arc<Policy>>>,
    /// Whether the rules have been read; `None`: they are known without.
    standing: Option<Teller>,
}

impl Policies {
    /// A policy whose rules do not change.
    pub fn fixed(policy: Policy) -> Self {
        Self { now: Arc::new(RwLock::new(Arc::new(policy))), standing: None }
    }

    /// A policy whose rules are in ConfigMap `name`, which is followed for as long as what is returned beside it lives.
    /// `standing` hears when they have been read for the first time: to refuse names for good without them would be wrong.
    ///
    /// # Errors
    /// When it cannot be watched, which only a process with too many watches meets.
    pub fn followed(
        policy: Policy,
        client: Client,
        name: &ObjectName,
        standing: Teller,
    ) -> Result<(Self, Followed), TooManyWatches> {
        let policies = Self { standing: Some(standing), ..Self::fixed(policy) };
        let told = policies.clone();
        let maps = NamedObjects::namespaced(client, read);
        let maps = maps.on_change(move |name, state| told.changed(name, state));
        let receiver = maps.get(name)?;
        Ok((policies, Followed { _maps: maps, _receiver: receiver }))
    }

    /// Whether the rules have been read.
    ///
    /// # Errors
    /// Why they have not.
    pub fn standing(&self) -> Result<(), String> {
        self.standing.as_ref().map_or(Ok(()), Teller::standing)
    }

    /// What applies now.
    pub fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rules that are wrong change nothing: those that were right last go on, and without any nothing is ready. Without the
    /// ConfigMap there are none.
    fn changed(&self, name: &ObjectName, state: &State<Read>) {
        let unread = |why: String| {
            // What was read once goes on.
            if self.standing().is_err() {
                self.tell(Err(why));
            }
        };
        let rules = match state {
            State::Present(read) => match read.as_ref() {
                Ok(rules) => rules.clone(),
                Err(error) => {
                    tracing::error!(
                        "the name policy in ConfigMap {name} is wrong and changes nothing: {error}"
                    );
                    return unread(format!("the name policy in ConfigMap {name} is wrong: {error}"));
                }
            },
            State::Absent => Rules::default(),
            State::Pending => return,
            State::Failed(failure) => {
                tracing::warn!(%failure, "cannot watch ConfigMap {name} of the name policy");
                return unread(format!("cannot watch ConfigMap {name} of the name policy: {failure}"));
            }
        };
        if rules.allow_any() {
            tracing::warn!("a rule of the name policy in ConfigMap {name} permits any name");
        }
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.rules != rules {
            tracing::info!(rules = rules.len(), "the name policy has changed");
            *now = Arc::new(Policy { rules, ..Policy::clone(&now) });
        }
        drop(now);
        self.tell(Ok(()));
    }

    fn tell(&self, standing: Result<(), String>) {
        if let Some(teller) = &self.standing {
            teller.tell(standing);
        }
    }
}

fn read(map: ConfigMap) -> Read {
    let Some(text) = map.data.and_then(|mut data| data.remove(KEY)) else {
        return Err(format!("it has no key {KEY}"));
    };
    Rules::parse(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::DURATION_MAX;

    fn policies() -> Policies {
        let policy = Policy {
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            duration_max: DURATION_MAX,
            rules: Rules::default(),
        };
        let standing = runtime::readiness::Readiness::default().teller("name policy");
        Policies { standing: Some(standing), ..Policies::fixed(policy) }
    }

    fn map(key: &str, rules: &str) -> State<Read> {
        let text = format!("apiVersion: policy.signet/v1alpha1\nkind: NamePolicy\nrules:\n{rules}\n");
        let data = Some(BTreeMap::from([(key.to_owned(), text)]));
        State::Present(Arc::new(read(ConfigMap { data, ..ConfigMap::default() })))
    }

    fn name() -> ObjectName {
        ObjectName::namespaced("signet", "rules")
    }

    #[test]
    fn nothing_is_ready_before_rules_were_read_once() {
        let policies = policies();
        let failed = State::Failed(runtime::watch::Failure { code: Some(403), message: "no".to_owned() });
        let check = |state: &State<Read>, unready: Option<&str>| {
            policies.changed(&name(), state);
            let said = policies.standing();
            match unready {
                Some(why) => assert!(said.as_ref().is_err_and(|said| said.contains(why)), "{said:?}"),
                None => assert_eq!(said, Ok(())),
            }
        };
        check(&State::Pending, Some("not started yet"));
        check(&failed, Some("cannot watch ConfigMap signet/rules"));
        check(&map(KEY, "- dnsName: [a.test]"), Some("unknown key \"dnsName\""));
        check(&State::Absent, None);
        check(&failed, None);
        check(&map(KEY, "- dnsName: [a.test]"), None);
    }

    #[test]
    fn rules_that_are_wrong_change_nothing_and_are_told() {
        let policies = policies();
        policies.changed(&name(), &map(KEY, "- dnsNames: [a.test]"));
        let log = runtime::testing::Log::default();
        let listening = log.listen();
        policies.changed(&name(), &map(KEY, "- dnsName: [a.test]"));
        policies.changed(&name(), &map("rules.yaml", "- {}\n- {}"));
        drop(listening);
        assert_eq!(policies.now().rules.len(), 1);
        let text = log.text();
        assert!(
            text.contains("unknown key \"dnsName\"") && text.contains("it has no key policy.yaml"),
            "{text}"
        );
    }

    #[test]
    fn rules_are_those_that_were_seen_last() {
        let policies = policies();
        assert!(policies.now().rules.is_empty());
        policies.changed(&name(), &map(KEY, "- allow: any"));
        assert!(policies.now().rules.allow_any());
        policies.changed(&name(), &State::Absent);
        assert!(policies.now().rules.is_empty());
    }
}
