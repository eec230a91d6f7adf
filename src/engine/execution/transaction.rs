//! Statements in a transaction of our own.
//!
//! A transaction is made of *scopes*: the transaction itself, number 0, and one for each savepoint
//! opened in it. Whoever uses the transaction *enters* a scope first, at the moment of the call:
//! that fixes the call's turn on the connection, makes the scope's end wait for it, and is refused
//! once the scope has ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::{Notify, OwnedMutexGuard};

use crate::engine::error::Error;
use crate::engine::execution::transaction_control::refuse_transaction_control;
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::pool::Pool;
use crate::engine::postgres::query;
use crate::engine::postgres::rows::read;
use crate::engine::postgres::value::{Parameter, Rows};
use crate::engine::protocol::executor::{Executor, Running};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::{Isolation, Sql};

type Turn = OwnedMutexGuard<Connection>;

/// A transaction on a connection of the pool. Dropped before it was ended, it rolls back.
pub struct Transaction {
    connection: Arc<tokio::sync::Mutex<Connection>>,
    sql: Arc<Sql>,
    scopes: Mutex<Vec<Scope>>,
    use_ended: Notify,
    /// A statement has failed: the server may have aborted the transaction.
    statement_failed: AtomicBool,
}

/// The scope of a transaction that is the transaction itself.
pub const ROOT: usize = 0;

struct Scope {
    state: State,
    /// Calls under way.
    uses: usize,
    /// A savepoint is a call under way in the scope that it was opened in.
    parent: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// Waits for the calls under way, takes no new ones.
    Ending,
    Committed,
    RolledBack,
}

impl Transaction {
    /// Opens a transaction.
    ///
    /// # Errors
    /// As [`Pool::stage_connection`].
    pub async fn begin(
        pool: &Arc<Pool>,
        sql: Arc<Sql>,
        isolation: Isolation,
    ) -> Result<Arc<Self>, Error> {
        let mut connection = pool.stage_connection().await?;
        connection.in_transaction = true;
        connection.control(isolation.begin()).await?;
        Ok(Arc::new(Self {
            connection: Arc::new(tokio::sync::Mutex::new(connection)),
            sql,
            scopes: Mutex::new(vec![Scope::open(None)]),
            use_ended: Notify::new(),
            statement_failed: AtomicBool::new(false),
        }))
    }

    /// Enters a scope, for one call.
    ///
    /// # Errors
    /// [`Error::UnexpectedState`] when the scope has ended.
    pub fn enter(self: &Arc<Self>, scope: usize) -> Result<Use, Error> {
        let mut scopes = self.scopes();
        match scopes.get_mut(scope) {
            Some(scope) if scope.state == State::Open => scope.uses += 1,
            _ => return Err(Error::transaction_ended()),
        }
        drop(scopes);
        Ok(Use { turn: Mutex::new(Some(self.queue_up())), transaction: Arc::clone(self), scope })
    }

    /// Whether a scope takes calls.
    pub fn is_active(&self, scope: usize) -> bool {
        self.state(scope) == State::Open
    }

    /// Commits, once the calls under way have ended.
    ///
    /// # Errors
    /// [`Error::UnexpectedState`] when the work rolled back itself; [`Error::Database`] when the
    /// server had aborted the transaction or refuses to commit; [`Error::Connection`] with code
    /// `08007` when the connection is lost, so that the outcome is unknown.
    pub async fn commit(&self) -> Result<(), Error> {
        self.end_scope(ROOT).await?;
        let mut connection = self.connection.lock().await;
        if self.statement_failed.load(Ordering::SeqCst) {
            // PostgreSQL answers the COMMIT of an aborted transaction with success and rolls back.
            let deallocate = connection.deallocate();
            connection.control(&format!("SELECT{deallocate}")).await?;
        }
        connection.control("COMMIT").await.map_err(Error::at_commit)?;
        connection.in_transaction = false;
        self.set_state(ROOT, State::Committed);
        Ok(())
    }

