//! The calls about one key: which of them get along with each other, and whose turn it is.

use std::collections::VecDeque;
use std::time::Duration;

use super::call::Call;
use crate::engine::protocol::statement::Statement;
use crate::engine::sql::batch::Kind;

/// Which calls about one key get along with each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Any number at once.
    Read,
    /// Any number in one statement, which has one winner: the kind they have in common.
    Compete(Kind),
    /// One at a time, and it may wait for the row.
    Write,
    /// One at a time.
    Insert,
}

impl Manner {
    /// How a statement gets along.
    pub fn of(kind: Kind, statement: &Statement) -> Self {
        match (kind, statement) {
            // Somebody whose lock holds for no time is no rival.
            (_, Statement::Lock { hold, .. }) if *hold == Duration::ZERO => Self::Insert,
            (Kind::Find | Kind::FindOrCreate { .. }, _) => Self::Read,
            (Kind::Lock | Kind::Initialize(_) | Kind::TakeOver(_), _) => Self::Compete(kind),
            (Kind::Update { .. } | Kind::Single, _) => Self::Write,
            (Kind::Create { .. }, _) => Self::Insert,
        }
    }
}

/// The calls about one key: those whose turn it is, and those behind them.
#[derive(Default)]
pub struct Key {
    /// How many have their turn.
    pub holders: usize,
    /// How they get along.
    pub manner: Option<Manner>,
    /// Whether the statement of those who compete is under way: it is too late to join them.
    pub sent: bool,
    /// Those who wait for their turn.
    pub behind: VecDeque<(Kind, Manner, Call)>,
    /// Whether a write waits for the row, and those that follow it. Others pass.
    pub row_awaited: bool,
    /// Writes that wait behind it.
    pub behind_row: VecDeque<(Kind, Manner, Call)>,
}

impl Key {
    /// Whether one more may have its turn.
    pub fn admits(&self, manner: Manner) -> bool {
        match (self.manner, manner) {
            (None, _) => true,
            (Some(Manner::Read), Manner::Read) => true,
            (Some(Manner::Compete(held)), Manner::Compete(kind)) => held == kind && !self.sent,
            _ => false,
        }
    }

    /// Whether nobody is there.
    pub fn is_idle(&self) -> bool {
        self.holders == 0
            && self.behind.is_empty()
            && !self.row_awaited
            && self.behind_row.is_empty()
    }
}

impl Key {
    /// One more has its turn.
    pub fn hold(&mut self, manner: Manner) {
        self.manner = Some(manner);
        self.holders += 1;
    }

    /// One has had its turn.
    pub fn let_go(&mut self) {
        self.holders = self.holders.saturating_sub(1);
        if self.holders == 0 {
            self.manner = None;
            self.sent = false;
        }
    }
}
