//! Opens connections for the pool.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use crate::engine::error::{ConnectionProblem, Error};
use crate::engine::postgres::target::Target;

/// How long a connection may take to open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection idle for longer is tried before it is used: its server may have gone.
const TRUSTED_IDLE_TIME: Duration = Duration::from_secs(1);

/// Opens connections for the pool and judges whether an old one is still good.
pub struct Connector {
    /// The database.
    pub target: Arc<Target>,
}

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = Error;

    async fn create(&self) -> Result<PgConnection, Error> {
        timeout(CONNECT_TIMEOUT, self.target.connect())
            .await
            .map_err(|_| Error::timed_out(&self.target, ConnectionProblem::NotOpened))?
    }

    async fn recycle(
        &self,
        connection: &mut PgConnection,
        metrics: &Metrics,
    ) -> RecycleResult<Error> {
        if metrics.last_used() < TRUSTED_IDLE_TIME {
            return Ok(());
        }
        match timeout(TRUSTED_IDLE_TIME, connection.ping()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(RecycleError::message("the server has gone")),
        }
    }
}
