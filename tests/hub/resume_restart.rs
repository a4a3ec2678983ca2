//! Coming back to another process: after a deploy the rooms are found again, after a crash only what
//! was said.

use serde_json::json;

use super::support::resume::{ann, at, cut, joined};
use super::support::rooms::{say, seqs};
use super::support::socketio::{EVENTS, RecoveryState, SocketIoClient};
use super::support::{Client, Database, Hub, each_database};

fn hub(database: &Database) -> Hub {
    database.hub().without_rates().start()
}

/// Somebody who talks, on this process.
async fn talker(hub: &Hub) -> Client {
    let mut talker = hub.connect("dan", "driver", &["o1", "o2"]).await;
    for order in ["o1", "o2"] {
        talker.join(order).await;
    }
    talker
}

/// Waits until a client is told that the hub restarts: what it keeps of its session.
async fn farewell(mut client: SocketIoClient) -> RecoveryState {
    let ending = client.ending().await;
    assert_eq!(ending.announced(EVENTS), (1012, false), "it comes back by itself");
    let end = ending.said.iter().find(|packet| packet.is_event("session:end")).expect("one");
    assert_eq!(end.data()["retry"], true);
    assert!(end.data()["reconnectAfterMs"].as_u64().is_some_and(|ms| ms >= 1000));
    client.cut()
}

/// Waits until the hub has gone down in order, and brings it up again.
async fn come_up(mut hub: Hub) -> Hub {
    assert_eq!(hub.ended().await.code(), Some(0));
    hub.start_again()
}

#[tokio::test]
async fn a_client_resumes_after_a_deploy() {
    each_database(async |database: Database| {
        let mut hub = hub(&database);
        let (mut client, before_deploy) = joined(&hub).await;
        client.join("o1").await;
        drop(before_deploy);
        let sid = client.memory().sid.clone();
        for deploys in 1..=2 {
            hub.signal("TERM");
            let before = farewell(client).await;
            hub = come_up(hub).await;
            let mut talker = talker(&hub).await;
            for order in ["o1", "o2", "o1"] {
                say(&mut talker, order, "meanwhile").await;
            }
            client = SocketIoClient::again(&hub, &ann(), &before).await;
            assert!(client.memory().recovered);
            assert_eq!((&client.memory().sid, &client.memory().pid), (&sid, &before.pid));
            let mut heard = client.hear(3).await;
            heard.sort();
            let first = 2 * deploys;
            assert_eq!(heard, [at("o1", first), at("o1", first + 1), at("o2", 1 + deploys)]);
            // The other one knows that she is there.
            assert_eq!(talker.expect("presence:joined").await["userId"], "ann");
            talker.close().await;
        }
        // Two joins, as before.
        let leave = json!({ "orderId": "o1" });
        assert_eq!(client.request("order:leave", leave.clone()).await["remaining"], 1);
        assert_eq!(client.request("order:leave", leave).await["remaining"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_was_offline_during_a_deploy_resumes_once() {
    each_database(async |database: Database| {
        let hub = hub(&database);
        let (client, mut talker) = joined(&hub).await;
        let before = cut(&hub, client).await;
        say(&mut talker, "o2", "before the deploy").await;
        talker.close().await;
        hub.signal("TERM");
        let hub = come_up(hub).await;
        let mut talker = self::talker(&hub).await;
        say(&mut talker, "o1", "after the deploy").await;
        let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
        assert!(client.memory().recovered);
        let mut heard = client.hear(2).await;
        heard.sort();
        assert_eq!(heard, [at("o1", 2), at("o2", 2)]);
        // It is with this process from now on, and ends with it.
        let memory = client.memory().clone();
        client.disconnect().await;
        talker.expect("presence:left").await;
        let client = SocketIoClient::again(&hub, &ann(), &memory).await;
        assert!(!client.memory().recovered);
    })
    .await;
}

#[tokio::test]
async fn after_a_kill_a_client_joins_again_and_no_acknowledged_chat_is_lost() {
    each_database(async |database: Database| {
        let hub = hub(&database);
        let (mut client, mut before_crash) = joined(&hub).await;
        let before = client.memory().clone();
        say(&mut before_crash, "o1", "not seen").await;
        let hub = hub.kill_and_restart();
        let ending = client.ending().await;
        assert_eq!(ending.said.iter().filter(|packet| packet.is_event("session:end")).count(), 0);
        let mut talker = talker(&hub).await;
        say(&mut talker, "o1", "after the crash").await;
        let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
        assert!(!client.memory().recovered);
        assert_ne!(client.memory().sid, before.sid);
        let left = client.request("order:leave", json!({ "orderId": "o1" })).await;
        assert_eq!(left["error"]["code"], "not_joined");
        let joined = client.request("order:join", json!({ "orderId": "o1", "sinceSeq": 1 })).await;
        assert_eq!((seqs(&joined["messages"]), &joined["recovered"]), (vec![2, 3], &json!(true)));
    })
    .await;
}
