//! Statements in a transaction of our own.
//!
//! A transaction is made of *scopes*: the transaction itself, number 0, and one for each savepoint
//! opened in it. Whoever uses the transaction *enters* a scope first, at the moment of the call:
//! that fixes the call's place in the queue for the connection, makes the scope's end wait for it, and is refused
//! once the scope has ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep};

use crate::engine::error::Error;
use crate::engine::execution::savepoints::{release, savepoint, undo};
pub use crate::engine::execution::scopes::ROOT;
use crate::engine::execution::scopes::{Scopes, State};
use crate::engine::execution::transaction_control::refuse_transaction_control;
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::pool::Pool;
use crate::engine::postgres::query;
use crate::engine::postgres::rows::read;
use crate::engine::postgres::value::{Parameter, Rows};
use crate::engine::protocol::executor::{Executor, LastWrite, Running};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::{Isolation, Sql};

/// How long until a transaction begins again whose server has waited for a lock.
const PAUSE: Duration = Duration::from_millis(10);

/// A transaction on a connection of the pool. Dropped before it was ended, it rolls back.
pub struct Transaction {
    connection: Arc<tokio::sync::Mutex<Connection>>,
    sql: Arc<Sql>,
    scopes: Scopes,
    /// A statement has failed: the server may have aborted the transaction.
    statement_failed: AtomicBool,
}

impl Transaction {
    /// A transaction that opens with its first statement.
    ///
    /// # Errors
    /// As [`Pool::stage_connection`].
    pub async fn begin_later(
        pool: &Arc<Pool>,
        sql: Arc<Sql>,
        isolation: Isolation,
    ) -> Result<Arc<Self>, Error> {
        let mut connection = pool.stage_connection().await?;
        connection.begin_later(isolation);
        Ok(Self::on(connection, sql))
    }

    fn on(connection: Connection, sql: Arc<Sql>) -> Arc<Self> {
        Arc::new(Self {
            connection: Arc::new(tokio::sync::Mutex::new(connection)),
            sql,
            scopes: Scopes::new(),
            statement_failed: AtomicBool::new(false),
        })
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// As [`Pool::stage_connection`], and [`Error::Database`] when the server refuses it.
    pub async fn begin(
        pool: &Arc<Pool>,
        sql: Arc<Sql>,
        isolation: Isolation,
    ) -> Result<Arc<Self>, Error> {
        let deadline = Instant::now() + pool.target().lock_timeout();
        let connection = loop {
            let mut connection = pool.stage_connection().await?;
            match connection.begin(isolation).await {
                Ok(()) => break connection,
                Err(_) if connection.stale => {}
                // Not a row: somebody has locked a catalog of the server's.
                Err(error) if error.is_lock_timeout() && Instant::now() < deadline => {
                    drop(connection);
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Self::on(connection, sql))
    }

    /// Enters a scope, for one call.
    ///
    /// # Errors
    /// [`Error::TransactionEnded`] when the scope has ended.
    pub fn enter(self: &Arc<Self>, scope: usize) -> Result<Use, Error> {
        self.scopes.begin_use(scope)?;
        Ok(Use { place: Mutex::new(Some(self.queue_up())), transaction: Arc::clone(self), scope })
    }

    /// Whether a scope takes calls.
    pub fn is_active(&self, scope: usize) -> bool {
        self.scopes.state(scope) == State::Open
    }

    /// Commits, once the calls under way have ended.
    ///
    /// # Errors
    /// [`Error::RolledBack`] when the work rolled back itself; [`Error::Database`] when the
    /// server had aborted the transaction or refuses to commit; [`Error::Connection`] with code
    /// `08007` when the connection is lost, so that the outcome is unknown.
    pub async fn commit(&self) -> Result<(), Error> {
        if self.scopes.state(ROOT) == State::Committed {
            return Ok(());
        }
        self.scopes.end(ROOT, 0).await?;
        let mut connection = self.connection.lock().await;
        if self.statement_failed.load(Ordering::SeqCst) {
            // PostgreSQL answers the COMMIT of an aborted transaction with success and rolls back.
            let deallocate = connection.deallocate();
            connection.control(&format!("SELECT{deallocate}")).await?;
        }
        connection.end_transaction("COMMIT").await.map_err(Error::at_commit)?;
        self.scopes.set_state(ROOT, State::Committed);
        Ok(())
    }

    /// Rolls back. Calls under way are refused or have ended by then.
    ///
    /// # Errors
    /// [`Error::Connection`]: the server rolls back by itself then.
    pub async fn roll_back(&self) -> Result<(), Error> {
        self.scopes.roll_back();
        let mut connection = self.connection.lock().await;
        match connection.in_transaction() {
            true => connection.end_transaction("ROLLBACK").await,
            false => Ok(()),
        }
    }

    /// Ends a savepoint's scope and keeps its effects, or undoes them.
    ///
    /// # Errors
    /// [`Error::RolledBack`] or [`Error::TransactionEnded`] when the scope has ended;
    /// [`Error::OverlappingSavepoints`] when a savepoint opened after this one is still open: two that
    /// overlap without one lying in the other cannot be told apart by the server, so the whole
    /// transaction is rolled back.
    pub async fn end_savepoint(self: &Arc<Self>, scope: usize, keep: bool) -> Result<(), Error> {
        if keep {
            self.scopes.end(scope, 0).await?;
        } else if !self.is_active(scope) {
            return Ok(());
        } else {
            self.scopes.set_state(scope, State::RolledBack);
        }
        let mut connection = self.connection.lock().await;
        if self.scopes.state(ROOT) == State::RolledBack {
            return Err(Error::TransactionEnded);
        }
        if self.scopes.has_open_after(scope) {
            drop(connection);
            self.roll_back().await?;
            return Err(Error::OverlappingSavepoints);
        }
        let ended = match keep {
            true => self.keep(&mut connection, scope).await,
            false => undo(&mut connection, scope).await,
        };
        self.scopes.close(scope, if keep { State::Committed } else { State::RolledBack });
        self.noted(ended)
    }

    /// Keeps the effects of a savepoint. One that cannot be kept is undone, so that what surrounds it
    /// can go on.
    async fn keep(&self, connection: &mut Connection, scope: usize) -> Result<(), Error> {
        match self.noted(connection.control(&release(scope)).await) {
            Err(error) => undo(connection, scope).await.and(Err(error)),
            kept => kept,
        }
    }

    /// Whether the transaction failed for what another connection can do: a change of the table has made a
    /// prepared statement of the engine's useless, or the server takes no writes any more. Its connection is not
    /// used again, so a repetition may succeed.
    pub async fn is_stale(&self) -> bool {
        self.connection.lock().await.stale
    }

    /// Takes a place in the queue for the connection, first come, first served.
    fn queue_up(&self) -> QueuePlace {
        let mut place: QueuePlace = Box::pin(Arc::clone(&self.connection).lock_owned());
        // A place is taken by asking for it: the first poll.
        match place.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Box::pin(std::future::ready(taken)),
            Poll::Pending => place,
        }
    }

    fn noted<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.statement_failed.store(true, Ordering::SeqCst);
        }
        result
    }
}

