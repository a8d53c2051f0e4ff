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

use crate::guard;
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

impl Account {
    /// The same as the API server knows it.
    pub fn to_guard(&self) -> guard::Account {
        guard::Account::service(&self.namespace, &self.name)
    }
}

/// What is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    targets: BTreeMap<TargetKind, BTreeSet<String>>,
    namespaces: BTreeMap<String, Named>,
    unknown: BTreeSet<ObjectName>,
    memory: Option<String>,
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

    /// Adds what is needed to keep the ConfigMap of this name, in the account's own namespace.
    pub fn add_memory(&mut self, name: &str) {
        self.memory = Some(name.to_owned());
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
        let Needs { targets, namespaces, unknown, memory } = self.needs;
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
        // `explain` finds in them who keeps overwriting a target.
        rules.push(("", "events", None, "create, list, patch"));
        let Account { namespace: own, name } = self.account;
        self.role(f, "ClusterRole", None, name, &rules)?;
        for (namespace, Named { secrets, certificates, targets }) in namespaces {
            let all = [("", "secrets", secrets), (api::GROUP, "certificates", certificates)];
            let named = all.into_iter().filter(|(_, _, names)| !names.is_empty());
            let mut rules: Vec<Rule<'_>> = named
                .map(|(group, resource, names)| (group, resource, Some(names), "get, list, watch"))
                .collect();
            let resources = kinds(targets);
            let patched = resources.iter();
            rules.extend(patched.map(|(kind, names)| (&*kind.group, &*kind.plural, Some(*names), "patch")));
            self.role(f, "Role", Some(namespace), name, &rules)?;
        }
        if let Some(memory) = memory {
            let named = BTreeSet::from([memory.clone()]);
            // A name cannot be given for what does not exist yet.
            let rules = [("", "configmaps", None, "create"), ("", "configmaps", Some(&named), "get, patch")];
            self.role(f, "Role", Some(own), &format!("{name}-memory"), &rules)?;
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
        role: &str,
        rules: &[Rule<'_>],
    ) -> fmt::Result {
        head(f, kind, namespace, role)?;
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
        head(f, &format!("{kind}Binding"), namespace, role)?;
        let Account { namespace, name } = self.account;
        writeln!(
            f,
            "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {}",
            json!(role)
        )?;
        writeln!(
            f,
            "subjects:\n  - kind: ServiceAccount\n    namespace: {}\n    name: {}",
            json!(namespace),
            json!(name)
        )
    }
}

fn head(f: &mut fmt::Formatter<'_>, kind: &str, namespace: Option<&str>, name: &str) -> fmt::Result {
    writeln!(f, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:")?;
    if let Some(namespace) = namespace {
        writeln!(f, "  namespace: {}", json!(namespace))?;
    }
    writeln!(f, "  name: {}", json!(name))
}

#[cfg(test)]
mod tests;
