use std::sync::Arc;

use issuance::key::KeyEncoding;
use k8s_openapi::ByteString;

use super::keeping::{Change, Lifetimes, Phase, Situation, advance, new_ca, wanted};
use super::stored::{Data, Stored};
use super::*;
use crate::configurations::{Reading, Seen, Trusts};
use crate::peer;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn days_later(days: i32) -> Timestamp {
    start() + DAY * days
}

/// What callers make of what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// They cannot be looked at.
    Hidden,
    /// They trust what they trusted before.
    Stubborn,
    /// They trust everything that is stored.
    Willing,
    /// They cannot be made to trust anything, but a cainjector can.
    Refusing,
}

/// A Secret and a replica.
struct World {
    stored: Stored,
    served: Option<Certificate>,
    remembered: Stored,
    trusts: Trusts,
    callers: Callers,
    lifetimes: Lifetimes,
}

impl World {
    fn of(data: Option<&Data>, is_own: bool) -> Self {
        let lifetimes = Lifetimes::new(CA_LIFETIME, WEEK).unwrap();
        let mut stored = Stored::read(data, None);
        stored.is_own = is_own;
        let trusts = Trusts::of_kinds(["A"]);
        Self {
            stored,
            served: None,
            remembered: Stored::default(),
            trusts,
            callers: Callers::Willing,
            lifetimes,
        }
    }

    /// One with a CA that was made at [`start`].
    fn started() -> Self {
        let mut world = Self::of(None, false);
        world.at(start());
        world
    }

    /// What changes at this time; afterwards all is as if it had been written and read.
    fn at(&mut self, now: Timestamp) -> Vec<Change> {
        self.look();
        let observed = self.trusts.observed();
        let served = self.served.as_ref();
        let situation = Situation {
            lifetimes: &self.lifetimes,
            served,
            remembered: &self.remembered,
            observed: &observed,
            replica: "a",
        };
        let changes = advance(&mut self.stored, &situation, now).unwrap();
        let is_own = self.stored.is_own;
        self.stored = Stored::read(Some(&self.data()), None);
        self.stored.is_own = is_own;
        assert_eq!(self.stored.flaw, None, "after {changes:?}");
        changes
    }

    /// The first day on which this replica, started anew each day, changes something; and what.
    fn first_change(mut self, replica: &str) -> (i32, Vec<Change>) {
        let observed = self.trusts.observed();
        let of_day = |day| {
            let situation = Situation {
                remembered: &Stored::default(),
                lifetimes: &self.lifetimes,
                served: None,
                observed: &observed,
                replica,
            };
            let changes = advance(&mut self.stored, &situation, days_later(day)).unwrap();
            (!changes.is_empty()).then_some((day, changes))
        };
        (1..365_i32).find_map(of_day).expect("nothing changed within a year")
    }

    fn look(&self) {
        let seen = match self.callers {
            Callers::Stubborn => return,
            Callers::Hidden => Seen::Hidden,
            Callers::Willing | Callers::Refusing => {
                let wanted = wanted(&self.stored, None, start());
                let all = [wanted.older, wanted.required].concat();
                let bundle: String = all.iter().map(Certificate::to_pem).collect();
                let is_refused = self.callers == Callers::Refusing;
                let bundle = if is_refused { self.text("ca.crt") } else { bundle };
                let bundles = vec![bundle.into_bytes()];
                Seen::Read(Reading { settled: bundles.clone(), bundles, is_refused, ..Reading::default() })
            }
        };
        self.trusts.set("A", seen);
    }

    fn data(&self) -> Data {
        let mut data = Data::new();
        self.stored.write(&mut data);
        data
    }

    fn text(&self, key: &str) -> String {
        self.data().get(key).map(|text| String::from_utf8(text.0.clone()).unwrap()).unwrap_or_default()
    }

    fn current(&self) -> Certificate {
        self.stored.current.as_ref().unwrap().certificate().clone()
    }

    /// Goes on day by day until something changes. Gives the day and the changes.
    fn next_change(&mut self, from: i32) -> (i32, Vec<Change>) {
        let changes = (from..from + 400).map(|day| (day, self.at(days_later(day))));
        changes.into_iter().find(|(_, changes)| !changes.is_empty()).expect("nothing changes")
    }

    fn keys(&self) -> Vec<String> {
        self.data().into_keys().collect()
    }
}

// What is done about a Secret (spec S3).

