//! What several tests need: instants, keys, CAs and requests.

use issuance::authority::{Authority, Issued, Terms};
use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
use issuance::name::SubjectAltName;
use issuance::request::{Request, RequestSpec};
use jiff::{SignedDuration, Timestamp};

/// An instant so many seconds after the epoch.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The moment at which tests happen: 2027-01-15T08:00:00Z.
pub(crate) fn now() -> Timestamp {
    at(1_800_000_000)
}

/// A new key on P-256, which is quick to make.
pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap()
}

/// A root, valid for a year from [`now`] on.
pub(crate) fn ca(name: &str) -> Authority {
    Authority::self_signed(name, key(), SignedDuration::from_hours(365 * 24), now()).unwrap()
}

/// A request for one DNS name.
pub(crate) fn request(name: &str, key: &PrivateKey) -> Request {
    let names = vec![SubjectAltName::Dns(name.to_owned())];
    Request::build(&RequestSpec { names, ..RequestSpec::default() }, key).unwrap()
}

/// What a new CA gives back for a request on the usual terms.
pub(crate) fn issued(request: &Request) -> Issued {
    ca("ca").sign(request, &Terms::default(), now()).unwrap()
}
