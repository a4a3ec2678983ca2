//! The bodies that phones post, for the `OpenAPI` document. The code that reads them is
//! `protocol::fixes`, which reads each fix by itself, whatever the others are.
#![expect(dead_code, reason = "for the document alone")]

use serde::Serialize;
use utoipa::ToSchema;

use super::schemas::AnyOrderId;
use protocol::time::Timestamp;

/// Up to 1,000 fixes, in one of these forms. Invalid fields of a fix other than its place and its
/// orders are ignored.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(examples(
    json!({ "locations": [{ "lat": 45.2735, "lng": 13.7142, "recordedAt": "2026-11-26T12:00:00Z" }] }),
    json!({ "location": { "coords": { "latitude": 45.2735, "longitude": 13.7142, "accuracy": 5 },
        "timestamp": "2026-11-26T12:00:00.000Z", "extras": { "orderId": "order-1" } } })
))]
pub(in crate::http) enum FixesForm {
    /// The hub's own form, or that of Expo.
    Locations { locations: Vec<PostedFix> },
    /// The form of react-native-background-geolocation.
    Location { location: OneOrMany },
    /// A list.
    List(Vec<PostedFix>),
    /// A single fix.
    One(PostedFix),
}

/// One fix, or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum OneOrMany {
    One(PhoneFix),
    Many(Vec<PhoneFix>),
}

/// A fix, in either form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum PostedFix {
    Own(OwnFix),
    Phone(PhoneFix),
}

/// A fix as `driver:location` has it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct OwnFix {
    /// Degrees.
    #[schema(minimum = -90, maximum = 90)]
    lat: f64,
    /// Degrees.
    #[schema(minimum = -180, maximum = 180)]
    lng: f64,
    /// The order, if the path does not name it.
    #[schema(value_type = Option<AnyOrderId>, nullable = false)]
    order_id: Option<String>,
    /// Metres.
    accuracy: Option<f64>,
    /// Degrees.
    #[schema(maximum = 360)]
    heading: Option<f64>,
    /// Metres per second.
    speed: Option<f64>,
    /// Metres.
    altitude: Option<f64>,
    /// 0 to 1.
    #[schema(maximum = 1)]
    battery: Option<f64>,
    /// When the phone took it.
    recorded_at: Option<Timestamp>,
}

/// A fix as react-native-background-geolocation and Expo have it.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PhoneFix {
    coords: Coords,
    /// RFC 3339, or milliseconds since 1970.
    timestamp: Option<PhoneTime>,
    battery: Option<Battery>,
    extras: Option<Extras>,
}

/// The place of a phone.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Coords {
    #[schema(minimum = -90, maximum = 90)]
    latitude: f64,
    #[schema(minimum = -180, maximum = 180)]
    longitude: f64,
    accuracy: Option<f64>,
    heading: Option<f64>,
    speed: Option<f64>,
    altitude: Option<f64>,
}

/// The time of a fix.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum PhoneTime {
    Text(Timestamp),
    Millis(f64),
}

/// The battery of a phone.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Battery {
    /// 0 to 1.
    level: Option<f64>,
}

/// Data that an app adds to the phone's fixes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Extras {
    /// The fix's order. It wins over the path.
    #[schema(value_type = Option<AnyOrderId>, nullable = false)]
    order_id: Option<String>,
}
