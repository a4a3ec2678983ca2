//! The room of one order: relays the driver's positions, stores chat before it sends it, and tracks
//! presence.
//!
//! The decisions are in [`crate::room`]; this actor receives messages, asks it, and sends the
//! results. Only the room writes room events into its members' outboxes, so every member gets them
//! in one order.

mod announce;
mod catch_up;
mod chat;
mod chat_hook;
mod entry;
mod history;
mod lanes;
mod lifecycle;
mod location;
mod members;
mod neighbours;
mod order_change;
mod outdated;
mod posted_fixes;
mod read_ahead;
mod receipts;
mod relay;
mod removal;
mod requests;
mod rights;
mod snapshot;
mod stats;
mod typing;
mod webhooks;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Message, Recipient, SpawnHandle};
use foldhash::fast::RandomState;

pub use self::announce::Announce;
use self::chat_hook::AskedChat;
pub use self::entry::{JoinAgain, Leave};
use self::lanes::DriverLane;
pub use self::lifecycle::{RoomBarrier, SaveRoomState, Stop};
pub use self::location::UpdateLocation;
use self::members::{Member, RoomSession};
pub use self::neighbours::SayHello;
pub use self::posted_fixes::{FixSource, PublishFixes, PublishedFixes, driver_for_fixes};
use self::relay::RoomRelay;
pub use self::relay::{BusEvents, CatchUp, StartAnew};
pub use self::removal::{RemoveUser, UpdateIdentity};
pub use self::requests::ClientRequest;
pub use self::stats::{Inspect, RoomActivity, RoomDetail, RoomStats, SessionDetail};
use super::peer::{Answer, MembershipEvent, MembershipGuard, SubscriptionId};
use super::reachable::Reachable;
use super::shared::Shared;
use super::store::{ChatWritten, LoadedOrder, OrderChanged};
use crate::auth::Identity;
use crate::permits::{Permit, take};
use crate::recent::RecentMap;
use crate::room::delivery::Delivery;
use crate::room::driver_watch::DriverWatch;
use crate::room::order::OrderFacts;
use crate::room::read_marks::ReadMarks;
use crate::room::recent_messages::{MessageJson, RecentMessages};
use crate::room::roster::Roster;
use crate::room::track::PositionTracker;
use crate::room::typing::TypingUsers;
use protocol::error::{ErrorCode, Failure};
use protocol::events::join::Join;
use protocol::events::leave::{Left, LeftReason};
use protocol::ids::{OrderId, SessionId, UserId};
use protocol::server::ServerEvent;
use transport::LatestKey;

/// A session enters the room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// The session's membership guard.
    pub guard: MembershipGuard,
    /// The user's identity.
    pub identity: Arc<Identity>,
    /// Whether it enters as a member or only sends.
    pub kind: EntryKind,
    /// The connection, which is told that the session was let in.
    pub connection: Arc<dyn Reachable<Entered>>,
}

/// How a session enters a room.
pub enum EntryKind {
    /// A member, who is shown the room.
    Join(Join, Answer),
    /// A member that comes back, and gets only what it missed.
    Rejoin {
        /// Whether the session itself was away, and not only its room.
        returned: bool,
    },
    /// A session that sends without being a member.
    SendOnly,
}

/// A session was let in: from now on it sends to the room directly.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Entered {
    /// The session.
    pub session: SessionId,
    /// The room's order.
    pub order: OrderId,
    /// The subscription with which it entered. The session ignores an old one.
    pub subscription: SubscriptionId,
    /// The room.
    pub room: Arc<RoomHandle>,
}

/// What a room reports to the supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub enum RoomReport {
    /// The room has been empty for a while.
    Idle {
        /// The room's order.
        order: OrderId,
        /// The number of this room among all rooms of the process.
        epoch: u64,
        /// How many forwarded entries it has handled.
        entries_handled: u64,
    },
    /// It ended without being stopped.
    Crashed {
        /// The room's order.
        order: OrderId,
        /// The number of this room among all rooms of the process.
        epoch: u64,
        /// Whether it panicked. Otherwise it has found that it must start anew.
        is_panic: bool,
    },
}

/// A room's address, with its counters, which bound its queue.
pub struct RoomHandle {
    /// The room's address.
    pub addr: Addr<OrderRoom>,
    /// The room's counters.
    pub stats: Arc<RoomStats>,
}

