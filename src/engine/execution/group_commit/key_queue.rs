//! The statements about one key: which of them may run at the same time, and which wait.

use std::collections::VecDeque;
use std::time::Duration;

use super::queued_statement::QueuedStatement;
use crate::engine::protocol::statement::Statement;
use crate::engine::sql::batch::Kind;

/// Which statements about one key may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// Any number.
    Read,
    /// Any number in one batch, which has one winner: the kind that they have in common.
    Compete(Kind),
    /// One at a time, and it may wait for the row.
    Write,
    /// One at a time.
    Insert,
}

impl AccessMode {
    /// The mode of a statement.
    pub fn of(kind: Kind, statement: &Statement) -> Self {
        match (kind, statement) {
            // A lock that holds for no time excludes nobody.
            (_, Statement::Lock { hold, .. }) if *hold == Duration::ZERO => Self::Insert,
            (Kind::Find | Kind::FindOrCreate { .. }, _) => Self::Read,
            (Kind::Lock | Kind::Initialize(_) | Kind::TakeOver(_), _) => Self::Compete(kind),
            (Kind::Update { .. } | Kind::Single, _) => Self::Write,
            (Kind::Create { .. }, _) => Self::Insert,
        }
    }
}

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
