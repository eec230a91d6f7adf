//! Answers that JavaScript waits for, handed over many at a time.
//!
//! A native promise for each call would cost a thread-safe function each, which is more than all the
//! rest of the call. So the promises are JavaScript's: a call comes with a number, and its answer goes
//! with that number to the one function that settles them all. It goes as JSON, which JavaScript reads
//! faster than it is given objects one property at a time.
//!
//! Nor is there a task of the runtime for each call, which would have to wake the runtime's thread. The
//! first step of a call is made where it comes from, on JavaScript's thread: it mostly ends in the queue
//! of the group commit. The calls that one statement has answered go on together, and so do their answers.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_task::Runnable;
use napi::Status;
use napi::bindgen_prelude::{Function, within_runtime_if_available};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use serde::Serialize;
use tokio::runtime::Handle;

use super::error::Failure;
use crate::engine::error::Error;

/// A text that is longer takes no more answers: JavaScript's strings have a limit.
const LONGEST: usize = 1 << 20;

/// Where the answers of calls go.
#[napi]
pub struct Answers {
    outbox: Arc<Outbox>,
}

struct Outbox {
    /// Each the beginning of a JSON list of answers.
    texts: Arc<Mutex<Vec<String>>>,
    deliver: Deliver,
    /// Calls that can go on.
    ready: Mutex<Vec<Runnable>>,
}

/// Weak: JavaScript sees to it that the process lives as long as it waits for an answer.
type Deliver = ThreadsafeFunction<(), (), Vec<String>, Status, false, true>;

#[napi]
impl Answers {
    /// `deliver` is called with texts, on the JavaScript thread. Each is a JSON list of answers, and
    /// each of them a list: the call's number, what it resolves to, and the failure if it has failed.
    #[napi(constructor, catch_unwind)]
    pub fn new(deliver: Function<'_, Vec<String>, ()>) -> napi::Result<Self> {
        let texts = Arc::<Mutex<Vec<String>>>::default();
        let waiting = Arc::clone(&texts);
        let deliver = deliver
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .build_callback(move |_| Ok(ended(std::mem::take(&mut *locked(&waiting)))))?;
        Ok(Self { outbox: Arc::new(Outbox { texts, deliver, ready: Mutex::default() }) })
    }
}

impl Answers {
    /// Answers a call with what the future comes to, which is begun at once: calls queue up in their
    /// order.
    pub fn answer<F, T>(&self, call: u32, future: F)
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let outbox = Arc::clone(&self.outbox);
        let pending = Pending { call, answer: None, outbox: Arc::clone(&outbox) };
        within_runtime_if_available(|| {
            // Whoever wakes the call may know of no runtime, or only of one that has ended.
            let runtime = Handle::try_current().ok();
            let go_on = move |step| outbox.go_on(step, runtime.as_ref());
            let (first, task) = async_task::spawn(async { pending.end(future.await) }, go_on);
            task.detach();
            self.outbox.run([first]);
        });
    }
}

impl Outbox {
    /// Has a call go on soon, together with others.
    fn go_on(self: &Arc<Self>, step: Runnable, runtime: Option<&Handle>) {
        let mut ready = locked(&self.ready);
        ready.push(step);
        if ready.len() == 1
            && let Some(runtime) = runtime
        {
            let outbox = Arc::clone(self);
            // Each call may use as much as the runtime grants to one task.
            runtime.spawn(tokio::task::unconstrained(async move {
                let steps = std::mem::take(&mut *locked(&outbox.ready));
                outbox.run(steps);
            }));
        }
    }

    fn run(&self, steps: impl IntoIterator<Item = Runnable>) {
        for step in steps {
            // What panics answers when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| step.run()));
        }
        if !locked(&self.texts).is_empty() {
            // Refused only when JavaScript is at its end, and nobody waits any more.
            let _ = self.deliver.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    fn put(&self, answer: &str) {
        let mut texts = locked(&self.texts);
        match texts.last_mut() {
            Some(text) if text.len() < LONGEST => {
                text.push(',');
                text.push_str(answer);
            }
            _ => texts.push(format!("[{answer}")),
        }
    }
}

/// A call whose answer goes out when this is dropped, so that there is one whatever happens.
struct Pending<T: Serialize> {
    call: u32,
    answer: Option<Result<T, Error>>,
    outbox: Arc<Outbox>,
}

impl<T: Serialize> Pending<T> {
    fn end(mut self, answer: Result<T, Error>) {
        self.answer = Some(answer);
    }
}

impl<T: Serialize> Drop for Pending<T> {
    fn drop(&mut self) {
        let call = self.call;
        let answer = self.answer.take().unwrap_or_else(|| Err(lost("ended without an answer")));
        let text = answer.and_then(|value| {
            serde_json::to_string(&(call, value)).map_err(|error| lost(&error.to_string()))
        });
        // A failure is text throughout, which can always be written.
        let text = text.or_else(|error| serde_json::to_string(&(call, (), Failure::from(error))));
        self.outbox.put(&text.unwrap_or_default());
    }
}

fn lost(reason: &str) -> Error {
    Error::UnexpectedState {
        code: "call_lost",
        message: format!(
            "the call {reason}, so whether it did anything is unknown: this is a fault of \
             medusa-idempotency-key"
        ),
    }
}

fn ended(mut texts: Vec<String>) -> Vec<String> {
    texts.iter_mut().for_each(|text| text.push(']'));
    texts
}

fn locked<T>(list: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
