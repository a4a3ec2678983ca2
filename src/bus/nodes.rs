//! Who the nodes are, and which of them are there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::envelope::MAX_NAME_BYTES;
use protocol::ids::BootId;

/// A node that was not heard for so long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(5);

/// One run of one hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is called. Two runs may have the same name, even at once.
    pub name: Arc<str>,
    /// Which run it is.
    pub boot: BootId,
}

/// The nodes that are there, by what was heard of them. This node is not among them.
#[derive(Debug, Default)]
pub struct Nodes {
    heard: HashMap<BootId, (Arc<str>, Instant)>,
}

/// A node that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The node.
    pub node: Node,
    /// How long ago it was heard.
    pub silent_for: Duration,
}

// === impl Node ===

impl Node {
    /// A new run of a hub: of this name, or else called by its machine and boot id.
    pub fn new(name: Option<&str>) -> Self {
        let boot = BootId::random();
        let by_machine = || {
            let machine = nix::unistd::gethostname().unwrap_or_default();
            let machine = machine.to_string_lossy();
            let words = machine.chars().filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c));
            let id = boot.to_string();
            // The end of a boot id is its random part, the beginning is the time.
            let (_, id) = id.split_at(id.len().saturating_sub(8));
            format!("{}-{id}", words.take(MAX_NAME_BYTES / 2).collect::<String>())
        };
        let name = name.map_or_else(by_machine, str::to_owned);
        Self { name: Arc::from(name), boot }
    }
}

// === impl Nodes ===

impl Nodes {
    /// A node was heard at a time, perhaps one before it was last heard. Whether it is new.
    pub fn heard(&mut self, node: &Node, at: Instant) -> bool {
        let mut is_new = false;
        let (_, last) = self.heard.entry(node.boot).or_insert_with(|| {
            is_new = true;
            (node.name.clone(), at)
        });
        *last = at.max(*last);
        is_new
    }

    /// A node has said that it stops. Whether it was there.
    pub fn left(&mut self, boot: BootId) -> bool {
        self.heard.remove(&boot).is_some()
    }

    /// Forgets the nodes that are gone, and names them.
    pub fn take_gone(&mut self, now: Instant) -> Vec<Node> {
        let is_gone = |last: &Instant| now.saturating_duration_since(*last) >= GONE_AFTER;
        let gone = self.heard.extract_if(|_, (_, last)| is_gone(last));
        gone.map(|(boot, (name, _))| Node { name, boot }).collect()
    }

    /// The nodes that are there, by boot id, those that started first before the others.
    pub fn present(&self, now: Instant) -> Vec<Present> {
        let present = self.heard.iter().map(|(boot, (name, last))| Present {
            node: Node { name: name.clone(), boot: *boot },
            silent_for: now.saturating_duration_since(*last),
        });
        let mut present: Vec<_> = present.filter(|node| node.silent_for < GONE_AFTER).collect();
        present.sort_by_key(|present| present.node.boot);
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn node(name: &str, boot: u8) -> Node {
        Node { name: Arc::from(name), boot: BootId::from_bytes([boot; 16]) }
    }

    #[test]
    fn a_node_is_there_until_it_is_silent_for_five_seconds() {
        let (start, mut nodes) = (Instant::now(), Nodes::default());
        assert!(nodes.heard(&node("a", 2), start));
        assert!(nodes.heard(&node("b", 1), start + 3 * SECOND));
        assert!(!nodes.heard(&node("b", 1), start + 4 * SECOND), "it is known");
        assert!(!nodes.heard(&node("b", 1), start + SECOND), "old news");
        let now = start + 49 * SECOND / 10;
        assert_eq!(nodes.take_gone(now), []);
        let present: Vec<_> =
            nodes.present(now).into_iter().map(|p| (p.node, p.silent_for)).collect();
        assert_eq!(present, [(node("b", 1), 9 * SECOND / 10), (node("a", 2), 49 * SECOND / 10)]);
        let now = start + GONE_AFTER;
        assert_eq!(nodes.present(now).len(), 1, "before it is forgotten, too");
        assert_eq!(nodes.take_gone(now), [node("a", 2)]);
        assert_eq!(nodes.take_gone(now), [], "once");
        assert!(nodes.heard(&node("a", 2), now), "it is back");
    }

    #[test]
    fn a_restarted_node_is_another_one_of_the_same_name() {
        let (start, mut nodes) = (Instant::now(), Nodes::default());
        nodes.heard(&node("a", 1), start);
        assert!(nodes.heard(&node("a", 2), start + 3 * SECOND));
        assert_eq!(nodes.present(start + 3 * SECOND).len(), 2);
        assert_eq!(nodes.take_gone(start + GONE_AFTER), [node("a", 1)]);
        assert!(nodes.left(node("a", 2).boot) && !nodes.left(node("a", 2).boot));
        assert_eq!(nodes.present(start + GONE_AFTER), []);
    }

    #[test]
    fn a_node_without_a_name_is_called_by_its_machine_and_boot_id() {
        let (one, other) = (Node::new(None), Node::new(None));
        assert_ne!(one.name, other.name);
        assert!(one.name.len() <= MAX_NAME_BYTES && one.name.is_ascii());
        assert_eq!(&*Node::new(Some("hub-1")).name, "hub-1");
        assert!(one.boot < other.boot);
    }
}
