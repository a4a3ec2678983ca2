//! Events of clients: from the arguments of an EVENT to the client's request.

use super::packet::Packet;
use crate::error::Failure;
use crate::request::{Rejected, Request};

/// Reads the event in an EVENT: its first argument is the name, its second the data. Further ones
/// are ignored, as unknown fields are.
///
/// # Errors
/// [`Rejected`] with `bad_envelope` if there is no name, else `unknown_event` or `invalid_payload`;
/// no event takes attachments.
pub fn read_event(packet: &Packet<'_>) -> Result<Request, Rejected> {
    let name = packet.args.as_ref().and_then(|args| args.name.as_deref());
    let Some(name) = name else {
        let message = "an event's first argument must be its name";
        return Err(Rejected::bad_envelope(packet.ack, message));
    };
    if packet.attachments > 0 {
        let failure = Failure::invalid("data", "binary is not taken");
        return Err(Rejected::named(name, packet.ack, failure));
    }
    Request::read(name, packet.args.as_ref().and_then(|args| args.data), packet.ack)
}
