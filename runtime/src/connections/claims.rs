//! Who keeps a place when there are not enough. Pure.
//!
//! Whoever reaches the port can open connections, and a caller that matters, an API server above all, cannot be told
//! from a stranger: it may call from the address of its node, or from one that others share by a translation of
//! addresses. What tells most is whether it had use of the connection: one on which no request was ever answered with
//! success has no claim to its place, and goes before all that have one. Of these the one that has tried for longest
//! goes first, so that a caller that has just come is left the most time for its first call, and whoever came early has
//! nothing of it. That requests come and fail all the time is of no help.
//!
//! A stranger that sends requests with success, for a webhook such as the API server would send, has a claim like any
//! caller. Then only its address is left to tell it: callers need few connections, so an address that holds more than
//! those has to give up its latest, and what it holds beyond keeps nobody waiting. Strangers from so many addresses that
//! none of them stands out cannot be told from callers at all; against them helps a policy of the network alone, or the
//! verification of clients' certificates.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// A body that comes more slowly than this, in bytes a second, stalls. Reviews are sent at once, and the largest need a
/// hundred times as much to come in time.
const BODY_BYTES_PER_SEC_MIN: u128 = 16 * 1024;

/// Time for the body of a first call, on a connection without a claim: a little more than a review's body has.
const FIRST_BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// Connections with a claim that one address may keep while there are not enough. An API server has one or two over
/// HTTP/2, and some of them may be behind one address.
const CLAIMS_OF_ORIGIN_MAX: usize = 16;

/// What an open connection is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The [`origin`] of its client.
    pub(super) origin: IpAddr,
    /// Whether a request was answered with success.
    pub(super) has_claim: bool,
    /// Since it was opened.
    pub(super) age: Duration,
    pub(super) doing: Doing,
    /// Since it began to do so, or one of several requests came to an end.
    pub(super) time: Duration,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing: there is no request.
    Rests,
    /// Only such requests are there as have not come whole. So much of them has come in the time.
    Receives { bytes: usize },
    /// A request that has come whole is being answered.
    Answers,
}

impl Seen {
    fn stalls(&self, rest: Duration) -> bool {
        let due = BODY_BYTES_PER_SEC_MIN.saturating_mul(self.time.as_millis()) / 1000;
        let is_late = |bytes| u128::try_from(bytes).is_ok_and(|come| come < due);
        matches!(self.doing, Doing::Receives { bytes } if self.time >= rest && is_late(bytes))
    }

    /// Whether a connection without a claim had its time.
    fn had_its_time(&self, rest: Duration) -> bool {
        match self.doing {
            Doing::Answers => false,
            Doing::Rests => self.age >= rest,
            Doing::Receives { .. } => self.stalls(rest) || self.age >= FIRST_BODY_TIME_MAX,
        }
    }
}

