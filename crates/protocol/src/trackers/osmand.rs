//! The `OsmAnd` protocol as Traccar defines it and Traccar Client uses it: one fix a request, in
//! the query, in a form, or as JSON (<https://www.traccar.org/osmand/>).

use std::borrow::Cow;

use form_urlencoded::parse;

use super::{checked, of_percent};
use crate::error::Failure;
use crate::events::location::{Location, RawLocation};
use crate::fixes::{Fixes, UnreadableBody, read_fixes};
use crate::lenient::time_of;
use crate::time::Timestamp;

const EXPECTED: &str =
    "lat and lon, in the query or in a form, or {\"location\": {coords, timestamp}}";
/// The most parameters that are looked at; the app sends a dozen.
const MAX_PARAMETERS: usize = 100;
/// A knot in metres per second.
const KNOT: f64 = 1852.0 / 3600.0;

/// Reads a fix. Its parameters may be in the query and in the body; the last one of a name counts.
/// A JSON body is read by [`read_fixes`]: Traccar Client sends one from version 9 on.
///
/// # Errors
/// [`UnreadableBody`] if it has no coordinates.
pub fn read_osmand(query: &str, body: &str) -> Result<Fixes, UnreadableBody> {
    if body.trim_start().starts_with(['{', '[']) {
        return read_fixes(body);
    }
    let pairs = parse(query.as_bytes()).chain(parse(body.trim().as_bytes()));
    let pairs: Vec<_> = pairs.take(MAX_PARAMETERS).collect();
    let text = |names: &[&str]| {
        let named = pairs.iter().rfind(|(name, _)| names.contains(&&**name));
        named.map(|(_, value)| Cow::Borrowed(&**value))
    };
    let (lat, lon) = match text(&["location"]) {
        Some(both) => match both.split_once(',') {
            Some((lat, lon)) => (Some(lat.to_owned().into()), Some(lon.to_owned().into())),
            None => (Some(both), None),
        },
        None => (text(&["lat"]), text(&["lon"])),
    };
    if lat.is_none() && lon.is_none() {
        return Err(UnreadableBody::UnknownForm(EXPECTED));
    }
    let is_valid = text(&["valid"]).is_none_or(|valid| !matches!(&*valid, "false" | "0"));
    let other = |name| number(text(&[name]));
    let fix = RawLocation {
        accuracy: other("accuracy"),
        heading: number(text(&["bearing", "heading"])),
        speed: other("speed").map(|knots| knots * KNOT),
        altitude: other("altitude"),
        battery: of_percent(other("batt")),
        recorded_at: text(&["timestamp"]).and_then(|text| time_of(&text).or_else(|| utc(&text))),
        ..RawLocation::default()
    };
    Ok(vec![if is_valid {
        location(fix, number(lat), number(lon))
    } else {
        Err(Failure::invalid("valid", "the receiver had no fix"))
    }])
}

fn location(fix: RawLocation, lat: Option<f64>, lon: Option<f64>) -> Result<Location, Failure> {
    let needed = |number: Option<f64>, name| {
        number.ok_or_else(|| Failure::invalid(name, "must be a number of degrees"))
    };
    let (lat, lng) = (needed(lat, "lat")?, needed(lon, "lon")?);
    checked(RawLocation { lat, lng, ..fix }, ["lat", "lon"])
}

fn number(text: Option<Cow<'_, str>>) -> Option<f64> {
    text?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// A time without a zone, `2026-11-22 20:18:20`, which counts as UTC.
fn utc(text: &str) -> Option<Timestamp> {
    time_of(&format!("{}Z", text.trim().replace(' ', "T")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::location::Fix;

    fn one(query: &str, body: &str) -> Fix {
        let mut fixes = read_osmand(query, body).expect("readable");
        fixes.remove(0).unwrap_or_else(|failure| panic!("{failure}: {query} {body}")).fix
    }

    #[test]
    fn posts_of_traccar_client_are_read_in_the_hubs_units() {
        let sent = "id=48241179&timestamp=1795378700&lat=45.2735&lon=13.7142&speed=19.438445&\
            bearing=270.5&altitude=12.7&accuracy=5.4&batt=83.0&mock=true";
        let fix = one(sent, "");
        assert_eq!((fix.lat, fix.lng, fix.accuracy), (45.2735, 13.7142, Some(5.4)));
        assert_eq!((fix.heading, fix.altitude, fix.battery), (Some(270.5), Some(12.7), Some(0.83)));
        assert!(fix.speed.is_some_and(|speed| (speed - 10.0).abs() < 1e-6), "{:?}", fix.speed);
        assert_eq!(fix.recorded_at.map(Timestamp::as_millis), Some(1_795_378_700_000));
        assert_eq!(one("", sent), fix, "as a form");
        assert_eq!(one("token=a.b.c&id=1", sent), fix, "and beside a query");
        let json = r#"{"location":{"timestamp":"2026-11-22T20:18:20.000Z","coords":{"latitude":45.2735,
            "longitude":13.7142,"accuracy":5.4,"speed":10,"heading":270.5,"altitude":12.7},
            "battery":{"level":0.83},"extras":{}},"device_id":"48241179"}"#;
        assert_eq!(one("token=a.b.c", json), Fix { speed: Some(10.0), ..fix });
    }

    #[test]
    fn times_come_in_every_form_that_traccar_takes() {
        for (time, ms) in [
            ("1795378700", 1_795_378_700_000),
            ("1795378700261", 1_795_378_700_261),
            ("2026-11-22T20:18:20Z", 1_795_378_700_000),
            ("2026-11-22T20:18:20.261Z", 1_795_378_700_261),
            ("2026-11-22+20:18:20", 1_795_378_700_000),
            ("2026-11-22%2020:18:20", 1_795_378_700_000),
        ] {
            let fix = one(&format!("location=45.5,13.5&timestamp={time}"), "");
            assert_eq!(fix.recorded_at.map(Timestamp::as_millis), Some(ms), "{time}");
            assert_eq!((fix.lat, fix.lng), (45.5, 13.5));
        }
        assert_eq!(
            one("lat=1&lon=2&timestamp=noon&batt=full&heading=361", ""),
            one("lat=1&lon=2", "")
        );
    }

    #[test]
    fn an_invalid_fix_is_refused_by_its_field_and_a_request_without_one_as_a_whole() {
        for (query, field) in [
            ("lat=91&lon=2", "lat"),
            ("lat=1&lon=181", "lon"),
            ("lat=x&lon=2", "lat"),
            ("lat=1", "lon"),
            ("lon=NaN&lat=1", "lon"),
            ("lat=0&lon=0", "lat"),
            ("lat=1&lon=2&valid=false", "valid"),
            ("location=1", "lon"),
        ] {
            let fixes = read_osmand(query, "").expect("readable");
            let failure = fixes[0].as_ref().expect_err(query);
            assert_eq!(failure.field.as_deref(), Some(field), "{query}");
        }
        for (query, body) in [("", ""), ("id=7", ""), ("", "x"), ("id=7&batt=5", "%%%=&&=")] {
            assert_eq!(read_osmand(query, body), Err(UnreadableBody::UnknownForm(EXPECTED)));
        }
        assert_eq!(read_osmand("", "{\"location\":"), Err(UnreadableBody::NotJson));
        let late = format!("{}lat=1&lon=2", "+&".repeat(500_000));
        assert_eq!(read_osmand("", &late), Err(UnreadableBody::UnknownForm(EXPECTED)));
    }
}
