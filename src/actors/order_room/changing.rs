//! A back end has changed the order: rights are judged anew and members hear of it, at once.

use std::time::Instant;

use actix::{Context, Handler};

use super::OrderRoom;
use crate::actors::news::{News, told};
use crate::actors::peer::News as Notice;
use crate::actors::store::{Change, OrderChanged};
use crate::protocol::server::{Left, LeftReason, ServerEvent};
use crate::room::delivery::Delivery;
use crate::room::marks::Marks;
use crate::room::order::OrderFacts;
use crate::room::ring::Ring;
use crate::room::roster::Roster;
use crate::room::track::Track;
use crate::room::typing::Typists;
use crate::session::resume::Due;

impl OrderRoom {
    /// Takes over a change, if it is newer than what is known.
    pub(super) fn order_changed(&mut self, change: &Change) {
        let order = &change.changed.order;
        if order.rev <= self.rev {
            return;
        }
        self.rev = order.rev;
        self.exists = !order.facts.deleted;
        let before = std::mem::replace(&mut self.facts, order.facts.clone());
        if order.facts.deleted {
            return self.close(order.last_seq);
        }
        if order.facts.remade_at != before.remade_at {
            // The deletion before it was not told: a room that is just being read knows only of the
            // newest change, and a connection may have been lost during the commit.
            self.close(order.last_seq);
        }
        let news = News::since(change, &before);
        let told = [news.unassigned(), news.status(), news.assigned()];
        let is_news = told.iter().any(Option::is_some);
        if is_news {
            self.owe_news(&before);
        }
        // The driver hears it while the assignment is still a right to be here; whoever was
        // removed hears nothing of what is new.
        let mut gone = self.announce(news.unassigned());
        self.judge_everybody();
        self.await_nobody_removed(&before);
        gone |= self.announce(news.status());
        gone |= self.announce(news.assigned());
        if is_news {
            self.news_is_out();
        }
        if gone {
            self.drop_the_gone();
        }
        self.count_occupants();
    }

    /// What members knew, who are about to hear that it is otherwise.
    fn owe_news(&self, before: &OrderFacts) {
        for member in self.members.values() {
            member.place.owe(Due { told: Some(told(before)), shown: None });
        }
    }

    fn news_is_out(&self) {
        for member in self.members.values().filter(|member| !member.is_held()) {
            member.place.paid();
        }
        // Behind it all: whoever finds no word of it being under way has been told.
        self.handle.stats.tell(told(&self.facts));
    }

    /// Those who were removed while their connection was broken are not expected back.
    fn await_nobody_removed(&mut self, before: &OrderFacts) {
        for (user, _) in before.participants.present() {
            if self.facts.participants.has_removed(user)
                && let Some(departed) = self.roster.stop_awaiting(user)
            {
                self.announce_departure(&departed);
            }
        }
    }

    fn announce(&mut self, event: Option<ServerEvent<'_>>) -> bool {
        event.is_some_and(|event| self.send_to_all(event))
    }

    /// The rights of everybody who is here, by what is known now.
    fn judge_everybody(&mut self) {
        self.banish();
        let mut members = std::mem::take(&mut self.members);
        for member in members.values_mut() {
            member.may_locate = self.may_send_positions(&member.identity);
            member.see_positions(self.visibility(&member.identity), self.lanes.values());
        }
        self.members = members;
        let mut senders = std::mem::take(&mut self.senders);
        for sender in senders.values_mut() {
            sender.may_locate = self.may_send_positions(&sender.identity);
        }
        self.senders = senders;
    }

    /// The order is gone, and what was said and seen in it: everybody leaves. Numbers go on, should
    /// it come back.
    fn close(&mut self, last_seq: i64) {
        let order = self.order.clone();
        for (_, mut member) in std::mem::take(&mut self.members).drain(..) {
            self.forget_latest(&member.outbox);
            let left = Left { order_id: &order, reason: LeftReason::Closed };
            member.place.peer.tell(&ServerEvent::Left(left)).ok();
            member.place.tell(Notice::Removed);
        }
        for (_, mut sender) in std::mem::take(&mut self.senders) {
            sender.place.tell(Notice::Removed);
        }
        self.roster = Roster::default();
        let last_seq = last_seq.max(self.delivery.delivered());
        (self.ring, self.delivery) = (Ring::new(last_seq), Delivery::new(last_seq));
        self.floor = last_seq;
        (self.track, self.track_dirty) = (Track::default(), false);
        (self.marks, self.marks_unsaved) = (Marks::default(), false);
        self.shared.store.forget_reads(&self.order);
        self.typists = Typists::default();
        self.count_occupants();
    }
}

impl Handler<OrderChanged> for OrderRoom {
    type Result = ();

    fn handle(&mut self, change: OrderChanged, ctx: &mut Context<Self>) {
        if self.loading.is_some() {
            self.unheard = Some(change);
            return;
        }
        self.order_changed(&change.0);
        self.tick(Instant::now(), ctx);
    }
}
