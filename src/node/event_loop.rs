//! Node's own event loop in place of the engine's thread: it waits for what servers answer, and the steps of calls run
//! where it finds that.
//!
//! An answer that the engine's thread waits for wakes two threads, the engine's and then JavaScript's. Here the sockets
//! belong to a runtime that has no thread. It waits at a file descriptor, which libuv watches like any other, and is
//! turned once on JavaScript's thread when there is something to read. Timers stay with the engine's thread, which wakes
//! the event loop.
//!
//! That of the main thread only: it ends with the process, while that of a worker would take along connections.

// Node-API and libuv are behind pointers.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::fs;
use std::mem;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock};

use async_task::Runnable;
use libloading::os::unix::Library;
use napi::bindgen_prelude::{FunctionRef, JsValue as _, ToNapiValue as _};
use napi::{Env, sys};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;

use super::outbox::{Outbox, StepRunner, locked, run};
use super::runtime::runtime;
use crate::engine::postgres::reactor::{Reactor, Spawned};

/// The process's, once its thread has joined it.
static EVENT_LOOP: OnceLock<EventLoop> = OnceLock::new();

thread_local! {
    /// Whether this is its thread.
    static IS_HERE: Cell<bool> = const { Cell::new(false) };
    /// How the items of each outbox reach JavaScript.
    static DELIVERIES: RefCell<Vec<Delivery>> = const { RefCell::new(Vec::new()) };
}

/// The event loop of the main thread.
pub struct EventLoop {
    sockets: Runtime,
    outboxes: Mutex<Vec<Arc<Outbox>>>,
    /// Steps of what belongs to no call.
    ready: Mutex<Vec<Runnable>>,
}

/// A function that is called with texts.
type Deliver = FunctionRef<Vec<String>, ()>;

struct Delivery {
    outbox: Arc<Outbox>,
    env: sys::napi_env,
    /// Never dropped: that would be after the environment's end.
    deliver: &'static Deliver,
}

impl EventLoop {
    /// That of this thread.
    pub fn here() -> Option<&'static Self> {
        EVENT_LOOP.get().filter(|_| IS_HERE.get())
    }

    /// Has the event loop of this thread, the main one, wait for what servers answer, if it can.
    pub fn join(env: Env) {
        if EVENT_LOOP.get().is_some() {
            return;
        }
        let Some((sockets, descriptor)) = threadless() else { return };
        let event_loop = Self { sockets, outboxes: Mutex::default(), ready: Mutex::default() };
        if EVENT_LOOP.set(event_loop).is_ok() {
            IS_HERE.set(watch(env, descriptor).is_some());
        }
    }

    /// Adds an outbox, and how its items reach JavaScript.
    pub fn add(&self, outbox: &Arc<Outbox>, env: Env, deliver: Deliver) {
        locked(&self.outboxes).push(Arc::clone(outbox));
        let outbox = Arc::clone(outbox);
        let (env, deliver) = (env.raw(), Box::leak(Box::new(deliver)));
        DELIVERIES.with_borrow_mut(|all| all.push(Delivery { outbox, env, deliver }));
    }

    /// Takes what has come, runs the steps that waited for it, and delivers what they have to tell.
    fn turn(&self) {
        self.run_after(&mut || self.sockets.block_on(yield_now()));
        let deliveries = DELIVERIES.with_borrow(Vec::len);
        (0..deliveries).for_each(deliver);
    }

    fn run_ready(&self) -> bool {
        let ready = mem::take(&mut *locked(&self.ready));
        let has_run = !ready.is_empty();
        ready.into_iter().for_each(run);
        let outboxes = locked(&self.outboxes).clone();
        outboxes.iter().fold(has_run, |has_run, outbox| outbox.run_ready() || has_run)
    }

    fn schedule(&self, step: Runnable) {
        let mut ready = locked(&self.ready);
        ready.push(step);
        if ready.len() == 1 && !Outbox::is_gathered(ptr::from_ref(self).cast()) {
            self.wake();
        }
    }
}

impl StepRunner for EventLoop {
    fn wake(&self) {
        drop(self.sockets.spawn(async {}));
    }

    fn run_after(&self, cause: &mut dyn FnMut()) {
        // There is nothing to run before it has started.
        let Ok(runtime) = runtime() else { return };
        let _entered = runtime.enter();
        Outbox::gather(ptr::from_ref(self).cast(), || {
            cause();
            while self.run_ready() {}
        });
    }

    /// On the way that any thread may take.
    fn post(&self) {
        locked(&self.outboxes).iter().for_each(|outbox| outbox.post());
    }
}

impl Reactor for EventLoop {
    fn sockets(&self) -> &Handle {
        self.sockets.handle()
    }

    fn spawn(&self, future: Spawned) {
        let schedule = |step| {
            if let Some(event_loop) = EVENT_LOOP.get() {
                event_loop.schedule(step);
            }
        };
        let (first, task) = async_task::spawn(future, schedule);
        task.detach();
        first.schedule();
    }
}

