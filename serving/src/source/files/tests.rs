use jiff::SignedDuration;
use rcgen::{CertificateParams, KeyPair};
use runtime::tls::ServingCertificate;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::clock::tests::TestClock;
use crate::metrics::Metrics;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Two files, and a source that reads them.
struct World {
    folder: TempDir,
    clock: TestClock,
    served: watch::Receiver<Option<Served>>,
    source: FileSource,
}

impl World {
    fn new() -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), TestClock::new());
        let (sender, served) = watch::channel(None);
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
        let metrics = Metrics::new(&runtime::metrics::Metrics::new("webhook", "0"));
        let certificates = ServingCertificate::new();
        let outlet = Outlet { certificate: certificates, served: sender, metrics, clock: clock.clock() };
        let source = FileSource::new(certificate, key, outlet);
        Self { folder, clock, served, source }
    }

    /// A certificate that is valid for a day from now on, and its key.
    fn pair(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let at = |at: Timestamp| std::time::SystemTime::from(at).into();
        (params.not_before, params.not_after) = (at(self.clock.now()), at(self.clock.now() + DAY));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, certificate: &str, key: &str) {
        for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }
    }

    fn served(&self) -> Option<String> {
        self.served.borrow().as_ref().map(|served| served.name.to_str().into_owned())
    }

    /// These files are of no use, and that is told with these words.
    async fn refused(&mut self, certificate: &str, key: &str, wanted: &str) {
        let (before, failures) = (self.served(), self.source.outlet.metrics.certificate_failures.get());
        self.write(certificate, key);
        self.source.step().await;
        let complaint = self.source.complaint.clone().unwrap_or_default();
        assert!(complaint.contains(wanted), "{complaint:?} does not say {wanted:?}");
        let secret = key.lines().nth(1).unwrap_or("no key");
        assert!(!complaint.contains(secret), "{complaint:?}");
        assert_eq!(
            (self.served(), self.source.outlet.metrics.certificate_failures.get()),
            (before, failures + 1)
        );
    }

    async fn refuses_what_cannot_be_served(&mut self) {
        let (a, b) = (self.pair("a.test"), self.pair("b.test"));
        self.refused("", &a.1, "cannot use the certificates in").await;
        self.refused("garbage", &a.1, "cannot use the certificates in").await;
        self.refused(&a.0, "", "cannot use the private key in").await;
        self.refused(&a.0, "garbage", "cannot use the private key in").await;
        self.refused(&a.1, &a.1, "no PEM block found").await;
        self.refused(&a.0, &a.0, "a \"CERTIFICATE\" block is not an unencrypted private key").await;
        self.refused(&a.0, &b.1, "is not that of the first certificate in").await;
        self.refused(&" ".repeat(108_001), &a.1, "is larger than 108000 bytes").await;
        self.clock.jump(DAY * 2);
        self.refused(&a.0, &a.1, "is valid from 2027-01-15T").await;
        self.clock.jump(-DAY * 4);
        self.refused(&a.0, &a.1, "only; renew it").await;
        self.clock.jump(DAY * 2);
        std::fs::remove_file(self.folder.path().join("tls.key")).unwrap();
        self.source.step().await;
        assert!(self.source.complaint.clone().unwrap().contains("tls.key\": No such file"));
    }
}

#[tokio::test]
async fn without_a_good_pair_nothing_is_served() {
    let mut world = World::new();
    world.source.step().await;
    assert!(world.source.complaint.clone().unwrap().starts_with("cannot read "));
    world.refuses_what_cannot_be_served().await;
    assert_eq!((world.served(), world.source.outlet.certificate.is_set()), (None, false));
}

#[tokio::test]
async fn the_last_good_pair_stays_however_often_the_files_fail() {
    let mut world = World::new();
    let (certificate, key) = world.pair("good.test");
    world.write(&certificate, &key);
    world.source.step().await;
    for _ in 0..2 {
        world.refuses_what_cannot_be_served().await;
        assert_eq!(world.served().as_deref(), Some("good.test"));
    }
    let (certificate, key) = world.pair("better.test");
    world.write(&certificate, &key);
    world.source.step().await;
    assert_eq!((world.served().as_deref(), &world.source.complaint), (Some("better.test"), &None));
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_served_after_ten_seconds_and_files_that_do_not_are_no_news() {
    let world = World::new();
    let pairs = ["one.test", "two.test"].map(|name| world.pair(name));
    world.write(&pairs[0].0, &pairs[0].1);
    let World { source, mut served, folder, .. } = world;
    let (loaded, shutdown) = (source.outlet.metrics.certificates_loaded.clone(), Shutdown::default());
    let running = tokio::spawn(source.run(shutdown.clone()));
    served.changed().await.unwrap();
    tokio::time::sleep(INTERVAL * 20).await;
    assert_eq!((loaded.get(), served.has_changed().unwrap()), (1, false));
    // First the one, later the other, as an editor would.
    std::fs::write(folder.path().join("tls.crt"), &pairs[1].0).unwrap();
    tokio::time::sleep(INTERVAL).await;
    assert!(!served.has_changed().unwrap());
    std::fs::write(folder.path().join("tls.key"), &pairs[1].1).unwrap();
    tokio::time::timeout(INTERVAL, served.changed()).await.expect("ten seconds are over").unwrap();
    assert_eq!(served.borrow().as_ref().unwrap().name.to_str(), "two.test");
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_dialled_under_a_name_that_it_is_for() {
    for (written, dialled) in [("a.test", "a.test"), ("*.a.test", "webhook.a.test"), ("::1", "::1")] {
        let mut world = World::new();
        let (certificate, key) = world.pair(written);
        world.write(&certificate, &key);
        world.source.step().await;
        assert_eq!(world.served().as_deref(), Some(dialled));
    }
}

#[tokio::test]
async fn a_certificate_without_names_is_refused() {
    let mut world = World::new();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
    world.refused(&certificate, &key.serialize_pem(), "is for no DNS name and no IP address").await;
}
