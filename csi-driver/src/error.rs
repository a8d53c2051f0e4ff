//! What can go wrong with a volume, and what kubelet is told.
//!
//! Kubelet takes Unavailable, Aborted and DeadlineExceeded as "maybe": it will ask again or unpublish. Everything
//! else is "no": it removes the target and begins anew. So a code is a promise about what is on the node.

use std::error::Error as _;
use std::fmt::Write as _;

use tonic::{Code, Status};

use crate::issue::IssueError;
use crate::keys::NoKey;
use crate::mount::MountError;
use crate::store::StoreError;
use crate::volume::{InvalidVolume, VolumeId};

/// Longest text of an answer: it travels in a header, and peers accept no endless ones.
const TEXT_BYTES_MAX: usize = 4096;

/// Why a call on a volume did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The request cannot be served.
    #[error(transparent)]
    Invalid(#[from] InvalidVolume),
    /// Something else is being done with the volume.
    #[error("another operation on volume {0} is in flight")]
    Busy(VolumeId),
    /// The volume is there, and it is another's.
    #[error("volume {0} is published already at another target or for another pod")]
    Different(VolumeId),
    /// No certificate.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The files.
    #[error("cannot store the volume")]
    Store(#[from] StoreError),
    /// The mount.
    #[error("cannot mount or unmount the volume")]
    Mount(#[from] MountError),
    /// The folder that is mounted upon.
    #[error("cannot {step} the target {path:?}")]
    Target {
        /// What was being done.
        step: &'static str,
        /// Where.
        path: std::path::PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The work goes on, but the caller will not wait any longer.
    #[error("the certificate of volume {0} is still being issued; the next call will find it")]
    StillIssuing(VolumeId),
    /// Somebody unpublished the volume, or the process is ending.
    #[error("the operation on volume {0} was interrupted")]
    Interrupted(VolumeId),
}

impl VolumeError {
    /// The gRPC code (spec/csi-driver.md §2.3).
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::Issue(IssueError::Request(_)) => Code::InvalidArgument,
            Self::Busy(_) | Self::Interrupted(_) => Code::Aborted,
            Self::Different(_) => Code::AlreadyExists,
            Self::Issue(
                IssueError::Waiting { .. }
                | IssueError::Unreachable { .. }
                | IssueError::Interrupted
                | IssueError::Key(NoKey::Interrupted),
            ) => Code::Unavailable,
            Self::Issue(IssueError::Refused { .. }) => Code::FailedPrecondition,
            Self::Issue(IssueError::Key(NoKey::Generate { .. }) | IssueError::Unusable { .. })
            | Self::Store(_)
            | Self::Mount(_)
            | Self::Target { .. } => Code::Internal,
            Self::StillIssuing(_) => Code::DeadlineExceeded,
        }
    }

    /// The answer to the caller: the code, and the whole chain of causes, since it ends up in the pod's events.
    pub fn status(&self) -> Status {
        Status::new(self.code(), self.text())
    }

    /// The name of the code, for the metrics.
    pub fn label(&self) -> &'static str {
        label(self.code())
    }

    /// This error and its causes in one line.
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text
    }
}

fn label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: impl Into<VolumeError>, code: Code, text: &str) {
        let status = error.into().status();
        assert_eq!((status.code(), status.message()), (code, text));
    }

    #[test]
    fn each_fault_has_the_code_that_kubelet_needs() {
        let id = || VolumeId::new("csi-1").unwrap();
        let message = || "Secret \"ca\" not found".to_owned();
        check(
            InvalidVolume::NotReadOnly,
            Code::InvalidArgument,
            "pod.spec.volumes[].csi.readOnly must be set to 'true'",
        );
        check(VolumeError::Busy(id()), Code::Aborted, "another operation on volume csi-1 is in flight");
        check(
            VolumeError::Different(id()),
            Code::AlreadyExists,
            "volume csi-1 is published already at another target or for another pod",
        );
        check(
            IssueError::Waiting { message: message() },
            Code::Unavailable,
            "no certificate yet: Secret \"ca\" not found",
        );
        check(
            IssueError::Unreachable { message: message() },
            Code::Unavailable,
            "no certificate now: Secret \"ca\" not found",
        );
        check(
            IssueError::Refused { message: message() },
            Code::FailedPrecondition,
            "no certificate: Secret \"ca\" not found",
        );
        check(
            VolumeError::StillIssuing(id()),
            Code::DeadlineExceeded,
            "the certificate of volume csi-1 is still being issued; the next call will find it",
        );
    }

    #[test]
    fn the_causes_of_a_fault_are_told_with_it() {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = StoreError::Io { step: "write", path: "/v/tls.key".into(), source };
        let text = "cannot store the volume: cannot write \"/v/tls.key\": no storage space";
        check(error, Code::Internal, text);
    }

    #[test]
    fn endless_texts_are_cut_at_a_character() {
        let message = "\u{e9}".repeat(TEXT_BYTES_MAX);
        let error = IssueError::Refused { message };
        let text = VolumeError::from(error).text();
        assert!(text.len() <= TEXT_BYTES_MAX && text.len() > TEXT_BYTES_MAX - 2);
    }
}
