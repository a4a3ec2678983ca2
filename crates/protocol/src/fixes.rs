//! Fixes that phones post while the app is in the background: in the hub's own form, and in those
//! of react-native-background-geolocation and Expo.
//!
//! A phone keeps refused fixes and posts them again, before everything newer. So each fix is read
//! by itself, unknown fields are ignored, and invalid fields other than the coordinates are left
//! out. A body is refused as a whole only if none of its fixes can be read.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::Failure;
use super::json::WHITESPACE;
use super::lenient::{self, without_mark, without_nan};
use crate::events::location::{Location, RawLocation, location};
use crate::ids::OrderId;
use crate::time::Timestamp;

/// The most fixes of one body.
pub const MAX_FIXES: usize = 1000;

/// Fixes, each read by itself.
pub type Fixes = Vec<Result<Location, Failure>>;

/// Why no fixes can be read from a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableBody {
    /// There are more than [`MAX_FIXES`].
    #[error("more than 1,000 fixes")]
    TooManyFixes,
    /// The body is cut off, in another encoding, or not JSON at all.
    #[error("the body is not JSON")]
    NotJson,
    /// The body is JSON, but has no fix in any known form.
    #[error("expected {0}")]
    UnknownForm(&'static str),
}

/// What [`read_fixes`] expects.
const EXPECTED: &str = "{\"locations\": [{lat, lng, recordedAt}]}, or {\"location\": {coords: \
    {latitude, longitude}, timestamp}}, or a list of either";

/// Where a body has its fixes.
#[derive(Deserialize)]
struct FixList<'a> {
    #[serde(borrow)]
    locations: Option<&'a RawValue>,
    #[serde(borrow)]
    location: Option<&'a RawValue>,
}

/// Tells fixes from other objects, and the phones' form from the hub's own.
#[derive(Default, Deserialize)]
struct FixFormat {
    #[serde(default, deserialize_with = "present")]
    coords: bool,
    #[serde(default, deserialize_with = "present")]
    lat: bool,
    #[serde(default, deserialize_with = "present")]
    lng: bool,
}

/// A fix of react-native-background-geolocation or Expo.
#[derive(Deserialize)]
struct PhoneFix {
    coords: Coords,
    #[serde(default, deserialize_with = "lenient::time")]
    timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::value")]
    battery: Option<Battery>,
    #[serde(default)]
    extras: Option<Extras>,
}

#[derive(Deserialize)]
struct Coords {
    latitude: f64,
    longitude: f64,
    #[serde(default, deserialize_with = "lenient::number")]
    accuracy: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    heading: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    speed: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    altitude: Option<f64>,
}

#[derive(Deserialize)]
struct Battery {
    #[serde(default, deserialize_with = "lenient::number")]
    level: Option<f64>,
}

/// Fields that the app has told the library to add.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extras {
    #[serde(default)]
    order_id: Option<OrderId>,
}

/// Reads the fixes of a body, each by itself.
///
/// # Errors
/// [`UnreadableBody`] if the body's form makes every fix unreadable.
pub fn read_fixes(body: &str) -> Result<Fixes, UnreadableBody> {
    read_json(body, |body| {
        let fixes = unwrap(body)?;
        if fixes.len() > MAX_FIXES {
            return Err(UnreadableBody::TooManyFixes);
        }
        if !fixes.is_empty() && !fixes.iter().any(|fix| FixFormat::of(fix).is_fix()) {
            return Err(UnreadableBody::UnknownForm(EXPECTED));
        }
        Ok(fixes.into_iter().map(read_fix).collect())
    })
}

/// Reads a JSON body. If it is not valid JSON, reads it again with `null` for `NaN`.
///
/// # Errors
/// Those of `read`, or [`UnreadableBody::NotJson`] if there is no `NaN` to replace.
pub(super) fn read_json<T>(
    body: &str,
    read: impl Fn(&str) -> Result<T, UnreadableBody>,
) -> Result<T, UnreadableBody> {
    let body = without_mark(body).trim_matches(WHITESPACE);
    match read(body) {
        Err(UnreadableBody::NotJson) => read(&without_nan(body).ok_or(UnreadableBody::NotJson)?),
        outcome => outcome,
    }
}

