//! Messages of the plain framing.

use proptest::prelude::*;
use protocol::client::ClientEvent;
use protocol::envelope::{decode, encode_ack, encode_event};
use protocol::events::location::{Location, LocationUpdate, MAX_TARGETS, Target};
use protocol::json_number::MAX_SAFE_INTEGER;
use protocol::lenient::{without_mark, without_nan};
use protocol::location::Position;
use protocol::request::{Rejected, Request};
use protocol::server::ServerEvent;
use protocol::time::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ID;
use super::mutate::{config, mutated};

const MESSAGES: &[&str] = &[
    r#"{"event":"driver:location","data":{"orderId":"o1","lat":48.2,"lng":16.37}}"#,
    r#"{"event":"driver:location","id":7,"data":{"orderId":"o1","lat":-48.25,"lng":1e2,"accuracy":5,"heading":359.9,"speed":0.1,"altitude":-20.5,"battery":0.75,"recordedAt":"2026-05-04T12:30:00.000Z"}}"#,
    r#"{"event":"driver:location","data":{"lng":0,"lat":0.5,"orderId":"a.b_c:d~e-f"},"id":9007199254740991}"#,
    r#"{"event":"driver:location","data":{"orderIds":["o1","o2",3],"lat":1,"lng":2}}"#,
    r#"{"event":"driver:location","data":{"lat":1,"lng":2,"heading":-1,"speed":-1}}"#,
    r#"{"event":"driver:location","data":{"lat":1,"lng":2,"heading":NaN,"speed":-Infinity,"battery":87,"recordedAt":"noon"}}"#,
    r#"{"event":"order:join","id":1,"data":{"orderId":12,"sinceSeq":0,"limit":50}}"#,
    r#"{"event":"order:leave","id":2,"data":{"orderId":"o1","all":true}}"#,
    r#"{"event":"chat:message","id":3,"data":{"orderId":"o1","content":"h\u00e4llo \ud83d\ude97","type":"TEXT","clientMsgId":"m1"}}"#,
    r#"{"event":"chat:history","id":4,"data":{"orderId":"o1","beforeSeq":10,"limit":200}}"#,
    r#"{"event":"chat:read","data":{"orderId":"o1","seq":3}}"#,
    r#"{"event":"chat:typing","data":{"orderId":"o1","typing":true}}"#,
    r#"{"event":"auth:refresh","id":5,"data":{"token":"a.b.c"}}"#,
    r#"{"event":"ping","data":{"deep":[[[[{"a":[]}]]]]}}"#,
];

const WORDS: &[&str] = &[
    "\"event\"",
    "\"data\"",
    "\"id\":",
    "driver:location",
    "\"orderId\":",
    "\"orderIds\":",
    "\"lat\":",
    "\"lng\":90.0000001",
    "\"accuracy\":",
    "\"recordedAt\":",
    "-90",
    "180",
    "1E5",
    "00",
    "0.",
    "-",
    "1e",
    "2026-02-30T00:00:00Z",
    "2026-05-04T12:30:00.123456789+02:00",
    "-Infinity",
    "\u{feff}",
    "1777897800000",
];

/// What a reader of positions must agree in. Texts of errors hold places, which blanks move.
fn outcome(read: Result<Request, Rejected>) -> String {
    match read {
        Ok(request) => format!("{request:?}"),
        Err(Rejected { failure, event, ack }) => {
            format!("{:?} {:?} {event:?} {ack:?}", failure.code, failure.field)
        }
    }
}

fn number(least: f64, most: f64) -> impl Strategy<Value = Option<f64>> {
    proptest::option::of(least..=most)
}

