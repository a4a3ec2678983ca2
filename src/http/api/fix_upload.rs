//! Delivers fixes that a phone or a back end has posted to their orders: to the room, if there is
//! one, and to the database, so that what is acknowledged is stored.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::store_failure;
use crate::actors::order_room::{FixSource, PublishFixes, PublishedFixes, driver_for_fixes};
use crate::actors::shared::unavailable;
use crate::actors::store::CallerClass;
use crate::actors::supervisor::GetRoom;
use crate::http::Hub;
use crate::room::fix_times::normalize_times;
use crate::room::order::{MAX_LOCATION_TARGETS, location_targets};
use crate::room::posted_fixes::{FixOutcome, thin_trail};
use crate::room::track::PositionTracker;
use protocol::error::{ErrorCode, Failure};
use protocol::events::location::{Fix, Location, LocationUpdate, Target};
use protocol::ids::OrderId;
use protocol::location::Position;
use protocol::time::Timestamp;

/// How long a busy room may take to answer.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);
/// The age from which a fix is stale where no trail is kept. A trail has its own limit.
const STALE_WITHOUT_TRAIL: Duration = Duration::from_secs(24 * 3600);

/// Posted fixes. Each names its orders, or is for the orders of the call.
pub(super) struct FixUpload {
    /// The source of the fixes.
    pub(super) by: FixSource,
    /// The order that the path names; `None` means every open order of the driver.
    pub(super) order: Option<Result<OrderId, Failure>>,
    /// The parsed fixes, or why one could not be parsed.
    pub(super) fixes: Vec<Result<Location, Failure>>,
}

/// The outcome of posted fixes: each fix is counted once.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostedFixes {
    /// How many were accepted by at least one order.
    pub(super) accepted: usize,
    /// How many are older than the newest known position of the driver. They are stored in the
    /// trail if they are not too old for it, and are not sent to anyone.
    pub(super) stale: usize,
    /// Fixes that no order accepted, or that could not be read.
    pub(super) rejected: Vec<RejectedFix>,
}

/// A fix that was not accepted. Posting it again does not help.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RejectedFix {
    /// The fix's index in the body, from 0.
    index: usize,
    /// The reason.
    code: ErrorCode,
    /// The invalid field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
}

// === impl FixUpload ===

impl FixUpload {
    /// Delivers the fixes to their orders.
    ///
    /// # Errors
    /// `unavailable`, when the same call may succeed later.
    pub(super) async fn deliver(mut self, hub: &Hub) -> Result<PostedFixes, Failure> {
        let now = Timestamp::now();
        let fixes = self.fixes.iter_mut().flatten().map(|location| &mut location.fix);
        for (index, count) in normalize_times(fixes, now).into_iter().enumerate() {
            hub.shared.metrics.position_times_corrected.inc_by(index, count);
        }
        let mut fates: Vec<Option<FixOutcome>> = vec![None; self.fixes.len()];
        let by_order = self.by_order(hub, &mut fates).await?;
        let deliveries = by_order.iter().map(|(order, places)| {
            let fixes = places.iter().filter_map(|place| self.fixes[*place].as_ref().ok());
            let fixes: Vec<Fix> = fixes.map(|location| location.fix).collect();
            deliver_to_order(hub, &self.by, order, fixes, now)
        });
        for (places, outcome) in by_order.values().zip(join_all(deliveries).await) {
            let stale = match outcome {
                Err(failure) if failure.code == ErrorCode::Unavailable => return Err(failure),
                outcome => outcome.map_err(|failure| failure.code),
            };
            for (number, place) in places.iter().enumerate() {
                note(&mut fates[*place], fate(stale, number));
            }
        }
        Ok(self.sum_up(&fates))
    }

