//! The passwords of keystores: which Secrets hold them, whether they are there, and what they are when they are needed.

use std::collections::BTreeSet;

use api::SecretKeySelector;
use api::certificate::{InlinePassword, Pkcs12Profile};
use issuance::key::KeyEncoding;
use issuance::keystore::Password;
use issuance::keystore::pkcs12::Profile;
use issuance::outcome::causes;
use issuance::secret_data::{Jks, Layout, OutputFormat, Pkcs12};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use runtime::watch::{Failure, ObjectName, State};
use zeroize::Zeroize as _;

use crate::certificate::snapshot::Passwords;
use crate::certificate::spec;
use crate::certificate::view::CertificateView;

/// What is kept of a Secret with passwords: not these.
#[derive(Debug, PartialEq, Eq)]
pub struct PasswordSecret {
    /// Its entries that are not empty.
    pub entries: BTreeSet<String>,
    /// `metadata.resourceVersion`.
    pub version: String,
}

impl PasswordSecret {
    /// What there is to know of `secret`, whose data is erased.
    pub fn take(mut secret: Secret) -> Self {
        let data = secret.data.take().unwrap_or_default();
        let mut entries = BTreeSet::new();
        for (name, mut value) in data {
            if !value.0.is_empty() {
                entries.insert(name);
            }
            value.0.zeroize();
        }
        Self { entries, version: secret.metadata.resource_version.unwrap_or_default() }
    }
}

/// Where the passwords of a Certificate's keystores are.
fn selectors(view: &CertificateView) -> Vec<&SecretKeySelector> {
    let Some(keystores) = &view.spec.keystores else { return Vec::new() };
    let jks = keystores.jks.as_ref().filter(|jks| jks.create && inline(jks.password.as_ref()).is_none());
    let pkcs12 = keystores.pkcs12.as_ref();
    let pkcs12 = pkcs12.filter(|pkcs12| pkcs12.create && inline(pkcs12.password.as_ref()).is_none());
    let jks = jks.and_then(|jks| jks.password_secret_ref.as_ref());
    jks.into_iter().chain(pkcs12.and_then(|pkcs12| pkcs12.password_secret_ref.as_ref())).collect()
}

/// The Secrets with passwords that a Certificate needs, each once.
pub fn secrets(view: &CertificateView) -> BTreeSet<ObjectName> {
    let namespace = &view.name.namespace;
    let name = |selector: &SecretKeySelector| ObjectName {
        namespace: namespace.clone(),
        name: selector.name.clone(),
    };
    selectors(view).into_iter().map(name).collect()
}

/// Whether the passwords of a Certificate are there, given what is known of each Secret.
pub fn known(view: &CertificateView, state: impl Fn(&ObjectName) -> State<PasswordSecret>) -> Passwords {
    for selector in selectors(view) {
        let secret = ObjectName { namespace: view.name.namespace.clone(), name: selector.name.clone() };
        let entry = entry(selector);
        match state(&secret) {
            State::Pending => return Passwords::Pending,
            State::Absent => {
                return Passwords::Missing(format!(
                    "Secret {:?} with the password of a keystore does not exist; create it with entry {entry:?}",
                    secret.name
                ));
            }
            State::Failed(failure) => {
                return Passwords::Missing(format!(
                    "Secret {:?} with the password of a keystore cannot be read: {failure}",
                    secret.name
                ));
            }
            State::Present(there) if !there.entries.contains(entry) => {
                return Passwords::Missing(format!(
                    "Secret {:?} has no entry {entry:?} with the password of a keystore; add it",
                    secret.name
                ));
            }
            State::Present(_) => {}
        }
    }
    Passwords::Known
}

/// What the keystores of a Certificate are made with. Not printed; erased when dropped.
#[derive(Default)]
pub struct Keystores {
    pkcs12: Option<(Profile, Password)>,
    jks: Option<(String, Password)>,
}

impl Keystores {
    /// Reads the passwords as they are now.
    ///
    /// # Errors
    /// Which one cannot be had or used, and why.
    pub async fn read(client: &Client, view: &CertificateView) -> Result<Self, String> {
        let Some(keystores) = &view.spec.keystores else { return Ok(Self::default()) };
        let mut read = Self::default();
        if let Some(jks) = keystores.jks.as_ref().filter(|jks| jks.create) {
            let password = password(client, view, &jks.password, jks.password_secret_ref.as_ref()).await?;
            read.jks = Some((jks.alias_or_default().to_owned(), password));
        }
        if let Some(pkcs12) = keystores.pkcs12.as_ref().filter(|pkcs12| pkcs12.create) {
            let from = pkcs12.password_secret_ref.as_ref();
            let password = password(client, view, &pkcs12.password, from).await?;
            read.pkcs12 = Some((profile(&pkcs12.profile_or_default()), password));
        }
        Ok(read)
    }

    /// What the Secret of a Certificate is to hold.
    pub fn layout<'a>(&'a self, encoding: KeyEncoding, formats: &'a [OutputFormat]) -> Layout<'a> {
        let pkcs12 = self.pkcs12.as_ref().map(|(profile, password)| Pkcs12 { profile: *profile, password });
        let jks = self.jks.as_ref().map(|(alias, password)| Jks { alias, password });
        Layout { encoding, formats, pkcs12, jks }
    }
}

/// Whether a Certificate has keystores.
pub fn are_wanted(view: &CertificateView) -> bool {
    let Some(keystores) = &view.spec.keystores else { return false };
    keystores.jks.as_ref().is_some_and(|jks| jks.create)
        || keystores.pkcs12.as_ref().is_some_and(|pkcs12| pkcs12.create)
}

