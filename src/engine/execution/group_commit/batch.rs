//! One batch: its statement, and the answers for its callers.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Arguments as _;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};
use tokio::time::sleep;

use super::call::{Answer, Call, key};
use super::queue::{Batch, Flight};
use super::{Group, PATIENCE};
use crate::engine::error::Error;
use crate::engine::key::Field;
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::rows::RowReader;
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::batch::{Array, Kind, answered, arrays};

/// What a batch answers to one of its callers.
enum Found {
    Rows(Vec<Row>),
    /// Its key's row is locked.
    RowLocked,
    /// It is to be told by its own statement.
    Nothing,
}

impl Group {
    /// Runs a batch.
    pub(super) async fn fly(self: Arc<Self>, mut flight: Flight) {
        flight.begin();
        // What arrives while it waits for the connection goes along.
        let connection = self.session.pool.connection().await;
        let Some(mut batch) = self.queue.next_batch() else {
            return;
        };
        match connection {
            Err(error) => fail(batch.calls, &error),
            Ok(connection) if is_single(&batch.calls) => {
                drop(connection);
                self.queue.goes_alone(batch.kind);
                if let Some(Call { statement, turn, reply, room, .. }) = batch.calls.pop() {
                    drop(room);
                    // A caller that has gone gives the flight back with the answer.
                    let _ = reply.send(Answer::Alone(statement, turn, Some(flight)));
                }
            }
            Ok(connection) => self.keep_going(batch, connection, flight).await,
        }
    }

