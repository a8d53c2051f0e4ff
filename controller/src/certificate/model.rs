//! A world in which Certificates are issued, for tests: objects with versions, controllers that see it late and are cut off
//! between any two writes, an issuer with moods, users who edit and delete. Whatever happens in it, some things never do;
//! and once nobody interferes any more, it comes to rest.

use std::collections::BTreeMap;

use api::conditions::{self, Condition, ConditionStatus};
use issuance::authority::{Authority, Terms};
use issuance::key::PrivateKey;
use issuance::keystore::KeyEntry;
use issuance::outcome::Outcome;
use issuance::request::Request;
use issuance::temporary::Temporary;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::certificate::decide::{attempt_failed, decide};
use crate::certificate::fixture::{Case, LAYOUT, applied};
use crate::certificate::secret::{Key, KeySecretView, Pair, SecretView};
use crate::certificate::snapshot::IssuerFacts;
use crate::certificate::status::INVALID_CERTIFICATE;
use crate::certificate::step::{Decision, Step};
use crate::certificate::{body, checks, names, spec, store};
use crate::request::answer;
use crate::request::view::{RequestEnd, RequestView};
use crate::testing::{self, now};

/// Runs of the world, each with another seed.
const SEEDS: u64 = 60;

/// What happens in one run before everybody leaves the world alone.
const HAPPENINGS: usize = 120;

/// Looks after which it has to be at rest.
const LOOKS_MAX: usize = 60;

/// Numbers that look like chance and are the same for each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What is stored; [`Case`] is what one controller sees of it.
struct World {
    dice: Dice,
    version: u64,
    now: Timestamp,
    /// As it is.
    truth: Case,
    keys: BTreeMap<String, PrivateKey>,
    chains: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
    target_key: Option<PrivateKey>,
    ca: Authority,
    /// Failures that were recorded since the last success.
    failures: i64,
    /// All failures that were recorded.
    recorded: usize,
    /// All that there is to record: requests that were refused, and certificates that were of no use any more.
    refused: usize,
}

/// Why a controller stops in the middle.
struct CutOff;

impl World {
    fn new(seed: u64) -> Self {
        let mut truth = Case::new();
        truth.issuer = IssuerFacts::Ready { is_synchronous: seed.is_multiple_of(2) };
        Self {
            dice: Dice(seed),
            version: 10,
            now: now(),
            truth,
            keys: BTreeMap::new(),
            chains: BTreeMap::new(),
            target_key: None,
            ca: testing::ca("ca"),
            failures: 0,
            recorded: 0,
            refused: 0,
        }
    }

    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// A controller sees each kind of object as of now or as it was.
    fn view(&mut self, old: &Case) -> Case {
        let (truth, mut seen) = (&self.truth, Case::new());
        let mut late = || self.dice.one_in(4);
        seen.certificate = if late() { old.certificate.clone() } else { truth.certificate.clone() };
        seen.secret = if late() { old.secret.clone() } else { truth.secret.clone() };
        seen.keys = if late() { old.keys.clone() } else { truth.keys.clone() };
        seen.requests = if late() { old.requests.clone() } else { truth.requests.clone() };
        (seen.issuer, seen.now) = (truth.issuer, self.now);
        seen
    }

    /// One look of a controller: several turns, each after a write of its own, which it has seen then.
    fn look(&mut self, mut seen: Case, is_cut_off: bool) {
        for _ in 0..8 {
            let decision = decide(&seen.snapshot(), seen.now);
            let is_written = decision.status == seen.certificate.status;
            let done = if is_written {
                self.take(&seen, &decision.step, is_cut_off)
            } else {
                self.write_status(&seen, &decision)
            };
            if done.is_err() || (is_written && decision.step == Step::Rest) {
                return;
            }
            if is_cut_off && self.dice.one_in(3) {
                return;
            }
            let (truth, issuer) = (&self.truth, seen.issuer);
            seen = Case { now: self.now, issuer, ..Case::new() };
            seen.certificate = truth.certificate.clone();
            (seen.secret, seen.keys, seen.requests) =
                (truth.secret.clone(), truth.keys.clone(), truth.requests.clone());
        }
    }

