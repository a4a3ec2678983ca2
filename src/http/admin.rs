//! `/admin/v1`: its routes, statistics of the hub, and ending a user's connections.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::authorization::{May, ReadNode, RemoveUsers};
use super::body::Body;
use super::calls::calls;
use super::openapi::problems::{BadOptionalBody, Refused};
use super::openapi::schemas::OfUser;
use super::path_id::PathId;
use super::problem::Problem;
use super::{Hub, rooms, webhooks};
use crate::actors::shared::Shared;
use crate::actors::store::Ban;
use crate::actors::supervisor::{Disconnect, DisconnectUser};
use crate::process;
use crate::room::bans::BanScope;
use protocol::close::CloseCode;
use protocol::error::Failure;
use protocol::ids::{OrderId, UserId};
use protocol::json::read_object;
use protocol::json_number;
use protocol::time::Timestamp;

/// How long a removal lasts by default.
const DEFAULT_BAN_SECS: u64 = 900;
/// The longest removal: a year.
const MAX_BAN_SECS: u64 = 366 * 24 * 3600;
/// The longest reason, in bytes: it has to fit a line on a screen.
const MAX_REASON: usize = 120;

calls! {
    Calls: self::{stats, end_sessions}, rooms::{list, show, remove},
        webhooks::{list, enable, dead, replay}
}

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

/// Rates of the node.
#[derive(Debug, Default, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PerSecond {
    events_in: f64,
    deliveries: f64,
}

/// How a user is removed. In the query or as a JSON body.
#[derive(Debug, Default, Deserialize, ToSchema, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// The reason that the user is sent, at most 120 bytes
    #[schema(max_length = 120)]
    #[param(max_length = 120, nullable = false)]
    reason: Option<String>,
    /// For how many seconds the user may not come back; 900 by default
    #[serde(default, deserialize_with = "json_number::optional")]
    #[schema(maximum = 31_622_400)]
    #[param(maximum = 31_622_400, nullable = false)]
    ban_secs: Option<u64>,
}

/// Statistics of the hub.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Stats {
    uptime_secs: u64,
    /// Whether the hub is draining.
    draining: bool,
    connections: Connections,
    /// Rooms in memory.
    rooms: i64,
    per_second: PerSecond,
    /// Chat messages that wait to be stored.
    store_queue: usize,
    /// Bytes that wait for slow clients.
    outbox_bytes: i64,
    /// Ended sessions by reason.
    closes: BTreeMap<&'static str, u64>,
    /// Refused events by error code.
    rejected: BTreeMap<&'static str, u64>,
    /// Resident memory of the process, where the system tells it.
    #[schema(required)]
    memory_bytes: Option<u64>,
}

/// Open sessions, and how many connections there may be.
#[derive(Serialize, ToSchema)]
struct Connections {
    open: i64,
    /// `MAX_CONNECTIONS`.
    most: usize,
    /// By framing, then by role.
    by: BTreeMap<&'static str, BTreeMap<&'static str, i64>>,
}

/// The result of ending a user's connections.
#[derive(Serialize, ToSchema)]
struct Ended {
    /// How many connections were closed.
    closed: usize,
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

/// Statistics of the hub
#[utoipa::path(get, path = "/admin/v1/stats", tag = "Admin",
    security(("token" = []), ("apiKey" = ["admin:read"])),
    responses((status = 200, description = "As of now", body = Stats), Refused))]
async fn stats(hub: web::Data<Hub>, _: May<ReadNode>) -> web::Json<Stats> {
    let (shared, metrics) = (&hub.shared, &hub.shared.metrics);
    let mut by = BTreeMap::<_, BTreeMap<_, _>>::new();
    for (framing, role, count) in metrics.connections.iter() {
        by.entry(framing).or_default().insert(role, count);
    }
    web::Json(Stats {
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
        closes: metrics.closes.iter().collect(),
        rejected: metrics.rejected.iter().collect(),
        memory_bytes: process::own_usage().map(|usage| usage.resident),
    })
}

/// Closes all connections of a user
///
/// Closes with 4403, so clients stay away. The user may not come back for `banSecs`. A body, if
/// there is one, wins over the query.
#[utoipa::path(delete, path = "/admin/v1/users/{user}/sessions", tag = "Admin",
    security(("token" = []), ("apiKey" = ["admin:write"])), params(OfUser, Removal),
    request_body = Removal,
    responses(
        (status = 200, description = "They are closed", body = Ended), BadOptionalBody, Refused))]
async fn end_sessions(
    hub: web::Data<Hub>,
    admin: May<RemoveUsers>,
    user: web::Path<PathId<UserId>>,
    query: web::Query<Removal>,
    body: Body,
) -> Result<web::Json<Ended>, Problem> {
    let removal = query.into_inner().or_body(&body)?;
    let PathId(user) = user.into_inner();
    run_to_completion(async move {
        removal.ban(&hub.shared, None, &user).await?;
        let end = Disconnect { reason: removal.reason, ..Disconnect::now(CloseCode::REMOVED) };
        let closed = hub.supervisor().addr.send(DisconnectUser { user: user.clone(), end }).await;
        let closed = closed.map_err(|_| hub_stopping())?;
        log::info!(admin = admin.caller.name(), user = user.as_str(); "ended {closed} sessions");
        Ok(web::Json(Ended { closed }))
    })
    .await
}

/// Runs work in a task of its own: if the caller goes away, the work must not stop half done, such
/// as stored but not carried out.
pub(super) async fn run_to_completion<T: 'static>(
    work: impl Future<Output = Result<T, Problem>> + 'static,
) -> Result<T, Problem> {
    actix_rt::spawn(work).await.map_err(|_| hub_stopping())?
}

// === impl Removal ===

impl Removal {
    /// The body if there is one, else the query.
    pub(super) fn or_body(self, body: &Body) -> Result<Self, Problem> {
        self.check()?;
        let text = body.text()?;
        if text.is_empty() {
            return Ok(self);
        }
        let removal: Self = read_object(text, "body")?;
        removal.check()?;
        Ok(removal)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.ban_secs.is_some_and(|secs| secs > MAX_BAN_SECS) {
            return Err(Failure::invalid("banSecs", "must be 0 to 31622400 (a year)"));
        }
        if self.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
            return Err(Failure::invalid("reason", "is over 120 bytes"));
        }
        Ok(())
    }

    /// Bans the user for the requested time, even across a restart.
    pub(super) async fn ban(
        &self,
        shared: &Shared,
        order: Option<&OrderId>,
        user: &UserId,
    ) -> Result<(), Problem> {
        let secs = self.ban_secs.unwrap_or(DEFAULT_BAN_SECS);
        let now = Timestamp::now();
        let until = now.plus(Duration::from_secs(secs));
        let reason = self.reason.clone().unwrap_or_default();
        let ban = Ban { order_id: order.cloned(), user_id: user.clone(), until, reason };
        shared.store.put_ban(ban).await.map_err(|error| {
            log::warn!("cannot store a ban: {error}");
            Problem::unavailable("the database does not answer", 1)
        })?;
        let scope = order.map_or(BanScope::Hub, |order| BanScope::Order(order.clone()));
        shared.bans.insert(scope, user.clone(), until, now);
        if let Some(hook) = &shared.hooks.join {
            hook.forget_user(user);
        }
        Ok(())
    }
}

/// The answer when an actor is gone because the hub is about to stop.
pub(super) fn hub_stopping() -> Problem {
    Problem::unavailable("the hub stops", 1)
}
