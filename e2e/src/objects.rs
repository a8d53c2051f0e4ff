//! Objects that tests create, in the fewest words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{CSIVolumeSource, Container, EnvVar, Pod, PodSpec, Volume, VolumeMount};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

/// A pod with one container named `main`, whose image must have been imported: [`crate::image::reference`] names it.
#[must_use]
pub fn pod(name: &str, image: &str) -> Pod {
    let container = Container {
        name: "main".to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("Never".to_owned()),
        ..Container::default()
    };
    let spec = PodSpec {
        containers: vec![container],
        // Tests that end a pod want it gone, and none of ours needs to drain.
        termination_grace_period_seconds: Some(1),
        ..PodSpec::default()
    };
    Pod {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(spec),
        status: None,
    }
}

/// A signing request by a new key for the DNS name `web.example.com`, as `spec.request` of a CertificateRequest holds it.
///
/// # Errors
/// When the key cannot be made.
pub fn signing_request() -> anyhow::Result<String> {
    signing_request_by(&rcgen::KeyPair::generate()?)
}

/// The same by this key.
///
/// # Errors
/// When the key cannot sign.
pub fn signing_request_by(key: &rcgen::KeyPair) -> anyhow::Result<String> {
    let names = vec!["web.example.com".to_owned()];
    let request = rcgen::CertificateParams::new(names)?.serialize_request(key)?;
    Ok(STANDARD.encode(request.pem()?))
}

/// The condition by which somebody approves or denies a CertificateRequest, of type `Approved` or `Denied`.
#[must_use]
pub fn decision(condition_type: &str) -> Value {
    json!({
        "type": condition_type,
        "status": "True",
        "reason": "Tested",
        "message": "a test decided",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// Adds to a [`pod`].
pub trait PodExt: Sized {
    /// Gives the container these arguments.
    #[must_use]
    fn args(self, args: &[&str]) -> Self;

    /// Sets an environment variable of the container.
    #[must_use]
    fn env(self, name: &str, value: &str) -> Self;

    /// Labels the pod.
    #[must_use]
    fn label(self, key: &str, value: &str) -> Self;

    /// Runs the pod as this service account.
    #[must_use]
    fn service_account(self, name: &str) -> Self;

    /// Mounts an inline volume of a CSI driver, read-only, with these volume attributes.
    #[must_use]
    fn csi_volume(self, driver: &str, mount_path: &str, attributes: &[(&str, &str)]) -> Self;
}

impl PodExt for Pod {
    fn args(self, args: &[&str]) -> Self {
        change(self, |_, main| {
            main.args = Some(args.iter().map(|&arg| arg.to_owned()).collect());
        })
    }

    fn env(self, name: &str, value: &str) -> Self {
        let variable = EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() };
        change(self, |_, main| {
            main.env.get_or_insert_default().push(variable);
        })
    }

    fn label(mut self, key: &str, value: &str) -> Self {
        self.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    fn service_account(self, name: &str) -> Self {
        change(self, |spec, _| {
            spec.service_account_name = Some(name.to_owned());
        })
    }

    fn csi_volume(self, driver: &str, mount_path: &str, attributes: &[(&str, &str)]) -> Self {
        change(self, |spec, main| {
            let volumes = spec.volumes.get_or_insert_default();
            let name = format!("csi-{}", volumes.len());
            let attributes =
                attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            volumes.push(Volume {
                name: name.clone(),
                csi: Some(CSIVolumeSource {
                    driver: driver.to_owned(),
                    read_only: Some(true),
                    volume_attributes: Some(attributes),
                    ..CSIVolumeSource::default()
                }),
                ..Volume::default()
            });
            main.volume_mounts.get_or_insert_default().push(VolumeMount {
                name,
                mount_path: mount_path.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            });
        })
    }
}

fn change(mut pod: Pod, change: impl FnOnce(&mut PodSpec, &mut Container)) -> Pod {
    if let Some(spec) = &mut pod.spec {
        let mut containers = std::mem::take(&mut spec.containers);
        if let Some(main) = containers.first_mut() {
            change(spec, main);
        }
        spec.containers = containers;
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_volumes_of_one_pod_do_not_share_a_name() {
        let pod = pod("p", "i").csi_volume("d", "/a", &[("k", "v")]).csi_volume("d", "/b", &[]).args(&["x"]);
        let spec = pod.spec.unwrap();
        let names: Vec<_> = spec.volumes.unwrap().into_iter().map(|volume| volume.name).collect();
        assert_eq!(names, ["csi-0", "csi-1"]);
        assert_eq!(spec.containers[0].volume_mounts.as_ref().unwrap().len(), 2);
        assert_eq!(spec.containers[0].args.as_ref().unwrap(), &["x"]);
    }
}
