//! How the statements of many callers are written as one.
//!
//! A batch's values go as arrays of text, one array a column, and are cast as in [`sql`](super): the
//! server judges each value just as it would judge it alone. The text depends on the kind of the
//! batch only, never on its size, so that it is prepared once a connection.
//!
//! No batch waits for a row that somebody has locked: it skips it, and answers so. What it has to
//! wait for none the less, such as the end of a transaction that inserts the same key, it waits for
//! a moment; then it fails and its rows go other ways.

use crate::engine::key::{ALL, AS_GIVEN, Columns, FINISHED, Field, IDEMPOTENCY_KEY};
use crate::engine::protocol::statement::{LeaseChange, NewRequest, Statement, Token};
use crate::engine::sql;
use crate::engine::sql::selector::COLUMNS;
use crate::engine::sql::{FINGERPRINT, KEY, LOCKED_AT, ROW, Sql, TOKEN, interval, locked_at};

/// The names of the columns of [`ROW`].
const NAMES: &str = "id, idempotency_key, created_at, locked_at, request_method, request_params, \
                     request_path, response_code, response_body, recovery_point, place, token";

/// What statements have in common that can be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Statement::Create`] or [`Statement::CreateNew`] of the same columns.
    Create {
        /// A bit a column, in the order of the table's.
        columns: u16,
        /// Whether the keys were made for this.
        is_new: bool,
    },
    /// [`Statement::FindOrCreate`] of the same columns.
    FindOrCreate {
        /// A bit a column, in the order of the table's.
        columns: u16,
    },
    /// [`Statement::Initialize`], with or without a fingerprint.
    Initialize(bool),
    /// [`Statement::TakeOver`], with or without a fingerprint.
    TakeOver(bool),
    /// [`Statement::Find`], and an update of nothing.
    Find,
    /// [`Statement::Lock`].
    Lock,
    /// [`Statement::Update`] of the same columns.
    Update {
        /// A bit a column, in the order of the table's.
        columns: u16,
        /// What becomes of the lease.
        lease: LeaseChange,
        /// Whether it has a fence.
        fenced: bool,
    },
    /// A statement that keeps its turn among those about its key, but is none of the others.
    Single,
}

impl Kind {
    /// The kind of a statement, or none if it is not about the turn of a key.
    pub fn of(statement: &Statement) -> Option<Self> {
        match statement {
            Statement::Create(columns) => {
                let kind = Self::Create { columns: columns.named(), is_new: false };
                matches!(columns.idempotency_key, Field::Set(Some(_))).then_some(kind)
            }
            Statement::CreateNew(columns) => {
                Some(Self::Create { columns: columns.named(), is_new: true })
            }
            Statement::FindOrCreate { columns, .. } => {
                Some(Self::FindOrCreate { columns: columns.named() })
            }
            Statement::Initialize(new) => Some(Self::Initialize(new.request.fingerprint.is_some())),
            Statement::TakeOver { new, .. } => {
                Some(Self::TakeOver(new.request.fingerprint.is_some()))
            }
            Statement::Find(_) => Some(Self::Find),
            Statement::Lock { .. } => Some(Self::Lock),
            Statement::Update { columns, lease, place: None, fence, .. } => {
                Some(Self::of_update(columns, *lease, fence.is_some()))
            }
            Statement::Update { .. }
            | Statement::Select(_)
            | Statement::LockRow(_)
            | Statement::ClaimRow { .. }
            | Statement::ChangeLease { .. }
            | Statement::Stalled { .. } => None,
        }
    }

    fn of_update(columns: &Columns, lease: LeaseChange, fenced: bool) -> Self {
        if columns.id != Field::Absent || columns.idempotency_key != Field::Absent {
            return Self::Single;
        }
        match (columns.named(), lease) {
            (0, LeaseChange::Keep) => Self::Find,
            (columns, lease) => Self::Update { columns, lease, fenced },
        }
    }
}

/// Writes the statement for a batch of a kind. Its rows are those of [`sql`](super) with their number
/// in the batch before them; the one for new keys has their id, as `RETURNING` knows no such thing. What
/// only answers a key answers no more of the row.
pub fn text(sql: &Sql, kind: Kind) -> String {
    let table = &sql.table;
    match kind {
        // To look for conflicts costs a third of the insert.
        Kind::Create { columns, is_new: true } => create(table, columns, kind, ""),
        Kind::Create { columns, is_new: false } => {
            create(table, columns, kind, " ON CONFLICT DO NOTHING")
        }
        Kind::FindOrCreate { columns } => find_or_create(table, columns),
        Kind::Initialize(fingerprint) => initialize(table, fingerprint),
        Kind::TakeOver(fingerprint) => take_over(table, fingerprint),
        // A single statement goes as it is.
        Kind::Find | Kind::Single => find(table),
        Kind::Lock => lock(table),
        Kind::Update { columns, lease, fenced } => update(table, columns, lease, fenced),
    }
}

