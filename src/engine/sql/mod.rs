//! Every statement that the engine sends: a file each, with its single and its batched text side by side.
//!
//! All parameters are text, which the statement casts: the same statement then runs through sqlx and
//! through any other driver, and it is the server that judges a value.

pub mod batch;
mod change_lease;
mod create;
mod find;
mod find_or_create;
mod fragments;
mod initialize;
mod input;
mod isolation;
mod lock;
mod lock_row;
mod maintenance;
mod of_request;
mod query;
mod schema;
mod selector;
mod stalled;
mod take_over;
mod update;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::key::{Column, Columns, Field, Text};
use crate::engine::protocol::statement::{Fence, LeaseChange, RowLocation, Statement, Token};

pub use self::fragments::HEADERS;
use self::fragments::{Table, interval, quoted, tokens};
pub use self::isolation::Isolation;
use self::of_request::{OfRequests, of_request, of_requests};
pub use self::query::{Query, Unprepared};
pub use self::update::NO_ROW;
use self::update::{UpdateForm, WithoutRow};

/// Writes statements for the table of one schema.
#[derive(Debug)]
pub struct Sql {
    /// The schema, where it is not the search path's.
    pub schema: Option<String>,
    table: Table,
    create: Arc<str>,
    find_or_create: Arc<str>,
    initialize: OfRequests,
    begin: OfRequests,
    may_begin: Arc<str>,
    look: OfRequests,
    take_over: OfRequests,
    find: Arc<str>,
    lock: Arc<str>,
    lock_row: Arc<str>,
    claim_row: [Arc<str>; 2],
    updates: Mutex<HashMap<UpdateForm, Arc<str>>>,
}

impl Sql {
    /// Statements for `schema`, or for the connection's `search_path`.
    pub fn new(schema: Option<&str>) -> Self {
        Self::of(schema, false)
    }

    /// The same for one transaction, whose number is the last parameter: in another one they do and answer nothing.
    pub fn guarded(schema: Option<&str>) -> Self {
        Self::of(schema, true)
    }

    fn of(schema: Option<&str>, is_guarded: bool) -> Self {
        let name = schema.map(|schema| format!("{}.idempotency_key", quoted(schema)));
        let name = name.unwrap_or_else(|| "idempotency_key".to_owned());
        let table = Table { name, is_guarded };
        Self {
            schema: schema.map(str::to_owned),
            create: create::single(&table),
            find_or_create: find_or_create::single(&table),
            initialize: of_requests(|optional| initialize::single(&table, optional)),
            begin: of_requests(|optional| initialize::begin(&table, optional.fingerprint)),
            may_begin: initialize::may_begin(&table),
            look: of_requests(|optional| initialize::look(&table, optional)),
            take_over: of_requests(|optional| take_over::single(&table, optional.fingerprint)),
            find: find::single(&table),
            lock: lock::single(&table),
            lock_row: lock_row::waiting(&table),
            claim_row: [false, true].map(|has_location| lock_row::claim(&table, has_location)),
            updates: Mutex::default(),
            table,
        }
    }

    /// Writes a statement.
    #[expect(clippy::too_many_lines, reason = "a few lines for each statement")]
    pub fn write(&self, statement: Statement) -> Query {
        let (text, parameters): (&Arc<str>, Vec<Text>) = match statement {
            Statement::Create(columns) | Statement::CreateNew(columns) => {
                (&self.create, create::inserted(columns).collect())
            }
            Statement::FindOrCreate { key, columns } => {
                let values = create::inserted(columns);
                (&self.find_or_create, std::iter::once(Some(key)).chain(values).collect())
            }
            Statement::Initialize(new) => {
                let others = [interval(new.lease), new.id];
                of_request(&self.initialize, new.key, new.request, others)
            }
            Statement::Begin(new) => {
                let (text, parameters) = of_request(&self.begin, new.key, new.request, [new.id]);
                let query = Query::new(Arc::clone(text), parameters);
                return Query { waits_briefly: true, ..query };
            }
            Statement::Look(new) => {
                of_request(&self.look, new.key, new.request, [interval(new.lease)])
            }
            Statement::TakeOver { new, seen: Token(token) } => {
                let others = [interval(new.lease), token];
                of_request(&self.take_over, new.key, new.request, others)
            }
            Statement::Find(key) => (&self.find, vec![Some(key)]),
            Statement::MayBegin(key) => (&self.may_begin, vec![Some(key)]),
            Statement::Select(selector) => {
                let mut parameters = Vec::new();
                let condition = selector::condition(&selector, &mut parameters);
                let text = find::selected(&self.table, &condition, parameters.len());
                return Query { is_raw: selector.is_raw(), ..Query::new(text, parameters) };
            }
            Statement::Lock { key, hold, own } => {
                let own = own.map(|Token(token)| token);
                (&self.lock, vec![Some(key), Some(interval(hold)), own])
            }
            Statement::Update { key, columns, lease, location, fence } => {
                let of = location.map_or(UpdateOf::AnyRow, UpdateOf::RowAt);
                return self.update(key, columns, lease, of, fence);
            }
            Statement::Record { key, columns, lease } => {
                return self.update(key, columns, lease, UpdateOf::RequiredRow, None);
            }
            Statement::LockRow(key) => (&self.lock_row, vec![Some(key)]),
            Statement::ClaimRow { key, lease, location } => {
                let text = &self.claim_row[usize::from(location.is_some())];
                let location = location.map(|RowLocation(location)| Some(location));
                let parameters = [Some(key), Some(interval(lease))].into_iter();
                (text, parameters.chain(location).collect())
            }
            Statement::ChangeLease { key, which, action, lease } => {
                let (text, others) = change_lease::single(&self.table, &which, action, lease);
                let parameters = std::iter::once(Some(key)).chain(others).collect();
                return Query::new(text, parameters);
            }
            Statement::Stalled { interrupted, older_than, lease, limit } => {
                let text = stalled::single(&self.table, interrupted, limit);
                let parameters = vec![Some(interval(older_than)), Some(interval(lease))];
                return Query::new(text, parameters);
            }
        };
        Query::new(Arc::clone(text), parameters)
    }

