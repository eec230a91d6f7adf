//! Reads the rows that the statements of [`sql`](crate::engine::sql) answer.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::engine::error::Error;
use crate::engine::key::{ALL, IdempotencyKey, Timestamp};
use crate::engine::postgres::errors::from_driver;
use crate::engine::postgres::target::Target;
use crate::engine::protocol::statement::{Place, Row, Token};

/// Reads the rows of a statement written by [`Sql`](crate::engine::sql::Sql).
///
/// # Errors
/// [`Error::Connection`] when the table's columns have other types than Medusa's.
pub fn read(rows: &[PgRow], target: &Target) -> Result<Vec<Row>, Error> {
    let mut reader = RowReader::new(0, ALL);
    let read = |row: &PgRow| match row.len() {
        CLAIMED => read_claim(row),
        _ => reader.read(row),
    };
    let rows = rows.iter().map(read).collect::<Result<_, _>>();
    rows.map_err(|error| from_driver(error, target))
}

/// How many columns the row of a claim has.
const CLAIMED: usize = 4;

fn read_claim(row: &PgRow) -> Result<Row, sqlx::Error> {
    let (place, token) = (Place(row.try_get(1)?), Token(row.try_get(2)?));
    Ok(Row::claimed(row.try_get(0)?, place, token, row.try_get(3)?))
}

/// The place of `response_body` among the table's columns.
const RESPONSE_BODY: u32 = 8;

/// Reads rows of a result. They are of the same types, so those of the first row alone are checked.
pub struct RowReader {
    first: usize,
    columns: u16,
    checked: bool,
}

impl RowReader {
    /// For a result whose columns before `first` are something else, and then those of a key whose bits
    /// are set, in the order of the table's.
    pub fn new(first: usize, columns: u16) -> Self {
        Self { first, columns, checked: false }
    }

    /// Reads a row. Columns that the result does not have are empty.
    ///
    /// # Errors
    /// Those of the columns' types.
    pub fn read(&mut self, row: &PgRow) -> Result<Row, sqlx::Error> {
        let mut read = Row::from(IdempotencyKey {
            id: self.of_key(row, 0)?,
            idempotency_key: self.of_key(row, 1)?,
            created_at: self.of_key(row, 2)?,
            locked_at: self.of_key(row, 3)?,
            request_method: self.of_key(row, 4)?,
            request_params: self.of_key(row, 5)?,
            request_path: self.of_key(row, 6)?,
            response_code: self.of_key(row, 7)?,
            response_body: self.of_key(row, 8)?,
            recovery_point: self.of_key(row, 9)?,
        });
        let after = self.place(10);
        let others = row.len() - after;
        if others > 0 {
            read.place = Place(self.get(row, after)?);
            read.token = Token(self.get(row, after + 1)?);
        }
        if others > 2 {
            read.won = self.get(row, after + 2)?;
            read.live = self.get(row, after + 3)?;
            read.same = self.get(row, after + 4)?;
        }
        self.checked = true;
        Ok(read)
    }

    /// About how many bytes a row has: bodies are what may be large.
    pub fn size(&self, row: &PgRow) -> usize {
        match self.columns & (1 << RESPONSE_BODY) {
            0 => 0,
            _ => row
                .try_get_raw(self.place(RESPONSE_BODY))
                .map_or(0, |body| body.as_bytes().map_or(0, <[u8]>::len)),
        }
    }

    fn of_key<'r, T>(&self, row: &'r PgRow, column: u32) -> Result<T, sqlx::Error>
    where
        T: Default + sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        match self.columns & (1 << column) {
            0 => Ok(T::default()),
            _ => self.get(row, self.place(column)),
        }
    }

    /// The place in the result of the key's column, or of what comes after so many of them.
    fn place(&self, column: u32) -> usize {
        self.first + (self.columns & ((1 << column) - 1)).count_ones() as usize
    }

    fn get<'r, T>(&self, row: &'r PgRow, place: usize) -> Result<T, sqlx::Error>
    where
        T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        match self.checked {
            true => row.try_get_unchecked(place),
            false => row.try_get(place),
        }
    }
}

// sqlx's own way to a timestamp, chrono, cannot hold PostgreSQL's infinities.
impl sqlx::Type<sqlx::Postgres> for Timestamp {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        <chrono::DateTime<chrono::Utc> as sqlx::Type<sqlx::Postgres>>::type_info()
    }
}

impl sqlx::Decode<'_, sqlx::Postgres> for Timestamp {
    fn decode(value: sqlx::postgres::PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
        Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?)))
    }
}
