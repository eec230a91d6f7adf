//! Answers that JavaScript waits for, handed over many at a time.
//!
//! A native promise for each call would cost a thread-safe function each, which is more than all the
//! rest of the call. So the promises are JavaScript's: a call comes with a number, and its answer goes
//! with that number to the one function that settles them all. It goes as JSON, which JavaScript reads
//! faster than it is given objects one property at a time.
//!
//! Nor is there a task of the runtime for each call, which would have to wake the runtime's thread. The
//! first step of a call runs where the call comes from, on JavaScript's thread: it mostly ends in the queue
//! of the group commit. The calls that one statement has answered resume together, and so do their answers.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_task::Runnable;
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::error::Failure;
use super::key::KeyRow;
use super::runtime::runtime;
use crate::engine::error::Error;
use crate::engine::protocol::outcome::{Answer, Outcome};

/// A text that is longer takes no more answers: the length of JavaScript's strings is limited.
const LONGEST: usize = 1 << 20;

/// Where the answers of calls go.
#[napi]
pub struct Answers {
    outbox: Arc<Outbox>,
}

struct Outbox {
    /// Each the beginning of a JSON list of answers.
    texts: Arc<Mutex<Vec<Vec<u8>>>>,
    deliver: Deliver,
    runtime: &'static Runtime,
    environment: Environment,
    /// Steps of calls that can run.
    ready: Mutex<Vec<Runnable>>,
}

/// The JavaScript environment that answers go to.
#[derive(Clone)]
pub struct Environment(watch::Receiver<()>);

impl Environment {
    /// Resolves when it has ended, as that of a worker thread does: what JavaScript was asked by then is never
    /// answered.
    pub async fn ended(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// What the environment keeps for as long as it lives.
struct Inbox {
    texts: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Dropped with the environment, which [`Environment::ended`] notices.
    _alive: watch::Sender<()>,
}

impl Inbox {
    fn take(&self) -> Vec<String> {
        ended(std::mem::take(&mut *locked(&self.texts)))
    }
}

/// Weak: JavaScript keeps the process alive as long as it waits for an answer.
type Deliver = ThreadsafeFunction<(), (), Vec<String>, Status, false, true>;

#[napi]
impl Answers {
    /// `deliver` is called with texts, on the JavaScript thread. Each is a JSON list of answers, and
    /// each of them a list: the call's number, what it resolves to, the failure if it has failed, and what
    /// became of it where there is more than one possibility.
    #[napi(constructor, catch_unwind)]
    pub fn new(deliver: Function<'_, Vec<String>, ()>) -> napi::Result<Self> {
        let texts = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (alive, environment) = watch::channel(());
        let inbox = Inbox { texts: Arc::clone(&texts), _alive: alive };
        let deliver = deliver
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .build_callback(move |_| Ok(inbox.take()))?;
        let runtime = runtime()?;
        let environment = Environment(environment);
        let ready = Mutex::default();
        Ok(Self { outbox: Arc::new(Outbox { texts, deliver, runtime, environment, ready }) })
    }
}

impl Answers {
    /// Answers a call with the future's result. The future is begun at once: calls queue up in their order.
    pub fn answer<F, T>(&self, call: u32, future: F)
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        self.begin(call, async move { Ok(Resolved { value: future.await?, outcome: None }) });
    }

    /// The same for a call that is answered with a key, and with what became of the call.
    pub fn answer_key<F>(&self, call: u32, future: F)
    where
        F: Future<Output = Result<Answer, Error>> + Send + 'static,
    {
        self.begin(call, async move {
            let Answer { key, outcome } = future.await?;
            Ok(Resolved { value: KeyRow(key), outcome })
        });
    }

    fn begin<F, T>(&self, call: u32, future: F)
    where
        F: Future<Output = Result<Resolved<T>, Error>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let outbox = Arc::clone(&self.outbox);
        // Boxed, as the task would have room for it twice.
        let future = Box::pin(future);
        let pending = Pending { call, answer: None, outbox: Arc::clone(&outbox) };
        let schedule = move |step| outbox.schedule(step);
        let (first, task) = async_task::spawn(async { pending.end(future.await) }, schedule);
        task.detach();
        self.within(|| self.outbox.run([first]));
    }

    /// Where the answers go.
    pub fn environment(&self) -> Environment {
        self.outbox.environment.clone()
    }

    /// Runs on this thread what needs the engine's runtime.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.outbox.runtime.enter();
        work()
    }
}

impl Outbox {
    /// Schedules a step of a call; wake-ups are coalesced.
    fn schedule(self: &Arc<Self>, step: Runnable) {
        let mut ready = locked(&self.ready);
        ready.push(step);
        if ready.len() == 1 {
            let outbox = Arc::clone(self);
            // Each call may use as much as the runtime grants to one task.
            self.runtime.spawn(tokio::task::unconstrained(async move {
                let steps = std::mem::take(&mut *locked(&outbox.ready));
                outbox.run(steps);
            }));
        }
    }

    fn run(&self, steps: impl IntoIterator<Item = Runnable>) {
        for step in steps {
            // A call that panics is answered when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| step.run()));
        }
        if !locked(&self.texts).is_empty() {
            // Refused only when the environment has ended, and nobody waits any more.
            let _ = self.deliver.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    fn put<T: Serialize>(&self, call: u32, answer: Result<Resolved<T>, Error>) {
        let mut texts = locked(&self.texts);
        if texts.last().is_none_or(|text| text.len() >= LONGEST) {
            texts.push(Vec::new());
        }
        let Some(text) = texts.last_mut() else { return };
        text.push(if text.is_empty() { b'[' } else { b',' });
        let before = text.len();
        let written = answer.and_then(|Resolved { value, outcome }| {
            let written = match outcome {
                None => serde_json::to_writer(&mut *text, &(call, value)),
                Some(outcome) => {
                    serde_json::to_writer(&mut *text, &(call, value, (), outcome.name()))
                }
            };
            written.map_err(|error| lost(&error.to_string()))
        });
        if let Err(error) = written {
            text.truncate(before);
            // A failure is text throughout, which can always be written.
            let _ = serde_json::to_writer(&mut *text, &(call, (), Failure::from(error)));
        }
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
        let answer = self.answer.take().unwrap_or_else(|| Err(lost("ended without an answer")));
        self.outbox.put(self.call, answer);
    }
}

fn lost(reason: &str) -> Error {
    Error::CallLost(reason.to_owned())
}

fn ended(texts: Vec<Vec<u8>>) -> Vec<String> {
    let ended = texts.into_iter().map(|mut text| {
        text.push(b']');
        String::from_utf8(text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    });
    ended.collect()
}

fn locked<T>(list: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
