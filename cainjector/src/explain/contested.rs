//! Whether somebody fights over a target, as far as the injector has told in events: who fights, it alone remembers.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use serde::Serialize;

use crate::plan::Reason;

/// How long after the last event a target counts as contested: the injector repeats it as long as the fight goes on, at the
/// latest with the first loss after twenty minutes, which a pause of ten may precede.
const TOLD_WITHIN: SignedDuration = SignedDuration::from_mins(40);

/// Somebody keeps overwriting a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contested {
    /// What the injector has told, for people.
    pub message: String,
    /// When it did so for the last time.
    pub last_told: Timestamp,
}

impl Contested {
    /// What the youngest of these events says, if it is young enough.
    pub fn of(events: &[Event], now: Timestamp) -> Option<Self> {
        let reason = Reason::FieldContested.to_string();
        let told = events.iter().filter(|event| event.reason.as_ref() == Some(&reason));
        let told = told.filter_map(|event| {
            let last_told = event.last_timestamp.as_ref().map(|time| time.0)?;
            Some(Self { message: event.message.clone().unwrap_or_default(), last_told })
        });
        told.filter(|told| now.duration_since(told.last_told) < TOLD_WITHIN).max_by_key(|told| told.last_told)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::report::CONTESTED_AGAIN;
    use crate::testing::now;

    fn event(reason: &str, message: &str, minutes_ago: i64) -> Event {
        Event {
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_timestamp: Some(Time(now() - SignedDuration::from_mins(minutes_ago))),
            ..Event::default()
        }
    }

    #[test]
    fn the_youngest_event_of_a_fight_counts_while_it_is_young() {
        assert!(TOLD_WITHIN > SignedDuration::try_from(CONTESTED_AGAIN + Duration::from_secs(600)).unwrap());
        let told = |events: &[Event]| Contested::of(events, now()).map(|contested| contested.message);
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[event("NotACA", "it is none", 0), event("FieldContested", "long ago", 40)]), None);
        let events = [event("FieldContested", "before", 39), event("FieldContested", "now", 30)];
        assert_eq!(told(&events), Some("now".to_owned()));
    }
}
