//! Events that are only true for a moment: who is connected, whether a driver sends positions. They
//! are in no table. The newest of each user waits, for ten minutes at most.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use super::event::EventKind;
use super::schedule::RetrySchedule;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// How long an event is worth telling.
pub const MAX_AGE: Duration = Duration::from_secs(600);
/// The most events that wait for one endpoint.
pub const MOST: usize = 10_000;

/// What replaces what: a newer event of the same subject about the same user and order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MomentaryKey {
    subject: Subject,
    order: OrderId,
    user: UserId,
}

/// What an event says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    Membership,
    Connection,
    Positions,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MomentaryEvent {
    /// The `webhook-id`.
    pub id: String,
    /// What it tells of.
    pub kind: EventKind,
    /// The order.
    pub order: OrderId,
    /// The user.
    pub user: UserId,
    /// Its data.
    pub data: String,
    /// When it happened.
    pub at: Timestamp,
}

/// The events that wait for one endpoint.
#[derive(Debug, Default)]
pub struct MomentaryQueue {
    waiting: HashMap<MomentaryKey, Waiting>,
    /// Events that found no place, or were too old to be told.
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    event: MomentaryEvent,
    since: Instant,
    failures: u32,
    due: Instant,
    in_hand: bool,
    /// A newer event, while this one is on its way.
    next: Option<MomentaryEvent>,
}

// === impl MomentaryEvent ===

impl MomentaryEvent {
    fn key(&self) -> Option<MomentaryKey> {
        let subject = match self.kind {
            EventKind::MemberJoined | EventKind::MemberLeft => Subject::Membership,
            EventKind::DriverOnline | EventKind::DriverOffline => Subject::Connection,
            EventKind::DriverStale | EventKind::DriverFresh => Subject::Positions,
            _ => return None,
        };
        Some(MomentaryKey { subject, order: self.order.clone(), user: self.user.clone() })
    }
}

// === impl MomentaryQueue ===

impl MomentaryQueue {
    /// Adds an event in place of an older one of its kind. One that is on its way is followed by
    /// this one, not overtaken.
    pub fn put(&mut self, event: MomentaryEvent, now: Instant) {
        let Some(key) = event.key() else { return };
        let is_full = self.waiting.len() >= MOST;
        match self.waiting.entry(key) {
            Entry::Occupied(mut known) if known.get().in_hand => known.get_mut().next = Some(event),
            Entry::Occupied(mut known) => {
                known.insert(Waiting::new(event, now));
            }
            Entry::Vacant(_) if is_full => self.dropped += 1,
            Entry::Vacant(place) => {
                place.insert(Waiting::new(event, now));
            }
        }
    }

    /// Takes up to `most` events that are due; drops those that are too old.
    pub fn take(&mut self, most: usize, now: Instant) -> Vec<MomentaryEvent> {
        let before = self.waiting.len();
        self.waiting.retain(|_, waiting| waiting.in_hand || !waiting.is_old(now));
        self.dropped += (before - self.waiting.len()) as u64;
        let due =
            self.waiting.values_mut().filter(|waiting| !waiting.in_hand && waiting.due <= now);
        let taken = due.take(most).map(|waiting| {
            waiting.in_hand = true;
            waiting.event.clone()
        });
        taken.collect()
    }

    /// Ends a try of an event. One that failed waits for its next try; where a newer one came
    /// meanwhile, that takes its place. `random` is from 0 to 1.
    pub fn finish(
        &mut self,
        event: &MomentaryEvent,
        delivered: bool,
        schedule: &RetrySchedule,
        random: f64,
        now: Instant,
    ) {
        let Some(Entry::Occupied(mut known)) = event.key().map(|key| self.waiting.entry(key))
        else {
            return;
        };
        if let Some(next) = known.get_mut().next.take() {
            known.insert(Waiting::new(next, now));
            return;
        }
        let waiting = known.get_mut();
        waiting.failures += 1;
        if let Some(wait) = schedule.wait(waiting.failures, random).filter(|_| !delivered) {
            (waiting.in_hand, waiting.due) = (false, now + wait);
        } else {
            self.dropped += u64::from(!delivered);
            known.remove();
        }
    }

