//! Fixes that phones post while the app is in the background: in the hub's own form, as
//! react-native-background-geolocation posts them, and as Expo hands them over.
//!
//! A phone keeps what was refused and posts it again, before everything newer. So each fix is read
//! for itself, fields that the hub does not know are ignored, and what cannot be read at all counts
//! as one bad fix.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::client::{Location, RawLocation, location};
use super::error::Failure;
use super::json::{BLANK, read_object};
use crate::ids::OrderId;
use crate::time::Timestamp;

/// The most fixes of one body.
pub const MAX_FIXES: usize = 1000;

/// There are more than [`MAX_FIXES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("are more than 1,000 fixes")]
pub struct TooMany;

/// Where a body has its fixes.
#[derive(Deserialize)]
struct Wrapping<'a> {
    #[serde(borrow)]
    locations: Option<&'a RawValue>,
    #[serde(borrow)]
    location: Option<&'a RawValue>,
    /// Then it is a fix itself.
    #[serde(borrow)]
    coords: Option<&'a RawValue>,
    #[serde(borrow)]
    lat: Option<&'a RawValue>,
}

/// What tells the phones' forms from the hub's own.
#[derive(Deserialize)]
struct Form<'a> {
    #[serde(borrow)]
    coords: Option<&'a RawValue>,
}

/// A fix of react-native-background-geolocation or Expo.
#[derive(Deserialize)]
struct PhoneFix {
    coords: Coords,
    #[serde(default)]
    timestamp: Option<PhoneTime>,
    #[serde(default)]
    battery: Option<Battery>,
    #[serde(default)]
    extras: Option<Extras>,
}

#[derive(Deserialize)]
struct Coords {
    latitude: f64,
    longitude: f64,
    #[serde(default)]
    accuracy: Option<f64>,
    #[serde(default)]
    heading: Option<f64>,
    #[serde(default)]
    speed: Option<f64>,
    #[serde(default)]
    altitude: Option<f64>,
}

#[derive(Deserialize)]
struct Battery {
    #[serde(default)]
    level: Option<f64>,
}

/// What the app has told the library to send along.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extras {
    #[serde(default)]
    order_id: Option<OrderId>,
}

/// A time with its zone, or milliseconds since 1970.
struct PhoneTime(Timestamp);

/// Reads the fixes of a body, each for itself.
///
/// # Errors
/// [`TooMany`].
pub fn read_fixes(body: &str) -> Result<Vec<Result<Location, Failure>>, TooMany> {
    let Some(fixes) = unwrap(body) else {
        return Ok(vec![Err(Failure::invalid("body", "must hold location or locations"))]);
    };
    if fixes.len() > MAX_FIXES {
        return Err(TooMany);
    }
    Ok(fixes.into_iter().map(read_fix).collect())
}

/// The fixes of a body, as they stand in it; none where it is none of the forms.
fn unwrap(body: &str) -> Option<Vec<&str>> {
    let body = body.trim_matches(BLANK);
    if body.starts_with('[') {
        let fixes: Vec<&RawValue> = serde_json::from_str(body).ok()?;
        return Some(fixes.into_iter().map(RawValue::get).collect());
    }
    // Serde would take an array for it, field by field.
    let wrapping: Wrapping<'_> = serde_json::from_str(body).ok()?;
    match wrapping.locations.or(wrapping.location).map(RawValue::get) {
        Some(many) if many.starts_with('[') => unwrap(many),
        Some(one) => Some(vec![one]),
        None => wrapping.coords.or(wrapping.lat).map(|_| vec![body]),
    }
}

fn read_fix(text: &str) -> Result<Location, Failure> {
    if is_phones(text) {
        return read_object::<PhoneFix>(text, "location").and_then(PhoneFix::location);
    }
    read_object::<RawLocation>(text, "location").and_then(location)
}

fn is_phones(text: &str) -> bool {
    serde_json::from_str::<Form<'_>>(text).is_ok_and(|form| form.coords.is_some())
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
            recorded_at: self.timestamp.map(|time| time.0),
        };
        location(raw).map_err(|mut failure| {
            failure.field = failure.field.map(|field| match &*field {
                "lat" => "coords.latitude".into(),
                "lng" => "coords.longitude".into(),
                "battery" => "battery.level".into(),
                other => format!("coords.{other}").into(),
            });
            failure
        })
    }
}

