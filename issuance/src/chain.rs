//! Certificate chains: leaf first, each certificate signed by the next (spec/issuance.md §5).

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use jiff::Timestamp;

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
    /// Each certificate was issued by another one of them.
    #[error("the certificates issue each other in a circle, of which {subject:?} is one; there is no leaf")]
    Circle {
        /// Subject of one of them.
        subject: String,
    },
    /// There are several ways up, and no way to tell which one to serve.
    #[error(
        "a CA above {subject:?} has certificates by several issuers, and none of the ways up ends in a \
         configured root; leave all but one of them out"
    )]
    CrossSigned {
        /// Subject of the leaf.
        subject: String,
    },
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

/// Steps in the search for a way up. Honest cross-signing has a handful of ways; certificates that all issue each other
/// have more than could ever be walked.
const STEPS_MAX: usize = 1_000;

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
    /// When there is none, too many, or they do not form one line.
    pub fn order(certificates: Vec<Certificate>) -> Result<Self, ChainError> {
        Self::order_towards(certificates, &Bundle::default())
    }

    /// As [`Self::order`]; of several lines (a CA with certificates by several issuers) the longest that ends in one
    /// of `roots` is taken.
    ///
    /// # Errors
    /// As [`Self::order`], and when none of several lines ends in one of the roots.
    pub fn order_towards(certificates: Vec<Certificate>, roots: &Bundle) -> Result<Self, ChainError> {
        let graph = Graph::new(certificates)?;
        graph.check_no_strangers(0)?;
        graph.line(0, roots, None)
    }

    /// Makes one chain of certificates in any order; the leaf is the one that issued none of the others. Of several
    /// lines the longest that ends in one of `roots` is taken. With `valid_at`, CAs that have expired at that moment
    /// are left out.
    ///
    /// # Errors
    /// When there is none, too many, it is not clear which one is the leaf, or they do not form one line.
    pub fn assemble(
        certificates: Vec<Certificate>,
        roots: &Bundle,
        valid_at: Option<Timestamp>,
    ) -> Result<Self, ChainError> {
        let graph = Graph::new(certificates)?;
        let leaf = graph.leaf()?;
        graph.check_no_strangers(leaf)?;
        graph.line(leaf, roots, valid_at)
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

    /// The chain by what its certificates are: the leaf, the intermediates, and the root if it ends in one. A chain of
    /// one certificate has a leaf alone, even if that is a root.
    pub fn parts(&self) -> Parts<'_> {
        let above = self.certificates.get(1..).unwrap_or_default();
        match above.split_last() {
            Some((top, intermediates)) if top.is_root() => {
                Parts { leaf: self.leaf(), intermediates, root: Some(top) }
            }
            _ => Parts { leaf: self.leaf(), intermediates: above, root: None },
        }
    }

    /// Splits off what belongs in `ca.crt`: the root on top if there is one, else the highest intermediate when there
    /// is more than one certificate, else nothing. A root is not part of what is served, unless it is all there is.
    pub fn split(mut self) -> (Self, Bundle) {
        let top = self.certificates.last().expect("a chain holds at least one certificate").clone();
        let alone = self.certificates.len() == 1;
        if top.is_root() {
            if !alone {
                self.certificates.pop();
            }
            return (self, Bundle::of(vec![top]));
        }
        let ca = if alone { Vec::new() } else { vec![top] };
        (self, Bundle::of(ca))
    }
}

/// A chain by what its certificates are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The certificate that the chain is about.
    pub leaf: &'a Certificate,
    /// The CAs above it, from below, without the root.
    pub intermediates: &'a [Certificate],
    /// The root, if the chain holds it.
    pub root: Option<&'a Certificate>,
}

/// Certificates, each once, with the edges from one to those that issued it.
struct Graph {
    certificates: Vec<Certificate>,
    /// For each certificate the positions of those that have its issuer's name and signed it.
    issuers: Vec<Vec<usize>>,
    /// For each certificate why one that has its issuer's name is not its issuer.
    refused: Vec<Option<ChainError>>,
}

impl Graph {
    fn new(certificates: Vec<Certificate>) -> Result<Self, ChainError> {
        let certificates = Bundle::of(certificates).into_certificates();
        if certificates.is_empty() {
            return Err(ChainError::Empty);
        }
        if certificates.len() > MAX_LENGTH {
            return Err(ChainError::TooLong);
        }
        let mut by_subject: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (position, certificate) in certificates.iter().enumerate() {
            by_subject.entry(certificate.subject_name().value()).or_default().push(position);
        }
        let mut issuers = Vec::with_capacity(certificates.len());
        let mut refused = Vec::with_capacity(certificates.len());
        for (position, certificate) in certificates.iter().enumerate() {
            let (mut signers, mut refusal) = (Vec::new(), None);
            let named = by_subject.get(certificate.issuer_name().value()).map(Vec::as_slice);
            // A root has its own name as its issuer's, and nothing stands above it.
            for &candidate in named.filter(|_| !certificate.is_root()).unwrap_or_default() {
                let Some(issuer) = certificates.get(candidate).filter(|_| candidate != position) else {
                    continue;
                };
                match certificate.verify_issued_by(issuer) {
                    Ok(()) => signers.push(candidate),
                    Err(source) => {
                        let (subject, issuer) = (certificate.subject(), issuer.subject());
                        refusal = Some(ChainError::Signature { subject, issuer, source });
                    }
                }
            }
            issuers.push(signers);
            refused.push(refusal);
        }
        Ok(Self { certificates, issuers, refused })
    }