/// The fixes of a body, each as its text.
fn unwrap(body: &str) -> Result<Vec<&str>, UnreadableBody> {
    let not_json = |_| UnreadableBody::NotJson;
    if body.starts_with('[') {
        let fixes: Vec<&RawValue> = serde_json::from_str(body).map_err(not_json)?;
        return Ok(fixes.into_iter().map(RawValue::get).collect());
    }
    let whole: &RawValue = serde_json::from_str(body).map_err(not_json)?;
    // Serde would accept an array for it, field by field.
    let wrapping = serde_json::from_str::<FixList<'_>>(whole.get());
    let wrapping = wrapping.map_err(|_| UnreadableBody::UnknownForm(EXPECTED))?;
    match wrapping.locations.or(wrapping.location).map(RawValue::get) {
        Some(many) if many.starts_with('[') => unwrap(many),
        Some(one) => Ok(vec![one]),
        None => Ok(vec![body]),
    }
}

fn read_fix(text: &str) -> Result<Location, Failure> {
    if FixFormat::of(text).coords {
        return lenient::object::<PhoneFix>(text, "location").and_then(PhoneFix::location);
    }
    lenient::object::<RawLocation>(text, "location").and_then(location)
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(deserializer).map(|value| value.is_some())
}

// === impl FixFormat ===

impl FixFormat {
    fn of(text: &str) -> Self {
        let is_object = text.starts_with('{');
        is_object.then(|| serde_json::from_str(text).ok()).flatten().unwrap_or_default()
    }

    fn is_fix(&self) -> bool {
        self.coords || self.lat || self.lng
    }
}

// === impl PhoneFix ===

