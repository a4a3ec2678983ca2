//! The room of one order: relays its driver's locations, has its chat stored and then sends it
//! out, and knows who is here.
//!
//! What a room decides is in [`crate::room`]; this actor unpacks, asks and sends. Only the room
//! writes room events into its members' outboxes, so they keep one order.

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
use crate::room::order::OrderFacts;
use crate::room::read_marks::ReadMarks;
use crate::room::recent_messages::{MessageJson, RecentMessages};
use crate::room::roster::Roster;
use crate::room::track::PositionTracker;
use crate::room::typing::TypingUsers;
use crate::transport::LatestKey;

/// A session wants to be in the room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// The place it will have.
    pub guard: MembershipGuard,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// As what.
    pub kind: EntryKind,
}

/// A session that is in joins: once more, or for the first time after it only sent.
#[derive(Message)]
#[rtype(result = "()")]
pub struct JoinAgain {
    /// Which session.
    pub session: SessionId,
    /// What it wants to be shown.
    pub join: Join,
    /// Where the snapshot goes.
    pub answer: Answer,
}

/// As what a session comes into a room.
pub enum EntryKind {
    /// A member, who is shown the room.
    Join(Join, Answer),
    /// A member who comes back, and is shown only what was missed.
    Rejoin {
        /// Whether the session itself was away, and not only its room.
        returned: bool,
    },
    /// Somebody who sends without being a member.
    SendOnly,
}

/// A session leaves: one that asked for it is told.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Which session.
    pub session: SessionId,
    /// What its client hears; none where the session has ended.
    pub reply: Option<LeaveReply>,
    /// Whether the client took its leave, or was just lost.
    pub clean: bool,
}

/// Where the driver is.
#[derive(Message)]
#[rtype(result = "()")]
pub struct UpdateLocation {
    /// Who sent it.
    pub session: SessionId,
    /// When it came.
    pub at: Instant,
    /// The fix.
    pub fix: Fix,
    /// Where the reply goes.
    pub reply: LocationReply,
    /// Its place in the queue.
    pub permit: RoomPermit,
}

/// A session says something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PostChat {
    /// Who sent it.
    pub session: SessionId,
    /// What.
    pub chat: Chat,
    /// Where the ack goes.
    pub answer: Answer,
    /// Its place in the queue.
    pub permit: RoomPermit,
}

/// A session wants to read what was said.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GetHistory {
    /// Who asks.
    pub session: SessionId,
    /// Which page.
    pub history: History,
    /// Where it goes.
    pub answer: Answer,
}

/// A session has a new token: it is authorized again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct UpdateIdentity {
    /// Which session.
    pub session: SessionId,
    /// Who the new token says it is.
    pub identity: Arc<Identity>,
}

/// An admin removes a user, whatever their rights.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RemoveUser(pub UserId);

/// An admin wants to see the room.
#[derive(Message)]
#[rtype(result = "RoomDetail")]
pub struct Inspect;

/// What the supervisor hears of a room.
#[derive(Message)]
#[rtype(result = "()")]
pub enum RoomReport {
    /// Nobody is here, and nobody was for a while.
    Idle {
        /// Which room.
        order: OrderId,
        /// Which of the rooms that this order has had.
        epoch: u64,
        /// How many of the supervisor's joins it has seen.
        seen: u64,
    },
    /// It ended without being told to.
    Crashed {
        /// Which room.
        order: OrderId,
        /// Which of the rooms that this order has had.
        epoch: u64,
    },
}

/// A way to a room, with the bound of its queue.
pub struct RoomHandle {
    /// The room.
    pub addr: Addr<OrderRoom>,
    /// What it counts.
    pub stats: Arc<RoomStats>,
}

/// A place in a room's queue. It does not hold the room's address: a message that is never taken out
/// would keep itself alive.
pub type RoomPermit = Permit<RoomStats>;

