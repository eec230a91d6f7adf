//! One connection that was taken from the pool, and the exchanges on it.

mod begun;
mod kept;
mod message;
mod transaction;

use std::sync::Arc;

use deadpool::managed::Object;
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Either};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use self::begun::Begun;
use crate::engine::error::{ConnectionProblem, Error};
use crate::engine::postgres::connector::Connector;
use crate::engine::postgres::errors::{
    from_driver, is_read_only, is_stale_statement, leaves_connection_usable,
};
use crate::engine::postgres::kept::Suspect;
use crate::engine::postgres::liveness::Liveness;
use crate::engine::postgres::parameters::Parameters;
use crate::engine::postgres::pool_use::PoolUse;
use crate::engine::postgres::session::BRIEF_LOCK_TIMEOUT;
use crate::engine::postgres::target::Target;
use crate::engine::postgres::text::{is_single, with_values};
use crate::engine::postgres::traces::Traces;
use crate::engine::sql::{Isolation, Query};

/// The formats of the text that a pooled session answers, which a direct one has from its start.
const FORMATS: &str = "SET LOCAL datestyle = 'ISO'; SET LOCAL timezone = 'UTC'";

/// A connection taken from the pool. It goes back only when it is known to be clean: one whose
/// future was dropped half-way is closed instead, which makes the server roll back.
pub struct Connection {
    object: Option<Object<Connector>>,
    exchanging: bool,
    broken: bool,
    /// Whether another connection can do what this one has refused: one of its prepared statements is of no more
    /// use, or its server takes no writes any more.
    pub stale: bool,
    /// Whether a transaction is open on it.
    in_transaction: bool,
    /// How the transaction begins that its next statement opens.
    unbegun: Option<Isolation>,
    /// What the first statement of the transaction has told of it, where that was the engine's.
    begun: Option<Begun>,
    /// What a caller's own statements may have left in its session.
    pub traces: Traces,
    /// What is prepared and of no more use.
    prepared: Vec<Arc<str>>,
    /// What has failed of what is kept prepared.
    suspect: Option<Suspect>,
    target: Arc<Target>,
    _stage: Option<OwnedSemaphorePermit>,
    _use: PoolUse,
}

impl Connection {
    /// A connection to `target`, with what its use takes from the pool.
    pub fn new(
        object: Object<Connector>,
        target: Arc<Target>,
        stage: Option<OwnedSemaphorePermit>,
        pool_use: PoolUse,
    ) -> Self {
        Self {
            object: Some(object),
            exchanging: false,
            broken: false,
            stale: false,
            in_transaction: false,
            unbegun: None,
            begun: None,
            traces: Traces::default(),
            prepared: Vec::new(),
            suspect: None,
            target,
            _stage: stage,
            _use: pool_use,
        }
    }

    /// Where it is connected to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The connection for one exchange with the server, which [`Self::end`] ends.
    ///
    /// # Errors
    /// [`Error::Connection`] when an earlier exchange has lost it.
    pub fn start(&mut self) -> Result<&mut PgConnection, Error> {
        let usable = !(self.broken || self.exchanging);
        let object = self.object.as_mut().filter(|_| usable);
        let Some(object) = object else {
            let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
            return Err(from_driver(lost, &self.target));
        };
        self.exchanging = true;
        Ok(&mut object.connection)
    }

