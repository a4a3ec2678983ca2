//! A room's counters, readable from any thread, and the room's details for an admin.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use actix::{Context, Handler, Message, MessageResult};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::OrderRoom;
use super::members::RoomSession;
use crate::permits::PermitCounter;
use crate::session::resume::KnownOrder;
use protocol::ids::{OrderId, SessionId, UserId};
use protocol::location::Position;
use protocol::role::Role;
use protocol::time::Timestamp;

/// An admin asks for the room's details.
#[derive(Message)]
#[rtype(result = "RoomDetail")]
pub struct Inspect;

/// The length of the window that rates are counted over.
const WINDOW_MS: i64 = 10_000;

/// A room's counters. Only the room writes them, except the first, so plain loads and stores are
/// enough.
#[derive(Debug, Default)]
pub struct RoomStats {
    /// How many permits of its queue are taken.
    waiting: AtomicUsize,
    users: AtomicUsize,
    sessions: AtomicUsize,
    last_activity_ms: AtomicI64,
    locations: WindowedRate,
    chats: WindowedRate,
    /// What its members were last told of the order.
    known_order: Mutex<KnownOrder>,
    /// The newest message that was sent out, and the revision of the order: what is compared with
    /// the database. 0 and 0 until the order is read.
    progress: (AtomicI64, AtomicI64),
    /// Whether the order was read.
    is_loaded: AtomicBool,
    /// Whether the room is to say hello, because it may have missed others.
    is_hello_due: AtomicBool,
}

/// Counts events in windows of ten seconds.
#[derive(Debug, Default)]
struct WindowedRate {
    window: AtomicI64,
    current: AtomicU64,
    previous: AtomicU64,
}

/// A room in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomActivity {
    /// The order.
    pub order_id: OrderId,
    /// Users in the room.
    pub users: usize,
    /// Their sessions.
    pub sessions: usize,
    /// Locations a second, over the last full window of ten seconds.
    pub locations_per_second: f64,
    /// Chat messages a second, over the same window.
    pub chats_per_second: f64,
    /// When a user last came, went or sent something.
    pub last_activity: Timestamp,
}

/// One room as an admin sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomDetail {
    /// The room as in a list.
    #[serde(flatten)]
    pub activity: RoomActivity,
    /// The order's status.
    #[schema(required)]
    pub status: Option<String>,
    /// The assigned driver.
    #[schema(required)]
    pub driver_id: Option<UserId>,
    /// The `seq` of the newest message.
    pub last_seq: i64,
    /// Where the driver was last seen.
    #[schema(required)]
    pub last_location: Option<Position>,
    /// Every session.
    pub sessions_detail: Vec<SessionDetail>,
}

/// One session in a room.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDetail {
    /// The session's id.
    #[schema(value_type = String)]
    pub session_id: SessionId,
    /// The user.
    pub user_id: UserId,
    /// The name in the token.
    pub name: String,
    /// The role in the token.
    pub role: Role,
    /// Whether it is shown the room, or only sends.
    pub member: bool,
    /// Frames that wait for it.
    pub backlog_frames: usize,
    /// The bytes of these frames.
    pub backlog_bytes: usize,
}

// === impl RoomActivity ===

impl RoomActivity {
    /// Adds the room of the same order on another node. A user with sessions on both counts twice.
    /// What happens in the order happens in both rooms, so the higher rates are its rates.
    pub fn add(&mut self, other: &Self) {
        self.users = self.users.saturating_add(other.users);
        self.sessions = self.sessions.saturating_add(other.sessions);
        self.locations_per_second = self.locations_per_second.max(other.locations_per_second);
        self.chats_per_second = self.chats_per_second.max(other.chats_per_second);
        self.last_activity = self.last_activity.max(other.last_activity);
    }
}

// === impl RoomDetail ===

impl RoomDetail {
    /// Adds the room of the same order on another node.
    pub fn add(&mut self, other: Self) {
        self.activity.add(&other.activity);
        if other.last_seq > self.last_seq {
            (self.status, self.driver_id) = (other.status, other.driver_id);
            self.last_seq = other.last_seq;
        }
        self.last_location = self.last_location.take().or(other.last_location);
        self.sessions_detail.extend(other.sessions_detail);
    }
}

// === impl RoomStats ===

impl RoomStats {
    /// Counts a location.
    pub fn location(&self, now: Timestamp) {
        self.touch(now);
        self.locations.count(now);
    }

