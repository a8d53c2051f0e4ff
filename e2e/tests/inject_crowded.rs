//! More sources in one namespace than are watched one by one.

mod common;

use anyhow::Context as _;
use api::keys::annotation;
use common::targets::Target;
use e2e::authority::{Authority, trust_secret};
use e2e::namespace::{self, Scope};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Secrets, each of which one target names: nearly twice as many as are watched by their names.
const SOURCES: usize = 60;

#[tokio::test]
async fn each_of_many_targets_has_the_ca_of_its_own_secret_and_the_next_one() -> anyhow::Result<()> {
    namespace::own("crowded", |scope| async move {
        let mut sources = Vec::new();
        for number in 0..SOURCES {
            let source = Source::create(&scope, number).await?;
            scope.create(&trust_secret(&source.secret, &source.ca.certificate)).await?;
            sources.push(source);
        }
        for source in &sources {
            source.holds(&scope, None).await?;
        }
        // By now the namespace is watched in place of its Secrets, and this one comes after its target.
        let late = Source::create(&scope, SOURCES).await?;
        late.target.event(&scope, "SourceNotFound").await?;
        scope.create(&trust_secret(&late.secret, &late.ca.certificate)).await?;
        late.holds(&scope, None).await?;

        let fresh = Authority::new("Renewed CA")?;
        let patch = json!({"stringData": {"ca.crt": fresh.certificate}});
        for source in sources.iter().step_by(7).chain([&late]) {
            let secrets = scope.api::<Secret>();
            secrets.patch(&source.secret, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            source.holds(&scope, Some(&fresh)).await?;
        }
        // Those of the others are as they were.
        let other = sources.get(1).context("there is one source")?;
        other.holds(&scope, None).await
    })
    .await
}

/// A Secret, the target that asks for its CA, and that CA.
struct Source {
    secret: String,
    target: Target,
    ca: Authority,
}

impl Source {
    /// The Secret is not there yet.
    async fn create(scope: &Scope, number: usize) -> anyhow::Result<Self> {
        let secret = format!("trust-{number}");
        let asks = json!({annotation::INJECT_CA_FROM_SECRET: format!("{}/{secret}", scope.namespace)});
        let target = Target::asking(scope, &format!("hooks-{number}"), &asks).await?;
        Ok(Self { secret, target, ca: Authority::new(&format!("CA {number}"))? })
    }

    async fn holds(&self, scope: &Scope, fresh: Option<&Authority>) -> anyhow::Result<()> {
        let cas: Vec<_> = [&self.ca].into_iter().chain(fresh).collect();
        self.target.holds(scope, &cas).await
    }
}
