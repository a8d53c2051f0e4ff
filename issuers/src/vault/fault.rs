//! Why Vault did not sign, or cannot be asked, and what that means for the request and for the issuer (spec/issuance.md §8).

use std::time::Duration;

use http::StatusCode;

use super::settings::Endpoint;
use crate::outcome::{IssuerId, Outcome, RETRY_AFTER};
use crate::readiness::IssuerReadiness;

/// Word for machines: Vault cannot be asked as the issuer's spec says.
const INIT_ERROR: &str = "VaultInitError";
/// Word for machines: a Secret is not there.
const SECRET_MISSING: &str = "SecretMissing";
/// Word for machines: Vault did not sign.
const SIGNING_ERROR: &str = "SigningError";
/// Word for machines in the condition of an issuer that is not ready.
const UNREADY: &str = "VaultError";

/// What Vault writes in its refusal of a token that it does not know, or not any more: nothing is said about the request.
const INVALID_TOKEN: [&str; 2] = ["invalid token", "bad token"];

/// Why a call to Vault came to nothing. No text holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} {fault}")]
pub(super) struct CallError {
    /// What was asked of which server, for people.
    pub(super) call: String,
    /// What came of it.
    #[source]
    pub(super) fault: CallFault,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallFault {
    /// No connection, or one that broke.
    #[error("got no answer: {0}")]
    Unreached(String),
    /// It took too long.
    #[error("got no whole answer within {0:?}")]
    Late(Duration),
    /// It said more than any answer of Vault's is long.
    #[error("got an answer of more than {0} bytes")]
    TooLong(usize),
    /// It sent us elsewhere.
    #[error(
        "was sent elsewhere with status {0}; calls carry credentials and follow nobody, so write the address that answers \
         into spec.vault.server"
    )]
    Redirected(u16),
    /// It refused.
    #[error("was refused with status {status}: {said}")]
    Refused {
        /// Status of HTTP.
        status: u16,
        /// Vault's own text.
        said: String,
    },
    /// It agreed, and its answer is not what this call is answered with.
    #[error("got an answer that cannot be used: {0}")]
    Unusable(String),
}

impl CallError {
    /// What came of `what`, such as a login, at this endpoint.
    pub(super) fn of(what: &str, endpoint: &Endpoint, fault: CallFault) -> Self {
        Self { call: format!("{what} at {}", endpoint.uri), fault }
    }

    /// Whether the token was not accepted for this call.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self.fault, CallFault::Refused { status: 403, .. })
    }

    /// Whether the token is one that Vault does not know.
    pub(super) fn is_of_invalid_token(&self) -> bool {
        match &self.fault {
            CallFault::Refused { status: 403, said } => INVALID_TOKEN.iter().any(|text| said.contains(text)),
            _ => false,
        }
    }

    /// Whether the same call may succeed without anything being changed by people who own the request.
    fn passes(&self) -> bool {
        match self.fault {
            CallFault::Unreached(_) | CallFault::Late(_) | CallFault::Redirected(_) => true,
            // An answer is there, and would be the same again.
            CallFault::TooLong(_) | CallFault::Unusable(_) => false,
            CallFault::Refused { status, .. } => may_pass(status),
        }
    }
}

/// Statuses that speak of the moment: 408 and 425 of a proxy, 412 and 472 to 473 of a replica that is behind, 429 of too many
/// calls, and whatever the server blames on itself.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 412 | 425 | 429 | 472 | 473)
        || StatusCode::from_u16(status).is_ok_and(|status| status.is_server_error())
}

