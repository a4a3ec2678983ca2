//! An order that was deleted and is created again: nothing of its earlier chat and positions is
//! there, also while the earlier chat is still being removed.

use diesel::connection::SimpleConnection;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::{call, put};
use super::support::fixes::{at, post};
use super::support::resume::cut;
use super::support::rooms::{say, seqs};
use super::support::socketio::SocketIoClient;
use super::support::{Client, Database, Hub, each_database, token};

/// From now on nothing is deleted from the chat: as where the hub is killed before it comes to
/// that, or has much to remove.
fn keep_chat(database: &Database, hub: &Hub) {
    let trigger = match &database.postgres {
        Some(_) => {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'kept'; END $$; \
             CREATE TRIGGER keep BEFORE DELETE ON messages FOR EACH STATEMENT \
             EXECUTE FUNCTION refuse()"
        }
        None => {
            "CREATE TRIGGER keep BEFORE DELETE ON messages BEGIN SELECT RAISE(ABORT, 'kept'); END"
        }
    };
    database.connection(hub).batch_execute(trigger).expect("a trigger");
}

fn remove_chat(database: &Database, hub: &Hub) {
    let on = if database.postgres.is_some() { " ON messages" } else { "" };
    let drop = format!("DROP TRIGGER keep{on}");
    database.connection(hub).batch_execute(&drop).expect("no trigger");
}

fn order_of(user: &str) -> Value {
    let participants = json!([{ "userId": user, "role": "customer" }]);
    json!({ "status": "NEW", "driverId": "dan", "participants": participants })
}

/// An order that ann and dan have talked about, deleted and created again for bob; its old chat is
/// still there.
async fn remade(database: &Database, hub: &Hub, meanwhile: impl AsyncFnOnce()) {
    put(hub, "o1", order_of("ann")).await;
    let (mut ann, mut dan) =
        (hub.connect("ann", "customer", &[]).await, hub.connect("dan", "driver", &[]).await);
    ann.join("o1").await;
    for number in 1..=5 {
        say(&mut ann, "o1", &format!("old {number}")).await;
    }
    let keyed = json!({ "orderId": "o1", "content": "old 6", "clientMsgId": "key" });
    assert_eq!(dan.request("chat:message", keyed).await["seq"], 6);
    dan.request("chat:read", json!({ "orderId": "o1", "seq": 4 })).await;
    post(hub, &token("dan", "driver", &[]), "/orders/o1/locations", json!([at(1.0, 0)])).await;
    keep_chat(database, hub);
    let (status, _) = call(hub, Method::DELETE, "/orders/o1", Value::Null).await;
    assert!(status >= 500, "not all of it is removed: {status}");
    let (status, _) = call(hub, Method::GET, "/orders/o1", Value::Null).await;
    assert_eq!(status, 404);
    assert_eq!(ann.expect("order:left").await["reason"], "closed");
    meanwhile().await;
    put(hub, "o1", order_of("bob")).await;
}

/// What a snapshot shows of before: nothing.
fn assert_is_empty(snapshot: &Value) {
    assert_eq!(seqs(&snapshot["messages"]), [0; 0], "{snapshot}");
    assert_eq!(snapshot["unread"], 0, "{snapshot}");
    assert_eq!(snapshot["readMarks"], json!([]), "{snapshot}");
    assert_eq!(snapshot["lastLocation"], Value::Null, "{snapshot}");
}

async fn history(client: &mut Client, query: Value) -> Vec<i64> {
    let mut data = json!({ "orderId": "o1" });
    data.as_object_mut().expect("an object").extend(query.as_object().expect("one").clone());
    let page = client.request("chat:history", data).await;
    assert_eq!((&page["ok"], &page["hasMore"]), (&json!(true), &json!(false)), "{page}");
    seqs(&page["messages"])
}

