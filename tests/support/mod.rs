//! A schema of its own for each test.

use std::future::Future;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medusa_idempotency_key::engine::error::Error;
use medusa_idempotency_key::engine::execution::in_transaction;
use medusa_idempotency_key::engine::execution::pool_executor::PoolExecutor;
use medusa_idempotency_key::engine::execution::transaction::{ROOT, Transaction};
use medusa_idempotency_key::engine::key::{Columns, Field, IdempotencyKey, StageResult};
use medusa_idempotency_key::engine::postgres::parts::{Host, Parts};
use medusa_idempotency_key::engine::postgres::pool_user::{PoolSize, PoolUser};
use medusa_idempotency_key::engine::postgres::target::Target;
use medusa_idempotency_key::engine::postgres::timeouts::Timeouts;
use medusa_idempotency_key::engine::protocol::executor::{Executor, Running};
use medusa_idempotency_key::engine::protocol::operations;
use medusa_idempotency_key::engine::protocol::stage::Claimant;
use medusa_idempotency_key::engine::protocol::statement::{Row, Statement};
use medusa_idempotency_key::engine::sql::{Isolation, Sql};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How long a test waits for what has to come. It fails then, and never passes by it.
pub const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// A schema with the table of keys and a table `effect` for what stages do.
pub struct Database {
    url: String,
    schema: String,
    max_connections: usize,
    user: Mutex<Option<PoolUser>>,
    executor: PoolExecutor,
}

impl Database {
    pub async fn new() -> Self {
        Self::with_connections(4).await
    }

    pub async fn with_connections(max_connections: usize) -> Self {
        Self::with(max_connections, "").await
    }

    /// One where a statement waits for a lock for so long.
    pub async fn with_lock_timeout(lock_timeout: &str) -> Self {
        Self::with(4, &format!("%20-clock_timeout%3D{lock_timeout}")).await
    }

    async fn with(max_connections: usize, options: &str) -> Self {
        let url = std::env::var("TEST_DATABASE_URL")
            .expect("TEST_DATABASE_URL names the server to test on; `npm test` starts one");
        let schema = format!("test_{}", Uuid::new_v4().simple());
        // The schema is the search path too, and makes the URL, and so the pool, the test's own. As the
        // application's name it tells the test's backends from others.
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!(
            "{url}{separator}application_name={schema}&options=-csearch_path%3D{schema}{options}"
        );
        let user = join(&url, max_connections).unwrap();
        let executor =
            PoolExecutor { pool: Arc::clone(user.pool()), sql: Arc::new(Sql::new(Some(&schema))) };
        executor.migrate().await.unwrap();
        executor.migrate().await.unwrap();
        execute(&executor, "CREATE TABLE effect (at timestamptz DEFAULT now())").await;
        Self { url, schema, max_connections, user: Mutex::new(Some(user)), executor }
    }

