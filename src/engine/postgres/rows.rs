//! Reads the rows that the statements of [`sql`](crate::engine::sql) answer.

use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{Column as _, Row as _};

use crate::engine::error::Error;
use crate::engine::key::{Column, ColumnSet, IdempotencyKey, with_columns};
use crate::engine::postgres::errors::from_driver;
use crate::engine::postgres::target::Target;
use crate::engine::protocol::statement::{Row, RowLocation, Token};
use crate::engine::sql::HEADERS;
use crate::engine::timestamp::Timestamp;

/// Reads the rows of a statement written by [`Sql`](crate::engine::sql::Sql).
///
/// # Errors
/// [`Error::Connection`] when a column is empty that Medusa's table requires.
pub fn read(rows: &[PgRow], target: &Target) -> Result<Vec<Row>, Error> {
    let mut reader = RowReader::new(0, ColumnSet::ALL);
    let read = |row: &PgRow| match row.len() {
        CLAIMED => read_claim(row),
        _ => reader.read(row),
    };
    let rows = rows.iter().map(read).collect::<Result<_, _>>();
    rows.map_err(|error| from_driver(error, target))
}

/// How many columns the row of a claim has.
const CLAIMED: usize = 7;

fn read_claim(row: &PgRow) -> Result<Row, sqlx::Error> {
    let (location, token) = (RowLocation(row.try_get("location")?), Token(row.try_get("token")?));
    Ok(Row::claimed(row.try_get("recovery_point")?, location, token, row.try_get("live")?))
}

/// Reads rows of a result. They are of the same types, so those of the first row alone are checked.
pub struct RowReader {
    first: usize,
    columns: ColumnSet,
    checked: bool,
}

/// Reads the columns of a key, each into its field.
macro_rules! read_key {
    ($($(#[$doc:meta])* $column:ident $field:ident: $type:ty, $sql:literal, $crossing:ident;)*) => {
        fn read_key(reader: &RowReader, row: &PgRow) -> Result<IdempotencyKey, sqlx::Error> {
            Ok(IdempotencyKey {
                $($field: reader.of_key(row, Column::$column)?,)*
                response_headers: None,
            })
        }
    };
}
with_columns!(read_key);

impl RowReader {
    /// For a result whose columns before `first` are something else, and then those of a key that are given,
    /// in the order of the table's.
    pub fn new(first: usize, columns: ColumnSet) -> Self {
        Self { first, columns, checked: false }
    }

    /// Reads a row. Columns that the result does not have are empty.
    ///
    /// # Errors
    /// Those of the columns' types.
    pub fn read(&mut self, row: &PgRow) -> Result<Row, sqlx::Error> {
        let mut read = Row::from(read_key(self, row)?);
        let after = self.first + self.columns.len();
        let others = row.len() - after;
        if others > 0 {
            read.location = RowLocation(self.get(row, after)?);
            read.token = Token(self.get(row, after + 1)?);
        }
        // Where it is not, the transaction may be, or nothing.
        let named = |index: usize, name| {
            row.columns().get(index).is_some_and(|column| column.name() == name)
        };
        if named(after + 2, "won") {
            read.won = self.get(row, after + 2)?;
            read.live = self.get(row, after + 3)?;
            read.same = self.get(row, after + 4)?;
        }
        if named(after + 5, HEADERS) {
            read.key.response_headers = self.get(row, after + 5)?;
        }
        self.checked = true;
        Ok(read)
    }

    /// About how many bytes a row has: bodies are what may be large.
    pub fn size(&self, row: &PgRow) -> usize {
        match self.columns.contains(Column::ResponseBody) {
            false => 0,
            true => row
                .try_get_raw(self.index_of(Column::ResponseBody))
                .map_or(0, |body| body.as_bytes().map_or(0, <[u8]>::len)),
        }
    }

    fn of_key<'r, T>(&self, row: &'r PgRow, column: Column) -> Result<T, sqlx::Error>
    where
        T: Default + sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        match self.columns.contains(column) {
            false => Ok(T::default()),
            true => self.get(row, self.index_of(column)),
        }
    }

    /// Where in the result a column of the key is.
    fn index_of(&self, column: Column) -> usize {
        self.first + self.columns.before(column).len()
    }

    fn get<'r, T>(&self, row: &'r PgRow, index: usize) -> Result<T, sqlx::Error>
    where
        T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        match self.checked {
            true => row.try_get_unchecked(index),
            false => row.try_get(index),
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
        match value.format() {
            PgValueFormat::Binary => Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?))),
            PgValueFormat::Text => Ok(value.as_str()?.parse()?),
        }
    }
}