    fn write_status(&mut self, seen: &Case, decision: &Decision) -> Result<(), CutOff> {
        if seen.certificate.version != self.truth.certificate.version {
            return Err(CutOff);
        }
        let before = &seen.certificate.status;
        if decision.status.revision != before.revision {
            assert_eq!(decision.status.failed_issuance_attempts, None);
            self.failures = 0;
        }
        if decision.status.failed_issuance_attempts > before.failed_issuance_attempts {
            self.failures += 1;
            self.recorded += 1;
            let issuing = conditions::find(&decision.status.conditions, conditions::ISSUING);
            assert!(issuing.is_some_and(|issuing| issuing.status == ConditionStatus::False), "{issuing:?}");
        }
        self.truth.certificate.status = decision.status.clone();
        self.truth.certificate.version = self.next_version();
        Ok(())
    }

    fn take(&mut self, seen: &Case, step: &Step, is_cut_off: bool) -> Result<(), CutOff> {
        match step {
            Step::Rest | Step::LookLive | Step::Repair => Ok(()),
            Step::Delete { keys, requests } => {
                for name in keys {
                    let uid = seen.keys.iter().find(|key| key.name == *name).map(|key| key.uid.clone());
                    self.truth.keys.retain(|key| key.name != *name || Some(&key.uid) != uid.as_ref());
                }
                for name in requests {
                    let uid = seen.requests.iter().find(|it| it.name.name == *name).map(|it| it.uid.clone());
                    self.truth.requests.retain(|it| it.name.name != *name || Some(&it.uid) != uid.as_ref());
                }
                Ok(())
            }
            Step::MakeKey { secret, reuse } => {
                let key = self.new_key(*reuse);
                self.create_key(secret, key)
            }
            Step::Request { revision, name, key_secret } => {
                let key = copy(self.keys.get(key_secret).ok_or(CutOff)?);
                self.create_request(seen, *revision, name, key_secret, &key)
            }
            Step::IssueAtOnce { revision, name, replace, reuse } => {
                self.issue_at_once(seen, (*revision, name), (*replace, *reuse), is_cut_off)
            }
            Step::Store { request, key_secret } => {
                let key = copy(self.live_key(key_secret)?);
                self.store(seen, request, &key)
            }
            Step::StoreTemporary { request, key_secret } => {
                let key = copy(self.live_key(key_secret)?);
                let request = self.live_request(request)?;
                let asked = Request::from_pem(&request.spec.csr).map_err(|_| CutOff)?;
                if asked.public_key() != key.public_key() {
                    return Err(CutOff);
                }
                let temporary = Temporary::sign(&asked, &Terms::default(), self.now).unwrap();
                let contents =
                    store::temporary_contents("web", &key, temporary.chain(), &LAYOUT, self.now).unwrap();
                self.write_secret(contents, &key);
                Ok(())
            }
        }
    }

    fn issue_at_once(
        &mut self,
        seen: &Case,
        (revision, name): (i64, &str),
        (replace, reuse): (bool, bool),
        is_cut_off: bool,
    ) -> Result<(), CutOff> {
        let cut = |world: &mut Self| if is_cut_off && world.dice.one_in(4) { Err(CutOff) } else { Ok(()) };
        if replace {
            self.take(seen, &Step::Delete { keys: Vec::new(), requests: vec![name.to_owned()] }, is_cut_off)?;
            cut(self)?;
        }
        let (key, key_secret) = (self.new_key(reuse), names::key_secret("web", revision));
        self.create_request(seen, revision, name, &key_secret, &key)?;
        cut(self)?;
        let outcome = self.outcome(name)?;
        self.answer(name, &outcome)?;
        cut(self)?;
        match outcome {
            Outcome::Issued(_) => self.store(seen, name, &key),
            Outcome::Terminal { .. } => Ok(()),
            Outcome::Wait { .. } | Outcome::Retry { .. } => self.create_key(&key_secret, key),
        }
    }

