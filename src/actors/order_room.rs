//! The room of one order: relays the driver's positions, stores chat before it sends it, and tracks
//! presence.
//!
//! The decisions are in [`crate::room`]; this actor receives messages, asks it, and sends the
//! results. Only the room writes room events into its members' outboxes, so every member gets them
//! in one order.

mod broadcast;
mod catch_up;
mod chat;
mod lifecycle;
mod location;
mod membership;
mod order_change;
mod posted_fixes;
mod receipts;
mod snapshot;
mod stats;
mod typing;
mod webhooks;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle};
use foldhash::fast::RandomState;

pub use self::broadcast::Announce;
pub use self::lifecycle::{RoomBarrier, SaveRoomState, Stop};
use self::location::DriverLane;
use self::membership::{Member, Sender};
pub use self::posted_fixes::{FixSource, PublishFixes, PublishedFixes, driver_for_fixes};
pub use self::receipts::SetReceipt;
pub use self::stats::{RoomActivity, RoomDetail, RoomStats, SessionDetail};
pub use self::typing::SetTyping;
use super::location_reply::LocationReply;
use super::peer::{Answer, LeaveReply, MembershipGuard, Peer};
use super::shared::Shared;
use super::store::{ChatWritten, OrderChanged};
use crate::auth::Identity;
use crate::ids::{OrderId, SessionId, UserId};
use crate::permits::{Permit, take};
use crate::protocol::client::{Chat, Fix, History, Join};
use crate::recent::RecentMap;
use crate::room::delivery::Delivery;
use crate::room::driver_watch::DriverWatch;
use crate::room::order::OrderFacts;
use crate::room::read_marks::ReadMarks;
use crate::room::recent_messages::{MessageJson, RecentMessages};
use crate::room::roster::Roster;
use crate::room::track::PositionTracker;
use crate::room::typing::TypingUsers;
use crate::transport::LatestKey;

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
}

/// A session that is already in the room joins: once more, or for the first time after it only
/// sent.
#[derive(Message)]
#[rtype(result = "()")]
pub struct JoinAgain {
    /// The session.
    pub session: SessionId,
    /// Which messages the snapshot shows.
    pub join: Join,
    /// Takes the snapshot.
    pub answer: Answer,
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

/// A session leaves. The client is told if it asked to leave.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// The session.
    pub session: SessionId,
    /// The reply for its client. `None` where the session has ended.
    pub reply: Option<LeaveReply>,
    /// Whether the client left in an orderly way, or its connection was lost.
    pub clean: bool,
}

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

/// A session sends a chat message.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PostChat {
    /// The session that sent it.
    pub session: SessionId,
    /// The message.
    pub chat: Chat,
    /// Takes the acknowledgement.
    pub answer: Answer,
    /// The permit of the room's queue.
    pub permit: RoomPermit,
}

/// A session asks for a page of chat.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GetHistory {
    /// The session that asks.
    pub session: SessionId,
    /// The page it asks for.
    pub history: History,
    /// Takes the page.
    pub answer: Answer,
}

/// A session has a new token, so its rights are checked again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct UpdateIdentity {
    /// The session.
    pub session: SessionId,
    /// The identity of the new token.
    pub identity: Arc<Identity>,
}

/// An admin removes a user, whatever their rights.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RemoveUser(pub UserId);

