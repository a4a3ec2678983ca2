//! One session of a connection: its identity, and its subscriptions.
//!
//! A plain connection has one session for its whole life, a Socket.IO connection one in each
//! namespace. Rooms and other clients see each as a separate session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::millis;
use super::subscription::{RoomEvent, Subscription};
use crate::actors::order_room::{Entered, EntryKind, Leave};
use crate::actors::peer::{Answer, Peer, SubscriptionId};
use crate::actors::reachable::Reachable;
use crate::actors::shared::{Shared, close_index};
use crate::actors::supervisor::{LeaveRoom, SupervisorHandle, Unregister};
use crate::auth::Identity;
use crate::rate_limit::users::UserRates;
use crate::recent::RecentMap;
use crate::session::catch_up_queue::CatchUpQueue;
use crate::session::open_orders::OpenOrders;
use crate::session::refusals::Refusals;
use crate::session::resume::{MAX_REMOVED, PushLog, SessionRecord};
use crate::session::token_expiry::Expiry;
use protocol::close::CloseCode;
use protocol::events::location::Fix;
use protocol::events::session_end::SessionEnd;
use protocol::ids::{OrderId, Pid, SessionId};
use protocol::server::ServerEvent;
use protocol::socketio::write;
use protocol::time::Timestamp;
use transport::{Frame, ReadPause, ReadPauseGuard};

/// How many events may wait for rooms before the socket is no longer read.
pub(super) const MAX_QUEUED: usize = 32;

/// A session of a user on a connection.
pub(super) struct Session {
    pub(super) peer: Arc<Peer>,
    pub(super) identity: Arc<Identity>,
    /// How many tokens it has had after its first.
    pub(super) renewals: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) supervisor: Arc<SupervisorHandle>,
    /// The connection, which rooms tell that they have let the session in.
    pub(super) connection: Arc<dyn Reachable<Entered>>,
    /// The rooms that it is in, or enters.
    pub(super) subscriptions: RecentMap<OrderId, Subscription>,
    /// The number of the newest subscription.
    pub(super) last_subscription: SubscriptionId,
    /// Rooms that it was removed from, and when: its client may not have received the event yet.
    removed: Vec<(OrderId, Instant)>,
    /// Recent refusals.
    pub(super) refusals: Refusals,
    /// The orders of which the user is the driver.
    pub(super) open_orders: OpenOrders<(Fix, Answer)>,
    /// Events that wait until their room has let the session in.
    pub(super) queued: usize,
    /// Pauses reading while too many of them wait.
    pub(super) queue_full_read_pause: Option<ReadPauseGuard>,
    /// An event that waits until the client has taken earlier large replies. Rare, so boxed.
    pub(super) postponed: Option<Box<PostponedEvent>>,
    /// Rooms that wait to catch up, with how the session enters them.
    pub(super) catch_ups: CatchUpQueue<EntryKind>,
    /// Pauses the reading of the connection.
    pub(super) read_pause: ReadPause,
    /// The user's rates, shared by all connections.
    pub(super) rates: Arc<UserRates>,
    pub(super) expiry: Expiry,
    /// The id to resume the session with, where it can be resumed.
    pub(super) pid: Option<Pid>,
    opened: Instant,
}

/// An event that waits until the client has taken earlier large replies; meanwhile the socket is
/// not read.
pub(super) struct PostponedEvent {
    pub(super) order: OrderId,
    pub(super) event: RoomEvent,
    /// How long it waits this time.
    pub(super) retry_after: Duration,
    pub(super) read_pause: ReadPauseGuard,
}

/// The ids and the push log with which a session starts.
pub(super) struct SessionStart {
    pub(super) session_id: SessionId,
    pub(super) pid: Option<Pid>,
    /// The chat that was sent to it, and will be.
    pub(super) push_log: PushLog,
}

/// The peer ended the connection.
pub(super) const PEER_CLOSED: &str = "peer_closed";

/// How a session ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndReason {
    pub(super) reason: &'static str,
    /// Whether the client left in an orderly way, or the hub ended it for good: then it gets no
    /// grace.
    pub(super) clean: bool,
    /// Whether its record is kept, so that its client can resume.
    pub(super) resumable: bool,
}

// === impl EndReason ===

impl EndReason {
    /// The client is not expected back.
    pub(super) const fn for_good(reason: &'static str) -> Self {
        Self { reason, clean: true, resumable: false }
    }

    /// The client is expected back.
    pub(super) const fn lost(reason: &'static str) -> Self {
        Self { reason, clean: false, resumable: true }
    }
}

// === impl SessionStart ===

impl SessionStart {
    /// A new session's state. The client may present `offset` again, as long as it gets no other.
    pub(super) fn new(resumes: bool, offset: Option<(OrderId, i64)>) -> Self {
        Self {
            session_id: SessionId::random(),
            // Without randomness a `pid` would not be unique.
            pid: resumes.then(Pid::random).and_then(Result::ok),
            push_log: PushLog::new(offset),
        }
    }
}
// === impl Session ===