    fn update(
        &self,
        key: String,
        mut columns: Columns,
        lease: LeaseChange,
        of: UpdateOf,
        fence: Option<Fence>,
    ) -> Query {
        let form = UpdateForm {
            columns: columns.named(),
            lease,
            has_location: matches!(of, UpdateOf::RowAt(_)),
            without_row: WithoutRow::AnswersNone,
            is_fenced: fence.is_some(),
            has_headers: columns.response_headers.is_some(),
        };
        let mut parameters = vec![Some(key)];
        if form.columns.is_empty() && lease == LeaseChange::Keep && !form.has_headers {
            return Query::new(Arc::clone(&self.find), parameters);
        }
        let values = Column::ALL.map(|column| std::mem::take(columns.get_mut(column)));
        parameters.extend(values.into_iter().filter_map(|field| match field {
            Field::Set(value) => Some(value),
            Field::Absent => None,
        }));
        parameters.extend(columns.response_headers.map(Some));
        if let UpdateOf::RowAt(RowLocation(location)) = &of {
            parameters.push(Some(location.clone()));
        }
        if let Some(Fence { tokens: held, recovery_point, lease }) = fence {
            parameters.extend([Some(tokens(&held)), Some(interval(lease)), recovery_point]);
        }
        if of != UpdateOf::RequiredRow {
            return Query::new(self.update_text(form), parameters);
        }
        let text = |without_row| self.update_text(UpdateForm { without_row, ..form });
        let unprepared = Some(Unprepared(text(WithoutRow::FailsUnprepared)));
        Query { unprepared, ..Query::new(text(WithoutRow::Fails), parameters) }
    }

    fn update_text(&self, form: UpdateForm) -> Arc<str> {
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        let text = updates.entry(form).or_insert_with(|| update::single(&self.table, form));
        Arc::clone(text)
    }

    /// Answers one row: whether the table has the column for fingerprints, and the one for headers.
    pub fn optional_columns(&self) -> String {
        maintenance::optional_columns(&self.table)
    }

    /// Deletes finished keys that are older than `$1` and lie in the pages from `$2` up to `$3`, in words for a server that
    /// finds ranges of pages, or for one that does not.
    pub fn prune(&self, finds_ranges: bool) -> Arc<str> {
        maintenance::prune(&self.table, finds_ranges)
    }

    /// Answers one row: how many pages the table, or the largest of its partitions, has; how many partitions; and whether
    /// the server finds ranges of pages.
    pub fn pages(&self) -> String {
        maintenance::pages(&self.table)
    }
}

/// Where an update looks for its row.
#[derive(PartialEq, Eq)]
enum UpdateOf {
    /// Wherever it is.
    AnyRow,
    /// Where it was seen last.
    RowAt(RowLocation),
    /// Wherever it is; it has to be there.
    RequiredRow,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(columns: Columns) -> Statement {
        Statement::Update {
            key: "k".to_owned(),
            columns,
            lease: LeaseChange::Keep,
            location: None,
            fence: None,
        }
    }

    #[test]
    fn a_schema_is_quoted_never_spliced() {
        let sql = Sql::new(Some("a\"; DROP TABLE x; --"));
        assert_eq!(sql.table.name, "\"a\"\"; DROP TABLE x; --\".idempotency_key");
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
