//! Single statements on the pool.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgRow;
use tokio::time::{Instant, sleep, timeout_at};

use crate::engine::error::Error;
use crate::engine::postgres::pool::Pool;
use crate::engine::postgres::rows::read;
use crate::engine::protocol::executor::{Executor, Running};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::{Query, Sql};

/// How often a statement that needs what somebody has locked is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Single statements on the pool, each committed when it is answered.
///
/// The server has them wait for a lock for a few milliseconds only. What is locked for longer they wait for here,
/// without a connection: so any number of them wait at once, and hold up nobody who waits for nothing.
#[derive(Clone)]
pub struct PoolExecutor {
    /// The connections.
    pub pool: Arc<Pool>,
    /// The statements' SQL.
    pub sql: Arc<Sql>,
}

impl PoolExecutor {
    /// When a statement that begins now has waited for a lock for as long as it may.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.pool.target().lock_timeout()
    }

    /// The rows of a statement, for which it waits until what it needs is unlocked.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn fetch(&self, query: &Query, deadline: Instant) -> Result<Vec<PgRow>, Error> {
        match self.try_fetch(query).await {
            Err(error) if error.is_lock_timeout() => {
                self.fetch_once_unlocked(query, deadline, error).await
            }
            answer => answer,
        }
    }

    /// The rows of a statement, or the server's refusal because what it needs is locked.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn try_fetch(&self, query: &Query) -> Result<Vec<PgRow>, Error> {
        loop {
            let mut connection = self.pool.connection().await?;
            let rows = connection.fetch(query.clone()).await;
            // Each try closes the connection it was on, so the last one is on a new connection.
            if !connection.stale {
                return rows;
            }
        }
    }

    /// The rows of a statement that was refused because what it needs is locked. It is tried again and again, a
    /// few such at a time.
    ///
    /// # Errors
    /// [`Error::Database`], the refusal if it is still locked at the deadline, and [`Error::Connection`].
    pub async fn fetch_once_unlocked(
        &self,
        query: &Query,
        deadline: Instant,
        mut refusal: Error,
    ) -> Result<Vec<PgRow>, Error> {
        let mut pause = SHORTEST_PAUSE;
        while Instant::now() + pause < deadline {
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            let Ok(_turn) = timeout_at(deadline, self.pool.turn_of_blocked()).await else {
                break;
            };
            match self.try_fetch(query).await {
                Err(error) if error.is_lock_timeout() => refusal = error,
                answer => return answer,
            }
        }
        Err(refusal)
    }
}

impl Executor for PoolExecutor {
    fn commits_each(&self) -> bool {
        true
    }

    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        Box::pin(async move {
            let key = statement.key().map(str::to_owned);
            let rows = self.fetch(&self.sql.write(statement), self.deadline()).await;
            read(&rows.map_err(|error| error.of_statement(key.as_deref()))?, self.pool.target())
        })
    }
}
