//! Whether a Vault issuer could sign now: the server is well, and lets it in (spec/issuance.md §8).
//!
//! A server that dies changes no object, so it is asked again and again. What came of it is remembered until then: the issuer
//! is looked at whenever its object changes, and its own status is part of that.

use http::StatusCode;
use issuance::fingerprint::Fingerprint;
use issuance::jitter::Jitter;
use jiff::{SignedDuration, Timestamp};
use runtime::lock::lock;
use serde::Deserialize;
use tokio::time::Instant;

use super::answer::{LookupAnswer, TokenFacts};
use super::client::{Call, Client};
use super::fault::{CallError, CallFault, Fault};
use super::settings::Login;
use super::{ATTEMPT_TIMEOUT, Admission, Gathered, VaultIssuer};
use crate::readiness::IssuerReadiness;

/// Pause between two looks at a server that is well; a tenth more or less, so that issuers do not look together.
const WELL_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// Pause after the first look at a server that is not; it doubles with each further one.
const UNWELL_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// The longest such pause.
const UNWELL_AGAIN_MAX: SignedDuration = SignedDuration::from_mins(5);

/// A token is told to expire soon when less than this part of its life is left: one in so many.
const LAST_PART: i32 = 3;

/// Something to be told although the issuer is ready: a word for machines and a text.
type Advice = (&'static str, String);

/// What came of the last look.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    last: Option<Last>,
    /// Looks in a row that showed a server that is not well.
    failures: u32,
    /// Looks.
    count: u64,
}

#[derive(Debug)]
struct Last {
    verdict: IssuerReadiness,
    /// What it was made from.
    inputs: Fingerprint,
    /// Until when it holds.
    until: Instant,
}

impl Judgement {
    /// The verdict, while it holds.
    fn still(&self, inputs: &Fingerprint) -> Option<IssuerReadiness> {
        let last = self.last.as_ref().filter(|last| last.inputs == *inputs && Instant::now() < last.until)?;
        Some(last.verdict.clone())
    }

    /// Remembers a verdict until it is time for the next look, and says in it when that is.
    fn remember(
        &mut self,
        mut verdict: IssuerReadiness,
        inputs: Fingerprint,
        seed: &str,
        now: Timestamp,
    ) -> IssuerReadiness {
        self.failures = if verdict.ready { 0 } else { self.failures.saturating_add(1) };
        self.count = self.count.wrapping_add(1);
        let pause = self.pause(seed);
        verdict.again = now.checked_add(pause).ok();
        let until = Instant::now().checked_add(pause.unsigned_abs());
        self.last = until.map(|until| Last { verdict: verdict.clone(), inputs, until });
        verdict
    }

    fn pause(&self, seed: &str) -> SignedDuration {
        let jitter = Jitter::of(&[seed.as_bytes(), &self.count.to_be_bytes()]);
        if self.failures == 0 {
            let spread = WELL_AGAIN / 10;
            return WELL_AGAIN - spread + jitter.within(spread * 2);
        }
        let doubled = 1_i32.checked_shl(self.failures - 1).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
        let pause = UNWELL_AGAIN.saturating_mul(doubled).min(UNWELL_AGAIN_MAX);
        pause - jitter.within(pause / 10)
    }
}

/// What a server says of its health.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Health {
    sealed: bool,
}

impl VaultIssuer {
    /// Whether it could sign now; the answer to the same question is remembered for a while.
    pub(super) async fn judge(&self, now: Timestamp) -> Option<IssuerReadiness> {
        let gathered = match self.gather() {
            Ok(gathered) => gathered,
            // A change of the Secret brings the issuer back.
            Err(fault) => return fault.readiness(),
        };
        let still = lock(&self.judgement).still(&gathered.all);
        if still.is_some() {
            return still;
        }
        let look = tokio::time::timeout(ATTEMPT_TIMEOUT, self.look(&gathered, now)).await;
        let verdict = match look.unwrap_or(Err(Fault::Late(ATTEMPT_TIMEOUT))) {
            Ok(advice) => {
                let text = format!("Vault at {} is well and lets the issuer in", self.settings.server);
                IssuerReadiness { advice, ..IssuerReadiness::ready("VaultVerified", text) }
            }
            Err(fault) if fault.is_outside() => fault.readiness()?,
            Err(fault) => return fault.readiness(),
        };
        let seed = self.id.to_string();
        Some(lock(&self.judgement).remember(verdict, gathered.all, &seed, now))
    }

    /// Looks at server and login; what somebody should know although both are well.
    async fn look(&self, gathered: &Gathered, now: Timestamp) -> Result<Option<Advice>, Fault> {
        let client = self.client(gathered)?;
        let endpoint = &self.settings.health;
        let failed = |fault| Fault::Health(CallError::of("the health check", endpoint, fault));
        let (status, body) = client.exchange(endpoint, Call::default()).await.map_err(failed)?;
        well(status, &body).map_err(failed)?;
        match self.admission(&client, gathered).await? {
            Admission::Given(token) => self.look_up(&client, &token, now).await,
            Admission::Session(_) => Ok(None),
        }
    }

