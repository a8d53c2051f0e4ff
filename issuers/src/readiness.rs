//! Whether an issuer could sign now: what its Ready condition says (spec/issuance.md §§6, 7).

use jiff::Timestamp;

/// The Ready condition of an issuer, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerReadiness {
    /// Whether it can sign.
    pub ready: bool,
    /// One word for machines, as the peer says it.
    pub reason: &'static str,
    /// For people: what is wrong and what would be right.
    pub message: String,
    /// When this is to be looked at again at the latest; `None`: only changes count.
    pub again: Option<Timestamp>,
    /// Something to be told although it is ready: a word for machines and a text, which is told once.
    pub advice: Option<(&'static str, String)>,
}

impl IssuerReadiness {
    /// It can sign.
    pub fn ready(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ready: true, reason, message: message.into(), again: None, advice: None }
    }

    /// It cannot.
    pub fn unready(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ready: false, ..Self::ready(reason, message) }
    }
}
