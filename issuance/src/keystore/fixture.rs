//! A key with a chain of leaf and intermediate, and two CAs of one name, as a rotation has them.

use jiff::{SignedDuration, Timestamp};

use super::KeyEntry;
use crate::authority::{Authority, Issued, Terms};
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::key::{KeyAlgorithm, KeyEncoding, PrivateKey};
use crate::keystore::Password;
use crate::name::Subject;
use crate::request::{Request, RequestSpec};
use crate::usage::Usages;

pub(crate) struct Parts {
    pub key: PrivateKey,
    pub chain: Chain,
    pub ca: Bundle,
}

impl Parts {
    pub(crate) fn new(algorithm: KeyAlgorithm) -> Self {
        let (root, intermediate) = (authority("root"), PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap());
        let above = issue(&root, "intermediate", &intermediate, true).chain.leaf().clone();
        let pem = intermediate.to_pem(KeyEncoding::Pkcs8);
        let issuer = Authority::from_pem(above.to_pem().as_bytes(), pem.expose(), None).unwrap();
        let key = PrivateKey::generate(algorithm).unwrap();
        let leaf = issue(&issuer, "leaf", &key, false).chain.leaf().clone();
        let ca = Bundle::of(vec![root.certificate().clone(), authority("root").certificate().clone()]);
        Self { key, chain: Chain::order(vec![leaf, above]).unwrap(), ca }
    }

    pub(crate) fn entry(&self) -> KeyEntry<'_> {
        KeyEntry { key: &self.key, chain: &self.chain, ca: &self.ca }
    }

    /// Leaf, intermediate and both CAs.
    pub(crate) fn certificates(&self) -> Vec<Certificate> {
        [self.chain.certificates(), self.ca.certificates()].concat()
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub(crate) fn password(text: &str) -> Password {
    Password::new(text.as_bytes()).unwrap()
}

fn authority(name: &str) -> Authority {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    Authority::self_signed(name, key, SignedDuration::from_hours(24), now()).unwrap()
}

fn issue(issuer: &Authority, name: &str, key: &PrivateKey, is_ca: bool) -> Issued {
    let usages = if is_ca { Usages::default().with_cert_sign() } else { Usages::server() };
    let spec = RequestSpec { subject: Subject::common_name(name).into(), ..RequestSpec::default() };
    let terms = Terms { usages, is_ca, ..Terms::default() };
    issuer.sign(&Request::build(&spec, key).unwrap(), &terms, now()).unwrap()
}
