//! ValidatingAdmissionPolicies that hold the cainjector's own account to its task.
//!
//! RBAC can let an account patch an object or not; it cannot say "this field alone". So whoever got hold of the account
//! could point the cluster's webhooks at a server of their own. These policies, judged by the API server, leave the
//! account nothing but bundles, and in those nothing but certificates: which ones, a policy cannot judge, so a stolen
//! account can still make calls fail or have another CA trusted. The chart adds whose account it is.
//!
//! The comparisons know of no field but the bundle's own, so they hold for fields of later Kubernetes versions too.
//! `dyn` keeps the API server's type checker from refusing to walk over the members of a typed object.

use api::keys::{annotation, label};
use serde_json::{Value, json};

use crate::reference::ANNOTATIONS;
use crate::target::custom::{CustomTarget, Encoding};
use crate::target::{ROOT_CA, TargetKind};

/// What the account does not write of `metadata`, and yet changes with a write of it.
const METADATA_OF_WRITES: &[&str] = &["managedFields", "resourceVersion", "generation"];

/// `-----BEGIN CERTIFICATE-----` in base64, as far as it does not depend on what follows.
const BEGIN_CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t";

/// `PRIVATE KEY` in base64 at each of the three places where it can begin, as far as it does not depend on what is
/// around it: `PRIVATE K`, `IVATE KEY` and `RIVATE KE`. CEL has no way to decode base64.
const PRIVATE_KEY: &[&str] = &["UFJJVkFURSBL", "SVZBVEUgS0VZ", "UklWQVRFIEtF"];

/// The members that the fields of built-in kinds are behind.
const STEPS: &[&str] = &["conversion", "webhook", "clientConfig", "caBundle", "trustBundle"];

/// The policy of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Plural of the kind, and name of the policy.
    pub plural: &'static str,
    /// Its API group.
    pub group: &'static str,
    /// The version of it.
    pub version: &'static str,
    place: Place,
}

