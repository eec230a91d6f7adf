//! Operations in a transaction that somebody else holds, such as a TypeORM EntityManager.
//!
//! The engine cannot reach that connection. So a [`SteppedOperation`] runs an operation as far as it gets,
//! says what it needs ([`Step`]), and resumes when it is given that ([`Given`]). Whoever drives it does so on
//! their own thread, without a runtime: an operation costs no switch of threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::engine::error::Error;
use crate::engine::key::StageResult;
use crate::engine::protocol::executor::{Executor, Running};
use crate::engine::protocol::lease::arbiter::Arbiter;
use crate::engine::protocol::outcome::Answer;
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::{Query, Sql};

/// How far an operation has come.
#[derive(Debug)]
pub enum Step {
    /// It needs the rows of this query, in the caller's transaction.
    Query(Query),
    /// It needs the stage's work to be done.
    Work,
    /// It needs the renewal or release of its lease to end that is under way.
    Wait,
    /// It has ended.
    Ended(Result<Answer, Error>),
}

/// What an operation needed.
#[derive(Debug)]
pub enum Given {
    /// The rows of its query, or why there are none.
    Rows(Result<Vec<Row>, Error>),
    /// The result of the stage's work.
    Work(Result<StageResult, Error>),
    /// The change of its lease has ended.
    Waited,
}

type Operation = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

/// An operation that is driven from outside.
pub struct SteppedOperation {
    operation: Option<Operation>,
    exchange: Arc<Exchange>,
}

/// Where an operation leaves what it needs, and finds what it is given.
#[derive(Default)]
struct Exchange {
    needed: Mutex<Option<Step>>,
    given: Mutex<Option<Given>>,
}

/// Has the driver of an operation run its statements.
pub struct SteppedExecutor {
    sql: Arc<Sql>,
    exchange: Arc<Exchange>,
}

impl SteppedOperation {
    /// What `operation` does with its executor.
    pub fn new<O, F>(sql: Arc<Sql>, operation: O) -> Self
    where
        O: FnOnce(SteppedExecutor) -> F,
        F: Future<Output = Result<Answer, Error>> + Send + 'static,
    {
        let exchange = Arc::new(Exchange::default());
        let executor = SteppedExecutor { sql, exchange: Arc::clone(&exchange) };
        Self { operation: Some(Box::pin(operation(executor))), exchange }
    }

    /// Runs the operation until it needs something for the first time, or has ended.
    pub fn begin(&mut self) -> Step {
        self.run()
    }

    /// Gives the operation what it needed, and runs it until it needs something again, or has ended.
    pub fn resume(&mut self, given: Given) -> Step {
        *locked(&self.exchange.given) = Some(given);
        self.run()
    }

    fn run(&mut self) -> Step {
        let Some(operation) = &mut self.operation else {
            return Step::Ended(Err(Error::transaction_ended()));
        };
        // Nobody wakes an operation but its driver, who knows when it can go on.
        if let Poll::Ready(answer) =
            operation.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            self.operation = None;
            return Step::Ended(answer);
        }
        let needed = locked(&self.exchange.needed).take();
        needed.unwrap_or(Step::Ended(Err(Error::OperationStuck)))
    }
}

impl SteppedExecutor {
    /// The stage's work, which the operation's driver does.
    ///
    /// # Errors
    /// The work's own.
    pub fn work(&self) -> impl Future<Output = Result<StageResult, Error>> + Send + use<> {
        let exchange = Arc::clone(&self.exchange);
        async move {
            match exchange.need(Step::Work).await {
                Given::Work(result) => result,
                _ => Err(Error::OperationStuck),
            }
        }
    }
}

impl Executor for SteppedExecutor {
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        let query = Step::Query(self.sql.write(statement));
        Box::pin(async move {
            match self.exchange.need(query).await {
                Given::Rows(rows) => rows,
                _ => Err(Error::OperationStuck),
            }
        })
    }

    fn wait_for_change<'a>(&'a self, _: &'a Arbiter) -> Running<'a, ()> {
        Box::pin(async move {
            match self.exchange.need(Step::Wait).await {
                Given::Waited => Ok(()),
                _ => Err(Error::OperationStuck),
            }
        })
    }
}

