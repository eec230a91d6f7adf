//! Each of the statements that are written twice, for one caller and for many, answers alike in both texts, and
//! leaves the same in the table.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)] // other tests use more of it
mod support;

use std::collections::HashMap;
use std::time::Duration;

use medusa_idempotency_key::engine::error::Error;
use medusa_idempotency_key::engine::execution::group_commit::{GroupCommit, Limits};
use medusa_idempotency_key::engine::key::{Columns, Field, IdempotencyKey};
use medusa_idempotency_key::engine::protocol::executor::Executor as _;
use medusa_idempotency_key::engine::protocol::statement::{
    Fence, LeaseChange, NewRequest, Request, Row, Statement, Token,
};
use support::{Database, execute, text};

const LEASE: Duration = Duration::from_secs(3600);

/// The keys that are there: never begun, in progress, released, run out, finished, locked by no lease's time.
const KEYS: &str = "INSERT INTO idempotency_key (id, idempotency_key, created_at, locked_at, \
    request_method, request_params, request_path, response_code, response_body, recovery_point, response_headers) VALUES \
    ('i1', 'bare', '2020-01-01', NULL, NULL, NULL, NULL, NULL, NULL, 'started', NULL), \
    ('i2', 'live', '2020-01-02', now() + interval '1 hour', 'POST', '{\"a\": 1}', '/p', NULL, NULL, 'paid', NULL), \
    ('i3', 'released', '2020-01-03', NULL, 'POST', '{\"a\": 1}', '/p', NULL, NULL, 'paid', NULL), \
    ('i4', 'ran out', '2020-01-04', '2020-01-04', 'POST', '{\"a\": 1}', '/p', NULL, NULL, 'started', NULL), \
    ('i5', 'finished', '2020-01-05', NULL, 'POST', '{\"a\": 1}', '/p', 201, '{\"b\": [2]}', 'finished', '{\"x-a\": \"1\"}'), \
    ('i6', 'for ever', '2020-01-06', 'infinity', 'PUT', 'null', '', 599, '\"x\"', 'started', NULL)";

const NAMES: [&str; 8] =
    ["bare", "live", "released", "ran out", "finished", "for ever", "nowhere", "it's \\ \"new\""];

/// What of a row does not depend on the moment: times of leases are, as whether there is one.
type Seen = (IdempotencyKey, bool, bool, bool, bool);

fn seen(row: &Row) -> Seen {
    // Who loses to another of the same batch sees the row as it was before: it is refused, and told no more.
    let locked = row.won && row.key.locked_at.is_some();
    let key = IdempotencyKey { locked_at: None, ..row.key.clone() };
    (key, locked, row.won, row.live, row.same)
}

fn answer(result: Result<Vec<Row>, Error>) -> Result<Vec<Seen>, String> {
    match result {
        Ok(rows) => Ok(rows.iter().map(seen).collect()),
        Err(Error::Database(error)) => Err(error.code),
        Err(error) => Err(format!("{error:?}")),
    }
}

async fn stored(database: &Database) -> Vec<Seen> {
    let mut all = Vec::new();
    for key in NAMES.into_iter().chain(["given", "i1-other"]) {
        let request = Request { headers: true, ..Request::default() };
        let look = Statement::Look(new_request(key, "-", request));
        let rows = database.executor().run(look).await.unwrap();
        all.extend(rows.iter().map(seen));
    }
    all
}

/// The token of each key's row as it is now.
type Tokens = HashMap<&'static str, Token>;

async fn tokens(database: &Database) -> Tokens {
    let mut tokens = Tokens::new();
    for key in NAMES {
        let rows = database.executor().run(Statement::Find(key.to_owned())).await.unwrap();
        tokens.extend(rows.into_iter().map(|row| (key, row.token)));
    }
    tokens
}

/// A table with the keys; what is inserted is as old as what another one inserts.
async fn with_keys() -> Database {
    let database = Database::new().await;
    let times = "ALTER TABLE idempotency_key ALTER created_at SET DEFAULT '2022-02-02'";
    execute(database.executor(), times).await;
    execute(database.executor(), KEYS).await;
    database
}

