//! What the engine has to tell JavaScript, handed over many items at a time.
//!
//! There is no task of the runtime for each call, which would have to wake the runtime's thread. The first step of a
//! call runs where the call comes from, on JavaScript's thread: it mostly ends in the queue of the group commit. The
//! calls that one statement has answered resume together, and so do their answers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_task::Runnable;
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::runtime::runtime;

/// A text that is longer takes no more items: the length of JavaScript's strings is limited.
const LONGEST: usize = 1 << 20;

thread_local! {
    /// Whether this thread runs the steps that become ready, as soon as it has done what they wait for.
    static RUNS_STEPS: Cell<bool> = const { Cell::new(false) };
}

/// What is delivered to JavaScript, and the steps of calls that it comes from.
pub struct Outbox {
    /// Each the beginning of a JSON list of items.
    texts: Arc<Mutex<Vec<Vec<u8>>>>,
    deliver: Deliver,
    runtime: &'static Runtime,
    environment: Environment,
    /// Steps of calls that can run.
    ready: Mutex<Vec<Runnable>>,
}

/// The JavaScript environment that items go to.
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

impl Outbox {
    /// One that calls `deliver` with texts, on the JavaScript thread. Each is a JSON list of items.
    ///
    /// # Errors
    /// As [`runtime`], and napi-rs's.
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
        Ok(Self { texts, deliver, runtime, environment, ready: Mutex::default() })
    }

    /// Where the items go.
    pub fn environment(&self) -> Environment {
        self.environment.clone()
    }

    /// Runs on this thread what needs the engine's runtime.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        work()
    }

    /// Schedules a step of a call; wake-ups are coalesced.
    pub fn schedule(self: &Arc<Self>, step: Runnable) {
        let mut ready = locked(&self.ready);
        ready.push(step);
        if ready.len() == 1 && !RUNS_STEPS.get() {
            let outbox = Arc::clone(self);
            // Each call may use as much as the runtime grants to one task.
            self.runtime.spawn(tokio::task::unconstrained(async move { outbox.run_ready() }));
        }
    }

    /// Does what steps may wait for, and runs them on this thread, without waking the runtime's.
    pub fn run_after(&self, cause: impl FnOnce()) {
        RUNS_STEPS.set(true);
        cause();
        RUNS_STEPS.set(false);
        self.run_ready();
    }

    fn run_ready(&self) {
        let steps = std::mem::take(&mut *locked(&self.ready));
        self.run(steps);
    }

    /// Runs steps of calls, and delivers what they have to tell.
    pub fn run(&self, steps: impl IntoIterator<Item = Runnable>) {
        for step in steps {
            // A call that panics is answered when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| step.run()));
        }
        if !locked(&self.texts).is_empty() {
            // Refused only when the environment has ended, and nobody waits any more.
            let _ = self.deliver.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Adds an item to those that are to be delivered. One that cannot be written leaves nothing.
    ///
    /// # Errors
    /// serde's.
    pub fn put(&self, item: &impl Serialize) -> serde_json::Result<()> {
        let mut texts = locked(&self.texts);
        let mut text = match texts.pop() {
            Some(text) if text.len() < LONGEST => text,
            full => {
                texts.extend(full);
                Vec::new()
            }
        };
        let before = text.len();
        text.push(if before == 0 { b'[' } else { b',' });
        let written = serde_json::to_writer(&mut text, item);
        if written.is_err() {
            text.truncate(before);
        }
        if !text.is_empty() {
            texts.push(text);
        }
        written
    }
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
