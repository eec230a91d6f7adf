//! What the engine has to tell JavaScript, handed over many items at a time.
//!
//! There is no task of the runtime for each call, which would have to wake the runtime's thread. The first step of a
//! call runs where the call comes from, on JavaScript's thread: it mostly ends in the queue of the group commit. The
//! calls that one statement has answered resume together, and so do their answers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
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
    /// Whose steps this thread runs, as soon as it has done what they wait for.
    static GATHERED: Cell<*const ()> = const { Cell::new(ptr::null()) };
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
    /// Who runs them, if not the runtime.
    runner: Option<&'static dyn StepRunner>,
}

/// Runs the steps of several outboxes on a thread of its own choice.
pub trait StepRunner: Send + Sync {
    /// Has the steps run that are ready.
    fn wake(&self);

    /// On that thread: does what steps may wait for, and runs the steps, until none is ready.
    fn run_after(&self, cause: &mut dyn FnMut());

    /// Has delivered what the outboxes have.
    fn post(&self);
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

/// Lasts as long as the steps of a runner are gathered on this thread; then again those of this one.
struct Gathering(*const ());

impl Drop for Gathering {
    fn drop(&mut self) {
        GATHERED.set(self.0);
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
    pub fn new(
        deliver: Function<'_, Vec<String>, ()>,
        runner: Option<&'static dyn StepRunner>,
    ) -> napi::Result<Self> {
        let texts = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (alive, environment) = watch::channel(());
        let inbox = Inbox { texts: Arc::clone(&texts), _alive: alive };
        let deliver = deliver
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .build_callback(move |_| Ok(inbox.take()))?;
        let runtime = runtime()?;
        let environment = Environment(environment);
        Ok(Self { texts, deliver, runtime, environment, ready: Mutex::default(), runner })
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
        if ready.len() > 1 || Self::is_gathered(self.identity()) {
            return;
        }
        match self.runner {
            Some(runner) => runner.wake(),
            None => {
                let outbox = Arc::clone(self);
                let run = async move {
                    outbox.run_ready();
                    outbox.post();
                };
                // Each call may use as much as the runtime grants to one task.
                self.runtime.spawn(tokio::task::unconstrained(run));
            }
        }
    }

    /// What tells whoever runs its steps from others.
    fn identity(&self) -> *const () {
        self.runner.map_or(ptr::from_ref(self).cast(), |runner| ptr::from_ref(runner).cast())
    }

    /// Does what steps may wait for, and runs them on this thread, without waking another.
    pub fn run_after(&self, cause: impl FnOnce()) {
        match self.runner {
            Some(runner) => {
                let mut cause = Some(cause);
                runner.run_after(&mut || cause.take().into_iter().for_each(|cause| cause()));
                runner.post();
            }
            None => {
                Self::gather(self.identity(), cause);
                self.run_ready();
                self.post();
            }
        }
    }

    /// Does something whose steps are run afterwards, by whoever calls this.
    pub fn gather(identity: *const (), cause: impl FnOnce()) {
        let _gathering = Gathering(GATHERED.replace(identity));
        cause();
    }

    /// Whether this thread runs the steps that are scheduled now.
    pub fn is_gathered(identity: *const ()) -> bool {
        GATHERED.get() == identity
    }

    /// Runs the steps that are ready. Answers whether there were any.
    pub fn run_ready(&self) -> bool {
        let steps = std::mem::take(&mut *locked(&self.ready));
        let has_run = !steps.is_empty();
        steps.into_iter().for_each(run);
        has_run
    }

    /// What is to be delivered, as texts.
    pub fn take(&self) -> Vec<String> {
        ended(std::mem::take(&mut *locked(&self.texts)))
    }

    /// Has what there is delivered.
    pub fn post(&self) {
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

/// Runs a step. A call that panics is answered when it is dropped.
pub fn run(step: Runnable) {
    let _ = catch_unwind(AssertUnwindSafe(|| step.run()));
}

/// A list, for this thread alone.
pub fn locked<T>(list: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
