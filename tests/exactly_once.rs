//! The exactly-once protocol against PostgreSQL: who may work on a request, and what becomes of those who
//! may not. `tests/model.rs` looks at all the orders in which things may happen; here it is the
//! statements and the server that are tested.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)] // each file of tests uses a part of it
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use medusa_idempotency_key::engine::error::Error;
use medusa_idempotency_key::engine::execution::in_transaction;
use medusa_idempotency_key::engine::execution::pool_executor::PoolExecutor;
use medusa_idempotency_key::engine::execution::transaction::{ROOT, Transaction};
use medusa_idempotency_key::engine::key::{Columns, Field, IdempotencyKey, StageResult};
use medusa_idempotency_key::engine::protocol::executor::{Executor, Running};
use medusa_idempotency_key::engine::protocol::lease::{self, Beginning, Lease};
use medusa_idempotency_key::engine::protocol::operations;
use medusa_idempotency_key::engine::protocol::outcome::{Answer, Outcome};
use medusa_idempotency_key::engine::protocol::request;
use medusa_idempotency_key::engine::protocol::stage::{self, Claimant};
use medusa_idempotency_key::engine::protocol::statement::{NewRequest, Request, Row, Statement};
use medusa_idempotency_key::engine::sql::{Isolation, Query};
use support::{CountingExecutor, Database, PATIENCE, execute, recovery_point, text};

const HOUR: Duration = Duration::from_secs(3600);
const AT_ONCE: Duration = Duration::ZERO;
const CALLERS: usize = 64;

/// An attempt for which a lease holds as long as any test runs.
fn patient() -> Arc<Lease> {
    Arc::new(Lease::new(HOUR))
}

/// An attempt for which every lease has run out: how long one holds is told by who looks at it.
fn impatient() -> Arc<Lease> {
    Arc::new(Lease::new(Duration::ZERO))
}

async fn initialize(
    executor: &dyn Executor,
    lease: &Lease,
    key: &str,
) -> Result<IdempotencyKey, Error> {
    let key = Some(key.to_owned());
    let answer =
        request::initialize(executor, lease, key, Request::default(), AT_ONCE, false).await?;
    Ok(answer.key)
}

/// An attempt that has begun the request of a key.
async fn begun(database: &Database, key: &str) -> Arc<Lease> {
    let lease = patient();
    initialize(database.executor(), &lease, key).await.unwrap();
    lease
}

/// An attempt that has taken the request of a key over, whoever has it.
async fn taken_over(database: &Database, key: &str) -> Arc<Lease> {
    let taker = impatient();
    initialize(database.executor(), &taker, key).await.unwrap();
    taker
}

fn point(point: &str) -> StageResult {
    StageResult::RecoveryPoint(point.to_owned())
}

fn finished() -> StageResult {
    StageResult::Finished {
        response_code: Some("200".to_owned()),
        response_body: Some("{\"a\": 1}".to_owned()),
        response_headers: None,
    }
}

fn finishing(code: &str) -> Columns {
    Columns { response_code: text(code), ..recovery_point("finished") }
}

/// Runs a stage that has one effect.
async fn stage(
    database: &Database,
    lease: &Arc<Lease>,
    key: &str,
    at: Option<&str>,
    outcome: StageResult,
) -> Result<Answer, Error> {
    let claimant = Claimant::LeaseHolder(Arc::clone(lease), at.map(str::to_owned));
    let work = |transaction| {
        let outcome = outcome.clone();
        async move {
            support::insert_effect(&transaction).await?;
            Ok(outcome)
        }
    };
    in_transaction::run_stage(database.executor(), key, &claimant, 3, work).await
}

/// Runs a stage that fails after its effect.
async fn failing_stage(database: &Database, lease: &Arc<Lease>, key: &str) {
    let claimant = Claimant::LeaseHolder(Arc::clone(lease), None);
    let work = |transaction| async move {
        support::insert_effect(&transaction).await?;
        Err(Error::Work { code: None })
    };
    let staged = in_transaction::run_stage(database.executor(), key, &claimant, 3, work).await;
    assert!(matches!(staged, Err(Error::Work { .. })), "{staged:?}");
}

/// Runs a stage that succeeds, but cannot be committed.
async fn uncommittable_stage(
    database: &Database,
    lease: &Arc<Lease>,
    key: &str,
    outcome: StageResult,
) -> Error {
    execute(
        database.executor(),
        "CREATE TABLE IF NOT EXISTS one (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    )
    .await;
    let claimant = Claimant::LeaseHolder(Arc::clone(lease), None);
    let work = |transaction: Arc<Transaction>| {
        let outcome = outcome.clone();
        async move {
            support::insert_effect(&transaction).await?;
            let twice = "INSERT INTO one VALUES (1), (1)".to_owned();
            transaction.enter(ROOT)?.query(twice, Vec::new()).await?;
            Ok(outcome)
        }
    };
    in_transaction::run_stage(database.executor(), key, &claimant, 3, work).await.unwrap_err()
}

async fn begin(database: &Database, isolation: Isolation) -> Arc<Transaction> {
    let PoolExecutor { pool, sql } = database.executor();
    Transaction::begin(pool, Arc::clone(sql), isolation).await.unwrap()
}

// A handle that is kept keeps its connection.

async fn commit(transaction: Arc<Transaction>) {
    transaction.commit().await.unwrap();
}

async fn roll_back(transaction: Arc<Transaction>) {
    transaction.roll_back().await.unwrap();
}

/// A transaction that holds a key's row.
async fn locking(database: &Database, key: &str) -> Arc<Transaction> {
    let transaction = begin(database, Isolation::ReadCommitted).await;
    let row = Statement::LockRow(key.to_owned());
    transaction.enter(ROOT).unwrap().run(row).await.unwrap();
    transaction
}

async fn stored(database: &Database, key: &str) -> IdempotencyKey {
    operations::retrieve(database.executor(), key.to_owned()).await.unwrap()
}

async fn update(
    database: &Database,
    lease: &Lease,
    key: &str,
    columns: Columns,
) -> Result<IdempotencyKey, Error> {
    operations::update(database.executor(), key.to_owned(), columns, Some(lease)).await
}

async fn lock(
    database: &Database,
    lease: Option<&Lease>,
    key: &str,
) -> Result<IdempotencyKey, Error> {
    operations::lock(database.executor(), key.to_owned(), HOUR, lease).await
}

fn is_lost<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::LeaseLost(key)) if key == "k")
}

fn is_in_use<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::InUse(key)) if key == "k")
}

/// Counts the statements that run.
struct Counting<'a> {
    executor: &'a PoolExecutor,
    statements: AtomicUsize,
}

impl Executor for Counting<'_> {
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        self.statements.fetch_add(1, Ordering::SeqCst);
        self.executor.run(statement)
    }

    fn commits_each(&self) -> bool {
        true
    }
}

// Who may work on a request.

