//! What each event is: its data with units and bounds, how it is read or written, and the reply to
//! it. One file holds one subject, as clients send it and as the hub sends it.
//!
//! An event exists when it has a line in the list of [`crate::client`] or of [`crate::server`].

pub mod assignment;
pub mod back_end;
pub mod chat;
pub mod connected;
pub mod exception;
mod fields;
pub mod history;
pub mod join;
pub mod leave;
pub mod location;
pub mod order_status;
pub mod ping;
pub mod presence;
pub mod receipt;
pub mod refresh;
pub mod session_end;
pub mod typing;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::fields::checked_seq;
use crate::error::Failure;
use crate::ids::OrderId;
use crate::json;

/// The data of a client's event.
pub trait ClientData: Sized {
    /// Reads and checks the data, once, on arrival. Unknown fields are ignored, because apps may be
    /// newer than the hub.
    ///
    /// # Errors
    /// `invalid_payload` with the field that is missing, mistyped, duplicated or out of range.
    fn read(data: Option<&RawValue>) -> Result<Self, Failure>;

    /// The order whose room handles the event; none for events that the session handles.
    fn order(&self) -> Option<&OrderId> {
        None
    }
}

/// The data of an event of the hub. It borrows, because it is encoded at once.
pub trait HubData: Serialize + Sized {
    /// Writes the data as JSON.
    fn write(&self, out: &mut Vec<u8>) {
        json::write(self, out);
    }
}

/// The reply to an event that says nothing beside `ok`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {}

fn object<'de, T: Deserialize<'de>>(data: Option<&'de RawValue>) -> Result<T, Failure> {
    json::read_object(data.map_or("", RawValue::get), "data")
}
