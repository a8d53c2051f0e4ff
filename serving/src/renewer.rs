//! Keeps the CA's Secret and the serving certificate as [`crate`] wants them.

mod secret;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use issuance::authority::Authority;
use issuance::certificate::Certificate;
use issuance::rotation::PolicyError;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use runtime::shutdown::Shutdown;
use runtime::tls::{ServingCertificate, ServingCertificateError};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::sync::watch;

use self::secret::Keeper;
use crate::clock::{self, Clock};
use crate::configurations::{Trusts, Wanted};
use crate::keeping::{self, CLOCK_SKEW_MAX, Lifetimes, Phase, Situation};
use crate::metrics::Metrics;
use crate::stored::Stored;
use crate::{Handover, Leaf, LeafTerms, ServingError, Trust, new_leaf};
use runtime::pause;

/// How often everything is checked without being told to: it bounds what a missed event can cost.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// The same while a new CA waits for the callers' trust.
const HANDOVER_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Time for one check and what it leads to: an API server that takes longer is tried again.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);

/// What is served now, for those who depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The certificate.
    pub certificate: Certificate,
    /// A name that it is for, under which it is dialled.
    pub name: ServerName<'static>,
    /// Certificate of the CA that signed it; None: that is not known.
    pub ca: Option<Certificate>,
    /// The CAs that callers should trust.
    pub wanted: Wanted,
}

impl Served {
    /// Checks that callers whose clock shows `now` find it valid.
    ///
    /// # Errors
    /// What they would complain of.
    pub fn check(&self, now: Timestamp) -> Result<(), String> {
        let (not_before, not_after) = (self.certificate.not_before(), self.certificate.not_after());
        if now > not_after {
            return Err(format!("expired at {not_after}"));
        }
        if now < not_before {
            return Err(format!("not valid before {not_before}"));
        }
        Ok(())
    }

    /// Checks that callers under each of these names find it to be for them.
    ///
    /// # Errors
    /// What they would complain of, and what would help.
    pub fn check_names(&self, names: &[ServerName<'static>]) -> Result<(), String> {
        let der = CertificateDer::from(self.certificate.der());
        let parsed = ParsedCertificate::try_from(&der).ok();
        let is_for = |name: &ServerName<'_>| {
            parsed.as_ref().is_some_and(|certificate| verify_server_name(certificate, name).is_ok())
        };
        let Some(name) = names.iter().find(|name| !is_for(name)) else { return Ok(()) };
        let (name, cure) = (
            name.to_str(),
            match self.ca {
                Some(_) => "add it to --dynamic-serving-dns-names",
                None => "put one that is into the files",
            },
        );
        Err(format!("calls {name}, and the certificate is not for that name; {cure}"))
    }
}

/// The name to dial of those that a certificate is for: that of a Service, if there is one, since API servers call most
/// webhooks by it; or else the first.
pub(crate) fn dialled(names: impl Iterator<Item = ServerName<'static>>) -> Option<ServerName<'static>> {
    let mut first = None;
    for name in names {
        if matches!(&name, ServerName::DnsName(name) if name.as_ref().ends_with(".svc")) {
            return Some(name);
        }
        first = first.or(Some(name));
    }
    first
}

/// Where a certificate goes, and who hears of it.
pub struct Outlet {
    /// What the listener serves.
    pub certificate: Arc<ServingCertificate>,
    /// Hears of each change.
    pub served: watch::Sender<Option<Served>>,
    /// Counts.
    pub metrics: Metrics,
    /// Tells the time.
    pub clock: Clock,
}

/// Where the CA is kept, and what is served under it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Field manager of the Secret, and value of its label `app.kubernetes.io/managed-by`.
    pub manager: &'static str,
    /// Namespace of the Secret.
    pub secret_namespace: String,
    /// Name of the Secret.
    pub secret_name: String,
    /// Names to serve under.
    pub names: Vec<ServerName<'static>>,
    /// Life of a serving certificate.
    pub leaf_lifetime: SignedDuration,
    /// Life of a CA.
    pub ca_lifetime: SignedDuration,
}

