//! The steps of an issuance: keys, requests, and what is taken away.

use issuance::key::{KeyAlgorithm, PrivateKey};
use issuance::keystore::KeyEntry;
use issuance::outcome::causes;
use issuance::request::Request;
use issuance::secret_data::TLS_KEY;
use issuance::temporary::Temporary;
use issuers::Outcome as Signed;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use runtime::lock::lock;
use runtime::watch::{Failure, ObjectName};
use tokio::time::Instant;
use zeroize::Zeroize as _;

use crate::certificate::apply::{Halt, Keeper};
use crate::certificate::gather::Gathered;
use crate::certificate::secret::Key;
use crate::certificate::snapshot::Target;
use crate::certificate::status::{INVALID_CERTIFICATE, REQUEST_FAILED};
use crate::certificate::step::Step;
use crate::certificate::view::CertificateView;
use crate::certificate::{body, checks, names, spec, store};
use crate::request::view::RequestView;
use crate::write;

impl Keeper {
    pub(super) async fn step(&self, seen: &Gathered, step: &Step, now: Timestamp) -> Result<(), Halt> {
        match step {
            Step::Rest => Ok(()),
            Step::LookLive => self.look_live(&seen.certificate).await,
            Step::Delete { keys, requests } => self.delete(seen, keys, requests).await,
            Step::MakeKey { secret, reuse } => {
                let key = self.new_key(seen, *reuse).await?;
                self.store_key(&seen.certificate, secret, &key).await
            }
            Step::Request { revision, name, key_secret } => {
                let key = self.read_key(&seen.certificate, key_secret).await?;
                self.ask(&seen.certificate, *revision, name, key_secret, &key).await.map(drop)
            }
            Step::IssueAtOnce { revision, name, replace, reuse } => {
                self.issue_at_once(seen, (*revision, name), (*replace, *reuse), now).await
            }
            Step::Store { request, key_secret } => self.store(seen, request, key_secret, now).await,
            Step::StoreTemporary { request, key_secret } => {
                self.store_temporary(seen, request, key_secret, now).await
            }
            Step::Repair => self.repair(seen, now).await,
        }
    }

    async fn look_live(&self, view: &CertificateView) -> Result<(), Halt> {
        let name = view.secret();
        let found = self.secrets(view).get_opt(&name.name).await;
        let found = found.map_err(|error| Halt::Api("read its Secret", Failure::from(&error)))?;
        let mut index = lock(&self.index);
        match found {
            Some(secret) => drop(index.set_secret(secret, Instant::now())),
            None => index.looked_in_vain(name, Instant::now()),
        }
        Ok(())
    }

    async fn delete(&self, seen: &Gathered, keys: &[String], requests: &[String]) -> Result<(), Halt> {
        let view = &seen.certificate;
        for key in seen.keys.iter().filter(|key| keys.contains(&key.name)) {
            let name = ObjectName { namespace: view.name.namespace.clone(), name: key.name.clone() };
            let deleted = write::delete(&self.secrets(view), &name, &key.uid).await;
            deleted.map_err(|failure| Halt::Api("delete the key of an issuance", failure))?;
            lock(&self.index).drop_key(&name);
        }
        for request in seen.requests.iter().filter(|request| requests.contains(&request.name.name)) {
            let deleted = self.requests.delete(request).await;
            deleted.map_err(|failure| Halt::Api("delete a CertificateRequest", failure))?;
        }
        Ok(())
    }

    /// A key as the spec asks for it: the one in the Secret of the Certificate, or a new one.
    async fn new_key(&self, seen: &Gathered, reuse: bool) -> Result<PrivateKey, Halt> {
        if reuse {
            let view = &seen.certificate;
            let key = self.read_key(view, &view.spec.secret_name).await?;
            let snapshot = seen.snapshot(&self.policy);
            let is_seen = matches!(snapshot.secret, Target::There(secret) if secret.key == Key::Good(key.public_key().clone()));
            return if is_seen { Ok(key) } else { Err(Halt::Stale) };
        }
        let failed = |error: &dyn std::error::Error| Halt::Attempt(REQUEST_FAILED, causes(error));
        let algorithm = spec::key(&seen.certificate.spec).key_algorithm().map_err(|error| failed(&error))?;
        match algorithm {
            // Looking for primes takes up to seconds, in which this thread would answer nobody.
            KeyAlgorithm::Rsa(_) => {
                let made = tokio::task::spawn_blocking(move || PrivateKey::generate(algorithm)).await;
                made.map_err(|_| Halt::Later(runtime::queue::Outcome::Failed))?
                    .map_err(|error| failed(&error))
            }
            KeyAlgorithm::Ecdsa(_) | KeyAlgorithm::Ed25519 => {
                PrivateKey::generate(algorithm).map_err(|error| failed(&error))
            }
        }
    }

    async fn store_key(&self, view: &CertificateView, name: &str, key: &PrivateKey) -> Result<(), Halt> {
        let body = body::key_secret(view, name, key);
        let created = write::create(&self.client, &self.secrets(view), &body).await;
        let created: Secret = created.map_err(|failure| taken_or("store the key of an issuance", failure))?;
        lock(&self.index).set_secret(created, Instant::now());
        Ok(())
    }

    /// The private key in a Secret, as it is now.
    async fn read_key(&self, view: &CertificateView, name: &str) -> Result<PrivateKey, Halt> {
        let read = self.secrets(view).get_opt(name).await;
        let read = read.map_err(|error| Halt::Api("read a private key", Failure::from(&error)))?;
        let mut data = read.ok_or(Halt::Stale)?.data.unwrap_or_default();
        let key = data.get(TLS_KEY).and_then(|pem| PrivateKey::from_pem(&pem.0).ok());
        data.values_mut().for_each(|value| value.0.zeroize());
        key.ok_or(Halt::Stale)
    }

