//! What the engine asks of the database, one statement at a time.

use std::time::Duration;

use serde::Deserialize;

use crate::engine::key::{Columns, FINISHED, IdempotencyKey, Text};
use crate::engine::protocol::selector::Selector;

/// One statement, and one round trip, on the table of idempotency keys.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Insert a key. Answers its row.
    Create(Columns),
    /// Insert a key that was made for this, as was its id: nobody else has them. Answers its row.
    CreateNew(Columns),
    /// Find the key, or insert the columns when there is none. Answers one row.
    FindOrCreate {
        /// The key looked for.
        key: String,
        /// What is inserted when it is unknown.
        columns: Columns,
    },
    /// Insert a key with a lease, or find the one that exists. Answers its row with [`Row::won`],
    /// [`Row::live`] and [`Row::same`], or none when somebody inserts it at this very moment.
    Initialize(NewRequest),
    /// Insert a key with a lease in a transaction that goes on. Answers its row with [`Row::won`]; or none when the
    /// key exists, or another transaction that goes on has inserted it.
    Begin(NewRequest),
    /// Tell whether the transaction is the one that may begin with a key, as [`Self::Begin`] finds out. Answers a row
    /// with that in [`Row::live`].
    MayBegin(String),
    /// Find the key of a request. Answers its row with [`Row::live`] and [`Row::same`], or none.
    Look(NewRequest),
    /// Take the lease of an unfinished key that nobody holds, whose row nobody has locked, and that
    /// nobody has written since it was seen. Answers its row, or none.
    TakeOver {
        /// The request that goes on with the key.
        new: NewRequest,
        /// What told the lease when the row was seen.
        seen: Token,
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
        /// The earlier lock that does not count, as it is the caller's own.
        own: Option<Token>,
    },
    /// Change columns of a key. Answers its row as it is then, or none when there is no such key, or
    /// none where it was looked for.
    Update {
        /// The key to change.
        key: String,
        /// What to change.
        columns: Columns,
        /// What becomes of the lease, unless the columns say so.
        lease: LeaseChange,
        /// Where to look for the row; anywhere, if it is not given.
        location: Option<RowLocation>,
        /// Who may do it; anybody, if it is not given.
        fence: Option<Fence>,
    },
    /// Change columns of a key, which has to exist: fails with [`Error::NotFound`](crate::engine::error::Error::NotFound)
    /// when it does not. Answers its row as it is then.
    Record {
        /// The key to change.
        key: String,
        /// What to change.
        columns: Columns,
        /// What becomes of the lease.
        lease: LeaseChange,
    },
    /// Lock a key's row until the transaction ends. Answers the row, or none.
    LockRow(String),
    /// Lock a key's row until the transaction ends, unless somebody else has. Answers what it is judged
    /// by ([`Row::claimed`]), or none.
    ClaimRow {
        /// The key.
        key: String,
        /// How long a lease holds.
        lease: Duration,
        /// Where to look for the row; anywhere, if it is not given.
        location: Option<RowLocation>,
    },
    /// Change the lease of an unfinished key, if it is the one that is meant and nobody has locked the
    /// row. Answers its row with [`Row::won`], and in [`Row::live`] whether it is the lease that is meant.
    ChangeLease {
        /// The key.
        key: String,
        /// Which lease is meant.
        which: LeaseOf,
        /// What becomes of the lease.
        action: LeaseAction,
        /// How long a lease holds.
        lease: Duration,
    },
    /// Find unfinished keys without a live lease, the oldest first.
    Stalled {
        /// Only those whose lease ran out: their last attempt neither finished nor released them.
        interrupted: bool,
        /// How long ago their request came, or was heard of last.
        older_than: Duration,
        /// How long a lease holds.
        lease: Duration,
        /// How many to answer at most.
        limit: u32,
    },
}

impl Statement {
    /// The key that the statement is about, where it is about one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Find(key)
            | Self::MayBegin(key)
            | Self::LockRow(key)
            | Self::ClaimRow { key, .. }
            | Self::ChangeLease { key, .. }
            | Self::FindOrCreate { key, .. }
            | Self::Lock { key, .. }
            | Self::Record { key, .. }
            | Self::Update { key, .. } => Some(key),
            Self::Initialize(new)
            | Self::Begin(new)
            | Self::Look(new)
            | Self::TakeOver { new, .. } => Some(&new.key),
            Self::Create(_) | Self::CreateNew(_) | Self::Select(_) | Self::Stalled { .. } => None,
        }
    }
}

