//! The way of an event to its room: straight there once the session is in, in a queue while it is
//! on the way, and by the supervisor the first time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use actix::{ActorFutureExt, Arbiter, AsyncContext, Context, WrapFuture};

use super::Session;
use super::links::{Link, LinkState};
use crate::actors::order_room::{Enter, Leave, Locate, Purpose, Read, RoomHandle, Say};
use crate::actors::peer::{Answer, Place, RoomNotice};
use crate::actors::shared::unavailable;
use crate::actors::store::{LoadedOrder, StoreError};
use crate::actors::supervisor::FindRoom;
use crate::actors::tally::{Tally, Verdict};
use crate::ids::OrderId;
use crate::protocol::client::{Chat, ClientEvent, Fix, History, Join, Target};
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::server::Reply;
use crate::room::policy::{Action, OrderFacts, judge};
use crate::time::Timestamp;

/// How many events may wait for rooms before the socket is not read.
const MOST_WAITING: usize = 32;
/// How many rooms a session may send to without having joined them.
const MOST_SENDING: usize = 50;

/// An event for one room.
pub(super) enum RoomEvent {
    Join(Join, Answer),
    Leave { all: bool, answer: Answer },
    Locate(Fix, Verdict),
    Say(Chat, Answer),
    Read(History, Answer),
}

// === impl RoomEvent ===

impl RoomEvent {
    /// Answers it with a refusal.
    fn refuse(self, failure: Failure) {
        match self {
            Self::Locate(_, verdict) => verdict.refuse(failure),
            Self::Join(_, answer)
            | Self::Leave { answer, .. }
            | Self::Say(_, answer)
            | Self::Read(_, answer) => answer.refuse(failure),
        }
    }
}

// === impl Session ===

impl Session {
    /// Sends an event to the rooms that it is for.
    pub(super) fn route(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        match event {
            ClientEvent::Join(join) => {
                self.route_one(join.order_id.clone(), RoomEvent::Join(join, answer), now, ctx);
            }
            ClientEvent::Leave(leave) => {
                let event = RoomEvent::Leave { all: leave.all, answer };
                self.route_one(leave.order_id, event, now, ctx);
            }
            ClientEvent::Chat(chat) => {
                self.route_one(chat.order_id.clone(), RoomEvent::Say(chat, answer), now, ctx);
            }
            ClientEvent::History(history) => {
                let order = history.order_id.clone();
                self.route_one(order, RoomEvent::Read(history, answer), now, ctx);
            }
            ClientEvent::Location(location) => match location.target {
                Target::One(order) => {
                    let event = RoomEvent::Locate(location.fix, Verdict::Alone(answer));
                    self.route_one(order, event, now, ctx);
                }
                Target::Many(orders) => self.locate_all(&orders, location.fix, answer, now, ctx),
                Target::All => {
                    let orders = self.own_orders();
                    self.locate_all(&orders, location.fix, answer, now, ctx);
                }
            },
            // Not for a room; the session has answered them.
            ClientEvent::Ping(_) | ClientEvent::Refresh(_) => {}
        }
    }

    /// The orders that a location without one is for: those that the token names, and those that
    /// the session is in.
    fn own_orders(&self) -> Vec<OrderId> {
        let joined = self.links.iter().filter(|(_, link)| link.joins > 0).map(|(order, _)| order);
        let mut orders: Vec<OrderId> = self.identity.orders.iter().chain(joined).cloned().collect();
        orders.sort_unstable();
        orders.dedup();
        orders.truncate(MOST_SENDING);
        orders
    }

    fn locate_all(
        &mut self,
        orders: &[OrderId],
        fix: Fix,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if orders.is_empty() {
            return answer.ok(Reply::Accepted { accepted: 0, rejected: &[] });
        }
        for (order, verdict) in orders.iter().zip(Tally::split(answer, orders)) {
            self.route_one(order.clone(), RoomEvent::Locate(fix, verdict), now, ctx);
        }
    }

    fn route_one(
        &mut self,
        order: OrderId,
        event: RoomEvent,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        match self.links.get_mut(&order).map(|link| &mut link.state) {
            Some(LinkState::Open(room)) => {
                let room = room.clone();
                self.deliver(&order, &room, event);
            }
            Some(LinkState::Entering(queue)) => {
                queue.push_back(event);
                self.waiting += 1;
                if self.waiting >= MOST_WAITING {
                    self.gate.pause();
                }
            }
            None => self.begin(order, event, now, ctx),
        }
    }