/// By what the address of a client counts: IPv6 is given out to machines by the 64 bits of a network, and IPv4 is the
/// same through either kind of socket.
pub(super) fn origin(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// Which connection is to be closed for a new one, in this order:
///
/// 1. without a claim, the one that was opened first;
/// 2. with one, whose requests' bodies stall: nothing is lost that could be answered;
/// 3. the latest of the address that has most with a claim, if those are more than callers need;
/// 4. where none is without a claim, the latest that rests of the address that has most.
///
/// None: none of them may, for now. A request that has come whole is always answered. Nobody is closed before `rest`:
/// until then the first call may be on its way, or a packet that was lost comes again. Callers that rest wait with the
/// new one for a connection without a claim, which may be closed soon, and may themselves be about to send.
pub(super) fn first_to_go(open: &[Seen], rest: Duration) -> Option<usize> {
    let claims = claims_by_origin(open);
    let claims_of = |seen: &Seen| claims.get(&seen.origin).copied().unwrap_or_default();
    let oldest = |may_go: &dyn Fn(&Seen) -> bool| {
        let able = open.iter().enumerate().filter(|(_, seen)| may_go(seen));
        able.max_by_key(|(_, seen)| seen.age).map(|(index, _)| index)
    };
    let latest_of_crowd = |may_go: &dyn Fn(&Seen) -> bool| {
        let able = open.iter().enumerate().filter(|(_, seen)| seen.has_claim && may_go(seen));
        able.min_by_key(|(_, seen)| (usize::MAX - claims_of(seen), seen.age)).map(|(index, _)| index)
    };
    let all_have_a_claim = || open.iter().all(|seen| seen.has_claim);
    oldest(&|seen| !seen.has_claim && seen.had_its_time(rest))
        .or_else(|| oldest(&|seen| seen.has_claim && seen.stalls(rest)))
        .or_else(|| {
            latest_of_crowd(&|seen| claims_of(seen) > CLAIMS_OF_ORIGIN_MAX && seen.doing != Doing::Answers)
        })
        .or_else(|| {
            let rests = |seen: &Seen| seen.doing == Doing::Rests && seen.time >= rest;
            all_have_a_claim().then(|| latest_of_crowd(&rests))?
        })
}

/// How many connections with a claim come from where.
fn claims_by_origin(open: &[Seen]) -> BTreeMap<IpAddr, usize> {
    let mut claims = BTreeMap::new();
    for seen in open.iter().filter(|seen| seen.has_claim) {
        *claims.entry(seen.origin).or_default() += 1;
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(1);
    const STALLED: Doing = Doing::Receives { bytes: 1 };
    const ARRIVING: Doing = Doing::Receives { bytes: 100 << 20 };

    /// From the address 192.0.2.`host`, opened and busy so since so many milliseconds.
    fn seen(host: u8, has_claim: bool, doing: Doing, age: u64, time: u64) -> Seen {
        let [age, time] = [age, time].map(Duration::from_millis);
        Seen { origin: [192, 0, 2, host].into(), has_claim, age, doing, time }
    }

    fn stranger(doing: Doing, age: u64, time: u64) -> Seen {
        seen(1, false, doing, age, time)
    }

    fn caller(doing: Doing, age: u64, time: u64) -> Seen {
        seen(1, true, doing, age, time)
    }

    fn check(why: &str, open: &[Seen], wanted: Option<usize>) {
        assert_eq!(first_to_go(open, REST), wanted, "{why}");
    }

    /// So many connections with a claim, each opened a second after the one before, and idle for `time`.
    fn crowd(host: u8, count: u64, time: u64) -> Vec<Seen> {
        (0..count).map(|number| seen(host, true, Doing::Rests, (1_000 - number) * 1_000, time)).collect()
    }

    #[test]
    fn whoever_may_be_about_to_call_or_waits_for_an_answer_stays() {
        check("nobody is there", &[], None);
        check("it has just come", &[stranger(Doing::Rests, 999, 999)], None);
        check("it is being answered", &[stranger(Doing::Answers, 60_000, 60_000)], None);
        check("it is being answered", &[caller(Doing::Answers, 60_000, 60_000)], None);
        check("its first body has just begun", &[stranger(STALLED, 4_999, 999)], None);
        check("its first body comes at a fair pace", &[stranger(ARRIVING, 4_999, 4_000)], None);
        check("its body comes at a fair pace", &[caller(ARRIVING, 60_000, 4_000)], None);
        check("it was answered a moment ago", &[caller(Doing::Rests, 60_000, 999)], None);
        let waits = [caller(Doing::Rests, 60_000, 60_000), stranger(Doing::Rests, 10, 10)];
        check("a stranger can be closed soon", &waits, None);
        let waits = [caller(Doing::Rests, 60_000, 60_000), stranger(Doing::Answers, 60_000, 10)];
        check("a stranger can be closed once it is answered", &waits, None);
    }

    #[test]
    fn without_an_answer_of_success_there_is_no_claim() {
        let asks_all_the_time = stranger(Doing::Rests, 60_000, 5);
        check("requests that fail earn nothing", &[asks_all_the_time], Some(0));
        check("nor do such whose bodies trickle", &[stranger(STALLED, 1_000, 1_000)], Some(0));
        check("nor such as never end", &[stranger(ARRIVING, 5_000, 10)], Some(0));
        let open = [
            caller(Doing::Rests, 90_000, 80_000),
            stranger(Doing::Rests, 20_000, 10),
            stranger(Doing::Rests, 30_000, 10),
            stranger(Doing::Answers, 40_000, 10),
            caller(STALLED, 90_000, 80_000),
        ];
        check("the one that tried for longest goes first, before all callers", &open, Some(2));
    }

    #[test]
    fn a_body_that_stalls_goes_before_callers_that_rest() {
        let open = [
            caller(Doing::Rests, 90_000, 80_000),
            caller(STALLED, 20_000, 2_000),
            stranger(Doing::Rests, 10, 10),
        ];
        check("nothing could be answered", &open, Some(1));
    }

    #[test]
    fn an_address_keeps_what_callers_need_and_no_more() {
        let few = u64::try_from(CLAIMS_OF_ORIGIN_MAX).unwrap();
        let mut open = vec![seen(2, true, Doing::Rests, 10, 5)];
        open.extend(crowd(3, few, 5));
        check("all were answered a moment ago", &open, None);
        open.extend(crowd(3, 1, 5).into_iter().map(|seen| Seen { age: Duration::from_secs(2), ..seen }));
        let last = open.len() - 1;
        check("the latest of those that are too many", &open, Some(last));
        open.push(seen(4, false, Doing::Rests, 10, 10));
        check("even while a stranger has just come", &open, Some(last));
        open[last].doing = Doing::Answers;
        check("one that is being answered stays", &open, Some(last - 1));
    }

    #[test]
    fn of_callers_that_rest_the_latest_of_the_address_with_most_goes() {
        let mut open = crowd(2, 2, 2_000);
        open.extend(crowd(3, 3, 2_000));
        open.extend(crowd(4, 1, 9_000));
        check("three are most", &open, Some(4));
        open[4].time = Duration::ZERO;
        check("the next one, as this one is in use", &open, Some(3));
    }

    #[test]
    fn an_address_is_told_by_what_one_machine_cannot_change() {
        for (client, wanted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let [client, wanted]: [IpAddr; 2] = [client, wanted].map(|text| text.parse().unwrap());
            assert_eq!(origin(client), wanted, "{client}");
        }
    }
}
