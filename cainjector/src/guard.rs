//! Whether the API server holds this account to its task. RBAC cannot: who may patch a ConfigMap may put anything into it.
//! So no bundle goes into a kind that the operator has added, unless its [`Policy`] is there and denies.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};
use runtime::watch::{Failure, ObjectName};
use serde_json::{Value, json};

use crate::policy::Policy;
use crate::target::TargetKind;

/// How the user names of service accounts begin, before namespace and name.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Who this process is to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its user name.
    user: String,
    /// Name of the ConfigMap that it keeps for itself, where that is not made of its own name.
    own: Option<String>,
}

/// Why a kind that the operator has added gets no bundles.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The API server does not say who we are.
    #[error("cannot find out which account this process has")]
    Account(#[source] kube::Error),
    /// What is there cannot be seen.
    #[error("cannot list the {plural}, and so not see whether they hold this account to its task")]
    List {
        /// What was listed.
        plural: String,
        /// Why that failed; a 403 is for want of the right to list them.
        source: kube::Error,
    },
    /// What is there is not what is needed.
    #[error(
        "nothing holds {user} to its task in {plural}: no ValidatingAdmissionPolicy is what this version of the \
         cainjector needs, with a binding that denies; leave out {flag}, or apply what `signet-cainjector policies \
         {account} {flag}` prints"
    )]
    Unheld {
        /// The account.
        user: String,
        /// The kind.
        plural: &'static str,
        /// The flag that adds it.
        flag: String,
        /// The flags that name the account, and what it keeps for itself, to the command.
        account: String,
    },
}

impl GuardError {
    /// Whether the API server has said so.
    pub fn is_an_answer(&self) -> bool {
        match self {
            Self::Unheld { .. } => true,
            Self::Account(source) | Self::List { source, .. } => Failure::from(source).is_forbidden(),
        }
    }

    /// All of it on one line.
    pub fn told(&self) -> String {
        match self {
            Self::Unheld { .. } => self.to_string(),
            Self::Account(source) | Self::List { source, .. } => format!("{self}: {}", Failure::from(source)),
        }
    }
}

/// Looks whether this account is held to its task in one kind.
pub struct Guard {
    client: Client,
    policy: Policy,
    own: Option<String>,
    account: Option<Account>,
}

impl Guard {
    /// That of a kind; `None`: no policy can hold anybody to anything there. `own` is the ConfigMap that this process keeps
    /// for itself, where that is not made of its account's name.
    pub fn of(client: Client, kind: TargetKind, own: Option<String>) -> Option<Self> {
        Some(Self { client, policy: Policy::of(kind)?, own, account: None })
    }

    /// The account, if the policy is there and denies.
    ///
    /// # Errors
    /// When it is not there, is another one or does not deny; or when that cannot be found out.
    pub async fn look(&mut self) -> Result<Account, GuardError> {
        let account = match self.account.take() {
            Some(account) => account,
            None => Account::of(&self.client).await?.keeping(self.own.clone()),
        };
        let account = self.account.insert(account).clone();
        let policies = list::<ValidatingAdmissionPolicy>(&self.client).await?;
        let bindings = list::<ValidatingAdmissionPolicyBinding>(&self.client).await?;
        if is_held(&account.spec(self.policy), &policies, &bindings) {
            return Ok(account);
        }
        let flags = account.flags(self.policy);
        Err(GuardError::Unheld {
            user: account.user,
            plural: self.policy.plural,
            flag: self.policy.flag(),
            account: flags,
        })
    }
}

impl Account {
    async fn of(client: &Client) -> Result<Self, GuardError> {
        let reviews = Api::<SelfSubjectReview>::all(client.clone());
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let status = review.map_err(GuardError::Account)?.status;
        let user = status.and_then(|status| status.user_info).and_then(|info| info.username);
        Ok(Self::user(user.unwrap_or_default()))
    }

    /// That of a user.
    pub fn user(user: impl Into<String>) -> Self {
        Self { user: user.into(), own: None }
    }

    /// That of a ServiceAccount.
    pub fn service(namespace: &str, name: &str) -> Self {
        Self::user(format!("{SERVICE_ACCOUNT}{namespace}:{name}"))
    }

