//! An operation in a transaction that JavaScript holds: step by step, on the JavaScript thread.

use std::future::Future;
use std::sync::Arc;

use napi::bindgen_prelude::Array;
use napi_derive::napi;

use super::callback::WorkDone;
use super::error::Failure;
use super::key::given_row;
use crate::engine::error::Error;
use crate::engine::foreign::{self, ForeignSession, Need, Step};
use crate::engine::sql::Sql;
use crate::engine::stage::Staged;

/// An operation under way. Each step says what it needs next, until it has ended.
#[napi]
pub struct Flow {
    flow: foreign::Flow,
}

/// What a flow has come to: it needs a query's rows, or the stage's work, or it has ended with a
/// failure, or with the key in the first of the rows that it was given last.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct FlowStep {
    pub sql: Option<String>,
    pub parameters: Option<Vec<Option<String>>>,
    pub work: Option<bool>,
    /// Whether the work of a stage was done.
    pub ran: Option<bool>,
    pub failure: Option<Failure>,
}

impl Flow {
    /// The flow of what `operation` does with its session.
    pub fn new<O, F>(sql: Arc<Sql>, operation: O) -> Self
    where
        O: FnOnce(ForeignSession) -> F,
        F: Future<Output = Result<Staged, Error>> + Send + 'static,
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
    pub fn with_rows(&mut self, rows: Vec<Array>) -> napi::Result<FlowStep> {
        let rows = rows.iter().map(given_row).collect::<napi::Result<_>>()?;
        Ok(self.flow.answer_rows(Ok(rows)).into())
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
            Step::Needs(Need::Rows(query)) => Self {
                sql: Some(query.text.as_ref().to_owned()),
                parameters: Some(query.parameters),
                ..Self::default()
            },
            Step::Needs(Need::Work) => Self { work: Some(true), ..Self::default() },
            Step::Ended(Ok(staged)) => Self { ran: Some(staged.ran), ..Self::default() },
            Step::Ended(Err(error)) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }
}
