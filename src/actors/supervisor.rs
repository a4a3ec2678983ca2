//! The registry: which room serves an order, which sessions a user has. It spawns a room when its
//! order is first joined, on the thread that asks, and is asked once per join, never per message.

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
use crate::auth::Identity;
use crate::ids::{ConnectionId, OrderId, SessionId, UserId};
use crate::permits::{Permit, Permits};
use crate::protocol::back_end::BackEndEvent;
use crate::protocol::close::CloseCode;
use crate::time::Timestamp;

/// How many events of back ends may wait for the supervisor. The ways into rooms take no place: a
/// session has at most one for each of its rooms, and of those that it joins only a few at a time.
const MAILBOX: usize = 1024;

/// A session wants to be in a room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FindRoom {
    /// The place it will have.
    pub guard: MembershipGuard,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// As what.
    pub kind: EntryKind,
    /// The thread on which a new room is to run.
    pub arbiter: ArbiterHandle,
}

/// A session that has not heard from a room yet leaves it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LeaveRoom {
    /// Which order.
    pub order: OrderId,
    /// What the room is to hear.
    pub leave: Leave,
}

/// A session begins.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    /// Which session.
    pub peer: Arc<Peer>,
    /// By which connection; two sessions of one user may share it.
    pub connection: ConnectionId,
    /// Whose.
    pub user: UserId,
}

/// An order that concerns a session's user has changed.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct UserOrderChanged {
    /// Which session.
    pub session: SessionId,
    /// What has changed.
    pub change: Arc<CommittedChange>,
}

/// What the supervisor was told before is on its way when this is answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SupervisorBarrier;

/// A session has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unregister {
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
}

/// What the supervisor tells a session: the hub ends it. The answer says whether it does.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct Disconnect {
    /// Why.
    pub close: CloseCode,
    /// A reason in an admin's words, instead of the code's own.
    pub reason: Option<String>,
    /// When the client should come back.
    pub reconnect_after_ms: Option<u64>,
    /// How long to wait before.
    pub delay: std::time::Duration,
    /// Whom it concerns, of those who share the connection; none: all.
    pub user: Option<UserId>,
    /// Only where that user's token was issued before this.
    pub issued_before: Option<Timestamp>,
}

/// The ways to end the connections of a user.
#[derive(Message)]
#[rtype(result = "Vec<Recipient<Disconnect>>")]
pub struct UserConnections(pub UserId);

/// End every session of a user; says how many there are.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct DisconnectUser {
    /// Whose.
    pub user: UserId,
    /// How.
    pub end: Disconnect,
}

/// A back end has something to say to users; answers to how many of their connections it went.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct NotifyUsers {
    /// To whom.
    pub users: BTreeSet<UserId>,
    /// What.
    pub event: BackEndEvent,
    /// Its place in the queue.
    pub permit: Permit,
}

/// End every session of the node, spread over a while; says how many there are.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct DisconnectAll {
    /// How.
    pub close: CloseCode,
    /// The time over which they are spread.
    pub spread: std::time::Duration,
}

/// The rooms of this node, in order of their ids.
#[derive(Message)]
#[rtype(result = "Vec<RoomActivity>")]
pub struct ListRooms {
    /// Only rooms behind this one.
    pub after: Option<OrderId>,
    /// How many at most; none: all.
    pub limit: Option<usize>,
}

/// The way to one room.
#[derive(Message)]
#[rtype(result = "Option<Arc<RoomHandle>>")]
pub struct GetRoom(pub OrderId);

/// The ways to every room.
#[derive(Message)]
#[rtype(result = "Vec<Arc<RoomHandle>>")]
pub struct GetRooms;

/// A way to the supervisor, with the bound of its queue.
pub struct SupervisorHandle {
    /// The supervisor.
    pub addr: Addr<Supervisor>,
    /// The places in its queue.
    pub permits: Permits,
}

/// The actor.
pub struct Supervisor {
    shared: Arc<Shared>,
    /// Who hears of the end of rooms: this actor.
    reports: Recipient<RoomReport>,
    /// The room of each order that has one, in order for paging.
    rooms: BTreeMap<OrderId, RoomEntry>,
    /// Rooms that have panicked of late.
    crashes: HashMap<OrderId, Crash>,
    /// The sessions of each user, oldest first.
    users: HashMap<UserId, Vec<SessionEntry>>,
    /// Over all rooms that ever were, so that a late report of an old one is known as such.
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

impl Handler<DisconnectAll> for Supervisor {
    type Result = usize;

    fn handle(&mut self, message: DisconnectAll, _: &mut Self::Context) -> usize {
        self.disconnect_all(message.close, message.spread)
    }
}

impl Handler<OrderChanged> for Supervisor {
    type Result = ();

    /// Sent by the store in the order of its commits, and without a permit: changes have theirs
    /// until they are answered, and one that were lost would leave somebody in a room.
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

    /// Without a permit as well: a lost message would be a hole in the room's chat.
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
