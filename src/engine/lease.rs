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

use super::error::Error;
use super::key::FINISHED;
use super::session::Session;
use super::statement::{Fence, LeaseChange, Place, Row, Statement, Token};

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
    pub fn began(&self, row: &Row) {
        self.holding().began(row);
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
    pub fn began(&mut self, row: &Row) {
        self.wrote(row);
        self.fresh = true;
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

    /// Notes the row of a lease that was released.
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

/// Ends a lease, if it is the flow's, so that the request can be tried again at once. Tries a few
/// times while the row is locked, as a failed stage's transaction may not have ended yet, and when the
/// connection is lost, as what the flow failed for may have cost others of the pool.
///
/// # Errors
/// As the session's.
pub async fn release(session: &dyn Session, lease: &Lease) -> Result<(), Error> {
    let mut interrupted = pin!(lease.interrupted.notified());
    let pauses = ExponentialBuilder::default()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(ATTEMPTS)
        .with_jitter();
    let mut ended = end(session, lease).await;
    for pause in pauses.build() {
        if !lease.is_held() || !matches!(ended, Ok(()) | Err(Error::Connection { .. })) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut interrupted => break,
        }
        ended = end(session, lease).await;
    }
    ended
}

/// Ends a lease, unless somebody has locked its row.
async fn end(session: &dyn Session, lease: &Lease) -> Result<(), Error> {
    let Ok(_alone) = lease.stages.try_write() else {
        return Ok(());
    };
    if !lease.is_held() {
        return Ok(());
    }
    match change(session, lease, LeaseChange::End).await? {
        Some(row) if row.won => lease.holding().released(&row),
        // The flow's, but locked.
        Some(row) if row.live => {}
        _ => lease.ended(),
    }
    Ok(())
}

async fn change(
    session: &dyn Session,
    lease: &Lease,
    change: LeaseChange,
) -> Result<Option<Row>, Error> {
    let Holding { key, tokens, .. } = lease.holding().clone();
    let rows = session.run(Statement::ChangeLease { key, tokens, change }).await?;
    Ok(rows.into_iter().next())
}
