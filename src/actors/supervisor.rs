//! The registry of rooms and sessions: which room serves an order, and which sessions a user has.
//! It spawns a room when a session first enters it, on the thread of that session. Sessions ask it
//! once for each room that they enter, and not for each event.

mod comparison;
mod relayed;
mod rooms;
mod users;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, Recipient};

use self::relayed::RelayedUsers;
pub use self::rooms::{FindRoom, GetRoom, GetRooms, LeaveRoom, ListRooms};
pub use self::users::{
    Disconnect, DisconnectAll, DisconnectUser, NotifyUsers, Register, SessionAddress, Unregister,
    UserConnections, UserOrderChanged,
};
use super::order_room::{RoomHandle, RoomReport};
use super::peer::Peer;
use super::shared::Shared;
use super::store::{ChatPosted, OrderChanged};
use crate::permits::Permits;
use crate::relay::comparison::Comparison;
use protocol::ids::{ConnectionId, OrderId, UserId};

/// How many events of back ends may wait for the supervisor. Entries take no permit: a session has
/// at most one pending entry for each of its rooms, and few at a time.
const MAILBOX: usize = 1024;

/// Answered when all earlier messages to the supervisor were handled.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SupervisorBarrier;

/// The supervisor's address, with the bound of its queue.
pub struct SupervisorHandle {
    /// Its address.
    pub addr: Addr<Supervisor>,
    /// The permits of its queue.
    pub permits: Permits,
}

/// The supervisor actor.
pub struct Supervisor {
    shared: Arc<Shared>,
    /// Where rooms report that they are idle or crashed: this actor.
    reports: Recipient<RoomReport>,
    /// The room of each order that has one, sorted for paging.
    rooms: BTreeMap<OrderId, RoomEntry>,
    /// Recent panics of rooms.
    crashes: HashMap<OrderId, Crash>,
    /// The sessions of each user, oldest first.
    users: HashMap<UserId, Vec<SessionEntry>>,
    /// What users are told of what happens on other nodes.
    relayed: RelayedUsers,
    /// Which rooms are to be compared with the database.
    comparison: Comparison,
    /// Counts all rooms of the process, so that a late report of an old room is recognised.
    next_epoch: u64,
}

/// A room that runs.
struct RoomEntry {
    handle: Arc<RoomHandle>,
    epoch: u64,
    /// Entries that were forwarded to it. The room may be forgotten only after it has handled all
    /// of them.
    entries_forwarded: u64,
}

/// A room that panicked.
struct Crash {
    at: Instant,
    /// Panics in a row, each within a minute of the one before.
    times: usize,
    /// The earliest time of the next room.
    open_at: Instant,
}

/// An open session.
struct SessionEntry {
    peer: Arc<Peer>,
    connection: ConnectionId,
    address: Arc<dyn SessionAddress>,
}

// === impl Supervisor ===

impl Supervisor {
    /// Starts the supervisor of a node on this thread's arbiter.
    pub fn launch(shared: Arc<Shared>, arbiter: &ArbiterHandle) -> Arc<SupervisorHandle> {
        let receiver = Arc::clone(&shared.bus_receiver);
        let addr = Self::start_in_arbiter(arbiter, move |ctx: &mut Context<Self>| Self {
            shared,
            reports: ctx.address().recipient(),
            rooms: BTreeMap::new(),
            crashes: HashMap::new(),
            users: HashMap::new(),
            relayed: RelayedUsers::default(),
            comparison: Comparison::default(),
            next_epoch: 0,
        });
        receiver.set_rooms(Arc::new(addr.clone()));
        Arc::new(SupervisorHandle { addr, permits: Permits::new(MAILBOX) })
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.start_comparing(ctx);
    }
}

impl Handler<OrderChanged> for Supervisor {
    type Result = ();

    /// The store sends changes in the order of its commits. This message takes no permit: the call
    /// that made the change holds one until it is answered, and a lost change would leave a user in
    /// a room without the right to be there.
    fn handle(&mut self, change: OrderChanged, _: &mut Self::Context) {
        self.shared.hooks.forget_order(&change.0.changed.order.id);
        if let Some(entry) = self.rooms.get(&change.0.changed.order.id) {
            entry.handle.addr.do_send(change.clone());
        }
        if change.0.changed.raised {
            self.note_change(&change.0);
            self.notify_involved(&change.0);
        }
    }
}

impl Handler<ChatPosted> for Supervisor {
    type Result = ();

    /// Takes no permit: a lost message would leave a gap in the room's chat.
    fn handle(&mut self, posted: ChatPosted, _: &mut Self::Context) {
        if let Some(entry) = self.rooms.get(&posted.0.order_id) {
            entry.handle.addr.do_send(posted);
        }
    }
}

impl Handler<SupervisorBarrier> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: SupervisorBarrier, _: &mut Self::Context) {}
}
