//! Positions of drivers.

use serde::{Deserialize, Serialize};

use crate::events::location::Fix;
use crate::ids::UserId;
use crate::time::Timestamp;

/// Where a driver was: the part of a fix that a room remembers and the database keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Latitude in degrees, -90 to 90.
    pub lat: f64,
    /// Longitude in degrees, -180 to 180.
    pub lng: f64,
    /// When the hub took it.
    pub timestamp: Timestamp,
    /// The driver.
    pub driver_id: UserId,
    /// Radius in metres within which the position is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub accuracy: Option<f64>,
    /// Direction of travel in degrees from north, clockwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub heading: Option<f64>,
    /// Metres per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub speed: Option<f64>,
    /// Metres above the ellipsoid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub altitude: Option<f64>,
    /// When the phone took it, by the phone's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub recorded_at: Option<Timestamp>,
}

// === impl Position ===

impl Position {
    /// The position of a driver's fix that the hub took at this time.
    pub fn of(fix: &Fix, driver_id: UserId, timestamp: Timestamp) -> Self {
        Self {
            lat: fix.lat,
            lng: fix.lng,
            timestamp,
            driver_id,
            accuracy: fix.accuracy,
            heading: fix.heading,
            speed: fix.speed,
            altitude: fix.altitude,
            recorded_at: fix.recorded_at,
        }
    }

    /// When the driver was there: by the phone's clock, unless that is ahead of the hub's.
    pub fn taken_at(&self) -> Timestamp {
        self.recorded_at.map_or(self.timestamp, |recorded| recorded.min(self.timestamp))
    }
}
