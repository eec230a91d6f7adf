//! The operations on keys, wherever they run.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use napi::bindgen_prelude::within_runtime_if_available;
use napi_derive::napi;

use super::answers::Answers;
use super::callback::{self, Work, WorkDone};
use super::flow::{FlowStep, Flows};
use super::key::{KeyAnswer, columns, without_given};
use super::lease::Lease;
use crate::engine::error::Error;
use crate::engine::group_commit::{GroupCommit, Hold};
use crate::engine::selector::Selector;
use crate::engine::sql::Sql;
use crate::engine::stage::{Staged, Turn};
use crate::engine::statement::{self, Request, Row, Token};
use crate::engine::transaction::Transaction;
use crate::engine::{operations, request, session, stage};

/// The operations on keys, on the pool or inside a transaction.
#[napi]
pub struct Session {
    place: Place,
    hold: Mutex<Option<Hold>>,
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

/// Nothing, as the answer goes to [`Answers`]; or, in a transaction that JavaScript holds, the first
/// step of the flow that leads to it.
type Begun = napi::Result<Option<FlowStep>>;

type EngineSession = Box<dyn session::Session>;

impl Session {
    /// Operations that run at `place`.
    pub fn new(place: Place) -> Self {
        Self { place, hold: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<O, F, A>(&self, answers: &Answers, call: u32, operation: O) -> Begun
    where
        O: FnOnce(EngineSession) -> F + Send + 'static,
        F: Future<Output = Result<A, Error>> + Send + 'static,
        A: Into<Staged> + Send + 'static,
    {
        let session: Result<EngineSession, Error> = match &self.place {
            Place::Pool(pool) => Ok(Box::new(pool.clone())),
            Place::Transaction(transaction, scope) => enter(transaction, *scope),
            Place::Foreign(flows) => {
                let flow = |session| async { operation(Box::new(session)).await.map(A::into) };
                return Ok(Some(flows.begin(call, flow)));
            }
        };
        answers.answer(call, async move {
            operation(session?).await.map(|answer| KeyAnswer::from(answer.into()))
        });
        Ok(None)
    }
}

/// Enters a transaction at the moment of the call, so that it waits for the call's end.
fn enter(transaction: &Weak<Transaction>, scope: usize) -> Result<EngineSession, Error> {
    let transaction = transaction.upgrade().ok_or_else(Error::transaction_ended)?;
    Ok(Box::new(transaction.enter(scope)?))
}

#[napi]
impl Session {
    /// Has the calls on the pool wait for those that are to come.
    #[napi(catch_unwind)]
    pub fn hold(&self) {
        if let Place::Pool(pool) = &self.place {
            *self.held() = Some(pool.hold());
        }
    }

    /// Has those calls go.
    #[napi(catch_unwind)]
    pub fn let_go(&self) {
        let hold = self.held().take();
        within_runtime_if_available(|| drop(hold));
    }

    /// Inserts a key, which is new if it was made for this.
    #[napi(catch_unwind)]
    pub fn create(
        &self,
        answers: &Answers,
        call: u32,
        is_new: bool,
        named: u32,
        texts: Vec<Option<String>>,
    ) -> Begun {
        self.answer(answers, call, move |session| async move {
            let key = operations::create(&*session, columns(named, texts)?, is_new).await?;
            Ok(without_given(key, named))
        })
    }

    /// Finds the key of a request or inserts a new one, with Medusa's semantics.
    #[napi(catch_unwind)]
    pub fn initialize_request(
        &self,
        answers: &Answers,
        call: u32,
        header_key: Option<String>,
        request: GivenRequest,
    ) -> Begun {
        self.answer(answers, call, |session| async move {
            operations::initialize_request(&*session, header_key, request.into()).await
        })
    }

    /// Begins the request of a key, takes it over, or finds its answer. Waits so many milliseconds for
    /// one in progress. `key` is as [`super::key::client_key`] reads it; one that is not given is made.
    #[napi(catch_unwind)]
    pub fn initialize(
        &self,
        answers: &Answers,
        call: u32,
        lease: &Lease,
        key: Option<String>,
        request: GivenRequest,
        wait: u32,
    ) -> Begun {
        let lease = lease.shared();
        let wait = Duration::from_millis(wait.into());
        self.answer(answers, call, move |session| async move {
            request::initialize(&*session, &lease, key, request.into(), wait).await
        })
    }

    /// Finds a key.
    #[napi(catch_unwind)]
    pub fn retrieve(&self, answers: &Answers, call: u32, key: String) -> Begun {
        self.answer(
            answers,
            call,
            |session| async move { operations::retrieve(&*session, key).await },
        )
    }

    /// Finds the one key that a selector describes; `constraints` is the selector as its caller
    /// wrote it, `alternatives` what it means, both as JSON text.
    #[napi(catch_unwind)]
    pub fn select(
        &self,
        answers: &Answers,
        call: u32,
        constraints: String,
        alternatives: String,
    ) -> Begun {
        self.answer(answers, call, |session| async move {
            let selector = Selector::from_json(constraints, &alternatives)?;
            operations::select(&*session, selector).await
        })
    }

    /// Locks a key for so many milliseconds.
    #[napi(catch_unwind)]
    pub fn lock(
        &self,
        answers: &Answers,
        call: u32,
        key: String,
        hold: u32,
        lease: Option<&Lease>,
    ) -> Begun {
        let hold = Duration::from_millis(hold.into());
        let lease = lease.map(Lease::shared);
        self.answer(answers, call, move |session| async move {
            operations::lock(&*session, key, hold, lease.as_deref()).await
        })
    }

    /// Changes columns of a key.
    #[napi(catch_unwind)]
    pub fn update(
        &self,
        answers: &Answers,
        call: u32,
        key: String,
        named: u32,
        texts: Vec<Option<String>>,
        lease: Option<&Lease>,
    ) -> Begun {
        let lease = lease.map(Lease::shared);
        self.answer(answers, call, move |session| async move {
            let columns = columns(named, texts)?;
            let key = operations::update(&*session, key, columns, lease.as_deref()).await?;
            Ok(without_given(key, named))
        })
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
    ) -> Begun {
        let Place::Transaction(transaction, _) = &self.place else {
            return Err(napi::Error::from_reason("a stage needs a transaction of the engine's"));
        };
        let transaction = transaction.clone();
        let turn = turn(lease, recovery_point);
        self.answer(answers, call, move |session| async move {
            let transaction = transaction.upgrade().ok_or_else(Error::transaction_ended)?;
            stage::run(&*session, &key, &turn, callback::run(&work, &transaction)).await
        })
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

/// What tells a request from others, JSON as text.
#[napi(object, object_to_js = false)]
pub struct GivenRequest {
    pub method: Option<String>,
    pub path: Option<String>,
    pub params: Option<String>,
    pub fingerprint: Option<String>,
}

impl From<GivenRequest> for Request {
    fn from(given: GivenRequest) -> Self {
        let GivenRequest { method, path, params, fingerprint } = given;
        Self { method, path, params, fingerprint }
    }
}
