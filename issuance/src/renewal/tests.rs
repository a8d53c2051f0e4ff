use super::*;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(secs).unwrap()
}

/// Issued at 0, back-dated by five minutes, ends after 55: an hour in all.
fn hour() -> Life {
    Life { issued_at: at(0), not_before: at(-300), not_after: at(3_300) }
}

fn check(renew_before_secs: Option<i64>, percentage: Option<i32>, expected_secs: i64) {
    let settings = Settings {
        renew_before: renew_before_secs.map(SignedDuration::from_secs),
        renew_before_percentage: percentage,
        ..Settings::default()
    };
    let renewal = settings.renewal(hour(), Jitter::NONE).unwrap();
    assert_eq!(renewal, Renewal { at: at(expected_secs), placement: Placement::Desired });
}

// The desired instant.

#[test]
fn an_unusable_margin_falls_back_to_two_thirds() {
    for unusable in [None, Some(0), Some(-5), Some(3_600), Some(90_000), Some(i64::MIN), Some(i64::MAX)] {
        for percentage in [None, Some(0), Some(-1), Some(100), Some(i32::MIN), Some(i32::MAX)] {
            check(unusable, percentage, 2_100);
        }
    }
}

#[test]
fn a_margin_counts_back_from_expiry_but_not_into_the_first_third() {
    check(Some(300), None, 3_000);
    check(Some(3_500), None, 1_100);
    assert_eq!(renewal_time(at(0), at(-300), at(3_300), Some(SignedDuration::from_secs(300))), at(3_000));
}

#[test]
fn a_percentage_is_of_the_lifetime_and_gives_way_to_an_absolute_margin() {
    check(None, Some(1), 3_264);
    check(None, Some(25), 2_400);
    check(None, Some(99), 1_100);
    check(Some(0), Some(25), 2_400);
    check(Some(300), Some(25), 3_000);
}

#[test]
fn a_certificate_of_ten_seconds_is_renewed_in_its_second_half() {
    let life = Life { issued_at: at(0), not_before: at(-1), not_after: at(10) };
    let renewal = Settings::default().renewal(life, Jitter::NONE).unwrap();
    assert_eq!(renewal.at, at(6), "truncated to seconds");
}

#[test]
fn the_first_third_is_never_cut_into_by_rounding() {
    let settings = Settings { renew_before: Some(SignedDuration::from_secs(9)), ..Settings::default() };
    let life = Life { issued_at: at(0), not_before: at(0), not_after: at(10) };
    assert_eq!(settings.renewal(life, Jitter::NONE).unwrap().at, at(4), "a third is 3.3 s");
}

#[test]
fn lives_that_make_no_sense_still_give_an_instant_that_is_not_after_their_end() {
    let ends = [Timestamp::MIN, at(-5), at(0), at(5), Timestamp::MAX];
    for issued_at in ends {
        for not_before in ends {
            for not_after in ends {
                let life = Life { issued_at, not_before, not_after };
                let renewal = Settings::default().renewal(life, Jitter::of(&[b"x"])).unwrap();
                assert!(renewal.at <= not_after, "{life:?}: {renewal:?}");
            }
        }
    }
}

#[test]
fn a_disabled_policy_never_renews() {
    let settings = Settings { policy: Policy::Disabled, ..Settings::default() };
    assert_eq!(settings.renewal(hour(), Jitter::NONE), None);
}

#[test]
fn jitter_renews_earlier_by_at_most_a_twentieth_of_the_margin() {
    let life = Life { issued_at: at(0), not_before: at(0), not_after: at(30_000) };
    let instants: Vec<Timestamp> = (0..200_u32)
        .map(|seed| Settings::default().renewal(life, Jitter::of(&[&seed.to_be_bytes()])).unwrap().at)
        .collect();
    let (first, last) = (*instants.iter().min().unwrap(), *instants.iter().max().unwrap());
    assert!(at(19_500) < first && first < at(19_520), "{first}");
    assert!(at(19_980) < last && last <= at(20_000), "{last}");
}

// Windows.

fn window(cron: &str, hours: i64, zone: &str) -> Window {
    Window::parse(cron, HOUR * i32::try_from(hours).unwrap(), Some(zone)).unwrap()
}

