//! Who waits for what a pool's servers answer, where that is not the runtime on which the calls begin.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use tokio::runtime::Handle;

/// A future that belongs to no call.
pub type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Somebody else's event loop, which has the steps of calls run when something is to be read.
pub trait Reactor: Send + Sync {
    /// The runtime that knows the sockets, and whose driver the event loop turns.
    fn sockets(&self) -> &Handle;

    /// Runs a future, from now on.
    fn spawn(&self, future: Spawned);
}

/// Has a future open its sockets where the reactor looks, if there is one.
pub async fn open_in<F: Future>(
    reactor: Option<&dyn Reactor>,
    mut future: Pin<Box<F>>,
) -> F::Output {
    let Some(reactor) = reactor else { return future.await };
    poll_fn(|context| {
        let _entered = reactor.sockets().enter();
        future.as_mut().poll(context)
    })
    .await
}
