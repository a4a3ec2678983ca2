//! Requests of clients in either framing: an event, or why there is none.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::error::{ErrorCode, Failure};
use crate::client::{ClientEvent, ClientEventName, echoed_name};

/// An event of a client with the number for its reply.
#[derive(Debug, Clone)]
pub struct Request {
    /// The event.
    pub event: ClientEvent,
    /// The id of the reply, if the client wants one.
    pub ack: Option<u64>,
}

/// A message without an event that the hub can process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The reason.
    pub failure: Failure,
    /// The event's name, if it could be read.
    pub event: Option<String>,
    /// The id of the reply, if the client wants one.
    pub ack: Option<u64>,
}

// === impl Request ===

impl Request {
    /// Reads the event of that name with its data.
    ///
    /// # Errors
    /// [`Rejected`] with `unknown_event` or `invalid_payload`.
    pub(super) fn read(
        name: &str,
        data: Option<&RawValue>,
        ack: Option<u64>,
    ) -> Result<Self, Rejected> {
        let known = ClientEventName::from_name(name)
            .ok_or_else(|| Failure::new(ErrorCode::UnknownEvent, "no such event"));
        known
            .and_then(|known| ClientEvent::read(known, data))
            .map(|event| Self { event, ack })
            .map_err(|failure| Rejected::named(name, ack, failure))
    }
}

// === impl Rejected ===

impl Rejected {
    /// A message in which not even the event's name can be read.
    pub(super) fn bad_envelope(ack: Option<u64>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { failure: Failure::new(ErrorCode::BadEnvelope, message), event: None, ack }
    }

    /// Refuses the event of that name.
    pub(super) fn named(name: &str, ack: Option<u64>, failure: Failure) -> Self {
        Self { failure, event: Some(echoed_name(name).into_owned()), ack }
    }
}
