//! The operations on keys, wherever they run.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{Either, PromiseRaw, within_runtime_if_available};
use napi_derive::napi;

use super::callback::{self, Work};
use super::flow::Flow;
use super::key::{Given, KeyAnswer, columns};
use super::lease::Lease;
use crate::engine::error::Error;
use crate::engine::group_commit::GroupCommit;
use crate::engine::selector::Selector;
use crate::engine::sql::Sql;
use crate::engine::stage::{Staged, Turn};
use crate::engine::statement::Request;
use crate::engine::transaction::Transaction;
use crate::engine::{operations, request, session, stage};

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
    Foreign(Arc<Sql>),
}

/// A promise of the answer, or, in a transaction that JavaScript holds, the flow that leads to it.
type Answer<'env> = napi::Result<Either<PromiseRaw<'env, KeyAnswer>, Flow>>;

type EngineSession = Box<dyn session::Session>;

impl Session {
    /// Operations that run at `place`.
    pub fn new(place: Place) -> Self {
        Self { place }
    }

    fn answer<'env, O, F, A>(&self, env: &'env Env, operation: O) -> Answer<'env>
    where
        O: FnOnce(EngineSession) -> F + Send + 'static,
        F: Future<Output = Result<A, Error>> + Send + 'static,
        A: Into<Staged>,
    {
        let operation = |session| async move { operation(session).await.map(A::into) };
        let session: Result<EngineSession, Error> = match &self.place {
            Place::Pool(pool) => Ok(Box::new(pool.clone())),
            Place::Transaction(transaction, scope) => enter(transaction, *scope),
            Place::Foreign(sql) => {
                let flow = Flow::new(Arc::clone(sql), |session| operation(Box::new(session)));
                return Ok(Either::B(flow));
            }
        };
        let mut answer: Answering = Box::pin(async move {
            let key = match session {
                Ok(session) => operation(session).await,
                Err(error) => Err(error),
            };
            KeyAnswer::from(key)
        });
        let begun = match self.place {
            Place::Pool(_) => begin(&mut answer),
            _ => Poll::Pending,
        };
        let promise = match begun {
            Poll::Ready(answer) => env.spawn_future(async move { Ok(answer) })?,
            Poll::Pending => env.spawn_future(async move { Ok(answer.await) })?,
        };
        Ok(Either::A(promise))
    }
}

/// An operation under way.
type Answering = Pin<Box<dyn Future<Output = KeyAnswer> + Send>>;

/// Begins an operation at the moment of the call, so that calls queue up in their order: the runtime
/// may begin its tasks in another one.
fn begin(answer: &mut Answering) -> Poll<KeyAnswer> {
    // The runtime polls it again at once.
    let mut context = Context::from_waker(Waker::noop());
    within_runtime_if_available(|| answer.as_mut().poll(&mut context))
}

/// Enters a transaction at the moment of the call, so that it waits for the call's end.
fn enter(transaction: &Weak<Transaction>, scope: usize) -> Result<EngineSession, Error> {
    let transaction = transaction.upgrade().ok_or_else(Error::transaction_ended)?;
    Ok(Box::new(transaction.enter(scope)?))
}