#[tokio::test]
async fn a_new_key_begins_in_one_statement() {
    let database = Database::new().await;
    let counting = Counting { executor: database.executor(), statements: AtomicUsize::new(0) };
    let lease = patient();
    let request = Request {
        method: Some("POST".to_owned()),
        path: Some("/returns".to_owned()),
        params: Some("{\"id\": [1, null]}".to_owned()),
        fingerprint: Some("f".to_owned()),
        headers: false,
    };
    let name = Some("k".to_owned());
    let begun = request::initialize(&counting, &lease, name, request, AT_ONCE, false);
    let Answer { key, outcome } = begun.await.unwrap();
    assert_eq!(counting.statements.load(Ordering::SeqCst), 1);
    assert_eq!(outcome, Some(Outcome::Begun));
    assert!(key.id.starts_with("ikey_"));
    assert_eq!((key.idempotency_key.as_str(), key.recovery_point.as_str()), ("k", "started"));
    assert_eq!(key.request_method.as_deref(), Some("POST"));
    assert_eq!(key.request_path.as_deref(), Some("/returns"));
    assert_eq!(key.request_params.as_deref(), Some("{\"id\": [1, null]}"));
    assert!(key.locked_at.is_some() && lease.is_held());
    assert_eq!(stored(&database, "k").await, key);

    let request = Request::default();
    let lease = patient();
    let generated = request::initialize(&counting, &lease, None, request, AT_ONCE, false);
    assert_eq!(generated.await.unwrap().key.idempotency_key.len(), 36);
    database.drop().await;
}

#[tokio::test]
async fn a_finished_key_is_replayed_and_left_as_it_is() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    stage(&database, &first, "k", None, finished()).await.unwrap();
    assert!(!first.is_held());
    let answer = stored(&database, "k").await;
    assert_eq!((answer.response_code, answer.locked_at), (Some(200), None));

    for lease in [patient(), impatient(), first] {
        assert_eq!(initialize(database.executor(), &lease, "k").await.unwrap(), answer);
        assert!(!lease.is_held());
        let staged = stage(&database, &lease, "k", None, point("again")).await.unwrap();
        assert_eq!(staged, Answer::new(answer.clone(), Outcome::Replayed));
    }
    assert_eq!(database.effects().await, 1);
    assert_eq!(stored(&database, "k").await, answer);
    database.drop().await;
}

#[tokio::test]
async fn a_key_with_a_live_lease_is_in_use() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    let before = stored(&database, "k").await;
    let error = initialize(database.executor(), &patient(), "k").await.unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error:?}");
    // To the attempt that has begun the request it is its own.
    assert_eq!(initialize(database.executor(), &first, "k").await.unwrap(), before);
    let second = patient();
    assert!(is_in_use(&stage(&database, &second, "k", None, finished()).await));
    assert!(!second.is_held());
    assert_eq!(stored(&database, "k").await, before);
    assert_eq!(database.effects().await, 0);
    database.drop().await;
}

#[tokio::test]
async fn a_lease_that_ran_out_or_was_released_is_taken_over() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    assert!(is_in_use(&initialize(database.executor(), &patient(), "k").await));
    let second = impatient();
    let before = stored(&database, "k").await;
    let key = initialize(database.executor(), &second, "k").await.unwrap();
    assert!(key.locked_at > before.locked_at);
    assert_eq!(IdempotencyKey { locked_at: before.locked_at, ..key }, before);
    assert!(is_lost(&stage(&database, &first, "k", None, finished()).await));

    // Whoever begins an interrupted request and fails leaves it interrupted.
    assert_eq!(second.known().beginning, Some(Beginning::Interrupted));
    lease::release(database.executor(), &second).await.unwrap();
    let third = patient();
    initialize(database.executor(), &third, "k").await.unwrap();
    assert_eq!(third.known().beginning, Some(Beginning::Interrupted));
    execute(database.executor(), "UPDATE idempotency_key SET locked_at = NULL").await;
    let third = begun(&database, "k").await;
    assert!(stage(&database, &third, "k", Some("started"), finished()).await.unwrap().ran());
    assert_eq!(database.effects().await, 1);
    database.drop().await;
}

#[tokio::test]
async fn an_attempt_is_told_what_became_of_its_request() {
    let database = Database::new().await;
    let executor = database.executor();
    let outcome = |lease: Arc<Lease>| async move {
        let key = Some("k".to_owned());
        let begun =
            request::initialize(executor, &lease, key, Request::default(), AT_ONCE, false).await;
        begun.unwrap().outcome.unwrap()
    };
    let first = patient();
    assert_eq!(outcome(Arc::clone(&first)).await, Outcome::Begun);
    assert_eq!(outcome(Arc::clone(&first)).await, Outcome::Held);
    lease::release(executor, &first).await.unwrap();
    assert_eq!(outcome(patient()).await, Outcome::TakenOverReleased);
    let last = impatient();
    assert_eq!(outcome(Arc::clone(&last)).await, Outcome::TakenOverInterrupted);
    stage(&database, &last, "k", None, finished()).await.unwrap();
    assert_eq!(outcome(patient()).await, Outcome::Replayed);
    database.drop().await;
}

#[tokio::test]
async fn a_lease_is_not_renewed_while_a_call_uses_it() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let before = stored(&database, "k").await;
    let call = lease.try_enter().unwrap();
    lease::renew(database.executor(), &lease).await.unwrap();
    assert_eq!(stored(&database, "k").await, before);
    drop(call);
    lease::renew(database.executor(), &lease).await.unwrap();
    assert!(stored(&database, "k").await.locked_at > before.locked_at);
    database.drop().await;
}

#[tokio::test]
async fn a_call_releases_the_lease_that_it_alone_uses() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let transaction = begin(&database, Isolation::ReadCommitted).await;
    let release = || async {
        let scope = transaction.enter(ROOT).unwrap();
        let _own = lease::enter(&scope, &lease).await.unwrap();
        lease::release_now(&scope, "k".to_owned(), lease.duration(), Some(&lease)).await
    };
    let other = lease.try_enter().unwrap();
    assert!(is_in_use(&release().await));
    drop(other);
    release().await.unwrap();
    transaction.commit().await.unwrap();
    drop(transaction);
    assert_eq!(stored(&database, "k").await.locked_at, None);
    database.drop().await;
}

#[tokio::test]
async fn a_request_whose_stage_runs_is_in_use_even_if_its_lease_ran_out() {
    let database = Database::new().await;
    begun(&database, "k").await;
    let transaction = locking(&database, "k").await;
    for _ in 0..2 {
        assert!(is_in_use(&initialize(database.executor(), &impatient(), "k").await));
        assert!(is_in_use(&stage(&database, &impatient(), "k", None, finished()).await));
    }
    roll_back(transaction).await;
    taken_over(&database, "k").await;
    database.drop().await;
}

