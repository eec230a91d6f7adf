//! Group commit against PostgreSQL: many callers' statements in one.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)] // other tests use more of it
mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use medusa_idempotency_key::engine::error::{DatabaseError, Error};
use medusa_idempotency_key::engine::execution::group_commit::{GroupCommit, Limits};
use medusa_idempotency_key::engine::execution::in_transaction;
use medusa_idempotency_key::engine::execution::pool_executor::PoolExecutor;
use medusa_idempotency_key::engine::key::{Columns, Field, IdempotencyKey};
use medusa_idempotency_key::engine::postgres::connection::Connection;
use medusa_idempotency_key::engine::protocol::executor::Executor;
use medusa_idempotency_key::engine::protocol::operations;
use medusa_idempotency_key::engine::protocol::statement::{
    Fence, LeaseChange, NewRequest, Request, Row, Statement, Token,
};
use medusa_idempotency_key::engine::sql::Isolation;
use sqlx::{AssertSqlSafe, FromRow};
use support::{Database, execute, finished, recovery_point, text};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(10);

fn group(database: &Database) -> GroupCommit {
    GroupCommit::join(database.executor().clone(), Limits::default())
}

fn group_within(database: &Database, limits: Limits) -> GroupCommit {
    GroupCommit::join(database.executor().clone(), limits)
}

/// Calls in their order, none of which waits for the one before it.
fn at_once<T, F>(calls: impl IntoIterator<Item = F>) -> Vec<JoinHandle<T>>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    calls.into_iter().map(tokio::spawn).collect()
}

async fn all<T>(calls: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

fn run(
    group: &GroupCommit,
    statement: Statement,
) -> impl Future<Output = Result<Vec<Row>, Error>> + Send + 'static {
    let group = group.clone();
    async move { group.run(statement).await }
}

async fn run_all(group: &GroupCommit, statements: Vec<Statement>) -> Vec<Result<Vec<Row>, Error>> {
    all(at_once(statements.into_iter().map(|statement| run(group, statement)))).await
}

/// The same, all of them before the first goes.
async fn run_together(
    group: &GroupCommit,
    statements: Vec<Statement>,
) -> Vec<Result<Vec<Row>, Error>> {
    let hold = group.begin_submission();
    let calls = at_once(statements.into_iter().map(|statement| run(group, statement)));
    // Their turns come before this one's.
    tokio::task::yield_now().await;
    drop(hold);
    all(calls).await
}

fn key_named(key: &str) -> Columns {
    Columns {
        id: text(&format!("id_{key}")),
        idempotency_key: text(key),
        // Some errors tell the whole row.
        created_at: text("2020-01-01T00:00:00Z"),
        request_method: text("POST"),
        ..Columns::default()
    }
}

fn create(key: &str) -> Statement {
    Statement::Create(key_named(key))
}

fn find(key: &str) -> Statement {
    Statement::Find(key.to_owned())
}

fn update(key: &str, columns: Columns) -> Statement {
    Statement::Update {
        key: key.to_owned(),
        columns,
        lease: LeaseChange::Keep,
        location: None,
        fence: None,
    }
}

fn lock(key: &str) -> Statement {
    Statement::Lock { key: key.to_owned(), hold: LEASE, own: None }
}

fn request(id: &str, key: &str, path: &str) -> NewRequest {
    NewRequest {
        id: id.to_owned(),
        key: key.to_owned(),
        request: Request {
            method: Some("POST".to_owned()),
            path: Some(path.to_owned()),
            params: Some("{\"a\": 1}".to_owned()),
            fingerprint: None,
            headers: false,
        },
        lease: LEASE,
    }
}

async fn connect(executor: &PoolExecutor) -> Connection {
    executor.pool.connection().await.unwrap()
}

async fn select<T>(executor: &PoolExecutor, sql: &str) -> Vec<T>
where
    T: Send + Unpin + for<'r> FromRow<'r, sqlx::postgres::PgRow>,
{
    let mut connection = connect(executor).await;
    let rows = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection.start().unwrap()).await;
    connection.end(rows).unwrap()
}

/// Notes each statement that inserts or updates keys: its text, and how many rows it wrote.
async fn log_statements(executor: &PoolExecutor) {
    execute(
        executor,
        "CREATE TABLE log (sql text, rows bigint, bytes bigint); \
         CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log \
         SELECT current_query(), count(*), sum(octet_length(response_body::text)) FROM new; \
         RETURN NULL; END $$; \
         CREATE TRIGGER log_insert AFTER INSERT ON idempotency_key \
         REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION log(); \
         CREATE TRIGGER log_update AFTER UPDATE ON idempotency_key \
         REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION log()",
    )
    .await;
}

async fn logged(executor: &PoolExecutor) -> Vec<(String, i64)> {
    select(executor, "SELECT sql, rows FROM log WHERE rows > 0").await
}

/// Another transaction, which holds what it has locked until it is committed or dropped.
async fn transaction(executor: &PoolExecutor, sql: &str) -> Connection {
    let mut connection = connect(executor).await;
    connection.begin(Isolation::ReadCommitted).await.unwrap();
    connection.execute(sql.to_owned()).await.unwrap();
    connection
}

