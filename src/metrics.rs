//! The hub's metrics, with the names that Prometheus sees.
//!
//! Label values are fixed lists, given once by the layers that own the words ([`LabelValues`]). So
//! counting on the hot path is one array index and one relaxed atomic addition.

mod bus;
mod classic;
mod constants;
mod hooks;
mod log_losses;
mod process_collector;
mod webhooks;

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use self::bus::{BusLabels, BusMetrics};
pub use self::constants::Limit;
pub use self::hooks::{HookMetrics, HookResult};
use self::log_losses::LogLossCollector;
pub use self::log_losses::{LOG_LOSSES, LogLosses};
use self::process_collector::ProcessCollector;
pub use self::webhooks::{WebhookMetrics, WebhookResult};

/// The label values of the metrics that are counted by name. By default there are none, and only
/// totals are counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LabelValues {
    /// Events that clients send.
    pub events_in: &'static [&'static str],
    /// Events that the hub sends.
    pub events_out: &'static [&'static str],
    /// Error codes of refused events.
    pub errors: &'static [&'static str],
    /// Reasons of closes: those that the hub decides, and the other ends of connections.
    pub closes: &'static [&'static str],
    /// Framings.
    pub framings: &'static [&'static str],
    /// Roles of users.
    pub roles: &'static [&'static str],
    /// Why the times of fixes were changed.
    pub time_corrections: &'static [&'static str],
    /// Those of the bus.
    pub bus: BusLabels,
}

/// All metrics of one hub.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Metrics of the process, with their usual names without a prefix.
    process: Registry,
    /// Open sessions, by framing and role.
    pub connections: LabeledGauges,
    /// Rooms in memory.
    pub rooms: Gauge,
    /// Ended sessions that can be resumed.
    pub resumable_sessions: Gauge,
    /// Events that clients sent, by name.
    pub events_in: LabeledCounters,
    /// Events that the hub sent, by name; a broadcast counts once.
    pub events_out: LabeledCounters,
    /// Frames handed to outboxes: a broadcast to twenty members counts twenty.
    pub deliveries: Counter,
    /// Waiting frames that were replaced by a newer one of the same key, or dropped at a limit.
    pub conflated: Counter,
    /// Bytes that wait in outboxes of blocked sockets.
    pub outbox_bytes: Gauge,
    /// Ended sessions, by reason.
    pub closes: LabeledCounters,
    /// Refused events, by error code.
    pub rejected: LabeledCounters,
    /// Locations dropped because they were older than the room's, because the room was busy, or
    /// because their session had just been removed from it.
    pub locations_dropped: Counter,
    /// Upgrades refused because the node was full or draining.
    pub upgrades_refused: Counter,
    /// Handshakes of Socket.IO clients with a version that the hub does not serve.
    pub unsupported_clients: Counter,
    /// HTTP connections that are not `WebSocket`s.
    pub http_connections: Gauge,
    /// HTTP connections and requests refused, by the limit that was reached.
    pub http_refused: LabeledCounters,
    /// Bytes of request bodies and answers in progress.
    pub http_buffer: Gauge,
    /// From a chat message's admission to its commit.
    pub chat_commit: Histogram,
    /// Messages per commit.
    pub chat_batch: Histogram,
    /// Chat messages that wait for a commit.
    pub store_queue: Gauge,
    /// Positions that wait to be stored: last positions, and fixes of trails.
    pub positions_queue: Gauge,
    /// Positions that were to be stored later, and were lost.
    pub positions_lost: Counter,
    /// Fixes posted over HTTP, by outcome.
    pub posted: LabeledCounters,
    /// Fixes with an impossible time that was corrected, by what was wrong.
    pub position_times_corrected: LabeledCounters,
    /// Failed database operations.
    pub store_errors: Counter,
    /// 1 when the hub has stopped using its database until it is restarted.
    pub database_fenced: Gauge,
    /// Rooms that panicked.
    pub room_panics: Counter,
    /// HTTP connections that ended in an error, by kind.
    pub http_connection_errors: LabeledCounters,
    /// Webhooks.
    pub webhooks: WebhookMetrics,
    /// Questions to the back end.
    pub hooks: HookMetrics,
    /// The bus between nodes.
    pub bus: BusMetrics,
}

