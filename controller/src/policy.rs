//! The name policy, by which the signer service and the approver go, followed from the start.

use issuers::live::Policies;
use kube::Client;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;

use crate::signer::settings::PolicySettings;

/// Follows the rules until shutdown; the process is ready once they have been read.
///
/// # Errors
/// When they cannot be watched.
pub(crate) fn follow(
    settings: &PolicySettings,
    client: &Client,
    readiness: &Readiness,
    shutdown: &Shutdown,
    tasks: &mut Tasks,
) -> anyhow::Result<Policies> {
    const NAME: &str = "name policy";
    let policy = settings.policy.clone();
    let Some(map) = &settings.config_map else { return Ok(Policies::fixed(policy)) };
    let (policies, followed) = Policies::followed(policy, client.clone(), map, readiness.teller(NAME))?;
    let end = shutdown.clone();
    tasks.spawn_infallible(NAME, async move {
        end.requested().await;
        drop(followed);
    });
    Ok(policies)
}
