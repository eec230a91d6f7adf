//! The connections of the process to one database.
//!
//! Stages may hold all but one of them: the last is for single statements, so that a stage whose
//! callback makes a call outside of its transaction never waits for itself.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, PoolError, QueueMode};
use sqlx::Connection as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::engine::error::{ConnectionProblem, Error};
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::connector::Connector;
use crate::engine::postgres::errors::ended;
use crate::engine::postgres::pool_use::Uses;
use crate::engine::postgres::target::Target;
use crate::engine::postgres::timeouts::Timeouts;

/// The server has no room for a further connection.
const TOO_MANY_CONNECTIONS: &str = "53300";
/// How many statements that wait for a lock are tried again at the same time.
const MAX_BLOCKED: usize = 2;
/// How often a call looks for a connection that has become free, where no further one can be opened.
const PAUSE: Duration = Duration::from_millis(20);
/// How long [`Pool::close`] waits for running calls.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections of the process to one database.
pub struct Pool {
    target: Arc<Target>,
    connections: managed::Pool<Connector>,
    max_stages: usize,
    stages: Arc<Semaphore>,
    blocked: Semaphore,
    uses: Arc<Uses>,
}

impl Pool {
    /// A pool for so many stages at once. Connections open when they are needed.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there cannot be so many.
    pub fn new(target: Target, max_connections: usize) -> Result<Self, Error> {
        let target = Arc::new(target);
        let connections = managed::Pool::builder(Connector { target: Arc::clone(&target) })
            .max_size(max_connections + 1)
            // The connection used last is the warmest.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| Error::InvalidArgument(error.to_string()))?;
        Ok(Self {
            target,
            connections,
            max_stages: max_connections,
            stages: Arc::new(Semaphore::new(max_connections)),
            blocked: Semaphore::new(MAX_BLOCKED),
            uses: Arc::default(),
        })
    }

    /// Where the pool connects to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether it was not ended by its last user.
    pub fn is_open(&self) -> bool {
        !self.connections.is_closed()
    }

    /// How many stages may run at once.
    pub fn max_connections(&self) -> usize {
        self.max_stages
    }

    /// A connection for a single statement.
    ///
    /// # Errors
    /// [`Error::Connection`] when the server cannot be reached or no connection becomes free in
    /// time; [`Error::Closed`] when the pool was closed.
    pub async fn connection(self: &Arc<Self>) -> Result<Connection, Error> {
        self.connection_with(None, Instant::now()).await
    }

    /// A connection for a stage, once fewer than `maxConnections` stages are running.
    ///
    /// # Errors
    /// As [`Self::connection`], and [`Error::StagesExhausted`] when no stage ends in time.
    pub async fn stage_connection(self: &Arc<Self>) -> Result<Connection, Error> {
        let begun = Instant::now();
        let turn = timeout(self.timeouts().acquire, Arc::clone(&self.stages).acquire_owned());
        let permit = tokio::select! {
            biased;
            turn = turn => turn.map_err(|_| self.stages_exhausted())?.map_err(|_| Error::Closed)?,
            // Those whose turn it is wait for the same server.
            problem = self.until_unopened(begun) => return Err(Error::timed_out(&self.target, problem)),
        };
        let since = if self.has_connections() { Instant::now() } else { begun };
        self.connection_with(Some(permit), since).await
    }

    /// A connection for whoever waits for one since then.
    async fn connection_with(
        self: &Arc<Self>,
        stage: Option<OwnedSemaphorePermit>,
        since: Instant,
    ) -> Result<Connection, Error> {
        let pool_use = self.uses.begin();
        let object = tokio::select! {
            biased;
            object = self.object() => object?,
            problem = self.until_unopened(since) => return Err(Error::timed_out(&self.target, problem)),
            problem = self.until_none_free(since) => return Err(Error::timed_out(&self.target, problem)),
        };
        Ok(Connection::new(object, Arc::clone(&self.target), stage, pool_use))
    }

    /// One of the connections, or a further one. If the server has no room for it, one of those that there are.
    async fn object(&self) -> Result<managed::Object<Connector>, Error> {
        loop {
            match self.connections.get().await {
                Ok(object) => return Ok(object),
                Err(PoolError::Closed) => return Err(Error::Closed),
                Err(PoolError::Backend(error))
                    if error.code() == Some(TOO_MANY_CONNECTIONS) && self.has_connections() =>
                {
                    sleep(PAUSE).await;
                }
                Err(PoolError::Backend(error)) => return Err(error),
                Err(other) => return Err(ended("ETIMEDOUT", &self.target, &other.to_string())),
            }
        }
    }

    /// Until a call that waits since then need not wait any more, as nobody has a connection. Whatever others wait
    /// for, its own time counts.
    async fn until_unopened(&self, since: Instant) -> ConnectionProblem {
        sleep_until(since + self.timeouts().connect).await;
        match self.has_connections() {
            true => pending().await,
            false => ConnectionProblem::NotOpened,
        }
    }

    /// The same where others have connections.
    async fn until_none_free(&self, since: Instant) -> ConnectionProblem {
        sleep_until(since + self.timeouts().acquire.max(self.timeouts().connect)).await;
        ConnectionProblem::NoneFree
    }

    fn has_connections(&self) -> bool {
        self.connections.status().size > 0
    }

    fn timeouts(&self) -> &Timeouts {
        self.target.timeouts()
    }

    /// The place of a stage, for a statement that may take as long as one, so that the last connection
    /// is left to the others. None if that would leave less than half of the places to stages.
    pub fn try_stage(&self) -> Option<OwnedSemaphorePermit> {
        if self.stages.available_permits() * 2 <= self.max_stages {
            return None;
        }
        Arc::clone(&self.stages).try_acquire_owned().ok()
    }

    /// The turn of a statement that waits for a lock, to be tried again.
    pub async fn turn_of_blocked(&self) -> Option<SemaphorePermit<'_>> {
        self.blocked.acquire().await.ok()
    }

    fn stages_exhausted(&self) -> Error {
        Error::StagesExhausted { running: self.max_stages, target: self.target.to_string() }
    }

    /// Closes the pool and waits for the calls that still run on it.
    ///
    /// # Errors
    /// [`Error::CloseTimedOut`] when a call still runs after 30 s; the pool is closed all the same.
    pub async fn close(&self) -> Result<(), Error> {
        self.stages.close();
        let idle = self.connections.retain(|_, _| false).removed;
        self.connections.close();
        for session in idle {
            // A connection that cannot say goodbye is gone already.
            let _ = timeout(self.timeouts().connect, session.connection.close()).await;
        }
        timeout(CLOSE_TIMEOUT, self.uses.until_none()).await.map_err(|_| self.close_timed_out())
    }

    fn close_timed_out(&self) -> Error {
        Error::CloseTimedOut { target: self.target.to_string() }
    }
}
