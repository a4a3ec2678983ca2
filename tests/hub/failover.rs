//! A failover: the address leads to another server from now on, and the old one, to which the hub's
//! connections still stand, lives on and takes no writes.

use orderhub::db::migrate;
use serde_json::json;

use super::support::address::Address;
use super::support::postgres_server::PostgresServer;
use super::support::{Client, Hub};

/// Says something in an order of its own and reads it back.
async fn is_used(client: &mut Client, order: &str) {
    let said = json!({ "orderId": order, "content": order, "clientMsgId": order });
    let ack = client.request("chat:message", said).await;
    assert_eq!((&ack["ok"], &ack["seq"]), (&json!(true), &json!(1)), "{ack}");
    for _ in 0..8 {
        let page = client.request("chat:history", json!({ "orderId": order })).await;
        assert_eq!(page["messages"][0]["content"], order, "read where it was written: {page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_server_that_takes_no_writes_any_more_are_replaced() {
    let Some(old) = PostgresServer::start() else { return };
    let new = PostgresServer::start().expect("another one");
    migrate::bring_up_to_date(&new.url("hub").parse().expect("an address")).expect("tables");
    let address = Address::of(&old).await;
    let hub = Hub::builder().env("DATABASE_URL", address.url()).env("CHAT_PER_SECOND", 0);
    let hub = hub.env("EVENTS_PER_SECOND", 0).start();
    let orders: Vec<String> = (0..12).map(|number| format!("o{number}")).collect();
    let orders: Vec<&str> = orders.iter().map(String::as_str).collect();
    let mut client = hub.connect("driver", "driver", &orders).await;
    // So many that both writers and all readers have been at work.
    for order in &orders[..6] {
        client.join(order).await;
        is_used(&mut client, order).await;
    }
    assert_eq!(hub.status("/readyz").await, 200);

    old.execute("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    old.execute("postgres", "SELECT pg_reload_conf()");
    old.wait_until("SELECT current_setting('default_transaction_read_only') = 'on'");
    address.lead_to(&new);
    // At the first try, whichever connection each gets: nobody has to say anything again.
    for order in &orders[6..] {
        client.join(order).await;
        is_used(&mut client, order).await;
    }
    assert_eq!(hub.status("/readyz").await, 200);
    hub.logged("connections to the database are replaced").await;
}
