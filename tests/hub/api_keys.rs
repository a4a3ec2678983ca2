//! API keys: what their scopes let a service do, and that the file may change while the hub runs.

use std::fs;
use std::path::Path;

use orderhub::auth::{NewKey, Scope};
use reqwest::Method;

use super::support::api_keys::{made, put, write};
use super::support::raw::UpgradeRequest;
use super::support::{Hub, token, until};

/// A hub that others can reach, so that `/metrics` asks who it is.
fn hub_with(path: &Path) -> Hub {
    let hub = Hub::builder().env("BIND_ADDR", "0.0.0.0:0");
    hub.env("API_KEYS_FILE", path.display()).start()
}

async fn ask(hub: &Hub, method: Method, path: &str, key: &str) -> (u16, String) {
    let request = reqwest::Client::new().request(method, hub.url(path)).bearer_auth(key);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

#[tokio::test]
async fn a_key_has_the_rights_of_its_scopes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let all = [
        made("looks", &[Scope::AdminRead]),
        made("throws-out", &[Scope::AdminWrite]),
        made("counts", &[Scope::MetricsRead]),
        made("orders", &[Scope::OrdersRead, Scope::OrdersWrite]),
    ];
    put(&path, &all.iter().collect::<Vec<_>>());
    let hub = hub_with(&path);
    let sessions = "/admin/v1/users/ann/sessions?banSecs=0";
    for (key, expected) in
        all.iter().zip([[200, 403, 403], [403, 200, 403], [403, 403, 200], [403, 403, 403]])
    {
        let stats = ask(&hub, Method::GET, "/admin/v1/stats", &key.key).await.0;
        let ended = ask(&hub, Method::DELETE, sessions, &key.key).await.0;
        let metrics = ask(&hub, Method::GET, "/metrics", &key.key).await.0;
        assert_eq!([stats, ended, metrics], expected, "{}", key.entry);
    }
    let (_, said) = ask(&hub, Method::GET, "/admin/v1/stats", &all[3].key).await;
    assert!(said.contains("the key has no scope admin:read"), "{said}");
    hub.logged("admin=throws-out user=ann").await;
    for key in &all {
        assert!(!hub.log().contains(&key.key), "a key is in the log");
    }
    let admin = token("root", "admin", &[]);
    assert_eq!(ask(&hub, Method::GET, "/metrics", &admin).await.0, 200, "tokens count as before");
    let support = token("sue", "support", &[]);
    assert_eq!(ask(&hub, Method::GET, "/admin/v1/stats", &support).await.0, 200);
    assert_eq!(ask(&hub, Method::DELETE, sessions, &support).await.0, 403);
}

#[tokio::test]
async fn a_key_opens_no_socket_and_an_unknown_one_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let key = made("shop", Scope::ALL);
    put(&path, &[&key]);
    let hub = hub_with(&path);
    assert_eq!(ask(&hub, Method::GET, "/admin/v1/stats", &key.key).await.0, 200);
    let bare =
        reqwest::Client::new().get(hub.url("/admin/v1/stats")).header("Authorization", &key.key);
    assert_eq!(bare.send().await.expect("an answer").status(), 200, "without a scheme");
    let answer = UpgradeRequest::bearer(&key.key).ask(&hub).await;
    assert_eq!(answer.problem(), (401, "unauthenticated"));
    let (mut raw, _) = UpgradeRequest::browser(&key.key).open(&hub).await;
    assert_eq!(raw.ending().await.announced(), 4401);
    let other = made("shop", Scope::ALL).key;
    let hash = key.entry.split('"').nth(3).expect("a hash").to_owned();
    for unknown in [&other, "ohk_", &key.key[..46], &key.key[4..], &hash, &format!("ohk_{hash}")] {
        let (status, said) = ask(&hub, Method::GET, "/admin/v1/stats", unknown).await;
        assert_eq!(status, 401, "{said}");
    }
}

#[tokio::test]
async fn keys_change_without_a_restart_and_a_broken_file_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let (old, new) = (made("old", &[Scope::AdminRead]), made("new", &[Scope::AdminRead]));
    put(&path, &[&old]);
    let hub = hub_with(&path);
    let stats = async |key: &NewKey| ask(&hub, Method::GET, "/admin/v1/stats", &key.key).await.0;
    assert_eq!((stats(&old).await, stats(&new).await), (200, 401));
    put(&path, &[&old, &new]);
    until("the new key", async || stats(&new).await == 200).await;
    assert_eq!(stats(&old).await, 200);
    put(&path, &[&new]);
    until("the end of the old key", async || stats(&old).await == 401).await;
    write(&path, "[[keys]]\nname = 7\n");
    hub.logged("API_KEYS_FILE: cannot use").await;
    assert_eq!(stats(&new).await, 200);
    fs::remove_file(&path).expect("removes");
    hub.logged("No such file").await;
    assert_eq!(stats(&new).await, 200);
    write(&path, "");
    until("the end of all keys", async || stats(&new).await == 401).await;
}

#[tokio::test]
async fn a_file_with_a_byte_order_mark_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, secret) = (dir.path().join("keys.toml"), dir.path().join("secret"));
    let key = made("looks", &[Scope::AdminRead]);
    write(&path, &format!("\u{feff}{}", key.entry));
    write(&secret, &format!("\u{feff}{}\r\n", "s".repeat(32)));
    let hub = Hub::builder().env("API_KEYS_FILE", path.display());
    let hub = hub.env("JWT_SECRET_PREVIOUS_FILE", secret.display()).start();
    assert_eq!(ask(&hub, Method::GET, "/admin/v1/stats", &key.key).await.0, 200);
    let claims = serde_json::json!({
        "sub": "root", "role": "admin", "exp": protocol::time::Timestamp::now().as_millis() / 1000 + 60,
    });
    let secret = jsonwebtoken::EncodingKey::from_secret("s".repeat(32).as_bytes());
    let header = jsonwebtoken::Header::default();
    let token = jsonwebtoken::encode(&header, &claims, &secret).expect("a token");
    assert_eq!(ask(&hub, Method::GET, "/admin/v1/stats", &token).await.0, 200);
}
