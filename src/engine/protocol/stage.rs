//! Work stages: lock the row, run the work, store its result.

use std::future::Future;
use std::sync::Arc;

use crate::engine::error::Error;
use crate::engine::key::{Columns, FINISHED, Field, IdempotencyKey, StageResult};
use crate::engine::protocol::executor::Executor;
use crate::engine::protocol::lease::{self, Lease, LeaseKnowledge, Standing};
use crate::engine::protocol::outcome::{Answer, Outcome};
use crate::engine::protocol::request::LOOKS;
use crate::engine::protocol::statement::{LeaseChange, NewRequest, Row, RowLocation, Statement};

/// Who wants to run a stage.
#[derive(Clone)]
pub enum Claimant {
    /// Anyone whom the row lets in, one after the other: Medusa's semantics.
    Anyone,
    /// The attempt that holds the lease, or takes over a key that nobody holds; and with a recovery
    /// point only while the key is still there.
    LeaseHolder(Arc<Lease>, Option<String>),
}

/// Runs one stage of a key's request in the transaction of `executor`.
///
/// The key's row is locked first: an unknown key is refused before any work is done, and two stages
/// of one key never overlap. What the work did and the key's new state commit together.
///
/// # Errors
/// [`Error::NotFound`], the work's own, and, depending on the claimant, [`Error::Busy`] when another stage
/// of the key runs for longer than `lock_timeout`, or [`Error::InUse`] and [`Error::LeaseLost`].
pub async fn run<W>(
    executor: &dyn Executor,
    key: &str,
    claimant: &Claimant,
    work: W,
) -> Result<Answer, Error>
where
    W: Future<Output = Result<StageResult, Error>>,
{
    match claimant {
        Claimant::Anyone => {
            let locked = executor.run(Statement::LockRow(key.to_owned())).await?;
            if locked.is_empty() {
                return Err(Error::NotFound(key.to_owned()));
            }
            let result = work.await?;
            let (columns, keep) = (Columns::from(result), LeaseChange::Keep);
            let row = match executor.last_write().await? {
                Some(_) => write_last(executor, key, columns, keep).await?,
                None => record(executor, key, columns, keep, None).await?,
            };
            Ok(Answer::new(row.key, Outcome::Ran))
        }
        Claimant::LeaseHolder(lease, recovery_point) => {
            let _use = lease::enter(executor, lease).await?;
            let location = match claim(executor, key, lease, recovery_point.as_deref()).await? {
                Claim::Granted(location) => location,
                Claim::Passed(answer) => return Ok(*answer),
            };
            let row = settle(executor, key, lease, work.await?, location).await?;
            Ok(Answer::new(row.key, Outcome::Ran))
        }
    }
}

/// Runs the first stage of a new request in the transaction of `executor`, which inserts its key, too: nobody else
/// sees the request before its first stage is committed, and nothing is left of one that fails.
///
/// # Errors
/// [`Error::InUse`] when the key exists, or another request is about to begin with it; [`Error::RowSwallowed`] when
/// the database stores no row for it; [`Error::Busy`] when another transaction has locked what this needs; the work's
/// own.
pub async fn run_first<W, F>(
    executor: &dyn Executor,
    new: NewRequest,
    lease: &Lease,
    work: W,
) -> Result<Answer, Error>
where
    W: FnOnce(IdempotencyKey) -> F,
    F: Future<Output = Result<StageResult, Error>>,
{
    let _use = lease::enter(executor, lease).await?;
    let key = new.key.clone();
    let row = inserted(executor, new).await?;
    lease.begins(&row);
    let location = row.location.clone();
    let result = work(row.key).await?;
    let row = settle(executor, &key, lease, result, location).await?;
    Ok(Answer::new(row.key, Outcome::Begun))
}

/// Inserts the key of a new request.
async fn inserted(executor: &dyn Executor, new: NewRequest) -> Result<Row, Error> {
    let key = new.key.clone();
    for _ in 0..=LOOKS {
        if let Some(row) = executor.run(Statement::Begin(new.clone())).await?.into_iter().next() {
            return Ok(row);
        }
        let free = executor.run(Statement::MayBegin(key.clone())).await?;
        let may_begin = free.first().is_some_and(|row| row.live);
        if !may_begin || !executor.run(Statement::Find(key.clone())).await?.is_empty() {
            return Err(Error::InUse(key));
        }
    }
    // Neither inserted nor there.
    Err(Error::RowSwallowed)
}

enum Claim {
    /// The row is locked, and the attempt may work.
    Granted(RowLocation),
    /// There is nothing to be done for the attempt at this recovery point.
    Passed(Box<Answer>),
}

impl Claim {
    fn passed(row: Row) -> Self {
        let outcome = if row.is_finished() { Outcome::Replayed } else { Outcome::Passed };
        Self::Passed(Box::new(Answer::new(row.key, outcome)))
    }
}

