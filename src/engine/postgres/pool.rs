//! Statements on our own connections.
//!
//! The pool is shared by all services of the process that name the same database. Stages may hold
//! all but one of its connections: the last is for single statements, so that a stage whose callback
//! makes a call outside of its transaction never waits for itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{Arguments as _, AssertSqlSafe, Connection as _, Row as _};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::engine::error::{Error, is_stale_statement, leaves_connection_usable};
use crate::engine::key::{ALL, IdempotencyKey, Text, Timestamp};
use crate::engine::postgres::settings::Target;
use crate::engine::protocol::session::{Running, Session};
use crate::engine::protocol::statement::{Place, Row, Statement, Token};
use crate::engine::sql::{Query, Sql};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call waits for a connection, and a statement of ours for its answer. Longer than
/// [`super::settings::LOCK_TIMEOUT`], so that the server's own answer comes first.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection idle for longer is tried before it is used: its server may have gone.
const TRUSTED_IDLE_TIME: Duration = Duration::from_secs(1);
/// About as many keys as fit in one page of the table.
const ROWS_PER_PAGE: u32 = 32;
/// How long [`Pool::close`] waits for running calls.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections of the process to one database.
pub struct Pool {
    target: Target,
    connections: managed::Pool<Connector>,
    max_stages: usize,
    stages: Arc<Semaphore>,
    users: AtomicUsize,
    calls: AtomicUsize,
    call_ended: Notify,
}

/// What makes two services share a pool.
type PoolKey = (String, usize);

/// A pool stays until its last user leaves: services that are merely forgotten, as those of HTTP
/// requests are, do not end it, or each quiet moment would cost the next request new connections.
static POOLS: LazyLock<Mutex<HashMap<PoolKey, Arc<Pool>>>> = LazyLock::new(Mutex::default);

/// A service's hold on the pool of its database.
pub struct PoolUser(Arc<Pool>);

impl PoolUser {
    /// Joins the users of the process's pool for this database. Services whose `identity` is the
    /// same mean the same database. Connections open when they are needed.
    ///
    /// # Errors
    /// Those of `target`.
    pub fn join(
        identity: &str,
        max_connections: usize,
        target: impl FnOnce() -> Result<Target, Error>,
    ) -> Result<Self, Error> {
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, pool| !pool.is_abandoned());
        let key = (identity.to_owned(), max_connections);
        let pool = match pools.get(&key) {
            Some(pool) => Arc::clone(pool),
            None => {
                let pool = Arc::new(Pool::new(target()?, max_connections)?);
                pools.insert(key, Arc::clone(&pool));
                pool
            }
        };
        pool.users.fetch_add(1, Ordering::SeqCst);
        Ok(Self(pool))
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.0
    }

    /// Leaves; the last user ends the pool and waits for the calls that still run on it.
    ///
    /// # Errors
    /// [`Error::UnexpectedState`] when a call still runs after 30 s; the pool is closed all the
    /// same.
    pub async fn leave(self) -> Result<(), Error> {
        let pool = Arc::clone(&self.0);
        let last = {
            // Under the lock, so that nobody joins a pool that is about to close.
            let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self);
            let last = pool.users.load(Ordering::SeqCst) == 0;
            if last {
                pools.retain(|_, other| !Arc::ptr_eq(other, &pool));
            }
            last
        };
        if last { pool.close().await } else { Ok(()) }
    }
}

