//! Many callers' single statements in one: group commit.
//!
//! While a statement is under way, those that arrive queue up; when it returns, those of one kind go
//! in the next batch. So a lone caller waits for nobody, and a thousand share one round trip and one
//! commit. Statements about one key keep their order.
//!
//! What one caller sends never fails another: a batch that the server refuses for a row is halved until the
//! statement that it refuses is alone, which then runs as a single one. What a batch needs that somebody has locked
//! holds up nobody else: its statements run apart, and those that are refused again wait without a connection. What
//! concerns all, such as a full disk, is told to all at once. A batch whose connection was lost is not repeated:
//! whether it was committed is unknown.

mod access_mode;
mod batch;
mod guards;
mod key_queue;
mod kind_queue;
mod limits;
mod queue;
mod queued_statement;
mod single;
mod state;
#[cfg(test)]
mod test_queue;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use self::guards::InFlightSlot;
pub use self::guards::SubmissionGuard;
pub use self::limits::Limits;
use self::queue::Queue;
use crate::engine::execution::pool_executor::PoolExecutor;
use crate::engine::postgres::pool::Pool;
use crate::engine::protocol::executor::{Executor, Running};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::batch::{self as batch_sql, Kind};

/// How long a statement may keep the next batch from beginning.
const PATIENCE: Duration = Duration::from_millis(25);
/// How many statements that a batch has left to their callers run at once. Without a limit they take
/// all connections: 8 callers who retrieve beside 64 who create keys that exist have 6.5 times the
/// throughput with it (those 64 have 0.6 times theirs).
const MAX_SINGLE: usize = 2;

/// Runs single statements on the pool, those of concurrent callers in one.
#[derive(Clone)]
pub struct GroupCommit(Arc<Group>);

/// What the services that use the same table through the same pool share.
struct Group {
    executor: PoolExecutor,
    limits: Limits,
    queue: Arc<Queue>,
    /// Of those that a batch has left to their callers.
    single: Arc<Semaphore>,
}

static GROUPS: Mutex<Vec<Weak<Group>>> = Mutex::new(Vec::new());

impl GroupCommit {
    /// The group of all who use this table through this pool, within the same limits.
    pub fn join(executor: PoolExecutor, limits: Limits) -> Self {
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|group| group.strong_count() > 0);
        let same = |group: &Arc<Group>| {
            Arc::ptr_eq(&group.executor.pool, &executor.pool)
                && group.executor.sql.schema == executor.sql.schema
                && group.limits == limits
        };
        if let Some(group) = groups.iter().filter_map(Weak::upgrade).find(same) {
            return Self(group);
        }
        let group = Group::new(executor, limits);
        groups.push(Arc::downgrade(&group));
        Self(group)
    }

    /// Has the statements that this thread submits wait for each other until the guard is dropped.
    pub fn begin_submission(&self) -> SubmissionGuard {
        self.0.queue.begin_submission()
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.0.executor.pool
    }
}

impl Executor for GroupCommit {
    fn commits_each(&self) -> bool {
        true
    }

    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        match Kind::of(&statement) {
            // Boxed, as it changes hands a few times.
            Some(kind) => Box::pin(self.0.run(kind, Box::new(statement))),
            None => self.0.executor.run(statement),
        }
    }
}

impl Group {
    fn new(executor: PoolExecutor, limits: Limits) -> Arc<Self> {
        Arc::new_cyclic(|group: &Weak<Self>| {
            let group = group.clone();
            let launch = move |slot: InFlightSlot| {
                if let Some(group) = group.upgrade() {
                    match group.executor.pool.target().reactor() {
                        Some(reactor) => reactor.spawn(Box::pin(group.run_next(slot))),
                        None => drop(slot.runtime().clone().spawn(group.run_next(slot))),
                    }
                }
            };
            Self {
                executor,
                limits,
                queue: Arc::new(Queue::new(limits, Box::new(launch))),
                single: Arc::new(Semaphore::new(MAX_SINGLE)),
            }
        })
    }

    fn text(&self, kind: Kind) -> Arc<str> {
        batch_sql::text(&self.executor.sql, kind)
    }
}
