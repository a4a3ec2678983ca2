//! The driver's position: which fixes count, and how old the last one is.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use protocol::events::join::LastLocation;
use protocol::events::location::Fix;
use protocol::ids::{BootId, UserId};
use protocol::location::Position;
use protocol::time::Timestamp;

/// After this time without an accepted fix, a fix with an older `recordedAt` is accepted: a phone
/// whose clock was set back must not stay silenced.
const FORGET_ORDER: Duration = Duration::from_secs(30);
/// A position older than this is marked as stale.
const STALE_AFTER_MS: u64 = 60_000;

/// The last position of a room.
#[derive(Debug, Default)]
pub struct PositionTracker {
    last: Option<Position>,
    /// When it was accepted. `None` for an old one from the database.
    accepted: Option<Instant>,
    /// The node that relayed it, and its number there. `None` for one that this node took.
    relayed_by: Option<(BootId, u64)>,
}

/// Where a position came from that another node relayed.
#[derive(Debug, Clone, Copy)]
pub struct RelayedFrom {
    /// The node and its number for the event: of two with the same time the higher one counts.
    pub by: (BootId, u64),
    /// This node.
    pub own: BootId,
    /// Whether it comes as the last known one, which may be known here too.
    pub is_answer: bool,
}

impl PositionTracker {
    /// Continues after the last position in the database.
    pub fn new(last: Option<Position>, at: Timestamp, now: Instant) -> Self {
        let age = last.as_ref().map(|last| Duration::from_millis(at.millis_since(last.timestamp)));
        let accepted = age.filter(|age| *age < FORGET_ORDER).and_then(|age| now.checked_sub(age));
        Self { last, accepted, relayed_by: None }
    }

