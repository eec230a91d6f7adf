//! Who may use a lease now, and who may change it.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Keeps the calls of an attempt and the changes of its lease apart. A call writes the token of its own
/// write to the row; with a change beside it, it would not know the token that the change has stored.
/// Calls may run side by side, and wait for a change that is under way. A change waits for an earlier one,
/// but never for a call: calls may take long, and renew the lease themselves.
#[derive(Default)]
pub struct Arbiter {
    state: Mutex<State>,
    /// A change has ended.
    changed: Notify,
    /// A call wants to begin.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    calls: usize,
    is_changing: bool,
}

/// A call that uses the lease, until this is dropped.
pub struct LeaseUse<'a>(&'a Arbiter);

/// A change of the lease, until this is dropped.
pub struct ChangePermit<'a>(&'a Arbiter);

impl Arbiter {
    /// Begins a call, unless a change is under way. Either way, attempts to release the lease end.
    pub fn try_enter(&self) -> Option<LeaseUse<'_>> {
        self.wanted.notify_waiters();
        let mut state = self.state();
        if state.is_changing {
            return None;
        }
        state.calls += 1;
        Some(LeaseUse(self))
    }

    /// Begins a change once earlier ones have ended; `None` while more than `own_calls` calls are under way.
    pub async fn change(&self, own_calls: usize) -> Option<ChangePermit<'_>> {
        loop {
            self.change_ended().await;
            let mut state = self.state();
            if state.calls > own_calls {
                return None;
            }
            if !state.is_changing {
                state.is_changing = true;
                return Some(ChangePermit(self));
            }
        }
    }

    /// Begins a change, unless a call or another change is under way.
    pub fn try_change(&self) -> Option<ChangePermit<'_>> {
        let mut state = self.state();
        if state.calls > 0 || state.is_changing {
            return None;
        }
        state.is_changing = true;
        Some(ChangePermit(self))
    }

    /// Waits for the end of the change that is under way.
    pub async fn change_ended(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.state().is_changing {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when a call wants to begin after this was called.
    pub fn wanted(&self) -> impl Future<Output = ()> + '_ {
        self.wanted.notified()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LeaseUse<'_> {
    fn drop(&mut self) {
        self.0.state().calls -= 1;
    }
}

impl Drop for ChangePermit<'_> {
    fn drop(&mut self) {
        self.0.state().is_changing = false;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn polled<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn calls_run_side_by_side_and_keep_changes_away() {
        let arbiter = Arbiter::default();
        let one = arbiter.try_enter().unwrap();
        let other = arbiter.try_enter().unwrap();
        assert!(arbiter.try_change().is_none());
        drop(one);
        assert!(arbiter.try_change().is_none());
        assert!(matches!(polled(pin!(arbiter.change(0))), Poll::Ready(None)));
        drop(other);
        assert!(arbiter.try_change().is_some());
    }

    #[test]
    fn a_change_keeps_calls_and_other_changes_away() {
        let arbiter = Arbiter::default();
        let permit = arbiter.try_change().unwrap();
        assert!(arbiter.try_enter().is_none());
        assert!(arbiter.try_change().is_none());
        let mut next = pin!(arbiter.change(0));
        assert!(polled(next.as_mut()).is_pending());
        let mut ended = pin!(arbiter.change_ended());
        assert!(polled(ended.as_mut()).is_pending());
        drop(permit);
        assert!(polled(ended.as_mut()).is_ready());
        let permit = polled(next.as_mut());
        assert!(matches!(permit, Poll::Ready(Some(_))));
        assert!(arbiter.try_enter().is_none());
    }

    #[test]
    fn a_call_may_change_the_lease_that_it_alone_uses() {
        let arbiter = Arbiter::default();
        let _own = arbiter.try_enter().unwrap();
        let permit = polled(pin!(arbiter.change(1)));
        assert!(matches!(permit, Poll::Ready(Some(_))));
        drop(permit);
        let _other = arbiter.try_enter().unwrap();
        assert!(matches!(polled(pin!(arbiter.change(1))), Poll::Ready(None)));
    }

    #[test]
    fn a_call_that_wants_to_begin_is_noticed() {
        let arbiter = Arbiter::default();
        let mut wanted = pin!(arbiter.wanted());
        assert!(polled(wanted.as_mut()).is_pending());
        drop(arbiter.try_enter());
        assert!(polled(wanted.as_mut()).is_ready());
    }
}