/// Why Vault did not sign, or cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// A Secret is not there.
    #[error("{0}")]
    Missing(String),
    /// A Secret does not hold what it should, or may not be read.
    #[error("{0}")]
    Invalid(String),
    /// The API server has said nothing of a Secret.
    #[error("{0}")]
    Unknown(String),
    /// The API server gave no token for a service account.
    #[error("{0}")]
    Account(String),
    /// Vault took no login.
    #[error("{0}")]
    Login(#[source] CallError),
    /// Vault does not know the token that is in a Secret.
    #[error("{0}; put another token into Secret {1}")]
    Token(#[source] CallError, String),
    /// Vault is not well.
    #[error("{0}")]
    Health(#[source] CallError),
    /// Vault did not sign.
    #[error("{0}")]
    Sign(#[source] CallError),
    /// All together took too long.
    #[error("login and signing took longer than {0:?}")]
    Late(Duration),
}

impl Fault {
    /// What it means for the request.
    pub(super) fn outcome(&self, id: &IssuerId) -> Outcome {
        let message = format!("{id}: {self}");
        let wait = |reason, message| Outcome::Wait { reason, message };
        let retry = |reason, message| Outcome::Retry { after: RETRY_AFTER, reason, message };
        match self {
            Self::Missing(_) => wait(SECRET_MISSING, message),
            // A change of the Secret brings the request back.
            Self::Invalid(_) | Self::Token(..) => wait(INIT_ERROR, message),
            // Nothing tells when somebody corrects the role or the account.
            Self::Unknown(_) | Self::Account(_) | Self::Login(_) | Self::Health(_) => {
                retry(INIT_ERROR, message)
            }
            Self::Late(_) => retry(SIGNING_ERROR, message),
            // What it says of a token is not about the request; a replica may not know it yet.
            Self::Sign(error) if error.passes() || error.is_of_invalid_token() => {
                retry(SIGNING_ERROR, message)
            }
            Self::Sign(_) => Outcome::Terminal { reason: SIGNING_ERROR, message },
        }
    }

    /// What it means for the issuer; `None`: nothing, as an API server that is away says nothing about it.
    pub(super) fn readiness(&self) -> Option<IssuerReadiness> {
        match self {
            Self::Unknown(_) => None,
            _ => Some(IssuerReadiness::unready(UNREADY, self.to_string())),
        }
    }

    /// Whether it may be over without a change of anything that is watched.
    pub(super) fn is_outside(&self) -> bool {
        !matches!(self, Self::Missing(_) | Self::Invalid(_) | Self::Unknown(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::IssuerKind;

    fn call(fault: CallFault) -> CallError {
        CallError { call: "signing".to_owned(), fault }
    }

    fn refused(status: u16, said: &str) -> CallError {
        call(CallFault::Refused { status, said: said.to_owned() })
    }

    fn check(fault: &Fault, expected: &str) {
        let id = IssuerId { kind: IssuerKind::Issuer, namespace: "a".to_owned(), name: "vault".to_owned() };
        let shown = match fault.outcome(&id) {
            Outcome::Issued(_) => "Issued".to_owned(),
            Outcome::Wait { reason, .. } => format!("Wait {reason}"),
            Outcome::Retry { after, reason, .. } => format!("Retry {reason} after {after:?}"),
            Outcome::Terminal { reason, .. } => format!("Terminal {reason}"),
        };
        assert_eq!(shown, expected, "{fault}");
    }

    #[test]
    fn what_vault_refuses_for_good_ends_the_request() {
        for status in [400, 401, 403, 404, 405, 413, 422] {
            check(&Fault::Sign(refused(status, "no")), "Terminal SigningError");
        }
        check(&Fault::Sign(call(CallFault::Unusable("no certificate".into()))), "Terminal SigningError");
        check(&Fault::Sign(call(CallFault::TooLong(1))), "Terminal SigningError");
    }

    #[test]
    fn what_passes_is_tried_again() {
        for status in [408, 412, 425, 429, 472, 473, 500, 501, 502, 503, 504, 599] {
            check(&Fault::Sign(refused(status, "no")), "Retry SigningError after 5s");
        }
        for fault in [
            CallFault::Unreached("x".into()),
            CallFault::Late(Duration::from_secs(1)),
            CallFault::Redirected(307),
        ] {
            check(&Fault::Sign(call(fault)), "Retry SigningError after 5s");
        }
        let unknown = "2 errors occurred: * permission denied * invalid token";
        check(&Fault::Sign(refused(403, unknown)), "Retry SigningError after 5s");
        check(&Fault::Late(Duration::from_secs(1)), "Retry SigningError after 5s");
    }

    #[test]
    fn what_is_wrong_with_the_issuer_never_ends_a_request() {
        check(&Fault::Missing("m".into()), "Wait SecretMissing");
        check(&Fault::Invalid("m".into()), "Wait VaultInitError");
        check(&Fault::Token(refused(403, "invalid token"), "a/b".into()), "Wait VaultInitError");
        check(&Fault::Unknown("m".into()), "Retry VaultInitError after 5s");
        check(&Fault::Account("m".into()), "Retry VaultInitError after 5s");
        check(&Fault::Login(refused(400, "invalid role or secret ID")), "Retry VaultInitError after 5s");
        check(&Fault::Health(refused(503, "sealed")), "Retry VaultInitError after 5s");
    }

    #[test]
    fn an_issuer_is_not_judged_by_what_is_not_known() {
        assert_eq!(Fault::Unknown("m".into()).readiness(), None);
        let told = Fault::Login(refused(400, "invalid role name \"x\"")).readiness().unwrap();
        assert_eq!((told.ready, told.reason), (false, "VaultError"));
        assert_eq!(told.message, "signing was refused with status 400: invalid role name \"x\"");
    }
}
