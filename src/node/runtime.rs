//! The runtime that the engine runs on: the process's own, not that of a JavaScript environment.
//!
//! napi-rs would end its runtime with the last environment that has loaded the addon, and make another
//! with the next. Where only worker threads load the package, that is between two workers: what the
//! process keeps beyond them (connections, queues) would belong to a runtime that is no more, and a
//! worker that is terminated in mid-stage would take along the thread that rolls its transaction back.
//! So this runtime begins with the first call and ends with the process. What it has to tell an
//! environment that has ended is refused by napi-rs's thread-safe functions.

use std::sync::{Mutex, OnceLock, PoisonError};

use napi::bindgen_prelude::retain_current_module_for_unload_safety;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The process's runtime, which the first call starts.
///
/// # Errors
/// When the system gives it no thread or no file descriptors; the next call tries again.
pub fn runtime() -> napi::Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // Node unloads an addon with the last worker that has loaded it; the runtime's thread stays.
    retain_current_module_for_unload_safety();
    let runtime = start().map_err(|error| {
        napi::Error::from_reason(format!("the engine's thread cannot be started: {error}"))
    })?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// One thread is enough for the engine, which mostly waits; with more, every answer wakes two.
fn start() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name("idempotency").enable_all().build()
}
