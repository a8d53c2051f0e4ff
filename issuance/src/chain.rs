//! Certificate chains: leaf first, each certificate signed by the next (spec/issuance.md §5).

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::signature::SignatureError;

/// Why certificates do not form one chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no certificate.
    #[error("there is no certificate")]
    Empty,
    /// The chain is longer than any client follows.
    #[error("more than {MAX_LENGTH} certificates")]
    TooLong,
    /// A certificate has no place in the chain.
    #[error("certificate {subject:?} does not belong to the chain of {leaf:?}")]
    Stranger {
        /// Subject of the certificate that was left over.
        subject: String,
        /// Subject of the first certificate.
        leaf: String,
    },
    /// A certificate names its issuer, but that one did not sign it.
    #[error("certificate {subject:?} names {issuer:?} as its issuer but was not signed by it")]
    Signature {
        /// Subject of the certificate.
        subject: String,
        /// Subject of the certificate that should have signed it.
        issuer: String,
        /// What is wrong.
        source: SignatureError,
    },
}

/// Most certificates in a chain; clients stop at about ten.
pub const MAX_LENGTH: usize = 20;

/// At least one certificate, leaf first, each signed by the one behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<Certificate>,
}

impl Chain {
    /// Orders certificates behind the first one, which is the leaf. Duplicates are dropped; the order of the others
    /// does not matter.
    ///
    /// # Errors
    /// When there is none, too many, or one of them is not part of the chain.
    pub fn order(certificates: Vec<Certificate>) -> Result<Self, ChainError> {
        if certificates.len() > MAX_LENGTH {
            return Err(ChainError::TooLong);
        }
        let mut rest: Vec<Certificate> = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            if !rest.contains(&certificate) {
                rest.push(certificate);
            }
        }
        if rest.is_empty() {
            return Err(ChainError::Empty);
        }
        let mut ordered = vec![rest.remove(0)];
        while let Some(next) = take_issuer(ordered.last(), &mut rest)? {
            ordered.push(next);
        }
        match rest.first() {
            None => Ok(Self { certificates: ordered }),
            Some(stranger) => Err(ChainError::Stranger {
                subject: stranger.subject(),
                leaf: ordered.first().map(Certificate::subject).unwrap_or_default(),
            }),
        }
    }

    /// The first certificate.
    pub fn leaf(&self) -> &Certificate {
        self.certificates.first().expect("a chain holds at least one certificate: `order` refuses none")
    }

    /// All certificates, leaf first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The PEM blocks, leaf first.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(Certificate::to_pem).collect()
    }

    /// Puts a certificate in front that the present leaf signed.
    pub(crate) fn with_leaf(&self, leaf: Certificate) -> Self {
        let certificates = std::iter::once(leaf).chain(self.certificates.iter().cloned()).collect();
        Self { certificates }
    }

    /// Splits off what belongs in `ca.crt`: the self-signed top if there is one, else the highest intermediate when
    /// there is more than one certificate, else nothing. A self-signed top is not part of what is served, unless it
    /// is all there is.
    pub(crate) fn split(mut self) -> (Self, Bundle) {
        let top = self.certificates.last().expect("a chain holds at least one certificate").clone();
        let alone = self.certificates.len() == 1;
        if top.is_self_signed() {
            if !alone {
                self.certificates.pop();
            }
            return (self, Bundle::of(vec![top]));
        }
        let ca = if alone { Vec::new() } else { vec![top] };
        (self, Bundle::of(ca))
    }
}

/// Takes the certificate that signed `last` out of `rest`. A self-issued `last` ends the chain.
fn take_issuer(
    last: Option<&Certificate>,
    rest: &mut Vec<Certificate>,
) -> Result<Option<Certificate>, ChainError> {
    let Some(last) = last.filter(|last| !last.is_self_issued()) else {
        return Ok(None);
    };
    let mut refused = None;
    for position in 0..rest.len() {
        let Some(candidate) = rest.get(position).filter(|candidate| last.names_issuer(candidate)) else {
            continue;
        };
        match last.verify_issued_by(candidate) {
            Ok(()) => return Ok(Some(rest.remove(position))),
            Err(source) => {
                refused = Some(ChainError::Signature {
                    subject: last.subject(),
                    issuer: candidate.subject(),
                    source,
                });
            }
        }
    }
    refused.map_or(Ok(None), Err)
}
