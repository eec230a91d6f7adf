//! Operations in a transaction that JavaScript holds: step by step, on the JavaScript thread.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi_derive::napi;
use serde::Deserialize;

use super::calls::{NewlyAsked, claimant, read};
use super::error::Failure;
use super::lease::Lease;
use super::operation::Operation;
use super::work::WorkDone;
use crate::engine::error::Error;
use crate::engine::execution::stepped::{Given, Step, SteppedExecutor, SteppedOperation};
use crate::engine::protocol::outcome::Answer;
use crate::engine::protocol::stage;
use crate::engine::protocol::statement::{Row, RowLocation, Token};
use crate::engine::sql::{Query, Sql};

/// The operations on the table of a schema, in transactions that JavaScript holds.
#[napi]
pub struct SteppedOperations {
    sql: Arc<Sql>,
    /// Those under way, by the numbers that JavaScript gives them: objects would cost more than the steps.
    underway: Mutex<HashMap<u32, SteppedOperation>>,
}

#[napi]
impl SteppedOperations {
    /// None yet. Queries of guarded ones expect one more parameter than they are handed over with, the last: the
    /// number of the transaction that they are for.
    #[napi(constructor, catch_unwind)]
    pub fn new(schema: Option<String>, is_guarded: bool) -> Self {
        let of = if is_guarded { Sql::guarded } else { Sql::new };
        Self { sql: Arc::new(of(schema.as_deref())), underway: Mutex::default() }
    }

    /// Begins an operation, which is JSON but for its long texts, and returns its first step.
    #[napi(catch_unwind)]
    pub fn begin(
        &self,
        number: u32,
        operation: String,
        lease: Option<&Lease>,
        long: Option<Vec<Option<String>>>,
    ) -> napi::Result<StepTexts> {
        let mut operation: Box<Operation> = read(&operation)?;
        operation.take_long(&mut long.unwrap_or_default());
        let lease = lease.map(Lease::shared);
        self.start(
            number,
            |executor| async move { operation.run(&executor, lease.as_deref()).await },
        )
    }

    /// Begins a stage of a key's request, and returns its first step.
    #[napi(catch_unwind)]
    pub fn begin_stage(
        &self,
        number: u32,
        key: String,
        lease: Option<&Lease>,
        recovery_point: Option<String>,
    ) -> napi::Result<StepTexts> {
        let claimant = claimant(lease, recovery_point);
        self.start(number, |executor| async move {
            let work = executor.work();
            stage::run(&executor, &key, &claimant, work).await
        })
    }

    /// Begins the first stage of a new request, which inserts its key, and returns its first step. `request` is
    /// that of [`NewlyAsked`] as JSON; the key is in the first of the rows that were given last when the work is
    /// to be done.
    #[napi(catch_unwind)]
    pub fn begin_first_stage(
        &self,
        number: u32,
        request: String,
        lease: &Lease,
    ) -> napi::Result<StepTexts> {
        let lease = lease.shared();
        let new = read::<NewlyAsked>(&request)?.with_lease(&lease);
        self.start(number, |executor| async move {
            let work = executor.work();
            stage::run_first(&executor, new, &lease, |_| work).await
        })
    }

    /// Gives an operation what its last step needs, and returns its next step. What it is given is JSON, but for
    /// the response body of a stage, which may be long.
    #[napi(catch_unwind)]
    pub fn resume(
        &self,
        number: u32,
        given: String,
        response_body: Option<String>,
    ) -> napi::Result<StepTexts> {
        let given = read::<GivenJson>(&given)?.with_body(response_body);
        let mut underway = self.underway();
        let step = match underway.get_mut(&number) {
            Some(operation) => operation.resume(given),
            None => Step::Ended(Err(Error::transaction_ended())),
        };
        if matches!(step, Step::Ended(_)) {
            underway.remove(&number);
        }
        texts(step)
    }