    /// The last position.
    pub fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// The last position as a snapshot shows it.
    pub fn shown(&self, now: Timestamp) -> Option<LastLocation<'_>> {
        let position = self.last.as_ref()?;
        let age_ms = now.millis_since(position.timestamp);
        Some(LastLocation { position, age_ms, stale: age_ms > STALE_AFTER_MS })
    }

    /// Accepts a fix, whose time is already normalized, if it is not older than the last one of the
    /// same driver.
    pub fn accept(
        &mut self,
        driver: &UserId,
        fix: &Fix,
        at: Timestamp,
        now: Instant,
    ) -> Option<&Position> {
        if self.is_older(driver, fix.recorded_at, now) {
            return None;
        }
        self.accepted = Some(now);
        self.relayed_by = None;
        Some(self.last.insert(Position::of(fix, driver.clone(), at)))
    }

    /// Accepts a position that another node has accepted, if it is strictly newer than the last one of
    /// the same driver. All nodes come to the same one.
    pub fn accept_relayed(&mut self, position: Position, from: RelayedFrom, now: Instant) -> bool {
        if let Some(last) = self.last.as_ref().filter(|last| last.driver_id == position.driver_id) {
            let is_same_place = (last.lat, last.lng) == (position.lat, position.lng);
            if from.is_answer && is_same_place {
                return false;
            }
            let recent = self.accepted.is_some_and(|accepted| now < accepted + FORGET_ORDER);
            let times = match (position.recorded_at, last.recorded_at) {
                (Some(new), Some(known)) => new.cmp(&known),
                _ => position.timestamp.cmp(&last.timestamp),
            };
            let known_by = self.relayed_by.unwrap_or((from.own, 0));
            let is_newer = match times {
                Ordering::Greater => true,
                Ordering::Equal => !from.is_answer && from.by > known_by,
                Ordering::Less => !recent && !from.is_answer,
            };
            if !is_newer {
                return false;
            }
        }
        (self.last, self.accepted) = (Some(position), Some(now));
        self.relayed_by = Some(from.by);
        true
    }

    /// Accepts the newest of several fixes, which are sorted by time, if it is not older than the
    /// last one of the same driver. Returns how many of them are older.
    pub fn accept_newest(
        &mut self,
        driver: &UserId,
        fixes: &[Fix],
        at: Timestamp,
        now: Instant,
    ) -> usize {
        let stale = fixes.partition_point(|fix| self.is_older(driver, fix.recorded_at, now));
        if let Some(newest) = fixes.get(stale..).and_then(<[Fix]>::last) {
            self.accept(driver, newest, at, now);
        }
        stale
    }

    fn is_older(&self, driver: &UserId, recorded_at: Option<Timestamp>, now: Instant) -> bool {
        let Some(last) = self.last.as_ref().filter(|last| last.driver_id == *driver) else {
            return false;
        };
        let recent = self.accepted.is_some_and(|accepted| now < accepted + FORGET_ORDER);
        match (recorded_at, last.recorded_at) {
            (Some(new), Some(known)) => recent && new < known,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIX: Fix = Fix {
        lat: 45.27,
        lng: 13.71,
        accuracy: None,
        heading: None,
        speed: None,
        altitude: None,
        battery: None,
        recorded_at: None,
    };

    fn recorded(secs: i64) -> Fix {
        Fix { recorded_at: Some(Timestamp::from_secs(secs)), ..FIX }
    }

    #[test]
    fn an_older_fix_is_dropped_and_a_new_driver_starts_afresh() {
        let (mut track, at, now) =
            (PositionTracker::default(), Timestamp::from_secs(1000), Instant::now());
        let (ann, bob): (UserId, UserId) = ("ann".parse().expect("id"), "bob".parse().expect("id"));
        assert!(track.accept(&ann, &recorded(500), at, now).is_some());
        assert!(track.accept(&ann, &recorded(499), at, now).is_none());
        assert!(track.accept(&ann, &recorded(500), at, now).is_some());
        assert!(track.accept(&ann, &FIX, at, now).is_some(), "without a time it is new");
        assert!(track.accept(&bob, &recorded(10), at, now).is_some());
        assert_eq!(track.last().map(|last| last.driver_id.clone()), Some(bob));
    }

    #[test]
    fn all_nodes_come_to_the_same_position_whatever_the_order() {
        let (a, b) = (BootId::from_bytes([1; 16]), BootId::from_bytes([2; 16]));
        let (at, now) = (Timestamp::from_secs(1000), Instant::now());
        let ann: UserId = "ann".parse().expect("id");
        let fix = |secs, lat| Fix { lat, ..recorded(secs) };
        let position = |fix: &Fix| Position::of(fix, ann.clone(), at);
        let from = |by, own| RelayedFrom { by, own, is_answer: false };
        let (first, second) = (fix(500, 1.0), fix(500, 2.0));
        let (mut on_a, mut on_b) = (PositionTracker::default(), PositionTracker::default());
        on_a.accept(&ann, &first, at, now);
        on_b.accept(&ann, &second, at, now);
        assert!(on_a.accept_relayed(position(&second), from((b, 1), a), now));
        assert!(!on_b.accept_relayed(position(&first), from((a, 1), b), now));
        assert_eq!(on_a.last(), on_b.last());
        assert!(!on_a.accept_relayed(position(&second), from((b, 1), a), now), "twice");
        let newer = position(&fix(501, 3.0));
        assert!(on_b.accept_relayed(newer.clone(), from((a, 2), b), now));
        assert!(on_a.accept(&ann, &fix(501, 3.0), at, now).is_some());
        let older = position(&fix(499, 4.0));
        assert!(!on_b.accept_relayed(older.clone(), from((a, 9), b), now));
        assert!(on_b.accept_relayed(older, from((a, 9), b), now + FORGET_ORDER));
        let answer = RelayedFrom { is_answer: true, ..from((a, 9), b) };
        let mut fresh = PositionTracker::default();
        assert!(fresh.accept_relayed(newer.clone(), answer, now), "the first");
        assert!(!fresh.accept_relayed(newer, RelayedFrom { by: (a, 10), ..answer }, now));
    }

    #[test]
    fn the_order_of_times_is_ignored_after_half_a_minute() {
        let (mut track, at, now) =
            (PositionTracker::default(), Timestamp::from_secs(1000), Instant::now());
        let ann: UserId = "ann".parse().expect("id");
        track.accept(&ann, &recorded(500), at, now);
        let (almost, late) = (now + Duration::from_secs(29), now + FORGET_ORDER);
        assert!(track.accept(&ann, &recorded(400), at, almost).is_none());
        assert!(track.accept(&ann, &recorded(400), at, late).is_some());
    }

    #[test]
    fn of_posted_fixes_the_newest_is_accepted_and_stale_ones_are_counted() {
        let (mut track, at, now) =
            (PositionTracker::default(), Timestamp::from_secs(1000), Instant::now());
        let ann: UserId = "ann".parse().expect("id");
        let batch = |times: &[i64]| times.iter().copied().map(recorded).collect::<Vec<_>>();
        let mut take = |times: &[i64]| {
            let stale = track.accept_newest(&ann, &batch(times), at, now);
            let last = track.last().and_then(|last| last.recorded_at);
            (stale, last.map_or(0, |last| last.as_millis() / 1000))
        };
        assert_eq!(take(&[]), (0, 0));
        assert_eq!(take(&[10, 20, 30]), (0, 30));
        assert_eq!(take(&[10, 20, 30]), (2, 30), "once more");
        assert_eq!(take(&[5, 6]), (2, 30));
        assert_eq!(take(&[25, 35]), (1, 35));
    }

    #[test]
    fn a_stored_position_makes_older_fixes_stale_for_half_a_minute() {
        let ann: UserId = "ann".parse().expect("id");
        let known = Position::of(&recorded(500), ann.clone(), Timestamp::from_secs(1000));
        let older_counts = |secs| {
            let (at, now) = (Timestamp::from_secs(secs), Instant::now());
            PositionTracker::new(Some(known.clone()), at, now)
                .accept(&ann, &recorded(499), at, now)
                .is_some()
        };
        assert_eq!([1000, 1029, 1030].map(older_counts), [false, false, true]);
    }

    #[test]
    fn a_snapshot_says_how_old_the_position_is() {
        let mut track = PositionTracker::default();
        assert!(track.shown(Timestamp::from_secs(0)).is_none());
        let ann: UserId = "ann".parse().expect("id");
        track.accept(&ann, &FIX, Timestamp::from_secs(100), Instant::now());
        let shown = |track: &PositionTracker, secs| {
            track.shown(Timestamp::from_secs(secs)).map(|last| (last.age_ms, last.stale))
        };
        assert_eq!(shown(&track, 160), Some((60_000, false)));
        assert_eq!(shown(&track, 161), Some((61_000, true)));
    }
}
