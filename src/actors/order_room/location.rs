//! Locations: checked, put in order, and relayed in the latest-wins lane.

use std::time::{Duration, Instant};

use actix::{Context, Handler, Message};

use super::chat::Origin;
use super::lanes::DriverLane;
use super::members::Member;
use super::rights::not_in_the_room;
use super::{OrderRoom, RoomPermit};
use crate::actors::broadcast::{EncodedEvent, broadcast};
use crate::actors::peer::LocationReply;
use crate::room::fix_times::normalize_time;
use protocol::error::Failure;
use protocol::events::location::{Fix, LocationUpdate};
use protocol::ids::SessionId;
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

/// For how many members the outboxes are prefetched before the first push. Prefetched data of more
/// members would leave the processor's nearest cache before its turn.
const PREFETCHED: usize = 64;

/// A last position that changes is written at least this often, however far apart the points of the
/// trail are.
const MAX_SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// A fix of the driver.
#[derive(Message)]
#[rtype(result = "()")]
pub struct UpdateLocation {
    /// The session that sent it.
    pub session: SessionId,
    /// When it arrived.
    pub at: Instant,
    /// The fix.
    pub fix: Fix,
    /// Takes the reply.
    pub reply: LocationReply,
    /// The permit of the room's queue.
    pub permit: RoomPermit,
}

impl OrderRoom {
    /// Handles a fix. Returns whether the room's next deadline may have changed.
    fn update_location(&mut self, update: UpdateLocation) -> bool {
        self.members.values().take(PREFETCHED).for_each(|member| member.outbox.prefetch());
        let UpdateLocation { session, at: arrived, mut fix, reply, .. } = update;
        let metrics = &self.shared.metrics;
        let member = self.members.get_recent(&session).map(|member| &member.session);
        let Some(sender) = member.or_else(|| self.senders.get(&session)) else {
            metrics.locations_dropped.inc();
            reply.refuse(not_in_the_room(), None);
            return false;
        };
        let driver = match &sender.location_right {
            Ok(driver) => driver,
            Err(failure) => {
                reply.refuse(Failure::clone(failure), Some(&sender.guard.peer));
                return false;
            }
        };
        let at = Timestamp::now();
        if let Some(recorded_at) = &mut fix.recorded_at {
            let (normalized, correction) = normalize_time(*recorded_at, at);
            *recorded_at = normalized;
            if let Some(correction) = correction {
                metrics.position_times_corrected.inc(correction as usize);
            }
        }
        let accepted = self.track.accept(driver, &fix, at, arrived).is_some();
        reply.complete(accepted);
        if !accepted {
            metrics.locations_dropped.inc();
            return false;
        }
        self.publish_position(fix.battery, at)
    }

    /// Publishes a new last position that this node took: to every member that may see it, to other
    /// nodes, and from time to time, write-behind, to the database. Returns whether the room's next
    /// deadline may have changed.
    pub(super) fn publish_position(&mut self, battery: Option<f64>, at: Timestamp) -> bool {
        self.track_dirty = true;
        if self.relay.is_some() {
            self.tell_nodes_position(battery);
        }
        self.show_position(battery, at, Origin::ThisNode)
    }

    /// Shows the last position to every member that may see it; one that this node took is written
    /// from time to time. Returns whether the room's next deadline may have changed.
    pub(super) fn show_position(
        &mut self,
        battery: Option<f64>,
        at: Timestamp,
        origin: Origin,
    ) -> bool {
        let was_stale = self.watch_fix();
        self.handle.stats.location(at);
        let Some(position) = self.track.last() else { return was_stale };
        let taken_ms = position.taken_at().as_millis();
        let every = self.shared.config.rooms.trail_interval.min(MAX_SAVE_INTERVAL);
        let lane = match self.lanes.get_recent(&position.driver_id) {
            Some(lane) => lane,
            None => self.lanes.entry(position.driver_id.clone()).or_insert_with(DriverLane::new),
        };
        if origin == Origin::ThisNode && lane.is_due(taken_ms, every) {
            self.shared.store.write_position_behind(&self.order, position);
        }
        let event = |battery| {
            ServerEvent::Location(LocationUpdate { order_id: &self.order, position, battery })
        };
        let mut for_staff = battery.map(|_| EncodedEvent::new(event(battery)));
        // A held member gets the position in its snapshot.
        let sees = |member: &&mut Member| member.visibility.shows(taken_ms) && !member.is_held();
        let members = self.members.values_mut().filter(sees);
        let outcome = broadcast(event(None), &self.shared.metrics, members, |member, event| {
            let frame = match &mut for_staff {
                Some(staff) if member.session.identity.role.is_staff() => staff.frame(member.codec),
                _ => event.frame(member.codec),
            };
            member.push_latest(lane.key, frame)
        });
        if outcome.gone {
            self.remove_closed_members();
        }
        outcome.gone || was_stale
    }
}

impl Handler<UpdateLocation> for OrderRoom {
    type Result = ();

    fn handle(&mut self, update: UpdateLocation, ctx: &mut Context<Self>) {
        if self.update_location(update) {
            self.tick(Instant::now(), ctx);
        }
    }
}
