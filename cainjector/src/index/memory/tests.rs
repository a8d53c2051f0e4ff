use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use issuance::certificate::Certificate;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use runtime::watch::{ObjectName, State};

use super::*;
use crate::plan::{Plan, plan};
use crate::rotation::Retention;
use crate::settings::{Cap, Settings, Withdrawal};
use crate::source::SourceSecret;
use crate::target::{Conversion, Fields, Live, TargetKind};
use crate::testing::{self, pem, root, shown};

/// A target of one Secret, an index that remembers, and certificates by their names.
struct World {
    index: Index,
    live: Live,
    hours: i64,
    certificates: HashMap<&'static str, Certificate>,
}

fn source() -> SourceRef {
    SourceRef::Secret(ObjectName::namespaced("team-a", "ca"))
}

impl World {
    /// `denied` are names of certificates.
    fn new(retention: Option<i64>, cap: Option<Cap>, denied: &[&str]) -> Self {
        let names = ["first", "second", "third", "fourth", "foreign"];
        let certificates: HashMap<_, _> = names.map(|name| (name, root(name, 900))).into();
        let withdrawal = Withdrawal {
            retention: retention
                .map_or(Retention::UntilExpiry, |hours| Retention::For(SignedDuration::from_hours(hours))),
            cap,
            denied: denied.iter().map(|name| certificates[name].fingerprint()).collect(),
        };
        let settings = Settings { withdrawal: Arc::new(withdrawal), ..Settings::default() };
        let mut world = Self { index: Index::new(settings), live: service(), hours: 0, certificates };
        world.asks();
        world.index.recall(Memory::default());
        world
    }

    fn asks(&mut self) {
        let target = self.live.target.clone();
        self.index.target_seen(target, Wanted::Source(source()), "1", Instant::now());
    }

    fn now(&self) -> Timestamp {
        testing::now() + SignedDuration::from_hours(self.hours)
    }

    fn pem(&self, names: &[&str]) -> String {
        pem(&names.iter().map(|name| &self.certificates[name]).collect::<Vec<_>>())
    }

    /// The source has these from now on.
    fn holds(&mut self, names: &[&str]) -> &mut Self {
        let ca = Some(self.pem(names).into_bytes().into());
        let secret = SourceSecret { allowed: true, ca, ..SourceSecret::default() };
        let name = ObjectName::namespaced("team-a", "ca");
        self.index.secret_seen(&name, State::Present(Arc::new(secret)), Instant::now());
        self
    }

    /// The bundle has these from now on.
    fn has(&mut self, names: &[&str]) -> &mut Self {
        let text = self.pem(names).into_bytes();
        match &mut self.live.fields {
            Fields::ApiService { bundle, .. } | Fields::Definition { bundle, .. } => *bundle = text,
            other => panic!("another kind: {other:?}"),
        }
        self
    }

    fn after(&mut self, hours: i64) -> &mut Self {
        self.hours = hours;
        self
    }

    /// What is planned, and carried out.
    #[track_caller]
    fn check(&mut self, expected: &str) -> &mut Self {
        let (target, now) = (self.live.target.clone(), self.now());
        self.index.remember(&target, now);
        let inputs = self.index.inputs(&target, Instant::now()).unwrap();
        let planned = plan(&self.live, &inputs, now);
        if let Plan::Apply { body } = &planned.plan {
            let config = &body["spec"]["conversion"]["webhook"]["clientConfig"];
            let place = if config.is_null() { &body["spec"] } else { config };
            let written: ByteString = serde_json::from_value(place["caBundle"].clone()).unwrap();
            match &mut self.live.fields {
                Fields::ApiService { bundle, .. } | Fields::Definition { bundle, .. } => *bundle = written.0,
                other => panic!("another kind: {other:?}"),
            }
        }
        let has_all = !matches!(planned.plan, Plan::Refused(_));
        self.index.done(&target, &inputs, "2".to_owned(), has_all);
        assert_eq!(shown(&planned), expected, "after {} h", self.hours);
        self
    }

