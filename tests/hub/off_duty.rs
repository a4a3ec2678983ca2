//! A driver without an open order sends positions: they are refused, and nothing of them is kept.

use std::fs;

use serde_json::{Value, json};

use super::support::back_end::put;
use super::support::fixes::{ago, post};
use super::support::{Hub, token};

/// Coordinates that nothing else in a database or log has by chance.
const LAT: f64 = 47.123_456_789_012;
const LNG: f64 = 13.987_654_321_098;

fn here() -> Value {
    json!({ "lat": LAT, "lng": LNG, "recordedAt": ago(1) })
}

/// Whether bytes hold one of the coordinates, as a number of a database or as text.
fn holds_the_place(bytes: &[u8]) -> bool {
    [LAT, LNG].iter().any(|degrees| {
        let text = &degrees.to_string()[..9];
        [&degrees.to_be_bytes()[..], &degrees.to_le_bytes(), text.as_bytes()]
            .iter()
            .any(|part| bytes.windows(part.len()).any(|window| window == *part))
    })
}

/// The files of the hub that hold the place, and the log if it does.
fn traces(hub: &Hub) -> Vec<String> {
    let files = fs::read_dir(hub.data_dir()).expect("a folder").map(|file| file.expect("a file"));
    let with_place = files.filter(|file| holds_the_place(&fs::read(file.path()).expect("bytes")));
    let mut found: Vec<_> =
        with_place.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    if holds_the_place(hub.log().as_bytes()) {
        found.push("the log".to_owned());
    }
    found
}

#[tokio::test]
async fn positions_without_an_open_order_are_refused_and_leave_no_trace() {
    let hub = Hub::builder().env("RUST_LOG", "trace").env("TRAIL_INTERVAL_SECS", "1").start();
    put(&hub, "ended", json!({ "driverId": "dan", "status": "DELIVERED" })).await;
    put(&hub, "of-another", json!({ "driverId": "dora", "status": "ON_THE_WAY" })).await;
    let dan = token("dan", "driver", &[]);
    let rejected = json!([{ "index": 0, "code": "not_found" }]);
    assert_eq!(post(&hub, &dan, "/drivers/me/locations", here()).await["rejected"], rejected);
    for order in ["ended", "of-another", "unknown"] {
        let answer = post(&hub, &dan, &format!("/orders/{order}/locations"), here()).await;
        assert_eq!(answer["accepted"].as_u64().unwrap_or_default(), 0, "{order}: {answer}");
    }
    let mut phone = hub.connect("dan", "driver", &[]).await;
    assert_eq!(phone.request("driver:location", here()).await["accepted"], 0);
    let mut named = here();
    named["orderId"] = json!("ended");
    assert_eq!(phone.request("driver:location", named).await["ok"], false);

    let mut staff = hub.connect("sue", "support", &[]).await;
    for order in ["ended", "of-another"] {
        assert_eq!(staff.join(order).await["lastLocation"], Value::Null, "{order}");
    }
    assert_eq!(traces(&hub), Vec::<String>::new());

    // The search finds what is kept: with an order the position is stored.
    put(&hub, "open", json!({ "driverId": "dan", "status": "ON_THE_WAY" })).await;
    assert_eq!(post(&hub, &dan, "/drivers/me/locations", here()).await["accepted"], 1);
    assert_ne!(traces(&hub), Vec::<String>::new());
}
