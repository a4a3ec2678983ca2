//! Handles a change of the order by a back end: checks all rights again and tells the members at
//! once.

use std::time::Instant;

use actix::{Context, Handler};

use super::OrderRoom;
use crate::actors::peer::MembershipEvent;
use crate::actors::store::{CommittedChange, OrderChanged};
use crate::room::delivery::Delivery;
use crate::room::order::OrderFacts;
use crate::room::order_diff::known_order;
use crate::room::read_marks::ReadMarks;
use crate::room::recent_messages::RecentMessages;
use crate::room::roster::Roster;
use crate::room::track::PositionTracker;
use crate::room::typing::TypingUsers;
use crate::session::resume::Unconfirmed;
use protocol::events::leave::{Left, LeftReason};
use protocol::server::ServerEvent;

impl OrderRoom {
    /// Applies a change, if it is newer than what the room knows.
    pub(super) fn order_changed(&mut self, change: &CommittedChange) {
        let order = &change.changed.order;
        if order.rev <= self.rev {
            return;
        }
        self.rev = order.rev;
        self.exists = !order.facts.deleted;
        let before = std::mem::replace(&mut self.facts, order.facts.clone());
        self.handle.stats.set_progress(self.delivery.delivered(), self.rev);
        if order.facts.deleted {
            self.close(order.last_seq);
            return self.on_newer_state();
        }
        if order.facts.remade_at != before.remade_at {
            // The room was not told of the deletion before this change: a room that is being read
            // keeps only the newest change, and a database connection may have been lost during the
            // commit.
            self.close(order.last_seq);
        }
        let diff = change.diff_since(&before);
        let events = [diff.unassigned(), diff.status(), diff.assigned()];
        let has_events = events.iter().any(Option::is_some);
        if has_events {
            self.begin_order_diff(&before);
        }
        // The driver is told while the assignment still gives the right to be here. A removed user
        // is told none of the rest.
        let mut gone = self.announce(diff.unassigned());
        self.reauthorize_all();
        self.forget_removed_users(&before);
        gone |= self.announce(diff.status());
        gone |= self.announce(diff.assigned());
        if has_events {
            self.mark_order_diff_sent();
        }
        if gone {
            self.remove_closed_members();
        }
        self.count_occupants();
        self.on_newer_state();
    }

    /// Notes what members knew of the order before the events that follow.
    fn begin_order_diff(&self, before: &OrderFacts) {
        for member in self.members.values() {
            let order = Some(known_order(before));
            member.session.guard.begin_send(Unconfirmed { order, snapshot: None });
        }
    }

    fn mark_order_diff_sent(&self) {
        for member in self.members.values().filter(|member| !member.is_held()) {
            member.session.guard.mark_sent();
        }
        // Set last: a member without an unsent entry in its push log knows these facts.
        self.handle.stats.set_known_order(known_order(&self.facts));
    }

    /// Users who were removed while their connection was lost are not expected back.
    fn forget_removed_users(&mut self, before: &OrderFacts) {
        for (user, _) in before.participants.present() {
            if self.facts.participants.has_removed(user) {
                self.stop_awaiting(user);
            }
        }
    }

    fn announce(&mut self, event: Option<ServerEvent<'_>>) -> bool {
        event.is_some_and(|event| self.send_to_all(event).gone)
    }

    /// The order was deleted: all sessions leave, and its chat, position and marks are dropped.
    /// Sequence numbers continue if the order is created again.
    fn close(&mut self, last_seq: i64) {
        for (_, member) in std::mem::take(&mut self.members).drain(..) {
            self.forget_latest(&member.outbox);
            let left = Left { order_id: &self.order, reason: LeftReason::Closed };
            member.session.guard.peer.tell(&ServerEvent::Left(left)).ok();
            member.session.guard.end(MembershipEvent::Removed);
        }
        for (_, sender) in std::mem::take(&mut self.senders) {
            sender.guard.end(MembershipEvent::Removed);
        }
        self.roster = Roster::default();
        let last_seq = last_seq.max(self.delivery.delivered());
        (self.recent_messages, self.delivery) =
            (RecentMessages::new(last_seq), Delivery::new(last_seq));
        self.floor = last_seq;
        self.handle.stats.set_progress(last_seq, self.rev);
        (self.track, self.track_dirty) = (PositionTracker::default(), false);
        (self.read_marks, self.read_marks_unsaved) = (ReadMarks::default(), false);
        self.shared.store.forget_read_marks(&self.order);
        self.typing_users = TypingUsers::default();
        self.count_occupants();
    }
}

impl Handler<OrderChanged> for OrderRoom {
    type Result = ();

    fn handle(&mut self, change: OrderChanged, ctx: &mut Context<Self>) {
        if let Some(loading) = &mut self.loading {
            // From several nodes changes come in any order.
            let rev = |change: &OrderChanged| change.0.changed.order.rev;
            if loading.change.as_ref().is_none_or(|known| rev(known) <= rev(&change)) {
                loading.change = Some(change);
            }
            return;
        }
        self.order_changed(&change.0);
        self.tick(Instant::now(), ctx);
    }
}