    /// Notes what the members were told.
    pub(super) fn set_known_order(&self, known: KnownOrder) {
        *self.known_order.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// What its members were last told of the order. A member that is told something else at this
    /// moment has an unsent entry for it in its push log.
    pub fn known_order(&self) -> KnownOrder {
        self.known_order.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how far the room is.
    pub(super) fn set_progress(&self, last_seq: i64, rev: i64) {
        self.progress.0.store(last_seq, Ordering::Relaxed);
        self.progress.1.store(rev, Ordering::Relaxed);
        self.is_loaded.store(true, Ordering::Release);
    }

    /// How far the room is: its last message and its revision. None until it has read the order.
    pub fn progress(&self) -> Option<(i64, i64)> {
        let progress =
            || (self.progress.0.load(Ordering::Relaxed), self.progress.1.load(Ordering::Relaxed));
        self.is_loaded.load(Ordering::Acquire).then(progress)
    }

    /// The room may have missed others.
    pub fn set_hello_due(&self) {
        self.is_hello_due.store(true, Ordering::Relaxed);
    }

    /// Whether the room is to say hello; from now on it has.
    pub fn take_hello_due(&self) -> bool {
        self.is_hello_due.swap(false, Ordering::Relaxed)
    }

    /// Counts a chat message.
    pub fn chat(&self, now: Timestamp) {
        self.touch(now);
        self.chats.count(now);
    }

    /// Sets how many users and sessions are here.
    pub fn occupancy(&self, users: usize, sessions: usize, now: Timestamp) {
        self.touch(now);
        self.users.store(users, Ordering::Relaxed);
        self.sessions.store(sessions, Ordering::Relaxed);
    }

    /// The room as a list shows it.
    pub fn activity(&self, order: &OrderId, now: Timestamp) -> RoomActivity {
        RoomActivity {
            order_id: order.clone(),
            users: self.users.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            locations_per_second: self.locations.per_second(now),
            chats_per_second: self.chats.per_second(now),
            last_activity: Timestamp::from_millis(self.last_activity_ms.load(Ordering::Relaxed)),
        }
    }

    fn touch(&self, now: Timestamp) {
        self.last_activity_ms.store(now.as_millis(), Ordering::Relaxed);
    }
}

impl PermitCounter for RoomStats {
    fn taken(&self) -> &AtomicUsize {
        &self.waiting
    }
}

// === impl WindowedRate ===

impl WindowedRate {
    fn count(&self, now: Timestamp) {
        let (window, known) = (now.as_millis() / WINDOW_MS, self.window.load(Ordering::Relaxed));
        let current = self.current.load(Ordering::Relaxed);
        if window == known {
            self.current.store(current + 1, Ordering::Relaxed);
            return;
        }
        let previous = if window == known + 1 { current } else { 0 };
        self.previous.store(previous, Ordering::Relaxed);
        self.current.store(1, Ordering::Relaxed);
        self.window.store(window, Ordering::Relaxed);
    }

    /// The rate in the last full window.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn per_second(&self, now: Timestamp) -> f64 {
        let age = now.as_millis() / WINDOW_MS - self.window.load(Ordering::Relaxed);
        let count = match age {
            0 => self.previous.load(Ordering::Relaxed),
            1 => self.current.load(Ordering::Relaxed),
            _ => 0,
        };
        count as f64 * 1000.0 / WINDOW_MS as f64
    }
}

// === impl OrderRoom ===

impl OrderRoom {
    fn detail(&self, now: Timestamp) -> RoomDetail {
        let members = self.members.values().map(|member| session_detail(&member.session, true));
        let senders = self.senders.values().map(|sender| session_detail(sender, false));
        RoomDetail {
            activity: self.handle.stats.activity(&self.order, now),
            status: self.facts.status.clone(),
            driver_id: self.facts.driver_id.clone(),
            last_seq: self.delivery.delivered(),
            last_location: self.track.last().cloned(),
            sessions_detail: members.chain(senders).collect(),
        }
    }
}

fn session_detail(session: &RoomSession, member: bool) -> SessionDetail {
    let RoomSession { guard, identity, .. } = session;
    let backlog = guard.peer.outbox.backlog();
    SessionDetail {
        session_id: guard.peer.id,
        user_id: identity.user.clone(),
        name: identity.name.clone(),
        role: identity.role,
        member,
        backlog_frames: backlog.frames,
        backlog_bytes: backlog.bytes,
    }
}

impl Handler<Inspect> for OrderRoom {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, _: Inspect, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.detail(Timestamp::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_full_window() {
        let (rate, at) = (WindowedRate::default(), Timestamp::from_secs);
        (0..50).for_each(|_| rate.count(at(100)));
        let tenths = |secs| (rate.per_second(at(secs)) * 10.0).round();
        assert!((tenths(105) - 0.0).abs() < 0.1);
        assert!((tenths(110) - 50.0).abs() < 0.1);
        rate.count(at(112));
        assert!((tenths(113) - 50.0).abs() < 0.1);
        assert!((tenths(125) - 1.0).abs() < 0.1);
        assert!((tenths(140) - 0.0).abs() < 0.1);
    }
}
