//! Logins, each way by its own body (spec/issuance.md §8).

use std::time::Duration;

use runtime::watch::{Failure, ObjectName};
use serde::Serialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::answer::{Auth, LoginAnswer};
use super::client::{Call, Client, body};
use super::fault::{CallError, CallFault, Fault};
use super::secrets::Entry;
use super::session::Session;
use super::settings::{Endpoint, Login, Settings};
use super::{AccountTokens, Gathered};

/// How long the API server may take to make a token for a service account.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// Body of a login by AppRole.
#[derive(Serialize)]
struct AppRole<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

/// Body of a login by certificate; without a name every role is tried.
#[derive(Serialize)]
struct Certificate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// Body of a login by a service account's token.
#[derive(Serialize)]
struct Kubernetes<'a> {
    role: &'a str,
    jwt: &'a str,
}

/// Logs in anew.
pub(super) async fn login(
    client: &Client,
    settings: &Settings,
    gathered: &Gathered,
    accounts: &dyn AccountTokens,
) -> Result<Session, Fault> {
    let secret = || gathered.secret.as_ref().map(Entry::text).transpose().map(Option::unwrap_or_default);
    let jwt: Zeroizing<String>;
    let (endpoint, body, sent) = match &settings.login {
        // It needs no login, and so nobody gets here.
        Login::Token(key) => {
            return Err(Fault::Invalid(format!("spec.vault.{} needs no login", key.field)));
        }
        Login::AppRole { endpoint, role_id, .. } => {
            let secret_id = secret()?;
            (endpoint, body(&AppRole { role_id, secret_id }), secret_id)
        }
        Login::Certificate { endpoint, name } => (endpoint, body(&Certificate { name: name.as_deref() }), ""),
        Login::Kubernetes { endpoint, role, .. } => {
            let jwt = secret()?;
            (endpoint, body(&Kubernetes { role, jwt }), jwt)
        }
        Login::Account { endpoint, role, account, audiences } => {
            let token = tokio::time::timeout(ACCOUNT_TIMEOUT, accounts.token(account, audiences)).await;
            jwt = match token {
                Ok(Ok(token)) => token,
                Ok(Err(failure)) => return Err(no_token(account, &failure)),
                Err(_) => {
                    let text =
                        format!("the API server gave no token for {account} within {ACCOUNT_TIMEOUT:?}");
                    return Err(Fault::Account(text));
                }
            };
            (endpoint, body(&Kubernetes { role, jwt: &jwt }), jwt.as_str())
        }
    };
    // From here on the lease runs, at the latest.
    let began = Instant::now();
    let call = Call { namespace: settings.namespace.as_ref(), token: None, body, secrets: &[sent] };
    let answer = client.call(endpoint, call).await;
    let auth = answer.and_then(|answer| granted(&answer));
    let auth = auth.map_err(|fault| refused(endpoint, fault))?;
    Ok(Session::new(auth, gathered.all, began))
}

fn granted(answer: &[u8]) -> Result<Auth, CallFault> {
    // The reason may quote the answer, in which there is a token.
    let answer: LoginAnswer = serde_json::from_slice(answer).map_err(|error| {
        CallFault::Unusable(format!("it is not what a login is answered with ({:?})", error.classify()))
    })?;
    let auth = answer.auth.filter(|auth| auth.client_token.is_sendable());
    auth.ok_or_else(|| {
        CallFault::Unusable("it holds no token; a second factor cannot be asked for here".to_owned())
    })
}

fn refused(endpoint: &Endpoint, fault: CallFault) -> Fault {
    Fault::Login(CallError::of("login", endpoint, fault))
}

fn no_token(account: &ObjectName, failure: &Failure) -> Fault {
    let cure = match failure.code {
        Some(403) => {
            "; grant the controller create on serviceaccounts/token of this account, by a Role in its namespace"
        }
        Some(404) => "; create it, or correct spec.vault.auth.kubernetes.serviceAccountRef",
        _ => "",
    };
    Fault::Account(format!("no token can be got for service account {account}: {failure}{cure}"))
}
