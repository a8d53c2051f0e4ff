//! Temporary certificates (spec/issuance.md §16): something to start with while the real issuer takes its time, for
//! users who ask for it by annotation. They are signed by a CA that is thrown away at once, so nobody can trust them.

use jiff::Timestamp;

use crate::authority::{Authority, AuthorityError, Terms};
use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::key::{Curve, KeyAlgorithm, PrivateKey};
use crate::name::Subject;
use crate::request::Request;

/// Name of every CA that signs temporary certificates, as the peer's.
const COMMON_NAME: &str = "cert-manager.local";

/// `serialNumber` in the subject of every such CA, as the peer's; together with the name it marks what it signed.
const SERIAL_NUMBER: &str = "1234567890";

/// A certificate that must not be taken for the real one: a type of its own, so that no function which wants what an
/// issuer gave takes it. Who stores it has to mark it there too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    chain: Chain,
}

impl Temporary {
    /// Signs a certificate for the key and names of `request` by a CA that is made for it alone.
    ///
    /// # Errors
    /// When the request cannot be signed on these terms, as in [`Authority::sign`].
    pub fn sign(request: &Request, terms: &Terms, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P521))?;
        let path_len = (!terms.is_ca).then_some(0);
        let authority = Authority::root(&subject(), path_len, key, terms.duration, now)?;
        Ok(Self { chain: authority.sign(request, terms, now)?.chain })
    }

    /// The certificate, for `tls.crt`. There is nothing for `ca.crt`.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

/// Whether a certificate was made by [`Temporary::sign`], or by the peer in the same way. Anybody can make one that
/// looks like it, so this is for telling a user what is going on, and for not being ready, alone.
pub fn is_temporary(certificate: &Certificate) -> bool {
    subject().to_name().is_ok_and(|name| name == *certificate.issuer_name()) && !certificate.is_self_issued()
}

fn subject() -> Subject {
    Subject { serial_number: Some(SERIAL_NUMBER.to_owned()), ..Subject::common_name(COMMON_NAME) }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::name::SubjectAltName;
    use crate::request::RequestSpec;
    use crate::testing::{authority, key, now};

    fn request() -> Request {
        let names = vec![SubjectAltName::Dns("a.test".to_owned())];
        Request::build(&RequestSpec { names, ..RequestSpec::default() }, &key(9)).unwrap()
    }

    #[test]
    fn a_request_that_no_ca_would_sign_is_refused() {
        let terms = Terms { duration: SignedDuration::ZERO, ..Terms::default() };
        assert!(Temporary::sign(&request(), &terms, now()).is_err());
    }

    #[test]
    fn it_is_for_the_real_key_and_names_under_a_ca_that_nobody_knows() {
        for is_ca in [false, true] {
            let terms = Terms { is_ca, ..Terms::default() };
            let temporary = Temporary::sign(&request(), &terms, now()).unwrap();
            assert_eq!(temporary.chain().certificates().len(), 1, "the CA is thrown away");
            let leaf = temporary.chain().leaf();
            assert_eq!(leaf.public_key(), key(9).public_key());
            assert_eq!(leaf.names(), request().names());
            assert_eq!(leaf.issuer(), "CN=cert-manager.local, SERIALNUMBER=1234567890");
            assert_eq!(leaf.not_after(), now() + terms.duration);
            assert!(is_temporary(leaf));
        }
    }

    #[test]
    fn what_other_cas_sign_is_not_temporary() {
        let issued = authority(|maker| maker).sign(&request(), &Terms::default(), now()).unwrap();
        assert!(!is_temporary(issued.chain.leaf()));
        let ca = Authority::root(&subject(), None, key(1), SignedDuration::from_hours(1), now()).unwrap();
        assert!(!is_temporary(ca.certificate()), "the CA itself");
    }
}
