//! How an attempt to have a request signed can end (spec/issuance.md §0): four ways, whatever the issuer.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::authority::{AuthorityError, Issued};

/// How long to wait after a failure of our own random generator or key: it takes no longer, and nobody is spared by
/// waiting.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How an attempt to have a request signed ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was signed.
    Issued(Issued),
    /// Something that it needs is not there; it will work once that appears, and no sooner.
    Wait {
        /// One word for machines, as in a condition.
        reason: &'static str,
        /// What is missing, where, and what to do.
        message: String,
    },
    /// Something is out of order for the moment.
    Retry {
        /// How long to wait at least.
        after: Duration,
        /// One word for machines.
        reason: &'static str,
        /// What went wrong.
        message: String,
    },
    /// This request will never be signed as it is.
    Terminal {
        /// One word for machines.
        reason: &'static str,
        /// Why, and what to change.
        message: String,
    },
}

/// Whose fault it is that a CA did not sign, and so what has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The CA's: a renewed or corrected CA signs the same request.
    Authority,
    /// The issuer's: its spec asks for what no certificate can hold, and a corrected one signs the same request.
    Issuer,
    /// The request's: no CA like this one will ever sign it.
    Request,
    /// Nobody's: the same CA may sign the same request in a moment, as after a failure of the random generator.
    Passing,
}

impl Outcome {
    /// What `who` (an issuer, for people) answered: a CA that cannot be used as it is means waiting for its Secret to
    /// change, an issuer's spec that no certificate can hold for a change of that, a request that must not be signed is refused for good (§6), and what failed in passing is tried again.
    pub fn of_signing(who: &impl fmt::Display, signed: Result<Issued, AuthorityError>) -> Self {
        let error = match signed {
            Ok(issued) => return Self::Issued(issued),
            Err(error) => error,
        };
        match error.fault() {
            Fault::Authority => {
                Self::Wait { reason: "SecretInvalidData", message: format!("{who}: {}", causes(&error)) }
            }
            Fault::Issuer => {
                Self::Wait { reason: "IssuerInvalid", message: format!("{who}: {}", causes(&error)) }
            }
            Fault::Request => Self::Terminal {
                reason: "SigningError",
                message: format!("{who} did not sign: {}", causes(&error)),
            },
            Fault::Passing => Self::Retry {
                after: RETRY_AFTER,
                reason: "SigningError",
                message: format!("{who} could not sign now: {}", causes(&error)),
            },
        }
    }

    /// The certificate, or `None` for the three other ends.
    pub fn issued(self) -> Option<Issued> {
        match self {
            Self::Issued(issued) => Some(issued),
            Self::Wait { .. } | Self::Retry { .. } | Self::Terminal { .. } => None,
        }
    }

    /// The word for machines; `None` when it was signed.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Issued(_) => None,
            Self::Wait { reason, .. } | Self::Retry { reason, .. } | Self::Terminal { reason, .. } => {
                Some(reason)
            }
        }
    }

    /// The text for people; `None` when it was signed.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Issued(_) => None,
            Self::Wait { message, .. } | Self::Retry { message, .. } | Self::Terminal { message, .. } => {
                Some(message)
            }
        }
    }
}

/// An error with its causes on one line, for messages that end in a status or an event.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::PemError;

    fn check(error: AuthorityError, reason: &str, message: &str) {
        let outcome = Outcome::of_signing(&"Issuer a/ca", Err(error));
        assert_eq!((outcome.reason(), outcome.message()), (Some(reason), Some(message)));
        assert!(outcome.issued().is_none());
    }

    #[test]
    fn a_request_that_must_not_be_signed_is_refused_for_good() {
        check(
            AuthorityError::BasicConstraints { requested: true, allowed: false },
            "SigningError",
            "Issuer a/ca did not sign: the request says CA true, but isCA is false",
        );
    }

    #[test]
    fn what_failed_in_passing_is_tried_again() {
        let failed = AuthorityError::Sign(crate::key::KeyError::Generate);
        let outcome = Outcome::of_signing(&"Issuer a/ca", Err(failed));
        assert!(matches!(outcome, Outcome::Retry { after: RETRY_AFTER, .. }), "{outcome:?}");
        assert!(outcome.message().unwrap().starts_with("Issuer a/ca could not sign now: "), "{outcome:?}");
    }

    #[test]
    fn an_issuer_with_urls_that_no_certificate_can_hold_means_waiting_for_its_spec() {
        let malformed = crate::extension::ExtensionError::Malformed { oid: "2.5.29.31".to_owned() };
        check(
            AuthorityError::IssuerUrls(malformed),
            "IssuerInvalid",
            "Issuer a/ca: the issuer's URLs of revocation lists, OCSP responders or its certificate cannot be written: \
             extension 2.5.29.31 is malformed",
        );
    }

    #[test]
    fn a_ca_that_cannot_be_used_means_waiting_for_its_secret() {
        check(
            AuthorityError::Certificate(PemError::TooMany { limit: 20 }),
            "SecretInvalidData",
            "Issuer a/ca: the CA certificate cannot be decoded: more than 20 PEM blocks",
        );
    }
}