    /// The same; it keeps a ConfigMap of this name for itself. `None`: the one that has the account's name.
    #[must_use]
    pub fn keeping(self, own: Option<String>) -> Self {
        Self { own, ..self }
    }

    /// The flags that name it, and what it keeps for itself, to the command that prints policies.
    fn flags(&self, policy: Policy) -> String {
        let account = match self.service_account() {
            Some((namespace, name)) => format!("--service-account={namespace}/{name}"),
            None => format!("--user={}", self.user),
        };
        match &self.own {
            Some(own) if is_of_config_maps(policy) => format!("{account} --memory-configmap={own}"),
            _ => account,
        }
    }

    /// Namespace and name, if it is a service account.
    fn service_account(&self) -> Option<(&str, &str)> {
        self.user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')
    }

    /// The ConfigMap that a service account may keep for itself: nothing is injected there, and no policy judges it.
    pub fn own(&self) -> Option<ObjectName> {
        let (namespace, name) = self.service_account()?;
        let own = self.own.clone().unwrap_or_else(|| format!("{name}-memory"));
        Some(ObjectName::namespaced(namespace, own))
    }

    /// The `spec` of a policy that judges this account.
    pub fn spec(&self, policy: Policy) -> Value {
        let user = quotable(&self.user);
        let mut conditions = vec![json!({
            "name": "is-by-the-cainjector",
            "expression": format!("request.userInfo.username == '{user}'"),
        })];
        if let Some(own) = self.own().filter(|_| is_of_config_maps(policy)) {
            let (namespace, name) = (quotable(&own.namespace.unwrap_or_default()), quotable(&own.name));
            conditions.push(json!({
                "name": "is-not-its-memory",
                "expression": format!("request.namespace != '{namespace}' || request.name != '{name}'"),
            }));
        }
        let mut spec = policy.spec();
        spec["matchConditions"] = Value::Array(conditions);
        spec
    }

    /// The policies and their bindings, JSON, under the names that our chart gives them.
    pub fn manifest(&self, policies: impl IntoIterator<Item = Policy>) -> String {
        let items: Vec<Value> = policies.into_iter().flat_map(|policy| self.objects(policy)).collect();
        format!("{:#}\n", json!({"apiVersion": "v1", "kind": "List", "items": items}))
    }

    fn objects(&self, policy: Policy) -> [Value; 2] {
        let account = self.service_account().map_or("cainjector", |(_, name)| name);
        let name = format!("{account}-{}", policy.name());
        let object = |resource: &ApiResource, spec: Value| {
            json!({
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": {"name": name},
                "spec": spec,
            })
        };
        let binding = json!({"policyName": name, "validationActions": ["Deny"]});
        [
            object(&ApiResource::erase::<ValidatingAdmissionPolicy>(&()), self.spec(policy)),
            object(&ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()), binding),
        ]
    }
}

fn is_of_config_maps(policy: Policy) -> bool {
    policy.name() == TargetKind::ConfigMap.plural()
}

/// A text for between the quotes of an expression.
fn quotable(text: &str) -> String {
    text.replace('\\', r"\\").replace('\'', r"\'")
}

async fn list<K: Resource<DynamicType = ()>>(client: &Client) -> Result<Vec<DynamicObject>, GuardError> {
    let resource = ApiResource::erase::<K>(&());
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(source) => Err(GuardError::List { plural: resource.plural, source }),
    }
}

/// Whether some account is held to its task in a kind: who looks need not have the injector's.
///
/// # Errors
/// When that cannot be seen.
pub async fn holds_anybody(client: &Client, policy: Policy) -> Result<bool, GuardError> {
    let mut policies = list::<ValidatingAdmissionPolicy>(client).await?;
    let bindings = list::<ValidatingAdmissionPolicyBinding>(client).await?;
    for stored in &mut policies {
        // Whose account it is.
        stored.data.get_mut("spec").and_then(Value::as_object_mut).map(|spec| spec.remove("matchConditions"));
    }
    Ok(is_held(&policy.spec(), &policies, &bindings))
}

