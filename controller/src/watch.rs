//! What the watches of the issuers tell.

use std::sync::Arc;

use kube::Api;
use runtime::follow::{Change, follow};
use runtime::readiness::Teller;
use runtime::shutdown::Shutdown;

use crate::apply::Judge;
use crate::object::{IssuerObject, view};

/// Follows the issuers of kind `K` until shutdown is requested; `standing` is told when all have been
/// seen once, and when they may be seen no more.
///
/// # Errors
/// None; a watch that is refused is tried again, and the process stays unready until then.
pub async fn follow_issuers<K: IssuerObject>(
    judge: Arc<Judge>,
    standing: Teller,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let api: Api<K> = Api::all(judge.client());
    let what = K::KIND.plural();
    follow(api, None, what, standing, shutdown, move |change| judge.changed(change)).await
}

impl Judge {
    fn changed<K: IssuerObject>(&self, change: Change<K>) {
        match change {
            Change::Seen(object) => {
                let (key, seen) = view(object);
                self.seen(key, seen);
            }
            Change::Gone(object) => self.gone(&view(object).0),
            Change::Listed(names) => self.listed(K::KIND, &names),
            // The log and the readiness tell of it; what each issuer was last said to be is the best there is.
            Change::Denied(_) => {}
        }
    }
}
