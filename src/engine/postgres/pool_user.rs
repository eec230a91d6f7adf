//! Which services share a pool, and for how long it stays open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::engine::error::Error;
use crate::engine::postgres::pool::Pool;
use crate::engine::postgres::target::Target;
use crate::engine::postgres::timeouts::Timeouts;

/// What makes two services share a pool: the identity of their database, and its size.
type PoolKey = (String, PoolSize);

/// How many stages run at once on a pool, and how long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolSize {
    /// How many stages.
    pub max_connections: usize,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Whether somebody else waits for the answers.
    pub has_reactor: bool,
}

/// A pool stays until its last user leaves: services that are merely forgotten, as those of HTTP
/// requests are, do not end it, or each quiet moment would cost the next request new connections.
static POOLS: LazyLock<Mutex<HashMap<PoolKey, Arc<SharedPool>>>> = LazyLock::new(Mutex::default);

struct SharedPool {
    pool: Arc<Pool>,
    users: AtomicUsize,
}

/// A service's hold on the pool of its database.
pub struct PoolUser(Arc<SharedPool>);

impl PoolUser {
    /// Joins the users of the process's pool for this database. Services whose `identity` is the
    /// same mean the same database.
    ///
    /// # Errors
    /// Those of `target`.
    pub fn join(
        identity: &str,
        size: PoolSize,
        target: impl FnOnce() -> Result<Target, Error>,
    ) -> Result<Self, Error> {
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, shared| !shared.is_abandoned());
        let key = (identity.to_owned(), size);
        let shared = match pools.get(&key) {
            Some(shared) => Arc::clone(shared),
            None => {
                let pool = Arc::new(Pool::new(target()?, size.max_connections)?);
                let shared = Arc::new(SharedPool { pool, users: AtomicUsize::new(0) });
                pools.insert(key, Arc::clone(&shared));
                shared
            }
        };
        shared.users.fetch_add(1, Ordering::SeqCst);
        Ok(Self(shared))
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// Leaves; the last user closes the pool.
    ///
    /// # Errors
    /// As [`Pool::close`].
    pub async fn leave(self) -> Result<(), Error> {
        let shared = Arc::clone(&self.0);
        let last = {
            // Under the lock, so that nobody joins a pool that is about to close.
            let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self);
            let last = shared.users.load(Ordering::SeqCst) == 0;
            if last {
                pools.retain(|_, other| !Arc::ptr_eq(other, &shared));
            }
            last
        };
        if last { shared.pool.close().await } else { Ok(()) }
    }
}

impl Drop for PoolUser {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SharedPool {
    /// Whether nobody uses it, and nobody can again: what gave it its passwords was of a worker thread
    /// that has ended.
    fn is_abandoned(&self) -> bool {
        self.users.load(Ordering::SeqCst) == 0 && self.pool.target().has_ended()
    }
}
