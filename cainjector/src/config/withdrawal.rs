//! What is taken out of bundles before it expires, and where that is remembered.

use std::sync::Arc;

use issuance::authority::DEFAULT_DURATION;
use jiff::SignedDuration;
use runtime::config::Text;

use super::ConfigError;
use crate::args::WithdrawalArgs;
use crate::rotation::Retention;
use crate::settings::{Cap, Withdrawal};

/// Default of `--memory-configmap`.
const MEMORY: &str = "cert-manager-cainjector-memory";

/// What the flags come to, and the ConfigMap of the memory if one is needed or named.
///
/// # Errors
/// When the retention is shorter than certificates of the CA before usually live, and that is not allowed.
pub(super) fn of(args: WithdrawalArgs) -> Result<(Arc<Withdrawal>, Option<String>), ConfigError> {
    let WithdrawalArgs {
        ca_retention,
        ca_retention_below_minimum,
        max_certificates,
        deny_certificates,
        memory_configmap,
    } = args;
    let is_confirmed = ca_retention_below_minimum == Some(true);
    let retention = match ca_retention {
        None => Retention::UntilExpiry,
        Some(time) => {
            // A longer time than can be told is as good as the longest.
            let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            if time < DEFAULT_DURATION && !is_confirmed {
                return Err(ConfigError::Retention { hours: DEFAULT_DURATION.as_hours() });
            }
            Retention::For(time)
        }
    };
    let absence = if is_confirmed { SignedDuration::ZERO } else { DEFAULT_DURATION };
    let withdrawal = Withdrawal {
        retention,
        cap: max_certificates.map(|most| Cap { certificates: most.into(), absence }),
        denied: Text::all(deny_certificates).into_iter().collect(),
    };
    let memory = Text::of(memory_configmap).or_else(|| withdrawal.needs_memory().then(|| MEMORY.to_owned()));
    Ok((Arc::new(withdrawal), memory))
}
