//! Corrects the time of a fix where the phone's clock or receiver must be wrong: a GPS week number
//! that rolled over, a clock that is ahead, an impossible time.

use std::time::Duration;

use protocol::events::location::Fix;
use protocol::time::Timestamp;

/// How far a phone's clock may be ahead before it is corrected.
const MAX_AHEAD: Duration = Duration::from_secs(60);
/// A time further away from now is impossible. This is as long as a trail point is kept at most.
const MAX_AWAY: Duration = days(3652);
/// How often GPS counts its weeks from 0 again. The times of a receiver that does not handle this
/// are this far behind.
const ROLLOVER: Duration = days(1024 * 7);
/// A time that rolled over is at most this old, and at most this far ahead, once it is corrected.
const ROLLED_OVER_BEHIND: Duration = days(30);
const ROLLED_OVER_AHEAD: Duration = days(1);
/// Fixes further apart than this many times the median pause are not of one row.
const PAUSES_OF_A_GAP: u64 = 10;
/// The shortest and the longest gap between fixes that ends a row, in milliseconds.
const GAP_MS: (u64, u64) = (60_000, 30 * 60_000);

/// Why the time of a fix was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// It was one or two rollovers of the week number behind, and is moved forward by as many.
    WeekRollover,
    /// It was more than a minute ahead of the hub's clock.
    Ahead,
    /// It was years away, and is replaced by the hub's time.
    Impossible,
}

/// How many fixes had their times changed, by [`Correction`].
pub type Corrections = [u64; Correction::NAMES.len()];

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

// === impl Correction ===

impl Correction {
    /// The names in metrics, in the order of the discriminants.
    pub const NAMES: &[&str] = &["week_rollover", "ahead", "impossible"];
}

/// Normalizes the time of a single fix.
pub fn normalize_time(recorded: Timestamp, now: Timestamp) -> (Timestamp, Option<Correction>) {
    match possible(recorded, now) {
        (at, correction) if at > now.plus(MAX_AHEAD) => {
            (now, correction.or(Some(Correction::Ahead)))
        }
        settled => settled,
    }
}

/// Normalizes the times of fixes that were posted together.
///
/// Fixes that are close together in time form a row. If the newest row of several fixes ends ahead
/// of now, the phone's clock is ahead, and all fixes are moved back by as much. A fix that is still
/// ahead then is an outlier and gets the current time, as does one without a time. A fix with an
/// impossible time gets that of the fix before it if another follows: it must not count as newer.
pub fn normalize_times<'a>(
    fixes: impl Iterator<Item = &'a mut Fix>,
    now: Timestamp,
) -> Corrections {
    let fixes: Vec<&mut Fix> = fixes.collect();
    let mut corrections = Corrections::default();
    let judge = |fix: &&mut Fix| {
        let (at, correction) = possible(fix.recorded_at?, now);
        count(&mut corrections, correction);
        (correction != Some(Correction::Impossible)).then_some(at)
    };
    let known: Vec<Option<Timestamp>> = fixes.iter().map(judge).collect();
    let mut times: Vec<Timestamp> = known.iter().flatten().copied().collect();
    times.sort_unstable();
    let ahead = clock_ahead(&times, now);
    let moved = |at: Timestamp| at.minus(ahead).min(now);
    let last = known.iter().rposition(Option::is_some);
    let mut before = times.first().map_or(now, |oldest| moved(*oldest));
    for (index, (fix, known)) in fixes.into_iter().zip(known).enumerate() {
        let is_impossible = known.is_none() && fix.recorded_at.is_some();
        let at = match known {
            Some(at) => {
                before = moved(at);
                let is_far = at > before.plus(MAX_AHEAD);
                count(&mut corrections, is_far.then_some(Correction::Ahead));
                before
            }
            None if is_impossible && last.is_some_and(|last| index < last) => before,
            None => now,
        };
        fix.recorded_at = Some(at);
    }
    corrections
}