    /// When the next look is due, in hours from the start.
    fn again(&self) -> Option<i64> {
        let inputs = self.index.inputs(&self.live.target, Instant::now()).unwrap();
        let again = plan(&self.live, &inputs, self.now()).again?;
        Some(again.duration_since(testing::now()).as_hours())
    }
}

fn service() -> Live {
    Live {
        target: Target::cluster(TargetKind::ApiService, "web"),
        uid: "u".to_owned(),
        resource_version: "7".to_owned(),
        deleting: false,
        owners: Vec::new(),
        fields: Fields::ApiService { bundle: Vec::new(), insecure: false, remote: true },
    }
}

#[test]
fn a_ca_that_has_left_its_source_leaves_the_bundle_after_the_retention() {
    let mut world = World::new(Some(24), None, &[]);
    world.has(&["foreign"]).holds(&["first"]).check("apply foreign,first");
    world.after(10).holds(&["second"]).check("apply foreign,first,second");
    assert_eq!(world.again(), Some(34));
    world.after(33).check("in sync");
    world.after(34).check("apply foreign,second").check("in sync");
}

#[test]
fn without_a_retention_it_stays() {
    let mut world = World::new(None, None, &[]);
    world.holds(&["first"]).check("apply first").holds(&["second"]).check("apply first,second");
    world.after(700).check("in sync");
}

#[test]
fn a_ca_that_comes_back_stays() {
    let mut world = World::new(Some(24), None, &[]);
    world.holds(&["first"]).check("apply first").holds(&["second"]).check("apply first,second");
    world.after(20).holds(&["first"]).check("in sync");
    world.after(30).check("in sync");
    world.after(44).check("apply first");
}

#[test]
fn a_lost_memory_counts_what_is_there_as_seen_now() {
    let mut world = World::new(Some(24), None, &[]);
    world.holds(&["first"]).check("apply first").holds(&["second"]).check("apply first,second");
    assert_eq!(world.index.recall(Memory::default()).due, [world.live.target.clone()]);
    world.after(100).check("in sync");
    world.after(101).holds(&["third"]).check("apply first,second,third");
    world.after(125).check("apply first,third");
}

#[test]
fn what_was_written_down_counts_for_the_next_leader() {
    let mut world = World::new(Some(24), None, &[]);
    world.holds(&["first"]).check("apply first").holds(&["second"]).check("apply first,second");
    let text = world.index.memory_text(true).unwrap();
    world.index.forget_memory();
    assert_eq!(world.index.memory_text(true), None);
    world.after(30).check("in sync");
    world.index.recall(Memory::read(&text));
    world.check("apply second");
    // Nobody asks for it any more.
    let target = world.live.target.clone();
    world.index.target_gone(&target);
    assert_eq!(world.index.memory_text(false).unwrap(), text);
    assert_eq!(world.index.memory_text(true).unwrap(), "");
}

#[test]
fn a_ca_that_was_replaced_before_anybody_looked_is_remembered_once() {
    let mut world = World::new(Some(24), None, &[]);
    world.holds(&["first"]).check("apply first");
    let slow = Target::cluster(TargetKind::ApiService, "slow");
    world.index.target_seen(slow, Wanted::Source(source()), "1", Instant::now());
    world.after(1).holds(&["second"]).holds(&["third"]).check("apply first,second,third");
    // The other target still lacks it, which is no reason to count anew.
    world.after(20).check("in sync");
    world.after(25).check("apply third");
}

/// Of more than these, those go that left their source so many hours ago.
fn cap(certificates: usize, hours: i64) -> Option<Cap> {
    Some(Cap { certificates, absence: SignedDuration::from_hours(hours) })
}

