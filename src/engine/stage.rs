//! Work stages: lock the row, run the work, record its outcome, repeat what may be repeated.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use super::error::Error;
use super::key::{IdempotencyKey, Outcome};
use super::pool::PoolSession;
use super::session::Session;
use super::sql::Isolation;
use super::statement::Statement;
use super::transaction::{ROOT, Transaction};

/// The first pause before a transaction is repeated; each further one is twice as long, and all of
/// them are jittered, so that those who clashed do not clash again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Runs one stage of a key's request in the transaction of `session`.
///
/// The key's row is locked first: an unknown key is refused before any work is done, and two stages
/// of one key never overlap. What the work did and the key's new state commit together.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Busy`] when another stage of the key runs for longer than
/// `lock_timeout`, and the work's own.
pub async fn run<W>(session: &dyn Session, key: &str, work: W) -> Result<IdempotencyKey, Error>
where
    W: Future<Output = Result<Outcome, Error>>,
{
    let locked = session.run(Statement::LockRow(key.to_owned())).await?;
    if locked.is_empty() {
        return Err(Error::NotFound(key.to_owned()));
    }
    let outcome = work.await?;
    let statement = Statement::Update { key: key.to_owned(), columns: outcome.into() };
    let row = session.run(statement).await?.into_iter().next();
    row.map(|row| row.key).ok_or_else(|| Error::NotFound(key.to_owned()))
}

/// Runs work in a transaction of its own and commits it, or rolls it back when the work fails.
/// A serialization failure or a deadlock repeats it up to `max_retries` times.
///
/// # Errors
/// The last try's: the work's own, or the commit's.
pub async fn in_transaction<T, W, F>(
    session: &PoolSession,
    isolation: Isolation,
    max_retries: usize,
    work: W,
) -> Result<T, Error>
where
    W: Fn(Arc<Transaction>) -> F,
    F: Future<Output = Result<T, Error>>,
{
    let once = || async {
        let sql = Arc::clone(&session.sql);
        let transaction = Transaction::begin(&session.pool, sql, isolation).await;
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
    };
    let tries = || {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(SHORTEST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(max_retries)
            .with_jitter();
        once.retry(pauses).sleep(tokio::time::sleep).when(|failed: &Failed| failed.repeat)
    };
    // Not counted as a retry: each one closes a connection whose statements are of no more use.
    for _ in 0..=session.pool.max_connections() {
        match tries().await {
            Err(Failed { stale: true, .. }) => {}
            result => return result.map_err(|failed| failed.error),
        }
    }
    tries().await.map_err(|failed| failed.error)
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

/// Runs one stage of a key's request in a transaction of its own.
///
/// # Errors
/// As [`run`] and [`in_transaction`].
pub async fn run_in_transaction<W, F>(
    session: &PoolSession,
    key: &str,
    max_retries: usize,
    work: W,
) -> Result<IdempotencyKey, Error>
where
    W: Fn(Arc<Transaction>) -> F,
    F: Future<Output = Result<Outcome, Error>>,
{
    in_transaction(session, Isolation::ReadCommitted, max_retries, |transaction| {
        let work = work(Arc::clone(&transaction));
        async move {
            let stage = transaction.enter(ROOT)?;
            run(&stage, key, work).await
        }
    })
    .await
}
