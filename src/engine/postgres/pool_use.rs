//! Counts the calls that use a pool, so that closing it can wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many calls use a pool.
#[derive(Default)]
pub struct Uses {
    count: AtomicUsize,
    one_ended: Notify,
}

/// A call's use of a pool, which ends when it is dropped.
pub struct PoolUse(Arc<Uses>);

impl Uses {
    /// Counts one more.
    pub fn begin(self: &Arc<Self>) -> PoolUse {
        self.count.fetch_add(1, Ordering::SeqCst);
        PoolUse(Arc::clone(self))
    }

    /// Waits until there is none.
    pub async fn until_none(&self) {
        loop {
            let mut ended = std::pin::pin!(self.one_ended.notified());
            ended.as_mut().enable();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for PoolUse {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.one_ended.notify_waiters();
    }
}
