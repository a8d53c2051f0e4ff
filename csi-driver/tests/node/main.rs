//! The real program with real mounts, against an API server of a few lines. Mounting needs root: to anybody else a user
//! namespace gives it.

// Said once more than needed: clippy takes only what stands below such a line for tests.
#[cfg(test)]
mod api;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod namespace;

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
use proto::registration::InfoRequest;
use proto::registration::registration_client::RegistrationClient;
use tonic::Code;

use crate::fixture::{add_ca, bare_node, check_pair, node};

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_the_right_code_and_leaves_nothing() {
    let Some((driver, _api)) = node().await else { return };
    let refused = |change: fn(&mut proto::csi::NodePublishVolumeRequest), code: Code| {
        let mut request = driver.request("csi-1", &[]);
        change(&mut request);
        let mut node = driver.node();
        async move { assert_eq!(node.node_publish_volume(request).await.unwrap_err().code(), code) }
    };
    refused(|r| r.volume_id.clear(), Code::InvalidArgument).await;
    refused(|r| r.volume_id = "../x".to_owned(), Code::InvalidArgument).await;
    refused(|r| r.target_path.clear(), Code::InvalidArgument).await;
    refused(|r| r.volume_capability = None, Code::InvalidArgument).await;
    refused(|r| r.readonly = false, Code::InvalidArgument).await;
    refused(|r| drop(r.volume_context.remove("csi.storage.k8s.io/ephemeral")), Code::InvalidArgument).await;
    let error = driver.publish("csi-1", &[("issuer-name", "")]).await.unwrap_err();
    assert_eq!(error.message(), "volumeAttributes.csi.cert-manager.io/issuer-name: Required value");
    let error = driver.publish("csi-1", &[("issuer-group", "example.org")]).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(!driver.target("csi-1").exists() && !driver.on_disk("csi-1").exists());
}

#[tokio::test]
async fn what_is_missing_is_named_until_it_is_there() {
    let Some((driver, api)) = bare_node().await else { return };
    let error = driver.publish("csi-1", &[]).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("Issuer team-a/ca"), "{}", error.message());
    add_ca(&api);
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = driver.publish("csi-1", &[]).await {
        assert_eq!(error.code(), Code::Unavailable);
        assert!(Instant::now() < deadline, "{}", error.message());
    }
    check_pair(&driver, "csi-1", KeyAlgorithm::Ecdsa(Curve::P256));
}

#[tokio::test]
async fn a_volume_is_what_its_attributes_ask_for_and_cannot_be_written() {
    use issuance::key::RsaSize::Bits2048;
    let Some((driver, _api)) = node().await else { return };
    // A user namespace of one user has one group, and that is nothing that a volume can ask for.
    let (attributes, group): (&[_], _) =
        if namespace::has_group(2000) { (&[("fs-group", "2000")], 2000) } else { (&[], 0) };
    driver.publish("ecdsa", attributes).await.unwrap();
    driver.publish("rsa", &[("key-algorithm", ""), ("issuer-name", "self")]).await.unwrap();
    driver.publish("ed", &[("key-algorithm", "ed25519"), ("ca-file", "root.pem")]).await.unwrap();
    check_pair(&driver, "ecdsa", KeyAlgorithm::Ecdsa(Curve::P256));
    check_pair(&driver, "rsa", KeyAlgorithm::Rsa(Bits2048));
    check_pair(&driver, "ed", KeyAlgorithm::Ed25519);
    assert!(driver.read("rsa", "tls.key").starts_with(b"-----BEGIN RSA PRIVATE KEY-----"));
    assert!(driver.read("ed", "root.pem").starts_with(b"-----BEGIN CERTIFICATE-----"));

    let file = std::fs::metadata(driver.target("ecdsa").join("tls.key")).unwrap();
    assert_eq!((file.mode() & 0o777, file.uid(), file.gid()), (0o440, 0, group));
    let written = std::fs::write(driver.target("ecdsa").join("x"), "x");
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    for id in ["ecdsa", "rsa", "ed"] {
        driver.unpublish(id).await.unwrap();
        driver.unpublish(id).await.unwrap();
        assert!(!driver.target(id).exists() && !driver.on_disk(id).exists());
    }
}

#[tokio::test]
async fn kubelet_finds_the_driver_until_it_ends_and_mounts_outlive_it() {
    let Some((mut driver, _api)) = node().await else { return };
    let socket = driver.registration_socket();
    driver.dialable(&socket).await;
    let mut kubelet = RegistrationClient::new(csi_driver::socket::channel(socket.clone()));
    let info = kubelet.get_info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.name, "csi.cert-manager.io");
    assert!(info.endpoint.ends_with("/plugins/driver/csi.sock"));
    drop(kubelet);
    driver.publish("csi-1", &[]).await.unwrap();
    let before = driver.read("csi-1", "tls.crt");
    assert!(driver.stop().success());
    assert!(!socket.exists());
    assert_eq!(driver.read("csi-1", "tls.crt"), before);
    driver.restart().await;
    driver.publish("csi-1", &[]).await.unwrap();
    assert_eq!(driver.read("csi-1", "tls.crt"), before);
}

