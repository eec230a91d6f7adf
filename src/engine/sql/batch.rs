//! How the statements of many callers are written as one.
//!
//! A batch's values go as arrays of text, one array a column, and are cast as in a single statement: the
//! server judges each value as it would judge it alone. The text depends on the kind of the batch only, never on
//! its size, so that it is prepared once a connection.
//!
//! No batch waits for a row that somebody has locked: it skips the row, and answers so. What it has to wait for
//! none the less, such as the end of a transaction that inserts the same key, it waits for 20 ms; then it
//! fails and its statements are run apart.

use std::sync::Arc;

use crate::engine::key::{Column, ColumnSet, Columns, Field};
use crate::engine::protocol::statement::{
    LeaseChange, NewRequest, OptionalColumns, Statement, Token,
};
use crate::engine::sql::fragments::{interval, tokens};
use crate::engine::sql::{Sql, create, find, find_or_create, initialize, lock, take_over, update};

/// What statements have in common that can be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Statement::Create`] or [`Statement::CreateNew`] of the same columns.
    Create {
        /// Which columns.
        columns: ColumnSet,
        /// Whether the keys were made for this.
        is_new: bool,
    },
    /// [`Statement::FindOrCreate`] of the same columns.
    FindOrCreate {
        /// Which columns.
        columns: ColumnSet,
    },
    /// [`Statement::Initialize`] with the same optional columns.
    Initialize(OptionalColumns),
    /// [`Statement::Look`] with the same optional columns.
    Look(OptionalColumns),
    /// [`Statement::TakeOver`], with or without a fingerprint.
    TakeOver(bool),
    /// [`Statement::Find`], and an update of nothing.
    Find,
    /// [`Statement::Lock`].
    Lock,
    /// [`Statement::Update`] of the same columns.
    Update {
        /// Which columns.
        columns: ColumnSet,
        /// What becomes of the lease.
        lease: LeaseChange,
        /// Whether it has a fence.
        fenced: bool,
        /// Whether it stores headers.
        headers: bool,
    },
    /// A statement that keeps its turn among those about its key, but is none of the others.
    Single,
}

impl Kind {
    /// The kind of a statement, or none if it is not about the turn of a key.
    pub fn of(statement: &Statement) -> Option<Self> {
        match statement {
            Statement::Create(columns) => {
                let kind = Self::Create { columns: columns.named(), is_new: false };
                matches!(columns.idempotency_key, Field::Set(Some(_))).then_some(kind)
            }
            Statement::CreateNew(columns) => {
                Some(Self::Create { columns: columns.named(), is_new: true })
            }
            Statement::FindOrCreate { columns, .. } => {
                Some(Self::FindOrCreate { columns: columns.named() })
            }
            Statement::Initialize(new) => Some(Self::Initialize(new.request.optional_columns())),
            Statement::Look(new) => Some(Self::Look(new.request.optional_columns())),
            Statement::TakeOver { new, .. } => {
                Some(Self::TakeOver(new.request.fingerprint.is_some()))
            }
            Statement::Find(_) => Some(Self::Find),
            Statement::Lock { .. } => Some(Self::Lock),
            Statement::Update { columns, lease, location: None, fence, .. } => {
                Some(Self::of_update(columns, *lease, fence.is_some()))
            }
            Statement::Update { .. }
            | Statement::Begin(_)
            | Statement::MayBegin(_)
            | Statement::Record { .. }
            | Statement::Select(_)
            | Statement::LockRow(_)
            | Statement::ClaimRow { .. }
            | Statement::ChangeLease { .. }
            | Statement::Stalled { .. } => None,
        }
    }

    /// Whether its statements change nothing.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Find | Self::Look(_))
    }

    fn of_update(columns: &Columns, lease: LeaseChange, fenced: bool) -> Self {
        if columns.id != Field::Absent || columns.idempotency_key != Field::Absent {
            return Self::Single;
        }
        let headers = columns.response_headers.is_some();
        match (columns.named(), lease) {
            (columns, LeaseChange::Keep) if columns.is_empty() && !headers => Self::Find,
            (columns, lease) => Self::Update { columns, lease, fenced, headers },
        }
    }
}

/// Writes the statement for a batch of a kind. Its rows are those of the single statements with their number in
/// the batch before them; see `create.rs` for new keys. What only answers a key answers no more of the row.
pub fn text(sql: &Sql, kind: Kind) -> Arc<str> {
    let table = &sql.table;
    match kind {
        Kind::Create { columns, is_new } => create::batch(table, columns, is_new),
        Kind::FindOrCreate { columns } => find_or_create::batch(table, columns),
        Kind::Initialize(optional) => initialize::batch(table, optional),
        Kind::Look(optional) => initialize::look_batch(table, optional),
        Kind::TakeOver(fingerprint) => take_over::batch(table, fingerprint),
        // A single statement goes as it is.
        Kind::Find | Kind::Single => find::batch(table),
        Kind::Lock => lock::batch(table),
        Kind::Update { columns, lease, fenced, headers } => {
            update::batch(table, columns, lease, fenced, headers)
        }
    }
}

