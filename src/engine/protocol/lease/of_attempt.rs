//! The lease of a key, as one attempt at its request has it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::arbiter::{Arbiter, LeaseUse};
use super::knowledge::{Beginning, LeaseKnowledge};
use crate::engine::error::Error;
use crate::engine::key::{FINISHED, STARTED};
use crate::engine::protocol::executor::Executor;
use crate::engine::protocol::statement::{Fence, Row, RowLocation, Token};

/// What one attempt at a request knows of its key's lease, and which of its calls use it now.
pub struct Lease {
    duration: Duration,
    knowledge: Mutex<LeaseKnowledge>,
    /// What it knew before the transaction that goes on, in which it begins its request.
    before: Mutex<Option<LeaseKnowledge>>,
    pub(super) arbiter: Arbiter,
}

impl Lease {
    /// Of an attempt that knows nothing of its key yet. `duration` is how long a lease holds.
    pub fn new(duration: Duration) -> Self {
        Self {
            duration,
            knowledge: Mutex::default(),
            before: Mutex::default(),
            arbiter: Arbiter::default(),
        }
    }

    /// How long a lease holds after its last sign of life.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// What the attempt knows by now.
    pub fn known(&self) -> LeaseKnowledge {
        self.knowledge().clone()
    }

    /// As [`LeaseKnowledge::wrote`].
    pub fn wrote(&self, row: &Row) {
        self.knowledge().wrote(row);
    }

    /// As [`LeaseKnowledge::writes_last`].
    pub fn writes_last(&self, token: Token, recovery_point: &str) {
        self.knowledge().writes_last(token, recovery_point);
    }

    /// As [`LeaseKnowledge::claimed`].
    pub fn claimed(&self, row: &Row) {
        self.knowledge().claimed(row);
    }

    /// As [`LeaseKnowledge::began`].
    pub fn began(&self, row: &Row, beginning: Beginning) {
        self.knowledge().began(row, beginning);
    }

    /// As [`LeaseKnowledge::saw`].
    pub fn saw(&self, row: &Row) {
        self.knowledge().saw(row);
    }

    /// As [`LeaseKnowledge::settle`].
    pub fn settled(&self) {
        self.knowledge().settle();
    }

    /// Notes that the attempt's last transaction failed, or may have: what its caller knows is what it
    /// knew `before`.
    pub fn unsettled(&self, before: &LeaseKnowledge) {
        self.knowledge().settled.clone_from(&before.settled);
    }

    /// Notes the row of a request that the attempt begins in a transaction that goes on.
    pub fn begins(&self, row: &Row) {
        let mut knowledge = self.knowledge();
        *self.before() = Some(knowledge.clone());
        knowledge.began(row, Beginning::New);
    }

    /// Notes that the transaction has failed in which the attempt [begins](Self::begins) its request, if it does: what
    /// it knows is what it knew before. Where it may have been committed all the same, its caller believes the request
    /// to stand where it began.
    pub fn unbegun(&self, may_be_committed: bool) {
        let mut knowledge = self.knowledge();
        match self.before().take() {
            Some(_) if may_be_committed => knowledge.settled = Some(STARTED.to_owned()),
            Some(before) => *knowledge = before,
            None => {}
        }
    }

    /// Notes that the lease has ended: the request is finished and committed, or it was released.
    pub fn ended(&self) {
        self.knowledge().ended = true;
    }

    /// As [`LeaseKnowledge::is_held`].
    pub fn is_held(&self) -> bool {
        self.knowledge().is_held()
    }

    /// Whether the attempt knows its request to be finished.
    pub fn is_finished(&self) -> bool {
        self.knowledge().recovery_point.as_deref() == Some(FINISHED)
    }

    /// Where the row was seen last.
    pub fn location(&self) -> Option<RowLocation> {
        self.knowledge().location.clone()
    }

    /// As [`LeaseKnowledge::fence`].
    pub fn fence(&self) -> Option<Fence> {
        self.knowledge().fence(self.duration)
    }

    /// The token that `lock()` may take over.
    pub fn fresh_token(&self) -> Option<Token> {
        let knowledge = self.knowledge();
        knowledge.tokens.first().filter(|_| knowledge.fresh).cloned()
    }

    /// Begins a call that uses the lease: as long as it does, the lease is neither renewed nor released by
    /// anybody else. `None` while that is being done.
    pub fn try_enter(&self) -> Option<LeaseUse<'_>> {
        self.arbiter.try_enter()
    }

    /// Waits for the end of the renewal or release that is under way.
    pub async fn change_ended(&self) {
        self.arbiter.change_ended().await;
    }

    fn before(&self) -> MutexGuard<'_, Option<LeaseKnowledge>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn knowledge(&self) -> MutexGuard<'_, LeaseKnowledge> {
        self.knowledge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As [`Lease::try_enter`], and waits for a renewal or release that is under way, as the executor can.
///
/// # Errors
/// As the executor's.
pub async fn enter<'a>(executor: &dyn Executor, lease: &'a Lease) -> Result<LeaseUse<'a>, Error> {
    loop {
        if let Some(entered) = lease.try_enter() {
            return Ok(entered);
        }
        executor.wait_for_change(&lease.arbiter).await?;
    }
}
