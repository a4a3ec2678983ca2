//! What is asked and cannot be done: a sentence, and a status of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use crate::support::{Hub, LoadRun, SECRET, tokens};
use crate::tls::AUTHORITY;
use crate::tls_proxy;

const SHORT: &str = "--ramp-up 100ms --hold 500ms";

#[test]
fn a_missing_or_foreign_server_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    for args in ["chat".to_owned(), format!("chat --metrics http://{free}/metrics")] {
        LoadRun::new(free, &args).run().failed(3, &["cannot be reached", "refused"]);
    }
    for (answer, part) in [
        ("220 mail.example.com ESMTP\r\n\r\n", "no HTTP server"),
        ("HTTP/1.0 404 File not found\r\n\r\n<p>", "no orderhub (404)"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "no orderhub (200)"),
        (
            "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://hub.example.com/ws\r\n\r\n",
            "it sends on to https://hub.example.com/ws; name that address",
        ),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "has no hub behind it (502)"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "no session begins"),
        ("", "no HTTP server"),
    ] {
        LoadRun::new(answers_once(answer), "chat").run().failed(3, &[part]);
    }
}

/// A server that says this to whoever comes first, and hangs up.
fn answers_once(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
    });
    addr
}

#[test]
fn tls_and_plain_text_are_distinguished() {
    let hub = Hub::start();
    let proxy = tls_proxy::start(hub.addr);
    let secure = |port: u16| format!("wss://localhost:{port}");
    let load = LoadRun::at(&secure(proxy.port()), "chat");
    load.run().failed(3, &["signed by nobody who is trusted", "--ca"]);
    let load = LoadRun::at(&secure(hub.addr.port()), "chat").arg("--ca").arg(AUTHORITY);
    load.run().failed(3, &["no TLS is spoken there; try ws://"]);
    let load = LoadRun::at(&format!("wss://127.0.0.2:{}", proxy.port()), "chat");
    load.arg("--ca").arg(AUTHORITY).run().failed(3, &["cannot be reached", "refused"]);
    LoadRun::new(proxy, "chat").run().failed(3, &["use wss://"]);
}

#[test]
fn a_hub_that_is_full_takes_those_who_fit_and_the_others_are_counted() {
    let hub = Hub::with(&[("MAX_CONNECTIONS", "4")]);
    let load =
        LoadRun::new(hub.addr, &format!("chat --rooms 2 {SHORT} --assert connections.peak==6"));
    let ran = load.run().failed(1, &["does not hold: connections.peak==6 (4)"]);
    assert!(ran.number("errors.http_503") >= 2.0);
    assert!(ran.stdout.contains("see MAX_CONNECTIONS"), "{}", ran.stdout);
}

#[test]
fn a_wrong_secret_is_reported_in_both_framings() {
    let hub = Hub::start();
    for framing in ["plain", "socketio"] {
        let load = LoadRun::new(hub.addr, &format!("chat --framing {framing}"));
        let ran = load.arg("--secret").arg("x".repeat(32)).run();
        ran.failed(3, &["does not take the token", "--secret"]);
    }
}

#[test]
fn orders_that_the_tokens_do_not_name_are_refused_by_the_hub() {
    let hub = Hub::start();
    let token = tokens(&["--user", "d", "--role", "driver", "--order", "other"]);
    let line = serde_json::json!({
        "user": "d", "role": "driver", "orders": ["mine"], "token": token.trim(),
    });
    let file = "name = \"x\"\nrooms = 1\nramp-up = \"100ms\"\nhold = \"500ms\"\n\
                settle = \"100ms\"\n[driver]\nper-room = 1\n";
    let load = LoadRun::new(hub.addr, "my.toml --tokens tokens --assert errors.forbidden>=1");
    let ran = load.file("my.toml", file).file("tokens", &line.to_string()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.number("errors.forbidden") >= 1.0);
}