proptest! {
    #![proptest_config(config())]

    /// A blank makes the fast reader leave a message to the general one.
    #[test]
    fn the_fast_reader_of_positions_agrees_with_the_general_one(text in mutated(MESSAGES, WORDS)) {
        prop_assert_eq!(outcome(decode(&text)), outcome(decode(&format!(" {text}"))));
    }

    #[test]
    fn a_parsed_envelope_is_within_every_limit(text in mutated(MESSAGES, WORDS)) {
        let Ok(Request { event, ack }) = decode(&text) else { return Ok(()) };
        prop_assert!(ack.is_none_or(|id| id <= MAX_SAFE_INTEGER));
        let json = without_nan(without_mark(&text));
        let json = json.as_deref().unwrap_or(without_mark(&text));
        prop_assert!(serde_json::from_str::<&RawValue>(json).is_ok(), "it is JSON, but for NaN");
        match event {
            ClientEvent::Location(location) => check_location(&location)?,
            ClientEvent::Chat(chat) => prop_assert!(!chat.content.trim().is_empty()),
            ClientEvent::Join(join) => prop_assert!((0..=200).contains(&join.limit)),
            ClientEvent::History(history) => prop_assert!((1..=200).contains(&history.limit)),
            _ => {}
        }
    }

    #[test]
    fn a_refusal_can_always_be_encoded(text in mutated(MESSAGES, WORDS)) {
        let Err(Rejected { failure, event, .. }) = decode(&text) else { return Ok(()) };
        let mut out = Vec::new();
        encode_ack(1, &Err(failure), &mut out);
        let told: Value = serde_json::from_slice(&out).expect("JSON");
        prop_assert_eq!(&told["data"]["ok"], false);
        prop_assert!(told["data"]["error"]["code"].is_string());
        prop_assert!(event.is_none_or(|event| event.len() <= 256), "what is echoed is bounded");
    }

    #[test]
    fn a_position_is_read_as_an_app_writes_it(
        order in ID, lat in -90.0..=90.0, lng in -180.0..=180.0, heading in number(0.0, 360.0),
        speed in number(0.0, 100.0), ms in 0..4_102_444_800_000_i64, id in 0..=MAX_SAFE_INTEGER,
    ) {
        let taken = Timestamp::from_millis(ms);
        let mut data = json!({ "orderId": order, "lat": lat, "lng": lng, "recordedAt": taken });
        for (name, value) in [("heading", heading), ("speed", speed)] {
            if let Some(value) = value {
                data[name] = json!(value);
            }
        }
        let text = json!({ "event": "driver:location", "data": data, "id": id }).to_string();
        let Request { event, ack } = decode(&text).expect("a good one");
        let ClientEvent::Location(Location { target, fix }) = event else { panic!("{text}") };
        prop_assert_eq!((ack, target), (Some(id), Target::One(order.parse().expect("an id"))));
        prop_assert_eq!((fix.lat, fix.lng, fix.heading, fix.speed), (lat, lng, heading, speed));
        prop_assert_eq!(fix.recorded_at, Some(taken));
    }

    #[test]
    fn a_position_is_written_as_serde_writes_it(
        order in ID, driver in ID, lat in -90.0..=90.0, lng in -180.0..=180.0, ms in any::<i64>(),
        accuracy in proptest::option::of(any::<f64>()), battery in number(0.0, 1.0),
    ) {
        let (order_id, driver_id) = (order.parse().expect("an id"), driver.parse().expect("an id"));
        let timestamp = Timestamp::from_millis(ms);
        let position = Position {
            lat, lng, timestamp, driver_id, accuracy, heading: battery, speed: None,
            altitude: accuracy, recorded_at: battery.map(|_| timestamp),
        };
        let update = LocationUpdate { order_id: &order_id, position: &position, battery };
        let data = serde_json::to_string(&update).expect("JSON");
        let mut out = Vec::new();
        encode_event(&ServerEvent::Location(update), &mut out);
        let expected = format!("{{\"event\":\"location:updated\",\"data\":{data}}}");
        prop_assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }
}

/// The rules of `docs/protocol.md`.
pub fn check_location(Location { target, fix }: &Location) -> Result<(), TestCaseError> {
    prop_assert!((-90.0..=90.0).contains(&fix.lat) && (-180.0..=180.0).contains(&fix.lng));
    let is_somewhere = fix.lat != 0.0 || fix.lng != 0.0;
    prop_assert!(is_somewhere || fix.accuracy.is_some_and(|metres| metres > 0.0));
    prop_assert!(fix.heading.is_none_or(|heading| (0.0..=360.0).contains(&heading)));
    prop_assert!(fix.speed.is_none_or(|speed| speed >= 0.0 && speed.is_finite()));
    prop_assert!(fix.accuracy.is_none_or(|metres| metres >= 0.0 && metres.is_finite()));
    prop_assert!(fix.altitude.is_none_or(f64::is_finite));
    prop_assert!(fix.battery.is_none_or(|charge| (0.0..=1.0).contains(&charge)));
    if let Target::Many(orders) = target {
        prop_assert!((1..=MAX_TARGETS).contains(&orders.len()));
        let different: std::collections::HashSet<_> = orders.iter().collect();
        prop_assert_eq!(different.len(), orders.len());
    }
    Ok(())
}

#[test]
fn the_inputs_are_good() {
    for text in MESSAGES {
        assert!(decode(text).is_ok(), "{text}: {:?}", decode(text));
    }
}
