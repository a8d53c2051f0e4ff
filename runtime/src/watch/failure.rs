//! Why a call to the API server gave no answer.

use kube::runtime::watcher;

/// Why a call to the API server gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// HTTP status of the API server's answer; `None` when it did not answer.
    pub code: Option<u16>,
    /// The API server's message, or what went wrong on the way to it.
    pub message: String,
}

impl Failure {
    /// Whether the API server refused: the credentials lack a permission.
    pub fn is_forbidden(&self) -> bool {
        self.code == Some(403)
    }
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from(status.as_ref()),
            other => Self { code: None, message: chain(other) },
        }
    }
}

impl From<&kube::core::Status> for Failure {
    fn from(status: &kube::core::Status) -> Self {
        Self { code: Some(status.code), message: status.message.clone() }
    }
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => Self::from(cause),
            watcher::Error::WatchError(status) => Self::from(status.as_ref()),
            watcher::Error::NoResourceVersion => Self { code: None, message: error.to_string() },
        }
    }
}

/// The error and its causes on one line. kube's errors repeat their cause in their own text; such repeats are left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
