//! How much memory bundles take while they are read, merged and written, as multiples of their text.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]

use allocation_counter::measure;
use issuance::authority::Authority;
use issuance::bundle::Bundle;
use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
use issuance::pem::{Limit, readable_certificates};
use jiff::{SignedDuration, Timestamp};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// So many CAs, in PEM.
fn bundle(count: usize) -> String {
    let make = |number: usize| {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let name = format!("root {number}");
        Authority::self_signed(&name, key, SignedDuration::from_hours(24), now())
            .unwrap()
            .certificate()
            .clone()
    };
    Bundle::of((0..count).map(make).collect()).to_pem()
}

/// What an action has in memory at once, and what it takes in all, must be at most so many times the text.
fn check(action: &str, text: &str, at_once: f64, in_all: f64, run: impl FnOnce()) {
    let taken = measure(run);
    for (what, bytes, most) in [("at once", taken.bytes_max, at_once), ("in all", taken.bytes_total, in_all)]
    {
        let times = f64::from(u32::try_from(bytes).unwrap()) / f64::from(u32::try_from(text.len()).unwrap());
        assert!(times <= most, "{action} {} bytes takes {times} times as many {what}", text.len());
    }
}

/// Certificates of ECDSA P-256 with short names are the worst case of practice: little text, and as many fields.
#[test]
fn a_bundle_takes_no_more_memory_than_twice_its_text() {
    for count in [50, 200, 500] {
        let text = bundle(count);
        let parse = || Bundle::parse(text.as_bytes()).unwrap();
        let parsed = parse();
        // In all: copies of single blocks that are gone before the next one, about six. Their number is no promise; that it
        // does not grow with the bundle is.
        check("reading", &text, 2.0, 8.0, || drop(parse()));
        check("reading what can be read of", &text, 2.0, 8.0, || {
            drop(readable_certificates(text.as_bytes(), Limit::OBJECT).unwrap());
        });
        check("merging", &text, 0.1, 0.2, || drop(Bundle::merge(&parsed, &parsed, now())));
        check("merging into a bounded bundle", &text, 0.1, 0.2, || {
            drop(Bundle::merge_all([&parsed, &parsed], now()).unwrap());
        });
    }
}

#[test]
fn the_text_of_a_bundle_is_made_in_one_piece() {
    let text = bundle(200);
    let parsed = Bundle::parse(text.as_bytes()).unwrap();
    let taken = measure(|| drop(parsed.to_pem()));
    assert_eq!((taken.count_total, taken.bytes_total), (1, u64::try_from(text.len()).unwrap()));
}