fn create(table: &str, columns: u16, kind: Kind, on_conflict: &str) -> String {
    format!(
        "INSERT INTO {table} ({names}) SELECT {values} FROM {input} WHERE {PATIENTLY}{on_conflict} \
         RETURNING id{answered}",
        names = COLUMNS.map(|(name, _)| name).join(", "),
        values = new_values(columns),
        input = input(&names_of_values(columns)),
        answered = named(answered(kind))
            .into_iter()
            .map(|index| match COLUMNS[index] {
                (name, "jsonb") => format!(", {name}::text"),
                (name, _) => format!(", {name}"),
            })
            .collect::<String>(),
    )
}

/// The columns of a key that a batch answers, after the number or the id. New keys come without those
/// that are stored as they were given, of which nobody needs a copy; but where some may not be inserted, each
/// is told by its key, too, as a trigger of the user's may have given it another id.
pub fn answered(kind: Kind) -> u16 {
    match kind {
        Kind::Create { columns, is_new: true } => ALL & !(columns & AS_GIVEN),
        Kind::Create { columns, is_new: false } => ALL & !(columns & AS_GIVEN) | IDEMPOTENCY_KEY,
        _ => ALL,
    }
}

fn find_or_create(table: &str, columns: u16) -> String {
    let mut names = vec!["k"];
    names.extend(names_of_values(columns));
    format!(
        "WITH input AS (SELECT * FROM {input}), \
         known AS (SELECT input.n, known.* FROM input CROSS JOIN LATERAL (SELECT {ROW} FROM {table} \
         WHERE idempotency_key = k OFFSET 0) known), \
         created AS (INSERT INTO {table} ({all}) SELECT {values} FROM input \
         WHERE {PATIENTLY} AND NOT EXISTS (SELECT FROM known WHERE known.n = input.n) \
         ON CONFLICT DO NOTHING RETURNING {ROW}) \
         SELECT * FROM known UNION ALL SELECT n, created.* FROM created JOIN input ON v0 = id",
        input = input(&names),
        all = COLUMNS.map(|(name, _)| name).join(", "),
        values = new_values(columns),
    )
}

/// The statement's snapshot does not see what it inserts: those who lose against another row of the
/// batch are answered with what that row has inserted.
fn initialize(table: &str, fingerprint: bool) -> String {
    let mut names = vec!["k", "m", "p", "j", "l", "new_id"];
    let (column, value) = match fingerprint {
        true => (format!(", {FINGERPRINT}"), ", f"),
        false => (String::new(), ""),
    };
    names.extend(fingerprint.then_some("f"));
    format!(
        "WITH input AS (SELECT * FROM {input}), \
         created AS (INSERT INTO {table} (idempotency_key, request_method, request_path, \
         request_params, locked_at, id{column}) SELECT k, m, p, CAST(j AS jsonb), \
         statement_timestamp(), new_id{value} FROM input WHERE {PATIENTLY} \
         ON CONFLICT (idempotency_key) DO NOTHING RETURNING {ROW}{column}) \
         SELECT n, {NAMES}, id = new_id AS won, id = new_id OR {live} AS live, \
         id = new_id OR ({same_text}) AS same FROM input JOIN created ON idempotency_key = k \
         UNION ALL SELECT n, found.* FROM input CROSS JOIN LATERAL (SELECT {ROW}, false, {live}, \
         {same} FROM {table} WHERE idempotency_key = k OFFSET 0) found \
         WHERE NOT EXISTS (SELECT FROM created WHERE idempotency_key = k)",
        input = input(&names),
        live = live("l"),
        same = same("request_params", fingerprint),
        same_text = same("CAST(request_params AS jsonb)", fingerprint),
    )
}

fn take_over(table: &str, fingerprint: bool) -> String {
    let mut names = vec!["k", "m", "p", "j", "l", "seen"];
    names.extend(fingerprint.then_some("f"));
    format!(
        "WITH input AS (SELECT * FROM {input}), \
         {won} SELECT * FROM won",
        input = input(&names),
        won = won(
            table,
            &format!("recovery_point <> '{FINISHED}' AND NOT {} AND {TOKEN} = seen", live("l")),
            &same("request_params", fingerprint),
        ),
    )
}

fn lock(table: &str) -> String {
    format!(
        "WITH input AS (SELECT * FROM {input}), \
         {won} SELECT * FROM won UNION ALL SELECT input.n, found.* FROM input \
         CROSS JOIN LATERAL (SELECT {ROW}, false, true, true FROM {table} \
         WHERE idempotency_key = k OFFSET 0) found \
         WHERE n NOT IN (SELECT n FROM won)",
        input = input(&["k", "l", "own"]),
        won = won(table, &format!("(NOT {} OR {TOKEN} = own)", live("l")), "true"),
    )
}