    /// Rolls back. Calls under way are refused or have ended by then.
    ///
    /// # Errors
    /// [`Error::Connection`]: the server rolls back by itself then.
    pub async fn roll_back(&self) -> Result<(), Error> {
        for scope in self.scopes().iter_mut() {
            scope.state = State::RolledBack;
        }
        self.use_ended.notify_waiters();
        let mut connection = self.connection.lock().await;
        if !connection.in_transaction {
            return Ok(());
        }
        let deallocate = connection.deallocate();
        connection.control(&format!("ROLLBACK{deallocate}")).await?;
        connection.in_transaction = false;
        Ok(())
    }

    /// Ends a savepoint's scope and keeps its effects, or undoes them.
    ///
    /// # Errors
    /// [`Error::UnexpectedState`] when the scope has ended, or when a savepoint opened after this
    /// one is still open: two that overlap without one lying in the other cannot be told apart by
    /// the server, so the whole transaction is rolled back.
    pub async fn end_savepoint(self: &Arc<Self>, scope: usize, keep: bool) -> Result<(), Error> {
        if keep {
            self.end_scope(scope).await?;
        } else if !self.is_active(scope) {
            return Ok(());
        } else {
            self.set_state(scope, State::RolledBack);
        }
        let mut connection = self.connection.lock().await;
        if self.state(ROOT) == State::RolledBack {
            return Err(Error::transaction_ended());
        }
        if self.has_open_savepoint_after(scope) {
            drop(connection);
            self.roll_back().await?;
            return Err(overlapping_savepoints());
        }
        let ended = if keep {
            let kept = connection.control(&release(scope)).await;
            // A savepoint that cannot be kept is undone, so that what surrounds it can go on.
            match self.noted(kept) {
                Err(error) => undo(&mut connection, scope).await.and(Err(error)),
                kept => kept,
            }
        } else {
            undo(&mut connection, scope).await
        };
        self.set_state(scope, if keep { State::Committed } else { State::RolledBack });
        let parent = self.scopes().get(scope).and_then(|scope| scope.parent);
        if let Some(parent) = parent {
            self.leave(parent);
        }
        self.noted(ended)
    }

    async fn end_scope(&self, scope: usize) -> Result<(), Error> {
        if self.state(scope) != State::Open {
            return Err(Error::UnexpectedState {
                code: "transaction_ended",
                message: "the transaction was rolled back inside its own callback: \
                          nothing was committed"
                    .to_owned(),
            });
        }
        self.set_state(scope, State::Ending);
        loop {
            let mut ended = std::pin::pin!(self.use_ended.notified());
            ended.as_mut().enable();
            match self.scopes().get(scope) {
                Some(scope) if scope.state == State::RolledBack => {
                    return Err(Error::transaction_ended());
                }
                Some(scope) if scope.uses > 0 => {}
                _ => return Ok(()),
            }
            ended.await;
        }
    }

    /// Whether the transaction failed for a prepared statement of the engine's that a change of the
    /// table has made useless. Its connection is not used again, so a repetition succeeds.
    pub async fn is_stale(&self) -> bool {
        self.connection.lock().await.stale
    }

    fn has_open_savepoint_after(&self, scope: usize) -> bool {
        let scopes = self.scopes();
        let mut later = scopes.iter().skip(scope + 1);
        later.any(|scope| matches!(scope.state, State::Open | State::Ending))
    }

