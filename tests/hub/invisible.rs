//! Characters that do not show or turn others around: not in names, not as a whole message, and not
//! in what says where a picture is.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::rooms::{code, say};
use super::support::socketio::SocketIoClient;
use super::support::{Hub, claims};

fn named(user: &str, name: &str) -> String {
    let exp = protocol::time::Timestamp::now().as_millis() / 1000 + 600;
    claims(json!({ "sub": user, "name": name, "role": "customer", "orders": ["o1"], "exp": exp }))
}

#[tokio::test]
async fn invisible_characters_are_removed_from_names() {
    let hub = Hub::start();
    let mut sue = hub.connect("sue", "support", &[]).await;
    let body = json!({
        "status": "NEW", "driverId": "dan", "driverName": "D\u{202E}an\u{200B}",
        "participants": [
            { "userId": "bob", "role": "customer", "name": "\u{2067}B\u{FEFF}ob" },
            { "userId": "eve", "role": "customer", "name": "\u{3164}\u{200B}" },
        ],
    });
    let (status, order) = call(&hub, Method::PUT, "/orders/o1", body).await;
    assert_eq!(status, 201, "{order}");
    assert_eq!(order["driverName"], "Dan");
    let names = [&order["participants"][0]["name"], &order["participants"][1]["name"]];
    assert_eq!(names, [&json!("Bob"), &Value::Null]);
    sue.join("o1").await;
    let body = json!({ "driverId": "ann", "driverName": "\u{200F}An\u{E0061}n" });
    call(&hub, Method::POST, "/orders/o1/assign", body).await;
    assert_eq!(sue.expect("order:assigned").await["driverName"], "Ann");
    let body = json!({ "content": "hi", "senderId": "x", "senderName": "\u{2066}Shop\u{2060}" });
    call(&hub, Method::POST, "/orders/o1/messages", body).await;
    assert_eq!(sue.expect("chat:message").await["senderName"], "Shop");
    for (user, name, shown) in [
        ("u1", "\u{202E}A\u{200D}na\u{2800}", "Ana"),
        ("u2", "\u{115F}\u{1160}\u{FFA0}", "u2"),
        ("u3", "👩🏽\u{200D}⚕\u{FE0F} علی\u{200C}رضا", "👩🏽\u{200D}⚕\u{FE0F} علی\u{200C}رضا"),
    ] {
        let mut client = hub.connect_with(&named(user, name)).await;
        client.join("o1").await;
        let came = sue.expect("presence:joined").await;
        assert_eq!((&came["userId"], &came["name"]), (&json!(user), &json!(shown)));
        say(&mut client, "o1", "hello").await;
        assert_eq!(sue.expect("chat:message").await["senderName"], shown);
    }
}

#[tokio::test]
async fn a_message_in_which_nothing_shows_is_refused_and_others_stay_as_they_are() {
    let hub = Hub::builder().env("CHAT_PER_SECOND", 0).start();
    call(&hub, Method::PUT, "/orders/o1", json!({ "status": "NEW" })).await;
    let mut plain = hub.connect("ann", "customer", &["o1"]).await;
    let mut framed = SocketIoClient::login(&hub, "bob", "customer", &["o1"]).await;
    plain.join("o1").await;
    let blank = ["\u{200B}", "\u{3164} \u{FEFF}", "\u{202E}\u{2069}", "\u{2800}\n\u{E0020}"];
    for content in blank {
        let data = json!({ "orderId": "o1", "content": content });
        for result in [
            plain.request("chat:message", data.clone()).await,
            framed.request("chat:message", data).await,
        ] {
            assert_eq!(
                (code(&result), &result["error"]["field"]),
                ("invalid_payload", &json!("content"))
            );
        }
        for kind in ["TEXT", "SYSTEM"] {
            let body = json!({ "content": content, "type": kind, "senderId": "shop" });
            let (status, answer) = call(&hub, Method::POST, "/orders/o1/messages", body).await;
            assert_eq!((status, &answer["code"]), (400, &json!("invalid_payload")), "{content:?}");
        }
    }
    for content in [
        "\u{202B}שלום\u{202C}",
        "علی\u{200C}رضا",
        "👨\u{200D}👩\u{200D}👧",
        "a\u{200B}b",
        "\u{2066}x\u{2069}",
    ] {
        say(&mut plain, "o1", content).await;
        assert_eq!(plain.expect("chat:message").await["content"], content);
    }
}

#[tokio::test]
async fn a_misleading_image_address_is_refused() {
    let hub = Hub::start();
    call(&hub, Method::PUT, "/orders/o1", json!({ "status": "NEW" })).await;
    let mut ann = hub.connect("ann", "customer", &["o1"]).await;
    for content in [
        "a\" onerror=\"x",
        "a'x",
        "https://bank.example@evil.example/a.png",
        "@evil.example/a.png",
        "../../etc/passwd",
        "a/%2e%2E/b",
        "https://cdn.example/../b",
        "a%0d%0ab",
        "a\u{202E}gnp.exe",
        "data:text/html,x",
    ] {
        let data = json!({ "orderId": "o1", "content": content, "type": "IMAGE" });
        let result = ann.request("chat:message", data).await;
        assert_eq!(code(&result), "invalid_payload", "{content}");
        let body = json!({ "content": content, "type": "IMAGE", "senderId": "shop" });
        let (status, _) = call(&hub, Method::POST, "/orders/o1/messages", body).await;
        assert_eq!(status, 400, "{content}");
    }
}