impl<'de> Deserialize<'de> for PhoneTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMillis;
        impl Visitor<'_> for TextOrMillis {
            type Value = PhoneTime;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time as in RFC 3339, or milliseconds since 1970")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PhoneTime, E> {
                text.parse().map(PhoneTime).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<PhoneTime, E> {
                Ok(PhoneTime(Timestamp::from_millis(ms)))
            }

            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<PhoneTime, E> {
                self.visit_i64(i64::try_from(ms).unwrap_or(i64::MAX))
            }

            /// iOS has fractions of milliseconds.
            fn visit_f64<E: de::Error>(self, ms: f64) -> Result<PhoneTime, E> {
                #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
                self.visit_i64(ms as i64)
            }
        }
        deserializer.deserialize_any(TextOrMillis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::client::Target;

    fn read(body: &str) -> Vec<Result<Location, String>> {
        let fixes = read_fixes(body).expect("not too many");
        let field = |failure: Failure| failure.field.unwrap_or_default().into_owned();
        fixes.into_iter().map(|fix| fix.map_err(field)).collect()
    }

    fn one(body: &str) -> Location {
        let mut fixes = read(body);
        assert_eq!(fixes.len(), 1, "{body}");
        fixes.remove(0).unwrap_or_else(|field| panic!("{field} of {body}"))
    }

    /// What the library's iOS side posts, cut to what it always has.
    const TRANSISTOR: &str = r#"{"location":{"event":"motionchange","is_moving":true,
        "uuid":"43F86BBA-8A5C-4E7D-9D4D-0C5C9D8F2D11","timestamp":"2026-11-22T20:18:20.261Z",
        "age":12,"odometer":1245.3,"coords":{"latitude":45.2735,"longitude":13.7142,
        "accuracy":5.4,"speed":-1,"speed_accuracy":-1,"heading":270.5,"heading_accuracy":-1,
        "altitude":12.7,"altitude_accuracy":3,"ellipsoidal_altitude":58.1},
        "activity":{"type":"in_vehicle","confidence":100},
        "battery":{"is_charging":true,"level":0.83},"extras":{"orderId":"order-7"}},"device":{"model":"x"}}"#;

    #[test]
    fn what_react_native_background_geolocation_posts_is_read() {
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
    fn what_expo_hands_over_is_read_with_its_milliseconds() {
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
            (r#"{"lat":1,"lng":2,"recordedAt":"2026-11-22T20:18:20"}"#, "recordedAt"),
            (r#"{"lat":1,"lng":2,"recordedAt":1763842700261}"#, "recordedAt"),
            (r#"{"lat":1,"lng":2,"orderId":"a b"}"#, "orderId"),
            (r#"{"coords":{}}"#, "coords"),
            (r#"{"coords":{"latitude":1,"longitude":181}}"#, "coords.longitude"),
            (
                r#"{"coords":{"latitude":1,"longitude":2},"timestamp":"2026-11-22 20:18"}"#,
                "timestamp",
            ),
            (
                r#"{"coords":{"latitude":1,"longitude":2},"extras":{"orderId":""}}"#,
                "extras.orderId",
            ),
            (r#"{"coords":{"latitude":1,"longitude":2},"battery":{"level":2}}"#, "battery.level"),
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
    fn what_is_none_of_the_forms_is_one_bad_fix() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for body in ["", "x", "7", "null", "{}", r#"{"location":null}"#, "[1", "\u{0}", "{\"a\":1}"]
        {
            assert_eq!(read(body), [Err("body".to_owned())], "{body}");
        }
        assert_eq!(read(&deep).len(), 1);
        assert_eq!(read("[]"), []);
        assert_eq!(read(r#"{"locations":[]}"#), []);
    }

    #[test]
    fn there_is_an_end_to_how_many_come_at_once() {
        let body = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(read_fixes(&body(1000)).map(|fixes| fixes.len()), Ok(1000));
        assert_eq!(read_fixes(&body(1001)), Err(TooMany));
    }
}
