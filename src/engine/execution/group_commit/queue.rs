//! Who is next: calls about one key take turns, and those whose turn it is wait in the lane of their
//! kind for the next batch.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Limits;
use super::call::{Answer, Call, hash, size};
use super::key::{Key, Manner};
use super::lane::Lane;
use crate::engine::protocol::statement::Statement;
use crate::engine::sql::batch::Kind;

/// Calls of one kind whose turn it is, to be answered by one statement.
pub struct Batch {
    /// Which kind.
    pub kind: Kind,
    /// Its SQL.
    pub text: Arc<str>,
    /// The calls, at least one.
    pub calls: Vec<Call>,
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

#[derive(Default)]
struct State {
    /// By the hash of the key: two keys of one hash wait for each other, which does no harm.
    keys: HashMap<u64, Key, BuildHasherDefault<Unhashed>>,
    lanes: Vec<Lane>,
    flights: usize,
    calls: u64,
    /// The threads that have more to come, so that what they have brought does not go yet.
    holds: Vec<ThreadId>,
    /// The last call that is not held. Those before it are not either: it would wait behind them.
    let_go: u64,
}

/// The calls of all callers.
pub struct Queue {
    state: Mutex<State>,
    limits: Limits,
    /// Begins a flight of its own.
    launch: Box<dyn Fn(Flight) + Send + Sync>,
}

/// A call's turn at its key, which ends when it is dropped.
pub struct Turn {
    queue: Arc<Queue>,
    key: u64,
}

/// The right to have a statement under way, which is passed on when it is dropped.
pub struct Flight {
    queue: Arc<Queue>,
    runtime: Handle,
    begun: bool,
}

/// A write's wait for the row of its key, which other calls pass.
pub struct RowWait {
    queue: Arc<Queue>,
    key: u64,
}

/// While it is there, what its thread brings waits for what else is to come. A thread waits for no
/// other, which may be busy with something else.
pub struct Hold {
    queue: Arc<Queue>,
    thread: ThreadId,
}

/// How a call begins.
pub enum Ticket {
    /// At once: nobody else is there.
    Alone(Box<Statement>, Turn, Flight),
    /// In the queue.
    Queued(oneshot::Receiver<Answer>),
}

impl Queue {
    /// A queue that calls `launch` when there are calls and too few flights.
    pub fn new(limits: Limits, launch: Box<dyn Fn(Flight) + Send + Sync>) -> Self {
        Self { state: Mutex::default(), limits, launch }
    }

    /// Takes a call in. `text` writes the SQL of a kind that has not been met before.
    pub fn enter(
        self: &Arc<Self>,
        kind: Kind,
        statement: Box<Statement>,
        room: Option<OwnedSemaphorePermit>,
        text: impl FnOnce() -> String,
    ) -> Ticket {
        let key = hash(&statement);
        let manner = Manner::of(kind, &statement);
        let mut guard = self.state();
        let state = &mut *guard;
        state.calls += 1;
        let held = state.holds.contains(&thread::current().id());
        if !held {
            state.let_all_go();
        }
        let known = state.keys.entry(key).or_default();
        let behind_row = known.row_awaited && manner == Manner::Write;
        let admitted = !behind_row && known.behind.is_empty() && known.admits(manner);
        if admitted
            && !held
            && state.flights == 0
            && state.nobody_waits()
            && let Ok(runtime) = Handle::try_current()
        {
            state.flights += 1;
            let known = state.keys.entry(key).or_default();
            known.hold(manner);
            known.sent = true;
            let turn = Turn { queue: Arc::clone(self), key };
            let flight = Flight { queue: Arc::clone(self), runtime, begun: true };
            return Ticket::Alone(statement, turn, flight);
        }
        let (reply, answer) = oneshot::channel();
        let bytes = size(&statement);
        let number = state.calls;
        let mut call = Call { statement, turn: None, skips: false, bytes, number, reply, room };
        state.lane(kind, self.limits.max_batch_rows, text);
        let known = state.keys.entry(key).or_default();
        if admitted {
            known.hold(manner);
            call.turn = Some(Turn { queue: Arc::clone(self), key });
            state.push(kind, call);
            self.launch(guard, None);
        } else if behind_row {
            known.behind_row.push_back((kind, manner, call));
        } else {
            known.behind.push_back((kind, manner, call));
        }
        Ticket::Queued(answer)
    }

    /// Has what this thread brings wait until the hold is dropped, and go then.
    pub fn hold(self: &Arc<Self>) -> Hold {
        let thread = thread::current().id();
        self.state().holds.push(thread);
        Hold { queue: Arc::clone(self), thread }
    }

    /// Takes in a call that has been in before, and is not to wait for its row.
    pub fn enter_again(
        self: &Arc<Self>,
        kind: Kind,
        statement: Box<Statement>,
        turn: Option<Turn>,
        text: impl FnOnce() -> String,
    ) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let bytes = size(&statement);
        let mut state = self.state();
        state.calls += 1;
        state.let_all_go();
        let number = state.calls;
        let call = Call { statement, turn, skips: true, bytes, number, reply, room: None };
        state.lane(kind, self.limits.max_batch_rows, text);
        state.push(kind, call);
        self.launch(state, None);
        answer
    }

