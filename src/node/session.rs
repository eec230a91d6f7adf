//! The operations on keys, wherever they run.

use std::sync::{Arc, Weak};

use napi::bindgen_prelude::ClassInstance;
use napi_derive::napi;
use serde::Deserialize;

use super::answers::Answers;
use super::callback::{self, Work, WorkDone};
use super::flow::{FlowStep, Flows};
use super::key::{KeyRow, StageAnswer};
use super::lease::Lease;
use super::operation::Operation;
use crate::engine::error::Error;
use crate::engine::execution::group_commit::GroupCommit;
use crate::engine::execution::transaction::Transaction;
use crate::engine::protocol::stage::{Staged, Turn};
use crate::engine::protocol::statement::{self, Row, Token};
use crate::engine::protocol::{session, stage};
use crate::engine::sql::Sql;

/// The operations on keys, on the pool or inside a transaction.
#[napi]
pub struct Session {
    place: Place,
}

/// Where the operations run.
pub enum Place {
    /// On the connections of the pool, those of concurrent callers together.
    Pool(GroupCommit),
    /// In a scope of a transaction. The stage owns it: a handle that JavaScript keeps for longer
    /// must not keep the transaction open.
    Transaction(Weak<Transaction>, usize),
    /// In a transaction that JavaScript holds, which runs what the engine asks for.
    Foreign(Flows),
}

type EngineSession = Box<dyn session::Session>;

impl Session {
    /// Operations that run at `place`.
    pub fn new(place: Place) -> Self {
        Self { place }
    }

    /// Where an operation runs that begins now: a transaction waits for its end.
    fn enter(&self) -> Result<EngineSession, Error> {
        match &self.place {
            Place::Pool(pool) => Ok(Box::new(pool.clone())),
            Place::Transaction(transaction, scope) => {
                let transaction = transaction.upgrade().ok_or_else(Error::transaction_ended)?;
                Ok(Box::new(transaction.enter(*scope)?))
            }
            Place::Foreign(_) => Err(Error::transaction_ended()),
        }
    }
}

#[napi]
impl Session {
    /// Begins operations in their order; those on the pool share statements. `calls` is a JSON list of
    /// them, each a list: the call's number, the operation, which of the leases is its flow's, and which
    /// of the long texts are its own.
    #[napi(catch_unwind)]
    pub fn begin(
        &self,
        answers: &Answers,
        calls: String,
        leases: Vec<ClassInstance<'_, Lease>>,
        mut long: Vec<Vec<Option<String>>>,
    ) -> napi::Result<()> {
        let calls: Vec<(u32, Operation, Option<usize>, Option<usize>)> = read(&calls)?;
        let hold = match &self.place {
            Place::Pool(pool) if calls.len() > 1 => Some(pool.begin_submission()),
            _ => None,
        };
        for (call, mut operation, lease, place) in calls {
            if let Some(texts) = place.and_then(|place| long.get_mut(place)) {
                operation.take_long(texts);
            }
            let session = self.enter();
            let lease = lease.and_then(|index| leases.get(index)).map(|lease| lease.shared());
            answers.answer(call, async move {
                operation.run(&*session?, lease.as_deref()).await.map(KeyRow)
            });
        }
        answers.within(|| drop(hold));
        Ok(())
    }

    /// Begins an operation in a transaction that JavaScript holds.
    #[napi(catch_unwind)]
    pub fn begin_flow(
        &self,
        flow: u32,
        operation: String,
        lease: Option<&Lease>,
        long: Option<Vec<Option<String>>>,
    ) -> napi::Result<FlowStep> {
        let mut operation: Operation = read(&operation)?;
        operation.take_long(&mut long.unwrap_or_default());
        let lease = lease.map(Lease::shared);
        Ok(self.flows()?.begin(flow, |session| async move {
            operation.run(&session, lease.as_deref()).await.map(Staged::from)
        }))
    }

