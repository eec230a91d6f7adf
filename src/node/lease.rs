//! The lease of a key, as one flow of its request holds it.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;

use super::answers::Answers;
use super::service::Service;
use crate::engine::execution::pool_session::PoolSession;
use crate::engine::protocol::lease::{self, Beginning};

/// What one flow of a request knows of its key's lease, for the calls it makes.
#[napi]
pub struct Lease {
    lease: Arc<lease::Lease>,
    session: PoolSession,
}

impl Lease {
    /// The engine's half.
    pub fn shared(&self) -> Arc<lease::Lease> {
        Arc::clone(&self.lease)
    }
}

#[napi]
impl Lease {
    /// A flow that knows nothing of its key yet. A lease holds for so many milliseconds.
    #[napi(constructor, catch_unwind)]
    pub fn new(service: &Service, duration: u32) -> Self {
        let lease = lease::Lease::new(Duration::from_millis(duration.into()));
        Self { lease: Arc::new(lease), session: service.session.clone() }
    }

    /// Whether the flow has had the lease and does not know that it has ended.
    #[napi(getter, catch_unwind)]
    pub fn is_held(&self) -> bool {
        self.lease.is_held()
    }

    /// Renews the lease, on a connection of the pool.
    #[napi(catch_unwind)]
    pub fn renew(&self, answers: &Answers, call: u32) {
        let (session, lease) = (self.session.clone(), self.shared());
        answers.answer(call, async move { lease::renew(&session, &lease).await });
    }

    /// Ends the lease, on a connection of the pool; tries again for a while if the row is locked.
    #[napi(catch_unwind)]
    pub fn release(&self, answers: &Answers, call: u32) {
        let (session, lease) = (self.session.clone(), self.shared());
        answers.answer(call, async move { lease::release(&session, &lease).await });
    }

    /// Has the lease run out now, on a connection of the pool.
    #[napi(catch_unwind)]
    pub fn expire(&self, answers: &Answers, call: u32) {
        let (session, lease) = (self.session.clone(), self.shared());
        answers.answer(call, async move { lease::expire(&session, &lease).await });
    }

    /// How the flow's request began; nothing, if the flow has not begun it.
    #[napi(getter, catch_unwind, ts_return_type = "'new' | 'released' | 'interrupted' | undefined")]
    pub fn beginning(&self) -> Option<&'static str> {
        self.lease.beginning().map(|beginning| match beginning {
            Beginning::New => "new",
            Beginning::Released => "released",
            Beginning::Interrupted => "interrupted",
        })
    }

    /// Makes a release that is under way come to its end.
    #[napi(catch_unwind)]
    pub fn interrupt(&self) {
        self.lease.interrupt();
    }
}
