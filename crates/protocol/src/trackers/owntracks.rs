//! `OwnTracks` in HTTP mode: one message a request
//! (<https://owntracks.org/booklet/tech/json/>, <https://owntracks.org/booklet/tech/http/>).

use serde::Deserialize;

use super::{checked, of_percent};
use crate::error::Failure;
use crate::events::location::{Location, RawLocation};
use crate::fixes::{Fixes, UnreadableBody, read_json};
use crate::json::read_object;
use crate::lenient;
use crate::time::Timestamp;

const EXPECTED: &str = "a message of OwnTracks, {\"_type\": \"location\", lat, lon, tst}";
const NOT_ENCRYPTED: &str = "a message of OwnTracks that is not encrypted: leave its key empty";

/// The fields that every message has.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "_type")]
    kind: String,
}

#[derive(Deserialize)]
struct Fix {
    lat: f64,
    lon: f64,
    #[serde(default, deserialize_with = "lenient::time")]
    tst: Option<Timestamp>,
    /// Metres.
    #[serde(default, deserialize_with = "lenient::number")]
    acc: Option<f64>,
    /// Metres.
    #[serde(default, deserialize_with = "lenient::number")]
    alt: Option<f64>,
    /// Percent.
    #[serde(default, deserialize_with = "lenient::number")]
    batt: Option<f64>,
    /// Degrees.
    #[serde(default, deserialize_with = "lenient::number")]
    cog: Option<f64>,
    /// Kilometres per hour.
    #[serde(default, deserialize_with = "lenient::number")]
    vel: Option<f64>,
}

/// Reads the fix of a message. None if the message is about something else, such as a region that
/// the phone has entered. The message about a deleted friend is empty.
///
/// # Errors
/// [`UnreadableBody`] if it is not a message of `OwnTracks`.
pub fn read_owntracks(body: &str) -> Result<Fixes, UnreadableBody> {
    if body.trim().is_empty() {
        return Ok(Vec::new());
    }
    read_json(body, |body| {
        let whole: &serde_json::value::RawValue =
            serde_json::from_str(body).map_err(|_| UnreadableBody::NotJson)?;
        let message = read_object::<Message>(whole.get(), "body");
        let message = message.map_err(|_| UnreadableBody::UnknownForm(EXPECTED))?;
        match message.kind.as_str() {
            "location" => {
                Ok(vec![lenient::object::<Fix>(body, "location").and_then(Fix::location)])
            }
            "encrypted" => Err(UnreadableBody::UnknownForm(NOT_ENCRYPTED)),
            _ => Ok(Vec::new()),
        }
    })
}

// === impl Fix ===

impl Fix {
    fn location(self) -> Result<Location, Failure> {
        let fix = RawLocation {
            lat: self.lat,
            lng: self.lon,
            accuracy: self.acc,
            heading: self.cog,
            speed: self.vel.map(|kmh| kmh / 3.6),
            altitude: self.alt,
            battery: of_percent(self.batt),
            recorded_at: self.tst,
            ..RawLocation::default()
        };
        checked(fix, ["lat", "lon"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::location::Target;

    /// A message with every field of the booklet that a phone sends.
    const LOCATION: &str = r#"{"_type":"location","BSSID":"b0:f2:8:45:94:33","SSID":"Home","acc":13,
        "alt":154,"batt":87,"bs":1,"cog":270,"conn":"w","created_at":1795378705,"inregions":["Depot"],
        "lat":45.2735,"lon":13.7142,"m":2,"t":"u","tid":"dn","topic":"owntracks/dan/phone",
        "tst":1795378700,"vac":10,"vel":36}"#;

    #[test]
    fn a_location_is_read_in_the_hubs_units() {
        let mut fixes = read_owntracks(LOCATION).expect("a message");
        let location = fixes.remove(0).expect("a fix");
        assert_eq!(location.target, Target::All);
        let fix = location.fix;
        assert_eq!((fix.lat, fix.lng, fix.accuracy), (45.2735, 13.7142, Some(13.0)));
        assert_eq!((fix.speed, fix.heading, fix.battery), (Some(10.0), Some(270.0), Some(0.87)));
        assert_eq!(fix.recorded_at, Some(Timestamp::from_secs(1_795_378_700)));
    }

    #[test]
    fn messages_without_a_location_are_no_fix() {
        for body in [
            "",
            " \n",
            r#"{"_type":"lwt","tst":1795378700}"#,
            r#"{"_type":"transition","lat":45.1,"lon":13.7,"event":"enter","tst":1,"wtst":1}"#,
            r#"{"_type":"waypoint","desc":"Depot","lat":45.1,"lon":13.7,"rad":50,"tst":1}"#,
            r#"{"_type":"status","android":{"hib":0}}"#,
        ] {
            assert_eq!(read_owntracks(body), Ok(vec![]), "{body}");
        }
    }

    #[test]
    fn an_invalid_message_of_owntracks_is_refused() {
        for (body, reason) in [
            ("x", UnreadableBody::NotJson),
            ("{\"_type\":\"location\",\"lat\":1", UnreadableBody::NotJson),
            ("[]", UnreadableBody::UnknownForm(EXPECTED)),
            (r#"{"lat":1,"lon":2}"#, UnreadableBody::UnknownForm(EXPECTED)),
            (r#"{"_type":"encrypted","data":"…"}"#, UnreadableBody::UnknownForm(NOT_ENCRYPTED)),
        ] {
            assert_eq!(read_owntracks(body), Err(reason), "{body}");
        }
        for (body, field) in [
            (r#"{"_type":"location","lat":91,"lon":2}"#, "lat"),
            (r#"{"_type":"location","lat":1,"lon":NaN}"#, "lon"),
            (r#"{"_type":"location","lat":0,"lon":0}"#, "lat"),
            (r#"{"_type":"location","lat":1}"#, "lon"),
        ] {
            let fixes = read_owntracks(body).expect("a message");
            let failure = fixes[0].as_ref().expect_err(body);
            assert_eq!(failure.field.as_deref(), Some(field), "{body}");
        }
    }
}