    /// The indexes of the fixes for each order, sorted by time.
    async fn by_order(
        &self,
        hub: &Hub,
        fates: &mut [Option<FixOutcome>],
    ) -> Result<BTreeMap<OrderId, Vec<usize>>, Failure> {
        let is_all = |fix: &Location| fix.target == Target::All;
        let asks = self.fixes.iter().flatten().any(is_all);
        let open = if asks { self.open_orders(hub).await? } else { Ok(Vec::new()) };
        let mut by_order: BTreeMap<OrderId, Vec<usize>> = BTreeMap::new();
        for (place, fix) in self.fixes.iter().enumerate() {
            let orders = match (fix.as_ref().map(|fix| &fix.target), &open) {
                (Err(_), _) => continue,
                (Ok(Target::One(order)), _) => slice::from_ref(order),
                (Ok(Target::Many(orders)), _) | (Ok(Target::All), Ok(orders)) => orders,
                (Ok(Target::All), Err(failure)) => {
                    note(&mut fates[place], FixOutcome::Rejected(failure.code));
                    continue;
                }
            };
            for order in orders {
                if by_order.len() < MAX_LOCATION_TARGETS || by_order.contains_key(order) {
                    by_order.entry(order.clone()).or_default().push(place);
                } else {
                    note(&mut fates[place], FixOutcome::Rejected(ErrorCode::TooManyRooms));
                }
            }
        }
        let time = |place: &usize| self.fixes[*place].as_ref().ok().map(|fix| fix.fix.recorded_at);
        for places in by_order.values_mut() {
            places.sort_by_key(time);
        }
        Ok(by_order)
    }

    /// The orders for fixes that name none, or why there are none.
    async fn open_orders(&self, hub: &Hub) -> Result<Result<Vec<OrderId>, Failure>, Failure> {
        match (&self.order, &self.by) {
            (Some(order), _) => Ok(order.clone().map(|order| vec![order])),
            (None, FixSource::Driver(identity)) => {
                let open = hub.shared.store.open_orders(identity.user.clone()).await;
                let open = open.map_err(|error| store_failure(&error))?;
                Ok(Ok(location_targets(identity.orders.iter().chain(&open))))
            }
            (None, FixSource::BackEnd) => Ok(Ok(Vec::new())),
        }
    }

    fn sum_up(self, fates: &[Option<FixOutcome>]) -> PostedFixes {
        let mut sum = PostedFixes::default();
        for (index, (fix, fate)) in self.fixes.into_iter().zip(fates).enumerate() {
            let (code, field) = match (fix, fate) {
                (Ok(_), Some(FixOutcome::Accepted)) => {
                    sum.accepted += 1;
                    continue;
                }
                (Ok(_), Some(FixOutcome::Stale)) => {
                    sum.stale += 1;
                    continue;
                }
                (Ok(_), Some(FixOutcome::Rejected(code))) => (*code, None),
                // The fix has no order.
                (Ok(_), None) => (ErrorCode::NotFound, None),
                (Err(failure), _) => (failure.code, failure.field.map(String::from)),
            };
            sum.rejected.push(RejectedFix { index, code, field });
        }
        sum
    }
}

fn note(known: &mut Option<FixOutcome>, fate: FixOutcome) {
    *known = Some(known.map_or(fate, |known| known.or(fate)));
}

/// The outcome of the fix at index `number`, if the first `stale` ones were stale.
fn fate(stale: Result<usize, ErrorCode>, number: usize) -> FixOutcome {
    match stale {
        Ok(stale) if number < stale => FixOutcome::Stale,
        Ok(_) => FixOutcome::Accepted,
        Err(code) => FixOutcome::Rejected(code),
    }
}