impl Drop for PoolUser {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pool {
    fn new(target: Target, max_connections: usize) -> Result<Self, Error> {
        let connections = managed::Pool::builder(Connector { target: target.clone() })
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
            users: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            call_ended: Notify::new(),
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

    /// Whether nobody uses it, and nobody can again: what gave it its passwords was of a worker thread
    /// that has ended.
    fn is_abandoned(&self) -> bool {
        self.users.load(Ordering::SeqCst) == 0 && self.target.has_ended()
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
        let permit = timeout(STATEMENT_TIMEOUT, Arc::clone(&self.stages).acquire_owned())
            .await
            .map_err(|_| self.stages_exhausted())?
            .map_err(|_| Error::closed())?;
        self.connection_with(Some(permit)).await
    }

    async fn connection_with(
        self: &Arc<Self>,
        stage: Option<OwnedSemaphorePermit>,
    ) -> Result<Connection, Error> {
        let call = Call::on(self);
        let object = timeout(STATEMENT_TIMEOUT, self.connections.get())
            .await
            .map_err(|_| Error::timed_out("no connection became free in 30 s", &self.target))?
            .map_err(|error| match error {
                PoolError::Backend(error) => error,
                PoolError::Closed => Error::closed(),
                other => Error::timed_out(&other.to_string(), &self.target),
            })?;
        Ok(Connection {
            object: Some(object),
            exchanging: false,
            broken: false,
            stale: false,
            in_transaction: false,
            _stage: stage,
            call,
        })
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

    async fn close(&self) -> Result<(), Error> {
        self.stages.close();
        let idle = self.connections.retain(|_, _| false).removed;
        self.connections.close();
        for connection in idle {
            // A connection that cannot say goodbye is gone already.
            let _ = timeout(CONNECT_TIMEOUT, connection.close()).await;
        }
        timeout(CLOSE_TIMEOUT, self.until_unused()).await.map_err(|_| Error::UnexpectedState {
            code: "close_timeout",
            message: format!("calls on {} still ran 30 s after close()", self.target),
        })
    }

    async fn until_unused(&self) {
        loop {
            let mut ended = std::pin::pin!(self.call_ended.notified());
            ended.as_mut().enable();
            if self.calls.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Counts a call that uses the pool, for [`Pool::close`].
struct Call(Arc<Pool>);

impl Call {
    fn on(pool: &Arc<Pool>) -> Self {
        pool.calls.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(pool))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
        self.0.call_ended.notify_waiters();
    }
}

/// A connection taken from the pool. It goes back only when it is known to be clean: one whose
/// future was dropped half-way is closed instead, which makes the server roll back.
pub struct Connection {
    object: Option<Object<Connector>>,
    exchanging: bool,
    broken: bool,
    /// Whether one of its prepared statements is of no more use.
    pub stale: bool,
    /// Whether a transaction is open on it.
    pub in_transaction: bool,
    _stage: Option<OwnedSemaphorePermit>,
    call: Call,
}

impl Connection {
    /// Where it is connected to.
    pub fn target(&self) -> &Target {
        &self.call.0.target
    }

    /// The connection for one exchange with the server, which [`Self::end`] ends.
    ///
    /// # Errors
    /// [`Error::Connection`] when an earlier exchange has lost it.
    pub fn start(&mut self) -> Result<&mut PgConnection, Error> {
        let usable = !(self.broken || self.exchanging);
        let object = self.object.as_mut().filter(|_| usable);
        let Some(object) = object else {
            let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
            return Err(Error::from_sqlx(lost, &self.call.0.target));
        };
        self.exchanging = true;
        Ok(object)
    }

    /// Ends an exchange that [`Self::start`] began.
    ///
    /// # Errors
    /// What the exchange failed with.
    pub fn end<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.exchanging = false;
        result.map_err(|error| {
            self.broken |= !leaves_connection_usable(&error);
            Error::from_sqlx(error, self.target())
        })
    }

    /// Runs a statement of the engine's.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn fetch(&mut self, query: Query) -> Result<Vec<PgRow>, Error> {
        let mut arguments = PgArguments::default();
        for parameter in query.parameters {
            let added = arguments.add(parameter);
            added.map_err(|error| Error::InvalidData(error.to_string()))?;
        }
        self.fetch_with(query.text, arguments).await
    }

    /// Runs a statement of the engine's with parameters of any type.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn fetch_with(
        &mut self,
        text: Arc<str>,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, Error> {
        let statement = sqlx::query_with(AssertSqlSafe(text), arguments);
        let result = statement.fetch_all(self.start()?).await;
        self.stale |= result.as_ref().is_err_and(is_stale_statement);
        self.end(result)
    }

    /// Runs SQL without parameters or rows; several statements may be separated by semicolons.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn execute(&mut self, sql: String) -> Result<(), Error> {
        let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.start()?).await;
        self.end(result).map(drop)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.exchanging || self.broken || self.stale || self.in_transaction {
            drop(self.object.take().map(Object::take));
        }
    }
}

/// Opens connections for the pool and judges whether an old one is still good.
struct Connector {
    target: Target,
}

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = Error;

