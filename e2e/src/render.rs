//! The configuration files and flags of every component, as text. Each flag is there for a reason that was met.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::layout::{Component, Layout, Node, POD_CIDR, SERVICE_CIDR};

/// The sandbox image that containerd is told to use, and the name under which ours is imported.
pub(crate) const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10";

/// etcd's client and peer addresses. It insists on `host:port`, which as a Unix address is a file name in its working
/// directory: no port is taken, and only those who may enter the directory can connect.
const ETCD_CLIENTS: &str = "unix://etcd.sock:1";
const ETCD_PEERS: &str = "unix://etcd.sock:2";

/// A kubeconfig whose files stay where they are.
pub(crate) fn kubeconfig(server: SocketAddr, pki: &Path, identity: &str) -> String {
    let file = |name: String| pki.join(name);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority": file("ca.crt".into()),
        }}],
        "users": [{"name": "user", "user": {
            "client-certificate": file(format!("{identity}.crt")),
            "client-key": file(format!("{identity}.key")),
        }}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
        "current-context": "context",
    })
    .to_string()
}

/// Flags of etcd. What it stores lives as long as the cluster, so nothing waits for the disk.
pub(crate) fn etcd(layout: &Layout) -> Vec<String> {
    vec![
        format!("--data-dir={}", Layout::text(&layout.dir().join("etcd"))),
        format!("--listen-client-urls={ETCD_CLIENTS}"),
        format!("--advertise-client-urls={ETCD_CLIENTS}"),
        format!("--listen-peer-urls={ETCD_PEERS}"),
        format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        format!("--initial-cluster=default={ETCD_PEERS}"),
        "--unsafe-no-fsync".to_owned(),
    ]
}

/// Flags of the API server that listens on `address`.
pub(crate) fn api_server(layout: &Layout, address: SocketAddr, with_nodes: bool) -> Vec<String> {
    let pki = |name: &str| Layout::text(&layout.pki().join(name));
    // The one place of each flag that names a file.
    let files = [
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("client-ca-file", "ca.crt"),
        ("service-account-key-file", "sa.pub"),
        ("service-account-signing-key-file", "sa.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        ("kubelet-client-key", "apiserver-kubelet-client.key"),
        ("requestheader-client-ca-file", "ca.crt"),
        ("proxy-client-cert-file", "front-proxy.crt"),
        ("proxy-client-key-file", "front-proxy.key"),
    ];
    let mut flags: Vec<String> =
        files.into_iter().map(|(flag, file)| format!("--{flag}={}", pki(file))).collect();
    flags.extend([
        format!("--etcd-servers={ETCD_CLIENTS}"),
        format!("--secure-port={}", address.port()),
        format!("--cert-dir={}", Layout::text(&layout.pki())),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
    ]);
    flags.extend(
        [
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            // Off by default in Kubernetes 1.33 to 1.36; the cainjector writes them.
            "--feature-gates=ClusterTrustBundle=true",
            "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true",
            // One authority signs clients and the front proxy: only this name may speak for others.
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            // There is no name service for node names.
            "--kubelet-preferred-address-types=InternalIP",
        ]
        .map(str::to_owned),
    );
    flags.extend(if with_nodes {
        vec![
            "--bind-address=0.0.0.0".to_owned(),
            format!("--advertise-address={}", address.ip()),
            // Webhooks and API services are reached at their pods: the control plane has no Service proxy.
            "--enable-aggregator-routing=true".to_owned(),
        ]
    } else {
        // A loopback address cannot be the endpoint of the Service `kubernetes`, and no pod would use it.
        vec![format!("--bind-address={}", address.ip()), "--endpoint-reconciler-type=none".to_owned()]
    });
    flags
}

/// Flags of the controller manager.
pub(crate) fn controller_manager(layout: &Layout, with_nodes: bool) -> Vec<String> {
    let pki = |name: &str| Layout::text(&layout.pki().join(name));
    let mut flags = kubeconfig_flags(layout, "controller-manager");
    flags.extend([
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        "--use-service-account-credentials=true".to_owned(),
        // Each controller first makes its own account: the default rate is what delays namespace `default`'s.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        "--leader-elect=false".to_owned(),
    ]);
    if !with_nodes {
        flags.push("--secure-port=0".to_owned());
    }
    flags
}

/// Flags of the scheduler.
pub(crate) fn scheduler(layout: &Layout) -> Vec<String> {
    let mut flags = kubeconfig_flags(layout, "scheduler");
    flags.push("--leader-elect=false".to_owned());
    flags
}

fn kubeconfig_flags(layout: &Layout, user: &str) -> Vec<String> {
    let file = Layout::text(&layout.kubeconfig(user));
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .into_iter()
        .map(|flag| format!("--{flag}={file}"))
        .collect()
}

/// The files and flags of one node: pairs of path and contents.
pub(crate) fn node_files(layout: &Layout, node: &Node) -> Vec<(PathBuf, String)> {
    vec![
        (node.dir.join("containerd.toml"), containerd_config(node)),
        (node.dir.join("cni/10-bridge.conflist"), cni_config(node)),
        (node.dir.join("kubelet.json"), kubelet_config(layout, node)),
        (node.dir.join("kube-proxy.json"), kube_proxy_config(layout, node)),
    ]
}

/// Flags of a node's component.
pub(crate) fn node_flags(layout: &Layout, node: &Node, component: Component) -> Vec<String> {
    let file = |name: &str| Layout::text(&node.dir.join(name));
    match component {
        Component::Containerd(_) => vec!["--config".to_owned(), file("containerd.toml")],
        Component::Kubelet(_) => vec![
            format!("--config={}", file("kubelet.json")),
            format!("--kubeconfig={}", Layout::text(&layout.kubeconfig(&node.name))),
            format!("--hostname-override={}", node.name),
            format!("--node-ip={}", node.address()),
            // A file of its own: the start of a node is then a boot of its machine to Kubernetes.
            format!("--boot-id-file={}", file("boot_id")),
            "--v=2".to_owned(),
        ],
        Component::KubeProxy(_) => vec![format!("--config={}", file("kube-proxy.json"))],
        Component::Etcd | Component::ApiServer | Component::ControllerManager | Component::Scheduler => {
            Vec::new()
        }
    }
}

fn containerd_config(node: &Node) -> String {
    let text = |name: &str| Layout::text(&node.dir.join(name));
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Lowering a score needs a capability that a container or sandbox often lacks.
  restrict_oom_score_adj = true
  # Else they pile up in /run/netns.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
        root = text("containerd"),
        state = text("state"),
        socket = Layout::text(&node.socket()),
        opt = text("opt"),
        cni = text("cni"),
    )
}