/// A place in the queue for the connection.
type QueuePlace = Pin<Box<dyn Future<Output = OwnedMutexGuard<Connection>> + Send>>;

/// A call under way in a scope of a transaction.
pub struct Use {
    transaction: Arc<Transaction>,
    scope: usize,
    /// The call's place in the queue; a call of several statements queues up again for each.
    place: Mutex<Option<QueuePlace>>,
}

impl Use {
    /// Runs a statement of the caller's own.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::TransactionControl`] for a statement that would end the
    /// transaction behind its back.
    pub async fn query(self, sql: String, parameters: Vec<Parameter>) -> Result<Rows, Error> {
        refuse_transaction_control(&sql)?;
        let mut connection = self.connection().await?;
        connection.begin_now().await?;
        let keeps = self.scope == ROOT && !self.transaction.scopes.has_open_after(ROOT);
        let result = Box::pin(query::run(&mut connection, sql, parameters, keeps)).await;
        self.transaction.noted(result)
    }

    /// Opens a savepoint and answers the number of its scope.
    ///
    /// # Errors
    /// [`Error::Database`] when the server has aborted the transaction.
    pub async fn savepoint(self) -> Result<usize, Error> {
        let mut connection = self.connection().await?;
        let transaction = Arc::clone(&self.transaction);
        connection.begin_now().await?;
        // The connection is ours until the scope is there, so nobody takes the same number.
        let scope = transaction.scopes.next();
        transaction.noted(connection.control(&savepoint(scope)).await)?;
        // If its parent was rolled back meanwhile, the savepoint went with it.
        transaction.scopes.open(self.scope)?;
        Ok(scope)
    }

    /// Runs the transaction's last statement and commits, once the other calls under way have ended.
    ///
    /// # Errors
    /// As [`Transaction::commit`], and the statement's.
    pub async fn commit_after(&self, statement: Statement) -> Result<Vec<Row>, Error> {
        let transaction = &self.transaction;
        transaction.scopes.end(ROOT, 1).await?;
        let key = statement.key().map(str::to_owned);
        let query = transaction.sql.write(statement);
        let mut connection = transaction.connection.lock().await;
        let rows = connection.commit_after(query).await;
        let rows = rows.map_err(|error| error.at_commit().of_statement(key.as_deref()))?;
        transaction.scopes.set_state(ROOT, State::Committed);
        read(&rows, connection.target())
    }

    /// What is known of the row that the transaction writes last.
    pub async fn last_write(&self) -> Option<LastWrite> {
        self.transaction.connection.lock().await.last_write()
    }

    async fn connection(&self) -> Result<OwnedMutexGuard<Connection>, Error> {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let place = place.unwrap_or_else(|| self.transaction.queue_up());
        let connection = place.await;
        match self.transaction.scopes.state(self.scope) {
            State::Open | State::Ending => Ok(connection),
            State::Committed | State::RolledBack => Err(Error::TransactionEnded),
        }
    }
}

impl Executor for Use {
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        Box::pin(async move {
            let key = statement.key().map(str::to_owned);
            let query = self.transaction.sql.write(statement);
            let mut connection = self.connection().await?;
            let rows = self.transaction.noted(connection.fetch(query).await);
            read(&rows.map_err(|error| error.of_statement(key.as_deref()))?, connection.target())
        })
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.transaction.scopes.end_use(self.scope);
    }
}
