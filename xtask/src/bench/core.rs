//! `cargo xtask bench issuance`: what the issuance core costs one processor, without a cluster.

use std::hint::black_box;
use std::time::Duration;

use e2e::progress;
use issuance::authority::{Authority, Terms};
use issuance::bundle::Bundle;
use issuance::credential::Credential;
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey, RsaSize};
use issuance::name::{Subject, SubjectAltName};
use issuance::request::RequestSpec;
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};

use super::figures::{Work, milliseconds};
use super::keys;

/// How long each kind of work is repeated.
const EACH_FOR: Duration = Duration::from_secs(3);

/// How many roots a large bundle holds: about as many as a distribution's own.
const ROOTS: usize = 150;

/// Keys whose making is timed; of the longest RSA keys, three seconds would hold none.
const KEYS: [KeyAlgorithm; 5] = [
    KeyAlgorithm::Ecdsa(Curve::P256),
    KeyAlgorithm::Ed25519,
    KeyAlgorithm::Ecdsa(Curve::P384),
    KeyAlgorithm::Rsa(RsaSize::Bits2048),
    KeyAlgorithm::Rsa(RsaSize::Bits3072),
];

/// What was found out about the core.
pub(crate) struct Core {
    pub(crate) work: Vec<Work>,
    pub(crate) keys: Vec<Work>,
}

/// Measures the core on one processor.
///
/// # Errors
/// When something that must work does not.
pub(crate) fn run() -> anyhow::Result<Core> {
    let mut work = Vec::new();
    for issuer in [KeyAlgorithm::Ecdsa(Curve::P256), KeyAlgorithm::Rsa(RsaSize::Bits2048)] {
        let authority = authority(issuer)?;
        let name = format!("ECDSA P-256 key, request, signature by {issuer}, verification, PEM");
        work.push(repeat(&name, || issue(&authority))?);
    }
    let bundle = bundle()?;
    work.push(repeat(&format!("a bundle of {ROOTS} certificates: parse, merge, PEM"), || {
        let present = Bundle::parse(bundle.as_bytes())?;
        black_box(Bundle::merge(&present, &present, Timestamp::now()).to_pem());
        Ok(())
    })?);
    let keys = KEYS.map(|algorithm| {
        let rate = keys::measure(algorithm, EACH_FOR)?;
        progress::note(&format!("{algorithm}: {:.1} keys a second", rate.per_second));
        anyhow::Ok(rate)
    });
    Ok(Core { work, keys: keys.into_iter().collect::<anyhow::Result<_>>()? })
}

fn repeat(name: &str, work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Work> {
    let work = Work::repeat(name, EACH_FOR, work)?;
    progress::note(&format!("{name}: p50 {} ms", milliseconds(work.latencies.percentile(50))));
    Ok(work)
}

/// All that a mount asks of the core, up to the texts of its files.
fn issue(authority: &Authority) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256))?;
    let pending = Credential::new(key, &spec())?;
    let terms =
        Terms { usages: Usages::server(), duration: SignedDuration::from_hours(24), ..Terms::default() };
    let issued = authority.sign(pending.request(), &terms, now)?;
    let verified = pending.signed(issued).verify(now)?;
    black_box((verified.chain().to_pem(), verified.ca().to_pem(), verified.key().to_pem(KeyEncoding::Pkcs8)));
    Ok(())
}

fn spec() -> RequestSpec {
    RequestSpec {
        subject: Subject::common_name("web.shop.svc").into(),
        names: vec![
            SubjectAltName::Dns("web.shop.svc".to_owned()),
            SubjectAltName::Dns("web.shop.svc.cluster.local".to_owned()),
            SubjectAltName::Uri("spiffe://cluster.local/ns/shop/sa/web".to_owned()),
        ],
        usages: Usages::server(),
        encode_usages: true,
        ..RequestSpec::default()
    }
}

fn authority(algorithm: KeyAlgorithm) -> anyhow::Result<Authority> {
    let lifetime = SignedDuration::from_hours(24 * 365);
    Ok(Authority::self_signed("Benchmark CA", PrivateKey::generate(algorithm)?, lifetime, Timestamp::now())?)
}

fn bundle() -> anyhow::Result<String> {
    let mut text = String::new();
    for _ in 0..ROOTS {
        text.push_str(&authority(KeyAlgorithm::Ecdsa(Curve::P256))?.certificate().to_pem());
    }
    Ok(text)
}
