//! Fixes from apps that only track a phone, each in a form of its own: `OwnTracks`, `Overland`, and
//! the `OsmAnd` protocol of Traccar. None of them names an order.

mod osmand;
mod overland;
mod owntracks;

pub use self::osmand::read_osmand;
pub use self::overland::read_overland;
pub use self::owntracks::read_owntracks;

use super::error::Failure;
use crate::events::location::{Location, RawLocation, location};

/// Checks a fix. `names` are the app's names for latitude and longitude.
fn checked(fix: RawLocation, names: [&'static str; 2]) -> Result<Location, Failure> {
    location(fix).map_err(|failure| {
        let is_lat = failure.field.as_deref() == Some("lat");
        Failure { field: Some(names[usize::from(!is_lat)].into()), ..failure }
    })
}

/// A battery charge in percent, as a part of 1.
fn of_percent(percent: Option<f64>) -> Option<f64> {
    percent.map(|percent| percent / 100.0)
}
