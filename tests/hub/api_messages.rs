//! `/api/v1/orders/{id}/messages`: chat that back ends and participants write and read over HTTP,
//! beside the room's own.

use orderhub::auth::Scope;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::support::api_keys::{made, put};
use super::support::back_end::{call, call_as, problem_or_status};
use super::support::rooms::{say, seqs};
use super::support::{Client, Database, Hub, each_database, token};

/// Calls with a token of this user.
async fn as_user(
    hub: &Hub,
    user: &str,
    role: &str,
    orders: &[&str],
    method: Method,
    path: &str,
    body: Value,
) -> Response {
    let request = reqwest::Client::new().request(method, hub.url(&format!("/api/v1{path}")));
    let request = request.bearer_auth(token(user, role, orders));
    let request = if body.is_null() { request } else { request.json(&body) };
    request.send().await.expect("an answer")
}

async fn post(hub: &Hub, body: Value) -> (u16, Value) {
    call(hub, Method::POST, "/orders/o1/messages", body).await
}

async fn page(hub: &Hub, query: &str) -> (Vec<i64>, bool) {
    let (status, page) =
        call(hub, Method::GET, &format!("/orders/o1/messages{query}"), Value::Null).await;
    assert_eq!(status, 200, "{page}");
    (seqs(&page["messages"]), page["hasMore"].as_bool().expect("hasMore"))
}

/// An order with a driver and a customer.
async fn order(hub: &Hub) {
    let body = json!({
        "driverId": "ann", "driverName": "Ann the driver",
        "participants": [{ "userId": "bob", "role": "customer", "name": "Bob" }],
    });
    assert_eq!(call(hub, Method::PUT, "/orders/o1", body).await.0, 201);
}

#[tokio::test]
async fn a_back_ends_message_is_stored_numbered_and_sent_to_the_room() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        order(&hub).await;
        // Nobody is in the room.
        let (status, first) = post(&hub, json!({ "content": "accepted", "type": "SYSTEM" })).await;
        assert_eq!((status, &first["seq"]), (201, &json!(1)), "{first}");
        assert_eq!(first.get("duplicate"), None);
        let mut bob = hub.connect("bob", "customer", &[]).await;
        let shown = bob.join("o1").await;
        for (name, value) in [
            ("senderId", json!("system")),
            ("senderName", json!("System")),
            ("senderRole", json!("service")),
            ("type", json!("SYSTEM")),
            ("content", json!("accepted")),
            ("id", first["id"].clone()),
            ("createdAt", first["createdAt"].clone()),
        ] {
            assert_eq!(shown["messages"][0][name], value, "{name}");
        }
        assert_eq!(say(&mut bob, "o1", "thanks").await["seq"], 2);
        let named = json!({ "content": "your table", "type": "SYSTEM", "senderId": "shop",
            "senderName": "Trattoria" });
        assert_eq!(post(&hub, named).await.1["seq"], 3);
        bob.expect("chat:message").await;
        let heard = bob.expect("chat:message").await;
        assert_eq!((&heard["seq"], &heard["senderId"]), (&json!(3), &json!("shop")));
        assert_eq!(heard["senderName"], "Trattoria");
        assert_eq!(page(&hub, "").await, (vec![1, 2, 3], false));
    })
    .await;
}

