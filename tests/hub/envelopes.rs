//! Messages that are no good: each refused with the code and the field, in the form that was asked
//! for, and the connection stays.

use protocol::time::Timestamp;
use serde_json::{Value, json};

use super::support::{Client, Closed, Hub};

/// A hub whose rates do not stand in the way.
fn patient() -> Hub {
    Hub::builder().without_rates().start()
}

/// A driver in the room o1.
async fn driver(hub: &Hub) -> Client {
    let mut driver = hub.connect("dan", "driver", &["o1"]).await;
    driver.join("o1").await;
    driver
}

/// Sends a refused event twice, with an id and without, and gives the code and the field, which
/// must be the same both times.
async fn refused(client: &mut Client, event: &str, data: &str) -> (String, Option<String>) {
    client.send_text(format!("{{\"event\":\"{event}\",\"data\":{data},\"id\":77}}")).await;
    let reply = client.find(|message| message["event"] == "ack" && message["id"] == 77).await;
    let (result, error) = (&reply["data"], &reply["data"]["error"]);
    assert_eq!(result["ok"], false, "{event} {data} {result}");
    client.send_text(format!("{{\"event\":\"{event}\",\"data\":{data}}}")).await;
    let exception = client.expect("exception").await;
    assert_eq!(exception["status"], "error");
    assert_eq!(exception["event"], event);
    assert_eq!(exception["cause"], json!({ "pattern": event }));
    for part in ["code", "field", "message"] {
        assert_eq!(exception[part], error[part], "{event} {data}");
    }
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    (text(&error["code"]).expect("a code"), text(&error["field"]))
}

#[tokio::test]
async fn an_invalid_envelope_is_answered_and_the_connection_stays() {
    let hub = patient();
    let deep = format!("{{\"event\":\"ping\",\"data\":{}", "[".repeat(50_000));
    let deeper_than_allowed =
        format!("{{\"event\":\"ping\",\"data\":{}{}}}", "[".repeat(64), "]".repeat(64));
    for text in [
        "",
        "hello",
        "null",
        "[]",
        "[\"ping\"]",
        "\"ping\"",
        "{\"event\":\"ping\"",
        "{\"event\":\"ping\"} {}",
        "{\"event\":7}",
        "{\"event\":null}",
        "{\"data\":{}}",
        "{\"event\":\"ping\",\"data\":NaN}",
        "{\"event\":\"ping\",\"data\":\"\u{1}\"}",
        &deep,
        &deeper_than_allowed,
    ] {
        let mut client = hub.connect("ann", "customer", &["o1"]).await;
        client.send_text(text).await;
        let exception = client.expect("exception").await;
        let start = text.get(..40).unwrap_or(text);
        assert_eq!(exception["code"], "bad_envelope", "{start}");
        assert_eq!(exception.get("event"), None, "{start}");
        client.join("o1").await;
    }
}

#[tokio::test]
async fn an_id_is_an_integer_from_0_to_2_53() {
    let hub = patient();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let ping = |id: &str| format!("{{\"event\":\"ping\",\"id\":{id}}}");
    for id in ["-1", "1.5", "\"1\"", "true", "9007199254740992", "9007199254740992.0"] {
        client.send_text(ping(id)).await;
        let exception = client.expect("exception").await;
        assert_eq!(exception["code"], "bad_envelope", "{id}");
    }
    for id in [0_u64, 1, 9_007_199_254_740_991] {
        client.send_text(ping(&id.to_string())).await;
        assert_eq!(client.reply(id).await, json!({ "ok": true }));
    }
    // As JavaScript bridges and Java may write it; and null is no id at all.
    client.send_text(ping("7.0")).await;
    assert_eq!(client.reply(7).await, json!({ "ok": true }));
    client.send_text(ping("null")).await;
    assert!(client.drain("exception").await.is_empty());
}

