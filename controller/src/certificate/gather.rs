//! Everything that is known about one Certificate, brought together for a decision.

use std::sync::Arc;

use crate::certificate::index::Sight;
use crate::certificate::secret::KeySecretView;
use crate::certificate::snapshot::{
    IssuerFacts, KeystoreState, Namesake, Passwords, Policy, Snapshot, Target,
};
use crate::certificate::view::CertificateView;
use crate::issuer::registry::IssuerState;
use crate::object::IssuerKey;
use crate::request::view::RequestView;

/// What a [`Snapshot`] borrows from.
#[derive(Debug)]
pub struct Gathered {
    /// The Certificate.
    pub certificate: Arc<CertificateView>,
    /// The Secret that it is kept in.
    pub secret: Sight,
    /// Other Certificates with that Secret.
    pub namesakes: Vec<Namesake>,
    /// Keys of its issuances.
    pub keys: Vec<KeySecretView>,
    /// Its requests.
    pub requests: Vec<RequestView>,
    /// The issuer that it refers to.
    pub issuer: IssuerFacts,
    /// That issuer, where its CA is in the Secret of the Certificate.
    pub ca_of: Option<IssuerKey>,
    /// The passwords of its keystores.
    pub passwords: Passwords,
    /// Whether its keystores are known to be made with those.
    pub keystores: KeystoreState,
    /// The versions of what keystores would be made from now.
    pub keystore_inputs: Vec<String>,
    /// Whether Secrets of its namespace may be written.
    pub is_served: bool,
}

impl Gathered {
    /// What a decision looks at.
    pub fn snapshot<'a>(&'a self, policy: &'a Policy) -> Snapshot<'a> {
        Snapshot {
            certificate: &self.certificate,
            secret: match &self.secret {
                Sight::Unknown => Target::Unknown,
                Sight::Absent => Target::Absent,
                Sight::There(view) => Target::There(view),
            },
            namesakes: &self.namesakes,
            next_keys: &self.keys,
            requests: &self.requests,
            issuer: self.issuer,
            target_is_ca_of: self.ca_of.as_ref(),
            passwords: &self.passwords,
            keystores: self.keystores,
            is_served: self.is_served,
            policy,
        }
    }
}

/// What matters of the state of the issuer that a Certificate refers to; `None`: it is no issuer of our own group.
pub fn issuer_facts(state: Option<&IssuerState>) -> IssuerFacts {
    match state {
        None => IssuerFacts::Foreign,
        Some(IssuerState::Unsupported(type_)) => IssuerFacts::Unsupported(type_),
        Some(IssuerState::Ready { type_, .. }) => {
            IssuerFacts::Ready { is_synchronous: ["ca", "selfSigned"].contains(type_) }
        }
        Some(
            IssuerState::Absent | IssuerState::Malformed(_) | IssuerState::NotReady(_) | IssuerState::Unknown,
        ) => IssuerFacts::Waited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_that_cannot_sign_now_is_waited_for() {
        assert_eq!(issuer_facts(None), IssuerFacts::Foreign);
        assert_eq!(issuer_facts(Some(&IssuerState::Unsupported("acme"))), IssuerFacts::Unsupported("acme"));
        for state in [IssuerState::Absent, IssuerState::Unknown, IssuerState::NotReady("x".to_owned())] {
            assert_eq!(issuer_facts(Some(&state)), IssuerFacts::Waited);
        }
    }
}