/// Locks a key's row and decides whether the attempt may work.
async fn claim(
    executor: &dyn Executor,
    key: &str,
    lease: &Lease,
    recovery_point: Option<&str>,
) -> Result<Claim, Error> {
    let Some(row) = claimed_row(executor, key, lease).await? else {
        return unclaimed(executor, key).await;
    };
    match decide(&lease.known(), &row, recovery_point) {
        StageDecision::Run => {
            lease.claimed(&row);
            Ok(Claim::Granted(row.location))
        }
        StageDecision::Pass => {
            let rows = executor.run(Statement::Find(key.to_owned())).await?;
            let row = rows.into_iter().next().ok_or_else(|| Error::NotFound(key.to_owned()))?;
            lease.saw(&row);
            Ok(Claim::passed(row))
        }
        StageDecision::InUse => Err(Error::InUse(key.to_owned())),
        StageDecision::LeaseLost => Err(Error::LeaseLost(key.to_owned())),
    }
}

/// What becomes of a stage that an attempt wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageDecision {
    /// It runs.
    Run,
    /// It has nothing to do: the key is past it.
    Pass,
    /// Another attempt works on the request.
    InUse,
    /// Another attempt has taken the request over.
    LeaseLost,
}

/// Decides about a stage by the key's row, which is locked, by what its attempt knows, and by the recovery
/// point that it is for, if its caller says so.
pub fn decide(known: &LeaseKnowledge, row: &Row, recovery_point: Option<&str>) -> StageDecision {
    let moved_on = recovery_point.is_some_and(|point| point != row.key.recovery_point);
    if row.key.recovery_point == FINISHED || moved_on && !row.live {
        return StageDecision::Pass;
    }
    match known.standing(row) {
        Standing::Holder if moved_on => StageDecision::Pass,
        Standing::Holder if recovery_point.is_none() && known.is_behind(row) => {
            StageDecision::LeaseLost
        }
        Standing::Holder | Standing::Free => StageDecision::Run,
        // Whoever says where the key stood knows that nothing has happened to it.
        Standing::PassedBy if recovery_point.is_some() => StageDecision::Run,
        Standing::InUse => StageDecision::InUse,
        Standing::Lost | Standing::PassedBy => StageDecision::LeaseLost,
    }
}

/// Locks the row where it was seen last, or wherever it is.
async fn claimed_row(
    executor: &dyn Executor,
    key: &str,
    lease: &Lease,
) -> Result<Option<Row>, Error> {
    let location = lease.location();
    let seen = location.is_some();
    let claim =
        |location| Statement::ClaimRow { key: key.to_owned(), lease: lease.duration(), location };
    let row = executor.run(claim(location)).await?.into_iter().next();
    if row.is_some() || !seen {
        return Ok(row);
    }
    Ok(executor.run(claim(None)).await?.into_iter().next())
}

/// The claim when there is no row that could be locked.
async fn unclaimed(executor: &dyn Executor, key: &str) -> Result<Claim, Error> {
    let row = executor.run(Statement::Find(key.to_owned())).await?.into_iter().next();
    match row {
        None => Err(Error::NotFound(key.to_owned())),
        Some(row) if row.key.recovery_point == FINISHED => Ok(Claim::passed(row)),
        Some(_) => Err(Error::InUse(key.to_owned())),
    }
}

/// Stores the work's result for the holder of the lease. An answer goes with the commit, as its token is known
/// before: whatever becomes of the commit, the attempt knows its own row.
async fn settle(
    executor: &dyn Executor,
    key: &str,
    lease: &Lease,
    result: StageResult,
    location: RowLocation,
) -> Result<Row, Error> {
    let change = LeaseChange::on_reaching(result.recovery_point());
    let row = match executor.last_write().await? {
        Some(last) => {
            lease.writes_last(last.token(change), result.recovery_point());
            let mut columns = Columns::from(result);
            if change == LeaseChange::Renew {
                columns.locked_at = Field::Set(Some(last.time.to_string()));
            }
            write_last(executor, key, columns, change).await?
        }
        None => record(executor, key, Columns::from(result), change, Some(location)).await?,
    };
    lease.wrote(&row);
    Ok(row)
}

/// Stores the work's result as the last of the transaction, and commits.
async fn write_last(
    executor: &dyn Executor,
    key: &str,
    columns: Columns,
    lease: LeaseChange,
) -> Result<Row, Error> {
    let last = Statement::Record { key: key.to_owned(), columns, lease };
    let rows = executor.commit_after(last).await?;
    rows.into_iter().next().ok_or_else(|| Error::NotFound(key.to_owned()))
}

/// Stores the work's result in the row where it was locked; or wherever it is, if the work has written to it.
async fn record(
    executor: &dyn Executor,
    key: &str,
    columns: Columns,
    lease: LeaseChange,
    location: Option<RowLocation>,
) -> Result<Row, Error> {
    let seen = location.is_some();
    let update = |location| Statement::Update {
        key: key.to_owned(),
        columns: columns.clone(),
        lease,
        location,
        fence: None,
    };
    let mut rows = executor.run(update(location)).await?;
    if rows.is_empty() && seen {
        rows = executor.run(update(None)).await?;
    }
    rows.into_iter().next().ok_or_else(|| Error::NotFound(key.to_owned()))
}
