//! Why a Socket.IO connection is malformed. No stock client sends such packets, and they end the
//! connection at once.

use crate::close::CloseCode;

/// A packet after which the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An Engine.IO type that does not exist, or that only servers send.
    #[error("not an Engine.IO packet that a client may send")]
    Engine,
    /// A Socket.IO type that does not exist, or that only servers send.
    #[error("not a Socket.IO packet that a client may send")]
    Kind,
    /// A binary packet that does not say how many attachments follow, or too many.
    #[error("a binary packet must announce 0 to 10 attachments")]
    Attachments,
    /// An ack id that JavaScript cannot represent.
    #[error("an ack id must be 0 to 2^53 - 1")]
    AckId,
    /// A payload that is not JSON, or not what packets of its type contain.
    #[error("the payload is not what its packet type carries")]
    Payload,
    /// Brackets nest too deeply.
    #[error("nested over 64 levels deep")]
    TooDeep,
    /// An event with a name that is reserved for Socket.IO.
    #[error("the event's name is reserved")]
    Reserved,
    /// A placeholder that names none of the packet's attachments.
    #[error("a placeholder without its attachment")]
    Placeholder,
    /// A text packet before all attachments of the previous packet arrived.
    #[error("text where an attachment must follow")]
    Unfinished,
    /// A binary message that no packet has announced.
    #[error("a binary message that no packet announced")]
    Unannounced,
    /// A packet that is, with its attachments, over the limit of a message.
    #[error("larger than a message may be")]
    TooBig,
}

impl Malformed {
    /// The close code for the connection.
    pub fn close(self) -> CloseCode {
        match self {
            Self::TooBig => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}
