//! Finds or creates rooms, forgets idle ones, and delays a room after repeated panics.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ArbiterHandle, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture,
};

use super::{Crash, RoomEntry, Supervisor};
use crate::actors::order_room::{
    Enter, Leave, OrderRoom, RoomActivity, RoomHandle, RoomParams, RoomReport, RoomStats, Stop,
};
use crate::actors::webhooks::{FindSeen, SeenInRoom};
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// A panic within this time after the last one makes the next room wait.
const CRASH_MEMORY: Duration = Duration::from_secs(60);
/// How long an order waits for its next room after its second, third and later panic.
const CRASH_WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// A session asks to enter a room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FindRoom {
    /// The message for the room.
    pub enter: Enter,
    /// The thread on which a new room is to run.
    pub arbiter: ArbiterHandle,
}

/// Leaves a room that has not answered the session's join yet.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LeaveRoom {
    /// The order.
    pub order: OrderId,
    /// The message for the room.
    pub leave: Leave,
}

/// Lists the rooms of this node, in order of their ids.
#[derive(Message)]
#[rtype(result = "Vec<RoomActivity>")]
pub struct ListRooms {
    /// Only rooms with ids after this one.
    pub after: Option<OrderId>,
    /// How many at most. `None` lists all.
    pub limit: Option<usize>,
}

/// Asks for the handle of one room.
#[derive(Message)]
#[rtype(result = "Option<Arc<RoomHandle>>")]
pub struct GetRoom(pub OrderId);

/// Asks for the handles of all rooms.
#[derive(Message)]
#[rtype(result = "Vec<Arc<RoomHandle>>")]
pub struct GetRooms;

impl Supervisor {
    /// Forwards a session's entry to the room, which it creates if there is none.
    fn forward(&mut self, find: FindRoom) {
        let order = find.enter.guard.order.clone();
        if !self.rooms.contains_key(&order) {
            let entry = self.create_room(&order, &find.arbiter);
            self.rooms.insert(order.clone(), entry);
        }
        let Some(entry) = self.rooms.get_mut(&order) else { return };
        entry.entries_forwarded += 1;
        entry.handle.addr.do_send(find.enter);
    }

    fn create_room(&mut self, order: &OrderId, arbiter: &ArbiterHandle) -> RoomEntry {
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
        let addr = OrderRoom::start_in_arbiter(arbiter, move |ctx| {
            OrderRoom::create(params, counted, ctx)
        });
        let handle = Arc::new(RoomHandle { addr, stats });
        RoomEntry { handle, epoch, entries_forwarded: 0 }
    }

    /// Forgets an idle room, unless a forwarded entry is on its way to it.
    fn forget_idle(&mut self, order: &OrderId, epoch: u64, entries_handled: u64) {
        let is_known =
            |entry: &&RoomEntry| entry.epoch == epoch && entry.entries_forwarded == entries_handled;
        if let Some(entry) = self.rooms.get(order).filter(is_known) {
            entry.handle.addr.do_send(Stop);
            self.rooms.remove(order);
        }
    }

    /// Handles a room that ended without being stopped.
    fn crashed(&mut self, order: &OrderId, epoch: u64, is_panic: bool, now: Instant) {
        if self.rooms.get(order).is_none_or(|entry| entry.epoch != epoch) {
            return;
        }
        // At the end of a drain rooms end with their threads, which is no panic.
        if is_panic && !self.shared.is_draining() {
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
    fn crash_wait(&self, order: &OrderId, now: Instant) -> Option<Duration> {
        let open_at = self.crashes.get(order)?.open_at;
        (open_at > now).then(|| open_at - now)
    }
}

impl Handler<FindRoom> for Supervisor {
    type Result = ();

    fn handle(&mut self, find: FindRoom, ctx: &mut Context<Self>) {
        match self.crash_wait(&find.enter.guard.order, Instant::now()) {
            Some(wait) => {
                ctx.notify_later(find, wait);
            }
            None => self.forward(find),
        }
    }
}

impl Handler<LeaveRoom> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: LeaveRoom, _: &mut Context<Self>) {
        if let Some(entry) = self.rooms.get(&message.order) {
            entry.handle.addr.do_send(message.leave);
        }
    }
}

impl Handler<RoomReport> for Supervisor {
    type Result = ();

    fn handle(&mut self, report: RoomReport, _: &mut Context<Self>) {
        match report {
            RoomReport::Idle { order, epoch, entries_handled } => {
                self.forget_idle(&order, epoch, entries_handled);
            }
            RoomReport::Crashed { order, epoch, is_panic } => {
                self.crashed(&order, epoch, is_panic, Instant::now());
            }
        }
    }
}

impl Handler<ListRooms> for Supervisor {
    type Result = MessageResult<ListRooms>;

    fn handle(&mut self, list: ListRooms, _: &mut Context<Self>) -> Self::Result {
        let now = Timestamp::now();
        let start = list.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rooms = self.rooms.range::<OrderId, _>((start, Bound::Unbounded));
        let rooms = rooms.take(list.limit.unwrap_or(usize::MAX));
        let activity =
            |(order, entry): (&OrderId, &RoomEntry)| entry.handle.stats.activity(order, now);
        MessageResult(rooms.map(activity).collect())
    }
}

impl Handler<GetRoom> for Supervisor {
    type Result = Option<Arc<RoomHandle>>;

    fn handle(&mut self, message: GetRoom, _: &mut Context<Self>) -> Self::Result {
        self.rooms.get(&message.0).map(|entry| entry.handle.clone())
    }
}

impl Handler<FindSeen> for Supervisor {
    type Result = ResponseFuture<BTreeMap<UserId, SeenInRoom>>;

    fn handle(&mut self, find: FindSeen, _: &mut Context<Self>) -> Self::Result {
        let room = self.rooms.get(&find.order).map(|entry| entry.handle.addr.clone());
        Box::pin(async move {
            let Some(room) = room else { return BTreeMap::new() };
            // A room that ends meanwhile has noted what it showed.
            room.send(find).await.unwrap_or_default()
        })
    }
}

impl Handler<GetRooms> for Supervisor {
    type Result = Vec<Arc<RoomHandle>>;

    fn handle(&mut self, _: GetRooms, _: &mut Context<Self>) -> Self::Result {
        self.rooms.values().map(|entry| entry.handle.clone()).collect()
    }
}
