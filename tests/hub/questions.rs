//! The questions to a back end: whether a user may join, and whether a message is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::support::hooks::{admin, call, put, say};
use super::support::receiver::{Reaction, Received, Receiver, WEBHOOK_SECRET};
use super::support::{Client, Database, Hub, HubBuilder, each_database, token, until};

const AT_ONCE: Duration = Duration::ZERO;

fn asking(builder: HubBuilder, variable: &str, back_end: &Receiver) -> HubBuilder {
    let url = format!("http://127.0.0.1:{}/hooks?key=secret", back_end.addr.port());
    builder.env(variable, url).env("HOOK_SECRET", WEBHOOK_SECRET).without_rates()
}

fn says(answer: &Value) -> Reaction {
    Reaction::Says(AT_ONCE, answer.to_string())
}

/// A back end that answers this.
fn back_end(answer: Value) -> Receiver {
    let receiver = Receiver::start();
    receiver.react(move |_| says(&answer));
    receiver
}

async fn try_join(client: &mut Client, order: &str) -> Value {
    client.request("order:join", json!({"orderId": order})).await
}

async fn guest(hub: &Hub) -> Client {
    hub.connect("gus", "customer", &[]).await
}

async fn write(client: &mut Client, text: &str, key: &str) -> Value {
    let message = json!({"orderId": "o1", "content": text, "clientMsgId": key});
    client.request("chat:message", message).await
}

