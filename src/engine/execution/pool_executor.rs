//! Single statements on the pool.

use std::sync::Arc;

use crate::engine::postgres::pool::Pool;
use crate::engine::postgres::rows::read;
use crate::engine::protocol::executor::{Executor, Running};
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::Sql;

/// Single statements on the pool, each committed when it is answered.
#[derive(Clone)]
pub struct PoolExecutor {
    /// The connections.
    pub pool: Arc<Pool>,
    /// The statements' SQL.
    pub sql: Arc<Sql>,
}

impl Executor for PoolExecutor {
    fn commits_each(&self) -> bool {
        true
    }

    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        Box::pin(async move {
            let key = statement.key().map(str::to_owned);
            let query = self.sql.write(statement);
            loop {
                let mut connection = self.pool.connection().await?;
                let rows = connection.fetch(query.clone()).await;
                // Each try closes the connection it was on, so the last one is on a new connection.
                if connection.stale {
                    continue;
                }
                let rows = rows.map_err(|error| error.of_statement(key.as_deref()))?;
                return read(&rows, connection.target());
            }
        })
    }
}