#[tokio::test]
async fn a_crash_loses_no_live_volume() {
    let Some((mut driver, _api)) = node().await else { return };
    driver.publish("csi-1", &[]).await.unwrap();
    let before = driver.read("csi-1", "tls.key");
    driver.crash_and_restart().await;
    assert_eq!(driver.read("csi-1", "tls.key"), before);
    driver.publish("csi-1", &[]).await.unwrap();
    assert_eq!(driver.read("csi-1", "tls.key"), before);
    driver.publish("csi-1", &[("is-ca", "true")]).await.unwrap();
    driver.publish("csi-1", &[("is-ca", "a driver of tomorrow says no")]).await.unwrap();
    assert_eq!(driver.read("csi-1", "tls.key"), before);
    let mut elsewhere = driver.request("csi-1", &[]);
    elsewhere.target_path.push_str("-too");
    let error = driver.node().node_publish_volume(elsewhere).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let mut other_pod = driver.request("csi-1", &[]);
    other_pod.volume_context.insert("csi.storage.k8s.io/pod.uid".to_owned(), "u-2".to_owned());
    let error = driver.node().node_publish_volume(other_pod).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    driver.publish("csi-2", &[]).await.unwrap();
    for id in ["csi-1", "csi-2"] {
        driver.unpublish(id).await.unwrap();
        assert!(!driver.target(id).exists() && !driver.on_disk(id).exists());
    }
}

#[tokio::test]
async fn a_full_tmpfs_refuses_what_does_not_fit_and_harms_nothing() {
    let Some((mut driver, _api)) = node().await else { return };
    driver.publish("csi-1", &[("duration", "3s")]).await.unwrap();
    let filler = driver.data().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(file);
    let (before, generations) = (driver.read("csi-1", "tls.crt"), driver.generations("csi-1"));
    for id in ["csi-2", "csi-2", "csi-3"] {
        let error = driver.publish(id, &[]).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("No space left"), "{}", error.message());
        assert!(!driver.target(id).exists() && !driver.on_disk(id).exists());
    }
    // By the time that its certificate ends, the live volume has tried to renew it.
    let chain = issuance::bundle::Bundle::parse(&before).unwrap();
    while jiff::Timestamp::now() <= chain.certificates()[0].not_after() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(driver.read("csi-1", "tls.crt"), before, "a new one does not fit");
    assert_eq!(driver.generations("csi-1"), generations, "failed renewals leave nothing");
    std::fs::remove_file(&filler).unwrap();
    driver.publish("csi-2", &[]).await.unwrap();
    check_pair(&driver, "csi-2", KeyAlgorithm::Ecdsa(Curve::P256));
    driver.crash_and_restart().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while driver.read("csi-1", "tls.crt") == before {
        assert!(Instant::now() < deadline, "the live volume is not renewed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_restart_with_another_size_resizes_the_tmpfs_under_its_volumes() {
    let Some((mut driver, _api)) = node().await else { return };
    driver.publish("csi-1", &[]).await.unwrap();
    let before = driver.read("csi-1", "tls.key");
    assert_eq!(driver.data_mib(), 64);
    for (asked, expected) in [(65, 65), (2, 2), (2, 2), (64, 64)] {
        assert!(driver.stop().success());
        driver.restart_with(&[&format!("--data-size-mib={asked}")]).await;
        assert_eq!(driver.data_mib(), expected);
        assert_eq!(driver.read("csi-1", "tls.key"), before);
    }
    std::fs::write(driver.data().join("filler"), vec![1; 2 << 20]).unwrap();
    assert!(driver.stop().success());
    driver.restart_with(&["--data-size-mib=1"]).await;
    assert_eq!(driver.data_mib(), 64, "more than that is in use");
    driver.publish("csi-1", &[]).await.unwrap();
    assert_eq!(driver.read("csi-1", "tls.key"), before);
    let written = std::fs::write(driver.target("csi-1").join("x"), "x").unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[tokio::test]
async fn a_reader_sees_renewals_whole() {
    let Some((driver, _api)) = node().await else { return };
    driver.publish("csi-1", &[("duration", "3s")]).await.unwrap();
    let target = driver.target("csi-1");
    let mut generations = std::collections::BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while generations.len() < 4 {
        assert!(Instant::now() < deadline, "{} generations", generations.len());
        // As a careful program does: resolve the link once, then read both files behind it.
        let generation = target.join(std::fs::read_link(target.join("..data")).unwrap());
        let key = PrivateKey::from_pem(&std::fs::read(generation.join("tls.key")).unwrap()).unwrap();
        let chain =
            issuance::bundle::Bundle::parse(&std::fs::read(generation.join("tls.crt")).unwrap()).unwrap();
        let leaf = &chain.certificates()[0];
        assert_eq!(leaf.public_key(), key.public_key());
        generations.insert(leaf.der().to_vec());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_volumes_at_once_are_all_whole() {
    const VOLUMES: usize = 300;
    let Some((driver, _api)) = node().await else { return };
    driver.publish("warm", &[]).await.unwrap();
    let ids: Vec<_> = (0..VOLUMES).map(|number| format!("csi-{number}")).collect();
    let mut took: Vec<Duration> = Vec::new();
    for id in ids.iter().take(50) {
        let start = Instant::now();
        driver.publish(id, &[]).await.unwrap();
        took.push(start.elapsed());
    }
    took.sort_unstable();
    let start = Instant::now();
    let calls = ids.iter().skip(50).map(|id| driver.publish(id, &[]));
    futures::future::try_join_all(calls).await.unwrap();
    let all = start.elapsed();
    for id in &ids {
        check_pair(&driver, id, KeyAlgorithm::Ecdsa(Curve::P256));
    }
    // Seen with --nocapture: figures of an unoptimised build, for comparison with the one before.
    eprintln!(
        "one at a time: p50 {:?}, p99 {:?}; {} at once: {all:?}; {} KiB resident",
        took[took.len() / 2],
        took[took.len() - 1],
        VOLUMES - 50,
        driver.resident_kib()
    );
    let calls = ids.iter().map(|id| driver.unpublish(id));
    futures::future::try_join_all(calls).await.unwrap();
    assert!(ids.iter().all(|id| !driver.target(id).exists() && !driver.on_disk(id).exists()));
}
