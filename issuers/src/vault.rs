//! Issuers of type Vault: its PKI engine signs, for whom it let in (spec/issuance.md §8).
//!
//! [`settings`] is what the spec comes to, [`secrets`] what it refers to. [`client`] and [`tls`] call the server; [`answer`],
//! [`sign`] and [`health`] know what is said. [`login`] gets tokens, [`session`] keeps them. [`fault`] says what each failure
//! means for a request and for the issuer.

mod answer;
mod client;
mod fault;
mod health;
mod login;
mod secrets;
mod session;
mod settings;
mod sign;
#[cfg(any(test, feature = "testing"))]
pub mod stand_in;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::vault::VaultIssuer as Spec;
use futures::future::{BoxFuture, FutureExt as _};
use issuance::authority::Issued;
use issuance::fingerprint::Fingerprint;
use jiff::Timestamp;
use runtime::lock::lock;
use runtime::watch::{Failure, ObjectName};
use zeroize::Zeroizing;

use self::answer::Token;
use self::client::{Call, Client};
use self::fault::{CallError, Fault};
use self::health::Judgement;
use self::secrets::{Entry, fingerprint};
use self::session::{Got, Sessions};
use self::settings::{Login, Settings, Trust, Unusable};
use crate::issuer::{Issuer, Opened, Order};
use crate::material::Materials;
use crate::outcome::{IssuerId, Outcome};
use crate::readiness::IssuerReadiness;

/// Longest attempt, with login and signing. It ends before whoever asked gives up, so that the reason is told.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(25);

/// Gets tokens of service accounts.
pub trait AccountTokens: Send + Sync {
    /// A new token of this account, for these audiences and for [`ACCOUNT_TOKEN_SECONDS`]. Dropping the future gives up.
    fn token<'a>(
        &'a self,
        account: &'a ObjectName,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Zeroizing<String>, Failure>>;
}

/// Life of a service account's token: the shortest that the API server gives.
pub const ACCOUNT_TOKEN_SECONDS: u32 = 600;

/// What Vault issuers need of the cluster.
#[derive(Clone)]
pub struct Access {
    /// The Secrets that they refer to.
    pub materials: Arc<dyn Materials>,
    /// Tokens of the service accounts that they refer to.
    pub accounts: Arc<dyn AccountTokens>,
}

/// An issuer of type Vault.
pub struct VaultIssuer {
    id: IssuerId,
    settings: Settings,
    access: Access,
    /// Connections by the present configuration of TLS, and what that was made from.
    client: Mutex<Option<(Fingerprint, Client)>>,
    sessions: Sessions,
    judgement: Mutex<Judgement>,
}

/// Opens an issuer with this spec.
pub(crate) fn open(id: &IssuerId, spec: &Spec, cluster_resources: &str, access: &Access) -> Opened {
    match Settings::parse(id, spec, cluster_resources) {
        Ok(settings) => Opened::Issuer(Arc::new(VaultIssuer::new(id.clone(), settings, access.clone()))),
        Err(Unusable::Unsupported(type_)) => Opened::Unsupported { type_ },
        Err(Unusable::Malformed(message)) => Opened::Malformed { message },
    }
}

/// The Secrets that an issuer with this spec refers to, each once. One that cannot be used refers to none.
pub(crate) fn references(id: &IssuerId, spec: &Spec, cluster_resources: &str) -> Vec<ObjectName> {
    Settings::parse(id, spec, cluster_resources).map(|settings| settings.secrets()).unwrap_or_default()
}

/// What is there of the Secrets of an issuer.
struct Gathered {
    bundle: Option<Entry>,
    /// Certificate and key.
    shown: Option<(Entry, Entry)>,
    /// What the login needs.
    secret: Option<Entry>,
    /// Changes when TLS has to be set up anew.
    tls: Fingerprint,
    /// Changes when anything does.
    all: Fingerprint,
}

/// By what a call is allowed.
enum Admission {
    /// The token of a Secret.
    Given(Token),
    /// A login.
    Session(Got),
}

impl Admission {
    fn token(&self) -> &Token {
        match self {
            Self::Given(token) => token,
            Self::Session(got) => &got.session.token,
        }
    }
}

impl VaultIssuer {
    fn new(id: IssuerId, settings: Settings, access: Access) -> Self {
        let (client, sessions, judgement) = (Mutex::default(), Sessions::default(), Mutex::default());
        Self { id, settings, access, client, sessions, judgement }
    }

