//! The requests that this controller makes for Certificates: whoever makes one may have it answered in the same go, and
//! sees at once what it wrote.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::CertificateRequest;
use issuance::key::PrivateKey;
use issuers::Outcome as Signed;
use kube::Api;
use runtime::lock::lock;
use runtime::queue::Outcome;
use runtime::watch::{Failure, ObjectName};
use serde_json::Value;

use crate::issuer::registry::IssuerState;
use crate::request::answer;
use crate::request::apply::{Answerer, ask, subject_warning};
use crate::request::claims::Claim;
use crate::request::index::issuer;
use crate::request::plan::{Judged, RequestPlan, plan};
use crate::request::view::RequestView;
use crate::write;

impl Answerer {
    /// Calls `listener` with the name of the Certificate whenever one of its requests changed. It must not block. A second
    /// listener would be a mistake of the caller; the first one stays.
    pub(crate) fn on_change(&self, listener: impl Fn(ObjectName) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Whether all requests have been seen once.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Acquire)
    }

    /// The requests that belong to the object with this UID, and the one of this name, whoever it belongs to.
    pub(crate) fn requests_of(&self, uid: &str, name: &ObjectName) -> Vec<Arc<RequestView>> {
        let index = lock(&self.index);
        let mut requests = index.of_owner(uid);
        let other = index.get(name).filter(|other| !other.is_owned_by(uid));
        requests.extend(other);
        requests
    }

    /// Takes the answer to a request upon oneself, before it is created; `None`: somebody else has.
    pub(crate) fn claim(&self, name: ObjectName) -> Option<Claim> {
        self.claims.claim(name)
    }

    /// Creates a request.
    ///
    /// # Errors
    /// What the API server says.
    pub(crate) async fn create(&self, namespace: &str, body: &Value) -> Result<Arc<RequestView>, Failure> {
        let created = write::create(&self.client, &self.api(namespace), body).await?;
        let view = RequestView::of(created);
        self.take(view.clone());
        Ok(Arc::new(view))
    }

    /// Deletes a request that was seen.
    ///
    /// # Errors
    /// What the API server says.
    pub(crate) async fn delete(&self, request: &RequestView) -> Result<(), Failure> {
        let namespace = request.name.namespace.as_deref().unwrap_or_default();
        write::delete(&self.api(namespace), &request.name, &request.uid).await?;
        self.gone(&request.name);
        Ok(())
    }

    /// A request with the certificate in it, which is not kept.
    ///
    /// # Errors
    /// What the API server says.
    pub(crate) async fn read(&self, name: &ObjectName) -> Result<Option<CertificateRequest>, Failure> {
        let namespace = name.namespace.as_deref().unwrap_or_default();
        self.api(namespace).get_opt(&name.name).await.map_err(|error| Failure::from(&error))
    }

    /// Has a request answered, whose private key is `key`: approval, certificate and all in one write. What comes back is
    /// in its status; a request that may not be signed now stays as it is, and waits.
    ///
    /// # Errors
    /// When to try again, if the answer could not be written.
    pub(crate) async fn answer(&self, view: &RequestView, key: &PrivateKey) -> Result<Signed, Outcome> {
        let now = (self.clock)();
        let state = issuer(view).map_or(IssuerState::Absent, |id| self.registry.state(&id));
        let RequestPlan::Sign { approve, issuer, type_ } = plan(view, &state, &self.settings, Judged::NotYet)
        else {
            return Ok(Signed::Wait { reason: "IssuerNotReady", message: String::new() });
        };
        let signed = match view.spec.order() {
            Ok((request, terms)) => {
                let subject_key = (type_ == "selfSigned").then_some(key);
                ask(issuer.as_ref(), &request, &terms, subject_key, now).await
            }
            Err(message) => Signed::Terminal { reason: "SigningError", message },
        };
        let mut body = answer::answer(view, approve, &signed, now);
        if let Some(body) = &mut body {
            body.news.extend(subject_warning(&signed, type_));
        }
        match self.write(view, body).await {
            Outcome::Done => Ok(signed),
            failed => Err(failed),
        }
    }

    fn api(&self, namespace: &str) -> Api<CertificateRequest> {
        Api::namespaced(self.client.clone(), namespace)
    }
}
