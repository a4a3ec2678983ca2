//! Admission of client connections: whether one may be opened now, and the permits that it takes.

use std::time::Instant;

use super::Hub;
use super::problem::Problem;
use crate::actors::shared::rate_limited;
use crate::auth::Identity;
use crate::permits::{Permit, Permits};
use crate::rate_limit::users::RateKind;
use protocol::error::{ErrorCode, Failure};

/// When a client should come back after a limit was reached.
const FULL_RETRY_SECS: u16 = 5;

/// Refuses new connections during the drain.
pub(super) fn refuse_while_draining(hub: &Hub) -> Result<(), Problem> {
    if !hub.shared.is_draining() {
        return Ok(());
    }
    hub.shared.metrics.upgrades_refused.inc();
    Err(Problem::unavailable("the hub restarts", 1))
}

/// Checks that the user does not connect too often, and was not just closed for a flood.
pub(super) fn take_login_rate(hub: &Hub, identity: &Identity) -> Result<(), Failure> {
    let now = Instant::now();
    let rates = hub.shared.user_rates.of(&identity.user, now);
    // A login that has to wait anyway does not count.
    let waits = rates.flood_wait(now).or_else(|| rates.take(RateKind::Login, now).err());
    waits.map_or(Ok(()), |wait| {
        hub.shared.metrics.rejected.inc(ErrorCode::RateLimited as usize);
        Err(rate_limited("too many logins", wait))
    })
}

/// Takes a permit for an open connection. The drain may have begun since the request came.
pub(super) fn take_connection_permit(hub: &Hub) -> Result<Permit, Problem> {
    refuse_while_draining(hub)?;
    take_permit(&hub.shared.connections, "too many connections", hub)
}

/// Takes a permit for an unauthenticated connection.
pub(super) fn take_unauthenticated_permit(hub: &Hub) -> Result<Permit, Problem> {
    take_permit(&hub.shared.unauthenticated, "too many connections without a login", hub)
}

fn take_permit(permits: &Permits, full: &'static str, hub: &Hub) -> Result<Permit, Problem> {
    permits.take().ok_or_else(|| {
        hub.shared.metrics.upgrades_refused.inc();
        Problem::unavailable(full, FULL_RETRY_SECS)
    })
}
