//! What an Issuer's Ready condition says while its Secret comes, goes and changes.

mod common;

use common::issuers::is_told;
use e2e::authority::{Authority, issuer};
use e2e::namespace;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn an_issuer_is_ready_for_as_long_as_its_key_pair_is_there() -> anyhow::Result<()> {
    namespace::own("readiness", |scope| async move {
        scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
        is_told(&scope, "ca", "False", "ErrGetKeyPair", "Secret \"ca\" does not exist").await?;

        let authority = Authority::new("first")?;
        scope.create(&authority.secret("ca")).await?;
        is_told(&scope, "ca", "True", "KeyPairVerified", "").await?;

        // The key of another CA beside the certificate of the first.
        let stranger = Authority::new("second")?;
        let patch = Patch::Merge(json!({"stringData": {"tls.key": stranger.key}}));
        scope.resource("v1", "Secret").patch("ca", &PatchParams::default(), &patch).await?;
        is_told(&scope, "ca", "False", "ErrInvalidKeyPair", "does not belong").await?;

        scope.resource("v1", "Secret").delete("ca", &DeleteParams::default()).await?;
        is_told(&scope, "ca", "False", "ErrGetKeyPair", "Secret \"ca\" does not exist").await
    })
    .await
}

#[tokio::test]
async fn a_self_signed_issuer_needs_nothing() -> anyhow::Result<()> {
    namespace::own("readiness", |scope| async move {
        scope.create(&issuer("Issuer", "own", &json!({"selfSigned": {}}))).await?;
        is_told(&scope, "own", "True", "IsReady", "").await
    })
    .await
}