    fn new_key(&self, reuse: bool) -> PrivateKey {
        self.target_key.as_ref().filter(|_| reuse).map_or_else(testing::key, copy)
    }

    fn create_key(&mut self, name: &str, key: PrivateKey) -> Result<(), CutOff> {
        if self.truth.keys.iter().any(|there| there.name == name) {
            return Err(CutOff);
        }
        let body = body::key_secret(&self.truth.certificate, name, &key);
        let view = KeySecretView::take(serde_json::from_value::<Secret>(body).unwrap());
        let uid = self.next_version();
        self.truth.keys.push(KeySecretView { uid, created: self.now, ..view });
        self.keys.insert(name.to_owned(), key);
        Ok(())
    }

    fn create_request(
        &mut self,
        seen: &Case,
        revision: i64,
        name: &str,
        key_secret: &str,
        key: &PrivateKey,
    ) -> Result<(), CutOff> {
        if self.truth.requests.iter().any(|there| there.name.name == name) {
            return Err(CutOff);
        }
        let wanted = spec::wanted(&seen.certificate.spec, seen.policy.gates).map_err(|_| CutOff)?;
        let asked = Request::build(&wanted.request, key).map_err(|_| CutOff)?;
        let body = body::request(&seen.certificate, revision, name, key_secret, &asked);
        let view = RequestView::of(serde_json::from_value(body).unwrap());
        let (uid, version) = (self.next_version(), self.next_version());
        self.truth.requests.push(RequestView { uid, version, created: self.now, ..view });
        Ok(())
    }

    fn live_key(&self, name: &str) -> Result<&PrivateKey, CutOff> {
        let is_there = self.truth.keys.iter().any(|key| key.name == name);
        self.keys.get(name).filter(|_| is_there).ok_or(CutOff)
    }

    fn live_request(&self, name: &str) -> Result<RequestView, CutOff> {
        self.truth.requests.iter().find(|request| request.name.name == name).cloned().ok_or(CutOff)
    }

    fn store(&mut self, seen: &Case, name: &str, key: &PrivateKey) -> Result<(), CutOff> {
        let request = self.live_request(name)?;
        let (chain, ca) = self.chains.get(&request.uid).cloned().ok_or(CutOff)?;
        if checks::key_of(&request).as_ref() != Some(key.public_key()) {
            return Err(CutOff);
        }
        let issued = match store::checked(&request.spec, &chain, &ca, self.now) {
            Ok(issued) => issued,
            Err(message) => {
                self.refused += 1;
                let failed = attempt_failed(&seen.snapshot(), INVALID_CERTIFICATE, &message, self.now);
                return self.write_status(seen, &failed);
            }
        };
        let entry = KeyEntry { key, chain: &issued.chain, ca: &issued.ca };
        let contents = store::contents("web", &request.spec.issuer, &entry, &LAYOUT, self.now).unwrap();
        self.write_secret(contents, key);
        Ok(())
    }

    fn write_secret(&mut self, contents: store::Contents, key: &PrivateKey) {
        let store::Contents { data, labels, annotations } = contents;
        let target = body::Target { type_: None, labels, annotations, data: &data, is_owned: false };
        let body = applied(body::target(&self.truth.certificate, target));
        let view = SecretView::take(serde_json::from_value::<Secret>(body).unwrap());
        assert!(matches!(view.pair, Pair::Good(_)), "what is written is a pair: {:?}", view.pair);
        self.truth.secret = Some(SecretView { version: self.next_version(), ..view });
        self.target_key = Some(copy(key));
    }

