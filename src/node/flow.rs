//! Operations in a transaction that JavaScript holds: step by step, on the JavaScript thread.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::Either3;
use napi_derive::napi;

use super::error::Failure;
use crate::engine::error::Error;
use crate::engine::execution::stepped::{Flow, ForeignSession, Need, Step};
use crate::engine::protocol::stage::Staged;
use crate::engine::sql::{Query, Sql};

/// The operations under way, by the numbers that JavaScript gives them: objects would cost more than
/// the steps.
pub struct Flows {
    sql: Arc<Sql>,
    underway: Mutex<HashMap<u32, Flow>>,
}

/// What a flow has come to: it needs the rows of a query, which is a list of its SQL and its parameters;
/// or, where there is nothing, the stage's work; or it has ended with a failure, or with the key in the
/// first of the rows that it was given last, and says whether the work of a stage was done.
#[napi]
pub type FlowStep = Option<Either3<Vec<Option<String>>, bool, Failure>>;

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
        crossing(step)
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
        crossing(step)
    }

    /// Gives a flow up.
    pub fn give_up(&self, number: u32) {
        self.underway().remove(&number);
    }

    fn underway(&self) -> MutexGuard<'_, HashMap<u32, Flow>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A step as it crosses the door.
fn crossing(step: Step) -> FlowStep {
    match step {
        Step::Needs(Need::Rows(Query { text, mut parameters })) => {
            parameters.insert(0, Some(text.as_ref().to_owned()));
            Some(Either3::A(parameters))
        }
        Step::Needs(Need::Work) => None,
        Step::Ended(Ok(staged)) => Some(Either3::B(staged.ran)),
        Step::Ended(Err(error)) => Some(Either3::C(error.into())),
    }
}
