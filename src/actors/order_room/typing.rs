//! Who is typing: relayed in the lane where the newest wins, to everybody but the user.

use std::time::Instant;

use actix::{Context, Handler, Message};

use super::location::next_lane;
use super::{OrderRoom, RoomPermit};
use crate::actors::broadcast::Broadcast;
use crate::actors::peer::Answer;
use crate::ids::{SessionId, UserId};
use crate::protocol::server::{Reply, ServerEvent, TypingNews};
use crate::room::policy::Action;
use crate::room::typing::Word;
use crate::transport::LatestKey;

/// A user is typing, or no more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Type {
    /// On which session.
    pub session: SessionId,
    /// Whether he is.
    pub typing: bool,
    /// Where the outcome goes.
    pub answer: Answer,
    /// Its place in the queue.
    pub permit: RoomPermit,
}

impl OrderRoom {
    fn type_on(&mut self, message: Type, now: Instant) {
        let Type { session, typing, answer, .. } = message;
        match self.may_act(session, Action::Chat) {
            Ok(user) => {
                self.typists.say(&user, session, typing, now, next_lane);
                answer.ok(Reply::Done {});
            }
            Err(failure) => answer.refuse(failure),
        }
    }

    /// Tells what there is to tell of those who type.
    pub(super) fn tell_typing(&mut self, now: Instant) {
        let mut gone = false;
        for word in self.typists.due(now) {
            gone |= self.relay_typing(&word);
        }
        if gone {
            self.drop_the_gone();
        }
    }

    /// What a user typed has been said.
    pub(super) fn stop_typing(&mut self, user: &UserId, now: Instant) {
        if let Some(word) = self.typists.stop(user, now) {
            // One that is gone is noticed at the next fan-out.
            self.relay_typing(&word);
        }
    }

    /// What was typed on a session that is gone will not be said.
    pub(super) fn forget_typing(&mut self, session: SessionId, now: Instant) {
        if let Some(word) = self.typists.leave(session, now) {
            self.relay_typing(&word);
        }
    }

    /// Tells everybody but the user, on whatever device. True where one turned out to be gone.
    fn relay_typing(&mut self, word: &Word<LatestKey>) -> bool {
        let Word { user, key, typing } = word;
        let news = TypingNews { order_id: &self.order, user_id: user, typing: *typing };
        let event = ServerEvent::Typing(news);
        self.shared.metrics.events_out.inc(event.index());
        let mut broadcast = Broadcast::new(event);
        let (mut delivered, mut gone) = (0, false);
        for member in self.members.values_mut().filter(|member| member.identity.user != *user) {
            let frame = broadcast.frame(member.codec);
            if member.is_held() {
                // A beginning is said again soon; an end would be missed.
                if !typing {
                    member.push(frame, None);
                }
                continue;
            }
            match member.outbox.push_latest(*key, frame) {
                Ok(()) => delivered += 1,
                Err(_) => gone = true,
            }
        }
        self.shared.metrics.deliveries.inc_by(delivered);
        gone
    }
}

impl Handler<Type> for OrderRoom {
    type Result = ();

    fn handle(&mut self, message: Type, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.type_on(message, now);
        self.tick(now, ctx);
    }
}
