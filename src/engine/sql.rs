//! Every statement the engine sends, in one place.
//!
//! All parameters are text, which the statement casts: the same statement then runs through sqlx
//! and through any other driver, and it is the server that judges a value.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::key::{Columns, Field, Text};
use super::selector::{COLUMNS, Selector};
use super::statement::Statement;

/// The columns of a row as [`super::pool`] reads them, in this order.
const ROW: &str = "id, idempotency_key, created_at, locked_at, request_method, \
                   request_params::text, request_path, response_code, response_body::text, \
                   recovery_point";

/// How a transaction is isolated from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the levels of the SQL standard
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl FromStr for Isolation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name.to_ascii_uppercase().as_str() {
            "READ UNCOMMITTED" => Ok(Self::ReadUncommitted),
            "READ COMMITTED" => Ok(Self::ReadCommitted),
            "REPEATABLE READ" => Ok(Self::RepeatableRead),
            "SERIALIZABLE" => Ok(Self::Serializable),
            _ => Err(Error::InvalidArgument(format!(
                "{name:?} is no isolation level: use \"READ UNCOMMITTED\", \"READ COMMITTED\", \
                 \"REPEATABLE READ\" or \"SERIALIZABLE\""
            ))),
        }
    }
}

impl Isolation {
    /// The statement that opens a transaction at this level.
    pub fn begin(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
            Self::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Self::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Self::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }
}

/// A statement as it is sent.
#[derive(Clone, Debug)]
pub struct Query {
    /// SQL with `$1`, `$2`, …
    pub text: Arc<str>,
    /// The parameters: text or `NULL`.
    pub parameters: Vec<Text>,
}

/// Writes statements for the table of one schema.
#[derive(Debug)]
pub struct Sql {
    schema: Option<String>,
    table: String,
    create: Arc<str>,
    find_or_create: Arc<str>,
    find: Arc<str>,
    lock: Arc<str>,
    lock_row: Arc<str>,
}

impl Sql {
    /// Statements for `schema`, or for the connection's `search_path`.
    pub fn new(schema: Option<&str>) -> Self {
        let table = match schema {
            Some(schema) => format!("{}.idempotency_key", quoted(schema)),
            None => "idempotency_key".to_owned(),
        };
        let columns = COLUMNS.map(|(name, _)| name).join(", ");
        // The first parameter of `find_or_create` is the key it looks for.
        let create =
            format!("INSERT INTO {table} ({columns}) VALUES ({}) RETURNING {ROW}", casts(1));
        let find_or_create = format!(
            "WITH known AS (SELECT * FROM {table} WHERE idempotency_key = $1), \
             created AS (INSERT INTO {table} ({columns}) \
             SELECT {} WHERE NOT EXISTS (SELECT FROM known) RETURNING *) \
             SELECT {ROW} FROM known UNION ALL SELECT {ROW} FROM created",
            casts(2)
        );
        let find = format!("SELECT {ROW} FROM {table} WHERE idempotency_key = $1");
        // A row that another transaction has locked is in use, so it is skipped, not waited for:
        // `statement_timestamp()` would be old by the time the wait ends.
        let lock = format!(
            "WITH won AS (UPDATE {table} SET locked_at = statement_timestamp() \
             WHERE idempotency_key = $1 AND id = (SELECT id FROM {table} \
             WHERE idempotency_key = $1 AND (locked_at IS NULL \
             OR locked_at <= statement_timestamp() - CAST(CAST($2 AS text) AS interval)) \
             FOR UPDATE SKIP LOCKED) RETURNING *) \
             SELECT {ROW}, true AS won FROM won UNION ALL \
             SELECT {ROW}, false FROM {table} \
             WHERE idempotency_key = $1 AND NOT EXISTS (SELECT FROM won)"
        );
        let lock_row = format!("{find} FOR UPDATE");
        Self {
            schema: schema.map(str::to_owned),
            table,
            create: create.into(),
            find_or_create: find_or_create.into(),
            find: find.into(),
            lock: lock.into(),
            lock_row: lock_row.into(),
        }
    }

    /// Writes a statement.
    pub fn write(&self, statement: Statement) -> Query {
        match statement {
            Statement::Create(columns) => {
                Query { text: self.create.clone(), parameters: inserted(columns) }
            }
            Statement::FindOrCreate { key, columns } => Query {
                text: self.find_or_create.clone(),
                parameters: std::iter::once(Some(key)).chain(inserted(columns)).collect(),
            },
            Statement::Find(key) => Query { text: self.find.clone(), parameters: vec![Some(key)] },
            Statement::Select(selector) => self.select(&selector),
            Statement::Lock { key, hold } => {
                Query { text: self.lock.clone(), parameters: vec![Some(key), Some(interval(hold))] }
            }
            Statement::Update { key, columns } => self.update(key, columns),
            Statement::LockRow(key) => {
                Query { text: self.lock_row.clone(), parameters: vec![Some(key)] }
            }
        }
    }

