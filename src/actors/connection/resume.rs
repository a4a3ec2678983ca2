//! Resumes a session: looks up what is kept under its pid, and checks its current rights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;

use super::Connection;
use super::join_hook::hook_for;
use super::session::{ResumeState, Session};
use super::subscription::Subscription;
use crate::actors::order_room::EntryKind;
use crate::actors::peer::{Answer, SubscriptionId};
use crate::actors::resumes::{Claim, TakeOver};
use crate::actors::shared::Shared;
use crate::auth::Identity;
use crate::room::order::OrderFacts;
use crate::room::policy::Action;
use crate::session::resume::{PushLog, SavedRoom, SessionRecord, Unconfirmed};
use protocol::client::ClientEventName;
use protocol::events::history::DEFAULT_PAGE;
use protocol::events::join::Join;
use protocol::events::leave::{Left, LeftReason};
use protocol::ids::{OrderId, Pid};
use protocol::server::ServerEvent;
use protocol::socketio::Namespace;
use protocol::time::Timestamp;

/// How long a session may take to end after its client is back on another connection.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often to check whether another connection has released a record that it claimed.
const CLAIM_RETRY: Duration = Duration::from_millis(20);

/// A claimed record. If it is dropped unused, it is kept for the next try.
struct RecordClaim {
    record: Option<SessionRecord>,
    shared: Arc<Shared>,
}

/// What was found for a client that resumes.
pub(super) struct FoundSession {
    claim: RecordClaim,
    offset: Option<(OrderId, i64)>,
    /// For each of its rooms, whether the user may still be there.
    allowed: Vec<bool>,
}

/// A room of a session that resumes.
pub(super) struct RoomToRestore {
    mark: SavedRoom,
    /// The last chat message that the client has; -1 without a snapshot.
    since: i64,
    /// What else it may not have received.
    unconfirmed: Unconfirmed,
    allowed: bool,
}

/// Looks up the record of a pid, in memory or in the database, and the rights to its rooms.
pub(super) async fn find_session(
    shared: Arc<Shared>,
    pid: Pid,
    identity: Identity,
    namespace: Namespace,
    offset: Option<(OrderId, i64)>,
) -> (Identity, FoundSession) {
    let record = claim_record(&shared, pid, &identity).await;
    let mut claim = RecordClaim { record, shared: Arc::clone(&shared) };
    if claim.record.as_ref().is_some_and(|record| record.namespace != namespace) {
        claim = RecordClaim { record: None, shared: Arc::clone(&shared) };
    }
    let rooms = claim.record.as_ref().map_or(&[][..], SessionRecord::rooms);
    let allowed = rooms_allowed(&shared, &identity, rooms).await;
    (identity, FoundSession { claim, offset, allowed })
}

async fn claim_record(shared: &Shared, pid: Pid, identity: &Identity) -> Option<SessionRecord> {
    let give_up_at = Instant::now() + TAKEOVER_TIMEOUT;
    let mut asked = false;
    loop {
        let now = Instant::now();
        match shared.resumes.claim(pid, &identity.user, now) {
            Claim::Detached(record) => return Some(*record),
            Claim::Attached(_) | Claim::Claimed if now >= give_up_at => return None,
            // If the old session has ended meanwhile, its record is there for the next claim.
            Claim::Attached(owner) if !std::mem::replace(&mut asked, true) => {
                owner.send(TakeOver { pid }).timeout(give_up_at - now).await.ok();
            }
            // Another connection has claimed the record, or the old session has not ended yet:
            // claim again after a moment.
            Claim::Attached(_) | Claim::Claimed => {
                asked = false;
                actix_rt::time::sleep(CLAIM_RETRY).await;
            }
            Claim::Unknown => {
                let taken = shared.store.take_resume_record(pid, identity.user.clone()).await;
                return taken.unwrap_or_else(|error| {
                    log::warn!(
                        "cannot read a session record, so its client gets a new session: {error}"
                    );
                    None
                });
            }
        }
    }
}

/// For each room, whether its user may still be there. The token alone does not decide this: a back
/// end may have removed the user. Where the database does not answer, the room itself decides once
/// it does.
async fn rooms_allowed(shared: &Shared, identity: &Identity, rooms: &[SavedRoom]) -> Vec<bool> {
    if rooms.is_empty() {
        return Vec::new();
    }
    let orders: Vec<OrderId> = rooms.iter().map(|room| room.order.clone()).collect();
    let known = shared.store.rights_of(orders, identity.user.clone()).await;
    let known = known.inspect_err(|error| {
        log::warn!("cannot read the rights for a resume, so the rooms check them later: {error}");
    });
    let unknown = OrderFacts::default();
    let may = |order: &OrderId| match &known {
        Ok(known) => {
            let facts = known.get(order).unwrap_or(&unknown);
            // About others the back end is asked when they come back.
            shared.rights_of(identity, order, facts).to(Action::Join).is_ok()
                || hook_for(shared, identity, order, facts).is_some()
        }
        Err(_) => !shared.bans.from_order(&identity.user, order, Timestamp::now()),
    };
    rooms.iter().map(|room| may(&room.order)).collect()
}