#[tokio::test]
async fn the_tenth_bad_envelope_closes() {
    let hub = patient();
    let mut witness = hub.connect("bob", "customer", &["o1"]).await;
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    for _ in 0..9 {
        client.send_text("hello").await;
        assert_eq!(client.expect("exception").await["code"], "bad_envelope");
    }
    // What is an envelope does not count, however wrong it is.
    for _ in 0..20 {
        refused(&mut client, "order:eat", "{}").await;
        refused(&mut client, "order:join", "{}").await;
    }
    // One or two more where this took so long that some were forgiven.
    for _ in 0..9 {
        client.send_text("hello").await;
    }
    let reason = "bad_envelopes".to_owned();
    assert_eq!(client.closed().await, Closed { code: 4000, reason });
    let end = client.expect("session:end").await;
    assert_eq!(end, json!({ "code": 4000, "reason": "bad_envelopes", "retry": false }));
    witness.join("o1").await;
}

#[tokio::test]
async fn an_unknown_event_is_named() {
    let hub = patient();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    for event in ["order:eat", "connected", "ORDER:JOIN", "", "session:end"] {
        let (code, field) = refused(&mut client, event, "{}").await;
        assert_eq!((code.as_str(), field), ("unknown_event", None), "{event}");
    }
    client.send_text(json!({ "event": "x".repeat(60_000) }).to_string()).await;
    let name = client.expect("exception").await["event"].to_string();
    assert!(name.len() < 100, "{name}");
}

#[tokio::test]
async fn duplicate_keys_are_refused_by_name() {
    let hub = patient();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let twice = "{\"orderId\":\"o1\",\"orderId\":\"o2\"}";
    let (code, field) = refused(&mut client, "order:join", twice).await;
    assert_eq!((code.as_str(), field.as_deref()), ("invalid_payload", Some("orderId")));
    for (text, field) in [
        ("{\"event\":\"ping\",\"event\":\"order:join\"}", "event"),
        ("{\"event\":\"ping\",\"data\":1,\"data\":2}", "data"),
        ("{\"event\":\"ping\",\"id\":1,\"id\":2}", "id"),
    ] {
        client.send_text(text).await;
        let exception = client.expect("exception").await;
        assert_eq!(exception["code"], "invalid_payload", "{text}");
        assert_eq!(exception["field"], field, "{text}");
    }
    client.join("o1").await;
}

#[tokio::test]
async fn the_field_that_is_wrong_is_named() {
    let hub = patient();
    let mut client = driver(&hub).await;
    let long = format!("{{\"orderId\":\"{}\"}}", "x".repeat(129));
    let long_key = json!({ "orderId": "o1", "content": "x", "clientMsgId": "ä".repeat(65) });
    let long_key = long_key.to_string();
    let many: Vec<_> = (0..21).map(|n| format!("o{n}")).collect();
    let many = json!({ "orderIds": many, "lat": 1, "lng": 1 }).to_string();
    for (event, data, field) in [
        ("order:join", "null", "data"),
        ("order:join", "7", "data"),
        ("order:join", "[\"o1\"]", "data"),
        ("order:join", "{}", "orderId"),
        ("order:join", "{\"orderId\":null}", "orderId"),
        ("order:join", "{\"orderId\":\"\"}", "orderId"),
        ("order:join", "{\"orderId\":\"a b\"}", "orderId"),
        ("order:join", "{\"orderId\":\"a\\n\"}", "orderId"),
        ("order:join", "{\"orderId\":\"a\\u0000\"}", "orderId"),
        ("order:join", "{\"orderId\":\"ä\"}", "orderId"),
        ("order:join", "{\"orderId\":1.5}", "orderId"),
        ("order:join", &long, "orderId"),
        ("order:join", "{\"orderId\":\"o1\",\"sinceSeq\":-1}", "sinceSeq"),
        ("order:join", "{\"orderId\":\"o1\",\"sinceSeq\":\"1\"}", "sinceSeq"),
        ("order:join", "{\"orderId\":\"o1\",\"limit\":201}", "limit"),
        ("order:join", "{\"orderId\":\"o1\",\"limit\":10.5}", "limit"),
        ("order:leave", "{}", "orderId"),
        ("order:leave", "{\"orderId\":\"o1\",\"all\":\"yes\"}", "all"),
        ("driver:location", "{\"orderId\":\"o1\",\"lng\":1}", "lat"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":1}", "lng"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":\"1\",\"lng\":1}", "lat"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":1e999,\"lng\":1}", "lat"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":1,\"lng\":-1e999}", "lng"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":90.000001,\"lng\":1}", "lat"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":-90.5,\"lng\":1}", "lat"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":1,\"lng\":180.1}", "lng"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":1,\"lng\":-181}", "lng"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":0,\"lng\":0}", "lat"),
        ("driver:location", "{\"orderId\":\"o1\",\"lat\":NaN,\"lng\":1}", "lat"),
        ("driver:location", "{\"orderIds\":[],\"lat\":1,\"lng\":1}", "orderIds"),
        ("driver:location", "{\"orderIds\":[\"o1\",\"\"],\"lat\":1,\"lng\":1}", "orderIds[1]"),
        (
            "driver:location",
            "{\"orderId\":\"o1\",\"orderIds\":[\"o1\"],\"lat\":1,\"lng\":1}",
            "orderIds",
        ),
        ("driver:location", &many, "orderIds"),
        ("chat:message", "{\"orderId\":\"o1\"}", "content"),
        ("chat:message", "{\"orderId\":\"o1\",\"content\":7}", "content"),
        ("chat:message", "{\"orderId\":\"o1\",\"content\":\"x\",\"type\":\"AUDIO\"}", "type"),
        ("chat:message", "{\"orderId\":\"o1\",\"content\":\"x\",\"type\":\"SYSTEM\"}", "type"),
        (
            "chat:message",
            "{\"orderId\":\"o1\",\"content\":\"x\",\"clientMsgId\":\"\"}",
            "clientMsgId",
        ),
        ("chat:message", "{\"orderId\":\"o1\",\"content\":\"\\ud800\"}", "content"),
        ("chat:message", &long_key, "clientMsgId"),
        ("chat:history", "{\"orderId\":\"o1\",\"limit\":0}", "limit"),
        ("chat:history", "{\"orderId\":\"o1\",\"beforeSeq\":1,\"afterSeq\":1}", "afterSeq"),
        ("auth:refresh", "{}", "token"),
        ("auth:refresh", "{\"token\":[\"x\"]}", "token"),
    ] {
        let (code, found) = refused(&mut client, event, data).await;
        let expected = ("invalid_payload", Some(field));
        assert_eq!((code.as_str(), found.as_deref()), expected, "{event} {data}");
    }
    assert_eq!(client.drain("location:updated").await.len(), 0, "nothing came of any");
}

