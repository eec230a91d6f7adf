//! The operations on a key that are one statement each.

use std::time::Duration;

use ulid::{ULID_LEN, Ulid};
use uuid::Uuid;

use crate::engine::error::Error;
use crate::engine::key::{Columns, FINISHED, Field, IdempotencyKey, StageResult, Text};
use crate::engine::protocol::executor::Executor;
use crate::engine::protocol::lease::Lease;
use crate::engine::protocol::outcome::{Answer, Outcome};
use crate::engine::protocol::selector::Selector;
use crate::engine::protocol::statement::{LeaseChange, Request, Row, Statement};

/// Inserts a key. One that is not given is generated, as is the id. `is_new` says that one that is
/// given was generated for this.
///
/// # Errors
/// [`Error::Database`] with SQLSTATE `23505` when the key exists.
pub async fn create(
    executor: &dyn Executor,
    columns: Columns,
    is_new: bool,
) -> Result<IdempotencyKey, Error> {
    let is_new = (is_new || is_missing(&columns.idempotency_key)) && is_missing(&columns.id);
    let columns = identified(columns);
    let statement = match is_new {
        true => Statement::CreateNew(columns),
        false => Statement::Create(columns),
    };
    only(executor.run(statement).await?).ok_or_else(no_row)
}

/// Finds the key of a request, or inserts a new one: Medusa's semantics, where a key that is not
/// known is replaced by a generated one.
///
/// # Errors
/// As the executor's.
pub async fn initialize_request(
    executor: &dyn Executor,
    header_key: Text,
    request: Request,
) -> Result<Answer, Error> {
    let columns = identified(Columns {
        request_method: Field::Set(request.method),
        request_params: Field::Set(request.params),
        request_path: Field::Set(request.path),
        ..Columns::default()
    });
    let statement = match header_key.filter(|key| !key.is_empty()) {
        Some(key) => Statement::FindOrCreate { key, columns },
        None => Statement::CreateNew(columns),
    };
    let key = only(executor.run(statement).await?).ok_or_else(no_row)?;
    let outcome = (key.recovery_point == FINISHED).then_some(Outcome::Replayed);
    Ok(Answer { key, outcome })
}

/// Finds a key.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn retrieve(executor: &dyn Executor, key: String) -> Result<IdempotencyKey, Error> {
    let rows = executor.run(Statement::Find(key.clone())).await?;
    only(rows).ok_or(Error::NotFound(key))
}

/// Finds the one key that a selector describes.
///
/// # Errors
/// [`Error::NoneSelected`] and [`Error::SeveralSelected`].
pub async fn select(executor: &dyn Executor, selector: Selector) -> Result<IdempotencyKey, Error> {
    let constraints = selector.constraints();
    let rows = executor.run(Statement::Select(selector)).await?;
    if rows.len() > 1 {
        return Err(Error::SeveralSelected(constraints));
    }
    only(rows).ok_or(Error::NoneSelected(constraints))
}

/// Locks a key for `hold`, on the database's clock. Of any number of callers one wins. An attempt that
/// gives its lease may lock the key of the request that it has just begun, once.
///
/// # Errors
/// [`Error::Locked`] for those that do not, [`Error::NotFound`].
pub async fn lock(
    executor: &dyn Executor,
    key: String,
    hold: Duration,
    lease: Option<&Lease>,
) -> Result<IdempotencyKey, Error> {
    let own = lease.and_then(Lease::fresh_token);
    let statement = Statement::Lock { key: key.clone(), hold, own };
    match executor.run(statement).await?.into_iter().next() {
        Some(row) if row.won => {
            if let Some(lease) = lease {
                lease.wrote(&row);
                if executor.commits_each() {
                    lease.settled();
                }
            }
            Ok(row.key)
        }
        Some(_) => Err(Error::Locked),
        None => Err(Error::NotFound(key)),
    }
}

/// Changes columns of a key. An attempt that gives its lease renews it, ends it by finishing the request,
/// and is fenced off once another has taken it over.
///
/// # Errors
/// [`Error::NotFound`], [`Error::LeaseLost`].
pub async fn update(
    executor: &dyn Executor,
    key: String,
    columns: Columns,
    lease: Option<&Lease>,
) -> Result<IdempotencyKey, Error> {
    let fence = lease.and_then(Lease::fence);
    let fenced = fence.is_some();
    let change = lease.map_or(LeaseChange::Keep, |lease| change_by(lease, &columns, fenced));
    let writes = change != LeaseChange::Keep || columns != Columns::default();
    let statement =
        Statement::Update { key: key.clone(), lease: change, columns, location: None, fence };
    let Some(row) = executor.run(statement).await?.into_iter().next() else {
        let known = fenced && !executor.run(Statement::Find(key.clone())).await?.is_empty();
        return Err(if known { Error::LeaseLost(key) } else { Error::NotFound(key) });
    };
    if let Some(lease) = lease.filter(|_| fenced && writes) {
        wrote(executor, lease, &row);
    }
    Ok(row.key)
}

