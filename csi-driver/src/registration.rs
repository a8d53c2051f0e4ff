//! Registration with kubelet, in this process instead of a sidecar.
//!
//! Kubelet watches a folder for sockets, dials each, asks what it is, and calls back with its verdict. It does so
//! again after each restart of its own, so the socket is served for ever, and made anew when somebody removes it.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use proto::registration::registration_server::{Registration, RegistrationServer};
use proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use runtime::readiness::Pending;
use runtime::shutdown::Shutdown;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::socket::{self, SocketError};

/// Version of CSI that kubelet wants to hear.
const CSI_VERSION: &str = "1.0.0";

/// How often the socket is looked at although nothing was reported: a folder that was replaced reports nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Room for some dozens of events; the kernel refuses a buffer that cannot take one with the longest file name.
const EVENT_BYTES: usize = 4096;

/// What kubelet is told.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Name of the driver.
    pub driver_name: String,
    /// Path of the driver's socket as kubelet sees it.
    pub endpoint: String,
}

/// Serves [`socket_path`] until shutdown is requested, then unlinks it and cancels `withdrawn`.
/// `registered` becomes ready with kubelet's first consent.
///
/// # Errors
/// When the socket cannot be served.
pub async fn run(
    plugin: Plugin,
    folder: PathBuf,
    registered: Pending,
    shutdown: Shutdown,
    withdrawn: CancellationToken,
) -> anyhow::Result<()> {
    // However this ends, nobody waits for ever.
    let _withdrawn = withdrawn.drop_guard();
    let path = socket_path(&folder, &plugin.driver_name);
    let registered = std::sync::Arc::new(Mutex::new(Some(registered)));
    while !shutdown.is_requested() {
        let service = Service { plugin: plugin.clone(), registered: std::sync::Arc::clone(&registered) };
        serve_once(service, &folder, &path, &shutdown).await?;
    }
    Ok(())
}

/// The socket in `folder` that kubelet finds: `signet@<driver name>-reg.sock`.
///
/// Kubelet's gRPC client sends the percent-encoded path as `:authority`, and our HTTP/2 library refuses percent signs
/// in a host. In front of an `@` they are allowed (RFC 3986 §3.2.1), so the `@` makes the path acceptable.
pub fn socket_path(folder: &Path, driver_name: &str) -> PathBuf {
    folder.join(format!("signet@{driver_name}-reg.sock"))
}

/// Serves one socket until shutdown is requested or the socket is gone.
async fn serve_once(service: Service, folder: &Path, path: &Path, shutdown: &Shutdown) -> anyhow::Result<()> {
    let watch = Watch::on(folder)?;
    let listener = socket::listen(path)?;
    tracing::info!(?path, "waiting for kubelet to register the driver");
    let ours = socket::identity(path);
    let router = tonic::transport::Server::builder().add_service(RegistrationServer::new(service));
    let end = async {
        tokio::select! {
            () = shutdown.requested() => {}
            () = watch.until(|| socket::identity(path) != ours) => {}
        }
        if socket::identity(path) == ours {
            // Kubelet must not find it from now on; if that fails it finds a socket that nobody serves.
            if let Err(error) = socket::unlink(path) {
                tracing::warn!(%error, "cannot withdraw the registration");
            }
        }
    };
    socket::serve(router, listener, end, std::future::ready(())).await?;
    if !shutdown.is_requested() {
        tracing::warn!(?path, "the registration socket is gone");
        // Another driver of this name may have put its own there; two must not fight for it.
        tokio::select! {
            () = shutdown.requested() => {}
            () = watch.until(|| socket::identity(path).is_none()) => {}
        }
    }
    Ok(())
}