#[test]
fn bad_files_and_flags_are_refused_with_the_place() {
    let hub = Hub::start();
    let scenario = "name = \"x\"\nrooms = 1\n\n[driver]\nper-room = 1\nlocation = 1\n";
    let load = LoadRun::new(hub.addr, "my.toml").file("my.toml", scenario);
    load.run().failed(2, &["my.toml: line 6: unknown field `location`"]);
    for (args, part) in [
        ("nothing", "nothing: there is no such file, and no such scenario; tracking, rooms"),
        ("./nothing.toml", "nothing.toml: cannot read it"),
        ("chat --rooms 0", "chat: 0 is no count"),
        ("chat --hold forever", "no time span"),
        ("chat --assert chat.p99<5", "is no time"),
        ("chat --assert chat<5", "chat is not measured"),
        ("chat --track empty.gpx", "empty.gpx: it has no points"),
        ("chat --assert errors==0 mixed", "a scenario comes before --assert"),
        ("chat --assert hub.disk<5", "hub.disk is not measured; there are connect"),
        ("chat --set driver.per-room=many", "invalid type"),
        ("chat --pid 4294967295", "--pid 4294967295: there is no such process"),
        ("chat --ca none.pem", "none.pem: cannot read it"),
        ("chat --ca empty.gpx", "empty.gpx: it holds no certificate in PEM"),
        ("chat --tokens lines", "lines: line 2: expected ident"),
        ("chat --tokens empty.gpx", "empty.gpx: line 1: expected value"),
        ("chat --track none.gpx", "none.gpx: cannot read it"),
        ("chat --tokens none", "none: cannot read it"),
        ("chat --framing smoke", "must be one of plain, socketio"),
        ("", "SCENARIO> (see orderhub load --help)"),
        ("chat --workers many", "WORKERS: \"many\" is refused"),
    ] {
        let load = LoadRun::new(hub.addr, args).file("empty.gpx", "<gpx></gpx>");
        let good = r#"{"user":"u","role":"driver","orders":["a"],"token":"t"}"#;
        let load = load.file("lines", &format!("{good}\nnot JSON\n"));
        load.run().failed(2, &[part]);
    }
    for (url, part) in [
        ("ws://127.0.0.1:99999", "99999 is no port"),
        ("ftp://127.0.0.1", "it must begin with ws://"),
        ("ws://127.0.0.1/chat", "the hub has its own paths"),
    ] {
        LoadRun::at(url, "chat").run().failed(2, &[part]);
    }
    LoadRun::at("ws://there is none", "chat").run().failed(3, &["nobody knows the host"]);
    let nowhere = format!("chat --metrics http://{}/healthz", hub.addr);
    LoadRun::new(hub.addr, &nowhere).run().failed(2, &["does not name process_cpu_seconds_total"]);
}

#[test]
fn tokens_that_have_expired_are_named_by_their_line() {
    let hub = Hub::start();
    let claims = serde_json::json!({ "sub": "d", "role": "driver", "orders": ["a"], "exp": 1 });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let old = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key);
    let args = ["--role", "driver", "--user", "d", "--order", "a", "--format", "ndjson"];
    let good = tokens(&args);
    let mut line: serde_json::Value = serde_json::from_str(&good).expect("JSON");
    line["token"] = old.expect("a token").into();
    let load = LoadRun::new(hub.addr, "chat --rooms 1 --tokens tokens");
    let ran = load.file("tokens", &format!("{good}{line}\n")).run();
    ran.failed(2, &["tokens: line 2: the token has expired"]);
}

#[test]
fn an_invalid_result_is_not_compared() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a"), "{\"errors\":0}").expect("written");
    for (file, part) in [("a", "a: it is no result of a run (--json)"), ("b", "b: cannot read it")]
    {
        let compared = Command::new(env!("CARGO_BIN_EXE_orderhub"))
            .args(["load", "compare", file, file])
            .current_dir(dir.path())
            .output()
            .expect("runs");
        let said = String::from_utf8(compared.stderr).expect("UTF-8");
        assert!(compared.status.code() == Some(2) && said.contains(part), "{said}");
    }
}

#[test]
fn the_help_is_about_load_and_not_about_the_hub() {
    for flag in ["-h", "--help"] {
        let help = Command::new(env!("CARGO_BIN_EXE_orderhub")).args(["load", flag]).output();
        let help = String::from_utf8(help.expect("runs").stdout).expect("UTF-8");
        for part in ["--assert", "--track", "Exit status", "orderhub load tracking"] {
            assert!(help.contains(part), "{part} is not in {help}");
        }
        assert!(!help.contains("--max-connections") && !help.contains("DATABASE_URL"), "{help}");
    }
}

#[test]
fn a_file_limit_that_is_too_low_names_the_possible_number_of_clients() {
    let hub = Hub::start();
    let program = env!("CARGO_BIN_EXE_orderhub");
    let command =
        format!("ulimit -n 64; exec {program} load chat --rooms 50 --url ws://{}", hub.addr);
    let ran =
        Command::new("sh").args(["-c", &command]).env("JWT_SECRET", SECRET).output().expect("runs");
    let said = String::from_utf8(ran.stderr).expect("UTF-8");
    assert_eq!(ran.status.code(), Some(2), "{said}");
    for part in ["150 connections", "is 64", "can drive 32", "ulimit -n 182"] {
        assert!(said.contains(part), "{said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_loses_no_results() {
    let hub = Hub::start();
    let load = LoadRun::new(hub.addr, &format!("chat --rooms 1 {SHORT} --html /dev/full"));
    let ran = load.run();
    assert_eq!(ran.status, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("/dev/full: cannot write it"), "{}", ran.stderr);
    assert!(ran.stdout.contains("promises        all kept"));
    assert_eq!(ran.json["ended"], "complete");
    // Not even stdout takes them.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let ran = LoadRun::new(hub.addr, &format!("chat --rooms 1 {SHORT}")).stdout(full).run();
    let ran = ran.failed(4, &["not all results could be written"]);
    assert_eq!(ran.json["ended"], "complete");
    // Where it is plain that it cannot be written, nothing is run in vain.
    let load = LoadRun::new(hub.addr, "chat --hold 1h --html no/such/folder");
    load.run().failed(4, &["no/such/folder: cannot write it"]);
}
