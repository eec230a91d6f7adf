//! Where statements run.

use std::future::Future;
use std::pin::Pin;

use crate::engine::error::Error;
use crate::engine::protocol::statement::{Row, Statement};

/// What a session's methods return: a future that any thread may drive.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A place where statements run, one round trip each: the pool, a transaction of ours, or one of
/// the caller's. The operations know nothing more of it.
pub trait Session: Send + Sync {
    /// Runs one statement and answers its rows.
    ///
    /// # Errors
    /// [`Error::Database`] as the server says it, [`Error::Connection`] when the server cannot be
    /// reached or was lost, [`Error::TransactionEnded`] or [`Error::Closed`] when the session has ended.
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>>;

    /// Whether each statement is committed when it is answered. Else a transaction may still take it
    /// back.
    fn commits_each(&self) -> bool {
        false
    }
}
