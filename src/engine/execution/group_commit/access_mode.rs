//! Which statements about one key may run at the same time.

use std::time::Duration;

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
            (Kind::Find | Kind::Look(_) | Kind::FindOrCreate { .. }, _) => Self::Read,
            (Kind::Lock | Kind::Initialize(_) | Kind::TakeOver(_), _) => Self::Compete(kind),
            (Kind::Update { .. } | Kind::Single, _) => Self::Write,
            (Kind::Create { .. }, _) => Self::Insert,
        }
    }
}
