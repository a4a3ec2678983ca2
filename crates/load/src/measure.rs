//! Counters and times. Times are microseconds from the beginning of the run.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::seconds::{Second, TimingSummary};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// From when a connection was due to its session.
    Connect,
    /// From `order:join` to its snapshot.
    Join,
    /// From when a position was due to each member that sees it.
    Location,
    /// From when a chat message was due to each member that sees it.
    Chat,
    /// From when a chat message was due to its acknowledgement.
    ChatAck,
    /// From when the hub or the network ended a connection until the member was in its room again.
    Reconnect,
    /// How late this program sent what was due.
    Late,
}

/// Sums, which only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Positions sent.
    pub locations_sent: u64,
    /// Expected receipts of positions: the members in the room when one was sent.
    pub locations_expected: u64,
    /// Positions seen.
    pub locations_seen: u64,
    /// Chat messages sent.
    pub chat_sent: u64,
    /// Chat messages that were acknowledged.
    pub chat_acked: u64,
    /// Chat messages seen.
    pub chat_seen: u64,
    /// Other events seen.
    pub other_seen: u64,
    /// Sessions begun.
    pub connects: u64,
    /// Messages that were due while their sender was not connected.
    pub skipped: u64,
    /// Messages that were sent more than 10 ms after they were due.
    pub late: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

/// Everything that is measured.
#[derive(Debug, Clone)]
pub struct Measure {
    /// Times until the last interval ended.
    timings: Vec<Histogram<u64>>,
    /// Times since then.
    lately: Vec<Histogram<u64>>,
    /// The sums of the whole run.
    pub counts: Counts,
    /// Refusals by code.
    pub errors: BTreeMap<String, u64>,
    /// Connections that the hub ended, by close code or by how the socket ended.
    pub closes: BTreeMap<String, u64>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Times of what was due before this are not recorded.
    pub from: u64,
    /// Times of what is due from this on are not recorded.
    pub until: u64,
}

/// The longest recorded time: ten minutes.
const LONGEST: u64 = 600_000_000;
/// A message that is sent later than this, in microseconds, counts as late.
pub const LATE: u64 = 10_000;

// === impl Timing ===

impl Timing {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Join,
        Self::Location,
        Self::Chat,
        Self::ChatAck,
        Self::Reconnect,
        Self::Late,
    ];

    /// The name in reports and assertions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Join => "join",
            Self::Location => "location",
            Self::Chat => "chat",
            Self::ChatAck => "chat-ack",
            Self::Reconnect => "reconnect",
            Self::Late => "late",
        }
    }

    /// Whether times are recorded in every stage: connections are, others only in the hold.
    fn always(self) -> bool {
        matches!(self, Self::Connect | Self::Join)
    }
}

// === impl Counts ===

impl Counts {
    /// Messages sent, of both kinds.
    pub fn sent(&self) -> u64 {
        self.locations_sent + self.chat_sent
    }

    /// Messages seen, of both kinds.
    pub fn seen(&self) -> u64 {
        self.locations_seen + self.chat_seen
    }

    /// The difference to an earlier reading.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        Self {
            locations_sent: self.locations_sent - then.locations_sent,
            locations_expected: self.locations_expected - then.locations_expected,
            locations_seen: self.locations_seen - then.locations_seen,
            chat_sent: self.chat_sent - then.chat_sent,
            chat_acked: self.chat_acked - then.chat_acked,
            chat_seen: self.chat_seen - then.chat_seen,
            other_seen: self.other_seen - then.other_seen,
            connects: self.connects - then.connects,
            skipped: self.skipped - then.skipped,
            late: self.late - then.late,
            bytes_in: self.bytes_in - then.bytes_in,
            bytes_out: self.bytes_out - then.bytes_out,
        }
    }
}

// === impl Measure ===

impl Measure {
    /// Records times of what is due from `from` on and before `until`.
    pub fn new(from: u64, until: u64) -> Self {
        // Three digits up to ten minutes. These bounds are valid; a histogram that grows by itself
        // takes the same memory.
        let empty = |_: &Timing| {
            Histogram::new_with_bounds(1, LONGEST, 3)
                .unwrap_or_else(|_| unreachable!("the bounds are in order"))
        };
        Self {
            timings: Timing::ALL.iter().map(empty).collect(),
            lately: Timing::ALL.iter().map(empty).collect(),
            counts: Counts::default(),
            errors: BTreeMap::new(),
            closes: BTreeMap::new(),
            seconds: Vec::new(),
            from,
            until,
        }
    }