/// The columns of a key that a batch answers, after the number or the id.
pub fn answered(kind: Kind) -> ColumnSet {
    match kind {
        Kind::Create { columns, .. } => create::answered(columns),
        _ => ColumnSet::ALL,
    }
}

/// A column of a batch's input, borrowed from its statements where it can be.
pub enum Array<'a> {
    /// As the statements have it.
    Borrowed(Vec<Option<&'a str>>),
    /// Made for the batch.
    Owned(Vec<Option<String>>),
}

/// The arrays of a batch, in the order in which the statement of its kind numbers them.
pub fn arrays<'a>(kind: Kind, batch: &[&'a Statement]) -> Vec<Array<'a>> {
    match kind {
        Kind::Create { columns, .. } => values(batch, columns),
        Kind::FindOrCreate { columns } => {
            std::iter::once(keys(batch)).chain(values(batch, columns)).collect()
        }
        Kind::Initialize(optional) | Kind::Look(optional) => {
            of_requests(batch, optional.fingerprint)
        }
        Kind::TakeOver(fingerprint) => of_requests(batch, fingerprint),
        Kind::Find | Kind::Single => vec![keys(batch)],
        Kind::Lock => of_locks(batch),
        Kind::Update { columns, fenced, headers, .. } => {
            of_updates(batch, columns, fenced, headers)
        }
    }
}

fn keys<'a>(batch: &[&'a Statement]) -> Array<'a> {
    Array::Borrowed(batch.iter().map(|statement| statement.key()).collect())
}

fn value(field: &Field) -> Option<&str> {
    match field {
        Field::Absent => None,
        Field::Set(value) => value.as_deref(),
    }
}

/// The values of the columns that the statements name.
fn values<'a>(batch: &[&'a Statement], columns: ColumnSet) -> Vec<Array<'a>> {
    let of_column = |column: Column| {
        let values = batch.iter().map(|statement| match statement {
            Statement::Create(columns)
            | Statement::CreateNew(columns)
            | Statement::FindOrCreate { columns, .. }
            | Statement::Update { columns, .. } => value(columns.get(column)),
            _ => None,
        });
        Array::Borrowed(values.collect())
    };
    columns.iter().map(of_column).collect()
}

/// The requests, each with the id that it inserts or the token of the row that it takes over.
fn of_requests<'a>(batch: &[&'a Statement], fingerprint: bool) -> Vec<Array<'a>> {
    let requests: Vec<(&'a NewRequest, &'a str)> = batch
        .iter()
        .filter_map(|statement| match statement {
            Statement::Initialize(new) | Statement::Look(new) => Some((new, new.id.as_str())),
            Statement::TakeOver { new, seen: Token(token) } => Some((new, token.as_str())),
            _ => None,
        })
        .collect();
    let column = |pick: fn(&NewRequest) -> Option<&str>| {
        Array::Borrowed(requests.iter().map(|(new, _)| pick(new)).collect())
    };
    let mut arrays = vec![
        column(|new| Some(&new.key)),
        column(|new| new.request.method.as_deref()),
        column(|new| new.request.path.as_deref()),
        column(|new| new.request.params.as_deref()),
        Array::Owned(requests.iter().map(|(new, _)| Some(interval(new.lease))).collect()),
        Array::Borrowed(requests.iter().map(|(_, id_or_token)| Some(*id_or_token)).collect()),
    ];
    arrays.extend(fingerprint.then(|| column(|new| new.request.fingerprint.as_deref())));
    arrays
}

fn of_locks<'a>(batch: &[&'a Statement]) -> Vec<Array<'a>> {
    let (holds, own) = batch
        .iter()
        .map(|statement| match statement {
            Statement::Lock { hold, own, .. } => {
                (Some(interval(*hold)), own.as_ref().map(|Token(token)| token.as_str()))
            }
            _ => (None, None),
        })
        .unzip();
    vec![keys(batch), Array::Owned(holds), Array::Borrowed(own)]
}

fn of_updates<'a>(
    batch: &[&'a Statement],
    columns: ColumnSet,
    fenced: bool,
    headers: bool,
) -> Vec<Array<'a>> {
    let mut arrays = vec![keys(batch)];
    arrays.extend(values(batch, columns));
    if headers {
        let headers = batch.iter().map(|statement| match statement {
            Statement::Update { columns, .. } => columns.response_headers.as_deref(),
            _ => None,
        });
        arrays.push(Array::Borrowed(headers.collect()));
    }
    if fenced {
        let fences = || {
            batch.iter().filter_map(|statement| match statement {
                Statement::Update { fence, .. } => fence.as_ref(),
                _ => None,
            })
        };
        let held = fences().map(|fence| Some(tokens(&fence.tokens)));
        arrays.extend([
            Array::Owned(held.collect()),
            Array::Owned(fences().map(|fence| Some(interval(fence.lease))).collect()),
            Array::Borrowed(fences().map(|fence| fence.recovery_point.as_deref()).collect()),
        ]);
    }
    arrays
}
