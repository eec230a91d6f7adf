//! Every statement of the engine's, by name.

use std::time::Duration;

use medusa_idempotency_key::engine::key::{Columns, Field};
use medusa_idempotency_key::engine::protocol::selector::Selector;
use medusa_idempotency_key::engine::protocol::statement::{
    Fence, LeaseAction, LeaseChange, LeaseOf, NewRequest, Request, RowLocation, Statement, Token,
};
use medusa_idempotency_key::engine::sql::batch::{self, Kind};
use medusa_idempotency_key::engine::sql::{Sql, Unprepared};

const LEASE: Duration = Duration::from_secs(10);

/// The name and the text of each statement, single ones first.
pub fn all(sql: &Sql) -> Vec<(String, String)> {
    let mut others: Vec<(String, String)> = Vec::new();
    let mut texts: Vec<(String, String)> = Vec::new();
    for statement in statements() {
        let name = name_of(&statement);
        let kind = Kind::of(&statement).filter(|kind| *kind != Kind::Single);
        others.extend(
            kind.map(|kind| (format!("{name}, batched"), batch::text(sql, kind).to_string())),
        );
        let query = sql.write(statement);
        others.extend(
            query
                .unprepared
                .map(|Unprepared(two)| (format!("{name}, unprepared"), two.to_string())),
        );
        texts.push((name.to_owned(), query.text.to_string()));
    }
    texts.extend(others);
    texts.extend([
        ("prune".to_owned(), sql.prune(true).to_string()),
        ("prune before 14".to_owned(), sql.prune(false).to_string()),
        ("pages".to_owned(), sql.pages()),
        ("optional columns".to_owned(), sql.optional_columns()),
        ("migrate".to_owned(), sql.migrate()),
    ]);
    // Templates have line breaks within parentheses.
    let tidy = |text: String| text.replace("( ", "(").replace(" )", ")");
    texts.into_iter().map(|(name, text)| (name, tidy(text))).collect()
}

/// A new statement needs a name here, and one among [`statements`].
fn name_of(statement: &Statement) -> &'static str {
    match statement {
        Statement::Create(_) => "create",
        Statement::CreateNew(_) => "create new",
        Statement::FindOrCreate { .. } => "find or create",
        Statement::Initialize(_) => "initialize",
        Statement::Begin(_) => "begin",
        Statement::MayBegin(_) => "may begin",
        Statement::Look(_) => "look",
        Statement::TakeOver { .. } => "take over",
        Statement::Find(_) => "find",
        Statement::Select(_) => "select",
        Statement::Lock { .. } => "lock",
        Statement::Update { fence: Some(_), .. } => "update with a fence",
        Statement::Update { .. } => "update",
        Statement::Record { .. } => "record",
        Statement::LockRow(_) => "lock row",
        Statement::ClaimRow { .. } => "claim row",
        Statement::ChangeLease { .. } => "change lease",
        Statement::Stalled { .. } => "stalled",
    }
}

fn statements() -> Vec<Statement> {
    let key = || "k".to_owned();
    let token = || Token("x1".to_owned());
    let mut all = vec![
        Statement::Create(columns()),
        Statement::CreateNew(columns()),
        // The statement itself says what is not given.
        Statement::CreateNew(Columns::default()),
        Statement::FindOrCreate { key: key(), columns: Columns::default() },
        Statement::FindOrCreate { key: key(), columns: columns() },
        Statement::Find(key()),
        Statement::Select(Selector::from_json(SELECTOR).unwrap()),
        Statement::Lock { key: key(), hold: LEASE, own: Some(token()) },
        Statement::LockRow(key()),
    ];
    let requests = [(None, false), (Some("f"), false), (None, true), (Some("f"), true)];
    for (fingerprint, headers) in requests {
        let new = new_request(fingerprint, headers);
        all.push(Statement::Initialize(new.clone()));
        all.push(Statement::Begin(new.clone()));
        all.push(Statement::Look(new.clone()));
        all.push(Statement::TakeOver { new, seen: token() });
    }
    all.push(Statement::MayBegin(key()));
    all.push(Statement::Record { key: key(), columns: columns(), lease: LeaseChange::End });
    for location in [None, Some(RowLocation("(0,1)".to_owned()))] {
        all.push(Statement::ClaimRow { key: key(), lease: LEASE, location: location.clone() });
        all.extend(updates(location.as_ref()));
    }
    for action in [LeaseAction::Renew, LeaseAction::End, LeaseAction::Expire] {
        for which in [LeaseOf::Tokens(vec![token()]), LeaseOf::Nobody] {
            all.push(Statement::ChangeLease { key: key(), which, action, lease: LEASE });
        }
    }
    for interrupted in [false, true] {
        all.push(Statement::Stalled { interrupted, older_than: LEASE, lease: LEASE, limit: 9 });
    }
    all
}

const SELECTOR: &str =
    r#"[[{"column":"request_path","predicate":{"operator":"equal","operand":{"text":"/p"}}}]]"#;

/// Of every form, where the row is looked for at a location, or anywhere.
fn updates(location: Option<&RowLocation>) -> Vec<Statement> {
    let fence = || Fence {
        tokens: vec![Token("x1".to_owned())],
        recovery_point: Some("paid".to_owned()),
        lease: LEASE,
    };
    let mut updates = Vec::new();
    for lease in [LeaseChange::Keep, LeaseChange::Renew, LeaseChange::End] {
        for fence in [None, Some(fence())] {
            updates.push(Statement::Update {
                key: "k".to_owned(),
                columns: changed(lease),
                lease,
                location: location.cloned(),
                fence,
            });
        }
    }
    updates.push(Statement::Update {
        key: "k".to_owned(),
        columns: Columns { response_headers: Some("{}".to_owned()), ..changed(LeaseChange::End) },
        lease: LeaseChange::End,
        location: location.cloned(),
        fence: Some(fence()),
    });
    updates
}

/// What an update changes that goes in a batch. The lease decides on `locked_at` if it changes.
fn changed(lease: LeaseChange) -> Columns {
    let mut changed = columns();
    (changed.id, changed.idempotency_key) = (Field::Absent, Field::Absent);
    if lease != LeaseChange::Keep {
        changed.locked_at = Field::Absent;
    }
    changed
}

/// All of them.
fn columns() -> Columns {
    let given = || Field::Set(Some("1".to_owned()));
    Columns {
        id: given(),
        idempotency_key: given(),
        created_at: given(),
        locked_at: given(),
        request_method: given(),
        request_params: given(),
        request_path: given(),
        response_code: given(),
        response_body: given(),
        recovery_point: given(),
        response_headers: None,
    }
}

fn new_request(fingerprint: Option<&str>, headers: bool) -> NewRequest {
    let request = Request {
        method: Some("POST".to_owned()),
        fingerprint: fingerprint.map(str::to_owned),
        headers,
        ..Request::default()
    };
    NewRequest { id: "i".to_owned(), key: "k".to_owned(), request, lease: LEASE }
}
