//! How reads of callers wait: a back end's before those of users, and a user's at a rate.

use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::actors::shared::rate_limited;
use crate::actors::store::{CallerClass, Store};
use crate::http::Hub;
use crate::http::authorization::Reach;
use crate::http::problem::Problem;
use crate::rate_limit::users::RateKind;

/// The store for a caller.
pub(super) fn store_for(hub: &Hub, reach: &Reach<'_>) -> Store {
    hub.shared.store.on_behalf_of(match reach {
        Reach::EveryOrder => CallerClass::BackEnd,
        Reach::OrdersOf(_) => CallerClass::User,
    })
}

/// How long a read waits for earlier reads of the same user.
const TURN_TIMEOUT: Duration = Duration::from_secs(4);
/// When a user whose reads take that long may try again.
const TURN_RETRY: Duration = Duration::from_secs(1);

/// Takes a user's turn to read, until the permit is dropped. Back ends and admins need none.
///
/// # Errors
/// When the user reads too much.
pub(super) async fn acquire_read(
    hub: &Hub,
    reach: &Reach<'_>,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let Reach::OrdersOf(user) = reach else { return Ok(None) };
    let now = Instant::now();
    let rates = hub.shared.user_rates.of(&user.user, now);
    rates.take(RateKind::Read, now).map_err(|wait| rate_limited("too many reads", wait))?;
    let turn = timeout(TURN_TIMEOUT, rates.acquire_read()).await;
    Ok(turn.map_err(|_| rate_limited("too many reads at a time", TURN_RETRY))?)
}
