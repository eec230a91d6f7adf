//! The transaction that a stage hands to JavaScript.

use std::future::Future;
use std::sync::{Arc, Weak};

use napi::Env;
use napi::bindgen_prelude::{Either4, Null, PromiseRaw, Uint8Array};
use napi_derive::napi;

use super::error::{Done, Failure};
use super::session::{Place, Session};
use crate::engine::error::Error;
use crate::engine::transaction::{ROOT, Transaction, Use};
use crate::engine::value::{Parameter, Rows};

/// A scope of a transaction: the transaction itself, or a savepoint in it.
#[napi]
pub struct StageManager {
    // Weak: the stage alone decides how long the transaction lives.
    transaction: Weak<Transaction>,
    scope: usize,
}

/// A parameter that JavaScript gives: text, `null`, bytes, or a list in both its readings.
pub type GivenParameter = Either4<String, Null, Uint8Array, GivenList>;

/// A JavaScript array: JSON where the server infers JSON, else an array literal.
#[napi(object, object_to_js = false)]
pub struct GivenList {
    pub json: Option<String>,
    pub literal: String,
}

/// The answer of a query: each column's name and type, and the rows' values as text.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct RowsAnswer {
    pub names: Vec<String>,
    pub types: Vec<u32>,
    pub rows: Vec<Vec<Option<String>>>,
    pub failure: Option<Failure>,
}

/// The answer of opening a savepoint.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct ScopeAnswer {
    pub scope: Option<u32>,
    pub failure: Option<Failure>,
}

impl StageManager {
    /// The whole transaction.
    pub fn root(transaction: &Arc<Transaction>) -> Self {
        Self { transaction: Arc::downgrade(transaction), scope: ROOT }
    }

    fn enter(&self) -> Result<Use, Error> {
        let transaction = self.transaction.upgrade().ok_or_else(Error::transaction_ended)?;
        transaction.enter(self.scope)
    }
}

#[napi]
impl StageManager {
    /// Whether the scope takes calls.
    #[napi(getter, catch_unwind)]
    pub fn is_active(&self) -> bool {
        let transaction = self.transaction.upgrade();
        transaction.is_some_and(|transaction| transaction.is_active(self.scope))
    }

    /// The operations on keys, in this scope.
    #[napi(catch_unwind)]
    pub fn session(&self) -> Session {
        Session::new(Place::Transaction(self.transaction.clone(), self.scope))
    }

    /// Runs a statement of the user's.
    #[napi(catch_unwind)]
    pub fn query<'env>(
        &self,
        env: &'env Env,
        sql: String,
        parameters: Vec<GivenParameter>,
    ) -> napi::Result<PromiseRaw<'env, RowsAnswer>> {
        let entered = self.enter();
        let parameters = parameters.into_iter().map(parameter).collect();
        env.spawn_future(async move {
            let rows = match entered {
                Ok(entered) => entered.query(sql, parameters).await,
                Err(error) => Err(error),
            };
            Ok(RowsAnswer::from(rows))
        })
    }

    /// Opens a savepoint and answers the number of its scope.
    #[napi(catch_unwind)]
    pub fn savepoint<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ScopeAnswer>> {
        let entered = self.enter();
        env.spawn_future(async move {
            let scope = match entered {
                Ok(entered) => entered.savepoint().await,
                Err(error) => Err(error),
            };
            Ok(ScopeAnswer::from(scope))
        })
    }

    /// The manager of a scope that [`Self::savepoint`] opened.
    #[napi(catch_unwind)]
    pub fn nested(&self, scope: u32) -> Self {
        Self { transaction: self.transaction.clone(), scope: scope as usize }
    }

    /// Ends a savepoint's scope and keeps its effects.
    #[napi(catch_unwind)]
    pub fn release<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Done>> {
        let scope = self.scope;
        self.end(
            env,
            move |transaction| async move { transaction.end_savepoint(scope, true).await },
        )
    }

    /// Undoes the scope: back to its savepoint, or the whole transaction.
    #[napi(catch_unwind)]
    pub fn roll_back<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Done>> {
        let scope = self.scope;
        self.end(env, move |transaction| async move {
            match scope {
                ROOT => transaction.roll_back().await,
                savepoint => transaction.end_savepoint(savepoint, false).await,
            }
        })
    }

    fn end<'env, E, F>(&self, env: &'env Env, end: E) -> napi::Result<PromiseRaw<'env, Done>>
    where
        E: FnOnce(Arc<Transaction>) -> F + Send + 'static,
        F: Future<Output = Result<(), Error>> + Send,
    {
        let transaction = self.transaction.upgrade();
        env.spawn_future(async move {
            Ok(Done::from(match transaction {
                Some(transaction) => end(transaction).await,
                None => Err(Error::transaction_ended()),
            }))
        })
    }
}

fn parameter(given: GivenParameter) -> Parameter {
    match given {
        Either4::A(text) => Parameter::Text(text),
        Either4::B(Null) => Parameter::Null,
        Either4::C(bytes) => Parameter::Binary(bytes.to_vec()),
        Either4::D(GivenList { json, literal }) => Parameter::List { json, literal },
    }
}

impl From<Result<Rows, Error>> for RowsAnswer {
    fn from(result: Result<Rows, Error>) -> Self {
        match result {
            Ok(Rows { columns, rows }) => {
                let (names, types) = columns.into_iter().unzip();
                Self { names, types, rows, failure: None }
            }
            Err(error) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }
}

impl From<Result<usize, Error>> for ScopeAnswer {
    fn from(result: Result<usize, Error>) -> Self {
        match result {
            Ok(scope) => Self { scope: u32::try_from(scope).ok(), failure: None },
            Err(error) => Self { scope: None, failure: Some(error.into()) },
        }
    }
}
