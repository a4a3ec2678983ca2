//! What has arrived and what was read: relayed, kept per user, and counted in the snapshot.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::rooms::{code, say, seqs};
use super::support::socketio::SocketIoClient;
use super::support::{self, Client, Database, Hub, each_database};

async fn read(client: &mut Client, seq: i64) {
    let result = client.request("chat:read", json!({ "orderId": "o1", "seq": seq })).await;
    assert_eq!(result, json!({ "ok": true }));
}

/// The event without its time, which is checked to be one.
fn receipt(mut event: Value) -> Value {
    let at = event["at"].take();
    assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{at}");
    event
}

fn of(user: &str, seq: i64) -> Value {
    json!({ "orderId": "o1", "userId": user, "seq": seq, "at": null })
}

fn mark(user: &str, seq: i64) -> Value {
    json!({ "userId": user, "seq": seq })
}

/// What a join shows: how many are unread, and the marks.
async fn shown(client: &mut Client) -> (i64, Value) {
    let mut shown = client.join("o1").await;
    (shown["unread"].as_i64().expect("unread"), shown["readMarks"].take())
}

/// An orderly stop, and the next process on the same data.
async fn restarted(mut hub: Hub) -> Hub {
    hub.signal("TERM");
    hub.ended().await;
    hub.start_again()
}

#[tokio::test]
async fn a_read_receipt_reaches_all_members_in_both_framings_and_other_devices() {
    let hub = Hub::without_rates();
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    ann.join("o1").await;
    for _ in 0..3 {
        say(&mut ann, "o1", "hello").await;
    }
    let mut phone = hub.connect("bob", "customer", &["o1"]).await;
    let mut tablet = SocketIoClient::login(&hub, "bob", "customer", &["o1"]).await;
    let mut eve = SocketIoClient::login(&hub, "eve", "support", &[]).await;
    assert_eq!(shown(&mut phone).await, (3, json!([mark("ann", 3)])));
    assert_eq!(tablet.join("o1").await["unread"], 3);
    eve.join("o1").await;
    read(&mut phone, 2).await;
    assert_eq!(receipt(ann.expect("chat:read").await), of("bob", 2));
    assert_eq!(receipt(phone.expect("chat:read").await), of("bob", 2));
    assert_eq!(receipt(tablet.expect("chat:read").await), of("bob", 2));
    let packet = eve.find(|packet| packet.is_event("chat:read")).await;
    assert_eq!(packet.last_string(), None, "a text at the end would be an offset");
    assert_eq!(shown(&mut phone).await, (1, json!([mark("ann", 3), mark("bob", 2)])));
    // The tablet is further than the phone, which then moves nothing.
    let done = tablet.request("chat:read", json!({ "orderId": "o1", "seq": 3 })).await;
    assert_eq!(done, json!({ "ok": true }));
    assert_eq!(receipt(ann.expect("chat:read").await), of("bob", 3));
    for seq in [3, 1, 0] {
        read(&mut phone, seq).await;
    }
    assert_eq!(ann.drain("chat:read").await.len(), 0, "nothing has moved");
    assert_eq!(shown(&mut phone).await.0, 0);
}

#[tokio::test]
async fn reading_beyond_the_last_message_is_reading_it() {
    let hub = Hub::without_rates();
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    ann.join("o1").await;
    read(&mut bob, 9).await;
    assert_eq!(ann.drain("chat:read").await.len(), 0, "there is nothing to read");
    for _ in 0..2 {
        say(&mut ann, "o1", "hello").await;
        ann.expect("chat:message").await;
    }
    read(&mut bob, (1 << 53) - 1).await;
    assert_eq!(receipt(ann.expect("chat:read").await), of("bob", 2));
    say(&mut ann, "o1", "one more").await;
    assert_eq!(shown(&mut bob).await, (1, json!([mark("ann", 3), mark("bob", 2)])));
}

#[tokio::test]
async fn sending_a_message_moves_the_senders_read_mark() {
    let hub = Hub::without_rates();
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    ann.join("o1").await;
    for _ in 0..3 {
        say(&mut ann, "o1", "hello").await;
    }
    say(&mut bob, "o1", "I see").await;
    say(&mut ann, "o1", "good").await;
    assert_eq!(shown(&mut bob).await, (1, json!([mark("ann", 5), mark("bob", 4)])));
    assert_eq!(ann.drain("chat:read").await.len(), 0, "the message says it");
    read(&mut bob, 4).await;
    assert_eq!(ann.drain("chat:read").await.len(), 0, "it moves nothing");
    // A back end's own words are nobody's, and unread to everybody.
    let system = json!({ "content": "delivered", "type": "SYSTEM" });
    let (status, _) = call(&hub, Method::POST, "/orders/o1/messages", system).await;
    assert_eq!(status, 201);
    assert_eq!(shown(&mut ann).await, (1, json!([mark("ann", 5), mark("bob", 4)])));
    let for_bob = json!({ "content": "by SMS", "senderId": "bob" });
    call(&hub, Method::POST, "/orders/o1/messages", for_bob).await;
    assert_eq!(shown(&mut bob).await, (0, json!([mark("ann", 5), mark("bob", 7)])));
}

