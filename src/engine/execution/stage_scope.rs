//! The stage that a transaction was opened for, which ends it.

use crate::engine::error::Error;
use crate::engine::execution::transaction::Use;
use crate::engine::protocol::executor::{Executor, LastWrite, Running};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::NO_ROW;

/// The stage that a transaction was opened for, which ends it.
pub struct StageScope(pub Use);

impl Executor for StageScope {
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        self.0.run(statement)
    }

    fn commit_after(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        Box::pin(async move {
            let key = statement.key().unwrap_or_default().to_owned();
            match self.0.commit_after(statement).await {
                Err(Error::Database(error)) if error.message.contains(NO_ROW) => {
                    Err(Error::NotFound(key))
                }
                rows => rows,
            }
        })
    }

    fn last_write(&self) -> Running<'_, Option<LastWrite>> {
        Box::pin(async { Ok(self.0.last_write().await) })
    }
}
