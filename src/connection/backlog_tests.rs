//! Tests of the event backlog.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::rate_limit::users::UserLimits;

/// Ten events and two chat messages a second, one at once; one join a second, two at once.
fn used_up(now: Instant) -> UserRates {
    let flags = [
        "--events-per-second=10",
        "--events-burst=1",
        "--chat-per-second=2",
        "--chat-burst=1",
        "--joins-per-second=1",
        "--joins-burst=2",
    ];
    let config = Config::from_flags(flags).expect("settings");
    let rates = UserRates::new(Arc::new(UserLimits::new(&config.limits, now)));
    rates.take(RateKind::Event, now).expect("the first");
    rates.take(RateKind::Chat, now).expect("the first");
    rates
}

fn of(kind: RateKind) -> EventMeta {
    EventMeta { session: None, kind, event_counted: false, position: None, bytes: 10 }
}

/// A position for this order.
fn at(order: &str, taken: Option<i64>) -> EventMeta {
    let target = Target::One(order.parse().expect("an id"));
    let position = Some((target, taken.map(Timestamp::from_secs)));
    EventMeta { position, ..of(RateKind::Event) }
}

/// Which events are released, and after how many milliseconds, until the backlog is empty.
fn all(
    backlog: &mut EventBacklog<&'static str>,
    rates: &UserRates,
    began: Instant,
) -> Vec<(&'static str, u128)> {
    let (mut now, mut taken) = (began, vec![]);
    loop {
        match backlog.next(|_| rates, now) {
            Next::Take(event, _) => taken.push((event, (now - began).as_millis())),
            Next::At(at) => {
                assert!(at > now, "time goes on");
                now = at;
            }
            Next::Empty => return taken,
        }
    }
}

#[test]
fn events_are_released_at_the_rate_chat_before_positions() {
    let (mut backlog, now) = (EventBacklog::default(), Instant::now());
    let rates = used_up(now);
    for (event, meta) in [
        ("here", at("o1", None)),
        ("one", of(RateKind::Chat)),
        ("read", of(RateKind::Event)),
        ("two", of(RateKind::Chat)),
        ("typing", of(RateKind::Event)),
    ] {
        assert_eq!(backlog.push(event, meta), EnqueueOutcome::Queued);
    }
    let taken = all(&mut backlog, &rates, now);
    // Chat waits for its own rate, and does not delay other events meanwhile.
    let expected = [("read", 100), ("typing", 200), ("here", 300), ("one", 500), ("two", 1000)];
    assert_eq!(taken, expected);
}

#[test]
fn allowed_chat_comes_first_and_in_order() {
    let (mut backlog, now) = (EventBacklog::default(), Instant::now());
    let rates = used_up(now);
    backlog.push("here", at("o1", None));
    backlog.push("read", of(RateKind::Event));
    backlog.push("one", of(RateKind::Chat));
    let later = now + Duration::from_secs(10);
    let taken = all(&mut backlog, &rates, later);
    assert_eq!(taken, [("read", 0), ("one", 100), ("here", 200)]);
}

#[test]
fn only_the_newest_position_of_an_order_waits() {
    let (mut backlog, now) = (EventBacklog::default(), Instant::now());
    let rates = used_up(now);
    assert_eq!(backlog.push("b", at("o1", Some(20))), EnqueueOutcome::Queued);
    assert_eq!(backlog.push("a", at("o1", Some(10))), EnqueueOutcome::Stale("a"));
    assert_eq!(backlog.push("other", at("o2", Some(5))), EnqueueOutcome::Queued);
    assert_eq!(backlog.push("c", at("o1", Some(30))), EnqueueOutcome::Stale("b"));
    assert_eq!(backlog.push("d", at("o1", None)), EnqueueOutcome::Stale("c"));
    let taken = all(&mut backlog, &rates, now);
    assert_eq!(taken, [("d", 100), ("other", 200)]);
}

#[test]
fn a_join_waits_for_the_rate_of_joins_and_a_later_leave_behind_it() {
    let (mut backlog, now) = (EventBacklog::default(), Instant::now());
    let rates = used_up(now);
    for event in ["one", "two", "three"] {
        backlog.push(event, of(RateKind::Join));
    }
    backlog.push("leave", of(RateKind::Event));
    let taken = all(&mut backlog, &rates, now);
    assert_eq!(taken, [("one", 0), ("two", 0), ("three", 1000), ("leave", 1000)]);
}

#[test]
fn chat_counts_against_the_rate_of_events_once() {
    let (mut backlog, now) = (EventBacklog::default(), Instant::now());
    let rates = used_up(now);
    backlog.push("one", EventMeta { event_counted: true, ..of(RateKind::Chat) });
    backlog.push("read", of(RateKind::Event));
    assert_eq!(all(&mut backlog, &rates, now), [("read", 100), ("one", 500)]);
    assert_eq!(rates.reserve(RateKind::Event, now), now + Duration::from_millis(200));
}

#[test]
fn the_backlog_is_bounded() {
    let mut backlog = EventBacklog::default();
    for _ in 0..MAX_WAITING {
        assert_eq!(backlog.push("x", of(RateKind::Event)), EnqueueOutcome::Queued);
    }
    assert_eq!(backlog.push("too many", of(RateKind::Chat)), EnqueueOutcome::Full("too many"));
    let mut backlog = EventBacklog::default();
    for _ in 0..MAX_REPLACED {
        assert!(!backlog.is_full());
        backlog.push("p", at("o1", None));
    }
    backlog.push("p", at("o1", None));
    assert!(backlog.is_full(), "the socket waits, nothing is refused");
    let mut backlog = EventBacklog::default();
    for _ in 0..MAX_JOINS {
        assert!(!backlog.is_full());
        backlog.push("join", of(RateKind::Join));
    }
    assert!(backlog.is_full());
    let mut backlog = EventBacklog::default();
    backlog.push("long", EventMeta { bytes: MAX_BYTES, ..of(RateKind::Chat) });
    assert!(backlog.is_full());
}
