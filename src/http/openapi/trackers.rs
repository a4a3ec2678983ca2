//! The bodies of apps that only track a phone, for the `OpenAPI` document. The code that reads them
//! is `protocol::trackers`.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use protocol::time::Timestamp;

/// A message of `OwnTracks`; other fields are ignored.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OwnTracksMessage {
    /// `location`; other messages are accepted and ignored
    #[schema(example = "location")]
    _type: String,
    /// Degrees
    #[schema(minimum = -90, maximum = 90, nullable = false)]
    lat: Option<f64>,
    /// Degrees
    #[schema(minimum = -180, maximum = 180, nullable = false)]
    lon: Option<f64>,
    /// Seconds since 1970
    #[schema(nullable = false)]
    tst: Option<i64>,
    /// Metres
    acc: Option<f64>,
    /// Metres
    alt: Option<f64>,
    /// Percent
    batt: Option<f64>,
    /// Degrees
    cog: Option<f64>,
    /// Kilometres per hour
    vel: Option<f64>,
}

/// A batch of Overland; other fields are ignored.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OverlandBatch {
    #[schema(max_items = 1000)]
    locations: Vec<OverlandFeature>,
    /// Where the phone is now, if that is not in the batch
    #[schema(nullable = false)]
    current: Option<OverlandFeature>,
}

/// A fix of Overland.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OverlandFeature {
    geometry: OverlandPoint,
    properties: OverlandProperties,
}

/// The place of a fix.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OverlandPoint {
    /// Longitude and latitude, in degrees
    #[schema(min_items = 2)]
    coordinates: Vec<f64>,
}

/// Further data of a fix.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OverlandProperties {
    timestamp: Option<Timestamp>,
    /// Metres
    altitude: Option<f64>,
    /// Metres per second
    speed: Option<f64>,
    /// Degrees
    course: Option<f64>,
    /// Metres
    horizontal_accuracy: Option<f64>,
    /// 0 to 1
    battery_level: Option<f64>,
}

/// The answer on which Overland deletes a batch.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Taken {
    #[schema(example = "ok")]
    result: &'static str,
}

/// A fix by the `OsmAnd` protocol; other parameters are ignored.
#[derive(Serialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct OsmAndFix {
    /// Degrees
    #[param(nullable = false)]
    #[schema(nullable = false)]
    lat: Option<f64>,
    /// Degrees
    #[param(nullable = false)]
    #[schema(nullable = false)]
    lon: Option<f64>,
    /// Seconds or milliseconds since 1970, or RFC 3339
    #[param(nullable = false)]
    #[schema(nullable = false)]
    timestamp: Option<String>,
    /// Metres
    #[param(nullable = false)]
    #[schema(nullable = false)]
    accuracy: Option<f64>,
    /// Knots
    #[param(nullable = false)]
    #[schema(nullable = false)]
    speed: Option<f64>,
    /// Degrees
    #[param(nullable = false)]
    #[schema(nullable = false)]
    bearing: Option<f64>,
    /// Metres
    #[param(nullable = false)]
    #[schema(nullable = false)]
    altitude: Option<f64>,
    /// Percent
    #[param(nullable = false)]
    #[schema(nullable = false)]
    batt: Option<f64>,
}

impl Taken {
    /// The only answer.
    pub(in crate::http) const OK: Self = Self { result: "ok" };
}
