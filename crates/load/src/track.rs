//! The track that drivers follow: a GPX or CSV file, or a generated one.

use roxmltree::{Document, Node, NodeId, ParsingOptions};

use super::rng::Rng;
use protocol::lenient::without_mark;
use protocol::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    /// Seconds from the beginning.
    at: f64,
    lat: f64,
    lng: f64,
}

/// A driver's position at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackPosition {
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lng: f64,
    /// Degrees from north, clockwise.
    pub heading: f64,
    /// Metres per second.
    pub speed: f64,
}

/// A track, driven back and forth without end.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    points: Vec<Point>,
}

/// The speed on a track without times, in metres per second.
const USUAL_SPEED: f64 = 10.0;
/// The longest track, in seconds. Longer times are invalid: a typing error, or another unit.
const MAX_LENGTH: f64 = 1e9;
/// How many metres a degree of latitude has.
const DEGREE: f64 = 111_195.0;

impl Track {
    /// Reads a track: GPX if the text looks like XML, else CSV with the columns `lat`, `lng` (or
    /// `lon`) and, optionally, `time` (seconds or RFC 3339). If a file has several tracks, the
    /// longest in time is used, because nothing connects one to the next.
    ///
    /// # Errors
    /// A sentence if a point cannot be read, or if there are fewer than two.
    pub fn read(text: &str) -> Result<Self, String> {
        let text = without_mark(text).trim_start();
        let found = if text.starts_with('<') { gpx(text)? } else { vec![csv(text)?] };
        let outside = |(lat, lng, _): &&(f64, f64, Option<f64>)| {
            !(-90.0..=90.0).contains(lat) || !(-180.0..=180.0).contains(lng)
        };
        if let Some((lat, lng, _)) = found.iter().flatten().find(outside) {
            return Err(format!("{lat}, {lng} is no place on earth"));
        }
        let most = found.iter().map(Vec::len).max().unwrap_or_default();
        let tracks = found.iter().filter(|points| points.len() >= 2);
        tracks
            .map(|points| Self { points: timed(points) })
            .max_by(|one, other| one.length().total_cmp(&other.length()))
            .ok_or_else(|| format!("it has {most} points, a track needs two"))
    }

    /// A track of ten minutes through a town.
    pub fn sample(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (mut lat, mut lng, mut heading) = (48.2085, 16.3721, rng.unit() * 360.0);
        let mut points = Vec::new();
        for second in 0..600 {
            points.push(Point { at: f64::from(second), lat, lng });
            // A turn at a crossing now and then, and slight bends in between.
            heading += if rng.below(20) == 0 { 90.0 } else { rng.unit() * 8.0 - 4.0 };
            let metres = 6.0 + rng.unit() * 8.0;
            lat += metres * heading.to_radians().cos() / DEGREE;
            lng += metres * heading.to_radians().sin() / (DEGREE * lat.to_radians().cos());
        }
        Self { points }
    }

    /// How many seconds the track takes in one direction.
    pub fn length(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.at).max(1e-3)
    }

    /// Where a driver is after so many seconds.
    pub fn at(&self, seconds: f64) -> TrackPosition {
        let length = self.length();
        let along = seconds.max(0.0) % (2.0 * length);
        let back = along > length;
        let along = if back { 2.0 * length - along } else { along };
        let next = self.points.partition_point(|point| point.at <= along);
        let next = next.clamp(1, self.points.len() - 1);
        let (from, to) = (self.points[next - 1], self.points[next]);
        let part = ((along - from.at) / (to.at - from.at).max(1e-3)).clamp(0.0, 1.0);
        let (north, east) = metres(from, to);
        let turn = if back { 180.0 } else { 0.0 };
        TrackPosition {
            lat: from.lat + (to.lat - from.lat) * part,
            lng: on_earth(from.lng + (to.lng - from.lng) * part),
            heading: (east.atan2(north).to_degrees() + turn).rem_euclid(360.0),
            speed: north.hypot(east) / (to.at - from.at).max(1e-3),
        }
    }
}

/// A longitude in the usual range, from one that may exceed 180 degrees.
fn on_earth(lng: f64) -> f64 {
    if (-180.0..=180.0).contains(&lng) { lng } else { (lng + 180.0).rem_euclid(360.0) - 180.0 }
}

/// The distance in metres, to the north and to the east.
fn metres(from: Point, to: Point) -> (f64, f64) {
    let east = (to.lng - from.lng) * DEGREE * from.lat.to_radians().cos();
    ((to.lat - from.lat) * DEGREE, east)
}

/// Gives every point a time: the track's own if it increases, else by the default speed.
fn timed(found: &[(f64, f64, Option<f64>)]) -> Vec<Point> {
    let begin = found.first().and_then(|(_, _, at)| *at).unwrap_or(0.0);
    let mut points: Vec<Point> = Vec::with_capacity(found.len());
    for &(lat, lng, at) in found {
        let mut point = Point { at: 0.0, lat, lng };
        if let Some(last) = points.last() {
            // The shorter way, which may cross 180 degrees.
            point.lng += 360.0 * ((last.lng - lng) / 360.0).round();
            let (north, east) = metres(*last, point);
            let guess = last.at + (north.hypot(east) / USUAL_SPEED).max(0.1);
            let told = at.map(|at| at - begin).filter(|at| *at > last.at && *at <= MAX_LENGTH);
            point.at = told.unwrap_or(guess);
        }
        points.push(point);
    }
    points
}