#[tokio::test]
async fn a_key_is_for_one_request() {
    let request = |method: &str, path: &str, params: &str, fingerprint: &str| {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Request {
            method: given(method),
            path: given(path),
            params: given(params),
            fingerprint: given(fingerprint),
            headers: false,
        }
    };
    for with_column in [true, false] {
        let database = Database::new().await;
        let executor = database.executor();
        assert!(executor.optional_columns().await.unwrap().fingerprint);
        if !with_column {
            let drop = "ALTER TABLE idempotency_key DROP COLUMN request_fingerprint";
            execute(executor, drop).await;
            assert!(!executor.optional_columns().await.unwrap().fingerprint);
        }
        let print = |print: &'static str| if with_column { print } else { "" };
        let initialize = |key: &'static str, lease: Arc<Lease>, request: Request| async move {
            request::initialize(executor, &lease, Some(key.to_owned()), request, AT_ONCE, false)
                .await
        };
        let known = || request("POST", "/a", "{\"id\":1,\"b\":{}}", print("f"));
        initialize("k", patient(), known()).await.unwrap();
        initialize("blank", patient(), Request::default()).await.unwrap();
        let differing = [
            request("PUT", "/a", "{\"id\":1,\"b\":{}}", print("f")),
            request("POST", "/b", "{\"id\":1,\"b\":{}}", print("f")),
            request("POST", "/a", "{\"id\":2,\"b\":{}}", print("f")),
            request("POST", "/a", "null", print("f")),
            request("PUT", "", "", ""),
        ];
        let other_print = with_column.then(|| request("POST", "/a", "{\"id\":1,\"b\":{}}", "g"));
        for other in differing.into_iter().chain(other_print) {
            // Neither is it said to be in use, nor taken over.
            for lease in [patient(), impatient()] {
                let error = initialize("k", lease, other.clone()).await.unwrap_err();
                assert!(matches!(error, Error::Reused(_)), "{other:?}");
            }
            initialize("blank", impatient(), other).await.unwrap();
        }
        for same in [
            known(),
            request("POST", "/a", "{\"b\": {}, \"id\": 1.0}", print("f")),
            request("", "/a", "", ""),
            Request::default(),
        ] {
            let error = initialize("k", patient(), same.clone()).await.unwrap_err();
            assert!(matches!(error, Error::InUse(_)), "{same:?}");
            initialize("k", impatient(), same).await.unwrap();
        }
        // A finished answer is not for another request either.
        operations::update(executor, "k".to_owned(), finishing("200"), None).await.unwrap();
        let error = initialize("k", patient(), request("GET", "", "", "")).await.unwrap_err();
        assert!(matches!(error, Error::Reused(_)), "{error:?}");
        initialize("k", patient(), known()).await.unwrap();
        database.drop().await;
    }
}

