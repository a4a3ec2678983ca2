//! Receipts: which chat was delivered to a user, and which the user has read. A receipt is not
//! stored like chat: the next one makes up for a lost one.

use std::sync::Arc;
use std::time::Instant;

use actix::{Context, Handler};

use super::chat::Origin;
use super::{ClientRequest, OrderRoom};
use crate::bus::Kind;
use crate::relay::RelayedData as _;
use crate::relay::receipt::RelayedReceipt;
use crate::room::policy::Action;
use crate::room::read_marks::MarkAdvance;
use protocol::chat::{ChatKind, ChatMessage};
use protocol::client::Reply;
use protocol::events::Done;
use protocol::events::receipt::{ReadMark, Receipt, ReceiptKind, ReceiptUpdate};
use protocol::ids::UserId;
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

type ReceiptRequest = ClientRequest<(ReceiptKind, Receipt)>;

impl OrderRoom {
    /// Handles a receipt. Returns whether a member is gone.
    fn set_receipt(&mut self, receipt: ReceiptRequest) -> bool {
        let ClientRequest { session, data: (kind, receipt), answer, .. } = receipt;
        let identity = match self.authorize(session, Action::Read) {
            Ok(identity) => Arc::clone(identity),
            Err(failure) => {
                answer.refuse(failure);
                return false;
            }
        };
        let user = &identity.user;
        // A receipt cannot confirm messages that were not delivered yet. In a cluster another node
        // may have delivered them; the next receipt counts then.
        if self.is_behind(Some(receipt.seq)) {
            self.delivery.learn(receipt.seq, Instant::now());
        }
        let seq = receipt.seq.min(self.delivery.delivered());
        // A receipt for deleted chat is ignored.
        let advances = seq > self.floor
            && match kind {
                ReceiptKind::Read => self.advance_mark(user, seq, true),
                ReceiptKind::Delivered => true,
            };
        answer.ok(match kind {
            ReceiptKind::Read => Reply::Read(Done {}),
            ReceiptKind::Delivered => Reply::Delivered(Done {}),
        });
        if !advances {
            return false;
        }
        self.tell_nodes(Kind::Receipt, || RelayedReceipt::new(kind, user, seq).write());
        self.show_receipt(kind, user, seq)
    }

    fn show_receipt(&mut self, kind: ReceiptKind, user: &UserId, seq: i64) -> bool {
        let order = self.order.clone();
        let update = ReceiptUpdate { order_id: &order, user_id: user, seq, at: Timestamp::now() };
        let event = match kind {
            ReceiptKind::Read => ServerEvent::Read(update),
            ReceiptKind::Delivered => ServerEvent::Delivered(update),
        };
        self.send_to_all(event).gone
    }

    /// Shows a receipt of another node, which stores it.
    pub(super) fn show_relayed_receipt(&mut self, receipt: &RelayedReceipt) {
        let (kind, user, seq) = (receipt.kind(), &receipt.user_id, receipt.seq);
        let advances = seq > self.floor
            && match kind {
                ReceiptKind::Read => self.read_marks.advance(user, seq).is_some(),
                ReceiptKind::Delivered => true,
            };
        // A closed member is noticed at the next fan-out.
        if advances {
            self.show_receipt(kind, user, seq);
        }
    }

    /// A user who sends a message has read all before it. System messages move no read mark.
    pub(super) fn on_message_from_sender(
        &mut self,
        message: &ChatMessage,
        by: Origin,
        now: Instant,
    ) {
        if message.kind == ChatKind::System {
            return;
        }
        self.stop_typing(&message.sender_id, now);
        match by {
            Origin::ThisNode => {
                self.advance_mark(&message.sender_id, message.seq, false);
            }
            Origin::AnotherNode => {
                self.read_marks.advance(&message.sender_id, message.seq);
            }
        }
    }

    /// Advances a mark and queues it for the store; `is_receipt` says whether by a receipt of the
    /// user. Returns whether it moved.
    fn advance_mark(&mut self, user: &UserId, seq: i64, is_receipt: bool) -> bool {
        let Some(MarkAdvance { forgotten }) = self.read_marks.advance(user, seq) else {
            return false;
        };
        let store = &self.shared.store;
        let mut queued = store.queue_read_mark(&self.order, user, seq, is_receipt);
        if let Some(forgotten) = forgotten {
            queued &= store.queue_read_mark(&self.order, &forgotten, 0, false);
        }
        self.read_marks_unsaved |= !queued;
        true
    }

    /// Queues the marks for which the store had no place before. Returns whether all are queued.
    pub(super) fn save_read_marks(&mut self) -> bool {
        if self.read_marks_unsaved {
            let (store, order) = (&self.shared.store, &self.order);
            let mut marks = self.read_marks.iter();
            let queued = marks.all(|(user, seq)| store.queue_read_mark(order, user, seq, true));
            self.read_marks_unsaved = !queued;
        }
        !self.read_marks_unsaved
    }

    /// The marks as a snapshot shows them. They are the current ones also where the snapshot's
    /// messages end earlier, since a mark is not sent again.
    pub(super) fn shown_marks(&self) -> Vec<ReadMark<'_>> {
        self.read_marks.iter().map(|(user_id, seq)| ReadMark { user_id, seq }).collect()
    }
}

impl Handler<ReceiptRequest> for OrderRoom {
    type Result = ();

    fn handle(&mut self, receipt: ReceiptRequest, ctx: &mut Context<Self>) {
        if self.set_receipt(receipt) {
            self.remove_closed_members();
            self.tick(Instant::now(), ctx);
        }
    }
}
