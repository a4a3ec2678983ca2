//! A driver's position on its way to other nodes. Its age travels, not the time of the sender's
//! clock.

use serde::Deserialize;

use protocol::events::HubData as _;
use protocol::events::location::LocationUpdate;
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::time::Timestamp;

/// A position as another node relays it.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayedPosition {
    /// The order.
    pub order: OrderId,
    /// The revision of the order by which the sender's right was judged.
    pub rev: i64,
    /// The position, with a time of this node's clock.
    pub position: Position,
    /// Charge of the phone; staff only.
    pub battery: Option<f64>,
    /// Whether the node that took it has the room. A position by HTTP needs none.
    pub has_room: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    rev: i64,
    #[serde(default)]
    has_room: bool,
    age_ms: u64,
    data: Data,
}

/// The data of `location:updated`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    order_id: OrderId,
    driver_id: UserId,
    lat: f64,
    lng: f64,
    accuracy: Option<f64>,
    heading: Option<f64>,
    speed: Option<f64>,
    altitude: Option<f64>,
    battery: Option<f64>,
    recorded_at: Option<Timestamp>,
}

/// Writes a position: the length of the order's id and the id, which say whose it is before anything
/// is read, and [`json`].
pub fn write(update: &LocationUpdate<'_>, rev: i64, has_room: bool, now: Timestamp) -> Vec<u8> {
    let id = update.order_id.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(300 + id.len());
    // An id has 128 bytes at most.
    bytes.push(u8::try_from(id.len()).unwrap_or_default());
    bytes.extend_from_slice(id);
    write_json(update, rev, has_room, now, &mut bytes);
    bytes
}

/// Writes a position as JSON: its age, and the data of `location:updated`.
pub fn json(update: &LocationUpdate<'_>, rev: i64, now: Timestamp) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_json(update, rev, true, now, &mut bytes);
    bytes
}

fn write_json(
    update: &LocationUpdate<'_>,
    rev: i64,
    has_room: bool,
    now: Timestamp,
    bytes: &mut Vec<u8>,
) {
    let age_ms = now.millis_since(update.position.timestamp);
    let head = format!("{{\"rev\":{rev},\"hasRoom\":{has_room},\"ageMs\":{age_ms},\"data\":");
    bytes.extend_from_slice(head.as_bytes());
    update.write(bytes);
    bytes.push(b'}');
}

/// The order of a position.
pub fn order(data: &[u8]) -> Option<OrderId> {
    let (id, _) = split(data)?;
    OrderId::new(std::str::from_utf8(id).ok()?).ok()
}

/// The order's id, and what is behind it.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Reads a position.
pub fn read(data: &[u8], now: Timestamp) -> Option<RelayedPosition> {
    read_json(split(data)?.1, now)
}

/// Reads a position from JSON.
pub fn read_json(data: &[u8], now: Timestamp) -> Option<RelayedPosition> {
    let Written { rev, has_room, age_ms, data } = serde_json::from_slice(data).ok()?;
    let is_on_earth = data.lat.abs() <= 90.0 && data.lng.abs() <= 180.0;
    let age = i64::try_from(age_ms).ok().filter(|_| is_on_earth)?;
    let position = Position {
        lat: data.lat,
        lng: data.lng,
        timestamp: Timestamp::from_millis(now.as_millis().saturating_sub(age)),
        driver_id: data.driver_id,
        accuracy: data.accuracy,
        heading: data.heading,
        speed: data.speed,
        altitude: data.altitude,
        recorded_at: data.recorded_at,
    };
    let (order, battery) = (data.order_id, data.battery);
    Some(RelayedPosition { order, rev, position, battery, has_room })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position() -> Position {
        Position {
            lat: 45.25,
            lng: -13.5,
            timestamp: Timestamp::from_secs(1000),
            driver_id: "dan".parse().expect("an id"),
            accuracy: Some(5.0),
            heading: None,
            speed: Some(2.5),
            altitude: None,
            recorded_at: Some(Timestamp::from_secs(990)),
        }
    }

    #[test]
    fn a_position_is_as_old_on_the_other_node_whatever_its_clock_says() {
        let (order, position) = (OrderId::new("o1").expect("an id"), position());
        let update = LocationUpdate { order_id: &order, position: &position, battery: Some(0.5) };
        let written = write(&update, 7, true, Timestamp::from_secs(1002));
        let relayed = read(&written, Timestamp::from_secs(5000)).expect("a position");
        let expected = Position { timestamp: Timestamp::from_secs(4998), ..position };
        assert_eq!(relayed.position, expected);
        assert_eq!(super::order(&written), Some(order.clone()));
        assert_eq!(
            (relayed.order, relayed.rev, relayed.battery, relayed.has_room),
            (order, 7, Some(0.5), true)
        );
    }

    #[test]
    fn a_hello_has_the_same_as_json() {
        let (order, position) = (OrderId::new("o1").expect("an id"), position());
        let update = LocationUpdate { order_id: &order, position: &position, battery: None };
        let now = Timestamp::from_secs(1002);
        let (written, json) = (write(&update, 7, true, now), json(&update, 7, now));
        assert_eq!(written, [b"\x02o1", &json[..]].concat());
        assert_eq!(read_json(&json, now), read(&written, now));
        for data in [&b""[..], b"\x09o1", b"\x00", b"\x03o 1{}", b"\x02\xff\xff"] {
            assert_eq!((super::order(data), read(data, now)), (None, None));
        }
    }

    #[test]
    fn a_newer_version_may_add_fields_and_what_is_odd_has_no_effect() {
        let text =
            r#"{"ageMs":0,"new":1,"data":{"orderId":"o","driverId":"d","lat":1,"lng":2,"x":3}}"#;
        let now = Timestamp::from_secs(9);
        assert!(read_json(text.as_bytes(), now).is_some());
        for (good, odd) in
            [("\"lat\":1", "\"lat\":91"), ("\"ageMs\":0", "\"ageMs\":-1"), ("\"o\"", "\"\"")]
        {
            assert_eq!(read_json(text.replace(good, odd).as_bytes(), now), None);
        }
        let ancient = text.replace("\"ageMs\":0", "\"ageMs\":9223372036854775807");
        assert!(read_json(ancient.as_bytes(), now).is_some(), "clamped");
        assert_eq!(read_json(b"\xff", now), None);
    }
}
