//! What a service does to the table as a whole: creates it, asks what it has, prunes it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::engine::error::Error;
use crate::engine::execution::pool_executor::PoolExecutor;
use crate::engine::key::Text;
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::errors::from_driver;
use crate::engine::protocol::statement::OptionalColumns;
use crate::engine::sql::{Isolation, Query};

/// About as many keys as fit in one page of the table.
const ROWS_PER_PAGE: u32 = 32;

impl PoolExecutor {
    /// Creates the table where it is missing.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn migrate(&self) -> Result<(), Error> {
        loop {
            let mut connection = self.pool.connection().await?;
            let migrated = self.migrate_on(&mut connection).await;
            if !connection.stale {
                return migrated;
            }
        }
    }

    async fn migrate_on(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.begin(Isolation::ReadCommitted).await?;
        connection.execute(self.sql.migrate()).await?;
        connection.end_transaction("COMMIT").await
    }

    /// Which of the columns that Medusa's table does not have this one has.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn optional_columns(&self) -> Result<OptionalColumns, Error> {
        let rows = self.rows(self.sql.optional_columns(), Vec::new()).await?;
        Ok(OptionalColumns { fingerprint: self.only(&rows, 0)?, headers: self.only(&rows, 1)? })
    }

    /// Deletes finished keys that are older than `age`, about `batch` of them at a time, and answers
    /// how many they were. Each batch is what lies in a few pages of the table, so it takes the same
    /// time in a table of any size, and holds no lock that a request waits for.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`]; earlier batches stay deleted.
    pub async fn prune(&self, age: Duration, batch: u32) -> Result<u64, Error> {
        let size = self.rows(self.sql.pages(), Vec::new()).await?;
        let (pages, partitions): (i64, i64) = (self.only(&size, 0)?, self.only(&size, 1)?);
        let prune = self.sql.prune(self.only(&size, 2)?);
        let at_once = (i64::from(batch / ROWS_PER_PAGE) / partitions.max(1)).max(1);
        let age = format!("{} milliseconds", age.as_millis());
        let mut deleted = 0;
        let mut from = 0;
        while from < pages {
            let to = from + at_once;
            let range = [age.clone(), from.to_string(), to.to_string()];
            let parameters = range.map(Some).to_vec();
            deleted += self.rows(Arc::clone(&prune), parameters).await?.len() as u64;
            from = to;
        }
        Ok(deleted)
    }

    async fn rows(
        &self,
        text: impl Into<Arc<str>>,
        parameters: Vec<Text>,
    ) -> Result<Vec<PgRow>, Error> {
        let query = Query::new(text.into(), parameters);
        self.fetch(&query, self.deadline()).await.map_err(|error| error.of_statement(None))
    }

    fn only<T>(&self, rows: &[PgRow], column: usize) -> Result<T, Error>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let value = rows.first().map_or(Err(sqlx::Error::RowNotFound), |row| row.try_get(column));
        value.map_err(|error| from_driver(error, self.pool.target()))
    }
}
