//! Users of identity providers: ids with the characters of theirs, roles as they write them.

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::rooms::say;
use super::support::{Hub, claims, token};

const USERS: [&str; 4] = ["auth0|5f7c8ec7", "ann.b+c@example.com", "+385911234567", "aGk="];

#[tokio::test]
async fn users_of_identity_providers_join_chat_and_are_removed_like_all_others() {
    let hub = Hub::start();
    for user in USERS {
        let body = json!({ "participants": [{ "userId": user, "role": "customer" }] });
        let (status, answer) = call(&hub, Method::PUT, "/orders/o1", body).await;
        assert!(status < 300, "{answer}");
        let mut client = hub.connect(user, "customer", &[]).await;
        client.join("o1").await;
        say(&mut client, "o1", user).await;
        assert_eq!(client.expect("chat:message").await["senderId"], user);
        let escaped = percent_encode(user.as_bytes(), NON_ALPHANUMERIC);
        let path = format!("/orders/o1/participants/{escaped}");
        let (status, answer) = call(&hub, Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        client.expect("order:left").await;
    }
}

#[tokio::test]
async fn an_invalid_character_of_an_id_is_named_to_the_back_end() {
    let hub = Hub::start();
    let body = json!({ "participants": [{ "userId": "a#b", "role": "customer" }] });
    let (status, answer) = call(&hub, Method::PUT, "/orders/o1", body).await;
    assert_eq!((status, &answer["field"]), (400, &json!("participants[0].userId")), "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("'#'")), "{answer}");
}

#[tokio::test]
async fn a_role_that_nothing_knows_is_logged_once() {
    let mut hub = Hub::start();
    let expires = protocol::time::Timestamp::now().as_millis() / 1000 + 60;
    for role in ["WIZARD", "WIZARD", "ADMIN"] {
        let token = claims(json!({ "sub": "ann", "role": role, "exp": expires }));
        let mut client = hub.connect_with(&token).await;
        assert_eq!(client.expect("connected").await["role"], "customer");
    }
    let mut client = hub.connect_with(&token("ann", "driver", &[])).await;
    assert_eq!(client.expect("connected").await["role"], "driver");
    let log = hub.whole_log().await;
    assert_eq!(log.matches("WIZARD").count(), 1, "{log}");
    assert_eq!(log.matches("\"ADMIN\"").count(), 1, "{log}");
}