/// What the supervisor gives a room to begin with.
pub struct RoomParams {
    /// Which order.
    pub order: OrderId,
    /// Which of the rooms that this order has had, over the whole process.
    pub epoch: u64,
    /// Whether one before panicked: then writes of its may still be under way, and those who come
    /// back to it were never away.
    pub after_crash: bool,
    /// Who hears of its end.
    pub reports: Recipient<RoomReport>,
    /// What all actors share.
    pub shared: Arc<Shared>,
}

/// The actor. What a position touches stands together, first and in this order: most rooms are cold
/// when one arrives.
#[repr(C)]
pub struct OrderRoom {
    /// Sessions that are shown the room.
    members: RecentMap<SessionId, Member>,
    handle: Arc<RoomHandle>,
    shared: Arc<Shared>,
    track: PositionTracker,
    /// What is remembered of each driver.
    lanes: RecentMap<UserId, DriverLane>,
    order: OrderId,
    /// Whether the last position is newer than the database's.
    track_dirty: bool,
    /// Whether somebody's read mark waits for a place among those that are written.
    read_marks_unsaved: bool,
    after_crash: bool,
    /// Whether the database knows the order.
    exists: bool,
    /// Whether chat was told while the order is read: the read may be older.
    chat_while_loading: bool,
    /// Whether anybody was ever let in.
    used: bool,
    /// Whether the supervisor told it to stop.
    stopped: bool,
    reports: Recipient<RoomReport>,
    epoch: u64,
    /// Joins that the supervisor forwarded and that have arrived.
    seen: u64,
    /// Where the store's answers go.
    writes_reply: Recipient<ChatWritten>,
    /// Sessions that wait until the order is read from the database; none once it was.
    loading: Option<Vec<Enter>>,
    /// What the database says of the order.
    facts: OrderFacts,
    /// The revision that this is of.
    rev: i64,
    /// The newest change that was told while the order is read: the read may be older.
    change_while_loading: Option<OrderChanged>,
    /// Sessions that only send.
    senders: HashMap<SessionId, Sender, RandomState>,
    roster: Roster,
    recent_messages: RecentMessages,
    delivery: Delivery<MessageJson>,
    /// Up to which number there is no chat: it was of the order before it was deleted.
    floor: i64,
    /// How far each user has read.
    read_marks: ReadMarks,
    /// Who is typing, and each one's key in the latest-wins lane.
    typing_users: TypingUsers<LatestKey>,
    /// Messages that the store has not answered for, by their tokens, which rise: since when, and who
    /// is to hear of it.
    writes: BTreeMap<u64, (Instant, Answer)>,
    /// The next number of a write or of a read for a snapshot.
    next_token: u64,
    /// Since when nobody is here.
    idle_since: Option<Instant>,
    /// The armed timer and when it fires.
    timer: Option<(SpawnHandle, Instant)>,
}

// === impl RoomHandle ===

impl RoomHandle {
    /// A place in the room's queue.
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

    /// A number that was not used before.
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

    /// Arms the one timer for `at`, unless it fires sooner.
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

    /// Does what is due and arms the timer for what comes next.
    fn tick(&mut self, now: Instant, ctx: &mut Context<Self>) {
        self.announce_expired(now);
        self.broadcast_due_typing(now);
        self.fill_gap(now, ctx);
        self.give_up_writes(now);
        self.watch_idleness(now, ctx);
        let due = [self.roster.next_expiry(), self.delivery.gap_due(), self.idle_due()];
        let others = [self.typing_users.next_due(), self.writes_due()];
        if let Some(next) = due.into_iter().chain(others).flatten().min() {
            self.wake_at(next, ctx);
        }
    }
}

impl Actor for OrderRoom {
    type Context = Context<Self>;

    /// The order is read when the first session arrives, which is at once.
    fn started(&mut self, _: &mut Self::Context) {
        self.shared.metrics.rooms.inc();
    }
}

impl Drop for OrderRoom {
    /// Runs on every end, a panic included: the supervisor must not send joins into the void.
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
