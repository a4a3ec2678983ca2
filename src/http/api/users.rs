//! `/api/v1/users`: decisions of back ends about a user, for all orders.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::idempotency::{IdempotentBody, respond};
use super::json::OptionalJson;
use super::store_problem;
use crate::actors::store::{Idempotent, Revocation, StoredAnswer};
use crate::actors::supervisor::{Disconnect, UserConnections};
use crate::http::Hub;
use crate::http::admin::{hub_stopping, run_to_completion};
use crate::http::authorization::{May, RevokeTokens};
use crate::http::openapi::problems::{BadBody, KeyReused, Refused};
use crate::http::openapi::schemas::{OfUser, OnceKey};
use crate::http::path_id::PathId;
use crate::http::problem::Problem;
use protocol::close::CloseCode;
use protocol::error::Failure;
use protocol::ids::UserId;
use protocol::json;
use protocol::time::Timestamp;

/// How far the clock of a back end may be ahead. A revocation's time never moves back, so a wrong
/// time further ahead would keep the user out until then.
const MAX_CLOCK_LEAD: Duration = Duration::from_secs(60);
/// When clients reconnect. By then a new token has a later second than the revoked ones: `iat`
/// counts seconds.
const RETURN_AFTER_MS: u64 = 1000;

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
    let (counts, answer) =
        hub.shared.store.revoke(revocation, idempotent).await.map_err(store_problem)??;
    let answer = answer.unwrap_or_else(|| answer_to(&counts));
    let Revocation { user_id, issued_before } = counts;
    hub.shared.verifier.revoke(user_id.clone(), issued_before);
    if let Some(hook) = &hub.shared.hooks.join {
        hook.forget_user(&user_id);
    }
    // A connection that registers after this checks revocations after that, and finds this one.
    let connections = hub.supervisor().addr.send(UserConnections(user_id.clone())).await;
    let end = Disconnect {
        reconnect_after_ms: Some(RETURN_AFTER_MS),
        issued_before: Some(issued_before),
        ..Disconnect::now(CloseCode::TOKEN_REVOKED).of(user_id.clone())
    };
    let ends = connections.map_err(|_| hub_stopping())?;
    let ends = join_all(ends.iter().map(|connection| connection.send(end.clone()))).await;
    // A connection that is gone has ended by itself.
    let closed = ends.into_iter().filter(|ended| matches!(ended, Ok(true))).count();
    log::info!(by = by, user = user_id.as_str(); "revoked tokens, closed {closed} connections");
    Ok(answer)
}

fn answer_to(revocation: &Revocation) -> StoredAnswer {
    let Revocation { user_id, issued_before } = revocation;
    let mut body = Vec::new();
    json::write(&RevokedView { user_id, issued_before: *issued_before }, &mut body);
    StoredAnswer { status: 200, body: String::from_utf8(body).unwrap_or_default() }
}