#[test]
fn a_ca_that_has_just_left_is_no_surplus_whatever_the_cap() {
    let mut world = World::new(None, cap(1, 24), &[]);
    world.holds(&["first"]).check("apply first");
    world.after(1).holds(&["second"]).check("apply first,second");
    world.after(2).holds(&["third"]).check("apply first,second,third").check("in sync");
    assert_eq!(world.again(), Some(25));
    world.after(24).check("in sync").after(25).check("apply second,third");
    assert_eq!(world.again(), Some(26));
    world.after(26).check("apply third").check("in sync");
    // Time alone is no reason: there has to be one too many.
    let mut world = World::new(None, cap(2, 24), &[]);
    world.holds(&["first"]).check("apply first").after(1).holds(&["second"]).check("apply first,second");
    assert_eq!(world.again(), Some(799), "only that it expires soon is to be told");
    world.after(100).check("in sync").holds(&["third"]).check("apply second,third");
}

#[test]
fn of_too_many_certificates_those_that_left_first_go_first() {
    let mut world = World::new(None, cap(2, 0), &[]);
    world.has(&["foreign"]).holds(&["first"]).check("apply foreign,first");
    world.after(1).holds(&["second"]).check("apply foreign,second");
    world.after(2).holds(&["third", "fourth"]).check("apply foreign,third,fourth").check("in sync");
    let mut world = World::new(None, cap(3, 0), &[]);
    world.holds(&["first"]).check("apply first");
    world.after(1).holds(&["second"]).check("apply first,second");
    world.after(2).holds(&["third"]).check("apply first,second,third");
    world.after(3).holds(&["fourth"]).check("apply second,third,fourth");
}

#[test]
fn what_nobody_may_trust_is_taken_out_unless_nothing_would_be_left() {
    let mut world = World::new(None, None, &["first", "foreign"]);
    world.has(&["foreign", "first"]).holds(&["first"]).check(
        "CADenied: every CA certificate of Secret team-a/ca that has not expired is denied by --deny-certificates: renew the CA; until then nothing is added to bundles",
    );
    world.holds(&["first", "second"]).check("apply second").check("in sync");
    world.has(&["third", "first", "second"]).check("apply third,second");
}

#[test]
fn on_a_definition_what_is_denied_goes_at_once_and_what_is_not_retained_a_day_later() {
    let mut world = World::new(Some(24), None, &["foreign"]);
    let target = world.live.target.clone();
    world.index.target_gone(&target);
    world.live.target.kind = TargetKind::CustomResourceDefinition;
    world.live.fields = Fields::Definition { bundle: Vec::new(), conversion: Conversion::Webhook };
    world.asks();
    world.holds(&["first"]).check("apply first").holds(&["second"]).check("apply first,second");
    world.after(24).check("deferred for 48 h");
    world.has(&["foreign", "first", "second"]).check("apply second");
    world.has(&["first", "second"]).after(47).check("deferred for 48 h");
    world.after(48).check("apply second");
}

#[test]
fn what_is_known_of_a_source_that_nobody_names_is_nothing() {
    let mut world = World::new(Some(24), None, &[]);
    let stranger = Target::cluster(TargetKind::ApiService, "stranger");
    assert!(!world.index.remember(&stranger, world.now()));
    assert!(!world.index.remember(&world.live.target.clone(), world.now()), "nothing is known yet");
    world.holds(&["first"]);
    let (target, now) = (world.live.target.clone(), world.now());
    assert!(world.index.remember(&target, now));
    assert!(!world.index.remember(&target, now + Duration::from_secs(1)), "it is no news");
}

#[test]
fn without_a_place_to_keep_it_nothing_is_remembered() {
    let mut world = World::new(None, None, &[]);
    world.index = Index::new(Settings::default());
    world.asks();
    world.holds(&["first"]).check("apply first").holds(&["second"]).check("apply first,second");
    let target = world.live.target.clone();
    assert_eq!(world.index.inputs(&target, Instant::now()).unwrap().history, History::default());
    assert_eq!(world.index.memory_text(true), None);
}
