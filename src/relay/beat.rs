//! What a node's beat says of its rooms: what it has committed lately, and what it could not
//! publish. A room that knows less looks it up.

use serde::{Deserialize, Serialize};

use super::commits::Commit;
use crate::bus::{Dropped, Topic};
use protocol::ids::OrderId;

/// The part of a beat that concerns rooms.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BeatContent {
    /// What the node has committed in the last seconds.
    #[serde(default)]
    pub commits: Vec<Commit>,
    /// Orders of which events were not published, or perhaps not.
    #[serde(default)]
    pub dropped: Vec<OrderId>,
    /// Whether events of any other order may not have been published either.
    #[serde(default)]
    pub more: bool,
}

impl BeatContent {
    /// What a node says that has committed and dropped this.
    pub fn new(commits: Vec<Commit>, dropped: Dropped) -> Self {
        let order = |topic| match topic {
            Topic::Order(order) => Some(order),
            // What concerns users and nodes is in no room.
            Topic::User(_) | Topic::Node(_) | Topic::All => None,
        };
        let more = dropped.more;
        let dropped = dropped.topics.into_iter().filter_map(order).collect();
        Self { commits, dropped, more }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.dropped.is_empty() && !self.more
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn orders_whose_events_were_dropped_are_named_and_new_fields_ignored() {
        let order = OrderId::new("o1").expect("an id");
        let topics = HashSet::from([Topic::All, Topic::Order(order.clone())]);
        let content = BeatContent::new(Vec::new(), Dropped { topics, more: true });
        assert_eq!((&content.dropped, content.more), (&vec![order], true));
        let text = serde_json::to_string(&content).expect("text");
        let newer = text.replacen('{', "{\"new\":1,", 1);
        assert_eq!(serde_json::from_str::<BeatContent>(&newer).ok(), Some(content));
        assert_eq!(serde_json::from_str::<BeatContent>("{}").ok(), Some(BeatContent::default()));
    }
}
