//! The server plans the statement of a batch a few times and then no more, however small the batches are.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)] // other tests use more of it
mod support;

use std::sync::Arc;
use std::time::Duration;

use medusa_idempotency_key::engine::error::Error;
use medusa_idempotency_key::engine::execution::group_commit::{GroupCommit, Limits};
use medusa_idempotency_key::engine::execution::in_transaction;
use medusa_idempotency_key::engine::execution::transaction::{ROOT, Transaction};
use medusa_idempotency_key::engine::key::Columns;
use medusa_idempotency_key::engine::protocol::executor::Executor as _;
use medusa_idempotency_key::engine::protocol::statement::{
    LeaseChange, NewRequest, Request, Statement,
};
use medusa_idempotency_key::engine::sql::Isolation;
use support::{Database, text};

/// PostgreSQL plans a prepared statement five times for the values that it is given, before it compares.
const ROUNDS: usize = 12;
const OF_A_BATCH: usize = 3;

#[tokio::test]
async fn a_statement_of_small_batches_is_not_planned_anew_each_time() {
    // The last connection is that of single statements: with one, stages have the same.
    let database = Database::with_connections(1).await;
    if asked(&database, COUNTS_PLANS).await.is_empty() {
        eprintln!("left out: the server counts no plans, as PostgreSQL does since 14");
        return database.drop().await;
    }
    let group = GroupCommit::join(database.executor().clone(), Limits::default());
    for round in 0..ROUNDS {
        for kind in 0..KINDS {
            let submission = group.begin_submission();
            let calls: Vec<_> = (0..OF_A_BATCH)
                .map(|number| {
                    let (group, statement) = (group.clone(), statement(kind, round, number));
                    tokio::spawn(async move { group.run(statement).await })
                })
                .collect();
            tokio::task::yield_now().await;
            drop(submission);
            for call in calls {
                call.await.unwrap().unwrap();
            }
        }
    }
    let planned = planned(&database).await;
    assert_eq!(planned.len(), KINDS, "{planned:?}");
    for (statement, times) in planned {
        assert!(times <= 5, "{times} times: {statement}");
    }
    database.drop().await;
}

const KINDS: usize = 5;

fn statement(kind: usize, round: usize, number: usize) -> Statement {
    let key = format!("key-{number}");
    let new = |key: String| NewRequest {
        id: key.clone(),
        key,
        request: Request::default(),
        lease: Duration::from_secs(10),
    };
    match kind {
        0 => Statement::Initialize(new(format!("new-{round}-{number}"))),
        1 => Statement::FindOrCreate {
            columns: Columns { id: text(&key), idempotency_key: text(&key), ..Columns::default() },
            key,
        },
        2 => Statement::Find(key),
        3 => Statement::Look(new(key)),
        _ => Statement::Update {
            key,
            columns: Columns { response_code: text("200"), ..Columns::default() },
            lease: LeaseChange::Keep,
            location: None,
            fence: None,
        },
    }
}

/// Answers a row if the server counts how often it plans what is prepared.
const COUNTS_PLANS: &str = "SELECT attname::text FROM pg_attribute \
     WHERE attrelid = 'pg_prepared_statements'::regclass AND attname = 'custom_plans'";

/// How often the server has planned each statement of a batch for its values.
async fn planned(database: &Database) -> Vec<(String, u32)> {
    let sql = "SELECT statement, custom_plans FROM pg_prepared_statements \
               WHERE statement LIKE '%unnest%' AND custom_plans + generic_plans > 1";
    let read = |row: Vec<Option<String>>| {
        let mut values = row.into_iter().flatten();
        Some((values.next()?, values.next()?.parse().ok()?))
    };
    asked(database, sql).await.into_iter().filter_map(read).collect()
}

async fn asked(database: &Database, sql: &str) -> Vec<Vec<Option<String>>> {
    let ask = |transaction: Arc<Transaction>| async move {
        Ok::<_, Error>(transaction.enter(ROOT)?.query(sql.to_owned(), Vec::new()).await?.rows)
    };
    let executor = database.executor();
    in_transaction::run(executor, Isolation::ReadCommitted, 0, ask).await.unwrap()
}
