//! Tells a server that works from one that has gone, while a caller's own statement has no answer.
//!
//! Such a statement may take any time, and a peer that vanishes says nothing. So after a while the server is asked, on
//! another connection, whether it still works on it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::time::{sleep, timeout};

use crate::engine::postgres::target::Target;

/// How long after the statement, and after each look, the server is asked. A peer that is gone is noticed after two
/// looks that find nothing: within 28 s. Neither takes longer than a connection may take to open.
const LOOK_INTERVAL: Duration = Duration::from_secs(8);
/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(6);
/// How many looks in a row have to find nothing: an answer may be on its way.
const LOOKS: u32 = 2;

/// A session that a caller's own statement runs in.
pub struct Liveness {
    target: Arc<Target>,
    /// Which of the target's hosts the session is with.
    host: usize,
    /// The server's process for the session.
    backend: i32,
    /// Whether a pooler stands before the server: a look may wait there for its turn, which tells nothing.
    is_pooled: bool,
}

impl Liveness {
    /// The session with a host of the target's that this process of the server's serves.
    pub fn new(target: Arc<Target>, host: usize, backend: i32, is_pooled: bool) -> Self {
        Self { target, host, backend, is_pooled }
    }

    /// Waits for the answer to a statement for as long as the server works on it.
    ///
    /// # Errors
    /// The answer's own, and [`sqlx::Error::Io`] when the server has gone.
    pub async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.until_gone() => {
                let reason = "the server does not work on the statement, and its answer has not come";
                Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)))
            }
        }
    }

    async fn until_gone(&self) {
        let connect = self.target.timeouts().connect;
        let mut missed = 0;
        while missed < LOOKS {
            sleep(LOOK_INTERVAL.min(connect)).await;
            // Boxed, as every statement would have room for it.
            let look = timeout(LOOK_TIMEOUT.min(connect), Box::pin(self.works()));
            let works = look.await.unwrap_or(self.is_pooled);
            missed = if works { 0 } else { missed + 1 };
        }
    }

    /// Whether the server works on the statement. One that refuses to be asked is there.
    async fn works(&self) -> bool {
        let mut session = match self.target.connect_to(self.host).await {
            Ok(session) => session,
            Err(error) => return matches!(error, sqlx::Error::Database(_)),
        };
        // One message, which a pooler keeps together.
        let sql =
            format!("SELECT state = 'active' FROM pg_stat_activity WHERE pid = {}", self.backend);
        let works = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut session.connection).await;
        let works = works
            .and_then(|row| row.map_or(Ok(Some(false)), |row| row.try_get::<Option<bool>, _>(0)));
        let _ = session.connection.close().await;
        match works {
            // A role that may not see its own sessions has no state of them.
            Ok(is_active) => is_active.unwrap_or(true),
            Err(error) => matches!(error, sqlx::Error::Database(_)),
        }
    }
}
