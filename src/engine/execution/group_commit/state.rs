//! What the queue holds, under its lock.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::guards::{KeyPermit, Release};
use super::key_queue::KeyQueue;
use super::kind_queue::KindQueue;
use super::limits::Limits;
use super::queued_statement::QueuedStatement;
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

/// What the queue holds.
#[derive(Default)]
pub struct State {
    /// By the hash of the key: two keys of one hash wait for each other, which does no harm.
    pub keys: HashMap<u64, KeyQueue, BuildHasherDefault<Unhashed>>,
    /// Each kind that has been met.
    kinds: Vec<KindQueue>,
    /// Those for which the queue has no room, in the order of their arrival.
    outside: VecDeque<QueuedStatement>,
    /// How many statements the queue holds.
    pub queued: usize,
    /// How many have arrived.
    arrived: u64,
    /// How many slots are taken.
    pub in_flight: usize,
    /// How many threads are submitting statements.
    pub submitting: usize,
}

/// Takes a hash as it is.
#[derive(Default)]
pub struct Unhashed(u64);

impl Hasher for Unhashed {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl State {
    /// Whether nothing is under way and nobody waits.
    pub fn is_quiet(&self) -> bool {
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
    /// is a large one, in statements or in bytes: many small batches are slower than few large ones. Of reads, which
    /// have no commit to share, it need not be as large.
    pub fn needs_slot(&self, limits: &Limits) -> bool {
        let is_long =
            self.kinds.iter().map(|kind| kind.bytes).sum::<usize>() >= limits.max_batch_bytes;
        let (max, min) = match is_long {
            true => (limits.max_long_in_flight, 1),
            false => (limits.max_in_flight, limits.min_further_batch),
        };
        match self.in_flight {
            0 => self.waiting() > 0,
            in_flight => {
                in_flight < max
                    && (self.waiting() >= min || self.reads_next() >= limits.min_further_reads)
            }
        }
    }

    /// How many reads there are for the next batch, if it is one of reads.
    fn reads_next(&self) -> usize {
        let next = self.next().map(|index| &self.kinds[index]);
        next.filter(|queue| queue.kind.is_read()).map_or(0, KindQueue::len)
    }

    /// Of which kind the next batch is: the one whose first statement has waited longest.
    fn next(&self) -> Option<usize> {
        let waiting = self.kinds.iter().enumerate().filter(|(_, queue)| queue.len() > 0);
        waiting.min_by_key(|(_, queue)| queue.first()).map(|(index, _)| index)
    }

    /// Adds the queue of a kind that has not been met before.
    pub fn meet(&mut self, kind: Kind, cap: usize, text: impl FnOnce() -> Arc<str>) {
        if self.kind(kind).is_none() {
            self.kinds.push(KindQueue::new(kind, text(), cap));
        }
    }

    pub fn kind(&mut self, kind: Kind) -> Option<&mut KindQueue> {
        self.kinds.iter_mut().find(|queue| queue.kind == kind)
    }

    pub fn numbered(&mut self, queued: QueuedStatement) -> QueuedStatement {
        self.arrived += 1;
        QueuedStatement { number: self.arrived, ..queued }
    }

    pub fn push(&mut self, queued: QueuedStatement) {
        if let Some(queue) = self.kind(queued.kind) {
            queue.push(queued);
        }
    }

    /// Takes a slot and the key's permit for a statement, if the permit is free.
    pub fn begin_single(&mut self, queued: &QueuedStatement) -> bool {
        let key = self.keys.entry(queued.key).or_default();
        let is_free = key.is_free(queued.mode);
        if is_free {
            key.acquire(queued.mode);
            key.sent = true;
            self.in_flight += 1;
        }
        is_free
    }

    /// Takes in a statement that has just arrived, or leaves it outside if there are `max` already.
    pub fn take_in<R: Release + 'static>(
        &mut self,
        queue: &Arc<R>,
        max: usize,
        queued: QueuedStatement,
    ) {
        if self.queued < max && self.outside.is_empty() {
            self.admit(queue, queued);
        } else {
            self.outside.push_back(queued);
        }
    }

    /// Takes in statements from outside, as far as there is room.
    pub fn let_in<R: Release + 'static>(&mut self, queue: &Arc<R>, max: usize) {
        while self.queued < max
            && let Some(next) = self.outside.pop_front()
        {
            self.admit(queue, next);
        }
    }

    /// Gives a statement the permit of its key, or has it wait for that.
    fn admit<R: Release + 'static>(&mut self, queue: &Arc<R>, mut queued: QueuedStatement) {
        self.queued += 1;
        let key = self.keys.entry(queued.key).or_default();
        if key.is_free(queued.mode) {
            key.acquire(queued.mode);
            queued.permit = Some(KeyPermit::new(queue.clone(), queued.key));
            self.push(queued);
        } else {
            let hash = queued.key;
            key.waiting.push_back(queued);
            self.resume(queue, hash);
        }
    }

    /// Gives the permit of a key to those that wait for it, in their order, as far as it is free.
    pub fn resume<R: Release + 'static>(&mut self, queue: &Arc<R>, key: u64) {
        while let Some(about_key) = self.keys.get_mut(&key)
            && let Some(mut next) = about_key.waiting.pop_front()
        {
            if about_key.is_behind_row(next.mode) {
                about_key.waiting_for_row.push_back(next);
            } else if about_key.admits(next.mode) {
                about_key.acquire(next.mode);
                next.permit = Some(KeyPermit::new(queue.clone(), key));
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

    /// Takes all statements out: those that wait for a batch, for their key's permit, or for room.
    pub fn give_up(&mut self) -> Vec<QueuedStatement> {
        let mut taken: Vec<_> = self.kinds.iter_mut().flat_map(KindQueue::take_all).collect();
        for key in self.keys.values_mut() {
            taken.extend(key.waiting.drain(..));
            taken.extend(key.waiting_for_row.drain(..));
        }
        self.queued -= taken.len();
        taken.extend(self.outside.drain(..));
        taken
    }

    /// Takes the next batch, in the slot of its own. One of many reads that is under way alone leaves half of them to a
    /// second one, so that the answers of each are read while the server is at the other.
    pub fn take(&mut self, limits: &Limits, given_up: &mut Vec<QueuedStatement>) -> Option<Batch> {
        let is_alone = self.in_flight <= 1;
        loop {
            let index = self.next()?;
            let queue = &mut self.kinds[index];
            let before = queue.len();
            let has_halves = queue.kind.is_read() && before / 2 >= limits.min_further_reads;
            let max = if is_alone && has_halves { before.div_ceil(2) } else { before };
            let statements = queue.take(max, limits.max_batch_bytes, given_up);
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