/// Those of the batch who get the lease of their key, the first who asks for it, if nobody has locked
/// the key's row and a condition holds.
fn won(table: &str, condition: &str, same: &str) -> String {
    format!(
        "free AS (SELECT n, k, same, row_id FROM input CROSS JOIN LATERAL (SELECT id AS row_id, \
         {same} AS same FROM {table} WHERE idempotency_key = k AND {condition} \
         FOR UPDATE SKIP LOCKED) free), \
         first AS (SELECT DISTINCT ON (row_id) * FROM free ORDER BY row_id, n), \
         won AS (UPDATE {table} SET locked_at = statement_timestamp() FROM first \
         WHERE idempotency_key = k AND id = row_id \
         RETURNING n, {ROW}, true AS won, true AS live, same)"
    )
}

fn find(table: &str) -> String {
    format!(
        "SELECT n, found.* FROM {input} CROSS JOIN LATERAL \
         (SELECT {KEY} FROM {table} WHERE idempotency_key = k OFFSET 0) found",
        input = input(&["k"]),
    )
}

// `NOT IN`, as the planner cannot tell how many rows a statement will have written: it would compare
// each with each.

/// A row that somebody has locked is answered with nothing but its number. One that is not there, or
/// that the fence keeps the caller from, is not answered.
fn update(table: &str, columns: u16, lease: LeaseChange, fenced: bool) -> String {
    let named = named(columns);
    let mut names = vec!["k"];
    names.extend(names_of_values(columns));
    names.extend(fenced.then_some(["tokens", "l", "point"]).into_iter().flatten());
    let mut assignments: Vec<String> = Vec::new();
    if columns & LOCKED_AT == 0 && lease != LeaseChange::Keep {
        assignments.push(format!("locked_at = {}", locked_at(lease)));
    }
    assignments.extend(named.iter().map(|&index| {
        let (name, sql_type) = COLUMNS[index];
        format!("{name} = CAST({} AS {sql_type})", VALUES[index])
    }));
    let fence = match fenced {
        true => format!(
            " AND {}",
            sql::fenced("CAST(tokens AS text[])", "CAST(l AS interval)", "point")
        ),
        false => String::new(),
    };
    format!(
        "WITH input AS (SELECT * FROM {input} WHERE {PATIENTLY}), \
         free AS (SELECT input.*, row_id FROM input CROSS JOIN LATERAL (SELECT id AS row_id \
         FROM {table} WHERE idempotency_key = k{fence} FOR UPDATE SKIP LOCKED) free), \
         changed AS (UPDATE {table} SET {assignments} FROM free \
         WHERE idempotency_key = k AND id = row_id RETURNING n, {ROW}) \
         SELECT * FROM changed UNION ALL SELECT n, {nothing} FROM input \
         WHERE n NOT IN (SELECT n FROM changed) \
         AND EXISTS (SELECT FROM {table} WHERE idempotency_key = k{fence} OFFSET 0)",
        input = input(&names),
        assignments = assignments.join(", "),
        nothing = ["NULL"; 12].join(", "),
    )
}

/// True, and from then on the statement waits for another transaction for 50 ms at most.
const PATIENTLY: &str = "(SELECT set_config('lock_timeout', '50', true)) IS NOT NULL";

/// What the values of the table's columns are called in the input of a batch.
const VALUES: [&str; 10] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"];

/// The indices of the columns whose bits are set.
fn named(columns: u16) -> Vec<usize> {
    (0..COLUMNS.len()).filter(|index| columns & (1 << index) != 0).collect()
}

fn names_of_values(columns: u16) -> Vec<&'static str> {
    named(columns).into_iter().map(|index| VALUES[index]).collect()
}

/// The batch as a table: a column a name, each from its array, and `n`, the number of the row.
fn input(names: &[&str]) -> String {
    let arrays: Vec<String> =
        (1..=names.len()).map(|parameter| format!("CAST(${parameter} AS text[])")).collect();
    format!("unnest({}) WITH ORDINALITY AS input({}, n)", arrays.join(", "), names.join(", "))
}

/// The values of a new row, with the table's defaults spelt out.
fn new_values(columns: u16) -> String {
    let values = COLUMNS.iter().zip(VALUES).enumerate();
    let values = values.map(|(index, ((name, sql_type), value))| match *name {
        _ if columns & (1 << index) != 0 => format!("CAST({value} AS {sql_type})"),
        "created_at" => "now()".to_owned(),
        "recovery_point" => "'started'".to_owned(),
        _ => "NULL".to_owned(),
    });
    values.collect::<Vec<_>>().join(", ")
}

fn live(lease: &str) -> String {
    sql::live(&format!("CAST({lease} AS interval)"))
}

