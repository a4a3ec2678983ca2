//! Track files of the load generator.

use std::fmt::Write as _;

use load::track::Track;
use proptest::prelude::*;

use super::mutate::{config, mutated};

const TRACKS: &[&str] = &[
    "<?xml version=\"1.0\"?><gpx><trk><trkseg><trkpt lat=\"45.0\" lon=\"13.0\"><ele>2</ele>\
     <time>2020-12-18T06:15:50Z</time></trkpt><trkpt lon='13.0' lat='45.001'>\
     <time>2020-12-18T06:16:00Z</time></trkpt></trkseg></trk></gpx>",
    "<gpx><rte><rtept lat=\"1\" lon=\"2\"/><rtept lat=\"1.1\" lon=\"2.1\"/></rte></gpx>",
    "<gpx><wpt lat=\"-1\" lon=\"-179.9\"></wpt><wpt lat=\"-1\" lon=\"179.9\"></wpt></gpx>",
    "\u{feff}<g:gpx xmlns:g='http://www.topografix.com/GPX/1/1'><!-- a --><g:trk><g:trkpt lat='1' \
     lon='179.9'><g:time><![CDATA[5]]></g:time></g:trkpt><g:trkpt lat='1' lon='-179.9'/></g:trk>\
     <g:trk><g:trkpt lat='50' lon='1'/></g:trk></g:gpx>",
    "lat,lng\n45,13\n45.0009,13\n\n45.1,13.2\n",
    "time,lon,lat\n100,13,45\n101,13,45.0009\n",
    "timestamp , Latitude, Longitude\r\n2020-12-18T06:15:50Z,1,2\r\n2020-12-18T06:15:51Z,1.5,2\r\n",
];

const WORDS: &[&str] = &[
    "<trkpt",
    "<wpt",
    " lat=",
    " lon=",
    "<time>",
    "</time>",
    "1e308",
    "-1e308",
    "90",
    "-180",
    "lat,lng\n",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_driver_on_a_track_is_always_on_earth(
        text in mutated(TRACKS, WORDS), part in 0.0..4.0, far in any::<f64>(),
    ) {
        let Ok(track) = Track::read(&text) else { return Ok(()) };
        let length = track.length();
        prop_assert!(length > 0.0 && length.is_finite(), "{length}");
        for seconds in [0.0, part * length, length, 2.0 * length, far] {
            let place = track.at(seconds);
            prop_assert!((-90.0..=90.0).contains(&place.lat), "{place:?} after {seconds} s");
            prop_assert!((-180.0..=180.0).contains(&place.lng), "{place:?} after {seconds} s");
            prop_assert!((0.0..=360.0).contains(&place.heading), "{place:?} after {seconds} s");
            prop_assert!(place.speed >= 0.0 && place.speed.is_finite(), "{place:?}");
        }
    }

    #[test]
    fn a_table_and_gpx_of_the_same_points_are_the_same_track(
        points in proptest::collection::vec((-90.0..=90.0, -180.0..=180.0, 0.1..1000.0), 2..10),
    ) {
        let (mut table, mut gpx, mut at) = ("lat,lng,time\n".to_owned(), "<gpx>".to_owned(), 0.0);
        let mut times = Vec::new();
        for (lat, lng, pause) in &points {
            at += pause;
            times.push(at);
            writeln!(table, "{lat},{lng},{at}").expect("memory");
            let time = format_args!("<time>{at}</time>");
            write!(gpx, "<trkpt lat=\"{lat}\" lon=\"{lng}\">{time}</trkpt>").expect("memory");
        }
        gpx.push_str("</gpx>");
        let track = Track::read(&table).expect("a track");
        prop_assert_eq!(&track, &Track::read(&gpx).expect("a track"));
        for ((lat, lng, _), at) in points.iter().zip(&times).take(points.len() - 1) {
            let place = track.at(at - times[0]);
            prop_assert!((place.lat - lat).abs() < 1e-6 && (place.lng - lng).abs() < 1e-6);
        }
    }
}

#[test]
fn the_inputs_are_good() {
    for text in TRACKS {
        assert!(Track::read(text).is_ok(), "{text}: {:?}", Track::read(text));
    }
}
