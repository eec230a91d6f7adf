//! The engine's own statements as parts of messages of several statements.

use std::sync::Arc;

use super::Connection;
use crate::engine::error::Error;
use crate::engine::postgres::names::new_name;
use crate::engine::postgres::parameters::Parameters;
use crate::engine::postgres::text::with_values;
use crate::engine::sql::{Query, Unprepared};

/// A statement of the engine's as SQL without parameters.
pub(super) struct Written {
    /// The statement, after what prepares it.
    pub sql: String,
    /// How many statements that is.
    pub statements: usize,
    /// What it prepares before it, and under which name.
    prepares: Option<(Arc<str>, String)>,
}

impl Connection {
    /// A statement of the engine's as a part of a message. A direct session prepares it for that.
    pub(super) fn written(&mut self, query: &Query) -> Result<Written, Error> {
        let literals = Parameters::Texts(query.parameters.clone()).literals()?;
        let is_pooled = self.is_pooled();
        let Some(session) = self.object.as_mut().filter(|_| !is_pooled && !query.is_raw) else {
            let (text, statements) = match &query.unprepared {
                Some(Unprepared(two)) => (two, 2),
                None => (&query.text, 1),
            };
            return Ok(Written { sql: with_values(text, &literals), statements, prepares: None });
        };
        let execute = |name: &str| format!("EXECUTE {name}({})", literals.join(", "));
        if let Some(name) = session.prepared.get(&query.text) {
            return Ok(Written { sql: execute(name), statements: 1, prepares: None });
        }
        // Another name each time: whether a message that has failed has prepared it is not known.
        let name = new_name();
        let sql = format!("PREPARE {name} AS {}; {}", query.text, execute(&name));
        Ok(Written { sql, statements: 2, prepares: Some((Arc::clone(&query.text), name)) })
    }

    /// Notes that a part of a message was done.
    pub(super) fn done(&mut self, Written { prepares, .. }: Written) {
        if let Some(session) = &mut self.object {
            session.prepared.extend(prepares);
        }
    }
}
