//! What a statement of the caller's own must not do inside a stage.

use crate::engine::error::Error;

/// Refuses a statement of the caller's own that would begin or end the transaction it runs in, which
/// would tear the work from the key's new state, or spoil its connection for others.
///
/// # Errors
/// [`Error::TransactionControl`].
pub fn refuse_transaction_control(sql: &str) -> Result<(), Error> {
    let mut words = Words { rest: sql };
    let first = words.next().unwrap_or_default();
    let refused = match first.as_str() {
        "BEGIN" | "START" | "COMMIT" | "END" | "ABORT" => true,
        "ROLLBACK" => words.all(|word| word != "TO"),
        // These would take away the statements that the engine has prepared.
        "DISCARD" => true,
        "DEALLOCATE" => words.any(|word| word == "ALL"),
        "PREPARE" => words.next().as_deref() == Some("TRANSACTION"),
        _ => false,
    };
    if refused {
        return Err(Error::TransactionControl(first));
    }
    Ok(())
}

/// The words of a statement in upper case, without what lies between them.
struct Words<'a> {
    rest: &'a str,
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            self.rest = if self.rest.starts_with("--") {
                self.rest.split_once(['\n', '\r'])?.1
            } else if self.rest.starts_with("/*") {
                after_block_comment(self.rest)?
            } else {
                let length = self.rest.find(|c: char| !is_of_word(c)).unwrap_or(self.rest.len());
                if length > 0 {
                    let (word, rest) = self.rest.split_at(length);
                    self.rest = rest;
                    return Some(word.to_ascii_uppercase());
                }
                let mut characters = self.rest.chars();
                characters.next()?;
                characters.as_str()
            };
        }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What follows a comment that may hold others, as PostgreSQL's may.
fn after_block_comment(sql: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut rest = sql;
    loop {
        let next = rest.find("/*").into_iter().chain(rest.find("*/")).min()?;
        depth = if rest[next..].starts_with("/*") { depth + 1 } else { depth.saturating_sub(1) };
        rest = &rest[next + 2..];
        if depth == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_end_the_transaction_are_refused() {
        for sql in [
            "commit",
            "  ROLLBACK;",
            "/* x */ -- y\n End",
            "; COMMIT",
            "PREPARE /* x */ TRANSACTION 'x'",
            "ROLLBACK /* TO */",
            "ROLLBACK -- TO SAVEPOINT a",
            "DISCARD ALL",
            "DEALLOCATE PREPARE ALL",
            "start transaction",
            "-- x\rcommit",
            "/* a /* b */ c */commit",
        ] {
            assert!(refuse_transaction_control(sql).is_err(), "{sql}");
        }
        for sql in [
            "ROLLBACK TO SAVEPOINT a",
            "SAVEPOINT a",
            "SELECT 'commit'",
            "PREPARE a AS SELECT 1",
            "DEALLOCATE a",
            "",
        ] {
            assert!(refuse_transaction_control(sql).is_ok(), "{sql}");
        }
    }
}