struct Service {
    plugin: Plugin,
    registered: std::sync::Arc<Mutex<Option<Pending>>>,
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.plugin.driver_name.clone(),
            endpoint: self.plugin.endpoint.clone(),
            supported_versions: vec![CSI_VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!(driver = self.plugin.driver_name, "kubelet registered the driver");
            let pending = self.registered.lock().ok().and_then(|mut pending| pending.take());
            if let Some(pending) = pending {
                pending.ready();
            }
        } else {
            // Kubelet tries again by itself as long as the socket is there.
            tracing::error!(
                error = status.error,
                endpoint = self.plugin.endpoint,
                "kubelet did not register the driver; it must be able to dial the endpoint"
            );
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// Reports on a folder in which a socket must not vanish.
struct Watch {
    /// The kernel's queue of events. To tokio it is a pipe: something that becomes readable.
    events: pipe::Receiver,
}

impl Watch {
    fn on(folder: &Path) -> Result<Self, SocketError> {
        Self::open(folder).map_err(|source| SocketError::Io {
            step: "watch kubelet's folder",
            path: folder.to_owned(),
            source,
        })
    }

    fn open(folder: &Path) -> io::Result<Self> {
        let events = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let what = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        events.add_watch(folder, what)?;
        let events = events.as_fd().try_clone_to_owned()?;
        Ok(Self { events: pipe::Receiver::from_owned_fd_unchecked(events)? })
    }

    /// Waits until something holds, and looks whenever anything happened in the folder.
    async fn until(&self, holds: impl Fn() -> bool) {
        while !holds() {
            // What happened does not matter, only that something did.
            let _ = tokio::time::timeout(LOOK_INTERVAL, self.changed()).await;
        }
    }

    async fn changed(&self) {
        if self.events.readable().await.is_err() {
            // Without events the slow look remains.
            return std::future::pending().await;
        }
        let mut dropped = [0; EVENT_BYTES];
        while self.events.try_read(&mut dropped).is_ok_and(|read| read > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use proto::registration::registration_client::RegistrationClient;
    use runtime::readiness::Readiness;

    use super::*;

    #[test]
    fn the_path_of_the_socket_is_an_authority_when_kubelet_has_encoded_it() {
        let encoded = |path: &Path| path.to_str().unwrap().replace('/', "%2F");
        let folder = Path::new("/var/lib/kubelet/plugins_registry");
        let ours = socket_path(folder, "csi.cert-manager.io");
        http::uri::Authority::try_from(encoded(&ours)).unwrap();
        let plain = folder.join("csi.cert-manager.io-reg.sock");
        http::uri::Authority::try_from(encoded(&plain)).unwrap_err();
    }

    #[tokio::test]
    async fn kubelet_learns_the_endpoint_and_a_removed_socket_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (readiness, shutdown) = (Readiness::default(), Shutdown::default());
        let plugin = Plugin {
            driver_name: "csi.test".to_owned(),
            endpoint: "/as/kubelet/sees/it/csi.sock".to_owned(),
        };
        let withdrawn = CancellationToken::new();
        let server = tokio::spawn(run(
            plugin,
            folder.path().to_owned(),
            readiness.component("registration"),
            shutdown.clone(),
            withdrawn.clone(),
        ));
        let path = socket_path(folder.path(), "csi.test");
        appears(&path).await;
        let mut kubelet = RegistrationClient::new(socket::channel(path.clone()));
        let info = kubelet.get_info(InfoRequest {}).await.unwrap().into_inner();
        assert_eq!(
            (info.r#type.as_str(), info.name.as_str(), info.endpoint.as_str()),
            ("CSIPlugin", "csi.test", "/as/kubelet/sees/it/csi.sock")
        );
        let verdict = |plugin_registered| RegistrationStatus { plugin_registered, error: String::new() };
        kubelet.notify_registration_status(verdict(false)).await.unwrap();
        assert!(!readiness.is_ready());
        kubelet.notify_registration_status(verdict(true)).await.unwrap();
        assert!(readiness.is_ready());

        std::fs::remove_file(&path).unwrap();
        appears(&path).await;
        drop(kubelet);
        let mut kubelet = RegistrationClient::new(socket::channel(path.clone()));
        kubelet.get_info(InfoRequest {}).await.unwrap();

        shutdown.request();
        withdrawn.cancelled().await;
        assert!(!path.exists());
        drop(kubelet);
        server.await.unwrap().unwrap();
    }

    async fn appears(path: &Path) {
        let appears = async {
            while tokio::net::UnixStream::connect(path).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), appears).await.expect("nobody listens there");
    }
}
