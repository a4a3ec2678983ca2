//! SIGHUP, as a terminal sends it that closes, ends nothing: the hub reads its keys again.

use std::fs;

use serde_json::json;

use super::support::keys::{KeyServer, ServerBehavior, Signer, set};
use super::support::{Hub, until};

#[tokio::test]
async fn a_hangup_reads_the_keys_of_a_server_again_at_once() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let server = KeyServer::start(ServerBehavior::Serve(set(&[&old])));
    let hub = Hub::builder().env("JWT_JWKS", server.url()).start();
    let mut client = hub.connect_with(&old.token("ann")).await;
    client.expect("connected").await;
    let asked = server.hits();
    server.conduct(ServerBehavior::Serve(set(&[&new, &old])));
    hub.signal("HUP");
    until("the keys to be read", async || server.hits() > asked).await;
    until("the keys", async || hub.log().contains("JWT_JWKS: 2 keys of")).await;
    let mut bob = hub.connect_with(&new.token("bob")).await;
    bob.expect("connected").await;
    assert_eq!(server.hits(), asked + 1, "no token had to ask");
    assert_eq!(client.request("ping", json!(1)).await["ok"], true, "sessions go on");
    // What is broken is told each time.
    server.conduct(ServerBehavior::Serve("rubbish".to_owned()));
    for times in 1..=2 {
        hub.signal("HUP");
        let told = || hub.log().matches("JWT_JWKS: cannot use").count();
        until("a warning", async || told() >= times).await;
    }
    assert_eq!(hub.status("/readyz").await, 200);
}

#[tokio::test]
async fn a_hangup_without_keys_to_read_or_under_nohup_changes_nothing() {
    for hub in [Hub::builder(), Hub::builder().through("trap '' HUP; exec \"$0\"")] {
        let hub = hub.start();
        let mut client = hub.connect("ann", "customer", &["o1"]).await;
        hub.signal("HUP");
        until("word of it", async || hub.log().contains("SIGHUP")).await;
        assert_eq!(client.request("ping", json!(1)).await["ok"], true);
        assert_eq!(hub.status("/readyz").await, 200);
    }
}

#[tokio::test]
async fn a_hangup_while_the_hub_waits_for_another_does_not_end_it() {
    let first = Hub::start();
    let url = format!("sqlite:{}", first.data_dir().join("orderhub.sqlite3").display());
    let second = Hub::builder().env("DATABASE_URL", url).launch();
    until("it to wait", async || second.log().contains("another hub uses")).await;
    second.signal("HUP");
    until("word of it", async || second.log().contains("SIGHUP")).await;
    first.signal("KILL");
    assert_eq!(second.listening().status("/readyz").await, 200);
}

#[tokio::test]
async fn a_hub_survives_the_close_of_its_terminal() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, "").expect("written");
    let hub = Hub::builder().stderr(writer).env("RUST_LOG", "debug");
    let mut hub = hub.env("API_KEYS_FILE", keys.display()).start();
    // Nothing can be written any more.
    drop(reader);
    hub.signal("HUP");
    for _ in 0..3 {
        let mut client = hub.connect("ann", "customer", &["o1"]).await;
        client.join("o1").await;
        let said = json!({ "orderId": "o1", "content": "x" });
        assert_eq!(client.request("chat:message", said).await["ok"], true);
        client.close().await;
    }
    assert_eq!(hub.status("/readyz").await, 200);
    hub.signal("TERM");
    assert!(hub.ended().await.success(), "and drains");
}