async fn password(
    client: &Client,
    view: &CertificateView,
    given: &Option<InlinePassword>,
    from: Option<&SecretKeySelector>,
) -> Result<Password, String> {
    if let Some(text) = inline(given.as_ref()) {
        return Password::new(text.as_bytes()).map_err(|error| causes(&error));
    }
    let selector = from.ok_or("a keystore has neither password nor passwordSecretRef; set one of them")?;
    let namespace = view.name.namespace.as_deref().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (name, entry) = (&selector.name, entry(selector));
    let found = api.get_opt(name).await.map_err(|error| Failure::from(&error));
    let found =
        found.map_err(|failure| format!("Secret {name:?} with a password cannot be read: {failure}"))?;
    let mut data = found.and_then(|secret| secret.data).unwrap_or_default();
    let password = match data.get(entry) {
        Some(value) => Password::new(&value.0)
            .map_err(|error| format!("entry {entry:?} of Secret {name:?}: {}", causes(&error))),
        None => Err(format!("Secret {name:?} has no entry {entry:?} with the password of a keystore")),
    };
    data.values_mut().for_each(|value| value.0.zeroize());
    password
}

fn inline(given: Option<&InlinePassword>) -> Option<&str> {
    given.map(InlinePassword::expose).filter(|text| !text.is_empty())
}

fn entry(selector: &SecretKeySelector) -> &str {
    selector.key.as_deref().unwrap_or_default()
}

fn profile(profile: &Pkcs12Profile) -> Profile {
    // What is no profile was refused at admission, and is written for old readers otherwise.
    profile.as_str().parse().unwrap_or(Profile::LegacyRc2)
}

/// The encoding and further forms of a Certificate's Secret.
pub fn forms(view: &CertificateView) -> (KeyEncoding, Vec<OutputFormat>) {
    (spec::encoding(&view.spec), spec::formats(&view.spec))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::certificate::metadata::Prefixes;

    fn view(keystores: &Value) -> CertificateView {
        let certificate = json!({"metadata": {"namespace": "a", "name": "web"},
            "spec": {"secretName": "tls", "keystores": keystores}});
        CertificateView::of(serde_json::from_value(certificate).unwrap(), &Prefixes::default())
    }

    fn both() -> CertificateView {
        let from = |name: &str| json!({"name": name, "key": "password"});
        view(&json!({"jks": {"create": true, "passwordSecretRef": from("one")},
            "pkcs12": {"create": true, "passwordSecretRef": from("two")}}))
    }

    #[test]
    fn a_password_that_is_missing_says_which() {
        let check = |state: fn() -> State<PasswordSecret>, expected: &str| match known(&both(), |_| state()) {
            Passwords::Missing(text) => assert!(text.contains(expected), "{text}"),
            other => panic!("{other:?}"),
        };
        check(|| State::Absent, "Secret \"one\" with the password of a keystore does not exist");
        check(|| State::Failed(Failure { code: Some(403), message: "no".to_owned() }), "cannot be read");
        let empty =
            || State::Present(Arc::new(PasswordSecret { entries: BTreeSet::new(), version: String::new() }));
        check(empty, "no entry \"password\"");
        assert_eq!(known(&both(), |_| State::Pending), Passwords::Pending);
    }

    #[test]
    fn only_keystores_that_are_made_need_a_password() {
        assert_eq!(secrets(&both()).len(), 2);
        let off = view(&json!({"jks": {"create": false, "passwordSecretRef": {"name": "one", "key": "p"}}}));
        assert!(secrets(&off).is_empty() && !are_wanted(&off));
        let given = view(&json!({"pkcs12": {"create": true, "password": "hunter2"}}));
        assert!(secrets(&given).is_empty() && are_wanted(&given));
        assert_eq!(known(&given, |_| State::Pending), Passwords::Known);
    }

    #[test]
    fn what_is_kept_of_a_secret_does_not_show_its_passwords() {
        let secret = json!({"metadata": {"resourceVersion": "3"},
            "data": {"password": "aHVudGVyMg==", "empty": ""}});
        let kept = PasswordSecret::take(serde_json::from_value(secret).unwrap());
        assert_eq!(kept.entries, BTreeSet::from(["password".to_owned()]));
        assert!(!format!("{kept:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn passwords_are_read_when_they_are_needed() {
        let check = async |keystores: Value, answer: Option<Value>, expected: Result<(), &str>| {
            let (status, body) = match answer {
                Some(data) => (
                    200,
                    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data}),
                ),
                None => {
                    (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}))
                }
            };
            let client = runtime::testing::client(move |_| {
                let text = body.to_string();
                async move {
                    http::Response::builder()
                        .status(status)
                        .body(kube::client::Body::from(text.into_bytes()))
                        .unwrap()
                }
            });
            match (Keystores::read(&client, &view(&keystores)).await, expected) {
                (Ok(_), Ok(())) => {}
                (Err(text), Err(expected)) => assert!(text.contains(expected), "{text}"),
                (read, _) => panic!("{:?}", read.err()),
            }
        };
        let jks = || json!({"jks": {"create": true, "passwordSecretRef": {"name": "s", "key": "p"}}});
        check(jks(), None, Err("no entry \"p\"")).await;
        check(jks(), Some(json!({"p": ""})), Err("must not be empty")).await;
        check(json!({"pkcs12": {"create": true}}), None, Err("neither password nor passwordSecretRef")).await;
        check(jks(), Some(json!({"p": "eA=="})), Ok(())).await;
        check(json!({"pkcs12": {"create": true, "password": "x"}}), None, Ok(())).await;
    }
}
