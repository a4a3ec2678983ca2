//! Routes an event to its room: directly once the session is in, into a queue while it is entering,
//! and by the supervisor the first time.

use std::time::Instant;

use actix::Context;

use super::Connection;
use super::session::Session;
use super::subscriptions::SubscriptionState;
use crate::actors::location_reply::{AckAggregator, LocationReply};
use crate::actors::order_room::{
    GetHistory, JoinAgain, PostChat, RoomHandle, RoomPermit, SetReceipt, SetTyping, UpdateLocation,
};
use crate::actors::peer::{Answer, LeaveReply};
use crate::actors::shared::unavailable;
use crate::metrics::Metrics;
use protocol::client::{Chat, ClientEvent, Fix, History, Join, ReceiptKind, Target};
use protocol::error::{ErrorCode, Failure};
use protocol::ids::{OrderId, SessionId};
use protocol::server::Reply;

/// An event for one room.
pub(super) enum RoomEvent {
    Join(Join, Answer),
    Leave { all: bool, answer: Answer },
    UpdateLocation(Fix, LocationReply),
    PostChat(Chat, Answer),
    GetHistory(History, Answer),
    SetReceipt(ReceiptKind, i64, Answer),
    SetTyping(bool, Answer),
}

// === impl RoomEvent ===

impl RoomEvent {
    /// Answers the event with a refusal.
    pub(super) fn refuse(self, failure: Failure) {
        match self {
            Self::UpdateLocation(_, reply) => reply.refuse(failure, None),
            Self::Join(_, answer)
            | Self::Leave { answer, .. }
            | Self::PostChat(_, answer)
            | Self::GetHistory(_, answer)
            | Self::SetReceipt(_, _, answer)
            | Self::SetTyping(_, answer) => answer.refuse(failure),
        }
    }
}

// === impl Session ===

