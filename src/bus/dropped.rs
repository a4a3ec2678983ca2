//! The topics of events that were dropped, until the next beat names them.

use std::collections::HashSet;

use super::Topic;

/// How many topics are remembered.
const MAX_TOPICS: usize = 8192;

/// What was dropped since it was last asked for. Positions are not among it: the next one comes
/// anyway.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The topics whose events were dropped.
    pub topics: HashSet<Topic>,
    /// Whether there were more of them than are remembered, so that every topic may be one.
    pub more: bool,
}

impl Dropped {
    pub(super) fn add(&mut self, topic: Topic) {
        if self.topics.len() < MAX_TOPICS || self.topics.contains(&topic) {
            self.topics.insert(topic);
        } else {
            self.more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::OrderId;

    #[test]
    fn each_topic_is_named_once_and_their_number_is_bounded() {
        let topic = |id: usize| Topic::Order(OrderId::new(&id.to_string()).expect("an id"));
        let mut dropped = Dropped::default();
        for id in (0..MAX_TOPICS).chain(0..MAX_TOPICS) {
            dropped.add(topic(id));
        }
        assert_eq!((dropped.topics.len(), dropped.more), (MAX_TOPICS, false));
        dropped.add(topic(MAX_TOPICS));
        assert_eq!((dropped.topics.len(), dropped.more), (MAX_TOPICS, true));
    }
}
