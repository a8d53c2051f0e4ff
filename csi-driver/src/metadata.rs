//! What is kept of a volume beside its files: enough to go on after a restart, nothing secret.
//!
//! The fields that the peer has bear its names, so that either driver can take over the other's volumes; ours are in
//! an object of their own.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::volume::{InvalidVolume, TargetPath, VolumeId, VolumeSpec};

/// The form of our own fields. A newer one was written by a newer driver and is not touched.
const VERSION: u32 = 1;

/// When the certificate in a volume was issued, how long it is valid, and when it is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The moment of issue.
    pub issued_at: Timestamp,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// When to renew.
    pub renew_at: Timestamp,
}

/// The content of `metadata.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    #[serde(rename = "volumeID")]
    volume_id: String,
    #[serde(rename = "targetPath")]
    target_path: String,
    /// Absent until the first certificate is in the volume.
    #[serde(rename = "nextIssuanceTime", default, skip_serializing_if = "Option::is_none")]
    next_issuance_time: Option<Timestamp>,
    #[serde(rename = "volumeContext", default)]
    volume_context: HashMap<String, String>,
    #[serde(rename = "volumeMountGroup", default, skip_serializing_if = "String::is_empty")]
    volume_mount_group: String,
    /// Absent in what the peer wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signet: Option<Own>,
}

/// The fields that only we have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Own {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
}

/// Why a stored state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Not JSON, or a field of another type.
    #[error("the state is not what we wrote")]
    Json(#[from] serde_json::Error),
    /// From the future.
    #[error("the state has version {0}, and this driver knows versions up to {VERSION}")]
    Version(u32),
    /// In the wrong folder.
    #[error("the state is that of volume {0:?}")]
    OtherVolume(String),
    /// A volume that would be refused today.
    #[error("the state describes a volume that this driver does not serve")]
    Volume(#[from] InvalidVolume),
}

impl Metadata {
    /// What to keep of a volume; `validity` is absent as long as it holds no certificate.
    pub fn new(spec: &VolumeSpec, validity: Option<&Validity>) -> Self {
        Self {
            volume_id: spec.id.as_str().to_owned(),
            target_path: spec.target.as_path().display().to_string(),
            next_issuance_time: validity.map(|validity| validity.renew_at),
            volume_context: spec.context.clone(),
            volume_mount_group: spec.mount_group.map(|group| group.to_string()).unwrap_or_default(),
            signet: Some(Own {
                version: VERSION,
                issued_at: validity.map(|validity| validity.issued_at),
                not_before: validity.map(|validity| validity.not_before),
                not_after: validity.map(|validity| validity.not_after),
            }),
        }
    }

    /// Reads the state in the folder of volume `id`: the volume, and the validity of its certificate if it has one.
    ///
    /// # Errors
    /// When the text is not a state of this volume that this driver can serve.
    pub fn read(text: &[u8], id: &VolumeId) -> Result<(VolumeSpec, Option<Validity>), MetadataError> {
        let state: Self = serde_json::from_slice(text)?;
        if let Some(own) = state.signet.as_ref().filter(|own| own.version > VERSION) {
            return Err(MetadataError::Version(own.version));
        }
        if state.volume_id != id.as_str() {
            return Err(MetadataError::OtherVolume(state.volume_id));
        }
        let validity = state.validity();
        let target = TargetPath::new(&state.target_path)?;
        let group = match state.volume_mount_group.as_str() {
            "" => None,
            text => {
                let invalid = |_| InvalidVolume::MountGroup(text.to_owned());
                Some(text.parse().map_err(invalid)?)
            }
        };
        Ok((VolumeSpec::new(id.clone(), target, group, state.volume_context)?, validity))
    }

    /// A state of the peer's knows only when to renew; then that moment stands for the end of validity too, which
    /// makes the volume due rather than forgotten.
    fn validity(&self) -> Option<Validity> {
        let renew_at = self.next_issuance_time?;
        let own = self.signet.as_ref();
        let or_renewal = |time: Option<Timestamp>| time.unwrap_or(renew_at);
        Some(Validity {
            issued_at: or_renewal(own.and_then(|own| own.issued_at)),
            not_before: or_renewal(own.and_then(|own| own.not_before)),
            not_after: or_renewal(own.and_then(|own| own.not_after)),
            renew_at,
        })
    }

    /// The text to store.
    ///
    /// # Errors
    /// Never for what this type can hold; the encoder's signature has one.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn id() -> VolumeId {
        VolumeId::new("csi-1").unwrap()
    }

    fn refused(text: &str, expected: &str) {
        let error = Metadata::read(text.as_bytes(), &id()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn foreign_broken_and_future_states_are_refused() {
        let not_ours = "the state is not what we wrote";
        for text in ["", "{", "[]", "{\"volumeID\":1}", "\u{0}"] {
            refused(text, not_ours);
        }
        refused(r#"{"volumeID":"csi-2","targetPath":"/t"}"#, "the state is that of volume \"csi-2\"");
        refused(
            r#"{"volumeID":"csi-1","targetPath":"/t","signet":{"version":2}}"#,
            "the state has version 2, and this driver knows versions up to 1",
        );
        refused(
            r#"{"volumeID":"csi-1","targetPath":"t"}"#,
            "the state describes a volume that this driver does not serve",
        );
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let spec = testing::spec("csi-1", "/pods/a/mount");
        let at = |second| Timestamp::from_second(second).unwrap();
        let validity =
            Validity { issued_at: at(300), not_before: at(0), not_after: at(900), renew_at: at(600) };
        for wanted in [None, Some(validity)] {
            let text = Metadata::new(&spec, wanted.as_ref()).to_json().unwrap();
            let (read, validity) = Metadata::read(&text, &id()).unwrap();
            assert_eq!(read, spec);
            assert_eq!(validity, wanted);
        }
    }

    #[test]
    fn the_state_of_the_peer_is_understood() {
        let text = r#"{"volumeID":"csi-1","targetPath":"/t","nextIssuanceTime":"2026-01-02T03:04:05Z",
            "volumeMountGroup":"2000","volumeContext":{"csi.cert-manager.io/issuer-name":"ca",
            "csi.storage.k8s.io/ephemeral":"true","csi.storage.k8s.io/pod.name":"p",
            "csi.storage.k8s.io/pod.namespace":"n","csi.storage.k8s.io/pod.uid":"u"}}"#;
        let (spec, validity) = Metadata::read(text.as_bytes(), &id()).unwrap();
        assert_eq!(spec.group(), 2000);
        assert_eq!(validity.unwrap().renew_at.to_string(), "2026-01-02T03:04:05Z");
    }
}