impl Settings {
    /// Name of the Service in front of us: the first label of the first DNS name. None: we serve under IP addresses only.
    pub fn service_name(&self) -> Option<String> {
        self.names.iter().find_map(|name| match name {
            ServerName::DnsName(name) => name.as_ref().split('.').next().map(ToOwned::to_owned),
            _ => None,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("cannot read Secret {0}")]
    Read(String, #[source] Box<kube::Error>),
    #[error("cannot write Secret {0}")]
    Write(String, #[source] Box<kube::Error>),
    #[error("the API server did not answer within {STEP_TIME_MAX:?} about Secret {0}")]
    Late(String),
    #[error("Secret {0} keeps being written by somebody else")]
    Contended(String),
    #[error("there is no CA to sign with")]
    NoCa,
    #[error(transparent)]
    Make(#[from] ServingError),
    #[error("cannot serve the new certificate")]
    Serve(#[from] ServingCertificateError),
}

/// Serves and renews until shutdown. Failures are logged and tried again for ever.
pub struct Renewer {
    names: Vec<ServerName<'static>>,
    lifetimes: Lifetimes,
    replica: String,
    secret_name: String,
    keeper: Keeper,
    outlet: Outlet,
    trusts: Trusts,
    leaf: Option<Current>,
    /// What was in the Secret when it was last read.
    stored: Stored,
    /// A CA that is in the Secret and not served under yet.
    newcomer: Option<Newcomer>,
}

/// The certificate that is served.
struct Current {
    certificate: Certificate,
    /// The CA that signed it. Its key is kept while it is needed, even if the Secret has another CA by now.
    authority: Arc<Authority>,
    names: Vec<ServerName<'static>>,
    renew_at: Timestamp,
}

impl Current {
    fn is_due(&self, names: &[ServerName<'static>], now: Timestamp) -> bool {
        now >= self.renew_at || self.names != names || !self.is_valid(now)
    }

    /// A beginning in a moment is a matter of clocks that differ; one in an hour, of a clock that was set back.
    fn is_valid(&self, now: Timestamp) -> bool {
        let begins_later = self.certificate.not_before().duration_since(now) > CLOCK_SKEW_MAX;
        !begins_later && now <= self.certificate.not_after()
    }
}

struct Newcomer {
    ca: Certificate,
    since: Timestamp,
    trusted_since: Option<Timestamp>,
}

impl Renewer {
    /// A renewer that has served nothing yet. `trusts` tells when a new CA can be served under.
    ///
    /// # Errors
    /// When a lifetime is not positive, or the CA's has no room for an overlap.
    pub fn new(
        settings: Settings,
        client: Client,
        outlet: Outlet,
        trusts: Trusts,
    ) -> Result<Self, PolicyError> {
        let Settings { manager, secret_namespace, secret_name, names, leaf_lifetime, ca_lifetime } = settings;
        Ok(Self {
            names,
            lifetimes: Lifetimes::new(ca_lifetime, leaf_lifetime)?,
            // The name of the pod. Without one all replicas have the same jitter, which costs them a few conflicts.
            replica: std::env::var("HOSTNAME").unwrap_or_default(),
            keeper: Keeper::new(client, manager, (&secret_namespace, &secret_name), outlet.metrics.clone()),
            secret_name,
            outlet,
            trusts,
            leaf: None,
            stored: Stored::default(),
            newcomer: None,
        })
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let only_this = format!("metadata.name={}", self.secret_name);
        let config = watcher::Config::default().fields(&only_this);
        let secrets: Api<Secret> = self.keeper.secrets();
        let mut events = std::pin::pin!(watcher(secrets, config).default_backoff());
        let mut changes = self.trusts.changes();
        let mut failures: u32 = 0;
        loop {
            let now = (self.outlet.clock)();
            let outcome = tokio::select! {
                () = shutdown.requested() => return,
                outcome = self.step_in_time(now) => outcome,
            };
            let is_waiting = self.newcomer.is_some() || self.stored.next.is_some();
            let pause = match outcome {
                Ok(()) => {
                    failures = 0;
                    if is_waiting { HANDOVER_POLL_INTERVAL } else { POLL_INTERVAL }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.outlet.metrics.certificate_failures.inc();
                    tracing::warn!("{:#}; trying again", anyhow::Error::new(error));
                    pause::after(failures)
                }
            };
            // What is due already waits for the pause.
            let renew_at = self.leaf.as_ref().map(|leaf| leaf.renew_at).filter(|renew_at| *renew_at > now);
            tokio::select! {
                () = shutdown.requested() => return,
                () = clock::until(&self.outlet.clock, renew_at.unwrap_or(Timestamp::MAX), pause) => {}
                () = changes.next(), if is_waiting => {}
                // The watcher tries again by itself, and polling goes on meanwhile.
                () = next_event(&mut events) => {}
            }
        }
    }

    async fn step_in_time(&mut self, now: Timestamp) -> Result<(), RenewError> {
        let late = Err(RenewError::Late(self.keeper.name().to_owned()));
        match tokio::time::timeout(STEP_TIME_MAX, self.look(now)).await.unwrap_or(late) {
            Ok(stored) => {
                self.stored = stored;
                self.see_to_leaf(now)
            }
            // What was known of the Secret is enough to serve on.
            Err(error) => {
                if self.stored.current.is_some() {
                    self.see_to_leaf(now)?;
                }
                Err(error)
            }
        }
    }

    async fn look(&self, now: Timestamp) -> Result<Stored, RenewError> {
        let served = self.leaf.as_ref().map(|leaf| leaf.authority.certificate());
        let observed = self.trusts.observed();
        let (lifetimes, replica) = (&self.lifetimes, &self.replica);
        let stored = self
            .keeper
            .look(
                &Situation { lifetimes, served, remembered: &self.stored, observed: &observed, replica },
                now,
            )
            .await?;
        let phase = Phase::of(&stored, now);
        self.outlet.metrics.set_rotation_phase(phase.name(), Phase::ALL.map(Phase::name));
        Ok(stored)
    }

    /// Makes a new certificate where one is due, and tells which CAs callers are to trust.
    fn see_to_leaf(&mut self, now: Timestamp) -> Result<(), RenewError> {
        let current = self.stored.current.clone().ok_or(RenewError::NoCa)?;
        let signer = match &self.leaf {
            None => Some(current),
            Some(leaf) if leaf.authority.certificate() == current.certificate() => {
                self.newcomer = None;
                leaf.is_due(&self.names, now).then_some(current)
            }
            Some(leaf) => {
                let (authority, is_due) = (Arc::clone(&leaf.authority), leaf.is_due(&self.names, now));
                let can_sign = authority.certificate().is_valid_at(now);
                let is_lost = !leaf.is_valid(now) && !can_sign;
                if is_lost || self.is_handover_due(&authority, current.certificate(), now) {
                    Some(current)
                } else {
                    (is_due && can_sign).then_some(authority)
                }
            }
        };
        let outcome = signer.map_or(Ok(()), |signer| self.serve(signer, now));
        self.announce(now);
        outcome
    }

    /// Whether to go over to the CA `next` now. Until then, callers are made to trust it.
    fn is_handover_due(&mut self, authority: &Authority, next: &Certificate, now: Timestamp) -> bool {
        let observed = self.trusts.observed();
        let (old, new) = (observed.trust(authority.certificate()), observed.trust(next));
        let newcomer = match self.newcomer.take() {
            Some(newcomer) if newcomer.ca == *next => newcomer,
            _ => {
                tracing::info!(
                    "there is a new CA; serving under the old one until callers trust the new one"
                );
                Newcomer { ca: next.clone(), since: now, trusted_since: None }
            }
        };
        // A clock that was set back must not prolong the wait.
        let since = newcomer.since.min(now);
        let is_trusted = new.iter().all(|trust| *trust == Trust::Present);
        let trusted_since = is_trusted.then(|| newcomer.trusted_since.map_or(now, |since| since.min(now)));
        self.newcomer = Some(Newcomer { since, trusted_since, ..newcomer });
        let old_until = self.leaf.as_ref().map_or(now, |leaf| leaf.certificate.not_after());
        let handover = Handover { old_until, since, trusted_since, old: &old, new: &new };
        let is_due = handover.is_due(now);
        if is_due && handover.is_blind() {
            tracing::warn!(
                waited = ?now.duration_since(since),
                "serving under the new CA without knowing whether callers trust it: the webhook configurations cannot \
                 be read, so nobody can tell when a cainjector has copied it there"
            );
        }
        is_due
    }

    fn serve(&mut self, authority: Arc<Authority>, now: Timestamp) -> Result<(), RenewError> {
        let names = self.names.clone();
        let terms = LeafTerms { names: &names, lifetime: self.lifetimes.leaf(), replica: &self.replica };
        let Leaf { chain, key, certificate, ca, renew_at } = new_leaf(&authority, terms, now)?;
        self.outlet.certificate.set(chain, &key)?;
        self.outlet.metrics.certificates_issued.inc();
        self.outlet.metrics.certificate_expiry.set(certificate.not_after().as_second());
        self.outlet.metrics.ca_expiry.set(ca.not_after().as_second());
        tracing::info!(not_after = %certificate.not_after(), %renew_at, "serving a new certificate");
        self.newcomer = None;
        self.leaf = Some(Current { certificate, authority, names, renew_at });
        Ok(())
    }

    /// Tells what is served and wanted, if that is news.
    fn announce(&self, now: Timestamp) {
        let Some(leaf) = &self.leaf else {
            return;
        };
        let Some(name) = dialled(leaf.names.iter().cloned()) else {
            return;
        };
        let ca = leaf.authority.certificate().clone();
        let wanted = keeping::wanted(&self.stored, Some(&ca), now);
        let served = Served { certificate: leaf.certificate.clone(), name, ca: Some(ca), wanted };
        self.outlet.served.send_if_modified(|told| {
            let is_news = told.as_ref() != Some(&served);
            *told = Some(served);
            is_news
        });
    }
}

/// Waits for a change. Failures of the watch are passed over, and so is its mere beginning.
pub(crate) async fn next_event<K>(
    events: &mut (impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Unpin),
) {
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => {}
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "a watch was interrupted"),
        }
    }
    std::future::pending::<()>().await;
}