/// How many of 64 attempts that ask for one key at the same time begin its request. The others are told
/// that it is in use.
async fn winners(database: &Database, key: &str) -> usize {
    let caller = |executor: PoolExecutor, key: String| async move {
        let lease = patient();
        let begun = initialize(&executor, &lease, &key).await;
        assert_eq!(begun.is_ok(), lease.is_held());
        begun
    };
    let executor = || database.executor().clone();
    let callers = (0..CALLERS).map(|_| tokio::spawn(caller(executor(), key.to_owned())));
    let mut winners = 0;
    for caller in callers.collect::<Vec<_>>() {
        match caller.await.unwrap() {
            Ok(_) => winners += 1,
            Err(Error::InUse(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_requests_with_one_key_one_begins() {
    let database = Database::with_connections(16).await;
    for round in 0..25 {
        assert_eq!(winners(&database, &round.to_string()).await, 1);
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_requests_one_takes_over() {
    let database = Database::with_connections(16).await;
    begun(&database, "k").await;
    for round in 0..25 {
        let ended = if round % 2 == 0 { "NULL" } else { "now() - interval '2 hours'" };
        let sql = format!("UPDATE idempotency_key SET locked_at = {ended}");
        execute(database.executor(), &sql).await;
        assert_eq!(winners(&database, "k").await, 1, "round {round}");
    }
    database.drop().await;
}

// Waiting.

#[tokio::test]
async fn a_waiting_request_gets_the_answer_of_the_one_in_progress() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    let executor = CountingExecutor::new(database.executor());
    let waiting = tokio::spawn({
        let executor = executor.clone();
        async move {
            let (lease, key) = (patient(), Some("k".to_owned()));
            request::initialize(&executor, &lease, key, Request::default(), HOUR, false).await
        }
    });
    // It has found the request in progress, and looked again.
    executor.until(3).await;
    assert!(!waiting.is_finished());
    let staged = stage(&database, &first, "k", None, finished()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, waiting).await;
    let replayed = Answer::new(staged.key, Outcome::Replayed);
    assert_eq!(answer.unwrap().unwrap().unwrap(), replayed);
    database.drop().await;
}

#[tokio::test]
async fn a_waiting_request_takes_over_when_the_lease_runs_out() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    let lease = Lease::new(Duration::from_millis(300));
    let wait = Duration::from_secs(10);
    let (key, request) = (Some("k".to_owned()), Request::default());
    request::initialize(database.executor(), &lease, key, request, wait, false).await.unwrap();
    assert!(lease.is_held());
    assert!(is_lost(&update(&database, &first, "k", finishing("500")).await));
    database.drop().await;
}

#[tokio::test]
async fn a_request_waits_no_longer_than_it_may() {
    let database = Database::new().await;
    begun(&database, "k").await;
    let started = Instant::now();
    let (lease, wait) = (patient(), Duration::from_millis(200));
    let key = Some("k".to_owned());
    let error =
        request::initialize(database.executor(), &lease, key, Request::default(), wait, false)
            .await;
    assert!(is_in_use(&error));
    let waited = started.elapsed();
    assert!(wait <= waited && waited < PATIENCE, "{waited:?}");
    database.drop().await;
}

// Stages.

#[tokio::test]
async fn a_request_goes_from_stage_to_stage() {
    let database = Database::new().await;
    for at in [true, false] {
        let name = format!("{at}");
        let at = |point| at.then_some(point);
        let lease = begun(&database, &name).await;
        for (from, to) in [("started", "paid"), ("paid", "shipped")] {
            let before = stored(&database, &name).await;
            let staged = stage(&database, &lease, &name, at(from), point(to)).await.unwrap();
            assert!(staged.ran() && lease.is_held());
            assert_eq!(staged.key.recovery_point, to);
            assert!(staged.key.locked_at > before.locked_at, "renewed");
            assert_eq!(stored(&database, &name).await, staged.key);
        }
        let staged = stage(&database, &lease, &name, at("shipped"), finished()).await.unwrap();
        assert_eq!(staged.key.locked_at, None);
        assert!(staged.ran() && !lease.is_held());
    }
    assert_eq!(database.effects().await, 6);
    database.drop().await;
}

#[tokio::test]
async fn a_stage_runs_only_at_its_recovery_point() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    stage(&database, &lease, "k", Some("started"), point("paid")).await.unwrap();
    let late = patient();
    // The attempt's own, late; another's, while the lease is live, and when it has ended.
    let staged = stage(&database, &lease, "k", Some("started"), point("paid")).await.unwrap();
    assert_eq!(staged.outcome, Some(Outcome::Passed));
    assert_eq!(staged.key.recovery_point, "paid");
    assert!(is_in_use(&stage(&database, &late, "k", Some("started"), point("paid")).await));
    lease::release(database.executor(), &lease).await.unwrap();
    let staged = stage(&database, &late, "k", Some("started"), point("paid")).await.unwrap();
    assert!(!staged.ran() && !late.is_held());
    assert_eq!(staged.key.recovery_point, "paid");
    assert_eq!(database.effects().await, 1);
    // And goes on from there.
    let staged = stage(&database, &late, "k", Some("paid"), finished()).await.unwrap();
    assert!(staged.ran());
    assert_eq!(database.effects().await, 2);
    database.drop().await;
}

#[tokio::test]
async fn a_key_that_was_never_initialized_runs_its_stages_too() {
    let database = Database::new().await;
    let columns = Columns { idempotency_key: text("k"), ..Columns::default() };
    operations::create(database.executor(), columns, false).await.unwrap();
    let lease = patient();
    assert!(stage(&database, &lease, "k", None, point("paid")).await.unwrap().ran());
    assert!(lease.is_held());
    assert!(is_in_use(&stage(&database, &patient(), "k", None, point("paid")).await));
    assert!(stage(&database, &lease, "k", None, finished()).await.unwrap().ran());
    let nowhere = stage(&database, &patient(), "nowhere", None, finished()).await;
    assert!(matches!(nowhere, Err(Error::NotFound(key)) if key == "nowhere"));
    database.drop().await;
}

#[tokio::test]
async fn a_stage_that_outlasts_its_lease_is_not_taken_over_and_renews_it() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let claimant = Claimant::LeaseHolder(Arc::clone(&lease), None);
    let executor = database.executor();
    // The database's time before the stage, and how long its work took.
    let columns = Columns { idempotency_key: text("now"), ..Columns::default() };
    let before = operations::create(executor, columns, false).await.unwrap().created_at;
    let took = Mutex::new(Duration::ZERO);
    let staged = in_transaction::run_stage(executor, "k", &claimant, 0, |transaction| {
        let took = &took;
        async move {
            let begun = Instant::now();
            // Whoever looks finds that the lease has run out.
            assert!(is_in_use(&initialize(executor, &impatient(), "k").await));
            support::insert_effect(&transaction).await?;
            *took.lock().unwrap() = begun.elapsed();
            Ok(point("paid"))
        }
    });
    let staged = staged.await.unwrap();
    assert!(staged.ran());
    let took = i64::try_from(took.into_inner().unwrap().as_micros()).unwrap();
    let renewed = staged.key.locked_at.unwrap();
    assert!(renewed.0 >= before.0 + took, "{renewed:?} {before:?} {took}");
    assert!(is_in_use(&initialize(executor, &patient(), "k").await));
    database.drop().await;
}

#[tokio::test]
async fn an_attempt_that_was_taken_over_is_fenced_off() {
    let database = Database::new().await;
    for at in [None, Some("started")] {
        let stalled = begun(&database, "k").await;
        let taker = taken_over(&database, "k").await;
        assert!(is_lost(&stage(&database, &stalled, "k", at, point("paid")).await));
        assert!(is_lost(&update(&database, &stalled, "k", finishing("500")).await));
        lease::renew(database.executor(), &stalled).await.unwrap();
        lease::release(database.executor(), &stalled).await.unwrap();
        assert!(stage(&database, &taker, "k", at, point("paid")).await.unwrap().ran());
        // Its successor crashes after that: its lease runs out, or is released.
        lease::release(database.executor(), &taker).await.unwrap();
        assert!(is_lost(&update(&database, &stalled, "k", finishing("500")).await));
        let late = stage(&database, &stalled, "k", at, point("paid")).await;
        match at {
            None => assert!(is_lost(&late)),
            Some(_) => assert!(!late.unwrap().ran()),
        }
        assert_eq!(database.effects().await, 1);
        assert_eq!(stored(&database, "k").await.recovery_point, "paid");
        execute(database.executor(), "DELETE FROM idempotency_key; DELETE FROM effect").await;
    }
    database.drop().await;
}

#[tokio::test]
async fn an_attempt_whose_successor_crashed_before_it_did_anything_may_go_on() {
    let database = Database::new().await;
    let stalled = impatient();
    initialize(database.executor(), &stalled, "k").await.unwrap();
    let taker = taken_over(&database, "k").await;
    assert!(stage(&database, &stalled, "k", None, point("paid")).await.unwrap().ran());
    // Which fences the successor off, should it only have stalled.
    let late = stage(&database, &taker, "k", None, point("paid")).await;
    assert!(is_lost(&late), "{late:?}");
    assert_eq!(database.effects().await, 1);
    database.drop().await;
}

#[tokio::test]
async fn an_attempt_whose_commit_failed_may_go_on_too() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    uncommittable_stage(&database, &first, "k", point("paid")).await;
    let second = taken_over(&database, "k").await;
    lease::release(database.executor(), &second).await.unwrap();
    assert!(stage(&database, &first, "k", None, point("paid")).await.unwrap().ran());
    database.drop().await;
}

#[tokio::test]
async fn a_failed_stage_leaves_the_attempt_its_lease() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    failing_stage(&database, &lease, "k").await;
    assert!(is_in_use(&initialize(database.executor(), &patient(), "k").await));
    let error = uncommittable_stage(&database, &lease, "k", point("paid")).await;
    assert_eq!(error.code(), Some("23505"));
    assert_eq!(database.effects().await, 0);
    assert!(is_in_use(&initialize(database.executor(), &patient(), "k").await));
    assert!(stage(&database, &lease, "k", None, point("paid")).await.unwrap().ran());
    assert_eq!(database.effects().await, 1);

    // Finishing too.
    let error = uncommittable_stage(&database, &lease, "k", finished()).await;
    assert_eq!(error.code(), Some("23505"));
    assert!(lease.is_held());
    lease::release(database.executor(), &lease).await.unwrap();
    let key = stored(&database, "k").await;
    assert_eq!((key.recovery_point.as_str(), key.locked_at), ("paid", None));
    database.drop().await;
}

#[tokio::test]
async fn a_stage_in_a_transaction_that_is_rolled_back_leaves_the_attempt_its_lease() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    for commits in [false, true] {
        let transaction = begin(&database, Isolation::ReadCommitted).await;
        let bound = transaction.enter(ROOT).unwrap();
        let claimant = Claimant::LeaseHolder(Arc::clone(&lease), None);
        let work = async {
            support::insert_effect(&transaction).await?;
            Ok(point("paid"))
        };
        assert!(stage::run(&bound, "k", &claimant, work).await.unwrap().ran());
        // A release meets the row locked, and then either token.
        lease::renew(database.executor(), &lease).await.unwrap();
        drop(bound);
        match commits {
            true => commit(transaction).await,
            false => roll_back(transaction).await,
        }
        lease::renew(database.executor(), &lease).await.unwrap();
        assert!(is_in_use(&initialize(database.executor(), &patient(), "k").await));
    }
    let columns = Columns { response_code: text("200"), ..Columns::default() };
    update(&database, &lease, "k", columns).await.unwrap();
    assert!(stage(&database, &lease, "k", None, finished()).await.unwrap().ran());
    assert_eq!(database.effects().await, 2);
    database.drop().await;
}

