//! The lease of a key, as one attempt at its request has it.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;

use super::answers::Answers;
use crate::engine::execution::pool_executor::PoolExecutor;
use crate::engine::protocol::lease;

/// What one attempt at a request knows of its key's lease, for the calls that it makes. Which of them use the
/// lease, and when it may be renewed or released, the engine decides.
#[napi]
pub struct Lease {
    lease: Arc<lease::Lease>,
    executor: PoolExecutor,
}

impl Lease {
    /// Of an attempt that knows nothing of its key yet. It is renewed and released through `executor`.
    pub fn new(executor: PoolExecutor, duration: Duration) -> Self {
        Self { lease: Arc::new(lease::Lease::new(duration)), executor }
    }

    /// The engine's half.
    pub fn shared(&self) -> Arc<lease::Lease> {
        Arc::clone(&self.lease)
    }
}

#[napi]
impl Lease {
    /// Whether the attempt has had the lease and does not know that it has ended.
    #[napi(getter, catch_unwind)]
    pub fn is_held(&self) -> bool {
        self.lease.is_held()
    }

    /// Renews the lease, on a connection of the pool, unless a call uses it.
    #[napi(catch_unwind)]
    pub fn renew(&self, answers: &Answers, call: u32) {
        let (executor, lease) = (self.executor.clone(), self.shared());
        answers.answer(call, async move { lease::renew(&executor, &lease).await });
    }

    /// Ends the lease, on a connection of the pool; tries again for a while if the row is locked.
    #[napi(catch_unwind)]
    pub fn release(&self, answers: &Answers, call: u32) {
        let (executor, lease) = (self.executor.clone(), self.shared());
        answers.answer(call, async move { lease::release(&executor, &lease).await });
    }

    /// Has the lease run out now, on a connection of the pool.
    #[napi(catch_unwind)]
    pub fn expire(&self, answers: &Answers, call: u32) {
        let (executor, lease) = (self.executor.clone(), self.shared());
        answers.answer(call, async move { lease::expire(&executor, &lease).await });
    }

    /// Waits for the end of the renewal or release that is under way.
    #[napi(catch_unwind)]
    pub fn change_ended(&self, answers: &Answers, call: u32) {
        let lease = self.shared();
        answers.answer(call, async move {
            lease.change_ended().await;
            Ok(())
        });
    }
}