impl Session {
    /// Sends an event to its rooms.
    pub(super) fn route(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Connection>,
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
                self.route_one(chat.order_id.clone(), RoomEvent::PostChat(chat, answer), now, ctx);
            }
            ClientEvent::History(history) => {
                let order = history.order_id.clone();
                self.route_one(order, RoomEvent::GetHistory(history, answer), now, ctx);
            }
            ClientEvent::Receipt(kind, receipt) => {
                let event = RoomEvent::SetReceipt(kind, receipt.seq, answer);
                self.route_one(receipt.order_id, event, now, ctx);
            }
            ClientEvent::Typing(typing) => {
                let event = RoomEvent::SetTyping(typing.typing, answer);
                self.route_one(typing.order_id, event, now, ctx);
            }
            ClientEvent::Location(location) => match location.target {
                Target::One(order) => {
                    let event = RoomEvent::UpdateLocation(
                        location.fix,
                        LocationReply::Single(Box::new(answer)),
                    );
                    self.route_one(order, event, now, ctx);
                }
                Target::Many(orders) => {
                    self.send_fix_to_orders(&orders, location.fix, answer, now, ctx);
                }
                Target::All => self.send_fix_to_open_orders(location.fix, answer, now, ctx),
            },
            // Not for a room; the session answers these itself.
            ClientEvent::Ping(_) | ClientEvent::Refresh(_) => {}
        }
    }

    /// Forwards a fix without an ack directly to a room that the session is in and that has a free
    /// permit. Returns whether it did. Nearly all events are such fixes, and an [`Answer`] for each
    /// would cost more than all the rest here.
    pub(super) fn forward_fix(&mut self, order: &OrderId, fix: Fix, at: Instant) -> bool {
        let subscription =
            self.subscriptions.get_recent(order).map(|subscription| &subscription.state);
        let Some(SubscriptionState::Subscribed(room)) = subscription else { return false };
        let Some(permit) = room.permit() else { return false };
        let (session_id, reply) = (self.peer.id, LocationReply::NotRequested);
        room.addr.do_send(UpdateLocation { session: session_id, at, fix, reply, permit });
        true
    }

    /// Sends a fix to several orders, with one answer.
    pub(super) fn send_fix_to_orders(
        &mut self,
        orders: &[OrderId],
        fix: Fix,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        if orders.is_empty() {
            return answer.ok(Reply::Accepted { accepted: 0, rejected: &[] });
        }
        for (order, reply) in orders.iter().zip(AckAggregator::split(answer, orders)) {
            self.route_one(order.clone(), RoomEvent::UpdateLocation(fix, reply), now, ctx);
        }
    }

    pub(super) fn route_one(
        &mut self,
        order: OrderId,
        event: RoomEvent,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        match self.subscriptions.get_recent(&order).map(|subscription| &mut subscription.state) {
            Some(SubscriptionState::Subscribed(room)) => match event {
                RoomEvent::UpdateLocation(fix, reply) => {
                    send_fix(room, self.peer.id, now, fix, reply, &self.shared.metrics);
                }
                event => {
                    let room = room.clone();
                    self.deliver(&order, &room, event);
                }
            },
            Some(SubscriptionState::Subscribing(queue)) => {
                queue.push_back(event);
                self.count_queued();
            }
            Some(SubscriptionState::Retrying) => match event {
                RoomEvent::Leave { all, answer } => self.leave(&order, all, answer),
                event => event.refuse(unavailable("the room was interrupted")),
            },
            None => self.subscribe(order, event, now, ctx),
        }
    }

    /// Sends an event to a room that the session is in.
    fn deliver(&mut self, order: &OrderId, room: &RoomHandle, event: RoomEvent) {
        let session_id = self.peer.id;
        if let RoomEvent::Leave { all, answer } = event {
            return self.leave(order, all, answer);
        }
        // A room that the session only sent to counts against the limit once it is joined.
        if matches!(event, RoomEvent::Join(..))
            && let Err(failure) = self.check_room_limit(order, &event)
        {
            return event.refuse(failure);
        }
        match event {
            // A session has only a few of these two under way, so they take no permit of the room,
            // whose permits others may have used up.
            RoomEvent::Join(join, answer) => self.join_again(order, room, join, answer),
            RoomEvent::GetHistory(history, answer) => {
                room.addr.do_send(GetHistory { session: session_id, history, answer });
            }
            event => {
                let Some(permit) = room.permit() else {
                    return event.refuse(unavailable("the room is too busy"));
                };
                forward_event(room, session_id, event, permit);
            }
        }
    }

    fn join_again(&mut self, order: &OrderId, room: &RoomHandle, join: Join, answer: Answer) {
        let Some(subscription) = self.subscriptions.get_mut(order) else { return };
        // A join that did not count cannot be taken back.
        let counts = subscription.join(Instant::now());
        let answer =
            if counts { answer.for_counted_join(order.clone(), subscription.id) } else { answer };
        room.addr.do_send(JoinAgain { session: self.peer.id, join, answer });
    }

    /// Undoes one join, or all. The last one leaves the room.
    fn leave(&mut self, order: &OrderId, all: bool, answer: Answer) {
        let Some(subscription) =
            self.subscriptions.get_mut(order).filter(|subscription| subscription.joins > 0)
        else {
            return answer.refuse(Failure::new(ErrorCode::NotJoined, "not in this room"));
        };
        subscription.joins = if all { 0 } else { subscription.joins - 1 };
        if subscription.joins > 0 {
            return answer.ok(Reply::Left { remaining: subscription.joins });
        }
        self.leave_room(order, Some(LeaveReply::new(order.clone(), answer)));
    }
}

/// Forwards an event to its room.
fn forward_event(room: &RoomHandle, session_id: SessionId, event: RoomEvent, permit: RoomPermit) {
    match event {
        RoomEvent::PostChat(chat, answer) => {
            room.addr.do_send(PostChat { session: session_id, chat, answer, permit });
        }
        RoomEvent::SetReceipt(kind, seq, answer) => {
            room.addr.do_send(SetReceipt { session: session_id, kind, seq, answer, permit });
        }
        RoomEvent::SetTyping(typing, answer) => {
            room.addr.do_send(SetTyping { session: session_id, typing, answer, permit });
        }
        // These are sent elsewhere.
        RoomEvent::Join(..)
        | RoomEvent::Leave { .. }
        | RoomEvent::GetHistory(..)
        | RoomEvent::UpdateLocation(..) => {}
    }
}

/// Sends a fix to its room. Without a free permit it is dropped: a newer one follows.
fn send_fix(
    room: &RoomHandle,
    session_id: SessionId,
    at: Instant,
    fix: Fix,
    reply: LocationReply,
    metrics: &Metrics,
) {
    let Some(permit) = room.permit() else {
        metrics.locations_dropped.inc();
        return reply.refuse(unavailable("the room is too busy"), None);
    };
    room.addr.do_send(UpdateLocation { session: session_id, at, fix, reply, permit });
}
