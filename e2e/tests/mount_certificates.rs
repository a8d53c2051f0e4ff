//! Volumes with certificates on a real node: what is in them, who can speak with it, how it is renewed, and what is left.

mod common;

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::csi;
use common::pods::{self, ORDINARY};
use e2e::authority::{Authority, issuer};
use e2e::namespace::{self, Scope};
use e2e::objects::{self, PodExt as _};
use e2e::volume::{self, DRIVER, Generation};
use e2e::{image, install, wait};
use k8s_openapi::api::core::v1::{Pod, PodSecurityContext};
use serde_json::json;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

/// The group of the pods' volumes.
const GROUP: i64 = 3_456;

/// How much a pod's own volume differs from the next one's: the first is called so.
const VOLUME: &str = "csi-0";

/// A certificate's lifetime may be this much longer than asked for: it is back-dated by a tenth, up to five minutes.
const BACKDATED_MAX_SECONDS: i64 = 300;

/// How long a certificate of thirty seconds may take to be renewed: at two thirds of its life.
const RENEWED_WITHIN: Duration = Duration::from_secs(29);

#[tokio::test]
async fn each_kind_of_issuer_mints_each_kind_of_key() -> anyhow::Result<()> {
    namespace::own("mint", |scope| async move {
        let ca = pods::with_ca(&scope).await?;
        let cluster_ca = with_cluster_ca(&scope).await?;
        scope.create(&issuer("Issuer", "self", &json!({"selfSigned": {}}))).await?;
        let cluster_issuer = scope.namespace.clone();
        let cases = [
            ("issuer-ec", "Issuer", "ca", "ECDSA", Some(&ca)),
            ("issuer-rsa", "Issuer", "ca", "RSA", Some(&ca)),
            ("cluster-ec", "ClusterIssuer", &cluster_issuer, "ECDSA", Some(&cluster_ca)),
            ("cluster-rsa", "ClusterIssuer", &cluster_issuer, "RSA", Some(&cluster_ca)),
            ("self-ec", "Issuer", "self", "ECDSA", None),
            ("self-rsa", "Issuer", "self", "RSA", None),
        ];
        for (pod, kind, issuer, algorithm, _) in cases {
            let attributes = [
                (csi::ISSUER_KIND, kind),
                (csi::ISSUER_NAME, issuer),
                (csi::KEY_ALGORITHM, algorithm),
                (csi::COMMON_NAME, "${POD_NAME}"),
                (csi::DNS_NAMES, "${POD_NAME}.${POD_NAMESPACE}.svc"),
                (csi::URI_SANS, "spiffe://cluster.local/ns/${POD_NAMESPACE}/sa/${SERVICE_ACCOUNT_NAME}"),
                (csi::KEY_USAGES, "digital signature,key encipherment,server auth"),
                (csi::DURATION, "2h"),
            ];
            pods::create(&scope, &with_group(pods::holder(pod, &attributes))).await?;
        }
        for (pod, _, _, algorithm, ca) in cases {
            let running = scope.pod_ready(pod, pods::POD_WITHIN).await?;
            let path = volume::path(&scope.cluster, 1, &running, VOLUME)?;
            check_layout(&path).with_context(|| format!("the volume of pod {pod}"))?;
            check_certificate(&scope, &Generation::read(&path)?, pod, algorithm, ca)
                .with_context(|| format!("the certificate of pod {pod}"))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn two_pods_speak_mutual_tls_and_a_stranger_is_refused() -> anyhow::Result<()> {
    namespace::own("mtls", |scope| async move {
        pods::with_ca(&scope).await?;
        let speaker = |name: &str, args: &[&str]| {
            let mut pod = objects::pod(name, &image::reference("mtls"))
                .csi_volume(DRIVER, "/tls", &ORDINARY)
                .args(args);
            if let Some(spec) = &mut pod.spec {
                spec.restart_policy = Some("Never".to_owned());
            }
            with_group(pod)
        };
        let client_name = format!("--client-name=client.{}.svc", scope.namespace);
        let server = pods::run(&scope, &speaker("server", &["serve", &client_name])).await?;
        let address = server.status.and_then(|status| status.pod_ip).context("the server has no address")?;
        let connect = format!("--connect={address}:8443");
        let server_name = format!("--server-name=server.{}.svc", scope.namespace);
        let call = ["call", &connect, &server_name];
        let anonymous = ["call", &connect, &server_name, "--anonymous"];
        // Its exit code when the server turned it away; anything else went wrong gives another.
        let refused = 3;
        let callers = [
            ("client", call.as_slice(), 0),
            ("anonymous", &anonymous, refused),
            ("impostor", &call, refused),
        ];
        for (pod, args, _) in callers {
            pods::create(&scope, &speaker(pod, args)).await?;
        }
        for (pod, _, wanted) in callers {
            let code = pods::finished(&scope, pod).await?;
            ensure!(code == wanted, "pod {pod} ended with {code} instead of {wanted}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deleted_pod_leaves_nothing_on_the_node() -> anyhow::Result<()> {
    namespace::own("leave", |scope| async move {
        pods::with_ca(&scope).await?;
        let pod = pods::holder("brief", &ORDINARY).csi_volume(DRIVER, "/more", &ORDINARY);
        let pod = pods::run(&scope, &pod).await?;
        let uid = pod.metadata.uid.clone().context("the pod has no UID")?;
        let stored = volume::stored(&scope.cluster, 1, &uid)?;
        ensure!(stored.len() == 2, "the driver stores {stored:?} for two volumes");
        let path = volume::path(&scope.cluster, 1, &pod, VOLUME)?;
        let mounts = scope.cluster.mounts(1)?;
        let mine: Vec<_> =
            mounts.iter().filter(|mount| mount.contains(&uid) && mount.contains("/mount ")).collect();
        ensure!(mine.len() == 2, "the node's mounts are {mine:?}");
        for mount in mine {
            let options = mount.split(' ').nth(5).unwrap_or_default();
            for option in ["ro", "nosuid", "nodev", "noexec"] {
                ensure!(options.split(',').any(|given| given == option), "no {option} in {mount}");
            }
        }
        pods::delete(&scope, &pod).await?;
        for folder in stored {
            ensure!(!folder.exists(), "{} is left", folder.display());
        }
        ensure!(!path.exists(), "{} is left", path.display());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_renewed_in_place_and_no_reader_sees_a_torn_pair() -> anyhow::Result<()> {
    namespace::own("renew", |scope| async move {
        pods::with_ca(&scope).await?;
        let mut attributes = ORDINARY;
        for (key, value) in &mut attributes {
            if *key == csi::DURATION {
                *value = "30s";
            }
        }
        let pod = pods::run(&scope, &pods::holder("short", &attributes)).await?;
        let uid = pod.metadata.uid.clone().context("the pod has no UID")?;
        let path = volume::path(&scope.cluster, 1, &pod, VOLUME)?;
        let mounts = || -> anyhow::Result<Vec<String>> {
            Ok(scope.cluster.mounts(1)?.into_iter().filter(|mount| mount.contains(&uid)).collect())
        };
        let (first, mounted) = (Generation::read(&path)?, mounts()?);
        let reader = Reader::start(&path);
        let renewed = wait::until("the certificate to be renewed", RENEWED_WITHIN, || async {
            let now = Generation::read(&path)?;
            ensure!(now.name != first.name, "it is still {}", first.name);
            Ok::<_, anyhow::Error>(now)
        })
        .await;
        let reads = reader.finish().await?;
        let renewed = renewed?;
        ensure!(reads > 1_000, "the reader read {reads} times only");
        renewed.check_pair()?;
        ensure!(serial(&renewed)? != serial(&first)?, "the serial number is still the same");
        ensure!(renewed.key != first.key, "the key is still the same");
        ensure!(mounts()? == mounted, "the volume was mounted anew");
        Ok(())
    })
    .await
}

async fn with_cluster_ca(scope: &Scope) -> anyhow::Result<Authority> {
    let name = &scope.namespace;
    let authority = Authority::new(&format!("Cluster CA of {name}"))?;
    let mut secret = authority.secret(name);
    secret["metadata"]["namespace"] = json!(install::RELEASE);
    scope.create(&secret).await?;
    scope.create(&issuer("ClusterIssuer", name, &json!({"ca": {"secretName": name}}))).await?;
    Ok(authority)
}

fn with_group(mut pod: Pod) -> Pod {
    if let Some(spec) = &mut pod.spec {
        spec.security_context = Some(PodSecurityContext {
            fs_group: Some(GROUP),
            run_as_non_root: Some(true),
            ..PodSecurityContext::default()
        });
    }
    pod
}

/// Three links to the files of the one generation, and nothing that another user could read.
fn check_layout(volume: &Path) -> anyhow::Result<()> {
    let mut names: Vec<_> = fs::read_dir(volume)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<_>>()?;
    names.sort();
    let generation = fs::read_link(volume.join("..data"))?;
    let generation = generation.to_string_lossy();
    let mut wanted = vec!["..data", &*generation, "ca.crt", "tls.crt", "tls.key"];
    wanted.sort_unstable();
    ensure!(names == wanted, "it holds {names:?} instead of {wanted:?}");
    check_access(&fs::metadata(volume)?, 0o550).context("its folder")?;
    check_access(&fs::metadata(volume.join(&*generation))?, 0o750).context("its generation")?;
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        let link = fs::read_link(volume.join(name))?;
        ensure!(link == Path::new("..data").join(name), "{name} points to {}", link.display());
        check_access(&fs::metadata(volume.join(&*generation).join(name))?, 0o440).context(name)?;
    }
    Ok(())
}

fn check_access(found: &Metadata, mode: u32) -> anyhow::Result<()> {
    let (permissions, owner, group) = (found.permissions().mode() & 0o7777, found.uid(), found.gid());
    ensure!(
        permissions == mode && owner == 0 && i64::from(group) == GROUP,
        "has mode {permissions:o} and belongs to {owner}:{group}"
    );
    Ok(())
}

/// `ca` is the issuer's; none: the certificate signs itself.
fn check_certificate(
    scope: &Scope,
    generation: &Generation,
    pod: &str,
    algorithm: &str,
    ca: Option<&Authority>,
) -> anyhow::Result<()> {
    let name = format!("{pod}.{}.svc", scope.namespace);
    generation.check_pair()?;
    if let Some(ca) = ca {
        generation.check_chain(&ca.certificate, &name)?;
    } else {
        ensure!(generation.ca == generation.chain, "ca.crt is not the certificate itself");
    }
    let (_, certificate) = X509Certificate::from_der(generation.leaf()?)?;
    let signer = match ca {
        Some(_) if pod.starts_with("cluster") => format!("CN=Cluster CA of {}", scope.namespace),
        Some(_) => format!("CN=CA of {}", scope.namespace),
        None => format!("CN={pod}"),
    };
    ensure!(certificate.issuer().to_string() == signer, "the issuer is {}", certificate.issuer());
    ensure!(
        certificate.subject().to_string() == format!("CN={pod}"),
        "the subject is {}",
        certificate.subject()
    );
    let names = certificate.subject_alternative_name()?.context("it has no names")?;
    let uri = format!("spiffe://cluster.local/ns/{}/sa/default", scope.namespace);
    let wanted = [GeneralName::DNSName(&name), GeneralName::URI(&uri)];
    ensure!(names.value.general_names == wanted, "the names are {:?}", names.value.general_names);
    let validity = certificate.validity();
    let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
    ensure!((7_200..=7_200 + BACKDATED_MAX_SECONDS).contains(&seconds), "it lives {seconds} s");
    ensure!(validity.is_valid(), "it is not valid now");
    ensure!(!certificate.is_ca(), "it is a CA");
    let right = match certificate.public_key().parsed()? {
        PublicKey::RSA(key) => algorithm == "RSA" && key.key_size() == 2_048,
        PublicKey::EC(point) => algorithm == "ECDSA" && point.key_size() == 256,
        _ => false,
    };
    ensure!(right, "the key is no {algorithm} key of the default size");
    Ok(())
}

fn serial(generation: &Generation) -> anyhow::Result<String> {
    let (_, certificate) = X509Certificate::from_der(generation.leaf()?)?;
    Ok(certificate.raw_serial_as_string())
}

/// Reads a volume over and over on a thread of its own, as a server that reloads.
struct Reader {
    finish: Arc<AtomicBool>,
    thread: tokio::task::JoinHandle<anyhow::Result<u64>>,
}

impl Reader {
    fn start(volume: &Path) -> Self {
        let (finish, volume) = (Arc::new(AtomicBool::new(false)), volume.to_owned());
        let finished = Arc::clone(&finish);
        let thread = tokio::task::spawn_blocking(move || {
            let mut reads = 0;
            while !finished.load(Ordering::Relaxed) {
                Generation::read(&volume)?.check_pair()?;
                reads += 1;
            }
            Ok(reads)
        });
        Self { finish, thread }
    }

    /// How often it read; an error, if it ever found something else than a pair.
    async fn finish(self) -> anyhow::Result<u64> {
        self.finish.store(true, Ordering::Relaxed);
        self.thread.await?
    }
}
