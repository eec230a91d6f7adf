//! The scopes of a transaction: which take calls, and how many calls are under way in each.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::engine::error::Error;

/// The scope of a transaction that is the transaction itself.
pub const ROOT: usize = 0;

/// The scopes of a transaction, by their numbers.
pub struct Scopes {
    scopes: Mutex<Vec<Scope>>,
    use_ended: Notify,
}

struct Scope {
    state: State,
    /// Calls under way.
    uses: usize,
    /// A savepoint is a call under way in the scope that it was opened in.
    parent: Option<usize>,
}

/// Whether a scope takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Open,
    /// It waits for the calls under way, and takes no new ones.
    Ending,
    /// It has ended, and its effects are kept.
    Committed,
    /// It has ended, and its effects are undone.
    RolledBack,
}

impl Scopes {
    /// Those of a transaction that has just begun.
    pub fn new() -> Self {
        Self { scopes: Mutex::new(vec![Scope::open(None)]), use_ended: Notify::new() }
    }

    /// Begins a call in a scope.
    ///
    /// # Errors
    /// [`Error::TransactionEnded`] when the scope has ended.
    pub fn begin_use(&self, scope: usize) -> Result<(), Error> {
        match self.scopes().get_mut(scope) {
            Some(scope) if scope.state == State::Open => {
                scope.uses += 1;
                Ok(())
            }
            _ => Err(Error::TransactionEnded),
        }
    }

    /// Ends a call in a scope.
    pub fn end_use(&self, scope: usize) {
        if let Some(scope) = self.scopes().get_mut(scope) {
            scope.uses -= 1;
        }
        self.use_ended.notify_waiters();
    }

    /// The state of a scope.
    pub fn state(&self, scope: usize) -> State {
        self.scopes().get(scope).map_or(State::RolledBack, |scope| scope.state)
    }

    /// Changes the state of a scope.
    pub fn set_state(&self, scope: usize, state: State) {
        if let Some(scope) = self.scopes().get_mut(scope) {
            scope.state = state;
        }
    }

    /// Ends all scopes.
    pub fn roll_back(&self) {
        for scope in self.scopes().iter_mut() {
            scope.state = State::RolledBack;
        }
        self.use_ended.notify_waiters();
    }

    /// Has a scope take no more calls, and waits for those under way, but for so many of the caller's own.
    ///
    /// # Errors
    /// [`Error::RolledBack`] when it has ended before, [`Error::TransactionEnded`] when it is rolled
    /// back meanwhile.
    pub async fn end(&self, scope: usize, own: usize) -> Result<(), Error> {
        if self.state(scope) != State::Open {
            return Err(Error::RolledBack);
        }
        self.set_state(scope, State::Ending);
        loop {
            let mut ended = pin!(self.use_ended.notified());
            ended.as_mut().enable();
            match self.scopes().get(scope) {
                Some(scope) if scope.state == State::RolledBack => {
                    return Err(Error::TransactionEnded);
                }
                Some(scope) if scope.uses > own => {}
                _ => return Ok(()),
            }
            ended.await;
        }
    }

    /// The number of the scope that is opened next.
    pub fn next(&self) -> usize {
        self.scopes().len()
    }

    /// Opens the scope of a savepoint.
    ///
    /// # Errors
    /// [`Error::TransactionEnded`] when the scope that it lies in was rolled back.
    pub fn open(&self, parent: usize) -> Result<(), Error> {
        let mut scopes = self.scopes();
        match scopes.get_mut(parent) {
            Some(scope) if scope.state != State::RolledBack => scope.uses += 1,
            _ => return Err(Error::TransactionEnded),
        }
        scopes.push(Scope::open(Some(parent)));
        Ok(())
    }

    /// Closes the scope of a savepoint.
    pub fn close(&self, scope: usize, state: State) {
        self.set_state(scope, state);
        let parent = self.scopes().get(scope).and_then(|scope| scope.parent);
        if let Some(parent) = parent {
            self.end_use(parent);
        }
    }

    /// Whether a savepoint that was opened after this one is still open.
    pub fn has_open_after(&self, scope: usize) -> bool {
        let scopes = self.scopes();
        let mut later = scopes.iter().skip(scope + 1);
        later.any(|scope| matches!(scope.state, State::Open | State::Ending))
    }

    fn scopes(&self) -> MutexGuard<'_, Vec<Scope>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    fn open(parent: Option<usize>) -> Self {
        Self { state: State::Open, uses: 0, parent }
    }
}