    /// What the issuer says to a request: nearly always a certificate.
    fn outcome(&mut self, name: &str) -> Result<Outcome, CutOff> {
        let request = self.live_request(name)?;
        let message = String::new();
        if !matches!(self.truth.issuer, IssuerFacts::Ready { .. }) {
            return Ok(Outcome::Wait { reason: "IssuerNotReady", message });
        }
        let asked = Request::from_pem(&request.spec.csr).map_err(|_| CutOff)?;
        Ok(match self.dice.roll(8) {
            0 => Outcome::Terminal { reason: "SigningError", message },
            1 => Outcome::Wait { reason: "SecretMissing", message },
            _ => Outcome::of_signing(&"CA", self.ca.sign(&asked, &Terms::default(), self.now)),
        })
    }

    fn answer(&mut self, name: &str, outcome: &Outcome) -> Result<(), CutOff> {
        let version = self.next_version();
        let now = self.now;
        let request =
            self.truth.requests.iter_mut().find(|request| request.name.name == name).ok_or(CutOff)?;
        if let Some(body) = answer::answer(request, true, outcome, now) {
            *request = body.on(request, version);
            self.refused += usize::from(request.end() == Some(RequestEnd::Failed));
        }
        if let Outcome::Issued(issued) = outcome
            && request.end() == Some(RequestEnd::Issued)
        {
            let pem = (issued.chain.to_pem().into_bytes(), issued.ca.to_pem().into_bytes());
            self.chains.entry(request.uid.clone()).or_insert(pem);
        }
        Ok(())
    }

    /// Those who answer requests answer all that wait.
    fn answer_all(&mut self) {
        let waiting: Vec<String> = self
            .truth
            .requests
            .iter()
            .filter(|it| it.end().is_none())
            .map(|it| it.name.name.clone())
            .collect();
        for name in waiting {
            if let Ok(outcome) = self.outcome(&name) {
                let _ = self.answer(&name, &outcome);
            }
        }
    }

    /// Something that nobody planned.
    fn interfere(&mut self) {
        match self.dice.roll(12) {
            0 => self.edit("dnsNames", |dice| json!([format!("{}.test", dice.roll(3))])),
            1 => self.edit("privateKey", |dice| {
                let policy = if dice.one_in(2) { "Never" } else { "Always" };
                json!({"algorithm": "ECDSA", "rotationPolicy": policy})
            }),
            2 => (self.truth.secret, self.target_key) = (None, None),
            3 => {
                if let Some(secret) = &mut self.truth.secret {
                    (secret.pair, secret.key) = (Pair::NoData, Key::Absent);
                }
                self.target_key = None;
            }
            4 => self.truth.issuer = IssuerFacts::Waited,
            5 | 6 => self.truth.issuer = IssuerFacts::Ready { is_synchronous: self.dice.one_in(2) },
            7 => {
                let issuing =
                    Condition::new(conditions::ISSUING, ConditionStatus::True, "ManuallyTriggered", "m");
                conditions::set(&mut self.truth.certificate.status.conditions, issuing, self.now);
                self.truth.certificate.version = self.next_version();
            }
            8 => {
                let index = usize::try_from(self.dice.roll(4)).unwrap();
                if index < self.truth.requests.len() {
                    self.truth.requests.remove(index);
                }
            }
            9 => drop(self.truth.keys.pop()),
            10 => self.truth.certificate.temporary = self.dice.one_in(2),
            _ => self.pass(SignedDuration::from_hours(24 * 61)),
        }
    }

    fn edit(&mut self, field: &str, value: impl FnOnce(&mut Dice) -> Value) {
        let value = value(&mut self.dice);
        self.truth.edit(|spec| spec[field] = value);
        self.truth.certificate.version = self.next_version();
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.saturating_add(time).unwrap();
        if self.ca.check_valid_at(self.now + SignedDuration::from_hours(24 * 90)).is_err() {
            self.ca =
                Authority::self_signed("ca", testing::key(), SignedDuration::from_hours(24 * 365), self.now)
                    .unwrap();
        }
    }

