//! The way of an event to its room: straight there once the session is in, in a queue while it is
//! on the way, and by the supervisor the first time.

use std::time::Instant;

use actix::Context;

use super::Session;
use super::links::LinkState;
use super::login::Login;
use crate::actors::order_room::{
    JoinAgain, Locate, Read, Receive, RoomHandle, RoomPermit, Say, Type,
};
use crate::actors::peer::{Answer, Farewell};
use crate::actors::shared::unavailable;
use crate::actors::tally::{Tally, Verdict};
use crate::ids::{OrderId, SessionId};
use crate::metrics::Metrics;
use crate::protocol::client::{Chat, ClientEvent, Fix, History, Join, ReceiptKind, Target};
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::server::Reply;

/// An event for one room.
pub(super) enum RoomEvent {
    Join(Join, Answer),
    Leave { all: bool, answer: Answer },
    Locate(Fix, Verdict),
    Say(Chat, Answer),
    Read(History, Answer),
    Receive(ReceiptKind, i64, Answer),
    Type(bool, Answer),
}

// === impl RoomEvent ===

impl RoomEvent {
    /// Answers it with a refusal.
    pub(super) fn refuse(self, failure: Failure) {
        match self {
            Self::Locate(_, verdict) => verdict.refuse(failure, None),
            Self::Join(_, answer)
            | Self::Leave { answer, .. }
            | Self::Say(_, answer)
            | Self::Read(_, answer)
            | Self::Receive(_, _, answer)
            | Self::Type(_, answer) => answer.refuse(failure),
        }
    }
}

// === impl Session ===