/// A runtime without a thread, and the descriptor at which it waits.
fn threadless() -> Option<(Runtime, RawFd)> {
    let runtime = Builder::new_current_thread().enable_io().thread_name("idempotency").build();
    let runtime = runtime.ok()?;
    let (socket, _other) = UnixStream::pair().ok()?;
    socket.set_nonblocking(true).ok()?;
    let watched = socket.as_raw_fd();
    let entered = runtime.enter();
    let _known = tokio::net::UnixStream::from_std(socket).ok()?;
    let descriptor = descriptor_that_watches(watched)?;
    drop(entered);
    Some((runtime, descriptor))
}

/// Which of the process's descriptors waits for another one, as Linux tells. tokio does not tell its own.
fn descriptor_that_watches(watched: RawFd) -> Option<RawFd> {
    let is_watched = |line: &str| {
        let number = line.strip_prefix("tfd:").and_then(|rest| rest.split_whitespace().next());
        number.is_some_and(|number| number.parse() == Ok(watched))
    };
    let mut all = fs::read_dir("/proc/self/fdinfo").ok()?.flatten();
    let found = all.find(|entry| {
        fs::read_to_string(entry.path()).is_ok_and(|info| info.lines().any(is_watched))
    });
    found?.file_name().to_str()?.parse().ok()
}

/// libuv's loop, or a handle of its own.
type Uv = *mut c_void;
type Ready = extern "C" fn(Uv, c_int, c_int);

/// libuv's number for a handle that watches a descriptor, and for what can be read.
const UV_POLL: c_int = 8;
const UV_READABLE: c_int = 1;

/// Has libuv call [`on_ready`] when there is something to read at a descriptor. That keeps no process alive.
fn watch(env: Env, descriptor: RawFd) -> Option<()> {
    let event_loop = env.get_uv_event_loop().ok()?.cast();
    let libuv = Library::this();
    // SAFETY: these are the types of libuv's functions. The handle is as large as libuv says, and is never freed.
    unsafe {
        let size = libuv.get::<unsafe extern "C" fn(c_int) -> usize>("uv_handle_size").ok()?;
        let init =
            libuv.get::<unsafe extern "C" fn(Uv, Uv, c_int) -> c_int>("uv_poll_init").ok()?;
        let unref = libuv.get::<unsafe extern "C" fn(Uv)>("uv_unref").ok()?;
        let start =
            libuv.get::<unsafe extern "C" fn(Uv, c_int, Ready) -> c_int>("uv_poll_start").ok()?;
        let stop = libuv.get::<unsafe extern "C" fn(Uv) -> c_int>("uv_poll_stop").ok()?;
        let handle: Uv = vec![0_u64; size(UV_POLL).div_ceil(8)].leak().as_mut_ptr().cast();
        if init(event_loop, handle, descriptor) != 0 {
            return None;
        }
        unref(handle);
        let stop = *stop;
        // The loop goes on for a while when the environment ends.
        let ends = move |handle| {
            stop(handle);
        };
        env.add_env_cleanup_hook(handle, ends).ok()?;
        (start(handle, UV_READABLE, on_ready) == 0).then_some(())
    }
}

extern "C" fn on_ready(_handle: Uv, _status: c_int, _events: c_int) {
    // A panic would end the process here, where C has called.
    let _ = catch_unwind(AssertUnwindSafe(|| EventLoop::here().map(EventLoop::turn)));
}

/// Delivers the items of the outbox with this number. JavaScript goes on here: nothing is borrowed or locked.
fn deliver(number: usize) {
    let delivery = DELIVERIES
        .with_borrow(|all| all.get(number).map(|it| (it.outbox.take(), it.env, it.deliver)));
    let Some((texts, env, deliver)) = delivery.filter(|(texts, ..)| !texts.is_empty()) else {
        return;
    };
    // SAFETY: the environment is this thread's. It lives: a turn ends with it.
    unsafe {
        let mut scope = ptr::null_mut();
        if sys::napi_open_handle_scope(env, &raw mut scope) == sys::Status::napi_ok {
            let _ = call(env, deliver, texts);
            sys::napi_close_handle_scope(env, scope);
        }
    }
}

/// Calls a function as Node calls those of its own: what follows from it is done before this returns.
///
/// # Safety
/// The environment lives, is this thread's, and has a handle scope open.
unsafe fn call(env: sys::napi_env, deliver: &Deliver, texts: Vec<String>) -> napi::Result<()> {
    let function = deliver.borrow_back(&Env::from_raw(env))?.value().value;
    let (mut global, mut result, mut thrown) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: as this function's.
    unsafe {
        let texts = Vec::to_napi_value(env, texts)?;
        sys::napi_get_global(env, &raw mut global);
        let called = sys::napi_make_callback(
            env,
            ptr::null_mut(),
            global,
            function,
            1,
            &raw const texts,
            &raw mut result,
        );
        if called == sys::Status::napi_pending_exception {
            sys::napi_get_and_clear_last_exception(env, &raw mut thrown);
            sys::napi_fatal_exception(env, thrown);
        }
    }
    Ok(())
}
