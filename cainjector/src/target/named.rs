//! Targets as people name them on a command line.

use runtime::watch::ObjectName;

use super::{Target, TargetKind};

/// A text names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no kind, or no name.
    #[error("write KIND/NAME, such as crd/widgets.example.com, or configmap/NAMESPACE/NAME")]
    Form,
    /// The kind gets no bundles.
    #[error("{0:?} is no kind that gets bundles; write one of {kinds}, or declare it (--inject-target)", kinds = kinds())]
    Kind(String),
}

fn kinds() -> String {
    let names: Vec<String> = TargetKind::ALL.iter().map(|kind| kind.kind().to_lowercase()).collect();
    names.join(", ")
}

impl Target {
    /// As kubectl takes it: kind, plural or short name, in any case, perhaps with the group behind it. Of the kinds that the
    /// operator declares, those count that are among `kinds`.
    ///
    /// # Errors
    /// When that is no target.
    pub fn named(text: &str, kinds: &[TargetKind]) -> Result<Self, NameError> {
        let (kind, name) =
            text.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or(NameError::Form)?;
        let lower = kind.to_lowercase();
        let is_meant = |each: &&TargetKind| {
            let resource = each.resource();
            let plain = lower.strip_suffix(&format!(".{}", resource.group)).unwrap_or(&lower);
            plain == each.plural()
                || plain == each.kind().to_lowercase()
                || each.short_names().contains(&plain)
        };
        let declared = kinds.iter().filter(|kind| matches!(kind, TargetKind::Custom(_)));
        let found = TargetKind::ALL.iter().chain(declared).find(is_meant).copied();
        let kind = found.ok_or_else(|| NameError::Kind(kind.to_owned()))?;
        // Whether objects of a declared kind live in namespaces, the API server knows.
        let is_declared = matches!(kind, TargetKind::Custom(_));
        match name.split_once('/') {
            None if is_declared || !kind.is_namespaced() => Ok(Self::cluster(kind, name)),
            Some((namespace, name))
                if (is_declared || kind.is_namespaced()) && !namespace.is_empty() && !name.is_empty() =>
            {
                Ok(Self { kind, name: ObjectName::namespaced(namespace, name) })
            }
            _ => Err(NameError::Form),
        }
    }
}

impl TargetKind {
    /// What the API server calls the kind in short.
    fn short_names(self) -> &'static [&'static str] {
        match self {
            Self::CustomResourceDefinition => &["crd", "crds"],
            Self::ConfigMap => &["cm"],
            Self::ValidatingWebhookConfiguration
            | Self::MutatingWebhookConfiguration
            | Self::ApiService
            | Self::ClusterTrustBundle
            | Self::Custom(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::CustomTarget;

    const FORM: &str = "write KIND/NAME, such as crd/widgets.example.com, or configmap/NAMESPACE/NAME";

    #[test]
    fn what_names_no_target_is_refused() {
        for (text, expected) in [
            ("", FORM),
            ("crd", FORM),
            ("crd/", FORM),
            ("crd/a/b", FORM),
            ("configmap/a", FORM),
            ("configmap//a", FORM),
            ("configmap/a/", FORM),
            (
                "secret/a",
                "\"secret\" is no kind that gets bundles; write one of validatingwebhookconfiguration, \
                 mutatingwebhookconfiguration, apiservice, customresourcedefinition, configmap, clustertrustbundle, \
                 or declare it (--inject-target)",
            ),
            (
                "crd.apps/a",
                "\"crd.apps\" is no kind that gets bundles; write one of validatingwebhookconfiguration, \
                 mutatingwebhookconfiguration, apiservice, customresourcedefinition, configmap, clustertrustbundle, \
                 or declare it (--inject-target)",
            ),
        ] {
            assert_eq!(Target::named(text, &[]).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn kinds_are_named_as_for_kubectl() {
        for (text, kind) in [
            ("crd/a", TargetKind::CustomResourceDefinition),
            ("crds/a", TargetKind::CustomResourceDefinition),
            ("customresourcedefinition.apiextensions.k8s.io/a", TargetKind::CustomResourceDefinition),
            ("APIService/a", TargetKind::ApiService),
            ("apiservices.apiregistration.k8s.io/a", TargetKind::ApiService),
            ("validatingwebhookconfigurations/a", TargetKind::ValidatingWebhookConfiguration),
            ("MutatingWebhookConfiguration/a", TargetKind::MutatingWebhookConfiguration),
        ] {
            assert_eq!(Target::named(text, &[]), Ok(Target::cluster(kind, "a")), "{text}");
        }
        let map = Target { kind: TargetKind::ConfigMap, name: ObjectName::namespaced("team-a", "trust") };
        for text in ["configmap/team-a/trust", "cm/team-a/trust"] {
            assert_eq!(Target::named(text, &[]).as_ref(), Ok(&map), "{text}");
        }
    }
    #[test]
    fn a_declared_kind_is_known_by_its_resource() {
        let declared: CustomTarget = "example.com/v1/meshes:spec.tls.caBundle".parse().unwrap();
        let kind = TargetKind::Custom(Box::leak(Box::new(declared)));
        for (text, name) in [
            ("meshes/team-a/web", ObjectName::namespaced("team-a", "web")),
            ("meshes.example.com/team-a/web", ObjectName::namespaced("team-a", "web")),
            ("Meshes.example.com/web", ObjectName::cluster("web")),
        ] {
            assert_eq!(Target::named(text, &[kind]), Ok(Target { kind, name }), "{text}");
        }
        for wrong in ["meshes.example.org/web", "mesh/web", "meshes//web"] {
            assert!(Target::named(wrong, &[kind]).is_err(), "{wrong}");
        }
    }
}