/// Where the bundle is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In each of the `webhooks`, at `clientConfig.caBundle`.
    Webhooks,
    /// Below `spec`, through these members, at `caBundle`.
    Spec(&'static [&'static str]),
    /// At this member of `data`, as text.
    Data(&'static str),
    /// At this member of `spec`, as text.
    Text(&'static str),
    /// In the declared field.
    Custom(&'static CustomTarget),
}

/// One policy for each kind that gets bundles.
pub const POLICIES: [Policy; 6] = [
    Policy {
        plural: "validatingwebhookconfigurations",
        group: "admissionregistration.k8s.io",
        version: "v1",
        place: Place::Webhooks,
    },
    Policy {
        plural: "mutatingwebhookconfigurations",
        group: "admissionregistration.k8s.io",
        version: "v1",
        place: Place::Webhooks,
    },
    Policy { plural: "apiservices", group: "apiregistration.k8s.io", version: "v1", place: Place::Spec(&[]) },
    Policy {
        plural: "customresourcedefinitions",
        group: "apiextensions.k8s.io",
        version: "v1",
        place: Place::Spec(&["conversion", "webhook", "clientConfig"]),
    },
    Policy { plural: "configmaps", group: "", version: "v1", place: Place::Data("ca.crt") },
    Policy {
        plural: "clustertrustbundles",
        group: "certificates.k8s.io",
        version: "v1beta1",
        place: Place::Text("trustBundle"),
    },
];

impl Policy {
    /// The policy of a kind.
    pub fn of(kind: TargetKind) -> Option<Self> {
        if let TargetKind::Custom(custom) = kind {
            let CustomTarget { group, version, plural, .. } = custom;
            return Some(Self { plural, group, version, place: Place::Custom(custom) });
        }
        POLICIES.into_iter().find(|policy| policy.plural == kind.plural())
    }

    /// What tells it from the others: the plural, and of a declared kind its group too.
    pub fn name(&self) -> &'static str {
        match self.place {
            Place::Custom(custom) => &custom.name,
            _ => self.plural,
        }
    }

    /// The flag that adds the kind to the targets.
    pub fn flag(&self) -> String {
        match self.place {
            Place::Custom(custom) => format!("--inject-target={custom}"),
            _ => format!("--inject-{}", self.plural),
        }
    }

    /// The `spec` of a ValidatingAdmissionPolicy (`admissionregistration.k8s.io/v1`) for whoever it is bound to. It
    /// fails closed: what it cannot judge is not written.
    pub fn spec(&self) -> Value {
        let (mut variables, mut validations) = self.common();
        match self.place {
            Place::Webhooks => webhooks(&mut variables, &mut validations),
            Place::Spec(members) => {
                let path = ["spec"].iter().chain(members).chain(&["caBundle"]).copied().collect::<Vec<_>>();
                below(&path, Encoding::Base64, &mut variables, &mut validations);
            }
            Place::Data(key) => below(&["data", key], Encoding::Text, &mut variables, &mut validations),
            Place::Text(member) => below(&["spec", member], Encoding::Text, &mut variables, &mut validations),
            Place::Custom(custom) => {
                let path: Vec<&str> = custom.path.iter().map(String::as_str).collect();
                below(&path, custom.encoding, &mut variables, &mut validations);
            }
        }
        let named = |(name, expression): (String, String)| json!({"name": name, "expression": expression});
        json!({
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [self.group],
                "apiVersions": [self.version],
                "operations": ["CREATE", "UPDATE", "DELETE"],
                "resources": [self.plural, format!("{}/*", self.plural)],
            }]},
            "variables": variables.into_iter().map(named).collect::<Vec<_>>(),
            "validations": validations.into_iter().map(Validation::json).collect::<Vec<_>>(),
        })
    }

    /// What holds for every kind.
    fn common(&self) -> (Vec<(String, String)>, Vec<Validation>) {
        let content = match self.place {
            Place::Webhooks => "webhooks",
            Place::Spec(_) | Place::Text(_) => "spec",
            Place::Data(_) => "data",
            // There are two members at least.
            Place::Custom(custom) => custom.path.first().map_or("spec", String::as_str),
        };
        // The API server keeps the status of built-in kinds out of such a write. Of a custom resource it does so only where a
        // subresource is declared for it; where none is, whoever may update the object may write its status.
        let not_compared: &[&str] = match self.place {
            Place::Custom(_) => &["metadata", content],
            _ => &["metadata", "status", content],
        };
        let release = annotation::RELEASE_BUNDLE;
        let mut variables = vec![
            variable("metadata", "dyn(object.metadata)"),
            variable("oldMetadata", "dyn(oldObject.metadata)"),
            variable("annotations", "variables.oldMetadata.?annotations.orValue({})"),
            variable("releases", format!("variables.annotations[?'{release}'].orValue('') == 'true'")),
        ];
        let asks = format!("{}.exists(name, name in variables.annotations)", list(ANNOTATIONS));

        let mut validations = vec![
            // The first that is broken is told, and of another operation the others could not be evaluated.
            Validation {
                // The API server leaves the member out where there is no subresource.
                kept: "request.operation == 'UPDATE' && (!has(request.subResource) || request.subResource == '')"
                    .to_owned(),
                told: "the cainjector updates objects; it does not create or delete them, nor write their status"
                    .to_owned(),
            },
            update(asks, "metadata.annotations: this object does not ask the cainjector for a CA"),
            update(
                same("variables.metadata", "variables.oldMetadata", METADATA_OF_WRITES),
                "metadata: the cainjector writes nothing here",
            ),
            update(
                same("dyn(object)", "dyn(oldObject)", not_compared),
                format!("the cainjector writes nothing outside of {content}"),
            ),
        ];
        if matches!(self.place, Place::Data(_) | Place::Text(_) | Place::Custom(_)) {
            variables.push(variable("labels", "variables.oldMetadata.?labels.orValue({})"));
            let label = label::INJECT;
            validations.push(update(
                format!("variables.labels[?'{label}'].orValue('') == 'true'"),
                format!("metadata.labels: this object has no label {label}: \"true\""),
            ));
        }
        if let Place::Data(_) = self.place {
            let kept = format!("variables.oldMetadata.name != '{ROOT_CA}'");
            validations.push(update(kept, "metadata.name: this object is the controller manager's"));
        }
        (variables, validations)
    }
}

/// An expression that must be true, and what is told where it is not.
struct Validation {
    kept: String,
    told: String,
}

impl Validation {
    fn json(self) -> Value {
        json!({"expression": self.kept, "message": self.told, "reason": "Forbidden"})
    }
}

/// What must hold of an update; other operations are refused in any case, and lack one of the objects.
fn update(kept: impl AsRef<str>, told: impl Into<String>) -> Validation {
    let kept = format!("request.operation != 'UPDATE' || ({})", kept.as_ref());
    Validation { kept, told: told.into() }
}

fn variable(name: &str, expression: impl Into<String>) -> (String, String) {
    (name.to_owned(), expression.into())
}