async fn commit(mut connection: Connection) {
    connection.end_transaction("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_lone_caller_sends_the_plain_statement_at_once() {
    let database = Database::new().await;
    log_statements(database.executor()).await;
    let group = group(&database);
    for number in 0..5 {
        group.run(create(&format!("k{number}"))).await.unwrap();
        group.run(update(&format!("k{number}"), recovery_point("paid"))).await.unwrap();
    }
    let logged = logged(database.executor()).await;
    assert_eq!(logged.len(), 10);
    assert!(logged.iter().all(|(sql, _)| !sql.contains("unnest")), "{logged:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_thousand_callers_share_few_commits() {
    let database = Database::new().await;
    log_statements(database.executor()).await;
    let group = group(&database);
    // A batch that has to wait while a table grows, as on a slow disk, is left to its callers.
    let mut most = usize::MAX;
    for round in 0..10 {
        most = most.min(statements_of_a_thousand(&database, &group, round).await);
        if most <= 50 {
            break;
        }
    }
    assert!(most <= 50, "{most}");
    database.drop().await;
}

/// Has a thousand callers make each kind of call, and answers how many statements of a kind that were at most.
async fn statements_of_a_thousand(database: &Database, group: &GroupCommit, round: usize) -> usize {
    let names: Vec<String> = (0..1000).map(|number| format!("k{round}_{number}")).collect();
    let mut most = 0;
    for statement in [create, |key: &str| update(key, recovery_point("paid")), lock] {
        let statements = names.iter().map(|name| statement(name)).collect();
        for (answer, name) in run_all(group, statements).await.into_iter().zip(&names) {
            let rows = answer.unwrap();
            assert_eq!(rows.len(), 1);
            assert_eq!(&rows[0].key.idempotency_key, name);
            assert!(rows[0].won);
        }
        most = most.max(logged(database.executor()).await.len());
        execute(database.executor(), "TRUNCATE log").await;
    }
    let found = run_all(group, names.iter().map(|name| find(name)).collect()).await;
    for (found, name) in found.into_iter().zip(&names) {
        let row = found.unwrap().remove(0);
        assert_eq!(row.key.recovery_point, "paid");
        assert_eq!(&row.key.idempotency_key, name);
    }
    most
}

#[tokio::test]
async fn what_is_submitted_together_goes_together() {
    let database = Database::new().await;
    log_statements(database.executor()).await;
    let group = group(&database);
    let (submission, longer) = (group.begin_submission(), group.begin_submission());
    let calls = at_once((0..10).map(|number| run(&group, create(&format!("k{number}")))));
    // Their turns come before this one's.
    tokio::task::yield_now().await;
    // Each look is several round trips, in which the calls would have gone.
    for _ in 0..3 {
        assert_eq!(logged(database.executor()).await, []);
    }
    drop(submission);
    // Another thread that is still submitting delays nobody.
    assert!(all(calls).await.iter().all(Result::is_ok));
    let rows: Vec<i64> =
        logged(database.executor()).await.into_iter().map(|(_, rows)| rows).collect();
    assert_eq!(rows, [10]);
    drop(longer);
    database.drop().await;
}

#[tokio::test]
async fn what_is_submitted_does_not_go_in_parts_when_a_statement_is_answered() {
    let database = Database::new().await;
    let executor = database.executor();
    log_statements(executor).await;
    let group = group(&database);
    let under_way = at_once([run(&group, create("a"))]);
    tokio::task::yield_now().await;
    let submission = group.begin_submission();
    let first = at_once((0..3).map(|number| run(&group, create(&format!("b{number}")))));
    tokio::task::yield_now().await;
    assert!(all(under_way).await.iter().all(Result::is_ok));
    // Each look is several round trips, in which the calls would have gone.
    for _ in 0..3 {
        assert_eq!(logged(executor).await.len(), 1);
    }
    let second = at_once((3..10).map(|number| run(&group, create(&format!("b{number}")))));
    tokio::task::yield_now().await;
    drop(submission);
    assert!(all(first).await.iter().chain(&all(second).await).all(Result::is_ok));
    let rows: Vec<i64> = logged(executor).await.into_iter().map(|(_, rows)| rows).collect();
    assert_eq!(rows, [1, 10]);
    database.drop().await;
}

/// Has every statement that inserts keys take some milliseconds, and notes when it began and ended.
async fn slow_down(executor: &PoolExecutor) {
    execute(
        executor,
        "CREATE TABLE slow (began timestamptz, ended timestamptz); \
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_sleep(0.015); \
         INSERT INTO slow VALUES (statement_timestamp(), clock_timestamp()); RETURN NULL; END $$; \
         CREATE TRIGGER wait AFTER INSERT ON idempotency_key FOR EACH STATEMENT \
         EXECUTE FUNCTION wait()",
    )
    .await;
}

#[tokio::test]
async fn where_the_disk_is_only_slow_all_calls_go_together() {
    let database = Database::new().await;
    slow_down(database.executor()).await;
    let group = group(&database);
    log_statements(database.executor()).await;
    for round in 0..100 {
        let hold = group.begin_submission();
        let calls =
            at_once((0..10).map(|number| run(&group, create(&format!("{round}-{number}")))));
        tokio::task::yield_now().await;
        drop(hold);
        assert!(all(calls).await.iter().all(Result::is_ok));
    }
    let rows: Vec<i64> =
        logged(database.executor()).await.into_iter().map(|(_, rows)| rows).collect();
    assert_eq!(rows, [10; 100]);
    database.drop().await;
}

/// How many pairs of the statements that [`slow_down`] has noted were under way at once.
async fn overlapping(executor: &PoolExecutor) -> i64 {
    let sql = "SELECT count(*) FROM slow a JOIN slow b ON a.began < b.began AND b.began < a.ended";
    let pairs: Vec<(i64,)> = select(executor, sql).await;
    pairs[0].0
}

#[tokio::test]
async fn calls_that_fill_statements_with_their_bytes_do_not_wait_for_one_another() {
    let database = Database::new().await;
    slow_down(database.executor()).await;
    let group = group_within(&database, Limits { max_batch_bytes: 1000, ..Limits::default() });
    let long = |number| {
        let request_path = Field::Set(Some("/".repeat(1000)));
        Statement::Create(Columns { request_path, ..key_named(&format!("k{number}")) })
    };
    let answers = run_all(&group, (0..20).map(long).collect()).await;
    assert!(answers.iter().all(Result::is_ok));
    // Whoever seems to wait, for 25 ms, lets others go beside it: these statements are shorter.
    assert!(overlapping(database.executor()).await > 0);
    database.drop().await;
}

#[tokio::test]
async fn services_of_one_pool_and_schema_share_a_group() {
    let database = Database::new().await;
    log_statements(database.executor()).await;
    let (a, b) = (group(&database), group(&database));
    let submission = a.begin_submission();
    let calls = (0..100)
        .map(|number| run(if number % 2 == 0 { &a } else { &b }, create(&format!("k{number}"))));
    let calls = at_once(calls);
    tokio::task::yield_now().await;
    drop(submission);
    assert!(all(calls).await.iter().all(Result::is_ok));
    assert_eq!(logged(database.executor()).await.len(), 1);
    database.drop().await;
}

fn database_error(result: Result<Vec<Row>, Error>) -> DatabaseError {
    match result {
        Err(Error::Database(error)) => *error,
        other => panic!("{other:?}"),
    }
}

/// Everything a user sees of an error.
fn told(error: &DatabaseError) -> String {
    format!("{error:?}")
}

#[tokio::test]
async fn a_bad_row_fails_its_caller_alone_and_as_it_would_alone() {
    let database = Database::new().await;
    let executor = database.executor();
    execute(
        executor,
        "ALTER TABLE idempotency_key ADD CONSTRAINT known_method \
         CHECK (request_method <> 'BREW'); \
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.request_path = '/refused' THEN RAISE 'refused' USING ERRCODE = 'XY123', \
         DETAIL = 'a detail', HINT = 'a hint'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON idempotency_key \
         FOR EACH ROW EXECUTE FUNCTION refuse(); \
         CREATE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.request_path = '/late' THEN RAISE 'late' USING ERRCODE = 'XY124'; END IF; \
         RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER refuse_late AFTER INSERT OR UPDATE ON idempotency_key \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_late()",
    )
    .await;
    executor.run(create("known")).await.unwrap();
    let bad: Vec<(&str, Columns)> = vec![
        ("22021", Columns { request_path: text("a\0b"), ..Columns::default() }),
        ("22P05", Columns { response_body: text("\"\\u0000\""), ..Columns::default() }),
        ("22P02", Columns { response_body: text("\"\\ud800\""), ..Columns::default() }),
        ("22P02", Columns { request_params: text("{"), ..Columns::default() }),
        ("22P02", Columns { response_code: text("2.5"), ..Columns::default() }),
        ("22003", Columns { response_code: text("99999999999"), ..Columns::default() }),
        ("22007", Columns { created_at: text("yesterdayish"), ..Columns::default() }),
        ("23502", Columns { recovery_point: Field::Set(None), ..Columns::default() }),
        ("23514", Columns { request_method: text("BREW"), ..Columns::default() }),
        ("XY123", Columns { request_path: text("/refused"), ..Columns::default() }),
        ("XY124", Columns { request_path: text("/late"), ..Columns::default() }),
    ];
    let group = group(&database);
    // All of them give the same columns: they are of one kind.
    let all = |key: &str, columns: &Columns| {
        let named = key_named(key);
        let or = |field: &Field, value: &str| match field {
            Field::Absent => text(value),
            given => given.clone(),
        };
        Statement::Create(Columns {
            created_at: or(&columns.created_at, "2020-01-01T00:00:00Z"),
            request_method: or(&columns.request_method, "POST"),
            request_params: or(&columns.request_params, "{}"),
            request_path: or(&columns.request_path, "/"),
            response_code: or(&columns.response_code, "200"),
            response_body: or(&columns.response_body, "{}"),
            recovery_point: or(&columns.recovery_point, "started"),
            ..named
        })
    };
    let good = Columns::default();
    let mut statements = vec![all("first", &good), all("known", &good)];
    for (index, (_, columns)) in bad.iter().enumerate() {
        statements.push(all(&format!("good{index}"), &good));
        statements.push(all(&format!("bad{index}"), columns));
    }
    let mut answers = run_together(&group, statements.clone()).await.into_iter();
    answers.next().unwrap().unwrap();
    let duplicate = database_error(answers.next().unwrap());
    let alone = database_error(executor.run(statements[1].clone()).await);
    assert_eq!(told(&duplicate), told(&alone));
    assert_eq!(duplicate.code, "23505");
    assert!(duplicate.constraint.is_some() && duplicate.table.is_some(), "{duplicate:?}");
    for (index, (code, _)) in bad.iter().enumerate() {
        answers.next().unwrap().unwrap();
        let error = database_error(answers.next().unwrap());
        assert_eq!(error.code, *code);
        let alone = database_error(executor.run(statements[2 * index + 3].clone()).await);
        assert_eq!(told(&error), told(&alone));
    }

    // The same of updates, of one kind and of several.
    let mut statements = vec![update("known", recovery_point("paid"))];
    for (index, (_, columns)) in bad.iter().enumerate() {
        statements.push(update(&format!("good{index}"), columns.clone()));
    }
    let answers = run_all(&group, statements.clone()).await.into_iter().skip(1);
    for ((answer, (code, _)), statement) in answers.zip(&bad).zip(&statements[1..]) {
        let error = database_error(answer);
        assert_eq!(error.code, *code);
        assert_eq!(told(&error), told(&database_error(executor.run(statement.clone()).await)));
    }
    let code = |key: usize, code: &str| {
        let columns = Columns { response_code: text(code), ..Columns::default() };
        update(&format!("good{key}"), columns)
    };
    let codes = ["200", "200", "x", "201", "y", "202"];
    let statements = codes.iter().enumerate().map(|(index, text)| code(index, text)).collect();
    for (answer, text) in run_together(&group, statements).await.into_iter().zip(codes) {
        assert_eq!(answer.is_ok(), text.parse::<i32>().is_ok(), "{text}: {answer:?}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_poisoned_batch_is_halved_not_taken_apart() {
    let database = Database::new().await;
    log_statements(database.executor()).await;
    let group = group(&database);
    let answering = |number: usize, response_code: &str| {
        let columns = key_named(&format!("k{number:03}"));
        Statement::Create(Columns { response_code: text(response_code), ..columns })
    };
    let code = |number| if number == 100 { "x" } else { "200" };
    let statements = (0..256).map(|number| answering(number, code(number))).collect();
    let answers = run_together(&group, statements).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    assert!(answers[100].is_err());
    let rows = logged(database.executor()).await;
    assert!((8..=12).contains(&rows.len()), "{rows:?}");
    // The next ones go together again.
    execute(database.executor(), "TRUNCATE log").await;
    let more = (256..512).map(|number| answering(number, "200")).collect();
    assert!(run_together(&group, more).await.iter().all(Result::is_ok));
    let rows = logged(database.executor()).await;
    assert!((2..=8).contains(&rows.len()), "{rows:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_new_key_that_somebody_has_all_the_same_fails_its_caller_alone() {
    let database = Database::new().await;
    database.executor().run(create("k7")).await.unwrap();
    log_statements(database.executor()).await;
    let group = group(&database);
    let new = |number| Statement::CreateNew(key_named(&format!("k{number}")));
    let answers = run_all(&group, (0..20).map(new).collect()).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match number {
            7 => assert_eq!(database_error(answer).code, "23505"),
            _ => assert_eq!(answer.unwrap()[0].key.idempotency_key, format!("k{number}")),
        }
    }
    let logged = logged(database.executor()).await;
    assert!(logged.iter().all(|(sql, _)| !sql.contains("ON CONFLICT")), "{logged:?}");
    database.drop().await;
}

#[tokio::test]
async fn new_keys_are_answered_as_they_are_stored() {
    let database = Database::new().await;
    database.executor().run(create("given3")).await.unwrap();
    let group = group(&database);
    let all = |key: String| Columns {
        id: Field::Set(Some(format!("ikey_{key}"))),
        created_at: Field::Set(Some("2001-02-03 04:05:06+07".to_owned())),
        locked_at: Field::Set(Some("infinity".to_owned())),
        request_method: Field::Set(None),
        request_params: Field::Set(Some(r#"{"b":[1.50],"a":"x"}"#.to_owned())),
        request_path: Field::Set(Some(String::new())),
        response_code: Field::Set(Some(" 200".to_owned())),
        response_body: Field::Set(Some("null".to_owned())),
        recovery_point: Field::Set(Some("finished".to_owned())),
        ..key_named(&key)
    };
    let mut statements = Vec::new();
    for number in 0..6 {
        statements.push(Statement::CreateNew(all(format!("new{number}"))));
        statements.push(Statement::Create(all(format!("given{number}"))));
        statements.push(Statement::CreateNew(key_named(&format!("bare{number}"))));
    }
    let (created, refused): (Vec<_>, Vec<_>) =
        run_together(&group, statements).await.into_iter().partition(Result::is_ok);
    let codes: Vec<String> =
        refused.into_iter().map(|answer| database_error(answer).code).collect();
    assert_eq!(codes, ["23505"]);
    for rows in created.into_iter().map(Result::unwrap) {
        let stored = database.executor().run(find(&rows[0].key.idempotency_key)).await.unwrap();
        assert_eq!(parsed(&rows[0]), parsed(&stored[0]));
    }
    database.drop().await;
}

/// The key of a row, and the values that its JSON is text of.
fn parsed(row: &Row) -> (IdempotencyKey, [Option<serde_json::Value>; 2]) {
    let mut key = row.key.clone();
    let texts = [key.request_params.take(), key.response_body.take()];
    (key, texts.map(|text| text.map(|text| serde_json::from_str(&text).unwrap())))
}

#[tokio::test]
async fn new_keys_that_are_given_other_ids_are_not_inserted_twice() {
    let database = Database::new().await;
    let executor = database.executor();
    execute(
        executor,
        "CREATE FUNCTION other_id() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.id := 'other_' || NEW.idempotency_key; RETURN NEW; END $$; \
         CREATE TRIGGER other_id BEFORE INSERT ON idempotency_key \
         FOR EACH ROW EXECUTE FUNCTION other_id()",
    )
    .await;
    executor.run(create("k7")).await.unwrap();
    let group = group(&database);
    let named = |number| key_named(&format!("k{number}"));
    let some = (0..20).map(|number| Statement::Create(named(number)));
    let all = (20..40).map(|number| Statement::CreateNew(named(number)));
    let answers = run_together(&group, some.chain(all).collect()).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match number {
            7 => assert_eq!(database_error(answer).code, "23505"),
            _ => assert_eq!(answer.unwrap()[0].key.id, format!("other_k{number}")),
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn a_trigger_changes_what_a_new_key_is_answered_with() {
    let database = Database::new().await;
    let executor = database.executor();
    execute(
        executor,
        "CREATE FUNCTION upper_path() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.request_path := upper(NEW.request_path); RETURN NEW; END $$; \
         CREATE TRIGGER upper_path BEFORE INSERT ON idempotency_key \
         FOR EACH ROW EXECUTE FUNCTION upper_path()",
    )
    .await;
    let group = group(&database);
    let named = |number| Columns { request_path: text("/p"), ..key_named(&format!("k{number}")) };
    let some = (0..20).map(|number| Statement::Create(named(number)));
    let all = (20..40).map(|number| Statement::CreateNew(named(number)));
    for answer in run_together(&group, some.chain(all).collect()).await {
        assert_eq!(answer.unwrap()[0].key.request_path.as_deref(), Some("/P"));
    }
    database.drop().await;
}

#[tokio::test]
async fn calls_about_one_key_keep_their_order() {
    let database = Database::new().await;
    let group = group(&database);
    let mut statements = Vec::new();
    for number in 0..100 {
        let key = format!("k{number}");
        statements.extend([
            find(&key),
            create(&key),
            update(&key, recovery_point("one")),
            find(&key),
            update(&key, Columns { response_code: text("201"), ..recovery_point("two") }),
            lock(&key),
            lock(&key),
            update(&key, recovery_point("three")),
            find(&key),
            create(&key),
        ]);
    }
    let mut answers = run_all(&group, statements).await.into_iter();
    for _ in 0..100 {
        let mut next = || answers.next().unwrap();
        assert!(next().unwrap().is_empty());
        assert_eq!(next().unwrap()[0].key.recovery_point, "started");
        assert_eq!(next().unwrap()[0].key.recovery_point, "one");
        assert_eq!(next().unwrap()[0].key.recovery_point, "one");
        assert_eq!(next().unwrap()[0].key.recovery_point, "two");
        let locked = next().unwrap();
        assert!(locked[0].won && locked[0].key.recovery_point == "two");
        assert!(!next().unwrap()[0].won);
        assert_eq!(next().unwrap()[0].key.recovery_point, "three");
        assert_eq!(next().unwrap()[0].key.recovery_point, "three");
        assert_eq!(database_error(next()).code, "23505");
    }
    database.drop().await;
}

#[tokio::test]
async fn of_many_who_lock_a_key_the_first_wins() {
    let database = Database::new().await;
    let group = group(&database);
    for round in 0..10 {
        let key = format!("k{round}");
        // Something else is under way, so that the locks go together.
        let mut statements = vec![create(&key), create(&format!("other{round}"))];
        statements.extend((0..64).map(|_| lock(&key)));
        let answers = run_all(&group, statements).await;
        let won: Vec<bool> =
            answers.into_iter().skip(2).map(|answer| answer.unwrap()[0].won).collect();
        assert!(won[0]);
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
    }
    // Somebody whose earlier lock holds for no time locks it again.
    let free = |key: &str| Statement::Lock { key: key.to_owned(), hold: Duration::ZERO, own: None };
    let answers = run_all(&group, (0..8).map(|_| free("k0")).collect()).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap()[0].won));
    let answers = run_all(&group, (0..3).map(|_| lock("nowhere")).collect()).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_empty()));
    database.drop().await;
}

#[tokio::test]
async fn of_many_who_begin_a_request_one_wins_and_the_others_meet_it() {
    let database = Database::new().await;
    let group = group(&database);
    for fingerprint in [None, Some("print".to_owned())] {
        let prefix = fingerprint.as_deref().unwrap_or("no");
        let mut statements = vec![create(&format!("{prefix}-other"))];
        for number in 0..30 {
            let path = if number % 3 == 0 { "/a" } else { "/b" };
            let mut new = request(&format!("{prefix}{number}"), prefix, path);
            new.request.fingerprint.clone_from(&fingerprint);
            statements.push(Statement::Initialize(new));
        }
        let mut other_print = request(&format!("{prefix}x"), prefix, "/a");
        other_print.request.fingerprint = fingerprint.as_ref().map(|_| "another".to_owned());
        statements.push(Statement::Initialize(other_print));
        let answers: Vec<Row> = run_all(&group, statements)
            .await
            .into_iter()
            .skip(1)
            .map(|answer| answer.unwrap().remove(0))
            .collect();
        for (number, row) in answers.iter().take(30).enumerate() {
            assert_eq!(row.won, number == 0, "{number}");
            assert!(row.live);
            assert_eq!(row.same, number % 3 == 0, "{number}");
            assert_eq!(row.key.id, format!("{prefix}0"));
            assert_eq!(row.token, answers[0].token);
        }
        assert_eq!(answers[30].same, fingerprint.is_none());
    }
    database.drop().await;
}

#[tokio::test]
async fn of_many_who_take_a_request_over_the_first_gets_it() {
    let database = Database::new().await;
    let group = group(&database);
    let executor = database.executor();
    for key in ["free", "held", "done", "locked", "stale"] {
        executor.run(Statement::Initialize(request(key, key, "/a"))).await.unwrap();
    }
    execute(
        executor,
        "UPDATE idempotency_key SET locked_at = NULL WHERE idempotency_key IN ('free', 'locked', 'stale'); \
         UPDATE idempotency_key SET locked_at = NULL, recovery_point = 'finished' \
         WHERE idempotency_key = 'done'",
    )
    .await;
    let held =
        transaction(executor, "SELECT FROM idempotency_key WHERE id = 'locked' FOR UPDATE").await;
    let mut statements = vec![find("free")];
    for key in ["free", "held", "done", "locked"] {
        let seen = executor.run(Statement::Initialize(request("unused", key, "/a"))).await.unwrap();
        let take_over =
            Statement::TakeOver { new: request("unused", key, "/b"), seen: seen[0].token.clone() };
        statements.extend((0..8).map(|_| take_over.clone()));
    }
    // As it was seen before somebody else released it.
    let seen = Token("0000000000000000".to_owned());
    statements.push(Statement::TakeOver { new: request("unused", "stale", "/b"), seen });
    let started = Instant::now();
    let answers: Vec<Vec<Row>> =
        run_all(&group, statements).await.into_iter().skip(1).map(Result::unwrap).collect();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(answers[0].len(), 1);
    assert!(answers[0][0].won && !answers[0][0].same);
    assert!(answers[1..].iter().all(Vec::is_empty), "{answers:?}");
    commit(held).await;
    database.drop().await;
}

#[tokio::test]
async fn updates_answer_as_they_do_alone() {
    let database = Database::new().await;
    let group = group(&database);
    let executor = database.executor();
    let row = |key: &str| executor.run(Statement::Initialize(request(key, key, "/a")));
    let mut tokens = Vec::new();
    for key in ["a", "b", "c", "d"] {
        tokens.push(row(key).await.unwrap().remove(0).token);
    }
    let fenced = |key: &str, tokens: Vec<Token>, lease| Statement::Update {
        key: key.to_owned(),
        columns: recovery_point("paid"),
        lease,
        location: None,
        fence: Some(Fence { tokens, recovery_point: None, lease: LEASE }),
    };
    let foreign = Token("0000000000000000".to_owned());
    let both = vec![foreign.clone(), tokens[2].clone()];
    let answers = run_all(
        &group,
        vec![
            find("a"),
            fenced("a", vec![tokens[0].clone()], LeaseChange::Renew),
            fenced("b", vec![foreign], LeaseChange::Renew),
            fenced("c", both, LeaseChange::Renew),
            fenced("nowhere", vec![tokens[3].clone()], LeaseChange::Renew),
            fenced("d", vec![tokens[3].clone()], LeaseChange::End),
        ],
    )
    .await;
    let answers: Vec<Vec<Row>> = answers.into_iter().map(Result::unwrap).collect();
    let counts: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 0, 1, 0, 1]);
    assert_eq!(answers[1][0].key.recovery_point, "paid");
    assert_ne!(answers[1][0].token, tokens[0]);
    assert_eq!(answers[5][0].key.locked_at, None);

    let empty = |key: &str| update(key, Columns::default());
    let cleared = Columns { request_params: Field::Set(None), ..Columns::default() };
    let renamed = Columns { idempotency_key: text("e"), ..Columns::default() };
    let answers = run_all(
        &group,
        vec![
            find("a"),
            empty("a"),
            empty("nowhere"),
            update("a", cleared.clone()),
            update("b", cleared.clone()),
            update("nowhere", cleared),
            update("c", renamed),
            find("c"),
        ],
    )
    .await;
    let answers: Vec<Vec<Row>> = answers.into_iter().map(Result::unwrap).collect();
    let counts: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 0, 1, 1, 0, 1, 0]);
    assert_eq!(answers[3][0].key.request_params, None);
    assert_eq!(answers[6][0].key.idempotency_key, "e");
    database.drop().await;
}

