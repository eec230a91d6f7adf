//! Times as PostgreSQL keeps them.

/// A point in time, in microseconds since 2000-01-01 UTC, which is how PostgreSQL keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds from 1970-01-01 to 2000-01-01.
    const EPOCH: f64 = 946_684_800_000.0;

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
}
