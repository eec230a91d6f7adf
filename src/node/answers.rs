//! Answers that JavaScript waits for, handed over many at a time.
//!
//! A native promise for each call would cost a thread-safe function each, which is more than all the
//! rest of the call. So the promises are JavaScript's: a call comes with a number, and its answer goes
//! with that number to the one function that settles them all. What comes while that function has not
//! been called yet goes along.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::Status;
use napi::bindgen_prelude::{Function, spawn};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

use super::error::Failure;
use super::key::{KeyRow, row_of};
use crate::engine::error::Error;
use crate::engine::stage::Staged;

/// The answer of a call that resolves to a key.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct Answer {
    /// The call's number.
    pub call: u32,
    pub key: Option<KeyRow>,
    /// Whether the work of a stage was done.
    pub ran: bool,
    pub failure: Option<Failure>,
}

/// Where the answers of calls go.
#[napi]
pub struct Answers {
    outbox: Arc<Outbox>,
}

struct Outbox {
    answers: Arc<Mutex<Vec<Answer>>>,
    deliver: Deliver,
}

/// Weak: JavaScript sees to it that the process lives as long as it waits for an answer.
type Deliver = ThreadsafeFunction<(), (), Vec<Answer>, Status, false, true>;

#[napi]
impl Answers {
    /// `deliver` is called with answers, on the JavaScript thread.
    #[napi(constructor, catch_unwind)]
    pub fn new(deliver: Function<'_, Vec<Answer>, ()>) -> napi::Result<Self> {
        let answers = Arc::<Mutex<Vec<Answer>>>::default();
        let waiting = Arc::clone(&answers);
        let deliver = deliver
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .build_callback(move |_| Ok(std::mem::take(&mut *locked(&waiting))))?;
        Ok(Self { outbox: Arc::new(Outbox { answers, deliver }) })
    }
}

impl Answers {
    /// Answers a call with what the future comes to.
    pub fn answer<F>(&self, call: u32, future: F)
    where
        F: Future<Output = Result<Staged, Error>> + Send + 'static,
    {
        let pending = Pending { call, answer: None, outbox: Arc::clone(&self.outbox) };
        spawn(async move { pending.end(future.await) });
    }
}

/// A call whose answer goes out when this is dropped, so that there is one whatever happens.
struct Pending {
    call: u32,
    answer: Option<Result<Staged, Error>>,
    outbox: Arc<Outbox>,
}

impl Pending {
    fn end(mut self, answer: Result<Staged, Error>) {
        self.answer = Some(answer);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let call = self.call;
        let answer = match self.answer.take().unwrap_or_else(|| Err(lost())) {
            Ok(Staged { key, ran }) => Answer { call, key: Some(row_of(key)), ran, failure: None },
            Err(error) => Answer { call, failure: Some(error.into()), ..Answer::default() },
        };
        let mut answers = locked(&self.outbox.answers);
        answers.push(answer);
        let first = answers.len() == 1;
        drop(answers);
        if first {
            // Refused only when JavaScript is at its end, and nobody waits any more.
            let _ = self.outbox.deliver.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

fn lost() -> Error {
    Error::UnexpectedState {
        code: "call_lost",
        message:
            "the call ended without an answer, so whether it did anything is unknown: this is \
                  a fault of medusa-idempotency-key"
                .to_owned(),
    }
}

fn locked(answers: &Mutex<Vec<Answer>>) -> MutexGuard<'_, Vec<Answer>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}
