//! Takes what comes over the bus, on the bus's own thread, and sends it to actors.

use std::sync::{Arc, OnceLock};

use super::{BusBatch, BusStateChanged};
use crate::actors::reachable::Reachable;
use crate::bus::{Batch, Receiver, State};

/// An actor that hears what comes over the bus.
pub trait BusListener: Reachable<BusBatch> + Reachable<BusStateChanged> {}

impl<T: Reachable<BusBatch> + Reachable<BusStateChanged>> BusListener for T {}

/// Sends what comes over the bus to actors. Its batches have a bound of their own: they count as
/// waiting until an actor has handled them.
#[derive(Default)]
pub struct BusReceiver {
    /// The supervisor. It starts after the bus and before the first subscription, so nothing is
    /// lost before it is known; it asks for the state itself.
    rooms: OnceLock<Arc<dyn BusListener>>,
}

impl BusReceiver {
    /// From now on the supervisor hears of events and states.
    pub fn listen(&self, rooms: Arc<dyn BusListener>) {
        self.rooms.get_or_init(|| rooms);
    }
}

impl Receiver for BusReceiver {
    fn receive(&self, _: usize, batch: Batch) {
        if let Some(rooms) = self.rooms.get() {
            rooms.tell(BusBatch(batch));
        }
    }

    fn state_changed(&self, state: State) {
        if let Some(rooms) = self.rooms.get() {
            rooms.tell(BusStateChanged(state));
        }
    }
}
