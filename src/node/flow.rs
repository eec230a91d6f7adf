//! Operations in a transaction that JavaScript holds: step by step, on the JavaScript thread.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi_derive::napi;

use super::error::Failure;
use crate::engine::error::Error;
use crate::engine::foreign::{Flow, ForeignSession, Need, Step};
use crate::engine::sql::{Query, Sql};
use crate::engine::stage::Staged;

/// The operations under way, by the numbers that JavaScript gives them: objects would cost more than
/// the steps.
pub struct Flows {
    sql: Arc<Sql>,
    underway: Mutex<HashMap<u32, Flow>>,
}

/// What a flow has come to: it needs a query's rows, or the stage's work, or it has ended with a
/// failure, or with the key in the first of the rows that it was given last. One of these is there.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct FlowStep {
    /// SQL, and its parameters.
    pub query: Option<Vec<Option<String>>>,
    pub work: Option<bool>,
    /// Whether the work of a stage was done.
    pub ran: Option<bool>,
    pub failure: Option<Failure>,
}

impl Flows {
    /// None yet, on the table that the statements are for.
    pub fn new(sql: Arc<Sql>) -> Self {
        Self { sql, underway: Mutex::default() }
    }

    /// Begins the flow of what `operation` does with its session.
    pub fn begin<O, F>(&self, number: u32, operation: O) -> FlowStep
    where
        O: FnOnce(ForeignSession) -> F,
        F: Future<Output = Result<Staged, Error>> + Send + 'static,
    {
        let mut flow = Flow::new(Arc::clone(&self.sql), operation);
        let step = flow.go_on();
        if !matches!(step, Step::Ended(_)) {
            self.underway().insert(number, flow);
        }
        step.into()
    }

    /// Has a flow go on.
    pub fn go_on(&self, number: u32, answer: impl FnOnce(&mut Flow) -> Step) -> FlowStep {
        let mut underway = self.underway();
        let step = match underway.get_mut(&number) {
            Some(flow) => answer(flow),
            None => Step::Ended(Err(Error::transaction_ended())),
        };
        if matches!(step, Step::Ended(_)) {
            underway.remove(&number);
        }
        step.into()
    }

    /// Gives a flow up.
    pub fn give_up(&self, number: u32) {
        self.underway().remove(&number);
    }

    fn underway(&self) -> MutexGuard<'_, HashMap<u32, Flow>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Step> for FlowStep {
    fn from(step: Step) -> Self {
        match step {
            Step::Needs(Need::Rows(Query { text, mut parameters })) => {
                parameters.insert(0, Some(text.as_ref().to_owned()));
                Self { query: Some(parameters), ..Self::default() }
            }
            Step::Needs(Need::Work) => Self { work: Some(true), ..Self::default() },
            Step::Ended(Ok(staged)) => Self { ran: Some(staged.ran), ..Self::default() },
            Step::Ended(Err(error)) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }
}
