//! TOML files, values and addresses of the load generator.

use load::address::{Address, answer};
use load::scenario::{BUILTIN, Scenario, TimeSpan};
use proptest::prelude::*;

use super::mutate::{config, mutated};

const FILES: &[&str] = &[
    "name = \"mixed\"\nabout = \"A city\"\nrooms = 300\nramp-up = \"5s\"\nhold = \"1m\"\n\n[driver]\n\
     per-room = 1\nlocations = 1.5\nchat = 0.02\nstay = \"40s\"\naway = \"2s\"\n\n[customer]\n\
     per-room = 2\nchat-in-flight = 3\nleave = true\n",
    "name = \"s\"\nrooms = 1\nseed = 7\norder = \"load\"\nsettle = \"250ms\"\n[support]\nper-room = 1\n\
     chat-characters = 4000\nread-bytes-per-second = 10\nsince-seq = true\n[[storm]]\nat = \"1s\"\n\
     jitter = \"10ms\"\n",
];

const WORDS: &[&str] = &[
    "rooms = ",
    "[driver]",
    "[[storm]]",
    "per-room",
    "\"1week\"",
    "\"8days\"",
    "locations-in-flight = ",
    "1_000_000",
    "0x10",
    "1979-05-27",
    "\"\"\"",
    "'''",
    "driver.per-room=2",
];

const CHANGES: &[&str] = &["driver.locations=5", "rooms=3", "hold=\"2s\"", "storm=[]", "a.b.c=1"];

const ADDRESSES: &[&str] =
    &["ws://host:8080", "https://hub.example.com/socket.io/", "wss://[::1]:443/ws", "localhost:1"];

const ANSWERS: &[&str] =
    &["HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\u{1}rest"];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_scenario_is_read_or_its_line_is_named(
        text in mutated(FILES, WORDS), change in proptest::option::of(mutated(CHANGES, WORDS)),
    ) {
        let changes: Vec<String> = change.into_iter().collect();
        match Scenario::read(&text, &changes) {
            Ok(scenario) => {
                prop_assert!((1..=1_000_000).contains(&scenario.people()), "{}", scenario.people());
                prop_assert!(scenario.length().as_secs() <= 4 * 7 * 86_400);
            }
            Err(error) => {
                prop_assert!(!error.problem.is_empty());
                let lines = text.split('\n').count();
                prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error:?}");
            }
        }
    }

    #[test]
    fn a_time_span_is_what_was_written(millis in 0..=7 * 86_400_000_u64) {
        for text in [format!("{millis}ms"), format!("{}s {}ms", millis / 1000, millis % 1000)] {
            let TimeSpan(span) = text.parse().expect("a span");
            prop_assert_eq!(span.as_millis(), u128::from(millis));
        }
    }

    #[test]
    fn an_address_is_its_own_origin(url in mutated(ADDRESSES, &["://", "socket.io", "65536", "[::"])) {
        let Ok(address) = Address::read(&url) else { return Ok(()) };
        if url.contains("://") {
            prop_assert!(address.is_origin_of(&url), "{address:?}");
        }
        prop_assert!(!address.authority.contains('/'));
    }

    #[test]
    fn an_answer_ends_within_its_bytes(text in mutated(ANSWERS, &["\r\n\r\n", "HTTP/1.", "999"])) {
        if let Some(answer) = answer(text.as_bytes()) {
            prop_assert!(text.as_bytes()[..answer.length].ends_with(b"\r\n\r\n"));
            prop_assert!(answer.status < 1000);
        }
    }
}

#[test]
fn the_inputs_are_good() {
    for text in FILES.iter().copied().chain(BUILTIN.iter().map(|(_, text)| *text)) {
        assert!(Scenario::read(text, &[]).is_ok(), "{:?}", Scenario::read(text, &[]));
    }
    for url in ADDRESSES {
        assert!(Address::read(url).is_ok(), "{url}");
    }
}
