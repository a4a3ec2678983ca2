//! One session of a connection: whose it is, and its place in the rooms.
//!
//! A plain connection has one from its beginning to its end, a Socket.IO connection one in each
//! namespace. To rooms and to other clients each is a session of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ending::EndReason;
use super::millis;
use super::open_orders::OpenOrders;
use super::pacing::{CatchUpQueue, Postponed};
use super::subscriptions::{Refusals, Subscription};
use crate::actors::order_room::Leave;
use crate::actors::peer::{Peer, SubscriptionId};
use crate::actors::shared::{Shared, close_index};
use crate::actors::supervisor::{LeaveRoom, SupervisorHandle, Unregister};
use crate::auth::Identity;
use crate::ids::{OrderId, Pid};
use crate::protocol::close::CloseCode;
use crate::protocol::server::{ServerEvent, SessionEnd};
use crate::protocol::socketio::write;
use crate::rate_limit::users::UserRates;
use crate::recent::RecentMap;
use crate::session::resume::{MAX_REMOVED, SessionRecord};
use crate::session::token_expiry::Expiry;
use crate::time::Timestamp;
use crate::transport::{Frame, ReadPause, ReadPauseGuard};

/// A user on a connection.
pub(super) struct Session {
    pub(super) peer: Arc<Peer>,
    pub(super) identity: Arc<Identity>,
    pub(super) shared: Arc<Shared>,
    pub(super) supervisor: Arc<SupervisorHandle>,
    /// The address of the client, for the log.
    remote: Arc<str>,
    /// The rooms that it is in, or on the way to.
    pub(super) subscriptions: RecentMap<OrderId, Subscription>,
    /// The newest of them.
    pub(super) last_subscription: SubscriptionId,
    /// Rooms that it was put out of, and when: its client may not have heard of it yet.
    removed: Vec<(OrderId, Instant)>,
    /// Orders that refused it a moment ago.
    pub(super) refusals: Refusals,
    /// Those of which back ends made the user the driver.
    pub(super) open_orders: OpenOrders,
    /// Events that wait until their room has let the session in.
    pub(super) queued: usize,
    /// Held while too many of them wait.
    pub(super) queue_full_hold: Option<ReadPauseGuard>,
    /// The one that waits until the client has taken in what it asked for before.
    pub(super) postponed: Postponed,
    /// Rooms that it comes back to, one after the other.
    pub(super) catch_ups: CatchUpQueue,
    /// The flow of the connection's messages.
    pub(super) read_pause: ReadPause,
    /// What the user has used, on whichever connection.
    pub(super) rates: Arc<UserRates>,
    pub(super) expiry: Expiry,
    /// By what the client can take it up again, where it can.
    pub(super) pid: Option<Pid>,
    opened: Instant,
    /// Whether it has ended.
    ended: bool,
}

// === impl Session ===

impl Session {
    /// Of a user whose token was just found good.
    pub(super) fn new(
        peer: Arc<Peer>,
        identity: Identity,
        shared: Arc<Shared>,
        supervisor: Arc<SupervisorHandle>,
        remote: Arc<str>,
        read_pause: ReadPause,
        pid: Option<Pid>,
    ) -> Self {
        let now = Instant::now();
        let rates = shared.users.of(&identity.user, now);
        let session = Self {
            peer,
            expiry: expiry(&identity, now),
            identity: Arc::new(identity),
            shared,
            supervisor,
            remote,
            subscriptions: RecentMap::default(),
            last_subscription: SubscriptionId::default(),
            removed: Vec::new(),
            refusals: Refusals::default(),
            open_orders: OpenOrders::Unread(None),
            queued: 0,
            queue_full_hold: None,
            postponed: None,
            catch_ups: CatchUpQueue::default(),
            read_pause,
            rates,
            pid,
            opened: now,
            ended: false,
        };
        session.count(1);
        session.log_start();
        session
    }

    /// Says that the hub ends it, as the last thing that it hears.
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

    /// What tells a Socket.IO client to stay away, where it should.
    pub(super) fn disconnect_frame(&self, close: CloseCode) -> Option<Frame> {
        let namespace = self.peer.codec.namespace().filter(|_| close.is_terminal())?;
        Some(Frame::text(|out| write::disconnect(namespace.as_str(), out)))
    }

    /// Leaves every room, once.
    pub(super) fn end(&mut self, end: EndReason) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.peer.ended.store(true, Ordering::Release);
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
        // Behind every leave: whoever finds the record comes into the same rooms under the same id.
        self.save_record(record);
        self.shared.metrics.closes.inc(close_index(end.reason));
        self.log_end(end.reason);
    }

    /// It was put out of a room; the word of it may be lost with the connection.
    pub(super) fn remember_removal(&mut self, order: &OrderId) {
        self.forget_removal(order);
        if self.pid.is_some() {
            self.removed.push((order.clone(), Instant::now()));
            let too_many = self.removed.len().saturating_sub(MAX_REMOVED);
            self.removed.drain(..too_many);
        }
    }

    /// Its client wants into this room: it knows that it is not there.
    pub(super) fn forget_removal(&mut self, order: &OrderId) {
        self.removed.retain(|(removed, _)| removed != order);
    }

    /// Its client has got all that was sent until then.
    pub(super) fn confirm_until(&mut self, until: Instant) {
        self.removed.retain(|(_, at)| *at > until);
        if let Some(mut push_log) = self.peer.push_log() {
            push_log.confirm_until(until);
        }
    }

    /// The rooms that it was put out of, as far as its client may not know.
    pub(super) fn removed(&self) -> impl Iterator<Item = OrderId> {
        self.removed.iter().map(|(order, _)| order.clone())
    }

    /// Keeps what its client needs to go on; without it the client is meant to stay away.
    fn save_record(&self, record: Option<SessionRecord>) {
        let Some(pid) = self.pid else { return };
        match record {
            Some(record) => self.shared.resumes.detach(record, Instant::now()),
            None => self.shared.resumes.remove(pid),
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// One line at the beginning of a session, one at its end. Never the token.
    fn log_start(&self) {
        log::info!(
            session:% = self.peer.id,
            user:% = self.identity.user,
            role = self.identity.role.as_str(),
            framing = self.peer.codec.framing().as_str(),
            remote = &*self.remote;
            "connected"
        );
    }

    fn log_end(&self, reason: &str) {
        log::info!(
            session:% = self.peer.id,
            user:% = self.identity.user,
            reason = reason,
            duration_ms = millis(self.opened.elapsed());
            "closed"
        );
    }

    /// Counts it among the open sessions of its framing and role.
    pub(super) fn count(&self, change: i64) {
        let grid = &self.shared.metrics.connections;
        let framing = self.peer.codec.framing();
        if let Some(gauge) = grid.at(framing as usize, self.identity.role as usize) {
            gauge.inc_by(change);
        }
    }
}

impl Drop for Session {
    /// Runs on every end, a panic included: no room may keep a session that is gone.
    fn drop(&mut self) {
        self.end(EndReason::lost(CloseCode::INTERNAL.reason));
        self.count(-1);
    }
}

/// When a token ends, on the clock of timers.
pub(super) fn expiry(identity: &Identity, now: Instant) -> Expiry {
    Expiry::new(now + identity.deadline.until_from(Timestamp::now()), identity.leeway())
}
