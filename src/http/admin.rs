//! `/admin/v1`: its routes, and ending a user's connections.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::authorization::{May, RemoveUsers};
use super::body::Body;
use super::calls::calls;
use super::openapi::problems::{BadOptionalBody, Refused};
use super::openapi::schemas::OfUser;
use super::path_id::PathId;
use super::problem::Problem;
use super::{Hub, nodes, rooms, stats, webhooks};
use crate::actors::store::Ban;
use crate::cluster::entry::{Done, carry_out_everywhere};
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
    Calls: stats::{stats}, nodes::{nodes}, self::{end_sessions}, rooms::{list, show, remove},
        webhooks::{list, enable, dead, replay}
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

/// The result of ending a user's connections.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Ended {
    /// How many connections were closed.
    closed: usize,
    /// Nodes of the cluster that have not said that they are done. They are within two seconds, or
    /// when they reach the database again; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pending_nodes: Vec<Arc<str>>,
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
        let Done { closed, pending } = removal.ban(&hub, None, &user).await?;
        log::info!(admin = admin.caller.name(), user = user.as_str(); "ended {closed} sessions");
        Ok(web::Json(Ended { closed, pending_nodes: pending }))
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

    /// Bans the user for the requested time, even across a restart, and removes them, on all nodes.
    pub(super) async fn ban(
        self,
        hub: &Hub,
        order: Option<&OrderId>,
        user: &UserId,
    ) -> Result<Done, Problem> {
        let secs = self.ban_secs.unwrap_or(DEFAULT_BAN_SECS);
        let until = Timestamp::now().plus(Duration::from_secs(secs));
        let reason = self.reason.unwrap_or_default();
        let ban = Ban { order_id: order.cloned(), user_id: user.clone(), until, reason };
        let stored = hub.shared.store.put_ban(ban.clone(), hub.shared.node.boot).await;
        let number = stored.map_err(|error| {
            log::warn!("cannot store a ban: {error}");
            Problem::unavailable("the database does not answer", 1)
        })?;
        carry_out_everywhere(hub, &ban.entry(), number).await.map_err(|_| hub_stopping())
    }
}

/// The answer when an actor is gone because the hub is about to stop.
pub(super) fn hub_stopping() -> Problem {
    Problem::unavailable("the hub stops", 1)
}
