//! The native half of `IdempotencyKeyService`: its pool, and the transactions it opens itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::ClassInstance;
use napi_derive::napi;

use super::answers::Answers;
use super::calls::{NewlyAsked, claimant, read, read_calls};
use super::connection::{ConnectionParts, TimeoutParts};
use super::event_loop::EventLoop;
use super::key::KeyRow;
use super::lease::Lease;
use crate::engine::error::Error;
use crate::engine::execution::group_commit::{GroupCommit, Limits};
use crate::engine::execution::in_transaction;
use crate::engine::execution::pool_executor::PoolExecutor;
use crate::engine::execution::transaction::Transaction;
use crate::engine::key::IdempotencyKey;
use crate::engine::postgres::pool_user::{PoolSize, PoolUser};
use crate::engine::postgres::reactor::Reactor;
use crate::engine::postgres::timeouts::Timeouts;
use crate::engine::protocol::operations;
use crate::engine::sql::{Isolation, Sql};

/// What a service is opened with.
#[napi(object, object_to_js = false)]
pub struct Settings {
    /// What tells the database from others.
    pub identity: String,
    /// How it is reached.
    pub connection: ConnectionParts,
    pub schema: Option<String>,
    pub max_connections: u32,
    pub max_retries: u32,
    pub timeouts: TimeoutParts,
    /// How many calls share one statement at most, and how many bytes it sends, and
    pub max_batch_size: Option<u32>,
    pub max_batch_bytes: Option<u32>,
    /// how many wait for theirs.
    pub max_queued: Option<u32>,
}

/// The service's use of its database.
#[napi]
pub struct Service {
    user: Mutex<Option<PoolUser>>,
    executor: PoolExecutor,
    group: GroupCommit,
    max_retries: usize,
}