// === impl FoundSession ===

impl FoundSession {
    /// The state with which the client continues, its last subscription number, and its rooms. The
    /// old `sid` and `pid` are kept only where the client gets everything that it missed: with them
    /// it assumes that it lost nothing.
    pub(super) fn into_state(self) -> (ResumeState, SubscriptionId, Vec<RoomToRestore>) {
        let Self { mut claim, offset, allowed } = self;
        let Some(record) = claim.record.take() else {
            return (ResumeState::new(true, offset), SubscriptionId::default(), Vec::new());
        };
        let point = record.resume_point(offset.as_ref().map(|(order, seq)| (order, *seq)));
        let removed: Vec<OrderId> = record.removed().cloned().collect();
        let recovered = point.found && removed.is_empty() && allowed.iter().all(|allowed| *allowed);
        let marks = point.marks.into_iter().map(|(_, since)| since).zip(point.unconfirmed);
        let rooms = record.rooms().iter().cloned().zip(marks).zip(allowed);
        let rooms = rooms.map(|((mark, (since, unconfirmed)), allowed)| RoomToRestore {
            mark,
            since,
            unconfirmed,
            allowed,
        });
        let rooms = rooms.chain(removed.into_iter().map(RoomToRestore::removed)).collect();
        let state = if recovered {
            let push_log = PushLog::new(offset);
            ResumeState { session_id: record.session, pid: Some(record.pid), push_log }
        } else {
            claim.shared.resumes.remove(record.pid);
            ResumeState::new(true, offset)
        };
        (state, SubscriptionId(record.last_subscription), rooms)
    }
}

impl RoomToRestore {
    /// A room that the client was removed from while it was away.
    fn removed(order: OrderId) -> Self {
        let mark = SavedRoom { order, joins: 0, subscription: 0, sent_seq: -1 };
        Self { mark, since: -1, unconfirmed: Unconfirmed::default(), allowed: false }
    }
}

impl Drop for RecordClaim {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.shared.resumes.detach(record, Instant::now());
        }
    }
}

// === impl Session ===

impl Session {
    /// The record that is kept to resume this session. `None` where it cannot be resumed.
    ///
    /// Taken under the lock of the push log: each push is either in it or will be sent again.
    pub(super) fn record(&self) -> Option<SessionRecord> {
        let (pid, namespace) = (self.pid?, self.peer.codec.namespace()?);
        // Read before the push log: a change in between is in the log.
        let known_orders: Vec<_> =
            self.subscriptions.values().filter_map(Subscription::known_order).collect();
        let push_log = self.peer.push_log()?;
        let joined = self.subscriptions.iter().filter(|(_, subscription)| subscription.joins > 0);
        let rooms = joined.map(|(order, subscription)| SavedRoom {
            order: order.clone(),
            joins: subscription.joins,
            subscription: subscription.id.0,
            sent_seq: subscription.sent_seq(),
        });
        let (user, session_id) = (self.identity.user.clone(), self.peer.id);
        let last_subscription = self.last_subscription.0;
        let record = SessionRecord::new(
            pid,
            user,
            session_id,
            namespace,
            last_subscription,
            rooms,
            push_log.clone(),
        );
        Some(record.with_removed(self.removed()).with_known_orders(known_orders))
    }

    /// Enters its former rooms again. The client only sees what it missed.
    pub(super) fn restore_rooms(
        &mut self,
        last_subscription: SubscriptionId,
        rooms: Vec<RoomToRestore>,
        ctx: &mut Context<Connection>,
    ) {
        // A session never uses a subscription number twice, and this one continues an older
        // session.
        self.last_subscription = last_subscription;
        for RoomToRestore { mark, since, unconfirmed, allowed } in rooms {
            if !allowed {
                let left = Left { order_id: &mark.order, reason: LeftReason::Removed };
                self.peer.tell(&ServerEvent::Left(left)).ok();
                continue;
            }
            self.last_subscription.0 += 1;
            let mut subscription =
                Subscription::new(self.last_subscription, Arc::clone(&self.identity));
            subscription.restore(mark.joins);
            let kind = if since < 0 {
                let answer = Answer::new(Arc::clone(&self.peer), ClientEventName::Join, None);
                let order_id = mark.order.clone();
                EntryKind::Join(Join { order_id, since_seq: None, limit: DEFAULT_PAGE }, answer)
            } else {
                subscription.set_sent_seq(since);
                if let Some(mut push_log) = self.peer.push_log() {
                    push_log.begin_send(subscription.id.0, unconfirmed);
                }
                EntryKind::Rejoin { returned: true }
            };
            self.subscriptions.insert(mark.order.clone(), subscription);
            self.catch_ups.push(mark.order, kind);
        }
        self.start_catch_ups(ctx);
    }
}