type Found = Vec<(f64, f64, Option<f64>)>;

/// The points of each track of a GPX file; if it has no tracks, of each route; if it has no routes,
/// of all waypoints.
fn gpx(text: &str) -> Result<Vec<Found>, String> {
    // Some programs write a document type before it.
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document =
        Document::parse_with_options(text, options).map_err(|error| error.to_string())?;
    for (line, point) in [("trk", "trkpt"), ("rte", "rtept"), ("gpx", "wpt")] {
        let points = document.descendants().filter(|node| is_named(*node, point));
        let mut found: Vec<(Option<NodeId>, Found)> = Vec::new();
        for node in points {
            let of = node.ancestors().find(|node| is_named(*node, line)).map(|node| node.id());
            let read = gpx_point(node)?;
            match found.last_mut().filter(|(last, _)| *last == of) {
                Some((_, points)) => points.push(read),
                None => found.push((of, vec![read])),
            }
        }
        if !found.is_empty() {
            return Ok(found.into_iter().map(|(_, points)| points).collect());
        }
    }
    Err("it has no points".to_owned())
}

fn gpx_point(node: Node<'_, '_>) -> Result<(f64, f64, Option<f64>), String> {
    let number = |name| node.attribute(name)?.trim().parse::<f64>().ok();
    let time = node.children().find(|child| is_named(*child, "time"));
    let time = time.map(|time| time.descendants().filter_map(text_of).collect::<String>());
    let here = number("lat").zip(number("lon"));
    here.map(|(lat, lng)| (lat, lng, time.and_then(|time| clock(&time)))).ok_or_else(|| {
        let place = node.document().text_pos_at(node.range().start);
        format!("a point without lat and lon, at {place}")
    })
}

/// Whether the element has this name, in any namespace: GPX has two.
fn is_named(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

fn text_of<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.text().filter(|_| node.is_text())
}

/// A time in seconds, from a number or from RFC 3339.
fn clock(text: &str) -> Option<f64> {
    let text = text.trim();
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite());
    seconds.or_else(|| {
        let read: Timestamp = serde_json::from_value(text.into()).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of today fit")]
        Some(read.as_millis() as f64 / 1000.0)
    })
}

