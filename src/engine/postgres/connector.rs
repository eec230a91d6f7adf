//! Opens connections for the pool.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use sqlx::Connection as _;
use tokio::time::timeout;

use crate::engine::error::Error;
use crate::engine::postgres::session::Session;
use crate::engine::postgres::target::Target;

/// A connection idle for longer is tried before it is used: its server may have gone.
const TRUSTED_IDLE_TIME: Duration = Duration::from_secs(1);

/// Opens connections for the pool and judges whether an old one is still good.
pub struct Connector {
    /// The database.
    pub target: Arc<Target>,
}

impl managed::Manager for Connector {
    type Type = Session;
    type Error = Error;

    async fn create(&self) -> Result<Session, Error> {
        // Boxed: whoever takes a connection, which is mostly open already, would have room for it.
        Box::pin(self.target.connect()).await
    }

    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<Error> {
        if metrics.last_used() < TRUSTED_IDLE_TIME {
            return Ok(());
        }
        match timeout(TRUSTED_IDLE_TIME, session.connection.ping()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(RecycleError::message("the server has gone")),
        }
    }
}