impl Metrics {
    /// A new set of metrics.
    pub fn new(labels: &LabelValues) -> Self {
        let mut registry = Registry::with_prefix("orderhub");
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessCollector));
        constants::register_build(&mut registry);
        let r = &mut registry;
        r.register_collector(Box::new(LogLossCollector));
        Self {
            connections: LabeledGauges::register(r, labels),
            rooms: gauge(r, "rooms", "Occupied rooms"),
            resumable_sessions: gauge(r, "resumable_sessions", "Ended sessions that are kept"),
            events_in: LabeledCounters::register(
                r,
                "events_in",
                "Client events",
                "event",
                labels.events_in,
            ),
            events_out: LabeledCounters::register(
                r,
                "events_out",
                "Hub events",
                "event",
                labels.events_out,
            ),
            deliveries: counter(r, "deliveries", "Frames handed to outboxes"),
            conflated: counter(
                r,
                "conflated_locations",
                "Waiting frames that a newer one replaced",
            ),
            outbox_bytes: bytes(r, "outbox", "Bytes that wait for slow sockets"),
            closes: LabeledCounters::register(
                r,
                "closes",
                "Ended sessions",
                "reason",
                labels.closes,
            ),
            rejected: LabeledCounters::register(
                r,
                "rejected",
                "Refused events",
                "code",
                labels.errors,
            ),
            locations_dropped: counter(r, "locations_dropped", "Stale or surplus locations"),
            upgrades_refused: counter(r, "upgrades_refused", "Upgrades refused: full or draining"),
            unsupported_clients: counter(
                r,
                "unsupported_clients",
                "Socket.IO handshakes of a version that is not served",
            ),
            http_connections: gauge(r, "http_connections", "HTTP connections but WebSockets"),
            http_refused: LabeledCounters::register(
                r,
                "http_refused",
                "HTTP connections and requests that found no place",
                "limit",
                HTTP_LIMITS,
            ),
            http_buffer: bytes(r, "http_buffer", "Request bodies and answers under way"),
            chat_commit: latency(r, "chat_commit", "From admission to commit of a chat message"),
            chat_batch: sizes(r, "chat_batch_messages", "Chat messages per commit"),
            store_queue: gauge(r, "store_queue_messages", "Chat messages that wait for a commit"),
            positions_queue: gauge(r, "store_queue_positions", "Positions that wait for a commit"),
            positions_lost: counter(r, "positions_lost", "Positions that were not written"),
            posted: LabeledCounters::register(
                r,
                "posted_fixes",
                "Fixes by HTTP",
                "fate",
                FIX_OUTCOMES,
            ),
            position_times_corrected: LabeledCounters::register(
                r,
                "position_times_corrected",
                "Times of fixes that cannot be right",
                "reason",
                labels.time_corrections,
            ),
            store_errors: counter(r, "store_errors", "Failed database operations"),
            database_fenced: gauge(r, "database_fenced", "1: the database is not used any more"),
            room_panics: counter(r, "room_panics", "Rooms that panicked"),
            http_connection_errors: LabeledCounters::register(
                r,
                "http_connection_errors",
                "HTTP connections that ended in an error",
                "reason",
                CONNECTION_ERRORS,
            ),
            webhooks: WebhookMetrics::register(r),
            hooks: HookMetrics::register(r),
            bus: BusMetrics::register(r, &labels.bus),
            registry,
            process,
        }
    }

    /// The text that `GET /metrics` answers (`OpenMetrics` 1.0).
    ///
    /// # Errors
    /// When a metric cannot be written as text, which would be a bug.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        prometheus_client::encoding::text::encode_registry(&mut text, &self.registry)?;
        prometheus_client::encoding::text::encode(&mut text, &self.process)?;
        Ok(text)
    }

    /// The same text in the classic format (0.0.4).
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_classic(&self) -> Result<String, std::fmt::Error> {
        Ok(classic::classic(&self.encode()?))
    }
}

/// How an HTTP connection ends in an error: the client sent no valid HTTP, was too slow, was gone,
/// or another reason.
pub const CONNECTION_ERRORS: &[&str] = &["malformed", "timeout", "lost", "other"];

/// The limits of HTTP connections.
pub const HTTP_LIMITS: &[&str] = &["node", "address", "user"];

/// Outcomes of a fix that is posted over HTTP.
pub const FIX_OUTCOMES: &[&str] = &["accepted", "stale", "rejected"];

type Label = [(&'static str, &'static str); 1];

/// One counter for each word of a fixed list.
#[derive(Debug)]
pub struct LabeledCounters {
    labels: &'static [&'static str],
    cells: Vec<Counter<u64, AtomicU64>>,
}

// === impl LabeledCounters ===

impl LabeledCounters {
    fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        label: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        let family = Family::<Label, Counter>::default();
        let cells =
            labels.iter().map(|word| family.get_or_create(&[(label, *word)]).clone()).collect();
        registry.register(name, help, family);
        Self { labels, cells }
    }

    /// Counts one for the word at `index` of the list. An index beyond the list counts nothing.
    pub fn inc(&self, index: usize) {
        if let Some(cell) = self.cells.get(index) {
            cell.inc();
        }
    }

    /// Counts `count` at once.
    pub fn inc_by(&self, index: usize, count: u64) {
        if let Some(cell) = self.cells.get(index) {
            cell.inc_by(count);
        }
    }

    /// Each word with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.labels.iter().zip(&self.cells).map(|(word, cell)| (*word, cell.get()))
    }
}

/// A gauge per framing and role.
#[derive(Debug)]
pub struct LabeledGauges {
    roles: &'static [&'static str],
    framings: &'static [&'static str],
    cells: Vec<Gauge>,
}

// === impl LabeledGauges ===

impl LabeledGauges {
    fn register(registry: &mut Registry, labels: &LabelValues) -> Self {
        let family = Family::<[(&'static str, &'static str); 2], Gauge>::default();
        let mut cells = Vec::with_capacity(labels.framings.len() * labels.roles.len());
        for framing in labels.framings {
            for role in labels.roles {
                let labels = [("framing", *framing), ("role", *role)];
                cells.push(family.get_or_create(&labels).clone());
            }
        }
        registry.register("connections", "Open sessions", family);
        Self { roles: labels.roles, framings: labels.framings, cells }
    }

    /// The gauge of one framing and role, by their indexes in the label values.
    pub fn at(&self, framing: usize, role: usize) -> Option<&Gauge> {
        self.cells.get(framing * self.roles.len() + role)
    }

    /// Each framing and role with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, i64)> + '_ {
        let pairs = self.framings.iter().flat_map(|f| self.roles.iter().map(move |r| (*f, *r)));
        pairs.zip(&self.cells).map(|((framing, role), cell)| (framing, role, cell.get()))
    }

    /// Open sessions in all.
    pub fn total(&self) -> i64 {
        self.cells.iter().map(Gauge::get).sum()
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn bytes(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
    gauge
}

fn latency(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.000_5, 2.0, 14));
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

fn sizes(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(1.0, 2.0, 9));
    registry.register(name, help, histogram.clone());
    histogram
}

#[cfg(test)]
mod tests;
