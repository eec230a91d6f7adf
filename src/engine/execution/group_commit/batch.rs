//! One batch: its statement, and the answers for its callers.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::time::sleep;

use super::guards::InFlightSlot;
use super::queued_statement::{Answer, QueuedStatement, key};
use super::state::Batch;
use super::{Group, PATIENCE};
use crate::engine::error::Error;
use crate::engine::key::Field;
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::errors::from_driver;
use crate::engine::postgres::parameters::Parameters;
use crate::engine::postgres::rows::RowReader;
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::batch::{Kind, answered, arrays};

/// What a batch found for one of its statements.
enum Found {
    Rows(Vec<Row>),
    /// Its key's row is locked.
    Locked,
    /// Only the single statement can tell.
    Nothing,
}

impl Group {
    /// Runs the next batch.
    pub(super) async fn run_next(self: Arc<Self>, mut slot: InFlightSlot) {
        slot.use_it();
        // What arrives while it waits for the connection goes along.
        let connection = self.executor.pool.connection().await;
        let Some(mut batch) = self.queue.next_batch() else {
            return;
        };
        match connection {
            // Whoever else waits would wait for the same.
            Err(error) => {
                fail(batch.statements, &error);
                fail(self.queue.give_up(), &error);
            }
            Ok(connection) if is_single(&batch.statements) => {
                drop(connection);
                self.queue.ran_single(batch.kind);
                if let Some(QueuedStatement { statement, permit, reply, .. }) =
                    batch.statements.pop()
                {
                    // A caller that has gone gives the slot back with the answer.
                    let _ = reply.send(Answer::Single(statement, permit, Some(slot)));
                }
            }
            Ok(connection) => self.run_batch(batch, connection, slot).await,
        }
    }

    /// Runs a batch. If it takes long, the next one begins meanwhile, if there is a connection for it.
    async fn run_batch(&self, batch: Batch, connection: Connection, slot: InFlightSlot) {
        let slot = Mutex::new(Some(slot));
        let release_slot = || drop(slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut running = pin!(self.run_and_answer(batch, connection, release_slot));
        let _connection = loop {
            tokio::select! {
                biased;
                () = &mut running => return,
                () = sleep(PATIENCE) => {}
            }
            if let Some(connection) = self.executor.pool.try_stage() {
                break connection;
            }
        };
        release_slot();
        running.await;
    }

    /// Runs a batch, and releases its slot when it is answered. If the server refuses it for a row, runs its
    /// halves, and so on. If it is refused for a lock, each runs apart: one of them needs what somebody has locked.
    async fn run_and_answer(
        &self,
        mut batch: Batch,
        connection: Connection,
        release_slot: impl Fn(),
    ) {
        // The order of all batches of all processes, so that none of them waits for one that waits
        // for it.
        batch.statements.sort_by(|a, b| key(&a.statement).cmp(&key(&b.statement)));
        let Batch { kind, text, statements } = batch;
        let mut connection = Some(connection);
        let mut parts = vec![statements];
        while let Some(mut part) = parts.pop() {
            if is_single(&part) {
                part.into_iter().for_each(leave_single);
                continue;
            }
            let fetched = self.fetch(kind, &text, &part, connection.take()).await;
            if fetched.is_ok() && parts.is_empty() {
                release_slot();
            }
            match fetched.and_then(|rows| self.found(kind, &rows, &mut part)) {
                Ok(found) => {
                    part.into_iter().zip(found).for_each(|(one, found)| answer(one, found))
                }
                Err(error) if error.is_lock_timeout() => part.into_iter().for_each(leave_single),
                Err(error) if error.is_of_a_row() && part.len() > 1 => {
                    self.queue.failed(kind, part.len());
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
                Err(error) => fail(part, &error),
            }
        }
    }

    /// The rows of a batch, on `connection` or another one.
    async fn fetch(
        &self,
        kind: Kind,
        text: &Arc<str>,
        statements: &[QueuedStatement],
        connection: Option<Connection>,
    ) -> Result<Vec<PgRow>, Error> {
        let parameters = parameters(kind, statements);
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.executor.pool.connection().await?,
        };
        let rows = loop {
            let rows = connection.fetch_with(text, &parameters).await;
            if !connection.stale {
                break rows?;
            }
            connection = self.executor.pool.connection().await?;
        };
        let reader = RowReader::new(1, answered(kind));
        let bytes: usize = rows.iter().map(|row| reader.size(row)).sum();
        self.queue.answered(kind, bytes, statements.len());
        Ok(rows)
    }

    fn found(
        &self,
        kind: Kind,
        rows: &[PgRow],
        statements: &mut [QueuedStatement],
    ) -> Result<Vec<Found>, Error> {
        let target = self.executor.pool.target();
        found(kind, rows, statements).map_err(|error| from_driver(error, target))
    }
}

fn parameters(kind: Kind, statements: &[QueuedStatement]) -> Parameters<'_> {
    let statements: Vec<&Statement> = statements.iter().map(|queued| &*queued.statement).collect();
    Parameters::Arrays(arrays(kind, &statements))
}

