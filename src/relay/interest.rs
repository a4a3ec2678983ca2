//! Which other nodes have the room of an order. What concerns nobody elsewhere is not published.

use std::time::{Duration, Instant};

use protocol::ids::BootId;

/// How long a room waits for the answers to its first hello. Each further one waits twice as long,
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// and so long at most.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a room says anew what it knows, while others have the room. It repairs what was lost.
const REFRESH: Duration = Duration::from_secs(30);
/// A node that has not said for so long that it has the room does not have it any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(100);
/// A position of a driver who moves is published at least this often, so that a room that was not
/// heard of is found.
const ANYWAY_EVERY: Duration = Duration::from_secs(10);

/// The nodes that have the room, by what was heard of them.
#[derive(Debug, Default)]
pub struct Interest {
    /// Few, in the order of `rooms`.
    nodes: Vec<BootId>,
    rooms: Vec<Heard>,
    /// Whether all that have the room are known.
    is_sure: bool,
    /// The hello whose answers are waited for.
    asked: Option<Asked>,
    /// How long the next hello waits.
    wait: Option<Duration>,
    /// When the room says anew what it knows.
    refresh_at: Option<Instant>,
    /// When a position was last published to all that may have the room.
    told_all_at: Option<Instant>,
}

/// What was heard of a node's room.
#[derive(Debug)]
struct Heard {
    /// The number of the room among all of that node.
    room: u64,
    at: Instant,
}

#[derive(Debug)]
struct Asked {
    check_at: Instant,
    answered: Vec<BootId>,
    /// How many others have got the question. None until that is known.
    expected: Option<usize>,
}

/// To whom something is published.
#[derive(Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// No other node has the room.
    Nobody,
    /// These have it.
    Nodes(&'a [BootId]),
    /// Any node may have it.
    Anybody,
}

impl Interest {
    /// The room asks who has the room too.
    pub fn ask(&mut self, now: Instant) {
        let wait = self.wait.unwrap_or(FIRST_WAIT);
        self.wait = Some((2 * wait).min(LONGEST_WAIT));
        self.is_sure = false;
        self.asked = Some(Asked { check_at: now + wait, answered: Vec::new(), expected: None });
        self.refresh_at = Some(now + REFRESH);
    }

    /// So many others have got the question.
    pub fn expect(&mut self, others: usize) {
        if let Some(asked) = &mut self.asked {
            asked.expected = Some(others);
        }
    }

