//! `Overland`: a list of features in `GeoJSON` (<https://github.com/aaronpk/Overland-iOS#api>).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::checked;
use crate::error::Failure;
use crate::events::location::{Location, RawLocation};
use crate::fixes::{Fixes, MAX_FIXES, UnreadableBody, read_json};
use crate::json::read_object;
use crate::lenient;
use crate::time::Timestamp;

const EXPECTED: &str =
    "a batch of Overland, {\"locations\": [{\"type\": \"Feature\", geometry, properties}]}";

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    locations: Vec<&'a RawValue>,
    /// The phone's current place, if it is not in the list.
    #[serde(borrow, default)]
    current: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Feature {
    geometry: Geometry,
    #[serde(default, deserialize_with = "lenient::value")]
    properties: Option<Properties>,
}

#[derive(Deserialize)]
struct Geometry {
    /// Longitude and latitude; an altitude may follow.
    coordinates: Vec<Option<f64>>,
}

#[derive(Default, Deserialize)]
struct Properties {
    #[serde(default, deserialize_with = "lenient::time")]
    timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::number")]
    altitude: Option<f64>,
    /// Metres per second.
    #[serde(default, deserialize_with = "lenient::number")]
    speed: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    course: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    horizontal_accuracy: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    battery_level: Option<f64>,
}

/// Reads the fixes of a list, each by itself. The phone's current place comes last.
///
/// # Errors
/// [`UnreadableBody`] if it is not a list of `Overland`.
pub fn read_overland(body: &str) -> Result<Fixes, UnreadableBody> {
    read_json(body, |body| {
        let whole: &RawValue = serde_json::from_str(body).map_err(|_| UnreadableBody::NotJson)?;
        let unknown = UnreadableBody::UnknownForm(EXPECTED);
        let batch = read_object::<Batch<'_>>(whole.get(), "body").map_err(|_| unknown)?;
        if batch.locations.len() > MAX_FIXES {
            return Err(UnreadableBody::TooManyFixes);
        }
        let features = batch.locations.iter().chain(&batch.current);
        let fixes: Fixes = features.map(|feature| read_feature(feature.get())).collect();
        let has_feature = batch.locations.iter().any(|feature| feature.get().contains("geometry"));
        if has_feature || batch.locations.is_empty() { Ok(fixes) } else { Err(unknown) }
    })
}

fn read_feature(text: &str) -> Result<Location, Failure> {
    let Feature { geometry, properties } = lenient::object(text, "location")?;
    let [Some(lng), Some(lat), ..] = geometry.coordinates[..] else {
        return Err(Failure::invalid("geometry.coordinates", "must be longitude and latitude"));
    };
    let properties = properties.unwrap_or_default();
    let fix = RawLocation {
        lat,
        lng,
        accuracy: properties.horizontal_accuracy,
        heading: properties.course,
        speed: properties.speed,
        altitude: properties.altitude,
        battery: properties.battery_level,
        recorded_at: properties.timestamp,
        ..RawLocation::default()
    };
    checked(fix, ["geometry.coordinates[1]", "geometry.coordinates[0]"])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: &str = r#"{"locations":[{"type":"Feature","geometry":{"type":"Point",
        "coordinates":[13.7142,45.2735]},"properties":{"timestamp":"2026-11-22T12:18:20-0800",
        "altitude":12,"speed":4,"course":270,"horizontal_accuracy":30,"vertical_accuracy":-1,
        "motion":["driving","stationary"],"pauses":false,"activity":"other_navigation",
        "desired_accuracy":100,"deferred":1000,"significant_change":"disabled",
        "locations_in_payload":1,"battery_state":"charging","battery_level":0.89,
        "device_id":"","wifi":""}}],"trip":{"distance":1,"mode":"car"}}"#;

    fn lats(body: &str) -> Vec<Option<f64>> {
        let fixes = read_overland(body).expect("a batch");
        fixes.into_iter().map(|fix| fix.ok().map(|location| location.fix.lat)).collect()
    }

    #[test]
    fn a_batch_is_read_with_its_coordinates_the_other_way_round() {
        let mut fixes = read_overland(BATCH).expect("a batch");
        let fix = fixes.remove(0).expect("a fix").fix;
        assert_eq!((fix.lat, fix.lng, fix.accuracy), (45.2735, 13.7142, Some(30.0)));
        assert_eq!((fix.speed, fix.heading, fix.battery), (Some(4.0), Some(270.0), Some(0.89)));
        assert_eq!(fix.recorded_at.map(Timestamp::as_millis), Some(1_795_378_700_000));
    }

    #[test]
    fn each_feature_is_judged_alone_and_the_current_place_comes_last() {
        let at =
            |place: &str| format!(r#"{{"type":"Feature","geometry":{{"coordinates":{place}}}}}"#);
        let features = ["[1,2]", "[1]", "[181,2]", "[NaN,2]", "[0,0]", "[3,4,null]"].map(at);
        let features = format!("{},null,{{}}", features.join(","));
        let body = format!(r#"{{"locations":[{features}],"current":{}}}"#, at("[5,6]"));
        let expected = [Some(2.0), None, None, None, None, Some(4.0), None, None, Some(6.0)];
        assert_eq!(lats(&body), expected);
        assert_eq!(lats(r#"{"locations":[]}"#), []);
    }

    #[test]
    fn an_invalid_batch_is_refused() {
        let many = format!(r#"{{"locations":[{}]}}"#, vec!["{}"; 1001].join(","));
        for (body, reason) in [
            ("", UnreadableBody::NotJson),
            ("{\"locations\":[", UnreadableBody::NotJson),
            ("[]", UnreadableBody::UnknownForm(EXPECTED)),
            ("{}", UnreadableBody::UnknownForm(EXPECTED)),
            (r#"{"locations":[{"lat":1,"lng":2}]}"#, UnreadableBody::UnknownForm(EXPECTED)),
            (&many, UnreadableBody::TooManyFixes),
        ] {
            assert_eq!(read_overland(body), Err(reason), "{body}");
        }
    }
}