fn found(
    kind: Kind,
    rows: &[PgRow],
    statements: &mut [QueuedStatement],
) -> Result<Vec<Found>, sqlx::Error> {
    let mut reader = RowReader::new(1, answered(kind));
    if matches!(kind, Kind::Create { .. }) {
        return created(rows, reader, statements);
    }
    let otherwise = || match kind {
        Kind::FindOrCreate { .. } => Found::Nothing,
        _ => Found::Rows(Vec::new()),
    };
    let mut found: Vec<Found> = statements.iter().map(|_| otherwise()).collect();
    for row in rows {
        let number = row.try_get::<i64, _>(0)?;
        let index = usize::try_from(number - 1).ok();
        if let Some(found) = index.and_then(|index| found.get_mut(index)) {
            *found = match row.try_get::<Option<&str>, _>(1)? {
                Some(_) => Found::Rows(vec![reader.read(row)?]),
                None => Found::Locked,
            };
        }
    }
    Ok(found)
}

/// New rows come in the order of the batch, without those that were not inserted.
fn created(
    rows: &[PgRow],
    mut reader: RowReader,
    statements: &mut [QueuedStatement],
) -> Result<Vec<Found>, sqlx::Error> {
    let all = rows.len() == statements.len();
    let mut found = Vec::with_capacity(statements.len());
    let mut read = |row| -> Result<(&str, Row), sqlx::Error> {
        Ok((PgRow::try_get(row, 0)?, reader.read(row)?))
    };
    let mut rows = rows.iter().map(&mut read);
    let mut next = rows.next().transpose()?;
    for queued in statements {
        let (Statement::Create(given) | Statement::CreateNew(given)) = &mut *queued.statement
        else {
            found.push(Found::Nothing);
            continue;
        };
        let is =
            |field: &Field, value: &str| matches!(field, Field::Set(Some(own)) if own == value);
        let is_own = |(id, row): &mut (&str, Row)| {
            all || is(&given.id, id) || is(&given.idempotency_key, &row.key.idempotency_key)
        };
        found.push(match next.take_if(is_own) {
            Some((_, mut row)) => {
                row.key.take_json(given);
                next = rows.next().transpose()?;
                Found::Rows(vec![row])
            }
            None => Found::Nothing,
        });
    }
    Ok(found)
}

/// Whether there is one statement only, which may as well run as a single one.
fn is_single(statements: &[QueuedStatement]) -> bool {
    statements.len() == 1
}

/// Answers a caller, after its permit is given back.
fn answer(queued: QueuedStatement, found: Found) {
    let QueuedStatement { statement, permit, reply, .. } = queued;
    // A caller that has gone needs no answer.
    let _ = match found {
        Found::Rows(rows) => {
            drop(permit);
            reply.send(Answer::Done(Ok(rows)))
        }
        Found::Locked => reply.send(Answer::Locked(statement, permit, Error::lock_timeout())),
        Found::Nothing => reply.send(Answer::Single(statement, permit, None)),
    };
}

fn leave_single(queued: QueuedStatement) {
    let QueuedStatement { statement, permit, reply, .. } = queued;
    let _ = reply.send(Answer::Single(statement, permit, None));
}

/// Rejects statements with their batch's error.
fn fail(statements: Vec<QueuedStatement>, error: &Error) {
    for QueuedStatement { statement, permit, reply, .. } in statements {
        drop(permit);
        let error = error.clone().of_statement(statement.key());
        let _ = reply.send(Answer::Done(Err(error)));
    }
}
