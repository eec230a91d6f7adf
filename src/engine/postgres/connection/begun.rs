//! What the first statement of a transaction tells of it.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use crate::engine::protocol::executor::LastWrite;
use crate::engine::timestamp::Timestamp;

/// What the first statement of a transaction has told of it.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    /// Its number, as `xmin` has it.
    number: u32,
    /// The server's time.
    time: Timestamp,
    /// When that was told: a little later than it was.
    told: Instant,
}

impl Begun {
    /// Reads it from the first row.
    pub fn read(row: &PgRow) -> Option<Self> {
        let told = Instant::now();
        let number: u64 = row.try_get::<&str, _>("transaction").ok()?.parse().ok()?;
        let time = u64::from_str_radix(row.try_get("time").ok()?, 16).ok()?.cast_signed();
        // `xmin` has the lower half of the number.
        let number = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        Some(Self { number, time: Timestamp(time), told })
    }

    /// What is known of a row that is written now: its lease begins at the server's time, as this side counts it on.
    /// That is never later than the server's, and later than any time that the row has had, unless somebody has set the
    /// server's clock back.
    pub fn last_write(self) -> LastWrite {
        let passed = self.told.elapsed().as_micros().max(1);
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        LastWrite { transaction: self.number, time: Timestamp(self.time.0.saturating_add(passed)) }
    }
}
