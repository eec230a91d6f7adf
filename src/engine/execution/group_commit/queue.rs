//! Which statement is next: those about one key need its permit; those that have it wait for a batch of
//! their kind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::guards::{InFlightSlot, KeyPermit, Release, SubmissionGuard};
use super::limits::Limits;
use super::queued_statement::{Answer, QueuedStatement};
use super::state::{Batch, State};
use crate::engine::protocol::statement::Statement;
use crate::engine::sql::batch::Kind;

/// How a statement begins.
pub enum Ticket {
    /// Nobody else is there: the caller runs it at once, as a single statement.
    Single(Box<Statement>, KeyPermit, InFlightSlot),
    /// It waits in the queue.
    Queued(oneshot::Receiver<Answer>),
}

/// The statements of all callers.
pub struct Queue {
    state: Mutex<State>,
    limits: Limits,
    /// Runs the next batch in a slot.
    launch: Box<dyn Fn(InFlightSlot) + Send + Sync>,
}

impl Queue {
    /// A queue that calls `launch` when there are statements for a further batch.
    pub fn new(limits: Limits, launch: Box<dyn Fn(InFlightSlot) + Send + Sync>) -> Self {
        Self { state: Mutex::default(), limits, launch }
    }

    /// Takes in a statement. `text` writes the SQL of a kind that has not been met before.
    pub fn enter(
        self: &Arc<Self>,
        kind: Kind,
        statement: Box<Statement>,
        text: impl FnOnce() -> Arc<str>,
    ) -> Ticket {
        let (queued, answer) = QueuedStatement::new(kind, statement);
        let mut state = self.state();
        state.meet(kind, self.limits.max_batch_rows, text);
        if state.is_quiet()
            && let Ok(runtime) = Handle::try_current()
            && state.begin_single(&queued)
        {
            drop(state);
            let permit = KeyPermit::new(self.clone(), queued.key);
            let slot = InFlightSlot::new(self.clone(), runtime, true);
            return Ticket::Single(queued.statement, permit, slot);
        }
        let queued = state.numbered(queued);
        state.take_in(self, self.limits.max_queued, queued);
        self.launch(state, None);
        Ticket::Queued(answer)
    }

    /// Takes the next batch: of the kind whose first statement has waited longest. What it leaves may make a further
    /// one.
    pub fn next_batch(self: &Arc<Self>) -> Option<Batch> {
        // Dropped after the state, which their permits lock.
        let mut given_up = Vec::new();
        let mut state = self.state();
        let batch = state.take(&self.limits, &mut given_up);
        state.let_in(self, self.limits.max_queued);
        self.launch(state, None);
        batch
    }

    /// Takes all statements out, whose callers will be told why.
    pub fn give_up(self: &Arc<Self>) -> Vec<QueuedStatement> {
        self.state().give_up()
    }

    /// Notes that a statement of a kind runs as a single one.
    pub fn ran_single(&self, kind: Kind) {
        if let Some(queue) = self.state().kind(kind) {
            queue.succeeded(self.limits.max_batch_rows);
        }
    }

    /// Notes that a batch of a kind was answered, with so many bytes for so many statements.
    pub fn answered(&self, kind: Kind, bytes: usize, statements: usize) {
        if let Some(queue) = self.state().kind(kind) {
            queue.succeeded(self.limits.max_batch_rows);
            queue.answered(bytes / statements);
        }
    }

    /// Notes that a batch of a kind has failed.
    pub fn failed(&self, kind: Kind, statements: usize) {
        if let Some(queue) = self.state().kind(kind) {
            queue.failed(statements);
        }
    }

    /// Has the statements that a thread submits wait until the guard is dropped, and go together.
    pub fn begin_submission(self: &Arc<Self>) -> SubmissionGuard {
        self.state().submitting += 1;
        SubmissionGuard::new(self.clone())
    }

    /// Launches a batch if there are statements for it, and nobody is about to submit more.
    fn launch(self: &Arc<Self>, state: MutexGuard<'_, State>, runtime: Option<&Handle>) {
        if state.submitting == 0 {
            self.launch_now(state, runtime);
        }
    }

    fn launch_now(self: &Arc<Self>, mut state: MutexGuard<'_, State>, runtime: Option<&Handle>) {
        if !state.needs_slot(&self.limits) {
            return;
        }
        // Without a runtime nothing is under way; the next statement brings one.
        if let Some(runtime) = runtime.cloned().or_else(|| Handle::try_current().ok()) {
            state.in_flight += 1;
            drop(state);
            (self.launch)(InFlightSlot::new(self.clone(), runtime, false));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Release for Queue {
    fn release_permit(self: Arc<Self>, key: u64) {
        let mut state = self.state();
        if let Some(queue) = state.keys.get_mut(&key) {
            queue.release();
        }
        state.resume(&self, key);
        self.launch(state, None);
    }

    fn begin_row_wait(&self, key: u64) {
        if let Some(queue) = self.state().keys.get_mut(&key) {
            queue.row_awaited = true;
        }
    }

    fn end_row_wait(self: Arc<Self>, key: u64) {
        let mut state = self.state();
        if let Some(queue) = state.keys.get_mut(&key) {
            queue.end_row_wait();
        }
        state.resume(&self, key);
        self.launch(state, None);
    }

    fn release_slot(self: Arc<Self>, runtime: Option<&Handle>) {
        let mut state = self.state();
        state.in_flight -= 1;
        if runtime.is_some() {
            self.launch(state, runtime);
        }
    }

    // Sends what is there even if another thread is still submitting: nobody waits for longer than the
    // shortest submission takes.
    fn end_submission(self: Arc<Self>) {
        let mut state = self.state();
        state.submitting -= 1;
        self.launch_now(state, None);
    }
}
