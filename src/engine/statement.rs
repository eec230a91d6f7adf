//! What the engine asks of the database, one statement at a time.

use std::time::Duration;

use super::key::{Columns, IdempotencyKey};
use super::selector::Selector;

/// One statement, and one round trip, on the table of idempotency keys.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Insert a key. Answers its row.
    Create(Columns),
    /// Find the key, or insert the columns when there is none. Answers one row.
    FindOrCreate {
        /// The key looked for.
        key: String,
        /// What is inserted when it is unknown.
        columns: Columns,
    },
    /// Find a key. Answers its row, or none.
    Find(String),
    /// Find what a selector describes. Answers at most two rows: enough to tell one from several.
    Select(Selector),
    /// Take the lock of a key. Answers its row with [`Row::won`], or none when there is no such key.
    Lock {
        /// The key to lock.
        key: String,
        /// How long an earlier lock holds.
        hold: Duration,
    },
    /// Change columns of a key. Answers its row as it is then, or none when there is no such key.
    Update {
        /// The key to change.
        key: String,
        /// What to change.
        columns: Columns,
    },
    /// Lock a key's row until the transaction ends. Answers the row, or none.
    LockRow(String),
}

impl Statement {
    /// The key that the statement is about, where it is about one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Find(key)
            | Self::LockRow(key)
            | Self::FindOrCreate { key, .. }
            | Self::Lock { key, .. }
            | Self::Update { key, .. } => Some(key),
            Self::Create(_) | Self::Select(_) => None,
        }
    }
}

/// A row that a statement answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The key.
    pub key: IdempotencyKey,
    /// Whether the statement got what it competed for. Only [`Statement::Lock`] competes.
    pub won: bool,
}
