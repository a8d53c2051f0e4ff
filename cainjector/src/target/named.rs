//! Targets as people name them on a command line.

use std::str::FromStr;

use runtime::watch::ObjectName;

use super::{Target, TargetKind};

/// A text names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no kind, or no name.
    #[error("write KIND/NAME, such as crd/widgets.example.com, or configmap/NAMESPACE/NAME")]
    Form,
    /// The kind gets no bundles.
    #[error("{0:?} is no kind that gets bundles; write one of {kinds}", kinds = kinds())]
    Kind(String),
}

fn kinds() -> String {
    let names: Vec<String> = TargetKind::ALL.iter().map(|kind| kind.kind().to_lowercase()).collect();
    names.join(", ")
}

impl FromStr for Target {
    type Err = NameError;

    /// As kubectl takes it: kind, plural or short name, in any case, perhaps with the group behind it.
    fn from_str(text: &str) -> Result<Self, NameError> {
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
        let found = TargetKind::ALL.iter().find(is_meant).copied();
        let kind = found.ok_or_else(|| NameError::Kind(kind.to_owned()))?;
        match name.split_once('/') {
            None if !kind.is_namespaced() => Ok(Self::cluster(kind, name)),
            Some((namespace, name)) if kind.is_namespaced() && !namespace.is_empty() && !name.is_empty() => {
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
                 mutatingwebhookconfiguration, apiservice, customresourcedefinition, configmap, clustertrustbundle",
            ),
            (
                "crd.apps/a",
                "\"crd.apps\" is no kind that gets bundles; write one of validatingwebhookconfiguration, \
                 mutatingwebhookconfiguration, apiservice, customresourcedefinition, configmap, clustertrustbundle",
            ),
        ] {
            assert_eq!(text.parse::<Target>().unwrap_err().to_string(), expected, "{text}");
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
            assert_eq!(text.parse(), Ok(Target::cluster(kind, "a")), "{text}");
        }
        let map = Target { kind: TargetKind::ConfigMap, name: ObjectName::namespaced("team-a", "trust") };
        for text in ["configmap/team-a/trust", "cm/team-a/trust"] {
            assert_eq!(text.parse().as_ref(), Ok(&map), "{text}");
        }
    }
}