fn refused(cron: &str, duration: SignedDuration, zone: Option<&str>, message: &str) {
    let error = Window::parse(cron, duration, zone).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}

#[test]
fn text_that_is_no_cron_pattern_of_five_fields_is_refused() {
    for pattern in ["", "   ", "* * * *", "0 * * * * *", "0 0 * * * * 2026"] {
        let message = format!("cron pattern {pattern:?} is not usable: it does not have five fields; write");
        refused(pattern, HOUR, None, &message);
    }
    for (pattern, item) in [
        ("0 0 * * 5#2", "5#2"),
        ("0 0 * * +5", "+5"),
        ("@ 0 * * *", "@"),
        ("0 0 é * *", "é"),
        ("0 0 L * *", "L"),
        ("0 0 15W * *", "15W"),
        (", * * * *", ""),
        ("0 1, * * *", ""),
        ("- * * * *", "-"),
        ("/5 * * * *", "/5"),
        ("0/ * * * *", "0/"),
    ] {
        let reason = format!("{item:?} is neither a value nor a range, with or without a step");
        refused(pattern, HOUR, None, &format!("cron pattern {pattern:?} is not usable: {reason}; write"));
    }
    for pattern in [
        "60 0 * * *",
        "0 24 * * *",
        "0 0 32 * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "a * * * *",
        "5-1 * * * *",
        "*/0 * * * *",
    ] {
        refused(pattern, HOUR, None, &format!("cron pattern {pattern:?} is not usable: "));
    }
    let long = format!("{} * * * *", "0,".repeat(300));
    assert!(Window::parse(&long, HOUR, None).unwrap_err().to_string().contains("it is too long"));
}

