//! Which statement is next: those about one key need its permit; those that have it wait for a batch of
//! their kind.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::guards::{InFlightSlot, KeyPermit, SubmissionGuard};
use super::key_queue::KeyQueue;
use super::kind_queue::KindQueue;
use super::limits::Limits;
use super::queued_statement::{Answer, QueuedStatement};
use crate::engine::protocol::statement::Statement;
use crate::engine::sql::batch::Kind;

/// Statements of one kind, to be answered by one statement.
pub struct Batch {
    /// Their kind.
    pub kind: Kind,
    /// Its SQL.
    pub text: Arc<str>,
    /// The statements, at least one.
    pub statements: Vec<QueuedStatement>,
}

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

#[derive(Default)]
struct State {
    /// By the hash of the key: two keys of one hash wait for each other, which does no harm.
    keys: HashMap<u64, KeyQueue, BuildHasherDefault<Unhashed>>,
    /// Each kind that has been met.
    kinds: Vec<KindQueue>,
    /// Those for which the queue has no room, in the order of their arrival.
    outside: VecDeque<QueuedStatement>,
    /// How many statements the queue holds.
    queued: usize,
    /// How many have arrived.
    arrived: u64,
    in_flight: usize,
    /// How many threads are submitting statements.
    submitting: usize,
}

