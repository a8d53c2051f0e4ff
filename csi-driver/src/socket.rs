//! Unix sockets that only root may dial.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint, Uri};

/// Longest path of a unix socket: `sun_path` has 108 bytes, one of them for the final NUL (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// How long a caller may take to close its connection when it is told that the server ends.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel has no room for the path.
    #[error(
        "the socket path {path:?} has {length} bytes, and {PATH_BYTES_MAX} are the limit; use a shorter folder"
    )]
    TooLong {
        /// Which.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Something else has the name.
    #[error("{path:?} is there and is no socket; remove it or serve elsewhere")]
    Occupied {
        /// Which.
        path: PathBuf,
    },
    /// Any other call.
    #[error("cannot {step} {path:?}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Binds a socket that only its owner may dial, in place of one that an earlier process left.
///
/// # Errors
/// When the path is too long, taken by something else, or the kernel refuses.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let length = path.as_os_str().len();
    if length > PATH_BYTES_MAX {
        return Err(SocketError::TooLong { path: path.to_owned(), length });
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => unlink(path)?,
        Ok(_) => return Err(SocketError::Occupied { path: path.to_owned() }),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(io_error("listen on", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(io_error("set the mode of", path))?;
    Ok(listener)
}

/// Removes a socket; one that is gone is removed.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn unlink(path: &Path) -> Result<(), SocketError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Which file a path names now; none, if there is none. Two sockets under one name differ in it.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Serves calls until `end`, then waits until those in flight are done, which `drained` tells, and their callers have
/// had a moment to hang up. A caller that keeps its connection open holds nothing up.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    services: Router,
    listener: UnixListener,
    end: impl Future<Output = ()>,
    drained: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let ending = CancellationToken::new();
    let incoming = UnixListenerStream::new(listener);
    let mut server =
        std::pin::pin!(services.serve_with_incoming_shutdown(incoming, ending.clone().cancelled_owned()));
    tokio::select! {
        ended = &mut server => return ended,
        () = end => ending.cancel(),
    }
    let hung_up = tokio::join!(drained, tokio::time::timeout(HANG_UP_TIMEOUT, &mut server)).1;
    match hung_up {
        Ok(ended) => ended,
        // Work may have ended later than the time-out did; its answers are still to be read.
        Err(_) => tokio::time::timeout(HANG_UP_TIMEOUT, server).await.unwrap_or(Ok(())),
    }
}

/// A gRPC channel to a socket, dialled at the first call and again whenever it breaks.
pub fn channel(path: PathBuf) -> Channel {
    // A socket has no host; the library wants one.
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    }))
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::Io { step, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn paths_that_are_too_long_or_taken_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("a".repeat(108));
        assert!(matches!(listen(&long), Err(SocketError::TooLong { .. })));
        let taken = folder.path().join("taken");
        fs::write(&taken, "text").unwrap();
        assert!(matches!(listen(&taken), Err(SocketError::Occupied { .. })));
        assert_eq!(fs::read(&taken).unwrap(), b"text");
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_by_a_private_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        drop(listen(&path).unwrap());
        assert!(path.exists(), "dropping a listener leaves the file");
        let _listener = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(&path).await.unwrap();
    }
}
