//! Metrics that are constant while a hub runs: the program's version, and the limits with which
//! other metrics are compared.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Metrics;
use crate::process::{COMMIT, VERSION};

/// A limit's name and value; 0 means unlimited. It has the name of the gauge that counts the same
/// resource, if there is one.
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

/// Shows the program's version and commit.
pub(super) fn register_build(registry: &mut Registry) {
    let mut labels = vec![("version", VERSION)];
    labels.extend(COMMIT.map(|commit| ("commit", commit)));
    registry.register("build", "Which program this is", Info::new(labels));
}
