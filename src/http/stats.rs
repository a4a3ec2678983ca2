//! `/admin/v1/stats`: statistics of all nodes together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hub;
use super::authorization::{May, ReadNode};
use super::openapi::problems::Refused;
use crate::actors::cluster::Question;
use crate::actors::shared::Shared;
use crate::process;

/// How long other nodes may take.
pub(super) const OTHERS_TIMEOUT: Duration = Duration::from_secs(1);

/// Events per second, measured over the last samples.
#[derive(Debug, Default)]
pub struct Rates {
    last: Mutex<Sample>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sample {
    at: Option<Instant>,
    events_in: u64,
    deliveries: u64,
    per_second: PerSecond,
}

/// Rates of all nodes.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PerSecond {
    events_in: f64,
    deliveries: f64,
}

/// Statistics of all nodes together.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Of the node that answers.
    uptime_secs: u64,
    /// Whether the node that answers is draining.
    draining: bool,
    connections: Connections,
    /// Rooms in memory; an order with members on two nodes has two.
    rooms: i64,
    per_second: PerSecond,
    /// Chat messages that wait to be stored.
    store_queue: usize,
    /// Bytes that wait for slow clients.
    outbox_bytes: i64,
    /// Ended sessions by reason.
    closes: BTreeMap<Cow<'static, str>, u64>,
    /// Refused events by error code.
    rejected: BTreeMap<Cow<'static, str>, u64>,
    /// Resident memory of the processes, where the system tells it.
    #[schema(required)]
    memory_bytes: Option<u64>,
    /// Nodes of the cluster that are not in it, because they did not answer within a second; absent
    /// if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    partial: Vec<Arc<str>>,
}

/// Open sessions, and how many connections there may be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Connections {
    open: i64,
    /// `MAX_CONNECTIONS`.
    most: usize,
    /// By framing, then by role.
    by: BTreeMap<Cow<'static, str>, BTreeMap<Cow<'static, str>, i64>>,
}

// === impl Rates ===

impl Rates {
    /// Takes a sample. The server calls this every few seconds.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn sample(&self, shared: &Shared, now: Instant) {
        let events_in = shared.metrics.events_in.iter().map(|(_, count)| count).sum();
        let deliveries = shared.metrics.deliveries.get();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = last.at.map(|at| (now - at).as_secs_f64()).filter(|seconds| *seconds > 0.0);
        if let Some(seconds) = seconds {
            last.per_second = PerSecond {
                events_in: (events_in - last.events_in) as f64 / seconds,
                deliveries: (deliveries - last.deliveries) as f64 / seconds,
            };
        }
        *last = Sample { at: Some(now), events_in, deliveries, ..*last };
    }

    fn per_second(&self) -> PerSecond {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).per_second
    }
}

/// Statistics of the hub, of all its nodes together
#[utoipa::path(get, path = "/admin/v1/stats", tag = "Admin",
    security(("token" = []), ("apiKey" = ["admin:read"])),
    responses((status = 200, description = "As of now", body = Stats), Refused))]
pub(super) async fn stats(hub: web::Data<Hub>, _: May<ReadNode>) -> web::Json<Stats> {
    let question = hub.shared.peers.question(|| Question::Stats);
    let others = hub.shared.peers.ask::<Stats>(question, OTHERS_TIMEOUT).await;
    let mut all = own(&hub);
    for other in others.answers {
        all.add(other);
    }
    all.partial = others.silent;
    web::Json(all)
}

/// Statistics of this node.
pub fn own(hub: &Hub) -> Stats {
    let (shared, metrics) = (&hub.shared, &hub.shared.metrics);
    let mut by = BTreeMap::<_, BTreeMap<_, _>>::new();
    for (framing, role, count) in metrics.connections.iter() {
        by.entry(framing.into()).or_default().insert(role.into(), count);
    }
    let named = |(name, count): (&'static str, u64)| (name.into(), count);
    Stats {
        uptime_secs: hub.started.elapsed().as_secs(),
        draining: shared.is_draining(),
        connections: Connections {
            open: metrics.connections.total(),
            most: shared.config.server.max_connections,
            by,
        },
        rooms: metrics.rooms.get(),
        per_second: hub.rates.per_second(),
        store_queue: shared.store.queued(),
        outbox_bytes: metrics.outbox_bytes.get(),
        closes: metrics.closes.iter().map(named).collect(),
        rejected: metrics.rejected.iter().map(named).collect(),
        memory_bytes: process::own_usage().map(|usage| usage.resident),
        partial: Vec::new(),
    }
}

impl Stats {
    /// Adds those of another node. Its numbers may be of another version: no sum overflows.
    fn add(&mut self, other: Self) {
        let (own, others) = (&mut self.connections, other.connections);
        own.open = own.open.saturating_add(others.open);
        own.most = own.most.saturating_add(others.most);
        for (framing, roles) in others.by {
            let by_role = own.by.entry(framing).or_default();
            for (role, count) in roles {
                let known = by_role.entry(role).or_default();
                *known = known.saturating_add(count);
            }
        }
        self.rooms = self.rooms.saturating_add(other.rooms);
        self.per_second.events_in += other.per_second.events_in;
        self.per_second.deliveries += other.per_second.deliveries;
        self.store_queue = self.store_queue.saturating_add(other.store_queue);
        self.outbox_bytes = self.outbox_bytes.saturating_add(other.outbox_bytes);
        add_counts(&mut self.closes, other.closes);
        add_counts(&mut self.rejected, other.rejected);
        self.memory_bytes = match (self.memory_bytes, other.memory_bytes) {
            (Some(own), Some(other)) => Some(own.saturating_add(other)),
            (own, other) => own.or(other),
        };
    }
}

fn add_counts(all: &mut BTreeMap<Cow<'static, str>, u64>, more: BTreeMap<Cow<'static, str>, u64>) {
    for (name, count) in more {
        let known = all.entry(name).or_default();
        *known = known.saturating_add(count);
    }
}
