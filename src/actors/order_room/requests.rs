//! The events of clients that a room handles, one line each. The handler of an event is in the file
//! named after it.

use actix::Message;

use super::{RoomHandle, RoomPermit};
use crate::actors::peer::Answer;
use protocol::client::ClientEvent;
use protocol::events::receipt::ReceiptKind;
use protocol::ids::SessionId;

/// An event of a client, with its data.
pub struct ClientRequest<T> {
    /// The session that sent it.
    pub session: SessionId,
    /// The data of the event.
    pub data: T,
    /// Takes the reply.
    pub answer: Answer,
    /// The permit of the room's queue. `None` for events of which a session has only a few under
    /// way.
    pub permit: Option<RoomPermit>,
}

impl<T: 'static> Message for ClientRequest<T> {
    type Result = ();
}

// === impl RoomHandle ===

impl RoomHandle {
    /// Sends an event to the room as a message of its own type, so that each event has its own
    /// handler.
    pub fn request(
        &self,
        session: SessionId,
        event: ClientEvent,
        answer: Answer,
        permit: Option<RoomPermit>,
    ) {
        macro_rules! send {
            ($data:expr) => {
                self.addr.do_send(ClientRequest { session, data: $data, answer, permit })
            };
        }
        match event {
            ClientEvent::Chat(chat) => send!(chat),
            ClientEvent::History(history) => send!(history),
            ClientEvent::Delivered(receipt) => send!((ReceiptKind::Delivered, receipt)),
            ClientEvent::Read(receipt) => send!((ReceiptKind::Read, receipt)),
            ClientEvent::Typing(typing) => send!(typing),
            // The session handles these, and sends the room messages of their own.
            ClientEvent::Join(_)
            | ClientEvent::Leave(_)
            | ClientEvent::Location(_)
            | ClientEvent::Refresh(_)
            | ClientEvent::Ping(_) => drop(answer),
        }
    }
}