#[tokio::test]
async fn a_recovery_point_that_was_rolled_back_is_not_known() {
    for bound in [false, true] {
        let database = Database::new().await;
        let first = begun(&database, "k").await;
        if bound {
            let transaction = begin(&database, Isolation::ReadCommitted).await;
            let executor = transaction.enter(ROOT).unwrap();
            let claimant = Claimant::LeaseHolder(Arc::clone(&first), None);
            stage::run(&executor, "k", &claimant, async { Ok(point("paid")) }).await.unwrap();
            roll_back(transaction).await;
        } else {
            uncommittable_stage(&database, &first, "k", point("paid")).await;
        }
        // Another attempt takes over and comes to the same point.
        let second = taken_over(&database, "k").await;
        stage(&database, &second, "k", None, point("paid")).await.unwrap();
        lease::release(database.executor(), &second).await.unwrap();

        assert!(is_lost(&stage(&database, &first, "k", None, point("paid")).await));
        assert!(is_lost(&update(&database, &first, "k", recovery_point("paid")).await));
        let staged = stage(&database, &first, "k", Some("started"), point("paid")).await;
        assert!(!staged.unwrap().ran());
        assert_eq!(database.effects().await, 1);
        database.drop().await;
    }
}

#[tokio::test]
async fn a_stage_whose_commit_nobody_heard_of_is_not_run_again() {
    let database = Database::new().await;
    for released in [false, true] {
        let lease = begun(&database, "k").await;
        let before = lease.known();
        stage(&database, &lease, "k", None, point("paid")).await.unwrap();
        // As if its connection had been lost during COMMIT.
        lease.unsettled(&before);
        if released {
            lease::release(database.executor(), &lease).await.unwrap();
        }
        let again = stage(&database, &lease, "k", None, point("paid")).await;
        assert!(is_lost(&again), "{again:?}");
        let staged = stage(&database, &lease, "k", Some("started"), point("paid")).await.unwrap();
        assert!(!staged.ran());
        // Its caller has been told where the key stands, and goes on.
        assert!(stage(&database, &lease, "k", None, point("shipped")).await.unwrap().ran());
        assert_eq!(database.effects().await, 2);
        execute(database.executor(), "DELETE FROM idempotency_key; DELETE FROM effect").await;
    }
    database.drop().await;
}