#[tokio::test]
async fn numbers_have_no_gap_on_any_way_in() {
    each_database(async |database: Database| {
        let hub = database.hub().without_rates().start();
        order(&hub).await;
        let mut bob = hub.connect("bob", "customer", &[]).await;
        bob.join("o1").await;
        for number in 0..30 {
            bob.ask("chat:message", json!({ "orderId": "o1", "content": format!("{number}") }))
                .await;
        }
        let posts = (0..30).map(|number| {
            let hub = &hub;
            let body = json!({ "content": format!("{number}"), "type": "SYSTEM" });
            async move { post(hub, body).await.0 }
        });
        assert_eq!(futures_util::future::join_all(posts).await, [201; 30]);
        let mut heard = Vec::new();
        while heard.len() < 60 {
            heard.push(bob.expect("chat:message").await["seq"].as_i64().expect("a seq"));
        }
        assert_eq!(heard, (1..=60).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_back_end_sends_for_a_participant_with_the_name_and_role_of_the_order() {
    let hub = Hub::start();
    order(&hub).await;
    let mut bob = hub.connect("bob", "customer", &[]).await;
    bob.join("o1").await;
    for (body, name, role) in [
        (json!({ "content": "by SMS", "senderId": "ann" }), "Ann the driver", "driver"),
        (json!({ "content": "by SMS", "senderId": "bob" }), "Bob", "customer"),
        (json!({ "content": "x", "senderId": "zoe" }), "zoe", "customer"),
        (
            json!({ "content": "x", "senderId": 7, "senderName": "Zoe", "senderRole": "support" }),
            "Zoe",
            "support",
        ),
        (json!({ "content": "a/key.jpg", "type": "IMAGE", "senderId": "bob" }), "Bob", "customer"),
    ] {
        let (status, answer) = post(&hub, body.clone()).await;
        assert_eq!(status, 201, "{body}: {answer}");
        let heard = bob.expect("chat:message").await;
        assert_eq!((&heard["senderName"], &heard["senderRole"]), (&json!(name), &json!(role)));
        assert_eq!(heard["type"], body.get("type").cloned().unwrap_or(json!("TEXT")));
    }
}

#[tokio::test]
async fn a_retry_with_the_same_key_is_the_same_message_by_either_way() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        order(&hub).await;
        let mut bob = hub.connect("bob", "customer", &[]).await;
        bob.join("o1").await;
        let body = json!({ "content": "ready", "senderId": "ann", "clientMsgId": "k1" });
        let (status, first) = post(&hub, body.clone()).await;
        assert_eq!(status, 201);
        let (status, mut again) = post(&hub, body).await;
        assert_eq!((status, again["duplicate"].take()), (201, json!(true)));
        for field in ["id", "seq", "createdAt"] {
            assert_eq!(first[field], again[field], "{field}");
        }
        let other = json!({ "content": "not yet", "senderId": "ann", "clientMsgId": "k1" });
        let (status, refused) = post(&hub, other).await;
        assert_eq!((status, &refused["code"]), (409, &json!("conflict")));
        // The driver's phone sends again what the back end has passed on for it.
        let mut ann = hub.connect("ann", "driver", &[]).await;
        let retry = json!({ "orderId": "o1", "content": "ready", "clientMsgId": "k1" });
        let retry = ann.request("chat:message", retry).await;
        assert_eq!((&retry["duplicate"], &retry["seq"]), (&json!(true), &json!(1)));
        assert_eq!(bob.drain("chat:message").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_participant_writes_and_reads_as_himself_alone() {
    let hub = Hub::start();
    order(&hub).await;
    let mut ann = hub.connect("ann", "driver", &[]).await;
    ann.join("o1").await;
    let write = async |user: &str, role: &str, orders: &[&str], body: Value| {
        let path = "/orders/o1/messages";
        problem_or_status(as_user(&hub, user, role, orders, Method::POST, path, body).await).await
    };
    let hello = || json!({ "content": "hello" });
    assert_eq!(write("bob", "customer", &[], hello()).await, "201");
    let heard = ann.expect("chat:message").await;
    assert_eq!((&heard["senderId"], &heard["senderRole"]), (&json!("bob"), &json!("customer")));
    assert_eq!(write("sue", "support", &[], hello()).await, "201");
    assert_eq!(write("carl", "customer", &["o1"], hello()).await, "201", "named by the token");
    assert_eq!(write("eve", "customer", &["o2"], hello()).await, "403 forbidden ");
    let own = json!({ "content": "x", "senderId": "bob" });
    assert_eq!(write("bob", "customer", &[], own).await, "201");
    for body in [
        json!({ "content": "x", "senderId": "ann" }),
        json!({ "content": "x", "senderName": "Ann" }),
        json!({ "content": "x", "senderRole": "support" }),
        json!({ "content": "x", "type": "SYSTEM" }),
    ] {
        assert_eq!(write("bob", "customer", &[], body.clone()).await, "403 forbidden ", "{body}");
    }
    let other = write("sue", "support", &[], json!({ "content": "x", "senderId": "bob" })).await;
    assert_eq!(other, "403 forbidden ", "staff write as themselves too");
    let read = async |user: &str, role: &str, path: &str| {
        let answer = as_user(&hub, user, role, &[], Method::GET, path, Value::Null).await;
        problem_or_status(answer).await
    };
    assert_eq!(read("bob", "customer", "/orders/o1/messages").await, "200");
    assert_eq!(read("ann", "driver", "/orders/o1/messages").await, "200");
    assert_eq!(read("sue", "support", "/orders/o1/messages").await, "200");
    assert_eq!(read("eve", "customer", "/orders/o1/messages").await, "403 forbidden ");
    // To those without a right an unknown order looks the same.
    assert_eq!(read("eve", "customer", "/orders/zz/messages").await, "403 forbidden ");
    assert_eq!(read("sue", "support", "/orders/zz/messages").await, "404 not_found ");
    assert_eq!(read("back", "service", "/orders/zz/messages").await, "404 not_found ");
    call(&hub, Method::DELETE, "/orders/o1/participants/carl", Value::Null).await;
    assert_eq!(write("carl", "customer", &["o1"], hello()).await, "403 forbidden ", "removed");
}

#[tokio::test]
async fn a_participants_message_creates_an_unknown_order_and_a_back_ends_does_not() {
    let hub = Hub::start();
    let path = "/orders/o1/messages";
    let body = json!({ "content": "hello", "senderId": "bob" });
    assert_eq!(post(&hub, body).await.0, 404);
    let body = json!({ "content": "hello" });
    let support = as_user(&hub, "sue", "support", &[], Method::POST, path, body.clone()).await;
    assert_eq!(support.status(), 404);
    let named = as_user(&hub, "bob", "customer", &["o1"], Method::POST, path, body).await;
    assert_eq!(named.status(), 201);
    assert_eq!(page(&hub, "").await, (vec![1], false));
}

#[tokio::test]
async fn only_a_back_end_can_send_into_a_closed_chat() {
    let hub = Hub::builder().env("CHAT_OPEN_HOURS", 0).start();
    order(&hub).await;
    call(&hub, Method::POST, "/orders/o1/status", json!({ "status": "DELIVERED" })).await;
    let closed = |answer: (u16, Value)| answer.0 == 409 && answer.1["code"] == "order_closed";
    super::support::until("the chat to close", async || {
        closed(post(&hub, json!({ "content": "x", "senderId": "bob" })).await)
    })
    .await;
    let path = "/orders/o1/messages";
    let body = json!({ "content": "x" });
    let bob = as_user(&hub, "bob", "customer", &[], Method::POST, path, body).await;
    assert_eq!(problem_or_status(bob).await, "409 order_closed ");
    let refund = json!({ "content": "your refund is on its way", "type": "SYSTEM" });
    assert_eq!(post(&hub, refund).await.0, 201);
    let bob = as_user(&hub, "bob", "customer", &[], Method::GET, path, Value::Null).await;
    assert_eq!(bob.status(), 200, "it stays readable");
}

#[tokio::test]
async fn bad_messages_are_refused_with_their_field_and_store_nothing() {
    let hub = Hub::start();
    order(&hub).await;
    for (body, expected) in [
        (json!({}), "400 invalid_payload content"),
        (json!({ "content": " " }), "400 invalid_payload content"),
        (json!({ "content": "a\u{0}b" }), "400 invalid_payload content"),
        (json!({ "content": "x".repeat(4001) }), "400 invalid_payload content"),
        (json!({ "content": 5 }), "400 invalid_payload content"),
        (json!({ "content": "http://x/y", "type": "IMAGE" }), "400 invalid_payload content"),
        (json!({ "content": "x", "type": "VIDEO" }), "400 invalid_payload type"),
        (json!({ "content": "x", "clientMsgId": "" }), "400 invalid_payload clientMsgId"),
        (json!({ "content": "x", "senderId": "a b" }), "400 invalid_payload senderId"),
        (json!({ "content": "x", "senderName": "Z" }), "400 invalid_payload senderId"),
        (
            json!({ "content": "x", "senderId": "z", "senderName": "" }),
            "400 invalid_payload senderName",
        ),
        (
            json!({ "content": "x", "senderId": "z", "senderRole": "admin" }),
            "400 invalid_payload senderRole",
        ),
        (
            json!({ "content": "x", "type": "SYSTEM", "senderRole": "driver" }),
            "400 invalid_payload senderRole",
        ),
        (json!({ "content": "x", "seq": 9 }), "400 invalid_payload seq"),
        (json!(["x"]), "400 invalid_payload body"),
    ] {
        let answer =
            call_as(&hub, "service", Method::POST, "/orders/o1/messages", body.clone()).await;
        assert_eq!(problem_or_status(answer).await, expected, "{body}");
    }
    assert_eq!(page(&hub, "").await, (vec![], false));
    let other = call_as(&hub, "service", Method::PATCH, "/orders/o1/messages", Value::Null).await;
    assert_eq!(other.status(), 405);
}

#[tokio::test]
async fn pages_go_both_ways() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        order(&hub).await;
        for number in 1..=5 {
            post(&hub, json!({ "content": format!("{number}"), "type": "SYSTEM" })).await;
        }
        for (query, found, more) in [
            ("", vec![1, 2, 3, 4, 5], false),
            ("?limit=2", vec![4, 5], true),
            ("?beforeSeq=4&limit=2", vec![2, 3], true),
            ("?beforeSeq=1", vec![], false),
            ("?afterSeq=0&limit=2", vec![1, 2], true),
            ("?afterSeq=3", vec![4, 5], false),
            ("?afterSeq=99", vec![], false),
        ] {
            assert_eq!(page(&hub, query).await, (found, more), "{query}");
        }
        for (query, field) in [
            ("?limit=0", "limit"),
            ("?limit=201", "limit"),
            ("?limit=-1", "limit"),
            ("?beforeSeq=2&afterSeq=1", "afterSeq"),
            ("?afterSeq=9007199254740992", "afterSeq"),
            ("?beforeSeq=-1", ""),
            ("?afterSeq=x", ""),
            ("?after=1", "after"),
        ] {
            let path = format!("/orders/o1/messages{query}");
            let answer = call_as(&hub, "service", Method::GET, &path, Value::Null).await;
            let expected = format!("400 invalid_payload {field}");
            assert_eq!(problem_or_status(answer).await, expected, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_reads_and_writes_by_its_scopes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let [one, other] =
        [Scope::OrdersRead, Scope::ChatWrite].map(|scope| made(scope.as_str(), &[scope]));
    put(&path, &[&one, &other]);
    let hub = Hub::builder().env("API_KEYS_FILE", path.display()).start();
    let (reader, writer) = (one.key, other.key);
    order(&hub).await;
    let url = hub.url("/api/v1/orders/o1/messages");
    let client = reqwest::Client::new();
    let post = async |key: &str, body: Value| {
        let answer = client.post(&url).bearer_auth(key).json(&body).send().await;
        problem_or_status(answer.expect("an answer")).await
    };
    let system = json!({ "content": "x", "type": "SYSTEM" });
    assert_eq!(post(&writer, system.clone()).await, "201");
    assert_eq!(post(&writer, json!({ "content": "x", "senderId": "bob" })).await, "201");
    let nobody = post(&writer, json!({ "content": "x" })).await;
    assert_eq!(nobody, "400 invalid_payload senderId", "a key is nobody");
    assert_eq!(post(&reader, system).await, "403 forbidden ");
    let get = async |key: &str| {
        let answer = client.get(&url).bearer_auth(key).send().await.expect("an answer");
        problem_or_status(answer).await
    };
    assert_eq!(get(&reader).await, "200");
    assert_eq!(get(&writer).await, "403 forbidden ");
}

#[tokio::test]
async fn a_user_writes_no_faster_than_on_a_socket_and_a_back_end_as_it_likes() {
    let hub = Hub::builder().env("CHAT_PER_SECOND", 1).env("CHAT_BURST", 2).start();
    order(&hub).await;
    let path = "/orders/o1/messages";
    let body = json!({ "content": "x" });
    let mut answers = Vec::new();
    for _ in 0..12 {
        let answer = as_user(&hub, "bob", "customer", &[], Method::POST, path, body.clone()).await;
        answers.push((answer.status().as_u16(), answer.headers().contains_key("retry-after")));
    }
    assert_eq!(answers[..2], [(201, false); 2]);
    assert!(answers.contains(&(429, true)), "{answers:?}");
    let ann = as_user(&hub, "ann", "driver", &[], Method::POST, path, body).await;
    assert_eq!(ann.status(), 201, "the rate is bob's own");
    for _ in 0..12 {
        assert_eq!(post(&hub, json!({ "content": "x", "senderId": "bob" })).await.0, 201);
    }
}

#[tokio::test]
async fn a_message_that_comes_while_the_room_opens_is_not_missed() {
    let hub = Hub::builder().without_rates().start();
    order(&hub).await;
    for round in 0..10_i64 {
        let body = json!({ "content": "x", "type": "SYSTEM" });
        let opening = async {
            let mut bob: Client = hub.connect("bob", "customer", &[]).await;
            let last = bob.join("o1").await["lastSeq"].as_i64().expect("a seq");
            (bob, last)
        };
        let ((mut bob, last), posted) = tokio::join!(opening, post(&hub, body));
        assert_eq!(posted.1["seq"], round + 1);
        if last == round {
            assert_eq!(bob.expect("chat:message").await["seq"], round + 1);
        }
        bob.close().await;
    }
}
