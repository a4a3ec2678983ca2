//! Subscribes to rooms: the first event asks to enter, the room answers, and a lost room is entered
//! again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{ActorFutureExt, Arbiter, AsyncContext, Context};

use super::Connection;
use super::join_hook::hook_for;
use super::session::{MAX_QUEUED, Session};
use super::subscription::{RoomEvent, Subscription, SubscriptionState};
use crate::actors::order_room::{Enter, Entered, EntryKind, Leave};
use crate::actors::peer::{
    LeaveReply, MembershipEvent, MembershipGuard, MembershipNotice, SubscriptionId,
};
use crate::actors::shared::unavailable;
use crate::actors::supervisor::FindRoom;
use crate::auth::Identity;
use crate::permits::Permit;
use crate::room::order::{MAX_LOCATION_TARGETS, OrderFacts};
use crate::room::policy::Action;
use protocol::client::ClientEvent;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;
use protocol::time::Timestamp;

/// How many rooms a session may send to without having joined them.
const MAX_SEND_ONLY_ROOMS: usize = MAX_LOCATION_TARGETS;
/// How long to wait before another try to enter a lost room again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Session {
    /// Handles the first event for a room, for which the session has to enter it.
    pub(super) fn subscribe(
        &mut self,
        order: OrderId,
        event: RoomEvent,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        if let RoomEvent::Client(ClientEvent::Leave(_), answer) = event {
            return answer.refuse(Failure::new(ErrorCode::NotJoined, "not in this room"));
        }
        let joins = matches!(event, RoomEvent::Client(ClientEvent::Join(_), _));
        // What a back end has said about joins is kept for all sessions.
        let is_asked = joins && self.shared.hooks.join.is_some();
        if let Some(failure) = self.refusals.find(&order, now).filter(|_| !is_asked) {
            return event.refuse(failure.clone(), &self.peer);
        }
        if let Err(failure) = self.check_room_limit(&order, joins) {
            return event.refuse(failure, &self.peer);
        }
        self.last_subscription.0 += 1;
        let mut subscription =
            Subscription::new(self.last_subscription, Arc::clone(&self.identity));
        let kind = match event {
            RoomEvent::Client(ClientEvent::Join(join), answer) => {
                self.forget_removal(&order);
                subscription.joins = 1;
                EntryKind::Join(join, answer.for_counted_join(order.clone(), subscription.id))
            }
            event => {
                subscription.state = SubscriptionState::Subscribing(VecDeque::from([event]));
                self.count_queued();
                EntryKind::SendOnly
            }
        };
        self.subscriptions.insert(order.clone(), subscription);
        self.request_entry(order, kind, None, ctx);
    }

    /// Checks whether one more room may be joined, or sent to.
    pub(super) fn check_room_limit(&self, order: &OrderId, joins: bool) -> Result<(), Failure> {
        let known = self
            .subscriptions
            .get(order)
            .is_some_and(|subscription| subscription.joins > 0 || !joins);
        if known || (joins && self.identity.role.is_staff()) {
            return Ok(());
        }
        let joined =
            self.subscriptions.values().filter(|subscription| subscription.joins > 0).count();
        let (used, most) = if joins {
            (joined, self.shared.config.limits.max_rooms_per_connection)
        } else {
            (self.subscriptions.len() - joined, MAX_SEND_ONLY_ROOMS)
        };
        if used < most {
            return Ok(());
        }
        Err(Failure::new(ErrorCode::TooManyRooms, "too many rooms on one connection"))
    }

    /// Asks to enter a room. A room is only created for a user with a right to it: where the token
    /// gives none, the database is asked first.
    pub(super) fn request_entry(
        &mut self,
        order: OrderId,
        kind: EntryKind,
        permit: Option<Permit>,
        ctx: &mut Context<Connection>,
    ) {
        let unknown = OrderFacts::default();
        let by_token = self.shared.rights_of(&self.identity, &order, &unknown);
        let Err(failure) = by_token.to(Action::Join) else {
            return self.find_room(order, kind, permit);
        };
        if by_token.subject.banned {
            return self.refuse_entry(order, failure, kind);
        }
        let (store, wanted) = (self.shared.store.clone(), order.clone());
        let session_id = self.peer.id;
        let read = wrap_future::<_, Connection>(async move { store.load_order(wanted, 0).await });
        ctx.spawn(read.map(move |loaded, connection, ctx| {
            let Some(session) = connection.session(session_id) else { return };
            let Ok(loaded) = &loaded else {
                let failure = unavailable("the database does not answer");
                return session.refuse_entry(order, failure, kind);
            };
            let (shared, identity) = (Arc::clone(&session.shared), Arc::clone(&session.identity));
            match shared.rights_of(&identity, &order, &loaded.facts).to(Action::Join) {
                Ok(()) => session.find_room(order, kind, permit),
                // About those who only send nothing is asked.
                Err(failure) => match hook_for(&shared, &identity, &order, &loaded.facts)
                    .filter(|_| !matches!(kind, EntryKind::SendOnly))
                {
                    Some(hook) => session.ask_to_enter(hook, order, (kind, permit), ctx),
                    None => session.refuse_entry(order, failure, kind),
                },
            }
        }));
    }

    /// An entry takes no permit of the supervisor: each session asks once for each room, and its
    /// rooms are bounded. So no entry is refused because many sessions enter at once.
    fn find_room(&mut self, order: OrderId, kind: EntryKind, permit: Option<Permit>) {
        self.find_room_as(order, kind, permit, None);
    }

    /// The same; where the back end lets the session in, with the identity about which it was asked
    /// and the one that it has in the room.
    pub(super) fn find_room_as(
        &mut self,
        order: OrderId,
        kind: EntryKind,
        permit: Option<Permit>,
        by_hook: Option<(Arc<Identity>, Arc<Identity>)>,
    ) {
        let Some(guard) = self.membership_guard(&order, permit) else { return };
        let is_by_hook = by_hook.is_some();
        let same = || (Arc::clone(&self.identity), Arc::clone(&self.identity));
        let (asked, identity) = by_hook.unwrap_or_else(same);
        if let Some(subscription) = self.subscriptions.get_mut(&order) {
            (subscription.identity, subscription.by_hook) = (asked, is_by_hook);
        }
        let connection = self.connection.clone();
        let enter = Enter { guard, identity, kind, connection };
        self.supervisor.addr.do_send(FindRoom { enter, arbiter: Arbiter::current() });
    }

    /// The guard for a subscription. `None` where the subscription has ended meanwhile.
    fn membership_guard(
        &mut self,
        order: &OrderId,
        permit: Option<Permit>,
    ) -> Option<MembershipGuard> {
        let subscription = self.subscriptions.get_mut(order)?;
        subscription.identity = Arc::clone(&self.identity);
        let (peer, sent_seq) = (Arc::clone(&self.peer), Arc::clone(&subscription.sent_seq));
        Some(MembershipGuard::new(peer, order.clone(), subscription.id, sent_seq, permit))
    }

    /// Refuses an entry before a room was asked. The session is told as if by the room.
    pub(super) fn refuse_entry(&mut self, order: OrderId, failure: Failure, kind: EntryKind) {
        if let Some(guard) = self.membership_guard(&order, None) {
            kind.refuse(guard, failure);
        }
    }

    /// Handles a room's notice about the session's membership.
    pub(super) fn on_membership_notice(
        &mut self,
        notice: MembershipNotice,
        ctx: &mut Context<Connection>,
    ) {
        let MembershipNotice { order, subscription, event, .. } = notice;
        if self.is_current(&order, subscription) {
            self.apply_membership_event(order, event, ctx);
        }
        // Otherwise the session has left this subscription, and all answers were sent. It may have
        // been that room's turn to catch up all the same.
        self.start_catch_ups(ctx);
    }

    /// Whether a subscription to an order is the session's current one.
    fn is_current(&self, order: &OrderId, subscription: SubscriptionId) -> bool {
        self.subscriptions.get(order).is_some_and(|known| known.id == subscription)
    }

    fn apply_membership_event(
        &mut self,
        order: OrderId,
        event: MembershipEvent,
        ctx: &mut Context<Connection>,
    ) {
        match event {
            MembershipEvent::Refused(failure) => self.on_refused(order, &failure),
            MembershipEvent::CaughtUp => {}
            MembershipEvent::Removed => {
                self.remember_removal(&order);
                self.close_subscription(&order, &Failure::forbidden());
            }
            MembershipEvent::JoinRefused => self.undo_join(&order),
            MembershipEvent::RoomLost => self.on_room_lost(order, ctx),
        }
    }

    /// Handles a room's message that the session was let in.
    pub(super) fn on_entered(&mut self, entered: Entered, ctx: &mut Context<Connection>) {
        let Entered { order, subscription: id, room, .. } = entered;
        let subscription = self.subscriptions.get_mut(&order);
        let Some(subscription) = subscription.filter(|known| known.id == id) else { return };
        // A new token came while the room checked the old one.
        let is_renewed = !Arc::ptr_eq(&subscription.identity, &self.identity);
        subscription.on_subscribed(Instant::now());
        let unwanted = subscription.has_snapshot() && subscription.joins == 0;
        let before =
            std::mem::replace(&mut subscription.state, SubscriptionState::Subscribed(room));
        if is_renewed && let Some(subscription) = self.subscriptions.get(&order) {
            self.update_identity(&order, subscription);
        }
        if unwanted {
            self.leave_room(&order, None);
        }
        if let SubscriptionState::Subscribing(queue) = before {
            self.route_queued(&order, queue, ctx);
        }
    }

    /// Routes the events that waited. A leave among them may end the subscription: then the next
    /// event subscribes again.
    fn route_queued(
        &mut self,
        order: &OrderId,
        queue: VecDeque<RoomEvent>,
        ctx: &mut Context<Connection>,
    ) {
        self.dequeued(queue.len());
        let now = Instant::now();
        for event in queue {
            self.route(order.clone(), event, now, ctx);
        }
    }

    fn on_refused(&mut self, order: OrderId, failure: &Failure) {
        // The client was in the room, and was told that it is out.
        if self.subscriptions.get(&order).is_some_and(Subscription::has_snapshot) {
            self.remember_removal(&order);
        }
        self.close_subscription(&order, failure);
        // A ban is cheap to look up, and may end before the memory of the refusal does.
        if !self.shared.bans.from_order(&self.identity.user, &order, Timestamp::now()) {
            self.refusals.remember(order, failure, Instant::now());
        }
    }

    fn close_subscription(&mut self, order: &OrderId, failure: &Failure) {
        let Some(subscription) = self.remove_subscription(order) else { return };
        if let SubscriptionState::Subscribing(queue) = subscription.state {
            self.dequeued(queue.len());
            for event in queue {
                event.refuse(failure.clone(), &self.peer);
            }
        }
    }

    /// Ends a subscription. Its pushes stay in the log: one of them may be the last that the client
    /// saw.
    fn remove_subscription(&mut self, order: &OrderId) -> Option<Subscription> {
        let subscription = self.subscriptions.swap_remove(order)?;
        if let Some(mut push_log) = self.peer.push_log() {
            push_log.end_subscription(subscription.id.0, order);
        }
        Some(subscription)
    }

    /// Takes back the count of a refused join.
    fn undo_join(&mut self, order: &OrderId) {
        let Some(subscription) = self.subscriptions.get_mut(order) else { return };
        subscription.joins = subscription.joins.saturating_sub(1);
        // A session that is still entering gets the refusal in a moment.
        if subscription.joins == 0
            && !matches!(subscription.state, SubscriptionState::Subscribing(_))
        {
            self.leave_room(order, None);
        }
    }

    /// Leaves a room without joins. Without a reply the client knows already.
    pub(super) fn leave_room(&mut self, order: &OrderId, reply: Option<LeaveReply>) {
        let room =
            self.remove_subscription(order).and_then(|subscription| subscription.room().cloned());
        if let Some(room) = room {
            room.addr.do_send(Leave { session: self.peer.id, reply, clean: true });
        }
    }

    /// Handles a lost room. A session that was in enters the next room of the order, and its client
    /// does not notice.
    fn on_room_lost(&mut self, order: OrderId, ctx: &mut Context<Connection>) {
        let Some(subscription) = self.subscriptions.get_mut(&order) else { return };
        if !subscription.has_snapshot() || subscription.joins == 0 {
            return self.close_subscription(&order, &unavailable("the room was interrupted"));
        }
        let now = Instant::now();
        // The next room was lost too, or the database is down: do not retry at once.
        let again = subscription.resubscribed_at.is_some_and(|at| now < at + RETRY_AFTER);
        match std::mem::replace(&mut subscription.state, SubscriptionState::Retrying) {
            SubscriptionState::Subscribed(_) if !again => self.resubscribe(order, ctx),
            SubscriptionState::Subscribed(_) => self.resubscribe_later(order, ctx),
            SubscriptionState::Subscribing(queue) => {
                self.route_queued(&order, queue, ctx);
                self.resubscribe_later(order, ctx);
            }
            SubscriptionState::Retrying => {}
        }
    }

    fn resubscribe(&mut self, order: OrderId, ctx: &mut Context<Connection>) {
        let Some(subscription) = self.subscriptions.get_mut(&order) else { return };
        subscription.resubscribed_at = Some(Instant::now());
        subscription.state = SubscriptionState::Subscribing(VecDeque::new());
        self.catch_ups.push(order, EntryKind::Rejoin { returned: false });
        self.start_catch_ups(ctx);
    }

    fn resubscribe_later(&mut self, order: OrderId, ctx: &mut Context<Connection>) {
        // A leave among the events that waited may have ended it.
        let Some(subscription) =
            self.subscriptions.get(&order).filter(|subscription| subscription.is_retrying())
        else {
            return;
        };
        let id = subscription.id;
        let session_id = self.peer.id;
        ctx.run_later(RETRY_AFTER, move |connection, ctx| {
            let Some(session) = connection.session(session_id) else { return };
            let subscription = session.subscriptions.get(&order);
            if subscription
                .is_some_and(|subscription| subscription.id == id && subscription.is_retrying())
            {
                session.resubscribe(order, ctx);
            }
        });
    }

    /// Lowers the count of queued events, and ends the read pause below the limit.
    fn dequeued(&mut self, events: usize) {
        self.queued -= events;
        if self.queued < MAX_QUEUED {
            self.queue_full_read_pause = None;
        }
    }

    /// Raises the count of queued events, and pauses reading at the limit.
    pub(super) fn count_queued(&mut self) {
        self.queued += 1;
        if self.queued >= MAX_QUEUED && self.queue_full_read_pause.is_none() {
            self.queue_full_read_pause = Some(self.read_pause.pause());
        }
    }
}
