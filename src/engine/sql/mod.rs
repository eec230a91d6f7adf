//! Every statement the engine sends, in one place.
//!
//! All parameters are text, which the statement casts: the same statement then runs through sqlx
//! and through any other driver, and it is the server that judges a value.

pub mod batch;
mod schema;
pub mod selector;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::error::Error;
use crate::engine::key::{Columns, FINISHED, Field, Text};
use crate::engine::protocol::statement::{
    Fence, LeaseChange, LeaseOf, NewRequest, Place, Request, Statement, Token,
};
use crate::engine::sql::selector::{COLUMNS, Selector};

/// The optional column for the digest of what a route does not tell of its request.
pub const FINGERPRINT: &str = "request_fingerprint";

/// The token of a row's lease. Where there is none, it is the transaction that has written the row: so
/// a flow that has released its lease, or finished, knows whether anybody has been there since.
pub(super) const TOKEN: &str =
    "coalesce(encode(timestamptz_send(locked_at), 'hex'), 'x' || xmin::text)";

macro_rules! key {
    () => {
        "id, idempotency_key, created_at, locked_at, request_method, \
         request_params::text AS request_params, request_path, response_code, \
         response_body::text AS response_body, recovery_point"
    };
}

/// The columns of a key as they are read from a row, in this order.
pub(super) const KEY: &str = key!();

/// Those of a row: its place and token, too. Statements that compete answer three more: whether the row
/// was won, whether its lease is live, whether the request is the same.
pub(super) const ROW: &str = concat!(
    key!(),
    ", ctid::text AS place, \
     coalesce(encode(timestamptz_send(locked_at), 'hex'), 'x' || xmin::text) AS token"
);

/// The columns of a row that is claimed: what it is judged by. With them comes whether its lease is live.
const CLAIM: &str = "recovery_point, ctid::text AS place, \
                     coalesce(encode(timestamptz_send(locked_at), 'hex'), 'x' || xmin::text) \
                     AS token";

/// The bit of `locked_at` among those of [`Columns::named`].
pub(super) const LOCKED_AT: u16 = 1 << 3;

/// How long ago a lease has run out that is made to: for a service whose leases hold for longer, too.
const EXPIRED_FOR: &str = "interval '1 day'";

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
    pub(super) schema: Option<String>,
    pub(super) table: String,
    create: Arc<str>,
    find_or_create: Arc<str>,
    initialize: [Arc<str>; 2],
    take_over: [Arc<str>; 2],
    find: Arc<str>,
    lock: Arc<str>,
    lock_row: Arc<str>,
    claim_row: Arc<str>,
    claim_row_at: Arc<str>,
    updates: Mutex<HashMap<UpdateForm, Arc<str>>>,
}

/// What tells the text of one update from that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct UpdateForm {
    /// A bit a column, in the order of the table's.
    columns: u16,
    lease: LeaseChange,
    has_place: bool,
    is_fenced: bool,
}

impl Sql {
    /// Statements for `schema`, or for the connection's `search_path`.
    pub fn new(schema: Option<&str>) -> Self {
        let table = match schema {
            Some(schema) => format!("{}.idempotency_key", quoted(schema)),
            None => "idempotency_key".to_owned(),
        };
        let of_key = format!("FROM {table} WHERE idempotency_key = $1");
        let find = format!("SELECT {ROW} {of_key}");
        let columns = COLUMNS.map(|(name, _)| name).join(", ");
        let insert = format!("INSERT INTO {table} ({columns})");
        // The first parameter of `find_or_create` is the key it looks for.
        let find_or_create = format!(
            "WITH known AS ({find}), \
             created AS ({insert} SELECT {} WHERE NOT EXISTS (SELECT FROM known) RETURNING {ROW}) \
             SELECT * FROM known UNION ALL SELECT * FROM created",
            casts(2)
        );
        // A row that another transaction has locked is in use, so it is skipped, not waited for:
        // `statement_timestamp()` would be old by the time the wait ends.
        let lock = format!(
            "WITH won AS (UPDATE {table} SET locked_at = statement_timestamp() \
             WHERE idempotency_key = $1 AND id = (SELECT id {of_key} \
             AND (NOT {live} OR {TOKEN} = CAST($3 AS text)) FOR UPDATE SKIP LOCKED) \
             RETURNING {ROW}, true AS won, true AS live, true AS same) \
             SELECT * FROM won UNION ALL SELECT {ROW}, false, true, true {of_key} \
             AND NOT EXISTS (SELECT FROM won)",
            live = live(&cast(2, "interval")),
        );
        let claim_row = format!("SELECT {CLAIM}, {} AS live", live(&cast(2, "interval")));
        let locking = "FOR UPDATE SKIP LOCKED";
        Self {
            schema: schema.map(str::to_owned),
            create: format!("{insert} VALUES ({}) RETURNING {ROW}", casts(1)).into(),
            find_or_create: find_or_create.into(),
            initialize: [false, true].map(|column| initialize(&table, column).into()),
            take_over: [false, true].map(|column| take_over(&table, column).into()),
            lock: lock.into(),
            lock_row: format!("{find} FOR UPDATE").into(),
            claim_row: format!("{claim_row} {of_key} {locking}").into(),
            claim_row_at: format!("{claim_row} {of_key} AND ctid = {} {locking}", cast(3, "tid"))
                .into(),
            find: find.into(),
            updates: Mutex::default(),
            table,
        }
    }