impl PhoneFix {
    fn location(self) -> Result<Location, Failure> {
        let Coords { latitude, longitude, accuracy, heading, speed, altitude } = self.coords;
        let raw = RawLocation {
            order_id: self.extras.and_then(|extras| extras.order_id),
            order_ids: None,
            lat: latitude,
            lng: longitude,
            accuracy,
            heading,
            speed,
            altitude,
            battery: self.battery.and_then(|battery| battery.level),
            recorded_at: self.timestamp,
        };
        location(raw).map_err(|mut failure| {
            failure.field = failure.field.map(|field| match &*field {
                "lat" => "coords.latitude".into(),
                _ => "coords.longitude".into(),
            });
            failure
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::location::Target;

    fn read(body: &str) -> Vec<Result<Location, String>> {
        let fixes = read_fixes(body).unwrap_or_else(|reason| panic!("{reason}: {body}"));
        let field = |failure: Failure| failure.field.unwrap_or_default().into_owned();
        fixes.into_iter().map(|fix| fix.map_err(field)).collect()
    }

    fn one(body: &str) -> Location {
        let mut fixes = read(body);
        assert_eq!(fixes.len(), 1, "{body}");
        fixes.remove(0).unwrap_or_else(|field| panic!("{field} of {body}"))
    }

    /// What the library's iOS version posts, reduced to the fields that it always has.
    const TRANSISTOR: &str = r#"{"location":{"event":"motionchange","is_moving":true,
        "uuid":"43F86BBA-8A5C-4E7D-9D4D-0C5C9D8F2D11","timestamp":"2026-11-22T20:18:20.261Z",
        "age":12,"odometer":1245.3,"coords":{"latitude":45.2735,"longitude":13.7142,
        "accuracy":5.4,"speed":-1,"speed_accuracy":-1,"heading":270.5,"heading_accuracy":-1,
        "altitude":12.7,"altitude_accuracy":3,"ellipsoidal_altitude":58.1},
        "activity":{"type":"in_vehicle","confidence":100},
        "battery":{"is_charging":true,"level":0.83},"extras":{"orderId":"order-7"}},"device":{"model":"x"}}"#;

    #[test]
    fn posts_of_react_native_background_geolocation_are_read() {
        let location = one(TRANSISTOR);
        assert_eq!(location.target, Target::One("order-7".parse().expect("an id")));
        let fix = location.fix;
        assert_eq!((fix.lat, fix.lng, fix.accuracy), (45.2735, 13.7142, Some(5.4)));
        assert_eq!((fix.speed, fix.heading, fix.altitude), (None, Some(270.5), Some(12.7)));
        assert_eq!(fix.battery, Some(0.83));
        let time = fix.recorded_at.expect("a time").to_string();
        assert_eq!(time, "2026-11-22T20:18:20.261Z");
        let many = r#"{"location":[{"coords":{"latitude":1,"longitude":2},"extras":{}},
            {"coords":{"latitude":3,"longitude":4},"battery":{"level":-1,"is_charging":false}}]}"#;
        let lats: Vec<f64> = read(many).into_iter().map(|fix| fix.expect("good").fix.lat).collect();
        assert_eq!(lats, [1.0, 3.0]);
        assert!(read(many).into_iter().all(|fix| fix.expect("good").target == Target::All));
    }

    #[test]
    fn fixes_of_expo_are_read_with_their_milliseconds() {
        let expo = r#"{"timestamp":1763842700261.4,"mocked":false,"coords":{"latitude":45.1,
            "longitude":13.2,"altitude":null,"accuracy":20,"altitudeAccuracy":null,"heading":-1,"speed":0}}"#;
        for body in [format!("[{expo}]"), format!(r#"{{"locations":[{expo}]}}"#), expo.to_owned()] {
            let fix = one(&body).fix;
            let ms = fix.recorded_at.map(Timestamp::as_millis);
            assert_eq!((ms, fix.speed, fix.heading), (Some(1_763_842_700_261), Some(0.0), None));
        }
    }

    #[test]
    fn the_own_form_has_the_fields_of_driver_location() {
        let body = r#"{"locations":[{"lat":1,"lng":2,"battery":0.5,"orderIds":["a","b"],"x":1}]}"#;
        let location = one(body);
        let orders = ["a", "b"].map(|id| id.parse().expect("an id"));
        assert_eq!(location.target, Target::Many(orders.to_vec()));
        assert_eq!(location.fix.battery, Some(0.5));
    }

    #[test]
    fn a_bad_fix_harms_no_other_and_its_field_is_named() {
        for (fix, field) in [
            ("7", "location"),
            ("null", "location"),
            ("[]", "location"),
            ("{}", "lat"),
            (r#"{"lat":91,"lng":2}"#, "lat"),
            (r#"{"lat":"1","lng":2}"#, "lat"),
            (r#"{"lat":1e400,"lng":2}"#, "lat"),
            (r#"{"lat":NaN,"lng":2}"#, "lat"),
            (r#"{"lat":1,"lng":-Infinity}"#, "lng"),
            (r#"{"lat":0,"lng":-0.0}"#, "lat"),
            (r#"{"lat":0,"lng":0,"accuracy":0}"#, "lat"),
            (r#"{"lat":0,"lng":0,"accuracy":-1}"#, "lat"),
            (r#"{"lat":1,"lng":2,"orderId":"a b"}"#, "orderId"),
            (r#"{"coords":{}}"#, "coords"),
            (r#"{"coords":{"latitude":1,"longitude":181}}"#, "coords.longitude"),
            (r#"{"coords":{"latitude":0,"longitude":0}}"#, "coords.latitude"),
            (
                r#"{"coords":{"latitude":1,"longitude":2},"extras":{"orderId":""}}"#,
                "extras.orderId",
            ),
        ] {
            let body = format!(r#"{{"locations":[{fix},{{"lat":1,"lng":2}}]}}"#);
            let found = read(&body);
            assert_eq!(found.len(), 2, "{fix}");
            assert!(found[1].is_ok(), "{fix}");
            let found = found[0].as_ref().expect_err(fix);
            assert!(found.ends_with(field), "{found} of {fix}");
        }
    }

    #[test]
    fn invalid_fields_beside_the_coordinates_are_left_out() {
        let bare = one(r#"{"lat":1,"lng":2}"#);
        for (name, values) in [
            ("battery", &["87", "1.01", "NaN", "\"full\"", "[]", "1e999", "-1", "null"][..]),
            ("heading", &["361", "-1", "Infinity", "\"north\"", "{\"a\":[1]}"]),
            ("speed", &["nan", "-0.5", "true", "\"fast\""]),
            ("accuracy", &["-inf", "-1", "{}"]),
            ("altitude", &["-Infinity", "\"12\"", "1e400"]),
            ("recordedAt", &["\"noon\"", "\"2026-11-22T20:18:20\"", "NaN", "[]", "\"\"", "true"]),
        ] {
            for value in values {
                let own = format!(r#"{{"lat":1,"lng":2,"{name}":{value}}}"#);
                assert_eq!(one(&own), bare, "{own}");
                let coords = format!(r#""coords":{{"latitude":1,"longitude":2,"{name}":{value}}}"#);
                let phone = match name {
                    "battery" => r#""coords":{"latitude":1,"longitude":2},"battery":{"level":"#,
                    "recordedAt" => r#""coords":{"latitude":1,"longitude":2},"timestamp":"#,
                    _ => &coords,
                };
                let phone = match name {
                    "battery" => format!("{{{phone}{value}}}}}"),
                    "recordedAt" => format!("{{{phone}{value}}}"),
                    _ => format!("{{{phone}}}"),
                };
                assert_eq!(one(&phone), bare, "{phone}");
            }
        }
        let odd = r#"{"coords":{"latitude":1,"longitude":2},"battery":0.9}"#;
        assert_eq!(one(odd), bare);
        let at_zero = one(r#"{"lat":0,"lng":0,"accuracy":12}"#).fix;
        assert_eq!((at_zero.lat, at_zero.accuracy), (0.0, Some(12.0)), "a ship may be there");
    }

    #[test]
    fn a_time_may_be_a_number_in_either_form() {
        for (body, ms) in [
            (r#"{"lat":1,"lng":2,"recordedAt":1763842700261}"#, 1_763_842_700_261),
            (r#"{"lat":1,"lng":2,"recordedAt":1763842700}"#, 1_763_842_700_000),
            (
                r#"{"coords":{"latitude":1,"longitude":2},"timestamp":"1763842700261"}"#,
                1_763_842_700_261,
            ),
            (
                r#"{"coords":{"latitude":1,"longitude":2},"timestamp":1763842700.5}"#,
                1_763_842_700_500,
            ),
        ] {
            assert_eq!(one(body).fix.recorded_at.map(Timestamp::as_millis), Some(ms), "{body}");
        }
    }

    #[test]
    fn a_body_without_any_fix_is_refused_as_a_whole() {
        for body in ["", "x", "[1", "\u{0}", r#"{"lat":1,"lng":2"#, "lat=1&lng=2", "{\"a\":NaN"] {
            assert_eq!(read_fixes(body), Err(UnreadableBody::NotJson), "{body}");
        }
        let unknown = Err(UnreadableBody::UnknownForm(EXPECTED));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for body in [
            "7",
            "null",
            "\"a\"",
            "{}",
            "[7]",
            "{\"a\":1}",
            "{\"a\":NaN}",
            r#"{"location":null}"#,
            r#"{"locations":[{}]}"#,
            // mauron85, Capacitor, Geolocator, OwnTracks, Overland.
            r#"[{"latitude":45.1,"longitude":13.6,"time":1763842700261,"bearing":0}]"#,
            r#"{"latitude":45.1,"longitude":13.6,"simulated":false}"#,
            r#"{"latitude":45.1,"longitude":13.6,"is_mocked":false}"#,
            r#"{"_type":"location","tst":1763842700,"latitude":1}"#,
            r#"{"locations":[{"type":"Feature","geometry":{},"properties":{}}]}"#,
            &deep,
        ] {
            assert_eq!(read_fixes(body), unknown, "{body}");
        }
        assert_eq!(read("[]"), []);
        assert_eq!(read(r#"{"locations":[]}"#), []);
        assert_eq!(read("\u{feff}[]"), []);
    }

    #[test]
    fn the_number_of_fixes_of_one_post_is_bounded() {
        let body = |count: usize| format!("[{}]", vec![r#"{"lat":1}"#; count].join(","));
        assert_eq!(read_fixes(&body(1000)).map(|fixes| fixes.len()), Ok(1000));
        assert_eq!(read_fixes(&body(1001)), Err(UnreadableBody::TooManyFixes));
    }
}