    pub fn executor(&self) -> &PoolExecutor {
        &self.executor
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// One more user of the test's pool.
    pub fn user(&self) -> PoolUser {
        join(&self.url, self.max_connections).unwrap()
    }

    /// Leaves the pool to the other users.
    pub async fn leave(&self) {
        let user = self.user.lock().unwrap().take();
        if let Some(user) = user {
            user.leave().await.unwrap();
        }
    }

    pub async fn stage<W, F>(&self, key: &str, work: W) -> Result<IdempotencyKey, Error>
    where
        W: Fn(Arc<Transaction>) -> F,
        F: Future<Output = Result<StageResult, Error>>,
    {
        let staged =
            in_transaction::run_stage(&self.executor, key, &Claimant::Anyone, 3, work).await;
        staged.map(|staged| staged.key)
    }

    /// Waits until a condition in SQL holds. Looks on a connection of its own, as the pool's may all be in
    /// use.
    pub async fn until(&self, condition: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let look = format!("SELECT {condition}");
        let looking = async {
            loop {
                let look = sqlx::query_scalar::<_, bool>(AssertSqlSafe(&*look));
                if look.fetch_one(&mut connection).await.unwrap() {
                    break;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        looked.unwrap_or_else(|_| panic!("never became true: {condition}"));
        connection.close().await.unwrap();
    }

    /// Waits until so many, or more, of the test's backends wait for a lock.
    pub async fn until_blocked(&self, count: usize) {
        self.until(&format!(
            "(SELECT count(*) >= {count} FROM pg_stat_activity \
             WHERE application_name = current_schema AND wait_event_type = 'Lock')"
        ))
        .await;
    }

    /// How many effects were committed.
    pub async fn effects(&self) -> i64 {
        let mut connection = self.executor.pool.connection().await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM effect");
        let count = count.fetch_one(connection.start().unwrap()).await;
        connection.end(count).unwrap()
    }

    pub async fn drop(self) {
        let user = join(&self.url, self.max_connections).unwrap();
        let executor =
            PoolExecutor { pool: Arc::clone(user.pool()), sql: Arc::clone(&self.executor.sql) };
        execute(&executor, &format!("DROP SCHEMA {} CASCADE", self.schema)).await;
        self.leave().await;
        user.leave().await.unwrap();
    }
}

/// The pool of a URL, whose role needs no password.
pub fn join(url: &str, max_connections: usize) -> Result<PoolUser, Error> {
    let options = PgConnectOptions::from_str(url).expect("a URL");
    let mut parts = Parts {
        hosts: vec![Host { name: options.get_host().to_owned(), port: options.get_port() }],
        user: Some(options.get_username().to_owned()),
        database: options.get_database().map(str::to_owned),
        options: options.get_options().map(str::to_owned),
        application_name: options.get_application_name().map(str::to_owned),
        ..Parts::default()
    };
    let size = PoolSize { max_connections, timeouts: Timeouts::default(), has_reactor: false };
    PoolUser::join(url, size, || Target::new(&mut parts))
}

/// Runs SQL of the test's own, in a transaction: that waits for locks, as autovacuum may have one.
pub async fn execute(executor: &PoolExecutor, sql: &str) {
    let mut connection = executor.pool.connection().await.unwrap();
    connection.begin(Isolation::ReadCommitted).await.unwrap();
    connection.execute(sql.to_owned()).await.unwrap();
    connection.end_transaction("COMMIT").await.unwrap();
}

pub async fn new_key(executor: &PoolExecutor) -> String {
    operations::create(executor, Columns::default(), false).await.unwrap().idempotency_key
}

pub fn insert_effect_sql() -> String {
    "INSERT INTO effect DEFAULT VALUES".to_owned()
}

pub async fn insert_effect(transaction: &Arc<Transaction>) -> Result<(), Error> {
    insert_effect_in(transaction, ROOT).await
}

pub async fn insert_effect_in(transaction: &Arc<Transaction>, scope: usize) -> Result<(), Error> {
    transaction.enter(scope)?.query(insert_effect_sql(), Vec::new()).await.map(drop)
}

pub fn text(text: &str) -> Field {
    Field::Set(Some(text.to_owned()))
}

pub fn recovery_point(point: &str) -> Columns {
    Columns { recovery_point: text(point), ..Columns::default() }
}

pub fn finished(code: &str) -> StageResult {
    StageResult::Finished {
        response_code: Some(code.to_owned()),
        response_body: None,
        response_headers: None,
    }
}

/// The pool, with a count of the statements that were answered.
#[derive(Clone)]
pub struct CountingExecutor {
    executor: PoolExecutor,
    count: Arc<AtomicUsize>,
}

impl CountingExecutor {
    pub fn new(executor: &PoolExecutor) -> Self {
        Self { executor: executor.clone(), count: Arc::default() }
    }

    /// How many statements were answered.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until so many statements were answered.
    pub async fn until(&self, count: usize) {
        let looking = async {
            while self.count() < count {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        looked.unwrap_or_else(|_| panic!("{} statements instead of {count}", self.count()));
    }
}

impl Executor for CountingExecutor {
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        Box::pin(async move {
            let rows = self.executor.run(statement).await;
            self.count.fetch_add(1, Ordering::SeqCst);
            rows
        })
    }

    fn commits_each(&self) -> bool {
        self.executor.commits_each()
    }
}

/// A way to the server that can be made to lead nowhere, as a network that loses packets.
pub struct FrozenServer {
    url: String,
    frozen: Arc<Notify>,
    traffic: JoinHandle<()>,
}

impl FrozenServer {
    pub async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (before, after) = url.split_once("127.0.0.1:").expect("a server on 127.0.0.1");
        let (port, rest) = after.split_once('/').unwrap();
        let url = format!("{before}{}/{rest}", listener.local_addr().unwrap());
        let server = format!("127.0.0.1:{port}");
        let frozen = Arc::new(Notify::new());
        let freeze = Arc::clone(&frozen);
        let traffic = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(server).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                () = freeze.notified() => {}
            }
            // Both ends stay open; nobody reads them, and nobody takes another connection.
            let _open = (client, server, listener);
            std::future::pending::<()>().await;
        });
        Self { url, frozen, traffic }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn freeze(&self) {
        self.frozen.notify_one();
    }
}

impl Drop for FrozenServer {
    fn drop(&mut self) {
        self.traffic.abort();
    }
}