    /// Writes a statement.
    pub fn write(&self, statement: Statement) -> Query {
        match statement {
            Statement::Create(columns) | Statement::CreateNew(columns) => {
                Query { text: self.create.clone(), parameters: inserted(columns) }
            }
            Statement::FindOrCreate { key, columns } => Query {
                text: self.find_or_create.clone(),
                parameters: std::iter::once(Some(key)).chain(inserted(columns)).collect(),
            },
            Statement::Initialize(new) => {
                let id = new.id.clone();
                of_request(&self.initialize, new, id)
            }
            Statement::TakeOver { new, seen: Token(token) } => {
                of_request(&self.take_over, new, token)
            }
            Statement::Find(key) => Query { text: self.find.clone(), parameters: vec![Some(key)] },
            Statement::Select(selector) => self.select(&selector),
            Statement::Lock { key, hold, own } => Query {
                text: self.lock.clone(),
                parameters: vec![Some(key), Some(interval(hold)), own.map(|Token(token)| token)],
            },
            Statement::Update { key, columns, lease, place, fence } => {
                self.update(key, columns, lease, place, fence)
            }
            Statement::LockRow(key) => {
                Query { text: self.lock_row.clone(), parameters: vec![Some(key)] }
            }
            Statement::ClaimRow { key, lease, place: None } => Query {
                text: self.claim_row.clone(),
                parameters: vec![Some(key), Some(interval(lease))],
            },
            Statement::ClaimRow { key, lease, place: Some(Place(place)) } => Query {
                text: self.claim_row_at.clone(),
                parameters: vec![Some(key), Some(interval(lease)), Some(place)],
            },
            Statement::ChangeLease { key, which, change, lease } => {
                self.change_lease(key, &which, change, lease)
            }
            Statement::Stalled { interrupted, older_than, lease, limit } => {
                self.stalled(interrupted, older_than, lease, limit)
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

    fn update(
        &self,
        key: String,
        columns: Columns,
        lease: LeaseChange,
        place: Option<Place>,
        fence: Option<Fence>,
    ) -> Query {
        let form = UpdateForm {
            columns: columns.named(),
            lease,
            has_place: place.is_some(),
            is_fenced: fence.is_some(),
        };
        let mut parameters = vec![Some(key)];
        if form.columns == 0 && lease == LeaseChange::Keep {
            return Query { text: self.find.clone(), parameters };
        }
        parameters.extend(columns.in_order().into_iter().filter_map(|field| match field {
            Field::Set(value) => Some(value),
            Field::Absent => None,
        }));
        parameters.extend(place.map(|Place(place)| Some(place)));
        if let Some(Fence { tokens, recovery_point, lease }) = fence {
            parameters.extend([Some(array(&tokens)), Some(interval(lease)), recovery_point]);
        }
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        let text = updates.entry(form).or_insert_with(|| form.text(&self.table).into());
        Query { text: Arc::clone(text), parameters }
    }

    fn change_lease(
        &self,
        key: String,
        which: &LeaseOf,
        change: LeaseChange,
        lease: Duration,
    ) -> Query {
        let mut parameters = vec![Some(key)];
        let mut given = |value, sql_type| {
            parameters.push(Some(value));
            cast(parameters.len(), sql_type)
        };
        let is_meant = match which {
            LeaseOf::Tokens(tokens) => holds_one_of(&given(array(tokens), "text[]")),
            LeaseOf::Nobody => format!("NOT {}", live(&given(interval(lease), "interval"))),
        };
        let time = match change {
            LeaseChange::Expire => {
                let lease = given(interval(lease), "interval");
                format!("statement_timestamp() - greatest({lease}, {EXPIRED_FOR})")
            }
            _ => locked_at(change).to_owned(),
        };
        let text = format!(
            "WITH won AS (UPDATE {table} SET locked_at = {time} \
             WHERE idempotency_key = $1 AND id = (SELECT id FROM {table} \
             WHERE idempotency_key = $1 AND {meant} FOR UPDATE SKIP LOCKED) \
             RETURNING {ROW}, true AS won, true AS live, true AS same) \
             SELECT * FROM won UNION ALL SELECT {ROW}, false, {meant}, true FROM {table} \
             WHERE idempotency_key = $1 AND NOT EXISTS (SELECT FROM won)",
            table = self.table,
            meant = format_args!(
                "(recovery_point <> '{FINISHED}' AND locked_at IS NOT NULL AND {is_meant})"
            ),
        );
        Query { text: text.into(), parameters }
    }

    fn stalled(
        &self,
        interrupted: bool,
        older_than: Duration,
        lease: Duration,
        limit: u32,
    ) -> Query {
        let had_lease = if interrupted { " AND locked_at IS NOT NULL" } else { "" };
        let text = format!(
            "SELECT {ROW} FROM {table} WHERE recovery_point <> '{FINISHED}'{had_lease} \
             AND coalesce(locked_at, created_at) <= statement_timestamp() - {older_than} \
             AND NOT {live} ORDER BY created_at, id LIMIT {limit}",
            table = self.table,
            older_than = cast(1, "interval"),
            live = live(&cast(2, "interval")),
        );
        let parameters = vec![Some(interval(older_than)), Some(interval(lease))];
        Query { text: text.into(), parameters }
    }

    /// Answers one row, of one column: whether the table has the column for fingerprints.
    pub fn has_fingerprints(&self) -> String {
        format!(
            "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({table}) \
             AND attname = '{FINGERPRINT}' AND NOT attisdropped)",
            table = literal(&self.table)
        )
    }

    /// Deletes finished keys that are older than `$1` and lie in the pages from `$2` up to `$3`,
    /// which go as `tid`s. Keys that somebody has locked are left.
    pub fn prune(&self) -> String {
        format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} \
             WHERE ctid >= {from} AND ctid < {to} AND recovery_point = '{FINISHED}' \
             AND created_at < statement_timestamp() - {age} FOR UPDATE SKIP LOCKED)) \
             AND recovery_point = '{FINISHED}' RETURNING true",
            table = self.table,
            age = cast(1, "interval"),
            from = cast(2, "tid"),
            to = cast(3, "tid"),
        )
    }

    /// Answers one row, of one column: how many pages the table has.
    pub fn pages(&self) -> String {
        format!(
            "SELECT pg_relation_size({table}::regclass) \
             / current_setting('block_size')::bigint",
            table = literal(&self.table)
        )
    }
}

