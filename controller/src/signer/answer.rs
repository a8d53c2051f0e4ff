//! What the caller is told: a decision, or why there is none.

use std::time::Duration;

use issuance::authority::Issued;
use issuance::certificate::Certificate;
use issuers::Outcome;
use issuers::live::PodFault;
use issuers::policy::Refusal;
use proto::signer::sign_response::Outcome as Answer;
use proto::signer::{self, Unsigned};
use tonic::{Code, Status};

use super::limits::Exhausted;
use super::review::Mismatch;
use super::tokens::TokenError;

/// When to come back after a wait: whatever is missing, somebody has to make it.
const WAIT: Duration = Duration::from_secs(10);

/// Why a call gets no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Denied {
    code: Code,
    /// One word for machines.
    pub reason: &'static str,
    message: String,
}

impl Denied {
    /// The message asks for what makes no sense.
    pub fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self { code: Code::InvalidArgument, reason, message: message.into() }
    }

    /// The service cannot tell now.
    pub fn unavailable(reason: &'static str, message: impl Into<String>) -> Self {
        Self { code: Code::Unavailable, reason, message: message.into() }
    }

    /// A token is not taken.
    pub fn unauthenticated(reason: &'static str, message: impl Into<String>) -> Self {
        Self { code: Code::Unauthenticated, reason, message: message.into() }
    }

    /// There is no place for it now.
    fn exhausted(reason: &'static str, message: impl Into<String>) -> Self {
        Self { code: Code::ResourceExhausted, reason, message: message.into() }
    }

    fn forbidden(reason: &'static str, message: impl Into<String>) -> Self {
        Self { code: Code::PermissionDenied, reason, message: message.into() }
    }

    /// What is wrong with `whose` token.
    pub fn of_token(whose: &str, error: &TokenError) -> Self {
        let message = format!("the token of the {whose}: {error}");
        match error {
            TokenError::Shape | TokenError::Refused(_) => Self::unauthenticated("TokenRefused", message),
            TokenError::Unanswered(_) => Self::unavailable("TokenUnreviewed", message),
            TokenError::Full(_) => Self::exhausted("TooManyReviews", message),
        }
    }

    /// What is wrong with `whose` pod.
    pub fn of_pod(whose: &str, fault: &PodFault) -> Self {
        Self::forbidden(fault.reason(), format!("{whose}: {fault}"))
    }

    /// Whether it is the caller's own fault, and not a matter of the moment.
    pub fn is_of_caller(&self) -> bool {
        matches!(self.code, Code::Unauthenticated | Code::PermissionDenied)
    }

    /// The word of the metrics for it.
    pub fn outcome(&self) -> &'static str {
        match self.code {
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "forbidden",
            Code::InvalidArgument => "invalid",
            Code::ResourceExhausted => "exhausted",
            _ => "unavailable",
        }
    }
}

impl From<Mismatch> for Denied {
    fn from(mismatch: Mismatch) -> Self {
        let reason = match mismatch {
            Mismatch::NoDriver(_) => "NoDriver",
            Mismatch::Account { .. } => "TokenOfAnotherAccount",
            Mismatch::Pod => "TokenOfAnotherPod",
            Mismatch::Node { .. } => "TokenFromAnotherNode",
        };
        Self::forbidden(reason, mismatch.to_string())
    }
}

impl From<Exhausted> for Denied {
    fn from(exhausted: Exhausted) -> Self {
        Self::exhausted("TooManyCalls", exhausted.to_string())
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        Self::new(denied.code, denied.to_string())
    }
}

/// The refusal of the policy.
pub fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(unsigned(refusal.reason.as_str(), refusal.message, Duration::ZERO))
}

/// That the issuer does not answer at once.
pub fn elsewhere(message: String) -> Answer {
    Answer::Elsewhere(unsigned("IssuerNotSynchronous", message, Duration::ZERO))
}

/// What an issuer signed.
///
/// # Errors
/// What to answer where it did not.
pub fn of_issuer(outcome: Outcome) -> Result<Issued, Answer> {
    match outcome {
        Outcome::Issued(issued) => Ok(issued),
        Outcome::Wait { reason, message } => Err(Answer::Wait(unsigned(reason, message, WAIT))),
        Outcome::Retry { after, reason, message } => Err(Answer::Retry(unsigned(reason, message, after))),
        Outcome::Terminal { reason, message } => {
            Err(Answer::Refused(unsigned(reason, message, Duration::ZERO)))
        }
    }
}

/// What was signed, with what the policy has to say of it.
pub fn issued(issued: &Issued, mut notes: Vec<String>) -> Answer {
    let der = |certificates: &[Certificate]| certificates.iter().map(|one| one.der().to_vec()).collect();
    notes.extend(issued.notes.iter().cloned());
    let (chain, ca) = (der(issued.chain.certificates()), der(issued.ca.certificates()));
    Answer::Issued(signer::Issued { chain, ca, notes })
}

/// An answer without a certificate.
pub fn unsigned(reason: &str, message: String, after: Duration) -> Unsigned {
    let after_seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    Unsigned { reason: reason.to_owned(), message, after_seconds }
}

/// The word of the metrics for an answer, and its reason.
pub fn words(answer: &Answer) -> (&'static str, &str) {
    match answer {
        Answer::Issued(_) => ("issued", ""),
        Answer::SelfSign(_) => ("self_sign", ""),
        Answer::Wait(unsigned) => ("wait", &unsigned.reason),
        Answer::Retry(unsigned) => ("retry", &unsigned.reason),
        Answer::Refused(unsigned) => ("refused", &unsigned.reason),
        Answer::Elsewhere(unsigned) => ("elsewhere", &unsigned.reason),
    }
}
