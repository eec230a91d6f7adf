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

use crate::engine::error::{ConnectionProblem, Error};
use crate::engine::postgres::connection::Connection;
use crate::engine::postgres::connector::{CONNECT_TIMEOUT, Connector};
use crate::engine::postgres::errors::ended;
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
    /// 30 s; [`Error::Closed`] when the pool was closed.
    pub async fn connection(self: &Arc<Self>) -> Result<Connection, Error> {
        self.connection_with(None).await
    }

    /// A connection for a stage, once fewer than `maxConnections` stages are running.
    ///
    /// # Errors
    /// As [`Self::connection`], and [`Error::StagesExhausted`] when no stage ends in 30 s.
    pub async fn stage_connection(self: &Arc<Self>) -> Result<Connection, Error> {
        let permit = timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.stages).acquire_owned())
            .await
            .map_err(|_| self.stages_exhausted())?
            .map_err(|_| Error::Closed)?;
        self.connection_with(Some(permit)).await
    }

    async fn connection_with(
        self: &Arc<Self>,
        stage: Option<OwnedSemaphorePermit>,
    ) -> Result<Connection, Error> {
        let pool_use = self.uses.begin();
        let object = timeout(ACQUIRE_TIMEOUT, self.connections.get())
            .await
            .map_err(|_| Error::timed_out(&self.target, ConnectionProblem::NoneFree))?
            .map_err(|error| match error {
                PoolError::Backend(error) => error,
                PoolError::Closed => Error::Closed,
                other => ended("ETIMEDOUT", &self.target, &other.to_string()),
            })?;
        Ok(Connection::new(object, Arc::clone(&self.target), stage, pool_use))
    }

    /// The place of a stage, for a statement that may take as long as one, so that the last connection
    /// is left to the others. None if that would leave less than half of the places to stages.
    pub fn try_stage(&self) -> Option<OwnedSemaphorePermit> {
        if self.stages.available_permits() * 2 <= self.max_stages {
            return None;
        }
        Arc::clone(&self.stages).try_acquire_owned().ok()
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
        for connection in idle {
            // A connection that cannot say goodbye is gone already.
            let _ = timeout(CONNECT_TIMEOUT, connection.close()).await;
        }
        timeout(CLOSE_TIMEOUT, self.uses.until_none()).await.map_err(|_| self.close_timed_out())
    }

    fn close_timed_out(&self) -> Error {
        Error::CloseTimedOut { target: self.target.to_string() }
    }
}
