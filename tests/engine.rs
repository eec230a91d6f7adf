//! The engine against PostgreSQL, without Node. `npm test` brings a server; alone,
//! `TEST_DATABASE_URL=postgres://… cargo test` does.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)] // other tests use more of it
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use medusa_idempotency_key::engine::error::Error;
use medusa_idempotency_key::engine::execution::in_transaction;
use medusa_idempotency_key::engine::execution::pool_executor::PoolExecutor;
use medusa_idempotency_key::engine::execution::transaction::{ROOT, Transaction};
use medusa_idempotency_key::engine::key::{Columns, Field, StageResult};
use medusa_idempotency_key::engine::protocol::operations;
use medusa_idempotency_key::engine::protocol::stage::Claimant;
use medusa_idempotency_key::engine::protocol::statement::Request;
use medusa_idempotency_key::engine::sql::{Isolation, Sql};
use support::{Database, new_key, recovery_point, text};
use tokio::sync::{Barrier, Notify};

const MAX_RETRIES: usize = 3;

#[tokio::test]
async fn a_key_lives_from_its_creation_to_its_answer() {
    let database = Database::new().await;
    let executor = database.executor();
    let columns = Columns { request_method: text("POST"), ..Columns::default() };
    let key = operations::create(executor, columns, false).await.unwrap();
    assert_eq!(key.recovery_point, "started");
    assert_eq!(key.request_method.as_deref(), Some("POST"));

    let name = key.idempotency_key.clone();
    assert_eq!(operations::retrieve(executor, name.clone()).await.unwrap(), key);
    let known = operations::initialize_request(executor, Some(name.clone()), Request::default());
    assert_eq!(known.await.unwrap().key, key);

    let locked =
        operations::lock(executor, name.clone(), Duration::from_secs(1), None).await.unwrap();
    assert!(locked.locked_at.is_some());

    let columns = Columns {
        response_code: text("201"),
        locked_at: Field::Set(None),
        ..recovery_point("finished")
    };
    let finished = operations::update(executor, name, columns, None).await.unwrap();
    assert_eq!(finished.response_code, Some(201));
    assert_eq!(finished.locked_at, None);
    database.drop().await;
}

#[tokio::test]
async fn an_unknown_key_is_said_to_be_unknown() {
    let database = Database::new().await;
    let executor = database.executor();
    let name = || "nowhere".to_owned();
    let errors = [
        operations::retrieve(executor, name()).await.unwrap_err(),
        operations::lock(executor, name(), Duration::ZERO, None).await.unwrap_err(),
        operations::update(executor, name(), recovery_point("x"), None).await.unwrap_err(),
        operations::update(executor, name(), Columns::default(), None).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::NotFound(key) if key == "nowhere"), "{error:?}");
    }
    database.drop().await;
}

