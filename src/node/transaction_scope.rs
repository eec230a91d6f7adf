//! The engine's own transactions, as JavaScript uses them.

use std::future::Future;
use std::sync::{Arc, Weak};

use napi::bindgen_prelude::{ClassInstance, Either4, Null, Uint8Array};
use napi_derive::napi;
use serde::Serialize;

use super::answers::Answers;
use super::calls::{claimant, read_calls};
use super::lease::Lease;
use crate::engine::error::Error;
use crate::engine::execution::transaction::{ROOT, Transaction, Use};
use crate::engine::postgres::value::{Parameter, Rows};
use crate::engine::protocol::stage;

/// A scope of a transaction: the transaction itself, or a savepoint in it.
#[napi]
pub struct TransactionScope {
    // Weak: the stage owns the transaction, and a scope that JavaScript keeps does not keep it open.
    transaction: Weak<Transaction>,
    scope: usize,
}

/// What the work of a call is to be done in, unless nobody waits for it any more.
#[napi(catch_unwind)]
pub fn scope_of(answers: &Answers, call: u32) -> Option<TransactionScope> {
    let transaction = answers.take_transaction(call)?;
    Some(TransactionScope { transaction, scope: ROOT })
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
#[derive(Serialize)]
struct RowsAnswer {
    names: Vec<String>,
    types: Vec<u32>,
    rows: Vec<Vec<Option<String>>>,
}

impl TransactionScope {
    fn enter(&self) -> Result<Use, Error> {
        let transaction = self.transaction.upgrade().ok_or_else(Error::transaction_ended)?;
        transaction.enter(self.scope)
    }
}

#[napi]
impl TransactionScope {
    /// Whether the scope takes calls.
    #[napi(getter, catch_unwind)]
    pub fn is_active(&self) -> bool {
        let transaction = self.transaction.upgrade();
        transaction.is_some_and(|transaction| transaction.is_active(self.scope))
    }

    /// Begins operations on keys in this scope, in their order: see [`super::calls`].
    #[napi(catch_unwind)]
    pub fn begin(
        &self,
        answers: &Answers,
        calls: String,
        leases: Vec<ClassInstance<'_, Lease>>,
        long: Vec<Vec<Option<String>>>,
    ) -> napi::Result<()> {
        for call in read_calls(&calls, &leases, long)? {
            call.begin(answers, self.enter());
        }
        Ok(())
    }

    /// Runs a stage of a key's request in this scope.
    #[napi(catch_unwind)]
    pub fn work_stage(
        &self,
        answers: &Answers,
        call: u32,
        key: String,
        lease: Option<&Lease>,
        recovery_point: Option<String>,
    ) {
        let transaction = self.transaction.clone();
        let claimant = claimant(lease, recovery_point);
        let executor = self.enter();
        let work = answers.work(call);
        answers.answer_key(call, async move {
            let executor = executor?;
            stage::run(&executor, &key, &claimant, work.run(transaction, None)).await
        });
    }

    /// Runs a statement of the user's.
    #[napi(catch_unwind)]
    pub fn query(
        &self,
        answers: &Answers,
        call: u32,
        sql: String,
        parameters: Vec<GivenParameter>,
    ) {
        let entered = self.enter();
        let parameters = parameters.into_iter().map(parameter).collect();
        answers.answer(call, async move {
            let Rows { columns, rows } = entered?.query(sql, parameters).await?;
            let (names, types) = columns.into_iter().unzip();
            Ok(RowsAnswer { names, types, rows })
        });
    }

    /// Opens a savepoint and answers the number of its scope.
    #[napi(catch_unwind)]
    pub fn savepoint(&self, answers: &Answers, call: u32) {
        let entered = self.enter();
        answers.answer(call, async move { entered?.savepoint().await });
    }

    /// The scope of this number, which [`Self::savepoint`] opened.
    #[napi(catch_unwind)]
    pub fn nested(&self, scope: u32) -> Self {
        Self { transaction: self.transaction.clone(), scope: scope as usize }
    }

    /// Ends a savepoint's scope and keeps its effects.
    #[napi(catch_unwind)]
    pub fn release(&self, answers: &Answers, call: u32) {
        let scope = self.scope;
        self.end(answers, call, move |transaction| async move {
            transaction.end_savepoint(scope, true).await
        });
    }

    /// Undoes the scope: back to its savepoint, or the whole transaction.
    #[napi(catch_unwind)]
    pub fn roll_back(&self, answers: &Answers, call: u32) {
        let scope = self.scope;
        self.end(answers, call, move |transaction| async move {
            match scope {
                ROOT => transaction.roll_back().await,
                savepoint => transaction.end_savepoint(savepoint, false).await,
            }
        });
    }

    fn end<E, F>(&self, answers: &Answers, call: u32, end: E)
    where
        E: FnOnce(Arc<Transaction>) -> F + Send + 'static,
        F: Future<Output = Result<(), Error>> + Send,
    {
        let transaction = self.transaction.upgrade();
        answers.answer(call, async move {
            end(transaction.ok_or_else(Error::transaction_ended)?).await
        });
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