fn with(data: &Data, key: &str, value: &[u8]) -> Data {
    let mut data = data.clone();
    data.insert(key.to_owned(), ByteString(value.to_vec()));
    data
}

fn replaced(data: Option<&Data>, now: Timestamp, wanted: &str) {
    let mut world = World::of(data, true);
    match world.at(now).as_slice() {
        [Change::Created(reason)] => assert!(reason.starts_with(wanted), "{reason:?}, not {wanted:?}"),
        changes => panic!("{changes:?} although {wanted}"),
    }
    assert_eq!(peer::regenerates(Some(&world.data()), now), None);
}

/// The CA is good, so callers need not learn a new one.
fn mended(data: &Data, wanted: &str) {
    let mut world = World::of(Some(data), true);
    let before = world.current();
    match world.at(start()).as_slice() {
        [Change::Mended(flaw)] => assert!(flaw.starts_with(wanted), "{flaw:?}, not {wanted:?}"),
        changes => panic!("{changes:?} although {wanted}"),
    }
    assert_eq!(world.current(), before);
    assert_eq!(world.text("ca.crt"), world.text("tls.crt"));
}

#[test]
fn a_secret_that_cannot_be_used_gets_a_new_ca() {
    let good = World::started().data();
    let other = World::started().data();
    replaced(None, start(), "there is none");
    replaced(Some(&Data::new()), start(), "its key tls.crt is empty");
    replaced(Some(&with(&good, "tls.crt", b"")), start(), "its key tls.crt is empty");
    replaced(Some(&with(&good, "tls.key", b"")), start(), "its key tls.key is empty");
    replaced(Some(&with(&good, "tls.crt", b"garbage")), start(), "it cannot be used: ");
    replaced(Some(&with(&good, "tls.key", b"garbage")), start(), "it cannot be used: ");
    replaced(Some(&with(&good, "tls.key", &other["tls.key"].0)), start(), "it cannot be used: ");
}

#[test]
fn a_certificate_that_is_no_ca_is_replaced() {
    let leaf = leaf(&World::started(), WEEK);
    let certificate = ByteString(leaf.certificate.to_pem().into_bytes());
    let key = PrivateKey::from_pkcs8_der(leaf.key.secret_der()).unwrap().to_pem(KeyEncoding::Pkcs8);
    let data = Data::from([
        ("tls.crt".to_owned(), certificate.clone()),
        ("tls.key".to_owned(), ByteString(key.expose().to_vec())),
        ("ca.crt".to_owned(), certificate),
    ]);
    replaced(Some(&data), start(), "it cannot be used: ");
}

#[test]
fn a_ca_that_is_not_valid_now_is_replaced_but_not_one_that_begins_in_a_moment() {
    let data = World::started().data();
    replaced(Some(&data), days_later(366), "it is valid from 2025-12-31T23:55:00Z to 2027-01-01T00:00:00Z");
    replaced(Some(&data), days_later(-1), "it is valid from ");
    let theirs = peer::data(start());
    let mut world = World::of(Some(&theirs), false);
    assert_eq!(world.at(start() - SignedDuration::from_mins(4)), []);
    let leaf = new_leaf(world.stored.current.as_ref().unwrap(), terms(WEEK), start() - HOUR / 15).unwrap();
    assert!(leaf.certificate.not_before() <= start());
}

#[test]
fn a_good_ca_is_kept_when_something_else_in_the_secret_is_wrong() {
    let good = World::started().data();
    let other = World::started().data();
    mended(&with(&good, "ca.crt", b""), "its key ca.crt is empty");
    mended(&with(&good, "ca.crt", b"garbage"), "its key ca.crt cannot be used: ");
    mended(&with(&good, "ca.crt", &other["ca.crt"].0), "its key ca.crt lacks the certificate in tls.crt");
}

#[test]
fn garbage_beside_a_good_ca_changes_nothing() {
    let good = World::started().data();
    for (key, value) in [("rotation.json", "[]"), ("next.crt", "garbage"), ("next.key", "garbage")] {
        let mut world = World::of(Some(&with(&good, key, value.as_bytes())), true);
        assert_eq!(world.at(start()), [], "{key}");
    }
    let mut bundle = World::started().data()["ca.crt"].0.clone();
    bundle.extend_from_slice(&good["tls.crt"].0);
    assert_eq!(World::of(Some(&with(&good, "ca.crt", &bundle)), true).at(start()), []);
}

// A rotation.