#[tokio::test]
async fn of_64_callers_one_gets_the_lock() {
    const CALLERS: usize = 64;
    let database = Database::new().await;
    for _ in 0..20 {
        let key = new_key(database.executor()).await;
        let lock = |executor: PoolExecutor| {
            let key = key.clone();
            async move { operations::lock(&executor, key, Duration::from_secs(60), None).await }
        };
        let callers = (0..CALLERS).map(|_| tokio::spawn(lock(database.executor().clone())));
        let mut winners = 0;
        for caller in callers.collect::<Vec<_>>() {
            match caller.await.unwrap() {
                Ok(_) => winners += 1,
                Err(Error::Locked) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(winners, 1);
    }
    database.drop().await;
}

#[tokio::test]
async fn a_lock_does_not_wait_for_a_running_stage() {
    let database = Database::new().await;
    let key = new_key(database.executor()).await;
    let stage = database.stage(&key, |_| async {
        // It would wait for ever: the stage waits for it.
        let lock = operations::lock(database.executor(), key.clone(), Duration::from_secs(1), None);
        let error = tokio::time::timeout(Duration::from_secs(5), lock).await.unwrap();
        assert!(matches!(error, Err(Error::Locked)), "{error:?}");
        Ok(support::finished("200"))
    });
    stage.await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn what_a_stage_did_and_the_keys_state_commit_together() {
    let database = Database::new().await;
    let key = new_key(database.executor()).await;
    let stage = database.stage(&key, |transaction| async move {
        support::insert_effect(&transaction).await?;
        Ok(StageResult::RecoveryPoint("paid".to_owned()))
    });
    assert_eq!(stage.await.unwrap().recovery_point, "paid");
    assert_eq!(database.effects().await, 1);

    let failing = database.stage(&key, |transaction| async move {
        support::insert_effect(&transaction).await?;
        Err(Error::Work { code: None })
    });
    assert!(matches!(failing.await, Err(Error::Work { code: None })));
    assert_eq!(database.effects().await, 1);
    let stored = operations::retrieve(database.executor(), key).await.unwrap();
    assert_eq!(stored.recovery_point, "paid");
    database.drop().await;
}

#[tokio::test]
async fn the_stage_of_an_unknown_key_does_no_work() {
    let database = Database::new().await;
    let calls = AtomicUsize::new(0);
    let stage = database.stage("nowhere", |_| async {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(support::finished("200"))
    });
    assert!(matches!(stage.await, Err(Error::NotFound(_))));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    database.drop().await;
}

#[tokio::test]
async fn two_stages_of_one_key_never_overlap() {
    let database = Database::new().await;
    let key = new_key(database.executor()).await;
    let (running, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stage = || {
        database.stage(&key, |_| async {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            // The others have come to where they wait for this one.
            database.until_blocked(2 - ended.load(Ordering::SeqCst)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            ended.fetch_add(1, Ordering::SeqCst);
            Ok(StageResult::RecoveryPoint("paid".to_owned()))
        })
    };
    let (a, b, c) = tokio::join!(stage(), stage(), stage());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(ended.load(Ordering::SeqCst), 3);
    database.drop().await;
}

#[tokio::test]
async fn a_stage_whose_future_is_dropped_leaves_nothing() {
    let database = Database::new().await;
    let key = new_key(database.executor()).await;
    let inserted = Notify::new();
    let stage = database.stage(&key, |transaction| {
        let inserted = &inserted;
        async move {
            support::insert_effect(&transaction).await?;
            inserted.notify_one();
            std::future::pending().await
        }
    });
    tokio::select! {
        staged = stage => panic!("{staged:?}"),
        () = inserted.notified() => {}
    }
    // The row is free again as soon as the server has noticed.
    let next = database.stage(&key, |_| async { Ok(support::finished("200")) });
    assert_eq!(next.await.unwrap().recovery_point, "finished");
    assert_eq!(database.effects().await, 0);
    database.drop().await;
}

#[tokio::test]
async fn serialization_failures_repeat_the_stage_up_to_max_retries() {
    let database = Database::new().await;
    for (failures, max_retries, tries, succeeds) in
        [(3, 3, 4, true), (4, 3, 4, false), (1, 0, 1, false)]
    {
        let key = new_key(database.executor()).await;
        let calls = AtomicUsize::new(0);
        let result = in_transaction::run_stage(
            database.executor(),
            &key,
            &Claimant::Anyone,
            max_retries,
            |_| async {
                if calls.fetch_add(1, Ordering::SeqCst) < failures {
                    return Err(Error::Work { code: Some("40001".to_owned()) });
                }
                Ok(support::finished("200"))
            },
        );
        assert_eq!(result.await.is_ok(), succeeds);
        assert_eq!(calls.load(Ordering::SeqCst), tries);
    }
    database.drop().await;
}

#[tokio::test]
async fn as_many_stages_as_connections_can_each_make_a_call_of_their_own() {
    const STAGES: usize = 4;
    let database = Database::with_connections(STAGES).await;
    let all_started = Arc::new(Barrier::new(STAGES));
    let mut stages = Vec::new();
    for _ in 0..STAGES {
        let executor = database.executor().clone();
        let all_started = Arc::clone(&all_started);
        stages.push(tokio::spawn(async move {
            let key = new_key(&executor).await;
            in_transaction::run_stage(&executor, &key, &Claimant::Anyone, MAX_RETRIES, |_| async {
                all_started.wait().await;
                new_key(&executor).await;
                Ok(support::finished("200"))
            })
            .await
        }));
    }
    for stage in stages {
        let ended = tokio::time::timeout(Duration::from_secs(10), stage).await;
        ended.unwrap().unwrap().unwrap();
    }
    database.drop().await;
}

#[tokio::test]
async fn a_transaction_that_the_server_has_aborted_is_not_said_to_be_committed() {
    let database = Database::new().await;
    let executor = database.executor();
    let result =
        in_transaction::run(executor, Isolation::ReadCommitted, 0, |transaction| async move {
            support::insert_effect(&transaction).await?;
            let failed = transaction.enter(ROOT)?.query("SELECT 1/0".to_owned(), Vec::new()).await;
            assert_eq!(failed.unwrap_err().code(), Some("22012"));
            Ok(())
        });
    assert_eq!(result.await.unwrap_err().code(), Some("25P02"));
    assert_eq!(database.effects().await, 0);
    database.drop().await;
}

#[tokio::test]
async fn a_savepoint_undoes_only_its_own_part() {
    let database = Database::new().await;
    let key = new_key(database.executor()).await;
    let stage = database.stage(&key, |transaction| async move {
        support::insert_effect(&transaction).await?;
        let undone = transaction.enter(ROOT)?.savepoint().await?;
        support::insert_effect_in(&transaction, undone).await?;
        transaction.end_savepoint(undone, false).await?;
        let kept = transaction.enter(ROOT)?.savepoint().await?;
        support::insert_effect_in(&transaction, kept).await?;
        transaction.end_savepoint(kept, true).await?;
        assert!(transaction.enter(kept).is_err());
        Ok(support::finished("200"))
    });
    stage.await.unwrap();
    assert_eq!(database.effects().await, 2);
    database.drop().await;
}

#[tokio::test]
async fn a_savepoint_that_meets_a_rollback_keeps_no_connection() {
    let database = Database::with_connections(1).await;
    let executor = database.executor();
    for _ in 0..50 {
        let begin =
            Transaction::begin(&executor.pool, Arc::clone(&executor.sql), Isolation::ReadCommitted);
        let begun = tokio::time::timeout(Duration::from_secs(5), begin).await;
        let transaction = begun.expect("the last transaction keeps its connection").unwrap();
        let entered = transaction.enter(ROOT).unwrap();
        let savepoint = tokio::spawn(async move { entered.savepoint().await });
        tokio::task::yield_now().await;
        transaction.roll_back().await.unwrap();
        let _ = savepoint.await.unwrap();
    }
    database.drop().await;
}

#[tokio::test]
async fn savepoints_that_overlap_roll_everything_back() {
    let database = Database::new().await;
    let executor = database.executor();
    let sql = Arc::clone(&executor.sql);
    let transaction =
        Transaction::begin(&executor.pool, sql, Isolation::ReadCommitted).await.unwrap();
    let first = transaction.enter(ROOT).unwrap().savepoint().await.unwrap();
    let second = transaction.enter(ROOT).unwrap().savepoint().await.unwrap();
    support::insert_effect_in(&transaction, second).await.unwrap();
    let error = transaction.end_savepoint(first, true).await.unwrap_err();
    assert!(matches!(error, Error::OverlappingSavepoints), "{error:?}");
    assert!(transaction.commit().await.is_err());
    drop(transaction);
    assert_eq!(database.effects().await, 0);
    database.drop().await;
}

#[tokio::test]
async fn calls_under_way_are_awaited_before_the_commit() {
    let database = Database::new().await;
    let executor = database.executor().clone();
    let sql = Arc::clone(&executor.sql);
    let holder = Transaction::begin(&executor.pool, sql, Isolation::ReadCommitted).await.unwrap();
    let lock = "LOCK TABLE effect".to_owned();
    holder.enter(ROOT).unwrap().query(lock, Vec::new()).await.unwrap();
    let stage = tokio::spawn(async move {
        in_transaction::run(&executor, Isolation::ReadCommitted, 0, |transaction| async move {
            let (first, second) = (transaction.enter(ROOT)?, transaction.enter(ROOT)?);
            tokio::spawn(async move {
                // The second is asked for when the commit could long have been.
                for entered in [first, second] {
                    entered.query(support::insert_effect_sql(), Vec::new()).await.unwrap();
                }
            });
            Ok(())
        })
        .await
    });
    database.until_blocked(1).await;
    assert!(!stage.is_finished());
    holder.roll_back().await.unwrap();
    drop(holder);
    stage.await.unwrap().unwrap();
    assert_eq!(database.effects().await, 2);
    database.drop().await;
}

#[tokio::test]
async fn a_refused_connection_is_said_at_once_and_without_the_password() {
    let user = support::join("postgres://me:s3cret@127.0.0.1:1/shop", 1).unwrap();
    let executor = PoolExecutor { pool: Arc::clone(user.pool()), sql: Arc::new(Sql::new(None)) };
    let started = Instant::now();
    let error = operations::retrieve(&executor, "k".to_owned()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(error.code(), Some("ECONNREFUSED"));
    let message = error.to_string();
    assert!(message.contains("127.0.0.1:1, database \"shop\""), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
}

#[tokio::test]
async fn a_server_that_answers_no_more_does_not_hang_a_call() {
    let database = Database::new().await;
    let frozen = support::FrozenServer::start(database.url()).await;
    let user = support::join(frozen.url(), 1).unwrap();
    let sql = Arc::clone(&database.executor().sql);
    let executor = PoolExecutor { pool: Arc::clone(user.pool()), sql };
    let key = new_key(&executor).await;
    frozen.freeze();
    // The clock jumps to the next timeout whenever nothing else is left to do.
    tokio::time::pause();
    let errors = [
        operations::retrieve(&executor, key.clone()).await.unwrap_err(),
        in_transaction::run_stage(&executor, &key, &Claimant::Anyone, 0, |_| async {
            Ok(support::finished("200"))
        })
        .await
        .unwrap_err(),
    ];
    tokio::time::resume();
    for error in errors {
        assert_eq!(error.code(), Some("ETIMEDOUT"), "{error}");
    }
    database.drop().await;
}

#[tokio::test]
async fn the_last_user_ends_the_pool_and_waits_for_running_calls() {
    let database = Database::new().await;
    let (first, second) = (database.user(), database.user());
    let executor =
        PoolExecutor { pool: Arc::clone(first.pool()), sql: Arc::clone(&database.executor().sql) };
    let key = new_key(&executor).await;
    database.leave().await;
    first.leave().await.unwrap();
    new_key(&executor).await;

    let (inside, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let stage = tokio::spawn({
        let (executor, inside, finish) =
            (executor.clone(), Arc::clone(&inside), Arc::clone(&finish));
        async move {
            in_transaction::run_stage(&executor, &key, &Claimant::Anyone, 0, |_| async {
                inside.notify_one();
                finish.notified().await;
                Ok(support::finished("200"))
            })
            .await
        }
    });
    inside.notified().await;
    let leaving = tokio::spawn(second.leave());
    // It has begun to leave when the pool takes no more calls.
    let error = loop {
        match operations::retrieve(&executor, "k".to_owned()).await.unwrap_err() {
            Error::NotFound(_) => {}
            error => break error,
        }
    };
    assert!(matches!(error, Error::Closed), "{error:?}");
    database.until("true").await;
    assert!(!leaving.is_finished());
    finish.notify_one();
    leaving.await.unwrap().unwrap();
    // The stage's task may still have to take its answer.
    assert!(stage.await.unwrap().is_ok());
    database.drop().await;
}
