//! A volume as kubelet asks for it: the request of NodePublishVolume, parsed to types or refused.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use api::keys::{csi as keys, csi_context};
use proto::csi;
use proto::csi::volume_capability::AccessType;

use crate::attributes::Attributes;
use crate::field::AttributeErrors;

/// Longest volume id that we take; CSI allows no more than this many bytes, and it becomes the name of a folder.
const VOLUME_ID_BYTES_MAX: usize = 128;

/// Longest path that Linux takes in one call (PATH_MAX with its final NUL).
const TARGET_PATH_BYTES_MAX: usize = 4095;

/// What in a volume's context is secret: it is dropped before anything is kept, compared or written.
const SECRET_KEYS: [&str; 2] = [csi_context::SERVICE_ACCOUNT_TOKENS, keys::PKCS12_PASSWORD];

/// Why a request cannot be served whatever happens on our side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVolume {
    /// A required field is absent.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// The id cannot name a folder.
    #[error(
        "volume id {0:?} is not usable: it must be 1 to 128 letters, digits, dots, underscores or minus signs"
    )]
    Id(String),
    /// The path is not one that kubelet makes.
    #[error("target path {0:?} is not usable: it must be absolute and without \"..\"")]
    Target(String),
    /// A device instead of a directory.
    #[error("certificates cannot be given as a block device; use a volume with mode Filesystem")]
    Block,
    /// Pods must not write.
    #[error("pod.spec.volumes[].csi.readOnly must be set to 'true'")]
    NotReadOnly,
    /// A persistent volume instead of an inline one.
    #[error(
        "only inline volumes are supported: use pod.spec.volumes[].csi, and volumeLifecycleModes [Ephemeral] and \
         podInfoOnMount in the CSIDriver object"
    )]
    NotEphemeral,
    /// Kubelet did not say whose volume it is.
    #[error("{0} is missing in the volume context; the CSIDriver object must set podInfoOnMount")]
    NoPodInfo(&'static str),
    /// A mount option that would not take effect.
    #[error("mount option {0:?} is not supported")]
    MountOption(String),
    /// The pod's group is not a number.
    #[error("volume mount group {0:?} is not a group id")]
    MountGroup(String),
    /// The attributes are wrong.
    #[error(transparent)]
    Attributes(#[from] AttributeErrors),
}

/// Name of a volume on this node: one path component, neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId(String);

impl VolumeId {
    /// Takes what names a folder and nothing else.
    ///
    /// # Errors
    /// When the text is empty, too long, or holds other characters than letters, digits, dot, underscore and minus.
    pub fn new(text: &str) -> Result<Self, InvalidVolume> {
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = !text.is_empty() && text.len() <= VOLUME_ID_BYTES_MAX;
        if !fits || text == "." || text == ".." || !text.chars().all(usable) {
            return Err(InvalidVolume::Id(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a volume appears in the node's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPath(PathBuf);

impl TargetPath {
    /// Takes an absolute path that names what it says.
    ///
    /// # Errors
    /// When the path is relative, the root, too long, or climbs.
    pub fn new(text: &str) -> Result<Self, InvalidVolume> {
        let path = Path::new(text);
        let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
        let fits = text.len() <= TARGET_PATH_BYTES_MAX && !text.contains('\0');
        if !fits || climbs || !path.is_absolute() || path.file_name().is_none() {
            return Err(InvalidVolume::Target(text.to_owned()));
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// The pod that a volume belongs to, as kubelet names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that a volume is to be, without anything secret.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeSpec {
    /// Which volume.
    pub id: VolumeId,
    /// Where it appears.
    pub target: TargetPath,
    /// The pod's group for its files (`securityContext.fsGroup`).
    pub mount_group: Option<u32>,
    /// Whose it is.
    pub pod: Pod,
    /// What it holds.
    pub attributes: Attributes,
    /// The volume context as it came, less its secrets.
    pub context: HashMap<String, String>,
}

/// A call of NodePublishVolume: which volume it is about, where and whose, and what that volume is to be.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Which volume.
    pub id: VolumeId,
    /// Where it is to appear.
    pub target: TargetPath,
    /// UID of the pod, if kubelet says it.
    pub pod_uid: Option<String>,
    /// What the volume is to be, or why it cannot be served. For a volume that is live already this decides nothing.
    pub spec: Result<VolumeSpec, InvalidVolume>,
}

impl PublishRequest {
    /// Reads a request: first whether its arguments are there, then whether it is of the one kind that is served.
    ///
    /// # Errors
    /// When it does not say which volume it is about, or lacks an argument.
    pub fn read(request: csi::NodePublishVolumeRequest) -> Result<Self, InvalidVolume> {
        let missing = |name: &'static str, text: &str| {
            if text.is_empty() { Err(InvalidVolume::Missing(name)) } else { Ok(()) }
        };
        missing("volume_id", &request.volume_id)?;
        missing("target_path", &request.target_path)?;
        let capability = request.volume_capability.ok_or(InvalidVolume::Missing("volume_capability"))?;
        let access = capability.access_type.ok_or(InvalidVolume::Missing("volume_capability.access_type"))?;
        let id = VolumeId::new(&request.volume_id)?;
        let target = TargetPath::new(&request.target_path)?;
        let context = request.volume_context;
        let pod_uid = context.get(csi_context::POD_UID).filter(|uid| !uid.is_empty()).cloned();
        let spec = VolumeSpec::from_arguments(id.clone(), target.clone(), access, request.readonly, context);
        Ok(Self { id, target, pod_uid, spec })
    }

    /// Whether this is about that very volume: at the same place, and not said to be another pod's.
    pub fn is_about(&self, live: &VolumeSpec) -> bool {
        let same_pod = self.pod_uid.as_ref().is_none_or(|uid| *uid == live.pod.uid);
        self.id == live.id && self.target == live.target && same_pod
    }
}

impl VolumeSpec {
    /// Reads what a request says beside its volume and target.
    ///
    /// # Errors
    /// The first thing that makes the request unusable; of attributes, all faults at once.
    fn from_arguments(
        id: VolumeId,
        target: TargetPath,
        access: AccessType,
        read_only: bool,
        context: HashMap<String, String>,
    ) -> Result<Self, InvalidVolume> {
        let AccessType::Mount(mount) = access else {
            return Err(InvalidVolume::Block);
        };
        if !read_only {
            return Err(InvalidVolume::NotReadOnly);
        }
        if context.get(csi_context::EPHEMERAL).map(String::as_str) != Some("true") {
            return Err(InvalidVolume::NotEphemeral);
        }
        // A SELinux context is the one option that kubelet sends by itself.
        if let Some(option) = mount.mount_flags.iter().find(|flag| !flag.starts_with("context=")) {
            return Err(InvalidVolume::MountOption(option.clone()));
        }
        let mount_group = group(&mount.volume_mount_group)?;
        Self::new(id, target, mount_group, context)
    }

    /// Puts a volume together from its parts, as a request or a stored state has them.
    ///
    /// # Errors
    /// When the pod is not named or an attribute is wrong.
    pub fn new(
        id: VolumeId,
        target: TargetPath,
        mount_group: Option<u32>,
        mut context: HashMap<String, String>,
    ) -> Result<Self, InvalidVolume> {
        let attributes = Attributes::parse(&context)?;
        let pod = pod(&context)?;
        context.retain(|key, _| !SECRET_KEYS.contains(&key.as_str()));
        Ok(Self { id, target, mount_group, pod, attributes, context })
    }

    /// Whether two requests ask for the same, whatever else stands in their contexts: kubelet adds to them as it grows.
    pub fn same_as(&self, other: &Self) -> bool {
        self.id == other.id
            && self.target == other.target
            && self.mount_group == other.mount_group
            && self.pod == other.pod
            && self.attributes == other.attributes
    }

    /// The group that owns the files; root's when nobody says another.
    pub fn group(&self) -> u32 {
        self.attributes.fs_group.or(self.mount_group).unwrap_or(0)
    }
}

fn group(text: &str) -> Result<Option<u32>, InvalidVolume> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| InvalidVolume::MountGroup(text.to_owned()))
}

fn pod(context: &HashMap<String, String>) -> Result<Pod, InvalidVolume> {
    let text = |key| {
        let value = context.get(key).filter(|value| !value.is_empty());
        value.cloned().ok_or(InvalidVolume::NoPodInfo(key))
    };
    Ok(Pod {
        namespace: text(csi_context::POD_NAMESPACE)?,
        name: text(csi_context::POD_NAME)?,
        uid: text(csi_context::POD_UID)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn refused(change: impl FnOnce(&mut csi::NodePublishVolumeRequest), expected: &InvalidVolume) {
        let mut request = testing::publish_request("csi-1", "/pods/a/mount");
        change(&mut request);
        assert_eq!(testing::parse(request).err().as_ref(), Some(expected));
    }

    fn mount(request: &mut csi::NodePublishVolumeRequest) -> &mut csi::volume_capability::MountVolume {
        match request.volume_capability.as_mut().and_then(|c| c.access_type.as_mut()) {
            Some(AccessType::Mount(mount)) => mount,
            _ => panic!("the request is for a directory"),
        }
    }

    #[test]
    fn absent_arguments_are_refused_before_anything_else() {
        refused(
            |r| {
                r.volume_id.clear();
                r.readonly = false;
            },
            &InvalidVolume::Missing("volume_id"),
        );
        refused(|r| r.target_path.clear(), &InvalidVolume::Missing("target_path"));
        refused(
            |r| {
                r.volume_capability = None;
                r.readonly = false;
            },
            &InvalidVolume::Missing("volume_capability"),
        );
    }

    #[test]
    fn ids_and_paths_that_would_leave_their_place_are_refused() {
        let long = "a".repeat(129);
        for id in [".", "..", "a/b", "../x", "a\0", "\u{e9}", " a", &long] {
            refused(|r| r.volume_id = id.to_owned(), &InvalidVolume::Id(id.to_owned()));
        }
        for path in ["a", "/", "/a/../b", "/a\0"] {
            refused(|r| r.target_path = path.to_owned(), &InvalidVolume::Target(path.to_owned()));
        }
    }

    #[test]
    fn only_read_only_inline_directories_are_served() {
        let block = AccessType::Block(csi::volume_capability::BlockVolume {});
        refused(|r| r.volume_capability.as_mut().unwrap().access_type = Some(block), &InvalidVolume::Block);
        refused(|r| r.readonly = false, &InvalidVolume::NotReadOnly);
        let key = csi_context::EPHEMERAL;
        refused(|r| drop(r.volume_context.remove(key)), &InvalidVolume::NotEphemeral);
        refused(
            |r| drop(r.volume_context.insert(key.to_owned(), "false".to_owned())),
            &InvalidVolume::NotEphemeral,
        );
        let key = csi_context::POD_NAMESPACE;
        refused(|r| drop(r.volume_context.remove(key)), &InvalidVolume::NoPodInfo(key));
    }

    #[test]
    fn mount_options_and_groups_that_cannot_be_honoured_are_refused() {
        refused(
            |r| mount(r).mount_flags.push("noatime".to_owned()),
            &InvalidVolume::MountOption("noatime".to_owned()),
        );
        refused(
            |r| mount(r).volume_mount_group = "staff".to_owned(),
            &InvalidVolume::MountGroup("staff".to_owned()),
        );
    }

    #[test]
    fn the_attributes_group_wins_over_the_pods() {
        let mut request = testing::publish_request("csi-1", "/pods/a/mount");
        mount(&mut request).volume_mount_group = "2000".to_owned();
        let spec = testing::parse(request.clone()).unwrap();
        assert_eq!(spec.group(), 2000);
        request.volume_context.insert(keys::FS_GROUP.to_owned(), "3000".to_owned());
        assert_eq!(testing::parse(request).unwrap().group(), 3000);
    }

    #[test]
    fn tokens_are_dropped_and_make_no_difference() {
        let mut request = testing::publish_request("csi-1", "/pods/a/mount");
        let plain = testing::parse(request.clone()).unwrap();
        let tokens = csi_context::SERVICE_ACCOUNT_TOKENS.to_owned();
        request.volume_context.insert(tokens, "hunter2".to_owned());
        let spec = testing::parse(request).unwrap();
        assert!(spec.same_as(&plain));
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn what_kubelet_adds_to_the_context_makes_no_difference() {
        let mut request = testing::publish_request("csi-1", "/pods/a/mount");
        let plain = testing::parse(request.clone()).unwrap();
        request.volume_context.insert("csi.storage.k8s.io/of-tomorrow".to_owned(), "x".to_owned());
        assert!(testing::parse(request.clone()).unwrap().same_as(&plain));
        request.volume_context.insert(keys::IS_CA.to_owned(), "true".to_owned());
        assert!(!testing::parse(request).unwrap().same_as(&plain));
    }

    #[test]
    fn a_request_is_about_a_volume_only_at_its_place_and_for_its_pod() {
        let live = testing::spec("csi-1", "/pods/a/mount");
        let check = |change: fn(&mut csi::NodePublishVolumeRequest), expected: bool| {
            let mut request = testing::publish_request("csi-1", "/pods/a/mount");
            change(&mut request);
            assert_eq!(PublishRequest::read(request).unwrap().is_about(&live), expected);
        };
        check(|r| r.target_path = "/pods/b/mount".to_owned(), false);
        check(|r| r.volume_id = "csi-2".to_owned(), false);
        check(|r| drop(r.volume_context.insert(csi_context::POD_UID.to_owned(), "u-2".to_owned())), false);
        check(|r| drop(r.volume_context.remove(csi_context::POD_UID)), true);
        check(|r| r.volume_context.clear(), true);
        check(|r| r.readonly = false, true);
    }
}
