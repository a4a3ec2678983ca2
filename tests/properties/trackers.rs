//! Bodies and queries of apps that only track a phone.

use proptest::prelude::*;
use protocol::fixes::{Fixes, MAX_FIXES, UnreadableBody};
use protocol::trackers::{read_osmand, read_overland, read_owntracks};

use super::envelope::check_location;
use super::mutate::{config, mutated};

const OWNTRACKS: &[&str] = &[
    r#"{"_type":"location","acc":13,"alt":154,"batt":87,"cog":270,"lat":45.2735,"lon":13.7142,"tst":1795378700,"vel":36}"#,
    r#"{"_type":"location","lat":-45,"lon":-180,"t":"u","inregions":["Depot"]}"#,
    r#"{"_type":"transition","lat":45.1,"lon":13.7,"event":"enter","tst":1}"#,
];

const OVERLAND: &[&str] = &[
    r#"{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":[13.7142,45.2735]},"properties":{"timestamp":"2026-11-22T12:18:20-0800","altitude":12,"speed":4,"horizontal_accuracy":30,"battery_level":0.89}}]}"#,
    r#"{"locations":[],"current":{"geometry":{"coordinates":[1,2,3]}},"trip":{}}"#,
];

const OSMAND: &[&str] = &[
    "id=48241179&timestamp=1795378700&lat=45.2735&lon=13.7142&speed=19.4&bearing=270.5&altitude=12.7&accuracy=5.4&batt=83.0",
    "location=45.5,13.5&timestamp=2026-11-22%2020:18:20&valid=true",
    r#"{"location":{"coords":{"latitude":1,"longitude":2},"timestamp":"2026-11-22T20:18:20Z"}}"#,
];

const WORDS: &[&str] = &[
    "\"_type\":",
    "\"coordinates\":[",
    "\"lon\":",
    "&lat=",
    "&lon=",
    "location=",
    "%",
    "%00",
    "+",
    "91",
    "-180.5",
    "-Infinity",
    "\u{feff}",
];

fn check(read: Result<Fixes, UnreadableBody>) -> Result<(), TestCaseError> {
    let Ok(fixes) = read else { return Ok(()) };
    // Overland may say where it is now beside a full batch.
    prop_assert!(fixes.len() <= MAX_FIXES + 1);
    fixes.iter().flatten().try_for_each(check_location)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_fix_of_a_tracker_keeps_every_limit(
        message in mutated(OWNTRACKS, WORDS), batch in mutated(OVERLAND, WORDS),
        query in mutated(OSMAND, WORDS), form in mutated(OSMAND, WORDS),
    ) {
        check(read_owntracks(&message))?;
        check(read_overland(&batch))?;
        check(read_osmand(&query, ""))?;
        check(read_osmand(&query, &form))?;
    }

    #[test]
    fn all_trackers_read_a_place_the_same(
        lat in -90.0..=90.0, lon in -180.0..=180.0, accuracy in 0.5..100.0, heading in 0.0..=360.0,
        secs in 1_000_000_000..2_000_000_000_i64,
    ) {
        let message = format!(
            r#"{{"_type":"location","lat":{lat},"lon":{lon},"acc":{accuracy},"cog":{heading},"tst":{secs}}}"#
        );
        let properties = format!(
            r#""timestamp":{secs},"horizontal_accuracy":{accuracy},"course":{heading}"#
        );
        let batch = format!(
            r#"{{"locations":[{{"geometry":{{"coordinates":[{lon},{lat}]}},"properties":{{{properties}}}}}]}}"#
        );
        let query = format!("lat={lat}&lon={lon}&accuracy={accuracy}&heading={heading}&timestamp={secs}");
        let expected = read_owntracks(&message);
        prop_assert_eq!(&read_overland(&batch), &expected);
        prop_assert_eq!(&read_osmand(&query, ""), &expected);
        prop_assert!(expected.is_ok_and(|fixes| fixes.len() == 1 && fixes[0].is_ok()));
    }
}

#[test]
fn the_inputs_are_good() {
    let is_good = |read: Result<Fixes, UnreadableBody>| {
        read.is_ok_and(|fixes| fixes.iter().all(Result::is_ok))
    };
    assert!(OWNTRACKS.iter().all(|body| is_good(read_owntracks(body))));
    assert!(OVERLAND.iter().all(|body| is_good(read_overland(body))));
    assert!(
        OSMAND.iter().all(|text| is_good(read_osmand(text, "")) || is_good(read_osmand("", text)))
    );
}
