//! Answers that JavaScript waits for, handed over many at a time.
//!
//! A native promise for each call would cost a thread-safe function each, which is more than all the
//! rest of the call. So the promises are JavaScript's: a call comes with a number, and its answer goes
//! with that number to the one function that settles them all. It goes as JSON, which JavaScript reads
//! faster than it is given objects one property at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use napi::Env;
use napi::bindgen_prelude::Function;
use napi_derive::napi;
use serde::Serialize;

use super::error::Failure;
use super::event_loop::EventLoop;
use super::key::KeyRow;
use super::outbox::{Outbox, run};
use super::work::{Work, WorkDone, Works};
use crate::engine::error::Error;
use crate::engine::execution::transaction::Transaction;
use crate::engine::protocol::outcome::{Answer, Outcome};

/// Where the answers of calls go.
#[napi]
pub struct Answers {
    outbox: Arc<Outbox>,
    works: Arc<Works>,
}

#[napi]
impl Answers {
    /// `deliver` is called with texts, on the JavaScript thread. Each is a JSON list of answers, and
    /// each of them a list: the call's number, what it resolves to, the failure if it has failed, and what
    /// became of it where there is more than one possibility. What asks for a call's work is such a list, too: see
    /// [`Work::run`].
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, deliver: Function<'_, Vec<String>, ()>) -> napi::Result<Self> {
        let Some(event_loop) = EventLoop::here() else {
            return Ok(Self {
                outbox: Arc::new(Outbox::new(deliver, None)?),
                works: Arc::default(),
            });
        };
        let own = deliver.create_ref()?;
        let outbox = Arc::new(Outbox::new(deliver, Some(event_loop))?);
        event_loop.add(&outbox, env, own);
        Ok(Self { outbox, works: Arc::default() })
    }

    /// Says how the work of a call ended. The call goes on at once, on this thread.
    #[napi(catch_unwind)]
    pub fn work_done(&self, call: u32, done: WorkDone) {
        self.run_after(|| self.works.end(call, done));
    }
}

impl Answers {
    /// Answers a call with the future's result. The future is begun at once: calls queue up in their order.
    pub fn answer<F, T>(&self, call: u32, future: F)
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        self.begin(call, Box::pin(future), |value| Resolved { value, outcome: None });
    }

    /// The same for a call that is answered with a key, and with what became of the call.
    pub fn answer_key<F>(&self, call: u32, future: F)
    where
        F: Future<Output = Result<Answer, Error>> + Send + 'static,
    {
        self.begin(call, Box::pin(future), |Answer { key, outcome }| Resolved {
            value: KeyRow(key),
            outcome,
        });
    }

    /// The future is boxed at once: what awaits a future has room for it twice, and each that is moved is copied.
    fn begin<A, T>(
        &self,
        call: u32,
        future: Pin<Box<dyn Future<Output = Result<A, Error>> + Send>>,
        resolved: fn(A) -> Resolved<T>,
    ) where
        A: 'static,
        T: Serialize + Send + 'static,
    {
        let outbox = Arc::clone(&self.outbox);
        let pending = Pending { call, answer: None, outbox: Arc::clone(&outbox) };
        let schedule = move |step| outbox.schedule(step);
        let ended = async move { pending.end(future.await.map(resolved)) };
        let (first, task) = async_task::spawn(ended, schedule);
        task.detach();
        self.within(|| {
            run(first);
            self.outbox.post();
        });
    }

    /// The work that JavaScript does for a call.
    pub fn work(&self, call: u32) -> Work {
        Work { call, works: Arc::clone(&self.works), outbox: Arc::clone(&self.outbox) }
    }

    /// What the work of a call is to be done in, unless nobody waits for it any more.
    pub fn take_transaction(&self, call: u32) -> Option<Weak<Transaction>> {
        self.works.take_transaction(call)
    }

    /// Does what calls may wait for. They go on at once, on this thread.
    pub fn run_after(&self, cause: impl FnOnce()) {
        self.within(|| self.outbox.run_after(cause));
    }

    /// Runs on this thread what needs the engine's runtime.
    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.outbox.within(work)
    }
}

/// What a call resolves to.
struct Resolved<T> {
    value: T,
    /// What became of the call, where there is more than one possibility.
    outcome: Option<Outcome>,
}

/// A call that is answered when this is dropped, so that it is answered whatever happens.
struct Pending<T: Serialize> {
    call: u32,
    answer: Option<Result<Resolved<T>, Error>>,
    outbox: Arc<Outbox>,
}

impl<T: Serialize> Pending<T> {
    fn end(mut self, answer: Result<Resolved<T>, Error>) {
        self.answer = Some(answer);
    }
}

impl<T: Serialize> Drop for Pending<T> {
    fn drop(&mut self) {
        let Self { call, outbox, .. } = self;
        let answer = self.answer.take().unwrap_or_else(|| Err(lost("ended without an answer")));
        let written = answer.and_then(|Resolved { value, outcome }| {
            let written = match outcome {
                None => outbox.put(&(*call, value)),
                Some(outcome) => outbox.put(&(*call, value, (), outcome.name())),
            };
            written.map_err(|error| lost(&error.to_string()))
        });
        if let Err(error) = written {
            // A failure is text throughout, which can always be written.
            let _ = outbox.put(&(*call, (), Failure::from(error)));
        }
    }
}

fn lost(reason: &str) -> Error {
    Error::CallLost(reason.to_owned())
}