    /// Runs a stage of a key's request inside the transaction that the session is in.
    #[napi(catch_unwind)]
    pub fn work_stage(
        &self,
        answers: &Answers,
        call: u32,
        key: String,
        work: Work,
        lease: Option<&Lease>,
        recovery_point: Option<String>,
    ) -> napi::Result<()> {
        let Place::Transaction(transaction, _) = &self.place else {
            return Err(napi::Error::from_reason("a stage needs a transaction of the engine's"));
        };
        let transaction = transaction.clone();
        let turn = turn(lease, recovery_point);
        let session = self.enter();
        let environment = answers.environment();
        answers.answer(call, async move {
            let session = session?;
            let transaction = transaction.upgrade().ok_or_else(Error::transaction_ended)?;
            let work = callback::run(&work, &transaction, environment);
            stage::run(&*session, &key, &turn, work).await.map(StageAnswer::from)
        });
        Ok(())
    }

    /// Begins a stage in a transaction that JavaScript holds. Its flow asks for the work when its time
    /// has come.
    #[napi(catch_unwind)]
    pub fn begin_stage(
        &self,
        flow: u32,
        key: String,
        lease: Option<&Lease>,
        recovery_point: Option<String>,
    ) -> napi::Result<FlowStep> {
        let turn = turn(lease, recovery_point);
        Ok(self.flows()?.begin(flow, |session| async move {
            let work = session.work();
            stage::run(&session, &key, &turn, work).await
        }))
    }

    /// Has a flow go on with the rows of its query: how many there are, and what the engine decides by
    /// of the first. The key's other columns stay in JavaScript, which has them already.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments)] // an object costs as much as the rest of the call
    pub fn with_rows(
        &self,
        flow: u32,
        count: u32,
        recovery_point: Option<String>,
        place: Option<String>,
        token: Option<String>,
        live: Option<bool>,
        key: Option<String>,
        won: Option<bool>,
        same: Option<bool>,
    ) -> napi::Result<FlowStep> {
        let rows = match (recovery_point, place, token) {
            _ if count == 0 => Vec::new(),
            (Some(recovery_point), Some(place), Some(token)) => {
                let live = live.unwrap_or(false);
                let mut row =
                    Row::claimed(recovery_point, statement::Place(place), Token(token), live);
                row.key.idempotency_key = key.unwrap_or_default();
                row.won = won.unwrap_or(true);
                row.same = same.unwrap_or(true);
                vec![row; count as usize]
            }
            _ => return Err(napi::Error::from_reason("a column of an idempotency key is missing")),
        };
        Ok(self.flows()?.go_on(flow, |flow| flow.answer_rows(Ok(rows))))
    }

    /// Has a flow go on after its query has failed. What it failed with stays in JavaScript.
    #[napi(catch_unwind)]
    pub fn with_failed_query(&self, flow: u32, code: Option<String>) -> napi::Result<FlowStep> {
        Ok(self.flows()?.go_on(flow, |flow| flow.answer_rows(Err(Error::Work { code }))))
    }

    /// Has a flow go on after its work has ended.
    #[napi(catch_unwind)]
    pub fn with_work(
        &self,
        flow: u32,
        failed: bool,
        code: Option<String>,
        recovery_point: Option<String>,
        response_code: Option<String>,
        response_body: Option<String>,
    ) -> napi::Result<FlowStep> {
        let done = WorkDone { failed, code, recovery_point, response_code, response_body };
        Ok(self.flows()?.go_on(flow, |flow| flow.answer_work(done.into())))
    }

    /// Gives a flow up that will not go on.
    #[napi(catch_unwind)]
    pub fn give_up(&self, flow: u32) -> napi::Result<()> {
        self.flows()?.give_up(flow);
        Ok(())
    }

    fn flows(&self) -> napi::Result<&Flows> {
        match &self.place {
            Place::Foreign(flows) => Ok(flows),
            _ => Err(napi::Error::from_reason("a flow needs a transaction of JavaScript's")),
        }
    }

    /// The operations in a transaction that JavaScript holds.
    #[napi(factory, catch_unwind)]
    pub fn foreign(schema: Option<String>) -> Self {
        Self::new(Place::Foreign(Flows::new(Arc::new(Sql::new(schema.as_deref())))))
    }
}

/// Whose turn a stage is: the flow's with a lease, or else anybody's.
pub fn turn(lease: Option<&Lease>, recovery_point: Option<String>) -> Turn {
    match lease {
        Some(lease) => Turn::Holder(lease.shared(), recovery_point),
        None => Turn::Anybody,
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> napi::Result<T> {
    serde_json::from_str(json).map_err(|error| napi::Error::from_reason(error.to_string()))
}