#[tokio::test]
async fn known_keys_are_found_and_others_are_created() {
    let database = Database::new().await;
    let group = group(&database);
    let statement = |key: &str, new: &str| Statement::FindOrCreate {
        key: key.to_owned(),
        columns: key_named(new),
    };
    let mut statements = vec![create("known")];
    for number in 0..20 {
        statements.push(statement("known", &format!("unused{number}")));
        statements.push(statement("unknown", &format!("new{number}")));
    }
    let answers = run_all(&group, statements).await.into_iter().skip(1);
    for (number, answer) in answers.enumerate() {
        let expected =
            if number % 2 == 0 { "known".to_owned() } else { format!("new{}", number / 2) };
        assert_eq!(answer.unwrap()[0].key.idempotency_key, expected);
    }
    let count: Vec<(i64,)> =
        select(database.executor(), "SELECT count(*) FROM idempotency_key").await;
    assert_eq!(count[0].0, 21);
    database.drop().await;
}

#[tokio::test]
async fn a_lost_connection_fails_its_batch_which_is_not_repeated() {
    let database = Database::new().await;
    let executor = database.executor();
    execute(
        executor,
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.idempotency_key = 'slow' THEN PERFORM nextval('tries'), pg_sleep(60); END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON idempotency_key \
         FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    .await;
    let group = group(&database);
    group.run(create("first")).await.unwrap();
    let submission = group.begin_submission();
    let statements = (0..20).map(|number| create(&format!("k{number}"))).chain([create("slow")]);
    let calls = at_once(statements.map(|statement| run(&group, statement)));
    // All are there before the first goes: they are one batch.
    tokio::task::yield_now().await;
    drop(submission);
    database
        .until(
            "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = current_schema \
             AND wait_event = 'PgSleep' AND query LIKE '%unnest%')",
        )
        .await;
    // Others go on meanwhile.
    group.run(create("meanwhile")).await.unwrap();
    assert!(calls.iter().all(|call| !call.is_finished()));
    database
        .until(
            "pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = current_schema AND wait_event = 'PgSleep'",
        )
        .await;
    for answer in all(calls).await {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Connection { .. }), "{error:?}");
        assert_eq!(error.code(), Some("57P01"));
    }
    let kept: Vec<(String,)> =
        select(executor, "SELECT idempotency_key FROM idempotency_key ORDER BY 1").await;
    assert_eq!(kept, [("first".to_owned(),), ("meanwhile".to_owned(),)]);
    let tries: Vec<(i64,)> = select(executor, "SELECT last_value FROM tries").await;
    assert_eq!(tries, [(1,)]);
    group.run(create("after")).await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn batches_keep_their_limits() {
    let database = Database::new().await;
    let executor = database.executor();
    log_statements(executor).await;
    let limits =
        Limits { max_batch_rows: 10, max_batch_bytes: 250_000, max_queued: 8, ..Limits::default() };
    let group = group_within(&database, limits);
    let statements = (0..200).map(|number| create(&format!("k{number}"))).collect();
    assert!(run_all(&group, statements).await.iter().all(Result::is_ok));
    let rows: Vec<(i64,)> = select(executor, "SELECT rows FROM log WHERE rows > 0").await;
    assert_eq!(rows.iter().map(|(rows,)| rows).sum::<i64>(), 200);
    assert!(rows.iter().all(|(rows,)| *rows <= 10), "{rows:?}");

    execute(executor, "TRUNCATE log").await;
    let body = format!("\"{}\"", "x".repeat(100_000));
    let statements = (0..20)
        .map(|number| {
            let columns = Columns { response_body: text(&body), ..Columns::default() };
            update(&format!("k{number}"), columns)
        })
        .collect();
    assert!(run_all(&group, statements).await.iter().all(Result::is_ok));
    let bytes: Vec<(i64,)> = select(executor, "SELECT bytes::bigint FROM log WHERE rows > 0").await;
    assert!(bytes.len() >= 10 && bytes.iter().all(|(bytes,)| *bytes <= 250_000), "{bytes:?}");
    // Those outside of the queue keep their order too.
    let statements = (0..100)
        .map(|number| update("k0", recovery_point(&number.to_string())))
        .chain([find("k0")])
        .collect();
    let answers = run_all(&group, statements).await;
    assert_eq!(answers[100].as_ref().unwrap()[0].key.recovery_point, "99");
    database.drop().await;
}

