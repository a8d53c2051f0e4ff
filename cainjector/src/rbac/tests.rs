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
    let template = include_str!("../../../manifests/chart/templates/cainjector.yaml");
    let role = template.split("---\n").find(|object| object.contains("\nkind: ClusterRole\n")).unwrap();
    let granted: Vec<&str> =
        role.lines().filter_map(|line| line.trim().strip_prefix("resources: [")?.strip_suffix(']')).collect();
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
fn what_can_be_switched_off_is_not_granted_by_the_chart_then() {
    let template = include_str!("../../../manifests/chart/templates/cainjector.yaml");
    let command = <crate::Args as clap::CommandFactory>::command();
    let flags = command.get_arguments().filter_map(|argument| argument.get_long()?.strip_prefix("enable-"));
    let mut count = 0;
    for flag in flags.filter(|flag| flag.ends_with("-injectable") || flag.ends_with("-data-source")) {
        let switch = template.lines().find(|line| line.contains(&format!(" {flag:?})"))).unwrap_or_default();
        let key = switch.split('"').nth(3).unwrap_or_else(|| panic!("{flag} does not switch a rule off"));
        assert!(template.contains(&format!("{{{{- if not $isOff.{key} }}}}")), "{key}");
        count += 1;
    }
    assert_eq!(count, 5);
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
            verbs: [create, list, patch]
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
fn what_is_remembered_may_be_kept_in_one_configmap() {
    let mut needs = Needs::of(&[TargetKind::ApiService]);
    needs.add_memory("injector-memory");
    let account = "us/injector".parse().unwrap();
    let printed = needs.manifests(&account).to_string();
    let (_, role) = printed.split_once("kind: Role\n").unwrap();
    expect![[r#"
        metadata:
          namespace: "us"
          name: "injector-memory"
        rules:
          - apiGroups: [""]
            resources: [configmaps]
            verbs: [create]
          - apiGroups: [""]
            resources: [configmaps]
            resourceNames:
              - "injector-memory"
            verbs: [get, patch]
        ---
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata:
          namespace: "us"
          name: "injector-memory"
        roleRef:
          apiGroup: rbac.authorization.k8s.io
          kind: Role
          name: "injector-memory"
        subjects:
          - kind: ServiceAccount
            namespace: "us"
            name: "injector"
    "#]]
    .assert_eq(role);
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
            verbs: [create, list, patch]
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