/// A request that comes with a key.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// The id of its row, if it is new.
    pub id: String,
    /// The key.
    pub key: String,
    /// What tells it from other requests.
    pub request: Request,
    /// How long a lease holds.
    pub lease: Duration,
}

/// What tells a request from others. What is not known tells nothing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Request {
    /// HTTP method.
    pub method: Text,
    /// Path, as the route sees it.
    pub path: Text,
    /// The route's parameters, as JSON text.
    pub params: Text,
    /// A digest of what the route does not tell. Only where the table has the column for it.
    pub fingerprint: Text,
    /// Whether the headers of a stored answer are asked for. Only where the table has the column for them.
    #[serde(default)]
    pub headers: bool,
}

impl Request {
    /// Which of the optional columns a statement for the request uses.
    pub fn optional_columns(&self) -> OptionalColumns {
        OptionalColumns { fingerprint: self.fingerprint.is_some(), headers: self.headers }
    }
}

/// Which of the columns that Medusa's table does not have a statement for a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OptionalColumns {
    /// The one for fingerprints.
    pub fingerprint: bool,
    /// The one for the headers of answers.
    pub headers: bool,
}

/// What a write does to the lease of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseChange {
    /// Nothing.
    Keep,
    /// It begins anew.
    Renew,
    /// It ends: the request is finished.
    End,
}

/// What is done to a lease by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseAction {
    /// It begins anew.
    Renew,
    /// It ends: the request is released.
    End,
    /// It has run out at once: whoever has it may still be at work.
    Expire,
}

/// Which lease of a key is meant.
#[derive(Clone, Debug)]
pub enum LeaseOf {
    /// The one that has one of these tokens.
    Tokens(Vec<Token>),
    /// Anybody's that has run out.
    Nobody,
}

impl LeaseChange {
    /// What storing this recovery point does to the lease of the one who stores it.
    pub fn on_reaching(recovery_point: &str) -> Self {
        if recovery_point == FINISHED { Self::End } else { Self::Renew }
    }
}

/// Tells a lease from those before and after it: the exact time in `locked_at`, as the server sends
/// it, in hexadecimal. A later lease has another. Without a lease it is the number of the transaction
/// that has written the row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub String);

impl Token {
    /// What the token of a row without a lease begins with; hexadecimal has no such digit.
    pub const WITHOUT_LEASE: char = 'x';

    /// Whether it is of a row without a lease: one that is finished, was released or never had one.
    pub fn is_without_lease(&self) -> bool {
        self.0.starts_with(Self::WITHOUT_LEASE)
    }
}

/// Where in the table a row was seen last, as PostgreSQL's `ctid`. By it a row is found without its
/// index: an index scan in a SERIALIZABLE transaction leaves predicate locks on the index's pages,
/// which abort unrelated requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowLocation(pub String);

/// Who may write: the holder of the lease, or one who knows all that has happened to the key.
#[derive(Clone, Debug)]
pub struct Fence {
    /// The tokens of the holder's lease.
    pub tokens: Vec<Token>,
    /// The last recovery point that the holder knows to be committed. It has to be the row's where
    /// nobody has a lease; and a holder that knows of another does not write to a finished key: a
    /// commit that it has not heard of has finished it.
    pub recovery_point: Option<String>,
    /// How long a lease holds.
    pub lease: Duration,
}

/// A row that a statement answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The key.
    pub key: IdempotencyKey,
    /// Where it is; empty where nothing was asked for but the key.
    pub location: RowLocation,
    /// What tells its lease from others, or, without one, this version of it; empty where nothing was
    /// asked for but the key.
    pub token: Token,
    /// Whether the statement got what it competed for.
    pub won: bool,
    /// Whether its lease still holds.
    pub live: bool,
    /// Whether it is of the request that the statement asked for.
    pub same: bool,
}

impl Row {
    /// Whether the request has its answer.
    pub fn is_finished(&self) -> bool {
        self.key.recovery_point == FINISHED
    }

    /// A row of which no more is known than what a claim is judged by.
    pub fn claimed(
        recovery_point: String,
        location: RowLocation,
        token: Token,
        live: bool,
    ) -> Self {
        let key = IdempotencyKey { recovery_point, ..IdempotencyKey::default() };
        Self { location, token, live, ..Self::from(key) }
    }
}

impl From<IdempotencyKey> for Row {
    /// A row of which no more is known than its key.
    fn from(key: IdempotencyKey) -> Self {
        let (location, token) = (RowLocation(String::new()), Token(String::new()));
        Self { key, location, token, won: true, live: false, same: true }
    }
}