#[tokio::test]
async fn a_yes_lets_a_guest_in_and_holds_for_the_membership() {
    each_database(async |database: Database| {
        let back_end = back_end(json!({"allow": true, "role": "driver"}));
        let hub = asking(database.hub(), "JOIN_HOOK_URL", &back_end).start();
        put(&hub, "o1", json!({"status": "NEW"})).await;
        let mut gus = guest(&hub).await;
        gus.join("o1").await;
        let asked = &back_end.received()[0];
        assert!(asked.is_signed);
        let question = &asked.body;
        assert_eq!(
            (&question["orderId"], &question["userId"], &question["role"]),
            (&json!("o1"), &json!("gus"), &json!("customer"))
        );
        assert_eq!(question["claims"]["sub"], "gus");
        // Nothing else lets gus be there, and he stays when his rights are judged anew.
        put(&hub, "o1", json!({"status": "READY"})).await;
        gus.expect("order:status").await;
        let said = say(&mut gus, "o1", "hi").await;
        assert_eq!(said["seq"], 1);
        let shown = gus.expect("chat:message").await;
        assert_eq!(shown["senderRole"], "driver", "for this order alone");
        // A removal goes before it.
        let path = "/api/v1/orders/o1/participants/gus";
        assert_eq!(call(&hub, Method::DELETE, path, json!({})).await, 200);
        gus.expect("order:left").await;
        let refused = try_join(&mut gus, "o1").await;
        assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
        assert_eq!(back_end.count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_removal_goes_before_every_role_that_a_back_end_gives() {
    let back_end = back_end(json!({"allow": true, "role": "support"}));
    let hub = asking(Hub::builder(), "JOIN_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({})).await;
    let mut gus = guest(&hub).await;
    gus.join("o1").await;
    let path = "/api/v1/orders/o1/participants/gus";
    assert_eq!(call(&hub, Method::DELETE, path, json!({})).await, 200);
    gus.expect("order:left").await;
    // The role was for this order alone.
    put(&hub, "o2", json!({})).await;
    back_end.react(|_| says(&json!({"allow": false})));
    assert_eq!(try_join(&mut gus, "o2").await["error"]["code"], "forbidden");
}

#[tokio::test]
async fn a_user_with_a_right_is_not_asked_about() {
    let back_end = back_end(json!({"allow": false}));
    let hub = asking(Hub::builder(), "JOIN_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({"driverId": "dan"})).await;
    hub.connect("ann", "customer", &["o1"]).await.join("o1").await;
    hub.connect("dan", "driver", &[]).await.join("o1").await;
    hub.connect("sue", "support", &[]).await.join("o1").await;
    assert_eq!(back_end.count(), 0);
}

#[tokio::test]
async fn an_answer_without_a_yes_lets_no_guest_in() {
    let back_end = Receiver::start();
    let hub = asking(Hub::builder(), "JOIN_HOOK_URL", &back_end).start();
    let mut gus = guest(&hub).await;
    for (number, reaction) in [
        Reaction::Status(500),
        Reaction::With(302, "location: http://127.0.0.1:1/\r\n".to_owned()),
        Reaction::Says(AT_ONCE, "yes".to_owned()),
        Reaction::Says(AT_ONCE, r#"{"ok":true}"#.to_owned()),
        Reaction::Says(AT_ONCE, r#"{"allow":true,"role":"admin"}"#.to_owned()),
        Reaction::Says(AT_ONCE, r#"{"allow":true,"order":{"status":7}}"#.to_owned()),
        Reaction::Says(Duration::from_secs(4), r#"{"allow":true}"#.to_owned()),
        Reaction::Big(10 * 1024 * 1024),
        Reaction::Close,
    ]
    .into_iter()
    .enumerate()
    {
        let does = reaction.clone();
        back_end.react(move |_| does.clone());
        let began = Instant::now();
        let refused = try_join(&mut gus, &format!("o{number}")).await;
        assert_eq!(refused["error"]["code"], "unavailable", "{reaction:?}: {refused}");
        assert!(began.elapsed() < Duration::from_millis(3500), "{reaction:?}");
    }
    drop(back_end);
    let refused = try_join(&mut gus, "o99").await;
    assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
}

#[tokio::test]
async fn a_thousand_joins_of_a_user_are_one_question() {
    let back_end = Receiver::start();
    back_end.react(|_| Reaction::Says(Duration::from_millis(300), r#"{"allow":true}"#.to_owned()));
    let hub = asking(Hub::builder(), "JOIN_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({})).await;
    let joins = (0..5).map(async |_| {
        let token = token("gus", "customer", &[]);
        let mut client = Client::connect(hub.addr, &token).await;
        for _ in 0..200 {
            client.join("o1").await;
            client.request("order:leave", json!({"orderId": "o1"})).await;
        }
    });
    // Tokens of the same second are the same.
    futures_util::future::join_all(joins).await;
    assert!(back_end.count() <= 2, "{}", back_end.count());
}

#[tokio::test]
async fn an_answer_is_kept_until_the_order_changes() {
    let back_end = back_end(json!({"allow": false}));
    let hub = asking(Hub::builder(), "JOIN_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({"status": "NEW"})).await;
    let mut gus = guest(&hub).await;
    for _ in 0..3 {
        let refused = try_join(&mut gus, "o1").await;
        assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
    }
    assert_eq!(back_end.count(), 1);
    back_end.react(|_| says(&json!({"allow": true})));
    assert_eq!(try_join(&mut gus, "o1").await["error"]["code"], "forbidden");
    put(&hub, "o1", json!({"status": "READY"})).await;
    gus.join("o1").await;
    assert_eq!(back_end.count(), 2);
}

#[tokio::test]
async fn a_ban_beats_the_yes_that_is_under_way() {
    each_database(async |database: Database| {
        let back_end = Receiver::start();
        back_end
            .react(|_| Reaction::Says(Duration::from_millis(700), r#"{"allow":true}"#.to_owned()));
        let hub = asking(database.hub(), "JOIN_HOOK_URL", &back_end).start();
        put(&hub, "o1", json!({})).await;
        let mut gus = guest(&hub).await;
        let id = gus.ask("order:join", json!({"orderId": "o1"})).await;
        until("the question", async || back_end.count() == 1).await;
        let path = "/admin/v1/rooms/o1/members/gus?banSecs=60";
        let (status, banned) = admin(&hub, Method::DELETE, path, Value::Null).await;
        assert!(status == 200 || status == 404, "{banned}");
        let refused = gus.reply(id).await;
        assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
        assert_eq!(try_join(&mut gus, "o1").await["error"]["code"], "forbidden");
    })
    .await;
}

#[tokio::test]
async fn a_new_token_is_asked_about_again() {
    let back_end = back_end(json!({"allow": true}));
    let hub = asking(Hub::builder(), "JOIN_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({})).await;
    let mut gus = guest(&hub).await;
    gus.join("o1").await;
    let next = token("gus", "driver", &[]);
    assert_eq!(gus.request("auth:refresh", json!({"token": next})).await["ok"], true);
    until("the question", async || back_end.count() == 2).await;
    say(&mut gus, "o1", "still here").await;
    back_end.react(|_| says(&json!({"allow": false})));
    let next = token("gus", "customer", &["o9"]);
    assert_eq!(gus.request("auth:refresh", json!({"token": next})).await["ok"], true);
    gus.expect("order:left").await;
    assert_eq!(back_end.count(), 3);
}

#[tokio::test]
async fn an_answer_brings_an_order_that_the_hub_does_not_know_or_knows_as_older() {
    each_database(async |database: Database| {
        let order = json!({"status": "NEW", "driverId": "dan", "version": 3});
        let back_end = back_end(json!({"allow": true, "order": order}));
        let hub = asking(database.hub(), "JOIN_HOOK_URL", &back_end).start();
        let snapshot = guest(&hub).await.join("o1").await;
        assert_eq!((&snapshot["status"], &snapshot["driverId"]), (&json!("NEW"), &json!("dan")));
        let order = json!({"status": "OLD", "version": 2});
        back_end.react(move |_| says(&json!({"allow": true, "order": order})));
        let mut hal = hub.connect("hal", "customer", &[]).await;
        assert_eq!(hal.join("o1").await["status"], "NEW");
        back_end.react(|_| says(&json!({"allow": true, "order": {"status": "ANY"}})));
        let mut ida = hub.connect("ida", "customer", &[]).await;
        assert_eq!(ida.join("o1").await["status"], "NEW");
        back_end
            .react(|_| says(&json!({"allow": true, "order": {"status": "READY", "version": 4}})));
        let mut jo = hub.connect("jo", "customer", &[]).await;
        assert_eq!(jo.join("o1").await["status"], "READY");
    })
    .await;
}

/// A back end that masks, rejects and allows by the words of a message.
fn moderator() -> Receiver {
    let receiver = Receiver::start();
    receiver.react(|asked: &Received| match asked.body["content"].as_str().unwrap_or_default() {
        text if text.contains("damn") => says(&json!({"content": text.replace("damn", "****")})),
        "buy" => says(&json!({"allow": false, "reason": "no adverts"})),
        "slow" => Reaction::Says(Duration::from_millis(500), r#"{"allow":true}"#.to_owned()),
        _ => says(&json!({"allow": true})),
    });
    receiver
}

#[tokio::test]
async fn a_message_is_stored_as_the_back_end_says() {
    each_database(async |database: Database| {
        let back_end = moderator();
        let hub = asking(database.hub(), "CHAT_HOOK_URL", &back_end).start();
        let mut ann = hub.connect("ann", "customer", &["o1"]).await;
        ann.join("o1").await;
        assert_eq!(write(&mut ann, "hi", "1").await["seq"], 1);
        let question = json!({"orderId": "o1", "senderId": "ann", "role": "customer",
            "content": "hi", "type": "TEXT"});
        assert_eq!(
            (&back_end.received()[0].body, back_end.received()[0].is_signed),
            (&question, true)
        );
        let masked = write(&mut ann, "damn it", "2").await;
        assert_eq!(masked["seq"], 2);
        ann.expect("chat:message").await;
        assert_eq!(ann.expect("chat:message").await["content"], "**** it");
        let rejected = write(&mut ann, "buy", "3").await;
        let error = &rejected["error"];
        assert_eq!((&error["code"], &error["message"]), (&json!("rejected"), &json!("no adverts")));
        // A retry is known without a question, and other content under the same key too.
        let asked = back_end.count();
        let retry = write(&mut ann, "damn it", "2").await;
        assert_eq!((&retry["seq"], &retry["duplicate"]), (&json!(2), &json!(true)), "{retry}");
        let retry = write(&mut ann, "hi", "1").await;
        assert_eq!((&retry["seq"], &retry["duplicate"]), (&json!(1), &json!(true)));
        for other in ["**** it", "what"] {
            let conflict = write(&mut ann, other, "2").await;
            assert_eq!(conflict["error"]["code"], "conflict", "{conflict}");
        }
        assert_eq!(back_end.count(), asked);
        // A back end's own message is not asked about, a user's by HTTP is.
        let path = "/api/v1/orders/o1/messages";
        let body = json!({"senderId": "ann", "content": "buy"});
        assert_eq!(call(&hub, Method::POST, path, body).await, 201);
        assert_eq!(back_end.count(), asked);
        let request = reqwest::Client::new().post(hub.url(path));
        let request = request.bearer_auth(token("ann", "customer", &["o1"]));
        let answer = request.json(&json!({"content": "buy"})).send().await.expect("an answer");
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.json::<Value>().await.expect("JSON")["code"], "rejected");
        assert_eq!(back_end.count(), asked + 1);
    })
    .await;
}

#[tokio::test]
async fn messages_of_a_sender_keep_their_order_and_others_do_not_wait() {
    let back_end = moderator();
    let hub = asking(Hub::builder(), "CHAT_HOOK_URL", &back_end).start();
    let mut ann = hub.connect("ann", "customer", &["o1"]).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    ann.join("o1").await;
    bob.join("o1").await;
    let slow = ann.ask("chat:message", json!({"orderId": "o1", "content": "slow"})).await;
    let next = ann.ask("chat:message", json!({"orderId": "o1", "content": "next"})).await;
    until("the question", async || back_end.count() == 1).await;
    assert_eq!(say(&mut bob, "o1", "mine").await["seq"], 1);
    assert_eq!(
        (&ann.reply(slow).await["seq"], &ann.reply(next).await["seq"]),
        (&json!(2), &json!(3))
    );
    // There is an end to how many wait.
    back_end.react(|_| Reaction::Says(Duration::from_millis(900), r#"{"allow":true}"#.to_owned()));
    let mut ids = Vec::new();
    for number in 0..20 {
        let message = json!({"orderId": "o1", "content": number.to_string()});
        ids.push(ann.ask("chat:message", message).await);
    }
    let refused = ann.reply(ids[19]).await;
    assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
}

#[tokio::test]
async fn a_message_without_an_answer_is_refused_or_stored_as_set() {
    for (fail, stored) in [("closed", false), ("open", true)] {
        let back_end = Receiver::start();
        let builder = asking(Hub::builder(), "CHAT_HOOK_URL", &back_end);
        let hub = builder.env("CHAT_HOOK_FAIL", fail).start();
        let mut ann = hub.connect("ann", "customer", &["o1"]).await;
        ann.join("o1").await;
        // An answer that cannot be used is never a yes: its sender may have brought it about.
        for (reaction, is_answer) in [
            (Reaction::Status(503), false),
            (Reaction::Status(429), false),
            (Reaction::Close, false),
            (Reaction::Says(Duration::from_secs(2), r#"{"allow":false}"#.to_owned()), false),
            (Reaction::Status(422), true),
            (Reaction::Says(AT_ONCE, "ok".to_owned()), true),
            (Reaction::Says(AT_ONCE, r#"{"content":""}"#.to_owned()), true),
            (Reaction::Says(AT_ONCE, r#"{"text":"hi"}"#.to_owned()), true),
            (Reaction::Big(10 * 1024 * 1024), true),
        ] {
            let does = reaction.clone();
            back_end.react(move |_| does.clone());
            let message = json!({"orderId": "o1", "content": "hi"});
            let reply = ann.request("chat:message", message).await;
            let is_stored = stored && !is_answer;
            assert_eq!(reply["ok"], is_stored, "{fail} {reaction:?}: {reply}");
            if !is_stored {
                assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
            }
        }
    }
}

#[tokio::test]
async fn a_retry_behind_its_original_is_not_asked_about() {
    let back_end = moderator();
    let hub = asking(Hub::builder(), "CHAT_HOOK_URL", &back_end).start();
    let mut ann = hub.connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    let message = json!({"orderId": "o1", "content": "slow", "clientMsgId": "1"});
    let first = ann.ask("chat:message", message.clone()).await;
    let retry = ann.ask("chat:message", message).await;
    assert_eq!(ann.reply(first).await["seq"], 1);
    let retry = ann.reply(retry).await;
    assert_eq!((&retry["seq"], &retry["duplicate"]), (&json!(1), &json!(true)), "{retry}");
    assert_eq!(back_end.count(), 1);
}

#[tokio::test]
async fn a_session_that_only_sends_causes_no_question() {
    let back_end = back_end(json!({"allow": true}));
    let hub = asking(Hub::builder(), "JOIN_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({})).await;
    let mut gus = guest(&hub).await;
    let fix = json!({"orderId": "o1", "lat": 45.0, "lng": 13.0});
    for _ in 0..3 {
        let refused = gus.request("driver:location", fix.clone()).await;
        assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
    }
    assert_eq!(back_end.count(), 0);
    gus.join("o1").await;
    assert_eq!(back_end.count(), 1);
}

#[tokio::test]
async fn messages_that_wait_are_not_asked_about_when_their_sender_is_out() {
    let back_end = moderator();
    let hub = asking(Hub::builder(), "CHAT_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({})).await;
    let mut ann = hub.connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    let mut ids = Vec::new();
    for text in ["slow", "one", "two"] {
        let message = json!({"orderId": "o1", "content": text});
        ids.push(ann.ask("chat:message", message).await);
    }
    until("the question", async || back_end.count() == 1).await;
    let other = token("ann", "customer", &["o2"]);
    assert_eq!(ann.request("auth:refresh", json!({"token": other})).await["ok"], true);
    for id in ids {
        assert_eq!(ann.reply(id).await["ok"], false);
    }
    assert_eq!(back_end.count(), 1);
}

#[tokio::test]
async fn a_sender_who_lost_the_right_meanwhile_writes_nothing() {
    let (back_end, answered) = (Receiver::start(), Arc::new(AtomicBool::new(false)));
    let asked = Arc::new(AtomicU32::new(0));
    let (is_answered, count) = (Arc::clone(&answered), Arc::clone(&asked));
    back_end.react(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let begun = Instant::now();
        while !is_answered.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(900) {
            std::thread::sleep(Duration::from_millis(5));
        }
        says(&json!({"allow": true}))
    });
    let hub = asking(Hub::builder(), "CHAT_HOOK_URL", &back_end).start();
    put(&hub, "o1", json!({})).await;
    let mut ann = hub.connect("ann", "customer", &["o1"]).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    ann.join("o1").await;
    bob.join("o1").await;
    let id = ann.ask("chat:message", json!({"orderId": "o1", "content": "too late"})).await;
    until("the question", async || asked.load(Ordering::SeqCst) == 1).await;
    let path = "/api/v1/orders/o1/participants/ann";
    assert_eq!(call(&hub, Method::DELETE, path, json!({})).await, 200);
    answered.store(true, Ordering::SeqCst);
    let refused = ann.reply(id).await;
    // The session is out of the room by then; its next try is forbidden.
    assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
    let refused = ann.request("chat:message", json!({"orderId": "o1", "content": "again"})).await;
    assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
    assert_eq!(say(&mut bob, "o1", "mine").await["seq"], 1, "nothing was stored before");
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let url = "https://shop.example/join";
    for (variables, problem) in [
        (vec![("JOIN_HOOK_URL", url)], "HOOK_SECRET: a secret must be whsec_"),
        (vec![("JOIN_HOOK_URL", url), ("HOOK_SECRET", "short")], "HOOK_SECRET: a secret must be"),
        (
            vec![("CHAT_HOOK_URL", "http://shop.example/"), ("HOOK_SECRET", WEBHOOK_SECRET)],
            "CHAT_HOOK_URL: the url must be https",
        ),
        (vec![("CHAT_HOOK_FAIL", "perhaps")], "CHAT_HOOK_FAIL: \"perhaps\" is refused"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_orderhub"))
            .arg("check-config")
            .env_clear()
            .env("DATA_DIR", folder.path())
            .env("BIND_ADDR", "127.0.0.1:0")
            .envs(variables)
            .output()
            .expect("the program");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with(&format!("orderhub: {problem}")), "{said}");
        assert!(!said.contains("C2FVsBQ"), "{said}");
    }
}