/// Whether one of the policies is this one, and one of the bindings makes it deny everywhere.
fn is_held(wanted: &Value, policies: &[DynamicObject], bindings: &[DynamicObject]) -> bool {
    let same = policies.iter().filter(|policy| without_defaults(&policy.data["spec"]) == *wanted);
    let mut names = same.filter_map(|policy| policy.metadata.name.as_deref());
    names.any(|name| bindings.iter().any(|binding| denies(&binding.data["spec"], name)))
}

fn denies(binding: &Value, policy: &str) -> bool {
    let actions = binding["validationActions"].as_array();
    binding["policyName"] == policy
        && actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
        && binding["matchResources"].is_null()
        && binding["paramRef"].is_null()
}

/// The spec of a policy without what the API server adds to it.
fn without_defaults(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Some(constraints) = spec.get_mut("matchConstraints").and_then(Value::as_object_mut) else {
        return spec;
    };
    for (member, default) in [
        ("matchPolicy", json!("Equivalent")),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
    ] {
        if constraints.get(member) == Some(&default) {
            constraints.remove(member);
        }
    }
    let rules = constraints.get_mut("resourceRules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        if rule.get("scope").is_some_and(|scope| scope == "*") {
            rule.remove("scope");
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account::service("us", "injector")
    }

    fn object(name: &str, spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    /// The policy as the API server gives it back.
    fn stored() -> Value {
        let mut spec = account().spec(Policy::of(TargetKind::ConfigMap).unwrap());
        let constraints = &mut spec["matchConstraints"];
        constraints["matchPolicy"] = json!("Equivalent");
        constraints["namespaceSelector"] = json!({});
        constraints["objectSelector"] = json!({});
        constraints["resourceRules"][0]["scope"] = json!("*");
        spec
    }

    fn check(policy: &Value, binding: &Value, expected: bool) {
        let wanted = account().spec(Policy::of(TargetKind::ConfigMap).unwrap());
        let held = is_held(&wanted, &[object("p", policy)], &[object("b", binding)]);
        assert_eq!(held, expected, "{policy} {binding}");
    }

    /// An API server with the policy of ConfigMaps and its binding, or with neither.
    fn server(has_policies: bool) -> Client {
        let answer = move |request: http::Request<kube::client::Body>| {
            let path = request.uri().path().to_owned();
            let list = |name: &str, spec: &Value| match has_policies {
                true => json!({"metadata": {}, "items": [{"metadata": {"name": name}, "spec": spec}]}),
                false => json!({"metadata": {}, "items": []}),
            };
            let binding = json!({"policyName": "p", "validationActions": ["Deny"]});
            let body = match path.rsplit('/').next() {
                Some("selfsubjectreviews") => {
                    json!({"metadata": {}, "status": {"userInfo": {"username": account().user}}})
                }
                Some("validatingadmissionpolicies") => list("p", &stored()),
                _ => list("b", &binding),
            };
            let body = kube::client::Body::from(body.to_string().into_bytes());
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn without_its_policy_a_kind_is_refused_with_what_to_do() {
        let mut guard = Guard::of(server(false), TargetKind::ConfigMap, None).unwrap();
        let refused = guard.look().await.unwrap_err().to_string();
        assert_eq!(
            refused,
            "nothing holds system:serviceaccount:us:injector to its task in configmaps: no \
             ValidatingAdmissionPolicy is what this version of the cainjector needs, with a binding that denies; \
             leave out --inject-configmaps, or apply what `signet-cainjector policies \
             --service-account=us/injector --inject-configmaps` prints"
        );
        let mut guard = Guard::of(server(true), TargetKind::ConfigMap, None).unwrap();
        assert_eq!(guard.look().await.unwrap(), account());
        // That policy would deny what is written to a ConfigMap of another name.
        let mut guard = Guard::of(server(true), TargetKind::ConfigMap, Some("notes".to_owned())).unwrap();
        let refused = guard.look().await.unwrap_err().to_string();
        let cure = "`signet-cainjector policies --service-account=us/injector --memory-configmap=notes \
                    --inject-configmaps` prints";
        assert!(refused.ends_with(cure), "{refused}");
        let same = Some("injector-memory".to_owned());
        let mut guard = Guard::of(server(true), TargetKind::ConfigMap, same.clone()).unwrap();
        assert_eq!(guard.look().await.unwrap().own(), account().keeping(same).own());
        let bundles = account()
            .keeping(Some("notes".to_owned()))
            .flags(Policy::of(TargetKind::ClusterTrustBundle).unwrap());
        assert_eq!(bundles, "--service-account=us/injector");
    }

    #[tokio::test]
    async fn whose_policy_it_is_need_not_be_known_to_see_that_there_is_one() {
        let policy = Policy::of(TargetKind::ConfigMap).unwrap();
        assert!(!holds_anybody(&server(false), policy).await.unwrap());
        assert!(holds_anybody(&server(true), policy).await.unwrap());
        let other = Policy::of(TargetKind::ClusterTrustBundle).unwrap();
        assert!(!holds_anybody(&server(true), other).await.unwrap());
    }

    #[test]
    fn a_policy_that_lets_more_pass_does_not_count() {
        let binding = json!({"policyName": "p", "validationActions": ["Deny"]});
        for (pointer, value) in [
            ("/failurePolicy", json!("Ignore")),
            ("/matchConstraints/namespaceSelector", json!({"matchLabels": {"a": "b"}})),
            ("/matchConstraints/matchPolicy", json!("Exact")),
            ("/matchConstraints/resourceRules/0/scope", json!("Cluster")),
            ("/matchConditions/0/expression", json!("false")),
            ("/validations/1/expression", json!("true")),
            ("/validations", json!([])),
        ] {
            let mut policy = stored();
            *policy.pointer_mut(pointer).unwrap() = value;
            check(&policy, &binding, false);
        }
        check(&Value::Null, &binding, false);
    }

    #[test]
    fn a_binding_that_does_not_deny_everywhere_does_not_count() {
        for binding in [
            json!({"policyName": "other", "validationActions": ["Deny"]}),
            json!({"policyName": "p", "validationActions": ["Warn", "Audit"]}),
            json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "a"}}),
            json!({"policyName": "p", "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}),
        ] {
            check(&stored(), &binding, false);
        }
    }

    #[test]
    fn the_policy_that_the_chart_brings_counts_as_it_is_stored() {
        check(&stored(), &json!({"policyName": "p", "validationActions": ["Audit", "Deny"]}), true);
    }

    #[test]
    fn the_chart_gives_the_policy_the_same_conditions() {
        let template = include_str!("../../manifests/chart/templates/cainjector-policies.yaml");
        let spec = account().spec(Policy::of(TargetKind::ConfigMap).unwrap());
        for condition in spec["matchConditions"].as_array().unwrap() {
            let expression = condition["expression"].as_str().unwrap();
            let expression = expression
                .replace(
                    "serviceaccount:us:injector",
                    "serviceaccount:{{ $root.Release.Namespace }}:{{ $account }}",
                )
                .replace("'us'", "'{{ $root.Release.Namespace }}'")
                .replace("'injector-memory'", "'{{ $account }}-memory'");
            for line in [
                format!("- name: {}", condition["name"].as_str().unwrap()),
                format!("expression: {expression}"),
            ] {
                assert!(template.contains(&line), "{line}");
            }
        }
    }

    #[test]
    fn a_user_that_is_no_service_account_keeps_nothing_for_itself() {
        let user = Account::user("o'user");
        assert_eq!(user.own(), None);
        let conditions = &user.spec(Policy::of(TargetKind::ConfigMap).unwrap())["matchConditions"];
        assert_eq!(
            *conditions,
            json!([{"name": "is-by-the-cainjector", "expression": r"request.userInfo.username == 'o\'user'"}])
        );
    }

    #[test]
    fn what_is_to_be_applied_is_what_counts() {
        let policy = Policy::of(TargetKind::ClusterTrustBundle).unwrap();
        let manifest: Value = serde_json::from_str(&account().manifest([policy])).unwrap();
        let name = manifest["items"][0]["metadata"]["name"].as_str().unwrap();
        assert_eq!(name, "injector-clustertrustbundles");
        let objects = [0, 1].map(|item| object(name, &manifest["items"][item]["spec"]));
        assert!(is_held(&account().spec(policy), &objects[..1], &objects[1..]));
    }
}
