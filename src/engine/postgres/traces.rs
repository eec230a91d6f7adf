//! What a caller's own statements may leave in a session beyond their transaction, and how it is cleared.

use crate::engine::postgres::text::first_word;

/// Clears what a caller's own statements may have left in the session: what `DISCARD ALL` does, but for the
/// statements that the engine has prepared.
const CLEAR: &str = "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES";
/// The advisory locks, besides. It costs twice as much as all the rest.
const UNLOCK: &str = "SELECT pg_catalog.pg_advisory_unlock_all()";

/// What a caller's own statements may have left in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Anything.
    pub any: bool,
    /// Advisory locks.
    pub locks: bool,
    /// What cannot be cleared.
    pub lasting: bool,
    /// Another meaning of names: a `search_path`, a temporary table.
    pub names: bool,
}

impl Traces {
    /// What a statement may leave. One that changes rows takes no advisory locks of itself.
    pub fn of(sql: &str) -> Self {
        let word = first_word(sql);
        let changes_rows = ["INSERT", "UPDATE", "DELETE", "MERGE"].contains(&word.as_str());
        let reads_rows = ["SELECT", "VALUES", "WITH"].contains(&word.as_str());
        let contains = |text: &str| sql.to_ascii_lowercase().contains(text);
        Self {
            any: true,
            locks: !changes_rows || contains("advisory"),
            lasting: ["PREPARE", "LOAD"].contains(&word.as_str()),
            names: !(changes_rows || reads_rows) || contains("set_config"),
        }
    }

    /// Adds what another statement may leave.
    pub fn add(&mut self, other: Self) {
        self.any |= other.any;
        self.locks |= other.locks;
        self.lasting |= other.lasting;
        self.names |= other.names;
    }

    /// SQL that clears them, to follow other SQL.
    pub fn clear(self) -> String {
        match self {
            Self { locks: true, .. } => format!("; {CLEAR}; {UNLOCK}"),
            Self { any: true, .. } => format!("; {CLEAR}"),
            _ => String::new(),
        }
    }
}