/// Nothing of before is there for bob, and what is said goes on from the old numbers.
async fn nothing_is_there(hub: &Hub, next: i64) {
    let mut bob = hub.connect("bob", "customer", &[]).await;
    let mut framed = SocketIoClient::login(hub, "bob", "customer", &[]).await;
    assert_is_empty(&bob.join("o1").await);
    for since in [0, 3, 6] {
        let join = json!({ "orderId": "o1", "sinceSeq": since });
        assert_is_empty(&bob.request("order:join", join).await);
    }
    assert_is_empty(&framed.join("o1").await);
    for query in [json!({}), json!({ "beforeSeq": 5 }), json!({ "afterSeq": 0 })] {
        assert_eq!(history(&mut bob, query).await, [0; 0]);
    }
    let path = "/orders/o1/messages?afterSeq=0";
    let (_, page) = call(hub, Method::GET, path, Value::Null).await;
    assert_eq!(page, json!({ "messages": [], "hasMore": false }));
    let (_, trail) = call(hub, Method::GET, "/orders/o1/locations", Value::Null).await;
    assert_eq!(trail["locations"], json!([]));
    let (_, order) = call(hub, Method::GET, "/orders/o1", Value::Null).await;
    assert_eq!(order["lastLocation"], Value::Null);
    // A mark on what is not there is none.
    bob.request("chat:read", json!({ "orderId": "o1", "seq": 3 })).await;
    // The key of a message of before is free.
    let mut dan = hub.connect("dan", "driver", &[]).await;
    let keyed = json!({ "orderId": "o1", "content": "another", "clientMsgId": "key" });
    let ack = dan.request("chat:message", keyed.clone()).await;
    assert_eq!((&ack["seq"], &ack["duplicate"]), (&json!(next), &Value::Null), "{ack}");
    assert_eq!(dan.request("chat:message", keyed).await["duplicate"], true);
    assert_eq!(bob.expect("chat:message").await["seq"], next);
    assert_eq!(bob.drain("chat:read").await.len(), 0);
    let snapshot = bob.join("o1").await;
    assert_eq!((seqs(&snapshot["messages"]), &snapshot["unread"]), (vec![next], &json!(1)));
    assert_eq!(snapshot["readMarks"], json!([{ "userId": "dan", "seq": next }]));
    assert_eq!(history(&mut bob, json!({ "afterSeq": 0 })).await, [next]);
}

#[tokio::test]
async fn a_recreated_order_shows_no_earlier_chat() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        remade(&database, &hub, async || {}).await;
        nothing_is_there(&hub, 7).await;
    })
    .await;
}

#[tokio::test]
async fn an_open_room_of_a_recreated_order_shows_no_earlier_chat() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        // Support hears of the end, and the room is still there when the order is created again.
        let mut sue = hub.connect("sue", "support", &[]).await;
        put(&hub, "o1", order_of("ann")).await;
        sue.join("o1").await;
        remade(&database, &hub, async || {}).await;
        assert_eq!(sue.expect("order:left").await["reason"], "closed");
        assert_is_empty(&sue.join("o1").await);
        nothing_is_there(&hub, 7).await;
    })
    .await;
}

#[tokio::test]
async fn a_kill_before_the_chat_is_removed_brings_nothing_back() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        remade(&database, &hub, async || {}).await;
        let hub = hub.kill_and_restart();
        nothing_is_there(&hub, 7).await;
        remove_chat(&database, &hub);
        // The next start removes it, and what was said since stays.
        let hub = hub.kill_and_restart();
        let mut bob = hub.connect("bob", "customer", &[]).await;
        let snapshot = bob.join("o1").await;
        assert_eq!((seqs(&snapshot["messages"]), &snapshot["unread"]), (vec![7], &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn an_order_that_is_deleted_twice_shows_only_the_third() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        remade(&database, &hub, async || {}).await;
        let mut bob = hub.connect("bob", "customer", &[]).await;
        bob.join("o1").await;
        assert_eq!(say(&mut bob, "o1", "second").await["seq"], 7);
        call(&hub, Method::DELETE, "/orders/o1", Value::Null).await;
        put(&hub, "o1", order_of("bob")).await;
        nothing_is_there(&hub, 8).await;
    })
    .await;
}

#[tokio::test]
async fn a_session_resumes_into_a_recreated_order_and_gets_its_new_chat() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", order_of("bob")).await;
        let mut framed = SocketIoClient::login(&hub, "bob", "customer", &[]).await;
        framed.join("o1").await;
        let mut dan = hub.connect("dan", "driver", &[]).await;
        for number in 1..=3 {
            say(&mut dan, "o1", &number.to_string()).await;
            framed.expect("chat:message").await;
        }
        let memory = cut(&hub, framed).await;
        say(&mut dan, "o1", "missed").await;
        keep_chat(&database, &hub);
        call(&hub, Method::DELETE, "/orders/o1", Value::Null).await;
        put(&hub, "o1", order_of("bob")).await;
        let mut framed = SocketIoClient::again(&hub, &token("bob", "customer", &[]), &memory).await;
        assert_eq!(say(&mut dan, "o1", "new").await["seq"], 5);
        assert_eq!(framed.expect("chat:message").await["seq"], 5);
    })
    .await;
}
