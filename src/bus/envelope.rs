//! What travels between nodes, byte for byte.
//!
//! ```text
//!  0        version, 1
//!  1 to 16  boot id of the sender
//! 17 to 24  number of the first event; the next ones follow
//! 25        length of the sender's name
//! 26        the name, then the events: kind (1 byte), length (4 bytes), data
//! ```
//!
//! Numbers are big-endian. A message has at least one event. Nodes of several versions run side by
//! side during an upgrade: an unknown kind is skipped, and a message of an unknown version too.

use protocol::ids::BootId;

/// The version that this hub writes, and the only one that it reads.
const VERSION: u8 = 1;
/// The longest name of a node, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 64;
/// What comes before the name.
const FIXED_BYTES: usize = 26;
/// What comes before an event's data.
const EVENT_HEAD: usize = 5;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $byte:literal, $name:literal;)*) => {
        /// What an event is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $kind = $byte,)* }

        impl Kind {
            const ALL: &[Self] = &[$(Self::$kind),*];
            /// The names for metrics, in the order of [`Self::index`].
            pub const NAMES: &[&str] = &[$($name),*];

            fn read(byte: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| *kind as u8 == byte)
            }
        }
    };
}

kinds! {
    /// The node hears itself.
    Echo = 0, "echo";
    /// A driver's position.
    Position = 1, "position";
    /// A stored chat message.
    Chat = 2, "chat";
    /// A change of an order or of its participants.
    Order = 3, "order";
    /// A new row of the log that every node follows: removals, bans, ends of sessions.
    Log = 4, "log";
    /// Which users are in a node's room.
    Presence = 5, "presence";
    /// Who is typing.
    Typing = 6, "typing";
    /// Read marks and receipts.
    Receipt = 7, "receipt";
    /// A back end's event for a room or a user.
    Event = 8, "event";
    /// A node has made a room.
    Hello = 9, "hello";
    /// The answer to a question of another node.
    Answer = 10, "answer";
    /// A node is there.
    Beat = 11, "beat";
    /// A node asks the others something.
    Ask = 12, "ask";
}

/// What a message does not say to this hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    /// It is no message of a hub.
    Malformed,
    /// A newer hub wrote it.
    Version,
}

/// A message as it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// The sender's boot id.
    pub(super) boot: BootId,
    /// The sender's name.
    pub(super) node: &'a str,
    /// The number of its first event.
    pub(super) number: u64,
    /// Its events, checked.
    events: &'a [u8],
}

// === impl Kind ===

impl Kind {
    /// Its place in [`Self::NAMES`].
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or_default()
    }
}

/// Begins a message.
pub(super) fn begin(boot: BootId, node: &str, number: u64) -> Vec<u8> {
    let name = &node.as_bytes()[..node.len().min(MAX_NAME_BYTES)];
    let mut bytes = Vec::with_capacity(FIXED_BYTES + name.len() + 256);
    bytes.push(VERSION);
    bytes.extend_from_slice(boot.as_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.push(u8::try_from(name.len()).unwrap_or_default());
    bytes.extend_from_slice(name);
    bytes
}

/// Adds an event to a message.
pub(super) fn add(bytes: &mut Vec<u8>, kind: Kind, data: &[u8]) {
    bytes.push(kind as u8);
    // What may wait is far smaller than 4 GiB.
    bytes.extend_from_slice(&u32::try_from(data.len()).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(data);
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    /// Reads a message and checks all of it.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Ignored> {
        match bytes.first() {
            Some(&VERSION) => Self::read_checked(bytes).ok_or(Ignored::Malformed),
            // The first byte of JSON or text is no version that will ever be.
            Some(2..=31) => Err(Ignored::Version),
            _ => Err(Ignored::Malformed),
        }
    }

    fn read_checked(bytes: &'a [u8]) -> Option<Self> {
        let (boot, rest) = bytes.get(1..)?.split_first_chunk::<{ BootId::BYTES }>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first()?;
        let (name, events) = rest.split_at_checked(usize::from(*length))?;
        let node = std::str::from_utf8(name).ok()?;
        let envelope = Self {
            boot: BootId::from_bytes(*boot),
            node,
            number: u64::from_be_bytes(*number),
            events,
        };
        let mut rest = events;
        while !rest.is_empty() {
            (_, rest) = split_event(rest)?;
        }
        (!events.is_empty() && !node.is_empty()).then_some(envelope)
    }

    /// Its events in their order; none for a kind that this hub does not know.
    pub(super) fn events(&self) -> impl Iterator<Item = Option<(Kind, &'a [u8])>> {
        let mut rest = self.events;
        std::iter::from_fn(move || {
            let ((kind, data), behind) = split_event(rest)?;
            rest = behind;
            Some(Kind::read(kind).map(|kind| (kind, data)))
        })
    }
}

/// The kind and data of an event as it came in.
type RawEvent<'a> = (u8, &'a [u8]);