#[test]
fn a_new_secret_is_in_the_form_of_cert_managers() {
    let world = World::started();
    assert_eq!(world.keys(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(world.text("ca.crt"), world.text("tls.crt"));
    assert_eq!(world.current().common_name().as_deref(), Some("cert-manager-webhook-ca"));
    assert_eq!(world.current().not_after(), days_later(365));
    assert!(world.text("tls.key").starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(world.stored.is_own);
}

#[test]
fn the_next_ca_is_trusted_before_it_signs_and_the_previous_one_until_its_last_leaf_has_ended() {
    let mut world = World::started();
    world.callers = Callers::Stubborn;
    let first = world.current();
    let (day, changes) = world.next_change(1);
    assert_eq!(changes, [Change::Prepared]);
    assert!((218..=238).contains(&day), "day {day}");
    let next = world.stored.next.as_ref().unwrap().authority.certificate().clone();
    assert_eq!(world.at(days_later(day + 30)), [], "nobody trusts the next CA yet");
    assert_eq!((world.current(), Phase::of(&world.stored, start())), (first.clone(), Phase::Prepared));
    assert_eq!(world.text("ca.crt"), world.text("tls.crt"), "cert-manager's webhook would replace it");
    assert_eq!(wanted(&world.stored, None, start()).required, [first.clone(), next.clone()]);

    let day = days_later(day + 30);
    world.callers = Callers::Willing;
    assert_eq!(world.at(day), [Change::Published]);
    assert_eq!(world.at(day + SignedDuration::from_secs(59)), [], "not every API server may know it");
    assert_eq!(world.at(day + SignedDuration::from_mins(1)), [Change::Switched]);
    assert_eq!(world.current(), next);
    assert_eq!(world.keys(), ["ca.crt", "rotation.json", "tls.crt", "tls.key"]);
    assert_eq!(world.text("ca.crt"), world.text("tls.crt"));

    let switched = day + SignedDuration::from_mins(1);
    assert_eq!(Phase::of(&world.stored, switched + WEEK), Phase::Overlap);
    assert_eq!(wanted(&world.stored, None, switched + WEEK).older, std::slice::from_ref(&first));
    let over = switched + WEEK + SignedDuration::from_secs(1);
    assert_eq!(wanted(&world.stored, None, over).retired, [first]);
    assert_eq!(world.at(over), [], "it is still in the configurations");
    assert_eq!(Phase::of(&world.stored, over), Phase::Rest);
    world
        .trusts
        .set("A", Seen::Read(Reading { bundles: vec![next.to_pem().into_bytes()], ..Reading::default() }));
    world.callers = Callers::Stubborn;
    assert_eq!(world.at(over), [Change::PreviousDropped]);
    assert_eq!(world.keys(), ["ca.crt", "tls.crt", "tls.key"]);
}

#[test]
fn where_configurations_are_out_of_our_hands_the_cainjector_carries_both() {
    for callers in [Callers::Hidden, Callers::Refusing] {
        let mut world = World::started();
        world.callers = callers;
        let (day, changes) = world.next_change(1);
        assert_eq!(changes, [Change::Prepared, Change::PublishedInSecret], "{callers:?}");
        let both = format!("{}{}", world.text("tls.crt"), world.text("next.crt"));
        assert_eq!(world.text("ca.crt"), both);
        assert_eq!(world.at(days_later(day) + HOUR - SignedDuration::from_secs(1)), []);
        assert_eq!(world.at(days_later(day) + HOUR), [Change::Switched]);
        let both_still = world.text("ca.crt");
        assert_eq!(both_still, both, "a switch changes nothing for callers");
        let over = days_later(day) + HOUR + WEEK + SignedDuration::from_secs(1);
        assert_eq!(world.at(over), [Change::PreviousDropped, Change::Rested]);
        assert_eq!(world.text("ca.crt"), world.text("tls.crt"));
        assert_eq!(world.keys(), ["ca.crt", "tls.crt", "tls.key"]);
    }
}

#[test]
fn a_configuration_that_lacks_the_next_ca_holds_the_switch_up_until_the_last_day() {
    let mut world = World::started();
    let (day, changes) = world.next_change(1);
    assert_eq!(changes, [Change::Prepared]);
    world.at(days_later(day) + HOUR);
    world.callers = Callers::Stubborn;
    let lacks = || Seen::Read(Reading { bundles: vec![Vec::new()], ..Reading::default() });
    world.trusts.set("A", lacks());
    assert_eq!(world.at(days_later(363)), []);
    assert_eq!(world.at(days_later(364) + HOUR), [Change::Switched]);
    // The same before it was published.
    let mut world = World::started();
    world.callers = Callers::Stubborn;
    world.trusts.set("A", lacks());
    world.next_change(1);
    assert_eq!(world.at(days_later(363)), []);
    assert_eq!(world.at(days_later(364) + HOUR), [Change::PublishedInSecret]);
    assert_eq!(world.at(days_later(364) + HOUR * 2), [Change::Switched]);
}

#[test]
fn when_the_ca_has_ended_the_next_one_signs_at_once() {
    let mut world = World::started();
    world.callers = Callers::Stubborn;
    world.next_change(1);
    let next = world.stored.next.as_ref().unwrap().authority.certificate().clone();
    assert_eq!(world.at(days_later(366)), [Change::Switched]);
    assert_eq!(world.current(), next);
    assert_eq!(world.stored.previous, [], "nothing that has ended is remembered");
}

#[test]
fn replicas_do_not_all_prepare_at_the_same_time() {
    let prepares = |replica: &str| {
        let (day, changes) = World::started().first_change(replica);
        assert_eq!(changes, [Change::Prepared]);
        day
    };
    // Each is told by its own CA, too, so a fixed one is needed.
    let days: std::collections::BTreeSet<_> = ["a", "b", "c", "d", "e"].map(prepares).into();
    assert!(days.len() > 1 && days.iter().all(|day| (218..=238).contains(day)), "{days:?}");
}

#[test]
fn a_clock_that_jumps_by_a_day_rotates_nothing() {
    let mut world = World::started();
    let first = world.current();
    for now in [days_later(1), start(), days_later(2), start() + HOUR, days_later(1)] {
        assert_eq!(world.at(now), []);
    }
    assert_eq!(world.current(), first);
}

/// What two replicas change in the weeks of a rotation that each look once a day, one so far ahead of the other.
fn changes_with_a_clock(ahead: SignedDuration) -> Vec<Change> {
    let mut world = World::started();
    let moments = (212..256).flat_map(|day| [days_later(day), days_later(day) + ahead]);
    moments.flat_map(|now| world.at(now)).collect()
}

#[test]
fn replicas_whose_clocks_differ_rotate_together_and_once() {
    let alone = changes_with_a_clock(SignedDuration::ZERO);
    assert!(alone.contains(&Change::Prepared) && alone.contains(&Change::Switched), "{alone:?}");
    for ahead in [HOUR, -HOUR] {
        assert_eq!(changes_with_a_clock(ahead), alone, "{ahead:?} ahead");
    }
}

#[test]
fn replicas_whose_clocks_differ_by_a_day_come_to_rest() {
    for ahead in [DAY, -DAY] {
        let changes = changes_with_a_clock(ahead);
        // A CA that begins tomorrow is of no use to callers, so the one who is behind may make another.
        let created = changes.iter().filter(|change| matches!(change, Change::Created(_))).count();
        assert!(created <= 1 && changes.len() <= 8, "{ahead:?} ahead: {changes:?}");
    }
}

// Beside cert-manager's webhook.

#[test]
fn cert_managers_secret_is_taken_and_left_alone() {
    let data = peer::data(start());
    let mut world = World::of(Some(&data), false);
    for day in [0, 100, 243] {
        assert_eq!(world.at(days_later(day)), []);
    }
    assert_eq!(world.data(), data, "not a byte is changed");
}

#[test]
fn no_rotation_begins_while_cert_managers_webhook_may_be_running() {
    let data = peer::data(start());
    let would_have = (1..365).find(|day| peer::regenerates(Some(&data), days_later(*day)).is_some()).unwrap();
    for replica in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let (prepared, _) = World::of(Some(&data), false).first_change(replica);
        let days = prepared - would_have;
        assert!((1..=20).contains(&days), "it had {days} days to replace it");
    }
}

#[test]
fn cert_managers_webhook_takes_ours_at_rest_and_in_each_phase_of_a_rotation() {
    let mut world = World::started();
    let takes = |world: &World, now: Timestamp| {
        assert_eq!(peer::regenerates(Some(&world.data()), now), None, "{:?}", Phase::of(&world.stored, now));
    };
    takes(&world, start());
    let (day, changes) = world.next_change(1);
    assert_eq!(changes, [Change::Prepared]);
    for (hours, phase) in [(0, Phase::Prepared), (1, Phase::Published), (2, Phase::Overlap)] {
        let now = days_later(day) + HOUR * hours;
        if hours > 0 {
            world.at(now);
        }
        assert_eq!(Phase::of(&world.stored, now), phase);
        takes(&world, now);
    }
}

#[test]
fn what_cert_managers_webhook_puts_in_the_middle_of_a_rotation_is_taken_and_the_rest_is_cleared_up() {
    let mut world = World::started();
    let first = world.current();
    world.served = Some(first.clone());
    let (day, _) = world.next_change(1);
    let next = world.stored.next.as_ref().unwrap().authority.certificate().clone();
    let mut data = world.data();
    data.extend(peer::data(days_later(day)));
    world.stored = Stored::read(Some(&data), None);
    let theirs = world.current();
    let now = days_later(day) + HOUR;
    let bundles = vec![(first.to_pem() + &next.to_pem()).into_bytes()];
    world.trusts.set("A", Seen::Read(Reading { bundles, ..Reading::default() }));
    world.callers = Callers::Stubborn;
    let changes = world.at(now);
    let flaw = "its next CA was to follow another one".to_owned();
    assert_eq!(changes, [Change::Ousted, Change::Mended(flaw)]);
    assert_eq!((world.current(), world.stored.next.is_none()), (theirs.clone(), true));
    let wanted = wanted(&world.stored, world.served.as_ref(), now);
    assert_eq!((wanted.older, wanted.required, wanted.retired), (vec![first], vec![theirs], vec![next]));
    assert_eq!(peer::regenerates(Some(&world.data()), now), None, "it would replace it again");
}

#[test]
fn a_ca_that_somebody_replaced_is_needed_until_the_leaves_under_it_have_ended() {
    let mut world = World::started();
    let first = world.current();
    world.served = Some(first.clone());
    let secret = World::started().data();
    world.stored = Stored::read(Some(&secret), None);
    assert_eq!(world.at(start()), [Change::Ousted]);
    assert_eq!(world.at(start() + HOUR), [], "once is enough");
    let at = |now: Timestamp| wanted(&world.stored, None, now);
    assert_eq!(at(days_later(7)).older, std::slice::from_ref(&first));
    assert_eq!(at(days_later(8)).retired, [first]);
}

#[test]
fn what_a_deleted_secret_held_is_remembered_and_taken_out_of_the_configurations() {
    let mut world = World::started();
    let (day, _) = world.next_change(1);
    world.at(days_later(day));
    let first = world.current();
    world.served = Some(first.clone());
    world.remembered = std::mem::take(&mut world.stored);
    let next = world.remembered.next.as_ref().unwrap().authority.certificate().clone();
    world.callers = Callers::Stubborn;
    let bundles = vec![(first.to_pem() + &next.to_pem()).into_bytes()];
    let reading = Reading { settled: bundles.clone(), bundles, ..Reading::default() };
    world.trusts.set("A", Seen::Read(reading));
    world.stored = Stored::read(None, None);
    let now = days_later(day);
    let created = Change::Created("there is none".to_owned());
    assert_eq!(world.at(now), [created, Change::Ousted, Change::Ousted]);
    let wanted = wanted(&world.stored, world.served.as_ref(), now);
    assert_eq!((wanted.older, wanted.retired), (vec![first], vec![next]));
}

// Going over to another CA.

#[test]
fn a_new_ca_waits_until_all_configurations_trust_it() {
    use Trust::{Missing, NotOurs, Present, Unknown};
    let check = |old: &[Trust], new: &[Trust], secs: i64, trusted: Option<i64>, wanted: bool| {
        let at = |secs| start() + SignedDuration::from_secs(secs);
        let trusted_since = trusted.map(at);
        let handover = Handover { old_until: days_later(3), since: start(), trusted_since, old, new };
        assert_eq!(handover.is_due(at(secs)), wanted, "from {old:?} to {new:?} after {secs} s");
        let is_blind = [&[NotOurs, NotOurs][..], &[Present, NotOurs]].contains(&new);
        assert_eq!(handover.is_blind(), is_blind, "{new:?}");
    };
    let both = &[Present, Present];
    check(both, &[Missing, Missing], 0, None, false);
    check(both, &[Present, Missing], 86_400, None, false);
    check(both, &[Present, Unknown], 86_400, None, false);
    check(both, both, 2, Some(0), false);
    check(both, both, 3, Some(0), true);
    // Where the old one is not trusted either, there is less to lose.
    check(&[Missing, Present], &[Present, Missing], 599, None, false);
    check(&[Missing, Present], &[Present, Missing], 600, None, true);
    check(&[Missing, Present], both, 0, Some(0), true);
    // Where that cannot be seen, a cainjector gets its time.
    check(&[NotOurs, NotOurs], &[NotOurs, NotOurs], 14, None, false);
    check(&[NotOurs, NotOurs], &[NotOurs, NotOurs], 15, None, true);
    check(&[Present, NotOurs], &[Present, NotOurs], 15, None, true);
    check(&[], &[], 14, None, false);
    check(&[], &[], 15, None, true);
    check(&[Present, NotOurs], &[Missing, NotOurs], 599, None, false);
}

#[test]
fn a_certificate_at_its_end_is_not_held_on_to() {
    let (old, new) = (&[Trust::Present], &[Trust::Missing]);
    let handover = Handover { old_until: days_later(1), since: days_later(1), trusted_since: None, old, new };
    assert!(handover.is_due(days_later(1)));
    assert!(handover.is_due(days_later(2)));
    assert!(handover.is_due(days_later(1) - SignedDuration::from_secs(59)));
    assert!(!handover.is_due(days_later(1) - SignedDuration::from_secs(61)));
}

// The serving certificate.

fn names() -> Vec<ServerName<'static>> {
    ["webhook.ns.svc", "127.0.0.1", "::1"].map(|name| ServerName::try_from(name).unwrap()).into()
}

fn terms(lifetime: SignedDuration) -> LeafTerms<'static> {
    LeafTerms { names: names().leak(), lifetime, replica: "a" }
}