#[tokio::test]
async fn positions_at_the_ends_of_the_world_and_fields_of_newer_apps_are_taken() {
    let hub = patient();
    let mut client = driver(&hub).await;
    for (lat, lng) in [(90.0, 180.0), (-90.0, -180.0), (0.5, -0.0)] {
        let fix = json!({
            "orderId": "o1", "lat": lat, "lng": lng, "heading": -1, "speed": -1.0, "accuracy": -1,
            "mood": { "good": [true] },
        });
        assert_eq!(client.request("driver:location", fix).await["accepted"], 1);
        let update = client.expect("location:updated").await;
        assert_eq!((update["lat"].as_f64(), update["lng"].as_f64()), (Some(lat), Some(lng)));
        for unknown in ["heading", "speed", "accuracy", "mood", "battery"] {
            assert_eq!(update.get(unknown), None, "{update}");
        }
    }
    let numeric = client.request("order:join", json!({ "orderId": 12 })).await;
    assert_eq!(numeric["error"]["code"], "forbidden", "a number is an id: {numeric}");
}

#[tokio::test]
async fn content_is_1_to_4000_characters() {
    let hub = patient();
    let mut client = driver(&hub).await;
    let say = |content: &str| json!({ "orderId": "o1", "content": content });
    for unit in ["a", "ä", "€", "🚚"] {
        let most = unit.repeat(4000);
        assert_eq!(client.request("chat:message", say(&most)).await["ok"], true, "{unit}");
        assert_eq!(client.expect("chat:message").await["content"], json!(most), "{unit}");
        let more = say(&(most + "a")).to_string();
        let (code, field) = refused(&mut client, "chat:message", &more).await;
        assert_eq!((code.as_str(), field.as_deref()), ("invalid_payload", Some("content")));
    }
    for empty in ["", " ", "\n\t \u{3000}", "a\0b"] {
        let (code, field) = refused(&mut client, "chat:message", &say(empty).to_string()).await;
        assert_eq!((code.as_str(), field.as_deref()), ("invalid_payload", Some("content")));
    }
    client.request("chat:message", say("  not trimmed ")).await;
    assert_eq!(client.expect("chat:message").await["content"], "  not trimmed ");
}

