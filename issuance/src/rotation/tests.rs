use proptest::prelude::*;

use super::*;
use crate::authority::Authority;
use crate::testing::{Maker, hours_later, key, now};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// CAs of 100 hours, replaced after 60, published for 5, with leaves of 10.
fn policy() -> Policy {
    Policy::new(HOUR * 100, 60, HOUR * 5, HOUR * 10).unwrap()
}

/// A CA that lives from `from` hours after [`now`] on, always with the same bytes.
fn ca(seed: u8, from: i64) -> Certificate {
    let key = key(seed);
    Maker { hours: (from, from + 100), ..Maker::ca("ca", &key, None) }.make()
}

fn made(seed: u8, at: Timestamp) -> Certificate {
    let authority = Authority::self_signed("ca", key(seed), policy().lifetime(), at).unwrap();
    authority.certificate().clone()
}

fn rotation(current: i64, next: Option<(i64, Option<i64>)>, previous: &[(i64, i64)]) -> Rotation {
    let previous = previous.iter().zip(10..).map(|((made, replaced), seed)| Previous {
        certificate: ca(seed, *made),
        needed_until: hours_later(*replaced + 10),
    });
    Rotation {
        current: Some(ca(1, current)),
        next: next.map(|(made, published)| Next {
            certificate: ca(2, made),
            published_at: published.map(hours_later),
        }),
        previous: previous.collect(),
    }
}

fn step(rotation: &Rotation) -> Step {
    rotation.plan(&policy(), Jitter::NONE, now()).step
}

fn rests_until(rotation: &Rotation, again_at: Timestamp) {
    let plan = rotation.plan(&policy(), Jitter::NONE, now());
    assert_eq!((plan.step, plan.again_at), (Step::Rest, again_at));
    assert!(now() < again_at);
}

// Policies.

#[test]
fn a_policy_without_room_for_an_overlap_is_refused() {
    let check = |lifetime: i32, percent, publish: i32, leaf: i32, message: &str| {
        let error = Policy::new(HOUR * lifetime, percent, HOUR * publish, HOUR * leaf).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
    };
    check(100, 0, 5, 10, "a CA cannot be rotated after 0 % of its lifetime");
    check(100, 100, 5, 10, "a CA cannot be rotated after 100 % of its lifetime");
    check(0, 60, 5, 10, "a lifetime of 0s is none");
    check(100, 60, 0, 10, "a publication of 0s is none");
    check(100, 60, 5, -1, "a leaf lifetime of 1h ago is none");
    check(
        100,
        60,
        55,
        10,
        "a CA that is rotated after 55h leaves no time to publish the next one for 55h before",
    );
    Policy::new(HOUR * 100, 60, HOUR * 54, HOUR * 10).unwrap();
}

#[test]
fn a_policy_whose_certificates_outlive_the_ca_is_refused() {
    let check = |lifetime: i32, percent, leaf: SignedDuration, message: &str| {
        let error = Policy::new(HOUR * lifetime, percent, HOUR, leaf).unwrap_err();
        assert_eq!(error.to_string(), message);
    };
    check(
        10,
        95,
        HOUR * 24,
        "a CA that still signs 30m before its end cannot sign certificates of 24h; \
         make its lifetime longer, rotate it earlier, or make theirs shorter",
    );
    check(
        100,
        60,
        HOUR * 40 + SECOND,
        "a CA that still signs 40h before its end cannot sign certificates of 40h 1s; \
         make its lifetime longer, rotate it earlier, or make theirs shorter",
    );
    Policy::new(HOUR * 100, 60, HOUR, HOUR * 40).unwrap();
}

// No CA can sign.

#[test]
fn without_a_ca_one_is_made_and_used_at_once() {
    let plan = Rotation::default().plan(&policy(), Jitter::NONE, now());
    assert_eq!(plan, Plan { step: Step::Create, bundle: Bundle::default(), again_at: now() });
}

