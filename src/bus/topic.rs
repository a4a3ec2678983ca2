//! Topics: what nodes publish to and subscribe to, and the channels of Redis that carry them.

use std::fmt;

use protocol::ids::{BootId, OrderId, UserId};

/// How many partitions there are. Every channel names one of them in its hash tag, so a cluster of
/// Redis spreads them over its servers. Nodes of different versions must agree on it.
pub(super) const PARTITIONS: usize = 128;
/// The slots of a cluster of Redis.
pub(super) const SLOTS: usize = 16_384;
const SLOTS_PER_PARTITION: usize = SLOTS / PARTITIONS;
/// The tag of a partition is the first number whose slot is among its own, so that the tags lie
/// evenly and every server gets its share. By this one all partitions have a tag.
const LAST_TAG: u32 = 347;

/// What is published to, and subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The nodes that have the room of an order.
    Order(OrderId),
    /// The nodes that have a session of a user.
    User(UserId),
    /// One node.
    Node(BootId),
    /// All nodes.
    All,
}

/// A group of channels that one server of a cluster of Redis holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Partition(u8);

/// The names of the channels of one cluster of hubs.
#[derive(Debug)]
pub(super) struct Channels {
    /// What all names begin with: the prefix of the settings and the cluster's id.
    start: String,
    /// The hash tag of each partition.
    tags: [u32; PARTITIONS],
}

// === impl Topic ===

impl Topic {
    pub(super) fn partition(&self) -> Partition {
        match self {
            Self::Order(order) => Partition::of(order.as_str().as_bytes()),
            Self::User(user) => Partition::of(user.as_str().as_bytes()),
            Self::Node(boot) => Partition::of(boot.as_bytes()),
            Self::All => Partition::of(b"all"),
        }
    }
}

impl fmt::Display for Topic {
    /// The end of the channel's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(order) => write!(f, "o:{order}"),
            Self::User(user) => write!(f, "u:{user}"),
            Self::Node(boot) => write!(f, "n:{boot}"),
            Self::All => f.write_str("all"),
        }
    }
}

// === impl Partition ===

impl Partition {
    fn of(id: &[u8]) -> Self {
        Self::of_slot(slot(id))
    }

    /// The partition whose tag has a slot near this one: slots 0 to 127 are those of the first.
    fn of_slot(slot: usize) -> Self {
        Self(u8::try_from(slot / SLOTS_PER_PARTITION % PARTITIONS).unwrap_or_default())
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).step_by(SLOTS_PER_PARTITION).map(Self::of_slot)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The slot that Redis gives a hash tag (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
fn slot(tag: &[u8]) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag)) % SLOTS
}

// === impl Channels ===

impl Channels {
    pub(super) fn new(prefix: &str, cluster: &str) -> Self {
        let mut tags = [0; PARTITIONS];
        for number in (0..=LAST_TAG).rev() {
            tags[Partition::of(number.to_string().as_bytes()).index()] = number;
        }
        Self { start: format!("{prefix}:{cluster}"), tags }
    }

    /// The channel of a topic.
    pub(super) fn name(&self, topic: &Topic) -> String {
        format!("{}:{{{}}}:{topic}", self.start, self.tag(topic.partition()))
    }

    /// The channel by which a node hears itself through the server of a partition.
    pub(super) fn echo(&self, partition: Partition, boot: BootId) -> String {
        format!("{}:{{{}}}:echo:{boot}", self.start, self.tag(partition))
    }

    /// The slot of a partition's channels.
    pub(super) fn slot(&self, partition: Partition) -> usize {
        slot(self.tag(partition).to_string().as_bytes())
    }

    fn tag(&self, partition: Partition) -> u32 {
        self.tags[partition.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> Topic {
        Topic::Order(OrderId::new(id).expect("an id"))
    }

    #[test]
    fn every_version_must_give_these_channels() {
        let channels = Channels::new("orderhub", "c1");
        let boot = BootId::from_bytes([7; 16]);
        let user = Topic::User(UserId::new("auth0|5f7c").expect("an id"));
        for (topic, name) in [
            (order("order-1"), "orderhub:c1:{115}:o:order-1"),
            (user, "orderhub:c1:{9}:u:auth0|5f7c"),
            (Topic::Node(boot), "orderhub:c1:{74}:n:07070707070707070707070707070707"),
            (Topic::All, "orderhub:c1:{43}:all"),
        ] {
            assert_eq!(channels.name(&topic), name);
        }
    }

    #[test]
    fn every_partition_has_a_tag_in_its_own_range_of_slots() {
        let channels = Channels::new("p", "c");
        for (index, partition) in Partition::all().enumerate() {
            assert_eq!(partition.index(), index);
            assert_eq!(channels.slot(partition) / SLOTS_PER_PARTITION, index);
        }
        assert_eq!(Partition::all().count(), PARTITIONS);
        // From the specification: the CRC of 123456789 is 0x31c3.
        assert_eq!(slot(b"123456789"), 0x31c3);
    }

    #[test]
    fn orders_spread_over_the_partitions() {
        let mut counts = [0; PARTITIONS];
        for number in 0..12_800 {
            counts[order(&format!("order-{number}")).partition().index()] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }
}