    /// Takes a place in the queue for the connection, first come, first served.
    fn queue_up(&self) -> Waiting {
        let mut turn: Waiting = Box::pin(Arc::clone(&self.connection).lock_owned());
        // A place is taken by asking for it: the first poll.
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Box::pin(std::future::ready(taken)),
            Poll::Pending => turn,
        }
    }

    /// Ends a call in a scope.
    fn leave(&self, scope: usize) {
        if let Some(scope) = self.scopes().get_mut(scope) {
            scope.uses -= 1;
        }
        self.use_ended.notify_waiters();
    }

    fn noted<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.statement_failed.store(true, Ordering::SeqCst);
        }
        result
    }

    fn state(&self, scope: usize) -> State {
        let scopes = self.scopes();
        scopes.get(scope).map_or(State::RolledBack, |scope| scope.state)
    }

    fn set_state(&self, scope: usize, state: State) {
        if let Some(scope) = self.scopes().get_mut(scope) {
            scope.state = state;
        }
    }

    fn scopes(&self) -> MutexGuard<'_, Vec<Scope>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    fn open(parent: Option<usize>) -> Self {
        Self { state: State::Open, uses: 0, parent }
    }
}

fn savepoint(scope: usize) -> String {
    format!("SAVEPOINT scope_{scope}")
}

fn release(scope: usize) -> String {
    format!("RELEASE {}", savepoint(scope))
}

async fn undo(connection: &mut Connection, scope: usize) -> Result<(), Error> {
    let deallocate = connection.deallocate();
    let undo = format!("ROLLBACK TO {}; {}{deallocate}", savepoint(scope), release(scope));
    connection.control(&undo).await
}

fn overlapping_savepoints() -> Error {
    Error::UnexpectedState {
        code: "overlapping_savepoints",
        message: "two nested transactions of one manager overlapped, so the whole transaction was \
                  rolled back: await one before the next begins"
            .to_owned(),
    }
}

type Waiting = Pin<Box<dyn Future<Output = Turn> + Send>>;

/// A call under way in a scope of a transaction.
pub struct Use {
    transaction: Arc<Transaction>,
    scope: usize,
    /// The call's place in the queue; a call of several statements queues up again for each.
    turn: Mutex<Option<Waiting>>,
}

impl Use {
    /// Runs a statement of the caller's own.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::InvalidArgument`] for a statement that would end the
    /// transaction behind its back.
    pub async fn query(self, sql: String, parameters: Vec<Parameter>) -> Result<Rows, Error> {
        refuse_transaction_control(&sql)?;
        let mut connection = self.turn().await?;
        let result = query::run(&mut connection, sql, parameters).await;
        self.transaction.noted(result)
    }

    /// Opens a savepoint and answers the number of its scope.
    ///
    /// # Errors
    /// [`Error::Database`] when the server has aborted the transaction.
    pub async fn savepoint(self) -> Result<usize, Error> {
        let mut connection = self.turn().await?;
        let transaction = Arc::clone(&self.transaction);
        // The connection is ours until the scope is there, so nobody takes the same number.
        let scope = transaction.scopes().len();
        let opened = connection.control(&savepoint(scope)).await;
        transaction.noted(opened)?;
        let mut scopes = transaction.scopes();
        match scopes.get_mut(self.scope) {
            Some(parent) if parent.state != State::RolledBack => parent.uses += 1,
            // It was rolled back while the savepoint was on its way, and will take it along.
            _ => return Err(Error::transaction_ended()),
        }
        scopes.push(Scope::open(Some(self.scope)));
        Ok(scope)
    }

    async fn turn(&self) -> Result<Turn, Error> {
        let waiting = self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
        let waiting = waiting.unwrap_or_else(|| self.transaction.queue_up());
        let connection = waiting.await;
        match self.transaction.state(self.scope) {
            State::Open | State::Ending => Ok(connection),
            State::Committed | State::RolledBack => Err(Error::transaction_ended()),
        }
    }
}

impl Executor for Use {
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        Box::pin(async move {
            let key = statement.key().map(str::to_owned);
            let query = self.transaction.sql.write(statement);
            let mut connection = self.turn().await?;
            let rows = self.transaction.noted(connection.fetch(query).await);
            read(&rows.map_err(|error| error.of_statement(key.as_deref()))?, connection.target())
        })
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.transaction.leave(self.scope);
    }
}