/// Runs the same statements one by one and as a batch, on two tables that are alike.
async fn assert_alike(name: &str, statements: impl Fn(&Tokens) -> Vec<Statement>) {
    let (one, many) = (with_keys().await, with_keys().await);
    let mut single = Vec::new();
    for statement in statements(&tokens(&one).await) {
        single.push(answer(one.executor().run(statement).await));
    }
    let group = GroupCommit::join(many.executor().clone(), Limits::default());
    let statements = statements(&tokens(&many).await);
    let submission = group.begin_submission();
    let calls: Vec<_> = statements
        .into_iter()
        .map(|statement| {
            let group = group.clone();
            tokio::spawn(async move { group.run(statement).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(submission);
    let mut batched = Vec::new();
    for call in calls {
        batched.push(answer(call.await.unwrap()));
    }
    assert_eq!(batched, single, "{name}: answers");
    assert_eq!(stored(&many).await, stored(&one).await, "{name}: table");
    one.drop().await;
    many.drop().await;
}

fn request(method: Option<&str>, path: Option<&str>, params: Option<&str>) -> Request {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Request {
        method: owned(method),
        path: owned(path),
        params: owned(params),
        ..Request::default()
    }
}

fn requests() -> Vec<Request> {
    vec![
        request(Some("POST"), Some("/p"), Some("{\"a\": 1}")),
        request(Some("PUT"), Some("/p"), Some("{\"a\": 1}")),
        request(Some("POST"), Some("/other"), Some("{\"a\": 1}")),
        request(Some("POST"), Some("/p"), Some("{\"a\": 2}")),
        request(None, None, None),
        Request { headers: true, ..request(Some("POST"), Some("/p"), None) },
    ]
}

fn new_request(key: &str, id: &str, request: Request) -> NewRequest {
    NewRequest { id: id.to_owned(), key: key.to_owned(), request, lease: LEASE }
}

#[tokio::test]
async fn find() {
    assert_alike("find", |_| {
        let keys = NAMES.into_iter().chain(["live"]);
        keys.map(|key| Statement::Find(key.to_owned())).collect()
    })
    .await;
}

#[tokio::test]
async fn create() {
    let columns = |key: &str, id: &str| Columns {
        id: text(id),
        idempotency_key: text(key),
        created_at: text("2021-02-03T04:05:06.789Z"),
        locked_at: Field::Set(None),
        request_method: text("PATCH"),
        // As the server writes it, since a batch answers what was given.
        request_params: text("{\"p\": [1.50]}"),
        request_path: text("it's \\ here"),
        response_code: text("418"),
        response_body: Field::Set(None),
        recovery_point: text("point"),
        response_headers: None,
    };
    let bad = |code: &str| Columns { response_code: text(code), ..columns("given", code) };
    assert_alike("create", |_| {
        vec![
            Statement::Create(columns("given", "c1")),
            Statement::Create(columns("live", "c2")),
            Statement::Create(columns("nowhere", "i1")),
            Statement::Create(columns("it's \\ \"new\"", "c4")),
        ]
    })
    .await;
    assert_alike("create what is no number", |_| {
        let good = Columns { idempotency_key: text("nowhere"), ..bad("1") };
        vec![Statement::Create(bad("x")), Statement::Create(good)]
    })
    .await;
}

#[tokio::test]
async fn find_or_create() {
    assert_alike("find or create", |_| {
        // A new key is another than the one that is looked for, as Medusa's service makes it.
        let looked_for = NAMES.into_iter().filter(|key| *key != "it's \\ \"new\"");
        let statements = looked_for.map(|key| Statement::FindOrCreate {
            key: key.to_owned(),
            columns: Columns {
                id: text(&format!("f-{key}")),
                idempotency_key: text("given"),
                created_at: text("2021-01-01"),
                request_method: text("GET"),
                ..Columns::default()
            },
        });
        statements.collect()
    })
    .await;
}

#[tokio::test]
async fn initialize() {
    for request in requests() {
        assert_alike("initialize", |_| {
            // Two callers bring the same new key.
            let keys = NAMES.into_iter().chain(["nowhere"]).enumerate();
            keys.map(|(number, key)| {
                Statement::Initialize(new_request(key, &format!("n{number}"), request.clone()))
            })
            .collect()
        })
        .await;
    }
}

#[tokio::test]
async fn take_over() {
    for request in requests() {
        assert_alike("take over", |tokens| {
            let seen = |key: &str| tokens.get(key).cloned().unwrap_or(Token("x0".to_owned()));
            // Of two callers who have seen the same, one gets it; who has seen something else does not.
            let keys = NAMES.into_iter().chain(["released"]);
            let mut statements: Vec<_> = keys
                .map(|key| Statement::TakeOver {
                    new: new_request(key, "t", request.clone()),
                    seen: seen(key),
                })
                .collect();
            let stale = new_request("bare", "t", request.clone());
            statements.insert(0, Statement::TakeOver { new: stale, seen: Token("x0".to_owned()) });
            statements
        })
        .await;
    }
}

#[tokio::test]
async fn lock() {
    assert_alike("lock", |tokens| {
        let own = |key: &str| tokens.get(key).filter(|_| key == "live").cloned();
        let keys = NAMES.into_iter().chain(["bare"]);
        keys.map(|key| Statement::Lock { key: key.to_owned(), hold: LEASE, own: own(key) })
            .collect()
    })
    .await;
}

#[tokio::test]
async fn update() {
    let columns = Columns {
        request_path: text("/changed"),
        request_params: Field::Set(None),
        response_code: text("202"),
        response_body: text("{\"z\": 1, \"a\": null}"),
        response_headers: Some("{\"x-b\": \"2\"}".to_owned()),
        ..Columns::default()
    };
    let all = |lease, fence: fn(&Tokens, &str) -> Option<Fence>| {
        let columns = &columns;
        move |tokens: &Tokens| {
            let update = |key: &'static str| Statement::Update {
                key: key.to_owned(),
                columns: columns.clone(),
                lease,
                location: None,
                fence: fence(tokens, key),
            };
            NAMES.into_iter().map(update).collect::<Vec<_>>()
        }
    };
    for lease in [LeaseChange::Keep, LeaseChange::Renew, LeaseChange::End] {
        assert_alike("update", all(lease, |_, _| None)).await;
        assert_alike(
            "update of the lease's holder",
            all(lease, |tokens, key| {
                let held = tokens.get(key).cloned().into_iter().collect();
                Some(Fence { tokens: held, recovery_point: Some("paid".to_owned()), lease: LEASE })
            }),
        )
        .await;
        assert_alike(
            "update of one who has lost the lease",
            all(lease, |_, _| {
                let tokens = vec![Token("x0".to_owned())];
                Some(Fence { tokens, recovery_point: Some("started".to_owned()), lease: LEASE })
            }),
        )
        .await;
    }
    assert_alike("update of nothing", |_| {
        let update = |key: &str| Statement::Update {
            key: key.to_owned(),
            columns: Columns::default(),
            lease: LeaseChange::Keep,
            location: None,
            fence: None,
        };
        NAMES.into_iter().map(update).collect()
    })
    .await;
}
