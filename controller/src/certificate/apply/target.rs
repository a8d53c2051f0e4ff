//! What is written into the Secret of a Certificate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::IssuerRef;
use api::keys::annotation;
use issuance::bundle::Bundle;
use issuance::chain::Chain;
use issuance::key::PrivateKey;
use issuance::keystore::KeyEntry;
use issuance::outcome::causes;
use issuance::pem::{self, Limit};
use issuance::secret::SecretBytes;
use issuance::secret_data::{
    CA_CRT, KEYSTORE_JKS, KEYSTORE_P12, Layout, TLS_CRT, TLS_KEY, TRUSTSTORE_JKS, TRUSTSTORE_P12,
    keystore_digest,
};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use runtime::lock::lock;
use runtime::queue::Outcome;
use runtime::watch::Failure;
use tokio::time::Instant;
use zeroize::Zeroize as _;

use crate::certificate::apply::{Halt, Keeper};
use crate::certificate::body;
use crate::certificate::drift::SECRET_MANAGER;
use crate::certificate::gather::Gathered;
use crate::certificate::index::Sight;
use crate::certificate::passwords::{self, Keystores};
use crate::certificate::status::REQUEST_FAILED;
use crate::certificate::store::{self, Contents};
use crate::news::News;

impl Keeper {
    /// Stores what `issuer` signed.
    pub(super) async fn write_target(
        &self,
        seen: &Gathered,
        issuer: &IssuerRef,
        entry: &KeyEntry<'_>,
        now: Timestamp,
    ) -> Result<(), Halt> {
        let keystores = self.keystores(seen).await?;
        let (encoding, formats) = passwords::forms(&seen.certificate);
        let layout = keystores.layout(encoding, &formats);
        let name = &seen.certificate.name.name;
        let contents = in_place(&layout, || store::contents(name, issuer, entry, &layout, now));
        self.apply(seen, contents.map_err(|error| Halt::Attempt(REQUEST_FAILED, causes(&error)))?).await
    }

    /// Stores a certificate that stands in for the real one.
    pub(super) async fn write_temporary(
        &self,
        seen: &Gathered,
        key: &PrivateKey,
        chain: &Chain,
        now: Timestamp,
    ) -> Result<(), Halt> {
        let keystores = self.keystores(seen).await?;
        let (encoding, formats) = passwords::forms(&seen.certificate);
        let layout = keystores.layout(encoding, &formats);
        let name = &seen.certificate.name.name;
        let contents = in_place(&layout, || store::temporary_contents(name, key, chain, &layout, now));
        self.apply(seen, contents.map_err(|error| Halt::Attempt(REQUEST_FAILED, causes(&error)))?).await
    }

    /// Puts right what others changed around the pair in a Secret, and makes keystores anew whose password is another. Key
    /// and certificate stay.
    pub(super) async fn repair(&self, seen: &Gathered, now: Timestamp) -> Result<(), Halt> {
        let view = &seen.certificate;
        self.yield_in_contest(seen)?;
        let read = self.secrets(view).get_opt(&view.spec.secret_name).await;
        let read = read.map_err(|error| Halt::Api("read its Secret", Failure::from(&error)))?;
        let mut there = There::of(read.ok_or(Halt::Stale)?);
        let Sight::There(known) = &seen.secret else { return Err(Halt::Stale) };
        let (key, chain, ca) = there.pair().ok_or(Halt::Stale)?;
        if known.version != there.version || known.leaf() != Some(chain.leaf()) {
            return Err(Halt::Stale);
        }
        let entry = KeyEntry { key: &key, chain: &chain, ca: &ca };
        let keystores = self.keystores(seen).await?;
        let (encoding, formats) = passwords::forms(view);
        let layout = keystores.layout(encoding, &formats);
        let are_right = there.keystore_digest(&layout) == keystore_digest(&entry, &layout).as_deref();
        // Keystores that are right stay as they are: each made anew would be another.
        let plain = Layout { pkcs12: None, jks: None, ..layout };
        let made = if are_right { plain } else { layout };
        let contents =
            in_place(&made, || store::contents(&view.name.name, &view.spec.issuer_ref, &entry, &made, now));
        let mut contents = contents.map_err(|error| Halt::Attempt(REQUEST_FAILED, causes(&error)))?;
        if are_right && passwords::are_wanted(view) {
            contents.data.extend(there.take_keystores(&layout));
            contents.annotations.extend(
                keystore_digest(&entry, &layout).map(|digest| (annotation::KEYSTORES.to_owned(), digest)),
            );
        }
        self.apply(seen, contents).await?;
        lock(&self.contests).entry(view.name.clone()).or_default().wrote(Instant::now());
        Ok(())
    }

    /// Lets whoever undoes each repair have their way for a while.
    fn yield_in_contest(&self, seen: &Gathered) -> Result<(), Halt> {
        let (name, now) = (&seen.certificate.name, Instant::now());
        let mut contests = lock(&self.contests);
        let contest = contests.entry(name.clone()).or_default();
        contest.lost(now);
        let pause = contest.pause(false, now);
        drop(contests);
        let Some(pause) = pause else { return Ok(()) };
        let secret = &seen.certificate.spec.secret_name;
        let text = format!(
            "something keeps undoing the repairs of Secret {secret:?}: find it in the Secret's managedFields and stop it; \
             the next repair waits"
        );
        self.tell(&seen.certificate, vec![News::warning("SecretContested", text).once_for("contested")]);
        Err(Halt::Later(Outcome::Again(pause.max(Duration::from_secs(1)))))
    }

