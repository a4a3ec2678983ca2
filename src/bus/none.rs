//! The bus of a single node: there is no other one, so nothing is published and nothing missed.

use super::{Bus, Confirmation, Dropped, Event, State, Subscription, Topic};

/// The bus of a single node.
#[derive(Debug, Clone, Copy, Default)]
pub struct SingleNode;

impl Bus for SingleNode {
    fn publish(&self, _: &Topic, _: Event) {}

    fn subscribe(&self, topic: Topic, worker: usize) -> (Subscription, Confirmation) {
        (Subscription { topic, worker, owner: None }, Confirmation(None))
    }

    fn state(&self) -> State {
        State::Up
    }

    fn take_dropped(&self) -> Dropped {
        Dropped::default()
    }

    fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn a_single_node_is_up_confirms_at_once_and_drops_nothing() {
        let bus = SingleNode;
        bus.publish(&Topic::All, Event::new(Kind::Beat, ""));
        let (_subscription, confirmation) = bus.subscribe(Topic::All, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(runtime.block_on(confirmation), Ok(()));
        assert_eq!((bus.state(), bus.take_dropped()), (State::Up, Dropped::default()));
    }
}
