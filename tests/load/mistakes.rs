//! What is asked and cannot be done: a sentence, and a status of its own.

use std::net::TcpListener;
use std::process::Command;

use crate::support::{Hub, Load};

const SHORT: &str = "--ramp-up 100ms --hold 500ms";

#[test]
fn a_hub_that_is_not_there_or_is_none_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    Load::new(free, "chat").run().failed(3, &["cannot be reached", "refused"]);
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = mute.local_addr().expect("bound");
    let answer = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = mute.accept().expect("a client");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n\r\n");
    });
    Load::new(addr, "chat").run().failed(3, &["no HTTP server"]);
    answer.join().expect("answered");
}

#[test]
fn a_wrong_secret_is_told_in_both_framings() {
    let hub = Hub::start();
    for framing in ["plain", "socketio"] {
        let load = Load::new(hub.addr, &format!("chat --framing {framing}"));
        let ran = load.arg("--secret").arg("x".repeat(32)).run();
        ran.failed(3, &["does not take the token", "--secret"]);
    }
}

#[test]
fn orders_that_the_tokens_do_not_name_are_refused_by_the_hub() {
    let hub = Hub::start();
    let made = Command::new(env!("CARGO_BIN_EXE_orderhub"))
        .args(["token", "--user", "d", "--role", "driver", "--order", "other"])
        .env_clear()
        .env("JWT_SECRET", crate::support::SECRET)
        .output()
        .expect("runs");
    let token = String::from_utf8(made.stdout).expect("UTF-8");
    let line = serde_json::json!({
        "user": "d", "role": "driver", "orders": ["mine"], "token": token.trim(),
    });
    let file = "name = \"x\"\nrooms = 1\nramp-up = \"100ms\"\nhold = \"500ms\"\n\
                settle = \"100ms\"\n[driver]\nper-room = 1\n";
    let load = Load::new(hub.addr, "my.toml --tokens tokens --assert errors.forbidden>=1");
    let ran = load.file("my.toml", file).file("tokens", &line.to_string()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.number("errors.forbidden") >= 1.0);
}

#[test]
fn bad_files_and_flags_are_refused_with_the_place() {
    let hub = Hub::start();
    let scenario = "name = \"x\"\nrooms = 1\n\n[driver]\nper-room = 1\nlocation = 1\n";
    let load = Load::new(hub.addr, "my.toml").file("my.toml", scenario);
    load.run().failed(2, &["my.toml: line 6: unknown field `location`"]);
    for (args, part) in [
        ("nothing", "nothing: there is no such scenario or file; tracking, rooms"),
        ("./nothing.toml", "nothing.toml: cannot read it"),
        ("chat --rooms 0", "chat: 0 is no count"),
        ("chat --hold forever", "no time span"),
        ("chat --assert chat.p99<5", "is no time"),
        ("chat --assert chat<5", "chat is not measured"),
        ("chat --track empty.gpx", "empty.gpx: it has no points"),
        ("chat --track none.gpx", "none.gpx: cannot read it"),
        ("chat --tokens none", "none: cannot read it"),
        ("chat --framing smoke", "must be one of plain, socketio"),
        ("", "SCENARIO"),
    ] {
        let load = Load::new(hub.addr, args).file("empty.gpx", "<gpx></gpx>");
        load.run().failed(2, &[part]);
    }
}

#[test]
fn a_file_limit_that_is_too_low_says_what_can_be_driven() {
    let hub = Hub::start();
    let program = env!("CARGO_BIN_EXE_orderhub");
    let command =
        format!("ulimit -n 64; exec {program} load chat --rooms 50 --url ws://{}", hub.addr);
    let ran = Command::new("sh")
        .args(["-c", &command])
        .env("JWT_SECRET", crate::support::SECRET)
        .output()
        .expect("runs");
    let said = String::from_utf8(ran.stderr).expect("UTF-8");
    assert_eq!(ran.status.code(), Some(2), "{said}");
    for part in ["150 connections", "is 64", "can drive 32", "ulimit -n 182"] {
        assert!(said.contains(part), "{said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_costs_no_results() {
    let hub = Hub::start();
    let load = Load::new(hub.addr, &format!("chat --rooms 1 {SHORT} --html /dev/full"));
    let ran = load.run();
    assert_eq!(ran.status, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("/dev/full: cannot write it"), "{}", ran.stderr);
    assert!(ran.stdout.contains("promises        all kept"));
    assert_eq!(ran.json["ended"], "complete");
    // Where it is plain that it cannot be written, nothing is run in vain.
    let load = Load::new(hub.addr, "chat --hold 1h --html no/such/folder");
    load.run().failed(4, &["no/such/folder: cannot write it"]);
}
