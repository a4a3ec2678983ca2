//! `/api/v1/users`: decisions of back ends about a user, for all orders.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::idempotency::{IdempotentBody, respond};
use super::json::OptionalJson;
use super::store_problem;
use crate::actors::store::{Idempotent, Revocation, StoredAnswer};
use crate::cluster::entry::{Done, carry_out_everywhere};
use crate::http::Hub;
use crate::http::admin::{hub_stopping, run_to_completion};
use crate::http::authorization::{May, RevokeTokens};
use crate::http::openapi::problems::{BadBody, KeyReused, Refused};
use crate::http::openapi::schemas::{OfUser, OnceKey};
use crate::http::path_id::PathId;
use crate::http::problem::Problem;
use protocol::error::Failure;
use protocol::ids::UserId;
use protocol::json;
use protocol::time::Timestamp;

/// How far the clock of a back end may be ahead. A revocation's time never moves back, so a wrong
/// time further ahead would keep the user out until then.
const MAX_CLOCK_LEAD: Duration = Duration::from_secs(60);

/// Which tokens are revoked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevokeForm {
    /// Tokens issued before this time; absent: all tokens until now.
    issued_before: Option<Timestamp>,
}

/// The revocation of a user that is in force now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevokedView<'a> {
    user_id: &'a UserId,
    /// Tokens issued before this time are refused.
    issued_before: Timestamp,
    /// Nodes of the cluster that have not said that they are done. They are within two seconds, or
    /// when they reach the database again; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pending_nodes: Vec<Arc<str>>,
}

/// Revokes a user's older tokens
///
/// Connections that used one of them are closed with 4401. Newer tokens are accepted.
#[utoipa::path(post, path = "/api/v1/users/{user}/revoke", tag = "Users",
    security(("token" = []), ("apiKey" = ["users:write"])), params(OfUser, OnceKey),
    request_body = RevokeForm,
    responses(
        (status = 200, description = "What counts now", body = RevokedView<'_>), BadBody, KeyReused,
        Refused))]
pub(super) async fn revoke(
    revoker: May<RevokeTokens>,
    hub: web::Data<Hub>,
    user: web::Path<PathId<UserId>>,
    IdempotentBody { body: OptionalJson(form), call }: IdempotentBody<OptionalJson<RevokeForm>>,
) -> Result<HttpResponse, Problem> {
    let now = Timestamp::now();
    let issued_before = form.issued_before.unwrap_or(now);
    if issued_before > now.plus(MAX_CLOCK_LEAD) {
        let message = "is more than a minute ahead of the hub's clock";
        return Err(Failure::invalid("issuedBefore", message).into());
    }
    let revocation = Revocation { user_id: user.into_inner().0, issued_before };
    let idempotent = call.map(|call| Idempotent { call, answer: Arc::new(answer_to) });
    let by = revoker.caller.name().to_owned();
    respond(
        run_to_completion(async move { revoke_and_close(&hub, revocation, idempotent, &by).await })
            .await?,
    )
}

/// Stores the revocation, applies it, and closes connections that used a revoked token.
async fn revoke_and_close(
    hub: &Hub,
    revocation: Revocation,
    idempotent: Option<Idempotent<Revocation>>,
    by: &str,
) -> Result<StoredAnswer, Problem> {
    let author = hub.shared.node.boot;
    let revoked = hub.shared.store.revoke(revocation, idempotent, author).await;
    let (counts, answer, number) = revoked.map_err(store_problem)??;
    let done = carry_out_everywhere(hub, &counts.entry(), number).await;
    let Done { closed, pending } = done.map_err(|_| hub_stopping())?;
    let user = counts.user_id.as_str();
    log::info!(by = by, user = user; "revoked tokens, closed {closed} connections");
    // What is stored for a repeated call says nothing of nodes: they may have done it by then.
    if pending.is_empty()
        && let Some(answer) = answer
    {
        return Ok(answer);
    }
    Ok(answer_with(&counts, pending))
}

fn answer_to(revocation: &Revocation) -> StoredAnswer {
    answer_with(revocation, Vec::new())
}

fn answer_with(revocation: &Revocation, pending_nodes: Vec<Arc<str>>) -> StoredAnswer {
    let Revocation { user_id, issued_before } = revocation;
    let mut body = Vec::new();
    let view = RevokedView { user_id, issued_before: *issued_before, pending_nodes };
    json::write(&view, &mut body);
    StoredAnswer { status: 200, body: String::from_utf8(body).unwrap_or_default() }
}
