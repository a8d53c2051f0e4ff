//! Logins that are kept: one for all signatures, until two thirds of its lease are over or what it was made from changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use issuance::fingerprint::Fingerprint;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{Auth, Token};
use super::fault::Fault;

/// How long a login is kept that does not end by itself: its rights may have been changed meanwhile.
const KEPT_MAX: Duration = Duration::from_secs(3600);

/// A login that can be used.
#[derive(Debug)]
pub(super) struct Session {
    /// Its token.
    pub(super) token: Token,
    /// Until when it is used for new calls; `None`: for one call.
    until: Option<Instant>,
    /// What it was made from.
    inputs: Fingerprint,
}

impl Session {
    /// What a login at this moment brought.
    pub(super) fn new(auth: Auth, inputs: Fingerprint, now: Instant) -> Self {
        let lease = Duration::from_secs(auth.lease_duration);
        let kept = if lease.is_zero() { KEPT_MAX } else { lease.saturating_mul(2) / 3 };
        // Who has counted uses finds them used up by somebody else.
        let until = if auth.num_uses == 0 { now.checked_add(kept) } else { None };
        Self { token: auth.client_token, until, inputs }
    }

    fn is_good(&self, inputs: &Fingerprint, now: Instant) -> bool {
        self.inputs == *inputs && self.until.is_some_and(|until| now < until)
    }
}

/// A login, and whether it is new.
#[derive(Debug)]
pub(super) struct Got {
    /// The login.
    pub(super) session: Arc<Session>,
    /// It was made for this call.
    pub(super) is_fresh: bool,
}

/// The login of an issuer.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Locked for as long as somebody logs in: the others wait for what comes of it.
    slot: Mutex<Slot>,
    /// How many logins have failed.
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    session: Option<Arc<Session>>,
    /// What came of the last login that failed.
    failed: Option<(Fingerprint, Fault)>,
}

impl Sessions {
    /// The login that is kept for these inputs, or else a new one. Of several that ask at once one logs in, and its failure is
    /// that of all: whoever does not answer is not asked by each of them in turn.
    pub(super) async fn get(
        &self,
        inputs: Fingerprint,
        login: impl Future<Output = Result<Session, Fault>>,
    ) -> Result<Got, Fault> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut slot = self.slot.lock().await;
        if let Some(session) =
            slot.session.as_ref().filter(|session| session.is_good(&inputs, Instant::now()))
        {
            return Ok(Got { session: Arc::clone(session), is_fresh: false });
        }
        if self.failures.load(Ordering::Acquire) != failures
            && let Some((failed, fault)) = &slot.failed
            && *failed == inputs
        {
            return Err(fault.clone());
        }
        // The old one is erased before the new one is there.
        slot.session = None;
        match login.await {
            Ok(session) => {
                let session = Arc::new(session);
                slot.failed = None;
                slot.session = session.until.is_some().then(|| Arc::clone(&session));
                Ok(Got { session, is_fresh: true })
            }
            Err(fault) => {
                slot.failed = Some((inputs, fault.clone()));
                self.failures.fetch_add(1, Ordering::Release);
                Err(fault)
            }
        }
    }

    /// A login is not to be used again: it was not accepted.
    pub(super) async fn discard(&self, session: &Arc<Session>) {
        let mut slot = self.slot.lock().await;
        if slot.session.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, session)) {
            slot.session = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn auth(lease_duration: u64, num_uses: i64) -> Auth {
        Auth { client_token: Token::from("s.x".to_owned()), lease_duration, num_uses }
    }

    fn inputs(text: &str) -> Fingerprint {
        Fingerprint::of(text.as_bytes())
    }

    #[derive(Default)]
    struct Vault {
        sessions: Sessions,
        logins: AtomicUsize,
    }

    impl Vault {
        /// Whether there was a login for it.
        async fn logs_in(&self, from: &str, lease: u64, num_uses: i64) -> bool {
            let login = async {
                self.logins.fetch_add(1, Ordering::Relaxed);
                Ok(Session::new(auth(lease, num_uses), inputs(from), Instant::now()))
            };
            self.sessions.get(inputs(from), login).await.unwrap().is_fresh
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_is_kept_for_two_thirds_of_its_lease() {
        let check = async |lease, kept| {
            let vault = Vault::default();
            assert!(vault.logs_in("a", lease, 0).await);
            tokio::time::advance(Duration::from_secs(kept - 1)).await;
            assert!(!vault.logs_in("a", lease, 0).await, "{lease}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(vault.logs_in("a", lease, 0).await, "{lease}");
        };
        check(3, 2).await;
        check(2_764_800, 1_843_200).await;
        check(0, KEPT_MAX.as_secs()).await;
    }

    #[tokio::test]
    async fn a_login_that_cannot_be_kept_is_used_once() {
        let vault = Vault::default();
        assert!(vault.logs_in("a", u64::MAX, 1).await && vault.logs_in("a", 60, 1).await);
        assert!(vault.logs_in("a", u64::MAX, 0).await);
    }

    #[tokio::test]
    async fn what_a_login_was_made_from_must_be_the_same() {
        let vault = Vault::default();
        assert!(vault.logs_in("a", 60, 0).await);
        assert!(vault.logs_in("b", 60, 0).await);
        assert!(!vault.logs_in("b", 60, 0).await);
    }

    #[tokio::test]
    async fn a_login_that_was_discarded_is_not_used_again_and_a_newer_one_stays() {
        let sessions = Sessions::default();
        let login = async || Ok(Session::new(auth(60, 0), inputs("a"), Instant::now()));
        let first = sessions.get(inputs("a"), login()).await.unwrap().session;
        sessions.discard(&first).await;
        let second = sessions.get(inputs("a"), login()).await.unwrap();
        assert!(second.is_fresh);
        // Somebody who used the first one is told late.
        sessions.discard(&first).await;
        assert!(!sessions.get(inputs("a"), login()).await.unwrap().is_fresh);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_need_a_login_one_logs_in() {
        let (vault, tried) = (Vault::default(), AtomicUsize::new(0));
        let slow = || async {
            tried.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
            Err(Fault::Account("no".to_owned()))
        };
        let began = Instant::now();
        let all = futures::future::join_all((0..32).map(|_| vault.sessions.get(inputs("a"), slow()))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!((tried.load(Ordering::Relaxed), began.elapsed().as_secs()), (1, 10));
        // Who asks later tries itself.
        assert!(vault.sessions.get(inputs("a"), slow()).await.is_err());
        assert_eq!(tried.load(Ordering::Relaxed), 2);
        let all = futures::future::join_all((0..32).map(|_| vault.logs_in("a", 60, 0))).await;
        assert_eq!(all.iter().filter(|is_fresh| **is_fresh).count(), 1);
    }

    #[tokio::test]
    async fn a_login_that_is_given_up_leaves_the_next_one_free() {
        let vault = Vault::default();
        let mut never = Box::pin(vault.sessions.get(inputs("a"), std::future::pending()));
        assert!(futures::poll!(never.as_mut()).is_pending());
        drop(never);
        assert!(vault.logs_in("a", 60, 0).await);
    }
}
