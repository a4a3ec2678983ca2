//! A trail as `GeoJSON` (RFC 7946): one line per driver, split where it crosses 180 degrees.

use serde::Serialize;
use utoipa::ToSchema;

use crate::actors::store::{TrailPage, TrailPoint};
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// A page of a trail.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FeatureCollection<'a> {
    r#type: &'static str,
    features: Vec<Feature<'a>>,
    /// The `since` of the next page; null on the last page.
    next_since: Option<Timestamp>,
}

/// The trail of one driver.
#[derive(Serialize, ToSchema)]
pub(super) struct Feature<'a> {
    r#type: &'static str,
    geometry: Geometry,
    properties: Properties<'a>,
}

/// Each place is a pair of longitude and latitude.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", content = "coordinates")]
pub(super) enum Geometry {
    LineString(Vec<[f64; 2]>),
    /// The parts of a line that crosses 180 degrees (section 3.1.9).
    MultiLineString(Vec<Vec<[f64; 2]>>),
    /// A single place, because a line has at least two.
    Point([f64; 2]),
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Properties<'a> {
    order_id: &'a OrderId,
    driver_id: &'a UserId,
    /// One time for each place, nested as the places are.
    times: Times,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Times {
    OfPlaces(Vec<Timestamp>),
    OfParts(Vec<Vec<Timestamp>>),
}

/// A driver's place and its time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    lng: f64,
    lat: f64,
    at: Timestamp,
}

// === impl FeatureCollection ===

impl<'a> FeatureCollection<'a> {
    pub(super) fn new(order: &'a OrderId, page: &'a TrailPage) -> Self {
        let mut lines: Vec<(&UserId, Vec<&TrailPoint>)> = Vec::new();
        for point in &page.points {
            match lines.iter_mut().find(|(driver, _)| **driver == point.driver_id) {
                Some((_, line)) => line.push(point),
                None => lines.push((&point.driver_id, vec![point])),
            }
        }
        let features = lines.iter().map(|(driver, line)| feature(order, driver, line)).collect();
        Self { r#type: "FeatureCollection", features, next_since: page.next }
    }
}

fn feature<'a>(order_id: &'a OrderId, driver_id: &'a UserId, line: &[&TrailPoint]) -> Feature<'a> {
    let place = |point: &&TrailPoint| Place { lng: point.lng, lat: point.lat, at: point.at };
    let mut parts = cut(line.iter().map(place));
    let whole = if parts.len() == 1 { parts.pop() } else { None };
    let (geometry, times) = match whole.as_deref() {
        Some([alone]) => (Geometry::Point(alone.coordinates()), Times::OfPlaces(vec![alone.at])),
        Some(line) => (Geometry::LineString(coordinates(line)), Times::OfPlaces(times(line))),
        None => (
            Geometry::MultiLineString(parts.iter().map(|part| coordinates(part)).collect()),
            Times::OfParts(parts.iter().map(|part| times(part)).collect()),
        ),
    };
    let properties = Properties { order_id, driver_id, times };
    Feature { r#type: "Feature", geometry, properties }
}

fn coordinates(part: &[Place]) -> Vec<[f64; 2]> {
    part.iter().map(Place::coordinates).collect()
}

fn times(part: &[Place]) -> Vec<Timestamp> {
    part.iter().map(|place| place.at).collect()
}

/// Splits a line into parts. Where one part ends at 180 degrees the next begins on the other side.
fn cut(line: impl Iterator<Item = Place>) -> Vec<Vec<Place>> {
    let mut parts: Vec<Vec<Place>> = Vec::new();
    for place in line {
        match parts.last_mut() {
            None => parts.push(vec![place]),
            Some(part) => match part.last().and_then(|last| last.crossing(place)) {
                None => part.push(place),
                Some((end, begin)) => {
                    part.push(end);
                    parts.push(vec![begin, place]);
                }
            },
        }
    }
    parts
}

// === impl Place ===

impl Place {
    fn coordinates(&self) -> [f64; 2] {
        [self.lng, self.lat]
    }

    /// The crossing of 180 degrees on the short way to the next place, once for either side; `None`
    /// where the way does not cross.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "milliseconds between two points of a trail"
    )]
    fn crossing(&self, next: Self) -> Option<(Self, Self)> {
        if (next.lng - self.lng).abs() <= 180.0 {
            return None;
        }
        let side = 180.0_f64.copysign(self.lng);
        let way = next.lng + 2.0 * side - self.lng;
        // From 180 degrees to -180 there is no distance.
        let part = if way == 0.0 { 0.0 } else { (side - self.lng) / way };
        let lat = self.lat + (next.lat - self.lat) * part;
        let ms = (next.at.as_millis() - self.at.as_millis()) as f64 * part;
        let at = Timestamp::from_millis(self.at.as_millis() + ms as i64);
        Some((Self { lng: side, lat, at }, Self { lng: -side, lat, at }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lng: f64, lat: f64, secs: i64) -> Place {
        Place { lng, lat, at: Timestamp::from_secs(secs) }
    }

    #[test]
    fn a_line_is_cut_where_it_crosses_180_degrees() {
        let line =
            [at(179.0, 0.0, 0), at(-179.0, 2.0, 10), at(-178.0, 2.0, 20), at(178.0, 6.0, 60)];
        let expected = vec![
            vec![at(179.0, 0.0, 0), at(180.0, 1.0, 5)],
            vec![at(-180.0, 1.0, 5), at(-179.0, 2.0, 10), at(-178.0, 2.0, 20), at(-180.0, 4.0, 40)],
            vec![at(180.0, 4.0, 40), at(178.0, 6.0, 60)],
        ];
        assert_eq!(cut(line.into_iter()), expected);
    }

    #[test]
    fn a_line_that_only_touches_180_degrees_keeps_two_places_in_each_part() {
        let parts = cut([at(179.0, 0.0, 0), at(180.0, 0.0, 1), at(-179.0, 0.0, 2)].into_iter());
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(parts[1][0], at(-180.0, 0.0, 1));
        let parts = cut([at(180.0, 1.0, 0), at(-180.0, 1.0, 9)].into_iter());
        assert_eq!(
            parts,
            [[at(180.0, 1.0, 0); 2].to_vec(), vec![at(-180.0, 1.0, 0), at(-180.0, 1.0, 9)]]
        );
        let far = cut([at(-90.0, 0.0, 0), at(90.0, 0.0, 9)].into_iter());
        assert_eq!(far.len(), 1, "half round the earth leads either way");
        assert_eq!(cut([].into_iter()), Vec::<Vec<Place>>::new());
    }
}