    /// Ends an exchange that [`Self::start`] began.
    ///
    /// # Errors
    /// What the exchange failed with.
    pub fn end<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.exchanging = false;
        result.map_err(|error| {
            self.broken |= !leaves_connection_usable(&error);
            if is_read_only(&error) {
                self.note_standby();
            }
            from_driver(error, self.target())
        })
    }

    /// Runs a statement of the engine's.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn fetch(&mut self, query: Query) -> Result<Vec<PgRow>, Error> {
        if let Some(isolation) = self.unbegun.take() {
            // Boxed, as most calls have no room for it on their stack.
            return Box::pin(self.fetch_first(isolation, query)).await;
        }
        let parameters = Parameters::Texts(query.parameters);
        match query.is_raw {
            false => self.fetch_with(&query.text, &parameters).await,
            true if !is_single(&query.text) => Err(Error::InvalidArgument(
                "selector: Raw takes a part of one statement".to_owned(),
            )),
            // The driver sends text as text, whatever the server infers.
            true => self.fetch_in_one_message(&query.text, &parameters).await,
        }
    }

    /// Runs a statement of the engine's, a single one or that of a batch.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn fetch_with(
        &mut self,
        text: &Arc<str>,
        parameters: &Parameters<'_>,
    ) -> Result<Vec<PgRow>, Error> {
        if self.is_pooled() {
            return self.fetch_in_one_message(text, parameters).await;
        }
        let statement = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), parameters.arguments()?);
        let limit = self.target.timeouts().statement;
        let answer = timeout(limit, statement.fetch_all(self.start()?)).await;
        self.answered(answer)
    }

    /// The same in a message that has all it needs, so that a pooler keeps it together.
    async fn fetch_in_one_message(
        &mut self,
        text: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Vec<PgRow>, Error> {
        let statement = with_values(text, &parameters.literals()?);
        let message = match self.in_transaction {
            true => statement,
            false => format!(
                "{}; SET LOCAL lock_timeout = {BRIEF_LOCK_TIMEOUT}; {FORMATS}; {statement}",
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
            ),
        };
        let limit = self.target.timeouts().statement;
        let rows = sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(self.start()?);
        let answer = timeout(limit, rows).await;
        self.answered(answer)
    }

    /// Ends the exchange of a statement of the engine's, if it was answered in time. If it was not, the exchange
    /// has not ended, so the connection is not used again.
    fn answered(
        &mut self,
        answer: Result<Result<Vec<PgRow>, sqlx::Error>, Elapsed>,
    ) -> Result<Vec<PgRow>, Error> {
        let Ok(result) = answer else { return Err(self.unanswered()) };
        self.stale |= result.as_ref().is_err_and(is_stale_statement);
        self.end(result)
    }

    /// Notes that its server was a standby when it was chosen, or has become one: it is no use to anybody. Another
    /// connection may be, unless this one is as new as that would be.
    fn note_standby(&mut self) {
        self.broken = true;
        self.stale |= !self.is_new();
    }

    /// Whether each of its transactions may be in another session of the server.
    fn is_pooled(&self) -> bool {
        self.object.as_ref().is_some_and(|session| session.is_pooled)
    }

    /// Whether nobody has used it before.
    fn is_new(&self) -> bool {
        self.object.as_ref().is_some_and(|session| Object::metrics(session).recycle_count == 0)
    }

    /// Runs SQL text of a caller's own, however long it takes; its rows are text.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn fetch_text(&mut self, sql: String) -> Result<Vec<PgRow>, Error> {
        let liveness = self.liveness();
        let answer = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self.start()?);
        let result = liveness.answer(answer).await;
        self.end(result)
    }

    /// The same for a message whose first statement prepares another, which stays prepared until
    /// [`Self::deallocate`] unless it is kept or forgotten.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn fetch_prepared(
        &mut self,
        name: &Arc<str>,
        sql: String,
    ) -> Result<Vec<PgRow>, Error> {
        let mut is_prepared = false;
        let mut rows = Vec::new();
        let liveness = self.liveness();
        let mut answers = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(self.start()?);
        let answered = async {
            while let Some(answer) = answers.try_next().await? {
                match answer {
                    Either::Left(_) => is_prepared = true,
                    Either::Right(row) => rows.push(row),
                }
            }
            Ok(())
        };
        let result = liveness.answer(answered).await.map(|()| rows);
        drop(answers);
        if is_prepared {
            self.prepared.push(Arc::clone(name));
        }
        self.end(result)
    }

    /// What tells whether the server is still there, while a statement has no answer.
    pub fn liveness(&self) -> Liveness {
        let session = self.object.as_ref().map(|session| (session.host, session.backend));
        let (host, backend) = session.unwrap_or_default();
        Liveness::new(Arc::clone(&self.target), host, backend, self.is_pooled())
    }

    /// Notes that a statement is not prepared any more.
    pub fn forget_prepared(&mut self, name: &str) {
        self.prepared.retain(|prepared| **prepared != *name);
    }

    /// SQL that deallocates what is prepared and of no more use, to follow what ends a transaction.
    pub fn deallocate(&mut self) -> String {
        let statements = self.prepared.drain(..).map(|name| format!("; DEALLOCATE {name}"));
        statements.collect()
    }

    /// Runs SQL without parameters or rows, however long it takes; several statements may be separated
    /// by semicolons.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn execute(&mut self, sql: String) -> Result<(), Error> {
        let liveness = self.liveness();
        let answer = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.start()?);
        let result = liveness.answer(answer).await;
        self.end(result).map(drop)
    }

    /// The server did not answer. What was asked of it may have happened.
    fn unanswered(&self) -> Error {
        Error::timed_out(self.target(), ConnectionProblem::NoAnswer)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let is_clean = !(self.exchanging || self.broken || self.stale || self.in_transaction);
        if !is_clean || self.traces != Traces::default() {
            drop(self.object.take().map(Object::take));
        }
    }
}
