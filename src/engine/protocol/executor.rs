//! What runs statements.

use std::future::Future;
use std::pin::Pin;

use crate::engine::error::Error;
use crate::engine::protocol::lease::arbiter::Arbiter;
use crate::engine::protocol::statement::{Row, Statement, Token};

/// What an executor's methods return: a future that any thread may drive.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Runs statements, one round trip each: on the pool, in a transaction of the engine's, or in one of the
/// caller's. The operations know nothing more of it.
pub trait Executor: Send + Sync {
    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// [`Error::Database`] as the server says it, [`Error::Connection`] when the server cannot be
    /// reached or was lost, [`Error::TransactionEnded`] or [`Error::Closed`] when it has ended.
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>>;

    /// Whether each statement is committed when it is answered. Otherwise a transaction may still undo it.
    fn commits_each(&self) -> bool {
        false
    }

    /// Runs a statement as the last of its transaction, and commits that.
    ///
    /// # Errors
    /// As [`Self::run`], and those of the commit.
    fn commit_after(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        self.run(statement)
    }

    /// The token of a row without a lease that the executor's transaction writes last, if it is for the executor to
    /// commit that. What is only known from the answer of the commit would not be known of a commit that nobody
    /// hears of.
    fn version(&self) -> Running<'_, Option<Token>> {
        Box::pin(async { Ok(None) })
    }

    /// Waits for the end of the change of a lease that is under way: see [`Arbiter::try_enter`].
    ///
    /// # Errors
    /// As [`Self::run`].
    fn wait_for_change<'a>(&'a self, arbiter: &'a Arbiter) -> Running<'a, ()> {
        Box::pin(async {
            arbiter.change_ended().await;
            Ok(())
        })
    }
}
