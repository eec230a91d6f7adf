//! Work stages: lock the row, run the work, record its outcome.

use std::future::Future;
use std::sync::Arc;

use crate::engine::error::Error;
use crate::engine::key::{Columns, FINISHED, IdempotencyKey, Outcome};
use crate::engine::protocol::lease::{Holding, Lease, Standing};
use crate::engine::protocol::session::Session;
use crate::engine::protocol::statement::{LeaseChange, Place, Row, Statement};

/// Whose turn it is to run a stage.
#[derive(Clone)]
pub enum Turn {
    /// Anybody's whom the row lets in, one after the other: Medusa's semantics.
    Anybody,
    /// The flow's that holds the lease, or takes over a key that nobody holds; and with a recovery
    /// point only while the key is still there.
    Holder(Arc<Lease>, Option<String>),
}

/// What a stage came to.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The key as it is now.
    pub key: IdempotencyKey,
    /// Whether the work was done. It is not if the request has gone on without it.
    pub ran: bool,
}

impl From<IdempotencyKey> for Staged {
    fn from(key: IdempotencyKey) -> Self {
        Self { key, ran: false }
    }
}

/// Runs one stage of a key's request in the transaction of `session`.
///
/// The key's row is locked first: an unknown key is refused before any work is done, and two stages
/// of one key never overlap. What the work did and the key's new state commit together.
///
/// # Errors
/// [`Error::NotFound`], the work's own, and, depending on the turn, [`Error::Busy`] when another stage
/// of the key runs for longer than `lock_timeout`, or [`Error::InUse`] and [`Error::LeaseLost`].
pub async fn run<W>(session: &dyn Session, key: &str, turn: &Turn, work: W) -> Result<Staged, Error>
where
    W: Future<Output = Result<Outcome, Error>>,
{
    let place = match turn {
        Turn::Anybody => {
            let locked = session.run(Statement::LockRow(key.to_owned())).await?;
            locked.first().map(|_| None).ok_or_else(|| Error::NotFound(key.to_owned()))?
        }
        Turn::Holder(lease, recovery_point) => {
            match claim(session, key, lease, recovery_point.as_deref()).await? {
                Claim::Granted(place) => Some(place),
                Claim::Passed(row) => return Ok(row.key.into()),
            }
        }
    };
    let outcome = work.await?;
    let lease = match turn {
        Turn::Anybody => LeaseChange::Keep,
        Turn::Holder(..) => LeaseChange::on_reaching(outcome.recovery_point()),
    };
    let row = record(session, key, outcome, lease, place).await?;
    if let Turn::Holder(lease, _) = turn {
        lease.wrote(&row);
    }
    Ok(Staged { key: row.key, ran: true })
}

enum Claim {
    /// The row is locked, and it is the flow's turn.
    Granted(Place),
    /// There is nothing to be done for the flow at this recovery point.
    Passed(Box<Row>),
}

/// Locks a key's row and judges whose turn it is.
async fn claim(
    session: &dyn Session,
    key: &str,
    lease: &Lease,
    recovery_point: Option<&str>,
) -> Result<Claim, Error> {
    let Some(row) = claimed_row(session, key, lease).await? else {
        return unclaimed(session, key).await;
    };
    match judge(&lease.known(), &row, recovery_point) {
        Verdict::Run => {
            lease.claimed(&row);
            Ok(Claim::Granted(row.place))
        }
        Verdict::Pass => {
            let rows = session.run(Statement::Find(key.to_owned())).await?;
            let row = rows.into_iter().next().ok_or_else(|| Error::NotFound(key.to_owned()))?;
            lease.saw(&row);
            Ok(Claim::Passed(row.into()))
        }
        Verdict::InUse => Err(Error::InUse(key.to_owned())),
        Verdict::LeaseLost => Err(Error::LeaseLost(key.to_owned())),
    }
}

/// What becomes of a stage that a flow wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Run,
    /// It has nothing to do: the key is past it.
    Pass,
    /// Another flow works on the request.
    InUse,
    /// Another flow has taken the request over.
    LeaseLost,
}

/// Judges a stage by the key's row, which is locked, by what its flow knows, and by the recovery point
/// that it is for, if its caller says so.
pub fn judge(holding: &Holding, row: &Row, recovery_point: Option<&str>) -> Verdict {
    let moved_on = recovery_point.is_some_and(|point| point != row.key.recovery_point);
    if row.key.recovery_point == FINISHED || moved_on && !row.live {
        return Verdict::Pass;
    }
    match holding.standing(row) {
        Standing::Holder if moved_on => Verdict::Pass,
        Standing::Holder if recovery_point.is_none() && holding.is_behind(row) => {
            Verdict::LeaseLost
        }
        Standing::Holder | Standing::Free => Verdict::Run,
        // Whoever says where the key stood knows that nothing has happened to it.
        Standing::PassedBy if recovery_point.is_some() => Verdict::Run,
        Standing::InUse => Verdict::InUse,
        Standing::Lost | Standing::PassedBy => Verdict::LeaseLost,
    }
}

/// Locks the row where it was seen last, or wherever it is.
async fn claimed_row(
    session: &dyn Session,
    key: &str,
    lease: &Lease,
) -> Result<Option<Row>, Error> {
    let place = lease.place();
    let seen = place.is_some();
    let claim = |place| Statement::ClaimRow { key: key.to_owned(), lease: lease.duration(), place };
    let row = session.run(claim(place)).await?.into_iter().next();
    if row.is_some() || !seen {
        return Ok(row);
    }
    Ok(session.run(claim(None)).await?.into_iter().next())
}

/// What to answer when there is no row that could be locked.
async fn unclaimed(session: &dyn Session, key: &str) -> Result<Claim, Error> {
    let row = session.run(Statement::Find(key.to_owned())).await?.into_iter().next();
    match row {
        None => Err(Error::NotFound(key.to_owned())),
        Some(row) if row.key.recovery_point == FINISHED => Ok(Claim::Passed(row.into())),
        Some(_) => Err(Error::InUse(key.to_owned())),
    }
}

/// Stores what the work came to, in the row where it was locked: or wherever it is, if the work has
/// written to it.
async fn record(
    session: &dyn Session,
    key: &str,
    outcome: Outcome,
    lease: LeaseChange,
    place: Option<Place>,
) -> Result<Row, Error> {
    let columns = Columns::from(outcome);
    let seen = place.is_some();
    let update = |place| Statement::Update {
        key: key.to_owned(),
        columns: columns.clone(),
        lease,
        place,
        fence: None,
    };
    let mut rows = session.run(update(place)).await?;
    if rows.is_empty() && seen {
        rows = session.run(update(None)).await?;
    }
    rows.into_iter().next().ok_or_else(|| Error::NotFound(key.to_owned()))
}
