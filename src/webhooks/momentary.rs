//! Events that are only true for a moment: who is connected, whether a driver sends positions. They
//! are in no table. The newest of each user waits, for ten minutes at most.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    Unread,
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
    /// Its data; empty if it is made anew for each try.
    pub data: String,
    /// For a message its number.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
}

/// The events that wait for one endpoint.
#[derive(Debug, Default)]
pub struct MomentaryQueue {
    waiting: HashMap<MomentaryKey, Waiting>,
    /// Those that are not on their way, by age.
    by_age: BTreeMap<u64, MomentaryKey>,
    /// The same, by the time of their next try.
    by_due: BTreeSet<(Instant, u64)>,
    /// The number of the newest event.
    newest: u64,
    /// Events that found no place, or were too old to be told.
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    event: MomentaryEvent,
    /// Rises with `since`.
    number: u64,
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
            EventKind::ChatUnread => Subject::Unread,
            _ => return None,
        };
        Some(MomentaryKey { subject, order: self.order.clone(), user: self.user.clone() })
    }
}

// === impl MomentaryQueue ===

impl MomentaryQueue {
    /// Adds an event in place of an older one of its kind. One that is on its way is followed by
    /// this one, not overtaken. The same event once more changes nothing.
    pub fn put(&mut self, event: MomentaryEvent, now: Instant) {
        let Some(key) = event.key() else { return };
        let is_full = self.waiting.len() >= MOST;
        match self.waiting.get_mut(&key) {
            Some(known) if known.event.id == event.id => {}
            Some(known) if known.in_hand => known.next = Some(event),
            None if is_full => self.dropped += 1,
            _ => {
                self.remove(&key);
                self.add(key, event, now);
            }
        }
    }

    fn add(&mut self, key: MomentaryKey, event: MomentaryEvent, now: Instant) {
        self.newest += 1;
        let number = self.newest;
        self.by_age.insert(number, key.clone());
        self.by_due.insert((now, number));
        let (since, due) = (now, now);
        let waiting =
            Waiting { event, number, since, failures: 0, due, in_hand: false, next: None };
        self.waiting.insert(key, waiting);
    }

    fn remove(&mut self, key: &MomentaryKey) {
        if let Some(known) = self.waiting.remove(key) {
            self.by_age.remove(&known.number);
            self.by_due.remove(&(known.due, known.number));
        }
    }

    /// Takes up to `most` events that are due; drops those that are too old.
    pub fn take(&mut self, most: usize, now: Instant) -> Vec<MomentaryEvent> {
        self.drop_old(now);
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((due, number)) = self.by_due.first().copied()
            && due <= now
        {
            self.by_due.pop_first();
            let key = self.by_age.remove(&number);
            if let Some(known) = key.and_then(|key| self.waiting.get_mut(&key)) {
                known.in_hand = true;
                taken.push(known.event.clone());
            }
        }
        taken
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some(oldest) = self.by_age.first_entry()
            && let Some(known) = self.waiting.get(oldest.get())
            && now.saturating_duration_since(known.since) > MAX_AGE
        {
            let key = oldest.get().clone();
            self.remove(&key);
            self.dropped += 1;
        }
    }

    /// Ends a try of an event. One that failed waits for its next try, if that is not too late; where
    /// a newer one came meanwhile, that takes its place. `random` is from 0 to 1.
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
            let (key, _) = known.remove_entry();
            return self.add(key, next, now);
        }
        let waiting = known.get_mut();
        waiting.failures += 1;
        let wait = schedule.wait(waiting.failures, random).filter(|_| !delivered);
        let due = wait.map(|wait| now + wait).filter(|due| *due <= waiting.since + MAX_AGE);
        if let Some(due) = due {
            (waiting.in_hand, waiting.due) = (false, due);
            self.by_due.insert((due, waiting.number));
            self.by_age.insert(waiting.number, known.key().clone());
        } else {
            self.dropped += u64::from(!delivered);
            known.remove();
        }
    }

    /// When the next event is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
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
            seq: 0,
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
        queue.put(event(EventKind::MemberJoined, "bob", "4"), now);
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
        queue.put(event(EventKind::DriverStale, "dan", "2"), begun);
        assert_eq!(queue.take(0, begun + MAX_AGE), []);
        assert_eq!((queue.len(), queue.next_due()), (1, Some(begun)));
        assert_eq!(queue.take(0, begun + MAX_AGE + Duration::from_millis(1)), []);
        assert_eq!((queue.len(), queue.take_dropped(), queue.next_due()), (0, 1, None));
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
