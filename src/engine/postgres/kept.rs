//! The statements of callers that a session keeps prepared.
//!
//! A kept statement has the types of its parameters from when it was prepared. Where a table's columns have changed
//! since, that shows as an error, of which [`Connection`](super::connection::Connection) finds out whether it is the
//! caller's; or it does not show, so that a statement is prepared anew from time to time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::error::Error;
use crate::engine::postgres::errors::is_stale;

/// How many statements a session keeps. Each takes some kilobytes of the server's.
const MOST: usize = 64;
/// How long a statement is kept.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A statement that is prepared.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The name by which it is prepared.
    pub name: Arc<str>,
    /// The types of its parameters, once somebody has asked for them.
    pub types: Option<Arc<[u32]>>,
    since: Instant,
}

impl Kept {
    /// A statement that was prepared just now.
    pub fn new(name: Arc<str>, types: Option<Arc<[u32]>>) -> Self {
        Self { name, types, since: Instant::now() }
    }
}

/// The statements that a session keeps, by their text.
#[derive(Debug, Default)]
pub struct KeptStatements(HashMap<Arc<str>, Kept>);

impl KeptStatements {
    /// A statement that is kept. One that has been for long is forgotten, and its name added to `forgotten`.
    pub fn get(&mut self, sql: &str, forgotten: &mut Vec<Arc<str>>) -> Option<Kept> {
        if self.0.get(sql)?.since.elapsed() < KEPT_FOR {
            return self.0.get(sql).cloned();
        }
        forgotten.extend(self.0.remove(sql).map(|kept| kept.name));
        None
    }

    /// Keeps a statement; in the place of another one, if there are too many.
    pub fn keep(&mut self, sql: &str, kept: Kept, forgotten: &mut Vec<Arc<str>>) {
        let replaced = self.0.insert(sql.into(), kept);
        forgotten.extend(replaced.map(|kept| kept.name));
        if self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, kept)| kept.since);
            let oldest = oldest.map(|(sql, _)| Arc::clone(sql));
            let oldest = oldest.and_then(|sql| self.0.remove(&sql));
            forgotten.extend(oldest.map(|kept| kept.name));
        }
    }

    /// Notes the types of a statement's parameters.
    pub fn learn(&mut self, sql: &str, types: Arc<[u32]>) {
        if let Some(kept) = self.0.get_mut(sql) {
            kept.types = Some(types);
        }
    }
}

/// A kept statement that has failed, and may be of no more use.
pub struct Suspect {
    /// Its text.
    pub sql: String,
    /// The name by which it is prepared.
    pub name: Arc<str>,
}

/// What the failure of a kept statement tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is of no more use.
    Stale,
    /// It may read its parameters as of other types than the server would infer now.
    Suspect,
    /// The failure is the caller's.
    Sound,
}

impl Verdict {
    /// Judges by what a statement failed with.
    pub fn of(error: &Error) -> Self {
        let Error::Database(error) = error else { return Self::Sound };
        // Data exceptions, and what the server says of a statement's text.
        let of_types = ["22", "42"].iter().any(|class| error.code.starts_with(class));
        match is_stale(&error.code, &error.message) {
            true => Self::Stale,
            false if of_types => Self::Suspect,
            false => Self::Sound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::error::DatabaseError;

    #[test]
    fn the_oldest_makes_room() {
        let (mut kept, mut forgotten) = (KeptStatements::default(), Vec::new());
        for number in 0..=MOST {
            let name = format!("s{number}").into();
            kept.keep(&format!("SELECT {number}"), Kept::new(name, None), &mut forgotten);
        }
        assert_eq!(forgotten, ["s0".into()]);
        assert!(kept.get("SELECT 0", &mut forgotten).is_none());
        assert_eq!(kept.get("SELECT 1", &mut forgotten).unwrap().name, "s1".into());
    }

    #[test]
    fn one_that_was_kept_for_long_is_prepared_anew() {
        let (mut kept, mut forgotten) = (KeptStatements::default(), Vec::new());
        let since = Instant::now().checked_sub(KEPT_FOR).unwrap();
        let old = Kept { since, ..Kept::new("s".into(), None) };
        kept.keep("SELECT $1", old, &mut forgotten);
        assert!(kept.get("SELECT $1", &mut forgotten).is_none());
        assert_eq!(forgotten, ["s".into()]);
    }

    #[test]
    fn a_failure_is_judged_by_its_code() {
        for (code, message, verdict) in [
            ("0A000", "cached plan must not change result type", Verdict::Stale),
            ("0A000", "this is not implemented", Verdict::Sound),
            ("26000", "prepared statement \"s\" does not exist", Verdict::Stale),
            ("22P02", "invalid input syntax for type integer: \"x\"", Verdict::Suspect),
            ("42804", "column \"x\" is of type jsonb", Verdict::Suspect),
            ("23505", "duplicate key", Verdict::Sound),
        ] {
            let error = Error::Database(Box::new(DatabaseError {
                code: code.to_owned(),
                message: message.to_owned(),
                ..DatabaseError::default()
            }));
            assert_eq!(Verdict::of(&error), verdict, "{code}");
        }
    }
}
