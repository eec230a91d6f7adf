//! Statements in a transaction that somebody else holds, such as a TypeORM EntityManager.
//!
//! The engine cannot reach that connection. So a [`Flow`] runs an operation as far as it gets, hands
//! out what it needs ([`Need`]), and goes on when it is given the answer. Whoever drives it does so
//! on his own thread, without a runtime: an operation costs no thread hop.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::engine::error::Error;
use crate::engine::key::Outcome;
use crate::engine::protocol::session::{Running, Session};
use crate::engine::protocol::stage::Staged;
use crate::engine::protocol::statement::{Row, Statement};
use crate::engine::sql::{Query, Sql};

/// What an operation needs from outside to go on.
#[derive(Debug)]
pub enum Need {
    /// The rows of this query, in the caller's transaction.
    Rows(Query),
    /// The stage's work, done.
    Work,
}

/// What a flow has come to.
#[derive(Debug)]
pub enum Step {
    /// It needs something.
    Needs(Need),
    /// It has ended.
    Ended(Result<Staged, Error>),
}

type Operation = Pin<Box<dyn Future<Output = Result<Staged, Error>> + Send>>;

/// An operation that is driven from outside.
pub struct Flow {
    operation: Option<Operation>,
    exchange: Arc<Exchange>,
}

/// Where needs are left and answers are found.
#[derive(Default)]
struct Exchange {
    need: Mutex<Option<Need>>,
    rows: Mutex<Option<Result<Vec<Row>, Error>>>,
    work: Mutex<Option<Result<Outcome, Error>>>,
}

/// The session that an operation in a flow runs on.
pub struct ForeignSession {
    sql: Arc<Sql>,
    exchange: Arc<Exchange>,
}

impl Flow {
    /// A flow of what `operation` does with its session.
    pub fn new<O, F>(sql: Arc<Sql>, operation: O) -> Self
    where
        O: FnOnce(ForeignSession) -> F,
        F: Future<Output = Result<Staged, Error>> + Send + 'static,
    {
        let exchange = Arc::new(Exchange::default());
        let session = ForeignSession { sql, exchange: Arc::clone(&exchange) };
        Self { operation: Some(Box::pin(operation(session))), exchange }
    }

    /// Goes on until something is needed or all is done. To be called once at first, and then once
    /// for each answer.
    pub fn go_on(&mut self) -> Step {
        let Some(operation) = &mut self.operation else {
            return Step::Ended(Err(Error::transaction_ended()));
        };
        // Nobody wakes a flow but its driver, who knows when the answer is there.
        if let Poll::Ready(result) =
            operation.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            self.operation = None;
            return Step::Ended(result);
        }
        match locked(&self.exchange.need).take() {
            Some(need) => Step::Needs(need),
            None => Step::Ended(Err(Error::OperationStuck)),
        }
    }

    /// Answers [`Need::Rows`].
    pub fn answer_rows(&mut self, rows: Result<Vec<Row>, Error>) -> Step {
        *locked(&self.exchange.rows) = Some(rows);
        self.go_on()
    }

    /// Answers [`Need::Work`].
    pub fn answer_work(&mut self, outcome: Result<Outcome, Error>) -> Step {
        *locked(&self.exchange.work) = Some(outcome);
        self.go_on()
    }
}

impl ForeignSession {
    /// The stage's work, which the flow's driver does.
    ///
    /// # Errors
    /// The work's own.
    pub fn work(&self) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
        let exchange = Arc::clone(&self.exchange);
        async move {
            *locked(&exchange.need) = Some(Need::Work);
            std::future::poll_fn(|_| answer(&exchange.work)).await
        }
    }
}

impl Session for ForeignSession {
    fn run(&self, statement: Statement) -> Running<'_, Vec<Row>> {
        *locked(&self.exchange.need) = Some(Need::Rows(self.sql.write(statement)));
        Box::pin(std::future::poll_fn(|_| answer(&self.exchange.rows)))
    }
}

fn answer<T>(slot: &Mutex<Option<T>>) -> Poll<T> {
    locked(slot).take().map_or(Poll::Pending, Poll::Ready)
}

fn locked<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::key::{IdempotencyKey, Timestamp};
    use crate::engine::protocol::stage::{self, Turn};
    use crate::engine::protocol::statement::{Place, Token};

    fn row() -> Row {
        let key = IdempotencyKey {
            id: "ikey_1".to_owned(),
            idempotency_key: "k".to_owned(),
            created_at: Timestamp(0),
            locked_at: None,
            request_method: None,
            request_params: None,
            request_path: None,
            response_code: None,
            response_body: None,
            recovery_point: "started".to_owned(),
        };
        let place = Place("(0,1)".to_owned());
        Row { key, place, token: Token("x1".to_owned()), won: true, live: false, same: true }
    }

    fn stage() -> Flow {
        Flow::new(Arc::new(Sql::new(None)), |session| async move {
            let work = session.work();
            stage::run(&session, "k", &Turn::Anybody, work).await
        })
    }

    #[test]
    fn a_stage_asks_for_the_row_the_work_and_the_outcome_in_turn() {
        let mut flow = stage();
        let Step::Needs(Need::Rows(query)) = flow.go_on() else { panic!("no row lock") };
        assert!(query.text.ends_with("FOR UPDATE"), "{}", query.text);
        let Step::Needs(Need::Work) = flow.answer_rows(Ok(vec![row()])) else { panic!("no work") };
        let outcome = Outcome::RecoveryPoint("paid".to_owned());
        let Step::Needs(Need::Rows(query)) = flow.answer_work(Ok(outcome)) else {
            panic!("no outcome")
        };
        assert!(query.text.starts_with("UPDATE"), "{}", query.text);
        let Step::Ended(Ok(staged)) = flow.answer_rows(Ok(vec![row()])) else { panic!("no end") };
        assert_eq!(staged.key, row().key);
        assert!(staged.ran);
    }

    #[test]
    fn an_unknown_key_ends_the_stage_before_the_work() {
        let mut flow = stage();
        flow.go_on();
        let Step::Ended(Err(Error::NotFound(key))) = flow.answer_rows(Ok(Vec::new())) else {
            panic!("not refused")
        };
        assert_eq!(key, "k");
        assert!(matches!(flow.go_on(), Step::Ended(Err(_))));
    }
}
