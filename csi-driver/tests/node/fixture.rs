//! What each test begins with.

use base64::Engine as _;
use issuance::authority::Authority;
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::FakeApi;
use crate::driver::Driver;
use crate::namespace;

const ISSUERS: &str = "/apis/cert-manager.io/v1/namespaces/team-a/issuers";
const PODS: &str = "/api/v1/namespaces/team-a/pods";
const SECRETS: &str = "/api/v1/namespaces/team-a/secrets";

/// A driver and its API server, with an issuer `ca` and one called `self`; nothing where [`namespace`] runs the test.
pub(crate) async fn node() -> Option<(Driver, FakeApi)> {
    let (driver, api) = bare_node().await?;
    add_ca(&api);
    api.put(ISSUERS, "self", json!({"spec": {"selfSigned": {}}}));
    Some((driver, api))
}

/// A driver and an API server that knows the pod of all volumes alone; nothing where [`namespace`] runs the test.
pub(crate) async fn bare_node() -> Option<(Driver, FakeApi)> {
    if namespace::ran_the_tests() {
        return None;
    }
    let (api, address) = FakeApi::start().await;
    let pod =
        json!({"metadata": {"uid": "u-1"}, "spec": {"nodeName": "node-1", "serviceAccountName": "web"}});
    api.put(PODS, "web-0", pod);
    Some((Driver::start(address).await, api))
}

/// Adds a CA with its Secret, as the issuer `ca`.
pub(crate) fn add_ca(api: &FakeApi) {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let text = key.to_pem(KeyEncoding::Pkcs8);
    let lifetime = SignedDuration::from_hours(24 * 365);
    let ca = Authority::self_signed("test CA", key, lifetime, Timestamp::now()).unwrap();
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let certificate = ca.certificate().to_pem();
    let data = json!({"tls.crt": encode(certificate.as_bytes()), "tls.key": encode(text.expose())});
    api.put(SECRETS, "ca", json!({"data": data}));
    api.put(ISSUERS, "ca", json!({"spec": {"ca": {"secretName": "ca"}}}));
}

/// Checks that key and certificate of a volume belong together.
pub(crate) fn check_pair(driver: &Driver, id: &str, algorithm: KeyAlgorithm) {
    let key = PrivateKey::from_pem(&driver.read(id, "tls.key")).unwrap();
    assert_eq!(key.algorithm(), algorithm);
    let chain = issuance::bundle::Bundle::parse(&driver.read(id, "tls.crt")).unwrap();
    assert_eq!(chain.certificates()[0].public_key(), key.public_key());
}
