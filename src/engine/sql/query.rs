//! A statement as it is sent.

use std::sync::Arc;

use crate::engine::key::Text;

/// A statement as it is sent.
#[derive(Clone, Debug)]
pub struct Query {
    /// SQL with `$1`, `$2`, …
    pub text: Arc<str>,
    /// What is sent in its place as a part of a message that keeps nothing prepared, where that is something else.
    pub unprepared: Option<Unprepared>,
    /// The parameters: text or `NULL`.
    pub parameters: Vec<Text>,
    /// Whether a caller's own SQL is in it, whose parameters have types that the server infers.
    pub is_raw: bool,
    /// Whether it waits for a lock for a moment only, in a transaction that waits for others as long as a call may.
    pub waits_briefly: bool,
}

impl Query {
    /// A statement of the engine's own words.
    pub fn new(text: Arc<str>, parameters: Vec<Text>) -> Self {
        Self { text, unprepared: None, parameters, is_raw: false, waits_briefly: false }
    }
}

/// Two statements that do and answer what one does. The second answers no rows.
#[derive(Clone, Debug)]
pub struct Unprepared(pub Arc<str>);