impl Login {
    /// Sends an event to the rooms that it is for.
    pub(super) fn route(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Session>,
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
            ClientEvent::Receipt(kind, receipt) => {
                let event = RoomEvent::Receive(kind, receipt.seq, answer);
                self.route_one(receipt.order_id, event, now, ctx);
            }
            ClientEvent::Typing(typing) => {
                let event = RoomEvent::Type(typing.typing, answer);
                self.route_one(typing.order_id, event, now, ctx);
            }
            ClientEvent::Location(location) => match location.target {
                Target::One(order) => {
                    let event = RoomEvent::Locate(location.fix, Verdict::Alone(Box::new(answer)));
                    self.route_one(order, event, now, ctx);
                }
                Target::Many(orders) => self.locate_all(&orders, location.fix, answer, now, ctx),
                Target::All => self.locate_everywhere(location.fix, answer, now, ctx),
            },
            // Not for a room; the session has answered them.
            ClientEvent::Ping(_) | ClientEvent::Refresh(_) => {}
        }
    }

    /// Sends on a fix whose client asked for no reply, straight to a room that the session is in and
    /// that has a place for it; says whether that was so. Nearly all events are such fixes, and an
    /// [`Answer`] for each would cost more than the rest of what is done here.
    pub(super) fn pass_on(&mut self, order: &OrderId, fix: Fix, at: Instant) -> bool {
        let link = self.links.get_recent(order).map(|link| &link.state);
        let Some(LinkState::Open(room)) = link else { return false };
        let Some(permit) = room.permit() else { return false };
        let (session, verdict) = (self.peer.id, Verdict::Unasked);
        room.addr.do_send(Locate { session, at, fix, verdict, permit });
        true
    }

    /// Sends a fix to several orders, with one answer.
    pub(super) fn locate_all(
        &mut self,
        orders: &[OrderId],
        fix: Fix,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Session>,
    ) {
        if orders.is_empty() {
            return answer.ok(Reply::Accepted { accepted: 0, rejected: &[] });
        }
        for (order, verdict) in orders.iter().zip(Tally::split(answer, orders)) {
            self.route_one(order.clone(), RoomEvent::Locate(fix, verdict), now, ctx);
        }
    }

    pub(super) fn route_one(
        &mut self,
        order: OrderId,
        event: RoomEvent,
        now: Instant,
        ctx: &mut Context<Session>,
    ) {
        match self.links.get_recent(&order).map(|link| &mut link.state) {
            Some(LinkState::Open(room)) => match event {
                RoomEvent::Locate(fix, verdict) => {
                    locate(room, self.peer.id, now, fix, verdict, &self.shared.metrics);
                }
                event => {
                    let room = room.clone();
                    self.deliver(&order, &room, event);
                }
            },
            Some(LinkState::Entering(queue)) => {
                queue.push_back(event);
                self.kept_waiting();
            }
            Some(LinkState::Away) => match event {
                RoomEvent::Leave { all, answer } => self.leave(&order, all, answer),
                event => event.refuse(unavailable("the room was interrupted")),
            },
            None => self.begin(order, event, now, ctx),
        }
    }

    /// Sends an event to a room that the session is in.
    fn deliver(&mut self, order: &OrderId, room: &RoomHandle, event: RoomEvent) {
        let session = self.peer.id;
        if let RoomEvent::Leave { all, answer } = event {
            return self.leave(order, all, answer);
        }
        // One that only sent so far takes a place among the joined rooms, as any other does.
        if matches!(event, RoomEvent::Join(..))
            && let Err(failure) = self.has_room_for(order, &event)
        {
            return event.refuse(failure);
        }
        match event {
            // Of these two a session has only a few under way, so they need no place of the room's: it
            // may be full of others.
            RoomEvent::Join(join, answer) => self.join_again(order, room, join, answer),
            RoomEvent::Read(history, answer) => {
                room.addr.do_send(Read { session, history, answer });
            }
            event => {
                let Some(permit) = room.permit() else {
                    return event.refuse(unavailable("the room is too busy"));
                };
                hand_over(room, session, event, permit);
            }
        }
    }

    fn join_again(&mut self, order: &OrderId, room: &RoomHandle, join: Join, answer: Answer) {
        let Some(link) = self.links.get_mut(order) else { return };
        // What did not count cannot be taken back either.
        let counts = link.join(Instant::now());
        let answer = if counts { answer.counted(order.clone(), link.id) } else { answer };
        room.addr.do_send(JoinAgain { session: self.peer.id, join, answer });
    }

    /// Undoes one join, or all; the last one leaves the room.
    fn leave(&mut self, order: &OrderId, all: bool, answer: Answer) {
        let Some(link) = self.links.get_mut(order).filter(|link| link.joins > 0) else {
            return answer.refuse(Failure::new(ErrorCode::NotJoined, "not in this room"));
        };
        link.joins = if all { 0 } else { link.joins - 1 };
        if link.joins > 0 {
            return answer.ok(Reply::Left { remaining: link.joins });
        }
        self.walk_out(order, Some(Farewell::new(order.clone(), answer)));
    }
}

/// Hands an event on to its room.
fn hand_over(room: &RoomHandle, session: SessionId, event: RoomEvent, permit: RoomPermit) {
    match event {
        RoomEvent::Say(chat, answer) => room.addr.do_send(Say { session, chat, answer, permit }),
        RoomEvent::Receive(kind, seq, answer) => {
            room.addr.do_send(Receive { session, kind, seq, answer, permit });
        }
        RoomEvent::Type(typing, answer) => {
            room.addr.do_send(Type { session, typing, answer, permit });
        }
        // Each has a way of its own.
        RoomEvent::Join(..)
        | RoomEvent::Leave { .. }
        | RoomEvent::Read(..)
        | RoomEvent::Locate(..) => {}
    }
}

/// Sends a fix to its room. One that the room has no place for is dropped: a newer one follows.
fn locate(
    room: &RoomHandle,
    session: SessionId,
    at: Instant,
    fix: Fix,
    verdict: Verdict,
    metrics: &Metrics,
) {
    let Some(permit) = room.permit() else {
        metrics.locations_dropped.inc();
        return verdict.refuse(unavailable("the room is too busy"), None);
    };
    room.addr.do_send(Locate { session, at, fix, verdict, permit });
}
