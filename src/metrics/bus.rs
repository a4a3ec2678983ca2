//! Metrics of the bus between nodes.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::{LabeledCounters, counter, gauge};

/// The label values of the bus's metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct BusLabels {
    /// Kinds of events.
    pub kinds: &'static [&'static str],
    /// Why what came in is ignored.
    pub ignored: &'static [&'static str],
    /// How connections end.
    pub failures: &'static [&'static str],
}

/// Metrics of the bus between nodes. A single node counts nothing here.
#[derive(Debug)]
pub struct BusMetrics {
    /// 1 while this node hears the others; also where there are no others.
    pub up: Gauge,
    /// The nodes that are there, this one included.
    pub nodes: Gauge,
    /// Published events, by kind.
    pub published: LabeledCounters,
    /// Events of other nodes, by kind.
    pub received: LabeledCounters,
    /// Waiting positions that a newer one replaced.
    pub conflated: Counter,
    /// Events that were not published, or perhaps not, by kind.
    pub dropped: LabeledCounters,
    /// Events of other nodes that found no place, by kind.
    pub incoming_dropped: LabeledCounters,
    /// What came in and was ignored, by reason.
    pub ignored: LabeledCounters,
    /// Connections that ended, by how.
    pub failures: LabeledCounters,
    /// How long the node's own echo took.
    pub round_trip: Histogram,
    /// Rooms that had sent out what the database does not have.
    pub rooms_ahead: Counter,
}

impl BusMetrics {
    pub(super) fn register(registry: &mut Registry, labels: &BusLabels) -> Self {
        let r = registry;
        let round_trip = Histogram::new(exponential_buckets(0.000_1, 2.0, 14));
        let help = "How long the node's own echo took";
        r.register_with_unit("bus_round_trip", help, Unit::Seconds, round_trip.clone());
        let kinds = |r: &mut Registry, name, help| {
            LabeledCounters::register(r, name, help, "kind", labels.kinds)
        };
        let reasons = |r: &mut Registry, name, help, reasons| {
            LabeledCounters::register(r, name, help, "reason", reasons)
        };
        let up = gauge(r, "bus_up", "1: this node hears the others, or is the only one");
        up.set(1);
        let nodes = gauge(r, "nodes", "Nodes of the cluster that are there, this one included");
        nodes.set(1);
        Self {
            up,
            nodes,
            published: kinds(r, "bus_published", "Events published to other nodes"),
            received: kinds(r, "bus_received", "Events of other nodes"),
            conflated: counter(r, "bus_conflated", "Waiting positions that a newer one replaced"),
            dropped: kinds(r, "bus_dropped", "Events that were perhaps not published"),
            incoming_dropped: kinds(
                r,
                "bus_incoming_dropped",
                "Events of other nodes that found no place",
            ),
            ignored: reasons(r, "bus_ignored", "What came in and is not read", labels.ignored),
            failures: reasons(r, "bus_failures", "Connections that ended", labels.failures),
            round_trip,
            rooms_ahead: counter(
                r,
                "rooms_ahead",
                "Rooms that had sent out what the database does not have",
            ),
        }
    }
}