fn leaf(world: &World, lifetime: SignedDuration) -> Leaf {
    let current: &Arc<Authority> = world.stored.current.as_ref().unwrap();
    new_leaf(current, terms(lifetime), start()).unwrap()
}

#[test]
fn a_leaf_is_for_the_names_and_is_renewed_in_time() {
    let world = World::started();
    let Leaf { chain, certificate, ca, renew_at, .. } = leaf(&world, WEEK);
    let names: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
    assert_eq!(chain.len(), 1, "a root is not served");
    assert_eq!(names, ["DNS:webhook.ns.svc", "IP:127.0.0.1", "IP:::1"]);
    assert_eq!((certificate.not_before(), certificate.not_after()), (start() - HOUR / 12, days_later(7)));
    let two_thirds = start() + WEEK * 2 / 3;
    assert!(two_thirds - HOUR * 4 < renew_at && renew_at <= two_thirds, "{renew_at}");
    assert_eq!(ca, world.current());
}

#[test]
fn a_short_leaf_is_back_dated_by_a_tenth_of_its_life() {
    let leaf = leaf(&World::started(), SignedDuration::from_secs(100));
    assert_eq!(leaf.certificate.not_before(), start() - SignedDuration::from_secs(10));
    assert!(start() + SignedDuration::from_secs(30) < leaf.renew_at);
}

