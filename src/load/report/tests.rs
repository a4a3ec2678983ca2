//! A report to try things with, and what makes the program doubt itself.

use super::*;

/// A small report.
pub fn sample() -> Report {
    let mut measure = Measure::new(0, 100);
    for ms in 1..=100 {
        measure.time(Timing::Chat, 0, ms * 1000);
    }
    measure.error("rate_limited");
    measure.close("4008");
    let counts = Counts { chat_sent: 100, chat_seen: 300, ..Counts::default() };
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
        ended: "complete".to_owned(),
        hold_secs: 10.0,
        connections: Connections { planned: 3, peak: 3, at_end: 3 },
        timings: timings(&measure),
        counts,
        rates: Rates::new(&counts, 10.0),
        errors: measure.errors.clone(),
        closes: measure.closes.clone(),
        broken: [("chat-once".to_owned(), broken)].into(),
        client: Client::new(Some(0.5), &counts, &measure),
        seconds: vec![Second { at: 1.0, inside: 3, sent: 10, seen: 30, cpu: 0.5 }],
        assertions: Vec::new(),
    }
}

#[test]
fn a_report_survives_being_written_and_read() {
    let text = serde_json::to_string(&sample()).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("read"), sample());
}

#[test]
fn times_are_milliseconds() {
    let chat = sample().timings["chat"];
    assert_eq!(chat.count, 100);
    assert!((chat.p50 - 50.0).abs() < 0.1 && (chat.max - 100.0).abs() < 0.1, "{chat:?}");
    assert!(!sample().timings.contains_key("location"));
}

#[test]
fn a_busy_or_late_client_doubts_itself() {
    let mut measure = Measure::new(0, 100);
    (0..1000).for_each(|_| measure.time(Timing::Late, 0, 5));
    for (cpu, late, part) in [
        (Some(0.86), 0, Some("86 % of a core")),
        (None, 20, Some("2.0 % of its messages")),
        (Some(0.85), 9, None),
    ] {
        let hold = Counts { late, ..Counts::default() };
        let why = Client::new(cpu, &hold, &measure).bottleneck;
        assert_eq!(why.is_some(), part.is_some(), "{why:?}");
        assert!(why.unwrap_or_default().contains(part.unwrap_or_default()));
    }
}

#[test]
fn distributions_are_written_for_plotters() {
    let mut measure = Measure::new(0, 10);
    measure.time(Timing::Chat, 0, 1500);
    let text = percentiles(&measure);
    assert!(text.contains("# chat (milliseconds)"));
    assert!(text.contains("1.500 1.000000000000          1\n"), "{text}");
}