/// A permit of a room's queue. It does not hold the room's address: a message that is never taken
/// out of the mailbox would then keep the mailbox alive.
pub type RoomPermit = Permit<RoomStats>;

/// What the supervisor creates a room with.
pub struct RoomParams {
    /// The order.
    pub order: OrderId,
    /// The number of this room among all rooms of the process.
    pub epoch: u64,
    /// Whether an earlier room of the order panicked. Then its writes may still be under way, and
    /// members that come back were never away.
    pub after_crash: bool,
    /// Where it reports that it is idle or crashed.
    pub reports: Recipient<RoomReport>,
    /// What all actors share.
    pub shared: Arc<Shared>,
}

/// The room actor. The fields that a position touches come first, in this order: in most rooms they
/// are not in the processor's cache when a position arrives.
#[repr(C)]
pub struct OrderRoom {
    /// Sessions that are shown the room.
    members: RecentMap<SessionId, Member>,
    handle: Arc<RoomHandle>,
    shared: Arc<Shared>,
    track: PositionTracker,
    /// What the room keeps of each driver.
    lanes: RecentMap<UserId, DriverLane>,
    order: OrderId,
    /// Whether the last position is newer than the database's.
    track_dirty: bool,
    /// Whether a read mark waits for a place in the store's queue.
    read_marks_unsaved: bool,
    after_crash: bool,
    /// Whether the database knows the order.
    exists: bool,
    /// Whether any session was ever let in.
    used: bool,
    /// Whether the supervisor has stopped it.
    stopped: bool,
    /// Whether it ends because the database has less than it has sent out.
    starts_anew: bool,
    reports: Recipient<RoomReport>,
    epoch: u64,
    /// How many forwarded entries it has handled.
    entries_handled: u64,
    /// Takes the store's answers.
    writes_reply: Recipient<ChatWritten>,
    /// What waits until the order is read from the database. `None` once it was read.
    loading: Option<Box<Loading>>,
    /// The order's facts in the database.
    facts: OrderFacts,
    /// The revision of `facts`.
    rev: i64,
    /// Sessions that only send.
    senders: HashMap<SessionId, RoomSession, RandomState>,
    roster: Roster,
    recent_messages: RecentMessages,
    delivery: Delivery<MessageJson>,
    /// The highest `seq` from before the order was deleted; there is no chat up to it.
    floor: i64,
    /// How far each user has read.
    read_marks: ReadMarks,
    /// Who is typing, and each one's key in the latest-wins lane.
    typing_users: TypingUsers<LatestKey>,
    /// Watches the order's driver, if there are webhooks.
    driver_watch: Option<Box<DriverWatch>>,
    /// Messages that the store has not answered yet, by their rising tokens.
    writes: BTreeMap<u64, PendingWrite>,
    /// What the room has to do with other nodes, if there are any.
    relay: Option<Box<RoomRelay>>,
    /// The last number that a write or a read for a snapshot was given.
    next_token: u64,
    /// Messages about which the back end is asked.
    asked_chat: AskedChat,
    /// Since when the room is empty.
    idle_since: Option<Instant>,
    /// The armed timer and when it fires.
    timer: Option<(SpawnHandle, Instant)>,
}

/// A message that the store has not answered yet.
struct PendingWrite {
    since: Instant,
    /// Who sent it.
    session: SessionId,
    /// The answer for the client.
    answer: Answer,
    /// By which revision of the order it was judged. None while it waits behind others.
    judged_by: Option<i64>,
}

/// What waits while the order is read from the database.
#[derive(Default)]
struct Loading {
    /// Sessions that enter.
    waiting: Vec<Enter>,
    /// The newest change that arrived meanwhile: the read may be older.
    change: Option<OrderChanged>,
    /// Whether chat arrived meanwhile: the read may be older.
    has_new_chat: bool,
    /// The order, once it was read, while the rooms of other nodes have not answered.
    order: Option<LoadedOrder>,
}

// === impl EntryKind ===

impl EntryKind {
    /// Tells a session that it may not enter.
    pub fn refuse(self, guard: MembershipGuard, failure: Failure) {
        let answer = match self {
            // The client is in the room from its point of view, so this must not be the end. The
            // dropped guard tells the session that the room is lost, and the session tries again.
            Self::Rejoin { .. } if failure.code == ErrorCode::Unavailable => return,
            Self::Rejoin { .. } => {
                let left = Left { order_id: &guard.order, reason: LeftReason::Removed };
                guard.peer.tell(&ServerEvent::Left(left)).ok();
                None
            }
            Self::Join(_, answer) => Some(answer),
            Self::SendOnly => None,
        };
        guard.end(MembershipEvent::Refused(failure.clone()));
        if let Some(answer) = answer {
            answer.refuse(failure);
        }
    }
}