    async fn attempt(&self, order: &Order<'_>) -> Outcome {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, self.issue(order)).await;
        match attempt.unwrap_or(Err(Fault::Late(ATTEMPT_TIMEOUT))) {
            Ok(issued) => Outcome::Issued(issued),
            Err(fault) => fault.outcome(&self.id),
        }
    }

    async fn issue(&self, order: &Order<'_>) -> Result<Issued, Fault> {
        let gathered = self.gather()?;
        let client = self.client(&gathered)?;
        let admission = self.admission(&client, &gathered).await?;
        match (self.sign(&client, order, &admission).await, &admission) {
            // The token may have been revoked since, or its rights may have changed.
            (Err(error), Admission::Session(Got { session, is_fresh: false })) if error.is_forbidden() => {
                self.sessions.discard(session).await;
                let again = self.admission(&client, &gathered).await?;
                self.sign(&client, order, &again).await.map_err(Fault::Sign)
            }
            (Err(error), Admission::Given(_)) if error.is_of_invalid_token() => Err(self.not_known(error)),
            (signed, _) => signed.map_err(Fault::Sign),
        }
    }

    async fn sign(
        &self,
        client: &Client,
        order: &Order<'_>,
        admission: &Admission,
    ) -> Result<Issued, CallError> {
        let (token, endpoint) = (admission.token(), &self.settings.sign);
        let call = Call {
            namespace: self.settings.namespace.as_ref(),
            token: Some(token),
            body: sign::request(order),
            ..Call::default()
        };
        let answer = client.call(endpoint, call).await;
        let issued = answer.and_then(|answer| sign::issued(&answer, &[token.expose()]));
        issued.map_err(|fault| CallError::of("signing", endpoint, fault))
    }

    async fn admission(&self, client: &Client, gathered: &Gathered) -> Result<Admission, Fault> {
        if let (Login::Token(_), Some(secret)) = (&self.settings.login, &gathered.secret) {
            let token = Token::from(secret.text()?.to_owned());
            return if token.is_sendable() {
                Ok(Admission::Given(token))
            } else {
                Err(secret.invalid("a token has no spaces, lines or other such characters"))
            };
        }
        let login = login::login(client, &self.settings, gathered, self.access.accounts.as_ref());
        self.sessions.get(gathered.all, login).await.map(Admission::Session)
    }

    /// That Vault does not know the token of the Secret.
    fn not_known(&self, error: CallError) -> Fault {
        match &self.settings.login {
            Login::Token(key) => Fault::Token(error, key.secret.to_string()),
            _ => Fault::Sign(error),
        }
    }

    fn gather(&self) -> Result<Gathered, Fault> {
        let read = |key| Entry::read(self.access.materials.as_ref(), key);
        let bundle = match &self.settings.trust {
            Some(Trust::Secret(key)) => Some(read(key)?),
            Some(Trust::System | Trust::Given(_)) | None => None,
        };
        let shown = match &self.settings.identity {
            Some(identity) => Some((read(&identity.certificate)?, read(&identity.key)?)),
            None => None,
        };
        let secret = self.settings.login.secret().map(read).transpose()?;
        let pair = shown.iter().flat_map(|(certificate, key)| [certificate, key]);
        // Whether there is a bundle is the spec's to say, so the number of parts is always the same.
        let tls = fingerprint(bundle.iter().chain(pair).map(Entry::bytes));
        let all = fingerprint([tls.to_string().as_bytes(), secret.as_ref().map_or(&[], Entry::bytes)]);
        Ok(Gathered { bundle, shown, secret, tls, all })
    }

    fn client(&self, gathered: &Gathered) -> Result<Client, Fault> {
        let mut kept = lock(&self.client);
        if let Some((_, client)) = kept.as_ref().filter(|(inputs, _)| *inputs == gathered.tls) {
            return Ok(client.clone());
        }
        let Settings { trust, server_name, .. } = &self.settings;
        let tls = tls::config(trust.as_ref(), gathered.bundle.as_ref(), gathered.shown.as_ref())?;
        let client = Client::new(tls, server_name.clone());
        *kept = Some((gathered.tls, client.clone()));
        Ok(client)
    }
}

impl Issuer for VaultIssuer {
    fn sign<'a>(&'a self, order: &'a Order<'a>) -> BoxFuture<'a, Outcome> {
        self.attempt(order).boxed()
    }

    fn readiness(&self, now: Timestamp) -> BoxFuture<'_, Option<IssuerReadiness>> {
        self.judge(now).boxed()
    }
}
