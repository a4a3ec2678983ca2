//! What the exposition holds.

use super::*;

const WORDS: LabelValues = LabelValues {
    events_in: &["ping"],
    events_out: &["pong"],
    errors: &["forbidden"],
    closes: &["normal"],
    framings: &["plain"],
    roles: &["driver", "customer"],
    time_corrections: &["ahead"],
    bus: BusLabels { kinds: &["chat"], ignored: &["malformed"], failures: &["lost"] },
};

#[test]
fn names_end_in_their_unit_and_labels_are_there_before_the_first_count() {
    let mut metrics = Metrics::new(&WORDS);
    metrics.show_limits([("connections", 7)]);
    metrics.events_in.inc(0);
    metrics.events_in.inc(99);
    metrics.connections.at(0, 1).expect("in the grid").inc();
    metrics.chat_commit.observe(0.002);
    let text = metrics.encode().expect("text");
    for line in [
        "orderhub_events_in_total{event=\"ping\"} 1",
        "orderhub_rejected_total{code=\"forbidden\"} 0",
        "orderhub_connections{framing=\"plain\",role=\"customer\"} 1",
        "orderhub_outbox_bytes 0",
        "orderhub_chat_commit_seconds_count 1",
        "orderhub_limit{limit=\"connections\"} 7",
        "# TYPE orderhub_build info",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    if cfg!(target_os = "linux") {
        for name in
            ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_max_fds "]
        {
            assert!(text.contains(&format!("\n{name}")), "{name} is not in\n{text}");
        }
    }
    assert_eq!(text.matches("# EOF").count(), 1);
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(metrics.connections.total(), 1);
}
