//! Orders that concern the user, whether the session is in their rooms or not.

use actix::{Context, Handler};

use super::Session;
use super::links::LinkState;
use super::login::Login;
use crate::actors::news::News;
use crate::actors::store::Change;
use crate::actors::supervisor::OrderNews;
use crate::ids::OrderId;

impl Login {
    /// An order has changed in which the user took part, or does now.
    fn order_changed(&mut self, change: &Change) {
        let (before, order) = (&change.changed.before, &change.changed.order);
        // What was refused a moment ago may be allowed now.
        self.refusals.forget(&order.id);
        self.note_open_order(change);
        if self.hears_from_room(&order.id) {
            return;
        }
        let (news, user) = (News::of(change), &self.identity.user);
        let was_driver = before.driver_id.as_ref() == Some(user);
        let takes_part = order.facts.concerned().any(|concerned| concerned == user);
        let parting = news.unassigned().filter(|_| was_driver || takes_part);
        let rest = [news.status(), news.assigned()].into_iter().flatten().filter(|_| takes_part);
        for event in parting.into_iter().chain(rest) {
            // A session that has ended is about to be told so.
            self.peer.tell(&event).ok();
        }
    }

    /// Whether the room tells the client, or shows it a snapshot in a moment. One that it only sends
    /// to, or lost and comes back to, does not; then hearing it twice is better than not at all.
    fn hears_from_room(&self, order: &OrderId) -> bool {
        self.links.get(order).filter(|link| link.joins > 0).is_some_and(|link| match link.state {
            LinkState::Open(_) => true,
            LinkState::Entering(_) => !link.was_shown(),
            LinkState::Away => false,
        })
    }
}

impl Handler<OrderNews> for Session {
    type Result = ();

    fn handle(&mut self, news: OrderNews, _: &mut Context<Self>) {
        if let Some(login) = self.login(news.session) {
            login.order_changed(&news.change);
        }
    }
}