#[test]
fn days_of_the_week_are_counted_from_0_to_6_as_the_peer_does() {
    for (item, day) in
        [("7", "7"), ("07", "07"), ("5-7", "7"), ("SUN-7", "7"), ("*,7", "7"), ("7/1", "7"), ("JAN", "JAN")]
    {
        let pattern = format!("0 0 * * {item}");
        let item = item.rsplit(',').next().unwrap();
        let reason = format!(
            "{day:?} in {item:?} is no day of the week; they are 0 to 6, or SUN to SAT, and Sunday is 0; write"
        );
        refused(&pattern, HOUR, None, &format!("cron pattern {pattern:?} is not usable: {reason}"));
    }
    for pattern in ["0 0 * * FRI-SUN", "0 0 * * 5-0"] {
        refused(pattern, HOUR, None, &format!("cron pattern {pattern:?} is not usable: "));
    }
    let days = |pattern: &str| -> Vec<i64> {
        let window = window(pattern, 1, "UTC");
        // 1970-01-04 was a Sunday.
        let noon = |day: i64| at((day + 3) * 86_400);
        (0..7).filter(|day| window.contains(noon(*day))).collect()
    };
    assert_eq!(days("0 0 * * 0"), [0]);
    assert_eq!(days("0 0 * * sun"), [0]);
    assert_eq!(days("0 0 * * 5/2 "), [5], "Sunday does not follow");
    assert_eq!(days(" 0 0 * * WED/3"), [3, 6]);
    assert_eq!(days("0 0 * * */3"), [0, 3, 6]);
    assert_eq!(days("0 0 ? * MON-WED,6"), [1, 2, 3, 6]);
    assert_eq!(days("0 0 * ? MON-WED,6"), [1, 2, 3, 6]);
    for pattern in ["? * * * *", "* ? * * *", "?/5 ?/2 ? ? ?", "0 0 1 1 ?"] {
        assert!(Window::check_cron(pattern, None).is_ok(), "{pattern}");
    }
    assert_eq!(days("0 0 * * *"), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_day_that_does_not_exist_is_refused_without_a_long_search() {
    for pattern in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *"] {
        refused(
            pattern,
            HOUR,
            None,
            &format!("cron pattern {pattern:?} never matches; there is no such day"),
        );
    }
    window("0 0 29 2 *", 1, "UTC");
    window("0 0 30 2 MON", 1, "UTC"); // Either day suffices.
}

#[test]
fn words_and_periods_are_read_or_refused() {
    for (cron, zone, reason) in [
        ("@fortnightly", None, "it does not have five fields"),
        ("@Daily", None, "it does not have five fields"),
        ("@every", None, "it does not have five fields"),
        ("@every 1d", None, "after @every stands a duration"),
        ("@every day", None, "after @every stands a duration"),
        ("@every  1h", None, "after @every stands a duration"),
        ("TZ=Europe/Berlin", None, "there is only a time zone"),
        ("TZ=Europe/Berlin ", None, "it does not have five fields"),
        ("TZ=Europe/Berlin 0 2 * * *", Some("UTC"), "the time zone is said twice"),
    ] {
        let told = Window::parse(cron, HOUR, zone).unwrap_err().to_string();
        assert!(told.contains(reason), "{cron}: {told}");
        assert_eq!(Window::check_cron(cron, zone).unwrap_err().to_string(), told);
    }
    let check = |cron: &str, from: &str, next: &str| {
        let window = Window::parse(cron, HOUR, None).unwrap();
        let from: Timestamp = from.parse().unwrap();
        assert_eq!(window.next_start(from).unwrap().to_string(), next, "{cron}");
        assert_eq!(Window::check_cron(cron, None), Ok(()));
    };
    check("@yearly", "2026-05-06T07:08:09Z", "2027-01-01T00:00:00Z");
    check("@monthly", "2026-05-06T07:08:09Z", "2026-06-01T00:00:00Z");
    check("@weekly", "2026-05-06T07:08:09Z", "2026-05-10T00:00:00Z");
    check("@midnight", "2026-05-06T07:08:09Z", "2026-05-07T00:00:00Z");
    check("@hourly", "2026-05-06T07:00:00Z", "2026-05-06T07:00:00Z");
    check("@every 24h", "2026-05-06T07:08:09Z", "2026-05-07T00:00:00Z");
    check("@every 1h30m", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z");
    check("@every 1h30m", "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z");
    check("@every 1ms", "1970-01-01T00:00:00.5Z", "1970-01-01T00:00:01Z");
    check("TZ=Europe/Berlin 0 2 * * *", "2026-05-06T07:08:09Z", "2026-05-07T00:00:00Z");
    check("CRON_TZ=Asia/Tokyo @daily", "2026-05-06T07:08:09Z", "2026-05-06T15:00:00Z");
}

#[test]
fn a_stretch_without_an_open_window_is_found() {
    let day = HOUR * 24;
    let check = |crons: &[&str], span: SignedDuration, closed: bool| {
        let windows: Vec<_> = crons.iter().map(|cron| Window::parse(cron, HOUR, None).unwrap()).collect();
        assert_eq!(are_all_closed_for(&windows, span), closed, "{crons:?} for {span:#}");
    };
    check(&["@yearly"], day * 90, true);
    check(&["0 0 29 2 *"], day * 365, true);
    check(&["0 0 1 1,7 *"], day * 90, true);
    check(&["@weekly"], day, true);
    check(&["@daily"], HOUR * 22, true);
    check(&["@every 48h"], day, true);
    check(&[], HOUR, true);
    check(&["@monthly"], day * 90, false);
    check(&["@weekly"], day * 7, false);
    check(&["@daily"], HOUR * 24, false);
    check(&["* * * * *"], HOUR, false);
    check(&["0 0 1 1,7 *", "0 0 1 4,10 *"], day * 93, false);
    check(&["@every 48h"], HOUR * 48, false);
}

#[test]
fn an_unknown_time_zone_and_a_window_of_no_length_are_refused() {
    for zone in ["Mars/Olympus", "Local", "../etc/passwd", "UTC+1"] {
        refused("0 0 * * *", HOUR, Some(zone), &format!("time zone {zone:?} is not in the IANA database"));
    }
    for duration in [SignedDuration::ZERO, -HOUR, SignedDuration::from_millis(999)] {
        refused("0 0 * * *", duration, None, "a window cannot be open for ");
    }
    assert!(Window::parse("0 0 * * *", HOUR, Some("")).is_ok(), "empty means UTC");
    assert!(Window::check_zone("europe/berlin").is_err(), "the peer minds the case");
    assert_eq!(Window::check_zone("Europe/Berlin"), Ok(()));
}

#[test]
fn no_text_makes_the_parser_panic() {
    use proptest::prelude::*;
    let field = "[0-9*/,?A-Za-z-]{0,6}";
    let five = proptest::collection::vec(field, 5).prop_map(|fields| fields.join(" "));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let text = prop_oneof![five, any::<String>()];
    runner
        .run(&text, |pattern| {
            if let Ok(window) = Window::parse(&pattern, HOUR, None) {
                prop_assert!(window.next_start(at(0)).is_some(), "{}", pattern);
            }
            Ok(())
        })
        .unwrap();
}

/// A certificate of 90 days whose desired instant is this one, and what windows make of it.
fn placed(windows: Vec<Window>, desired: &str) -> (String, Placement) {
    let desired: Timestamp = desired.parse().unwrap();
    let not_after = desired + HOUR * (30 * 24);
    let not_before = desired - HOUR * (60 * 24);
    let settings = Settings { windows, ..Settings::default() };
    let life = Life { issued_at: not_before, not_before, not_after };
    let renewal = settings.renewal(life, Jitter::NONE).unwrap();
    (renewal.at.to_string(), renewal.placement)
}

fn check_placed(windows: Vec<Window>, desired: &str, at: &str, placement: Placement) {
    assert_eq!(placed(windows, desired), (at.to_owned(), placement), "{desired}");
}

#[test]
fn the_desired_instant_stands_inside_a_window() {
    for inside in ["2026-07-01T02:00:00Z", "2026-07-01T02:00:01Z", "2026-07-01T03:59:59Z"] {
        check_placed(vec![window("0 2 * * *", 2, "UTC")], inside, inside, Placement::Desired);
    }
    // A window that opened on the day before.
    let night = vec![window("0 22 * * *", 8, "UTC")];
    check_placed(night, "2026-07-01T05:59:59Z", "2026-07-01T05:59:59Z", Placement::Desired);
}

#[test]
fn outside_it_moves_to_the_start_of_the_next_window_of_any() {
    let check = |desired, at| {
        let windows = vec![window("0 2 * * *", 2, "UTC"), window("30 12 * * MON", 1, "UTC")];
        check_placed(windows, desired, at, Placement::NextWindow);
    };
    check("2026-07-01T01:59:59Z", "2026-07-01T02:00:00Z");
    check("2026-07-01T04:00:00Z", "2026-07-02T02:00:00Z");
    // 6 July 2026 is a Monday.
    check("2026-07-06T04:00:00Z", "2026-07-06T12:30:00Z");
}

#[test]
fn windows_open_by_the_clock_of_their_time_zone() {
    let berlin = || vec![window("0 2 * * *", 1, "Europe/Berlin")];
    check_placed(berlin(), "2026-07-01T12:00:00Z", "2026-07-02T00:00:00Z", Placement::NextWindow);
    check_placed(berlin(), "2026-12-01T12:00:00Z", "2026-12-02T01:00:00Z", Placement::NextWindow);
    // On 29 March 2026 clocks jump from 2 to 3: the window opens at the first instant after the gap.
    check_placed(berlin(), "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", Placement::NextWindow);
    // On 25 October 2026 there are two hours from 2 to 3: it opens in the first.
    check_placed(berlin(), "2026-10-24T12:00:00Z", "2026-10-25T00:00:00Z", Placement::NextWindow);
}

#[test]
fn a_window_that_opens_after_the_end_gives_way_to_the_last_one_before() {
    // The certificate lives from 2 May to 31 July; nothing opens after 1 July in it.
    let desired = "2026-07-01T12:00:00Z";
    let check = |cron: &str, hours, at: &str, placement| {
        check_placed(vec![window(cron, hours, "UTC")], desired, at, placement);
    };
    check("0 0 20 6,8 *", 1, "2026-06-20T00:00:00Z", Placement::LastWindow);
    check("0 12 31 7 *", 1, desired, Placement::NoWindow);
    check("0 11 31 7 *", 1, "2026-07-31T11:00:00Z", Placement::NextWindow);
    // Its first third ends on 1 June at noon: earlier windows are no use, but one that is still open then is.
    check("0 0 1 6 *", 12, desired, Placement::NoWindow);
    check("0 0 1 6 *", 13, "2026-06-01T12:00:00Z", Placement::LastWindow);
    check("0 0 1 5 *", 24, desired, Placement::NoWindow);
    let several = vec![window("0 0 20 6 *", 1, "UTC"), window("0 0 25 6 *", 1, "UTC")];
    check_placed(several, desired, "2026-06-25T00:00:00Z", Placement::LastWindow);
}

#[test]
fn windows_at_the_ends_of_time_end_in_an_answer() {
    let settings =
        Settings { windows: vec![window("0 0 29 2 *", 1, "Europe/Berlin")], ..Settings::default() };
    for (from, to) in [(Timestamp::MIN, Timestamp::MAX), (at(253_402_000_000), at(253_402_200_000))] {
        let life = Life { issued_at: from, not_before: from, not_after: to };
        assert!(settings.renewal(life, Jitter::NONE).unwrap().at <= to);
    }
}

// Jitter in windows.

/// Where 300 certificates of one life are renewed, all of them in this placement.
fn spread(windows: Vec<Window>, not_after: &str, placement: Placement) -> (Timestamp, Timestamp, usize) {
    let not_after: Timestamp = not_after.parse().unwrap();
    let not_before = not_after - HOUR * (90 * 24);
    let life = Life { issued_at: not_before, not_before, not_after };
    let settings = Settings { windows, ..Settings::default() };
    let mut instants: Vec<Timestamp> = (0..300_u32)
        .map(|seed| {
            let renewal = settings.renewal(life, Jitter::of(&[&seed.to_be_bytes()])).unwrap();
            assert_eq!(renewal.placement, placement, "{renewal:?}");
            assert_eq!(Some(renewal), settings.renewal(life, Jitter::of(&[&seed.to_be_bytes()])));
            renewal.at
        })
        .collect();
    instants.sort();
    instants.dedup();
    (*instants.first().unwrap(), *instants.last().unwrap(), instants.len())
}

fn check_spread(windows: Vec<Window>, not_after: &str, placement: Placement, from: &str, to: &str) {
    let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
    let (first, last, count) = spread(windows, not_after, placement);
    assert!(from <= first && last < to, "{first} to {last}");
    let tenth = to.duration_since(from) / 10;
    assert!(first < from + tenth && to - tenth < last, "{first} to {last} do not fill {from} to {to}");
    assert!(count > 200, "{count} instants");
}

#[test]
fn what_moves_into_one_window_is_spread_over_it() {
    // Desired on 1 July at noon, or up to 36 hours before.
    let not_after = "2026-07-31T12:00:00Z";
    let check = |cron, hours, from, to| {
        check_spread(vec![window(cron, hours, "UTC")], not_after, Placement::NextWindow, from, to);
    };
    check("0 2 5 * *", 2, "2026-07-05T02:00:00Z", "2026-07-05T04:00:00Z");
    // A twentieth of the margin of 30 days, of a window of four days.
    check("0 2 5 * *", 96, "2026-07-05T02:00:00Z", "2026-07-06T14:00:00Z");
    // Half of the two hours that are left of the life.
    check("0 10 31 7 *", 9, "2026-07-31T10:00:00Z", "2026-07-31T11:00:00Z");
    let last = vec![window("0 0 20 6,8 *", 3, "UTC")];
    check_spread(last, not_after, Placement::LastWindow, "2026-06-20T00:00:00Z", "2026-06-20T03:00:00Z");
}

#[test]
fn a_window_of_a_second_is_hit_by_all() {
    let second = Window::parse("0 2 5 * *", SignedDuration::from_secs(1), None).unwrap();
    let (first, last, _) = spread(vec![second], "2026-07-31T12:00:00Z", Placement::NextWindow);
    assert_eq!((first.to_string().as_str(), last), ("2026-07-05T02:00:00Z", first));
}