fn cni_config(node: &Node) -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": node.dir.join("cni-data"),
                    "ranges": [[{"subnet": node.pod_cidr()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
    .to_string()
}

fn kubelet_config(layout: &Layout, node: &Node) -> String {
    let pki = |name: String| layout.pki().join(name);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "failSwapOn": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup),
        "containerRuntimeEndpoint": format!("unix://{}", node.socket().display()),
        "tlsCertFile": pki(format!("{}.crt", node.name)),
        "tlsPrivateKeyFile": pki(format!("{}.key", node.name)),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt".into())},
        },
        "authorization": {"mode": "Webhook"},
        "enforceNodeAllocatable": [],
        // A developer's disk is often fuller than a node's; none of this should evict a test.
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        "localStorageCapacityIsolation": false,
        "syncFrequency": "10s",
        "maxPods": 250,
        "serializeImagePulls": false,
    })
    .to_string()
}

fn kube_proxy_config(layout: &Layout, node: &Node) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": layout.kubeconfig("kube-proxy")},
        "mode": "nftables",
        "hostnameOverride": node.name,
        "clusterCIDR": POD_CIDR,
        // The limits of connection tracking belong to the machine.
        "conntrack": {"maxPerCore": 0, "min": 0},
    })
    .to_string()
}

/// Every address by which the API server may be called.
pub(crate) fn api_server_addresses(listen: IpAddr) -> Vec<IpAddr> {
    vec![IpAddr::from([127, 0, 0, 1]), listen, crate::layout::API_SERVICE]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn layout() -> Layout {
        Layout { name: "demo".parse().unwrap(), clusters: "/var/lib/signet/clusters".into() }
    }

    #[test]
    fn both_placements_keep_the_authorizers_and_node_restriction() {
        for with_nodes in [false, true] {
            let flags = api_server(&layout(), "127.0.0.1:4321".parse().unwrap(), with_nodes);
            for needed in [
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--secure-port=4321",
            ] {
                assert!(flags.iter().any(|flag| flag == needed), "{needed} is missing");
            }
        }
    }

    #[test]
    fn a_control_plane_on_loopback_listens_nowhere_else() {
        let flags = api_server(&layout(), "127.0.0.1:4321".parse().unwrap(), false);
        assert!(flags.contains(&"--bind-address=127.0.0.1".to_owned()));
        assert!(controller_manager(&layout(), false).contains(&"--secure-port=0".to_owned()));
        assert!(etcd(&layout()).iter().all(|flag| !flag.contains("http://")));
    }

    #[test]
    fn nodes_share_no_directory_and_no_cgroup() {
        let layout = layout();
        for (one, two) in
            node_files(&layout, &layout.node(1)).iter().zip(node_files(&layout, &layout.node(2)))
        {
            assert_ne!(one.0, two.0);
            assert_ne!(one.1, two.1);
            let strange: Vec<_> = one.1.matches("node2").collect();
            assert!(strange.is_empty(), "{}", one.1);
        }
        let kubelet: Value = serde_json::from_str(&kubelet_config(&layout, &layout.node(2))).unwrap();
        assert_eq!(kubelet["cgroupRoot"], "/signet-demo/node2");
        assert_eq!(
            kubelet["containerRuntimeEndpoint"],
            "unix:///var/lib/signet/clusters/demo/node2/containerd.sock"
        );
    }

    #[test]
    fn a_kubeconfig_names_the_identity_that_it_is_for() {
        let text = kubeconfig("198.51.100.10:6443".parse().unwrap(), Path::new("/p"), "node1");
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["users"][0]["user"]["client-key"], "/p/node1.key");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://198.51.100.10:6443");
    }
}
