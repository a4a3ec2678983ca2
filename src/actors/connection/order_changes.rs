//! Tells a session about changes of its user's orders, whether it is in their rooms or not.

use actix::{Context, Handler};

use super::Connection;
use super::session::Session;
use super::subscription::SubscriptionState;
use crate::actors::store::CommittedChange;
use crate::actors::supervisor::UserOrderChanged;
use protocol::ids::OrderId;

impl Session {
    /// Handles a change of an order in which the user took part, or does now.
    fn order_changed(&mut self, change: &CommittedChange) {
        let (before, order) = (&change.changed.before, &change.changed.order);
        // A right that was refused a moment ago may be granted now.
        self.refusals.forget(&order.id);
        self.update_open_order(change);
        if self.is_told_by_room(&order.id) {
            return;
        }
        let (diff, user) = (change.diff_since(before), &self.identity.user);
        let was_driver = before.driver_id.as_ref() == Some(user);
        let takes_part = order.facts.involved_users().any(|involved| involved == user);
        let parting = diff.unassigned().filter(|_| was_driver || takes_part);
        let rest = [diff.status(), diff.assigned()].into_iter().flatten().filter(|_| takes_part);
        for event in parting.into_iter().chain(rest) {
            // If the session has ended, its client is told so anyway.
            self.peer.tell(&event).ok();
        }
    }

    /// Whether the room tells the client, or sends it a snapshot in a moment. A room that the
    /// session only sends to, or has lost and comes back to, does not; then being told twice is
    /// better than not at all.
    fn is_told_by_room(&self, order: &OrderId) -> bool {
        self.subscriptions.get(order).filter(|subscription| subscription.joins > 0).is_some_and(
            |subscription| match subscription.state {
                SubscriptionState::Subscribed(_) => true,
                SubscriptionState::Subscribing(_) => !subscription.has_snapshot(),
                SubscriptionState::Retrying => false,
            },
        )
    }
}

impl Handler<UserOrderChanged> for Connection {
    type Result = ();

    fn handle(&mut self, message: UserOrderChanged, _: &mut Context<Self>) {
        if let Some(session) = self.session(message.session) {
            session.order_changed(&message.change);
        }
    }
}
