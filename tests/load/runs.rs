//! Short runs against a real hub: what they do, and that the hub keeps its word.

use std::process::Command;

use serde_json::Value;

use crate::support::{FinishedRun, Hub, LoadRun, tokens};
use crate::tls::AUTHORITY;
use crate::tls_proxy;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SHORT: &str = "--ramp-up 300ms --hold 2s";

fn ran(hub: &Hub, args: &str) -> FinishedRun {
    LoadRun::new(hub.addr, &format!("{args} {SHORT}")).run()
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.5
}

#[test]
fn positions_and_chat_reach_every_member_in_both_framings() {
    let hub = Hub::start();
    for framing in ["plain", "socketio"] {
        let args = format!("tracking --rooms 4 --framing {framing} --set customer.chat=2");
        let ran = ran(&hub, &args).good();
        assert!(same(ran.number("connections.peak"), 12.0));
        assert!(same(ran.number("connections.atEnd"), 12.0));
        let seen = ran.number("counts.locationsSeen");
        assert!(seen > 10.0 && same(seen, ran.number("counts.locationsExpected")), "{seen}");
        let sent = ran.number("counts.chatSent");
        assert!(sent > 10.0 && same(sent, ran.number("counts.chatAcked")), "{sent}");
        assert!(ran.number("timings.chat.p99") > 0.0);
        assert!(ran.number("timings.location.p50") > 0.0);
        assert!(ran.stdout.contains("promises        all kept"), "{}", ran.stdout);
    }
}

#[test]
fn a_hub_behind_tls_is_reached_in_both_framings() {
    let hub = Hub::start();
    let proxy = tls_proxy::start(hub.addr);
    for framing in ["plain", "socketio"] {
        let url = format!("wss://localhost:{}", proxy.port());
        let args = format!("tracking --rooms 2 --framing {framing} --set customer.chat=2 {SHORT}");
        let ran = LoadRun::at(&url, &args).arg("--ca").arg(AUTHORITY).run().good();
        assert!(same(ran.number("connections.atEnd"), 6.0));
        assert!(ran.number("counts.chatAcked") > 4.0, "{}", ran.stdout);
    }
}

#[test]
fn the_same_seed_sends_the_same_at_the_same_moments_and_another_does_not() {
    let hub = Hub::start();
    let said = |order: &str, seed: u32| {
        let args = format!("chat --rooms 1 --set driver.chat=4 --set order={order} --seed {seed}");
        ran(&hub, &args).good();
        let page = asked(&hub, &format!("/api/v1/orders/{order}-1/messages?limit=200"));
        let mut said: Vec<(String, u64)> = page["messages"]
            .as_array()
            .expect("messages")
            .iter()
            .map(|message| {
                let text = |key: &str| message[key].as_str().expect("a text");
                let (_, key) = text("clientMsgId").split_once('.').expect("a key");
                let key = u64::from_str_radix(key, 16).expect("a number");
                // Its lower bits are when it was due.
                (text("senderRole").to_owned(), key & ((1 << 40) - 1))
            })
            // Before the hold some are not sent, as their sender is not in yet.
            .filter(|(_, due)| *due >= 1_300_000)
            .collect();
        said.sort();
        said
    };
    let first = said("first", 7);
    assert!(first.len() > 3, "{first:?}");
    assert_eq!(said("second", 7), first);
    assert_ne!(said("third", 8), first);
}

