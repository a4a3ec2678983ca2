//! A file of SQLite that is deleted, replaced or cannot grow: nothing that is lost is acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::support::rooms::say_keyed;
use super::support::{Client, Hub, until};

fn assert_unavailable(outcome: &Value) {
    assert_eq!((&outcome["ok"], &outcome["error"]["code"]), (&json!(false), &json!("unavailable")));
}

async fn room(hub: &Hub) -> (Client, Client) {
    let mut driver = hub.connect("driver", "driver", &["o1"]).await;
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    (driver, customer)
}

async fn locations_flow(driver: &mut Client, customer: &mut Client, lat: f64) {
    let fix = json!({ "orderId": "o1", "lat": lat, "lng": 2.0 });
    assert_eq!(driver.request("driver:location", fix).await["accepted"], 1);
    assert_eq!(customer.expect("location:updated").await["lat"], lat);
}

async fn metric(hub: &Hub, name: &str) -> String {
    let metrics = reqwest::get(hub.url("/metrics")).await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
}

/// What is done to a file, and what puts it back.
type Harm = fn(&Path);

fn delete(file: &Path) {
    fs::rename(file, file.with_extension("away")).expect("deleted");
}

fn replace(file: &Path) {
    let copy = file.with_extension("copy");
    fs::copy(file, &copy).expect("copied");
    fs::rename(copy, file).expect("replaced");
}

fn delete_folder(file: &Path) {
    let folder = file.parent().expect("a folder");
    fs::rename(folder, folder.with_extension("away")).expect("deleted");
}

async fn harmed(suffix: &str, harm: Harm) {
    let hub = Hub::builder().without_rates().start();
    let (mut driver, mut customer) = room(&hub).await;
    assert_eq!(say_keyed(&mut customer, "before").await["seq"], 1);
    assert_eq!(hub.status("/readyz").await, 200);
    assert_eq!(metric(&hub, "orderhub_database_fenced").await, "0");
    driver.expect("chat:message").await;
    let file =
        PathBuf::from(format!("{}{suffix}", hub.data_dir().join("orderhub.sqlite3").display()));
    harm(&file);
    // The very next message is not acknowledged, and nobody hears it.
    assert_unavailable(&say_keyed(&mut customer, "lost").await);
    assert_eq!(hub.status("/readyz").await, 503);
    assert_eq!(hub.status("/healthz").await, 200);
    assert_eq!(metric(&hub, "orderhub_database_fenced").await, "1");
    assert_eq!(driver.drain("chat:message").await, [] as [Value; 0]);
    locations_flow(&mut driver, &mut customer, 1.0).await;
    let name = file.file_name().expect("a name").to_str().expect("text");
    let told =
        |line: &&str| line.contains("ERROR") && line.contains(name) && line.contains("restart");
    until("one error", async || hub.log().lines().filter(told).count() == 1).await;
}

#[tokio::test]
async fn a_deleted_or_replaced_file_is_noticed_before_anything_is_acknowledged() {
    harmed("", delete).await;
    harmed("", replace).await;
    harmed("-wal", delete).await;
    harmed("-shm", delete).await;
}

#[tokio::test]
async fn a_folder_that_is_gone_is_noticed() {
    harmed("", delete_folder).await;
}

#[tokio::test]
async fn a_deleted_file_is_noticed_without_any_traffic_and_stays_noticed() {
    let hub = Hub::builder().without_rates().start();
    let file = hub.data_dir().join("orderhub.sqlite3");
    let away = hub.data_dir().join("away");
    fs::rename(&file, &away).expect("moved");
    until("an error", async || hub.log().contains("was deleted or replaced")).await;
    fs::rename(&away, &file).expect("moved back");
    assert_eq!(hub.status("/readyz").await, 503);
    // A restart is what heals it.
    let hub = hub.kill_and_restart();
    assert_eq!(hub.status("/readyz").await, 200);
    let (_, mut customer) = room(&hub).await;
    assert_eq!(say_keyed(&mut customer, "after").await["seq"], 1);
}

#[tokio::test]
async fn data_of_a_deleted_wal_file_is_moved_into_the_database_file() {
    let hub = Hub::builder().without_rates().start();
    let (driver, mut customer) = room(&hub).await;
    assert_eq!(say_keyed(&mut customer, "before").await["seq"], 1);
    fs::remove_file(hub.data_dir().join("orderhub.sqlite3-wal")).expect("deleted");
    assert_unavailable(&say_keyed(&mut customer, "during").await);
    drop((driver, customer));
    let hub = hub.kill_and_restart();
    let (_, mut customer) = room(&hub).await;
    let page = customer.request("chat:history", json!({ "orderId": "o1" })).await;
    assert_eq!(page["messages"][0]["content"], "before", "{page}");
}

#[tokio::test]
async fn a_full_disk_is_not_ready_and_recovers() {
    // What would be written beyond this is refused, as on a full disk.
    let limit = "trap '' XFSZ; ulimit -S -f 2048; exec \"$0\"";
    let hub = Hub::builder().without_rates().through(limit).env("RUST_LOG", "warn").start();
    let (mut driver, mut customer) = room(&hub).await;
    let mut stored = 0;
    let outcome = loop {
        let said = json!({ "orderId": "o1", "content": "x".repeat(1500) });
        let outcome = customer.request("chat:message", said).await;
        if outcome["ok"] == false {
            break outcome;
        }
        stored += 1;
        assert!(stored < 5000, "it never fills");
    };
    assert_unavailable(&outcome);
    until("/readyz 503", async || hub.status("/readyz").await == 503).await;
    locations_flow(&mut driver, &mut customer, 1.0).await;
    assert_unavailable(&say_keyed(&mut customer, "full").await);
    assert_eq!(hub.status("/readyz").await, 503, "still");
    let mut raise = Command::new("prlimit");
    let raised = raise.args(["--pid", &hub.pid().to_string(), "--fsize=unlimited"]).status();
    if !raised.is_ok_and(|status| status.success()) {
        return;
    }
    until("/readyz 200", async || hub.status("/readyz").await == 200).await;
    assert_eq!(say_keyed(&mut customer, "after").await["seq"], stored + 1, "dense");
}