    /// The passwords of its keystores, as they are now.
    pub(super) async fn keystores(&self, seen: &Gathered) -> Result<Keystores, Halt> {
        let read = Keystores::read(&self.client, &seen.certificate).await;
        read.map_err(|why| {
            let news = News::warning("KeystorePasswordSecretNotFound", why.as_str()).once_for(why.as_str());
            self.tell(&seen.certificate, vec![news]);
            Halt::Later(Outcome::Failed)
        })
    }

    async fn apply(&self, seen: &Gathered, contents: Contents) -> Result<(), Halt> {
        let view = &seen.certificate;
        let known = if let Sight::There(known) = &seen.secret { Some(Arc::clone(known)) } else { None };
        let target = body::Target {
            type_: known.as_ref().and_then(|known| known.type_.as_deref()),
            labels: contents.labels,
            annotations: contents.annotations,
            data: &contents.data,
            is_owned: self.policy.owner_refs,
        };
        let body = body::target(view, target);
        let params = PatchParams::apply(SECRET_MANAGER).force();
        // The forced apply takes the pair from whoever has written it: nobody else may lead by then.
        if !self.leadership.may_write() {
            return Err(Halt::Later(Outcome::Again(Duration::ZERO)));
        }
        let written = self.secrets(view).patch(&view.spec.secret_name, &params, &Patch::Apply(&body)).await;
        let written = written.map_err(|error| Halt::Api("write its Secret", Failure::from(&error)))?;
        let version = written.metadata.resource_version.clone().unwrap_or_default();
        lock(&self.index).set_secret(written, Instant::now());
        if passwords::are_wanted(view) {
            // Passwords that changed meanwhile are of other versions than those that were known before.
            let versions = [version].into_iter().chain(seen.keystore_inputs.iter().cloned()).collect();
            lock(&self.keystores).insert(view.name.clone(), versions);
        }
        Ok(())
    }
}

/// Keystores take a tenth of a second, in which the other tasks of this thread go to another one.
fn in_place<T>(layout: &Layout<'_>, make: impl FnOnce() -> T) -> T {
    let is_long = layout.pkcs12.is_some() || layout.jks.is_some();
    let is_threaded = || {
        let flavor = tokio::runtime::Handle::current().runtime_flavor();
        flavor == tokio::runtime::RuntimeFlavor::MultiThread
    };
    if is_long && is_threaded() { tokio::task::block_in_place(make) } else { make() }
}

/// A Secret as it is now; erased when dropped.
struct There {
    version: String,
    digest: Option<String>,
    data: BTreeMap<String, ByteString>,
}

impl There {
    fn of(secret: Secret) -> Self {
        let Secret { metadata, data, .. } = secret;
        Self {
            version: metadata.resource_version.unwrap_or_default(),
            digest: metadata
                .annotations
                .and_then(|mut annotations| annotations.remove(annotation::KEYSTORES)),
            data: data.unwrap_or_default(),
        }
    }

    /// What it says that its keystores were made from, if those that `layout` asks for are all there.
    fn keystore_digest(&self, layout: &Layout<'_>) -> Option<&str> {
        let has_ca = self.data.contains_key(CA_CRT);
        let pkcs12 = layout.pkcs12.map(|_| (KEYSTORE_P12, TRUSTSTORE_P12));
        let jks = layout.jks.map(|_| (KEYSTORE_JKS, TRUSTSTORE_JKS));
        let is_there = |name: &str| self.data.contains_key(name);
        let mut stores = pkcs12.into_iter().chain(jks);
        let are_there = stores.all(|(key, trust)| is_there(key) && (!has_ca || is_there(trust)));
        self.digest.as_deref().filter(|_| are_there)
    }

    fn pair(&self) -> Option<(PrivateKey, Chain, Bundle)> {
        let key = PrivateKey::from_pem(&self.data.get(TLS_KEY)?.0).ok()?;
        let chain = pem::certificates(&self.data.get(TLS_CRT)?.0, Limit::CHAIN).ok()?;
        let ca = match self.data.get(CA_CRT).filter(|ca| !ca.0.trim_ascii().is_empty()) {
            Some(ca) => Bundle::parse(&ca.0).ok()?,
            None => Bundle::default(),
        };
        Some((key, Chain::order_towards(chain, &ca).ok()?, ca))
    }

    /// The keystores that `layout` asks for.
    fn take_keystores(&mut self, layout: &Layout<'_>) -> Vec<(&'static str, SecretBytes)> {
        let pkcs12 = layout.pkcs12.map(|_| [KEYSTORE_P12, TRUSTSTORE_P12]);
        let jks = layout.jks.map(|_| [KEYSTORE_JKS, TRUSTSTORE_JKS]);
        let names = pkcs12.into_iter().chain(jks).flatten();
        names.filter_map(|name| Some((name, SecretBytes::new(self.data.remove(name)?.0)))).collect()
    }
}

impl Drop for There {
    fn drop(&mut self) {
        self.data.values_mut().for_each(|value| value.0.zeroize());
    }
}