fn count(corrections: &mut Corrections, correction: Option<Correction>) {
    if let Some(correction) = correction {
        corrections[correction as usize] += 1;
    }
}

/// How far the clock is ahead that gave these times, which are sorted.
fn clock_ahead(times: &[Timestamp], now: Timestamp) -> Duration {
    let gap_ms = gap_ms(times);
    let rows = times.chunk_by(|at, next| next.millis_since(*at) <= gap_ms);
    let rows: Vec<&[Timestamp]> = rows.collect();
    let row = rows.iter().rfind(|row| row.len() > 1).or(rows.first());
    let newest = row.and_then(|row| row.last());
    Duration::from_millis(newest.map_or(0, |newest| newest.millis_since(now)))
}

/// The gap, in milliseconds, beyond which times, which are sorted, are not of one row.
fn gap_ms(times: &[Timestamp]) -> u64 {
    let mut pauses: Vec<u64> = times.windows(2).map(|pair| pair[1].millis_since(pair[0])).collect();
    pauses.sort_unstable();
    let usual = pauses.get(pauses.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    usual.saturating_mul(PAUSES_OF_A_GAP).clamp(GAP_MS.0, GAP_MS.1)
}

/// The time itself if it is possible, or else its correction.
fn possible(recorded: Timestamp, now: Timestamp) -> (Timestamp, Option<Correction>) {
    if (now.minus(MAX_AWAY)..=now.plus(MAX_AWAY)).contains(&recorded) {
        return (recorded, None);
    }
    let around = now.minus(ROLLED_OVER_BEHIND)..=now.plus(ROLLED_OVER_AHEAD);
    let once = recorded.plus(ROLLOVER);
    let moved = [once, once.plus(ROLLOVER)].into_iter().find(|moved| around.contains(moved));
    match moved {
        Some(moved) => (moved, Some(Correction::WeekRollover)),
        None => (now, Some(Correction::Impossible)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the year 2026.
    const NOW: i64 = 1_795_000_000;

    fn fix(secs: Option<i64>) -> Fix {
        Fix {
            lat: 1.0,
            lng: 2.0,
            accuracy: None,
            heading: None,
            speed: None,
            altitude: None,
            battery: None,
            recorded_at: secs.map(Timestamp::from_secs),
        }
    }

    /// The normalized times of fixes, in seconds after now.
    fn settled(times: &[Option<i64>]) -> (Vec<i64>, Corrections) {
        let mut fixes: Vec<Fix> =
            times.iter().map(|time| fix(time.map(|time| NOW + time))).collect();
        let corrections = normalize_times(fixes.iter_mut(), Timestamp::from_secs(NOW));
        let after = |fix: &Fix| Some(fix.recorded_at?.as_millis() / 1000 - NOW);
        (fixes.iter().filter_map(after).collect(), corrections)
    }

    #[test]
    fn posted_fixes_ahead_of_now_are_moved_back_together() {
        assert_eq!(settled(&[Some(30), Some(60), Some(45)]), (vec![-30, 0, -15], [0; 3]));
        assert_eq!(settled(&[Some(3570), Some(3600)]), (vec![-30, 0], [0, 2, 0]));
        assert_eq!(settled(&[Some(-70), Some(-40)]), (vec![-70, -40], [0; 3]), "behind stays");
        assert_eq!(settled(&[None, Some(-40)]).0, [0, -40]);
        assert_eq!(settled(&[]).0, [0; 0]);
        let row: Vec<_> = (0..20).map(|number| Some(number * 900 - 9000)).collect();
        let moved: Vec<_> = (0..20).map(|number| number * 900 - 17_100).collect();
        assert_eq!(
            settled(&row).0,
            moved,
            "a row that is partly ahead, a quarter of an hour apart"
        );
    }

    #[test]
    fn an_outlier_in_time_is_corrected_alone() {
        let hour = 3600;
        let (times, corrections) = settled(&[Some(-20), Some(hour), Some(-10)]);
        assert_eq!((times, corrections), (vec![-20, 0, -10], [0, 1, 0]));
        assert_eq!(settled(&[Some(-10), Some(hour)]).0, [-10, 0], "also of two");
        assert_eq!(settled(&[Some(-30), Some(-20), Some(-10), Some(300)]).0, [-30, -20, -10, 0]);
        let two = settled(&[Some(-20), Some(hour), Some(-10), Some(5 * hour)]);
        assert_eq!(two.0, [-20, 0, -10, 0]);
        let behind = settled(&[Some(-hour), Some(-20), Some(5)]);
        assert_eq!(behind.0, [-hour - 5, -25, 0], "a clock is ahead for all of them");
    }

    #[test]
    fn a_break_between_fixes_keeps_their_order_where_the_clock_is_ahead() {
        let (times, corrections) = settled(&[Some(100), Some(110), Some(590), Some(600)]);
        assert_eq!((times, corrections), (vec![-500, -490, -10, 0], [0, 4, 0]));
        let row = [-200, -195, -190, -80, -75, -70, 600].map(Some);
        let moved = [-200, -195, -190, -80, -75, -70, 0];
        assert_eq!(settled(&row).0, moved, "an outlier behind them says nothing of the clock");
        assert_eq!(settled(&[Some(100), Some(5000)]).0, [0, 0]);
    }

    #[test]
    fn an_impossible_time_becomes_that_of_the_fix_before() {
        let years = 365 * 24 * 3600;
        for impossible in [-NOW, -12 * years, 543 * years, i64::MAX / 2000, i64::MIN / 2000] {
            let (times, corrections) = settled(&[Some(-10), Some(impossible), Some(-5)]);
            assert_eq!((times, corrections), (vec![-10, -10, -5], [0, 0, 1]), "{impossible}");
            let first = settled(&[Some(impossible), Some(-3600), Some(-3590)]).0;
            assert_eq!(first, [-3600, -3600, -3590], "it is not the newest");
            assert_eq!(settled(&[Some(impossible)]).0, [0]);
            assert_eq!(settled(&[Some(-60), Some(impossible)]).0, [-60, 0], "the last one");
        }
        assert_eq!(settled(&[Some(-9 * years)]).0, [-9 * years]);
    }

    #[test]
    fn a_rolled_over_week_number_is_corrected() {
        let weeks = 1024 * 7 * 24 * 3600;
        for rollovers in [1, 2] {
            let (times, corrections) =
                settled(&[Some(-20 - rollovers * weeks), Some(-15), Some(-10 - rollovers * weeks)]);
            assert_eq!((times, corrections), (vec![-20, -15, -10], [2, 0, 0]));
            let alone = Timestamp::from_secs(NOW - 20 - rollovers * weeks);
            let expected = (Timestamp::from_secs(NOW - 20), Some(Correction::WeekRollover));
            assert_eq!(normalize_time(alone, Timestamp::from_secs(NOW)), expected);
        }
        let month = 31 * 24 * 3600;
        assert_eq!(settled(&[Some(-month - weeks)]), (vec![0], [0, 0, 1]), "not about now");
    }

    #[test]
    fn a_time_far_ahead_is_replaced() {
        let now = Timestamp::from_secs(NOW);
        let at = |secs| normalize_time(Timestamp::from_secs(NOW + secs), now);
        assert_eq!(at(60), (Timestamp::from_secs(NOW + 60), None));
        assert_eq!(at(61), (now, Some(Correction::Ahead)));
        assert_eq!(at(-3600), (Timestamp::from_secs(NOW - 3600), None));
        assert_eq!(at(543 * 365 * 24 * 3600), (now, Some(Correction::Impossible)));
        let rolled_over = at(20 * 3600 - 1024 * 7 * 24 * 3600);
        assert_eq!(rolled_over, (now, Some(Correction::WeekRollover)), "and ahead then");
    }
}