impl Session {
    /// Starts a session of a user whose token was just verified.
    pub(super) fn new(
        peer: Arc<Peer>,
        identity: Identity,
        shared: Arc<Shared>,
        supervisor: Arc<SupervisorHandle>,
        connection: Arc<dyn Reachable<Entered>>,
        read_pause: ReadPause,
        pid: Option<Pid>,
    ) -> Self {
        let now = Instant::now();
        let rates = shared.user_rates.of(&identity.user, now);
        let session = Self {
            peer,
            expiry: expiry(&identity, now),
            identity: Arc::new(identity),
            renewals: 0,
            shared,
            supervisor,
            connection,
            subscriptions: RecentMap::default(),
            last_subscription: SubscriptionId::default(),
            removed: Vec::new(),
            refusals: Refusals::default(),
            open_orders: OpenOrders::Unread(None),
            queued: 0,
            queue_full_read_pause: None,
            postponed: None,
            catch_ups: CatchUpQueue::default(),
            read_pause,
            rates,
            pid,
            opened: now,
        };
        session.count(1);
        session
    }

    /// The session's last frame: the hub ends it.
    pub(super) fn session_end_frame(
        &self,
        close: CloseCode,
        reason: Option<&str>,
        reconnect_after_ms: Option<u64>,
    ) -> Frame {
        let mut end = SessionEnd::new(close, reconnect_after_ms);
        end.reason = reason.unwrap_or(close.reason);
        let event = ServerEvent::SessionEnd(end);
        self.shared.metrics.events_out.inc(event.index());
        Frame::text(|buffer| self.peer.codec.event(&event, buffer))
    }

    /// The packet that tells a Socket.IO client to stay away, if the close is terminal.
    pub(super) fn disconnect_frame(&self, close: CloseCode) -> Option<Frame> {
        let namespace = self.peer.codec.namespace().filter(|_| close.is_terminal())?;
        Some(Frame::text(|out| write::disconnect(namespace.as_str(), out)))
    }

    /// Ends the session: leaves every room, once.
    pub(super) fn end(&mut self, end: EndReason) {
        if self.peer.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let record = self.record().filter(|_| end.resumable);
        for (order, subscription) in self.subscriptions.drain(..) {
            let leave = Leave { session: self.peer.id, reply: None, clean: end.clean };
            match subscription.room() {
                Some(room) => room.addr.do_send(leave),
                // The room has not answered yet: the leave must not overtake the join.
                None => self.supervisor.addr.do_send(LeaveRoom { order, leave }),
            }
        }
        self.supervisor
            .addr
            .do_send(Unregister { session: self.peer.id, user: self.identity.user.clone() });
        // After every leave: the connection that claims the record enters the same rooms under the
        // same session id.
        self.save_record(record);
        self.shared.metrics.closes.inc(close_index(end.reason));
        self.log_end(end.reason);
    }

    /// Keeps a removal from a room until its event is confirmed: it may be lost with the
    /// connection.
    pub(super) fn remember_removal(&mut self, order: &OrderId) {
        self.forget_removal(order);
        if self.pid.is_some() {
            self.removed.push((order.clone(), Instant::now()));
            let too_many = self.removed.len().saturating_sub(MAX_REMOVED);
            self.removed.drain(..too_many);
        }
    }

    /// Forgets a removal, because the client joins again and so knows of it.
    pub(super) fn forget_removal(&mut self, order: &OrderId) {
        self.removed.retain(|(removed, _)| removed != order);
    }

    /// Forgets what the client has confirmed: all that was sent until then.
    pub(super) fn confirm_until(&mut self, until: Instant) {
        self.removed.retain(|(_, at)| *at > until);
        if let Some(mut push_log) = self.peer.push_log() {
            push_log.confirm_until(until);
        }
    }

    /// The rooms that it was removed from, as far as its client may not know.
    pub(super) fn removed(&self) -> impl Iterator<Item = OrderId> {
        self.removed.iter().map(|(order, _)| order.clone())
    }

    /// Keeps the record with which its client can resume. Without one the pid is forgotten.
    fn save_record(&self, record: Option<SessionRecord>) {
        let Some(pid) = self.pid else { return };
        match record {
            Some(record) => self.shared.resumes.detach(record, Instant::now()),
            None => self.shared.resumes.remove(pid),
        }
    }

    /// Logs the start of a session; its end is logged too. The token is never logged.
    pub(super) fn log_start(&self, remote: &str) {
        log::info!(
            session:% = self.peer.id,
            user:% = self.identity.user,
            role = self.identity.role.as_str(),
            framing = self.peer.codec.framing().as_str(),
            remote;
            "session started"
        );
    }

    fn log_end(&self, reason: &str) {
        log::info!(
            session:% = self.peer.id,
            user:% = self.identity.user,
            reason = reason,
            duration_ms = millis(self.opened.elapsed());
            "session ended"
        );
    }

    /// Counts the session among the open ones of its framing and role.
    pub(super) fn count(&self, change: i64) {
        let grid = &self.shared.metrics.connections;
        let framing = self.peer.codec.framing();
        if let Some(gauge) = grid.at(framing as usize, self.identity.role as usize) {
            gauge.inc_by(change);
        }
    }
}

impl Drop for Session {
    /// Runs at every end, also at a panic, so that no room keeps an ended session.
    fn drop(&mut self) {
        self.end(EndReason::lost(CloseCode::INTERNAL.reason));
        self.count(-1);
    }
}

/// The expiry of a token, on the clock of timers.
pub(super) fn expiry(identity: &Identity, now: Instant) -> Expiry {
    Expiry::new(now + identity.deadline.until_from(Timestamp::now()), identity.leeway())
}