    /// Whether Vault knows the token of the Secret. What else the token may do only the signing shows: not every policy lets
    /// it look at itself.
    async fn look_up(
        &self,
        client: &Client,
        token: &super::Token,
        now: Timestamp,
    ) -> Result<Option<Advice>, Fault> {
        let endpoint = &self.settings.lookup;
        let call =
            Call { namespace: self.settings.namespace.as_ref(), token: Some(token), ..Call::default() };
        let Login::Token(key) = &self.settings.login else { return Ok(None) };
        match client.call(endpoint, call).await {
            Ok(body) => {
                let answer: LookupAnswer = serde_json::from_slice(&body).unwrap_or_default();
                Ok(expires_soon(&answer.data, now).map(|at| {
                    let text = format!(
                        "the token in Secret {} expires at {at} and is not renewed; put another one there",
                        key.secret
                    );
                    ("TokenExpiresSoon", text)
                }))
            }
            Err(fault) => {
                let error = CallError::of("looking the token up", endpoint, fault);
                if error.is_of_invalid_token() {
                    Err(Fault::Token(error, key.secret.to_string()))
                } else if error.is_forbidden() {
                    Ok(None)
                } else {
                    Err(Fault::Login(error))
                }
            }
        }
    }
}

/// When a token ends, if the last part of its life has begun.
fn expires_soon(token: &TokenFacts, now: Timestamp) -> Option<Timestamp> {
    let at = token.expire_time?;
    let last_part = SignedDuration::from_secs(token.creation_ttl.max(0)) / LAST_PART;
    (at.duration_since(now) < last_part).then_some(at)
}

/// Whether a server with this answer to the health check can sign: the active one, or a standby that passes calls on to it.
fn well(status: StatusCode, body: &[u8]) -> Result<(), CallFault> {
    let health: Health = serde_json::from_slice(body).unwrap_or_default();
    let said = match status.as_u16() {
        200 | 429 | 472 | 473 => return Ok(()),
        501 => "Vault is not initialised; initialise and unseal it",
        503 if health.sealed => "Vault is sealed; unseal it",
        300..=399 => return Err(CallFault::Redirected(status.as_u16())),
        _ => "this is none of the answers of a Vault server that is well",
    };
    Err(CallFault::Refused { status: status.as_u16(), said: said.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_that_is_not_well_is_told_by_its_status() {
        let check = |status: u16, body: &str, expected: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let said = well(status, body.as_bytes()).map_err(|fault| fault.to_string());
            assert_eq!(said.err().unwrap_or_default(), expected, "{status} {body}");
        };
        let none = |status| {
            format!(
                "was refused with status {status}: this is none of the answers of a Vault server that is well"
            )
        };
        check(501, "{}", "was refused with status 501: Vault is not initialised; initialise and unseal it");
        check(503, r#"{"sealed":true}"#, "was refused with status 503: Vault is sealed; unseal it");
        check(503, "upstream connect error", &none(503));
        check(403, "{}", &none(403));
        check(204, "", &none(204));
        assert!(matches!(well(StatusCode::TEMPORARY_REDIRECT, b""), Err(CallFault::Redirected(307))));
        for status in [200, 429, 472, 473] {
            check(status, "{}", "");
        }
    }

    #[test]
    fn a_token_that_ends_is_told_in_the_last_third_of_its_life() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let check = |facts: serde_json::Value, is_told: bool| {
            let answer: LookupAnswer = serde_json::from_value(serde_json::json!({"data": facts})).unwrap();
            assert_eq!(expires_soon(&answer.data, now).is_some(), is_told, "{facts}");
        };
        let at = |seconds: i64| (now + SignedDuration::from_secs(seconds)).to_string();
        check(serde_json::json!({}), false);
        check(serde_json::json!({"expire_time": null, "creation_ttl": 0}), false);
        check(serde_json::json!({"expire_time": at(1200), "creation_ttl": 3600}), false);
        check(serde_json::json!({"expire_time": at(1199), "creation_ttl": 3600}), true);
        check(serde_json::json!({"expire_time": at(-1), "creation_ttl": 3600}), true);
        check(
            serde_json::json!({"expire_time": "2027-01-15T09:10:00.123456789+01:00", "creation_ttl": 3600}),
            true,
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_look_is_sooner_while_the_server_is_not_well() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let inputs = Fingerprint::of(b"a");
        let mut judgement = Judgement::default();
        let mut check = |verdict: &IssuerReadiness, seconds: std::ops::RangeInclusive<i64>| {
            let verdict = judgement.remember(verdict.clone(), inputs, "Issuer a/vault", now);
            let pause = verdict.again.unwrap().duration_since(now).as_secs();
            assert!(seconds.contains(&pause), "{pause} {seconds:?}");
            assert_eq!(judgement.still(&inputs), Some(verdict));
            assert_eq!(judgement.still(&Fingerprint::of(b"b")), None);
        };
        let well = IssuerReadiness::ready("VaultVerified", "m");
        let unwell = IssuerReadiness::unready("VaultError", "m");
        check(&well, 540..=660);
        check(&unwell, 5..=5);
        check(&unwell, 9..=10);
        check(&unwell, 18..=20);
        for _ in 0..100 {
            check(&unwell, 0..=300);
        }
        check(&unwell, 270..=300);
        check(&well, 540..=660);
        check(&unwell, 5..=5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_holds_until_the_next_look_is_due() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (mut judgement, inputs) = (Judgement::default(), Fingerprint::of(b"a"));
        judgement.remember(IssuerReadiness::unready("VaultError", "m"), inputs, "x", now);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(judgement.still(&inputs).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(judgement.still(&inputs).is_none());
    }
}
