//! An operation in a transaction that JavaScript holds: step by step, on the JavaScript thread.

use std::future::Future;
use std::sync::Arc;

use napi_derive::napi;

use super::callback::WorkDone;
use super::error::Failure;
use super::key::{GivenRow, KeyRow};
use crate::engine::error::Error;
use crate::engine::foreign::{self, ForeignSession, Request, Step};
use crate::engine::key::IdempotencyKey;
use crate::engine::sql::Sql;
use crate::engine::statement::Row;

/// An operation under way. Each step says what it needs next, until it has ended.
#[napi]
pub struct Flow {
    flow: foreign::Flow,
}

/// What a flow has come to: it needs a query's rows, or the stage's work, or it has ended with a key
/// or a failure.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct FlowStep {
    pub sql: Option<String>,
    pub parameters: Option<Vec<Option<String>>>,
    pub work: Option<bool>,
    pub key: Option<KeyRow>,
    pub failure: Option<Failure>,
}

impl Flow {
    /// The flow of what `operation` does with its session.
    pub fn new<O, F>(sql: Arc<Sql>, operation: O) -> Self
    where
        O: FnOnce(ForeignSession) -> F,
        F: Future<Output = Result<IdempotencyKey, Error>> + Send + 'static,
    {
        Self { flow: foreign::Flow::new(sql, operation) }
    }
}

#[napi]
impl Flow {
    /// The first step.
    #[napi(catch_unwind)]
    pub fn begin(&mut self) -> FlowStep {
        self.flow.go_on().into()
    }

    /// Goes on with the rows of the query.
    #[napi(catch_unwind)]
    pub fn with_rows(&mut self, rows: Vec<GivenRow>) -> FlowStep {
        self.flow.answer_rows(Ok(rows.into_iter().map(Row::from).collect())).into()
    }

    /// Goes on after the query has failed. What it failed with stays in JavaScript.
    #[napi(catch_unwind)]
    pub fn with_failed_query(&mut self, code: Option<String>) -> FlowStep {
        self.flow.answer_rows(Err(Error::Work { code })).into()
    }

    /// Goes on after the work has ended.
    #[napi(catch_unwind)]
    pub fn with_work(&mut self, done: WorkDone) -> FlowStep {
        self.flow.answer_work(done.into()).into()
    }
}

impl From<Step> for FlowStep {
    fn from(step: Step) -> Self {
        match step {
            Step::Needs(Request::Rows(query)) => Self {
                sql: Some(query.text.as_ref().to_owned()),
                parameters: Some(query.parameters),
                ..Self::default()
            },
            Step::Needs(Request::Work) => Self { work: Some(true), ..Self::default() },
            Step::Ended(Ok(key)) => Self { key: Some(key.into()), ..Self::default() },
            Step::Ended(Err(error)) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }
}