    async fn create(&self) -> Result<PgConnection, Error> {
        timeout(CONNECT_TIMEOUT, self.target.connect())
            .await
            .map_err(|_| Error::timed_out("no connection within 10 s", &self.target))?
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

/// Single statements on the pool, each committed when it is answered.
#[derive(Clone)]
pub struct PoolSession {
    /// The connections.
    pub pool: Arc<Pool>,
    /// The statements' SQL.
    pub sql: Arc<Sql>,
}

impl PoolSession {
    /// Creates the table where it is missing.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`].
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut connection = self.pool.connection().await?;
        // Whatever goes wrong, the connection is closed with the transaction that it is in.
        connection.in_transaction = true;
        connection.execute(self.sql.migrate()).await?;
        connection.in_transaction = false;
        Ok(())
    }

    /// Whether the table has the column for fingerprints.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn has_fingerprints(&self) -> Result<bool, Error> {
        let rows = self.fetch(self.sql.has_fingerprints(), Vec::new()).await?;
        self.only(&rows)
    }

    /// Deletes finished keys that are older than `age`, about `batch` of them at a time, and answers
    /// how many they were. Each batch is what lies in a few pages of the table, so it takes the same
    /// time in a table of any size, and holds no lock that a request waits for.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Connection`]; earlier batches stay deleted.
    pub async fn prune(&self, age: Duration, batch: u32) -> Result<u64, Error> {
        let pages: i64 = self.only(&self.fetch(self.sql.pages(), Vec::new()).await?)?;
        let at_once = i64::from((batch / ROWS_PER_PAGE).max(1));
        let age = format!("{} milliseconds", age.as_millis());
        let mut deleted = 0;
        let mut from = 0;
        while from < pages {
            let to = from + at_once;
            let range = [age.clone(), format!("({from},0)"), format!("({to},0)")];
            let parameters = range.map(Some).to_vec();
            deleted += self.fetch(self.sql.prune(), parameters).await?.len() as u64;
            from = to;
        }
        Ok(deleted)
    }

    async fn fetch(&self, text: String, parameters: Vec<Text>) -> Result<Vec<PgRow>, Error> {
        let mut connection = self.pool.connection().await?;
        let query = Query { text: text.into(), parameters };
        let rows = timeout(STATEMENT_TIMEOUT, connection.fetch(query)).await;
        rows.map_err(|_| unanswered(connection.target()))?.map_err(|error| error.of_statement(None))
    }

    fn only<T>(&self, rows: &[PgRow]) -> Result<T, Error>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let value = rows.first().map_or(Err(sqlx::Error::RowNotFound), |row| row.try_get(0));
        value.map_err(|error| Error::from_sqlx(error, self.pool.target()))
    }
}

