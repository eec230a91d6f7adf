//! Many callers' single statements in one: group commit.
//!
//! While a statement is under way, callers that arrive queue up; when it returns, those whose
//! statements are of one kind go in the next one. So a lone caller waits for nobody, and a thousand
//! share one round trip and one commit. Calls about one key keep their order.
//!
//! What one caller sends never fails another: a batch that the server refuses is halved until what
//! it refuses is alone, and then is run as it would have been without a batch. A batch whose
//! connection was lost is not repeated: whether it was committed is unknown.

mod batch;
mod call;
mod key;
mod lane;
mod queue;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep};

use self::call::Answer;
pub use self::queue::Hold;
use self::queue::{Flight, Queue, RowWait, Ticket, Turn};
use crate::engine::error::Error;
use crate::engine::execution::pool_session::PoolSession;
use crate::engine::postgres::pool::Pool;
use crate::engine::postgres::target::LOCK_TIMEOUT;
use crate::engine::protocol::executor::{Executor, Running};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::batch as batch_sql;
use crate::engine::sql::batch::Kind;

/// How long a statement that runs alone may keep others from beginning.
const PATIENCE: Duration = Duration::from_millis(25);
/// How long a write that runs alone keeps the others about its key waiting, while it is unknown
/// whether its row is locked or the server is slow.
const ROW_PATIENCE: Duration = Duration::from_millis(500);
/// How often a write that waits for its row looks again, if it has no connection to wait on.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How many calls that a batch was no place for may run at once.
const MAX_ALONE: usize = 2;

/// How much goes at once, and how much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most callers that share one statement.
    pub max_batch_rows: usize,
    /// The most bytes that one statement sends, unless one caller alone sends more.
    pub max_batch_bytes: usize,
    /// The most callers in the queue; more wait outside of it, in the order of their calls.
    pub max_queued: usize,
    /// How many statements are under way at once.
    pub max_flights: usize,
    /// How many callers have to wait for a statement to be sent while another is under way.
    pub min_further_batch: usize,
    /// How many are when those that wait fill one with their bytes.
    pub max_long_flights: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch_rows: 512,
            max_batch_bytes: 1 << 20,
            max_queued: 16_384,
            max_flights: 2,
            min_further_batch: 256,
            max_long_flights: 3,
        }
    }
}

/// Single statements on the pool, those of concurrent callers in one.
#[derive(Clone)]
pub struct GroupCommit(Arc<Group>);

/// What the services that use the same table through the same pool share.
struct Group {
    session: PoolSession,
    limits: Limits,
    queue: Arc<Queue>,
    /// Held by the one who waits for room, so that those after him stay after him.
    gate: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
    alone: Arc<Semaphore>,
    row_waits: Arc<Semaphore>,
}

static GROUPS: Mutex<Vec<Weak<Group>>> = Mutex::new(Vec::new());

impl GroupCommit {
    /// The group of all who use this table through this pool, within the same limits.
    pub fn join(session: PoolSession, limits: Limits) -> Self {
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|group| group.strong_count() > 0);
        let same = |group: &Arc<Group>| {
            Arc::ptr_eq(&group.session.pool, &session.pool)
                && group.session.sql.schema == session.sql.schema
                && group.limits == limits
        };
        if let Some(group) = groups.iter().filter_map(Weak::upgrade).find(same) {
            return Self(group);
        }
        let group = Group::new(session, limits);
        groups.push(Arc::downgrade(&group));
        Self(group)
    }

    /// Has the calls of this thread wait for those that are to come before the hold is dropped, and go
    /// with them.
    pub fn hold(&self) -> Hold {
        self.0.queue.hold()
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.0.session.pool
    }
}

impl Executor for GroupCommit {
    fn commits_each(&self) -> bool {
        true
    }

    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        match Kind::of(&statement) {
            // Boxed, as it changes hands a few times.
            Some(kind) => Box::pin(self.0.call(kind, Box::new(statement))),
            None => self.0.session.run(statement),
        }
    }
}

impl Group {
    fn new(session: PoolSession, limits: Limits) -> Arc<Self> {
        let row_waits = (session.pool.max_connections() / 2).max(1);
        Arc::new_cyclic(|group: &Weak<Self>| {
            let group = group.clone();
            let launch = move |flight: Flight| {
                if let Some(group) = group.upgrade() {
                    flight.runtime().clone().spawn(group.fly(flight));
                }
            };
            Self {
                session,
                limits,
                queue: Arc::new(Queue::new(limits, Box::new(launch))),
                gate: tokio::sync::Mutex::default(),
                room: Arc::new(Semaphore::new(limits.max_queued)),
                alone: Arc::new(Semaphore::new(MAX_ALONE)),
                row_waits: Arc::new(Semaphore::new(row_waits)),
            }
        })
    }

    /// Answers one call.
    async fn call(&self, kind: Kind, statement: Box<Statement>) -> Result<Vec<Row>, Error> {
        let ticket = {
            let (_gate, room) = self.room().await?;
            self.queue.enter(kind, statement, Some(room), || self.text(kind))
        };
        match ticket {
            // Boxed, as a call that a batch answers needs no room for it.
            Ticket::Alone(statement, turn, flight) => {
                Box::pin(self.alone(kind, statement, Some(turn), flight)).await
            }
            Ticket::Queued(answer) => match received(answer).await? {
                Answer::Done(result) => result,
                left => Box::pin(self.left(kind, left)).await,
            },
        }
    }

