//! What the tests of several modules share.

use issuance::authority::{Authority, Terms};
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
use issuance::name::SubjectAltName;
use issuance::request::{Request, RequestSpec};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use serde_json::Value;

use crate::plan::{Plan, Planned};
use crate::target::{Fields, Live, Target, TargetKind};

/// When the tests happen.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A root that expires in `hours`; one that has expired already was made long ago.
pub(crate) fn root(name: &str, hours: i64) -> Certificate {
    root_for(name, hours, 1000)
}

/// A root that lives for `life` hours, and expires in `hours`.
pub(crate) fn root_for(name: &str, hours: i64, life: i64) -> Certificate {
    let lifetime = SignedDuration::from_hours(life);
    let born = now() + SignedDuration::from_hours(hours) - lifetime;
    authority(name, lifetime, born).certificate().clone()
}

/// The certificate of a server, issued by a CA of this name; it has 2160 hours to live.
pub(crate) fn leaf(ca: &str, name: &str) -> Certificate {
    let names = vec![SubjectAltName::Dns(format!("{name}.test"))];
    let spec = RequestSpec { names, ..RequestSpec::default() };
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let request = Request::build(&spec, &key).unwrap();
    let authority = authority(ca, SignedDuration::from_hours(10_000), now());
    let issued = authority.sign(&request, &Terms::default(), now()).unwrap();
    issued.chain.certificates().first().unwrap().clone()
}

fn authority(name: &str, lifetime: SignedDuration, born: Timestamp) -> Authority {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    Authority::self_signed(name, key, lifetime, born).unwrap()
}

/// A bundle of these.
pub(crate) fn pem(certificates: &[&Certificate]) -> String {
    Bundle::of(certificates.iter().copied().cloned().collect()).to_pem()
}

/// A target with these fields, of the kind that has them.
pub(crate) fn live(fields: Fields) -> Live {
    let kind = match &fields {
        Fields::Webhooks(_) => TargetKind::ValidatingWebhookConfiguration,
        Fields::ApiService { .. } => TargetKind::ApiService,
        Fields::Definition { .. } => TargetKind::CustomResourceDefinition,
        Fields::ConfigMap { .. } => TargetKind::ConfigMap,
        Fields::TrustBundle { .. } => TargetKind::ClusterTrustBundle,
        Fields::Custom(field) => TargetKind::Custom(field.target),
    };
    Live {
        target: Target::cluster(kind, "example"),
        uid: "u".to_owned(),
        resource_version: "7".to_owned(),
        deleting: false,
        owners: Vec::new(),
        fields,
    }
}

/// The plan in one line: `apply a,b | a,b`, with the common names in each bundle, `in sync`, or `Reason: message`.
pub(crate) fn shown(planned: &Planned) -> String {
    let names = |bundle: &Value| {
        let bundle = match bundle.as_str().filter(|text| text.starts_with("-----BEGIN")) {
            Some(text) => text.as_bytes().to_vec(),
            None => serde_json::from_value::<ByteString>(bundle.clone()).unwrap().0,
        };
        let bundle = Bundle::parse(&bundle).unwrap();
        let names = bundle.certificates().iter();
        let names: Vec<_> = names.filter_map(Certificate::common_name).collect();
        names.join(",")
    };
    match &planned.plan {
        Plan::Migrate { .. } => "migrate".to_owned(),
        Plan::Release { .. } => "release".to_owned(),
        Plan::Stopped => "stopped".to_owned(),
        Plan::InSync => "in sync".to_owned(),
        Plan::Deferred { until } => format!("deferred for {} h", until.duration_since(now()).as_hours()),
        Plan::Refused(refusal) => format!("{}: {}", refusal.reason, refusal.message),
        Plan::Apply { body } => {
            assert_eq!(body["metadata"]["resourceVersion"], "7");
            let bundles: Vec<_> = match body["webhooks"].as_array() {
                Some(entries) => {
                    entries.iter().map(|entry| names(&entry["clientConfig"]["caBundle"])).collect()
                }
                None if body["data"].is_object() => vec![names(&body["data"]["ca.crt"])],
                None if body["spec"]["trustBundle"].is_string() => vec![names(&body["spec"]["trustBundle"])],
                None => {
                    let conversion = &body["spec"]["conversion"]["webhook"]["clientConfig"];
                    let config = if conversion.is_null() { &body["spec"] } else { conversion };
                    vec![names(&config["caBundle"])]
                }
            };
            format!("apply {}", bundles.join(" | "))
        }
    }
}
