//! Clusters themselves: two live side by side, and nothing of either is left. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, Component, Config, Name, Placement};
use e2e::objects::{self, PodExt as _};
use e2e::{image, namespace};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;

/// How long a pod with a local image may take on a busy machine.
const POD_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn clusters_live_side_by_side_and_leave_no_trace() -> anyhow::Result<()> {
    let machine = shared_directories();
    let one = Cluster::scoped(&config("lifecycle-one", 1)?).await?;
    let two = Cluster::scoped(&config("lifecycle-two", 2)?).await?;

    runs_a_pod_on_every_node(&one, 1).await?;
    runs_a_pod_on_every_node(&two, 2).await?;
    let found = Cluster::attach(one.name())?.status().await?;
    ensure!(found.is_whole(one.placement()), "a second process sees {found:?}");
    let log = one.logs(Component::ApiServer, 5);
    ensure!(log.lines().count() == 5, "the API server's log is {log:?}");

    let networks = networks(&two)?;
    Cluster::down(two.name())?;
    assert_eq!(traces("lifecycle-two", &networks), Vec::<String>::new());
    runs_a_pod_on_every_node(&one, 1).await.context("the end of one cluster disturbed the other")?;

    // As after a killed run: nothing says any more what belongs to the cluster, and a part of it is dead.
    fs::remove_dir_all("/var/lib/signet/clusters/lifecycle-one/pid")?;
    let networks = self::networks(&one)?;
    Cluster::down(one.name())?;
    assert_eq!(traces("lifecycle-one", &networks), Vec::<String>::new());
    assert_eq!(shared_directories(), machine, "the machine's own directories changed");
    Ok(())
}

fn config(name: &str, nodes: u8) -> anyhow::Result<Config> {
    Ok(Config { name: name.parse::<Name>()?, placement: Placement::Nodes(nodes) })
}

async fn runs_a_pod_on_every_node(cluster: &Cluster, nodes: u8) -> anyhow::Result<()> {
    namespace::with(cluster, "lifecycle", |scope| async move {
        let api = scope.api::<Pod>();
        for number in 1..=nodes {
            let name = format!("pod{number}");
            let mut pod = objects::pod(&name, &image::reference("pause")).label("test", "lifecycle");
            if let Some(spec) = &mut pod.spec {
                spec.node_name = Some(format!("node{number}"));
            }
            api.create(&PostParams::default(), &pod).await?;
        }
        for number in 1..=nodes {
            let pod = scope.pod_ready(&format!("pod{number}"), POD_WITHIN).await?;
            let uid = pod.metadata.uid.context("a pod without uid")?;
            let own = scope.cluster.node_root(number)?.join("var/lib/kubelet/pods").join(&uid);
            ensure!(own.is_dir(), "node{number} has no directory of its pod");
            ensure!(
                !Path::new("/var/lib/kubelet/pods").join(&uid).exists(),
                "the machine sees a node's directory"
            );
        }
        Ok(())
    })
    .await
}

/// The numbers of a cluster's network namespaces.
fn networks(cluster: &Cluster) -> anyhow::Result<BTreeSet<u64>> {
    let dir = Path::new("/var/lib/signet/clusters").join(cluster.name().as_str());
    let mut files = vec![dir.join("net")];
    if let Placement::Nodes(count) = cluster.placement() {
        files.extend((1..=count).map(|number| dir.join(format!("node{number}/net"))));
    }
    files
        .iter()
        .map(|file| Ok(fs::metadata(file).with_context(|| file.display().to_string())?.ino()))
        .collect()
}

/// Everything that the machine still has of a cluster.
fn traces(name: &str, networks: &BTreeSet<u64>) -> Vec<String> {
    let dir = format!("/var/lib/signet/clusters/{name}");
    let mut found = Vec::new();
    found.extend(Path::new(&dir).exists().then(|| dir.clone()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let cgroup = hierarchy.path().join(format!("signet-{name}"));
        found.extend(cgroup.exists().then(|| cgroup.display().to_string()));
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()) {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        // A dead process that nobody has collected has no arguments and no namespaces any more.
        let network = fs::metadata(process.join("ns/net")).map(|namespace| namespace.ino());
        if arguments.contains(&format!("{dir}/")) || network.is_ok_and(|number| networks.contains(&number)) {
            found.push(format!("{} {arguments}", process.display()));
        }
    }
    found
}

/// What stands in directories that a cluster of this kind would use if its nodes had no view of their own.
fn shared_directories() -> Vec<(String, Option<BTreeSet<String>>)> {
    let list = |path: &str| {
        let names = fs::read_dir(path).ok()?.flatten();
        Some(names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    };
    [
        "/run/netns",
        "/run/containerd",
        "/var/lib/cni",
        "/var/lib/kubelet",
        "/var/log/pods",
        "/var/log/containers",
    ]
    .map(|path| (path.to_owned(), list(path)))
    .to_vec()
}
