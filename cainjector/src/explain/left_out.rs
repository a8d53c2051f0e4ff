//! Objects that ask for a bundle, and that the injector does not even look at.

use std::collections::BTreeMap;

use api::keys::label;

use crate::policy::Policy;
use crate::target::{ROOT_CA, Target, TargetKind};

/// Why the injector leaves an object out, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Why.
    pub why: String,
    /// What to do.
    pub cure: String,
}

impl LeftOut {
    /// What can be told without a cluster, where these kinds are served.
    pub fn of(target: &Target, labels: &BTreeMap<String, String>, served: &[TargetKind]) -> Option<Self> {
        if !served.contains(&target.kind) {
            return Some(Self::unserved(target.kind));
        }
        let is_labelled = labels.get(label::INJECT).is_some_and(|value| value == "true");
        (target.kind.is_wider() && !is_labelled).then(|| Self::unlabelled(target))
    }

    /// It is the cluster's own, or what the injector keeps for itself.
    pub fn excluded(target: &Target) -> Self {
        let whose = match target.name.name == ROOT_CA {
            true => "the controller manager's",
            false => "where the injector keeps what left its source",
        };
        let cure = "give the CA a ConfigMap of another name".to_owned();
        Self { why: format!("this ConfigMap is {whose}, and never a target"), cure }
    }

    /// No policy holds the injector to the bundles of such objects.
    pub fn unheld(kind: TargetKind, policy: Policy) -> Self {
        let (plural, flag) = (kind.plural(), policy.flag());
        let why = format!(
            "no ValidatingAdmissionPolicy that denies holds an injector of this version to its task in {plural}, and \
             without one none of them gets a bundle"
        );
        Self { why, cure: format!("apply what `signet-cainjector policies {flag}` prints") }
    }

    fn unserved(kind: TargetKind) -> Self {
        let why = format!("the injector leaves every {} alone", kind.kind());
        let cure = match Policy::of(kind).filter(|_| kind.is_wider()) {
            Some(policy) => format!("start it, and this command, with {}", policy.flag()),
            None => format!("start it without --enable-{}-injectable=false", kind.plural()),
        };
        Self { why, cure }
    }

    fn unlabelled(target: &Target) -> Self {
        let label = label::INJECT;
        let namespace = target.name.namespace.iter().map(|namespace| format!("-n {namespace} "));
        let resource = target.kind.resource();
        let kind = match resource.group.is_empty() {
            true => resource.plural,
            false => format!("{}.{}", resource.plural, resource.group),
        };
        let (namespace, name) = (namespace.collect::<String>(), &target.name.name);
        Self {
            why: format!("it has no label {label}: \"true\", without which the injector does not see it"),
            cure: format!("kubectl label --overwrite {namespace}{kind}/{name} {label}=true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::watch::ObjectName;

    use super::*;

    fn check(target: &Target, labels: &[(&str, &str)], served: &[TargetKind], expected: Option<[&str; 2]>) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let told = LeftOut::of(target, &labels, served);
        let expected = expected.map(|[why, cure]| LeftOut { why: why.to_owned(), cure: cure.to_owned() });
        assert_eq!(told, expected);
    }

    #[test]
    fn an_object_of_an_added_kind_has_to_be_labelled_and_its_kind_to_be_added() {
        let kind = TargetKind::ConfigMap;
        let target = Target { kind, name: ObjectName::namespaced("team-a", "trust") };
        let label = "cainjector.cert-manager.io/inject";
        let unlabelled = Some([
            "it has no label cainjector.cert-manager.io/inject: \"true\", without which the injector does not see it",
            "kubectl label --overwrite -n team-a configmaps/trust cainjector.cert-manager.io/inject=true",
        ]);
        check(&target, &[], &[kind], unlabelled);
        check(&target, &[(label, "yes")], &[kind], unlabelled);
        check(&target, &[(label, "true")], &[kind], None);
        let unserved = Some([
            "the injector leaves every ConfigMap alone",
            "start it, and this command, with --inject-configmaps",
        ]);
        check(&target, &[(label, "true")], &[TargetKind::ApiService], unserved);
    }

    #[test]
    fn others_need_no_label() {
        let target = Target::cluster(TargetKind::ApiService, "web");
        check(&target, &[], &[TargetKind::ApiService], None);
        let unserved = Some([
            "the injector leaves every APIService alone",
            "start it without --enable-apiservices-injectable=false",
        ]);
        check(&target, &[], &[TargetKind::ConfigMap], unserved);
    }
}