#[test]
fn a_ca_that_is_not_valid_now_is_replaced_whatever_the_reason() {
    for made in [-200, 1] {
        assert_eq!(step(&rotation(made, None, &[])), Step::Create);
        assert_eq!(
            step(&rotation(made, Some((0, None)), &[])),
            Step::Switch,
            "even if clients do not know it yet"
        );
        assert_eq!(step(&rotation(made, Some((-200, None)), &[])), Step::DropNext);
        assert_eq!(step(&rotation(made, Some((1, None)), &[])), Step::DropNext);
    }
    let mut rotation = rotation(1, None, &[]);
    rotation.create(ca(3, 0), &policy(), now());
    assert_eq!(rotation.bundle(now()).certificates(), [ca(1, 1), ca(3, 0)], "trust in the other one stays");
}

// The steps of a rotation.

#[test]
fn the_next_ca_is_made_in_time_to_be_published() {
    rests_until(&rotation(-54, None, &[]), hours_later(1));
    assert_eq!(step(&rotation(-55, None, &[])), Step::Prepare);
}

#[test]
fn the_next_ca_is_published_before_it_signs() {
    assert_eq!(step(&rotation(-70, Some((-9, None)), &[])), Step::Publish);
    assert_eq!(
        step(&rotation(-70, Some((-9, Some(1))), &[])),
        Step::Publish,
        "published in the future is unknown"
    );
    rests_until(&rotation(-70, Some((-9, Some(-4))), &[]), hours_later(1));
    assert_eq!(step(&rotation(-70, Some((-9, Some(-5))), &[])), Step::Switch);
    let plan = rotation(-70, Some((-9, None)), &[]).plan(&policy(), Jitter::NONE, now());
    assert_eq!(plan.bundle.certificates(), [ca(1, -70), ca(2, -9)], "the bundle to publish holds both");
}

#[test]
fn a_publication_that_is_done_early_does_not_hasten_the_switch() {
    let plan = rotation(-50, Some((-9, Some(-9))), &[]).plan(&policy(), Jitter::NONE, now());
    assert_eq!((plan.step, plan.again_at), (Step::Rest, hours_later(10)));
}

#[test]
fn a_switch_changes_nothing_in_the_bundle() {
    let mut rotation = rotation(-70, Some((-9, Some(-5))), &[(-99, -10)]);
    let before = rotation.bundle(now());
    rotation.switch(&policy(), now());
    assert_eq!(rotation.bundle(now()), before);
    assert_eq!((rotation.current, rotation.next), (Some(ca(2, -9)), None));
    assert_eq!(rotation.previous.last().unwrap().needed_until, hours_later(10));
}

#[test]
fn a_previous_ca_stays_until_its_last_leaf_has_ended() {
    rests_until(&rotation(0, None, &[(-60, -10)]), now() + SECOND);
    let late = rotation(0, None, &[(-60, -11)]);
    assert_eq!(step(&late), Step::DropPrevious(ca(10, -60)));
    let expired = rotation(0, None, &[(-101, -1)]);
    assert_eq!(step(&expired), Step::DropPrevious(ca(10, -101)));
    let mut rotation = late;
    rotation.drop_previous(&ca(10, -60));
    assert_eq!(rotation.bundle(now()).certificates(), [ca(1, 0)]);
}

#[test]
fn shorter_lives_of_later_certificates_do_not_cut_the_trust_in_earlier_ones() {
    let mut rotation = rotation(-70, Some((-9, Some(-5))), &[]);
    rotation.switch(&policy(), now());
    let shorter = Policy::new(HOUR * 100, 60, HOUR * 5, HOUR).unwrap();
    let at = |now| rotation.plan(&shorter, Jitter::NONE, now).step;
    assert_eq!(at(hours_later(10)), Step::Rest);
    assert_eq!(at(hours_later(10) + SECOND), Step::DropPrevious(ca(1, -70)));
}

#[test]
fn previous_cas_do_not_pile_up() {
    let four = [(-60, -1), (-59, -1), (-58, -1), (-57, -1)];
    assert_eq!(step(&rotation(0, None, &four)), Step::Rest);
    let five = [(-60, -1), (-59, -1), (-58, -1), (-57, -1), (-56, -1)];
    assert_eq!(step(&rotation(0, None, &five)), Step::DropPrevious(ca(10, -60)));
}