    /// A node has answered the question.
    pub fn answered(&mut self, node: BootId) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| !asked.answered.contains(&node)) {
            asked.answered.push(node);
        }
    }

    /// Whether all have answered who got the question.
    pub fn is_answered(&self) -> bool {
        let asked = self.asked.as_ref();
        asked
            .is_none_or(|asked| asked.expected.is_some_and(|others| asked.answered.len() >= others))
    }

    /// Looks whether all have answered, once it is time. Whether the room is to ask again: the
    /// question, or an answer, may be lost.
    pub fn is_to_ask_again(&mut self, now: Instant) -> bool {
        let Some(asked) = self.asked.as_ref().filter(|asked| asked.check_at <= now) else {
            return false;
        };
        if asked.expected.is_none_or(|others| asked.answered.len() < others) {
            return true;
        }
        (self.is_sure, self.asked, self.wait) = (true, None, None);
        false
    }

    /// Whether the room has asked, and nothing was missed since.
    pub fn has_asked(&self) -> bool {
        self.is_sure || self.asked.is_some()
    }

    /// Something may have been missed: other nodes may have made the room meanwhile.
    pub fn be_unsure(&mut self) {
        (self.is_sure, self.asked, self.wait) = (false, None, None);
    }

    /// A node has the room. Whether that is new. None where it is an earlier room of the node.
    pub fn heard(&mut self, node: BootId, room: u64, now: Instant) -> Option<bool> {
        if let Some(place) = self.place_of(node) {
            let heard = &mut self.rooms[place];
            if room < heard.room {
                return None;
            }
            *heard = Heard { room, at: now };
            return Some(false);
        }
        self.nodes.push(node);
        self.rooms.push(Heard { room, at: now });
        Some(true)
    }

    /// Something came from a node that has the room. Whether it is not known to have it.
    pub fn is_new(&self, node: BootId) -> bool {
        self.place_of(node).is_none()
    }

    /// A room of a node has ended. Whether the node does not have the room any more: another one may
    /// have been made meanwhile.
    pub fn ended(&mut self, node: BootId, room: u64) -> bool {
        let has_newer = self.place_of(node).is_some_and(|place| self.rooms[place].room > room);
        if !has_newer {
            self.left(node);
        }
        !has_newer
    }

    /// A node does not have the room any more.
    pub fn left(&mut self, node: BootId) {
        if let Some(place) = self.place_of(node) {
            self.nodes.swap_remove(place);
            self.rooms.swap_remove(place);
        }
    }

    fn place_of(&self, node: BootId) -> Option<usize> {
        self.nodes.iter().position(|known| *known == node)
    }

    /// To whom events go.
    pub fn audience(&self) -> Audience<'_> {
        match self.is_sure {
            true if self.nodes.is_empty() => Audience::Nobody,
            true => Audience::Nodes(&self.nodes),
            false => Audience::Anybody,
        }
    }

    /// To whom a position goes.
    pub fn audience_of_position(&mut self, now: Instant) -> Audience<'_> {
        let is_due = self.told_all_at.is_none_or(|at| now >= at + ANYWAY_EVERY);
        if is_due || !self.is_sure {
            self.told_all_at = Some(now);
            return Audience::Anybody;
        }
        self.audience()
    }

    /// Whether the room is to say anew what it knows.
    pub fn is_refresh_due(&mut self, now: Instant) -> bool {
        let is_due = !self.nodes.is_empty() && self.refresh_at.is_some_and(|at| at <= now);
        if is_due {
            self.refresh_at = Some(now + REFRESH);
        }
        is_due
    }

    /// When there is something to say or to look at.
    pub fn next_due(&self) -> Option<Instant> {
        let refresh_at = self.refresh_at.filter(|_| !self.nodes.is_empty());
        refresh_at.into_iter().chain(self.asked.as_ref().map(|asked| asked.check_at)).min()
    }

    /// Forgets the nodes that were not heard for long, and names them.
    pub fn take_silent(&mut self, now: Instant) -> Vec<BootId> {
        let is_silent = |heard: &Heard| now.saturating_duration_since(heard.at) >= FORGOTTEN_AFTER;
        let both = self.nodes.iter().zip(&self.rooms);
        let silent: Vec<_> =
            both.filter(|(_, heard)| is_silent(heard)).map(|(node, _)| *node).collect();
        for node in &silent {
            self.left(*node);
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn node(byte: u8) -> BootId {
        BootId::from_bytes([byte; 16])
    }

    #[test]
    fn a_room_is_sure_once_all_have_answered_who_got_its_question() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        assert!(!interest.has_asked() && interest.audience() == Audience::Anybody);
        interest.ask(now);
        interest.expect(2);
        interest.heard(node(1), 0, now);
        interest.answered(node(1));
        interest.answered(node(1));
        assert!(!interest.is_to_ask_again(now), "it is too soon");
        assert!(interest.is_to_ask_again(now + SECOND), "one has not answered");
        interest.ask(now + SECOND);
        assert_eq!(interest.next_due(), Some(now + 3 * SECOND), "it waits longer");
        assert!(interest.is_to_ask_again(now + 3 * SECOND), "the question was lost");
        interest.ask(now + 3 * SECOND);
        interest.expect(1);
        interest.answered(node(1));
        assert!(!interest.is_to_ask_again(now + 7 * SECOND));
        assert_eq!(interest.audience(), Audience::Nodes(&[node(1)]));
        interest.be_unsure();
        assert!(!interest.has_asked() && interest.audience() == Audience::Anybody);
    }

    #[test]
    fn a_room_that_is_alone_publishes_nothing() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        interest.ask(now);
        interest.expect(0);
        assert!(!interest.is_to_ask_again(now + SECOND));
        assert_eq!((interest.audience(), interest.next_due()), (Audience::Nobody, None));
    }

    #[test]
    fn the_end_of_an_earlier_room_is_not_that_of_the_next_one() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        assert_eq!(interest.heard(node(1), 5, now), Some(true));
        assert_eq!(interest.heard(node(1), 7, now), Some(false));
        assert_eq!(interest.heard(node(1), 5, now), None);
        assert!(!interest.ended(node(1), 5) && !interest.is_new(node(1)));
        assert!(interest.ended(node(1), 7) && interest.is_new(node(1)));
        assert!(interest.ended(node(2), 1), "it was not known");
    }

    #[test]
    fn a_driver_who_moves_is_told_to_all_every_ten_seconds() {
        let (mut interest, start) = (Interest::default(), Instant::now());
        interest.ask(start);
        interest.expect(0);
        interest.is_to_ask_again(start + SECOND);
        let mut told_all =
            |secs| interest.audience_of_position(start + secs * SECOND) == Audience::Anybody;
        let told = [1, 2, 5, 9, 11, 12, 20, 21].map(&mut told_all);
        assert_eq!(told, [true, false, false, false, true, false, false, true]);
    }

    #[test]
    fn what_is_known_is_said_anew_while_others_have_the_room() {
        let (mut interest, start) = (Interest::default(), Instant::now());
        interest.ask(start);
        interest.expect(0);
        interest.is_to_ask_again(start + SECOND);
        assert!(!interest.is_refresh_due(start + 30 * SECOND), "there is nobody");
        interest.heard(node(1), 0, start);
        assert!(!interest.is_refresh_due(start + 29 * SECOND));
        assert!(interest.is_refresh_due(start + 30 * SECOND));
        assert_eq!(interest.next_due(), Some(start + 60 * SECOND));
        interest.heard(node(2), 0, start + SECOND);
        assert_eq!(interest.take_silent(start + 100 * SECOND), [node(1)]);
        assert_eq!(interest.nodes, [node(2)]);
    }
}
