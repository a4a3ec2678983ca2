//! `driver:location`: where a driver is; `location:updated`: the same for the members of a room.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ClientData, HubData};
use crate::error::{ErrorCode, Failure};
use crate::ids::OrderId;
use crate::location::Position;
use crate::time::Timestamp;
use crate::{lenient, location_json};

/// The most orders of one `driver:location`.
pub const MAX_TARGETS: usize = 20;

/// The data of `driver:location`.
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    /// The orders that the position is for.
    pub target: Target,
    /// Where the driver is.
    pub fix: Fix,
}

/// The rooms that a location is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One order.
    One(OrderId),
    /// Several orders, without repetition.
    Many(Vec<OrderId>),
    /// Every open order of the driver.
    All,
}

/// A position as the phone reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fix {
    /// Latitude in degrees, -90 to 90.
    pub lat: f64,
    /// Longitude in degrees, -180 to 180.
    pub lng: f64,
    /// Radius in metres.
    pub accuracy: Option<f64>,
    /// Degrees from north, clockwise, 0 to 360.
    pub heading: Option<f64>,
    /// Metres per second.
    pub speed: Option<f64>,
    /// Metres.
    pub altitude: Option<f64>,
    /// Charge of the phone, 0 to 1.
    pub battery: Option<f64>,
    /// When the phone took it.
    pub recorded_at: Option<Timestamp>,
}

/// The reply to `driver:location`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accepted<'a> {
    /// How many orders took the position.
    pub accepted: usize,
    /// The orders that refused it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub rejected: &'a [RejectedOrder],
}

/// An order that refused a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RejectedOrder {
    /// The id of the order.
    pub order_id: OrderId,
    /// The reason.
    pub code: ErrorCode,
}

/// The data of `location:updated`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LocationUpdate<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// Where the driver is.
    #[serde(flatten)]
    pub position: &'a Position,
    /// Charge of the phone; staff only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub battery: Option<f64>,
}

impl ClientData for Location {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        let text = data.map_or("", RawValue::get);
        let general = || location(lenient::object(text, "data")?);
        location_json::read_data(text).map_or_else(general, Ok)
    }
}

impl HubData for LocationUpdate<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        location_json::write(self, out);
    }
}

/// The data of `driver:location`. Without an order it is for every open order of the driver.
#[derive(Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Location))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawLocation {
    /// One order.
    #[serde(default)]
    pub(crate) order_id: Option<OrderId>,
    /// Or 1 to 20.
    #[serde(default)]
    pub(crate) order_ids: Option<Vec<OrderId>>,
    /// Degrees, -90 to 90.
    pub(crate) lat: f64,
    /// Degrees, -180 to 180.
    pub(crate) lng: f64,
    /// Metres.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) accuracy: Option<f64>,
    /// Degrees from north, clockwise, 0 to 360.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) heading: Option<f64>,
    /// Metres per second.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) speed: Option<f64>,
    /// Metres.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) altitude: Option<f64>,
    /// Charge of the phone, 0 to 1; shown to staff only.
    #[serde(default, deserialize_with = "lenient::number")]
    pub(crate) battery: Option<f64>,
    /// When the phone took it.
    #[serde(default, deserialize_with = "lenient::time")]
    pub(crate) recorded_at: Option<Timestamp>,
}

/// Checks a location. Invalid fields other than the coordinates and the orders are left out: they
/// are no reason to lose a position.
pub(crate) fn location(raw: RawLocation) -> Result<Location, Failure> {
    if !(-90.0..=90.0).contains(&raw.lat) {
        return Err(Failure::invalid("lat", "must be -90 to 90 degrees"));
    }
    if !(-180.0..=180.0).contains(&raw.lng) {
        return Err(Failure::invalid("lng", "must be -180 to 180 degrees"));
    }
    // Phones report an unknown value as a negative number.
    let known = |value: Option<f64>, most: f64| value.filter(|value| (0.0..=most).contains(value));
    let accuracy = known(raw.accuracy, f64::MAX);
    // Receivers without a fix report zeros.
    if raw.lat == 0.0 && raw.lng == 0.0 && accuracy.is_none_or(|metres| metres == 0.0) {
        return Err(Failure::invalid("lat", "0, 0 without an accuracy is not a position"));
    }
    let fix = Fix {
        lat: raw.lat,
        lng: raw.lng,
        accuracy,
        heading: known(raw.heading, 360.0),
        speed: known(raw.speed, f64::MAX),
        altitude: raw.altitude.filter(|metres| metres.is_finite()),
        battery: known(raw.battery, 1.0),
        recorded_at: raw.recorded_at,
    };
    Ok(Location { target: target(raw.order_id, raw.order_ids)?, fix })
}

fn target(one: Option<OrderId>, many: Option<Vec<OrderId>>) -> Result<Target, Failure> {
    match (one, many) {
        (None, None) => Ok(Target::All),
        (Some(order), None) => Ok(Target::One(order)),
        (Some(_), Some(_)) => {
            Err(Failure::invalid("orderIds", "either orderId or orderIds, not both"))
        }
        (None, Some(orders)) if orders.is_empty() || orders.len() > MAX_TARGETS => {
            Err(Failure::invalid("orderIds", "must be 1 to 20 orders"))
        }
        (None, Some(mut orders)) => {
            orders.sort_unstable();
            orders.dedup();
            Ok(Target::Many(orders))
        }
    }
}
