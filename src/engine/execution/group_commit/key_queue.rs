//! The statements about one key: how many run, and which wait.

use std::collections::VecDeque;

use super::access_mode::AccessMode;
use super::queued_statement::QueuedStatement;

/// The statements about one key: how many have its permit, and those that wait for it.
#[derive(Default)]
pub struct KeyQueue {
    /// How many have the permit.
    holders: usize,
    /// Their mode.
    mode: Option<AccessMode>,
    /// Whether the batch of those who compete is under way, so that nobody can join it.
    pub sent: bool,
    /// Those that wait for the permit.
    pub waiting: VecDeque<QueuedStatement>,
    /// Whether a write waits for the row, with the writes that follow it. Others pass them.
    pub row_awaited: bool,
    /// The writes that wait behind it.
    pub waiting_for_row: VecDeque<QueuedStatement>,
}

impl KeyQueue {
    /// Whether one more may have the permit, after those that wait for it.
    pub fn admits(&self, mode: AccessMode) -> bool {
        match (self.mode, mode) {
            (None, _) => true,
            (Some(AccessMode::Read), AccessMode::Read) => true,
            (Some(AccessMode::Compete(held)), AccessMode::Compete(kind)) => {
                held == kind && !self.sent
            }
            _ => false,
        }
    }

    /// Whether a statement that has just arrived may have the permit.
    pub fn is_free(&self, mode: AccessMode) -> bool {
        self.waiting.is_empty() && !self.is_behind_row(mode) && self.admits(mode)
    }

    /// Whether a statement has to wait behind the write that waits for the row.
    pub fn is_behind_row(&self, mode: AccessMode) -> bool {
        self.row_awaited && mode == AccessMode::Write
    }

    /// Whether nobody has the permit, and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.holders == 0
            && self.waiting.is_empty()
            && !self.row_awaited
            && self.waiting_for_row.is_empty()
    }

    /// Gives the permit to one more.
    pub fn acquire(&mut self, mode: AccessMode) {
        self.mode = Some(mode);
        self.holders += 1;
    }

    /// Takes the permit back from one.
    pub fn release(&mut self) {
        self.holders = self.holders.saturating_sub(1);
        if self.holders == 0 {
            self.mode = None;
            self.sent = false;
        }
    }

    /// Ends the wait for the row: those that waited behind it are the next.
    pub fn end_row_wait(&mut self) {
        self.row_awaited = false;
        while let Some(waiting) = self.waiting_for_row.pop_back() {
            self.waiting.push_front(waiting);
        }
    }
}
