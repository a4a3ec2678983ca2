//! This node among the others of its cluster, for actors: what comes over the bus goes to the
//! supervisor, which knows the rooms, and to the tasks of the node; [`Peers`] knows who the others
//! are and asks them.

mod beat;
mod peers;
mod question;
mod receiver;

use actix::Message;

pub use self::beat::Beat;
pub use self::peers::{Answers, Peer, Peers};
pub use self::question::{Asked, Question, RoomSort};
pub use self::receiver::{BusListener, BusReceiver};
use crate::bus::{Batch, Node, State};
use crate::relay::beat::BeatContent;

/// Events of other nodes, in the order of each topic.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BusBatch(pub Batch);

/// Whether this node hears the others has changed. After [`State::Up`], what a room has is compared
/// with the database.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct BusStateChanged(pub State);

/// Another node has stopped, or was not heard for five seconds.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct NodeGone(pub Node);

/// What a beat of another node says of rooms.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BeatHeard(pub BeatContent);

/// Whether there is a node that uses the database and is not heard over the bus.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CutOff(pub bool);

/// Another node is there.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct NodeThere(pub Node);
