//! What the watches of the issuers tell.

use std::sync::Arc;

use kube::Api;
use runtime::follow::{Change, follow};
use runtime::readiness::Teller;
use runtime::shutdown::Shutdown;

use crate::issuer::registry::Registry;
use crate::object::{IssuerObject, view};

/// Follows the issuers of `api` until shutdown is requested; `standing` is told when all have been
/// seen once, and when they may be seen no more.
///
/// # Errors
/// None; a watch that is refused is tried again, and the process stays unready until then.
pub async fn follow_issuers<K: IssuerObject>(
    registry: Arc<Registry>,
    api: Api<K>,
    standing: Teller,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let what = K::KIND.plural();
    follow(api, None, what, standing, shutdown, move |change: Change<K>| match change {
        Change::Seen(object) => {
            let (key, seen) = view(object);
            registry.seen(&key, seen);
        }
        Change::Gone(object) => registry.gone(&view(object).0),
        Change::Listed(names) => registry.listed(K::KIND, &names),
        // The log and the readiness tell of it; what each issuer was last said to be is the best there is.
        Change::Denied(_) => {}
    })
    .await
}
