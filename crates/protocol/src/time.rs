//! Wall-clock time as the protocol writes it: RFC 3339 in UTC with milliseconds.
//! Deadlines and rates use [`std::time::Instant`]; this type is for people and databases.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first instant of the year 0000, the earliest that RFC 3339 can write.
    const MIN_MS: i64 = -62_167_219_200_000;
    /// The last millisecond of the year 9999, the latest that RFC 3339 can write.
    const MAX_MS: i64 = 253_402_300_799_999;

    /// The current time of this machine's clock.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// The time `ms` after the epoch, clamped to the years 0000 to 9999.
    pub fn from_millis(ms: i64) -> Self {
        Self(ms.clamp(Self::MIN_MS, Self::MAX_MS))
    }

    /// Reads a number of seconds or milliseconds since the epoch; `None` where it is not finite.
    /// From 1e11 on it counts as milliseconds: that many milliseconds ended in March 1973.
    pub fn from_unix(number: f64) -> Option<Self> {
        const MOST_SECONDS: f64 = 1e11;
        let ms = if number.abs() < MOST_SECONDS { number * 1000.0 } else { number };
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
        number.is_finite().then(|| Self::from_millis(ms as i64))
    }

    /// The time `secs` after the epoch, clamped to the years 0000 to 9999.
    pub fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Later by `duration`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(ms))
    }

    /// Earlier by `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this; 0 if `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// The text form, like `2026-05-04T12:30:00.000Z`.
    pub fn text(self) -> TimestampText {
        TimestampText::of(self)
    }

    /// The time from `now` until this; zero if it has passed.
    pub fn until_from(self, now: Self) -> Duration {
        Duration::from_millis(self.millis_since(now))
    }
}

/// The text form in a fixed layout. A location gets a time for every broadcast, and [`fmt`] would
/// take a tenth of that broadcast's cost.
pub struct TimestampText([u8; 24]);

impl TimestampText {
    fn of(timestamp: Timestamp) -> Self {
        let (days, ms) = (timestamp.0.div_euclid(86_400_000), timestamp.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let mut text = Self(*b"0000-00-00T00:00:00.000Z");
        text.put(0..4, year);
        text.put(5..7, month);
        text.put(8..10, day);
        text.put(11..13, ms / 3_600_000);
        text.put(14..16, ms / 60_000 % 60);
        text.put(17..19, ms / 1000 % 60);
        text.put(20..23, ms % 1000);
        text
    }

    /// Writes a non-negative number with leading zeros.
    fn put(&mut self, place: Range<usize>, mut number: i64) {
        for digit in self.0[place].iter_mut().rev() {
            *digit += u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TimestampText::of(*self).as_str())
    }
}

/// The Gregorian date of a day counted from 1970-01-01, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), without allocation or time-zone
/// lookups.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Why a text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time as in RFC 3339 with its zone, like 2026-05-04T12:30:00.000Z")]
pub struct InvalidTime;

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| InvalidTime)?;
        Ok(Self::from_millis(parsed.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(TimestampText::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;
        impl de::Visitor<'_> for Rfc3339 {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as in RFC 3339, like 2026-05-04T12:30:00.000Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Rfc3339)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_rfc_3339_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_millis(ms).to_string(), text);
        }
    }

    #[test]
    fn agrees_with_jiff_on_every_day_of_four_centuries() {
        for day in (0..146_097).map(|day| day - 36_524) {
            let ms = day * 86_400_000 + 1;
            let expected = jiff::Timestamp::from_millisecond(ms).expect("in range").to_string();
            assert_eq!(Timestamp::from_millis(ms).to_string(), expected);
        }
    }

    #[test]
    fn reads_offsets_and_refuses_what_is_no_time() {
        let read = |text| serde_json::from_str::<Timestamp>(text).map(Timestamp::as_millis).ok();
        assert_eq!(read("\"1970-01-01T01:00:00.5+01:00\""), Some(500));
        assert_eq!(read("\"yesterday\""), None);
        assert_eq!(read("12"), None);
    }

    #[test]
    fn differences_do_not_go_below_zero() {
        let (early, late) = (Timestamp::from_secs(1), Timestamp::from_secs(3));
        assert_eq!(late.millis_since(early), 2000);
        assert_eq!(early.millis_since(late), 0);
        assert_eq!(late.until_from(early), Duration::from_secs(2));
    }
}
