//! Finds or creates rooms, forgets idle ones, and delays a room after repeated panics.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Actor;

use super::{FindRoom, Supervisor};
use crate::actors::order_room::{
    Enter, OrderRoom, RoomActivity, RoomHandle, RoomParams, RoomStats, Stop,
};
use protocol::ids::OrderId;
use protocol::time::Timestamp;

/// A panic within this time after the last one makes the next room wait.
const CRASH_MEMORY: Duration = Duration::from_secs(60);
/// How long an order waits for its next room after its second, third and later panic.
const CRASH_WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// A room that runs.
pub(super) struct RoomEntry {
    pub(super) handle: Arc<RoomHandle>,
    epoch: u64,
    /// Joins that were forwarded to it. The room may be forgotten only after it has processed all
    /// of them.
    forwarded: u64,
}

/// A room that panicked.
pub(super) struct Crash {
    at: Instant,
    /// Panics in a row, each within a minute of the one before.
    times: usize,
    /// The earliest time of the next room.
    open_at: Instant,
}

impl Supervisor {
    /// Forwards a join to its room, which it creates where there is none.
    pub(super) fn forward(&mut self, find: FindRoom) {
        let order = find.guard.order.clone();
        if !self.rooms.contains_key(&order) {
            let entry = self.create_room(&order, &find);
            self.rooms.insert(order.clone(), entry);
        }
        let Some(entry) = self.rooms.get_mut(&order) else { return };
        let FindRoom { guard, identity, kind, .. } = find;
        entry.forwarded += 1;
        entry.handle.addr.do_send(Enter { guard, identity, kind });
    }

    fn create_room(&mut self, order: &OrderId, find: &FindRoom) -> RoomEntry {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let params = RoomParams {
            order: order.clone(),
            epoch,
            after_crash: self.crashes.contains_key(order),
            reports: self.reports.clone(),
            shared: Arc::clone(&self.shared),
        };
        let stats = Arc::new(RoomStats::default());
        let counted = Arc::clone(&stats);
        let addr = OrderRoom::start_in_arbiter(&find.arbiter, move |ctx| {
            OrderRoom::create(params, counted, ctx)
        });
        let handle = Arc::new(RoomHandle { addr, stats });
        RoomEntry { handle, epoch, forwarded: 0 }
    }

    /// Forgets an idle room, unless a forwarded join is on its way to it.
    pub(super) fn forget_idle(&mut self, order: &OrderId, epoch: u64, seen: u64) {
        let is_known = |entry: &&RoomEntry| entry.epoch == epoch && entry.forwarded == seen;
        if let Some(entry) = self.rooms.get(order).filter(is_known) {
            entry.handle.addr.do_send(Stop);
            self.rooms.remove(order);
        }
    }

    /// Handles a room that ended without being stopped.
    pub(super) fn crashed(&mut self, order: &OrderId, epoch: u64, now: Instant) {
        if self.rooms.get(order).is_none_or(|entry| entry.epoch != epoch) {
            return;
        }
        // At the end of a drain rooms end with their threads, which is no panic.
        if !self.shared.is_draining() {
            log::error!(order = order.as_str(); "the room of an order panicked");
            self.shared.metrics.room_panics.inc();
        }
        self.rooms.remove(order);
        self.crashes.retain(|_, crash| now < crash.at + CRASH_MEMORY);
        let times = self.crashes.get(order).map_or(1, |crash| crash.times + 1);
        let wait = times
            .checked_sub(2)
            .map_or(Duration::ZERO, |again| CRASH_WAITS[again.min(CRASH_WAITS.len() - 1)]);
        self.crashes.insert(order.clone(), Crash { at: now, times, open_at: now + wait });
    }

    /// How long an order has to wait for its next room.
    pub(super) fn crash_wait(&self, order: &OrderId, now: Instant) -> Option<Duration> {
        let open_at = self.crashes.get(order)?.open_at;
        (open_at > now).then(|| open_at - now)
    }

    pub(super) fn list_rooms(
        &self,
        after: Option<&OrderId>,
        limit: Option<usize>,
    ) -> Vec<RoomActivity> {
        let now = Timestamp::now();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.rooms
            .range::<OrderId, _>((start, Bound::Unbounded))
            .take(limit.unwrap_or(usize::MAX))
            .map(|(order, entry)| entry.handle.stats.activity(order, now))
            .collect()
    }
}