impl UpdateForm {
    fn text(self, table: &str) -> String {
        let mut last = 1;
        let mut next = |sql_type| {
            last += 1;
            cast(last, sql_type)
        };
        let mut assignments = Vec::new();
        if self.columns & LOCKED_AT == 0 && self.lease != LeaseChange::Keep {
            assignments.push(format!("locked_at = {}", locked_at(self.lease)));
        }
        for (index, (name, sql_type)) in COLUMNS.iter().enumerate() {
            if self.columns & 1 << index != 0 {
                assignments.push(format!("{name} = {}", next(sql_type)));
            }
        }
        let mut condition = "idempotency_key = $1".to_owned();
        if self.has_place {
            condition.push_str(&format!(" AND ctid = {}", next("tid")));
        }
        if self.is_fenced {
            let fenced = fenced(&next("text[]"), &next("interval"), &next("text"));
            condition.push_str(&format!(" AND {fenced}"));
        }
        let assignments = assignments.join(", ");
        format!("UPDATE {table} SET {assignments} WHERE {condition} RETURNING {ROW}")
    }
}

// The parameters of the statements about a request are, in this order: key, method, path, route
// parameters, lease, the id that is inserted or the token of the row that is taken over, and the fingerprint
// where there is a column for it.

fn initialize(table: &str, with_fingerprint: bool) -> String {
    let (column, value) = match with_fingerprint {
        true => (format!(", {FINGERPRINT}"), ", $7"),
        false => (String::new(), ""),
    };
    format!(
        "WITH created AS (INSERT INTO {table} (idempotency_key, request_method, request_path, \
         request_params, locked_at, id{column}) VALUES ($1, CAST($2 AS text), CAST($3 AS text), \
         {params}, statement_timestamp(), $6{value}) ON CONFLICT (idempotency_key) DO NOTHING \
         RETURNING {ROW}, true AS won, true AS live, true AS same) \
         SELECT * FROM created UNION ALL \
         SELECT {ROW}, false, {live}, {same} FROM {table} \
         WHERE idempotency_key = $1 AND NOT EXISTS (SELECT FROM created)",
        params = cast(4, "jsonb"),
        live = live(&cast(5, "interval")),
        same = same(with_fingerprint.then_some(7)),
    )
}