    fn check_always(&self) {
        let uid = &self.truth.certificate.uid;
        for key in &self.truth.keys {
            assert!(
                key.owner.as_ref().is_some_and(|owner| owner.uid == *uid),
                "a key without an owner: {key:?}"
            );
        }
        if let Some(secret) = &self.truth.secret {
            assert!(matches!(secret.pair, Pair::Good(_) | Pair::NoData), "{:?}", secret.pair);
        }
        let counts = self.truth.certificate.status.failed_issuance_attempts.unwrap_or(0);
        assert_eq!(counts, self.failures, "attempts are failures");
        assert!(self.recorded <= self.refused, "a failure was counted twice");
    }

    /// Nobody interferes any more and the issuer signs.
    fn come_to_rest(&mut self) {
        self.truth.issuer = IssuerFacts::Ready { is_synchronous: self.dice.one_in(2) };
        for _ in 0..LOOKS_MAX {
            self.pass(SignedDuration::from_hours(12));
            let seen = self.fresh();
            self.look(seen, false);
            self.answer_all();
            let seen = self.fresh();
            let decision = decide(&seen.snapshot(), self.now);
            let is_ready = conditions::is_true(&decision.status.conditions, conditions::READY);
            if decision.step == Step::Rest
                && decision.status == seen.certificate.status
                && is_ready
                && !seen.certificate.is_issuing()
            {
                return self.check_at_rest(&seen);
            }
        }
        panic!("it never rests: {:#?}", self.truth.certificate.status);
    }

    fn fresh(&self) -> Case {
        let (truth, mut seen) = (&self.truth, Case::new());
        (seen.certificate, seen.secret) = (truth.certificate.clone(), truth.secret.clone());
        (seen.keys, seen.requests) = (truth.keys.clone(), truth.requests.clone());
        (seen.issuer, seen.now) = (truth.issuer, self.now);
        seen
    }

    fn check_at_rest(&self, seen: &Case) {
        self.check_always();
        assert!(seen.keys.is_empty(), "keys are left: {:?}", seen.keys);
        let revision = seen.certificate.status.revision.unwrap();
        let past = seen.requests.iter().filter(|request| request.revision <= Some(revision));
        assert!(past.count() <= 1, "requests are left: {:?}", seen.requests);
        assert!(seen.requests.len() <= 2, "requests are left: {:?}", seen.requests);
        let leaf = seen.secret.as_ref().and_then(SecretView::leaf).unwrap();
        let wanted = &seen.certificate.spec.dns_names;
        let names: Vec<String> = leaf
            .names()
            .iter()
            .map(|name| name.to_string().trim_start_matches("dns:").to_lowercase())
            .collect();
        assert!(
            wanted.iter().all(|name| names.iter().any(|it| it.ends_with(name.as_str()))),
            "{wanted:?} {names:?}"
        );
        assert!(leaf.is_valid_at(self.now));
    }
}

fn copy(key: &PrivateKey) -> PrivateKey {
    PrivateKey::from_pkcs8_der(key.to_pkcs8_der().expose()).unwrap()
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    // Two controllers, each with what it saw last.
    let mut seen = [Case::new(), Case::new()];
    for _ in 0..HAPPENINGS {
        let which = usize::try_from(world.dice.roll(2)).unwrap();
        match world.dice.roll(8) {
            0..=4 => {
                let view = world.view(&seen[which]);
                seen[which] = world.view(&view);
                let is_cut_off = world.dice.one_in(2);
                world.look(view, is_cut_off);
            }
            5 => world.answer_all(),
            6 => world.pass(SignedDuration::from_mins(20)),
            _ => world.interfere(),
        }
        world.check_always();
    }
    world.come_to_rest();
}

#[test]
fn whatever_is_interrupted_the_world_comes_to_rest() {
    for seed in 0..SEEDS {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
