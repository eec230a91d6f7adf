//! The connections of the process to one database.
//!
//! Stages may hold all but one of them: the last is for single statements, so that a stage whose
//! callback makes a call outside of its transaction never waits for itself.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, PoolError, QueueMode};
use sqlx::Connection as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::engine::error::Error;
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::connector::{CONNECT_TIMEOUT, Connector};
use crate::engine::postgres::pool_use::Uses;
use crate::engine::postgres::target::Target;

/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long [`Pool::close`] waits for running calls.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections of the process to one database.
pub struct Pool {
    target: Arc<Target>,
    connections: managed::Pool<Connector>,
    max_stages: usize,
    stages: Arc<Semaphore>,
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
    /// 30 s; [`Error::UnexpectedState`] when the pool was closed.
    pub async fn connection(self: &Arc<Self>) -> Result<Connection, Error> {
        self.connection_with(None).await
    }

    /// A connection for a stage, once fewer than `maxConnections` stages are running.
    ///
    /// # Errors
    /// As [`Self::connection`], and [`Error::UnexpectedState`] when no stage ends in 30 s.
    pub async fn stage_connection(self: &Arc<Self>) -> Result<Connection, Error> {
        let permit = timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.stages).acquire_owned())
            .await
            .map_err(|_| self.stages_exhausted())?
            .map_err(|_| Error::closed())?;
        self.connection_with(Some(permit)).await
    }

    async fn connection_with(
        self: &Arc<Self>,
        stage: Option<OwnedSemaphorePermit>,
    ) -> Result<Connection, Error> {
        let pool_use = self.uses.begin();
        let object = timeout(ACQUIRE_TIMEOUT, self.connections.get())
            .await
            .map_err(|_| Error::timed_out("no connection became free in 30 s", &self.target))?
            .map_err(|error| match error {
                PoolError::Backend(error) => error,
                PoolError::Closed => Error::closed(),
                other => Error::timed_out(&other.to_string(), &self.target),
            })?;
        Ok(Connection::new(object, Arc::clone(&self.target), stage, pool_use))
    }

    /// The place of a stage, if one is free, for a statement that may take as long as one: it leaves
    /// the last connection to the others.
    pub fn try_stage(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.stages).try_acquire_owned().ok()
    }

    fn stages_exhausted(&self) -> Error {
        Error::UnexpectedState {
            code: "stages_exhausted",
            message: format!(
                "no stage could start in 30 s: {} stages are running on {}. Raise maxConnections; \
                 inside a stage's callback, use service.withTransaction(manager)",
                self.max_stages, self.target
            ),
        }
    }

    /// Closes the pool and waits for the calls that still run on it.
    ///
    /// # Errors
    /// [`Error::UnexpectedState`] when a call still runs after 30 s; the pool is closed all the same.
    pub async fn close(&self) -> Result<(), Error> {
        self.stages.close();
        let idle = self.connections.retain(|_, _| false).removed;
        self.connections.close();
        for connection in idle {
            // A connection that cannot say goodbye is gone already.
            let _ = timeout(CONNECT_TIMEOUT, connection.close()).await;
        }
        timeout(CLOSE_TIMEOUT, self.uses.until_none()).await.map_err(|_| Error::UnexpectedState {
            code: "close_timeout",
            message: format!("calls on {} still ran 30 s after close()", self.target),
        })
    }
}
