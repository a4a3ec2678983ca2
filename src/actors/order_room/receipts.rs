//! Receipts: what has arrived at a user and what he has read. Neither is chat: a receipt that is lost
//! is made good by the next.

use std::time::Instant;

use actix::{Context, Handler, Message};

use super::{OrderRoom, RoomPermit};
use crate::actors::peer::Answer;
use crate::actors::shared::unavailable;
use crate::ids::{SessionId, UserId};
use crate::protocol::chat::{ChatKind, ChatMessage};
use crate::protocol::client::ReceiptKind;
use crate::protocol::error::Failure;
use crate::protocol::server::{ReadMark, ReceiptUpdate, Reply, ServerEvent};
use crate::room::policy::Action;
use crate::room::read_marks::MarkAdvance;
use crate::time::Timestamp;

/// A session has got chat, or its user has read it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetReceipt {
    /// Which session.
    pub session: SessionId,
    /// What has become of the chat.
    pub kind: ReceiptKind,
    /// Up to which message.
    pub seq: i64,
    /// Where the outcome goes.
    pub answer: Answer,
    /// Its place in the queue.
    pub permit: RoomPermit,
}

impl OrderRoom {
    /// Takes a receipt. True where a member turned out to be gone.
    fn set_receipt(&mut self, receipt: SetReceipt) -> bool {
        let user = match self.authorize_session(receipt.session, Action::Read) {
            Ok(user) => user,
            Err(failure) => {
                receipt.answer.refuse(failure);
                return false;
            }
        };
        // Of what is beyond nobody has heard.
        let seq = receipt.seq.min(self.delivery.delivered());
        // What is not there any more nobody has got or read.
        let is_news = seq > self.floor
            && match receipt.kind {
                ReceiptKind::Read => self.advance_mark(&user, seq),
                ReceiptKind::Delivered => true,
            };
        receipt.answer.ok(Reply::Done {});
        if !is_news {
            return false;
        }
        let order = self.order.clone();
        let update = ReceiptUpdate { order_id: &order, user_id: &user, seq, at: Timestamp::now() };
        self.send_to_all(match receipt.kind {
            ReceiptKind::Read => ServerEvent::Read(update),
            ReceiptKind::Delivered => ServerEvent::Delivered(update),
        })
    }

    /// Whose session it is, if it may do that.
    pub(super) fn authorize_session(
        &self,
        session: SessionId,
        action: Action,
    ) -> Result<UserId, Failure> {
        let Some((_, identity)) = self.peer_and_identity(session) else {
            return Err(unavailable("the session is not in the room any more"));
        };
        let subject = self.shared.subject(identity, &self.order);
        let now = Timestamp::now();
        crate::room::policy::authorize(&self.shared.rules, &self.facts, subject, action, now)?;
        Ok(identity.user.clone())
    }

    /// Whoever says something has read what was before. What a back end says is nobody's.
    pub(super) fn on_message_from_sender(&mut self, message: &ChatMessage, now: Instant) {
        if message.kind != ChatKind::System {
            self.stop_typing(&message.sender_id, now);
            self.advance_mark(&message.sender_id, message.seq);
        }
    }

    /// Moves a mark and has it written. False where that moves nothing.
    fn advance_mark(&mut self, user: &UserId, seq: i64) -> bool {
        let Some(MarkAdvance { forgotten }) = self.read_marks.advance(user, seq) else {
            return false;
        };
        let store = &self.shared.store;
        let mut noted = store.queue_read_mark(&self.order, user, seq);
        if let Some(forgotten) = forgotten {
            noted &= store.queue_read_mark(&self.order, &forgotten, 0);
        }
        self.read_marks_unsaved |= !noted;
        true
    }

    /// Has the marks written for which there was no place before. False where there is none still.
    pub(super) fn save_read_marks(&mut self) -> bool {
        if self.read_marks_unsaved {
            let (store, order) = (&self.shared.store, &self.order);
            let noted =
                self.read_marks.iter().all(|(user, seq)| store.queue_read_mark(order, user, seq));
            self.read_marks_unsaved = !noted;
        }
        !self.read_marks_unsaved
    }

    /// The marks as a snapshot shows them: as they are, also where its messages end before, since
    /// nobody is told of a mark again.
    pub(super) fn shown_marks(&self) -> Vec<ReadMark<'_>> {
        self.read_marks.iter().map(|(user_id, seq)| ReadMark { user_id, seq }).collect()
    }
}

impl Handler<SetReceipt> for OrderRoom {
    type Result = ();

    fn handle(&mut self, receipt: SetReceipt, ctx: &mut Context<Self>) {
        if self.set_receipt(receipt) {
            self.remove_closed_members();
            self.tick(Instant::now(), ctx);
        }
    }
}