    fn issuers(&self, position: usize) -> &[usize] {
        self.issuers.get(position).map(Vec::as_slice).unwrap_or_default()
    }

    fn subject(&self, position: usize) -> String {
        self.certificates.get(position).map(Certificate::subject).unwrap_or_default()
    }

    /// The only certificate that issued none of the others.
    fn leaf(&self) -> Result<usize, ChainError> {
        let mut candidates = (0..self.certificates.len())
            .filter(|position| !self.issuers.iter().any(|issuers| issuers.contains(position)));
        match (candidates.next(), candidates.next()) {
            (Some(leaf), None) => Ok(leaf),
            (Some(leaf), Some(other)) => {
                // The reason is a broken signature more often than a stranger.
                if let Some(refused) = self.refused.iter().flatten().next() {
                    return Err(refused.clone());
                }
                Err(ChainError::Stranger { subject: self.subject(other), leaf: self.subject(leaf) })
            }
            (None, _) => Err(ChainError::Circle { subject: self.subject(0) }),
        }
    }

    /// Checks that every certificate stands somewhere above `leaf`.
    fn check_no_strangers(&self, leaf: usize) -> Result<(), ChainError> {
        let mut reached = vec![leaf];
        let mut next = 0;
        while let Some(&position) = reached.get(next) {
            for &issuer in self.issuers(position) {
                if !reached.contains(&issuer) {
                    reached.push(issuer);
                }
            }
            next += 1;
        }
        let refused = reached.iter().filter(|position| self.issuers(**position).is_empty());
        let refused = refused.filter_map(|position| self.refused.get(*position)?.clone()).next();
        match (0..self.certificates.len()).find(|position| !reached.contains(position)) {
            None => Ok(()),
            Some(stranger) => Err(refused.unwrap_or_else(|| ChainError::Stranger {
                subject: self.subject(stranger),
                leaf: self.subject(leaf),
            })),
        }
    }

    /// The only line upwards from `leaf`, or the longest of several that ends in one of `roots`.
    fn line(&self, leaf: usize, roots: &Bundle, valid_at: Option<Timestamp>) -> Result<Chain, ChainError> {
        let lines = self.lines(leaf, valid_at)?;
        let mut chains = lines.iter().map(|line| Chain {
            certificates: line
                .iter()
                .filter_map(|position| self.certificates.get(*position))
                .cloned()
                .collect(),
        });
        if lines.len() == 1 {
            return chains.next().ok_or(ChainError::Empty);
        }
        // The first of the longest; `max_by_key` would take the last.
        let mut best: Option<(usize, Chain)> = None;
        for chain in chains {
            if let Some(length) = length_to_root(&chain, roots)
                && best.as_ref().is_none_or(|(longest, _)| length > *longest)
            {
                best = Some((length, chain));
            }
        }
        let (_, chain) = best.ok_or_else(|| ChainError::CrossSigned { subject: self.subject(leaf) })?;
        Ok(chain)
    }

    /// All lines upwards from `leaf` that cannot be continued.
    fn lines(&self, leaf: usize, valid_at: Option<Timestamp>) -> Result<Vec<Vec<usize>>, ChainError> {
        let expired = |position: usize| {
            let certificate = self.certificates.get(position);
            valid_at.zip(certificate).is_some_and(|(now, certificate)| certificate.not_after() < now)
        };
        let mut finished = Vec::new();
        let mut open = vec![vec![leaf]];
        let mut steps = 0;
        while let Some(line) = open.pop() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(ChainError::CrossSigned { subject: self.subject(leaf) });
            }
            let above = line.last().map(|last| self.issuers(*last)).unwrap_or_default();
            let next: Vec<usize> =
                above.iter().copied().filter(|next| !line.contains(next) && !expired(*next)).collect();
            if next.is_empty() {
                finished.push(line);
                continue;
            }
            // Backwards, so that the first is the next to be continued.
            for &issuer in next.iter().rev() {
                let mut longer = line.clone();
                longer.push(issuer);
                open.push(longer);
            }
        }
        Ok(finished)
    }
}

/// How long a chain is up to and including its root in `roots`; `None` when it does not end there.
fn length_to_root(chain: &Chain, roots: &Bundle) -> Option<usize> {
    let top = chain.certificates.last()?;
    if roots.contains(top) {
        return Some(chain.certificates.len());
    }
    let issued = |root: &&Certificate| top.names_issuer(root) && top.verify_issued_by(root).is_ok();
    roots.certificates().iter().find(issued).map(|_| chain.certificates.len() + 1)
}
