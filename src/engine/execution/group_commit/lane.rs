//! The calls of one kind whose turn it is, of which the next batch is made.

use std::collections::VecDeque;
use std::sync::Arc;

use super::call::Call;
use crate::engine::sql::batch::Kind;

/// The calls of one kind whose turn it is.
pub struct Lane {
    /// Which kind.
    pub kind: Kind,
    /// Its SQL.
    pub text: Arc<str>,
    /// The calls, in their order.
    calls: VecDeque<Call>,
    /// Their size in bytes.
    pub bytes: usize,
    /// How many may go in one batch: fewer after a failure, so that one poisoned call after the
    /// other does not slow all of them down.
    pub cap: usize,
    /// About how many bytes it answers to each.
    pub answered: usize,
}

impl Lane {
    /// A lane without calls, of which so many may go in one batch.
    pub fn new(kind: Kind, text: Arc<str>, cap: usize) -> Self {
        Self { kind, text, calls: VecDeque::new(), bytes: 0, cap, answered: 0 }
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Takes a call in.
    pub fn push(&mut self, call: Call) {
        self.bytes += call.bytes;
        self.calls.push_back(call);
    }

    /// Lets more go in one batch, after one has succeeded.
    pub fn grow(&mut self, most: usize) {
        self.cap = (self.cap * 2).min(most);
    }

    /// When the first call came, as a number.
    pub fn first(&self) -> Option<u64> {
        self.calls.front().map(|call| call.number)
    }

    /// Takes as many calls as may go in one batch, up to the call `last`. Those that nobody waits for
    /// any more are given up.
    pub fn take(&mut self, last: u64, max_bytes: usize, given_up: &mut Vec<Call>) -> Vec<Call> {
        let most = if self.kind == Kind::Single { 1 } else { self.cap };
        let mut calls = Vec::with_capacity(most.min(self.calls.len()));
        let mut bytes = 0;
        while let Some(call) = self.calls.pop_front_if(|call| call.number <= last) {
            self.bytes -= call.bytes;
            if call.reply.is_closed() {
                given_up.push(call);
                continue;
            }
            bytes += call.bytes + self.answered;
            if !calls.is_empty() && bytes > max_bytes {
                self.bytes += call.bytes;
                self.calls.push_front(call);
                break;
            }
            calls.push(call);
            if calls.len() == most {
                break;
            }
        }
        calls
    }
}
