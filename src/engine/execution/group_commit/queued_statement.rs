//! A caller's statement in the queue, and its answer.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::oneshot;

use super::access_mode::AccessMode;
use super::guards::{InFlightSlot, KeyPermit};
use crate::engine::error::Error;
use crate::engine::key::{Column, Field};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::batch::Kind;

/// A statement that waits for its answer.
pub struct QueuedStatement {
    /// The statement.
    pub statement: Box<Statement>,
    /// Its kind.
    pub kind: Kind,
    /// Which others about its key it may run with.
    pub mode: AccessMode,
    /// The hash of its key.
    pub key: u64,
    /// The permit of its key; none for a statement that has given it up to wait for the key's row.
    pub permit: Option<KeyPermit>,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its number in the order of arrival.
    pub number: u64,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

impl QueuedStatement {
    /// A statement that has just arrived, and where its answer is received.
    pub fn new(kind: Kind, statement: Box<Statement>) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let queued = Self {
            mode: AccessMode::of(kind, &statement),
            key: hash(&statement),
            bytes: size(&statement),
            statement,
            kind,
            permit: None,
            number: 0,
            reply,
        };
        (queued, answer)
    }
}

/// What a caller gets for its statement.
pub enum Answer {
    /// The statement's result.
    Done(Result<Vec<Row>, Error>),
    /// The caller has to run it as a single statement, while it has the permit.
    Single(Box<Statement>, Option<KeyPermit>, Option<InFlightSlot>),
    /// The row of its key is locked by another transaction: the refusal.
    Locked(Box<Statement>, Option<KeyPermit>, Error),
}

/// The key whose permit a statement needs: that of a new one, too.
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

/// The hash of that key.
fn hash(statement: &Statement) -> u64 {
    let mut hasher = DefaultHasher::new();
    key(statement).hash(&mut hasher);
    hasher.finish()
}

/// About how many bytes a statement sends.
fn size(statement: &Statement) -> usize {
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
    let fields = Column::ALL.into_iter().map(|column| columns.get(column));
    let fields = fields.map(|field| match field {
        Field::Set(value) => text(value),
        Field::Absent => 0,
    });
    fields.sum::<usize>() + text(&columns.response_headers)
}