/// Finishes the request of an attempt with an answer. Only the holder of its lease may, and only once.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Finished`] and [`Error::Released`] when the attempt has ended its request
/// already, [`Error::LeaseLost`] when another has taken it over.
pub async fn finish(
    executor: &dyn Executor,
    key: String,
    answer: StageResult,
    lease: &Lease,
) -> Result<IdempotencyKey, Error> {
    let known = lease.known();
    if executor.commits_each() && known.is_released() {
        return Err(Error::Released(key));
    }
    let Some(fence) = known.strict_fence(lease.duration()) else {
        return Err(Error::LeaseLost(key));
    };
    let statement = Statement::Update {
        key: key.clone(),
        lease: LeaseChange::End,
        columns: answer.into(),
        location: None,
        fence: Some(fence),
    };
    if let Some(row) = executor.run(statement).await?.into_iter().next() {
        wrote(executor, lease, &row);
        return Ok(row.key);
    }
    match executor.run(Statement::Find(key.clone())).await?.into_iter().next() {
        Some(row) if row.is_finished() && lease.is_finished() => Err(Error::Finished(key)),
        Some(_) => Err(Error::LeaseLost(key)),
        None => Err(Error::NotFound(key)),
    }
}

/// Notes what an attempt has written.
fn wrote(executor: &dyn Executor, lease: &Lease, row: &Row) {
    lease.wrote(row);
    if executor.commits_each() {
        lease.settled();
        if lease.is_finished() {
            lease.ended();
        }
    }
}

/// What an update does to the lease of the attempt that makes it.
fn change_by(lease: &Lease, columns: &Columns, holds: bool) -> LeaseChange {
    match &columns.recovery_point {
        Field::Set(Some(point)) if holds || point == FINISHED => LeaseChange::on_reaching(point),
        Field::Absent if holds && !lease.is_finished() => LeaseChange::Renew,
        _ => LeaseChange::Keep,
    }
}

/// Finds unfinished keys that nobody works on any more, the oldest first; or only those whose lease ran
/// out.
///
/// # Errors
/// As the executor's.
pub async fn stalled(
    executor: &dyn Executor,
    interrupted: bool,
    older_than: Duration,
    lease: Duration,
    limit: u32,
) -> Result<Vec<IdempotencyKey>, Error> {
    let rows = executor.run(Statement::Stalled { interrupted, older_than, lease, limit }).await?;
    Ok(rows.into_iter().map(|row| row.key).collect())
}

/// A key for the calls that a stage makes to others, such as a payment provider: the same for every
/// try of the stage, another one for every other stage and key. A name-based UUID (RFC 9562, version
/// 5).
pub fn stage_key(key: &str, stage: &str) -> String {
    let of_key = Uuid::new_v5(&STAGES, key.as_bytes());
    Uuid::new_v5(&of_key, stage.as_bytes()).to_string()
}

/// The namespace of [`stage_key`].
const STAGES: Uuid = uuid::uuid!("5c1a1d2e-0f5e-4c58-9d1c-7a2b64a0f3f1");

/// An id for a key, as Medusa's are.
pub fn new_id() -> String {
    let mut buffer = [0; ULID_LEN];
    ["ikey_", Ulid::generate().array_to_str(&mut buffer)].concat()
}

/// A key for a request that came without one.
pub fn new_key() -> String {
    Uuid::new_v4().to_string()
}

/// Generates what identifies a new row where it was not given, or given as `NULL`.
fn identified(mut columns: Columns) -> Columns {
    let has_id = matches!(&columns.id, Field::Set(Some(id)) if !id.is_empty());
    if !has_id {
        columns.id = Field::Set(Some(new_id()));
    }
    if is_missing(&columns.idempotency_key) {
        columns.idempotency_key = Field::Set(Some(new_key()));
    }
    columns
}

fn is_missing(field: &Field) -> bool {
    !matches!(field, Field::Set(Some(_)))
}

fn only(rows: Vec<Row>) -> Option<IdempotencyKey> {
    rows.into_iter().next().map(|row| row.key)
}

/// An INSERT that answers nothing: a trigger or rule of the user's swallowed the row.
fn no_row() -> Error {
    Error::RowSwallowed
}