// The keys are hashes already.
#[derive(Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
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
        text: impl FnOnce() -> String,
    ) -> Ticket {
        let (queued, answer) = QueuedStatement::new(kind, statement);
        let mut state = self.state();
        state.meet(kind, self.limits.max_batch_rows, text);
        if state.is_quiet()
            && let Ok(runtime) = Handle::try_current()
            && state.begin_single(&queued)
        {
            drop(state);
            let permit = KeyPermit::new(Arc::clone(self), queued.key);
            let slot = InFlightSlot::new(Arc::clone(self), runtime, true);
            return Ticket::Single(queued.statement, permit, slot);
        }
        let queued = state.numbered(queued);
        state.outside.push_back(queued);
        state.let_in(self);
        self.launch(state, None);
        Ticket::Queued(answer)
    }

    /// Takes in a statement that has been in before, and must not wait for its row.
    pub fn enter_again(
        self: &Arc<Self>,
        kind: Kind,
        statement: Box<Statement>,
        permit: Option<KeyPermit>,
    ) -> oneshot::Receiver<Answer> {
        let (queued, answer) = QueuedStatement::new(kind, statement);
        let mut state = self.state();
        state.queued += 1;
        let again = QueuedStatement { permit, skips_locked: true, ..queued };
        let again = state.numbered(again);
        state.push(again);
        self.launch(state, None);
        answer
    }

    /// Takes the next batch: of the kind whose first statement has waited longest.
    pub fn next_batch(self: &Arc<Self>) -> Option<Batch> {
        // Dropped after the state, which their permits lock.
        let mut given_up = Vec::new();
        let mut state = self.state();
        let batch = state.take(self.limits.max_batch_bytes, &mut given_up);
        state.let_in(self);
        drop(state);
        batch
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
        SubmissionGuard::new(Arc::clone(self))
    }

    /// The end of a submission. It sends what is there even if another thread is still submitting:
    /// nobody waits for longer than the shortest submission takes.
    pub fn end_submission(self: &Arc<Self>) {
        let mut state = self.state();
        state.submitting -= 1;
        self.launch_now(state, None);
    }

    /// Gives back a key's permit.
    pub fn release_permit(self: &Arc<Self>, key: u64) {
        let mut state = self.state();
        if let Some(queue) = state.keys.get_mut(&key) {
            queue.release();
        }
        state.resume(self, key);
        self.launch(state, None);
    }

    /// Has the writes about a key wait behind one that waits for the row. Others pass.
    pub fn begin_row_wait(&self, key: u64) {
        if let Some(queue) = self.state().keys.get_mut(&key) {
            queue.row_awaited = true;
        }
    }

    /// Ends that wait.
    pub fn end_row_wait(self: &Arc<Self>, key: u64) {
        let mut state = self.state();
        if let Some(queue) = state.keys.get_mut(&key) {
            queue.end_row_wait();
        }
        state.resume(self, key);
        self.launch(state, None);
    }

    /// Gives back a slot. The next batch runs on the same runtime, if there is one.
    pub fn release_slot(self: &Arc<Self>, runtime: Option<&Handle>) {
        let mut state = self.state();
        state.in_flight -= 1;
        if runtime.is_some() {
            self.launch(state, runtime);
        }
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
            (self.launch)(InFlightSlot::new(Arc::clone(self), runtime, false));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether nothing is under way and nobody waits.
    fn is_quiet(&self) -> bool {
        self.in_flight == 0
            && self.submitting == 0
            && self.waiting() == 0
            && self.outside.is_empty()
    }

    /// How many statements wait for a batch.
    fn waiting(&self) -> usize {
        self.kinds.iter().map(KindQueue::len).sum()
    }

    /// Whether a further batch should be under way. The first always should. A second one only if it
    /// is a large one, in statements or in bytes: many small batches are slower than few large ones.
    fn needs_slot(&self, limits: &Limits) -> bool {
        let is_long =
            self.kinds.iter().map(|kind| kind.bytes).sum::<usize>() >= limits.max_batch_bytes;
        let (max, min) = match is_long {
            true => (limits.max_long_in_flight, 1),
            false => (limits.max_in_flight, limits.min_further_batch),
        };
        match self.in_flight {
            0 => self.waiting() > 0,
            in_flight => in_flight < max && self.waiting() >= min,
        }
    }

    /// Adds the queue of a kind that has not been met before.
    fn meet(&mut self, kind: Kind, cap: usize, text: impl FnOnce() -> String) {
        if self.kind(kind).is_none() {
            self.kinds.push(KindQueue::new(kind, text().into(), cap));
        }
    }

    fn kind(&mut self, kind: Kind) -> Option<&mut KindQueue> {
        self.kinds.iter_mut().find(|queue| queue.kind == kind)
    }

    fn numbered(&mut self, queued: QueuedStatement) -> QueuedStatement {
        self.arrived += 1;
        QueuedStatement { number: self.arrived, ..queued }
    }

    fn push(&mut self, queued: QueuedStatement) {
        if let Some(queue) = self.kind(queued.kind) {
            queue.push(queued);
        }
    }

    /// Takes a slot and the key's permit for a statement, if the permit is free.
    fn begin_single(&mut self, queued: &QueuedStatement) -> bool {
        let key = self.keys.entry(queued.key).or_default();
        let is_free =
            key.waiting.is_empty() && !key.is_behind_row(queued.mode) && key.admits(queued.mode);
        if is_free {
            key.acquire(queued.mode);
            key.sent = true;
            self.in_flight += 1;
        }
        is_free
    }

    /// Takes in statements from outside, as far as there is room.
    fn let_in(&mut self, queue: &Arc<Queue>) {
        while self.queued < queue.limits.max_queued
            && let Some(next) = self.outside.pop_front()
        {
            self.queued += 1;
            let key = next.key;
            self.keys.entry(key).or_default().waiting.push_back(next);
            self.resume(queue, key);
        }
    }

    /// Gives the permit of a key to those that wait for it, in their order, as far as it is free.
    fn resume(&mut self, queue: &Arc<Queue>, key: u64) {
        while let Some(about_key) = self.keys.get_mut(&key)
            && let Some(mut next) = about_key.waiting.pop_front()
        {
            if about_key.is_behind_row(next.mode) {
                about_key.waiting_for_row.push_back(next);
            } else if about_key.admits(next.mode) {
                about_key.acquire(next.mode);
                next.permit = Some(KeyPermit::new(Arc::clone(queue), key));
                self.push(next);
            } else {
                about_key.waiting.push_front(next);
                break;
            }
        }
        if self.keys.get(&key).is_some_and(KeyQueue::is_idle) {
            self.keys.remove(&key);
        }
    }

    fn take(&mut self, max_bytes: usize, given_up: &mut Vec<QueuedStatement>) -> Option<Batch> {
        loop {
            let first = |queue: &&mut KindQueue| queue.first().unwrap_or(u64::MAX);
            let queues = self.kinds.iter_mut().filter(|queue| queue.len() > 0);
            let queue = queues.min_by_key(first)?;
            let before = queue.len();
            let statements = queue.take(max_bytes, given_up);
            self.queued -= before - queue.len();
            if !statements.is_empty() {
                let batch = Batch { kind: queue.kind, text: Arc::clone(&queue.text), statements };
                self.note_sent(&batch);
                return Some(batch);
            }
        }
    }

    fn note_sent(&mut self, batch: &Batch) {
        if !matches!(batch.kind, Kind::Lock | Kind::Initialize(_) | Kind::TakeOver(_)) {
            return;
        }
        for permit in batch.statements.iter().filter_map(|queued| queued.permit.as_ref()) {
            if let Some(key) = self.keys.get_mut(&permit.key()) {
                key.sent = true;
            }
        }
    }
}