#[tokio::test]
async fn an_image_is_an_https_address_or_an_opaque_key() {
    let hub = patient();
    let mut client = driver(&hub).await;
    let say = |content: &str| json!({ "orderId": "o1", "content": content, "type": "IMAGE" });
    let longest = format!("https://a/{}", "x".repeat(2038));
    for good in ["https://cdn.example/a.png?x=1", "HTTPS://a/b", "uploads/42.jpg", &longest] {
        assert_eq!(client.request("chat:message", say(good)).await["ok"], true, "{good}");
        let heard = client.expect("chat:message").await;
        assert_eq!((&heard["content"], &heard["type"]), (&json!(good), &json!("IMAGE")));
    }
    let too_long = longest.clone() + "x";
    for bad in [
        "http://cdn.example/a.png",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:image/svg+xml,<svg/>",
        "file:///etc/passwd",
        "//evil.example/a.png",
        "/\\evil.example/a.png",
        "\\\\evil.example\\a.png",
        "https://",
        "https:// a",
        "",
        &too_long,
    ] {
        let (code, field) = refused(&mut client, "chat:message", &say(bad).to_string()).await;
        let expected = ("invalid_payload", Some("content"));
        assert_eq!((code.as_str(), field.as_deref()), expected, "{bad:?}");
    }
}

#[tokio::test]
async fn a_ping_gives_back_what_it_carries() {
    let hub = patient();
    let mut client = hub.connect("ann", "customer", &[]).await;
    for data in [json!(1.0), json!({ "a": [true] }), json!(null), json!("ä")] {
        client.send("ping", data.clone()).await;
        assert_eq!(client.expect("pong").await, data);
    }
    client.send_text("{\"event\":\"ping\"}").await;
    assert_eq!(client.expect("pong").await, json!(null));
    // Without an id there is a pong and no ack.
    client.drain("pong").await;
    assert_eq!(client.seen.len(), 0, "{:?}", client.seen);
}

/// A fix that was taken so many seconds from now.
fn fix(lat: i32, secs: i64) -> Value {
    let at = Timestamp::from_millis(Timestamp::now().as_millis() + secs * 1000);
    json!({ "orderId": "o1", "lat": lat, "lng": 1, "recordedAt": at })
}

#[tokio::test]
async fn a_time_more_than_a_minute_ahead_becomes_now() {
    let hub = patient();
    let mut client = driver(&hub).await;
    let near = fix(1, 30);
    assert_eq!(client.request("driver:location", near.clone()).await["accepted"], 1);
    assert_eq!(client.expect("location:updated").await["recordedAt"], near["recordedAt"]);
    let other = Hub::start();
    let mut client = driver(&other).await;
    assert_eq!(client.request("driver:location", fix(1, 3600)).await["accepted"], 1);
    let update = client.expect("location:updated").await;
    assert_eq!(update["recordedAt"], update["timestamp"]);
}

#[tokio::test]
async fn an_older_fix_is_dropped_and_an_offset_is_no_difference() {
    let hub = patient();
    let mut client = driver(&hub).await;
    let newest = fix(2, -10);
    let same = newest["recordedAt"].as_str().expect("a time").replace('Z', "+00:00");
    for (fix, accepted) in [
        (newest, 1),
        (fix(3, -20), 0),
        (json!({ "orderId": "o1", "lat": 4, "lng": 1, "recordedAt": same }), 1),
        (fix(5, -5), 1),
        (fix(6, -6), 0),
    ] {
        let result = client.request("driver:location", fix.clone()).await;
        assert_eq!(result, json!({ "ok": true, "accepted": accepted }), "{fix}");
    }
    let heard = client.drain("location:updated").await;
    let heard: Vec<_> = heard.iter().map(|update| update["lat"].as_f64()).collect();
    assert_eq!(heard, [Some(2.0), Some(4.0), Some(5.0)]);
    let mut late = hub.connect("ann", "customer", &["o1"]).await;
    assert_eq!(late.join("o1").await["lastLocation"]["lat"].as_f64(), Some(5.0));
}
