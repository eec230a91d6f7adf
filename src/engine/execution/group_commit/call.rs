//! One caller's statement in the queue, and what becomes of it.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::queue::{Flight, Turn};
use crate::engine::error::Error;
use crate::engine::key::Field;
use crate::engine::protocol::statement::{Row, Statement};

/// A call that waits for its answer.
pub struct Call {
    /// What it asks for.
    pub statement: Box<Statement>,
    /// Its turn at its key; none for a call that has given it up to wait for the key's row.
    pub turn: Option<Turn>,
    /// Whether it must not wait for its row: it goes as a batch even if it is the only one.
    pub skips: bool,
    /// Its size in bytes.
    pub bytes: usize,
    /// When it came, as a number.
    pub number: u64,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
    /// Its room in the queue.
    pub room: Option<OwnedSemaphorePermit>,
}

/// What becomes of a call.
pub enum Answer {
    /// It is answered.
    Done(Result<Vec<Row>, Error>),
    /// A batch is no place for it: its caller runs it alone, while it is its turn.
    Alone(Box<Statement>, Option<Turn>, Option<Flight>),
    /// Somebody has locked its key's row.
    RowLocked(Box<Statement>, Option<Turn>),
}

/// The key at which a statement takes its turn: that of a new one, too.
pub fn key(statement: &Statement) -> Option<&str> {
    match statement {
        Statement::Create(columns) | Statement::CreateNew(columns) => {
            match &columns.idempotency_key {
                Field::Set(key) => key.as_deref(),
                Field::Absent => None,
            }
        }
        other => other.key(),
    }
}

/// Tells that key from others.
pub fn hash(statement: &Statement) -> u64 {
    let mut hasher = DefaultHasher::new();
    key(statement).hash(&mut hasher);
    hasher.finish()
}

/// About how many bytes a statement sends.
pub fn size(statement: &Statement) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let columns = match statement {
        Statement::Create(columns)
        | Statement::CreateNew(columns)
        | Statement::FindOrCreate { columns, .. }
        | Statement::Update { columns, .. } => columns,
        Statement::Initialize(new) | Statement::TakeOver { new, .. } => {
            return new.key.len() + text(&new.request.path) + text(&new.request.params);
        }
        other => return other.key().map_or(0, str::len),
    };
    let fields = columns.by_order().into_iter();
    fields
        .map(|field| match field {
            Field::Set(value) => text(value),
            Field::Absent => 0,
        })
        .sum()
}
