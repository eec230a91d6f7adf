//! What runs statements.

use std::future::Future;
use std::pin::Pin;

use crate::engine::error::Error;
use crate::engine::protocol::lease::arbiter::Arbiter;
use crate::engine::protocol::statement::{LeaseChange, Row, Statement, Token};
use crate::engine::timestamp::Timestamp;

/// What an executor's methods return: a future that any thread may drive.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// What is known of a row before it is written.
#[derive(Clone, Copy, Debug)]
pub struct LastWrite {
    /// The number of the transaction that writes it, as `xmin` has it.
    pub transaction: u32,
    /// The server's time, by which its lease is renewed; not later than the server has it.
    pub time: Timestamp,
}

impl LastWrite {
    /// The token that the row will have.
    pub fn token(self, lease: LeaseChange) -> Token {
        match lease {
            LeaseChange::Renew => Token(format!("{:016x}", self.time.0)),
            LeaseChange::Keep | LeaseChange::End => {
                Token(format!("{}{}", Token::WITHOUT_LEASE, self.transaction))
            }
        }
    }
}

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

    /// What is known of the row that the executor's transaction writes last, if it is for the executor to commit
    /// that. What is only known from the answer of the commit would not be known of a commit that nobody hears of.
    fn last_write(&self) -> Running<'_, Option<LastWrite>> {
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
