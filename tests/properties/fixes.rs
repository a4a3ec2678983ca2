//! Bodies of posted positions, in each of their forms.

use proptest::prelude::*;
use protocol::fixes::{MAX_FIXES, UnreadableBody, read_fixes};
use protocol::lenient::without_nan;
use serde_json::{Value, json};

use super::ID;
use super::envelope::check_location;
use super::mutate::{config, mutated};

const BODIES: &[&str] = &[
    r#"{"orderId":"o1","lat":45.1,"lng":13.6,"recordedAt":"2026-05-04T12:30:00Z"}"#,
    r#"[{"lat":45.1,"lng":13.6},{"orderIds":["o1","o2"],"lat":1,"lng":2}]"#,
    r#"{"location":{"coords":{"latitude":45.1,"longitude":13.6,"accuracy":5,"speed":-1,"heading":-1,"altitude":2},"timestamp":"2026-05-04T12:30:00.000Z","battery":{"level":0.9,"is_charging":false},"extras":{"orderId":"o1"}}}"#,
    r#"{"location":[{"coords":{"latitude":1,"longitude":2},"timestamp":1777897800000}]}"#,
    r#"{"locations":[{"coords":{"latitude":1.5,"longitude":2.5,"altitude":null},"timestamp":1777897800000.25}]}"#,
    r#"{"coords":{"latitude":1,"longitude":2}}"#,
    r#"[{"lat":1,"lng":2,"heading":NaN,"battery":87},{"lat":1,"lng":2,"recordedAt":"2569-01-01T00:00:00Z"}]"#,
];

const WORDS: &[&str] = &[
    "\"coords\":",
    "\"latitude\":",
    "\"location\":",
    "\"locations\":",
    "\"lat\":",
    "\"timestamp\":",
    "\"extras\":{",
    "\"orderId\":",
    "91",
    "-180.5",
    "-Infinity",
    "\u{feff}",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_fix_keeps_every_limit(body in mutated(BODIES, WORDS)) {
        let Ok(fixes) = read_fixes(&body) else { return Ok(()) };
        prop_assert!(fixes.len() <= MAX_FIXES);
        for location in fixes.iter().flatten() {
            check_location(location)?;
        }
    }

    #[test]
    fn a_body_is_json_of_a_known_form_or_refused(body in mutated(BODIES, WORDS)) {
        let plain = body.trim_matches([' ', '\n', '\r', '\t']);
        let plain = plain.strip_prefix('\u{feff}').unwrap_or(plain);
        let nulled = without_nan(plain);
        let is_json = |text: &str| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
        let readable = is_json(plain) || nulled.as_deref().is_some_and(is_json);
        let is_json = read_fixes(&body) != Err(UnreadableBody::NotJson);
        prop_assert_eq!(is_json, readable);
    }

    #[test]
    fn null_for_nan_changes_nothing_of_what_is_json(body in mutated(BODIES, WORDS)) {
        // Numbers out of range are JSON, and no values.
        if serde_json::from_str::<Value>(&body).is_ok() {
            prop_assert_eq!(without_nan(&body), None);
        }
    }

    #[test]
    fn a_bad_fix_affects_no_other(middle in mutated(BODIES, WORDS)) {
        if serde_json::from_str::<Value>(&middle).is_err() {
            return Ok(());
        }
        let (first, last) = (r#"{"lat":1,"lng":2}"#, r#"{"coords":{"latitude":3,"longitude":4}}"#);
        let fixes = read_fixes(&format!("{{\"locations\":[{first},{middle},{last}]}}"));
        let fixes = fixes.expect("three");
        prop_assert_eq!(fixes.len(), 3);
        let latitude = |place: usize| fixes[place].as_ref().map(|it| it.fix.lat).ok();
        prop_assert_eq!((latitude(0), latitude(2)), (Some(1.0), Some(3.0)));
    }

    #[test]
    fn the_forms_of_phones_are_read_like_the_hubs_own(
        order in ID, lat in -90.0..=90.0, lng in -180.0..=180.0, speed in -2.0..50.0,
        ms in 100_000_000_000..4_102_444_800_000_i64, battery in 0.0..=1.0,
    ) {
        let at = protocol::time::Timestamp::from_millis(ms);
        let own = json!({ "orderId": order, "lat": lat, "lng": lng, "speed": speed,
            "battery": battery, "recordedAt": at });
        let coords = json!({ "latitude": lat, "longitude": lng, "speed": speed });
        let phone = |timestamp: Value| json!({ "location": { "coords": coords, "timestamp": timestamp,
            "battery": { "level": battery }, "extras": { "orderId": order } } });
        let read = |body: Value| read_fixes(&body.to_string());
        let expected = read(own);
        prop_assert_eq!(&read(phone(json!(at))), &expected);
        prop_assert_eq!(&read(phone(json!(ms))), &expected);
    }
}

#[test]
fn the_inputs_are_good() {
    for body in BODIES {
        let fixes = read_fixes(body).expect("few");
        assert!(!fixes.is_empty() && fixes.iter().all(Result::is_ok), "{body}: {fixes:?}");
    }
}