    /// Records that something that was due then has happened now.
    pub fn time(&mut self, timing: Timing, due: u64, now: u64) {
        if timing.always() || (self.from..self.until).contains(&due) {
            self.lately[timing as usize].saturating_record(now.saturating_sub(due).max(1));
        }
    }

    /// Ends an interval: returns its times, and adds them to those of the run.
    pub fn turn(&mut self) -> BTreeMap<Timing, TimingSummary> {
        let mut times = BTreeMap::new();
        for ((timing, all), lately) in
            Timing::ALL.iter().zip(&mut self.timings).zip(&mut self.lately)
        {
            if lately.is_empty() {
                continue;
            }
            times.insert(*timing, summary(lately));
            // They have the same bounds, so the addition cannot fail.
            let _ = all.add(&*lately);
            lately.reset();
        }
        times
    }

    /// All times of one kind, up to the last [`Self::turn`].
    pub fn timing(&self, timing: Timing) -> &Histogram<u64> {
        &self.timings[timing as usize]
    }

    /// Counts a refusal.
    pub fn error(&mut self, code: &str) {
        count(&mut self.errors, code);
    }

    /// Counts a connection that the hub or the network ended.
    pub fn close(&mut self, how: &str) {
        count(&mut self.closes, how);
    }
}

fn summary(times: &Histogram<u64>) -> TimingSummary {
    #[expect(clippy::cast_precision_loss, reason = "ten minutes of microseconds fit")]
    let ms = |us: u64| us as f64 / 1000.0;
    TimingSummary {
        count: times.len(),
        p50: ms(times.value_at_quantile(0.5)),
        p99: ms(times.value_at_quantile(0.99)),
        max: ms(times.max()),
    }
}

fn count(map: &mut BTreeMap<String, u64>, key: &str) {
    // Bounds the map, because the hub chooses its keys.
    let key = if map.len() < 100 || map.contains_key(key) { key } else { "others" };
    if let Some(count) = map.get_mut(key) {
        *count += 1;
    } else {
        map.insert(key.to_owned(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_due_in_the_hold_is_timed() {
        let mut measure = Measure::new(1000, 2000);
        for due in [999, 1000, 1999, 2000] {
            measure.time(Timing::Chat, due, 5000);
            measure.time(Timing::Connect, due, due + 3);
        }
        measure.turn();
        assert_eq!(measure.timing(Timing::Chat).len(), 2);
        assert_eq!(measure.timing(Timing::Chat).max() / 10, 400);
        assert_eq!(measure.timing(Timing::Connect).len(), 4);
    }

    #[test]
    fn times_out_of_range_count_as_the_longest() {
        let mut measure = Measure::new(0, 10);
        measure.time(Timing::Late, 5, u64::MAX);
        measure.time(Timing::Late, 5, 1);
        measure.turn();
        assert_eq!(measure.timing(Timing::Late).min(), 1);
        assert!(measure.timing(Timing::Late).max() >= LONGEST);
    }

    #[test]
    fn a_stretch_has_its_own_times_and_all_have_them_together() {
        let mut measure = Measure::new(0, 10);
        measure.time(Timing::Chat, 0, 1000);
        let first = measure.turn();
        measure.time(Timing::Chat, 0, 3000);
        measure.time(Timing::Chat, 0, 3000);
        let second = measure.turn();
        assert_eq!((first[&Timing::Chat].count, second[&Timing::Chat].count), (1, 2));
        assert!((second[&Timing::Chat].p50 - 3.0).abs() < 0.01, "{second:?}");
        assert_eq!((measure.timing(Timing::Chat).len(), measure.turn().len()), (3, 0));
    }

    #[test]
    fn codes_are_counted_and_too_many_are_put_together() {
        let mut measure = Measure::new(0, 0);
        for number in 0..200 {
            measure.error(&number.to_string());
            measure.close("1012");
        }
        assert_eq!((measure.errors.len(), measure.errors["others"]), (101, 100));
        assert_eq!(measure.closes["1012"], 200);
    }
}
