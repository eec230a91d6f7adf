//! A queue without a database, for its tests.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::guards::{InFlightSlot, KeyPermit};
use super::limits::Limits;
use super::queue::{Queue, Ticket};
use super::queued_statement::{Answer, QueuedStatement, key};
use super::state::Batch;
use crate::engine::key::{Columns, Field};
use crate::engine::protocol::statement::{LeaseChange, Statement};
use crate::engine::sql::batch::Kind;

/// A queue, and the slots in which it wants batches to run.
pub struct Bench {
    pub queue: Arc<Queue>,
    pub launched: Arc<Mutex<Vec<InFlightSlot>>>,
}

/// A statement's answer, for which its caller waits.
pub type Waiter = oneshot::Receiver<Answer>;

impl Bench {
    pub fn new(limits: Limits) -> Self {
        let launched = Arc::<Mutex<Vec<InFlightSlot>>>::default();
        let slots = Arc::clone(&launched);
        let launch = move |slot| slots.lock().unwrap().push(slot);
        Self { queue: Arc::new(Queue::new(limits, Box::new(launch))), launched }
    }

    pub fn enter(&self, statement: Statement) -> Ticket {
        let kind = Kind::of(&statement).unwrap();
        self.queue.enter(kind, Box::new(statement), || "".into())
    }

    pub fn queue_up(&self, statement: Statement) -> Waiter {
        match self.enter(statement) {
            Ticket::Queued(waiter) => waiter,
            Ticket::Single(..) => panic!("it was to wait"),
        }
    }

    /// One statement under way, so that others queue up.
    pub fn busy(&self) -> (KeyPermit, InFlightSlot) {
        match self.enter(find("busy")) {
            Ticket::Single(_, permit, slot) => (permit, slot),
            Ticket::Queued(_) => panic!("it was to be the first"),
        }
    }

    /// The slot that the queue has launched since the last time: none, or one.
    pub fn slot(&self) -> Option<InFlightSlot> {
        let mut slots = self.launched.lock().unwrap();
        assert!(slots.len() <= 1, "{} slots", slots.len());
        slots.pop().map(|mut slot| {
            slot.use_it();
            slot
        })
    }

    pub fn next(&self) -> Vec<String> {
        self.queue.next_batch().as_ref().map(keys).unwrap_or_default()
    }
}

pub fn keys(batch: &Batch) -> Vec<String> {
    batch.statements.iter().map(|queued| key(&queued.statement).unwrap().to_owned()).collect()
}

pub fn find(key: &str) -> Statement {
    Statement::Find(key.to_owned())
}

pub fn create(key: &str) -> Statement {
    let idempotency_key = Field::Set(Some(key.to_owned()));
    Statement::Create(Columns { idempotency_key, ..Columns::default() })
}

pub fn update(key: &str, point: &str) -> Statement {
    let recovery_point = Field::Set(Some(point.to_owned()));
    let columns = Columns { recovery_point, ..Columns::default() };
    let (key, lease) = (key.to_owned(), LeaseChange::Keep);
    Statement::Update { key, columns, lease, location: None, fence: None }
}

pub fn lock(key: &str) -> Statement {
    Statement::Lock { key: key.to_owned(), hold: Duration::from_secs(1), own: None }
}

pub fn points(batch: Option<Batch>) -> Vec<String> {
    let of = |queued: &QueuedStatement| match &*queued.statement {
        Statement::Update { columns, .. } => columns.recovery_point.clone().or(""),
        other => Some(format!("{other:?}")),
    };
    let batch = batch.map(|batch| batch.statements.iter().filter_map(of).collect());
    batch.unwrap_or_default()
}
