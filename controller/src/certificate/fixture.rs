//! A Certificate with all that belongs to it, to be bent by each test.

use issuance::authority::Terms;
use issuance::key::{KeyEncoding, PrivateKey};
use issuance::keystore::KeyEntry;
use issuance::outcome::Outcome;
use issuance::request::Request;
use issuance::secret_data::Layout;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::certificate::decide::decide;
use crate::certificate::drift::SECRET_MANAGER;
use crate::certificate::metadata::Prefixes;
use crate::certificate::secret::{KeySecretView, SecretView};
use crate::certificate::snapshot::{
    Backoffs, Enabled, IssuerFacts, KeystoreState, Namesake, Passwords, Policy, Snapshot, Target,
};
use crate::certificate::spec::SpecGates;
use crate::certificate::view::CertificateView;
use crate::certificate::{body, names, spec, store};
use crate::object::IssuerKey;
use crate::request::answer;
use crate::request::view::RequestView;
use crate::testing::{self, at, now};

pub(crate) const LAYOUT: Layout<'static> =
    Layout { encoding: KeyEncoding::Pkcs1, formats: &[], pkcs12: None, jks: None };

/// One Certificate, `team-a/web` with Secret `web-tls`.
pub(crate) struct Case {
    pub certificate: CertificateView,
    pub secret: Option<SecretView>,
    /// The Secret as the API server keeps it.
    pub applied: Value,
    pub namesakes: Vec<Namesake>,
    pub keys: Vec<KeySecretView>,
    pub requests: Vec<RequestView>,
    pub issuer: IssuerFacts,
    pub is_ca_of: Option<IssuerKey>,
    pub passwords: Passwords,
    pub keystores: KeystoreState,
    pub is_served: bool,
    pub policy: Policy,
    pub now: Timestamp,
}

impl Case {
    /// Nothing has been done for it yet. Its issuer does not answer at once.
    pub(crate) fn new() -> Self {
        let certificate = json!({
            "metadata": {"namespace": "team-a", "name": "web", "uid": "u-1", "resourceVersion": "1", "generation": 1,
                         "creationTimestamp": at(100).to_string()},
            "spec": {"secretName": "web-tls", "dnsNames": ["a.test"], "issuerRef": {"name": "ca"},
                     "privateKey": {"algorithm": "ECDSA"}},
        });
        Self {
            certificate: CertificateView::of(
                serde_json::from_value(certificate).unwrap(),
                &Prefixes::default(),
            ),
            secret: None,
            applied: Value::Null,
            namesakes: Vec::new(),
            keys: Vec::new(),
            requests: Vec::new(),
            issuer: IssuerFacts::Ready { is_synchronous: false },
            is_ca_of: None,
            passwords: Passwords::Known,
            keystores: KeystoreState::Right,
            is_served: true,
            policy: Policy {
                enabled: Enabled::ALL,
                backoff: Backoffs::default(),
                gates: SpecGates::default(),
                owner_refs: false,
            },
            now: now(),
        }
    }

    /// Its first revision is issued, stored and recorded.
    pub(crate) fn ready() -> Self {
        let mut case = Self::new();
        let key = testing::key();
        let request = case.request(1, &key);
        let request = case.issued(&request, &key);
        case.requests.push(request);
        case.settle();
        case
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            certificate: &self.certificate,
            secret: self.secret.as_ref().map_or(Target::Absent, Target::There),
            namesakes: &self.namesakes,
            next_keys: &self.keys,
            requests: &self.requests,
            issuer: self.issuer,
            target_is_ca_of: self.is_ca_of.as_ref(),
            passwords: &self.passwords,
            keystores: self.keystores,
            is_served: self.is_served,
            policy: &self.policy,
        }
    }

    /// Writes statuses until there is none to write.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            let decision = decide(&self.snapshot(), self.now);
            if decision.status == self.certificate.status {
                return;
            }
            self.certificate.status = decision.status;
        }
        panic!("the status never settles: {:?}", self.certificate.status);
    }

    /// Changes the spec.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::to_value(&*self.certificate.spec).unwrap();
        change(&mut value);
        self.certificate.spec = serde_json::from_value::<api::CertificateSpec>(value).unwrap().into();
        self.certificate.generation = self.certificate.generation.map(|generation| generation + 1);
    }

    /// A request of some revision for the present spec, created now.
    pub(crate) fn request(&self, revision: i64, key: &PrivateKey) -> RequestView {
        let name = names::request("web", revision);
        let key_secret = names::key_secret("web", revision);
        let wanted = spec::wanted(&self.certificate.spec, self.policy.gates).unwrap();
        let asked = Request::build(&wanted.request, key).unwrap();
        let body = body::request(&self.certificate, revision, &name, &key_secret, &asked);
        let view = RequestView::of(serde_json::from_value(body).unwrap());
        RequestView { uid: format!("request-{revision}"), version: "1".to_owned(), created: self.now, ..view }
    }

    /// The request once it is signed, which is in the Secret then.
    pub(crate) fn issued(&mut self, request: &RequestView, key: &PrivateKey) -> RequestView {
        let asked = Request::from_pem(&request.spec.csr).unwrap();
        let issued = testing::ca("ca").sign(&asked, &Terms::default(), now()).unwrap();
        let entry = KeyEntry { key, chain: &issued.chain, ca: &issued.ca };
        let contents = store::contents("web", &request.spec.issuer, &entry, &LAYOUT, now()).unwrap();
        let target = body::Target {
            type_: None,
            labels: contents.labels,
            annotations: contents.annotations,
            data: &contents.data,
            is_owned: false,
        };
        self.applied = applied(body::target(&self.certificate, target));
        self.secret = Some(SecretView::take(serde_json::from_value::<Secret>(self.applied.clone()).unwrap()));
        answered(request, &Outcome::Issued(issued), self.now)
    }

    /// The Secret with a key of some revision.
    pub(crate) fn key_secret(&self, revision: i64, key: &PrivateKey) -> KeySecretView {
        let name = names::key_secret("web", revision);
        let body = body::key_secret(&self.certificate, &name, key);
        let view = KeySecretView::take(serde_json::from_value::<Secret>(body).unwrap());
        KeySecretView { uid: format!("key-{revision}"), ..view }
    }
}

/// A Secret as the API server keeps it after this apply, if nobody else wrote to it.
pub(crate) fn applied(mut body: Value) -> Value {
    let fields = |of: &Value| {
        let names = of.as_object().into_iter().flatten().map(|(name, _)| (format!("f:{name}"), json!({})));
        Value::Object(names.collect())
    };
    let metadata = json!({"f:labels": fields(&body["metadata"]["labels"]),
        "f:annotations": fields(&body["metadata"]["annotations"])});
    let fields = json!({"f:metadata": metadata, "f:data": fields(&body["data"])});
    body["metadata"]["managedFields"] = json!([{"manager": SECRET_MANAGER, "operation": "Apply",
        "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields}]);
    body
}

/// A request after an outcome.
pub(crate) fn answered(request: &RequestView, outcome: &Outcome, now: Timestamp) -> RequestView {
    answer::answer(request, true, outcome, now).unwrap().on(request, "2".to_owned())
}