    /// Creates the request of a revision.
    async fn ask(
        &self,
        view: &CertificateView,
        revision: i64,
        name: &str,
        key_secret: &str,
        key: &PrivateKey,
    ) -> Result<RequestView, Halt> {
        let impossible = |why: String| Halt::Attempt(REQUEST_FAILED, why);
        let wanted = spec::wanted(&view.spec, self.policy.gates)
            .map_err(|error| impossible(format!("no signing request can be made of the spec: {error}")))?;
        let request = Request::build(&wanted.request, key).map_err(|error| impossible(causes(&error)))?;
        let body = body::request(view, revision, name, key_secret, &request);
        let namespace = view.name.namespace.as_deref().unwrap_or_default();
        let created = self.requests.create(namespace, &body).await;
        let created = created.map_err(|failure| match failure.code {
            // Admission says what is wrong with it, and would again.
            Some(400 | 403 | 422) => {
                impossible(format!("the API server refuses CertificateRequest {name:?}: {failure}"))
            }
            _ => taken_or("create a CertificateRequest", failure),
        })?;
        Ok(RequestView::clone(&created))
    }

    /// The whole issuance, with the key in memory: it reaches the API server with its certificate.
    async fn issue_at_once(
        &self,
        seen: &Gathered,
        (revision, name): (i64, &str),
        (replace, reuse): (bool, bool),
        now: Timestamp,
    ) -> Result<(), Halt> {
        let view = &seen.certificate;
        let full_name = ObjectName { namespace: view.name.namespace.clone(), name: name.to_owned() };
        let Some(_claim) = self.requests.claim(full_name) else { return Err(Halt::Stale) };
        // A certificate that cannot be stored is not asked for.
        self.keystores(seen).await?;
        if replace {
            self.delete(seen, &[], &[name.to_owned()]).await?;
        }
        let key = self.new_key(seen, reuse).await?;
        let key_secret = names::key_secret(&view.name.name, revision);
        let request = self.ask(view, revision, name, &key_secret, &key).await?;
        match self.requests.answer(&request, &key).await {
            Ok(Signed::Issued(issued)) => {
                let entry = KeyEntry { key: &key, chain: &issued.chain, ca: &issued.ca };
                let written = self.write_target(seen, &request.spec.issuer, &entry, now).await;
                if written.is_err() {
                    // With its key what was issued can be stored later, and need not be issued again.
                    self.store_key(view, &key_secret, &key).await?;
                }
                written
            }
            // Its status says so, and the next turn reads it.
            Ok(Signed::Terminal { .. }) => Ok(()),
            Ok(Signed::Wait { .. } | Signed::Retry { .. }) => self.store_key(view, &key_secret, &key).await,
            Err(outcome) => {
                // Somebody else will answer the request, and then the key is needed.
                self.store_key(view, &key_secret, &key).await?;
                Err(Halt::Later(outcome))
            }
        }
    }

    async fn store(&self, seen: &Gathered, name: &str, key_secret: &str, now: Timestamp) -> Result<(), Halt> {
        let view = &seen.certificate;
        let request = seen.requests.iter().find(|request| request.name.name == name).ok_or(Halt::Stale)?;
        let key = self.read_key(view, key_secret).await?;
        if checks::key_of(request).as_ref() != Some(key.public_key()) {
            return Err(Halt::Stale);
        }
        let read = self.requests.read(&request.name).await;
        let read = read.map_err(|failure| Halt::Api("read a CertificateRequest", failure))?;
        let status = read.filter(|read| read.metadata.uid.as_ref() == Some(&request.uid));
        let status = status.and_then(|read| read.status).ok_or(Halt::Stale)?;
        let chain = status.certificate.map(|text| text.0).unwrap_or_default();
        let ca = status.ca.map(|text| text.0).unwrap_or_default();
        let issued = store::checked(&request.spec, &chain, &ca, now)
            .map_err(|message| Halt::Attempt(INVALID_CERTIFICATE, message))?;
        let entry = KeyEntry { key: &key, chain: &issued.chain, ca: &issued.ca };
        self.write_target(seen, &request.spec.issuer, &entry, now).await
    }

    async fn store_temporary(
        &self,
        seen: &Gathered,
        name: &str,
        key_secret: &str,
        now: Timestamp,
    ) -> Result<(), Halt> {
        let view = &seen.certificate;
        let request = seen.requests.iter().find(|request| request.name.name == name).ok_or(Halt::Stale)?;
        let key = self.read_key(view, key_secret).await?;
        let failed = |why: String| Halt::Attempt(REQUEST_FAILED, why);
        let asked = Request::from_pem(&request.spec.csr).map_err(|error| failed(causes(&error)))?;
        if asked.public_key() != key.public_key() {
            return Err(Halt::Stale);
        }
        let wanted =
            spec::wanted(&view.spec, self.policy.gates).map_err(|error| failed(error.to_string()))?;
        let temporary = Temporary::sign(&asked, &spec::terms(&wanted), now);
        let temporary = temporary.map_err(|error| failed(causes(&error)))?;
        self.write_temporary(seen, &key, temporary.chain(), now).await
    }
}

/// Something of that name is there already, which the watch is about to show; or the failure itself.
fn taken_or(what: &'static str, failure: Failure) -> Halt {
    if write::is_taken(&failure) { Halt::Stale } else { Halt::Api(what, failure) }
}
