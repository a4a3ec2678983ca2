//! What stays the same while a hub runs: which program it is, and the limits against which its other
//! metrics are held.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Metrics;
use crate::process::{COMMIT, VERSION};

/// A limit: of what, and how much; 0 where there is none. Where a gauge counts the same it is called
/// as that gauge is.
pub type Limit = (&'static str, usize);

impl Metrics {
    /// Shows the limits of this hub.
    pub fn show_limits(&mut self, limits: impl IntoIterator<Item = Limit>) {
        let family = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        for (of, most) in limits {
            let gauge = family.get_or_create(&[("limit", of)]).clone();
            gauge.set(i64::try_from(most).unwrap_or(i64::MAX));
        }
        self.registry.register("limit", "The most that there may be; 0 for no limit", family);
    }
}

/// Shows which program this is.
pub(super) fn register_build(registry: &mut Registry) {
    let mut labels = vec![("version", VERSION)];
    labels.extend(COMMIT.map(|commit| ("commit", commit)));
    registry.register("build", "Which program this is", Info::new(labels));
}