    /// What a batch leaves to the caller.
    async fn left(&self, kind: Kind, answer: Answer) -> Result<Vec<Row>, Error> {
        match answer {
            Answer::Done(result) => result,
            Answer::Alone(statement, turn, Some(flight)) => {
                self.alone(kind, statement, turn, flight).await
            }
            Answer::Alone(statement, turn, None) => {
                let place = Arc::clone(&self.alone).acquire_owned().await;
                self.alone(kind, statement, turn, place.map_err(|_| Error::closed())?).await
            }
            Answer::RowLocked(statement, turn) => {
                let wait = turn.map(Turn::wait_for_row);
                self.until_unlocked(kind, statement, wait).await
            }
        }
    }

    /// Room in the queue, and the right to be the next to enter it.
    async fn room(
        &self,
    ) -> Result<(Option<tokio::sync::MutexGuard<'_, ()>>, OwnedSemaphorePermit), Error> {
        let gate = self.gate.lock().await;
        let room = Arc::clone(&self.room).acquire_owned().await;
        Ok((Some(gate), room.map_err(|_| Error::closed())?))
    }

    fn text(&self, kind: Kind) -> String {
        batch_sql::text(&self.session.sql, kind)
    }

    /// Runs a statement as it would run without a batch. `place` is what it keeps from others; it is
    /// given back as soon as the statement seems to wait for somebody.
    async fn alone<P>(
        &self,
        kind: Kind,
        statement: Box<Statement>,
        turn: Option<Turn>,
        place: P,
    ) -> Result<Vec<Row>, Error> {
        if may_wait(kind) {
            return match self.connection_to_wait_on() {
                Some(connection) => self.write(statement, turn, place, connection).await,
                // The last connection is not for one that may have to wait for its row.
                None => {
                    drop(place);
                    let answer = received(self.again(kind, statement, turn)).await?;
                    Box::pin(self.left(kind, answer)).await
                }
            };
        }
        let mut running = self.session.run(*statement);
        let connection = loop {
            tokio::select! {
                biased;
                result = &mut running => return result,
                () = sleep(PATIENCE) => {}
            }
            if let Some(connection) = self.connection_to_wait_on() {
                break connection;
            }
        };
        drop(place);
        let result = running.await;
        drop((turn, connection));
        result
    }

    /// Writes to a row, for which it waits if somebody has locked it.
    async fn write<P, C>(
        &self,
        statement: Box<Statement>,
        turn: Option<Turn>,
        place: P,
        _connection: C,
    ) -> Result<Vec<Row>, Error> {
        let mut running = self.session.run(*statement);
        tokio::select! {
            biased;
            result = &mut running => return result,
            () = sleep(PATIENCE) => {}
        }
        drop(place);
        tokio::select! {
            biased;
            result = &mut running => return result,
            () = sleep(ROW_PATIENCE) => {}
        }
        let _wait = turn.map(Turn::wait_for_row);
        running.await
    }

    /// Sends a statement with a batch that does not wait for its row, even if it is the only one.
    fn again(
        &self,
        kind: Kind,
        statement: Box<Statement>,
        turn: Option<Turn>,
    ) -> oneshot::Receiver<Answer> {
        self.queue.enter_again(kind, statement, turn, || self.text(kind))
    }

    /// Writes to a row that somebody has locked: on a connection of its own, or else with the
    /// batches, again and again.
    async fn until_unlocked(
        &self,
        kind: Kind,
        mut statement: Box<Statement>,
        _wait: Option<RowWait>,
    ) -> Result<Vec<Row>, Error> {
        let until = Instant::now() + LOCK_TIMEOUT;
        let mut pause = SHORTEST_PAUSE;
        loop {
            if let Some(_connection) = self.connection_to_wait_on() {
                return self.session.run(*statement).await;
            }
            if Instant::now() >= until {
                return Err(Error::Busy(statement.key().unwrap_or_default().to_owned()));
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            match received(self.again(kind, statement, None)).await? {
                Answer::Done(result) => return result,
                Answer::RowLocked(locked, _) | Answer::Alone(locked, ..) => statement = locked,
            }
        }
    }

    /// A connection that a statement may keep for long, if there is one: the last is for the others.
    fn connection_to_wait_on(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let wait = Arc::clone(&self.row_waits).try_acquire_owned().ok()?;
        Some((wait, self.session.pool.try_stage()?))
    }
}

/// Whether a statement waits for somebody who has locked its key's row, and can do without.
fn may_wait(kind: Kind) -> bool {
    matches!(kind, Kind::Update { .. })
}

async fn received(answer: oneshot::Receiver<Answer>) -> Result<Answer, Error> {
    answer.await.map_err(|_| Error::UnexpectedState {
        code: "batch_lost",
        message: "the statement's batch ended without an answer, so whether it ran is unknown"
            .to_owned(),
    })
}
