//! When the database is locked or gone: errors and never acks, locations go on, and it heals by
//! itself.

use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

use super::support::rooms::contents;
use super::support::rooms::say_keyed;
use super::support::{Client, Database, Hub, each_database, until};

/// A room with a driver and a customer in it and one stored message.
async fn room(database: &Database) -> (Hub, Client, Client) {
    let hub = database.hub().without_rates().start();
    let mut driver = hub.connect("driver", "driver", &["o1"]).await;
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    assert_eq!(say_keyed(&mut customer, "before").await["seq"], 1);
    assert_eq!(driver.expect("chat:message").await["seq"], 1);
    (hub, driver, customer)
}

fn assert_unavailable(outcome: &Value) {
    assert_eq!((&outcome["ok"], &outcome["error"]["code"]), (&json!(false), &json!("unavailable")));
    assert!(outcome["error"]["retryAfterMs"].as_u64() > Some(0), "{outcome}");
}

/// A position goes from the driver to the customer.
async fn locations_flow(driver: &mut Client, customer: &mut Client, lat: f64) {
    let fix = json!({ "orderId": "o1", "lat": lat, "lng": 2.0 });
    assert_eq!(driver.request("driver:location", fix).await["accepted"], 1);
    assert_eq!(customer.expect("location:updated").await["lat"], lat);
}

/// `/readyz` comes to say this.
async fn readyz(hub: &Hub, status: u16) {
    let what = format!("/readyz {status}");
    until(&what, async || hub.status("/readyz").await == status).await;
    assert_eq!(hub.status("/healthz").await, 200, "alive all the same");
}

/// Sends a message until it is acknowledged.
async fn say_until_stored(client: &mut Client, key: &str) {
    until("an ack", async || {
        let outcome = say_keyed(client, key).await;
        if outcome["ok"] == false {
            assert_unavailable(&outcome);
        }
        outcome["ok"] == true
    })
    .await;
}

#[tokio::test]
async fn a_locked_database_gives_errors_while_positions_go_on_and_recovers() {
    each_database(async |database: Database| {
        let (hub, mut driver, mut customer) = room(&database).await;
        readyz(&hub, 200).await;
        let mut locked = database.lock(&hub);
        // Before anybody has tried to write.
        readyz(&hub, 503).await;
        let mut asked = Vec::new();
        for key in 0..50 {
            let key = key.to_string();
            let said = json!({ "orderId": "o1", "content": "during", "clientMsgId": key });
            asked.push(customer.ask("chat:message", said).await);
        }
        locations_flow(&mut driver, &mut customer, 1.0).await;
        for id in asked {
            assert_unavailable(&customer.reply(id).await);
        }
        locations_flow(&mut driver, &mut customer, 2.0).await;
        readyz(&hub, 503).await;
        assert_eq!(driver.drain("chat:message").await, [] as [Value; 0], "nothing went out");

        locked.batch_execute("ROLLBACK").expect("released");
        readyz(&hub, 200).await;
        let said = json!({ "orderId": "o1", "content": "during", "clientMsgId": "7" });
        let ack = customer.request("chat:message", said).await;
        assert_eq!((&ack["seq"], &ack["duplicate"]), (&json!(2), &Value::Null), "{ack}");
        assert_eq!(driver.expect("chat:message").await["seq"], 2);
        assert_eq!(contents(&mut customer).await, ["before", "during"], "what was acknowledged");
    })
    .await;
}

/// Ends every connection to the database but the one that asks.
const END_ALL: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'";

#[tokio::test]
async fn ended_connections_to_postgres_are_replaced() {
    let Some(database) = Database::postgres() else { return };
    let (hub, mut driver, mut customer) = room(&database).await;
    let server = database.postgres.as_ref().expect("PostgreSQL");
    for round in 0..3 {
        server.beside(END_ALL);
        assert_eq!(hub.status("/readyz").await, 200, "a probe finds another connection");
        server.beside(END_ALL);
        locations_flow(&mut driver, &mut customer, f64::from(round)).await;
        // Nothing of it was begun on the connection that was lost, so another one has it.
        let ack = say_keyed(&mut customer, &round.to_string()).await;
        assert_eq!(ack["ok"], true, "at the first try: {ack}");
    }
    assert_eq!(contents(&mut customer).await, ["before", "0", "1", "2"]);
    assert_eq!(driver.drain("chat:message").await.len(), 3, "each went out once");
}

#[tokio::test]
async fn a_postgres_that_takes_no_connections_gives_errors_and_recovers() {
    let Some(database) = Database::postgres() else { return };
    let (hub, mut driver, mut customer) = room(&database).await;
    let server = database.postgres.as_ref().expect("PostgreSQL");
    server.beside("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
    server.beside(END_ALL);
    readyz(&hub, 503).await;
    assert_unavailable(&say_keyed(&mut customer, "during").await);
    locations_flow(&mut driver, &mut customer, 1.0).await;
    let mut late = hub.connect("late", "customer", &["o2"]).await;
    assert_unavailable(&late.request("order:join", json!({ "orderId": "o2" })).await);
    let page = customer.request("chat:history", json!({ "orderId": "o1" })).await;
    assert_unavailable(&page);
    locations_flow(&mut driver, &mut customer, 2.0).await;

    server.beside("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
    readyz(&hub, 200).await;
    say_until_stored(&mut customer, "during").await;
    assert_eq!(contents(&mut customer).await, ["before", "during"]);
    assert_eq!(driver.drain("chat:message").await.len(), 1, "went out once");
    until("the join", async || {
        late.request("order:join", json!({ "orderId": "o2" })).await["ok"] == true
    })
    .await;
}
