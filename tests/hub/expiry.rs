//! How long a token counts: a session ends with it, says so before, and goes on with the next.

use protocol::time::Timestamp;
use serde_json::json;

use super::support::raw::{RawConnection, UpgradeRequest};
use super::support::{Hub, HubBuilder, claims, now, token};

/// A token of Ann's that ends at this second.
fn ending_at(exp: i64) -> String {
    claims(json!({ "sub": "ann", "orders": ["o1"], "exp": exp }))
}

/// A hub that counts tokens by the second.
fn exact() -> HubBuilder {
    Hub::builder().env("JWT_LEEWAY_SECS", 0)
}

#[tokio::test]
async fn a_session_ends_with_its_token_after_a_warning() {
    let hub = exact().start();
    let expires = (now() + 3) * 1000;
    let mut raw = RawConnection::connect(hub.addr).await;
    raw.send(&UpgradeRequest::bearer(&ending_at(expires / 1000)).head()).await;
    assert_eq!(raw.answer().await.status, 101);
    let ending = raw.ending().await;
    assert!(Timestamp::now().as_millis() >= expires, "not before its time");
    assert_eq!((ending.announced(), ending.reason.as_str()), (4401, "token_expired"));
    assert_eq!(ending.session_end()["retry"], true);
    let names: Vec<_> = ending.said.iter().map(|event| event["event"].clone()).collect();
    assert_eq!(names, ["connected", "auth:expiring", "session:end"]);
    let expiring = &ending.said[1]["data"];
    assert_eq!(expiring["expiresAt"], ending.said[0]["data"]["expiresAt"]);
    assert!(expiring["inMs"].as_i64().is_some_and(|ms| (0..=3000).contains(&ms)), "{expiring}");
}

#[tokio::test]
async fn leeway_is_added_to_the_life_of_a_session() {
    let hub = Hub::builder().env("JWT_LEEWAY_SECS", 4).start();
    let expired = now() - 1;
    let mut raw = RawConnection::connect(hub.addr).await.logged_in(&ending_at(expired)).await;
    let ending = raw.ending().await;
    assert!(Timestamp::now().as_millis() >= (expired + 4) * 1000);
    assert_eq!(ending.announced(), 4401);
}

#[tokio::test]
async fn a_refresh_lets_a_session_outlive_its_first_token() {
    let hub = exact().start();
    let short = ending_at(now() + 3);
    let mut renewed = hub.connect_with(&short).await;
    let mut left_alone = hub.connect_with(&short).await;
    let long = claims(
        json!({ "sub": "ann", "role": "driver", "orders": ["o1", "o2"], "exp": now() + 3600 }),
    );
    let reply = renewed.request("auth:refresh", json!({ "token": long })).await;
    assert_eq!(reply["ok"], true, "{reply}");
    assert_eq!(left_alone.closed().await.code, 4401);
    renewed.join("o2").await;
    let fix = json!({ "orderId": "o2", "lat": 1, "lng": 1 });
    let taken = renewed.request("driver:location", fix).await;
    assert_eq!(taken["accepted"], 1, "the new token's role counts: {taken}");
    let expires_at = reply["expiresAt"].as_str().expect("a time");
    assert!(expires_at > renewed.expect("connected").await["expiresAt"].as_str().expect("a time"));
}

#[tokio::test]
async fn a_refresh_with_a_token_that_does_not_count_changes_nothing() {
    let hub = exact().start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let others = token("bob", "admin", &["o1", "o2"]);
    let expired = ending_at(now() - 10);
    for (token, code) in [
        (others.as_str(), "forbidden"),
        (expired.as_str(), "token_expired"),
        ("hello", "unauthenticated"),
    ] {
        let reply = client.request("auth:refresh", json!({ "token": token })).await;
        assert_eq!((&reply["ok"], &reply["error"]["code"]), (&json!(false), &json!(code)));
    }
    client.join("o1").await;
    let refused = client.request("order:join", json!({ "orderId": "o2" })).await;
    assert_eq!(refused["error"]["code"], "forbidden");
}

#[tokio::test]
async fn a_refresh_without_an_order_takes_its_room_away() {
    let hub = Hub::start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    client.join("o1").await;
    let elsewhere = token("ann", "customer", &["o2"]);
    assert_eq!(client.request("auth:refresh", json!({ "token": elsewhere })).await["ok"], true);
    assert_eq!(client.expect("order:left").await, json!({ "orderId": "o1", "reason": "removed" }));
    client.join("o2").await;
}

#[tokio::test]
async fn a_token_outlives_a_crash_of_the_hub() {
    let hub = Hub::start();
    let token = ending_at(now() + 3600);
    let mut client = hub.connect_with(&token).await;
    let said = json!({ "orderId": "o1", "content": "before" });
    assert_eq!(client.request("chat:message", said).await["seq"], 1);
    let hub = hub.kill_and_restart();
    let mut client = hub.connect_with(&token).await;
    assert_eq!(client.join("o1").await["messages"][0]["content"], "before");
}
