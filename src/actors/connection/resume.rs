//! Taking up a session again: what is known under its pid, and the rights to it as they are now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;

use super::Connection;
use super::session::Session;
use super::socketio_connect::ResumeState;
use super::subscriptions::Subscription;
use crate::actors::order_room::EntryKind;
use crate::actors::peer::{Answer, SubscriptionId};
use crate::actors::resumes::{Claim, TakeOver};
use crate::actors::shared::Shared;
use crate::auth::Identity;
use crate::ids::{OrderId, Pid};
use crate::protocol::client::{ClientEventName, DEFAULT_PAGE, Join};
use crate::protocol::server::{Left, LeftReason, ServerEvent};
use crate::protocol::socketio::Namespace;
use crate::room::order::OrderFacts;
use crate::session::resume::{PushLog, SavedRoom, SessionRecord, Unconfirmed};

/// How long a session may take to end for its client's next connection.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often to look whether another connection is done with a record that it has claimed.
const CLAIM_RETRY: Duration = Duration::from_millis(20);

/// A record that was claimed. Dropped before it was taken up, it is kept for the next try.
struct RecordClaim {
    record: Option<SessionRecord>,
    shared: Arc<Shared>,
}

/// What a client finds again.
pub(super) struct FoundSession {
    claim: RecordClaim,
    offset: Option<(OrderId, i64)>,
    /// Its rooms, each with whether it may still be there.
    allowed: Vec<bool>,
}

/// A room that a client comes back to.
pub(super) struct RoomToRestore {
    mark: SavedRoom,
    /// The last chat message that the client has; -1 where it was never shown the room.
    since: i64,
    /// What else it may not have got.
    unconfirmed: Unconfirmed,
    allowed: bool,
}

/// Looks for what was kept under a pid, wherever it is, and for the rights to its rooms.
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
            // One that is gone already has left its record behind, too.
            Claim::Attached(owner) if !std::mem::replace(&mut asked, true) => {
                owner.send(TakeOver { pid }).timeout(give_up_at - now).await.ok();
            }
            // In other hands for a moment; asked again if they keep it.
            Claim::Attached(_) | Claim::Claimed => {
                asked = false;
                actix_rt::time::sleep(CLAIM_RETRY).await;
            }
            Claim::Unknown => {
                let taken = shared.store.take_resume_record(pid, identity.user.clone()).await;
                return taken.unwrap_or_else(|error| {
                    log::warn!("cannot look for a session to take up again: {error}");
                    None
                });
            }
        }
    }
}

/// For each room whether its user may still be there. The token alone does not tell: a back end may
/// have taken away what it gives. Where the database does not answer the room itself judges, once
/// it does.
async fn rooms_allowed(shared: &Shared, identity: &Identity, rooms: &[SavedRoom]) -> Vec<bool> {
    if rooms.is_empty() {
        return Vec::new();
    }
    let orders: Vec<OrderId> = rooms.iter().map(|room| room.order.clone()).collect();
    let known = shared.store.rights_of(orders, identity.user.clone()).await;
    let known = known.inspect_err(|error| log::warn!("cannot look for rights to return: {error}"));
    let unknown = OrderFacts::default();
    let may = |order: &OrderId| match &known {
        Ok(known) => {
            let facts = known.get(order).unwrap_or(&unknown);
            shared.may_join(identity, order, facts).is_ok()
        }
        Err(_) => !shared.subject(identity, order).banned,
    };
    rooms.iter().map(|room| may(&room.order)).collect()
}

// === impl FoundSession ===

impl FoundSession {
    /// The state with which the client goes on, the last number of a subscription that they used, and its
    /// rooms. The old names only where the client will have everything: it then believes that
    /// nothing happened.
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
    /// A room that the client was put out of while it was away.
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
    /// What is kept of this session for its return; none where it cannot return.
    ///
    /// Taken under the lock that pushes take: each of them is either in it or will be missed.
    pub(super) fn record(&self) -> Option<SessionRecord> {
        let (pid, namespace) = (self.pid?, self.peer.codec.namespace()?);
        // Looked at before the pushes: what is told in between is in these.
        let told: Vec<_> =
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
        Some(record.with_removed(self.removed()).with_known_orders(told))
    }

    /// Comes back into the rooms that it was in: the client sees nothing of it but what it has
    /// missed.
    pub(super) fn restore_rooms(
        &mut self,
        last_subscription: SubscriptionId,
        rooms: Vec<RoomToRestore>,
        ctx: &mut Context<Connection>,
    ) {
        // No number of a subscription is used twice in a session, and this goes on with an older one.
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
            self.queue_catch_up(mark.order, kind);
        }
        self.start_catch_ups(ctx);
    }
}
