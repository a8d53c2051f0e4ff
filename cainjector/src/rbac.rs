//! The least rights with which everything works: each Secret and Certificate by its name, in place of all of them.
//!
//! The watches of sources select one object by `metadata.name`, which the API server authorises as a request for that
//! name; so rules with `resourceNames` cover `list` and `watch`, too. Targets have to be found, so of each kind all are
//! read, and a new one is told what it lacks; those that ask for something now are patched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use api::injection::reference;
use kube::core::ApiResource;
use runtime::watch::ObjectName;
use serde_json::json;

use crate::reference::SourceRef;
use crate::target::{Target, TargetKind};

/// The account that gets the rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    namespace: String,
    name: String,
}

/// A text names no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write NAMESPACE/NAME of a ServiceAccount")]
pub struct AccountError;

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        let (namespace, name) = reference(text).ok_or(AccountError)?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// What is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    targets: BTreeMap<TargetKind, BTreeSet<String>>,
    namespaces: BTreeMap<String, Named>,
    unknown: BTreeSet<ObjectName>,
}

/// The objects in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Named {
    secrets: BTreeSet<String>,
    certificates: BTreeSet<String>,
    targets: BTreeMap<TargetKind, BTreeSet<String>>,
}

impl Needs {
    /// What is needed to find targets of these kinds.
    pub fn of(kinds: &[TargetKind]) -> Self {
        Self { targets: kinds.iter().map(|kind| (*kind, BTreeSet::new())).collect(), ..Self::default() }
    }

    /// Adds what is needed for a target that asks for something.
    pub fn add_target(&mut self, target: &Target) {
        let Target { kind, name } = target;
        let Some(names) = self.targets.get_mut(kind) else { return };
        match name.namespace {
            None => names.insert(name.name.clone()),
            Some(_) => self.namespace(name).targets.entry(*kind).or_default().insert(name.name.clone()),
        };
    }

    /// Adds what is needed for a source; `secret` is the one that a Certificate is issued into, if that is known.
    pub fn add_source(&mut self, source: &SourceRef, secret: Option<ObjectName>) {
        match source {
            SourceRef::Secret(name) => self.add_secret(name),
            SourceRef::Certificate(name) => {
                self.namespace(name).certificates.insert(name.name.clone());
                match secret {
                    Some(secret) => self.add_secret(&secret),
                    None => {
                        self.unknown.insert(name.clone());
                    }
                }
            }
            SourceRef::ApiServer => {}
        }
    }

    fn add_secret(&mut self, name: &ObjectName) {
        self.namespace(name).secrets.insert(name.name.clone());
    }

    fn namespace(&mut self, name: &ObjectName) -> &mut Named {
        self.namespaces.entry(name.namespace.clone().unwrap_or_default()).or_default()
    }

    /// The manifests, for the account. They have its name, as those of the chart do, so that they take their place.
    pub fn manifests<'a>(&'a self, account: &'a Account) -> Manifests<'a> {
        Manifests { needs: self, account }
    }
}

/// What is needed as YAML.
#[derive(Debug, Clone, Copy)]
pub struct Manifests<'a> {
    needs: &'a Needs,
    account: &'a Account,
}

/// A rule: group, resource, names that it is for, and verbs.
type Rule<'a> = (&'a str, &'a str, Option<&'a BTreeSet<String>>, &'a str);

impl fmt::Display for Manifests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Needs { targets, namespaces, unknown } = self.needs;
        writeln!(
            f,
            "# What the cainjector needs for what is annotated now, and no more: print it again when that changes."
        )?;
        writeln!(
            f,
            "# It takes the place of rules that let it read every Secret; those for its Lease stay as they are."
        )?;
        for name in unknown {
            writeln!(
                f,
                "# MISSING: the Secret of Certificate {name}, which is not known: print it again when it is."
            )?;
        }
        if targets.contains_key(&TargetKind::ClusterTrustBundle) {
            writeln!(
                f,
                "# MISSING: attest on the signers whose ClusterTrustBundles are targets; grant it by hand."
            )?;
        }
        let resources = kinds(targets);
        let mut rules: Vec<Rule<'_>> = Vec::new();
        for (resource, names) in &resources {
            rules.push((&resource.group, &resource.plural, None, "get, list, watch"));
            if !names.is_empty() {
                // Never create: an apply to a target that was deleted meanwhile would bring it back.
                rules.push((&resource.group, &resource.plural, Some(names), "patch"));
            }
        }
        if targets.keys().any(|kind| kind.is_wider()) {
            for resource in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
                rules.push(("admissionregistration.k8s.io", resource, None, "list"));
            }
        }
        rules.push(("", "events", None, "create, patch"));
        self.role(f, "ClusterRole", None, &rules)?;
        for (namespace, Named { secrets, certificates, targets }) in namespaces {
            let all = [("", "secrets", secrets), (api::GROUP, "certificates", certificates)];
            let named = all.into_iter().filter(|(_, _, names)| !names.is_empty());
            let mut rules: Vec<Rule<'_>> = named
                .map(|(group, resource, names)| (group, resource, Some(names), "get, list, watch"))
                .collect();
            let resources = kinds(targets);
            let patched = resources.iter();
            rules.extend(patched.map(|(kind, names)| (&*kind.group, &*kind.plural, Some(*names), "patch")));
            self.role(f, "Role", Some(namespace), &rules)?;
        }
        Ok(())
    }
}