fn list(items: &[&str]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// That two maps differ in nothing but the values of `except`.
fn same(new: &str, old: &str, except: &[&str]) -> String {
    let except = list(except);
    format!(
        "{new}.all(key, key in {except} || (key in {old} && {new}[key] == {old}[key])) && \
         {old}.all(key, key in {except} || key in {new})"
    )
}

/// Entries are compared by their place, which is that of their name: the API server lets no name be there twice. What
/// the API server allows an expression to cost is enough for some 500 entries.
fn webhooks(variables: &mut Vec<(String, String)>, validations: &mut Vec<Validation>) {
    let each = |comparison: String| {
        format!(
            "variables.names != variables.oldNames || variables.entries.all(entry, \
             [variables.oldNames.indexOf(entry.name)].all(place, {comparison}))"
        )
    };
    variables.extend([
        variable("entries", "dyn(object.?webhooks.orValue([]))"),
        variable("oldEntries", "dyn(oldObject.?webhooks.orValue([]))"),
        variable("names", "variables.entries.map(entry, string(entry.name))"),
        variable("oldNames", "variables.oldEntries.map(entry, string(entry.name))"),
    ]);
    let old = "variables.oldEntries[place]";
    validations.extend([
        update(
            "variables.names == variables.oldNames",
            "webhooks: the cainjector does not add, remove or move entries",
        ),
        update(
            each(same("entry", old, &["clientConfig"])),
            "webhooks[]: of an entry the cainjector writes clientConfig.caBundle alone",
        ),
        update(
            each(same("entry.clientConfig", &format!("{old}.clientConfig"), &["caBundle"])),
            "webhooks[].clientConfig: the cainjector writes caBundle alone",
        ),
    ]);
    let bundle = |entry: &str| format!("string({entry}.clientConfig.?caBundle.orValue(''))");
    let judged = |rule: &Rule<'_>| each(rule(&bundle("entry"), &bundle(old)));
    validations.extend(bundle_rules("webhooks[].clientConfig.caBundle", Encoding::Base64, judged));
}

/// The member of a level, if it is there.
fn member(level: &str, name: &str) -> String {
    // Others may be words of the language.
    match STEPS.contains(&name) {
        true => format!("{level}.?{name}"),
        false => format!("{level}[?'{name}']"),
    }
}

/// Each map on the way to the bundle is compared, from the first member of the object in `path` to the last but one, except
/// for its member that is the next on the way.
fn below(
    path: &[&str],
    encoding: Encoding,
    variables: &mut Vec<(String, String)>,
    validations: &mut Vec<Validation>,
) {
    let Some((root, steps)) = path.split_first() else { return };
    let content = |object: &str| match *root {
        // Nearly every kind has one; an object without it is not written.
        "spec" => format!("{object}.spec"),
        "data" => format!("{object}.?data.orValue({{}})"),
        other => format!("dyn({object})[?'{other}'].orValue({{}})"),
    };
    let (mut new, mut old) = (content("object"), content("oldObject"));
    let mut path = (*root).to_owned();
    for (depth, next) in steps.iter().copied().enumerate() {
        let (name, old_name) = (format!("level{depth}"), format!("oldLevel{depth}"));
        variables
            .extend([variable(&name, format!("dyn({new})")), variable(&old_name, format!("dyn({old})"))]);
        let (level, old_level) = (format!("variables.{name}"), format!("variables.{old_name}"));
        let told = format!("{path}: the cainjector writes nothing here but its bundle");
        validations.push(update(same(&level, &old_level, &[next]), told));
        path = format!("{path}.{next}");
        if depth + 1 == steps.len() {
            let bundle = |level: &str| format!("string({}.orValue(''))", member(level, next));
            let judged = |rule: &Rule<'_>| rule(&bundle(&level), &bundle(&old_level));
            validations.extend(bundle_rules(&path, encoding, judged));
        }
        let deeper = |level: &str| format!("{}.orValue({{}})", member(level, next));
        (new, old) = (deeper(&level), deeper(&old_level));
    }
}

/// What must hold of a new bundle and the old one, given their expressions.
type Rule<'a> = dyn Fn(&str, &str) -> String + 'a;

/// What the bundle at `path` may become; `judged` gives a rule the expressions of the new bundle and of the old one. One
/// that stays is not looked at, since somebody else may have written it.
fn bundle_rules(path: &str, encoding: Encoding, judged: impl Fn(&Rule<'_>) -> String) -> [Validation; 2] {
    let (key, begin) = match encoding {
        Encoding::Base64 => (list(PRIVATE_KEY), BEGIN_CERTIFICATE),
        Encoding::Text => (list(&["PRIVATE KEY"]), "-----BEGIN CERTIFICATE-----"),
    };
    let is_free = judged(&|new, old| format!("{new} == {old} || !{key}.exists(part, {new}.contains(part))"));
    let is_right = judged(&|new, old| {
        format!("{new} == {old} || ({new} == '' ? variables.releases : {new}.startsWith('{begin}'))")
    });
    [
        update(is_free, format!("{path}: a private key; the cainjector writes certificates alone")),
        update(
            is_right,
            format!("{path}: the cainjector writes certificates in PEM, and takes none out unasked"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn base64(text: &str) -> String {
        let encoded = serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap();
        encoded.as_str().unwrap().to_owned()
    }

    #[test]
    fn every_kind_that_gets_bundles_has_a_policy() {
        for kind in TargetKind::ALL {
            let resource = kind.resource();
            let policy = Policy::of(*kind).unwrap();
            let found = [policy.group, policy.version, policy.plural];
            assert_eq!(found, [&*resource.group, &*resource.version, kind.plural()]);
        }
    }

    #[test]
    fn a_private_key_is_seen_wherever_it_begins() {
        for before in 0..6 {
            for name in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
                let text = format!("{}-----BEGIN {name}-----\nMIGH\n", "x".repeat(before));
                let encoded = base64(&text);
                assert!(PRIVATE_KEY.iter().any(|part| encoded.contains(part)), "{text:?} is {encoded}");
            }
        }
        let certificate = base64("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        assert!(!PRIVATE_KEY.iter().any(|part| certificate.contains(part)));
        assert!(certificate.starts_with(BEGIN_CERTIFICATE));
    }

    #[test]
    fn every_policy_fails_closed_and_refuses_what_is_no_update_first() {
        for policy in POLICIES {
            let spec = policy.spec();
            assert_eq!(spec["failurePolicy"], "Fail", "{}", policy.plural);
            let validations = spec["validations"].as_array().unwrap();
            let expressions: Vec<_> = validations.iter().map(|v| v["expression"].as_str().unwrap()).collect();
            let (first, others) = expressions.split_first().unwrap();
            assert_eq!(
                *first,
                "request.operation == 'UPDATE' && (!has(request.subResource) || request.subResource == '')"
            );
            for other in others {
                assert!(other.starts_with("request.operation != 'UPDATE' || ("), "{other}");
            }
        }
    }

    fn validations_of(spec: &Value) -> impl Iterator<Item = &str> {
        spec["validations"].as_array().unwrap().iter().map(|each| each["expression"].as_str().unwrap())
    }

    #[test]
    fn a_declared_field_is_all_that_may_change() {
        let declared: CustomTarget = "example.test/v2/meshes:spec.in.ca-bundle:pem".parse().unwrap();
        let policy = Policy::of(TargetKind::Custom(Box::leak(Box::new(declared)))).unwrap();
        let spec = policy.spec();
        let rule = &spec["matchConstraints"]["resourceRules"][0];
        assert_eq!(
            *rule,
            json!({"apiGroups": ["example.test"], "apiVersions": ["v2"],
                "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["meshes", "meshes/*"]})
        );
        let variables = spec["variables"].as_array().unwrap().iter();
        let variables: Vec<_> = variables.map(|variable| variable["expression"].as_str().unwrap()).collect();
        assert!(variables.contains(&"dyn(object.spec)"), "{variables:#?}");
        assert!(variables.contains(&"dyn(variables.level0[?'in'].orValue({}))"), "{variables:#?}");
        let outside = validations_of(&spec).find(|rule| rule.contains("dyn(object).all(")).unwrap();
        assert!(outside.contains("key in ['metadata', 'spec'] ||"), "its status could be forged: {outside}");
        let validations = spec["validations"].as_array().unwrap().iter();
        let told: Vec<_> = validations.map(|each| each["message"].as_str().unwrap()).collect();
        for expected in [
            "metadata.labels: this object has no label cainjector.cert-manager.io/inject: \"true\"",
            "the cainjector writes nothing outside of spec",
            "spec: the cainjector writes nothing here but its bundle",
            "spec.in: the cainjector writes nothing here but its bundle",
            "spec.in.ca-bundle: a private key; the cainjector writes certificates alone",
        ] {
            assert!(told.contains(&expected), "{told:#?}");
        }
    }

    #[test]
    fn members_are_compared_in_both_directions() {
        let expected = "a.all(key, key in ['x', 'y'] || (key in b && a[key] == b[key])) && \
                        b.all(key, key in ['x', 'y'] || key in a)";
        assert_eq!(same("a", "b", &["x", "y"]), expected);
    }
}