impl Exchange {
    async fn need(&self, step: Step) -> Given {
        *locked(&self.needed) = Some(step);
        std::future::poll_fn(|_| locked(&self.given).take().map_or(Poll::Pending, Poll::Ready))
            .await
    }
}

fn locked<T>(slot: &Mutex<Option<T>>) -> MutexGuard<'_, Option<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::key::IdempotencyKey;
    use crate::engine::protocol::lease::{self, Lease};
    use crate::engine::protocol::outcome::Outcome;
    use crate::engine::protocol::stage::{self, Claimant};
    use crate::engine::protocol::statement::{RowLocation, Token};

    fn row() -> Row {
        let key = IdempotencyKey {
            id: "ikey_1".to_owned(),
            idempotency_key: "k".to_owned(),
            recovery_point: "started".to_owned(),
            ..IdempotencyKey::default()
        };
        let location = RowLocation("(0,1)".to_owned());
        Row { key, location, token: Token("x1".to_owned()), won: true, live: false, same: true }
    }

    fn stage(claimant: Claimant) -> SteppedOperation {
        SteppedOperation::new(Arc::new(Sql::new(None)), |executor| async move {
            let work = executor.work();
            stage::run(&executor, "k", &claimant, work).await
        })
    }

    fn rows(rows: Vec<Row>) -> Given {
        Given::Rows(Ok(rows))
    }

    #[test]
    fn a_stage_asks_for_the_row_the_work_and_the_update_in_turn() {
        let mut operation = stage(Claimant::Anyone);
        let Step::Query(query) = operation.begin() else { panic!("no row lock") };
        assert!(query.text.ends_with("FOR UPDATE"), "{}", query.text);
        let Step::Work = operation.resume(rows(vec![row()])) else { panic!("no work") };
        let result = StageResult::RecoveryPoint("paid".to_owned());
        let Step::Query(query) = operation.resume(Given::Work(Ok(result))) else {
            panic!("no update")
        };
        assert!(query.text.starts_with("UPDATE"), "{}", query.text);
        let Step::Ended(Ok(answer)) = operation.resume(rows(vec![row()])) else { panic!("no end") };
        assert_eq!(answer, Answer::new(row().key, Outcome::Ran));
    }

    #[test]
    fn an_unknown_key_ends_the_stage_before_the_work() {
        let mut operation = stage(Claimant::Anyone);
        operation.begin();
        let Step::Ended(Err(Error::NotFound(key))) = operation.resume(rows(Vec::new())) else {
            panic!("not refused")
        };
        assert_eq!(key, "k");
        assert!(matches!(operation.resume(rows(Vec::new())), Step::Ended(Err(_))));
    }

    #[test]
    fn a_wrong_answer_ends_the_operation() {
        let mut operation = stage(Claimant::Anyone);
        operation.begin();
        let step = operation.resume(Given::Waited);
        assert!(matches!(step, Step::Ended(Err(Error::OperationStuck))), "{step:?}");
    }

    #[test]
    fn a_stage_waits_for_a_change_of_its_lease() {
        let lease = Arc::new(Lease::new(Duration::from_secs(1)));
        let mut renewing = SteppedOperation::new(Arc::new(Sql::new(None)), {
            let lease = Arc::clone(&lease);
            |executor| async move { lease::renew(&executor, &lease).await.map(|()| row().key.into()) }
        });
        assert!(matches!(renewing.begin(), Step::Query(_)));
        let mut operation = stage(Claimant::LeaseHolder(lease, None));
        assert!(matches!(operation.begin(), Step::Wait));
        // It is asked again too soon.
        assert!(matches!(operation.resume(Given::Waited), Step::Wait));
        assert!(matches!(renewing.resume(rows(Vec::new())), Step::Ended(Ok(_))));
        assert!(matches!(operation.resume(Given::Waited), Step::Query(_)));
    }
}