fn take_over(table: &str, with_fingerprint: bool) -> String {
    format!(
        "UPDATE {table} SET locked_at = statement_timestamp() WHERE idempotency_key = $1 \
         AND id = (SELECT id FROM {table} WHERE idempotency_key = $1 \
         AND recovery_point <> '{FINISHED}' AND NOT {live} AND {TOKEN} = CAST($6 AS text) \
         FOR UPDATE SKIP LOCKED) \
         RETURNING {ROW}, true AS won, true AS live, {same} AS same",
        live = live(&cast(5, "interval")),
        same = same(with_fingerprint.then_some(7)),
    )
}

/// Text as SQL quotes it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as SQL quotes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn cast(parameter: usize, sql_type: &str) -> String {
    format!("CAST(CAST(${parameter} AS text) AS {sql_type})")
}

/// Whether the lease of a row still holds; the interval says how long one does.
pub(super) fn live(lease: &str) -> String {
    format!("coalesce(locked_at > statement_timestamp() - {lease}, false)")
}

/// Whether a row's lease is one of those whose tokens are given.
fn holds_one_of(tokens: &str) -> String {
    format!("coalesce({TOKEN} = ANY ({tokens}), false)")
}

/// What keeps a flow that has lost its lease from writing: see [`Fence`].
pub(super) fn fenced(tokens: &str, lease: &str, point: &str) -> String {
    format!(
        "CASE WHEN {held} \
         THEN recovery_point <> '{FINISHED}' OR coalesce({point} = '{FINISHED}', true) \
         ELSE NOT {live} AND coalesce(recovery_point = {point}, false) END",
        held = holds_one_of(tokens),
        live = live(lease),
    )
}

/// Whether a row is of the request that the parameters describe. What either does not know tells
/// nothing.
fn same(fingerprint: Option<usize>) -> String {
    let columns = [
        ("request_method", Some(2), "text"),
        ("request_path", Some(3), "text"),
        ("request_params", Some(4), "jsonb"),
        (FINGERPRINT, fingerprint, "text"),
    ];
    let conditions = columns.into_iter().filter_map(|(column, parameter, sql_type)| {
        let value = cast(parameter?, sql_type);
        Some(format!("coalesce({column} = {value}, true)"))
    });
    conditions.collect::<Vec<_>>().join(" AND ")
}

/// What `locked_at` becomes.
pub(super) fn locked_at(lease: LeaseChange) -> &'static str {
    match lease {
        LeaseChange::Keep => "locked_at",
        // Not `now()`: a stage may be longer than a lease.
        LeaseChange::Renew => "statement_timestamp()",
        LeaseChange::End => "NULL",
        // Only ever in a statement of its own, which says how long a lease holds.
        LeaseChange::Expire => "'-infinity'",
    }
}

/// Tokens as an array literal; letters and digits need no quotes.
pub(super) fn array(tokens: &[Token]) -> String {
    let tokens: Vec<&str> = tokens.iter().map(|Token(token)| token.as_str()).collect();
    format!("{{{}}}", tokens.join(","))
}

/// Chooses between the statements without and with the column for fingerprints.
fn of_request(texts: &[Arc<str>; 2], new: NewRequest, id_or_token: String) -> Query {
    let Request { method, path, params, fingerprint } = new.request;
    let text = Arc::clone(&texts[usize::from(fingerprint.is_some())]);
    let lease = Some(interval(new.lease));
    let mut parameters = vec![Some(new.key), method, path, params, lease, Some(id_or_token)];
    parameters.extend(fingerprint.map(Some));
    Query { text, parameters }
}

fn casts(first: usize) -> String {
    let casts = COLUMNS.iter().zip(first..);
    let casts: Vec<String> = casts.map(|((_, sql_type), n)| cast(n, sql_type)).collect();
    casts.join(", ")
}

pub(super) fn interval(duration: Duration) -> String {
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

    fn update(columns: Columns) -> Statement {
        Statement::Update {
            key: "k".to_owned(),
            columns,
            lease: LeaseChange::Keep,
            place: None,
            fence: None,
        }
    }

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
        let query = Sql::new(None).write(update(columns));
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
    fn an_update_of_nothing_reads() {
        let query = Sql::new(None).write(update(Columns::default()));
        assert!(query.text.starts_with("SELECT"), "{}", query.text);
    }
}