fn csv(text: &str) -> Result<Found, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, head)) = lines.next() else { return Err("it has no points".to_owned()) };
    let columns: Vec<String> = head.split(',').map(|name| name.trim().to_lowercase()).collect();
    let column = |names: &[&str]| columns.iter().position(|name| names.contains(&name.as_str()));
    let lat = column(&["lat", "latitude"]);
    let Some((lat, lng)) = lat.zip(column(&["lng", "lon", "longitude"])) else {
        return Err("its first line must name the columns lat and lng".to_owned());
    };
    let time = column(&["time", "timestamp", "seconds"]);
    let row = |(number, line): (usize, &str)| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let cell = |place: usize| cells.get(place).and_then(|text| text.parse::<f64>().ok());
        let at = time.and_then(|place| clock(cells.get(place)?));
        let here = cell(lat).zip(cell(lng));
        here.map(|(lat, lng)| (lat, lng, at))
            .ok_or_else(|| format!("line {}: no numbers for lat and lng", number + 1))
    };
    lines.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPX: &str = "<?xml version=\"1.0\"?><gpx><trk><trkseg>\
        <trkpt lat=\"45.0\" lon=\"13.0\"><ele>2</ele><time>2020-12-18T06:15:50Z</time></trkpt>\
        <trkpt lon='13.0' lat='45.001'><time>2020-12-18T06:16:00Z</time></trkpt>\
        </trkseg></trk></gpx>";

    #[test]
    fn a_gpx_track_is_driven_forth_and_back() {
        let track = Track::read(GPX).expect("a track");
        let middle = track.at(5.0);
        assert!((middle.lat - 45.0005).abs() < 1e-9);
        assert!((middle.speed - 11.1195).abs() < 1e-6 && middle.heading.abs() < 1e-6);
        let back = track.at(15.0);
        assert!((back.lat - 45.0005).abs() < 1e-9 && (back.heading - 180.0).abs() < 1e-6);
        assert_eq!(track.at(20.0).lat.to_bits(), 45.0_f64.to_bits());
    }

    #[test]
    fn gpx_is_read_as_the_xml_that_it_is() {
        let plain = Track::read(GPX).expect("a track");
        let odd = "\u{feff}<?xml version='1.0' encoding='UTF-8'?>\n<!-- <trkpt lat='0' lon='0'/> -->\
            <g:gpx version=\"1.1\" xmlns:g=\"http://www.topografix.com/GPX/1/1\">\
            <g:wpt lat=\"1\" lon=\"1\"><g:name>no track</g:name></g:wpt>\
            <g:trk><g:name><![CDATA[<trkpt lat=\"9\" lon=\"9\"/>]]></g:name><g:trkseg>\n\
            <g:trkpt\n lat = \" 45.0 \"\n lon='13.0' ><g:ele>2</g:ele>\
            <g:time>\n <![CDATA[2020-12-18T06:15:50Z]]><!-- UTC -->\n</g:time></g:trkpt>\
            <!-- a break --><g:trkpt lat='45.001' lon='13.0'><g:speed>11</g:speed>\
            <g:time>2020-12-18T06:16:00Z</g:time></g:trkpt></g:trkseg></g:trk></g:gpx>";
        assert_eq!(Track::read(odd), Ok(plain));
        let marked = Track::read("\u{feff}lat,lng\n45,13\n45.0009,13\n");
        assert_eq!(marked, Track::read("lat,lng\n45,13\n45.0009,13\n"));
    }

    #[test]
    fn nothing_leads_from_one_track_of_a_file_to_the_next() {
        let track = |lat: f64, points: u8| {
            let point = |n| format!("<trkpt lat='{}' lon='13'/>", lat + f64::from(n) / 1000.0);
            format!("<trk><trkseg>{}</trkseg></trk>", (0..points).map(point).collect::<String>())
        };
        let (short, long) = (track(45.0, 3), track(49.0, 5));
        let driven = Track::read(&format!("<gpx>{short}{long}{short}</gpx>")).expect("tracks");
        assert_eq!(Ok(driven.clone()), Track::read(&format!("<gpx>{long}</gpx>")));
        for second in 0..100 {
            let place = driven.at(f64::from(second));
            assert!((49.0..49.005).contains(&place.lat) && place.speed < 20.0, "{place:?}");
        }
    }

    #[test]
    fn the_way_across_180_degrees_is_the_short_one() {
        let gpx = "<gpx><trkpt lat='-17' lon='179.999'/><trkpt lat='-17' lon='180.0'/>\
            <trkpt lat='-17' lon='-179.999'/><trkpt lat='-17' lon='-179.998'/></gpx>";
        let csv = "lat,lng\n-17,179.999\n-17,180\n-17,-179.999\n-17,-179.998\n";
        let track = Track::read(gpx).expect("a track");
        assert_eq!(Ok(track.clone()), Track::read(csv));
        assert!((30.0..35.0).contains(&track.length()), "{}", track.length());
        for tenth in 0..700 {
            let place = track.at(f64::from(tenth) / 10.0);
            assert!(place.lng.abs() >= 179.997 && place.lng.abs() <= 180.0, "{place:?}");
            assert!(place.speed < 11.0, "{place:?}");
        }
        let end = track.at(track.length());
        assert!((end.lng + 179.998).abs() < 1e-9, "{end:?}");
    }

    #[test]
    fn a_csv_track_may_do_without_times() {
        let track = Track::read("lat,lng\n45,13\n45.0009,13\n").expect("a track");
        assert!((track.at(3.0).speed - USUAL_SPEED).abs() < 1e-6);
        let timed = Track::read("time,lon,lat\n100,13,45\n101,13,45.0009\n").expect("a track");
        assert!((timed.at(0.5).speed - 100.0).abs() < 0.1);
    }

    #[test]
    fn times_that_no_drive_has_are_guessed() {
        let track = Track::read("lat,lng,time\n45,13,-1e308\n45.0009,13,1e308\n45,13,1e307\n");
        let length = track.expect("a track").length();
        assert!((length - 2.0 * 10.00755).abs() < 1e-3, "{length}");
    }

    #[test]
    fn a_track_without_points_is_refused() {
        for (text, part) in [
            ("", "no points"),
            ("<gpx></gpx>", "no points"),
            ("<gpx><trkpt lat=\"1\" lon=\"2\"/></gpx>", "it has 1 points"),
            ("<gpx><trkpt lat=\"x\" lon=\"2\"/></gpx>", "without lat and lon, at 1:6"),
            ("<gpx><!-- <trkpt lat=\"1\" lon=\"2\"/> --></gpx>", "no points"),
            ("<gpx><trkpt lat=\u{ff29}1\u{ff29} lon=\"2\"/></gpx>", "at 1:17"),
            ("<gpx><trkpt lat=\"1 lon=2/></gpx>", "at 1:"),
            ("<gpx><trkpt lat=\"91\" lon=\"2\"/><trkpt lat=\"1\" lon=\"2\"/></gpx>", "no place"),
            ("a,b\n1,2\n", "columns lat and lng"),
            ("lat,lng\n1,2\n1\n", "line 3"),
            ("lat,lng\n", "it has 0 points"),
        ] {
            let error = Track::read(text).expect_err("bad");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_drive_that_is_made_up_repeats_with_its_seed() {
        assert_eq!(Track::sample(3), Track::sample(3));
        assert_ne!(Track::sample(3).at(60.0), Track::sample(4).at(60.0));
        assert!((5.0..15.0).contains(&Track::sample(3).at(60.0).speed));
    }
}
