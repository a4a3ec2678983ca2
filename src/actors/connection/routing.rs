//! Routes an event to its room: directly once the session is in, into a queue while it is entering,
//! and by the supervisor the first time.

use std::time::Instant;

use actix::Context;

use super::Connection;
use super::session::Session;
use super::subscription::{RoomEvent, SubscriptionState};
use crate::actors::order_room::{JoinAgain, UpdateLocation};
use crate::actors::peer::{Answer, LeaveReply};
use crate::actors::shared::unavailable;
use protocol::client::{ClientEvent, Reply};
use protocol::error::{ErrorCode, Failure};
use protocol::events::join::Join;
use protocol::events::leave::Remaining;
use protocol::ids::OrderId;

impl Session {
    /// Sends an event to its room.
    pub(super) fn route(
        &mut self,
        order: OrderId,
        event: RoomEvent,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        let Some(subscription) = self.subscriptions.get_recent(&order) else {
            return self.subscribe(order, event, now, ctx);
        };
        let room = match &mut subscription.state {
            SubscriptionState::Subscribed(room) => room,
            SubscriptionState::Subscribing(queue) => {
                queue.push_back(event);
                return self.count_queued();
            }
            SubscriptionState::Retrying => {
                return match event {
                    RoomEvent::Client(ClientEvent::Leave(leave), answer) => {
                        self.leave(&order, leave.all, answer);
                    }
                    event => event.refuse(unavailable("the room was interrupted"), &self.peer),
                };
            }
        };
        let session = self.peer.id;
        match (event, room.permit()) {
            (RoomEvent::UpdateLocation(fix, reply), Some(permit)) => {
                room.addr.do_send(UpdateLocation { session, at: now, fix, reply, permit });
            }
            // A session has only a few joins and pages under way, so they need no permit of the
            // room, whose permits others may have used up.
            (RoomEvent::Client(ClientEvent::Join(join), answer), _) => {
                self.join_again(&order, join, answer);
            }
            (RoomEvent::Client(ClientEvent::Leave(leave), answer), _) => {
                self.leave(&order, leave.all, answer);
            }
            (RoomEvent::Client(event, answer), permit)
                if permit.is_some() || matches!(event, ClientEvent::History(_)) =>
            {
                room.request(session, event, answer, permit);
            }
            (event, _) => self.drop_event(event),
        }
    }

    /// Refuses an event for which the room has no permit. A newer fix follows a dropped one.
    fn drop_event(&self, event: RoomEvent) {
        if matches!(event, RoomEvent::UpdateLocation(..)) {
            self.shared.metrics.locations_dropped.inc();
        }
        event.refuse(unavailable("the room is too busy"), &self.peer);
    }

    fn join_again(&mut self, order: &OrderId, join: Join, answer: Answer) {
        // A room that the session only sent to counts against the limit once it is joined.
        if let Err(failure) = self.check_room_limit(order, true) {
            return answer.refuse(failure);
        }
        let Some(subscription) = self.subscriptions.get_mut(order) else { return };
        // A join that did not count cannot be taken back.
        let counts = subscription.join(Instant::now());
        let answer =
            if counts { answer.for_counted_join(order.clone(), subscription.id) } else { answer };
        if let Some(room) = subscription.room() {
            room.addr.do_send(JoinAgain { session: self.peer.id, join, answer });
        }
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
            return answer.ok(Reply::Leave(Remaining { remaining: subscription.joins }));
        }
        self.leave_room(order, Some(LeaveReply::new(order.clone(), answer)));
    }
}
