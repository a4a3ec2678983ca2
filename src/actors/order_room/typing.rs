//! Typing indicators: relayed in the latest-wins lane, to all members but the user's own.

use std::sync::Arc;
use std::time::Instant;

use actix::{Context, Handler};

use super::lanes::next_latest_key;
use super::members::Member;
use super::{ClientRequest, OrderRoom};
use crate::actors::broadcast::{PushOutcome, broadcast};
use crate::bus::Kind;
use crate::relay::RelayedData as _;
use crate::relay::typing::RelayedTyping;
use crate::room::policy::Action;
use crate::room::typing::TypingChange;
use protocol::client::Reply;
use protocol::events::Done;
use protocol::events::typing::{Typing, TypingUpdate};
use protocol::ids::{SessionId, UserId};
use protocol::server::ServerEvent;
use transport::LatestKey;

impl OrderRoom {
    fn set_typing(&mut self, request: ClientRequest<Typing>, now: Instant) {
        let ClientRequest { session, data: Typing { typing, .. }, answer, .. } = request;
        let identity = match self.authorize(session, Action::Chat) {
            Ok(identity) => Arc::clone(identity),
            Err(failure) => return answer.refuse(failure),
        };
        self.typing_users.set(&identity.user, session, typing, now, next_latest_key);
        self.tell_nodes_typing(&identity.user, typing);
        answer.ok(Reply::Typing(Done {}));
    }

    /// Sends the typing changes that are due.
    pub(super) fn broadcast_due_typing(&mut self, now: Instant) {
        let mut gone = false;
        for change in self.typing_users.due(now) {
            gone |= self.broadcast_typing(&change);
        }
        if gone {
            self.remove_closed_members();
        }
    }

    /// A user has sent a message, and so stops typing.
    pub(super) fn stop_typing(&mut self, user: &UserId, now: Instant) {
        if let Some(change) = self.typing_users.stop(user, now) {
            // A closed member is noticed at the next fan-out.
            self.broadcast_typing(&change);
        }
    }

    /// A session has left, and so stops typing.
    pub(super) fn forget_typing(&mut self, session: SessionId, now: Instant) {
        if let Some(change) = self.typing_users.leave(session, now) {
            self.broadcast_typing(&change);
            self.tell_nodes_typing(&change.user, false);
        }
    }

    fn tell_nodes_typing(&self, user: &UserId, typing: bool) {
        self.tell_nodes(Kind::Typing, || RelayedTyping { user_id: user.clone(), typing }.write());
    }

    /// Tells every member but the user's own sessions. Returns whether a member's outbox was
    /// closed.
    fn broadcast_typing(&mut self, change: &TypingChange<LatestKey>) -> bool {
        let TypingChange { user, key, typing } = change;
        let update = TypingUpdate { order_id: &self.order, user_id: user, typing: *typing };
        let others = |member: &&mut Member| member.session.identity.user != *user;
        let members = self.members.values_mut().filter(others);
        let event = ServerEvent::Typing(update);
        let outcome = broadcast(event, &self.shared.metrics, members, |member, event| {
            match member.is_held() {
                // A start is repeated soon; an end would be missed.
                true if *typing => PushOutcome::Held,
                true => member.push(event.frame(member.codec), None),
                false => member.push_latest(*key, event.frame(member.codec)),
            }
        });
        outcome.gone
    }
}

impl Handler<ClientRequest<Typing>> for OrderRoom {
    type Result = ();

    fn handle(&mut self, request: ClientRequest<Typing>, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.set_typing(request, now);
        self.tick(now, ctx);
    }
}
