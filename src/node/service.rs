//! The native half of `IdempotencyKeyService`: its pool, and the transactions it opens itself.

use std::sync::{Arc, Mutex, PoisonError};

use napi::Env;
use napi::bindgen_prelude::PromiseRaw;
use napi_derive::napi;

use super::callback::{self, Work};
use super::connection::ConnectionParts;
use super::error::Done;
use super::key::KeyAnswer;
use super::session::{Place, Session};
use crate::engine::error::Error;
use crate::engine::pool::{PoolSession, PoolUser};
use crate::engine::settings::{Parts, Target};
use crate::engine::sql::{Isolation, Sql};
use crate::engine::stage;

/// What a service is opened with.
#[napi(object, object_to_js = false)]
pub struct Settings {
    /// What tells the database from others.
    pub identity: String,
    /// Where it is, or
    pub database_url: Option<String>,
    /// its settings one by one.
    pub connection: Option<ConnectionParts>,
    pub schema: Option<String>,
    pub max_connections: u32,
    pub max_retries: u32,
}

/// The service's use of its database.
#[napi]
pub struct Service {
    user: Mutex<Option<PoolUser>>,
    session: PoolSession,
    max_retries: usize,
}

#[napi]
impl Service {
    /// Joins the process's pool for the database.
    #[napi(constructor, catch_unwind)]
    pub fn new(settings: Settings) -> napi::Result<Self> {
        let max_connections = settings.max_connections as usize;
        let target = || match (settings.database_url, settings.connection) {
            (Some(url), _) => Target::from_url(&url),
            (None, parts) => Ok(Target::from_parts(parts.map(Parts::from).unwrap_or_default())),
        };
        let user = PoolUser::join(&settings.identity, max_connections, target).map_err(refused)?;
        Ok(Self {
            session: PoolSession {
                pool: Arc::clone(user.pool()),
                sql: Arc::new(Sql::new(settings.schema.as_deref())),
            },
            user: Mutex::new(Some(user)),
            max_retries: settings.max_retries as usize,
        })
    }

    /// The operations on keys, each on a connection of the pool.
    #[napi(catch_unwind)]
    pub fn session(&self) -> Session {
        Session::new(Place::Pool(self.session.clone()))
    }

    /// Runs a stage of a key's request in a transaction of its own.
    #[napi(catch_unwind)]
    pub fn work_stage<'env>(
        &self,
        env: &'env Env,
        key: String,
        work: Work,
    ) -> napi::Result<PromiseRaw<'env, KeyAnswer>> {
        let session = self.session.clone();
        let max_retries = self.max_retries;
        let work = Arc::new(work);
        env.spawn_future(async move {
            let work = |transaction| {
                let work = Arc::clone(&work);
                async move { callback::run(&work, &transaction).await }
            };
            let key = stage::run_in_transaction(&session, &key, max_retries, work).await;
            Ok(KeyAnswer::from(key))
        })
    }

    /// Runs work in a transaction of its own, repeated once after a serialization failure if
    /// `repeat` says so.
    #[napi(catch_unwind)]
    pub fn atomic_phase<'env>(
        &self,
        env: &'env Env,
        isolation: Option<String>,
        repeat: bool,
        work: Work,
    ) -> napi::Result<PromiseRaw<'env, Done>> {
        let session = self.session.clone();
        let work = Arc::new(work);
        env.spawn_future(async move {
            let done = async {
                let isolation =
                    isolation.as_deref().unwrap_or("READ COMMITTED").parse::<Isolation>()?;
                stage::in_transaction(&session, isolation, repeat.into(), |transaction| {
                    let work = Arc::clone(&work);
                    async move { callback::run(&work, &transaction).await.map(drop) }
                })
                .await
            };
            Ok(Done::from(done.await))
        })
    }

    /// Creates the table where it is missing.
    #[napi(catch_unwind)]
    pub fn migrate<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Done>> {
        let session = self.session.clone();
        env.spawn_future(async move { Ok(Done::from(session.migrate().await)) })
    }

    /// Leaves the pool; the last user ends it.
    #[napi(catch_unwind)]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Done>> {
        let user = self.user.lock().unwrap_or_else(PoisonError::into_inner).take();
        env.spawn_future(async move {
            Ok(Done::from(match user {
                Some(user) => user.leave().await,
                None => Ok(()),
            }))
        })
    }
}

/// Checks that a URL names a PostgreSQL database; throws with a message that says what is wrong.
#[napi(catch_unwind)]
pub fn check_database_url(url: String) -> napi::Result<()> {
    Target::from_url(&url).map(drop).map_err(refused)
}

fn refused(error: Error) -> napi::Error {
    napi::Error::new(napi::Status::InvalidArg, error.to_string())
}
