//! The lease of a key: whose turn it is between two stages of its request.
//!
//! The row's lock covers a stage, the lease covers what lies between. It is the time in `locked_at`:
//! it holds for a while after its last sign of life, and its exact value is the *token* that tells it
//! from those before and after it. A [`Lease`] is what one flow of a request knows of it. Two flows
//! of one process have two, and so fence each other off as two processes do.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::{Notify, RwLock, RwLockReadGuard};

use crate::engine::error::Error;
use crate::engine::key::FINISHED;
use crate::engine::key::IdempotencyKey;
use crate::engine::protocol::session::Session;
use crate::engine::protocol::statement::{
    Fence, LeaseChange, LeaseOf, Place, Row, Statement, Token,
};

/// How many of its tokens a flow remembers. Which of its last writes was committed it cannot know:
/// the transaction may be somebody else's.
const REMEMBERED: usize = 16;

/// Pauses between attempts to release a lease whose row is locked: a dying transaction lets go of it
/// soon.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 12;

/// What one flow of a request knows of its key's lease.
pub struct Lease {
    duration: Duration,
    holding: Mutex<Holding>,
    /// Shared by running stages. Renewal and release want it for themselves, but never wait for it: a
    /// stage would not know the token that they have stored beside it.
    stages: RwLock<()>,
    interrupted: Notify,
}

/// What a flow knows, and what it concludes from it: nothing here reaches the database, so that a model
/// of the protocol judges with it as the engine does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holding {
    /// The key.
    pub key: String,
    /// Every token that was the flow's, the latest first. As long as the row has one of them, nobody
    /// else has written to it.
    pub tokens: Vec<Token>,
    /// Where the row was seen last.
    pub place: Option<Place>,
    /// The recovery point that the flow saw or stored last, be it committed or not.
    pub recovery_point: Option<String>,
    /// The recovery point that the flow's caller has been told, if it is known to be committed. A
    /// point that was only written must not count: if the flow's own transaction was rolled back, and
    /// another flow has stored the same point since, then something has happened.
    pub settled: Option<String>,
    /// `lock()` may take the lease over, as nothing else has been done with it.
    pub fresh: bool,
    /// The lease is known to have ended.
    pub ended: bool,
    /// How the flow's request began, if the flow has begun it.
    pub beginning: Option<Beginning>,
}

/// How an attempt at a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beginning {
    /// It is the first attempt.
    New,
    /// Nobody held the key: the last attempt has released it, or its row was made without a lease.
    Released,
    /// The lease of the last attempt ran out: its process died or hung, so whatever it did outside of the
    /// database may have happened.
    Interrupted,
}

/// How a flow stands to an unfinished key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds the lease.
    Holder,
    /// Nobody does, and nothing has happened that the flow does not know of.
    Free,
    /// Another flow holds the lease, and this one never did.
    InUse,
    /// Another flow has taken the lease over, and holds it.
    Lost,
    /// Another flow has taken the lease over and gone on; now nobody holds it.
    PassedBy,
}

impl Lease {
    /// A flow that knows nothing of its key yet. `duration` is how long a lease holds.
    pub fn new(duration: Duration) -> Self {
        Self {
            duration,
            holding: Mutex::default(),
            stages: RwLock::default(),
            interrupted: Notify::new(),
        }
    }

    /// How long a lease holds after its last sign of life.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// What the flow knows by now.
    pub fn known(&self) -> Holding {
        self.holding().clone()
    }

    /// Notes a row that the flow has written; whether it is committed shows later.
    pub fn wrote(&self, row: &Row) {
        self.holding().wrote(row);
    }

    /// Notes a row that the flow has locked to write to it. If its transaction is rolled back, the row
    /// is this one again.
    pub fn claimed(&self, row: &Row) {
        self.holding().claimed(row);
    }

    /// Notes the row of a request that the flow has just begun, or taken over.
    pub fn began(&self, row: &Row, beginning: Beginning) {
        self.holding().began(row, beginning);
    }

    /// How the flow's request began; nothing, if the flow has not begun it.
    pub fn beginning(&self) -> Option<Beginning> {
        self.holding().beginning
    }

    /// Notes a row that the flow's caller is told, and that the flow has not written just now.
    pub fn saw(&self, row: &Row) {
        self.holding().saw(row);
    }

    /// Notes that what the flow wrote last is committed.
    pub fn settled(&self) {
        self.holding().settle();
    }

    /// Notes that the flow's last transaction failed, or may have: what its caller knows is what it
    /// knew `before`.
    pub fn unsettled(&self, before: &Holding) {
        self.holding().settled.clone_from(&before.settled);
    }

    /// Notes that the lease has ended: the request is finished and committed, or it was released.
    pub fn ended(&self) {
        self.holding().ended = true;
    }

    /// Whether the flow has had the lease and does not know that it has ended.
    pub fn is_held(&self) -> bool {
        let holding = self.holding();
        !holding.tokens.is_empty() && !holding.ended
    }

    /// Whether the flow knows its request to be finished.
    pub fn is_finished(&self) -> bool {
        self.holding().recovery_point.as_deref() == Some(FINISHED)
    }

