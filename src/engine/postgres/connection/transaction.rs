//! The transactions on a connection: how they begin, and what is left of them.

use futures_util::{Stream, TryStreamExt as _};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, Row as _};
use tokio::time::timeout;

use super::begun::Begun;
use super::message::Written;
use super::{Connection, FORMATS};
use crate::engine::error::Error;
use crate::engine::postgres::errors::{FEATURE_NOT_SUPPORTED, is_stale_statement};
use crate::engine::postgres::session::BRIEF_LOCK_TIMEOUT;
use crate::engine::postgres::traces::Traces;
use crate::engine::protocol::executor::LastWrite;
use crate::engine::sql::{Isolation, Query};

/// Answers which process of the server serves a transaction.
const BACKEND: &str = "SELECT pg_backend_pid() AS backend";

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
        self.ask_backend(format!("{begin}; {FORMATS}; {BACKEND}")).await
    }

    /// Learns which process of the server serves the transaction.
    async fn ask_backend(&mut self, sql: String) -> Result<(), Error> {
        let rows = timeout(self.target.timeouts().statement, self.fetch_text(sql)).await;
        let rows = rows.unwrap_or_else(|_| Err(self.unanswered()))?;
        self.serves(rows.first());
        Ok(())
    }

    /// What is known of a row that the transaction writes last, if its first statement was one of the engine's that
    /// locks a row or inserts one.
    pub fn last_write(&self) -> Option<LastWrite> {
        self.begun.map(Begun::last_write)
    }

    /// Whether a transaction is open on it.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Has a transaction begin with its first statement, if that is one of the engine's, in one message.
    pub fn begin_later(&mut self, isolation: Isolation) {
        self.unbegun = Some(isolation);
    }

    /// Begins the transaction that [`Self::begin_later`] has put off, if its first statement is none of the engine's.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn begin_now(&mut self) -> Result<(), Error> {
        match self.unbegun.take() {
            Some(isolation) => Box::pin(self.begin(isolation)).await,
            None => Ok(()),
        }
    }

    /// Begins a transaction with a statement of the engine's.
    pub(super) async fn fetch_first(
        &mut self,
        isolation: Isolation,
        query: Query,
    ) -> Result<Vec<PgRow>, Error> {
        let statement = self.written(&query)?;
        self.in_transaction = true;
        let message = self.first_message(isolation, &statement.sql, query.waits_briefly);
        let limit = self.target.timeouts().statement;
        let rows = sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(self.start()?);
        let answer = timeout(limit, rows).await;
        let rows = self.answered(answer)?;
        self.done(statement);
        self.begun = rows.first().and_then(Begun::read);
        if self.is_pooled() && !self.serves(rows.first()) {
            self.ask_backend(BACKEND.to_owned()).await?;
        }
        Ok(rows)
    }

    fn first_message(&self, isolation: Isolation, statement: &str, waits_briefly: bool) -> String {
        let lock_timeout = |milliseconds: &str| format!("SET LOCAL lock_timeout = {milliseconds}");
        let lasting = lock_timeout(&self.target.lock_timeout().as_millis().to_string());
        let brief = lock_timeout(BRIEF_LOCK_TIMEOUT);
        let limited: &[&str] = match (waits_briefly, self.is_pooled()) {
            // A direct session waits briefly unless it is told otherwise.
            (true, false) => &[statement, &lasting],
            (true, true) => &[&brief, statement, &lasting],
            (false, _) => &[&lasting, statement],
        };
        let limited = limited.join("; ");
        let begin = isolation.begin();
        match self.is_pooled() {
            true => format!("{begin}; {FORMATS}; {limited}"),
            false => format!("{begin}; {limited}"),
        }
    }

    /// Notes which process of the server serves the transaction, if the row tells it.
    fn serves(&mut self, row: Option<&PgRow>) -> bool {
        let backend = row.and_then(|row| row.try_get("backend").ok());
        if let (Some(session), Some(backend)) = (&mut self.object, backend) {
            session.backend = backend;
        }
        backend.is_some()
    }

    /// Ends the transaction, with `COMMIT` or `ROLLBACK`, and clears what a caller's own statements have left
    /// in the session, so that it does not reach the next user of the connection.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`], of the end alone: what cannot be cleared is closed.
    pub async fn end_transaction(&mut self, end: &str) -> Result<(), Error> {
        self.end_after(None, end).await?;
        self.judge_suspect().await;
        Ok(())
    }

    /// Commits after a last statement of the engine's, unless that fails, in one message.
    ///
    /// # Errors
    /// As [`Self::end_transaction`], and the statement's.
    pub async fn commit_after(&mut self, query: Query) -> Result<Vec<PgRow>, Error> {
        let statement = self.written(&query)?;
        self.end_after(Some(statement), "COMMIT").await
    }

    async fn end_after(
        &mut self,
        statement: Option<Written>,
        end: &str,
    ) -> Result<Vec<PgRow>, Error> {
        let deallocate = self.deallocate();
        // How many statements of the message are yet to be answered until the transaction has ended.
        let mut left = 1 + statement.as_ref().map_or(0, |first| first.statements);
        let first = statement.as_ref().map_or_else(String::new, |first| format!("{}; ", first.sql));
        let message = format!("{first}{end}{deallocate}{}", self.traces.clear());
        let mut rows = Vec::new();
        let limit = self.target.timeouts().statement;
        let answers = sqlx::raw_sql(AssertSqlSafe(message)).fetch_many(self.start()?);
        let answered = timeout(limit, take(answers, &mut left, &mut rows)).await;
        let has_ended = left == 0;
        if has_ended {
            self.in_transaction = false;
            if let Some(statement) = statement {
                self.done(statement);
            }
            self.traces = Traces { lasting: self.traces.lasting, ..Traces::default() };
        }
        match answered {
            Ok(Ok(())) => self.end(Ok(rows)),
            Ok(Err(_)) if has_ended => {
                self.traces.lasting = true;
                self.end(Ok(rows))
            }
            Ok(Err(error)) => {
                self.stale |= is_stale_statement(&error);
                self.end(Err(error))
            }
            Err(_) if has_ended => Ok(rows),
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

/// Takes answers until there are no more: `left` statements, and the rows of those before the last.
async fn take<E>(
    mut answers: impl Stream<Item = Result<Either<E, PgRow>, sqlx::Error>> + Unpin,
    left: &mut usize,
    rows: &mut Vec<PgRow>,
) -> Result<(), sqlx::Error> {
    while let Some(answer) = answers.try_next().await? {
        match answer {
            Either::Left(_) => *left = left.saturating_sub(1),
            Either::Right(row) if *left > 1 => rows.push(row),
            Either::Right(_) => {}
        }
    }
    Ok(())
}