#[napi]
impl Service {
    /// Joins the process's pool for the database.
    #[napi(constructor, catch_unwind)]
    pub fn new(settings: Settings) -> napi::Result<Self> {
        let max_connections = settings.max_connections as usize;
        let limits = limits(&settings);
        let connection = settings.connection;
        let timeouts = Timeouts::from(settings.timeouts);
        let reactor = EventLoop::here().map(|it| -> &'static dyn Reactor { it });
        let size = PoolSize { max_connections, timeouts, has_reactor: reactor.is_some() };
        let target = || connection.target(timeouts, reactor);
        let user = PoolUser::join(&settings.identity, size, target).map_err(refused)?;
        let executor = PoolExecutor {
            pool: Arc::clone(user.pool()),
            sql: Arc::new(Sql::new(settings.schema.as_deref())),
        };
        Ok(Self {
            group: GroupCommit::join(executor.clone(), limits),
            executor,
            user: Mutex::new(Some(user)),
            max_retries: settings.max_retries as usize,
        })
    }

    /// Begins operations on keys in their order, on the connections of the pool: see [`super::calls`]. Those
    /// that begin together share statements.
    #[napi(catch_unwind)]
    pub fn begin(
        &self,
        answers: &Answers,
        calls: String,
        leases: Vec<ClassInstance<'_, Lease>>,
        long: Vec<Vec<Option<String>>>,
    ) -> napi::Result<()> {
        let calls = read_calls(&calls, &leases, long)?;
        let submission = (calls.len() > 1).then(|| self.group.begin_submission());
        answers.run_after(|| {
            for call in calls {
                call.begin(answers, Ok(self.group.clone()));
            }
            drop(submission);
        });
        Ok(())
    }

    /// The lease of an attempt that knows nothing of its key yet. It holds for so many milliseconds.
    #[napi(catch_unwind)]
    pub fn lease(&self, duration: u32) -> Lease {
        Lease::new(self.executor.clone(), Duration::from_millis(duration.into()))
    }

    /// Runs a stage of a key's request in a transaction of its own.
    #[napi(catch_unwind)]
    pub fn work_stage(
        &self,
        answers: &Answers,
        call: u32,
        key: String,
        lease: Option<&Lease>,
        recovery_point: Option<String>,
    ) {
        let executor = self.executor.clone();
        let max_retries = self.max_retries;
        let claimant = claimant(lease, recovery_point);
        let work = answers.work(call);
        answers.answer_key(call, async move {
            let work = |transaction: Arc<Transaction>| {
                let (work, transaction) = (work.clone(), Arc::downgrade(&transaction));
                async move { work.run(transaction, None).await }
            };
            in_transaction::run_stage(&executor, &key, &claimant, max_retries, work).await
        });
    }

    /// Runs the first stage of a new request in a transaction of its own, which inserts the key, too. `request` is
    /// that of [`NewlyAsked`] as JSON.
    #[napi(catch_unwind)]
    pub fn first_stage(
        &self,
        answers: &Answers,
        call: u32,
        request: String,
        lease: &Lease,
    ) -> napi::Result<()> {
        let executor = self.executor.clone();
        let max_retries = self.max_retries;
        let lease = lease.shared();
        let new = read::<NewlyAsked>(&request)?.with_lease(&lease);
        let work = answers.work(call);
        answers.answer_key(call, async move {
            let work = |transaction: Arc<Transaction>| {
                let (work, transaction) = (work.clone(), Arc::downgrade(&transaction));
                move |key: IdempotencyKey| async move { work.run(transaction, Some(key)).await }
            };
            in_transaction::run_first_stage(&executor, &new, &lease, max_retries, work).await
        });
        Ok(())
    }

    /// Runs work in a transaction of its own, repeated once after a serialization failure if
    /// `repeat` says so.
    #[napi(catch_unwind)]
    pub fn atomic_phase(
        &self,
        answers: &Answers,
        call: u32,
        isolation: Option<String>,
        repeat: bool,
    ) {
        let executor = self.executor.clone();
        let work = answers.work(call);
        answers.answer(call, async move {
            let isolation =
                isolation.as_deref().unwrap_or("READ COMMITTED").parse::<Isolation>()?;
            in_transaction::run(&executor, isolation, repeat.into(), |transaction| {
                let (work, transaction) = (work.clone(), Arc::downgrade(&transaction));
                async move { work.run(transaction, None).await.map(drop) }
            })
            .await
        });
    }

    /// Whether the table has the column for fingerprints, and the one for headers.
    #[napi(catch_unwind)]
    pub fn optional_columns(&self, answers: &Answers, call: u32) {
        let executor = self.executor.clone();
        answers.answer(call, async move {
            let columns = executor.optional_columns().await?;
            Ok((columns.fingerprint, columns.headers))
        });
    }

    /// Finds unfinished keys that nobody works on, or only those whose lease ran out; durations in milliseconds.
    #[napi(catch_unwind)]
    pub fn stalled(
        &self,
        answers: &Answers,
        call: u32,
        interrupted: bool,
        older_than: f64,
        lease: u32,
        limit: u32,
    ) {
        let executor = self.executor.clone();
        let lease = Duration::from_millis(lease.into());
        answers.answer(call, async move {
            let older_than = milliseconds(older_than);
            let keys =
                operations::stalled(&executor, interrupted, older_than, lease, limit).await?;
            Ok(keys.into_iter().map(KeyRow).collect::<Vec<_>>())
        });
    }

    /// Whether this service or another one uses the pool.
    #[napi(getter, catch_unwind)]
    pub fn is_pool_open(&self) -> bool {
        self.executor.pool.is_open()
    }

    /// Deletes finished keys that are older than so many milliseconds; answers how many.
    #[napi(catch_unwind)]
    pub fn prune(&self, answers: &Answers, call: u32, older_than: f64, batch: u32) {
        let executor = self.executor.clone();
        answers.answer(call, async move { executor.prune(milliseconds(older_than), batch).await });
    }

    /// Creates the table where it is missing.
    #[napi(catch_unwind)]
    pub fn migrate(&self, answers: &Answers, call: u32) {
        let executor = self.executor.clone();
        answers.answer(call, async move { executor.migrate().await });
    }

    /// Leaves the pool; the last user ends it.
    #[napi(catch_unwind)]
    pub fn close(&self, answers: &Answers, call: u32) {
        let user = self.user.lock().unwrap_or_else(PoisonError::into_inner).take();
        answers.answer(call, async move {
            match user {
                Some(user) => user.leave().await,
                None => Ok(()),
            }
        });
    }
}

fn limits(settings: &Settings) -> Limits {
    let given = |limit: Option<u32>, default| limit.map_or(default, |limit| limit.max(1) as usize);
    let default = Limits::default();
    Limits {
        max_batch_rows: given(settings.max_batch_size, default.max_batch_rows),
        max_batch_bytes: given(settings.max_batch_bytes, default.max_batch_bytes),
        max_queued: given(settings.max_queued, default.max_queued),
        ..default
    }
}

/// JavaScript's milliseconds; `lib/` has checked that they are a duration.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn milliseconds(number: f64) -> Duration {
    Duration::from_millis(number as u64)
}

fn refused(error: Error) -> napi::Error {
    napi::Error::new(napi::Status::InvalidArg, error.to_string())
}
