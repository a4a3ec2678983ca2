//! Takes what comes over the bus, on the bus's own thread, and sends it on.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc::UnboundedSender;

use super::{BeatHeard, BusBatch, BusStateChanged, CutOff, NodeGone, NodeThere};
use crate::actors::reachable::Reachable;
use crate::bus::{Batch, Kind, Receiver, State};

/// An actor that hears what comes over the bus for rooms.
pub trait BusListener:
    Reachable<BusBatch>
    + Reachable<BusStateChanged>
    + Reachable<NodeGone>
    + Reachable<NodeThere>
    + Reachable<BeatHeard>
    + Reachable<CutOff>
{
}

impl<T> BusListener for T where
    T: Reachable<BusBatch>
        + Reachable<BusStateChanged>
        + Reachable<NodeGone>
        + Reachable<NodeThere>
        + Reachable<BeatHeard>
        + Reachable<CutOff>
{
}

/// Sends on what comes over the bus. Its batches have a bound of their own: they count as waiting
/// until they are handled.
#[derive(Default)]
pub struct BusReceiver {
    /// The supervisor. It starts after the bus and before the first room subscribes, so nothing is
    /// lost before it is known; it asks for the state itself.
    rooms: OnceLock<Arc<dyn BusListener>>,
    /// The tasks of this node, which start before they subscribe.
    node: OnceLock<UnboundedSender<Batch>>,
}

impl BusReceiver {
    /// From now on the supervisor hears of events and states.
    pub fn set_rooms(&self, rooms: Arc<dyn BusListener>) {
        self.rooms.get_or_init(|| rooms);
    }

    /// From now on the tasks of this node hear of other nodes.
    pub fn set_node(&self, node: UnboundedSender<Batch>) {
        self.node.get_or_init(|| node);
    }

    /// The supervisor, when the first worker runs.
    pub fn rooms(&self) -> Option<&Arc<dyn BusListener>> {
        self.rooms.get()
    }
}

impl Receiver for BusReceiver {
    fn receive(&self, _: usize, batch: Batch) {
        for (is_for_node, part) in batch.by(|event| is_for_node(event.kind)) {
            match (is_for_node, self.node.get(), self.rooms.get()) {
                // The receiver is gone only when the hub ends.
                (true, Some(node), _) => drop(node.send(part)),
                (false, _, Some(rooms)) => rooms.tell(BusBatch(part)),
                _ => {}
            }
        }
    }

    fn state_changed(&self, state: State) {
        if let Some(rooms) = self.rooms.get() {
            rooms.tell(BusStateChanged(state));
        }
    }
}

/// Whether events of this kind are for the tasks of the node, and not for rooms.
fn is_for_node(kind: Kind) -> bool {
    matches!(kind, Kind::Log | Kind::Event | Kind::Ask | Kind::Answer | Kind::Beat)
}