    /// The first event for a room: the session has to be let in.
    fn begin(&mut self, order: OrderId, event: RoomEvent, now: Instant, ctx: &mut Context<Self>) {
        if let RoomEvent::Leave { answer, .. } = event {
            return answer.refuse(Failure::new(ErrorCode::NotJoined, "not in this room"));
        }
        if let Some(failure) = self.refusals.find(&order, now) {
            return event.refuse(failure.clone());
        }
        if let Err(failure) = self.has_room_for(&event) {
            return event.refuse(failure);
        }
        let mut link = Link::entering();
        let purpose = match event {
            RoomEvent::Join(join, answer) => Purpose::Join(join, answer),
            event => {
                link.state = LinkState::Entering(VecDeque::from([event]));
                self.waiting += 1;
                Purpose::Send
            }
        };
        self.links.insert(order.clone(), link);
        self.ask_to_enter(order, purpose, ctx);
    }

    fn has_room_for(&self, event: &RoomEvent) -> Result<(), Failure> {
        let (used, most) = match event {
            RoomEvent::Join(..) if self.identity.role.is_staff() => return Ok(()),
            RoomEvent::Join(..) => {
                // Those on the way in may be joins too.
                let taken = |link: &&Link| link.joins > 0 || link.room().is_none();
                let used = self.links.values().filter(taken).count();
                (used, self.shared.config.limits.max_rooms_per_connection)
            }
            _ => (self.links.values().filter(|link| link.joins == 0).count(), MOST_SENDING),
        };
        if used < most {
            return Ok(());
        }
        Err(Failure::new(ErrorCode::TooManyRooms, "too many rooms on one connection"))
    }

    /// Asks to be let in. A room is only founded for somebody with a right to it: where the token
    /// gives none, the database is asked first.
    fn ask_to_enter(&mut self, order: OrderId, purpose: Purpose, ctx: &mut Context<Self>) {
        let asker = self.shared.asker(&self.identity, &order);
        let facts = OrderFacts::default();
        let (rules, now) = (&self.shared.rules, Timestamp::now());
        let by_token = judge(rules, &facts, asker, Action::Join, now);
        let Err(failure) = by_token else { return self.find_room(order, purpose) };
        if asker.banned {
            return self.refused(order, failure, purpose);
        }
        let (store, wanted) = (self.shared.store.clone(), order.clone());
        let read = async move { store.load_order(wanted, 0).await };
        ctx.spawn(read.into_actor(self).map(move |loaded, session, _| {
            match session.may_enter(&order, loaded) {
                Ok(()) => session.find_room(order, purpose),
                Err(failure) => session.refused(order, failure, purpose),
            }
        }));
    }

    fn may_enter(
        &self,
        order: &OrderId,
        loaded: Result<LoadedOrder, StoreError>,
    ) -> Result<(), Failure> {
        let loaded = loaded.map_err(|_| unavailable("the database does not answer"))?;
        let facts = OrderFacts {
            status: loaded.status,
            driver_id: loaded.driver_id,
            ended_at: loaded.ended_at,
        };
        let asker = self.shared.asker(&self.identity, order);
        judge(&self.shared.rules, &facts, asker, Action::Join, Timestamp::now())
    }

    fn find_room(&mut self, order: OrderId, purpose: Purpose) {
        let Some(link) = self.links.get(&order).filter(|_| self.end.is_none()) else { return };
        let Some(permit) = self.supervisor.permits.take() else {
            return self.refused(order, unavailable("too many joins at once"), purpose);
        };
        let progress = Arc::clone(&link.progress);
        self.supervisor.addr.do_send(FindRoom {
            place: Place::new(Arc::clone(&self.peer), order, progress),
            identity: Arc::clone(&self.identity),
            purpose,
            arbiter: Arbiter::current(),
            permit,
        });
    }

    fn refused(&mut self, order: OrderId, failure: Failure, purpose: Purpose) {
        if let Purpose::Join(_, answer) = purpose {
            answer.refuse(failure.clone());
        }
        self.close_link(order, &failure);
    }

