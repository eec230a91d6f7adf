//! Renewing and ending a lease.

use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use super::arbiter::ChangePermit;
use super::knowledge::{Beginning, LeaseKnowledge};
use super::of_attempt::Lease;
use crate::engine::error::Error;
use crate::engine::key::IdempotencyKey;
use crate::engine::protocol::executor::Executor;
use crate::engine::protocol::statement::{LeaseAction, LeaseOf, Row, Statement};

/// Pauses between tries to end a lease whose row is locked: a transaction that is being rolled back
/// unlocks it soon.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const RETRIES: usize = 12;

/// Renews a lease, if it is the attempt's. Does nothing while a call uses the lease, which renews it itself, or
/// while it is being changed.
///
/// # Errors
/// As the executor's.
pub async fn renew(executor: &dyn Executor, lease: &Lease) -> Result<(), Error> {
    let Some(_permit) = lease.arbiter.try_change() else {
        return Ok(());
    };
    match change(executor, lease, LeaseAction::Renew).await? {
        Some(row) if row.won => lease.knowledge().renewed(&row),
        _ => {}
    }
    Ok(())
}

/// Has a lease run out now, if it is the attempt's: the attempt has had it for too long, and may still be at
/// work. Tries as [`release`] does.
///
/// # Errors
/// As the executor's.
pub async fn expire(executor: &dyn Executor, lease: &Lease) -> Result<(), Error> {
    end_unless_wanted(executor, lease, LeaseAction::Expire).await
}

/// Ends a lease, if it is the attempt's, so that the request can be tried again at once. Tries a few
/// times while the row is locked, as a failed stage's transaction may not have ended yet, and when the
/// connection is lost, as what the attempt failed for may have cost others of the pool. Gives up when a call
/// of the attempt begins.
///
/// # Errors
/// As the executor's.
pub async fn release(executor: &dyn Executor, lease: &Lease) -> Result<(), Error> {
    // What is uncertain of an interrupted request stays so: whoever begins it next is told as well.
    let how = match lease.known().beginning {
        Some(Beginning::Interrupted) => LeaseAction::Expire,
        _ => LeaseAction::End,
    };
    end_unless_wanted(executor, lease, how).await
}

/// Ends the lease of a key, at the wish of whoever has it; or, where the caller has none, one that has run
/// out. Returns the key.
///
/// # Errors
/// [`Error::NotFound`]; where there is nothing to release, [`Error::Finished`] and [`Error::Released`];
/// where it is another attempt's, [`Error::InUse`] and [`Error::LeaseLost`]. As the executor's.
pub async fn release_now(
    executor: &dyn Executor,
    key: String,
    duration: Duration,
    lease: Option<&Lease>,
) -> Result<IdempotencyKey, Error> {
    let Some(lease) = lease.filter(|lease| !lease.known().tokens.is_empty()) else {
        return release_abandoned(executor, key, duration).await;
    };
    let mut pauses = pauses(executor);
    let mut ended = end_at_wish(executor, lease).await;
    // A caller waits: where nobody has answered in time, it is told so.
    let may_succeed_soon = |ended: &Result<_, Error>| {
        may_succeed_later(ended) && !ended.as_ref().is_err_and(Error::has_timed_out)
    };
    while let Some(pause) = pauses.next().filter(|_| may_succeed_soon(&ended)) {
        tokio::time::sleep(pause).await;
        ended = end_at_wish(executor, lease).await;
    }
    match ended? {
        EndLeaseResult::Done(row) => Ok(row.key),
        EndLeaseResult::Locked => Err(Error::InUse(key)),
        EndLeaseResult::Refused(None) => Err(Error::NotFound(key)),
        EndLeaseResult::Refused(Some(row)) => Err(lease.known().refusal(&row)),
    }
}

/// The result of a try to end a lease.
enum EndLeaseResult {
    /// It has ended.
    Done(Box<Row>),
    /// It is the attempt's, but a stage runs.
    Locked,
    /// It is not the attempt's; its row is as it is here, or there is none.
    Refused(Option<Box<Row>>),
}

/// Ends a lease that has run out, whoever had it.
async fn release_abandoned(
    executor: &dyn Executor,
    key: String,
    lease: Duration,
) -> Result<IdempotencyKey, Error> {
    let statement = Statement::ChangeLease {
        key: key.clone(),
        which: LeaseOf::Nobody,
        action: LeaseAction::End,
        lease,
    };
    match executor.run(statement).await?.into_iter().next() {
        None => Err(Error::NotFound(key)),
        Some(row) if row.won => Ok(row.key),
        Some(row) if row.is_finished() => Err(Error::Finished(key)),
        Some(row) if row.token.is_without_lease() => Err(Error::Released(key)),
        Some(_) => Err(Error::InUse(key)),
    }
}

/// Ends a lease that is held, in the background: a call of the attempt's that wants to begin goes first.
async fn end_unless_wanted(
    executor: &dyn Executor,
    lease: &Lease,
    how: LeaseAction,
) -> Result<(), Error> {
    let mut wanted = pin!(lease.arbiter.wanted());
    let mut pauses = pauses(executor);
    loop {
        let permit = lease.arbiter.change(0).await;
        if !lease.is_held() {
            return Ok(());
        }
        let ended = end(executor, lease, how, permit).await;
        let Some(pause) = pauses.next().filter(|_| may_succeed_later(&ended)) else {
            return ended.map(drop);
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut wanted => return ended.map(drop),
        }
    }
}

/// Ends a lease as the attempt's own call, which uses it.
async fn end_at_wish(executor: &dyn Executor, lease: &Lease) -> Result<EndLeaseResult, Error> {
    let permit = lease.arbiter.change(1).await;
    end(executor, lease, LeaseAction::End, permit).await
}

fn pauses(executor: &dyn Executor) -> impl Iterator<Item = Duration> + use<> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        // In a caller's transaction there is nobody to wait for, and no runtime to wait in.
        .with_max_times(if executor.commits_each() { RETRIES } else { 0 })
        .with_jitter();
    pauses.build()
}

fn may_succeed_later(ended: &Result<EndLeaseResult, Error>) -> bool {
    matches!(ended, Ok(EndLeaseResult::Locked) | Err(Error::Connection { .. }))
}

/// Ends a lease, unless a call of its attempt uses it or somebody has locked its row.
async fn end(
    executor: &dyn Executor,
    lease: &Lease,
    how: LeaseAction,
    permit: Option<ChangePermit<'_>>,
) -> Result<EndLeaseResult, Error> {
    let Some(_permit) = permit else {
        return Ok(EndLeaseResult::Locked);
    };
    Ok(match change(executor, lease, how).await? {
        Some(row) if row.won => {
            lease.knowledge().released(&row);
            EndLeaseResult::Done(row.into())
        }
        Some(row) if row.live => EndLeaseResult::Locked,
        row => {
            lease.ended();
            EndLeaseResult::Refused(row.map(Box::new))
        }
    })
}

async fn change(
    executor: &dyn Executor,
    lease: &Lease,
    action: LeaseAction,
) -> Result<Option<Row>, Error> {
    let LeaseKnowledge { key, tokens, .. } = lease.known();
    let which = LeaseOf::Tokens(tokens);
    let statement = Statement::ChangeLease { key, which, action, lease: lease.duration() };
    Ok(executor.run(statement).await?.into_iter().next())
}