#[test]
fn jitter_rotates_earlier_by_at_most_a_twentieth_of_the_lifetime() {
    let prepare_at = |jitter| rotation(0, None, &[]).plan(&policy(), jitter, now()).again_at;
    let latest = prepare_at(Jitter::NONE);
    for seed in 0..50_u8 {
        let at = prepare_at(Jitter::of(&[&[seed]]));
        assert!(latest - HOUR * 5 - SignedDuration::from_mins(1) < at && at <= latest, "{at}");
        assert_eq!(at, prepare_at(Jitter::of(&[&[seed]])), "the same each time");
    }
}

// Over a long time.

/// An authority with its keeper, who does what the plan says.
struct World {
    rotation: Rotation,
    now: Timestamp,
    seed: u8,
    /// Since when each published certificate has been public without a break.
    known: Vec<(Certificate, Timestamp)>,
    /// Signer and end of each leaf.
    leaves: Vec<(Certificate, Timestamp)>,
    switches: usize,
}

impl World {
    fn new() -> Self {
        let (known, leaves) = (Vec::new(), Vec::new());
        Self { rotation: Rotation::default(), now: now(), seed: 0, known, leaves, switches: 0 }
    }

    fn made(&mut self) -> Certificate {
        self.seed = self.seed.wrapping_add(1);
        made(self.seed, self.now)
    }

    /// Takes steps until there are none; returns when to come again.
    fn settle(&mut self) -> Timestamp {
        for _ in 0..20 {
            let plan = self.rotation.plan(&policy(), Jitter::NONE, self.now);
            self.known.retain(|(certificate, _)| plan.bundle.contains(certificate));
            for certificate in plan.bundle.certificates() {
                if self.known.iter().all(|(known, _)| known != certificate) {
                    self.known.push((certificate.clone(), self.now));
                }
            }
            match plan.step {
                Step::Create => {
                    let made = self.made();
                    self.rotation.create(made, &policy(), self.now);
                }
                Step::Prepare => {
                    let made = self.made();
                    self.rotation.prepare(made);
                }
                Step::Publish => self.rotation.publish(self.now),
                Step::Switch => {
                    self.switches += 1;
                    self.rotation.switch(&policy(), self.now);
                }
                Step::DropNext => self.rotation.drop_next(),
                Step::DropPrevious(certificate) => self.rotation.drop_previous(&certificate),
                Step::Rest => {
                    assert!(self.now < plan.again_at, "rest that is over");
                    return plan.again_at;
                }
            }
        }
        panic!("no rest after twenty steps: {:?}", self.rotation);
    }

    fn sign(&mut self) {
        let current = self.rotation.current.clone().unwrap();
        assert!(current.is_valid_at(self.now), "the CA in use can sign");
        let end = (self.now + HOUR * 10).min(current.not_after());
        self.leaves.push((current, end));
        let now = self.now;
        self.leaves.retain(|(_, end)| now <= *end);
    }
}

#[test]
fn with_a_sound_clock_every_leaf_is_trusted_from_its_first_second_to_its_last() {
    let mut world = World::new();
    for hour in 0..1_000 {
        world.now = hours_later(hour);
        world.settle();
        world.sign();
        for (signer, _) in &world.leaves {
            let (_, since) = world.known.iter().find(|(known, _)| known == signer).unwrap();
            let first = world.switches == 0;
            assert!(first || *since + HOUR * 5 <= world.now, "signed by a CA that clients may not know");
        }
        assert!(world.rotation.previous.len() <= 1);
    }
    assert!((15..=18).contains(&world.switches), "{}", world.switches);
}

#[test]
fn asking_again_when_told_to_is_often_enough() {
    let mut world = World::new();
    let mut wakes = 0;
    while world.now < hours_later(1_000) {
        world.now = world.settle();
        wakes += 1;
    }
    world.settle();
    world.sign();
    assert!((15..=18).contains(&world.switches) && wakes < 80, "{} switches, {wakes} wakes", world.switches);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_clock_that_jumps_never_leaves_the_authority_without_a_ca_that_can_sign(
        jumps in proptest::collection::vec(-300_i64..300, 1..40),
    ) {
        let mut world = World::new();
        for jump in jumps {
            world.now += HOUR * i32::try_from(jump).unwrap();
            world.settle();
            world.sign();
            let bundle = world.rotation.bundle(world.now);
            prop_assert!(bundle.contains(world.rotation.current.as_ref().unwrap()));
            prop_assert!(bundle.certificates().len() <= PREVIOUS_MAX + 2);
        }
    }
}
