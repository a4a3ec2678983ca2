//! A trail as `GeoJSON` (RFC 7946): a line per driver.

use serde::Serialize;
use utoipa::ToSchema;

use crate::actors::store::{TrailPage, TrailPoint};
use crate::ids::{OrderId, UserId};
use crate::time::Timestamp;

/// A page of a trail.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FeatureCollection<'a> {
    r#type: &'static str,
    features: Vec<Feature<'a>>,
    /// The `since` of the next page; null on the last.
    next_since: Option<Timestamp>,
}

/// Where one driver was.
#[derive(Serialize, ToSchema)]
pub(super) struct Feature<'a> {
    r#type: &'static str,
    geometry: Geometry,
    properties: Properties<'a>,
}

/// Each place is longitude, latitude.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", content = "coordinates")]
pub(super) enum Geometry {
    LineString(Vec<[f64; 2]>),
    /// A line has at least two places.
    Point([f64; 2]),
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Properties<'a> {
    order_id: &'a OrderId,
    driver_id: &'a UserId,
    /// One for each place.
    times: Vec<Timestamp>,
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
    let places: Vec<[f64; 2]> = line.iter().map(|point| [point.lng, point.lat]).collect();
    let geometry = match places[..] {
        [place] => Geometry::Point(place),
        _ => Geometry::LineString(places),
    };
    let times = line.iter().map(|point| point.at).collect();
    let properties = Properties { order_id, driver_id, times };
    Feature { r#type: "Feature", geometry, properties }
}