/// Delivers fixes to one order, sorted by time. Returns how many of the first ones are stale.
async fn deliver_to_order(
    hub: &Hub,
    by: &FixSource,
    order: &OrderId,
    fixes: Vec<Fix>,
    now: Timestamp,
) -> Result<usize, Failure> {
    let rooms = &hub.shared.config.rooms;
    let kept = Some(rooms.location_retention).filter(|kept| !kept.is_zero());
    let begins = now.minus(kept.unwrap_or(STALE_WITHOUT_TRAIL));
    let old = fixes.partition_point(|fix| fix.recorded_at.is_some_and(|at| at < begins));
    let fresh: Arc<[Fix]> = Arc::from(&fixes[old..]);
    let in_room = offer_to_room(hub, by, order, &fresh).await?;
    let had_room = in_room.is_some();
    let batched = match in_room {
        Some(batched) => batched,
        None => accept_without_room(hub, by, order, &fresh, now).await?,
    };
    let positions = fresh.iter().map(|fix| Position::of(fix, batched.driver.clone(), now));
    let points = thin_trail(positions, rooms.trail_interval);
    let news = batched.last.is_some();
    let kept = hub.shared.store.write_positions(order.clone(), batched.last, &points).await;
    kept.map_err(|error| store_failure(&error))?;
    if let Some(newest) = fresh.last().filter(|_| news && !had_room) {
        // A room that started meanwhile may have loaded the order before this was written.
        offer_to_new_room(hub, by, order, *newest).await;
    }
    Ok(old + batched.stale)
}

/// Publishes fixes in the order's room; `None` where there is no room.
async fn offer_to_room(
    hub: &Hub,
    by: &FixSource,
    order: &OrderId,
    fixes: &Arc<[Fix]>,
) -> Result<Option<PublishedFixes>, Failure> {
    let room = hub.supervisor().addr.send(GetRoom(order.clone())).await;
    let Some(room) = room.map_err(|_| unavailable("the hub is stopping"))? else { return Ok(None) };
    let permit = room.permit().ok_or_else(|| unavailable("the room is too busy"))?;
    let (done, taken) = oneshot::channel();
    room.addr.do_send(PublishFixes { by: by.clone(), fixes: Arc::clone(fixes), done, permit });
    match tokio::time::timeout(ROOM_TIMEOUT, taken).await {
        Ok(Ok(outcome)) => outcome.map(Some),
        // The room was removed or panicked before it handled them.
        Ok(Err(_)) => Ok(None),
        Err(_) => Err(unavailable("the room is too busy")),
    }
}

async fn offer_to_new_room(hub: &Hub, by: &FixSource, order: &OrderId, newest: Fix) {
    if let Err(failure) = offer_to_room(hub, by, order, &Arc::from([newest])).await {
        // The position is stored; the room will show the next one.
        log::debug!(order = order.as_str(); "a room did not take a position: {failure}");
    }
}

/// Accepts fixes for an order without a room, by the rules of a room.
async fn accept_without_room(
    hub: &Hub,
    by: &FixSource,
    order: &OrderId,
    fixes: &[Fix],
    at: Timestamp,
) -> Result<PublishedFixes, Failure> {
    let caller = match by {
        FixSource::BackEnd => CallerClass::BackEnd,
        FixSource::Driver(_) => CallerClass::User,
    };
    let store = hub.shared.store.on_behalf_of(caller);
    let loaded = store.load_order(order.clone(), 0).await;
    let loaded = loaded.map_err(|error| store_failure(&error))?;
    let driver = driver_for_fixes(&hub.shared, order, &loaded.facts, by)?;
    let now = Instant::now();
    let mut track = PositionTracker::new(loaded.last_position, at, now);
    let stale = track.accept_newest(&driver, fixes, at, now);
    let newest = fixes.get(stale..).and_then(<[Fix]>::last);
    let last = newest.and(track.last()).cloned();
    if let (Some(relay), Some(newest), Some(position)) = (&hub.shared.relay, newest, &last) {
        // Other nodes may have the room.
        let update = LocationUpdate { order_id: order, position, battery: newest.battery };
        relay.position_taken(&update, loaded.rev);
    }
    Ok(PublishedFixes { driver, stale, last })
}