    /// Runs a batch. One that takes long gives the flight to the next, if there is a connection for it.
    async fn keep_going(&self, batch: Batch, connection: Connection, flight: Flight) {
        let flight = Mutex::new(Some(flight));
        let land = || drop(flight.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut running = pin!(self.run_batch(batch, connection, land));
        let _connection = loop {
            tokio::select! {
                biased;
                () = &mut running => return,
                () = sleep(PATIENCE) => {}
            }
            if let Some(connection) = self.connection_to_wait_on() {
                break connection;
            }
        };
        land();
        running.await;
    }

    /// Runs a batch, and calls `land` when its statement is answered. If the server refuses it, runs its
    /// halves, and so on.
    async fn run_batch(&self, mut batch: Batch, connection: Connection, land: impl Fn()) {
        // The order of all batches of all processes, so that none of them waits for one that waits
        // for it.
        batch.calls.sort_by(|a, b| key(&a.statement).cmp(&key(&b.statement)));
        for call in &mut batch.calls {
            call.room = None;
        }
        let Batch { kind, text, calls } = batch;
        let mut connection = Some(connection);
        let mut parts = vec![calls];
        while let Some(mut calls) = parts.pop() {
            if is_single(&calls) {
                calls.into_iter().for_each(alone);
                continue;
            }
            let taken = match connection.take() {
                Some(connection) => Ok(connection),
                None => self.session.pool.connection().await,
            };
            let connection = match taken {
                Ok(connection) => connection,
                Err(error) => {
                    fail(calls, &error);
                    continue;
                }
            };
            let fetched = self.fetch(kind, &text, &calls, connection).await;
            if let Ok(rows) = &fetched {
                let reader = RowReader::new(1, answered(kind));
                let bytes: usize = rows.iter().map(|row| reader.size(row)).sum();
                self.queue.answered(kind, bytes, calls.len());
            }
            if fetched.is_ok() && parts.is_empty() {
                land();
                // The next statement goes, and who waits for less is answered, before these many are.
                tokio::task::yield_now().await;
            }
            let found = fetched.and_then(|rows| self.found(kind, &rows, &mut calls));
            match found {
                Ok(found) => {
                    calls.into_iter().zip(found).for_each(|(call, found)| answer(call, found));
                }
                Err(Error::Database(_)) if calls.len() > 1 => {
                    self.queue.failed(kind, calls.len());
                    let second = calls.split_off(calls.len() / 2);
                    parts.extend([second, calls]);
                }
                Err(error @ Error::Database(_)) => {
                    if let Some(call) = calls.pop() {
                        let error = error.of_statement(call.statement.key());
                        let _ = call.reply.send(Answer::Done(Err(error)));
                    }
                }
                Err(error) => fail(calls, &error),
            }
        }
    }

    async fn fetch(
        &self,
        kind: Kind,
        text: &Arc<str>,
        calls: &[Call],
        mut connection: Connection,
    ) -> Result<Vec<PgRow>, Error> {
        let arguments = arguments(kind, calls)?;
        loop {
            let rows = connection.fetch_with(Arc::clone(text), arguments.clone()).await;
            if connection.stale {
                connection = self.session.pool.connection().await?;
                continue;
            }
            return rows;
        }
    }

    fn found(&self, kind: Kind, rows: &[PgRow], calls: &mut [Call]) -> Result<Vec<Found>, Error> {
        let target = self.session.pool.target();
        found(kind, rows, calls).map_err(|error| Error::from_sqlx(error, target))
    }
}

fn arguments(kind: Kind, calls: &[Call]) -> Result<PgArguments, Error> {
    let statements: Vec<&Statement> = calls.iter().map(|call| &*call.statement).collect();
    let mut arguments = PgArguments::default();
    for array in arrays(kind, &statements) {
        let added = match array {
            Array::Borrowed(values) => arguments.add(values),
            Array::Owned(values) => arguments.add(values),
        };
        added.map_err(|error| Error::InvalidData(error.to_string()))?;
    }
    Ok(arguments)
}

fn found(kind: Kind, rows: &[PgRow], calls: &mut [Call]) -> Result<Vec<Found>, sqlx::Error> {
    let mut reader = RowReader::new(1, answered(kind));
    if matches!(kind, Kind::Create { .. }) {
        return created(rows, reader, calls);
    }
    let otherwise = || match kind {
        Kind::FindOrCreate { .. } => Found::Nothing,
        _ => Found::Rows(Vec::new()),
    };
    let mut found: Vec<Found> = calls.iter().map(|_| otherwise()).collect();
    for row in rows {
        let number = row.try_get::<i64, _>(0)?;
        let index = usize::try_from(number - 1).ok();
        if let Some(found) = index.and_then(|index| found.get_mut(index)) {
            *found = match row.try_get::<Option<&str>, _>(1)? {
                Some(_) => Found::Rows(vec![reader.read(row)?]),
                None => Found::RowLocked,
            };
        }
    }
    Ok(found)
}

/// New rows come in the order of the batch, without those that were not inserted.
fn created(
    rows: &[PgRow],
    mut reader: RowReader,
    calls: &mut [Call],
) -> Result<Vec<Found>, sqlx::Error> {
    let all = rows.len() == calls.len();
    let mut found = Vec::with_capacity(calls.len());
    let mut read = |row| -> Result<(&str, Row), sqlx::Error> {
        Ok((PgRow::try_get(row, 0)?, reader.read(row)?))
    };
    let mut rows = rows.iter().map(&mut read);
    let mut next = rows.next().transpose()?;
    for call in calls {
        let (Statement::Create(given) | Statement::CreateNew(given)) = &mut *call.statement else {
            found.push(Found::Nothing);
            continue;
        };
        let is =
            |field: &Field, value: &str| matches!(field, Field::Set(Some(own)) if own == value);
        let is_own = |(id, row): &mut (&str, Row)| {
            all || is(&given.id, id) || is(&given.idempotency_key, &row.key.idempotency_key)
        };
        found.push(match next.take_if(is_own) {
            Some((id, mut row)) => {
                row.key.take_given(given);
                // A trigger of the user's may have given it another.
                if row.key.id != id {
                    id.clone_into(&mut row.key.id);
                }
                next = rows.next().transpose()?;
                Found::Rows(vec![row])
            }
            None => Found::Nothing,
        });
    }
    Ok(found)
}

/// Whether it is a call that goes best as it is.
fn is_single(calls: &[Call]) -> bool {
    matches!(calls, [call] if !call.skips)
}

/// Answers a call, after its turn has ended.
fn answer(call: Call, found: Found) {
    let Call { statement, turn, reply, .. } = call;
    // A caller that has gone needs no answer.
    let _ = match found {
        Found::Rows(rows) => {
            drop(turn);
            reply.send(Answer::Done(Ok(rows)))
        }
        Found::RowLocked => reply.send(Answer::RowLocked(statement, turn)),
        Found::Nothing => reply.send(Answer::Alone(statement, turn, None)),
    };
}

fn alone(call: Call) {
    let Call { statement, turn, reply, .. } = call;
    let _ = reply.send(Answer::Alone(statement, turn, None));
}

/// Rejects calls with what befell their batch.
fn fail(calls: Vec<Call>, error: &Error) {
    for Call { turn, reply, .. } in calls {
        drop(turn);
        let _ = reply.send(Answer::Done(Err(repeated(error))));
    }
}

fn repeated(error: &Error) -> Error {
    match error {
        Error::UnexpectedState { code, message } => {
            Error::UnexpectedState { code, message: message.clone() }
        }
        Error::InvalidArgument(message) => Error::InvalidArgument(message.clone()),
        Error::InvalidData(message) => Error::InvalidData(message.clone()),
        other => Error::Connection {
            code: other.code().unwrap_or("08006").to_owned(),
            message: other.to_string(),
        },
    }
}
