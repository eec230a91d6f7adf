//! A caller's way through the queue, and the statements that run without a batch.

use std::pin::pin;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use tokio::time::{Instant, sleep};

use super::access_mode::AccessMode;
use super::guards::KeyPermit;
use super::queue::Ticket;
use super::queued_statement::Answer;
use super::{Group, PATIENCE};
use crate::engine::error::Error;
use crate::engine::postgres::rows::read;
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::Query;
use crate::engine::sql::batch::Kind;

/// A statement that runs without a batch.
struct Single {
    query: Query,
    key: Option<String>,
    mode: AccessMode,
    permit: Option<KeyPermit>,
    /// Until when it may wait for a lock.
    deadline: Instant,
}

impl Group {
    /// Runs a statement, together with those of other callers if there are any.
    pub(super) async fn run(
        &self,
        kind: Kind,
        statement: Box<Statement>,
    ) -> Result<Vec<Row>, Error> {
        let deadline = self.executor.deadline();
        let answer = match self.queue.enter(kind, statement, || self.text(kind)) {
            Ticket::Single(statement, permit, slot) => {
                Answer::Single(statement, Some(permit), Some(slot))
            }
            Ticket::Queued(answer) => answer.await.map_err(|_| Error::BatchLost)?,
        };
        match answer {
            Answer::Done(result) => result,
            // Boxed, as a statement that a batch answers needs no room for it.
            other => Box::pin(self.finish(kind, other, deadline)).await,
        }
    }

    /// Does what a batch has left to the caller.
    async fn finish(
        &self,
        kind: Kind,
        answer: Answer,
        deadline: Instant,
    ) -> Result<Vec<Row>, Error> {
        let single = |statement: Box<Statement>, permit| Single {
            key: statement.key().map(str::to_owned),
            mode: AccessMode::of(kind, &statement),
            query: self.executor.sql.write(*statement),
            permit,
            deadline,
        };
        match answer {
            Answer::Done(result) => result,
            Answer::Single(statement, permit, Some(slot)) => {
                self.run_single(single(statement, permit), slot).await
            }
            Answer::Single(statement, permit, None) => {
                let slot = Arc::clone(&self.single).acquire_owned().await;
                self.run_single(single(statement, permit), slot).await
            }
            Answer::Locked(statement, permit, refusal) => {
                let mut single = single(statement, permit);
                let rows = self.wait_for_lock(&mut single, refusal).await;
                self.rows(&single, rows)
            }
        }
    }

    /// Runs a statement without a batch. `slot` is released if it takes long, as on a slow disk, and there is a
    /// connection for the others.
    async fn run_single<S>(&self, mut single: Single, slot: S) -> Result<Vec<Row>, Error> {
        let rows = self.try_single(&single, slot).await;
        let rows = match rows {
            Err(refusal) if refusal.is_lock_timeout() => {
                self.wait_for_lock(&mut single, refusal).await
            }
            rows => rows,
        };
        self.rows(&single, rows)
    }

    async fn try_single<S>(&self, single: &Single, slot: S) -> Result<Vec<PgRow>, Error> {
        let mut running = pin!(self.executor.try_fetch(&single.query));
        let _connection = loop {
            tokio::select! {
                biased;
                rows = &mut running => return rows,
                () = sleep(PATIENCE) => {}
            }
            if let Some(connection) = self.executor.pool.try_stage() {
                break connection;
            }
        };
        drop(slot);
        running.await
    }

    /// Runs a statement that needs what somebody has locked. Others about its key pass it, but for writes.
    async fn wait_for_lock(
        &self,
        single: &mut Single,
        refusal: Error,
    ) -> Result<Vec<PgRow>, Error> {
        let permit = single.permit.take();
        let _wait =
            permit.filter(|_| single.mode == AccessMode::Write).map(KeyPermit::wait_for_row);
        self.executor.fetch_once_unlocked(&single.query, single.deadline, refusal).await
    }

    fn rows(&self, single: &Single, rows: Result<Vec<PgRow>, Error>) -> Result<Vec<Row>, Error> {
        let rows = rows.map_err(|error| error.of_statement(single.key.as_deref()))?;
        read(&rows, self.executor.pool.target())
    }
}
