//! Work in a transaction of the engine's own, which is repeated where that may succeed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use crate::engine::error::Error;
use crate::engine::execution::pool_executor::PoolExecutor;
use crate::engine::execution::stage_scope::StageScope;
use crate::engine::execution::transaction::{ROOT, Transaction};
use crate::engine::key::{IdempotencyKey, StageResult};
use crate::engine::protocol::lease::Lease;
use crate::engine::protocol::outcome::Answer;
use crate::engine::protocol::stage::{self, Claimant};
use crate::engine::protocol::statement::NewRequest;
use crate::engine::sql::Isolation;

/// The first pause before a transaction is repeated; each further one is twice as long, and all of
/// them are jittered, so that those who clashed do not clash again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Runs work in a transaction of its own and commits it, or rolls it back when the work fails.
/// A serialization failure or a deadlock repeats it up to `max_retries` times.
///
/// # Errors
/// The last try's: the work's own, or the commit's.
pub async fn run<T, W, F>(
    executor: &PoolExecutor,
    isolation: Isolation,
    max_retries: usize,
    work: W,
) -> Result<T, Error>
where
    W: Fn(Arc<Transaction>) -> F,
    F: Future<Output = Result<T, Error>>,
{
    let begin = || Transaction::begin(&executor.pool, Arc::clone(&executor.sql), isolation);
    repeated(executor, max_retries, begin, work).await
}

/// The same for a stage, whose first statement and whose last are the engine's.
async fn run_as_stage<T, W, F>(
    executor: &PoolExecutor,
    max_retries: usize,
    work: W,
) -> Result<T, Error>
where
    W: Fn(StageScope, Arc<Transaction>) -> F,
    F: Future<Output = Result<T, Error>>,
{
    let isolation = Isolation::ReadCommitted;
    let begin = || Transaction::begin_later(&executor.pool, Arc::clone(&executor.sql), isolation);
    repeated(executor, max_retries, begin, |transaction| {
        let scope = transaction.enter(ROOT).map(StageScope);
        // Boxed, as what awaits it has room for it twice.
        let work = scope.map(|scope| Box::pin(work(scope, transaction)));
        async move { work?.await }
    })
    .await
}

async fn repeated<T, B, O, W, F>(
    executor: &PoolExecutor,
    max_retries: usize,
    begin: B,
    work: W,
) -> Result<T, Error>
where
    B: Fn() -> O,
    O: Future<Output = Result<Arc<Transaction>, Error>>,
    W: Fn(Arc<Transaction>) -> F,
    F: Future<Output = Result<T, Error>>,
{
    // Boxed, as each that awaits it would have room for it.
    let once = || Box::pin(async { try_once(begin().await, &work).await });
    let tries = || {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(SHORTEST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(max_retries)
            .with_jitter();
        once.retry(pauses).sleep(tokio::time::sleep).when(|failed: &Failed| failed.repeat)
    };
    // Not counted as a retry: each one closes a connection whose statements are of no more use.
    for _ in 0..=executor.pool.max_connections() {
        match tries().await {
            Err(Failed { stale: true, .. }) => {}
            result => return result.map_err(|failed| failed.error),
        }
    }
    tries().await.map_err(|failed| failed.error)
}

async fn try_once<T, W, F>(
    transaction: Result<Arc<Transaction>, Error>,
    work: &W,
) -> Result<T, Failed>
where
    W: Fn(Arc<Transaction>) -> F,
    F: Future<Output = Result<T, Error>>,
{
    let transaction = transaction.map_err(Failed::for_good)?;
    let result = match work(Arc::clone(&transaction)).await {
        Ok(result) => transaction.commit().await.map(|()| result),
        Err(error) => Err(error),
    };
    match result {
        Ok(result) => Ok(result),
        Err(error) => {
            // The first error is the one to report; a connection that is lost rolls back.
            let _ = transaction.roll_back().await;
            Err(Failed {
                repeat: error.is_serialization_failure(),
                stale: transaction.is_stale().await,
                error,
            })
        }
    }
}

/// Why one try failed, and whether another may succeed.
struct Failed {
    error: Error,
    repeat: bool,
    stale: bool,
}

impl Failed {
    fn for_good(error: Error) -> Self {
        Self { error, repeat: false, stale: false }
    }
}

/// Runs the first stage of a new request in a transaction of its own, which inserts the key, too.
///
/// # Errors
/// As [`stage::run_first`] and [`run`].
pub async fn run_first_stage<W, F, K>(
    executor: &PoolExecutor,
    new: &NewRequest,
    lease: &Arc<Lease>,
    max_retries: usize,
    work: W,
) -> Result<Answer, Error>
where
    W: Fn(Arc<Transaction>) -> K,
    K: FnOnce(IdempotencyKey) -> F,
    F: Future<Output = Result<StageResult, Error>>,
{
    let staged = run_as_stage(executor, max_retries, |scope, transaction| {
        let work = work(transaction);
        let (new, lease) = (new.clone(), Arc::clone(lease));
        async move {
            // An earlier try has come to nothing.
            lease.unbegun(false);
            stage::run_first(&scope, new, &lease, work).await
        }
    })
    .await;
    match &staged {
        Ok(_) => committed(lease),
        Err(error) => lease.unbegun(error.is_outcome_unknown()),
    }
    staged
}

/// Notes that what an attempt has written is committed.
fn committed(lease: &Lease) {
    lease.settled();
    if lease.is_finished() {
        lease.ended();
    }
}

/// Runs one stage of a key's request in a transaction of its own.
///
/// # Errors
/// As [`stage::run`] and [`run`].
pub async fn run_stage<W, F>(
    executor: &PoolExecutor,
    key: &str,
    claimant: &Claimant,
    max_retries: usize,
    work: W,
) -> Result<Answer, Error>
where
    W: Fn(Arc<Transaction>) -> F,
    F: Future<Output = Result<StageResult, Error>>,
{
    let lease = match claimant {
        Claimant::Anyone => None,
        Claimant::LeaseHolder(lease, _) => Some((lease, lease.known())),
    };
    let staged = run_as_stage(executor, max_retries, |scope, transaction| {
        let work = work(transaction);
        async move { stage::run(&scope, key, claimant, work).await }
    })
    .await;
    match (lease, &staged) {
        (Some((lease, _)), Ok(_)) => committed(lease),
        (Some((lease, before)), Err(_)) => lease.unsettled(&before),
        (None, _) => {}
    }
    staged
}