#[tokio::test]
async fn an_attempt_goes_on_after_its_own_release_until_another_takes_over() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    failing_stage(&database, &lease, "k").await;
    lease::release(database.executor(), &lease).await.unwrap();
    assert!(!lease.is_held());
    assert!(stage(&database, &lease, "k", None, point("paid")).await.unwrap().ran());
    assert!(lease.is_held());
    lease::release(database.executor(), &lease).await.unwrap();
    update(&database, &lease, "k", recovery_point("shipped")).await.unwrap();
    assert!(is_in_use(&initialize(database.executor(), &patient(), "k").await));

    lease::release(database.executor(), &lease).await.unwrap();
    let other = begun(&database, "k").await;
    assert!(is_lost(&stage(&database, &lease, "k", None, finished()).await));
    assert!(stage(&database, &other, "k", None, finished()).await.unwrap().ran());
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_stages_at_once_one_does_the_work() {
    let database = Arc::new(Database::with_connections(8).await);
    for (round, at) in [Some("started"), None].into_iter().cycle().take(10).enumerate() {
        let name = round.to_string();
        let lease = begun(&database, &name).await;
        let outcome = if at.is_some() { point("paid") } else { finished() };
        let callers = (0..CALLERS).map(|_| {
            let (database, lease) = (Arc::clone(&database), Arc::clone(&lease));
            let (name, outcome) = (name.clone(), outcome.clone());
            tokio::spawn(async move { stage(&database, &lease, &name, at, outcome).await })
        });
        let mut ran = 0;
        for caller in callers.collect::<Vec<_>>() {
            match caller.await.unwrap() {
                Ok(staged) => ran += usize::from(staged.ran()),
                Err(Error::InUse(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(ran, 1);
        assert_eq!(database.effects().await, 1 + i64::try_from(round).unwrap());
    }
    Arc::into_inner(database).unwrap().drop().await;
}

#[tokio::test]
async fn a_first_stage_that_waits_for_its_turn_forgets_no_renewal() {
    let database = Database::with_connections(1).await;
    let executor = database.executor();
    let lease = begun(&database, "k").await;
    let holder = begin(&database, Isolation::ReadCommitted).await;
    let new = NewRequest {
        id: operations::new_id(),
        key: "k".to_owned(),
        request: Request::default(),
        lease: HOUR,
    };
    let first_stage = in_transaction::run_first_stage(executor, &new, &lease, 0, |_| {
        |_| async { Ok(finished()) }
    });
    let renewal = async {
        lease::renew(executor, &lease).await.unwrap();
        holder.roll_back().await.unwrap();
        drop(holder);
    };
    let (outcome, ()) = tokio::join!(first_stage, renewal);
    assert!(matches!(outcome, Err(Error::InUse(_))), "{outcome:?}");
    assert!(stage(&database, &lease, "k", None, finished()).await.unwrap().ran());
    database.drop().await;
}

#[tokio::test]
async fn the_work_may_change_its_own_key() {
    let database = Database::new().await;
    for isolation in [Isolation::ReadCommitted, Isolation::Serializable] {
        let lease = begun(&database, "k").await;
        let transaction = begin(&database, isolation).await;
        let bound = transaction.enter(ROOT).unwrap();
        for (number, outcome) in [point("paid"), finished()].into_iter().enumerate() {
            let claimant = Claimant::LeaseHolder(Arc::clone(&lease), None);
            let work = async {
                let inner = transaction.enter(ROOT)?;
                let columns =
                    Columns { request_path: text(&format!("/{number}")), ..Columns::default() };
                operations::update(&inner, "k".to_owned(), columns, Some(&lease)).await?;
                let sql = "UPDATE idempotency_key SET request_method = 'PUT'".to_owned();
                transaction.enter(ROOT)?.query(sql, Vec::new()).await?;
                Ok(outcome)
            };
            assert!(stage::run(&bound, "k", &claimant, work).await.unwrap().ran());
        }
        // So may the attempt after it, in the same transaction.
        let columns = Columns { response_code: text("201"), ..Columns::default() };
        operations::update(&bound, "k".to_owned(), columns, Some(&lease)).await.unwrap();
        drop(bound);
        commit(transaction).await;
        let key = stored(&database, "k").await;
        assert_eq!(key.recovery_point, "finished");
        assert_eq!((key.response_code, key.locked_at), (Some(201), None));
        assert_eq!(key.request_path.as_deref(), Some("/1"));
        assert_eq!(key.request_method.as_deref(), Some("PUT"));
        execute(database.executor(), "DELETE FROM idempotency_key").await;
    }
    database.drop().await;
}

#[tokio::test]
async fn serializable_stages_of_different_keys_do_not_abort_each_other() {
    const STAGES: usize = 8;
    let database = Database::with_connections(STAGES).await;
    let mut stages = Vec::new();
    for number in 0..STAGES {
        let name = number.to_string();
        let transaction = begin(&database, Isolation::Serializable).await;
        let lease = begun(&database, &name).await;
        stages.push((name, lease, transaction));
    }
    // None of their transactions ends before all of them have read and written.
    let mut started = Vec::new();
    for (name, lease, transaction) in &stages {
        let bound = transaction.enter(ROOT).unwrap();
        let claimant = Claimant::LeaseHolder(Arc::clone(lease), None);
        let work = async {
            support::insert_effect(transaction).await?;
            Ok(finished())
        };
        started.push(async move { stage::run(&bound, name, &claimant, work).await.map(drop) });
    }
    for started in started {
        started.await.unwrap();
    }
    for (.., transaction) in stages {
        commit(transaction).await;
    }
    assert_eq!(database.effects().await, STAGES as i64);
    database.drop().await;
}

#[tokio::test]
async fn a_serializable_stage_that_came_too_late_fails_and_may_be_repeated() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let transaction = begin(&database, Isolation::Serializable).await;
    let bound = transaction.enter(ROOT).unwrap();
    bound.run(Statement::Find("elsewhere".to_owned())).await.unwrap();
    lease::renew(database.executor(), &lease).await.unwrap();
    let claimant = Claimant::LeaseHolder(Arc::clone(&lease), None);
    let staged = stage::run(&bound, "k", &claimant, async { Ok(finished()) }).await;
    assert_eq!(staged.unwrap_err().code(), Some("40001"));
    drop(bound);
    roll_back(transaction).await;
    assert!(stage(&database, &lease, "k", None, finished()).await.unwrap().ran());
    database.drop().await;
}

// Updates and locks.

#[tokio::test]
async fn an_update_renews_the_lease_and_ends_it_by_finishing() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let before = stored(&database, "k").await;
    let columns = Columns { response_code: text("102"), ..Columns::default() };
    let key = update(&database, &lease, "k", columns).await.unwrap();
    assert!(key.locked_at > before.locked_at);
    let key_at_point = update(&database, &lease, "k", recovery_point("paid")).await.unwrap();
    assert!(key_at_point.locked_at > key.locked_at);
    assert!(lease.is_held());
    let key = update(&database, &lease, "k", finishing("200")).await.unwrap();
    assert_eq!(key.locked_at, None);
    assert!(!lease.is_held());
    // Its own answer it may still correct; and to write nothing is to read.
    update(&database, &lease, "k", finishing("201")).await.unwrap();
    let key = update(&database, &lease, "k", Columns::default()).await.unwrap();
    assert_eq!((key.response_code, key.locked_at), (Some(201), None));
    let unknown = operations::update(
        database.executor(),
        "nowhere".to_owned(),
        finishing("200"),
        Some(&lease),
    );
    assert!(matches!(unknown.await, Err(Error::NotFound(_))));
    database.drop().await;
}

#[tokio::test]
async fn an_update_of_an_attempt_that_never_had_a_lease_is_as_before() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let before = stored(&database, "k").await;
    let stranger = patient();
    let key = update(&database, &stranger, "k", recovery_point("paid")).await.unwrap();
    assert_eq!(key.locked_at, before.locked_at);
    assert!(!stranger.is_held());
    let columns = Columns { locked_at: Field::Set(None), ..Columns::default() };
    assert_eq!(update(&database, &stranger, "k", columns).await.unwrap().locked_at, None);
    drop(lease);
    let second = begun(&database, "k").await;
    // Finishing ends the lease, whosever it is.
    let key = update(&database, &stranger, "k", finishing("200")).await.unwrap();
    assert_eq!((key.recovery_point.as_str(), key.locked_at), ("finished", None));
    assert!(!stage(&database, &second, "k", None, finished()).await.unwrap().ran());
    database.drop().await;
}

#[tokio::test]
async fn a_finished_answer_is_its_attempts_alone() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    // It finishes, but that is not committed; another attempt takes over and finishes.
    uncommittable_stage(&database, &first, "k", finished()).await;
    let second = taken_over(&database, "k").await;
    update(&database, &second, "k", finishing("201")).await.unwrap();
    for columns in [finishing("500"), Columns { response_code: text("500"), ..Columns::default() }]
    {
        assert!(is_lost(&update(&database, &first, "k", columns).await));
    }
    lease::release(database.executor(), &first).await.unwrap();
    assert_eq!(stored(&database, "k").await.response_code, Some(201));
    database.drop().await;
}

#[tokio::test]
async fn an_answer_whose_commit_nobody_heard_of_is_not_changed() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let before = lease.known();
    stage(&database, &lease, "k", None, finished()).await.unwrap();
    lease.unsettled(&before);
    assert!(is_lost(&update(&database, &lease, "k", finishing("500")).await));
    let answer = initialize(database.executor(), &patient(), "k").await.unwrap();
    assert_eq!(answer.response_code, Some(200));
    assert!(!stage(&database, &lease, "k", None, finished()).await.unwrap().ran());
    database.drop().await;
}

#[tokio::test]
async fn to_read_a_key_gives_nobody_its_lease() {
    let database = Database::new().await;
    let first = begun(&database, "k").await;
    uncommittable_stage(&database, &first, "k", finished()).await;
    taken_over(&database, "k").await;
    update(&database, &first, "k", Columns::default()).await.unwrap();
    assert!(is_lost(&stage(&database, &first, "k", None, finished()).await));
    database.drop().await;
}

