//! A caller's way through the queue, and the statements that run without a batch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::guards::{KeyPermit, RowWait};
use super::queue::Ticket;
use super::queued_statement::Answer;
use super::{Group, PATIENCE};
use crate::engine::error::Error;
use crate::engine::protocol::executor::Executor as _;
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::batch::Kind;

/// How long a write keeps the others about its key waiting, while it is unknown whether its row is
/// locked or the server is slow.
const ROW_PATIENCE: Duration = Duration::from_millis(500);
/// How often a write that waits for its row looks again, if it has no connection to wait on.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl Group {
    /// Runs a statement, together with those of other callers if there are any.
    pub(super) async fn run(
        &self,
        kind: Kind,
        statement: Box<Statement>,
    ) -> Result<Vec<Row>, Error> {
        match self.queue.enter(kind, statement, || self.text(kind)) {
            // Boxed, as a statement that a batch answers needs no room for it.
            Ticket::Single(statement, permit, slot) => {
                Box::pin(self.run_single(kind, statement, Some(permit), slot)).await
            }
            Ticket::Queued(answer) => match received(answer).await? {
                Answer::Done(result) => result,
                other => Box::pin(self.finish(kind, other)).await,
            },
        }
    }

    /// Does what a batch has left to the caller.
    async fn finish(&self, kind: Kind, answer: Answer) -> Result<Vec<Row>, Error> {
        match answer {
            Answer::Done(result) => result,
            Answer::Single(statement, permit, Some(slot)) => {
                self.run_single(kind, statement, permit, slot).await
            }
            Answer::Single(statement, permit, None) => {
                let slot = Arc::clone(&self.single).acquire_owned().await;
                self.run_single(kind, statement, permit, slot).await
            }
            Answer::RowLocked(statement, permit) => {
                let wait = permit.map(KeyPermit::wait_for_row);
                self.wait_for_row(kind, statement, wait).await
            }
        }
    }

    /// Runs a statement without a batch. `slot` is released as soon as the statement seems to wait for
    /// somebody.
    async fn run_single<S>(
        &self,
        kind: Kind,
        statement: Box<Statement>,
        permit: Option<KeyPermit>,
        slot: S,
    ) -> Result<Vec<Row>, Error> {
        if may_wait_for_row(kind) {
            return match self.executor.pool.try_stage() {
                Some(connection) => self.write(statement, permit, slot, connection).await,
                // The last connection is not for one that may have to wait for its row.
                None => {
                    drop(slot);
                    let answer = self.queue.enter_again(kind, statement, permit);
                    Box::pin(self.finish(kind, received(answer).await?)).await
                }
            };
        }
        let mut running = self.executor.run(*statement);
        let connection = loop {
            tokio::select! {
                biased;
                result = &mut running => return result,
                () = sleep(PATIENCE) => {}
            }
            if let Some(connection) = self.executor.pool.try_stage() {
                break connection;
            }
        };
        drop(slot);
        let result = running.await;
        drop((permit, connection));
        result
    }

    /// Writes to a row, for which it waits if somebody has locked it.
    async fn write<S, C>(
        &self,
        statement: Box<Statement>,
        permit: Option<KeyPermit>,
        slot: S,
        _connection: C,
    ) -> Result<Vec<Row>, Error> {
        let mut running = self.executor.run(*statement);
        tokio::select! {
            biased;
            result = &mut running => return result,
            () = sleep(PATIENCE) => {}
        }
        drop(slot);
        tokio::select! {
            biased;
            result = &mut running => return result,
            () = sleep(ROW_PATIENCE) => {}
        }
        let _wait = permit.map(KeyPermit::wait_for_row);
        running.await
    }

    /// Writes to a row that another transaction has locked: on a connection of its own, or else in one
    /// batch after the other.
    async fn wait_for_row(
        &self,
        kind: Kind,
        mut statement: Box<Statement>,
        _wait: Option<RowWait>,
    ) -> Result<Vec<Row>, Error> {
        let until = Instant::now() + self.executor.pool.target().timeouts().lock();
        let mut pause = SHORTEST_PAUSE;
        loop {
            if let Some(_connection) = self.executor.pool.try_stage() {
                return self.executor.run(*statement).await;
            }
            if Instant::now() >= until {
                return Err(Error::Busy(statement.key().unwrap_or_default().to_owned()));
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            match received(self.queue.enter_again(kind, statement, None)).await? {
                Answer::Done(result) => return result,
                Answer::RowLocked(locked, _) | Answer::Single(locked, ..) => statement = locked,
            }
        }
    }
}

/// Whether a single statement of this kind waits for whoever has locked its key's row, where a batch
/// does not.
fn may_wait_for_row(kind: Kind) -> bool {
    matches!(kind, Kind::Update { .. })
}

async fn received(answer: oneshot::Receiver<Answer>) -> Result<Answer, Error> {
    answer.await.map_err(|_| Error::BatchLost)
}
