//! How long the server takes for a statement, apart from its rows: what a commit waits for the disk.

use std::time::Duration;

/// About what a row costs the server, at the most.
const ROW: Duration = Duration::from_micros(20);
/// How much more than the last shortest time is believed at once, as one part of so many and
/// what is added to it.
const RISE: u32 = 16;
const LEAST_RISE: Duration = Duration::from_micros(10);
/// A server that waits so long is idle meanwhile: further statements cost others nothing, and their
/// commits wait together.
const SLOW: Duration = Duration::from_millis(2);

/// The shortest of the recent times that statements took. Never more than one of them, so that a few
/// that had to wait, or had much to do, are no slow disk.
#[derive(Default)]
pub struct Pace {
    shortest: Duration,
}

impl Pace {
    /// Notes how long a statement with so many rows took.
    pub fn note(&mut self, took: Duration, rows: usize) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let apart = took.saturating_sub(ROW.saturating_mul(rows));
        let believed = self.shortest + self.shortest / RISE + LEAST_RISE;
        self.shortest = apart.min(believed);
    }

    /// Whether the server mostly waits.
    pub fn is_slow(&self) -> bool {
        self.shortest >= SLOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times: impl IntoIterator<Item = (u64, usize)>) -> Pace {
        let mut pace = Pace::default();
        for (milliseconds, rows) in times {
            pace.note(Duration::from_millis(milliseconds), rows);
        }
        pace
    }

    #[test]
    fn a_disk_is_slow_when_every_statement_takes_long() {
        assert!(after([(5, 1); 100]).is_slow());
        assert!(!after([(1, 1); 100]).is_slow());
    }

    #[test]
    fn many_rows_are_no_slow_disk() {
        assert!(!after([(10, 500); 100]).is_slow());
    }

    #[test]
    fn one_short_statement_is_enough_to_know_better() {
        assert!(!after([(5, 1); 100].into_iter().chain([(1, 1)])).is_slow());
        assert!(!after([(1, 1); 9].into_iter().chain([(900, 1); 9])).is_slow());
    }
}