    /// Forgets an operation that will not be resumed.
    #[napi(catch_unwind)]
    pub fn abandon(&self, number: u32) {
        self.underway().remove(&number);
    }
}

impl SteppedOperations {
    fn start<O, F>(&self, number: u32, operation: O) -> napi::Result<StepTexts>
    where
        O: FnOnce(SteppedExecutor) -> F,
        F: Future<Output = Result<Answer, Error>> + Send + 'static,
    {
        let mut operation = SteppedOperation::new(Arc::clone(&self.sql), operation);
        let step = operation.begin();
        if !matches!(step, Step::Ended(_)) {
            self.underway().insert(number, operation);
        }
        texts(step)
    }

    fn underway(&self) -> MutexGuard<'_, HashMap<u32, SteppedOperation>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A step as it crosses the door: a list of texts, of which the first is its name.
///
/// - `query`, its SQL and its parameters: its rows are needed;
/// - `work`: the stage's work is to be done;
/// - `wait`: the change of the lease has to end, see [`Lease::change_ended`];
/// - `done` and the outcome, if there is one: the key is in the first of the rows that were given last;
/// - `failed` and the failure as JSON.
#[napi]
pub type StepTexts = Vec<Option<String>>;

fn texts(step: Step) -> napi::Result<StepTexts> {
    Ok(match step {
        Step::Query(Query { text, parameters, .. }) => {
            let mut texts = Vec::with_capacity(2 + parameters.len());
            texts.extend([Some("query".to_owned()), Some(text.as_ref().to_owned())]);
            texts.extend(parameters);
            texts
        }
        Step::Work => vec![Some("work".to_owned())],
        Step::Wait => vec![Some("wait".to_owned())],
        Step::Ended(Ok(Answer { outcome, .. })) => {
            let outcome = outcome.map(|outcome| outcome.name().to_owned());
            vec![Some("done".to_owned()), outcome]
        }
        Step::Ended(Err(error)) => {
            let failure = serde_json::to_string(&Failure::from(error));
            let failure = failure.map_err(|error| napi::Error::from_reason(error.to_string()))?;
            vec![Some("failed".to_owned()), Some(failure)]
        }
    })
}

/// What an operation is given, as it crosses the door.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum GivenJson {
    /// How many rows its query has answered, and the first of them.
    Rows { count: usize, first: Option<DecisiveColumns> },
    /// Its query has failed, with an error that has this code. The error itself stays in JavaScript.
    Failed { code: Option<String> },
    /// How the work has ended.
    Work(WorkDone),
    /// The change of the lease has ended.
    Waited,
}

/// The columns of a row that the engine decides by. The key's other columns stay in JavaScript, which has
/// them already.
#[derive(Clone, Deserialize)]
struct DecisiveColumns {
    recovery_point: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    token: String,
    live: Option<bool>,
    idempotency_key: Option<String>,
    won: Option<bool>,
    same: Option<bool>,
}

impl GivenJson {
    fn with_body(self, response_body: Option<String>) -> Given {
        match self {
            Self::Rows { count, first } => {
                Given::Rows(Ok(first.map_or_else(Vec::new, |first| vec![first.into(); count])))
            }
            Self::Failed { code } => Given::Rows(Err(Error::Work { code })),
            Self::Work(done) => Given::Work(WorkDone { response_body, ..done }.into()),
            Self::Waited => Given::Waited,
        }
    }
}

impl From<DecisiveColumns> for Row {
    fn from(columns: DecisiveColumns) -> Self {
        let live = columns.live.unwrap_or(false);
        let (location, token) = (RowLocation(columns.location), Token(columns.token));
        let mut row = Self::claimed(columns.recovery_point, location, token, live);
        row.key.idempotency_key = columns.idempotency_key.unwrap_or_default();
        row.won = columns.won.unwrap_or(true);
        row.same = columns.same.unwrap_or(true);
        row
    }
}
