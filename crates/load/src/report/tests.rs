//! A sample report, and when the program doubts its own times.

use std::time::Duration;

use super::*;
use crate::scenario::Scenario;
use crate::seconds::{HubSecond, TimingSummary};

/// The workload of a scenario with these changes.
pub fn workload(changes: &[&str]) -> Workload {
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    let text = "name = \"chat\"\nrooms = 100\n[driver]\nper-room = 1\nchat = 0.1\n\
                [customer]\nper-room = 2\nchat = 0.1\n";
    Workload::new(&Scenario::read(text, &changes).expect("a scenario"))
}

/// A small report.
pub fn sample() -> Report {
    let mut measure = Measure::new(0, 100);
    for ms in 1..=100 {
        measure.time(Timing::Chat, 0, ms * 1000);
    }
    measure.error("rate_limited");
    measure.close("4008");
    measure.turn();
    let counts = Counts { chat_sent: 100, chat_seen: 300, ..Counts::default() };
    let hold =
        Interval { time: Duration::from_secs(10), counts, cpu: Some(0.5), ..Interval::default() };
    let summary = TimingSummary { count: 30, p50: 50.0, p99: 99.0, max: 100.0 };
    let second = Second {
        at: 1.0,
        inside: 3,
        sent: 10.0,
        seen: 30.0,
        errors: 1,
        closes: 1,
        cpu: 0.5,
        hub: Some(HubSecond { cpu: Some(0.25), memory: 50_000_000 }),
        times: [(Timing::Chat, summary)].into(),
    };
    let examples = vec!["room 1, connection 2: seq 7 came again".to_owned()];
    let promise = "no member sees a message twice".to_owned();
    let broken = Broken { promise, count: 1, examples };
    Report {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        at: Timestamp::from_secs(0),
        scenario: "chat".to_owned(),
        url: "ws://127.0.0.1:8080".to_owned(),
        framing: "plain".to_owned(),
        seed: 1,
        workload: Some(workload(&[])),
        machine: Some(Machine { host: "box".to_owned(), cores: 2, ..Machine::default() }),
        hub_version: Some("0.1.0".to_owned()),
        ended: "complete".to_owned(),
        hold_secs: 10.0,
        connections: Connections { planned: 3, peak: 3, at_end: 3 },
        timings: timings(&measure, Times::new),
        percentiles: timings(&measure, distribution),
        counts,
        rates: Rates::new(&hold),
        errors: measure.errors.clone(),
        closes: measure.closes.clone(),
        broken: [("chat-once".to_owned(), broken)].into(),
        client: ClientUse::new(&hold, &measure),
        hub: Some(HubUse { cpu: Some(0.25), cpu_per_delivery_us: Some(4.5), memory: 50_000_000 }),
        seconds: vec![second],
        assertions: Vec::new(),
    }
}

#[test]
fn a_report_survives_being_written_and_read() {
    let text = serde_json::to_string(&sample()).expect("JSON");
    assert_eq!(Report::read(&text), Ok(sample()));
}

#[test]
fn a_report_of_an_older_program_is_read() {
    let mut old = serde_json::to_value(sample()).expect("JSON");
    for key in ["workload", "machine", "hubVersion"] {
        assert!(old.as_object_mut().and_then(|old| old.remove(key)).is_some(), "{key}");
    }
    let report = Report::read(&old.to_string()).expect("a report");
    assert_eq!((&report.workload, &report.machine), (&None, &None));
    assert_eq!(report.headline(), "3 connections");
}

#[test]
fn an_invalid_report_is_refused_in_a_sentence() {
    for (text, part) in [
        ("", "no result of a run (--json)"),
        ("{}", "missing field `format`"),
        ("{\"format\":2,\"other\":1}", "it has format 2, and this program reads 1"),
        ("{\"format\":1}", "missing field `version`"),
    ] {
        let error = Report::read(text).expect_err("no report");
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn times_are_milliseconds() {
    let chat = sample().timings["chat"];
    assert_eq!(chat.count, 100);
    assert!((chat.p50 - 50.0).abs() < 0.1 && (chat.max - 100.0).abs() < 0.1, "{chat:?}");
    assert!(!sample().timings.contains_key("location"));
}

#[test]
fn a_busy_client_is_a_bottleneck_and_a_late_one_that_is_not_busy_was_disturbed() {
    let mut measure = Measure::new(0, 100);
    (0..1000).for_each(|_| measure.time(Timing::Late, 0, 5));
    measure.turn();
    for (cpu, late, doubt) in [
        (Some(0.86), 0, Some(("a bottleneck", "86 % of a core"))),
        (Some(0.86), 20, Some(("a bottleneck", "86 % of a core"))),
        (None, 20, Some(("disturbed", "2.0 % of its messages"))),
        (Some(0.2), 20, Some(("disturbed", "over 10 ms late though it took 20 % of a core"))),
        (Some(0.85), 9, None),
    ] {
        let counts = Counts { late, ..Counts::default() };
        let hold = Interval { counts, cpu, ..Interval::default() };
        let report = Report { client: ClientUse::new(&hold, &measure), ..sample() };
        let found = report.doubt();
        assert_eq!(found.map(|(what, _)| what), doubt.map(|(what, _)| what), "{found:?}");
        assert!(
            found.is_none_or(|(_, why)| why.contains(doubt.unwrap_or_default().1)),
            "{found:?}"
        );
    }
}

#[test]
fn distributions_are_written_for_plotters() {
    let mut measure = Measure::new(0, 10);
    measure.time(Timing::Chat, 0, 1500);
    measure.turn();
    let text = percentiles(&measure);
    assert!(text.contains("# chat (milliseconds)"));
    assert!(text.contains("1.500 1.000000000000          1\n"), "{text}");
}

#[test]
fn the_usage_of_the_hub_is_given_per_delivery() {
    let counts = Counts { chat_seen: 1000, ..Counts::default() };
    let time = Duration::from_secs(10);
    let hold = Interval { time, counts, hub_cpu: Some(0.2), ..Interval::default() };
    let hub = HubUse::new(&hold, &sample().seconds).expect("somebody looked");
    assert_eq!((hub.cpu, hub.memory), (Some(0.2), 50_000_000));
    assert!((hub.cpu_per_delivery_us.expect("seen") - 2000.0).abs() < 1e-6);
    assert_eq!(HubUse::new(&hold, &[]), None);
}