    /// When the next event is due.
    pub fn next_due(&self) -> Option<Instant> {
        let waiting = self.waiting.values().filter(|waiting| !waiting.in_hand);
        waiting.map(|waiting| waiting.due).min()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

// === impl Waiting ===

impl Waiting {
    fn new(event: MomentaryEvent, now: Instant) -> Self {
        Self { event, since: now, failures: 0, due: now, in_hand: false, next: None }
    }

    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > MAX_AGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, user: &str, id: &str) -> MomentaryEvent {
        MomentaryEvent {
            id: id.to_owned(),
            kind,
            order: "o".parse().expect("an id"),
            user: user.parse().expect("an id"),
            data: "{}".to_owned(),
            at: Timestamp::from_millis(0),
        }
    }

    fn schedule() -> RetrySchedule {
        RetrySchedule::parse("5s,5m,30m").expect("a schedule")
    }

    fn ids(events: &[MomentaryEvent]) -> Vec<&str> {
        let mut ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_newest_of_a_user_replaces_what_waits() {
        let (mut queue, now) = (MomentaryQueue::default(), Instant::now());
        queue.put(event(EventKind::MemberJoined, "ann", "1"), now);
        queue.put(event(EventKind::MemberLeft, "ann", "2"), now);
        queue.put(event(EventKind::DriverOnline, "ann", "3"), now);
        queue.put(event(EventKind::MemberJoined, "bob", "4"), now);
        queue.put(event(EventKind::ChatMessage, "bob", "5"), now);
        assert_eq!(ids(&queue.take(9, now)), ["2", "3", "4"]);
        assert_eq!(queue.take(9, now), []);
    }

    #[test]
    fn a_newer_one_follows_the_one_that_is_on_its_way() {
        let (mut queue, now) = (MomentaryQueue::default(), Instant::now());
        queue.put(event(EventKind::MemberJoined, "ann", "1"), now);
        let taken = queue.take(9, now);
        queue.put(event(EventKind::MemberLeft, "ann", "2"), now);
        assert_eq!(queue.take(9, now), []);
        queue.finish(&taken[0], false, &schedule(), 0.5, now);
        let taken = queue.take(9, now);
        assert_eq!(ids(&taken), ["2"], "the failed one is not worth another try");
        queue.finish(&taken[0], true, &schedule(), 0.5, now);
        assert!(queue.is_empty());
    }

    #[test]
    fn after_ten_minutes_it_is_dropped() {
        let (mut queue, begun) = (MomentaryQueue::default(), Instant::now());
        queue.put(event(EventKind::DriverStale, "dan", "1"), begun);
        let mut tries = 0;
        for second in 0..1200 {
            let now = begun + Duration::from_secs(second);
            for taken in queue.take(9, now) {
                tries += 1;
                queue.finish(&taken, false, &schedule(), 0.5, now);
            }
        }
        // At once, after 5 s and after 5 min; the next would be half an hour later.
        assert_eq!((tries, queue.len(), queue.take_dropped()), (3, 0, 1));
    }

    #[test]
    fn there_is_an_end_to_how_many_wait() {
        let (mut queue, now) = (MomentaryQueue::default(), Instant::now());
        for number in 0..=MOST {
            queue.put(event(EventKind::MemberJoined, &format!("u{number}"), "1"), now);
        }
        assert_eq!((queue.len(), queue.take_dropped()), (MOST, 1));
        queue.put(event(EventKind::MemberLeft, "u0", "2"), now);
        assert_eq!(queue.take_dropped(), 0, "one that waits already");
        assert_eq!(queue.take(MOST, now).len(), MOST);
    }
}
