//! What a CA must be before it signs, and before it signs this (spec/issuance.md §6).

use jiff::{SignedDuration, Timestamp};

use super::{AuthorityError, Terms};
use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::constraint::NameConstraints;
use crate::key::PublicKey;
use crate::permitted::{self, Names};

/// A CA that cuts a lifetime below this has too little left to be of use; shorter ones only when they were asked for.
/// It is what admission demands of a duration.
const CUT_LIFETIME_MIN: SignedDuration = SignedDuration::from_hours(1);

/// What does not depend on the request, worked out once: the rights of a CA and of those above it.
#[derive(Debug)]
pub(super) struct Rights {
    /// The tightest path length: how many levels of CAs may follow below the signing certificate, and whose it is.
    path: Option<Path>,
    /// Name constraints with the subject of the CA that has them.
    constraints: Vec<(String, NameConstraints)>,
}

#[derive(Debug)]
struct Path {
    left: u8,
    path_len: u8,
    constrained: String,
}

impl Rights {
    /// Checks that the first certificate of the chain is that of `key`, that all of them are CAs that may sign, and
    /// that none has more below it than it allows.
    pub(super) fn of(chain: &Chain, key: &PublicKey) -> Result<Self, AuthorityError> {
        if chain.leaf().public_key() != key {
            return Err(AuthorityError::Mismatch { subject: chain.leaf().subject() });
        }
        let mut rights = Self { path: None, constraints: Vec::new() };
        let mut below: usize = 0;
        for certificate in chain.certificates() {
            check_is_ca(certificate)?;
            rights.add_path_len(certificate, below)?;
            rights.add_constraints(certificate)?;
            // Certificates by which a CA certifies itself do not count (RFC 5280 §4.2.1.9).
            below += usize::from(!certificate.is_self_issued());
        }
        Ok(rights)
    }

    fn add_path_len(&mut self, certificate: &Certificate, below: usize) -> Result<(), AuthorityError> {
        let Some(path_len) = certificate.path_len() else {
            return Ok(());
        };
        let left = u8::try_from(below).ok().and_then(|below| path_len.checked_sub(below));
        let subject = certificate.subject();
        let left = left.ok_or(AuthorityError::ChainTooLong { subject: subject.clone(), path_len, below })?;
        if self.path.as_ref().is_none_or(|tightest| left < tightest.left) {
            self.path = Some(Path { left, path_len, constrained: subject });
        }
        Ok(())
    }

    fn add_constraints(&mut self, certificate: &Certificate) -> Result<(), AuthorityError> {
        let subject = certificate.subject();
        match certificate.name_constraints() {
            Ok(constraints) => {
                self.constraints.extend(constraints.map(|constraints| (subject, constraints)));
                Ok(())
            }
            Err(source) => Err(AuthorityError::Constraints { subject, source }),
        }
    }

    /// How many levels of CAs may follow below the signing certificate; `None` for no limit.
    pub(super) fn path_limit(&self) -> Option<u8> {
        self.path.as_ref().map(|path| path.left)
    }

    /// Checks that another CA may follow.
    pub(super) fn check_path(&self, signer: &Certificate, terms: &Terms) -> Result<(), AuthorityError> {
        match &self.path {
            Some(path) if terms.is_ca && path.left == 0 => Err(AuthorityError::PathLength {
                subject: signer.subject(),
                constrained: path.constrained.clone(),
                path_len: path.path_len,
            }),
            _ => Ok(()),
        }
    }

    /// Checks that every CA of the chain permits the names.
    pub(super) fn check_names(&self, names: &Names) -> Result<(), AuthorityError> {
        for (ca, constraints) in &self.constraints {
            permitted::check(ca, constraints, names)?;
        }
        Ok(())
    }
}

fn check_is_ca(certificate: &Certificate) -> Result<(), AuthorityError> {
    let reason = if !certificate.is_ca() {
        "its basic constraints do not say so; set isCA on the Certificate that makes it"
    } else if !certificate.may_sign_certificates() {
        "its key usage lacks cert sign"
    } else {
        return Ok(());
    };
    Err(AuthorityError::NotCa { subject: certificate.subject(), reason })
}

/// Checks that every certificate of the chain is valid at `now`.
pub(super) fn check_valid_at(chain: &Chain, now: Timestamp) -> Result<(), AuthorityError> {
    match chain.certificates().iter().find(|certificate| !certificate.is_valid_at(now)) {
        None => Ok(()),
        Some(certificate) => Err(AuthorityError::NotValid {
            subject: certificate.subject(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            now,
        }),
    }
}

/// Keeps a certificate's life inside that of the CA and of those above it; a shorter life than asked for is noted.
pub(super) fn cap(
    chain: &Chain,
    wanted: (Timestamp, Timestamp),
    terms: &Terms,
    now: Timestamp,
    notes: &mut Vec<String>,
) -> Result<(Timestamp, Timestamp), AuthorityError> {
    let not_before = wanted.0.max(chain.leaf().not_before());
    let first_to_end = chain.certificates().iter().min_by_key(|certificate| certificate.not_after());
    let Some(first_to_end) = first_to_end.filter(|ca| ca.not_after() < wanted.1) else {
        return Ok((not_before, wanted.1));
    };
    let not_after = first_to_end.not_after();
    if not_after.duration_since(now) < CUT_LIFETIME_MIN {
        return Err(AuthorityError::ExpiresTooSoon {
            subject: first_to_end.subject(),
            not_after,
            asked: terms.duration,
        });
    }
    notes.push(format!(
        "valid until {not_after} only, when CA {:?} expires; renew the CA",
        first_to_end.subject()
    ));
    Ok((not_before, not_after))
}