    fn select(&self, selector: &Selector) -> Query {
        let mut parameters = Vec::new();
        let condition = selector.write(&mut parameters);
        Query {
            text: format!("SELECT {ROW} FROM {} WHERE {condition} LIMIT 2", self.table).into(),
            parameters,
        }
    }

    fn update(&self, key: String, columns: Columns) -> Query {
        let mut parameters = vec![Some(key)];
        let mut assignments = Vec::new();
        for ((name, sql_type), field) in COLUMNS.iter().zip(columns.in_order()) {
            if let Field::Set(value) = field {
                parameters.push(value);
                assignments.push(format!("{name} = {}", cast(parameters.len(), sql_type)));
            }
        }
        if assignments.is_empty() {
            return Query { text: self.find.clone(), parameters };
        }
        let assignments = assignments.join(", ");
        Query {
            text: format!(
                "UPDATE {} SET {assignments} WHERE idempotency_key = $1 RETURNING {ROW}",
                self.table
            )
            .into(),
            parameters,
        }
    }

    /// A block that creates the unique index, whatever the name of the one that may be there.
    fn index_where_missing(&self) -> String {
        format!(
            "BEGIN IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a \
             ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = {name}::regclass AND i.indisunique AND i.indnkeyatts = 1 \
             AND i.indpred IS NULL AND a.attname = 'idempotency_key') THEN \
             CREATE UNIQUE INDEX ON {table} (idempotency_key); END IF; END",
            name = literal(&self.table),
            table = self.table,
        )
    }

    /// Creates the table as Medusa's migrations do, where it is missing.
    pub fn migrate(&self) -> String {
        let Self { schema, table, .. } = self;
        let schema = match schema {
            Some(schema) => format!("CREATE SCHEMA IF NOT EXISTS {};", quoted(schema)),
            None => String::new(),
        };
        // Two services that start at once would otherwise both find the table missing.
        format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtext('medusa-idempotency-key migrate')); \
             {schema} \
             CREATE TABLE IF NOT EXISTS {table} (\
             id character varying NOT NULL PRIMARY KEY, \
             idempotency_key character varying NOT NULL, \
             created_at timestamp with time zone NOT NULL DEFAULT now(), \
             locked_at timestamp with time zone, \
             request_method character varying, \
             request_params jsonb, \
             request_path character varying, \
             response_code integer, \
             response_body jsonb, \
             recovery_point character varying NOT NULL DEFAULT 'started'); \
             DO {index}; COMMIT",
            index = literal(&self.index_where_missing())
        )
    }
}

/// Text as SQL quotes it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as SQL quotes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Refuses a statement of the caller's own that would begin or end the transaction it runs in, which
/// would tear the work from the key's new state, or spoil its connection for others.
///
/// # Errors
/// [`Error::InvalidArgument`] that names what to use instead.
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
        return Err(Error::InvalidArgument(format!(
            "{first} is not for a statement inside a stage: throw to roll back, return to commit, \
             use manager.transaction(work) for a savepoint"
        )));
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

fn cast(parameter: usize, sql_type: &str) -> String {
    format!("CAST(CAST(${parameter} AS text) AS {sql_type})")
}

fn casts(first: usize) -> String {
    let casts = COLUMNS.iter().zip(first..);
    let casts: Vec<String> = casts.map(|((_, sql_type), n)| cast(n, sql_type)).collect();
    casts.join(", ")
}

fn interval(duration: Duration) -> String {
    format!("{} milliseconds", duration.as_millis())
}

/// The values of a new row, with the table's defaults spelt out: one statement for all of them.
fn inserted(mut columns: Columns) -> Vec<Text> {
    columns.created_at = Field::Set(columns.created_at.or("now"));
    columns.recovery_point = Field::Set(columns.recovery_point.or("started"));
    columns.in_order().map(Field::or_null).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_quoted_never_spliced() {
        let sql = Sql::new(Some("a\"; DROP TABLE x; --"));
        assert_eq!(sql.table, "\"a\"\"; DROP TABLE x; --\".idempotency_key");
    }

    #[test]
    fn an_update_names_only_what_it_changes() {
        let columns = Columns {
            response_code: Field::Set(Some("200".to_owned())),
            locked_at: Field::Set(None),
            ..Columns::default()
        };
        let query = Sql::new(None).write(Statement::Update { key: "k".to_owned(), columns });
        assert!(
            query.text.starts_with(
                "UPDATE idempotency_key SET \
                 locked_at = CAST(CAST($2 AS text) AS timestamptz), \
                 response_code = CAST(CAST($3 AS text) AS int) WHERE idempotency_key = $1"
            ),
            "{}",
            query.text
        );
        assert_eq!(query.parameters, [Some("k".to_owned()), None, Some("200".to_owned())]);
    }

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

    #[test]
    fn an_update_of_nothing_reads() {
        let query = Sql::new(None)
            .write(Statement::Update { key: "k".to_owned(), columns: Columns::default() });
        assert!(query.text.starts_with("SELECT"), "{}", query.text);
    }
}