impl Session for PoolSession {
    fn commits_each(&self) -> bool {
        true
    }

    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        Box::pin(async move {
            let key = statement.key().map(str::to_owned);
            let query = self.sql.write(statement);
            loop {
                let mut connection = self.pool.connection().await?;
                let rows = timeout(STATEMENT_TIMEOUT, connection.fetch(query.clone())).await;
                let rows = rows.map_err(|_| unanswered(connection.target()))?;
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

/// The server did not answer. What was asked of it may have happened.
pub fn unanswered(target: &Target) -> Error {
    Error::timed_out("no answer in 30 s, so whether the statement ran is unknown,", target)
}

/// Reads the rows of a statement written by [`Sql`].
///
/// # Errors
/// [`Error::Connection`] when the table's columns have other types than Medusa's.
pub fn read(rows: &[PgRow], target: &Target) -> Result<Vec<Row>, Error> {
    let mut reader = RowReader::new(0, ALL);
    let read = |row: &PgRow| match row.len() {
        CLAIMED => read_claim(row),
        _ => reader.read(row),
    };
    let rows = rows.iter().map(read).collect::<Result<_, _>>();
    rows.map_err(|error| Error::from_sqlx(error, target))
}

/// How many columns the row of a claim has.
const CLAIMED: usize = 4;

fn read_claim(row: &PgRow) -> Result<Row, sqlx::Error> {
    let (place, token) = (Place(row.try_get(1)?), Token(row.try_get(2)?));
    Ok(Row::claimed(row.try_get(0)?, place, token, row.try_get(3)?))
}

/// The place of `response_body` among the table's columns.
const RESPONSE_BODY: u32 = 8;

/// Reads rows of a result. They are of the same types, so those of the first row alone are checked.
pub struct RowReader {
    first: usize,
    columns: u16,
    checked: bool,
}

impl RowReader {
    /// For a result whose columns before `first` are something else, and then those of a key whose bits
    /// are set, in the order of the table's.
    pub fn new(first: usize, columns: u16) -> Self {
        Self { first, columns, checked: false }
    }

    /// Reads a row. Columns that the result does not have are empty.
    ///
    /// # Errors
    /// Those of the columns' types.
    pub fn read(&mut self, row: &PgRow) -> Result<Row, sqlx::Error> {
        let mut read = Row::from(IdempotencyKey {
            id: self.of_key(row, 0)?,
            idempotency_key: self.of_key(row, 1)?,
            created_at: self.of_key(row, 2)?,
            locked_at: self.of_key(row, 3)?,
            request_method: self.of_key(row, 4)?,
            request_params: self.of_key(row, 5)?,
            request_path: self.of_key(row, 6)?,
            response_code: self.of_key(row, 7)?,
            response_body: self.of_key(row, 8)?,
            recovery_point: self.of_key(row, 9)?,
        });
        let after = self.place(10);
        let others = row.len() - after;
        if others > 0 {
            read.place = Place(self.get(row, after)?);
            read.token = Token(self.get(row, after + 1)?);
        }
        if others > 2 {
            read.won = self.get(row, after + 2)?;
            read.live = self.get(row, after + 3)?;
            read.same = self.get(row, after + 4)?;
        }
        self.checked = true;
        Ok(read)
    }

    /// About how many bytes a row has: bodies are what may be large.
    pub fn size(&self, row: &PgRow) -> usize {
        match self.columns & (1 << RESPONSE_BODY) {
            0 => 0,
            _ => row
                .try_get_raw(self.place(RESPONSE_BODY))
                .map_or(0, |body| body.as_bytes().map_or(0, <[u8]>::len)),
        }
    }

    fn of_key<'r, T>(&self, row: &'r PgRow, column: u32) -> Result<T, sqlx::Error>
    where
        T: Default + sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        match self.columns & (1 << column) {
            0 => Ok(T::default()),
            _ => self.get(row, self.place(column)),
        }
    }

    /// The place in the result of the key's column, or of what comes after so many of them.
    fn place(&self, column: u32) -> usize {
        self.first + (self.columns & ((1 << column) - 1)).count_ones() as usize
    }

    fn get<'r, T>(&self, row: &'r PgRow, place: usize) -> Result<T, sqlx::Error>
    where
        T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        match self.checked {
            true => row.try_get_unchecked(place),
            false => row.try_get(place),
        }
    }
}

// sqlx's own way to a timestamp, chrono, cannot hold PostgreSQL's infinities.
impl sqlx::Type<sqlx::Postgres> for Timestamp {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        <chrono::DateTime<chrono::Utc> as sqlx::Type<sqlx::Postgres>>::type_info()
    }
}

impl sqlx::Decode<'_, sqlx::Postgres> for Timestamp {
    fn decode(value: sqlx::postgres::PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
        Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?)))
    }
}
