//! The registry of rooms and sessions: which room serves an order, and which sessions a user has.
//! It spawns a room when its order is first joined, on the thread of the session that joins.
//! Sessions ask it once for each join, and not for each message.

mod rooms;
mod users;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, Recipient};

use self::rooms::{Crash, RoomEntry};
use self::users::SessionEntry;
use super::order_room::{EntryKind, Leave, RoomActivity, RoomHandle, RoomReport};
use super::peer::{MembershipGuard, Peer};
use super::shared::Shared;
use super::store::{ChatPosted, CommittedChange, OrderChanged};
use super::webhooks::FindOnline;
use crate::auth::Identity;
use crate::ids::{ConnectionId, OrderId, SessionId, UserId};
use crate::permits::{Permit, Permits};
use crate::protocol::back_end::BackEndEvent;
use crate::protocol::close::CloseCode;
use crate::time::Timestamp;

/// How many events of back ends may wait for the supervisor. Joins take no permit: a session has at
/// most one pending join for each of its rooms, and few at a time.
const MAILBOX: usize = 1024;

/// A session asks to enter a room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FindRoom {
    /// The session's membership guard.
    pub guard: MembershipGuard,
    /// The user's identity.
    pub identity: Arc<Identity>,
    /// Whether it enters as a member or only sends.
    pub kind: EntryKind,
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

/// Registers a new session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    /// The session.
    pub peer: Arc<Peer>,
    /// Its connection, which two sessions of one user may share.
    pub connection: ConnectionId,
    /// The user.
    pub user: UserId,
}

/// An order that concerns a session's user has changed.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct UserOrderChanged {
    /// The session.
    pub session: SessionId,
    /// The committed change.
    pub change: Arc<CommittedChange>,
}

/// Answered when all earlier messages to the supervisor were handled.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SupervisorBarrier;

/// Removes a session that has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unregister {
    /// The session.
    pub session: SessionId,
    /// The user.
    pub user: UserId,
}

/// The hub ends a connection. The answer says whether it ends.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct Disconnect {
    /// The close code.
    pub close: CloseCode,
    /// An admin's reason, in place of that of the code.
    pub reason: Option<String>,
    /// After how many milliseconds the client should reconnect.
    pub reconnect_after_ms: Option<u64>,
    /// How long to wait before the close.
    pub delay: std::time::Duration,
    /// The user whom it concerns, where several share the connection; sessions of the others can be
    /// resumed. `None` concerns all.
    pub user: Option<UserId>,
    /// Ends the connection only if that user has a session on it whose token may have been issued
    /// before this time.
    pub issued_before: Option<Timestamp>,
}

/// Asks for the addresses that end a user's connections.
#[derive(Message)]
#[rtype(result = "Vec<Recipient<Disconnect>>")]
pub struct UserConnections(pub UserId);

/// Ends every session of a user. The answer is their number.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct DisconnectUser {
    /// The user.
    pub user: UserId,
    /// How they end.
    pub end: Disconnect,
}

/// Sends an event of a back end to users. The answer is the number of connections that it reached.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct NotifyUsers {
    /// The users who get it.
    pub users: BTreeSet<UserId>,
    /// The event.
    pub event: BackEndEvent,
    /// The permit of the supervisor's queue.
    pub permit: Permit,
}

/// Ends every session of the node, spread over a while. The answer is their number.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct DisconnectAll {
    /// How they end.
    pub close: CloseCode,
    /// The time over which the closes are spread.
    pub spread: std::time::Duration,
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
    /// Counts all rooms of the process, so that a late report of an old room is recognised.
    next_epoch: u64,
}

// === impl Supervisor ===