#[tokio::test]
async fn an_attempt_may_lock_the_key_of_the_request_that_it_has_just_begun_once() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    assert!(matches!(lock(&database, None, "k").await, Err(Error::Locked)));
    assert!(matches!(lock(&database, Some(&patient()), "k").await, Err(Error::Locked)));
    // A renewal is not a use.
    lease::renew(database.executor(), &lease).await.unwrap();
    lock(&database, Some(&lease), "k").await.unwrap();
    assert!(matches!(lock(&database, Some(&lease), "k").await, Err(Error::Locked)));
    // It is still the attempt's turn.
    assert!(stage(&database, &lease, "k", None, point("paid")).await.unwrap().ran());
    assert!(matches!(lock(&database, Some(&lease), "k").await, Err(Error::Locked)));

    let taker = taken_over(&database, "k").await;
    assert!(matches!(lock(&database, Some(&lease), "k").await, Err(Error::Locked)));
    lock(&database, Some(&taker), "k").await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn of_64_locks_of_the_attempt_that_began_one_wins() {
    let database = Database::with_connections(16).await;
    for round in 0..10 {
        let name = round.to_string();
        let lease = begun(&database, &name).await;
        let callers = (0..CALLERS).map(|_| {
            let (executor, lease, name) =
                (database.executor().clone(), Arc::clone(&lease), name.clone());
            tokio::spawn(async move { operations::lock(&executor, name, HOUR, Some(&lease)).await })
        });
        let mut won = 0;
        for caller in callers.collect::<Vec<_>>() {
            won += usize::from(caller.await.unwrap().is_ok());
        }
        assert_eq!(won, 1);
    }
    database.drop().await;
}

// Renewing and releasing.

#[tokio::test]
async fn a_lease_is_renewed_while_it_is_the_attempts() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let before = stored(&database, "k").await;
    for _ in 0..40 {
        lease::renew(database.executor(), &lease).await.unwrap();
    }
    assert!(stored(&database, "k").await.locked_at > before.locked_at);
    assert!(stage(&database, &lease, "k", None, point("paid")).await.unwrap().ran());

    // A lease that was released stays so, and another's is left alone.
    lease::release(database.executor(), &lease).await.unwrap();
    lease::renew(database.executor(), &lease).await.unwrap();
    assert_eq!(stored(&database, "k").await.locked_at, None);
    taken_over(&database, "k").await;
    let others = stored(&database, "k").await;
    lease::renew(database.executor(), &lease).await.unwrap();
    lease::release(database.executor(), &lease).await.unwrap();
    assert_eq!(stored(&database, "k").await, others);
    database.drop().await;
}

#[tokio::test]
async fn a_release_never_touches_a_finished_key() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let transaction = begin(&database, Isolation::ReadCommitted).await;
    let bound = transaction.enter(ROOT).unwrap();
    let claimant = Claimant::LeaseHolder(Arc::clone(&lease), None);
    stage::run(&bound, "k", &claimant, async { Ok(finished()) }).await.unwrap();
    drop(bound);
    commit(transaction).await;
    assert!(lease.is_held(), "it cannot know");
    let sql = "UPDATE idempotency_key SET locked_at = now()";
    execute(database.executor(), sql).await;
    let before = stored(&database, "k").await;
    lease::renew(database.executor(), &lease).await.unwrap();
    lease::release(database.executor(), &lease).await.unwrap();
    assert!(!lease.is_held());
    assert_eq!(stored(&database, "k").await, before);
    database.drop().await;
}

#[tokio::test]
async fn a_release_ends_as_soon_as_it_is_done() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let executor = CountingExecutor::new(database.executor());
    for _ in 0..2 {
        lease::release(&executor, &lease).await.unwrap();
        // Not a second time what has been released.
        assert_eq!(executor.count(), 1);
    }
    assert_eq!(stored(&database, "k").await.locked_at, None);
    // Of a key that is gone.
    let gone = begun(&database, "k").await;
    execute(database.executor(), "DELETE FROM idempotency_key").await;
    lease::release(&executor, &gone).await.unwrap();
    assert_eq!(executor.count(), 2);
    assert!(!gone.is_held());
    database.drop().await;
}

#[tokio::test]
async fn a_release_waits_for_a_dying_transaction_or_until_a_call_begins() {
    let database = Database::new().await;
    for interrupted in [false, true] {
        let lease = begun(&database, "k").await;
        let transaction = locking(&database, "k").await;
        let executor = CountingExecutor::new(database.executor());
        let release = tokio::spawn({
            let (executor, lease) = (executor.clone(), Arc::clone(&lease));
            async move { lease::release(&executor, &lease).await }
        });
        // It has found the row locked, and tried again.
        executor.until(3).await;
        assert!(!release.is_finished());
        assert!(lease.is_held());
        let transaction = if interrupted {
            drop(lease.try_enter().unwrap());
            Some(transaction)
        } else {
            roll_back(transaction).await;
            None
        };
        let tried = executor.count();
        tokio::time::timeout(PATIENCE, release).await.unwrap().unwrap().unwrap();
        // An interruption ends it where it is; else the next try or the one under way succeeds.
        assert!(executor.count() <= tried + 2, "{tried} {}", executor.count());
        drop(transaction);
        assert_eq!(lease.is_held(), interrupted);
        assert_eq!(stored(&database, "k").await.locked_at.is_some(), interrupted);
        execute(database.executor(), "DELETE FROM idempotency_key").await;
    }
    database.drop().await;
}

#[tokio::test]
async fn a_release_gives_up_on_a_row_that_stays_locked() {
    let database = Database::new().await;
    let lease = begun(&database, "k").await;
    let transaction = locking(&database, "k").await;
    let release = lease::release(database.executor(), &lease);
    tokio::time::timeout(Duration::from_secs(20), release).await.unwrap().unwrap();
    assert!(lease.is_held());
    roll_back(transaction).await;
    database.drop().await;
}

// Keeping house.

#[tokio::test]
async fn stalled_keys_are_those_that_nobody_works_on() {
    let database = Database::new().await;
    let executor = database.executor();
    for (name, point, created, locked) in [
        ("old", "started", "3 hours", None),
        ("older", "paid", "4 hours", Some("2 hours")),
        ("live", "paid", "4 hours", Some("1 minute")),
        ("done", "finished", "4 hours", None),
        ("young", "started", "1 minute", None),
        ("heard of", "started", "4 hours", Some("70 minutes")),
    ] {
        let columns = Columns { idempotency_key: text(name), ..recovery_point(point) };
        operations::create(executor, columns, false).await.unwrap();
        let locked = locked.map_or("NULL".to_owned(), |age| format!("now() - interval '{age}'"));
        let sql = format!(
            "UPDATE idempotency_key SET created_at = now() - interval '{created}', \
             locked_at = {locked} WHERE idempotency_key = '{name}'"
        );
        execute(executor, &sql).await;
    }
    let stalled = |older_than, lease, limit| async move {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let (older_than, lease) = (minutes(older_than), minutes(lease));
        let keys = operations::stalled(executor, false, older_than, lease, limit).await.unwrap();
        keys.into_iter().map(|key| key.idempotency_key).collect::<Vec<_>>()
    };
    assert_eq!(stalled(90, 10, 10).await, ["older", "old"]);
    assert_eq!(stalled(60, 10, 10).await, ["older", "heard of", "old"]);
    assert_eq!(stalled(60, 10, 2).await, ["older", "heard of"]);
    assert_eq!(stalled(60, 75, 10).await, ["older", "old"]);
    assert_eq!(stalled(0, 0, 10).await.len(), 5);
    database.drop().await;
}