#[napi]
impl Session {
    /// Inserts a key.
    #[napi(catch_unwind)]
    pub fn create<'env>(&self, env: &'env Env, given: Vec<Given>) -> Answer<'env> {
        self.answer(
            env,
            |session| async move { operations::create(&*session, columns(given)?).await },
        )
    }

    /// Finds the key of a request or inserts a new one, with Medusa's semantics.
    #[napi(catch_unwind)]
    pub fn initialize_request<'env>(
        &self,
        env: &'env Env,
        header_key: Option<String>,
        request: GivenRequest,
    ) -> Answer<'env> {
        self.answer(env, |session| async move {
            operations::initialize_request(&*session, header_key, request.into()).await
        })
    }

    /// Begins the request of a key, takes it over, or finds its answer. Waits so many milliseconds for
    /// one in progress.
    #[napi(catch_unwind)]
    pub fn initialize<'env>(
        &self,
        env: &'env Env,
        lease: &Lease,
        header_key: Option<String>,
        request: GivenRequest,
        wait: u32,
    ) -> Answer<'env> {
        let lease = lease.shared();
        let wait = Duration::from_millis(wait.into());
        self.answer(env, move |session| async move {
            let key = request::client_key(header_key.as_deref())?;
            request::initialize(&*session, &lease, key, request.into(), wait).await
        })
    }

    /// Finds a key.
    #[napi(catch_unwind)]
    pub fn retrieve<'env>(&self, env: &'env Env, key: String) -> Answer<'env> {
        self.answer(env, |session| async move { operations::retrieve(&*session, key).await })
    }

    /// Finds the one key that a selector describes; `constraints` is the selector as its caller
    /// wrote it, `alternatives` what it means, both as JSON text.
    #[napi(catch_unwind)]
    pub fn select<'env>(
        &self,
        env: &'env Env,
        constraints: String,
        alternatives: String,
    ) -> Answer<'env> {
        self.answer(env, |session| async move {
            let selector = Selector::from_json(constraints, &alternatives)?;
            operations::select(&*session, selector).await
        })
    }

    /// Locks a key for so many milliseconds.
    #[napi(catch_unwind)]
    pub fn lock<'env>(
        &self,
        env: &'env Env,
        key: String,
        hold: u32,
        lease: Option<&Lease>,
    ) -> Answer<'env> {
        let hold = Duration::from_millis(hold.into());
        let lease = lease.map(Lease::shared);
        self.answer(env, move |session| async move {
            operations::lock(&*session, key, hold, lease.as_deref()).await
        })
    }

    /// Changes columns of a key.
    #[napi(catch_unwind)]
    pub fn update<'env>(
        &self,
        env: &'env Env,
        key: String,
        given: Vec<Given>,
        lease: Option<&Lease>,
    ) -> Answer<'env> {
        let lease = lease.map(Lease::shared);
        self.answer(env, |session| async move {
            operations::update(&*session, key, columns(given)?, lease.as_deref()).await
        })
    }

    /// Runs a stage of a key's request inside the transaction that the session is in.
    #[napi(catch_unwind)]
    pub fn work_stage<'env>(
        &self,
        env: &'env Env,
        key: String,
        work: Work,
        lease: Option<&Lease>,
        recovery_point: Option<String>,
    ) -> Answer<'env> {
        let Place::Transaction(transaction, _) = &self.place else {
            return Err(napi::Error::from_reason("a stage needs a transaction of the engine's"));
        };
        let transaction = transaction.clone();
        let turn = turn(lease, recovery_point);
        self.answer(env, move |session| async move {
            let transaction = transaction.upgrade().ok_or_else(Error::transaction_ended)?;
            stage::run(&*session, &key, &turn, callback::run(&work, &transaction)).await
        })
    }

    /// The flow of a stage in a transaction that JavaScript holds. It asks for the work when its time
    /// has come.
    #[napi(catch_unwind)]
    pub fn stage_flow(
        &self,
        key: String,
        lease: Option<&Lease>,
        recovery_point: Option<String>,
    ) -> napi::Result<Flow> {
        let Place::Foreign(sql) = &self.place else {
            return Err(napi::Error::from_reason("a flow needs a transaction of JavaScript's"));
        };
        let turn = turn(lease, recovery_point);
        Ok(Flow::new(Arc::clone(sql), |session| async move {
            let work = session.work();
            stage::run(&session, &key, &turn, work).await
        }))
    }

    /// The operations in a transaction that JavaScript holds.
    #[napi(factory, catch_unwind)]
    pub fn foreign(schema: Option<String>) -> Self {
        Self::new(Place::Foreign(Arc::new(Sql::new(schema.as_deref()))))
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