#[test]
fn replicas_that_started_together_do_not_renew_together() {
    let world = World::started();
    let times: std::collections::BTreeSet<_> = (0..5).map(|_| leaf(&world, WEEK).renew_at).collect();
    assert!(times.len() > 1);
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let leaf = leaf(&World::started(), DAY * 3650);
    assert_eq!(leaf.certificate.not_after(), days_later(365));
    let lifetimes = Lifetimes::new(DAY * 100, DAY * 90).unwrap();
    assert_eq!(lifetimes.leaf(), DAY * 28, "what is left of a CA when it is replaced");
}

#[test]
fn lifetimes_that_are_none_are_refused() {
    for (ca, leaf) in [(SignedDuration::ZERO, WEEK), (WEEK, SignedDuration::ZERO), (-WEEK, WEEK)] {
        Lifetimes::new(ca, leaf).unwrap_err();
    }
    Lifetimes::new(SignedDuration::from_mins(10), WEEK).unwrap();
}

#[test]
fn nothing_shows_a_private_key() {
    let world = World::started();
    let leaf = leaf(&world, WEEK);
    assert!(!format!("{leaf:?}").contains("key"));
    assert!(!format!("{:?}", world.stored).contains("key:"));
    assert!(!world.text("rotation.json").contains("PRIVATE"));
    new_ca(CA_LIFETIME, Timestamp::MAX).unwrap_err();
}
