//! How the actors of this node hear the others of its cluster: what comes over the bus goes to the
//! supervisor, which knows the rooms.

mod receiver;

use actix::Message;

pub use self::receiver::{BusListener, BusReceiver};
use crate::bus::{Batch, State};

/// Events of other nodes, in the order of each topic.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BusBatch(pub Batch);

/// Whether this node hears the others has changed. After [`State::Up`], what a room has is compared
/// with the database.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct BusStateChanged(pub State);

/// The worker of all subscriptions. One is enough: the bus's thread hands a batch to the supervisor,
/// which sends each room its own events.
pub const WORKER: usize = 0;
