//! The statements of callers that a session keeps prepared from one transaction to the next.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Row as _};
use tokio::time::timeout;

use super::Connection;
use crate::engine::error::Error;
use crate::engine::postgres::kept::{Kept, Suspect, Verdict};
use crate::engine::postgres::names::new_name;

impl Connection {
    /// Whether a statement of a caller's may be kept, and one that is kept be used: not where each transaction may
    /// be in another session, nor where names may mean something else than in the next transaction.
    pub fn keeps(&self) -> bool {
        !self.is_pooled() && !self.traces.names
    }

    /// A caller's statement that is kept.
    pub fn kept(&mut self, sql: &str) -> Option<Kept> {
        let session = self.object.as_mut()?;
        session.kept.get(sql, &mut self.prepared)
    }

    /// Keeps a caller's statement that [`Self::fetch_prepared`] has prepared.
    pub fn keep(&mut self, sql: &str, kept: Kept) {
        let is_prepared = self.prepared.contains(&kept.name);
        if let Some(session) = self.object.as_mut().filter(|_| is_prepared) {
            self.prepared.retain(|name| *name != kept.name);
            session.kept.keep(sql, kept, &mut self.prepared);
        }
    }

    /// Notes the types of the parameters of a statement that is kept.
    pub fn learn(&mut self, sql: &str, types: &Arc<[u32]>) {
        if let Some(session) = &mut self.object {
            session.kept.learn(sql, Arc::clone(types));
        }
    }

    /// Notes that a statement that was kept has failed. If it is the statement that is to blame, and not its caller,
    /// the transaction is [`Self::stale`]: at once, or when it has been rolled back.
    pub fn kept_failed(&mut self, sql: &str, name: &Arc<str>, error: &Error) {
        match Verdict::of(error) {
            Verdict::Stale => self.stale = true,
            Verdict::Suspect => {
                self.suspect = Some(Suspect { sql: sql.to_owned(), name: Arc::clone(name) });
            }
            Verdict::Sound => {}
        }
    }

    /// Finds out whether a statement has failed since the types of its parameters are not what they were.
    pub(super) async fn judge_suspect(&mut self) {
        let Some(Suspect { sql, name }) = self.suspect.take() else { return };
        let new = new_name();
        let types = |name: &str| {
            format!("(SELECT parameter_types FROM pg_prepared_statements WHERE name = '{name}')")
        };
        let message = format!(
            "PREPARE {new} AS {sql}\n; SELECT {} IS DISTINCT FROM {}; DEALLOCATE {new}",
            types(&name),
            types(&new),
        );
        let limit = self.target.timeouts().statement;
        let Ok(connection) = self.start() else { return };
        let answer = sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(connection);
        let Ok(answer) = timeout(limit, answer).await else { return };
        // A statement that cannot be prepared any more has failed for that.
        let has_changed = self.end(answer).ok().and_then(|rows| rows.first()?.try_get(0).ok());
        self.stale |= has_changed.unwrap_or(false);
    }
}