/// The first event and what is behind it.
fn split_event(bytes: &[u8]) -> Option<(RawEvent<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<EVENT_HEAD>()?;
    let [kind, a, b, c, d] = *head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let (data, behind) = rest.split_at_checked(length)?;
    Some(((kind, data), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = begin(BootId::from_bytes([0xab; 16]), "hub-1", 258);
        add(&mut bytes, Kind::Chat, b"{\"seq\":7}");
        add(&mut bytes, Kind::Position, b"");
        bytes
    }

    #[test]
    fn every_version_must_write_these_bytes() {
        let mut expected = vec![1];
        expected.extend([0xab; 16]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend(b"\x05hub-1");
        expected.extend(b"\x02\x00\x00\x00\x09{\"seq\":7}");
        expected.extend(b"\x01\x00\x00\x00\x00");
        assert_eq!(sample(), expected);
        let kinds: Vec<u8> = Kind::ALL.iter().map(|kind| *kind as u8).collect();
        assert_eq!(kinds, (0..=12).collect::<Vec<u8>>());
        assert_eq!(Kind::NAMES.len(), Kind::ALL.len());
    }

    #[test]
    fn a_written_envelope_is_read_back() {
        let bytes = sample();
        let envelope = Envelope::read(&bytes).expect("a message");
        assert_eq!((envelope.node, envelope.number), ("hub-1", 258));
        assert_eq!(envelope.boot, BootId::from_bytes([0xab; 16]));
        let events: Vec<_> = envelope.events().collect();
        let chat: (_, &[u8]) = (Kind::Chat, b"{\"seq\":7}");
        assert_eq!(events, [Some(chat), Some((Kind::Position, b""))]);
    }

    #[test]
    fn an_unknown_kind_is_skipped_and_an_unknown_version_reported() {
        let mut bytes = sample();
        let place = bytes.len() - EVENT_HEAD;
        bytes[place] = 200;
        let envelope = Envelope::read(&bytes).expect("a message");
        assert_eq!(
            envelope.events().map(|event| event.is_some()).collect::<Vec<_>>(),
            [true, false]
        );
        bytes[0] = 2;
        assert_eq!(Envelope::read(&bytes), Err(Ignored::Version));
    }

    #[test]
    fn a_truncated_envelope_is_malformed() {
        let bytes = sample();
        // Without its last event it is a message all the same.
        let whole = bytes.len() - EVENT_HEAD;
        for end in (0..bytes.len()).filter(|end| *end != whole) {
            assert_eq!(Envelope::read(&bytes[..end]), Err(Ignored::Malformed), "{end}");
        }
        let mut bytes = sample();
        bytes[FIXED_BYTES] = 0xff;
        assert_eq!(Envelope::read(&bytes), Err(Ignored::Malformed), "the name is no text");
        for garbage in [b"{\"a\":1}".as_slice(), b"hello", b"\xff\xff", b""] {
            assert_eq!(Envelope::read(garbage), Err(Ignored::Malformed));
        }
        let huge = [begin(BootId::random(), "n", 1), b"\x02\xff\xff\xff\xff.".to_vec()].concat();
        assert_eq!(Envelope::read(&huge), Err(Ignored::Malformed));
    }
}
