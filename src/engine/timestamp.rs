//! Times as PostgreSQL keeps them.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;

/// A point in time, in microseconds since 2000-01-01 UTC, which is how PostgreSQL keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds from 1970-01-01 to 2000-01-01.
    const EPOCH: f64 = 946_684_800_000.0;

    /// The same in microseconds.
    const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

    /// Milliseconds since 1970-01-01 UTC, as a JavaScript `Date` counts; PostgreSQL's `infinity`
    /// and `-infinity` stay infinite.
    #[allow(clippy::cast_precision_loss)] // microseconds of any date that a Date can hold fit
    pub fn milliseconds(self) -> f64 {
        match self.0 {
            i64::MAX => f64::INFINITY,
            i64::MIN => f64::NEG_INFINITY,
            microseconds => (microseconds.div_euclid(1000)) as f64 + Self::EPOCH,
        }
    }
}

/// The years after which the calendar is the same again, and how many microseconds they have.
const CYCLE: i64 = 400;
const MICROSECONDS_OF_CYCLE: i64 = 146_097 * 86_400 * 1_000_000;

/// Text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTimestamp;

impl fmt::Display for NoTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no time as a server writes it")
    }
}

impl std::error::Error for NoTimestamp {}

/// As a server reads it, whatever its `DateStyle`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0.saturating_add(Self::EPOCH_MICROSECONDS)) {
            Some(time) => write!(f, "{}+00", time.naive_utc()),
            None => f.write_str(if self.0 < 0 { "-infinity" } else { "infinity" }),
        }
    }
}

/// The text in which a server writes a time whose `DateStyle` is ISO, such as `2026-11-26 20:51:34.5+00`.
impl FromStr for Timestamp {
    type Err = NoTimestamp;

    fn from_str(text: &str) -> Result<Self, NoTimestamp> {
        match text {
            "infinity" => return Ok(Self(i64::MAX)),
            "-infinity" => return Ok(Self(i64::MIN)),
            _ => {}
        }
        let (text, is_before_christ) = match text.strip_suffix(" BC") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (year, rest) = text.split_once('-').ok_or(NoTimestamp)?;
        let year = i64::from(year.parse::<u32>().map_err(|_| NoTimestamp)?);
        // chrono has the year 0 before the year 1.
        let year = if is_before_christ { 1 - year } else { year };
        // chrono ends in the year 262142, PostgreSQL in 294276.
        let cycles = (year - 2000).div_euclid(CYCLE);
        let time = format!("{}-{rest}", year - cycles * CYCLE);
        let time = DateTime::parse_from_str(&time, "%Y-%m-%d %H:%M:%S%.f%#z");
        let microseconds =
            time.map_err(|_| NoTimestamp)?.timestamp_micros() - Self::EPOCH_MICROSECONDS;
        let before = cycles.checked_mul(MICROSECONDS_OF_CYCLE);
        before.and_then(|before| before.checked_add(microseconds)).map(Self).ok_or(NoTimestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_count_like_a_javascript_date() {
        assert_eq!(Timestamp(0).milliseconds(), 946_684_800_000.0);
        assert_eq!(Timestamp(1_500).milliseconds(), 946_684_800_001.0);
        assert_eq!(Timestamp(-1).milliseconds(), 946_684_799_999.0);
        assert_eq!(Timestamp(i64::MAX).milliseconds(), f64::INFINITY);
        assert_eq!(Timestamp(i64::MIN).milliseconds(), f64::NEG_INFINITY);
    }

    #[test]
    fn timestamps_are_written_as_a_server_reads_them() {
        assert_eq!(Timestamp(1).to_string(), "2000-01-01 00:00:00.000001+00");
        for microseconds in [0, -500_000, 848_000_000_123_456, i64::MAX, i64::MIN] {
            let time = Timestamp(microseconds);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn timestamps_are_read_from_the_text_of_a_server() {
        for (text, microseconds) in [
            ("2000-01-01 00:00:00+00", 0),
            ("2000-01-01 01:00:00.000001+01", 1),
            ("1999-12-31 23:59:59.5+00", -500_000),
            ("2000-01-01 05:30:00+05:30", 0),
            ("infinity", i64::MAX),
            ("-infinity", i64::MIN),
            ("10000-01-01 00:00:00+00", 252_455_616_000_000_000),
            ("0001-01-01 00:00:00+00 BC", -63_113_904_000_000_000),
            ("4714-11-24 00:00:00+00 BC", -211_813_488_000_000_000),
            ("294276-12-31 23:59:59.999999+00", 9_223_371_331_199_999_999),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(microseconds)), "{text}");
        }
        for text in
            ["01.01.2000 00:00:00 UTC", "", "300000-01-01 00:00:00+00", "-1-01-01 00:00:00+00"]
        {
            assert_eq!(text.parse::<Timestamp>(), Err(NoTimestamp), "{text}");
        }
    }
}
