//! The statements of one kind that may run: the next batch is made of them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::queued_statement::QueuedStatement;
use crate::engine::sql::batch::Kind;

/// The statements of one kind that may run.
pub struct KindQueue {
    /// Their kind.
    pub kind: Kind,
    /// Its SQL.
    pub text: Arc<str>,
    /// The statements, in the order of their arrival.
    statements: VecDeque<QueuedStatement>,
    /// Their size in bytes.
    pub bytes: usize,
    /// How many may go in one batch: fewer after a failure, so that one statement after the other that
    /// the server refuses does not slow all of them down.
    cap: usize,
    /// About how many bytes the server answers to each.
    answer_bytes: usize,
}

impl KindQueue {
    /// An empty queue, with `cap` statements a batch at most.
    pub fn new(kind: Kind, text: Arc<str>, cap: usize) -> Self {
        Self { kind, text, statements: VecDeque::new(), bytes: 0, cap, answer_bytes: 0 }
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Adds a statement.
    pub fn push(&mut self, statement: QueuedStatement) {
        self.bytes += statement.bytes;
        self.statements.push_back(statement);
    }

    /// Notes a success: twice as many may go in one batch.
    pub fn succeeded(&mut self, max: usize) {
        self.cap = (self.cap * 2).min(max);
    }

    /// Notes how many bytes the server has answered to each statement.
    pub fn answered(&mut self, bytes: usize) {
        self.answer_bytes = bytes;
    }

    /// Notes that a batch of so many has failed: half as many may go in one.
    pub fn failed(&mut self, statements: usize) {
        self.cap = (statements / 2).max(1);
    }

    /// The number of the first statement.
    pub fn first(&self) -> Option<u64> {
        self.statements.front().map(|statement| statement.number)
    }

    /// Takes all statements.
    pub fn take_all(&mut self) -> Vec<QueuedStatement> {
        self.bytes = 0;
        self.statements.drain(..).collect()
    }

    /// Takes as many statements as may go in one batch, `max` at most. Those whose callers have gone are given up.
    pub fn take(
        &mut self,
        max: usize,
        max_bytes: usize,
        given_up: &mut Vec<QueuedStatement>,
    ) -> Vec<QueuedStatement> {
        let max = if self.kind == Kind::Single { 1 } else { self.cap.min(max) };
        let mut taken = Vec::with_capacity(max.min(self.statements.len()));
        let mut bytes = 0;
        while let Some(statement) = self.statements.pop_front() {
            if statement.reply.is_closed() {
                self.bytes -= statement.bytes;
                given_up.push(statement);
                continue;
            }
            bytes += statement.bytes + self.answer_bytes;
            if !taken.is_empty() && bytes > max_bytes {
                self.statements.push_front(statement);
                break;
            }
            self.bytes -= statement.bytes;
            taken.push(statement);
            if taken.len() == max {
                break;
            }
        }
        taken
    }
}