fn same(request_params: &str, fingerprint: bool) -> String {
    let mut conditions = vec![
        "coalesce(request_method = m, true)".to_owned(),
        "coalesce(request_path = p, true)".to_owned(),
        format!("coalesce({request_params} = CAST(j AS jsonb), true)"),
    ];
    conditions.extend(fingerprint.then(|| format!("coalesce({FINGERPRINT} = f, true)")));
    conditions.join(" AND ")
}

/// A column of a batch's input, borrowed from its statements where it can be.
pub enum Array<'a> {
    /// As the statements have it.
    Borrowed(Vec<Option<&'a str>>),
    /// Made for the batch.
    Owned(Vec<Option<String>>),
}

/// The arrays of a batch, in the order in which the statement of its kind numbers them.
pub fn arrays<'a>(kind: Kind, batch: &[&'a Statement]) -> Vec<Array<'a>> {
    match kind {
        Kind::Create { columns, .. } => values(batch, columns),
        Kind::FindOrCreate { columns } => {
            std::iter::once(keys(batch)).chain(values(batch, columns)).collect()
        }
        Kind::Initialize(fingerprint) | Kind::TakeOver(fingerprint) => {
            of_requests(batch, fingerprint)
        }
        Kind::Find | Kind::Single => vec![keys(batch)],
        Kind::Lock => of_locks(batch),
        Kind::Update { columns, fenced, .. } => of_updates(batch, columns, fenced),
    }
}

fn keys<'a>(batch: &[&'a Statement]) -> Array<'a> {
    Array::Borrowed(batch.iter().map(|statement| statement.key()).collect())
}

fn value(field: &Field) -> Option<&str> {
    match field {
        Field::Absent => None,
        Field::Set(value) => value.as_deref(),
    }
}

/// The values of the columns that the statements name.
fn values<'a>(batch: &[&'a Statement], columns: u16) -> Vec<Array<'a>> {
    let of_column = |index: usize| {
        let values = batch.iter().map(|statement| match statement {
            Statement::Create(columns)
            | Statement::CreateNew(columns)
            | Statement::FindOrCreate { columns, .. }
            | Statement::Update { columns, .. } => value(columns.by_order()[index]),
            _ => None,
        });
        Array::Borrowed(values.collect())
    };
    named(columns).into_iter().map(of_column).collect()
}

/// The requests, each with the id that it inserts or the token of the row that it takes over.
fn of_requests<'a>(batch: &[&'a Statement], fingerprint: bool) -> Vec<Array<'a>> {
    let requests: Vec<(&'a NewRequest, &'a str)> = batch
        .iter()
        .filter_map(|statement| match statement {
            Statement::Initialize(new) => Some((new, new.id.as_str())),
            Statement::TakeOver { new, seen: Token(token) } => Some((new, token.as_str())),
            _ => None,
        })
        .collect();
    let column = |pick: fn(&NewRequest) -> Option<&str>| {
        Array::Borrowed(requests.iter().map(|(new, _)| pick(new)).collect())
    };
    let mut arrays = vec![
        column(|new| Some(&new.key)),
        column(|new| new.request.method.as_deref()),
        column(|new| new.request.path.as_deref()),
        column(|new| new.request.params.as_deref()),
        Array::Owned(requests.iter().map(|(new, _)| Some(interval(new.lease))).collect()),
        Array::Borrowed(requests.iter().map(|(_, id_or_token)| Some(*id_or_token)).collect()),
    ];
    arrays.extend(fingerprint.then(|| column(|new| new.request.fingerprint.as_deref())));
    arrays
}

fn of_locks<'a>(batch: &[&'a Statement]) -> Vec<Array<'a>> {
    let (holds, own) = batch
        .iter()
        .map(|statement| match statement {
            Statement::Lock { hold, own, .. } => {
                (Some(interval(*hold)), own.as_ref().map(|Token(token)| token.as_str()))
            }
            _ => (None, None),
        })
        .unzip();
    vec![keys(batch), Array::Owned(holds), Array::Borrowed(own)]
}

fn of_updates<'a>(batch: &[&'a Statement], columns: u16, fenced: bool) -> Vec<Array<'a>> {
    let mut arrays = vec![keys(batch)];
    arrays.extend(values(batch, columns));
    if fenced {
        let fences = || {
            batch.iter().filter_map(|statement| match statement {
                Statement::Update { fence, .. } => fence.as_ref(),
                _ => None,
            })
        };
        let tokens = fences().map(|fence| Some(sql::array(&fence.tokens)));
        arrays.extend([
            Array::Owned(tokens.collect()),
            Array::Owned(fences().map(|fence| Some(interval(fence.lease))).collect()),
            Array::Borrowed(fences().map(|fence| fence.recovery_point.as_deref()).collect()),
        ]);
    }
    arrays
}