/// What the API calls these kinds, and the names of each.
fn kinds(targets: &BTreeMap<TargetKind, BTreeSet<String>>) -> Vec<(ApiResource, &BTreeSet<String>)> {
    targets.iter().map(|(kind, names)| (kind.resource(), names)).collect()
}

impl Manifests<'_> {
    /// A role, and its binding to the account.
    fn role(
        self,
        f: &mut fmt::Formatter<'_>,
        kind: &str,
        namespace: Option<&str>,
        rules: &[Rule<'_>],
    ) -> fmt::Result {
        self.head(f, kind, namespace)?;
        writeln!(f, "rules:")?;
        for (group, resource, names, verbs) in rules {
            writeln!(f, "  - apiGroups: [{}]", json!(group))?;
            writeln!(f, "    resources: [{resource}]")?;
            if let Some(names) = names {
                writeln!(f, "    resourceNames:")?;
                // In quotes, for a name may look like a number.
                names.iter().try_for_each(|name| writeln!(f, "      - {}", json!(name)))?;
            }
            writeln!(f, "    verbs: [{verbs}]")?;
        }
        self.head(f, &format!("{kind}Binding"), namespace)?;
        let Account { namespace, name } = self.account;
        writeln!(
            f,
            "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {}",
            json!(name)
        )?;
        writeln!(
            f,
            "subjects:\n  - kind: ServiceAccount\n    namespace: {}\n    name: {}",
            json!(namespace),
            json!(name)
        )
    }

    fn head(self, f: &mut fmt::Formatter<'_>, kind: &str, namespace: Option<&str>) -> fmt::Result {
        writeln!(f, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:")?;
        if let Some(namespace) = namespace {
            writeln!(f, "  namespace: {}", json!(namespace))?;
        }
        writeln!(f, "  name: {}", json!(self.account.name))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(needs: &Needs, expected: &Expect) {
        let account = "cert-manager/cert-manager-cainjector".parse().unwrap();
        expected.assert_eq(&needs.manifests(&account).to_string());
    }

    #[test]
    fn what_is_no_account_is_refused() {
        for text in ["", "name", "a/b/c", "A/b"] {
            assert_eq!(text.parse::<Account>(), Err(AccountError), "{text}");
        }
    }

    #[test]
    fn nothing_is_lacking_that_the_chart_grants() {
        let template = include_str!("../../manifests/chart/templates/cainjector.yaml");
        let role = template.split("---\n").find(|object| object.contains("\nkind: ClusterRole\n")).unwrap();
        let granted: Vec<&str> = role
            .lines()
            .filter_map(|line| line.trim().strip_prefix("resources: [")?.strip_suffix(']'))
            .collect();
        let mut needs = Needs::of(TargetKind::ALL);
        let [web, tls] = ["web", "tls"].map(|name| ObjectName::namespaced("team-a", name));
        needs.add_source(&SourceRef::Certificate(web), Some(tls));
        let account = "a/b".parse().unwrap();
        let printed = needs.manifests(&account).to_string();
        // Which signers, and which declared kinds, is not known here.
        let known = granted.iter().filter(|resources| **resources != "signers" && !resources.contains("{{"));
        for resource in known.flat_map(|resources| resources.split(", ")) {
            assert!(printed.contains(&format!("resources: [{resource}]")), "{resource}");
        }
        assert!(granted.contains(&"events"), "{granted:?}");
    }

    #[test]
    fn without_targets_nothing_but_targets_can_be_looked_for() {
        check(
            &Needs::of(&[TargetKind::ApiService]),
            &expect![[r##"
            # What the cainjector needs for what is annotated now, and no more: print it again when that changes.
            # It takes the place of rules that let it read every Secret; those for its Lease stay as they are.
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRole
            metadata:
              name: "cert-manager-cainjector"
            rules:
              - apiGroups: ["apiregistration.k8s.io"]
                resources: [apiservices]
                verbs: [get, list, watch]
              - apiGroups: [""]
                resources: [events]
                verbs: [create, patch]
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRoleBinding
            metadata:
              name: "cert-manager-cainjector"
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: ClusterRole
              name: "cert-manager-cainjector"
            subjects:
              - kind: ServiceAccount
                namespace: "cert-manager"
                name: "cert-manager-cainjector"
        "##]],
        );
    }

    #[test]
    fn a_target_in_a_namespace_is_patched_there_alone() {
        let mut needs = Needs::of(&[TargetKind::ConfigMap]);
        let name = ObjectName::namespaced("team-a", "trust");
        needs.add_target(&Target { kind: TargetKind::ConfigMap, name });
        let account = "us/injector".parse().unwrap();
        let printed = needs.manifests(&account).to_string();
        let (cluster, namespaced) = printed.split_once("kind: ClusterRoleBinding").unwrap();
        for resource in ["configmaps", "validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
            assert!(cluster.contains(&format!("resources: [{resource}]")), "{cluster}");
        }
        let rule = "resources: [configmaps]\n    resourceNames:\n      - \"trust\"\n    verbs: [patch]";
        assert!(!cluster.contains(rule) && namespaced.contains(rule), "{namespaced}");
    }

    #[test]
    fn each_source_and_target_is_named() {
        let object = |namespace, name| ObjectName::namespaced(namespace, name);
        let standard = TargetKind::ALL.iter().copied().filter(|kind| !kind.is_wider());
        let mut needs = Needs::of(&standard.collect::<Vec<_>>());
        for (kind, name) in [
            (TargetKind::ValidatingWebhookConfiguration, "web"),
            (TargetKind::CustomResourceDefinition, "webs.example.test"),
            (TargetKind::CustomResourceDefinition, "apps.example.test"),
        ] {
            needs.add_target(&Target::cluster(kind, name));
        }
        needs.add_source(&SourceRef::Secret(object("team-a", "1e3")), None);
        needs.add_source(&SourceRef::Secret(object("team-a", "ca")), None);
        needs.add_source(&SourceRef::Certificate(object("team-a", "web")), Some(object("team-a", "web-tls")));
        needs.add_source(&SourceRef::Certificate(object("team-b", "late")), None);
        needs.add_source(&SourceRef::ApiServer, None);
        check(
            &needs,
            &expect![[r##"
            # What the cainjector needs for what is annotated now, and no more: print it again when that changes.
            # It takes the place of rules that let it read every Secret; those for its Lease stay as they are.
            # MISSING: the Secret of Certificate team-b/late, which is not known: print it again when it is.
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRole
            metadata:
              name: "cert-manager-cainjector"
            rules:
              - apiGroups: ["admissionregistration.k8s.io"]
                resources: [validatingwebhookconfigurations]
                verbs: [get, list, watch]
              - apiGroups: ["admissionregistration.k8s.io"]
                resources: [validatingwebhookconfigurations]
                resourceNames:
                  - "web"
                verbs: [patch]
              - apiGroups: ["admissionregistration.k8s.io"]
                resources: [mutatingwebhookconfigurations]
                verbs: [get, list, watch]
              - apiGroups: ["apiregistration.k8s.io"]
                resources: [apiservices]
                verbs: [get, list, watch]
              - apiGroups: ["apiextensions.k8s.io"]
                resources: [customresourcedefinitions]
                verbs: [get, list, watch]
              - apiGroups: ["apiextensions.k8s.io"]
                resources: [customresourcedefinitions]
                resourceNames:
                  - "apps.example.test"
                  - "webs.example.test"
                verbs: [patch]
              - apiGroups: [""]
                resources: [events]
                verbs: [create, patch]
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRoleBinding
            metadata:
              name: "cert-manager-cainjector"
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: ClusterRole
              name: "cert-manager-cainjector"
            subjects:
              - kind: ServiceAccount
                namespace: "cert-manager"
                name: "cert-manager-cainjector"
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: Role
            metadata:
              namespace: "team-a"
              name: "cert-manager-cainjector"
            rules:
              - apiGroups: [""]
                resources: [secrets]
                resourceNames:
                  - "1e3"
                  - "ca"
                  - "web-tls"
                verbs: [get, list, watch]
              - apiGroups: ["cert-manager.io"]
                resources: [certificates]
                resourceNames:
                  - "web"
                verbs: [get, list, watch]
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: RoleBinding
            metadata:
              namespace: "team-a"
              name: "cert-manager-cainjector"
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: Role
              name: "cert-manager-cainjector"
            subjects:
              - kind: ServiceAccount
                namespace: "cert-manager"
                name: "cert-manager-cainjector"
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: Role
            metadata:
              namespace: "team-b"
              name: "cert-manager-cainjector"
            rules:
              - apiGroups: ["cert-manager.io"]
                resources: [certificates]
                resourceNames:
                  - "late"
                verbs: [get, list, watch]
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: RoleBinding
            metadata:
              namespace: "team-b"
              name: "cert-manager-cainjector"
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: Role
              name: "cert-manager-cainjector"
            subjects:
              - kind: ServiceAccount
                namespace: "cert-manager"
                name: "cert-manager-cainjector"
        "##]],
        );
    }
}
