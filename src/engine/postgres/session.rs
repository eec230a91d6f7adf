//! A session with a server: how it begins, and whether a pooler stands before the server.
//!
//! Behind a pooler in transaction mode two statements of one connection may run in two sessions of the server, so
//! nothing may be left in a session. A direct session is told by what it was told at its start: it keeps it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::time::sleep;
use uuid::Uuid;

use crate::engine::error::LOCK_NOT_AVAILABLE;
use crate::engine::postgres::kept::KeptStatements;
use crate::engine::postgres::parts::{Parts, TargetSession};
use crate::engine::postgres::reactor::{Reactor, open_in};

/// A connection whose statements have the settings that the engine needs.
pub struct Session {
    /// The driver's.
    pub connection: PgConnection,
    /// Whether each transaction may be in another session of the server.
    pub is_pooled: bool,
    /// Which of the database's hosts it is with.
    pub host: usize,
    /// The server's process that serves it; that of its transaction, if it is pooled.
    pub backend: i32,
    /// The names of the engine's statements that it keeps prepared for messages of several statements.
    pub prepared: HashMap<Arc<str>, String>,
    /// The statements of callers that it keeps prepared.
    pub kept: KeptStatements,
}

/// The setting by which a session is told from others. No server has it of itself.
const OWN: &str = "idempotency_key.session";

/// How many milliseconds the server has a statement wait for a lock, outside of a transaction. Who has to wait for longer
/// asks again, without a connection.
pub const BRIEF_LOCK_TIMEOUT: &str = "3";

/// How long until a session is tried again whose server waits for a lock.
const PAUSE: Duration = Duration::from_millis(10);

/// Opens sessions with the hosts of one database.
pub struct Opener {
    lock_timeout: Duration,
    /// Whether a session is pooled, as the user says or as an earlier one was.
    is_pooled: AtomicBool,
    reactor: Option<&'static dyn Reactor>,
}

impl Opener {
    /// For a database with these settings.
    pub fn new(parts: &Parts) -> Self {
        let timeouts = &parts.timeouts;
        let given = parts.options.as_deref().and_then(lock_timeout_of);
        let lock_timeout = given.unwrap_or(timeouts.lock()).min(timeouts.statement);
        let is_pooled = AtomicBool::new(parts.is_pooled);
        Self { lock_timeout, is_pooled, reactor: parts.reactor }
    }

    /// Who waits for the answers, if not the runtime that the calls begin on.
    pub fn reactor(&self) -> Option<&'static dyn Reactor> {
        self.reactor
    }

    /// Opens a session with one host, which has this number; answers nothing if its server is not as it is wanted.
    /// Whoever has locked a catalog of the server's is waited for.
    ///
    /// # Errors
    /// The driver's.
    pub async fn open(
        &self,
        address: &PgConnectOptions,
        host: usize,
        wanted: TargetSession,
    ) -> Result<Option<Session>, sqlx::Error> {
        loop {
            match self.try_open(address, host, wanted).await {
                Err(error) if is_locked(&error) => sleep(PAUSE).await,
                result => return result,
            }
        }
    }

    async fn try_open(
        &self,
        address: &PgConnectOptions,
        host: usize,
        wanted: TargetSession,
    ) -> Result<Option<Session>, sqlx::Error> {
        let own = Uuid::new_v4().simple().to_string();
        let mut connection = open_in(self.reactor, Box::pin(self.connect(address, &own))).await?;
        let state = format!(
            "SELECT coalesce(current_setting('{OWN}', true) = '{own}', false), pg_is_in_recovery(), \
             current_setting('default_transaction_read_only')::bool, pg_backend_pid()"
        );
        let state = sqlx::raw_sql(AssertSqlSafe(state)).fetch_one(&mut connection).await?;
        if !wanted.accepts(state.try_get(1)?, state.try_get(2)?) {
            return Ok(None);
        }
        let is_pooled = !state.try_get::<bool, _>(0)?;
        if is_pooled {
            self.is_pooled.store(true, Ordering::Relaxed);
            has_transactions(&mut connection).await?;
        }
        Ok(Some(Session {
            connection,
            is_pooled,
            host,
            backend: state.try_get(3)?,
            prepared: HashMap::new(),
            kept: KeptStatements::default(),
        }))
    }

    /// Connects, with the settings of the session, if they are not refused: poolers refuse them.
    async fn connect(
        &self,
        address: &PgConnectOptions,
        own: &str,
    ) -> Result<PgConnection, sqlx::Error> {
        if !self.is_pooled.load(Ordering::Relaxed) {
            match self.with_settings(address, own).connect().await {
                Err(error) if may_refuse_settings(&error) => {}
                result => return result,
            }
        }
        address.connect().await
    }

    /// What the server is told of a direct session. A machine that vanishes must not leave a key's row locked
    /// for the two hours after which a server finds that out by itself.
    fn with_settings(&self, address: &PgConnectOptions, own: &str) -> PgConnectOptions {
        address.clone().options([
            (OWN, own),
            ("lock_timeout", BRIEF_LOCK_TIMEOUT),
            ("default_transaction_isolation", "read committed"),
            ("tcp_keepalives_idle", "15"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "6"),
        ])
    }

    /// How long a statement may wait for a lock, as the user or the engine limits it.
    pub fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }
}

/// The `lock_timeout` among the options of a server, such as `-c lock_timeout=5s`; without end, if it is 0.
fn lock_timeout_of(options: &str) -> Option<Duration> {
    let mut given = options.split_whitespace().filter_map(|option| {
        let option = option.trim_start_matches("--").trim_start_matches("-c");
        let value = option.strip_prefix("lock_timeout=")?;
        let unit = value.trim_start_matches(|c: char| c.is_ascii_digit());
        let milliseconds = match unit {
            "" | "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            _ => return None,
        };
        let number: u64 = value.strip_suffix(unit)?.parse().ok()?;
        Some(match number {
            0 => Duration::MAX,
            number => Duration::from_millis(number.saturating_mul(milliseconds)),
        })
    });
    given.next_back()
}

/// Whether the server has waited in vain for one of its own catalogs: the session's `lock_timeout` is for those, too.
fn is_locked(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE))
}

/// Whether it may be the settings that a server or a pooler refuses: it is if the connection opens without.
fn may_refuse_settings(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // Who may not log in, a database that is not there, a server that is full, locked or starting.
    let others = ["28", "3D", "53", "55", "57"];
    error.code().is_some_and(|code| !others.iter().any(|class| code.starts_with(class)))
}

/// Fails behind a pooler that gives each statement a session of its own: it refuses transactions.
async fn has_transactions(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for sql in ["BEGIN", "COMMIT"] {
        sqlx::raw_sql(sql).execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_timeout_that_is_given_is_kept() {
        for (options, milliseconds) in [
            (None, 10_000),
            (Some("-c lock_timeout=5s"), 5_000),
            (Some("-clock_timeout=500 -c a=b"), 500),
            (Some("--lock_timeout=1min"), 30_000),
            (Some("-c lock_timeout=0"), 30_000),
            (Some("-c deadlock_timeout=5s"), 10_000),
            (Some("-c lock_timeout=5;"), 10_000),
        ] {
            let parts = Parts { options: options.map(str::to_owned), ..Parts::default() };
            let opener = Opener::new(&parts);
            assert_eq!(opener.lock_timeout.as_millis(), milliseconds, "{options:?}");
        }
    }
}