/// What the hub answers to an admin.
fn asked(hub: &Hub, path: &str) -> Value {
    let token = tokens(&["--user", "boss", "--role", "admin"]);
    let request = ureq::get(format!("http://{}{path}", hub.addr));
    let answer = request.header("authorization", format!("Bearer {}", token.trim())).call();
    let text = answer.expect("an answer").body_mut().read_to_string().expect("text");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn drivers_follow_the_track_that_is_given() {
    let hub = Hub::start();
    let gpx = "<gpx><trk><trkseg><trkpt lat=\"45.1\" lon=\"13.1\"/>\
               <trkpt lat=\"45.2\" lon=\"13.2\"/></trkseg></trk></gpx>";
    // As other programs write it: with a mark, prefixes and comments, over 180 degrees, and of two tracks.
    let odd = "\u{feff}<?xml version='1.0'?><g:gpx xmlns:g='http://www.topografix.com/GPX/1/1'>\
               <!-- <trkpt lat='1' lon='1'/> --><g:trk><g:trkpt lat='-17.2' lon='179.9'/>\
               <g:trkpt lat='-17.1' lon='-180.0'><g:time><![CDATA[no time]]></g:time></g:trkpt></g:trk>\
               <g:trk><g:trkpt lat='45' lon='13'/><g:trkpt lat='45' lon='13.001'/></g:trk></g:gpx>";
    let csv = "time,lng,lat\n0,-71.2,-33.2\n600,-71.1,-33.1\n";
    for (name, text, lat, lng) in [
        ("drive.gpx", gpx, 45.1..=45.2, 13.1..=13.2),
        ("odd.gpx", odd, -17.2..=-17.1, 179.9..=180.0),
        ("drive.csv", csv, -33.2..=-33.1, -71.2..=-71.1),
    ] {
        let load = LoadRun::new(hub.addr, &format!("tracking --rooms 1 --track {name} {SHORT}"));
        load.file(name, text).run().good();
        let room = asked(&hub, "/admin/v1/rooms/load-1");
        let last = |key: &str| room["lastLocation"][key].as_f64().expect("a number");
        assert!(lat.contains(&last("lat")) && lng.contains(&last("lng")), "{name}: {room}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_usage_of_the_hub_is_in_the_report() {
    let hub = Hub::start();
    let pid = format!("--pid {}", hub.child.id());
    let metrics = format!("--metrics http://{}/metrics", hub.addr);
    for source in [pid, metrics] {
        let args = format!("tracking --rooms 2 --assert hub.memory>1MB {source}");
        let ran = ran(&hub, &args).good();
        assert!(ran.number("hub.memory") > 1e6, "{source}");
        assert!(ran.stdout.contains("the hub         "), "{}", ran.stdout);
    }
}

#[test]
fn closed_loops_run_and_a_big_room_gets_every_event() {
    let hub = Hub::with(&[("EVENTS_PER_SECOND", "0"), ("CHAT_PER_SECOND", "0")]);
    let rooms = ran(&hub, "rooms --rooms 2").good();
    assert!(rooms.number("rates.sent") > 50.0, "{}", rooms.stdout);
    let big = ran(&hub, "big-room --set customer.per-room=29").good();
    assert!(big.number("rates.deliveries") > 200.0, "{}", big.stdout);
    let chat = "chat --rooms 2 --set driver.chat=0 --set driver.chat-in-flight=2";
    let chat = ran(&hub, chat).good();
    assert!(chat.number("counts.chatAcked") > 50.0, "{}", chat.stdout);
}

#[test]
fn reconnecting_clients_miss_nothing() {
    let hub = Hub::start();
    let churn = "churn --rooms 4 --set customer.stay=400ms --set customer.away=100ms";
    let churn = ran(&hub, &format!("{churn} --set driver.chat=2")).good();
    assert!(churn.number("counts.connects") > 20.0, "{}", churn.stdout);
    let mixed = "mixed --rooms 4 --set customer.stay=400ms --set customer.away=100ms \
                 --set driver.chat=4 --set customer.chat=2";
    for framing in ["plain", "socketio"] {
        let mixed = ran(&hub, &format!("{mixed} --framing {framing}")).good();
        assert!(mixed.number("counts.connects") > 25.0, "{}", mixed.stdout);
        assert!(mixed.number("counts.chatAcked") > 10.0, "{}", mixed.stdout);
    }
    let storm = "reconnect-storm --rooms 4 --set driver.chat=3 \
                 --set storm=[{at=\"500ms\"},{at=\"1s\",jitter=\"300ms\"}]";
    let storm = ran(&hub, storm).good();
    assert!(same(storm.number("counts.connects"), 36.0), "{}", storm.stdout);
    assert!(same(storm.number("connections.atEnd"), 12.0));
}

#[test]
fn slow_readers_are_counted_separately() {
    let hub = Hub::start();
    let slow = ran(&hub, "slow-readers --rooms 2").good();
    assert!(same(slow.number("connections.peak"), 8.0));
    // Two drivers and four customers connect; the slow ones are not timed.
    assert!(same(slow.number("timings.connect.count"), 6.0), "{}", slow.stdout);
}

#[test]
fn tokens_may_come_from_a_file() {
    let hub = Hub::start();
    let made = |role: &str, user: &str| {
        let args = ["--count", "2", "--format", "ndjson", "--order", "trip-{n}"];
        tokens(&[&args[..], &["--role", role, "--user", user]].concat())
    };
    let lines = made("driver", "d-{n}") + &made("customer", "c-{n}") + &made("customer", "e-{n}");
    let load = LoadRun::new(hub.addr, &format!("tracking --tokens tokens --rooms 2 {SHORT}"));
    let ran = load.file("tokens", &lines).run().good();
    assert!(same(ran.number("connections.peak"), 6.0));
    let load = LoadRun::new(hub.addr, "tracking --tokens tokens --rooms 3");
    load.file("tokens", &lines).run().failed(2, &["names 2 orders, the scenario wants 3"]);
}

#[test]
fn assertions_decide_the_status_and_results_are_compared() {
    let hub = Hub::start();
    let metrics = format!("http://{}/metrics", hub.addr);
    let load = |rooms: u32, assertions: &[&str]| {
        let files = "--html page.html --hdr times.hgrm";
        let args = format!("chat --rooms {rooms} {SHORT} {files} --metrics {metrics}");
        assertions.iter().fold(LoadRun::new(hub.addr, &args), |load, assertion| {
            load.arg("--assert").arg(assertion)
        })
    };
    let good = load(1, &["errors==0", "connections.peak==3"]).run().good();
    assert_eq!(good.json["assertions"][1]["held"], true);
    assert!(good.file("page.html").contains("uPlot") && good.file("times.hgrm").contains("# chat"));
    assert!(
        good.file("page.html").contains("<h1>chat: 1 room, 3 connections, 1.2 chat messages a")
    );
    let bad = load(2, &["errors==0", "connections.peak>6"]).run();
    let bad = bad.failed(1, &["does not hold: connections.peak>6 (6)"]);
    assert!(bad.stdout.contains("FAILS  connections.peak>6"), "{}", bad.stdout);
    assert!(bad.stdout.contains("run             2 rooms, 6 connections, "), "{}", bad.stdout);
    assert_eq!(
        (&bad.json["workload"]["rooms"], &bad.json["hubVersion"]),
        (&2.into(), &VERSION.into())
    );
    assert!(bad.json["machine"]["cores"].as_u64() >= Some(1), "{}", bad.json);
    let both = tempfile::tempdir().expect("a folder");
    for (name, ran) in [("a", &good), ("b", &bad)] {
        std::fs::write(both.path().join(name), ran.json.to_string()).expect("written");
    }
    let compared = Command::new(env!("CARGO_BIN_EXE_orderhub"))
        .args(["load", "compare", "a", "b"])
        .current_dir(both.path())
        .output()
        .expect("runs");
    let text = String::from_utf8(compared.stdout).expect("UTF-8");
    assert!(compared.status.success() && text.contains("chat p99 ms"), "{text}");
    assert!(text.contains("These are different runs: not the same connections, rooms."), "{text}");
    assert!(text.contains("  rooms                  1 -> 2\n"), "{text}");
}

#[test]
fn a_signal_ends_a_run_with_its_results() {
    let hub = Hub::start();
    let run =
        LoadRun::new(hub.addr, "tracking --rooms 2 --ramp-up 300ms --hold 1h").start().holds();
    let id = run.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let ran = run.end().failed(130, &["interrupted"]);
    assert_eq!(ran.json["ended"], "interrupted");
    assert!(ran.number("counts.locationsSeen") > 0.0);
}

#[test]
fn a_hub_that_dies_and_stays_dead_is_lost_with_the_results_so_far() {
    let mut hub = Hub::start();
    let run =
        LoadRun::new(hub.addr, "tracking --rooms 2 --ramp-up 300ms --hold 1h").start().holds();
    hub.child.kill().expect("killed");
    let ran = run.end().failed(3, &["the hub was lost"]);
    assert_eq!(ran.json["ended"], "hub lost");
    assert!(ran.number("counts.locationsSeen") > 0.0);
    let closes = ran.json["closes"].as_object().expect("closes");
    assert_eq!(closes.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 6);
    assert!(ran.number("errors.connect_refused") > 0.0);
}

#[test]
fn a_hub_that_crashes_and_comes_back_has_lost_nothing_that_it_acknowledged() {
    let mut hub = Hub::start();
    let chat = "--set driver.chat=4 --set customer.chat=2 --set settle=15s";
    let run =
        LoadRun::new(hub.addr, &format!("tracking --rooms 2 --hold 6s --ramp-up 300ms {chat}"));
    let run = run.start().holds();
    hub.crash();
    let ran = run.end().good();
    assert!(ran.number("counts.connects") >= 12.0, "{}", ran.stdout);
    assert!(same(ran.number("connections.atEnd"), 6.0), "{}", ran.stdout);
    assert!(ran.number("counts.chatAcked") > 10.0, "{}", ran.stdout);
}

#[test]
fn a_hub_that_drains_is_left_by_its_codes() {
    let hub = Hub::with(&[("DRAIN_SECS", "1")]);
    let run =
        LoadRun::new(hub.addr, "tracking --rooms 2 --ramp-up 300ms --hold 1h").start().holds();
    let id = hub.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    let ran = run.end().failed(3, &["the hub was lost"]);
    assert!(same(ran.number("closes.1012"), 6.0), "{}", ran.stdout);
}

#[test]
fn members_of_a_hub_that_a_step_kills_go_to_another_hub() {
    let (first, second) = (Hub::start(), Hub::start());
    // Two hubs with databases of their own: rooms are kept together, and nothing is stored.
    let args = format!(
        "tracking --url ws://{} --spread order --rooms 4 --ramp-up 300ms --hold 4s \
         --set driver.chat=0 --set customer.chat=0 --set driver.locations=5",
        second.addr
    );
    let kill = format!("step=[{{at=\"1s\",run=\"kill -9 {}\"}}]", first.child.id());
    let load = LoadRun::new(first.addr, &args).arg("--set").arg(kill);
    let ran = load.arg("--assert").arg("reconnect.p95<4s").run().good();
    assert!(same(ran.number("connections.atEnd"), 12.0), "{}", ran.stdout);
    assert!(same(ran.number("timings.reconnect.count"), 6.0), "{}", ran.stdout);
    assert!(ran.stdout.contains("95 % of 6 lost connections"), "{}", ran.stdout);
    assert!(ran.json["url"].as_str().is_some_and(|url| url.contains(&second.addr.to_string())));
}

#[test]
fn a_step_that_fails_is_counted() {
    let hub = Hub::start();
    let args = format!("tracking --rooms 1 {SHORT} --set step=[{{at=\"100ms\",run=\"false\"}}]");
    let ran = LoadRun::new(hub.addr, &args).run().good();
    assert!(same(ran.number("errors.step_failed"), 1.0), "{}", ran.stdout);
}
