//! A server that breaks its word is found out, and told by name.

use crate::lying_hub::{self, Lie};
use crate::support::{FinishedRun, LoadRun};

/// A driver and two customers who talk.
const TALK: &str = "name = \"talk\"\nrooms = 1\nramp-up = \"200ms\"\nhold = \"2s\"\n\
     settle = \"500ms\"\nramp-down = \"0s\"\n\
     [driver]\nper-room = 1\nlocations = 5\nchat = 5\n[customer]\nper-room = 2\nchat = 5\n";

fn ran(lie: Lie, scenario: &str) -> FinishedRun {
    LoadRun::new(lying_hub::start(lie), "talk.toml").file("talk.toml", scenario).run()
}

#[test]
fn a_server_that_keeps_its_word_is_believed() {
    let ran = ran(Lie::None, TALK).good();
    assert!(ran.number("counts.chatSeen") > 20.0, "{}", ran.stdout);
}

#[test]
fn each_broken_promise_is_reported_by_name() {
    for (lie, promise) in [
        (Lie::Drop, "chat-seen"),
        (Lie::Twice, "chat-once"),
        (Lie::Swap, "chat-order"),
        (Lie::Other, "chat-same"),
        (Lie::Mute, "answered"),
        (Lie::Back, "location-forward"),
    ] {
        let ran = ran(lie, TALK).failed(1, &["broken its promises", promise]);
        let broken = ran.json["broken"].as_object().expect("an object");
        let names: Vec<&String> = broken.keys().collect();
        assert_eq!(names, [promise], "{lie:?}");
        assert!(ran.stdout.contains(&format!("BROKEN {promise}")), "{}", ran.stdout);
    }
}

#[test]
fn chat_that_a_resumed_client_does_not_get_is_reported() {
    let sleepy = TALK.replace("per-room = 2", "per-room = 2\nstay = \"300ms\"\naway = \"400ms\"");
    ran(Lie::Forget, &sleepy).failed(1, &["broken its promises: chat-seen"]);
}
