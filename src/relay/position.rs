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

/// Writes a position: its age, and the data of `location:updated`.
pub fn write(update: &LocationUpdate<'_>, rev: i64, has_room: bool, now: Timestamp) -> Vec<u8> {
    let age_ms = now.millis_since(update.position.timestamp);
    let head = format!("{{\"rev\":{rev},\"hasRoom\":{has_room},\"ageMs\":{age_ms},\"data\":");
    let mut bytes = head.into_bytes();
    update.write(&mut bytes);
    bytes.push(b'}');
    bytes
}

/// The order of a position.
pub fn order(data: &[u8]) -> Option<OrderId> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Addressed {
        order_id: OrderId,
    }
    #[derive(Deserialize)]
    struct Letter {
        data: Addressed,
    }
    serde_json::from_slice::<Letter>(data).ok().map(|letter| letter.data.order_id)
}

/// Reads a position.
pub fn read(data: &[u8], now: Timestamp) -> Option<RelayedPosition> {
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
    fn a_newer_version_may_add_fields_and_what_is_odd_has_no_effect() {
        let text =
            r#"{"ageMs":0,"new":1,"data":{"orderId":"o","driverId":"d","lat":1,"lng":2,"x":3}}"#;
        let now = Timestamp::from_secs(9);
        assert!(read(text.as_bytes(), now).is_some());
        for (good, odd) in
            [("\"lat\":1", "\"lat\":91"), ("\"ageMs\":0", "\"ageMs\":-1"), ("\"o\"", "\"\"")]
        {
            assert_eq!(read(text.replace(good, odd).as_bytes(), now), None);
        }
        let ancient = text.replace("\"ageMs\":0", "\"ageMs\":9223372036854775807");
        assert!(read(ancient.as_bytes(), now).is_some(), "clamped");
        assert_eq!(read(b"\xff", now), None);
    }
}
