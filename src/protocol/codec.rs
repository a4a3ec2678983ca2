//! How a session's events are framed. A broadcast is encoded once per codec, never per member.

use super::envelope;
use super::error::Failure;
use super::server::{Exception, Reply, ServerEvent};

/// The framing of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// `{event, data, id?}` over WebSocket.
    #[default]
    Plain,
}

impl Codec {
    /// The names of all framings, in the order of their discriminants.
    pub const NAMES: &[&str] = &["plain"];
    /// How many framings there are.
    pub const COUNT: usize = Self::NAMES.len();

    /// Writes an event.
    pub fn event(self, event: &ServerEvent<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Plain => envelope::encode_event(event, out),
        }
    }

    /// Writes the outcome of a client's event: to its ack id, or, without one, a failure as
    /// `exception`. Writes nothing, and says so, where a success is not asked for.
    pub fn outcome(
        self,
        name: Option<&str>,
        ack: Option<u64>,
        result: &Result<Reply<'_>, Failure>,
        out: &mut Vec<u8>,
    ) -> bool {
        match (ack, result) {
            (Some(id), result) => match self {
                Self::Plain => envelope::encode_ack(id, result, out),
            },
            (None, Err(failure)) => {
                self.event(&ServerEvent::Exception(Exception::new(failure, name)), out);
            }
            (None, Ok(_)) => return false,
        }
        true
    }
}