#[tokio::test]
async fn an_update_of_a_locked_row_waits_and_its_neighbours_do_not() {
    for max_connections in [4, 1] {
        let database = Database::with_connections(max_connections).await;
        let executor = database.executor();
        let group = group(&database);
        let names: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
        run_all(&group, names.iter().map(|name| create(name)).collect()).await;
        // Alone, and in a batch.
        for first in ["k7", "k0"] {
            let held = match max_connections {
                1 => None,
                _ => Some(
                    transaction(
                        executor,
                        "SELECT FROM idempotency_key \
                     WHERE idempotency_key IN ('k7', 'k8') FOR UPDATE",
                    )
                    .await,
                ),
            };
            let (inside, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let stage = {
                let executor = database.executor().clone();
                let (inside, done) = (Arc::clone(&inside), Arc::clone(&done));
                let stage = held.is_none();
                tokio::spawn(async move {
                    if stage {
                        let claimant =
                            medusa_idempotency_key::engine::protocol::stage::Claimant::Anyone;
                        let work = |_| async {
                            inside.notify_one();
                            done.notified().await;
                            Ok(finished("200"))
                        };
                        in_transaction::run_stage(&executor, "k7", &claimant, 0, work)
                            .await
                            .unwrap();
                    }
                })
            };
            if held.is_none() {
                inside.notified().await;
            }
            let mut order = vec![first.to_owned()];
            order.extend(names.iter().filter(|name| *name != first).cloned());
            let mut calls =
                at_once(order.iter().map(|name| run(&group, update(name, recovery_point("paid")))));
            let waiting = order.iter().position(|name| name == "k7").unwrap();
            let waiting = calls.remove(waiting);
            let other = match max_connections {
                1 => None,
                _ => {
                    let index = order.iter().filter(|name| *name != "k7");
                    let index = index.clone().position(|name| name == "k8").unwrap();
                    Some(calls.remove(index))
                }
            };
            for answer in all(calls).await {
                assert_eq!(answer.unwrap()[0].key.recovery_point, "paid");
            }
            // Calls about the very key pass too, but for those that write it.
            assert_eq!(group.run(find("k7")).await.unwrap().len(), 1);
            assert!(!group.run(lock("k7")).await.unwrap()[0].won);
            let behind = tokio::spawn(run(&group, update("k7", recovery_point("last"))));
            // It asks again and again, between others.
            for _ in 0..50 {
                group.run(find("k7")).await.unwrap();
            }
            assert!(!waiting.is_finished() && !behind.is_finished());
            done.notify_one();
            if let Some(held) = held {
                commit(held).await;
            }
            stage.await.unwrap();
            assert_eq!(waiting.await.unwrap().unwrap()[0].key.recovery_point, "paid");
            assert_eq!(behind.await.unwrap().unwrap()[0].key.recovery_point, "last");
            if let Some(other) = other {
                other.await.unwrap().unwrap();
            }
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn a_key_that_another_transaction_inserts_does_not_hold_up_its_neighbours() {
    let database = Database::new().await;
    let executor = database.executor();
    let group = group(&database);
    let held = transaction(
        executor,
        "INSERT INTO idempotency_key (id, idempotency_key) VALUES ('taken', 'k7')",
    )
    .await;
    let mut calls = at_once((0..50).map(|number| run(&group, create(&format!("k{number}")))));
    let waiting = calls.remove(7);
    // The other transaction lasts until they are answered.
    let answers = tokio::time::timeout(Duration::from_secs(5), all(calls)).await;
    assert!(answers.unwrap().iter().all(Result::is_ok));
    assert!(!waiting.is_finished());
    commit(held).await;
    assert_eq!(database_error(waiting.await.unwrap()).code, "23505");
    database.drop().await;
}

#[tokio::test]
async fn many_who_wait_for_locks_leave_the_connections_to_the_others() {
    let database = Database::new().await;
    let executor = database.executor();
    let group = group(&database);
    let held = transaction(
        executor,
        "INSERT INTO idempotency_key (id, idempotency_key) \
         SELECT 'id' || n, 'blocked' || n FROM generate_series(0, 39) n",
    )
    .await;
    let blocked = at_once((0..40).map(|n| run(&group, create(&format!("blocked{n}")))));
    let free = at_once((0..160).map(|n| run(&group, create(&format!("free{n}")))));
    for answer in all(free).await {
        answer.unwrap();
    }
    // One at a time, too, and a stage.
    for n in 0..20 {
        group.run(create(&format!("later{n}"))).await.unwrap();
    }
    database.stage("later0", |_| async { Ok(finished("200")) }).await.unwrap();
    assert!(blocked.iter().all(|call| !call.is_finished()));
    commit(held).await;
    for answer in all(blocked).await {
        assert_eq!(database_error(answer).code, "23505");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_locked_table_is_told_to_all_who_wait_for_it_in_the_time_of_one() {
    let database = Database::with_lock_timeout("1s").await;
    let executor = database.executor();
    let group = group(&database);
    group.run(create("k")).await.unwrap();
    let held = transaction(executor, "LOCK TABLE idempotency_key").await;
    let begun = Instant::now();
    let calls = (0..1_000).map(|n| run(&group, create(&format!("k{n}"))));
    let reads = (0..100).map(|_| run(&group, find("k")));
    let mut answers = all(at_once(calls)).await;
    answers.extend(all(at_once(reads)).await);
    for answer in answers {
        // Those that insert know of no row.
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Busy(_)) || error.is_lock_timeout(), "{error:?}");
    }
    // One after the other they would take a quarter of an hour.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    commit(held).await;
    assert_eq!(group.run(create("after")).await.unwrap().len(), 1);
    database.drop().await;
}

#[tokio::test]
async fn what_is_no_fault_of_a_row_is_told_to_all_at_once() {
    let database = Database::new().await;
    let executor = database.executor();
    execute(
        executor,
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM nextval('tries'); \
         RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON idempotency_key \
         FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    .await;
    let group = group(&database);
    let statements = (0..64).map(|n| create(&format!("k{n}"))).collect();
    for answer in run_together(&group, statements).await {
        assert_eq!(database_error(answer).code, "53100");
    }
    let tries: Vec<(i64,)> = select(executor, "SELECT last_value FROM tries").await;
    assert!(tries[0].0 <= 2, "{tries:?}");
    database.drop().await;
}

#[tokio::test]
async fn batches_do_not_deadlock() {
    let database = Database::new().await;
    let limits = Limits { max_in_flight: 3, min_further_batch: 2, ..Limits::default() };
    let (a, b) = (group_within(&database, limits), group(&database));
    let names: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    for round in 0..20 {
        let forth = names.iter().map(|name| create(&format!("{round}{name}")));
        let back = names.iter().rev().map(|name| create(&format!("{round}{name}")));
        let forth = at_once(forth.map(|statement| run(&a, statement)));
        let back = at_once(back.map(|statement| run(&b, statement)));
        let mut created = 0;
        for answer in all(forth).await.into_iter().chain(all(back).await) {
            match answer {
                Ok(_) => created += 1,
                error => assert_eq!(database_error(error).code, "23505"),
            }
        }
        assert_eq!(created, 40);
        let updates = |group: &GroupCommit, names: Vec<String>| {
            let columns = recovery_point("paid");
            at_once(
                names
                    .into_iter()
                    .map(|name| run(group, update(&format!("{round}{name}"), columns.clone()))),
            )
        };
        let forth = updates(&a, names.clone());
        let back = updates(&b, names.iter().rev().cloned().collect());
        for answer in all(forth).await.into_iter().chain(all(back).await) {
            assert_eq!(answer.unwrap()[0].key.recovery_point, "paid");
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn a_caller_that_goes_takes_nobody_with_it() {
    let database = Database::new().await;
    let group = group(&database);
    for round in 0..30 {
        let calls = (0..20).map(|number| run(&group, create(&format!("k{round}-{number}"))));
        let mut calls = at_once(calls);
        // The one that is alone under way, one in the queue, and one in a batch.
        tokio::time::sleep(Duration::from_micros(round * 100)).await;
        for gone in [calls.remove(0), calls.remove(5), calls.remove(9)] {
            gone.abort();
        }
        let answered = tokio::time::timeout(Duration::from_secs(5), all(calls)).await;
        assert!(answered.unwrap().iter().all(Result::is_ok));
        // The keys of those that have gone are not blocked.
        for number in [0, 6, 11] {
            let key = format!("k{round}-{number}");
            let found = tokio::time::timeout(Duration::from_secs(5), group.run(find(&key))).await;
            found.unwrap().unwrap();
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn a_changed_table_is_no_error() {
    let database = Database::new().await;
    let group = group(&database);
    let round = |prefix: &str| (0..20).map(|n| create(&format!("{prefix}{n}"))).collect();
    assert!(run_all(&group, round("a")).await.iter().all(Result::is_ok));
    execute(
        database.executor(),
        "ALTER TABLE idempotency_key ALTER COLUMN recovery_point TYPE varchar(200); \
         ALTER TABLE idempotency_key ALTER COLUMN request_path TYPE text",
    )
    .await;
    assert!(run_all(&group, round("b")).await.iter().all(Result::is_ok));
    database.drop().await;
}

#[tokio::test]
async fn a_refused_connection_is_told_to_each_caller() {
    let user = support::join("postgres://me@127.0.0.1:1/shop", 1).unwrap();
    let sql = Arc::new(medusa_idempotency_key::engine::sql::Sql::new(None));
    let executor = PoolExecutor { pool: Arc::clone(user.pool()), sql };
    let group = GroupCommit::join(executor, Limits::default());
    let answers = run_all(&group, (0..20).map(|n| create(&format!("k{n}"))).collect()).await;
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), Some("ECONNREFUSED"));
    }
}

#[tokio::test]
async fn a_server_that_answers_no_more_does_not_hang_a_batch() {
    let database = Database::new().await;
    let frozen = support::FrozenServer::start(database.url()).await;
    let user = support::join(frozen.url(), 1).unwrap();
    let sql = Arc::clone(&database.executor().sql);
    let executor = PoolExecutor { pool: Arc::clone(user.pool()), sql };
    let group = GroupCommit::join(executor, Limits::default());
    operations::create(&group, Columns::default(), false).await.unwrap();
    frozen.freeze();
    tokio::time::pause();
    let answers = run_all(&group, (0..20).map(|n| create(&format!("k{n}"))).collect()).await;
    tokio::time::resume();
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), Some("ETIMEDOUT"));
    }
    database.drop().await;
}
