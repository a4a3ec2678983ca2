//! Which other nodes have the room of an order. What concerns nobody elsewhere is not published.

use std::time::{Duration, Instant};

use protocol::ids::BootId;

/// How long after a room has said hello the others have answered, if there are any.
const ANSWERED_AFTER: Duration = Duration::from_secs(1);
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
    /// Few; with the time of the last hello or list of each.
    nodes: Vec<BootId>,
    heard: Vec<Instant>,
    /// Since when all that have the room are known. None while some may not be.
    sure_from: Option<Instant>,
    /// When the room says anew what it knows.
    refresh_at: Option<Instant>,
    /// When a position was last published to all that may have the room.
    told_all_at: Option<Instant>,
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
    /// The room has said hello, and hears the answers.
    pub fn said_hello(&mut self, now: Instant) {
        self.sure_from = Some(now + ANSWERED_AFTER);
        self.refresh_at = Some(now + REFRESH);
    }

    /// Something may have been missed: other nodes may have made the room meanwhile.
    pub fn be_unsure(&mut self) {
        self.sure_from = None;
    }

    /// A node has the room. Whether that is new.
    pub fn heard(&mut self, node: BootId, now: Instant) -> bool {
        if let Some(place) = self.nodes.iter().position(|known| *known == node) {
            self.heard[place] = now;
            return false;
        }
        self.nodes.push(node);
        self.heard.push(now);
        true
    }

    /// A node does not have the room any more.
    pub fn left(&mut self, node: BootId) {
        if let Some(place) = self.nodes.iter().position(|known| *known == node) {
            self.nodes.swap_remove(place);
            self.heard.swap_remove(place);
        }
    }

    /// The nodes that are known to have the room.
    pub fn nodes(&self) -> &[BootId] {
        &self.nodes
    }

    /// To whom events go.
    pub fn audience(&self, now: Instant) -> Audience<'_> {
        match self.sure_from {
            Some(from) if from <= now && self.nodes.is_empty() => Audience::Nobody,
            Some(from) if from <= now => Audience::Nodes(&self.nodes),
            _ => Audience::Anybody,
        }
    }

    /// To whom a position goes.
    pub fn audience_of_position(&mut self, now: Instant) -> Audience<'_> {
        let is_due = self.told_all_at.is_none_or(|at| now >= at + ANYWAY_EVERY);
        if is_due || self.sure_from.is_none_or(|from| from > now) {
            self.told_all_at = Some(now);
            return Audience::Anybody;
        }
        self.audience(now)
    }

    /// Whether the room is to say anew what it knows.
    pub fn is_refresh_due(&mut self, now: Instant) -> bool {
        let is_due = self.next_refresh().is_some_and(|at| at <= now);
        if is_due {
            self.refresh_at = Some(now + REFRESH);
        }
        is_due
    }

    /// When the room is to say anew what it knows.
    pub fn next_refresh(&self) -> Option<Instant> {
        self.refresh_at.filter(|_| !self.nodes.is_empty())
    }

    /// Forgets the nodes that were not heard for long, and names them.
    pub fn take_silent(&mut self, now: Instant) -> Vec<BootId> {
        let is_silent = |at: &Instant| now.saturating_duration_since(*at) >= FORGOTTEN_AFTER;
        let both = self.nodes.iter().zip(&self.heard);
        let silent: Vec<_> = both.filter(|(_, at)| is_silent(at)).map(|(node, _)| *node).collect();
        silent.iter().for_each(|node| self.left(*node));
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
    fn a_room_publishes_to_all_until_the_others_have_had_time_to_answer() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        assert_eq!(interest.audience(now), Audience::Anybody);
        interest.said_hello(now);
        assert_eq!(interest.audience(now), Audience::Anybody);
        assert_eq!(interest.audience(now + SECOND), Audience::Nobody);
        assert!(interest.heard(node(1), now) && !interest.heard(node(1), now));
        assert_eq!(interest.audience(now + SECOND), Audience::Nodes(&[node(1)]));
        interest.be_unsure();
        assert_eq!(interest.audience(now + 9 * SECOND), Audience::Anybody);
        interest.left(node(1));
        interest.said_hello(now);
        assert_eq!(interest.audience(now + SECOND), Audience::Nobody);
    }

    #[test]
    fn a_driver_who_moves_is_told_to_all_every_ten_seconds() {
        let (mut interest, start) = (Interest::default(), Instant::now());
        interest.said_hello(start);
        let mut told_all =
            |secs| interest.audience_of_position(start + secs * SECOND) == Audience::Anybody;
        let told = [0, 1, 5, 9, 10, 11, 12, 20].map(&mut told_all);
        assert_eq!(told, [true, false, false, false, true, false, false, true]);
    }

    #[test]
    fn what_is_known_is_said_anew_while_others_have_the_room() {
        let (mut interest, start) = (Interest::default(), Instant::now());
        interest.said_hello(start);
        assert!(!interest.is_refresh_due(start + 30 * SECOND), "there is nobody");
        interest.heard(node(1), start);
        assert!(!interest.is_refresh_due(start + 29 * SECOND));
        assert!(interest.is_refresh_due(start + 30 * SECOND));
        assert_eq!(interest.next_refresh(), Some(start + 60 * SECOND));
        interest.heard(node(2), start + SECOND);
        assert_eq!(interest.take_silent(start + 100 * SECOND), [node(1)]);
        assert_eq!(interest.nodes(), [node(2)]);
    }
}