// === impl RoomHandle ===

impl RoomHandle {
    /// A permit of the room's queue, where one is free.
    pub fn permit(&self) -> Option<RoomPermit> {
        take(&self.stats, 1, OrderRoom::MAILBOX)
    }
}

// === impl OrderRoom ===

impl OrderRoom {
    /// How many messages may wait for a room.
    pub const MAILBOX: usize = 1024;

    /// A room of this order, in this actor's context.
    pub fn create(params: RoomParams, stats: Arc<RoomStats>, ctx: &mut Context<Self>) -> Self {
        let handle = Arc::new(RoomHandle { addr: ctx.address(), stats });
        Self {
            driver_watch: Self::driver_watch(&params.shared),
            relay: params.shared.relay.clone().map(RoomRelay::new),
            order: params.order,
            shared: params.shared,
            reports: params.reports,
            epoch: params.epoch,
            after_crash: params.after_crash,
            entries_handled: 0,
            writes_reply: ctx.address().recipient(),
            handle,
            loading: Some(Box::default()),
            facts: OrderFacts::default(),
            rev: 0,
            exists: false,
            members: RecentMap::default(),
            senders: HashMap::default(),
            roster: Roster::default(),
            recent_messages: RecentMessages::default(),
            delivery: Delivery::new(0),
            floor: 0,
            track: PositionTracker::default(),
            track_dirty: false,
            lanes: RecentMap::default(),
            read_marks: ReadMarks::default(),
            read_marks_unsaved: false,
            typing_users: TypingUsers::default(),
            writes: BTreeMap::new(),
            next_token: 0,
            asked_chat: AskedChat::default(),
            idle_since: None,
            used: false,
            timer: None,
            stopped: false,
            starts_anew: false,
        }
    }

    /// A new, unused token.
    fn take_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// Arms the timer for `at`, unless it fires sooner.
    fn wake_at(&mut self, at: Instant, ctx: &mut Context<Self>) {
        if self.timer.as_ref().is_some_and(|(_, armed)| *armed <= at) {
            return;
        }
        if let Some((timer, _)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let wait = at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let timer = ctx.run_later(wait, |room, ctx| {
            room.timer = None;
            room.tick(Instant::now(), ctx);
        });
        self.timer = Some((timer, at));
    }

    /// Handles what is due, and arms the timer for the next deadline.
    fn tick(&mut self, now: Instant, ctx: &mut Context<Self>) {
        self.announce_expired(now);
        self.broadcast_due_typing(now);
        self.fill_gap(now, ctx);
        self.give_up_writes(now);
        self.go_on_asking(ctx);
        self.keep_up_with_nodes(now);
        self.open_when_answered(now, ctx);
        // After those who waited were let in: the driver may be among them.
        self.watch_driver(now);
        self.watch_idleness(now, ctx);
        let due = [self.roster.next_expiry(), self.delivery.gap_due(), self.idle_due()];
        let driver_due = self.driver_watch.as_ref().and_then(|watch| watch.next_due());
        let others = [self.typing_users.next_due(), self.writes_due(), driver_due];
        let of_nodes = [self.nodes_due(), self.answers_due()];
        if let Some(next) = due.into_iter().chain(others).chain(of_nodes).flatten().min() {
            self.wake_at(next, ctx);
        }
    }
}

impl Actor for OrderRoom {
    type Context = Context<Self>;

    /// The order is read when the first session enters, which follows at once.
    fn started(&mut self, _: &mut Self::Context) {
        self.shared.metrics.rooms.inc();
    }
}

impl Drop for OrderRoom {
    /// Runs at every end, also at a panic, so that the supervisor forwards no join to a dead room.
    fn drop(&mut self) {
        self.shared.metrics.rooms.dec();
        if !self.stopped {
            let (order, epoch) = (self.order.clone(), self.epoch);
            let is_panic = !self.starts_anew;
            self.reports.do_send(RoomReport::Crashed { order, epoch, is_panic });
        }
    }
}
