//! The transactions on a connection: how they begin, and what is left of them.

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::time::timeout;

use super::{Connection, FORMATS};
use crate::engine::error::Error;
use crate::engine::postgres::errors::FEATURE_NOT_SUPPORTED;
use crate::engine::postgres::traces::Traces;
use crate::engine::sql::Isolation;

impl Connection {
    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn begin(&mut self, isolation: Isolation) -> Result<(), Error> {
        let begun = self.try_begin(isolation).await;
        if begun.as_ref().is_err_and(|error| error.code() == Some(FEATURE_NOT_SUPPORTED)) {
            // A standby has no serializable transactions.
            self.note_standby();
        }
        begun
    }

    async fn try_begin(&mut self, isolation: Isolation) -> Result<(), Error> {
        // Whatever goes wrong, the connection is closed with the transaction that it is in.
        self.in_transaction = true;
        let lock_timeout = self.target.lock_timeout().as_millis();
        let begin = format!("{}; SET LOCAL lock_timeout = {lock_timeout}", isolation.begin());
        if !self.is_pooled() {
            return self.control(&begin).await;
        }
        let begin = format!("{begin}; {FORMATS}; SELECT pg_backend_pid()");
        let rows = timeout(self.target.timeouts().statement, self.fetch_text(begin)).await;
        let rows = rows.unwrap_or_else(|_| Err(self.unanswered()))?;
        let backend = rows.first().and_then(|row| row.try_get(0).ok());
        if let (Some(session), Some(backend)) = (&mut self.object, backend) {
            session.backend = backend;
        }
        Ok(())
    }

    /// Whether a transaction is open on it.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Ends the transaction, with `COMMIT` or `ROLLBACK`, and clears what a caller's own statements have left
    /// in the session, so that it does not reach the next user of the connection.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`], of the end alone: what cannot be cleared is closed.
    pub async fn end_transaction(&mut self, end: &str) -> Result<(), Error> {
        let deallocate = self.deallocate();
        let message = format!("{end}{deallocate}{}", self.traces.clear());
        let limit = self.target.timeouts().statement;
        let mut has_ended = false;
        let mut answers = sqlx::raw_sql(AssertSqlSafe(message)).fetch_many(self.start()?);
        let answered = timeout(limit, async {
            while answers.try_next().await?.is_some() {
                has_ended = true;
            }
            Ok(())
        });
        let answered = answered.await;
        drop(answers);
        if has_ended {
            self.in_transaction = false;
            self.traces = Traces { lasting: self.traces.lasting, ..Traces::default() };
        }
        match answered {
            Ok(Ok(())) => self.end(Ok(())),
            Ok(Err(_)) if has_ended => {
                self.traces.lasting = true;
                self.end(Ok(()))
            }
            Ok(Err(error)) => self.end(Err(error)),
            Err(_) if has_ended => Ok(()),
            Err(_) => Err(self.unanswered()),
        }
    }

    /// Runs SQL that begins or ends a transaction or a part of one.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn control(&mut self, sql: &str) -> Result<(), Error> {
        let done = timeout(self.target.timeouts().statement, self.execute(sql.to_owned())).await;
        done.unwrap_or_else(|_| Err(self.unanswered()))
    }
}