    /// Sends an event to a room that the session is in.
    fn deliver(&mut self, order: &OrderId, room: &RoomHandle, event: RoomEvent) {
        let session = self.peer.id;
        if let RoomEvent::Leave { all, answer } = event {
            return self.leave(order, room, all, answer);
        }
        // One that only sent so far takes a place among the joined rooms, as any other does.
        let may_be_new = matches!(event, RoomEvent::Join(..))
            && self.links.get(order).is_some_and(|link| link.joins == 0);
        if may_be_new && let Err(failure) = self.has_room_for(&event) {
            return event.refuse(failure);
        }
        let Some(permit) = room.permit() else {
            if matches!(event, RoomEvent::Locate(..)) {
                self.shared.metrics.locations_dropped.inc();
            }
            return event.refuse(unavailable("the room is too busy"));
        };
        match event {
            RoomEvent::Locate(fix, verdict) => {
                room.addr.do_send(Locate { session, fix, verdict, permit });
            }
            RoomEvent::Say(chat, answer) => {
                room.addr.do_send(Say { session, chat, answer, permit });
            }
            RoomEvent::Read(history, answer) => {
                room.addr.do_send(Read { session, history, answer, permit });
            }
            RoomEvent::Join(join, answer) => {
                let Some(link) = self.links.get_mut(order) else { return };
                // Now and not when the room has answered: a leave may follow at once.
                link.joins += 1;
                link.unconfirmed += 1;
                let place =
                    Place::new(Arc::clone(&self.peer), order.clone(), Arc::clone(&link.progress));
                let (identity, purpose) = (Arc::clone(&self.identity), Purpose::Join(join, answer));
                room.addr.do_send(Enter { place, identity, purpose, counted: false, permit });
            }
            RoomEvent::Leave { .. } => {}
        }
    }

    /// Undoes one join, or all; the last one leaves the room.
    fn leave(&mut self, order: &OrderId, room: &RoomHandle, all: bool, answer: Answer) {
        let Some(link) = self.links.get_mut(order).filter(|link| link.joins > 0) else {
            return answer.refuse(Failure::new(ErrorCode::NotJoined, "not in this room"));
        };
        link.joins = if all { 0 } else { link.joins - 1 };
        if link.joins > 0 {
            return answer.ok(Reply::Left { remaining: link.joins });
        }
        self.links.remove(order);
        let session = self.peer.id;
        room.addr.do_send(Leave { session, answer: Some(answer), clean: true });
    }

    /// A room has something to say about the session's place there.
    pub(super) fn notice(&mut self, notice: RoomNotice, ctx: &mut Context<Self>) {
        match notice {
            RoomNotice::Entered { order, room, joined, progress } => {
                // Not the answer to a wish that was given up, where the client asked again.
                if self.links.get(&order).is_some_and(|link| Arc::ptr_eq(&link.progress, &progress))
                {
                    self.entered(&order, room, joined);
                }
            }
            RoomNotice::Refused { order, failure } => self.close_link(order, &failure),
            RoomNotice::Removed { order } => self.close_link(order, &Failure::forbidden()),
            RoomNotice::Lost { order } => self.lost(order, ctx),
        }
    }

    fn entered(&mut self, order: &OrderId, room: RoomHandle, joined: bool) {
        let Some(link) = self.links.get_mut(order) else {
            // The session has ended, or left, before it was in; `depart` has told the room.
            return;
        };
        match std::mem::replace(&mut link.state, LinkState::Open(room.clone())) {
            LinkState::Open(_) => {
                link.unconfirmed = link.unconfirmed.saturating_sub(u32::from(joined));
            }
            LinkState::Entering(queue) => {
                link.joins += u32::from(joined);
                self.served(queue.len());
                for event in queue {
                    self.deliver_or_refuse(order, &room, event);
                }
            }
        }
    }

    /// A leave among the waiting events may have closed the link for those behind it.
    fn deliver_or_refuse(&mut self, order: &OrderId, room: &RoomHandle, event: RoomEvent) {
        if self.links.contains_key(order) {
            self.deliver(order, room, event);
        } else {
            event.refuse(unavailable("the room was left meanwhile"));
        }
    }

    fn close_link(&mut self, order: OrderId, failure: &Failure) {
        let Some(link) = self.links.remove(&order) else { return };
        self.refusals.remember(order, failure, Instant::now());
        if let LinkState::Entering(queue) = link.state {
            self.served(queue.len());
            for event in queue {
                event.refuse(failure.clone());
            }
        }
    }

    /// The room is gone. A session that was in goes back in with the next one, and its client
    /// sees nothing of it.
    fn lost(&mut self, order: OrderId, ctx: &mut Context<Self>) {
        let Some(link) = self.links.get_mut(&order) else { return };
        link.joins = link.joins.saturating_sub(std::mem::take(&mut link.unconfirmed));
        let was_in = matches!(link.state, LinkState::Open(_));
        if !was_in && link.joins == 0 {
            return self.close_link(order, &unavailable("the room was interrupted"));
        }
        if was_in {
            link.state = LinkState::Entering(VecDeque::new());
        }
        let purpose = if link.joins > 0 { Purpose::Rejoin } else { Purpose::Send };
        self.ask_to_enter(order, purpose, ctx);
    }

    /// So many events no longer wait.
    fn served(&mut self, events: usize) {
        self.waiting -= events;
        if self.waiting < MOST_WAITING && self.gate.resume() {
            // What it said meanwhile is only read now, its pongs too.
            self.deadlines.heard(Instant::now());
        }
    }
}