impl Supervisor {
    /// Starts the supervisor of a node on this thread's arbiter.
    pub fn launch(shared: Arc<Shared>, arbiter: &ArbiterHandle) -> Arc<SupervisorHandle> {
        let addr = Self::start_in_arbiter(arbiter, move |ctx: &mut Context<Self>| Self {
            shared,
            reports: ctx.address().recipient(),
            rooms: BTreeMap::new(),
            crashes: HashMap::new(),
            users: HashMap::new(),
            next_epoch: 0,
        });
        Arc::new(SupervisorHandle { addr, permits: Permits::new(MAILBOX) })
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<FindRoom> for Supervisor {
    type Result = ();

    fn handle(&mut self, find: FindRoom, ctx: &mut Self::Context) {
        match self.crash_wait(&find.guard.order, Instant::now()) {
            Some(wait) => {
                ctx.notify_later(find, wait);
            }
            None => self.forward(find),
        }
    }
}

impl Handler<LeaveRoom> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: LeaveRoom, _: &mut Self::Context) {
        if let Some(entry) = self.rooms.get(&message.order) {
            entry.handle.addr.do_send(message.leave);
        }
    }
}

impl Handler<RoomReport> for Supervisor {
    type Result = ();

    fn handle(&mut self, report: RoomReport, _: &mut Self::Context) {
        match report {
            RoomReport::Idle { order, epoch, seen } => self.forget_idle(&order, epoch, seen),
            RoomReport::Crashed { order, epoch } => self.crashed(&order, epoch, Instant::now()),
        }
    }
}

impl Handler<Register> for Supervisor {
    type Result = ();

    fn handle(&mut self, register: Register, _: &mut Self::Context) {
        self.register(register);
    }
}

impl Handler<Unregister> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Unregister, _: &mut Self::Context) {
        self.unregister(&message.user, message.session);
    }
}

impl Handler<DisconnectUser> for Supervisor {
    type Result = usize;

    fn handle(&mut self, message: DisconnectUser, _: &mut Self::Context) -> usize {
        self.disconnect_user(&message.user, &message.end)
    }
}

impl Handler<UserConnections> for Supervisor {
    type Result = actix::MessageResult<UserConnections>;

    fn handle(
        &mut self,
        UserConnections(user): UserConnections,
        _: &mut Self::Context,
    ) -> Self::Result {
        actix::MessageResult(self.connections_of(&user))
    }
}

impl Handler<NotifyUsers> for Supervisor {
    type Result = usize;

    fn handle(&mut self, message: NotifyUsers, _: &mut Self::Context) -> usize {
        self.notify_users(&message.users, &message.event)
    }
}

impl Handler<FindOnline> for Supervisor {
    type Result = actix::MessageResult<FindOnline>;

    fn handle(&mut self, FindOnline(users): FindOnline, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.online_of(users))
    }
}

impl Handler<DisconnectAll> for Supervisor {
    type Result = usize;

    fn handle(&mut self, message: DisconnectAll, _: &mut Self::Context) -> usize {
        self.disconnect_all(message.close, message.spread)
    }
}

impl Handler<OrderChanged> for Supervisor {
    type Result = ();

    /// The store sends changes in the order of its commits. This message takes no permit: the call
    /// that made the change holds one until it is answered, and a lost change would leave a user in
    /// a room without the right to be there.
    fn handle(&mut self, change: OrderChanged, _: &mut Self::Context) {
        if let Some(entry) = self.rooms.get(&change.0.changed.order.id) {
            entry.handle.addr.do_send(change.clone());
        }
        if change.0.changed.raised {
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

impl Handler<ListRooms> for Supervisor {
    type Result = actix::MessageResult<ListRooms>;

    fn handle(&mut self, list: ListRooms, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.list_rooms(list.after.as_ref(), list.limit))
    }
}

impl Handler<GetRoom> for Supervisor {
    type Result = Option<Arc<RoomHandle>>;

    fn handle(&mut self, message: GetRoom, _: &mut Self::Context) -> Self::Result {
        self.rooms.get(&message.0).map(|entry| entry.handle.clone())
    }
}

impl Handler<GetRooms> for Supervisor {
    type Result = Vec<Arc<RoomHandle>>;

    fn handle(&mut self, _: GetRooms, _: &mut Self::Context) -> Self::Result {
        self.rooms.values().map(|entry| entry.handle.clone()).collect()
    }
}