    /// Where the row was seen last.
    pub fn place(&self) -> Option<Place> {
        self.holding().place.clone()
    }

    /// What keeps a flow that has lost its lease from writing; nothing, if it never had one.
    pub fn fence(&self) -> Option<Fence> {
        self.holding().fence(self.duration)
    }

    /// The token that `lock()` may take over.
    pub fn fresh_token(&self) -> Option<Token> {
        let holding = self.holding();
        holding.tokens.first().filter(|_| holding.fresh).cloned()
    }

    /// Keeps renewal and release away from a stage, once the one that is under way has ended.
    pub async fn stage(&self) -> RwLockReadGuard<'_, ()> {
        self.stages.read().await
    }

    /// Ends the attempts of a [`release`] that is under way.
    pub fn interrupt(&self) {
        self.interrupted.notify_waiters();
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding {
    /// How the flow stands to a row that answers [`Row::live`].
    pub fn standing(&self, row: &Row) -> Standing {
        let known = self.settled.as_ref() == Some(&row.key.recovery_point);
        match (self.has(row), row.live, self.tokens.is_empty()) {
            (true, _, _) => Standing::Holder,
            (false, true, true) => Standing::InUse,
            (false, true, false) => Standing::Lost,
            (false, false, true) => Standing::Free,
            (false, false, false) if known => Standing::Free,
            (false, false, false) => Standing::PassedBy,
        }
    }

    /// Whether the key has moved on from where the flow's caller believes it to be: a transaction of
    /// the flow's was committed whose end it did not learn.
    pub fn is_behind(&self, row: &Row) -> bool {
        self.settled.as_ref().is_some_and(|point| *point != row.key.recovery_point)
    }

    /// As [`Lease::wrote`].
    pub fn wrote(&mut self, row: &Row) {
        self.noted(row);
        self.owns(row);
        self.settled = None;
        self.fresh = false;
        self.ended = false;
    }

    /// As [`Lease::claimed`].
    pub fn claimed(&mut self, row: &Row) {
        if !self.has(row) {
            self.owns(row);
        }
    }

    /// As [`Lease::began`].
    pub fn began(&mut self, row: &Row, beginning: Beginning) {
        self.wrote(row);
        self.fresh = true;
        self.beginning = Some(beginning);
    }

    /// As [`Lease::saw`].
    pub fn saw(&mut self, row: &Row) {
        self.noted(row);
        // What the flow has written itself in a transaction that goes on may still be taken back.
        if self.settled.is_some() || !self.has(row) {
            self.settle();
        }
    }

    /// As [`Lease::settled`].
    pub fn settle(&mut self) {
        self.settled.clone_from(&self.recovery_point);
    }

    /// Notes the row of a lease that was renewed: its request may have gone on since.
    pub fn renewed(&mut self, row: &Row) {
        self.owns(row);
    }

    /// Notes the row of a lease that was released, or has run out before its time.
    pub fn released(&mut self, row: &Row) {
        self.noted(row);
        self.owns(row);
        self.ended = true;
    }

    /// As [`Lease::fence`].
    pub fn fence(&self, lease: Duration) -> Option<Fence> {
        let (tokens, recovery_point) = (self.tokens.clone(), self.settled.clone());
        (!tokens.is_empty()).then_some(Fence { tokens, recovery_point, lease })
    }

    /// What keeps everybody but the holder of the lease from writing, and the holder once the request is
    /// finished; nothing, if the flow never had a lease.
    pub fn strict_fence(&self, lease: Duration) -> Option<Fence> {
        let fence = self.fence(lease)?;
        // No row stands at a recovery point without a name.
        Some(Fence { recovery_point: Some(String::new()), ..fence })
    }

    /// Whether the flow has released its request, and done nothing since.
    pub fn is_released(&self) -> bool {
        let last = self.tokens.first();
        self.recovery_point.as_deref() != Some(FINISHED)
            && last.is_some_and(Token::is_without_lease)
    }

    /// Why the flow may not release its request, by the row of it: it has ended it itself, or another flow
    /// has taken it over.
    fn refusal(&self, row: &Row) -> Error {
        let key = row.key.idempotency_key.clone();
        match self.has(row) {
            true if row.is_finished() => Error::Finished(key),
            true => Error::Released(key),
            false => Error::LeaseLost(key),
        }
    }

    fn has(&self, row: &Row) -> bool {
        self.tokens.contains(&row.token)
    }

    fn noted(&mut self, row: &Row) {
        row.key.idempotency_key.clone_into(&mut self.key);
        self.place = Some(row.place.clone());
        self.recovery_point = Some(row.key.recovery_point.clone());
    }

    fn owns(&mut self, row: &Row) {
        self.place = Some(row.place.clone());
        self.tokens.insert(0, row.token.clone());
        self.tokens.truncate(REMEMBERED);
    }
}

/// Renews a lease, if it is the flow's and no stage is running, which renews it itself.
///
/// # Errors
/// As the session's.
pub async fn renew(session: &dyn Session, lease: &Lease) -> Result<(), Error> {
    let Ok(_alone) = lease.stages.try_write() else {
        return Ok(());
    };
    match change(session, lease, LeaseChange::Renew).await? {
        Some(row) if row.won => lease.holding().renewed(&row),
        _ => {}
    }
    Ok(())
}

/// Has a lease run out now, if it is the flow's: its holder has had it for too long, and may still be at
/// work. Tries as [`release`] does.
///
/// # Errors
/// As the session's.
pub async fn expire(session: &dyn Session, lease: &Lease) -> Result<(), Error> {
    if lease.is_held() {
        end_soon(session, lease, LeaseChange::Expire).await?;
    }
    Ok(())
}

/// Ends a lease, if it is the flow's, so that the request can be tried again at once. Tries a few
/// times while the row is locked, as a failed stage's transaction may not have ended yet, and when the
/// connection is lost, as what the flow failed for may have cost others of the pool.
///
/// # Errors
/// As the session's.
pub async fn release(session: &dyn Session, lease: &Lease) -> Result<(), Error> {
    // What is uncertain of an interrupted request stays so: whoever begins it next is told as well.
    let how = match lease.beginning() {
        Some(Beginning::Interrupted) => LeaseChange::Expire,
        _ => LeaseChange::End,
    };
    if lease.is_held() {
        end_soon(session, lease, how).await?;
    }
    Ok(())
}

/// Ends the lease of a key, at the wish of whoever has it; or, where the caller has none, one that has run
/// out. Answers the key.
///
/// # Errors
/// [`Error::NotFound`]; where there is nothing to release, [`Error::Finished`] and [`Error::Released`];
/// where it is another flow's, [`Error::InUse`] and [`Error::LeaseLost`]. As the session's.
pub async fn release_now(
    session: &dyn Session,
    key: String,
    duration: Duration,
    lease: Option<&Lease>,
) -> Result<IdempotencyKey, Error> {
    let Some(lease) = lease.filter(|lease| !lease.known().tokens.is_empty()) else {
        return release_abandoned(session, key, duration).await;
    };
    match end_soon(session, lease, LeaseChange::End).await? {
        Ended::Done(row) => Ok(row.key),
        Ended::Locked => Err(Error::InUse(key)),
        Ended::Refused(None) => Err(Error::NotFound(key)),
        Ended::Refused(Some(row)) => Err(lease.known().refusal(&row)),
    }
}

/// What a try to end a lease has led to.
enum Ended {
    /// It has ended.
    Done(Box<Row>),
    /// It is the flow's, but a stage runs.
    Locked,
    /// It is not the flow's; its row is as it is here, or there is none.
    Refused(Option<Box<Row>>),
}

/// Ends a lease that has run out, whoever had it.
async fn release_abandoned(
    session: &dyn Session,
    key: String,
    lease: Duration,
) -> Result<IdempotencyKey, Error> {
    let statement = Statement::ChangeLease {
        key: key.clone(),
        which: LeaseOf::Nobody,
        change: LeaseChange::End,
        lease,
    };
    match session.run(statement).await?.into_iter().next() {
        None => Err(Error::NotFound(key)),
        Some(row) if row.won => Ok(row.key),
        Some(row) if row.is_finished() => Err(Error::Finished(key)),
        Some(row) if row.token.is_without_lease() => Err(Error::Released(key)),
        Some(_) => Err(Error::InUse(key)),
    }
}

/// Ends a lease; on the pool, tries a few times while the row is locked or the connection is lost.
async fn end_soon(session: &dyn Session, lease: &Lease, how: LeaseChange) -> Result<Ended, Error> {
    let mut interrupted = pin!(lease.interrupted.notified());
    let pauses = ExponentialBuilder::default()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        // In a caller's transaction there is nobody to wait for, and no runtime to wait in.
        .with_max_times(if session.commits_each() { ATTEMPTS } else { 0 })
        .with_jitter();
    let mut ended = end(session, lease, how).await;
    for pause in pauses.build() {
        if !matches!(ended, Ok(Ended::Locked) | Err(Error::Connection { .. })) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut interrupted => break,
        }
        ended = end(session, lease, how).await;
    }
    ended
}

/// Ends a lease, unless a stage of its flow runs or somebody has locked its row.
async fn end(session: &dyn Session, lease: &Lease, how: LeaseChange) -> Result<Ended, Error> {
    let Ok(_alone) = lease.stages.try_write() else {
        return Ok(Ended::Locked);
    };
    Ok(match change(session, lease, how).await? {
        Some(row) if row.won => {
            lease.holding().released(&row);
            Ended::Done(row.into())
        }
        Some(row) if row.live => Ended::Locked,
        row => {
            lease.ended();
            Ended::Refused(row.map(Box::new))
        }
    })
}

async fn change(
    session: &dyn Session,
    lease: &Lease,
    change: LeaseChange,
) -> Result<Option<Row>, Error> {
    let Holding { key, tokens, .. } = lease.known();
    let which = LeaseOf::Tokens(tokens);
    let statement = Statement::ChangeLease { key, which, change, lease: lease.duration() };
    Ok(session.run(statement).await?.into_iter().next())
}