/// An admin asks for the room's details.
#[derive(Message)]
#[rtype(result = "RoomDetail")]
pub struct Inspect;

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
        /// How many forwarded joins it has processed.
        seen: u64,
    },
    /// It ended without being stopped.
    Crashed {
        /// The room's order.
        order: OrderId,
        /// The number of this room among all rooms of the process.
        epoch: u64,
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
    /// Whether chat arrived while the order was read: the read may be older.
    chat_while_loading: bool,
    /// Whether any session was ever let in.
    used: bool,
    /// Whether the supervisor has stopped it.
    stopped: bool,
    reports: Recipient<RoomReport>,
    epoch: u64,
    /// Joins that the supervisor forwarded and that the room has processed.
    seen: u64,
    /// Takes the store's answers.
    writes_reply: Recipient<ChatWritten>,
    /// Sessions that wait until the order is read from the database. `None` once it was read.
    loading: Option<Vec<Enter>>,
    /// The order's facts in the database.
    facts: OrderFacts,
    /// The revision of `facts`.
    rev: i64,
    /// The newest change that arrived while the order was read: the read may be older.
    change_while_loading: Option<OrderChanged>,
    /// Sessions that only send.
    senders: HashMap<SessionId, Sender, RandomState>,
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
    /// Messages that the store has not answered yet, by their rising tokens: since when, and the
    /// answer for the client.
    writes: BTreeMap<u64, (Instant, Answer)>,
    /// The last number that a write or a read for a snapshot was given.
    next_token: u64,
    /// Since when the room is empty.
    idle_since: Option<Instant>,
    /// The armed timer and when it fires.
    timer: Option<(SpawnHandle, Instant)>,
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
            order: params.order,
            shared: params.shared,
            reports: params.reports,
            epoch: params.epoch,
            after_crash: params.after_crash,
            seen: 0,
            writes_reply: ctx.address().recipient(),
            handle,
            loading: Some(Vec::new()),
            facts: OrderFacts::default(),
            rev: 0,
            change_while_loading: None,
            chat_while_loading: false,
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
            idle_since: None,
            used: false,
            timer: None,
            stopped: false,
        }
    }

    /// A new, unused token.
    fn take_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// The peer and the identity of a session that may send here.
    fn peer_and_identity(&self, session: SessionId) -> Option<(&Arc<Peer>, &Arc<Identity>)> {
        let member =
            self.members.get(&session).map(|member| (&member.guard.peer, &member.identity));
        member.or_else(|| {
            self.senders.get(&session).map(|sender| (&sender.guard.peer, &sender.identity))
        })
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
        self.watch_driver(now);
        self.watch_idleness(now, ctx);
        let due = [self.roster.next_expiry(), self.delivery.gap_due(), self.idle_due()];
        let driver_due = self.driver_watch.as_ref().and_then(|watch| watch.next_due());
        let others = [self.typing_users.next_due(), self.writes_due(), driver_due];
        if let Some(next) = due.into_iter().chain(others).flatten().min() {
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
            self.reports.do_send(RoomReport::Crashed { order, epoch });
        }
    }
}

impl Handler<Enter> for OrderRoom {
    type Result = ();

    fn handle(&mut self, enter: Enter, ctx: &mut Self::Context) {
        self.seen += 1;
        match &mut self.loading {
            Some(waiting) => {
                waiting.push(enter);
                if waiting.len() == 1 {
                    self.load(ctx);
                }
            }
            None => self.admit(enter, ctx),
        }
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<JoinAgain> for OrderRoom {
    type Result = ();

    fn handle(&mut self, again: JoinAgain, ctx: &mut Self::Context) {
        self.join_again(again, ctx);
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<Leave> for OrderRoom {
    type Result = ();

    fn handle(&mut self, leave: Leave, ctx: &mut Self::Context) {
        self.leave(leave);
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<UpdateLocation> for OrderRoom {
    type Result = ();

    fn handle(&mut self, update: UpdateLocation, ctx: &mut Self::Context) {
        if self.update_location(update) {
            self.tick(Instant::now(), ctx);
        }
    }
}

impl Handler<PostChat> for OrderRoom {
    type Result = ();

    fn handle(&mut self, post: PostChat, ctx: &mut Self::Context) {
        self.post(post);
        if let Some(due) = self.writes_due() {
            self.wake_at(due, ctx);
        }
    }
}

impl Handler<ChatWritten> for OrderRoom {
    type Result = ();

    fn handle(&mut self, written: ChatWritten, ctx: &mut Self::Context) {
        self.on_chat_written(written, Instant::now());
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<GetHistory> for OrderRoom {
    type Result = ();

    fn handle(&mut self, read: GetHistory, ctx: &mut Self::Context) {
        self.get_history(read, ctx);
    }
}