    /// The next batch, of the kind whose first call has waited longest.
    pub fn next_batch(&self) -> Option<Batch> {
        let mut given_up = Vec::new();
        let mut guard = self.state();
        let state = &mut *guard;
        let batch = loop {
            let last = state.let_go;
            let firsts = state.lanes.iter_mut().filter_map(|lane| Some((lane.first()?, lane)));
            let (first, lane) = firsts.min_by_key(|(first, _)| *first)?;
            if first > last {
                return None;
            }
            let calls = lane.take(last, self.limits.max_batch_bytes, &mut given_up);
            if !calls.is_empty() {
                break Batch { kind: lane.kind, text: Arc::clone(&lane.text), calls };
            }
        };
        for turn in batch.calls.iter().filter_map(|call| call.turn.as_ref()) {
            if matches!(batch.kind, Kind::Lock | Kind::Initialize(_) | Kind::TakeOver(_))
                && let Some(key) = state.keys.get_mut(&turn.key)
            {
                key.sent = true;
            }
        }
        // Before `given_up`, whose turns end under the lock.
        drop(guard);
        Some(batch)
    }

    /// Notes that a call of a kind goes alone.
    pub fn goes_alone(&self, kind: Kind) {
        if let Some(lane) = self.state().lane_of(kind) {
            lane.grow(self.limits.max_batch_rows);
        }
    }

    /// Notes that a batch of a kind was answered, with so many bytes to each of so many.
    pub fn answered(&self, kind: Kind, bytes: usize, rows: usize) {
        if let Some(lane) = self.state().lane_of(kind) {
            lane.grow(self.limits.max_batch_rows);
            lane.answered = bytes / rows;
        }
    }

    /// Notes that a batch of a kind has failed.
    pub fn failed(&self, kind: Kind, rows: usize) {
        if let Some(lane) = self.state().lane_of(kind) {
            lane.cap = (rows / 2).max(1);
        }
    }

    /// Launches a flight if there are calls for one.
    fn launch(self: &Arc<Self>, mut state: MutexGuard<'_, State>, runtime: Option<&Handle>) {
        if !self.has_flight(&state) {
            return;
        }
        // Without a runtime nothing is under way; the next call brings one.
        if let Some(runtime) = runtime.cloned().or_else(|| Handle::try_current().ok()) {
            state.flights += 1;
            drop(state);
            (self.launch)(Flight { queue: Arc::clone(self), runtime, begun: false });
        }
    }

    /// Whether one more statement under way is worth it. The first always is. A further one is if it
    /// would be a large batch, of calls or of bytes: many small ones are slower than few large ones.
    fn has_flight(&self, state: &State) -> bool {
        let limits = &self.limits;
        let is_long = state.bytes() >= limits.max_batch_bytes;
        let (most, batch) = match is_long {
            true => (limits.max_long_flights, 1),
            false => (limits.max_flights, limits.min_further_batch),
        };
        let enough = match state.flights {
            0 => true,
            flights => flights < most && state.waiting() >= batch,
        };
        enough && state.has_batch(state.let_go)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn nobody_waits(&self) -> bool {
        self.waiting() == 0
    }

    fn let_all_go(&mut self) {
        self.let_go = self.calls;
    }

    fn waiting(&self) -> usize {
        self.lanes.iter().map(Lane::len).sum()
    }

    fn bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.bytes).sum()
    }

    fn has_batch(&self, last: u64) -> bool {
        self.lanes.iter().filter_map(Lane::first).any(|first| first <= last)
    }

    fn lane(&mut self, kind: Kind, cap: usize, text: impl FnOnce() -> String) {
        if !self.lanes.iter().any(|lane| lane.kind == kind) {
            let text = text().into();
            self.lanes.push(Lane::new(kind, text, cap));
        }
    }

    fn lane_of(&mut self, kind: Kind) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.kind == kind)
    }

    fn push(&mut self, kind: Kind, call: Call) {
        if let Some(lane) = self.lane_of(kind) {
            lane.push(call);
        }
    }

    /// Lets those go whose turn has come.
    fn go_on(&mut self, queue: &Arc<Queue>, hash: u64) {
        while let Some(key) = self.keys.get_mut(&hash) {
            let Some((kind, manner, call)) = key.behind.pop_front() else {
                break;
            };
            if key.row_awaited && manner == Manner::Write {
                key.behind_row.push_back((kind, manner, call));
                continue;
            }
            if !key.admits(manner) {
                key.behind.push_front((kind, manner, call));
                break;
            }
            key.hold(manner);
            self.let_all_go();
            let turn = Some(Turn { queue: Arc::clone(queue), key: hash });
            self.push(kind, Call { turn, ..call });
        }
        if self.keys.get(&hash).is_some_and(Key::is_idle) {
            self.keys.remove(&hash);
        }
    }
}

impl Turn {
    /// Lets other calls pass while the call waits for the key's row.
    pub fn wait_for_row(self) -> RowWait {
        if let Some(key) = self.queue.state().keys.get_mut(&self.key) {
            key.row_awaited = true;
        }
        RowWait { queue: Arc::clone(&self.queue), key: self.key }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if let Some(key) = state.keys.get_mut(&self.key) {
            key.let_go();
        }
        state.go_on(&self.queue, self.key);
        self.queue.launch(state, None);
    }
}

impl Drop for RowWait {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if let Some(key) = state.keys.get_mut(&self.key) {
            key.row_awaited = false;
            while let Some(call) = key.behind_row.pop_back() {
                key.behind.push_front(call);
            }
        }
        state.go_on(&self.queue, self.key);
        self.queue.launch(state, None);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if let Some(index) = state.holds.iter().position(|thread| *thread == self.thread) {
            state.holds.swap_remove(index);
        }
        state.let_all_go();
        self.queue.launch(state, None);
    }
}

impl Flight {
    /// Where it is under way.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Notes that it is under way.
    pub fn begin(&mut self) {
        self.begun = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.flights -= 1;
        // One that has never begun was on a runtime that is shutting down: so would the next be.
        if self.begun {
            self.queue.launch(state, Some(&self.runtime));
        }
    }
}