#[tokio::test]
async fn old_finished_keys_are_pruned() {
    let database = Database::new().await;
    let executor = database.executor();
    let insert = "INSERT INTO idempotency_key (id, idempotency_key, created_at, recovery_point, \
                  response_body) SELECT 'ikey_' || n, n, \
                  now() - CASE WHEN n % 10 = 1 THEN interval '1 hour' ELSE interval '3 days' END, \
                  CASE WHEN n % 10 = 2 THEN 'paid' ELSE 'finished' END, \
                  to_jsonb(repeat('x', n % 700)) FROM generate_series(1, 2000) n";
    execute(executor, insert).await;
    // Half of one page, so that rows are not where they were.
    execute(executor, "UPDATE idempotency_key SET response_code = 200 WHERE id <= 'ikey_2'").await;
    let locked = locking(&database, "5").await;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    assert_eq!(executor.prune(days(4), 100).await.unwrap(), 0);
    assert_eq!(executor.prune(days(2), 100).await.unwrap(), 1599);
    roll_back(locked).await;
    assert_eq!(executor.prune(days(2), 1).await.unwrap(), 1);
    assert_eq!(executor.prune(days(2), 100_000).await.unwrap(), 0);
    assert_eq!(stored(&database, "12").await.recovery_point, "paid");
    stored(&database, "11").await;
    assert_eq!(executor.prune(Duration::ZERO, 100).await.unwrap(), 200);
    let left = operations::stalled(executor, false, AT_ONCE, AT_ONCE, 10_000).await.unwrap();
    assert_eq!(left.len(), 200);
    database.drop().await;
}

/// Keys that were finished three days ago.
async fn finish_3000_keys(executor: &PoolExecutor) {
    let insert = "INSERT INTO idempotency_key (id, idempotency_key, created_at, recovery_point) \
                  SELECT n, n, now() - interval '3 days', 'finished' \
                  FROM generate_series(1, 3000) n";
    execute(executor, insert).await;
}

#[tokio::test]
async fn keys_are_pruned_alike_on_servers_of_every_age() {
    let database = Database::new().await;
    let executor = database.executor();
    finish_3000_keys(executor).await;
    let pages = |from: &str, to: &str| ["1 hour", from, to].map(|value| Some(value.to_owned()));
    let mut deleted = Vec::new();
    for finds_ranges in [true, false] {
        for (from, to) in [("0", "2"), ("2", "3"), ("3", "1000"), ("0", "1000"), ("7", "7")] {
            let mut connection = executor.pool.connection().await.unwrap();
            connection.begin(Isolation::ReadCommitted).await.unwrap();
            let query = Query::new(executor.sql.prune(finds_ranges), pages(from, to).to_vec());
            deleted.push(connection.fetch(query).await.unwrap().len());
            connection.end_transaction("ROLLBACK").await.unwrap();
        }
    }
    let (ranges, places) = deleted.split_at(5);
    assert_eq!(ranges, places);
    assert!(ranges[0] > 0 && ranges[0] < ranges[2] && ranges[4] == 0, "{ranges:?}");
    assert_eq!((ranges[0] + ranges[1] + ranges[2], ranges[3]), (3000, 3000));
    database.drop().await;
}

#[tokio::test]
async fn two_prunings_at_once_delete_each_key_once() {
    let database = Database::new().await;
    let executor = database.executor();
    finish_3000_keys(executor).await;
    let prune = || executor.prune(HOUR, 64);
    let (a, b, c, d) = tokio::join!(prune(), prune(), prune(), prune());
    assert_eq!(a.unwrap() + b.unwrap() + c.unwrap() + d.unwrap(), 3000);
    database.drop().await;
}

#[tokio::test]
async fn a_replay_has_the_headers_of_the_answer_if_it_asks_for_them() {
    let database = Database::new().await;
    let executor = database.executor();
    let headers = || Some("{\"location\": \"/orders/1\"}".to_owned());
    let answer = || StageResult::Finished {
        response_code: Some("201".to_owned()),
        response_body: None,
        response_headers: headers(),
    };
    let lease = begun(&database, "staged").await;
    stage(&database, &lease, "staged", None, answer()).await.unwrap();
    let lease = begun(&database, "finished").await;
    operations::finish(executor, "finished".to_owned(), answer(), &lease).await.unwrap();
    for key in ["staged", "finished"] {
        for asked in [true, false] {
            let request = || Request { headers: asked, ..Request::default() };
            let (initialized, name) = (impatient(), key.to_owned());
            let found = [
                request::initialize(
                    executor,
                    &initialized,
                    Some(name.clone()),
                    request(),
                    AT_ONCE,
                    false,
                )
                .await,
                request::look(executor, name, request(), initialized.duration()).await,
            ];
            for answer in found.map(Result::unwrap) {
                assert_eq!(answer.outcome, Some(Outcome::Replayed));
                assert_eq!(answer.key.response_headers, headers().filter(|_| asked));
            }
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn a_table_of_medusas_gets_the_column_for_headers() {
    let database = Database::new().await;
    let executor = database.executor();
    execute(executor, "ALTER TABLE idempotency_key DROP COLUMN response_headers").await;
    assert!(!executor.optional_columns().await.unwrap().headers);
    let lease = begun(&database, "k").await;
    assert!(stage(&database, &lease, "k", None, finished()).await.unwrap().ran());
    for _ in 0..2 {
        executor.migrate().await.unwrap();
        assert!(executor.optional_columns().await.unwrap().headers);
    }
    database.drop().await;
}

#[tokio::test]
async fn a_table_of_medusas_gets_the_column_for_fingerprints() {
    let database = Database::new().await;
    let executor = database.executor();
    let lease = begun(&database, "k").await;
    let drop = "ALTER TABLE idempotency_key DROP COLUMN request_fingerprint";
    execute(executor, drop).await;
    assert!(!executor.optional_columns().await.unwrap().fingerprint);
    // Without it everything else works, on statements that were prepared with it.
    assert!(stage(&database, &lease, "k", None, point("paid")).await.unwrap().ran());
    for _ in 0..2 {
        executor.migrate().await.unwrap();
        assert!(executor.optional_columns().await.unwrap().fingerprint);
    }
    let key = stored(&database, "k").await;
    assert_eq!(key.recovery_point, "paid");
    let request = Request { fingerprint: Some("f".to_owned()), ..Request::default() };
    let name = Some("k".to_owned());
    request::initialize(executor, &impatient(), name, request, AT_ONCE, false).await.unwrap();
    database.drop().await;
}