#[tokio::test]
async fn marks_survive_a_restart_and_the_end_of_a_room() {
    each_database(async |database: Database| {
        let hub = database.hub().env("ROOM_IDLE_SECS", 0).start();
        let mut ann = hub.connect("ann", "driver", &["o1"]).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        for _ in 0..4 {
            say(&mut ann, "o1", "hello").await;
        }
        assert_eq!(shown(&mut bob).await.0, 4);
        read(&mut bob, 3).await;
        drop((ann, bob));
        // The drain writes what was not written yet.
        let hub = restarted(hub).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        let marks = json!([mark("ann", 4), mark("bob", 3)]);
        assert_eq!(shown(&mut bob).await, (1, marks.clone()));
        bob.close().await;
        hub.until_admin("/admin/v1/rooms/o1", |status, _| status == 404).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(shown(&mut bob).await, (1, marks));
        // A mark counts for the next room though it is not written yet.
        read(&mut bob, 4).await;
        bob.close().await;
        hub.until_admin("/admin/v1/rooms/o1", |status, _| status == 404).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(shown(&mut bob).await.0, 0);
    })
    .await;
}

#[tokio::test]
async fn marks_are_written_soon_and_a_kill_loses_none_of_those() {
    each_database(async |database: Database| {
        use diesel::prelude::*;
        use orderhub::db::schema::read_marks::dsl::{read_marks, seq, user_id};

        let hub = database.hub().start();
        let mut ann = hub.connect("ann", "driver", &["o1"]).await;
        say(&mut ann, "o1", "hello").await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        read(&mut bob, 1).await;
        let mut connection = database.connection(&hub);
        super::support::until("the marks to be written", async || {
            let written: Vec<(String, i64)> = read_marks
                .select((user_id, seq))
                .order(user_id)
                .load(&mut connection)
                .expect("rows");
            written == [("ann".to_owned(), 1), ("bob".to_owned(), 1)]
        })
        .await;
        let hub = hub.kill_and_restart();
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(shown(&mut bob).await, (0, json!([mark("ann", 1), mark("bob", 1)])));
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_locked_holds_up_no_receipt_and_gets_them_later() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let mut ann = hub.connect("ann", "driver", &["o1"]).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        ann.join("o1").await;
        bob.join("o1").await;
        for _ in 0..3 {
            say(&mut ann, "o1", "hello").await;
            bob.expect("chat:message").await;
        }
        let lock = database.lock(&hub);
        read(&mut bob, 2).await;
        assert_eq!(receipt(ann.expect("chat:read").await), of("bob", 2));
        drop((lock, ann, bob));
        let hub = restarted(hub).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(shown(&mut bob).await.0, 1);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_order_takes_its_marks_with_it() {
    each_database(async |database: Database| {
        use diesel::prelude::*;
        use orderhub::db::schema::read_marks::dsl::read_marks;

        let hub = database.hub().start();
        call(&hub, Method::PUT, "/orders/o1", json!({})).await;
        let mut ann = hub.connect("ann", "driver", &["o1"]).await;
        ann.join("o1").await;
        say(&mut ann, "o1", "hello").await;
        assert_eq!(call(&hub, Method::DELETE, "/orders/o1", Value::Null).await.0, 200);
        assert_eq!(call(&hub, Method::PUT, "/orders/o1", json!({})).await.0, 201);
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        let again = bob.join("o1").await;
        assert_eq!((&again["lastSeq"], &again["readMarks"]), (&json!(1), &json!([])));
        // What was noted before would have been written by then.
        say(&mut bob, "o1", "anybody?").await;
        drop((ann, bob));
        let hub = restarted(hub).await;
        let mut connection = database.connection(&hub);
        let rows: i64 = read_marks.count().get_result(&mut connection).expect("a count");
        assert_eq!(rows, 1, "bob's alone");
    })
    .await;
}

#[tokio::test]
async fn a_delivered_receipt_is_relayed_and_not_stored() {
    let hub = Hub::without_rates();
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    let mut bob = SocketIoClient::login(&hub, "bob", "customer", &["o1"]).await;
    ann.join("o1").await;
    bob.join("o1").await;
    let delivered = |seq: i64| json!({ "orderId": "o1", "seq": seq });
    let early = bob.request("chat:delivered", delivered(1)).await;
    assert_eq!(early, json!({ "ok": true }));
    assert_eq!(ann.drain("chat:delivered").await.len(), 0, "nothing was said");
    say(&mut ann, "o1", "hello").await;
    bob.expect("chat:message").await;
    for seq in [1, 1, 7] {
        bob.request("chat:delivered", delivered(seq)).await;
        assert_eq!(receipt(ann.expect("chat:delivered").await), of("bob", 1));
        assert_eq!(receipt(bob.expect("chat:delivered").await), of("bob", 1));
    }
    let shown = ann.join("o1").await;
    assert_eq!(shown["readMarks"], json!([mark("ann", 1)]));
}

#[tokio::test]
async fn receipts_ask_for_the_right_and_not_for_a_join() {
    let hub = Hub::without_rates();
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    ann.join("o1").await;
    say(&mut ann, "o1", "hello").await;
    let mut eve = hub.connect("eve", "customer", &["o2"]).await;
    let mut sue = hub.connect("sue", "support", &[]).await;
    for (event, data) in [
        ("chat:read", json!({ "orderId": "o1", "seq": 1 })),
        ("chat:delivered", json!({ "orderId": "o1", "seq": 1 })),
        ("chat:typing", json!({ "orderId": "o1", "typing": true })),
    ] {
        assert_eq!(code(&eve.request(event, data.clone()).await), "forbidden", "{event}");
        assert_eq!(ann.drain(event).await.len(), 0, "{event}");
        assert_eq!(sue.request(event, data).await, json!({ "ok": true }), "{event}");
        assert_eq!(ann.expect(event).await["userId"], "sue", "{event}");
    }
    assert_eq!(ann.drain("presence:joined").await.len(), 0, "who only sends is not here");
    // A right that goes is gone for these too.
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    read(&mut bob, 1).await;
    call(&hub, Method::PUT, "/orders/o1", json!({})).await;
    call(&hub, Method::DELETE, "/orders/o1/participants/bob", Value::Null).await;
    support::until("the refusal of one who was removed", async || {
        let refused = bob.request("chat:read", json!({ "orderId": "o1", "seq": 1 })).await;
        // Between the room and his session the word of it is still on its way: he is to try again.
        assert!(["unavailable", "forbidden"].contains(&code(&refused)), "{refused}");
        code(&refused) == "forbidden"
    })
    .await;
}

#[tokio::test]
async fn bad_receipts_are_refused_with_their_field() {
    let hub = Hub::without_rates();
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    let mut io = SocketIoClient::login(&hub, "bob", "customer", &["o1"]).await;
    for (event, data, field) in [
        ("chat:read", json!({ "orderId": "o1" }), "seq"),
        ("chat:read", json!({ "orderId": "o1", "seq": -1 }), "seq"),
        ("chat:read", json!({ "orderId": "o1", "seq": "1" }), "seq"),
        ("chat:read", json!({ "orderId": "o1", "seq": 1.5 }), "seq"),
        ("chat:read", json!({ "orderId": "o1", "seq": null }), "seq"),
        ("chat:delivered", json!({ "orderId": "o1", "seq": 1_u64 << 53 }), "seq"),
        ("chat:delivered", json!({ "seq": 1 }), "orderId"),
        ("chat:delivered", json!({ "orderId": "a b", "seq": 1 }), "orderId"),
        ("chat:typing", json!({ "orderId": "o1" }), "typing"),
        ("chat:typing", json!({ "orderId": "o1", "typing": "yes" }), "typing"),
        ("chat:typing", json!("o1"), "data"),
    ] {
        for result in
            [bob.request(event, data.clone()).await, io.request(event, data.clone()).await]
        {
            let error = &result["error"];
            assert_eq!(
                (code(&result), &error["field"]),
                ("invalid_payload", &json!(field)),
                "{data}"
            );
        }
    }
    // Without an id a refusal is an exception and success is silent.
    bob.send("chat:read", json!({ "orderId": "o1", "seq": -1 })).await;
    assert_eq!(bob.expect("exception").await["event"], "chat:read");
    bob.send("chat:read", json!({ "orderId": "o1", "seq": 0, "new": "field" })).await;
    assert_eq!(bob.drain("exception").await.len(), 0);
}

#[tokio::test]
async fn receipts_count_against_the_event_rate() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 10).env("EVENTS_BURST", 3).start();
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    let began = std::time::Instant::now();
    for _ in 0..8 {
        let read = bob.request("chat:read", json!({ "orderId": "o1", "seq": 0 })).await;
        assert_eq!(code(&read), "none");
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_resumed_session_gets_missed_chat_and_no_old_receipts() {
    let hub = Hub::builder().without_rates().start();
    let token = super::support::token("bob", "customer", &["o1"]);
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    let mut bob = SocketIoClient::login(&hub, "bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    say(&mut ann, "o1", "one").await;
    bob.hear(1).await;
    let memory = bob.cut();
    say(&mut ann, "o1", "two").await;
    let result = ann.request("chat:read", json!({ "orderId": "o1", "seq": 2 })).await;
    assert_eq!(result["ok"], true);
    let mut bob = SocketIoClient::again(&hub, &token, &memory).await;
    assert_eq!(bob.hear(1).await, [("o1".to_owned(), 2)]);
    assert_eq!(bob.drain("chat:read").await.len(), 0);
    let page = bob.request("chat:history", json!({ "orderId": "o1" })).await;
    assert_eq!(seqs(&page["messages"]), [1, 2]);
}
